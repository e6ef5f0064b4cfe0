"""Pages by whatever names them: a file, standard input, a record of an archive, an address of a build."""

import io
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline import config
from pipeline.build import artefact, build
from pipeline.cli.app import app
from pipeline.shards import schemas
from pipeline.shards.outcomes import ConfigError, InputError, Outcome
from pipeline.shards.runner import PlainRun
from pipeline.verbs.extract import extracts
from pipeline.verbs.raw_pages import openings
from pipeline.verbs.remove import remove
from tests.fetch.warcs import answer, moved, record, write
from tests.own_data import write_both

PARSED = {"build": {"shards": 2}, "links": {"submissions": ["dump.ndjson"]}, "pages": {"warc": ["*.warc.gz"]}}
CONFIG = '[build]\nshards = 2\n[links]\nsubmissions = ["dump.ndjson"]\n[pages]\nwarc = ["*.warc.gz"]\n'
SETTINGS = config.parse(PARSED)
FIRST = b"<title>One</title><p>The sea was calm that day, and nobody spoke of it again."
SECOND = b"<title>Two</title><p>Another day came, and the wind had turned to the north by then."


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    root = tmp_path_factory.mktemp("extract")
    write_both(root, pages=4)
    (root / config.FILE_NAME).write_text(CONFIG)
    build(root, SETTINGS, "documents", run=PlainRun())
    return root


@pytest.fixture
def archive(tmp_path):
    """Two pages, a redirect to the second, one that is not there, an image, and a later capture of the first."""
    write(
        tmp_path,
        record(answer(FIRST), "http://a.test/one"),
        record(moved("http://a.test/two"), "http://a.test/old"),
        record(answer(SECOND), "http://a.test/two"),
        record(answer(b"gone", "404 Not Found"), "http://a.test/gone"),
        record(answer(b"\x89PNG", "200 OK", ("Content-Type", "image/png")), "http://a.test/image"),
        record(answer(b"User-agent: *", "200 OK", ("Content-Type", "text/plain")), "http://a.test/robots.txt"),
    )
    return tmp_path / "1.warc.gz"


def opened(*words, root=None, settings=SETTINGS):
    """The pages that words name."""
    return [page for one in openings(words, root or Path("nowhere"), lambda: settings) for page in one()]


def made(work):
    """URL -> row of documents."""
    files = [artefact(work, "documents", 2).file(shard, ".parquet") for shard in range(2)]
    return {row["url"]: row for path in files for row in schemas.read_parquet(path).to_pylist()}


def test_an_address_of_a_build_gives_what_the_build_wrote(work):
    rows = made(work)
    assert len(rows) == 4
    found = list(extracts(list(rows), root=work, settings=lambda: SETTINGS))
    for one, row in zip(found, rows.values(), strict=True):
        assert {name: row[name] for name in ("title", "text", "engine", "outcome", "word_count")} == {
            name: one[name] for name in ("title", "text", "engine", "outcome", "word_count")
        }


def test_it_may_be_named_without_its_scheme_or_by_an_id(work):
    url, row = next(iter(made(work).items()))
    for word in (url.removeprefix("https://"), f"{url}#part", row["doc_id"], "t3_a0"):
        (page,) = opened(word, root=work)
        assert page.name in made(work)


def test_a_record_is_named_by_its_offset_or_by_its_address(archive):
    (first,) = opened(f"{archive}:0")
    assert (first.body, first.url, first.outcome) == (FIRST, "http://a.test/one", Outcome.KEPT)
    for url in ("http://a.test/two", "https://A.test/two#x"):
        (second,) = opened(str(archive), url)
        assert (second.body, second.url) == (SECOND, "http://a.test/two")
        at = second.name.rpartition(":")[2]
        assert opened(f"{archive}:{at}") == [second]


def test_an_archive_alone_gives_all_its_pages_and_words_keep_their_order(archive, tmp_path):
    (tmp_path / "a.html").write_bytes(b"<p>x")
    words = [str(archive), str(tmp_path / "a.html"), str(archive), "http://a.test/one"]
    assert [page.body for page in opened(*words)] == [FIRST, SECOND, b"<p>x", FIRST]
    assert [page.body for page in opened(str(archive), "http://a.test/robots.txt")] == [b"User-agent: *"]  # as asked


def test_standard_input_is_a_page(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"<p>The sea was calm that day.")))
    (found,) = extracts(["-"])
    assert (found["file"], found["text"]) == ("-", "The sea was calm that day.")


def test_a_file_whose_name_looks_like_a_place_in_an_archive_is_a_file(tmp_path):
    (tmp_path / "1.warc.gz:7").write_bytes(b"<p>x")
    (page,) = opened(str(tmp_path / "1.warc.gz:7"))
    assert page.body == b"<p>x"


def test_what_is_no_page_is_told_by_its_outcome_and_not_extracted(archive):
    at = offsets(archive)
    found = list(extracts([f"{archive}:{at[3]}", f"{archive}:{at[4]}"]))
    assert [(one["outcome"], one["text"]) for one in found] == [("not_found", ""), ("not_html", "")]


def offsets(path):
    """Where the records of a file begin."""
    data = path.read_bytes()
    return [at for at in range(len(data)) if data[at : at + 4] == b"\x1f\x8b\x08\x00"]


@pytest.mark.failure("`extract` names a page that is not there", "exit 3; the line says what there is", "correct it")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{archive}:5"], "at offset 5: "),
        (["{archive}", "http://a.test/none"], "holds no response of http://a.test/none"),
        (["{archive}", "http://a.test/old"], "is there as bad_redirect, to http://a.test/two, and not as a page"),
        (["{archive}", "http://a.test/gone"], "http://a.test/gone is there as not_found, and not as a page"),
        (["{folder}/none.html"], "none.html: No such file or directory"),
        (["{folder}/none.warc.gz:5"], "none.warc.gz: cannot be read: No such file or directory"),
        (["{folder}"], "Is a directory"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(archive, words, said):
    with pytest.raises(InputError) as refusal:
        opened(*[word.format(archive=archive, folder=archive.parent) for word in words])
    assert said in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_an_address_without_a_build_is_not_fetched(tmp_path):
    with pytest.raises(ConfigError, match=r"name its folder with --dir; nothing is fetched"):
        opened("http://a.test/one", root=tmp_path)


def test_a_page_that_was_asked_to_go_is_not_shown(work, tmp_path):
    write_both(tmp_path, pages=2)
    (tmp_path / config.FILE_NAME).write_text(CONFIG)
    build(tmp_path, SETTINGS, "pages", run=PlainRun())
    remove(tmp_path, 2, ["t3_a0"])
    with pytest.raises(InputError, match="no page here: Removed on request of "):
        opened("t3_a0", root=tmp_path)
    (tmp_path / "removals" / "0001.json").rename(work / "copied.json")
    (work / "removals").mkdir()
    (work / "copied.json").rename(work / "removals" / "0001.json")  # an order that came with a copy
    try:
        with pytest.raises(InputError, match="no page here: Removed on request of "):
            opened("t3_a0", root=work)
    finally:
        (work / "removals" / "0001.json").unlink()


def test_the_command_takes_them_side_by_side(work, archive, tmp_path):
    (tmp_path / "a.html").write_bytes(FIRST)
    url = next(iter(made(work)))
    words = ["extract", "--json", "-C", str(work), str(tmp_path / "a.html"), f"{archive}:0"]
    words += [str(archive), "http://a.test/two", url]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.exception
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["title"] for one in found[:3]] == ["One", "One", "Two"]
    assert found[3]["text"] == made(work)[url]["text"]
