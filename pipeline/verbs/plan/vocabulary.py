"""Whether the vocabulary that is asked for fits the text that it will be learnt from.

Choice: a power law of what was measured on real text, since a plan has too little text to learn from. Cost: it is told
as about right, and other languages differ. Alternative: to say nothing until the tokenizer is made, whose notes count.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.config import Settings
from pipeline.tokenizer import SEEN, SEEN_SHARE, advice
from pipeline.verbs.plan.costs import Code
from pipeline.verbs.plan.probe import Probe

BYTES, END_OF_TEXT = 256, 1  # entries of a vocabulary that are no merges


def vocabulary_notes(found: Probe, settings: Settings, text_bytes: float, code: Code) -> Iterator[str]:
    """What the tokenizer that stands has noted; or a note where the one to be made is too large for so much text."""
    if "tokenizer" in found.made:
        yield from (f"tokenizer: {note}" for note in found.made["tokenizer"].notes)
        return
    asked = settings.tokenizer.vocab_size - BYTES - END_OF_TEXT
    learnt = learnable(text_bytes, code)
    if settings.tokenizer.merges or not text_bytes or asked <= learnt:
        return
    yield (
        f"tokenizer.vocab_size is {settings.tokenizer.vocab_size:,}, too large for about {text_bytes / 1e6:,.1f} MB of "
        f"text, where fewer than {SEEN_SHARE:.0%} of the merges are seen {SEEN} times: a model will hardly learn the "
        f"others; {advice(learnt)} (an estimate: the build counts)"
    )


def learnable(text_bytes: float, code: Code) -> int:
    """The most merges of which SEEN_SHARE are seen SEEN times in so much text, to two digits."""
    return int(float(f"{code.learnt_k * text_bytes**code.learnt_beta:.2g}"))
