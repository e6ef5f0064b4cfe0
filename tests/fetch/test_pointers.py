"""Pointers into WARC files that exist: one a link, whatever redirects and revisits lie between."""

import gzip
import io
from pathlib import Path

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.config import PagesSettings
from pipeline.fetch import pointers
from pipeline.shards.outcomes import InputError
from pipeline.shards.runner import PlainRun
from tests.fetch.warcs import SHARDS, brief, look

DATA = Path(__file__).resolve().parents[2] / "../shared/data/warc"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data/warc is not there")


def page(url, body=b""):
    return url, "200 OK", [("Content-Type", "text/html")], body or b"<p>" + url.encode()


def moved(url, location, status="301 Moved"):
    return url, status, [("Location", location)], b""


def write(path, *captures):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for url, status, headers, body in captures:
            head = StatusAndHeaders(status, headers, protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=head))


def test_damage_is_noted_with_its_place_also_where_no_link_leads(tmp_path):
    write(tmp_path / "1.warc.gz", page("http://a.test/"))
    good = (tmp_path / "1.warc.gz").read_bytes()
    (tmp_path / "1.warc.gz").write_bytes(good + good[:-20])
    rows, notes = look(tmp_path, "http://a.test/")
    assert brief(rows["http://a.test/"]) == ("kept", "http://a.test/")
    assert [note.partition(": ")[0] for note in notes] == [f"{tmp_path}/1.warc.gz at offset {len(good)}"]


def test_many_damaged_places_of_one_file_are_counted(tmp_path):
    bad = gzip.compress(b"WARC/1.0\r\nWARC-Type: response\r\n\r\n")
    write(tmp_path / "1.warc.gz", page("http://a.test/"))
    good = (tmp_path / "1.warc.gz").read_bytes()
    (tmp_path / "1.warc.gz").write_bytes((good + bad) * 25)
    _, notes = look(tmp_path)
    assert len(notes) == pointers.NOTES + 1
    assert notes[-1].endswith(": 5 more damaged places")


def test_a_changed_file_is_read_again_and_no_other_work_is_done(tmp_path):
    class NoRun(PlainRun):
        def exchange(self, scatter, sources, gather, targets):
            assert not targets

    write(tmp_path / "1.warc.gz", page("http://a.test/"))
    rows, _ = look(tmp_path, "http://a.test/")
    used = PagesSettings(warc=("*.warc.gz",))
    pointers.collect(used, tmp_path, NoRun(), SHARDS, {})
    write(tmp_path / "1.warc.gz", moved("http://a.test/", "/b"), page("http://a.test/b"))
    assert brief(look(tmp_path, "http://a.test/")[0]["http://a.test/"]) == ("kept", "http://a.test/b")
    assert brief(rows["http://a.test/"]) == ("kept", "http://a.test/")


@pytest.mark.parametrize(("name", "said"), [("x.warc.gz", "not a WARC, WACZ or ARC file"), (None, "matches no file")])
def test_a_file_that_is_none_stops_with_its_name(tmp_path, name, said):
    if name:
        (tmp_path / name).write_bytes(b"hello")
    with pytest.raises(InputError, match=said) as failure:
        look(tmp_path)
    assert "warc.gz" in str(failure.value)
