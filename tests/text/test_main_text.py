from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text import main_text as room
from pipeline.text.blocks import read
from pipeline.text.features import ADDRESS, SAYS, features
from pipeline.text.main_text import agreement, choose, main_text, model
from pipeline.text.trees import CERTAIN

CHANCES = st.lists(st.tuples(st.integers(0, CERTAIN), st.integers(1, 50)), min_size=1, max_size=7)
PAGE = (
    "<title>Rain and harvest</title><nav><a href=/>Home</a></nav><main><h1>Rain and harvest</h1>"
    "<p>The rain came late this year, and with it the harvest.</p><ul><li>Wheat<li>Rye</ul></main>"
    "<footer>© 2019</footer>"
)


def expected_f1(chances, chosen):
    """Twice the expected right words over the words taken and the expected words of the whole."""
    right = sum(chances[i][0] * chances[i][1] for i in chosen) / CERTAIN
    return 2 * right / (sum(chances[i][1] for i in chosen) + sum(p * n for p, n in chances) / CERTAIN)


@given(CHANCES.filter(lambda chances: any(p for p, _ in chances)))
def test_no_other_choice_of_blocks_has_a_better_expected_f1(chances):
    chosen = choose(*np.array(chances).T)
    others = (some for size in range(1, len(chances) + 1) for some in combinations(range(len(chances)), size))
    assert expected_f1(chances, chosen) == pytest.approx(max(expected_f1(chances, some) for some in others))
    assert chosen == sorted(chosen)


def test_a_page_with_any_text_gives_some():
    assert choose(np.array([0, 0]), np.array([3, 4])) == [0]
    assert main_text(read("<p>Hello"), "", "") == "Hello"


def test_agreement_is_whole_lines_then_beginnings():
    second = "• A line of words\nSome longer line with a beginning inside and an end"
    texts = ["A  line of words", "• A line\n of words", "longer line with a beginning", "line with", ""]
    assert agreement(texts, second) == [0.0, 1.0, 0.5, 0.0, 0.0]


def test_every_block_has_every_column_that_the_model_asks_for():
    blocks = read(PAGE)
    columns = features(blocks, [0.0] * len(blocks.texts), "")
    assert set(columns) == set(model().columns)
    assert {(column.dtype, column.shape) for column in columns.values()} == {(np.dtype("float32"), (6,))}
    assert all(np.isfinite(column).all() for column in columns.values())


def test_features_of_a_small_page_are_those_counted_by_hand():
    blocks = read(PAGE)
    found = features(blocks, [0.0, 1.0, 1.0, 0.5, 0.5, 0.0], "https://example.org/forum/2019/rain")
    assert blocks.texts[1] == "Rain and harvest"
    assert found["words"].tolist() == [1, 3, 11, 1, 1, 2]
    assert found["link_share"].tolist() == [1, 0, 0, 0, 0, 0]
    assert found["terminal"].tolist() == [0, 0, 1, 0, 0, 0]
    assert found["in_title"][1] == 1.0
    assert found["furniture"].tolist() == [0, 0, 0, 0, 0, 1]
    assert found["in_main"].tolist() == [0, 1, 1, 1, 1, 0]
    assert found["in_core"].tolist() == [0, 0, 1, 0, 0, 0]  # the paragraph holds all the prose there is
    assert found["around_2_words"].tolist() == [19, 16, 16, 2, 2, 19]
    assert found["group_count"].tolist() == [1, 1, 1, 2, 2, 1]
    assert found["words_so_far"].tolist() == pytest.approx([1 / 19, 4 / 19, 15 / 19, 16 / 19, 17 / 19, 1])
    assert found["words_after"].tolist() == [3, 11, 1, 1, 2, 0]


@given(st.lists(st.text(min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=8))
def test_any_text_has_finite_features(texts):
    blocks = read("<p>" + "<p>".join(text.replace("<", "").replace("&", "") for text in texts) + "<p>end")
    assert all(np.isfinite(column).all() for column in features(blocks, [0.0] * len(blocks.texts), "").values())


def test_the_model_is_read_once():
    assert room.model() is room.model()


def test_a_page_says_what_it_is_in_many_ways_and_so_does_its_address():
    json = '<script type="application/ld+json">{"@type" : ["DiscussionForumPosting"]}</script><p>x'
    micro = '<div itemscope itemtype="https://schema.org/Product">x</div>'
    generator = "<meta name=generator content='Discourse 3.2'><p>x"
    graph = "<meta property=og:type content=Article><p>x"
    for page, kind in ((json, "thread"), (micro, "shop"), (generator, "thread"), (graph, "article")):
        found = features(read(page), [0.0], "")
        assert {name for name in SAYS if found[f"says_{name}"].any()} == {kind}, page
    for url, kind in (
        ("https://example.org/", "root"),
        ("https://example.org/viewtopic.php?t=1", "thread"),
        ("https://example.org/docs/setup", "manual"),
        ("https://example.org/product/12", "shop"),
        ("https://example.org/2019/11/rain", "story"),
        ("", ""),
    ):
        found = features(read("<p>x"), [0.0], url)
        assert {name for name in ADDRESS if found[f"address_{name}"].any()} == {kind} - {""}, url


def test_text_without_spaces_is_counted_in_words_of_two_characters():
    found = features(read("<p>すべての人間は、自由である。<p>All people are free."), [0.0, 0.0], "")
    assert found["words"].tolist() == [1 + 12 // 2, 4]
    assert found["terminal"].tolist() == [1, 1]
