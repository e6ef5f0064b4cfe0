"""Evaluation texts that stand in the corpus: GPT-3's way to cut them out, and a proof that it is at work.

Choice: Brown et al. 2020, appendix C: a 13-gram that an evaluation text shares with a document is cut out with 200
characters on both sides, pieces under 200 characters go, a document of more than ten pieces goes whole, and a 13-gram
found in more than ten documents is common speech and ignored. Cost: the text is read twice; the pieces of one document
stay one document, a blank line between them. Alternative: remove the whole document for one collision, which by the
same appendix punished long documents for quotations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.counts import counted
from pipeline.plaintext import decoded
from pipeline.shards import storage
from pipeline.shards.outcomes import BooksError, InputError, Outcome
from pipeline.text.normalize import clean
from pipeline.text.overlap import Hashes, Reference, compared_words, distinct, grams_of, halves_before

N = 13  # words
NAMED = 5  # lines of a file that are too short, by number
WINDOW = 200  # characters cut out on each side of a collision
LEAST_PIECE = 200  # characters
MOST_PIECES = 10  # of a document
ADDED_UP = 1_000_000  # collisions at once: 8 MB of them
MOST_DOCUMENTS = 10  # that share a 13-gram before it counts as common speech
FILLER = tuple(f"selftest{number}filler" for number in range(200))  # words of no text: 3,600 characters
HALF_BEFORE, HALF_AFTER = re.compile(r"\A\S{1,40}(?=\s)"), re.compile(r"(?<=\s)\S{1,40}\Z")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation set: its file, its texts, and the lines whose texts are all too short to be found."""

    path: Path
    texts: tuple[str, ...]
    short: tuple[int, ...] = ()
    least: int = N  # words that a text must have

    def summary(self) -> list[str]:
        """What a person should know about lines that will not be found, if there are any."""
        if not self.short:
            return []
        first = ", ".join(map(str, self.short[:NAMED])) + (", …" if len(self.short) > NAMED else "")
        return [
            f"{self.path}: not looked for: {counted(len(self.short), 'row')} without a text of {self.least} words "
            f"(line {first})"
        ]


def read_evaluation(path: Path, least: int = N) -> Evaluation:
    """The texts of a file, clean as documents are: every string of every row of .jsonl or .ndjson, else the whole file.

    Raises InputError: the file cannot be read, a line is no JSON, or no text has `least` words.
    """
    try:
        content = decoded(storage.read_bytes(path))
        rows = rows_of(content) if path.suffix in (".jsonl", ".ndjson") else [[clean(content)]]
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: evaluation texts cannot be read: {error}") from None
    short = tuple(number for number, row in enumerate(rows, 1) if row and not any(is_long(text, least) for text in row))
    if len(short) == sum(map(bool, rows)):
        raise InputError(f"{path}: no text of {least} words or more, so that nothing could be found in the corpus")
    return Evaluation(path, tuple(chain.from_iterable(rows)), short, least)


def rows_of(content: str) -> list[list[str]]:
    r"""The strings of every line, clean; none of a blank one. Raises ValueError, with the line's number: no JSON.

    A line ends in \n alone: U+2028 and its like may stand in a string as they are (RFC 8259, section 7).
    """
    rows = []
    for number, line in enumerate(content.split("\n"), 1):
        try:
            rows.append(list(map(clean, strings([json.loads(line)] if line.strip() else []))))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return rows


def is_long(text: str, least: int) -> bool:
    """Whether a text has so many words, characters of scripts without spaces counting half."""
    return int(halves_before(compared_words(text))[-1]) >= 2 * least


def strings(values: Iterable[object]) -> Iterator[str]:
    """Every string in nested lists and dicts."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from strings(value.values())
        elif isinstance(value, list):
            yield from strings(value)


@lru_cache(maxsize=1)
def contaminants(files: tuple[tuple[Path, str], ...]) -> Reference:
    """The N-grams of evaluation files (with their sha256), kept for the process; proved before anybody may use them."""
    sets = [read_evaluation(path) for path, _ in files]
    reference = Reference.from_hashes((grams_of(text, N)[0] for evaluation in sets for text in evaluation.texts), N)
    for evaluation in sets:
        prove(evaluation, reference)
    return reference


def collisions(text: str, reference: Reference) -> Hashes:
    """The N-grams of a text that the reference holds, each once, ascending."""
    hashes, _ = grams_of(text, N)
    return distinct([hashes[reference.holds(hashes)]])


def common(found: Iterable[Hashes]) -> Hashes:
    """Of the collisions of all documents, those of more than MOST_DOCUMENTS.

    Memory: each twice, and a part of them. They are added up whenever as many wait as are known, so each seldom.
    """
    counted = np.empty(0, np.uint64), np.empty(0, np.int64)
    waiting: list[Hashes] = []
    for part in found:
        waiting.append(part)
        if sum(map(len, waiting)) > max(ADDED_UP, len(counted[0])):
            counted, waiting = added_up(*counted, waiting), []
    values, counts = added_up(*counted, waiting)
    return values[counts > MOST_DOCUMENTS]


def added_up(values: Hashes, counts: NDArray[np.int64], more: Sequence[Hashes]) -> tuple[Hashes, NDArray[np.int64]]:
    """Distinct hashes, ascending, and how often each was found; `more` are found once more each."""
    new = np.concatenate([np.empty(0, np.uint64), *more])
    known, place = np.unique(np.concatenate([values, new]), return_inverse=True)
    weights = np.concatenate([counts, np.ones(len(new), np.int64)])
    return known, np.bincount(place, weights, len(known)).astype(np.int64)


@dataclass(frozen=True)
class Cutter:
    """Cuts the N-grams of a reference out of texts, but for `ignored` ones."""

    reference: Reference
    ignored: Hashes

    def __call__(self, text: str) -> list[str]:
        """What is left of a text, in pieces; the text itself where nothing has to go."""
        hashes, spans = grams_of(text, N)
        hits = np.flatnonzero(self.reference.holds(hashes) & ~np.isin(hashes, self.ignored))
        if not len(hits):
            return [text]
        left, begin = [], 0
        for hit in hits.tolist():
            left.append((begin, max(begin, spans[hit][0] - WINDOW)))
            begin = max(begin, spans[hit][1] + WINDOW)
        left.append((begin, len(text)))
        cut = (whole_words(text, start, end) for start, end in left)
        return [piece for piece in cut if len(piece) >= LEAST_PIECE]


def verdict(pieces: list[str]) -> tuple[Outcome, str | None, float | None, float | None]:
    """Whether a document stays that is left in these pieces; else rule, number of pieces, and the most there may be."""
    if 0 < len(pieces) <= MOST_PIECES:
        return Outcome.KEPT, None, None, None
    return Outcome.CONTAMINATED, "contamination", len(pieces), MOST_PIECES


def whole_words(text: str, start: int, end: int) -> str:
    """The text between two places, without the halves of words at its edges (in scripts that part words by spaces)."""
    piece = text[start:end]
    if 0 < start < len(text) and not text[start - 1].isspace():
        piece = HALF_BEFORE.sub("", piece)
    if end < len(text) and not text[end].isspace():
        piece = HALF_AFTER.sub("", piece)
    return piece.strip()


def prove(evaluation: Evaluation, reference: Reference) -> None:
    """Raise BooksError unless a passage of the set, planted in words of no text, is cut out, and only that."""
    passage, spans = next((text, spans) for text in evaluation.texts if (spans := grams_of(text, N)[1]))
    words = passage[slice(*spans[0])]
    cut = Cutter(reference, np.empty(0, np.uint64))
    planted = " ".join([*FILLER[:100], words, *FILLER[100:]])
    found = cut(planted)
    filler = " ".join(FILLER)
    if len(found) != 2 or any(words in piece for piece in found):
        raise BooksError(f"{evaluation.path}: its own text, planted in a document, is not found; nothing was decided")
    if cut(filler) != [filler]:
        raise BooksError(f"{evaluation.path}: it is found in a document that holds nothing of it; nothing was decided")
