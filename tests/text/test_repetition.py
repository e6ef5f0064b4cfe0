from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.repetition import DUPLICATE, REPETITIONS, TOP, gram_shares, repeated, repetitions

FEW_WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "d"]), max_size=40)


def slow_top(tokens, n):
    """By sets of tuples: the share of the most frequent n-gram, of the longest of several."""
    grams = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    most = max(grams.values(), default=0)
    if most < 2:
        return 0.0
    size = max(sum(map(len, gram)) for gram, count in grams.items() if count == most)
    return min(1.0, size * most / sum(map(len, tokens)))


def slow_duplicate(tokens, n):
    """By a set of tuples: the share of words that lie in an n-gram seen before."""
    seen, covered = set(), set()
    for i in range(len(tokens) - n + 1):
        gram = tuple(tokens[i : i + n])
        if gram in seen:
            covered.update(range(i, i + n))
        seen.add(gram)
    return sum(len(tokens[i]) for i in covered) / sum(map(len, tokens)) if tokens else 0.0


@given(FEW_WORDS)
def test_the_fast_shares_are_the_slow_ones(tokens):
    expected = [slow_top(tokens, n) for n in TOP] + [slow_duplicate(tokens, n) for n in DUPLICATE]
    assert gram_shares(tokens) == pytest.approx(expected)


def test_shares_counted_by_hand():
    tokens = ["to", "be", "or", "not", "to", "be", "that", "is"]
    assert gram_shares(tokens)[0] == pytest.approx(2 * 4 / 19)  # "to be" twice, of nineteen letters
    assert gram_shares(tokens)[1:] == [0.0] * 8
    five = ["one", "two", "three", "four", "five"]
    assert gram_shares([*five, "and", *five])[3] == pytest.approx(19 / 41)  # the second five, of 41 letters


def test_lines_and_paragraphs_count_from_their_second_time_on():
    text = "Home\n\nA longer line here.\n\nHome\nHome"
    found = repetitions(text, text.split(), [line for line in text.split("\n") if line])
    assert found["duplicate_line_share"] == 2 / 4
    assert found["duplicate_line_char_share"] == pytest.approx(8 / 31)
    assert found["duplicate_paragraph_share"] == 0.0
    assert repeated(["ab", "c", "ab", "ab"]) == (0.5, pytest.approx(4 / 7))


def test_every_repetition_is_a_share_and_none_of_nothing():
    assert list(repetitions("", [], [])) == list(REPETITIONS)
    assert set(repetitions("", [], []).values()) == {0.0}
    one = "word " * 1_000
    assert all(0 <= share <= 1 for share in repetitions(one, one.split(), [one]).values())
    assert repetitions(one, one.split(), [one])["top_2gram_share"] == 1.0
