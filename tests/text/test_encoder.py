"""Three engines, one answer: what encodes by batches gives the ids of `tokenizers`, whatever the text."""

import json
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards.outcomes import IntegrityError
from pipeline.text import bpe, encoder

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "../shared/data"
AWKWARD = [
    "", " ", "\n", "  \n\n ", "it's he'll THEY'LL o'clock", "<|endoftext|>", "a<|endoftext|>b [MASK]", "1٣² Ⅷ 3.14",
    "\u2028a\u2029b\u0085c\ufeff", "e\u0301 कि ไทย שָׁ", "\U0001f30d\U0001fae8\u200d", "\x00\x07\x1b[0m",
    "x" * 5_000, " " * 5_000,
]  # fmt: skip
CLASSES = (b"x", b"1", b"!")  # a letter, a number and neither: what a pre-token goes on with


@cache
def of_classes():
    """An encoder whose ids show a character's class: its last byte is merged with what follows in its pre-token."""
    merges = [(bytes([byte]), after) for after in CLASSES for byte in range(0x80, 0xC0)]
    return encoder.Encoder.of(bpe.files_of(merges)["tokenizer.json"], "f00d")


@cache
def learnt():
    words = {
        word.encode(): 3 for word in bpe.pre_tokens("the cat that sat there said: théâtre, 世界 12345\n\n the end", 256)
    }
    merges, _ = bpe.learn(list(words), np.array(list(words.values()), np.int64), 320, 2)
    return encoder.Encoder.of(bpe.files_of(merges)["tokenizer.json"], "f00d")


def agree(made, texts):
    assert made.bulk is not None, "the tests are run with the extra `fast`"
    for text, ids in zip(texts, made.encode_batch(texts), strict=True):
        assert ids.tolist() == made.encode_slowly(text).tolist(), ascii(text)
        assert ids.dtype == np.uint32


@pytest.mark.parametrize("made", [learnt, of_classes])
def test_awkward_texts_have_the_ids_of_tokenizers(made):
    agree(made(), AWKWARD)


@given(st.lists(st.text(), max_size=4))
@settings(deadline=None)
def test_any_batch_has_the_ids_of_tokenizers(texts):
    agree(learnt(), texts)


def shown(number):
    return f"{chr(number)}x {chr(number)}1 {chr(number)}!"


def test_letters_that_one_engine_knows_and_another_does_not_are_encoded_alike():
    every = "".join(map(chr, [*range(0x80, 0xD800), *range(0xE000, 0x110000)]))
    assigned = regex.findall(r"\P{Cn}", every)
    newer = [letter for letter in assigned if bpe.has_newer_letters(letter)]
    drawn = random.Random(5)
    agree(of_classes(), [shown(ord(one)) for one in [*drawn.sample(newer, 400), *drawn.sample(assigned, 4_000)]])


@pytest.mark.long
def test_every_character_is_of_the_same_class_for_all_engines():
    numbers = [number for number in range(0x80, 0x110000) if not 0xD800 <= number < 0xE000]
    for start in range(0, len(numbers), 10_000):
        agree(of_classes(), [shown(number) for number in numbers[start : start + 10_000]])


def test_nasty_strings_have_the_ids_of_tokenizers():
    path = DATA / "torture/blns.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    agree(learnt(), json.loads(path.read_text(encoding="utf-8")))


def test_without_gigatoken_the_ids_are_the_same(monkeypatch):
    with_it = learnt().encode_batch(AWKWARD)
    monkeypatch.setattr(encoder, "find_spec", lambda name: None)
    files = bpe.files_of(
        [tuple(map(bpe.unspelled, pair)) for pair in json.loads(learnt().bulk.described)["model"]["merges"]]
    )
    without = encoder.Encoder.of(files["tokenizer.json"], "f00d")
    assert without.bulk is None
    for one, other in zip(with_it, without.encode_batch(AWKWARD), strict=True):
        assert np.array_equal(one, other)


def test_the_engine_is_made_anew_before_it_remembers_too_much(monkeypatch):
    monkeypatch.setattr(encoder, "FORGET_CHARACTERS", 20)
    bulk = encoder.Bulk(learnt().bulk.described)
    engines = []
    for text in ("the cat that sat there said", "the end", "the cat", "the end"):
        assert bulk.encode([text])[0].tolist() == learnt().encode_slowly(text).tolist()
        engines.append(bulk.engine)
    first, second, third, fourth = engines
    assert second is not first  # 27 characters were seen
    assert second is third is fourth
    assert bulk.seen == 21


def test_an_engine_that_says_otherwise_is_found_by_the_check():
    made = learnt()
    with pytest.raises(
        IntegrityError, match=r"document 7: gigatoken or tiktoken and tokenizers .* encode it differently"
    ):
        made.check("7", "the cat", np.array([1, 2], np.uint32))


def test_a_text_is_not_searched_for_control_tokens():
    (ids,) = learnt().encode_batch(["<|endoftext|>"])
    assert learnt().end_of_text not in ids.tolist()
    assert learnt().decode(ids) == b"<|endoftext|>"


def test_the_command_does_not_load_it():
    code = "import sys, pipeline.tokens; sys.exit('gigatoken' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
