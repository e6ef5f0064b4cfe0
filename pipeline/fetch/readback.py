"""Random access to archives: what a pointer reads back, and what a record says as an answer of a web server.

Choice: the head is read by the parser that the crawl uses, and framing, transfer and content codings are undone here,
so that the stored bytes are the ones that came. Cost: each body is decoded again by every reader. Alternative: warcio's
readers, which give the bytes of a broken chunk as the page.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from pipeline.fetch import heads
from pipeline.fetch.continued import is_segment, joined
from pipeline.fetch.heads import Head, Headers
from pipeline.fetch.kinds import Kind, stretch_at, stretches
from pipeline.fetch.media_types import content_type_of, sniffed
from pipeline.fetch.records import Record, cut_between, record_at, within
from pipeline.fetch.response import Refused, decode, is_decoded
from pipeline.shards import progress, storage
from pipeline.shards.outcomes import InputError, Outcome

RECORD_BYTES = 1 << 17  # asked of an object store at once, for one record: most pages are smaller
PAGES = ("response", "resource")  # kinds of records that hold a page


class BadRecord(Refused):
    """A record cannot be read as a page: `outcome` is BAD_RECORD, TOO_LARGE or BAD_ENCODING."""


@dataclass(frozen=True, slots=True)
class Response:
    """One response read back. `body` is decoded; `sha256` is of the HTTP body as stored, to compare with a pointer."""

    status: int
    headers: Headers
    body: bytes
    content_type: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A record as an answer: `stored` as it lies after the head, `body` without chunks, still in its codings.

    `missing`: what of the body is not there, "" for a whole one.
    """

    head: Head
    stored: bytes
    body: bytes
    missing: str = ""


def is_page(record: Record) -> bool:
    """Whether a record holds a page of the web: a response, or the page itself as a resource (WARC 1.1, 6.4)."""
    return record.kind in PAGES and record.is_web


def is_revisit(record: Record) -> bool:
    """Whether a record says that an HTTP response was the same as one before."""
    return record.kind == "revisit" and record.is_web


def answer_of(record: Record, limit_bytes: int) -> Answer:
    """What a record of a page answers. Raises Refused: BAD_RECORD, TOO_LARGE.

    A resource is a page without an HTTP head; its media type is the record's, its status 200 by convention. One that
    is told to be an HTTP response, and is one, has its own.
    """
    media_type = record.fields.get("content-type", "")
    found = heads.parse(record.block) if record.kind != "resource" or is_http(media_type) else None
    if record.kind == "resource" and found is None:
        check_size(record, len(record.block), limit_bytes)
        fields = (("Content-Type", media_type),) if media_type else ()
        return Answer(Head("1.1", 200, "", fields), record.block, record.block)
    if found is None:
        raise Refused(Outcome.BAD_RECORD, "no HTTP status line")
    head, begins = found
    stored = record.block[begins:]
    check_size(record, len(stored), limit_bytes)
    return Answer(head, stored, *body_in(head, stored))


def is_http(content_type: str) -> bool:
    """Whether a media type says that a block is an HTTP message (RFC 9112, section 10.2), with its head."""
    return content_type.partition(";")[0].strip().lower() == "application/http"


def body_in(head: Head, stored: bytes) -> tuple[bytes, str]:
    """The body in what a record holds after the head, without chunks, and what of it is missing; "" for a whole one.

    The record says where the body ends; Content-Length can only tell that it ends too early. Writers that undo codings
    or chunks leave the length that was sent (Scrapy's without the coding's label, Common Crawl's of 2015 with it): a
    body longer than that is whole; of one that is not in the coding or the chunks of its label it says nothing.
    """
    if is_decoded(stored, head.headers):
        return stored, ""
    body = heads.Body(head)
    found = body.feed(stored)
    if body.chunked or head.status in heads.BODILESS:
        return found, body.missing()
    if "chunked" in heads.transfer_codings(head.headers):
        return stored, ""
    more = stored[len(found) :].strip(b"\r\n")  # empty lines alone are those that a record's wrong length took in
    return stored if more else found, body.missing()


def cut_of(record: Record, answer: Answer) -> str:
    """Why the body of a record is not whole: WARC-Truncated (WARC 1.1, section 5.15), or what is missing; else ""."""
    return record.fields.get("warc-truncated", "").lower() or answer.missing


def check_size(record: Record, length: int, limit_bytes: int) -> None:
    """Raises Refused: TOO_LARGE."""
    if record.size > len(record.block) or length > limit_bytes:
        raise Refused(Outcome.TOO_LARGE, f"a record of {record.size:,} bytes; the limit is {limit_bytes:,}")


def read_response(
    path: Path, offset: int, length: int | None, limit_bytes: int, sha256: str = "", here: bool = False
) -> Response:
    """The response at an offset of an archive, transfer and content codings undone, at most limit_bytes.

    `length` (None: unknown) must be the record's. Of several records at one place, in one compressed member or in the
    same ones by segments, the one is read whose stored body has this `sha256`. `here`: an object of which a copy was
    just brought, which is read. Raises BadRecord for anything that is not such a response, InputError where the file
    cannot be read.
    """
    where = f"{path} at offset {offset}"
    record = read_record(path, offset, length, limit_bytes + heads.HEAD_BYTES, sha256, here)
    if record.crowded:
        size = path.stat().st_size if here else storage.size_of(path)
        record = together(path, offset, size, limit_bytes, here).get(sha256, record)
    if record.damage or not record.fields:
        raise BadRecord(Outcome.BAD_RECORD, f"{where}: {record.damage or 'nothing there'}")
    if length is not None and length != record.length:
        raise BadRecord(Outcome.BAD_RECORD, f"{where}: {record.length} bytes long, {length} expected")
    if not is_page(record):
        raise BadRecord(Outcome.BAD_RECORD, f"{where}: not an HTTP response")
    try:
        answer = answer_of(record, limit_bytes)
        body = decode(answer.body, answer.head.headers, limit_bytes)
    except Refused as refusal:
        raise BadRecord(refusal.outcome, f"{where}: {refusal.detail}") from None
    head = answer.head
    content_type = content_type_of(head.headers) or sniffed(body)
    return Response(head.status, head.headers, body, content_type, hashlib.sha256(answer.stored).hexdigest())


def read_record(
    path: Path, offset: int, length: int | None, limit_bytes: int, sha256: str = "", here: bool = False
) -> Record:
    """The record at an offset, segments joined; of several there the one whose stored body has this `sha256`, if any.

    `here`: see `read_response`. Raises InputError: the file cannot be read.
    """
    try:
        with progress.reading(path) if here else storage.reading(path, RECORD_BYTES) as file:
            kind = stretch_at(file, path, offset, length)
            record = record_at(file, kind, offset, limit_bytes)
            spans = length is not None and length > record.length  # as segments do, from one member to another
            if not (is_segment(record) or spans) or (record.damage and not (record.crowded and spans)):
                return record
            file.seek(0)
            parts = between(stretches(file, path), offset, offset + length if length else sys.maxsize)
            pieces = (piece for part in parts for piece in cut_between(file, part, limit_bytes))
            found = [
                record
                for record in joined(pieces, limit_bytes)
                if record.offset == offset and length in (None, record.length)
            ]
            meant = (record for record in found if sha256 and sha256_of(record, limit_bytes) == sha256)
            return next(meant, found[0] if found else record)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def sha256_of(record: Record, limit_bytes: int) -> str:
    """Of the body as stored; "" for a record that is no whole page."""
    with suppress(Refused):
        if is_page(record) and not record.damage:
            return hashlib.sha256(answer_of(record, limit_bytes).stored).hexdigest()
    return ""


def between(kinds: Iterable[Kind], begins: int, ends: int) -> Iterator[Kind]:
    """What of some stretches lies between two offsets."""
    for kind in kinds:
        if kind.begins < ends and kind.ends > begins:
            yield replace(kind, begins=max(kind.begins, begins), ends=min(kind.ends, ends))


@lru_cache(maxsize=1)
def together(path: Path, offset: int, _size: int, limit_bytes: int, here: bool = False) -> dict[str, Record]:
    """The pages in a compressed member that holds several records, by the sha256 of the body as stored.

    Cost: the last such member is held, unpacked, up to MEMBER_BYTES. Raises InputError: the file cannot be read.
    """
    found: dict[str, Record] = {}
    try:
        with progress.reading(path) if here else storage.reading(path) as file:
            kind, most = stretch_at(file, path, offset, None), limit_bytes + heads.HEAD_BYTES
            record = record_at(file, kind, offset, most)
            for joined_record in joined(within(file, kind, record, most), most):
                found.setdefault(sha256_of(joined_record, limit_bytes), joined_record)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    return found
