"""HTTP as it comes: answers whose head or framing is odd, where they stand, and how their pages end.

Choice: heads are literal bytes, since what is odd about them no library of HTTP would send. Cost: each says its own
Content-Length, or lies about it. Alternative: a proxy that damages decent answers.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pipeline.demo import site
from pipeline.demo.replies import HTML, Reply, page, redirect
from pipeline.shards.outcomes import Outcome

OK = b"HTTP/1.1 200 OK"
GUIDE, NEWS, FORUM = "http://docs.granary.test", "http://valleywire.test", "http://talk.oldradios.test"
BLOG, SHOP = "http://lanternfield.test", "http://kettleworks.test"
PACKED_ROBOTS = "http://packed-lunch.test/robots.txt"
RAW_TARGET = BLOG + "/2016/05/caf%E9/"  # by its bytes as they stand in the Location, percent-encoded
COOKIES = [b"Set-Cookie: c%d=%s" % (n, b"x" * 1_000) for n in range(60)]
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"


def under(number: int, url: str, *lines: bytes, status: bytes = OK, before: bytes = b"", type_: str = HTML) -> Reply:
    """Reserved passage `number` under a head of its own; `lines` follow its type, `before` precedes it all."""
    reply = page(url, site.reserved(number), declared=type_)
    return headed(reply, *lines, b"Content-Length: %d" % len(reply.body), status=status, before=before)


def headed(reply: Reply, *lines: bytes, status: bytes = OK, before: bytes = b"") -> Reply:
    """The reply under a head of its own."""
    usual = [f"{name}: {value}".encode() for name, value in reply.headers]
    return replace(reply, head=before + b"\r\n".join([status, b"Connection: close", *usual, *lines, b"", b""]))


def said_twice(number: int, url: str) -> Reply:
    """A page whose length is said twice, and is the same."""
    whole = page(url, site.reserved(number))
    return headed(whole, *2 * [b"Content-Length: %d" % len(whole.body)])


def with_more(reply: Reply, more: bytes) -> Reply:
    """The reply with bytes after it that are no part of it."""
    return replace(reply, after=more)


def broken_off(number: int, url: str) -> Reply:
    """A page of which the second half never comes."""
    whole = page(url, site.reserved(number))
    return replace(headed(whole, b"Content-Length: %d" % len(whole.body)), body=whole.body[: len(whole.body) // 2])


def packed_robots() -> Reply:
    """A robots.txt as a compressed file, its first lines a rule, most of it beyond what counts."""
    rules = b"User-agent: *\nDisallow: /2014/\n" + b"".join(b"Disallow: /drawer/%d\n" % n for n in range(60_000))
    headers = (("Content-Type", "text/plain"), ("Content-Encoding", "gzip"))
    return Reply(headers=headers, body=gzip.compress(rules, 1, mtime=0))


def moved_to_raw_bytes() -> Reply:
    """A redirect whose target is written in Latin-1."""
    head = b"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /2016/05/caf\xe9/\r\nContent-Length: 0\r\n\r\n"
    return replace(redirect(RAW_TARGET), head=head)


Row = tuple[str, str, Outcome, Callable[[], Reply] | None]
KEPT_ROWS: tuple[Row, ...] = tuple(
    (name, url, Outcome.KEPT, made)
    for name, url, made in (
        ("reason phrase in another script", GUIDE + "/guide/phrase.html",
         partial(under, 24, GUIDE + "/guide/phrase.html", status="HTTP/1.1 200 Хорошо".encode("koi8-r"))),
        ("sixty cookies", SHOP + "/item.php?id=cookies",
         partial(under, 25, SHOP + "/item.php?id=cookies", *COOKIES)),
        ("header lines that are none", NEWS + "/story/11/lines",
         partial(under, 26, NEWS + "/story/11/lines", b'P3P : CP="ALL"', b"no colon", b" nor a name", b": nothing")),
        ("length said twice", FORUM + "/t/twice/2",
         partial(said_twice, 27, FORUM + "/t/twice/2")),
        ("a coding that is none", GUIDE + "/guide/coding.html",
         partial(under, 28, GUIDE + "/guide/coding.html", b"Content-Encoding: utf-8")),
        ("moved to raw bytes", BLOG + "/old-cafe", moved_to_raw_bytes),
        ("hints before the answer", NEWS + "/story/12/hints",
         partial(under, 30, NEWS + "/story/12/hints", before=EARLY + EARLY)),
        ("a type that is none", SHOP + "/item.php?id=type",
         partial(under, 31, SHOP + "/item.php?id=type", type_="text/html charset=utf-8")),
        ("bytes after the answer", FORUM + "/t/after/4",
         lambda: with_more(under(32, FORUM + "/t/after/4"), b"HTTP/1.1 200 OK\r\n\r\nsomebody else's")),
        ("labelled gzip, sent as it is", BLOG + "/2017/02/label/",
         partial(under, 33, BLOG + "/2017/02/label/", b"Content-Encoding: gzip")),
    )
)  # fmt: skip
LOST_ROWS: tuple[Row, ...] = (
    ("half a page", NEWS + "/story/13/half", Outcome.INCOMPLETE, partial(broken_off, 34, NEWS + "/story/13/half")),
    ("a part that nobody asked for", GUIDE + "/guide/part.html", Outcome.INCOMPLETE,
     partial(under, 35, GUIDE + "/guide/part.html", b"Content-Range: bytes 0-999/5000", status=b"HTTP/1.1 206 Part")),
    ("two lengths", FORUM + "/t/two-lengths/5", Outcome.BAD_RESPONSE,
     partial(under, 36, FORUM + "/t/two-lengths/5", b"Content-Length: 7")),
    ("another protocol", "http://postroom.test/2011/01/letters/", Outcome.BAD_RESPONSE,
     lambda: Reply(head=b"220 postroom.test ready\r\n")),
    ("robots packed", "http://packed-lunch.test/2014/05/inside/", Outcome.ROBOTS_DISALLOWED, None),
)  # fmt: skip
ROWS = (*KEPT_ROWS, *LOST_ROWS)
