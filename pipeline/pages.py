"""links → pages: where each kept link's response lies: in WARC files that exist, in Common Crawl, or crawled here.

Choice: a page is a pointer into a WARC file; bodies are copied nowhere. A crawl appends segments, each a WARC file and
then a table with the end of every link in it: the table is the commit, so a killed or re-configured run asks no server
twice for a committed link, unless it failed for a passing reason and `pages.passes` was raised since. Cost: to fetch
a page again, the tables that hold it must be deleted. Alternative: rely on the shard receipts alone, which lose a
day's crawl with every change of the config.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from pipeline.config import PagesSettings, Settings, slice_of
from pipeline.fetch import archive, commoncrawl, originals, pointers, queues
from pipeline.fetch.client import check_contact
from pipeline.fetch.continuations import new_fetch
from pipeline.fetch.forget import forget_gone
from pipeline.fetch.lookup import Held, Wanted, lookup
from pipeline.fetch.pointers import Row, nowhere
from pipeline.fetch.queues import Waits
from pipeline.fetch.robots import obeyed_agents, product_token
from pipeline.fetch.segments import (
    Owners,
    Round,
    Shelf,
    Turn,
    Waiting,
    crawl_round,
    ends_of,
    is_over,
    next_step,
    receivers,
    standing,
    waiting_for,
)
from pipeline.fetch.shelf import sweep
from pipeline.fetch.verdicts import Verdicts
from pipeline.kept import Kept, kept_links, refusals_of, splits_of
from pipeline.shards import progress, receipts, schemas, storage
from pipeline.shards.outcomes import ConfigError, Outcome
from pipeline.shards.receipts import Artefact, Manifest, Task
from pipeline.shards.removals import Refusals
from pipeline.shards.runner import Block, Run

VERSION = 6
LIBRARIES = ("ada-url", "brotli", "fastwarc", "pyarrow", "zstandard")
SOFTWARE = "webtext/0.1.0"  # in the user agent
PLACES = ("warc", "commoncrawl")  # settings that say where files lie; what is in them decides
NOT_HELD = (Outcome.NOT_IN_WARC, Outcome.BAD_RECORD, Outcome.INCOMPLETE)  # of an archive


def stage(settings: Settings, work: Path, run: Run) -> Manifest:
    """One row for every kept link: where its page lies, or why there is none.

    Archives are asked first; the web is asked for what they do not hold, or for nothing, as `pages.crawl` says. Raises
    ConfigError: a request without a contact, nowhere to get pages from; InputError: a glob that matches no file.
    """
    shards = settings.build.shards
    links, pages = Artefact(work, "links", shards), Artefact(work, "pages", shards)
    crawling = may_crawl(settings.pages)
    refusals = refusals_of(settings, work)
    found = find(settings.pages, work, run, links, refusals)
    used = {key: value for key, value in slice_of(settings.pages).items() if key != "local_hosts"}
    used["blocked_domains"] = sorted(refusals.domains.hosts)  # removals are in no fingerprint: `remove` obeys itself
    decisive = {key: value for key, value in used.items() if key not in PLACES}
    inputs = [[list(one.hashes(shard).values()) for one in (links, found) if one] for shard in range(shards)]
    came = refusals.removals.came_mark
    tasks = pages.begin([receipts.fingerprint("pages", VERSION, decisive, [*one, *came], LIBRARIES) for one in inputs])
    sources = [*settings.links.submissions, settings.links.bigquery]
    notes = forget_gone(sources, links, pages, splits_of(links), run) if tasks else []
    if crawling and tasks:
        owners = Owners(shards, splits_of(links))
        crawl(Crawl(settings.pages, links, found, pages, owners, refusals, time.time()), run, tasks)
    else:
        run.map_shards(partial(write_found, settings.pages, links, found, pages, refusals), tasks)
    return pages.finish(used, LIBRARIES, [links], notes=notes)


def may_crawl(settings: PagesSettings) -> bool:
    """Whether the web may be asked. Raises ConfigError: nothing else is named, or no contact where one is needed."""
    given = bool(settings.warc or settings.commoncrawl)
    crawling = settings.crawl == "missing" or (settings.crawl == "alone" and not given)
    if not (given or crawling):
        raise ConfigError("pages.crawl is 'never': name WARC files in pages.warc or an index in pages.commoncrawl")
    if crawling or settings.commoncrawl:
        check_contact(settings)
        obeyed_agents(settings)
    return crawling


def write_found(
    settings: PagesSettings, links: Artefact, found: Artefact | None, pages: Artefact, refusals: Refusals, task: Task
) -> None:
    """Write a shard of what archives hold."""
    kept, ends = kept_links(links, task.shard), found_ends(found, task.shard)
    write_pages(settings, found, pages, refusals, task, kept, ends)


# --- pages in archives: WARC files that exist, then Common Crawl


@dataclass(frozen=True)
class Archives:
    """What is known of archives before a link is looked up.

    `held`: the captures of WARC files that exist, with `notes` on their damaged places; `matches`: in Common Crawl,
    nearest to the date of the post.
    """

    held: Held | None
    notes: tuple[str, ...]
    matches: Artefact | None


def find(settings: PagesSettings, work: Path, run: Run, links: Artefact, refusals: Refusals) -> Artefact | None:
    """The rows of POINTERS of all kept links that an archive holds, by shard; None where the settings name none."""
    if not (settings.warc or settings.commoncrawl):
        return None
    splits = splits_of(links)
    captures, notes = pointers.collect(settings, work, run, links.shards, splits) if settings.warc else (None, ())
    matches = commoncrawl.collect(settings, work, run, links, splits) if settings.commoncrawl else None
    names = originals.collect(captures, run) if captures else None
    archives = Archives(Held(captures, names, splits, refusals) if captures else None, notes, matches)
    used = [settings.limit_bytes, settings.opt_outs, settings.redirects, settings.commoncrawl_url]
    used += [sorted(refusals.domains.hosts), *refusals.removals.came_mark]
    # all shards of the captures: a redirect may lead into any, and a name to any
    every = [list(one.hashes(n).values()) for one in (captures, names) if one for n in range(links.shards)]
    everywhere = receipts.fingerprint("everywhere", VERSION, {}, every, ())  # told once, not for each shard
    marks = []
    for shard in range(links.shards):
        inputs = [list(one.hashes(shard).values()) for one in (links, matches) if one]
        mark = [inputs, everywhere, () if shard else notes]
        marks.append(receipts.fingerprint("found", VERSION, used, mark, LIBRARIES))
    found = Artefact(work, "scratch/found", links.shards)
    tasks = found.begin(marks)
    progress.expect(links.kept((task.shard for task in tasks), "links"), noun="links")
    run.map_shards(partial(find_shard, settings, archives, links, work / "pages", found), tasks)
    return found


def find_shard(
    settings: PagesSettings, archives: Archives, links: Artefact, folder: Path, found: Artefact, task: Task
) -> None:
    """Look the links of a shard up in the archives, one after the other. The first shard carries the files' notes."""
    kept = kept_links(links, task.shard)
    ends: dict[str, Row] = {}
    notes = [] if task.shard else list(archives.notes)
    if archives.held is not None:
        asked = [Wanted(link.doc_id, link.host, link.created) for link in kept]
        ends.update(lookup(archives.held, asked, settings))
        progress.told(progress.ROWS, len(asked))
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


def missing(links: Iterable[Kept], ends: Mapping[str, Row]) -> list[Kept]:
    """The links that no archive holds, or only in part, or in a record that cannot be read: another source is asked."""
    return [link for link in links if link.doc_id not in ends or ends[link.doc_id]["outcome"] in NOT_HELD]


# --- pages that are crawled here


@dataclass(frozen=True)
class Crawl:
    """What every round needs: the settings, what is asked for, what archives hold, which shard owns which host, what
    may not be asked, and when the build began, in seconds since 1970.
    """

    settings: PagesSettings
    links: Artefact
    found: Artefact | None
    pages: Artefact
    owners: Owners
    refusals: Refusals
    began: float


def crawl(here: Crawl, run: Run, tasks: Sequence[Task]) -> None:
    """Crawl in rounds, all shards at once, until every link that no archive holds has its end.

    Before each round every shard is sent the rows of others that concern it: redirects to its hosts, ends of its links.
    A shard of `tasks` is written as soon as all its links have ended. Where all that waits waits for hosts that rest,
    so does this. Raises OutageError.
    """
    sweep(here.pages.folder)
    stale = {task.shard: task for task in tasks}
    everyone = [stale.get(shard, Task(shard, "")) for shard in range(here.links.shards)]
    known = False
    while tasks:
        sources = [task.shard for task in everyone]
        run.exchange(partial(send, here), sources, partial(receive, here), everyone)
        found = {task.shard: queues.waits(queue(here.pages, task.shard)) for task in everyone}
        waiting = {shard: waits for shard, waits in found.items() if waits.links}
        if not waiting:
            return
        if not known:
            known = True
            progress.expect(sum(waits.links for waits in waiting.values()), noun="links")
        turns = queues.turns_of(found)
        times = queues.soonest(waiting, turns, here.settings, here.began)
        first = min(times.values())
        time.sleep(max(0.0, first - time.time()))
        ready = [task for task in everyone if times.get(task.shard, math.inf) <= max(first, time.time())]
        run.map_shards(partial(crawl_queue, here, turns), ready)


def shelf(pages: Artefact, shard: int) -> Shelf:
    """The segments of a shard."""
    return Shelf(pages.folder, storage.shard_name(shard, pages.shards, ""))


def queue(pages: Artefact, shard: int) -> Path:
    """The table of what a shard has to do in the next round."""
    return pages.root / "scratch" / "queues" / storage.shard_name(shard, pages.shards, ".parquet")


def verdicts(here: Crawl, shard: int) -> Verdicts:
    """What the robots.txt files that a shard knows say to whom the settings obey."""
    robots = shelf(here.pages, shard).memory().robots
    return Verdicts(robots, product_token(SOFTWARE), obeyed_agents(here.settings))


def waiting(root: Path, shards: int) -> Waits:
    """What waited to be asked when the last round began, over all shards; no links where nothing is left to ask."""
    pages = Artefact(root, "pages", shards)
    paths = [queue(pages, shard) for shard in range(shards)]
    return queues.together([queues.waits(path) for path in paths if storage.exists(path)])


def send(here: Crawl, shard: int) -> Iterator[Block]:
    """The rows of a shard's segments that concern other shards, to these."""
    rows = shelf(here.pages, shard).rows(verdicts(here, shard))
    found = [(row, to) for row in rows for to in sorted(receivers(shard, here.owners, row))]
    if found:
        table = pa.Table.from_pylist([row for row, _ in found], schemas.SEGMENT)
        yield from schemas.scatter(table, [to for _, to in found])


def receive(here: Crawl, task: Task, blocks: Iterable[pa.Table]) -> None:
    """Queue what a shard has to do, by its own rows and those sent to it; write the shard once all its links ended."""
    sent = schemas.unpack(blocks, schemas.SEGMENT).to_pylist()
    known = verdicts(here, task.shard)
    own = shelf(here.pages, task.shard).rows(known)
    kept, ends = kept_links(here.links, task.shard), found_ends(here.found, task.shard)
    wanted = missing(kept, ends)
    crawled = ends_of((*sent, *own))
    fresh = [
        Waiting(link.doc_id, link.host, next_step(crawled[link.doc_id]), new_fetch(link.fetch_url, here.settings))
        for link in wanted
        if not is_over(standing(crawled[link.doc_id], here.refusals), here.settings.passes)
    ]
    todo = waiting_for(task.shard, here.owners, own, sent, fresh)
    paces = shelf(here.pages, task.shard).memory().paces
    waits = queues.waits_of(todo, paces, here.owners, here.settings, here.began)
    queues.write(queue(here.pages, task.shard), todo, waits)
    if task.fingerprint and not here.pages.current(task) and not fresh:
        ends.update((link.doc_id, known.of_link(crawled[link.doc_id][-1], link.fetch_url)) for link in wanted)
        write_pages(here.settings, here.found, here.pages, here.refusals, task, kept, ends)


def crawl_queue(here: Crawl, turns: Mapping[str, Turn], task: Task) -> None:
    """One round of one shard, less what an attempt before has committed."""
    mine, path = shelf(here.pages, task.shard), queue(here.pages, task.shard)
    order = queues.waits(path).order
    done = {(row["doc_id"], row["step"]) for row in mine.rows()}
    todo = [waiting for waiting in queues.read(path) if (waiting.doc_id, waiting.step) not in done]
    round_ = Round(turns, here.began, partial(queues.stands, path, order), partial(alive, here.pages), here.refusals)
    crawl_round(here.settings, SOFTWARE, here.owners, task.shard, round_, mine, todo)


def alive(pages: Artefact) -> Iterator[str]:
    """Addresses of robots.txt that somebody answered, of any shard."""
    for shard in range(pages.shards):
        yield from (known.address for known in reversed(shelf(pages, shard).memory().robots))


def obeyed(row: Row, settings: PagesSettings) -> Row:
    """The row with opt-outs obeyed or not as the config says today, whatever it said when the page was crawled."""
    if row["opt_outs"] and row["outcome"] in (Outcome.KEPT, Outcome.OPTED_OUT):
        return {**row, "outcome": str(Outcome.OPTED_OUT if settings.opt_outs else Outcome.KEPT)}
    return row


def allowed(row: Row, refusals: Refusals) -> Row:
    """The row, as refused if its page may not be one today: whatever was allowed when it was fetched."""
    outcome = refusals.of(row["final_url"], *(row["via"] or ())) if row["final_url"] else Outcome.KEPT
    if outcome is Outcome.REMOVED:
        return nowhere(row["doc_id"], outcome)
    return row if outcome is Outcome.KEPT else {**row, "outcome": str(outcome)}


# --- rows


def page_of(link: Kept) -> Row:
    """The columns of a page that come from its link."""
    return {"url": link.url, "host": link.host}


def write_pages(
    settings: PagesSettings,
    found: Artefact | None,
    pages: Artefact,
    refusals: Refusals,
    task: Task,
    kept: Sequence[Kept],
    ends: Mapping[str, Row],
) -> None:
    """Write and commit a shard of pages; its books count how each kept link ended, its notes are those of archives."""
    found_rows = [ends.get(link.doc_id) or nowhere(link.doc_id, Outcome.NOT_IN_WARC) for link in kept]
    rows = [
        {**allowed(obeyed(row, settings), refusals), **page_of(link)}
        for row, link in zip(found_rows, kept, strict=True)
    ]
    counts = Counter(row["outcome"] for row in rows)
    receipt = found.receipt(task.shard) if found else None
    faults = shelf(pages, task.shard).memory().faults if counts[Outcome.FAULT] else []
    with pages.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            schemas.write_parquet(file, [pa.Table.from_pylist(rows, schemas.PAGES)], schemas.PAGES)
        attempt.rows(".parquet", len(rows))
        books = {"pages": receipts.balanced("pages", len(rows), counts)}
        attempt.commit(books, [*(receipt.notes if receipt else ()), *faults[-counts[Outcome.FAULT] :]])
