"""Where an export is written: a folder or objects of a store that are replaced whole, or stay as they were.

Choice: a folder is filled beside its place and renamed; objects, which cannot be renamed, are uploaded when all of them
are whole, with a note that says so until the last one is there. Cost: an export to a store lies here once, below the
cache. Alternative: to upload while writing, which leaves half an export under the names of a whole one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.shards import lease, objects, storage, transfer
from pipeline.shards.locations import cache, location_of, name_of, path_of
from pipeline.shards.outcomes import BusyError, ConfigError, StorageError
from pipeline.shards.storage import Stamp

ABOUT = "webtext.json"


@dataclass
class Export:
    """What an export holds: the stamp of each file by name, and of each split the number of documents and tokens.

    `posted`: how many of the documents were posted on Reddit, and not named by a list of addresses alone; None where
    the corpus is not at hand.
    """

    folder: Path
    files: dict[str, Stamp] = field(default_factory=dict)
    documents: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    posted: int | None = None

    @contextmanager
    def write(self, name: str, rows: int = 0) -> Iterator[storage.HashingFile]:
        """A new file of the export, hashed while it is written."""
        with storage.atomic(self.folder / name) as file:
            yield file
        self.files[name] = file.stamp(rows)


def replacing(out: Path, force: bool) -> AbstractContextManager[Path]:
    """A folder to fill that becomes `out` when the block ends.

    Raises ConfigError: `out` is there, and not `force`, or it is no export. BusyError: another export writes it.
    """
    return replacing_objects(out, force) if location_of(out) else replacing_files(out.resolve(), force)


@contextmanager
def replacing_objects(out: Path, force: bool) -> Iterator[Path]:
    """A folder on this machine to fill, whose files become the objects of `out` when the block ends, ABOUT last.

    Until then, and after a run that was cut short, ABOUT says that the export is unfinished. Raises ConfigError as
    `replacing`; BusyError: another export began in the same place.
    """
    there = {path_of(out, at.key) for at, _ in objects.listed(out)}
    about, before = out / ABOUT, ""
    if there and about not in there:
        raise no_export(out)
    if there and not force:
        raise taken(out)
    if found := objects.known(about):
        before = found.mark
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"export{storage.PART}-", dir=cache()) as folder:
        try:
            transfer.put_bytes_once(about, json.dumps({"unfinished": True}).encode() + b"\n", before)
        except transfer.LostError:
            raise BusyError(f"{name_of(out)}: another export is written there; wait for it to end") from None
        yield Path(folder)
        files = sorted(path.name for path in Path(folder).iterdir() if not path.name.startswith("."))
        for name in sorted(files, key=lambda name: name == ABOUT):
            transfer.upload(Path(folder) / name, out / name)
        for path in there - {out / name for name in files}:
            transfer.remove(path)


def taken(out: Path) -> ConfigError:
    """The one line for a place where something lies."""
    return ConfigError(f"{name_of(out)}: is there already; name another folder, or replace it with --force")


def no_export(out: Path) -> ConfigError:
    """The one line for a place where something else lies."""
    why = f"is there, and no export (it has no {ABOUT}), so it is never replaced"
    return ConfigError(f"{name_of(out)}: {why}; name another folder")


@contextmanager
def replacing_files(out: Path, force: bool) -> Iterator[Path]:
    """A folder to fill that becomes `out` when the block ends; what a killed export left of it is taken over.

    Raises ConfigError: `out` is there, and not `force`, or it is no export. BusyError: another export writes it.
    """
    old_one = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if old_one and not (out / ABOUT).is_file():
        raise no_export(out)
    if old_one and not force:
        raise taken(out)
    part, old = (out.with_name(f".{out.name}.{name}{storage.PART}") for name in ("new", "old"))
    try:
        part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage.refused(out, error) from error
    with lease.lock(part):
        emptied(part)
        try:
            yield part
        except BaseException as error:
            shutil.rmtree(part)
            if isinstance(error, StorageError):  # in the names of the user, who has not heard of the folder beside
                raise StorageError(str(error).replace(str(part), str(out))) from error
            raise
        (part / storage.LOCK).unlink()
        try:
            if old_one:
                shutil.rmtree(old, ignore_errors=True)
                out.rename(old)
            part.rename(out)
        except OSError as error:
            raise storage.refused(out, error) from error
        storage.sync_folder(out.parent)
        shutil.rmtree(old, ignore_errors=True)


def emptied(folder: Path) -> None:
    """Remove all in a folder but its lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != storage.LOCK:
            path.unlink()
