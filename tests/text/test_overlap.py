import bz2
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards.outcomes import InputError
from pipeline.text.normalize import words
from pipeline.text.overlap import (
    Reference,
    compared,
    compared_words,
    ngram_hashes,
    ngrams,
    plain_text,
    says_wikipedia,
    wikipedia_articles,
    word_hash,
)

DUMPS = Path(__file__).resolve().parents[2] / "../shared/data/wikipedia"
NAMESPACE = 'xmlns="http://www.mediawiki.org/xml/export-0.10/"'


def slow_grams(tokens, n):
    """The formula of the docstring, one n-gram at a time in Python's own integers; (hash, end) of each."""
    multiplier = 0x9E3779B97F4A7C15
    for start in range(len(tokens)):
        halves, end = 0, start
        while halves < 2 * n and end < len(tokens):
            halves += 1 if tokens[end] in ("日", "สื้") else 2
            end += 1
        if halves >= 2 * n:
            powers = (multiplier ** (end - place - 1) for place in range(start, end))
            yield (
                sum(word_hash(word) * power for word, power in zip(tokens[start:end], powers, strict=True)) % 2**64,
                end,
            )


@given(st.lists(st.sampled_from(["the", "cat", "sat", "é", "日", "สื้", "राम", ""]), max_size=30), st.integers(1, 9))
def test_the_fast_hashes_are_the_slow_ones(tokens, n):
    hashes, ends = ngrams(tokens, n)
    assert hashes.dtype == np.uint64
    assert list(zip(hashes.tolist(), ends.tolist(), strict=True)) == list(slow_grams(tokens, n))
    assert ngram_hashes(tokens, n).tolist() == hashes.tolist()


def test_a_gram_of_eight_words_is_sixteen_characters_where_no_spaces_are_written():
    text = "城里的老渡口在星期二的会议上被决定关闭结束了九十多年来为小岛服务的历史"
    reference = Reference.from_hashes([ngram_hashes(compared_words(text), 8)], 8)
    assert len(reference.hashes) == len(text) - 15
    assert reference.overlap(ngram_hashes(compared_words(f"又{text[:20]}"), 8)) == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    "mark",
    ["[1]", "[ 23 ]", "[citation needed]", "[edit]", "[note 4]", "[a]", "[Bearbeiten | Quelltext bearbeiten]", "[編集]",
     "[1][2][3]", " [who?] ", "[réf. nécessaire]"],
)  # fmt: skip
def test_marks_of_mirrors_count_on_neither_side(mark):
    text = "It was carried away by ice two winters after it had opened and nobody rebuilt it"
    marked = text.replace(" ", f"{mark} ", 3).replace(" had", f" {mark} had") + mark
    assert compared_words(marked) == compared_words(text) == words(text)
    assert len(compared(marked)) == len(marked)  # places stay


def test_long_brackets_and_single_ones_are_text():
    for text in ("so [as he told the whole of the council on that Tuesday] it was", "a [ b", "a ] b", "[\n]"):
        assert compared_words(text) == words(text)


def test_hashes_are_the_same_in_every_process():
    assert ngram_hashes(["a", "rose", "is", "a", "rose"], 4).tolist() == [12638122180738157787, 11527437362262832184]


def test_the_order_of_words_counts():
    assert ngram_hashes(["a", "b", "c"], 3)[0] != ngram_hashes(["c", "b", "a"], 3)[0]


HASHES = st.lists(st.integers(0, 50), max_size=40).map(lambda values: np.array(values, np.uint64))


@given(st.lists(HASHES, max_size=5), HASHES)
def test_overlap_is_the_share_of_members_of_a_plain_set(arrays, document):
    reference = Reference.from_hashes(iter(arrays), 8)
    members = {value for array in arrays for value in array.tolist()}
    assert reference.hashes.tolist() == sorted(members)
    expected = sum(value in members for value in document.tolist()) / len(document) if len(document) else 0.0
    assert reference.overlap(document) == pytest.approx(expected)


def test_a_document_shorter_than_n_words_overlaps_nothing():
    tokens = ["one", "two", "three"]
    assert Reference.from_hashes([ngram_hashes(tokens, 3)], 8).overlap(ngram_hashes(tokens, 8)) == 0.0


def test_a_reference_comes_back_as_it_was_saved():
    file = io.BytesIO()
    Reference.from_hashes([np.array([2**64 - 1, 3, 3], np.uint64)], 8).save(file)
    file.seek(0)
    assert Reference.load(file).hashes.tolist() == [3, 2**64 - 1]


def saved(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.failure(
    "a reference of Wikipedia was made by a version that took other words for words", "exit 3", "make it anew"
)
def test_a_reference_of_other_words_is_refused():
    file = io.BytesIO()
    for part in ([8, 1], [3, 4]):
        np.save(file, np.array(part, np.uint64))
    file.seek(0)
    with pytest.raises(InputError, match=r"made by another version.*make it with 'webtext reference wikipedia'"):
        Reference.load(file)
    file = io.BytesIO()
    for part in ([8, 1, 1], [3, 4]):
        np.save(file, np.array(part, np.uint64))
    file.seek(0)
    with pytest.raises(InputError, match="made by another version"):
        Reference.load(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not numpy",
        saved(np.array([1, 2, 3], np.uint64))[:-3],
        saved(np.array([1, 2, 3], np.int64)),
        saved(np.array([[1, 2]], np.uint64)),
        saved(np.array([2, 1], np.uint64)),
        saved(np.array([1, 1], np.uint64)),
        saved(np.array([print], object)),
    ],
)
def test_a_damaged_reference_is_refused(content):
    with pytest.raises(InputError, match="reference"):
        Reference.load(io.BytesIO(content))


def page(title, text, ns="<ns>0</ns>", extra=""):
    return f"<page><title>{title}</title>{ns}{extra}<revision><text>{text}</text></revision></page>"


def dump(*pages, declaration="", siteinfo=""):
    return f"{declaration}<mediawiki {NAMESPACE}>{siteinfo}{''.join(pages)}</mediawiki>"


SPACES = (
    '<siteinfo><namespaces><namespace key="0" /><namespace key="6">Datei</namespace>'
    '<namespace key="10">Vorlage</namespace></namespaces></siteinfo>'
)


def articles(tmp_path, content):
    path = tmp_path / "dump.xml"
    path.write_bytes(content)
    return list(wikipedia_articles(path))


def test_a_dump_gives_its_articles_alone(tmp_path):
    text = dump(
        page("Cat", "The '''cat''' is an [[animal|Animal]]."),
        page("Moggy", "#REDIRECT [[Cat]]", extra='<redirect title="Cat" />'),
        page("Talk:Cat", "I like it.", ns="<ns>1</ns>"),
        page("Dog", "The dog &amp; the cat."),
    )
    expected = [("Cat", "The cat is an Animal."), ("Dog", "The dog & the cat.")]
    assert articles(tmp_path, text.encode()) == expected
    assert articles(tmp_path, bz2.compress(text.encode())) == expected
    halves = bz2.compress(text[:300].encode()) + bz2.compress(text[300:].encode())  # as the multistream dumps
    assert articles(tmp_path, halves) == expected


def test_a_dump_in_utf_16_is_read(tmp_path):
    text = dump(page("Котка", "Котката е животно."), declaration='<?xml version="1.0" encoding="utf-16"?>')
    assert articles(tmp_path, text.encode("utf-16")) == [("Котка", "Котката е животно.")]


def test_an_export_without_namespace_numbers_goes_by_titles(tmp_path):
    text = dump(page("Vorlage:X", "template", ns=""), page("Katze: ein Tier", "prose", ns=""), siteinfo=SPACES)
    assert articles(tmp_path, text.encode()) == [("Katze: ein Tier", "prose")]


def test_only_the_last_revision_counts(tmp_path):
    text = dump(
        "<page><title>A</title><ns>0</ns><revision><text>old</text></revision><revision><text>new</text></revision></page>"
    )
    assert articles(tmp_path, text.encode()) == [("A", "new")]


def test_wikitext_becomes_prose():
    text = (
        "{{Infobox|name=Cat}}\nThe '''cat'''<ref name=a>Smith [[2001]]</ref> is<ref name=a /> kept.\n"
        "[[Datei:Cat.jpg|thumb|A [[cat]] with [http://x y] here]] It [[purr]]s.\n"
        "{| class=x\n| cell\n{|\n| inner\n|}\n|}\n== Fur ==\n* soft\n[[Category:Cats]] [[de:Katze]] [[wikt:cat|a word]]"
    )
    prose = plain_text(text, frozenset({"File", "Datei", "Category"}))
    assert words(prose) == words("The cat is kept. It purrs. Fur soft a word")


def test_an_opening_that_is_never_closed_hides_nothing():
    assert words(plain_text("one <ref> two\n{| three", frozenset({"File"}))) == ["one", "ref", "two", "three"]


def test_a_huge_page_is_parsed_in_pieces_and_whole():
    paragraph = "The '''cat''' sat on the [[mat]]. " * 20 + "\n\n"
    text = plain_text(paragraph * 300, frozenset({"File"}))
    assert words(text) == words("The cat sat on the mat. " * 6000)
    assert len(plain_text("x" * 120_000, frozenset({"File"})).replace("\n", "")) == 120_000


@pytest.mark.failure("a dump of Wikipedia is damaged", "exit 3; file and place", "fetch the file again")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dump(page("A", "x")).encode()[:-20], r"dump\.xml: near byte \d+: truncated or corrupt"),
        (bz2.compress(dump(page("A", "x")).encode())[:-10], r"dump\.xml: near byte \d+: truncated or corrupt"),
        (b"BZh9 no bzip at all", r"dump\.xml: near byte \d+: truncated or corrupt"),
        (b"", "truncated or corrupt"),
        (b"<html><body/></html>", "not a MediaWiki export"),
        (b"<page><title>A</title></page>", "not a MediaWiki export"),
        (b'<!DOCTYPE m [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><mediawiki>&b;</mediawiki>', "document type"),
        (b"<mediawiki>" + b"<a>" * 10_000, "truncated or corrupt"),
    ],
)
def test_a_bad_dump_is_refused_by_name_and_place(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        articles(tmp_path, content)


def test_a_missing_dump_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.xml: cannot be read: No such file"):
        list(wikipedia_articles(tmp_path / "none.xml"))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Cat\nFrom Wikipedia, the free encyclopedia\nThe cat is", True),
        ("Cat\nFrom Wikipedia, the free encyclopedia (Redirected from Moggy)\nThe cat is", True),
        ("Katze – Wikipedia\nAus Wikipedia, der freien Enzyklopädie\nDie Katze", True),
        ("The cat is.\nRetrieved from “https://en.wikipedia.org/w/index.php?title=Cat”", True),
        ("This article uses material from the Wikipedia article Cat, which is released under", True),
        ("I looked it up: from Wikipedia, the free encyclopedia, comes this quotation about cats.", False),
        ("From Wikipedia, the free encyclopedia anyone can edit, I learned that cats purr.", False),
        ("Wikipedia is an encyclopedia. See https://en.wikipedia.org/wiki/Cat", False),
        ("The cat is an animal.", False),
        ("", False),
    ],
)
def test_a_copy_that_names_wikipedia_is_known_by_its_marks(text, verdict):
    assert says_wikipedia(text) is verdict


def test_copies_are_found_and_quotations_are_not():
    if not DUMPS.exists():
        pytest.skip(f"no dumps at {DUMPS}")
    texts = [text for _, text in wikipedia_articles(DUMPS / "enwiki-table-markup.xml.bz2")]
    tokens = [words(text) for text in texts]
    assert len(tokens) == 5
    reference = Reference.from_hashes((ngram_hashes(each, 8) for each in tokens[:4]), 8)
    copy, stranger = tokens[0], tokens[4]
    quoting = stranger[:700] + copy[:100]
    assert reference.overlap(ngram_hashes(copy, 8)) == 1.0
    assert reference.overlap(ngram_hashes(stranger, 8)) == 0.0
    assert reference.overlap(ngram_hashes(quoting, 8)) == pytest.approx(93 / 793)


def test_a_real_dump_in_utf_16_is_read():
    if not DUMPS.exists():
        pytest.skip(f"no dumps at {DUMPS}")
    found = list(wikipedia_articles(DUMPS / "bgwiki-latest-pages-articles-shortened.xml.bz2"))
    assert [title for title, _ in found] == ["Григориански календар"]
