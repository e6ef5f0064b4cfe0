"""Blocks: whoever gathers gets every row, each parcel is bounded, and rows keep their order within a partition."""

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards import schemas, storage
from tests.crossed import dealt

SCHEMA = pa.schema({"name": pa.string(), "number": pa.int64()})


def table_of(numbers):
    return pa.table([[f"row {number}" for number in numbers], list(numbers)], schema=SCHEMA)


@settings(deadline=None)
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


IDS = st.lists(st.text("abc", max_size=3), max_size=30)


def shard_with(path, ids, group_rows):
    """A shard sorted by name, in groups of so many rows."""
    table = pa.table([sorted(ids), list(range(len(ids)))], schema=SCHEMA)
    with storage.atomic(path) as file:
        schemas.write_parquet(file, [table], SCHEMA, group_rows)
    return table


@settings(deadline=None)
@given(IDS, IDS, st.integers(1, 7), st.permutations(SCHEMA.names))
def test_rows_with_some_keys_are_those_that_a_reading_of_the_whole_shard_finds(
    tmp_path_factory, ids, wanted, group_rows, columns
):
    path = tmp_path_factory.mktemp("keys") / "shard.parquet"
    whole = shard_with(path, ids, group_rows)
    found = [row for table in schemas.rows_with(path, "name", iter(wanted), columns) for row in table.to_pylist()]
    assert found == [row for row in whole.to_pylist() if row["name"] in wanted]
    assert all(list(row) == list(columns) for row in found)


def test_row_groups_that_can_hold_no_key_are_not_read(tmp_path, monkeypatch):
    shard_with(tmp_path / "shard.parquet", [f"{number:04d}" for number in range(1_000)], 50)
    read, reading = [], pq.ParquetFile.read_row_group

    def noted(self, group, **chosen):
        read.append(group)
        return reading(self, group, **chosen)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    found = list(schemas.rows_with(tmp_path / "shard.parquet", "name", ["0049", "0731", "0731a", "zz", ""], ["number"]))
    assert pa.concat_tables(found)["number"].to_pylist() == [49, 731]
    assert set(read) == {0, 14}


def test_a_shard_without_statistics_is_read_whole(tmp_path):
    path = tmp_path / "shard.parquet"
    pq.write_table(table_of(range(9)), path, row_group_size=2, write_statistics=False)
    found = list(schemas.rows_with(path, "name", ["row 4", "row 8"], ["number"]))
    assert pa.concat_tables(found)["number"].to_pylist() == [4, 8]
