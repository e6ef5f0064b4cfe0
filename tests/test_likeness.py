"""What the shards find together is what one process finds that holds all documents: pairs, ranking, sample, reading."""

import random
from collections import Counter
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import copies, corpus, evidence, likeness, ranking
from pipeline.dedup import evaluation, near_duplicates, nodes
from pipeline.shards import schemas, storage
from pipeline.shards.runner import BeamRun, PlainRun
from tests.test_against import stands
from tests.test_corpus import Page, built, inputs, prose, recipe, reworded

SHARDS = 5
CHOSEN = {"against": ["../old"], "bands": 64, "rows": 2, "bucket": 3, "min_precision": 0.0, "min_recall": 0.0}


def crowd(seed, count=60):
    """Copies, near copies and near misses of a few stories, on pages of little and much karma."""
    pick = random.Random(seed)
    pages = []
    for number in range(count):
        text, changes = prose(pick.randrange(9)), pick.randrange(4)
        words = reworded(text, changes).split()
        words[5 : 5 + pick.randrange(60)] = prose(number, 30).split()
        text = pick.choice([text, reworded(text, changes), " ".join(words)])
        pages.append(Page(f"https://h{number}.example/{pick.random()}", text, score=pick.randrange(5)))
    return pages


@pytest.fixture(scope="module", params=["", "jaccard", "containment"])
def made(request, tmp_path_factory):
    """A recipe whose phases stand, with and without another corpus."""
    root = tmp_path_factory.mktemp("made")
    stands(root / "old", *(crowd(seed, 8) for seed in (1, 2)))
    chosen = CHOSEN | ({"measure": request.param, "jaccard": 0.6} if request.param else {"against": []})
    built(root / "new", crowd(0), SHARDS, **chosen)
    return evidence.prepared(recipe(SHARDS, **chosen), root / "new", PlainRun())


def rows_of(table):
    return [tuple(row.values()) for row in table.to_pylist()]


def votes_of(one):
    """Node and ranks of all documents that no rule refused, best first."""
    tables = []
    for shard in one.every:
        votes = one.survivors(shard)
        ids = nodes.node_ids(shard, votes["row"].to_numpy())
        tables.append(votes.select(evidence.RANKS).append_column("node", [ids]))
    together = pa.concat_tables(tables)
    return together.take(np.argsort(nodes.positions(together)))


@pytest.mark.parametrize("where", ["", "_elsewhere"])
def test_edges_and_near_misses_are_those_of_one_process_that_reads_all_pairs(made, where):
    pairs = near_duplicates.unite(made.tables(f"scratch/pairs{where}"))
    chosen = made.settings.corpus
    expected = near_duplicates.verify(pairs, made.signatures_of, made.shingles_of, chosen.jaccard, chosen.measure)
    found = likeness.edges_of(made, where)
    assert sorted(rows_of(found)) == rows_of(expected)
    least = near_duplicates.least_jaccard(chosen.jaccard, chosen.measure)
    misses = evaluation.near_misses(pairs, expected, made.signatures_of, least)
    assert sorted(rows_of(likeness.edges_of(made, where, likeness.REFUSED))) == rows_of(misses)
    assert len(found) > 0 or (where and not made.others)
    assert len(misses) > 0 or where or chosen.measure == "containment"


def test_what_travels_to_be_compared_is_signatures_and_hashes_of_shingles_once_a_shard(made):
    sent = [table for part in made.every for _, table in likeness.described(made, "", part)]
    rows = pa.concat_tables(sent).to_pylist()
    given = [row for row in rows if row["signature"]]
    assert len(given) == len({(row["better"], row["worse"] >> 32) for row in rows}) > 0
    for row in given:
        node = np.array([row["better"]], np.uint64)
        assert row["signature"] == made.signatures_of(node).tobytes()
        assert row["shingles"] == made.shingles_of(node)[0].tobytes()
        assert made.words_of(node)[0][0].encode() not in row["shingles"]


def test_the_ranking_is_that_of_one_sort_of_all_votes(made):
    expected = votes_of(made)["node"].to_numpy()
    assert np.array_equal(pa.concat_tables(made.tables(ranking.PHASE))["node"].to_numpy(), expected)
    assert np.all(np.diff(ranking.places_of(made, expected)) > 0)


def test_what_stands_elsewhere_ranks_before_all_by_corpus_shard_and_doc_id(made):
    theirs = [nodes.node_ids(shard, copies.documents_elsewhere(made, shard, "doc_id")[0]) for shard in made.beyond]
    ours = votes_of(made)["node"].to_numpy()
    places = ranking.places_of(made, np.concatenate([*theirs, ours]))
    expected = []
    for shard, some in zip(made.beyond, theirs, strict=True):
        ids = copies.documents_elsewhere(made, shard, "doc_id")[1].to_pylist()
        expected += [int(some[row]) for row in sorted(range(len(ids)), key=ids.__getitem__)]
    found = np.concatenate([*theirs, ours])[np.argsort(places)]
    assert found.tolist() == [*expected, *ours.tolist()]


def test_the_reading_is_that_of_one_process_that_holds_all_signatures(made):
    removals = copies.near_removals(made)
    gone = [removals["removed"].to_numpy(), *(one["removed"].to_numpy() for one in made.tables("scratch/exact"))]
    survived = [nodes.node_ids(shard, made.survivors(shard)["row"].to_numpy()) for shard in made.every]
    stayed = [one[~np.isin(one, np.concatenate(gone))] for one in survived]
    theirs = [nodes.node_ids(shard, copies.documents_elsewhere(made, shard, "doc_id")[0]) for shard in made.beyond]
    pairs = near_duplicates.unite([*made.tables("scratch/pairs"), *made.tables("scratch/pairs_elsewhere")])
    edges = pa.concat_tables([likeness.edges_of(made, ""), likeness.edges_of(made, "_elsewhere")])
    expected = evaluation.measure(
        evaluation.Result(stayed, removals, pairs, edges, theirs),
        made.settings.corpus, made.settings.documents.shingle_words,
        evaluation.Sources(made.signatures_of, made.words_of, partial(ranking.places_of, made)),
    )  # fmt: skip
    assert made.reading_of() == expected
    assert expected.removed > 0


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 40), max_size=6), st.integers(0, 30))
def test_a_sample_is_the_same_however_the_documents_are_cut(sizes, most):
    every = np.arange(sum(sizes), dtype=np.uint64) * np.uint64(3)
    parts = np.split(every, np.cumsum(sizes)[:-1]) if sizes else []
    chosen, count = evaluation.sampled(parts, most)
    weights = evaluation.minhash.mixed_64(np.arange(1, len(every) + 1, dtype=np.uint64))
    assert count == len(every)
    assert chosen.tolist() == every[np.sort(np.argsort(weights)[:most])].tolist()


def opened_by(monkeypatch, work, shards):
    """How many Parquet files and receipts the stage opens, with four documents a shard."""
    count = Counter()
    opened, read = pq.ParquetFile, storage.read_bytes
    with monkeypatch.context() as patch:
        patch.setattr(schemas.parquet(), "ParquetFile", lambda *given: count.update(["file"]) or opened(*given))
        patch.setattr(storage, "read_bytes", lambda path: count.update(["receipt"]) or read(path))
        inputs(work, [page for seed in range(shards // 4) for page in crowd(seed, 16)], shards)
        count.clear()
        corpus.stage(recipe(shards, sample=5, min_precision=0.0, min_recall=0.0, bucket=2), work, PlainRun())
    return count


def test_a_shard_opens_as_many_files_whatever_the_number_of_shards(tmp_path, monkeypatch):
    few, many = (opened_by(monkeypatch, tmp_path / str(shards), shards) for shards in (8, 32))
    assert many["file"] < 1.2 * 4 * few["file"]
    assert many["receipt"] < 1.2 * 4 * few["receipt"]


def test_the_runner_changes_no_byte(tmp_path):
    for name, run in (("plain", PlainRun()), ("beam", BeamRun(scratch=tmp_path / "beam" / "scratch"))):
        built(tmp_path / name, crowd(3), SHARDS, run, min_precision=0.0, min_recall=0.0)
    found = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.parquet")}
        for name in ("plain", "beam")
    ]
    assert found[0] == found[1]
