"""Links: every line of a dump ends in one fate, and no order of reading shows in a shard."""

import json
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import links, urls
from pipeline.config import Settings, parse
from pipeline.demo import dump
from pipeline.demo.traps import expected
from pipeline.shards import schemas
from pipeline.shards.outcomes import ConfigError, InputError, IntegrityError, Outcome
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import PlainRun

MINIWEB = Path(__file__).resolve().parents[1] / "../shared/data/miniweb/submissions.ndjson.zst"


class NoRun:
    """A run that must not be asked for anything."""

    def map_shards(self, function, tasks, heavy=False):
        assert not tasks

    def exchange(self, *_):
        raise AssertionError("asked to read again")


def line(number, url, score=5, created=0, over_18=False):
    row = {"id": f"id{number}", "url": url, "score": score, "created_utc": created, "subreddit": "books"}
    return json.dumps({**row, "over_18": over_18, "is_self": False}).encode() + b"\n"


def build(work, *dumps, shards=3, run=None, **section):
    work.mkdir(parents=True, exist_ok=True)
    for number, lines in enumerate(dumps):
        (work / f"dump{number}.ndjson").write_bytes(b"".join(lines))
    tables = {"build": {"shards": shards}, "links": {"submissions": ["dump*.ndjson"], **section}}
    return links.stage(parse(tables), work, run or PlainRun())


def rows_of(work, shards=3):
    artefact = Artefact(work, "links", shards)
    return [schemas.read_parquet(artefact.file(shard, ".parquet")).to_pylist() for shard in range(shards)]


def shard_hashes(manifest):
    return {name: stamp.sha256 for name, stamp in manifest.files.items()}


@pytest.mark.parametrize("shards", [1, 4])
def test_the_demo_ends_in_exactly_the_books_its_traps_promise(tmp_path, shards):
    manifest = build(tmp_path, dump.submissions(), shards=shards)
    assert set(manifest.books) == {"submissions", "links"}
    for name, book in manifest.books.items():
        assert book.outcomes == expected()[name]
        assert book.inputs == sum(expected()[name].values())


def test_neither_the_order_of_lines_nor_the_number_of_dumps_changes_a_shard(tmp_path):
    lines = list(dump.submissions())
    once = build(tmp_path / "once", lines)
    for seed in range(3):
        random.Random(seed).shuffle(lines)
        again = build(tmp_path / str(seed), *(lines[start :: seed + 2] for start in range(seed + 2)))
        assert shard_hashes(again) == shard_hashes(once)
        assert again.books == once.books


SUBMITTED = st.builds(
    line,
    st.integers(0, 3),
    st.sampled_from(
        ["http://a.test/1", "https://www.a.test/1#x", "http://a.test/2", "http://b.test/", "ftp://a.test/"]
    ),
    st.integers(0, 4),
    st.integers(0, 2),
    st.booleans(),
)


@given(st.lists(SUBMITTED, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_any_order_of_repeats_and_ties_gives_the_same_bytes(tmp_path_factory, lines, shuffler):
    root = tmp_path_factory.mktemp("orders")
    shuffled = shuffler.sample(lines, len(lines))
    one, two = build(root / "one", lines), build(root / "two", shuffled[::2], shuffled[1::2])
    assert shard_hashes(one) == shard_hashes(two)
    assert one.books == two.books


def test_a_link_joins_its_submissions(tmp_path):
    posts = [
        line(1, "http://a.test/x", 2, 30, over_18=True),
        line(2, "https://www.a.test/x?utm_source=reddit#top", 9, 20),
        line(3, "http://a.test/x", 9, 40),
        line(3, "http://a.test/x", 1, 40),
    ]
    build(tmp_path, posts, shards=1)
    ((link,),) = rows_of(tmp_path, 1)
    assert link["url"] == "https://a.test/x"
    assert link["fetch_url"] == "https://www.a.test/x?utm_source=reddit"
    assert (link["score"], link["created"], link["outcome"], link["host_shards"]) == (9, 20, "kept", 1)
    assert [(one["id"], one["score"]) for one in link["submissions"]] == [("id2", 9), ("id1", 2), ("id3", 9)]


def test_a_large_host_is_spread_and_every_link_is_where_shard_of_says(tmp_path):
    large = [line(number, f"http://large.test/{number}") for number in range(80)]
    small = [line(number, f"http://host{number}.test/") for number in range(100, 120)]
    manifest = build(tmp_path, [*large, *small], shards=5)
    found = rows_of(tmp_path, 5)
    assert manifest.books["links"].outcomes == {Outcome.KEPT: 100}
    for shard, rows in enumerate(found):
        assert [row["url"] for row in rows] == sorted(row["url"] for row in rows)
        assert all(urls.shard_of(row["host"], row["doc_id"], 5, {"large.test": 4}) == shard for row in rows)
        assert all(row["host_shards"] == (4 if row["host"] == "large.test" else 1) for row in rows)
    assert sum("large.test" in {row["host"] for row in rows} for rows in found) == 4


def test_karma_and_lists_decide_again_without_reading_a_dump(tmp_path):
    lines = [line(1, "http://a.test/", 3), line(2, "http://b.test/", 3), line(3, "http://c.test/", 2, over_18=True)]
    assert build(tmp_path, lines).books["links"].outcomes == {"kept": 2, "over_18": 1}

    class OnlyDecide(PlainRun):
        exchange = NoRun.exchange

    (tmp_path / "mine.txt").write_text("b.test\n")
    manifest = build(tmp_path, lines, run=OnlyDecide(), karma=2, over_18=True, blocked_hosts="mine.txt")
    assert manifest.books["links"].outcomes == {"kept": 2, "blocked_host": 1}


def test_what_is_whole_is_not_made_again_even_when_a_dump_is_renamed(tmp_path):
    first = build(tmp_path, [line(1, "http://a.test/")], [line(2, "http://b.test/")])
    (tmp_path / "dump0.ndjson").rename(tmp_path / "dump9.ndjson")
    again = links.stage(parse({"build": {"shards": 3}, "links": {"submissions": ["dump*.ndjson"]}}), tmp_path, NoRun())
    assert again == first


def test_a_lost_book_of_a_dump_is_written_again(tmp_path):
    lines = [line(1, "http://a.test/"), b"not a line\n"]
    first = build(tmp_path, lines)
    Artefact(tmp_path, "scratch/dumps", 1).receipt_path(0).unlink()
    assert msgspec.to_builtins(build(tmp_path, lines)) == msgspec.to_builtins(first)


def test_a_damaged_scratch_shard_is_named(tmp_path):
    build(tmp_path, [line(1, "http://a.test/")], shards=1)
    path = Artefact(tmp_path, "scratch/submissions", 1).file(0, ".parquet")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="00000-of-00001"):
        build(tmp_path, [line(1, "http://a.test/")], shards=1)


def test_dumps_must_be_named_and_there(tmp_path):
    with pytest.raises(ConfigError, match=r"links\.submissions.*webtext\.toml"):
        links.stage(Settings(), tmp_path, PlainRun())
    with pytest.raises(InputError, match=r"'dump\*\.ndjson' matches no file"):
        build(tmp_path)
    build(tmp_path, [])
    with pytest.raises(InputError, match="nowhere"):
        build(tmp_path, submissions=["dump*.ndjson", "nowhere/*.zst"])


def test_an_empty_dump_gives_empty_shards(tmp_path):
    manifest = build(tmp_path, [])
    assert rows_of(tmp_path) == [[], [], []]
    assert {name: book.inputs for name, book in manifest.books.items()} == {"submissions": 0, "links": 0}


def test_a_synthetic_web_keeps_its_books(tmp_path):
    if not MINIWEB.is_file():
        pytest.skip(f"{MINIWEB} is absent")
    manifest = build(tmp_path, shards=4, submissions=[str(MINIWEB.resolve())])
    submissions, found = manifest.books["submissions"], manifest.books["links"]
    assert sum(submissions.outcomes.values()) == submissions.inputs > 0
    rows = [row for shard in rows_of(tmp_path, 4) for row in shard]
    assert sum(len(row["submissions"]) for row in rows) == submissions.outcomes[Outcome.KEPT]
    assert len({row["url"] for row in rows}) == len(rows) == found.inputs
