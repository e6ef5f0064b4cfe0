"""Setting up a run, before its first step: the device and the type it computes in, the model, the loss, the optimisers.

Choice: all that can be refused is refused here, before anything is written. Cost: a long function. Alternative: finding
out at the first step that needs it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pipeline.config import BROUGHT, TrainSettings
from pipeline.shards.outcomes import TrainingError
from trainer import distributed
from trainer.continuation import check_schedule
from trainer.data import TokenData, Windows
from trainer.distributed import World
from trainer.evaluate import SEED
from trainer.export import load_hf
from trainer.fast import FastObjective, has_bfloat16
from trainer.fits import memory_told
from trainer.model import GPT, Shape, shape_of
from trainer.objective import Objective
from trainer.optimizer import make_optimizers
from trainer.prefetch import Prefetcher
from trainer.run import Run

FEW = 10  # documents; of fewer, one long page is most of the validation loss
SMALL = ("laptop", "nano", "micro", "mini")  # presets that one trains on a CPU too


def device_of(settings: TrainSettings) -> str:
    """Cuda or cpu. Raises TrainingError: a GPU is asked for and not there."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("train.device = cuda, but torch finds no GPU; set it to auto or cpu")
    return "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"


def type_of(settings: TrainSettings, device: str) -> tuple[torch.dtype, list[str]]:
    """The type of the matrix products, and a note where it is not the one that is asked for."""
    if settings.dtype == "float32":
        return torch.float32, []
    if device == "cpu" and not has_bfloat16():
        note = "this CPU has no instructions for bfloat16: computes in float32, several times as fast here"
        return torch.float32, [note]
    return torch.bfloat16, []


def setup(
    settings: TrainSettings,
    data: TokenData,
    val: TokenData,
    lengths: Tensor | None,
    out: Path,
    device: str,
    world: World,
) -> Run:
    """A run before its first step, with all checked that can be checked by then. Raises TrainingError, ConfigError."""
    check_schedule(settings)
    if (val.tokenizer_sha256, val.vocab) != (data.tokenizer_sha256, data.vocab):
        raise TrainingError("tokens/val and tokens/train were made by different tokenizers; run 'webtext build tokens'")
    windows, validation = Windows(data, settings.block, settings.seed), Windows(val, settings.block, SEED)
    windows.require()
    check_world(settings, world)
    memory = memory_told(shape_in(settings, data.vocab), settings, device, world.size)
    dtype, notes = type_of(settings, device)
    if not validation.count:
        notes.append(f"tokens/val holds no window of {settings.block} + 1 tokens: no validation loss")
    torch.manual_seed(settings.seed)
    model = first_model(settings, data.vocab).to(device)
    end = data.end_of_text if settings.same_document else None
    plain = Objective(model, settings.logit_rows, end, settings.compile)
    objective = distributed.wrap(plain, world, settings.parallel)
    run = Run(
        settings=settings,
        out=out,
        windows=windows,
        prefetcher=Prefetcher(windows.read, pin=device == "cuda"),
        validation=validation,
        lengths=lengths,
        model=model,
        objective=objective,
        loss_of=objective,
        refresh=lambda: None,
        optimizers=make_optimizers(model, settings),
        dtype=dtype,
        world=world,
        batch=settings.batch,
        accumulate=settings.accumulate // world.size,
        validated=1 if settings.logit_rows else settings.batch,
        memory=memory,
        notes=notes,
    )
    plain_gpt2 = model.shape.published and end is None and not settings.dropout
    if device == "cpu" and world.size == 1 and plain_gpt2 and not settings.compile:
        fast = FastObjective(model, dtype, settings.logit_rows)
        run.loss_of, run.refresh = fast, fast.refresh
    return run


def batch_notes(settings: TrainSettings, device: str) -> list[str]:
    """A note where a small model keeps the batch of GPT-2, which takes a CPU minutes a step and teaches it no more."""
    tokens, full = (one.batch * one.accumulate * one.block for one in (settings, TrainSettings()))
    if device != "cpu" or settings.preset not in SMALL or tokens < full:
        return []
    small = BROUGHT["train", "preset", "laptop"]
    cure = ", ".join(f"train.{name} = {small[name]}" for name in ("block", "batch", "accumulate"))
    return [
        f"a step takes {tokens:,} tokens, GPT-2's batch, for the small model {settings.preset}: on a CPU set {cure}, "
        "as the preset laptop does"
    ]


def validation_notes(data: TokenData, val: TokenData) -> list[str]:
    """A note where so few documents are held out that the validation loss says how these are, and not the rest."""
    held, trained_on = (sum(len(shard.offsets) - 1 for shard in one.shards) for one in (val, data))
    if not 0 < held < FEW:
        return []
    share = min(0.5, 2 * FEW / (held + trained_on))
    return [
        f"validation rests on {held} document{'s' * (held > 1)} of {held + trained_on:,}, so its loss says little of "
        f"the rest; set tokens.val_share = {share:.1g} and build tokens again: the vocabulary is learnt anew then"
    ]


def check_world(settings: TrainSettings, world: World) -> None:
    """Raise TrainingError when the settings cannot be shared out among the processes."""
    if settings.accumulate % world.size:
        raise TrainingError(
            f"train.accumulate = {settings.accumulate} micro-batches cannot be shared by {world.size} processes; "
            f"take a multiple of {world.size}"
        )
    if world.size > 1 and settings.parallel == "fsdp" and settings.optimizer == "muon":
        raise TrainingError("train.optimizer = muon needs whole matrices, train.parallel = fsdp cuts them; take ddp")


def shape_in(settings: TrainSettings, vocab: int) -> Shape:
    """The shape that settings and tokens ask for."""
    return shape_of(settings.preset, settings.block, vocab, settings.dropout, settings.rope, settings.rms_norm)


def first_model(settings: TrainSettings, vocab: int) -> GPT:
    """The model before its first step: drawn, or read from a published one.

    Raises TrainingError: that one has another shape. InputError: it is none.
    """
    shape = shape_in(settings, vocab)
    if not settings.start_from:
        return GPT(shape)
    model = load_hf(Path(settings.start_from), settings.dropout).train()
    if model.shape != shape:
        raise TrainingError(f"{settings.start_from}: holds {model.shape}; the settings and tokens ask for {shape}")
    return model
