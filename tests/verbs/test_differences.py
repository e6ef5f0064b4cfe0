"""Two texts as stretches that are alike or not: nothing is lost, and what is called alike is."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.verbs import differences
from pipeline.verbs.differences import stretches

WORDS = st.lists(st.sampled_from("abc"), max_size=30)


@given(WORDS, WORDS)
def test_the_stretches_hold_every_word_of_both_in_order_and_alike_ones_are(left, right):
    found = stretches(left, right)
    assert [n for one in found for n in one.left] == list(range(len(left)))
    assert [n for one in found for n in one.right] == list(range(len(right)))
    for one in found:
        words = left[one.left.start : one.left.stop], right[one.right.start : one.right.stop]
        assert (words[0] == words[1]) == (one.kind == "same")


@given(WORDS)
def test_a_text_is_one_stretch_like_itself(words):
    assert [one.kind for one in stretches(words, words)] == ["same"] * bool(words)


def test_of_long_texts_what_both_begin_and_end_with_is_alike_and_the_rest_bounded(monkeypatch):
    monkeypatch.setattr(differences, "MOST_WORDS", 4)
    found = stretches([*"xx", *"abcdefgh", *"yy"], [*"xx", *"zbczzzzzz", *"yy"])
    assert [(one.kind, len(one.left), len(one.right)) for one in found] == [
        ("same", 2, 2), ("other", 1, 1), ("same", 2, 2), ("other", 1, 1), ("beyond", 4, 5), ("same", 2, 2),
    ]  # fmt: skip
