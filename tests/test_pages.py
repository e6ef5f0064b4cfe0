"""Pages: every kept link has exactly one end, and no committed link is asked for twice.

Long because every source of pages is asked in the same made-up web.
"""

import io
import itertools
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline import documents, links, pages
from pipeline.config import BuildSettings, PagesSettings, Settings, parse
from pipeline.fetch import pointers, segments
from pipeline.fetch.captures import Capture
from pipeline.fetch.readback import read_response
from pipeline.fetch.surt import surt
from pipeline.shards import leftovers, receipts, schemas
from pipeline.shards.outcomes import ConfigError, InputError, IntegrityError, Outcome
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import PlainRun
from pipeline.urls import doc_id, host_of, shard_of
from tests.fetch.archive_web import archive_web

SHARDS = 2
BODY = b"<html><body><p>" + b"Some words of a page that somebody wrote. " * 20 + b"</p></body></html>"


def link(url, outcome="kept", fetch_url=None):
    columns = {"url": url, "fetch_url": fetch_url or url, "doc_id": doc_id(url), "host": host_of(url)}
    return {**columns, "score": 3, "created": 0, "submissions": [], "host_shards": 1, "outcome": outcome}


def write_links(work, rows, shards=SHARDS, places=None):
    links = Artefact(work, "links", shards)
    places = places or [shard_of(row["host"], row["doc_id"], shards, {}) for row in rows]
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


def by_workers(**values):
    return settings_of(**values, crawls=SHARDS)


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
    blocks = [pa.Table.from_pylist([pointer(url, file)], schemas.CAPTURES) for url in names for file in "xyz"]
    hashes = []
    for folder, order in (("one", blocks), ("two", blocks[::-1])):
        made = Artefact(tmp_path / folder, "scratch/captures", 1)
        pointers.gather(made, PagesSettings(), receipts.Task(0, "f"), order)
        hashes.append(made.hashes(0))
    assert hashes[0] == hashes[1]
    assert schemas.read_parquet(made.file(0, ".parquet"))["warc"].to_pylist() == ["x", "y", "z"] * 4


def pointer(url, file):
    return pointers.capture_row(file, Capture(url, 7, 1, Outcome.KEPT, ""), doc_id(url))


def test_a_glob_without_files_and_a_crawl_without_contact_are_refused(tmp_path):
    write_links(tmp_path, [link("https://a.test/")])
    with pytest.raises(InputError, match=r"none\*"):
        pages.stage(settings_of(warc=("none*",)), tmp_path, PlainRun())
    with pytest.raises(ConfigError, match=r"pages\.contact"):
        pages.stage(settings_of(), tmp_path, PlainRun())


@dataclass
class Web:
    """A web on loopback: `replies` by host and path, else a page; what was asked, and when it came and was answered."""

    replies: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)  # (host, path, came, answered)

    @property
    def hits(self):
        return sorted(path for _, path, *_ in self.requests if path != "/robots.txt")


@contextmanager
def local_web(replies=(), hosts="ab", **values):
    web = Web(dict(replies))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            came = time.monotonic()
            host = self.headers["Host"].partition(":")[0]
            status, headers, body = web.replies.get(host + self.path, (200, {}, BODY + self.path.encode()))
            web.requests.append((host, self.path, came, time.monotonic()))  # before the client can know
            self.send_response(status if host + self.path in web.replies or self.path != "/robots.txt" else 404)
            for name, value in {"Content-Type": "text/html", **headers, "Content-Length": len(body)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        local = {f"{host}.test": f"127.0.0.1:{server.server_port}" for host in hosts}
        common = {"contact": "mailto:a@b.test", "gap_s": 0.0, "deadline_s": 10.0, "local_hosts": local}
        try:
            yield {**common, **values}, web
        finally:
            server.shutdown()
            thread.join()


def redirect(to):
    return (302, {"Location": to}, b"")


def crawled(path, outcome="kept", host=None):
    host = host or "ab"[len(path) % 2]
    return link(f"https://{host}.test{path}", outcome, f"http://{host}.test{path}")


def test_a_second_crawl_asks_for_new_links_only(tmp_path):
    noai = {"b.test/private": (200, {"X-Robots-Tag": "noai"}, BODY)}
    with local_web(noai) as (values, web):
        rows = [crawled("/1"), crawled("/22"), crawled("/private", host="b")]
        write_links(tmp_path, [*rows, crawled("/new", "low_karma")])
        pages.stage(settings_of(**values), tmp_path, PlainRun())
        assert web.hits == ["/1", "/22", "/private"]
        web.requests.clear()
        write_links(tmp_path, [*rows, crawled("/new")])
        manifest = pages.stage(settings_of(**values, opt_outs=False), tmp_path, PlainRun())
        assert web.hits == ["/new"]
        assert manifest.books["pages"].outcomes == {"kept": 4}
        manifest = pages.stage(settings_of(**values), tmp_path, PlainRun())
        assert web.hits == ["/new"]
        assert manifest.books["pages"].outcomes == {"kept": 3, "opted_out": 1}


@pytest.mark.failure(
    "a link failed for a passing reason", "an outcome that says which", "raise `pages.passes` another day"
)
def test_links_that_failed_for_a_passing_reason_are_asked_again_when_passes_is_raised(tmp_path):
    a, b = HERE[0], THERE[0]
    busy = (500, {}, b"")
    replies = {
        f"{a}.test/moved": redirect(f"http://{b}.test/new"),
        **{f"{host}.test{path}": busy for host, path in [(b, "/new"), (a, "/busy"), (a, "/ever")]},
        f"{a}.test/slow": (429, {"Retry-After": "0"}, b""),
        f"{a}.test/gone": (404, {}, b""),
    }
    with local_web(replies, hosts=[a, b], retries=0) as (values, web):
        paths = ["/moved", "/busy", "/ever", "/slow", "/gone", "/fine"]
        write_links(tmp_path, [crawled(path, host=a) for path in paths])
        before = pages.stage(by_workers(**values), tmp_path, AtOnce())
        assert before.books["pages"].outcomes == {"kept": 1, "not_found": 1, "client_error": 1, "server_error": 3}
        web.requests.clear()
        for name in (f"{b}.test/new", f"{a}.test/busy", f"{a}.test/slow"):
            del web.replies[name]
        assert pages.stage(by_workers(**values), tmp_path, AtOnce()) == before
        assert web.hits == []
        after = pages.stage(by_workers(**values, passes=3), tmp_path, AtOnce())
        assert web.hits == sorted(["/moved", "/new", "/busy", "/slow", "/ever", "/ever"])
        web.requests.clear()
        assert pages.stage(by_workers(**values, passes=3), tmp_path, AtOnce()) == after
        assert web.hits == []
    found = {row["url"].partition(".test")[2]: row for row in rows_of(tmp_path)}
    failed = {"/gone": "not_found", "/ever": "server_error"}
    assert {path: row["outcome"] for path, row in found.items()} == {path: failed.get(path, "kept") for path in paths}
    place = found["/moved"]
    body = read_response(tmp_path / "pages" / place["warc"], place["offset"], place["length"], 10_000).body
    assert body == BODY + b"/new"


def test_what_the_files_do_not_hold_is_crawled_if_allowed(tmp_path):
    paths = ["/held", "/gone", "/broken", "/absent1", "/absent22", "/absent333"]
    with local_web() as (values, site):
        rows = [crawled(path) for path in paths]
        write_links(tmp_path, rows)
        url = {path: row["fetch_url"] for path, row in zip(paths, rows, strict=True)}
        write_warc(tmp_path / "w/1.warc.gz", (url["/held"], "200 OK", BODY), (url["/gone"], "404 Not Found", b"no"))
        write_warc(tmp_path / "w/2.warc.gz", (url["/broken"], "200 OK", BODY))
        cut = (tmp_path / "w/2.warc.gz").read_bytes()[:-9]
        (tmp_path / "w/2.warc.gz").write_bytes(cut)
        alone = pages.stage(settings_of(**values, warc=("w/*",)), tmp_path, PlainRun())
        assert site.hits == []
        assert alone.books["pages"].outcomes == {"kept": 1, "not_in_warc": 3, "bad_record": 1, "not_found": 1}
        assert ["2.warc.gz at offset 0" in note for note in alone.notes] == [True]
        settings = settings_of(**values, warc=("w/*",), crawl="missing")
        both = pages.stage(settings, tmp_path, PlainRun())
        assert site.hits == ["/absent1", "/absent22", "/absent333", "/broken"]
        assert both.books["pages"].outcomes == {"kept": 5, "not_found": 1}
        folders = {row["url"]: row["warc"].rpartition("/")[0] for row in rows_of(tmp_path)}
        assert folders[rows[0]["url"]] == "../w"
        assert {folders[row["url"]] for row in rows[2:]} == {"segments"}
        assert pages.stage(settings, tmp_path, PlainRun()) == both
        assert pages.stage(settings_of(**values, warc=("w/*",)), tmp_path, PlainRun()).books == alone.books
        assert len(site.hits) == 4


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
    with local_web() as (values, site):
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
            assert site.hits == []
            both = pages.stage(settings_of(**used, crawl="missing"), tmp_path, PlainRun())
            assert both.books["pages"].outcomes == {"kept": 4}
            assert (site.hits, len(common.asked)) == (["/live22", "/moved1"], 2)
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


def test_warc_files_alone_are_links_and_pages(tmp_path):
    """No dump: what the files hold responses of are the links, and each ends as its response does."""
    write_warc(
        tmp_path / "w/1.warc.gz",
        ("http://a.test/1", "200 OK", BODY),
        ("https://www.a.test/1", "200 OK", BODY),
        ("http://b.test/gone", "404 Not Found", b"no"),
        ("http://b.test/picture.jpg", "200 OK", BODY),
        ("http://b.test/2", "200 OK", BODY),
    )
    whole = (tmp_path / "w/1.warc.gz").read_bytes()
    (tmp_path / "w/2.warc.gz").write_bytes(whole + whole[:-20])
    tables = {"build": {"shards": SHARDS}, "links": {"submissions": ["w/*"]}, "pages": {"warc": ["w/*"]}}
    settings = parse(tables)
    books = links.stage(settings, tmp_path, PlainRun()).books
    assert books["submissions"].inputs == 15
    assert books["submissions"].outcomes["bad_line"] == 1
    assert books["links"].outcomes == {"kept": 3, "blocked_suffix": 1}
    manifest = pages.stage(settings, tmp_path, PlainRun())
    assert manifest.books["pages"].outcomes == {"kept": 2, "not_found": 1}
    last = len(whole) + whole.rindex(b"\x1f\x8b\x08")
    assert [f"2.warc.gz at offset {last}: " in note for note in manifest.notes] == [True]


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


def dies_at_commit(monkeypatch, nth, after):
    """Make the nth commit of a segment die as by SIGKILL: before it, or `after` its WARC file and before its table."""
    monkeypatch.setattr(segments.Writing, "__exit__", lambda writing, *error: writing.open.__exit__(*error))
    whole = segments.Writing.commit
    commits = []

    def commit(writing):
        commits.append(writing.number)
        if len(commits) == nth:
            if after:
                monkeypatch.setattr(schemas, "write_parquet", dies)
                whole(writing)
            raise KeyboardInterrupt
        whole(writing)

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(segments.Writing, "commit", commit)


@pytest.mark.failure("a crawl is killed", "at most the open segment is asked for again", "run it again")
@pytest.mark.parametrize("after", [False, True], ids=["before its WARC file", "before its table"])
def test_a_killed_crawl_goes_on_after_its_last_segment(tmp_path, monkeypatch, after):
    paths = [f"/{n}" for n in range(6)]
    with local_web() as (values, web):
        write_links(tmp_path, list(map(crawled, paths)))
        settings = settings_of(**values, segment_links=2)
        with monkeypatch.context() as patched:
            dies_at_commit(patched, 2, after)
            with pytest.raises(KeyboardInterrupt):
                pages.stage(settings, tmp_path, PlainRun())
        committed = {row["final_url"] for row in segment_rows(tmp_path)}
        assert len(committed) == 2
        pages.stage(settings, tmp_path, PlainRun())
        again = [path for path, hits in Counter(web.hits).items() if hits > 1]
        assert not committed & {f"http://{'ab'[len(path) % 2]}.test{path}" for path in again}
        assert len(again) <= 4  # the open segment, and what was under way
        assert set(web.hits) == set(paths)
    for row in rows_of(tmp_path):
        place = read_response(tmp_path / "pages" / row["warc"], row["offset"], row["length"], 10_000)
        assert (place.sha256, row["outcome"]) == (row["sha256"], "kept")
    assert leftovers.sweep(tmp_path) == 0


def segment_rows(work):
    shelves = [pages.shelf(Artefact(work, "pages", SHARDS), shard) for shard in range(SHARDS)]
    return [row for shelf in shelves for row in shelf.rows()]


def home(name):
    return shard_of(f"{name}.test", "", SHARDS, {})


HERE = [name for name in "abcdefghij" if home(name) == 0][:2]
THERE = [name for name in "abcdefghij" if home(name) == 1][:2]


@dataclass(frozen=True)
class AtOnce(PlainRun):
    """A run whose shards are made at the same time, as workers do; with `by_workers` each by a crawl of its own."""

    def map_shards(self, function, tasks, heavy=False):
        with ThreadPoolExecutor(max(1, len(tasks))) as pool:
            list(pool.map(function, tasks))


def test_a_redirect_to_a_host_of_another_shard_is_followed_there_and_asked_once(tmp_path):
    (a, c), (b, d) = HERE, THERE
    replies = {
        f"{a}.test/there": redirect(f"http://{b}.test/back"),
        f"{b}.test/back": redirect(f"http://{a}.test/end"),
        f"{a}.test/loop": redirect(f"http://{b}.test/loop"),
        f"{b}.test/loop": redirect(f"http://{a}.test/loop"),
        f"{a}.test/no": redirect(f"http://{d}.test/no"),
        f"{d}.test/robots.txt": (200, {}, b"User-agent: *\nDisallow: /no\n"),
        f"{c}.test/robots.txt": redirect(f"http://{d}.test/rules"),
        f"{d}.test/rules": (200, {}, b"User-agent: *\nDisallow: /no\n"),
        **{f"{a}.test/far{n}": redirect(f"http://{b}.test/far{n}") for n in range(9)},
        **{f"{b}.test/far{n}": redirect(f"http://{a}.test/far{n + 1}") for n in range(9)},
    }
    with local_web(replies, hosts=[a, b, c, d], redirects=4) as (values, web):
        paths = [(a, "/there"), (a, "/loop"), (a, "/no"), (a, "/far0"), (c, "/no"), (c, "/yes"), (b, "/own")]
        write_links(tmp_path, [crawled(path, host=host) for host, path in paths])
        manifest = pages.stage(by_workers(**values), tmp_path, AtOnce())
        asked = Counter((host, path) for host, path, *_ in web.requests)
        assert pages.stage(by_workers(**values), tmp_path, AtOnce()) == manifest
        assert len(web.requests) == asked.total()
    assert ends(tmp_path) == {
        f"https://{a}.test/there": "kept",
        f"https://{a}.test/loop": "redirect_loop",
        f"https://{a}.test/no": "robots_disallowed",
        f"https://{a}.test/far0": "too_many_redirects",
        f"https://{c}.test/no": "robots_disallowed",
        f"https://{c}.test/yes": "kept",
        f"https://{b}.test/own": "kept",
    }
    assert set(asked.values()) == {1}
    assert (d, "/no") not in asked
    assert (c, "/no") not in asked
    found = {row["url"]: row for row in rows_of(tmp_path)}[f"https://{a}.test/there"]
    assert found["final_url"] == f"http://{a}.test/end"
    place = read_response(tmp_path / "pages" / found["warc"], found["offset"], found["length"], 10_000)
    assert place.body == BODY + b"/end"


def test_the_gap_of_a_host_holds_over_all_shards_that_lead_to_it(tmp_path):
    (a, c), (b, d) = HERE, THERE
    moved = [(host, f"/{host}{n}") for host in (a, c, d) for n in range(3)]
    replies = {f"{host}.test{path}": redirect(f"http://{b}.test{path}") for host, path in moved}
    with local_web(replies, hosts=[a, b, c, d], gap_s=0.1) as (values, web):
        write_links(tmp_path, [crawled(path, host=host) for host, path in [*moved, (b, "/1"), (b, "/2")]])
        manifest = pages.stage(by_workers(**values), tmp_path, AtOnce())
    assert manifest.books["pages"].outcomes == {"kept": 11}
    for name in (a, b, c, d):
        times = sorted((came, answered) for host, _, came, answered in web.requests if host == f"{name}.test")
        assert len(times) == (12 if name == b else 4)
        assert all(came - answered >= 0.1 for (_, answered), (came, _) in itertools.pairwise(times))


def test_shards_that_share_a_host_ask_it_one_at_a_time(tmp_path):
    links = [{**crawled(f"/{n}", host="a"), "host_shards": 2} for n in range(12)]
    places = {row["url"]: shard_of("a.test", row["doc_id"], SHARDS, {"a.test": 2}) for row in links}
    assert set(places.values()) == {0, 1}
    with local_web(gap_s=0.05) as (values, web):
        write_links(tmp_path, links, places=[places[row["url"]] for row in links])
        manifest = pages.stage(by_workers(**values), tmp_path, AtOnce())
    assert manifest.books["pages"].outcomes == {"kept": 12}
    times = sorted((came, answered) for _, _, came, answered in web.requests)
    assert len(times) == 13  # one crawl asks for all of them, and once for robots.txt
    assert all(came - answered >= 0.05 for (_, answered), (came, _) in itertools.pairwise(times))


def test_a_round_that_ends_early_is_followed_by_another_and_nothing_is_asked_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "PER_EXCHANGE", 0)
    paths = [f"/{n}" for n in range(8)]
    with local_web(gap_s=0.1, round_s=0.45) as (values, web):
        write_links(tmp_path, [crawled(path, host="a") for path in paths])
        manifest = pages.stage(settings_of(**values), tmp_path, PlainRun())
        assert web.hits == sorted(paths)
        assert manifest.books["pages"].outcomes == {"kept": 8}
        assert len({row["warc"] for row in rows_of(tmp_path)}) > 1
        assert [path for _, path, *_ in web.requests].count("/robots.txt") == 1


def test_a_link_whose_address_is_of_a_host_of_another_shard_is_asked_for_there(tmp_path):
    a, b = HERE[0], THERE[0]
    with local_web(hosts=[a, b]) as (values, web):
        moved = link(f"https://{a}.test/story", fetch_url=f"http://{b}.test/story")
        write_links(tmp_path, [moved, crawled("/own", host=b)])
        pages.stage(settings_of(**values), tmp_path, PlainRun())
    assert ends(tmp_path) == {f"https://{a}.test/story": "kept", f"https://{b}.test/own": "kept"}
    found = {row["url"]: row for row in rows_of(tmp_path)}[f"https://{a}.test/story"]
    assert found["warc"].startswith("segments/00001-of-00002.")
    assert web.hits == ["/own", "/story"]


def test_a_shard_is_written_before_the_next_round_if_its_links_have_ended(tmp_path):
    a, b = HERE[0], THERE[0]
    written = []

    @dataclass(frozen=True)
    class Watched(AtOnce):
        def map_shards(self, function, tasks, heavy=False):
            written.append(Artefact(tmp_path, "pages", SHARDS).done())
            super().map_shards(function, tasks, heavy)

    with local_web({f"{a}.test/1": redirect(f"http://{b}.test/2")}, hosts=[a, b]) as (values, _):
        write_links(tmp_path, [crawled("/1", host=a), crawled("/own", host=b)])
        pages.stage(by_workers(**values), tmp_path, Watched())
    assert written == [0, 1]  # that of b, while the link of a is under way


def test_an_attempt_that_is_made_again_asks_only_for_what_it_had_not_committed(tmp_path):
    paths = [f"/{n}" for n in range(6)]
    settings_rounds = []

    @dataclass(frozen=True)
    class Twice(PlainRun):
        def map_shards(self, function, tasks, heavy=False):
            for task in tasks:
                settings_rounds.append(task)
                function(task)
                function(task)

    with local_web() as (values, web):
        write_links(tmp_path, [crawled(path, host="a") for path in paths])
        pages.stage(settings_of(**values, segment_links=2), tmp_path, Twice())
        assert web.hits == paths
    assert settings_rounds


def with_karma(path, score, host):
    return {**crawled(path, host=host), "score": score}


def test_links_of_a_host_are_asked_for_by_karma_and_those_beyond_the_limit_wait_until_it_is_raised(tmp_path):
    scores = {"/1": 3, "/2": 90, "/3": 7, "/4": 40}
    with local_web(hosts="ab") as (values, web):
        write_links(tmp_path, [with_karma(path, score, host) for path, score in scores.items() for host in "ab"])
        manifest = pages.stage(settings_of(**values, most_per_host=2), tmp_path, PlainRun())
        assert manifest.books["pages"].outcomes == {"kept": 4, "host_limit": 4}
        for host in ("a.test", "b.test"):
            assert [path for name, path, *_ in web.requests if name == host] == ["/robots.txt", "/2", "/4"]
        web.requests.clear()
        manifest = pages.stage(settings_of(**values, most_per_host=3), tmp_path, PlainRun())
        assert manifest.books["pages"].outcomes == {"kept": 6, "host_limit": 2}
        assert web.hits == ["/3", "/3"]
        manifest = pages.stage(settings_of(**values), tmp_path, PlainRun())
        assert manifest.books["pages"].outcomes == {"kept": 8}
        assert web.hits == ["/1", "/1", "/3", "/3"]
        pages.stage(settings_of(**values, most_per_host=1), tmp_path, PlainRun())
        assert web.hits == ["/1", "/1", "/3", "/3"]
    assert set(ends(tmp_path).values()) == {"kept"}  # what was fetched is not forgotten


@pytest.mark.parametrize("most", [1, 5, 7])
def test_a_limit_holds_over_all_shards_that_share_a_host(tmp_path, most):
    links = [{**crawled(f"/{n}", host="a"), "host_shards": 2} for n in range(20)]
    places = [shard_of("a.test", row["doc_id"], SHARDS, {"a.test": 2}) for row in links]
    assert min(places.count(0), places.count(1)) >= 4
    with local_web() as (values, web):
        write_links(tmp_path, links, places=places)
        manifest = pages.stage(settings_of(**values, most_per_host=most), tmp_path, PlainRun())
        assert len(web.hits) == most
    assert manifest.books["pages"].outcomes == {"kept": most, "host_limit": 20 - most}


def test_a_crawl_by_workers_makes_the_rows_of_one_crawl(tmp_path):
    a, b = HERE[0], THERE[0]
    replies = {f"{a}.test/m": redirect(f"http://{b}.test/n"), f"{b}.test/n": redirect(f"http://{a}.test/o")}
    found = []
    with local_web(replies, hosts=[a, b]) as (values, _):
        for crawls in (1, 2):
            (work := tmp_path / str(crawls)).mkdir()
            write_links(work, [crawled(path, host=host) for host in (a, b) for path in ("/m", "/1", "/22")])
            pages.stage(settings_of(**values, crawls=crawls), work, AtOnce())
            found.append([{name: row[name] for name in ("url", "final_url", "via", "sha256")} for row in rows_of(work)])
    assert found[0] == found[1]


def test_what_robots_txt_says_of_a_shared_host_is_known_to_all_its_shards_when_agents_are_obeyed_later(tmp_path):
    links = [{**crawled(f"/{n}", host="a"), "host_shards": 2} for n in range(8)]
    places = [shard_of("a.test", row["doc_id"], SHARDS, {"a.test": 2}) for row in links]
    assert set(places) == {0, 1}
    rules = b"User-agent: GPTBot\nDisallow: /\n"
    with local_web({"a.test/robots.txt": (200, {}, rules)}) as (values, web):
        write_links(tmp_path, links, places=places)
        pages.stage(settings_of(**values), tmp_path, PlainRun())
        asked = len(web.requests)
        made = pages.stage(settings_of(**values, obey_agents=("GPTBot",)), tmp_path, PlainRun())
        assert len(web.requests) == asked
    assert made.books["pages"].outcomes == {"robots_disallowed": 8}


def test_links_with_the_same_payload_point_at_one_response(tmp_path):
    same = {f"a.test/{n}": (200, {}, BODY) for n in range(3)}
    with local_web(same) as (values, _):
        write_links(tmp_path, [crawled(f"/{n}", host="a") for n in range(3)])
        pages.stage(settings_of(**values), tmp_path, PlainRun())
    rows = rows_of(tmp_path)
    assert len({(row["warc"], row["offset"]) for row in rows}) == 1
    assert {row["final_url"] for row in rows} == {f"http://a.test/{n}" for n in range(3)}


@pytest.mark.failure(
    "a segment of the crawl is damaged",
    "exit 5; the line names the files",
    "delete them: those links are crawled again",
)
@pytest.mark.parametrize("suffix", [".parquet", ".hosts.json"])
def test_a_damaged_segment_says_which_files_to_delete(tmp_path, suffix):
    with local_web() as (values, web):
        write_links(tmp_path, [crawled("/1", host="a")])
        settings = settings_of(**values)
        pages.stage(settings, tmp_path, PlainRun())
        (damaged,) = (tmp_path / "pages/segments").glob(f"*{suffix}")
        damaged.write_bytes(b"{")
        write_links(tmp_path, [crawled("/1", host="a"), crawled("/2", host="a")])
        with pytest.raises(IntegrityError, match=r"delete 0000\d-of-00002\.00000-[0-9a-f]{8}\.\*"):
            pages.stage(settings, tmp_path, PlainRun())
        for path in (tmp_path / "pages/segments").glob("*.00000-*"):
            path.unlink()
        assert pages.stage(settings, tmp_path, PlainRun()).books["pages"].outcomes == {"kept": 2}
        assert web.hits == ["/1", "/1", "/2"]
