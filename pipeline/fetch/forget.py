"""Erasure of what was fetched for links that are gone: responses, requests, redirects, and what hosts said.

Choice: the segment of a visit is read once, and every record of a chain that asks, or is led to, what has to go becomes
unreadable; the table of the segment, its commit, is written last, so that a run cut short finds the same work again.
Cost: a segment is held in memory while it is rewritten (`pages.segment_links` pages). Alternative: keep the place of
every hop in the table, which the segments of earlier versions do not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.fetch.continuations import Continuation, Memory
from pipeline.fetch.erase import Needed, erased
from pipeline.fetch.shelf import FOLDER as SEGMENTS
from pipeline.fetch.shelf import damaged
from pipeline.shards import schemas, storage
from pipeline.shards.layout import SOURCES
from pipeline.shards.locations import is_given
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.removals import identity
from pipeline.shards.runner import Run
from pipeline.urls import host_of, identity_host, shard_of

COMMONCRAWL = "commoncrawl"  # see `archive.FOLDER`
Changed = Callable[[Path, int, str, str], None]


class Looked(msgspec.Struct, frozen=True):
    """Of what the sources did not name when they were looked at last, nothing is left; `links`: their fingerprint."""

    sources: list[str]
    links: str


def unnoticed(_path: Path, _rows: int, _before: str, _after: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Gone:
    """What has to go: the doc_ids of links, and which addresses and hosts are theirs.

    `date`: of the removal, as WARC writes it. `changed` is told of every file before it is replaced: its path, how many
    rows or records left it, its sha256 before and after.
    """

    doc_ids: pa.Array
    covers: Callable[[str], bool]
    covers_host: Callable[[str], bool]
    date: str
    changed: Changed = unnoticed


def tables(pages: Path, shard: str = "") -> list[Path]:
    """The tables of all segments below the folder of pages, of crawls and of Common Crawl; or those of one shard."""
    folders = (pages / SEGMENTS, pages / COMMONCRAWL)
    return [path for folder in folders for path in storage.names(folder, f"{shard}*.parquet")]


def table_of(path: Path) -> pa.Table:
    """The table of a segment. Raises IntegrityError."""
    try:
        return schemas.read_parquet(storage.local(path))
    except pa.ArrowInvalid as error:
        raise damaged(path, error) from None


def forget(path: Path, gone: Gone) -> None:
    """Erase what has to go from the segment that this table commits."""
    table = table_of(path)
    hit = pc.is_in(table["doc_id"], value_set=gone.doc_ids)
    hosts = path.with_suffix(".hosts.json")
    whole, left = memory_of(hosts), memory_without(gone, hosts)
    if not (pc.any(hit).as_py() or whole != left):
        return
    erase_records(gone, path, table.filter(hit), table.filter(pc.invert(hit)))
    if whole != left:
        replace(gone, hosts, sum(map(len, lists_of(whole))) - sum(map(len, lists_of(left))), msgspec.json.encode(left))
    if pc.any(hit).as_py():
        before = storage.sha256_of(storage.local(path))
        with storage.writing(path) as file:
            schemas.write_parquet(file, [table.filter(pc.invert(hit))], table.schema)
        gone.changed(path, pc.sum(hit).as_py(), before, file.stamp().sha256)
        storage.publish([path])


def erase_records(gone: Gone, table: Path, doomed: pa.Table, others: pa.Table) -> None:
    """Erase the records of doomed visits in the WARC file of a segment, which is beside its `table`."""
    path = table.with_suffix(".warc.gz")
    if storage.exists(path):  # else nobody answered
        data = bytearray(storage.read_bytes(path))
        rows = erased(storage.local(path), data, gone.date, gone.covers, needed(doomed), needed(others))
        replace(gone, path, rows, bytes(data))


def needed(rows: pa.Table) -> Needed:
    """What rows of a segment need of its WARC file; a visit that goes on elsewhere ended at the address asked last."""
    columns = [name for name in ("warc", "offset", "final_url", "errand") if name in rows.column_names]
    places: dict[int, str] = {}
    ends: set[str] = set()
    for row in rows.select(columns).to_pylist():
        if row.get("errand"):
            ends.update(msgspec.json.decode(row["errand"], type=Continuation).asked[-1:])
        elif row["warc"] and not is_given(row["warc"]):
            places[row["offset"]] = row["final_url"]
            ends.add(row["final_url"])
    return Needed(places, frozenset(ends))


def replace(gone: Gone, path: Path, rows: int, data: bytes) -> None:
    """Write a file anew, if it changes, and tell that it does."""
    before = storage.sha256_of(storage.local(path))
    with storage.writing(path) as file:
        file.write(data)
    gone.changed(path, rows, before, file.stamp().sha256)
    storage.publish([path])


# --- what was learnt of hosts


def lists_of(memory: Memory) -> tuple[list[Any], ...]:
    """What there is in a memory."""
    return memory.robots, memory.paces, memory.faults


def memory_of(path: Path) -> Memory:
    """What a segment learnt of hosts; nothing where it has no such file (Common Crawl's)."""
    try:
        return msgspec.json.decode(storage.read_bytes(path), type=Memory)
    except FileNotFoundError:
        return Memory([], [])
    except msgspec.MsgspecError as error:
        raise damaged(path, error) from None


def memory_without(gone: Gone, path: Path) -> Memory:
    """The same without what has to go, and without redirects to it."""
    whole = memory_of(path)
    robots = [file for file in whole.robots if not any(names(gone, url) for url in (file.address, *file.leads_to))]
    faults = [fault for fault in whole.faults if not any(names(gone, word.rstrip(":")) for word in fault.split())]
    paces = [pace for pace in whole.paces if not gone.covers_host(pace.host)]
    return msgspec.structs.replace(whole, robots=robots, paces=paces, faults=faults)


def names(gone: Gone, url: str) -> bool:
    """Whether an address has to go, or its host has to; also where no link could have that address."""
    if "://" not in url:
        return False
    return gone.covers(url) or any(gone.covers_host(host) for host in (identity(url)[1], identity_host(host_of(url))))


# --- links that no source names any more


def forget_gone(sources: list[str], links: Artefact, pages: Artefact, splits: Mapping[str, int], run: Run) -> list[str]:
    """Erase what was fetched for links that the `sources` do not name any more; a note where that is not done.

    It is done while all sources are named that were: what is gone was deleted there. Who names others may come back.
    """
    path = pages.folder / SOURCES
    before = msgspec.json.decode(storage.read_bytes(path), type=Looked) if storage.exists(path) else Looked([], "")
    if dropped := sorted(set(before.sources) - set(sources)):
        named = ", ".join(dropped)
        return [f"links.submissions names {named} no more: pages fetched for it stay until pages/{SOURCES} goes"]
    today = Looked(sources, links.fingerprint())
    if before.sources and before != today:
        everywhere = [Task(shard, "") for shard in range(links.shards)]
        run.map_shards(partial(forget_unnamed, links, pages, splits), everywhere)
    if before != today:
        storage.write_bytes(path, msgspec.json.encode(today))
    return []


def forget_unnamed(links: Artefact, pages: Artefact, splits: Mapping[str, int], task: Task) -> None:
    """Erase from the segments of one shard what was fetched for links that `links` does not hold any more.

    What was deleted on Reddit is to be deleted here (Reddit's terms); a link that a rule refuses is a link still.
    """

    @lru_cache(maxsize=4)
    def held(home: int) -> tuple[frozenset[str], frozenset[str]]:
        table = schemas.read_parquet(links.file(home, ".parquet"), ["doc_id", "host"])
        return frozenset(table["doc_id"].to_pylist()), frozenset(pc.unique(table["host"]).to_pylist())

    def strangers(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, bool]]:
        for doc_id, host in rows:
            ids, hosts = held(shard_of(host, doc_id, links.shards, splits))
            if doc_id not in ids:
                yield doc_id, host, host not in hosts

    for path in tables(pages.folder, storage.shard_name(task.shard, pages.shards, "")):
        table = table_of(path)
        if "host" not in table.column_names:  # Common Crawl's: all rows are of links of this shard
            ids, _ = held(task.shard)
            found = [(doc_id, "", False) for doc_id in table["doc_id"].to_pylist() if doc_id not in ids]
        else:
            found = list(strangers(zip(table["doc_id"].to_pylist(), table["host"].to_pylist(), strict=True)))
        if found:
            forget(path, unnamed(found))


def unnamed(found: Iterable[tuple[str, str, bool]]) -> Gone:
    """What goes with links that nobody names: (doc_id, host, whether nothing is left of the host)."""
    rows = list(found)
    ids, hosts = {doc_id for doc_id, _, _ in rows}, {host for _, host, alone in rows if alone}

    def covers(url: str) -> bool:
        doc_id, host = identity(url)
        return doc_id in ids or (url.endswith("/robots.txt") and host in hosts)

    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Gone(pa.array(sorted(ids), pa.string()), covers, hosts.__contains__, now)
