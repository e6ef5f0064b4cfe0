"""Nodes, ranks and sorted arrays of them: each what a loop in Python says."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup import nodes
from pipeline.dedup.nodes import REMOVALS

BEYOND = 10
SMALL = st.integers(0, 2)


def test_a_node_is_a_shard_and_a_row_in_one_number():
    assert nodes.node_ids(3, np.array([0, 7, 2**32 - 1], np.uint32)).tolist() == [3 << 32, 3 << 32 | 7, (4 << 32) - 1]


@given(st.lists(st.tuples(SMALL, SMALL)), st.integers(0, 3))
def test_of_ascending_nodes_those_of_a_shard_are_cut_out(places, shard):
    ascending = np.array(sorted(place << 32 | row for place, row in places), np.uint64)
    assert nodes.of_shard(ascending, shard).tolist() == [one for one in ascending.tolist() if one >> 32 == shard]


@given(st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=12))
def test_a_run_begins_where_any_column_changes(rows):
    rows.sort()
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    assert nodes.run_starts(*columns).tolist() == [rows.index(row) for row in rows]


@given(st.lists(st.integers(0, 5), max_size=12))
def test_what_occurs_twice_is_what_is_counted_twice(values):
    found = nodes.occurs_twice(np.array(values, np.uint64))
    assert found.tolist() == [values.count(one) > 1 for one in values]


@given(st.lists(st.integers(0, 3), max_size=12))
def test_equal_ranks_go_by_node(ranks):
    known = np.arange(len(ranks), dtype=np.uint64)[::-1].copy()
    order = sorted(range(len(ranks)), key=lambda place: (ranks[place], known[place]))
    assert nodes.ranked(known, lambda _: np.array(ranks, np.int64)).tolist() == [
        order.index(place) for place in range(len(ranks))
    ]


def removals_of(*rows):
    return pa.table([list(column) for column in zip(*rows, strict=True)] or [[], [], []], schema=REMOVALS)


def rows_of(table):
    return [tuple(row.values()) for row in table.to_pylist()]


def test_removals_come_by_the_removed_node():
    found = nodes.removals(*(np.array(some, kind) for some, kind in (([5, 1], "u8"), ([2, 3], "u8"), ([0.5, 1], "f4"))))
    assert rows_of(found) == [(1, 3, 1.0), (5, 2, 0.5)]
    assert found.schema == REMOVALS


def followed_by_hand(table, near):
    """Who loses to a document that goes itself loses to whom that one loses; the score too, where that is elsewhere."""
    gone = {removed: (keeper, score) for removed, keeper, score in near}
    for removed, keeper, score in table:
        stayed, passed_on = gone.get(keeper, (keeper, score))
        yield removed, stayed, passed_on if stayed != keeper and stayed >= BEYOND else score


KEEPERS = st.integers(0, BEYOND + 4)
SCORES = st.sampled_from([0.5, 0.75, 1.0])


@given(
    st.dictionaries(st.integers(0, BEYOND - 1), st.tuples(KEEPERS, SCORES)),
    st.dictionaries(st.integers(0, BEYOND - 1), st.tuples(KEEPERS, SCORES)),
)
def test_a_keeper_that_goes_itself_is_followed_to_the_one_that_stays(table, near):
    table, near = ([(removed, *rest) for removed, rest in sorted(one.items())] for one in (table, near))
    found = nodes.followed(removals_of(*table), removals_of(*near), np.uint64(BEYOND))
    assert rows_of(found) == list(followed_by_hand(table, near))
    assert found.schema == REMOVALS


@pytest.mark.parametrize("keeper", [BEYOND - 1, BEYOND])
def test_the_score_is_passed_on_from_the_first_node_beyond(keeper):
    found = nodes.followed(removals_of((1, 2, 1.0)), removals_of((2, keeper, 0.5)), np.uint64(BEYOND))
    assert rows_of(found) == [(1, keeper, 0.5 if keeper >= BEYOND else 1.0)]
