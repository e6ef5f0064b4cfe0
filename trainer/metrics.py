"""What a run tells while it runs: a value a step for whoever watches, a JSON line a step for whoever looks later.

Choice: the log is a file of JSON lines that a resumed run cuts back to the step it goes on from, so every step stands
in it once. Cost: one rewrite a resume. Alternative: append only, and let every reader of the log sort out the repeats.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pipeline.shards import storage

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Progress:
    """Where a run is. The first one comes before the first step, with the notes on how the run began.

    Losses are in nats a token, `loss` the mean of the last step (None before the first); `val_loss` and `bits_per_byte`
    are there when just measured.
    """

    step: int
    steps: int
    loss: float | None
    val_loss: float | None
    learning_rate: float
    tokens_per_s: float
    seconds_left: float
    bits_per_byte: float | None = None
    notes: tuple[str, ...] = ()


def write_line(log: TextIO, values: dict[str, Any]) -> None:
    """Append one JSON line, at once."""
    log.write(json.dumps(values) + "\n")
    log.flush()


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
