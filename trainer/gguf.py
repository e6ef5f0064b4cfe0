"""The model in the one file that llama.cpp reads, and with it Ollama and LM Studio: GGUF, tokenizer inside.

Choice: llama.cpp's architecture `gpt2` (its src/models/gpt2.cpp), float32, written by its own library `gguf`: what is
sampled is the same text, and a smaller file is one `llama-quantize` away. The output layer is left out, since llama.cpp
takes the embedding where there is none. The pre-tokenizer is named `gpt-2`, which ours is; llama.cpp's own converter
knows a tokenizer by a hash of what it makes of a text, and refuses one that it has not seen. Cost: only GPT-2 as
released has that form. Alternative: that converter on an export for transformers, which refuses every new vocabulary.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf

from trainer.checkpoint import Checkpoint, Tensors
from trainer.export import model_card, published_only, tokenizer_of
from trainer.model import EPSILON, Shape, without_padding

FILE = "model.gguf"
ARCHITECTURE = "gpt2"
PRE_TOKENIZER = "gpt-2"  # LLAMA_VOCAB_PRE_TYPE_GPT2 of llama.cpp's src/llama-vocab.cpp
NAMES = {  # of a layer: ours, the released ones, and those of llama.cpp's src/llama-arch.cpp
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip
OUTER = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
USE = """    llama-cli -m {file} -no-cnv -p "The"
    llama-cpp-python: Llama("{file}")("The", max_tokens=40)

Ollama: `ollama create NAME` beside a `Modelfile` that says `FROM ./{file}`. LM Studio opens the file. The weights are
float32; `llama-quantize` makes smaller ones."""


def write_gguf(checkpoint: Checkpoint, tokenizer: Path, folder: Path) -> None:
    """Write `model.gguf` and a model card into `folder`. `tokenizer` is the model's tokenizer.json.

    Raises ConfigError: the model is not GPT-2 as released. InputError: no tokenizer there, or another one than the
    model's. OSError.
    """
    published_only(checkpoint, "llama.cpp's")
    described = json.loads(tokenizer_of(checkpoint, tokenizer)[0])
    writer = gguf.GGUFWriter(folder / FILE, ARCHITECTURE)
    try:
        add_shape(writer, checkpoint.record.shape)
        add_tokenizer(writer, described, checkpoint.record.end_of_text)
        for name, tensor in gguf_weights(checkpoint.record.shape, checkpoint.weights).items():
            writer.add_tensor(name, tensor.float().contiguous().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    (folder / "README.md").write_text(model_card(checkpoint, "gguf", USE.format(file=FILE)), "utf-8")


def add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """What llama.cpp has to know of the architecture."""
    writer.add_name("GPT-2, trained on a rebuilt WebText")
    writer.add_context_length(shape.block)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(4 * shape.width)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def add_tokenizer(writer: gguf.GGUFWriter, described: dict[str, Any], end_of_text: int) -> None:
    """The vocabulary and its merges, of a tokenizer.json; nothing is added to a text.

    The end of a text is a control token: llama.cpp reads it as such in a prompt, and does not show it.
    """
    added = {token["content"]: token["id"] for token in described["added_tokens"]}
    vocabulary: dict[str, int] = described["model"]["vocab"] | added
    kinds = [gguf.TokenType.NORMAL] * len(vocabulary)
    kinds[end_of_text] = gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(sorted(vocabulary, key=vocabulary.__getitem__))
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in described["model"]["merges"]])
    writer.add_bos_token_id(end_of_text)
    writer.add_eos_token_id(end_of_text)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)


def gguf_weights(shape: Shape, weights: Tensors) -> Tensors:
    """Our weights as llama.cpp names them, without padding; matrices are (out, in) there as here."""
    return {gguf_name(name): tensor for name, tensor in without_padding(shape, weights).items()}


def gguf_name(name: str) -> str:
    """`h.3.attn.c_attn.weight` is `blk.3.attn_qkv.weight`."""
    inner, _, kind = name.rpartition(".")
    if inner in OUTER:
        return f"{OUTER[inner]}.{kind}"
    _, layer, part = inner.split(".", 2)
    return f"blk.{layer}.{NAMES[part]}.{kind}"
