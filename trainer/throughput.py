"""Throughput: the time of a step, and model FLOPs utilisation (Chowdhery et al. 2022, PaLM, appendix B).

Choice: for a GPU that is listed by its whole name, the dense peak of its data sheet; for a CPU the rate of one large
matrix product measured here, so that 100 % is what this machine can do; for any other GPU no figure rather than that of
one whose name looks alike. Cost: the two are not comparable. Alternative: a measured product for all, which no other
report of MFU takes for 100 %.
"""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass, field

import torch

from trainer.model import Shape

# Dense bfloat16 FLOP/s of NVIDIA's data sheets (half of what they give "with sparsity"), by the device's whole name as
# torch tells it, less the maker, the size of the memory and, where it does not matter, the form of the board.
PEAKS = {
    "A10": 125e12, "A30": 165e12, "A40": 149.7e12, "A100": 312e12,
    "L4": 121e12, "L40": 181e12, "L40S": 362e12,
    "H100": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H200": 989e12, "H200 NVL": 835e12, "GH200": 989e12,
}  # fmt: skip
# What of a name makes no difference to the peak: all A100 have one; H100 and H200 without a word are those on SXM.
MAKER, MEMORY, SXM = re.compile(r"^NVIDIA "), re.compile(r"[ -]\d+GB(?: HBM\d\w?)?"), re.compile(r"[ -]SXM\d")
A100_BOARD = re.compile(r"^A100[ -]PCIe?$", re.IGNORECASE)
SIDE, TRIES = 1024, 5
LAST_STEPS = 20  # that the throughput is the mean of


@dataclass
class StepTime:
    """How long a step takes now: the mean of the last steps, the first one left out, which compiles and warms up."""

    took: deque[float] = field(default_factory=lambda: deque(maxlen=LAST_STEPS))
    steps: int = 0

    def after(self, took_s: float) -> float:
        """Count one more step of so many seconds; seconds a step, 0 at no time."""
        if self.steps == 1:
            self.took.clear()
        self.steps += 1
        self.took.append(took_s)
        return sum(self.took) / len(self.took)


def flops_per_token(shape: Shape) -> float:
    """Of a forward and a backward pass: 6 a weight that multiplies, 12 x width a layer and place of the context."""
    layer = 12 * shape.width**2
    return 6.0 * (shape.layers * layer + shape.vocab * shape.width) + 12.0 * shape.layers * shape.width * shape.block


def listed_as(name: str) -> str:
    """A device's name as PEAKS spells it: `H100` for `NVIDIA H100 80GB HBM3`, `A100` for `NVIDIA A100-SXM4-40GB`."""
    bare = SXM.sub("", MEMORY.sub("", MAKER.sub("", name.strip())))
    return A100_BOARD.sub("A100", bare)


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """FLOP/s that this device could do at best: of its data sheet; of a CPU measured for some milliseconds.

    None for a GPU that is not listed by its name, or not for this type.
    """
    if device.type == "cuda":
        return PEAKS.get(listed_as(torch.cuda.get_device_name(device))) if dtype == torch.bfloat16 else None
    square = torch.ones(SIDE, SIDE, dtype=dtype, device=device)
    best = 0.0
    for _ in range(TRIES):
        start = time.perf_counter()
        (square @ square)[0, 0].item()  # .item() waits for a GPU
        best = max(best, 2 * SIDE**3 / (time.perf_counter() - start))
    return best
