"""The only module that knows Apache Beam: what a stage may ask, on the runner the user names.

Choice: one element is one shard, and what crosses a shuffle is packed Arrow blocks, so that any Beam runner carries
the work and its cost over plain processes stays at a few per cent. The in-process FnApiRunner is named explicitly:
`DirectRunner` would try to download a binary and fall back silently. Its shuffle lies in memory, at 5 to 6 times the
bytes; so blocks are spilled to files, and Beam carries where they lie. Cost: start-up of worker processes (8 s), so
only extraction uses them; a shuffled byte is written and read once. Alternative: records as elements, which Beam's
books describe and its shuffles cannot afford.
"""

from __future__ import annotations

import io
import json
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.shards import outcomes, workers
from pipeline.shards.outcomes import ConfigError, IntegrityError, WebTextError
from pipeline.shards.receipts import Task
from pipeline.shards.storage import PART, refused

Source = TypeVar("Source")
Block = tuple[int, bytes]

LOCAL = "FnApiRunner"
MARK = "webtext failure: "  # a worker's WebTextError travels as text, whatever the runner wraps it in


class Run(Protocol):
    """What a stage may ask of whoever runs it. Functions must be picklable: module-level, or partials of such."""

    def map_shards(self, function: Callable[[Task], None], tasks: Sequence[Task], heavy: bool = False) -> None:
        """Call `function` once per task; `heavy` work is worth the start-up of worker processes."""

    def exchange(
        self,
        scatter: Callable[[Source], Iterable[Block]],
        sources: Sequence[Source],
        gather: Callable[[Task, Iterable[bytes]], None],
        targets: Sequence[Task],
    ) -> None:
        """`scatter` each source into (shard, block); call `gather` once per target with all blocks of its shard.

        Blocks come in any order. Blocks for shards that are no target are dropped where they arise.
        """

    def export(self, query: str, schema: Any, folder: Path) -> None:
        """Write the rows of a BigQuery query as Parquet files with an Arrow `schema` into `folder`."""


@dataclass(frozen=True)
class PlainRun:
    """The same without Beam: in this process, in order. The oracle of the tests."""

    def map_shards(self, function: Callable[[Task], None], tasks: Sequence[Task], heavy: bool = False) -> None:  # noqa: ARG002
        for task in tasks:
            function(task)

    def exchange(
        self,
        scatter: Callable[[Source], Iterable[Block]],
        sources: Sequence[Source],
        gather: Callable[[Task, Iterable[bytes]], None],
        targets: Sequence[Task],
    ) -> None:
        blocks: dict[int, list[bytes]] = {task.shard: [] for task in targets}
        for source in sources:
            for shard, block in scatter(source):
                if shard in blocks:
                    blocks[shard].append(block)
        for task in targets:
            gather(task, blocks[task.shard])

    def export(self, query: str, schema: Any, folder: Path) -> None:  # noqa: ARG002
        raise ConfigError("links.bigquery is read through Beam, and this run has none")


@dataclass(frozen=True)
class BeamRun:
    """The same as Beam pipelines. `options` are Beam's own command-line options, passed through.

    `scratch` is where the local runner spills blocks while they cross; None: the system's folder for temporary files.
    Raises ConfigError for an option that the local runner does not know; others learn theirs from their job service.
    """

    runner: str = LOCAL
    workers: int = 1
    options: tuple[str, ...] = field(default=())
    scratch: Path | None = None

    def __post_init__(self) -> None:
        if self.options and self.runner == LOCAL:
            refuse_unknown(self.options)

    def map_shards(self, function: Callable[[Task], None], tasks: Sequence[Task], heavy: bool = False) -> None:
        if not tasks:
            return
        if self.runner == LOCAL and heavy and min(self.workers, len(tasks)) > 1:
            with workers.lifeline(self.scratch) as line:
                mapped(self.local_workers(line), function, tasks, spread=True)
        else:
            mapped(self.pipeline(), function, tasks, spread=self.runner != LOCAL)

    def exchange(
        self,
        scatter: Callable[[Source], Iterable[Block]],
        sources: Sequence[Source],
        gather: Callable[[Task, Iterable[bytes]], None],
        targets: Sequence[Task],
    ) -> None:
        if not targets:
            return
        import apache_beam as beam

        wanted = {task.shard: task for task in targets}
        scattered: Callable[[Any], Iterator[tuple[int, Any]]] = Scatter(scatter, frozenset(wanted))
        with self.spilling() as folder, self.pipeline() as pipeline:
            if folder is not None:
                scattered, gather = Spill(scattered, folder), Unspill(gather, folder)
            # every target gets an empty block, so that one that nothing is sent to is gathered too
            empty = pipeline | "targets" >> beam.Create([(shard, None) for shard in wanted])
            inputs = pipeline | "sources" >> beam.Create(list(sources))
            if self.runner != LOCAL:
                inputs = inputs | "spread" >> beam.Reshuffle()
            blocks = inputs | "scatter" >> beam.FlatMap(Guarded(scattered))
            grouped = (blocks, empty) | "all" >> beam.Flatten() | "to their shard" >> beam.GroupByKey()
            grouped | "gather" >> beam.Map(Guarded(Gather(gather, wanted)))

    def export(self, query: str, schema: Any, folder: Path) -> None:
        """The same, through Beam's source. Raises ConfigError: Google's client is not installed."""
        import apache_beam as beam

        if find_spec("apitools") is None:
            raise ConfigError("links.bigquery needs Google's client; run: pip install 'webtext[gcp]'")
        folder.mkdir(parents=True, exist_ok=True)
        with self.pipeline() as pipeline:
            rows = pipeline | "query" >> bigquery_source(query)
            rows | "write" >> beam.io.WriteToParquet(str(folder / "rows"), schema, file_name_suffix=".parquet")

    @contextmanager
    def spilling(self) -> Iterator[Path | None]:
        """A new folder for the blocks of one exchange, gone after it; None: the runner has a shuffle of its own."""
        if self.runner != LOCAL:
            yield None
            return
        if self.scratch is not None:
            self.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="exchange-", dir=self.scratch) as folder:
            yield Path(folder)

    def pipeline(self) -> Running:
        """A pipeline that runs where its `with` block ends. Raises ConfigError: no such runner, unknown options."""
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        if self.runner == LOCAL:
            from apache_beam.runners.portability.fn_api_runner import FnApiRunner

            return Running(beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(list(self.options))))
        try:
            return Running(beam.Pipeline(options=PipelineOptions([f"--runner={self.runner}", *self.options])))
        except ValueError as error:
            raise ConfigError(f"build.runner: {error}") from None

    def local_workers(self, line: Path) -> Running:
        """The same in worker processes of this machine, on a lifeline."""
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner
        from apache_beam.transforms.environments import SubprocessSDKEnvironment

        main = "from apache_beam.runners.worker.sdk_worker_main import main; main([])"
        environment = SubprocessSDKEnvironment.from_command_string(workers.command(line, main))
        options = PipelineOptions([*self.options, f"--direct_num_workers={self.workers}"])
        return Running(beam.Pipeline(runner=FnApiRunner(environment), options=options), workers.watched)


def refuse_unknown(options: Sequence[str]) -> None:
    """Raise ConfigError for what is no option of Beam: a mistyped one of ours would be lost in silence."""
    from apache_beam.options.pipeline_options import PipelineOptions

    takers = ["", *(option if option.startswith("--") and "=" not in option else "" for option in options)]
    loose = [word for word, taker in zip(options, takers, strict=False) if not (word.startswith("--") or taker)]
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            parsed = PipelineOptions(list(options))
            every, known = (parsed.get_all_options(retain_unknown_options=retain) for retain in (True, False))
    except SystemExit:  # how argparse refuses a value
        raise ConfigError(f"Beam's options: {said.getvalue().strip().rpartition('error: ')[2]}") from None
    unknown = [f"--{name}" for name in every if name not in known] or loose
    if unknown:
        raise ConfigError(f"{unknown[0]}: neither an option of webtext build (see --help) nor of Beam")


def mapped(running: Running, function: Callable[[Task], None], tasks: Sequence[Task], spread: bool) -> None:
    """Run `function` on every task; `spread` them over several workers."""
    import apache_beam as beam

    with running as pipeline:
        shards = pipeline | "shards" >> beam.Create(list(tasks))
        if spread:
            shards = shards | "spread" >> beam.Reshuffle()
        shards | "make" >> beam.Map(Guarded(function))


def bigquery_source(query: str) -> Any:
    """Beam's source of the rows of a query, as dicts. Where it runs, and what it costs, Beam's options say."""
    import apache_beam as beam

    return beam.io.ReadFromBigQuery(query=query, use_standard_sql=True)


@dataclass(frozen=True)
class Scatter:
    """A scatter that drops blocks nobody waits for."""

    function: Callable[[Any], Iterable[Block]]
    wanted: frozenset[int]

    def __call__(self, source: Any) -> Iterator[Block]:
        for shard, block in self.function(source):
            if shard in self.wanted:
                yield shard, block


@dataclass(frozen=True)
class Gather:
    """A gather as Beam calls it: with a shard number and an iterable that must not become a list here."""

    function: Callable[[Task, Iterable[bytes]], None]
    tasks: dict[int, Task]

    def __call__(self, keyed: tuple[int, Iterable[bytes]]) -> None:
        shard, blocks = keyed
        self.function(self.tasks[shard], (block for block in blocks if block is not None))


@dataclass(frozen=True)
class Spill:
    """A scatter whose blocks go into a file a source; what crosses is (shard, (file, offset, length in bytes))."""

    function: Callable[[Any], Iterator[Block]]
    folder: Path

    def __call__(self, source: Any) -> Iterator[tuple[int, tuple[str, int, int]]]:
        path = (
            self.folder / f".{uuid.uuid4().hex}{PART}"
        )  # named as what a killed run leaves, so that a build sweeps it
        try:
            with path.open("wb") as file:
                for shard, block in self.function(source):
                    place = path.name, file.tell(), len(block)
                    file.write(block)
                    yield shard, place
        except OSError as error:
            raise refused(path, error) from error


@dataclass(frozen=True)
class Unspill:
    """A gather of what `Spill` sent: it reads one block at a time."""

    function: Callable[[Task, Iterable[bytes]], None]
    folder: Path

    def __call__(self, task: Task, places: Iterable[Any]) -> None:
        self.function(task, (self.block(*place) for place in places))

    def block(self, name: str, offset: int, length: int) -> bytes:
        """One block. Raises IntegrityError: the file has lost it."""
        with (self.folder / name).open("rb") as file:
            file.seek(offset)
            block = file.read(length)
        if len(block) != length:
            raise IntegrityError(f"{self.folder / name}: cut off below {offset + length} bytes while blocks crossed")
        return block


@dataclass(frozen=True)
class Guarded:
    """A function whose WebTextError survives the runner's wrapping: `Running` finds the mark and raises it again."""

    function: Callable[[Any], Any]

    def __call__(self, element: Any) -> Any:
        try:
            result = self.function(element)
            return result if not isinstance(result, Iterator) else list_guarded(result)
        except WebTextError as error:
            raise RuntimeError(marked(error)) from error


def list_guarded(blocks: Iterator[Any]) -> Iterator[Any]:
    """The same items; a WebTextError raised between them is marked."""
    try:
        yield from blocks
    except WebTextError as error:
        raise RuntimeError(marked(error)) from error


def marked(error: WebTextError) -> str:
    """A WebTextError as one line that can be found in any traceback."""
    return MARK + json.dumps([type(error).__name__, str(error)])


def unmarked(text: str) -> WebTextError | None:
    """The WebTextError in a traceback's text, if there is one."""
    _, found, rest = text.partition(MARK)
    if not found:
        return None
    (kind, message), _ = json.JSONDecoder().raw_decode(rest)
    error: WebTextError = getattr(outcomes, kind)(message)
    return error


@dataclass
class Running:
    """A context around a Beam pipeline that runs it at the end and turns marked failures back into what they were."""

    pipeline: Any
    run: Callable[[Callable[[], None]], None] = lambda body: body()

    def __enter__(self) -> Any:
        return self.pipeline

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            return
        try:
            self.run(lambda: self.pipeline.run().wait_until_finish())
        except WebTextError:
            raise
        except Exception as failure:
            original = unmarked(str(failure))
            if original is None:
                raise
            raise original from failure
