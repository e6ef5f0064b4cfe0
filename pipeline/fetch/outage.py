"""Outage detection: whether it is hosts that fail, or the network of this machine.

Choice: what shows that the network is there is a server that answered over a new connection, and for names a look-up
that was answered: an open connection may live on, and a name be remembered, while neither can be had any more. Hosts
that fail in a row without one in between raise a suspicion, and then nothing new is asked; once nobody is being asked,
a connection to somebody who has answered before decides. Without one the network counts as away, and single hosts are
tried, more and more rarely, until anybody answers anew. Cost: a working directory in which nothing ever answered, and
whose links are all dead, looks like an outage. Alternative: ask somebody who is always there, which tells a stranger of
every crawl.

Each suspicion that was none doubles how many have to fail for the next: in a list of mostly dead links that many fail
in a row by chance. Pure, and told the time; whoever uses it does the asking.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

HOSTS = 3  # that fail in a row: of the hosts of old links a fifth may be dead, so 3 of them are one case in 125
PROBE_MAX_S = 60.0  # between two tries while the network is away
PROBES_MAX = 32  # hosts tried at once; first one, then twice as many each time: in a list of dead links few answer
TRUST_S = 60.0  # after a connection that opened, in which hosts are not doubted for being the only ones left


@dataclass(slots=True)
class Reached:
    """When, on the loop's clock, a name was last looked up, and a connection opened over which its server answered.

    A server whose address needs no look-up (an IP address, a host that the settings place) counts as both.
    """

    named_at: float = -math.inf
    opened_at: float = -math.inf


@dataclass(frozen=True, slots=True)
class Failure:
    """A host that gave no answer at a time. `nameless`: its name could not be looked up."""

    at: float
    nameless: bool


@dataclass
class Outage:
    """What is known of the network. `patience_s`: how long it may be away; 0 = failures are always the hosts'."""

    patience_s: float
    gap_s: float
    failing: dict[str, Failure] = field(default_factory=dict)  # hosts, since the network was last seen to be there
    needed: int = HOSTS
    since: float | None = None  # when it was found to be away
    tries: int = 0
    probe_at: float = 0.0
    trusted_until: float = 0.0

    def reached(self, seen: Reached) -> list[str]:
        """The hosts that failed, and not the network, for it was seen to be there since; they are forgotten here."""
        gone = [
            name
            for name, failure in self.failing.items()
            if (seen.named_at if failure.nameless else seen.opened_at) > failure.at
        ]
        for name in gone:
            del self.failing[name]
        if not self.failing:
            self.since, self.tries = None, 0
        return gone

    def trust(self, now: float) -> list[str]:
        """Somebody could be reached: the hosts that failed, as of `reached`. The next suspicion takes more of them."""
        if self.suspected:
            self.needed *= 2
        self.trusted_until = now + TRUST_S
        return self.reached(Reached(math.inf, math.inf))

    def failed(self, host: str, now: float, nameless: bool = False) -> None:
        """A host gave no answer."""
        self.failing[host] = Failure(now, nameless)
        if self.since is not None and now >= self.probe_at:
            self.tries += 1
            self.probe_at = now + min(self.gap_s * 2.0 ** min(self.tries, 64), PROBE_MAX_S)

    @property
    def suspected(self) -> bool:
        """Whether so much failed that nothing new may be asked before it is known why."""
        return self.since is None and self.patience_s > 0 and len(self.failing) >= self.needed

    @property
    def away(self) -> bool:
        """Whether the network was found to be away."""
        return self.since is not None

    @property
    def nameless(self) -> bool:
        """Whether names could not be looked up."""
        return any(failure.nameless for failure in self.failing.values())

    @property
    def probes(self) -> int:
        """How many hosts may be tried at once while it is away."""
        return int(min(2 ** min(self.tries, 64), PROBES_MAX))

    @property
    def ends_at(self) -> float:
        """Until when a network that is away is waited for."""
        return (self.since or 0.0) + self.patience_s

    def found_away(self, now: float) -> None:
        """Nobody answers."""
        self.since, self.tries, self.probe_at = now, 0, now + self.gap_s
