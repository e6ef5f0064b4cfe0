"""Listings of object stores, by path: one object, a folder, a glob, a whole directory at once.

Choice: whoever holds a directory looks at all of it once (1,000 objects a request) and notes what it changes; everybody
else asks for each object. Cost: a holder has to be told when others have worked for it. Alternative: asking always,
which for 2,250 shards (45 million links) is 100,000 requests a build, half an hour of waiting.
"""

from __future__ import annotations

import errno
import glob
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import obstore
import obstore.store
from obstore.exceptions import (
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from pipeline.shards import reach
from pipeline.shards.locations import Location, location_of, name_of, path_of
from pipeline.shards.outcomes import ConfigError, StorageError

LISTED = 1_000  # objects a request: as many as S3 and GCS answer with
UNSORTED = "--x-s3"  # how names of directory buckets end, which list in no order (S3 Express One Zone)


class Object(NamedTuple):
    """What the store says of an object: its mark (ETag), length in bytes, time of writing (s since 1970)."""

    mark: str
    bytes: int
    written: float


# --- requests


@lru_cache(maxsize=16)
def store(bucket: str) -> Any:
    """The client of a bucket; credentials, region and endpoint come from the environment (AWS_*, GOOGLE_*).

    Raises ConfigError, StorageError: see `reach.refuse_store`.
    """
    reach.refuse_store(bucket)
    try:
        return obstore.store.from_url(bucket)
    except Exception as error:  # noqa: BLE001 - whatever it says of the environment
        raise ConfigError(f"{bucket}: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """What a client says before it goes into detail."""
    return str(error).partition("\n")[0][:300]


@contextmanager
def asking(path: Path) -> Iterator[None]:
    """Turn what the store or this disk refuses within the block into StorageError; that nothing is there stays so."""
    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise StorageError(f"{name_of(path)}: not allowed; check the credentials ({first_line(error)})") from error
    except BaseError as error:
        if "NoSuchBucket" in str(error):  # as S3 and GCS name it
            raise no_bucket(path) from error
        found = location_of(path)
        if known := reach.diagnosis(found.bucket, str(error)) if found else None:
            raise known from error
        raise StorageError(
            f"{name_of(path)}: the object store does not answer as it should ({first_line(error)}); "
            "run the same command again: it goes on where it was"
        ) from error


def no_bucket(path: Path) -> StorageError:
    """The one line for a bucket that does not exist."""
    found = location_of(path)
    return StorageError(f"{found.bucket if found else path}: no such bucket; make it first, or correct the name")


def described(found: Any) -> Object:
    """What a client's answer says of an object."""
    return Object(found["e_tag"] or found["version"], found["size"], found["last_modified"].timestamp())


# --- what is there: asked for each object, or for a whole directory at once


@dataclass
class View:
    """All objects of one directory as they were when it was looked at, less and more what this process changed since.

    Only who holds the directory may keep one: a view does not see what others do.
    """

    root: Path
    objects: dict[str, Object]
    folders: dict[str, set[str]] = field(default_factory=dict)  # the keys of each

    def __post_init__(self) -> None:
        for key in self.objects:
            self.folders.setdefault(key.rpartition("/")[0], set()).add(key)

    def note(self, key: str, found: Object | None) -> None:
        """Know from now on that an object is so, or gone."""
        folder = self.folders.setdefault(key.rpartition("/")[0], set())
        if found is None:
            self.objects.pop(key, None)
            folder.discard(key)
        else:
            self.objects[key] = found
            folder.add(key)


_views: dict[Path, View] = {}


def watch(root: Path) -> View:
    """Look at a whole directory at once; until `forget`, what is there is not asked again."""
    _views[root] = view = View(root, {at.key: found for at, found in listed(root)})
    return view


def forget(root: Path) -> None:
    """Ask for each object again."""
    _views.pop(root, None)


def view_of(path: Path) -> View | None:
    """The view that covers a path."""
    return next((view for root, view in _views.items() if path.is_relative_to(root)), None)


def listed(folder: Path) -> Iterator[tuple[Location, Object]]:
    """All objects below a folder, as the store lists them now."""
    here = location_of(folder)
    assert here is not None
    with asking(folder):
        for page in store(here.bucket).list(f"{here.key}/" if here.key else None, chunk_size=LISTED):
            for entry in page:
                yield Location(here.bucket, entry["path"]), described(entry)


def inside(folder: Path, begins: str = "") -> list[Path]:
    """The paths of all objects in a folder whose names begin so, not of those in folders below it.

    What begins alike is asked for alone: a request for 1,000 of them, whatever else the folder holds.
    """
    here, view = location_of(folder), view_of(folder)
    assert here is not None
    start = f"{here.key}/{begins}" if here.key else begins
    if view:
        keys = [key for key in view.folders.get(here.key, ()) if key.startswith(start)]
    elif begins and not here.bucket.endswith(UNSORTED):
        keys = [key for key in beginning(folder, start) if key.rpartition("/")[0] == here.key]
    else:
        with asking(folder):
            found = store(here.bucket).list_with_delimiter(f"{here.key}/")["objects"]
        keys = [entry["path"] for entry in found if entry["path"].startswith(start)]
    return [path_of(folder, key) for key in keys]


def beginning(folder: Path, start: str) -> Iterator[str]:
    """The keys that begin so; S3 and GCS list keys in order, and from a given one on."""
    here = location_of(folder)
    assert here is not None
    with asking(folder):
        below = f"{here.key}/" if here.key else None
        after = start[:-1] or None  # before all that begin so, and no such key itself
        for page in store(here.bucket).list(below, offset=after, chunk_size=LISTED):
            for entry in page:
                if entry["path"].startswith(start):
                    yield entry["path"]
                elif entry["path"] > start:
                    return


def matching(pattern: Path) -> list[Path]:
    """The paths of the objects that a glob names; `*` stays within a folder, `**` is any number of folders."""
    here = location_of(pattern)
    assert here is not None
    parts = here.key.split("/")
    fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), parts))
    if len(fixed) == len(parts):
        return [pattern] if known(pattern) is not None else []
    wanted = re.compile(regular_expression(here.key))
    below = path_of(pattern, "/".join(fixed))
    return sorted(path_of(pattern, at.key) for at, _ in listed(below) if wanted.fullmatch(at.key))


def regular_expression(pattern: str) -> str:
    """A glob of keys as a regular expression."""
    words = re.split(r"(\*\*/|\*|\?|\[[^\]]+\])", pattern)
    meanings = {"**/": "(?:[^/]+/)*", "*": "[^/]*", "?": "[^/]"}
    return "".join(meanings.get(word) or (characters(word) if word[:1] == "[" else re.escape(word)) for word in words)


def characters(glob_set: str) -> str:
    """`[!a-c]` of a glob as a regular expression."""
    inside = re.sub(r"([\\\[&~|])", r"\\\1", glob_set[1:-1])
    return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"


def identity(path: Path) -> str:
    """What changes when an input does: its mark and length, wherever it lies. Raises FileNotFoundError."""
    found = known(path)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "no such object", name_of(path))
    return f"{found.mark} {found.bytes}"


def known(path: Path) -> Object | None:
    """What is at a path, or None."""
    here = location_of(path)
    assert here is not None
    if view := view_of(path):
        return view.objects.get(here.key)
    return asked(path)


def asked(path: Path) -> Object | None:
    """What is at a path by the store's own word of now, or None."""
    here = location_of(path)
    assert here is not None
    try:
        with asking(path):
            return described(store(here.bucket).head(here.key))
    except FileNotFoundError:
        return None


def noted(path: Path, found: Object | None) -> None:
    """Note in the view what this process has just done to an object."""
    here, view = location_of(path), view_of(path)
    if here is not None and view is not None:
        view.note(here.key, found)
