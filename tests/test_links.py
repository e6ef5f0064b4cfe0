"""Links: every line of a dump ends in one fate, and no order of reading shows in a shard.

Long because all of its phases share their fixtures.
"""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import kept, links, sources, urls
from pipeline.cli import app as cli
from pipeline.config import Settings, parse
from pipeline.demo import dump
from pipeline.demo.traps import expected
from pipeline.shards import runner, schemas
from pipeline.shards.outcomes import ConfigError, InputError, IntegrityError, Outcome
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import BeamRun, PlainRun
from pipeline.submissions.bigquery import query_of
from pipeline.submissions.decide import READINGS, Rules, decided

MINIWEB = Path(__file__).resolve().parents[1] / "../shared/data/miniweb/submissions.ndjson.zst"


class NoRun:
    """A run that must not be asked for anything."""

    def map_shards(self, function, tasks, heavy=False):
        assert not tasks

    def exchange(self, *_, heavy=False):
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


def test_beam_and_a_plain_loop_write_the_same_bytes_and_leave_no_block_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(links, "SCATTER_ROWS", 50)
    monkeypatch.setattr(sources, "SCATTER_BYTES", 10_000)
    lines = list(dump.submissions())
    plain = build(tmp_path / "plain", lines[::2], lines[1::2])
    scratch = tmp_path / "beam" / "scratch"
    beam = build(tmp_path / "beam", lines[1::2], lines[::2], run=BeamRun(scratch=scratch))
    assert shard_hashes(beam) == shard_hashes(plain)
    assert beam.books == plain.books
    assert sorted(path.name for path in scratch.iterdir()) == ["dumps", "splits-of-submissions.json", "submissions"]


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
        def exchange(self, scatter, sources, gather, targets, heavy=False):
            assert scatter.func is links.scatter_shards
            super().exchange(scatter, sources, gather, targets)

    (tmp_path / "mine.txt").write_text("b.test\n")
    manifest = build(tmp_path, lines, run=OnlyDecide(), karma=2, over_18=True, blocked_hosts="mine.txt")
    assert manifest.books["links"].outcomes == {"kept": 2, "blocked_host": 1}


def test_what_is_whole_is_told_without_reading_a_row(tmp_path, monkeypatch):
    first = build(tmp_path, [line(number, f"http://b.test/{number}") for number in range(12)])
    settings = parse({"build": {"shards": 3}, "links": {"submissions": ["dump*.ndjson"]}})
    with monkeypatch.context() as patch:
        patch.setattr(schemas, "read_parquet", lambda *_: pytest.fail("a shard was read"))
        assert links.stage(settings, tmp_path, NoRun()) == first
    spread = kept.splits_of(Artefact(tmp_path, "links", 3))
    assert spread == kept.spread(Artefact(tmp_path, "links", 3)) == {"b.test": 3}
    monkeypatch.setattr(kept, "spread", lambda _: pytest.fail("looked up twice"))
    assert kept.splits_of(Artefact(tmp_path, "links", 3)) == spread


def test_what_is_whole_is_not_made_again_even_when_a_dump_is_renamed(tmp_path):
    first = build(tmp_path, [line(1, "http://a.test/")], [line(2, "http://b.test/")])
    (tmp_path / "dump0.ndjson").rename(tmp_path / "dump9.ndjson")
    again = links.stage(parse({"build": {"shards": 3}, "links": {"submissions": ["dump*.ndjson"]}}), tmp_path, NoRun())
    assert again == first


POSTS = [
    line(1, "http://a.test/", 1, 30), line(2, "http://a.test/", 4, 20), line(3, "http://a.test/", 2, 10),
    line(4, "http://b.test/", 2, 10), line(5, "http://b.test/", 2, 20),
    line(6, "http://c.test/", 9, 10), line(7, "http://c.test/", -9, 20),
    line(8, "http://d.test/", 2, 10),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reading", "scores", "kept"),
    [("max", [4, 2, 9, 2], "ac"), ("sum", [7, 4, 0, 2], "ab"), ("first", [2, 2, 9, 2], "c")],
)
def test_karma_is_read_as_the_setting_says_and_the_other_readings_stay_in_columns(tmp_path, reading, scores, kept):
    manifest = build(tmp_path, POSTS, shards=1, karma_of=reading)
    (rows,) = rows_of(tmp_path, 1)
    assert [row["score"] for row in rows] == scores
    assert "".join(row["host"][0] for row in rows if row["outcome"] == "kept") == kept
    assert [(row["score_max"], row["score_sum"], row["score_first"]) for row in rows] == [
        (4, 7, 2), (2, 4, 2), (9, 0, 9), (2, 2, 2),
    ]  # fmt: skip
    assert manifest.counts == {"admitted_by_max": 2, "admitted_by_sum": 2, "admitted_by_first": 1}


def test_status_shows_what_each_reading_would_admit(tmp_path, capsys):
    (tmp_path / "webtext.toml").write_text("[build]\nshards = 3\n")
    cli.status(tmp_path)
    assert "admitted" not in capsys.readouterr().out
    build(tmp_path, POSTS, karma=4, karma_of="sum")
    cli.status(tmp_path)
    lines = [" ".join(each.split()) for each in capsys.readouterr().out.splitlines()]
    assert lines[lines.index("karma of a link links admitted") + 1 :][:3] == [
        "max >= 4 2",
        "sum >= 4 2 links.karma_of",
        "first >= 4 1",
    ]


def test_a_reading_admits_no_link_that_another_rule_refuses(tmp_path):
    manifest = build(tmp_path, [line(1, "http://imgur.com/", 9), line(2, "http://a.test/", 9)], shards=2)
    assert set(manifest.counts.values()) == {1}


def test_a_listed_link_is_trusted_with_karma_but_not_with_its_host(tmp_path):
    (tmp_path / "mine.txt").write_text("http://a.test/\nhttp://b.test/\nhttp://imgur.com/1\nhttp://a.test/\nnone\n")
    posts = [line(1, "http://a.test/", 1, 20, over_18=True), line(2, "http://c.test/", 1)]
    manifest = build(tmp_path, posts, shards=1, submissions=["dump*.ndjson", "*.txt"])
    assert manifest.books["submissions"].outcomes == {"kept": 5, "repeated": 1, "bad_url": 1}
    (rows,) = rows_of(tmp_path, 1)
    found = [
        (row["host"], row["outcome"], row["listed"], row["score"], row["score_max"], row["created"]) for row in rows
    ]
    assert found == [
        ("a.test", "kept", True, 3, 1, 20),
        ("b.test", "kept", True, 3, None, None),
        ("c.test", "low_karma", False, 1, 1, 0),
        ("imgur.com", "blocked_host", True, 3, None, None),
    ]
    assert [one["id"] for one in rows[0]["submissions"]] == ["id1", ""]
    assert manifest.counts["admitted_by_max"] == 2


def test_each_list_has_its_outcome_and_is_a_file_the_user_may_replace(tmp_path):
    lists = {"hosts": "h.test", "domains": "# mine\nd.test", "suffixes": ".XYZ", "subreddits": "r/Spam\nother"}
    for name, text in lists.items():
        (tmp_path / f"{name}.txt").write_text(text + "\n")
    urls_of = [
        "http://www.h.test/",
        "http://a.d.test/",
        "http://a.test/1.xyz",
        "http://a.test/1.jpg",
        "http://imgur.com/",
    ]
    posts = [line(number, url) for number, url in enumerate(urls_of)]
    spam = [(10, "http://s.test/", "SPAM"), (11, "http://s.test/", "Other"), (12, "http://t.test/", "spam")]
    posts += [line(number, url).replace(b"books", sub.encode()) for number, url, sub in spam]
    posts.append(line(13, "http://t.test/"))
    section = {f"blocked_{name}": f"{name}.txt" for name in lists}
    manifest = build(tmp_path, posts, shards=2, **section)
    assert manifest.books["links"].outcomes == {
        "kept": 3, "blocked_host": 1, "blocked_domain": 1, "blocked_suffix": 1, "blocked_subreddit": 1,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"none\.txt: the list cannot be read: .*one entry a line"):
        build(tmp_path, posts, blocked_suffixes="none.txt")


SUBMISSION_ROWS = st.fixed_dictionaries({
    "url": st.sampled_from(["https://a.test/", "https://b.test/1.jpg", "https://b.test/", "https://reddit.com/"]),
    "fetch_url": st.sampled_from(["http://x/", "http://y/"]),
    "id": st.sampled_from(["", "1", "2", "3"]),
    "score": st.integers(-3, 5),
    "created": st.integers(0, 3),
    "subreddit": st.sampled_from(["a", "Spam"]),
    "over_18": st.booleans(),
})  # fmt: skip


def decided_slowly(rows, rules, splits):
    """The twin of `decided`: one link after the other."""
    for url in sorted({row["url"] for row in rows}):
        of_link = [row for row in rows if row["url"] == url]
        of_link.sort(key=lambda row: (row["created"] is None, row["created"], row["id"]))
        posts = [row for row in of_link if row["score"] is not None]
        scores = [row["score"] for row in posts]
        readings = {"max": max(scores), "sum": sum(scores), "first": scores[0]} if scores else {}
        listed = len(posts) < len(of_link)
        score = readings.get(rules.karma_of, rules.karma)
        tests = [
            (rules.of_host(urls.host_of(url)) != "kept", rules.of_host(urls.host_of(url))),
            (urls.suffix_blocked(url, rules.suffixes), "blocked_suffix"),
            (all(row["subreddit"].lower() in rules.subreddits for row in of_link), "blocked_subreddit"),
            (all(row["over_18"] for row in of_link) and not rules.over_18, "over_18"),
            (score < rules.karma and not listed, "low_karma"),
        ]
        best = min(
            of_link, key=lambda row: (row["score"] is None, -(row["score"] or 0), row["created"], row["fetch_url"])
        )
        yield {
            "url": url,
            "fetch_url": best["fetch_url"],
            "score": max(score, rules.karma) if listed else score,
            **{f"score_{name}": readings.get(name) for name in ("max", "sum", "first")},
            "listed": listed,
            "created": of_link[0]["created"],
            "submissions": [{field.name: row[field.name] for field in schemas.SUBMISSION} for row in of_link],
            "host_shards": splits.get(urls.host_of(url), 1),
            "outcome": next((str(outcome) for refused, outcome in tests if refused), "kept"),
        }


@given(st.lists(SUBMISSION_ROWS, max_size=12, unique_by=lambda row: (row["url"], row["id"])), st.sampled_from(READINGS))
@settings(deadline=None)
def test_deciding_equals_its_slow_twin(rows, reading):
    rows = [
        {**row, "doc_id": urls.doc_id(row["url"]), "host": urls.host_of(row["url"])}
        | ({} if row["id"] else {"score": None, "created": None, "subreddit": "", "over_18": False})
        for row in rows
    ]
    rules = replace(Rules.of(parse({"links": {"karma_of": reading}}).links, Path()), subreddits=frozenset(["spam"]))
    found = decided(pa.Table.from_pylist(rows, schemas.SUBMISSIONS), rules, {"b.test": 3})
    expected = list(decided_slowly(rows, rules, {"b.test": 3}))
    assert [{name: row[name] for name in expected[0]} for row in found.links.to_pylist()] == expected
    assert found.outcomes == Counter(row["outcome"] for row in expected)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400)), max_size=300), st.integers(1, 6))
@settings(deadline=None, max_examples=20)
def test_large_hosts_are_counted_exactly_though_small_ones_are_forgotten(tmp_path_factory, posts, shards):
    work = tmp_path_factory.mktemp("counts")
    posts = [(host, page) if host else (page + 10, page) for host, page in posts]
    build(
        work, [line(number, f"http://h{host}.test/{page}") for number, (host, page) in enumerate(posts)], shards=shards
    )
    counts, total = links.count_links(Artefact(work, "scratch/submissions", shards))
    exact = Counter(f"h{host}.test" for host, _ in set(posts))
    assert total == exact.total()
    assert counts == {host: exact[host] for host in counts}
    assert {host for host in exact if exact[host] * shards > 2 * total} <= set(counts)


def test_a_lost_book_of_a_dump_is_written_again(tmp_path):
    lines = [line(1, "http://a.test/"), b"not a line\n"]
    first = build(tmp_path, lines)
    Artefact.of_names(tmp_path, "scratch/dumps").receipt_path(0).unlink()
    assert msgspec.to_builtins(build(tmp_path, lines)) == msgspec.to_builtins(first)


def test_a_damaged_scratch_shard_is_named(tmp_path):
    build(tmp_path, [line(1, "http://a.test/")], shards=1)
    path = Artefact(tmp_path, "scratch/submissions", 1).file(0, ".parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="00000-of-00001"):
        build(tmp_path, [line(1, "http://a.test/")], shards=1, karma=2)


def test_dumps_must_be_named_and_there(tmp_path):
    with pytest.raises(ConfigError, match=r"links\.submissions.*webtext\.toml"):
        links.stage(Settings(), tmp_path, PlainRun())
    with pytest.raises(InputError, match=r"'dump\*\.ndjson' matches no file"):
        build(tmp_path)
    build(tmp_path, [])
    with pytest.raises(InputError, match="nowhere"):
        build(tmp_path, submissions=["dump*.ndjson", "nowhere/*.zst"])


def test_a_bigquery_table_is_exported_once_and_then_read_as_parquet(tmp_path, monkeypatch):
    import apache_beam as beam

    posts = [json.loads(line(number, f"http://a.test/{number}")) for number in range(3)]
    asked = []

    def source(query):
        asked.append(query)
        return beam.Create(posts)

    with pytest.raises(ConfigError, match=r"pip install 'webtext\[gcp\]'"):
        monkeypatch.setattr(runner, "find_spec", lambda _name: None)
        build(tmp_path, run=BeamRun(), submissions=[], bigquery="p.d.t")
    monkeypatch.setattr(runner, "find_spec", lambda name: name)
    monkeypatch.setattr(runner, "bigquery_source", source)
    for _ in range(2):
        manifest = build(tmp_path, run=BeamRun(), submissions=[], bigquery="p.d.t")
        assert manifest.books["links"].outcomes == {"kept": 3}
    days = parse({}).links.bigquery_days
    assert asked == [query_of("p.d.t", *days)]
    build(tmp_path, [line(9, "http://b.test/")], run=BeamRun(), bigquery="p.d.t", bigquery_days=[days[1], days[1]])
    assert asked[1:] == [query_of("p.d.t", days[1], days[1])]
    with pytest.raises(ConfigError, match="through Beam"):
        build(tmp_path, bigquery="p.d.other")


def test_beam_is_handed_the_query_as_it_is():
    source = runner.bigquery_source("SELECT 1")
    assert source._kwargs["query"] == "SELECT 1"
    assert source._kwargs["use_standard_sql"] is True


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
