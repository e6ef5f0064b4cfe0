"""What a person sees while the command works: how far it is, how fast, and how long it will take.

Choice: progress is read from receipts by a thread, since Beam tells its counters at the end of a run only. Cost: a
shard's progress is seen when the shard is whole, or a segment of its crawl. Alternative: stages that print, each in
its own way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from pipeline.build import artefact, made_since, now, segments_since
from pipeline.cli.console import err, out, print_notes
from pipeline.cli.tables import kept, reasons
from pipeline.shards.locations import location_of
from pipeline.shards.outcomes import WebTextError

if TYPE_CHECKING:
    from pipeline.shards.receipts import Manifest
    from trainer.metrics import Progress

LOOKS = 20  # at progress to one at whom a crawl waits for, which opens a file a shard


class Reporter:
    """Progress of a build, read from its receipts: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, folder: Path, shards: int) -> None:
        self.folder, self.shards = folder, shards
        self.bars = Bars(
            TextColumn("{task.description:10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[crawled]}"),
            console=err,
            disable=not err.is_terminal,
        )
        self.stage, self.since, self.resting = "", 0.0, ""
        self.task: Any = None

    def __enter__(self) -> Reporter:
        self.stop = threading.Event()
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.bars.start()
        self.watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.watcher.join()
        self.bars.stop()

    def watch(self) -> None:
        looks = 0
        while not self.stop.wait(0.5 if location_of(self.folder) is None else 5):
            looks += 1
            with suppress(WebTextError):  # the build will meet it too
                if looks % LOOKS == 0 and self.stage == "pages":
                    self.look_at_rest()
                self.look()

    def look(self) -> None:
        """Bring the bar of the stage that runs up to what lies in the folder."""
        stage, task = self.stage, self.task
        if stage and task is not None:
            segments = segments_since(self.folder, self.since) if stage == "pages" else 0
            crawled = self.resting or (f"{segments} segments crawled" if segments else "")
            made = made_since(self.folder, stage, self.shards, self.since)
            self.bars.update(task, completed=made, crawled=crawled)

    def look_at_rest(self) -> None:
        """Whom the crawl waits for, and until when, if it can do nothing else; in a pipe a line when that changes."""
        from pipeline.pages import waiting

        waits, before = waiting(self.folder, self.shards), self.resting
        self.resting = ""
        if waits.ready_at is not None and waits.ready_at > time.time() and waits.resting == waits.links:
            until = datetime.fromtimestamp(waits.ready_at, UTC)
            hosts = "1 host that rests" if waits.hosts == 1 else f"{waits.hosts:,} hosts that rest"
            links = "1 link waits" if waits.links == 1 else f"{waits.links:,} links wait"
            self.resting = f"{links} for {hosts}, until {until:%Y-%m-%d %H:%M} UTC; Ctrl-C loses nothing"
            if self.resting != before and not err.is_terminal:
                err.print(f"pages: {self.resting}")

    def started(self, stage: str) -> None:
        self.since, self.resting = now(), ""
        self.task = self.bars.add_task(stage, total=artefact(self.folder, stage, self.shards).shards, crawled="")
        self.stage = stage
        if not err.is_terminal:
            err.print(f"{stage}: started")

    def ended(self, stage: str, manifest: Manifest) -> None:
        self.stage = ""
        self.bars.update(self.task, completed=manifest.shards, total=manifest.shards)
        if not err.is_terminal:
            said = "; ".join(
                f"{name}: {book.inputs:,} in, {kept(book):,} kept" for name, book in manifest.books.items()
            )
            err.print(f"{stage}: done{'; ' + said if said else ''}")
        print_notes(stage, manifest.notes, err)
        for name, book in manifest.books.items():
            if book.inputs and not kept(book):
                err.print(f"{stage}: note: of {book.inputs:,} {name} none was kept: {reasons(book)}")


@contextmanager
def watching_training(steps: int) -> Iterator[Callable[[Progress], None]]:
    """What to tell of each step: its line is printed, above a bar on a terminal."""
    columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=out, disable=not out.is_terminal) as bars:
        task = bars.add_task("train", total=steps)

        def told(progress: Progress) -> None:
            bars.update(task, completed=progress.step)
            print_progress(progress)

        yield told


def print_progress(progress: Progress) -> None:
    """One line a report; before the first, what is trained and how."""
    for line in progress.opening:
        out.print(line)
    for note in progress.notes:
        err.print(f"note: {note}")
    parts = [f"step {progress.step}/{progress.steps}"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.val_loss is not None:
        parts.append(f"val {progress.val_loss:.3f}")
    if progress.bits_per_byte is not None:
        parts.append(f"{progress.bits_per_byte:.3f} bits/byte")
    if progress.step:
        parts.append(f"{progress.tokens_per_s:,.0f} tokens/s")
        parts += [f"MFU {progress.mfu:.0%}"] if progress.mfu is not None else []
        parts.append(f"{timedelta(seconds=round(progress.seconds_left))} left")
    if progress.val_loss is not None or progress.step % 10 == 0 or progress.step == progress.steps:
        out.print("  ".join(parts))
