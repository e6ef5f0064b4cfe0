"""Locations: which object of `s3://` or `gs://` a path stands for; a folder here, the mirror, for a directory there.

Choice: a path tells by itself that it is a mirror's, since one of its parts is a scheme (`…/s3:/bucket/key`); so code
goes on to work with paths, in every process and on every machine, and nothing has to be told to it. Cost: a folder of
that name cannot be used for anything else. Alternative: a type of paths of our own, which no library would take.
"""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.shards.outcomes import ConfigError

SCHEMES = ("s3:", "gs:")
CACHE = "WEBTEXT_CACHE"  # names the folder of all mirrors
CACHE_BYTES = "WEBTEXT_CACHE_BYTES"  # what they may hold, before what nobody has used for IDLE_S goes
MOST_BYTES = 50 * 10**9
IDLE_S = 3600
TRIM_S = 60  # between two looks of a process at what lies there


class Location(NamedTuple):
    """An object: `bucket` with its scheme (`s3://bucket`), and the key in it."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"


def mirror(name: str | Path) -> Path:
    """The path that stands for `s3://…` or `gs://…` here; a path of another kind is returned as it is."""
    parts = Path(name).parts
    if not parts or parts[0] not in SCHEMES:
        return Path(name)
    if len(parts) < 2:
        raise ConfigError(f"{name}: names no bucket; expected {parts[0]}//BUCKET/FOLDER")
    return cache().joinpath(*parts)


def cache() -> Path:
    """The folder of all mirrors: $WEBTEXT_CACHE, or `webtext` in the user's folder for caches."""
    if named := os.environ.get(CACHE):
        return Path(named).absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "webtext"
    except RuntimeError:  # a container's user without a home
        return Path(tempfile.gettempdir()) / "webtext"


def location_of(path: Path) -> Location | None:
    """The object that a path stands for; None: it is an ordinary path."""
    if ":" not in str(path):
        return None
    for number, part in enumerate(path.parts):
        if part in SCHEMES and len(path.parts) > number + 1:
            return Location(f"{part}//{path.parts[number + 1]}", "/".join(path.parts[number + 2 :]))
    return None


def name_of(path: Path) -> str:
    """A path as people and other machines know it: the address of an object, or the path itself."""
    found = location_of(path)
    return str(path) if found is None else str(found).rstrip("/")


def deletion(*paths: Path) -> str:
    """The command that deletes these files, for a person to run."""
    if all(location_of(path) is None for path in paths):
        return f"rm {shlex.join(str(path) for path in paths)}"
    tools = {"s3": "aws s3 rm", "gs": "gcloud storage rm"}
    found = [name_of(path) for path in paths]
    return " && ".join(f"{tools[name.partition(':')[0]]} {shlex.quote(name)}" for name in found)


ABOVE = "../"  # how a pointer begins that leads from the folder of pages to a file beside it


def pointer_to(path: Path, pages: Path) -> str:
    """How pointers name a file that a user named: from the folder of pages where it lies in the working directory.

    So the directory may move with its files, and nothing that was made of them is stale.
    """
    root = pages.parent
    return f"{ABOVE}{path.relative_to(root)}" if path.is_relative_to(root) else name_of(path)


def pointed_at(warc: str, pages: Path) -> Path:
    """The file that a pointer leads into."""
    return pages.parent / warc.removeprefix(ABOVE) if warc.startswith(ABOVE) else pages / mirror(warc)


def is_given(warc: str) -> bool:
    """Whether a pointer leads into a file that a user named, and not below the folder of pages."""
    return warc.startswith(ABOVE) or "://" in warc or Path(warc).is_absolute()


def with_addresses(text: str) -> str:
    """The text with the addresses of objects instead of where they lie in the cache."""
    for scheme in SCHEMES:
        text = text.replace(f"{cache()}/{scheme}/", f"{scheme}//")
    return text


def path_of(root: Path, key: str) -> Path:
    """The path of an object that lies in the bucket of `root`."""
    return Path(*root.parts[: 2 + next(n for n, part in enumerate(root.parts) if part in SCHEMES)], key)


# --- the cache


def most_bytes() -> int:
    """What all mirrors may hold. Raises ConfigError: $WEBTEXT_CACHE_BYTES is no number."""
    named = os.environ.get(CACHE_BYTES) or str(MOST_BYTES)
    try:
        return int(float(named))
    except ValueError:
        raise ConfigError(f"{CACHE_BYTES} is {named!r}; expected a number of bytes, as 50e9") from None


_trimmed = [0.0]  # when this process did so last, in seconds of a clock that never goes back


def trim_if_due() -> int:
    """The same once in TRIM_S for a process: to look at every file of the cache takes a second for 100,000 of them."""
    if _trimmed[0] and time.monotonic() - _trimmed[0] < TRIM_S:
        return 0
    _trimmed[0] = time.monotonic()
    return trim()


def trim(limit: int | None = None) -> int:
    """Take out of the cache, oldest first, what nobody has used for IDLE_S, until `limit` bytes are left.

    Returns how many bytes went. `limit`: $WEBTEXT_CACHE_BYTES, or MOST_BYTES. What went comes back when asked for.
    """
    most = limit if limit is not None else most_bytes()
    held = []
    for scheme in SCHEMES:
        for mark in (cache() / scheme).rglob(".*.mark"):
            file = mark.with_name(mark.name.removesuffix(".mark")[1:])
            with suppress(FileNotFoundError):
                held.append((mark.stat().st_mtime, file.stat().st_size, mark, file))
    total, gone = sum(size for _, size, _, _ in held), 0
    for used, size, mark, file in sorted(held):
        if total <= most or time.time() - used < IDLE_S:
            break
        mark.unlink(missing_ok=True)
        file.unlink(missing_ok=True)
        total, gone = total - size, gone + size
    return gone
