import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup import exact_duplicates, nodes
from pipeline.dedup.exact_duplicates import HASHES
from pipeline.shards import schemas
from pipeline.shards.outcomes import BooksError
from tests.crossed import dealt


def rows_of(table):
    return [tuple(row.values()) for row in table.to_pylist()]


def hash_table(rows):
    columns = list(zip(*rows, strict=True)) or [[]] * 6
    return pa.table([list(column) for column in columns], schema=HASHES)


def slow_exact(rows):
    by_hash = {}
    for digest, node, score, created, length, doc_id in rows:
        by_hash.setdefault(digest, []).append(((-score, created, -length, doc_id), node))
    removals = []
    for members in by_hash.values():
        (_, keeper), *lost = sorted(members)
        removals += [(node, keeper, 1.0) for _, node in lost]
    return sorted(removals)


SMALL = st.integers(0, 2)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([b"\0" * 16, b"\0" * 15 + b"\1", b"\1" + b"\0" * 15]), SMALL, SMALL, SMALL)),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_exact_duplicates_are_those_of_the_slow_definition_over_any_shards(documents, partitions, source):
    rows = [
        (digest, (number % 3) << 32 | number, score, created, length, f"id{number * 7 % 31}-{number}")
        for number, (digest, score, created, length) in enumerate(documents)
    ]
    sent = []
    for shard in range(3):
        table = hash_table([row for row in rows if row[1] >> 32 == shard])
        lines = np.array([node & 0xFFFFFFFF for node in table["node"].to_pylist()], np.uint32)
        sent += exact_duplicates.scatter_hashes(shard, lines, table["hash"], table, partitions)
    by_partition = dealt(sent)
    found = []
    for blocks in by_partition.values():
        source.shuffle(blocks)
        found += rows_of(exact_duplicates.gather_hashes(iter(blocks)))
    assert sorted(found) == slow_exact(rows)


def test_blocks_are_of_one_schema_whatever_integers_the_columns_hold():
    rows = [(bytes([one]) * 16, one, 3 - one, one, one, f"id{one}") for one in (1, 2)]
    table = hash_table(rows)
    narrow = table.set_column(2, "score", table["score"].cast(pa.int16()))
    lines = np.array([1, 2], np.uint32)
    whole, narrower = (
        schemas.unpack((block for _, block in exact_duplicates.scatter_hashes(0, lines, one["hash"], one, 2)), HASHES)
        for one in (table, narrow)
    )
    assert whole.num_rows == 2
    assert narrower.equals(whole)


def test_rank_is_karma_then_earliest_then_longest_then_doc_id_and_unknown_is_worst():
    ranks = pa.table(
        {
            "score": [3, 9, 9, 9, 9, 9, None],
            "created": [0, 5, 4, 4, 4, None, 0],
            "length": [99, 9, 5, 7, 7, 9, 9],
            "doc_id": ["a", "b", "c", "e", "d", "f", "g"],
        }
    )
    assert nodes.positions(ranks).tolist() == [5, 3, 2, 1, 0, 4, 6]


def test_slices_of_hash_columns_are_read_where_they_begin():
    digests = pa.array([bytes([number]) * 16 for number in range(8)], pa.binary(16))
    expected = [[number * 0x0101010101010101] * 2 for number in (2, 3, 4)]
    assert exact_duplicates.halves(pa.chunked_array([digests[2:4], digests[:0], digests[4:5]])).tolist() == expected


def test_a_document_without_a_hash_is_refused_by_name():
    rows = [(None, 1, 3, 0, 5, "a")]
    with pytest.raises(BooksError, match="no hash of the text of 1 document to compare"):
        exact_duplicates.exact_duplicates(hash_table(rows)["hash"], np.array([1], np.uint64), hash_table(rows))
