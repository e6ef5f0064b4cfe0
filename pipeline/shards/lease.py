"""One run at a time in a working directory.

Choice: the system's own lock on a file, which ends with the process that holds it, however it dies. Cost: it means
nothing to another machine on most network file systems. Alternative: a file with an expiry, which a slow holder
outlives.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.shards import storage
from pipeline.shards.outcomes import BusyError

LOCK = ".lock"


@contextmanager
def lock(root: Path) -> Iterator[None]:
    """The working directory for this process alone; the system ends the lock with the process, however it dies.

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
            holder = file.read().strip() or "another process"
            raise BusyError(f"{root}: in use by {holder}; wait for it to end, or stop it") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
