"""Optimizers and the learning-rate schedule: AdamW or, for the matrices inside the layers, Muon.

Choice: both are torch's own. Muon (Jordan et al. 2024) makes the update of a matrix orthogonal; scaled as in Liu et
al. 2025, "Muon is scalable for LLM training", it takes AdamW's rate and decay, so that one line of the config switches
it on. Cost: two optimisers in one run. Alternative: parameter groups with rates of their own, more to tune.
"""

from __future__ import annotations

import math

import torch

from pipeline.config import TrainSettings
from trainer.model import GPT


def make_optimizers(model: GPT, settings: TrainSettings) -> tuple[torch.optim.Optimizer, ...]:
    """AdamW (Loshchilov and Hutter 2019), fused, weight decay on matrices and embeddings only; Muon first if set."""
    inner = {name for name, _, decayed in model.decayed() if decayed and name.startswith("h.")}
    inner = inner if settings.optimizer == "muon" else set()
    rest = [(parameter, decayed) for name, parameter, decayed in model.decayed() if name not in inner]
    groups = [
        {"params": [parameter for parameter, decayed in rest if decayed], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter, decayed in rest if not decayed], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.0, betas=(settings.beta1, settings.beta2), eps=1e-8, fused=True)
    if not inner:
        return (adamw,)
    matrices = [parameter for name, parameter in model.named_parameters() if name in inner]
    decay = settings.weight_decay
    return torch.optim.Muon(matrices, lr=0.0, weight_decay=decay, adjust_lr_fn="match_rms_adamw"), adamw


def learning_rate(settings: TrainSettings, step: int) -> float:
    """The rate of a step (from 0): up in a line to the peak, then down a half cosine to the least at the last step."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - 1 - settings.warmup_steps)
    height = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return settings.min_learning_rate + height * (settings.learning_rate - settings.min_learning_rate)


def schedule(settings: TrainSettings, columns: int = 48) -> str:
    """The rates of the whole run as a line of bars."""
    bars = "▁▂▃▄▅▆▇█"
    steps = [round(place * (settings.steps - 1) / (columns - 1)) for place in range(columns)]
    heights = [learning_rate(settings, step) / settings.learning_rate for step in steps]
    return "".join(bars[min(7, int(height * 8))] for height in heights)
