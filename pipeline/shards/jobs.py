"""Job specifications: what one pipeline has to do, as a file that its graph names.

Choice: the functions, tasks and sources of a pipeline are pickled into one file below the working directory; the graph
carries the file's name and sha256, and what flows through it are positions in the specification's lists. So a graph has
one size, whatever the number of shards and links (Dataflow takes 10 MB, and what a function closes over counts), and
what a worker unpickles is what this build wrote. Cost: a file a pipeline, read once a worker process. Alternative:
`beam.Create` of the tasks, which writes each of them into the graph.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.shards import crossing, interrupts, progress, storage, transfer
from pipeline.shards.crossing import NOTHING, Keyed, Lanes, Parcel, Parcels
from pipeline.shards.locations import location_of, mirror, name_of, trim_if_due
from pipeline.shards.outcomes import IntegrityError, StorageError
from pipeline.shards.receipts import Artefact, Begun, Task
from pipeline.shards.storage import PART, refusing

LOOK_S = 2.0  # how often a worker elsewhere looks whether its job stands: a small question of the store


_looked: dict[str, float] = {}  # when this process has last seen that a job stands, by the monotonic clock


class WithdrawnError(Exception):
    """A worker ends since the command that wanted its work has ended; nobody is to see it."""


@dataclass(frozen=True)
class JobSpec:
    """What one pipeline does: `function` maps, or scatters, each of `inputs`; `gather` is called for each target.

    What is scattered is read in `bundles`; 0: it maps. `makes`: the artefact whose shards are made, where one is.
    """

    function: Callable[[Any], Any]
    inputs: Sequence[Any]
    gather: Callable[[Task, Iterable[pa.Table]], None] | None = None
    targets: Sequence[Task] = ()
    bundles: int = 0
    makes: Artefact | None = None


def made_of(tasks: Sequence[Any]) -> Artefact | None:
    """The artefact whose shards these tasks are, if `begin` gave them."""
    return tasks.artefact if isinstance(tasks, Begun) else None


@dataclass(frozen=True)
class JobRef:
    """Where a job specification lies, and what its bytes must be: all that a graph holds of it."""

    name: str  # of the file, or of the object
    sha256: str
    elsewhere: bool = False  # done by an engine that does not end with this process

    @property
    def spec(self) -> JobSpec:
        """What is to be done, read once a process.

        Raises StorageError: unseen from here; IntegrityError: changed; WithdrawnError: taken back.
        """
        found = opened(self.name, self.sha256, self.elsewhere)
        if self.elsewhere and time.monotonic() - _looked.get(self.name, -LOOK_S) >= LOOK_S:
            if not storage.stands(mirror(self.name)):
                raise WithdrawnError
            _looked[self.name] = time.monotonic()
        return found

    @property
    def targets(self) -> dict[int, Task]:
        """The targets by shard, ascending."""
        return by_shard(self.name, self.sha256, self.elsewhere)

    @property
    def begun(self) -> bool:
        """Whether a worker elsewhere has read the specification."""
        return storage.stands(begun_at(mirror(self.name)))

    def withdraw(self) -> None:
        """Take the job back: who works on it elsewhere ends within seconds, and nobody begins any more."""
        path = mirror(self.name)
        storage.remove(path)
        storage.remove(begun_at(path))

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """End the block, wherever it is, within LOOK_S of the job being taken back, as if it were done.

        An engine that is told of a failure would begin the job again. What is done within an `Attempt` leaves no trace
        then. Native code is not interrupted: a page's extraction ends.
        """
        if not self.elsewhere:
            yield
            return
        path, over, thread = mirror(self.name), threading.Event(), threading.get_ident()

        def watch() -> None:
            while not over.wait(LOOK_S):
                if not storage.stands(path):
                    interrupts.raise_in(thread, WithdrawnError)
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        except WithdrawnError:
            pass
        finally:
            over.set()
            watcher.join()

    def is_done(self, task: Any) -> bool:
        """Whether a task was done before: an engine tries again whole bundles of them, those that were done too."""
        makes = self.spec.makes
        return self.elsewhere and makes is not None and makes.current(task)

    @property
    def lanes(self) -> Lanes:
        """Which lane gathers which target."""
        return Lanes(tuple(self.targets))


def begun_at(path: Path) -> Path:
    """The file by which a worker says that it has read the specification at `path`."""
    return path.with_name(path.name.removesuffix(PART) + f".begun{PART}")


@contextmanager
def stored(spec: JobSpec, folder: Path | None, elsewhere: bool = False) -> Iterator[JobRef]:
    """The reference of a job that lies in `folder` (None: the system's for temporary files) while the block lasts.

    The file is named as what a killed run leaves and a build sweeps. Raises StorageError: it cannot be written.
    """
    progress.at_home()
    path = (folder or Path(tempfile.gettempdir())) / f".job-{uuid.uuid4().hex}{PART}"
    data = pickled(spec)
    with refusing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if location_of(path):
        transfer.upload(path)
    job = JobRef(name_of(path), hashlib.sha256(data).hexdigest(), elsewhere)
    try:
        yield job
    finally:
        job.withdraw()


class Pickler(pickle.Pickler):
    """Names objects by their address: where they lie in the cache is another place on another machine."""

    def persistent_id(self, obj: Any) -> str | None:
        return name_of(obj) if isinstance(obj, Path) and location_of(obj) else None


class Unpickler(pickle.Unpickler):
    """Finds them in the cache of this machine."""

    def persistent_load(self, pid: str) -> Path:
        return mirror(pid)


def pickled(spec: JobSpec) -> bytes:
    """A specification as bytes."""
    file = io.BytesIO()
    Pickler(file).dump(spec)
    return file.getvalue()


@lru_cache(maxsize=4)
def opened(name: str, sha256: str, elsewhere: bool) -> JobSpec:
    """The specification in a file; only what was written for this pipeline is unpickled."""
    path = mirror(name)
    try:
        data = storage.read_bytes(path)
    except FileNotFoundError:
        if elsewhere and (location_of(path) or path.parent.is_dir()):
            raise WithdrawnError from None
        raise unseen(name, f"worker {socket.gethostname()}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError(f"{name}: changed since this build wrote it; run the same command again")
    if elsewhere:
        storage.write_bytes(begun_at(path), b"")
    spec: JobSpec = Unpickler(io.BytesIO(data)).load()  # as safe as the graph, which its sha256 came with
    return spec


def unseen(name: str, whom: str) -> StorageError:
    """The one line for a working directory that is another one where the work is done."""
    return StorageError(f"{name}: not to be seen from {whom}; workers need the same --dir as you")


@lru_cache(maxsize=4)
def by_shard(name: str, sha256: str, elsewhere: bool) -> dict[int, Task]:
    """The targets of the specification in a file, by shard."""
    return {task.shard: task for task in sorted(opened(name, sha256, elsewhere).targets, key=attrgetter("shard"))}


@dataclass(frozen=True)
class Positions:
    """The positions of the inputs, or the numbers of their bundles, from the one element that a graph begins with."""

    job: JobRef

    def __call__(self, _: Any) -> Iterator[int]:
        with self.job.heeded():
            spec = self.job.spec
            yield from range(spec.bundles or len(spec.inputs))


@dataclass(frozen=True)
class Targets:
    """NOTHING to every lane, likewise."""

    job: JobRef

    def __call__(self, _: Any) -> Iterator[Parcel]:
        with self.job.heeded():
            yield from ((lane, NOTHING) for lane in range(self.job.lanes.count))


@dataclass(frozen=True)
class Make:
    """The function of a job, called with the input at a position."""

    job: JobRef

    def __call__(self, position: int) -> None:
        with progress.told_beside(self.job.name), self.job.heeded():
            spec = self.job.spec
            if not self.job.is_done(spec.inputs[position]):
                spec.function(spec.inputs[position])
        if "://" in self.job.name:  # the work lies on an object store, and what was read of it in the cache
            trim_if_due()


@dataclass(frozen=True)
class Scatter:
    """The same for a scatter, called with each input of a bundle; what nobody waits for is dropped here."""

    job: JobRef

    def __call__(self, bundle: int) -> Iterator[Parcel]:
        with progress.told_beside(self.job.name), self.job.heeded():
            spec = self.job.spec
            inputs = spec.inputs[bundle :: spec.bundles]
            yield from crossing.packed(chain.from_iterable(map(spec.function, inputs)), self.job.lanes)


@dataclass(frozen=True)
class Gather:
    """The gather of a job, called for each shard of a lane, with an iterable that must not become a list here."""

    job: JobRef

    def __call__(self, keyed: Keyed) -> None:
        lane, parcels = keyed
        with progress.told_beside(self.job.name), self.job.heeded():
            gather, targets, lanes = self.job.spec.gather, self.job.targets, self.job.lanes
            assert gather is not None
            for shard, tables in crossing.gathered(Parcels(parcels), lanes.of(lane)):
                if not self.job.is_done(targets[shard]):
                    gather(targets[shard], tables)
