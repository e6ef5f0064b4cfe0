"""A host that is away, and a network that is: nobody ends by what is not his failure."""

import asyncio
import socket
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fetch import blame, guard
from pipeline.fetch.errands import Memory, Pace, Unfinished
from pipeline.fetch.outage import HOSTS, PROBE_MAX_S, TRUST_S, Outage
from pipeline.fetch.schedule import IN_A_ROW
from pipeline.shards.outcomes import OutageError
from tests.fetch.crawls import anyone, ends_of, link_to
from tests.fetch.local_web import local_web, redirect, reply

GAP_S = 0.01


class Away:
    """Answers for hosts that hang up for the first so many requests."""

    def __init__(self, requests, then=None):
        self.left, self.then = requests, then or reply()

    async def __call__(self, writer):
        if self.left > 0:
            self.left -= 1
        else:
            writer.write(self.then)


def ended(replies, addresses, names=(), memory=None, robots=True, **values):
    """(outcome by address, web): how each ended; an errand that is left is None."""

    async def run():
        everything = dict(replies)
        if robots:
            everything |= {f"{one.partition('/')[0]}/robots.txt": reply(b"", status="404 No") for one in addresses}
        async with local_web(everything) as web:
            used = web.settings(*names, **{"gap_s": GAP_S, "retries": 0, **values})
            links = [link_to(f"http://{address}", address) for address in addresses]
            ends = await ends_of(links, used, anyone, memory)
            told = {one.doc_id: None if isinstance(end, Unfinished) else str(end.outcome) for one, end in ends}
            assert len(told) == len(ends)
            return told, web

    return asyncio.run(run())


@pytest.mark.failure("a host is away for a while", "it rests, ever longer; no link of it ends", "nothing")
@pytest.mark.parametrize("failures", [2, IN_A_ROW - 1, IN_A_ROW, IN_A_ROW + 2])
def test_a_host_that_comes_back_loses_no_link(failures):
    away = Away(failures)
    told, web = ended({f"big.test/{n}": away for n in range(20)}, [f"big.test/{n}" for n in range(20)])
    assert Counter(told.values()) == {"kept": 20}
    assert len(web.paths()) == 20 + failures


@pytest.mark.failure(
    "a host never answers", "outcome `connect_error` of what was asked, `host_away` of the rest", "raise `pages.passes`"
)
def test_of_a_host_that_stays_away_what_was_asked_failed_and_what_was_not_waits_for_another_pass():
    addresses = [f"big.test/{n}" for n in range(20)]
    told, web = ended(dict.fromkeys(addresses, Away(10**6)), addresses, patience_gaps=30)
    asked = {f"big.test{path}" for path in web.paths()}
    assert IN_A_ROW <= len(asked) < 10  # 1 + 2 + 4 + 8 + 16 gaps are 31
    assert told == {one: "connect_error" if one in asked else "host_away" for one in addresses}


def test_a_host_that_throttles_is_asked_again_when_it_said_and_its_links_end_by_what_it_said_of_them():
    busy, out = reply(status="429 Slow down", retry_after="0"), reply(status="503 Out")
    replies = {f"busy.test/{n}": [busy, busy, reply()] for n in range(3)}
    replies |= {"busy.test/never": busy, "out.test/1": out, "out.test/2": reply()}
    told, web = ended(replies, list(replies), gap_s=0.001)
    kept = {**{f"busy.test/{n}": "kept" for n in range(3)}, "out.test/2": "kept"}
    assert told == {**kept, "busy.test/never": "client_error", "out.test/1": "server_error"}
    assert Counter(web.requests)["out.test", "/1"] == blame.THROTTLED


def test_a_link_that_fails_alone_fails_by_itself_and_is_not_asked_again():
    replies = {f"a.test/{n}": reply() for n in range(6)} | {"a.test/2": Away(10**6)}
    told, web = ended(replies, list(replies))
    assert told == {one: "connect_error" if one == "a.test/2" else "kept" for one in replies}
    assert Counter(web.paths())["/2"] == 1


def test_other_hosts_go_on_while_one_rests_and_it_is_not_given_up_meanwhile():
    replies = {f"a.test/{n}": Away(IN_A_ROW + 1) for n in range(2)}
    away = Away(IN_A_ROW + 1)
    replies = {f"a.test/{n}": away for n in range(8)} | {f"b.test/{n}": reply() for n in range(60)}
    told, _ = ended(replies, list(replies), patience_gaps=8)
    assert Counter(told.values()) == {"kept": 68}


def test_what_waits_for_a_host_that_rests_long_is_left_to_another_round_and_its_redirects_as_errands():
    memory = Memory([], [Pace("rests.test", 0.0, 1_000.0, 3, -5.0, -5.0)])
    replies = {"rests.test/1": reply(), "a.test/1": redirect("http://rests.test/1"), "a.test/2": reply()}
    told, web = ended(replies, list(replies), memory=memory)
    assert told == {"a.test/1": None, "a.test/2": "kept"}
    assert {host for host, _ in web.requests} == {"a.test"}


def nobody_listens():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return closed.getsockname()[1]


def local(names, port):
    return dict.fromkeys(names, f"127.0.0.1:{port}")


@pytest.mark.failure("the machine loses its network", "exit 12 after a while; no link has ended", "run it again")
def test_a_network_that_is_away_ends_the_crawl_and_no_link():
    hosts = [f"h{n}.test" for n in range(HOSTS + 2)]
    addresses = [f"{host}/{n}" for host in hosts for n in range(10)]
    ends = []

    async def run():
        async with local_web({}) as web:
            used = web.settings(gap_s=GAP_S, patience_gaps=30, retries=0, local_hosts=local(hosts, nobody_listens()))
            links = [link_to(f"http://{address}", address) for address in addresses]
            await ends_of(links, used, anyone, robots=None, into=ends)

    with pytest.raises(OutageError, match=r"of \d hosts has answered.*run the same command again"):
        asyncio.run(run())
    assert ends == []


def test_a_network_that_comes_back_has_cost_no_link_and_few_requests(monkeypatch):
    hosts = [f"h{n}.test" for n in range(HOSTS + 2)]
    replies = {f"{host}/{n}": reply() for host in hosts for n in range(6)}
    tries = []
    real = guard.connected

    async def connected(resolver, host, port):
        tries.append(host)
        if len(tries) < 12:
            raise ConnectionRefusedError(111, "the line is dead")
        return await real(resolver, host, port)

    monkeypatch.setattr("pipeline.fetch.connections.connected", connected)
    monkeypatch.setattr(guard, "connected", connected)
    told, web = ended(replies, list(replies))
    assert Counter(told.values()) == {"kept": len(replies)}
    assert len(web.paths()) == len(replies)


def test_hosts_that_are_gone_are_no_outage_while_somebody_who_answered_before_can_be_reached():
    gone = [f"gone{n}.test" for n in range(HOSTS + 3)]

    async def run():
        async with local_web({"a.test/1": reply(), "a.test/robots.txt": reply(b"", status="404 No")}) as web:
            hosts = {**local(gone, nobody_listens()), "a.test": f"127.0.0.1:{web.port}"}
            used = web.settings(gap_s=GAP_S, retries=0, local_hosts=hosts)
            memory = Memory([], [])
            await ends_of([link_to("http://a.test/1", "a.test/1")], used, anyone, memory)
            links = [link_to(f"http://{host}/", host) for host in gone]
            ends = await ends_of(links, used, anyone, memory)
            return {one.doc_id: str(end.outcome) for one, end in ends}, web

    told, web = asyncio.run(run())
    assert told == dict.fromkeys(gone, "connect_error")
    assert len(web.requests) == 2  # a.test was connected, and asked for nothing


def test_names_that_do_not_exist_end_at_once_and_are_no_outage_beside_a_host_that_answers():
    lost = [f"nobody{n}.invalid/{k}" for n in range(HOSTS + 1) for k in range(IN_A_ROW + 2)]

    async def run():
        async with local_web({f"a.test/{n}": reply() for n in range(4)}) as web:
            links = [link_to(f"http://{address}", address) for address in [*lost, *(f"a.test/{n}" for n in range(4))]]
            ends = await ends_of(links, web.settings("a.test", gap_s=GAP_S, retries=0))
            return Counter(str(end.outcome) for _, end in ends)

    def no_such_name(name, *_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipeline.fetch.guard.socket.getaddrinfo", no_such_name)
        assert asyncio.run(run()) == {"name_error": len(lost), "kept": 4}


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=40))
def test_only_hosts_that_failed_since_anybody_answered_raise_a_suspicion(events):
    outage, failed = Outage(10.0, 1.0), set()
    for host, answers in events:
        if answers:
            outage.heard()
            failed.clear()
        else:
            outage.failed(host, 0.0)
            failed.add(host)
        assert outage.suspected == (len(failed) >= HOSTS)


def test_while_the_network_is_away_it_is_tried_more_and_more_rarely_and_an_answer_ends_it():
    outage, now, waits = Outage(10_000.0, 1.0), 0.0, []
    for host in "abc":
        outage.failed(host, now)
    outage.found_away(now)
    for _ in range(9):
        waits.append(outage.probe_at - now)
        now = outage.probe_at
        outage.failed("a", now)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, PROBE_MAX_S, PROBE_MAX_S, PROBE_MAX_S]
    assert (outage.away, outage.ends_at) == (True, 10_000.0)
    outage.heard()
    assert not outage.away


def test_after_a_connection_that_opened_nobody_doubts_the_network_for_a_while_and_without_patience_never():
    outage, never = Outage(10.0, 1.0), Outage(0.0, 1.0)
    outage.trust(0.0)
    for host in "abcd":
        outage.failed(host, 1.0)
        never.failed(host, 1.0)
    assert not outage.suspected
    assert not never.suspected
    for host in "abcd":
        outage.failed(host, TRUST_S + 1.0)
    assert outage.suspected
