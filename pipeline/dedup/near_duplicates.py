"""Near duplicates: MinHash bands give candidate pairs, shingles verify them, and each copy goes for one that stays.

Choice: a band value shared by two documents only makes them candidates; a document goes out only for a better-ranked
document that itself stays and whose exact Jaccard with it reaches the threshold. Cost: the shingles of candidates are
needed a second time. Alternative: clusters joined transitively over unverified bands, which pull out documents similar
to nothing that stays.

A node is a document's id here, uint64: shard << 32 | row. Only nodes, hashes and ranks cross a shuffle, in packed
blocks. Everything returned is sorted by node, whatever the order of blocks. A document without shingles is a near
duplicate of nothing: it is not scattered, and its Jaccard with any document is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.config import CorpusSettings
from pipeline.dedup import minhash
from pipeline.dedup.nodes import (
    MASK_32,
    SHIFT_32,
    Nodes,
    RankOf,
    node_ids,
    occurs_twice,
    ranked,
    removals,
    run_starts,
)
from pipeline.shards import schemas

Keys = NDArray[np.uint64]  # two numbers under 2^32 in one: the first << 32 | the second
SignaturesOf = Callable[[Nodes], NDArray[np.uint32]]  # (N,) nodes to (N, P) signatures
ShinglesOf = Callable[[Nodes], list[NDArray[np.uint32]]]  # of each node, as minhash.shingles gives them

REPRESENTATIVES = 4  # of an overfull bucket, with which the rest is compared: the best-ranked, for they stay
LONGER = 2  # times the shorter document: of longer ones, no containment is looked for
LOST_SHARE = 1e-3  # most of the true pairs that the check of signatures may lose
PAIRS_AT_ONCE = 4_000_000  # candidates in one go, before repeated ones go: 32 MB of keys, sorted as such
AGREEMENTS_AT_ONCE = 16_384  # pairs of signatures compared in one go: 16 MB at 128 permutations
JACCARDS_AT_ONCE = 1_024  # pairs whose shingles are held at once: 8 MB at 1,000 words a document

BANDS = pa.schema({"band": pa.uint64(), "node": pa.uint64()})  # 16 bytes a band of a document
PAIRS = pa.schema({"a": pa.uint64(), "b": pa.uint64()})  # a < b
EDGES = PAIRS.append(pa.field("score", pa.float32()))  # 20 bytes an edge


# Nominate


def scatter_bands(
    shard: int,
    rows: NDArray[np.uint32],
    signatures: NDArray[np.uint32],
    settings: CorpusSettings,
    partitions: int,
) -> Iterator[schemas.Block]:
    """(partition, block) for the bands of each row's signature, (N,) rows and (N, P) signatures of one shard.

    16 bytes a band: 336 bytes a document with 21 bands. Documents without shingles are left out.
    """
    full = ~(signatures == minhash.EMPTY).all(axis=1)
    bands = minhash.band_values(signatures[full], settings.bands, settings.rows).ravel()
    nodes = np.repeat(node_ids(shard, rows[full]), settings.bands)
    table = pa.table([bands, nodes], schema=BANDS)
    return schemas.scatter(table, bands % np.uint64(partitions))


def candidate_pairs(blocks: Iterable[pa.Table], bucket: int, rank_of: RankOf) -> tuple[pa.Table, int]:
    """Pairs (a < b, unique) of documents that share a band value, and how many such pairs are no candidates.

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


nominate = candidate_pairs  # its former name: see CONTRIBUTING


def candidate_pairs_across(blocks: Iterable[pa.Table], bucket: int, beyond: np.uint64) -> tuple[pa.Table, int]:
    """Pairs (a under `beyond`, b not) of documents that share a band value, and how many such are no candidates.

    Each document under `beyond` is paired with the first `bucket` of the others in a bucket, so that work is linear in
    its size; pairs on one side are nobody's. A pair that is left out of several buckets counts in each.
    """
    table = schemas.unpack(blocks, BANDS)
    bands, nodes = table["band"].to_numpy(), table["node"].to_numpy()
    shared = np.isin(bands, np.intersect1d(bands[nodes < beyond], bands[nodes >= beyond]))
    known, member = np.unique(nodes[shared], return_inverse=True)
    order = np.lexsort((member, bands[shared]))
    bands, member = bands[shared][order], member[order]
    ours = known[member] < beyond
    theirs, others = bands[~ours], member[~ours]
    begin = np.searchsorted(theirs, bands[ours])
    sizes = np.searchsorted(theirs, bands[ours], side="right") - begin
    pairs = gathered(pairs_across(member[ours], others, begin, np.minimum(sizes, bucket), bucket))
    return pair_table(pairs, known), int(np.maximum(sizes - bucket, 0).sum())


def pairs_across(
    ours: NDArray[np.int64], others: NDArray[np.int64], begin: NDArray[np.int64], counts: NDArray[np.int64], bucket: int
) -> Iterator[Keys]:
    """Keys of the pairs of each of ours with `counts` of the others from `begin` on, about PAIRS_AT_ONCE at a time."""
    step = max(1, PAIRS_AT_ONCE // bucket)
    for start in range(0, len(ours), step):
        batch = slice(start, start + step)
        ends = np.cumsum(counts[batch])
        place = np.arange(counts[batch].sum()) + np.repeat(begin[batch] - ends + counts[batch], counts[batch])
        yield pair_keys(np.repeat(ours[batch], counts[batch]), others[place])


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


def verify(
    pairs: pa.Table, signatures_of: SignaturesOf, shingles_of: ShinglesOf, threshold: float, measure: str
) -> pa.Table:
    """Edges (a, b, score): the pairs whose shingles have a likeness of at least `threshold`; score is that likeness.

    The `measure` is "jaccard", or "containment", the share of the smaller set: it finds the excerpt too, among the
    pairs that share a band. Signatures are compared first (see `agreeing`); shingles are asked for, at most
    2 x JACCARDS_AT_ONCE documents at a time and in ascending order, only where those agree.
    """
    likely = agreeing(pairs, signatures_of, least_jaccard(threshold, measure))
    likeness = minhash.jaccard if measure == "jaccard" else minhash.containment
    scores = np.empty(likely.num_rows, np.float64)
    for start, nodes, left, right in pair_batches(likely, JACCARDS_AT_ONCE):
        sets = shingles_of(nodes)
        for row, (this, other) in enumerate(zip(left.tolist(), right.tolist(), strict=True), start):
            scores[row] = likeness(sets[this], sets[other])
    similar = (scores >= threshold) & (scores > 0)
    score = pa.array(scores[similar], pa.float32())
    return likely.filter(pa.array(similar)).append_column(EDGES.field("score"), score)


def least_jaccard(threshold: float, measure: str) -> float:
    """The Jaccard of the least alike pair that is looked for: what signatures and bands are held to.

    For containment that of two documents, one LONGER times the other, of which the shorter is contained to this share.
    """
    return threshold if measure == "jaccard" else threshold / (1 + LONGER - threshold)


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
    Linear in edges after one sort. Memory: 120 bytes an edge at the peak, 20 of them the edge itself; of more edges
    than fit, `keepers.choose` makes the same choice.
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


def nearest(edges: pa.Table) -> pa.Table:
    """Removals (removed, keeper, score) of every a for the b that it is most like; of equals, the first node."""
    a, b, score = (edges[name].to_numpy() for name in EDGES.names)
    order = np.lexsort((b, -score, a))
    best = order[run_starts(a[order]) == np.arange(len(order))]
    return removals(a[best], b[best], score[best])


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
