"""Records as their writers end and spell them: every page is found and read back, and wrong lengths are named."""

import gzip
import hashlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import PagesSettings
from pipeline.fetch import records as records_module
from pipeline.fetch.captures import addresses, index
from pipeline.fetch.kinds import NotAnArchive
from pipeline.fetch.readback import BadRecord, read_response
from pipeline.fetch.records import cut
from pipeline.shards.outcomes import Outcome
from tests.fetch.archives import FORMS, PAGE, arc_record, filedesc, http, packed, record, spelled, wacz

SETTINGS = PagesSettings(limit_bytes=100_000)
ARC_FORMS = {
    "s.arc": b"".join,
    "s.arc.gz": packed,
    "arc.wacz": lambda records: wacz({"1.arc.gz": packed(records[:1]), "2.arc": b"".join([filedesc(), *records[1:]])}),
}


def found(folder, content, name="s.warc.gz"):
    path = folder / name
    path.write_bytes(content)
    return path, list(index(path, SETTINGS))


def pages(number):
    """So many pages, no two the same."""
    return {f"http://a.test/{n}": PAGE + b"%d" % n for n in range(number)}


# --- every page is found, whatever the spelling and the form


NAMES = st.sampled_from([bytes, bytes.lower, bytes.upper, bytes.swapcase])
COLONS = st.sampled_from([b": ", b":", b" : ", b":\t", b":\r\n  ", b":\r\n\t"])
ENDS = st.sampled_from([b"", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\n" * 3, b"\r\n" * 5, b"\n\r\n\n"])
CHUNKS = b"\r\n".join([b"5", PAGE[:5], b"%x;x=y" % len(PAGE[5:]), PAGE[5:], b"0", b"", b""])
RESPONSES = st.sampled_from(
    [
        http(),
        http(length=False),
        http().replace(b"\r\n", b"\n", 5),
        b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n" + http(),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + http(),
        http(gzip.compress(PAGE, mtime=0), lines=["Content-Type: text/html", "Content-Encoding: gzip"]),
        http(CHUNKS, lines=["Content-Type: text/html", "Transfer-Encoding: chunked"], length=False),
        http(lines=["Content-Type: text/html", "X: " + "y" * 60_000]),
        http(lines=["Content-Type: text/html", *(f"Link: <{n}>" for n in range(3_000))]),
        None,  # a resource
    ]
)
OTHERS = st.sampled_from(
    [
        record(b"software: x\r\n", "", "warcinfo"),
        record(b"GET / HTTP/1.1\r\n\r\n", "http://a.test/no", "request"),
        record(b"a: b\r\n", "http://a.test/no", "metadata"),
        record(b"20140506 192.0.2.1\r\n", "dns:a.test"),
        record(b"text of a page", "http://a.test/no", "conversion", content_type="text/plain"),
        record(b"{}", "urn:pageinfo:http://a.test/no", "resource", content_type="application/json"),
        record(b"?", "http://a.test/no", "x-screenshot"),
    ]
)


@st.composite
def written(draw, url):
    """A record of a page in some spelling."""
    block = draw(RESPONSES)
    version = draw(st.sampled_from(["WARC/0.17", "WARC/0.18", "WARC/1.0", "WARC/1.1"]))
    named = f"<{url}>" if draw(st.booleans()) else url
    more = {"end": draw(ENDS), "version": version, "digest": draw(st.booleans())}
    if block is None:
        whole = record(PAGE, named, draw(st.sampled_from(["resource", "Resource"])), content_type="text/html", **more)
    else:
        whole = record(block, named, draw(st.sampled_from(["response", "Response"])), **more)
    name, colon = draw(NAMES), draw(COLONS)
    return spelled(whole, lambda field, value: name(field) + colon + value)


@pytest.mark.parametrize("form", sorted(FORMS))
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_page_is_found_and_read_back_whatever_its_writer_does(tmp_path_factory, form, data):
    urls = [f"http://a.test/{n}" for n in range(data.draw(st.integers(1, 5)))]
    records = [data.draw(OTHERS)]
    for url in urls:
        records += [data.draw(written(url)), *data.draw(st.lists(OTHERS, max_size=1))]
    path, captures = found(tmp_path_factory.mktemp("any"), FORMS[form](records), form)
    by_url = {one.url: one for one in captures if one.url != "http://a.test/no"}
    assert {url: (str(one.outcome), one.status) for url, one in by_url.items()} == dict.fromkeys(urls, ("kept", 200))
    assert Outcome.BAD_RECORD not in {one.outcome for one in captures}
    for one in by_url.values():
        for length in (one.length, None):
            response = read_response(path, one.offset, length, 100_000, one.sha256)
            assert (response.body, response.content_type, response.sha256) == (PAGE, "text/html", one.sha256)
    assert [url for url in addresses(path) if url != "http://a.test/no"] == list(by_url)


@pytest.mark.parametrize("form", sorted(ARC_FORMS))
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_every_page_of_an_arc_file_is_found_and_read_back(tmp_path_factory, form, data):
    version, held = data.draw(st.sampled_from([1, 2])), pages(data.draw(st.integers(1, 5)))
    records = [filedesc(version)]
    for url, body in held.items():
        end, media = data.draw(st.sampled_from([b"\n", b"", b"\r\n\n"])), data.draw(st.sampled_from(["text/html", "-"]))
        records.append(arc_record(http(body), url, version, media, end))
        records += data.draw(st.sampled_from([[], [arc_record(b"192.0.2.1", "dns:a.test", version)]]))
    path, captures = found(tmp_path_factory.mktemp("any"), ARC_FORMS[form](records), form)
    assert [(one.url, str(one.outcome), one.date) for one in captures] == [
        (url, "kept", "2007-05-13T01:02:03Z") for url in held
    ]
    for one in captures:
        assert read_response(path, one.offset, one.length, 100_000).body == held[one.url]
    assert list(addresses(path)) == list(held)


@pytest.mark.failure(
    "an ARC file is damaged", "a note names file and offset; whole records are read", "fetch the file again"
)
@pytest.mark.parametrize("form", ["s.arc", "s.arc.gz"])
@given(at=st.integers(0, 10**6), harm=st.binary(max_size=5), gone=st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_harm_to_one_record_of_an_arc_file_is_named_and_costs_no_other(tmp_path_factory, form, at, harm, gone):
    held = pages(4)
    members = [ARC_FORMS[form]([one]) for one in [filedesc(), *(arc_record(http(held[url]), url) for url in held)]]
    # in a plain file nothing covers a block, so that harm is done to the line before it, which tells where it ends
    place = at % (len(members[2]) - gone if form == "s.arc.gz" else len("http://a.test/1 192.0.2.1 2"))
    members[2] = members[2][:place] + harm + members[2][place + gone :]
    path, captures = found(tmp_path_factory.mktemp("harm"), b"".join(members), form)
    kept = [one.url for one in captures if one.outcome is Outcome.KEPT]
    if kept != list(held) and "http://a.test/1" not in kept:
        assert [url for url in kept if url in held] == ["http://a.test/0", "http://a.test/2", "http://a.test/3"]
    assert {"http://a.test/0", "http://a.test/2", "http://a.test/3"} <= set(kept)
    for one in captures:
        if one.outcome is Outcome.BAD_RECORD:
            assert f"{path} at offset {one.offset}: " in one.detail


# --- lengths


@pytest.mark.parametrize("by", [-30, -3, -1, 1, 2, 3, 5, 30])
@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n\r\n", b"\r\n" * 3])
def test_a_plain_record_whose_length_is_wrong_is_named_and_the_others_are_read(tmp_path, by, end):
    """A length that takes in no more than the empty lines after the record is no harm: the page gains line ends."""
    first, second, third = (record(http(body), url, end=end) for url, body in pages(3).items())
    length = int(second.rpartition(b"Content-Length: ")[0].rpartition(b"Content-Length: ")[2].split(b"\r")[0])
    wrong = second.replace(b"Content-Length: %d\r\n" % length, b"Content-Length: %d\r\n" % (length + by), 1)
    path, captures = found(tmp_path, first + wrong + third, "s.warc")
    ends = {one.url: one.outcome for one in captures if one.url}
    assert ends["http://a.test/0"] == ends["http://a.test/2"] == Outcome.KEPT
    if 0 < by <= len(end):
        assert [one.outcome for one in captures] == [Outcome.KEPT] * 3
        body = read_response(path, captures[1].offset, captures[1].length, 100_000).body
        assert body.rstrip(b"\r\n") == PAGE + b"1"
    else:
        assert Outcome.BAD_RECORD in {one.outcome for one in captures}
        assert ends.get("http://a.test/1") is not Outcome.KEPT


@pytest.mark.parametrize("blank", [b"\r\n", b"\n\n\n", b"\r\n" * 40_000])
@pytest.mark.parametrize("form", ["s.warc", "s.warc.gz", "s.warc.zst"])
def test_empty_lines_before_between_and_after_records_are_no_record(tmp_path, form, blank):
    one, two = (record(http(body), url, end=b"") for url, body in pages(2).items())
    between = blank if form == "s.warc" else blank[:4_000]
    _, captures = found(tmp_path, FORMS[form]([blank[:4_000] + one + between, two + between]), form)
    assert [(one.url, str(one.outcome)) for one in captures] == [
        ("http://a.test/0", "kept"), ("http://a.test/1", "kept"),
    ]  # fmt: skip


def test_a_member_of_nothing_but_empty_lines_is_no_record(tmp_path):
    one, two = (record(http(body), url, end=b"") for url, body in pages(2).items())
    _, captures = found(tmp_path, packed([one, b"\r\n\r\n", two, b"", b"\r\n"]))
    assert [str(one.outcome) for one in captures] == ["kept", "kept"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_several_records_in_one_member_are_read(tmp_path, pack):
    """As `gzip` makes of a whole file. All pointers lead to the member; the page is told by its sha256."""
    held = pages(30)
    records = [record(http(body), url, digest=True) for url, body in held.items()]
    members = [records[0], b"".join(records[1:20]), records[20], b"\r\n".join(records[21:])]
    path, captures = found(tmp_path, b"".join(map(pack, members)))
    assert [(one.url, str(one.outcome)) for one in captures] == [(url, "kept") for url in held]
    assert len({one.offset for one in captures}) == 4
    assert list(addresses(path)) == list(held)
    for one in captures:
        for length in (one.length, None):
            assert read_response(path, one.offset, length, 100_000, one.sha256).body == held[one.url]
    with pytest.raises(BadRecord, match="more than one record"):
        read_response(path, captures[1].offset, captures[1].length, 100_000, "0" * 64)


def test_segments_within_one_member_are_joined(tmp_path):
    block = http()
    more = {"segment_number": 2, "segment_origin_id": "<urn:0>", "segment_total_length": len(block)}
    first = record(block[:100], "http://a.test/long", record_id="<urn:0>", segment_number=1)
    pieces = [first, record(http(b"<p>x"), "http://a.test/x"), record(block[100:], "", "continuation", **more)]
    path, captures = found(tmp_path, gzip.compress(b"".join(pieces)))
    assert {one.url: str(one.outcome) for one in captures} == {"http://a.test/long": "kept", "http://a.test/x": "kept"}
    for one in captures:
        body = PAGE if one.url.endswith("long") else b"<p>x"
        assert read_response(path, one.offset, one.length, 100_000, one.sha256).body == body


def test_segments_in_different_members_of_several_records_are_joined(tmp_path):
    block = http()
    more = {"segment_number": 2, "segment_origin_id": "<urn:0>", "segment_total_length": len(block)}
    first = record(block[:100], "http://a.test/long", record_id="<urn:0>", segment_number=1)
    last = record(block[100:], "", "continuation", **more)
    one, two, three = (record(http(body), url) for url, body in pages(3).items())
    path, captures = found(tmp_path, packed([one + first, two, last + three]))
    assert {one.outcome for one in captures} == {Outcome.KEPT}
    assert len(captures) == 4
    for capture in captures:
        body = PAGE if capture.url.endswith("long") else pages(3)[capture.url]
        assert read_response(path, capture.offset, capture.length, 100_000, capture.sha256).body == body


@pytest.mark.failure(
    "a compressed member holds several records and is damaged",
    "a note names the member; the records before the damage are read",
    "fetch the file again",
)
@given(cut=st.integers(500, 10_000), how=st.sampled_from(["cut", "flip"]))
@settings(max_examples=40, deadline=None)
def test_of_a_damaged_member_of_several_records_what_came_before_is_read(tmp_path_factory, cut, how):
    held = {url: hashlib.sha512(body).hexdigest().encode() * 4 for url, body in pages(20).items()}
    content = bytearray(gzip.compress(b"".join(record(http(body), url, digest=True) for url, body in held.items())))
    at = cut % len(content)
    if how == "cut":
        del content[at:]
    else:
        content[at] ^= 255
    try:
        path, captures = found(tmp_path_factory.mktemp("cut"), bytes(content))
    except NotAnArchive:
        assert at < 20  # not even the beginning of one can be told
        return
    if how == "flip" and 4 <= at < 10:  # when, how hard and on what system it was compressed (RFC 1952, section 2.3)
        assert [one.url for one in captures if one.outcome is Outcome.KEPT] == list(held)
        return
    assert Outcome.BAD_RECORD in {one.outcome for one in captures}
    for one in captures:
        if one.outcome is Outcome.KEPT:
            assert one.sha256 == hashlib.sha256(held[one.url]).hexdigest()
            assert read_response(path, one.offset, one.length, 100_000, one.sha256).body == held[one.url]
    if how == "cut" and at > len(content) // 2 > 1_000:
        kept = [one.url for one in captures if one.outcome is Outcome.KEPT]
        assert kept == list(held)[: len(kept)]
        assert len(kept) >= len(captures) - 2


def test_a_member_of_several_records_that_is_too_large_to_hold_is_named_with_the_cure(tmp_path, monkeypatch):
    monkeypatch.setattr(records_module, "MEMBER_BYTES", 1_000)
    content = gzip.compress(b"".join(record(http(body), url) for url, body in pages(5).items()))
    _, [capture] = found(tmp_path, content)
    assert capture.outcome is Outcome.BAD_RECORD
    assert "more than one record in a compressed member" in capture.detail
    assert "warcio recompress" in capture.detail


def test_all_bytes_of_a_file_belong_to_a_record(tmp_path):
    path = tmp_path / "s.warc"
    records = [record(http(body), url, end=b"\r\n" * n) for n, (url, body) in enumerate(pages(5).items())]
    path.write_bytes(b"".join(records))
    ends = [(one.offset, one.offset + one.length) for one in cut(path, 1_000)]
    assert [begin for begin, _ in ends] == [0, *(end for _, end in ends)][:-1]
    assert ends[-1][1] == path.stat().st_size


# --- bodies


@pytest.mark.parametrize("order", ["gzip, chunked", "GZIP,  chunked"])
def test_transfer_codings_are_undone_in_their_order(tmp_path, order):
    """RFC 9112, section 6.1: chunked is the last one that was applied."""
    body = gzip.compress(PAGE, mtime=0)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:20], body[20:])) + b"0\r\n\r\n"
    block = http(chunks, lines=["Content-Type: text/html", f"Transfer-Encoding: {order}"], length=False)
    path, [capture] = found(tmp_path, packed([record(block)]))
    assert (capture.outcome, capture.sha256) == (Outcome.KEPT, hashlib.sha256(chunks).hexdigest())
    assert read_response(path, capture.offset, capture.length, 100_000).body == PAGE


@pytest.mark.parametrize(
    ("media", "body", "outcome"),
    [
        ("text/html; charset=utf-8", PAGE, "kept"),
        ("text/plain", b"words", "kept"),
        ("image/png", b"\x89PNG", "not_html"),
        ("", PAGE, "kept"),
        ("", b"\x89PNG\x00", "not_html"),
        ("text/html", b"", "empty_body"),
        ("text/html", b"<meta name=robots content=noai><p>x", "opted_out"),
        ("text/html", bytes(100_001), "too_large"),
    ],
)
def test_a_resource_is_a_page_of_the_media_type_of_its_record(tmp_path, media, body, outcome):
    """WARC 1.1, section 6.4."""
    path, [capture] = found(tmp_path, packed([record(body, "http://a.test/x", "resource", content_type=media)]))
    assert (str(capture.outcome), capture.url) == (outcome, "http://a.test/x")
    if outcome == "kept":
        response = read_response(path, capture.offset, capture.length, 100_000)
        assert (response.status, response.body) == (200, body)
        assert response.headers == ((("Content-Type", media),) if media else ())


def test_a_resource_that_is_an_http_response_has_its_own_status_type_and_body(tmp_path):
    typed = {"kind": "resource", "content_type": "Application/HTTP; msgtype=response"}
    page, gone = http(PAGE), http(PAGE).replace(b"200 OK", b"404 Not Found")
    packs = [record(page, "http://a.test/x", **typed), record(gone, "http://a.test/y", **typed)]
    packs.append(record(PAGE, "http://a.test/z", **typed))  # says so, and has no head
    path, captures = found(tmp_path, packed(packs))
    assert [(str(one.outcome), one.status) for one in captures] == [
        ("kept", 200),
        ("not_found", 404),
        ("not_html", 200),
    ]
    response = read_response(path, captures[0].offset, captures[0].length, 100_000)
    assert (response.status, response.content_type, response.body) == (200, "text/html", PAGE)
    assert captures[0].sha256 == response.sha256 == hashlib.sha256(PAGE).hexdigest()
