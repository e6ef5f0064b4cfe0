"""Crawls of a few addresses, from the first request to the last, for tests that look at how they end."""

import asyncio

from pipeline.fetch.blame import Circumstances
from pipeline.fetch.continuations import Continuation, Link, Memory
from pipeline.fetch.crawler import Report, crawl
from tests.fetch.local_web import SOFTWARE


def link_to(url, doc_id=None):
    return Link(doc_id or url, Continuation(url, (), 10.0))


def anyone(host, doc_id):
    return True


async def ends_of(links, settings, mine=anyone, memory=None, now=lambda: 0.0, robots=None, into=None):
    """(link, end) of each, in the order of ending; `robots` collects the responses to questions for robots.txt."""
    ends = into if into is not None else []
    report = Report(lambda *end: ends.append(end), (robots if robots is not None else []).extend)
    one = crawl(links, settings, SOFTWARE, mine, memory or Memory([], []), report, Circumstances(now))
    await asyncio.wait_for(one, 20)
    return ends
