"""What waits for one host, in order of coming, and what a schedule knows of it; and of an address that hosts share.

Choice: a list, and how many of its items are gone, since most hosts have one link and an empty deque takes 700 bytes.
Cost: now and then what is left is moved. Alternative: `collections.deque`, which makes a crawl of hosts with a link
each twice as large.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pipeline.shards.outcomes import Outcome

T = TypeVar("T")

NOT_WAITING = -1


class Line(Generic[T]):
    """What waits, first in, first out."""

    __slots__ = ("gone", "items")

    def __init__(self) -> None:
        self.items: list[T | None] = []
        self.gone = 0

    def __len__(self) -> int:
        return len(self.items) - self.gone

    def push(self, item: T) -> None:
        """Put an item at the end."""
        self.items.append(item)

    def head(self) -> T:
        """The item that came first."""
        return self.items[self.gone]  # type: ignore[return-value]  # only what is gone is None

    def pop(self) -> T:
        """Take the item that came first."""
        item = self.head()
        self.items[self.gone] = None
        self.gone += 1
        if 2 * self.gone >= len(self.items):
            del self.items[: self.gone]
            self.gone = 0
        return item

    def clear(self) -> list[T]:
        """Take all."""
        found, self.items, self.gone = self.items[self.gone :], [], 0
        return found  # type: ignore[return-value]


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
    `entry`: the number of its entry among those that wait.
    """

    gap_s: float
    ready_at: float
    slowed: float = 1.0
    first: Line[T] = field(default_factory=Line)
    rest: Line[T] = field(default_factory=Line)
    busy: bool = False
    entry: int = NOT_WAITING
    failures: int = 0
    failing_since: float = 0.0
    fate: Outcome | None = None
    address: Address | None = None
    placed: bool = False  # holds a place of its address
    parked: bool = False
