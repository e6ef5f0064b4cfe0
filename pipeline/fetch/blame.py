"""Attribution of failures: to the link, to its host, or to the network.

Choice: that is decided by what comes after it. A link that failed without an answer is held. Its host answers the next
link: it was the link. The host fails IN_A_ROW times: it was the host, and the link waits with its others while the host
rests. Nobody answers anew: it was the network, and nobody has failed. Many failed at once, and the network is there: it
may have been away for a moment, and each is asked once more. 429 is no end while there is patience, 503 none before it
was said THROTTLED times. Cost: a link may be asked for more than once. Alternative: end each as it failed, which loses
a large host for one restart, and a night's links with a line.

What was never asked when patience ends is HOST_AWAY, never the failure of another link. A host is given up only where
its crawl has nothing else to do: next to others, waiting costs nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import chain, islice

from pipeline.counts import counted
from pipeline.fetch.client import is_overloaded
from pipeline.fetch.connections import origin_of
from pipeline.fetch.continuations import Later, Link, Unfinished, host, host_asked, unanswered
from pipeline.fetch.guard import reaches_any
from pipeline.fetch.hosts import Circumstances, Hosts
from pipeline.fetch.outage import Outage
from pipeline.fetch.response import HOST_FAILURES, Fetched
from pipeline.fetch.visit import Visit, unfinished
from pipeline.shards.outcomes import OutageError, Outcome

THROTTLED = 3  # times that a link is asked for whose server says 503, which may speak of that page alone
REFERENCES = 3  # hosts that answered before and are connected to, to tell an outage
ANSWERED = (Outcome.BAD_RESPONSE, Outcome.INCOMPLETE)  # ends in which somebody answered, though nothing is kept of it
End = Fetched | Unfinished


class Blame:
    """What failed and is not settled. `done`: the ends that are."""

    def __init__(self, hosts: Hosts, around: Circumstances) -> None:
        self.hosts = hosts
        self.schedule = hosts.schedule
        self.around = around
        self.patience_s = hosts.settings.patience_gaps * hosts.settings.gap_s
        self.outage = Outage(self.patience_s, hosts.settings.gap_s)
        self.asked_at = -1.0  # the try, while the network is away, before which those who answered before were asked
        self.done: deque[tuple[Link, End]] = deque()
        self.held: dict[str, list[tuple[Link, Fetched]]] = {}  # by host
        self.stranger = False  # nobody is known who answered before
        self.waiting: dict[str, tuple[int, Fetched]] = {}  # by doc_id, of links that failed: how often, how last

    def settle(self, visit: Visit, end: End) -> None:
        """A visit is over: its host is given back, its link ends, or is held, or waits."""
        failed = isinstance(end, Fetched) and (end.outcome in HOST_FAILURES or is_overloaded(end))
        name = visit.host
        if isinstance(end, Fetched) and end.outcome in ANSWERED:
            visit.heard = True
        self.notice()
        if not failed or name is None or not isinstance(end, Fetched):
            visit.used = visit.used and visit.heard
            answered = name if visit.used else None
            visit.give_back()
            if answered is not None:
                self.acquit(answered)
            self.done.append((visit.link, end))
            return
        self.hosts.failed(name, end)
        if not visit.heard:
            self.outage.failed(name, self.hosts.clock(), end.outcome is Outcome.NAME_ERROR)
        if is_overloaded(end):
            self.wait_again(visit.link, end)
        elif self.outage.away:
            self.schedule.push(host_asked(visit.link.continuation), visit.link)
        else:
            self.held.setdefault(name, []).append((visit.link, end))
            self.sort_out(name)
        self.hosts.finish(name)
        visit.host, visit.used = None, False

    def spoiled(self, visit: Visit, end: Fetched) -> None:
        """A visit ended by a fault of ours, which tells nothing of its host."""
        if visit.host is not None:
            self.hosts.finish(visit.host)
            visit.host, visit.used = None, False
        self.done.append((visit.link, end))

    def acquit(self, name: str) -> None:
        """A host answers: of links that failed just before, one alone failed by itself, several have another try."""
        held = self.held.pop(name, [])
        for link, end in held:
            if len(held) > 1 and link.doc_id not in self.waiting:
                self.wait_again(link, end)
            else:
                self.done.append((link, end))

    def sort_out(self, name: str) -> None:
        """Blame a host that has failed often enough, and not its links; or all of them where no hour will mend it."""
        if self.schedule.lost(name) and not self.outage.suspected:
            self.done.extend(self.held.pop(name, ()))
        elif self.schedule.failing(name):
            for link, end in self.held.pop(name, ()):
                self.wait_again(link, end)

    def wait_again(self, link: Link, end: Fetched) -> None:
        """Queue a link that failed for another time, behind the others of its host; or hand on what is left of it."""
        times = 1 + self.waiting.get(link.doc_id, (0, end))[0]
        self.waiting[link.doc_id] = times, end
        left = unfinished(link, end)
        if end.status == 503 and times >= THROTTLED:
            self.done.append((link, end))
        elif left is not None:
            self.done.append((link, left))
        else:
            self.schedule.push(host_asked(link.continuation), link)

    def notice(self) -> None:
        """Settle whose failure it was of hosts that failed before the network was last seen to be there."""
        many = self.outage.suspected
        self.have_failed(self.outage.reached(self.hosts.resolver.reached), many)

    def have_failed(self, names: Iterable[str], many: bool) -> None:
        """Hosts failed while the network was there: of those with nothing else to be asked for the links have ended.

        Where `many` did at once, a link is asked for once more.
        """
        for name in names:
            if name in self.held and not self.schedule.queued(name):
                for link, end in self.held.pop(name):
                    if many and link.doc_id not in self.waiting:
                        self.waiting[link.doc_id] = 1, end
                        self.schedule.push(host_asked(link.continuation), link)
                    else:
                        self.done.append((link, end))

    # --- hosts

    def spent(self, name: str, now: float) -> bool:
        """Whether a host is not waited for any longer."""
        waited = self.schedule.waited_for(name, now)
        return waited is not None and waited >= self.patience_s and not self.schedule.others(name)

    def give_up(self, name: str) -> None:
        """End what is queued for a host that is not busy: as it failed itself, or as never asked."""
        fate = self.schedule.lost(name)
        detail = f"{name}: failed {self.schedule.host(name).failures} times in a row"
        for item in self.schedule.drop(name):
            if not isinstance(item, Link):
                if not item.done():
                    item.set_exception(Later())
            elif item.doc_id in self.waiting:
                self.done.append((item, self.waiting.pop(item.doc_id)[1]))
            else:
                self.done.append((item, unanswered(item.continuation, fate or Outcome.HOST_AWAY, detail)))

    def close(self) -> None:
        """Nothing more comes: who is held and would not be asked again has failed; while that is in doubt, he waits."""
        for name in list(self.held):
            doubted = self.outage.suspected and name in self.outage.failing
            if not (doubted or self.schedule.queued(name)):
                self.done.extend(self.held.pop(name))

    # --- the network

    def doubtful(self, all_are_here: bool) -> bool:
        """Whether, while nobody is being asked, it has to be found out who fails: many do, or all that are left.

        `all_are_here`: nobody is left but who is in the schedule.
        """
        outage, now = self.outage, self.hosts.clock()
        if outage.away:
            return now >= outage.probe_at and self.asked_at != outage.probe_at
        if outage.suspected or not (outage.failing and self.patience_s and all_are_here) or self.stranger:
            return outage.suspected
        left = (name for name in self.schedule.names() if name not in outage.failing)
        return now >= outage.trusted_until and next(left, None) is None

    async def find_out(self) -> None:
        """Decide whether the network is away; then nobody has failed. While nobody is being asked.

        Of a few hosts, where nobody else is known who could be reached, it is taken for their own failure.
        """
        known, many = self.references(), self.outage.suspected
        if await reaches_any(self.hosts.settings, known):
            self.have_failed(self.outage.trust(self.hosts.clock()), many)
            return
        if self.outage.away:
            self.asked_at = self.outage.probe_at
            return
        if not (known or many):
            self.stranger = True
            return
        self.outage.found_away(self.hosts.clock())
        for name in self.outage.failing:
            self.schedule.forgive(name)
            for link, _ in self.held.pop(name, ()):
                self.schedule.push(host_asked(link.continuation), link)
        self.waiting = {doc: waiting for doc, waiting in self.waiting.items() if waiting[1].status is not None}

    def references(self) -> list[str]:
        """A few addresses at which somebody answered before, last things first.

        Where names could not be looked up, those that have to be looked up too, if there are any.
        """
        asks_for = self.hosts.resolver.asks_for
        known = (
            origin for origin in chain(reversed(self.hosts.alive), self.around.alive()) if self.may_be_there(origin)
        )
        if not self.outage.nameless:
            return list(islice(known, REFERENCES))
        found = list(known)
        return [reference for reference in found if asks_for(origin_of(reference)[1])][:REFERENCES] or found[
            :REFERENCES
        ]

    def may_be_there(self, address: str) -> bool:
        """Whether the host of an address did not fail just now."""
        return host(address) not in self.outage.failing

    def refuse_outage(self, now: float) -> None:
        """Raise OutageError where the network has been away for longer than anybody waits."""
        if self.outage.since is not None and now >= self.outage.ends_at:
            names = self.schedule.names()
            raise OutageError(
                f"the network is away: for {now - self.outage.since:.0f} s none of {counted(len(names), 'host')} has "
                "answered"
                f"{' or had a name that could be looked up' if self.outage.nameless else ''}: "
                f"{', '.join(names[:3])} …; nothing is lost: run the same command again when it is back (if all of "
                "them are gone for good: --set pages.patience_gaps=0)"
            )
