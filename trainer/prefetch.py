"""Prefetching: the next batch is read while the step before it computes.

Choice: one thread that reads one batch ahead, from the map of the shards (and for a GPU into pinned memory, from where
it is copied while the GPU works). Cost: one batch more in memory. Alternative: worker processes, as torch's DataLoader
starts them, which copy batches between processes; from a warm map 12,288 tokens take 50 microseconds
(`tests/benchmarks/bench_loader.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

Batch = tuple[Tensor, Tensor]


class Prefetcher:
    """What `read` makes of lists of windows, one list ahead; `pin`: in memory that a GPU copies from on its own."""

    def __init__(self, read: Callable[[Sequence[int]], Batch], pin: bool = False) -> None:
        self.read, self.pin = read, pin
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self.ready: tuple[list[int], Future[Batch]] | None = None

    def batch(self, wanted: list[int], then: list[int]) -> Batch:
        """The batch of some windows; that of `then` is begun. Raises what `read` raises, for `wanted` only."""
        ready, self.ready = self.ready, None
        found = ready[1].result() if ready is not None and ready[0] == wanted else self.make(wanted)
        self.ready = then, self.pool.submit(self.make, then)
        return found

    def make(self, windows: list[int]) -> Batch:
        """One batch."""
        inputs, targets = self.read(windows)
        return (inputs.pin_memory(), targets.pin_memory()) if self.pin else (inputs, targets)
