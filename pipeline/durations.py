"""Durations: how long a stage takes one process, roughly, so that a short one starts no jobs of an engine.

Choice: unit costs by what the stages before have counted, measured once on a slow machine; wrong by a factor of two
they still tell 2 s from 2 hours. Cost: a stage of which one shard is stale is taken for whole. Alternative: a job for
every step, 8 to 13 s each before any work, of which a build has over twenty.
"""

from __future__ import annotations

import math
from pathlib import Path

from pipeline.config import Settings
from pipeline.pages import QUEUED_S, may_crawl
from pipeline.shards import inputs, storage
from pipeline.shards.outcomes import IntegrityError
from pipeline.shards.receipts import Artefact
from pipeline.sources import find

# Seconds of one process, as docs/measurements.md has them. A dump holds a post in 140 bytes or more, packed; Parquet
# holds text in a third of its bytes.
POST_BYTE_S = 28e-6 / 140
WARC_BYTE_S = 1.9e-3 / 40_000
PAGE_S = 55e-3
DOCUMENT_S, SHARD_S = 140e-6, 0.2
WIKIPEDIA_BYTE_S = 1.8e-6
WORDS_BYTE_S = 3 * 80e-9
TOKENS_BYTE_S = 3 * 100e-9


def stage_s(stage: str, settings: Settings, root: Path) -> float:
    """How long a stage takes one process, by what the stages before it have made; infinite where nobody can say.

    Nobody can where others are asked over a network: a crawl, an archive, BigQuery.
    """
    shards = settings.build.shards
    try:
        match stage:
            case "links":
                return math.inf if settings.links.bigquery else POST_BYTE_S * size_of(find(settings.links, root, []))
            case "pages":
                return pages_s(settings, root)
            case "documents":
                return PAGE_S * Artefact(root, "pages", shards).kept(range(shards), "pages")
            case "corpus":
                documents = Artefact(root, "documents", shards).kept(range(shards), "documents")
                return DOCUMENT_S * documents + SHARD_S * shards + wikipedia_s(settings, root)
            case _:
                return (WORDS_BYTE_S if stage == "tokenizer" else TOKENS_BYTE_S) * corpus_bytes(root, shards)
    except (FileNotFoundError, IntegrityError):  # the stage itself will say what is missing
        return math.inf


def pages_s(settings: Settings, root: Path) -> float:
    """The same for `pages`, of archives that are files."""
    if settings.pages.commoncrawl or may_crawl(settings.pages):
        return math.inf
    archives = size_of(inputs.matching(settings.pages.warc, root, "pages.warc", []))
    return WARC_BYTE_S * archives + links_s(root, settings.build.shards)


def links_s(root: Path, shards: int) -> float:
    """How long it takes to go through the kept links once."""
    return QUEUED_S * Artefact(root, "links", shards).kept(range(shards), "links")


def wikipedia_s(settings: Settings, root: Path) -> float:
    """How long it takes to read the dumps that the corpus is compared with; they are read once."""
    if Artefact(root, "scratch/wikipedia", 1).done():
        return 0.0
    return WIKIPEDIA_BYTE_S * size_of(
        inputs.matching(settings.corpus.wikipedia_dumps, root, "corpus.wikipedia_dumps", [])
    )


def corpus_bytes(root: Path, shards: int) -> int:
    """How many bytes the shards of the corpus have."""
    corpus = Artefact(root, "corpus", shards)
    return sum(corpus.made(shard).files[corpus.file_name(shard, ".parquet")].bytes for shard in range(shards))


def size_of(paths: list[Path]) -> int:
    """How many bytes files have together."""
    return sum(map(storage.size_of, paths))
