"""Which stages, in which order, and what stands: a build makes the stale shards of each stage, one stage after another.

Choice: the order is a tuple and each stage decides for itself, from receipts, which of its shards are stale. Cost:
a stage starts when the one before has ended for all shards. Alternative: one Beam graph over all stages, which keeps
nothing when it fails.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pipeline.config import Settings
from pipeline.shards import engine, layout, lease, leftovers, progress, removals, storage
from pipeline.shards.outcomes import ConfigError, DryRun, EngineError
from pipeline.shards.receipts import Artefact, Manifest
from pipeline.shards.runner import BeamRun, Run, sized

ALONE = "so little work that it is done here, without a job of the engine (build.alone_s)"
STAGES = ("links", "pages", "documents", "corpus", "tokenizer", "tokens")


def build(
    root: Path,
    settings: Settings,
    until: str = STAGES[-1],
    *,
    run: Run | None = None,
    started: Callable[[str], None] = lambda _stage: None,
    ended: Callable[[str, Manifest], None] = lambda _stage, _manifest: None,
    noted: Callable[[str], None] = lambda _note: None,
) -> dict[str, Manifest]:
    """The manifests of all stages up to `until`, after making what is missing or stale.

    `run` is the runner to use (Beam, as the settings say, by default); `started` and `ended` are told of each stage
    that has something to do, once it has, `noted` of what is worth a word before the first.
    Raises BusyError (another run holds `root`), ConfigError, DryRun (the first stage with work to do built its first
    job), and whatever a stage raises.
    """
    from pipeline import durations, preflight  # noqa: PLC0415 - all that stages read with, which --help need not pay

    chosen = run or beam(settings, root, noted=noted)
    manifests: dict[str, Manifest] = {}
    with lease.lock(root) as check:
        leftovers.sweep(root)
        removals.refuse_unfinished(root)
        same_shards(root, settings.build.shards)
        stages = STAGES[: STAGES.index(until) + 1]
        for note in preflight.check(root, settings, stages):
            noted(note)
        for stage in stages:
            check()
            here = sized(chosen, partial(durations.stage_s, stage, settings, root))
            alone = () if here is chosen else (partial(noted, f"{stage}: {ALONE}"),)
            with progress.within(stage), begun(partial(started, stage), *alone) as made:
                try:
                    manifests[stage] = importlib.import_module(f"pipeline.{stage}").stage(settings, root, here)
                except (DryRun, EngineError) as error:
                    raise type(error)(f"{stage}: {error}") from error.__cause__
            if made:
                ended(stage, manifests[stage])
    return manifests


@contextmanager
def begun(*started: Callable[[], None]) -> Iterator[list[str]]:
    """What is made within the block, by name, as it begins; `started` are called before the first of it."""
    made: list[str] = []

    def hear(phase: progress.Phase | None) -> None:
        if phase is not None and phase.makes:
            for tell in started if not made else ():
                tell()
            made.append(phase.name)

    with progress.hearing(hear):
        yield made


def beam(
    settings: Settings,
    root: Path,
    options: tuple[str, ...] = (),
    noted: Callable[[str], None] = lambda _note: None,
) -> BeamRun:
    """The Beam runner that the settings name; `options` go to Beam, with a parallelism; blocks cross below `root`.

    `noted` is told how wide an engine will run, and later what is worth a word while it works.
    """
    workers = settings.build.workers or os.cpu_count() or 1
    options, wide = engine.widened(settings.build.runner, options, workers)
    if wide:
        noted(wide)
    return BeamRun(settings.build.runner, workers, options, root / "scratch", noted, settings.build.alone_s)


def artefact(root: Path, stage: str, shards: int) -> Artefact:
    """The artefact of a stage; the tokenizer is one, whatever the number of shards."""
    return Artefact(root, stage, 1 if stage == "tokenizer" else shards)


def same_shards(root: Path, shards: int) -> None:
    """Raise ConfigError when the working directory was begun with another number of shards, or in another layout."""
    begun = begun_with(root)
    if begun is None:
        layout.refuse_old(root)
    elif begun != shards:
        raise ConfigError(
            f"build.shards is {shards}, but {root} was begun with {begun}: set it back, or use a new working directory"
        )


def begun_with(root: Path) -> int | None:
    """The number of shards that a working directory was begun with; None where nothing is made yet."""
    made = storage.names(root / "links" / layout.RECEIPTS, "*-of-*.json")
    return int(made[0].stem.partition("-of-")[2]) if made else None


def shards_since(root: Path, name: str, since: float) -> int:
    """How many shards of an artefact got their receipt since a time (seconds since 1970): progress, from outside."""
    return storage.written_since(root / name / layout.RECEIPTS, "*.json", since)


def now() -> float:
    """The clock that file times are compared with."""
    return time.time()
