"""A build whose every pipeline is built as a job of Dataflow, as in a dry run, and then done in this process."""

import ast
import base64
import bz2
import traceback
from collections import namedtuple
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from apache_beam.portability.api import beam_runner_api_pb2 as proto

from pipeline.shards.outcomes import DryRun
from pipeline.shards.runner import BeamRun, PlainRun
from pipeline.shards.running import Running

ROOT = Path(__file__).resolve().parents[1]
Job = namedtuple("Job", "stage place graph spec")


@dataclass(frozen=True)
class Rehearsal(BeamRun):
    """Builds the job of each pipeline, and does its work in this process; keeps the jobs and the blocks that cross."""

    stages: list = field(default_factory=list)
    jobs: list = field(default_factory=list)
    blocks: dict = field(default_factory=dict)

    def map_shards(self, function, tasks, heavy=False):
        with suppress(DryRun):
            super().map_shards(function, tasks, heavy)
        PlainRun().map_shards(function, tasks)

    def exchange(self, scatter, sources, gather, targets, heavy=False):
        with suppress(DryRun):
            super().exchange(scatter, sources, gather, targets)

        sender = f"{scatter.func.__module__.rpartition('.')[2]}.{scatter.func.__name__}"

        def seen(source):
            for places, table in scatter(source):
                self.blocks.setdefault(sender, []).append(table)
                yield places, table

        PlainRun().exchange(seen, sources, gather, targets)

    def pipeline(self, job=None):
        made = super().pipeline().pipeline

        def kept(finish):
            try:
                finish()
            finally:
                (spec,) = self.scratch.glob(".job-*")
                graph = made.runner.job.proto_pipeline
                self.jobs.append(Job(self.stages[-1], asked_at(), graph, spec.read_bytes()))

        return Running(made, kept)


def asked_at():
    """Where the code of a stage asks for the pipeline that is being built: file, line. None: a test asks."""
    house = ROOT / "pipeline"
    called = ((Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_stack(None))
    inside = ((path.relative_to(house).as_posix(), line) for path, line in called if path.is_relative_to(house))
    return next(((name, line) for name, line in inside if not name.startswith("shards/")), None)


def requests():
    """Every place in the code of the stages that asks for a pipeline of ours."""
    for path in [*(ROOT / "pipeline").glob("*.py"), *(ROOT / "pipeline" / "fetch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            asked = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if asked and node.func.attr in ("map_shards", "exchange"):
                yield path.relative_to(ROOT / "pipeline").as_posix(), node.lineno


def payloads(graph):
    """What workers unpickle for each step of a graph: the step, and its pickle as Beam packs it (bzip2 in base 64)."""
    for step in graph.components.transforms.values():
        if step.spec.urn == "beam:transform:pardo:v1":
            yield step.unique_name, proto.ParDoPayload.FromString(step.spec.payload).do_fn.payload


def bare(graph):
    """The bytes of a graph, and of all that is packed in it."""
    packed = [bz2.decompress(base64.b64decode(payload)) for _, payload in payloads(graph)]
    return b"\n".join([graph.SerializeToString(), *packed])
