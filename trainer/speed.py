"""How well a machine is used: model FLOPs utilisation (Chowdhery et al. 2022, PaLM, appendix B).

Choice: for a GPU that is listed, the dense peak of its data sheet; for anything else, a CPU above all, the rate of one
large matrix product measured here, so that 100 % is what this machine can do. Cost: the two are not comparable.
Alternative: no MFU without a data sheet.
"""

from __future__ import annotations

import time

import torch

from trainer.model import Shape

# dense bfloat16 FLOP/s of NVIDIA's data sheets, by what the device's name contains
PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "T4": 65e12}
SIDE, TRIES = 1024, 5


def flops_per_token(shape: Shape) -> float:
    """Of a forward and a backward pass: 6 a weight that multiplies, 12 x width a layer and place of the context."""
    layer = 12 * shape.width**2
    return 6.0 * (shape.layers * layer + shape.vocab * shape.width) + 12.0 * shape.layers * shape.width * shape.block


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s that this machine could do at best: of its data sheet, or measured for some milliseconds."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    known = [peak for part, peak in PEAKS.items() if part in name]
    if known and dtype == torch.bfloat16:
        return known[0]
    square = torch.ones(SIDE, SIDE, dtype=dtype, device=device)
    best = 0.0
    for _ in range(TRIES):
        start = time.perf_counter()
        (square @ square)[0, 0].item()  # .item() waits for a GPU
        best = max(best, 2 * SIDE**3 / (time.perf_counter() - start))
    return best
