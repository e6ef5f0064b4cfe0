"""What became of a page: found by whatever a person types, and told in one sentence before the lines."""

import json
import re

import pytest
from typer.testing import CliRunner

from pipeline import config, urls
from pipeline.build import build
from pipeline.cli.app import app
from pipeline.demo import site
from pipeline.shards.outcomes import FATES, InputError, Outcome
from pipeline.shards.runner import PlainRun
from pipeline.status import ArtefactStatus, recorded
from pipeline.verbs.explain import explain, explained
from pipeline.verbs.grounds import Grounds
from pipeline.verbs.remove import remove
from pipeline.verbs.verdict import verdict
from tests.own_data import write_warc

BASE = {"score": 5, "created_utc": 1_400_000_000, "subreddit": "books", "over_18": False, "is_self": False}
SETTINGS = {
    "build": {"shards": 2},
    "links": {"submissions": ["dump.ndjson"]},
    "pages": {"warc": ["*.warc.gz"]},
    "corpus": {"min_words": 50},
    "tokenizer": {"vocab_size": 300},
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A build of three pages, one of them twice, one link that no archive holds, and one of too little karma."""
    root = tmp_path_factory.mktemp("explain")
    pages = site.ordinary_pages()[:3]
    addresses = [page.url for page in pages]
    rows = [{"id": f"k{n}", "url": url} for n, url in enumerate(addresses)]
    rows += [{"id": "copy", "url": f"{addresses[0]}?copy=1", "score": 4}]
    rows += [
        {"id": "gone", "url": "http://News.example/Story/One.html"},
        {"id": "low", "url": "http://low.example/a/", "score": 2},
    ]
    rows += [{"id": "far", "url": "http://a.b.example/x?id=1"}]
    (root / "dump.ndjson").write_text("".join(json.dumps(BASE | row) + "\n" for row in rows))
    write_warc(root / "first.warc.gz", pages)
    write_warc(root / "second.warc.gz", pages[:1], copies=2)
    (root / config.FILE_NAME).write_text("[build]\nshards = 2\n")
    build(root, config.parse(SETTINGS), run=PlainRun())
    return root, addresses


def stages_of(found):
    return [stage for stage, _ in found.stages]


def test_a_kept_page_is_told_in_one_sentence_and_then_stage_by_stage(work):
    root, addresses = work
    found = explained(root, 2, addresses[1])
    life = dict(found.stages)
    words, tokens = life["corpus"]["words"], life["tokens"]["tokens"]
    split = {"train": "training", "val": "validation"}[life["tokens"]["split"]]
    assert found.verdict == f"Kept: {words:,} words, {tokens:,} tokens of {split}"
    assert stages_of(found) == ["links", "pages", "documents", "corpus", "tokens"]
    assert list(explain(root, 2, addresses[1])) == found.stages


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("copy", "Removed as exact duplicate of {0}"),
        ("gone", "Not fetched: no archive that was asked holds it"),
        ("low", "Not taken: its karma is 2, and max >= 3 is asked"),
    ],
)
def test_a_page_that_went_is_told_why_and_for_whom(work, what, said):
    root, addresses = work
    assert explained(root, 2, what).verdict == said.format(urls.canonical_url(addresses[0]))


@pytest.mark.parametrize(
    "typed",
    [
        "http://news.example/Story/One.html", "https://NEWS.example/Story/One.html#part-2",
        "News.Example/Story/One.html", "www.news.example/Story/One.html", "//news.example/Story/One.html",
        " http://news.example/Story/One.html ",
        "news.example:80/Story/One.html", "http://news.example/Story/One.html?utm_source=x",
        "gone", "t3_gone", "T3_GONE",
        urls.doc_id("https://news.example/Story/One.html"), urls.doc_id("https://news.example/Story/One.html").upper(),
        "https://www.reddit.com/r/books/comments/gone/a_story/", "https://redd.it/gone", "old.reddit.com/comments/gone",
    ],
)  # fmt: skip
def test_a_page_is_found_by_whatever_names_it(work, typed):
    found = explained(work[0], 2, typed)
    assert dict(found.stages)["links"]["url"] == "https://news.example/Story/One.html"


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("low.example/a", "https://low.example/a/"),
        ("http://news.example/Story/One.html/", "https://news.example/Story/One.html"),
        ("a.b.example/x/?id=1", "https://a.b.example/x?id=1"),
    ],
)
def test_a_slash_at_the_end_more_or_less_is_taken_and_told(work, typed, url):
    found = explained(work[0], 2, typed)
    assert (dict(found.stages)["links"]["url"], found.taken_as) == (url, url)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("m.news.example/Story/One.html", "https://news.example/Story/One.html"),
        ("mobile.news.example/Story/One.html", "https://news.example/Story/One.html"),
        ("news.example/story/one.html", "https://news.example/Story/One.html"),
        ("news.example/Story/One.html?page=2", "https://news.example/Story/One.html"),
        ("news.example/Story/On.html", "https://news.example/Story/One.html"),
        ("low.example/a/index.html", "https://low.example/a/"),
        ("www.a.b.example/x", "https://a.b.example/x?id=1"),
    ],
)
def test_what_only_a_server_can_tell_to_be_the_same_is_suggested_and_not_taken(work, typed, meant):
    with pytest.raises(InputError) as refusal:
        explained(work[0], 2, typed)
    assert str(refusal.value).endswith(f"; did you mean {meant}?")


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A build of the links of a list alone, on this machine, with a line that names no address."""
    root = tmp_path_factory.mktemp("listed")
    (root / "mine.txt").write_text(
        "http://localhost:8101/a\nhttp://127.0.0.1:8102/b\nhttp://my-server/\nhttp://127.0.0.1:8103\nnowhere\n"
    )
    (root / config.FILE_NAME).write_text("[build]\nshards = 2\n")
    settings = config.parse({"build": {"shards": 2}, "links": {"submissions": ["mine.txt"]}})
    build(root, settings, "links", run=PlainRun())
    return root


@pytest.mark.parametrize(
    ("typed", "said", "taken_as"),
    [
        ("localhost", "localhost: 1 link, 1 kept", ""),
        ("my-server", "my-server: 1 link, 1 kept", ""),
        ("localhost:8101", "localhost: 1 link, 1 kept", "the host localhost"),
        ("127.0.0.1:8102", "127.0.0.1: 2 links, 2 kept", "the host 127.0.0.1"),
        ("127.0.0.1:8103", "On its way: a link that is kept; pages are not made", ""),
        ("localhost:8101/a", "On its way: a link that is kept; pages are not made", ""),
    ],
)
def test_a_host_without_a_dot_or_with_a_port_is_a_host(listed, typed, said, taken_as):
    found = explained(listed, 2, typed)
    assert (found.verdict.partition(";")[0] if taken_as or "link," in said else found.verdict).startswith(said)
    assert found.taken_as == taken_as


def test_a_link_that_a_list_alone_names_has_no_karma_and_no_submission(listed):
    link = dict(explained(listed, 2, "localhost:8101/a").stages)["links"]
    assert (link["listed"], link["score"], link["submissions"]) == (True, None, [])
    assert "karma" not in link


def test_lines_that_were_refused_are_told_of_where_an_address_is_not_found(listed, tmp_path):
    with pytest.raises(InputError, match=r"list .* links to it .*refused \(bad_url 1\) are not kept by name"):
        explained(listed, 2, "nowhere.example/x")
    with pytest.raises(InputError, match="nothing is built here yet; run 'webtext build'"):
        explained(tmp_path, 2, "localhost")


@pytest.mark.failure(
    "nothing is known of a page that is asked about", "exit 3; the line suggests what is alike", "nothing"
)
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("https://nobody.example/", "links to it (looked for https://nobody.example/)"),
        ("nobody.example", "links to this host, or to a name under it"),
        ("zzz", "was posted by a submission of this id"),
        ("f" * 32, "has this id"),
        ("ftp://news.example/x", "neither http nor https"),
        ("two words", "no address, host, doc_id (32 hexadecimal digits) or submission id (t3_1abc)"),
    ],
)  # fmt: skip
def test_what_is_not_known_here_is_refused_by_kind(work, typed, said):
    with pytest.raises(InputError) as refusal:
        explained(work[0], 2, typed)
    assert said in str(refusal.value)


def test_a_host_is_told_by_the_ends_of_its_pages_with_all_names_under_it(work):
    root, _ = work
    found = explained(root, 2, "EXAMPLE")
    assert found.verdict == (
        "example: 3 links, 2 kept; 0 pages of these; 0 with text; 0 in the corpus, 0 removed from it"
    )
    assert dict(found.stages)["links"] == {"kept": 2, "low_karma": 1}
    assert dict(found.stages)["pages"] == {"not_in_warc": 2}
    assert set(dict(found.stages)["hosts"]) == {"news.example", "low.example", "a.b.example"}
    (own,) = {urls.host_of(urls.canonical_url(url)) for url in work[1][:1]}
    assert dict(explained(root, 2, f"www.{own}").stages)["corpus"]["kept"] >= 1
    assert explained(root, 2, "b.example").stages[0] == ("links", {"kept": 1})


def test_the_counts_of_all_hosts_are_the_books_of_the_build(work):
    root, addresses = work
    hosts = {urls.host_of(urls.canonical_url(url)) for url in addresses} | {"example"}
    summed = {}
    for host in hosts:
        for stage, counts in explained(root, 2, host).stages:
            for outcome, rows in counts.items():
                summed.setdefault(stage, {}).setdefault(outcome, []).append(rows)
    for stage, standing in recorded(root, 2).items():
        if stage in summed:
            outcomes = standing.manifest.books[stage].outcomes
            assert {outcome: sum(rows) for outcome, rows in summed[stage].items()} == outcomes


def test_before_everything_is_built_it_says_how_far_a_page_is(work, tmp_path):
    root, addresses = work
    for name in ("dump.ndjson", "first.warc.gz"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    build(tmp_path, config.parse(SETTINGS), "pages", run=PlainRun())
    said = "On its way: fetched; documents are not made; run 'webtext build documents'"
    assert explained(tmp_path, 2, addresses[0]).verdict == said


def test_what_was_asked_to_go_is_told_first(work, tmp_path):
    root, addresses = work
    for name in ("dump.ndjson", "first.warc.gz"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    build(tmp_path, config.parse(SETTINGS), "pages", run=PlainRun())
    remove(tmp_path, 2, ["t3_k0", urls.host_of(urls.canonical_url(addresses[2]))])
    assert explained(tmp_path, 2, addresses[0]).verdict.startswith("Removed on request of 20")
    assert explained(tmp_path, 2, "t3_k0").verdict.startswith("Removed on request of 20")
    assert explained(tmp_path, 2, addresses[2]).verdict.startswith("Removed on request of 20")
    host = urls.host_of(urls.canonical_url(addresses[2]))
    assert explained(tmp_path, 2, host).verdict.startswith(f"Removed on request: {host}: 0 links")


def test_the_command_prints_the_sentence_first_and_json_holds_all_of_it(work):
    root, addresses = work
    bare = addresses[0].removeprefix("http://")
    done = CliRunner().invoke(app, ["explain", bare, "-C", str(root)])
    found = explained(root, 2, bare)
    assert done.stdout.splitlines()[:2] == [found.verdict, "links"]
    as_json = json.loads(CliRunner().invoke(app, ["explain", bare, "-C", str(root), "--json"]).stdout)
    assert as_json["verdict"] == found.verdict
    assert [one["stage"] for one in as_json["stages"]] == stages_of(found)
    shown = CliRunner().invoke(app, ["explain", "copy", "-C", str(root)]).stdout
    assert "corpus: not kept" in shown  # `removed` is a word of removal requests
    assert not re.search(r": *-?$| -$|, *$|id ,|\d\.\d{5}", shown, re.MULTILINE)
    assert f"  posted_as: {addresses[0]}\n" in done.stdout  # http, where the canonical address is https
    noted = CliRunner().invoke(app, ["explain", "low.example/a", "-C", str(root)])
    assert noted.stderr == "note: taken as https://low.example/a/\n"


# --- sentences


STAGES = ("links", "pages", "documents", "corpus", "tokens")
STANDS = {stage: ArtefactStatus(1, 1, None, "not made") for stage in STAGES}
PAGE = {"host": "a.test", "status": None, "opt_outs": [], "content_type": "image/png"}
GROUNDS = Grounds({"languages": ["en"]}, list)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"outcome": "robots_disallowed"}, "Never fetched: robots.txt of a.test disallows it"),
        ({"outcome": "not_found", "status": 410}, "Not used: a.test answered 410"),
        ({"outcome": "timed_out"}, "Not fetched: a.test took longer than pages.deadline_s"),
        ({"outcome": "opted_out", "status": 200, "opt_outs": ["noai"]},
         "Not used: it asks not to be used for training (noai)"),
        ({"outcome": "not_html", "status": 200}, "Not used: it is image/png, neither HTML nor plain text"),
        ({"outcome": "redirect_loop", "status": 302}, "Not used: the redirects come back to where they were"),
    ],
)  # fmt: skip
def test_a_page_that_is_none_is_told_whether_it_was_asked_for_and_what_came(row, said):
    assert verdict({"links": {"outcome": "kept"}, "pages": PAGE | row}, STANDS, None) == said


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"outcome": "near_duplicate", "value": 0.871, "keeper_url": "https://a.test/x"},
         "Removed as near duplicate of https://a.test/x (similarity 0.87)"),
        ({"outcome": "near_duplicate", "value": 0.9, "keeper": "0f"},
         "Removed as near duplicate of 0f (similarity 0.90)"),
        ({"outcome": "duplicate_elsewhere", "value": 1.0, "keeper_url": "https://a.test/x", "keeper_corpus": "../old"},
         "Removed as duplicate of https://a.test/x in ../old (similarity 1.00)"),
        ({"outcome": "too_short", "value": 12.0, "threshold": 50.0},
         "Removed as too short: 12 words, corpus.min_words asks for 50"),
        ({"outcome": "other_language", "value": 0.99, "language": "de"},
         "Removed as other language: in 'de' (probability 0.99), corpus.languages names en"),
        ({"outcome": "wikipedia_text", "rule": "wikipedia_overlap", "value": 0.8, "threshold": 0.5},
         "Removed as wikipedia text: 80.0% of its 8-grams stand in Wikipedia (limit 50%)"),
    ],
)  # fmt: skip
def test_a_document_that_was_refused_is_told_the_ground_with_its_numbers(row, said):
    assert verdict({"links": {}, "removed": {"text": "", "language": "en"} | row}, STANDS, GROUNDS) == said


@pytest.mark.parametrize("stage", ["links", "pages", "documents", "corpus"])
def test_every_outcome_has_a_sentence(stage):
    for outcome in FATES[stage]:
        row = {**PAGE, "outcome": str(outcome), "score": 1, "karma": "max >= 3", "value": 1.0, "threshold": 1.0}
        row |= {"words": 5, "rule": "word_count >= 5", "text": "", "language": "en"}
        name = "removed" if stage == "corpus" and outcome is not Outcome.KEPT else stage
        said = verdict({name: row}, STANDS, GROUNDS)
        assert said.startswith("On its way" if outcome is Outcome.KEPT and stage != "corpus" else said[:1].upper())
        assert "{" not in said
        assert len(said.splitlines()) == 1
