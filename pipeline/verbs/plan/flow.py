"""How many rows go on from stage to stage, and what politeness asks of a crawl: arithmetic on what a probe found.

Choice: shares, one a stage, from books where an artefact stands, from the sample where not, and assumed where nothing
was seen. A crawl takes as long as its longest queue, or as its requests need. Cost: hosts that the sample missed are in
nobody's queue. Alternative: Zipf's law, which does not know that a host is blocked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.config import Settings
from pipeline.shards.outcomes import ConfigError, Outcome
from pipeline.verbs.plan.costs import Costs, Web
from pipeline.verbs.plan.probe import Probe

Flow = dict[str, tuple[float, float]]  # of each stage: rows in, rows that go on


def flow_of(probe: Probe, web: Web) -> Flow:
    """Rows in and rows kept, stage by stage; from books where there are any."""
    posts, _, kept = links_of(probe, web)
    texts = probe.texts
    text_share, passing = (texts.text_share, texts.passing) if texts else (web.text_share, web.passing)
    shares = {"pages": found_share(probe, kept, web), "documents": text_share, "corpus": passing * (1 - web.copies)}
    flow: Flow = {"links": (posts, kept)}
    rows = kept
    for stage, share in shares.items():
        flow[stage] = rows, rows * share
        if stage in probe.made:
            book = probe.made[stage].books[stage]
            flow[stage] = float(book.inputs), float(book.outcomes.get(str(Outcome.KEPT), 0))
        rows = flow[stage][1]
    flow["tokenizer"] = flow["tokens"] = rows, rows
    return flow


def links_of(probe: Probe, web: Web) -> tuple[float, float, float]:
    """Link posts, links, and links that are kept. Raises ConfigError: nobody knows."""
    if "links" in probe.made:
        kept = str(Outcome.KEPT)
        posts, links = (probe.made["links"].books[name] for name in ("submissions", "links"))
        return float(posts.outcomes.get(kept, 0)), float(links.inputs), float(links.outcomes.get(kept, 0))
    if probe.submissions is not None:
        return probe.submissions.posts, probe.submissions.links, probe.submissions.kept
    if not web.posts:
        raise ConfigError("links.bigquery is not asked by a plan: say how many link posts it holds, --assume posts=N")
    return web.posts, web.posts, web.posts


def found_share(probe: Probe, kept: float, web: Web) -> float:
    """The share of kept links that have a page: in WARC files as many as they hold, on the web `found` of the rest."""
    held = min(1.0, probe.captures.kept / kept) if probe.captures and kept else 0.0
    elsewhere = web.found if probe.crawls or not probe.captures else 0.0  # or in Common Crawl
    return held + (1 - held) * elsewhere


# --- the crawl


@dataclass(frozen=True)
class Queue:
    """The host with most links, and the seconds that politeness asks for them, whatever the number of workers."""

    host: str
    links: float
    seconds: float


@dataclass(frozen=True)
class Crawl:
    """The requests of a crawl, the seconds of its longest queue, and those that one crawl needs to send them all.

    `spared`: the links that `pages.most_per_host` leaves out. `limit`: with which its longest queue would take no
    longer than all requests, and `beyond`: the links that this would leave out; 0 where it takes no longer anyway.
    """

    requests: float
    longest: Queue | None
    work_s: float
    spared: float
    limit: int = 0
    beyond: float = 0.0

    def seconds(self, crawls: float) -> float:
        """How long it takes, in so many crawls at once: one host is asked by one of them."""
        return max(self.longest.seconds if self.longest else 0.0, self.work_s / max(1.0, crawls))


def crawl_of(hosts: Mapping[str, float], links: float, settings: Settings, costs: Costs) -> Crawl:
    """What a crawl of `links` takes. `hosts`: the links of those hosts that are known, of which nobody else's are.

    It is done when its longest queue is, and when its connections have carried all its requests, or its core has.
    """
    pages, web = settings.pages, costs.web
    most = pages.most_per_host or math.inf
    asked = {host: min(count, most) for host, count in hosts.items()}
    total = sum(asked.values()) if hosts else links
    requests = total * web.requests + len(hosts)
    work_s = requests * max(web.latency_s / pages.connections, costs.code.request_s)
    spared = sum(hosts.values()) - sum(asked.values())
    longest = max(asked, key=lambda host: asked[host], default=None)
    if longest is None:
        return Crawl(requests, None, work_s, spared)
    turn_s = (pages.gap_s + web.latency_s) * web.requests
    queue = Queue(longest, asked[longest], asked[longest] * turn_s)
    limit = max(1, math.ceil(work_s / turn_s)) if queue.seconds > work_s else 0
    beyond = sum(max(0.0, count - limit) for count in asked.values()) if limit else 0.0
    return Crawl(requests, queue, work_s, spared, limit, beyond)
