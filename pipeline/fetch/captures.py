"""The index of WARC files that somebody else wrote: one row for every capture, and one for every damaged stretch.

Choice: a file is read once from front to back and every response judged as a crawl would have judged it, so that the
index alone decides how a link ends. Cost: each body is decoded here and again when its text is extracted. Alternative:
a CDX file beside the WARC, which knows nothing of opt-outs or of damage and may be of another day than its WARC.

Redirects and revisits are captures that say where the page lies; whoever has the index of all files follows them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import ada_url

from pipeline.config import PagesSettings
from pipeline.fetch import heads
from pipeline.fetch.continued import is_segment, records
from pipeline.fetch.fields import bare
from pipeline.fetch.heads import Headers
from pipeline.fetch.readback import answer_of, is_page, is_revisit
from pipeline.fetch.records import Record
from pipeline.fetch.response import REDIRECTS, Refused, judge
from pipeline.shards.outcomes import Outcome
from pipeline.urls import fetch_url


@dataclass(frozen=True, slots=True)
class Capture:
    """One HTTP response of a WARC file, or one damaged stretch of it (BAD_RECORD; `url` "" where it cannot be told).

    `location`: the address whose record holds the page, for a redirect (BAD_REDIRECT unless it is followed) and for a
    revisit (NOT_IN_WARC unless its original is found); else "".
    """

    url: str
    status: int | None
    content_type: str
    offset: int
    length: int
    sha256: str
    date: str
    outcome: Outcome
    opt_outs: tuple[str, ...]
    detail: str
    location: str = ""


def index(path: Path, settings: PagesSettings) -> Iterator[Capture]:
    """Every HTTP response of a WARC file (gzip or zstd a record, or plain), and every damaged stretch.

    The outcome is the one that a crawl of the page would have ended with. Raises InputError only for a file that cannot
    be read or is no WARC file.
    """
    originals: dict[str, str] = {}  # WARC-Record-ID -> address: what a revisit of WARC 1.0 refers to
    for record in records(path, settings.limit_bytes + heads.HEAD_BYTES):
        capture = capture_of(record, str(path), settings, originals)
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


def capture_of(record: Record, name: str, settings: PagesSettings, originals: dict[str, str]) -> Capture | None:
    """What one record of the file `name` captured; None for a whole record that is no page.

    `originals` maps the ids of responses seen before to their addresses, and learns this one's.
    """
    where = f"{name} at offset {record.offset}"
    damage = record.damage or ("one segment of a record, without the others" if is_segment(record) else "")
    damage = damage or ("" if record.kind else "no record type")
    if damage:
        url = record.url if is_page(record) else ""
        detail = f"{where}: {damage}"
        return Capture(url, None, "", record.offset, record.length, "", "", Outcome.BAD_RECORD, (), detail)
    if is_revisit(record):
        return revisit_of(record, originals)
    if not is_page(record):
        return None
    url, date = record.url, record.fields.get("warc-date", "")
    originals[bare(record.fields.get("warc-record-id"))] = url
    try:
        answer = answer_of(record, settings.limit_bytes)
    except Refused as refusal:
        detail = f"{where}: {refusal.detail}"
        return Capture(url, None, "", record.offset, record.length, "", date, refusal.outcome, (), detail)
    verdict = judge(answer.head, answer.body, settings, record.fields.get("warc-truncated", "") or answer.missing)
    return Capture(
        url,
        answer.head.status,
        verdict.content_type,
        record.offset,
        record.length,
        hashlib.sha256(answer.stored).hexdigest(),
        date,
        verdict.outcome,
        verdict.opt_outs,
        verdict.detail,
        redirected(url, answer.head.headers) if answer.head.status in REDIRECTS else "",
    )


def revisit_of(record: Record, originals: Mapping[str, str]) -> Capture:
    """The capture of a revisit: a response that was left out because an earlier record holds it.

    WARC 1.1, section 6.7: WARC-Refers-To-Target-URI names the address of that record; older writers give its id alone,
    in WARC-Refers-To, and mean the same address where the id is not of this file (as wget's --warc-dedup does).
    """
    url, fields = record.url, record.fields
    named = bare(fields.get("warc-refers-to-target-uri")) or originals.get(bare(fields.get("warc-refers-to"))) or url
    head = heads.parse(record.block)
    status = head[0].status if head else None
    date, detail = fields.get("warc-date", ""), f"a revisit of {named}"
    return Capture(url, status, "", record.offset, record.length, "", date, Outcome.NOT_IN_WARC, (), detail, named)


def redirected(url: str, headers: Headers) -> str:
    """The address that a redirect leads to, "" where it names none that can be requested."""
    location = heads.location_of(headers)
    try:
        return fetch_url(ada_url.join_url(url, location)) if location else ""
    except ValueError:
        return ""
