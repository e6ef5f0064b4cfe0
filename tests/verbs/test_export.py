"""Exports: each form read by the loader it is meant for, whole or not there, and equal to the shards.

Long because each format is read by the reader of its tool, written out here.
"""

import glob
import hashlib
import itertools
import json
import os
import pickle
import pickletools
import random
import re
import struct
from pathlib import Path

import duckdb
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest
import tiktoken
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tiktoken.load import load_tiktoken_bpe
from tokenizers import Tokenizer

from pipeline import config, tokenizer, tokens
from pipeline.shards import lease, schemas, storage
from pipeline.shards.outcomes import BusyError, ConfigError, InputError, IntegrityError, StorageError
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import PlainRun
from pipeline.text import bpe
from pipeline.verbs.export import ABOUT, export, nanogpt
from pipeline.verbs.export.card import USE
from pipeline.verbs.export.megatron import offsets
from pipeline.verbs.provenance import SPLITS

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
SHARE = 0.3
SHARDS = 3
SETTINGS = config.parse({"build": {"shards": SHARDS}, "tokenizer": {"vocab_size": 300}, "tokens": {"val_share": SHARE}})


def documents(count=40):
    return [
        {
            "url": f"https://a.example/{n}",
            "doc_id": f"doc {n}",
            "host": "a.example",
            "title": None if n % 3 else f"Title {n}",
            "text": f'naïve 世界 "number" {n}\n\n<|endoftext|> ' + "the cat " * (n % 4),
            "language": "en",
            "words": n,
            "score": 3,
            "created": 1_300_000_000,
            "subreddits": ["books", "é"][: n % 3],
            "copied_words": None,
        }
        for n in range(count)
    ]


def built(work, rows):
    """A working directory with corpus, tokenizer and tokens, as the stages write them."""
    corpus = Artefact(work, "corpus", SHARDS)
    for shard in range(SHARDS):
        with corpus.attempt(Task(shard, "made by hand")) as attempt:
            with attempt.write(".parquet") as file:
                table = pa.Table.from_pylist(rows[shard::SHARDS], schemas.CORPUS)
                attempt.rows(".parquet", schemas.write_parquet(file, [table], schemas.CORPUS))
            attempt.commit({})
    corpus.finish({}, [])
    tokenizer.stage(SETTINGS, work, PlainRun())
    tokens.stage(SETTINGS, work, PlainRun())
    return work


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return built(tmp_path_factory.mktemp("built"), documents())


@pytest.fixture
def copy(work, tmp_path):
    """The same, to be damaged."""
    for path in work.rglob("*"):
        if path.is_file():
            (tmp_path / "work" / path.relative_to(work)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "work" / path.relative_to(work)).write_bytes(path.read_bytes())
    return tmp_path / "work"


def shards(work, split):
    return sorted((work / "tokens" / split).glob("*.arrow"))


def stored(work, split):
    """The token ids of each document of a split, as pyarrow reads them."""
    return [ids for path in shards(work, split) for ids in pa.ipc.open_file(path).read_all()["tokens"].to_pylist()]


def nanogpts_batch(folder, split, block_size, batch_size, seed):
    """How nanoGPT reads: `get_batch` of train.py (github.com/karpathy/nanoGPT)."""
    data = np.memmap(folder / f"{split}.bin", dtype=np.uint16, mode="r")
    torch.manual_seed(seed)
    ix = torch.randint(len(data) - block_size, (batch_size,))
    x = torch.stack([torch.from_numpy(data[i : i + block_size].astype(np.int64)) for i in ix])
    y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + block_size].astype(np.int64)) for i in ix])
    return x, y, ix


class IndexedDataset:
    """How Megatron-LM reads: `_IndexReader` and `IndexedDataset` of megatron/core/datasets/indexed_dataset.py."""

    TYPES = (None, np.uint8, np.int8, np.int16, np.int32, np.int64, np.float64, np.float32, np.uint16)

    def __init__(self, prefix):
        with Path(f"{prefix}.idx").open("rb") as stream:
            assert stream.read(9) == b"MMIDIDX\x00\x00"
            assert struct.unpack("<Q", stream.read(8)) == (1,)
            self.dtype = self.TYPES[struct.unpack("<B", stream.read(1))[0]]
            (sequences,) = struct.unpack("<Q", stream.read(8))
            (documents,) = struct.unpack("<Q", stream.read(8))
            start = stream.tell()
        index = np.memmap(f"{prefix}.idx", mode="r", order="C")
        self.lengths = np.frombuffer(index, np.int32, sequences, start)
        start += self.lengths.nbytes
        self.pointers = np.frombuffer(index, np.int64, sequences, start)
        start += self.pointers.nbytes
        self.document_indices = np.frombuffer(index, np.int64, documents, start)
        assert start + self.document_indices.nbytes == index.size
        assert self.lengths.shape[0] == self.document_indices[-1]
        self.data = np.memmap(f"{prefix}.bin", mode="r", order="C")

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, number):
        return np.frombuffer(self.data, self.dtype, self.lengths[number], self.pointers[number])


@pytest.mark.parametrize("split", ["train", "val"])
def test_polars_duckdb_and_pyarrow_read_token_shards_as_they_are(work, split):
    expected = stored(work, split)
    assert len(expected) > 5
    frame = polars.read_ipc(str(work / "tokens" / split / "*.arrow"))
    assert frame.schema["tokens"] == polars.List(polars.UInt16)
    assert frame["tokens"].to_list() == expected
    scanned = polars.scan_ipc(str(work / "tokens" / split / "*.arrow")).select(polars.col("tokens").list.len().sum())
    assert scanned.collect().item() == sum(map(len, expected))
    dataset = pyarrow.dataset.dataset([str(path) for path in shards(work, split)], format="arrow")
    assert dataset.to_table()["tokens"].to_pylist() == expected
    found = duckdb.sql("SELECT sum(len(tokens)), count(DISTINCT doc_id), min(year) FROM dataset").fetchall()
    assert found == [(sum(map(len, expected)), len(expected), 2011)]


@pytest.mark.parametrize("split", ["train", "val"])
def test_nanogpt_reads_the_stream_of_a_split(work, tmp_path, split):
    made = export(work, SETTINGS, "nanogpt", tmp_path / "out")
    stream = list(itertools.chain(*stored(work, split)))
    assert np.memmap(tmp_path / "out" / f"{split}.bin", dtype=np.uint16, mode="r").tolist() == stream
    assert (made.documents[split], made.tokens[split]) == (len(stored(work, split)), len(stream))
    x, y, places = nanogpts_batch(tmp_path / "out", split, block_size=8, batch_size=4, seed=1)
    assert x.tolist() == [stream[one : one + 8] for one in places]
    assert y.tolist() == [stream[one + 1 : one + 9] for one in places]


def nanogpts_coder(folder):
    """How nanoGPT turns text into ids and ids into text: sample.py, where there is a meta.pkl."""
    with (folder / "meta.pkl").open("rb") as file:
        meta = pickle.load(file)
    stoi, itos = meta["stoi"], meta["itos"]
    return meta, lambda s: [stoi[c] for c in s], lambda ids: "".join([itos[i] for i in ids])


def test_nanogpts_sample_decodes_what_it_samples_and_takes_a_prompt(work, tmp_path):
    export(work, SETTINGS, "nanogpt", tmp_path / "out")
    meta, encode, decode = nanogpts_coder(tmp_path / "out")
    ours = Tokenizer.from_file(str(work / "tokenizer" / "tokenizer.json"))
    assert meta["vocab_size"] == ours.get_vocab_size() == len(meta["itos"])
    for ids in stored(work, "val"):
        found = decode(ids)
        assert found.endswith("<|endoftext|>")
        assert "\ufffd" in found or found == ours.decode(ids, skip_special_tokens=False)
    assert decode(ours.encode('"number" the cat the cat\n').ids) == '"number" the cat the cat\n'
    assert ours.decode(encode("\nthe cat")) == "\nthe cat"  # its default prompt, and any other of ASCII
    exact = ours.encode("the cat naïve 世界").ids
    assert encode("".join(chr(0xF0000 + number) for number in exact)) == exact
    assert decode([meta["vocab_size"] - 1]) == "<|endoftext|>"
    halves = decode(ours.encode("☃").ids)
    assert set(halves) == {"\ufffd"}  # half a character is shown as none
    halves.encode()  # and can be printed


def test_nanogpts_meta_file_needs_no_module_of_ours(work, tmp_path):
    export(work, SETTINGS, "nanogpt", tmp_path / "out")
    named = [
        argument
        for code, argument, _ in pickletools.genops((tmp_path / "out/meta.pkl").read_bytes())
        if code.name == "GLOBAL"
    ]
    kinds = {code.name for code, _, _ in pickletools.genops((tmp_path / "out/meta.pkl").read_bytes())}
    assert named == []
    assert not kinds & {"STACK_GLOBAL", "REDUCE", "NEWOBJ"}


def test_ids_of_gpt_2_need_no_meta_file(work, tmp_path, monkeypatch):
    ours = storage.sha256_of(work / "tokenizer" / "merges.txt")
    monkeypatch.setattr(nanogpt, "GPT2_MERGES", ours)  # as if they were the published ones
    export(work, SETTINGS, "nanogpt", tmp_path / "out")
    assert not (tmp_path / "out" / "meta.pkl").exists()


@pytest.mark.skipif(not (DATA / "gpt2/vocab.bpe").exists(), reason="../shared/data is not here")
def test_the_published_merges_are_known_by_the_file_that_they_become():
    files = bpe.files_of(bpe.read_merges(DATA / "gpt2/vocab.bpe"))
    assert hashlib.sha256(files["merges.txt"]).hexdigest() == nanogpt.GPT2_MERGES


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
@pytest.mark.parametrize("shards", [1, SHARDS])
def test_datasets_loads_an_export_with_its_splits(work, tmp_path, load, form, shards):
    rows = documents()
    if shards == 1:  # one file a split, and one split that only one shard has
        held_out = [row for row in rows if bpe.is_val(row["doc_id"], SHARE)][:1]
        rows = [row for row in rows if not bpe.is_val(row["doc_id"], SHARE)][:2] + held_out
        work = built(tmp_path / "work", rows)
    export(work, SETTINGS, form, tmp_path / "out")
    found = load(tmp_path / "out")
    assert sorted(found) == ["train", "validation"]
    for split, theirs in (("train", "train"), ("val", "validation")):
        expected = {row["doc_id"]: row for row in rows if bpe.is_val(row["doc_id"], SHARE) == (split == "val")}
        assert {row["doc_id"]: dict(row) for row in found[theirs]} == expected


@pytest.mark.parametrize("form", ["nanogpt", "megatron", "parquet", "jsonl"])
def test_an_export_has_a_card_with_its_name_its_splits_and_whose_the_texts_are(work, tmp_path, form):
    made = export(work, config.parse({"build": {"shards": SHARDS, "name": 'Old: "web"'}}), form, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    head, _, text = card.removeprefix("---\n").partition("\n---\n")
    told = yaml.safe_load(head)
    assert (told["pretty_name"], told["license"], told["size_categories"]) == ('Old: "web"', "other", ["n<1K"])
    assert ("dataset_info" in told) == (form in ("parquet", "jsonl"))
    for split, documents in made.documents.items():
        assert f"| {SPLITS[split]} | {documents} |" in text
    if form in ("parquet", "jsonl"):
        columns = text.partition("## Columns")[2].partition("\n## ")[0]
        assert re.findall("^- `([a-z_]+)`", columns, re.MULTILINE) == schemas.CORPUS.names
    assert "The texts belong to those who wrote them" in text


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (0, "were linked on Reddit and found enough karma, by the recipe"),
        (4, "were linked on Reddit and found enough karma (6 of 10), or that a list of addresses named, by"),
        (10, "Text of pages that a list of addresses named, by the rest of the recipe"),
    ],
)
def test_the_card_says_who_named_the_pages(tmp_path, listed, said):
    rows = documents(10)
    for row in rows[:listed]:
        row.update(created=None, subreddits=[])
    work = built(tmp_path / "work", rows)
    for form in ("nanogpt", "parquet"):
        export(work, SETTINGS, form, tmp_path / form)
        card = (tmp_path / form / "README.md").read_text("utf-8")
        assert said in card
        assert ("Reddit's users vote" in card) == ("What a list of addresses names" not in card) == (listed < 10)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_each_call_that_the_card_names_reads_the_rows_by_its_library(work, tmp_path, form):
    made = export(work, SETTINGS, form, tmp_path / "out")
    names = {"glob": glob, "pandas": pandas, "polars": polars, "pyarrow": pa}
    for line in USE[form][1:]:  # the first is tried above
        call = line.partition(" -- ")[0].strip().replace("this/folder", str(tmp_path / "out"))
        if call.startswith("SELECT"):
            ids = [row[0] for row in duckdb.sql(call.replace("*", "doc_id", 1)).fetchall()]
        else:
            found = eval(call, names)  # our own card
            table = found.collect() if hasattr(found, "collect") else found.to_table() if "pyarrow" in call else found
            ids = list(table["doc_id"])
        assert len(set(ids)) == (sum(made.documents.values()) if "pyarrow" in call else made.documents["train"]), call


@pytest.mark.parametrize("split", ["train", "val"])
def test_megatron_reads_each_document_of_a_split(work, tmp_path, split):
    export(work, SETTINGS, "megatron", tmp_path / "out")
    read = IndexedDataset(tmp_path / "out" / split)
    assert read.dtype == np.uint16
    assert [read[number].tolist() for number in range(len(read))] == stored(work, split)
    assert read.document_indices.tolist() == list(range(len(read) + 1))


def test_wide_ids_go_to_megatron_as_int32_and_not_to_nanogpt(copy, tmp_path):
    kind = {"tokenizer_sha256": storage.sha256_of(copy / "tokenizer/tokenizer.json"), "dtype": "uint32"}
    kind |= {"vocab_size": "100000", "end_of_text": "99999", "format": "1"}
    expected = [[70_000, 99_999], [1, 2, 99_999]]
    wide = Artefact(copy, "tokens", 1)
    with wide.attempt(Task(0, "made by hand")) as attempt:
        for split in ("train", "val"):
            columns = [pa.array(expected, pa.list_(pa.uint32()))]
            metadata = {f"webtext.{key}": value for key, value in kind.items()}
            batch = pa.record_batch(columns, names=["tokens"]).replace_schema_metadata(metadata)
            with attempt.write(".arrow", split) as file, pa.ipc.new_file(file, batch.schema) as writer:
                writer.write_batch(batch)
            for other in shards(copy, split):
                other.unlink()
            attempt.rows(".arrow", 2, split)
        attempt.commit({})
    wide.finish({}, [])
    export(copy, SETTINGS, "megatron", tmp_path / "out")
    read = IndexedDataset(tmp_path / "out" / "train")
    assert read.dtype == np.int32
    assert [read[number].tolist() for number in range(len(read))] == expected
    with pytest.raises(ConfigError, match="holds ids up to 65,535, the vocabulary has 100000; use --format megatron"):
        export(copy, SETTINGS, "nanogpt", tmp_path / "narrow")
    assert not (tmp_path / "narrow").exists()


@given(st.lists(st.lists(st.integers(1, 9), max_size=5), max_size=5), st.sampled_from([2, 4]))
def test_offsets_are_the_sums_of_what_lies_before(lengths, width):
    flat = list(itertools.chain(*lengths))
    expected = [width * sum(flat[:number]) for number in range(len(flat))]
    assert [
        int(one) for some in offsets([np.array(one, np.int32) for one in lengths], width) for one in some
    ] == expected


@pytest.mark.parametrize("form", ["nanogpt", "megatron"])
def test_the_tokenizer_comes_along_and_decodes_the_ids(work, tmp_path, form, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    export(work, SETTINGS, form, tmp_path / "out")
    about = json.loads((tmp_path / "out" / ABOUT).read_text())
    ranks = load_tiktoken_bpe(str(tmp_path / "out" / "tokenizer.tiktoken"))
    decoder = tiktoken.Encoding("ours", pat_str=bpe.PATTERN, mergeable_ranks=ranks, special_tokens={"": len(ranks)})
    stream = np.fromfile(tmp_path / "out" / "train.bin", np.uint16)
    ends = np.flatnonzero(stream == about["end_of_text"])
    found = [decoder.decode(one[:-1].tolist()) for one in np.split(stream, ends[:-1] + 1)]
    texts = {row["doc_id"]: row["text"] for row in documents()}
    packed = [pa.ipc.open_file(path).read_all()["doc_id"] for path in sorted((work / "tokens/train").glob("*.arrow"))]
    assert found == [texts[one] for column in packed for one in column.to_pylist()]
    assert about["tokenizer_sha256"] == storage.sha256_of(tmp_path / "out" / "tokenizer.json")


@pytest.mark.parametrize("split", ["train", "val"])
def test_parquet_and_json_lines_hold_the_rows_of_the_split(work, tmp_path, split):
    expected = {row["doc_id"]: row for row in documents() if bpe.is_val(row["doc_id"], SHARE) == (split == "val")}
    made = export(work, SETTINGS, "parquet", tmp_path / "parquet")
    assert made.documents[split] == len(expected)
    frame = polars.read_parquet(str(tmp_path / "parquet" / f"{split}-*.parquet"))
    assert {row["doc_id"]: row for row in frame.to_dicts()} == expected
    table = pa.parquet.read_table(tmp_path / "parquet" / f"{split}-00000-of-00003.parquet")
    assert table.schema.equals(schemas.CORPUS)
    export(work, SETTINGS, "jsonl", tmp_path / "jsonl")
    paths = sorted((tmp_path / "jsonl").glob(f"{split}-*.jsonl"))
    assert [path.name for path in paths] == [f"{split}-0000{shard}-of-00003.jsonl" for shard in range(SHARDS)]
    lines = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    assert {row["doc_id"]: row for row in lines} == expected
    assert len(lines) == len(expected)


@pytest.mark.parametrize("form", ["nanogpt", "megatron", "parquet", "jsonl"])
def test_the_about_file_has_the_sha256_of_every_other(work, tmp_path, form):
    export(work, SETTINGS, form, tmp_path / "out")
    about = json.loads((tmp_path / "out" / ABOUT).read_text())
    assert about["format"] == form
    assert sum(about["documents"].values()) == 40
    names = {path.name for path in (tmp_path / "out").iterdir()} - {ABOUT}
    assert names == set(about["files"])
    for name, stamp in about["files"].items():
        assert stamp["sha256"] == storage.sha256_of(tmp_path / "out" / name)


@pytest.mark.parametrize("form", ["nanogpt", "megatron", "parquet", "jsonl"])
def test_the_same_corpus_gives_the_same_files(work, tmp_path, form):
    for name in ("a", "b"):
        export(work, SETTINGS, form, tmp_path / name)
    one, other = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert one == other


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_shard_without_rows_of_a_split_has_no_file(copy, tmp_path, form):
    (copy / "tokens" / ".manifest.json").unlink()
    share = next(
        number / 400 for number in range(400) if any(bpe.is_val(row["doc_id"], number / 400) for row in documents())
    )
    held_out = [row["doc_id"] for row in documents() if bpe.is_val(row["doc_id"], share)]
    assert len(held_out) < SHARDS
    settings = config.parse({"build": {"shards": SHARDS}, "tokens": {"val_share": share}})
    export(copy, settings, form, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").glob("val-*"))
    assert names == [f"val-{n:05d}-of-{len(names):05d}.{form}" for n in range(len(names))]
    assert 0 < len(names) <= len(held_out)
    for path in (tmp_path / "out").glob(f"*.{form}"):
        if form == "parquet":
            groups = pa.parquet.read_metadata(path)
            assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)].count(0) == 0 < groups.num_rows
        else:
            assert path.stat().st_size


def test_text_alone_can_be_exported_before_there_are_tokens(copy, tmp_path):
    (copy / "tokens" / ".manifest.json").unlink()
    assert sum(export(copy, SETTINGS, "jsonl", tmp_path / "out").documents.values()) == 40
    with pytest.raises(IntegrityError, match="tokens: not whole; run 'webtext build tokens'"):
        export(copy, SETTINGS, "nanogpt", tmp_path / "other")


def test_a_split_without_documents_has_no_file_and_no_documents_at_all_is_an_error(tmp_path):
    held_out = [row for row in documents() if bpe.is_val(row["doc_id"], SHARE)]
    work = built(tmp_path / "val", held_out)
    for form in ("nanogpt", "megatron", "parquet", "jsonl"):
        made = export(work, SETTINGS, form, tmp_path / form)
        assert made.documents == {"train": 0, "val": len(held_out)}
        assert not list((tmp_path / form).glob("train*"))
        assert list((tmp_path / form).glob("val*"))
    with pytest.raises(InputError, match="no document"):
        export(built(tmp_path / "none", []), SETTINGS, "jsonl", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_an_export_that_is_there_is_replaced_only_when_asked(work, tmp_path):
    out = tmp_path / "out"
    export(work, SETTINGS, "jsonl", out)
    with pytest.raises(ConfigError, match="out: is there already; name another folder, or replace it with --force"):
        export(work, SETTINGS, "nanogpt", out)
    assert not list(out.glob("*.bin"))
    export(work, SETTINGS, "nanogpt", out, force=True)
    assert list(out.glob("*.bin"))
    assert not list(out.glob("*.jsonl"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_no_export_is_never_replaced(work, tmp_path):
    out = tmp_path / "home"
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match=r"home: is there, and no export \(it has no webtext\.json\)"):
        export(work, SETTINGS, "jsonl", out, force=True)
    with pytest.raises(ConfigError, match=r"home: is there, and no export .*, so it is never replaced; name another"):
        export(work, SETTINGS, "jsonl", out)
    with pytest.raises(ConfigError, match="is there, and no export"):
        export(work, SETTINGS, "jsonl", out / "letter.txt")
    assert (out / "letter.txt").read_text() == "dear"


def test_a_folder_that_cannot_be_made_is_one_line(work, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/out: cannot be written: Not a directory"):
        export(work, SETTINGS, "jsonl", tmp_path / "file" / "out")


def test_the_current_folder_can_be_the_target(work, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export(work, SETTINGS, "jsonl", Path())
    assert (tmp_path / "here" / ABOUT).is_file()


def test_a_form_that_does_not_exist_names_the_nearest(work, tmp_path):
    with pytest.raises(ConfigError, match="--format megatorn: no such format; did you mean 'megatron'"):
        export(work, SETTINGS, "megatorn", tmp_path / "out")


@pytest.mark.failure("an export fails half-way", "the old export stands", "run it again")
def test_a_failed_export_leaves_the_old_one_and_nothing_else(copy, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export(copy, SETTINGS, "megatron", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match=rf"^{out}/train\.bin: no space left"):
        export(copy, SETTINGS, "megatron", out, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "work"]


def test_what_a_killed_export_left_is_taken_over(work, tmp_path):
    part = tmp_path / ".out.new.part"
    (part / "deep").mkdir(parents=True)
    (part / "train.bin").write_bytes(b"half")
    export(work, SETTINGS, "jsonl", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not list((tmp_path / "out").glob("*.bin"))
    assert not (tmp_path / "out" / lease.LOCK).exists()


def test_a_second_export_to_the_same_folder_is_refused(work, tmp_path):
    with lease.lock(tmp_path / ".out.new.part"), pytest.raises(BusyError):
        export(work, SETTINGS, "jsonl", tmp_path / "out")


@pytest.mark.parametrize("form", ["nanogpt", "jsonl"])
def test_a_corpus_that_is_built_anew_meanwhile_is_not_exported(copy, tmp_path, monkeypatch, form):
    stage = "tokens" if form == "nanogpt" else "corpus"
    atomic = storage.atomic

    def meanwhile(path):
        (copy / stage / ".manifest.json").unlink(missing_ok=True)
        return atomic(path)

    monkeypatch.setattr(storage, "atomic", meanwhile)
    with pytest.raises(IntegrityError, match=f"{stage}: built anew while it was exported"):
        export(copy, SETTINGS, form, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def flipped(path):
    data = bytearray(path.read_bytes())
    data[random.Random(5).randrange(len(data))] ^= 4
    path.write_bytes(data)


@pytest.mark.failure(
    "a shard to export is damaged", "exit 5; nothing is exported", "run the command that the line gives"
)
@pytest.mark.parametrize("form", ["nanogpt", "megatron", "parquet", "jsonl"])
def test_a_damaged_shard_is_named_and_nothing_is_exported(copy, tmp_path, form):
    path = shards(copy, "val")[1] if form in ("nanogpt", "megatron") else copy / "corpus/00001-of-00003.parquet"
    flipped(path)
    with pytest.raises(IntegrityError, match=str(path)):
        export(copy, SETTINGS, form, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tokens_of_another_tokenizer_are_refused(copy, tmp_path):
    other = config.parse(
        {"build": {"shards": SHARDS}, "tokenizer": {"vocab_size": 290}, "tokens": {"val_share": SHARE}}
    )
    tokenizer.stage(other, copy, PlainRun())
    with pytest.raises(IntegrityError, match="made by another tokenizer"):
        export(copy, SETTINGS, "megatron", tmp_path / "out")
