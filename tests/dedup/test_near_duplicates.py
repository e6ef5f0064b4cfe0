import itertools
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import CorpusSettings
from pipeline.dedup import minhash, near_duplicates
from pipeline.dedup import nodes as nodes_of
from pipeline.dedup.near_duplicates import BANDS, EDGES, PAIRS
from pipeline.shards import schemas
from tests.crossed import dealt

SETTINGS = CorpusSettings(bands=21, rows=6, jaccard=0.6, bucket=3)
DRAWN = minhash.permutations(128, 1)
VOCABULARY = ["rain", "sun", "wind", "snow", "hail", "fog"]


def band_block(*entries):
    return pa.table([[band for band, _ in entries], [node for _, node in entries]], schema=BANDS)


def edge_table(*edges):
    return pa.table([list(column) for column in zip(*edges, strict=True)] or [[], [], []], schema=EDGES)


def rows_of(table):
    return [tuple(row.values()) for row in table.to_pylist()]


def by_node(nodes):
    return nodes.astype(np.int64)


class Library:
    """Documents with a node each; later documents rank better, whatever their node."""

    def __init__(self, documents, places):
        self.nodes = [shard << 32 | row for shard, row in places]
        self.sets = [minhash.shingles(words, 2) for words in documents]
        self.number = {node: number for number, node in enumerate(self.nodes)}

    def shingles_of(self, nodes):
        return [self.sets[self.number[node]] for node in nodes.tolist()]

    def signatures_of(self, nodes):
        return np.array([minhash.signature(one, DRAWN) for one in self.shingles_of(nodes)])

    def rank_of(self, nodes):
        return np.array([-self.number[node] for node in nodes.tolist()], np.int64)

    def blocks(self, partitions, shuffle):
        sent = []
        for shard in sorted({node >> 32 for node in self.nodes}):
            rows = np.array([node & (2**32 - 1) for node in self.nodes if node >> 32 == shard], np.uint32)
            signatures = self.signatures_of(nodes_of.node_ids(shard, rows))
            sent += near_duplicates.scatter_bands(shard, rows, signatures, SETTINGS, partitions)
        by_partition = dealt(sent)
        for blocks in by_partition.values():
            shuffle.shuffle(blocks)
        return by_partition

    def removals(self, partitions, shuffle):
        candidates = [
            near_duplicates.candidate_pairs(iter(blocks), SETTINGS.bucket, self.rank_of)
            for blocks in self.blocks(partitions, shuffle).values()
        ]
        pairs = near_duplicates.unite(table for table, _ in candidates)
        edges = near_duplicates.verify(pairs, self.signatures_of, self.shingles_of, SETTINGS.jaccard, "jaccard")
        chosen = near_duplicates.choose(edges, self.rank_of)
        named = [(self.number[out], self.number[stays], score) for out, stays, score in rows_of(chosen)]
        edges = [(self.number[a], self.number[b]) for a, b, _ in rows_of(edges)]
        return sorted(named), edges, sum(left_out for _, left_out in candidates)


@st.composite
def libraries(draw):
    """Texts that are mostly small edits of each other, some empty, some one word."""
    bases = draw(st.lists(st.lists(st.sampled_from(VOCABULARY), max_size=14), min_size=1, max_size=3))
    documents = []
    for _ in range(draw(st.integers(1, 14))):
        words = list(draw(st.sampled_from(bases)))
        for _ in range(draw(st.integers(0, 2))):
            words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from(VOCABULARY)))
        documents.append(words)
    return documents


def in_one_shard(documents):
    return [(0, row) for row in range(len(documents))]


def spread_over_shards(documents, source):
    rows = list(range(len(documents)))
    source.shuffle(rows)
    return [(source.randrange(3), row) for row in rows]


@settings(deadline=None, max_examples=60)
@given(libraries(), st.integers(0, 2**32), st.integers(1, 5))
def test_removals_do_not_hang_on_shards_partitions_or_the_order_of_blocks(documents, seed, partitions):
    source = random.Random(seed)
    expected = Library(documents, in_one_shard(documents)).removals(1, random.Random(0))
    found = Library(documents, spread_over_shards(documents, source)).removals(partitions, source)
    assert found[0] == expected[0]
    assert found[2] == expected[2]


@settings(deadline=None, max_examples=60)
@given(libraries())
def test_whoever_goes_out_has_a_kept_similar_keeper_and_no_two_kept_are_verified_similar(documents):
    library = Library(documents, in_one_shard(documents))
    removals, edges, _ = library.removals(2, random.Random(0))
    out = {removed for removed, _, _ in removals}
    assert len(out) == len(removals)
    for removed, keeper, score in removals:
        assert keeper not in out
        assert keeper > removed  # ranks better here
        assert minhash.jaccard(library.sets[removed], library.sets[keeper]) == pytest.approx(score)
        assert score >= np.float32(0.6)
    assert all(a in out or b in out for a, b in edges)


@settings(deadline=None, max_examples=40)
@given(libraries(), st.integers(2, 9))
def test_identical_documents_leave_exactly_one(documents, copies):
    same = [["the", "same", "text", "again"]] * copies
    library = Library(documents + same, in_one_shard(documents + same))
    out = {removed for removed, _, _ in library.removals(3, random.Random(0))[0]}
    assert [number for number in range(len(documents), len(documents) + copies) if number not in out] == [
        len(documents) + copies - 1
    ]


def test_empty_documents_are_near_duplicates_of_nothing_and_short_ones_of_their_like():
    documents = [[], [], ["alone"], ["alone"], ["other"], [], ["two", "words"], ["two", "words"]]
    removals, _, _ = Library(documents, in_one_shard(documents)).removals(2, random.Random(0))
    assert removals == [(2, 3, 1.0), (6, 7, 1.0)]


# Nominate


def slow_candidate_pairs(entries, bucket, representatives):
    by_band = {}
    for band, node in entries:
        by_band.setdefault(band, set()).add(node)
    pairs, left_out = set(), 0
    for members in by_band.values():
        best_first = sorted(members)
        named = set(itertools.combinations(best_first[:bucket], 2))
        named |= {(best, node) for node in best_first[bucket:] for best in best_first[: min(representatives, bucket)]}
        pairs |= named
        left_out += len(members) * (len(members) - 1) // 2 - len(named)
    return sorted(pairs), left_out


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), min_size=1), max_size=6),
    st.integers(2, 7),
    st.sampled_from([8, 40, 4_000_000]),
    st.randoms(use_true_random=False),
)
def test_candidate_pairs_are_those_of_the_slow_definition_in_any_order(batches, bucket, at_once, source):
    batches = [[(band, (node % 3) << 32 | node) for band, node in batch] for batch in batches]
    expected = slow_candidate_pairs([entry for batch in batches for entry in batch], bucket, 4)
    for batch in batches:
        source.shuffle(batch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "PAIRS_AT_ONCE", at_once)
        pairs, left_out = near_duplicates.candidate_pairs((band_block(*batch) for batch in batches), bucket, by_node)
    assert (rows_of(pairs), left_out) == expected
    assert pairs.schema == PAIRS


def test_the_rest_of_an_overfull_bucket_is_compared_with_the_best_ranked():
    block = band_block(*((7, node) for node in range(10)))
    pairs, left_out = near_duplicates.candidate_pairs([block], 2, lambda nodes: -nodes.astype(np.int64))
    assert rows_of(pairs) == sorted([(node, best) for best in (8, 9) for node in range(best)])
    assert left_out == 45 - 17


def test_a_hundred_thousand_documents_in_one_bucket_give_a_few_pairs_each():
    nodes = np.arange(100_000, dtype=np.uint64)
    blocks = [pa.table([np.full(100_000, 7, np.uint64), nodes], schema=BANDS)]
    pairs, left_out = near_duplicates.candidate_pairs(blocks, 50, by_node)
    assert pairs.num_rows == 50 * 49 // 2 + 99_950 * 4
    assert left_out == 100_000 * 99_999 // 2 - pairs.num_rows


def test_near_copies_in_an_overfull_bucket_all_go_out_for_the_best_ranked():
    nodes = np.arange(5_000, dtype=np.uint64)
    scrambled = lambda asked: (asked * np.uint64(7919) % np.uint64(5_000)).astype(np.int64)  # noqa: E731 - 0 is best
    blocks = [pa.table([np.full(5_000, 7, np.uint64), nodes], schema=BANDS)]
    pairs, _ = near_duplicates.candidate_pairs(blocks, 50, scrambled)
    edges = pairs.append_column("score", pa.array(np.ones(pairs.num_rows), pa.float32()))
    removals = near_duplicates.choose(edges, scrambled)
    assert removals["removed"].to_pylist() == list(range(1, 5_000))
    assert set(removals["keeper"].to_pylist()) == {0}


def test_no_blocks_have_no_candidates():
    pairs, left_out = near_duplicates.candidate_pairs([], 50, by_node)
    assert (pairs.num_rows, pairs.schema, left_out) == (0, PAIRS, 0)


def test_what_is_scattered_holds_ids_and_hashes_only():
    signatures = minhash.scrambled(300 * 128).astype(np.uint32).reshape(300, 128)
    rows = np.arange(5, 305, dtype=np.uint32)
    scattered = dealt(near_duplicates.scatter_bands(9, rows, signatures, SETTINGS, 4))
    assert sorted(scattered) == [0, 1, 2, 3]
    table = schemas.unpack((block for blocks in scattered.values() for block in blocks), BANDS)
    assert table.schema == BANDS
    expected = minhash.band_values(signatures, 21, 6)
    entries = {
        (band, 9 << 32 | row) for row, bands in zip(rows.tolist(), expected.tolist(), strict=True) for band in bands
    }
    assert set(rows_of(table)) == entries
    by_band = {}
    for number, blocks in scattered.items():
        for band in schemas.unpack(blocks, BANDS)["band"].to_pylist():
            by_band.setdefault(band, set()).add(number)
    assert all(len(numbers) == 1 for numbers in by_band.values())


def test_pairs_of_several_partitions_are_united_once():
    tables = [pa.table([[1, 5], [9, 6]], schema=PAIRS), pa.table([[5, 1], [6, 2]], schema=PAIRS)]
    assert rows_of(near_duplicates.unite(tables)) == [(1, 2), (1, 9), (5, 6)]
    assert near_duplicates.unite([]).num_rows == 0


# Verify


@pytest.mark.parametrize(
    ("places", "threshold", "count"), [(128, 0.8, 88), (128, 1.0, 128), (128, 0.0, 0), (10, 0.5, 1)]
)
def test_the_margin_of_the_signatures_is_the_binomial_one(places, threshold, count):
    assert near_duplicates.least_agreement(places, threshold) == count


def test_signatures_agree_from_the_margin_on():
    equal = near_duplicates.least_agreement(128, 0.8)
    signatures = np.zeros((3, 128), np.uint32)
    signatures[1, equal:] = signatures[2, equal - 1 :] = 1
    pairs = pa.table([[0, 0], [1, 2]], schema=PAIRS)
    agreeing = near_duplicates.agreeing(pairs, lambda nodes: signatures[nodes.astype(np.int64)], 0.8)
    assert rows_of(agreeing) == [(0, 1)]


def test_the_margin_loses_fewer_than_one_true_pair_in_a_thousand():
    equal = np.random.default_rng(1).binomial(128, 0.8, 200_000)
    lost = np.count_nonzero(equal < near_duplicates.least_agreement(128, 0.8))
    assert 50 < lost <= 200


@settings(deadline=None, max_examples=40)
@given(libraries(), st.sampled_from([1, 3, 1_000]))
def test_verified_edges_are_the_pairs_of_enough_exact_jaccard(documents, at_once):
    library = Library(documents, in_one_shard(documents))
    every = list(itertools.combinations(range(len(documents)), 2))
    pairs = pa.table([[a for a, _ in every], [b for _, b in every]], schema=PAIRS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "JACCARDS_AT_ONCE", at_once)
        patch.setattr(near_duplicates, "AGREEMENTS_AT_ONCE", at_once)
        edges = near_duplicates.verify(pairs, library.signatures_of, library.shingles_of, 0.6, "jaccard")
    expected = [(a, b, minhash.jaccard(library.sets[a], library.sets[b])) for a, b in every]
    floor = near_duplicates.least_agreement(128, 0.6) / 128
    signatures = library.signatures_of(np.arange(len(documents)))
    alike = minhash.agreement(signatures[[a for a, _ in every]], signatures[[b for _, b in every]]) if every else []
    expected = [edge for edge, share in zip(expected, alike, strict=True) if edge[2] >= 0.6 and share >= floor]
    assert [(a, b) for a, b, _ in rows_of(edges)] == [(a, b) for a, b, _ in expected]
    assert edges["score"].to_pylist() == pytest.approx([score for _, _, score in expected])
    assert edges.schema == EDGES


def test_shingles_are_read_only_of_documents_whose_signatures_agree():
    documents = [list("abcdefgh"), list("abcdefgh"), list("stuvwxyz")]
    library, asked = Library(documents, in_one_shard(documents)), []

    def shingles_of(nodes):
        asked.extend(nodes.tolist())
        return library.shingles_of(nodes)

    pairs = pa.table([[0, 0, 1], [1, 2, 2]], schema=PAIRS)
    edges = near_duplicates.verify(pairs, library.signatures_of, shingles_of, 0.8, "jaccard")
    assert rows_of(edges) == [(0, 1, 1.0)]
    assert asked == [0, 1]


# Choose


def slow_choose(edges, rank):
    neighbours = {}
    for a, b, score in edges:
        neighbours.setdefault(a, {})[b] = score
        neighbours.setdefault(b, {})[a] = score
    kept, removals = set(), []
    for node in sorted(neighbours, key=lambda node: (rank[node], node)):
        betters = sorted(kept & set(neighbours[node]), key=lambda other: (rank[other], other))
        if betters:
            removals.append((node, betters[0], neighbours[node][betters[0]]))
        else:
            kept.add(node)
    return sorted(removals)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda pair: pair[0] < pair[1]),
        st.sampled_from([0.5, 0.75, 1.0]),
    ),
    st.lists(st.integers(0, 4), min_size=13, max_size=13),
    st.randoms(use_true_random=False),
)
def test_choice_is_that_of_the_slow_visit_best_first(scored, rank, source):
    edges = [(a, b, score) for (a, b), score in scored.items()]
    source.shuffle(edges)
    found = near_duplicates.choose(edge_table(*edges), lambda nodes: np.array(rank)[nodes.astype(np.int64)])
    assert rows_of(found) == slow_choose(edges, rank)


@pytest.mark.parametrize(
    ("best_first", "expected"),
    [
        ("ABC", [("B", "A")]),  # C stays: it is similar to B alone, and B is gone
        ("BAC", [("A", "B"), ("C", "B")]),
        ("ACB", [("B", "A")]),
        ("CBA", [("B", "C")]),
    ],
)
def test_a_chain_loses_only_what_is_similar_to_a_kept_document(best_first, expected):
    edges = edge_table((0, 1, 0.9), (1, 2, 0.8))
    ranks = np.array([best_first.index(name) for name in "ABC"])
    removals = near_duplicates.choose(edges, lambda nodes: ranks[nodes.astype(np.int64)])
    assert [("ABC"[out], "ABC"[stays]) for out, stays, _ in rows_of(removals)] == expected
