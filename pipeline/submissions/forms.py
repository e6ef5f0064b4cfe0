"""Decompression: compressed files as the bytes within, in bounded pieces, and never a shorter file than was written.

Choice: decompress in pieces of 4 KiB with decoders that know whether a frame has ended. A truncated file is an error,
never a shorter one: python-zstandard's stream_reader ends silently in mid-frame. Cost: the frame check is ours; about
3 % of decompression time for the small pieces. They bound memory: a piece of zstandard grows at most 32,768 times
(4 bytes make a block of 128 KiB), so 128 MiB. Alternative: `gzip.open` and its like, each with another opinion of what
a damaged file is.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from pipeline.plaintext import as_utf8
from pipeline.shards import storage
from pipeline.shards.outcomes import InputError

PIECE_BYTES = 4_096  # compressed, handed to a decoder at a time
CHUNK_BYTES = 1 << 17  # decompressed, split into lines at a time; a core's cache holds it, malloc keeps its pages
LONGEST_LINE = 16 << 20  # bytes; Reddit's longest field, selftext, holds 40,000 characters
WRITE_BYTES = 1 << 15  # zstandard's own buffer; at 128 KiB malloc would map new pages for every piece
WINDOW_BYTES = 2**31  # `zstd --long=31`, with which the Pushshift and Arctic Shift dumps are written


def lines_of(path: Path) -> Iterator[bytes | None]:
    """The lines of a file, decompressed, as `whole_lines` gives them. Raises InputError as `text_of` does."""
    return whole_lines(text_of(path))


def text_of(path: Path) -> Iterator[bytes]:
    """A text file in UTF-8, decompressed, in chunks of at most CHUNK_BYTES. Raises InputError as `decompress` does."""
    try:
        yield from gather(as_utf8(decompress(path)))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: truncated or damaged: it begins as {error.encoding}, and is not; save it as UTF-8"
        ) from None


def whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Runs of whole lines, line feeds between them and none at the end; None for each line over LONGEST_LINE.

    `chunks` are at most CHUNK_BYTES long, so no more than LONGEST_LINE + CHUNK_BYTES is ever held.
    """
    start, too_long = b"", False
    for chunk in chunks:
        first, last = chunk.find(b"\n"), chunk.rfind(b"\n")
        if first < 0:
            start = b"" if too_long else start + chunk
            too_long = too_long or len(start) > LONGEST_LINE
            continue
        begin = 0
        if too_long or len(start) + first > LONGEST_LINE:
            yield None
            start, begin = b"", first + 1
        if begin <= last:
            yield b"".join((start, memoryview(chunk)[begin:last]))
        start, too_long = chunk[last + 1 :], False
    if too_long or start:
        yield None if too_long else start


def gather(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of at most CHUNK_BYTES: a line that comes in many small pieces is joined seldom."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        for begin in range(0, len(piece), CHUNK_BYTES):
            part = piece[begin : begin + CHUNK_BYTES]
            if size + len(part) > CHUNK_BYTES:
                yield b"".join(held)
                held, size = [], 0
            held.append(part)
            size += len(part)
    yield b"".join(held)


@dataclass(frozen=True, slots=True)
class Form:
    """A compressed form: how a frame begins, how it takes bytes, and whether zeros may pad the end of the file.

    A decoder that `start` makes has `eof` (the frame has ended, its checksum held) and `unused_data` (what follows).
    """

    start: Callable[[], Any]
    feed: Callable[[Any, bytes], Iterator[bytes]]
    zeros_pad: bool


def feed_zstd(decoder: Any, piece: bytes) -> Iterator[bytes]:
    """What a zstandard decoder makes of a piece, all at once: the piece is small."""
    yield decoder.decompress(piece)


def feed_gzip(decoder: Any, piece: bytes) -> Iterator[bytes]:
    """What a zlib decoder makes of a piece, at most CHUNK_BYTES at a time."""
    yield decoder.decompress(piece, CHUNK_BYTES)
    while decoder.unconsumed_tail and not decoder.eof:
        yield decoder.decompress(decoder.unconsumed_tail, CHUNK_BYTES)


def feed_blocks(decoder: Any, piece: bytes) -> Iterator[bytes]:
    """What a bzip2 or xz decoder makes of a piece, at most CHUNK_BYTES at a time."""
    yield decoder.decompress(piece, CHUNK_BYTES)
    while not (decoder.needs_input or decoder.eof):
        yield decoder.decompress(b"", CHUNK_BYTES)


def start_zstd() -> Any:
    """A decoder of one zstandard frame, with windows up to the 2 GiB of the real dumps."""
    return zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES).decompressobj(write_size=WRITE_BYTES)


FORMS = {
    ".zst": Form(start_zstd, feed_zstd, zeros_pad=False),
    ".xz": Form(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=WINDOW_BYTES), feed_blocks, zeros_pad=True),
    ".bz2": Form(bz2.BZ2Decompressor, feed_blocks, zeros_pad=False),
    ".gz": Form(lambda: zlib.decompressobj(wbits=31), feed_gzip, zeros_pad=True),  # 31: gzip header and CRC, 32 KiB
}
DECODER_ERRORS = (zstandard.ZstdError, lzma.LZMAError, zlib.error, OSError, EOFError, ValueError, MemoryError)


def decompress(path: Path) -> Iterator[bytes]:
    """The bytes of a file in pieces, decompressed by the form that its suffix names, if any. Raises InputError."""
    form = FORMS.get(path.suffix.lower())
    try:
        with storage.reading(path) as file:
            pieces = iter(lambda: file.read(PIECE_BYTES if form else CHUNK_BYTES), b"")
            yield from inflate(pieces, form, path) if form else pieces
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def inflate(pieces: Iterable[bytes], form: Form, path: Path) -> Iterator[bytes]:
    """The decompressed bytes of all frames. Raises InputError where one is damaged, or the last one has no end."""
    offset, frames = 0, 0
    decoder = None
    for piece in pieces:
        offset += len(piece)
        rest = piece
        while rest:
            if decoder is None:
                rest = rest.lstrip(b"\0") if form.zeros_pad and frames else rest
                if not rest:
                    break
                decoder, frames = form.start(), frames + 1
            yield from guard(form.feed(decoder, rest), path, offset)
            rest, decoder = (decoder.unused_data, None) if decoder.eof else (b"", decoder)
    if decoder is not None or not frames:
        raise InputError(f"{path}: truncated: ends at byte {offset:,} within a frame; fetch the file again")


def guard(decoded: Iterator[bytes], path: Path, offset: int) -> Iterator[bytes]:
    """The same pieces. Raises InputError, naming the compressed offset, for anything a decoder raises."""
    try:
        yield from decoded
    except DECODER_ERRORS as error:
        raise InputError(f"{path}: damaged near byte {offset:,}: {error}; fetch the file again") from None
