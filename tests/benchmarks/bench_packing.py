"""What the order of documents in a token shard does to the loss: by URL, as the corpus lies, and permuted, as we pack.

    python tests/benchmarks/bench_packing.py WORK [SEEDS] [STEPS]

WORK: a working directory with a corpus and a tokenizer. For each seed, one model a kind of order is trained on the same
documents with the same windows a step (preset micro, block 1,024); both are measured on the same held-out windows,
packed permuted. It prints the share of neighbours of one host, and the losses in nats a token; it asserts nothing.
"""

import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from pipeline import config, tokens
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import PlainRun
from pipeline.text import bpe
from trainer.train import train

BLOCK, BATCH, VAL_SHARE = 1_024, 4, 0.1


def made(work, root, permuted):
    """Token shards of a working directory, beside links to what they are made of; the share of neighbours of a host."""
    for name in ("corpus", "tokenizer"):
        (root / name).symlink_to(work / name)
    whole = tokens.Split.permuted
    shards = Artefact(work, "corpus", 1).manifest().shards
    settings = config.parse({"build": {"shards": shards}, "tokens": {"val_share": VAL_SHARE}})
    if not permuted:
        held_out = lambda split: split.doc_ids and bpe.is_val(split.doc_ids[0], VAL_SHARE)  # noqa: E731
        tokens.Split.permuted = lambda split, seed: whole(split, seed) if held_out(split) else split
    try:
        tokens.stage(settings, root, PlainRun())
    finally:
        tokens.Split.permuted = whole
    shared = total = 0
    for path in (root / "tokens/train").glob("*.arrow"):
        hosts = pa.ipc.open_file(path).read_all()["host"].to_pylist()
        shared += sum(left == right for left, right in pairwise(hosts))
        total += len(hosts) - 1
    return shared / total


def loss(root, out, seed, steps):
    """The held-out loss after so many steps."""
    settings = config.TrainSettings(
        preset="micro",
        block=BLOCK,
        batch=BATCH,
        accumulate=1,
        steps=steps,
        warmup_steps=steps // 10,
        learning_rate=1e-3,
        min_learning_rate=1e-4,
        eval_every=steps,
        checkpoint_every=steps,
        dtype="float32",
        device="cpu",
        seed=seed,
    )
    return train(settings, root, out, lambda _: None).val_loss


def main(work, seeds=3, steps=300):
    orders, found = {"by URL": False, "permuted": True}, {"by URL": [], "permuted": []}
    with tempfile.TemporaryDirectory() as folder:
        for name, permuted in orders.items():
            root = Path(folder) / name
            root.mkdir()
            print(f"{name}: {made(Path(work).resolve(), root, permuted):.1%} of neighbours share a host")
        for seed in range(1, int(seeds) + 1):
            for name in orders:
                found[name].append(loss(Path(folder) / name, Path(folder) / f"{name} {seed}", seed, int(steps)))
            print(
                f"seed {seed}: " + ", ".join(f"{name} {losses[-1]:.4f}" for name, losses in found.items()), flush=True
            )
    apart = [one - other for one, other in zip(*found.values(), strict=True)]
    print(f"by URL less permuted: median {statistics.median(apart):+.4f} nats ({min(apart):+.4f} to {max(apart):+.4f})")


if __name__ == "__main__":
    main(*sys.argv[1:])
