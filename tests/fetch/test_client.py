"""One request: an outcome for every answer.

Long because one local server and its replies serve all cases.
"""

import asyncio
import datetime
import gzip
import socket
import ssl
import threading

import pytest

from pipeline.config import PagesSettings
from pipeline.fetch.client import check_contact, fetch, open_session
from pipeline.fetch.continuations import Continuation, Later, Unfinished, new_fetch
from pipeline.fetch.exchange import request_of
from pipeline.fetch.heads import HEAD_BYTES
from pipeline.shards.outcomes import ConfigError, Outcome
from tests.fetch.local_web import PAGE, SOFTWARE, local_web, redirect, reply

LIMIT = 200_000


async def anywhere(url):
    return Outcome.KEPT


async def rest(failed, pause_s):
    await asyncio.sleep(pause_s)


def fetched(replies, url="http://a.test/", allowed=anywhere, continuation=None, **settings):
    """What the fetch of `url`, or what a continuation leaves of it, from a web of `replies` gave, and that web."""

    async def run():
        async with local_web(replies) as web:
            chosen = web.settings(**{"limit_bytes": LIMIT, **settings})
            async with open_session(chosen, SOFTWARE) as session:
                return await fetch(session, continuation or new_fetch(url, chosen), chosen, allowed, rest), web

    return asyncio.run(run())


async def endless(writer):
    writer.write(reply(b"", length=False))
    while True:
        writer.write(b"<p>and on</p>" * 1_000)
        await writer.drain()


async def endless_chunks(writer):
    writer.write(reply(b"", length=False, transfer_encoding="chunked"))
    while True:
        writer.write(b"5\r\n12345\r\n" * 1_000)
        await writer.drain()


async def silent(writer):
    await asyncio.sleep(60)


async def dripping(writer):
    writer.write(reply(b"", length=False))
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.02)


async def hangs_up(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nonly so much")


async def says_nothing(writer):
    pass


async def speaks_first(writer):
    writer.write(b"220 mail.a.test ESMTP\r\n")
    await asyncio.sleep(60)


async def endless_head(writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: y\r\n" * 1_000)
        await writer.drain()


def with_head_of(size):
    whole = reply(x="")
    return whole.replace(b"X: ", b"X: " + b"y" * (size - whole.index(PAGE)))


OUTCOMES = {
    "a page": (reply(), "kept"),
    "xhtml": (reply(content_type="application/xhtml+xml; charset=utf-8"), "kept"),
    "plain text": (reply(b"words", content_type="text/plain"), "kept"),
    "no content type": (reply(content_type=None), "kept"),
    "gzip": (reply(gzip.compress(PAGE), content_encoding="gzip"), "kept"),
    "no content type, no html": (reply(b"\x89PNG\r\n\x1a\n", content_type=None), "not_html"),
    "an image": (reply(b"\x89PNG", content_type="image/png"), "not_html"),
    "an endless image": (endless, "too_large"),
    "404": (reply(status="404 Not Found"), "not_found"),
    "410": (reply(status="410 Gone"), "not_found"),
    "403": (reply(status="403 Forbidden"), "client_error"),
    "500": (reply(status="500 Oops"), "server_error"),
    "304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", "bad_status"),
    "999": (reply(status="999 Odd"), "bad_status"),
    "nothing in it": (reply(b""), "empty_body"),
    "endless": (endless, "too_large"),
    "endless chunks": (endless_chunks, "too_large"),
    "one byte too many": (reply(bytes(LIMIT + 1)), "too_large"),
    "exactly the limit": (reply(b"<p>" + bytes(LIMIT - 3)), "kept"),
    "gzip bomb": (reply(gzip.compress(bytes(30_000_000)), content_encoding="gzip"), "too_large"),
    "not gzip": (reply(b"words", content_encoding="gzip"), "kept"),
    "damaged gzip": (reply(gzip.compress(PAGE)[:-5], content_encoding="gzip"), "bad_encoding"),
    "noai": (reply(x_robots_tag="noai"), "opted_out"),
    "tdm": (reply(tdm_reservation="1"), "opted_out"),
    "meta noai": (reply(b'<html><meta name="robots" content="noai">'), "opted_out"),
    "hangs up": (hangs_up, "incomplete"),
    "hangs up in the head": (b"HTTP/1.1 200 OK\r\nContent-Ty", "incomplete"),
    "says nothing": (says_nothing, "connect_error"),
    "not HTTP": (b"220 mail.a.test ESMTP\r\n\r\n", "bad_response"),
    "not HTTP, and waits": (speaks_first, "bad_response"),
    "HTTP/0.9": (b"<html><p>no head</html>", "bad_response"),
    "a long header": (reply(x="y" * 100_000), "kept"),
    "many headers": (reply(**{f"x{n}": n for n in range(5_000)}), "kept"),
    "the longest head": (with_head_of(HEAD_BYTES), "kept"),
    "a head too long": (with_head_of(HEAD_BYTES + 1), "bad_response"),
    "a head without end": (endless_head, "bad_response"),
    "no location": (reply(status="302 Found"), "bad_redirect"),
    "mail": (redirect("mailto:a@b.test"), "bad_redirect"),
    "no host": (redirect("http://"), "bad_redirect"),
    "a password": (redirect("http://me:secret@a.test/"), "bad_redirect"),
    "itself": (redirect("http://a.test/#here"), "redirect_loop"),
    "no such name": (redirect("http://nobody.invalid/"), "name_error"),
    "metadata": (redirect("http://169.254.169.254/latest/"), "not_public"),
    "not TLS": (redirect("https://a.test/"), "tls_error"),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_answer_has_its_outcome(name):
    answer, outcome = OUTCOMES[name]
    result, _ = fetched({"a.test/": answer}, retries=0)
    assert result.outcome is Outcome(outcome), result.detail


@pytest.mark.failure(
    "an answer is too slow", "outcome `timed_out` at `pages.deadline_s`", "raise `pages.passes` another day"
)
@pytest.mark.parametrize("answer", [silent, dripping], ids=["before the head", "in the body"])
def test_the_deadline_ends_a_slow_answer(answer):
    result, web = fetched({"a.test/": answer}, deadline_s=0.3)
    assert result.outcome is Outcome.TIMED_OUT
    assert web.paths() == ["/"]


def test_the_deadline_covers_all_redirects_together():
    async def slowly(writer):
        await asyncio.sleep(0.2)
        writer.write(redirect(f"/{len(paths)}"))
        paths.append(len(paths))

    paths = [0]
    replies = {"a.test/": slowly, **{f"a.test/{n}": slowly for n in range(1, 20)}}
    result, _ = fetched(replies, deadline_s=0.5, redirects=20)
    assert result.outcome is Outcome.TIMED_OUT
    assert len(result.hops) <= 2


def test_the_deadline_covers_the_name_server(monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: answered.wait(30))
    try:
        result, _ = fetched({}, "http://slow-name.test/", deadline_s=0.2)
    finally:
        answered.set()
    assert result.outcome is Outcome.TIMED_OUT


def test_waiting_for_permission_does_not_count_against_the_deadline():
    async def after_a_while(url):
        await asyncio.sleep(0.4)
        return Outcome.KEPT

    result, _ = fetched({"a.test/": reply()}, allowed=after_a_while, deadline_s=0.3)
    assert result.outcome is Outcome.KEPT


def test_a_port_where_nobody_listens_is_a_connect_error():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        hosts = {"a.test": f"127.0.0.1:{unused.getsockname()[1]}"}
        result, _ = fetched({}, local_hosts=hosts)
    assert result.outcome is Outcome.CONNECT_ERROR
    assert result.hops == ()


def test_redirects_are_followed_and_kept():
    replies = {
        "a.test/": redirect("/b?x=1#part", "301 Moved"),
        "a.test/b?x=1": redirect("//b.test/../c", "307 Temporary"),
        "b.test/c": reply(PAGE, x_test="yes"),
    }
    result, _ = fetched(replies)
    assert (result.outcome, result.status, result.content_type) == (Outcome.KEPT, 200, "text/html")
    assert result.url == "http://a.test/"
    assert result.final_url == "http://b.test/c"
    assert [(hop.url, hop.status, hop.head.reason) for hop in result.hops] == [
        ("http://a.test/", 301, "Moved"),
        ("http://a.test/b?x=1", 307, "Temporary"),
        ("http://b.test/c", 200, "OK"),
    ]
    assert result.hops[-1].body == PAGE
    assert ("X-Test", "yes") in result.hops[-1].headers


def test_a_body_is_kept_as_it_was_sent_without_the_chunks():
    packed = gzip.compress(PAGE)
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)
    result, _ = fetched({"a.test/": reply(chunks, length=False, transfer_encoding="chunked", content_encoding="gzip")})
    assert result.outcome is Outcome.KEPT
    assert result.hops[0].body == packed


@pytest.mark.failure("redirects go in a circle", "outcome `redirect_loop`", "nothing")
def test_a_loop_ends_where_it_closes():
    result, web = fetched({"a.test/": redirect("/b"), "a.test/b": redirect("/c"), "a.test/c": redirect("/b")})
    assert result.outcome is Outcome.REDIRECT_LOOP
    assert web.paths() == ["/", "/b", "/c"]


@pytest.mark.parametrize(("limit", "outcome"), [(3, "too_many_redirects"), (4, "kept")])
def test_redirects_are_limited(limit, outcome):
    replies = {
        "a.test/": redirect("/1"),
        **{f"a.test/{n}": redirect(f"/{n + 1}") for n in (1, 2, 3)},
        "a.test/4": reply(),
    }
    result, web = fetched(replies, redirects=limit)
    assert result.outcome is Outcome(outcome)
    assert len(web.paths()) == limit + 1


def test_permission_is_asked_before_every_request():
    async def only_a(url):
        asked.append(url)
        return Outcome.KEPT if "a.test" in url else Outcome.ROBOTS_DISALLOWED

    asked = []
    result, web = fetched({"a.test/": redirect("http://b.test/"), "b.test/": reply()}, allowed=only_a)
    assert result.outcome is Outcome.ROBOTS_DISALLOWED
    assert result.final_url == "http://b.test/"
    assert asked == ["http://a.test/", "http://b.test/"]
    assert web.requests == [("a.test", "/")]


@pytest.mark.parametrize(
    ("first", "tries"),
    [
        (reply(status="503 Busy"), 2),
        (reply(status="429 Slow down", retry_after="0"), 2),
        (hangs_up, 2),
        (says_nothing, 2),
        (reply(status="404 Not Found"), 1),
        (reply(status="403 Forbidden"), 1),
        (b"220 mail.a.test ESMTP\r\n\r\n", 1),
        (reply(status="503 Busy", retry_after="3600"), 1),
        (reply(status="503 Busy", retry_after="Fri, 31 Dec 9999 23:59:59 GMT"), 1),
        (reply(status="503 Busy", retry_after="Thu, 01 Jan 1970 00:00:00 GMT"), 2),
        (reply(status="503 Busy", retry_after="a while"), 2),
    ],
)
def test_only_what_may_pass_is_tried_again(first, tries):
    result, web = fetched({"a.test/": [first, reply()]})
    assert len(web.paths()) == tries
    assert (result.outcome is Outcome.KEPT) == (tries == 2)


def test_retries_are_limited():
    result, web = fetched({"a.test/": reply(status="500 Oops")}, retries=2)
    assert result.outcome is Outcome.SERVER_ERROR
    assert len(web.paths()) == 3


def test_retry_after_is_waited_for():
    _, web = fetched({"a.test/": [reply(status="503 Busy", retry_after="1"), reply()]})
    assert web.times[1][1] - web.times[0][2] >= 1.0


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "１２７.１"]
)
def test_a_redirect_inside_opens_no_connection(scheme, host):
    async def run():
        async with local_web({}) as trap, local_web({"a.test/": redirect(f"{scheme}://{host}:{trap.port}/")}) as web:
            settings = web.settings()
            async with open_session(settings, SOFTWARE) as session:
                end = await fetch(session, new_fetch("http://a.test/", settings), settings, anywhere, rest)
                return end, trap.connections

    result, connections = asyncio.run(run())
    assert result.outcome is Outcome.NOT_PUBLIC
    assert connections == 0


def test_a_request_says_who_asks_and_carries_no_cookie():
    replies = {"a.test/": redirect("/b"), "a.test/b": reply()}
    replies["a.test/"] = reply(b"", status="302 Found", location="/b", set_cookie="id=1")
    result, web = fetched(replies)
    head = web.heads[1].decode().lower()
    assert "user-agent: webtext/0.0 (+mailto:a@b.test)\r\n" in head
    assert "accept-encoding: gzip, deflate\r\n" in head
    assert "cookie" not in head
    assert request_of(result.hops[1].url, result.hops[1].asked) == web.heads[1]  # as the WARC file has it


def test_a_certificate_nobody_vouches_for_is_a_tls_error(tmp_path):
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.test")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("a.test")]), False)
    pem = tmp_path / "a.pem"
    pem.write_bytes(
        builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )

    async def run():
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem)
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        hosts = {"a.test": f"127.0.0.1:{server.sockets[0].getsockname()[1]}"}
        settings = PagesSettings(local_hosts=hosts, contact="a@b.test")
        async with server, open_session(settings, SOFTWARE) as session:
            return await fetch(session, new_fetch("https://a.test/", settings), settings, anywhere, rest)

    assert asyncio.run(run()).outcome is Outcome.TLS_ERROR


@pytest.mark.failure("`pages.contact` is no address", "exit 2 before the first request", "set it")
@pytest.mark.parametrize(
    "contact",
    [
        PagesSettings().contact,
        "",
        " ",
        "me",
        "a@b.test\r\nX: y",
        "you@example.com",
        "https://www.example.org/",
        "https://YOUR-SITE/about",
    ],
)
def test_a_contact_that_reaches_nobody_is_refused(contact):
    with pytest.raises(ConfigError, match=r"pages\.contact") as refusal:
        check_contact(PagesSettings(contact=contact))
    assert ("names of example are nobody's" in str(refusal.value)) == ("example." in contact.lower())


@pytest.mark.parametrize("contact", ["https://a.test/bot", "mailto:a@b.test", "a@b.test"])
def test_a_contact_is_a_page_or_a_mail_address(contact):
    check_contact(PagesSettings(contact=contact))


def test_a_fetch_that_may_not_go_on_ends_as_what_is_left_of_it_and_is_finished_elsewhere():
    async def only_a(url):
        if "a.test" not in url:
            raise Later
        return Outcome.KEPT

    replies = {"a.test/": redirect("/b"), "a.test/b": redirect("http://b.test/c"), "b.test/c": redirect("/d")}
    replies["b.test/d"] = reply()
    begun, _ = fetched(replies, allowed=only_a)
    assert isinstance(begun, Unfinished)
    assert [hop.url for hop in begun.hops] == ["http://a.test/", "http://a.test/b"]
    left = begun.continuation
    assert (left.target, left.asked) == ("http://b.test/c", ("http://a.test/", "http://a.test/b"))
    assert 0 < left.left_s < 10.0

    ended, web = fetched(replies, continuation=left)
    assert (ended.outcome, ended.url, ended.final_url) == (Outcome.KEPT, "http://a.test/", "http://b.test/d")
    assert web.paths() == ["/c", "/d"]


@pytest.mark.parametrize(
    ("asked", "location", "outcome"),
    [
        (("http://b.test/x",), "http://b.test/x", "redirect_loop"),
        (("http://b.test/x", "http://c.test/y"), "/more", "too_many_redirects"),
        (("http://b.test/x",), "/more", "kept"),
    ],
)
def test_what_was_asked_elsewhere_counts_for_loops_and_the_limit(asked, location, outcome):
    replies = {"a.test/": redirect(location), "a.test/more": reply()}
    ended, _ = fetched(replies, continuation=Continuation("http://a.test/", asked, 10.0), redirects=2)
    assert ended.outcome is Outcome(outcome)


def test_the_deadline_that_is_left_holds_for_the_rest():
    ended, _ = fetched({"a.test/": silent}, continuation=Continuation("http://a.test/", (), 0.2))
    assert ended.outcome is Outcome.TIMED_OUT


def test_tries_that_were_used_up_elsewhere_are_not_tried_again():
    ended, web = fetched(
        {"a.test/": [hangs_up, reply()]}, continuation=Continuation("http://a.test/", (), 10.0, tries=2), retries=2
    )
    assert ended.outcome is Outcome.INCOMPLETE
    assert web.paths() == ["/"]
