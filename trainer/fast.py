"""The loss of GPT-2 on a CPU, faster: same parameters, same numbers but for rounding; `Objective` is its oracle.

What a step of the plain path spends beside its matrix products, and what is done here instead:

- Attention in blocks of queries that stop at the diagonal, as products of batches of matrices: torch's fused attention
  computes the masked half too, and its backward pass is slow on a CPU.
- The output layer, its softmax and both gradients some rows at a time (`bounded_loss`), while they are in the cache.
- With bfloat16, a copy of the weights made once a step; autocast casts them in every forward pass.
- Freed memory is kept for the next step: the system clears every page that it hands out anew, gigabytes a step.

Choice: the released model without dropout only. Cost: a second account of the forward pass, 40 lines. Alternative:
torch.compile, which needs a C++ compiler where it runs and does not change how attention and output layer work.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainer.model import EPSILON, GPT
from trainer.objective import bounded_loss

QUERIES = 64  # rows of attention at once: 4 blocks of a context of 256 compute 5/8 of the square
ROWS = 1024  # of logits at once, when the setting does not say; 512 to 1,536 are alike in speed
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # mallopt(3)


class FastObjective:
    """(inputs, targets) to the mean loss, as `Objective`, in float32 or bfloat16. Call `refresh` before each step."""

    def __init__(self, model: GPT, dtype: torch.dtype, rows: int = 0) -> None:
        self.model, self.rows = model, rows or ROWS
        self.weights: dict[str, Tensor] = {}
        self.weights |= {name: one for name, one in model.named_parameters() if name.startswith("h.")}
        self.copied: list[tuple[Tensor, Tensor]] = []
        for name, one in list(self.weights.items()):
            if dtype != torch.float32 and ".ln_" not in name:  # norms read and write float32, as under autocast
                self.weights[name] = self.copy(one, dtype)

    def copy(self, parameter: Tensor, dtype: torch.dtype) -> Tensor:
        """A copy of a parameter whose gradients, as they come, are added to the parameter's own in float32."""
        copy = parameter.detach().to(dtype).requires_grad_()

        def hand_on(copy: Tensor) -> None:
            assert copy.grad is not None
            grad, copy.grad = copy.grad.float(), None
            parameter.grad = grad if parameter.grad is None else parameter.grad.add_(grad)

        copy.register_post_accumulate_grad_hook(hand_on)  # type: ignore[no-untyped-call]
        self.copied.append((copy, parameter))
        return copy

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring the copies up to date with the parameters."""
        for copy, parameter in self.copied:
            copy.copy_(parameter)

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        model = self.model
        x = model.wte(inputs) + model.wpe.weight[: inputs.shape[1]]
        for number in range(model.shape.layers):
            x = self.layer(x, f"h.{number}.")
        x = model.ln_f(x).flatten(0, 1)
        dtype = self.weights["h.0.mlp.c_fc.weight"].dtype
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return bounded_loss(x, model.wte.weight, targets.flatten(), model.shape.vocab, self.rows)

    def layer(self, x: Tensor, name: str) -> Tensor:
        """One layer on the residual stream `x`; `name` is the prefix of its weights."""
        qkv = self.linear(self.norm(x, name + "ln_1"), name + "attn.c_attn")
        attended: Tensor = CausalAttention.apply(qkv, self.model.shape.heads)  # type: ignore[no-untyped-call]
        x = x + self.linear(attended, name + "attn.c_proj")
        wide = functional.gelu(self.linear(self.norm(x, name + "ln_2"), name + "mlp.c_fc"), approximate="tanh")
        return x + self.linear(wide, name + "mlp.c_proj")

    def linear(self, x: Tensor, name: str) -> Tensor:
        weight = self.weights[name + ".weight"]
        return functional.linear(x.to(weight.dtype), weight, self.weights[name + ".bias"])

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[name + ".weight"], self.weights[name + ".bias"]
        return functional.layer_norm(x, x.shape[-1:], weight, bias, EPSILON)


class CausalAttention(torch.autograd.Function):
    """Queries, keys and values (batch, length, 3 x width) to (batch, length, width), a block of queries at a time."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int) -> Tensor:
        query, key, value = by_head(qkv, 3, heads)
        y = torch.empty_like(query)
        future = torch.full((QUERIES, QUERIES), -torch.inf, dtype=qkv.dtype).triu(1)
        shares = []
        for rows, seen in blocks(query.shape[1]):
            scores = torch.bmm(query[:, rows], key[:, seen].transpose(1, 2)).mul_(query.shape[2] ** -0.5)
            size = rows.stop - rows.start
            scores[:, :, rows] += future[:size, :size]
            share = torch.softmax(scores, -1, out=scores)
            y[:, rows] = torch.bmm(share, value[:, seen])
            shares.append(share)
        ctx.save_for_backward(query, key, value, *shares)
        ctx.batch = len(qkv)
        return together(y[None], len(qkv))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        query, key, value, *shares = ctx.saved_tensors
        (grad,) = by_head(grad, 1, len(query) // ctx.batch)
        grads = query.new_zeros(3, *query.shape)
        query_grad, key_grad, value_grad = grads
        for share, (rows, seen) in zip(shares, blocks(query.shape[1]), strict=True):
            value_grad[:, seen] += torch.bmm(share.transpose(1, 2), grad[:, rows])
            slope = torch.bmm(grad[:, rows], value[:, seen].transpose(1, 2))
            slope = torch.ops.aten._softmax_backward_data(slope, share, -1, share.dtype)
            slope *= query.shape[2] ** -0.5
            query_grad[:, rows] = torch.bmm(slope, key[:, seen])
            key_grad[:, seen] += torch.bmm(slope.transpose(1, 2), query[:, rows])
        return together(grads, ctx.batch), None


def blocks(length: int) -> list[tuple[slice, slice]]:
    """(rows of queries, keys that the last of them sees), from the first block to the last."""
    starts = range(0, length, QUERIES)
    return [(slice(start, min(start + QUERIES, length)), slice(0, min(start + QUERIES, length))) for start in starts]


def by_head(x: Tensor, parts: int, heads: int) -> Tensor:
    """(batch, length, parts x width) as (parts, batch x heads, length, head width), in that order in memory."""
    batch, length, width = x.shape
    size = width // parts // heads
    return x.view(batch, length, parts, heads, size).permute(2, 0, 3, 1, 4).reshape(parts, batch * heads, length, size)


def together(x: Tensor, batch: int) -> Tensor:
    """The way back of `by_head`."""
    parts, both, length, size = x.shape
    return x.view(parts, batch, both // batch, length, size).permute(1, 3, 0, 2, 4).reshape(batch, length, -1)


def has_bfloat16() -> bool:
    """Whether this CPU has instructions for products of bfloat16; elsewhere torch emulates them, 8 times slower."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, for this process, instead of giving it back; without glibc, nothing."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
