"""What was asked to go is gone from everything that was built, stays gone, and leaves a proof."""

import hashlib
import json
import os
import shutil

import pytest

from pipeline import urls
from pipeline.build import STAGES, artefact
from pipeline.shards import removals, storage
from pipeline.shards.outcomes import BusyError, ConfigError, InputError, StaleError
from pipeline.status import check, recorded, status_of, without_removals
from pipeline.verbs.explain import explain
from pipeline.verbs.remove import remove, report
from tests.own_data import write_both, write_dump, write_warc
from tests.verbs.remove.working import (
    NOW,
    doc_id_of,
    files_of,
    holding,
    kept_page,
    rebuilt,
    settings_for,
    table,
    token_rows,
)
from trainer.data import load_split


def test_a_removed_page_is_nowhere_and_everything_else_is_as_it_was(made, work):
    page = kept_page(work, made[1])
    before = {stage: table(work, stage) for stage in ("pages", "documents", "corpus")}
    text = next(row["text"] for row in before["corpus"].to_pylist() if row["doc_id"] == doc_id_of(page))
    (done,) = remove(work, 2, [page.url], NOW)
    for stage, old in before.items():
        expected = [row for row in old.to_pylist() if row["doc_id"] != doc_id_of(page)]
        assert table(work, stage).to_pylist() == expected
        assert len(expected) == old.num_rows - 1
    (row,) = [row for row in table(work, "links").to_pylist() if row["doc_id"] == doc_id_of(page)]
    assert row["outcome"] == "removed"
    assert (row["url"], row["fetch_url"], row["host"], row["submissions"]) == ("", "", "", [])
    assert done.request.removed == (doc_id_of(page),)
    address = page.url.partition("://")[2].removeprefix("www.")
    assert holding(work, address, text[: len(text) // 2]) == {}


def test_the_books_balance_and_say_what_went(made, work):
    remove(work, 2, [kept_page(work, made[1]).url], NOW)
    books = {name: book for stage in STAGES for name, book in artefact(work, stage, 2).manifest().books.items()}
    assert books["links"].outcomes["removed"] == 1
    for name in ("pages", "documents", "corpus", "tokens"):
        assert books[name].inputs == 11, name
        assert sum(books[name].outcomes.values()) == 11, name


def test_tokens_are_overwritten_where_they_lie_and_a_training_run_goes_on(made, work):
    page = kept_page(work, made[1])
    before = list(token_rows(work))
    fingerprints = [load_split(work, split).fingerprint for split in ("train", "val")]
    remove(work, 2, [page.url], NOW)
    hits = 0
    for (split, old), (same, new) in zip(before, token_rows(work), strict=True):
        assert (split, new.schema.metadata) == (same, old.schema.metadata)
        end = int(old.schema.metadata[b"webtext.end_of_text"])
        for one, other in zip(old.to_pylist(), new.to_pylist(), strict=True):
            if one["doc_id"] == doc_id_of(page):
                assert other == {"tokens": [end] * len(one["tokens"]), "doc_id": "", "host": "", "year": None}
                hits += 1
            else:
                assert other == one
    assert hits == 1
    assert [load_split(work, split).fingerprint for split in ("train", "val")] == fingerprints


def test_only_touched_shards_are_written_and_the_proof_names_them_before_and_after(made, work):
    page = kept_page(work, made[1])
    before = files_of(work)
    (done,) = remove(work, 2, [page.url], NOW)
    after = files_of(work)
    written = {path for path in after if after[path] != before.get(path) and path.parent.name != "removals"}
    proof = json.loads((work / "removals/0001.json").read_text())
    shards = {change["file"] for change in proof["changes"]}
    assert {str(path.relative_to(work)) for path in written if path.suffix != ".json"} == shards
    for change in proof["changes"]:
        path = work / change["file"]
        assert hashlib.sha256(before[path]).hexdigest() == change["sha256_before"]
        assert hashlib.sha256(after[path]).hexdigest() == change["sha256_after"] == storage.sha256_of(path)
        assert change["rows"] == 1
    stages = {"links", "pages", "documents", "corpus", "tokens", "scratch"}
    assert {name.partition("/")[0] for name in shards} == stages
    assert (proof["asked_at"], proof["ended_at"]) == ("2026-01-31T12:00:00Z",) * 2
    said = "rows: links 1, pages 1, documents 1, corpus 1, tokens 1, scratch 5; 10 files rewritten"
    assert said in report(done)[1]


def test_the_next_build_changes_nothing_and_a_fresh_one_leaves_the_page_out(made, work, tmp_path):
    page = kept_page(work, made[1])
    remove(work, 2, [page.url], NOW)
    kept = ("links", "pages", "documents", "corpus", "tokenizer", "tokens")
    before = {path: data for path, data in files_of(work).items() if path.relative_to(work).parts[0] in kept}
    untouched = [
        path
        for path in before
        if path.relative_to(work).parts[0] in ("documents", "tokens") and path.name != ".manifest.json"
    ]
    stamps = {path: path.stat().st_mtime_ns for path in untouched}
    rebuilt(work, made[2])
    assert {path: path.read_bytes() for path in before if path.suffix != ".json"} == {
        path: data for path, data in before.items() if path.suffix != ".json"
    }
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    fresh = tmp_path / "fresh"
    shutil.copytree(work / "removals", fresh / "removals")
    rebuilt(fresh, made[2])
    for stage in ("pages", "documents", "corpus"):
        assert table(fresh, stage) == table(work, stage), stage
    # what is left of a removed link has no host, and so no home: it may lie in any shard
    assert sorted(map(str, table(fresh, "links").to_pylist())) == sorted(map(str, table(work, "links").to_pylist()))


def test_status_says_that_the_corpus_is_stale_for_a_removal_and_for_nothing_else(made, work):
    settings, source = settings_for(made[2]), made[2]

    def why(**sections):
        return status_of(work, settings_for(source, **sections) if sections else settings)["corpus"].why

    pages = [page for page in made[1] if doc_id_of(page) in table(work, "corpus")["doc_id"].to_pylist()][:3]
    (done,) = remove(work, 2, [pages[0].url], NOW)
    assert why() == "a document was removed since"
    assert any(line.startswith("next: webtext build") for line in report(done))
    with pytest.raises(StaleError, match="a document was removed since; run 'webtext build tokens'"):
        list(check(work, settings, ["tokens"]))
    assert why(corpus={"min_words": 51}).startswith("corpus.min_words is 51")
    remove(work, 2, [pages[1].url], NOW)  # two, and no build between
    found = status_of(work, settings)
    assert found["corpus"].why == "a document was removed since"
    shown = without_removals(found, recorded(work, 2))
    assert shown["tokens"].manifest.books["tokens"].inputs == table(work, "corpus").num_rows
    rebuilt(work, source)
    assert {one.state for one in status_of(work, settings).values()} == {"whole"}
    remove(work, 2, [pages[2].url], NOW)  # one, after a build
    assert why() == "a document was removed since"
    shutil.rmtree(work / "scratch/votes")
    assert "has to be made" in why()


def test_a_removed_page_stays_away_whatever_is_built_anew(made, work):
    page = kept_page(work, made[1])
    remove(work, 2, [page.url], NOW)
    rebuilt(work, made[2], links={"karma": 2}, pages={"limit_bytes": 5_000_000}, corpus={"min_words": 10})
    for stage in ("pages", "documents", "corpus"):
        assert doc_id_of(page) not in table(work, stage)["doc_id"].to_pylist()
    assert doc_id_of(page) not in {one for _, rows in token_rows(work) for one in rows["doc_id"].to_pylist()}


def test_who_had_lost_to_a_removed_keeper_is_named_and_comes_back(tmp_path):
    pages = write_both(tmp_path, 6)
    write_dump(tmp_path / "dump.ndjson", pages, copies=2)
    write_warc(tmp_path / "pages.warc.gz", pages, copies=2)
    work = tmp_path / "work"
    rebuilt(work, tmp_path)
    lost = next(row for row in table(work, "corpus", "removed").to_pylist() if row["keeper"])
    keeper = lost["keeper"]
    assert keeper in table(work, "corpus")["doc_id"].to_pylist()
    (done,) = remove(work, 2, [keeper], NOW)
    assert done.request.returning == (lost["doc_id"],)
    assert report(done)[2] == f"had lost to a removed page, comes back at the next 'webtext build': {lost['doc_id']}"
    assert lost["doc_id"] not in table(work, "corpus")["doc_id"].to_pylist()
    rebuilt(work, tmp_path)
    assert lost["doc_id"] in table(work, "corpus")["doc_id"].to_pylist()
    assert keeper not in table(work, "corpus")["doc_id"].to_pylist()


def test_hosts_ids_and_submissions_are_understood_and_what_is_unknown_is_kept_in_mind(made, work):
    links = table(work, "links").to_pylist()
    one, other = links[0], next(link for link in links if link["host"] != links[0]["host"])
    (done,) = remove(work, 2, [f"  {one['host']}  # all of it", "", f"t3_{other['submissions'][0]['id']}"], NOW)
    gone = {link["doc_id"] for link in links if link["host"] == one["host"]} | {other["doc_id"]}
    assert set(done.request.removed) == gone
    (unknown,) = remove(work, 2, ["https://never.example/seen"], NOW)
    assert unknown.request.removed == ()
    assert "nothing built held any of them" in report(unknown)[1]
    assert removals.Removals.of(work).cover(urls.doc_id("https://never.example/seen"), "never.example", ())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("example.com/page", r"line 2: 'example.com/page' is no URL \(with https://\), host, doc_id or submission id"),
        ("ftp://example.com/", "line 2: ftp://example.com/"),
        ("no such thing", "line 2: 'no such thing' is no URL"),
        ("# nothing", "the list names nothing to remove"),
    ],
)
def test_a_line_that_names_nothing_is_refused_before_anything_is_touched(made, work, line, said):
    before = files_of(work)
    with pytest.raises(InputError, match=said):
        remove(work, 2, ["# a list", line], NOW)
    assert files_of(work) == before


def test_another_number_of_shards_is_refused_before_anything_is_touched(made, work):
    before = files_of(work)
    with pytest.raises(ConfigError, match="begun with 2"):
        remove(work, 3, [kept_page(work, made[1]).url], NOW)
    assert files_of(work) == before


def test_a_list_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"list\.txt: cannot be read"):
        removals.read_list(tmp_path / "list.txt")


class Killed(BaseException):
    """A kill, as far as a process can play its own."""


def cut_short(root, page, at, monkeypatch):
    """Remove a page, dying before the write `at`; whether it got so far. A write ends with one fsync of its file."""
    left, real = [at], os.fsync

    def dying(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", dying)
        try:
            remove(root, 2, [page.url], NOW)
        except Killed:
            return True
    return False


def is_between(root, before, after):
    """Whether neither what was there before nor what is to be after is all that a build may read."""
    try:
        removals.refuse_unfinished(root)
    except BusyError:
        return False
    now = {name: table(root, name) for name in before}
    return now not in (before, after)


def proven(root, made, monkeypatch, tmp_path, stops):
    """Of each stop: cut short there, the removal is "not yet" or waits to be ended, and ends as the whole one does."""
    page, stages = kept_page(root, made[1]), ("links", "pages", "documents", "corpus")
    before = {stage: table(root, stage) for stage in stages}
    whole = tmp_path / "whole"
    shutil.copytree(root, whole)
    remove(whole, 2, [page.url], NOW)
    after = {stage: table(whole, stage) for stage in stages}
    reached = 0
    for stop in stops:
        work = tmp_path / f"cut{stop}"
        shutil.copytree(root, work)
        if not cut_short(work, page, stop, monkeypatch):
            break
        reached += 1
        assert not is_between(work, before, after), stop
        done = remove(work, 2, [], NOW)
        if not done and not removals.paths(work):  # nothing was asked yet
            done = remove(work, 2, [page.url], NOW)
        assert [one.request.ended_at != "" for one in done] in ([True], []), stop
        assert {stage: table(work, stage) for stage in stages} == after, stop
        assert holding(work, page.url.partition("://")[2].removeprefix("www.")) == {}, stop
        shutil.rmtree(work)
    return reached


def test_a_removal_killed_at_a_write_is_not_begun_or_is_ended_by_the_next_command(made, work, tmp_path, monkeypatch):
    assert proven(work, made, monkeypatch, tmp_path, range(1, 400, 9)) > 4


@pytest.mark.long
def test_a_removal_killed_at_every_write(made, work, tmp_path, monkeypatch):
    assert proven(work, made, monkeypatch, tmp_path, range(400)) > 40


def test_builds_wait_for_a_removal_that_was_cut_short(made, work, monkeypatch):
    assert cut_short(work, kept_page(work, made[1]), 12, monkeypatch)
    with pytest.raises(BusyError, match="a removal was cut short; run 'webtext remove'"):
        rebuilt(work, made[2])
    (done,) = remove(work, 2, [], NOW)
    assert done.request.ended_at
    rebuilt(work, made[2])


def test_explain_tells_when_it_was_removed_and_where_the_proof_is(made, work):
    page = kept_page(work, made[1])
    remove(work, 2, [page.url], NOW)
    life = dict(explain(work, 2, page.url))
    assert list(life) == ["links", "removal"]
    assert life["links"]["outcome"] == "removed"
    when = "2026-01-31T12:00:00Z"
    proof = "removals/0001.statement.json"
    assert life["removal"] == {"asked_at": when, "ended_at": when, "proof": proof, "trained": {}}
