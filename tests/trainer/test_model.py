"""The model is GPT-2: same counts, same logits as transformers, and no token sees what comes after it."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from trainer.export import hf_config, hf_weights
from trainer.model import GPT, PRESETS, Shape, documents_of, rotated, rotation_of, shape_of

torch.set_num_threads(1)
SMALL = Shape(layers=2, heads=2, width=32, block=24, vocab=70)


def small_model(seed=1, shape=SMALL):
    """A small model whose weights are larger than at the start, so that differences show."""
    torch.manual_seed(seed)
    model = GPT(shape).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.wte.weight[shape.vocab :] = 5.0  # padding that would win, were it not masked
    return model


def transformers_twin(model):
    """transformers' own GPT-2 with the weights of ours."""
    twin = GPT2LMHeadModel(GPT2Config(**hf_config(model.shape))).eval()
    missing, unexpected = twin.load_state_dict(hf_weights(model.shape, model.state_dict()), strict=False)
    assert (missing, unexpected) in (([], []), (["lm_head.weight"], []))
    twin.tie_weights()
    return twin


def random_tokens(seed, batch, length, vocab=SMALL.vocab):
    return torch.randint(vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("preset", "count"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_published_sizes_have_the_published_number_of_parameters(preset, count):
    shape = shape_of(preset, 1024, 50_257, 0.0)
    with torch.device("meta"):
        model = GPT(shape)
    assert shape.parameters == count
    assert shape.padded_vocab == 50_304
    assert sum(one.numel() for one in model.parameters()) - 47 * shape.width == count


@pytest.mark.parametrize("preset", ["nano", "micro", "mini"])
def test_small_sizes_count_their_parameters_right(preset):
    shape = shape_of(preset, 128, 4096, 0.0)
    with torch.device("meta"):
        model = GPT(shape)
    assert shape.parameters == sum(one.numel() for one in model.parameters())


def test_every_preset_divides_its_width_over_its_heads():
    assert [name for name, (_, heads, width) in PRESETS.items() if width % heads] == []


def test_logits_are_those_of_transformers():
    model = small_model()
    tokens = random_tokens(2, 3, SMALL.block)
    with torch.no_grad():
        ours, theirs = model(tokens), transformers_twin(model)(tokens).logits
    assert theirs.shape == (3, 24, 70)
    assert theirs.abs().max() > 1
    torch.testing.assert_close(ours[..., :70], theirs, atol=1e-4, rtol=0)


def test_loss_and_gradients_are_those_of_transformers():
    model = small_model()
    twin = transformers_twin(model)
    tokens = random_tokens(3, 2, SMALL.block)
    loss = model.losses(tokens[:, :-1], tokens[:, 1:]).mean()
    theirs = twin(tokens, labels=tokens).loss
    loss.backward()
    theirs.backward()
    torch.testing.assert_close(loss, theirs, atol=1e-5, rtol=0)
    found = twin.transformer.h[1].attn.c_attn.weight.grad.t()
    torch.testing.assert_close(model.h[1].attn.c_attn.weight.grad, found, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.wte.weight.grad[:70], twin.transformer.wte.weight.grad, atol=1e-5, rtol=0)


def test_padding_of_the_vocabulary_has_no_probability_and_no_gradient():
    model = small_model()
    tokens = random_tokens(4, 2, 8)
    probabilities = torch.softmax(model(tokens), dim=-1)
    assert probabilities[..., 70:].abs().max() == 0
    model.losses(tokens, tokens).mean().backward()
    assert model.wte.weight.grad[70:].abs().max() == 0
    assert model.wte.weight.grad[:70].abs().max() > 0


@settings(max_examples=25, deadline=None)
@given(place=st.integers(0, 22), seed=st.integers(0, 1000))
def test_no_token_sees_what_comes_after_it(place, seed):
    model = small_model()
    tokens = random_tokens(seed, 1, SMALL.block)
    changed = tokens.clone()
    changed[0, place + 1 :] = (changed[0, place + 1 :] + 1) % SMALL.vocab
    with torch.no_grad():
        before, after = model(tokens)[..., :70], model(changed)[..., :70]
    torch.testing.assert_close(before[:, : place + 1], after[:, : place + 1], atol=1e-5, rtol=0)
    assert not torch.allclose(before[:, place + 1], after[:, place + 1], atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(pieces=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_a_text_read_piece_by_piece_through_the_cache_gives_the_same_logits(pieces, seed):
    model = small_model()
    tokens = random_tokens(seed, 2, sum(pieces))
    cache = model.new_cache(batch=2)
    with torch.no_grad():
        parts = [model(piece, cache) for piece in tokens.split(pieces, dim=1)]
        whole = model(tokens)
    assert cache.length == sum(pieces)
    torch.testing.assert_close(torch.cat(parts, dim=1)[..., :70], whole[..., :70], atol=1e-5, rtol=0)


def test_initial_values_are_those_of_the_released_code():
    torch.manual_seed(1)
    model = GPT(Shape(layers=8, heads=4, width=256, block=128, vocab=1000))
    weights = model.state_dict()
    assert weights["wte.weight"][:1000].std().item() == pytest.approx(0.02, rel=0.02)
    assert weights["wpe.weight"].std().item() == pytest.approx(0.01, rel=0.02)
    assert weights["h.3.attn.c_attn.weight"].std().item() == pytest.approx(0.02, rel=0.02)
    assert weights["h.3.mlp.c_fc.weight"].std().item() == pytest.approx(0.02, rel=0.02)
    assert weights["h.3.attn.c_proj.weight"].std().item() == pytest.approx(0.005, rel=0.02)  # 0.02 / sqrt(2 x 8)
    assert weights["h.3.mlp.c_proj.weight"].std().item() == pytest.approx(0.005, rel=0.02)
    assert weights["h.3.attn.c_attn.bias"].abs().max() == 0
    assert weights["h.3.ln_1.weight"].eq(1).all()
    assert weights["ln_f.bias"].abs().max() == 0


def test_an_untrained_model_knows_nothing():
    torch.manual_seed(1)
    model = GPT(SMALL)
    tokens = random_tokens(5, 4, SMALL.block)
    assert model.losses(tokens, tokens.roll(1, 0)).mean().item() == pytest.approx(math.log(70), abs=0.1)


def test_dropout_acts_in_training_only():
    torch.manual_seed(1)
    model = GPT(Shape(2, 2, 32, 24, 70, dropout=0.5))
    tokens = random_tokens(6, 1, 8)
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))


def options_of(**changes):
    return small_model(shape=dataclasses.replace(SMALL, **changes))


@pytest.mark.parametrize("changes", [{"rope": True}, {"rms": True}, {"rope": True, "rms": True}])
def test_later_variants_count_their_parameters_and_keep_cause_before_effect(changes):
    model = options_of(**changes)
    padding = (model.shape.padded_vocab - model.shape.vocab) * model.shape.width
    assert model.shape.parameters == sum(one.numel() for one in model.parameters()) - padding
    tokens = random_tokens(7, 2, 20)
    changed = tokens.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % SMALL.vocab
    cache = model.new_cache(batch=2)
    with torch.no_grad():
        whole, other = model(tokens)[..., :70], model(changed)[..., :70]
        pieces = torch.cat([model(piece, cache) for piece in tokens.split([7, 1, 12], dim=1)], dim=1)[..., :70]
    torch.testing.assert_close(whole[:, :10], other[:, :10], atol=1e-5, rtol=0)
    torch.testing.assert_close(pieces, whole, atol=1e-4, rtol=0)


def test_rope_turns_pairs_so_that_only_distance_counts():
    torch.manual_seed(1)
    query, key = torch.randn(1, 8), torch.randn(1, 8)

    def product(first, second):
        places = torch.tensor([first]), torch.tensor([second])
        one, two = (rotated(x, rotation_of(place, 8)) for x, place in zip((query, key), places, strict=True))
        return (one @ two.t()).item()

    assert product(3, 1) == pytest.approx(product(103, 101), abs=1e-4)
    assert product(3, 1) != pytest.approx(product(4, 1), abs=1e-3)
    assert product(0, 0) == pytest.approx((query @ key.t()).item(), abs=1e-5)
    angle = 5 * 10_000.0 ** (-2 / 8)  # pair 1 of 4 at place 5, by the formula
    found = rotated(torch.eye(8)[1:2], rotation_of(torch.tensor([5]), 8))[0]
    assert found[[1, 5]].tolist() == pytest.approx([math.cos(angle), math.sin(angle)], abs=1e-5)


def test_rms_norm_is_that_of_its_paper():
    model = options_of(rms=True)
    x = torch.randn(2, 3, 32)
    wanted = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * model.ln_f.weight
    torch.testing.assert_close(model.ln_f(x), wanted)


def test_attention_kept_in_a_document_sees_what_it_would_see_alone():
    model = options_of(rope=True)  # with rotations a document does not know where in the window it stands
    tokens = random_tokens(8, 1, 20, vocab=60)
    tokens[0, 6] = tokens[0, 13] = 69
    documents = documents_of(tokens, 69)
    assert documents.tolist() == [[0] * 7 + [1] * 7 + [2] * 6]
    with torch.no_grad():
        together = model(tokens, None, documents)[..., :70]
        alone = torch.cat([model(part) for part in tokens.split([7, 7, 6], dim=1)], dim=1)[..., :70]
        across = model(tokens)[..., :70]
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    assert not torch.allclose(together[:, 7:], across[:, 7:], atol=1e-2)
