"""Metrics: a value a step for whoever watches, a JSON line a step for whoever looks later.

Choice: the log is a file of JSON lines that a resumed run cuts back to the step it goes on from, so every step stands
in it once; TensorBoard, if asked for, is told the same numbers. Cost: one rewrite a resume. Alternative: append only,
and let every reader of the log sort out the repeats.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.shards import storage
from pipeline.shards.outcomes import ConfigError

METRICS, TENSORBOARD = "metrics.jsonl", "tensorboard"


@dataclass(frozen=True)
class Progress:
    """Where a run is. The first one comes before the first step, with `opening`, what is trained with which settings,
    and the notes on how the run began.

    Losses are in nats a token, `loss` the mean of the last step (None before the first); `val_loss` and `bits_per_byte`
    are there when just measured. `mfu` is the share of the machine's best rate, 0 to 1, None before the first step.
    """

    step: int
    steps: int
    loss: float | None
    val_loss: float | None
    learning_rate: float
    tokens_per_s: float
    seconds_left: float
    mfu: float | None = None
    bits_per_byte: float | None = None
    notes: tuple[str, ...] = ()
    opening: tuple[str, ...] = ()


class Log:
    """metrics.jsonl in `out`, and TensorBoard's files if asked for; nothing at all unless `speaks`.

    Raises ConfigError: TensorBoard is asked for and not installed.
    """

    def __init__(self, out: Path, step: int, tensorboard: bool = False, speaks: bool = True) -> None:
        self.file = (out / METRICS).open("a") if speaks else None
        self.board = board_of(out / TENSORBOARD, step) if tensorboard and speaks else None

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()
        if self.board is not None:
            self.board.close()

    def write(self, values: dict[str, Any]) -> None:
        """Append one line, at once. What is a number and has a step goes to TensorBoard too."""
        if self.file is not None:
            self.file.write(json.dumps(values) + "\n")
            self.file.flush()
        if self.board is not None and "step" in values:
            for name, number in numbers(values):
                self.board.add_scalar(name, number, values["step"])
            self.board.flush()


def board_of(folder: Path, step: int) -> Any:
    """A writer that hides what an earlier attempt wrote after `step`."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra of its own
    except ModuleNotFoundError:
        raise ConfigError(
            "train.tensorboard = true, but tensorboard is not installed; run: pip install 'webtext[tensorboard]'"
        ) from None
    return SummaryWriter(str(folder), purge_step=step + 1)


def numbers(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """(name, number) of every number in nested dicts but the step, names joined by slashes."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            yield prefix + name, float(value)


def keep_lines(log: Path, step: int) -> None:
    """Cut from the log what came after `step`: those steps are done anew. A line that a kill cut short goes too."""
    if not log.exists():
        return
    kept = []
    for line in log.read_text(errors="replace").splitlines(keepends=True):
        try:
            described = json.loads(line)
        except ValueError:
            continue
        if described.get("step", described.get("after_step", 0)) <= step:
            kept.append(line)
    storage.write_bytes(log, "".join(kept).encode())
