"""Dedup across sets: what stands in a corpus of `corpus.against` already goes out here, by evidence that names it."""

import itertools
import shutil

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import config, corpus, elsewhere, preflight, urls
from pipeline.build import build
from pipeline.dedup import evaluation
from pipeline.shards import schemas
from pipeline.shards.outcomes import ConfigError, InputError
from pipeline.shards.receipts import Artefact, RowCounts, Task, Undone, balanced, looking
from pipeline.shards.runner import BeamRun, PlainRun
from pipeline.status import status_of
from pipeline.text.normalize import words
from pipeline.verbs.explain import explain
from pipeline.verbs.grounds import Grounds
from pipeline.verbs.remove import remove
from pipeline.verbs.report.write import PAGE, report
from tests import test_versions as versions
from tests.own_data import write_dump, write_warc
from tests.test_corpus import Page, Shuffled, built, copies, inputs, prose, recipe, reworded, rows, why


def stands(root, *shards, name="corpus"):
    """A whole corpus of another build, whose shards hold these pages."""
    one = Artefact(root, name, len(shards))
    for shard, pages in enumerate(shards):
        told = [{"url": page.url, "doc_id": page.doc_id, "text": page.text} for page in pages]
        with one.attempt(Task(shard, f"{told}")) as attempt:
            with attempt.write(".parquet") as file:
                table = pa.Table.from_pylist(told, schemas.CORPUS)
                attempt.rows(".parquet", schemas.write_parquet(file, [table], schemas.CORPUS))
            attempt.commit({"corpus": balanced("corpus", len(told), {"kept": len(told)})})
    one.finish({}, [])
    as_corpus = one.manifest_path.read_text().replace(f'"stage": "{name}"', '"stage": "corpus"')
    one.manifest_path.write_text(as_corpus)  # whatever its folder is called
    return elsewhere.other(str(one.folder), root / "nobody")


def theirs():
    """A story and a chapter that stand elsewhere, and pages that nobody copied."""
    return [
        Page("https://old.example/story", prose("story")),
        Page("https://old.example/chapter", prose("chapter")),
        Page("https://old.example/own", prose("nobody's")),
    ]


def files_of(root):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("shards", "named"), [(1, "../old"), (3, "../old/corpus"), (2, "{}/old/")])
def test_what_stands_elsewhere_goes_out_here_and_its_row_names_it(tmp_path, shards, named):
    other, work = stands(tmp_path / "old", theirs()[:1], [], theirs()[1:]), tmp_path / "new"
    before = files_of(tmp_path / "old")
    pages = copies()
    manifest = built(work, pages, shards, against=[named.format(tmp_path)])
    told = {
        row["url"]: (row["rule"], row["threshold"], row["keeper"])
        for row in rows(work, "removed").values()
        if row["outcome"] == "duplicate_elsewhere"
    }
    story, chapter = (urls.doc_id(page.url) for page in theirs()[:2])
    rule = f"against {other.mark}"
    assert told == {
        "https://a.example/story": (rule, 1.0, story),
        "https://b.example/story": (rule, 1.0, story),
        "https://c.example/story": (rule, 1.0, story),
        "https://a.example/chapter": (rule, 1.0, chapter),
        "https://b.example/chapter": (rule, 0.8, chapter),
    }
    values = {row["url"]: row["value"] for row in rows(work, "removed").values()}
    assert values["https://b.example/chapter"] == pytest.approx(136 / 156)
    assert values["https://a.example/chapter"] == 1.0
    assert manifest.books["corpus"] == RowCounts(11, {"kept": 6, "duplicate_elsewhere": 5})
    assert manifest.notes[0] == f"against {other.mark} is {named.format(tmp_path)}, where 3 documents stand"
    assert files_of(tmp_path / "old") == before


def test_a_document_loses_to_the_likest_and_of_equals_to_the_corpus_named_first(tmp_path):
    text = prose("chapter")
    stands(tmp_path / "first", [Page("https://first.example/near", reworded(text, 3))])
    stands(tmp_path / "second", [Page("https://second.example/nearer", reworded(text, 2))])
    stands(tmp_path / "third", [Page("https://third.example/as-near", reworded(text, 2))])
    names = ["../first", "../second", "../third"]
    built(tmp_path / "new", [Page("https://new.example/", text)], against=names)
    (row,) = rows(tmp_path / "new", "removed").values()
    assert row["keeper"] == urls.doc_id("https://second.example/nearer")
    built(tmp_path / "new", [Page("https://new.example/", text)], against=names[::-1])
    (row,) = rows(tmp_path / "new", "removed").values()
    assert row["keeper"] == urls.doc_id("https://third.example/as-near")


@pytest.mark.parametrize("shards", [1, 3])
def test_a_copy_of_what_went_elsewhere_names_what_stands_there(tmp_path, shards):
    text = prose("chapter")
    stands(tmp_path / "old", [Page("https://old.example/", text)])
    pages = [Page(f"https://c{n}.example/", reworded(text, 2), score=n) for n in range(4)]
    pages.append(Page("https://like.example/", reworded(text, 3), score=900))  # of them too, and goes by itself
    built(tmp_path / "new", pages, shards, against=["../old"])
    found = rows(tmp_path / "new", "removed").values()
    assert {(row["outcome"], row["keeper"]) for row in found} == {
        ("duplicate_elsewhere", urls.doc_id("https://old.example/"))
    }
    values = {row["url"]: (row["value"], row["threshold"]) for row in found}
    assert [values[page.url] for page in pages[:4]] == [(pytest.approx(136 / 156), 0.8)] * 4
    assert rows(tmp_path / "new") == {}


def test_what_goes_elsewhere_takes_no_document_with_it(tmp_path):
    near, far = (" ".join([*prose("tail", k).split(), *prose("base", 120 - k).split()]) for k in (7, 14))
    stands(tmp_path / "old", [Page("https://old.example/", prose("base", 120))])
    alike = evaluation.exact_jaccard(words(near), words(far), 5)
    pages = [Page("https://near.example/", near, score=900), Page("https://far.example/", far)]
    assert alike >= 0.8 > evaluation.exact_jaccard(words(prose("base", 120)), words(far), 5)
    built(tmp_path / "alone", pages)
    assert why(tmp_path / "alone") == {"https://far.example/": ("near_duplicate", "jaccard")}
    built(tmp_path / "new", pages, against=["../old"])
    assert [row["url"] for row in rows(tmp_path / "new").values()] == ["https://far.example/"]


# --- the slow definition


def likeness(one, other):
    return np.float32(evaluation.exact_jaccard(words(one.text), words(other.text), 5))


def slowly(pages, corpora):
    """(outcome, keeper) of each page that goes, by comparing all with all."""
    there = [(place, page) for place, corpus_ in enumerate(corpora) for page in itertools.chain(*corpus_)]
    fate, left = {}, []
    for page in sorted(pages, key=lambda page: (-page.score, -len(page.text.split()), page.doc_id)):
        same = [one for one in there if words(one[1].text) == words(page.text)]
        near = [(-likeness(page, one), n, one) for n, (_, one) in enumerate(there) if likeness(page, one) >= 0.8]
        if same:
            fate[page.doc_id] = ("duplicate_elsewhere", min(same, key=lambda one: (one[0], one[1].doc_id))[1].doc_id)
        elif near:
            fate[page.doc_id] = ("duplicate_elsewhere", min(near)[2].doc_id)
        else:
            left.append(page)
    firsts, stays = {}, []
    for page in left:  # best first
        firsts.setdefault(" ".join(words(page.text)), page)
    for page in firsts.values():
        keeper = next((one for one in stays if likeness(page, one) >= 0.8), None)
        if keeper is None:
            stays.append(page)
        else:
            fate[page.doc_id] = ("near_duplicate", keeper.doc_id)
    for page in left:
        first = firsts[" ".join(words(page.text))]
        if first != page:
            fate[page.doc_id] = ("exact_duplicate", fate.get(first.doc_id, (None, first.doc_id))[1])
    return fate


# Families of texts that are far from each other; in each 0, 2, 5 or 40 words at the end are others, which of 146
# shingles spoils as many: a Jaccard of at least 0.93, or of at most 0.57. None is near enough to 0.8 to be missed.
TEXTS = st.tuples(st.integers(0, 2), st.sampled_from([0, 2, 5, 40]), st.integers(0, 2))


def text_of(family, changed, ending):
    return " ".join([*prose(family, 150 - changed).split(), *prose(f"{family} {ending}", changed).split()])


def pages_of(drawn, host, karma=None):
    scores = karma or [3] * len(drawn)
    return [Page(f"https://{host}{n}.example/", text_of(*one), scores[n]) for n, one in enumerate(drawn)]


@settings(deadline=None, max_examples=12)
@given(
    st.lists(TEXTS, max_size=9),
    st.lists(st.lists(st.lists(TEXTS, max_size=3), min_size=1, max_size=2), max_size=2),
    st.lists(st.integers(3, 6), min_size=9, max_size=9),
    st.integers(1, 3),
)
def test_what_stays_is_that_of_the_slow_definition(tmp_path_factory, drawn, corpora, karma, shards):
    root = tmp_path_factory.mktemp("slow")
    pages = pages_of(drawn, "new", karma)
    held = [[pages_of(one, f"o{n}-{m}-") for m, one in enumerate(each)] for n, each in enumerate(corpora)]
    for n, each in enumerate(held):
        stands(root / f"old{n}", *each)
    built(root / "new", pages, shards, min_words=1, against=[f"../old{n}" for n in range(len(held))])
    gone = {row["doc_id"]: (row["outcome"], row["keeper"]) for row in rows(root / "new", "removed").values()}
    assert gone == slowly(pages, held)
    kept = [page for page in pages if page.doc_id not in gone]
    every = [*kept, *itertools.chain(*itertools.chain(*held))]
    assert [one for one in kept for other in every if one != other and likeness(one, other) >= 0.8] == []


# --- what is made again, and what is not


def test_the_order_of_blocks_and_the_runner_change_no_byte(tmp_path):
    stands(tmp_path / "old", theirs()[:2], theirs()[2:])
    pages = [*copies(), *(Page(f"https://s{n}.example/", f"{prose('same')} {n}") for n in range(5))]
    runs = {"plain": PlainRun(), "shuffled": Shuffled(), "beam": BeamRun(scratch=tmp_path / "spilled")}
    made = [built(tmp_path / name, pages, 3, run=run, bucket=2, against=["../old"]) for name, run in runs.items()]
    assert made[0] == made[1] == made[2]


def test_without_other_corpora_a_build_is_what_it_always_was(tmp_path):
    stands(tmp_path / "old", theirs())
    built(tmp_path / "new", copies(), against=["../old"])
    corpus.stage(recipe(2, against=[]), tmp_path / "new", PlainRun())
    built(tmp_path / "never", copies())
    named = {str(path.relative_to(tmp_path / "new")): held for path, (held, _) in files_of(tmp_path / "new").items()}
    apart = {name: held for name, held in named.items() if "elsewhere" in name or "-of-00003" in name}
    assert apart
    never = {
        str(path.relative_to(tmp_path / "never")): held for path, (held, _) in files_of(tmp_path / "never").items()
    }
    assert {name: held for name, held in named.items() if name not in apart} == never


def undone(work, **chosen):
    """What a build would make next of a corpus; None: nothing."""
    try:
        with looking():
            corpus.stage(recipe(2, **chosen), work, PlainRun())
    except Undone as found:
        return found.artefact.name
    return None


def test_a_corpus_that_moves_changes_nothing_and_one_that_changes_makes_this_one_stale(tmp_path):
    other = stands(tmp_path / "old", theirs())
    work = tmp_path / "new"
    built(work, copies(), against=["../old"])
    before = {path: held for path, held in files_of(work).items() if path.name != ".manifest.json"}
    shutil.move(tmp_path / "old/corpus", tmp_path / "kept-2015")
    assert undone(work, against=["../kept-2015"]) is None
    manifest = corpus.stage(recipe(2, against=["../kept-2015"]), work, PlainRun())
    assert {path: held for path, held in files_of(work).items() if path.name != ".manifest.json"} == before
    assert manifest.notes[0] == f"against {other.mark} is ../kept-2015, where 3 documents stand"
    stands(tmp_path / "less", theirs()[1:])  # the story was taken out there
    assert undone(work, against=["../less"]) == "scratch/elsewhere"
    corpus.stage(recipe(2, against=["../less"]), work, PlainRun())
    assert why(work)["https://a.example/story"] == ("exact_duplicate", "text_hash")
    assert {row["url"] for row in rows(work).values()} >= {"https://b.example/story"}


def test_the_same_corpus_named_twice_is_asked_once(tmp_path):
    stands(tmp_path / "old", theirs())
    shutil.copytree(tmp_path / "old/corpus", tmp_path / "copy")
    once = built(tmp_path / "new", copies(), against=["../old"])
    again = corpus.stage(recipe(2, against=["../old", "../old/corpus", "../copy"]), tmp_path / "new", PlainRun())
    assert (once.fingerprint, once.notes) == (again.fingerprint, again.notes)


def test_a_corpus_without_documents_takes_none_out(tmp_path):
    other = stands(tmp_path / "old", [], [])
    manifest = built(tmp_path / "new", copies(), against=["../old"])
    assert manifest.notes[0] == f"against {other.mark} is ../old, where 0 documents stand"
    built(tmp_path / "alone", copies())
    assert rows(tmp_path / "new", "removed") == rows(tmp_path / "alone", "removed")


def test_each_build_holds_what_those_before_it_do_not(tmp_path):
    pages = copies()
    for month in range(3):
        before = [f"../{earlier}" for earlier in range(month)]
        built(tmp_path / f"{month}", pages[: 4 * (month + 1)], against=before)
    months = [rows(tmp_path / f"{month}") for month in range(3)]
    together = [row["text"].lower() for month in months for row in month.values()]
    assert len(together) == len(set(together)) == 8
    assert all(set(one).isdisjoint(other) for one, other in itertools.combinations(months, 2))


def test_what_the_bands_pass_over_elsewhere_is_found_by_the_meter(tmp_path):
    text = prose("same")
    stands(tmp_path / "old", [Page("https://old.example/", text)])
    built(tmp_path / "new", [Page("https://new.example/", reworded(text, 1))], bands=1, rows=128, against=["../old"])
    assert why(tmp_path / "new") == {}
    one = corpus.evidence.prepared(recipe(2, bands=1, rows=128, against=["../old"]), tmp_path / "new", PlainRun())
    assert (one.reading_of().missed, one.reading_of().removed) == (1, 0)


# --- what other commands say


def test_explain_and_the_report_name_what_stands_elsewhere_and_status_tells_when_that_changes(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for root, some in ((old, slice(0, 3)), (new, slice(2, 6))):
        root.mkdir()
        write_dump(root / "dump.ndjson", list(versions.pages())[some])
        write_warc(root / "pages.warc.gz", list(versions.pages())[some])
    build(old, config.parse(versions.SETTINGS), "corpus", run=PlainRun())
    chosen = config.parse({**versions.SETTINGS, "corpus": {"min_words": 50, "against": ["../old"]}})
    manifest = build(new, chosen, "corpus", run=PlainRun())["corpus"]
    assert manifest.books["corpus"] == RowCounts(4, {"kept": 3, "duplicate_elsewhere": 1})
    (row,) = rows(new, "removed").values()
    told = dict(explain(new, 2, row["url"]))["removed"]
    assert (told["keeper_url"], told["keeper_corpus"]) == (row["url"], "../old")  # the same page, there
    said = Grounds.of(new, Artefact(new, "corpus", 2)).of_row(row | {"text": ""}).sentence
    assert said == f"the same words as a document that stands in another corpus ({row['rule']})"
    report(new, 2, tmp_path / "out")
    page = (tmp_path / "out" / PAGE).read_text()
    assert "1 document went because they stand in a corpus of another build (corpus.against):" in page
    assert f"{row['rule'].split()[1]} is ../old, where 3 documents stand" in page
    assert status_of(new, chosen)["corpus"].state == "whole"
    remove(old, 2, [row["url"]])
    assert status_of(new, chosen)["corpus"].state == "stale"
    (done,) = remove(new, 2, [row["url"]])
    assert done.request.returning == ()  # it had not lost to itself
    assert build(new, chosen, "corpus", run=PlainRun())["corpus"].books["corpus"].outcomes == {"kept": 3}


# --- what cannot be compared with


def not_whole(root):
    stands(root / "old", theirs()[:1], theirs()[1:])
    (root / "old/corpus/.manifest.json").unlink()
    (root / "old/corpus/.receipts/00001-of-00002.json").unlink()


def of_another_stage(root):
    stands(root, theirs(), name="old")
    path = root / "old/.manifest.json"
    path.write_text(path.read_text().replace('"stage": "corpus"', '"stage": "tokens"'))


def damaged(root):
    stands(root / "old", theirs())
    next((root / "old/corpus").glob("*.parquet")).unlink()


def no_manifest(root):
    (root / "old").mkdir()
    (root / "old/.manifest.json").write_text("{}")


BAD = {
    "missing": (lambda _: None, "no such folder .*; correct it"),
    "empty": (
        lambda root: (root / "old").mkdir(),
        "no corpus is built there .*; name a working directory",
    ),
    "a file": (lambda root: (root / "old").write_text("text"), "cannot be read: Not a directory"),
    "being built": (not_whole, r"not whole: 1 of 2 shards are made; when its build has ended \('webtext build corpus"),
    "tokens": (of_another_stage, "holds tokens; name a working directory, or the folder of its corpus"),
    "damaged": (damaged, "00000-of-00001.parquet is gone, or of another length; build it there again"),
    "no manifest": (no_manifest, "old/.manifest.json is none of a corpus; name a working directory"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.failure(
    "`corpus.against` names no corpus, or one that is not whole",
    "exit 3, one line with what is there, before any work",
    "correct the name, or let that build end, and run the same command again",
)
def test_what_is_no_whole_corpus_is_refused_before_any_work(tmp_path, kind):
    (tmp_path / "new").mkdir()
    prepare, said = BAD[kind]
    prepare(tmp_path)
    with pytest.raises(InputError, match=rf"^corpus\.against: \.\./old: .*{said}[^\n]*$"):
        preflight.check(tmp_path / "new", recipe(2, against=["../old"]), ["corpus"])
    with pytest.raises(InputError, match=said):
        built(tmp_path / "new", copies(), against=["../old"])
    assert not (tmp_path / "new/scratch/votes").exists()


@pytest.mark.failure(
    "`corpus.against` names this corpus, or one that was built against it",
    "exit 2, and which of the names it is",
    "decide which of the two comes first, and take it out of the settings of the other",
)
def test_a_corpus_is_not_compared_with_itself_nor_with_what_was_built_against_it(tmp_path):
    built(tmp_path / "a", copies())
    for name in (".", "corpus", "../a", str(tmp_path / "a/corpus")):
        with pytest.raises(ConfigError, match=r"is this corpus itself; take it out$"):
            corpus.stage(recipe(2, against=[name]), tmp_path / "a", PlainRun())
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(ConfigError, match=r"^corpus\.against: \.\./link: is this corpus itself; take it out$"):
        corpus.stage(recipe(2, against=["../link"]), tmp_path / "a", PlainRun())
    built(tmp_path / "b", copies(), against=["../a"])
    built(tmp_path / "c", copies(), against=["../b/corpus"])
    for name in ("../b", "../c"):  # c at one remove
        with pytest.raises(ConfigError, match=rf"^corpus\.against: {name}: was itself built against this corpus"):
            corpus.stage(recipe(2, against=[name]), tmp_path / "a", PlainRun())


@pytest.mark.failure(
    "a corpus of `corpus.against` is built anew while it is read",
    "exit 3, and the file that is another one",
    "when that corpus is whole, run the same command again",
)
def test_a_corpus_that_changes_while_it_is_read_ends_the_build(tmp_path, monkeypatch):
    stands(tmp_path / "old", theirs())
    (tmp_path / "new").mkdir()
    found = elsewhere.others(["../old"], tmp_path / "new")
    stands(tmp_path / "old", theirs()[:2])
    monkeypatch.setattr(elsewhere, "others", lambda *_: found)
    with pytest.raises(
        InputError, match=r"^corpus\.against: \.\./old: 00000-of-00001\.parquet is not what it was when"
    ):
        built(tmp_path / "new", copies(), against=["../old"])


def test_a_corpus_without_texts_is_refused(tmp_path):
    one = Artefact(tmp_path / "old", "corpus", 1)
    with one.attempt(Task(0, "0")) as attempt:
        with attempt.write(".parquet") as file:
            schemas.write_parquet(file, [pa.table({"doc_id": ["a"]})], pa.schema({"doc_id": pa.string()}))
        attempt.commit({})
    one.finish({}, [])
    with pytest.raises(InputError, match=r"\.\./old: 00000-of-00001\.parquet has no column 'text'"):
        built(tmp_path / "new", copies(), against=["../old"])


def test_all_faulty_names_are_told_at_once(tmp_path):
    inputs(tmp_path / "new", copies(), 1)
    with pytest.raises(InputError) as failure:
        preflight.check(tmp_path / "new", recipe(1, against=["../a", "../b"]), ["corpus"])
    assert [line.partition(": no")[0] for line in str(failure.value).splitlines()] == [
        "corpus.against: ../a", "corpus.against: ../b",
    ]  # fmt: skip
