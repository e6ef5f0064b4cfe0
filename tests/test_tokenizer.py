"""The tokenizer stage: exact counts from every shard, one vocabulary."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import config, tokenizer
from pipeline.shards import schemas
from pipeline.shards.outcomes import InputError
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import BeamRun, PlainRun
from pipeline.text import bpe
from tests.crossed import dealt

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ["the cat sat on the mat.\n", "the dog's 42 bones", "naïve café 世界 \U0001f30d", "", "the the the  the\n\n\n"]


def table_of(counts):
    rows = sorted((word.encode(), count) for word, count in counts.items())
    return pa.table([[word for word, _ in rows], [count for _, count in rows]], schema=tokenizer.WORDS)


def counted(texts, partitions, most_words=1_000):
    """What all partitions hold after every text was a shard of its own, blocks shuffled."""
    blocks = [pair for text in texts for pair in tokenizer.scatter_counts([text], partitions, 256, most_words)]
    random.Random(3).shuffle(blocks)
    sent = dealt(blocks)
    return [tokenizer.gather_counts(sent.get(one, ()), most_words) for one in range(partitions)]


def corpus(work, shards, documents):
    """A corpus of (doc_id, text), dealt out to shards by the order given."""
    artefact = Artefact(work, "corpus", shards)
    for shard in range(shards):
        rows = [dict(row, created=1_300_000_000, host="a.example") for row in documents[shard::shards]]
        with artefact.attempt(Task(shard, "made by hand")) as attempt:
            with attempt.write(".parquet") as file:
                schemas.write_parquet(file, [pa.Table.from_pylist(rows, schemas.CORPUS)], schemas.CORPUS)
            attempt.commit({})


def settings_of(shards, **tables):
    return config.parse({"build": {"shards": shards}, "tokenizer": {"vocab_size": 300}, **tables})


def documents(count=40):
    return [{"doc_id": f"doc {n}", "text": TEXTS[n % 5] + f" number {n}"} for n in range(count)]


@given(st.lists(st.text(max_size=40), max_size=6), st.integers(1, 4), st.integers(1, 5))
@settings(deadline=None, max_examples=50)
def test_counts_are_exact_however_they_are_cut_and_shuffled(texts, partitions, most_words):
    expected = Counter(word for text in texts for word in bpe.pre_tokens(text, 256))
    found = pa.concat_tables(counted(texts, partitions, most_words))
    assert found.sort_by("word").equals(table_of(expected))


def test_a_partition_is_sorted_and_no_word_is_in_two():
    tables = counted(TEXTS, 3)
    words = [table["word"].to_pylist() for table in tables]
    assert all(one == sorted(one) for one in words)
    assert sum(map(len, words)) == len(set().union(*words))


def test_counts_above_32_bits_add_up():
    blocks = [table_of({"a": 2**40}), table_of({"a": 2**40, "b": 1})]
    assert tokenizer.gather_counts(blocks, 1).to_pydict() == {"word": [b"a", b"b"], "count": [2**41, 1]}


def test_nothing_goes_while_the_table_fits():
    tables = [table_of({"aa": 5, "b": 1}), table_of({"cc": 1})]
    kept, pruned = tokenizer.most_frequent(lambda: tables, 8)
    assert kept["word"].to_pylist() == [b"aa", b"b", b"cc"]
    assert pruned == tokenizer.Pruned(1, 0, 0)


def test_the_rarest_go_all_of_one_count_together():
    tables = [table_of({"aa": 5, "b": 1}), table_of({"cc": 1, "d": 2})]
    kept, pruned = tokenizer.most_frequent(lambda: tables, 9)
    assert kept.to_pydict() == {"word": [b"aa", b"d"], "count": [5, 2]}
    assert pruned == tokenizer.Pruned(2, 2, 2)


def test_the_report_counts_tokens_and_words():
    words, counts = [b" cat", b" dogs", b"!", b"e" * 256], np.array([3, 1, 4, 1], np.int64)
    found = tokenizer.report(words, counts, np.array([1, 2, 1, 256], np.int64), 10, tokenizer.Pruned(1, 0, 0))
    assert (found["vocab_size"], found["end_of_text"]) == (267, 266)
    assert (found["pre_tokens"], found["tokens"], found["cut_pre_tokens"]) == (9, 265, 1)
    assert found["bytes_per_token"] == round((3 * 4 + 5 + 4 + 256) / 265, 4)
    assert found["tokens_per_word"] == round((3 + 2 + 256) / 5, 4)
    assert found["words_kept_whole"] == 0.6


def test_a_vocabulary_too_large_for_its_text_is_told_which_would_do(monkeypatch):
    monkeypatch.setattr(tokenizer, "LEAST_MERGES", 2)
    words, counts = [b"aaaa", b"bbbb", b"cccc", b"dddd"], np.array([500, 400, 300, 7], np.int64)
    merges, _ = bpe.learn(words, counts, 256 + 8 + 1, 1)
    assert len(merges) == 8  # of each letter two and then four: the pairs are never seen again, nor are four d
    assert tokenizer.seen_often(words, counts, merges) == 3
    assert tokenizer.seen_often(words, counts, merges[:2]) == 2
    (note,) = tokenizer.too_large(words, counts, merges)
    assert note.startswith("5 of 8 merges are seen fewer than 100 times in the training text")
    assert note.endswith("tokenizer.vocab_size = 260 would do")
    assert (tokenizer.seen_often(words, counts, merges[:3]), tokenizer.seen_often(words, counts, merges[:4])) == (3, 3)
    assert list(tokenizer.too_large(words, counts, merges[:2])) == []
    monkeypatch.setattr(tokenizer, "SEEN", 10_000)
    (note,) = tokenizer.too_large(words, counts, merges)
    assert note.endswith("it needs more text")


def test_the_stage_learns_what_the_training_texts_alone_teach(tmp_path):
    settings = settings_of(2, tokens={"val_share": 0.5})
    corpus(tmp_path, 2, documents())
    tokenizer.stage(settings, tmp_path, PlainRun())
    texts = [row["text"] for row in documents() if not bpe.is_val(row["doc_id"], 0.5)]
    assert 0 < len(texts) < 40
    counts = Counter(word.encode() for text in texts for word in bpe.pre_tokens(text, 256))
    merges, _ = bpe.learn(list(counts), np.array(list(counts.values()), np.int64), 300, 1)
    expected = bpe.files_of(merges)
    assert {name: (tmp_path / "tokenizer" / name).read_bytes() for name in expected} == expected
    report = json.loads((tmp_path / "tokenizer/report.json").read_text())
    assert report["pre_tokens"] == sum(counts.values())
    assert report["vocab_size"] == 300
    assert report["reserved"] == 20
    assert len(json.loads((tmp_path / "tokenizer/reserved.json").read_text())) == 20


def test_order_shards_and_runner_do_not_change_a_byte(tmp_path):
    made = []
    for name, shards, rows, run in (
        ("one", 1, documents(), PlainRun()),
        ("three", 3, documents()[::-1], PlainRun()),
        ("beam", 2, documents(), BeamRun()),
    ):
        corpus(tmp_path / name, shards, rows)
        tokenizer.stage(settings_of(shards), tmp_path / name, run)
        made.append([(tmp_path / name / "tokenizer" / file).read_bytes() for file in tokenizer.FILES])
    assert made[0] == made[1] == made[2]


@given(st.integers(2, 16))
@settings(deadline=None, max_examples=5)
def test_threads_do_not_change_a_count(threads):
    draw = np.random.default_rng(1)
    words = [f"{number:x}".encode() for number in draw.integers(0, 60_000, 200_000)]
    blocks = [pa.table([words, draw.integers(1, 2**40, 200_000)], schema=tokenizer.WORDS)]
    alone, before = None, pa.cpu_count()
    try:
        pa.set_cpu_count(1)
        alone = tokenizer.gather_counts(blocks, 50_000)
        pa.set_cpu_count(threads)
        assert tokenizer.gather_counts(blocks, 50_000).equals(alone)
    finally:
        pa.set_cpu_count(before)


def test_a_process_with_another_hash_seed_and_other_threads_writes_the_same_files(tmp_path):
    corpus(tmp_path / "here", 2, documents())
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    tokenizer.stage(settings_of(2), tmp_path / "here", PlainRun())
    code = (
        "import sys; from pathlib import Path; from tests.test_tokenizer import *\n"
        "tokenizer.stage(settings_of(2), Path(sys.argv[1]), PlainRun())"
    )
    other = {"PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "3", "OMP_NUM_THREADS": "3"}
    there = tmp_path / "there"
    subprocess.run([sys.executable, "-c", code, there], cwd=ROOT, env=os.environ | other, check=True)
    for file in tokenizer.FILES:
        assert (there / "tokenizer" / file).read_bytes() == (tmp_path / "here/tokenizer" / file).read_bytes()


def test_a_vocabulary_that_stays_small_is_told(tmp_path):
    corpus(tmp_path, 1, [{"doc_id": "a", "text": "ab ab"}])
    manifest = tokenizer.stage(settings_of(1, tokens={"val_share": 0.0}), tmp_path, PlainRun())
    assert manifest.notes[0] == (
        "vocabulary of 259 instead of 300: no other pair is frequent enough in the training text"
    )
    assert manifest.notes[1].startswith("2 of 2 merges are seen fewer than 100 times in the training text")


def test_a_corpus_without_text_gives_the_bytes(tmp_path):
    corpus(tmp_path, 2, [])
    tokenizer.stage(settings_of(2), tmp_path, PlainRun())
    report = json.loads((tmp_path / "tokenizer/report.json").read_text())
    assert (report["vocab_size"], report["bytes_per_token"]) == (257, None)


def test_nothing_is_learnt_twice_until_the_texts_change(tmp_path):
    class Idle:
        def exchange(self, scatter, sources, gather, targets, heavy=False):
            raise AssertionError("counted again")

        map_shards = exchange

    settings = settings_of(2)
    corpus(tmp_path, 2, documents())
    first = tokenizer.stage(settings, tmp_path, PlainRun())
    assert tokenizer.stage(settings, tmp_path, Idle()) == first
    corpus(tmp_path / "other", 2, documents(41))
    for path in filter(Path.is_file, (tmp_path / "other/corpus").rglob("*.*")):
        (tmp_path / path.relative_to(tmp_path / "other")).write_bytes(path.read_bytes())
    assert tokenizer.stage(settings, tmp_path, Idle()).files == first.files
    asked = settings_of(2, tokenizer={"vocab_size": 300, "keep": False})
    with pytest.raises(AssertionError, match="counted again"):
        tokenizer.stage(asked, tmp_path, Idle())


def test_published_merges_are_taken_as_they_are_and_their_fit_is_told(tmp_path):
    corpus(tmp_path, 2, documents())
    learnt = tokenizer.stage(settings_of(2), tmp_path, PlainRun())
    report = json.loads((tmp_path / "tokenizer/report.json").read_bytes())
    merges = (tmp_path / "tokenizer/merges.txt").read_bytes()
    described = (tmp_path / "tokenizer/tokenizer.json").read_bytes()
    other = tmp_path / "other"
    corpus(other, 2, documents())
    (other / "vocab.bpe").write_bytes(merges)
    published = settings_of(2, tokenizer={"merges": "vocab.bpe", "vocab_size": 257})
    taken = tokenizer.stage(published, other, PlainRun())
    assert (other / "tokenizer/tokenizer.json").read_bytes() == described
    fit = json.loads((other / "tokenizer/report.json").read_bytes())
    assert {**fit, "vocab_size_asked": 0} == {**report, "vocab_size_asked": 0}
    assert taken.notes == ()
    assert learnt.files["tokenizer.json"] == taken.files["tokenizer.json"]
    (other / "vocab.bpe").write_bytes(merges.rsplit(b"\n", 2)[0] + b"\n")  # one less: made anew
    assert tokenizer.stage(published, other, PlainRun()).files["tokenizer.json"] != taken.files["tokenizer.json"]


@pytest.mark.failure(
    "published merges are not there or are none", "exit 3; the file is named", "correct tokenizer.merges"
)
@pytest.mark.parametrize(
    ("content", "said"), [(None, "matches no file"), (b"a b c\n", "not the merges of a byte-level")]
)
def test_merges_that_are_none_are_named(tmp_path, content, said):
    corpus(tmp_path, 1, documents())
    if content is not None:
        (tmp_path / "vocab.bpe").write_bytes(content)
    with pytest.raises(InputError, match=said):
        tokenizer.stage(settings_of(1, tokenizer={"merges": "vocab.bpe"}), tmp_path, PlainRun())
