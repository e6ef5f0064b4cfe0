"""The politeness schedule: many hosts at once, one request at a time to each, with the gap of each in between.

Choice: a pure schedule that is told the time, so that its promises (the gap, nobody starved, every item once, a host
that is overloaded asked less, one that fails asked ever more rarely) are proved with a made-up clock. Cost: whoever
uses it must tell it of every request's end. Alternative: a task a host that sleeps, which is simpler until a redirect
crosses from one to another, and then either breaks the gap or deadlocks.

When a schedule begins, every host counts as just asked: so the gap also holds over the requests that came before it.
After n failures in a row a host rests for its gap times 2^(n - 1), at most an hour: binary exponential backoff, as of
Ethernet (IEEE 802.3, 4.2.3.2.5) and of clients that get 429 or 503.

Of hosts that may be asked at one moment, the one goes first whose next item comes first by `rank`: of a crawl, how far
a link is down the list of its host, as a share of it. So every host is begun before any is ended, all are equally far
at any time, and none is left over for the end alone. Items of one rank go by how long their hosts have been ready.

Hosts may share an address: then each of its `per_address` places takes one request at a time, and the gap after it. A
host whose address has no place is parked, and holds no connection.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any, Generic, TypeVar

from pipeline.fetch.lines import NOT_WAITING, Address, Host
from pipeline.fetch.robots import CRAWL_DELAY_MAX_S
from pipeline.shards.outcomes import Outcome

T = TypeVar("T")

IN_A_ROW = 5  # failures of a host after which it is the host that fails, and not those links
SLOWER, FASTER = 2.0, 0.8  # a host's gap after "too many requests", and after an answer, while it is longer than asked
SLOWEST_S = CRAWL_DELAY_MAX_S  # a gap that grew grows no further
REST_MAX_S = 3_600.0  # a host that fails, or asks to be left alone, for longer is asked once an hour
KEEP_HOSTS = 10_000  # that are known at least before any is forgotten


class Schedule(Generic[T]):
    """Items queued by host; `pop` hands out the one that comes first of those that may go. It never looks at a clock.

    A host is busy from `pop` to `finish`, and not ready until its gap after that. At most `connections` are busy.
    `rank(item)`: see above; of one host items are pushed in its order. Who is `first` comes before all that are not.
    """

    def __init__(
        self,
        gap_s: float,
        connections: int,
        now: float,
        per_address: int = 0,
        rank: Callable[[T], float] = lambda _: 0.0,
    ) -> None:
        self.gap_s = gap_s
        self.connections = connections
        self.per_address = per_address
        self.rank = rank
        self.addresses: dict[str, Address] = {}
        self.began = now
        self.hosts: dict[str, Host[T]] = {}
        self.busy = self.entries = self.parked = 0  # hosts that are asked, have an entry, wait for their address
        self.failed_names: set[str] = set()  # of hosts that wait, those that gave nothing the last time
        # two heaps of the hosts that wait and are not busy; an entry that is not its host's last one counts no more
        self.resting: list[tuple[float, int, str]] = []  # by when they are ready
        self.ready: list[tuple[float, float, int, str]] = []  # those that are, by rank, and then by since when
        self.order = count()
        self.keep = KEEP_HOSTS

    def push(self, name: str, item: T, first: bool = False) -> None:
        """Queue an item behind those of its host; `first`: ahead of all that are not."""
        host = self.host(name)
        waits = host.entry != NOT_WAITING
        idle = not (host.busy or host.parked or waits)
        (host.first if first else host.rest).push(item)
        if idle or (first and waits):
            self.wait_for(name, host)

    def pop(self, now: float) -> T | None:
        """The next item, its host being busy from now on; None while no host may be asked."""
        while self.busy < self.connections:
            while self.resting and self.resting[0][0] <= now:
                ready_at, number, name = heapq.heappop(self.resting)
                host = self.hosts.get(name)
                if host is not None and host.entry == number:
                    heapq.heappush(self.ready, (self.rank_of(host), ready_at, number, name))
            if not self.ready:
                return None
            _, _, number, name = heapq.heappop(self.ready)
            host = self.hosts.get(name)
            if host is None or host.entry != number:
                continue
            if host.ready_at > now:  # it was found meanwhile that it rests
                self.wait_for(name, host)
                continue
            self.leave(name, host)
            if host.address is None or self.enter(name, host, host.address, now):
                host.busy = True
                self.busy += 1
                return (host.first or host.rest).pop()
        return None

    def rank_of(self, host: Host[T]) -> float:
        """Where the next item of a host stands among those of others."""
        return -1.0 if host.first else self.rank(host.rest.head())

    def enter(self, name: str, host: Host[T], address: Address, now: float) -> bool:
        """Whether a host that is not among those that wait got a place of its address; else it waits for one."""
        if not address.free:
            address.parked.append(name)
            host.parked = True
            self.parked += 1
        elif address.free[0] > now:
            self.wait_for(name, host, address.free[0])
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
        if self.busy >= self.connections:
            return None
        while self.ready and self.is_stale(self.ready[0]):
            heapq.heappop(self.ready)
        while self.resting and self.is_stale(self.resting[0]):
            heapq.heappop(self.resting)
        if self.ready:
            return 0.0
        return max(0.0, self.resting[0][0] - now) if self.resting else None

    def is_stale(self, entry: tuple[Any, ...]) -> bool:
        """Whether an entry of those that wait counts no more."""
        *_, number, name = entry
        return name not in self.hosts or self.hosts[name].entry != number

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
                self.parked -= 1
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
        """A host failed so often in a row before, from `since` on, and rests until then."""
        host = self.host(name)
        if failures and host.entry != NOT_WAITING:
            self.failed_names.add(name)
        host.failures, host.failing_since, host.fate = failures, since, None
        host.ready_at = max(host.ready_at, until)

    def forgive(self, name: str) -> None:
        """The host was not to blame for its failures."""
        self.host(name).failures = 0
        self.failed_names.discard(name)

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
        """Obey a Crawl-delay, up to CRAWL_DELAY_MAX_S, where it is longer than the gap."""
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
        dropped = [*host.first.clear(), *host.rest.clear()]
        self.leave(name, host)
        if host.parked and host.address is not None:
            host.address.parked.remove(name)
            host.parked = False
            self.parked -= 1
        return dropped

    def queued(self, name: str) -> bool:
        """Whether anything waits for a host."""
        host = self.host(name)
        return bool(host.first or host.rest)

    def names(self) -> list[str]:
        """The hosts for which something waits and that are not busy, the one that is ready first to begin with."""
        return [name for _, _, name in sorted(self.waiting_entries())]

    def waiting_entries(self) -> Iterator[tuple[float, int, str]]:
        """Of each host that waits: when it is ready, a number, its name; in no order."""
        yield from ((at, number, name) for _, at, number, name in self.ready if not self.is_stale((number, name)))
        yield from (entry for entry in self.resting if not self.is_stale(entry))

    def others(self, name: str) -> bool:
        """Whether any other host is being asked, or has something queued and is not failing."""
        return self.busy > self.host(name).busy or any(
            other != name and not self.failing(other) for _, _, other in self.waiting_entries()
        )

    def lively(self) -> int:
        """How many hosts are asked, or wait for their turn alone: none that gave nothing last time, or is parked."""
        return self.entries + self.busy - len(self.failed_names)

    def far(self, until: float) -> list[str]:
        """The hosts for which something waits and that will not be asked before a time, by what is known now."""
        resting = [name for at, _, name in self.waiting_entries() if max(at, self.hosts[name].ready_at) > until]
        deep = max(1, int((until - self.began) / self.gap_s)) if self.gap_s else 0
        parked = (
            [name for address in self.addresses.values() for name in islice(address.parked, deep, None)] if deep else []
        )
        return [*resting, *parked]

    def host(self, name: str) -> Host[T]:
        """What is known of a host, made on first sight."""
        if name not in self.hosts:
            self.hosts[name] = Host(self.gap_s, self.began + self.gap_s)
        return self.hosts[name]

    def waiting(self) -> int:
        """How many hosts have an item queued or under way."""
        return self.entries + self.busy + self.parked

    def wait_for(self, name: str, host: Host[T], until: float = 0.0) -> None:
        """Put a host among those that wait; of two that are ready at once, the one that came first goes first."""
        self.entries += host.entry == NOT_WAITING
        host.entry = next(self.order)
        if host.failures:
            self.failed_names.add(name)
        heapq.heappush(self.resting, (max(host.ready_at, until), host.entry, name))

    def leave(self, name: str, host: Host[T]) -> None:
        """Take a host from among those that wait."""
        self.failed_names.discard(name)
        self.entries -= host.entry != NOT_WAITING
        host.entry = NOT_WAITING

    # --- what need not be known any longer

    def forget(self, now: float) -> None:
        """Forget hosts and addresses of which nothing is known that they would not be met with anew.

        Called often: it looks only when as many hosts are known again as were left the last time.
        """
        if len(self.hosts) < self.keep:
            return
        self.hosts = {name: host for name, host in self.hosts.items() if not self.is_plain(host, now)}
        used = {id(host.address) for host in self.hosts.values()}
        self.addresses = {
            name: address
            for name, address in self.addresses.items()
            if id(address) in used or address.parked or len(address.free) < self.per_address or max(address.free) > now
        }
        self.keep = max(KEEP_HOSTS, 2 * len(self.hosts))

    def is_plain(self, host: Host[T], now: float) -> bool:
        """Whether a host is as one that was never seen, and its last gap is over."""
        idle = not (host.busy or host.parked or host.placed or host.first or host.rest)
        is_known = host.failures or host.slowed > 1.0 or host.gap_s > self.gap_s
        return idle and not is_known and host.ready_at <= now
