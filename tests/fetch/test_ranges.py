"""Ranges: few requests, the very bytes asked for, and a named reason where they do not come."""

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.fetch import ranges
from pipeline.fetch.client import open_session
from pipeline.fetch.ranges import Piece, fetch_pieces, ranges_of
from pipeline.fetch.response import Refused
from tests.fetch.local_web import SOFTWARE, local_web, reply

CONTENT = bytes(range(256)) * 4_000  # a file of 1,024,000 bytes


def served(content=CONTENT):
    """A reply that honours Range, as a function of the request's head."""

    def answer(head):
        start, end = map(int, re.search(rb"Range: bytes=(\d+)-(\d+)", head).groups())
        if start >= len(content):
            return reply(b"", status="416 Range Not Satisfiable")
        end = min(end, len(content) - 1)
        told = f"bytes {start}-{end}/{len(content)}"
        return reply(content[start : end + 1], status="206 Partial Content", content_range=told)

    return answer


def fetch(pieces, *replies, **values):
    """(what each piece gave by key, requests made) of a server that gives `replies` in turn, the last for ever."""
    left = list(replies)

    async def run():
        async def answer(writer):
            one = left.pop(0) if len(left) > 1 else left[0]
            writer.write(one(web.heads[-1]) if callable(one) else one)
            await writer.drain()

        async with local_web({"archive.test/f": answer, "archive.test/dir/f%20g": answer}) as web:
            used = web.settings(**values)
            async with open_session(used, SOFTWARE) as session:
                got = {
                    piece.key: end async for piece, end in fetch_pieces(session, "http://archive.test/", pieces, used)
                }
            return got, web

    return asyncio.run(run())


def pieces_of(*places, file="f"):
    return [Piece(file, offset, length, f"{offset}") for offset, length in places]


def test_each_piece_is_the_bytes_at_its_place():
    places = [(0, 10), (500_000, 300), (10, 90), (1_023_999, 1)]
    got, web = fetch([*pieces_of(*places), Piece("dir/f g", 7, 5, "other")], served())
    assert got == {f"{offset}": CONTENT[offset : offset + length] for offset, length in places} | {
        "other": CONTENT[7:12]
    }
    assert len(web.heads) == 4
    assert all(b"Accept-Encoding: identity\r\n" in head for head in web.heads)
    assert all(b"(+mailto:a@b.test)" in head for head in web.heads)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 10**7), st.integers(1, 10**6)), max_size=30))
@settings(max_examples=200)
def test_ranges_hold_every_piece_once_and_are_bounded(places):
    pieces = [Piece(file, offset, length, str(n)) for n, (file, offset, length) in enumerate(places)]
    found = list(ranges_of(pieces))
    assert sorted(piece for one in found for piece in one.pieces) == sorted(pieces)
    for one in found:
        assert all(piece.file == one.file for piece in one.pieces)
        assert (min(p.offset for p in one.pieces), max(p.offset + p.length for p in one.pieces)) == (one.start, one.end)
        assert len(one.pieces) == 1 or one.end - one.start <= ranges.RANGE_BYTES
        covered = one.start
        for piece in one.pieces:
            assert piece.offset - covered <= ranges.GAP_BYTES
            covered = max(covered, piece.offset + piece.length)


BUSY = reply(b"<Code>SlowDown</Code>", status="503 Slow Down")


@pytest.mark.parametrize(
    "first",
    [
        BUSY,
        reply(b"", status="429 Too Many Requests"),
        reply(b"", status="500 Internal Server Error"),
        reply(b"", status="403 Forbidden"),
        b"",
        lambda head: served()(head)[:-3],
    ],
    ids=["503", "429", "500", "403", "hung up", "short"],
)
def test_what_may_pass_is_tried_again(first):
    got, web = fetch(pieces_of((5, 50)), first, first, served())
    assert got == {"5": CONTENT[5:55]}
    assert len(web.heads) == 3


@pytest.mark.parametrize(
    ("answer", "said", "tries"),
    [
        (BUSY, "status 503", ranges.TRIES),
        (lambda head: served()(head)[:-3], "47 of 50", ranges.TRIES),
        (reply(CONTENT), "the server ignores Range", 1),
        (reply(b"", status="404 Not Found"), "status 404", 1),
        (reply(b"", status="302 Found", location="http://archive.test/f"), "status 302", 1),
        (served(CONTENT[:30]), "other bytes than 5-54", 1),
        (served(CONTENT[:3]), "status 416", 1),
        (reply(CONTENT[:50], status="206 Partial Content"), "Content-Range none", 1),
        (reply(CONTENT[5:99], status="206 Partial Content", content_range="bytes 5-54/999"), "more than the 50", 1),
        (reply(CONTENT[5:25], status="206 Partial Content", content_range="bytes 5-54/999"), "20 of 50", ranges.TRIES),
    ],
)
def test_bytes_that_do_not_come_have_a_reason(answer, said, tries):
    got, web = fetch(pieces_of((5, 50)), answer)
    assert isinstance(got["5"], Refused)
    assert (said in got["5"].detail, got["5"].outcome, got["5"].transient) == (True, "bad_record", tries > 1)
    assert len(web.heads) == tries


@pytest.mark.failure(
    "a range of Common Crawl cannot be had",
    "outcome `bad_record`; its neighbours are read",
    '`pages.crawl = "missing"`',
)
def test_one_bad_piece_costs_its_neighbours_nothing():
    got, web = fetch(pieces_of((900, 50), (960, 20), (990, 50)), served(CONTENT[:1_000]))
    assert (got["900"], got["960"]) == (CONTENT[900:950], CONTENT[960:980])
    assert "other bytes" in got["990"].detail
    assert len(web.heads) == 4


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(ranges, "TRIES", 2)

    async def silent(writer):
        await writer.drain()
        await asyncio.Event().wait()

    async def run():
        async with local_web({"archive.test/f": silent}) as web:
            used = web.settings(deadline_s=0.05)
            async with open_session(used, SOFTWARE) as session:
                return [end async for _, end in fetch_pieces(session, "http://archive.test", pieces_of((0, 5)), used)]

    [end] = asyncio.run(run())
    assert (end.transient, "TimeoutError" in end.detail) == (True, True)


def test_the_guard_stands_before_the_archive_too():
    async def run():
        async with local_web({}) as web:
            used = web.settings("archive.test")
            async with open_session(used, SOFTWARE) as session:
                ends = fetch_pieces(session, f"http://127.0.0.1:{web.port}/", pieces_of((0, 5)), used)
                return [end async for _, end in ends], web.connections

    [end], connections = asyncio.run(run())
    assert isinstance(end, Refused)
    assert connections == 0
