"""Garbage collection: what killed runs left in a working directory, told from what somebody is writing there now.

Choice: who writes a file holds its lock, which ends with the process however it dies; who writes a folder (an export)
holds one lock for all of it. Cost: where a file system has no locks, a part is taken for abandoned once its process is
gone from this machine. Alternative: to keep what is young, which leaves the parts of a build that goes on at once.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from pipeline.shards import layout, objects, pending, storage, transfer
from pipeline.shards.locations import location_of, path_of
from pipeline.shards.storage import LOCK, MARKED, PART

WRITER = re.compile(r"\.([0-9a-f]{8})-(\d+)\.part$")  # in the name of a part: the process that writes it
LEFT_S = 3600  # a part that nobody holds any more is left alone so long if its writer may live


def sweep(root: Path) -> int:
    """Remove what killed runs left under `root`: parts, and objects of attempts that no receipt names; how many.

    Only under the lock of the working directory. What somebody else is writing there (an export, say) stays, and what
    was decided is done first, and what an earlier version laid out otherwise is moved.
    """
    layout.renew(root)
    if location_of(root) is None:
        pending.finish(root)
    parts = [path for path in parts_below(root) if abandoned(path)]
    for path in parts:
        path.unlink(missing_ok=True)
    for folder in (root / "scratch").glob("exchange-*"):
        with suppress(OSError):  # somebody's blocks are in it
            folder.rmdir()
    if location_of(root) is None:
        return len(parts)
    listed = [path_of(root, at.key) for at, _ in objects.listed(root)]
    receipts = [path for path in listed if path.parent.name == layout.RECEIPTS]
    artefacts, named = {layout.artefact_of(path) for path in receipts}, set[str]()
    artefacts |= {root / part for part, stage in layout.BESIDE.items() if root / stage in artefacts}
    for path in receipts:
        with suppress(msgspec.MsgspecError):  # whoever reads it says what is wrong with it
            found = msgspec.json.decode(storage.read_bytes(path), type=dict[str, Any])
            named.update(stamp["sha256"][:16] for stamp in found["files"].values())
    ours = [path for path in listed if not artefacts.isdisjoint(path.parents[:2])]
    orphans = [path for path in ours if (mark := MARKED.search(path.name)) and mark[1] not in named]
    for path in orphans:
        transfer.remove(path)
    return len(parts) + len(orphans)


def parts_below(root: Path) -> Iterator[Path]:
    """The parts in a folder and those below it, but for folders that another run holds the lock of."""
    for name, folders, files in os.walk(root):
        folder = Path(name)
        if folder != root and LOCK in files and held(folder / LOCK):
            folders.clear()
            continue
        yield from (folder / file for file in files if file.startswith(".") and file.endswith(PART))


def held(path: Path) -> bool:
    """Whether somebody holds the lock of a file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # gone meanwhile, or a file system without locks
        return False
    return False


def abandoned(part: Path) -> bool:
    """Whether nobody will give this part its name any more: its writer does not hold it, and is gone."""
    if held(part):
        return False
    writer = WRITER.search(part.name)
    if writer is None or (
        writer[1] != storage.PROCESS and int(writer[2]) == os.getpid()
    ):  # numbers of processes come again
        return True
    try:
        os.kill(int(writer[2]), 0)  # no signal: it asks whether there is such a process
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    with suppress(FileNotFoundError):
        return time.time() - part.stat().st_mtime > LEFT_S
    return False
