"""Records fetched from Common Crawl's archive into WARC segments of our own, byte for byte.

Choice: what was fetched is kept as a local WARC file, committed by a table of how each link ended, exactly as a crawl's
segments are: whoever reads pages sees pointers into local files, and a killed build fetches no committed record again.
Cost: the disk holds each record twice, here and at Common Crawl. Alternative: pointers into the remote files, which
would be fetched again for every change of the extraction.

A record that cannot be had, or is not the page, ends as BAD_RECORD with the remote file and offset. What may succeed
on another day is not committed; if nothing else happened in a whole segment, the build stops rather than go on.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
from warcio.warcwriter import WARCWriter

from pipeline.config import PagesSettings
from pipeline.counts import counted
from pipeline.fetch.captures import Capture, capture_of
from pipeline.fetch.client import open_session
from pipeline.fetch.heads import HEAD_BYTES
from pipeline.fetch.kinds import GZIP, Kind
from pipeline.fetch.lookup import pointer_of
from pipeline.fetch.pointers import Row, capture_row, row_of, text
from pipeline.fetch.ranges import Piece, fetch_pieces
from pipeline.fetch.records import record_at
from pipeline.fetch.response import Refused
from pipeline.fetch.revisits import REQUEST
from pipeline.fetch.warc import Pointer
from pipeline.shards import schemas, storage
from pipeline.shards.locations import location_of
from pipeline.shards.outcomes import InputError, IntegrityError, Outcome
from pipeline.urls import BadUrl, canonical_url, doc_id

FOLDER = "commoncrawl"  # of the segments, below `pages/`
OUTAGE = 20  # records: if a segment of so many got none, the archive is out of reach


@dataclass
class Segment:
    """One segment while it is fetched: how its links ended, which of them may end better, and what to tell people."""

    rows: list[Row] = field(default_factory=list)
    passing: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def fetched(
    settings: PagesSettings, software: str, folder: Path, shard: str, matches: list[Row]
) -> tuple[dict[str, Row], list[str]]:
    """The row of POINTERS of each match (rows of MATCHES), by doc_id, and notes on records that could not be had.

    `folder` is that of pages, `shard` begins the names of the shard's segments. What a segment holds is not fetched.
    Raises InputError: the archive is out of reach. IntegrityError: a table of a segment cannot be read.
    """
    ends: dict[str, Row] = {}
    tables = storage.names(folder / FOLDER, f"{shard}.*.parquet")
    for table in tables:
        ends.update((row["doc_id"], row) for row in read_table(table))
    unasked = [match for match in matches if not settled(ends.get(match["doc_id"]), match, settings)]
    # on an object store another machine may still be at what a killed build seems to have left
    taken = storage.names(folder / FOLDER, f"{shard}.*") if location_of(folder) else tables
    number = 1 + max((int(path.name.split(".")[1]) for path in taken), default=-1)
    notes: list[str] = []
    for start in range(0, len(unasked), settings.segment_links):
        name = f"{shard}.{number:05d}"
        segment = fetch_segment(settings, software, folder, name, unasked[start : start + settings.segment_links])
        ends.update((row["doc_id"], row) for row in segment.rows)
        notes += segment.notes
        number += 1
    return {match["doc_id"]: ends[match["doc_id"]] for match in matches}, notes


def settled(row: Row | None, match: Row, settings: PagesSettings) -> bool:
    """Whether a link needs no request: its record is here, or this very record was found to be bad."""
    place = (remote(settings, match["warc_filename"]), match["warc_record_offset"])
    return row is not None and (row["outcome"] != Outcome.BAD_RECORD or (row["warc"], row["offset"]) == place)


def remote(settings: PagesSettings, file: str) -> str:
    """The address of a file of the archive."""
    return f"{settings.commoncrawl_url.rstrip('/')}/{file}"


def read_table(path: Path) -> list[Row]:
    """The rows of one segment's table. Raises IntegrityError."""
    try:
        rows: list[Row] = schemas.read_parquet(storage.local(path)).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise IntegrityError(f"{path}: cannot be read ({error}); delete it: its records are fetched again") from None
    return rows


def fetch_segment(settings: PagesSettings, software: str, folder: Path, name: str, matches: list[Row]) -> Segment:
    """Fetch some records into one segment: the WARC file first, then, as its commit, the table of its links."""
    path = folder / FOLDER / f"{name}.warc.gz"
    segment = Segment()
    with storage.atomic(path, once=True) as file:
        writer = WARCWriter(cast(BinaryIO, file), gzip=True, warc_version="WARC/1.1")
        info = {
            "software": software,
            "format": "WARC File Format 1.1",
            "description": f"records of {settings.commoncrawl_url}, byte for byte",
        }
        writer.write_record(writer.create_warcinfo_record(path.name, info))
        asyncio.run(fill(cast(BinaryIO, file), path.name, segment, matches, settings, software))
        if len(matches) >= OUTAGE and len(segment.passing) == len(matches):
            raise InputError(
                f"{settings.commoncrawl_url}: none of {counted(len(matches), 'record')} could be read "
                f"({segment.notes[0]}); "
                "run the same command later: it goes on where it was"
            )
    committed = [row for row in segment.rows if row["doc_id"] not in segment.passing]
    with storage.atomic(path.with_name(f"{name}.parquet"), once=True) as file:
        schemas.write_parquet(file, [pa.Table.from_pylist(committed, schemas.POINTERS)], schemas.POINTERS)
    return segment


async def fill(
    file: BinaryIO, name: str, segment: Segment, matches: list[Row], settings: PagesSettings, software: str
) -> None:
    """Fetch all matches, write each record that is its link's page to the file, and its row to the segment."""
    pieces = []
    for match in matches:
        length = match["warc_record_length"]
        piece = Piece(match["warc_filename"], match["warc_record_offset"], length, match["doc_id"])
        if 0 < length <= settings.limit_bytes + HEAD_BYTES and piece.offset >= 0:
            pieces.append(piece)
        else:
            outcome = Outcome.TOO_LARGE if length > 0 else Outcome.BAD_RECORD
            refuse(segment, piece, Refused(outcome, f"{length:,} bytes"), settings)
    async with open_session(settings, software) as session:
        async for piece, got in fetch_pieces(session, settings.commoncrawl_url, pieces, settings):
            try:
                data, capture = page_in(piece, got, settings)
            except Refused as refusal:
                refuse(segment, piece, refusal, settings)
                continue
            here = replace(capture, offset=file.tell(), length=len(data))
            file.write(data)
            segment.rows.append(pointer_of(capture_row(f"{FOLDER}/{name}", here, piece.key)))


def refuse(segment: Segment, piece: Piece, refusal: Refused, settings: PagesSettings) -> None:
    """Say in the segment that a record could not be had, and where it should lie."""
    place = Pointer(remote(settings, piece.file), piece.offset, piece.length, "")
    segment.rows.append(row_of(piece.key, place, "", None, "", (), refusal.outcome))
    segment.notes.append(text(f"{place.file} at offset {place.offset}: {refusal.detail}"))
    if refusal.transient:
        segment.passing.add(piece.key)


def page_in(piece: Piece, got: bytes | Refused, settings: PagesSettings) -> tuple[bytes, Capture]:
    """The bytes of a record and what it captured. Raises Refused: it did not come, or is not the page of its link."""
    if isinstance(got, Refused):
        raise got
    found = record_at(io.BytesIO(got), Kind(GZIP, 0, len(got)), 0, settings.limit_bytes + HEAD_BYTES)
    if found.damage or found.length != len(got):
        raise Refused(Outcome.BAD_RECORD, found.damage or f"the record is {found.length:,} of {len(got):,} bytes long")
    capture = capture_of(found, remote(settings, piece.file), settings)
    if capture is None or capture.kind == REQUEST or capture.outcome is Outcome.BAD_RECORD:
        raise Refused(Outcome.BAD_RECORD, capture.detail if capture else "no HTTP response")
    try:
        same = doc_id(canonical_url(capture.url)) == piece.key
    except BadUrl:
        same = False
    if not same:
        raise Refused(Outcome.BAD_RECORD, f"the record of another page: {capture.url}")
    return got, capture
