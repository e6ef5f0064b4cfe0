"""What a person sees while the command runs: the two streams, progress, the funnel.

Choice: progress is read from receipts by a thread, since Beam tells its counters at the end of a run only. Cost: a
shard's progress is seen when the shard is whole, or a segment of its crawl. Alternative: stages that print, each in
its own way.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from pipeline.build import artefact, made_since, now, segments_since
from pipeline.shards.outcomes import FATES, Outcome, WebTextError
from pipeline.shards.places import place, said

if TYPE_CHECKING:
    from pipeline.shards.receipts import Books, Manifest
    from pipeline.standing import Standing
    from pipeline.verbs.coverage import Year
    from trainer.metrics import Progress

PIPE_CLOSED = 141  # what a shell reports of a process that SIGPIPE ended: 128 + 13
# What moves a cursor, sets a title or turns a line around, and is seen by nobody: controls (C0, C1, DEL), the ends of
# lines and paragraphs of Unicode, halves of characters, and what is only format (Unicode 15, category Cf: bidirectional
# overrides and isolates, zero-width marks, tags), but for the joiners that Persian, Hindi and emoji are written with.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def seen(text: str, but: str = "") -> str:
    """The text with what a terminal would obey, or not show, as JSON escapes it; the characters of `but` stay."""
    return UNSEEN.sub(lambda found: found[0] if found[0] in but else escaped(found[0]), text)


def escaped(one: str) -> str:
    """A character as JSON writes it (RFC 8259, section 7)."""
    units = one.encode("utf-16-be", "surrogatepass").hex()
    return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(one) or re.sub("....", r"\\u\g<0>", units)


def as_json(value: Any) -> str:
    """A value as a line of JSON; what a terminal would obey is escaped in it, and comes back when it is read."""
    return seen(json.dumps(value, ensure_ascii=False, default=str)) + "\n"


class Stream(Console):
    """A console that prints what it is given: brackets and colons of paths and titles mean nothing here.

    Nothing that comes from outside (titles, hosts, names of files, messages) reaches the terminal but as `seen`: every
    string of a line or a table passes here. So a string is one line, and a line feed within one is shown, not sent.
    """

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as seen, with the addresses of objects and not where they lie in the cache."""
        return super().render_str(seen(said(text)), **options)

    def write(self, data: str) -> None:
        """Write text that is the answer itself, for a file or another program: every character as it is.

        On a terminal it is `seen` as well, its line feeds and tabs aside.
        """
        try:
            self.file.write(seen(data, "\n\t") if self.file.isatty() else data)
            self.file.flush()
        except BrokenPipeError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """End quietly when nobody reads any more (`webtext status | head -1`)."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(PIPE_CLOSED) from None


out = Stream()
err = Stream(stderr=True)


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
        self.stage, self.since = "", 0.0
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
        while not self.stop.wait(0.5 if place(self.folder) is None else 5):
            with suppress(WebTextError):  # the build will meet it too
                self.look()

    def look(self) -> None:
        """Bring the bar of the stage that runs up to what lies in the folder."""
        stage, task = self.stage, self.task
        if stage and task is not None:
            segments = segments_since(self.folder, self.since) if stage == "pages" else 0
            crawled = f"{segments} segments crawled" if segments else ""
            made = made_since(self.folder, stage, self.shards, self.since)
            self.bars.update(task, completed=made, crawled=crawled)

    def started(self, stage: str) -> None:
        self.since = now()
        self.task = self.bars.add_task(stage, total=artefact(self.folder, stage, self.shards).shards, crawled="")
        self.stage = stage
        if not err.is_terminal:
            err.print(f"{stage}: started")

    def ended(self, stage: str, manifest: Manifest) -> None:
        self.stage = ""
        self.bars.update(self.task, completed=manifest.shards, total=manifest.shards)
        if not err.is_terminal:
            said = "; ".join(f"{name}: {book.inputs} in, {kept(book)} kept" for name, book in manifest.books.items())
            err.print(f"{stage}: done{'; ' + said if said else ''}")
        print_notes(stage, manifest.notes, err)
        for name, book in manifest.books.items():
            if book.inputs and not kept(book):
                err.print(f"{stage}: note: of {book.inputs} {name} none was kept: {reasons(book)}")


def print_notes(stage: str, notes: Iterable[str], stream: Stream) -> None:
    """Print what a stage has noted: bad lines and damaged files by name and place, what was left out, a line each."""
    for note in notes:
        stream.print(f"{stage}: note: {note}")


def kept(book: Books) -> int:
    """How many rows of a set of books go on."""
    return book.outcomes.get(str(Outcome.KEPT), 0)


def reasons(book: Books) -> str:
    """Why rows do not go on, and how many each."""
    others = ((fate, count) for fate, count in book.outcomes.items() if fate != Outcome.KEPT)
    return ", ".join(f"{fate}\N{NO-BREAK SPACE}{count}" for fate, count in others)


def print_funnel(stands: Mapping[str, Standing]) -> None:
    """Print the funnel of the artefacts that are whole, from the first to where the chain breaks off."""
    manifests = (one.manifest for one in stands.values())
    whole = itertools.takewhile(lambda manifest: manifest is not None, manifests)
    out.print(funnel(books for manifest in whole if manifest is not None for books in manifest.books.items()))


def funnel(books: Iterable[tuple[str, Books]]) -> Table:
    """Rows in, rows kept and the reasons between, a line a step of the chain."""
    table = Table("rows", "in", "kept", "otherwise", box=None, title="The funnel", title_justify="left")
    steps = list(FATES)
    for name, book in sorted(books, key=lambda one: steps.index(one[0])):
        table.add_row(name, str(book.inputs), str(kept(book)), reasons(book))
    return table


def print_karma(stands: Mapping[str, Standing]) -> None:
    """Print how many links each reading of karma would admit, once links are whole; the other rules hold."""
    manifest = stands["links"].manifest
    if manifest is None:
        return
    threshold, chosen = manifest.settings["karma"], manifest.settings["karma_of"]
    table = Table("karma of a link", "links admitted", "", box=None)
    for reading in ("max", "sum", "first"):
        admitted = manifest.counts[f"admitted_by_{reading}"]
        table.add_row(f"{reading} >= {threshold}", str(admitted), "links.karma_of" if reading == chosen else "")
    out.print(table)


def print_coverage(years: Iterable[Year]) -> None:
    """Print, by the year of the post, how many links have a page, and from where."""
    table = Table("posted", "links", "in WARC files", "in Common Crawl", "crawled", "found", box=None)
    table.title, table.title_justify = "Pages by year of the post", "left"
    for one in years:
        counts = [str(one.links), *map(str, one.found.values())]
        table.add_row("unknown" if one.year is None else str(one.year), *counts, f"{one.percent:.1f} %")
    out.print(table)


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
