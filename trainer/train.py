"""Pre-train a GPT-2 on token shards; stop and go on at any moment.

What a person would type:

    webtext train                                  the config's [train], on the shards of this working directory
    webtext train --set train.preset=nano --set train.block=256 --set train.device=cpu
    webtext train --fresh                          start over; what was there is set aside
    torchrun --nproc-per-node 8 -m webtext train                 one process a GPU

Choice: everything random is a function of (seed, step), so a resumed run has nothing to remember but weights, optimizer
state and the step, and ends in the same weights to the bit. Cost: one seeding a step. Alternative: saving generators
and the loader's place, one more thing to get wrong.
"""

from __future__ import annotations

import hashlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from torch import Tensor

from pipeline.config import TrainSettings, slice_of
from pipeline.shards import transfer
from pipeline.shards.locations import location_of
from pipeline.shards.outcomes import TrainingError
from pipeline.shards.receipts import Artefact
from trainer import checkpoint, distributed
from trainer.data import load_split, step_windows
from trainer.evaluate import Measured, lengths_of, measure
from trainer.fast import keep_freed_memory
from trainer.fits import time_told
from trainer.memory import halve, validate_fewer, within_memory
from trainer.metrics import METRICS, Log, Progress
from trainer.optimizer import learning_rate, schedule
from trainer.published import tokenizer_notes
from trainer.run import Run, resume, save
from trainer.setup import batch_notes, device_of, setup, validation_notes
from trainer.throughput import StepTime, flops_per_token, peak_flops

EXIT_CODE = {signal.SIGTERM: 75, signal.SIGINT: 130}


@dataclass(frozen=True)
class Result:
    """How a run ended: the last checkpoint, and the losses there. None: not known (no step, no validation window)."""

    step: int
    loss: float | None
    val_loss: float | None
    bits_per_byte: float | None
    checkpoint: Path
    notes: tuple[str, ...]


Report = Callable[[Progress], None]


def train(
    settings: TrainSettings, root: Path, out: Path, report: Report, fresh: bool = False, allow: tuple[str, ...] = ()
) -> Result:
    """Train on the token shards of the working directory `root`, with checkpoints and metrics.jsonl in `out`.

    Goes on from the newest whole checkpoint unless `fresh`; `allow` names settings that may differ from its own.
    `report` is called after every step. Seeds torch's global generator. One run at a time may write into `out`. Under
    torchrun all processes call this, and the first one writes and reports. Raises TrainingError (cannot start, resume
    or go on), ConfigError, IntegrityError, StorageError; SystemExit 75 or 130 after SIGTERM or SIGINT, once the state
    is saved.
    """
    if location_of(out):
        transfer.bring(out)
    data, val = load_split(root, "train"), load_split(root, "val")
    tokenizer = Artefact(root, "tokenizer", 1).whole("tokenizer.json")
    lengths = lengths_of(tokenizer, data)
    compared = settings.start_from and "tokenizer" not in allow
    notes = tokenizer_notes(Path(settings.start_from), tokenizer) if compared else []
    vocabulary = Artefact(root, "tokenizer", 1).manifest()
    notes += [f"tokenizer: {note}" for note in (vocabulary.notes if vocabulary else ())]
    device = device_of(settings)
    if device == "cpu":
        keep_freed_memory()
    notes += [*batch_notes(settings, device), *validation_notes(data, val)]
    with distributed.process_group(device) as world:
        run = setup(settings, data, val, lengths, out, device, world)
        run.notes += notes
        return run_to_end(run, report, fresh, allow)


def run_to_end(run: Run, report: Report, fresh: bool, allow: tuple[str, ...] = ()) -> Result:
    """Resume or start, step to the end, save; the result. Raises as `train` does."""
    settings = run.settings
    if run.world.first:
        run.out.mkdir(parents=True, exist_ok=True)
        checkpoint.sweep(run.out)
    else:
        report = lambda _: None  # noqa: E731 - the first process speaks for all
    resume(run, fresh, allow)
    device_peak = peak_flops(run.device, run.dtype)
    peak = device_peak and run.world.size * device_peak
    left = max(0, settings.steps - run.step) * run.tokens_a_step
    duration = time_told(run.model.shape, left, peak, "time" in allow)
    with Log(run.out, run.step, settings.tensorboard, run.world.first) as log, stopping(run):
        validate(run)
        if run.step == 0:
            log.write({"step": 0, **run.measured.line()})
        lines = (*opening(run), run.memory, duration)
        report(replace(progress(run, 0.0, peak, True, tuple(run.notes)), opening=lines))
        loop(run, log, report, peak)
        path = save(run)
        if run.signal is not None and run.step < settings.steps:
            report(progress(run, 0.0, 0.0, False, (f"stopped; step {run.step} is saved in {path}",)))
            raise SystemExit(EXIT_CODE[signal.Signals(run.signal)])
    return Result(run.step, run.loss, run.measured.loss, run.measured.bits_per_byte, path, tuple(run.notes))


def opening(run: Run) -> tuple[str, ...]:
    """What is trained, on what and with which settings, in lines for people."""
    settings, shape = run.settings, run.model.shape
    lines = [f"{name} = {value!r}" for name, value in slice_of(settings).items()]
    return (
        "[train]",
        *lines,
        f"{shape.parameters:,} parameters on {run.device} in {str(run.dtype).removeprefix('torch.')}, "
        f"{run.world.size} x {torch.get_num_threads()} threads; {run.windows.data.tokens:,} tokens, "
        f"{run.tokens_a_step:,} a step, {settings.steps * run.tokens_a_step / run.windows.data.tokens:.1f} epochs",
        f"learning rate {schedule(settings)} {settings.learning_rate:g} at its peak",
    )


def loop(run: Run, log: Log, report: Report, peak: float | None) -> None:
    """Step until the last step or a signal; every step is logged and reported, some measured, some saved."""
    settings, pace = run.settings, StepTime()
    while run.step < settings.steps and not asked_to_stop(run):
        start = time.perf_counter()
        notes = len(run.notes)
        norm = optimise(run, log)
        if norm is None:
            return
        step_s = pace.after(time.perf_counter() - start)
        now = progress(run, step_s, peak, False)
        line = {"step": run.step, "loss": run.loss, "learning_rate": now.learning_rate, "gradient_norm": norm}
        measured = run.step % settings.eval_every == 0 or run.step == settings.steps
        if measured:
            validate(run)
            line |= run.measured.line()
        log.write(line | {"tokens_per_s": round(now.tokens_per_s), "mfu": now.mfu})
        if run.step % settings.checkpoint_every == 0:
            save(run)
        report(progress(run, step_s, peak, measured, tuple(run.notes[notes:])))


def asked_to_stop(run: Run) -> bool:
    """Whether a signal came, to any of the processes."""
    if not distributed.any_rank(run.signal is not None, run.world, run.device):
        return False
    run.signal = run.signal or signal.SIGTERM
    return True


def progress(run: Run, step_s: float, peak: float | None, measured: bool, notes: tuple[str, ...] = ()) -> Progress:
    """The run as its watcher sees it; `step_s` is the time of a step by the last ones, 0 before the first."""
    settings, found = run.settings, run.measured if measured else Measured()
    rate = run.tokens_a_step / step_s if step_s else 0.0
    return Progress(
        step=run.step,
        steps=settings.steps,
        loss=run.loss,
        val_loss=found.loss,
        learning_rate=learning_rate(settings, max(0, run.step - 1)),
        tokens_per_s=rate,
        seconds_left=step_s * (settings.steps - run.step),
        mfu=rate * flops_per_token(run.model.shape) / peak if peak and step_s else None,
        bits_per_byte=found.bits_per_byte,
        notes=notes,
    )


def optimise(run: Run, log: Log) -> float | None:
    """One step of the optimiser; the norm of its gradient, or None when a signal came: then nothing has changed.

    Raises TrainingError: the loss or the gradient is not finite (the weights are still those of the step before), or
    memory is short even for the smallest micro-batch.
    """
    loss = within_memory(partial(gradients, run), partial(halve, run))
    if loss is None:
        return None
    loss = distributed.all_reduce(loss, run.world) / run.world.size
    norm = distributed.full_tensor(
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.settings.clip or math.inf)
    )
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise not_finite(run, log, f"loss {loss.item()}, gradient norm {norm.item()}")
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(run.settings, run.step)
        optimizer.step()
    run.step += 1
    run.loss = loss.item()
    return norm.item()


def gradients(run: Run) -> Tensor | None:
    """Leave the gradient of the next step in the parameters; this process' mean loss, or None when a signal came."""
    seed_step(run.settings.seed, run.step, run.world.rank)
    run.refresh()
    total = torch.zeros((), device=run.device)
    for optimizer in run.optimizers:
        optimizer.zero_grad(set_to_none=True)
    for micro in range(run.accumulate):
        if run.signal is not None and run.world.size == 1:
            return None
        following = (run.step, micro + 1) if micro + 1 < run.accumulate else (run.step + 1, 0)
        inputs, targets = run.prefetcher.batch(micro_batch(run, run.step, micro), micro_batch(run, *following))
        with distributed.no_sync(run.objective, last=micro == run.accumulate - 1):
            with autocast(run):
                on_device = (tensor.to(run.device, non_blocking=True) for tensor in (inputs, targets))
                loss = run.loss_of(*on_device) / run.accumulate
            torch.autograd.backward(loss)
        total += loss.detach()
    return total


def micro_batch(run: Run, step: int, micro: int) -> list[int]:
    """The windows of this process in one micro-batch of a step."""
    return step_windows(
        run.windows,
        step,
        micro,
        batch=run.batch,
        accumulate=run.accumulate * run.world.size,
        rank=run.world.rank,
        world=run.world.size,
        shift=run.shift,
    )


def autocast(run: Run) -> torch.autocast:
    """Matrix products in the type of the run."""
    return torch.autocast(run.device.type, torch.bfloat16, enabled=run.dtype == torch.bfloat16)


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed what is random in one step (dropout) by (seed, step) alone; each process draws its own."""
    digest = hashlib.blake2b(f"{seed}:{step}{f':{rank}' if rank else ''}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)


def not_finite(run: Run, log: Log, what: str) -> TrainingError:
    """The error that ends a run whose numbers broke; the batch's windows and documents go to the log in full."""
    size = run.settings.batch * run.settings.accumulate
    shown = run.windows.visited(np.arange(run.consumed, run.consumed + size, dtype=np.int64))
    documents = sorted({doc_id for window in shown for doc_id in run.windows.doc_ids(window)})
    log.write({"not_finite": what, "after_step": run.step, "windows": shown, "doc_ids": documents})
    first = ", ".join(str(window) for window in shown[:3]) + (" …" if len(shown) > 3 else "")
    return TrainingError(
        f"step {run.step + 1}: {what}; last good checkpoint: {run.saved or 'none'}; batch: windows {first} (all, with "
        f"their documents, in {run.out / METRICS}); lower train.learning_rate and start over with --fresh"
    )


def validate(run: Run) -> None:
    """Measure the model on the fixed validation windows."""

    def losses(inputs: Tensor, targets: Tensor) -> Tensor:
        with autocast(run):
            each: Tensor = run.objective(inputs, targets, each=True)
        return each

    def attempt() -> Measured:
        batch = min(run.batch, run.validated)
        return measure(losses, run.validation, run.lengths, count=count, batch=batch, device=run.device)

    count = run.settings.batch * run.settings.eval_batches
    run.model.eval()
    run.measured = within_memory(attempt, partial(validate_fewer, run))
    run.model.train()
    distributed.reshard(run.objective)


@contextmanager
def stopping(run: Run) -> Iterator[None]:
    """Within the block SIGTERM and SIGINT only ask the run to stop; a second one interrupts it. Main thread only."""

    def ask(number: int, _frame: FrameType | None) -> None:
        if run.signal is not None:
            raise KeyboardInterrupt
        run.signal = number

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, ask) for number in EXIT_CODE}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
