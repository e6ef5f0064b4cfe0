"""The weight of the job graph that a service would be sent, which some limit.

Choice: the runner itself puts the pipeline of the widest exchange together, and it is weighed instead of run, so that
the weight is right however the runner names its work. Cost: Beam is imported, 3 s, where a service is meant.
Alternative: bytes a shard and a file as constants, which would be wrong with the next change of the runner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipeline import sources
from pipeline.shards.jobs import JobRef
from pipeline.shards.outcomes import ConfigError
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import BeamRun
from pipeline.shards.running import Running

LIMIT_BYTES = 10_000_000  # of a graph: cloud.google.com/dataflow/docs/request-quotas, "Jobs"
GROWTH = 4 / 3  # what is pickled is written in base 64
MARK = "0" * 32  # as long as a fingerprint


@dataclass(frozen=True)
class Weighing(BeamRun):
    """A run that weighs pipelines, and runs none."""

    weights: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """What is not run needs no options."""

    def pipeline(self, job: JobRef | None = None) -> Running:  # noqa: ARG002
        """A pipeline that is weighed where its `with` block ends."""
        made = BeamRun().pipeline().pipeline

        def weigh(_: Callable[[], None]) -> None:
            self.weights.append(len(made.to_runner_api().SerializeToString()))

        return Running(made, weigh)


def graph_bytes(root: Path, runner: str, files: Sequence[Path], shards: int) -> int:
    """The bytes of the graph in which so many files are read for so many shards: the widest of a build."""
    parsed = Artefact(root, "scratch/dumps", len(files), (MARK,) * len(files))
    submissions = Artefact(root, "scratch/submissions", shards)
    run = Weighing(runner)
    run.exchange(
        partial(sources.scatter_source, parsed, shards),
        [(Task(place, MARK), path) for place, path in enumerate(files)],
        partial(sources.gather_shard, submissions),
        [Task(shard, MARK) for shard in range(shards)],
    )
    return round(GROWTH * sum(run.weights))


def refuse_heavy(size: int) -> None:
    """Raise ConfigError for a graph that Dataflow would not take."""
    if size > LIMIT_BYTES:
        raise ConfigError(
            f"the job graph would have {size / 1e6:.1f} MB, and Dataflow takes {LIMIT_BYTES / 1e6:.0f}: Beam's "
            "options are all that can make it so large; give fewer or shorter ones"
        )
