"""Pre-train a GPT-2 on token shards; stop and go on at any moment.

What a person would type:

    webtext train                                  the config's [train], on the shards of this working directory
    webtext train --set train.preset=nano --set train.block=256 --set train.device=cpu
    webtext train --fresh                          start over; what was there is set aside

Choice: everything random is a function of (seed, step), so a resumed run has nothing to remember but weights, moments
and the step, and ends in the same weights to the bit. Cost: one seeding a step. Alternative: saving generators and the
loader's place, one more thing to get wrong.
"""

from __future__ import annotations

import hashlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import torch
from torch import Tensor

from pipeline.config import TrainSettings, slice_of
from pipeline.shards.outcomes import TrainingError
from trainer import checkpoint
from trainer.checkpoint import Record
from trainer.data import TokenData, Windows, load_split, step_windows
from trainer.evaluate import SEED, Measured, lengths_of, measure
from trainer.metrics import METRICS, Progress, keep_lines, write_line
from trainer.model import GPT, shape_of

MAY_CHANGE = ("steps", "eval_every", "eval_batches", "checkpoint_every")  # between a run and its continuation
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


@dataclass
class Run:
    """A training under way. `step` counts the optimiser's steps done; `lengths` are bytes a token id, if known."""

    settings: TrainSettings
    out: Path
    windows: Windows
    validation: Windows
    lengths: Tensor | None
    model: GPT
    losses: Callable[[Tensor, Tensor], Tensor]  # the model's, compiled if so set
    optimizer: torch.optim.AdamW
    identity: dict[str, Any]  # all that decides the weights but the machine
    step: int = 0
    loss: float | None = None
    measured: Measured = field(default_factory=Measured)
    saved: Path | None = None  # the last good checkpoint
    signal: int | None = None  # that asked to stop
    notes: list[str] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        return self.model.wte.weight.device


def train(settings: TrainSettings, root: Path, out: Path, report: Report, fresh: bool = False) -> Result:
    """Train on the token shards of the working directory `root`, with checkpoints and metrics.jsonl in `out`.

    Goes on from the newest whole checkpoint unless `fresh`. `report` is called after every step. Seeds torch's global
    generator. One run at a time may write into `out`. Raises TrainingError (cannot start, resume or go on),
    IntegrityError, StorageError; SystemExit 75 or 130 after SIGTERM or SIGINT, once the state is saved.
    """
    data, val = load_split(root, "train"), load_split(root, "val")
    lengths = lengths_of(root / "tokenizer" / "tokenizer.json", data)
    return run_to_end(begin(settings, data, val, lengths, out), report, fresh)


def begin(settings: TrainSettings, data: TokenData, val: TokenData, lengths: Tensor | None, out: Path) -> Run:
    """A run before its first step, with all checked that can be checked by then. Raises TrainingError."""
    if (val.tokenizer_sha256, val.vocab) != (data.tokenizer_sha256, data.vocab):
        raise TrainingError("tokens/val and tokens/train were made by different tokenizers; run 'webtext build tokens'")
    windows, validation = Windows(data, settings.block, settings.seed), Windows(val, settings.block, SEED)
    windows.require()
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("train.device = cuda, but torch finds no GPU; set it to auto or cpu")
    device = "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"
    torch.manual_seed(settings.seed)
    model = GPT(shape_of(settings.preset, settings.block, data.vocab, settings.dropout)).to(device)
    run = Run(
        settings=settings,
        out=out,
        windows=windows,
        validation=validation,
        lengths=lengths,
        model=model,
        losses=torch.compile(model.losses) if settings.compile else model.losses,
        optimizer=make_optimizer(model, settings),
        identity=identity_of(settings, data),
    )
    if not validation.count:
        run.notes.append(f"tokens/val holds no window of {settings.block} + 1 tokens: no validation loss")
    return run


def identity_of(settings: TrainSettings, data: TokenData) -> dict[str, Any]:
    """What a run and its continuation must have in common: settings, tokenizer, data."""
    kept = {f"train.{name}": value for name, value in slice_of(settings).items() if name not in MAY_CHANGE}
    return kept | {"tokenizer": data.tokenizer_sha256[:16], "vocabulary": data.vocab, "data": data.fingerprint[:16]}


def make_optimizer(model: GPT, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019), weight decay on matrices and embeddings only, all parameters in one call."""
    groups = [
        {"params": [one for _, one, decayed in model.decayed() if decayed], "weight_decay": settings.weight_decay},
        {"params": [one for _, one, decayed in model.decayed() if not decayed], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(settings.beta1, settings.beta2), eps=1e-8, fused=True)


def run_to_end(run: Run, report: Report, fresh: bool) -> Result:
    """Resume or start, step to the end, save; the result. Raises as `train` does."""
    settings = run.settings
    run.out.mkdir(parents=True, exist_ok=True)
    checkpoint.sweep(run.out)
    resume(run, fresh)
    with (run.out / METRICS).open("a") as log, stopping(run):
        validate(run)
        if run.step == 0:
            write_line(log, {"step": 0, "val_loss": run.measured.loss, "bits_per_byte": run.measured.bits_per_byte})
        report(progress(run, 0.0, True, tuple(run.notes)))
        loop(run, log, report)
        path = save(run)
        if run.signal is not None and run.step < settings.steps:
            report(progress(run, 0.0, False, (f"stopped; step {run.step} is saved in {path}",)))
            raise SystemExit(EXIT_CODE[signal.Signals(run.signal)])
    return Result(run.step, run.loss, run.measured.loss, run.measured.bits_per_byte, path, tuple(run.notes))


def loop(run: Run, log: TextIO, report: Report) -> None:
    """Step until the last step or a signal; every step is logged and reported, some measured, some saved."""
    settings, began, busy_s = run.settings, run.step, 0.0
    while run.step < settings.steps:
        start = time.perf_counter()
        norm = optimise(run, log)
        if norm is None:
            return
        busy_s += time.perf_counter() - start
        now = progress(run, busy_s / (run.step - began), False)
        line = {"step": run.step, "loss": run.loss, "learning_rate": now.learning_rate, "gradient_norm": norm}
        measured = run.step % settings.eval_every == 0 or run.step == settings.steps
        if measured:
            validate(run)
            line |= {"val_loss": run.measured.loss, "bits_per_byte": run.measured.bits_per_byte}
        write_line(log, line | {"tokens_per_s": round(now.tokens_per_s)})
        if run.step % settings.checkpoint_every == 0:
            save(run)
        report(progress(run, busy_s / (run.step - began), measured))


def progress(run: Run, step_s: float, measured: bool, notes: tuple[str, ...] = ()) -> Progress:
    """The run as its watcher sees it; `step_s` is the mean time of a step so far, 0 before the first."""
    settings, found = run.settings, run.measured if measured else Measured()
    tokens = settings.batch * settings.accumulate * settings.block
    return Progress(
        step=run.step,
        steps=settings.steps,
        loss=run.loss,
        val_loss=found.loss,
        learning_rate=learning_rate(settings, max(0, run.step - 1)),
        tokens_per_s=tokens / step_s if step_s else 0.0,
        seconds_left=step_s * (settings.steps - run.step),
        bits_per_byte=found.bits_per_byte,
        notes=notes,
    )


def learning_rate(settings: TrainSettings, step: int) -> float:
    """The rate of a step (from 0): up in a line to the peak, then down a half cosine to the least at the last step."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - 1 - settings.warmup_steps)
    height = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return settings.min_learning_rate + height * (settings.learning_rate - settings.min_learning_rate)


def optimise(run: Run, log: TextIO) -> float | None:
    """One step of the optimiser; the norm of its gradient, or None when a signal came: then nothing has changed.

    Raises TrainingError: the loss or the gradient is not finite; the weights are still those of the step before.
    """
    settings, optimizer = run.settings, run.optimizer
    seed_step(settings.seed, run.step)
    shown: list[int] = []
    total = torch.zeros((), device=run.device)
    optimizer.zero_grad(set_to_none=True)
    for micro in range(settings.accumulate):
        if run.signal is not None:
            return None
        chosen = step_windows(run.windows, run.step, micro, batch=settings.batch, accumulate=settings.accumulate)
        inputs, targets = run.windows.read(chosen)
        with torch.autocast(run.device.type, torch.bfloat16, enabled=settings.dtype == "bfloat16"):
            loss = run.losses(inputs.to(run.device), targets.to(run.device)).mean() / settings.accumulate
        torch.autograd.backward(loss)
        total += loss.detach()
        shown += chosen
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), settings.clip or math.inf)
    if not (torch.isfinite(total) and torch.isfinite(norm)):
        raise not_finite(run, log, shown, f"loss {total.item()}, gradient norm {norm.item()}")
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, run.step)
    optimizer.step()
    run.step += 1
    run.loss = total.item()
    return norm.item()


def seed_step(seed: int, step: int) -> None:
    """Seed what is random in one step (dropout) by (seed, step) alone."""
    digest = hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)


def not_finite(run: Run, log: TextIO, shown: list[int], what: str) -> TrainingError:
    """The error that ends a run whose numbers broke; the batch's windows and documents go to the log in full."""
    documents = sorted({one for window in shown for one in run.windows.doc_ids(window)})
    write_line(log, {"not_finite": what, "after_step": run.step, "windows": shown, "doc_ids": documents})
    some = ", ".join(str(window) for window in shown[:3]) + (" …" if len(shown) > 3 else "")
    return TrainingError(
        f"step {run.step + 1}: {what}; last good checkpoint: {run.saved or 'none'}; batch: windows {some} (all, with "
        f"their documents, in {run.out / METRICS}); lower train.learning_rate and start over with --fresh"
    )


def validate(run: Run) -> None:
    """Measure the model on the fixed validation windows."""
    batch, dtype = run.settings.batch, run.settings.dtype
    count = batch * run.settings.eval_batches
    run.measured = measure(run.model, run.validation, run.lengths, count=count, batch=batch, dtype=dtype)


def save(run: Run) -> Path:
    """Write the checkpoint of this step, if it is not there; its path.

    Raises TrainingError: a weight is not finite; the older checkpoints stay.
    """
    if run.saved is not None and run.saved.name == checkpoint.name_of(run.step):
        return run.saved
    broken = [name for name, one in run.model.named_parameters() if not torch.isfinite(one).all()]
    if broken:
        raise TrainingError(f"step {run.step}: {broken[0]} is not finite; last good checkpoint: {run.saved or 'none'}")
    record = Record(
        step=run.step,
        shape=run.model.shape,
        end_of_text=run.windows.data.end_of_text,
        identity=run.identity,
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        device=run.device.type,
        loss=run.loss,
    )
    run.saved = checkpoint.save(run.out, record, run.model, run.optimizer)
    return run.saved


def resume(run: Run, fresh: bool) -> None:
    """Bring the run to the newest whole checkpoint of its folder, if there is one.

    Raises TrainingError: it is of another run, or none is whole.
    """
    log = run.out / METRICS
    if fresh:
        there = [*checkpoint.steps(run.out), *([log] if log.exists() else [])]
        aside = checkpoint.set_aside(there, run.out, "earlier")
        run.notes += [f"started over; what was there is in {aside}"] if aside else []
        return
    found, notes, damaged = checkpoint.latest(run.out, moments=True)
    run.notes += notes
    if found is not None:
        refuse_another(run, found.record)
        checkpoint.set_aside(damaged, run.out, "damaged")
        checkpoint.restore(found, run.model, run.optimizer)
        run.step, run.loss, run.saved = found.record.step, found.record.loss, found.path
        run.notes += [f"goes on from step {run.step}", *rounding(run, found.record)]
    keep_lines(log, run.step if found else -1)


def refuse_another(run: Run, record: Record) -> None:
    """Raise TrainingError when a checkpoint was made with other settings or tokens, naming every difference."""
    names = sorted(record.identity.keys() | run.identity.keys())
    pairs = [(name, record.identity.get(name), run.identity.get(name)) for name in names]
    changed = [f"{name} was {was}, is {now}" for name, was, now in pairs if was != now]
    if changed:
        raise TrainingError(
            f"{run.out}: holds a run with other settings: {'; '.join(changed)}; set them back, "
            "or start over with 'webtext train --fresh' (the old run is set aside)"
        )


def rounding(run: Run, record: Record) -> list[str]:
    """A note for each thing about the machine that makes the weights differ in rounding from an uninterrupted run."""
    here = {"threads": torch.get_num_threads(), "torch": str(torch.__version__), "device": run.device.type}
    pairs = [(name, getattr(record, name), now) for name, now in here.items()]
    return [f"{name}: was {was}, is {now}; weights will differ in rounding" for name, was, now in pairs if was != now]


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
