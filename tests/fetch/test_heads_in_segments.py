"""What a crawl accepts, its own records give back: heads to the byte, bodies, and the same judgement of both."""

import asyncio
import gzip
import io
import tempfile
import zlib
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from pipeline.config import PagesSettings
from pipeline.fetch import heads
from pipeline.fetch.captures import index
from pipeline.fetch.connections import Connection
from pipeline.fetch.exchange import Wanted, body_from, head_from
from pipeline.fetch.readback import BadRecord, read_response
from pipeline.fetch.response import REDIRECTS, Hop, Refused, judge
from pipeline.fetch.warc import SegmentWriter, stored_head
from pipeline.shards.outcomes import Outcome

SETTINGS = PagesSettings(contact="a@b.test", limit_bytes=20_000)
URL = "http://a.test/"
PAGE = b"<!doctype html><p>words</p>" * 20


def answered(data):
    """The hop of an answer of these bytes, after which the server hangs up; or the outcome without one."""

    async def run():
        connection = Connection()
        connection.data_received(data)
        connection.eof_received()
        try:
            found = await head_from(connection)
        except Refused as refusal:
            return refusal.outcome
        if found is None:
            return Outcome.CONNECT_ERROR
        head, rest = found
        if heads.contradiction(head):
            return Hop.of(URL, "2024-05-06T07:08:09.123456Z", (), head, b"")
        body, cut = await body_from(connection, heads.Body(head), rest, Wanted(SETTINGS.limit_bytes))
        return Hop.of(URL, "2024-05-06T07:08:09.123456Z", (), head, body, cut)

    return asyncio.run(run())


def check(data):
    """What an answer came to, after the record of it was read back by three readers and judged like the answer."""
    hop = answered(data)
    if not isinstance(hop, Hop):
        return hop
    file = io.BytesIO()
    place = SegmentWriter(file, "s.warc.gz", SETTINGS, "webtext/0.0").write([hop])
    stored = stored_head(hop.head)
    verdict = judge(hop.head, hop.body, SETTINGS, hop.cut)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "s.warc.gz")
        path.write_bytes(file.getvalue())
        (capture,) = index(path, SETTINGS)
        try:
            read = read_response(path, place.offset, place.length, SETTINGS.limit_bytes)
        except BadRecord:
            assert verdict.outcome not in (Outcome.KEPT, Outcome.OPTED_OUT)
        else:
            assert (read.status, read.headers) == (hop.status, heads.parse(stored)[0].headers)
            assert verdict.outcome is not Outcome.KEPT or read.body == verdict.body
    if hop.status not in REDIRECTS:
        assert (capture.status, capture.outcome) == (hop.status, verdict.outcome), capture.detail
        assert (capture.content_type, capture.opt_outs) == (verdict.content_type, verdict.opt_outs)
    (record,) = [one for one in raw_records(file.getvalue()) if one.startswith(stored)]
    assert record == stored + hop.body
    if not heads.transfer_codings(hop.head.headers):
        assert stored == hop.head.raw
    return verdict.outcome


def raw_records(content):
    """The blocks of all records, as warcio reads them."""
    for record in ArchiveIterator(io.BytesIO(content), no_record_parse=True):
        yield record.raw_stream.read()


LINES = st.one_of(
    st.sampled_from([
        b"Content-Type: text/html", b"Content-Type: text/html charset=utf-8", b"content-type : text/plain", b"no colon",
        b"Content-Encoding: gzip", b"Content-Encoding: none", b"Content-Encoding: deflate", b"X-Robots-Tag: noai",
        b"Content-Length: 540", b"Content-Length : 540, 540", b"Content-Length: 7", b"Content-Length: 9999",
        b"Transfer-Encoding: chunked", b"transfer-encoding : gzip, chunked", b"Transfer-Encoding: gzip", b" folded",
        b"Content-Range: bytes 0-539/540", b": nameless", b"Location: /\xe9", b"",
    ]),
    st.binary(max_size=30),
    st.builds(lambda size: b"Set-Cookie: " + b"x" * size, st.integers(0, 70_000)),
)  # fmt: skip
STATUS = st.sampled_from([b"200", b"200", b"200", b"206", b"204", b"301", b"404", b"500", b"999"])
CHUNKED = b"21c\r\n%s\r\n0\r\n\r\n" % PAGE
LIKE_CHUNKS = b"a\r\n5\r\nwords\r\n\r\n0\r\n\r\n"  # of ten bytes that look like a chunk themselves
BODIES = st.sampled_from([
    PAGE, b"", PAGE[:100], gzip.compress(PAGE), gzip.compress(PAGE)[:-9], zlib.compress(PAGE), b"plain words",
    PAGE * 60,
    b"\x01\x02", CHUNKED, b"21c\r\n%s" % PAGE[:50],
    b"%x\r\n%s\r\n0\r\n\r\n" % (len(gzip.compress(PAGE)), gzip.compress(PAGE)),
])  # fmt: skip


@given(STATUS, st.binary(max_size=40), st.lists(LINES, max_size=8), BODIES, st.sampled_from([b"\r\n", b"\n"]))
@settings(max_examples=150, deadline=None)
@example(b"404", "Página no encontrada".encode(), [b"Content-Type: text/html"], PAGE, b"\r\n")
@example(b"200", b"OK", [b"Set-Cookie: " + b"x" * 1_000] * 240, PAGE, b"\r\n")
@example(b"200", b"OK", [b"a:"] * 50_000, PAGE, b"\r\n")
@example(
    b"200", b"OK", [b"Transfer-Encoding: chunked", b"Content-Length: 3"], b"21c\r\n%s\r\n0\r\n\r\n" % PAGE, b"\r\n"
)
@example(b"200", b"OK", [b"Content-Length: 3", b"Content-Length: 4"], PAGE, b"\r\n")
@example(b"200", b"OK", [b"Content-Type: text/plain", b"Transfer-Encoding: chunked"], LIKE_CHUNKS, b"\r\n")
def test_whatever_a_crawl_accepts_its_record_gives_back_and_is_judged_alike(status, phrase, lines, body, end):
    phrase = phrase.replace(b"\n", b"")
    check(
        end.join([b"HTTP/1.1 " + status + b" " + phrase, *(one.replace(b"\n", b"") for one in lines), b"", b""]) + body
    )


def test_a_head_as_long_as_the_limit_is_kept_and_one_byte_more_has_a_named_end():
    room = heads.HEAD_BYTES - len(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX: \r\n\r\n")
    made = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX: %s\r\n\r\n"
    assert check(made % (b"y" * room) + PAGE) is Outcome.KEPT
    assert check(made % (b"y" * (room + 1)) + PAGE) is Outcome.BAD_RESPONSE
