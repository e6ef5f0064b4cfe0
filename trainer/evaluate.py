"""Validation: how good a model is on text it has not seen, in nats a token and bits a byte.

Choice: the same windows every time, the first of one fixed permutation of the validation split, so that two numbers of
one run differ by the model alone. Bits a byte compare across tokenizers; nats a token do not. Cost: a small sample's
error stays in all of them alike. Alternative: fresh random batches (nanoGPT), which add noise to every comparison.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.shards import storage
from pipeline.shards.outcomes import TrainingError
from trainer.data import Numbers, TokenData, Windows, token_bytes

HOSTS = 10  # that are told apart, those with the most tokens
Losses = Callable[[Tensor, Tensor], Tensor]  # (inputs, targets) to nats, all (batch, length)
SEED = 0  # of the permutation that picks validation windows: no setting, so that runs can be compared


@dataclass
class Sums:
    """What some targets add up to. Bits a byte leave out control tokens, which are no bytes of any text."""

    tokens: int = 0
    nats: float = 0.0
    text_nats: float = 0.0
    text_bytes: int = 0

    def add(self, losses: Numbers, sizes: Numbers | None) -> None:
        """Count targets: their losses in nats, and the bytes of each, 0 for control tokens; None: not known."""
        self.tokens += len(losses)
        self.nats += float(losses.sum())
        if sizes is not None:
            self.text_nats += float(losses[sizes > 0].sum())
            self.text_bytes += int(sizes.sum())

    @property
    def loss(self) -> float | None:
        return self.nats / self.tokens if self.tokens else None

    @property
    def bits_per_byte(self) -> float | None:
        return self.text_nats / math.log(2) / self.text_bytes if self.text_bytes else None

    def line(self) -> dict[str, Any]:
        """The numbers for the log."""
        return {"loss": self.loss, "bits_per_byte": self.bits_per_byte, "tokens": self.tokens}


@dataclass(frozen=True)
class Measured:
    """Loss in nats a token and bits a byte; None where there was nothing to measure or byte lengths are not known.

    The same by host, those with the most tokens measured first, and by year of the submission.
    """

    loss: float | None = None
    bits_per_byte: float | None = None
    by_host: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_year: dict[str, dict[str, Any]] = field(default_factory=dict)

    def line(self) -> dict[str, Any]:
        """The numbers for the log."""
        found = {"val_loss": self.loss, "bits_per_byte": self.bits_per_byte}
        return found | {"by_host": self.by_host, "by_year": self.by_year}


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
    lengths = [len(token) for token in token_bytes(tokenizer)]
    return torch.tensor((lengths + [0] * data.vocab)[: data.vocab])


@torch.no_grad()
def measure(
    losses: Losses, windows: Windows, lengths: Tensor | None, *, count: int, batch: int, device: torch.device
) -> Measured:
    """The loss on at most `count` windows of a split, `batch` at a time; `losses` maps (inputs, targets) to nats."""
    chosen = windows.visited(np.arange(min(windows.count, count), dtype=np.int64)) if windows.count else []
    total, hosts, years = Sums(), defaultdict[str, Sums](Sums), defaultdict[str, Sums](Sums)
    for start in range(0, len(chosen), batch):
        batch_windows = chosen[start : start + batch]
        inputs, targets = windows.read(batch_windows)
        found = losses(inputs.to(device), targets.to(device)).double().cpu().numpy()
        for window, nats, wanted in zip(batch_windows, found, targets, strict=True):
            sizes = lengths[wanted].numpy() if lengths is not None else None
            total.add(nats, sizes)
            for host, year, mine in windows.sources(window):
                for sums in (hosts[host], years[year]):
                    sums.add(nats[mine], sizes[mine] if sizes is not None else None)
    largest = sorted(hosts, key=lambda host: (-hosts[host].tokens, host))[:HOSTS]
    return Measured(
        total.loss,
        total.bits_per_byte,
        {host: hosts[host].line() for host in largest},
        {year: years[year].line() for year in sorted(years)},
    )
