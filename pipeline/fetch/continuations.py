"""Fetch continuations: what is left of a fetch, as a value that goes to another crawl or to the next round of its own.

Choice: a continuation holds the whole chain so far but no bodies: those are in the WARC file of the crawl that got
them. Cost: a retry of a transient failure begins again at the continuation's target, not at the link. Alternative:
follow redirects only within one crawl and give up others, which loses every page that moved to another host.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from pipeline.config import PagesSettings
from pipeline.fetch.response import Fetched, Hop
from pipeline.fetch.robots import Known, Rules
from pipeline.shards.outcomes import Outcome
from pipeline.urls import host_of, identity_host


class Permit(msgspec.Struct, frozen=True):
    """What the robots.txt of one address said of it, where that file lies with a host that others crawl."""

    url: str
    crawl_delay: float
    opt_outs: tuple[str, ...]


class Continuation(msgspec.Struct, frozen=True):
    """What is left to do of a fetch: `target` is to be asked next, `asked` was asked before it, in that order.

    `left_s` seconds of the deadline are left, `tries` are used up. `robots`: addresses of robots.txt files, each the
    redirect of the one before; the last is to be asked before the target may be. `permit`: it was asked.
    """

    target: str
    asked: tuple[str, ...]
    left_s: float
    tries: int = 0
    robots: tuple[str, ...] = ()
    permit: Permit | None = None


class Later(Exception):  # noqa: N818 - named for what happened
    """An address may not be requested here or now; its continuation goes on where and when it may."""

    def __init__(self, robots: tuple[str, ...] = (), permit: Permit | None = None) -> None:
        super().__init__("later")
        self.robots = robots
        self.permit = permit


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A fetch that waits: the responses so far (`hops` of this part only), and what is left to do."""

    continuation: Continuation
    hops: tuple[Hop, ...]


def new_fetch(url: str, settings: PagesSettings) -> Continuation:
    """A fetch of which nothing is done yet."""
    return Continuation(url, (), settings.deadline_s)


@dataclass(frozen=True, slots=True)
class Link:
    """One link and what is left of its fetch: all, or what another crawl left over.

    `place`: see `Waiting`; `shard`: that visits it.
    """

    doc_id: str
    continuation: Continuation
    place: float = 0.0
    shard: int = 0


class Pace(msgspec.Struct, frozen=True):
    """A host that asked for a longer gap, or is not to be asked before `until`, in seconds since 1970.

    `failures`: so often in a row it gave nothing, the first time at `since`, the last time at `at`.
    """

    host: str
    gap_s: float
    until: float
    failures: int = 0
    since: float = 0.0
    at: float = 0.0


class Memory(msgspec.Struct):
    """What one crawl leaves to the next one of the same hosts. `faults`: our own, told to whoever may mend them.

    `agents`: those whose groups in robots.txt it obeyed beside our own; None: that was not noted yet.
    """

    robots: list[Known]
    paces: list[Pace]
    faults: list[str] = []
    agents: tuple[str, ...] | None = None


def host(url: str) -> str:
    """The host that an address queues for: its name, without `www.`."""
    return identity_host(host_of(url))


def host_asked(continuation: Continuation) -> str:
    """The host that a continuation asks next."""
    return host(continuation.robots[-1] if continuation.robots else continuation.target)


def permit_of(rules: Rules, url: str) -> Permit:
    """What rules say of one address."""
    return Permit(url, rules.crawl_delay, rules.opt_outs(url))


def unanswered(continuation: Continuation, outcome: Outcome, detail: str) -> Fetched:
    """A fetch that ended before any response."""
    return Fetched(
        (*continuation.asked, continuation.target)[0], continuation.target, (), outcome, None, "", (), detail
    )


def annotated(end: Fetched, permit: Permit | None, obey: bool) -> Fetched:
    """The end with the opt-outs that robots.txt says of its last address, obeyed or only recorded."""
    opt_outs = permit.opt_outs if permit is not None and permit.url == end.final_url else ()
    if not opt_outs or end.outcome not in (Outcome.KEPT, Outcome.OPTED_OUT, Outcome.ROBOTS_DISALLOWED):
        return end
    outcome = Outcome.OPTED_OUT if obey and end.outcome is Outcome.KEPT else end.outcome
    return replace(end, outcome=outcome, opt_outs=tuple(sorted({*end.opt_outs, *opt_outs})))
