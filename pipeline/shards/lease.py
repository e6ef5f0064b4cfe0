"""Lock and lease: one run at a time in a working directory.

Choice: the system's own lock on a file, which ends with the process that holds it, however it dies; for a directory on
an object store also a lease, an object that its holder writes anew as long as it lives and that another run may replace
once it has grown old. Cost: the lock means nothing to another machine on most network file systems, and after a kill
the next run from another machine waits LEASE_S. Alternative: a lease everywhere, which makes everybody wait.

All writes of the lease are conditional, so there is one holder; a holder that was away for longer than LEASE_S may find
another, and is then stopped within a beat. The receipts are written on a condition too: what two runs make at once is
made twice, and never mixed.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from pipeline.shards import interrupts, objects, storage, transfer
from pipeline.shards.locations import location_of, name_of
from pipeline.shards.outcomes import BusyError, StorageError, WebTextError
from pipeline.shards.storage import LOCK

LEASE = ".lease"
LEASE_S = 120.0
BEATS = 4  # how often a lease is renewed in LEASE_S
JOIN_S = 5.0  # that a request about the lease is waited for, at the end


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
        with leased(root) if location_of(root) else nullcontext(lambda: None) as check:
            yield check


def myself() -> str:
    """Who holds it, for a person."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def busy(root: Path, holder: str) -> BusyError:
    """The one line for a directory that another run holds."""
    dead = f"; if it died, its lease ends within {LEASE_S:g} s" if location_of(root) else ""
    return BusyError(f"{name_of(root)}: in use by {holder or 'another process'}; wait for it to end, or stop it{dead}")


class Lease:
    """The lease of a directory on an object store, while it is held: renewed by one thread, watched over by another.

    `lost`: why it is held no more. The thread that took it is then interrupted, again and again until it lets go.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.path, self.holder = root, root / LEASE, threading.get_ident()
        self.mark = taken(root, self.path)
        self.renewed = clock()
        self.ended, self.guard = threading.Event(), threading.Lock()
        self.lost: WebTextError | None = None
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.beat, self.watch)]
        for thread in self.threads:
            thread.start()

    def beat(self) -> None:
        """Renew the lease, as often as BEATS says; at once when this machine slept."""
        while self.lost is None and not self.ended.wait(min(1.0, LEASE_S / BEATS / 4)):
            if clock() - self.renewed >= LEASE_S / BEATS:
                asked = clock()
                try:
                    self.mark, self.renewed = written(self.path, self.mark), asked
                except transfer.LostError:
                    gone = "this process was away for too long, and another run took over"
                    self.lost = BusyError(f"{name_of(self.root)}: {gone}")
                except Exception:  # noqa: BLE001, S110 - whatever it was, it was not renewed; `watch` counts how long
                    pass

    def watch(self) -> None:
        """Interrupt the holder once the lease is lost, or was not renewed in time."""
        while not self.ended.wait(min(1.0, LEASE_S / BEATS / 4)):
            if self.lost is None and clock() - self.renewed >= LEASE_S:
                reason = f"its lease could not be renewed for {LEASE_S:g} s, and another run may hold it"
                self.lost = StorageError(f"{name_of(self.root)}: {reason}; run the same command again: it goes on")
            with self.guard:
                if self.lost is not None and not self.ended.is_set():
                    interrupts.stop(self.holder, self.lost)

    def check(self) -> None:
        """Raise what `lost` says, if it is."""
        if self.lost is not None:
            raise self.lost

    def close(self) -> None:
        """Let go of it; nobody is interrupted after."""
        with self.guard:
            self.ended.set()
        for thread in self.threads:
            thread.join(JOIN_S)  # a request may be under way
        if self.lost is None and (found := objects.known(self.path)) and found.mark == self.mark:
            transfer.remove(self.path)


@contextmanager
def leased(root: Path) -> Iterator[Callable[[], None]]:
    """The lease of a directory on an object store; and a view of it (see `transfer.look`). Raises as `Lease.check`."""
    held = Lease(root)
    try:
        transfer.look(root)
        yield held.check
    finally:
        objects.forget(root)
        try:
            held.close()
        except KeyboardInterrupt:
            if held.lost is None:
                raise
            held.close()  # that was the last one
        held.check()  # whatever the block ended with


def clock() -> float:
    """Seconds that go on while the machine sleeps, where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


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
    """Write the lease where there is none, or still the one with the mark `before`; its mark. Raises LostError.

    Nothing of it lies here: the cache may be cleared at any time.
    """
    data = json.dumps({"holder": myself(), "beat": uuid.uuid4().hex}).encode()
    return transfer.put_bytes_once(path, data, before).mark
