"""A sample tells what is in the inputs: exactly where it sees all, nearly where it sees a part."""

import bz2
import csv
import gzip
import io
import json
import lzma
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipeline.config import PagesSettings, Settings, parse
from pipeline.demo import site
from pipeline.shards.outcomes import InputError
from pipeline.submissions.ledger import Ledger
from pipeline.verbs.plan import sample
from pipeline.verbs.plan.sample import look_at_captures, look_at_submissions, spread
from tests.own_data import write_dump, write_warc

PACKERS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


def rows(count, start=0):
    return [
        {"id": f"a{number}", "url": f"http://h{number % 50}.example/{number}", "score": number % 6,
         "created_utc": 1_400_000_000, "subreddit": "books", "over_18": False, "is_self": number % 4 == 0}
        for number in range(start, start + count)
    ]  # fmt: skip


def ndjson(some):
    return b"".join(json.dumps(row).encode() + b"\n" for row in some)


def look(tmp_path, *names, settings=None):
    return look_at_submissions([tmp_path / name for name in names], settings or Settings(), tmp_path)


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_small_dump_is_told_exactly(tmp_path, suffix):
    (tmp_path / f"d.ndjson{suffix}").write_bytes(PACKERS[suffix](ndjson(rows(1_200))))
    found = look(tmp_path, f"d.ndjson{suffix}")
    assert (found.rows, found.posts, found.links, found.whole) == (1_200, 900, 900, True)
    assert found.kept == len([row for row in rows(1_200) if not row["is_self"] and row["score"] >= 3])
    assert sum(found.hosts.values()) == found.kept == len(found.kept_ids)


def test_tables_lists_and_ledgers_are_told_exactly(tmp_path):
    some = rows(80)
    pq.write_table(pa.Table.from_pylist(some), tmp_path / "d.parquet")
    with (tmp_path / "d.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, some[0])
        writer.writeheader()
        writer.writerows(some)
    (tmp_path / "d.txt").write_text("".join(f"http://list.example/{number}\n" for number in range(7)))
    with Ledger(tmp_path / "d.sqlite"):
        pass
    assert [look(tmp_path, name).posts for name in ("d.parquet", "d.csv", "d.txt")] == [60, 60, 7]
    assert look(tmp_path, "d.sqlite").posts == 0


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_large_dump_is_told_from_its_beginning(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(sample, "BYTES", 3_000_000)  # bzip2 gives 900 kB at a time
    (tmp_path / f"d.ndjson{suffix}").write_bytes(PACKERS[suffix](ndjson(rows(40_000))))
    found = look(tmp_path, f"d.ndjson{suffix}")
    assert not found.whole
    assert found.sampled < 30_000
    assert found.rows == pytest.approx(40_000, rel=0.35)
    assert found.posts == pytest.approx(30_000, rel=0.35)


def test_a_small_file_beside_a_large_one_keeps_its_weight(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "BYTES", 200_000)
    (tmp_path / "large.ndjson").write_bytes(ndjson(rows(20_000)))
    own = [{**row, "url": f"http://small.example/{place}"} for place, row in enumerate(rows(400, start=10**6))]
    (tmp_path / "small.ndjson").write_bytes(ndjson(own))
    found = look(tmp_path, "large.ndjson", "small.ndjson")
    known = len([row for row in own if not row["is_self"] and row["score"] >= 3])
    assert found.hosts["small.example"] == pytest.approx(known, rel=0.01)
    assert found.rows == pytest.approx(20_400, rel=0.05)


def test_only_some_of_many_files_are_opened(tmp_path):
    for number in range(40):
        (tmp_path / f"d{number:02d}.ndjson").write_bytes(ndjson(rows(100, start=100 * number)))
    found = look(tmp_path, *(f"d{number:02d}.ndjson" for number in range(40)))
    assert (found.files, found.sampled, found.whole) == (40, 1_200, False)
    assert found.rows == pytest.approx(4_000, rel=0.05)


def test_a_link_posted_twice_is_one(tmp_path):
    again = [{**row, "id": f"b{row['id']}"} for row in rows(100)]
    (tmp_path / "d.ndjson").write_bytes(ndjson([*rows(100), *again, *again]))  # the last ones are the same posts
    found = look(tmp_path, "d.ndjson")
    assert (found.posts, found.links) == (225, 75)


def test_the_rules_of_the_settings_decide(tmp_path):
    (tmp_path / "d.ndjson").write_bytes(ndjson(rows(1_200)))
    strict = parse({"links": {"karma": 100}})
    assert look(tmp_path, "d.ndjson", settings=strict).kept == 0


def test_a_cut_dump_is_refused_where_the_cut_is_seen(tmp_path):
    (tmp_path / "d.ndjson.zst").write_bytes(zstandard.compress(ndjson(rows(1_000)))[:-20])
    with pytest.raises(InputError, match="truncated"):
        look(tmp_path, "d.ndjson.zst")


def test_an_unknown_kind_is_refused(tmp_path):
    (tmp_path / "d.docx").write_bytes(b"x")
    with pytest.raises(InputError, match="unknown kind"):
        look(tmp_path, "d.docx")


def test_warc_files_are_told_by_their_captures(tmp_path):
    write_warc(tmp_path / "p.warc.gz", site.ordinary_pages()[:24])
    found = look_at_captures([tmp_path / "p.warc.gz"], PagesSettings(), None)
    assert (found.records, found.kept, found.whole, len(found.pages)) == (24, 24, True, 24)


def test_a_warc_file_counts_what_links_ask_for(tmp_path):
    pages = site.ordinary_pages()[:24]
    write_warc(tmp_path / "p.warc.gz", pages)
    write_dump(tmp_path / "d.ndjson", pages[:10])
    wanted = look(tmp_path, "d.ndjson").kept_ids
    found = look_at_captures([tmp_path / "p.warc.gz"], PagesSettings(), wanted)
    assert (found.records, found.kept) == (24, 10)


def test_a_warc_file_is_told_from_its_beginning(tmp_path, monkeypatch):
    write_warc(tmp_path / "p.warc.gz", site.ordinary_pages()[:100])
    monkeypatch.setattr(sample, "WARC_BYTES", (tmp_path / "p.warc.gz").stat().st_size // 4)
    found = look_at_captures([tmp_path / "p.warc.gz"], PagesSettings(), None)
    assert found.sampled < 50
    assert not found.whole
    assert found.records == pytest.approx(100, rel=0.35)


def test_a_warc_file_may_be_the_links(tmp_path):
    write_warc(tmp_path / "p.warc.gz", site.ordinary_pages()[:24])
    found = look(tmp_path, "p.warc.gz")
    assert (found.posts, found.kept, found.whole) == (24, 24, True)


def test_what_is_spread_is_evenly_spaced_and_begins_with_the_first():
    assert spread(range(10), 3) == [0, 3, 6]
    assert spread([1, 2], 5) == [1, 2]
    assert spread([], 5) == []


def test_a_sample_is_a_value(tmp_path):
    (tmp_path / "d.ndjson").write_bytes(ndjson(rows(100)))
    assert replace(look(tmp_path, "d.ndjson")) == look(tmp_path, "d.ndjson")


def test_the_beginning_of_a_file_of_any_layout_tells_how_many_rows_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "BYTES", 60_000)
    row = {"url": "http://a.example/", "score": 5, "created_utc": 1_400_000_000, "title": 'two\nlines, "quoted"'}
    rows = [{"id": f"{number:04}", **row} for number in range(5_000)]
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    for name, text, encoding in (
        ("a.json", "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]", "utf-8"),
        ("b.json", json.dumps(rows), "utf-8"),
        ("c.json", json.dumps(rows, indent=1), "utf-16"),
        ("d.csv", table.getvalue(), "utf-8-sig"),
        ("e.csv", table.getvalue(), "utf-16"),
    ):
        (tmp_path / name).write_bytes(text.encode(encoding))
        piece = sample.of_lines(tmp_path / name)
        assert piece.share < 1, name
        assert piece.rows / piece.share == pytest.approx(5_000, rel=0.05), name
