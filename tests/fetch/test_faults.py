"""A fault of our own costs the link that it came with, by a name of its own, and nothing else."""

import asyncio
import json
import os

import pytest

import pipeline.fetch.blame as blame
import pipeline.fetch.visit as visit
import pipeline.fetch.writing as writing
from pipeline.fetch import client, queues, robots, warc
from pipeline.fetch.continuations import Memory, Pace
from pipeline.fetch.readback import read_response
from pipeline.fetch.segments import Group, Owners
from pipeline.fetch.shelf import Shelf, Waiting, sweep
from pipeline.fetch.window import Round, Source, crawl_round
from pipeline.shards.outcomes import StorageError
from tests.fetch.crawls import link_to
from tests.fetch.local_web import PAGE, SOFTWARE, local_web, reply

ERRORS = [
    UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"),
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    asyncio.CancelledError(),
    RuntimeError("a bug"),
    ValueError("\ud800 of hostile bytes"),
]
ADDRESSES = [f"{host}.test/{n}" for host in "ab" for n in range(3)]
BAD, ROBOTS = "a.test/1", "http://a.test/robots.txt"  # the link at which it goes wrong


def raising(error, at, real):
    """`real`, which raises where `at` says of its arguments."""

    def function(*arguments, **named):
        if at(*arguments):
            raise error
        return real(*arguments, **named)

    return function


def is_bad(url):
    return url.endswith(BAD)


def written(hops):
    return any(is_bad(hop.url) for hop in hops)


# step of a visit -> how to make it raise at one link (or at what its host says)
STEPS = {
    "permission": (visit, "permit_of", lambda _, url: is_bad(url)),
    "robots": (robots, "rules_for_status", None),
    "request": (client, "request", lambda _session, url, *_: is_bad(url)),
    "read": (client, "content_type_of", None),
    "judge": (client, "judged", lambda _, hops, *__: written(hops)),
    "settle": (blame, "is_overloaded", lambda end: is_bad(end.final_url)),
    "write hop": (warc.SegmentWriter, "write_hop", lambda _, hop: is_bad(hop.url)),
    "write request": (warc.SegmentWriter, "write_request", lambda _, hop, *__: is_bad(hop.url)),
    "write robots' hops": (warc.SegmentWriter, "write_hop", lambda _, hop: hop.url == ROBOTS),
    "row": (writing, "row_of", lambda doc, _, url, status, *__: doc == BAD and status is not None),
    "report": (writing.Writing, "ended", lambda _, link, end: (link.doc_id, end.status) == (BAD, 200)),
}  # fmt: skip

# every kind of exception where a request is made, all steps with some; nothing is cancelled while it is written
CASES = [("request", error) for error in ERRORS] + [
    (step, error) for number, step in enumerate(STEPS) for error in (ERRORS[number % 3], ERRORS[4]) if step != "request"
]


def crawled(tmp_path, addresses=ADDRESSES, web_replies=None, **values):
    """Crawl a round into segments; the rows that are committed, by doc_id."""
    replies = web_replies or {address: reply(PAGE + address.encode()) for address in addresses}

    async def ports():
        async with local_web(replies) as web:
            settings = web.settings(**values)
            todo = [Waiting(one, one.partition("/")[0], 0, link_to(f"http://{one}").continuation) for one in addresses]
            await asyncio.to_thread(crawl_one, tmp_path, settings, todo)

    asyncio.run(asyncio.wait_for(ports(), 30))
    return {row["doc_id"]: row for row in shelf(tmp_path).rows()}


def crawl_one(tmp_path, settings, todo, stands=lambda: True):
    """A round of one shard."""
    path, owners = tmp_path / "queue.parquet", Owners(1, {})
    waits = queues.waits_of(todo, [], owners, settings, 0.0)
    queues.write(path, todo, waits)
    crawl_round(
        settings, SOFTWARE, Round(owners, Group(0, range(1))), {0: Source(shelf(tmp_path), path, waits, stands)}
    )


def shelf(tmp_path):
    return Shelf(tmp_path / "pages", "00000-of-00001")


def agree(tmp_path, rows):
    """Whether each row that names a place finds the bytes of its own page there, and no file is half a file."""
    for doc, row in rows.items():
        if row["warc"]:
            found = read_response(tmp_path / "pages" / row["warc"], row["offset"], row["length"], 10_000)
            assert found.sha256 == row["sha256"]
            assert found.body in (PAGE + doc.encode(), b""), doc
    assert not list((tmp_path / "pages").rglob(".*part"))


@pytest.mark.failure("this program fails at a page", "outcome `fault`, and a note that says how", "report it; `passes`")
@pytest.mark.parametrize(
    ("step", "error"), CASES, ids=lambda part: part if isinstance(part, str) else type(part).__name__
)
def test_whatever_is_raised_at_any_step_of_a_visit_costs_that_link_alone(tmp_path, monkeypatch, step, error):
    owner, name, at = STEPS[step]
    once = []

    def first(*_):
        once.append(1)
        return len(once) == 1

    monkeypatch.setattr(owner, name, raising(error, at or first, getattr(owner, name)))
    rows = crawled(tmp_path)
    outcomes = {doc: row["outcome"] for doc, row in rows.items()}
    assert sorted(outcomes) == sorted(ADDRESSES)
    faults = [doc for doc in outcomes if outcomes[doc] == "fault"]
    assert [*set(outcomes.values()) - {"fault"}] == ["kept"]
    if step == "write robots' hops":
        assert faults == []
    else:
        assert faults == [BAD] if at else len(faults) == 1
    told = shelf(tmp_path).memory().faults
    assert len(told) == 1
    assert type(error).__name__ in told[0]
    agree(tmp_path, rows)


@pytest.mark.parametrize("step", ["write hop", "write request"])
def test_what_was_written_half_is_not_left_and_no_later_record_refers_to_it(tmp_path, monkeypatch, step):
    same = {address: reply(PAGE) for address in ADDRESSES}  # one payload: all but the first become revisits
    owner, name, _ = STEPS[step]
    first = {"left": 1}

    def fails_at_the_first_page(*arguments):
        hop = next(one for one in arguments if hasattr(one, "url"))
        if not hop.url.endswith("robots.txt") and first["left"]:
            first["left"] = 0
            return True
        return False

    monkeypatch.setattr(owner, name, raising(RuntimeError("half"), fails_at_the_first_page, getattr(owner, name)))
    rows = crawled(tmp_path, web_replies=same)
    assert sorted(row["outcome"] for row in rows.values()) == ["fault", *["kept"] * 5]
    for row in rows.values():
        if row["warc"]:
            found = read_response(tmp_path / "pages" / row["warc"], row["offset"], row["length"], 10_000)
            assert (found.sha256, found.body) == (row["sha256"], PAGE)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), StorageError("no permission")])
def test_a_failure_of_the_storage_ends_the_crawl_and_commits_nothing_half(tmp_path, monkeypatch, error):
    monkeypatch.setattr(writing.Draft, "keep", raising(error, lambda *_: True, writing.Draft.keep))
    with pytest.raises((OSError, StorageError)):
        crawled(tmp_path)
    assert list((tmp_path / "pages").rglob("*.*")) == []


@pytest.mark.failure("a crawl is interrupted", "what had ended is committed", "run the same command again")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)], ids=["SIGINT", "SIGTERM"])
def test_an_interrupt_in_the_middle_of_a_round_commits_what_is_whole(tmp_path, monkeypatch, error):
    real, seen = writing.Writing.row, []

    def row(self, one, link, end):
        seen.append(link.doc_id)
        if len(seen) == 4:
            raise error
        return real(self, one, link, end)

    with monkeypatch.context() as patched:
        patched.setattr(writing.Writing, "row", row)
        with pytest.raises(type(error)):
            crawled(tmp_path)
    before = {one["doc_id"]: one for one in shelf(tmp_path).rows()}
    assert len(before) == 3
    agree(tmp_path, before)
    rows = crawled(tmp_path, [address for address in ADDRESSES if address not in before])
    assert sorted(rows) == sorted(ADDRESSES)
    agree(tmp_path, rows)


def test_a_segment_in_which_nobody_answered_has_no_warc_file(tmp_path):
    hangs_up = dict.fromkeys(("gone.test/1", "gone.test/robots.txt"), lambda writer: asyncio.sleep(0))
    rows = crawled(tmp_path, ["gone.test/1"], hangs_up, retries=0)
    assert [row["outcome"] for row in rows.values()] == ["connect_error"]
    assert {path.name.rpartition("-")[2].partition(".")[2] for path in (tmp_path / "pages").rglob("*.*")} == {
        "hosts.json", "parquet"
    }  # fmt: skip


def test_files_of_a_killed_attempt_are_swept_once_they_are_old_and_those_of_committed_segments_stay(tmp_path):
    rows = crawled(tmp_path, ["a.test/1"])
    (warc_file,) = (tmp_path / "pages" / "segments").glob("*.warc.gz")
    orphans = [warc_file.with_name(f"00000-of-00001.00007-abcdabcd{end}") for end in (".warc.gz", ".hosts.json")]
    for path in orphans:
        path.write_bytes(b"half")
    assert sweep(tmp_path / "pages") == 0  # an attempt may be at it
    for path in (*orphans, warc_file):
        os.utime(path, (0, 0))
    assert sweep(tmp_path / "pages") == 2
    agree(tmp_path, rows)
    assert sorted(shelf(tmp_path).numbers_of("")) == shelf(tmp_path).numbers()


def test_an_attempt_that_has_been_overtaken_commits_nothing_more(tmp_path):
    """It finds out at its next commit; what it had committed while it stood, counts."""
    replies = {address: reply(PAGE + address.encode()) for address in ADDRESSES}
    stood = iter([True, False, False, False])

    async def ports():
        async with local_web(replies) as web:
            settings = web.settings(segment_links=2)
            todo = [Waiting(one, one.partition("/")[0], 0, link_to(f"http://{one}").continuation) for one in ADDRESSES]
            await asyncio.to_thread(crawl_one, tmp_path, settings, todo, lambda: next(stood))

    asyncio.run(asyncio.wait_for(ports(), 30))
    rows = {row["doc_id"]: row for row in shelf(tmp_path).rows()}
    assert len(rows) == 2
    agree(tmp_path, rows)
    assert len(list((tmp_path / "pages" / "segments").iterdir())) == 3


def test_hosts_json_of_earlier_versions_is_read(tmp_path):
    crawled(tmp_path, ["a.test/1"])
    (path,) = (tmp_path / "pages" / "segments").glob("*.hosts.json")
    old = {"robots": [], "paces": [{"host": "a.test", "gap_s": 2.0, "until": 5.0}]}
    path.write_text(json.dumps(old))
    assert shelf(tmp_path).memory() == Memory([], [Pace("a.test", 2.0, 5.0)])
