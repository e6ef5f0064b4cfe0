"""Two processes train as one does: the same windows, the same losses, and checkpoints that either goes on from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.shards.outcomes import TrainingError
from tests.trainer.runs import log_of, norms_of, run, settings_with, working_directory
from trainer import checkpoint
from trainer.distributed import World
from trainer.setup import check_world
from trainer.train import train

CHANGES = {"accumulate": 2, "batch": 2, "steps": 4, "warmup_steps": 0, "min_learning_rate": 2e-3}  # one rate throughout


def torchrun(root, out, changes, *allow):
    """Train in two processes under torchrun, joined by gloo; what they said if they failed."""
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program += [str(Path(__file__).with_name("shared_run.py")), str(root), str(out), json.dumps(changes), *allow]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr


def losses(out):
    return [line["loss"] for line in log_of(out) if "loss" in line]


def weights(out):
    return checkpoint.read(checkpoint.steps(out)[-1], moments=False).weights


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_two_processes_have_the_losses_of_one_which_goes_on_where_they_were(tmp_path, way):
    root = working_directory(tmp_path)
    run(root, tmp_path / "one", settings_with(**CHANGES))
    assert torchrun(root, tmp_path / "two", CHANGES | {"parallel": way, "steps": 2}) == ""
    with pytest.raises(TrainingError, match="world_size was 2, is 1"):
        train(settings_with(**CHANGES), root, tmp_path / "two", lambda _: None)
    train(settings_with(**CHANGES), root, tmp_path / "two", lambda _: None, allow=("world_size", "parallel"))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=2e-4)
    assert len(losses(tmp_path / "two")) == 4
    assert norms_of(tmp_path / "two") == pytest.approx(norms_of(tmp_path / "one"), rel=0.01)
    for name, weight in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], weight, atol=2e-4, rtol=0)


def test_what_cannot_be_shared_out_is_refused():
    with pytest.raises(TrainingError, match=r"train\.accumulate = 3 .* cannot be shared by 2 processes"):
        check_world(settings_with(accumulate=3), World(size=2))
    with pytest.raises(TrainingError, match="muon needs whole matrices"):
        check_world(settings_with(accumulate=2, optimizer="muon", parallel="fsdp"), World(size=2))
