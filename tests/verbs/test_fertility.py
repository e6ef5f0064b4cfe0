"""The quality of a vocabulary on held-out text: counted by hand, and beside GPT-2's on a corpus of ours."""

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import config, tokenizer
from pipeline.shards import schemas
from pipeline.shards.outcomes import InputError, IntegrityError
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import PlainRun
from pipeline.text import bpe
from pipeline.text.encoder import Encoder
from pipeline.verbs.fertility import fertility, measured

DATA = Path(__file__).resolve().parents[2] / "../shared/data"


def encoder(merges):
    return Encoder.of(bpe.files_of(merges)["tokenizer.json"], "")


NOTHING, THE = encoder([]), encoder([(b"t", b"h"), (b"th", b"e"), (b" ", b"the")])


def built(work, rows, share, shards=2):
    """A corpus and its tokenizer."""
    corpus = Artefact(work, "corpus", shards)
    for shard in range(shards):
        with corpus.attempt(Task(shard, "made by hand")) as attempt:
            with attempt.write(".parquet") as file:
                schemas.write_parquet(file, [pa.Table.from_pylist(rows[shard::shards], schemas.CORPUS)], schemas.CORPUS)
            attempt.commit({})
    corpus.finish({}, [])
    settings = {"build": {"shards": shards}, "tokenizer": {"vocab_size": 300}, "tokens": {"val_share": share}}
    tokenizer.stage(config.parse(settings), work, PlainRun())
    return work


def rows_of(count):
    return [
        {
            "doc_id": f"doc {n}",
            "text": "the cat sat on the mat" if n % 2 else "le chat est là",
            "language": "en" if n % 2 else "fr",
            "host": f"{n % 5}.example",
        }
        for n in range(count)
    ]


def test_words_tokens_and_whole_words_are_counted():
    groups = measured(iter([("en", "a.example", "the the, bath!")]), [NOTHING, THE])
    assert list(groups) == ["all", "language en", "host a.example"]
    group = groups["all"]
    # "the", " the", ",", " bath", "!": three of them are words
    assert (group.documents, group.bytes, group.words) == (1, 14, 3)
    assert (group.tokens_per_word(0), group.bytes_per_token(0), group.words_kept_whole(0)) == (12 / 3, 14 / 14, 0)
    assert (group.tokens_per_word(1), group.bytes_per_token(1), group.words_kept_whole(1)) == (6 / 3, 14 / 8, 2 / 3)


def test_a_text_without_words_has_no_fertility():
    group = measured(iter([("", "a.example", "...")]), [THE])["language unknown"]
    assert (group.tokens_per_word(0), group.words_kept_whole(0)) == (None, None)
    assert group.bytes_per_token(0) == 1.0
    assert measured(iter([("en", "a.example", "")]), [THE])["all"].bytes_per_token(0) is None
    assert measured(iter([]), [THE]) == {}


@given(st.lists(st.text(), max_size=5))
@settings(deadline=None)
def test_word_by_word_is_as_many_tokens_as_the_whole_text_takes(texts):
    groups = measured((("en", "a.example", text) for text in texts), [NOTHING, THE])
    for place, one in enumerate((NOTHING, THE)):
        counted = groups["all"].fits[place].tokens if texts else 0
        assert counted == sum(len(one.encode(text)) for text in texts)


def test_only_held_out_documents_count_by_language_and_by_the_largest_hosts(tmp_path):
    rows = rows_of(60)
    work = built(tmp_path, rows, share=0.3)
    held_out = [row for row in rows if bpe.is_val(row["doc_id"], 0.3)]
    assert 5 < len(held_out) < 30
    groups = fertility(work, None, hosts=2)
    assert (groups[0].name, groups[0].documents) == ("all", len(held_out))
    languages = Counter(row["language"] for row in held_out)
    assert {group.name: group.documents for group in groups[1:3]} == {
        f"language {language}": count for language, count in languages.items()
    }
    sizes = Counter()
    for row in held_out:
        sizes[f"host {row['host']}"] += len(row["text"].encode())
    assert {group.name: group.bytes for group in groups[3:]} == dict(
        sorted(sizes.items(), key=lambda one: (-one[1], one[0]))[:2]
    )
    assert len(groups[0].fits) == 1


def test_another_vocabulary_is_read_from_its_merges(tmp_path):
    work = built(tmp_path / "work", rows_of(40), share=0.3)
    own = work / "tokenizer" / "merges.txt"
    for beside in (own, own.parent):
        group = fertility(work, beside, hosts=0)[0]
        assert group.fits[0] == group.fits[1]
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\nt h\n")
    group = fertility(work, tmp_path, hosts=0)[0]
    assert group.tokens_per_word(0) < group.tokens_per_word(1)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: None, "no merges; expected a file, or a folder with vocab.bpe or merges.txt"),
        (lambda path: path.mkdir(), "no merges; expected a file, or a folder with vocab.bpe or merges.txt"),
        (lambda path: path.write_text("a b c\n"), "not the merges of a byte-level BPE"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "not the merges of a byte-level BPE"),
    ],
)
def test_what_is_no_vocabulary_is_named(tmp_path, write, said):
    work = built(tmp_path / "work", rows_of(10), share=0.5)
    write(tmp_path / "other")
    with pytest.raises(InputError, match=f"{tmp_path / 'other'}.*{said}"):
        fertility(work, tmp_path / "other", hosts=0)


def test_nothing_built_and_nothing_held_out_say_what_to_do(tmp_path):
    with pytest.raises(IntegrityError, match="run 'webtext build tokenizer'"):
        fertility(tmp_path, None, hosts=0)
    with pytest.raises(InputError, match=r"no document is held out at tokens\.val_share = 0\.0"):
        fertility(built(tmp_path, rows_of(4), share=0.0), None, hosts=0)


@pytest.mark.long
def test_on_its_own_corpus_a_vocabulary_fragments_less_than_gpt2s():
    prose, gpt2 = DATA / "prose/reddit_selftext_10pct.jsonl.zst", DATA / "gpt2/vocab.bpe"
    if not (prose.is_file() and gpt2.is_file()):
        pytest.skip(f"{prose} or {gpt2} is absent")
    with zstandard.open(prose, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in itertools.islice(lines, 20_000)]
    train, held_out = ([text for n, text in enumerate(texts) if (n % 20 == 0) == val] for val in (False, True))
    counts = Counter(word.encode() for text in train for word in bpe.pre_tokens(text, tokenizer.LONGEST))
    ours, _ = bpe.learn(list(counts), np.array(list(counts.values()), np.int64), 50_257, 1)
    theirs = bpe.parse_merges(gpt2.read_text(encoding="utf-8").splitlines())
    assert len(ours) == len(theirs) == 50_000
    group = measured((("en", "a.example", text) for text in held_out), [encoder(ours), encoder(theirs)])["all"]
    assert group.tokens_per_word(0) < group.tokens_per_word(1)
    assert group.bytes_per_token(0) > group.bytes_per_token(1)
    assert group.words_kept_whole(0) > group.words_kept_whole(1)
