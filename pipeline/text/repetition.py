"""Repetition signals: how much of a text says again what it said, in lines, paragraphs and n-grams, after Gopher.

Choice: the thirteen measures of Rae et al. 2021, table A1, section "repetition", as shares of the characters of words
(white space counts on neither side). An n-gram's number is made of the (n-1)-gram's and one word's, by sorting, so that
nothing is hashed and nothing collides. Cost: nine sorts of as many numbers as the text has words, a millisecond for
1,000 words. Alternative: sets of strings, simple (it is the oracle in the tests) and five times as slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

TOP = (2, 3, 4)  # of the most frequent of these n-grams
DUPLICATE = (5, 6, 7, 8, 9, 10)  # of all of these that stood earlier

Numbers = npt.NDArray[Any]

REPETITIONS: dict[str, str] = {
    "duplicate_line_share": "lines that stood earlier in the text (Rae et al. 2021, table A1: at most 0.3)",
    "duplicate_paragraph_share": "paragraphs that stood earlier (Rae et al. 2021, table A1: at most 0.3)",
    "duplicate_line_char_share": "characters in such lines (Rae et al. 2021: at most 0.2; Penedo et al. 2024: 0.01)",
    "duplicate_paragraph_char_share": "characters in such paragraphs (Rae et al. 2021, table A1: at most 0.2)",
    "top_2gram_share": "characters in the most frequent 2-gram (Rae et al. 2021, table A1: at most 0.2)",
    "top_3gram_share": "characters in the most frequent 3-gram (Rae et al. 2021, table A1: at most 0.18)",
    "top_4gram_share": "characters in the most frequent 4-gram (Rae et al. 2021, table A1: at most 0.16)",
    "duplicate_5gram_share": "characters in 5-grams that stood earlier (Rae et al. 2021, table A1: at most 0.15)",
    "duplicate_6gram_share": "characters in 6-grams that stood earlier (Rae et al. 2021, table A1: at most 0.14)",
    "duplicate_7gram_share": "characters in 7-grams that stood earlier (Rae et al. 2021, table A1: at most 0.13)",
    "duplicate_8gram_share": "characters in 8-grams that stood earlier (Rae et al. 2021, table A1: at most 0.12)",
    "duplicate_9gram_share": "characters in 9-grams that stood earlier (Rae et al. 2021, table A1: at most 0.11)",
    "duplicate_10gram_share": "characters in 10-grams that stood earlier (Rae et al. 2021, table A1: at most 0.1)",
}


def repetitions(text: str, tokens: Sequence[str], lines: Sequence[str]) -> dict[str, float]:
    """Every measure of REPETITIONS, in its order; `tokens` are the words of the text, `lines` its lines with text."""
    paragraphs = [paragraph.strip() for paragraph in text.split("\n\n") if paragraph and not paragraph.isspace()]
    of_lines, of_paragraphs = repeated(lines), repeated(paragraphs)
    shares = [of_lines[0], of_paragraphs[0], of_lines[1], of_paragraphs[1], *gram_shares(tokens)]
    return dict(zip(REPETITIONS, shares, strict=True))


def repeated(pieces: Sequence[str]) -> tuple[float, float]:
    """(share of the pieces that repeat an earlier one, share of the characters in them)."""
    chars, seen = sum(map(len, pieces)), set(pieces)
    if not chars:
        return 0.0, 0.0
    return (len(pieces) - len(seen)) / len(pieces), (chars - sum(map(len, seen))) / chars


def gram_shares(tokens: Sequence[str]) -> list[float]:
    """For each n of TOP and of DUPLICATE the share of words' characters; 0.0 for a text of fewer than n words."""
    numbers = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    words = np.fromiter(map(numbers.__getitem__, tokens), np.int64, len(tokens))
    chars = np.fromiter(map(len, tokens), np.int64, len(tokens))
    before = np.concatenate([[0], np.cumsum(chars)])
    grams, shares = words, []
    for n in range(2, DUPLICATE[-1] + 1):
        if len(tokens) < n:
            shares.append(0.0)
            continue
        pairs = grams[:-1] * len(numbers) + words[n - 1 :]  # below 2**63 for texts of fewer than 3 billion words
        _, first, grams, counts = np.unique(pairs, return_index=True, return_inverse=True, return_counts=True)
        if n in TOP:
            shares.append(top_share(first, counts, before, n))
        else:
            shares.append(duplicate_share(np.arange(len(grams)) != first[grams], chars, n))
    return shares


def top_share(first: Numbers, counts: Numbers, before: Numbers, n: int) -> float:
    """Characters of the most frequent n-gram, of the longest where several are; 0.0 when none comes twice."""
    most = counts.max()
    size = (before[first + n] - before[first])[counts == most].max()
    return min(1.0, float(size * most / before[-1])) if most > 1 else 0.0


def duplicate_share(again: Numbers, chars: Numbers, n: int) -> float:
    """Characters of words in any n-gram that stood earlier, each word once; `again` flags those n-grams by place."""
    change = np.zeros(len(chars) + 1, np.int64)
    change[: len(again)] += again
    change[n : n + len(again)] -= again
    return float(chars[np.cumsum(change[:-1]) > 0].sum() / chars.sum())
