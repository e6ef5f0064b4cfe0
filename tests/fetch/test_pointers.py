"""Pointers into WARC files that exist: one a link, whatever redirects and revisits lie between."""

import gzip
from pathlib import Path

import pytest

from pipeline.config import PagesSettings
from pipeline.fetch import pointers
from pipeline.shards.outcomes import InputError
from pipeline.shards.runner import PlainRun
from tests.fetch import warcs
from tests.fetch.warcs import SHARDS, brief, look
from tests.fetch.written import moved, page, write

DATA = Path(__file__).resolve().parents[2] / "../shared/data/warc"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data/warc is not there")


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
        def exchange(self, scatter, sources, gather, targets, heavy=False):
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


FORM = "http://a.test/form"
POSTED = warcs.record(warcs.answer(b"<p>thank you"), FORM, Record_ID="<urn:uuid:posted>")
GOT = warcs.record(warcs.answer(b"<p>the form"), FORM, date="2019-01-01T00:00:00Z", Record_ID="<urn:uuid:got>")


def asking(method, *answers, number="asking"):
    line = f"{method} /form HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()
    names = {"Concurrent_To": [f"<urn:uuid:{one}>" for one in answers]} if answers else {}
    return warcs.record(line, FORM, "request", Record_ID=f"<urn:uuid:{number}>", **names)


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "PROPFIND"])
def test_the_answer_to_another_method_than_get_is_no_page(tmp_path, method):
    """The request tells, in whichever direction the two records name each other, and in whatever order they lie."""
    request = asking(method, "other", "posted")
    naming = warcs.record(
        warcs.answer(b"<p>thank you"), FORM, Concurrent_To=["<urn:uuid:other>", "<urn:uuid:asking>"], Record_ID="<x>"
    )
    orders = [[request, POSTED], [POSTED, request], [asking(method), naming], [naming, GOT, asking(method)]]
    for n, records in enumerate(orders):
        warcs.write(tmp_path / str(n), *records)
        assert warcs.ends(tmp_path / str(n), FORM)[FORM] == (("kept", FORM) if GOT in records else None)
        warcs.write(tmp_path / str(n), *records, GOT, asking("GET", "got", number="1"))
        assert warcs.body_of(tmp_path / str(n), look(tmp_path / str(n), FORM)[0][FORM]) == b"<p>the form"


def test_a_request_in_another_file_tells_too(tmp_path):
    warcs.write(tmp_path, GOT, POSTED)
    assert warcs.body_of(tmp_path, look(tmp_path, FORM)[0][FORM]) == b"<p>thank you"
    warcs.write(tmp_path, asking("POST", "posted"), name="requests.warc.gz")
    assert warcs.body_of(tmp_path, look(tmp_path, FORM)[0][FORM]) == b"<p>the form"


def test_a_redirect_that_answers_a_form_leads_nowhere(tmp_path):
    moved = warcs.record(warcs.moved("/thanks", status="303 See Other"), FORM, Record_ID="<urn:uuid:posted>")
    thanks = warcs.record(warcs.answer(), "http://a.test/thanks")
    warcs.write(tmp_path, moved, asking("POST", "posted"), thanks)
    assert warcs.ends(tmp_path, FORM) == {FORM: None}


def test_requests_that_are_none_and_requests_to_get_tell_nothing(tmp_path):
    odd = [warcs.record(block, FORM, "request", Concurrent_To="<urn:uuid:posted>") for block in (b"", b"\x16\x03\x01 ")]
    warcs.write(tmp_path, asking("GET", "posted"), POSTED, *odd)
    assert warcs.ends(tmp_path, FORM) == {FORM: ("kept", FORM)}
