"""Common Crawl's records: fetched once, kept byte for byte, and bad ones named with the file and the offset."""

import gzip
import io
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.config import PagesSettings
from pipeline.fetch import archive
from pipeline.fetch.captures import index
from pipeline.fetch.readback import read_response
from pipeline.shards.outcomes import InputError, IntegrityError
from pipeline.urls import canonical_url, doc_id
from tests.fetch.archive_web import archive_web

SOFTWARE = "webtext/0.0"
SHARD = "00000-of-00001"
FILE = "crawl-data/CC-MAIN-2013-48/segments/1/warc/1.warc.gz"
PLACE = f"http://archive.test/{FILE} at offset"
DATA = Path(__file__).resolve().parents[2] / "../shared/data/warc/good/whirlwind.warc.gz"


def record(url, body=None, status="200 OK"):
    """One compressed response record, as it lies in a file of the archive."""
    file = io.BytesIO()
    writer = WARCWriter(file, gzip=True)
    head = StatusAndHeaders(status, [("Content-Type", "text/html")], protocol="HTTP/1.1")
    payload = io.BytesIO(b"<p>" + url.encode() if body is None else body)
    writer.write_record(writer.create_warc_record(url, "response", payload, http_headers=head))
    return file.getvalue()


def match(url, offset, length, file=FILE):
    doc = doc_id(canonical_url(url))
    return {"doc_id": doc, "warc_filename": file, "warc_record_offset": offset, "warc_record_length": length}


def filed(*records):
    """A file of these records, and where each lies."""
    offsets = [sum(map(len, records[:n])) for n in range(len(records))]
    return b"".join(records), [(at, len(one)) for at, one in zip(offsets, records, strict=True)]


URLS = [f"http://a.test/{n}" for n in range(5)]
CONTENT, PLACES = filed(*map(record, URLS))
MATCHES = [match(url, *place) for url, place in zip(URLS, PLACES, strict=True)]


def fetched(web, folder, matches, **values):
    return archive.fetched(PagesSettings(**web.settings, **values), SOFTWARE, folder, SHARD, matches)


def test_records_are_kept_byte_for_byte_and_read_by_any_tool(tmp_path):
    with archive_web({FILE: CONTENT}) as web:
        ends, notes = fetched(web, tmp_path, MATCHES)
    assert notes == []
    assert web.asked == [(FILE, 0, len(CONTENT) - 1)]
    for url, one, (offset, length) in zip(URLS, MATCHES, PLACES, strict=True):
        row = ends[one["doc_id"]]
        assert (row["outcome"], row["status"], row["final_url"]) == ("kept", 200, url)
        path = tmp_path / row["warc"]
        kept = path.read_bytes()[row["offset"] : row["offset"] + row["length"]]
        assert kept == CONTENT[offset : offset + length]
        response = read_response(path, row["offset"], row["length"], 1_000)
        assert (response.body, response.sha256) == (b"<p>" + url.encode(), row["sha256"])
    with path.open("rb") as file:
        types = [one.rec_type for one in ArchiveIterator(file, check_digests="raise")]
    assert types == ["warcinfo", *["response"] * 5]
    assert [str(one.outcome) for one in index(path, PagesSettings())] == ["kept"] * 5


def test_a_committed_record_is_never_fetched_again(tmp_path):
    with archive_web({FILE: CONTENT, "f": CONTENT}) as web:
        first, _ = fetched(web, tmp_path, MATCHES[:3], segment_links=2)
        web.asked.clear()
        second, _ = fetched(web, tmp_path, MATCHES, segment_links=2)
        assert [(asked[1], asked[2] + 1) for asked in web.asked] == [(PLACES[3][0], len(CONTENT))]
        assert {doc: second[doc] for doc in first} == first
        web.asked.clear()
        moved = [{**one, "warc_filename": "f"} for one in MATCHES]
        assert fetched(web, tmp_path, moved)[0] == second
        assert web.asked == []


def test_killed_in_a_segment_the_next_run_fetches_that_segment_only(tmp_path, monkeypatch):
    whole = archive.schemas.write_parquet
    written = []

    def dies(*arguments):
        written.append(1)
        if len(written) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    with archive_web({FILE: CONTENT}) as web:
        monkeypatch.setattr(archive.schemas, "write_parquet", dies)
        with pytest.raises(KeyboardInterrupt):
            fetched(web, tmp_path, MATCHES, segment_links=2)
        monkeypatch.undo()
        web.asked.clear()
        ends, _ = fetched(web, tmp_path, MATCHES, segment_links=2)
    assert web.asked[0][1] == PLACES[2][0]
    assert {row["outcome"] for row in ends.values()} == {"kept"}
    assert len(ends) == 5


OTHER = record("http://other.test/")
LONG = record("http://a.test/0", body=bytes(range(256)) * 900)
BAD = {
    "another page's record": (OTHER, len(OTHER), "the record of another page: http://other.test/"),
    "half a record": (CONTENT, PLACES[0][1] - 9, "the file ends inside the record"),
    "two records": (CONTENT, PLACES[0][1] + PLACES[1][1], "the record is"),
    "rubbish": (b"rubbish" * 99, 99, "damaged"),
    "gzip of something else": (gzip.compress(b"hello"), len(gzip.compress(b"hello")), "not a WARC record"),
    "a flipped byte": (CONTENT[:150] + b"\x00" + CONTENT[151:], PLACES[0][1], "damaged"),
    "beyond the end": (CONTENT, len(CONTENT) + 9, "other bytes"),
    "no length": (CONTENT, 0, "0 bytes"),
    "negative length": (CONTENT, -5, "-5 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_bytes_are_a_bad_record_with_its_place_and_are_not_asked_for_twice(tmp_path, name):
    content, length, said = BAD[name]
    with archive_web({FILE: content}) as web:
        ends, [note] = fetched(web, tmp_path, [match(URLS[0], 0, length)])
        [row] = ends.values()
        assert (row["outcome"], row["warc"], row["offset"]) == ("bad_record", f"http://archive.test/{FILE}", 0)
        assert note.startswith(f"{PLACE} 0: ")
        assert said in note
        asked = len(web.asked)
        assert fetched(web, tmp_path, [match(URLS[0], 0, length)])[0] == ends
        if length > 0:
            assert len(web.asked) == asked


def test_a_bad_record_is_asked_for_again_when_the_index_names_another_place(tmp_path):
    with archive_web({FILE: OTHER, "better": CONTENT}) as web:
        [row] = fetched(web, tmp_path, [match(URLS[0], 0, len(OTHER))])[0].values()
        assert row["outcome"] == "bad_record"
        for _ in range(2):
            [row] = fetched(web, tmp_path, [match(URLS[0], *PLACES[0], file="better")])[0].values()
            assert (row["outcome"], len(web.asked)) == ("kept", 2)


def test_too_large_a_record_is_not_asked_for_and_too_large_a_page_says_so(tmp_path):
    with archive_web({FILE: LONG}) as web:
        [row] = fetched(web, tmp_path, [match(URLS[0], 0, 10**9)], limit_bytes=1_000)[0].values()
        assert (row["outcome"], web.asked) == ("too_large", [])
        [row] = fetched(web, tmp_path / "2", [match(URLS[0], 0, len(LONG))], limit_bytes=100_000)[0].values()
        assert (row["outcome"], len(web.asked)) == ("too_large", 1)


def test_what_may_pass_is_not_committed(tmp_path):
    with archive_web({FILE: CONTENT}) as web:
        busy = {PLACES[0][0], PLACES[2][0]}
        web.faults = lambda path, first, last, count: (503, {}, b"SlowDown") if first in busy else None
        some = [MATCHES[0], {**MATCHES[3], "warc_filename": "missing"}]
        ends, notes = fetched(web, tmp_path, some)
        assert [ends[one["doc_id"]]["outcome"] for one in some] == ["bad_record", "bad_record"]
        assert sorted(note.rpartition(": ")[2] for note in notes) == ["status 404", "status 503"]
        web.faults = lambda *_: None
        web.asked.clear()
        ends, notes = fetched(web, tmp_path, some)
        assert [ends[one["doc_id"]]["outcome"] for one in some] == ["kept", "bad_record"]
        assert [asked[0] for asked in web.asked] == [FILE]


def test_an_archive_out_of_reach_stops_the_build_and_commits_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "OUTAGE", 5)
    with archive_web({FILE: CONTENT}) as web:
        web.faults = lambda *_: (503, {}, b"SlowDown")
        with pytest.raises(InputError, match=r"none of 5 records could be read .*status 503.*goes on where it was"):
            fetched(web, tmp_path, MATCHES)
        assert list((tmp_path / archive.FOLDER).iterdir()) == []
        web.faults = lambda *_: None
        ends, _ = fetched(web, tmp_path, MATCHES)
    assert {row["outcome"] for row in ends.values()} == {"kept"}


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / archive.FOLDER).mkdir()
    (tmp_path / archive.FOLDER / f"{SHARD}.00000.parquet").write_bytes(b"half")
    with archive_web({}) as web, pytest.raises(IntegrityError, match=r"00000\.parquet: cannot be read .*delete it"):
        fetched(web, tmp_path, MATCHES)


@pytest.mark.skipif(not DATA.exists(), reason="../shared/data/warc is not there")
def test_a_real_record_of_common_crawl_is_fetched_and_read(tmp_path):
    content = DATA.read_bytes()
    [real] = index(DATA, PagesSettings())
    with archive_web({FILE: content}) as web:
        [row] = fetched(web, tmp_path, [match(real.url, real.offset, real.length)])[0].values()
    assert (row["outcome"], row["final_url"], row["sha256"]) == ("kept", real.url, real.sha256)
    response = read_response(tmp_path / row["warc"], row["offset"], row["length"], 10_000_000)
    assert (b"Escopete" in response.body, response.sha256) == (True, real.sha256)
    assert web.asked == [(FILE, real.offset, real.offset + real.length - 1)]
