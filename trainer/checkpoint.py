"""Checkpoints that survive a kill at any moment, and the same weights in the form that `transformers` reads.

Choice: a folder a step, of safetensors and one JSON file with the sha256 of everything, written beside its name,
synced, renamed; the two newest stay, so a damaged one costs some steps, not the run. Cost: twice the space.
Alternative: torch.save, a pickle that runs code when it is read and that nothing checks.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.shards import storage
from pipeline.shards.outcomes import ConfigError, InputError, IntegrityError, TrainingError
from trainer.model import EPSILON, GPT, Shape, with_padding, without_padding

FORMAT = 1
KEEP = 2  # newest checkpoints that stay
RECORD, WEIGHTS, MOMENTS = "checkpoint.json", "weights.safetensors", "optimizer.safetensors"
TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # the released Conv1D holds (in, out), Linear (out, in)
Tensors = dict[str, Tensor]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint says of itself. `identity` is what decides the weights: a resumed run must have the same."""

    format: int = FORMAT
    step: int  # optimiser steps done
    shape: Shape
    end_of_text: int
    identity: dict[str, Any]
    threads: int  # of torch; another number adds in another order
    torch: str  # version
    device: str  # cpu or cuda
    loss: float | None  # of the last step, nats a token
    files: dict[str, storage.Stamp] = {}


class Envelope(msgspec.Struct, frozen=True):
    """The JSON file: the record as written, and the sha256 of those bytes."""

    sha256: str
    record: msgspec.Raw


class Checkpoint(msgspec.Struct, frozen=True):
    """A checkpoint in memory. `moments` holds the optimiser's tensors as `exp_avg/NAME`, empty when not asked for."""

    path: Path
    record: Record
    weights: Tensors
    moments: Tensors

    def model(self) -> GPT:
        """The model of the checkpoint, on the CPU, in evaluation mode."""
        return model_of(self.record.shape, self.weights)


def save(folder: Path, record: Record, model: GPT, optimizer: torch.optim.Optimizer) -> Path:
    """Write `step-00000500` into `folder`, whole and durable, then drop all but the two newest; its path.

    Raises StorageError when the storage refuses; the older checkpoints are then untouched.
    """
    path = folder / name_of(record.step)
    state = optimizer.state
    moments = {f"{key}/{name}": state[one][key] for name, one in model.named_parameters() for key in state[one]}
    with new_folder(path) as part:
        save_file(model.state_dict(), part / WEIGHTS)
        save_file(moments, part / MOMENTS)
        files = {name: stamp_of(part / name) for name in (WEIGHTS, MOMENTS)}
        body = msgspec.json.encode(msgspec.structs.replace(record, files=files))
        envelope = Envelope(hashlib.sha256(body).hexdigest(), msgspec.Raw(body))
        (part / RECORD).write_bytes(msgspec.json.encode(envelope))
    for old in steps(folder)[:-KEEP]:
        remove(old)
    return path


def restore(checkpoint: Checkpoint, model: GPT, optimizer: torch.optim.Optimizer) -> None:
    """Copy weights and moments into a model and its optimiser (copied, for memory aligned as in an unbroken run)."""
    model.load_state_dict(checkpoint.weights)
    parameters = dict(model.named_parameters())
    for moment, tensor in checkpoint.moments.items():
        key, _, name = moment.partition("/")
        optimizer.state[parameters[name]][key] = tensor.to(parameters[name].device, copy=True)


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
    return Checkpoint(path, record, weights, load_checked(path / MOMENTS, record.files) if moments else {})


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
        raise storage.refused(path, error if isinstance(error, OSError) else OSError(0, str(error))) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


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


def export_hf(checkpoint: Checkpoint, tokenizer: Path, out: Path) -> None:
    """Write the folder `out` that `transformers` loads: weights, config, generation config, tokenizer.

    `tokenizer` is the folder that holds tokenizer.json.
    Raises ConfigError: `out` exists. InputError: no tokenizer.json. StorageError.
    """
    if out.exists():
        raise ConfigError(f"{out}: exists already; name another folder")
    shape, end = checkpoint.record.shape, checkpoint.record.end_of_text
    try:
        described = (tokenizer / "tokenizer.json").read_bytes()
        names = {one["id"]: one["content"] for one in json.loads(described)["added_tokens"]}
        special = names[end]
    except (OSError, ValueError, KeyError, TypeError) as error:
        kind = f"{type(error).__name__}: {error}"
        raise InputError(f"{tokenizer}: no tokenizer.json with the end-of-text token {end} ({kind})") from None
    ends = {"bos_token_id": end, "eos_token_id": end}
    words = {"bos_token": special, "eos_token": special, "unk_token": special, "model_max_length": shape.block}
    with new_folder(out) as part:
        save_file(hf_weights(shape, checkpoint.weights), part / "model.safetensors", {"format": "pt"})
        write_json(part / "config.json", hf_config(shape) | ends)
        write_json(part / "generation_config.json", ends)
        write_json(part / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"} | words)
        (part / "tokenizer.json").write_bytes(described)


def hf_weights(shape: Shape, weights: Tensors) -> Tensors:
    """Our weights as GPT2LMHeadModel names and turns them: without padding, Conv1D matrices transposed."""
    plain = without_padding(shape, weights)
    return {
        f"transformer.{name}": (tensor.t() if name.endswith(TRANSPOSED) else tensor).contiguous()
        for name, tensor in plain.items()
    }


def hf_config(shape: Shape) -> dict[str, Any]:
    """`config.json` of GPT2LMHeadModel for a shape, without the ids of special tokens."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "dtype": "float32",
        "vocab_size": shape.vocab,
        "n_positions": shape.block,
        "n_embd": shape.width,
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": EPSILON,
        "initializer_range": 0.02,
        "embd_pdrop": shape.dropout,
        "attn_pdrop": shape.dropout,
        "resid_pdrop": shape.dropout,
        "tie_word_embeddings": True,
    }


def load_hf(folder: Path) -> GPT:
    """The GPT-2 that lies in a `transformers` folder (config.json, model.safetensors), published ones included.

    Raises InputError: a file is missing or broken, or the config asks for what the released GPT-2 does not have.
    """
    try:
        config = json.loads((folder / "config.json").read_bytes())
        names = ("n_layer", "n_head", "n_embd", "n_positions", "vocab_size")
        shape = Shape(*(int(config[name]) for name in names))
        loaded = load_file(folder / "model.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(f"{folder}: not a GPT-2 of transformers: {type(error).__name__}: {error}") from None
    same = {"activation_function": "gelu_new", "layer_norm_epsilon": EPSILON, "tie_word_embeddings": True}
    same |= {"scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True, "n_inner": None}
    for name, value in same.items():
        if config.get(name, value) not in (value, 4 * shape.width if name == "n_inner" else value):
            raise InputError(f"{folder / 'config.json'}: {name} is {config[name]!r}; GPT-2 has {value!r}")
    weights = {}
    for name, tensor in loaded.items():
        ours = name.removeprefix("transformer.")
        if ours != "lm_head.weight" and not ours.endswith((".attn.bias", ".attn.masked_bias")):
            weights[ours] = tensor.t().contiguous() if ours.endswith(TRANSPOSED) else tensor
    embedding = weights.get("wte.weight")
    if embedding is None or embedding.shape != (shape.vocab, shape.width):
        raise InputError(f"{folder / 'model.safetensors'}: no embedding wte of {shape.vocab} x {shape.width}")
    if len(weights) != 12 * shape.layers + 4 or shape.heads < 1 or shape.width % shape.heads:
        raise InputError(f"{folder}: {len(weights)} weights do not make {shape.layers} layers of {shape.heads} heads")
    return model_of(shape, with_padding(shape, weights))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file for people."""
    with path.open("w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
