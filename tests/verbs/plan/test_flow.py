"""Rows from stage to stage, and what politeness asks of a crawl."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Settings
from pipeline.shards.outcomes import ConfigError
from pipeline.verbs.plan.costs import Costs, Web, assumed
from pipeline.verbs.plan.flow import crawl_of, flow_of
from pipeline.verbs.plan.probe import Probe
from tests.verbs.plan.probes import captures, manifest, submissions, texts

FREE = assumed(["latency_s=0", "requests=1", "request_s=0"])  # a crawl that only its gaps cost time


def settings(shards=4, **pages):
    plain = Settings()
    return msgspec.structs.replace(
        plain,
        build=msgspec.structs.replace(plain.build, shards=shards),
        pages=msgspec.structs.replace(plain.pages, **pages),
    )


def test_rows_go_by_the_shares_that_were_seen():
    flow = flow_of(Probe(submissions(), captures(), texts()), Web(copies=0.2))
    assert flow == {
        "links": (1_500, 1_000),
        "pages": (1_000, 400),  # no more than the files hold
        "documents": (400, 200),
        "corpus": (200, 80),
        "tokenizer": (80, 80),
        "tokens": (80, 80),
    }


def test_rows_go_by_what_is_assumed_where_nothing_was_seen():
    flow = flow_of(Probe(submissions(), crawls=True), Web(found=0.5, text_share=0.5, passing=0.4, copies=0.0))
    assert [flow[stage][1] for stage in ("pages", "documents", "corpus")] == [500, 250, 100]


def test_the_web_is_asked_for_what_files_lack():
    probe = Probe(submissions(), captures(), texts(), crawls=True)
    assert flow_of(probe, Web(found=0.5))["pages"] == (1_000, pytest.approx(400 + 300))


def test_books_go_before_samples():
    made = {
        "links": manifest("links", submissions=(70, 60), links=(50, 40)),
        "pages": manifest("pages", pages=(40, 30)),
    }
    flow = flow_of(Probe(submissions(), captures(), texts(), made=made), Web(copies=0.0))
    assert flow["links"] == (60, 40)
    assert flow["pages"] == (40, 30)
    assert flow["documents"] == (30, 15)


def test_links_that_nobody_counted_are_asked_for():
    with pytest.raises(ConfigError, match="--assume posts=N"):
        flow_of(Probe(), Web())
    assert flow_of(Probe(), Web(posts=10))["links"] == (10, 10)


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_no_stage_has_more_rows_than_the_one_before(kept, held, text_share, passing, crawls):
    found = submissions(links=kept, posts=kept, hosts={"a.test": kept})
    probe = Probe(found, captures(held), texts(text_share=text_share, passing=passing), crawls)
    rows = [count for stage in flow_of(probe, Web()).values() for count in stage]
    assert all(before >= after * (1 - 1e-9) for before, after in pairwise(rows))


def test_the_longest_queue_is_its_links_times_the_gap():
    crawl = crawl_of({"a.test": 3_600.0, "b.test": 10.0}, 3_610, settings(shards=1), FREE)
    assert (crawl.longest.host, crawl.longest.links, crawl.longest.seconds) == ("a.test", 3_600, 3_600)
    assert crawl.seconds(1) == crawl.seconds(16) == 3_600


def test_an_answer_that_takes_a_second_doubles_a_gap_of_one():
    costs = assumed(["latency_s=1", "requests=1", "request_s=0"])
    assert crawl_of({"a.test": 100.0}, 100, settings(shards=1), costs).seconds(1) == 200


def test_many_hosts_take_what_the_connections_carry():
    costs = assumed(["latency_s=2", "requests=1", "request_s=0"])
    hosts = {f"h{number}.test": 1.0 for number in range(10_000)}
    crawl = crawl_of(hosts, 10_000, settings(shards=1, connections=100), costs)
    assert crawl.requests == 20_000  # each host's robots.txt too
    assert crawl.seconds(1) == 400  # 20,000 requests of 2 s over 100 connections
    assert crawl.seconds(4) == 100


def test_a_limit_to_the_links_of_a_host_shortens_its_queue_and_says_what_it_leaves_out():
    hosts = {"large.test": 1_000.0, "other.test": 150.0, **{f"h{number}.test": 1.0 for number in range(10)}}
    limited = crawl_of(hosts, 1_160, settings(most_per_host=100), FREE)
    assert (limited.seconds(1), limited.spared, limited.longest.links) == (100, 950, 100)
    assert crawl_of(hosts, 1_160, settings(most_per_host=2_000), FREE).spared == 0


def test_the_limit_that_is_advised_makes_the_longest_queue_as_long_as_all_requests():
    costs = assumed(["latency_s=1", "requests=1", "request_s=0"])
    hosts = {"large.test": 10_000.0, **{f"h{number}.test": 10.0 for number in range(3_000)}}
    crawl = crawl_of(hosts, 40_000, settings(connections=10), costs)
    assert crawl.limit == 2_151  # 43,001 requests of 1 s over 10 connections take 4,300 s: so many turns of 2 s
    assert crawl.beyond == 10_000 - crawl.limit
    again = crawl_of(hosts, 40_000, settings(connections=10, most_per_host=crawl.limit), costs)
    assert again.longest.seconds == pytest.approx(crawl.work_s, rel=0.01)
    assert again.spared == crawl.beyond


def test_links_of_unknown_hosts_take_what_the_connections_carry():
    crawl = crawl_of({}, 4_000, settings(shards=4, connections=1), assumed(["latency_s=1", "requests=1"]))
    assert (crawl.requests, crawl.seconds(1), crawl.seconds(4), crawl.longest) == (4_000, 4_000, 1_000, None)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,6}\.test", fullmatch=True), st.integers(1, 10_000)), st.integers(1, 20))
def test_every_link_is_asked_for_once(hosts, shards):
    crawl = crawl_of(hosts, sum(hosts.values()), settings(shards=shards), assumed(["requests=1"]))
    assert crawl.requests == pytest.approx(sum(hosts.values()) + len(hosts))
    assert crawl.seconds(99) >= max(hosts.values(), default=0) * Settings().pages.gap_s


def test_costs_are_those_of_the_recipe_by_default():
    assert Costs().web.found < 1
