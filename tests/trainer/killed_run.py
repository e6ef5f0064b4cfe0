"""Run one small training again and again, each time killed at a planned call, then to its end. A program of its own.

    killed_run.py ROOT FOLDER CALL:N CALL:N …      CALL is `step` (of the optimiser), `fsync` or `rename`

Every attempt at FOLDER/killed is a process that SIGKILL ends inside the N-th such call; the last one comes to the end.
Then the same training runs in FOLDER/whole, never killed. All are forks of one process, which imports torch once.
"""

import functools
import os
import pathlib
import signal
import sys

import torch
import torch._dynamo  # the optimiser imports it lazily: once here, not once in every attempt

from pipeline.config import TrainSettings
from trainer.train import train

SETTINGS = TrainSettings(
    preset="nano",
    block=8,
    batch=2,
    accumulate=2,
    steps=10,
    warmup_steps=2,
    dropout=0.1,
    eval_every=4,
    eval_batches=2,
    checkpoint_every=3,
    dtype="float32",
    device="cpu",
)
CALLS = {"step": (torch.optim.AdamW, "step"), "fsync": (os, "fsync"), "rename": (pathlib.Path, "rename")}


def kill_at(call: str, last: int) -> None:
    """From now on, the process dies at the `last`-th call, before it does anything."""
    owner, name = CALLS[call]
    original = getattr(owner, name)
    count = 0

    @functools.wraps(original)
    def counting(*arguments, **named):
        nonlocal count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(owner, name, counting)


def attempt(root: pathlib.Path, out: pathlib.Path, plan: str | None) -> int:
    """Train in a process of its own; the signal that ended it, 0 for none."""
    child = os.fork()
    if child == 0:
        if plan is not None:
            call, _, number = plan.partition(":")
            kill_at(call, int(number))
        train(SETTINGS, root, out, lambda _: None)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status) << 8


if __name__ == "__main__":
    torch.set_num_threads(1)
    root, folder, *plans = sys.argv[1:]
    for plan in plans:
        ended = attempt(pathlib.Path(root), pathlib.Path(folder, "killed"), plan)
        if ended != signal.SIGKILL:
            sys.exit(f"{plan}: ended by {ended}, not by SIGKILL")
    for name in ("killed", "whole"):
        if attempt(pathlib.Path(root), pathlib.Path(folder, name), None) != 0:
            sys.exit(f"{name}: did not come to its end")
