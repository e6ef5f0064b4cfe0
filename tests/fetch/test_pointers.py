"""Pointers into WARC files that exist: one a link, whatever redirects and revisits lie between."""

import gzip
import io
import shutil
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.config import PagesSettings
from pipeline.fetch import pointers
from pipeline.fetch.readback import read_response
from pipeline.shards.outcomes import InputError
from pipeline.shards.runner import PlainRun
from pipeline.urls import canonical_url, doc_id, host_of

SHARDS = 3
DATA = Path(__file__).resolve().parents[2] / "../shared/data/warc"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data/warc is not there")


def page(url, body=b""):
    return url, "200 OK", [("Content-Type", "text/html")], body or b"<p>" + url.encode()


def moved(url, location, status="301 Moved"):
    return url, status, [("Location", location)], b""


def write(path, *captures):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for url, status, headers, body in captures:
            head = StatusAndHeaders(status, headers, protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=head))


def write_revisit(path, url, original):
    with path.open("ab") as file:
        writer = WARCWriter(file, gzip=True)
        head = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
        record = writer.create_revisit_record(url, "sha1:AAAA", original, "2020-01-01T00:00:00Z", http_headers=head)
        writer.write_record(record)


def look(work, *urls, splits=None, **values):
    """URL -> row, through all WARC files of `work`."""
    found, notes = pointers.collect(
        PagesSettings(warc=("*.warc.gz",), **values), work, PlainRun(), SHARDS, splits or {}
    )
    canonical = {url: canonical_url(url) for url in urls}
    wanted = {doc_id(one): host_of(one) for one in canonical.values()}
    rows = pointers.lookup(found, splits or {}, wanted, values.get("redirects", 10))
    return {url: rows.get(doc_id(one)) for url, one in canonical.items()}, notes


def brief(row):
    return row and (row["outcome"], row["final_url"])


def test_a_redirect_ends_as_its_target_wherever_that_lies(tmp_path):
    write(tmp_path / "1.warc.gz", moved("http://a.test/", "http://b.test/x"), page("http://c.test/end"))
    write(tmp_path / "2.warc.gz", moved("http://b.test/x", "http://c.test/end", "302 Found"))
    write(
        tmp_path / "3.warc.gz", moved("http://d.test/", "http://d.test/gone"), ("http://d.test/gone", "404 No", [], b"")
    )
    rows, _ = look(
        tmp_path, "http://a.test/", "http://b.test/x", "http://c.test/end", "http://d.test/", "http://e.test/"
    )
    assert {url: brief(row) for url, row in rows.items()} == {
        "http://a.test/": ("kept", "http://c.test/end"),
        "http://b.test/x": ("kept", "http://c.test/end"),
        "http://c.test/end": ("kept", "http://c.test/end"),
        "http://d.test/": ("not_found", "http://d.test/gone"),
        "http://e.test/": None,
    }
    row = rows["http://a.test/"]
    assert row["doc_id"] == doc_id(canonical_url("http://a.test/"))
    response = read_response(Path(row["warc"]), row["offset"], row["length"], 1_000)
    assert (response.body, response.sha256) == (b"<p>http://c.test/end", row["sha256"])


def test_a_chain_that_does_not_end_in_a_page_says_how(tmp_path):
    write(
        tmp_path / "1.warc.gz",
        moved("http://a.test/1", "/2"),
        moved("http://a.test/2", "/1"),
        moved("http://b.test/", "http://b.test/not-held"),
        moved("http://c.test/", "https://www.c.test/"),
        *[moved(f"http://d.test/{n}", f"/{n + 1}") for n in range(4)],
        page("http://d.test/4"),
    )
    urls = ["http://a.test/1", "http://b.test/", "http://c.test/", "http://d.test/0", "http://d.test/1"]
    rows, _ = look(tmp_path, *urls, redirects=3)
    assert {url: brief(row) for url, row in rows.items()} == {
        "http://a.test/1": ("redirect_loop", "http://a.test/1"),
        "http://b.test/": ("not_in_warc", "http://b.test/not-held"),
        "http://c.test/": ("not_in_warc", "http://c.test/"),
        "http://d.test/0": ("too_many_redirects", "http://d.test/3"),
        "http://d.test/1": ("kept", "http://d.test/4"),
    }
    assert (rows["http://b.test/"]["status"], rows["http://b.test/"]["length"] > 0) == (301, True)


def test_another_spelling_of_the_same_address_is_no_other_page(tmp_path):
    write(
        tmp_path / "1.warc.gz",
        moved("http://a.test/", "https://www.a.test/"),
        page("https://www.a.test/"),
        moved("http://b.test/", "https://b.test/"),
        ("https://b.test/", "410 Gone", [], b""),
    )
    rows, _ = look(tmp_path, "http://a.test/", "http://b.test/")
    assert [brief(row) for row in rows.values()] == [("kept", "https://www.a.test/"), ("not_found", "https://b.test/")]


def test_a_revisit_ends_as_its_original_where_that_is_held(tmp_path):
    write(tmp_path / "1.warc.gz", page("http://a.test/first"))
    for url, original in (
        ("http://a.test/again", "http://a.test/first"),
        ("http://b.test/", "http://b.test/elsewhere"),
        ("http://c.test/", "http://c.test/"),
        ("http://a.test/first", "http://a.test/first"),
    ):
        write_revisit(tmp_path / "0.warc.gz", url, original)
    rows, _ = look(tmp_path, "http://a.test/again", "http://b.test/", "http://c.test/", "http://a.test/first")
    assert {url: brief(row) for url, row in rows.items()} == {
        "http://a.test/again": ("kept", "http://a.test/first"),
        "http://b.test/": ("not_in_warc", "http://b.test/elsewhere"),
        "http://c.test/": ("not_in_warc", "http://c.test/"),
        "http://a.test/first": ("kept", "http://a.test/first"),
    }


def test_targets_of_a_host_that_is_spread_over_shards_are_found(tmp_path):
    write(tmp_path / "1.warc.gz", *[moved(f"http://a.test/{n}", f"http://b.test/{n}") for n in range(9)])
    write(tmp_path / "2.warc.gz", *[page(f"http://b.test/{n}") for n in range(9)])
    rows, _ = look(tmp_path, *[f"http://a.test/{n}" for n in range(9)], splits={"b.test": SHARDS})
    assert [brief(row) for row in rows.values()] == [("kept", f"http://b.test/{n}") for n in range(9)]


@given(st.lists(st.one_of(st.none(), st.integers(0, 11)), min_size=1, max_size=12), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_chains_end_as_a_walk_over_all_captures_ends(tmp_path_factory, targets, redirects):
    """Capture n is a page (None) or leads to capture targets[n], which may not be held."""

    def walk(n):
        met = [n]
        while (n := targets[n]) is not None:
            if n >= len(targets):
                return "not_in_warc", f"http://h{n % 4}.test/{n}"
            if targets[n] is None:
                return "kept", f"http://h{n % 4}.test/{n}"
            if n in met:
                return "redirect_loop", f"http://h{n % 4}.test/{n}"
            if len(met) >= redirects:
                return "too_many_redirects", f"http://h{n % 4}.test/{n}"
            met.append(n)
        return "kept", f"http://h{met[-1] % 4}.test/{met[-1]}"

    urls = [f"http://h{n % 4}.test/{n}" for n in range(12)]
    assume(all(to != n for n, to in enumerate(targets)))  # one that leads to itself is another spelling's test
    work = tmp_path_factory.mktemp("walk")
    captures = [page(urls[n]) if to is None else moved(urls[n], urls[to]) for n, to in enumerate(targets)]
    write(work / "1.warc.gz", *captures)
    rows, _ = look(work, *urls[: len(targets)], redirects=redirects)
    assert [brief(row) for row in rows.values()] == [walk(n) for n in range(len(targets))]


def test_damage_is_noted_with_its_place_also_where_no_link_leads(tmp_path):
    write(tmp_path / "1.warc.gz", page("http://a.test/"))
    good = (tmp_path / "1.warc.gz").read_bytes()
    (tmp_path / "1.warc.gz").write_bytes(good + good[:-20])
    rows, notes = look(tmp_path, "http://a.test/")
    assert brief(rows["http://a.test/"]) == ("kept", "http://a.test/")
    assert [note.partition(": ")[0] for note in notes] == [f"{tmp_path}/1.warc.gz at offset {len(good)}"]


def test_many_damaged_places_of_one_file_are_counted(tmp_path):
    bad = gzip.compress(b"WARC/1.0\r\nWARC-Type: response\r\n\r\n")
    write(tmp_path / "1.warc.gz", page("http://a.test/"))
    good = (tmp_path / "1.warc.gz").read_bytes()
    (tmp_path / "1.warc.gz").write_bytes((good + bad) * 25)
    _, notes = look(tmp_path)
    assert len(notes) == pointers.NOTES + 1
    assert notes[-1].endswith(": 5 more damaged places")


def test_a_changed_file_is_read_again_and_no_other_work_is_done(tmp_path):
    class NoRun(PlainRun):
        def exchange(self, scatter, sources, gather, targets):
            assert not targets

    write(tmp_path / "1.warc.gz", page("http://a.test/"))
    rows, _ = look(tmp_path, "http://a.test/")
    used = PagesSettings(warc=("*.warc.gz",))
    pointers.collect(used, tmp_path, NoRun(), SHARDS, {})
    write(tmp_path / "1.warc.gz", moved("http://a.test/", "/b"), page("http://a.test/b"))
    assert brief(look(tmp_path, "http://a.test/")[0]["http://a.test/"]) == ("kept", "http://a.test/b")
    assert brief(rows["http://a.test/"]) == ("kept", "http://a.test/")


@pytest.mark.parametrize(("name", "said"), [("x.warc.gz", "not a WARC, WACZ or ARC file"), (None, "matches no file")])
def test_a_file_that_is_none_stops_with_its_name(tmp_path, name, said):
    if name:
        (tmp_path / name).write_bytes(b"hello")
    with pytest.raises(InputError, match=said) as failure:
        look(tmp_path)
    assert "warc.gz" in str(failure.value)


@needs_data
def test_real_redirects_lead_to_the_pages_of_their_files(tmp_path):
    for name in ("aut-example.warc.gz", "iana.warc.gz"):
        shutil.copy(DATA / "good" / name, tmp_path)
    ends = {
        "http://www.archive.org/donate": "http://www.archive.org/donate/",
        "http://www.archive.org/index.php?skin=classic": "http://www.archive.org/",
        "http://www.iana.org/dnssec": "https://www.iana.org/dnssec",
        "http://www.iana.org/domains/root/db/": "http://www.iana.org/domains/root/db",
    }
    rows, notes = look(tmp_path, *ends)
    assert {url: brief(row) for url, row in rows.items()} == {url: ("kept", end) for url, end in ends.items()}
    assert notes == ()
