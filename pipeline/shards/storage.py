"""Atomic storage, files that exist whole or not at all: shard names, atomic writes, reads checked by sha256.

Choice: write beside the final name, fsync, rename, fsync the folder; hash while writing, verify once per process while
reading. Cost: one fsync a file and one extra read of a shard a process. Alternative: trust the file system; Arrow's IPC
format has no checksum, and a killed writer of its stream format leaves a file that reads as a valid, shorter one.

Where a path stands for an object (see `locations`), what is published is uploaded, and the store alone says what is
there. There is no rename there: each attempt at a shard uploads under a name of its own, with the sha256 of its bytes
in it, and the receipt, written on the condition that it is still the one that was found, picks one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from pipeline.shards import objects, progress, transfer
from pipeline.shards.locations import deletion, location_of, name_of
from pipeline.shards.outcomes import IntegrityError, StorageError

PART = ".part"
LOCK = ".lock"  # whoever works in a folder for longer than one file holds this one in it
MARKED = re.compile(r"\.([0-9a-f]{16})(?=\.\w+$)")  # in the name of an object of an attempt
AHEAD_BYTES = 1 << 23  # of an object that is read from front to back
PROCESS = uuid.uuid4().hex[:8]  # with the number of the process: two machines may share a folder


class Stamp(msgspec.Struct, frozen=True):
    """What a file must be: sha256 in hex, its length in bytes, its rows (0 where rows mean nothing)."""

    sha256: str
    bytes: int
    rows: int = 0


def shard_name(shard: int, shards: int, suffix: str) -> str:
    """`00042-of-00128.parquet`: names sort as numbers do, and tell how many there must be."""
    if not 0 <= shard < shards <= 99_999:
        raise ValueError(f"shard {shard} of {shards}")
    return f"{shard:05d}-of-{shards:05d}{suffix}"


class HashingFile:
    """A binary file, written once from front to back, that knows the sha256 of what went into it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.bytes, self.closed = 0, False

    def write(self, data: Any) -> int:
        """Write bytes or a buffer; returns how many bytes."""
        view = memoryview(data).cast("B")
        self.file.write(view)
        self.digest.update(view)
        self.bytes += len(view)
        return len(view)

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        self.file.flush()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing: the file ends when its `atomic` block does."""

    def stamp(self, rows: int = 0) -> Stamp:
        """The stamp of what has been written so far."""
        return Stamp(self.digest.hexdigest(), self.bytes, rows)


def part_of(path: Path) -> Path:
    """The name under which `path` is written before it is whole."""
    return path.with_name(f".{path.name}.{PROCESS}-{os.getpid()}{PART}")


@contextmanager
def writing(path: Path) -> Iterator[HashingFile]:
    """A file at `part_of(path)`, on disk for good when the block ends, gone when it fails; `publish` gives it its name.

    It is locked while it is written, so that no other run takes it for what a killed one left. Raises StorageError when
    the storage refuses.
    """
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            hashing = HashingFile(file)
            yield hashing
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise refused(path, error) from error
        raise


def publish(paths: Iterable[Path], once: bool = False) -> None:
    """Rename each part to its final name, then make the renames durable; upload those that stand for objects.

    `once`: of objects only where none is. Raises StorageError: the storage refuses, another attempt was quicker.
    """
    folders = set()
    for path in paths:
        try:
            part_of(path).replace(path)
        except OSError as error:
            raise refused(path, error) from error
        folders.add(path.parent)
        if location_of(path) is not None:
            upload(path, once)
    for folder in sorted(folders):
        sync_folder(folder)


def upload(path: Path, once: bool) -> None:
    """Put a file of a mirror where it stands."""
    try:
        transfer.put_once(path) if once else transfer.upload(path)
    except transfer.LostError:
        problem = f"{name_of(path)}: another process has written it meanwhile; run the same command again"
        raise StorageError(problem) from None


def commit(receipt: Path, data: bytes, files: Mapping[Path, Stamp], before: Mapping[Path, Stamp]) -> bool:
    """Publish the files of a shard, then its receipt; whether it was done, and not by another attempt meanwhile.

    `before`: the files that the receipt so far names. A receipt never outlives its files: where files are renamed, the
    old one goes first; where they are objects, the new one replaces it, and then what the old one named is deleted.
    """
    if location_of(receipt) is None:
        if receipt.exists():
            receipt.unlink()
            sync_folder(receipt.parent)
        publish(sorted(files))
        write_bytes(receipt, data)
        return True
    found = transfer.held(receipt)
    for path, stamp in sorted(files.items()):
        with refusing(path):
            part_of(path).replace(path)
        transfer.upload(path, attempted(path, stamp))
    with writing(receipt) as file:
        file.write(data)
    with refusing(receipt):
        part_of(receipt).replace(receipt)
    try:
        transfer.put_once(receipt, found)
    except transfer.LostError:
        return False
    for path, stamp in before.items():
        if files.get(path, stamp).sha256 != stamp.sha256:
            transfer.remove(attempted(path, stamp))
    return True


def attempted(path: Path, stamp: Stamp) -> Path:
    """The name of the object of an attempt: `00042-of-00128.0123456789abcdef.parquet`."""
    return path.with_name(f"{path.stem}.{stamp.sha256[:16]}{path.suffix}")


@contextmanager
def atomic(path: Path, once: bool = False) -> Iterator[HashingFile]:
    """A file that appears at `path`, whole and durable, when the block ends, or not at all; `once`: see `publish`."""
    with writing(path) as file:
        yield file
    publish([path], once)


def write_bytes(path: Path, data: bytes) -> Stamp:
    """Write `data` at `path` atomically."""
    with atomic(path) as file:
        file.write(data)
    return file.stamp()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn what the system refuses within the block into StorageError."""
    try:
        yield
    except OSError as error:
        raise refused(path, error) from error


def refused(path: Path, error: OSError) -> StorageError:
    """The one line for a write that the storage did not take."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"{path}: no space left; free some and run the same command again: it goes on where it was")
    return StorageError(f"{path}: cannot be written: {error.strerror or error}")


# --- what is there


def local(path: Path) -> Path:
    """`path`, holding here what it stands for. Raises FileNotFoundError, of objects also StorageError."""
    return path if location_of(path) is None else transfer.fetch(path)


def read_bytes(path: Path) -> bytes:
    """What a file holds. Raises as `local`."""
    return local(path).read_bytes()


def exists(path: Path) -> bool:
    """Whether there is a file or an object of this name."""
    return path.exists() if location_of(path) is None else objects.known(path) is not None


def stands(path: Path) -> bool:
    """The same by the word of the disk or the store of now, whatever this process knows; true where none is given."""
    try:
        return path.exists() if location_of(path) is None else objects.asked(path) is not None
    except (OSError, StorageError):
        return True


def remove(path: Path) -> None:
    """Delete a file or an object, if it is there."""
    if location_of(path) is None:
        path.unlink(missing_ok=True)
    else:
        transfer.remove(path)


def discard(path: Path) -> None:
    """Delete a file of a shard that no receipt describes, if it is there; of objects, those of all attempts."""
    remove(path)
    if location_of(path) is not None:
        for name in names(path.parent, f"{path.stem}.*{path.suffix}"):
            if MARKED.sub("", name.name) == path.name:
                transfer.remove(name)


def names(folder: Path, pattern: str) -> list[Path]:
    """The paths in a folder whose last part matches a pattern, in order. Objects are not brought here."""
    if location_of(folder) is None:
        return sorted(folder.glob(pattern))
    begins = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    return sorted(path for path in objects.inside(folder, begins) if fnmatchcase(path.name, pattern))


def reading(path: Path, ahead_bytes: int = AHEAD_BYTES) -> BinaryIO:
    """A file, or an object without a copy of it here, `ahead_bytes` at a time. Raises FileNotFoundError, OSError."""
    return progress.reading(path) if location_of(path) is None else transfer.opened(path, ahead_bytes)


def size_of(path: Path) -> int:
    """How many bytes a file or an object has. Raises FileNotFoundError."""
    if location_of(path) is None:
        return path.stat().st_size
    found = objects.known(path)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "no such object", name_of(path))
    return found.bytes


def written_since(folder: Path, pattern: str, since: float) -> int:
    """How many files in a folder that match a pattern were written since a time (seconds since 1970)."""
    if location_of(folder) is None:
        return sum(path.stat().st_mtime >= since for path in folder.glob(pattern))
    found = objects.listed(folder)
    return sum(fnmatchcase(at.key.rpartition("/")[2], pattern) and entry.written >= since for at, entry in found)


def sha256_of(path: Path) -> str:
    """The sha256 of a file in hex."""
    with progress.reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_verified: set[tuple[str, str, int, int]] = set()


def verified(path: Path, stamp: Stamp, receipt: Path) -> Path:
    """`path`, once its bytes were found to be those of `stamp`; looked at once per process while it does not change.

    Raises IntegrityError (missing, another length, another sha256), which tells to delete the `receipt` it is in.
    """
    mend = f"run: {deletion(receipt)} and build again: only this shard is made anew"
    try:
        if location_of(path) is not None:
            transfer.fetch(path, attempted(path, stamp))
        status = path.stat()
    except FileNotFoundError:
        raise IntegrityError(f"{path}: missing, but its receipt is there; {mend}") from None
    key = (str(path), stamp.sha256, status.st_mtime_ns, status.st_size)
    if key in _verified:
        return path
    if status.st_size != stamp.bytes:
        raise IntegrityError(f"{path}: {status.st_size} bytes, its receipt says {stamp.bytes}; {mend}")
    found = sha256_of(path)
    if found != stamp.sha256:
        raise IntegrityError(f"{path}: sha256 {found[:12]}…, its receipt says {stamp.sha256[:12]}…; {mend}")
    _verified.add(key)
    return path


def is_there(path: Path, stamp: Stamp) -> bool:
    """Whether a file of the right length stands at `path`: all that can be told without reading it."""
    with suppress(FileNotFoundError):
        return size_of(path if location_of(path) is None else attempted(path, stamp)) == stamp.bytes
    return False
