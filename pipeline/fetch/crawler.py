"""The crawl that follows the schedule: links go in; for each, its end or the errand that is left of it comes out.

Choice: a host is held for one request at a time, by the visit of a link; between two requests the visit queues, ahead
of the host's links. A visit may only ask hosts that are its crawl's own (`mine`): a redirect to another's, and whatever
still waits when the time is over, ends as an errand for who may go on with it. So a host's gap is kept by one schedule,
wherever its requests come from. Cost: a visit that queues keeps its earlier responses in memory. Alternative: follow a
redirect where it was found, and let two crawls ask one host at the same time.

What outlives one crawl is `Memory`: robots.txt files, kept by scheme, host and port for 24 hours, and hosts that asked
for rest. A robots.txt that could not be had is asked for again by the next link, until the host counts as dead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import aiohttp
import msgspec

from pipeline.config import PagesSettings
from pipeline.fetch import robots
from pipeline.fetch.client import check_contact, fetch, is_overloaded, open_session, retry_after_s
from pipeline.fetch.errands import (
    Errand,
    Later,
    Link,
    Memory,
    Pace,
    Permit,
    Unfinished,
    annotated,
    host,
    host_asked,
    nothing,
    permit_of,
)
from pipeline.fetch.response import HOST_FAILURES, Fetched, Hop
from pipeline.fetch.schedule import DEAD_AFTER, REST_MAX_S, Schedule
from pipeline.shards.outcomes import Outcome

WAITING_HOSTS = 10  # hosts with links in the schedule, for each connection: others wait outside, where they cost less
Clock = Callable[[], float]


@dataclass(frozen=True)
class Report:
    """Who is told of what: every link's end, exactly once; every response to a question for robots.txt."""

    ended: Callable[[Link, Fetched | Unfinished], None]
    asked_robots: Callable[[tuple[Hop, ...]], None]


@dataclass(slots=True, eq=False)
class Visit:
    """One link on its way: the host that it holds, whether it has sent a request since it got it, and what robots.txt
    said of the address asked last.
    """

    link: Link
    host: str | None = None
    used: bool = False
    permit: Permit | None = None


class Crawl:
    """One crawl under way. Everything happens in one thread, between awaits."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: PagesSettings,
        software: str,
        mine: Callable[[str, str], bool],
        report: Report,
        now: Clock,
    ) -> None:
        self.session = session
        self.settings = settings
        self.robots_settings = msgspec.structs.replace(
            settings, redirects=robots.REDIRECTS, limit_bytes=robots.LIMIT_BYTES
        )
        self.mine = mine
        self.report = report
        self.now = now
        self.clock = asyncio.get_running_loop().time
        self.schedule: Schedule[Link | asyncio.Future[None]] = Schedule(
            settings.gap_s, settings.connections, self.clock()
        )
        self.cache = robots.Cache(robots.product_token(software), robots.obeyed_agents(settings), now)
        self.memory = Memory([], [])
        self.coming: list[tuple[str, list[Link]]] = []  # hosts outside the schedule, those with most links last
        self.visits: set[asyncio.Task[None]] = set()
        self.tickets: set[asyncio.Future[None]] = set()
        self.done: deque[tuple[Link, Fetched | Unfinished]] = deque()
        self.changed = asyncio.Event()
        self.closing = False

    def remember(self, memory: Memory) -> None:
        """Begin with what an earlier crawl left."""
        for known in memory.robots:
            self.cache.put(known)
        for pace in memory.paces:
            self.schedule.slow_down(pace.host, pace.gap_s)
            self.schedule.rest(pace.host, self.clock() + min(pace.until - self.now(), REST_MAX_S))

    async def run(self, links: Iterable[Link]) -> None:
        """Visit the links, for `round_s` at most; those not begun by then have no end. A report may stop it."""
        self.coming = by_host(links)
        ends_at = self.clock() + self.settings.round_s
        try:
            while True:
                if self.clock() >= ends_at:
                    self.close()
                self.start_ready()
                if not (self.visits or self.done) and (self.closing or not self.schedule.waiting()):
                    return
                wait = None if self.closing else self.schedule.wait(self.clock())
                with suppress(TimeoutError):
                    left = None if self.closing else max(0.0, ends_at - self.clock())
                    async with asyncio.timeout(min((s for s in (wait, left) if s is not None), default=None)):
                        await self.changed.wait()
                self.changed.clear()
                while self.done:
                    self.report.ended(*self.done.popleft())
        finally:
            for visit in self.visits:
                visit.cancel()
            await asyncio.gather(*self.visits, return_exceptions=True)

    def close(self) -> None:
        """Begin nothing any more; whoever queues leaves an errand."""
        self.closing = True
        for ticket in self.tickets:
            if not ticket.done():
                ticket.set_exception(Later())

    def start_ready(self) -> None:
        """Begin a visit, or let one go on, for every host that may be asked now."""
        while self.coming and self.schedule.waiting() < WAITING_HOSTS * self.settings.connections:
            host, links = self.coming.pop()
            for link in links:
                self.schedule.push(host, link)
        while not self.closing and (item := self.schedule.pop(self.clock())) is not None:
            if isinstance(item, Link):
                task = asyncio.create_task(self.visit(Visit(item, host_asked(item.errand))))
                self.visits.add(task)
                task.add_done_callback(self.left)
            else:
                item.set_result(None)

    def left(self, visit: asyncio.Task[None]) -> None:
        """A visit is over."""
        self.visits.discard(visit)
        self.changed.set()

    async def visit(self, visit: Visit) -> None:
        """Fetch one link and give its host back; the end is in `done`, whatever happens."""
        errand = visit.link.errand
        dead = self.schedule.dead(host_asked(errand))
        end: Fetched | Unfinished
        try:
            if dead:
                end = nothing(errand, dead, f"{host_asked(errand)}: failed {DEAD_AFTER} times in a row")
            else:
                end = await self.go_on(visit, errand)
        except Exception as error:  # noqa: BLE001 - hostile bytes went through the HTTP engine: one link lost, not all
            end = nothing(errand, Outcome.CONNECT_ERROR, f"unexpected {type(error).__name__}: {error}")
        self.done.append((visit.link, end))
        self.give_back(visit, end if isinstance(end, Fetched) and not dead else None)

    async def go_on(self, visit: Visit, errand: Errand) -> Fetched | Unfinished:
        """The end of an errand, with what robots.txt says of training on its last address."""
        if errand.robots:
            try:
                rules = await self.rules_at(visit, errand.robots)
            except Later as later:
                return Unfinished(msgspec.structs.replace(errand, robots=later.robots or errand.robots), ())
            visit.permit = permit_of(rules, errand.target)
            if rules.outcome(errand.target) is not Outcome.KEPT:
                refused = nothing(errand, rules.outcome(errand.target), errand.target)
                return annotated(refused, visit.permit, self.settings.opt_outs)
        else:
            visit.permit = errand.permit
        errand = msgspec.structs.replace(errand, robots=(), permit=None)
        end = await fetch(self.session, errand, self.settings, partial(self.allowed, visit), partial(self.pause, visit))
        return annotated(end, visit.permit, self.settings.opt_outs) if isinstance(end, Fetched) else end

    async def allowed(self, visit: Visit, url: str) -> Outcome:
        """Whether a visit may request an address now: its robots.txt asked, its host's turn awaited. Raises Later."""
        permit = visit.permit if visit.permit is not None and visit.permit.url == url else None
        if not self.mine(host(url), visit.link.doc_id):
            raise Later(permit=permit)
        if permit is None:
            rules = await self.rules_of(visit, url)
            visit.permit = permit = permit_of(rules, url)
            if rules.outcome(url) is not Outcome.KEPT:
                return rules.outcome(url)
        if permit.crawl_delay > self.schedule.host(host(url)).gap_s:
            self.schedule.slow_down(host(url), permit.crawl_delay)
            self.memory.paces.append(Pace(host(url), permit.crawl_delay, 0.0))
        try:
            await self.turn(visit, url)
        except Later:
            raise Later(permit=permit) from None
        return self.schedule.dead(host(url)) or Outcome.KEPT

    async def turn(self, visit: Visit, url: str) -> Outcome:
        """Wait until the visit holds the host of an address for a request. Always KEPT. Raises Later."""
        name = host(url)
        if not self.mine(name, visit.link.doc_id):
            raise Later
        if visit.host != name or visit.used:
            self.give_back(visit, None)
            if self.closing:
                raise Later
            await self.ticket(name)
            visit.host = name
        visit.used = True
        return Outcome.KEPT

    async def ticket(self, name: str) -> None:
        """Queue for a host, ahead of its links, until it may be asked. Raises Later."""
        ticket = asyncio.get_running_loop().create_future()
        self.schedule.push(name, ticket, first=True)
        self.tickets.add(ticket)
        self.changed.set()
        try:
            await ticket
        finally:
            self.tickets.discard(ticket)

    async def pause(self, visit: Visit, fetched: Fetched, pause_s: float) -> None:
        """Let the host of a failure rest before the next try; meanwhile nobody holds it."""
        if visit.host is not None:
            self.schedule.rest(visit.host, self.clock() + pause_s)
            self.slow_where_asked(visit.host, fetched)
            self.schedule.finish(visit.host, self.clock())
            visit.host, visit.used = None, False
        self.changed.set()

    def give_back(self, visit: Visit, end: Fetched | None) -> None:
        """End the hold of a visit on its host, if it has one; `end`: how the visit ended, unless it goes on."""
        if visit.host is not None:
            failed = end is not None and (end.outcome in HOST_FAILURES or is_overloaded(end))
            if end is not None and failed:
                self.schedule.failed(visit.host, end.outcome)
                self.slow_where_asked(visit.host, end)
            elif visit.used:
                self.schedule.answered(visit.host)
            self.schedule.finish(visit.host, self.clock())
            visit.host, visit.used = None, False
        self.changed.set()

    def slow_where_asked(self, name: str, fetched: Fetched) -> None:
        """Ask a host less that says it is asked too much, and not before it wants."""
        if is_overloaded(fetched):
            rest_s = min(retry_after_s(fetched), REST_MAX_S)
            self.schedule.overloaded(name, self.clock() + rest_s)
            self.memory.paces.append(Pace(name, 0.0, self.now() + rest_s))

    async def rules_of(self, visit: Visit, url: str) -> robots.Rules:
        """The rules of an address's origin. Raises Later where they lie with a host that is not ours."""
        scheme, _, rest = url.partition("://")
        return await self.rules_at(visit, (f"{scheme}://{rest.partition('/')[0]}/robots.txt",))

    async def rules_at(self, visit: Visit, chain: tuple[str, ...]) -> robots.Rules:
        """The rules that the last of a chain of redirects leads to, remembered or by a request of the visit."""
        while True:
            found = self.cache.get(chain[-1])
            if isinstance(found, robots.Rules):
                return found
            chain = (*chain, *(found or ()))
            if len(chain) > robots.REDIRECTS + 1:  # as if there were none: RFC 9309, section 2.3.1.2
                return robots.Rules(self.cache.token)
            if not self.mine(host(chain[-1]), visit.link.doc_id):
                raise Later(robots=chain)
            if found is None:
                refused = await self.ask_robots(visit, chain)
                if refused is not None:
                    return refused

    async def ask_robots(self, visit: Visit, chain: tuple[str, ...]) -> robots.Rules | None:
        """Ask for the last robots.txt of a chain: None once the cache knows it, else the refusal. Raises Later."""
        *asked, target = chain
        errand = Errand(target, tuple(asked), self.settings.deadline_s)
        end = await fetch(
            self.session, errand, self.robots_settings, partial(self.turn, visit), partial(self.pause, visit), True
        )
        self.report.asked_robots(end.hops)
        if isinstance(end, Unfinished):
            beyond = (*end.errand.asked, end.errand.target)[len(chain) :]
            if not beyond or self.mine(host(beyond[-1]), visit.link.doc_id):
                raise Later(robots=chain)  # the time is over, not the way barred
            self.learn(robots.Known(target, self.now(), end.hops[-1].status, leads_to=beyond))
            return None
        if visit.host is not None:
            self.slow_where_asked(visit.host, end)
        found = robots.found_in(end, target, self.now())
        if isinstance(found, Outcome):
            return robots.Rules(self.cache.token, refusal=found)
        self.learn(found)
        return None

    def learn(self, known: robots.Known) -> None:
        """Remember a robots.txt, for this crawl and the next one."""
        self.cache.put(known)
        self.memory.robots.append(known)


def by_host(links: Iterable[Link]) -> list[tuple[str, list[Link]]]:
    """The links of each host; the hosts with most links last, since they take longest and are to begin first."""
    found: dict[str, list[Link]] = {}
    for link in links:
        found.setdefault(host_asked(link.errand), []).append(link)
    return sorted(found.items(), key=lambda item: (len(item[1]), item[0]))


async def crawl(
    links: Iterable[Link],
    settings: PagesSettings,
    software: str,
    mine: Callable[[str, str], bool],
    memory: Memory,
    report: Report,
    now: Clock,
) -> None:
    """Visit links for a round: `report.ended` is called at most once for each, and exactly once where time suffices.

    `software` is name/version, for the user agent and, its name alone, for robots.txt. `mine(host, doc_id)`: whether
    this crawl may ask a host for a link. `memory`: what earlier crawls of the same hosts left; it becomes what is new.
    `now`: seconds since 1970. Raises ConfigError (contact, agents, local hosts) before the first request, and whatever
    a report raises.
    """
    check_contact(settings)
    robots.obeyed_agents(settings)
    async with open_session(settings, software) as session:
        one = Crawl(session, settings, software, mine, report, now)
        one.remember(memory)
        memory.robots, memory.paces = one.memory.robots, one.memory.paces
        await one.run(links)
