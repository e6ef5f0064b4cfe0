import asyncio
import itertools
import time
from collections import Counter

import pytest

import pipeline.fetch.crawler as crawler
import pipeline.fetch.visit as visit
from pipeline.config import PagesSettings
from pipeline.fetch.continuations import Link, Memory, Unfinished, host_asked
from pipeline.fetch.guard import Resolver
from pipeline.fetch.hosts import Circumstances, Hosts
from pipeline.fetch.schedule import IN_A_ROW
from pipeline.shards.outcomes import ConfigError
from tests.fetch.crawls import Job, anyone, ends_of, link_to
from tests.fetch.local_web import PAGE, local_web, redirect, reply


def link(address):
    return link_to(f"http://{address}", address)


def crawled(replies, addresses, names=(), mine=anyone, memory=None, now=lambda: 0.0, **values):
    """How each address ended, and the web that was asked."""

    async def run():
        async with local_web(replies) as web:
            links = [address if isinstance(address, Link) else link(address) for address in addresses]
            ends = await ends_of(links, web.settings(*names, **values), mine, memory, now)
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
    addresses = [f"{host}/{number}" for host in ("nobody.invalid", "127.0.0.1") for number in range(IN_A_ROW + 2)]
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
    ends, web = crawled(replies, list(replies), gap_s=gap_s)
    assert set(outcomes(ends).values()) == {"kept"}
    for host in ({"a.test", "www.a.test"}, {"b.test"}):
        times = sorted((began, ended) for name, began, ended in web.times if name in host)
        assert len(times) == (11 if "a.test" in host else 3)
        for (_, ended), (began, _) in itertools.pairwise(times):
            assert began - ended >= gap_s


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
    assert [len(times), all(b[0] - a[1] >= 0.3 for a, b in itertools.pairwise(times))] == [3, True]


def test_an_unexpected_exception_in_one_fetch_loses_no_other(monkeypatch):
    real = visit.fetch

    async def breaking(session, continuation, *rest, **more):
        if continuation.target.endswith("/2"):
            raise RuntimeError("the parser fell over")
        return await real(session, continuation, *rest, **more)

    monkeypatch.setattr(visit, "fetch", breaking)
    ends, _ = crawled({f"a.test/{n}": reply() for n in range(5)}, [f"a.test/{n}" for n in range(5)])
    assert outcomes(ends) == {f"a.test/{n}": "fault" if n == 2 else "kept" for n in range(5)}
    assert ends["a.test/2"].detail.startswith("RuntimeError: the parser fell over at visit.py:")


def test_what_a_report_raises_stops_the_crawl():
    async def run():
        async with local_web({f"a.test/{n}": reply() for n in range(5)}) as web:

            def full(*_):
                raise OSError("disk full")

            job = Job([link(f"a.test/{n}") for n in range(5)], told=full)
            await crawler.crawl(job, web.settings(), "webtext/0", Circumstances(lambda: 0.0))

    with pytest.raises(OSError, match="disk full"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("values", "match"),
    [({"contact": PagesSettings().contact}, r"pages\.contact"), ({"obey_agents": ("GPT Bot",)}, r"pages\.obey_agents")],
)
def test_a_wrong_setting_is_refused_before_the_first_request(values, match):
    with pytest.raises(ConfigError, match=match):
        crawled({}, ["a.test/"], ["a.test"], **values)


def test_pages_arrive_with_their_bytes():
    ends, _ = crawled({"a.test/": reply()}, ["a.test/"])
    assert ends["a.test/"].hops[-1].body == PAGE


def test_robots_txt_is_asked_again_after_a_day_and_not_before():
    replies = {"a.test/": reply(), "a.test/robots.txt": reply(b"User-agent: *\nAllow: /")}
    memory = Memory([], [])
    asked = {}
    for at in (0.0, 86_399.0, 86_401.0):
        kept = Memory(list(memory.robots), list(memory.paces))
        _, web = crawled(replies, ["a.test/"], memory=memory, now=lambda at=at: at)
        asked[at] = ("a.test", "/robots.txt") in web.requests
        memory.robots[:0] = kept.robots
    assert asked == {0.0: True, 86_399.0: False, 86_401.0: True}


def test_robots_txt_is_kept_by_scheme_host_and_port():
    replies = {"a.test/": reply(), "www.a.test/": reply(), "a.test/2": reply()}
    _, web = crawled(replies, ["a.test/", "www.a.test/", "a.test/2"])
    assert Counter(web.requests)["a.test", "/robots.txt"] == 1
    assert Counter(web.requests)["www.a.test", "/robots.txt"] == 1


def test_a_crawl_remembers_a_delay_that_an_earlier_one_was_asked_for():
    replies = {"a.test/robots.txt": reply(b"User-agent: *\nCrawl-delay: 0.3"), "a.test/1": reply(), "a.test/2": reply()}
    memory = Memory([], [])
    crawled(replies, ["a.test/1"], memory=memory)
    assert [(pace.host, pace.gap_s) for pace in memory.paces] == [("a.test", 0.3)]
    began = time.monotonic()
    _, web = crawled(replies, ["a.test/2"], memory=memory)
    assert web.paths() == ["/2"]
    assert web.times[0][1] - began >= 0.3  # as if the host had been asked just before


def test_a_host_that_is_asked_too_much_rests_and_is_asked_less():
    busy = reply(status="429 Slow down", retry_after="1")
    replies = {"a.test/1": [busy, reply()], "a.test/2": reply(), "a.test/3": reply(), "b.test/": reply()}
    memory = Memory([], [])
    ends, web = crawled(replies, list(replies), memory=memory, gap_s=0.2, connections=1)
    assert set(outcomes(ends).values()) == {"kept"}
    times = sorted((began, ended) for name, began, ended in web.times if name == "a.test")
    gaps = [began - ended for (_, ended), (began, _) in itertools.pairwise(times)]
    assert max(gaps) >= 1.0
    assert sum(gap >= 0.3 for gap in gaps) >= 2  # after the rest too, for a while
    assert [pace.host for pace in memory.paces] == ["a.test"]


def test_of_a_host_that_is_always_asked_too_much_what_was_never_asked_says_so():
    replies = {f"a.test/{n}": reply(status="503 Busy") for n in range(IN_A_ROW + 3)}
    ends, web = crawled(replies, list(replies), retries=0)
    asked = [path.removeprefix("/") for path in web.paths()]
    assert len(asked) == IN_A_ROW
    told = {n: (str(ends[f"a.test/{n}"].outcome), ends[f"a.test/{n}"].status) for n in range(IN_A_ROW + 3)}
    assert told == {n: ("server_error", 503) if str(n) in asked else ("host_away", None) for n in told}


def test_a_host_of_another_crawl_is_not_asked_and_its_link_says_what_is_left():
    replies = {"a.test/": redirect("http://b.test/x"), "b.test/x": reply()}
    ends, web = crawled(replies, ["a.test/"], mine=lambda _, host: host != "b.test")
    left = ends["a.test/"]
    assert isinstance(left, Unfinished)
    assert (left.continuation.target, left.continuation.asked) == ("http://b.test/x", ("http://a.test/",))
    assert {host for host, _ in web.requests} == {"a.test"}
    ends, web = crawled(replies, [Link("a.test/", left.continuation)], mine=lambda _, host: host != "a.test")
    assert outcomes(ends) == {"a.test/": "kept"}
    assert {host for host, _ in web.requests} == {"b.test"}


@pytest.mark.parametrize(("rules", "outcome"), [(b"Allow: /", "kept"), (b"Disallow: /x", "robots_disallowed")])
def test_a_robots_txt_that_lies_with_another_crawl_is_asked_there_and_obeyed_here(rules, outcome):
    replies = {
        "a.test/robots.txt": redirect("http://b.test/rules"),
        "b.test/rules": reply(b"User-agent: *\nCrawl-delay: 0.1\nContent-Usage: train-ai=n\n" + rules),
        "a.test/x": reply(),
    }
    ends, web = crawled(replies, ["a.test/x"], mine=lambda _, host: host == "a.test")
    continuation = ends["a.test/x"].continuation
    assert continuation.robots == ("http://a.test/robots.txt", "http://b.test/rules")
    assert web.requests == [("a.test", "/robots.txt")]
    ends, web = crawled(replies, [Link("a.test/x", continuation)], mine=lambda _, host: host == "b.test")
    assert web.requests == [("b.test", "/rules")]
    if outcome == "kept":
        permit = ends["a.test/x"].continuation.permit
        assert (permit.url, permit.crawl_delay) == ("http://a.test/x", 0.1)
        again = [Link("a.test/x", ends["a.test/x"].continuation)]
        ends, web = crawled(replies, again, mine=lambda _, host: host == "a.test", opt_outs=False)
        assert web.requests == [("a.test", "/x")]
        assert ends["a.test/x"].opt_outs == ("robots:content-usage",)
    assert outcomes(ends) == {"a.test/x": outcome}


def test_robots_txts_of_two_crawls_that_lead_to_each_other_allow_everything():
    replies = {"a.test/robots.txt": redirect("http://b.test/robots.txt"), "a.test/": reply()}
    replies |= {"b.test/robots.txt": redirect("http://a.test/robots.txt"), "b.test/": reply()}
    memories = {name: Memory([], []) for name in ("a.test", "b.test")}
    waiting = {name: [link(f"{name}/")] for name in memories}
    ended = {}
    for _ in range(12):
        for name, memory in memories.items():
            one = Memory(list(memory.robots), list(memory.paces))
            ends, _ = crawled(replies, waiting.pop(name, []), ["a.test", "b.test"], lambda _, h, n=name: h == n, one)
            memory.robots += one.robots
            for doc_id, end in ends.items():
                if isinstance(end, Unfinished):
                    waiting.setdefault(host_asked(end.continuation), []).append(Link(doc_id, end.continuation))
                else:
                    ended[doc_id] = str(end.outcome)
    assert ended == {"a.test/": "kept", "b.test/": "kept"}


def test_when_the_time_is_over_nothing_is_begun_and_what_waits_leaves_an_errand():
    async def run():
        replies = {f"a.test/{n}": reply() for n in range(50)} | {"b.test/": redirect("http://a.test/new")}
        async with local_web(replies) as web:
            links = [link(address) for address in replies]
            settings = web.settings(gap_s=0.2, round_s=0.7)
            return await ends_of(links, settings), web

    ends, web = asyncio.run(run())
    assert 1 <= len(ends) < 10
    left = {one.doc_id: end.continuation.target for one, end in ends if isinstance(end, Unfinished)}
    assert set(left) <= {"b.test/", *(f"a.test/{n}" for n in range(50))}
    assert len(web.requests) <= 7


def test_opt_outs_of_robots_txt_are_recorded_and_obeyed():
    rules = b"User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: /free train-ai=y\n"
    replies = {"a.test/robots.txt": reply(rules), "a.test/mine": reply(), "a.test/free": reply()}
    ends, _ = crawled(replies, ["a.test/mine", "a.test/free"])
    assert outcomes(ends) == {"a.test/mine": "opted_out", "a.test/free": "kept"}
    assert ends["a.test/mine"].opt_outs == ("robots:content-usage",)
    ends, _ = crawled(replies, ["a.test/mine"], opt_outs=False)
    assert outcomes(ends) == {"a.test/mine": "kept"}
    assert ends["a.test/mine"].opt_outs == ("robots:content-usage",)


@pytest.mark.parametrize(("agents", "outcome"), [((), "kept"), (("GPTBot", "CCBot"), "robots_disallowed")])
def test_what_is_forbidden_to_an_agent_that_the_settings_obey_is_not_asked_for(agents, outcome):
    replies = {"a.test/robots.txt": reply(b"User-agent: gptbot/1.0\nDisallow: /\n"), "a.test/": reply()}
    ends, web = crawled(replies, ["a.test/"], obey_agents=agents)
    assert outcomes(ends) == {"a.test/": outcome}
    assert ends["a.test/"].opt_outs == (("robots:gptbot",) if agents else ())
    assert web.paths() == ([] if agents else ["/"])


@pytest.mark.parametrize("per_address", [1, 2])
def test_one_server_under_many_names_is_asked_once_a_gap_and_others_meanwhile(monkeypatch, per_address):
    names = [f"n{n}.test" for n in range(4)]
    replies = {f"{name}/{n}": reply() for name in names for n in range(2)} | {"b.test/1": reply(), "b.test/2": reply()}
    gap_s = 0.05

    async def address_of(self, origin):
        return "" if origin[1] == "b.test" else "192.0.2.1"

    monkeypatch.setattr(Hosts, "address_of", address_of)
    ends, web = crawled(replies, list(replies), gap_s=gap_s, per_address=per_address)
    assert set(outcomes(ends).values()) == {"kept"}
    times = sorted((began, ended) for name, began, ended in web.times if name in names)
    assert len(times) == 12
    for (began, _), (_, earlier) in zip(times[per_address:], times, strict=False):
        assert began - earlier >= gap_s
    free = [began for name, began, _ in web.times if name == "b.test"]
    assert max(free) < times[-1][0]


def test_the_address_of_a_name_is_what_it_resolves_to_and_that_of_a_local_host_is_nobodys(monkeypatch):
    def found(name, *_, **__):
        return [(2, 1, 6, "", (address, 0)) for address in ("93.184.216.34", "93.184.215.14")]

    async def run():
        monkeypatch.setattr("pipeline.fetch.guard.socket.getaddrinfo", found)
        settings = PagesSettings(contact="mailto:a@b.test", local_hosts={"here.test": "127.0.0.1:80"})
        hosts = Hosts(settings, "webtext/0", anyone, print, Resolver(settings), Circumstances(lambda: 0.0))
        return [
            await hosts.address_of(("http", name, 80)) for name in ("a.test", "b.test", "here.test", "93.184.216.34")
        ]

    assert asyncio.run(run()) == ["93.184.215.14", "93.184.215.14", "", "93.184.216.34"]
