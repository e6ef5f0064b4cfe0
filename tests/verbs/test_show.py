"""Documents as a person reads them: which, why they went, beside what they lost to; nothing that was asked to go."""

import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline import config
from pipeline.cli import app as cli
from pipeline.cli import show as page
from pipeline.config import CorpusSettings
from pipeline.shards import removals
from pipeline.shards.outcomes import BusyError, ConfigError, InputError, IntegrityError, Outcome
from pipeline.text import overlap, rules
from pipeline.text.signals import signals
from pipeline.verbs.grounds import Grounds, marked
from pipeline.verbs.show import Document, Wanted, rules_at_work, show
from tests.verbs.report.working import HOSTILE, SHARDS, built

WORDS = " ".join(f"word{n}" for n in range(200))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    work = built(tmp_path_factory.mktemp("shown"))
    (work / config.FILE_NAME).write_text(f"[build]\nshards = {SHARDS}\n")
    return work


def ids(root, **wanted):
    return [one.doc_id for one in show(root, SHARDS, Wanted(**wanted))]


def shown(root, *arguments):
    done = CliRunner().invoke(cli.app, ["show", *arguments, "--dir", str(root)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


# --- which


def test_without_a_wish_the_documents_of_the_corpus_are_shown_up_to_a_limit(root):
    assert set(ids(root, limit=0)) == {f"doc {n}" for n in range(8)}
    assert ids(root, limit=3) == ids(root, limit=0)[:3]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"removed": True}, {"doc 8", "doc 9", "doc 10"}),
        ({"outcomes": ("near_duplicate", "exact_duplicate")}, {"doc 8", "doc 9"}),
        ({"outcomes": ("kept",), "hosts": ("host3.bbc.co.uk",)}, {"doc 3"}),
        ({"removed": True, "hosts": ("BBC.co.uk",)}, {"doc 8", "doc 9", "doc 10"}),
        ({"hosts": ("bc.co.uk",)}, set()),
        ({"rules": ("wikipedia_overlap",)}, {"doc 10"}),
        ({"languages": ("<i>",)}, {"doc 0"}),
        ({"removed": True, "languages": ("en",), "hosts": ("host9.bbc.co.uk",)}, {"doc 9"}),
        ({"removed": True, "languages": ("de",)}, set()),
        ({"outcomes": ("no_text",)}, set()),
    ],
)
def test_each_condition_admits_what_it_says_and_all_of_them_have_to(root, wanted, found):
    assert set(ids(root, limit=0, **wanted)) == found


def test_a_random_few_are_the_same_by_the_same_seed_and_every_document_has_its_chance(root):
    assert ids(root, random=3, seed=1) == ids(root, random=3, seed=1)
    drawn = Counter(one for seed in range(200) for one in ids(root, random=2, seed=seed))
    assert set(drawn) == set(ids(root, limit=0))
    assert all(25 <= count <= 80 for count in drawn.values())  # 50 each


def test_a_document_is_shown_by_its_address_wherever_it_ended(tmp_path):
    work = hexed(tmp_path)
    for outcome in ("kept", "too_short"):
        (row,) = show(work, 1, Wanted(outcomes=(outcome,)))
        assert [one.doc_id for one in show(work, 1, Wanted(addresses=(row.url,)))] == [row.doc_id]
        assert [one.url for one in show(work, 1, Wanted(addresses=(row.doc_id,)))] == [row.url]
    with pytest.raises(InputError, match=r"nowhere\.test/: no document here; 'webtext explain'"):
        list(show(work, 1, Wanted(addresses=("https://nowhere.test/",))))


def hexed(folder):
    """A working directory whose ids are those of its addresses: one document that stays, one that went as too short."""
    from pipeline import urls
    from tests.verbs.report import working

    def rows():
        pages = [f"https://a.test/{n}" for n in range(2)]
        known = [
            {**working.document(n), "url": url, "doc_id": urls.doc_id(url), "host": "a.test"}
            for n, url in enumerate(pages)
        ]
        verdict = {"outcome": Outcome.TOO_SHORT, "rule": "min_words", "value": 61.0, "threshold": 96.0}
        return {"documents": known, "corpus": [known[0] | {"words": 60}], "removed": [known[1] | verdict]}

    for stage, schema in (("documents", working.DOCUMENTS), ("corpus", working.schemas.CORPUS)):
        working.write(folder, stage, schema, rows(), shards=1)
    return folder


@pytest.mark.failure(
    "`show` is asked for an outcome that no document has", "exit 2, with those that there are", "`show`"
)
def test_an_outcome_that_is_none_of_a_document_is_refused_with_those_that_are(root):
    with pytest.raises(ConfigError, match="self_post: lines of sources that end so are counted, not kept"):
        ids(root, outcomes=("self_post",))
    with pytest.raises(ConfigError, match="removed: what was removed on request is not shown"):
        ids(root, outcomes=("removed",))
    with pytest.raises(ConfigError, match="did you mean 'near_duplicate'"):
        ids(root, outcomes=("near_duplicates",))
    assert (
        "rules that removed some: jaccard, text_hash, wikipedia_overlap"
        in CliRunner().invoke(cli.app, ["show", "--rule", "nothing", "--dir", str(root)]).stderr
    )
    assert list(rules_at_work(root, SHARDS)) == ["jaccard", "text_hash", "wikipedia_overlap"]


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("opted_out", "opted_out: Not used: it asks not to be used for training"),
        ("robots_disallowed", "robots_disallowed: Never fetched: robots.txt of"),
        ("low_karma", "low_karma: Not taken: its karma is 1, and max >= 3 is asked"),
    ],
)
def test_links_and_pages_that_came_to_no_text_are_listed_with_the_reason(root, outcome, said):
    lines = shown(root, "--outcome", outcome).splitlines()
    assert len([line for line in lines if line.startswith("https://")]) == 1
    assert [line for line in lines if line.startswith(said)]
    assert "no title" not in "\n".join(lines)


def test_an_outcome_of_an_earlier_stage_asks_for_no_corpus(root, tmp_path):
    for stage in ("links", "pages"):
        shutil.copytree(root / stage, tmp_path / stage)
    assert len(ids(tmp_path, outcomes=("opted_out",))) == 1


def test_a_corpus_that_is_not_whole_is_not_shown(root, tmp_path):
    shutil.copytree(root / "links", tmp_path / "links")
    with pytest.raises(IntegrityError, match="corpus: not made; run 'webtext build corpus'"):
        ids(tmp_path)


# --- removals


def test_of_what_was_asked_to_go_nothing_is_shown(root, tmp_path):
    work = shutil.copytree(root, tmp_path / "work")
    request = removals.RemovalRequest(
        "2026-01-01T00:00:00Z", (removals.Line(1, "doc_id", "doc 3"),), ended_at="2026-01-01T00:00:01Z"
    )
    host = removals.Line(2, "host", removals.hidden("host9.bbc.co.uk"))
    removals.write(
        work / removals.FOLDER / "000001.json",
        request.__class__(request.asked_at, (*request.lines, host), ended_at=request.ended_at),
    )
    assert set(ids(work, limit=0)) == {f"doc {n}" for n in range(8)} - {"doc 3"}
    assert set(ids(work, removed=True)) == {"doc 8", "doc 10"}
    assert "doc 3" not in {one for seed in range(20) for one in ids(work, random=7, seed=seed)}


def test_what_lost_to_a_removed_document_is_shown_without_it(root, tmp_path):
    work = shutil.copytree(root, tmp_path / "work")
    line = removals.Line(1, "doc_id", "doc 0")
    removals.write(work / removals.FOLDER / "000001.json", removals.RemovalRequest("2026", (line,), ended_at="2026"))
    (one,) = show(work, SHARDS, Wanted(outcomes=("near_duplicate",)))
    assert one.keeper == "doc 0"
    assert one.lost_to is None
    assert "is in the corpus no more" in shown(work, "--outcome", "near_duplicate")


def test_while_a_removal_was_cut_short_nothing_is_shown(root, tmp_path):
    work = shutil.copytree(root, tmp_path / "work")
    removals.write(work / removals.FOLDER / "000001.json", removals.RemovalRequest("2026"))
    with pytest.raises(BusyError, match="cut short"):
        ids(work)


# --- why


def test_each_ground_is_a_sentence_with_the_number_and_what_was_asked():
    settings = CorpusSettings(languages=("en",), min_words=96)
    judge = rules.Judge(settings, rules.read_rules(("gopher",), None, signals("")))
    grounds = Grounds({"languages": ["en"]}, list)

    def told(text, host="a.test"):
        document = {**signals(text), "text": text, "url": f"https://{host}/", "final_url": ""}
        verdict = dict(zip(("outcome", "rule", "value", "threshold"), judge.verdict(document), strict=True))
        return grounds.of_row({**document, **verdict})

    english = "The harbour was quiet that morning and the boats lay still with their sails down. "
    assert told(english * 12).sentence.startswith("top_3gram_share is 0.2388, at most 0.18 is asked")
    assert "at most 0.1" in told(english * 12 + "# " * 100).sentence
    assert "(hash signs or ellipses a word)" in told(english * 12 + "# " * 100).sentence
    assert told(english).sentence == "15 words, corpus.min_words asks for 96"
    assert re.fullmatch(
        r"in 'de' \(probability [\d.]+\), corpus.languages names en",
        told("Der Hafen war still an diesem Morgen, und die Boote lagen ruhig. " * 20).sentence,
    )
    said = told("From Wikipedia, the free encyclopedia\n\n" + " ".join(dict.fromkeys((english + WORDS).split())))
    assert said.sentence == "says itself that it comes from Wikipedia"
    assert said.passages == ((0, 38),)  # and the blank line
    assert told(english, "en.wikipedia.org").sentence == Outcome.WIKIPEDIA_HOST.meaning


def test_the_passages_that_stand_in_wikipedia_are_marked():
    article = " ".join(f"fact{n}" for n in range(30))
    reference = overlap.Reference.from_hashes([overlap.grams_of(article, 8)[0]], 8)
    empty = overlap.Reference(np.empty(0, np.uint64), 8)
    text = f"{WORDS}\n\n{article}\n\nand more"
    ((first, last),) = marked(text, [empty, reference])
    assert text[first:last] == article
    assert marked(WORDS, [reference]) == ()
    assert marked(WORDS, []) == ()


# --- how it looks


def test_a_pair_stands_side_by_side_with_the_words_that_differ_marked(root):
    told = shown(root, "--outcome", "near_duplicate")
    assert "near_duplicate: jaccard 0.875 with a document that ranks higher (limit 0.8)" in told
    assert re.search(r"^goes +│ stays$", told, re.MULTILINE)
    assert re.search(r"… \d+ words alike … +│ … \d+ words alike …", told)
    assert "[-word60" in told
    assert "Word for word the same." not in told


def test_what_differs_is_marked_in_its_own_column(root):
    gone, stays = (page.Text() for _ in range(2))
    page.add((gone, stays), ["a"], ["a"])
    page.add((gone, stays), ["b"], ["c", "d"], differ=True)
    page.add((gone, stays), [], ["e"], differ=True)
    assert (gone.plain, stays.plain) == ("a [-b-] ", "a {+c d+} {+e+} ")


@pytest.mark.parametrize("wide", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal_but_for_an_address(root, monkeypatch, wide):
    monkeypatch.setattr(cli.err.__class__, "width", wide)
    for line in shown(root, "--removed").splitlines() + shown(root, "--limit", "0").splitlines():
        assert len(line) <= min(wide, page.WIDEST) or "unbroken" in line or "host" in line


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_nothing_from_outside_moves_a_cursor_or_turns_a_line(root, form):
    told = shown(root, "--limit", "0", *form) + shown(root, "--removed", *form)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", told)


def test_as_json_a_document_comes_whole_with_its_keeper(root):
    rows = [json.loads(line) for line in shown(root, "--removed", "--json").splitlines()]
    near = next(row for row in rows if row["outcome"] == "near_duplicate")
    assert near["lost_to"]["doc_id"] == near["keeper"] == "doc 0"
    assert near["lost_to"]["text"].startswith(HOSTILE[0])
    assert {"url", "title", "text", "rule", "value", "threshold", "grounds"} <= set(near)
    kept = [json.loads(line)["title"] for line in shown(root, "--limit", "0", "--json").splitlines()]
    assert set(kept) == set(HOSTILE)


def test_a_text_is_cut_after_so_many_words_where_that_is_asked(root):
    told = shown(root, "--host", "host6.bbc.co.uk", "--words", "10")
    assert "word7 …" in told
    assert "word8" not in told


def test_at_most_so_many_words_of_a_pair_are_compared_and_shown():
    text = " ".join(f"word{n}" for n in range(500))
    made = {"doc_id": "d", "host": "a.test", "title": "T", "language": "en", "words": 500}
    stays = Document(url="https://a.test/", text=text, outcome="kept", **made)
    gone = Document(url="https://b.test/", text=text[::-1], outcome="near_duplicate", lost_to=stays, **made)
    shown = [line.plain for line in page.lines_of(gone, 1, 40)]
    assert "Only the first 40 words of each are shown." in shown
    assert "word39" in "".join(shown)
    assert "word40" not in "".join(shown)
