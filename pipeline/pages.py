"""links → pages: where the response of every kept link lies, in WARC files that a user has or that are crawled here.

Choice: a page is a pointer into a WARC file; bodies are copied nowhere. A crawl appends segments, each a WARC file and
then a table with the end of every link in it: the table is the commit, so a killed or re-configured run asks no server
twice for a committed link. Cost: to fetch a link again, the tables that hold it must be deleted. Alternative: rely on
the shard receipts alone, which lose a day's crawl with every change of the config.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import PagesSettings, Settings, slice_of
from pipeline.fetch import warc
from pipeline.fetch.client import check_contact
from pipeline.fetch.crawler import Link, run_crawl
from pipeline.fetch.response import Fetched
from pipeline.shards import receipts, schemas, storage
from pipeline.shards.outcomes import InputError, IntegrityError, Outcome
from pipeline.shards.receipts import Artefact, Manifest, Task
from pipeline.shards.runner import Block, Run
from pipeline.urls import BadUrl, canonical_url, doc_id, host_of, shard_of

VERSION = 1
LIBRARIES = ("ada-url", "fastwarc", "pyarrow")
SOFTWARE = "webtext/0.1.0"  # in the user agent
SEGMENTS = "segments"
MOST_FILES = 99_999  # WARC files; a main crawl of Common Crawl has 90,000
NOTES = 20  # damaged places named of one WARC file

Row = dict[str, Any]


def stage(settings: Settings, work: Path, run: Run) -> Manifest:
    """One row for every kept link: where its page lies, or why there is none.

    Raises InputError: a glob of WARC files that matches nothing; ConfigError: a crawl without a contact.
    """
    shards = settings.build.shards
    links, pages = Artefact(work, "links", shards), Artefact(work, "pages", shards)
    used = {key: value for key, value in slice_of(settings.pages).items() if key != "local_hosts"}
    inputs: list[list[Any]] = [list(links.hashes(shard).values()) for shard in range(shards)]
    if settings.pages.warc:
        pointers, notes = pointed(settings, work, run, links)
        for shard in range(shards):
            inputs[shard].append(list(pointers.hashes(shard).values()))
        inputs[0].append(notes)
        make = partial(join_shard, links, pointers, pages, notes)
    else:
        check_contact(settings.pages)
        make = partial(crawl_shard, settings.pages, links, pages)
    tasks = pages.begin([receipts.fingerprint("pages", VERSION, used, one, LIBRARIES) for one in inputs])
    run.map_shards(make, tasks)
    return pages.finish(used, LIBRARIES)


# --- pages in WARC files that exist


@dataclass(frozen=True)
class Source:
    """A WARC file to index, and the task of its receipt."""

    path: Path
    task: Task


def pointed(settings: Settings, work: Path, run: Run, links: Artefact) -> tuple[Artefact, tuple[str, ...]]:
    """The best pointer of every address in the WARC files, by shard of its link; and notes on damaged places."""
    used = {"limit_bytes": settings.pages.limit_bytes, "opt_outs": settings.pages.opt_outs}
    splits = splits_of(links)
    # the path too: a pointer names it
    found = [(path, [str(path), storage.sha256_of(path)]) for path in warc_files(settings.pages.warc, work)]
    files = Artefact(work, "scratch/warcs", len(found))
    pointers = Artefact(work, "scratch/pointers", links.shards)
    marks = [receipts.fingerprint("warcs", VERSION, used, mark, LIBRARIES) for _, mark in found]
    wanted = receipts.fingerprint("pointers", VERSION, used, [marks, splits, links.shards], LIBRARIES)
    unread = files.begin(marks)
    targets = pointers.begin([wanted] * links.shards)
    if unread:
        targets = [Task(shard, wanted) for shard in range(links.shards)]
    sources = [Source(path, Task(number, marks[number])) for number, (path, _) in enumerate(found)]
    run.exchange(
        partial(scatter, settings.pages, files, splits, links.shards), sources, partial(gather, pointers), targets
    )
    return pointers, tuple(note for receipt in files.receipts() for note in receipt.notes)


def warc_files(patterns: Iterable[str], work: Path) -> list[Path]:
    """The files that the globs name, absolute, each once, in order. Raises InputError: a glob without any; too many."""
    found: set[Path] = set()
    for pattern in patterns:
        names = glob.glob(str(work / pattern), recursive=True)  # noqa: PTH207 - absolute patterns too
        matches = [path for path in (Path(name).absolute() for name in names) if path.is_file()]
        if not matches:
            raise InputError(f"pages.warc: {pattern!r} matches no file (from {work.absolute()}); mend the path")
        found.update(matches)
    if len(found) > MOST_FILES:
        raise InputError(f"pages.warc: {len(found):,} files; at most {MOST_FILES:,}: concatenate some")
    return sorted(found)


def splits_of(links: Artefact) -> dict[str, int]:
    """Hosts that are spread over several shards, and over how many."""
    splits: dict[str, int] = {}
    for shard in range(links.shards):
        table = schemas.read_parquet(links.file(shard, ".parquet"), ["host", "host_shards"])
        spread = table.filter(pc.greater(table["host_shards"], 1))
        splits.update(zip(spread["host"].to_pylist(), spread["host_shards"].to_pylist(), strict=True))
    return dict(sorted(splits.items()))


def scatter(
    settings: PagesSettings, files: Artefact, splits: Mapping[str, int], shards: int, source: Source
) -> Iterator[Block]:
    """Pointers to all responses of one WARC file, to the shards of their links; then the file's receipt."""
    damaged: list[str] = []
    found = indexed(source.path, settings, damaged)
    while rows := list(islice(found, schemas.ROW_GROUP)):
        places = [shard_of(host, row["doc_id"], shards, splits) for host, row in rows]
        yield from schemas.scatter(pa.Table.from_pylist([row for _, row in rows], schemas.POINTERS), places)
    more = [f"{source.path}: {len(damaged) - NOTES} more damaged places"] if len(damaged) > NOTES else []
    with files.attempt(source.task) as attempt:
        attempt.commit({}, damaged[:NOTES] + more)


def indexed(path: Path, settings: PagesSettings, damaged: list[str]) -> Iterator[tuple[str, Row]]:
    """(host, pointer) of each response of a WARC file. What has no address goes to `damaged`, if it is damaged."""
    for found in warc.index(path, settings):
        if not found.url:
            damaged.append(text(found.detail))
            continue
        try:
            url = canonical_url(found.url)
        except BadUrl:  # no link leads there
            continue
        place = warc.Pointer(str(path), found.offset, found.length, found.sha256)
        end = (text(found.url), found.status, found.content_type, found.opt_outs, found.outcome)
        yield host_of(url), row_of(doc_id(url), place, *end)


def gather(pointers: Artefact, task: Task, blocks: Iterable[bytes]) -> None:
    """The best pointer of each doc_id: kept before others, then the first by file and offset."""
    table = schemas.unpack(blocks, schemas.POINTERS)
    table = table.append_column("worse", pc.not_equal(table["outcome"], str(Outcome.KEPT)))
    table = table.sort_by([(name, "ascending") for name in ("doc_id", "worse", "warc", "offset")])
    ids = table["doc_id"].combine_chunks()
    if len(ids):
        first = pa.concat_arrays([pa.array([True]), pc.not_equal(ids[1:], ids[:-1])])
        table = table.filter(first)
    write(pointers, task, table.drop_columns(["worse"]), schemas.POINTERS)


def join_shard(links: Artefact, pointers: Artefact, pages: Artefact, notes: tuple[str, ...], task: Task) -> None:
    """Give every kept link of a shard its pointer, or NOT_IN_WARC. The first shard carries the notes of all files."""
    kept = kept_links(links, task.shard)
    wanted = pa.array([link.doc_id for link in kept], pa.string())
    found: dict[str, Row] = {}
    for batch in schemas.iterate_parquet(pointers.file(task.shard, ".parquet")):
        rows = batch.filter(pc.is_in(batch["doc_id"], wanted)).to_pylist()
        found.update((row["doc_id"], row) for row in rows)
    rows = [{**page_of(link), **found.get(link.doc_id, nowhere(link.doc_id, Outcome.NOT_IN_WARC))} for link in kept]
    write_pages(pages, task, rows, () if task.shard else notes)


# --- pages that are crawled here


def crawl_shard(settings: PagesSettings, links: Artefact, pages: Artefact, task: Task) -> None:
    """Crawl the kept links of a shard that no segment holds, segment by segment; then write the shard."""
    kept = kept_links(links, task.shard)
    tables = segment_tables(pages, task.shard)
    ends = {row["doc_id"]: row for table in tables for row in read_segment(table)}
    missing = sorted((link for link in kept if link.doc_id not in ends), key=lambda link: link.doc_id)  # hosts mixed
    number = 1 + max((int(table.name.split(".")[1]) for table in tables), default=-1)
    for start in range(0, len(missing), settings.segment_links):
        name = f"{storage.shard_name(task.shard, pages.shards, '')}.{number:05d}"
        rows = crawl_segment(settings, pages.folder / SEGMENTS, name, missing[start : start + settings.segment_links])
        ends.update((row["doc_id"], row) for row in rows)
        number += 1
    write_pages(pages, task, [{**page_of(link), **obeyed(ends[link.doc_id], settings.opt_outs)} for link in kept])


def segment_tables(pages: Artefact, shard: int) -> list[Path]:
    """The tables of the committed segments of a shard, in order."""
    return sorted((pages.folder / SEGMENTS).glob(f"{storage.shard_name(shard, pages.shards, '')}.*.parquet"))


def read_segment(path: Path) -> list[Row]:
    """The rows of one segment. Raises IntegrityError."""
    try:
        rows: list[Row] = schemas.read_parquet(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise IntegrityError(f"{path}: cannot be read ({error}); delete it: its links are crawled again") from None
    return rows


def crawl_segment(settings: PagesSettings, folder: Path, name: str, links: list[Link]) -> list[Row]:
    """Crawl some links into one segment: the WARC file first, then, as its commit, the table of how each link ended."""
    rows: list[Row] = []
    path = folder / f"{name}.warc.gz"
    with storage.atomic(path) as file:
        segment = warc.SegmentWriter(cast(BinaryIO, file), f"{SEGMENTS}/{path.name}", settings, SOFTWARE)

        def fetched(link: Link, end: Fetched) -> None:
            place = segment.write(end)
            parts = (end.final_url, end.status, end.content_type, end.opt_outs, end.outcome)
            rows.append(row_of(link.doc_id, place, *parts))

        run_crawl(links, settings, SOFTWARE, fetched)
    with storage.atomic(folder / f"{name}.parquet") as file:
        schemas.write_parquet(file, [pa.Table.from_pylist(rows, schemas.POINTERS)], schemas.POINTERS)
    return rows


def obeyed(row: Row, opt_outs: bool) -> Row:
    """The row with opt-outs obeyed or not as the config says today, whatever it said when the page was crawled."""
    if row["opt_outs"] and row["outcome"] in (Outcome.KEPT, Outcome.OPTED_OUT):
        return {**row, "outcome": str(Outcome.OPTED_OUT if opt_outs else Outcome.KEPT)}
    return row


# --- rows


def kept_links(links: Artefact, shard: int) -> list[Link]:
    """The kept links of a shard, by url."""
    columns = ["doc_id", "url", "fetch_url", "host", "host_shards", "outcome"]
    table = schemas.read_parquet(links.file(shard, ".parquet"), columns)
    kept = table.filter(pc.equal(table["outcome"], str(Outcome.KEPT))).drop_columns(["outcome"]).sort_by("url")
    return [Link(**row) for row in kept.to_pylist()]


def page_of(link: Link) -> Row:
    """The columns of a page that come from its link."""
    return {"url": link.url, "host": link.host}


def nowhere(doc: str, outcome: Outcome) -> Row:
    """The pointer of a link without any response."""
    return row_of(doc, None, "", None, "", (), outcome)


def row_of(
    doc: str,
    place: warc.Pointer | None,
    final_url: str,
    status: int | None,
    content_type: str,
    opt_outs: Iterable[str],
    outcome: Outcome,
) -> Row:
    """A row of POINTERS."""
    at = place or warc.Pointer("", 0, 0, "")
    return {
        "doc_id": doc,
        "final_url": text(final_url),
        "status": status,
        "content_type": text(content_type),
        "warc": at.file,
        "offset": at.offset,
        "length": at.length,
        "sha256": at.sha256,
        "opt_outs": [text(one) for one in opt_outs],
        "outcome": str(outcome),
    }


def text(hostile: str) -> str:
    """The text without the lone surrogates that stand for undecodable bytes of headers."""
    return hostile.encode("utf-8", "replace").decode()


def write_pages(pages: Artefact, task: Task, rows: list[Row], notes: Iterable[str] = ()) -> None:
    """Write and commit a shard of pages; its books count how each kept link ended."""
    counts = Counter(row["outcome"] for row in rows)
    books = {"pages": receipts.balanced("pages", len(rows), counts)}
    write(pages, task, pa.Table.from_pylist(rows, schemas.PAGES), schemas.PAGES, books, notes)


def write(
    artefact: Artefact,
    task: Task,
    table: pa.Table,
    schema: pa.Schema,
    books: Mapping[str, receipts.Books] | None = None,
    notes: Iterable[str] = (),
) -> None:
    """Write and commit a shard of one Parquet file."""
    with artefact.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            rows = schemas.write_parquet(file, [table], schema)
        attempt.rows(".parquet", rows)
        attempt.commit(books or {}, notes)
