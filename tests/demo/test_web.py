import asyncio
import contextlib
import gzip
import socket
import urllib.error
import urllib.request
from collections import Counter

import pytest

from pipeline.config import PagesSettings
from pipeline.demo import replies, site, traps
from pipeline.demo.web import LocalWeb
from pipeline.shards.outcomes import Outcome
from pipeline.urls import canonical_url
from tests.fetch.crawls import ends_of, link_to


@pytest.fixture(scope="module")
def web():
    with LocalWeb() as running:
        yield running


@pytest.fixture(scope="module")
def crawled():
    """What a real crawl of everything makes of the web, and how often it asked for what."""
    fetched = {}
    with LocalWeb() as fresh:
        settings = PagesSettings(
            contact="clerk@harbour-letters.test",
            gap_s=0.05,
            deadline_s=3.0,
            limit_bytes=2_000_000,
            local_hosts=fresh.local_hosts(),
        )
        for link, end in asyncio.run(ends_of(links(), settings)):
            fetched.setdefault(link.doc_id, []).append(end)
        return fetched, dict(fresh.hits)


def links():
    """A link to every page and trap, known by its canonical URL."""
    posted = [trap.posts[0].url or trap.url for trap in traps.TRAPS if trap.stage not in ("submissions", "links")]
    posted += [page.url for page in site.ordinary_pages()]
    return [link_to(url, canonical_url(url)) for url in posted]


def ask(web, host, target, enough=None):
    """Bytes of the answer over a bare socket: all, or until `enough` of them have come."""
    received = b""
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        while enough is None or len(received) < enough:
            piece = connection.recv(65_536)
            if not piece:
                break
            received += piece
    return received


def status(answer):
    return int(answer.split(b" ", 2)[1])


def body(answer):
    return answer.partition(b"\r\n\r\n")[2]


def test_every_ordinary_page_is_served_to_any_client(web):
    for page in site.ordinary_pages():
        request = urllib.request.Request(f"http://127.0.0.1:{web.port}{page.path}", headers={"Host": page.host})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert answer.read() == site.render(page).encode()


def test_a_crawl_ends_each_page_as_the_table_of_traps_says(crawled):
    fetched, _ = crawled
    for trap in traps.TRAPS:
        if trap.stage not in ("submissions", "links"):
            wanted = trap.outcome if trap.stage == "pages" else Outcome.KEPT
            assert [end.outcome for end in fetched[canonical_url(trap.url)]] == [wanted], trap.name
    assert Counter(end.outcome for ends in fetched.values() for end in ends) == traps.expected()["pages"]


def test_a_crawl_never_asks_for_what_robots_forbid_and_once_for_what_it_got(crawled):
    _, hits = crawled
    private = [place for place in hits if place[1].startswith("/private/")]
    assert private == [("harbour-letters.test", "/private/visitors/2016.html")]
    assert ("noentry.test", "/2012/01/inside/") not in hits
    assert ("closed-shutters.test", "/2014/03/door/") not in hits
    for page in site.ordinary_pages():
        assert hits[page.host.removeprefix("www."), page.path] == 1
    assert hits["tin-roof.test", "/2017/10/busy/"] == 2


def test_one_page_answers_with_and_without_www_and_tracking(web):
    first = ask(web, "www.harbour-letters.test", "/2013/05/one-page/?utm_source=reddit&utm_medium=social")
    assert status(first) == 200
    assert first == ask(web, "harbour-letters.test", "/2013/05/one-page/")
    assert first == ask(web, "Harbour-Letters.test:80", "/2013/05/one-page/")
    assert status(ask(web, "lanternfield.test", "/2013/05/one-page/")) == 404
    assert web.hits["harbour-letters.test", "/2013/05/one-page/"] == 3


@pytest.mark.parametrize(
    ("host", "target", "expected"),
    [
        ("valleywire.test", "/story/404/gone-fishing", 404),
        ("docs.granary.test", "/guide/retired.html", 410),
        ("kettleworks.test", "/item.php?id=members", 403),
        ("brasslamp.test", "/item.php?id=broken", 500),
        ("www.ledgerandpost.test", "/story/999/odd", 999),
        ("www.closed-shutters.test", "/robots.txt", 500),
        ("unfenced.test", "/robots.txt", 404),
        ("noentry.test", "/robots.txt", 200),
        ("lanternfield.test", "/robots.txt", 200),
        ("nobody.test", "/", 404),
    ],
)
def test_a_place_answers_with_its_status(web, host, target, expected):
    assert status(ask(web, host, target)) == expected


@pytest.mark.parametrize(
    ("host", "target", "location"),
    [
        ("lanternfield.test", "/old-address", b"/2018/01/new-address/"),
        ("valleywire.test", "/go/1", b"http://talk.oldradios.test/t/moved/1"),
        ("valleywire.test", "/go/2", b"/private/desk"),
        ("valleywire.test", "/loop/a", b"/loop/b"),
        ("valleywire.test", "/loop/b", b"/loop/a"),
        ("docs.granary.test", "/far/0", b"/far/1"),
        ("docs.granary.test", "/far/29", b"/far/30"),
        ("lanternfield.test", "/router", b"http://10.0.0.1/admin"),
        ("lanternfield.test", "/self", b"http://127.0.0.1:9/"),
        ("kettleworks.test", "/nowhere", None),
    ],
)
def test_a_redirect_names_its_target_or_none(web, host, target, location):
    head = ask(web, host, target).partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0].split()[1] in (b"301", b"302")
    assert [line for line in head if line.startswith(b"Location")] == ([b"Location: " + location] if location else [])


def test_the_connection_that_hangs_up_says_nothing(web):
    assert ask(web, "northquay-herald.test", "/story/5/click") == b""


def test_the_endless_page_goes_on_beyond_any_limit(web):
    assert len(ask(web, "talk.oldradios.test", "/t/endless/1", enough=5_000_000)) >= 5_000_000


def test_the_slow_head_never_ends_and_the_slow_body_has_no_length(web):
    assert b"\r\n\r\n" not in ask(web, "slowboat.test", "/2013/09/soon/", enough=110)
    slow = ask(web, "drippingtap.test", "/2013/09/drop/", enough=85)
    assert b"Content-Length" not in slow
    assert set(body(slow)) <= set(b"<")


def test_the_bomb_is_small_on_the_wire_and_large_behind_it(web):
    answer = ask(web, "kettleworks.test", "/item.php?id=heavy")
    assert b"Content-Encoding: gzip" in answer
    assert len(answer) < 200_000
    assert len(gzip.decompress(body(answer))) >= 40_000_000


def test_rubbish_is_declared_as_gzip_and_is_none(web):
    answer = ask(web, "docs.granary.test", "/guide/rubbish.html")
    assert b"Content-Encoding: gzip" in answer
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(body(answer))


def test_a_busy_page_answers_the_second_time():
    with LocalWeb() as fresh:
        asked = [status(ask(fresh, "tin-roof.test", "/2017/10/busy/")) for _ in range(3)]
    assert asked == [503, 200, 200]


def test_opt_outs_and_media_types_stand_in_the_head(web):
    assert b"X-Robots-Tag: noai, noimageai" in ask(web, "lanternfield.test", "/2019/04/mine/")
    assert b"TDM-Reservation: 1" in ask(web, "valleywire.test", "/story/88/ours")
    assert b'content="index, noai"' in ask(web, "talk.oldradios.test", "/t/hands-off/3")
    assert b"Content-Type: image/png" in ask(web, "talk.oldradios.test", "/attachment/7")
    assert body(ask(web, "lanternfield.test", "/2012/12/blank/")) == b""


@pytest.mark.parametrize("rubbish", [b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\xfe /\r\nHost\r\n\r\n", b"A" * 200_000])
def test_a_request_that_is_none_harms_nobody(web, rubbish):
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as connection, contextlib.suppress(OSError):
        connection.sendall(rubbish)
        connection.recv(1_000)
    assert status(ask(web, "lanternfield.test", "/robots.txt")) == 200


def test_local_hosts_name_every_host_both_ways_and_the_nameless_ones_not(web):
    hosts = web.local_hosts()
    assert len(hosts) == 2 * (26 + 9)
    assert hosts["tin-roof.test"] == hosts["www.tin-roof.test"] == f"127.0.0.1:{web.port}"
    assert not [name for name in hosts if not name.endswith(".test")]


def test_after_the_block_nobody_listens():
    with LocalWeb() as short:
        port = short.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_reply_keeps_its_body_when_headers_are_added():
    first = replies.error(403, "Forbidden")
    more = replies.with_headers(first, ("X-More", "1"))
    assert (more.status, more.body, more.headers) == (403, first.body, (*first.headers, ("X-More", "1")))
