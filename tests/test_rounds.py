"""Rounds of a crawl over shards: whose turn it is, what waits for whom, and that no two attempts mix."""

import time
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import pages
from pipeline.config import PagesSettings
from pipeline.fetch import queues, robots, verdicts
from pipeline.fetch.continuations import Link, Memory, Pace, new_fetch
from pipeline.fetch.queues import Shared, Waits
from pipeline.fetch.readback import read_response
from pipeline.fetch.response import Fetched, Hop
from pipeline.fetch.schedule import IN_A_ROW
from pipeline.fetch.segments import Owners, ends_of, groups_of, is_over
from pipeline.fetch.shelf import Shelf, Waiting
from pipeline.fetch.writing import Writing
from pipeline.shards import storage
from pipeline.shards.outcomes import Outcome
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import PlainRun
from pipeline.urls import shard_of
from tests.test_pages import BODY, SHARDS, crawled, ends, link, local_web, redirect, rows_of, settings_of, write_links

SETTINGS = PagesSettings(contact="mailto:a@b.test")


def waits(**shared):
    told = {host: Shared(links, ()) for host, links in shared.items()}
    return Waits("order", sum(shared.values()), 0, 0, None, told)


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=4),
    st.lists(st.integers(1, 5), min_size=1),
)
def test_whatever_runs_commit_before_they_are_cut_every_shard_of_a_host_comes_to_its_turn(left, commits):
    """A round commits some visits, or all are cut: the state is what is left, and nothing else."""
    for number in range(200):
        groups = groups_of(len(left), len(left))
        turns = queues.turns_of({shard: waits(**hosts) for shard, hosts in enumerate(left)}, groups)
        assert set(turns) == {host for hosts in left for host, links in hosts.items() if links}
        if not turns:
            break
        for host, turn in turns.items():
            left[turn.group][host] -= min(left[turn.group][host], commits[number % len(commits)])
    assert not any(links for hosts in left for links in hosts.values())


@given(st.integers(2, 6), st.integers(1, 6), st.integers(2, 6), st.integers(0, 5))
def test_one_crawl_at_a_time_asks_a_host_and_a_shared_one_for_all_its_shards(shards, crawls, pieces, turn):
    owners, groups = Owners(shards, {"big.test": min(pieces, shards)}), groups_of(shards, crawls)
    assert [shard for group in groups for shard in group.shards] == list(range(shards))
    turns = {"big.test": queues.Turn(turn % len(groups))}
    for shard in owners.all_of("big.test"):
        asking = [group for group in groups if group.asks(shard, "big.test", owners, turns)]
        assert [group.number for group in asking] == [turn % len(groups)]
        assert shard in asking[0].visited(owners, turns)
        assert not any(group.asks(shard, "big.test", owners, {}) for group in groups)
    for shard in range(shards):
        assert sum(group.asks(shard, "small.test", owners, turns) for group in groups) == 1


class Cut(BaseException):
    """The night's end."""


@dataclass(frozen=True)
class Rounds(PlainRun):
    """A run that is cut after so many of its crawls in a round."""

    most: int

    def map_shards(self, function, tasks, heavy=False):
        super().map_shards(function, tasks[: self.most], heavy)
        raise Cut


@pytest.mark.parametrize("most", [1, 2])
def test_a_host_over_several_shards_is_asked_for_all_its_links_however_often_runs_are_cut(tmp_path, most):
    links = [{**crawled(f"/{n}", host="a"), "host_shards": 2} for n in range(10)]
    places = [shard_of("a.test", row["doc_id"], SHARDS, {"a.test": 2}) for row in links]
    assert set(places) == {0, 1}
    with local_web(hosts="a") as (values, web):
        write_links(tmp_path, links, places=places)
        for _ in range(4):
            with pytest.raises(Cut):
                pages.stage(settings_of(**values, crawls=SHARDS), tmp_path, Rounds(most))
            if len(set(web.hits)) == 10:
                break
        assert len(web.hits) == len(set(web.hits)) == 10
        manifest = pages.stage(settings_of(**values), tmp_path, PlainRun())
    assert manifest.books["pages"].outcomes == {"kept": 10}


def test_a_round_lists_the_segments_of_a_shard_four_times_at_most(tmp_path, monkeypatch):
    listed, rounds, names = Counter(), [], storage.names

    class Counted(PlainRun):
        def exchange(self, *given, **chosen):
            rounds.append(given)
            super().exchange(*given, **chosen)

    def listing(folder, pattern):
        if folder.name == "segments":
            listed[pattern.partition(".")[0]] += 1
        return names(folder, pattern)

    monkeypatch.setattr(storage, "names", listing)
    with local_web(hosts="ab") as (values, _):
        write_links(tmp_path, [crawled(f"/{n}", host="ab"[n % 2]) for n in range(12)])
        manifest = pages.stage(settings_of(**values), tmp_path, Counted())
    assert manifest.books["pages"].outcomes == {"kept": 12}
    assert len(rounds) > 1
    shards = [storage.shard_name(shard, SHARDS, "") for shard in range(SHARDS)]
    assert all(1 < listed[shard] <= 4 * len(rounds) for shard in shards)


# --- attempts


def ended(number, name):
    url = f"http://h{number}.test/"
    body = BODY + name.encode() * (1 + number)
    hop = Hop(url, "2026-01-01T00:00:00.000000Z", (), "1.1", 200, "OK", (("Content-Type", "text/html"),), body)
    return Link(f"{number:032x}", new_fetch(url, SETTINGS)), Fetched(
        url, url, (hop,), Outcome.KEPT, 200, "text/html", (), ""
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["one", "two"]), min_size=10, max_size=10).filter(lambda x: x.count("one") == 5))
def test_two_attempts_at_one_shard_never_mix_and_of_a_visit_that_both_made_one_counts(tmp_path_factory, turns):
    tmp_path = tmp_path_factory.mktemp("attempts")
    shelf = Shelf(tmp_path / "pages", "00000-of-00001")
    todo = {
        f"{n:032x}": Waiting(f"{n:032x}", f"h{n}.test", 0, new_fetch(f"http://h{n}.test/", SETTINGS)) for n in range(5)
    }
    attempts = {name: Writing(SETTINGS, "t/1", shelf, todo, Memory([], [])) for name in ("one", "two")}
    orders = {"one": iter(range(5)), "two": iter(reversed(range(5)))}
    for name in turns:
        attempts[name].ended(*ended(next(orders[name]), name))
    for name in dict.fromkeys(reversed(turns)):
        attempts[name].commit()
    rows = shelf.rows()
    assert sorted(row["doc_id"] for row in rows) == sorted(todo)
    assert rows == shelf.rows()
    for row in rows:
        found = read_response(tmp_path / "pages" / row["warc"], row["offset"], row["length"], 10**6)
        assert found.sha256 == row["sha256"]


def test_an_end_that_is_committed_twice_is_one_pass():
    end = {"doc_id": "d", "step": 0, "errand": "", "outcome": "connect_error", "status": None}
    assert not is_over(ends_of([end, dict(end)])["d"], 2)
    assert is_over(ends_of([end, {**end, "step": 1}])["d"], 2)


def test_an_attempt_stands_as_long_as_its_queue_does(tmp_path):
    path = tmp_path / "queue.parquet"
    queues.write(path, [], waits(a=1))
    assert queues.stands(path, "order")
    queues.write(path, [], queues.waits_of([], [], Owners(1, {}), SETTINGS, 0.0))
    assert not queues.stands(path, "order")
    path.unlink()
    assert not queues.stands(path, "order")


def test_a_worker_that_was_given_up_commits_nothing_once_the_next_round_has_begun(tmp_path, monkeypatch):
    """Its order is gone; nor does it ask for anything."""
    late, real = [], pages.crawl_round
    with local_web(hosts="a") as (values, web):
        write_links(tmp_path, [crawled(f"/{n}", host="a") for n in range(3)])

        def hangs_at_first(*told):
            late.append(told)
            if len(late) > 1:
                real(*told)

        monkeypatch.setattr(pages, "crawl_round", hangs_at_first)
        manifest = pages.stage(settings_of(**values), tmp_path, PlainRun())
        assert manifest.books["pages"].outcomes == {"kept": 3}
        before = sorted((tmp_path / "pages" / "segments").iterdir())
        real(*late[0])
        assert len(web.hits) == 3  # what it would have asked for waits no more
        assert sorted((tmp_path / "pages" / "segments").iterdir()) == before


# --- what waits


@pytest.mark.parametrize(
    ("pace", "ready"),
    [
        (None, 0.0),
        (Pace("a", 0.0, 99.0, 2, 90.0, 99.0), 0.0),  # its rest is over
        (Pace("a", 0.0, 160.0, IN_A_ROW - 1, 90.0, 100.0), 160.0),
        (Pace("a", 0.0, 3_000.0, IN_A_ROW, 40.0, 100.0), 650.0),  # given up 600 gaps after the build began
        (Pace("a", 0.0, 3_000.0, IN_A_ROW, 40.0, 45.0), 3_000.0),  # failed before: it is asked once at least
    ],
)
def test_a_host_can_be_asked_when_it_has_rested_or_given_up_when_patience_ends(monkeypatch, pace, ready):
    monkeypatch.setattr(time, "time", lambda: 100.0)
    assert queues.ready_at(pace, SETTINGS, began=50.0) == ready


def test_a_build_waits_for_a_host_that_rests_and_says_meanwhile_how_many_links_wait(tmp_path, monkeypatch):
    clock, told = [time.time()], []
    monkeypatch.setattr(time, "time", lambda: clock[0])

    def sleep(seconds):
        if seconds > 0:
            told.append((seconds, queues.waits(pages.queue(Artefact(tmp_path, "pages", SHARDS), home))))
        clock[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    home = shard_of("a.test", "", SHARDS, {})
    with local_web(hosts="a") as (values, _):
        write_links(tmp_path, [crawled(f"/{n}", host="a") for n in range(3)])
        shelf = pages.shelf(Artefact(tmp_path, "pages", SHARDS), home)
        rests = Pace("a.test", 0.0, clock[0] + 900.0, 2, clock[0], clock[0])
        Writing(settings_of(**values).pages, "t/1", shelf, {}, Memory([], [rests])).commit()
        manifest = pages.stage(settings_of(**values), tmp_path, PlainRun())
    assert manifest.books["pages"].outcomes == {"kept": 3}
    ((slept, waiting),) = told
    assert slept == pytest.approx(900.0, abs=1.0)
    assert (waiting.links, waiting.resting, waiting.hosts) == (3, 3, 1)


# --- names that are not public


def test_a_name_that_the_settings_place_after_a_crawl_is_asked_for_then(tmp_path):
    """By its address, by a name that no server knows, and by a redirect; a name that stays unnamed is not asked."""
    private = {"a.test/moved": redirect("http://inside.test/page"), "a.test/router": redirect("http://127.0.0.2/admin")}
    with local_web(private, hosts="a") as (values, web):
        there = values["local_hosts"]["a.test"]
        literal = link("https://127.0.0.1/own", "kept", "http://127.0.0.1/own")
        write_links(tmp_path, [crawled("/moved", host="a"), crawled("/router", host="a"), literal])
        pages.stage(settings_of(**values), tmp_path, PlainRun())
        assert ends(tmp_path) == {
            "https://a.test/moved": "name_error",
            "https://a.test/router": "not_public",
            "https://127.0.0.1/own": "not_public",
        }
        web.requests.clear()
        values["local_hosts"] |= {"127.0.0.1": there, "inside.test": there}
        made = pages.stage(settings_of(**values), tmp_path, PlainRun())
        assert ends(tmp_path) == {
            "https://a.test/moved": "kept",
            "https://a.test/router": "not_public",
            "https://127.0.0.1/own": "kept",
        }
        assert web.hits == ["/moved", "/own", "/page"]
        values["local_hosts"] = {name: f"{address}0"[:15] for name, address in values["local_hosts"].items()}
        assert pages.stage(settings_of(**values), tmp_path, PlainRun()) == made  # where they lie decides nothing


# --- whom robots.txt speaks of

RULES = b"User-agent: GPTBot\nDisallow: /no\n\nUser-agent: CCBot\nDisallow: /\n\nUser-agent: webtext\nDisallow: /own\n"
PATHS = ("/no", "/yes", "/own", "/gone", "/moved", "/chain")


def robots_web():
    return local_web(
        {
            "a.test/robots.txt": (200, {}, RULES),
            "a.test/gone": (404, {}, b""),
            "a.test/moved": (302, {"Location": "/no/2"}, b""),
            "a.test/chain": (302, {"Location": "/no/3"}, b""),
            "a.test/no/3": (302, {"Location": "/end"}, b""),
        },
        hosts="a",
    )


@pytest.mark.parametrize("first", [(), ("GPTBot",), ("CCBot", "GPTBot")])
@pytest.mark.parametrize("then", [(), ("GPTBot",), ("CCBot",)])
def test_agents_that_are_obeyed_after_a_crawl_decide_as_if_they_had_been_before(tmp_path, first, then):
    with robots_web() as (values, web):
        for folder, obeyed in (("again", (first, then)), ("fresh", (then,))):
            (tmp_path / folder).mkdir()
            write_links(tmp_path / folder, [crawled(path, host="a") for path in PATHS])
            for agents in obeyed:
                pages.stage(settings_of(**values, obey_agents=agents), tmp_path / folder, PlainRun())
        asked = len(web.requests)
        pages.stage(settings_of(**values, obey_agents=then), tmp_path / "again", PlainRun())
        assert len(web.requests) == asked
    assert ends(tmp_path / "again") == ends(tmp_path / "fresh")
    columns = ("url", "final_url", "status", "opt_outs", "outcome")
    again, fresh = (
        [{name: row[name] for name in columns} for row in rows_of(tmp_path / one)] for one in ("again", "fresh")
    )
    moved = ("https://a.test/moved", "https://a.test/chain")  # refused after a redirect: the status of that is not kept
    assert [row for row in again if row["url"] not in moved] == [row for row in fresh if row["url"] not in moved]


def test_only_what_an_agent_kept_from_being_asked_is_asked_for_when_it_is_obeyed_no_more(tmp_path):
    with robots_web() as (values, web):
        write_links(tmp_path, [crawled(path, host="a") for path in PATHS])
        pages.stage(settings_of(**values, obey_agents=("GPTBot",)), tmp_path, PlainRun())
        web.requests.clear()
        pages.stage(settings_of(**values), tmp_path, PlainRun())
        assert web.hits == ["/chain", "/end", "/moved", "/no", "/no/2", "/no/3"]
        web.requests.clear()
        pages.stage(settings_of(**values, obey_agents=("GPTBot",)), tmp_path, PlainRun())
        assert web.requests == []


def test_where_robots_txt_is_not_known_any_more_a_link_is_asked_again_once(tmp_path):
    with robots_web() as (values, web):
        write_links(tmp_path, [crawled(path, host="a") for path in PATHS])
        pages.stage(settings_of(**values), tmp_path, PlainRun())
        for path in (tmp_path / "pages" / "segments").glob("*.hosts.json"):
            path.write_text('{"robots": [], "paces": []}')  # as before version 4, of a long file
        web.requests.clear()
        obeying = settings_of(**values, obey_agents=("GPTBot",))
        made = pages.stage(obeying, tmp_path, PlainRun())
        assert web.hits == ["/chain", "/gone", "/moved", "/yes"]
        assert made.books["pages"].outcomes == {"kept": 1, "robots_disallowed": 4, "not_found": 1}
        assert pages.stage(obeying, tmp_path, PlainRun()) == made


def test_a_long_robots_txt_is_remembered_whole():
    rules = b"".join(b"Allow: /%d\n" % n for n in range(20_000))
    known = robots.known("http://a.test/robots.txt", 0.0, 200, b"User-agent: *\n" + rules + b"Disallow: /no\n")
    told = verdicts.Verdicts([known], "webtext", ("gptbot",))
    assert len(known.text) > 200_000
    assert told.against("http://a.test/no") == ()
    assert told.against("http://b.test/no") is None
