"""Where originals lie that a revisit names by an id or a digest alone: their addresses, by such a name.

Choice: an exchange of its own, by hash of the name, that runs only where some revisit asks for one: writers since 2014
name the address as well (WARC 1.1, section 5.12), older ones meant the revisit's own, where it is looked for first.
Cost: where one asks, the ids and digests of all captures cross a second shuffle. Alternative: a search of all captures
for each such revisit.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.fetch.nearest import PAGE, Row
from pipeline.fetch.revisits import COMPUTED, REQUEST, REVISIT
from pipeline.shards import receipts, schemas
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import Block, Run

VERSION = 2
LIBRARIES = ("pyarrow",)
COLUMNS = ("final_url", "outcome", "kind", "location", "captured", "record_id", "digest", "refers_to")


def collect(captures: Artefact, run: Run) -> Artefact | None:
    """The address of every original that some revisit names without one, by shard of the name; None: none does."""
    if not sum(receipt.counts["seeking"] for receipt in captures.receipts()):
        return None
    names = Artefact(captures.root, "scratch/originals", captures.shards)
    held = [list(captures.hashes(shard).values()) for shard in range(captures.shards)]
    mark = receipts.fingerprint("originals", VERSION, {}, held, LIBRARIES)
    targets = names.begin([mark] * captures.shards)
    run.exchange(partial(scatter, captures), list(range(captures.shards)), partial(gather, names), targets)
    return names


def is_seeking(table: pa.Table) -> pa.Array:
    """Which rows of CAPTURES are revisits that name their original by id or digest alone, and have not found it."""
    alone = pc.and_(pc.equal(table["kind"], REVISIT), pc.equal(table["location"], ""))
    return pc.and_(alone, pc.or_(pc.not_equal(table["refers_to"], ""), pc.not_equal(table["digest"], "")))


def keys_of(row: Row) -> list[str]:
    """The names by which a row of CAPTURES asks for the address of its original, the surer one first; else none."""
    asks = row["kind"] == REVISIT and not row["location"]
    return [key for key in (row["refers_to"], row["digest"]) if asks and key]


def scatter(captures: Artefact, shard: int) -> Iterator[Block]:
    """What one shard asks for, and the names of what it holds, to the shards of the names."""
    for batch in schemas.iterate_parquet(captures.file(shard, ".parquet"), COLUMNS):
        table = pa.Table.from_batches([batch])
        rows: list[Row] = [
            {"key": key, "url": "", "is_page": False, "captured": None}
            for revisit in table.filter(is_seeking(table)).to_pylist()
            for key in keys_of(revisit)
        ]
        for row in table.filter(pc.not_equal(table["kind"], REQUEST)).to_pylist():
            rows += names_of(row)
        places = [zlib.crc32(row["key"].encode()) % captures.shards for row in rows]
        yield from schemas.scatter(pa.Table.from_pylist(rows, schemas.NAMES), places)


def names_of(row: Row) -> list[Row]:
    """The rows of NAMES of one capture; a revisit that waits for its original is known by its id alone."""
    held = {"url": row["final_url"], "is_page": row["outcome"] in PAGE, "captured": row["captured"]}
    digest = "" if row["kind"] == REVISIT else row["digest"].removeprefix(COMPUTED)
    return [{"key": key, **held} for key in (row["record_id"], digest) if key]


def gather(names: Artefact, task: Task, blocks: Iterable[pa.Table]) -> None:
    """One address for every name that was asked for and is held: of a page before others, then of the earliest."""
    table = schemas.unpack(blocks, schemas.NAMES)
    asked = pc.equal(table["url"], "")
    held = table.filter(pc.and_(pc.invert(asked), pc.is_in(table["key"], table["key"].filter(asked).unique())))
    order = [("key", "ascending"), ("is_page", "descending"), ("captured", "ascending"), ("url", "ascending")]
    held = held.sort_by(order)
    keys = held["key"].combine_chunks()
    if len(keys):
        held = held.filter(pa.concat_arrays([pa.array([True]), pc.not_equal(keys[1:], keys[:-1])]))
    with names.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            rows = schemas.write_parquet(file, [held], schemas.NAMES)
        attempt.rows(".parquet", rows)
        attempt.commit({})


def addresses_of(names: Artefact, keys: Iterable[str]) -> dict[str, str]:
    """The address of each name that is held."""
    by_shard: dict[int, list[str]] = {}
    for key in keys:
        by_shard.setdefault(zlib.crc32(key.encode()) % names.shards, []).append(key)
    found: dict[str, str] = {}
    for shard, wanted in sorted(by_shard.items()):
        for batch in schemas.iterate_parquet(names.file(shard, ".parquet"), ("key", "url")):
            rows = batch.filter(pc.is_in(batch["key"], pa.array(wanted, pa.string()))).to_pylist()
            found.update((row["key"], row["url"]) for row in rows)
    return found
