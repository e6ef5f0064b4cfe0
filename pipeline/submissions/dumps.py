"""Dumps of Reddit submissions, any file form, as blocks of typed rows whose fates add up.

Choice: decompress in pieces of 2 KiB with decoders that know whether a frame has ended, split lines, and let msgspec
decode the few fields wanted. A truncated file is an error, never a shorter dump: python-zstandard's stream_reader
ends silently in mid-frame. Cost: the frame check is ours; about 3 % of decompression time for the small pieces. They
bound memory: a piece of zstandard grows at most 32,768 times (4 bytes make a block of 128 KiB), so 64 MiB.
Alternative: pandas or polars readers, which want a whole file in memory and stop at the first bad line.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import zstandard
from msgspec import Meta

from pipeline.shards.outcomes import InputError, Outcome
from pipeline.urls import LONGEST_POSTED

PIECE_BYTES = 2_048  # compressed, handed to a decoder at a time
CHUNK_BYTES = 1 << 20  # decompressed, split into lines at a time
LONGEST_LINE = 16 << 20  # bytes; Reddit's longest field, selftext, holds 40,000 characters
WINDOW_BYTES = 2**31  # `zstd --long=31`, with which the Pushshift and Arctic Shift dumps are written
LATEST_UTC, HIGHEST_SCORE = 2**32 - 1, 2**31 - 1  # seconds and points; beyond them a value is damage, not data


Name = Annotated[str, Meta(max_length=64)]
Number = int | float | Name
Flag = bool | int | Name


class Submission(msgspec.Struct, frozen=True, gc=False):
    """A link post: id in base 36 without `t3_`, address as posted, score (karma), seconds since 1970, UTC."""

    id: Name
    url: str
    score: Annotated[int, Meta(ge=-HIGHEST_SCORE, le=HIGHEST_SCORE)]
    created_utc: Annotated[int, Meta(ge=0, le=LATEST_UTC)]
    subreddit: Name
    over_18: bool


class UsualLine(Submission, frozen=True, gc=False):
    """A line as nearly all are, decoded and checked in one step; all other fields are skipped undecoded."""

    is_self: bool


class OddLine(msgspec.Struct, gc=False):
    """The fields of a line as loose as dumps of 20 years are."""

    id: Name | None = None
    name: Name | None = None
    url: str | None = None
    score: Number | None = None
    created_utc: Number | None = None
    subreddit: Name | None = None
    over_18: Flag | None = None
    is_self: Flag | None = None


decode_usual = msgspec.json.Decoder(UsualLine).decode
decode_odd = msgspec.json.Decoder(OddLine).decode
FLAGS: dict[Any, bool] = {
    None: False,
    False: False,
    True: True,
    "false": False,
    "true": True,
    "False": False,
    "True": True,
}


def read_dump(path: Path, rows: int) -> Iterator[tuple[list[Submission], Counter[Outcome]]]:
    """Blocks of a dump in file order: the submissions of at most `rows` (>= 1) lines, and the fate of each line.

    A block's counter names KEPT (the submissions given), SELF_POST, BAD_URL or BAD_LINE for every line; white space
    alone is no line. Forms are told by suffix: see FORMS. Frames of one file may follow each other, as `cat` makes.

    Raises InputError: no such file, an unknown suffix, a truncated or damaged file, with the compressed offset
    reached. Blocks before the damage have been given by then. A file cut exactly between two frames, or a plain file
    cut between two lines, is whole by its format and cannot be told.
    """
    kept: list[Submission] = []
    fates: Counter[Outcome] = Counter()
    count = 0
    for line in split_lines(gather(decompress(path))):
        if line is not None and (not line or line.isspace()):
            continue
        row = Outcome.BAD_LINE if line is None else read_line(line)
        if isinstance(row, Submission):
            kept.append(row)
        else:
            fates[row] += 1
        count += 1
        if count == rows:
            fates[Outcome.KEPT] = len(kept)
            yield kept, fates
            kept, fates, count = [], Counter(), 0
    if count:
        fates[Outcome.KEPT] = len(kept)
        yield kept, fates


def read_line(line: bytes) -> Submission | Outcome:
    """The submission of one line of JSON, or why it is none: BAD_LINE, SELF_POST or BAD_URL."""
    try:
        found = decode_usual(line)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, another type, nested without end
        try:
            found = read_odd_line(line)
        except (ValueError, KeyError, RecursionError):
            return Outcome.BAD_LINE
    key = found.id.removeprefix("t3_")
    if not key:
        return Outcome.BAD_LINE
    if found.is_self:
        return Outcome.SELF_POST
    url = posted_url(found.url)
    if not url or len(url) > LONGEST_POSTED:
        return Outcome.BAD_URL
    return Submission(key, url, found.score, found.created_utc, found.subreddit, found.over_18)


def read_odd_line(line: bytes) -> UsualLine:
    """A line with fields missing, null or of another type, made usual; a usual line as it is.

    A missing score is 0: it proves no karma. The id may stand in `name` alone. Numbers and flags may be strings, as
    BigQuery exports them. Raises ValueError, KeyError (no such flag) or RecursionError; a date must be there.
    """
    found = decode_odd(line)
    return UsualLine(
        id=found.id or found.name or "",
        url=found.url or "",
        score=whole(found.score or 0, -HIGHEST_SCORE, HIGHEST_SCORE),
        created_utc=whole(found.created_utc, 0, LATEST_UTC),
        subreddit=found.subreddit or "",
        over_18=FLAGS[found.over_18],
        is_self=FLAGS[found.is_self],
    )


def whole(value: int | float | str | None, low: int, high: int) -> int:
    """A number of any spelling, cut to an integer within [low, high]. Raises ValueError."""
    if type(value) is not int:
        value = float("nan" if value is None else value)
    if not low <= value <= high:  # also NaN
        raise ValueError("missing or out of range")
    return int(value)


def posted_url(url: str) -> str:
    """The address that the poster gave.

    Reddit's API replaces `&`, `<` and `>` in every string by entities (reddit.com/dev/api: "response body encoding"),
    and dumps keep that; links into Reddit may be bare paths.
    """
    if "&" in url:
        url = url.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    url = url.strip()
    return f"https://www.reddit.com{url}" if url.startswith("/") and not url.startswith("//") else url


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """The lines of a stream, without line feeds; None for each that is longer than LONGEST_LINE.

    `chunks` are at most CHUNK_BYTES long, so no more than LONGEST_LINE + CHUNK_BYTES is ever held.
    """
    start, too_long = b"", False
    for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        start = b"" if too_long else start + first
        too_long = too_long or len(start) > LONGEST_LINE
        if rest:
            yield None if too_long else start
            yield from rest[:-1]
            start, too_long = rest[-1], False
        elif too_long:
            start = b""
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
    return zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES).decompressobj()


FORMS: dict[str, Form | None] = {
    ".zst": Form(start_zstd, feed_zstd, zeros_pad=False),
    ".xz": Form(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=WINDOW_BYTES), feed_blocks, zeros_pad=True),
    ".bz2": Form(bz2.BZ2Decompressor, feed_blocks, zeros_pad=False),
    ".gz": Form(lambda: zlib.decompressobj(wbits=31), feed_gzip, zeros_pad=True),  # 31: gzip header and CRC, 32 KiB
    ".ndjson": None,
    ".jsonl": None,
    ".json": None,
}
DECODER_ERRORS = (zstandard.ZstdError, lzma.LZMAError, zlib.error, OSError, EOFError, ValueError, MemoryError)


def decompress(path: Path) -> Iterator[bytes]:
    """The bytes of a dump in pieces, decompressed by the form that its suffix names. Raises InputError."""
    if path.suffix.lower() not in FORMS:
        raise InputError(f"{path}: unknown kind of dump; known suffixes: {' '.join(FORMS)}")
    form = FORMS[path.suffix.lower()]
    try:
        with path.open("rb") as file:
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
