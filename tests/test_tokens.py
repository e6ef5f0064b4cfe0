"""Token shards: ids that every tool would give, in files that map."""

import json
import re
from functools import cache
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import config, tokens
from pipeline.shards import schemas, storage
from pipeline.shards.outcomes import IntegrityError
from pipeline.shards.receipts import Artefact, RowCounts, Task
from pipeline.shards.runner import PlainRun
from pipeline.text import bpe

DATA = Path(__file__).resolve().parents[1] / "../shared/data"
SAID = "the cat that sat there said: 'it's théâtre, 世界 and 12345 \U0001f30d!'\n\n  the end"


@cache
def tokenizer_json(vocab_size=320):
    words = {word.encode(): 3 for word in bpe.pre_tokens(SAID, 256)}
    merges, _ = bpe.learn(list(words), np.array(list(words.values()), np.int64), vocab_size, 2)
    return bpe.files_of(merges)["tokenizer.json"]


@cache
def merges_of(tokenizer_json):
    pairs = json.loads(tokenizer_json)["model"]["merges"]
    return tuple(tuple(map(bpe.unspelled, pair)) for pair in pairs)


@cache
def small():
    return tokens.Encoder.of(tokenizer_json(), "f00d")


@cache
def gpt2():
    folder = DATA / "gpt2"
    if not folder.is_dir():
        return None
    merges = bpe.parse_merges((folder / "vocab.bpe").read_text(encoding="utf-8").splitlines())
    return tokens.Encoder.of(bpe.files_of(merges)["tokenizer.json"], "f00d")


def need_gpt2():
    return gpt2() or pytest.skip(f"{DATA / 'gpt2'} is absent")


def batch(*rows):
    rows = [{"doc_id": f"doc {n}", "host": "a.example", "created": 0, **row} for n, row in enumerate(rows)]
    return pa.RecordBatch.from_pylist(rows, schemas.CORPUS)


def written(path, split, encoder):
    with storage.atomic(path) as file:
        tokens.write(file, split, encoder)
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        return [reader.get_batch(one) for one in range(reader.num_record_batches)]


@given(st.text())
@settings(deadline=None)
def test_every_text_comes_back_and_tokenizers_agrees(text):
    ids = small().encode(text)
    assert small().decode(ids) == text.encode()
    assert ids.tolist() == small().encode_slowly(text).tolist()


@given(st.binary())
def test_every_byte_string_has_ids_that_decode_to_it(data):
    ids = [small().fast.encode_single_token(bytes([byte])) for byte in data]
    assert max(ids, default=0) < 256
    assert small().decode(ids) == data


@given(st.lists(st.integers(0, 2**16)))
def test_any_ids_decode_to_the_bytes_of_their_tokens(numbers):
    tokens_of = [*bpe.tokens_of(merges_of(tokenizer_json())), b"<|endoftext|>"]
    ids = [number % len(tokens_of) for number in numbers]
    assert small().decode(ids) == b"".join(tokens_of[one] for one in ids)


def test_all_of_unicode_comes_back_and_tokenizers_agrees():
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    for start in range(0, len(points), 2**16):
        text = "".join(points[start : start + 2**16])
        ids = small().encode(text)
        assert small().decode(ids) == text.encode()
        assert np.array_equal(ids, small().encode_slowly(text))


@given(st.lists(st.sampled_from(["<|endoftext|>", "<|endof", "text|>", "[MASK]", " ", "the", "<", "|>"])))
@settings(deadline=None)
def test_text_that_spells_end_of_text_stays_text(pieces):
    text = "".join(pieces)
    ids = small().encode(text)
    assert small().end_of_text not in ids
    assert small().decode(ids) == text.encode()
    assert small().encode_slowly(text).tolist() == ids.tolist()


def test_only_the_end_of_a_document_is_the_control_token():
    said = "<|endoftext|> in a text, and at its end: <|endoftext|>"
    (ids,) = tokens.encode([batch({"text": said})], small(), 0.0)["train"].ids
    assert np.flatnonzero(ids == small().end_of_text).tolist() == [len(ids) - 1]
    assert small().decode(ids[:-1]) == said.encode()


def test_a_run_of_spaces_too_long_for_the_fast_engine_is_encoded_all_the_same():
    text = " " * 1_100_000 + "a"
    with pytest.raises(ValueError, match="stack"):
        small().fast.encode_to_numpy(text, disallowed_special=())
    ids = small().encode(text)
    assert small().decode(ids) == text.encode()


def test_gpt2s_merges_give_the_published_ids():
    encoder = need_gpt2()
    plans = (DATA / "gpt2/TestPlans.txt").read_text(encoding="utf-8")
    cases = re.findall(r"EncodingName: r50k_base\nSample: (.*?)\nEncoded: (\[.*?\])\n", plans, re.DOTALL)
    assert len(cases) == plans.count("r50k_base") == 64
    for text, ids in cases:
        assert encoder.encode(text).tolist() == json.loads(ids), text
        assert encoder.encode_slowly(text).tolist() == json.loads(ids), text


def test_nasty_strings_come_back_and_tokenizers_agrees():
    path = DATA / "torture/blns.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    for encoder in (small(), need_gpt2()):
        for text in json.loads(path.read_text()):
            ids = encoder.encode(text)
            assert encoder.decode(ids) == text.encode()
            assert ids.tolist() == encoder.encode_slowly(text).tolist()


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_535, "uint16"), (65_536, "uint16"), (65_537, "uint32")])
def test_the_dtype_follows_the_size_of_the_vocabulary(tmp_path, vocab_size, dtype):
    # merges of every two bytes that are no letters of anything: ids as high as the vocabulary goes
    pairs = [(bytes([left]), bytes([right])) for left in range(256) for right in range(256)][: vocab_size - 257]
    assert len(pairs) == min(vocab_size - 257, 65_536)
    encoder = tokens.Encoder.of(bpe.files_of(pairs)["tokenizer.json"], "f00d")
    assert (encoder.vocab_size, encoder.dtype) == (vocab_size, dtype)
    (one,) = written(tmp_path / "a.arrow", tokens.encode([batch({"text": "!!"})], encoder, 0.0)["train"], encoder)
    assert one.schema.field("tokens").type == pa.list_(pa.type_for_alias(dtype))
    assert one.column("tokens").to_pylist()[0][-1] == vocab_size - 1


def test_a_shard_is_one_mapped_batch_whose_values_are_the_stream(tmp_path):
    rows = [
        {"text": "the cat", "doc_id": "x", "host": "a.example", "created": 1_136_073_599},  # 2005-12-31T23:59:59Z
        {"text": "", "doc_id": "y", "host": "b.example", "created": 1_136_073_600},
        {"text": "théâtre", "doc_id": "z", "host": "b.example", "created": None},
    ]
    split = tokens.encode([batch(*rows[:2]), batch(rows[2])], small(), 0.0)["train"]
    (one,) = written(tmp_path / "a.arrow", split, small())
    end = small().end_of_text
    expected = [[*small().encode(row["text"]).tolist(), end] for row in rows]
    assert one.column("tokens").to_pylist() == expected
    assert one.column("tokens").values.to_numpy(zero_copy_only=True).tolist() == list(chain(*expected))
    assert one.column("doc_id").to_pylist() == ["x", "y", "z"]
    assert one.column("host").to_pylist() == ["a.example", "b.example", "b.example"]
    assert one.column("year").to_pylist() == [2005, 2006, None]
    assert one.schema.metadata == {
        b"webtext.format": b"1",
        b"webtext.tokenizer_sha256": b"f00d",
        b"webtext.end_of_text": str(end).encode(),
        b"webtext.vocab_size": str(end + 1).encode(),
        b"webtext.dtype": b"uint16",
    }


def test_a_split_without_documents_is_a_shard_with_an_empty_batch(tmp_path):
    (one,) = written(tmp_path / "a.arrow", tokens.Split(), small())
    assert one.num_rows == 0
    assert one.schema.names == ["tokens", "doc_id", "host", "year"]


@pytest.mark.parametrize("created", [-1, 253_402_300_800, 2**62])
def test_a_time_that_no_calendar_has_gives_no_year(created):
    assert tokens.year_of(created) is None


def test_a_tokenizer_that_two_engines_read_differently_is_refused():
    other = tokens.Encoder.of(tokenizer_json(258), "f00d")
    torn = tokens.Encoder(small().fast, other.slow, small().vocab_size, small().end_of_text, "f00d")
    with pytest.raises(IntegrityError, match=r"document doc 0: .* encode it differently"):
        tokens.encode([batch({"text": SAID})], torn, 0.0)


@pytest.mark.parametrize(
    "damaged", [b"", b"[]", b"{}", b'{"model": {"vocab": {"a": 0, "<|endoftext|>": 2}}}', b'{"model": {"vocab": {}}}']
)
def test_a_file_that_is_no_tokenizer_is_refused(damaged):
    with pytest.raises(IntegrityError, match=r"tokenizer\.json: .* build it again"):
        tokens.Encoder.of(damaged, "f00d")


def corpus_and_tokenizer(work, shards, documents):
    corpus, tokenizer = Artefact(work, "corpus", shards), Artefact(work, "tokenizer", 1)
    for shard in range(shards):
        with corpus.attempt(Task(shard, "made by hand")) as attempt:
            with attempt.write(".parquet") as file:
                table = pa.Table.from_batches([batch(*documents[shard::shards])])
                schemas.write_parquet(file, [table], schemas.CORPUS)
            attempt.commit({})
    with tokenizer.attempt(Task(0, "made by hand")) as attempt:
        with storage.writing(tokenizer.folder / "tokenizer.json") as file:
            attempt.files["tokenizer.json"] = (file, 0)
            file.write(tokenizer_json())
        attempt.commit({})


def test_the_stage_puts_each_document_into_its_split_once(tmp_path):
    documents = [{"doc_id": f"id {n}", "text": f"the {n}"} for n in range(30)]
    corpus_and_tokenizer(tmp_path, 3, documents)
    settings = config.parse({"build": {"shards": 3}, "tokens": {"val_share": 0.4}})
    manifest = tokens.stage(settings, tmp_path, PlainRun())
    assert manifest.books == {"tokens": RowCounts(30, {"kept": 30})}
    found = {}
    for split in ("train", "val"):
        for path in sorted((tmp_path / "tokens" / split).iterdir()):
            table = pa.ipc.open_file(path).read_all()
            assert manifest.files[f"{split}/{path.name}"].rows == table.num_rows
            assert table.schema.metadata[b"webtext.tokenizer_sha256"].decode() == storage.sha256_of(
                tmp_path / "tokenizer/tokenizer.json"
            )
            for doc_id, ids in zip(table["doc_id"].to_pylist(), table["tokens"].to_pylist(), strict=True):
                assert doc_id not in found
                assert bpe.is_val(doc_id, 0.4) == (split == "val")
                found[doc_id] = small().decode(ids[:-1]).decode()
    assert found == {row["doc_id"]: row["text"] for row in documents}


def packed(documents, seed):
    """Per document of a split, in the order in which they are packed: (id, host, year, text)."""
    split = tokens.encode([batch(*documents)], small(), 0.0)["train"].permuted(seed)
    texts = [small().decode(ids[:-1]).decode() for ids in split.ids]
    return list(zip(split.doc_ids, split.hosts, split.years, texts, strict=True))


@given(st.sets(st.text("abc0123", min_size=1), max_size=30), st.integers(0, 2**70), st.randoms())
@settings(deadline=None)
def test_documents_are_packed_in_an_order_of_ids_and_seed_alone(ids, seed, random):
    documents = [
        {"doc_id": one, "host": f"{one}.example", "text": f"the {one}", "created": 10**9} for one in sorted(ids)
    ]
    rows = packed(documents, seed)
    assert sorted(rows) == [(one, f"{one}.example", 2001, f"the {one}") for one in sorted(ids)]
    random.shuffle(documents)
    assert packed(documents, seed) == rows


def test_neighbours_share_a_host_no_more_often_than_chance_has_it():
    hosts = [f"{number // 50:02}.example" for number in range(1_000)]  # sorted, as the corpus is: 20 hosts of 50
    documents = [{"doc_id": f"{host} {n}", "host": host, "text": "the"} for n, host in enumerate(hosts)]
    for seed in (0, 1):
        found = [host for _, host, _, _ in packed(documents, seed)]
        shared = sum(left == right for left, right in pairwise(found))
        assert shared < 100  # of 999; 49 by chance, 980 in the order of the corpus
    assert packed(documents, 0) != packed(documents, 1)


def test_encoding_again_gives_the_same_bytes(tmp_path):
    settings = config.parse({"build": {"shards": 2}})
    made = []
    for name in ("a", "b"):
        corpus_and_tokenizer(tmp_path / name, 2, [{"doc_id": f"id {n}", "text": f"the {n}"} for n in range(9)])
        made.append(tokens.stage(settings, tmp_path / name, PlainRun()))
    assert made[0] == made[1]


@pytest.mark.failure("the tokenizer's file was changed", "exit 5; the line names it", "delete its receipt, build again")
def test_a_damaged_tokenizer_is_named(tmp_path):
    corpus_and_tokenizer(tmp_path, 1, [{"text": "the"}])
    path = tmp_path / "tokenizer/tokenizer.json"
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(IntegrityError, match=r"tokenizer\.json: sha256"):
        tokens.stage(config.parse({"build": {"shards": 1}}), tmp_path, PlainRun())
