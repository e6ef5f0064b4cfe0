"""Paragraphs that stand in many documents are told by their words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.normalize import counted_words
from pipeline.text.paragraphs import GAP, LEAST_WORDS, copied_words, paragraph_hashes, paragraphs

SENTENCE = "Filed under books, on 3 May 2013, by J. Doe."


@pytest.mark.parametrize("other", [SENTENCE.upper(), SENTENCE.replace("3", "12"), SENTENCE.replace(",", " -")])
def test_case_numbers_and_punctuation_make_no_difference(other):
    first, second = paragraph_hashes([SENTENCE, other])
    assert first == second


def test_another_word_does():
    assert len(set(paragraph_hashes([SENTENCE, SENTENCE.replace("books", "films")]).tolist())) == 2


def test_short_paragraphs_are_nobodys():
    text = " ".join(["word"] * LEAST_WORDS)
    short, enough = paragraph_hashes([text.removesuffix(" word"), text]).tolist()
    assert short == 0
    assert enough
    known = np.sort(np.array([0, enough], np.uint64))
    assert copied_words([text.removesuffix(" word"), text, ""], known) == [0, LEAST_WORDS, 0]


def test_short_means_two_characters_a_word_where_no_spaces_are_written():
    short, enough = paragraph_hashes(["城里的老渡口，在", "城里的老渡口，在星期"]).tolist()
    assert short == 0
    assert copied_words(["城里的老渡口，在星期"], np.array([enough], np.uint64)) == [5]


def test_nothing_known_is_nothing_copied():
    assert copied_words([SENTENCE], np.empty(0, np.uint64)) == [0]
    assert copied_words([], np.empty(0, np.uint64)) == []


def test_hashes_never_change_from_version_to_version():
    assert paragraph_hashes([SENTENCE]).tolist() == [8067774807154437467]


@given(st.lists(st.text(max_size=40), min_size=1, max_size=8), st.sets(st.integers(0, 7)))
def test_the_paragraphs_that_are_known_are_found_and_no_others(parts, places):
    hashes = paragraph_hashes(parts)
    known = np.unique([hashes[place] for place in places if place < len(parts)]).astype(np.uint64)
    slow = [len(counted_words(part)) if one and one in set(known.tolist()) else 0
            for part, one in zip(parts, hashes.tolist(), strict=True)]  # fmt: skip
    assert copied_words(parts, known) == slow


@given(st.text())
def test_paragraphs_joined_are_the_text(text):
    assert GAP.join(paragraphs(text)) == text
