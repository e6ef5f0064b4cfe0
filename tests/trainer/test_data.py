"""Windows cover the tokens once, in an order that (seed, step) alone decides, and nothing wrong gets in.

Long because one family of shards is damaged in every way.
"""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pipeline import tokens
from pipeline.shards import storage
from pipeline.shards.outcomes import IntegrityError, TrainingError
from pipeline.text import bpe
from tests.trainer.token_shards import PROSE, shard_table, write_shard, write_tokenizer, write_tokens
from trainer.data import Windows, load_split, open_shard, open_shards, permuted, step_windows, token_bytes
from trainer.sample import load_tokenizer

EMPTY = []


def shards_of(folder, documents_of_shards, **kind):
    """TokenData of shards written to a folder; one list of documents a shard."""
    count = len(documents_of_shards)
    paths = [
        write_shard(folder / f"{number:05d}-of-{count:05d}.arrow", shard_table(documents, **kind))
        for number, documents in enumerate(documents_of_shards)
    ]
    return open_shards(paths, {path.name: "0" for path in paths})


def slow_windows(documents_of_shards, block):
    """The windows by the definition: block + 1 tokens of a shard at a time, each beginning where the last ended."""
    found = []
    for documents in documents_of_shards:
        stream = [token for document in documents for token in document]
        start = 0
        while start + block + 1 <= len(stream):
            found.append(stream[start : start + block + 1])
            start += block
    return found


documents_of_shards = st.lists(
    st.lists(st.lists(st.integers(0, 298), max_size=12).map(lambda ids: [*ids, 299]), max_size=6),
    min_size=1,
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(shards=documents_of_shards, block=st.integers(2, 9))
def test_windows_are_those_of_the_definition(tmp_path_factory, shards, block):
    windows = Windows(shards_of(tmp_path_factory.mktemp("shards"), shards), block, seed=1)
    wanted = slow_windows(shards, block)
    assert windows.count == len(wanted)
    assert [windows.tokens(number).tolist() for number in range(windows.count)] == wanted
    predictable = sum(max(0, sum(map(len, documents)) - 1) for documents in shards)
    assert windows.dropped == predictable - block * len(wanted)


def test_tokens_are_read_from_the_map_without_a_copy(tmp_path):
    data = shards_of(tmp_path, [[[1, 2, 299], [3, 299]]])
    values = data.shards[0].values
    assert values.dtype == np.uint16
    assert not values.flags.writeable
    address = data.shards[0].batch.column("tokens").values.buffers()[1].address
    assert values.__array_interface__["data"][0] == address


def test_offsets_of_the_lists_are_respected(tmp_path):
    whole = shard_table([[7, 8, 299], [1, 2, 3, 299], [4, 299], [9, 299]])
    shard = open_shard(write_shard(tmp_path / "part.arrow", whole.slice(1, 2)))
    assert shard.values.tolist() == [1, 2, 3, 299, 4, 299]
    assert shard.doc_ids(0, 3) == ["doc-1"]
    assert shard.doc_ids(3, 5) == ["doc-1", "doc-2"]
    assert shard.doc_ids(4, 5) == ["doc-2"]


def test_documents_of_a_window_are_named(tmp_path):
    windows = Windows(shards_of(tmp_path, [EMPTY, [[1, 299], [2, 3, 299], [4, 299], [5, 299]]]), 2, seed=1)
    assert [windows.doc_ids(number) for number in range(windows.count)] == [
        ["doc-0", "doc-1"],
        ["doc-1"],
        ["doc-1", "doc-2"],
        ["doc-2", "doc-3"],
    ]


def test_wide_tokens_are_read_too(tmp_path):
    data = shards_of(tmp_path, [[[70_000, 1, 99_999]]], dtype="uint32", vocab=100_000, end_of_text=99_999)
    inputs, targets = Windows(data, 2, 1).read([0])
    assert (inputs.tolist(), targets.tolist()) == ([[70_000, 1]], [[1, 99_999]])
    assert inputs.dtype == torch.int64


@given(count=st.integers(1, 500), key=st.text(max_size=5))
def test_a_permutation_meets_every_place_once(count, key):
    assert sorted(permuted(np.arange(count), count, key).tolist()) == list(range(count))


@given(count=st.integers(1, 2**62), place=st.integers(0, 2**62), key=st.text(max_size=5))
def test_a_permutation_of_any_size_stays_inside(count, place, key):
    found = permuted(np.array([place % count]), count, key)
    assert 0 <= int(found[0]) < count


def test_a_permutation_is_the_same_on_every_machine():
    assert permuted(np.arange(10), 10, "1:0").tolist() == [3, 1, 8, 7, 0, 4, 6, 5, 9, 2]


def test_permutations_look_random():
    neighbours = [int(np.sum(np.abs(np.diff(permuted(np.arange(1000), 1000, f"{seed}:0"))) == 1)) for seed in range(50)]
    assert 1.4 < np.mean(neighbours) < 2.6  # 2 are expected of a random order; 999 of none at all
    firsts = {int(permuted(np.array([0]), 1000, f"1:{epoch}")[0]) for epoch in range(50)}
    assert len(firsts) > 40


@settings(max_examples=30, deadline=None)
@given(
    tokens=st.integers(9, 120), batch=st.integers(1, 5), accumulate=st.sampled_from([1, 2, 4]), seed=st.integers(0, 9)
)
def test_every_window_is_visited_exactly_once_an_epoch(tmp_path_factory, tokens, batch, accumulate, seed):
    documents = [[*(number % 299 for number in range(tokens)), 299]]
    windows = Windows(shards_of(tmp_path_factory.mktemp("shards"), [documents, EMPTY]), 4, seed)
    stream = []
    step = 0
    while len(stream) < 3 * windows.count:
        for micro in range(accumulate):
            stream += step_windows(windows, step, micro, batch=batch, accumulate=accumulate)
        step += 1
    epochs = [stream[start : start + windows.count] for start in range(0, 3 * windows.count, windows.count)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(windows.count))] * 3
    if windows.count > 20:
        assert epochs[0] != epochs[1]


@settings(max_examples=30, deadline=None)
@given(step=st.integers(0, 50), world=st.sampled_from([1, 2, 4]), batch=st.integers(1, 4), seed=st.integers(0, 9))
def test_a_step_shows_the_same_windows_with_any_number_of_ranks(tmp_path_factory, step, world, batch, seed):
    windows = Windows(shards_of(tmp_path_factory.mktemp("shards"), [[[*range(200), 299]]]), 3, seed)
    alone = [one for micro in range(4) for one in step_windows(windows, step, micro, batch=batch, accumulate=4)]
    together = [
        [
            one
            for micro in range(4 // world)
            for one in step_windows(windows, step, micro, batch=batch, accumulate=4, rank=rank, world=world)
        ]
        for rank in range(world)
    ]
    assert [together[place % world][place // world] for place in range(len(alone))] == alone


def test_no_tokens_and_too_few_say_how_many_and_what_would_fit(tmp_path):
    with pytest.raises(TrainingError, match=r"0 tokens in 1 shards.*none would fit"):
        Windows(shards_of(tmp_path / "none", [EMPTY]), 8, 1).require()
    few = Windows(shards_of(tmp_path / "few", [[[1, 2, 3, 299]], [[4, 5, 299], [6, 7, 299]]]), 8, 1)
    with pytest.raises(TrainingError, match=r"10 tokens in 2 shards.*longest of 6.*8 \+ 1.*train.block = 5 would fit"):
        few.require()
    Windows(few.data, 5, 1).require()


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"tokenizer_sha256": "cd" * 32}, "tokenizer_sha256"),
        ({"vocab": 400}, "vocab_size"),
        ({"dtype": "uint32"}, "dtype"),
        ({"end_of_text": 0}, "end_of_text"),
    ],
)
def test_shards_of_different_kinds_are_refused_by_name(tmp_path, other, named):
    one = write_shard(tmp_path / "00000-of-00002.arrow", shard_table([[1, 299]]))
    two = write_shard(tmp_path / "00001-of-00002.arrow", shard_table([[1, 299]], **other))
    with pytest.raises(TrainingError, match=rf"00001-of-00002.arrow: {named} is"):
        open_shards([one, two], {})


def without_metadata(path):
    return write_shard(path, shard_table([[1, 299]]).replace_schema_metadata({}))


def with_a_null(path):
    return write_shard(path, shard_table([[1, 299], None]))


def with_two_batches(path):
    batch = shard_table([[1, 299]])
    with path.open("wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch)
    return path


def cut_short(path):
    write_shard(path, shard_table([[1, 299]]))
    path.write_bytes(path.read_bytes()[:-20])
    return path


def empty_file(path):
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (without_metadata, "no metadata webtext.format"),
        (with_a_null, "1 nulls"),
        (with_two_batches, "2 record batches"),
        (cut_short, "not a token shard"),
        (empty_file, "not a token shard"),
        (lambda path: write_shard(path, shard_table([[1]], version="2")), "format 2, this trainer reads 1"),
        (lambda path: write_shard(path, shard_table([[1]], vocab="many")), "not a token shard"),
        (lambda path: write_shard(path, shard_table([[1]], end_of_text=300)), "outside the vocabulary"),
        (lambda path: path.with_name("missing.arrow"), "not a token shard"),
    ],
)
def test_what_is_not_a_token_shard_is_refused_and_named(tmp_path, write, why):
    path = write(tmp_path / "shard.arrow")
    with pytest.raises(TrainingError, match=why) as caught:
        open_shard(path)
    assert str(path) in str(caught.value)


def test_a_token_outside_the_vocabulary_names_its_shard(tmp_path):
    windows = Windows(shards_of(tmp_path, [[[1, 2, 299]], [[1, 300, 299]]]), 2, 1)
    windows.read([0])
    with pytest.raises(TrainingError, match=r"00001-of-00002.arrow: token 300 in a vocabulary of 300"):
        windows.read([0, 1])


def test_a_split_is_loaded_and_checked_against_its_receipts(tmp_path):
    write_tokens(tmp_path, [[[1, 2, 299]], EMPTY], [EMPTY, [[3, 299]]])
    train, val = load_split(tmp_path, "train"), load_split(tmp_path, "val")
    assert [shard.values.tolist() for shard in train.shards] == [[1, 2, 299], []]
    assert [shard.values.tolist() for shard in val.shards] == [[], [3, 299]]
    assert (train.vocab, train.end_of_text, train.tokenizer_sha256) == (300, 299, "ab" * 32)


def test_shards_and_tokenizer_of_the_stages_are_read_as_they_were_meant(tmp_path):
    words = {word.encode(): 2 for word in bpe.pre_tokens(PROSE, 256)}
    merges, _ = bpe.learn(list(words), np.array(list(words.values()), np.int64), 300, 2)
    path = tmp_path / "tokenizer.json"
    path.write_bytes(bpe.files_of(merges)["tokenizer.json"])
    encoder = tokens.Encoder.of(path.read_bytes(), storage.sha256_of(path))
    texts = ["with the wörld", "", "is <|endoftext|> text"]
    documents = [np.append(encoder.encode(text), encoder.end_of_text).astype(np.uint16) for text in texts]
    split = tokens.Split(documents, ["one", "two", "three"], ["example.org"] * 3, [2015, None, 2016])
    with storage.atomic(tmp_path / "shard.arrow") as file:
        tokens.write(file, split, encoder)
    data = open_shards([tmp_path / "shard.arrow"], {})
    assert (data.vocab, data.end_of_text, data.tokenizer_sha256) == (300, 299, storage.sha256_of(path))
    assert data.shards[0].values.tolist() == np.concatenate(documents).tolist()
    assert data.shards[0].doc_ids(0, data.tokens) == ["one", "two", "three"]
    read = load_tokenizer(path, storage.sha256_of(path))
    assert b"".join(read.bytes_of[one] for one in data.shards[0].values) == "".join(texts).encode()
    assert [read.encode(text) for text in texts] == [encoder.encode(text).tolist() for text in texts]


@pytest.fixture(scope="module")
def two_shards(tmp_path_factory):
    """A working directory with two token shards, to be harmed and mended; the bytes of the second."""
    root = tmp_path_factory.mktemp("two")
    write_tokens(root, [[[1, 2, 299]], [[4, 5, 6, 299]]], [EMPTY, EMPTY])
    return root, (root / "tokens/train/00001-of-00002.arrow").read_bytes()


@pytest.mark.failure(
    "a bit of a token shard is flipped", "exit 5 before the first step", "run the command that the line gives"
)
@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 2**20), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_shard_is_found_before_training(two_shards, place, bit):
    root, whole = two_shards
    data = bytearray(whole)
    data[place % len(data)] ^= 1 << bit
    refused_by_name(root, bytes(data), "sha256")


@settings(max_examples=50, deadline=None)
@given(length=st.integers(0, 2**20))
def test_a_shard_cut_short_anywhere_is_found_before_training(two_shards, length):
    root, whole = two_shards
    refused_by_name(root, whole[: length % len(whole)], "bytes, its receipt says")


def refused_by_name(root, data, why):
    """Loading fails and names the second shard, while it holds `data`."""
    path = root / "tokens/train/00001-of-00002.arrow"
    whole = path.read_bytes()
    path.write_bytes(data)
    try:
        with pytest.raises(IntegrityError, match=why) as caught:
            load_split(root, "train")
    finally:
        path.write_bytes(whole)
    assert str(path) in str(caught.value)


@pytest.mark.failure(
    "token shards are swapped, missing or too many", "exit 5 or 8; the line names them", "build `tokens` again"
)
def test_swapped_missing_and_extra_shards_are_named(tmp_path):
    write_tokens(tmp_path, [[[1, 2, 299]], [[4, 5, 6, 299]]], [EMPTY, EMPTY])
    one, other = (tmp_path / "tokens/train" / f"0000{shard}-of-00002.arrow" for shard in (0, 1))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(IntegrityError, match=r"train/00000-of-00002\.arrow"):
        load_split(tmp_path, "train")
    one.write_bytes(first)
    other.unlink()
    with pytest.raises(IntegrityError, match=r"train/00001-of-00002\.arrow: missing"):
        load_split(tmp_path, "train")
    other.write_bytes(second)
    extra = one.with_name("00002-of-00003.arrow")
    extra.write_bytes(first)
    with pytest.raises(IntegrityError, match=r"train/00002-of-00003\.arrow: no shard of this artefact; take it away"):
        load_split(tmp_path, "train")
    extra.unlink()
    assert load_split(tmp_path, "train").tokens == 7


def test_tokens_that_are_not_built_name_the_command_that_builds_them(tmp_path):
    with pytest.raises(TrainingError, match="webtext build"):
        load_split(tmp_path, "train")


def test_changed_data_has_another_fingerprint(tmp_path):
    write_tokens(tmp_path / "one", [[[1, 2, 299]]], [EMPTY])
    write_tokens(tmp_path / "two", [[[1, 3, 299]]], [EMPTY])
    write_tokens(tmp_path / "same", [[[1, 2, 299]]], [EMPTY])
    one, two, same = (load_split(tmp_path / name, "train").fingerprint for name in ("one", "two", "same"))
    assert one != two
    assert one == same


def test_the_bytes_of_every_token_are_known(tmp_path):
    path = tmp_path / "tokenizer.json"
    write_tokenizer(path, 300)
    found = token_bytes(path)
    assert found[-1] == b""
    assert sorted(one for one in found if len(one) == 1) == [bytes([byte]) for byte in range(256)]
    text = "the wörld with\0 😀"
    ids = Tokenizer.from_file(str(path)).encode(text).ids
    assert len(ids) < len(text.encode())
    assert b"".join(found[one] for one in ids) == text.encode()


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(TrainingError, match=r"tokenizer\.json"):
        token_bytes(path)
    path.write_text('{"model": {"vocab": {"▁hello": 0}}}')
    with pytest.raises(TrainingError, match="not a byte-level tokenizer"):
        token_bytes(path)


def test_the_trainer_loads_neither_beam_nor_lxml():
    code = "import trainer.train, trainer.sample, sys; print([m for m in ('apache_beam', 'lxml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
