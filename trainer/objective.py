"""The objective: the mean cross-entropy of a micro-batch, its logits all at once or some rows at a time.

Choice: the bounded form makes its gradient in the forward pass, so that only `rows` x vocabulary logits ever exist: at
50,257 entries a window of 1,024 tokens needs 206 MB of them, three times over, a batch of 12 needs 7.4 GB. Cost: the
gradient of the output layer is kept in float32 from forward to backward. Alternative: recomputing the logits in the
backward pass, a third more work in the largest matrix product of a small model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainer.model import GPT, documents_of


class Objective(nn.Module):
    """(inputs, targets), each (batch, length), to the mean loss in nats: the module that DDP and FSDP wrap.

    `rows`: logits held at once, 0 for all. `end_of_text`: confine attention to the documents that end with it.
    """

    def __init__(self, model: GPT, rows: int = 0, end_of_text: int | None = None, compiled: bool = False) -> None:
        super().__init__()
        self.model, self.rows, self.end_of_text = model, rows, end_of_text
        self.hidden = torch.compile(model.hidden) if compiled and rows else model.hidden
        self.losses = torch.compile(model.losses) if compiled and not rows else model.losses

    def forward(self, inputs: Tensor, targets: Tensor, each: bool = False) -> Tensor:
        """The mean loss; with `each` the loss of every target, (batch, length), all logits at once."""
        documents = documents_of(inputs, self.end_of_text) if self.end_of_text is not None else None
        if each:
            return self.model.losses(inputs, targets, documents)
        if not self.rows:
            return self.losses(inputs, targets, documents).mean()
        x = self.hidden(inputs, None, documents)
        return bounded_loss(
            x.flatten(0, 1), self.model.wte.weight, targets.flatten(), self.model.shape.vocab, self.rows
        )


def bounded_loss(x: Tensor, weight: Tensor, targets: Tensor, vocab: int, rows: int) -> Tensor:
    """The mean cross-entropy (float32, scalar) of `x @ weight.T` against `targets`, `rows` rows of logits at a time.

    `x` (count, width), `weight` (padded vocab, width), `targets` (count,) int64 below `vocab`. Matrix products run in
    the type of autocast, if that is on, else in that of `weight`.
    """
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    loss: Tensor = BoundedLoss.apply(x, weight, targets, vocab, rows, dtype)  # type: ignore[no-untyped-call]
    return loss


class BoundedLoss(torch.autograd.Function):
    """See `bounded_loss`. The gradient of a row's logits are its probabilities, less 1 at the target."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, vocab: int, rows: int, dtype: torch.dtype
    ) -> Tensor:
        total = torch.zeros((), device=x.device)
        x_grad, weight_grad = torch.empty_like(x), torch.zeros_like(weight)
        matrix, read = weight.to(dtype), x.to(dtype)
        with torch.autocast(x.device.type, enabled=False):
            for start in range(0, len(x), rows):
                part, wanted = read[start : start + rows], targets[start : start + rows, None]
                logits = torch.mm(part, matrix.t()).float()
                logits[:, vocab:] = -torch.inf
                torch.log_softmax(logits, -1, out=logits)
                total -= logits.gather(1, wanted).sum()
                logits.exp_().scatter_add_(1, wanted, -torch.ones_like(wanted, dtype=logits.dtype))
                slope = logits.to(dtype)
                x_grad[start : start + rows] = slope @ matrix
                add_product(weight_grad, slope.t(), part)
        ctx.save_for_backward(x_grad, weight_grad)
        ctx.count = len(x)
        return total / len(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x_grad, weight_grad = ctx.saved_tensors
        scale = grad / ctx.count
        return x_grad.mul_(scale), weight_grad.mul_(scale), None, None, None, None


def add_product(into: Tensor, left: Tensor, right: Tensor) -> None:
    """`into` (float32) += left @ right, whatever the type of the two."""
    if left.dtype == into.dtype:
        into.addmm_(left, right)
    else:
        into += left @ right
