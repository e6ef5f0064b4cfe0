"""A run that goes on with other settings than it began with: which windows it shows, at which rate, what it says."""

import json
import re
import signal
import subprocess
import sys

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from pipeline.config import TrainSettings
from pipeline.shards.outcomes import ConfigError, InputError, TrainingError
from pipeline.text.bpe import files_of
from tests.trainer.runs import VOCAB, log_of, run, settings_with, working_directory
from tests.trainer.token_shards import counting_documents, write_tokens
from trainer import checkpoint, fits, objective, setup, throughput
from trainer import train as training
from trainer.data import load_split
from trainer.export import hf_config, hf_weights
from trainer.model import GPT, PRESETS, shape_of
from trainer.published import merges_of, tokenizer_notes
from trainer.setup import first_model
from trainer.throughput import StepTime, listed_as, peak_flops
from trainer.train import train

torch.set_num_threads(1)
QUIET = {"eval_every": 100, "checkpoint_every": 100}


@pytest.fixture
def shown(monkeypatch):
    """The windows that training was given, step by step."""
    real, found = training.step_windows, {}

    def spy(windows, step, micro, **more):
        found.setdefault(step, {})[micro] = given = real(windows, step, micro, **more)
        return given

    monkeypatch.setattr(training, "step_windows", spy)
    return lambda steps: [one for step in steps for _, some in sorted(found[step].items()) for one in some]


@pytest.mark.parametrize(("batch", "accumulate"), [(1, 1), (4, 1), (2, 3), (5, 2)])
def test_with_another_batch_a_run_goes_on_at_the_window_where_it_stopped(tmp_path, shown, batch, accumulate):
    root = working_directory(tmp_path)
    run(root, tmp_path / "order", settings_with(batch=1, steps=40, **QUIET))
    order = shown(range(40))
    run(root, tmp_path / "model", settings_with(batch=2, steps=6, **QUIET))
    assert shown(range(6)) == order[:12]
    changes = {"batch": batch, "accumulate": accumulate}
    train(settings_with(steps=8, **QUIET | changes), root, tmp_path / "model", lambda _: None, allow=tuple(changes))
    assert shown(range(6, 8)) == order[12 : 12 + 2 * batch * accumulate]
    record = checkpoint.read(checkpoint.steps(tmp_path / "model")[-1], moments=False).record
    assert record.consumed == 12 + 2 * batch * accumulate


def test_a_checkpoint_that_does_not_say_what_it_consumed_had_one_batch_throughout(tmp_path, shown):
    root = working_directory(tmp_path)
    run(root, tmp_path / "order", settings_with(batch=1, steps=40, **QUIET))
    order = shown(range(40))
    result, _ = run(root, tmp_path / "model", settings_with(batch=2, steps=6, **QUIET))
    older(result.checkpoint, consumed=None, steps=None, learning_rate=None)
    train(settings_with(batch=4, steps=7, **QUIET), root, tmp_path / "model", lambda _: None, allow=("batch",))
    assert shown([6]) == order[12:16]


def older(path, **changes):
    """Rewrite a checkpoint's record as an earlier version would have written it."""
    found = checkpoint.read(path, moments=True)
    checkpoint.remove(path)
    identity = changes.pop("identity", found.record.identity)
    record = msgspec.structs.replace(found.record, identity=identity, **changes)
    checkpoint.save(path.parent, record, found.weights, found.optimizer_state)


def test_windows_of_another_length_are_told_of(tmp_path):
    root = working_directory(tmp_path)
    run(root, tmp_path / "model", settings_with(rope=True))
    longer = settings_with(rope=True, block=8, steps=7)
    with pytest.raises(TrainingError, match="block was 16, is 8"):
        train(longer, root, tmp_path / "model", lambda _: None)
    seed = settings_with(rope=True, seed=2, steps=7)
    result = train(seed, root, tmp_path / "model", lambda _: None, allow=("seed",))
    assert any("another seed puts windows into another order" in note for note in result.notes)


def test_a_setting_that_a_checkpoint_does_not_know_had_its_default(tmp_path):
    root = working_directory(tmp_path)
    result, _ = run(root, tmp_path / "model")
    identity = checkpoint.read(result.checkpoint, moments=False).record.identity
    known = {name: value for name, value in identity.items() if name not in ("train.rope", "train.optimizer")}
    older(result.checkpoint, identity=known)
    with pytest.raises(TrainingError, match=r"train\.rope was False, is True"):
        run(root, tmp_path / "model", settings_with(rope=True, steps=7))
    assert run(root, tmp_path / "model", settings_with(steps=7))[0].step == 7


def test_more_steps_say_what_they_do_to_the_rate(tmp_path):
    root = working_directory(tmp_path)
    run(root, tmp_path / "model", settings_with(steps=6, **QUIET))
    result, _ = run(root, tmp_path / "model", settings_with(steps=12, **QUIET))
    rates = {line["step"]: line["learning_rate"] for line in log_of(tmp_path / "model") if "learning_rate" in line}
    (told,) = [note for note in result.notes if "train.steps was 6, is 12" in note]
    assert f"{rates[6]:.3g}" in told
    assert f"{rates[7]:.3g}" in told
    assert f"{rates[7] / rates[6]:.2g} times" in told
    again, _ = run(root, tmp_path / "model", settings_with(steps=12, **QUIET))
    assert not [note for note in again.notes if "train.steps" in note]


@pytest.mark.parametrize(("steps", "warmup"), [(6, 6), (6, 700), (1, 1)])
def test_a_warm_up_that_never_ends_is_refused(tmp_path, steps, warmup):
    with pytest.raises(ConfigError, match=f"warmup_steps = {warmup} of train.steps = {steps}: .* would never fall"):
        run(working_directory(tmp_path), tmp_path / "model", settings_with(steps=steps, warmup_steps=warmup))
    assert not (tmp_path / "model").exists() or not list((tmp_path / "model").iterdir())


def test_settings_that_refuse_a_run_do_so_before_torch_or_any_artefact_is_loaded(tmp_path):
    run(working_directory(tmp_path), tmp_path / "model", settings_with(steps=4, **QUIET))
    code = """
import sys, msgspec
from pathlib import Path
from pipeline.config import TrainSettings
from pipeline.shards.outcomes import WebTextError
from trainer import continuation
settings, out = msgspec.json.decode(sys.argv[1], type=TrainSettings), Path(sys.argv[2])
for changes in ({}, {"batch": 5}, {"steps": 1, "warmup_steps": 1}):
    try:
        continuation.check(msgspec.structs.replace(settings, **changes), out, False, ())
        print("goes on")
    except WebTextError as error:
        print(error)
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""
    words = [msgspec.json.encode(settings_with(steps=4, **QUIET)).decode(), str(tmp_path / "model")]
    said = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True).stdout
    first, second, third = said.splitlines()
    assert first == "goes on"
    assert "train.batch was 4, is 5" in second
    assert "would never fall" in third


def test_a_run_of_no_steps_is_no_run_and_gives_way_to_another(tmp_path):
    root, out = working_directory(tmp_path), tmp_path / "model"
    with pytest.raises(SystemExit):
        train(
            settings_with(steps=6, **QUIET),
            root,
            out,
            lambda told: told.opening and signal.raise_signal(signal.SIGTERM),
        )
    for step in checkpoint.steps(out):
        assert checkpoint.read(step, moments=False).record.step == 0
    result, _ = run(root, out, settings_with(steps=2, batch=3, **QUIET))
    assert result.step == 2
    with pytest.raises(TrainingError, match=r"holds a run with other settings: train\.batch was 3, is 4"):
        run(root, out, settings_with(steps=2, **QUIET))


@pytest.mark.parametrize(
    ("preset", "batch", "said"), [("nano", 12, 1), ("mini", 12, 1), ("nano", 2, 0), ("gpt2", 12, 0)]
)
def test_a_small_model_with_the_batch_of_gpt2_is_told_which_to_set(preset, batch, said):
    notes = setup.batch_notes(TrainSettings(preset=preset, batch=batch), "cpu")
    assert len(notes) == said
    assert all("491,520 tokens" in note and "train.batch = 8, train.accumulate = 1" in note for note in notes)
    assert not setup.batch_notes(TrainSettings(preset=preset, batch=batch), "cuda")


@pytest.mark.parametrize(("held", "said"), [(1, "1 document of 61"), (9, "9 documents of 69"), (10, "")])
def test_a_validation_that_rests_on_few_documents_says_so_and_what_to_set(tmp_path, held, said):
    documents = counting_documents(60, 20, VOCAB, 1)
    rest = counting_documents(held, 20, VOCAB, 2)
    write_tokens(tmp_path, [documents], [rest], vocab=VOCAB, end_of_text=VOCAB - 1)
    notes = setup.validation_notes(load_split(tmp_path, "train"), load_split(tmp_path, "val"))
    assert [said in note and "set tokens.val_share = 0.3" in note for note in notes] == [True] * bool(said)


# --- throughput


@given(first=st.floats(0.1, 100), others=st.lists(st.floats(0.001, 0.01), min_size=1, max_size=60))
def test_the_speed_told_is_that_of_the_last_steps_without_the_first(first, others):
    pace = StepTime()
    assert pace.after(first) == first
    told = [pace.after(one) for one in others][-1]
    assert told == pytest.approx(sum(others[-throughput.LAST_STEPS :]) / len(others[-throughput.LAST_STEPS :]))


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA RTX A1000 Laptop GPU", None),
        ("NVIDIA A1000", None),
        ("NVIDIA A100X", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA H1000", None),
        ("NVIDIA L400", None),
        ("Tesla T4", None),
        ("AMD Instinct MI300X", None),
        ("", None),
    ],
)
def test_the_peak_of_a_gpu_is_that_of_its_whole_name_or_none(monkeypatch, name, tera):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    found = peak_flops(torch.device("cuda", 0), torch.bfloat16)
    assert (found and found / 1e12) == tera
    assert peak_flops(torch.device("cuda", 0), torch.float32) is None, listed_as(name)


def test_a_gpu_without_a_known_peak_has_no_mfu(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "peak_flops", lambda *_: None)
    _, seen = run(working_directory(tmp_path), tmp_path / "model")
    assert all(one.mfu is None for one in seen)
    assert all(one.tokens_per_s > 0 for one in seen[1:])


# --- memory and time


def test_memory_and_time_are_told_before_the_first_step(tmp_path):
    _, seen = run(working_directory(tmp_path), tmp_path / "model")
    said = "\n".join(seen[0].opening)
    assert re.search(r"^memory: [1-9]\d* MB at least, one window at a time", said, re.MULTILINE)
    assert re.search(r"^time: about \d+ seconds?, if a step reaches half of this machine's peak$", said, re.MULTILINE)


def test_a_run_that_no_micro_batch_fits_is_refused_before_its_model_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(fits, "free_bytes", lambda _: 10_000_000)
    monkeypatch.setattr(setup, "first_model", None)
    with pytest.raises(
        TrainingError, match=r"memory: [\d.]+ [GM]B at least.* are free on cpu: take a smaller train\.preset"
    ):
        run(working_directory(tmp_path), tmp_path / "model")


def test_a_run_of_more_than_a_year_is_refused_unless_it_is_meant(tmp_path, monkeypatch):
    root = working_directory(tmp_path)
    monkeypatch.setattr(training, "peak_flops", lambda *_: 1.0)
    settings = settings_with(steps=4)
    with pytest.raises(TrainingError, match=r"would take about [\d,]+ years here: .*--allow time"):
        run(root, tmp_path / "model", settings)
    assert train(settings, root, tmp_path / "model", lambda _: None, allow=("time",)).step == 4
    assert (
        train(settings, root, tmp_path / "model", lambda _: None, allow=("time",)).step == 4
    )  # resumed: no such field


def test_the_memory_of_a_container_counts(monkeypatch):
    said = {"/proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n", fits.CGROUPS[0]: "4096000\n"}
    monkeypatch.setattr(fits, "text_of", lambda path: said.get(path, ""))
    assert fits.free_bytes("cpu") == 4_096_000
    said[fits.CGROUPS[0]] = "max\n"
    assert fits.free_bytes("cpu") == 8_192_000
    said.clear()
    assert fits.free_bytes("cpu") is None
    assert "free" not in fits.memory_told(shape_of("nano", 16, 40, 0.0), settings_with(), "cpu")


@given(st.sampled_from(sorted(PRESETS)), st.integers(2, 2048), st.integers(257, 60_000), st.integers(1, 8))
def test_the_least_memory_holds_weights_gradients_and_moments(preset, block, vocab, processes):
    shape = shape_of(preset, block, vocab, 0.0)
    whole = fits.least_bytes(shape, TrainSettings(), processes)
    assert whole >= 16 * shape.parameters
    assert whole >= fits.least_bytes(shape, TrainSettings(logit_rows=1), processes)
    share = fits.least_bytes(shape, TrainSettings(parallel="fsdp"), processes)
    assert whole >= share >= 16 * shape.parameters // processes


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 seconds"), (100, "100 seconds"), (600, "10 minutes"), (9_000, "2 hours"), (864_000, "10 days")],
)
def test_a_duration_is_said_in_one_unit(seconds, words):
    assert fits.in_words(seconds) == words


@pytest.mark.parametrize("rows", [1, 2])
def test_validation_that_finds_no_memory_looks_at_fewer_windows_at_once(tmp_path, monkeypatch, rows):
    root = working_directory(tmp_path)
    plain = settings_with(rms_norm=True)
    whole, _ = run(root, tmp_path / "whole", plain)
    real = objective.Objective.forward

    def forward(self, inputs, targets, each=False):
        if each and len(inputs) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.40 GiB")
        return real(self, inputs, targets, each)

    monkeypatch.setattr(objective.Objective, "forward", forward)
    parts, seen = run(root, tmp_path / "parts", plain)
    assert parts.val_loss == pytest.approx(whole.val_loss, abs=1e-5)
    said = [note for one in seen for note in one.notes if "validation after step" in note]
    assert [note.partition("goes on with ")[2] for note in said] == ["2 windows at a time", "1 windows at a time"][
        : 3 - rows
    ]


def test_validation_of_one_window_that_does_not_fit_says_what_to_do(tmp_path, monkeypatch):
    def forward(self, inputs, targets, each=False):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.40 GiB")

    monkeypatch.setattr(objective.Objective, "forward", forward)
    with pytest.raises(TrainingError, match=r"validation after step 0: out of memory \(CUDA .*lower train\.block"):
        run(working_directory(tmp_path), tmp_path / "model", settings_with(rms_norm=True))


# --- published weights


def published(folder, vocab, merges=None, **more):
    """A folder of transformers with a drawn GPT-2 of the tests' shape, and a tokenizer where merges are given."""
    folder.mkdir()
    shape = shape_of("nano", 16, vocab, 0.0)
    checkpoint.save_file(hf_weights(shape, GPT(shape).state_dict()), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(hf_config(shape)))
    for name, content in files_of(merges).items() if merges else ():
        (folder / name).write_bytes(content)
    return folder


def test_published_weights_drop_as_much_as_the_settings_say_in_every_layer(tmp_path):
    folder = published(tmp_path / "published", 40)
    settings = TrainSettings(preset="nano", block=16, dropout=0.25, start_from=str(folder))
    model = first_model(settings, 40)
    scratch = first_model(msgspec.structs.replace(settings, start_from=""), 40)
    for one in (model, scratch):
        assert one.shape.dropout == 0.25
        assert {part.dropout for part in one.modules() if hasattr(part, "dropout")} == {0.25}


OURS = [(b"h", b"e"), (b"l", b"l"), (b"he", b"ll")]


@pytest.mark.parametrize("theirs", [[(b"l", b"l"), (b"h", b"e"), (b"he", b"ll")], OURS[:2], [*OURS[:2], (b"x", b"y")]])
@pytest.mark.parametrize("kept", ["tokenizer.json", "merges.txt"])
def test_published_weights_of_another_tokenizer_are_refused(tmp_path, theirs, kept):
    folder = published(tmp_path / "published", VOCAB, theirs)
    for name in {"tokenizer.json", "merges.txt"} - {kept}:
        (folder / name).unlink()
    described = tmp_path / "tokenizer.json"
    described.write_bytes(files_of(OURS)["tokenizer.json"])
    with pytest.raises(TrainingError, match=r"another tokenizer than the tokens were made with .*--allow tokenizer"):
        tokenizer_notes(folder, described)
    for name, content in files_of(OURS).items():
        (folder / name).write_bytes(content)
    assert tokenizer_notes(folder, described) == []


def test_merges_are_read_in_both_forms_that_the_library_has_written(tmp_path):
    path = tmp_path / "tokenizer.json"
    vocab = {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("a", "b"), ("ab", "c")]))
    described = json.loads(tokenizer.to_str())
    for merges in (described["model"]["merges"], ["a b", "ab c"]):
        described["model"]["merges"] = merges
        path.write_text(json.dumps(described))
        assert merges_of(path) == ["a b", "ab c"]
    path.write_text("{}")
    with pytest.raises(InputError, match="not a tokenizer of merges"):
        merges_of(path)


def test_a_published_model_without_a_tokenizer_is_noted_and_another_one_stops_the_run(tmp_path):
    root = working_directory(tmp_path / "root")
    bare = published(tmp_path / "bare", VOCAB)
    result, _ = run(root, tmp_path / "model", settings_with(start_from=str(bare)))
    assert any("was not compared" in note for note in result.notes)
    broken = published(tmp_path / "broken", VOCAB)
    (broken / "tokenizer.json").write_text('{"another": "tokenizer"}')
    with pytest.raises(InputError, match="not a tokenizer of merges"):
        run(root, tmp_path / "other", settings_with(start_from=str(broken)))
    settings = settings_with(start_from=str(broken), steps=2)
    assert train(settings, root, tmp_path / "meant", lambda _: None, allow=("tokenizer",)).step == 2
