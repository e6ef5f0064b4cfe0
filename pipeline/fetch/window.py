"""The window of a crawl: the shards of which links are in it now, each with a segment that is open.

Choice: a round's links come by portions, a shard's links of one part of [0, 1) by their place, in the order of places
over all shards. So all hosts are begun before any is ended, all get on at one pace, and a crawl that is cut at any time
has got as far with each; a shard is open only while links of it are in the crawl. Cost: the queue of a shard is read
once a portion, and a segment is closed with each. Alternative: shard after shard, each as slow as its slowest host,
or all links in memory.

Whatever the window, a visit asks only hosts of its own shard, and its row is the one that a crawl of that shard alone
would write: where it leads to a host of another shard, it ends with a continuation, which that shard takes up, at once
where this crawl asks for it; one that is not open with its next portion, since a segment for each would be many.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config import PagesSettings
from pipeline.fetch import queues
from pipeline.fetch.blame import End
from pipeline.fetch.continuations import Link, Memory, Pace, Unfinished, host, host_asked
from pipeline.fetch.crawler import Portion, crawl
from pipeline.fetch.hosts import Circumstances, nobody
from pipeline.fetch.queues import Waits
from pipeline.fetch.response import Hop
from pipeline.fetch.robots import Known
from pipeline.fetch.segments import Group, Owners, Turn
from pipeline.fetch.shelf import Shelf, Waiting
from pipeline.fetch.writing import Overtaken, Writing
from pipeline.shards.outcomes import WebTextError
from pipeline.shards.removals import Refusals

OPEN_SHARDS = 256  # at most: each has a file open, besides those of connections; systems allow a process 1,024
CLOSERS = 4  # threads that commit segments of closed shards, in which the crawl would wait for the storage
CLOSING = 32  # segments that wait for one; with more the crawl waits


@dataclass(frozen=True)
class Round:
    """What a crawl is told of a round: who asks shared hosts; `began`: when the build did, seconds since 1970.

    `alive`, `refusals`: see `Circumstances`. `round_s`: how long it may take, if not as the settings say.
    """

    owners: Owners
    group: Group
    turns: Mapping[str, Turn] = field(default_factory=dict)
    began: float = 0.0
    alive: Callable[[], Iterable[str]] = nobody
    refusals: Refusals = field(default_factory=Refusals)
    round_s: float | None = None

    def asks(self, shard: int, host: str) -> bool:
        """Whether this crawl asks a host of a shard."""
        return self.group.asks(shard, host, self.owners, self.turns)


@dataclass(frozen=True)
class Source:
    """Where a shard's links wait, and what they wait for; and where its segments lie.

    `stands()`: whether they still wait there for this crawl: else another attempt has taken over, and nothing may be
    committed.
    """

    shelf: Shelf
    queue: Path
    waits: Waits
    stands: Callable[[], bool] = lambda: True


@dataclass
class Opened:
    """A shard in the window. `left`: how many of its links have no end yet."""

    writing: Writing
    left: int = 0


class Window:
    """The work of one crawl over several shards. As a context it commits, at the end, what is whole."""

    def __init__(self, settings: PagesSettings, software: str, round_: Round, sources: Mapping[int, Source]) -> None:
        self.settings = settings
        self.software = software
        self.round = round_
        self.sources = sources
        self.coming = portions_of(sources)
        self.open: dict[int, Opened] = {}
        self.links = 0  # in the window
        self.handed: defaultdict[int, list[Waiting]] = defaultdict(list)  # continuations for shards that are not open
        self.done: dict[int, set[tuple[str, int]]] = {}  # of a queue, what an attempt before has committed
        self.shared: defaultdict[str, dict[str, Known]] = defaultdict(dict)  # robots.txt of hosts of several shards
        self.introduced: set[str] = set()  # shared hosts of which the crawl knows what other shards did
        self.closers = ThreadPoolExecutor(CLOSERS, "commit")
        self.closing: deque[Future[None]] = deque()

    def __enter__(self) -> Window:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Close all segments, those with most in them first: an interrupt leaves a second."""
        failed = error
        try:
            self.wait_for_closers(0)
        except (OSError, WebTextError) as refusal:
            failed = failed or refusal
        for writing in sorted(
            (opened.writing for opened in self.open.values()), key=lambda writing: -len(writing.rows)
        ):
            try:
                if failed is None:
                    writing.commit()
                writing.__exit__(type(failed), failed, trace)
            except (OSError, WebTextError) as refusal:
                failed = failed or refusal
        self.closers.shutdown(cancel_futures=True)
        if failed is not None and error is None:
            raise failed

    def wait_for_closers(self, most: int) -> None:
        """Wait until at most so many segments of closed shards are not committed. Raises what the storage raises."""
        while self.closing and (len(self.closing) > most or self.closing[0].done()):
            self.closing.popleft().result()

    # --- which links are in the crawl

    def waits(self) -> bool:
        """Whether any links are still to come."""
        return bool(self.coming or self.handed)

    def next_one(self) -> tuple[int, float, float, int]:
        """The shard that is next, the bounds of its portion, and how many links are in it."""
        if self.coming:
            return self.coming[-1]
        shard = max(self.handed, key=lambda shard: len(self.handed[shard]))
        return shard, 1.0, 1.0, len(self.handed[shard])

    def has_room(self) -> bool:
        """Whether links are to come and may be taken now."""
        if not self.waits():
            return False
        shard, _, _, links = self.next_one()
        fits = self.links + links <= self.settings.window_links and (shard in self.open or len(self.open) < OPEN_SHARDS)
        return fits or not self.open

    def portion(self) -> Portion:
        """The next links: those of a queue that this crawl asks for, and what was handed to the shard meanwhile."""
        shard, low, high, _ = self.next_one()
        memory = self.opened(shard)
        todo = self.handed.pop(shard, [])
        if self.coming:
            self.coming.pop()
            waiting = queues.read(self.sources[shard].queue, low, high)
            todo += [visit for visit in waiting if self.is_asked_for(shard, visit)]
        links = [link for visit in todo if (link := self.entered(shard, visit)) is not None]
        self.close_if_done(shard)
        return Portion(links, memory)

    def is_asked_for(self, shard: int, visit: Waiting) -> bool:
        """Whether this crawl asks for a link that waits in the queue of a shard: in its turn, and not asked already."""
        name = host_asked(visit.continuation)
        here = self.round.owners.owner(name, visit.doc_id) == shard
        ours = self.round.asks(shard, name) if here else shard in self.round.group.shards
        return ours and (visit.doc_id, visit.step) not in self.done[shard]

    def entered(self, shard: int, visit: Waiting) -> Link | None:
        """A visit of an open shard as a link of the crawl; None where one of the same link is in it."""
        opened = self.open[shard]
        if visit.doc_id in opened.writing.todo:
            return None
        opened.writing.todo[visit.doc_id] = visit
        opened.left += 1
        self.links += 1
        return Link(visit.doc_id, visit.continuation, visit.place, shard)

    def opened(self, shard: int) -> Memory:
        """Open a shard that is not; what earlier crawls learnt of its hosts."""
        if shard in self.open:
            return Memory([], [])
        source = self.sources[shard]
        lying = source.shelf.looked_at()
        if shard not in self.done:
            done = lying.done()
            self.done[shard] = (
                done & {(visit.doc_id, visit.step) for visit in queues.read(source.queue)} if done else set()
            )
        learnt = Memory([], [])
        writing = Writing(self.settings, self.software, source.shelf, {}, learnt, source.stands)
        self.open[shard] = Opened(writing)
        memory = lying.memory()
        for known in memory.robots:
            self.share(known)
        for name, turn in self.round.turns.items():
            if self.round.asks(shard, name) and shard in self.round.owners.all_of(name):
                learnt.robots += self.shared[name].values()
                if name not in self.introduced:
                    self.introduced.add(name)
                    memory.paces += turn.paces
        return memory

    def close_if_done(self, shard: int) -> None:
        """Have the segment of a shard committed of which nothing is in the crawl any more."""
        if not self.open[shard].left:
            self.closing.append(self.closers.submit(self.open.pop(shard).writing.commit))
            self.wait_for_closers(CLOSING)

    def left(self, link: Link) -> Waiting:
        """A link leaves the crawl."""
        opened = self.open[link.shard]
        opened.left -= 1
        self.links -= 1
        return opened.writing.todo.pop(link.doc_id)

    # --- what the crawl tells

    def mine(self, link: Link, name: str) -> bool:
        """Whether a host may be asked for a link in the shard that visits it."""
        return self.round.owners.owner(name, link.doc_id) == link.shard and self.round.asks(link.shard, name)

    def ended(self, link: Link, end: End) -> Portion | None:
        """Keep how a visit ended; what goes on in another shard that is open."""
        self.open[link.shard].writing.ended(link, end)
        visit = self.left(link)
        onward = self.handed_on(link.shard, visit, end) if isinstance(end, Unfinished) else None
        self.close_if_done(link.shard)
        return onward

    def handed_on(self, from_shard: int, visit: Waiting, end: Unfinished) -> Portion | None:
        """Hand a continuation to another shard that takes it up, if this crawl asks for it.

        What goes on in the same shard waits for a host that rests, and so for another round.
        """
        name = host_asked(end.continuation)
        shard = self.round.owners.owner(name, visit.doc_id)
        if shard == from_shard or shard not in self.sources or not self.round.asks(shard, name):
            return None
        onward = Waiting(visit.doc_id, visit.host, visit.step + 1, end.continuation, visit.place)
        if shard not in self.open:
            self.handed[shard].append(onward)
            return None
        link = self.entered(shard, onward)
        return Portion([link], Memory([], [])) if link is not None else None

    def postponed(self, link: Link) -> None:
        """A link waits for another round."""
        self.left(link)
        self.close_if_done(link.shard)

    def asked_robots(self, link: Link, hops: tuple[Hop, ...]) -> None:
        """Keep the responses that say what may be crawled, in the shard that asked."""
        self.open[link.shard].writing.asked_robots(hops)

    def learnt(self, learned: Known | Pace) -> None:
        """Keep what was learnt of a host with all shards that ask it."""
        name = host(learned.address) if isinstance(learned, Known) else learned.host
        for shard in self.round.owners.all_of(name):
            if shard in self.open:
                memory = self.open[shard].writing.memory
                memory.robots.append(learned) if isinstance(learned, Known) else memory.paces.append(learned)
        if isinstance(learned, Known):
            self.share(learned)

    def share(self, known: Known) -> None:
        """Remember the robots.txt of a shared host for shards that open later: their visits will go by it too."""
        if self.round.owners.is_shared(name := host(known.address)):
            self.shared[name][known.address] = known

    def check(self) -> None:
        """Raise Overtaken where another attempt has taken over: then nobody is to be asked any more."""
        for source in [self.sources[shard] for shard in self.open][:1]:  # a new round takes over all at once
            if not source.stands():
                raise Overtaken(f"{source.shelf.name}: another attempt crawls this shard")


def portions_of(sources: Mapping[int, Source]) -> list[tuple[int, float, float, int]]:
    """(shard, low, high, links) of all portions that hold any, the first one last.

    They come by their place; of one place those first whose shard has the host with most links, which takes longest.
    """
    found: list[tuple[float, int, int, float, int]] = []
    for shard, source in sources.items():
        parts = len(source.waits.portions)
        for part, links in enumerate(source.waits.portions):
            if links:
                found.append((part / parts, -source.waits.longest, shard, (part + 1) / parts, links))
    return [(shard, low, high, links) for low, _, shard, high, links in sorted(found, reverse=True)]


def crawl_round(settings: PagesSettings, software: str, round_: Round, sources: Mapping[int, Source]) -> None:
    """Crawl for a round what may be asked now, and commit it in segments of `segment_links` visits at most."""
    around = Circumstances(time.time, round_.began, round_.alive, round_.refusals)
    with suppress(Overtaken), Window(settings, software, round_, sources) as window:
        if window.waits():
            asyncio.run(crawl(window, settings, software, around, round_.round_s))
