"""Documents beside those of other corpora: which pairs are candidates, and for which of them each goes out."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup import near_duplicates
from pipeline.dedup.near_duplicates import BANDS, EDGES, PAIRS
from pipeline.dedup.nodes import REMOVALS

BEYOND = 1 << 32


def rows_of(table):
    return [tuple(row.values()) for row in table.to_pylist()]


def across_by_hand(entries, bucket):
    """Each of ours with the first `bucket` of the others of its band; and how many pairs that leaves out."""
    pairs, left_out = set(), 0
    for band in {band for band, _ in entries}:
        every = sorted({node for other, node in entries if other == band})
        ours, others = ([node for node in every if (node >= BEYOND) == side] for side in (False, True))
        pairs |= {(one, other) for one in ours for other in others[:bucket]}
        left_out += len(ours) * max(0, len(others) - bucket)
    return sorted(pairs), left_out


NODES = st.integers(0, 5) | st.integers(BEYOND, BEYOND + 5)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), NODES), max_size=40, unique=True),
    st.integers(1, 40),
    st.integers(1, 4),
    st.sampled_from([1, 8, 4_000_000]),
)
def test_pairs_with_other_corpora_are_those_of_the_slow_definition(entries, size, bucket, at_once):
    batches = [entries[start : start + size] for start in range(0, len(entries), size)]
    tables = [pa.table([list(column) for column in zip(*some, strict=True)], schema=BANDS) for some in batches]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "PAIRS_AT_ONCE", at_once)
        pairs, left_out = near_duplicates.candidate_pairs_across(tables, bucket, np.uint64(BEYOND))
    assert (rows_of(pairs), left_out) == across_by_hand(entries, bucket)
    assert pairs.schema == PAIRS


@given(
    st.dictionaries(st.tuples(st.integers(0, 3), st.integers(10, 14)), st.sampled_from([0.5, 0.75, 1.0])),
    st.randoms(use_true_random=False),
)
def test_each_goes_out_for_the_one_that_it_is_most_like_and_of_equals_for_the_first(scored, source):
    edges = [(a, b, score) for (a, b), score in scored.items()]
    source.shuffle(edges)
    table = pa.table([list(column) for column in zip(*edges, strict=True)] or [[], [], []], schema=EDGES)
    found = near_duplicates.nearest(table)
    best = {a: min((-score, b) for one, b, score in edges if one == a) for a, _, _ in edges}
    assert rows_of(found) == [(a, b, -score) for a, (score, b) in sorted(best.items())]
    assert found.schema == REMOVALS


@pytest.mark.parametrize(
    ("measure", "threshold", "least"),
    # whole and excerpt of half its length, contained to this share: threshold x 1 shared, of 1 + 2 - threshold
    [("jaccard", 0.8, 0.8), ("containment", 1.0, 0.5), ("containment", 0.8, 0.8 / 2.2), ("containment", 0.5, 0.2)],
)
def test_the_least_jaccard_of_containment_is_that_of_a_document_and_another_twice_as_long(measure, threshold, least):
    assert near_duplicates.least_jaccard(threshold, measure) == pytest.approx(least)
