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
from fastwarc.warc import WarcRecord, WarcRecordType

from pipeline.config import PagesSettings
from pipeline.fetch.heads import Headers
from pipeline.fetch.records import HEAD_BYTES, Slice, slices
from pipeline.fetch.response import REDIRECTS, Refused, judge
from pipeline.fetch.warc import bare, dechunked, http_of, is_response, is_revisit, record_of, url_of
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
    for piece in slices(path, settings.limit_bytes + HEAD_BYTES):
        capture = capture_of(piece, str(path), settings, originals)
        if capture is not None:
            yield capture


def is_warc(path: Path) -> bool:
    """Whether a file is named as WARC files are."""
    return path.name.lower().endswith((".warc", ".warc.gz", ".warc.zst"))


def addresses(path: Path) -> Iterator[str | None]:
    """The address of every HTTP response and revisit of a WARC file, in order; None for every damaged stretch.

    Raises InputError for a file that cannot be read or is no WARC file.
    """
    for piece in slices(path, HEAD_BYTES):
        record = record_of(piece)
        if piece.damage or record is None:
            yield None
        elif is_response(record) or is_revisit(record):
            yield url_of(record)


def capture_of(piece: Slice, name: str, settings: PagesSettings, originals: dict[str, str]) -> Capture | None:
    """What one slice of the file `name` captured; None for a whole record that is no HTTP response.

    `originals` maps the ids of responses seen before to their addresses, and learns this one's.
    """
    record = record_of(piece)
    where = f"{name} at offset {piece.offset}"
    if piece.damage or record is None:
        url = url_of(record) if record is not None and is_response(record) else ""
        detail = f"{where}: {piece.damage or 'the record header cannot be read'}"
        return Capture(url, None, "", piece.offset, piece.length, "", "", Outcome.BAD_RECORD, (), detail)
    if record.record_type in (WarcRecordType.unknown, WarcRecordType.no_type):
        detail = f"{where}: no record type of the standard: {record.headers.get('WARC-Type') or 'none'}"
        return Capture(url_of(record), None, "", piece.offset, piece.length, "", "", Outcome.BAD_RECORD, (), detail)
    if is_revisit(record):
        return revisit_of(piece, record, originals)
    if not is_response(record):
        return None
    url, date = url_of(record), record.headers.get("WARC-Date") or ""
    originals[record.record_id or ""] = url
    try:
        stored, status, headers = http_of(piece, record, settings.limit_bytes)
        body = dechunked(stored, headers)
    except Refused as refusal:
        detail = f"{where}: {refusal.detail}"
        return Capture(url, None, "", piece.offset, piece.length, "", date, refusal.outcome, (), detail)
    verdict = judge(status, headers, body, settings)
    return Capture(
        url,
        status,
        verdict.content_type,
        piece.offset,
        piece.length,
        hashlib.sha256(stored).hexdigest(),
        date,
        verdict.outcome,
        verdict.opt_outs,
        verdict.detail,
        redirected(url, headers) if status in REDIRECTS else "",
    )


def revisit_of(piece: Slice, record: WarcRecord, originals: Mapping[str, str]) -> Capture:
    """The capture of a revisit: a response that was left out because an earlier record holds it.

    WARC 1.1, section 6.7: WARC-Refers-To-Target-URI names the address of that record; older writers give its id alone,
    in WARC-Refers-To, and mean the same address where the id is not of this file (as wget's --warc-dedup does).
    """
    url, headers = url_of(record), record.headers
    named = bare(headers.get("WARC-Refers-To-Target-URI")) or originals.get(headers.get("WARC-Refers-To") or "") or url
    status = record.http_headers.status_code if record.is_http_parsed else None
    date = headers.get("WARC-Date") or ""
    detail = f"a revisit of {named}"
    return Capture(url, status, "", piece.offset, piece.length, "", date, Outcome.NOT_IN_WARC, (), detail, named)


def redirected(url: str, headers: Headers) -> str:
    """The address that a redirect leads to, "" where it names none that can be requested."""
    location = next((value for name, value in headers if name.lower() == "location"), "")
    try:
        return fetch_url(ada_url.join_url(url, location)) if location else ""
    except ValueError:
        return ""
