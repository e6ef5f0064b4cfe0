"""Checkpoints that survive a kill at any moment.

Choice: a folder a step, of safetensors and one JSON file with the sha256 of everything, written beside its name,
synced, renamed; the two newest stay, so a damaged one costs some steps, not the run. Cost: twice the space.
Alternative: torch.save, a pickle that runs code when it is read and that nothing checks.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.shards import storage, transfer
from pipeline.shards.locations import location_of
from pipeline.shards.outcomes import InputError, IntegrityError, TrainingError
from trainer.distributed import shard_like
from trainer.model import GPT, Shape

FORMAT = 1
KEEP = 2  # newest checkpoints that stay
RECORD, WEIGHTS, OPTIMIZER = "checkpoint.json", "weights.safetensors", "optimizer.safetensors"
Tensors = dict[str, Tensor]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint says of itself. `identity` is what decides the weights: a resumed run must have the same."""

    format: int = FORMAT
    step: int  # optimiser steps done
    # windows shown by then, over all epochs (Megatron's consumed samples); None: written before it was kept
    consumed: int | None = None
    shape: Shape
    end_of_text: int
    identity: dict[str, Any]
    threads: int  # of torch; another number adds in another order
    torch: str  # version
    device: str  # cpu or cuda
    dtype: str = "float32"  # of the matrix products
    loss: float | None  # of the last step, nats a token
    # what the token shards held -> windows shown before they held it: see `TokenData.held`; "": not known
    contents: dict[str, int] = {}
    steps: int | None = None  # that the run was to have, and the rate of its last one: a longer run stretches the rate
    learning_rate: float | None = None
    files: dict[str, storage.Stamp] = {}


class Envelope(msgspec.Struct, frozen=True):
    """The JSON file: the record as written, and the sha256 of those bytes."""

    sha256: str
    record: msgspec.Raw


class Checkpoint(msgspec.Struct, frozen=True):
    """A checkpoint in memory. `optimizer_state`: Adam's moments, as `exp_avg/NAME`; empty when not asked for."""

    path: Path
    record: Record
    weights: Tensors
    optimizer_state: Tensors

    def model(self) -> GPT:
        """The model of the checkpoint, on the CPU, in evaluation mode."""
        return model_of(self.record.shape, self.weights)


def save(folder: Path, record: Record, weights: Tensors, optimizer_state: Tensors) -> Path:
    """Write `step-00000500` into `folder`, whole and durable, then drop all but the two newest; its path.

    Raises StorageError when the storage refuses; the older checkpoints are then untouched.
    """
    path = folder / name_of(record.step)
    with new_folder(path) as part:
        save_file(weights, part / WEIGHTS)
        save_file(optimizer_state, part / OPTIMIZER)
        files = {name: stamp_of(part / name) for name in (WEIGHTS, OPTIMIZER)}
        body = msgspec.json.encode(msgspec.structs.replace(record, files=files))
        envelope = Envelope(hashlib.sha256(body).hexdigest(), msgspec.Raw(body))
        (part / RECORD).write_bytes(msgspec.json.encode(envelope))
    for old in steps(folder)[:-KEEP]:
        remove(old)
    return path


def optimizer_state(model: GPT, optimizers: Sequence[torch.optim.Optimizer]) -> Tensors:
    """The tensors that the optimisers keep of each parameter, as `exp_avg/NAME`."""
    states = {parameter: state for optimizer in optimizers for parameter, state in optimizer.state.items()}
    named = [(name, states.get(parameter, {})) for name, parameter in model.named_parameters()]
    return {f"{key}/{name}": state[key] for name, state in named for key in state}


@torch.no_grad()
def restore(checkpoint: Checkpoint, model: GPT, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Copy weights and optimizer state into their owners (copied, for memory aligned as in an unbroken run)."""
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        parameter.copy_(shard_like(parameter, checkpoint.weights[name]))
    owners = {
        parameter: optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for entry, tensor in checkpoint.optimizer_state.items():
        key, _, name = entry.partition("/")
        owners[parameters[name]].state[parameters[name]][key] = shard_like(parameters[name], tensor)


def name_of(step: int) -> str:
    """The folder of a step's checkpoint."""
    return f"step-{step:08d}"


def steps(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first, whole or damaged."""
    return sorted(folder.glob("step-" + "[0-9]" * 8))


def latest(folder: Path, moments: bool) -> tuple[Checkpoint | None, list[str], list[Path]]:
    """The newest checkpoint that is whole, a note for each newer damaged one, and the paths of those.

    None where no checkpoint was ever saved. Raises TrainingError when there are some and none is whole.
    """
    notes: list[str] = []
    damaged: list[Path] = []
    for path in reversed(steps(folder)):
        try:
            return read(path, moments), [f"{note}; went back to {path.name}" for note in notes], damaged
        except IntegrityError as error:
            notes.append(str(error))
            damaged.append(path)
    if damaged:
        raise TrainingError(f"{folder}: no checkpoint can be read: {notes[0]}; 'webtext train --fresh' starts over")
    return None, [], []


def trained(folder: Path) -> tuple[Checkpoint, list[str]]:
    """The newest whole checkpoint for sampling or export, and notes on damaged ones. Raises TrainingError: none."""
    if location_of(folder):
        transfer.bring(folder)
    checkpoint, notes, _ = latest(folder, moments=False)
    if checkpoint is None:
        raise TrainingError(f"{folder}: no trained model; run 'webtext train' first")
    return checkpoint, notes


def read(path: Path, moments: bool) -> Checkpoint:
    """One checkpoint, every byte checked. Raises IntegrityError: something is missing or not as it was written."""
    try:
        envelope = msgspec.json.decode((path / RECORD).read_bytes(), type=Envelope)
        if hashlib.sha256(envelope.record).hexdigest() != envelope.sha256:
            raise IntegrityError(f"{path / RECORD}: not as it was written (sha256)")
        record = msgspec.json.decode(envelope.record, type=Record)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise IntegrityError(f"{path / RECORD}: {error}") from None
    if record.format != FORMAT:
        raise IntegrityError(f"{path / RECORD}: format {record.format}, this trainer reads {FORMAT}")
    if name_of(record.step) != path.name:
        raise IntegrityError(f"{path / RECORD}: not as it was written (it is of step {record.step})")
    weights = load_checked(path / WEIGHTS, record.files)
    return Checkpoint(path, record, weights, load_checked(path / OPTIMIZER, record.files) if moments else {})


def load_checked(path: Path, files: dict[str, storage.Stamp]) -> Tensors:
    """The tensors of a file that is as its record says. Raises IntegrityError."""
    try:
        found = stamp_of(path)
        if found != files.get(path.name):
            raise IntegrityError(f"{path}: not as it was written (sha256 or length)")
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"{path}: {error}") from None


def stamp_of(path: Path) -> storage.Stamp:
    """The stamp of a file as it lies on disk."""
    return storage.Stamp(storage.sha256_of(path), path.stat().st_size)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, that appears at `path`, whole and durable, when the block ends, or not at all.

    Raises StorageError when the storage refuses.
    """
    part = storage.part_of(path)
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        for file in sorted(part.iterdir()):
            storage.sync_folder(file)  # fsync of a file opened to read is the same call
        storage.sync_folder(part)
        part.rename(path)
        storage.sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise storage.refused(path, error if isinstance(error, OSError) else of_the_system(error, path)) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def of_the_system(error: SafetensorError, path: Path) -> OSError:
    """What the system refused, as safetensors says it: `I/O error: No space left on device (os error 28) at path …`."""
    found = re.search(r"I/O error: (.*) \(os error (\d+)\)", str(error))
    return OSError(int(found[2]), found[1], path) if found else OSError(0, str(error), path)


def remove(path: Path) -> None:
    """Delete a checkpoint; its name goes first, so that a kill in between leaves no half of one."""
    part = storage.part_of(path)
    path.rename(part)
    shutil.rmtree(part)


def set_aside(paths: list[Path], folder: Path, name: str) -> Path | None:
    """Move what lies in `folder` into a new sub-folder `name-1`, `name-2` …; its path, or None for nothing to move."""
    if not paths:
        return None
    number = 1
    while (folder / f"{name}-{number}").exists():
        number += 1
    aside = folder / f"{name}-{number}"
    aside.mkdir()
    for path in paths:
        path.rename(aside / path.name)
    return aside


def sweep(folder: Path) -> None:
    """Remove what killed runs left half written. Only while no other run writes into `folder`."""
    for part in folder.glob(f".*{storage.PART}"):
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink()


def model_of(shape: Shape, weights: Tensors) -> GPT:
    """A model with these weights (embedding padded), in evaluation mode; torch's generator is not touched.

    Raises InputError: a weight is missing, unknown or of another shape.
    """
    with torch.device("meta"):
        model = GPT(shape)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise InputError(f"weight {name}: shape {found.get(name)}, the model has {wanted.get(name)}")
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    return model.eval()
