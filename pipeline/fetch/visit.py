"""The visit of one link: its robots.txt, its requests, its end or what is left of it.

Choice: a visit holds the host that it asks, for one request at a time; between two requests it queues, ahead of the
host's links. It may only ask hosts that are its crawl's own (`mine`): a redirect to another's, and what waits when the
time is over, ends as a continuation for who may go on with it. Cost: a visit that queues keeps its earlier responses in
memory. Alternative: follow a redirect where it was found, and let two crawls ask one host at the same time.

A robots.txt that could not be had is asked for again by the next link of its host.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import PurePath

import msgspec

from pipeline.config import PagesSettings
from pipeline.fetch import robots
from pipeline.fetch.client import fetch
from pipeline.fetch.continuations import (
    Continuation,
    Later,
    Link,
    Permit,
    Unfinished,
    annotated,
    host,
    host_asked,
    permit_of,
    unanswered,
)
from pipeline.fetch.exchange import Session
from pipeline.fetch.hosts import Hosts, of_robots
from pipeline.fetch.response import ANSWERED, Fetched, Hop
from pipeline.shards.outcomes import Outcome

AskedRobots = Callable[[Link, tuple[Hop, ...]], None]


class Visit:
    """One link on its way. It begins with its host held.

    `host`: the one that it holds, `used`: whether it has sent a request since it got it, `heard`: whether anybody has
    answered it, `permit`: what robots.txt said of the address asked last.
    """

    __slots__ = ("asked_robots", "heard", "host", "hosts", "link", "permit", "session", "used")

    def __init__(self, link: Link, hosts: Hosts, session: Session, asked_robots: AskedRobots) -> None:
        self.link = link
        self.hosts = hosts
        self.session = session
        self.asked_robots = asked_robots
        self.host: str | None = host_asked(link.continuation)
        self.used = self.heard = False
        self.permit: Permit | None = None

    @property
    def settings(self) -> PagesSettings:
        return self.hosts.settings

    async def end(self) -> Fetched | Unfinished:
        """The end of the link's continuation, with what robots.txt says of training on its last address."""
        continuation = self.link.continuation
        refused = self.hosts.refusals.of(continuation.target)
        if refused is not Outcome.KEPT:
            return unanswered(continuation, refused, continuation.target)
        if continuation.robots:
            try:
                rules = await self.rules_at(continuation.robots)
            except Later as later:
                return Unfinished(msgspec.structs.replace(continuation, robots=later.robots or continuation.robots), ())
            self.permit = permit_of(rules, continuation.target)
            if rules.outcome(continuation.target) is not Outcome.KEPT:
                forbidden = unanswered(continuation, rules.outcome(continuation.target), continuation.target)
                return annotated(forbidden, self.permit, self.settings.opt_outs)
        else:
            self.permit = continuation.permit
        continuation = msgspec.structs.replace(continuation, robots=(), permit=None)
        end = await fetch(self.session, continuation, self.settings, self.allowed, self.pause)
        self.heard = self.heard or is_heard(end)
        return annotated(end, self.permit, self.settings.opt_outs) if isinstance(end, Fetched) else end

    # --- turns

    async def allowed(self, url: str) -> Outcome:
        """Whether the visit may request an address now: its robots.txt asked, its host's turn awaited. Raises Later.

        What was removed, or is blocked, is not asked for, nor is its robots.txt.
        """
        refused = self.hosts.refusals.of(url)
        if refused is not Outcome.KEPT:
            return refused
        permit = self.permit if self.permit is not None and self.permit.url == url else None
        if not self.hosts.mine(self.link, host(url)):
            raise Later(permit=permit)
        if permit is None:
            rules = await self.rules_at((of_robots(url),))
            self.permit = permit = permit_of(rules, url)
            if rules.outcome(url) is not Outcome.KEPT:
                return rules.outcome(url)
        self.hosts.slower(host(url), permit.crawl_delay)
        try:
            await self.turn(url)
        except Later:
            raise Later(permit=permit) from None
        return self.hosts.schedule.lost(host(url)) or Outcome.KEPT

    async def turn(self, url: str) -> Outcome:
        """Wait until the visit holds the host of an address for a request, which may be refused. Raises Later."""
        name, refused = host(url), self.hosts.refusals.of(url)
        if refused is not Outcome.KEPT:
            return refused
        if not self.hosts.mine(self.link, name):
            raise Later
        if self.host != name or self.used:
            self.give_back()
            await self.hosts.ticket(name)
            self.host = name
        while not await self.hosts.admitted(name, url):
            self.hosts.step_back(name)
            self.host = None
            await self.hosts.ticket(name)
            self.host = name
        self.used = True
        return Outcome.KEPT

    async def pause(self, fetched: Fetched, pause_s: float) -> None:
        """Let the host of a failure rest before the next try; meanwhile nobody holds it."""
        if self.host is not None:
            self.hosts.schedule.rest(self.host, self.hosts.clock() + pause_s)
            self.hosts.slower_where_asked(self.host, fetched)
            self.hosts.finish(self.host)
            self.host, self.used = None, False

    def give_back(self) -> None:
        """End the hold on a host that answered, or was not asked."""
        if self.host is not None:
            if self.used:
                self.hosts.answered(self.host)
            self.hosts.finish(self.host)
            self.host, self.used = None, False

    # --- robots.txt

    async def rules_at(self, chain: tuple[str, ...]) -> robots.Rules:
        """The rules that the last of a chain of redirects leads to, remembered or by a request of the visit.

        Raises Later where they lie with a host that is not ours.
        """
        cache = self.hosts.cache
        while True:
            if len(chain) > robots.REDIRECTS + 1:  # as if there were none: RFC 9309, section 2.3.1.2
                return robots.Rules(cache.token)
            if not self.hosts.mine(self.link, host(chain[-1])):  # known or not: who goes where does not hang on that
                raise Later(robots=chain)
            found = cache.get(chain[-1])
            if isinstance(found, robots.Rules):
                return found
            chain = (*chain, *(found or ()))
            if found is None:
                refused = await self.ask_robots(chain)
                if refused is not None:
                    return refused

    async def ask_robots(self, chain: tuple[str, ...]) -> robots.Rules | None:
        """Ask for the last robots.txt of a chain: None once the cache knows it, else the refusal. Raises Later."""
        *asked, target = chain
        continuation = Continuation(target, tuple(asked), self.settings.deadline_s)
        bounds = msgspec.structs.replace(self.settings, redirects=robots.REDIRECTS, limit_bytes=robots.LIMIT_BYTES)
        end = await fetch(self.session, continuation, bounds, self.turn, self.pause, True)
        self.heard = self.heard or is_heard(end)
        if end_outcome(end) is not Outcome.REMOVED:  # the last response names the address
            self.asked_robots(self.link, end.hops)
        if isinstance(end, Unfinished):
            beyond = (*end.continuation.asked, end.continuation.target)[len(chain) :]
            if not beyond or self.hosts.mine(self.link, host(beyond[-1])):
                raise Later(robots=chain)  # the time is over, not the way barred
            self.hosts.learn(robots.Known(target, self.hosts.now(), end.hops[-1].status, leads_to=beyond))
            return None
        if self.host is not None:
            self.hosts.slower_where_asked(self.host, end)
        found = robots.found_in(end, target, self.hosts.now())
        if isinstance(found, Outcome):
            return robots.Rules(self.hosts.cache.token, refusal=found)
        self.hosts.learn(found)
        return None


def end_outcome(end: Fetched | Unfinished) -> Outcome | None:
    """How a fetch ended; None: not yet."""
    return end.outcome if isinstance(end, Fetched) else None


def faulty(link: Link, error: BaseException) -> Fetched:
    """The end of a link at which this program failed: what it was, and where, for whoever mends it."""
    return unanswered(link.continuation, Outcome.FAULT, described(error))


def described(error: BaseException) -> str:
    """An exception as one line: its type, its words, and the place in our code that it went through last."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "pipeline" in PurePath(frame.filename).parts] or frames
    place = f" at {PurePath(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    words = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {words}{place}"


def unfinished(link: Link, end: Fetched) -> Unfinished | None:
    """What is left of a visit whose last request failed: that request; None: it is the one that it began with."""
    answered = end.hops[:-1] if end.hops and end.hops[-1].url == end.final_url else end.hops
    if not answered:
        return None
    asked = (*link.continuation.asked, *(hop.url for hop in answered))
    return Unfinished(Continuation(end.final_url, asked, link.continuation.left_s), answered)


def is_heard(end: Fetched | Unfinished) -> bool:
    """Whether anybody answered, be it with bytes that mean nothing."""
    return bool(end.hops) or (isinstance(end, Fetched) and end.outcome in ANSWERED)
