import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text import main_text as room
from pipeline.text.blocks import read
from pipeline.text.features import ADDRESS, SAYS, features
from pipeline.text.main_text import agreement, main_text, model

PAGE = (
    "<title>Rain and harvest</title><nav><a href=/>Home</a></nav><main><h1>Rain and harvest</h1>"
    "<p>The rain came late this year, and with it the harvest.</p><ul><li>Wheat<li>Rye</ul></main>"
    "<footer>© 2019</footer>"
)


def test_a_page_with_any_text_gives_some():
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


def test_what_heads_other_stories_and_remarks_is_told_to_all_that_stands_under_it():
    blocks = read(
        "<h1>The pier</h1><p>It is old.</p><div><h2>Related stories</h2><ul><li>Ferries</li></ul></div>"
        "<section><h3>3 comments</h3><p>I see.</p></section><p>The end.</p>"
    )
    found = features(blocks, [0.0] * 7, "")
    assert found["others"].tolist() == [0, 0, 1, 0, 0, 0, 0]
    assert found["others_far"].tolist() == [-1, -1, 0, 1, 2, 3, 4]
    assert found["others_in"].tolist() == [0, 0, 1, 1, 0, 0, 0]
    assert found["remarks"].tolist() == [0, 0, 0, 0, 1, 0, 0]
    assert found["remarks_in"].tolist() == [0, 0, 0, 0, 1, 1, 0]
    assert found["heading_far"].tolist() == [0, 1, 0, 1, 0, 1, 2]
    assert found["from_title"].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_an_item_is_that_element_around_a_block_which_has_most_siblings_like_it():
    items = "".join(f"<li class=c><div><p>Remark {n} it is.<p>Yes.</div>" for n in range(3))
    blocks = read(f"<p>One of a kind.</p><ul>{items}</ul>")
    found = features(blocks, [0.0] * 7, "")
    assert found["items_count"].tolist() == [1, 3, 3, 3, 3, 3, 3]
    assert found["items_level"].tolist() == [0, 2, 2, 2, 2, 2, 2]
    assert found["items_mean"][1] == 5
    assert found["like_count"].tolist() == [1, 6, 6, 6, 6, 6, 6]


def test_a_description_and_persons_and_questions_are_counted():
    blocks = read("<meta name=description content='About the old pier'><p>The old pier<p>Do you know my pier?")
    found = features(blocks, [0.0, 0.0], "")
    assert found["described"].tolist() == pytest.approx([1.0, 0.0])
    assert found["persons"].tolist() == pytest.approx([0.0, 2 / 5])
    assert found["asks"].tolist() == [0, 1]


@settings(deadline=None)
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
