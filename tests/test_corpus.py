"""The corpus: who stays, who goes, and that every document that goes leaves a row which says why."""

import json
import random
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
import pytest

from pipeline import config, corpus, urls
from pipeline.dedup import minhash, near_duplicates
from pipeline.documents import SIGNAL_TYPES
from pipeline.shards import schemas
from pipeline.shards.outcomes import BooksError, DedupError, InputError
from pipeline.shards.receipts import Artefact, RowCounts, Task
from pipeline.shards.runner import PlainRun
from pipeline.text import overlap
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

    def exchange(self, scatter, sources, gather, targets, heavy=False):
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
        "https://long.example/": ("low_quality", "mean_word_length <= 10"),
        "https://brief.example/": ("low_quality", "mean_word_length >= 3"),
        "https://sums.example/": ("low_quality", "alphabetic_word_share >= 0.8"),
        "https://mirror.example/": ("wikipedia_text", "says_wikipedia"),
    }
    assert [row["url"] for row in rows(tmp_path).values()] == ["https://kept.example/"]
    short = rows(tmp_path, "removed")[pages[3].doc_id]
    assert (short["value"], short["threshold"], short["keeper"]) == (19.0, 20.0, None)
    counts = {"wikipedia_host": 1, "other_language": 1, "too_short": 1, "low_quality": 3, "wikipedia_text": 1}
    assert manifest.books == {"corpus": RowCounts(8, {"kept": 1, **counts})}


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
    assert manifest.books["corpus"] == RowCounts(11, {"kept": 8, "exact_duplicate": 2, "near_duplicate": 1})


@pytest.mark.parametrize("shards", [1, 3])
def test_a_copy_of_a_page_that_went_itself_names_the_page_that_stays(tmp_path, shards):
    text = prose("chapter")
    pages = [
        Page("https://b.example/best", text, score=900),
        Page("https://a.example/near", reworded(text, 2), score=50),
        *(Page(f"https://c{n}.example/copy", reworded(text, 2), score=5) for n in range(3)),
        *(Page(f"https://d{n}.example/twin", prose("twin"), score=n) for n in range(3)),
    ]
    built(tmp_path, pages, shards=shards)
    stayed, went = rows(tmp_path), rows(tmp_path, "removed")
    assert {row["url"] for row in stayed.values()} == {"https://b.example/best", "https://d2.example/twin"}
    assert {row["keeper"] for row in went.values()} == stayed.keys()
    named = {row["url"]: (row["outcome"], stayed[row["keeper"]]["url"]) for row in went.values()}
    assert named["https://c1.example/copy"] == ("exact_duplicate", "https://b.example/best")
    assert named["https://a.example/near"] == ("near_duplicate", "https://b.example/best")


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
        "copied_words": None,
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
    with pytest.raises(InputError, match=r"corpus\.wikipedia_dumps: 'dumps/\*\.xml' matches no file"):
        built(tmp_path, copies(), wikipedia_dumps=["dumps/*.xml"])


def test_pairs_left_out_of_an_overfull_band_are_said(tmp_path):
    same = [Page(f"https://s{n}.example/", f"{prose('same')} {n}") for n in range(9)]
    manifest = built(tmp_path, same, shards=1, bucket=2)
    assert manifest.books["corpus"].outcomes == {"kept": 1, "near_duplicate": 8}
    assert (
        manifest.notes[0].partition(" ")[2]
        == "pairs not compared: more than corpus.bucket documents had a band in common"
    )


def test_the_file_of_a_reference_decides_as_its_dump_does(tmp_path):
    article = prose("article")
    dump(tmp_path, prose("another"), article)
    with (tmp_path / "wikipedia.npy").open("wb") as file:
        overlap.wikipedia_reference([tmp_path / "dumps/pages.xml"], 8).save(file)
    pages = [Page("https://m.example/", article), Page("https://o.example/", prose(1))]
    built(tmp_path, pages, wikipedia_reference="wikipedia.npy")
    assert why(tmp_path) == {"https://m.example/": ("wikipedia_text", "wikipedia_overlap")}
    with pytest.raises(InputError, match=r"corpus\.wikipedia_reference: 'absent\.npy' matches no file"):
        corpus.stage(recipe(2, wikipedia_reference="absent.npy"), tmp_path, PlainRun())


def test_rules_of_a_file_and_of_the_package_name_the_line_that_refuses(tmp_path):
    pages = [Page("https://shout.example/", prose(1) + " #" * 90), Page("https://fine.example/", prose(2))]
    built(tmp_path, pages, rules=["gopher"])
    assert why(tmp_path) == {"https://shout.example/": ("low_quality", "symbol_ratio <= 0.1")}
    (tmp_path / "mine.txt").write_text("word_count <= 155  # no long ones\n")
    corpus.stage(recipe(2, rules=["mine.txt"]), tmp_path, PlainRun())
    assert why(tmp_path) == {"https://shout.example/": ("low_quality", "word_count <= 155")}
    (tmp_path / "mine.txt").write_text("word_count <= 1550\n")  # the content counts, not the name
    corpus.stage(recipe(2, rules=["mine.txt"]), tmp_path, PlainRun())
    assert why(tmp_path) == {}


def test_evaluation_texts_are_cut_out_and_common_phrases_stay(tmp_path):
    test, phrase = prose("test", 40), prose("phrase", 20)
    (tmp_path / "test.jsonl").write_text(json.dumps({"question": test, "answer": [phrase]}))
    around = [prose("before", 100), prose("after", 100)]
    contaminated = Page("https://c.example/", f"{around[0]} {test} {around[1]}")
    wholly = Page("https://w.example/", test)
    common = [Page(f"https://p{n}.example/", f"{prose(n, 100)} {phrase}") for n in range(11)]
    manifest = built(tmp_path, [contaminated, wholly, *common], contamination=["test.jsonl"])
    assert why(tmp_path) == {"https://w.example/": ("contaminated", "contamination")}
    kept = rows(tmp_path)
    left = kept[contaminated.doc_id]["text"]
    assert test.split()[5] + " " + test.split()[6] + " " + test.split()[7] not in left
    first, second = left.split("\n\n")
    assert around[0].startswith(first)
    assert around[1].endswith(second)
    assert kept[contaminated.doc_id]["words"] == len(left.split())
    assert all(kept[page.doc_id]["text"] == page.text for page in common)
    assert any(note == "1 documents cut where evaluation texts stood in them (corpus.contamination)"
               for note in manifest.notes)  # fmt: skip


@pytest.mark.failure(
    "a row of an evaluation file has under 13 words", "a note with its line: nothing of it is found", "nothing"
)
def test_rows_of_an_evaluation_file_that_are_too_short_to_be_found_are_named(tmp_path):
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, [prose("test", 40), "who was it", {"a": "Ness"}])))
    manifest = built(tmp_path, [Page("https://c.example/", prose("page", 100))], contamination=["test.jsonl"])
    path = tmp_path / "test.jsonl"
    assert f"{path}: not looked for: 2 rows without a text of 13 words (line 2, 3)" in manifest.notes


def test_addresses_are_replaced_in_the_text_and_counted(tmp_path):
    page = Page("https://a.example/", f"{prose(1)} Write to jane.doe@mail.example.org or 8.8.8.8, not to 10.0.0.1.")
    manifest = built(tmp_path, [page], redact=["email", "ip"])
    assert rows(tmp_path)[page.doc_id]["text"].endswith("Write to email@example.com or 192.0.2.1, not to 10.0.0.1.")
    assert "2 addresses replaced (corpus.redact)" in manifest.notes
    corpus.stage(recipe(2), tmp_path, PlainRun())
    assert rows(tmp_path)[page.doc_id]["text"] == page.text


NOTICE = "Posted on 3 May 2013 by the editors of this small paper, who answer letters on Sundays."


def noticed(number, day):
    return f"{prose(number)}\n\n{NOTICE.replace('3', str(day), 1).upper()}\n\n{prose(number + 100, 30)}"


@pytest.mark.parametrize("shards", [1, 3])
def test_paragraphs_that_stand_in_many_documents_are_measured_and_cut_if_asked(tmp_path, shards):
    pages = [Page(f"https://n{day}.example/", noticed(day, day)) for day in range(1, 6)]
    pages += [Page("https://alone.example/", prose("alone")), Page("https://short.example/", f"{NOTICE}\n\n{NOTICE}")]
    chosen = {"min_words": 16, "copied_paragraphs": 6}
    built(tmp_path, pages, shards, **chosen)
    kept, length = rows(tmp_path), len(NOTICE.split())
    assert {page.url: kept[page.doc_id]["copied_words"] for page in pages} == {
        **{f"https://n{day}.example/": length for day in range(1, 6)},
        "https://alone.example/": 0,
        "https://short.example/": 2 * length,
    }
    assert {row["text"] for row in kept.values()} == {page.text for page in pages}
    manifest = built(tmp_path, pages, shards, **chosen, cut_copied=True)
    cut = rows(tmp_path)
    assert sum(int(note.split()[0]) for note in manifest.notes if "paragraphs cut" in note) == 5
    for page in pages[:5]:
        first, _, last = page.text.split("\n\n")
        assert cut[page.doc_id]["text"] == f"{first}\n\n{last}"
        assert cut[page.doc_id]["words"] == len(page.text.split()) - length
    assert cut[pages[6].doc_id]["text"] == pages[6].text  # nothing would be left of it
    built(tmp_path, pages, shards, min_words=16, copied_paragraphs=7)
    assert {row["copied_words"] for row in rows(tmp_path).values()} == {0}


def test_copies_that_go_out_make_no_paragraph_boilerplate(tmp_path):
    story = "\n\n".join(prose(number, 20) for number in range(4))
    pages = [Page(f"https://c{number}.example/", story, score=number) for number in range(4)]
    built(tmp_path, pages, copied_paragraphs=2)
    assert [row["copied_words"] for row in rows(tmp_path).values()] == [0]


def test_containment_takes_the_excerpt_that_jaccard_leaves(tmp_path):
    whole = prose("whole", 150)
    pages = [Page("https://w.example/", whole, score=90), Page("https://x.example/", " ".join(whole.split()[:110]))]
    built(tmp_path, pages, bands=32, rows=3)
    assert why(tmp_path) == {}
    corpus.stage(recipe(2, bands=32, rows=3, measure="containment"), tmp_path, PlainRun())
    assert why(tmp_path) == {"https://x.example/": ("near_duplicate", "containment")}


def test_the_manifest_says_how_good_the_deduplication_was(tmp_path):
    manifest = built(tmp_path, copies())
    theory, precision, recall = manifest.notes
    assert theory.endswith("with probability 0.633 at 0.6, 0.928 at 0.7, 0.998 at 0.8, 1.000 at 0.9")
    assert "precision 1.000 (counted, not estimated): of 1 removed 1 were compared" in precision
    assert "recall 1.000 (counted, not estimated): of 8 kept 8 were compared with all others, 0 should" in recall


def test_what_the_bands_pass_over_is_found_by_the_meter(tmp_path):
    pages = [Page(f"https://s{n}.example/", reworded(prose("same"), n), score=n) for n in (1, 2)]
    manifest = built(tmp_path, pages, bands=1, rows=128)
    assert why(tmp_path) == {}
    assert corpus.Recipe(recipe(2), tmp_path).reading_of().missed == 1
    assert manifest.books["corpus"].outcomes == {"kept": 2}


def test_a_build_whose_removals_are_wrong_stops_before_it_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(near_duplicates.minhash, "jaccard", lambda _left, _right: 0.9)
    monkeypatch.setattr(near_duplicates, "least_agreement", lambda _places, _threshold: 0)
    pages = [Page(f"https://s{n}.example/", prose("same")[: -(20 + 300 * n)], score=n) for n in (0, 1, 2)]
    with pytest.raises(DedupError, match=r"of \d sampled near duplicates only 0 are similar .* corpus\.min_precision"):
        built(tmp_path, pages, bands=128, rows=1)
    assert not list((tmp_path / "corpus").rglob("*.parquet"))


def test_nothing_to_decide_makes_whole_and_empty_shards(tmp_path):
    manifest = built(tmp_path, [Page("https://d.example/gone", "", outcome="no_text")])
    assert manifest.books == {"corpus": RowCounts(0, {})}
    assert rows(tmp_path) == rows(tmp_path, "removed") == {}
    assert len(manifest.files) == 4


def test_a_document_that_no_link_led_to_is_a_bug(tmp_path):
    inputs(tmp_path, copies(), 1)
    written(Artefact(tmp_path, "links", 1), 0, [], schemas.LINKS)
    with pytest.raises(BooksError, match=r"shard 0: 11 documents without a link"):
        corpus.stage(recipe(1), tmp_path, PlainRun())
