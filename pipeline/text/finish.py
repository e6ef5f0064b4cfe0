"""What is taken out of texts that stay, where the settings ask for it: evaluation texts, boilerplate, addresses.

Choice: last of all, on the texts that are written, so that votes and duplicates never depend on it. Cost: a text may
end shorter than the rules ask. Alternative: cut first and vote then, which extracts nothing anew but decides all again
for every change of an evaluation file.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pipeline.config import CorpusSettings
from pipeline.text.contamination import Cutter
from pipeline.text.normalize import counted_words
from pipeline.text.paragraphs import GAP, Hashes, copied_words, paragraphs
from pipeline.text.redact import redacted


@dataclass
class Finish:
    """The settings and what they look for; `changed` counts what was done, in words for a person.

    `cut` cuts evaluation texts out; `copied` are the sorted hashes of boilerplate paragraphs; None where not asked for.
    """

    settings: CorpusSettings
    cut: Cutter | None
    copied: Hashes | None
    changed: Counter[str] = field(default_factory=Counter)

    def __call__(self, text: str) -> tuple[str, int | None]:
        """The text as it is written, and its words in boilerplate paragraphs (None: not looked for)."""
        left = GAP.join(self.cut(text)) if self.cut else text
        self.changed["documents cut where evaluation texts stood in them (corpus.contamination)"] += left != text
        left, copied = self.without_boilerplate(left)
        left, replaced = redacted(left, self.settings.redact)
        self.changed["addresses replaced (corpus.redact)"] += replaced
        return left, copied

    def without_boilerplate(self, text: str) -> tuple[str, int | None]:
        """The text without boilerplate paragraphs, if they are to be cut and enough of it is left; and their words."""
        if self.copied is None:
            return text, None
        parts = paragraphs(text)
        words = copied_words(parts, self.copied)
        left = GAP.join(part for part, count in zip(parts, words, strict=True) if not count)
        if self.settings.cut_copied and any(words) and len(counted_words(left)) >= self.settings.min_words:
            self.changed["paragraphs cut that stand in many documents (corpus.cut_copied)"] += sum(map(bool, words))
            text = left
        return text, sum(words)
