"""Progress: how much of a piece of work is done, told by whoever works and read by whoever watches.

Choice: counters of a process that only grow; a worker process writes its own into a small file beside the job, in a
thread once in FLUSH_S (a page that takes a minute must not hide the forty before it) and when a task ends, and whoever
watches adds them up, less what they were when the phase began. So the code that works calls one function, and knows
neither who watches nor on which engine it runs. Cost: of workers that share no folder with whoever watches only
finished shards are known. Alternative: Beam's counters, which come at the end of a run.
"""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pipeline.shards.locations import location_of

T = TypeVar("T")
TITLES = {  # what is made below scratch/, as a person is told of it
    "dumps": "reading submissions", "submissions": "reading submissions", "bigquery": "asking BigQuery",
    "warcs": "reading archives", "captures": "reading archives", "originals": "finding what revisits refer to",
    "wanted": "preparing the index", "ccindex": "asking the index", "matches": "asking the index",
    "found": "looking links up in archives", "wikipedia": "reading Wikipedia", "elsewhere": "reading other corpora",
    "contamination": "finding evaluation texts", "common": "finding evaluation texts", "votes": "filtering",
    "exact": "finding exact duplicates", "lost": "removing exact duplicates", "ranking": "ranking",
    "pairs": "finding candidate pairs", "pairs_elsewhere": "finding candidate pairs in other corpora",
    "asked": "comparing pairs", "edges": "comparing pairs", "asked_elsewhere": "comparing pairs with other corpora",
    "edges_elsewhere": "comparing pairs with other corpora", "removals": "removing near duplicates",
    "keepers": "naming what is kept", "decisions": "naming what is kept", "paragraphs": "finding repeated paragraphs",
    "boilerplate": "finding repeated paragraphs", "probes": "drawing the evaluation sample",
    "missed": "looking for missed duplicates", "meter": "measuring precision and recall", "words": "counting words",
}  # fmt: skip
ROWS, BYTES, SHARDS = "rows", "bytes", "shards"  # what is counted
AWAY, RESTING = "away", "resting"  # crawls that wait: for a network that is away; for hosts of which each failed
FLUSH_S = 0.5
BUFFER_BYTES = 1 << 17
NAME = ".progress-{process}.part"  # as what a killed run leaves, which the next build sweeps


@dataclass(frozen=True)
class Phase:
    """A piece of work: `total` of `unit` (0: nobody knows), of which `noun` is the name of a row.

    `makes`: a shard of an artefact is being made, and `name` is the artefact's, `within` the stage that needs it.
    `began` is by the monotonic clock.
    """

    name: str
    total: int = 0
    unit: str = SHARDS
    noun: str = "rows"
    makes: bool = False
    before: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)
    within: str = ""

    @property
    def title(self) -> str:
        """What is waited for, for a person: a stage, `corpus: filtering` of what only helps it, what a verb does."""
        name = self.name.removeprefix("scratch/")
        name = TITLES.get(name, name) if name != self.name else name
        return name if self.within in ("", name) else f"{self.within}: {name}"

    def done(self, counts: Counter[str]) -> Counter[str]:
        """What was done since it began, by unit; never more of its own unit than there is."""
        found = Counter({name: max(0, count - self.before[name]) for name, count in counts.items()})
        if self.total:
            found[self.unit] = min(self.total, found[self.unit])
        return found


Hearer = Callable[[Phase | None], None]

_counts: Counter[str] = Counter()
_guard, _telling = threading.Lock(), threading.Lock()
_phase: Phase | None = None
_stage = ""
_hearers: list[Hearer] = []
_home = False  # whether this process hands out the work, and so is watched itself
_file: Path | None = None  # where a worker process tells
_told: dict[Path, Counter[str]] = {}  # what workers told last, also those that are gone: `before` has them in it
_awaited = False  # whether workers were called for of which none has told anything
_teller: threading.Thread | None = None


# --- who works


def advance(unit: str, count: int = 1) -> None:
    """So much more is done."""
    with _guard:
        _counts[unit] += count


def tell() -> None:
    """In a worker process: write what is done by now where it is read; elsewhere nothing."""
    with _telling, suppress(OSError):  # a disk that is full is told by who writes what matters
        if _file is not None:
            with _guard:
                data = json.dumps(_counts).encode()
            part = _file.with_name(f".telling-{os.getpid()}.part")
            part.write_bytes(data)
            part.replace(_file)  # whole, whoever reads it just now


def keep_telling() -> None:
    """The same again and again, for as long as the process lives."""
    while True:
        tell()
        time.sleep(FLUSH_S)


def each(items: Iterable[T], unit: str = ROWS) -> Iterator[T]:
    """The items; one is told when the next is asked for."""
    for item in items:
        yield item
        advance(unit)


class Counted(io.FileIO):
    """A file whose bytes are told as they are read."""

    def readinto(self, buffer: Any) -> int | None:
        found = super().readinto(buffer)
        advance(BYTES, found or 0)
        return found

    def readall(self) -> bytes:
        found = super().readall()
        advance(BYTES, len(found))
        return found


def reading(path: Path) -> io.BufferedReader:
    """A file, open, whose bytes are told as they are read. Raises OSError."""
    return io.BufferedReader(Counted(path), BUFFER_BYTES)


@contextmanager
def told_beside(job: str) -> Iterator[None]:
    """In a worker process: what the block does is told in a file beside the job, where that lies in a folder."""
    global _file, _teller  # noqa: PLW0603 - as above
    if _home or "://" in job:
        yield
        return
    _file = Path(job).with_name(NAME.format(process=f"{os.uname().nodename}-{os.getpid()}"))
    if _teller is None:
        _teller = threading.Thread(target=keep_telling, daemon=True)
        _teller.start()
    tell()  # that a worker is there
    try:
        yield
    finally:
        tell()


# --- who hands out the work


def at_home() -> None:
    """Say that this process hands out work: what it does itself is counted here, and told nowhere else."""
    global _home, _file
    _home, _file = True, None


def await_workers() -> None:
    """Say that worker processes were called for, which take a while to begin."""
    global _awaited  # noqa: PLW0603 - as above
    _awaited = True


def awaited() -> bool:
    """Whether workers were called for, and none has told anything yet."""
    return _awaited


def forget(folder: Path | None) -> None:
    """Read what workers told in a folder a last time, and delete it; they have ended."""
    global _awaited  # noqa: PLW0603 - as above
    _awaited = False
    counts(folder)
    if folder is not None and location_of(folder) is None:
        for path in folder.glob(NAME.format(process="*")):
            path.unlink(missing_ok=True)


@contextmanager
def within(stage: str) -> Iterator[None]:
    """Within the block everything is made for this stage; after it nothing is waited for."""
    global _stage  # noqa: PLW0603 - as above
    _stage = stage
    try:
        yield
    finally:
        _stage = ""
        begin(None)


def begin(phase: Phase | None) -> None:
    """From now on this is what is waited for; None: nothing. Only the main thread says so."""
    global _phase  # noqa: PLW0603 - as above
    if threading.current_thread() is threading.main_thread():
        phase = _phase = replace(phase, within=_stage) if phase is not None else None
        for hearer in tuple(_hearers):
            hearer(phase)


def title() -> str:
    """What is waited for, for a person; "" where nothing is."""
    return _phase.title if _phase is not None else ""


def current() -> Phase | None:
    """What is waited for."""
    return _phase


def expect(total: int, unit: str = ROWS, noun: str = "rows") -> None:
    """Say what there is to do in the phase that has begun, better than in shards."""
    if _phase is not None and _phase.makes and total:
        begin(Phase(_phase.name, total, unit, noun, makes=True, before=counts(), began=_phase.began))


@contextmanager
def phase(name: str, total: int = 0, unit: str = ROWS, noun: str = "rows") -> Iterator[None]:
    """Within the block this is what is waited for; then again what was before."""
    before = _phase
    begin(Phase(name, total, unit, noun, before=counts()))
    try:
        yield
    finally:
        begin(before)


# --- who watches


@contextmanager
def hearing(hearer: Hearer) -> Iterator[None]:
    """Within the block `hearer` is told whatever is waited for from now on, in the main thread."""
    _hearers.append(hearer)
    try:
        yield
    finally:
        _hearers.remove(hearer)


def counts(folder: Path | None = None) -> Counter[str]:
    """What is done so far, by unit, here and by workers, with what they have told in a folder by now."""
    global _awaited  # noqa: PLW0603 - as above
    if folder is not None and location_of(folder) is None:
        for path in folder.glob(NAME.format(process="*")):
            with suppress(OSError, ValueError):  # deleted just now
                _told[path] = Counter(json.loads(path.read_bytes()))
                _awaited = False
    with _guard:
        return sum(_told.copy().values(), Counter(_counts))
