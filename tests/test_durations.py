"""Durations: a stage that takes one process a moment is told from one that is worth jobs of an engine."""

import math
import tomllib

import pytest
from msgspec.structs import replace

from pipeline import build, config, durations
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import PlainRun
from tests.own_data import SETTINGS, write_both


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A working directory of twelve pages in one WARC file, and its settings."""
    root = tmp_path_factory.mktemp("built")
    write_both(root, pages=12)
    heads = '[links]\nsubmissions = ["dump.ndjson"]\n[pages]\nwarc = ["pages.warc.gz"]\n'
    settings = config.parse(tomllib.loads(f"[build]\nshards = 2\n{heads}{SETTINGS}"))
    build.build(root, settings, run=PlainRun())
    return root, settings


def test_every_stage_of_a_small_build_takes_seconds(built):
    root, settings = built
    for stage in build.STAGES:
        assert 0 < durations.stage_s(stage, settings, root) < 5


def test_a_stage_takes_as_long_as_what_it_goes_through_is_long(built):
    root, settings = built
    kept = Artefact(root, "pages", 2).kept(range(2), "pages")
    assert durations.stage_s("documents", settings, root) == pytest.approx(kept * durations.PAGE_S)
    dump = root / "dump.ndjson"
    once = durations.stage_s("links", settings, root)
    (root / "again.ndjson").write_bytes(dump.read_bytes())
    both = config.parse(tomllib.loads('[build]\nshards = 2\n[links]\nsubmissions = ["*.ndjson"]\n'))
    assert durations.stage_s("links", both, root) == pytest.approx(2 * once)


def test_nobody_can_say_how_long_others_take_to_answer_or_what_is_not_made_takes(built, tmp_path):
    root, settings = built
    crawled = replace_pages(settings, crawl="missing", contact="me@mine.test")
    indexed = replace_pages(settings, commoncrawl=("index.parquet",), contact="me@mine.test")
    for asking in (crawled, indexed):
        assert durations.stage_s("pages", asking, root) == math.inf
    query = replace(settings, links=replace(settings.links, submissions=(), bigquery="a.b.c"))
    assert durations.stage_s("links", query, root) == math.inf
    for stage in build.STAGES[2:]:
        assert durations.stage_s(stage, settings, tmp_path) == math.inf


def replace_pages(settings, **changes):
    return replace(settings, pages=replace(settings.pages, **changes))
