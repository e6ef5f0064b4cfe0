"""Files that exist whole or not at all: shard names, atomic writes, reads checked by sha256.

Choice: write beside the final name, fsync, rename, fsync the folder; hash while writing, verify once per process while
reading. Cost: one fsync a file and one extra read of a shard a process. Alternative: trust the file system; Arrow's IPC
format has no checksum, and a killed writer of its stream format leaves a file that reads as a valid, shorter one.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shlex
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from pipeline.shards.outcomes import InputError, IntegrityError, StorageError

PART = ".part"
HASHES = "scratch/sha256.json"  # what input files held when they were last read
SETTLED_S = 2
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
        self.bytes = 0
        self.closed = False

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

    Raises StorageError when the storage refuses.
    """
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
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


def publish(paths: Iterable[Path]) -> None:
    """Rename each part to its final name, then make the renames durable."""
    folders = set()
    for path in paths:
        try:
            part_of(path).replace(path)
        except OSError as error:
            raise refused(path, error) from error
        folders.add(path.parent)
    for folder in sorted(folders):
        sync_folder(folder)


@contextmanager
def atomic(path: Path) -> Iterator[HashingFile]:
    """A file that appears at `path`, whole and durable, when the block ends, or not at all."""
    with writing(path) as file:
        yield file
    publish([path])


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


def sweep(root: Path) -> int:
    """Remove the parts that killed runs left under `root`; how many. Only under the lock of the working directory."""
    parts = [path for path in root.rglob(f".*{PART}") if path.is_file()]
    for path in parts:
        path.unlink(missing_ok=True)
    return len(parts)


def sha256_of(path: Path) -> str:
    """The sha256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_verified: set[tuple[str, str, int, int]] = set()


def verified(path: Path, stamp: Stamp, receipt: Path) -> Path:
    """`path`, once its bytes were found to be those of `stamp`; looked at once per process while it does not change.

    Raises IntegrityError (missing, another length, another sha256), which tells to delete the `receipt` it is in.
    """
    mend = f"run: rm {shlex.quote(str(receipt))} and build again: only this shard is made anew"
    try:
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
    try:
        return path.stat().st_size == stamp.bytes
    except FileNotFoundError:
        return False


def matching(patterns: Iterable[str], root: Path, setting: str) -> list[Path]:
    """The files that the globs of a setting name, absolute, sorted, each once; relative globs start at `root`.

    Raises InputError: a glob that matches no file.
    """
    found: set[Path] = set()
    for pattern in patterns:
        names = glob.glob(pattern, root_dir=root, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute ones
        files = {(root / name).absolute() for name in names if (root / name).is_file()}
        if not files:
            raise InputError(f"{setting}: {pattern!r} matches no file (from {root.absolute()}); correct it")
        found |= files
    return sorted(found)


def sha256_of_each(paths: Iterable[Path], cache: Path) -> dict[Path, str]:
    """The sha256 of input files; one that has kept its length, time and place since `cache` was written is not read.

    A file changed less than SETTLED_S seconds ago is not remembered: it could change again within one tick of its time.
    """
    try:
        known = msgspec.json.decode(cache.read_bytes(), type=dict[str, tuple[list[int], str]])
    except (OSError, msgspec.MsgspecError):
        known = {}
    found, kept = {}, {}
    for path in paths:
        status = path.stat()
        mark = [status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev]
        before = known.get(str(path))
        found[path] = before[1] if before and before[0] == mark else sha256_of(path)
        if time.time_ns() - status.st_mtime_ns > SETTLED_S * 10**9:
            kept[str(path)] = (mark, found[path])
    if any(known.get(name) != entry for name, entry in kept.items()):
        write_bytes(cache, msgspec.json.encode(known | kept))
    return found
