"""Heads of records, as their writers spell them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fetch.fields import bare, head_of, requested

BLOCK = b"HTTP/1.1 200 OK\r\n\r\nx"


def warc(*lines, end="\r\n"):
    return end.join([*lines, "", ""]).encode("utf-8", "surrogateescape") + BLOCK


@pytest.mark.parametrize("spelling", [str, str.lower, str.upper, str.swapcase, lambda name: name + " \t"])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("version", ["WARC/1.1", "WARC/1.0", "WARC/0.18", "WARC/1.0 "])
def test_field_names_are_read_in_any_case_and_line_end(spelling, end, version):
    """WARC 1.1, section 4."""
    lines = [f"{spelling(name)}: {value}" for name, value in (("WARC-Type", "response"), ("Content-Length", "20"))]
    head = head_of(warc(version, *lines, end=end))
    assert (head.fields, head.fault) == ({"warc-type": "response", "content-length": "20"}, "")
    assert head.ends - head.begins == 20


def test_a_value_goes_on_over_lines_and_blanks_around_it_do_not_count():
    lines = ["WARC/1.1", "WARC-Target-URI:", "  http://a.test/", "WARC-Filename:a", "\tb   c  ", "Content-Length:  0  "]
    assert head_of(warc(*lines)).fields == {
        "warc-target-uri": "http://a.test/", "warc-filename": "a b   c", "content-length": "0",
    }  # fmt: skip


def test_of_a_repeated_field_the_first_counts_and_all_records_of_an_exchange():
    ids = ["WARC-Concurrent-To: <urn:a>", "WARC-Concurrent-To: <urn:b>"]
    fields = head_of(warc("WARC/1.1", "WARC-Date: 1", "WARC-Date: 2", *ids, "Content-Length: 0")).fields
    assert (fields["warc-date"], fields["warc-concurrent-to"]) == ("1", "<urn:a> <urn:b>")


@pytest.mark.parametrize(
    "lines",
    [
        ["WARC/1.0", "WARC-Type: response"],
        ["WARC/1.0", "Content-Length: 1", "Content-Length: 2"],
        ["WARC/1.0", "Content-Length: 1", "WARC/1.0"],
        ["WARC/1.0", "Content-Length: -1"],
        ["WARC/1.0", "Content-Length: x"],
        ["WARC/x", "Content-Length: 1"],
    ],
)
def test_a_head_without_one_length_is_at_fault(lines):
    assert "one Content-Length" in head_of(warc(*lines)).fault


def test_an_address_in_other_bytes_than_utf8_is_the_one_that_was_requested():
    assert requested("http://a.test/caf\udce9/é") == "http://a.test/caf%E9/é"
    assert [bare(one) for one in ("<http://a.test/>", " http://a.test/ ", None)] == ["http://a.test/"] * 2 + [""]


@pytest.mark.parametrize(
    ("line", "url", "date", "length"),
    [
        ("http://a.test/ 192.0.2.1 20070513010203 text/html 20", "http://a.test/", "2007-05-13T01:02:03Z", 20),
        ("http://a.test/a b 192.0.2.1 20070513010203 text/html; charset=x 7", "http://a.test/a b",
         "2007-05-13T01:02:03Z", 7),
        ("https://a.test/ 2001:db8::1 199609 no-type 0", "https://a.test/", "", 0),
        ("http://a.test/ 0.0.0.0 19961231 text/html 200 sum http://a.test/b 77 x.arc.gz 5", "http://a.test/",
         "1996-12-31T00:00:00Z", 5),
        ("dns:a.test 192.0.2.1 20070513010203 text/dns 9", "dns:a.test", "2007-05-13T01:02:03Z", 9),
    ],
)  # fmt: skip
def test_the_line_of_an_arc_record_is_read_as_fields(line, url, date, length):
    head = head_of(f"{line}\n".encode() + BLOCK)
    if not date:  # a date needs eight digits
        assert head.fault
        return
    assert (head.fields["warc-target-uri"], head.fields["warc-date"], head.ends - head.begins) == (url, date, length)
    assert head.fields["content-type"].startswith("application/http" if url.startswith("http") else "text/dns")


@given(st.binary(max_size=200), st.sampled_from([b"", b"WARC/1.0\r\n", b"http://a.test/ 192.0.2.1 2007"]))
def test_no_bytes_make_the_parser_raise(data, start):
    head = head_of(start + data)
    assert head.fault or 0 < head.begins <= head.ends
