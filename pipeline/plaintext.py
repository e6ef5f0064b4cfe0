"""Text files that a user names, as characters: lists, settings, evaluation texts, dumps, tables.

Choice: the byte order mark decides (Unicode 15, section 23.8), and without one a text whose first two characters are of
ASCII shows by its zeros whether it is UTF-16 (RFC 4627, section 3); everything else is UTF-8, or refused. So what
Windows' editors and PowerShell's `>` write is read like the rest. Cost: a look at the first four bytes. Alternative: to
guess legacy encodings, as is done for pages, and to block a host that nobody named.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

MARKS = (  # longest first: the mark of UTF-32 in little-endian order begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
HEAD_BYTES = 4


def encoding_of(head: bytes) -> str:
    """The codec of a text that begins with these bytes, HEAD_BYTES of them where there are so many."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    zeros = "".join("x" if byte else "0" for byte in head[:HEAD_BYTES])
    return {"x0x0": "utf-16-le", "0x0x": "utf-16-be"}.get(zeros, "utf-8")


def decoded(data: bytes) -> str:
    """The characters of a whole file, without its mark. Raises UnicodeDecodeError: not UTF-8, and no mark says what."""
    return data.decode(encoding_of(data[:HEAD_BYTES]))


def read_lines(path: Path) -> list[str]:
    """The lines of a whole file; CR, LF or both end one, nothing else. Raises OSError, UnicodeDecodeError."""
    return decoded(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n").split("\n")


def entries(lines: Iterable[str]) -> Iterable[str]:
    """The entries of a list: one a line, without blank lines and what follows a `#`."""
    return filter(None, (line.partition("#")[0].strip() for line in lines))


def is_text(word: str) -> bool:
    """Whether a name or a word of the command line was UTF-8; Python gives other bytes as lone surrogates (PEP 383)."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_utf8(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in UTF-8 without a mark, in pieces; half characters stay what they are, so that lines can be told.

    UTF-8 is handed through as it is, sound or not. Raises UnicodeDecodeError: UTF-16 or UTF-32 that breaks off within a
    character.
    """
    left, head = iter(pieces), b""
    while len(head) < HEAD_BYTES and (piece := next(left, None)) is not None:
        head += piece
    name = encoding_of(head)
    if name.startswith("utf-8"):
        yield head.removeprefix(codecs.BOM_UTF8)
        yield from left
        return
    decoder = codecs.getincrementaldecoder(name)("surrogatepass")
    for piece in chain([head], left):
        yield decoder.decode(piece).encode("utf-8", "surrogatepass")
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
