"""Common Crawl's index: for every link the capture of its own page that lies nearest to its post, and no other."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import PagesSettings
from pipeline.fetch import commoncrawl
from pipeline.fetch.nearest import nearest, posted
from pipeline.fetch.surt import surt
from pipeline.shards import receipts, schemas
from pipeline.shards.outcomes import ConfigError, InputError
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import PlainRun
from pipeline.urls import canonical_url, doc_id, fetch_url, host_of, shard_of

SHARDS = 3
IN_UTC = pa.timestamp("ms", "UTC")
POSTED = datetime(2013, 8, 15, 12, tzinfo=UTC)
WARC = "crawl-data/CC-MAIN-2013-48/segments/1/warc/CC-MAIN-1.warc.gz"


def link(url, posted=POSTED, outcome="kept"):
    canonical = canonical_url(url)
    named = {"url": canonical, "fetch_url": fetch_url(url), "doc_id": doc_id(canonical), "host": host_of(canonical)}
    created = int(posted.timestamp()) if posted else 0
    return {**named, "score": 3, "created": created, "submissions": [], "host_shards": 1, "outcome": outcome}


def write_links(work, rows):
    links = Artefact(work, "links", SHARDS)
    mark = [[row["url"], row["created"], row["outcome"]] for row in rows]
    for task in links.begin([receipts.fingerprint("links", 1, {}, mark, ())] * SHARDS):
        mine = [row for row in rows if shard_of(row["host"], row["doc_id"], SHARDS, {}) == task.shard]
        with links.attempt(task) as attempt:
            with attempt.write(".parquet") as file:
                schemas.write_parquet(file, [pa.Table.from_pylist(mine, schemas.LINKS)], schemas.LINKS)
            attempt.commit({})
    return links


def entry(url, days=0, **more):
    """A row of the index: a capture so many days after the post."""
    return {
        "url_surtkey": surt(url),
        "url": url,
        "url_host_name": host_of(fetch_url(url)),
        "fetch_time": POSTED + timedelta(days=days),
        "fetch_status": 200,
        "content_digest": "CH7IV3XAD3M7A42JARKRLJ3T5PGGCGXD",
        "warc_filename": WARC,
        "warc_record_offset": 0,
        "warc_record_length": 100,
        "crawl": "CC-MAIN-2013-48",
        "subset": "warc",
        **more,
    }


def write_index(path, rows, time=IN_UTC, without=()):
    types = {"fetch_time": time, "fetch_status": pa.int16(), "warc_record_offset": pa.int32()}
    types["warc_record_length"] = pa.int32()
    names = [name for name in entry("http://a.test/") if name not in without]
    columns = [
        pa.array(
            [row[name] if time.tz or name != "fetch_time" else row[name].replace(tzinfo=None) for row in rows],
            types.get(name, pa.string()),
        )
        for name in names
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, names), path)


def matched(work, links, run=None, globs=("index/*.parquet",)):
    used = PagesSettings(commoncrawl=globs)
    found = commoncrawl.collect(used, work, run or PlainRun(), write_links(work, links), {})
    rows = [schemas.read_parquet(found.file(shard, ".parquet")).to_pylist() for shard in range(SHARDS)]
    for shard, mine in enumerate(rows):
        assert {shard_of(host_of(canonical_url(row["url"])), row["doc_id"], SHARDS, {}) for row in mine} <= {shard}
    return {row["doc_id"]: row for mine in rows for row in mine}


def urls(found, links):
    return [found[one["doc_id"]]["url"] if one["doc_id"] in found else None for one in links]


def test_the_nearest_capture_is_taken_before_or_after_the_post_across_files(tmp_path):
    links = [link(f"http://a.test/{n}") for n in range(4)]
    write_index(tmp_path / "index/1.parquet", [
        entry("http://a.test/0", -9, warc_record_offset=1), entry("http://a.test/0", 8, warc_record_offset=2),
        entry("http://a.test/1", -40, warc_record_offset=3), entry("http://a.test/2", 5, warc_record_offset=4),
        entry("http://elsewhere.test/", 0),
    ])  # fmt: skip
    write_index(tmp_path / "index/2.parquet", [
        entry("http://a.test/0", 10, warc_record_offset=5), entry("http://a.test/1", 39, warc_record_offset=6),
        entry("http://a.test/2", -5, warc_record_offset=7),
    ])  # fmt: skip
    found = matched(tmp_path, links)
    offsets = [found[one["doc_id"]]["warc_record_offset"] if one["doc_id"] in found else None for one in links]
    assert offsets == [2, 6, 7, None]
    assert found[links[0]["doc_id"]]["fetch_time"] == (POSTED + timedelta(days=8)).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("posted", "captured", "same"),
    [
        ("http://www.a.test/x?utm_source=r&b=1", "https://a.test/x?b=1", True),
        ("http://www.a.test/x?utm_source=r&b=1", "http://www.a.test/x?utm_source=r&b=1", True),
        ("http://a.test/x#top", "http://www.a.test/x", True),
        ("http://a.test/x", "http://a.test/X", False),
        ("http://a.test/x", "http://a.test/x/", False),
        ("http://a.test/x?b=1&a=2", "http://a.test/x?a=2&b=1", False),
        ("http://a.test/x", "http://www2.a.test/x", False),
        ("http://a.test/x", "http://a.test:8080/x", False),
    ],
)
def test_an_address_that_only_shares_the_key_is_another_page(tmp_path, posted, captured, same):
    links = [link(posted)]
    write_index(tmp_path / "index/1.parquet", [entry(captured)])
    assert urls(matched(tmp_path, links), links) == [captured if same else None]


def test_an_answer_that_is_no_page_and_a_link_that_is_not_kept_have_no_match(tmp_path):
    links = [link("http://a.test/1"), link("http://a.test/2"), link("http://a.test/3", outcome="low_karma")]
    rows = [
        entry("http://a.test/1", fetch_status=301),
        entry("http://a.test/2", subset="robotstxt"),
        entry("http://a.test/3"),
    ]
    write_index(tmp_path / "index/1.parquet", rows)
    assert matched(tmp_path, links) == {}


@pytest.mark.parametrize("time", [IN_UTC, pa.timestamp("us"), pa.timestamp("ns")], ids=str)
def test_the_answer_of_the_query_is_an_index_itself(tmp_path, time):
    links = [link("http://a.test/1"), link("http://b.test/", posted=None)]
    rows = [
        entry("http://a.test/1", 3),
        entry("http://a.test/1", 2),
        entry("http://b.test/", 7),
        entry("http://b.test/", 1),
    ]
    write_index(tmp_path / "index/1.parquet", rows, time)
    first = matched(tmp_path, links)
    assert [first[one["doc_id"]]["fetch_time"].day for one in links] == [17, 16]
    pq.write_table(pa.Table.from_pylist(list(first.values()), schemas.MATCHES), tmp_path / "answer.parquet")
    assert matched(tmp_path, links, globs=("answer.parquet",)) == first


def test_columns_that_only_partitions_hold_may_lack(tmp_path):
    links = [link("http://a.test/1")]
    write_index(tmp_path / "index/1.parquet", [entry("http://a.test/1")], without=("crawl", "subset", "content_digest"))
    assert urls(matched(tmp_path, links), links) == ["http://a.test/1"]
    write_index(tmp_path / "crawl=CC-MAIN-2013-20/subset=warc/1.parquet", [entry("http://a.test/1")],
                without=("crawl", "subset"))  # fmt: skip
    [row] = matched(tmp_path, links, globs=("crawl=*/subset=warc/*.parquet",)).values()
    assert row["crawl"] == "CC-MAIN-2013-20"


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), min_size=1, max_size=6, unique_by=lambda one: one[0]),
    st.lists(st.tuples(st.integers(0, 5), st.integers(-500, 500), st.integers(0, 3)), max_size=25),
)
@settings(max_examples=10, deadline=None)
def test_asking_each_file_and_then_the_answers_agrees_with_a_look_at_every_pair(tmp_path_factory, posts, captures):
    work = tmp_path_factory.mktemp("join")
    links = [link(f"http://h{n % 3}.test/{n}", POSTED + timedelta(days=days)) for n, days in posts]
    asked = [
        {"doc_id": one["doc_id"], **address, "posted": posted(one["created"])}
        for one in links
        for address in commoncrawl.addresses(one["url"], one["fetch_url"])
    ]
    pq.write_table(pa.Table.from_pylist(asked, schemas.WANTED), work / "wanted.parquet")
    rows = [entry(f"https://h{n % 3}.test/{n}", day, warc_record_offset=at) for at, (n, day, _) in enumerate(captures)]
    answers = []
    for file in range(4):
        mine = [row for row, (_, _, place) in zip(rows, captures, strict=True) if place == file]
        write_index(work / f"{file}.parquet", mine)
        answers.append(commoncrawl.answer(commoncrawl.query(), [work / "wanted.parquet"], work / f"{file}.parquet"))
    together = pa.concat_tables(answers).drop_columns(["doc_id"])
    best = commoncrawl.answer(commoncrawl.query(), [work / "wanted.parquet"], together).to_pylist()
    nearest = {}
    for one, (n, days) in zip(links, posts, strict=True):
        mine = [(abs(day - days), day, at) for at, (page, day, _) in enumerate(captures) if page == n]
        if mine:
            nearest[one["doc_id"]] = min(mine)[2]
    assert {row["doc_id"]: row["warc_record_offset"] for row in best} == nearest
    assert len(best) == len(nearest)


def test_of_captures_at_one_time_the_names_of_files_choose_none(tmp_path):
    digests = []
    for names in ("ab", "ba"):
        named = zip(names, "XY", strict=True)
        rows = [entry("http://a.test/", warc_filename=name, content_digest=digest) for name, digest in named]
        write_index(tmp_path / names / "index/1.parquet", rows)
        digests += [row["content_digest"] for row in matched(tmp_path / names, [link("http://a.test/")]).values()]
    assert digests == ["X", "X"]


CAPTURES = st.tuples(st.integers(-3, 3), st.sampled_from("XYZ"))


@given(st.lists(CAPTURES, min_size=1, max_size=6, unique=True), st.booleans())
@settings(max_examples=8, deadline=None)
def test_warc_files_of_ones_own_and_common_crawl_choose_by_one_rule(tmp_path_factory, captures, dated):
    work = tmp_path_factory.mktemp("rule")
    rows = [entry("http://a.test/", days, content_digest=digest) for days, digest in captures]
    write_index(work / "index/1.parquet", rows)
    [match] = matched(work, [link("http://a.test/", POSTED if dated else None)]).values()
    usual = dict.fromkeys(("final_url", "content_type", "opt_outs", "location", "record_id", "kind", "warc"), "")
    usual |= {"outcome": "kept", "status": 200, "offset": 0}
    named = [(row["fetch_time"].replace(tzinfo=None), row["content_digest"]) for row in rows]
    mine = [{**usual, "captured": time, "sha256": digest} for time, digest in named]
    first = nearest(mine, POSTED.replace(tzinfo=None) if dated else None)[0]
    assert (match["fetch_time"], match["content_digest"]) == (first["captured"], first["sha256"])


def test_nothing_is_joined_again_until_an_input_changes(tmp_path):
    class Counting(PlainRun):
        asked = 0

        def exchange(self, scatter, sources, gather, targets, heavy=False):
            Counting.asked += len(targets)
            super().exchange(scatter, sources, gather, targets)

    links = [link("http://a.test/1"), link("http://b.test/2")]
    write_index(tmp_path / "index/1.parquet", [entry("http://a.test/1")])
    first = matched(tmp_path, links, Counting())
    assert matched(tmp_path, links, Counting()) == first
    assert Counting.asked == SHARDS
    write_index(tmp_path / "index/2.parquet", [entry("http://b.test/2")])
    assert len(matched(tmp_path, links, Counting())) == 2
    assert Counting.asked == 2 * SHARDS


def test_without_index_files_what_to_look_up_is_there_and_named(tmp_path):
    links = [link("http://www.a.test/x?utm_source=r"), link("http://b.test/", posted=None)]
    with pytest.raises(InputError, match=r"matches no file.*scratch/wanted: see sql/commoncrawl_pages\.sql"):
        matched(tmp_path, links)
    table = pa.concat_tables([pq.read_table(path) for path in sorted((tmp_path / "scratch/wanted").glob("*.parquet"))])
    assert sorted(
        (row["url_surtkey"], row["address"], row["posted"]) for row in table.to_pylist() if row["posted"]
    ) == [
        ("test,a)/x", "a.test/x", POSTED.replace(tzinfo=None)),
        ("test,a)/x?utm_source=r", "a.test/x?utm_source=r", POSTED.replace(tzinfo=None)),
    ]
    assert [row["address"] for row in table.to_pylist() if not row["posted"]] == ["b.test/"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"hello", "not a Parquet file of Common Crawl's index"),
        (None, "it has no column url_surtkey, url"),
    ],
)
def test_a_file_that_is_no_index_is_named(tmp_path, content, said):
    path = tmp_path / "index/x.parquet"
    write_index(path, [entry("http://a.test/")], without=("url_surtkey", "url"))
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said) as failure:
        matched(tmp_path, [link("http://a.test/")])
    assert str(path) in str(failure.value)


@pytest.mark.failure("a file of the index is damaged", "exit 3; the line names it", "fetch the file again")
def test_a_damaged_index_is_named(tmp_path):
    path = tmp_path / "index/x.parquet"
    write_index(path, [entry(f"http://a.test/{n}") for n in range(500)])
    content = bytearray(path.read_bytes())
    content[100:400] = bytes(300)
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"x\.parquet: "):
        matched(tmp_path, [link("http://a.test/1")])


def test_without_duckdb_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(commoncrawl.importlib.sys.modules, "duckdb", None)
    with pytest.raises(ConfigError, match=r"pip install 'webtext\[commoncrawl\]'"):
        matched(tmp_path, [link("http://a.test/")])
