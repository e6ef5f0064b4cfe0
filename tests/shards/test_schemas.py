"""Blocks: whoever gathers gets every row, each parcel is bounded, and rows keep their order within a partition."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards import schemas
from tests.crossed import dealt

SCHEMA = pa.schema({"name": pa.string(), "number": pa.int64()})


def table_of(numbers):
    return pa.table([[f"row {number}" for number in numbers], list(numbers)], schema=SCHEMA)


@given(st.lists(st.integers(0, 4), max_size=40))
def test_scattering_equals_picking_rows_one_by_one(partitions):
    sent = dealt(schemas.scatter(table_of(range(len(partitions))), partitions))
    assert sorted(sent) == sorted(set(partitions))
    for partition, blocks in sent.items():
        found = schemas.unpack(blocks, SCHEMA)
        assert found["number"].to_pylist() == [row for row, place in enumerate(partitions) if place == partition]
        assert found["name"].to_pylist() == [f"row {number}" for number in found["number"].to_pylist()]


def test_no_parcel_holds_more_than_its_bound(monkeypatch):
    monkeypatch.setattr(schemas, "PARCEL_BYTES", 1_000)
    parcels = [pa.ipc.open_stream(parcel).read_all() for parcel in schemas.pack(table_of(range(500)))]
    assert all(parcel.nbytes <= 1_100 for parcel in parcels)
    assert pa.concat_tables(parcels)["number"].to_pylist() == list(range(500))


def test_tables_are_put_together_until_they_are_large_enough():
    tables = [table_of(range(number, number + 10)) for number in range(0, 100, 10)]
    runs = list(schemas.in_runs(iter(tables), 3 * tables[0].nbytes))
    assert [len(run) for run in runs] == [30, 30, 30, 10]
    assert pa.concat_tables(runs)["number"].to_pylist() == list(range(100))
    assert list(schemas.in_runs(iter([]), 1)) == []
