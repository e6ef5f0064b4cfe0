"""What `status` calls whole, a build leaves alone, the rest it makes; and verbs refuse by the same word."""

import os
import shutil

import pytest

from pipeline import config, tokens
from pipeline.build import STAGES, build
from pipeline.shards.outcomes import StaleError
from pipeline.status import altered, check, recorded, status_of
from tests.own_data import write_both
from tests.test_moved import Counted

SENTENCE = "word " * 13
HOSTS = '[pages.local_hosts]\n"a.test" = "127.0.0.1:1"\n'
CONFIG = """[build]
shards = 2
[links]
submissions = ["dump*"]
blocked_hosts = "hosts.txt"
[pages]
warc = ["*.warc.gz"]
[corpus]
min_words = 50
rules = ["rules.txt"]
contamination = ["evaluation.txt"]
[tokenizer]
vocab_size = 300
"""


def begun(work):
    """A working directory with its config and inputs, not built."""
    write_both(work, pages=4)
    (work / config.FILE_NAME).write_text(CONFIG)
    (work / "hosts.txt").write_text("media.test\n")
    (work / "rules.txt").write_text("word_count >= 5\n")
    (work / "evaluation.txt").write_text(SENTENCE.replace("word", "asked"))
    return work


def made(work):
    """How many tasks a build has now."""
    Counted.tasks = 0
    build(work, config.load(work / config.FILE_NAME), run=Counted())
    return Counted.tasks


def states(work):
    return {name: one.state for name, one in status_of(work, config.load(work / config.FILE_NAME)).items()}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    found = begun(tmp_path_factory.mktemp("status") / "work")
    assert set(states(found).values()) == {"not made"}
    assert sorted(path.name for path in found.iterdir() if path.is_dir()) == []
    made(found)
    return found


def changed(work, old, new):
    path = work / config.FILE_NAME
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def twice(path):
    path.write_bytes(path.read_bytes() * 2)


CHANGES = {
    # what somebody does to a directory: the first stage that is then not whole, None: all are
    "nothing": (lambda work: None, None),
    "an input is touched": (lambda work: os.utime(work / "dump.ndjson"), None),
    "a setting that decides nothing": (lambda work: changed(work, "[links]", f"{HOSTS}[links]"), None),
    "another contact": (lambda work: changed(work, "[pages]", "[pages]\ncontact = 'mailto:x@y.test'"), None),
    "a file is named otherwise": (lambda work: changed(work, "*.warc.gz", "pages.*"), None),
    "karma": (lambda work: changed(work, "[links]", "[links]\nkarma = 4"), "links"),
    "a list of hosts": (lambda work: (work / "hosts.txt").write_text("other.test\n"), "links"),
    "a line more of an input": (lambda work: (work / "dump.ndjson").open("a").write("{}\n"), "links"),
    "an input more": (lambda work: shutil.copy(work / "dump.ndjson", work / "dump2.ndjson"), "links"),
    "an input less": (lambda work: (work / "dump.ndjson").unlink(), "links"),
    "an archive is written anew": (lambda work: twice(work / "pages.warc.gz"), "pages"),
    "rules": (lambda work: (work / "rules.txt").write_text("word_count >= 6\n"), "corpus"),
    "an evaluation file": (lambda work: (work / "evaluation.txt").write_text(SENTENCE), "corpus"),
    "a vocabulary": (lambda work: changed(work, "vocab_size = 300", "vocab_size = 301"), "tokenizer"),
    "a version": (lambda work: None, "tokens"),
    "a file is deleted": (lambda work: next((work / "tokens" / "train").iterdir()).unlink(), "tokens"),
    "a receipt is deleted": (lambda work: next((work / "documents" / ".receipts").iterdir()).unlink(), "documents"),
    "what only helps is deleted": (lambda work: shutil.rmtree(work / "scratch" / "votes"), "corpus"),
    "a manifest is deleted": (lambda work: (work / "corpus" / ".manifest.json").unlink(), "corpus"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_status_calls_whole_a_build_leaves_alone_and_the_rest_it_makes(work, tmp_path, monkeypatch, name):
    change, first = CHANGES[name]
    shutil.copytree(work, tmp_path / "work", copy_function=shutil.copy2)
    work = tmp_path / "work"
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.name != "sha256.json"}
    assert set(states(work).values()) == {"whole"}
    change(work)
    if name == "a version":
        monkeypatch.setattr(tokens, "VERSION", tokens.VERSION + 1)
    said = states(work)
    untouched = {path: time for path, time in before.items() if path.exists() and path.is_file()}
    assert sum(path.stat().st_mtime_ns != time for path, time in untouched.items()) <= 1  # what was changed
    assert next((stage for stage in STAGES if said[stage] != "whole"), None) == first
    if first is None:
        assert made(work) == 0
        return
    if name == "an input less":
        return  # a build cannot be made
    after = set(STAGES[STAGES.index(first) + 1 :])
    assert {said[stage] for stage in after} <= {"stale", "damaged", "partly made"}
    assert made(work) > 0 or name == "a manifest is deleted"
    assert set(states(work).values()) == {"whole"}
    assert made(work) == 0


def test_a_stale_artefact_is_refused_with_what_changed_and_taken_when_it_is_meant(work):
    settings = config.load(work / config.FILE_NAME, ["corpus.min_words=51"])
    with pytest.raises(StaleError) as refusal:
        list(check(work, settings, ["corpus"]))
    said = "corpus is stale: corpus.min_words is 51, and was 50"
    assert str(refusal.value) == f"{said}; run 'webtext build corpus', or take it as it is with --stale"
    with pytest.raises(StaleError, match=r"^tokens are stale: corpus would be made anew; run 'webtext build tokens'"):
        list(check(work, settings, ["tokens"]))
    assert list(check(work, settings, ["corpus"], stale=True)) == [f"{said}; taken as it is"]
    assert list(check(work, settings, ["documents"])) == []


def test_artefacts_on_a_machine_that_has_nothing_else_are_taken_with_a_word(work, tmp_path):
    for name in ("tokens", "tokenizer"):
        shutil.copytree(work / name, tmp_path / name)
    settings = config.load(work / config.FILE_NAME)
    assert list(check(tmp_path, settings, ["tokens"])) == ["corpus is not here to compare tokens with"]
    assert recorded(tmp_path, 2)["tokens"].state == "stale"


def test_a_build_knows_of_each_stage_which_setting_makes_it_anew(work):
    path = work / config.FILE_NAME
    assert altered(work, config.load(path)) == {}
    other = config.load(path, ["links.karma=10", "corpus.min_words=51"])
    assert altered(work, other) == {
        "links": "links.karma is 10, and was 3",
        "corpus": "corpus.min_words is 51, and was 50",
    }
