"""Train-test overlap: how much of an evaluation text stands in the corpus, and in the evaluation's own train set.

Choice: the evaluation texts are small, so their 8-grams are held and the corpus streams past them once: exact, whatever
the size of the corpus. Radford et al. 2019, section 4, held the corpus in Bloom filters (false positives under 1e-8)
because they asked many sets at once. Words are lower-cased letters and digits there and here. Cost: a pass over the
corpus for each call; name all sets in one. Alternative: filters of the corpus, 8 bytes an n-gram.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.build import artefact
from pipeline.shards import progress, schemas
from pipeline.shards.outcomes import BooksError
from pipeline.text.contamination import FILLER, Evaluation, read_evaluation
from pipeline.text.overlap import NGRAM, Hashes, Reference, compared_words, ngram_hashes


@dataclass
class Asked:
    """The 8-grams of one evaluation set, as often as they occur, and which different ones have been met."""

    name: str
    grams: Hashes
    reference: Reference
    met: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.met = np.zeros(len(self.reference.hashes), bool)

    @classmethod
    def of(cls, evaluation: Evaluation) -> Asked:
        """The question that a set of texts asks."""
        parts = [ngram_hashes(compared_words(text), NGRAM) for text in evaluation.texts]
        return cls(str(evaluation.path), np.concatenate(parts), Reference.from_hashes(parts, NGRAM))

    def pass_by(self, text: str) -> None:
        """Note what a text of the corpus shares with the set."""
        hashes = ngram_hashes(compared_words(text), NGRAM)
        shared = hashes[self.reference.holds(hashes)]
        self.met[np.searchsorted(self.reference.hashes, shared)] = True

    @property
    def share(self) -> float:
        """The share of the set's 8-grams, each as often as it occurs, that have been met."""
        if not len(self.grams):
            return 0.0
        return float(np.mean(self.met[np.searchsorted(self.reference.hashes, self.grams)]))


@dataclass(frozen=True)
class Overlap:
    """One line of the report: shares of the evaluation's 8-grams in the corpus, and in its own train set (or None)."""

    name: str
    grams: int
    corpus: float
    train: float | None
    notes: tuple[str, ...] = ()  # on rows that are too short to be found


def overlaps(root: Path, shards: int, evaluations: Sequence[Path], trains: Sequence[Path]) -> list[Overlap]:
    """The overlap of each evaluation file with the corpus, and with the train file at the same place, if one is given.

    Raises InputError: a file cannot be read; IntegrityError: no corpus; BooksError: the search finds nothing that was
    planted.
    """
    sets = [read_evaluation(path, NGRAM) for path in evaluations]
    asked = list(map(Asked.of, sets))
    for evaluation in sets:
        prove(evaluation)
    with progress.phase("overlap", artefact(root, "corpus", shards).kept(range(shards), "corpus"), noun="documents"):
        for text in progress.each(texts_of(root, shards)):
            for question in asked:
                question.pass_by(text)
    own = [against(path, train) for path, train in zip(evaluations, trains, strict=False)]
    return [
        Overlap(
            evaluation.name,
            len(evaluation.grams),
            evaluation.share,
            own[place] if place < len(own) else None,
            tuple(sets[place].summary()),
        )
        for place, evaluation in enumerate(asked)
    ]


def texts_of(root: Path, shards: int) -> Iterator[str]:
    """Every text of the corpus."""
    corpus = artefact(root, "corpus", shards)
    for shard in range(shards):
        for batch in schemas.iterate_parquet(corpus.file(shard, ".parquet"), ["text"], rows=1_000):
            yield from batch["text"].to_pylist()


def against(evaluation: Path, train: Path) -> float:
    """The overlap of an evaluation file with another file."""
    return met(read_evaluation(evaluation, NGRAM), read_evaluation(train, NGRAM).texts)


def met(evaluation: Evaluation, texts: Iterable[str]) -> float:
    """The overlap of an evaluation set with texts."""
    question = Asked.of(evaluation)
    for text in texts:
        question.pass_by(text)
    return question.share


def prove(evaluation: Evaluation) -> None:
    """Raise BooksError unless the set is found where it is planted in words of no text, and nothing of it elsewhere."""
    filler = " ".join(FILLER)
    if (
        met(evaluation, [f"{filler} {text} {filler}" for text in evaluation.texts]) != 1.0
        or met(evaluation, [filler]) != 0.0
    ):
        raise BooksError(f"{evaluation.path}: its own text, planted in a document, is not found; nothing was measured")
