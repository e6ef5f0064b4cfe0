"""Exchanges: what servers send is read, bytes and all, and a connection is used again only where that is safe."""

import asyncio
import gzip
from contextlib import asynccontextmanager

import pytest

from pipeline.config import PagesSettings
from pipeline.fetch.client import fetch, open_session
from pipeline.fetch.continuations import new_fetch
from pipeline.shards.outcomes import Outcome
from tests.fetch.local_web import PAGE, SOFTWARE

LENGTH = b"Content-Length: %d\r\n" % len(PAGE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"


@asynccontextmanager
async def speaking(*answers):
    """A server that gives `answers` in turn, the last for ever; each is a list of pieces, b"" hangs up.

    It yields the settings to reach it as a.test, and the numbers of connections and of requests.
    """
    counts = {"connections": 0, "requests": 0}

    async def serve(reader, writer):
        counts["connections"] += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                pieces = answers[min(counts["requests"], len(answers) - 1)]
                counts["requests"] += 1
                for piece in pieces:
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    local = {"a.test": f"127.0.0.1:{server.sockets[0].getsockname()[1]}"}
    async with server:
        yield PagesSettings(local_hosts=local, contact="a@b.test", gap_s=0.0, retries=0, deadline_s=5.0), counts


async def anywhere(url):
    return Outcome.KEPT


async def no_rest(failed, pause_s):
    pass


def asked(times, *answers):
    """The ends of so many fetches of one address, one after the other in one session, and what the server counted."""

    async def run():
        async with speaking(*answers) as (settings, counts), open_session(settings, SOFTWARE) as session:
            continuation = new_fetch("http://a.test/", settings)
            ends = [await fetch(session, continuation, settings, anywhere, no_rest) for _ in range(times)]
            return ends, counts

    return asyncio.run(run())


def asked_once(*pieces):
    ((end,), _) = asked(1, pieces)
    return end


ODD = {
    "a blank before the colon": HEAD + b"P3P : x\r\n" + LENGTH,
    "a line without a colon": HEAD + b"X-XSS-Protection=1\r\n" + LENGTH,
    "a length after a blank": HEAD + LENGTH.replace(b":", b" :"),
    "the same length twice": HEAD + LENGTH + LENGTH.lower(),
    "the same length in a list": HEAD + LENGTH.replace(b"\r\n", b", %d\r\n" % len(PAGE)),
    "a folded value": HEAD + b"X: a\r\n  b\r\n" + LENGTH,
    "lines that end in LF": (HEAD + LENGTH).replace(b"\r\n", b"\n"),
    "a NUL in a value": HEAD + b"X: a\x00b\r\n" + LENGTH,
    "a reason phrase of any bytes": (HEAD + LENGTH).replace(b"OK", bytes(range(128, 256))),
    "no reason phrase": (HEAD + LENGTH).replace(b" OK", b""),
    "HTTP/1.0": (HEAD + LENGTH).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/2": (HEAD + LENGTH).replace(b"HTTP/1.1 200 OK", b"HTTP/2 200"),
    "an unreadable length": HEAD + b"Content-Length: lots\r\n",
    "chunks that are none": HEAD + b"Transfer-Encoding: chunked\r\n",
    "a length beside chunks that are none": HEAD + b"Transfer-Encoding: chunked\r\n" + LENGTH,
    "hints before it": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HEAD + LENGTH,
}


@pytest.mark.parametrize("name", ODD)
def test_a_head_that_browsers_take_is_taken_and_kept_byte_for_byte(name):
    head = ODD[name] + (b"\n" if b"\r\n" not in ODD[name] else b"\r\n")
    end = asked_once(head + PAGE, b"")
    assert (end.outcome, end.hops[0].body) == (Outcome.KEPT, PAGE), end.detail
    assert end.hops[0].head.raw == head[head.rindex(b"HTTP/") :]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(size):
    packed = gzip.compress(PAGE)
    body = b"%x\r\n%s\r\n0\r\nT: t\r\n\r\n" % (len(packed), packed)
    codings = b"Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"
    whole = b"HTTP/1.1 103 E\r\n\r\n\r\n" + HEAD + codings + body
    ends, counts = asked(2, [whole[at : at + size] for at in range(0, len(whole), size)])
    assert [(end.outcome, end.hops[0].body) for end in ends] == [(Outcome.KEPT, packed)] * 2
    assert counts == {"connections": 1, "requests": 2}


@pytest.mark.parametrize(
    ("pieces", "outcome"),
    [
        ([HEAD + LENGTH + b"\r\n" + PAGE[:-1], b""], "incomplete"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n<p>ab\r\n", b""], "incomplete"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n<p>ab\r\nrubbish\r\n"], "incomplete"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b""], "incomplete"),
        ([HEAD + b"Content-Enc", b""], "incomplete"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b""], "incomplete"),
        ([HEAD.replace(b"200 OK", b"206 Part") + LENGTH + b"\r\n" + PAGE], "incomplete"),
        ([HEAD + b"Content-Length: 3\r\n" + LENGTH + b"\r\n" + PAGE], "bad_response"),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], "bad_response"),
        ([b"<html>", PAGE], "bad_response"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n<html></html>\r\n\r\n"], "bad_response"),
        ([b""], "connect_error"),
    ],
)
@pytest.mark.failure(
    "what answers does not speak HTTP", "outcome `bad_response`; the host does not count as dead", "nothing"
)
def test_what_is_no_whole_answer_has_an_end_of_its_own(pieces, outcome):
    end = asked_once(*pieces)
    assert end.outcome is Outcome(outcome), end.detail


@pytest.mark.parametrize(
    "status", [b"301 Moved\r\nLocation: /\r\nContent-Length: 100", b"404 None\r\nContent-Length: 100"]
)
def test_a_body_that_cannot_become_a_page_is_not_waited_for(status, monkeypatch):
    monkeypatch.setattr("pipeline.fetch.client.UNWANTED_S", 0.05)
    end = asked_once(b"HTTP/1.1 " + status + b"\r\n\r\nshort")
    assert end.outcome in (Outcome.NOT_FOUND, Outcome.REDIRECT_LOOP)
    assert end.hops[0].cut == "time"


KEEP = HEAD + LENGTH + b"\r\n" + PAGE


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        ([KEEP], 1),
        ([KEEP.replace(b"HTTP/1.1", b"HTTP/1.0")], 3),
        ([KEEP.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"\r\n\r\n", b"\r\nConnection: Keep-Alive\r\n\r\n")], 1),
        ([KEEP.replace(b"\r\n\r\n", b"\r\nConnection: x, CLOSE\r\n\r\n")], 3),
        ([KEEP + b"more than was promised"], 3),
        ([KEEP, b""], 3),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\n<p>\r\n0\r\n\r\n"], 1),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\n<p>\r\n0\r\n\r\nmore"], 3),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\n<p>\r\n0\r\n", b""], 3),
        ([b"HTTP/1.1 204 None\r\nContent-Length: 9\r\n\r\n"], 1),
        ([b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"], 1),
    ],
)
def test_a_connection_is_used_again_where_its_answer_has_ended(answer, connections):
    ends, counts = asked(3, answer)
    assert len({(end.outcome, end.hops[0].body) for end in ends}) == 1
    assert counts == {"connections": connections, "requests": 3}


def test_a_connection_that_was_closed_meanwhile_costs_no_page():
    ends, counts = asked(2, [KEEP], [b""], [KEEP])
    assert [end.outcome for end in ends] == [Outcome.KEPT, Outcome.KEPT]
    assert counts == {"connections": 2, "requests": 3}


def test_connections_that_wait_make_room_for_others():
    async def run():
        async with speaking([KEEP]) as (settings, counts):
            (address,) = settings.local_hosts.values()
            hosts = {f"{n}.test": address for n in range(5)}
            few = PagesSettings(local_hosts=hosts, contact="a@b.test", gap_s=60.0, connections=2, retries=0)
            async with open_session(few, SOFTWARE) as session:
                for name in (*hosts, "4.test"):
                    await fetch(session, new_fetch(f"http://{name}/", few), few, anywhere, no_rest)
                return counts, len(session.connections.idle)

    assert asyncio.run(run()) == ({"connections": 5, "requests": 6}, 2)
