"""Orders: what one pipeline has to do, as a file that its graph names.

Choice: the functions, tasks and sources of a pipeline are pickled into one file below the working directory; the graph
carries the file's name and sha256, and what flows through it are places in the order's lists. So a graph has one size,
whatever the number of shards and links (Dataflow takes 10 MB, and what a function closes over counts), and what a
worker unpickles is what this build wrote. Cost: a file a pipeline, read once a worker process. Alternative:
`beam.Create` of the tasks, which writes each of them into the graph.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.shards import storage, transfer
from pipeline.shards.outcomes import IntegrityError, StorageError
from pipeline.shards.places import mirror, name_of, place, trim
from pipeline.shards.receipts import Task
from pipeline.shards.storage import PART, refused, refusing

Block = tuple[int, bytes]
Keyed = tuple[int, Iterable[bytes]]

NOTHING = b""  # crosses a shuffle to every target, so that one that no block is sent to is gathered too


@dataclass(frozen=True)
class Order:
    """What one pipeline does: `function` maps, or scatters, each of `inputs`; `gather` is called for each target."""

    function: Callable[[Any], Any]
    inputs: Sequence[Any]
    gather: Callable[[Task, Iterable[bytes]], None] | None = None
    targets: Sequence[Task] = ()


@dataclass(frozen=True)
class Letter:
    """Where an order lies, and what its bytes must be: all that a graph holds of it."""

    name: str  # of the file, or of the object
    sha256: str

    @property
    def order(self) -> Order:
        """The order, read once a process. Raises StorageError: not to be seen from here; IntegrityError: changed."""
        return opened(self.name, self.sha256)

    @property
    def targets(self) -> dict[int, Task]:
        """The targets by shard."""
        return by_shard(self.name, self.sha256)


@contextmanager
def posted(order: Order, folder: Path | None) -> Iterator[Letter]:
    """The letter of an order that lies in `folder` (None: the system's for temporary files) while the block lasts.

    The file is named as what a killed run leaves and a build sweeps. Raises StorageError: it cannot be written.
    """
    path = (folder or Path(tempfile.gettempdir())) / f".order-{uuid.uuid4().hex}{PART}"
    data = pickled(order)
    with refusing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if place(path):
        transfer.upload(path)
    try:
        yield Letter(name_of(path), hashlib.sha256(data).hexdigest())
    finally:
        storage.remove(path)


class Pickler(pickle.Pickler):
    """Names objects by their address: where they lie in the cache is another place on another machine."""

    def persistent_id(self, obj: Any) -> str | None:
        return name_of(obj) if isinstance(obj, Path) and place(obj) else None


class Unpickler(pickle.Unpickler):
    """Finds them in the cache of this machine."""

    def persistent_load(self, pid: str) -> Path:
        return mirror(pid)


def pickled(order: Order) -> bytes:
    """An order as bytes."""
    file = io.BytesIO()
    Pickler(file).dump(order)
    return file.getvalue()


@lru_cache(maxsize=4)
def opened(name: str, sha256: str) -> Order:
    """The order in a file; only what was written for this pipeline is unpickled."""
    try:
        data = storage.read_bytes(mirror(name))
    except FileNotFoundError:
        here = socket.gethostname()
        raise StorageError(f"{name}: not to be seen from worker {here}; workers need the same --dir as you") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError(f"{name}: changed since this build wrote it; run the same command again")
    order: Order = Unpickler(io.BytesIO(data)).load()  # as safe as the graph, which its sha256 came with
    return order


@lru_cache(maxsize=4)
def by_shard(name: str, sha256: str) -> dict[int, Task]:
    """The targets of the order in a file, by shard."""
    return {task.shard: task for task in opened(name, sha256).targets}


@dataclass(frozen=True)
class Places:
    """The places of the inputs, from the one element that a graph begins with."""

    letter: Letter

    def __call__(self, _: Any) -> Iterator[int]:
        yield from range(len(self.letter.order.inputs))


@dataclass(frozen=True)
class Targets:
    """NOTHING to every target, likewise."""

    letter: Letter

    def __call__(self, _: Any) -> Iterator[Block]:
        yield from ((shard, NOTHING) for shard in self.letter.targets)


@dataclass(frozen=True)
class Make:
    """The function of an order, called with the input at a place."""

    letter: Letter

    def __call__(self, place: int) -> None:
        order = self.letter.order
        order.function(order.inputs[place])
        if "://" in self.letter.name:  # the work lies on an object store, and what was read of it in the cache
            trim()


@dataclass(frozen=True)
class Scatter:
    """The same for a scatter; blocks nobody waits for are dropped here."""

    letter: Letter

    def __call__(self, place: int) -> Iterator[Block]:
        order, wanted = self.letter.order, self.letter.targets
        for shard, block in order.function(order.inputs[place]):
            if shard in wanted:
                yield shard, block


@dataclass(frozen=True)
class Gather:
    """The gather of an order, with a shard number and an iterable that must not become a list here."""

    letter: Letter

    def __call__(self, keyed: Keyed) -> None:
        shard, blocks = keyed
        gather = self.letter.order.gather
        assert gather is not None
        gather(self.letter.targets[shard], (block for block in blocks if block != NOTHING))


@dataclass(frozen=True)
class Spill:
    """A scatter whose blocks go into a file a source; what crosses is where each lies: file, offset, length."""

    scatter: Callable[[int], Iterator[Block]]
    folder: Path

    def __call__(self, place: int) -> Iterator[Block]:
        path = (
            self.folder / f".{uuid.uuid4().hex}{PART}"
        )  # named as what a killed run leaves, so that a build sweeps it
        try:
            with path.open("wb") as file:
                for shard, block in self.scatter(place):
                    lies = json.dumps([path.name, file.tell(), len(block)]).encode()
                    file.write(block)
                    yield shard, lies
        except OSError as error:
            raise refused(path, error) from error


@dataclass(frozen=True)
class Unspill:
    """A gather of what `Spill` sent: it reads one block at a time."""

    gather: Callable[[Keyed], None]
    folder: Path

    def __call__(self, keyed: Keyed) -> None:
        shard, places = keyed
        self.gather((shard, (self.block(*json.loads(one)) for one in places if one != NOTHING)))

    def block(self, name: str, offset: int, length: int) -> bytes:
        """One block. Raises IntegrityError: the file has lost it."""
        with (self.folder / name).open("rb") as file:
            file.seek(offset)
            block = file.read(length)
        if len(block) != length:
            raise IntegrityError(f"{self.folder / name}: cut off below {offset + length} bytes while blocks crossed")
        return block
