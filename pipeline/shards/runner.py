"""The only module that knows Apache Beam: what a stage may ask, on the runner the user names.

Choice: one element is one shard, and what crosses a shuffle is packed Arrow tables (see `crossing`), so that any Beam
runner carries the work and its cost over plain processes stays at a few per cent. What a pipeline does lies in a file
(`jobs.py`); its graph has one size. The in-process FnApiRunner is named explicitly: `DirectRunner` would try to
download a binary and fall back silently. Its shuffle lies in memory, at 5 to 6 times the bytes; so parcels are spilled
to files, and Beam carries where they lie. Cost: start-up of worker processes (8 s), so only work that takes one process
longer than HEAVY_S uses them; a shuffled byte is written and read once. Alternative: records as elements, which Beam's
books describe and its shuffles cannot afford.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from pipeline.shards import crossing, engine, jobs, progress, reach, schemas, spilling, transfer, workers
from pipeline.shards.crossing import Parcel
from pipeline.shards.engine import LOCAL
from pipeline.shards.failures import Guarded
from pipeline.shards.jobs import JobRef, JobSpec
from pipeline.shards.locations import location_of, name_of
from pipeline.shards.outcomes import ConfigError
from pipeline.shards.receipts import Task
from pipeline.shards.running import Running

Source = TypeVar("Source")
Block = schemas.Block

DATAFLOW = "DataflowRunner"
HEAVY_S = 20.0  # that work takes in one process, from which on worker processes are worth their start: two save 10


class Run(Protocol):
    """What a stage may ask of whoever runs it. Functions must be picklable: module-level, or partials of such."""

    def map_shards(self, function: Callable[[Source], None], tasks: Sequence[Source], heavy: bool = False) -> None:
        """Call `function` once per task; `heavy` work is worth the start-up of worker processes."""

    def exchange(
        self,
        scatter: Callable[[Source], Iterable[Block]],
        sources: Sequence[Source],
        gather: Callable[[Task, Iterable[pa.Table]], None],
        targets: Sequence[Task],
        heavy: bool = False,
    ) -> None:
        """`scatter` each source into blocks of rows; call `gather` once per target with tables of its rows.

        These come in any order; `heavy` as in `map_shards`. Rows for shards that are no target are dropped where they
        arise.
        """

    def export(self, query: str, schema: Any, folder: Path) -> None:
        """Write the rows of a BigQuery query as Parquet files with an Arrow `schema` into `folder`."""


@dataclass(frozen=True)
class PlainRun:
    """The same without Beam: in this process, in order. The oracle of the tests."""

    def map_shards(self, function: Callable[[Source], None], tasks: Sequence[Source], heavy: bool = False) -> None:  # noqa: ARG002
        for task in tasks:
            function(task)

    def exchange(
        self,
        scatter: Callable[[Source], Iterable[Block]],
        sources: Sequence[Source],
        gather: Callable[[Task, Iterable[pa.Table]], None],
        targets: Sequence[Task],
        heavy: bool = False,  # noqa: ARG002
    ) -> None:
        tables: dict[int, list[pa.Table]] = {task.shard: [] for task in targets}
        for source in sources:
            for places, table in scatter(source):
                for shard in tables.keys() & set(places.tolist()):
                    tables[shard].append(table.filter(pa.array(places == shard)))
        for task in targets:
            gather(task, tables[task.shard])

    def export(self, query: str, schema: Any, folder: Path) -> None:  # noqa: ARG002
        raise ConfigError("links.bigquery is read through Beam, and this run has none")


@dataclass(frozen=True)
class BeamRun:
    """The same as Beam pipelines. `options` are Beam's own command-line options, passed through.

    `scratch` is where the local runner spills parcels while they cross; None: the system's folder for temporary files.
    `noted` is told what is worth a word while an engine works. What takes one process `alone_s` at most is done in this
    one, without a job of the engine; 0: nothing is.
    Raises ConfigError, before there is anything to do: a runner that Beam does not know, or what would be paid for in
    vain (see `refuse_unfit`).
    """

    runner: str = LOCAL
    workers: int = 1
    options: tuple[str, ...] = field(default=())
    scratch: Path | None = None
    noted: Callable[[str], None] = lambda _note: None
    alone_s: float = 0.0

    def __post_init__(self) -> None:
        if self.options or self.runner != LOCAL:
            refuse_unfit(self.runner, self.options, self.scratch)

    def map_shards(self, function: Callable[[Source], None], tasks: Sequence[Source], heavy: bool = False) -> None:
        if not tasks:
            return
        one_piece = len(tasks) == 1 and not heavy and self.alone_s > 0  # one process would do it there as well
        run = self.alone() if one_piece else self
        with run.stored(JobSpec(function, list(tasks), makes=jobs.made_of(tasks))) as job:
            if run.runner == LOCAL and heavy and min(run.workers, len(tasks)) > 1:
                with workers.lifeline(run.scratch) as line:
                    mapped(run.local_workers(line), job, spread=True)
            else:
                mapped(run.pipeline(job), job, spread=run.runner != LOCAL)
        run.others_worked()

    def exchange(
        self,
        scatter: Callable[[Source], Iterable[Block]],
        sources: Sequence[Source],
        gather: Callable[[Task, Iterable[pa.Table]], None],
        targets: Sequence[Task],
        heavy: bool = False,
    ) -> None:
        if not targets:
            return
        bundles = crossing.bundles(len(sources), here=self.runner == LOCAL)
        spec = JobSpec(scatter, list(sources), gather, list(targets), bundles, jobs.made_of(targets))
        with self.stored(spec) as job, self.spilling() as folder:
            if self.runner == LOCAL and heavy and min(self.workers, len(sources)) > 1:
                with workers.lifeline(self.scratch) as line:
                    exchanged(self.local_workers(line), job, folder, spread=True)
            else:
                exchanged(self.pipeline(job), job, folder, spread=self.runner != LOCAL)
        self.others_worked()

    def export(self, query: str, schema: Any, folder: Path) -> None:
        """The same, through Beam's source. Raises ConfigError: Google's client is not installed."""
        import apache_beam as beam

        if find_spec("apitools") is None:
            raise ConfigError("links.bigquery needs Google's client; run: pip install 'webtext[gcp]'")
        if location_of(folder) is None:
            folder.mkdir(parents=True, exist_ok=True)
        with self.pipeline() as pipeline:
            rows = pipeline | "query" >> bigquery_source(query)
            rows | "write" >> beam.io.WriteToParquet(name_of(folder / "rows"), schema, file_name_suffix=".parquet")
        self.others_worked()

    def alone(self) -> BeamRun:
        """The same in this process, but for a dry run, which shows a job."""
        dry = any(word.partition("=")[0] == "--dry_run" for word in self.options)
        if self.runner == LOCAL or dry:
            return self
        return BeamRun(scratch=self.scratch, noted=self.noted)

    @contextmanager
    def stored(self, spec: JobSpec) -> Iterator[JobRef]:
        """The reference of a job, while the block lasts; what its workers told goes with them, however it ends."""
        try:
            with jobs.stored(spec, self.scratch, elsewhere=self.runner != LOCAL) as job:
                yield job
        finally:
            progress.forget(self.scratch)

    def others_worked(self) -> None:
        """Look again at a directory on an object store: what other processes wrote is not known to this one."""
        progress.forget(self.scratch)
        if self.scratch is not None:
            transfer.renew(self.scratch)

    @contextmanager
    def spilling(self) -> Iterator[Path | None]:
        """A new folder for the parcels of one exchange, gone after it; None: the runner has a shuffle of its own."""
        if self.runner != LOCAL:
            yield None
            return
        if self.scratch is not None:
            self.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="exchange-", dir=self.scratch) as folder:
            yield Path(folder)

    def pipeline(self, job: JobRef | None = None) -> Running:
        """A pipeline that runs where its `with` block ends. Raises ConfigError: no such runner, unknown options."""
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        if self.runner == LOCAL:
            from apache_beam.runners.portability.fn_api_runner import FnApiRunner

            return Running(beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(list(self.options))))
        try:
            # not the state of `__main__`, which for Dataflow would be pickled: all that runs there is installed there
            words = [f"--runner={self.runner}", "--no_save_main_session", *self.options]
            pipeline = beam.Pipeline(options=PipelineOptions(words))
        except ValueError as error:
            raise ConfigError(f"build.runner: {error}") from None
        return Running(pipeline, job=job, noted=self.noted)

    def local_workers(self, line: Path) -> Running:
        """The same in worker processes of this machine, on a lifeline."""
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner
        from apache_beam.transforms.environments import SubprocessSDKEnvironment

        progress.await_workers()
        main = "from apache_beam.runners.worker.sdk_worker_main import main; main([])"
        environment = SubprocessSDKEnvironment.from_command_string(workers.command(line, main))
        options = PipelineOptions([*self.options, f"--direct_num_workers={self.workers}"])
        return Running(beam.Pipeline(runner=FnApiRunner(environment), options=options), workers.watched)


def sized(run: Run, seconds: Callable[[], float]) -> Run:
    """`run`, or the same in this process, where work that takes one so long is not worth a job of an engine."""
    if isinstance(run, BeamRun) and run.runner != LOCAL and run.alone_s and seconds() <= run.alone_s:
        return run.alone()
    return run


def at_once(run: Run) -> int | None:
    """How many tasks a run does at a time: 1 in this process; None: an engine's, of which nobody has said so."""
    return engine.at_once(run.options) if isinstance(run, BeamRun) and run.runner != LOCAL else 1


def refuse_unfit(runner: str, options: Sequence[str], scratch: Path | None) -> None:
    """Raise ConfigError: no such runner, an option that it does not know or obey, or workers without package or folder.

    A runner with a job service learns its options from there; what is no option of Beam goes to it unseen.
    """
    from apache_beam.options.pipeline_options import PipelineOptions, TestOptions, WorkerOptions
    from apache_beam.runners.runner import create_runner

    try:
        kind = LOCAL if runner == LOCAL else type(create_runner(runner)).__name__
    except (ValueError, ImportError, AttributeError) as error:
        raise ConfigError(f"build.runner: {error}") from None
    if kind in (LOCAL, DATAFLOW):
        refuse_unknown(options)
    parsed = PipelineOptions(list(options))
    if kind != LOCAL:
        reach.refuse_job_service(kind, parsed.get_all_options())
    dry = parsed.view_as(TestOptions).dry_run
    if kind != DATAFLOW and dry:
        raise ConfigError(f"--dry_run: {runner} would build all the same; {DATAFLOW} obeys it")
    if kind == DATAFLOW and not parsed.view_as(WorkerOptions).sdk_container_image:
        wanted = "--sdk_container_image=…"
        raise ConfigError(f"{DATAFLOW}: name the image of its workers, which docker/worker.Dockerfile makes: {wanted}")
    if kind == DATAFLOW and not dry and (scratch is None or location_of(scratch) is None):
        raise ConfigError(f"{DATAFLOW}: its workers see no folder of this machine; work in a bucket: --dir gs://…")
    if kind == DATAFLOW and find_spec("apitools") is None:
        raise ConfigError(f"{DATAFLOW} needs Google's client; run: pip install 'webtext[gcp]'")


def flags() -> frozenset[str]:
    """The options of Beam that take no value, as `--streaming`."""
    from apache_beam.options.pipeline_options import PipelineOptions

    parsers: list[Any] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)  # hands out the parser of all options
    return frozenset(
        name for parser in parsers for act in parser._actions if act.nargs == 0 for name in act.option_strings
    )


def refuse_unknown(options: Sequence[str]) -> None:
    """Raise ConfigError for what is no option of Beam: a mistyped one of ours would be lost in silence."""
    from apache_beam.options.pipeline_options import PipelineOptions

    takers = ["", *(option if option.startswith("--") and "=" not in option else "" for option in options)]
    loose = [word for word, taker in zip(options, takers, strict=False) if not (word.startswith("--") or taker)]
    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            parsed = PipelineOptions(list(options))
            every, known = (parsed.get_all_options(retain_unknown_options=retain) for retain in (True, False))
    except SystemExit:  # how argparse refuses a value
        raise ConfigError(f"Beam's options: {printed.getvalue().strip().rpartition('error: ')[2]}") from None
    unknown = [f"--{name}" for name in every if name not in known] or loose
    if unknown:
        raise ConfigError(f"{unknown[0]}: neither an option of webtext build (see --help) nor of Beam")


def mapped(running: Running, job: JobRef, spread: bool) -> None:
    """Run a job that maps; `spread`: over several workers."""
    import apache_beam as beam

    with running as pipeline:
        positions = placed(pipeline | "job" >> beam.Create([0]), job, spread)
        positions | "make" >> beam.Map(Guarded(jobs.Make(job)))


def exchanged(running: Running, job: JobRef, folder: Path | None, spread: bool) -> None:
    """Run a job that exchanges; parcels cross in files of `folder`, if there is one.

    Types are named, so that what crosses is coded as a number and bytes, which every engine knows and none pickles.
    """
    import apache_beam as beam

    scatter: Callable[[int], Iterator[Parcel]] = jobs.Scatter(job)
    gather: Callable[[crossing.Keyed], None] = jobs.Gather(job)
    if folder is not None:
        scatter, gather = spilling.Spill(scatter, folder), spilling.Unspill(gather, folder)
    with running as pipeline:
        begun = pipeline | "job" >> beam.Create([0])
        sent = placed(begun, job, spread) | "scatter" >> parcel_map(scatter)
        empty = begun | "targets" >> parcel_map(jobs.Targets(job))
        grouped = (sent, empty) | "all" >> beam.Flatten() | "to their lane" >> beam.GroupByKey()
        grouped | "gather" >> beam.Map(Guarded(gather))


def placed(begun: Any, job: JobRef, spread: bool) -> Any:
    """The positions of a job's inputs, `spread` over workers or not."""
    import apache_beam as beam

    positions = begun | "positions" >> beam.FlatMap(Guarded(jobs.Positions(job))).with_output_types(int)
    return positions | "spread" >> beam.Reshuffle() if spread else positions


def parcel_map(function: Callable[[Any], Iterator[Parcel]]) -> Any:
    """A step that makes parcels."""
    import apache_beam as beam

    return beam.FlatMap(Guarded(function)).with_output_types(tuple[int, bytes])


def bigquery_source(query: str) -> Any:
    """Beam's source of the rows of a query, as dicts. Where it runs, and what it costs, Beam's options say."""
    import apache_beam as beam

    return beam.io.ReadFromBigQuery(query=query, use_standard_sql=True)
