"""What a person sees while the command works: how far it is, how fast, and how long it will take.

Choice: the code that works tells counters (`shards.progress`), and a thread looks at them and shows a bar on a
terminal, or a line now and then in a pipe, once a piece of work has taken SHOWN_S. Cost: a thread a command.
Alternative: verbs and stages that print, each in its own way, and some not at all.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column

from pipeline.build import begun_with, now, shards_since
from pipeline.cli.console import Stream, err, out, print_notes
from pipeline.cli.tables import kept, reasons
from pipeline.counts import counted
from pipeline.shards import progress
from pipeline.shards.locations import location_of
from pipeline.shards.progress import AWAY, BYTES, RESTING, ROWS, SHARDS, Phase

if TYPE_CHECKING:
    from pipeline.shards.receipts import Manifest
    from trainer.metrics import Progress

SHOWN_S = 2.0  # nothing is shown of work that is shorter
LOOK_S, FAR_LOOK_S = 0.25, 5.0  # between two looks; where each costs requests
LINES_S = (2.0, 60.0)  # in a pipe: of a piece of work until its first line, and between two at most
REST_S = 10.0  # between two looks at whom a crawl waits for, each of which opens a file a shard
LEAST_SHARE = 0.01  # of the work that must be done before anybody says how long the rest will take
WAITS = {  # of a crawl that can do nothing else for now
    AWAY: "nobody answers, so the network may be away: now and then a link is tried (pages.patience_gaps)",
    RESTING: "waits to ask again, since every host that is left failed or asked for a pause (pages.patience_gaps)",
}
SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def measured(phase: Phase, done: Counter[str], elapsed_s: float) -> str:
    """How far a piece of work is, in words: `1,234 of 5,000 pages, 56/s, 0:01:07 left`. `elapsed_s`: it took."""
    rows, share = done[ROWS], share_of(phase, done)
    parts = []
    if phase.unit == ROWS and phase.total:
        parts.append(f"{rows:,} of {phase.total:,} {phase.noun}")
    else:
        if phase.unit == BYTES and phase.total:
            parts.append(f"{share:.0%} of {size_of(phase.total)}")
        elif phase.unit == SHARDS and phase.total:
            parts.append(f"{done[SHARDS]:,} of {counted(phase.total, 'shard')}")
        if rows:
            parts.append(f"{rows:,} {phase.noun}")
    if rows and elapsed_s:
        parts.append(f"{rows / elapsed_s:,.0f}/s" if rows >= 10 * elapsed_s else f"{rows / elapsed_s * 60:,.0f}/min")
    if LEAST_SHARE <= share < 1:
        parts.append(f"{timedelta(seconds=round(elapsed_s * (1 - share) / share))} left")
    return ", ".join(parts)


def share_of(phase: Phase, done: Counter[str]) -> float:
    """How much of a piece of work is done, 0 to 1."""
    return done[phase.unit] / phase.total if phase.total else 0.0


def moving(phase: Phase, done: Counter[str]) -> bool:
    """Whether what is done says that something gets on."""
    return bool(done[ROWS] or done[phase.unit])


def standing(elapsed_s: float) -> str:
    """For how long nothing could be counted yet, and why, where that is known: a count of 0 looks like a halt."""
    so_far = f"{timedelta(seconds=round(elapsed_s))} so far"
    return f"{so_far}: worker processes are starting" if progress.awaited() else so_far


def size_of(count: float) -> str:
    """Bytes in a unit that a person reads."""
    return next((f"{count / size:.3g} {name}" for size, name in SIZES if count >= size), counted(count, "byte"))


class Display:
    """What is waited for, shown on standard error. `folder`: the working directory, if there is one."""

    def __init__(
        self, folder: Path | None = None, stream: Stream = err, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder, self.stream, self.clock = folder, stream, clock
        self.phase: Phase | None = None
        self.bars: Any = None  # while a bar is seen
        self.since, self.idle_at, self.line_at, self.rest_at, self.rest = 0.0, 0.0, 0.0, 0.0, ""
        self.words, self.printed_at = "", 0.0  # of the last line in a pipe
        self.guard, self.stop = threading.RLock(), threading.Event()
        self.watcher: threading.Thread | None = None

    def hear(self, phase: Phase | None) -> None:
        """Another piece of work is waited for, or none."""
        with self.guard:
            if phase is None or self.phase is None or phase.name != self.phase.name:
                self.since, self.idle_at, self.rest, self.words = now(), self.clock(), "", ""
                self.line_at = self.idle_at + LINES_S[0]
            self.phase = phase
            if phase is None:
                self.hide()
            elif self.watcher is None and not self.stop.is_set():
                self.watcher = threading.Thread(target=self.watch, daemon=True)
                self.watcher.start()

    def watch(self) -> None:
        """Look until the command ends."""
        far = self.folder is not None and location_of(self.folder) is not None
        while not self.stop.wait(FAR_LOOK_S if far else LOOK_S):
            with suppress(Exception):  # a bar is not worth a build; who works will meet it too
                self.look()

    def look(self) -> None:
        """Show how far it is by now, if it is worth it."""
        with self.guard:
            phase, at = self.phase, self.clock()
            if phase is None:
                return
            found = self.counted(phase)
            done, waits = phase.done(found), next((said for unit, said in WAITS.items() if found[unit] > 0), "")
            if not moving(phase, done):  # engines and workers start up
                self.idle_at = at
            if self.bars is None and at - phase.began < SHOWN_S:
                return
            rest = self.resting(phase, at)
            words = rest or measured(phase, done, at - self.idle_at)
            words = f"{words}; {waits}" if waits and not rest else words
            since = "" if rest or moving(phase, done) else standing(at - phase.began)
            if self.stream.is_terminal and not self.stream.is_dumb_terminal:
                self.show(phase, share_of(phase, done), ", ".join(filter(None, (words, since))))
            elif at >= self.line_at and not self.rest:
                self.line_at = at + min(LINES_S[1], max(LINES_S[0], at - phase.began))
                if words != self.words or at >= self.printed_at + LINES_S[1]:  # nothing new is told once a minute
                    self.words, self.printed_at = words, at
                    self.stream.print(f"{phase.title}: {', '.join(filter(None, (words, since)))}")

    def counted(self, phase: Phase) -> Counter[str]:
        """What is done by now, here and by workers; shards of an object store also by what lies there."""
        found = progress.counts(self.folder / "scratch" if self.folder else None)
        if phase.makes and self.folder is not None and location_of(self.folder) is not None:
            made = shards_since(self.folder, phase.name, self.since)
            found[SHARDS] = max(found[SHARDS], phase.before[SHARDS] + made)
        return found

    def resting(self, phase: Phase, at: float) -> str:
        """Whom a crawl waits for, and until when, if it can do nothing else; in a pipe a line when that changes."""
        if phase.name != "pages" or not phase.makes or self.folder is None:
            return ""
        if at >= self.rest_at:
            self.rest_at = at + REST_S
            before, self.rest = self.rest, rest_of(self.folder)
            if self.rest not in ("", before) and not self.stream.is_terminal:
                self.stream.print(f"pages: {self.rest}")
        return self.rest

    def show(self, phase: Phase, share: float, words: str) -> None:
        """Draw the bar, or move it."""
        if self.bars is None:
            columns = [TextColumn("{task.description}", table_column=Column(no_wrap=True)), BarColumn(20)]
            columns.append(TextColumn("{task.fields[said]}", table_column=Column(no_wrap=True, overflow="ellipsis")))
            self.bars = Bars(
                *columns,
                console=self.stream,
                transient=True,
                refresh_per_second=4,
                redirect_stdout=False,  # which may be a file
                redirect_stderr=False,
            )
            self.bars.add_task("", total=1.0, said="")
            self.bars.start()
        (task,) = self.bars.task_ids
        self.bars.update(task, description=phase.title, total=1.0 if phase.total else None, completed=share, said=words)

    def hide(self) -> None:
        """Take the bar away, at once: what is printed next must not meet it."""
        with self.guard:
            if self.bars is not None:
                self.bars.stop()
                self.bars = None

    def close(self) -> None:
        """End, and leave nothing on the screen."""
        self.stop.set()
        if self.watcher is not None:
            self.watcher.join()
        self.hide()


def rest_of(folder: Path) -> str:
    """Whom the crawl of a working directory waits for, and until when; "" where it can do something."""
    from pipeline.pages import waiting

    waits = waiting(folder, begun_with(folder) or 1)
    if waits.ready_at is None or waits.ready_at <= time.time() or waits.resting != waits.links:
        return ""
    until = f"{datetime.fromtimestamp(waits.ready_at, UTC):%Y-%m-%d %H:%M} UTC"
    links = f"{counted(waits.links, 'link')} wait{'s' * (waits.links == 1)}"
    if waits.hosts <= 1:
        hosts = f"{waits.first}, which failed or asked for a pause"
    else:
        hosts = f"{counted(waits.hosts, 'host')} that failed or asked for a pause, {waits.first} first"
    return f"{links} until {until} for {hosts}; Ctrl-C loses nothing"


@contextmanager
def watching(folder: Path | None) -> Iterator[None]:
    """Within the block a person sees what is waited for."""
    display = Display(folder)
    with progress.hearing(display.hear):
        try:
            yield
        finally:
            display.close()


# --- the stages of a build


def print_started(stage: str, why: str = "") -> None:
    """A stage begins to make something: a line in a pipe; a terminal shows a bar. `why`: it is made anew, if known."""
    if why:
        err.print(f"{stage}: made anew: {why}")
    if not err.is_terminal:
        err.print(f"{stage}: started")


def print_ended(stage: str, manifest: Manifest) -> None:
    """What a stage has made, what it has noted, and loudly if nothing is left."""
    counts = "; ".join(f"{name}: {rows.inputs:,} in, {kept(rows):,} kept" for name, rows in manifest.books.items())
    err.print(f"{stage}: done{'; ' + counts if counts else ''}")
    print_notes(stage, manifest.notes, err)
    for name, rows in manifest.books.items():
        if rows.inputs and not kept(rows):
            err.print(f"{stage}: note: of {rows.inputs:,} {name} none was kept: {reasons(rows)}")


# --- training


@contextmanager
def watching_training(steps: int, brief: bool = False) -> Iterator[Callable[[Progress], None]]:
    """What to tell of each step: its line is printed, above a bar on a terminal.

    `brief`: on a terminal the bar alone, in a pipe the lines with a validation loss, and no settings.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=out, disable=not out.is_terminal) as bars:
        task = bars.add_task("train", total=steps)

        def show(progress: Progress) -> None:
            loss = "train" if progress.loss is None else f"train, loss {progress.loss:.3f}"
            bars.update(task, completed=progress.step, description=loss)
            if not brief:
                print_progress(progress)
            elif progress.val_loss is not None and not out.is_terminal:
                print_progress(replace(progress, opening=(), notes=()))

        yield show


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
