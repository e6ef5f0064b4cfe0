"""How good a model is on text it has not seen: nats a token, and bits a byte.

Choice: the same windows every time, the first of one fixed permutation of the validation split, so that two numbers of
one run differ by the model alone. Bits a byte compare across tokenizers; nats a token do not. Cost: a small sample's
error stays in all of them alike. Alternative: fresh random batches (nanoGPT), which add noise to every comparison.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.shards import storage
from pipeline.shards.outcomes import TrainingError
from trainer.data import TokenData, Windows, token_bytes
from trainer.model import GPT

SEED = 0  # of the permutation that picks validation windows: no setting, so that runs can be compared


@dataclass(frozen=True)
class Measured:
    """Loss in nats a token and bits a byte; None where there was nothing to measure or byte lengths are not known."""

    loss: float | None = None
    bits_per_byte: float | None = None


def lengths_of(tokenizer: Path, data: TokenData) -> Tensor | None:
    """Bytes of every token id (int64; 0 for control tokens), or None without a tokenizer file.

    Raises TrainingError: the tokens were made by another tokenizer.
    """
    if not tokenizer.exists():
        return None
    found = storage.sha256_of(tokenizer)
    if found != data.tokenizer_sha256:
        raise TrainingError(
            f"{tokenizer}: sha256 {found[:12]}…, the tokens were made with {data.tokenizer_sha256[:12]}…; "
            "run 'webtext build tokens'"
        )
    lengths = [len(one) for one in token_bytes(tokenizer)]
    return torch.tensor((lengths + [0] * data.vocab)[: data.vocab])


@torch.no_grad()
def measure(model: GPT, windows: Windows, lengths: Tensor | None, *, count: int, batch: int, dtype: str) -> Measured:
    """The loss of a model on at most `count` windows of a split, `batch` at a time; it is in training mode after.

    Bits a byte leave out control tokens, which are no bytes of any text.
    """
    chosen = windows.visited(np.arange(min(windows.count, count), dtype=np.int64)) if windows.count else []
    device = model.wte.weight.device
    nats, text_nats, text_bytes = 0.0, 0.0, 0
    model.eval()
    for start in range(0, len(chosen), batch):
        inputs, targets = windows.read(chosen[start : start + batch])
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            losses = model.losses(inputs.to(device), targets.to(device)).double().cpu()
        nats += losses.sum().item()
        if lengths is not None:
            sizes = lengths[targets]
            text_nats += losses[sizes > 0].sum().item()
            text_bytes += int(sizes.sum())
    model.train()
    return Measured(
        nats / (len(chosen) * windows.block) if chosen else None,
        text_nats / math.log(2) / text_bytes if text_bytes else None,
    )
