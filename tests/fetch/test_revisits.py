"""Revisits: the capture that a record names and no other, and what its own head says of it."""

import base64
import gzip
import itertools

import pytest

from pipeline.fetch import revisits
from tests.fetch.warcs import answer, body_of, brief, ends, look, moved, record, sha1, write

SAME = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
NOT_MODIFIED = "http://netpreserve.org/warc/1.0/revisit/server-not-modified"
FRONT, STORY = "http://a.test/front", "http://b.test/story"
OLD, NEW = b"<p>the old front page", b"<p>the new front page"
CAPTURES = (
    record(answer(OLD), FRONT, date="2014-05-01T00:00:00Z", Record_ID="<urn:uuid:old>", Payload_Digest=sha1(OLD)),
    record(answer(NEW), FRONT, date="2014-05-09T00:00:00.25Z", Record_ID="<urn:uuid:new>", Payload_Digest=sha1(NEW)),
)
BY_DATE = {"Refers_To_Target_URI": FRONT, "Refers_To_Date": "2014-05-09T00:00:00Z"}
WAYS = {
    "date": BY_DATE,
    "id": {"Refers_To": "<urn:uuid:new>"},
    "id and address": {"Refers_To": "<urn:uuid:new>", "Refers_To_Target_URI": f"<{FRONT}>"},
    "digest and address": {"Payload_Digest": sha1(NEW), "Refers_To_Target_URI": FRONT},
    "digest alone": {"Payload_Digest": sha1(NEW)},
    "all": {"Refers_To": "<urn:uuid:new>", "Payload_Digest": sha1(NEW), **BY_DATE},
}


def revisit(uri=STORY, head=None, date="2014-05-10T00:00:00Z", **fields):
    return record(answer(b"") if head is None else head, uri, "revisit", date, **{"Profile": SAME, **fields})


@pytest.mark.parametrize("uri", [STORY, FRONT + "?print=1", FRONT])
@pytest.mark.parametrize("head", [b"", answer(b""), answer(b"", "304 Not Modified")], ids=["none", "200", "304"])
@pytest.mark.parametrize("way", WAYS)
def test_the_capture_that_is_named_is_the_one(tmp_path, way, head, uri):
    fields = dict(WAYS[way])
    if head.startswith(b"HTTP/1.1 304"):
        fields["Profile"] = NOT_MODIFIED
    write(tmp_path, *CAPTURES[:1], revisit(uri, head, **fields), name="1.warc.gz")
    write(tmp_path, *CAPTURES[1:], name="2.warc.gz")
    row = look(tmp_path, uri)[0][uri]
    assert (brief(row), row["status"]) == (("kept", uri), 200)
    assert body_of(tmp_path, row) == NEW


def test_it_counts_at_its_own_date(tmp_path):
    """The page was changed and changed back: what stood there at the post is the old text again."""
    back = revisit(FRONT, date="2014-05-13T00:00:00Z", Refers_To="<urn:uuid:old>")
    write(tmp_path, *CAPTURES, back)
    assert body_of(tmp_path, look(tmp_path, FRONT)[0][FRONT]) == OLD
    write(tmp_path, *CAPTURES)
    assert body_of(tmp_path, look(tmp_path, FRONT)[0][FRONT]) == NEW


def test_where_its_original_lies_does_not_matter(tmp_path):
    records = [*CAPTURES, revisit(**WAYS["id"]), revisit("http://c.test/", **WAYS["digest alone"])]
    for n, order in enumerate(itertools.islice(itertools.permutations(records), 0, None, 5)):
        for number, one in enumerate(order):
            write(tmp_path / str(n), one, name=f"{number % 3}-{number}.warc.gz")
        rows = look(tmp_path / str(n), STORY, "http://c.test/")[0]
        assert {body_of(tmp_path / str(n), row) for row in rows.values()} == {NEW}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"Refers_To_Target_URI": FRONT, "Refers_To_Date": "2014-05-02T00:00:00Z"}, FRONT),
        ({"Refers_To": "<urn:uuid:unknown>"}, STORY),
        ({"Refers_To": "<urn:uuid:unknown>", "Refers_To_Target_URI": FRONT}, FRONT),
        ({"Payload_Digest": sha1(b"other"), "Refers_To_Target_URI": FRONT}, FRONT),
        ({"Payload_Digest": sha1(b"other"), **BY_DATE}, FRONT),
        ({"Payload_Digest": sha1(b"other"), "Refers_To": "<urn:uuid:new>"}, FRONT),
        ({"Refers_To_Target_URI": FRONT}, FRONT),  # which of the two?
        ({"Refers_To_Target_URI": "http://[", "Refers_To_Date": "x"}, STORY),
        ({}, STORY),
    ],
    ids=["date", "id", "id of an address", "digest", "digest against date", "digest against id", "any", "bad", "none"],
)
def test_what_is_not_there_is_not_in_the_files_and_never_another_body(tmp_path, fields, names):
    write(tmp_path, *CAPTURES, revisit(**fields))
    assert ends(tmp_path, STORY) == {STORY: ("not_in_warc", names)}


def test_an_address_alone_is_enough_where_all_its_captures_are_one_body(tmp_path):
    again = record(answer(OLD), FRONT, date="2014-06-01T00:00:00Z")
    write(tmp_path, CAPTURES[0], again, revisit(Refers_To_Target_URI=FRONT))
    assert body_of(tmp_path, look(tmp_path, STORY)[0][STORY]) == OLD


def test_a_digest_is_found_though_no_header_told_it(tmp_path):
    write(tmp_path, record(answer(OLD), FRONT), record(answer(NEW), FRONT), revisit(Payload_Digest=sha1(NEW)))
    assert body_of(tmp_path, look(tmp_path, STORY)[0][STORY]) == NEW


def test_the_digest_of_no_bytes_says_nothing(tmp_path):
    write(tmp_path, *CAPTURES, revisit(Payload_Digest=sha1(b""), **BY_DATE))
    assert body_of(tmp_path, look(tmp_path, STORY)[0][STORY]) == NEW


def test_a_revisit_of_a_redirect_leads_where_its_own_head_says(tmp_path):
    same = b"<h1>301 Moved</h1>"
    pages = [record(answer(word), f"http://{host}.test/end") for host, word in (("a", b"alpha"), ("b", b"beta"))]
    original = record(moved("http://a.test/end", same), "http://a.test/", Payload_Digest=sha1(same))
    for n, fields in enumerate(({"Refers_To_Target_URI": "http://a.test/"}, {"Payload_Digest": sha1(same)}, {})):
        own = [
            revisit("http://b.test/", moved("/end"), **fields),
            revisit("http://c.test/", moved("http://[/"), **fields),
            revisit("http://d.test/", answer(b"", "302 Found"), **fields),
            revisit("http://e.test/", moved("http://b.test/end", status="308 Permanent Redirect"), **fields),
        ]
        write(tmp_path / str(n), original, *own, *pages)
        found = ends(tmp_path / str(n), *(f"http://{host}.test/" for host in "abcde"))
        assert list(found.values()) == [
            ("kept", "http://a.test/end"),
            ("kept", "http://b.test/end"),
            ("bad_redirect", "http://c.test/"),
            ("bad_redirect", "http://d.test/"),
            ("kept", "http://b.test/end"),
        ]


def test_without_a_head_of_its_own_it_is_the_redirect_that_its_original_is(tmp_path):
    write(
        tmp_path,
        record(moved("http://a.test/end", b"moved"), "http://a.test/"),
        revisit(head=b"", Refers_To_Target_URI="http://a.test/"),
        record(answer(), "http://a.test/end"),
    )
    assert ends(tmp_path, STORY) == {STORY: ("kept", "http://a.test/end")}


def test_its_own_status_and_type_count(tmp_path):
    fields = {"Refers_To_Target_URI": FRONT, "Refers_To_Date": "2014-05-01T00:00:00Z"}
    heads = {
        "http://b.test/1": (answer(b"", "404 Not Found"), "not_found"),
        "http://b.test/2": (answer(b"", "503 Busy"), "server_error"),
        "http://b.test/3": (answer(b"", "200 OK", ("Content-Type", "image/png")), "not_html"),
        "http://b.test/4": (answer(b"", "203 Changed"), "kept"),
    }
    write(tmp_path, *CAPTURES, *[revisit(uri, head, **fields) for uri, (head, _) in heads.items()])
    assert ends(tmp_path, *heads) == {uri: (end, uri) for uri, (_, end) in heads.items()}
    assert look(tmp_path, "http://b.test/4")[0]["http://b.test/4"]["status"] == 203


@pytest.mark.parametrize(
    "original",
    [
        answer(OLD, "404 Not Found"),
        answer(OLD, "301 Moved", ("Location", "/")),
        answer(OLD, "200 OK", ("Content-Type", "application/json")),
        answer(gzip.compress(OLD), "206 Partial Content", ("Content-Encoding", "gzip")),
    ],
)
def test_a_body_that_failed_under_the_head_of_its_original_is_judged_under_its_own(tmp_path, original):
    asking = answer(b"", "200 OK", ("X-Robots-Tag", "noai"), ("Content-Length", "99999"))
    write(tmp_path, record(original, FRONT, Record_ID="<urn:uuid:1>"))
    write(tmp_path, revisit(Refers_To="<urn:uuid:1>"), name="2.warc.gz")
    write(tmp_path, revisit("http://c.test/", asking, Refers_To="<urn:uuid:1>"), name="3.warc.gz")
    assert ends(tmp_path, STORY, "http://c.test/") == {
        STORY: ("kept", STORY),
        "http://c.test/": ("opted_out", "http://c.test/"),
    }


def test_a_body_that_is_none_stays_so_under_any_head(tmp_path):
    cut = record(answer(OLD), FRONT, Truncated="length")
    part = revisit("http://c.test/", answer(b"", "206 Partial Content"), Refers_To_Target_URI=FRONT)
    write(tmp_path, cut, revisit(Refers_To_Target_URI=FRONT), part)
    assert list(ends(tmp_path, STORY, "http://c.test/").values()) == [
        ("too_large", STORY),
        ("incomplete", "http://c.test/"),
    ]


def test_opt_outs_are_those_of_its_own_head_and_of_the_page_itself(tmp_path):
    fields = {"Refers_To_Target_URI": FRONT}
    said = ("X-Robots-Tag", "noai")
    body = b"<p>words"
    asking = b'<meta name="robots" content="noai"><p>words'
    cases = {
        "neither": (answer(body), answer(b""), "kept"),
        "its original only": (answer(body, "200 OK", said), answer(b""), "kept"),
        "itself only": (answer(body), answer(b"", "200 OK", said), "opted_out"),
        "the page": (answer(asking), answer(b""), "opted_out"),
        "not modified": (answer(body, "200 OK", said), answer(b"", "304 Not Modified"), "opted_out"),
        "no head": (answer(body, "200 OK", said), b"", "opted_out"),
    }
    for name, (original, head, end) in cases.items():
        write(tmp_path / name, record(original, FRONT), revisit(head=head, **fields))
        assert ends(tmp_path / name, STORY) == {STORY: (end, STORY)}, name
        assert ends(tmp_path / name, STORY, opt_outs=False) == {STORY: ("kept", STORY)}, name


def test_it_is_no_original_itself(tmp_path):
    write(tmp_path, revisit("http://c.test/", Payload_Digest=sha1(NEW)), revisit(Payload_Digest=sha1(NEW)))
    assert ends(tmp_path, STORY) == {STORY: ("not_in_warc", STORY)}


LINK = "http://c.test/link"
CHAINED = {
    "date": {"Refers_To_Target_URI": LINK, "Refers_To_Date": "2014-05-11T00:00:00Z"},
    "id": {"Refers_To": "<urn:uuid:link>"},
}


@pytest.mark.parametrize("far", CHAINED)
@pytest.mark.parametrize("near", ["date", "id"])
def test_a_revisit_of_a_revisit_is_what_that_one_stands_for(tmp_path, near, far):
    link = revisit(LINK, date="2014-05-11T00:00:00Z", Record_ID="<urn:uuid:link>", **WAYS[near])
    write(tmp_path, revisit(STORY, date="2014-05-12T00:00:00Z", **CHAINED[far]), name="1.warc.gz")
    write(tmp_path, *CAPTURES, name="2.warc.gz")
    write(tmp_path, link, name="3.warc.gz")
    row = look(tmp_path, STORY)[0][STORY]
    assert (brief(row), body_of(tmp_path, row)) == (("kept", STORY), NEW)
    write(tmp_path, revisit(STORY, Payload_Digest=sha1(OLD), **CHAINED[far]), name="1.warc.gz")
    row = look(tmp_path, STORY)[0][STORY]
    assert (brief(row), body_of(tmp_path, row)) == (("kept", STORY), OLD)  # never a body that its digest gainsays


def test_revisits_of_each_other_have_no_original(tmp_path):
    other = {"Refers_To_Target_URI": STORY, "Refers_To_Date": "2014-05-10T00:00:00Z"}
    link = revisit(LINK, date="2014-05-11T00:00:00Z", Record_ID="<urn:uuid:link>", **other)
    write(tmp_path, revisit(**CHAINED["date"]), link)
    assert ends(tmp_path, STORY)[STORY][0] == "not_in_warc"


def test_of_revisits_of_one_address_each_stands_for_the_first(tmp_path):
    ids = ["<urn:uuid:old>", "<urn:uuid:1>", "<urn:uuid:2>", "<urn:uuid:3>"]
    days = ["2014-05-10T00:00:00Z", "2014-05-11T00:00:00Z", "2014-05-13T00:00:00Z"]
    chain = [
        revisit(FRONT, date=day, Record_ID=own, Refers_To=before)
        for before, own, day in zip(ids, ids[1:], days, strict=False)
    ]
    write(tmp_path, *reversed(chain), *CAPTURES)
    assert body_of(tmp_path, look(tmp_path, FRONT)[0][FRONT]) == OLD


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sha1:" + base64.b32encode(bytes(range(20))).decode(), "SHA-1:" + bytes(range(20)).hex().upper()),
        ("sha-256:" + "00" * 32, "sha256:" + "A" * 52 + "===="),
        ("md5:" + "ff" * 16, "MD5: " + "7" * 25 + "4"),
        ("blake3:Abc", "BLAKE3:Abc"),
        ("sha1:nonsense!", None),
        ("", "sha1:2jmj7l5rSw0yVb/vlWAYkK/YBwk="),
        (sha1(b""), "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ"),
    ],
)
def test_a_digest_is_one_however_it_is_spelled(one, other):
    assert revisits.digest_of(one) == revisits.digest_of(other)
