"""The choice of keepers part after part is the choice with all edges in memory, and leaves nothing behind."""

from itertools import pairwise
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup import keepers, near_duplicates
from pipeline.dedup.near_duplicates import EDGES


def table_of(edges):
    """EDGES of pairs; the score tells which pair it was."""
    pairs = sorted({(min(pair), max(pair)) for pair in edges if pair[0] != pair[1]})
    return pa.table([*zip(*((a, b, (31 * a + b) / 1_000) for a, b in pairs), strict=True)] or [[]] * 3, schema=EDGES)


def rank_of(places):
    return lambda nodes: np.array(places, np.int64)[nodes.astype(np.int64)]


@st.composite
def graphs(draw):
    """Edges among some documents, dense or sparse or none, and a ranking of them all."""
    documents = draw(st.integers(1, 14))
    node = st.integers(0, documents - 1)
    return draw(st.lists(st.tuples(node, node), max_size=50)), draw(st.permutations(range(documents)))


@settings(deadline=None)
@given(graphs(), st.integers(1, 9), st.integers(1, 4))
def test_parts_of_any_size_and_edges_of_any_shards_give_one_choice(tmp_path_factory, graph, at_once, shards):
    edges, places = graph
    whole, folder = table_of(edges), tmp_path_factory.mktemp("spill")
    tables = [whole.take(np.arange(shard, len(whole), shards)) for shard in range(shards)]  # some without rows
    with mock.patch.object(keepers, "EDGES_AT_ONCE", at_once):
        found = keepers.choose(tables, len(whole), rank_of(places), len(places), folder)
    assert found.to_pylist() == near_duplicates.choose(whole, rank_of(places)).to_pylist()
    assert list(folder.iterdir()) == []


def test_a_chain_that_crosses_all_parts_is_followed_from_its_best_end(tmp_path):
    edges = [(n, n + 1) for n in range(9)]
    with mock.patch.object(keepers, "EDGES_AT_ONCE", 1):
        found = keepers.choose([table_of(edges)], 9, rank_of(range(10)), 10, tmp_path)
    assert dict(zip(found["removed"].to_pylist(), found["keeper"].to_pylist(), strict=True)) == {
        n: n - 1 for n in range(1, 10, 2)
    }


def test_no_part_holds_more_than_its_share_of_the_ranking(tmp_path):
    pick = np.random.default_rng(0)
    whole = table_of(pick.integers(0, 500, (2_000, 2)).tolist())
    with mock.patch.object(keepers, "EDGES_AT_ONCE", 250):
        parts = list(keepers.in_parts([whole], len(whole), rank_of(range(500)), 500, tmp_path))
    assert sum(map(len, parts)) == len(whole)
    ends = [(part["worse"].min(), part["worse"].max()) for part in parts]
    assert all(before[1] < after[0] for before, after in pairwise(ends))
    assert max(map(len, parts)) < len(whole) / 3


def test_a_single_part_is_not_spilled(tmp_path):
    assert len(keepers.choose([table_of([(0, 1)])], 1, rank_of([1, 0]), 2, tmp_path / "none")) == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("shards", [0, 3])
def test_without_edges_nobody_goes(tmp_path, shards):
    assert len(keepers.choose([EDGES.empty_table()] * shards, 0, rank_of([]), 0, tmp_path)) == 0
