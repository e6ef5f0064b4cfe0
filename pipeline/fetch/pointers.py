"""Pointers into WARC files that exist: the captures of every address, by the shard of its link.

Choice: each file is indexed once, into a table of its own in scratch, so that one more of them costs its own reading.
Every capture of every file then goes to the shard of its own address (an exchange), where requests, revisits and their
originals meet; `lookup` finds there what a link needs. Cost: all captures of an address are held, not the best one,
since links differ in when they were posted; and they are written twice. Alternative: one capture an address, the same
for every link.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import PagesSettings
from pipeline.counts import counted
from pipeline.fetch.captures import Capture, index, moment
from pipeline.fetch.kinds import LEFT_OUT, NotAnArchive
from pipeline.fetch.originals import is_seeking
from pipeline.fetch.revisits import REQUEST, REVISIT, of_pages, with_originals
from pipeline.fetch.warc import Pointer
from pipeline.shards import inputs, progress, receipts, schemas, storage
from pipeline.shards.locations import name_of, pointer_to
from pipeline.shards.outcomes import InputError, Outcome
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.removals import Removals
from pipeline.shards.runner import HEAVY_S, Block, Run
from pipeline.urls import BadUrl, canonical_url, doc_id, fetch_url, host_of, shard_of

VERSION = 4
LIBRARIES = ("ada-url", "brotli", "fastwarc", "pyarrow", "zstandard")
MOST_FILES = 99_999  # WARC files; a main crawl of Common Crawl has 90,000
PAGES = "pages"  # folder of the working directory from which pointers name files
INDEXED_S = 45e-9  # CPU s a byte of an archive as it lies: 40 ns, and 220 us a record of 40 kB (bench_plan.py)
NOTES = 20  # damaged places named of one WARC file

Row = dict[str, Any]
Splits = Mapping[str, int]


# --- the captures of all files, by the shard of their address


@dataclass(frozen=True)
class Source:
    """A WARC file to index, how pointers name it, and the task of its receipt."""

    path: Path
    name: str
    task: Task


def collect(
    settings: PagesSettings, work: Path, run: Run, shards: int, splits: Splits
) -> tuple[Artefact, tuple[str, ...]]:
    """The captures of every address in the archives, by shard of its link; and notes on damaged places.

    Raises InputError: a glob that matches nothing, a file that cannot be read, or not one of a kind that is.
    """
    used = {"limit_bytes": settings.limit_bytes, "opt_outs": settings.opt_outs}
    came = Removals.of(work).came_mark
    folders: list[str] = []
    contents = inputs.sha256_of_each(files_of(settings.warc, work, "pages.warc", folders), work / inputs.HASHES)
    if not contents:
        raise InputError(folders[0])
    found = [(path, [pointer_to(path, work / PAGES), sha256]) for path, sha256 in contents.items()]
    captures = Artefact(work, "scratch/captures", shards)
    marks = [receipts.fingerprint("warcs", VERSION, used, [*mark, *came], LIBRARIES) for _, mark in found]
    files = Artefact(work, "scratch/warcs", len(found), tuple(marks))
    wanted = receipts.fingerprint("captures", VERSION, used, [marks, dict(splits), shards, *came], LIBRARIES)
    unread = files.begin(marks)
    targets = captures.begin([wanted] * shards)
    if unread:
        targets = [Task(shard, wanted) for shard in range(shards)]
    sources = [Source(path, name, Task(number, marks[number])) for number, (path, (name, _)) in enumerate(found)]
    if targets:
        new = [sources[task.shard].path for task in unread]
        size = sum(storage.size_of(path) for path in new)
        progress.expect(size, progress.BYTES, "captures")
        send, take = partial(scatter, settings, files, splits, shards), partial(gather, captures, settings)
        run.exchange(send, sources, take, targets, heavy=size * INDEXED_S > HEAVY_S)
        files.drop_others()
    notes = (
        *(LEFT_OUT + folder_note for folder_note in folders),
        *(note for receipt in files.receipts() for note in receipt.notes),
    )
    left_out = [note for note in notes if note.startswith(LEFT_OUT)]
    if len(left_out) == len(found) + len(folders):
        raise InputError(left_out[0].removeprefix(LEFT_OUT))
    return captures, notes


def files_of(patterns: Iterable[str], work: Path, setting: str, folders: list[str] | None = None) -> list[Path]:
    """The files that the globs of a setting name, absolute, each once, in order.

    Raises InputError: a glob that matches no file, or only a folder (see `matching`); too many files.
    """
    found = inputs.matching(patterns, work, setting, folders)
    if len(found) > MOST_FILES:
        raise InputError(f"{setting}: {counted(len(found), 'file')}; at most {MOST_FILES:,}: concatenate some")
    return found


def scatter(settings: PagesSettings, files: Artefact, splits: Splits, shards: int, source: Source) -> Iterator[Block]:
    """The captures of one archive, to the shards of their links; it is indexed first if it has not been."""
    if not files.current(source.task):
        write_index(settings, files, source)
    for batch in schemas.iterate_parquet(files.file(source.task.shard, ".parquet")):
        rows = pa.Table.from_batches([batch], schemas.INDEXED)
        hosts, ids = rows["host"].to_pylist(), rows["doc_id"].to_pylist()
        places = [shard_of(host, doc, shards, splits) for host, doc in zip(hosts, ids, strict=True)]
        yield from schemas.scatter(rows.select(schemas.CAPTURES.names), places)


def write_index(settings: PagesSettings, files: Artefact, source: Source) -> None:
    """Write the captures of one archive as INDEXED, and its receipt, with what is damaged; nothing of what was removed.

    A file of another kind is left out, with a note.
    """
    damaged: list[str] = []
    ends: Counter[str] = Counter()
    left_out: list[str] = []
    removals = Removals.of(files.root)

    def tables() -> Iterator[pa.Table]:
        found = indexed(source, settings, damaged, ends)
        try:
            while rows := list(islice(progress.each(found), schemas.ROW_GROUP)):
                table = pa.Table.from_pylist([{**row, "host": host} for host, row in rows], schemas.INDEXED)
                yield without_removed(table, removals)
        except NotAnArchive as error:
            left_out.append(f"{LEFT_OUT}{error}")
        else:
            left_out.extend(without_pages(source.path, ends))

    with files.attempt(source.task) as attempt:
        with attempt.write(".parquet") as file:
            rows = schemas.write_parquet(file, tables(), schemas.INDEXED)
        attempt.rows(".parquet", rows)
        more = f"{name_of(source.path)}: {counted(len(damaged) - NOTES, 'more damaged place')}"
        attempt.commit({}, left_out + damaged[:NOTES] + [more] * (len(damaged) > NOTES))


def without_pages(path: Path, ends: Mapping[str, int]) -> list[str]:
    """What to say of an archive whose captures ended so, where not one is a page, beside what is said of damage."""
    if ends.get(Outcome.KEPT) or set(ends) == {Outcome.BAD_RECORD}:
        return []
    if not ends:
        return [f"{name_of(path)}: no page: it holds no response, resource or revisit of an address of the web"]
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(ends.items()))
    return [f"{name_of(path)}: no page among its captures: {counts}"]


def indexed(
    source: Source, settings: PagesSettings, damaged: list[str], ends: Counter[str]
) -> Iterator[tuple[str, Row]]:
    """(host, row of CAPTURES) of each capture of an archive.

    What is damaged goes to `damaged`, with its place; how captures end is counted in `ends`.
    """
    for capture in index(source.path, settings):
        ends[str(capture.outcome)] += capture.kind != REQUEST
        if capture.outcome is Outcome.BAD_RECORD:
            damaged.append(text(capture.detail))
        try:
            url = canonical_url(capture.url)
        except BadUrl:  # no link leads there
            continue
        yield host_of(url), capture_row(source.name, capture, doc_id(url))


def capture_row(file: str, capture: Capture, doc: str) -> Row:
    """The row of CAPTURES of a capture.

    One that leads to another spelling of its own address (http to https, `www.` added) leads nowhere else: the page is
    another capture of the same link, or none of the files holds it. One that leads to itself is a loop.
    """
    outcome, location = capture.outcome, capture.location
    try:
        if location and doc_id(canonical_url(location)) == doc:
            loops = capture.kind != REVISIT and location == fetch_url(capture.url)
            outcome, location = (Outcome.REDIRECT_LOOP if loops else Outcome.NOT_IN_WARC), ""
    except BadUrl:
        outcome, location = (outcome if capture.kind == REVISIT else Outcome.BAD_REDIRECT), ""
    place = Pointer(file, capture.offset, capture.length, capture.sha256)
    end = (text(capture.url), capture.status, capture.content_type, capture.opt_outs, outcome)
    return {
        **row_of(doc, place, *end),
        "kind": capture.kind,
        "location": text(location),
        "captured": moment(capture.date),
        "record_id": text(capture.record_id),
        "concurrent_to": [text(record_id) for record_id in capture.concurrent_to],
        "digest": text(capture.digest),
        "refers_to": text(capture.refers_to),
        "refers_date": moment(capture.refers_date),
    }


def gather(captures: Artefact, settings: PagesSettings, task: Task, blocks: Iterable[pa.Table]) -> None:
    """All captures of the addresses of a shard, by doc_id: those of pages, revisits restored where they can be here."""
    table = with_originals(of_pages(schemas.unpack(blocks, schemas.CAPTURES)), settings, captures.root / PAGES)
    names = ("doc_id", "captured", "sha256", "final_url", "warc", "offset")
    table = without_removed(table.sort_by([(name, "ascending") for name in names]), Removals.of(captures.root))
    with captures.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            rows = schemas.write_parquet(file, [table], schemas.CAPTURES, schemas.LOOKED_UP)
        attempt.rows(".parquet", rows)
        attempt.commit({}, counts={"seeking": pc.sum(is_seeking(table)).as_py() or 0})


def without_removed(table: pa.Table, removals: Removals) -> pa.Table:
    """CAPTURES without those of removed addresses; one that leads to such an address says so, and not to which."""
    if not removals.requests:
        return table
    own, onward = (
        pa.array([bool(url) and removals.cover_address(url) for url in table[name].to_pylist()], pa.bool_())
        for name in ("final_url", "location")
    )
    for name, value in {"outcome": str(Outcome.REMOVED), "location": ""}.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), pc.if_else(onward, value, table[name]))
    return table.filter(pc.invert(pc.or_(own, pc.is_in(table["doc_id"], pa.array(removals.doc_ids, pa.string())))))


# --- rows


def nowhere(doc: str, outcome: Outcome) -> Row:
    """The pointer of a link without any response."""
    return row_of(doc, None, "", None, "", (), outcome)


def row_of(
    doc: str,
    place: Pointer | None,
    final_url: str,
    status: int | None,
    content_type: str,
    opt_outs: Iterable[str],
    outcome: Outcome,
    via: Iterable[str] = (),
) -> Row:
    """A row of POINTERS."""
    at = place or Pointer("", 0, 0, "")
    return {
        "doc_id": doc,
        "final_url": text(final_url),
        "via": [text(url) for url in via],
        "status": status,
        "content_type": text(content_type),
        "warc": at.file,
        "offset": at.offset,
        "length": at.length,
        "sha256": at.sha256,
        "opt_outs": [text(opt_out) for opt_out in opt_outs],
        "outcome": str(outcome),
    }


def text(hostile: str) -> str:
    """The text without the lone surrogates that stand for undecodable bytes of headers."""
    return hostile.encode("utf-8", "replace").decode()
