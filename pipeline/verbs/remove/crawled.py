"""What was fetched for removed pages, erased where it lies: responses, requests, redirects, and what hosts said.

Choice: the segment of a visit is read once, and every record of a chain that asks, or is led to, what has to go becomes
unreadable; the table of the segment, its commit, is written last, so that a run cut short finds the same work again.
Cost: a segment is held in memory while it is rewritten (`pages.segment_links` pages). Alternative: keep the place of
every hop in the table, which the segments of earlier versions do not have.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.fetch.erase import Needed, erased
from pipeline.fetch.errands import Memory
from pipeline.shards import schemas, storage
from pipeline.shards.places import is_given
from pipeline.shards.removals import identity
from pipeline.urls import host_of, identity_host
from pipeline.verbs.remove.removal import Removal
from pipeline.verbs.remove.search import tables


def erase_fetched(removal: Removal) -> None:
    """Erase in all segments what was fetched for what has to go."""
    for path in tables(removal.root):
        table = schemas.read_parquet(storage.local(path))
        hit = pc.is_in(table["doc_id"], value_set=removal.doomed_ids)
        hosts = path.with_suffix(".hosts.json")
        learnt = told(removal, hosts)
        if not (pc.any(hit).as_py() or learnt):
            continue
        erase_records(removal, path, table.filter(hit), table.filter(pc.invert(hit)))
        if learnt:
            replace(removal, hosts, learnt, msgspec.json.encode(memory_without(removal, hosts)))
        if pc.any(hit).as_py():
            before = storage.sha256_of(storage.local(path))
            with storage.writing(path) as file:
                schemas.write_parquet(file, [table.filter(pc.invert(hit))], table.schema)
            removal.change(path, pc.sum(hit).as_py(), before, file.stamp().sha256)
            storage.publish([path])


def erase_records(removal: Removal, table: Path, doomed: pa.Table, others: pa.Table) -> None:
    """Erase the records of doomed visits in the WARC file of a segment, which is beside its `table`."""
    path = table.with_suffix(".warc.gz")
    if not storage.exists(path):  # nobody answered
        return
    data = bytearray(storage.read_bytes(path))
    rows = erased(storage.local(path), data, removal.order.asked_at, removal.covers, needed(doomed), needed(others))
    replace(removal, path, rows, bytes(data))


def needed(rows: pa.Table) -> Needed:
    """What rows of a segment need of its WARC file."""
    led = [row for row in rows.select(["warc", "offset", "final_url"]).to_pylist() if row["warc"]]
    ours = [row for row in led if not is_given(row["warc"])]
    return Needed({row["offset"]: row["final_url"] for row in ours}, frozenset(row["final_url"] for row in ours))


def replace(removal: Removal, path: Path, rows: int, data: bytes) -> None:
    """Write a file anew, if it changes, and note that it does."""
    before = storage.sha256_of(storage.local(path))
    with storage.writing(path) as file:
        file.write(data)
    removal.change(path, rows, before, file.stamp().sha256)
    storage.publish([path])


# --- what was learnt of hosts


def told(removal: Removal, path: Path) -> int:
    """How many entries of what a segment learnt of hosts have to go."""
    both = memory_of(path), memory_without(removal, path)
    whole, left = (len(one.robots) + len(one.paces) + len(one.faults) for one in both)
    return whole - left


def memory_of(path: Path) -> Memory:
    """What a segment learnt of hosts; nothing where it has no such file (Common Crawl's)."""
    try:
        return msgspec.json.decode(storage.read_bytes(path), type=Memory)
    except FileNotFoundError:
        return Memory([], [])


def memory_without(removal: Removal, path: Path) -> Memory:
    """The same without the hosts that have to go, and without redirects to them."""
    whole = memory_of(path)
    robots = [one for one in whole.robots if not any(gone(removal, url) for url in (one.address, *one.leads_to))]
    faults = [one for one in whole.faults if not removal.covers(one.partition(": ")[0])]
    paces = [one for one in whole.paces if not removal.covers_host(one.host)]
    return msgspec.structs.replace(whole, robots=robots, paces=paces, faults=faults)


def gone(removal: Removal, url: str) -> bool:
    """Whether the address of a robots.txt is of a host that has to go, also where no link could have that address."""
    hosts = (identity(url)[1], identity_host(host_of(url)))
    return any(removal.covers_host(host) for host in hosts)
