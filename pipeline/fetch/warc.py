"""WARC: what a crawl writes.

Choice: one compressed member a record, written by warcio; a response is kept as its bytes came,
content coding included, chunking removed. Cost: a pointer is good for one file and offset only. Alternative: a store of
our own, which no other tool could read.

A response whose chunking was removed keeps the header as X-Crawler-Transfer-Encoding, as Common Crawl's files do:
a reader that believed Transfer-Encoding would look for chunks that are gone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.config import PagesSettings
from pipeline.fetch.heads import Headers, header
from pipeline.fetch.response import Hop
from pipeline.fetch.robots import CRAWL_DELAY_MAX_S, user_agent


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
