"""The job graph is weighed as the runner would send it, and refused where a service would."""

from pathlib import Path

import pytest

from pipeline.shards.outcomes import ConfigError
from pipeline.shards.receipts import Task
from pipeline.verbs.plan.graph import LIMIT_BYTES, Weighing, graph_bytes, refuse_heavy


def never(task):
    raise AssertionError(task)


def test_what_is_weighed_does_not_run():
    run = Weighing("DataflowRunner")
    run.map_shards(never, [Task(0, "f")])
    run.map_shards(never, [Task(shard, "f") for shard in range(2)], heavy=True)
    assert len(run.weights) == 2
    assert min(run.weights) > 1_000


def test_a_build_of_a_whole_archive_would_be_taken(tmp_path):
    files = [Path(f"/crawl/CC-MAIN-2013-{number:05d}.warc.gz") for number in range(2_000)]
    size = graph_bytes(tmp_path, "DataflowRunner", files, 2_000)
    assert 1_000 < size < LIMIT_BYTES
    refuse_heavy(size)


def test_a_graph_over_the_limit_is_refused():
    refuse_heavy(LIMIT_BYTES)
    with pytest.raises(ConfigError, match=r"10\.5 MB, and Dataflow takes 10: Beam's options"):
        refuse_heavy(10_500_000)
