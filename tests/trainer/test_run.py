"""What a run is asked for by name: allowed changes, smaller micro-batches, published weights, later variants, logs."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.shards.outcomes import ConfigError, TrainingError
from tests.trainer.runs import SETTINGS, VOCAB, log_of, run, settings_with, working_directory
from tests.trainer.token_shards import shard_table
from trainer import checkpoint, metrics, objective
from trainer.data import Windows, load_split, step_windows
from trainer.export import hf_config, hf_weights
from trainer.model import GPT, documents_of, shape_of
from trainer.train import train

torch.set_num_threads(1)


def test_a_change_that_is_allowed_by_name_is_made_and_noted(tmp_path):
    root = working_directory(tmp_path)
    run(root, tmp_path / "model")
    changed = settings_with(learning_rate=1e-3, batch=2, steps=8)
    with pytest.raises(TrainingError, match=r"train\.batch was 4, is 2; set them back, mean it with .*--allow batch'"):
        train(changed, root, tmp_path / "model", lambda _: None, allow=("learning_rate",))
    with pytest.raises(ConfigError, match=r"--allow batches: no such field"):
        train(changed, root, tmp_path / "model", lambda _: None, allow=("batches",))
    result = train(changed, root, tmp_path / "model", lambda _: None, allow=("learning_rate", "train.batch"))
    assert result.step == 8
    assert "train.learning_rate was 0.002, is 0.001, as allowed" in result.notes
    assert "train.batch was 4, is 2, as allowed" in result.notes


def short_of_memory(monkeypatch, rows):
    """From now on a micro-batch of more than so many windows finds no memory."""
    whole = objective.Objective.forward

    def forward(self, inputs, targets, each=False):
        if not each and len(inputs) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.40 GiB")
        return whole(self, inputs, targets, each)

    monkeypatch.setattr(objective.Objective, "forward", forward)


def test_when_memory_is_short_micro_batches_are_halved_and_the_batch_stays(tmp_path, monkeypatch):
    root = working_directory(tmp_path)
    plain = settings_with(rms_norm=True)  # has no fast path
    whole, _ = run(root, tmp_path / "whole", plain)
    short_of_memory(monkeypatch, 1)
    parts, seen = run(root, tmp_path / "parts", plain)
    assert parts.loss == pytest.approx(whole.loss, abs=1e-3)
    said = [note for one in seen for note in one.notes if "out of memory" in note]
    assert [note.partition("goes on with ")[2] for note in said] == [
        "micro-batches of 2 windows, 2 a step: the same batch of 4",
        "micro-batches of 1 windows, 4 a step: the same batch of 4",
    ]
    assert len({line["step"] for line in log_of(tmp_path / "parts")}) == 7


def test_memory_too_short_for_one_window_says_what_to_set(tmp_path, monkeypatch):
    short_of_memory(monkeypatch, 0)
    with pytest.raises(TrainingError, match=r"step 1: out of memory .* lower train\.block or the preset.*logit_rows"):
        run(working_directory(tmp_path), tmp_path / "model", settings_with(rms_norm=True, batch=1))


def test_another_failure_of_torch_is_none_of_memory(tmp_path, monkeypatch):
    def forward(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(objective.Objective, "forward", forward)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run(working_directory(tmp_path), tmp_path / "model", settings_with(rms_norm=True, eval_batches=1))


def test_a_run_may_start_from_published_weights(tmp_path):
    root = working_directory(tmp_path)
    torch.manual_seed(3)
    shape = shape_of("nano", 16, VOCAB, 0.0)
    model, folder = GPT(shape), tmp_path / "published"
    folder.mkdir()
    checkpoint.save_file(hf_weights(shape, model.state_dict()), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(hf_config(shape)))
    still = settings_with(start_from=str(folder), steps=1, learning_rate=1e-12, min_learning_rate=0.0, weight_decay=0.0)
    result, _ = run(root, tmp_path / "model", still)
    found = load_file(result.checkpoint / checkpoint.WEIGHTS)
    torch.testing.assert_close(found["h.0.attn.c_attn.weight"], model.state_dict()["h.0.attn.c_attn.weight"])
    with pytest.raises(TrainingError, match="the settings and tokens ask for"):
        run(root, tmp_path / "other", settings_with(start_from=str(folder), preset="micro"))


VARIANTS = [{"rope": True}, {"rms_norm": True}, {"optimizer": "muon"}, {"same_document": True}, {"logit_rows": 8}]


@pytest.mark.parametrize("variant", VARIANTS, ids=[next(iter(one)) for one in VARIANTS])
def test_each_later_variant_learns_and_goes_on_to_the_same_bits(tmp_path, variant):
    root = working_directory(tmp_path)
    settings = settings_with(steps=4, eval_every=4, checkpoint_every=2, **variant)
    whole, seen = run(root, tmp_path / "whole", settings)
    assert whole.loss < seen[1].loss
    run(root, tmp_path / "parts", settings)
    checkpoint.remove(tmp_path / "parts" / checkpoint.name_of(4))
    again, _ = run(root, tmp_path / "parts", settings)
    for name in (checkpoint.WEIGHTS, checkpoint.OPTIMIZER):
        assert (again.checkpoint / name).read_bytes() == (whole.checkpoint / name).read_bytes()


def weights_of(folder):
    return checkpoint.read(folder, moments=False).weights


@pytest.mark.parametrize("rows", [0, 8])
def test_a_run_confined_to_documents_has_the_loss_of_attention_within_them(tmp_path, rows):
    root = working_directory(tmp_path)
    settings = settings_with(steps=1, same_document=True, logit_rows=rows)
    result, _ = run(root, tmp_path / "model", settings)
    torch.manual_seed(settings.seed)
    model, windows = GPT(shape_of("nano", 16, VOCAB, 0.0)), Windows(load_split(root, "train"), 16, settings.seed)
    inputs, targets = windows.read(step_windows(windows, 0, 0, batch=4, accumulate=1))
    documents = documents_of(inputs, VOCAB - 1)
    assert documents.max() > 0
    with torch.no_grad():
        within, across = (model.losses(inputs, targets, some).mean().item() for some in (documents, None))
    assert abs(within - across) > 1e-3
    assert result.loss == pytest.approx(within, abs=1e-5)


def test_muon_moves_the_matrices_inside_and_adamw_the_rest(tmp_path):
    root = working_directory(tmp_path)
    still = settings_with(optimizer="muon", weight_decay=0.0, checkpoint_every=1, steps=2)
    result, _ = run(root, tmp_path / "model", still)
    before, after = (weights_of(tmp_path / "model" / checkpoint.name_of(step)) for step in (1, 2))
    entries = {
        name.partition("/")[2]
        for name in checkpoint.read(result.checkpoint, moments=True).optimizer_state
        if "exp_avg_sq" in name
    }
    for name, weight in after.items():
        inside = name.startswith("h.") and weight.dim() == 2
        assert (name not in entries) == inside
        if inside:  # where the gradient is, an orthogonal update is of one size (Jordan et al. 2024); AdamW's is not
            sizes = torch.linalg.svdvals(weight - before[name])
            assert sizes[8] > 0.8 * sizes[0]


def test_validation_is_told_by_host_and_by_year(tmp_path):
    run(working_directory(tmp_path), tmp_path / "model")
    (line,) = [one for one in log_of(tmp_path / "model") if one["step"] == 3]
    table = shard_table([[1, 2, VOCAB - 1]], vocab=VOCAB, end_of_text=VOCAB - 1)
    years = {str(year or "none") for year in table["year"].to_pylist()}
    for found in (line["by_host"], line["by_year"]):
        tokens = sum(one["tokens"] for one in found.values())
        assert tokens == 2 * SETTINGS.batch * SETTINGS.block
        mean = sum(one["loss"] * one["tokens"] for one in found.values()) / tokens
        assert mean == pytest.approx(line["val_loss"])
    assert line["by_year"].keys() == years


def test_the_opening_says_what_is_trained_and_the_steps_how_fast(tmp_path):
    _, seen = run(working_directory(tmp_path), tmp_path / "model")
    opening = "\n".join(seen[0].opening)
    assert "preset = 'nano'" in opening
    assert "learning_rate = 0.002" in opening
    assert f"{shape_of('nano', 16, VOCAB, 0.0).parameters:,} parameters on cpu in float32" in opening
    assert "learning rate ▅▅▅▅▅███" in opening
    assert seen[0].mfu is None
    assert all(one.mfu > 0 and one.tokens_per_s > 0 for one in seen[1:])
    assert seen[-1].seconds_left == 0
    assert not any(one.opening for one in seen[1:])


def test_tensorboard_is_told_the_same_numbers(tmp_path, monkeypatch):
    root = working_directory(tmp_path)
    run(root, tmp_path / "model", settings_with(tensorboard=True))
    board = EventAccumulator(str(tmp_path / "model" / metrics.TENSORBOARD)).Reload()
    logged = {line["step"]: line["loss"] for line in log_of(tmp_path / "model") if "loss" in line}
    assert {one.step: one.value for one in board.Scalars("loss")} == pytest.approx(logged)
    assert {"learning_rate", "val_loss", "gradient_norm"} <= set(board.Tags()["scalars"])


def test_tensorboard_that_is_not_installed_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"pip install 'webtext\[tensorboard\]'"):
        run(working_directory(tmp_path), tmp_path / "model", settings_with(tensorboard=True))
