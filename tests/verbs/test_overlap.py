import pyarrow as pa
import pytest

from pipeline.shards import schemas
from pipeline.shards.outcomes import BooksError, InputError
from pipeline.shards.receipts import Artefact, Task
from pipeline.text.overlap import Reference
from pipeline.verbs.overlap import overlaps

LINES = [" ".join(f"{name}{n}" for n in range(27)) for name in "abcd"]  # 20 8-grams each


@pytest.fixture
def work(tmp_path):
    """A corpus of two shards: one line in each, in another dress."""
    corpus = Artefact(tmp_path, "corpus", 2)
    for shard, text in enumerate([f"so, {LINES[0].upper()}!", LINES[1].replace(" ", "\n")]):
        row = dict.fromkeys(schemas.CORPUS.names) | {"text": text}
        with corpus.attempt(Task(shard, "x")) as attempt:
            with attempt.write(".parquet") as file:
                schemas.write_parquet(file, [pa.Table.from_pylist([row], schemas.CORPUS)], schemas.CORPUS)
            attempt.commit({})
    return tmp_path


def written(path, *lines):
    path.write_text("".join(f'"{line}"\n' for line in lines))
    return path


def test_the_share_of_grams_in_the_corpus_stands_beside_that_in_the_sets_own_train(work):
    test = written(work / "test.jsonl", LINES[0], LINES[1], LINES[2], LINES[3])
    train = written(work / "train.jsonl", LINES[3])
    (one,) = overlaps(work, 2, [test], [train])
    assert (one.name, one.grams, one.corpus, one.train) == (str(test), 80, 0.5, 0.25)


def test_a_gram_counts_as_often_as_it_occurs(work):
    (one, other) = overlaps(work, 2, [written(work / "a.jsonl", LINES[0], LINES[0], LINES[2]),
                                      written(work / "b.jsonl", LINES[2])], [])  # fmt: skip
    assert (one.corpus, one.train) == (pytest.approx(2 / 3), None)
    assert other.corpus == 0.0


def test_rows_of_under_eight_words_are_named(work):
    (one,) = overlaps(work, 2, [written(work / "a.jsonl", "too short", LINES[0])], [])
    assert (one.grams, one.corpus) == (20, 1.0)
    assert one.notes == (f"{work / 'a.jsonl'}: not looked for: 1 row without a text of 8 words (line 1)",)


def test_marks_of_a_mirror_on_either_side_hide_nothing(work):
    marked = LINES[0].replace(" ", "[1] ")
    (one,) = overlaps(work, 2, [written(work / "a.jsonl", marked)], [])
    assert one.corpus == 1.0


def test_a_search_that_finds_nothing_is_a_bug_and_said(work, monkeypatch):
    monkeypatch.setattr(Reference, "holds", lambda _self, hashes: hashes != hashes)
    with pytest.raises(BooksError, match="planted in a document, is not found"):
        overlaps(work, 2, [written(work / "a.jsonl", LINES[2])], [])


def test_a_missing_file_is_named(work):
    with pytest.raises(InputError, match=r"none\.txt: evaluation texts cannot be read"):
        overlaps(work, 2, [work / "none.txt"], [])
