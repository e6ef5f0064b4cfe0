"""The reports in sql/, run by DuckDB over books that the stages' own receipts wrote."""

import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import parse
from pipeline.fetch import archive, segments
from pipeline.shards.outcomes import Outcome
from pipeline.shards.receipts import Artefact, balanced
from pipeline.submissions.bigquery import EXPORT, query_of
from pipeline.verbs.coverage import place_of
from pipeline.verbs.report.questions import sources_of
from tests.verbs.report.working import built

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


def test_a_stage_that_took_in_other_rows_than_the_one_before_kept_is_named(work):
    artefact = Artefact(work, "documents", 1)
    for task in artefact.begin(["other"]):
        with artefact.attempt(task) as attempt:
            attempt.commit({"documents": balanced("documents", 9, {Outcome.KEPT: 9})})
    artefact.finish({}, ())
    assert report("balance.sql") == [("documents/.manifest.json", "documents", 9, 4, 5)]


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("pages/.manifest.json", b'"inputs": 8', b'"inputs": 9', ("pages", 9, 8, 1)),
        ("pages/.receipts/00001-of-00002.json", b'"timed_out": 2', b'"timed_out": 7', ("pages", 3, 8, -5)),
        ("documents/.manifest.json", b'"kept": 4', b"", ("documents", 4, 0, 4)),
    ],
)
def test_books_that_do_not_balance_are_named_with_file_and_difference(work, file, old, new, expected):
    path = work / file
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    assert report("balance.sql") == [(file, *expected)]


def test_pages_are_counted_by_the_place_they_were_found_in(tmp_path, monkeypatch):
    names = {
        f"{segments.FOLDER}/00000-of-00001.00000.warc.gz": ("crawled", 1),
        f"{archive.FOLDER}/00000-of-00001.00000.warc.gz": ("Common Crawl", 2),
        "/data/a.warc.gz": ("WARC files that existed", 3),
        "s3://bucket/segments/b.warc.gz": ("WARC files that existed", 4),
    }
    files = [name for name, (_, count) in names.items() for _ in range(count)]
    rows = [{"host": f"h{n}.test", "warc": name, "length": 7, "outcome": "kept"} for n, name in enumerate(files)]
    (tmp_path / "pages").mkdir()
    pq.write_table(pa.Table.from_pylist([*rows, {**rows[0], "outcome": "not_found"}]), tmp_path / "pages/0.parquet")
    monkeypatch.chdir(tmp_path)
    assert report("places.sql") == [
        ("WARC files that existed", 7, 7, 49), ("Common Crawl", 2, 2, 14), ("crawled", 1, 1, 7),
    ]  # fmt: skip
    told = {"crawled": "crawl", "Common Crawl": "commoncrawl", "WARC files that existed": "warc"}
    assert all(place_of(name) == told[place] for name, (place, _) in names.items())


def test_who_crawled_is_no_setting_that_a_report_shows(work):
    Artefact(work, "pages", 2).finish({"contact": "me@here.test", "gap_s": 2.0}, ())
    assert [row[:2] for row in report("settings.sql")] == [("pages", "gap_s")]


# --- every question by hand


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return built(tmp_path_factory.mktemp("whole"))


QUESTIONS = sorted(path.name for path in REPORTS.glob("*.sql"))


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_has_rows_in_a_full_working_directory(whole, monkeypatch, name):
    monkeypatch.chdir(whole)
    rows = report(name)
    assert bool(rows) == (name != "balance.sql")
    assert rows == report(name)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_to_an_empty_folder_names_what_is_not_there(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    source = re.escape(sources_of((REPORTS / name).read_text("utf-8"))[0])
    if source == "corpus" and "'removed/" in (REPORTS / name).read_text("utf-8"):
        source = r"(corpus|removed)"  # its evidence lies beside it
    with pytest.raises(duckdb.IOException, match=rf'No files found that match the pattern "{source}/'):
        report(name)


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_begins_with_what_it_asks_and_how_to_ask_it(name):
    head = [line for line in (REPORTS / name).read_text("utf-8").splitlines() if line.startswith("--")]
    assert re.fullmatch(rf"-- Run it in a working directory: duckdb (-json )?< sql/report/{name}.*", head[-1])
    assert len(head) > 1


def test_the_answers_are_those_of_the_artefacts(whole, monkeypatch):
    monkeypatch.chdir(whole)
    assert report("karma.sql") == [(1, 1, 0), (4, 14, 14)]
    assert report("years.sql") == [(2012, 5, 4), (2014, 5, 4), (2016, 4, 3)]
    assert report("domains.sql")[0][:2] == ("bbc", 8)
    assert report("statuses.sql") == [
        (200, "kept", 11), (200, "opted_out", 1), (404, "not_found", 1), (None, "robots_disallowed", 1)
    ]  # fmt: skip
    assert report("languages.sql") == [("en", 10, 7), ("<i>", 1, 1)]
    assert [row[:2] for row in report("duplicates.sql")] == [("near_duplicate", 0.875), ("exact_duplicate", 1.0)]
    assert report("training.sql")[-1][:3] == (300, pytest.approx(5.005), 5.5)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("www.bbc.co.uk", "bbc"),
        ("someone.blogspot.com", "blogspot"),
        ("en.wikipedia.org", "wikipedia"),
        ("t.co", "t"),
        ("co.uk", "co"),
        ("localhost", "localhost"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:db8::1]", "[2001:db8::1]"),
    ],
)
def test_a_domain_is_named_as_in_the_published_list(tmp_path, monkeypatch, host, domain):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus").mkdir()
    pq.write_table(pa.table({"host": [host], "words": [1]}), "corpus/00000-of-00001.parquet")
    assert report("domains.sql") == [(domain, 1, 1)]


# --- BigQuery

# DuckDB's words for the functions of BigQuery that the query calls.
DIALECT = """
CREATE MACRO timestamp_seconds(seconds) AS make_timestamp(CAST(seconds AS BIGINT) * 1000000);
CREATE MACRO date(moment) AS CAST(moment AS DATE);
"""
DAY = 86_400
SUBMITTED = [
    ("a", "http://a/", 5, 100 * DAY, "s", False, False),
    ("b", "http://b/", -1, 101 * DAY - 1, "s", True, None),
    ("c", "http://c/", 9, 99 * DAY, "s", False, False),
    ("d", "http://d/", 9, 101 * DAY, "s", False, False),
    ("e", "http://e/", 9, 100 * DAY, "s", False, True),
    ("f", "http://a/", 1, 100 * DAY, "s", False, False),
]


def asked(query):
    base = duckdb.connect()
    base.execute(DIALECT)
    columns = (
        "id TEXT, url TEXT, score BIGINT, created_utc BIGINT, subreddit TEXT, over_18 BOOL, is_self BOOL, title TEXT"
    )
    base.execute(f'CREATE TABLE "p.d.t" ({columns})')
    base.executemany('INSERT INTO "p.d.t" VALUES (?, ?, ?, ?, ?, ?, ?, NULL)', SUBMITTED)
    found = base.execute(query.replace("`", '"'))
    return [each[0] for each in found.description], sorted(found.fetchall())


def test_the_bigquery_query_selects_the_links_of_the_days_with_the_fields_of_an_export():
    day = "1970-04-11"
    names, rows = asked(query_of("p.d.t", day, day))
    assert names == EXPORT.names
    assert rows == [SUBMITTED[0], SUBMITTED[1], SUBMITTED[5]]
    assert "@" not in query_of("p.d.t", day, day)


def test_the_bigquery_query_keeps_all_posts_of_an_address_with_the_karma():
    query = query_of("p.d.t", *parse({}).links.bigquery_days).replace("DATE '2005-06-01'", "DATE '1970-01-01'")
    assert query.count("-2147483647") == 1
    assert [row[0] for row in asked(query.replace("-2147483647", "5"))[1]] == ["a", "c", "d", "f"]
