"""Coverage: every kept link counts in the year of its post, and every page where it came from."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from pipeline import config
from pipeline.cli import app as cli
from pipeline.fetch.pointers import Pointer, row_of
from pipeline.shards import schemas
from pipeline.shards.outcomes import IntegrityError, Outcome
from pipeline.shards.receipts import Artefact, Task
from pipeline.urls import doc_id
from pipeline.verbs.coverage import coverage

SHARDS = 2
OWN, COMMON, CRAWLED = "/data/1.warc.gz", "commoncrawl/00000-of-00002.00000.warc.gz", "segments/00000-of-00002.warc.gz"
# shard, year of the post, outcome of the link, outcome of the page, file
ROWS = [
    (0, 2013, "kept", Outcome.KEPT, OWN),
    (0, 2013, "kept", Outcome.KEPT, COMMON),
    (1, 2013, "kept", Outcome.NOT_FOUND, CRAWLED),
    (1, 2013, "kept", Outcome.KEPT, CRAWLED),
    (0, 2015, "kept", Outcome.BAD_RECORD, "https://data.commoncrawl.org/x"),
    (0, 2015, "low_karma", None, ""),
    (1, None, "kept", Outcome.KEPT, COMMON),
]


def write(artefact, shard, rows, schema):
    with artefact.attempt(Task(shard, "f")) as attempt:
        with attempt.write(".parquet") as file:
            schemas.write_parquet(file, [pa.Table.from_pylist(rows, schema)], schema)
        attempt.commit({}, counts={f"admitted_by_{reading}": 3 for reading in ("max", "sum", "first")})


@pytest.fixture
def work(tmp_path):
    links, pages = Artefact(tmp_path, "links", SHARDS), Artefact(tmp_path, "pages", SHARDS)
    for shard in range(SHARDS):
        posted, found = [], []
        for number, (place, year, kept, outcome, file) in enumerate(ROWS):
            url = f"https://a.test/{number}"
            created = int(datetime(year, 12, 31, 23, tzinfo=UTC).timestamp()) if year else 0
            known = {"url": url, "fetch_url": url, "host": "a.test"}
            if place == shard:
                posted.append({**known, "doc_id": doc_id(url), "created": created, "outcome": kept})
            if place == shard and outcome:
                row = row_of(doc_id(url), Pointer(file, 0, 1, ""), url, 200, "text/html", (), outcome)
                found.append({"url": url, "host": "a.test", **row})
        write(links, shard, posted, schemas.LINKS)
        write(pages, shard, found, schemas.PAGES)
    links.finish({"karma": 3, "karma_of": "max"}, ())
    pages.finish({}, (), [links])
    return tmp_path


def test_every_kept_link_counts_in_its_year_and_every_page_in_its_place(work):
    rows = [(one.year, one.links, list(one.found.values()), one.percent) for one in coverage(work, SHARDS)]
    assert rows == [
        (2013, 4, [1, 1, 1], 75.0),
        (2015, 1, [0, 0, 0], 0.0),
        (None, 1, [0, 1, 0], 100.0),
    ]


def test_status_shows_it_once_pages_are_whole(work):
    (work / config.FILE_NAME).write_text(f"[build]\nshards = {SHARDS}\n")
    shown = CliRunner().invoke(cli.app, ["status", "--dir", str(work)])
    assert shown.exit_code == 0
    assert "Pages by year of the post" in shown.stdout
    table = [line.split() for line in shown.stdout.splitlines() if line.rstrip().endswith("%")]
    assert table == [
        ["2013", "4", "1", "1", "1", "75.0", "%"],
        ["2015", "1", "0", "0", "0", "0.0", "%"],
        ["unknown", "1", "0", "1", "0", "100.0", "%"],
    ]
    (work / "pages/.manifest.json").unlink()
    assert "by year" not in CliRunner().invoke(cli.app, ["status", "--dir", str(work)]).stdout


def test_a_missing_shard_is_named(work):
    (work / "pages/.receipts/00001-of-00002.json").unlink()
    with pytest.raises(IntegrityError, match="00001-of-00002"):
        list(coverage(work, SHARDS))
