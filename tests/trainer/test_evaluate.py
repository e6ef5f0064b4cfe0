"""Validation measures what its definition says, with the tokenizer of the tokens and no other."""

import math

import pytest
import torch

from pipeline.shards.outcomes import TrainingError
from tests.trainer.runs import VOCAB, run, settings_with, working_directory
from tests.trainer.token_shards import counting_documents, write_tokenizer, write_tokens
from trainer.data import Windows, load_split
from trainer.evaluate import lengths_of, measure
from trainer.model import GPT, shape_of

torch.set_num_threads(1)


def test_bits_per_byte_are_those_of_the_definition(tmp_path):
    root = working_directory(tmp_path)
    windows = Windows(load_split(root, "val"), 16, 0)
    torch.manual_seed(3)
    model = GPT(shape_of("nano", 16, VOCAB, 0.0))
    lengths = torch.arange(VOCAB) % 5 + 1
    lengths[VOCAB - 1] = 0
    cpu = torch.device("cpu")
    found = measure(model.losses, windows, lengths, count=5, batch=2, device=cpu)
    nats, bits, count, size = 0.0, 0.0, 0, 0
    for window in windows.visited(torch.arange(5).numpy()):
        tokens = [int(one) for one in windows.tokens(window)]
        with torch.no_grad():
            logs = model(torch.tensor([tokens[:-1]]))[0, :, :VOCAB].log_softmax(-1)
        for place, target in enumerate(tokens[1:]):
            nats, count = nats - logs[place, target].item(), count + 1
            if target != VOCAB - 1:
                bits, size = bits - logs[place, target].item() / math.log(2), size + int(lengths[target])
    assert found.loss == pytest.approx(nats / count, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(bits / size, rel=1e-5)
    assert measure(model.losses, windows, None, count=5, batch=5, device=cpu).bits_per_byte is None


def test_bits_per_byte_use_the_tokenizer_of_the_tokens_and_no_other(tmp_path):
    path = tmp_path / "tokenizer" / "tokenizer.json"
    vocab = 280
    found = write_tokenizer(path, vocab)
    documents = counting_documents(30, 20, vocab, 1)
    write_tokens(tmp_path, [documents], [documents[:5]], vocab=vocab, end_of_text=vocab - 1, tokenizer_sha256=found)
    result, _ = run(tmp_path, tmp_path / "model", settings_with(steps=1))
    assert result.bits_per_byte > 0
    path.write_text(path.read_text() + " ")
    with pytest.raises(TrainingError, match=r"tokenizer.json: sha256 .* the tokens were made with"):
        lengths_of(path, load_split(tmp_path, "train"))


def test_without_validation_text_it_trains_and_says_so(tmp_path):
    root = working_directory(tmp_path, val=False)
    result, seen = run(root, tmp_path / "model")
    assert result.val_loss is None
    assert result.step == 6
    assert "no validation loss" in seen[0].notes[0]
