"""The reports in sql/, run by DuckDB over books that the stages' own receipts wrote."""

from pathlib import Path

import duckdb
import pytest

from pipeline.shards.outcomes import Outcome
from pipeline.shards.receipts import Artefact, balanced

REPORTS = Path(__file__).resolve().parents[1] / "sql" / "report"

PAGES = [
    balanced("pages", 5, {Outcome.KEPT: 3, Outcome.NOT_FOUND: 2}),
    balanced("pages", 3, {Outcome.KEPT: 1, Outcome.TIMED_OUT: 2}),
]
DOCUMENTS = [balanced("documents", 4, {Outcome.KEPT: 4})]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working directory with two whole artefacts, current directory of the test."""
    for name, books in (("pages", PAGES), ("documents", DOCUMENTS)):
        artefact = Artefact(tmp_path, name, len(books))
        for task, book in zip(artefact.begin([f"{name}{shard}" for shard in range(len(books))]), books, strict=True):
            with artefact.attempt(task) as attempt:
                with attempt.write(".txt") as file:
                    file.write(b"x")
                attempt.commit({name: book})
        artefact.finish({}, ())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(name):
    return duckdb.connect().execute((REPORTS / name).read_text("utf-8")).fetchall()


def test_the_funnel_tells_every_outcome_in_the_order_of_the_chain(work):
    assert report("funnel.sql") == [
        ("pages", 8, "kept", 4, 50.0),
        ("pages", 8, "not_found", 2, 25.0),
        ("pages", 8, "timed_out", 2, 25.0),
        ("documents", 4, "kept", 4, 100.0),
    ]


def test_books_that_balance_give_no_rows(work):
    assert report("balance.sql") == []


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("pages/manifest.json", b'"inputs": 8', b'"inputs": 9', ("pages", 9, 8, 1)),
        ("pages/receipts/00001-of-00002.json", b'"timed_out": 2', b'"timed_out": 7', ("pages", 3, 8, -5)),
        ("documents/manifest.json", b'"kept": 4', b"", ("documents", 4, 0, 4)),
    ],
)
def test_books_that_do_not_balance_are_named_with_file_and_difference(work, file, old, new, expected):
    path = work / file
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    assert report("balance.sql") == [(file, *expected)]
