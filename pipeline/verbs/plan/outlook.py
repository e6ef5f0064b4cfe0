"""A plan as a person needs it: the stages, what was assumed and how to say better, and what will not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from pipeline import preflight
from pipeline.build import STAGES
from pipeline.config import Settings
from pipeline.counts import counted
from pipeline.shards import inputs
from pipeline.shards.engine import LOCAL
from pipeline.submissions import windows
from pipeline.verbs.plan.costs import Costs
from pipeline.verbs.plan.estimate import HOUR_S, Plan, planned, text_bytes_of
from pipeline.verbs.plan.graph import graph_bytes, refuse_heavy
from pipeline.verbs.plan.machines import Machines, here
from pipeline.verbs.plan.probe import Probe, probe
from pipeline.verbs.plan.vocabulary import vocabulary_notes


@dataclass(frozen=True)
class Assumption:
    """A number that neither a sample nor an artefact gave; `--assume NAME=NUMBER` gives a better one."""

    name: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class Outlook:
    """The plan, what it stands on, and what a person should know before building."""

    plan: Plan
    machines: Machines
    sampled: tuple[str, ...]
    assumptions: tuple[Assumption, ...]
    notes: tuple[str, ...]
    graph_bytes: int | None  # of the job graph; None: the local runner has no limit
    price: float | None  # of all vCPU hours, in the currency of the price that was named


def outlook(
    root: Path,
    settings: Settings,
    costs: Costs = Costs(),  # noqa: B008 - frozen
    machines: Machines | None = None,
    price: float | None = None,
) -> Outlook:
    """What a build of `root` will cost, on the machine that plans unless others are named; `price`: of one vCPU hour.

    Raises ConfigError (a job graph that the service would not take; links from BigQuery that nobody counted),
    InputError, IntegrityError.
    """
    warnings = preflight.check(root, settings, STAGES)
    weight = weighed(root, settings)
    machines = machines or here(root, settings.build.workers)
    found = probe(root, settings)
    plan = planned(found, settings, costs, machines)
    text_bytes = next(stage.rows for stage in plan.stages if stage.name == "corpus") * text_bytes_of(found, costs.web)
    of_vocabulary = vocabulary_notes(found, settings, text_bytes, costs.code)
    return Outlook(
        plan,
        machines,
        tuple(looked_at(found)),
        tuple(number for number in every_number(costs) if number.name in in_use(found, settings)),
        (
            *notes(plan, found, settings, machines),
            *of_vocabulary,
            *(warning for warning in warnings if not warning.startswith("disk:")),
        ),
        weight,
        None if price is None else price * plan.vcpu_hours,
    )


def weighed(root: Path, settings: Settings) -> int | None:
    """The bytes of the widest job graph, for a runner that is not the local one. Raises ConfigError: too many."""
    if settings.build.runner == LOCAL:
        return None
    named = ((settings.links.submissions, "links.submissions"), (settings.pages.warc, "pages.warc"))
    files = max((inputs.matching(globs, root, setting, []) for globs, setting in named), key=len)
    size = graph_bytes(root, settings.build.runner, files, settings.build.shards)
    refuse_heavy(size)
    return size


def every_number(costs: Costs) -> Iterator[Assumption]:
    """All that a plan takes on trust."""
    for part in (costs.web, costs.code):
        for field in fields(part):
            yield Assumption(field.name, getattr(part, field.name), field.metadata["unit"], field.metadata["source"])


def looked_at(found: Probe) -> Iterator[str]:
    """What the plan rests on, a line each."""
    if found.made:
        yield f"the manifests of {', '.join(found.made)}"
    samples = (("submission line", found.submissions), ("WARC record", found.captures))
    for noun, sampled in samples:
        if sampled is not None:
            share = "all" if sampled.whole else "a sample"
            yield f"{counted(sampled.sampled, noun)} read, {share} of {counted(sampled.files, 'file')}"
    if found.texts is not None:
        texts, done = ("document", "read") if found.texts.cpu_s is None else ("page", "extracted")
        yield f"{counted(found.texts.sampled, texts)} {done}"


def in_use(found: Probe, settings: Settings) -> set[str]:
    """The names of what had to be assumed about the inputs and the web."""
    crawled = {"found", "latency_s", "requests"} if found.crawls else set()
    indexed = {"found"} if settings.pages.commoncrawl and "pages" not in found.made else set()
    texts = {"text_share", "text_bytes", "passing", "page_bytes"} if found.texts is None else set()
    copies = set() if "corpus" in found.made else {"copies"}
    posts = set() if "links" in found.made or found.submissions else {"posts"}
    return crawled | indexed | texts | copies | posts


def notes(plan: Plan, found: Probe, settings: Settings, machines: Machines) -> Iterator[str]:
    """What will not fit, or not work as it stands."""
    shards = settings.build.shards
    if "links" not in found.made and not 0.5 <= plan.shards / shards <= 2 and max(plan.shards, shards) > 4:
        right = f"about {plan.shards:,} are right for so many links"
        yield f"build.shards is {shards:,}; {right}, and it is fixed once they stand"
    if found.submissions is not None and not found.submissions.whole:
        yield "links posted twice were told within the sample only: there are at most as many as shown"
    if found.submissions is not None and found.submissions.window > windows.MODEST_BYTES:
        window = found.submissions.window
        named = settings.build.windows_bytes or int(windows.SHARE * machines.memory_bytes)
        many = windows.at_once(window, named)
        yield (
            f"dumps written with zstd --long={math.ceil(math.log2(window))} ask {window / 1e9:.1f} GB of memory of "
            f"each reader: at most {many:,} at once on a machine, since build.windows_bytes is {named / 1e9:.1f} GB"
        )
    for stage in plan.stages:
        shards_held = stage.shard_memory_bytes * machines.vcpus if machines.service else stage.memory_bytes
        for held, mend in (
            (shards_held, "more shards, fewer workers, or more memory"),
            (stage.alone_memory_bytes * machines.service, "one process sees all shards: machines with more memory"),
        ):
            if held > machines.memory_bytes:
                size = f"{held / 1e9:.1f} GB of memory on a machine with {machines.memory_bytes / 1e9:.1f} GB"
                yield f"{stage.name}: {size}; {mend}"
    if machines.disk_bytes is not None and plan.disk_bytes > machines.disk_bytes:
        yield f"disk: {plan.disk_bytes / 1e9:.1f} GB are needed, {machines.disk_bytes / 1e9:.1f} GB are free"
    if plan.crawl and plan.crawl.longest is None:
        yield "no host is known, so queues are left out, and the crawl will take longer: build links, then plan again"
    if plan.crawl and plan.crawl.spared:
        spared = counted(plan.crawl.spared, "link")
        yield f"pages.most_per_host leaves out {spared}; raise it another day to ask for them"
    if plan.crawl and plan.crawl.longest and plan.crawl.longest.seconds > max(HOUR_S, 2 * plan.crawl.work_s):
        queue, rest_h, later = plan.crawl.longest, plan.crawl.work_s / HOUR_S, plan.crawl.beyond
        yield (
            f"{queue.host} alone takes {queue.seconds / HOUR_S:,.1f} h, all requests {rest_h:,.1f} h: --set "
            f"pages.most_per_host={plan.crawl.limit} ends with these, and leaves {counted(later, 'link')} for later"
        )
