"""The crawl that follows the schedule: links go in; for each, its end or the continuation that is left of it comes out.

Choice: one loop begins a visit wherever a host may be asked and reports each end as it comes; whose a failure is, says
`blame`. What outlives one crawl is `Memory`: robots.txt files, kept by scheme, host and port for 24 hours, and how
hosts rest. Cost: a host that rests for long keeps its links for the next round. Alternative: a worker a host.

An exception that is no failure of the storage costs the link that it came with, as FAULT, and none other; MemoryError
and RecursionError too, since a page can provoke both, and what it held is free again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from pipeline.config import PagesSettings
from pipeline.fetch import robots
from pipeline.fetch.blame import Blame, Circumstances, End
from pipeline.fetch.client import check_contact, open_session
from pipeline.fetch.continuations import Link, Memory, host_asked
from pipeline.fetch.exchange import Session
from pipeline.fetch.hosts import Hosts
from pipeline.fetch.response import Hop
from pipeline.fetch.visit import Visit, faulty
from pipeline.shards.outcomes import WebTextError

WAITING_HOSTS = 10  # hosts with links in the schedule, for each connection: others wait outside, where they cost less
IDLE_S = 30.0  # so long a crawl waits for hosts that rest; longer, the next round does


@dataclass(frozen=True)
class Report:
    """Who is told of what: every link's end, exactly once; every response to a question for robots.txt."""

    ended: Callable[[Link, End], None]
    asked_robots: Callable[[tuple[Hop, ...]], None]


class Crawl:
    """One crawl under way. Everything happens in one thread, between awaits."""

    def __init__(self, session: Session, hosts: Hosts, blame: Blame, report: Report) -> None:
        self.session = session
        self.hosts = hosts
        self.blame = blame
        self.report = report
        self.coming: list[tuple[str, list[Link]]] = []  # hosts outside the schedule, those with most links last
        self.visits: set[asyncio.Task[None]] = set()
        self.answers: deque[tuple[Hop, ...]] = deque()  # to questions for robots.txt
        self.over = False

    async def run(self, links: Iterable[Link]) -> None:
        """Visit the links, for `round_s` at most; those not begun by then have no end. Raises OutageError."""
        self.coming = by_host(links)
        ends_at = self.hosts.clock() + self.hosts.settings.round_s
        try:
            while True:
                if self.hosts.clock() >= ends_at and not self.blame.outage.away:
                    self.hosts.close()
                self.start_ready()
                if not self.hosts.schedule.busy and not self.blame.done:
                    if not self.hosts.closing and self.blame.doubtful(not self.coming):
                        await self.blame.find_out()
                        continue
                    if not self.more() and not self.visits:
                        break
                await self.wait(ends_at)
                self.tell()
            self.blame.close()
            self.tell()
        finally:
            self.over = True
            for visit in self.visits:
                visit.cancel()
            await asyncio.gather(*self.visits, return_exceptions=True)

    def more(self) -> bool:
        """Whether anything may be asked soon, while nobody is asked. Gives up hosts whose time is over.

        Raises OutageError.
        """
        now = self.hosts.clock()
        self.blame.refuse_outage(now)
        if self.hosts.closing:
            return False
        names = self.hosts.schedule.names()
        if self.blame.outage.away or self.coming:
            return bool(names or self.coming)
        for name in names:
            if self.blame.spent(name, now):
                self.blame.give_up(name)
        wait = self.soonest(now)
        if wait is not None and wait > IDLE_S:
            self.hosts.close()  # who queues for a host that rests goes on in another round
            return False
        return wait is not None or bool(self.blame.done)

    def soonest(self, now: float) -> float | None:
        """Seconds until a host may be asked or given up; None where only the end of a request can change that."""
        outage, schedule = self.blame.outage, self.hosts.schedule
        if outage.away:
            ready_at = max(outage.probe_at, now + (schedule.wait(now) or 0.0))
            return None if schedule.busy else max(0.0, min(ready_at, outage.ends_at) - now)
        wait = schedule.wait(now)
        if outage.suspected or wait is None or schedule.busy:
            return None if outage.suspected else wait
        waited = (schedule.waited_for(name, now) for name in schedule.names())
        left = (self.blame.patience_s - since for since in waited if since is not None)
        return min([wait, *(one for one in left if one > 0)])

    async def wait(self, ends_at: float) -> None:
        """Until something happens: a visit ends or queues, a host may be asked, the time is over."""
        now = self.hosts.clock()
        times = [] if self.hosts.closing else [self.soonest(now), None if self.blame.outage.away else ends_at - now]
        if not self.blame.done:
            with suppress(TimeoutError):
                async with asyncio.timeout(min((max(0.0, s) for s in times if s is not None), default=None)):
                    await self.hosts.changed.wait()
        self.hosts.changed.clear()

    def tell(self) -> None:
        """Report what came and ended. Raises what the storage raises."""
        while self.answers:
            self.report.asked_robots(self.answers.popleft())
        while self.blame.done:
            link, end = self.blame.done.popleft()
            try:
                self.report.ended(link, end)
            except (OSError, WebTextError):
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this link's: the others go on
                self.report.ended(link, faulty(link, error))

    def start_ready(self) -> None:
        """Begin a visit, or let one go on, for every host that may be asked now."""
        schedule, outage, now = self.hosts.schedule, self.blame.outage, self.hosts.clock()
        while self.coming and schedule.waiting() < WAITING_HOSTS * self.hosts.settings.connections:
            name, links = self.coming.pop()
            for link in links:
                schedule.push(name, link)
        while not (self.hosts.closing or outage.suspected):
            if outage.away and (schedule.busy >= outage.probes or now < outage.probe_at):
                return
            item = schedule.pop(now)
            if item is None:
                return
            if isinstance(item, Link):
                self.begin(item, now)
            elif not item.done():
                item.set_result(None)

    def begin(self, link: Link, now: float) -> None:
        """Begin the visit of a link whose host is held, or end it where that host is not asked any more."""
        name = host_asked(link.continuation)
        if self.hosts.schedule.lost(name) or (not self.coming and self.blame.spent(name, now)):
            self.hosts.schedule.push(name, link, first=True)
            self.hosts.finish(name)
            self.blame.give_up(name)
            return
        task = asyncio.create_task(self.visit(Visit(link, self.hosts, self.session, self.answers.append)))
        self.visits.add(task)
        task.add_done_callback(self.left)

    def left(self, visit: asyncio.Task[None]) -> None:
        """A visit is over."""
        self.visits.discard(visit)
        self.hosts.changed.set()

    async def visit(self, visit: Visit) -> None:
        """Make one visit, and settle how it ended, whatever happens."""
        try:
            self.blame.settle(visit, await visit.end())
        except asyncio.CancelledError as error:
            if self.over:
                raise
            self.blame.spoiled(visit, faulty(visit.link, error))
        except Exception as error:  # noqa: BLE001 - hostile bytes went through many hands: one link is lost, not all
            self.blame.spoiled(visit, faulty(visit.link, error))


def by_host(links: Iterable[Link]) -> list[tuple[str, list[Link]]]:
    """The links of each host; the hosts with most links last, since they take longest and are to begin first."""
    found: dict[str, list[Link]] = {}
    for link in links:
        found.setdefault(host_asked(link.continuation), []).append(link)
    return sorted(found.items(), key=lambda item: (len(item[1]), item[0]))


async def crawl(
    links: Iterable[Link],
    settings: PagesSettings,
    software: str,
    mine: Callable[[str, str], bool],
    memory: Memory,
    report: Report,
    around: Circumstances,
) -> None:
    """Visit links for a round: `report.ended` is called at most once for each; links without an end wait.

    `software` is name/version, for the user agent and, its name alone, for robots.txt. `mine(host, doc_id)`: whether
    this crawl may ask a host for a link. `memory`: what earlier crawls of the same hosts left; it becomes what is new.
    Raises ConfigError (contact, agents, local hosts) before the first request, OutageError, and what a report raises
    of the storage.
    """
    check_contact(settings)
    robots.obeyed_agents(settings)
    async with open_session(settings, software) as session:
        hosts = Hosts(settings, software, mine, around.now, session.connections.resolver, around.refusals)
        hosts.remember(memory, around.began)
        memory.robots, memory.paces = hosts.memory.robots, hosts.memory.paces
        await Crawl(session, hosts, Blame(hosts, around), report).run(links)
