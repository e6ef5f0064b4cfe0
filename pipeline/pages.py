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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from pipeline.config import PagesSettings, Settings, slice_of
from pipeline.ends import found_ends, missing, shelf, write_pages
from pipeline.fetch import archive, commoncrawl, originals, pointers, queues
from pipeline.fetch.claims import claimed
from pipeline.fetch.client import check_contact
from pipeline.fetch.continuations import new_fetch
from pipeline.fetch.forget import forget_gone
from pipeline.fetch.lookup import Held, Wanted, lookup
from pipeline.fetch.pointers import Row, nowhere
from pipeline.fetch.queues import Waits
from pipeline.fetch.robots import Known, obeyed_agents, product_token
from pipeline.fetch.segments import (
    Group,
    Owners,
    Turn,
    Waiting,
    ends_of,
    groups_of,
    is_over,
    next_step,
    receivers,
    standing,
    waiting_for,
)
from pipeline.fetch.shelf import sweep
from pipeline.fetch.verdicts import Verdicts
from pipeline.fetch.window import Round, Source, crawl_round
from pipeline.kept import Kept, kept_links, refusals_of, splits_of
from pipeline.shards import progress, receipts, schemas, storage
from pipeline.shards.outcomes import ConfigError, Outcome
from pipeline.shards.receipts import Artefact, Manifest, Task
from pipeline.shards.removals import Refusals
from pipeline.shards.runner import Block, Run, at_once, sized

VERSION = 6
LIBRARIES = ("ada-url", "brotli", "fastwarc", "pyarrow", "zstandard")
SOFTWARE = "webtext/0.1.0"  # in the user agent
CRAWLS = 16  # at once on an engine of which nobody says how many tasks it does at a time
INDIFFERENT = ("contact", "local_hosts", "crawls", "window_links")  # settings that no row knows of
PLACES = ("warc", "commoncrawl")  # settings that say where files lie; what is in them decides
QUEUED_S = 100e-6  # that one process takes to queue a link for a round
PER_EXCHANGE = 20  # a round lasts at least so many times as long as the exchange before it


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
    used = {key: value for key, value in slice_of(settings.pages).items() if key not in INDIFFERENT}
    if crawling and settings.pages.local_hosts:  # the names decide; where they are does not
        used["local_hosts"] = receipts.veiled(settings.pages.local_hosts)
    used["blocked_domains"] = sorted(refusals.domains.hosts)  # removals are in no fingerprint: `remove` obeys itself
    decisive = {key: value for key, value in used.items() if key not in PLACES}
    inputs = [
        [list(artefact.hashes(shard).values()) for artefact in (links, found) if artefact] for shard in range(shards)
    ]
    came = refusals.removals.came_mark
    tasks = pages.begin(
        [receipts.fingerprint("pages", VERSION, decisive, [*marks, *came], LIBRARIES) for marks in inputs]
    )
    sources = [*settings.links.submissions, settings.links.bigquery]
    notes = forget_gone(sources, links, pages, splits_of(links), run) if tasks else []
    if crawling and tasks:
        owners = Owners(shards, splits_of(links))
        crawls = settings.pages.crawls or at_once(run) or CRAWLS
        crawl(Crawl(settings.pages, links, found, pages, owners, refusals, time.time(), crawls), run, tasks)
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
    every = [
        list(artefact.hashes(n).values()) for artefact in (captures, names) if artefact for n in range(links.shards)
    ]
    everywhere = receipts.fingerprint("everywhere", VERSION, {}, every, ())  # told once, not for each shard
    marks = []
    for shard in range(links.shards):
        inputs = [list(artefact.hashes(shard).values()) for artefact in (links, matches) if artefact]
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
        progress.advance(progress.ROWS, len(asked))
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


# --- pages that are crawled here


@dataclass(frozen=True)
class Crawl:
    """What every round needs: the settings, what is asked for, what archives hold, which shard owns which host, what
    may not be asked, when the build began, in seconds since 1970, and in how many crawls at once it is done.
    """

    settings: PagesSettings
    links: Artefact
    found: Artefact | None
    pages: Artefact
    owners: Owners
    refusals: Refusals
    began: float
    crawls: int


def crawl(here: Crawl, run: Run, tasks: Sequence[Task]) -> None:
    """Crawl in rounds, all shards at once, until every link that no archive holds has its end.

    Before each round every shard is sent the rows of others that concern it: redirects to its hosts, ends of its links.
    A shard of `tasks` is written before the next round if all its links have ended. Where all that waits waits for
    hosts that rest, so does this. Raises OutageError.
    """
    sweep(here.pages.folder)
    stale = {task.shard: task for task in tasks}
    everyone = [stale.get(shard, Task(shard, "")) for shard in range(here.links.shards)]
    known = False
    groups = groups_of(here.links.shards, here.crawls)
    queueing = sized(run, lambda: QUEUED_S * here.links.kept(range(here.links.shards), "links"))
    while tasks:
        began = time.monotonic()
        sources = [task.shard for task in everyone]
        queueing.exchange(partial(send, here), sources, partial(receive, here), everyone)
        found = {task.shard: queues.waits(queue(here.pages, task.shard)) for task in everyone}
        waiting = {shard: waits for shard, waits in found.items() if waits.links}
        if not waiting:
            return
        if not known:
            known = True
            progress.expect(sum(waits.links for waits in waiting.values()), noun="links")
        turns = queues.turns_of(found, groups)
        times = queues.soonest(waiting, turns, groups, here.settings, here.began)
        first = min(times.values())
        round_s = max(here.settings.round_s, PER_EXCHANGE * (time.monotonic() - began))
        time.sleep(max(0.0, first - time.time()))
        ready = [group for group in groups if times.get(group.number, math.inf) <= max(first, time.time())]
        # one group, too, is crawled where the others are, whatever else is done here
        run.map_shards(partial(crawl_group, here, turns, round_s), ready, heavy=len(ready) == 1)


def queue(pages: Artefact, shard: int) -> Path:
    """The table of what a shard has to do in the next round."""
    return pages.root / "scratch" / "queues" / storage.shard_name(shard, pages.shards, ".parquet")


def verdicts(here: Crawl, robots: Sequence[Known]) -> Verdicts:
    """What the robots.txt files that a shard knows say to whom the settings obey."""
    return Verdicts(robots, product_token(SOFTWARE), obeyed_agents(here.settings))


def waiting(root: Path, shards: int) -> Waits:
    """What waited to be asked when the last round began, over all shards; no links where nothing is left to ask."""
    pages = Artefact(root, "pages", shards)
    paths = [queue(pages, shard) for shard in range(shards)]
    return queues.together([queues.waits(path) for path in paths if storage.exists(path)])


def send(here: Crawl, shard: int) -> Iterator[Block]:
    """The rows of a shard's segments that concern other shards, to these."""
    lying = shelf(here.pages, shard).looked_at()
    rows = lying.rows(verdicts(here, lying.memory().robots))
    found = [(row, to) for row in rows for to in sorted(receivers(shard, here.owners, row))]
    if found:
        table = pa.Table.from_pylist([row for row, _ in found], schemas.SEGMENT)
        yield from schemas.scatter(table, [to for _, to in found])


def receive(here: Crawl, task: Task, blocks: Iterable[pa.Table]) -> None:
    """Queue what a shard has to do, by its own rows and those sent to it; write the shard once all its links ended."""
    sent = schemas.unpack(blocks, schemas.SEGMENT).to_pylist()
    lying = shelf(here.pages, task.shard).looked_at()
    memory = lying.memory()
    known = verdicts(here, memory.robots)
    own = lying.rows(known)
    kept, ends = kept_links(here.links, task.shard), found_ends(here.found, task.shard)
    crawled = ends_of((*sent, *own))
    lacking = missing(kept, ends)
    places = places_of(lacking, task.shard, here.owners, here.settings.most_per_host)
    wanted = [link for link in lacking if link.doc_id in places or crawled[link.doc_id]]
    ends.update((link.doc_id, nowhere(link.doc_id, Outcome.HOST_LIMIT)) for link in lacking)
    fresh = [
        Waiting(
            link.doc_id,
            link.host,
            next_step(crawled[link.doc_id]),
            new_fetch(link.fetch_url, here.settings),
            places.get(link.doc_id, 0.0),
        )
        for link in wanted
        if not is_over(standing(crawled[link.doc_id], here.refusals, here.settings.local_hosts), here.settings.passes)
    ]
    todo = waiting_for(task.shard, here.owners, own, sent, fresh)
    parts = max(1, math.ceil(len(wanted) / here.settings.segment_links))
    waits = queues.waits_of(todo, memory.paces, here.owners, here.settings, here.began, parts)
    queues.write(queue(here.pages, task.shard), todo, waits)
    if task.fingerprint and not here.pages.current(task) and not fresh:
        ends.update((link.doc_id, known.of_link(crawled[link.doc_id][-1], link.fetch_url)) for link in wanted)
        write_pages(here.settings, here.found, here.pages, here.refusals, task, kept, ends)


def places_of(links: Iterable[Kept], shard: int, owners: Owners, most: int) -> dict[str, float]:
    """By doc_id, how far down each link of a shard is among those of its host, in [0, 1): most karma first.

    Of a host only the first `most` (0: all) have a place; of one that several shards share each gives its share.
    """
    ranked = sorted(links, key=lambda link: (-(link.score or 0), link.doc_id))
    counts = Counter(link.host for link in ranked)
    limits = {host: min(count, owners.share_of(host, shard, most)) if most else count for host, count in counts.items()}
    seen: Counter[str] = Counter()
    places = {}
    for link in ranked:
        if seen[link.host] < limits[link.host]:
            places[link.doc_id] = seen[link.host] / limits[link.host]
        seen[link.host] += 1
    return places


def crawl_group(here: Crawl, turns: Mapping[str, Turn], round_s: float, group: Group) -> None:
    """One round of one group of shards, less what an attempt before has committed."""
    this_round = Round(here.owners, group, turns, here.began, partial(alive, here.pages), here.refusals, round_s)
    found = {shard: queues.waits(queue(here.pages, shard)) for shard in group.visited(here.owners, turns)}
    claim = queue(here.pages, group.shards[0]).with_suffix(".claim")
    with claimed(claim, found[group.shards[0]].order) as is_mine:
        sources = {}
        for shard, waits in found.items():
            path = queue(here.pages, shard)
            stands = partial(still_stands, is_mine, path, waits.order)
            sources[shard] = Source(shelf(here.pages, shard), path, waits, stands)
        crawl_round(here.settings, SOFTWARE, this_round, sources)


def still_stands(is_mine: Callable[[], bool], path: Path, order: str) -> bool:
    """Whether an attempt is the one that counts, in a round that goes on."""
    return is_mine() and queues.stands(path, order)


def alive(pages: Artefact) -> Iterator[str]:
    """Addresses of robots.txt that somebody answered, of any shard."""
    for shard in range(pages.shards):
        yield from (known.address for known in reversed(shelf(pages, shard).memory().robots))
