"""Exact duplicates: equal hashes of normalised texts meet, and the best-ranked document of them stays.

Choice: 16 bytes of the text's words (see `text.normalize.text_hash`) and the columns of the ranking cross the shuffle,
so that each partition decides alone. Cost: some 60 bytes a document. Alternative: look for them among the near
duplicates, where 100,000 copies of one page would be 100,000 members of each of its 21 bands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.counts import counted
from pipeline.dedup.nodes import (
    RANK_TYPES,
    RANKS,
    Nodes,
    node_ids,
    occurs_twice,
    positions,
    removals,
    run_starts,
)
from pipeline.shards import schemas
from pipeline.shards.outcomes import BooksError

HASHES = pa.schema({"hash": pa.binary(16), "node": pa.uint64(), **RANK_TYPES})


def scatter_hashes(
    shard: int, rows: NDArray[np.uint32], hashes: pa.Array, ranks: pa.Table, partitions: int
) -> Iterator[schemas.Block]:
    """(partition, block) for the 16-byte hash of the normalised text of each row, with the columns of `positions`."""
    columns = {"hash": hashes, "node": node_ids(shard, rows)} | {name: ranks[name] for name, _ in RANKS}
    table = pa.table(columns, schema=HASHES)
    return schemas.scatter(table, halves(table["hash"])[:, 0] % np.uint64(partitions))


def gather_hashes(blocks: Iterable[pa.Table]) -> pa.Table:
    """Removals among all rows of one partition, in whatever order its blocks come."""
    table = schemas.unpack(blocks, HASHES)
    return exact_duplicates(table["hash"], table["node"].to_numpy(), table)


def exact_duplicates(hashes: pa.ChunkedArray, nodes: Nodes, ranks: pa.Table) -> pa.Table:
    """Removals (removed, keeper, score 1.0): of documents with one hash the best-ranked stays, the others go.

    Hashes are 16 bytes each, row by row with nodes and ranks. Raises BooksError for a null hash.
    """
    parts = halves(hashes)
    repeated = np.flatnonzero(occurs_twice(parts[:, 0]))
    high, low = parts[repeated].T
    order = np.lexsort((positions(ranks.take(repeated)), low, high))
    first = run_starts(high[order], low[order])
    lost = first != np.arange(len(order))
    node = nodes[repeated][order]
    return removals(node[lost], node[first[lost]], np.ones(np.count_nonzero(lost), np.float32))


def halves(hashes: pa.ChunkedArray) -> NDArray[np.uint64]:
    """16-byte hashes as uint64 of shape (N, 2)."""
    if hashes.null_count:
        raise BooksError(f"no hash of the text of {counted(hashes.null_count, 'document')} to compare")
    filled = [chunk for chunk in hashes.chunks if len(chunk)]
    parts = [np.frombuffer(chunk.buffers()[1], "V16", len(chunk), 16 * chunk.offset) for chunk in filled]
    return np.concatenate([np.empty(0, "V16"), *parts]).view(np.uint64).reshape(-1, 2)
