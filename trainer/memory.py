"""Out of memory: micro-batches are halved and the numbers stay the same.

Choice: the attempt is made again in halves, since a run that was begun for days should not end for a neighbour's
memory. Cost: the failed attempt's time. Alternative: to work out beforehand what will fit, which no allocator promises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from pipeline.shards.outcomes import TrainingError
from trainer.run import Run

Found = TypeVar("Found")


def within_memory(attempt: Callable[[], Found], shrink: Callable[[str], None]) -> Found:
    """What `attempt` gives, after as many calls of `shrink(why)`, which may raise, as it takes to find the memory."""
    while True:
        try:
            return attempt()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            short = str(error).strip().partition("\n")[0]
        shrink(short)  # here, where the failed attempt's tensors are gone


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU (which torch tells by its message only)."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def halve(run: Run, why: str) -> None:
    """Make micro-batches smaller and more, the batch of a step staying as it is, and say so.

    Raises TrainingError: one window does not fit, or other processes wait for gradients of the old size.
    """
    by = next(
        (factor for factor in range(2, run.batch + 1) if run.batch % factor == 0), 0
    )  # 2, unless the batch is odd
    if not by or run.world.size > 1:
        how = "set train.batch lower and train.accumulate higher" if by else "lower train.block or the preset"
        raise TrainingError(
            f"step {run.step + 1}: out of memory ({why}); last good checkpoint: {run.saved or 'none'}; {how}, or set "
            "train.logit_rows = 1024"
        )
    run.batch, run.accumulate = run.batch // by, run.accumulate * by
    freed(run)
    run.notes.append(
        f"step {run.step + 1}: out of memory ({why}); goes on with micro-batches of {run.batch} windows, "
        f"{run.accumulate} a step: the same batch of {run.batch * run.accumulate}"
    )


def validate_fewer(run: Run, why: str) -> None:
    """Validate fewer windows at a time, and say so. Raises TrainingError as `halve` does."""
    at_once, where = min(run.batch, run.validated), f"validation after step {run.step}"
    if at_once == 1 or run.world.size > 1:
        how = "set train.batch lower" if at_once > 1 else "lower train.block or the preset"
        raise TrainingError(f"{where}: out of memory ({why}); last good checkpoint: {run.saved or 'none'}; {how}")
    run.validated = at_once // 2
    freed(run)
    run.notes.append(f"{where}: out of memory ({why}); goes on with {run.validated} windows at a time")


def freed(run: Run) -> None:
    """Give the allocator's unused blocks back, so that smaller ones fit."""
    if run.device.type == "cuda":
        torch.cuda.empty_cache()
