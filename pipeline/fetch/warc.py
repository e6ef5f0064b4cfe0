"""WARC: what a crawl writes, and what a pointer into any WARC file reads back.

Choice: one compressed member a record, written by warcio, read with FastWARC; a response is kept as its bytes came,
content coding included, chunking removed. Cost: a pointer is good for one file and offset only. Alternative: a store of
our own, which no other tool could read.

A response whose chunking was removed keeps the header as X-Crawler-Transfer-Encoding, as Common Crawl's files do:
a reader that believed Transfer-Encoding would look for chunks that are gone.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.config import PagesSettings
from pipeline.fetch.heads import Headers, header
from pipeline.fetch.records import HEAD_BYTES, Slice, kind_of, slice_at
from pipeline.fetch.response import Hop, Refused, content_type_of, decode, sniffed
from pipeline.fetch.robots import CRAWL_DELAY_MAX_S, user_agent
from pipeline.shards import storage
from pipeline.shards.outcomes import InputError, Outcome

RECORD_BYTES = 1 << 17  # asked of an object store at once, for one record: most pages are smaller
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")  # RFC 9112, section 7.1


class BadRecord(Refused):
    """A WARC record cannot be read as a page: `outcome` is BAD_RECORD, TOO_LARGE or BAD_ENCODING."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a response lies: `offset` and `length` in bytes of the file, `sha256` of the HTTP body as stored."""

    file: str
    offset: int
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Response:
    """One response read back. `body` is decoded; `sha256` is of the HTTP body as stored, to compare with a pointer."""

    status: int
    headers: Headers
    body: bytes
    content_type: str
    sha256: str


class SegmentWriter:
    """A WARC 1.1 file being written: warcinfo first, then of each hop the response, or its revisit, and the request.

    A response whose payload the file already holds, under headers that read it alike, becomes a revisit record (WARC
    1.1, section 6.7.2), and its pointer leads to the first: a file refers to nothing outside itself.
    """

    def __init__(self, file: BinaryIO, name: str, settings: PagesSettings, software: str) -> None:
        self.file = file
        self.name = name
        self.writer = WARCWriter(file, gzip=True, warc_version="WARC/1.1")
        self.payloads: dict[tuple[str, ...], tuple[Pointer, dict[str, str]]] = {}
        info = {
            "software": software,
            "format": "WARC File Format 1.1",
            "conformsTo": "http://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/",
            "robots": f"RFC 9309; Crawl-delay up to {CRAWL_DELAY_MAX_S:g} s",
            "robots-agents": ", ".join(settings.obey_agents),
            "opt-outs": "obeyed" if settings.opt_outs else "recorded only",
            "http-header-user-agent": user_agent(settings, software),
        }
        head = self.writer.create_warcinfo_record(name, info)
        self.info_id = head.rec_headers.get_header("WARC-Record-ID")
        self.writer.write_record(head)

    def write(self, hops: Iterable[Hop]) -> Pointer | None:
        """Write every hop of a fetch; where the last response lies, or None where there was none."""
        pointer = None
        for hop in hops:
            pointer = self.write_hop(hop)
        return pointer

    def write_hop(self, hop: Hop) -> Pointer:
        """Write one response and, after it, its request; where the response lies, or the first one with its payload."""
        sha256 = hashlib.sha256(hop.body).hexdigest()
        read_by = (header(hop.headers, name) for name in ("content-type", "content-encoding", "transfer-encoding"))
        payload = (sha256, str(hop.status), *read_by)
        found = None if hop.truncated or not hop.body else self.payloads.get(payload)
        http = StatusAndHeaders(
            f"{hop.status} {hop.reason}".strip(), stored_headers(hop.headers), protocol=f"HTTP/{hop.http_version}"
        )
        headers = {"WARC-Date": hop.date, "WARC-Warcinfo-ID": self.info_id}
        offset = self.file.tell()
        if found is not None:
            pointer, refers_to = found
            record = self.writer.create_warc_record(
                hop.url, "revisit", http_headers=http, warc_headers_dict={**headers, **refers_to}
            )
            self.writer.write_record(record)
        else:
            if hop.truncated:
                headers["WARC-Truncated"] = "length"
            record = self.writer.create_warc_record(
                hop.url, "response", io.BytesIO(hop.body), len(hop.body), "", headers, None, http
            )
            self.writer.write_record(record)
            pointer = Pointer(self.name, offset, self.file.tell() - offset, sha256)
            self.payloads.setdefault(payload, (pointer, referring_to(record.rec_headers)))
        self.write_request(hop, record.rec_headers.get_header("WARC-Record-ID"))
        return pointer

    def write_request(self, hop: Hop, response_id: str) -> None:
        """Write the request that a response answers."""
        request = self.writer.create_warc_record(
            hop.url,
            "request",
            http_headers=StatusAndHeaders(request_line(hop.url), list(hop.request_headers), is_http_request=True),
            warc_headers_dict={
                "WARC-Date": hop.date,
                "WARC-Warcinfo-ID": self.info_id,
                "WARC-Concurrent-To": response_id,
            },
        )
        self.writer.write_record(request)


def referring_to(original: StatusAndHeaders) -> dict[str, str]:
    """The headers of a revisit record of the same payload."""
    return {
        "WARC-Profile": "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest",
        "WARC-Refers-To": original.get_header("WARC-Record-ID"),
        "WARC-Refers-To-Target-URI": original.get_header("WARC-Target-URI"),
        "WARC-Refers-To-Date": original.get_header("WARC-Date"),
        "WARC-Payload-Digest": original.get_header("WARC-Payload-Digest"),
    }


def stored_headers(headers: Headers) -> list[tuple[str, str]]:
    """Response headers as stored: no header claims a chunking that is no longer there."""
    return [(f"X-Crawler-{name}" if name.lower() == "transfer-encoding" else name, value) for name, value in headers]


def request_line(url: str) -> str:
    """The first line of the GET request for an address."""
    _, slash, path = url.partition("://")[2].partition("/")
    return f"GET {slash or '/'}{path} HTTP/1.1"


def read_response(path: Path, offset: int, length: int | None, limit_bytes: int) -> Response:
    """The response at an offset of a WARC file, transfer and content codings undone, at most limit_bytes.

    `length` (None: unknown) must be the record's. Raises BadRecord for anything that is not such a response, InputError
    where the file cannot be read.
    """
    try:
        with storage.reading(path, RECORD_BYTES) as file:
            kind = kind_of(file, path)
            piece = slice_at(file, kind, offset, limit_bytes + HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    where = f"{path} at offset {offset}"
    if piece.damage or not piece.size:
        raise BadRecord(Outcome.BAD_RECORD, f"{where}: {piece.damage or 'nothing there'}")
    if length is not None and length != piece.length:
        raise BadRecord(Outcome.BAD_RECORD, f"{where}: {piece.length} bytes long, {length} expected")
    record = record_of(piece)
    if record is None or not is_response(record):
        raise BadRecord(Outcome.BAD_RECORD, f"{where}: not an HTTP response")
    try:
        stored, status, headers = http_of(piece, record, limit_bytes)
        body = decode(dechunked(stored, headers), header(headers, "content-encoding"), limit_bytes)
    except Refused as refusal:
        raise BadRecord(refusal.outcome, f"{where}: {refusal.detail}") from None
    content_type = content_type_of(headers) or sniffed(body)
    return Response(status, headers, body, content_type, hashlib.sha256(stored).hexdigest())


def record_of(piece: Slice) -> WarcRecord | None:
    """The record of a slice with its HTTP header read; None where the reader finds none in it."""
    try:
        # quirks_mode: header lines that end in \n alone, as in ClueWeb09
        return next(iter(ArchiveIterator(io.BytesIO(piece.data), quirks_mode=True, stream_detect=False)), None)
    except Exception:  # noqa: BLE001 - hostile bytes in a third-party parser: whatever it raises, the record is bad
        return None


def is_response(record: WarcRecord) -> bool:
    """Whether a record holds an HTTP response (and not, say, one of DNS)."""
    return record.record_type == WarcRecordType.response and url_of(record).lower().startswith(("http://", "https://"))


def is_revisit(record: WarcRecord) -> bool:
    """Whether a record says that an HTTP response was the same as one before."""
    return record.record_type == WarcRecordType.revisit and url_of(record).lower().startswith(("http://", "https://"))


def url_of(record: WarcRecord) -> str:
    """The target of a record."""
    return bare(record.headers.get("WARC-Target-URI"))


def bare(uri: str | None) -> str:
    """An address without the angle brackets that WARC 1.0's grammar asked for and wget writes."""
    return (uri or "").strip().removeprefix("<").removesuffix(">")


def http_of(piece: Slice, record: WarcRecord, limit_bytes: int) -> tuple[bytes, int, Headers]:
    """Body as stored, status and headers of a response record. Raises Refused: BAD_RECORD, TOO_LARGE."""
    status = record.http_headers.status_code if record.is_http_parsed else None
    if status is None:
        raise Refused(Outcome.BAD_RECORD, "no HTTP status line")
    body = record.reader.read(limit_bytes + 1)
    if piece.size > len(piece.data) or len(body) > limit_bytes:
        raise Refused(Outcome.TOO_LARGE, f"a record of {piece.size:,} bytes; the limit is {limit_bytes:,}")
    return body, status, record.http_headers.to_tuples()


def dechunked(body: bytes, headers: Headers) -> bytes:
    """The body without chunking. Raises Refused with BAD_ENCODING where the chunks break off.

    A body that says it is chunked and does not begin like it is left alone: many writers remove the chunks only.
    """
    chunk = CHUNK_SIZE.match(body)
    if "chunked" not in header(headers, "transfer-encoding").lower() or chunk is None:
        return body
    pieces: list[bytes] = []
    at = 0
    while chunk is not None:
        size, start = int(chunk[1], 16), chunk.end()
        if size == 0:
            return b"".join(pieces)
        if start + size > len(body):
            break
        pieces.append(body[start : start + size])
        at = start + size
        at += len(body[at : at + 2]) - len(body[at : at + 2].lstrip(b"\r\n"))
        chunk = CHUNK_SIZE.match(body, at)
    raise Refused(Outcome.BAD_ENCODING, f"the chunks break off after {at:,} of {len(body):,} bytes")
