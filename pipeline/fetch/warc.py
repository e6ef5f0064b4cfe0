"""WARC: what a crawl writes, and by what it is read back.

Choice: one compressed member a record, written by warcio; a response is kept as its bytes came,
content coding included, chunking removed. Cost: a pointer is good for one file and offset only. Alternative: a store of
our own, which no other tool could read.

Heads are written byte for byte. Only where chunks were removed, the headers that speak of them are kept under another
name, X-Crawler-Transfer-Encoding and X-Crawler-Content-Length, as in Common Crawl's files: a reader that believed them
would look for chunks that are gone.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.config import PagesSettings
from pipeline.fetch.exchange import request_of
from pipeline.fetch.heads import Head, header, transfer_codings, written
from pipeline.fetch.readback import BadRecord, Response, read_response
from pipeline.fetch.response import Hop
from pipeline.fetch.robots import CRAWL_DELAY_MAX_S, user_agent

__all__ = ["BadRecord", "Pointer", "Response", "SegmentWriter", "read_response", "stored_head"]

FRAMING = re.compile(rb"^(transfer-encoding|content-length)(?=[ \t]*:)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a response lies: `offset` and `length` in bytes of the file, `sha256` of the HTTP body as stored."""

    file: str
    offset: int
    length: int
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
        found = None if hop.cut or not hop.body else self.payloads.get(payload)
        http = Verbatim(stored_head(hop.head))
        headers = {"WARC-Date": hop.date, "WARC-Warcinfo-ID": self.info_id}
        offset = self.file.tell()
        if found is not None:
            pointer, refers_to = found
            record = self.writer.create_warc_record(
                hop.url, "revisit", http_headers=http, warc_headers_dict={**headers, **refers_to}
            )
            self.writer.write_record(record)
        else:
            if hop.cut:
                headers["WARC-Truncated"] = hop.cut
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
            http_headers=Verbatim(request_of(hop.url, hop.asked)),
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


class Verbatim(StatusAndHeaders):  # type: ignore[misc]  # warcio has no types
    """A head that is written as it is; what warcio makes of parts is ASCII, with values percent-encoded to be so."""

    def __init__(self, raw: bytes) -> None:
        super().__init__("verbatim", [])  # without a status line it would count as none
        self.headers_buff = raw

    def compute_headers_buffer(self, header_filter: object = None) -> None:
        """Nothing to compute."""


def stored_head(head: Head) -> bytes:
    """The bytes of a head as they are stored: nothing in it claims a framing that is no longer there."""
    codings = transfer_codings(head.headers)
    raw = head.raw or written(head)
    if "chunked" not in codings:
        return raw
    left = ", ".join(name for name in codings if name != "chunked")
    status_line, rest = raw.split(b"\n", 1)
    field = f"Transfer-Encoding: {left}\r\n".encode("latin-1") if left else b""
    return status_line + b"\n" + field + FRAMING.sub(rb"X-Crawler-\1", rest)
