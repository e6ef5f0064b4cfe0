"""Files that exist whole or not at all: shard names, atomic writes, reads checked by sha256.

Choice: write beside the final name, fsync, rename, fsync the folder; hash while writing, verify once per process while
reading. Cost: one fsync a file and one extra read of a shard a process. Alternative: trust the file system; Arrow's IPC
format has no checksum, and a killed writer of its stream format leaves a file that reads as a valid, shorter one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from pipeline.shards.outcomes import IntegrityError, StorageError

PART = ".part"
SHARD_NAME = re.compile(r"(\d{5})-of-(\d{5})(\..+)")


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
    return path.with_name(f".{path.name}.{os.getpid()}{PART}")


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
    except OSError as error:
        part.unlink(missing_ok=True)
        raise refused(path, error) from error
    except BaseException:
        part.unlink(missing_ok=True)
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


def verified(path: Path, stamp: Stamp) -> Path:
    """`path`, once its bytes were found to be those of `stamp`; looked at once per process while it does not change.

    Raises IntegrityError: missing, another length, another sha256.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise IntegrityError(f"{path}: missing, but its receipt is there; {mend(path)}") from None
    key = (str(path), stamp.sha256, status.st_mtime_ns, status.st_size)
    if key in _verified:
        return path
    if status.st_size != stamp.bytes:
        raise IntegrityError(f"{path}: {status.st_size} bytes, its receipt says {stamp.bytes}; {mend(path)}")
    found = sha256_of(path)
    if found != stamp.sha256:
        raise IntegrityError(f"{path}: sha256 {found[:12]}…, its receipt says {stamp.sha256[:12]}…; {mend(path)}")
    _verified.add(key)
    return path


def mend(path: Path) -> str:
    """What to do about a damaged shard."""
    match = SHARD_NAME.fullmatch(path.name)
    name = f"{match[1]}-of-{match[2]}" if match else path.stem
    return f"delete the receipt {name}.json of this shard and build again: only this shard is made anew"
