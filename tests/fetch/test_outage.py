"""A host that is away, and a network that is: nobody ends by what is not his failure."""

import asyncio
import socket
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import PagesSettings
from pipeline.fetch import blame, connections, guard
from pipeline.fetch.continuations import Memory, Pace, Unfinished
from pipeline.fetch.outage import HOSTS, PROBE_MAX_S, PROBES_MAX, TRUST_S, Outage, Reached
from pipeline.fetch.schedule import IN_A_ROW
from pipeline.shards import progress
from pipeline.shards.outcomes import OutageError
from tests.fetch.crawls import anyone, ends_of, link_to
from tests.fetch.local_web import PAGE, local_web, redirect, reply

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
    """(outcome by address, web): how each ended; a continuation that is left is None."""

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


@pytest.fixture
def waits(monkeypatch):
    """What whoever watches is told that the crawl waits for: (unit, 1), and (unit, -1) when it does no longer."""
    told = []
    monkeypatch.setattr(progress, "advance", lambda unit, count=1: told.append((unit, count)))
    return told


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
def test_of_a_host_that_stays_away_what_was_asked_failed_and_what_was_not_waits_for_another_pass(waits):
    addresses = [f"big.test/{n}" for n in range(20)]
    told, web = ended(dict.fromkeys(addresses, Away(10**6)), addresses, patience_gaps=30)
    asked = {f"big.test{path}" for path in web.paths()}
    assert IN_A_ROW <= len(asked) < 10  # 1 + 2 + 4 + 8 + 16 gaps are 31
    assert told == {one: "connect_error" if one in asked else "host_away" for one in addresses}
    assert waits[:2] == [(progress.RESTING, 1), (progress.RESTING, -1)]
    assert sum(count for _, count in waits) == 0


def test_a_host_that_throttles_is_asked_again_when_it_said_and_its_links_end_by_what_it_said_of_them():
    busy, out = reply(status="429 Slow down", retry_after="0"), reply(status="503 Out")
    replies = {f"busy.test/{n}": [busy, busy, reply()] for n in range(3)}
    replies |= {"busy.test/never": busy, "out.test/1": out, "out.test/2": reply()}
    told, web = ended(replies, list(replies), gap_s=0.001, patience_gaps=1_200)
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
def test_a_network_that_is_away_ends_the_crawl_and_no_link(waits):
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
    assert (progress.AWAY, 1) in waits
    assert waits[-1] == (progress.AWAY, -1)


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


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["fails", "has no name", "named", "answers"]))))
def test_only_hosts_that_failed_since_their_step_was_seen_to_work_elsewhere_raise_a_suspicion(events):
    outage, seen, failed = Outage(10.0, 1.0), Reached(), {}
    for now, (host, event) in enumerate(events):
        if event == "named":
            seen.named_at = now
        elif event == "answers":
            seen.opened_at = now
        else:
            outage.failed(host, float(now), event == "has no name")
            failed[host] = event
        gone = {"named": "has no name", "answers": "fails"}.get(event)
        assert sorted(outage.reached(seen)) == sorted(one for one, how in failed.items() if how == gone)
        failed = {one: how for one, how in failed.items() if how != gone}
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
    assert (outage.away, outage.ends_at, outage.probes) == (True, 10_000.0, PROBES_MAX)
    outage.reached(Reached(opened_at=now + 1))
    assert not outage.away


def test_each_suspicion_that_was_none_doubles_how_many_have_to_fail_for_the_next_and_without_patience_there_is_none():
    outage, never = Outage(10.0, 1.0), Outage(0.0, 1.0)
    for needed in (HOSTS, 2 * HOSTS, 4 * HOSTS):
        for number in range(needed):
            assert not outage.suspected
            outage.failed(f"h{number}", 1.0)
            never.failed(f"h{number}", 1.0)
        assert outage.suspected
        assert sorted(outage.trust(2.0)) == sorted(f"h{number}" for number in range(needed))
    assert not never.suspected
    assert outage.trusted_until == 2.0 + TRUST_S


# --- a network of which a part is away


class Network:
    """A loopback that is the internet: names of `.test` are looked up, connections open.

    `away`: at which look-ups ("names"), or connections ("lines"), counted from 0, that part of it is away.
    """

    def __init__(self, patched, part="", away=(), silent=socket.EAI_AGAIN):
        self.part, self.away, self.silent = part, away, silent
        self.looked_up, self.tried = [], []
        self.connected = guard.connected
        patched.setattr(guard, "is_public", lambda address: address == "127.0.0.1")
        patched.setattr(guard.socket, "getaddrinfo", self.look_up)
        for module in (guard, connections):
            patched.setattr(module, "connected", self.connect)

    def look_up(self, name, port, *_):
        self.looked_up.append(name)
        if self.part == "names" and len(self.looked_up) - 1 in self.away:
            raise socket.gaierror(self.silent, "no answer")
        if name.startswith("gone"):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (guard.Vouched("127.0.0.1"), port))]

    async def connect(self, resolver, host, port):
        self.tried.append(host)
        gone = self.part == "lines" and len(self.tried) - 1 in self.away
        await resolver.addresses(host, port)
        if gone or host.startswith(("dead", "zdead")):
            raise OSError(101, "Network is unreachable")
        return await self.connected(resolver, host, port)


@asynccontextmanager
async def open_web():
    """A web that answers everything with a page and lets connections stand."""

    async def serve(reader, writer):
        try:
            while line := (await reader.readuntil(b"\r\n\r\n")).decode().partition("\r\n")[0]:
                robots = "/robots.txt" in line
                head = "404 No" if robots else "200 OK\r\nContent-Type: text/html"
                writer.write(f"HTTP/1.1 {head}\r\nContent-Length: {len(PAGE)}\r\n\r\n".encode() + PAGE)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def crawled(addresses, **values):
    """(outcome by address, the outage's words or ""): how links of hosts that let connections stand ended."""
    ends = []
    chosen = {"contact": "mailto:a@b.test", "gap_s": GAP_S, "retries": 0, "per_address": 0, "patience_gaps": 60}

    async def run():
        async with open_web() as port:
            parts = [one.partition("/") for one in addresses]
            links = [link_to(f"http://{host}:{port}/{path}", f"{host}/{path}") for host, _, path in parts]
            await ends_of(links, PagesSettings(**{**chosen, **values}), anyone, into=ends)

    said = ""
    try:
        asyncio.run(run())
    except OutageError as error:
        said = str(error)
    return {one.doc_id: str(end.outcome) for one, end in ends}, said


BIG = [f"big.test/{n}" for n in range(40)]  # over one connection
SMALL = [f"s{n:02d}.test/" for n in range(30)]  # one link each, as most hosts have


@pytest.mark.failure(
    "connections that stand still answer while none can be made anew, or names cannot be looked up any more",
    "as if the network were away: exit 12 after a while; no link has ended by it",
    "run it again",
)
@pytest.mark.parametrize("part", ["lines", "names"])
@pytest.mark.parametrize("silent", [socket.EAI_AGAIN, socket.EAI_NONAME])
def test_what_still_answers_does_not_make_the_others_fail_while_nothing_new_can_be_reached(monkeypatch, part, silent):
    Network(monkeypatch, part, range(10, 10**6), silent)
    told, said = crawled([*BIG, *SMALL])
    assert set(told.values()) == {"kept"}
    assert len(told) < len(BIG) + len(SMALL)
    assert "the network is away" in said
    assert ("name" in said) == (part == "names")


@pytest.mark.parametrize("part", ["lines", "names"])
def test_when_the_part_of_the_network_that_was_away_is_back_all_links_have_their_pages(monkeypatch, part):
    network = Network(monkeypatch, part, range(10, 40))
    told, said = crawled([*BIG, *SMALL], patience_gaps=1_000)
    assert (told, said) == (dict.fromkeys([*BIG, *SMALL], "kept"), "")
    assert len(network.tried) > 40


def test_hosts_that_failed_together_while_the_network_was_away_for_a_moment_are_asked_once_more(monkeypatch):
    network = Network(monkeypatch)
    connect, together = network.connect, asyncio.Event()

    async def trembling(resolver, host, port):
        number = len(network.tried)
        if 6 <= number < 14:  # as many as are open at once
            network.tried.append(host)
            if number == 13:
                together.set()
            await together.wait()
            raise OSError(101, "Network is unreachable")
        return await connect(resolver, host, port)

    for module in (guard, connections):
        monkeypatch.setattr(module, "connected", trembling)
    told, said = crawled([*BIG, *SMALL], connections=8)
    assert (told, said) == (dict.fromkeys([*BIG, *SMALL], "kept"), "")


@pytest.mark.parametrize("kind", ["gone", "dead"])
def test_in_a_list_of_mostly_dead_links_each_ends_as_it_is_and_is_asked_twice_at_most(monkeypatch, kind):
    network = Network(monkeypatch)
    lost = [f"{kind}{n}.test/" for n in range(150)]
    links = [*BIG[:5], *SMALL[:5], *lost]
    told, said = crawled(links, connections=8)
    end = {"gone": "name_error", "dead": "connect_error"}[kind]
    assert (told, said) == ({one: end if one in lost else "kept" for one in links}, "")
    again = Counter(one for one in network.tried if one.startswith(kind))
    assert max(again.values()) <= 2


def test_the_one_host_that_answers_is_found_among_many_that_do_not_before_patience_ends(monkeypatch):
    Network(monkeypatch)
    links = [*(f"gone{n}.test/" for n in range(45)), "a.test/"]  # the last one in turn
    told, said = crawled(links)
    assert (told, said) == ({one: "kept" if one == "a.test/" else "name_error" for one in links}, "")


def test_a_suspicion_is_looked_into_also_while_more_hosts_wait_than_the_schedule_holds(monkeypatch):
    Network(monkeypatch)
    links = [*(f"zdead{n}.test/" for n in range(5)), *SMALL]
    told, said = crawled(links, connections=1)
    assert said == ""
    assert len(told) == len(links)
