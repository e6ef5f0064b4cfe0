"""Estimates of what each stage will cost: arithmetic on what a probe found, and nothing else.

Choice: one short function a stage, linear in rows and bytes, with Heaps' law for the vocabulary; each reads like the
stage it stands for. Cost: right within a factor of two, not of ten per cent (`tests/benchmarks/bench_plan.py` tells).
Alternative: a fitted model, which nobody could correct by hand.

Seconds are those of the machines named; a crawl takes as long as its longest queue at least, whoever does it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pipeline.build import STAGES
from pipeline.config import Settings
from pipeline.pages import CRAWLS
from pipeline.shards.runner import HEAVY_S
from pipeline.tokenizer import TABLE_BYTES
from pipeline.verbs.plan.costs import Code, Costs, Web
from pipeline.verbs.plan.flow import Crawl, Flow, crawl_of, flow_of
from pipeline.verbs.plan.machines import Machines
from pipeline.verbs.plan.probe import Probe

HOUR_S = 3_600
SHARD_LINKS = 20_000  # config.BuildSettings.shards: "about 20,000 pages each"
VOCABULARY = 50_257  # that token_bytes was measured with
CORES = os.cpu_count() or 1
ALONE = {"corpus": 0.1, "tokenizer": 0.5}  # shares of the work that one process does: choosing copies, learning merges

SHARED = {"links", "tokenizer", "tokens"}  # beside documents: stages whose long work is nearly all for all cores


@dataclass(frozen=True)
class Stage:
    """The costs of one stage; all zero but rows where it stands (`made`)."""

    name: str
    made: bool
    rows_in: float
    rows: float  # that go on
    read_bytes: float = 0
    shuffled_bytes: float = 0
    disk_bytes: float = 0  # of the artefact
    scratch_bytes: float = 0
    memory_bytes: float = 0  # of all processes of a local build together, at its greatest
    shard_memory_bytes: float = 0  # of a process that holds one shard
    alone_memory_bytes: float = 0  # of the one process that sees all shards, where there is one
    cpu_s: float = 0
    requests: float = 0
    seconds: float = 0  # on the machines that were named


@dataclass(frozen=True)
class Plan:
    """What a build will cost."""

    stages: tuple[Stage, ...]
    crawl: Crawl | None
    shards: int  # as they should be: about 20,000 links each
    vcpu_hours: float  # of all stages, machines that wait included

    @property
    def seconds(self) -> float:
        """One stage after another."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def disk_bytes(self) -> float:
        """Of all artefacts and scratch that are still to be written."""
        return sum(stage.disk_bytes + stage.scratch_bytes for stage in self.stages)


def planned(probe: Probe, settings: Settings, costs: Costs, machines: Machines) -> Plan:
    """The plan of a build of everything that does not stand yet.

    Raises ConfigError: the links come from BigQuery alone, and nobody said how many there are.
    """
    flow = flow_of(probe, costs.web)
    hosts: Mapping[str, float] = probe.hosts or (probe.submissions.hosts if probe.submissions else {})
    crawl = crawl_of(hosts, flow["pages"][0], settings, costs) if probe.crawls else None
    shape = Shape(settings, probe, costs.web, costs.code, flow, crawl)
    made = [bare(name, shape) if name in probe.made else COSTS[name](shape) for name in STAGES]
    stages = [timed(stage, shape, machines) for stage in made]
    threads = machines.workers * machines.vcpus
    return Plan(
        tuple(stages),
        crawl,
        max(1, round(flow["links"][1] / SHARD_LINKS)),
        sum(stage.seconds for stage in stages) * threads / HOUR_S,
    )


# --- stages


@dataclass(frozen=True)
class Shape:
    """What the functions of all stages start from."""

    settings: Settings
    probe: Probe
    web: Web
    code: Code
    flow: Flow
    crawl: Crawl | None

    @property
    def shards(self) -> int:
        return self.settings.build.shards

    @property
    def text_bytes(self) -> float:
        """A document's."""
        return text_bytes_of(self.probe, self.web)

    @property
    def page_bytes(self) -> float:
        """A page's, as it lies in WARC."""
        found = self.probe.texts.page_bytes if self.probe.texts else None
        return found or self.web.page_bytes

    @property
    def link_bytes(self) -> float:
        """A row's of links, as it lies."""
        if made := self.probe.made.get("links"):
            return sum(stamp.bytes for stamp in made.files.values()) / max(1, made.books["links"].inputs)
        return self.probe.submissions.link_bytes if self.probe.submissions else self.code.post_bytes

    def a_shard(self, rows: float) -> float:
        """How many of some rows one shard holds."""
        return rows / self.shards


def bare(name: str, shape: Shape) -> Stage:
    """A stage that stands: nothing is to be done."""
    return Stage(name, True, *shape.flow[name])


def links(shape: Shape) -> Stage:
    """Every line is read, every post crosses twice."""
    code, found = shape.code, shape.probe.submissions
    posts, _ = shape.flow["links"]
    lines = found.rows if found else posts
    held = min(posts * code.post_memory, code.links_memory)
    window = found.window if found else 0  # of the one dump that is read at a time
    return Stage(
        "links",
        False,
        *shape.flow["links"],
        read_bytes=found.bytes if found else 0,
        shuffled_bytes=2 * posts * (found.block_bytes if found else code.post_block),
        disk_bytes=(found.links if found else posts) * (found.link_bytes if found else code.post_bytes),
        scratch_bytes=posts * (found.post_bytes if found else code.post_bytes),
        memory_bytes=code.start_memory + held + window,
        shard_memory_bytes=code.start_memory + held,
        cpu_s=code.start_s + lines * code.line_s + posts * code.post_s,
    )


def pages(shape: Shape) -> Stage:
    """Records of WARC files are indexed and cross once; what they lack is fetched, from the web or from an archive."""
    code, probe, crawl = shape.code, shape.probe, shape.crawl
    kept, found = shape.flow["pages"]
    records, warc, held = (
        (captures.records, captures.bytes, min(kept, captures.kept)) if (captures := probe.captures) else (0.0, 0, 0.0)
    )
    fetched = (found - held) * shape.page_bytes
    requests = crawl.requests if crawl else found - held  # Common Crawl's archive gives pages in single requests
    memory = code.pages_memory + shape.a_shard(kept) * code.link_memory
    return Stage(
        "pages",
        False,
        kept,
        found,
        read_bytes=warc + fetched,
        shuffled_bytes=records * code.capture_block,
        disk_bytes=kept * shape.link_bytes + found * code.pointer_bytes + fetched,
        scratch_bytes=(records + held) * code.capture_bytes + shape.shards * code.shard_scratch,
        memory_bytes=memory,
        shard_memory_bytes=memory,
        cpu_s=sum((
            code.start_s, records * code.record_s, warc * code.warc_s, kept * code.link_s, requests * code.request_s,
            code.crawl_start_s if crawl else 0.0,
        )),
        requests=requests,
    )  # fmt: skip


def documents(shape: Shape) -> Stage:
    """Every page is extracted, by workers of their own where there is more than one."""
    code, texts, build = shape.code, shape.probe.texts, shape.settings.build
    found, kept = shape.flow["documents"]
    workers = min(build.workers or CORES, build.shards)
    page_s = texts.cpu_s if texts and texts.cpu_s is not None else code.page_s
    held = code.worker_memory + shape.a_shard(found) * (code.document_memory + 2 * shape.text_bytes)
    return Stage(
        "documents",
        False,
        found,
        kept,
        read_bytes=found * shape.page_bytes,
        disk_bytes=found * (code.document_bytes + code.packed * shape.text_bytes),
        memory_bytes=code.start_memory + workers * held,
        shard_memory_bytes=held,
        cpu_s=code.start_s + workers * code.worker_s + found * page_s,
    )


def corpus(shape: Shape) -> Stage:
    """Documents vote, survivors meet as hashes and bands, one process chooses; other corpora are read and meet too."""
    code, dumps, beyond = shape.code, shape.probe.dump_bytes, shape.probe.elsewhere
    rows, kept = shape.flow["corpus"]
    survivors = rows * (shape.probe.texts.passing if shape.probe.texts else shape.web.passing)
    text = code.packed * shape.text_bytes
    grams = max(dumps * code.dump_scratch, shape.probe.reference_bytes)  # every voting process holds them
    shard_held = code.corpus_memory + shape.a_shard(rows) * code.candidate_memory
    ranking = rows * code.node_memory
    alone = code.corpus_memory + max(ranking, dumps * code.dump_memory)
    return Stage(
        "corpus",
        False,
        rows,
        kept,
        read_bytes=rows * (code.document_bytes + text) + dumps + shape.probe.elsewhere_bytes,
        shuffled_bytes=(survivors * (2 if beyond else 1) + beyond) * code.band_block,
        disk_bytes=kept * (text + code.corpus_bytes),
        scratch_bytes=sum((
            rows * code.vote_bytes, dumps * code.dump_scratch, shape.shards * code.shard_scratch,
            beyond * code.elsewhere_bytes,
        )),
        memory_bytes=max(alone, shard_held + max(ranking, grams)),
        shard_memory_bytes=shard_held + grams,
        alone_memory_bytes=alone,
        cpu_s=code.corpus_start_s + rows * code.judge_s + dumps * code.dump_s + beyond * code.elsewhere_s,
    )  # fmt: skip


def tokenizer(shape: Shape) -> Stage:
    """Shards exchange counts of their distinct pre-tokens; merges are learnt from those of all, in one process."""
    code, entries = shape.code, shape.settings.tokenizer.vocab_size
    rows, _ = shape.flow["tokenizer"]
    text = rows * shape.text_bytes
    words = distinct(text, code)
    of_shards = shape.shards * distinct(shape.a_shard(text), code)
    learnt = min(words, TABLE_BYTES / code.word_bytes)  # rarer ones do not reach the table
    held = code.tokenizer_memory + learnt * code.word_memory
    return Stage(
        "tokenizer",
        False,
        rows,
        rows,
        read_bytes=rows * code.packed * shape.text_bytes,
        shuffled_bytes=of_shards * code.word_block,
        disk_bytes=entries * code.entry_bytes,
        scratch_bytes=words * code.word_bytes,
        memory_bytes=held,
        shard_memory_bytes=code.tokenizer_memory,
        alone_memory_bytes=held,
        cpu_s=code.start_s + text * code.count_s + entries * code.merge_s + learnt * code.word_s,
    )


def text_bytes_of(probe: Probe, web: Web) -> float:
    """Bytes of text a document."""
    return probe.texts.text_bytes if probe.texts else web.text_bytes


def distinct(text_bytes: float, code: Code) -> float:
    """Distinct pre-tokens of so much text, by Heaps' law."""
    return code.heaps_k * text_bytes**code.heaps_beta if text_bytes else 0.0


def tokens(shape: Shape) -> Stage:
    """Every document is encoded; ids lie as they are, 2 bytes each up to 65,536 entries, and 4 beyond."""
    code, entries = shape.code, shape.settings.tokenizer.vocab_size
    rows, _ = shape.flow["tokens"]
    text = rows * shape.text_bytes
    a_token = max(1.0, code.token_bytes * math.log(entries) / math.log(VOCABULARY))
    size = text / a_token * (2 if entries <= 65_536 else 4)
    held = code.tokens_memory + 2 * shape.a_shard(size)
    return Stage(
        "tokens",
        False,
        rows,
        rows,
        read_bytes=rows * code.packed * shape.text_bytes,
        disk_bytes=size + rows * code.row_bytes,
        memory_bytes=held,
        shard_memory_bytes=held,
        cpu_s=code.start_s + text * code.encode_s,
    )


COSTS: dict[str, Callable[[Shape], Stage]] = {
    "links": links, "pages": pages, "documents": documents, "corpus": corpus, "tokenizer": tokenizer, "tokens": tokens,
}  # fmt: skip


# --- time


def timed(stage: Stage, shape: Shape, machines: Machines) -> Stage:
    """The stage with its seconds. At home only what is worth it knows more than one worker (`runner.HEAVY_S`)."""
    if stage.made:
        return stage
    crawl = shape.crawl if stage.name == "pages" else None
    at_once = min(shape.shards, machines.workers * machines.vcpus)
    if not machines.service and stage.name not in (*SHARED, "documents"):
        at_once = 1
    alone = ALONE.get(stage.name, 0.0) * stage.cpu_s  # what one process does, whoever waits
    rest = stage.cpu_s - alone
    short = min(rest, HEAVY_S) if stage.name in SHARED and not machines.service else 0.0  # nobody starts others for it
    seconds = alone + max(short, rest / at_once) + shape.code.boot_s * machines.service
    if crawl:
        seconds += crawl.seconds(shape.settings.pages.crawls or (min(CRAWLS, at_once) if machines.service else 1))
    return replace(stage, seconds=seconds)
