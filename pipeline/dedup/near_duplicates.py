"""Which documents go out as copies, and of which kept document: bands nominate, signatures and shingles verify.

Choice: a band value shared by two documents only nominates them; a document goes out only for a better-ranked document
that itself stays and whose exact Jaccard with it reaches the threshold. Cost: the shingles of nominated documents are
needed a second time. Alternative: clusters joined transitively over unverified bands, which pull out documents similar
to nothing that stays.

A node is a document's id here, uint64: shard << 32 | row. Only nodes, hashes and ranks cross a shuffle, in packed
blocks. Everything returned is sorted by node, whatever the order of blocks. A document without shingles is a near
duplicate of nothing: it is not scattered, and its Jaccard with any document is 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.config import CorpusSettings
from pipeline.dedup import minhash
from pipeline.shards import schemas
from pipeline.shards.outcomes import BooksError

Nodes = NDArray[np.uint64]
Keys = NDArray[np.uint64]  # two numbers under 2^32 in one: the first << 32 | the second
RankOf = Callable[[Nodes], NDArray[np.integer]]  # a number a node, the least is the best; see `positions`
SignaturesOf = Callable[[Nodes], NDArray[np.uint32]]  # (N,) nodes to (N, P) signatures
ShinglesOf = Callable[[Nodes], list[NDArray[np.uint32]]]  # of each node, as minhash.shingles gives them

REPRESENTATIVES = 4  # of an overfull bucket, with which the rest is compared: the best-ranked, for they stay
LOST_SHARE = 1e-3  # most of the true pairs that the check of signatures may lose
PAIRS_AT_ONCE = 4_000_000  # nominated in one go, before repeated ones go: 32 MB of keys, sorted as such
AGREEMENTS_AT_ONCE = 16_384  # pairs of signatures compared in one go: 16 MB at 128 permutations
JACCARDS_AT_ONCE = 1_024  # pairs whose shingles are held at once: 8 MB at 1,000 words a document
SHIFT_32 = np.uint64(32)
MASK_32 = np.uint64(2**32 - 1)

BANDS = pa.schema({"band": pa.uint64(), "node": pa.uint64()})  # 16 bytes a band of a document
RANKS = [("score", "descending"), ("created", "ascending"), ("length", "descending"), ("doc_id", "ascending")]
# score is karma; created seconds since 1970 (UTC) of the earliest submission; length characters
RANK_TYPES = {"score": pa.int64(), "created": pa.int64(), "length": pa.int64(), "doc_id": pa.string()}
HASHES = pa.schema({"hash": pa.binary(16), "node": pa.uint64(), **RANK_TYPES})
PAIRS = pa.schema({"a": pa.uint64(), "b": pa.uint64()})  # a < b
EDGES = PAIRS.append(pa.field("score", pa.float32()))  # 20 bytes an edge
REMOVALS = pa.schema({"removed": pa.uint64(), "keeper": pa.uint64(), "score": pa.float32()})


def node_ids(shard: int, rows: NDArray[np.integer]) -> Nodes:
    """Node of each row (under 2^32) of a shard: shard << 32 | row."""
    return np.uint64(shard << 32) | rows.astype(np.uint64)


def positions(ranks: pa.Table) -> NDArray[np.int64]:
    """Place of each row in the ranking, 0 is the best: most karma, then earliest, then longest, then by doc_id.

    Needs the columns score, created, length (integers, null is worst) and doc_id.
    """
    return places_of(pc.sort_indices(ranks, sort_keys=RANKS).to_numpy())


# Exact duplicates


def scatter_hashes(
    shard: int, rows: NDArray[np.uint32], hashes: pa.Array, ranks: pa.Table, partitions: int
) -> Iterator[tuple[int, bytes]]:
    """(partition, block) for the 16-byte hash of the normalised text of each row, with the columns of `positions`."""
    columns = {"hash": hashes, "node": node_ids(shard, rows)} | {name: ranks[name] for name, _ in RANKS}
    table = pa.table(columns, schema=HASHES)
    return spread(table, halves(table["hash"])[:, 0] % np.uint64(partitions))


def gather_hashes(blocks: Iterable[bytes]) -> pa.Table:
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
        raise BooksError(f"{hashes.null_count} documents to compare have no hash of their text: leave them out")
    filled = [chunk for chunk in hashes.chunks if len(chunk)]
    parts = [np.frombuffer(chunk.buffers()[1], "V16", len(chunk), 16 * chunk.offset) for chunk in filled]
    return np.concatenate([np.empty(0, "V16"), *parts]).view(np.uint64).reshape(-1, 2)


# Nominate


def scatter_bands(
    shard: int,
    rows: NDArray[np.uint32],
    signatures: NDArray[np.uint32],
    settings: CorpusSettings,
    partitions: int,
) -> Iterator[tuple[int, bytes]]:
    """(partition, block) for the bands of each row's signature, (N,) rows and (N, P) signatures of one shard.

    16 bytes a band: 336 bytes a document with 21 bands. Documents without shingles are left out.
    """
    full = ~(signatures == minhash.EMPTY).all(axis=1)
    bands = minhash.band_values(signatures[full], settings.bands, settings.rows).reshape(-1)
    nodes = np.repeat(node_ids(shard, rows[full]), settings.bands)
    table = pa.table({"band": bands, "node": nodes}, schema=BANDS)
    return spread(table, bands % np.uint64(partitions))


def nominate(blocks: Iterable[bytes], bucket: int, rank_of: RankOf) -> tuple[pa.Table, int]:
    """Pairs (a < b, unique) of documents that share a band value, and how many such pairs were not nominated.

    Of a bucket (the documents of one band value) the best-ranked `bucket` are paired with each other, and each of the
    rest with the best REPRESENTATIVES, so that work is linear in the size of a bucket. Best-ranked, because whoever
    goes out needs a keeper that stays. `rank_of` is asked once, and only for documents in overfull buckets. A pair
    that is left out of several buckets counts in each. Memory: about 50 bytes a band of the partition.
    """
    table = schemas.unpack(blocks, BANDS)
    repeated = occurs_twice(table["band"].to_numpy())
    bands, nodes = table["band"].to_numpy()[repeated], table["node"].to_numpy()[repeated]
    known, member = np.unique(nodes, return_inverse=True)
    order = np.argsort(bands)
    keys = minhash.distinct(pair_keys(run_starts(bands[order]), member[order]))
    member = (keys & MASK_32).astype(np.int64)
    first = run_starts(keys >> SHIFT_32)
    sizes = np.bincount(first, minlength=len(first))
    over = np.flatnonzero(sizes[first] > bucket)
    if len(over):
        asked, among = np.unique(member[over], return_inverse=True)
        best_first = np.lexsort((ranked(known[asked], rank_of)[among], first[over]))
        member[over] = member[over][best_first]
    pairs = gathered(bucket_pairs(member, first, bucket))
    return pair_table(pairs, known), overflow(sizes[sizes > bucket], bucket)


def bucket_pairs(member: NDArray[np.int64], first: NDArray[np.int64], bucket: int) -> Iterator[Keys]:
    """Keys of the pairs of each bucket, at most about PAIRS_AT_ONCE at a time, from entries sorted by bucket.

    `first` is where the bucket of an entry begins; the members of an overfull one come best first.
    """
    count = len(member)
    place = np.arange(count) - first
    step = max(1, PAIRS_AT_ONCE // bucket)
    for start in range(0, count, step):
        slice_end = min(start + step, count)
        for distance in range(1, bucket):
            left = np.arange(start, min(slice_end, count - distance))
            right = left + distance
            near = (first[left] == first[right]) & (place[right] < bucket)
            if not near.any():
                break
            yield unordered(member[left[near]], member[right[near]])
        rest = start + np.flatnonzero(place[start:slice_end] >= bucket)
        for best in range(min(REPRESENTATIVES, bucket)):
            yield unordered(member[rest], member[first[rest] + best])


def overflow(sizes: NDArray[np.int64], bucket: int) -> int:
    """Pairs of overfull buckets of these sizes that `bucket_pairs` leaves out."""
    every, among_best = sizes * (sizes - 1) // 2, bucket * (bucket - 1) // 2
    left_out = every - among_best - (sizes - bucket) * min(REPRESENTATIVES, bucket)
    return int(left_out.sum())


def unite(tables: Iterable[pa.Table]) -> pa.Table:
    """The pairs of several partitions, each once, sorted: two documents may share bands in many partitions."""
    table = pa.concat_tables([PAIRS.empty_table(), *tables])
    known, member = np.unique(np.concatenate((table["a"].to_numpy(), table["b"].to_numpy())), return_inverse=True)
    left, right = member.reshape(2, -1)
    return pair_table(minhash.distinct(pair_keys(left, right)), known)


# Verify


def verify(pairs: pa.Table, signatures_of: SignaturesOf, shingles_of: ShinglesOf, threshold: float) -> pa.Table:
    """Edges (a, b, score): the pairs whose shingles have a Jaccard of at least `threshold`; score is that Jaccard.

    Signatures are compared first (see `agreeing`); shingles are asked for, at most 2 x JACCARDS_AT_ONCE documents at a
    time and in ascending order, only where those agree.
    """
    likely = agreeing(pairs, signatures_of, threshold)
    scores = np.empty(likely.num_rows, np.float64)
    for start, nodes, left, right in pair_batches(likely, JACCARDS_AT_ONCE):
        sets = shingles_of(nodes)
        for row, (one, other) in enumerate(zip(left.tolist(), right.tolist(), strict=True), start):
            scores[row] = minhash.jaccard(sets[one], sets[other])
    similar = (scores >= threshold) & (scores > 0)
    score = pa.array(scores[similar], pa.float32())
    return likely.filter(pa.array(similar)).append_column(EDGES.field("score"), score)


def agreeing(pairs: pa.Table, signatures_of: SignaturesOf, threshold: float) -> pa.Table:
    """The pairs whose signatures agree as those of near duplicates do; loses LOST_SHARE of the true pairs at most."""
    alike = np.zeros(pairs.num_rows, bool)
    for start, nodes, left, right in pair_batches(pairs, AGREEMENTS_AT_ONCE):
        signatures = signatures_of(nodes)
        places = signatures.shape[1]
        shares = minhash.agreement(signatures[left], signatures[right])
        alike[start : start + len(left)] = shares >= least_agreement(places, threshold) / places
    return pairs.filter(pa.array(alike))


def least_agreement(places: int, threshold: float) -> int:
    """Equal places that a pair at `threshold` reaches but for LOST_SHARE of cases: 88 of 128 at Jaccard 0.8.

    The equal places of a pair with Jaccard j are binomial(places, j) (Broder 1997); more alike pairs do better.
    """
    below = 0.0
    for count in range(places + 1):
        below += math.comb(places, count) * threshold**count * (1 - threshold) ** (places - count)
        if below > LOST_SHARE:
            return count
    return places


def pair_batches(pairs: pa.Table, size: int) -> Iterator[tuple[int, Nodes, NDArray[np.int64], NDArray[np.int64]]]:
    """(first row, distinct nodes ascending, index of a, index of b) for each `size` pairs."""
    a, b = pairs["a"].to_numpy(), pairs["b"].to_numpy()
    for start in range(0, len(a), size):
        both = np.concatenate((a[start : start + size], b[start : start + size]))
        nodes, index = np.unique(both, return_inverse=True)
        left, right = index.reshape(2, -1)
        yield start, nodes, left, right


# Choose


def choose(edges: pa.Table, rank_of: RankOf) -> pa.Table:
    """Removals (removed, keeper, score) of the greedy visit of all documents, best-ranked first.

    A document goes out exactly when a kept document is its verified neighbour; the best-ranked such is its keeper.
    So no two kept documents are neighbours, and in a chain A ~ B ~ C ranked so, B goes and C stays.
    Linear in edges after one sort. Memory: 120 bytes an edge at the peak, 20 of them the edge itself.
    """
    known, member = np.unique(np.concatenate((edges["a"].to_numpy(), edges["b"].to_numpy())), return_inverse=True)
    place = ranked(known, rank_of)
    left, right = place[member].reshape(2, -1)
    # By the worse end, then by the better one: when a document comes up, the fate of all its betters is known.
    worse, better = np.maximum(left, right), np.minimum(left, right)
    order = np.argsort(pair_keys(worse, better))
    worse, better = worse[order], better[order]
    kept = bytearray(b"\1") * len(known)
    deciding: list[int] = []
    for edge, (low, high) in enumerate(zip(worse.data, better.data, strict=True)):
        if kept[high] and kept[low]:
            kept[low] = 0
            deciding.append(edge)
    by_place = known[np.argsort(place)]
    chosen = np.array(deciding, np.int64)
    return removals(by_place[worse[chosen]], by_place[better[chosen]], edges["score"].to_numpy()[order[chosen]])


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
    order = np.argsort(removed, kind="stable")
    return pa.table([removed[order], keeper[order], score[order]], schema=REMOVALS)


# Sorted arrays and blocks


def spread(table: pa.Table, partition: NDArray[np.uint64]) -> Iterator[tuple[int, bytes]]:
    """(partition, block) for the rows of each partition, in order: one sort, whatever the number of partitions."""
    ends = np.cumsum(np.bincount(partition.astype(np.int64)))
    narrow = partition.astype(np.min_scalar_type(len(ends)))  # numpy sorts 16 bits by radix
    ordered = table.take(np.argsort(narrow, kind="stable"))
    for number, (start, end) in enumerate(itertools.pairwise([0, *ends.tolist()])):
        for block in schemas.pack(ordered.slice(start, end - start)):
            yield number, block


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


def pair_keys(first: NDArray[np.int64], second: NDArray[np.int64]) -> Keys:
    """One uint64 of two numbers under 2^32."""
    return np.asarray((first << 32) | second).view(np.uint64)


def unordered(left: NDArray[np.int64], right: NDArray[np.int64]) -> Keys:
    """Keys of pairs, the lesser number first."""
    return pair_keys(np.minimum(left, right), np.maximum(left, right))


def gathered(parts: Iterable[Keys]) -> Keys:
    """All keys once each; repeated ones are dropped whenever twice the keys known are waiting."""
    waiting, size, known = [np.empty(0, np.uint64)], 0, 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size > PAIRS_AT_ONCE + 2 * known:
            waiting = [minhash.distinct(np.concatenate(waiting))]
            size = known = len(waiting[0])
    return minhash.distinct(np.concatenate(waiting))


def pair_table(keys: Keys, known: Nodes) -> pa.Table:
    """Pairs of nodes from keys of positions in `known`."""
    return pa.table([known[keys >> SHIFT_32], known[keys & MASK_32]], schema=PAIRS)
