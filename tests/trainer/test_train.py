"""A run learns, repeats itself to the bit, and goes on after any end as if there had been none."""

import hashlib
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch

from pipeline.shards.outcomes import IntegrityError, StorageError, TrainingError
from pipeline.shards.receipts import Artefact, Task
from tests.trainer.runs import (
    SETTINGS,
    VOCAB,
    damage,
    files_of,
    log_of,
    norms_of,
    run,
    settings_with,
    working_directory,
)
from trainer import checkpoint
from trainer.model import GPT, shape_of
from trainer.optimizer import learning_rate, make_optimizers
from trainer.train import train

torch.set_num_threads(1)


def test_the_loss_falls_and_the_log_says_so(tmp_path):
    root = working_directory(tmp_path)
    result, seen = run(root, tmp_path / "model", settings_with(steps=60, eval_every=20, checkpoint_every=60))
    log = log_of(tmp_path / "model")
    assert [line["step"] for line in log] == list(range(61))
    assert log[0]["val_loss"] == pytest.approx(math.log(VOCAB), abs=0.2)
    assert result.val_loss < 0.5 * log[0]["val_loss"]
    assert result.val_loss == log[60]["val_loss"]
    assert result.loss == log[60]["loss"] == seen[-1].loss
    assert [one.step for one in seen if one.val_loss is not None] == [0, 20, 40, 60]
    assert seen[0].loss is None
    assert seen[-1].seconds_left == 0
    assert all(one.tokens_per_s > 0 for one in seen[1:])


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path):
    root = working_directory(tmp_path)
    settings = settings_with(dropout=0.1)
    one, two = (files_of(run(root, tmp_path / name, settings)[0]) for name in ("one", "two"))
    other = files_of(run(root, tmp_path / "other", msgspec.structs.replace(settings, seed=2))[0])
    assert one == two
    assert one != other


@pytest.mark.failure(
    "training is killed, at any moment", "it resumes to the same bits, on the same machine", "run it again"
)
def test_killed_at_any_call_it_ends_in_the_same_bits_as_never_killed(tmp_path):
    root = working_directory(tmp_path)
    plans = ["step:1", "step:3", "fsync:2"]  # before any checkpoint; while the log is cut back
    plans += ["fsync:5", "rename:1", "fsync:7"]  # while a checkpoint is written; before and after it has its name
    plans += ["step:2", "rename:1", "rename:3", "step:1"]  # between two checkpoints; before the oldest is dropped
    program = [sys.executable, str(Path(__file__).with_name("killed_run.py")), str(root), str(tmp_path), *plans]
    subprocess.run(program, check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])})
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    assert [path.name for path in checkpoint.steps(killed)] == ["step-00000009", "step-00000010"]
    for name in (checkpoint.WEIGHTS, checkpoint.OPTIMIZER):
        hashes = [hashlib.sha256((one / "step-00000010" / name).read_bytes()).hexdigest() for one in (whole, killed)]
        assert hashes[0] == hashes[1]
    assert log_of(killed) == log_of(whole)
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_next_run_goes_on(tmp_path, number, code):
    root = working_directory(tmp_path)
    before = signal.getsignal(number)
    seen = []

    def report(progress):
        seen.append(progress)
        if progress.step == 3 and progress.loss is not None and not progress.notes:
            os.kill(os.getpid(), number)

    with pytest.raises(SystemExit) as caught:
        train(SETTINGS, root, tmp_path / "stopped", report)
    assert caught.value.code == code
    assert signal.getsignal(number) == before
    assert "step 3 is saved" in seen[-1].notes[0]
    result, seen = run(root, tmp_path / "stopped")
    assert seen[0].notes == ("goes on from step 3",)
    assert files_of(result) == files_of(run(root, tmp_path / "whole")[0])


def test_a_signal_before_the_first_step_saves_the_beginning(tmp_path):
    root = working_directory(tmp_path)

    def report(progress):
        if not progress.notes:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        train(SETTINGS, root, tmp_path / "stopped", report)
    assert [path.name for path in checkpoint.steps(tmp_path / "stopped")] == ["step-00000000"]
    assert files_of(run(root, tmp_path / "stopped")[0]) == files_of(run(root, tmp_path / "whole")[0])


def test_a_finished_run_is_not_run_again(tmp_path):
    root = working_directory(tmp_path)
    first, _ = run(root, tmp_path / "model")
    again, seen = run(root, tmp_path / "model")
    assert (again.step, again.loss, again.val_loss) == (first.step, first.loss, first.val_loss)
    assert len(seen) == 1


def test_a_damaged_last_checkpoint_costs_its_steps_and_nothing_else(tmp_path):
    root = working_directory(tmp_path)
    first, _ = run(root, tmp_path / "model")
    wanted = files_of(first)
    damage(first.checkpoint / checkpoint.WEIGHTS)
    again, _ = run(root, tmp_path / "model")
    assert files_of(again) == wanted
    assert "step-00000006/weights.safetensors: not as it was written" in again.notes[0]
    assert "went back to step-00000004" in again.notes[0]
    assert (tmp_path / "model" / "damaged-1" / "step-00000006").is_dir()
    assert len(log_of(tmp_path / "model")) == 7


@pytest.mark.failure("every checkpoint is damaged", "exit 8", "start over with `--fresh`")
def test_when_every_checkpoint_is_damaged_it_says_how_to_start_over(tmp_path):
    root = working_directory(tmp_path)
    run(root, tmp_path / "model")
    for path in checkpoint.steps(tmp_path / "model"):
        damage(path / checkpoint.OPTIMIZER)
    with pytest.raises(TrainingError, match=r"no checkpoint can be read.*--fresh"):
        run(root, tmp_path / "model")


def test_fresh_starts_over_and_sets_the_old_run_aside(tmp_path):
    root = working_directory(tmp_path)
    first, _ = run(root, tmp_path / "model")
    wanted = files_of(first)
    again, seen = run(root, tmp_path / "model", fresh=True)
    assert files_of(again) == wanted
    assert seen[1].step == 1
    assert "earlier-1" in again.notes[0]
    assert sorted(path.name for path in (tmp_path / "model" / "earlier-1").iterdir()) == [
        "metrics.jsonl",
        "step-00000004",
        "step-00000006",
    ]


@pytest.mark.failure(
    "a run resumes with other settings or tokens",
    "exit 8; each changed field is named",
    "put them back, or allow them by name",
)
def test_a_changed_run_is_refused_field_by_field(tmp_path):
    root = working_directory(tmp_path / "one")
    other = working_directory(tmp_path / "two", seed=2)
    run(root, tmp_path / "model")
    with pytest.raises(TrainingError) as caught:
        run(other, tmp_path / "model", settings_with(learning_rate=1e-3, batch=5))
    message = str(caught.value)
    assert "train.learning_rate was 0.002, is 0.001" in message
    assert "train.batch was 4, is 5" in message
    assert "data was " in message
    assert "train.seed" not in message
    assert "--fresh" in message
    assert "\n" not in message


def test_steps_and_cadence_may_change_between_a_run_and_its_continuation(tmp_path):
    root = working_directory(tmp_path)
    run(root, tmp_path / "model")
    result, _ = run(
        root, tmp_path / "model", settings_with(steps=8, eval_every=1, eval_batches=1, checkpoint_every=100)
    )
    assert result.step == 8
    assert [line["step"] for line in log_of(tmp_path / "model")] == list(range(9))


def test_a_loss_that_is_not_a_number_names_the_batch_and_the_last_good_checkpoint(tmp_path):
    root = working_directory(tmp_path)
    settings = settings_with(learning_rate=1e30, min_learning_rate=1e30, warmup_steps=0, checkpoint_every=1)
    with pytest.raises(TrainingError) as caught:
        run(root, tmp_path / "model", settings)
    message = str(caught.value)
    assert "step 2: loss nan" in message
    assert "step-00000001" in message
    last = log_of(tmp_path / "model")[-1]
    assert last["after_step"] == 1
    assert len(last["windows"]) == 4
    assert last["doc_ids"]
    assert set(last["doc_ids"]) <= {f"doc-{number}" for number in range(30)}
    assert [path.name for path in checkpoint.steps(tmp_path / "model")] == ["step-00000001"]


def test_weights_that_are_not_finite_are_never_saved(tmp_path, monkeypatch):
    root = working_directory(tmp_path)
    original = torch.optim.AdamW.step

    def breaking(optimizer):
        original(optimizer)
        optimizer.param_groups[0]["params"][0].data[0, 0] = torch.inf

    monkeypatch.setattr(torch.optim.AdamW, "step", breaking)
    with pytest.raises(TrainingError, match=r"wte.weight is not finite; last good checkpoint: none"):
        run(root, tmp_path / "model", settings_with(checkpoint_every=1))
    assert checkpoint.steps(tmp_path / "model") == []


@pytest.mark.failure("the disk fills up while training", "the last good checkpoint stands", "free some, run it again")
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    root = working_directory(tmp_path)
    original = checkpoint.save_file
    calls = []

    def filling(tensors, path, *rest):
        calls.append(path)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        original(tensors, path, *rest)

    monkeypatch.setattr(checkpoint, "save_file", filling)
    with pytest.raises(StorageError, match="no space left"):
        run(root, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["metrics.jsonl", "step-00000002"]
    monkeypatch.undo()
    assert files_of(run(root, tmp_path / "model")[0]) == files_of(run(root, tmp_path / "whole")[0])


def test_what_the_tokenizer_noted_of_its_size_is_told_before_the_first_step(tmp_path):
    root = working_directory(tmp_path)
    tokenizer = Artefact(root, "tokenizer", 1)
    with tokenizer.attempt(Task(0, "f" * 32)) as attempt:
        attempt.commit({}, ["the vocabulary is too large for this corpus"])
    tokenizer.finish({}, [])
    _, seen = run(root, tmp_path / "model", settings_with(steps=1))
    assert "tokenizer: the vocabulary is too large for this corpus" in seen[0].notes


def test_micro_batches_add_up_to_the_whole_batch(tmp_path):
    root = working_directory(tmp_path)
    whole, _ = run(root, tmp_path / "whole", settings_with(batch=4, accumulate=1))
    parts, _ = run(root, tmp_path / "parts", settings_with(batch=2, accumulate=2))
    one, two = (checkpoint.read(result.checkpoint, moments=False).weights for result in (whole, parts))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=2e-4, rtol=0)
    assert parts.loss == pytest.approx(whole.loss, abs=1e-3)
    one, two = (
        norms_of(tmp_path / name) for name in ("whole", "parts")
    )  # AdamW moves alike for gradients n times as long
    assert two == pytest.approx(one, rel=0.01)


def test_gradients_are_cut_to_the_length_that_is_set_and_logged_as_they_were(tmp_path, monkeypatch):
    root, lengths, original = working_directory(tmp_path), [], torch.optim.AdamW.step

    def measured(optimizer):
        every = [one.grad for group in optimizer.param_groups for one in group["params"]]
        lengths.append(torch.nn.utils.get_total_norm(every).item())
        original(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", measured)
    run(root, tmp_path / "cut", settings_with(steps=3, clip=0.05))
    assert lengths == pytest.approx([0.05] * 3, rel=1e-3)
    assert min(norms_of(tmp_path / "cut")) > 0.5
    lengths.clear()
    run(root, tmp_path / "whole", settings_with(steps=3, clip=0.0))
    assert lengths == pytest.approx(norms_of(tmp_path / "whole"), rel=1e-3)
    assert min(lengths) > 0.5


def test_dropout_is_for_training_and_not_for_validation(tmp_path):
    root = working_directory(tmp_path)
    changes = [{"dropout": 0.5}, {"rms_norm": True}, {"rms_norm": True, "dropout": 0.5}]
    for number, one in enumerate(changes):
        run(
            root,
            tmp_path / str(number),
            settings_with(steps=3, eval_every=1, learning_rate=1e-9, min_learning_rate=0.0, **one),
        )
    dropped, plain, both = (log_of(tmp_path / str(number)) for number in range(3))
    for line, other in zip(both, plain, strict=True):  # weights hardly move: validation is the same, training is not
        assert line["val_loss"] == pytest.approx(other["val_loss"], abs=1e-4)
        assert "loss" not in line or abs(line["loss"] - other["loss"]) > 1e-3
    assert [line["val_loss"] for line in dropped] == pytest.approx([dropped[0]["val_loss"]] * 4, abs=1e-4)


def test_the_fused_optimiser_moves_as_the_plain_one():
    torch.manual_seed(1)
    model, twin = GPT(shape_of("nano", 8, 20, 0.0)), GPT(shape_of("nano", 8, 20, 0.0))
    twin.load_state_dict(model.state_dict())
    (fast,) = make_optimizers(model, SETTINGS)
    slow = torch.optim.AdamW(
        [{"params": [one], "weight_decay": 0.1 if one.dim() == 2 else 0.0} for one in twin.parameters()],
        lr=0.01,
        betas=(0.9, 0.95),
        eps=1e-8,
        foreach=False,
        fused=False,
    )
    for group in fast.param_groups:
        group["lr"] = 0.01
    for _ in range(3):
        for one, two in zip(model.parameters(), twin.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            two.grad = one.grad.clone()
        fast.step()
        slow.step()
    for one, two in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=0)


def test_weight_decay_is_for_matrices_and_embeddings():
    model = GPT(shape_of("nano", 8, 20, 0.0))
    names = {name for name, _, decayed in model.decayed() if decayed}
    assert names >= {"wte.weight", "wpe.weight", "h.0.attn.c_attn.weight", "h.3.mlp.c_proj.weight"}
    assert not [name for name in names if name.endswith("bias") or ".ln_" in name or name.startswith("ln_f")]
    groups = make_optimizers(model, SETTINGS)[0].param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(18, 0.1), (34, 0.0)]


def test_the_learning_rate_warms_up_and_falls_to_its_least():
    settings = settings_with(steps=11, warmup_steps=4, learning_rate=1.0, min_learning_rate=0.1)
    rates = [round(learning_rate(settings, step), 4) for step in range(11)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 0.9397, 0.775, 0.55, 0.325, 0.1603, 0.1]
    assert learning_rate(settings_with(steps=1, warmup_steps=0), 0) == 2e-3


def test_bfloat16_learns_too(tmp_path):
    root = working_directory(tmp_path)
    result, _ = run(root, tmp_path / "model", settings_with(dtype="bfloat16", steps=20, checkpoint_every=20))
    assert result.val_loss < 3.0
    weights = checkpoint.read(result.checkpoint, moments=True)
    assert {str(one.dtype) for one in [*weights.weights.values(), *weights.optimizer_state.values()]} == {
        "torch.float32"
    }


def test_nothing_starts_on_tokens_that_are_damaged_or_too_few(tmp_path):
    root = working_directory(tmp_path)
    with pytest.raises(TrainingError, match="not one window of 1024"):
        run(root, tmp_path / "model", settings_with(block=1024))
    damage(root / "tokens" / "val" / "00000-of-00002.arrow")
    with pytest.raises(IntegrityError):
        run(root, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="only where there is no GPU")
def test_a_gpu_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TrainingError, match="finds no GPU"):
        run(working_directory(tmp_path), tmp_path / "model", settings_with(device="cuda"))
