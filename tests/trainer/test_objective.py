"""The bounded loss and the fast path are the plain loss, in value and in gradient."""

import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.fast import CausalAttention, FastObjective
from trainer.model import GPT, Shape
from trainer.objective import Objective, bounded_loss

torch.set_num_threads(1)
SHAPE = Shape(layers=2, heads=2, width=32, block=150, vocab=70)


def model_of(shape=SHAPE, seed=1):
    torch.manual_seed(seed)
    model = GPT(shape)
    with torch.no_grad():
        for one in model.parameters():
            one.add_(0.1 * torch.randn_like(one))
    return model


def windows(length, batch=3, vocab=SHAPE.vocab):
    tokens = torch.randint(vocab, (batch, length + 1), generator=torch.Generator().manual_seed(2))
    return tokens[:, :-1], tokens[:, 1:]


def gradients(model, loss_of, length=150):
    """(loss, gradient of every parameter) of one pass."""
    model.zero_grad(set_to_none=True)
    loss = loss_of(*windows(length))
    loss.backward()
    return loss.item(), {name: one.grad.clone() for name, one in model.named_parameters()}


def under_autocast(objective):
    def loss_of(inputs, targets):
        with torch.autocast("cpu", torch.bfloat16):
            return objective(inputs, targets)

    return loss_of


def error(found, wanted):
    """The largest relative error of any parameter's gradient."""
    return max(((found[name] - wanted[name]).norm() / wanted[name].norm()).item() for name in wanted)


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 40), rows=st.integers(1, 50), vocab=st.integers(2, 64), seed=st.integers(0, 99))
def test_the_bounded_loss_is_the_cross_entropy_and_its_gradient(count, rows, vocab, seed):
    torch.manual_seed(seed)
    x, weight = torch.randn(count, 8, requires_grad=True), torch.randn(64, 8, requires_grad=True)
    targets = torch.randint(vocab, (count,))
    wanted = torch.nn.functional.cross_entropy((x @ weight.t())[:, :vocab], targets)
    (3 * wanted).backward()
    grads = x.grad, weight.grad
    x.grad = weight.grad = None
    found = bounded_loss(x, weight, targets, vocab, rows)
    (3 * found).backward()
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close((x.grad, weight.grad), grads, atol=1e-5, rtol=1e-5)


def test_the_bounded_loss_never_holds_all_logits():
    x, weight = torch.randn(4096, 4, requires_grad=True), torch.randn(2048, 4, requires_grad=True)
    targets = torch.randint(2048, (4096,))

    def largest(compute):
        with torch.profiler.profile(profile_memory=True) as seen:
            compute().backward()
        return max(event.self_cpu_memory_usage for event in seen.events())

    assert largest(lambda: bounded_loss(x, weight, targets, 2048, 128)) < 4 * 256 * 2048
    assert largest(lambda: torch.nn.functional.cross_entropy(x @ weight.t(), targets)) >= 4 * 4096 * 2048


def test_attention_in_blocks_is_attention():
    torch.manual_seed(1)
    for length in (1, 63, 64, 65, 200):
        qkv = torch.randn(2, length, 3 * 24, requires_grad=True)
        parts = [part.view(2, length, 3, 8).transpose(1, 2) for part in qkv.split(24, dim=2)]
        wanted = torch.nn.functional.scaled_dot_product_attention(*parts, is_causal=True)
        wanted = wanted.transpose(1, 2).reshape(2, length, 24)
        slope = torch.randn_like(wanted)
        (wanted_grad,) = torch.autograd.grad(wanted, qkv, slope)
        found = CausalAttention.apply(qkv, 3)
        (found_grad,) = torch.autograd.grad(found, qkv, slope)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found_grad, wanted_grad, atol=1e-5, rtol=1e-5)


def test_attention_in_blocks_passes_the_numeric_check_of_gradients():
    qkv = torch.randn(1, 5, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda one: CausalAttention.apply(one, 2), (qkv,))


@pytest.mark.parametrize("length", [150, 7])
@pytest.mark.parametrize("rows", [0, 50])
def test_the_fast_path_is_the_plain_path_but_for_rounding(length, rows):
    model = model_of()
    loss, grads = gradients(model, Objective(model), length)
    for other in (FastObjective(model, torch.float32, rows), Objective(model, rows)):
        found, found_grads = gradients(model, other, length)
        assert found == pytest.approx(loss, abs=1e-5)
        assert error(found_grads, grads) < 1e-5


def test_in_bfloat16_the_fast_path_is_as_near_to_float32_as_autocast_is():
    model = model_of()
    exact, exact_grads = gradients(model, Objective(model))
    plain, plain_grads = gradients(model, under_autocast(Objective(model)))
    fast = FastObjective(model, torch.bfloat16)
    for loss_of in (fast, under_autocast(fast), under_autocast(Objective(model, rows=64))):
        found, found_grads = gradients(model, loss_of)
        assert abs(found - exact) < 2 * abs(plain - exact) + 1e-3
        assert error(found_grads, exact_grads) < 1.5 * error(plain_grads, exact_grads)


def test_copies_of_the_weights_follow_them_and_gradients_add_up_in_float32():
    model = model_of()
    fast = FastObjective(model, torch.bfloat16)
    before, once = gradients(model, fast)
    fast(*windows(150)).backward()
    name = "h.1.mlp.c_fc.weight"
    grad = dict(model.named_parameters())[name].grad
    assert grad.dtype == torch.float32
    torch.testing.assert_close(grad, 2 * once[name])
    with torch.no_grad():
        for one in model.parameters():
            one.mul_(0.5)
    fast.refresh()
    exact, _ = gradients(model, Objective(model))
    assert gradients(model, fast)[0] == pytest.approx(exact, abs=0.02)
    assert exact != pytest.approx(before, abs=0.05)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_the_windows_and_change_nothing_but_rounding(threads):
    model = model_of()
    loss, grads = gradients(model, Objective(model))
    torch.set_num_threads(threads)
    try:
        fast = FastObjective(model, torch.float32, rows=100)
        found, found_grads = gradients(model, fast)
        again, again_grads = gradients(model, fast)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    assert found == pytest.approx(loss, abs=1e-5)
    assert error(found_grads, grads) < 1e-5
    assert again == found
    assert all(torch.equal(again_grads[name], one) for name, one in found_grads.items())


def test_a_thread_that_fails_fails_the_step_and_holds_no_memory(monkeypatch):
    held = []

    def fail(x, *_):
        held.append(weakref.ref(x))
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("trainer.fast.output_loss", fail)
    fast = FastObjective(model_of(), torch.float32)
    torch.set_num_threads(3)
    gc.disable()
    try:
        with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
            fast(*windows(150))
        assert torch.get_num_threads() == 3
        assert len(held) == 3
        assert [one() for one in held] == [None] * 3
    finally:
        gc.enable()
        torch.set_num_threads(1)
