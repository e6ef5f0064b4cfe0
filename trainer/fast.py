"""The loss of GPT-2 on a CPU, faster: same parameters, same numbers but for rounding; `Objective` is its oracle.

What a step of the plain path spends beside its matrix products, and what is done here instead:

- Threads that meet at the end of every operation, thousands a step, and wait there for the slowest: here each takes
  some windows of the batch, forward and back, and they meet once a step, where gradients are added in a fixed order.
- Attention in blocks of queries that stop at the diagonal, as products of batches of matrices: torch's fused attention
  computes the masked half too, and its backward pass is slow on a CPU.
- The output layer, its softmax and both gradients some windows at a time, the vocabulary going down: so laid out its
  products are faster, and the softmax is divided by its sum after them, where the numbers are few.
- With bfloat16, a copy of the weights made once a step; autocast casts them in every forward pass.
- Freed memory is kept for the next step: the system clears every page that it hands out anew, gigabytes a step.

Choice: the released model without dropout only. Cost: a second account of the forward pass, 40 lines, and a gradient
for each thread until they are added. Alternative: torch.compile, which needs a C++ compiler where it runs and does not
change how threads, attention and output layer work.
"""

from __future__ import annotations

import ctypes
import math
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainer.model import EPSILON, GPT
from trainer.objective import add_product

EMBEDDING, POSITIONS = "wte.weight", "wpe.weight"
QUERIES = 64  # rows of attention at once: 4 blocks of a context of 256 compute 5/8 of the square
ROWS = 1536  # of logits at once, of all threads together, when the setting does not say
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # mallopt(3)

Weights = dict[str, Tensor]  # by the name of the parameter


class FastObjective:
    """(inputs, targets) to the mean loss, as `Objective`, in float32 or bfloat16. Call `refresh` before each step.

    The gradient is made along with the loss, so call it only where one is wanted.
    """

    def __init__(self, model: GPT, dtype: torch.dtype, rows: int = 0) -> None:
        self.shape, self.rows = model.shape, rows or ROWS
        self.parameters: Weights = dict(model.named_parameters())
        self.copies: Weights = {}
        if dtype != torch.float32:  # norms read and write float32, as under autocast
            inner = {
                name: parameter
                for name, parameter in self.parameters.items()
                if name.startswith("h.") and ".ln_" not in name
            }
            read = inner | {EMBEDDING: self.parameters[EMBEDDING]}
            self.copies = {name: parameter.detach().to(dtype) for name, parameter in read.items()}
        self.pool = ThreadPoolExecutor()

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring the copies up to date with the parameters."""
        for name, copy in self.copies.items():
            copy.copy_(self.parameters[name])

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = WithGradient.apply(self, inputs, targets, *self.parameters.values())  # type: ignore[no-untyped-call]
        return loss

    def in_parts(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Weights]:
        """The mean loss and its gradient by every parameter, float32, of as many equal parts as threads can take."""
        threads = torch.get_num_threads()
        parts = math.gcd(len(inputs), threads)
        rows, share = max(1, self.rows // parts), 1 / targets.numel()
        pairs = zip(inputs.chunk(parts), targets.chunk(parts), strict=True)
        jobs = [self.pool.submit(self.part, *pair, share, rows, threads // parts) for pair in pairs]
        wait(jobs)
        torch.set_num_threads(threads)
        # an error holds this frame: a name here for the job that holds the error would keep a failed step's tensors
        (loss, total), *others = [jobs.pop(0).result() for _ in range(parts)]
        for more, grads in others:
            loss += more
            for name, grad in grads.items():
                total[name] += grad
        return loss, total

    def part(self, inputs: Tensor, targets: Tensor, share: float, rows: int, threads: int) -> tuple[Tensor, Weights]:
        """`share` times the sum of the losses of some windows, and its gradient by every parameter, float32."""
        torch.set_num_threads(threads)
        inner = {name: parameter for name, parameter in self.parameters.items() if name != EMBEDDING}
        weights = {
            name: self.copies.get(name, parameter).detach().requires_grad_() for name, parameter in inner.items()
        }
        table = self.parameters[EMBEDDING].detach()
        embedded = functional.embedding(inputs, table).requires_grad_()
        x = embedded + weights[POSITIONS][: inputs.shape[1]]
        for number in range(self.shape.layers):
            x = layer(x, weights, f"h.{number}.", self.shape.heads)
        x = norm(x, weights, "ln_f").flatten(0, 1)
        matrix = self.copies.get(EMBEDDING, table)
        loss, slope, table_grad = output_loss(x.detach(), matrix, targets.flatten(), self.shape.vocab, rows, share)
        first, *grads = torch.autograd.grad(x, [embedded, *weights.values()], slope)
        table_grad.index_add_(0, inputs.flatten(), first.flatten(0, 1))
        return loss, {EMBEDDING: table_grad, **{name: grad.float() for name, grad in zip(weights, grads, strict=True)}}


class WithGradient(torch.autograd.Function):
    """(objective, inputs, targets, its parameters) to the loss, for `backward` to find the gradient that is there."""

    @staticmethod
    def forward(ctx: Any, objective: FastObjective, inputs: Tensor, targets: Tensor, *_parameters: Tensor) -> Tensor:
        loss, grads = objective.in_parts(inputs, targets)
        ctx.grads = [grads[name] for name in objective.parameters]
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        grads, ctx.grads = ctx.grads, None  # held by nobody else, they become the parameters' without a copy
        return None, None, None, *(grads if scale == 1 else [grad.mul_(scale) for grad in grads])


def layer(x: Tensor, weights: Weights, name: str, heads: int) -> Tensor:
    """One layer on the residual stream `x`; `name` is the prefix of its weights."""
    qkv = linear(norm(x, weights, name + "ln_1"), weights, name + "attn.c_attn")
    attended: Tensor = CausalAttention.apply(qkv, heads)  # type: ignore[no-untyped-call]
    x = x + linear(attended, weights, name + "attn.c_proj")
    wide = functional.gelu(linear(norm(x, weights, name + "ln_2"), weights, name + "mlp.c_fc"), approximate="tanh")
    return x + linear(wide, weights, name + "mlp.c_proj")


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    """A linear layer, in the type of its weight."""
    weight = weights[name + ".weight"]
    return functional.linear(x.to(weight.dtype), weight, weights[name + ".bias"])


def norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    """A layer norm."""
    return functional.layer_norm(x, x.shape[-1:], weights[name + ".weight"], weights[name + ".bias"], EPSILON)


@torch.no_grad()
def output_loss(
    x: Tensor, matrix: Tensor, targets: Tensor, vocab: int, rows: int, share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`share` times the summed cross-entropy of `x @ matrix.T`, its gradients by `x` and by `matrix`; all float32.

    `x` (count, width) float32, `matrix` (padded vocab, width), `targets` (count,) int64 below `vocab`; products run in
    the type of `matrix`, `rows` rows of `x` at a time. The gradient of a row's logits are its probabilities, less 1 at
    the target; the products take them times their sum, which lies between 1 and `vocab`, as the largest is 1.
    """
    loss, x_grad = torch.zeros(()), torch.empty_like(x)
    matrix_grad = torch.zeros_like(matrix, dtype=torch.float32)
    for start in range(0, len(x), rows):
        part, wanted = x[start : start + rows], targets[start : start + rows]
        logits = torch.mm(matrix, part.to(matrix.dtype).t()).float()  # (padded vocab, rows)
        logits[vocab:] = -torch.inf
        hit, top = logits.gather(0, wanted[None]), logits.amax(0)
        total = logits.sub_(top).exp_().sum(0)
        loss += (total.log() + top - hit).sum()
        slope, total = logits.to(matrix.dtype), total[:, None]
        x_grad[start : start + rows] = torch.mm(slope.t(), matrix).float().div_(total).sub_(matrix[wanted])
        add_product(matrix_grad, slope, (part / total).mul_(share).to(matrix.dtype))
        matrix_grad.index_add_(0, wanted, part, alpha=-share)
    return loss.mul_(share), x_grad.mul_(share), matrix_grad


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
    mallopt(M_ARENA_MAX, 1)  # those of other threads are given back, and hold nothing above 64 MiB
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
