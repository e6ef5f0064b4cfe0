"""Whether it is hosts that fail, or the network of this machine.

Choice: hosts that fail in a row with no answer of anybody in between raise a suspicion, and then nothing new is asked;
once nobody is being asked, a connection to somebody who has answered before decides. Without one the network counts as
away, and single links of ever other hosts are tried, more and more rarely, until any host answers. Cost: a working
directory in which nothing ever answered, and whose links are all dead, looks like an outage. Alternative: ask somebody
who is always there, which tells a stranger of every crawl.

Pure, and told the time; whoever uses it does the asking.
"""

from __future__ import annotations

from dataclasses import dataclass, field

HOSTS = 3  # that fail in a row: of the hosts of old links a fifth may be dead, so 3 of them are one case in 125
PROBE_MAX_S = 60.0  # between two tries while the network is away
TRUST_S = 60.0  # after a connection that opened, in which nobody doubts the network


@dataclass
class Outage:
    """What is known of the network. `patience_s`: how long it may be away; 0 = failures are always the hosts'."""

    patience_s: float
    gap_s: float
    failing: set[str] = field(default_factory=set)  # hosts that failed since any host answered
    since: float | None = None  # when it was found to be away
    tries: int = 0
    probe_at: float = 0.0
    trusted_until: float = 0.0

    def heard(self) -> None:
        """Some host answered."""
        self.failing.clear()
        self.since, self.tries = None, 0

    def trust(self, now: float) -> None:
        """Somebody could be reached."""
        self.trusted_until = now + TRUST_S

    def failed(self, host: str, now: float) -> None:
        """A host gave no answer."""
        if self.since is None and now < self.trusted_until:
            return
        self.failing.add(host)
        if self.since is not None:
            self.tries += 1
            self.probe_at = now + min(self.gap_s * 2.0 ** min(self.tries, 64), PROBE_MAX_S)

    @property
    def suspected(self) -> bool:
        """Whether so much failed that nothing new may be asked before it is known why."""
        return self.since is None and self.patience_s > 0 and len(self.failing) >= HOSTS

    @property
    def away(self) -> bool:
        """Whether the network was found to be away."""
        return self.since is not None

    @property
    def ends_at(self) -> float:
        """Until when a network that is away is waited for."""
        return (self.since or 0.0) + self.patience_s

    def found_away(self, now: float) -> None:
        """Nobody answers."""
        self.since, self.tries, self.probe_at = now, 0, now + self.gap_s
