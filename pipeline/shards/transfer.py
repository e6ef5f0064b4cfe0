"""Transfers between a mirror and its object store: down, up, and on which condition.

Choice: what is published goes up, what is read is brought down if it is not here as it is there, and the store alone
says what is there. Cost: bytes lie here as well, until `trim` takes those that nobody has used. Alternative: a library
that shows objects as files (fsspec, gcsfuse): its rename is a copy and a deletion, and its lists may be old.

S3 and GCS show what was written as soon as it is (S3 since December 2020), replace objects whole, and write on a
condition: "only if there is none" or "only if it is still this one" (RFC 9110, section 13). Nothing else is relied on.
"""

from __future__ import annotations

import errno
import io
import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from pipeline.shards import progress
from pipeline.shards.locations import Location, location_of, name_of, path_of
from pipeline.shards.objects import (
    Object,
    asking,
    described,
    forget,
    known,
    listed,
    no_bucket,
    noted,
    store,
    view_of,
    watch,
)
from pipeline.shards.outcomes import StorageError

STATE = ("receipts/", "removals/", "manifest.json", "webtext.toml")  # small, read often: brought down all at once
AT_ONCE = 32  # requests
TRIES = 6  # of a conditional write; the client itself repeats only what may be done twice


class LostError(Exception):
    """A conditional write found that another writer was quicker."""


def look(root: Path) -> None:
    """Look at a whole directory at once, and bring its state down; see `objects.watch`."""
    if location_of(root) is None:
        return
    state = [key for key in watch(root).objects if any(part in key for part in STATE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(fetch_if_there, [path_of(root, key) for key in state]):
            pass


@contextmanager
def looking(root: Path) -> Iterator[None]:
    """A look at a directory for the length of a block, where nobody keeps one."""
    if location_of(root) is None or view_of(root):
        yield
        return
    look(root)
    try:
        yield
    finally:
        forget(root)


def renew(path: Path) -> None:
    """Look again at the directory that a path lies in, if it is looked at: others have worked in it."""
    if view := view_of(path):
        look(view.root)


# --- down


def mark_of(path: Path) -> Path:
    """Where it is noted which state of which object a file of the mirror holds."""
    return path.with_name(f".{path.name}.mark")


def held(path: Path) -> str:
    """The mark of the object whose bytes lie at `path`; "" for none."""
    with suppress(FileNotFoundError):
        return mark_of(path).read_text().partition(" ")[2]
    return ""


def note(path: Path, source: Path, found: Object) -> None:
    """Note that `path` holds an object as it now is, and in the view that it is so."""
    mark_of(path).write_text(f"{source.name} {found.mark}")
    noted(source, found)


def fetch(path: Path, source: Path | None = None) -> Path:
    """`path`, holding what the object at `source` (`path` itself by default) holds now.

    Raises FileNotFoundError: there is none, and then none is here; StorageError.
    """
    source = source or path
    found = known(source)
    with refusing_disk(path):
        if found is None:
            for stale in (mark_of(path), path):
                stale.unlink(missing_ok=True)
            raise FileNotFoundError(errno.ENOENT, "no such object", name_of(source))
        with suppress(FileNotFoundError):
            same = mark_of(path).read_text() == f"{source.name} {found.mark}"
            if same and path.stat().st_size == found.bytes:
                os.utime(mark_of(path))  # used: `trim` leaves it
                return path
    return download(path, source)


@contextmanager
def refusing_disk(path: Path) -> Iterator[None]:
    """Turn what this machine's disk refuses into StorageError; a missing file is no refusal."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: the cache cannot be used: {error.strerror or error}") from error


def fetch_if_there(path: Path) -> None:
    """The same; nothing where there is none."""
    with suppress(FileNotFoundError):
        fetch(path)


def download(path: Path, source: Path) -> Path:
    """Bring an object down, whole, and note which state of it that is."""
    here = location_of(source)
    assert here is not None
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}-{os.getpid()}.part")
    with refusing_disk(path), asking(source):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            answer = store(here.bucket).get(here.key)
            found = described(answer.meta)
            with part.open("wb") as file:
                for chunk in answer.stream(min_chunk_size=1 << 20):
                    file.write(chunk)
            if part.stat().st_size != found.bytes:
                raise StorageError(f"{name_of(source)}: cut off at {part.stat().st_size} of {found.bytes} bytes")
            mark_of(path).unlink(missing_ok=True)  # from here to the new mark, nobody takes what lies here for current
            part.replace(path)
            note(path, source, found)
        finally:
            part.unlink(missing_ok=True)
    return path


class Ranges(io.RawIOBase):
    """An object read by ranges, without a copy of it here. Raises FileNotFoundError, StorageError."""

    def __init__(self, path: Path) -> None:
        found = known(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", name_of(path))
        self.path, self.size, self.at = path, found.bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.size}[whence]
        return self.at

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self.size - self.at)
        if length <= 0:
            return 0
        here = location_of(self.path)
        assert here is not None
        with asking(self.path):
            buffer[:length] = memoryview(store(here.bucket).get_range(here.key, start=self.at, length=length))
        self.at += length
        progress.advance(progress.BYTES, length)
        return length


def opened(path: Path, ahead_bytes: int) -> BinaryIO:
    """An object to be read from any place, `ahead_bytes` at a time. Raises FileNotFoundError, StorageError."""
    return io.BufferedReader(Ranges(path), ahead_bytes)


# --- up


def upload(path: Path, target: Path | None = None) -> None:
    """Put a file of the mirror where it stands, or as the object at `target`, whatever lies there."""
    target = target or path
    here = location_of(target)
    assert here is not None
    mark_of(path).unlink(missing_ok=True)
    with asking(target):
        try:
            answer = store(here.bucket).put(here.key, path)
        except FileNotFoundError:
            raise no_bucket(target) from None
    note(path, target, Object(answer["e_tag"] or answer["version"], path.stat().st_size, time.time()))


def put_once(path: Path, before: str = "") -> None:
    """Put a file of the mirror where nothing lies, or else still what had the mark `before`. Raises LostError."""
    mark_of(path).unlink(missing_ok=True)
    note(path, path, put_bytes_once(path, path.read_bytes(), before))


def put_bytes_once(path: Path, data: bytes, before: str = "") -> Object:
    """The same with bytes, of which nothing is kept here; what the store says of the object.

    Raises LostError: another writer was quicker. A write whose answer got lost is recognised by what it wrote.
    """
    here = location_of(path)
    assert here is not None
    for left in reversed(range(TRIES)):
        try:
            mode = condition(here, before)
            answer = store(here.bucket).put(here.key, data, mode=mode, use_multipart=False)
        except FileNotFoundError:
            raise no_bucket(path) from None
        except (AlreadyExistsError, PreconditionError):
            if content(path) != data:
                raise LostError from None
            with asking(path):
                return described(store(here.bucket).head(here.key))
        except BaseError:
            if not left:
                with asking(path):
                    raise
            time.sleep(0.1 * 2 ** (TRIES - left))
        else:
            return Object(answer["e_tag"] or answer["version"], len(data), time.time())
    raise AssertionError("the last try returns or raises")


def condition(here: Location, before: str) -> Any:
    """How a client says "only if there is none", or "only if it is still this one" (GCS asks for its generation)."""
    if not before:
        return "create"
    try:
        found = store(here.bucket).head(here.key)
    except FileNotFoundError:
        raise PreconditionError(str(here)) from None
    if described(found).mark != before:
        raise PreconditionError(str(here))
    return {name: value for name in ("e_tag", "version") if (value := found[name])}


def content(path: Path) -> bytes | None:
    """What an object holds now, asked of the store; None: there is none."""
    here = location_of(path)
    assert here is not None
    with suppress(FileNotFoundError), asking(path):
        return bytes(store(here.bucket).get(here.key).bytes())
    return None


def now(folder: Path) -> float:
    """The store's clock, in seconds since 1970: when it says that an object was written that is written now."""
    path = folder / f".clock-{uuid.uuid4().hex[:8]}"
    here = location_of(path)
    assert here is not None
    with asking(path):
        store(here.bucket).put(here.key, b"")
        found = described(store(here.bucket).head(here.key))
        store(here.bucket).delete(here.key)
    return found.written


def remove(path: Path) -> None:
    """Delete an object, if it is there, and what lies here of it."""
    here = location_of(path)
    assert here is not None
    with suppress(FileNotFoundError), asking(path):
        store(here.bucket).delete(here.key)
    noted(path, None)
    for stale in (mark_of(path), path):
        stale.unlink(missing_ok=True)


def move(path: Path, target: Path) -> None:
    """Give an object another name; the store copies it, and nothing of it lies here."""
    here, there = location_of(path), location_of(target)
    assert here is not None and there is not None
    with asking(path):
        store(here.bucket).copy(here.key, there.key)
        noted(target, described(store(there.bucket).head(there.key)))
    remove(path)


# --- whole folders


def send(folder: Path) -> None:
    """Make the objects of a folder those files that lie here: what is new goes up, JSON last; what is gone goes."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    there = {path_of(folder, at.key): found for at, found in listed(folder)}
    for path in sorted(files, key=lambda path: (path.suffix == ".json", path)):
        if path not in there or there[path].mark != held(path) or there[path].bytes != path.stat().st_size:
            upload(path)
    for path in set(there) - set(files):
        remove(path)


def bring(folder: Path) -> None:
    """Make the files of a folder here those of its objects."""
    there = {path_of(folder, at.key) for at, _ in listed(folder)}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(fetch_if_there, sorted(there)):
            pass
    for path in folder.rglob("*"):
        if path.is_file() and path not in there and not path.name.startswith("."):
            path.unlink()
    for empty in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):  # it is not
            empty.rmdir()
