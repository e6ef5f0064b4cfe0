"""WARC files: what is written is read back, and damage is never silent.

Long because what is written is read back by the helpers beside it.
"""

import gzip
import hashlib
import io
import zlib
from collections import Counter
from pathlib import Path

import pytest
import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator as WarcioIterator

from pipeline.config import PagesSettings
from pipeline.fetch import heads
from pipeline.fetch.captures import index
from pipeline.fetch.heads import parse
from pipeline.fetch.readback import BadRecord, answer_of, read_response
from pipeline.fetch.records import Record
from pipeline.fetch.response import Fetched, Hop
from pipeline.fetch.warc import SegmentWriter, stored_head
from pipeline.shards.outcomes import InputError, Outcome

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not there")
SETTINGS = PagesSettings(contact="a@b.test", limit_bytes=100_000)
PAGE = b"<!doctype html><p>caf\xc3\xa9 " + bytes(range(128, 255)) * 20


def hop(url="http://a.test/", status=200, body=PAGE, cut="", **headers):
    named = {"content_type": "text/html", **headers}
    lines = "".join(f"{name.replace('_', '-').title()}: {value}\r\n" for name, value in named.items())
    return hop_of(f"HTTP/1.1 {status} OK\r\n{lines}\r\n".encode(), body, url, cut)


def hop_of(head, body=PAGE, url="http://a.test/", cut=""):
    asked = (("User-Agent", "webtext/0.0 (+a@b.test)"),)
    return Hop.of(url, "2024-05-06T07:08:09.123456Z", asked, parse(head)[0], body, cut)


def fetched(*hops):
    return Fetched(hops[0].url if hops else "http://a.test/", "", hops, Outcome.KEPT, 200, "text/html", (), "")


def segment(*many):
    """A segment of these fetches in bytes, and the pointers into it."""
    file = io.BytesIO()
    writer = SegmentWriter(file, "s.warc.gz", SETTINGS, "webtext/0.0")
    pointers = [writer.write(one.hops) for one in many]
    return file.getvalue(), pointers


def written(tmp_path, content, name="s.warc.gz"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def record(http, kind="response", uri="http://a.test/", length=None):
    """One plain WARC 1.0 record."""
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {uri}\r\nWARC-Date: 2020-01-01T00:00:00Z\r\n"
    head += "WARC-Record-ID: <urn:uuid:1>\r\nContent-Type: application/http; msgtype=response\r\n"
    return f"{head}Content-Length: {len(http) if length is None else length}\r\n\r\n".encode() + http + b"\r\n\r\n"


def http(body=PAGE, status="200 OK", headers="Content-Type: text/html\r\n"):
    return f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + body


CHAIN = fetched(
    hop("http://a.test/", 302, b"", location="/b"),
    hop("http://a.test/b", 200, gzip.compress(PAGE), content_encoding="gzip", transfer_encoding="chunked"),
)


def test_a_written_response_is_read_back_decoded(tmp_path):
    content, [pointer, nothing] = segment(CHAIN, fetched())
    path = written(tmp_path, content)
    response = read_response(path, pointer.offset, pointer.length, 100_000)
    assert response.status == 200
    assert response.body == PAGE
    assert response.content_type == "text/html"
    assert ("X-Crawler-Transfer-Encoding", "chunked") in response.headers
    assert pointer.file == "s.warc.gz"
    assert pointer.sha256 == response.sha256 == hashlib.sha256(CHAIN.hops[1].body).hexdigest()
    assert nothing is None


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Za-z-]{1,9}", fullmatch=True), st.from_regex(r"[!-~\xa1-\xff]{0,9}", fullmatch=True)
        )
    ),
    st.from_regex(r"([!-~\xa1-\xff]{1,9})?", fullmatch=True),
    st.sampled_from(["", "gzip", "chunked", "gzip, chunked"]),
)
def test_a_response_told_by_its_parts_is_stored_as_one_told_by_its_bytes(headers, reason, codings):
    told = (*headers, *([("Transfer-Encoding", codings)] if codings else []), ("Content-Length", "4"))
    parts = Hop("http://a.test/", "2024-05-06T07:08:09.123456Z", (), "1.1", 404, reason, told, b"body")
    head, begins = parse(heads.written(parts.head))
    assert begins == len(head.raw)
    assert (head.status, head.reason, head.headers, head.ended) == (404, reason, told, True)
    assert stored_head(parts.head) == stored_head(Hop.of("", "", (), head, b"").head)


def test_a_pointer_is_one_whole_gzip_member():
    content, [pointer] = segment(CHAIN)
    member = gzip.decompress(content[pointer.offset : pointer.offset + pointer.length])
    assert member.startswith(b"WARC/1.1\r\n")
    assert member.endswith(CHAIN.hops[1].body + b"\r\n\r\n")


def test_warcio_and_fastwarc_read_what_was_written_and_find_its_digests_right():
    content, _ = segment(CHAIN, fetched(hop(body=b"short", cut="length")))
    types = ["warcinfo", "response", "request", "response", "request", "response", "request"]
    records = WarcioIterator(io.BytesIO(content), check_digests="raise")
    read = [(one.rec_type, one.rec_headers, one.http_headers, one.content_stream().read()) for one in records]
    assert [kind for kind, *_ in read] == types
    assert b"robots: RFC 9309; Crawl-delay up to 60 s\r\n" in read[0][3]
    assert b"software: webtext/0.0\r\n" in read[0][3]
    assert read[3][3] == PAGE
    assert read[3][1]["WARC-Date"] == "2024-05-06T07:08:09.123456Z"
    assert read[3][1]["WARC-Truncated"] is None
    assert read[5][1]["WARC-Truncated"] == "length"
    assert read[4][1]["WARC-Concurrent-To"] == read[3][1]["WARC-Record-ID"]
    assert (read[4][2].protocol, read[4][2].statusline) == ("GET", "/b HTTP/1.1")

    checked = [
        (str(one.record_type), one.verify_block_digest(), one.record_type & WarcRecordType.response)
        for one in ArchiveIterator(io.BytesIO(content), parse_http=False)
    ]
    assert [kind for kind, *_ in checked] == types
    assert all(good for _, good, response in checked if response)


def test_the_same_payload_again_is_a_revisit_of_the_first_and_its_pointer_leads_there(tmp_path):
    again = [
        hop("http://a.test/1"),
        hop("http://a.test/2"),
        hop("http://a.test/3", content_type="text/plain"),
        hop("http://a.test/4", 404),
        hop("http://a.test/5", body=b""),
        hop("http://a.test/6", body=b""),
        hop("http://a.test/7", cut="length"),
    ]
    content, pointers = segment(*map(fetched, again))
    assert [pointer == pointers[0] for pointer in pointers] == [True, True, *[False] * 5]
    assert len(set(pointers)) == 6
    for pointer, one in zip(pointers, again, strict=True):
        response = read_response(written(tmp_path, content), pointer.offset, pointer.length, 100_000)
        assert (response.body, response.status, response.content_type) == (
            one.body,
            one.status,
            dict(one.headers)["Content-Type"],
        )

    records = [
        (one.rec_type, one.rec_headers, one.http_headers, one.content_stream().read())
        for one in WarcioIterator(io.BytesIO(content), check_digests="raise")
    ]
    (revisit,) = [one for one in records if one[0] == "revisit"]
    first = records[1][1]
    assert [kind for kind, *_ in records[:5]] == ["warcinfo", "response", "request", "revisit", "request"]
    assert revisit[1]["WARC-Profile"] == "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
    assert revisit[1]["WARC-Target-URI"] == "http://a.test/2"
    assert revisit[1]["WARC-Refers-To"] == first["WARC-Record-ID"]
    assert revisit[1]["WARC-Refers-To-Target-URI"] == "http://a.test/1"
    assert revisit[1]["WARC-Refers-To-Date"] == first["WARC-Date"]
    assert revisit[1]["WARC-Payload-Digest"] == first["WARC-Payload-Digest"]
    assert (revisit[2].get_statuscode(), revisit[3]) == ("200", b"")
    assert records[4][1]["WARC-Concurrent-To"] == revisit[1]["WARC-Record-ID"]
    assert {headers["WARC-Warcinfo-ID"] for _, headers, *_ in records[1:]} == {records[0][1]["WARC-Record-ID"]}


def test_what_was_crawled_can_be_replayed_by_address(tmp_path):
    """As a replay tool does it: an index by address over all records, revisits resolved by what they refer to."""
    pages = {f"http://a.test/{n}": b"<p>page %d" % (n % 3) for n in range(7)}
    content, _ = segment(*(fetched(hop(url, body=body)) for url, body in pages.items()))
    found, waiting = {}, {}
    for one in WarcioIterator(io.BytesIO(content)):
        if one.rec_type == "response":
            found[one.rec_headers["WARC-Target-URI"]] = one.content_stream().read()
        elif one.rec_type == "revisit":
            waiting[one.rec_headers["WARC-Target-URI"]] = one.rec_headers["WARC-Refers-To-Target-URI"]
    assert len(found) == 3
    assert found | {url: found[original] for url, original in waiting.items()} == pages
    kinds = [
        (one.record_type, one.verify_block_digest()) for one in ArchiveIterator(io.BytesIO(content), parse_http=False)
    ]
    assert all(good for kind, good in kinds if kind in (WarcRecordType.response, WarcRecordType.revisit))
    assert [kind for kind, _ in kinds].count(WarcRecordType.revisit) == 4


def test_the_index_of_a_segment_names_every_response(tmp_path):
    pages = [hop(f"http://a.test/{n}", body=b"<p>%d" % n) for n in range(3)]
    others = [
        hop("http://a.test/gone", 404),
        hop("http://a.test/cat", content_type="image/png"),
        hop("http://a.test/empty", body=b""),
        hop("http://a.test/mine", x_robots_tag="noai"),
        hop("http://a.test/bomb", body=gzip.compress(bytes(100_001)), content_encoding="gzip"),
        hop("http://a.test/long", body=bytes(100_001)),
        hop("http://a.test/rubbish", content_encoding="gzip", body=gzip.compress(b"words")[:-1]),
    ]
    content, pointers = segment(CHAIN, *(fetched(one) for one in pages + others))
    rows = list(index(written(tmp_path, content), SETTINGS))
    assert [(row.url, str(row.outcome)) for row in rows] == [
        ("http://a.test/", "bad_redirect"),
        ("http://a.test/b", "kept"),
        ("http://a.test/0", "kept"),
        ("http://a.test/1", "kept"),
        ("http://a.test/2", "kept"),
        ("http://a.test/gone", "not_found"),
        ("http://a.test/cat", "not_html"),
        ("http://a.test/empty", "empty_body"),
        ("http://a.test/mine", "opted_out"),
        ("http://a.test/bomb", "too_large"),
        ("http://a.test/long", "too_large"),
        ("http://a.test/rubbish", "bad_encoding"),
    ]
    assert [(row.offset, row.length) for row in rows[1:]] == [(one.offset, one.length) for one in pointers]
    assert [row.sha256 for row in rows[1:10]] == [one.sha256 for one in pointers[:9]]
    assert {row.date for row in rows} == {"2024-05-06T07:08:09.123456Z"}
    assert rows[8].opt_outs == ("header:noai",)


def plain_and_packed(records):
    return {
        "s.warc": b"".join(records),
        "s.warc.gz": b"".join(gzip.compress(one, mtime=0) for one in records),
        "s.warc.zst": b"".join(zstandard.compress(one) for one in records),
    }


RECORDS = [
    record(b"software: x\r\n", "warcinfo"),
    record(http(b"<p>one"), uri="http://a.test/1"),
    record(b"GET / HTTP/1.1\r\n\r\n", "request"),
    record(http(b"<p>two"), uri="<http://a.test/2>"),
    record(b"20200101 1.2.3.4", uri="dns:a.test"),
    record(http(b"<p>three"), uri="http://a.test/3"),
]


@pytest.mark.parametrize("name", ["s.warc", "s.warc.gz", "s.warc.zst"])
def test_gzip_zstd_and_plain_files_have_the_same_index(tmp_path, name):
    path = written(tmp_path, plain_and_packed(RECORDS)[name], name)
    rows = list(index(path, SETTINGS))
    assert [(row.url, row.outcome) for row in rows] == [(f"http://a.test/{n}", Outcome.KEPT) for n in (1, 2, 3)]
    for row, body in zip(rows, (b"<p>one", b"<p>two", b"<p>three"), strict=True):
        for length in (row.length, None):
            assert read_response(path, row.offset, length, 100).body == body
        assert row.sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("name", ["s.warc", "s.warc.gz", "s.warc.zst"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_file_cut_off_anywhere_says_so(tmp_path_factory, name, data):
    ends = [len(plain_and_packed(RECORDS[:n])[name]) for n in range(len(RECORDS) + 1)]
    cut = data.draw(st.integers(ends[1], ends[-1]))
    whole = max(n for n, end in enumerate(ends) if end <= cut)
    assume(name != "s.warc" or cut == ends[whole] or cut < ends[whole + 1] - 4)  # in the empty lines nothing is lost
    path = written(tmp_path_factory.mktemp("cut"), plain_and_packed(RECORDS)[name][:cut], name)
    rows = list(index(path, SETTINGS))
    assert [row.outcome for row in rows].count(Outcome.KEPT) == [0, 0, 1, 1, 2, 2, 3][whole]
    bad = [row for row in rows if row.outcome is Outcome.BAD_RECORD]
    assert [row.offset for row in bad] == ([] if cut == ends[whole] else [ends[whole]])
    assert all(f"offset {ends[whole]}" in row.detail for row in bad)


@pytest.mark.failure(
    "a byte of a WARC record is flipped", "outcome `bad_record`, or no difference", "fetch the file again"
)
@given(st.sampled_from(["s.warc", "s.warc.gz", "s.warc.zst"]), st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_a_flipped_byte_is_never_more_than_a_bad_record(tmp_path_factory, name, place, mask):
    content = bytearray(plain_and_packed(RECORDS)[name])
    content[place % len(content)] ^= mask
    path = written(tmp_path_factory.mktemp("flip"), bytes(content), name)
    try:
        rows = list(index(path, SETTINGS))
    except InputError:
        assert place % len(content) < 200  # the first record itself: no WARC file any more
        return
    bad = [row for row in rows if row.outcome is Outcome.BAD_RECORD]
    assert len(bad) <= 1
    assert len(rows) - len(bad) >= 1
    if name == "s.warc.gz":  # the format has checksums: gzip's, of the content; its header bytes have none
        assert len(rows) >= 2


def test_after_damage_the_next_record_is_found(tmp_path):
    members = [gzip.compress(one) for one in RECORDS]
    members[1] = members[1][:40] + b"\xff" * 20 + members[1][60:]
    rows = list(index(written(tmp_path, b"".join(members)), SETTINGS))
    assert [(row.url, str(row.outcome)) for row in rows[1:]] == [
        ("http://a.test/2", "kept"),
        ("http://a.test/3", "kept"),
    ]
    assert (rows[0].outcome, rows[0].offset) == (Outcome.BAD_RECORD, len(members[0]))


DAMAGED = {
    "content length too short": (record(http(), length=50) + RECORDS[1], "Content-Length"),
    "content length too long": (gzip.compress(record(http(), length=9_999_999)), "ends early"),
    "no content length": (b"WARC/1.0\r\nWARC-Type: response\r\n\r\n", "Content-Length"),
    "an endless header": (b"WARC/1.0\r\n" + b"X: y\r\n" * 50_000, "Content-Length"),
    "not even a first record": (gzip.compress(RECORDS[0])[:12], "the file ends inside the record"),
    "no status line": (record(b"hello", uri="http://a.test/x"), "status line"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_record_that_makes_no_sense_is_a_bad_record(tmp_path, name):
    content, said = DAMAGED[name]
    rows = list(index(written(tmp_path, content), SETTINGS))
    assert rows[0].outcome is Outcome.BAD_RECORD
    assert said in rows[0].detail
    assert "at offset 0" in rows[0].detail
    with pytest.raises(BadRecord):
        read_response(written(tmp_path, content), 0, None, 1_000)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", gzip.compress(b"hello", mtime=0), zstandard.compress(b"hello")],
    ids=["empty", "text", "gzip", "zstd"],
)
def test_what_is_no_warc_file_is_an_input_error(tmp_path, content):
    with pytest.raises(InputError, match="not a WARC, WACZ or ARC file"):
        list(index(written(tmp_path, content), SETTINGS)) or pytest.fail("no row and no error")


@pytest.mark.parametrize("name", ["missing.warc.gz", "."])
def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path, name):
    with pytest.raises(InputError, match="cannot be read"):
        list(index(tmp_path / name, SETTINGS))
    with pytest.raises(InputError, match="cannot be read"):
        read_response(tmp_path / name, 0, None, 100)


def test_a_pointer_that_misses_is_a_bad_record(tmp_path):
    content, [pointer] = segment(CHAIN)
    path = written(tmp_path, content)
    for offset, length in ((pointer.offset + 1, None), (pointer.offset, pointer.length - 1), (0, None), (10**9, None)):
        with pytest.raises(BadRecord) as raised:
            read_response(path, offset, length, 100_000)
        assert raised.value.outcome is Outcome.BAD_RECORD


@pytest.mark.parametrize("body", [gzip.compress(bytes(2_000)), bytes(2_000)], ids=["packed", "plain"])
def test_reading_stops_at_the_limit(tmp_path, body):
    encoding = "gzip" if body[:2] == b"\x1f\x8b" else "identity"
    content, [pointer] = segment(fetched(hop(body=body, content_encoding=encoding)))
    with pytest.raises(BadRecord) as raised:
        read_response(written(tmp_path, content), pointer.offset, pointer.length, 1_999)
    assert raised.value.outcome is Outcome.TOO_LARGE
    assert len(read_response(written(tmp_path, content), pointer.offset, pointer.length, 2_000).body) == 2_000


@pytest.mark.failure("a WARC record unpacks without end", "outcome `too_large`", "nothing")
def test_a_record_that_unpacks_without_end_is_too_large(tmp_path):
    rows = list(index(written(tmp_path, gzip.compress(record(http(bytes(20_000_000))))), SETTINGS))
    assert [str(row.outcome) for row in rows] == ["too_large"]


CHUNKED = "Transfer-Encoding: chunked\r\n"


def of_body(body, headers):
    fields = {"warc-type": "response", "warc-target-uri": "http://a.test/"}
    block = http(body, headers=headers)
    return Record(0, len(block), fields, block, len(block))


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\n\r\n", CHUNKED, b"wikipedia"),
        (b"00A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", CHUNKED, b"0123456789"),
        (b"<p>the chunks are gone", CHUNKED, b"<p>the chunks are gone"),
        (b"4\r\nwiki\r\n0\r\n\r\n", "", b"4\r\nwiki\r\n0\r\n\r\n"),
        (b"", CHUNKED, b""),
    ],
)
def test_chunks_are_joined_where_there_are_any(body, headers, expected):
    assert answer_of(of_body(body, headers), 1_000).body == expected


@pytest.mark.parametrize("body", [b"4\r\nwi", b"4\r\nwiki\r\nzz\r\n", b"4\r\nwiki\r\n", b"ffffffffffffffff\r\nwiki"])
def test_a_page_whose_chunks_break_off_is_incomplete(tmp_path, body):
    content = gzip.compress(record(http(body, headers="Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n")))
    [row] = index(written(tmp_path, content), SETTINGS)
    assert row.outcome is Outcome.INCOMPLETE


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_in_a_response_record_give_one_row(tmp_path_factory, body):
    path = written(tmp_path_factory.mktemp("any"), zlib.compress(record(body), wbits=31))
    assert len(list(index(path, SETTINGS))) == 1


@needs_data
def test_the_miniweb_is_indexed_whole_and_every_page_is_read_back():
    path = DATA / "miniweb/pages.warc.gz"
    rows = list(index(path, PagesSettings()))
    assert Counter(str(row.outcome) for row in rows) == {"kept": 698, "opted_out": 3}
    for row in rows[::50]:
        response = read_response(path, row.offset, row.length, 10_000_000)
        assert (response.status, response.content_type, response.sha256) == (200, row.content_type, row.sha256)


@needs_data
@pytest.mark.parametrize(
    ("name", "outcomes"),
    [
        (
            "good/aut-example.warc.gz",
            {"kept": 129, "not_html": 84, "bad_redirect": 7, "not_found": 40, "empty_body": 1},
        ),
        ("good/clueweb-quirk.warc.gz", {"kept": 29}),
        ("good/iana.warc.gz", {"kept": 16, "not_html": 151, "bad_redirect": 4}),
        ("good/warcfile.warc.gz", {"kept": 16}),
        ("good/whirlwind.warc.gz", {"kept": 1}),
        ("good/wikipedia-sopa-main-page.warc.gz", {"kept": 3, "not_html": 67}),
        ("broken/example-bad-non-chunked.warc.gz", {"kept": 1, "bad_record": 1}),
        ("broken/example-bad.warc.gz.bad", {"kept": 1, "not_in_warc": 1, "bad_redirect": 1}),
        ("broken/example-trunc.warc", {"bad_record": 1}),
        ("broken/example-wget-bad-target-uri.warc.gz", {"kept": 1}),
        ("broken/example-wrong-chunks.warc.gz", {"bad_record": 1}),
    ],
)
def test_real_warc_files_end_as_they_should(name, outcomes):
    assert Counter(str(row.outcome) for row in index(DATA / "warc" / name, PagesSettings())) == outcomes
