"""Packing for the shuffle: rows go from sources to shards in parcels for lanes of shards, which are few and large.

Choice: sources are read in bundles and shards gathered in lanes; a parcel holds what one bundle sends to one lane, by
shard. So bundles x lanes parcels cross, whatever the number of sources, and where there is much each has about a
megabyte. Cost: a reader holds LANE_BYTES of its lane; a lane that has more is read again, in turns of fewer shards.
Alternative: a block for each source and shard, which at 2,250 shards are five million blocks of 600 bytes for 126 of
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa

from pipeline.shards import schemas
from pipeline.shards.schemas import Block

Parcel = tuple[int, bytes]  # rows for one lane, packed
Keyed = tuple[int, Iterable[bytes]]
NOTHING = b""  # crosses a shuffle to every lane, so that one that no parcel is sent to is gathered too

HELD_BYTES = 128_000_000  # of rows that a writer puts together before it packs them: three times this at the peak
LANE_BYTES = 256_000_000  # of rows that a reader holds, beside a parcel and what its gather makes of one shard
LEAST_LANES, LANE_SHARDS = 64, 16  # so many lanes for few shards, so many shards a lane for many
BUNDLES = 256  # of sources, on an engine; each is one piece of work there
BUNDLES_HERE = 16
TO = "to shard"  # column of a parcel, ascending


@dataclass(frozen=True)
class Lanes:
    """Which lane gathers which of some shards, ascending; shards that are none of them are nobody's."""

    shards: tuple[int, ...]

    @property
    def count(self) -> int:
        wanted = len(self.shards)
        return min(wanted, max(LEAST_LANES, -(-wanted // LANE_SHARDS)))

    @cached_property
    def starts(self) -> list[int]:
        """Where the shards of each lane begin, and the number of shards."""
        return [lane * len(self.shards) // self.count for lane in range(self.count + 1)]

    def of(self, lane: int) -> tuple[int, ...]:
        """The shards of a lane."""
        return self.shards[self.starts[lane] : self.starts[lane + 1]]


def bundles(sources: int, here: bool) -> int:
    """In how many bundles so many sources are read, `here` or on an engine."""
    return min(sources, BUNDLES_HERE if here else BUNDLES)


def packed(blocks: Iterable[Block], lanes: Lanes) -> Iterator[Parcel]:
    """The parcels of what a bundle of sources sends: rows are held until they are HELD_BYTES."""
    held: list[Block] = []
    size = 0
    for places, table in blocks:
        held.append((places, table))
        size += table.nbytes
        if size >= HELD_BYTES:
            yield from parcels(held, lanes)
            held, size = [], 0
    if held:
        yield from parcels(held, lanes)


def parcels(held: Sequence[Block], lanes: Lanes) -> Iterator[Parcel]:
    """Rows as parcels: by shard, in the order they came; rows for a shard of no lane are dropped."""
    wanted = np.array(lanes.shards, np.int32)
    to = np.concatenate([places for places, _ in held])
    place = np.searchsorted(wanted, to).clip(max=len(wanted) - 1)
    rows = np.flatnonzero(wanted[place] == to)
    narrow = place[rows].astype(np.min_scalar_type(len(wanted)))  # numpy sorts 16 bits by radix
    rows = rows[np.argsort(narrow, kind="stable")]
    table = pa.concat_tables([table for _, table in held]).combine_chunks().take(rows).append_column(TO, [to[rows]])
    for lane, (start, end) in enumerate(pairwise(np.searchsorted(place[rows], lanes.starts).tolist())):
        for parcel in schemas.pack(table.slice(start, end - start)):
            yield lane, parcel


def gathered(lane: Iterable[bytes], shards: Sequence[int]) -> Iterator[tuple[int, list[pa.Table]]]:
    """(shard, tables) for each of the shards of a lane, ascending; `lane` is iterated over once a turn.

    A turn takes as many of the shards as there is room for in LANE_BYTES, at least one.
    """
    left = list(shards)
    while left:
        turn, held, size = left, list[pa.Table](), 0
        for parcel in lane:
            held.append(within(pa.ipc.open_stream(parcel).read_all(), turn))
            size += held[-1].nbytes
            while size > LANE_BYTES and len(turn) > 1:
                turn = turn[: len(turn) // 2]
                held = [within(table, turn) for table in held]
                size = sum(table.nbytes for table in held)
        for shard in turn:
            yield shard, [table.drop_columns([TO]) for rows in held if (table := sliced(rows, shard, shard)).num_rows]
        left = left[len(turn) :]


@dataclass(frozen=True)
class Parcels:
    """The parcels of a lane, to be gone through as often as wanted."""

    all: Iterable[bytes]

    def __iter__(self) -> Iterator[bytes]:
        return (parcel for parcel in self.all if parcel != NOTHING)


def within(table: pa.Table, shards: Sequence[int]) -> pa.Table:
    """The rows of a parcel for some neighbouring shards; a copy, so that the rest can go, unless it is all of them."""
    rows = sliced(table, shards[0], shards[-1])
    return rows if len(rows) == len(table) else rows.take(np.arange(len(rows)))


def sliced(table: pa.Table, first: int, last: int) -> pa.Table:
    """The rows of a parcel for the shards from `first` to `last`."""
    to = table[TO].to_numpy()
    start, end = np.searchsorted(to, first), np.searchsorted(to, last, side="right")
    return table.slice(start, end - start)
