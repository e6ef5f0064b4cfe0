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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.plaintext import decoded
from pipeline.shards import storage
from pipeline.shards.outcomes import BooksError, InputError, Outcome
from pipeline.text.normalize import WORD
from pipeline.text.overlap import Hashes, Reference, distinct, ngram_hashes

N = 13  # words
WINDOW = 200  # characters cut out on each side of a collision
LEAST_PIECE = 200  # characters
MOST_PIECES = 10  # of a document
MOST_DOCUMENTS = 10  # that share a 13-gram before it counts as common speech
FILLER = tuple(f"selftest{number}filler" for number in range(200))  # words of no text: 3,600 characters
HALF_BEFORE, HALF_AFTER = re.compile(r"\A\S{1,40}(?=\s)"), re.compile(r"(?<=\s)\S{1,40}\Z")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation set: its file and its texts."""

    path: Path
    texts: tuple[str, ...]


def read_evaluation(path: Path) -> Evaluation:
    """The texts of a file: every string of every row of .jsonl or .ndjson, else the whole file as one text.

    Raises InputError: the file cannot be read, a line is no JSON, or no text has N words.
    """
    try:
        content = decoded(storage.read_bytes(path))
        rows = content.splitlines() if path.suffix in (".jsonl", ".ndjson") else None
        texts = tuple(strings(map(json.loads, filter(str.strip, rows)))) if rows is not None else (content,)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: evaluation texts cannot be read: {error}") from None
    if not any(len(WORD.findall(text)) >= N for text in texts):
        raise InputError(f"{path}: no text of {N} words or more; nothing could ever be found")
    return Evaluation(path, texts)


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
    reference = Reference.from_hashes((grams_of(text)[0] for one in sets for text in one.texts), N)
    for one in sets:
        prove(one, reference)
    return reference


def grams_of(text: str) -> tuple[Hashes, list[tuple[int, int]]]:
    """The hashes of the N-grams of a text, and where each word of it begins and ends."""
    words = list(WORD.finditer(text))
    return ngram_hashes([word.group().lower() for word in words], N), [word.span() for word in words]


def collisions(text: str, reference: Reference) -> Hashes:
    """The N-grams of a text that the reference holds, each once, ascending."""
    hashes, _ = grams_of(text)
    return distinct([hashes[reference.holds(hashes)]])


def common(found: Iterable[Hashes]) -> Hashes:
    """Of the collisions of all documents, those of more than MOST_DOCUMENTS."""
    every = np.concatenate([np.empty(0, np.uint64), *found])
    values, counts = np.unique(every, return_counts=True)
    return np.asarray(values[counts > MOST_DOCUMENTS])


@dataclass(frozen=True)
class Cutter:
    """Cuts the N-grams of a reference out of texts, but for `ignored` ones."""

    reference: Reference
    ignored: Hashes

    def __call__(self, text: str) -> list[str]:
        """What is left of a text, in pieces; the text itself where nothing has to go."""
        hashes, spans = grams_of(text)
        hits = np.flatnonzero(self.reference.holds(hashes) & ~np.isin(hashes, self.ignored))
        if not len(hits):
            return [text]
        left, begin = [], 0
        for hit in hits.tolist():
            left.append((begin, max(begin, spans[hit][0] - WINDOW)))
            begin = max(begin, spans[hit + N - 1][1] + WINDOW)
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


def prove(one: Evaluation, reference: Reference) -> None:
    """Raise BooksError unless a passage of the set, planted in words of no text, is cut out, and only that."""
    passage = next(text for text in one.texts if len(WORD.findall(text)) >= N)
    words = [word.group() for word in WORD.finditer(passage)][:N]
    cut = Cutter(reference, np.empty(0, np.uint64))
    planted = " ".join([*FILLER[:100], *words, *FILLER[100:]])
    found = cut(planted)
    clean = " ".join(FILLER)
    if len(found) != 2 or any(" ".join(words) in piece for piece in found):
        raise BooksError(f"{one.path}: its own text, planted in a document, is not found; nothing was decided")
    if cut(clean) != [clean]:
        raise BooksError(f"{one.path}: it is found in a document that holds nothing of it; nothing was decided")
