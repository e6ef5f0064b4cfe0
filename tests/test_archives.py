"""Archives of every kind through the stages; what is not read is named, and the rest is built."""

import gzip

import pytest

from pipeline import config
from pipeline.build import artefact, build
from pipeline.demo import site
from pipeline.shards import schemas
from pipeline.shards.outcomes import InputError
from pipeline.shards.runner import PlainRun
from pipeline.verbs.plan.probe import probe
from tests.fetch.archives import arc_record, filedesc, http, packed, record, wacz

SHARDS = 2
TOTAL = "segment_total_length"
DUMP = b'{"id": "a", "url": "http://a.test/", "score": 5, "created_utc": 1400000000, "subreddit": "s"}\n'


def made(root, until="pages", sources=None, **pages):
    settings = config.parse(
        {
            "build": {"shards": SHARDS},
            "links": {"submissions": sources or ["in/*"], "karma": 0},
            "pages": {"warc": ["in/*"], "crawl": "never", **pages},
        }
    )
    return build(root, settings, until, run=PlainRun())


def rows(root, stage):
    one = artefact(root, stage, SHARDS)
    tables = (schemas.read_parquet(one.file(shard, ".parquet")) for shard in range(SHARDS))
    return {row["url"]: row for table in tables for row in table.to_pylist()}


def notes(root, stage):
    return artefact(root, stage, SHARDS).manifest().notes


def write(root, **files):
    (root / "in").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (root / "in" / name.replace("_", ".", 1)).write_bytes(content)


def bodies(number):
    """So many pages of real words, no two the same."""
    return [site.render(page).encode() for page in site.ordinary_pages()[:number]]


def test_archives_of_every_kind_are_links_pages_and_documents(tmp_path):
    one, two, three, _, five = (http(body) for body in bodies(5))
    more = {"segment_number": 2, "segment_origin_id": "<urn:0>", "segment_total_length": len(one)}
    first = record(one[:700], "http://a.test/1", record_id="<urn:0>", segment_number=1)
    second = record(one[700:], "", "continuation", **more)
    resource = record(bodies(4)[3], "http://a.test/4", "resource", content_type="text/html")
    write(
        tmp_path,
        a_wacz=wacz({"data.warc.gz": packed([first, record(two, "http://a.test/2"), second])}),
        b_arc=filedesc() + arc_record(three, "http://a.test/3"),
        c_warc=resource.replace(b"WARC-T", b"warc-t"),
    )
    (tmp_path / "in/d.arc.gz").write_bytes(packed([filedesc(2), arc_record(five, "http://a.test/5", 2)]))
    made(tmp_path, "documents")
    found = rows(tmp_path, "documents")
    assert {url: row["outcome"] for url, row in found.items()} == {f"https://a.test/{n}": "kept" for n in range(1, 6)}
    assert len({row["text"] for row in found.values()}) == 5
    assert min(len(row["text"]) for row in found.values()) > 300
    assert notes(tmp_path, "pages") == notes(tmp_path, "links") == ()


@pytest.mark.failure(
    "a file of pages.warc is of a kind that is not read",
    "a note names it, with the cure; the others are read",
    "do what the note says",
)
def test_files_of_other_kinds_are_left_out_by_name_and_the_rest_is_built(tmp_path):
    write(tmp_path, x_zip=b"PK\x05\x06" + bytes(18), y_har=b"{}", z_cdx=b" CDX N b a\n", w_gz=gzip.compress(b"a\n"))
    write(tmp_path, good_warc=record(http(), "http://a.test/"), empty_warc=b"")
    (tmp_path / "folder").mkdir()
    dump = tmp_path / "dump.ndjson"
    dump.write_bytes(DUMP)
    made(tmp_path, sources=["dump.ndjson"], warc=["in/*", "folder"])
    assert {url: row["outcome"] for url, row in rows(tmp_path, "pages").items()} == {"https://a.test/": "kept"}
    said = notes(tmp_path, "pages")
    assert all(note.startswith("left out: ") for note in said)
    for name, cure in (
        ("x.zip", "make a WARC file"), ("y.har", "har2warc"), ("z.cdx", "name the WARC files"), ("w.gz", "take it out"),
        ("empty.warc", "fetch it again"), ("'folder' is a folder", "folder/*"),
    ):  # fmt: skip
        assert [cure in note for note in said if name in note] == [True], name
    made(tmp_path / "links", sources=[str(dump), f"{tmp_path}/in/*.warc", f"{tmp_path}/in/*.zip", str(tmp_path / "in")],
         warc=[f"{tmp_path}/in/good.warc"])  # fmt: skip
    assert list(rows(tmp_path / "links", "links")) == ["https://a.test/"]
    left_out = notes(tmp_path / "links", "links")
    assert [any(name in note for note in left_out) for name in ("x.zip", "empty.warc", "is a folder")] == [True] * 3


def test_where_no_file_is_read_the_build_stops_and_says_why(tmp_path):
    write(tmp_path, x_zip=b"PK\x05\x06" + bytes(18), y_har=b"{}")
    (tmp_path / "dump.ndjson").write_bytes(DUMP)
    with pytest.raises(InputError, match=r"x\.zip: a zip without WARC or ARC files"):
        made(tmp_path, sources=["dump.ndjson"])
    with pytest.raises(InputError, match=r"x\.zip"):
        made(tmp_path / "links", sources=[f"{tmp_path}/in/*"], warc=[f"{tmp_path}/in/*"])
    for settings in ({"warc": ["in"]}, {"sources": [f"{tmp_path}/in"], "warc": [f"{tmp_path}/in/*"]}):
        with pytest.raises(InputError, match=r"in' is a folder; name the files in it"):
            made(tmp_path, **{"sources": ["dump.ndjson"], **settings})


@pytest.mark.failure(
    "an input gives no link or no page", "a note names the file and what it holds instead", "name another file"
)
def test_an_input_that_gives_no_link_or_no_page_is_named(tmp_path):
    others = [record(b"a: b\r\n", "http://a.test/", kind) for kind in ("metadata", "conversion")]
    write(
        tmp_path,
        none_warc=b"".join(others),
        gone_warc=record(http(status="404 Not Found"), "http://a.test/gone"),
        good_warc=record(http(), "http://a.test/"),
    )
    made(tmp_path)
    assert ["in/none.warc: " in note and "no link" in note for note in notes(tmp_path, "links")] == [True]
    said = sorted(notes(tmp_path, "pages"))
    assert ["in/gone.warc: no page" in said[0] and "1 not_found" in said[0], "in/none.warc: no page" in said[1]] == [
        True, True
    ]  # fmt: skip
    assert len(said) == 2


def test_the_plan_leaves_out_what_the_build_leaves_out(tmp_path):
    write(tmp_path, x_zip=b"PK\x05\x06" + bytes(18), good_wacz=wacz({"1.warc.gz": packed([record(http())])}))
    settings = {"links": {"submissions": ["in/*"]}, "pages": {"warc": ["in/*"], "crawl": "never"}}
    found = probe(tmp_path, config.parse(settings))
    assert (found.submissions.rows, found.captures.kept) == (1, 1)
