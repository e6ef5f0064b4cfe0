"""The model in the form that `transformers` reads, both ways: a checkpoint goes out, a published GPT-2 comes in.

Choice: GPT2LMHeadModel's own names and layout in safetensors, with tokenizer and model card, so that whatever reads a
model of transformers reads ours. Cost: only GPT-2 as released has that form; RoPE and RMSNorm are refused.
Alternative: code that travels with the weights, which readers are right not to run.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pipeline.shards.outcomes import ConfigError, InputError
from trainer.checkpoint import Checkpoint, Tensors, model_of, of_the_system
from trainer.model import EPSILON, GPT, Shape, with_padding, without_padding

TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # the released Conv1D holds (in, out), Linear (out, in)
USE = """    from transformers import pipeline
    print(pipeline("text-generation", "this/folder")("The", max_new_tokens=40)[0]["generated_text"])"""
MODEL_CARD = """---
library_name: {library}
pipeline_tag: text-generation
tags: [gpt2, webtext]
---
# GPT-2, trained on a rebuilt WebText

A language model of GPT-2's architecture (Radford et al. 2019), trained by `webtext` on the text of pages that people
linked to on Reddit and others upvoted.

| | |
|---|---|
{facts}

## Use

{use}

## Limits

It repeats what its corpus says, its errors and prejudices with the rest, and knows nothing later. It follows no
instructions, and nothing it writes is checked. Its training text stays under the rights of those who wrote it.

## Settings of the training

```toml
{settings}
```
"""


def write_hf(checkpoint: Checkpoint, tokenizer: Path, folder: Path) -> None:
    """Fill `folder` with what `transformers` loads: weights, config, generation config, tokenizer, model card.

    `tokenizer` is the model's tokenizer.json. Raises ConfigError: the model is not GPT-2 as released. InputError: no
    tokenizer there, or another one than the model's. OSError.
    """
    published_only(checkpoint, "transformers'")
    shape, end = checkpoint.record.shape, checkpoint.record.end_of_text
    described, special = tokenizer_of(checkpoint, tokenizer)
    ends = {"bos_token_id": end, "eos_token_id": end}
    words = {"bos_token": special, "eos_token": special, "unk_token": special, "model_max_length": shape.block}
    weights = folder / "model.safetensors"
    try:
        save_file(hf_weights(shape, checkpoint.weights), weights, {"format": "pt"})
    except SafetensorError as error:  # a full disk, for one
        raise of_the_system(error, weights) from None
    write_json(folder / "config.json", hf_config(shape) | ends)
    write_json(folder / "generation_config.json", ends)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"} | words)
    (folder / "tokenizer.json").write_bytes(described)
    (folder / "README.md").write_text(model_card(checkpoint), "utf-8")


def published_only(checkpoint: Checkpoint, whose: str) -> None:
    """Raise ConfigError for a model that is not GPT-2 as released: nobody else's GPT-2 can hold it."""
    if not checkpoint.record.shape.published:
        raise ConfigError(f"{checkpoint.path}: has RoPE or RMSNorm, which {whose} GPT-2 has no form for")


def tokenizer_of(checkpoint: Checkpoint, tokenizer: Path) -> tuple[bytes, str]:
    """The bytes of the model's tokenizer.json, and how it spells the end of a text.

    Raises InputError: no tokenizer there, or another one than the model's.
    """
    end = checkpoint.record.end_of_text
    try:
        described = tokenizer.read_bytes()
        names = {token["id"]: token["content"] for token in json.loads(described)["added_tokens"]}
        special = str(names[end])
    except (OSError, ValueError, KeyError, TypeError) as error:
        kind = f"{type(error).__name__}: {error}"
        raise InputError(f"{tokenizer}: no tokenizer with the end-of-text token {end} ({kind})") from None
    trained_on = checkpoint.record.identity["tokenizer"]
    if not (found := hashlib.sha256(described).hexdigest()).startswith(trained_on):
        raise InputError(f"{tokenizer}: sha256 {found[: len(trained_on)]}…, the model was trained with {trained_on}…")
    return described, special


def model_card(checkpoint: Checkpoint, library: str = "transformers", use: str = USE) -> str:
    """README.md as the Hugging Face hub reads it: what it is, what it was trained on and how, what it is not for."""
    record = checkpoint.record
    shape, identity = record.shape, record.identity
    settings = {name.removeprefix("train."): value for name, value in identity.items() if name.startswith("train.")}
    tokens = record.step * math.prod(int(settings.get(name, 0)) for name in ("batch", "accumulate", "block"))
    loss = "not known" if record.loss is None else f"{record.loss:.4f} nats a token"
    facts = {
        "parameters": f"{shape.parameters:,} ({shape.layers} layers, {shape.heads} heads, width {shape.width})",
        "context": f"{shape.block:,} tokens",
        "vocabulary": f"{shape.vocab:,} tokens of byte-level BPE",
        "trained": f"{record.step:,} steps, {tokens:,} tokens",
        "loss of the last step": loss,
        "data (sha256)": identity.get("data", "not known"),
        "tokenizer (sha256)": identity.get("tokenizer", "not known"),
    }
    return MODEL_CARD.format(
        library=library,
        use=use,
        facts="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
        settings="\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items()),
    )


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


def load_hf(folder: Path, dropout: float = 0.0) -> GPT:
    """The GPT-2 that lies in a `transformers` folder (config.json, model.safetensors), published ones included.

    `dropout` is for training on; that of the folder's own training does not count.
    Raises InputError: a file is missing or broken, or the config asks for what the released GPT-2 does not have.
    """
    try:
        config = json.loads((folder / "config.json").read_bytes())
        names = ("n_layer", "n_head", "n_embd", "n_positions", "vocab_size")
        layers, heads, width, block, vocab = (int(config[name]) for name in names)
        shape = Shape(layers, heads, width, block, vocab, dropout)
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
