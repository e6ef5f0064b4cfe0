"""Detection of archive formats by how a file begins, and where in it records lie: WARC, ARC, and both in a zip.

WARC files come plain, compressed record by record (gzip, zstd), or as members of a zip with a directory of pages beside
them, which is WACZ (1.1.1, section 3: what lies in archive/ is stored, so that it can be read by offset). ARC is what
the Internet Archive wrote until 2008. Choice: all are read where they lie; a place in a zip is an offset of the zip.
Cost: a member that the zip compresses cannot be read so, and is named. Alternative: unpack to disk, which doubles it.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

from pipeline.counts import counted
from pipeline.fetch.fields import ARC_START, HEAD_BYTES, WARC
from pipeline.shards.outcomes import InputError

GZIP, ZSTD, PLAIN, ARC = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", WARC, b"\n"
ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")  # APPNOTE 6.3.10: a member, none, a part
DICTIONARY = b"\x5d\x2a\x4d\x18"  # of the first frame of a file: Zstandard Compression for WARC Files 1.0 (IIPC)
DICTIONARY_BYTES = 2**27  # Archive Team's have 1 MB at most
WINDOW_BYTES = 2**27  # of a zstd frame: what decoders take by default (zstd manual, --memory=128MB)
NAMES = (".warc", ".warc.gz", ".warc.zst", ".arc", ".arc.gz", ".wacz")
CURES = {
    ".har": "make a WARC file of it (har2warc), and name that",
    ".cdx": "an index holds no pages: name the WARC files that it lists",
    ".cdxj": "an index holds no pages: name the WARC files that it lists",
    ".tar": "unpack it, and name the WARC files in it",
    ".html": "crawl its address, or make a WARC file of it (warcit), and name that",
}
SEARCH_BYTES = 1 << 20
LOCAL = struct.Struct("<26xHH")  # of a member's own header: how long its name and its extra field are (4.3.7)
ENCRYPTED = 0x1  # of a member's flags (4.4.4)
LEFT_OUT = "left out: "  # begins the note on a file of a kind that is not read
LINE_ENDS = b"\r\n"


class NotAnArchive(InputError):  # noqa: N818 - named for what the file is
    """A file holds no records: it is of another kind."""


class Decoder(Protocol):
    """What zlib's and zstandard's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True)
class Kind:
    """A stretch of a file: the magic bytes of its records, where it begins and ends, and the zstd dictionary of them.

    `fault`: why nothing can be read there; "" where it can.
    """

    magic: bytes
    begins: int
    ends: int
    dictionary: zstandard.ZstdCompressionDict | None = None
    fault: str = ""

    def decoder(self) -> Decoder:
        """A decoder of one compressed record."""
        if self.magic == GZIP:
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
        return zstandard.ZstdDecompressor(self.dictionary, max_window_size=WINDOW_BYTES).decompressobj()


def is_archive(path: Path) -> bool:
    """Whether a file is named as archives are."""
    return path.name.lower().endswith(NAMES)


def stretches(file: BinaryIO, path: Path) -> Iterator[Kind]:
    """Where an archive holds records, in order. Raises NotAnArchive; InputError: its dictionary cannot be read."""
    ends = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(HEAD_BYTES)
    if start.startswith(ZIP):
        yield from members(file, path, ends)
    else:
        yield whole_file(file, path, start, ends)


def stretch_at(file: BinaryIO, path: Path, offset: int, length: int | None) -> Kind:
    """The stretch that holds the record at an offset; in a zip the record alone, where its `length` is known.

    Raises as `stretches`.
    """
    ends = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(HEAD_BYTES)
    if not start.startswith(ZIP):
        return whole_file(file, path, start, ends)
    if length is None:
        held = (stretch for stretch in members(file, path, ends) if stretch.begins <= offset < stretch.ends)
        return next(held, Kind(PLAIN, offset, ends))
    file.seek(offset)
    return Kind(magic_of(file.read(HEAD_BYTES)) or PLAIN, offset, min(ends, offset + length))


def whole_file(file: BinaryIO, path: Path, start: bytes, ends: int) -> Kind:
    """All of a file that begins with `start`."""
    if start.startswith(DICTIONARY):
        file.seek(len(DICTIONARY))
        return with_dictionary(file, path, ends)
    magic = magic_of(start)
    if magic is None:
        raise not_an_archive(path, start)
    return Kind(magic, 0, ends)


def not_an_archive(path: Path, start: bytes) -> NotAnArchive:
    """What to say of a file that is none, which begins with `start`."""
    if not start:
        return NotAnArchive(f"{path}: not a WARC, WACZ or ARC file: it is empty; fetch it again")
    cure = CURES.get(path.suffix.lower(), "take it out of the setting")
    return NotAnArchive(f"{path}: not a WARC, WACZ or ARC file: it begins with {start[:20]!r}; {cure}")


def magic_of(start: bytes) -> bytes | None:
    """What the records of a stretch have in common, by how it begins; None: it is no archive."""
    for magic in (GZIP, ZSTD):
        if start.startswith(magic):
            return magic
    text = start.lstrip(LINE_ENDS)
    if text.startswith(PLAIN):
        return PLAIN
    return ARC if ARC_START.match(text) else None


def with_dictionary(file: BinaryIO, path: Path, ends: int) -> Kind:
    """The form of a zstd file that begins with the dictionary of its records, itself compressed or not."""
    size = int.from_bytes(file.read(4), "little")
    held = file.read(size) if size <= DICTIONARY_BYTES else b""
    try:
        if held.startswith(ZSTD) and zstandard.frame_content_size(held) <= DICTIONARY_BYTES:
            held = zstandard.ZstdDecompressor().decompress(held, max_output_size=DICTIONARY_BYTES)
        dictionary = zstandard.ZstdCompressionDict(held, dict_type=zstandard.DICT_TYPE_FULLDICT)
        zstandard.ZstdDecompressor(dictionary).decompressobj()
    except (zstandard.ZstdError, ValueError, MemoryError) as error:
        raise InputError(f"{path}: the dictionary at its beginning cannot be read: {error}; fetch it again") from None
    return Kind(ZSTD, file.tell(), ends, dictionary)


def members(file: BinaryIO, path: Path, ends: int) -> Iterator[Kind]:
    """The archives in a zip, each a stretch; those that cannot be read by offset, with the fault.

    Of a zip without its directory, which stands at its end, all is one stretch in which compressed records are found.
    """
    try:
        with zipfile.ZipFile(file) as opened:
            listed = sorted(opened.infolist(), key=lambda member: member.header_offset)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error) as error:
        first = next_start(file, Kind(GZIP, 0, ends), 0)
        note = f"the directory of the zip cannot be read ({error}): fetch the file again; its records are searched for"
        yield Kind(b"", 0, first, fault=note)
        if first < ends:
            yield Kind(GZIP, first, ends)
        return
    chosen = [member for member in listed if member.filename.lower().endswith(NAMES)]
    if not chosen:
        named = f", the first {listed[0].filename!r}" if listed else ""
        note = f"{path}: a zip without WARC or ARC files in it ({counted(len(listed), 'member')}{named})"
        raise NotAnArchive(f"{note}: no WACZ; make a WARC file of what it holds, or take it out of the setting")
    at = 0
    for member in chosen:
        stretch = stretch_of(file, member, ends)
        if stretch.begins >= at:  # one within another would be read twice, or without end
            yield stretch
            at = stretch.ends


def stretch_of(file: BinaryIO, member: zipfile.ZipInfo, ends: int) -> Kind:
    """Where the bytes of a member lie."""
    file.seek(member.header_offset)
    header = file.read(LOCAL.size)
    begins = member.header_offset + LOCAL.size + (sum(LOCAL.unpack(header)) if len(header) == LOCAL.size else 0)
    begins, end = min(begins, ends), min(begins + member.compress_size, ends)
    if member.flag_bits & ENCRYPTED:
        return Kind(b"", begins, end, fault=f"{member.filename} is encrypted: unpack it, and name what it holds")
    if member.compress_type != zipfile.ZIP_STORED or member.filename.lower().endswith(".wacz"):
        note = f"{member.filename} is packed once more in the zip: unpack it, and name what it holds"
        return Kind(b"", begins, end, fault=note)
    file.seek(begins)
    magic = magic_of(file.read(min(HEAD_BYTES, end - begins)))
    if magic is None:
        return Kind(b"", begins, end, fault=f"{member.filename} is no WARC or ARC file")
    return Kind(magic, begins, end)


def next_start(file: BinaryIO, kind: Kind, at: int) -> int:
    """The first offset from `at` on where a record may begin, or the end of the stretch."""
    file.seek(at)
    before = b""
    while at < kind.ends and (found := file.read(min(SEARCH_BYTES, kind.ends - at))):
        window = before + found
        place = start_in(window, kind.magic)
        if place >= 0:
            return at - len(before) + place
        at += len(found)
        before = window[-HEAD_BYTES:] if kind.magic == ARC else window[1 - len(kind.magic) :]
    return kind.ends


def start_in(window: bytes, magic: bytes) -> int:
    """Where in some bytes a record may begin; -1: nowhere."""
    if magic != ARC:
        return window.find(magic)
    line = ARC_START.search(window, 1)
    return line.start() if line else -1
