"""One run at a time in a working directory.

Choice: the system's own lock on a file, which ends with the process that holds it, however it dies; for a directory on
an object store also a lease, an object that its holder writes anew as long as it lives and that another run may replace
once it has grown old. Cost: the lock means nothing to another machine on most network file systems, and after a kill
the next run from another machine waits LEASE_S. Alternative: a lease everywhere, which makes everybody wait.

All writes of the lease are conditional, so there is one holder; a holder that was away for longer than LEASE_S may find
another. The receipts are written on a condition too: what two runs make at once is made twice, and never mixed.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from pipeline.shards import objects, storage, transfer
from pipeline.shards.outcomes import BusyError, StorageError
from pipeline.shards.places import name_of, place

LOCK = ".lock"
LEASE = ".lease"
LEASE_S = 120.0
BEATS = 4  # how often a lease is renewed in LEASE_S


@contextmanager
def lock(root: Path) -> Iterator[Callable[[], None]]:
    """The working directory for this process alone; the block is handed a function that raises BusyError if no more.

    Raises BusyError, naming the holder.
    """
    with storage.refusing(root / LOCK):
        root.mkdir(parents=True, exist_ok=True)
        opened = (root / LOCK).open("a+")
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise busy(root, file.read().strip()) from None
        file.truncate(0)
        file.write(myself())
        file.flush()
        with leased(root) if place(root) else nullcontext(lambda: None) as check:
            yield check


def myself() -> str:
    """Who holds it, for a person."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def busy(root: Path, holder: str) -> BusyError:
    """The one line for a directory that another run holds."""
    dead = f"; if it died, its lease ends within {LEASE_S:g} s" if place(root) else ""
    return BusyError(f"{name_of(root)}: in use by {holder or 'another process'}; wait for it to end, or stop it{dead}")


@contextmanager
def leased(root: Path) -> Iterator[Callable[[], None]]:
    """The lease of a directory on an object store, renewed by a thread; and a view of it (see `transfer.look`)."""
    path, ended, lost = root / LEASE, threading.Event(), threading.Event()
    mark = taken(root, path)

    def beat() -> None:
        nonlocal mark
        while not ended.wait(LEASE_S / BEATS):
            with suppress(StorageError):  # as long as nobody replaces it, it is ours
                try:
                    mark = written(path, mark)
                except transfer.LostError:
                    lost.set()
                    return

    def check() -> None:
        if lost.is_set():
            raise BusyError(f"{name_of(root)}: this process was away for too long, and another run took over")

    transfer.look(root)
    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield check
    finally:
        ended.set()
        beating.join()
        objects.forget(root)
        if not lost.is_set():
            transfer.remove(path)
    check()


def taken(root: Path, path: Path) -> str:
    """The mark of the lease, now ours. Raises BusyError: another run holds it."""
    with suppress(transfer.LostError):
        return written(path, "")
    data, found = transfer.content(path), objects.known(path)
    if data is None or found is None:  # ended between two questions
        return taken(root, path)
    if transfer.now(root) - found.written >= LEASE_S:
        with suppress(transfer.LostError):
            return written(path, found.mark)
    with suppress(ValueError, KeyError, TypeError):  # whoever wrote it wrote something else
        raise busy(root, str(json.loads(data)["holder"]))
    raise busy(root, "")


def written(path: Path, before: str) -> str:
    """Write the lease where there is none, or still the one with the mark `before`; its mark. Raises LostError."""
    path.write_text(json.dumps({"holder": myself(), "beat": uuid.uuid4().hex}))
    transfer.put_once(path, before)
    return transfer.held(path)
