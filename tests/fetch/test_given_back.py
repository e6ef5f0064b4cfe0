"""A crawl's own segments, given back as WARC files: every link ends as it did, but for what no record says."""

import asyncio
import gzip

import pytest

from pipeline.fetch.crawler import Memory
from pipeline.fetch.warc import SegmentWriter
from tests.fetch.crawls import ends_of, link_to
from tests.fetch.local_web import PAGE, SOFTWARE, local_web, redirect, reply
from tests.fetch.warcs import body_of, look

BUSY = b"<h1>302 Found</h1>"
LONG = b"<p>some words, " * 300
COPIED = b"<!doctype html><p>copied words"
REPLIES = {
    "a.test/page": reply(),
    "a.test/text": reply(b"some words", content_type="text/plain"),
    "a.test/unlabelled": reply(PAGE, content_type=None),
    "a.test/picture": reply(b"\x89PNG\r\n\x1a\n" + bytes(9_000), content_type="image/png"),
    "a.test/empty": reply(b""),
    "a.test/none": reply(b"", "204 No Content"),
    "a.test/part": reply(PAGE, "206 Partial Content", content_range="bytes 0-9/99"),
    "a.test/all-of-it": reply(PAGE, "206 Partial Content", content_range=f"bytes 0-{len(PAGE) - 1}/{len(PAGE)}"),
    "a.test/gone": reply(b"gone", "410 Gone"),
    "a.test/odd": reply(b"odd", "999 Odd"),
    "a.test/forbidden": reply(LONG, "403 Forbidden"),
    "a.test/broken": reply(b"broken", "500 Oops"),
    "a.test/long": reply(LONG * 9),
    "a.test/packed": reply(gzip.compress(PAGE), content_encoding="gzip"),
    "a.test/packed-long": reply(gzip.compress(LONG * 9), content_encoding="gzip"),
    "a.test/mislabelled": reply(LONG, content_encoding="gzip"),
    "a.test/not-gzip": reply(b"\x00\x01\x02" * 400, content_encoding="gzip"),
    "a.test/chunked": reply(b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE), length=False, transfer_encoding="chunked"),
    "a.test/cut": reply(PAGE, length=False, content_length=9_999),
    "a.test/cut-in-a-chunk": reply(b"%x\r\n%s" % (9_999, PAGE), length=False, transfer_encoding="chunked"),
    "a.test/two-lengths": reply(PAGE).replace(b"Content-Type", b"Content-Length: 7\r\nContent-Type"),
    "a.test/early-hints": b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n" + reply(LONG[9:]),
    "a.test/odd-head": reply(LONG[99:]).replace(b"Content-Type:", b"no colon\r\nSaid : by\r\nContent-Type :"),
    "a.test/reason": reply(LONG[:-99], "200 Tr\u00e8s bien"),
    "a.test/noai": reply(PAGE, x_robots_tag="noai"),
    "a.test/meta": reply(b'<meta name="robots" content="noai"><p>words'),
    # the same bytes under other heads: revisit records of the segment
    "a.test/copy": reply(COPIED),
    "b.test/copy": reply(COPIED),
    "b.test/copy-that-asks": reply(COPIED, tdm_reservation="1"),
    "b.test/copy-elsewhere": redirect("http://b.test/copy"),
    "b.test/copy-not-found": reply(COPIED, "404 Not Found"),
    "b.test/copy-not-html": reply(COPIED, content_type="application/json"),
    **{f"b.test/{n}": reply(BUSY, "302 Found", location=f"http://a.test/{n}") for n in ("page", "gone", "b", "c")},
    "b.test/nowhere": reply(BUSY, "302 Found"),
    "b.test/mail": redirect("mailto:a@b.test"),
    "b.test/itself": redirect("/itself"),
    "b.test/round": redirect("/and-round"),
    "b.test/and-round": redirect("http://b.test/round"),
    **{f"b.test/far/{n}": redirect(f"/far/{n + 1}") for n in range(5)},
    "b.test/caf%C3%A9": reply(LONG),
    "b.test/caf%E9": reply(LONG[:-9]),
    "b.test/moved-in-utf-8": redirect("/café"),
    "b.test/moved-in-latin-1": redirect("/caf@").replace(b"@", b"\xe9"),
}


ROBOTS = b"User-agent: *\nDisallow: /private\nContent-Signal: ai-train=no\n"


async def crawled(replies, urls, **values):
    async with local_web(replies) as web:
        settings = web.settings("a.test", "b.test", redirects=3, limit_bytes=20_000, retries=0, **values)
        ends = await ends_of([link_to(url) for url in urls], settings, memory=Memory([], []))
    return ends, settings


def given_back(tmp_path, replies, urls, **values):
    """URL -> (end of its crawl, row of POINTERS from the segment that the crawl wrote)."""
    ends, settings = asyncio.run(crawled(replies, urls, **values))
    path = tmp_path / "1.warc.gz"
    with path.open("wb") as file:
        writer = SegmentWriter(file, path.name, settings, SOFTWARE)
        for _, end in ends:
            writer.write(end.hops)
    rows = look(tmp_path, *urls, redirects=3, limit_bytes=20_000, opt_outs=values.get("opt_outs", True))[0]
    return {link.doc_id: (end, rows[link.doc_id]) for link, end in ends}


@pytest.mark.parametrize("opt_outs", [True, False])
def test_every_link_ends_as_it_did(tmp_path, opt_outs):
    urls = [f"http://{name}" for name in REPLIES]
    found = given_back(tmp_path, REPLIES, urls, opt_outs=opt_outs)
    assert len(found) == len(urls)
    ends = {url: (str(end.outcome), end.final_url, end.status, [*end.opt_outs]) for url, (end, _) in found.items()}
    names = ("outcome", "final_url", "status", "opt_outs")
    read = {url: tuple(row[name] for name in names) for url, (_, row) in found.items()}
    assert read == ends
    bodies = {url: end.hops[-1].body for url, (end, _) in found.items() if end.outcome == "kept"}
    assert {url: body_of(tmp_path, found[url][1]) for url in bodies} == bodies
    assert len({outcome for outcome, *_ in read.values()}) > 12


def test_what_no_record_says_is_not_in_the_files(tmp_path):
    replies = {
        "a.test/robots.txt": reply(
            b"User-agent: *\nDisallow: /private\nContent-Signal: ai-train=no\n", content_type="text/plain"
        ),
        "a.test/page": reply(),
        "b.test/hangs-up": b"",
        "b.test/to-private": redirect("http://a.test/private"),
        "b.test/to-nobody": redirect("http://nobody.invalid/"),
    }
    urls = [*(f"http://{name}" for name in replies if "robots" not in name), "http://a.test/private"]
    found = given_back(tmp_path, replies, urls)
    ends = {url.partition("://")[2]: (str(end.outcome), row and row["outcome"]) for url, (end, row) in found.items()}
    assert ends == {
        "a.test/page": ("opted_out", "kept"),  # robots.txt asks for it
        "a.test/private": ("robots_disallowed", None),
        "b.test/hangs-up": ("connect_error", None),
        "b.test/to-private": ("robots_disallowed", "not_in_warc"),
        "b.test/to-nobody": ("name_error", "not_in_warc"),
    }
