"""Whatever is built and removed, in whatever order: nothing that was removed comes back, and nothing else goes."""

import io
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline import config, urls
from pipeline.build import artefact, build
from pipeline.shards import schemas
from pipeline.shards.runner import PlainRun
from pipeline.verbs.remove import remove
from tests.verbs.remove.working import NOW, holding

HOSTS = ("a.example", "b.example", "deep.b.example", "c.example")
ADDRESSES = tuple(f"http://{host}/p{n}q" for host in HOSTS for n in range(3))
REMOVALS = (*ADDRESSES, *HOSTS, *(f"t3_s{n}" for n in range(len(ADDRESSES))))

# Each address holds a page of its own, or redirects to another.
webs = st.lists(st.one_of(st.none(), st.sampled_from(ADDRESSES)), min_size=len(ADDRESSES), max_size=len(ADDRESSES))
links = st.frozensets(st.sampled_from(range(len(ADDRESSES))))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("build"), links),
        st.tuples(st.just("remove"), st.sets(st.sampled_from(REMOVALS), min_size=1, max_size=2)),
    ),
    max_size=4,
)


def word_of(number):
    return "page" + "abcdefghijkl"[number] * 3


def write(folder, web, posted):
    """A WARC file of the web, and a dump of some links of it."""
    with (folder / "web.warc.gz").open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for number, (address, target) in enumerate(zip(ADDRESSES, web, strict=True)):
            text = " ".join(f"{word_of(number)} wrote line {n} of it" for n in range(8))
            body = f"<html><body><p>{text}</p></body></html>".encode() if target is None else b""
            fields = [("Content-Type", "text/html")] if target is None else [("Location", target)]
            head = StatusAndHeaders("200 OK" if target is None else "302 Found", fields, protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(address, "response", io.BytesIO(body), http_headers=head))
    post = {"score": 9, "created_utc": 1_400_000_000, "subreddit": "s", "over_18": False, "is_self": False}
    rows = [{"id": f"s{n}", "url": ADDRESSES[n], **post} for n in sorted(posted)]
    (folder / "dump.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows) or "\n")


def chain(web, number):
    """The addresses that a link is led over, its own first; and whether there is a page at their end."""
    seen = [ADDRESSES[number]]
    while (target := web[ADDRESSES.index(seen[-1])]) is not None:
        if target in seen:
            return seen, False
        seen.append(target)
    return seen, True


def is_gone(web, number, asked, gone):
    """Whether a link is to be away: it, its post, or an address that it is led to was asked for or went before."""
    if f"t3_s{number}" in asked or number in gone:
        return True
    hosts = [one.split("/")[2] for one in chain(web, number)[0]]
    below = any(host == one or host.endswith(f".{one}") for host in hosts for one in asked)
    return below or any(one in asked or ADDRESSES.index(one) in gone for one in chain(web, number)[0])


def documents(work):
    one = artefact(work, "documents", 2)
    rows = [row for shard in range(2) for row in schemas.read_parquet(one.file(shard, ".parquet")).to_pylist()]
    return {row["url"] for row in rows if row["outcome"] == "kept"}


ALONE = [None] * len(ADDRESSES)
REDIRECTED = [None, None, None, ADDRESSES[0], *ALONE[4:]]
LATER = [("remove", {"t3_s0"}), ("build", frozenset({0, 1, 3}))]  # the post is named before anybody has seen it
TWICE = [None, None, None, ADDRESSES[0], None, None, ADDRESSES[3], *ALONE[7:]]
EVERYTHING = frozenset(range(len(ADDRESSES)))


@settings(max_examples=2, deadline=None)
@example(REDIRECTED, frozenset({0, 1}), [("remove", {ADDRESSES[0]}), ("build", frozenset({0, 1, 3}))])
@example(REDIRECTED, frozenset({1, 3}), [("remove", {ADDRESSES[0]})])  # only the redirect leads to the address
@example(REDIRECTED, frozenset({1, 3}), LATER)
@example(REDIRECTED, frozenset({0, 1, 3}), [("remove", {"t3_s0"})])
@example(TWICE, EVERYTHING, [("remove", {"b.example"})])
@given(webs, links, steps)
def test_nothing_that_was_removed_comes_back_and_nothing_else_goes(web, posted, order):
    whole(web, posted, order)


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(webs, links, steps)
def test_nothing_that_was_removed_comes_back_and_nothing_else_goes_at_length(web, posted, order):
    whole(web, posted, order)


def whole(web, posted, order):
    """The steps, between a build of what was posted and one of everything."""
    work = Path(tempfile.mkdtemp(prefix="law-"))
    try:
        hold(work, web, [("build", posted), *order, ("build", EVERYTHING)])
    finally:
        shutil.rmtree(work)


def hold(work, web, order):
    """Carry out the steps; after each build the law holds."""
    asked, gone, now = set(), set(), set()
    tables = {
        "build": {"shards": 2},
        "links": {"submissions": ["source/dump.ndjson"]},
        "pages": {"warc": ["source/*.warc.gz"], "redirects": 20},
    }
    (work / "source").mkdir()
    for step, what in order:
        if step == "build":
            now = set(what)
            write(work / "source", web, now)
            build(work, config.parse(tables), "documents", run=PlainRun())
        else:
            remove(work, 2, sorted(what), NOW)
            asked |= what
        while more := {number for number in now - gone if is_gone(web, number, asked, gone)}:
            gone |= more  # who leads to what goes by its post goes too
        stays = {number for number in now - gone if chain(web, number)[1]}
        assert documents(work) == {urls.canonical_url(ADDRESSES[number]) for number in stays}, (step, what)
        ended = {ADDRESSES.index(chain(web, number)[0][-1]) for number in stays}
        words = {word_of(number) for number in range(len(ADDRESSES)) if number not in ended}
        left = holding(work, *(words & {word_of(number) for number in gone}))
        assert {name for name in left if not name.startswith("source/")} == set(), left
