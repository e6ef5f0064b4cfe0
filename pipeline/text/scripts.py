"""Which characters belong to the word before them, and which scripts are written without spaces between words.

Choice: UAX #29's rules for words, as far as texts are compared by them: a combining mark or a joiner never begins or
ends a word (WB4), and scripts without spaces have a boundary at every character, for want of a dictionary. Both kinds
stand in one table of all code points, so that a text is asked in microseconds whether it holds any. Cost: a megabyte,
and 40 ms for the first such text of a process. Alternative: `regex` or ICU, whose Unicode is another than Python's, on
which `lower` and NFC rest; the hashes of a corpus would change with either.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

MARK, UNSPACED, RISING = 1, 2, 3  # a mark or joiner; a letter of a script without spaces; a letter that gains a mark
# Scripts of Line_Break=SA (UAX #14), three of their relatives and those of East Asia, by blocks; digits and signs in
# them are as elsewhere.
BLOCKS = (
    (0x0E00, 0x0EFF), (0x0F40, 0x0FBC), (0x1000, 0x109F), (0x1780, 0x17FF),  # Thai and Lao, Tibetan, Myanmar, Khmer
    (0x1950, 0x19DF), (0x1A20, 0x1AAF), (0x1B00, 0x1B7F), (0xA980, 0xA9FF),  # Tai Le to Tai Tham, Balinese, Javanese
    (0xAA60, 0xAADF), (0x11700, 0x1174F),  # Tai Viet, Ahom
    (0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x30FF), (0x3100, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFD),
)  # fmt: skip
# Marks that say how a sign is drawn, not which it is: enclosing ones (a keycap) and variation selectors.
DRAWING = ((0x20DD, 0x20E4), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
JOINERS = (0x200C, 0x200D)
CAPITAL_I_WITH_DOT = 0x130  # whose small letter is two characters, the second a mark

Kinds = npt.NDArray[np.uint8]


@functools.cache
def kinds() -> Kinds:
    """Of every code point MARK, UNSPACED, RISING, or 0 for all others."""
    table = np.zeros(sys.maxunicode + 1, np.uint8)
    marks = [code for code in range(0x300, 0x1F000) if unicodedata.category(chr(code))[0] == "M"]
    table[[*marks, *JOINERS]] = MARK
    for first, last in DRAWING:
        table[first : last + 1] = 0
    for first, last in BLOCKS:
        table[[code for code in range(first, last + 1) if chr(code).isalpha() or code == 0x3007]] = UNSPACED
    table[CAPITAL_I_WITH_DOT] = RISING
    return table


def kinds_of(text: str) -> Kinds:
    """The kind of every character of a text."""
    return kinds()[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))]


@functools.lru_cache(maxsize=4)  # several ask of one text
def is_plain(text: str) -> bool:
    """Whether a text holds neither marks nor letters of scripts without spaces, so that its words are simple."""
    return text.isascii() or not kinds_of(text).any()


def holds_unspaced(text: str) -> bool:
    """Whether a text holds letters of scripts without spaces."""
    return not is_plain(text) and bool((kinds_of(text) == UNSPACED).any())


@functools.cache
def character_class(kind: int) -> str:
    """The code points of a kind as they stand between the brackets of a regular expression."""
    return "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in ranges(kinds() == kind))


def ranges(flags: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last place of every run of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)
