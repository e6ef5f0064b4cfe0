"""The folders of a working directory as readers of tables open them: all rows of the artefact, and nothing else.

polars passes over no folder whatever its name (`hidden_file_prefix` asks only the last part of a path): it is given a
pattern.
"""

import duckdb
import pandas
import polars
import pyarrow.dataset
import pyarrow.parquet
import pytest

from pipeline import config
from pipeline.build import build
from pipeline.demo.site import ordinary_pages
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import PlainRun
from tests.own_data import write_dump, write_warc

SHARDS = 8
SETTINGS = {
    "build": {"shards": SHARDS},
    "links": {"submissions": ["dump.ndjson"]},
    "pages": {"warc": ["*.warc.gz"]},
    "corpus": {"min_words": 50},
    "tokenizer": {"vocab_size": 300},
    "tokens": {"val_share": 0.4},
}
TABLES = ("links", "pages", "documents", "corpus", "removed")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Five pages, two of each, so that copies are removed; in eight shards, so that some hold nothing."""
    root = tmp_path_factory.mktemp("folders")
    pages = ordinary_pages()[:5]
    write_dump(root / "dump.ndjson", pages, copies=2)
    write_warc(root / "pages.warc.gz", pages, copies=2)
    build(root, config.parse(SETTINGS), run=PlainRun())
    return root


def rows_of(work, name):
    """How many rows receipts promise of a table."""
    part, artefact = ("removed/", "corpus") if name == "removed" else ("", name)
    files = Artefact(work, artefact, SHARDS).manifest().files
    return sum(stamp.rows for file, stamp in files.items() if file.rpartition("/")[0] == part.strip("/"))


@pytest.mark.parametrize("name", TABLES)
def test_a_table_opens_as_a_folder_in_pandas_pyarrow_and_datasets(work, load, name):
    paths = sorted((work / name).glob("*.parquet"))
    columns = pyarrow.parquet.read_schema(paths[0]).names
    expected = rows_of(work, name)
    assert expected > 0 < [pyarrow.parquet.read_metadata(path).num_rows for path in paths].count(0)
    frame = pandas.read_parquet(work / name)
    assert (len(frame), list(frame.columns)) == (expected, columns)
    for table in (pyarrow.parquet.read_table(work / name), pyarrow.dataset.dataset(work / name).to_table()):
        assert (table.num_rows, table.column_names) == (expected, columns)
    (found,) = load(work / name).values()
    assert (found.num_rows, found.column_names) == (expected, columns)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_opens_by_its_pattern_in_polars_and_duckdb(work, name):
    pattern = str(work / name / "*.parquet")
    assert polars.read_parquet(pattern).height == rows_of(work, name)
    assert duckdb.sql(f"SELECT count(*) FROM '{pattern}'").fetchall() == [(rows_of(work, name),)]


def test_tokens_open_as_a_folder_with_their_splits(work, load):
    stored = {
        split: pyarrow.dataset.dataset(work / "tokens" / split, format="arrow").to_table() for split in ("train", "val")
    }
    assert sum(table.num_rows for table in stored.values()) == rows_of(work, "corpus")
    found = load(work / "tokens")
    names = {"train": "train", "val": "validation"}
    assert {name: one["tokens"][:] for name, one in found.items()} == {
        names[split]: table["tokens"].to_pylist() for split, table in stored.items() if table.num_rows
    }
    for split, table in stored.items():
        assert polars.scan_ipc(work / "tokens" / split).collect().height == table.num_rows
