"""What each shard has to do in the next round, and when it can: a table, and in its metadata what it waits for.

Choice: whoever works the queue of a shard may commit only while it is the one that lies there: the next round writes
another, and an attempt that nobody waits for any more finds that its order is gone. Cost: a look at the queue for each
segment. Alternative: believe that an attempt that an engine gave up on has ended.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import PagesSettings
from pipeline.fetch.continuations import Pace, host_asked
from pipeline.fetch.schedule import IN_A_ROW
from pipeline.fetch.segments import Owners, Turn, continuation_of
from pipeline.fetch.shelf import Waiting, queued
from pipeline.fetch.writing import latest
from pipeline.shards import schemas, storage

KEY = b"waits"  # of the metadata


class Shared(msgspec.Struct, frozen=True):
    """What a shard has waiting for a host that several share, and how it knows the host to rest."""

    links: int
    paces: tuple[Pace, ...]


class Waits(msgspec.Struct, frozen=True):
    """What a queue waits for. `order`: which queue it is; `links` in it, `resting` of these for `hosts` that rest.

    `ready_at`: when something can be done about those that only this shard asks, in seconds since 1970; 0 = now, None =
    there are none.
    """

    order: str
    links: int
    resting: int
    hosts: int
    ready_at: float | None
    shared: dict[str, Shared]


def ready_at(pace: Pace | None, settings: PagesSettings, began: float) -> float:
    """When a host may be asked, or given up."""
    if pace is None or pace.until <= time.time():
        return 0.0
    if pace.failures < IN_A_ROW or pace.at < began:
        return pace.until
    return min(pace.until, max(pace.since, began) + settings.patience_gaps * settings.gap_s)


def waits_of(
    todo: Iterable[Waiting], paces: list[Pace], owners: Owners, settings: PagesSettings, began: float
) -> Waits:
    """What some visits wait for, by what is known of their hosts."""
    known = {pace.host: pace for pace in latest(paces)}
    links = resting = 0
    hosts: set[str] = set()
    times: list[float] = []
    shared = {host: 0 for host in owners.splits if host in known}
    for one in todo:
        host = host_asked(one.continuation)
        links += 1
        when = ready_at(known.get(host), settings, began)
        if when:
            resting += 1
            hosts.add(host)
        if owners.splits.get(host, 1) > 1:
            shared[host] = shared.get(host, 0) + 1
        else:
            times.append(when)
    told = {host: Shared(count, (known[host],) if host in known else ()) for host, count in shared.items()}
    return Waits(uuid.uuid4().hex, links, resting, len(hosts), min(times, default=None), told)


def together(found: Sequence[Waits]) -> Waits:
    """What several queues wait for: their sums, and when something can be done about any of them."""
    ready_at = min((one.ready_at for one in found if one.ready_at is not None), default=None)
    links, resting, hosts = (sum(getattr(one, name) for one in found) for name in ("links", "resting", "hosts"))
    return Waits("", links, resting, hosts, ready_at, {})


def write(path: Path, todo: Iterable[Waiting], waits: Waits) -> None:
    """Write the queue of a shard."""
    rows = [queued(one) for one in todo]
    schema = schemas.SEGMENT.with_metadata({KEY: msgspec.json.encode(waits)})
    with storage.atomic(path) as file:
        schemas.write_parquet(file, [pa.Table.from_pylist(rows, schema)], schema)


def read(path: Path) -> list[Waiting]:
    """The visits of a queue."""
    rows = schemas.read_parquet(storage.local(path)).to_pylist()
    return [Waiting(row["doc_id"], row["host"], row["step"], continuation_of(row)) for row in rows]


def waits(path: Path) -> Waits:
    """What a queue waits for. Raises FileNotFoundError."""
    return msgspec.json.decode(pq.read_metadata(storage.local(path)).metadata[KEY], type=Waits)


def stands(path: Path, order: str) -> bool:
    """Whether a queue is still the one that an attempt works."""
    try:
        return waits(path).order == order
    except FileNotFoundError:
        return False


def turns_of(waiting: Mapping[int, Waits]) -> dict[str, Turn]:
    """Of each host that shards share: the one with most links for it, the first of several, and what all know of it."""
    turns: dict[str, Turn] = {}
    for host in sorted({host for one in waiting.values() for host in one.shared}):
        links = {shard: one.shared[host].links for shard, one in waiting.items() if host in one.shared}
        paces = [pace for one in waiting.values() if host in one.shared for pace in one.shared[host].paces]
        shard = max(sorted(links), key=lambda one: links[one])
        if links[shard]:
            turns[host] = Turn(shard, tuple(sorted(paces, key=lambda pace: pace.until)))
    return turns


def soonest(
    waiting: Mapping[int, Waits], turns: Mapping[str, Turn], settings: PagesSettings, began: float
) -> dict[int, float]:
    """When each shard that has something to do in this round can begin, in seconds since 1970; 0 = now."""
    times = {shard: [one.ready_at] if one.ready_at is not None else [] for shard, one in waiting.items()}
    for turn in turns.values():
        times[turn.shard].append(ready_at(turn.paces[-1] if turn.paces else None, settings, began))
    return {shard: min(one) for shard, one in times.items() if one}
