"""Document ids as numbers, called nodes: the ranking of them all, and what is done to sorted arrays of them.

Choice: a node is a document's place, shard << 32 | row, one uint64, so that pairs and removals are arrays. Cost: nodes
name nothing once a shard is written anew; what is kept for people has doc_ids. Alternative: doc_ids of 32 characters in
every pair, five times the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Nodes = NDArray[np.uint64]
RankOf = Callable[[Nodes], NDArray[np.integer]]  # a number a node, the least is the best; see `positions`

SHIFT_32 = np.uint64(32)
MASK_32 = np.uint64(2**32 - 1)

RANKS = [("score", "descending"), ("created", "ascending"), ("length", "descending"), ("doc_id", "ascending")]
# score is karma; created seconds since 1970 (UTC) of the earliest submission; length characters
RANK_TYPES = {"score": pa.int64(), "created": pa.int64(), "length": pa.int64(), "doc_id": pa.string()}
REMOVALS = pa.schema({"removed": pa.uint64(), "keeper": pa.uint64(), "score": pa.float32()})


def node_ids(shard: int, rows: NDArray[np.integer]) -> Nodes:
    """Node of each row (under 2^32) of a shard: shard << 32 | row."""
    return np.uint64(shard << 32) | rows.astype(np.uint64)


def of_shard(ascending: Nodes, shard: int) -> Nodes:
    """Those of ascending nodes that stand in a shard."""
    start, end = np.searchsorted(ascending, np.array([shard, shard + 1], np.uint64) << SHIFT_32)
    return ascending[start:end]


def positions(ranks: pa.Table) -> NDArray[np.int64]:
    """Place of each row in the ranking, 0 is the best: most karma, then earliest, then longest, then by doc_id.

    Needs the columns score, created, length (integers, null is worst) and doc_id.
    """
    return places_of(pc.sort_indices(ranks, sort_keys=RANKS).to_numpy())


def ranked(nodes: Nodes, rank_of: RankOf) -> NDArray[np.int64]:
    """Place of each node, 0 is the best, all different: equal ranks go by node."""
    return places_of(np.lexsort((nodes, rank_of(nodes))))


def places_of(order: NDArray[np.integer]) -> NDArray[np.int64]:
    """The inverse of a permutation: where each row comes in `order`."""
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def removals(removed: Nodes, keeper: Nodes, score: NDArray[np.float32]) -> pa.Table:
    """The table of removals, sorted by the removed node."""
    order = np.argsort(removed)
    return pa.table([removed[order], keeper[order], score[order]], schema=REMOVALS)


def followed(table: pa.Table, near: pa.Table, beyond: np.uint64) -> pa.Table:
    """Removals whose keepers stay: where one went itself by one of `near`, sorted, the keeper there takes its place.

    Where that is a node from `beyond` on, so does its score: the removed document has the words of the one between.
    """
    gone, keeper = near["removed"].to_numpy(), table["keeper"].to_numpy()
    if not len(gone):
        return table
    place = np.searchsorted(gone, keeper).clip(max=len(gone) - 1)
    stayed = np.where(gone[place] == keeper, near["keeper"].to_numpy()[place], keeper)
    passed_on = (stayed != keeper) & (stayed >= beyond)
    score = np.where(passed_on, near["score"].to_numpy()[place], table["score"].to_numpy())
    return pa.table([table["removed"], stayed, score], schema=REMOVALS)


def occurs_twice(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """True where the value occurs somewhere else too."""
    order = np.argsort(values)
    ordered = values[order]
    same = np.zeros(len(values) + 1, bool)
    np.equal(ordered[1:], ordered[:-1], out=same[1:-1])
    repeated = np.empty(len(values), bool)
    repeated[order] = same[1:] | same[:-1]
    return repeated


def run_starts(*columns: NDArray[Any]) -> NDArray[np.int64]:
    """For each row of sorted columns, the row where the run of equal rows begins."""
    begins = np.ones(len(columns[0]), bool)
    begins[1:] = False
    for column in columns:
        begins[1:] |= column[1:] != column[:-1]
    return np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))
