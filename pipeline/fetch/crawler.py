"""Whose turn it is, and the crawl that follows it: many hosts at once, one request at a time to each.

Choice: the order is a pure schedule that is told the time, so that its promises (the gap, nobody starved, every link
once) are proved with a made-up clock; the crawl around it only waits and fetches. A host is held for each request, by
the visit of a link; a redirect to another host gives the first one back and queues for the other, ahead of its links.
Cost: a visit that queues keeps its earlier responses in memory. Alternative: a task per host, which is simpler until a
redirect crosses from one to another, and then either breaks the gap or deadlocks.

robots.txt is kept per scheme, host and port for the length of one crawl; a robots.txt that could not be had is asked
for again by the next link, until the host counts as dead.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Generic, TypeVar

import aiohttp
import msgspec

from pipeline.config import PagesSettings
from pipeline.fetch import robots
from pipeline.fetch.client import check_contact, fetch, open_session
from pipeline.fetch.response import Fetched, Refused, decode, header
from pipeline.shards.outcomes import Outcome
from pipeline.urls import host_of, identity_host

T = TypeVar("T")

DEAD_AFTER = 5  # failures of a host in a row, after which its other links end with the last failure, unasked
HOST_FAILURES = frozenset(
    {
        Outcome.NAME_ERROR,
        Outcome.CONNECT_ERROR,
        Outcome.TLS_ERROR,
        Outcome.TIMED_OUT,
        Outcome.NOT_PUBLIC,
        Outcome.ROBOTS_UNREACHABLE,
    }
)


@dataclass(frozen=True, slots=True)
class Link:
    """One address to visit. `host_shards`: how many shards crawl its host at the same time, each so much slower."""

    doc_id: str
    url: str  # canonical
    fetch_url: str
    host: str
    host_shards: int


@dataclass(slots=True)
class Host(Generic[T]):
    """What the schedule knows of one host."""

    gap_s: float
    shards: int = 1
    first: deque[T] = field(default_factory=deque)
    rest: deque[T] = field(default_factory=deque)
    ready_at: float = 0.0
    busy: bool = False
    failures: int = 0
    failure: Outcome | None = None


class Schedule(Generic[T]):
    """Items queued by host; `pop` hands out the one whose host has been ready longest. It never looks at a clock.

    A host is busy from `pop` to `finish`, and not ready until its gap after that. At most `connections` are busy.
    """

    def __init__(self, gap_s: float, connections: int) -> None:
        self.gap_s = gap_s
        self.connections = connections
        self.hosts: dict[str, Host[T]] = {}
        self.busy = 0
        self.ready: list[tuple[float, int, str]] = []  # a heap: one entry for each host that waits and is not busy
        self.order = count()

    def push(self, host: str, item: T, shards: int = 1, first: bool = False) -> None:
        """Queue an item behind those of its host; `first`: ahead of all that are not."""
        known = self.host(host)
        known.shards = max(known.shards, shards)
        idle = not (known.busy or known.first or known.rest)
        (known.first if first else known.rest).append(item)
        if idle:
            self.wait_for(host, known)

    def pop(self, now: float) -> T | None:
        """The next item, its host being busy from now on; None while no host may be asked."""
        if self.busy >= self.connections or not self.ready or self.ready[0][0] > now:
            return None
        host = self.hosts[heapq.heappop(self.ready)[2]]
        host.busy = True
        self.busy += 1
        return (host.first or host.rest).popleft()

    def wait(self, now: float) -> float | None:
        """Seconds until `pop` may give something; None while only a `finish` or a `push` can change that."""
        if self.busy >= self.connections or not self.ready:
            return None
        return max(0.0, self.ready[0][0] - now)

    def finish(self, name: str, now: float, failure: Outcome | None = None) -> None:
        """The host's request is over. `failure`: it could not be had; DEAD_AFTER of these in a row and it is dead."""
        host = self.hosts[name]
        host.failures = host.failures + 1 if failure else 0
        host.failure = failure or host.failure
        host.busy = False
        self.busy -= 1
        host.ready_at = now + (0.0 if self.dead(name) else self.gap(name))
        if host.first or host.rest:
            self.wait_for(name, host)

    def slow_down(self, name: str, delay_s: float) -> None:
        """Obey a Crawl-delay, up to robots.CRAWL_DELAY_MAX_S, where it is longer than the gap."""
        self.host(name).gap_s = max(self.gap_s, min(delay_s, robots.CRAWL_DELAY_MAX_S))

    def gap(self, name: str) -> float:
        """Seconds from the end of one request to the host to the start of the next."""
        return self.hosts[name].gap_s * self.hosts[name].shards

    def dead(self, name: str) -> Outcome | None:
        """The last failure of a host that is not asked any more, else None."""
        host = self.host(name)
        return host.failure if host.failures >= DEAD_AFTER else None

    def host(self, name: str) -> Host[T]:
        """What is known of a host, made on first sight."""
        return self.hosts.setdefault(name, Host(self.gap_s))

    def wait_for(self, name: str, host: Host[T]) -> None:
        """Put a host among those that wait; of two that are ready at once, the one that came first goes first."""
        heapq.heappush(self.ready, (host.ready_at, next(self.order), name))


@dataclass(slots=True, eq=False)
class Visit:
    """One link on its way: the host that it holds, and whether it has sent a request since it got it."""

    link: Link
    host: str | None = None
    used: bool = False


class Crawl:
    """One crawl under way. Everything happens in one thread, between awaits."""

    def __init__(self, session: aiohttp.ClientSession, settings: PagesSettings, software: str) -> None:
        self.session = session
        self.settings = settings
        self.robots_settings = msgspec.structs.replace(
            settings, redirects=robots.REDIRECTS, limit_bytes=robots.LIMIT_BYTES
        )
        self.token = robots.product_token(software)
        self.schedule: Schedule[Link | asyncio.Future[None]] = Schedule(settings.gap_s, settings.connections)
        self.rules: dict[str, robots.Rules] = {}  # by origin
        self.hosts: dict[str, str] = {}  # host name asked -> host of the links, which holds the queue
        self.done: deque[tuple[Link, Fetched]] = deque()
        self.changed = asyncio.Event()
        self.clock = asyncio.get_running_loop().time

    async def run(self, links: Sequence[Link], on_fetched: Callable[[Link, Fetched], None]) -> None:
        """Visit all links. What `on_fetched` raises stops the crawl."""
        for link in links:
            self.hosts[host_of(link.fetch_url)] = link.host
            self.schedule.push(link.host, link, link.host_shards)
        left = len(links)
        visits: set[asyncio.Task[None]] = set()
        try:
            while left:
                self.start_ready(visits)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.schedule.wait(self.clock())):
                        await self.changed.wait()
                self.changed.clear()
                while self.done:
                    on_fetched(*self.done.popleft())
                    left -= 1
        finally:
            for visit in visits:
                visit.cancel()
            await asyncio.gather(*visits, return_exceptions=True)

    def start_ready(self, visits: set[asyncio.Task[None]]) -> None:
        """Begin a visit, or let one go on, for every host that may be asked now."""
        while (item := self.schedule.pop(self.clock())) is not None:
            if isinstance(item, Link):
                task = asyncio.create_task(self.visit(Visit(item, item.host)))
                visits.add(task)
                task.add_done_callback(visits.discard)
            else:
                item.set_result(None)

    async def visit(self, visit: Visit) -> None:
        """Fetch one link and give its host back; the end is in `done`, whatever happens."""
        link = visit.link
        dead = self.schedule.dead(link.host)
        try:
            if dead:
                fetched = nothing(link.fetch_url, dead, f"{link.host}: failed {DEAD_AFTER} times in a row")
            else:
                fetched = await fetch(self.session, link.fetch_url, self.settings, partial(self.allowed, visit))
        except Exception as error:  # noqa: BLE001 - hostile bytes went through the HTTP engine: one link lost, not all
            fetched = nothing(link.fetch_url, Outcome.CONNECT_ERROR, f"unexpected {type(error).__name__}: {error}")
        self.done.append((link, fetched))
        self.give_back(visit, fetched.outcome if fetched.outcome in HOST_FAILURES else None)

    async def allowed(self, visit: Visit, url: str) -> Outcome:
        """Whether a visit may request an address now: its robots.txt asked, its host's turn awaited."""
        outcome = (await self.rules_of(visit, url)).outcome(url)
        if outcome is Outcome.KEPT:
            await self.turn(visit, url)
            outcome = self.schedule.dead(self.host(url)) or Outcome.KEPT
        return outcome

    async def turn(self, visit: Visit, url: str) -> Outcome:
        """Wait until the visit holds the host of an address and the gap has passed. Always KEPT."""
        host = self.host(url)
        if visit.host != host:
            self.give_back(visit, None)
            ticket = asyncio.get_running_loop().create_future()
            self.schedule.push(host, ticket, first=True)
            self.changed.set()
            await ticket
            visit.host = host
        elif visit.used:
            await asyncio.sleep(self.schedule.gap(host))
        visit.used = True
        return Outcome.KEPT

    def give_back(self, visit: Visit, failure: Outcome | None) -> None:
        """End the hold of a visit on its host, if it has one."""
        if visit.host is not None:
            self.schedule.finish(visit.host, self.clock(), failure)
            visit.host, visit.used = None, False
        self.changed.set()

    async def rules_of(self, visit: Visit, url: str) -> robots.Rules:
        """The rules of an address's origin, from the cache or by a request of the same visit."""
        scheme, _, rest = url.partition("://")
        origin = f"{scheme}://{rest.partition('/')[0]}"
        if origin not in self.rules:
            answer = await fetch(
                self.session, f"{origin}/robots.txt", self.robots_settings, partial(self.turn, visit), any_type=True
            )
            rules = rules_from(answer, self.token)
            if rules.refusal is not None:
                return rules
            self.rules[origin] = rules
            self.schedule.slow_down(self.host(url), rules.crawl_delay)
        return self.rules[origin]

    def host(self, url: str) -> str:
        """The host that an address queues for: that of a link with this host name, else the name without `www.`."""
        name = host_of(url)
        return self.hosts.get(name) or identity_host(name)


def rules_from(answer: Fetched, token: str) -> robots.Rules:
    """The rules that the end of a robots.txt request means. A host that cannot be had at all is the page's fate too."""
    if answer.outcome in HOST_FAILURES or not answer.hops:
        host_is_gone = not answer.hops and answer.outcome is not Outcome.TIMED_OUT
        return robots.Rules(token, refusal=answer.outcome if host_is_gone else Outcome.ROBOTS_UNREACHABLE)
    last = answer.hops[-1]
    try:
        body = decode(last.body, header(last.headers, "content-encoding"), 10 * robots.LIMIT_BYTES)
    except Refused:
        return robots.rules_for_status(None, b"", token)
    return robots.rules_for_status(last.status, body, token)


def nothing(url: str, outcome: Outcome, detail: str) -> Fetched:
    """A fetch that ended before any response."""
    return Fetched(url, url, (), outcome, None, "", (), detail)


async def crawl(
    links: Sequence[Link], settings: PagesSettings, software: str, on_fetched: Callable[[Link, Fetched], None]
) -> None:
    """Visit every link once; `on_fetched(link, fetched)` is called exactly once for each, one call at a time.

    `software` is name/version, for the user agent and, its name alone, for robots.txt. Raises ConfigError (contact,
    local hosts) before the first request, and whatever `on_fetched` raises.
    """
    check_contact(settings)
    async with open_session(settings, software) as session:
        await Crawl(session, settings, software).run(links, on_fetched)


def run_crawl(
    links: Sequence[Link], settings: PagesSettings, software: str, on_fetched: Callable[[Link, Fetched], None]
) -> None:
    """`crawl`, for callers without an event loop."""
    asyncio.run(crawl(links, settings, software, on_fetched))
