"""Boilerplate paragraphs: those that stand in many documents, which extraction let through.

Choice: a paragraph is 8 bytes of its words without case, punctuation and numbers, CCNet's normal form (Wenzek et al.
2020, section 3.1), so that "Posted 3 May" and "posted 12 June" are near enough to differ in a month only. Cost: a
paragraph with one word changed is another. Alternative: MinHash of paragraphs, twenty times the signatures for what is
mostly copied by machines, to the letter.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.text.normalize import counted_words, words
from pipeline.text.scripts import holds_unspaced

Hashes = NDArray[np.uint64]

LEAST_WORDS = 5  # fewer are headings and bylines, which anybody may write
NUMBER = re.compile(r"\d+")
GAP = "\n\n"  # between paragraphs of a clean text, see `normalize.clean`


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a clean text; joined by GAP they are the text."""
    return text.split(GAP)


def paragraph_hashes(parts: Sequence[str]) -> Hashes:
    """A hash of each paragraph, the same for near copies; 0 for those of fewer than LEAST_WORDS words."""
    return np.array(list(map(hash_of, parts)), np.uint64)


def hash_of(part: str) -> int:
    """8 bytes of BLAKE2b of the words, numbers alike; 0 for too few."""
    tokens = words(part)
    if len(tokens) < LEAST_WORDS or (holds_unspaced(part) and len(counted_words(part)) < LEAST_WORDS):
        return 0
    normal = NUMBER.sub("0", " ".join(tokens))
    return int.from_bytes(hashlib.blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def copied_words(parts: Sequence[str], copied: Hashes) -> list[int]:
    """Of each paragraph its words as they are counted, if its hash is in the sorted array `copied`; else 0."""
    hashes = paragraph_hashes(parts)
    places = np.minimum(np.searchsorted(copied, hashes), max(len(copied) - 1, 0))
    known = (copied[places] == hashes) & (hashes > 0) if len(copied) else np.zeros(len(hashes), bool)
    return [len(counted_words(part)) if hit else 0 for part, hit in zip(parts, known.tolist(), strict=True)]
