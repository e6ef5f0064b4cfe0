"""How many rows go on from stage to stage, and what politeness asks of a crawl: arithmetic on what a probe found.

Choice: shares, one a stage, from books where an artefact stands, from the sample where not, and assumed where nothing
was seen. The crawl is laid out by the functions that will lay it out, `urls.shard_of` and `urls.split_hosts`. Cost:
hosts that the sample missed are in nobody's queue. Alternative: Zipf's law, which does not know that a host is blocked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline import urls
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
    """The requests of a crawl, the seconds that its shards take, each on its own, and its longest queue."""

    requests: float
    shard_s: tuple[float, ...]
    longest: Queue | None


def crawl_of(hosts: Mapping[str, float], links: float, settings: Settings, costs: Costs) -> Crawl:
    """What a crawl of `links` takes. `hosts`: the links of those hosts that are known, of which nobody else's are.

    A shard is done when its longest queue is, or when its connections have carried all its requests, or its core has.
    A host that is spread over k shards has 1/k of its links in each, asked k times as slowly.
    """
    shards, pages, web = settings.build.shards, settings.pages, costs.web
    total = sum(hosts.values())
    large = {host: round(count) for host, count in hosts.items() if count * shards > 2 * total}
    splits = urls.split_hosts(large, round(total), shards) if large else {}
    turn = (pages.gap_s + web.latency_s) * web.requests
    queues, held = [0.0] * shards, [0.0] * shards
    for host, count in hosts.items():
        home, pieces = urls.shard_of(host, "", shards, {}), splits.get(host, 1)
        for piece in range(pieces):
            shard = (home + piece) % shards  # as `urls.shard_of` spreads it
            queues[shard] = max(queues[shard], count * turn)
            held[shard] += count / pieces
    if not total:
        held = [links / shards] * shards
    robots = len(hosts) / shards
    asked = [links * web.requests + robots for links in held]
    work = max(web.latency_s / pages.connections, costs.code.request_s)
    longest = max(hosts, key=lambda host: hosts[host], default=None)
    return Crawl(
        sum(asked),
        tuple(max(queue, count * work) for queue, count in zip(queues, asked, strict=True)),
        Queue(longest, hosts[longest], hosts[longest] * turn) if longest else None,
    )
