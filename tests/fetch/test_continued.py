"""Records in several segments: joined, or named, and never the first segment as the page."""

import gzip
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import PagesSettings
from pipeline.fetch import continued
from pipeline.fetch.captures import index
from pipeline.fetch.readback import BadRecord, read_response
from pipeline.shards.outcomes import Outcome
from tests.fetch.archives import FORMS, PAGE, http, packed, record

SETTINGS = PagesSettings(limit_bytes=100_000)
ORIGIN = "<urn:uuid:0>"


def segments(block, *cuts, origin=ORIGIN, url="http://a.test/long", total=None):
    """The records of a response whose block is cut at these places."""
    ends = [*cuts, len(block)]
    parts = [block[start:end] for start, end in zip([0, *cuts], ends, strict=True)]
    told = {"segment_total_length": len(block) if total is None else total}
    yield record(parts[0], url, record_id=origin, segment_number=1, version="WARC/1.1", digest=True)
    for number, part in enumerate(parts[1:], 2):
        last = told if number == len(parts) else {}
        named = {"segment_number": number, "segment_origin_id": origin, **last}
        yield record(part, url, "continuation", record_id=f"<urn:uuid:{number}{origin[1:]}", **named)


def found(folder, content, name="s.warc.gz"):
    path = folder / name
    path.write_bytes(content)
    return path, list(index(path, SETTINGS))


@pytest.mark.parametrize("name", sorted(FORMS))
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_segments_are_one_page_wherever_they_lie_in_the_file(tmp_path_factory, name, data):
    """Two long records and ordinary ones between them, in any order."""
    cuts = [sorted(data.draw(st.sets(st.integers(1, 300), min_size=1, max_size=4))) for _ in range(2)]
    bodies = [PAGE + b"%d" % n for n in range(2)]
    long = [
        list(segments(http(body), *cut, origin=f"<urn:uuid:{n}>", url=f"http://a.test/{n}"))
        for n, (body, cut) in enumerate(zip(bodies, cuts, strict=True))
    ]
    others = [record(http(b"<p>other %d" % n), f"http://b.test/{n}") for n in range(3)]
    pieces = [record(b"software: x\r\n", kind="warcinfo"), *long[0], *long[1], *others]
    order = [0, *data.draw(st.permutations(range(1, len(pieces))))]
    path, captures = found(tmp_path_factory.mktemp("any"), FORMS[name]([pieces[n] for n in order]), name)
    assert {one.url: str(one.outcome) for one in captures} == dict.fromkeys(
        ["http://a.test/0", "http://a.test/1", *(f"http://b.test/{n}" for n in range(3))], "kept"
    )
    assert len(captures) == 5
    for one in captures:
        response = read_response(path, one.offset, one.length, 100_000, one.sha256)
        assert response.sha256 == one.sha256
        if one.url.startswith("http://a.test"):
            assert response.body == bodies[int(one.url[-1])]


@pytest.mark.failure(
    "a record goes on in another WARC file", "outcome `bad_record`; a note names file and offset", "join the files"
)
@pytest.mark.parametrize(
    ("lost", "said"), [(0, "segment 1 is not in this file"), (1, "segment 2 is not"), (2, "segment 3 is not")]
)
def test_a_record_that_lacks_a_segment_is_named_and_no_page(tmp_path, lost, said):
    pieces = list(segments(http(), 100, 200))
    del pieces[lost]
    path, captures = found(tmp_path, packed([*pieces, record(http(), "http://a.test/whole")]))
    assert [str(one.outcome) for one in captures if one.url == "http://a.test/whole"] == ["kept"]
    bad = [one for one in captures if one.outcome is Outcome.BAD_RECORD]
    assert len(bad) == 2
    assert all(said in one.detail and f"{path} at offset {one.offset}: " in one.detail for one in bad)
    assert [one.url for one in bad if one.url] == (["http://a.test/long"] if lost else [])
    with pytest.raises(BadRecord):
        read_response(path, bad[0].offset, None, 100_000)


@pytest.mark.parametrize(
    "pieces",
    [
        list(segments(http(), 100, total=len(http()) + 1)),
        [*segments(http(), 100)][::-1][:1] * 2,
        [record(http(), record_id=ORIGIN, segment_number="x")],
        [record(b"x", kind="continuation")],
    ],
    ids=["another length", "twice", "no number", "no origin"],
)
def test_segments_that_make_no_sense_are_named(tmp_path, pieces):
    _, captures = found(tmp_path, packed(pieces))
    assert captures
    assert {one.outcome for one in captures} == {Outcome.BAD_RECORD}


def test_a_record_that_was_cut_short_says_so_in_any_of_its_segments(tmp_path):
    first, last = segments(http(), 100)
    last = last.replace(b"Content-Type", b"WARC-Truncated: length\r\nContent-Type")
    path = tmp_path / "s.warc"
    path.write_bytes(first + last)
    [one] = continued.records(path, 1_000)
    assert (one.fields["warc-truncated"], one.fields["warc-type"], one.damage) == ("length", "response", "")


def test_what_is_held_of_unfinished_records_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(continued, "HELD_BYTES", 2_000)
    firsts = [next(segments(http(), 300, origin=f"<urn:uuid:{n}>", url=f"http://a.test/{n}")) for n in range(20)]
    _, captures = found(tmp_path, packed(firsts))
    assert [one.url for one in captures] == [f"http://a.test/{n}" for n in range(20)]
    assert {one.outcome for one in captures} == {Outcome.BAD_RECORD}


def test_a_long_record_is_too_large_and_not_held(tmp_path):
    body = bytes(random.Random(1).choices(range(97, 123), k=250_000))
    path, [capture] = found(tmp_path, packed(segments(http(body), 90_000, 180_000)))
    assert capture.outcome is Outcome.TOO_LARGE
    with pytest.raises(BadRecord) as raised:
        read_response(path, capture.offset, capture.length, 100_000)
    assert raised.value.outcome is Outcome.TOO_LARGE


def test_two_records_whose_segments_share_all_their_members_are_told_apart(tmp_path):
    """Both begin and end at one place: a file of segments that was compressed anew in larger pieces."""
    bodies = [PAGE + b"%d" % n for n in range(2)]
    (one, rest), (two, more) = (
        segments(http(body), 90, origin=f"<urn:uuid:{n}>", url=f"http://a.test/{n}") for n, body in enumerate(bodies)
    )
    path, captures = found(tmp_path, gzip.compress(one + two) + gzip.compress(more + rest))
    assert [(str(each.outcome), each.offset) for each in captures] == [("kept", 0)] * 2
    read = {each.url: read_response(path, each.offset, each.length, 100_000, each.sha256).body for each in captures}
    assert read == {f"http://a.test/{n}": body for n, body in enumerate(bodies)}
