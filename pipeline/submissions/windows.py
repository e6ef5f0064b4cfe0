"""Decoder windows: the memory that zstandard files ask of their readers, and room for so many at once on one machine.

Choice: the budget is cut into units, each a file under a lock of the system's, so that all readers of a machine count,
whichever process or engine started them, and one that was killed counts no more. Who waits for units waits alone at a
gate and holds none, so a large window is not passed over for ever and nobody waits for each other. Cost: a reader may
stand still until another has ended. Alternative: refuse such files, which are what dumps of Reddit come as.

A frame says in its first 18 bytes how much of what came before it may refer to (RFC 8878, section 3.1.1.1.2): 2 GiB for
`zstd --long=31`. A file is taken by its first frame; those behind it are most often of the same make.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import zstandard

from pipeline.shards import machine, storage
from pipeline.shards.locations import location_of

UNIT_BYTES = 1 << 28
MODEST_BYTES = 1 << 27  # the window up to which the tool `zstd` decodes without being asked for more (--long=27)
HEAD_BYTES = 18  # of a frame's head at most
SKIPPABLE = range(0x184D2A50, 0x184D2A60)  # RFC 8878, section 3.1.2: a frame for other programs
SHARE = 0.5  # of a machine's memory, where the settings name no bytes
LOOK_S = 0.2  # between two looks for room


def window_of(path: Path) -> int:
    """Bytes that the decoder of a file's first frame holds; 0 where it is no zstandard: who reads it tells why."""
    if path.suffix.lower() != ".zst":
        return 0
    try:
        with path.open("rb") if location_of(path) is None else storage.reading(path, 1 << 12) as file:
            head = file.read(HEAD_BYTES)
            while len(head) >= 8 and int.from_bytes(head[:4], "little") in SKIPPABLE:
                file.seek(int.from_bytes(head[4:8], "little") + 8 - len(head), os.SEEK_CUR)
                head = file.read(HEAD_BYTES)
        return int(zstandard.get_frame_parameters(head).window_size)
    except (OSError, zstandard.ZstdError):
        return 0


def budget(named_bytes: int) -> int:
    """The bytes that all readers of a machine may hold in windows; `named_bytes` of the settings, 0: SHARE of all."""
    return named_bytes or int(SHARE * machine.memory_bytes())


def at_once(window_bytes: int, budget_bytes: int) -> int:
    """How many readers with such a window have room; at least one has."""
    units = -(-window_bytes // UNIT_BYTES)
    return max(1, (budget_bytes // UNIT_BYTES) // max(1, units))


@contextmanager
def room(path: Path, budget_bytes: int, folder: Path | None = None) -> Iterator[int]:
    """Room for the decoder of a file, held while the block lasts; waits until others leave it. Gives its bytes.

    `folder`: of the locks, one for all that share a machine's memory. Raises StorageError: it cannot be used.
    """
    window = window_of(path)
    if window <= MODEST_BYTES:
        yield 0
        return
    every = max(1, budget_bytes // UNIT_BYTES)
    wanted = min(every, -(-window // UNIT_BYTES))  # more than there is: alone
    folder = folder or Path(tempfile.gettempdir()) / f"webtext-windows-{os.getuid()}"
    with ExitStack() as held:
        with storage.refusing(folder), ExitStack() as passing:
            folder.mkdir(mode=0o700, exist_ok=True)
            take(folder, ["gate"], 1, passing)
            take(folder, [f"unit-{number}" for number in range(every)], wanted, held)
        yield wanted * UNIT_BYTES


def take(folder: Path, names: Sequence[str], wanted: int, held: ExitStack) -> None:
    """Take so many of these locks, as soon as they are to be had; they go with `held`."""
    left = list(names)
    while True:
        for name in tuple(left):
            if wanted and (descriptor := locked(folder / name)) is not None:
                held.callback(os.close, descriptor)
                left.remove(name)
                wanted -= 1
        if not wanted:
            return
        time.sleep(LOOK_S)


def locked(path: Path) -> int | None:
    """The descriptor of a file whose lock is ours until it is closed; None: it is somebody else's."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
