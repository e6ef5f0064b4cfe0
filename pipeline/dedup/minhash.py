"""MinHash: documents as sets of shingles, sets as signatures, signatures as band values.

Choice: shingles are hashed by tables over bytes in numpy and permuted by datasketch's `affine32` scheme (the default
since 2.0.0: the MurmurHash3 finaliser, then a * h + b mod 2^32), so signatures are datasketch's bit for bit at about
0.2 ms for a document of 1,000 words. Cost: a shingle is 32 bits, so of two documents of n shingles about n^2 / 2^32
agree by accident (1,000 words: 0.0002 of a shingle). Alternative: datasketch's own update, one SHA-1 a shingle.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.outcomes import ConfigError

Number = TypeVar("Number", np.uint32, np.uint64)
EMPTY = np.uint32(2**32 - 1)  # every place of the signature of a document without shingles, as in datasketch

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd: the step of SplitMix64 (Steele et al. 2014)
SHIFT_32 = np.uint64(32)
NEWLINE = 10
LONGEST_WORD = 64  # bytes of UTF-8; a longer word stands in by its digest, which bounds the table to 130 KB
WORDS_AT_ONCE = 65_536  # hashed in one go: under 50 MB for ordinary words
HASHES_AT_ONCE = 1_024  # permuted in one go: 512 KB at 128 permutations, which stays in a core's cache
SIGNATURES_AT_ONCE = 1_024  # cut into bands in one go: 1 MB at 128 permutations


@dataclass(frozen=True)
class Permutations:
    """P random permutations h -> a * h + b mod 2^32 of 32-bit hashes; `a` odd. Both uint32, shape (P,)."""

    a: NDArray[np.uint32]
    b: NDArray[np.uint32]


def permutations(count: int, seed: int) -> Permutations:
    """The `count` permutations that datasketch draws for `seed` (scheme affine32)."""
    from datasketch import MinHash  # noqa: PLC0415 - loads scipy, over a second, which only this call needs

    a, b = MinHash(num_perm=count, seed=seed, scheme="affine32").permutations
    return Permutations(a, b)


def shingles(words: list[str], n: int) -> NDArray[np.uint32]:
    """Hashes of the word n-grams of a document: uint32, unique, ascending.

    Fewer than `n` words, but at least one, are one shingle; no word gives none. A line break inside a word parts it;
    lone surrogates are hashed like any other character.
    """
    if not words:
        return np.empty(0, np.uint32)
    parts = [word_hashes(words[start : start + WORDS_AT_ONCE]) for start in range(0, len(words), WORDS_AT_ONCE)]
    hashes = np.concatenate(parts)
    width = min(n, len(hashes))
    count = len(hashes) - width + 1
    grams = np.full(count, width, np.uint64)
    for place in range(width):
        grams *= GOLDEN
        grams += hashes[place : place + count]
    return distinct((mixed_64(grams) >> SHIFT_32).astype(np.uint32))


def word_hashes(words: Sequence[str]) -> NDArray[np.uint64]:
    """One uint64 a word by simple tabulation (Patrascu and Thorup 2012): XOR over its bytes of table[place][byte]."""
    text = "\n".join(words) + "\n"
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    ends = np.flatnonzero(data == NEWLINE) + 1
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
    lengths = ends - starts
    if lengths.max() > LONGEST_WORD + 1:
        return word_hashes([shortened(word) for word in text[:-1].split("\n")])
    cells = np.arange(len(data)) - np.repeat(starts, lengths)
    cells <<= 8
    cells += data
    return np.asarray(np.bitwise_xor.reduceat(byte_table().take(cells), starts))


def shortened(word: str) -> str:
    """The word itself, or the BLAKE2b-128 digest in hex of one longer than LONGEST_WORD bytes."""
    data = word.encode("utf-8", "surrogatepass")
    return word if len(data) <= LONGEST_WORD else hashlib.blake2b(data, digest_size=16).hexdigest()


@functools.lru_cache(maxsize=1)
def byte_table() -> NDArray[np.uint64]:
    """Random uint64 of each (place in the word, byte), flat; the line break that ends a word has a place too."""
    return scrambled((LONGEST_WORD + 1) * 256)


def scrambled(count: int) -> NDArray[np.uint64]:
    """The first `count` outputs of SplitMix64 from state 0: the same on every machine and in every version."""
    return mixed_64(np.arange(1, count + 1, dtype=np.uint64) * GOLDEN)


def mixed_64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A fixed bijection of uint64 in which every bit hangs on every other: the finaliser of SplitMix64."""
    mixed = values ^ (values >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def mixed_32(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """MurmurHash3's 32-bit finaliser (Appleby 2011, fmix32), with which datasketch prepares hashes."""
    mixed = values ^ (values >> np.uint32(16))
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0xC2B2AE35)
    mixed ^= mixed >> np.uint32(16)
    return mixed


def distinct(values: NDArray[Number]) -> NDArray[Number]:
    """The values once each, ascending. Sorts `values` in place."""
    values.sort()
    first = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return values[first]


def signature(hashes: NDArray[np.uint32], permutations: Permutations) -> NDArray[np.uint32]:
    """The least permuted hash under each permutation: uint32 of shape (P,), all EMPTY for no hashes (Broder 1997)."""
    lowest = np.full(len(permutations.a), EMPTY)
    a, b = permutations.a[:, None], permutations.b[:, None]
    mixed = mixed_32(hashes)
    for start in range(0, len(mixed), HASHES_AT_ONCE):
        permuted = a * mixed[start : start + HASHES_AT_ONCE]
        permuted += b
        np.minimum(lowest, permuted.min(axis=1), out=lowest)
    return lowest


def agreement(left: NDArray[np.uint32], right: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Share of equal places of each pair of rows, (N, P) and (N, P) to (N,): an unbiased estimate of Jaccard."""
    return np.asarray(np.count_nonzero(left == right, axis=1) / left.shape[1])


def jaccard(left: NDArray[np.uint32], right: NDArray[np.uint32]) -> float:
    """Shared over all shingles of two sets as `shingles` gives them. 0 where both are empty: no text, no likeness."""
    both = np.concatenate((left, right))
    both.sort()
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / max(1, len(both) - shared)


def containment(left: NDArray[np.uint32], right: NDArray[np.uint32]) -> float:
    """Shared over the smaller of two sets as `shingles` gives them: 1 for an excerpt. 0 where either is empty."""
    shared = np.intersect1d(left, right, assume_unique=True)
    return len(shared) / max(1, min(len(left), len(right)))


def band_values(signatures: NDArray[np.uint32], bands: int, rows: int) -> NDArray[np.uint64]:
    """Hash of each band of each signature, (N, P) to (N, bands): equal where the `rows` places of the band are equal.

    Bands differ in their multipliers, so equal values in two bands are an accident (2^-64 a pair). The same on every
    machine. Raises ConfigError where the signatures have fewer than bands x rows places.
    """
    places = bands * rows
    if signatures.shape[1] < places:
        raise ConfigError(
            f"corpus.bands x corpus.rows = {places}, but the signatures have {signatures.shape[1]} places; "
            "lower one of the two or raise documents.permutations"
        )
    multipliers = scrambled(places) | np.uint64(1)
    values = np.empty((len(signatures), bands), np.uint64)
    for start in range(0, len(signatures), SIGNATURES_AT_ONCE):
        products = signatures[start : start + SIGNATURES_AT_ONCE, :places].astype(np.uint64)
        products += np.uint64(1)  # else a place of 0 would forget its multiplier
        products *= multipliers
        by_band = products.reshape(-1, bands, rows)
        total = by_band[:, :, 0].copy()
        for row in range(1, rows):
            total += by_band[:, :, row]
        values[start : start + SIGNATURES_AT_ONCE] = mixed_64(total)
    return values
