"""A record of a WARC file made unreadable where it lies, so that no other record moves.

Choice: the bytes of the record become one gzip member of the same length that holds a WARC record of type `metadata`,
stored without compression and padded with spaces. Cost: the file keeps its size. Alternative: write the file without
the record, which moves every record after it, and every pointer to them.
"""

from __future__ import annotations

import struct
import uuid
import zlib

from pipeline.shards.outcomes import IntegrityError

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952, section 2.3: no name, no time, unknown system
GZIP_BYTES = len(GZIP_HEADER) + 8  # with the CRC-32 and the length at the end
STORED = 65_535  # most bytes of a stored block, with 5 of its own before them (RFC 1951, section 3.2.4)
SAYS = b"removed by request"
HEAD = (
    "WARC/1.1\r\nWARC-Type: metadata\r\nWARC-Record-ID: <{id}>\r\nWARC-Date: {date}\r\n"
    "Content-Type: text/plain\r\nContent-Length: {length:010d}\r\n\r\n"
)
END = b"\r\n\r\n"


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
    return GZIP_HEADER + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
