"""Keepers: of verified edges the end that stays, chosen by one process in memory that does not grow with them.

Choice: edges are laid down in files by the place of their worse end in the ranking, and taken up part after part; when
a document comes up, the fate of all its betters is known, whichever part they were in. So a byte a document is held,
and one part. Cost: 36 bytes of disk an edge, where they are more than one part; 1.4 us an edge, which no other
process shares. Alternative: all of them in memory (`near_duplicates.choose`, 120 bytes an edge), or rounds over shards,
an exchange for each link of the longest chain.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.dedup.near_duplicates import EDGES
from pipeline.dedup.nodes import REMOVALS, RankOf, removals

EDGES_AT_ONCE = 2_000_000  # 250 MB at the peak
EDGE = np.dtype([("worse", "i8"), ("better", "i8"), ("removed", "u8"), ("keeper", "u8"), ("score", "f4")])

Placed = NDArray[np.void]  # of EDGE: places in the ranking, and the nodes there


def choose(tables: Iterable[pa.Table], edges: int, rank_of: RankOf, documents: int, folder: Path) -> pa.Table:
    """Removals as `near_duplicates.choose` finds them in tables of EDGES, so many `edges` in all.

    `rank_of` gives each node its place among so many `documents`, 0 is the best. Parts are spilled into `folder`, and
    go.
    """
    kept = bytearray(b"\1") * documents
    found = [removed_by(part, kept) for part in in_parts(tables, edges, rank_of, documents, folder)]
    return pa.concat_tables([REMOVALS.empty_table(), *found]).sort_by("removed").combine_chunks()


def removed_by(part: Placed, kept: bytearray) -> pa.Table:
    """The removals of one part; `kept` says whose place has not gone, and learns who does."""
    # by the worse end, then by the better one: the first of those that stay is the keeper
    part = part[np.lexsort((part["better"], part["worse"]))]
    ends = (np.ascontiguousarray(part[name]).data for name in ("worse", "better"))
    deciding: list[int] = []
    for edge, (low, high) in enumerate(zip(*ends, strict=True)):
        if kept[high] and kept[low]:
            kept[low] = 0
            deciding.append(edge)
    chosen = part[np.array(deciding, np.int64)]
    return removals(chosen["removed"], chosen["keeper"], chosen["score"])


def in_parts(tables: Iterable[pa.Table], edges: int, rank_of: RankOf, documents: int, folder: Path) -> Iterator[Placed]:
    """All edges, in parts by the place of the worse end, the best first; of a single part nothing is spilled."""
    count = -(-edges // EDGES_AT_ONCE)
    if count <= 1:
        yield np.concatenate([np.empty(0, EDGE), *(placed(table, rank_of) for table in tables)])
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="exchange-", dir=folder) as spilled:
        for table in tables:
            found = placed(table, rank_of)
            part_of = found["worse"] * count // documents
            for part in np.unique(part_of).tolist():
                with (Path(spilled) / str(part)).open("ab") as file:
                    found[part_of == part].tofile(file)
        for part in range(count):
            path = Path(spilled) / str(part)
            if path.exists():
                yield np.fromfile(path, EDGE)


def placed(table: pa.Table, rank_of: RankOf) -> Placed:
    """Edges with the place of both ends."""
    a, b, score = (table[name].to_numpy() for name in EDGES.names)
    left, right = rank_of(a), rank_of(b)
    a_is_worse = left > right
    found = np.empty(len(a), EDGE)
    found["worse"], found["better"] = np.maximum(left, right), np.minimum(left, right)
    found["removed"], found["keeper"] = np.where(a_is_worse, a, b), np.where(a_is_worse, b, a)
    found["score"] = score
    return found
