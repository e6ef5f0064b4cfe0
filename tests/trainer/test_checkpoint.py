"""A checkpoint comes back whole or not at all, and transformers reads the same model out of it."""

import json
import resource
from contextlib import contextmanager

import msgspec
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from pipeline.shards import storage
from pipeline.shards.outcomes import ConfigError, InputError, IntegrityError, StorageError, TrainingError
from tests.disk import Disk
from tests.trainer.token_shards import write_tokenizer
from trainer import checkpoint
from trainer.checkpoint import Record, latest, optimizer_state, read, steps, trained
from trainer.export import load_hf, write_hf
from trainer.model import GPT, Shape

torch.set_num_threads(1)
SHAPE = Shape(layers=2, heads=2, width=8, block=16, vocab=280)


def model_and_optimizer(seed=1, shape=SHAPE):
    """A model after one step, so that the optimizer has a state."""
    torch.manual_seed(seed)
    model = GPT(shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    tokens = torch.randint(shape.vocab, (2, 8))
    model.losses(tokens, tokens).mean().backward()
    optimizer.step()
    return model, optimizer


def record_of(step=1, shape=SHAPE):
    return Record(
        step=step,
        shape=shape,
        end_of_text=shape.vocab - 1,
        identity={"train.batch": 4, "train.learning_rate": 6e-4},
        threads=1,
        torch="2",
        device="cpu",
        loss=1.5,
    )


def save(folder, record, model, optimizer):
    return checkpoint.save(folder, record, model.state_dict(), optimizer_state(model, [optimizer]))


def saved(folder, step=1, seed=1):
    return save(folder, record_of(step), *model_and_optimizer(seed))


def test_a_checkpoint_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, tmp_path)
    path = saved(tmp_path, 7)
    sizes = {
        name: (path / name).stat().st_size for name in (checkpoint.RECORD, checkpoint.OPTIMIZER, checkpoint.WEIGHTS)
    }
    assert disk.told() == [
        *(f"sync step-00000007/{name} {size}" for name, size in sorted(sizes.items())),
        "sync step-00000007", "name step-00000007", "sync .",
    ]  # fmt: skip


def test_what_is_saved_comes_back_to_the_bit(tmp_path):
    model, optimizer = model_and_optimizer()
    path = save(tmp_path, record_of(7), model, optimizer)
    assert path.name == "step-00000007"
    assert sorted(file.name for file in path.iterdir()) == [
        "checkpoint.json",
        "optimizer.safetensors",
        "weights.safetensors",
    ]
    found = read(path, moments=True)
    assert msgspec.structs.replace(found.record, files={}) == record_of(7)
    other, other_optimizer = model_and_optimizer(seed=2)
    checkpoint.restore(found, other, [other_optimizer])
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
        for key, value in optimizer.state[one].items():
            assert torch.equal(value, other_optimizer.state[two][key])


def test_only_the_two_newest_stay(tmp_path):
    for step in (5, 10, 15, 20):
        saved(tmp_path, step)
    assert [path.name for path in steps(tmp_path)] == ["step-00000015", "step-00000020"]
    assert len(list(tmp_path.iterdir())) == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([checkpoint.RECORD, checkpoint.WEIGHTS, checkpoint.OPTIMIZER]),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_any_flipped_bit_is_found(tmp_path, name, place, bit):
    path = tmp_path / checkpoint.name_of(1)
    if not path.exists():
        saved(tmp_path)
    whole = (path / name).read_bytes()
    data = bytearray(whole)
    data[int(place * len(data))] ^= 1 << bit
    (path / name).write_bytes(data)
    try:
        with pytest.raises(IntegrityError, match=name):
            read(path, moments=True)
    finally:
        (path / name).write_bytes(whole)
    assert read(path, moments=True).record.step == 1


@pytest.mark.failure("the last checkpoint is damaged", "the one before is used, and that is said", "nothing")
@pytest.mark.parametrize("name", [checkpoint.RECORD, checkpoint.WEIGHTS, checkpoint.OPTIMIZER])
@pytest.mark.parametrize("harm", ["missing", "cut", "empty", "swapped"])
def test_a_damaged_last_one_falls_back_to_the_one_before_and_says_so(tmp_path, name, harm):
    saved(tmp_path, 1, seed=1)
    path = saved(tmp_path, 2, seed=2) / name
    if harm == "missing":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif harm == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes((tmp_path / "step-00000001" / name).read_bytes())
    found, notes, damaged = latest(tmp_path, moments=True)
    assert found.record.step == 1
    assert [name in note and "went back to step-00000001" in note for note in notes] == [True]
    assert damaged == [tmp_path / "step-00000002"]


def test_no_checkpoint_is_none_and_only_damaged_ones_are_an_error(tmp_path):
    assert latest(tmp_path, moments=True) == (None, [], [])
    with pytest.raises(TrainingError, match="webtext train"):
        trained(tmp_path)
    (saved(tmp_path) / checkpoint.RECORD).write_bytes(b"{}")
    with pytest.raises(TrainingError, match="--fresh"):
        latest(tmp_path, moments=True)


def test_a_record_of_another_format_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path, msgspec.structs.replace(record_of(), format=2), *model_and_optimizer())
    with pytest.raises(IntegrityError, match="format 2, this trainer reads 1"):
        read(path, moments=False)


def test_a_storage_that_refuses_leaves_the_older_ones(tmp_path, monkeypatch):
    saved(tmp_path, 1)

    def refusing(_path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(checkpoint.storage, "sync_folder", refusing)
    with pytest.raises(StorageError, match="step-00000002: cannot be written: Input/output error"):
        saved(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_what_killed_runs_left_is_swept_away_and_nothing_else(tmp_path):
    saved(tmp_path)
    (tmp_path / ".step-00000002.77.part").mkdir()
    (tmp_path / ".step-00000002.77.part" / "weights.safetensors").write_bytes(b"half")
    (tmp_path / ".metrics.jsonl.77.part").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    checkpoint.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "step-00000001"]


def to_export(tmp_path):
    """A checkpoint with its tokenizer, and an empty folder `hf`: our model, the tokenizer's path."""
    model, optimizer = model_and_optimizer()
    with torch.no_grad():
        for one in model.parameters():
            one.add_(0.3 * torch.randn_like(one))
    path = tmp_path / "tokenizer" / "tokenizer.json"
    sha256 = write_tokenizer(path, SHAPE.vocab)
    record = record_of()
    record = msgspec.structs.replace(record, identity=record.identity | {"tokenizer": sha256[:16]})
    save(tmp_path / "model", record, model, optimizer)
    (tmp_path / "hf").mkdir()
    return model.eval(), path


def exported(tmp_path):
    """The same exported; our model, the folder."""
    model, path = to_export(tmp_path)
    write_hf(trained(tmp_path / "model")[0], path, tmp_path / "hf")
    return model, tmp_path / "hf"


def test_transformers_gives_the_same_logits_on_the_exported_model(tmp_path):
    model, folder = exported(tmp_path)
    twin, loading = GPT2LMHeadModel.from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert not loading["mismatched_keys"]
    tokens = torch.randint(SHAPE.vocab, (2, 16))
    with torch.no_grad():
        ours, theirs = model(tokens)[..., :280], twin.eval()(tokens).logits
    assert theirs.shape == (2, 16, 280)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    assert (twin.config.eos_token_id, twin.generation_config.eos_token_id) == (279, 279)


def test_transformers_gives_the_same_ids_with_the_exported_tokenizer(tmp_path):
    _, folder = exported(tmp_path)
    theirs = AutoTokenizer.from_pretrained(folder)
    ours = Tokenizer.from_file(str(tmp_path / "tokenizer" / "tokenizer.json"))
    text = "the with  statement\n– that is"
    assert theirs(text)["input_ids"] == ours.encode(text).ids
    assert theirs.decode(theirs(text)["input_ids"]) == text
    assert theirs.eos_token == "<|endoftext|>"


def test_the_exported_model_loads_back_to_the_bit(tmp_path):
    model, folder = exported(tmp_path)
    again = load_hf(folder)
    assert again.shape == SHAPE
    found = again.state_dict()
    assert found["wte.weight"][280:].abs().max() == 0
    for name, weight in model.state_dict().items():
        rows = 280 if name == "wte.weight" else len(weight)
        assert torch.equal(weight[:rows], found[name][:rows])


def test_published_weights_without_prefix_and_with_mask_buffers_load(tmp_path):
    config = GPT2Config(n_layer=2, n_head=2, n_embd=8, n_positions=16, vocab_size=70)
    torch.manual_seed(4)
    twin = GPT2LMHeadModel(config).eval()
    config.save_pretrained(tmp_path)
    weights = {
        name.removeprefix("transformer."): tensor.clone()
        for name, tensor in twin.state_dict().items()
        if name != "lm_head.weight"
    }
    weights |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 16, 16) for layer in range(2)}
    save_file(weights, tmp_path / "model.safetensors")
    tokens = torch.randint(70, (2, 16))
    with torch.no_grad():
        torch.testing.assert_close(load_hf(tmp_path)(tokens)[..., :70], twin(tokens).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"activation_function": "relu"}, "activation_function is 'relu'; GPT-2 has 'gelu_new'"),
        ({"n_inner": 99}, "n_inner is 99"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"n_layer": 1_000_000_000}, "28 weights do not make 1000000000 layers"),
        ({"n_head": 3}, "layers of 3 heads"),
        ({"n_head": 0}, "layers of 0 heads"),
        ({"vocab_size": 281}, "no embedding wte of 281 x 8"),
        ({"n_positions": 17}, r"weight wpe.weight: shape \(16, 8\), the model has \(17, 8\)"),
        ({"n_embd": "wide"}, "not a GPT-2 of transformers"),
    ],
)
def test_a_config_that_is_not_gpt2_is_refused_by_name(tmp_path, changes, named):
    _, folder = exported(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(InputError, match=named):
        load_hf(folder)


def test_a_broken_weights_file_is_refused(tmp_path):
    _, folder = exported(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["transformer.stranger"] = weights.pop("transformer.ln_f.bias").clone()
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"weight ln_f\.bias: shape None"):
        load_hf(folder)
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="not a GPT-2 of transformers"):
        load_hf(folder)


def test_an_export_needs_the_tokenizer_of_the_model(tmp_path):
    exported(tmp_path)
    found = trained(tmp_path / "model")[0]
    with pytest.raises(InputError, match=r"no tokenizer with the end-of-text token 279"):
        write_hf(found, tmp_path / "nowhere.json", tmp_path)
    other = tmp_path / "other.json"
    write_tokenizer(other, SHAPE.vocab, ["another text than that which the first one was learnt from " * 9])
    with pytest.raises(InputError, match=r"other\.json: sha256 .*…, the model was trained with "):
        write_hf(found, other, tmp_path)


def test_a_model_that_transformers_has_no_form_for_is_not_exported(tmp_path):
    shape = Shape(layers=1, heads=2, width=8, block=16, vocab=280, rope=True)
    save(tmp_path / "model", record_of(shape=shape), *model_and_optimizer(shape=shape))
    with pytest.raises(ConfigError, match="has RoPE or RMSNorm"):
        write_hf(trained(tmp_path / "model")[0], tmp_path / "tokenizer.json", tmp_path)


def test_the_model_of_a_checkpoint_drops_nothing_out(tmp_path):
    dropping = Shape(layers=2, heads=2, width=8, block=16, vocab=280, dropout=0.5)
    path = save(tmp_path, record_of(shape=dropping), *model_and_optimizer(shape=dropping))
    model, tokens = read(path, moments=False).model(), torch.arange(16)[None]
    assert torch.equal(model(tokens), model(tokens))


@contextmanager
def files_of_at_most(size):
    """Whatever is written beyond is refused by the system, as on a full disk; only the number of the error differs."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.failure("the disk fills up while a model is exported", "exit 7; the line names the file", "free some")
def test_weights_that_the_system_does_not_take_are_told_by_their_file_and_its_reason(tmp_path):
    model, optimizer = model_and_optimizer()
    with files_of_at_most(9_000), pytest.raises(StorageError, match="step-00000001: cannot be written: File too large"):
        save(tmp_path / "other", record_of(), model, optimizer)
    assert list((tmp_path / "other").iterdir()) == []
    _, tokenizer = to_export(tmp_path)
    found, folder = trained(tmp_path / "model")[0], tmp_path / "hf"
    with files_of_at_most(9_000), pytest.raises(OSError, match="File too large") as refused:
        write_hf(found, tokenizer, folder)
    assert refused.value.filename == folder / "model.safetensors"
    full = SafetensorError('I/O error: No space left on device (os error 28) at path "/x/.tmp"')
    error = checkpoint.of_the_system(full, folder)
    assert str(storage.refused(error.filename, error)).startswith(f"{folder}: no space left; free some")
