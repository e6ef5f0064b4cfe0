"""A question about one page opens one shard, that of its host, and finds what a search of all shards finds."""

import shutil

import pyarrow as pa
import pytest

from pipeline import urls
from pipeline.shards import schemas
from pipeline.shards.receipts import Artefact, Task
from pipeline.verbs import explain, whereabouts
from pipeline.verbs.whereabouts import shard_of_link, shards_of_keeper
from tests.test_corpus import built
from tests.test_likeness import CHOSEN, crowd

SHARDS, SPLITS = 7, {"large.test": 4}
ADDRESSES = [f"https://h{n}.test/" for n in range(20)] + [f"https://large.test/{n}" for n in range(40)]


@pytest.fixture(scope="module")
def links(tmp_path_factory):
    """Links where the shards of their hosts are; the last one was removed, and lies anywhere."""
    made = Artefact(tmp_path_factory.mktemp("links"), "links", SHARDS)
    rows = {shard: [] for shard in range(SHARDS)}
    for url in ADDRESSES:
        host, doc_id = urls.host_of(url), urls.doc_id(url)
        row = {"doc_id": doc_id, "host": host, "host_shards": SPLITS.get(host, 1)}
        rows[urls.shard_of(host, doc_id, SHARDS, SPLITS)].append(row)
    rows[3].append({"doc_id": "removed", "host": "", "host_shards": 1})
    for shard, some in rows.items():
        with made.attempt(Task(shard, "by hand")) as attempt:
            with attempt.write(".parquet") as file:
                schemas.write_parquet(file, [pa.Table.from_pylist(some, schemas.LINKS)], schemas.LINKS)
            attempt.commit({})
    return made


def test_a_link_is_where_its_host_is_and_nothing_else_is_opened(links, monkeypatch):
    opened = []
    read = schemas.read_parquet
    monkeypatch.setattr(
        whereabouts.schemas, "read_parquet", lambda path, columns: opened.append(path.name) or read(path, columns)
    )
    for url in ADDRESSES:
        host, doc_id = urls.host_of(url), urls.doc_id(url)
        opened.clear()
        assert shard_of_link(links, host, doc_id) == urls.shard_of(host, doc_id, SHARDS, SPLITS)
        assert len(set(opened)) <= 2  # its home, where it says over how many a large host is spread, and its own
        assert len(set(opened)) == 1 or host in SPLITS


def test_what_has_no_host_any_more_is_looked_for_everywhere(links):
    assert shard_of_link(links, "", "removed") == 3
    assert shard_of_link(links, "h1.test", "removed") == 3
    assert shard_of_link(links, "h1.test", "unknown") is None


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus of five shards with exact copies, near copies, and copies of near copies."""
    root = tmp_path_factory.mktemp("copies")
    built(root, crowd(0), 5, **CHOSEN | {"against": []})
    return Artefact(root, "corpus", 5)


def removed_in(corpus):
    """(shard, row) of the copies."""
    for shard in range(corpus.shards):
        for row in schemas.read_parquet(corpus.file(shard, ".parquet", "removed")).to_pylist():
            if row["keeper"]:
                yield shard, row


def test_the_keeper_of_a_copy_is_where_the_deduplication_says_first(corpus):
    ids = {n: schemas.read_parquet(corpus.file(n, ".parquet"))["doc_id"].to_pylist() for n in range(corpus.shards)}
    found = list(removed_in(corpus))
    assert {row["outcome"] for _, row in found} == {"exact_duplicate", "near_duplicate"}
    for shard, row in found:
        places = shards_of_keeper(corpus.root, corpus.shards, row["doc_id"], shard)
        assert row["keeper"] in ids[places[0]]
        assert sorted(places) == list(range(corpus.shards))
    assert len({shard for shard, row in found if row["keeper"] not in ids[shard]}) > 1


def test_the_keeper_is_found_too_when_scratch_is_gone_or_nobody_knows_the_shard(corpus, tmp_path):
    shutil.copytree(corpus.root, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "scratch")
    for shard, row in removed_in(corpus):
        for root, known in ((tmp_path, shard), (corpus.root, None)):
            found = explain.keeper_of(Artefact(root, "corpus", corpus.shards), row, known)
            assert found["doc_id"] == row["keeper"]
