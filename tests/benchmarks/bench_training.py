"""How fast a step of training is on this CPU, beside nanoGPT's manner of doing it and transformers' GPT-2.

    python tests/benchmarks/bench_training.py [ROUNDS] [DTYPE] [MANNER ...]

The case: 6 layers, 6 heads, width 384 (preset mini), block 256, batch 12, vocabulary 16,384. Each measurement is a
process of its own; a round runs every manner once, in turn, and ratios are taken within a round. It prints tokens a
second and tokens a CPU second (which other processes on the machine disturb less), then the medians of the ratios of
ours to each, and asserts nothing. DTYPE: bfloat16 (default) or float32.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LAYERS, HEADS, WIDTH, BLOCK, BATCH, VOCAB = 6, 6, 384, 256, 12, 16_384
MANNERS = ("ours", "nanogpt", "nanogpt-compiled", "transformers", "transformers-compiled")
STEPS, SLOW_S = 3, 40.0


def tokens_of(seed):
    return np.random.default_rng(seed).integers(0, VOCAB - 1, 40 * (BATCH * BLOCK + 1)).astype(np.uint16)


def ours(dtype, folder):
    """The trainer's own step, on token shards, with its own loader, clipping and log."""
    from pipeline.config import TrainSettings
    from tests.trainer.token_shards import write_tokens
    from trainer.data import load_split
    from trainer.distributed import World
    from trainer.fast import keep_freed_memory
    from trainer.metrics import Log
    from trainer.setup import setup
    from trainer.train import optimise

    root = Path(folder)
    write_tokens(root, [[tokens_of(1)]], [[tokens_of(2)]], vocab=VOCAB, end_of_text=VOCAB - 1)
    settings = TrainSettings(
        preset="mini", block=BLOCK, batch=BATCH, accumulate=1, steps=100, warmup_steps=0, dtype=dtype, device="cpu"
    )
    keep_freed_memory()
    run = setup(settings, load_split(root, "train"), load_split(root, "val"), None, root / "model", "cpu", World())
    log = Log(root, 0, speaks=False)

    def step():
        optimise(run, log)
        return run.loss

    return step


def nanogpt_model():
    """A GPT in plain PyTorch modules: fused attention, exact GELU, tied output layer, mean cross-entropy."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

        def forward(self, x):
            batch, length, width = x.shape
            parts = self.c_attn(self.ln_1(x)).split(width, dim=2)
            q, k, v = (part.view(batch, length, HEADS, width // HEADS).transpose(1, 2) for part in parts)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.c_proj(y.transpose(1, 2).contiguous().view(batch, length, width))
            return x + self.mlp(self.ln_2(x))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(VOCAB, WIDTH), nn.Embedding(BLOCK, WIDTH)
            self.h, self.ln_f = nn.ModuleList(Block() for _ in range(LAYERS)), nn.LayerNorm(WIDTH)
            self.lm_head = nn.Linear(WIDTH, VOCAB, bias=False)
            self.lm_head.weight = self.wte.weight
            for parameter in self.parameters():
                if parameter.dim() == 2:
                    nn.init.normal_(parameter, std=0.02)

        def forward(self, tokens, targets):
            x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
            for block in self.h:
                x = block(x)
            logits = self.lm_head(self.ln_f(x))
            return functional.cross_entropy(logits.view(-1, VOCAB), targets.view(-1))

    return Model()


def transformers_model():
    """GPT2LMHeadModel as it comes, dropout off."""
    from torch import nn
    from torch.nn import functional
    from transformers import GPT2Config, GPT2LMHeadModel

    none = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    inner = GPT2LMHeadModel(
        GPT2Config(n_layer=LAYERS, n_head=HEADS, n_embd=WIDTH, n_positions=BLOCK, vocab_size=VOCAB, **none)
    )

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, tokens, targets):
            logits = self.inner(tokens, use_cache=False).logits
            return functional.cross_entropy(logits.view(-1, VOCAB), targets.reshape(-1))

    return Model()


def plain(model, dtype, compiled):
    """nanoGPT's loop: random windows of one file, autocast, clipping, AdamW (which it fuses on a GPU only)."""
    import torch

    data = tokens_of(1)
    groups = [
        {"params": [one for one in model.parameters() if one.dim() >= 2], "weight_decay": 0.1},
        {"params": [one for one in model.parameters() if one.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95))
    called = torch.compile(model) if compiled else model

    def step():
        starts = torch.randint(len(data) - BLOCK, (BATCH,)).tolist()
        rows = [torch.from_numpy(data[start : start + BLOCK + 1].astype(np.int64)) for start in starts]
        both = torch.stack(rows)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = called(both[:, :-1].contiguous(), both[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def one(manner, dtype):
    """Measure one manner in this process; a line of JSON."""
    import torch

    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        if manner == "ours":
            step = ours(dtype, folder)
        else:
            name, _, compiled = manner.partition("-")
            step = plain({"nanogpt": nanogpt_model, "transformers": transformers_model}[name](), dtype, bool(compiled))
        times, least = [], 2 if manner.endswith("compiled") else 1  # the compiler's time is never the step's
        while len(times) <= STEPS and (len(times) < least or times[-1][0] < SLOW_S):
            wall, cpu = time.perf_counter(), time.process_time()
            loss = step()
            times.append((time.perf_counter() - wall, time.process_time() - cpu))
        times = times[1:] or times  # the first one warms up, unless it is slow enough to stand for all
    wall_s, cpu_s = (statistics.median(column) for column in zip(*times, strict=True))
    tokens = BATCH * BLOCK
    print(json.dumps({"loss": round(loss, 3), "per_s": tokens / wall_s, "per_cpu_s": tokens / cpu_s}))


def main(rounds="5", dtype="bfloat16", *manners):
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    found = {manner: [] for manner in manners or MANNERS}
    for turn in range(int(rounds)):
        for manner, lines in found.items():
            command = [sys.executable, __file__, "one", manner, dtype]
            done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE)
            lines.append(json.loads(done.stdout))
            print(f"round {turn + 1}: {manner:22} {lines[-1]['per_s']:8,.0f} tokens/s", end="")
            print(f" {lines[-1]['per_cpu_s']:8,.0f} tokens/CPU s   loss {lines[-1]['loss']}", flush=True)
    for manner in list(found)[1:]:
        for unit in ("per_s", "per_cpu_s"):
            ratios = [a[unit] / b[unit] for a, b in zip(found["ours"], found[manner], strict=True)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f} over {len(ratios)} rounds"
            print(f"ours / {manner:22} {unit:10} {statistics.median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    one(*sys.argv[2:]) if sys.argv[1:2] == ["one"] else main(*sys.argv[1:])
