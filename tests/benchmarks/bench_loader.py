"""How fast batches come from token shards, beside nanoGPT's manner of drawing them from one .bin of the same tokens.

    python tests/benchmarks/bench_loader.py [ROUNDS] [MILLION_TOKENS]

Batches of 12 windows of 1,024 tokens, as int64 inputs and targets. Each measurement is a process of its own, the two
take turns, and the ratio is taken within a round. It prints million tokens a CPU second, and asserts nothing.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BLOCK, BATCH, VOCAB, BATCHES = 1_024, 12, 50_257, 3_000


def ours(folder):
    from trainer.data import Windows, load_split, step_windows

    windows = Windows(load_split(folder, "train"), BLOCK, 1)
    return lambda step: windows.read(step_windows(windows, step, 0, batch=BATCH, accumulate=1))


def nanogpt(folder):
    """Random places of a memory map that is opened anew for every batch, one window at a time, two conversions each."""
    import torch

    def batch(_step):
        data = np.memmap(folder / "train.bin", dtype=np.uint16, mode="r")
        places = torch.randint(len(data) - BLOCK, (BATCH,))
        inputs = torch.stack([torch.from_numpy(data[one : one + BLOCK].astype(np.int64)) for one in places])
        targets = torch.stack([torch.from_numpy(data[one + 1 : one + 1 + BLOCK].astype(np.int64)) for one in places])
        return inputs, targets

    return batch


def one(manner, folder):
    """What a child process prints: million tokens a CPU second."""
    batch = {"ours": ours, "nanogpt": nanogpt}[manner](Path(folder))
    for step in range(100):
        batch(step)
    begun, total = time.process_time(), 0
    for step in range(BATCHES):
        total += int(batch(step)[1][0, 0])  # looked at, so that no batch is spared
    print(json.dumps(BATCHES * BATCH * BLOCK / (time.process_time() - begun) / 1e6))


def main(rounds=5, millions=50):
    from tests.trainer.token_shards import write_tokens

    tokens = np.random.default_rng(1).integers(0, VOCAB - 1, int(float(millions) * 1e6)).astype(np.uint16)
    found = {"ours": [], "nanogpt": []}
    with tempfile.TemporaryDirectory() as folder:
        pieces = np.array_split(tokens, 4)
        write_tokens(
            Path(folder), [[one] for one in pieces], [[tokens[:5_000]]] * 4, vocab=VOCAB, end_of_text=VOCAB - 1
        )
        tokens.tofile(Path(folder) / "train.bin")
        for _ in range(int(rounds)):
            for manner, rates in found.items():
                command = [sys.executable, __file__, "--one", manner, folder]
                rates.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    for manner, rates in found.items():
        print(f"{manner:8} {statistics.median(rates):7.1f} million tokens a CPU second")
    ratios = [a / b for a, b in zip(*found.values(), strict=True)]
    print(f"ours / nanogpt: {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    one(*sys.argv[2:]) if sys.argv[1:2] == ["--one"] else main(*sys.argv[1:])
