import asyncio
import heapq
import itertools
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipeline.fetch.crawler as crawler
from pipeline.config import PagesSettings
from pipeline.fetch.crawler import DEAD_AFTER, Link, Schedule, crawl, run_crawl
from pipeline.shards.outcomes import ConfigError, Outcome
from tests.fetch.local_web import PAGE, SOFTWARE, local_web, redirect, reply

CONNECT_ERROR = Outcome.CONNECT_ERROR


def simulate(schedule, lasts):
    """Run a schedule against a made-up clock; (item, start, end) in order. `lasts(item)`: seconds a request takes."""
    now, running, visits = 0.0, [], []
    while True:
        while (item := schedule.pop(now)) is not None:
            end = now + lasts(item)
            heapq.heappush(running, (end, len(visits), item))
            visits.append((item, now, end))
        wait = schedule.wait(now)
        upcoming = [running[0][0]] if running else []
        upcoming += [now + wait] if wait is not None else []
        if not upcoming:
            return visits
        now = min(upcoming)
        while running and running[0][0] <= now:
            _, _, item = heapq.heappop(running)
            schedule.finish(item[0], now)


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=60),
    st.sampled_from([0.0, 0.25, 1.0, 3.0]),
    st.integers(1, 4),
    st.dictionaries(st.sampled_from("abcde"), st.integers(1, 3)),
    st.dictionaries(st.sampled_from("abcde"), st.sampled_from([0.5, 2.0, 900.0])),
    st.lists(st.sampled_from([0.0, 0.125, 1.0, 7.0]), min_size=1, max_size=5),
)
def test_every_item_comes_once_and_no_gap_is_violated(items, gap_s, connections, shards, delays, lasts):
    schedule = Schedule(gap_s, connections)
    for number, (host, first) in enumerate(items):
        schedule.push(host, (host, number), shards.get(host, 1), first)
    for host, delay in delays.items():
        schedule.slow_down(host, delay)
    visits = simulate(schedule, lambda item: lasts[item[1] % len(lasts)])

    assert sorted(number for (_, number), _, _ in visits) == list(range(len(items)))
    by_host = defaultdict(list)
    for (host, _), start, end in visits:
        by_host[host].append((start, end))
    for host, times in by_host.items():
        pushed = any(name == host for name, _ in items)
        gap = max(gap_s, min(delays.get(host, 0.0), 60.0)) * (shards.get(host, 1) if pushed else 1)
        for (_, end), (start, _) in itertools.pairwise(times):
            assert start >= end + gap
    for moment in (start for _, start, _ in visits):
        assert sum(start <= moment < end for _, start, end in visits) <= connections


def test_a_host_with_most_links_starves_nobody():
    schedule = Schedule(1.0, 1)
    for number in range(1_000):
        schedule.push("big", ("big", number))
    for name in "abc":
        schedule.push(name, (name, 0))
    order = [item[0] for item, _, _ in simulate(schedule, lambda item: 0.25)]
    assert set(order[:4]) == {"big", "a", "b", "c"}


def test_who_is_to_go_first_goes_before_the_links_of_the_host_in_the_order_of_coming():
    schedule = Schedule(0.0, 1)
    for item, first in (("link 1", False), ("link 2", False), ("ticket 1", True), ("ticket 2", True)):
        schedule.push("a", ("a", item), first=first)
    assert [item[1] for item, _, _ in simulate(schedule, lambda item: 1.0)] == [
        "ticket 1",
        "ticket 2",
        "link 1",
        "link 2",
    ]


def test_a_host_is_dead_after_failures_in_a_row_and_then_costs_no_time():
    schedule = Schedule(10.0, 1)
    for number in range(DEAD_AFTER + 3):
        schedule.push("a", number)
    now = 0.0
    for _ in range(DEAD_AFTER):
        assert schedule.dead("a") is None
        now += schedule.wait(now)
        schedule.pop(now)
        schedule.finish("a", now, CONNECT_ERROR)
    assert schedule.dead("a") is CONNECT_ERROR
    assert schedule.wait(now) == 0.0


def test_one_answer_between_failures_keeps_a_host_alive():
    schedule = Schedule(0.0, 1)
    for number in range(2 * DEAD_AFTER - 1):
        schedule.push("a", number)
        schedule.pop(0.0)
        schedule.finish("a", 0.0, None if number == DEAD_AFTER - 1 else CONNECT_ERROR)
        assert schedule.dead("a") is None


def link(address, host=None, shards=1):
    url = f"http://{address}"
    return Link(address, url, url, host or address.partition("/")[0], shards)


def crawled(replies, addresses, names=(), **values):
    """Outcome and detail by address, and the web that was asked."""

    async def run():
        async with local_web(replies) as web:
            ends = []
            links = [address if isinstance(address, Link) else link(address) for address in addresses]
            settings = web.settings(*names, **values)
            await asyncio.wait_for(crawl(links, settings, SOFTWARE, lambda *end: ends.append(end)), 20)
            assert Counter(end[0].doc_id for end in ends) == Counter(one.doc_id for one in links)
            return {one.doc_id: fetched for one, fetched in ends}, web

    return asyncio.run(run())


def outcomes(ends):
    return {address: str(fetched.outcome) for address, fetched in ends.items()}


def test_every_link_ends_once_and_robots_txt_is_asked_once_an_origin():
    replies = {f"{host}.test/{number}": reply() for host in "abc" for number in range(5)}
    ends, web = crawled(replies, [*replies, "a.test/none", "b.test/none"])
    assert outcomes(ends) == {**dict.fromkeys(replies, "kept"), "a.test/none": "not_found", "b.test/none": "not_found"}
    assert Counter(web.requests) == Counter(
        [(host + ".test", path) for host in "abc" for path in ("/robots.txt", "/0", "/1", "/2", "/3", "/4")]
        + [("a.test", "/none"), ("b.test", "/none")]
    )


def test_no_links_need_no_request():
    ends, web = crawled({"a.test/": reply()}, [])
    assert (ends, web.connections) == ({}, 0)


def test_robots_txt_is_obeyed_also_where_a_redirect_leads():
    replies = {
        "a.test/robots.txt": reply(b"User-agent: *\nDisallow: /no\n", content_type="application/octet-stream"),
        "a.test/no": reply(),
        "a.test/yes": reply(),
        "a.test/turn": redirect("/no"),
        "a.test/away": redirect("http://b.test/no"),
        "b.test/robots.txt": reply(b"User-agent: webtext\nDisallow: /\n"),
        "b.test/no": reply(),
        "c.test/robots.txt": reply(status="500 Oops"),
        "c.test/page": reply(),
        "d.test/robots.txt": redirect("http://a.test/robots.txt"),
        "d.test/no": reply(),
        "e.test/robots.txt": redirect("/robots.txt"),
        "e.test/page": reply(),
    }
    ends, web = crawled(
        replies, ["a.test/no", "a.test/yes", "a.test/turn", "a.test/away", "c.test/page", "d.test/no", "e.test/page"]
    )
    assert outcomes(ends) == {
        "a.test/no": "robots_disallowed",
        "a.test/yes": "kept",
        "a.test/turn": "robots_disallowed",
        "a.test/away": "robots_disallowed",
        "c.test/page": "robots_unreachable",
        "d.test/no": "robots_disallowed",
        "e.test/page": "kept",
    }
    assert sorted(web.paths()) == ["/away", "/page", "/turn", "/yes"]


@pytest.mark.parametrize("size", [600_000, 20_000_000])
def test_a_long_or_endless_robots_txt_counts_from_its_beginning(size):
    async def long(writer):
        writer.write(reply(b"", length=False) + b"User-agent: *\nDisallow: /no\n")
        for _ in range(size // 10_000):
            writer.write(b"#" * 9_999 + b"\n")
            await writer.drain()

    ends, _ = crawled(
        {"a.test/robots.txt": long, "a.test/no": reply(), "a.test/yes": reply()}, ["a.test/no", "a.test/yes"]
    )
    assert outcomes(ends) == {"a.test/no": "robots_disallowed", "a.test/yes": "kept"}


def test_a_host_that_has_no_name_or_no_way_in_says_so_for_each_link():
    addresses = [f"{host}/{number}" for host in ("nobody.invalid", "127.0.0.1") for number in range(DEAD_AFTER + 2)]
    ends, web = crawled({"a.test/": reply()}, addresses, retries=0)
    assert outcomes(ends) == {
        address: "name_error" if address.startswith("nobody") else "not_public" for address in addresses
    }
    assert sum("in a row" in fetched.detail for fetched in ends.values()) == 4
    assert web.connections == 0


def test_one_request_at_a_time_to_a_host_and_the_gap_between_all_of_them():
    replies = {f"a.test/{number}": reply() for number in range(4)}
    replies |= {
        "www.a.test/old": redirect("http://a.test/0"),
        "b.test/x": redirect("http://a.test/1"),
        "b.test/y": reply(),
    }
    replies |= {"a.test/busy": [reply(status="503 Busy"), reply()]}
    gap_s = 0.05
    ends, web = crawled(replies, [one if "www" not in one else link(one, "a.test") for one in replies], gap_s=gap_s)
    assert set(outcomes(ends).values()) == {"kept"}
    for host in ({"a.test", "www.a.test"}, {"b.test"}):
        times = sorted((began, ended) for name, began, ended in web.times if name in host)
        assert len(times) == (11 if "a.test" in host else 3)
        for (_, ended), (began, _) in itertools.pairwise(times):
            assert began - ended >= gap_s * 0.9  # the server notes its end a little after the client has it


def test_many_redirects_between_few_hosts_end_with_few_connections():
    names = [f"h{number}.test" for number in range(6)]
    replies = {}
    for number, name in enumerate(names):
        replies[f"{name}/robots.txt"] = redirect(f"http://{names[number - 1]}/robots2.txt")
        for page in range(10):
            replies[f"{name}/{page}"] = redirect(f"http://{names[(number + page) % 6]}/end{page}")
            replies[f"{name}/end{page}"] = reply()
    ends, _ = crawled(replies, [one for one in replies if one.rpartition("/")[2].isdigit()], connections=2)
    assert Counter(outcomes(ends).values()) == {"kept": 60}


def test_crawl_delay_slows_a_host_down():
    replies = {"a.test/robots.txt": reply(b"User-agent: *\nCrawl-delay: 0.3"), "a.test/1": reply(), "a.test/2": reply()}
    _, web = crawled(replies, ["a.test/1", "a.test/2"])
    times = sorted((began, ended) for _, began, ended in web.times)
    assert [len(times), all(b[0] - a[1] >= 0.25 for a, b in itertools.pairwise(times))] == [3, True]


def test_an_unexpected_exception_in_one_fetch_loses_no_other(monkeypatch):
    real = crawler.fetch

    async def breaking(session, url, *rest, **more):
        if url.endswith("/2"):
            raise RuntimeError("the parser fell over")
        return await real(session, url, *rest, **more)

    monkeypatch.setattr(crawler, "fetch", breaking)
    ends, _ = crawled({f"a.test/{n}": reply() for n in range(5)}, [f"a.test/{n}" for n in range(5)])
    assert outcomes(ends) == {f"a.test/{n}": "connect_error" if n == 2 else "kept" for n in range(5)}
    assert ends["a.test/2"].detail == "unexpected RuntimeError: the parser fell over"


def test_what_the_caller_raises_stops_the_crawl():
    async def run():
        async with local_web({f"a.test/{n}": reply() for n in range(5)}) as web:

            def full(*_):
                raise OSError("disk full")

            await crawl([link(f"a.test/{n}") for n in range(5)], web.settings(), SOFTWARE, full)

    with pytest.raises(OSError, match="disk full"):
        asyncio.run(run())


def test_the_placeholder_contact_is_refused_before_the_first_request():
    with pytest.raises(ConfigError, match=r"pages\.contact"):
        run_crawl([link("a.test/")], PagesSettings(), SOFTWARE, print)


def test_a_crawl_without_a_loop_of_its_own_ends():
    ends = []
    run_crawl([link("127.0.0.1/")], PagesSettings(contact="a@b.test"), SOFTWARE, lambda *end: ends.append(end))
    assert [(one.doc_id, fetched.outcome) for one, fetched in ends] == [("127.0.0.1/", Outcome.NOT_PUBLIC)]


def test_pages_arrive_with_their_bytes():
    ends, _ = crawled({"a.test/": reply()}, ["a.test/"])
    assert ends["a.test/"].hops[-1].body == PAGE
