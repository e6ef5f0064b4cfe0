"""Whose turn it is: many hosts at once, one request at a time to each, with the gap of each in between.

Choice: a pure schedule that is told the time, so that its promises (the gap, nobody starved, every item once, a host
that is overloaded asked less, one that fails asked ever more rarely) are proved with a made-up clock. Cost: whoever
uses it must tell it of every request's end. Alternative: a task a host that sleeps, which is simpler until a redirect
crosses from one to another, and then either breaks the gap or deadlocks.

When a schedule begins, every host counts as just asked: so the gap also holds over the requests that came before it.
After n failures in a row a host rests for its gap times 2^(n - 1), at most an hour: binary exponential backoff, as of
Ethernet (IEEE 802.3, 4.2.3.2.5) and of clients that get 429 or 503.

Hosts may share an address: then each of its `per_address` places takes one request at a time, and the gap after it. A
host whose address has no place is parked, and holds no connection.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from pipeline.fetch.robots import CRAWL_DELAY_MAX_S
from pipeline.shards.outcomes import Outcome

T = TypeVar("T")

IN_A_ROW = 5  # failures of a host after which it is the host that fails, and not those links
SLOWER, FASTER = 2.0, 0.8  # a host's gap after "too many requests", and after an answer, while it is longer than asked
SLOWEST_S = CRAWL_DELAY_MAX_S  # a gap that grew grows no further
REST_MAX_S = 3_600.0  # a host that fails, or asks to be left alone, for longer is asked once an hour


@dataclass(slots=True)
class Address:
    """When each place that is free may be taken, as a heap; and the hosts that wait for one."""

    free: list[float]
    parked: deque[str] = field(default_factory=deque)


@dataclass(slots=True)
class Host(Generic[T]):
    """What the schedule knows of one host.

    `gap_s`: asked for, by the settings or by Crawl-delay; `slowed`: times so much, for it said that we are too fast.
    `failures`: in a row, the first of them at `failing_since`; `fate`: the last one, where no other hour mends it.
    """

    gap_s: float
    ready_at: float
    slowed: float = 1.0
    first: deque[T] = field(default_factory=deque)
    rest: deque[T] = field(default_factory=deque)
    busy: bool = False
    failures: int = 0
    failing_since: float = 0.0
    fate: Outcome | None = None
    address: Address | None = None
    placed: bool = False  # holds a place of its address
    parked: bool = False


class Schedule(Generic[T]):
    """Items queued by host; `pop` hands out the one whose host has been ready longest. It never looks at a clock.

    A host is busy from `pop` to `finish`, and not ready until its gap after that. At most `connections` are busy.
    """

    def __init__(self, gap_s: float, connections: int, now: float, per_address: int = 0) -> None:
        self.gap_s = gap_s
        self.connections = connections
        self.per_address = per_address
        self.addresses: dict[str, Address] = {}
        self.began = now
        self.hosts: dict[str, Host[T]] = {}
        self.busy = 0
        self.ready: list[tuple[float, int, str]] = []  # a heap: one entry for each host that waits and is not busy
        self.order = count()

    def push(self, name: str, item: T, first: bool = False) -> None:
        """Queue an item behind those of its host; `first`: ahead of all that are not."""
        host = self.host(name)
        idle = not (host.busy or host.parked or host.first or host.rest)
        (host.first if first else host.rest).append(item)
        if idle:
            self.wait_for(name, host)

    def pop(self, now: float) -> T | None:
        """The next item, its host being busy from now on; None while no host may be asked."""
        while self.busy < self.connections and self.ready and self.ready[0][0] <= now:
            name = heapq.heappop(self.ready)[2]
            host = self.hosts[name]
            if not (host.first or host.rest):  # dropped meanwhile
                continue
            if host.address is None or self.enter(name, host, host.address, now):
                host.busy = True
                self.busy += 1
                return (host.first or host.rest).popleft()
        return None

    def enter(self, name: str, host: Host[T], address: Address, now: float) -> bool:
        """Whether a host that is not among those that wait got a place of its address; else it waits for one."""
        if not address.free:
            address.parked.append(name)
            host.parked = True
        elif address.free[0] > now:
            heapq.heappush(self.ready, (address.free[0], next(self.order), name))
        else:
            heapq.heappop(address.free)
            host.placed = True
        return host.placed

    def place(self, name: str, found: str, now: float) -> bool:
        """Whether a busy host, whose address is now known, may be asked: else it has to `step_back`."""
        host = self.hosts[name]
        if host.placed or not self.per_address:
            return True
        host.address = self.addresses.setdefault(found, Address([self.began] * self.per_address))
        if not host.address.free or host.address.free[0] > now:
            return False
        heapq.heappop(host.address.free)
        host.placed = True
        return True

    def step_back(self, name: str) -> None:
        """A busy host was not asked after all."""
        host = self.hosts[name]
        host.busy = False
        self.busy -= 1
        if host.first or host.rest:
            self.wait_for(name, host)

    def wait(self, now: float) -> float | None:
        """Seconds until `pop` may give something; None while only a `finish` or a `push` can change that."""
        if self.busy >= self.connections or not self.ready:
            return None
        return max(0.0, self.ready[0][0] - now)

    def finish(self, name: str, now: float) -> None:
        """The host's request is over: its gap begins. A host that is not asked any more needs none."""
        host = self.hosts[name]
        host.ready_at = max(host.ready_at, now + (0.0 if self.lost(name) else self.gap(name)))
        if host.placed and host.address is not None:
            host.placed = False
            heapq.heappush(host.address.free, now + self.gap_s)
            if host.address.parked:
                next_one = host.address.parked.popleft()
                self.hosts[next_one].parked = False
                self.wait_for(next_one, self.hosts[next_one])
        self.step_back(name)

    def answered(self, name: str) -> None:
        """The host gave what was asked for: it is alive, and where it had been slowed down it is a little less so."""
        host = self.host(name)
        host.failures = 0
        host.slowed = max(1.0, host.slowed * FASTER)

    def failed(self, name: str, fate: Outcome | None, now: float) -> None:
        """A busy host did not give what was asked for: it rests. `fate`: how, if no other hour can mend it."""
        host = self.host(name)
        host.failing_since = host.failing_since if host.failures else now
        host.failures += 1
        host.fate = fate
        if fate is None:
            self.rest(name, now + min(host.gap_s * 2.0 ** min(host.failures - 1, 64), REST_MAX_S))

    def recall(self, name: str, failures: int, since: float, until: float) -> None:
        """A host that does not wait failed so often in a row before, from `since` on, and rests until then."""
        host = self.host(name)
        host.failures, host.failing_since, host.fate = failures, since, None
        host.ready_at = max(host.ready_at, until)

    def forgive(self, name: str) -> None:
        """The host was not to blame for its failures."""
        self.host(name).failures = 0

    def overloaded(self, name: str, until: float) -> None:
        """A busy host asks for time: it rests until then, and its gap grows."""
        host = self.host(name)
        host.slowed = min(host.slowed * SLOWER, max(1.0, SLOWEST_S / host.gap_s)) if host.gap_s else 1.0
        self.rest(name, until)

    def rest(self, name: str, until: float) -> None:
        """A busy host is not asked before `until`."""
        host = self.host(name)
        host.ready_at = max(host.ready_at, until)

    def slow_down(self, name: str, delay_s: float) -> None:
        """Obey a Crawl-delay, up to CRAWL_DELAY_MAX_S, where it is longer than the gap. Not of a host that waits."""
        host = self.host(name)
        host.gap_s = max(host.gap_s, min(delay_s, CRAWL_DELAY_MAX_S))
        host.ready_at = max(host.ready_at, self.began + self.gap(name))

    def gap(self, name: str) -> float:
        """Seconds from the end of one request to the host to the start of the next."""
        return self.hosts[name].gap_s * self.hosts[name].slowed

    def lost(self, name: str) -> Outcome | None:
        """How a host failed often enough in a row to know that it always will, else None."""
        host = self.host(name)
        return host.fate if host.failures >= IN_A_ROW else None

    def failing(self, name: str) -> bool:
        """Whether it is the host that fails, and not some of its links."""
        return self.host(name).failures >= IN_A_ROW

    def waited_for(self, name: str, now: float) -> float | None:
        """For how many seconds a host has been failing; None while it is not."""
        host = self.host(name)
        return now - host.failing_since if host.failures >= IN_A_ROW else None

    def drop(self, name: str) -> list[T]:
        """All that is queued for a host that is not busy, queued no more."""
        host = self.host(name)
        dropped = [*host.first, *host.rest]
        host.first.clear()
        host.rest.clear()
        if dropped and not host.busy and not host.parked:
            self.ready = [one for one in self.ready if one[2] != name]
            heapq.heapify(self.ready)
        return dropped

    def queued(self, name: str) -> bool:
        """Whether anything waits for a host."""
        host = self.host(name)
        return bool(host.first or host.rest)

    def names(self) -> list[str]:
        """The hosts for which something waits and that are not busy, the one that is ready first to begin with."""
        return [name for _, _, name in sorted(self.ready)]

    def others(self, name: str) -> bool:
        """Whether any other host is being asked, or has something queued and is not failing."""
        return self.busy > self.host(name).busy or any(
            other != name and not self.failing(other) for _, _, other in self.ready
        )

    def host(self, name: str) -> Host[T]:
        """What is known of a host, made on first sight."""
        if name not in self.hosts:
            self.hosts[name] = Host(self.gap_s, self.began + self.gap_s)
        return self.hosts[name]

    def waiting(self) -> int:
        """How many hosts have an item queued or under way."""
        return len(self.ready) + self.busy + sum(len(one.parked) for one in self.addresses.values())

    def wait_for(self, name: str, host: Host[T]) -> None:
        """Put a host among those that wait; of two that are ready at once, the one that came first goes first."""
        heapq.heappush(self.ready, (host.ready_at, next(self.order), name))
