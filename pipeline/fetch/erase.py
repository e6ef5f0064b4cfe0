"""Records of a WARC file made unreadable where they lie, so that no other record moves.

Choice: the bytes of a record become one gzip member of the same length that holds a WARC record of type `metadata`,
stored without compression and padded with spaces. Where another page has the same bytes, and so has its pointer at the
record, the record stays and only its header is written anew, in the same length: the rest goes into the extra field of
gzip's header, which readers pass over. Cost: the file keeps its size. Alternative: write the file without the record,
which moves every record after it, and every pointer to them.
"""

from __future__ import annotations

import re
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.fetch import heads
from pipeline.fetch.captures import redirected
from pipeline.fetch.fields import bare
from pipeline.fetch.records import Record, cut
from pipeline.fetch.response import REDIRECTS
from pipeline.shards.outcomes import IntegrityError

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952, section 2.3: no name, no time, unknown system
GZIP_EXTRA = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"  # the same, with an extra field
GZIP_BYTES = len(GZIP_HEADER) + 8  # with the CRC-32 and the length at the end
EXTRA_BYTES = 65_535  # most of an extra field, its own two bytes of length aside
STORED = 65_535  # most bytes of a stored block, with 5 of its own before them (RFC 1951, section 3.2.4)
SAYS = b"removed by request"
HEAD = (
    "WARC/1.1\r\nWARC-Type: metadata\r\nWARC-Record-ID: <{id}>\r\nWARC-Date: {date}\r\n"
    "Content-Type: text/plain\r\nContent-Length: {length:010d}\r\n\r\n"
)
END = b"\r\n\r\n"
NOWHERE = "https://removed.invalid/"  # short, and nobody's for good: RFC 2606, section 2
SPARE = ("WARC-Warcinfo-ID", "WARC-Block-Digest", "WARC-IP-Address")  # fields that may go where room is short


def blank(length: int, name: str, date: str) -> bytes:
    """`length` bytes: a compressed WARC record that says only that something was removed.

    `name` tells records apart (file and offset); `date` is the removal's, as 2026-01-31T12:00:00Z. Raises
    IntegrityError: too few bytes for any record, so that no record can have been there.
    """
    blocks = max(1, -(-(length - GZIP_BYTES) // (STORED + 5)))
    room = length - GZIP_BYTES - 5 * blocks
    identity = uuid.uuid5(uuid.NAMESPACE_URL, name).urn
    size = room - len(HEAD.format(id=identity, date=date, length=0)) - len(END)
    if size < 0:
        raise IntegrityError(f"{name}: {length} bytes hold no WARC record; the pointer is wrong")
    data = HEAD.format(id=identity, date=date, length=size).encode() + SAYS[:size].ljust(size) + END
    parts = [data[start : start + STORED] for start in range(0, blocks * STORED, STORED)]
    body = b"".join(
        struct.pack("<BHH", number == blocks - 1, len(part), len(part) ^ 0xFFFF) + part
        for number, part in enumerate(parts)
    )
    return GZIP_HEADER + body + trailer(data)


def trailer(data: bytes) -> bytes:
    """What ends a gzip member of these bytes."""
    return struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def renamed(member: bytes, fields: Mapping[str, str]) -> bytes:
    """A compressed record with other values of some fields of its WARC header, in as many bytes as it had.

    Raises IntegrityError: it does not fit, which needs values far longer than those they replace.
    """
    data = zlib.decompress(member, zlib.MAX_WBITS | 16)
    head, gap, block = data.partition(b"\r\n\r\n")
    for name, value in fields.items():
        line = b"(?im)^" + re.escape(name.encode()) + rb":[^\r\n]*"
        head = re.sub(line, f"{name}: {value}".encode().replace(b"\\", rb"\\"), head)
    for without in range(len(SPARE) + 1):
        left = head
        for name in SPARE[:without]:
            left = re.sub(rb"(?im)^" + name.encode() + rb":[^\r\n]*\r\n", b"", left)
        found = fitted(left + gap + block, len(member))
        if found is not None:
            return found
    raise IntegrityError(f"a record of {len(member)} bytes has no room for {dict(fields)}")


def fitted(data: bytes, length: int) -> bytes | None:
    """`data` as one gzip member of exactly `length` bytes; None where it does not fit."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(data) + packer.flush()
    room = length - GZIP_BYTES - len(body)
    if room == 0:
        return GZIP_HEADER + body + trailer(data)
    if not 2 <= room <= EXTRA_BYTES + 2:
        return None
    return GZIP_EXTRA + struct.pack("<H", room - 2) + bytes(room - 2) + body + trailer(data)


# --- which records


@dataclass
class Answer:
    """A response, or the revisit that stands for one, with the requests and notes that belong to it."""

    offset: int
    length: int
    url: str
    location: str  # where it redirects to, else ""
    refers_to: str = ""  # of a revisit: the address of the record that holds its payload
    about: list[tuple[int, int]] = field(default_factory=list)  # offset and length of the records that go with it


def visits(path: Path) -> Iterator[list[Answer]]:
    """The responses of a WARC file of ours, in chains: each is where the one before redirects to.

    Raises InputError: no such file, or none of WARC.
    """
    chain: list[Answer] = []
    known: dict[str, Answer] = {}
    for record in cut(path, heads.HEAD_BYTES):
        answer = known.get(bare(record.fields.get("warc-concurrent-to")))
        if record.kind not in ("response", "revisit"):
            if answer is not None:
                answer.about.append((record.offset, record.length))
            continue
        if not record.damage:
            answer = answer_in(record)
            known[bare(record.fields.get("warc-record-id"))] = answer
            if chain and chain[-1].location != answer.url:
                yield chain
                chain = []
            chain.append(answer)
    if chain:
        yield chain


def answer_in(record: Record) -> Answer:
    """The response of a record."""
    head = heads.parse(record.block)
    leads = head is not None and head[0].status in REDIRECTS
    location = redirected(record.url, head[0].headers) if head is not None and leads else ""
    refers_to = bare(record.fields.get("warc-refers-to-target-uri"))
    return Answer(record.offset, record.length, record.url, location, refers_to)


@dataclass(frozen=True)
class Needed:
    """What other pages need of a file: the records that their pointers lead to, each with an address it may bear."""

    places: Mapping[int, str]  # by offset
    ends: frozenset[str]  # addresses at which their visits ended


def erased(
    path: Path, data: bytearray, date: str, covers: Callable[[str], bool], doomed: Needed, others: Needed
) -> int:
    """Make all that `data`, the bytes of the WARC file at `path`, holds of doomed visits unreadable; how many records.

    A visit is doomed if it asks or is led to an address that `covers` names, or if a `doomed` row is its own. A record
    that holds the page of `others` too stays, under an address of theirs.
    """
    gone: list[tuple[int, int]] = []
    renames: dict[int, tuple[int, dict[str, str]]] = {}
    chains = list(visits(path))
    for chain in chains:
        last = chain[-1]
        met = any(covers(url) for answer in chain for url in (answer.url, answer.location) if url)
        mine = last.offset in doomed.places or last.url not in others.ends
        own = mine and last.url in doomed.ends and last.offset not in others.places
        for answer in chain if met or own else ():
            gone += answer.about
            if answer.offset in others.places:
                named = others.places[answer.offset]
                renames[answer.offset] = (answer.length, {"WARC-Target-URI": named})
            else:
                gone.append((answer.offset, answer.length))
    away = {offset for offset, _ in gone}
    for answer in (answer for chain in chains for answer in chain):
        if answer.refers_to and covers(answer.refers_to) and answer.offset not in away:
            renames[answer.offset] = (answer.length, {"WARC-Refers-To-Target-URI": NOWHERE})
    for offset, length in gone:
        data[offset : offset + length] = blank(length, f"{path.name}:{offset}", date)
    for offset, (length, fields) in renames.items():
        data[offset : offset + length] = renamed(bytes(data[offset : offset + length]), shortest(fields, covers))
    return len(gone) + len(renames)


def shortest(fields: Mapping[str, str], covers: Callable[[str], bool]) -> dict[str, str]:
    """The fields, with an address of nobody where theirs is itself one that has to go."""
    return {name: NOWHERE if covers(value) else value for name, value in fields.items()}
