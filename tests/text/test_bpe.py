"""Byte-level BPE: pieces, merges, files."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import regex
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken.load import load_tiktoken_bpe
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from pipeline.shards.outcomes import IntegrityError
from pipeline.text import bpe
from trainer.model import Shape

DATA = Path(__file__).resolve().parents[2] / "../shared/data"


def learn(counts, vocab_size, min_count=1):
    words = list(counts)
    return bpe.learn(words, np.array([counts[word] for word in words], np.int64), vocab_size, min_count)


def learn_slowly(counts, vocab_size, min_count):
    """The definition: count all pairs, merge the most frequent everywhere from left to right, count again."""
    tokens = [bytes([byte]) for byte in bpe.ALPHABET]
    ids = {token: place for place, token in enumerate(tokens)}
    words = {word: [ids[bytes([byte])] for byte in word] for word in counts}
    merges = []
    while len(tokens) < vocab_size - 1:
        pairs = Counter()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += counts[word]
        if not pairs or max(pairs.values()) < min_count:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append((tokens[best[0]], tokens[best[1]]))
        for symbols in words.values():
            place = 0
            while place < len(symbols) - 1:
                if (symbols[place], symbols[place + 1]) == best:
                    symbols[place : place + 2] = [len(tokens)]
                place += 1
        tokens.append(tokens[best[0]] + tokens[best[1]])
    return merges, [len(words[word]) for word in counts]


def prose(paragraphs):
    """English-like text, the same every time: words of a Zipf distribution over syllables."""
    draw = np.random.default_rng(7)
    syllables = ["th", "e", "ing", "an", "re", "st", "o", "un", "al", "ly", "con", "a", "ment", "qu", "is", "ver"]
    words = ["".join(draw.choice(syllables, draw.integers(1, 5))) for _ in range(3_000)]
    chance = 1 / np.arange(1, len(words) + 1)
    return [" ".join(draw.choice(words, 200, p=chance / chance.sum())) + ". It's 42!\n" for _ in range(paragraphs)]


def trained_by_tokenizers(texts, vocab_size, min_count):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1, min_frequency=min_count, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer, [tuple(map(bpe.unspelled, pair)) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def word_counts(texts):
    counts = Counter(word.encode() for text in texts for word in bpe.pre_tokens(text, 256))
    return dict(sorted(counts.items()))


def test_the_worked_example_of_the_paper():
    # Sennrich et al. 2016, algorithm 1, its vocabulary without the end-of-word sign: "es" and "est" come first
    counts = {b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}
    merges, pieces = learn(counts, 256 + 4 + 1)
    assert merges == [(b"e", b"s"), (b"es", b"t"), (b"l", b"o"), (b"lo", b"w")]
    assert pieces.tolist() == [1, 3, 4, 4]


@given(
    st.dictionaries(st.text("ab\0", min_size=1, max_size=9).map(str.encode), st.integers(1, 5), max_size=8),
    st.integers(257, 300),
    st.integers(1, 4),
)
@settings(max_examples=300, deadline=None)
def test_merges_are_those_of_the_definition(counts, vocab_size, min_count):
    merges, pieces = learn(counts, vocab_size, min_count)
    assert (merges, pieces.tolist()) == learn_slowly(counts, vocab_size, min_count)


@given(st.dictionaries(st.binary(min_size=1, max_size=6), st.integers(1, 9), max_size=12), st.randoms())
@settings(deadline=None)
def test_the_order_of_the_words_does_not_matter(counts, random):
    shuffled = list(counts.items())
    random.shuffle(shuffled)
    assert learn(counts, 280)[0] == learn(dict(shuffled), 280)[0]


def test_counts_beyond_32_bits_are_exact():
    huge = 2**60
    assert learn({b"ab": huge, b"cd": huge + 1}, 258)[0] == [(b"c", b"d")]


def test_a_merge_must_occur_often_enough():
    assert learn({b"ab": 2, b"cd": 3}, 300, min_count=3)[0] == [(b"c", b"d")]


def test_merges_and_ties_are_those_of_tokenizers_on_the_full_text():
    texts = prose(120)
    merges, pieces = learn(word_counts(texts), 1_500, 2)
    oracle, expected = trained_by_tokenizers(texts, 1_500, 2)
    assert merges == expected
    assert int(pieces @ np.array(list(word_counts(texts).values()))) == sum(
        len(oracle.encode(text).ids) for text in texts
    )


def test_held_out_text_of_people_takes_the_tokens_that_tokenizers_vocabulary_takes():
    path = DATA / "zeroshot"
    if not path.is_dir():
        pytest.skip(f"{path} is absent")
    texts = [file.read_text(errors="replace") for file in sorted(path.rglob("*")) if file.is_file()]
    texts = [line for text in texts for line in text.splitlines(keepends=True)]
    train, held_out = texts[::2], texts[1::2]
    merges, _ = learn(word_counts(train), 2_048, 2)
    oracle, expected = trained_by_tokenizers(train, 2_048, 2)
    assert len(set(merges) & set(expected)) >= 0.99 * len(expected)
    ours = Tokenizer.from_str(bpe.files_of(merges)["tokenizer.json"].decode())
    tokens = [sum(len(one.encode(text).ids) for text in held_out) for one in (ours, oracle)]
    assert tokens[0] == pytest.approx(tokens[1], rel=0.001)


@given(st.text())
def test_pre_tokens_are_the_text_and_those_of_tokenizers(text):
    words = bpe.pre_tokens(text, 256)
    assert "".join(words) == text
    oracle = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    assert words == [text[start:stop] for _, (start, stop) in oracle]


def test_pre_tokens_are_those_of_tokenizers_for_all_of_unicode():
    """`regex` knows letters of later years than the encoders do: what is counted must be what is encoded."""
    every = regex.findall(r"[^\p{Cn}\p{Co}]", "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)])))
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for start in range(0, len(every), 2**15):
        text = "".join(f"{one}a{one} " for one in every[start : start + 2**15])
        words = bpe.pre_tokens(text, 2**20)
        assert words == [text[begin:end] for _, (begin, end) in split.pre_tokenize_str(text)]


def test_pre_tokens_keep_the_space_before_and_the_categories_apart():
    assert bpe.pre_tokens("I've 2 dogs,  really\n\n", 256) == ["I", "'ve", " 2", " dogs", ",", " ", " really", "\n\n"]


def test_a_long_pre_token_is_cut_and_all_of_it_counts():
    assert bpe.pre_tokens("ab " + "x" * 10, 4) == ["ab", " xxx", "xxxx", "xxx"]


def test_gpt2s_own_merges_give_gpt2s_own_vocabulary():
    folder = DATA / "gpt2"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    lines = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")
    merges = bpe.parse_merges(lines)
    assert bpe.vocabulary(merges) == json.loads((folder / "encoder.json").read_text())
    assert bpe.files_of(merges)["merges.txt"].decode().split("\n") == lines


def test_the_files_say_the_same_in_three_forms():
    files = bpe.files_of([(b" ", b"t"), (b" t", b"h")])
    vocab = json.loads(files["vocab.json"])
    assert (vocab["!"], vocab["Ġ"], vocab["Ġt"], vocab["Ġth"], vocab["<|endoftext|>"]) == (0, 220, 256, 257, 258)
    assert files["merges.txt"] == "#version: 0.2\nĠ t\nĠt h\n".encode()
    assert json.loads(files["tokenizer.json"])["model"]["vocab"] == vocab
    assert bpe.parse_merges(files["merges.txt"].decode().splitlines()) == [(b" ", b"t"), (b" t", b"h")]


def written(folder, merges):
    for name, data in bpe.files_of(merges).items():
        (folder / name).write_bytes(data)
    return folder


def test_transformers_loads_the_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    fast = transformers.AutoTokenizer.from_pretrained(written(tmp_path, [(b" ", b"t")]), local_files_only=True)
    assert fast.is_fast
    assert (len(fast), fast.eos_token, fast.eos_token_id) == (258, "<|endoftext|>", 257)
    assert fast("a t<|endoftext|>")["input_ids"] == [64, 256, 257]
    assert fast.decode([64, 256, 83]) == "a tt"


def test_transformers_gpt2_tokenizer_reads_vocabulary_and_merges(tmp_path):
    transformers = pytest.importorskip("transformers")
    written(tmp_path, [(b" ", b"t"), (b" t", b"h")])
    (tmp_path / "tokenizer.json").unlink()
    read = transformers.GPT2TokenizerFast.from_pretrained(tmp_path, local_files_only=True)
    assert read("a the<|endoftext|>")["input_ids"] == [64, 257, 68, 258]


def test_tiktoken_reads_the_ranks(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")  # its reader would keep a copy elsewhere
    merges = [(b" ", b"t"), (b" t", b"h")]
    ranks = load_tiktoken_bpe(str(written(tmp_path, merges) / "tokenizer.tiktoken"))
    assert ranks == {token: place for place, token in enumerate(bpe.tokens_of(merges))}
    read = tiktoken.Encoding(
        "ours", pat_str=bpe.PATTERN, mergeable_ranks=ranks, special_tokens={bpe.END_OF_TEXT: len(ranks)}
    )
    assert read.encode("a the<|endoftext|>", allowed_special="all") == [64, 257, 68, 258]


def test_ids_up_to_the_padded_size_have_names():
    names = bpe.reserved(50_257)
    assert list(names.items())[:5] == [
        ("[MASK]", 50_257), ("[CLS]", 50_258), ("[SEP]", 50_259), ("[PAD]", 50_260), ("<|reserved_0|>", 50_261),
    ]  # fmt: skip
    assert list(names.items())[-1] == ("<|reserved_42|>", 50_303)
    assert list(names.values()) == list(range(50_257, 50_304))
    assert bpe.reserved(61) == {"[MASK]": 61, "[CLS]": 62, "[SEP]": 63}
    assert bpe.reserved(64) == {}


@given(st.integers(257, 1_000_000))
def test_reserved_names_fill_the_rows_of_the_model_and_no_more(vocab_size):
    names = bpe.reserved(vocab_size)
    padded = Shape(layers=1, heads=1, width=1, block=1, vocab=vocab_size).padded_vocab
    assert list(names.values()) == list(range(vocab_size, padded))
    assert (padded <= 2**16) == (vocab_size <= 2**16)  # so the type of stored ids is wide enough for them


def test_a_reserved_name_is_text_to_every_tool_until_it_is_added(tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = written(tmp_path, [(b" ", b"t")])
    said = "[MASK] <|reserved_0|>"
    fast = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert max(fast(said)["input_ids"]) < 256
    names = json.loads((folder / "reserved.json").read_text())
    fast.add_special_tokens({"additional_special_tokens": list(names)})
    assert {name: fast.convert_tokens_to_ids(name) for name in names} == names
    assert fast(said)["input_ids"] == [names["[MASK]"], 220, names["<|reserved_0|>"]]


def test_no_token_crosses_categories_but_for_a_space_before():
    merges, _ = learn(word_counts([*prose(60), "naïve café 世界 ½²³ don't we'll x1y2 (ok)...\n\n\t  end"]), 3_000)
    kinds = {"L": r"\p{L}+", "N": r"\p{N}+", "other": r"[^\s\p{L}\p{N}]+", "contraction": r"'(?:[sdmt]|ll?|ve?|re?)"}
    one_kind = regex.compile(rf" ?(?:{'|'.join(kinds.values())})|\s+")
    whole = [token.decode() for token in bpe.tokens_of(merges) if token.isascii() or is_utf8(token)]
    assert len(whole) > 1_000
    assert [token for token in whole if not one_kind.fullmatch(token)] == []


def is_utf8(token):
    try:
        return bool(token.decode())
    except UnicodeDecodeError:
        return False


def test_a_merges_file_of_another_kind_is_refused():
    with pytest.raises(IntegrityError, match="two tokens a line"):
        bpe.parse_merges(["a b c"])
    with pytest.raises(IntegrityError, match="byte alphabet"):
        bpe.parse_merges(["a 世"])


@given(st.binary())
def test_spelling_is_reversible(token):
    assert bpe.unspelled(bpe.spelled(token)) == token


def test_the_split_is_a_function_of_the_id_alone_and_takes_its_share():
    held_out = [number for number in range(10_000) if bpe.is_val(f"document {number}", 0.05)]
    assert 400 < len(held_out) < 600
    assert set(held_out) >= {number for number in range(10_000) if bpe.is_val(f"document {number}", 0.01)}
    assert not bpe.is_val("any", 0.0)
    assert bpe.is_val("any", 1.0)
