"""After a removal nothing below the working directory names or holds what went, whoever wrote it."""

import contextlib
import json
import shutil
from collections import Counter

import pyarrow.parquet as pq
import pytest
from warcio.archiveiterator import ArchiveIterator

from pipeline import config, urls
from pipeline.build import build
from pipeline.fetch.readback import read_response
from pipeline.shards.runner import PlainRun
from pipeline.submissions.ledger import Ledger
from pipeline.submissions.listings import Page
from pipeline.submissions.rows import Submission
from pipeline.verbs.export import export
from pipeline.verbs.remove import foreseen, remove, report, undo
from pipeline.verbs.remove.traces import addresses
from tests.test_pages import HERE, THERE, local_web
from tests.verbs.remove.working import NOW, holding

WORDS = "the old ferry carried letters and apples over the wide river to a village where nobody had asked for either"


def page_of(mark):
    """A page whose every sentence bears a mark."""
    lines = [f"<p>On day {n} {WORDS}, {mark}{n}, and so the evening ended.</p>" for n in range(12)]
    return f"<html><head><title>{mark}</title></head><body><article>{''.join(lines)}</article></body></html>".encode()


def listing(posts):
    """One page of a listing of Reddit that shows these submissions."""
    return Page(posts, [], Counter(), len(posts), [f"t3_{one.id}" for one in posts], 0, None)


HTML = {"Content-Type": "text/html"}


@pytest.fixture(scope="module")
def crawled(tmp_path_factory):
    """(working directory, settings) of a crawl over two hosts: a link that redirects, its end, and ordinary pages."""
    work, one, two = tmp_path_factory.mktemp("crawled"), f"{HERE[0]}.test", f"{THERE[0]}.test"
    replies = {
        f"{one}/secret-short": (302, {"Location": f"http://{two}/secret-middle"}, b"secretly moved"),
        f"{two}/secret-middle": (302, {"Location": f"http://{one}/secret-end"}, b"secretly moved"),
        f"{one}/secret-end": (200, HTML, page_of("secretly")),
        f"{one}/plain": (200, HTML, page_of("plainly")),
        f"{one}/twin": (200, HTML, page_of("twinned")),
        f"{two}/twin": (200, HTML, page_of("twinned")),
        f"{two}/other": (200, HTML, page_of("otherwise")),
    }
    links = [
        f"http://{one}/secret-short",
        f"http://{one}/plain",
        f"http://{one}/twin",
        f"http://{two}/twin",
        f"http://{two}/other",
    ]
    with local_web(replies, hosts=[HERE[0], THERE[0]]) as (values, _):
        with Ledger(work / "ledger.sqlite") as ledger:
            ledger.begin("r/books/new", 0)
            posts = [Submission(f"p{n}", link, 9, 0, "books", False) for n, link in enumerate(links)]
            ledger.record("r/books/new", listing(posts), 0, 0)
            ledger.settle()
        settings = config.parse({
            "build": {"shards": 2}, "links": {"submissions": ["ledger.sqlite"]}, "pages": values,
            "corpus": {"min_words": 20, "languages": []}, "tokenizer": {"vocab_size": 300},
        })  # fmt: skip
        build(work, settings, run=PlainRun())
    return work, settings, one, two


@pytest.fixture
def here(crawled, tmp_path):

    shutil.copytree(crawled[0], tmp_path / "work", ignore=shutil.ignore_patterns("*-shm", "*-wal"))
    return tmp_path / "work", *crawled[1:]


def kept(work):
    """The pages that are kept, each read back where it lies, by address."""
    found = {}
    for path in sorted((work / "pages").glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            if row["outcome"] == "kept":
                found[row["url"]] = read_response(
                    work / "pages" / row["warc"], row["offset"], row["length"], 10**6
                ).body
    return found


def test_a_link_its_redirects_and_its_page_are_nowhere_and_the_others_are_read_as_before(here):
    work, settings, one, _ = here
    before = kept(work)
    (work / "model").mkdir()
    line = {"step": 1, "by_host": {one: {"loss": 1.0}, "else.test": {"loss": 2.0}}}
    (work / "model/metrics.jsonl").write_text(json.dumps(line) + "\n")
    export(work, settings, "parquet", work / "exported")
    (work / "report").mkdir()
    (work / "report/report.html").write_text(f'<a href="http://{one}/secret-short">x</a>')
    assert len(holding(work, "secret-", "secretly")) > 8
    (done,) = remove(work, 2, [f"http://{one}/secret-short"], NOW, settings=settings)
    assert holding(work, "secret-", "secretly") == {}
    gone = {url for url in before if "secret" in url}
    assert kept(work) == {url: body for url, body in before.items() if url not in gone}
    assert gone
    assert json.loads((work / "model/metrics.jsonl").read_text()) == line  # other pages of the host stay
    for path in (work / "pages/segments").glob("*.warc.gz"):
        with path.open("rb") as file:
            assert all(record.rec_type for record in ArchiveIterator(file))
    assert done.request.left == {}


def test_a_host_goes_with_all_that_was_learnt_of_it(here):
    work, settings, one, two = here
    before = kept(work)
    (work / "model").mkdir()
    lines = [{"step": n, "by_host": {one: {"loss": 1.0}, two: {"loss": 2.0}}} for n in range(3)]
    (work / "model/metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (work / "webtext.toml").write_text("# of the user\n")
    (done,) = remove(work, 2, [one], NOW, settings=settings)
    assert holding(work, one, "secretly", "plainly") == {}
    assert (
        set(kept(work)) == {url for url in before if one not in url} == {f"https://{two}/twin", f"https://{two}/other"}
    )
    assert kept(work) == {url: body for url, body in before.items() if one not in url}
    assert "fetched" in "".join(report(done))


def test_the_page_of_another_link_with_the_same_bytes_is_still_read_under_its_own_address(here):
    work, settings, one, two = here
    before = kept(work)
    remove(work, 2, [f"http://{one}/twin"], NOW, settings=settings)
    assert f"{one}/twin" not in "".join(holding(work, f"{one}/twin").values())
    assert kept(work)[f"https://{two}/twin"] == before[f"https://{two}/twin"]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("http://127.0.0.1:8102/erika.html", "http://127.0.0.1:8102/erika.html"),
        ("http://127.0.0.1:8102/erika.html", "see 127.0.0.1:8102/erika.html."),
        ("http://localhost:8101/with.html", "https://localhost:8101/with.html"),
        ("http://localhost:8101/with.html", "1,localhost:8101/with.html,12"),
        ("http://localhost/with.html", "http://localhost/with.html"),
        ("http://[::1]:8080/a", "<http://[0:0:0:0:0:0:0:1]:8080/a>"),
        ("http://[2001:db8::7]/", "(http://[2001:db8::7])"),
        ("https://example.org:8443/a", "http://someone:secret@example.org:8443/a"),
        ("https://example.org/a", "http://www.example.org:80/a#top"),
        ("https://example.org", "HTTP://EXAMPLE.ORG/"),
        ("https://example.org/caf\u00e9", r'{"url": "https:\/\/example.org\/caf\u00e9"}'),
        ("https://example.org/caf\u00e9", "https://example.org/caf%c3%a9"),
        ("https://example.org/?a=1&b=2", r'{"url": "https://example.org/?a=1\u0026b=2"}'),
        ("https://b\u00fccher.example/a", "https://b\u00fccher.example/a"),
        ("https://example.org/a_(b)", "(see https://example.org/a_(b))."),
        ("https://example.org/a", "[https://example.org/a](https://example.org/a)"),
        ("https://example.org/b", "https://example.org/a,https://example.org/b|x"),
    ],
)
def test_a_file_of_the_user_holds_an_address_in_every_spelling_and_place(address, text):
    wanted = urls.canonical_url(address)
    found = set()
    for one in addresses(text.encode()):
        with contextlib.suppress(urls.BadUrl):
            found.add(urls.canonical_url(one))
    assert wanted in found


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("https://example.co/", "https://example.co.uk/"),
        ("https://example.org/a", "https://example.org/a?page=2"),
        ("https://example.org/a", "https://example.org/a.html"),
        ("https://example.org/", "https://example.org:8080/"),
        ("https://example.org/a", "https://example.org/a/"),
    ],
)
def test_another_address_that_begins_alike_is_not_taken_for_it(address, text):
    assert urls.canonical_url(address) not in {urls.canonical_url(one) for one in addresses(text.encode())}


def test_files_of_the_user_are_named_and_left(here, tmp_path):
    work, _, one, _ = here
    (work / "wanted.txt").write_text(f"http://{one}/plain\n")
    (work / "fine.txt").write_text("http://nobody.test/plain\n")
    (tmp_path / "elsewhere.txt").write_text(f"http://{one}/plain\n")
    more = config.parse({"links": {"submissions": [str(tmp_path / "elsewhere.txt")]}})
    (done,) = remove(work, 2, [f"http://{one}/plain"], NOW, settings=more)
    assert set(done.request.left) == {"wanted.txt", str(tmp_path / "elsewhere.txt")}
    assert set(holding(work, f"{one}/plain")) == {"wanted.txt"}
    assert "not reached: wanted.txt" in "\n".join(report(done))


def test_a_list_of_the_user_with_a_local_address_and_its_port_is_named(here, tmp_path):
    work, _, _, _ = here
    (tmp_path / "urls.txt").write_text("http://127.0.0.1:8102/with.html\n")
    (work / "mine").mkdir()
    (work / "mine/mylist.txt").write_text("http://127.0.0.1:8102/with.html\n")
    more = config.parse({"links": {"submissions": [str(tmp_path / "urls.txt")]}})
    (done,) = remove(work, 2, ["https://127.0.0.1:8102/with.html"], NOW, settings=more)
    assert set(done.request.left) == {"mine/mylist.txt", str(tmp_path / "urls.txt")}


def test_the_ledger_forgets_the_post_and_does_not_take_it_again(here):
    work, settings, one, _ = here
    remove(work, 2, [f"http://{one}/plain"], NOW, settings=settings)
    with Ledger(work / "ledger.sqlite") as ledger:
        assert ledger.counts(0)["submissions"] == 4
        again = Submission("p1", f"http://{one}/plain", 9, 0, "books", False)
        assert ledger.record("r/books/new", listing([again]), 0, 0) == {"deleted": 1}


def test_a_dry_run_answers_as_the_removal_does_and_changes_nothing(here):
    work, settings, one, _ = here
    lines = [f"http://{one}/plain", one, "t3_p4", "nosuch.test"]
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    said = foreseen(work, 2, lines)
    assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == before
    (done,) = remove(work, 2, lines, NOW, settings=settings)
    assert report(done, lines)[:4] == said[:4]
    assert "1 link, 1 page, 1 document" in said[0]
    assert "taken as a host, with all names under it: 3 links, 3 pages, 3 documents" in said[1]
    assert "taken as the id of a submission on Reddit: 1 link, 1 page, 1 document" in said[2]
    assert said[3].endswith("NOTHING that is made; kept in mind")


def test_what_is_taken_back_comes_again_from_where_it_came(here):
    work, settings, one, _ = here
    before = kept(work)
    remove(work, 2, [f"http://{one}/plain"], NOW, settings=settings)
    (work / "more.txt").write_text(f"http://{one}/plain\n")
    said = undo(work, 2, [f"http://{one}/plain", "nosuch.test"])
    assert any("the web is asked again" in line for line in said)
    assert any("out of the ledger" in line for line in said)
    assert said[-1].endswith("NO request names it; nothing was taken back")
    replies = {f"{one}/plain": (200, HTML, page_of("plainly"))}
    with local_web(replies, hosts=[HERE[0], THERE[0]]) as (values, _):
        tables = {"build": {"shards": 2}, "links": {"submissions": ["ledger.sqlite", "more.txt"]}, "pages": values}
        build(work, config.parse(tables | {"corpus": {"min_words": 20, "languages": []}}), "pages", run=PlainRun())
    assert kept(work) == before


def test_what_no_source_names_any_more_is_erased_and_another_choice_of_sources_erases_nothing(here):
    work, settings, one, _ = here
    (work / "list.txt").write_text(f"http://{one}/twin\n")
    other = config.parse(
        {"build": {"shards": 2}, "links": {"submissions": ["list.txt"]}, "pages": {"contact": "x@y.test"}}
    )
    manifest = build(work, other, "pages", run=PlainRun())["pages"]
    assert any("ledger.sqlite no more" in note for note in manifest.notes)
    assert holding(work / "pages/segments", "secretly")
    with Ledger(work / "ledger.sqlite") as ledger:
        ledger.forget(lambda _, url: "secret" in url)
        ledger.settle()
    build(work, settings, run=PlainRun())
    assert holding(work, "secretly", "secret-") == {}
    assert urls.canonical_url(f"http://{one}/plain") in kept(work)
