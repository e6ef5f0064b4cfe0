"""What a row, a byte and a second cost: every number that a plan takes on trust, with its unit and its source.

Choice: one frozen value whose fields carry their sources, so that a plan can say where each number comes from and the
command line can change any of them by name (`--assume latency_s=0.3`). Two kinds: what the web is like, which is
assumed until a probe or an artefact says better, and what this code costs, which benchmarks measured on 2 cores of one
machine. Cost: another machine has other seconds. Alternative: time every stage on the user's machine, in minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pipeline import config
from pipeline.shards.outcomes import ConfigError

BENCH = "tests/benchmarks/bench_plan.py --measure WORK"
LINKS = "tests/benchmarks/bench_links.py --links 1 50"
GROWTH = "tests/benchmarks/bench_growth.py FOLDER 500:20000 1000:20000"
WIKIPEDIA = "206 articles of English Wikipedia, webtext reference wikipedia"
SEEN_OFTEN = "1, 2, 4, 8 and 16 MB of English posts: 444, 796, 1,406, 2,250 and 3,750 merges"
GUESS = "a guess"


def known(value: float, unit: str, source: str) -> Any:
    """A field with its default, unit and source."""
    return field(default=value, metadata={"unit": unit, "source": source})


@dataclass(frozen=True)
class Web:
    """What the inputs and the web are like, where neither a probe nor an artefact says better."""

    posts: float = known(0, "link posts in the BigQuery table", "it is not asked: set it")
    found: float = known(0.43, "pages a kept link, crawled", "jcpeterson/openwebtext: 10 of 23 million in 2019")
    latency_s: float = known(1.0, "seconds a request, answer included", GUESS)
    requests: float = known(1.3, "requests a link, redirects included", GUESS)
    page_bytes: float = known(40_700, "bytes a page in WARC, gzip", f"701 real pages, {BENCH}")
    text_share: float = known(0.998, "documents with text a page", f"516 real pages, {BENCH}")
    text_bytes: float = known(8_400, "bytes of text a document", f"515 real documents, {BENCH}")
    passing: float = known(0.93, "documents that the rules of [corpus] keep", f"515 real documents, {BENCH}")
    copies: float = known(0.03, "documents that are copies", "C4's near duplicates, Lee et al. 2022, table 2")


@dataclass(frozen=True)
class Code:
    """What this code costs, on one core of the machine that the benchmarks ran on; memory and bytes on any."""

    start_s: float = known(4.1, "CPU s to start a stage", BENCH)
    start_memory: float = known(145e6, "bytes, a process with Beam", BENCH)
    line_s: float = known(4e-6, "CPU s a line of a dump", BENCH)
    post_s: float = known(28e-6, "CPU s a link post", BENCH)
    post_memory: float = known(1_200, "bytes a link post, up to links_memory", BENCH)
    post_block: float = known(140, "bytes a link post in a block, where no dump is sampled", BENCH)
    post_bytes: float = known(85, "bytes a link post, or a link, where no dump is sampled", BENCH)
    links_memory: float = known(560e6, "bytes at most, over start_memory", LINKS)
    record_s: float = known(220e-6, "CPU s a record of WARC", BENCH)
    warc_s: float = known(40e-9, "CPU s a byte of WARC, as it lies", BENCH)
    link_s: float = known(25e-6, "CPU s a kept link, pages found for it or not", BENCH)
    pages_memory: float = known(200e6, "bytes, before any link", BENCH)
    link_memory: float = known(5_000, "bytes a kept link of one shard", BENCH)
    capture_bytes: float = known(75, "bytes a capture or a page found, in scratch", BENCH)
    pointer_bytes: float = known(60, "bytes of a pointer to a page, beside its link's", BENCH)
    shard_scratch: float = known(9_000, "bytes a shard in scratch: schemas and receipts", BENCH)
    capture_block: float = known(165, "bytes a capture, shuffled", BENCH)
    request_s: float = known(0.8e-3, "CPU s a request of the crawl", "tests/benchmarks/bench_crawler.py")
    crawl_start_s: float = known(2.0, "CPU s for the rounds of a crawl", "the demo, tests/benchmarks/bench_plan.py")
    page_s: float = known(0.055, "CPU s a page extracted; a probe that has pages measures it", BENCH)
    worker_s: float = known(5.0, "CPU s to start a worker that extracts, its child included", BENCH)
    worker_memory: float = known(350e6, "bytes, a worker that extracts and its child", BENCH)
    document_memory: float = known(5_000, "bytes a document of one shard, and twice its text", BENCH)
    document_bytes: float = known(700, "bytes a document: signature and signals", BENCH)
    packed: float = known(0.44, "bytes of Parquet a byte of text", BENCH)
    corpus_start_s: float = known(7.6, "CPU s for the dozen phases of corpus", BENCH)
    corpus_memory: float = known(265e6, "bytes, before any document", BENCH)
    judge_s: float = known(60e-6, "CPU s a document of corpus", BENCH)
    band_block: float = known(260, "bytes a document that the rules keep, shuffled", BENCH)
    candidate_memory: float = known(6_000, "bytes a document of one shard of corpus", GROWTH)
    node_memory: float = known(60, "bytes a document where the ranking is asked: itself, loaded, and removals", GROWTH)
    elsewhere_s: float = known(1.2e-3, "CPU s a document of corpus.against, its bands included", "2,804 texts of 8 kB")
    elsewhere_bytes: float = known(600, "bytes a document of corpus.against, in scratch", "signature, hash, id: 592")
    vote_bytes: float = known(65, "bytes a document, in scratch", BENCH)
    corpus_bytes: float = known(150, "bytes a document of corpus beside its text", BENCH)
    dump_s: float = known(2.4e-6, "CPU s a byte of a Wikipedia dump, as it lies", WIKIPEDIA)
    dump_memory: float = known(9.7, "bytes held a byte of a dump, while its 8-grams are collected", WIKIPEDIA)
    dump_scratch: float = known(2.2, "bytes of 8-grams, in scratch, a byte of a dump", WIKIPEDIA)
    count_s: float = known(80e-9, "CPU s a byte of text: its pre-tokens counted", BENCH)
    merge_s: float = known(180e-6, "CPU s a merge learnt", BENCH)
    word_s: float = known(25e-6, "CPU s a distinct pre-token", BENCH)
    word_memory: float = known(500, "bytes a distinct pre-token", BENCH)
    word_bytes: float = known(7.7, "bytes a distinct pre-token, in scratch", BENCH)
    word_block: float = known(13, "bytes a distinct pre-token of one shard, shuffled", BENCH)
    heaps_k: float = known(2.05, "K of Heaps' law, distinct pre-tokens = K x bytes^beta", BENCH)
    heaps_beta: float = known(0.657, "beta of Heaps' law", BENCH)
    learnt_k: float = known(0.0107, "K of merges that are seen often = K x bytes of text^beta", SEEN_OFTEN)
    learnt_beta: float = known(0.77, "beta of the same", SEEN_OFTEN)
    tokenizer_memory: float = known(285e6, "bytes, before any word", BENCH)
    entry_bytes: float = known(115, "bytes of the tokenizer's files an entry", BENCH)
    encode_s: float = known(100e-9, "CPU s a byte of text: encoded, a hundredth of it twice", BENCH)
    token_bytes: float = known(4.4, "bytes of text a token, of 50,257 entries", BENCH)
    row_bytes: float = known(70, "bytes a document of tokens beside its ids", BENCH)
    tokens_memory: float = known(240e6, "bytes, before any document", BENCH)
    boot_s: float = known(240, "s until a Dataflow worker works, each stage", GUESS)


@dataclass(frozen=True)
class Costs:
    """All of them."""

    web: Web = Web()
    code: Code = Code()


def assumed(words: Iterable[str]) -> Costs:
    """The costs with `name=number` laid over them. Raises ConfigError: no such name, no number of at least 0."""
    costs = Costs()
    homes = {number.name: part for part in ("web", "code") for number in fields(getattr(costs, part))}
    for word in words:
        name, equals, given = word.partition("=")
        if not equals or name not in homes:
            raise ConfigError(f"--assume {word}: expected NAME=NUMBER{config.nearest(name, homes)}")
        try:
            value = float(given)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise ConfigError(f"--assume {word}: {given!r} is no number of at least 0")
        part = replace(getattr(costs, homes[name]), **{name: value})
        costs = replace(costs, **{homes[name]: part})
    return costs
