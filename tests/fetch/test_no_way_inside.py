"""No address that is not public is ever connected, however it is written, named, led to or proxied.

And no public one is refused. Every attempt to connect, to wherever, is recorded and goes nowhere; beside it a real
server waits on loopback as a trap.
"""

import asyncio
import socket
from asyncio.selector_events import BaseSelectorEventLoop

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import PagesSettings
from pipeline.fetch.client import fetch, open_session
from pipeline.fetch.connections import origin_of
from pipeline.fetch.continuations import new_fetch
from pipeline.fetch.exchange import request_of
from pipeline.shards.outcomes import Outcome
from pipeline.urls import BadUrl, fetch_url, host_of
from tests.fetch.local_web import SOFTWARE, local_web, redirect
from tests.fetch.test_guard import NOT_PUBLIC, PUBLIC

ADDRESSES = [address for address in NOT_PUBLIC if "%" not in address]

# Spellings of 127.0.0.1, 169.254.169.254 and 10.0.0.1 that some parser or other takes for them.
SPELLINGS = """
2130706433 017700000001 0x7f000001 0X7F000001 0x7f.0x0.0x0.0x1 0x7f.1 0177.0.0.1 0177.0x0.0.1 127.1 127.0.1
127.00.00.01 127.0.0.1. 127。0。0。1 127．0．0．1 １２７.０.０.１ １２７．０．０．１ ①②⑦.⓪.⓪.① 𝟏𝟐𝟕.𝟎.𝟎.𝟏
%31%32%37.0.0.1 127%2e0%2e0%2e1 ２１３０７０６４３３ ０ｘ７ｆ.１ 127.0.0.1%00 0 0.0 0x0 00 127.255.255.254
[::1] [::] [0:0:0:0:0:0:0:1] [0000::0001] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:7f00:0001]
[::127.0.0.1] [64:ff9b::127.0.0.1] [2002:7f00:1::] [::1%25lo] [::1%lo] [fe80::1%25eth0]
2852039166 0xa9fea9fe 0xa9.0xfe.0xa9.0xfe 0251.0376.0251.0376 169.254.43518 169.16689662 025177524776
１６９.２５４.１６９.２５４ 169。254。169。254 [::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [64:ff9b::a9fe:a9fe]
167772161 0xa000001 012.0.0.1 10.1 0xa.1 012.1 １０.０.０.１ 10。0。0。1 [::ffff:10.0.0.1] [::ffff:a00:1] [2002:a00:1::]
""".split()  # noqa: SIM905

TRICKS = [
    "http://8.8.8.8@127.0.0.1/",
    "http://8.8.8.8:80@127.0.0.1/",
    "http://8.8.8.8\\@127.0.0.1/",
    "http://127.0.0.1\\@8.8.8.8/",
    "http://127.0.0.1#@8.8.8.8/",
    "http://127.0.0.1?@8.8.8.8/",
    "http://8.8.8.8%40127.0.0.1/",
    "http:\\\\127.0.0.1\\",
    "http:127.0.0.1/",
    "http:/127.0.0.1/",
    "http:///127.0.0.1/",
    "  http://127.0.0.1/ ",
    "ht\ttp://127.0.0.1/",
    "http://[::ffff:127.0.0.1]:80:80/",
    "http://127.0.0.1:0x50/",
    "https://127.0.0.1/",
    "ftp://127.0.0.1/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "data:text/html,<p>inside",
    "javascript:fetch('http://127.0.0.1/')",
    "view-source:http://127.0.0.1/",
]

# Names, and what a name server that means no good (or a hosts file) says of them.
NAMES = {
    "localhost": "127.0.0.1",
    "localhost.": "127.0.0.1",
    "LOCALHOST": "127.0.0.1",
    "ｌｏｃａｌｈｏｓｔ": "127.0.0.1",
    "loc%61lhost": "127.0.0.1",
    "app.localhost": "127.0.0.1",
    "ip6-localhost": "::1",
    "metadata.google.internal": "169.254.169.254",
    "instance-data": "169.254.169.254",
    "kubernetes.default.svc": "10.96.0.1",
    "127.0.0.1.nip.test": "127.0.0.1",
    **{f"named-{number}.test": address for number, address in enumerate(ADDRESSES)},
}
HOSTILE = [
    *(f"http://[{address}]/" if ":" in address else f"http://{address}/" for address in ADDRESSES),
    *(f"http://{spelling}/" for spelling in SPELLINGS),
    "http://127.0\t.0.1/",
    "http://127\n.0.0.1/",
    *TRICKS,
    *(f"http://{name}/" for name in NAMES),
]
OPEN = [
    *(f"{first}.20.30.40" for first in range(1, 224) if first not in (10, 127, 172)),
    *PUBLIC,
]


@pytest.fixture
def attempts(monkeypatch):
    """Every address that anything tries to connect; the names of NAMES and nothing else resolve."""
    found = []

    async def sock_connect(loop, sock, address):
        found.append(address[0])
        raise ConnectionRefusedError("a trap")

    def getaddrinfo(host, port, *_):
        names = {host_of(fetch_url(f"http://{name}/")): address for name, address in NAMES.items()}
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        family = socket.AF_INET6 if ":" in names[host] else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (names[host], port))]

    monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", sock_connect)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return found


async def anywhere(url):
    return Outcome.KEPT


async def no_rest(failed, pause_s):
    raise AssertionError("nothing here is worth a second try")


def fates(urls):
    """The outcome of each address, and how many connections reached the trap."""

    async def run():
        async with local_web({}) as trap:
            settings = PagesSettings(contact="a@b.test", retries=0)
            found = {}
            async with open_session(settings, SOFTWARE) as session:
                for url in urls:
                    try:
                        continuation = new_fetch(fetch_url(url), settings)
                    except BadUrl:
                        found[url] = Outcome.BAD_URL
                        continue
                    found[url] = (await fetch(session, continuation, settings, anywhere, no_rest)).outcome
            return found, trap.connections

    return asyncio.run(run())


def test_no_spelling_and_no_name_of_a_place_inside_is_connected(attempts):
    assert len(set(HOSTILE)) >= 200
    found, connections = fates(HOSTILE)
    inside = {Outcome.NOT_PUBLIC, Outcome.BAD_URL}
    # a backslash is a slash to browsers and to us, so that this one is a page of the public 8.8.8.8
    assert [url for url, outcome in found.items() if outcome not in inside] == ["http://8.8.8.8\\@127.0.0.1/"]
    assert set(attempts) <= {"8.8.8.8"}
    assert connections == 0
    assert sum(outcome is Outcome.NOT_PUBLIC for outcome in found.values()) >= 150


def test_no_redirect_leads_inside(monkeypatch):
    real, attempts = BaseSelectorEventLoop.sock_connect, []

    async def run():
        places = {f"a.test/{number}": redirect(ascii_location(url)) for number, url in enumerate(HOSTILE)}
        async with local_web({}) as trap, local_web(places) as web:

            async def sock_connect(loop, sock, address):
                attempts.append(address)
                if address[1] != web.port:
                    raise ConnectionRefusedError("a trap")
                return await real(loop, sock, address)

            monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", sock_connect)
            settings = web.settings(retries=0)
            async with open_session(settings, SOFTWARE) as session:
                found = {
                    url: (
                        await fetch(session, new_fetch(f"http://{place}", settings), settings, anywhere, no_rest)
                    ).outcome
                    for url, place in zip(HOSTILE, places, strict=True)
                }
            return found, trap.connections, web.port

    monkeypatch.setattr(socket, "getaddrinfo", resolved_inside)
    found, connections, port = asyncio.run(run())
    assert {(address, to) for address, to, *_ in attempts} <= {("127.0.0.1", port), ("8.8.8.8", 80)}
    assert connections == 0
    assert sum(outcome is Outcome.NOT_PUBLIC for outcome in found.values()) >= 150


def ascii_location(url):
    """An address as a server may send it in a header: without what would end the line."""
    return url.replace("\t", "%09").replace("\n", "%0A").strip()


def resolved_inside(host, port, *_):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def test_no_public_address_is_refused(attempts):
    assert len(set(OPEN)) >= 200
    urls = [f"http://[{address}]/" if ":" in address else f"http://{address}/" for address in OPEN]
    found, _ = fates(urls)
    assert {url: outcome for url, outcome in found.items() if outcome is not Outcome.CONNECT_ERROR} == {}
    assert sorted(attempts) == sorted(OPEN)


@pytest.mark.parametrize(
    "variable", ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_proxy_of_the_environment_is_connected(attempts, monkeypatch, variable, scheme):
    monkeypatch.setenv(variable, "http://127.0.0.1:8080")
    monkeypatch.delenv("no_proxy", raising=False)
    found, _ = fates([f"{scheme}://93.184.215.14/"])
    assert set(found.values()) == {Outcome.CONNECT_ERROR}
    assert set(attempts) == {"93.184.215.14"}


def test_a_name_is_connected_at_its_public_address_and_never_at_another(attempts, monkeypatch):
    both = [(2, 1, 6, "", ("10.0.0.1", 80)), (2, 1, 6, "", ("93.184.215.14", 80)), (10, 1, 6, "", ("::1", 80, 0, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: both)
    found, _ = fates(["http://both.test/"])
    assert list(found.values()) == [Outcome.CONNECT_ERROR]
    assert attempts == ["93.184.215.14"]


@pytest.mark.failure(
    "a link leads to an address inside",
    "outcome `not_public`; nothing is connected",
    "name the host in `pages.local_hosts`, if you mean it",
)
def test_a_name_that_answers_otherwise_the_second_time_is_refused(attempts, monkeypatch):
    answers = iter(["93.184.215.14", "10.0.0.1", "169.254.169.254"])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [(2, 1, 6, "", (next(answers), 80))])
    found = [list(fates([f"http://rebind.test/{n}"])[0].values()) for n in range(3)]
    assert found == [[Outcome.CONNECT_ERROR], [Outcome.NOT_PUBLIC], [Outcome.NOT_PUBLIC]]
    assert attempts == ["93.184.215.14"]


@given(st.one_of(st.text(max_size=40), st.sampled_from(SPELLINGS)), st.text(max_size=20))
def test_the_engine_reads_the_host_that_was_checked(host, rest):
    try:
        url = fetch_url(f"http://{host}/{rest}")
    except BadUrl:
        return
    scheme, name, port = origin_of(url)
    assert (scheme, name) == (url.partition("://")[0], host_of(url))
    asked, said = request_of(url, ()).decode().split("\r\n")[:2]
    authority, target = said.removeprefix("Host: "), asked.removeprefix("GET ").removesuffix(" HTTP/1.1")
    assert f"{scheme}://{authority}{target}" == url
    assert authority == (name if port == {"http": 80, "https": 443}[scheme] else f"{name}:{port}")
