"""Pages: every kept link has exactly one end, and no committed link is asked for twice."""

import io
import threading
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline import documents, pages
from pipeline.config import BuildSettings, PagesSettings, Settings
from pipeline.fetch import pointers
from pipeline.fetch.surt import surt
from pipeline.shards import receipts, schemas, storage
from pipeline.shards.outcomes import ConfigError, InputError, Outcome
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import PlainRun
from pipeline.urls import doc_id, host_of, shard_of
from tests.fetch.archive_web import archive_web

SHARDS = 2
BODY = b"<html><body><p>" + b"Some words of a page that somebody wrote. " * 20 + b"</p></body></html>"


def link(url, outcome="kept", fetch_url=None):
    columns = {"url": url, "fetch_url": fetch_url or url, "doc_id": doc_id(url), "host": host_of(url)}
    return {**columns, "score": 3, "created": 0, "submissions": [], "host_shards": 1, "outcome": outcome}


def write_links(work, rows, shards=SHARDS):
    links = Artefact(work, "links", shards)
    places = [shard_of(row["host"], row["doc_id"], shards, {}) for row in rows]
    marks = [[row["url"] + row["outcome"] for row in rows]] * shards
    for task in links.begin([receipts.fingerprint("links", 1, {}, mark, ()) for mark in marks]):
        mine = [row for row, place in zip(rows, places, strict=True) if place == task.shard]
        with links.attempt(task) as attempt:
            with attempt.write(".parquet") as file:
                schemas.write_parquet(file, [pa.Table.from_pylist(mine, schemas.LINKS)], schemas.LINKS)
            attempt.rows(".parquet", len(mine))
            attempt.commit({})


def write_warc(path, *responses):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for url, status, body in responses:
            head = StatusAndHeaders(status, [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=head))


def settings_of(**values):
    return Settings(build=BuildSettings(shards=SHARDS), pages=PagesSettings(**values))


def rows_of(work):
    made = Artefact(work, "pages", SHARDS)
    return [row for shard in range(SHARDS) for row in schemas.read_parquet(made.file(shard, ".parquet")).to_pylist()]


def ends(work):
    return {row["url"]: row["outcome"] for row in rows_of(work)}


def test_each_kept_link_gets_its_best_response_or_is_not_in_the_files(tmp_path):
    names = [f"https://{host}.test/{n}" for host in "abc" for n in range(3)]
    write_links(tmp_path, [*map(link, names), link("https://a.test/low", "low_karma")])
    write_warc(tmp_path / "w/1.warc.gz", *[(url, "404 Not Found", b"no") for url in names[:5]])
    write_warc(
        tmp_path / "w/2.warc.gz",
        *[(url.replace("https", "http"), "200 OK", BODY) for url in reversed(names[3:8])],
        ("https://a.test/low", "200 OK", BODY),
    )
    settings = settings_of(warc=("w/*.warc.gz",))
    manifest = pages.stage(settings, tmp_path, PlainRun())
    expected = dict(zip(names, ["not_found"] * 3 + ["kept"] * 5 + ["not_in_warc"], strict=True))
    assert ends(tmp_path) == expected
    assert manifest.books["pages"].outcomes == {"kept": 5, "not_in_warc": 1, "not_found": 3}
    urls = [row["url"] for row in rows_of(tmp_path)]
    assert sorted(urls) == sorted(names)
    assert pages.stage(settings, tmp_path, PlainRun()) == manifest


def test_the_order_of_blocks_does_not_matter(tmp_path):
    names = [f"https://a.test/{n}" for n in range(4)]
    everything = [pa.Table.from_pylist([pointer(url, file)], schemas.CAPTURES) for url in names for file in "xyz"]
    blocks = [block for table in everything for block in schemas.pack(table)]
    hashes = []
    for folder, order in (("one", blocks), ("two", blocks[::-1])):
        made = Artefact(tmp_path / folder, "scratch/captures", 1)
        pointers.gather(made, receipts.Task(0, "f"), order)
        hashes.append(made.hashes(0))
    assert hashes[0] == hashes[1]
    assert schemas.read_parquet(made.file(0, ".parquet"))["warc"].to_pylist() == ["y"] * 4


def pointer(url, file):
    outcome = Outcome.NOT_FOUND if file == "x" else Outcome.KEPT
    row = pointers.row_of(doc_id(url), pointers.Pointer(file, 7, 1, ""), url, 200, "text/html", (), outcome)
    return {**row, "location": ""}


def test_a_glob_without_files_and_a_crawl_without_contact_are_refused(tmp_path):
    write_links(tmp_path, [link("https://a.test/")])
    with pytest.raises(InputError, match=r"none\*"):
        pages.stage(settings_of(warc=("none*",)), tmp_path, PlainRun())
    with pytest.raises(ConfigError, match=r"pages\.contact"):
        pages.stage(settings_of(), tmp_path, PlainRun())


@contextmanager
def web():
    hits = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path != "/robots.txt"
            if found:
                hits.append(self.path)
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html")
            if self.path == "/private":
                self.send_header("X-Robots-Tag", "noai")
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        local = {f"{host}.test": f"127.0.0.1:{server.server_port}" for host in "ab"}
        try:
            yield {"contact": "mailto:a@b.test", "gap_s": 0.0, "deadline_s": 10.0, "local_hosts": local}, hits
        finally:
            server.shutdown()
            thread.join()


def crawled(path, outcome="kept"):
    host = "ab"[len(path) % 2]
    return link(f"https://{host}.test{path}", outcome, f"http://{host}.test{path}")


def test_a_second_crawl_asks_for_new_links_only(tmp_path):
    with web() as (values, hits):
        write_links(tmp_path, [crawled("/1"), crawled("/22"), crawled("/new", "low_karma"), crawled("/private")])
        pages.stage(settings_of(**values), tmp_path, PlainRun())
        assert sorted(hits) == ["/1", "/22", "/private"]
        hits.clear()
        write_links(tmp_path, [crawled("/1"), crawled("/22"), crawled("/new"), crawled("/private")])
        manifest = pages.stage(settings_of(**values, opt_outs=False), tmp_path, PlainRun())
        assert hits == ["/new"]
        assert manifest.books["pages"].outcomes == {"kept": 4}
        manifest = pages.stage(settings_of(**values), tmp_path, PlainRun())
        assert hits == ["/new"]
        assert manifest.books["pages"].outcomes == {"kept": 3, "opted_out": 1}


def test_what_the_files_do_not_hold_is_crawled_if_allowed(tmp_path):
    paths = ["/held", "/gone", "/broken", "/absent1", "/absent22", "/absent333"]
    with web() as (values, hits):
        rows = [crawled(path) for path in paths]
        write_links(tmp_path, rows)
        url = {path: row["fetch_url"] for path, row in zip(paths, rows, strict=True)}
        write_warc(tmp_path / "w/1.warc.gz", (url["/held"], "200 OK", BODY), (url["/gone"], "404 Not Found", b"no"))
        write_warc(tmp_path / "w/2.warc.gz", (url["/broken"], "200 OK", BODY))
        cut = (tmp_path / "w/2.warc.gz").read_bytes()[:-9]
        (tmp_path / "w/2.warc.gz").write_bytes(cut)
        alone = pages.stage(settings_of(**values, warc=("w/*",)), tmp_path, PlainRun())
        assert hits == []
        assert alone.books["pages"].outcomes == {"kept": 1, "not_in_warc": 3, "bad_record": 1, "not_found": 1}
        assert ["2.warc.gz at offset 0" in note for note in alone.notes] == [True]
        settings = settings_of(**values, warc=("w/*",), crawl="missing")
        both = pages.stage(settings, tmp_path, PlainRun())
        assert sorted(hits) == ["/absent1", "/absent22", "/absent333", "/broken"]
        assert both.books["pages"].outcomes == {"kept": 5, "not_found": 1}
        folders = {row["url"]: row["warc"].rpartition("/")[0] for row in rows_of(tmp_path)}
        assert folders[rows[0]["url"]] == str(tmp_path / "w")
        assert {folders[row["url"]] for row in rows[2:]} == {"segments"}
        assert pages.stage(settings, tmp_path, PlainRun()) == both
        assert pages.stage(settings_of(**values, warc=("w/*",)), tmp_path, PlainRun()).books == alone.books
        assert len(hits) == 4


def write_index(path, *captures):
    """An index of Common Crawl: (url, day of August 2013, file, offset, length)."""
    rows = [
        {
            "url_surtkey": surt(url),
            "url": url,
            "fetch_time": datetime(2013, 8, day),
            "fetch_status": 200,
            "warc_filename": file,
            "warc_record_offset": offset,
            "warc_record_length": length,
        }
        for url, day, file, offset, length in captures
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_what_one_source_lacks_the_next_is_asked_for(tmp_path):
    """WARC files first, then Common Crawl at the date of the post, then the web; documents read all of them alike."""
    paths = ["/held1", "/old22", "/moved1", "/live22"]
    with web() as (values, hits):
        rows = [{**crawled(path), "created": 1_376_568_000} for path in paths]  # 15 August 2013
        write_links(tmp_path, rows)
        held, old, moved, _ = (row["fetch_url"] for row in rows)
        write_warc(tmp_path / "w/1.warc.gz", (held, "200 OK", BODY))
        for day in (1, 14, 31):
            write_warc(tmp_path / f"{day}.warc.gz", (old, "200 OK", BODY.replace(b"words", b"words of day %d" % day)))
        files = {f"cc/{day}.warc.gz": (tmp_path / f"{day}.warc.gz").read_bytes() for day in (1, 14, 31)}
        captures = [(old, day, f"cc/{day}.warc.gz", 0, len(files[f"cc/{day}.warc.gz"])) for day in (1, 14, 31)]
        write_index(tmp_path / "i/1.parquet", *captures, (held, 15, "cc/1.warc.gz", 0, 9), (moved, 15, "cc/no", 0, 9))
        with archive_web(files) as common:
            hosts = {**values["local_hosts"], **common.settings["local_hosts"]}
            used = {**common.settings, "local_hosts": hosts, "warc": ("w/*",), "commoncrawl": ("i/*",)}
            alone = pages.stage(settings_of(**used), tmp_path, PlainRun())
            assert alone.books["pages"].outcomes == {"kept": 2, "not_in_warc": 1, "bad_record": 1}
            assert [note.partition(": ")[0] for note in alone.notes] == ["http://archive.test/cc/no at offset 0"]
            assert sorted(path for path, *_ in common.asked) == ["cc/14.warc.gz", "cc/no"]
            assert hits == []
            both = pages.stage(settings_of(**used, crawl="missing"), tmp_path, PlainRun())
            assert both.books["pages"].outcomes == {"kept": 4}
            assert (sorted(hits), len(common.asked)) == (["/live22", "/moved1"], 2)
            assert pages.stage(settings_of(**used, crawl="missing"), tmp_path, PlainRun()) == both
        settings = Settings(build=BuildSettings(shards=SHARDS), pages=settings_of(**used, crawl="missing").pages)
        documents.stage(settings, tmp_path, PlainRun())
    made = Artefact(tmp_path, "documents", SHARDS)
    tables = [schemas.read_parquet(made.file(shard, ".parquet")) for shard in range(SHARDS)]
    texts = {row["url"]: row["text"] for table in tables for row in table.to_pylist()}
    assert {path: "words of day 14" in texts[row["url"]] for path, row in zip(paths, rows, strict=True)} == {
        "/held1": False, "/old22": True, "/moved1": False, "/live22": False
    }  # fmt: skip
    assert all("words" in text for text in texts.values())


def test_common_crawl_is_not_asked_without_a_contact(tmp_path):
    write_links(tmp_path, [link("https://a.test/")])
    with pytest.raises(ConfigError, match=r"pages\.contact"):
        pages.stage(settings_of(commoncrawl=("i/*",), crawl="never"), tmp_path, PlainRun())


def test_a_redirect_in_the_files_leads_to_its_page_in_another_shard(tmp_path):
    names = [f"https://{host}.test/" for host in "abcdef"]
    write_links(tmp_path, list(map(link, names)))
    path = tmp_path / "w/1.warc.gz"
    write_warc(path, ("https://end.test/", "200 OK", BODY))
    with path.open("ab") as file:
        writer = WARCWriter(file, gzip=True)
        for url in names:
            head = StatusAndHeaders("301 Moved", [("Location", "https://end.test/")], protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(b""), http_headers=head))
    assert len({shard_of(host_of(url), doc_id(url), SHARDS, {}) for url in names}) == SHARDS
    pages.stage(settings_of(warc=("w/*",)), tmp_path, PlainRun())
    rows = rows_of(tmp_path)
    assert {(row["outcome"], row["final_url"], row["offset"]) for row in rows} == {("kept", "https://end.test/", 0)}
    assert sorted(row["doc_id"] for row in rows) == sorted(map(doc_id, names))


def test_pages_from_nowhere_are_refused(tmp_path):
    write_links(tmp_path, [link("https://a.test/")])
    with pytest.raises(ConfigError, match=r"pages\.crawl is 'never'"):
        pages.stage(settings_of(contact="mailto:a@b.test", crawl="never"), tmp_path, PlainRun())
    write_warc(tmp_path / "w/1.warc.gz", ("https://a.test/", "200 OK", BODY))
    with pytest.raises(ConfigError, match=r"pages\.contact"):
        pages.stage(settings_of(warc=("w/*",), crawl="missing"), tmp_path, PlainRun())


def test_a_killed_crawl_goes_on_after_its_last_segment(tmp_path, monkeypatch):
    whole = pages.crawl_segment
    rounds = []

    def dies_in_the_second(settings, folder, name, links):
        rounds.append(name)
        if len(rounds) == 2:
            (folder / f"{name}.warc.gz").write_bytes(b"half")  # a file without its table is no segment
            raise KeyboardInterrupt
        return whole(settings, folder, name, links)

    paths = [f"/{n}" for n in range(6)]
    with web() as (values, hits):
        write_links(tmp_path, list(map(crawled, paths)))
        settings = settings_of(**values, segment_links=2)
        monkeypatch.setattr(pages, "crawl_segment", dies_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            pages.stage(settings, tmp_path, PlainRun())
        assert len(hits) == 2
        monkeypatch.undo()
        pages.stage(settings, tmp_path, PlainRun())
        assert sorted(hits) == paths
    for row in rows_of(tmp_path):
        place = pages.warc.read_response(tmp_path / "pages" / row["warc"], row["offset"], row["length"], 10_000)
        assert (place.sha256, row["outcome"]) == (row["sha256"], "kept")
    assert storage.sweep(tmp_path) == 0
