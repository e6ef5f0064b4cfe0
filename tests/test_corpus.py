"""The corpus: who stays, who goes, and that every document that goes leaves a row which says why."""

import random
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
import pytest

from pipeline import config, corpus, urls
from pipeline.dedup import minhash
from pipeline.documents import SIGNAL_TYPES
from pipeline.shards import schemas
from pipeline.shards.outcomes import BooksError, InputError
from pipeline.shards.receipts import Artefact, Books, Task
from pipeline.shards.runner import PlainRun
from pipeline.text.normalize import text_hash, words
from pipeline.text.signals import signals

WORDS = """
    the of and to in that it was for on with as at by this from they which have were there their when would about
    water harbour lantern people country morning letter house street river winter summer garden market window paper
    walked carried followed answered opened wanted thought found asked began small old quiet long early bright heavy
"""


def prose(seed, count=150):
    pick, known = random.Random(seed), WORDS.split()
    return " ".join(pick.choice(known) for _ in range(count)) + "."


def reworded(text, changes):
    """The text with words replaced here and there: each change spoils five shingles of it."""
    parts = text.split()
    for change in range(changes):
        parts[10 + 40 * change] = "elsewhere"
    return " ".join(parts)


@dataclass(frozen=True)
class Page:
    """One page of a small web, and the karma of its link."""

    url: str
    text: str
    score: int = 10
    outcome: str = "kept"
    final_url: str = ""

    @property
    def doc_id(self):
        return urls.doc_id(self.url)


@cache
def permutations():
    return minhash.permutations(128, 1)


def document(page):
    """The row that its stage writes: without text no signals, the hash of no text, a signature of EMPTY."""
    measured = signals(page.text)
    return {
        "url": page.url, "doc_id": page.doc_id, "host": urls.host_of(page.url), "title": "A title", "text": page.text,
        "final_url": page.final_url or page.url, "engine": "trafilatura", "outcome": page.outcome,
        **(measured if page.outcome == "kept" else dict.fromkeys(measured)),
        "text_hash": text_hash(page.text),
        "signature": minhash.signature(minhash.shingles(words(page.text), 5), permutations()).tolist(),
    }  # fmt: skip


def link(page):
    posts = [
        {"id": f"{name}", "score": page.score, "created": 1_400_000_000, "subreddit": name, "over_18": False}
        for name in ("pics", "books", "pics")
    ]
    return {
        "url": page.url, "fetch_url": page.url, "doc_id": page.doc_id, "host": urls.host_of(page.url),
        "score": page.score, "created": 1_400_000_000, "submissions": posts, "host_shards": 1, "outcome": "kept",
    }  # fmt: skip


def written(artefact, shard, rows, schema):
    with artefact.attempt(Task(shard, f"{rows}")) as attempt:
        with attempt.write(".parquet") as file:
            pieces = [rows[start : start + 2] for start in range(0, len(rows), 2)]  # row groups, as large shards have
            schemas.write_parquet(file, [pa.Table.from_pylist(piece, schema) for piece in pieces], schema)
        attempt.commit({})


def inputs(work, pages, shards):
    """The shards of `links` and `documents`, by url as their stages write them."""
    schema = schemas.documents_schema(128, SIGNAL_TYPES)
    for shard in range(shards):
        mine = sorted(pages[shard::shards], key=lambda page: page.url)
        written(Artefact(work, "links", shards), shard, [link(page) for page in mine], schemas.LINKS)
        written(Artefact(work, "documents", shards), shard, [document(page) for page in mine], schema)


def built(work, pages, shards=2, run=None, **chosen):
    inputs(work, pages, shards)
    return corpus.stage(recipe(shards, **chosen), work, run or PlainRun())


def recipe(shards, **chosen):
    return config.parse({"build": {"shards": shards}, "corpus": {"languages": [], "min_words": 20} | chosen})


def rows(work, part=""):
    paths = sorted((work / "corpus" / part).glob("*.parquet"))
    return {row["doc_id"]: row for path in paths for row in schemas.read_parquet(path).to_pylist()}


def why(work):
    return {row["url"]: (row["outcome"], row["rule"]) for row in rows(work, "removed").values()}


def copies():
    """A story and a chapter, their copies, and pages that are like nothing."""
    story, chapter = prose("story"), prose("chapter")
    return [
        Page("https://a.example/story", story, score=5),
        Page("https://b.example/story", story.upper(), score=900),
        Page("https://c.example/story", story, score=5),
        Page("https://a.example/chapter", chapter, score=800),
        Page("https://b.example/chapter", reworded(chapter, 2), score=7),
        Page("https://c.example/half", " ".join([*chapter.split()[:75], *prose("other").split()[:75]])),
        Page("https://d.example/gone", "", outcome="no_text"),
        *(Page(f"https://e.example/{number}", prose(number)) for number in range(5)),
    ]


class Shuffled(PlainRun):
    """A run whose blocks arrive in an order of their own."""

    def exchange(self, scatter, sources, gather, targets):
        def any_order(task, blocks):
            blocks = list(blocks)
            random.Random(task.shard).shuffle(blocks)
            gather(task, blocks)

        super().exchange(scatter, list(sources)[::-1], any_order, targets)


def test_each_rule_removes_and_names_itself(tmp_path):
    text = prose("fine")
    mirrored = f"{text}\nFrom Wikipedia, the free encyclopedia\n{prose('more')}"
    pages = [
        Page("https://kept.example/", text),
        Page("https://moved.example/", prose(1), final_url="https://en.m.wikipedia.org/wiki/Harbour"),
        Page("https://fremd.example/", "Der Hafen war am Morgen noch ganz still und die Boote lagen am Ufer. " * 9),
        Page("https://short.example/", prose(2, 19)),
        Page("https://long.example/", f"{prose(6, 20)} {'incomprehensibilities ' * 60}"),
        Page("https://brief.example/", f"{prose(6, 20)} {'so it is as we go to be in a ' * 20}"),
        Page("https://sums.example/", f"{prose(3)} {'1234 ' * 60}"),
        Page("https://mirror.example/", mirrored),
    ]
    manifest = built(tmp_path, pages, languages=["en"])
    assert why(tmp_path) == {
        "https://moved.example/": ("wikipedia_host", "wikipedia_hosts"),
        "https://fremd.example/": ("other_language", "languages"),
        "https://short.example/": ("too_short", "min_words"),
        "https://long.example/": ("low_quality", "max_mean_word_length"),
        "https://brief.example/": ("low_quality", "min_mean_word_length"),
        "https://sums.example/": ("low_quality", "min_alphabetic_words"),
        "https://mirror.example/": ("wikipedia_text", "says_wikipedia"),
    }
    assert [row["url"] for row in rows(tmp_path).values()] == ["https://kept.example/"]
    short = rows(tmp_path, "removed")[pages[3].doc_id]
    assert (short["value"], short["threshold"], short["keeper"]) == (19.0, 20.0, None)
    counts = {"wikipedia_host": 1, "other_language": 1, "too_short": 1, "low_quality": 3, "wikipedia_text": 1}
    assert manifest.books == {"corpus": Books(8, {"kept": 1, **counts})}


def test_copies_go_and_name_the_better_liked_page_that_stays(tmp_path):
    pages = copies()
    manifest = built(tmp_path, pages, shards=3)
    ids = {page.url: page.doc_id for page in pages}
    removed = {
        row["url"]: (row["outcome"], row["rule"], row["threshold"], row["keeper"])
        for row in rows(tmp_path, "removed").values()
    }
    best, chapter = ids["https://b.example/story"], ids["https://a.example/chapter"]
    assert removed == {
        "https://a.example/story": ("exact_duplicate", "text_hash", 1.0, best),
        "https://c.example/story": ("exact_duplicate", "text_hash", 1.0, best),
        "https://b.example/chapter": ("near_duplicate", "jaccard", 0.8, chapter),
    }
    values = {row["url"]: row["value"] for row in rows(tmp_path, "removed").values()}
    # 150 words are 146 shingles, of which two changes spoil ten: 136 shared of 156
    assert values["https://a.example/story"] == 1.0
    assert values["https://b.example/chapter"] == pytest.approx(136 / 156)
    assert manifest.books["corpus"] == Books(11, {"kept": 8, "exact_duplicate": 2, "near_duplicate": 1})


def test_every_kept_document_is_in_the_corpus_or_among_the_removed(tmp_path):
    pages = copies()
    built(tmp_path, pages, shards=3)
    stayed, went = rows(tmp_path), rows(tmp_path, "removed")
    assert not stayed.keys() & went.keys()
    assert stayed.keys() | went.keys() == {page.doc_id for page in pages if page.outcome == "kept"}
    one = stayed[urls.doc_id("https://a.example/chapter")]
    assert one == {
        "url": "https://a.example/chapter",
        "doc_id": urls.doc_id("https://a.example/chapter"),
        "host": "a.example",
        "title": "A title",
        "text": prose("chapter"),
        "language": "en",
        "words": 150,
        "score": 800,
        "created": 1_400_000_000,
        "subreddits": ["books", "pics"],
    }


def test_the_order_of_blocks_changes_no_byte(tmp_path):
    plain = built(tmp_path / "plain", copies(), shards=3, bucket=2)
    shuffled = built(tmp_path / "shuffled", copies(), shards=3, bucket=2, run=Shuffled())
    assert plain == shuffled
    assert len(plain.files) == 6


def test_the_same_documents_stay_however_many_shards_hold_them(tmp_path):
    pages = [*copies(), *(Page(f"https://f{n}.example/", reworded(prose(1), n), score=n) for n in range(4))]
    for shards in (1, 3):
        built(tmp_path / f"{shards}", pages, shards)
    assert rows(tmp_path / "1").keys() == rows(tmp_path / "3").keys()
    assert rows(tmp_path / "1", "removed") == rows(tmp_path / "3", "removed")


def test_another_threshold_decides_anew_and_touches_no_document(tmp_path):
    pages = [*copies(), Page("https://short.example/", prose("short", 30))]
    first = built(tmp_path, pages)
    documents = {path: path.stat().st_mtime_ns for path in (tmp_path / "documents").rglob("*") if path.is_file()}
    assert why(tmp_path).get("https://short.example/") is None
    second = corpus.stage(recipe(2, min_words=31), tmp_path, PlainRun())
    assert why(tmp_path)["https://short.example/"] == ("too_short", "min_words")
    assert second.books["corpus"].outcomes["kept"] == first.books["corpus"].outcomes["kept"] - 1
    assert {path: path.stat().st_mtime_ns for path in documents} == documents
    assert corpus.stage(recipe(2), tmp_path, PlainRun()).files == first.files


@pytest.mark.parametrize("chosen", [{"bucket": 2}, {"bands": 1, "rows": 60}, {"jaccard": 0.95}, {"min_words": 151}])
def test_a_changed_setting_gives_what_a_fresh_build_gives(tmp_path, chosen):
    pages = [*copies(), *(Page(f"https://s{n}.example/", f"{prose('same')} {n}") for n in range(9))]
    before = built(tmp_path / "old", pages)
    after = corpus.stage(recipe(2, **chosen), tmp_path / "old", PlainRun())
    assert after == built(tmp_path / "fresh", pages, **chosen)
    assert (after.files, after.notes) != (before.files, before.notes)


def test_what_is_made_is_not_made_again(tmp_path):
    first = built(tmp_path, copies())
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert corpus.stage(recipe(2), tmp_path, PlainRun()) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == files


def dump(work, *texts):
    pages = "".join(
        f"<page><title>T{n}</title><ns>0</ns><revision><text>{text}</text></revision></page>"
        for n, text in enumerate(texts)
    )
    (work / "dumps").mkdir(parents=True)
    (work / "dumps/pages.xml").write_text(f"<mediawiki>{pages}</mediawiki>")


@pytest.mark.parametrize("absolute", [False, True])
def test_text_of_a_dump_goes_out_by_its_share(tmp_path, absolute):
    article = prose("article")
    dump(tmp_path, prose("another"), article)
    glob = f"{tmp_path}/dumps/*.xml" if absolute else "dumps/*.xml"
    quoted = " ".join([*article.split()[:60], *prose("own").split()])
    pages = [
        Page("https://m.example/", article),
        Page("https://q.example/", quoted),
        Page("https://o.example/", prose(1)),
    ]
    built(tmp_path, pages, wikipedia_dumps=[glob])
    assert why(tmp_path) == {"https://m.example/": ("wikipedia_text", "wikipedia_overlap")}
    (row,) = rows(tmp_path, "removed").values()
    assert (row["value"], row["threshold"]) == (1.0, 0.5)
    # without the dump, the same working directory lets it in again
    corpus.stage(recipe(2), tmp_path, PlainRun())
    assert why(tmp_path) == {}


def test_a_glob_of_dumps_that_matches_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"wikipedia_dumps: no file matches dumps/\*\.xml below"):
        built(tmp_path, copies(), wikipedia_dumps=["dumps/*.xml"])


def test_pairs_left_out_of_an_overfull_band_are_said(tmp_path):
    same = [Page(f"https://s{n}.example/", f"{prose('same')} {n}") for n in range(9)]
    manifest = built(tmp_path, same, shards=1, bucket=2)
    assert manifest.books["corpus"].outcomes == {"kept": 1, "near_duplicate": 8}
    assert [note.partition(" ")[2] for note in manifest.notes] == [
        "pairs of overfull bands not compared (corpus.bucket)"
    ]


def test_nothing_to_decide_makes_whole_and_empty_shards(tmp_path):
    manifest = built(tmp_path, [Page("https://d.example/gone", "", outcome="no_text")])
    assert manifest.books == {"corpus": Books(0, {})}
    assert rows(tmp_path) == rows(tmp_path, "removed") == {}
    assert len(manifest.files) == 4


def test_a_document_that_no_link_led_to_is_a_bug(tmp_path):
    inputs(tmp_path, copies(), 1)
    written(Artefact(tmp_path, "links", 1), 0, [], schemas.LINKS)
    with pytest.raises(BooksError, match=r"shard 0: 11 documents without a link"):
        corpus.stage(recipe(1), tmp_path, PlainRun())
