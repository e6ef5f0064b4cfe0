"""The file for llama.cpp, read back by its own library: the same weights under its names, the same tokens and logits.

What llama.cpp itself makes of the file is looked at by hand: `make check-gguf`.
"""

import json

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch.nn import functional

from pipeline.shards.outcomes import ConfigError, InputError
from tests.trainer.test_checkpoint import SHAPE, exported, model_and_optimizer, record_of, save
from tests.trainer.token_shards import write_tokenizer
from trainer.checkpoint import trained
from trainer.gguf import FILE, write_gguf
from trainer.model import Shape

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(our model, its tokenizer.json, the reader of its file)."""
    root = tmp_path_factory.mktemp("gguf")
    model, _ = exported(root)
    tokenizer = root / "tokenizer" / "tokenizer.json"
    write_gguf(trained(root / "model")[0], tokenizer, root)
    assert (root / "README.md").read_text("utf-8").startswith("---\nlibrary_name: gguf\n")
    return model, tokenizer, gguf.GGUFReader(root / FILE)


def value(reader, name):
    return reader.fields[name].contents()


def forward(reader, ids):
    """Logits of the ids as llama.cpp's graph of `gpt2` computes them (src/models/gpt2.cpp), from the file alone."""
    weights = {one.name: torch.tensor(np.array(one.data)) for one in reader.tensors}
    heads, width = value(reader, "gpt2.attention.head_count"), value(reader, "gpt2.embedding_length")

    def linear(x, name):
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x, name):
        epsilon = value(reader, "gpt2.attention.layer_norm_epsilon")
        return functional.layer_norm(x, (width,), weights[f"{name}.weight"], weights[f"{name}.bias"], epsilon)

    x = weights["token_embd.weight"][ids] + weights["position_embd.weight"][: len(ids)]
    hidden = torch.full((len(ids), len(ids)), -torch.inf).triu(1)
    for layer in range(value(reader, "gpt2.block_count")):
        block = f"blk.{layer}"
        parts = linear(norm(x, f"{block}.attn_norm"), f"{block}.attn_qkv").split(width, dim=-1)
        query, key, values = (part.view(len(ids), heads, -1).transpose(0, 1) for part in parts)
        seen = (query @ key.transpose(1, 2) / (width // heads) ** 0.5 + hidden).softmax(-1) @ values
        x = x + linear(seen.transpose(0, 1).reshape(len(ids), width), f"{block}.attn_output")
        inner = functional.gelu(linear(norm(x, f"{block}.ffn_norm"), f"{block}.ffn_up"), approximate="tanh")
        x = x + linear(inner, f"{block}.ffn_down")
    return norm(x, "output_norm") @ weights.get("output.weight", weights["token_embd.weight"]).T


def test_a_forward_pass_over_the_files_tensors_gives_our_logits(made):
    model, _, reader = made
    ids = torch.randint(SHAPE.vocab, (SHAPE.block,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = model(ids[None])[0, :, : SHAPE.vocab]
    torch.testing.assert_close(forward(reader, ids), ours, atol=1e-4, rtol=0)


def test_every_weight_is_there_to_the_bit_under_a_name_of_llama_cpps_architecture(made):
    model, _, reader = made
    (known,) = (
        number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == value(reader, "general.architecture")
    )
    names = gguf.get_tensor_name_map(known, SHAPE.layers)
    found = {one.name: one for one in reader.tensors}
    expected = model.state_dict()
    assert len(found) == len(expected)
    for name, tensor in expected.items():
        stem, _, kind = name.rpartition(".")
        theirs = found[f"{names.get_name(f'transformer.{stem}')}.{kind}"]
        assert theirs.tensor_type == gguf.GGMLQuantizationType.F32
        assert np.array_equal(theirs.data, tensor[: SHAPE.vocab] if stem == "wte" else tensor)


def test_the_tokenizer_is_in_the_file_as_gpt_2s(made):
    _, tokenizer, reader = made
    told = json.loads(tokenizer.read_text())
    ids = Tokenizer.from_file(str(tokenizer)).get_vocab()
    tokens = value(reader, "tokenizer.ggml.tokens")
    assert {token: number for number, token in enumerate(tokens)} == ids
    assert value(reader, "tokenizer.ggml.merges") == [" ".join(pair) for pair in told["model"]["merges"]]
    assert (value(reader, "tokenizer.ggml.model"), value(reader, "tokenizer.ggml.pre")) == ("gpt2", "gpt-2")
    end = ids["<|endoftext|>"]
    assert {value(reader, f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")} == {end}
    kinds = value(reader, "tokenizer.ggml.token_type")
    assert [number for number, kind in enumerate(kinds) if kind != gguf.TokenType.NORMAL] == [end]
    assert kinds[end] == gguf.TokenType.CONTROL
    assert not value(reader, "tokenizer.ggml.add_bos_token")


def test_the_file_says_the_shape(made):
    reader = made[2]
    names = ("context_length", "embedding_length", "feed_forward_length", "block_count", "attention.head_count")
    assert [value(reader, f"gpt2.{name}") for name in names] == [16, 8, 32, 2, 2]
    assert value(reader, "general.file_type") == gguf.LlamaFileType.ALL_F32


def test_another_tokenizer_and_a_model_that_llama_cpp_has_no_form_for_are_refused(tmp_path):
    exported(tmp_path)
    other = tmp_path / "other.json"
    write_tokenizer(other, SHAPE.vocab, ["another text than that which the first one was learnt from " * 9])
    with pytest.raises(InputError, match=r"other\.json: sha256 .*…, the model was trained with "):
        write_gguf(trained(tmp_path / "model")[0], other, tmp_path)
    shape = Shape(layers=1, heads=2, width=8, block=16, vocab=280, rms=True)
    save(tmp_path / "later", record_of(shape=shape), *model_and_optimizer(shape=shape))
    with pytest.raises(ConfigError, match=r"has RoPE or RMSNorm, which llama\.cpp's GPT-2 has no form for"):
        write_gguf(trained(tmp_path / "later")[0], tmp_path / "tokenizer/tokenizer.json", tmp_path)
    assert not (tmp_path / FILE).exists()
