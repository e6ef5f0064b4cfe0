"""The index of foreign WARC files: nothing is lost silently, whatever happened to the file."""

import base64
import gzip
import hashlib
import itertools
from datetime import datetime
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import PagesSettings
from pipeline.fetch import records
from pipeline.fetch.captures import addresses, index, moment
from pipeline.fetch.kinds import is_archive
from pipeline.fetch.readback import read_response
from pipeline.shards.outcomes import InputError, Outcome

DATA = Path(__file__).resolve().parents[2] / "../shared/data/warc"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data/warc is not there")
SETTINGS = PagesSettings(limit_bytes=100_000)
PACKED = {
    "s.warc": lambda one: one,
    "s.warc.gz": lambda one: gzip.compress(one, mtime=0),
    "s.warc.zst": zstandard.ZstdCompressor(write_checksum=True).compress,  # as the command zstd does
}


def record(block, kind="response", uri="http://a.test/", digest=True, **more):
    """One WARC 1.0 record; `more`: further headers, `refers_to` as WARC-Refers-To."""
    lines = ["WARC/1.0", f"WARC-Type: {kind}", f"WARC-Target-URI: {uri}", "WARC-Date: 2020-01-01T00:00:00Z"]
    lines += [f"WARC-{name.replace('_', '-').title()}: {value}" for name, value in more.items()]
    if digest:
        lines.append(f"WARC-Block-Digest: sha1:{base64.b32encode(hashlib.sha1(block).digest()).decode()}")
    lines += ["Content-Type: application/http; msgtype=response", f"Content-Length: {len(block)}", "", ""]
    return "\r\n".join(lines).encode() + block + b"\r\n\r\n"


def answer(body=b"<p>some words", status="200 OK", **headers):
    named = {"content_type": "text/html", **headers}
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-').title()}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


PAGES = [record(answer(b"<p>%d " % n * 40), uri=f"http://a.test/{n}") for n in range(5)]


def written(folder, content, name="s.warc.gz"):
    path = folder / name
    path.write_bytes(content)
    return path


def found(folder, *content, name="s.warc.gz"):
    return list(index(written(folder, b"".join(map(PACKED[name], content)), name), SETTINGS))


def ends(captures):
    return [(one.url, str(one.outcome), one.location) for one in captures]


@pytest.mark.parametrize(
    ("status", "location", "leads_to"),
    [
        ("301 Moved Permanently", "/b", "http://a.test/b"),
        ("302 Found", "https://b.test/x?y#z", "https://b.test/x?y"),
        ("308 Permanent Redirect", "//c.test", "http://c.test/"),
        ("301 Moved Permanently", "http://[/", ""),
        ("302 Found", "mailto:a@b.test", ""),
        ("302 Found", "", ""),
        ("304 Not Modified", "/b", ""),
        ("200 OK", "/b", ""),
    ],
)
def test_a_redirect_names_where_it_leads(tmp_path, status, location, leads_to):
    [capture] = found(tmp_path, record(answer(b"x", status, location=location)))
    assert capture.location == leads_to
    assert (capture.outcome is Outcome.BAD_REDIRECT) is status.startswith(("301", "302", "308"))


def test_a_revisit_says_what_it_refers_to_and_what_its_own_head_was(tmp_path):
    captures = found(
        tmp_path,
        record(answer(b""), "revisit", refers_to_target_uri="<http://a.test/1>", refers_to_date="2019"),
        record(answer(b""), "revisit", refers_to="<urn:uuid:1>", payload_digest="sha1:" + "ab" * 20),
        record(b"", "revisit", "http://b.test/without-head"),
        record(answer(b"", "301 Moved", location="/b"), "revisit", refers_to_target_uri="http://a.test/1"),
        record(answer(b"", "404 Not Found"), "revisit"),
        record(b"", "revisit", "dns:b.test"),
    )
    told = [(one.kind, one.status, str(one.outcome), one.location, one.refers_to, one.refers_date) for one in captures]
    assert told == [
        ("revisit", 200, "not_in_warc", "http://a.test/1", "", "2019"),
        ("revisit", 200, "not_in_warc", "", "urn:uuid:1", ""),
        ("revisit", None, "not_in_warc", "", "", ""),
        ("head", 301, "bad_redirect", "http://a.test/b", "", ""),
        ("head", 404, "not_found", "", "", ""),
    ]
    assert captures[1].digest == "sha1:" + "ab" * 20


PAGE = b"<!doctype html><p>" + b"Some words of a page, enough of them to be worth packing. " * 9
PACKED_PAGE = gzip.compress(PAGE)
CHUNKED_PAGE = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE)
WHOLE = [
    ("as sent", PAGE, {"content_length": len(PAGE)}),
    ("without a length", PAGE, {}),
    ("a length that is none", PAGE, {"content_length": -1}),
    ("packed as sent", PACKED_PAGE, {"content_encoding": "gzip", "content_length": len(PACKED_PAGE)}),
    ("unpacked, its label gone", PAGE, {"content_length": len(PACKED_PAGE)}),
    ("unpacked under its label", PAGE, {"content_encoding": "gzip", "content_length": len(PACKED_PAGE)}),
    ("unpacked, shorter than it was sent", PAGE, {"content_encoding": "br", "content_length": len(PAGE) + 9}),
    ("in chunks", CHUNKED_PAGE, {"transfer_encoding": "chunked"}),
    ("in chunks, whatever the length says", CHUNKED_PAGE, {"transfer_encoding": "chunked", "content_length": 9_999}),
    ("its chunks undone", PAGE, {"transfer_encoding": "chunked"}),
    ("its chunks undone, whatever the length", PAGE, {"transfer_encoding": "chunked", "content_length": 9_999}),
    ("unpacked, its chunks undone", PAGE, {"transfer_encoding": "chunked", "content_encoding": "gzip"}),
]
CUT = [
    ("shorter than its length", PAGE[:-1], {"content_length": len(PAGE)}),
    ("no byte of it", b"", {"content_length": len(PAGE)}),
    ("packed and shorter", PACKED_PAGE[:-1], {"content_encoding": "gzip", "content_length": len(PACKED_PAGE)}),
    ("packed, two members, the second cut", PACKED_PAGE, {"content_encoding": "gzip", "content_length": 9_999}),
    ("a label that is no coding", PAGE, {"content_encoding": "utf-8", "content_length": len(PAGE) + 1}),
    ("chunks that break off", CHUNKED_PAGE[:-30], {"transfer_encoding": "chunked"}),
    ("chunks without the last", CHUNKED_PAGE[:-5], {"transfer_encoding": "chunked"}),
]


@pytest.mark.parametrize(("body", "headers"), [one[1:] for one in WHOLE], ids=[one[0] for one in WHOLE])
def test_a_whole_page_is_kept_whole_whatever_its_writer_undid(tmp_path, body, headers):
    path = written(tmp_path, gzip.compress(record(answer(body, **headers))))
    [capture] = index(path, SETTINGS)
    assert (capture.outcome, capture.detail) == (Outcome.KEPT, "")
    response = read_response(path, capture.offset, capture.length, 100_000)
    assert (response.body, response.sha256) == (PAGE, capture.sha256)


@pytest.mark.parametrize(("body", "headers"), [one[1:] for one in CUT], ids=[one[0] for one in CUT])
def test_a_page_that_was_cut_off_is_not_kept(tmp_path, body, headers):
    [capture] = found(tmp_path, record(answer(body, **headers)))
    assert capture.outcome is Outcome.INCOMPLETE


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ("length", Outcome.TOO_LARGE),
        ("Length", Outcome.TOO_LARGE),
        ("time", Outcome.TIMED_OUT),
        ("disconnect", Outcome.INCOMPLETE),
        ("unspecified", Outcome.INCOMPLETE),
        ("whim", Outcome.INCOMPLETE),
    ],
)
def test_a_record_that_says_it_is_truncated_ends_as_its_crawl_did(tmp_path, told, outcome):
    heads = [answer(), answer(content_type="image/png"), answer(status="404 Not Found"), answer(b"")]
    captures = found(tmp_path, *[record(head, truncated=told) for head in heads])
    assert [one.outcome for one in captures] == [outcome, Outcome.NOT_HTML, Outcome.NOT_FOUND, outcome]


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("bytes 0-14/15", Outcome.KEPT),
        ("bytes 0-14/16", Outcome.INCOMPLETE),
        ("bytes 1-15/15", Outcome.INCOMPLETE),
        ("bytes 0-14/*", Outcome.INCOMPLETE),
        ("", Outcome.INCOMPLETE),
    ],
)
def test_a_part_is_a_page_only_if_it_says_that_it_is_all(tmp_path, said, outcome):
    [capture] = found(tmp_path, record(answer(status="206 Partial Content", content_range=said)))
    assert capture.outcome is outcome


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2014-05-13T01:02:03Z", datetime(2014, 5, 13, 1, 2, 3)),
        (" 2014-05-13T01:02:03.123456789Z", datetime(2014, 5, 13, 1, 2, 3, 123456)),
        ("2014-05-13T01:02:03.5", datetime(2014, 5, 13, 1, 2, 3, 500000)),
        ("2014-05-13", datetime(2014, 5, 13)),
        ("2014-05", datetime(2014, 5, 1)),
        ("2014", datetime(2014, 1, 1)),
        ("20140513010203", datetime(2014, 5, 13, 1, 2, 3)),
        ("2014-13-45T01:02:03Z", None),
        ("0000-00-00T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_date_is_read_in_any_precision(date, expected):
    assert moment(date) == expected


@pytest.mark.parametrize("name", ["s.warc", "s.warc.zst"])
@pytest.mark.parametrize("spelling", ["sha1", "SHA-1", "sha256", "md5"])
@pytest.mark.parametrize("hexadecimal", [False, True])
def test_where_the_form_has_no_checksum_the_digest_of_the_record_is_one(tmp_path, name, spelling, hexadecimal):
    block = answer(b"<p>the words")
    digest = hashlib.new(spelling.lower().replace("-", ""), block)
    told = digest.hexdigest() if hexadecimal else base64.b32encode(digest.digest()).decode()
    whole = record(block, digest=False, block_digest=f"{spelling}:{told}")
    assert [str(one.outcome) for one in found(tmp_path, whole, name=name)] == ["kept"]
    [capture] = found(tmp_path, whole.replace(b"the words", b"The words"), name=name)
    assert (capture.url, capture.outcome) == ("http://a.test/", Outcome.BAD_RECORD)
    assert "at offset 0: the block is not the one of its digest" in capture.detail


def test_addresses_are_those_of_responses_and_revisits(tmp_path):
    members = [
        record(answer(), uri="http://a.test/1"),
        record(b"GET / HTTP/1.1\r\n\r\n", "request", "http://a.test/1"),
        record(answer(b""), "revisit", "<http://a.test/2>", refers_to_target_uri="http://a.test/1"),
        record(b"1.2.3.4", uri="dns:a.test"),
        record(answer(b"x" * 200_000), uri="http://a.test/long"),
    ]
    packed = [gzip.compress(one) for one in members]
    packed.insert(1, packed[0][:-9])
    path = written(tmp_path, b"".join(packed))
    assert list(addresses(path)) == ["http://a.test/1", None, "http://a.test/2", "http://a.test/long"]
    assert [is_archive(Path(name)) for name in ("a.warc", "A.WARC.GZ", "b.warc.zst", "c.gz", "warc")] == [
        True, True, True, False, False
    ]  # fmt: skip


def test_a_digest_of_an_unknown_kind_is_no_damage(tmp_path):
    whole = record(answer(), digest=False, block_digest="crc32:ABCDEF")
    assert [str(one.outcome) for one in found(tmp_path, whole, name="s.warc")] == ["kept"]


def test_a_damaged_stretch_says_where_it_begins_and_where_reading_goes_on(tmp_path):
    members = list(map(PACKED["s.warc.gz"], PAGES))
    places = [sum(map(len, members[:n])) for n in range(5)]
    members[1] = members[1][:30] + bytes(20) + members[1][50:]
    members[2] = members[2][:-9] + bytes(9)
    captures = list(index(written(tmp_path, b"".join(members)), SETTINGS))
    assert [(one.offset, str(one.outcome)) for one in captures] == [
        (places[0], "kept"),
        (places[1], "bad_record"),
        (places[3], "kept"),
        (places[4], "kept"),
    ]
    assert f"reading goes on at offset {places[3]:,}" in captures[1].detail
    [last] = list(index(written(tmp_path, members[0] + members[1]), SETTINGS))[1:]
    assert "no whole record follows in the file" in last.detail


def test_the_search_for_the_next_record_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FALSE_STARTS", 50)
    content = PAGES[0] + b"WARC/" * 10_000 + PAGES[1]
    read = []
    whole = records.record_at
    monkeypatch.setattr(records, "record_at", lambda *place: read.append(place) or whole(*place))
    captures = list(index(written(tmp_path, content, "s.warc"), SETTINGS))
    assert [str(one.outcome) for one in captures] == ["kept", "bad_record"]
    assert len(read) == 51


SAMPLES = [record(answer(b"%d" % n * 9), uri=f"http://a.test/{n}") for n in range(200)]
TRAINED = zstandard.train_dictionary(2_000, SAMPLES)


def with_dictionary(content, dictionary=None):
    held = TRAINED.as_bytes() if dictionary is None else dictionary
    return b"\x5d\x2a\x4d\x18" + len(held).to_bytes(4, "little") + held + content


@pytest.mark.parametrize("packed", [False, True])
def test_the_dictionary_of_a_zstd_file_is_used(tmp_path, packed):
    packer = zstandard.ZstdCompressor(dict_data=TRAINED, write_checksum=True)
    members = [packer.compress(one) for one in PAGES]
    held = zstandard.compress(TRAINED.as_bytes()) if packed else None
    path = written(tmp_path, with_dictionary(b"".join(members), held), "s.warc.zst")
    captures = list(index(path, SETTINGS))
    assert ends(captures) == [(f"http://a.test/{n}", "kept", "") for n in range(5)]
    for n, one in enumerate(captures):
        assert read_response(path, one.offset, one.length, 1_000).body == b"<p>%d " % n * 40
    members[1] = members[1][:-5] + b"xxxxx"
    path = written(tmp_path, with_dictionary(b"".join(members), held), "s.warc.zst")
    assert [str(one.outcome) for one in index(path, SETTINGS)] == ["kept", "bad_record", "kept", "kept", "kept"]


@pytest.mark.parametrize(
    "held",
    [b"", b"x" * 7, b"\x37\xa4\x30\xec" + bytes(50), zstandard.compress(TRAINED.as_bytes())[:-9]],
    ids=["empty", "text", "zeros", "cut"],
)
def test_a_dictionary_that_is_none_is_an_input_error(tmp_path, held):
    path = written(tmp_path, with_dictionary(zstandard.compress(PAGES[0]), held), "s.warc.zst")
    with pytest.raises(InputError, match=r"s\.warc\.zst: the dictionary at its beginning cannot be read"):
        list(index(path, SETTINGS))


@given(name=st.sampled_from(sorted(PACKED)), data=st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_happens_to_a_file_every_page_is_whole_or_a_named_place(tmp_path_factory, name, data):
    """A capture is one that was written, or BAD_RECORD with a place."""
    members = list(map(PACKED[name], PAGES))
    order = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=7))
    content = bytearray(b"".join(members[n] for n in order))
    harmed = False
    # one harm to a plain file: a second could hit the very digest that tells of the first
    for _ in range(data.draw(st.integers(0, 1 if name == "s.warc" else 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "drop", "insert"])):
            case "flip":
                content[at] ^= data.draw(st.integers(1, 255))
            case "cut":
                del content[max(1, at) :]
            case "drop":
                del content[at : at + data.draw(st.integers(1, 30))]
                content = content or bytearray(b"x")
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=30))
        harmed = True
    path = written(tmp_path_factory.mktemp("any"), bytes(content), name)
    try:
        captures = list(index(path, SETTINGS))
    except InputError as error:
        assert harmed
        assert str(path) in str(error)
        return
    ends = [(piece.offset, piece.length) for piece in records.cut(path, 100_000)]
    assert [offset for offset, _ in ends] == [0, *itertools.accumulate(length for _, length in ends)][:-1]
    bodies = {hashlib.sha256(b"<p>%d " % n * 40).hexdigest() for n in range(5)}
    for one in captures:
        if one.outcome is Outcome.BAD_RECORD:
            assert f"{path} at offset {one.offset}: " in one.detail
        elif one.outcome is Outcome.KEPT:
            assert one.sha256 in bodies
    if not harmed:
        assert [one.url for one in captures] == [f"http://a.test/{n}" for n in order]
        assert {one.outcome for one in captures} == {Outcome.KEPT}


@given(name=st.sampled_from(sorted(PACKED)), data=st.data())
@settings(max_examples=150, deadline=None)
def test_harm_to_one_record_costs_no_other(tmp_path_factory, name, data):
    members = list(map(PACKED[name], PAGES))
    victim = data.draw(st.integers(1, 4))
    first = members[victim].index(b"\r\n\r\n") + 4 if name == "s.warc" else 0  # no checksum covers a plain header
    at = data.draw(st.integers(first, len(members[victim]) - 1))
    harm = data.draw(st.sampled_from([b"", b"x", b"WARC/", b"WARC/1.0\r\n", b"\x1f\x8b\x08"]))
    members[victim] = members[victim][:at] + harm + members[victim][at + data.draw(st.integers(0, 60)) :]
    captures = list(index(written(tmp_path_factory.mktemp("one"), b"".join(members), name), SETTINGS))
    kept = [one.url for one in captures if one.outcome is Outcome.KEPT]
    others = [f"http://a.test/{n}" for n in range(5)]
    if kept != others:
        del others[victim]
        assert kept == others
        assert [one.outcome for one in captures].count(Outcome.BAD_RECORD) == 1


@pytest.mark.parametrize("victim", [1, 2, 3])
def test_a_member_whose_end_is_damaged_does_not_swallow_the_next(tmp_path, victim):
    """A byte that is gone near the end of a deflate stream makes the next member's bytes look like more of it."""
    members = list(map(PACKED["s.warc.gz"], PAGES))
    for at in range(len(members[victim]) - 40, len(members[victim]) - 8):
        harmed = [*members[:victim], members[victim][:at] + members[victim][at + 1 :], *members[victim + 1 :]]
        captures = list(index(written(tmp_path, b"".join(harmed), "s.warc.gz"), SETTINGS))
        kept = [one.url for one in captures if one.outcome is Outcome.KEPT]
        assert [url for url in kept if url != f"http://a.test/{victim}"] == [
            f"http://a.test/{n}" for n in range(5) if n != victim
        ]
        assert [one.outcome for one in captures].count(Outcome.BAD_RECORD) == 1


def test_two_records_that_run_into_each_other_are_no_record(tmp_path):
    half = PAGES[1][: PAGES[1].index(b"WARC-Block")]
    captures = list(index(written(tmp_path, PAGES[0] + half + PAGES[2] + PAGES[3], "s.warc"), SETTINGS))
    assert [(one.offset, str(one.outcome)) for one in captures] == [
        (0, "kept"),
        (len(PAGES[0]), "bad_record"),
        (len(PAGES[0]) + len(half), "kept"),
        (len(PAGES[0]) + len(half) + len(PAGES[2]), "kept"),
    ]


def test_a_record_of_a_type_outside_the_standard_is_passed_over_and_one_of_no_type_is_named(tmp_path):
    """WARC 1.1, section 6.1: software shall skip records of unknown types; section 5.5: the type is mandatory."""
    of_another, of_none = (
        PAGES[0].replace(b"Type: response", b"Type: snapshot"),
        PAGES[1].replace(b"WARC-Type", b"WARC-Tipe"),
    )
    [capture, whole] = found(tmp_path, of_another, of_none, PAGES[2], name="s.warc")
    assert (capture.offset, capture.outcome, whole.url) == (len(of_another), Outcome.BAD_RECORD, "http://a.test/2")
    assert "no record type" in capture.detail


@pytest.mark.failure(
    "a WARC file is damaged",
    "a note names file and offset; whole records are read",
    "fetch the file again, if its pages matter",
)
@needs_data
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example-bad-non-chunked.warc.gz", [("", 0, "within the compressed member: the block is not the one of its")]),
        ("example-bad.warc.gz.bad", []),
        ("example-trunc.warc", [("http://example.com/", 1197, "does not end where its Content-Length says")]),
        ("example-wget-bad-target-uri.warc.gz", []),
        ("example-wrong-chunks.warc.gz", [("http://example.com/", 0, "the record ends early")]),
    ],
)
def test_every_real_broken_file_names_its_broken_place(name, expected):
    bad = [one for one in index(DATA / "broken" / name, PagesSettings()) if one.outcome is Outcome.BAD_RECORD]
    assert [(one.url, one.offset) for one in bad] == [(url, offset) for url, offset, _ in expected]
    for one, (_, offset, said) in zip(bad, expected, strict=True):
        assert f"{name} at offset {offset}: " in one.detail
        assert said in one.detail


@pytest.mark.failure(
    "a WARC file is cut off",
    "a note names the place; what came before is read",
    "fetch the file again, if its pages matter",
)
@needs_data
@pytest.mark.parametrize("path", sorted((DATA / "good").glob("*")), ids=lambda path: path.name)
def test_a_real_file_cut_short_keeps_what_came_before_and_names_the_cut(tmp_path, path):
    content = path.read_bytes()
    whole = [(one.url, one.offset, one.outcome) for one in index(path, PagesSettings())]
    for cut in (len(content) // 3, len(content) - 1):
        captures = list(index(written(tmp_path, content[:cut], path.name), PagesSettings()))
        bad = [one for one in captures if one.outcome is Outcome.BAD_RECORD]
        good = [(one.url, one.offset, one.outcome) for one in captures if one.outcome is not Outcome.BAD_RECORD]
        assert len(bad) == 1
        assert good == whole[: len(good)]
        assert all(offset >= bad[0].offset for _, offset, _ in whole[len(good) :])


@needs_data
def test_real_revisits_of_files_that_are_no_pages_end_by_their_own_heads():
    captures = list(index(DATA / "good/iana.warc.gz", PagesSettings()))
    revisits = [(one.status, one.outcome) for one in captures if one.kind != "response"]
    assert revisits == [(200, Outcome.NOT_HTML)] * 123
