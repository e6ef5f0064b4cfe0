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
from typing import BinaryIO, cast

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
NOT_HELD = (Outcome.NOT_IN_WARC, Outcome.BAD_RECORD)


def stage(settings: Settings, work: Path, run: Run) -> Manifest:
    """One row for every kept link: where its page lies, or why there is none.

    Archives are asked first; the web is asked for what they do not hold, or for nothing, as `pages.crawl` says. Raises
    ConfigError: a request without a contact, nowhere to get pages from; InputError: a glob that matches no file.
    """
    shards = settings.build.shards
    links, pages = Artefact(work, "links", shards), Artefact(work, "pages", shards)
    crawling = may_crawl(settings.pages)
    found = find(settings.pages, work, run, links)
    used = {key: value for key, value in slice_of(settings.pages).items() if key != "local_hosts"}
    inputs = [[list(one.hashes(shard).values()) for one in (links, found) if one] for shard in range(shards)]
    tasks = pages.begin([receipts.fingerprint("pages", VERSION, used, one, LIBRARIES) for one in inputs])
    run.map_shards(partial(make_shard, settings.pages, crawling, links, found, pages), tasks)
    return pages.finish(used, LIBRARIES)


def may_crawl(settings: PagesSettings) -> bool:
    """Whether the web may be asked. Raises ConfigError: nothing else is named, or no contact where one is needed."""
    given = bool(settings.warc or settings.commoncrawl)
    crawling = settings.crawl == "missing" or (settings.crawl == "alone" and not given)
    if not (given or crawling):
        raise ConfigError("pages.crawl is 'never': name WARC files in pages.warc or an index in pages.commoncrawl")
    if crawling or settings.commoncrawl:
        check_contact(settings)
    return crawling


def make_shard(
    settings: PagesSettings, crawling: bool, links: Artefact, found: Artefact | None, pages: Artefact, task: Task
) -> None:
    """Write the pages of a shard: what was found, and what is crawled because it was not."""
    kept = kept_links(links, task.shard)
    ends = found_ends(found, task.shard)
    if crawling:
        ends.update(crawled(settings, pages, task.shard, missing(kept, ends)))
    rows = [
        {**page_of(link), **obeyed(ends.get(link.doc_id) or nowhere(link.doc_id, Outcome.NOT_IN_WARC), settings)}
        for link in kept
    ]
    receipt = found.receipt(task.shard) if found else None
    write_pages(pages, task, rows, receipt.notes if receipt else ())


# --- pages in archives: WARC files that exist, then Common Crawl


@dataclass(frozen=True)
class Archives:
    """What is known of archives before a link is looked up.

    `captures`: of WARC files that exist, with `notes` on their damaged places; `matches`: in Common Crawl, nearest to
    the date of the post. `splits`: hosts that are spread over shards.
    """

    captures: Artefact | None
    notes: tuple[str, ...]
    matches: Artefact | None
    splits: pointers.Splits


def find(settings: PagesSettings, work: Path, run: Run, links: Artefact) -> Artefact | None:
    """The rows of POINTERS of all kept links that an archive holds, by shard; None where the settings name none."""
    if not (settings.warc or settings.commoncrawl):
        return None
    splits = splits_of(links)
    captures, notes = pointers.collect(settings, work, run, links.shards, splits) if settings.warc else (None, ())
    matches = commoncrawl.collect(settings, work, run, links, splits) if settings.commoncrawl else None
    archives = Archives(captures, notes, matches, splits)
    used = [settings.limit_bytes, settings.opt_outs, settings.redirects, settings.commoncrawl_url]
    # all shards of the captures: a redirect may lead into any
    everywhere = [list(captures.hashes(shard).values()) for shard in range(links.shards)] if captures else []
    marks = []
    for shard in range(links.shards):
        inputs = [list(one.hashes(shard).values()) for one in (links, matches) if one]
        mark = [inputs, everywhere, () if shard else notes]
        marks.append(receipts.fingerprint("found", VERSION, used, mark, LIBRARIES))
    found = Artefact(work, "scratch/found", links.shards)
    run.map_shards(partial(find_shard, settings, archives, links, work / "pages", found), found.begin(marks))
    return found


def find_shard(
    settings: PagesSettings, archives: Archives, links: Artefact, folder: Path, found: Artefact, task: Task
) -> None:
    """Look the links of a shard up in the archives, one after the other. The first shard carries the files' notes."""
    kept = kept_links(links, task.shard)
    ends: dict[str, Row] = {}
    notes = [] if task.shard else list(archives.notes)
    if archives.captures is not None:
        hosts = {link.doc_id: link.host for link in kept}
        ends.update(pointers.lookup(archives.captures, archives.splits, hosts, settings.redirects))
    if archives.matches is not None:
        wanted = {link.doc_id for link in missing(kept, ends)}
        matches = schemas.read_parquet(archives.matches.file(task.shard, ".parquet")).to_pylist()
        known = [match for match in matches if match["doc_id"] in wanted]
        shard = storage.shard_name(task.shard, links.shards, "")
        fetched, failures = archive.fetched(settings, SOFTWARE, folder, shard, known)
        ends.update(fetched)
        notes += failures[: pointers.NOTES]
    with found.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            table = pa.Table.from_pylist([ends[doc] for doc in sorted(ends)], schemas.POINTERS)
            schemas.write_parquet(file, [table], schemas.POINTERS)
        attempt.rows(".parquet", len(ends))
        attempt.commit({}, notes)


def found_ends(found: Artefact | None, shard: int) -> dict[str, Row]:
    """The rows of a shard that archives hold, by doc_id."""
    rows = schemas.read_parquet(found.file(shard, ".parquet")).to_pylist() if found else []
    return {row["doc_id"]: row for row in rows}


def missing(links: Iterable[Link], ends: Mapping[str, Row]) -> list[Link]:
    """The links that no archive holds, or only in a record that cannot be read: the next source is asked for them."""
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
