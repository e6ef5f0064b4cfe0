"""Sampling gives valid text, repeats itself for a seed, and the cache changes nothing but the time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards.outcomes import ConfigError, TrainingError
from tests.trainer.token_shards import write_tokenizer
from trainer.model import GPT, Shape
from trainer.sample import choose, generate, load_tokenizer, sample

torch.set_num_threads(1)
VOCAB = 280
PLAIN = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 1}


def model_of(vocab=VOCAB, block=12, seed=1):
    """A model whose predictions depend strongly on what it read."""
    torch.manual_seed(seed)
    model = GPT(Shape(2, 2, 16, block, vocab))
    with torch.no_grad():
        for one in model.parameters():
            one.add_(0.5 * torch.randn_like(one))
    return model


def tokenizer_of(tmp_path):
    path = tmp_path / "tokenizer.json"
    write_tokenizer(path, VOCAB)
    return load_tokenizer(path, "")


def slowly(model, ids, tokens):
    """Greedy ids without a cache: the whole context is read anew for every token.

    The context is what `generate` promises: all, until the block is full; then the newer half block and what follows.
    """
    block, ids = model.shape.block, list(ids)
    start = max(0, len(ids) - block)
    for _ in range(tokens):
        if len(ids) - start > block:
            start = len(ids) - block // 2
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids[start:]]))[0, -1].argmax()))
    return ids[-tokens:]


@settings(max_examples=20, deadline=None)
@given(ids=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=30), block=st.integers(2, 13))
def test_the_cache_gives_what_reading_anew_gives(ids, block):
    model = model_of(block=block)
    assert list(generate(model, ids, 40, lambda logits: int(logits.argmax()))) == slowly(model, ids, 40)


def test_a_seed_repeats_the_text_and_another_one_does_not(tmp_path):
    model, tokenizer = model_of(), tokenizer_of(tmp_path)
    one, two, other = (
        "".join(sample(model, tokenizer, "to be", tokens=40, **PLAIN | {"seed": seed})) for seed in (1, 1, 2)
    )
    assert one == two
    assert one != other


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_pieces_are_valid_text_and_together_the_bytes_of_the_tokens(tmp_path_factory, seed):
    model, tokenizer = model_of(), tokenizer_of(tmp_path_factory.mktemp("tokenizer"))
    pieces = list(sample(model, tokenizer, "é", tokens=30, stop_at_end=False, **PLAIN | {"seed": seed}))
    generator = torch.Generator().manual_seed(seed)
    ids = generate(model, tokenizer.encode("é"), 30, lambda logits: choose(logits, 1.0, 0, 1.0, generator))
    data = b"".join(tokenizer.bytes_of[one] for one in ids)
    assert "".join(pieces) == data.decode(errors="replace")
    assert all(pieces)
    assert all(piece.encode() for piece in pieces)  # no lone surrogate


def test_a_character_of_several_tokens_comes_out_whole(tmp_path, monkeypatch):
    tokenizer = tokenizer_of(tmp_path)
    byte_ids = {one: number for number, one in enumerate(tokenizer.bytes_of) if len(one) == 1}
    wanted = [byte_ids[bytes([byte])] for byte in "a你b".encode()] + [byte_ids[b"\xe4"]]
    monkeypatch.setattr("trainer.sample.generate", lambda *_: iter(wanted))
    assert list(sample(model_of(), tokenizer, "x", tokens=6, **PLAIN)) == ["a", "你", "b", "\ufffd"]


def test_it_stops_at_the_end_of_a_text_if_asked(tmp_path, monkeypatch):
    tokenizer = tokenizer_of(tmp_path)
    letter = tokenizer.bytes_of.index(b"a")
    ids = [letter, tokenizer.end_of_text, letter]
    monkeypatch.setattr("trainer.sample.generate", lambda *_: iter(ids))
    assert "".join(sample(model_of(), tokenizer, "x", tokens=3, **PLAIN)) == "a"
    assert "".join(sample(model_of(), tokenizer, "x", tokens=3, stop_at_end=False, **PLAIN)) == "aa"


def test_an_empty_prompt_begins_a_new_document(tmp_path, monkeypatch):
    tokenizer = tokenizer_of(tmp_path)
    begun = []

    def recording(_model, ids, *_):
        begun.append(ids)
        return iter(())

    monkeypatch.setattr("trainer.sample.generate", recording)
    assert list(sample(model_of(), tokenizer, "", tokens=3, **PLAIN)) == []
    assert begun == [[tokenizer.end_of_text]]


def test_a_prompt_that_spells_the_control_token_is_only_text(tmp_path):
    tokenizer = tokenizer_of(tmp_path)
    ids = tokenizer.encode("<|endoftext|>")
    assert tokenizer.end_of_text not in ids
    assert b"".join(tokenizer.bytes_of[one] for one in ids) == b"<|endoftext|>"


def drawn(logits, temperature=1.0, top_k=0, top_p=1.0, times=400):
    generator = torch.Generator().manual_seed(1)
    found = [choose(torch.tensor(logits), temperature, top_k, top_p, generator) for _ in range(times)]
    return {one: found.count(one) for one in sorted(set(found))}


def test_the_padding_of_the_vocabulary_is_never_drawn():
    model = model_of(vocab=5)
    generator = torch.Generator().manual_seed(1)
    found = set(generate(model, [1], 300, lambda logits: choose(logits, 50.0, 0, 1.0, generator)))
    assert found == {0, 1, 2, 3, 4}


def test_top_k_and_top_p_cut_where_their_papers_say():
    logits = [torch.log(torch.tensor(one)).item() for one in (0.1, 0.5, 0.15, 0.25)]
    assert set(drawn(logits)) == {0, 1, 2, 3}
    assert set(drawn(logits, top_k=2)) == {1, 3}
    assert set(drawn(logits, top_k=1)) == {1}
    assert set(drawn(logits, top_k=9)) == {0, 1, 2, 3}
    assert set(drawn(logits, top_p=0.4)) == {1}
    assert set(drawn(logits, top_p=0.7)) == {1, 3}
    assert set(drawn(logits, top_p=0.8)) == {1, 2, 3}
    assert set(drawn(logits, top_k=2, top_p=0.6)) == {1}  # of the two, 0.5 is two thirds


def test_temperature_sharpens_and_flattens():
    logits = [0.0, 1.0, 2.0]
    assert drawn(logits, temperature=0.0, times=5) == {2: 5}
    assert drawn(logits, temperature=1e-9, times=5) == {2: 5}
    cold, warm, hot = (drawn(logits, temperature=one)[2] for one in (0.5, 1.0, 5.0))
    assert cold > warm > hot
    assert 228 < warm < 304  # 0.665 of 400, give or take four standard deviations


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_values_out_of_bounds_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        next(sample(model_of(), tokenizer_of(tmp_path), "to", tokens=1, **PLAIN | wrong))


def test_the_tokenizer_of_another_model_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="another model's"):
        next(sample(model_of(vocab=100), tokenizer_of(tmp_path), "to", tokens=1, **PLAIN))


@pytest.mark.failure("another tokenizer than the model's", "exit 8", "name the model's folder")
def test_another_tokenizer_than_the_models_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    write_tokenizer(path, VOCAB)
    with pytest.raises(TrainingError, match=r"the model was trained with 0123456789abcdef…"):
        load_tokenizer(path, "0123456789abcdef")
