"""The capture that a link ends in, whatever redirects and revisits lie between: the one that a walk over all finds."""

import shutil
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.fetch.readback import read_response
from pipeline.shards.locations import pointed_at
from pipeline.urls import canonical_url, doc_id
from tests.fetch import warcs
from tests.fetch.warcs import SHARDS, brief, look
from tests.fetch.written import moved, page, write

DATA = Path(__file__).resolve().parents[2] / "../shared/data/warc"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data/warc is not there")


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
    response = read_response(pointed_at(row["warc"], tmp_path / "pages"), row["offset"], row["length"], 1_000)
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
        "http://a.test/1": ("redirect_loop", "http://a.test/2"),
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
                return "redirect_loop", f"http://h{met[-1] % 4}.test/{met[-1]}"
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


def test_where_one_capture_leads_to_nothing_held_the_next_one_that_leads_on_counts(tmp_path):
    warcs.write(
        tmp_path,
        warcs.record(warcs.moved("http://b.test/gone"), "http://a.test/", date="2014-05-14T00:00:00Z"),
        warcs.record(warcs.moved("http://b.test/here"), "http://a.test/", date="2019-01-01T00:00:00Z"),
        warcs.record(warcs.answer(), "http://b.test/here"),
        warcs.record(warcs.moved("http://d.test/1"), "http://c.test/", date="2014-05-14T00:00:00Z"),
        warcs.record(warcs.moved("http://d.test/2"), "http://c.test/", date="2019-01-01T00:00:00Z"),
    )
    assert warcs.ends(tmp_path, "http://a.test/", "http://c.test/") == {
        "http://a.test/": ("kept", "http://b.test/here"),
        "http://c.test/": ("not_in_warc", "http://d.test/1"),
    }


def test_a_page_that_redirects_to_itself_is_a_loop(tmp_path):
    warcs.write(tmp_path, warcs.record(warcs.moved("http://a.test/"), "http://a.test/"))
    assert warcs.ends(tmp_path, "http://a.test/") == {"http://a.test/": ("redirect_loop", "http://a.test/")}


def test_a_revisit_is_no_redirect_and_costs_none(tmp_path):
    warcs.write(
        tmp_path,
        warcs.record(warcs.moved("http://a.test/2"), "http://a.test/1"),
        warcs.record(warcs.answer(b""), "http://a.test/2", "revisit", Refers_To_Target_URI="http://b.test/"),
        warcs.record(warcs.answer(), "http://b.test/"),
    )
    assert warcs.ends(tmp_path, "http://a.test/1", redirects=1) == {"http://a.test/1": ("kept", "http://a.test/2")}
