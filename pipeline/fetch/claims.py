"""Claims: which of several attempts at one round of a crawl counts.

Choice: an attempt writes its name where all attempts look, and from then on every earlier one finds that it is not its
own: it commits nothing more, and asks nobody any more, within a few seconds. An attempt that finds a claim which was
not given back waits so long, so that no host is asked by two. Cost: a small file a crawl, looked at every few seconds.
Alternative: believe an engine that the worker it gave up on has ended.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.shards import storage

GIVE_UP_S = 15.0  # until who lost a claim has noticed: three times as long as a crawl goes between two looks


@contextmanager
def claimed(path: Path, round_: str, wait: Callable[[float], None] = time.sleep) -> Iterator[Callable[[], bool]]:
    """Claim a round of a crawl, named `round_`, for the block; it is handed a question: whether the claim is its own.

    Waits first where another attempt at the same round has a claim that it did not give back.
    """
    mine = f"{round_} {uuid.uuid4().hex}".encode()
    before = held(path)
    storage.write_bytes(path, mine)
    if before.partition(b" ")[0] == round_.encode():
        wait(GIVE_UP_S)
    try:
        yield lambda: held(path) == mine
    finally:
        if held(path) == mine:
            storage.remove(path)


def held(path: Path) -> bytes:
    """The claim at a path; b"" where there is none."""
    try:
        return storage.read_bytes(path)
    except FileNotFoundError:
        return b""
