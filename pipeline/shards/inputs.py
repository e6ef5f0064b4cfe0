"""Files that a user names: which a glob means, and what tells whether one has changed."""

from __future__ import annotations

import glob
import hashlib
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline.plaintext import is_text
from pipeline.shards import objects, progress, storage
from pipeline.shards.locations import location_of, mirror, name_of
from pipeline.shards.outcomes import InputError, StorageError

HASHES = "scratch/sha256.json"  # what input files held when they were last read
SETTLED_S = 2

T = TypeVar("T")


def matching(patterns: Iterable[str], root: Path, setting: str, folders: list[str] | None = None) -> list[Path]:
    """The files that the globs of a setting name, absolute, sorted, each once; relative globs start at `root`.

    A glob of objects is `s3://bucket/…` or `gs://bucket/…`. Raises InputError: a glob that matches nothing, or a name
    that is not UTF-8, which no receipt could hold; or nothing but a folder, unless `folders` takes the notes on such.
    """
    found: set[Path] = set()
    for pattern in patterns:
        wanted = mirror(pattern)
        if location_of(root / wanted) is not None:
            files = set(objects.matching(root / wanted))
            folder = not (files or glob.has_magic(pattern)) and bool(objects.inside(root / wanted))
        else:
            relative = glob.glob(pattern, root_dir=root, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute ones
            files = {(root / name).absolute() for name in relative if (root / name).is_file()}
            folder = not files and bool(relative)
        if folder:
            problem = f"{setting}: {pattern!r} is a folder; name the files in it, as {pattern.rstrip('/')}/*"
            if folders is None:
                raise InputError(problem)
            folders.append(problem)
        elif not files:
            raise InputError(f"{setting}: {pattern!r} matches no file (from {name_of(root.absolute())}); correct it")
        found |= files
    for path in found:
        if not is_text(str(path)):
            raise InputError(f"{setting}: {str(path)!a}: the name is not UTF-8; give the file another one")
    return sorted(found)


def remembered(cache: Path, mark: str, make: Callable[[], T], kind: type[T]) -> T:
    """What `make` gives, kept in a file as JSON of a `kind` while the mark of what it is made from stays."""
    try:
        known, found = msgspec.json.decode(storage.read_bytes(cache), type=tuple[str, kind])  # type: ignore[valid-type]
        if known == mark:
            return found
    except (OSError, msgspec.MsgspecError):
        pass
    made = make()
    with suppress(StorageError):  # who may only look at a directory makes it again
        storage.write_bytes(cache, msgspec.json.encode((mark, made)))
    return made


def sha256_of_each(paths: Iterable[Path], cache: Path) -> dict[Path, str]:
    """The sha256 of input files; one that has kept its length, time and place since `cache` was written is not read.

    `cache`: a file in a folder of the working directory, from which places below it are told.

    A file changed less than SETTLED_S seconds ago is not remembered: it could change again within one tick of its time.
    Of an object it is the sha256 of what its store says of it, mark and length: nobody reads a bucket twice to name it.
    """
    try:
        known = msgspec.json.decode(storage.read_bytes(cache), type=dict[str, tuple[list[int], str]])
    except (OSError, msgspec.MsgspecError):
        known = {}
    found: dict[Path, str] = {}
    marks: dict[Path, tuple[str, list[int]]] = {}  # of what may be remembered
    unread, root = {}, cache.parents[1]
    for path in paths:
        if location_of(path) is not None:
            found[path] = hashlib.sha256(objects.identity(path).encode()).hexdigest()
            continue
        status = path.stat()
        mark = [status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev]
        name = str(path.relative_to(root) if path.is_relative_to(root) else path)  # the directory may move
        before = known.get(name)
        found[path] = before[1] if before and before[0] == mark else ""
        if not found[path]:
            unread[path] = status.st_size
        if time.time_ns() - status.st_mtime_ns > SETTLED_S * 10**9:
            marks[path] = name, mark
    with progress.phase("input files", sum(unread.values()), progress.BYTES):
        found |= {path: storage.sha256_of(path) for path in unread}
    kept = {name: (mark, found[path]) for path, (name, mark) in marks.items()}
    if any(known.get(name) != entry for name, entry in kept.items()):
        with suppress(StorageError):  # who may only look at a directory reads its inputs again
            storage.write_bytes(cache, msgspec.json.encode(known | kept))
    return found
