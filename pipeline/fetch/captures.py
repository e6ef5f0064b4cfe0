"""The index of WARC files that somebody else wrote: one row for every capture, and one for every damaged stretch.

Choice: a file is read once from front to back and every response judged as a crawl would have judged it, so that the
index alone decides how a link ends. Cost: each body is decoded here and again when its text is extracted. Alternative:
a CDX file beside the WARC, which knows nothing of opt-outs or of damage and may be of another day than its WARC.

Redirects and revisits are captures that say where the page lies; whoever has the index of all files follows them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import ada_url

from pipeline.config import PagesSettings
from pipeline.fetch import heads
from pipeline.fetch.continued import is_segment, records
from pipeline.fetch.fields import bare
from pipeline.fetch.heads import Headers
from pipeline.fetch.media_types import content_type_of
from pipeline.fetch.opt_outs import opt_outs_of
from pipeline.fetch.readback import answer_of, cut_of, is_page, is_revisit
from pipeline.fetch.records import Record
from pipeline.fetch.response import REDIRECTS, Refused, judge, outcome_of_status
from pipeline.fetch.revisits import HEAD, REQUEST, RESPONSE, REVISIT, computed, digest_of
from pipeline.shards.outcomes import Outcome
from pipeline.urls import fetch_url

NOT_MODIFIED = 304  # RFC 9110, section 15.4.5: it says nothing of the page but that it was sent before
METHOD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) ")  # of a request: a token of RFC 9110, section 5.6.2
WARC_DATE = re.compile(r"(\d{4})-?(\d\d)?-?(\d\d)?T?(?:(\d\d):?(\d\d))?(?::?(\d\d))?(?:[.](\d+))?Z?")


@dataclass(frozen=True, slots=True)
class Capture:
    """One HTTP response of a WARC file, or one damaged stretch of it (BAD_RECORD; `url` "" where it cannot be told).

    `kind`: what its row of CAPTURES is; a request is there only if it is not GET, since its answer is no page.
    `location`: the address that a redirect leads to (BAD_REDIRECT unless it is followed), or at which the original of
    a revisit was captured (NOT_IN_WARC unless it is found); else "". `date` is as written; `digest`, `refers_to` and
    `refers_date` are by what a revisit and its original know each other.
    """

    url: str
    offset: int
    length: int
    outcome: Outcome
    detail: str
    status: int | None = None
    content_type: str = ""
    sha256: str = ""
    date: str = ""
    opt_outs: tuple[str, ...] = ()
    location: str = ""
    kind: str = RESPONSE
    record_id: str = ""
    concurrent_to: tuple[str, ...] = ()
    digest: str = ""
    refers_to: str = ""
    refers_date: str = ""


def index(path: Path, settings: PagesSettings) -> Iterator[Capture]:
    """Every HTTP response of a WARC file (gzip or zstd a record, or plain), and every damaged stretch.

    The outcome is the one that a crawl of the page would have ended with. Raises InputError only for a file that cannot
    be read or is no WARC file.
    """
    for record in records(path, settings.limit_bytes + heads.HEAD_BYTES):
        capture = capture_of(record, str(path), settings)
        if capture is not None:
            yield capture


def addresses(path: Path) -> Iterator[str | None]:
    """The address of every HTTP response and revisit of a WARC file, in order; None for every damaged stretch.

    Raises InputError for a file that cannot be read or is no WARC file.
    """
    for record in records(path, 0):
        if record.damage:
            yield None
        elif is_page(record) or is_revisit(record):
            yield record.url


def capture_of(record: Record, name: str, settings: PagesSettings) -> Capture | None:
    """What one record of the file `name` captured; None for a whole record that is no page."""
    where = f"{name} at offset {record.offset}"
    damage = record.damage or ("one segment of a record, without the others" if is_segment(record) else "")
    damage = damage or ("" if record.kind else "no record type")
    if damage:
        url = record.url if is_page(record) else ""
        return Capture(url, record.offset, record.length, Outcome.BAD_RECORD, f"{where}: {damage}")
    if is_revisit(record):
        return revisit_of(record)
    if record.kind == "request" and record.is_web:
        return request_of(record)
    return response_of(record, where, settings) if is_page(record) else None


def unread(record: Record) -> Capture:
    """What the fields of a record say of its capture."""
    field = record.fields.get
    return Capture(
        record.url,
        record.offset,
        record.length,
        Outcome.NOT_IN_WARC,
        "",
        date=field("warc-date", ""),
        record_id=bare(field("warc-record-id")),
        concurrent_to=tuple(map(bare, field("warc-concurrent-to", "").split())),
        digest=digest_of(field("warc-payload-digest", "")),
    )


def response_of(record: Record, where: str, settings: PagesSettings) -> Capture:
    """The capture of a page."""
    capture = unread(record)
    try:
        answer = answer_of(record, settings.limit_bytes)
    except Refused as refusal:
        return replace(capture, outcome=refusal.outcome, detail=f"{where}: {refusal.detail}")
    head = answer.head
    verdict = judge(head, answer.body, settings, cut_of(record, answer))
    return replace(
        capture,
        status=head.status,
        content_type=verdict.content_type,
        sha256=hashlib.sha256(answer.stored).hexdigest(),
        outcome=verdict.outcome,
        opt_outs=verdict.opt_outs,
        detail=verdict.detail,
        location=redirected(capture.url, head.headers) if head.status in REDIRECTS else "",
        digest=capture.digest or computed(answer.stored),
    )


def revisit_of(record: Record) -> Capture:
    """The capture of a revisit: a response that was left out because another record holds it (see `revisits`)."""
    capture, found = unread(record), heads.parse(record.block)
    head = found[0] if found else None
    if head and head.status != NOT_MODIFIED:
        content_type = content_type_of(head.headers)
        capture = replace(capture, status=head.status, content_type=content_type)
        outcome = outcome_of_status(head.status, content_type or "text/html", 1)
        outcome = Outcome.INCOMPLETE if heads.is_part(head) else outcome
        if outcome is not Outcome.KEPT:
            leads_to = redirected(capture.url, head.headers) if head.status in REDIRECTS else ""
            detail = f"status {head.status}, of a revisit"
            return replace(capture, outcome=outcome, detail=detail, location=leads_to, kind=HEAD)
    original = bare(record.fields.get("warc-refers-to-target-uri"))
    return replace(
        capture,
        detail=f"a revisit of {original or capture.url}",
        opt_outs=opt_outs_of(head.headers, b"") if head else (),
        location=original,
        kind=REVISIT,
        refers_to=bare(record.fields.get("warc-refers-to")),
        refers_date=record.fields.get("warc-refers-to-date", ""),
    )


def request_of(record: Record) -> Capture | None:
    """A request of another method than GET, whose answer is not the page of its address; None for GET."""
    asked = METHOD.match(record.block)
    if asked is None or asked[1].upper() == b"GET":
        return None
    return replace(unread(record), detail=f"a {asked[1].decode()} request", kind=REQUEST)


def moment(date: str) -> datetime | None:
    """A WARC-Date as a time in UTC, without a time zone; None where it is none.

    WARC 1.1, section 5.4: ISO 8601 in UTC, down to the nanosecond or cut after any part (W3C's profile of it).
    """
    found = WARC_DATE.fullmatch(date.strip())
    if not found:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    try:
        return datetime(year, month or 1, day or 1, hour, minute, second, int(f"{found[7] or '':0<6}"[:6]))
    except ValueError:
        return None


def redirected(url: str, headers: Headers) -> str:
    """The address that a redirect leads to, "" where it names none that can be requested."""
    location = heads.location_of(headers)
    try:
        return fetch_url(ada_url.join_url(url, location)) if location else ""
    except ValueError:
        return ""
