"""Why a document was filtered out, as a sentence: its outcome, what it has, what was asked, which passages decided.

Choice: numbers from the row and settings from the manifest, both as they were on the day that decided. Cost: the
passages that stand in Wikipedia are looked up anew, where its n-grams are still at hand. Alternative: sentences kept in
the artefact, which nobody counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.counts import counted
from pipeline.shards import storage
from pipeline.shards.locations import mirror
from pipeline.shards.outcomes import InputError, Outcome
from pipeline.shards.receipts import Artefact
from pipeline.text import overlap
from pipeline.text.signals import SIGNALS

MOST_REFERENCE_BYTES = 4_000_000_000  # of n-grams, loaded to mark the passages they hold
ASKED = {"<=": "at most", ">=": "at least"}

MEANINGS = {str(outcome): outcome.meaning for outcome in Outcome}

Spans = tuple[tuple[int, int], ...]


class Said(NamedTuple):
    """A sentence, and the passages of the text that it speaks of: first and last + 1 character of each."""

    sentence: str
    passages: Spans = ()


@dataclass(frozen=True)
class Grounds:
    """What sentences need besides the row: the settings of the corpus, and the n-grams of Wikipedia at hand."""

    settings: dict[str, Any]
    references: Callable[[], list[overlap.Reference]]

    @classmethod
    def of(cls, root: Path, corpus: Artefact) -> Grounds:
        """Those of a corpus that is whole."""
        manifest = corpus.manifest()
        settings = manifest.settings if manifest else {}
        loaded: list[list[overlap.Reference]] = []

        def references() -> list[overlap.Reference]:
            if not loaded:
                loaded.append(at_hand(root, settings))
            return loaded[0]

        return cls(settings, references)

    def of_row(self, row: dict[str, Any]) -> Said:
        """Why a document went; nothing of one that is kept. `row`: its text, and the columns of DECISIONS."""
        outcome, rule = row["outcome"], row.get("rule") or ""
        value, threshold = row.get("value"), row.get("threshold")
        if outcome == Outcome.KEPT:
            return Said("")
        if outcome == Outcome.LOW_QUALITY:
            return Said(signal(rule, value))
        if outcome == Outcome.TOO_SHORT:
            return Said(f"{counted(value or 0, 'word')}, corpus.min_words asks for {threshold:,.0f}")
        if outcome == Outcome.OTHER_LANGUAGE:
            wanted = ", ".join(self.settings.get("languages", ()))
            return Said(f"in {row['language']!r} (probability {value:g}), corpus.languages names {wanted}")
        if rule == "wikipedia_overlap":
            share = f"{value:.1%} of its 8-grams stand in Wikipedia (limit {threshold:.0%})"
            return Said(share, marked(row["text"], self.references()))
        if rule == "says_wikipedia":
            found = overlap.SAYS_WIKIPEDIA.search(row["text"])
            return Said("says itself that it comes from Wikipedia", (found.span(),) if found else ())
        if outcome == Outcome.NEAR_DUPLICATE:
            return Said(f"{rule} {value:.3f} with a document that ranks higher (limit {threshold:g})")
        if outcome == Outcome.DUPLICATE_ELSEWHERE:
            alike = "the same words as" if threshold == 1 else f"{value:.3f} alike to"
            return Said(f"{alike} a document that stands in another corpus ({rule})")
        if outcome == Outcome.CONTAMINATED:
            return Said(
                f"{counted(value or 0, 'piece')} left once evaluation texts are cut out; 1 to {threshold:.0f} may be"
            )
        return Said(MEANINGS[outcome])


def signal(rule: str, value: float | None) -> str:
    """A rule that refused a document: the signal, what the document has, what was asked, and what the signal is."""
    name, sign, bound = [*rule.split(), "", ""][:3]
    meaning = SIGNALS.get(name, "").partition(" (")[0]
    has = "no number" if value is None else f"{value:.4g}"
    return f"{name} is {has}, {ASKED.get(sign, sign)} {bound} is asked" + (f" ({meaning})" if meaning else "")


def at_hand(root: Path, settings: dict[str, Any]) -> list[overlap.Reference]:
    """The n-grams of Wikipedia that a corpus was compared with, those that are still there and not too large."""
    paths = [Artefact(root, "scratch/wikipedia", 1).folder / storage.shard_name(0, 1, ".npy")]
    paths += [root / mirror(settings["wikipedia_reference"])] if settings.get("wikipedia_reference") else []
    found = []
    for path in paths:
        try:
            if storage.size_of(path) <= MOST_REFERENCE_BYTES:
                with storage.reading(path) as file:
                    found.append(overlap.Reference.load(file))
        except (OSError, InputError):  # gone, or another since: then nothing is marked
            continue
    return found


def marked(text: str, references: list[overlap.Reference]) -> Spans:
    """The passages of a text whose n-grams the reference holds that holds most of them, overlapping ones as one."""
    every = [(reference, *overlap.grams_of(text, reference.n)) for reference in references]
    if not every:
        return ()
    reference, hashes, spans = max(every, key=lambda found: found[0].holds(found[1]).sum())
    found: list[tuple[int, int]] = []
    for (first, last), held in zip(spans, reference.holds(hashes).tolist(), strict=True):
        if held and found and first <= found[-1][1]:
            found[-1] = found[-1][0], last
        elif held:
            found.append((first, last))
    return tuple(found)
