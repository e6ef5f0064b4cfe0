"""Small trainings for the trainer's tests."""

import json

import msgspec

from pipeline.config import TrainSettings
from tests.trainer.token_shards import counting_documents, write_tokens
from trainer import checkpoint
from trainer.train import train

VOCAB = 40
SETTINGS = TrainSettings(
    preset="nano",
    block=16,
    batch=4,
    accumulate=1,
    steps=6,
    learning_rate=2e-3,
    min_learning_rate=2e-4,
    warmup_steps=2,
    eval_every=3,
    eval_batches=2,
    checkpoint_every=2,
    dtype="float32",
    device="cpu",
)


def settings_with(**changes):
    """SETTINGS with changes; a run of so few steps that its rate would only rise has no warm-up."""
    if changes.get("steps", SETTINGS.steps) <= SETTINGS.warmup_steps:
        changes.setdefault("warmup_steps", 0)
    return msgspec.structs.replace(SETTINGS, **changes)


def working_directory(root, seed=1, val=True):
    """A directory with token shards of toy text."""
    documents = counting_documents(60, 20, VOCAB, seed)
    rest = counting_documents(10, 20, VOCAB, seed + 100) if val else []
    write_tokens(root, [documents[:30], documents[30:]], [rest, []], vocab=VOCAB, end_of_text=VOCAB - 1)
    return root


def run(root, out, settings=SETTINGS, fresh=False):
    """Train; (result, what was reported)."""
    seen = []
    result = train(settings, root, out, seen.append, fresh)
    return result, seen


def files_of(result):
    """The bytes that must repeat: weights and optimizer state of the last checkpoint."""
    return [(result.checkpoint / name).read_bytes() for name in (checkpoint.WEIGHTS, checkpoint.OPTIMIZER)]


def log_of(out):
    """The lines of the log without the times."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("tokens_per_s", "mfu")} for line in lines]


def norms_of(out):
    """The length of the gradient of every step, as it was before it was cut."""
    return [line["gradient_norm"] for line in log_of(out) if "gradient_norm" in line]


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
