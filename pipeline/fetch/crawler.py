"""The crawl that follows the schedule: links go in by portions; for each, its end or its continuation comes out.

Choice: one loop begins a visit wherever a host may be asked, takes another portion of links whenever connections would
idle, and reports each end as it comes; whose a failure is, says `blame`. Cost: a host that rests for long keeps its
links for the next round; where the next portion finds no room, such links go first. Alternative: a worker a host.

An exception that is no failure of the storage costs the link that it came with, as FAULT, and none other; MemoryError
and RecursionError too, since a page can provoke both, and what it held is free again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from pipeline.config import PagesSettings
from pipeline.fetch import robots
from pipeline.fetch.blame import Blame, End
from pipeline.fetch.client import check_contact, open_session
from pipeline.fetch.continuations import Later, Link, Memory, Pace, host_asked
from pipeline.fetch.exchange import Session
from pipeline.fetch.hosts import Circumstances, Hosts
from pipeline.fetch.response import Hop
from pipeline.fetch.robots import Known
from pipeline.fetch.visit import Visit, faulty
from pipeline.shards import progress
from pipeline.shards.outcomes import WebTextError

QUICK_S = (
    0.1  # of a request that ends soon: so many hosts keep a connection busy as such requests fit between two turns
)
IDLE_S = 30.0  # so long a crawl waits for hosts that rest; longer, the next round does
CHECK_S = 5.0  # between two questions whether the crawl still stands


@dataclass(frozen=True)
class Portion:
    """Links to be visited, those of one host in their order; and what earlier crawls left of the hosts of these."""

    links: Sequence[Link]
    memory: Memory


class Work(Protocol):
    """What a crawl works at: where its links come from, and who is told of what."""

    def waits(self) -> bool:
        """Whether any links are still to come."""

    def has_room(self) -> bool:
        """Whether links are to come and may be taken now."""

    def portion(self) -> Portion:
        """The next links, if there is room."""

    def mine(self, link: Link, host: str) -> bool:
        """Whether a host may be asked for a link here."""

    def ended(self, link: Link, end: End) -> Portion | None:
        """Once for each link that ends; what goes on at once. Raises what the storage raises."""

    def postponed(self, link: Link) -> None:
        """A link is not asked for in this crawl any more: it has no end."""

    def asked_robots(self, link: Link, hops: tuple[Hop, ...]) -> None:
        """Every response to a question for robots.txt, and for which link that was asked."""

    def learnt(self, learned: Known | Pace) -> None:
        """What the next crawl of a host should know."""

    def check(self) -> None:
        """Raise what ends the crawl at once, if another one has taken over."""


class Crawl:
    """One crawl under way. Everything happens in one thread, between awaits."""

    def __init__(self, session: Session, hosts: Hosts, blame: Blame, work: Work) -> None:
        self.session = session
        self.hosts = hosts
        self.blame = blame
        self.work = work
        self.visits: set[asyncio.Task[None]] = set()
        self.answers: deque[tuple[Link, tuple[Hop, ...]]] = deque()  # to questions for robots.txt
        self.over = False
        self.waits_for = ""  # AWAY, RESTING: as whoever watches was told
        self.check_at = self.made_room_at = self.hosts.clock()
        settings = hosts.settings
        self.wanted = settings.connections * (2 + settings.gap_s / QUICK_S)  # hosts that keep all connections busy

    async def run(self, round_s: float) -> None:
        """Visit the links, for a time; those not begun by then have no end. Raises OutageError."""
        ends_at = self.hosts.clock() + round_s
        try:
            while True:
                if self.hosts.clock() >= ends_at and not self.blame.outage.away:
                    self.hosts.close()
                self.check()
                self.start_ready()
                if not self.hosts.schedule.busy and not self.blame.done:
                    if not self.hosts.closing and self.blame.doubtful(not self.work.has_room()):
                        await self.blame.find_out()
                        continue
                    if not self.more() and not self.visits:
                        break
                self.tell_watcher()
                await self.wait(ends_at)
                self.tell()
            self.blame.close()
            self.tell()
        finally:
            self.over = True
            self.tell_watcher()
            for visit in self.visits:
                visit.cancel()
            await asyncio.gather(*self.visits, return_exceptions=True)

    def tell_watcher(self) -> None:
        """Tell whoever watches what the crawl waits for, if it can do nothing else."""
        schedule, waits_for = self.hosts.schedule, ""
        if self.blame.outage.away and not self.over:
            waits_for = progress.AWAY
        elif schedule.waiting() and not (schedule.busy or schedule.lively() or self.over):
            waits_for = progress.RESTING
        if waits_for != self.waits_for:
            for unit, count in ((self.waits_for, -1), (waits_for, 1)):
                if unit:
                    progress.advance(unit, count)
            self.waits_for = waits_for

    def check(self) -> None:
        """Ask now and then whether the crawl still stands."""
        now = self.hosts.clock()
        if now >= self.check_at:
            self.check_at = now + CHECK_S
            self.work.check()

    def more(self) -> bool:
        """Whether anything may be asked soon, while nobody is asked. Gives up hosts whose time is over.

        Raises OutageError.
        """
        now = self.hosts.clock()
        self.blame.refuse_outage(now)
        if self.hosts.closing:
            return False
        names = self.hosts.schedule.names()
        if self.blame.outage.away or self.work.has_room():
            return bool(names or self.work.has_room())
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
        return min([wait, *(wait_s for wait_s in left if wait_s > 0)])

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
            self.work.asked_robots(*self.answers.popleft())
        while self.blame.done:
            link, end = self.blame.done.popleft()
            self.blame.waiting.pop(link.doc_id, None)
            try:
                onward = self.work.ended(link, end)
            except (OSError, WebTextError):
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this link's: the others go on
                onward = self.work.ended(link, faulty(link, error))
            if onward is not None:
                self.take(onward)

    def take(self, portion: Portion) -> None:
        """Queue links; when nothing is begun any more, they wait for another round."""
        self.hosts.remember(portion.memory)
        for link in portion.links:
            if self.hosts.closing:
                self.work.postponed(link)
            else:
                self.hosts.schedule.push(host_asked(link.continuation), link)

    def take_more(self, now: float) -> None:
        """Take portions of links, as long as connections may idle and there is room."""
        schedule = self.hosts.schedule
        schedule.forget(now)
        while schedule.lively() < self.wanted and self.work.waits():
            if not self.work.has_room() and not self.make_room(now):
                return
            if self.work.has_room():
                self.take(self.work.portion())

    def make_room(self, now: float) -> bool:
        """Postpone the links of hosts that will not be asked soon; whether there were any."""
        if now < self.made_room_at or self.hosts.schedule.busy >= self.hosts.schedule.connections:
            return False
        self.made_room_at = now + IDLE_S
        far = self.hosts.schedule.far(now + IDLE_S)
        for name in far:
            for item in self.hosts.schedule.drop(name):
                if isinstance(item, Link):
                    self.blame.waiting.pop(item.doc_id, None)
                    self.work.postponed(item)
                elif not item.done():
                    item.set_exception(Later())
        return bool(far)

    def start_ready(self) -> None:
        """Begin a visit, or let one go on, for every host that may be asked now."""
        schedule, outage, now = self.hosts.schedule, self.blame.outage, self.hosts.clock()
        if not (self.hosts.closing or outage.suspected or outage.away):
            self.take_more(now)
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
        if self.hosts.schedule.lost(name) or (not self.work.has_room() and self.blame.spent(name, now)):
            self.hosts.schedule.push(name, link, first=True)
            self.hosts.finish(name)
            self.blame.give_up(name)
            return
        task = asyncio.create_task(self.visit(Visit(link, self.hosts, self.session, self.heard)))
        self.visits.add(task)
        task.add_done_callback(self.left)

    def heard(self, link: Link, hops: tuple[Hop, ...]) -> None:
        """A question for robots.txt was answered."""
        self.answers.append((link, hops))

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


async def crawl(
    work: Work, settings: PagesSettings, software: str, around: Circumstances, round_s: float | None = None
) -> None:
    """Visit the links of `work` for a round: each ends at most once; links without an end wait.

    `software` is name/version, for the user agent and, its name alone, for robots.txt. `round_s`: how long, if not as
    the settings say. Raises ConfigError (contact, agents, local hosts) before the first request, OutageError, and what
    the work raises of the storage.
    """
    check_contact(settings)
    robots.obeyed_agents(settings)
    async with open_session(settings, software) as session:
        hosts = Hosts(settings, software, work.mine, work.learnt, session.connections.resolver, around)
        await Crawl(session, hosts, Blame(hosts, around), work).run(round_s or settings.round_s)
