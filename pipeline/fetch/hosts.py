"""The hosts of one crawl: whose turn it is, what their robots.txt say, and what is learnt of them for the next crawl.

Choice: one value that a crawl and its visits share, so that a visit is a coroutine that can be read from top to bottom.
Cost: whoever holds a host has to give it back. Alternative: all of it in the crawl, with visits as its methods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pipeline.config import PagesSettings
from pipeline.fetch import robots
from pipeline.fetch.client import is_overloaded, retry_after_s
from pipeline.fetch.connections import Origin, origin_of
from pipeline.fetch.continuations import Later, Link, Memory, Pace
from pipeline.fetch.guard import Resolver
from pipeline.fetch.response import Fetched
from pipeline.fetch.schedule import IN_A_ROW, REST_MAX_S, Schedule
from pipeline.shards.outcomes import Outcome
from pipeline.shards.removals import Refusals

Clock = Callable[[], float]
ALIVE = 1_000  # addresses at which somebody answered that are remembered, the last ones
# Ends without an answer that another hour may change; also NAME_ERROR, where the name server said so.
PASSING = (Outcome.CONNECT_ERROR, Outcome.TIMED_OUT, Outcome.ROBOTS_UNREACHABLE)


def nobody() -> Iterable[str]:
    """No address at which anybody answered."""
    return ()


@dataclass(frozen=True)
class Circumstances:
    """What a crawl is told of the world: `now` gives seconds since 1970; `began`: when the build did, in the same.

    `alive`: addresses at which hosts of others answered, asked for where this crawl knows of none. `refusals`: what may
    not be asked.
    """

    now: Clock
    began: float = 0.0
    alive: Callable[[], Iterable[str]] = nobody
    refusals: Refusals = field(default_factory=Refusals)


class Hosts:
    """What one crawl knows of the hosts that it asks. `changed` is set when a host may be free."""

    def __init__(
        self,
        settings: PagesSettings,
        software: str,
        mine: Callable[[Link, str], bool],
        noted: Callable[[robots.Known | Pace], None],
        resolver: Resolver,
        around: Circumstances,
    ) -> None:
        self.settings = settings
        self.refusals = around.refusals
        self.mine = mine
        self.noted = noted
        self.now = around.now
        self.began = around.began
        self.clock = asyncio.get_running_loop().time
        self.schedule: Schedule[Link | asyncio.Future[None]] = Schedule(
            settings.gap_s, settings.connections, self.clock(), settings.per_address, place_of
        )
        self.resolver = resolver

        self.cache = robots.Cache(robots.product_token(software), robots.obeyed_agents(settings), self.now)
        self.alive: dict[str, None] = {}  # addresses of robots.txt that were answered, the last one last
        self.tickets: set[asyncio.Future[None]] = set()
        self.changed = asyncio.Event()
        self.closing = False

    def remember(self, memory: Memory) -> None:
        """Know what an earlier crawl left; hosts that failed before this build began get a try.

        How a host failed that this crawl knows already, it knows better.
        """
        for known in memory.robots:
            self.cache.put(known)
            self.note_alive(known.address)
        new = {pace.host for pace in memory.paces} - self.schedule.hosts.keys()
        for pace in memory.paces:
            self.schedule.slow_down(pace.host, pace.gap_s)
            if pace.host in new:
                until = self.clock() + min(pace.until - self.now(), REST_MAX_S)
                since = self.clock() - (self.now() - max(pace.since, self.began))
                failures = pace.failures if pace.at >= self.began else min(pace.failures, IN_A_ROW - 1)
                self.schedule.recall(pace.host, failures, since, until)

    # --- turns

    async def ticket(self, name: str) -> None:
        """Queue for a host, ahead of its links, until it may be asked. Raises Later."""
        if self.closing:
            raise Later
        ticket = asyncio.get_running_loop().create_future()
        self.schedule.push(name, ticket, first=True)
        self.tickets.add(ticket)
        self.changed.set()
        try:
            await ticket
        finally:
            self.tickets.discard(ticket)

    async def admitted(self, name: str, url: str) -> bool:
        """Whether a host that is held may be asked as far as its address goes, which other names may share.

        Hosts that the settings place themselves (`local_hosts`) are nobody's to share: their owner said so.
        """
        if not self.settings.per_address or self.schedule.host(name).placed:
            return True
        where = await self.address_of(origin_of(url))
        return not where or self.schedule.place(name, where, self.clock())

    async def address_of(self, origin: Origin) -> str:
        """The first of a server's IP addresses, as text sorts them; "" where it is nobody's or cannot be found."""
        _, name, port = origin
        if name in self.settings.local_hosts:
            return ""
        try:
            async with asyncio.timeout(self.settings.deadline_s):
                return min(str(info[4][0]) for info in await self.resolver.addresses(name, port))
        except OSError:  # TimeoutError and NotPublic are of its kind; the request will meet it too, and end by it
            return ""

    def close(self) -> None:
        """Begin nothing any more; whoever queues leaves a continuation."""
        self.closing = True
        for ticket in self.tickets:
            if not ticket.done():
                ticket.set_exception(Later())

    def step_back(self, name: str) -> None:
        """A host is not asked after all."""
        self.schedule.step_back(name)
        self.changed.set()

    def finish(self, name: str) -> None:
        """A request to a host, or the wish for one, is over."""
        self.schedule.finish(name, self.clock())
        self.changed.set()

    # --- what was learnt

    def learn(self, known: robots.Known) -> None:
        """Remember a robots.txt, for this crawl and the next one."""
        self.cache.put(known)
        self.noted(known)
        self.note_alive(known.address)

    def note_alive(self, address: str) -> None:
        """Note that somebody answered at an address."""
        self.alive.pop(address, None)
        self.alive[address] = None
        if len(self.alive) > ALIVE:
            del self.alive[next(iter(self.alive))]

    def slower(self, name: str, delay_s: float) -> None:
        """A host asks for a longer gap."""
        if delay_s > self.schedule.host(name).gap_s:
            self.schedule.slow_down(name, delay_s)
            self.noted(Pace(name, delay_s, 0.0))

    def slower_where_asked(self, name: str, fetched: Fetched) -> None:
        """Ask a host less that says it is asked too much, and not before it wants."""
        if is_overloaded(fetched):
            self.schedule.overloaded(name, self.clock() + min(retry_after_s(fetched), REST_MAX_S))
            self.note(name)

    def failed(self, name: str, end: Fetched) -> None:
        """A host that is held failed a visit."""
        passing = end.transient or end.outcome in PASSING or is_overloaded(end)
        self.slower_where_asked(name, end)
        self.schedule.failed(name, None if passing else end.outcome, self.clock())
        self.note(name)

    def answered(self, name: str) -> None:
        """A host gave what it was asked for."""
        before = self.schedule.host(name).failures
        self.schedule.answered(name)
        if before:
            self.note(name)

    def note(self, name: str) -> None:
        """Keep for the next crawl how a host fails, and until when it rests."""
        known = self.schedule.host(name)
        moment = self.now() - self.clock()
        since = known.failing_since + moment if known.failures else 0.0
        self.noted(Pace(name, 0.0, known.ready_at + moment, known.failures, since, self.now()))


def of_robots(url: str) -> str:
    """The address of the robots.txt of an address."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/robots.txt"


def place_of(item: Link | asyncio.Future[None]) -> float:
    """Where a link stands among those of its host; who goes on with a visit comes first."""
    return item.place if isinstance(item, Link) else 0.0
