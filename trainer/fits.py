"""Estimates of memory and time: whether a run fits, told before its first step.

Choice: arithmetic on the shape, since a run that cannot end should not begin: what parameters, gradients and moments
take is exact; activations are an upper estimate for one window (Korthikanti et al. 2022, section 4.1, in float32
without the scores, which fused attention does not keep). Time is the FLOPs of the steps that are left at half of the
peak of `throughput`. Cost: half of the peak is a guess, good to a factor of two. Alternative: to train some steps and
see, which for a model that does not fit ends in a crash.
"""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline.config import TrainSettings
from pipeline.shards.outcomes import TrainingError
from trainer.model import Shape
from trainer.throughput import flops_per_token

OF_A_PARAMETER = 16  # bytes, float32: the weight, its gradient, and AdamW's two moments; Muon keeps one
OF_A_TOKEN = 68  # bytes of activations a layer and unit of width: 34 in 16 bits, twice that in float32
LOGIT = 12  # bytes: a logit, its probability, its gradient
HALF = 0.5  # of the peak that a step reaches; nanoGPT's runs of GPT-2 report 0.3 to 0.5
LONGEST_S = 366 * 86_400.0  # a run that would take longer was not meant
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # a container's limit, v2 and v1


def least_bytes(shape: Shape, settings: TrainSettings, processes: int = 1) -> int:
    """Bytes that training takes at the least, one window at a time, in the process of a run that takes most."""
    padding = (shape.padded_vocab - shape.vocab) * shape.width
    fixed = OF_A_PARAMETER * (shape.parameters + padding)
    fixed = fixed // processes if settings.parallel == "fsdp" else fixed
    rows = min(settings.logit_rows or shape.block, shape.block)
    return fixed + OF_A_TOKEN * shape.layers * shape.width * shape.block + LOGIT * rows * shape.padded_vocab


def free_bytes(device: str) -> int | None:
    """Bytes of memory that a new run may take; None where the system does not say."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    lines = dict(line.split(":", 1) for line in text_of("/proc/meminfo").splitlines() if ":" in line)
    found = [1024 * int(lines["MemAvailable"].split()[0])] if "MemAvailable" in lines else []
    limits = [text_of(path).strip() for path in CGROUPS]
    return min([*found, *(int(limit) for limit in limits if limit.isdigit())], default=None)


def text_of(path: str) -> str:
    """What a file of the system says; nothing where there is none."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def memory_told(shape: Shape, settings: TrainSettings, device: str, processes: int = 1) -> str:
    """The memory of a run in words. Raises TrainingError: there is not so much, whatever the micro-batch."""
    needed, free = least_bytes(shape, settings, processes), free_bytes(device)
    text = f"memory: {size_told(needed)} at least, one window at a time"
    if free is not None and needed > free:
        raise TrainingError(
            f"{text}; {size_told(free)} are free on {device}: take a smaller train.preset (laptop, nano …) or "
            "train.block; the vocabulary counts too (tokenizer.vocab_size)"
        )
    return text + (f", of {size_told(free)} free" if free is not None else "")


def size_told(size_bytes: float) -> str:
    """A size in words: megabytes where gigabytes would round a small model to nothing."""
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{max(size_bytes / 1e6, 1):,.0f} MB"


def seconds_left(shape: Shape, tokens: int, peak: float | None) -> float | None:
    """Seconds that so many tokens take, at half of a peak in FLOP/s; None where that is not known."""
    return tokens * flops_per_token(shape) / (HALF * peak) if peak else None


def time_told(shape: Shape, tokens: int, peak: float | None, allowed: bool) -> str:
    """The time of the steps that are left, in words. Raises TrainingError: over a year, unless `allowed`."""
    took = seconds_left(shape, tokens, peak)
    if took is None:
        return "time: not known before the first steps, since this GPU's peak is not listed"
    if took > LONGEST_S and not allowed:
        raise TrainingError(
            f"the steps that are left would take about {in_words(took)} here: try --set train.preset=laptop, lower "
            "train.steps, or mean it with 'webtext train --allow time'"
        )
    return f"time: about {in_words(took)}, if a step reaches half of this machine's peak"


def in_words(seconds: float) -> str:
    """A duration with one unit: `12 minutes`."""
    for name, size in (("years", 365 * 86_400), ("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{max(1, round(seconds))} seconds"
