"""links → pages: where each kept link's response lies: in WARC files that exist, in Common Crawl, or crawled here.

Choice: a page is a pointer into a WARC file; bodies are copied nowhere. A crawl appends segments, each a WARC file and
then a table with the end of every link in it: the table is the commit, so a killed or re-configured run asks no server
twice for a committed link. Cost: to fetch a link again, the tables that hold it must be deleted. Alternative: rely on
the shard receipts alone, which lose a day's crawl with every change of the config.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import PagesSettings, Settings, slice_of
from pipeline.fetch import archive, commoncrawl, pointers, warc
from pipeline.fetch.client import check_contact
from pipeline.fetch.crawler import Link, run_crawl
from pipeline.fetch.pointers import Row, nowhere, row_of
from pipeline.fetch.response import Fetched
from pipeline.shards import receipts, schemas, storage
from pipeline.shards.outcomes import ConfigError, IntegrityError, Outcome
from pipeline.shards.receipts import Artefact, Manifest, Task
from pipeline.shards.runner import Run

VERSION = 2
LIBRARIES = ("ada-url", "fastwarc", "pyarrow")
SOFTWARE = "webtext/0.1.0"  # in the user agent
SEGMENTS = "segments"
NOT_HELD = (Outcome.NOT_IN_WARC, Outcome.BAD_RECORD)  # the next source is asked


@dataclass(frozen=True)
class Sources:
    """Where pages may come from, in the order in which they are asked: each gets what those before do not hold.

    `captures`: of WARC files that exist, with `notes` on their damaged places; `matches`: in Common Crawl, nearest to
    the date of the post; `crawl`: whether the live web is asked. `splits`: hosts that are spread over shards.
    """

    captures: Artefact | None
    notes: tuple[str, ...]
    matches: Artefact | None
    crawl: bool
    splits: pointers.Splits


def stage(settings: Settings, work: Path, run: Run) -> Manifest:
    """One row for every kept link: where its page lies, or why there is none.

    Raises ConfigError: a request without a contact, no source at all; InputError: a glob that matches no file.
    """
    shards = settings.build.shards
    links, pages = Artefact(work, "links", shards), Artefact(work, "pages", shards)
    used = {key: value for key, value in slice_of(settings.pages).items() if key != "local_hosts"}
    inputs: list[list[Any]] = [list(links.hashes(shard).values()) for shard in range(shards)]
    sources = sources_of(settings, work, run, links)
    if sources.captures is not None:  # all shards of it: a redirect may lead into any
        held = [list(sources.captures.hashes(shard).values()) for shard in range(shards)]
        inputs = [[one, held] for one in inputs]
        inputs[0].append(sources.notes)
    if sources.matches is not None:
        inputs = [[one, list(sources.matches.hashes(shard).values())] for shard, one in enumerate(inputs)]
    tasks = pages.begin([receipts.fingerprint("pages", VERSION, used, one, LIBRARIES) for one in inputs])
    run.map_shards(partial(make_shard, settings.pages, links, pages, sources), tasks)
    return pages.finish(used, LIBRARIES)


def sources_of(settings: Settings, work: Path, run: Run, links: Artefact) -> Sources:
    """The sources that `[pages]` names, indexed. Raises ConfigError: none, or one that needs a contact without it."""
    asked = settings.pages
    given = bool(asked.warc or asked.commoncrawl)
    crawl = asked.crawl == "missing" or (asked.crawl == "alone" and not given)
    if not (given or crawl):
        raise ConfigError("pages.crawl is 'never': name WARC files in pages.warc or an index in pages.commoncrawl")
    if crawl or asked.commoncrawl:
        check_contact(asked)
    splits = splits_of(links) if given else {}
    captures, notes = pointers.collect(asked, work, run, links.shards, splits) if asked.warc else (None, ())
    matches = commoncrawl.collect(asked, work, run, links, splits) if asked.commoncrawl else None
    return Sources(captures, notes, matches, crawl, splits)


def make_shard(settings: PagesSettings, links: Artefact, pages: Artefact, sources: Sources, task: Task) -> None:
    """Ask the sources, one after another, for the pages of a shard. The first shard carries the notes of all files."""
    kept = kept_links(links, task.shard)
    ends: dict[str, Row] = {}
    if sources.captures is not None:
        hosts = {link.doc_id: link.host for link in kept}
        ends.update(pointers.lookup(sources.captures, sources.splits, hosts, settings.redirects))
    notes = [] if task.shard else list(sources.notes)
    if sources.matches is not None:
        wanted = {link.doc_id for link in missing(kept, ends)}
        matches = schemas.read_parquet(sources.matches.file(task.shard, ".parquet")).to_pylist()
        known = [match for match in matches if match["doc_id"] in wanted]
        name = storage.shard_name(task.shard, pages.shards, "")
        found, failures = archive.fetched(settings, SOFTWARE, pages.folder, name, known)
        ends.update(found)
        notes += failures[: pointers.NOTES]
    if sources.crawl:
        ends.update(crawled(settings, pages, task.shard, missing(kept, ends)))
    rows = [
        {**page_of(link), **obeyed(ends.get(link.doc_id) or nowhere(link.doc_id, Outcome.NOT_IN_WARC), settings)}
        for link in kept
    ]
    write_pages(pages, task, rows, notes)


def missing(links: Iterable[Link], ends: Mapping[str, Row]) -> list[Link]:
    """The links that no source held so far, or held in a record that cannot be read."""
    return [link for link in links if link.doc_id not in ends or ends[link.doc_id]["outcome"] in NOT_HELD]


# --- pages that are crawled here


def crawled(settings: PagesSettings, pages: Artefact, shard: int, links: list[Link]) -> dict[str, Row]:
    """How each link ends, by doc_id: those that no segment holds are crawled, segment by segment."""
    tables = segment_tables(pages, shard)
    ends = {row["doc_id"]: row for table in tables for row in read_segment(table)}
    unasked = sorted((link for link in links if link.doc_id not in ends), key=lambda link: link.doc_id)  # hosts mixed
    number = 1 + max((int(table.name.split(".")[1]) for table in tables), default=-1)
    for start in range(0, len(unasked), settings.segment_links):
        name = f"{storage.shard_name(shard, pages.shards, '')}.{number:05d}"
        rows = crawl_segment(settings, pages.folder / SEGMENTS, name, unasked[start : start + settings.segment_links])
        ends.update((row["doc_id"], row) for row in rows)
        number += 1
    return {link.doc_id: ends[link.doc_id] for link in links}


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


def obeyed(row: Row, settings: PagesSettings) -> Row:
    """The row with opt-outs obeyed or not as the config says today, whatever it said when the page was crawled."""
    if row["opt_outs"] and row["outcome"] in (Outcome.KEPT, Outcome.OPTED_OUT):
        return {**row, "outcome": str(Outcome.OPTED_OUT if settings.opt_outs else Outcome.KEPT)}
    return row


# --- rows


def kept_links(links: Artefact, shard: int) -> list[Link]:
    """The kept links of a shard, by url."""
    columns = ["doc_id", "url", "fetch_url", "host", "host_shards", "outcome"]
    table = schemas.read_parquet(links.file(shard, ".parquet"), columns)
    kept = table.filter(pc.equal(table["outcome"], str(Outcome.KEPT))).drop_columns(["outcome"]).sort_by("url")
    return [Link(**row) for row in kept.to_pylist()]


def splits_of(links: Artefact) -> dict[str, int]:
    """Hosts that are spread over several shards, and over how many."""
    splits: dict[str, int] = {}
    for shard in range(links.shards):
        table = schemas.read_parquet(links.file(shard, ".parquet"), ["host", "host_shards"])
        spread = table.filter(pc.greater(table["host_shards"], 1))
        splits.update(zip(spread["host"].to_pylist(), spread["host_shards"].to_pylist(), strict=True))
    return dict(sorted(splits.items()))


def page_of(link: Link) -> Row:
    """The columns of a page that come from its link."""
    return {"url": link.url, "host": link.host}


def write_pages(pages: Artefact, task: Task, rows: list[Row], notes: Iterable[str]) -> None:
    """Write and commit a shard of pages; its books count how each kept link ended."""
    counts = Counter(row["outcome"] for row in rows)
    with pages.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            schemas.write_parquet(file, [pa.Table.from_pylist(rows, schemas.PAGES)], schemas.PAGES)
        attempt.rows(".parquet", len(rows))
        attempt.commit({"pages": receipts.balanced("pages", len(rows), counts)}, notes)
