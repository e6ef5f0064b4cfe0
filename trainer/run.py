"""The state of a run: what it holds, how it is saved, and how it goes on from what was saved.

Choice: a run is refused unless it and its checkpoint agree on everything that decides the weights, field by field; who
means a change names it. Cost: a harmless change has to be named too. Alternative: taking what the config says now,
and finding out from the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config import TrainSettings
from pipeline.shards import transfer
from pipeline.shards.locations import location_of
from pipeline.shards.outcomes import TrainingError
from trainer import checkpoint, continuation, distributed
from trainer.checkpoint import Record
from trainer.data import TokenData, Windows
from trainer.distributed import World
from trainer.evaluate import Measured
from trainer.metrics import METRICS, keep_lines
from trainer.model import GPT
from trainer.optimizer import learning_rate
from trainer.prefetch import Prefetcher


@dataclass
class Run:
    """`step` counts the optimiser's steps done; `batch` x `accumulate` x processes is the batch of a step.

    `dtype` is that of the matrix products; `lengths` are bytes a token id, if known.
    """

    settings: TrainSettings
    out: Path
    windows: Windows
    prefetcher: Prefetcher  # of what is trained on
    validation: Windows
    lengths: Tensor | None
    model: GPT
    objective: nn.Module  # (inputs, targets) to the mean loss
    loss_of: Callable[[Tensor, Tensor], Tensor]  # the same, in training
    refresh: Callable[[], None]  # before each step
    optimizers: tuple[torch.optim.Optimizer, ...]
    dtype: torch.dtype
    world: World
    batch: int
    accumulate: int
    validated: int  # validation windows at once, if the micro-batch is no smaller
    memory: str = ""  # that it takes, in words
    step: int = 0
    contents: dict[str, int] = field(default_factory=dict)  # what the shards held, and since which window: see Record
    shift: int = 0  # windows by which the stream is ahead of step x batch: see `step_windows`
    loss: float | None = None
    measured: Measured = field(default_factory=Measured)
    saved: Path | None = None  # the last good checkpoint
    signal: int | None = None  # that asked to stop
    notes: list[str] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        return self.model.wte.weight.device

    @property
    def tokens_a_step(self) -> int:
        return self.settings.batch * self.settings.accumulate * self.settings.block

    @property
    def consumed(self) -> int:
        """Windows shown so far, over all epochs: the next step begins with the one after them."""
        return self.step * self.settings.batch * self.settings.accumulate + self.shift


def identity_of(settings: TrainSettings, data: TokenData, world: World) -> dict[str, Any]:
    """What a run and its continuation must have in common: settings, tokenizer, data, number of processes."""
    tokens = {"tokenizer": data.tokenizer_sha256[:16], "vocabulary": data.vocab, "data": data.fingerprint[:16]}
    return continuation.of(settings) | tokens | {"world_size": world.size}


def save(run: Run) -> Path:
    """Write the checkpoint of this step, if it is not there; its path. All processes have to call it.

    Raises TrainingError: a weight is not finite; the older checkpoints stay.
    """
    if run.saved is not None and run.saved.name == checkpoint.name_of(run.step):
        return run.saved
    weights = {name: distributed.full_tensor(parameter.detach()) for name, parameter in run.model.named_parameters()}
    broken = [name for name, parameter in weights.items() if not torch.isfinite(parameter).all()]
    if broken:
        raise TrainingError(f"step {run.step}: {broken[0]} is not finite; last good checkpoint: {run.saved or 'none'}")
    held = checkpoint.optimizer_state(run.model, run.optimizers)
    optimizer_state = {name: distributed.full_tensor(tensor) for name, tensor in held.items()}
    record = Record(
        step=run.step,
        consumed=run.consumed,
        shape=run.model.shape,
        end_of_text=run.windows.data.end_of_text,
        identity=identity_of(run.settings, run.windows.data, run.world),
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        device=run.device.type,
        dtype=str(run.dtype).removeprefix("torch."),
        loss=run.loss,
        contents=run.contents,
        steps=run.settings.steps,
        learning_rate=learning_rate(run.settings, run.step - 1) if run.step else None,
    )
    if run.world.first:
        checkpoint.save(run.out, record, weights, optimizer_state)
        if location_of(run.out):
            transfer.send(run.out)
    distributed.barrier(run.world)
    run.saved = run.out / checkpoint.name_of(run.step)
    return run.saved


def resume(run: Run, fresh: bool, allow: tuple[str, ...]) -> None:
    """Bring the run to the newest whole checkpoint of its folder, if there is one; the first process tidies up.

    Raises TrainingError: it is of another run and `allow` does not name every difference, or none is whole.
    """
    log, tidy = run.out / METRICS, run.world.first
    distributed.barrier(run.world)
    if fresh:
        there = [*checkpoint.steps(run.out), *([log] if log.exists() else [])]
        aside = checkpoint.set_aside(there, run.out, "earlier") if tidy else None
        run.notes += [f"started over; what was there is in {aside}"] if aside else []
        run.notes += overwritten(run, None)
        distributed.barrier(run.world)
        return
    found, notes, damaged = checkpoint.latest(run.out, moments=True)
    run.notes += notes
    distributed.barrier(run.world)  # all have read what there is before anything is moved
    if found is not None and not (found.record.step or damaged) and another(run, found.record):
        if tidy:  # nothing was learnt: only the weights that it would have begun with
            checkpoint.remove(found.path)
        found = None
    if found is not None:
        run.notes += refuse_another(run, found.record, allow)
        if tidy:
            checkpoint.set_aside(damaged, run.out, "damaged")
        checkpoint.restore(found, run.model, run.optimizers)
        run.step, run.loss, run.saved = found.record.step, found.record.loss, found.path
        run.notes += [f"goes on from step {run.step}", *position(run, found.record), *stretched(run, found.record)]
        run.notes += rounding(run, found.record)
    run.notes += overwritten(run, found.record if found else None)
    if tidy:
        keep_lines(log, run.step if found else -1)
    distributed.barrier(run.world)


def another(run: Run, record: Record) -> bool:
    """Whether a checkpoint is of a run with other settings or data."""
    return record.identity != identity_of(run.settings, run.windows.data, run.world)


def refuse_another(run: Run, record: Record, allow: tuple[str, ...]) -> list[str]:
    """A note for each allowed difference between a checkpoint and this run.

    Raises TrainingError when there are others, naming every one; ConfigError: `allow` names no field.
    """
    now = identity_of(run.settings, run.windows.data, run.world)
    continuation.check_allowed(record.identity, now, allow)
    notes = continuation.differences(run.out, record.identity, now, allow)
    if replace(record.shape, dropout=run.model.shape.dropout) != run.model.shape:
        raise TrainingError(f"{run.out}: holds weights of {record.shape}, not of {run.model.shape}; start over --fresh")
    return notes


def position(run: Run, record: Record) -> list[str]:
    """Go on at the window after those that the run has shown, also where a step takes more or fewer now.

    A note where another length or order of windows leaves no such place.
    """
    then, settings = record.identity, run.settings
    consumed = record.consumed
    if consumed is None:  # written before it was kept, when a run always had one batch
        consumed = record.step * then.get("train.batch", 0) * then.get("train.accumulate", 0)
    length = then.get("train.block", settings.block)
    run.shift = 0
    run.shift = -(-consumed * length // settings.block) - run.consumed
    order = {"train.block": settings.block, "train.seed": settings.seed, "data": run.windows.data.fingerprint[:16]}
    other = [name for name, now in order.items() if then.get(name, now) != now]
    what = f"another {' and '.join(name.removeprefix('train.') for name in other)} puts windows into another order"
    return [f"{what}: of this epoch some text may come again, other text not"] if other and consumed else []


def stretched(run: Run, record: Record) -> list[str]:
    """A note where another number of steps gives the next step another rate than the old schedule had in store."""
    was, now = record.learning_rate, learning_rate(run.settings, run.step)
    if record.steps in (None, run.settings.steps) or not was or run.step >= run.settings.steps:
        return []
    return [
        f"train.steps was {record.steps}, is {run.settings.steps}: the schedule is another; the last step had the rate "
        f"{was:.3g}, the next one has {now:.3g}, {now / was:.2g} times as much"
    ]


def overwritten(run: Run, record: Record | None) -> list[str]:
    """Keep what the token shards hold from here on; a note where documents have been removed from them."""
    data, before = run.windows.data, dict(record.contents) if record else {}
    if record and not before:  # written before it was kept
        before = {"": 0}
    run.contents = before if data.held in before else {**before, data.held: run.consumed}
    documents, tokens = (sum(each) for each in zip(*(shard.removed() for shard in data.shards), strict=True))
    since = f" since step {run.step}" if before and data.held not in before else ""
    what = f"removed from the token shards{since}: {documents} document{'' if documents == 1 else 's'}"
    return [f"{what}; {tokens} tokens are end-of-text instead, and no window has moved"] if documents else []


def rounding(run: Run, record: Record) -> list[str]:
    """A note for each thing about the machine that makes the weights differ in rounding from an uninterrupted run."""
    here = {"threads": torch.get_num_threads(), "torch": str(torch.__version__), "device": run.device.type}
    here["dtype"] = str(run.dtype).removeprefix("torch.")
    pairs = [(name, getattr(record, name), now) for name, now in here.items()]
    return [f"{name}: was {was}, is {now}; weights will differ in rounding" for name, was, now in pairs if was != now]
