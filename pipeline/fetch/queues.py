"""The crawl frontier, a queue for each shard: what it has to do in the next round, when it can, what it waits for.

Choice: whoever works the queue of a shard may commit only while it is the one that lies there: the next round writes
another, and an attempt that nobody waits for any more finds that its order is gone. Cost: a look at the queue for each
segment. Alternative: believe that an attempt that an engine gave up on has ended.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import PagesSettings
from pipeline.fetch.continuations import Pace, host_asked
from pipeline.fetch.schedule import IN_A_ROW
from pipeline.fetch.segments import Group, Owners, Turn, continuation_of
from pipeline.fetch.shelf import Waiting, queued
from pipeline.fetch.writing import latest
from pipeline.shards import schemas, storage

KEY = b"waits"  # of the metadata


class Shared(msgspec.Struct, frozen=True):
    """What a shard has waiting for a host that several share, and until when it knows the host to rest; 0 = not."""

    links: int
    paces: tuple[Pace, ...]
    ready_at: float = 0.0


class Waits(msgspec.Struct, frozen=True):
    """What a queue waits for. `order`: which queue it is; `links` in it, `resting` of these for hosts that rest.

    `hosts`: how many of these only this shard asks; `ready_at`: when something can be done about the links of such
    hosts, in seconds since 1970; 0 = now, None = there are none; `first`: the host that is ready then.
    `portions`: how many links are in each equal part of [0, 1) by their `place`. `longest`: most links that wait for
    one host, over all its shards, about.
    """

    order: str
    links: int
    resting: int
    hosts: int
    ready_at: float | None
    shared: dict[str, Shared]
    portions: tuple[int, ...] = ()
    longest: int = 0
    first: str = ""


def ready_at(pace: Pace | None, settings: PagesSettings, began: float) -> float:
    """When a host may be asked, or given up."""
    if pace is None or pace.until <= time.time():
        return 0.0
    if pace.failures < IN_A_ROW or pace.at < began:
        return pace.until
    return min(pace.until, max(pace.since, began) + settings.patience_gaps * settings.gap_s)


def waits_of(
    todo: Iterable[Waiting], paces: list[Pace], owners: Owners, settings: PagesSettings, began: float, parts: int = 1
) -> Waits:
    """What some visits wait for, by what is known of their hosts; `parts`: in how many portions they are crawled."""
    known = {pace.host: pace for pace in latest(paces)}
    links = resting = 0
    portions = [0] * parts
    waiting: Counter[str] = Counter()
    hosts: set[str] = set()
    times: list[tuple[float, str]] = []
    shared = {host: 0 for host in owners.splits if host in known}
    for visit in todo:
        host = host_asked(visit.continuation)
        links += 1
        portions[int(visit.place * parts)] += 1
        waiting[host] += owners.splits.get(host, 1)
        when = ready_at(known.get(host), settings, began)
        resting += when > 0
        if owners.splits.get(host, 1) > 1:
            shared[host] = shared.get(host, 0) + 1
        else:
            times.append((when, host))
            hosts |= {host} if when else set()
    by_host = {
        host: Shared(count, (known[host],) if host in known else (), ready_at(known.get(host), settings, began))
        for host, count in shared.items()
    }
    longest, (when_first, first) = max(waiting.values(), default=0), min(times, default=(None, ""))
    order = uuid.uuid4().hex
    return Waits(order, links, resting, len(hosts), when_first, by_host, tuple(portions), longest, first)


def together(found: Sequence[Waits]) -> Waits:
    """What several queues wait for: their sums, and when something can be done about any of them.

    A host that they share counts once, and is ready when the last of them thinks so.
    """
    times = [(waits.ready_at, waits.first) for waits in found if waits.ready_at is not None]
    shared: defaultdict[str, list[Shared]] = defaultdict(list)
    for waits in found:
        for host, waiting in waits.shared.items():
            shared[host].append(waiting)
    of_shared = {
        host: max(waiting.ready_at for waiting in parts)
        for host, parts in shared.items()
        if any(waiting.links for waiting in parts)
    }
    times += [(when, host) for host, when in of_shared.items()]
    links, resting, hosts = (sum(getattr(waits, name) for waits in found) for name in ("links", "resting", "hosts"))
    when_first, first = min(times, default=(None, ""))
    return Waits("", links, resting, hosts + sum(map(bool, of_shared.values())), when_first, {}, first=first)


def write(path: Path, todo: Iterable[Waiting], waits: Waits) -> None:
    """Write the queue of a shard."""
    rows = [{**queued(waiting), "place": waiting.place} for waiting in todo]
    schema = schemas.QUEUE.with_metadata({KEY: msgspec.json.encode(waits)})
    with storage.atomic(path) as file:
        schemas.write_parquet(file, [pa.Table.from_pylist(rows, schema)], schema)


def read(path: Path, low: float = 0.0, high: float = 1.0) -> list[Waiting]:
    """The visits of a queue whose place is in [low, high), in the order of places. Raises FileNotFoundError."""
    table = schemas.read_parquet(storage.local(path), ["doc_id", "host", "step", "errand", "place"])
    within = pc.and_(pc.greater_equal(table["place"], low), pc.less(table["place"], high))
    rows = table.filter(within).sort_by([("place", "ascending"), ("doc_id", "ascending")]).to_pylist()
    return [Waiting(row["doc_id"], row["host"], row["step"], continuation_of(row), row["place"]) for row in rows]


def waits(path: Path) -> Waits:
    """What a queue waits for. Raises FileNotFoundError."""
    return msgspec.json.decode(pq.read_metadata(storage.local(path)).metadata[KEY], type=Waits)


def stands(path: Path, order: str) -> bool:
    """Whether a queue is still the one that an attempt works."""
    try:
        return waits(path).order == order
    except FileNotFoundError:
        return False


def turns_of(waiting: Mapping[int, Waits], groups: Sequence[Group]) -> dict[str, Turn]:
    """Of each host that shards share: the group with most links for it, the first of several, and what all know."""
    group_of = {shard: group.number for group in groups for shard in group.shards}
    links: defaultdict[str, Counter[int]] = defaultdict(Counter)
    paces: defaultdict[str, list[Pace]] = defaultdict(list)
    for shard, waits in waiting.items():
        for host, shared in waits.shared.items():
            links[host][group_of[shard]] += shared.links
            paces[host] += shared.paces
    turns = {}
    for host, counts in sorted(links.items()):
        group = max(sorted(counts), key=lambda number: links[host][number])
        if counts[group]:
            turns[host] = Turn(group, tuple(sorted(paces[host], key=lambda pace: pace.until)))
    return turns


def soonest(
    waiting: Mapping[int, Waits],
    turns: Mapping[str, Turn],
    groups: Sequence[Group],
    settings: PagesSettings,
    began: float,
) -> dict[int, float]:
    """When each group that has something to do in this round can begin, in seconds since 1970; 0 = now."""
    times: dict[int, list[float]] = {}
    for group in groups:
        ready = [waiting[shard].ready_at for shard in group.shards if shard in waiting]
        times[group.number] = [at for at in ready if at is not None]
    for turn in turns.values():
        times[turn.group].append(ready_at(turn.paces[-1] if turn.paces else None, settings, began))
    return {number: min(moments) for number, moments in times.items() if moments}
