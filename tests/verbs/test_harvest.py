"""The harvest: from listings to a ledger to links, resumable, and with every refusal named.

Long because one made-up Reddit with its clock serves all cases.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import praw
import pytest

from pipeline import links
from pipeline.config import HarvestSettings, PagesSettings, Settings, parse
from pipeline.shards import lease, schemas
from pipeline.shards.outcomes import BusyError, ConfigError, InputError, SourceError, StorageError
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import PlainRun
from pipeline.submissions.ledger import Ledger, read_ledger
from pipeline.submissions.reddit import Outage
from pipeline.verbs.harvest import (
    LISTINGS,
    check_ledger,
    harvested,
    moment,
    rebuilt,
    rounds,
    schedule,
    sources_of,
)
from tests.own_data import write_both
from tests.submissions.local_reddit import (
    CLIENT_ID,
    CLIENT_SECRET,
    HOUR,
    NOW,
    TOKEN,
    FakeClock,
    listing,
    local_reddit,
    post,
    recorded,
)

ROOT = Path(__file__).resolve().parents[2]
EMPTY = listing()
ONCE = (None, None)


@pytest.fixture(autouse=True)
def no_settings_of_praw_from_outside(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(praw.config.Config, "CONFIG", None)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"slept for {seconds} s in earnest"))


class Site:
    """Listings by path and span, one page each of 100 posts at most; what /api/info shows is in `posts`."""

    def __init__(self, **shown):
        self.shown = shown  # path -> posts, newest first, or an answer of its own
        self.info = {}

    def __call__(self, path, query):
        if path == "/api/info/":
            asked = query["id"].split(",")
            assert len(asked) <= 100
            return listing(*(self.info[name] for name in asked if name in self.info))
        found = self.shown.get(path.strip("/") + (f"?t={query['t']}" if "t" in query else ""), [])
        if not isinstance(found, list):
            return found
        names = [one["data"]["name"] for one in found]
        start = names.index(query["after"]) + 1 if "after" in query else 0
        part = found[start : start + int(query["limit"])]
        return listing(*part, after=part[-1]["data"]["name"] if start + len(part) < len(found) else None)


def settings_of(**harvest):
    chosen = HarvestSettings(**{"gap_s": 0.0, "deadline_s": 20.0, "retries": 1, **harvest})
    return Settings(harvest=chosen, pages=PagesSettings(contact="mailto:a@b.test"))


def run(site, path, *sources, fake=None, when=ONCE, **harvest):
    """One harvest of `sources`; the lines said, the counts, the paths asked for."""
    said = []
    with local_reddit(site) as reddit:
        clock = (fake or FakeClock()).clock()
        try:
            counts = harvested(settings_of(**harvest), path, sources, when, said.append, clock, reddit.more())
        except SourceError as error:
            counts = error
    return said, counts, [question for question, _ in reddit.asked]


def ids(path):
    return [one.id for block in read_ledger(path, 1_000) for one in block.kept]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "harvest" / "ledger.sqlite"


def test_a_source_is_read_through_all_its_listings_and_what_they_share_counts_once(path):
    site = Site(**{
        "r/books/new": [post(n) for n in range(250)],
        "r/books/top?t=all": [post(n) for n in range(200, 300)],
        "r/books/hot": [post(1, is_self=True), post(400)],
    })  # fmt: skip
    said, counts, asked = run(site, path, "r/books")
    assert len(LISTINGS) == 15
    assert [line.partition(":")[0] for line in said] == [*(f"r/books/{name}" for name in LISTINGS), "scores"]
    assert said[0] == "r/books/new: 250 new"
    assert "r/books/top?t=all: 50 new, 50 known" in said
    assert "r/books/hot: 1 new, 1 self_post" in said
    assert counts == {"submissions": 301, "settled": 0, "deleted": 0}
    assert Counter(asked)["/r/books/new"] == 3


def test_the_listings_are_those_that_praw_asks_for():
    real = praw.Reddit(client_id="a", client_secret="b", user_agent="webtext", check_for_updates=False)
    objects = {
        "r/books": real.subreddit("books"),
        "domain/a.test": real.domain("a.test"),
        "user/name/m/list": real.multireddit(redditor="name", name="list"),
    }
    assert sources_of(["books"], ["a.test"], ["name/list"]) == list(objects)
    for source, one in objects.items():
        for name in LISTINGS:
            sort, _, span = name.partition("?t=")
            generator = getattr(one, sort)(**({"time_filter": span} if span else {}))
            assert (generator.url, generator.params.get("t", "")) == (f"{source}/{sort}", span)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((["books", "r/books", "/r/Books/"], [], []), ["r/books", "r/Books"]),
        ((["a1+b2"], ["NYTimes.com"], []), ["r/a1", "r/b2", "domain/nytimes.com"]),
        (([], [], ["u/some-one/my_list"]), ["user/some-one/m/my_list"]),
        (([], [], ["some-one/m/list"]), ["user/some-one/m/list"]),
    ],
)  # fmt: skip
def test_sources_are_named_in_the_ways_people_name_them(names, found):
    assert sources_of(*names) == found


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (([], [], []), "nothing to harvest"),
        ((["../api"], [], []), "--subreddit '../api': not the name of a subreddit; e.g. --subreddit books"),
        ((["bücher"], [], []), "--subreddit"),
        (([], ["localhost/x"], []), "--domain"),
        (([], [], ["list"]), "--multireddit 'list'"),
    ],
)
def test_a_name_that_can_be_none_is_refused_before_the_first_request(names, said):
    with pytest.raises(ConfigError) as failure:
        sources_of(*names)
    assert str(failure.value).startswith(said)


def test_a_later_round_reads_new_to_what_is_known_and_other_listings_when_they_can_have_changed(path):
    site = Site(**{"r/books/new": [post(n, age_h=n / 100) for n in range(900)]})
    fake = FakeClock()
    run(site, path, "r/books", fake=fake)
    fake.time += 600
    site.shown["r/books/new"][:0] = [post(f"n{n}", age_h=-0.1) for n in range(150)]
    said, _, asked = run(site, path, "r/books", fake=fake)
    assert said[0] == "r/books/new: 150 new, 150 known"
    assert asked == ["/r/books/new"] * 3 + ["/r/books/rising"]
    fake.time += 1_800
    _, _, asked = run(site, path, "r/books", fake=fake)
    assert set(asked) == {f"/r/books/{sort}" for sort in ("new", "rising", "hot", "top", "controversial")}


@pytest.mark.failure("a harvest is cut off", "the next one goes on where it was", "run it again")
def test_a_harvest_cut_off_goes_on_where_it_was_and_loses_nothing_between(path):
    posts = [post(n, age_h=n / 100) for n in range(500)]
    site = Site(**{"r/books/new": posts})
    fake = FakeClock()

    def breaking(path_asked, query):
        return (429, {"Retry-After": "9999"}, b"") if query.get("after") == "t3_a299" else site(path_asked, query)

    _, failure, _ = run(breaking, path, "r/books", fake=fake)
    assert isinstance(failure, Outage)
    assert len(ids(path)) == 300
    fake.time += 60
    said, counts, asked = run(site, path, "r/books", fake=fake)
    assert said[0] == "r/books/new: 200 new"
    assert Counter(asked)["/r/books/new"] == 2
    assert counts["submissions"] == 500


def test_a_pass_that_failed_proves_nothing_so_the_next_reads_on_beyond_what_is_known(path):
    site = Site(**{"r/books/new": [post(n, age_h=n / 100) for n in range(500)]})

    def breaking(path_asked, query):
        return (500, {}, b"") if query.get("after") == "t3_a299" else site(path_asked, query)

    said, counts, _ = run(breaking, path, "r/books")
    assert said[0] == "r/books/new: server_error: 5xx, also after the retries"
    assert counts["submissions"] == 300
    assert run(site, path, "r/books")[1]["submissions"] == 500


def test_a_pass_whose_next_page_hangs_on_a_deleted_post_begins_again(path):
    site = Site(**{"r/books/new": [post(n, age_h=n / 100) for n in range(300)]})

    def breaking(path_asked, query):
        return (429, {"Retry-After": "9999"}, b"") if query.get("after") == "t3_a199" else site(path_asked, query)

    fake = FakeClock()
    run(breaking, path, "r/books", fake=fake)

    def deleted(path_asked, query):
        return EMPTY if query.get("after") == "t3_a199" and len(ids(path)) == 200 else site(path_asked, query)

    del site.shown["r/books/new"][150]
    _, counts, asked = run(deleted, path, "r/books", fake=fake)
    assert asked[:4] == ["/r/books/new"] * 4
    assert counts["submissions"] == 300


def test_a_harvest_killed_while_it_waits_for_a_page_goes_on_with_that_page(tmp_path):
    site = Site(**{"r/books/new": [post(n, age_h=n / 100) for n in range(300)]})
    reached = threading.Event()

    def hang(handler):
        reached.set()
        reddit.closing.wait(60)

    def hanging(path_asked, query):
        return hang if query.get("after") == "t3_a199" and not reached.is_set() else site(path_asked, query)

    with local_reddit(hanging) as reddit:
        credentials = prepare(tmp_path, reddit)
        process = command_begun(tmp_path, "harvest", "--subreddit", "books", **credentials)
        assert reached.wait(60)
        process.kill()
        process.communicate()
        before = len(ids(tmp_path / "harvest" / "ledger.sqlite"))
        done = command(tmp_path, "harvest", "--subreddit", "books", **credentials)
    assert before == 200
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "r/books/new: 100 new"
    assert len(ids(tmp_path / "harvest" / "ledger.sqlite")) == 300


def test_the_cap_of_a_listing_is_said(path):
    site = Site(
        **{"domain/a.test/new": [post(n) for n in range(1_000)], "domain/a.test/hot": [post(n) for n in range(900)]}
    )
    said, _, _ = run(site, path, "domain/a.test")
    assert said[0] == "domain/a.test/new: 1,000 new (the end of what it shows: 1,000 at most)"
    assert "domain/a.test/hot: 900 known" in said


def test_a_closed_subreddit_is_named_and_asked_once_and_the_others_go_on(path):
    reasons = {"shut": (403, "private"), "gone": (404, "banned"), "odd": (403, "quarantined"), "none": (404, "")}
    refused = {f"r/{name}/new": (status, {}, {"reason": why}) for name, (status, why) in reasons.items()}
    site = Site(**refused, **{"r/books/new": [post(1)], "r/slow/new": (503, {}, b""), "r/slow/hot": [post(2)]})
    said, counts, asked = run(site, path, *(f"r/{name}" for name in (*reasons, "slow", "books")))
    assert said[:5] == [
        "r/shut/new: private: a private subreddit",
        "r/gone/new: banned: a subreddit that Reddit has banned",
        "r/odd/new: quarantined: a quarantined subreddit",
        "r/none/new: not_found: 404 or 410",
        "r/slow/new: server_error: 5xx, also after the retries",
    ]
    assert counts["submissions"] == 2
    assert Counter(question.split("/")[2] for question in asked) == {
        "shut": 1, "gone": 1, "odd": 1, "none": 1, "slow": 16, "books": 15,
    }  # fmt: skip


@pytest.mark.failure("no listing can be read", "exit 10, with the first reason", "run it again later")
def test_a_harvest_that_gets_nothing_at_all_fails_with_the_first_reason(path):
    _, failure, _ = run(Site(**{"r/shut/new": (403, {}, {"reason": "private"})}), path, "r/shut")
    assert (type(failure), failure.exit_code) == (SourceError, 10)
    assert str(failure) == "Reddit gave none of 1 listing; the first: r/shut/new: private: a private subreddit"
    _, failure, asked = run(lambda *_: (503, {}, b""), path, "r/books")
    assert (type(failure), len(asked)) == (Outage, 3 * 2)
    assert str(failure) == "Reddit failed 3 listings in a row; run the same command again later"
    closed = (503, {}, b"")
    said, failure, _ = run(Site(**{f"r/books/{sort}": closed for sort in ("new", "rising")}), path, "r/books")
    assert failure == {"submissions": 0, "settled": 0, "deleted": 0}
    assert Counter(line.partition(": ")[2] for line in said)["server_error: 5xx, also after the retries"] == 2


def test_scores_are_read_again_once_they_have_settled_and_then_stay(path):
    site, fake = Site(**{"r/books/new": [post(n, score=1, age_h=0) for n in range(150)]}), FakeClock()
    run(site, path, "r/books", fake=fake)
    site.info = {f"t3_a{n}": post(n, score=40, age_h=0) for n in range(150)}
    site.shown = {}
    fake.time += 35.9 * HOUR
    assert run(site, path, "r/books", fake=fake, recheck_hours=1e6)[0][-1] == "scores: nothing"
    fake.time += 0.2 * HOUR
    said, counts, asked = run(site, path, "r/books", fake=fake)
    assert said[-1] == "scores: 150 read"
    assert Counter(asked)["/api/info/"] == 2
    assert counts == {"submissions": 150, "settled": 150, "deleted": 0}
    site.info = {name: post(name[4:], score=99, age_h=0) for name in site.info}
    fake.time += 48 * HOUR
    assert run(site, path, "r/books", fake=fake)[0][-1] == "scores: 150 read"
    assert {one.score for block in read_ledger(path, 1_000) for one in block.kept} == {40}
    with Ledger(path) as ledger:
        times = ledger.db.execute("SELECT DISTINCT first_read_utc, read_utc, checked_utc FROM submissions").fetchall()
    assert times == [(NOW, NOW + int(36.1 * HOUR), NOW + int(84.1 * HOUR))]


@pytest.mark.failure("a submission is deleted on Reddit", "it is deleted here, and stays so", "build again")
def test_what_is_deleted_on_reddit_is_deleted_here_and_never_comes_back(path):
    site, fake = Site(**{"r/books/new": [post(1, age_h=40), post(2, age_h=41)]}), FakeClock()
    run(site, path, "r/books", fake=fake)
    fake.time += 25 * HOUR
    site.info = {"t3_a1": post(1, removed_by_category="deleted", author="[deleted]"), "t3_a2": post(2)}
    site.shown = {"r/books/new": [post(3)]}
    said, counts, _ = run(site, path, "r/books", fake=fake)
    assert said[-1] == "scores: 1 read, 1 deleted here"
    assert counts == {"submissions": 2, "settled": 1, "deleted": 1}
    site.shown = {"r/books/new": [post(1, age_h=40), post(3)]}  # a page from a cache
    fake.time += 60
    assert run(site, path, "r/books", fake=fake)[0][0] == "r/books/new: 1 known, 1 deleted"
    assert ids(path) == ["a2", "a3"]
    left = b"".join(one.read_bytes() for one in path.parent.iterdir())
    assert b"http://host.test/1" not in left
    assert b"http://host.test/2" in left


def test_deletions_are_honoured_also_when_the_subreddit_has_closed_since(path):
    fake = FakeClock()
    site = Site(**{"r/books/new": [post(1, age_h=40), post(2, age_h=40)]})
    run(site, path, "r/books", fake=fake)
    site.shown = {"r/books/new": (403, {}, {"reason": "private"})}  # and /api/info shows nothing of it
    for hours, left in [(25, ["a1", "a2"]), (0.5, ["a1", "a2"]), (0.6, [])]:
        fake.time += hours * HOUR
        _, failure, _ = run(site, path, "r/books", fake=fake)
        assert "none of 1 listing" in str(failure)
        assert ids(path) == []  # links leaves it out from the first look on
        with Ledger(path) as ledger:
            assert [key for (key,) in ledger.db.execute("SELECT id FROM submissions")] == left
    site.shown = {"r/books/new": [post(1, age_h=40)]}
    run(site, path, "r/books", fake=fake)
    assert ids(path) == ["a1"]


def test_an_info_that_cannot_be_read_leaves_everything_due(path):
    site, fake = Site(**{"r/books/new": [post(1, age_h=0)]}), FakeClock()
    run(site, path, "r/books", fake=fake)
    fake.time += 40 * HOUR
    site.shown = {}

    def breaking(path_asked, query):
        return (200, {}, b"<html>") if path_asked == "/api/info/" else site(path_asked, query)

    _, failure, _ = run(breaking, path, "r/books", fake=fake)
    assert "does not tell the state of 1 submission: the answer is not what the API promises" in str(failure)
    site.info = {"t3_a1": post(1, score=8)}
    assert run(site, path, "r/books", fake=fake)[0][-1] == "scores: 1 read"


def test_rounds_begin_in_the_rhythm_named_and_an_outage_costs_one():
    fake, begun, said = FakeClock(), [], []

    def one():
        begun.append(fake.time - NOW)
        fake.time += 250 if len(begun) == 2 else 5
        if len(begun) == 3:
            raise Outage("no answer")

    rounds(one, 100, NOW + 600, fake.clock(), said.append)
    assert begun == [0, 100, 350, 450, 550]
    assert said == ["no answer"]

    def refused():
        raise SourceError("no such credentials")

    with pytest.raises(SourceError):
        rounds(refused, 100, None, fake.clock(), said.append)


@pytest.mark.failure(
    "a build of `webtext harvest --build` cannot go on (no network, a full disk, another build)",
    "one line; the next round builds again",
    "nothing, or mend what the line names",
)
def test_after_each_round_it_builds_and_what_passes_of_a_build_costs_a_round():
    fake, said, built = FakeClock(), [], []

    def then():
        built.append(fake.time - NOW)
        if len(built) == 2:
            raise StorageError("no space left")
        return f"build: {len(built)}"

    def one():
        if not built:
            raise Outage("no answer")

    rounds(one, 100, NOW + 250, fake.clock(), said.append, then)
    assert built == [0, 100, 200]
    assert said == ["no answer", "build: 1", "build: no space left", "build: 3"]

    def broken():
        raise InputError("a list that is none")

    with pytest.raises(InputError):
        rounds(one, 100, None, fake.clock(), said.append, broken)


def test_what_a_build_made_is_one_line_and_a_ledger_that_none_reads_is_refused(tmp_path):
    work = tmp_path / "work"
    write_both(work, pages=6)
    with Ledger(work / "harvest" / "ledger.sqlite"):
        pass
    named = {"submissions": ["dump.ndjson", "harvest/ledger.sqlite"]}
    chosen = parse({"build": {"shards": 1}, "links": named, "pages": {"warc": ["*.gz"]}, "corpus": {"min_words": 50}})
    check_ledger(work, chosen, work / "harvest" / "ledger.sqlite")
    with pytest.raises(ConfigError, match=r'submissions = \["other.sqlite"\] under \[links\]'):
        check_ledger(work, chosen, work / "other.sqlite")
    assert re.fullmatch(
        r"build: links pages documents corpus tokenizer tokens made anew; the corpus has \d documents",
        rebuilt(work, chosen, PlainRun()),
    )
    assert rebuilt(work, chosen, PlainRun()).startswith("build: nothing to do; the corpus has")


def test_every_and_until_are_durations_and_dates():
    clock = FakeClock().clock()
    assert schedule("", "", clock) == (None, None)
    assert schedule("10m", "6h", clock) == (600, NOW + 6 * HOUR)
    assert moment("2023-11-15", NOW) == moment("2023-11-15T01:00+01:00", NOW) == 1_700_006_400
    for every, until, said in [
        ("10", "", "'10': not a duration; e.g. 90s, 10m, 6h, 2d"),
        ("0m", "", "'0m': not a duration"),
        ("", "6h", "--until ends what --every repeats"),
        ("1d", "tomorrow", "'tomorrow': not a duration"),
        ("1d", "2023-01-01", "'2023-01-01': lies in the past"),
    ]:
        with pytest.raises(ConfigError) as failure:
            schedule(every, until, clock)
        assert str(failure.value).startswith(said)


def test_polling_takes_in_what_was_posted_between_the_rounds(path):
    fake = FakeClock()
    site = Site()

    def growing(path_asked, query):
        site.shown = {"r/books/new": [post(n) for n in range(int(fake.time - NOW) // 600, -1, -1)]}
        return site(path_asked, query)

    said, counts, _ = run(growing, path, "r/books", fake=fake, when=(600, NOW + 3 * 600))
    assert counts["submissions"] == 3
    assert [line for line in said if line.startswith("r/books/new")] == [
        "r/books/new: 1 new", "r/books/new: 1 new, 1 known", "r/books/new: 1 new, 2 known",
    ]  # fmt: skip


def test_a_placeholder_contact_stops_before_the_first_request(path):
    with local_reddit(Site()) as reddit, pytest.raises(ConfigError, match=r"pages\.contact"):
        harvested(Settings(), path, ["r/books"], ONCE, print, FakeClock().clock(), reddit.more())
    assert reddit.heads == []
    assert not path.exists()


def test_a_ledger_that_links_would_not_know_is_refused_before_the_first_request(path):
    with local_reddit(Site()) as reddit, pytest.raises(ConfigError, match=r"ends in \.sqlite"):
        harvested(settings_of(), path.with_suffix(".db"), ["r/books"], ONCE, print, FakeClock().clock(), reddit.more())
    assert reddit.heads == []


@pytest.mark.failure(
    "two harvests write one ledger", "the second ends with exit 4 and the holder's name", "wait, or name another folder"
)
def test_two_harvests_of_one_ledger_the_second_is_refused(path):
    with (
        local_reddit(Site()) as reddit,
        lease.lock(path.parent),
        pytest.raises(BusyError, match="in use by process"),
    ):
        harvested(settings_of(), path, ["r/books"], ONCE, print, FakeClock().clock(), reddit.more())


# --- from the API to links


def links_of(work, patterns, shards=2):
    manifest = links.stage(parse({"build": {"shards": shards}, "links": {"submissions": patterns}}), work, PlainRun())
    artefact = Artefact(work, "links", shards)
    rows = [row for n in range(shards) for row in schemas.read_parquet(artefact.file(n, ".parquet")).to_pylist()]
    return manifest, {row["url"]: row for row in rows}


def test_links_reads_a_ledger_beside_a_dump_and_only_a_changed_row_makes_it_stale(tmp_path, path):
    site = Site(
        **{"r/books/new": [post(1, score=9, age_h=40), post(2, score=1, age_h=40, url="http://b.test/?a=1&b=2")]}
    )
    run(site, path, "r/books")
    old = {**post(1, score=2)["data"], "id": "old"}
    (tmp_path / "dump.ndjson").write_text(json.dumps(old) + "\n")
    patterns = ["harvest/*.sqlite", "dump.ndjson"]
    manifest, rows = links_of(tmp_path, patterns)
    assert manifest.books["submissions"].outcomes == {"kept": 3}
    assert {url: (row["score"], row["outcome"]) for url, row in rows.items()} == {
        "https://host.test/1": (9, "kept"), "https://b.test/?a=1&b=2": (1, "low_karma"),
    }  # fmt: skip
    assert [one["id"] for one in rows["https://host.test/1"]["submissions"]] == ["a1", "old"]
    fake = FakeClock(NOW + 60)
    run(site, path, "r/books", fake=fake)  # the file changes, the rows do not
    stamp = Artefact(tmp_path, "links", 2).receipt_path(0).stat().st_mtime_ns
    assert links_of(tmp_path, patterns)[0] == manifest
    assert Artefact(tmp_path, "links", 2).receipt_path(0).stat().st_mtime_ns == stamp
    fake.time += 25 * HOUR
    site.info, site.shown = {"t3_a1": post(1, removed_by_category="deleted"), "t3_a2": post(2)}, {}
    run(site, path, "r/books", fake=fake)
    manifest, rows = links_of(tmp_path, patterns)
    assert [one["id"] for one in rows["https://host.test/1"]["submissions"]] == ["old"]
    assert rows["https://host.test/1"]["outcome"] == "low_karma"


def test_recorded_sessions_go_from_the_api_to_links(tmp_path, path):
    user = recorded("TestListingGenerator.test_exhaust_items_with_before")
    domain = recorded("TestDomainListing.test_top")
    texts = recorded("TestSubredditListings.test_new")
    pages = {("/r/spez/top", "all", query.get("after")): body for _, query, body in user}
    pages |= {(where, query["t"], None): body for where, query, body in domain}
    pages |= {(where, None, None): body for where, _, body in texts}

    def replay(where, query):
        return (200, {}, pages.get((where, query.get("t"), query.get("after")), json.dumps(EMPTY).encode()))

    fake = FakeClock(1_520_000_000)
    said, counts, asked = run(replay, path, "r/spez", "domain/youtube.com", "r/askreddit", fake=fake)
    assert Counter(asked)["/r/spez/top"] == 6 + 15
    assert "r/askreddit/new: 100 self_post" in said
    assert "domain/youtube.com/top?t=all: 95 new, 5 deleted" in said
    assert "r/spez/top?t=all: 484 new, 998 bad_line, 41 self_post (the end of what it shows: 1,000 at most)" in said
    assert counts == {"submissions": 579, "settled": 579, "deleted": 5}
    manifest, rows = links_of(tmp_path, ["harvest/ledger.sqlite"], 3)
    book = manifest.books["submissions"]
    assert (book.inputs, book.outcomes) == (579, {"kept": 579})
    assert sum(len(row["submissions"]) for row in rows.values()) == 579
    assert manifest.books["links"].inputs == len(rows)
    assert manifest.books["links"].outcomes["kept"] > 100


# --- the command


def command_begun(folder, *arguments, **environment):
    ours = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PRAW_ALLOW_ENDPOINT_OVERRIDE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=folder,
        env={**os.environ, **ours, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(folder, *arguments, **environment):
    process = command_begun(folder, *arguments, **environment)
    out, err = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def prepare(folder, reddit):
    (folder / "praw.ini").write_text(f"[DEFAULT]\noauth_url={reddit.url}\nreddit_url={reddit.url}\n")
    (folder / "webtext.toml").write_text('[pages]\ncontact = "mailto:a@b.test"\n[harvest]\ngap_s = 0.0\nretries = 0\n')
    return {"praw_client_id": CLIENT_ID, "praw_client_secret": CLIENT_SECRET}


def test_the_command_harvests_and_says_how_links_reads_it(tmp_path):
    with local_reddit(Site(**{"r/books/new": [post(1, age_h=40)]})) as reddit:
        credentials = prepare(tmp_path, reddit)
        done = command(tmp_path, "harvest", "--subreddit", "books", **credentials)
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[0] == "r/books/new: 1 new"
        assert done.stdout.splitlines() == [
            "harvest/ledger.sqlite: 1 submissions, 1 settled, 0 deleted",
            'next: submissions = ["harvest/ledger.sqlite"] under [links] of webtext.toml',
        ]
        named = ["--set", 'links.submissions=["harvest/*.sqlite"]']
        again = command(tmp_path, "harvest", "--subreddit", "books", *named, **credentials)
        assert again.stdout.splitlines() == ["harvest/ledger.sqlite: 1 submissions, 1 settled, 0 deleted"]


@pytest.mark.parametrize("debug", [[], ["--debug"]])
@pytest.mark.parametrize("sign_in", [None, (401, {}, b"")])
def test_a_refusal_is_one_line_and_its_own_exit_code_and_shows_no_secret(tmp_path, debug, sign_in):
    more = {"sign_in": sign_in} if sign_in else {}
    with local_reddit(lambda *_: (401, {}, b""), **more) as reddit:
        done = command(tmp_path, "harvest", "--subreddit", "books", *debug, **prepare(tmp_path, reddit))
    assert done.returncode == 10
    assert ("Traceback" in done.stderr) == bool(debug)
    assert done.stderr.splitlines()[-1].startswith("webtext: ")
    basic = next(head["Authorization"] for head in reddit.heads).removeprefix("Basic ")
    written = b"".join(one.read_bytes() for one in tmp_path.rglob("*") if one.is_file() and one.name != "praw.ini")
    for secret in (CLIENT_SECRET, TOKEN, basic):
        assert secret not in done.stdout + done.stderr
        assert secret.encode() not in written


def test_without_credentials_the_command_says_where_they_go(tmp_path):
    with local_reddit(Site()) as reddit:
        prepare(tmp_path, reddit)
        done = command(tmp_path, "harvest", "--domain", "a.test", praw_client_id="", praw_client_secret="")
    assert done.returncode == 2
    assert done.stderr.startswith("webtext: Reddit's API wants credentials: set praw_client_id")
    assert reddit.heads == []


def test_a_new_working_directory_mentions_the_harvest(tmp_path):
    done = command(tmp_path, "init", "work")
    assert "webtext harvest --subreddit books --dir work" in done.stdout
    assert "harvest/ledger.sqlite" in (tmp_path / "work" / "webtext.toml").read_text()
