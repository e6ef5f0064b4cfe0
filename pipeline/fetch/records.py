"""Parsing of archives: records, with every damaged stretch named, which a reader library passes over in silence.

Choice: the cut is made here, by the compressed members (gzip, zstd) or by the promised length (plain), and checked to
the last byte. Cost: the cut runs in Python around zlib, at half FastWARC's speed (350 MB of content a second and core
against 750). Alternative: FastWARC's iterator, which ends without a word where a file was cut off.

A damaged record is reported once, with its offset and the offset where reading goes on: the next place that looks like
a record and is one. Gzip checks itself; where nothing does (plain, most zstd), the record's WARC-Block-Digest is
compared. A file that was cut exactly between two records is whole by its format and cannot be told. Any number of
empty lines may follow a record, none included, as all readers of the field have it; a plain record is then whole if
what follows is another record or the end, or if its digest says so.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import zstandard

from pipeline.fetch.fields import (
    ARC_LINE,
    ARC_START,
    HEAD_BYTES,
    WARC,
    Fields,
    bare,
    head_of,
    may_begin,
    requested,
)
from pipeline.fetch.kinds import (
    ARC,
    GZIP,
    LINE_ENDS,
    PLAIN,
    ZSTD,
    Kind,
    magic_of,
    next_start,
    not_an_archive,
    stretches,
)
from pipeline.shards import storage
from pipeline.shards.outcomes import InputError

FILEDESC = b"filedesc:"  # the first record of an ARC file
PIECE_BYTES = {GZIP: 16_384, ZSTD: 1_024}  # read at once: becomes 16 MB (gzip) or 33 MB (zstd) at most
TAIL_BYTES = 4_096  # of empty lines after a record in its member
FALSE_STARTS = 10_000  # places in one damaged stretch that look like a record and are none, until the search ends

DIGEST = re.compile(r"(sha-?1|sha-?256|sha-?512|md5):([A-Za-z0-9]+)=*", re.IGNORECASE)
OTHER_BLOCK = "the block is not the one of its digest"
CROWDED = "more than one record in a compressed member"
WITHIN = "within the compressed member"
MEMBER_BYTES = 2**27  # unpacked, of a member that holds several records: it is held whole to be read
RECOMPRESS = "run: warcio recompress FILE NEW_FILE, and name the new one"


@dataclass(frozen=True, slots=True)
class Record:
    """One record: where it lies in the file, in bytes, its fields by name in lower case, and its block.

    `block`: its first bytes, as many as were asked for; `size`: all of its bytes. `damage`: why it cannot be trusted;
    "" for a whole record. One without fields and without damage is none: a compressed member that holds nothing.
    `crowded`: damaged, in that its member holds more records than this one; `within` reads them all.
    """

    offset: int
    length: int
    fields: Fields = field(default_factory=dict)
    block: bytes = b""
    size: int = 0
    damage: str = ""
    crowded: bool = False

    @property
    def kind(self) -> str:
        """WARC-Type in lower case: as response, revisit or resource."""
        return self.fields.get("warc-type", "").lower()

    @property
    def url(self) -> str:
        """The target of the record; "" where it names none."""
        return requested(bare(self.fields.get("warc-target-uri")))

    @property
    def is_web(self) -> bool:
        """Whether its target is an address of the web, and not, say, one of DNS."""
        return self.url[:8].lower().startswith(("http://", "https://"))


def cut(path: Path, limit_bytes: int) -> Iterator[Record]:
    """All records of an archive in order, damaged stretches marked; of each block, `limit_bytes` or a little more.

    Raises InputError: unreadable; NotAnArchive: of another kind.
    """
    try:
        with storage.reading(path) as file:
            for kind in stretches(file, path):
                if kind.magic in (GZIP, ZSTD) and (kind.begins == 0 or kind.dictionary):
                    check_first(file, kind, path)
                yield from cut_between(file, kind, limit_bytes)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def cut_between(file: BinaryIO, kind: Kind, limit_bytes: int) -> Iterator[Record]:
    """The records of a stretch of a file, as `cut` gives them."""
    if kind.fault:
        yield Record(kind.begins, kind.ends - kind.begins, damage=kind.fault)
        return
    at, damaged, false_starts = kind.begins, None, 0
    while at < kind.ends:
        record = record_at(file, kind, at, limit_bytes)
        inner = within(file, kind, record, limit_bytes) if record.crowded else []
        if damaged and record.fields and (inner or not record.damage):
            yield stretch(damaged, at, f"reading goes on at offset {at:,}")
            damaged, false_starts = None, 0
        breaks_off = record.damage and not (inner and record.damage.startswith(CROWDED))
        if inner and breaks_off:
            broken = replace(record, fields={}, damage=f"{WITHIN}: {record.damage}")
            record = inner.pop() if inner[-1].damage else broken
        yield from inner
        if breaks_off:
            damaged, false_starts = damaged or record, false_starts + 1
            at = next_start(file, kind, at + 1) if false_starts < FALSE_STARTS else kind.ends
            continue
        if record.fields and not inner:
            yield record
        at += record.length
    if damaged:
        yield stretch(damaged, kind.ends, "no whole record follows in the file")


def within(file: BinaryIO, kind: Kind, crowded: Record, limit_bytes: int) -> list[Record]:
    """The records of a member that holds several, as `gzip` makes of a whole file; none where it is too large for that.

    All lie where the member lies. None either of a damaged one in which no record is whole: damage may hide where one
    member ends, so that the bytes of the next look like more of it.
    """
    held = unpacked(file, kind, crowded)
    if len(held) > MEMBER_BYTES:
        return []
    stretch = Kind(magic_of(held[:HEAD_BYTES]) or PLAIN, 0, len(held))
    found = list(cut_between(io.BytesIO(held), stretch, limit_bytes))
    if not crowded.damage.startswith(CROWDED) and all(record.damage for record in found):
        return []
    return [
        replace(
            record, offset=crowded.offset, length=crowded.length, damage=record.damage and f"{WITHIN}: {record.damage}"
        )
        for record in found
    ]


def unpacked(file: BinaryIO, kind: Kind, member: Record) -> bytes:
    """What a member holds, as far as it can be decompressed, and no further than MEMBER_BYTES."""
    decoder, held, left = kind.decoder(), bytearray(), member.length
    file.seek(member.offset)
    with suppress(zlib.error, zstandard.ZstdError):
        while left > 0 and len(held) <= MEMBER_BYTES and (piece := file.read(min(PIECE_BYTES[kind.magic], left))):
            left -= len(piece)
            held += decoder.decompress(piece)
    return bytes(held)


def check_first(file: BinaryIO, kind: Kind, path: Path) -> None:
    """Raises NotAnArchive where a file begins with no record of any kind, be it a damaged one."""
    first = record_at(file, kind, kind.begins, 0)
    if first.damage and not first.fields and is_other(first.block.lstrip(LINE_ENDS)):
        raise not_an_archive(path, first.block)


def is_other(start: bytes) -> bool:
    """Whether these bytes begin no record, damaged or cut off."""
    begun = any(start[: len(magic)] == magic[: len(start)] for magic in (WARC, FILEDESC))
    return not (begun or ARC_LINE.match(start))


def stretch(record: Record, end: int, after: str) -> Record:
    """A damaged record with all bytes up to the next whole one."""
    return replace(record, length=end - record.offset, damage=f"{record.damage}; {after}")


# --- one record


def record_at(file: BinaryIO, kind: Kind, at: int, limit_bytes: int) -> Record:
    """The record at an offset, damage marked, never raised. Raises OSError where the disk does."""
    file.seek(at)
    if kind.magic in (PLAIN, ARC):
        return plain(file, kind, at, limit_bytes)
    record = member(file, at, kind, limit_bytes)
    return record if kind.magic == GZIP or proven(record) is not False else replace(record, damage=OTHER_BLOCK)


def member(file: BinaryIO, at: int, kind: Kind, limit_bytes: int) -> Record:
    """The record that one compressed member holds, from where the file stands."""
    decoder, most = kind.decoder(), limit_bytes + HEAD_BYTES
    data, last, size, taken, damage = bytearray(), b"", 0, 0, ""
    while not decoder.eof and not damage:
        piece = file.read(max(0, min(PIECE_BYTES[kind.magic], kind.ends - at - taken)))
        try:
            found = decoder.decompress(piece) if piece else b""
        except (zlib.error, zstandard.ZstdError) as error:
            damage = f"the compressed bytes are damaged: {error}"
            break
        taken += len(piece)
        size += len(found)
        data += found[: max(0, most - len(data))]
        last = found[-TAIL_BYTES:] if len(found) >= TAIL_BYTES else (last + found)[-TAIL_BYTES:]
        if not piece:
            damage = f"the file ends inside the record, after {taken:,} of its bytes"
        elif len(data) >= len(WARC) and not may_begin(data):
            damage = "not a WARC record"
    length = taken - len(decoder.unused_data)
    if size == len(last) and not damage and not last.strip(LINE_ENDS):
        return Record(at, length)  # an empty member: legal, and says nothing
    head = head_of(bytes(data[:HEAD_BYTES]))
    if head.fault:
        return Record(at, length, head.fields, bytes(data), size, damage or head.fault)
    block, promised = bytes(data[head.begins : head.ends]), head.ends - head.begins
    more = size - head.ends
    if more < 0 and not damage:
        damage = f"the record ends early: {head.ends:,} bytes promised, {size:,} there"
    if more <= 0 or (more <= len(last) and not last[len(last) - more :].strip(LINE_ENDS)):
        return Record(at, length, head.fields, block, promised, damage)
    damage_note = damage or f"{CROWDED} ({size:,} bytes, {head.ends:,} promised): {RECOMPRESS}"
    return Record(at, length, head.fields, block, promised, damage_note, crowded=True)


def plain(file: BinaryIO, kind: Kind, at: int, limit_bytes: int) -> Record:
    """The uncompressed record from where the file stands."""
    start = file.read(max(0, min(HEAD_BYTES, kind.ends - at)))
    head = head_of(start)
    if head.fault:
        if start and not start.strip(LINE_ENDS):
            return Record(at, len(start))
        return Record(at, len(start), head.fields, start, len(start), head.fault)
    size = head.ends - head.begins
    most = head.begins + min(size, limit_bytes)
    if most <= len(start):
        block = start[head.begins : most]
    else:
        file.seek(at + head.begins)
        block = file.read(min(most - head.begins, kind.ends - at - head.begins))
    if at + head.ends > kind.ends:
        damage_note = f"the file ends inside the record: {head.ends:,} bytes promised"
        return Record(at, kind.ends - at, head.fields, block, size, damage_note)
    end, in_order = after(file, at + head.ends, kind)
    record = Record(at, end - at, head.fields, block, size)
    found = proven(record)
    if not (in_order or (found and end > at + head.ends)):
        return replace(record, damage="the record does not end where its Content-Length says")
    return replace(record, damage=OTHER_BLOCK) if found is False else record


def after(file: BinaryIO, at: int, kind: Kind) -> tuple[int, bool]:
    """Where the empty lines from an offset on end, and whether a record ended before them.

    One did where they are those of the standard (in ARC one line end), whatever is wrong with what follows; or where
    another record, or nothing, follows.
    """
    file.seek(at)
    start, as_told, standard = at, False, b"\n" if kind.magic == ARC else b"\r\n\r\n"
    while at < kind.ends:
        found = file.read(min(HEAD_BYTES, kind.ends - at))
        rest = found.lstrip(LINE_ENDS)
        as_told = as_told or (at == start and found.startswith(standard))
        at += len(found) - len(rest)
        if rest or not found:
            return at, as_told or follows(rest, kind.magic)
    return at, True


def follows(rest: bytes, magic: bytes) -> bool:
    """Whether some bytes begin like a record, as far as they go."""
    if magic == PLAIN:
        return rest[: len(PLAIN)] == PLAIN[: len(rest)]
    return ARC_START.match(rest) is not None or b"\n" not in rest


def proven(record: Record) -> bool | None:
    """Whether the block is the one that WARC-Block-Digest describes; None: nobody can tell.

    WARC 1.1, section 5.8: the digest is of the whole block; written in base 32 or in hexadecimal digits.
    """
    digest = DIGEST.fullmatch(record.fields.get("warc-block-digest", ""))
    if record.damage or digest is None or record.size > len(record.block):
        return None
    found = hashlib.new(digest[1].lower().replace("-", ""), record.block)
    return digest[2].upper() in (base64.b32encode(found.digest()).decode().rstrip("="), found.hexdigest().upper())
