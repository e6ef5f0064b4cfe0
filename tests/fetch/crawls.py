"""Crawls of a few addresses, from the first request to the last, for tests that look at how they end."""

import asyncio
from dataclasses import dataclass, field

from pipeline.fetch.continuations import Continuation, Link, Memory
from pipeline.fetch.crawler import Portion, crawl
from pipeline.fetch.hosts import Circumstances
from pipeline.fetch.robots import Known
from tests.fetch.local_web import SOFTWARE


def link_to(url, doc_id=None):
    return Link(doc_id or url, Continuation(url, (), 10.0))


def anyone(link, host):
    return True


@dataclass
class Job:
    """The work of a crawl that is all there at once: `memory` is told, and then holds what is new."""

    links: list
    memory: Memory = field(default_factory=lambda: Memory([], []))
    may: object = anyone
    told: object = None  # of every end
    robots: list = field(default_factory=list)  # responses to questions for robots.txt
    left: list = field(default_factory=list)  # links that wait for another crawl

    def waits(self):
        return self.links is not None

    has_room = waits

    def portion(self):
        found = Portion(self.links, Memory(list(self.memory.robots), list(self.memory.paces)))
        self.memory.robots.clear()
        self.memory.paces.clear()
        self.links = None
        return found

    def mine(self, link, host):
        return self.may(link, host)

    def ended(self, link, end):
        self.told(link, end)

    def postponed(self, link):
        self.left.append(link)

    def asked_robots(self, link, hops):
        self.robots += hops

    def learnt(self, one):
        (self.memory.robots if isinstance(one, Known) else self.memory.paces).append(one)

    def check(self):
        pass


async def ends_of(links, settings, mine=anyone, memory=None, now=lambda: 0.0, robots=None, into=None):
    """(link, end) of each, in the order of ending; `robots` collects the responses to questions for robots.txt."""
    ends = into if into is not None else []
    collected = robots if robots is not None else []
    job = Job(links, memory or Memory([], []), mine, lambda *end: ends.append(end), collected)
    await asyncio.wait_for(crawl(job, settings, SOFTWARE, Circumstances(now)), 20)
    return ends
