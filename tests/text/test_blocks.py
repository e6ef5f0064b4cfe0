import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.blocks import BLOCK, INSTEAD, UNREAD, read, write
from pipeline.text.names import BIT
from pipeline.text.normalize import clean

TAGS = [
    "<p>", "</p>", "<div class='post 1'>", "</div>", "<b>", "</b>", "<br>", "<br/>", "<a href=x>", "</a>", "<td>",
    "<li>", "<table>", "</table>", "<script>", "</script>", "<svg>", "</svg>", "<title>", "</title>", "<!--", "-->",
    "<noscript>", "</noscript>", "<pre>", "</pre>", "&#xD800;", "&#0;", "<", "&", "<textarea>", "\0",
]  # fmt: skip
SOUP = st.lists(st.one_of(st.sampled_from(TAGS), st.text(max_size=8)), max_size=30).map("".join)


def squeezed(texts):
    return [" ".join(text.replace("\u2028", "/").split()) for text in texts]


def test_blocks_end_where_block_level_tags_stand_and_not_at_inline_ones():
    page = read("<div>One <b>two</b> <a href=x>thr</a>ee<p>four<ul><li>five<li>six</ul>seven")
    assert squeezed(page.texts) == ["One two three", "four", "five", "six", "seven"]
    assert [page.tag[holder] for holder in page.holder] == ["div", "p", "li", "li", "div"]
    assert page.links == [1, 0, 0, 0, 0]
    assert page.link_chars == [3, 0, 0, 0, 0]


def test_two_breaks_part_paragraphs_and_one_does_not():
    assert squeezed(read("<div>a<br>b<br> <br>c").texts) == ["a/b/", "/c"]


@pytest.mark.parametrize("break_", ["<br><br>", "<br/> <br/>", "<br>&nbsp;<br clear=all>", "<br><!-- x --><br>\n<br>"])
@pytest.mark.parametrize(
    "around", ["<table><tr><td>{}</table>", "<table><tr><th><font size=2>{}</font></table>", "<dl><dd>{}</dl>"]
)
def test_two_breaks_part_paragraphs_in_a_cell_too(around, break_):
    blocks = read(around.format(f"one{break_}two{break_}three"))
    assert clean(write(blocks, range(len(blocks.texts)))).split("\n\n") == ["one", "two", "three"]


@pytest.mark.parametrize("tag", ["st1:City", "o:p", "fb:like", "x-note", "abbrev", "slot", "rb", "wbr", "big", "blink"])
def test_an_element_that_html_does_not_know_as_a_block_is_inline(tag):
    page = read(f"<p>in <{tag} w:st=on>Paris</{tag}>, and <b><{tag}>here</{tag}></b>.<p>next")
    assert squeezed(page.texts) == ["in Paris, and here.", "next"]


@pytest.mark.parametrize(
    "tag", sorted(BLOCK - {"body", "col", "colgroup", "frame", "frameset", "hr", "html", "plaintext"})
)
def test_an_element_that_is_a_block_ends_the_line(tag):
    page = read(f"<div>a<{tag}>b</{tag}>c</div>")
    assert [text for text in squeezed(page.texts) if text != "c"] == ["a", "b"]


@pytest.mark.parametrize(
    "tag", ["embed", "wbr", "source", "track", "keygen", "param", "area", "input", "bgsound", "img"]
)
def test_a_void_element_swallows_nothing(tag):
    assert squeezed(read(f"<div><p>a<{tag} src=x>b</p><p>c</div>d").texts) == ["ab", "c", "d"]


@pytest.mark.parametrize("tag", sorted(INSTEAD | {"map"}))
def test_what_is_never_closed_does_not_swallow_the_page_and_what_is_closed_stays_unread(tag):
    rest = "".join(f"<p>{number} of the rest of the page" for number in range(4))
    assert len(read(f"<div><p>first</p><{tag} name=x>{rest}").texts) == 5
    assert len(read(f"<div><p>first</p><{tag} alt='a<b'>{rest}").texts) == 5
    closed = [] if tag in INSTEAD else ["no"]
    assert squeezed(read(f"<div><p>first</p><{tag} name=x><p>no</p></{tag.upper()}>{rest}").texts)[1:-4] == closed
    long = "and a sentence that goes on for so long that it can hardly be what stands there in place of something else"
    assert " ".join(squeezed(read(f"<p>first <{tag}>{long}").texts)) == f"first {long}"


def test_the_template_of_a_shadow_root_is_shown_and_another_is_not():
    for mode in ("shadowrootmode=open", "shadowrootmode=closed", "ShadowRootMode='open' class=x", "shadowroot=open"):
        page = read(f"<x-a><template {mode}><style>p{{}}</style><p>a<template><p>no</template></template></x-a><p>b")
        assert squeezed(page.texts) == ["a", "b"]
    assert squeezed(read("<template id=x><p>no</p></template><p>b").texts) == ["b"]


def test_scripts_styles_and_drawings_are_not_read_and_what_follows_them_is():
    unread = "".join(f"<{tag}>no</{tag}>" for tag in sorted(UNREAD))
    assert squeezed(read(f"<p>a{unread}b<svg><title>no<desc>no</desc></title></svg>c").texts) == ["abc"]
    assert read("<title>The &amp; title</title><p>x").title == "The & title"


def test_what_noscript_holds_is_read_as_browsers_without_scripts_do():
    page = read("<noscript><div class=post><p>A post of a forum.</div></noscript><p>After.")
    assert page.texts == ["A post of a forum.", "After."]
    assert page.inherited[page.holder[0]] & BIT["noscript"]


def test_elements_say_what_they_are_by_tag_role_class_and_style():
    page = read(
        "<nav>a</nav><div role=navigation>b</div><div class='Main-Menu'>c</div><div id=sidebar>d</div>"
        "<div style='display: none'>e</div><div aria-hidden=true>f</div><div hidden>g</div><ol><li>h</ol>"
    )
    bits = [page.inherited[holder] for holder in page.holder]
    expected = ["nav", "nav", "menu", "side", "hidden", "hidden", "hidden", "list"]
    assert [bool(own & BIT[name]) for own, name in zip(bits, expected, strict=True)] == [True] * 8


@pytest.mark.parametrize(
    "attribute",
    [
        "hidden", "aria-hidden=true", "style='display : none'", "style='visibility:hidden'",
        "style='color:red;VISIBILITY: collapse'",
    ],
)  # fmt: skip
def test_an_element_that_is_not_shown_says_so_and_all_in_it(attribute):
    page = read(f"<div {attribute}><section><p>a</section></div><p style='visibility:visible;overflow:hidden'>b")
    assert [bool(page.inherited[holder] & BIT["hidden"]) for holder in page.holder] == [True, False]


def test_an_element_is_known_by_its_itemprop_and_by_numbers_in_its_names_too():
    page = read("<div itemprop=comment>a</div><div id=comment-81>b</div><div class='embed-7 tweet'>c</div>")
    bits = [page.own[holder] for holder in page.holder]
    assert [bool(own & BIT[name]) for own, name in zip(bits, ("comment", "comment", "embed"), strict=True)] == [
        True
    ] * 3


def test_of_the_descriptions_of_a_page_the_longest_is_kept():
    page = read("<meta name=Description content='A pier.'><meta property=og:description content='An old pier.'><p>x")
    assert page.description == "An old pier."


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("[vc_row type=”full” x=”1/1″][vc_column_text]The old pier.[/vc_column_text][/vc_row]", "The old pier."),
        ('[caption id=\'a_1\' width="300"]A pier[/caption] of [my-plugin show="all"]stone', "A pier of stone"),
        ("as [1] and [2] say, list[some_index] or [TODO] or [my_name] stays", None),
        ("[et_pb_section", None),
    ],
)
def test_marks_of_page_builders_are_no_text_and_other_brackets_are(source, text):
    assert squeezed(read(f"<p>{source}</p>").texts) == [text or source]
    assert squeezed(read(f"<pre>{source}</pre>").texts) == [source]


def test_a_paragraph_of_nothing_but_marks_is_none():
    assert read("<p>[vc_row]</p><p>a</p>").texts == ["a"]


def test_elements_look_alike_wherever_they_stand():
    page = read("<div class=a><p class='x 1'>a</div><section><p class='x 2'>b<p>c</section>")
    first, second, third = (page.look[holder] for holder in page.holder)
    assert first == second != third


def test_elements_of_the_same_path_are_alike_whatever_the_digits_of_their_classes():
    page = read("<div><p class=post-1>a<p class=post-22>b<p>c</div><p class=post-1>d")
    first, second, third, fourth = (page.alike[holder] for holder in page.holder)
    assert first == second
    assert len({first, third, fourth}) == 3


def test_the_descendants_of_an_element_are_the_numbers_after_it_up_to_its_end():
    page = read("<div><section><p>a</p><p>b</p></section></div><p>c")
    section = page.tag.index("section")
    assert page.tag[section : page.end_of[section]] == ["section", "p", "p"]
    assert page.end_of[0] == len(page.tag) == len(page.parent)


@given(SOUP)
def test_any_soup_is_read_and_its_lists_agree(soup):
    page = read(soup)
    assert len(page.texts) == len(page.links) == len(page.link_chars) == len(page.holder)
    count = len(page.parent)
    assert all(len(some) == count for some in (page.tag, page.own, page.inherited, page.depth, page.end_of, page.alike))
    assert all(up < element < page.end_of[element] <= count for element, up in enumerate(page.parent))
    assert not any(text.isspace() for text in page.texts)


@given(st.lists(st.text("abc é", min_size=1, max_size=9), max_size=9))
def test_no_text_between_tags_is_lost(pieces):
    page = read(
        "".join(f"<{tag}>{piece}</{tag}>" for piece, tag in zip(pieces, ["p", "b", "div", "li"] * 3, strict=False))
    )
    assert "".join("".join(page.texts).split()) == "".join("".join(pieces).split())


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<h1>Title</h1><p>One\n line.<p>Two.", "Title\n\nOne line.\n\nTwo."),
        ("<p>Before:<ul><li>one<li><p>two</p><p>more</p></ul>", "Before:\n\n- one\n- two\nmore"),
        ("<table><tr><th>a<th>b<tr><td>1<td>2</table>", "a | b\n1 | 2"),
        ("<p>one<br>two<br><br>three", "one\ntwo\n\nthree"),
        ("<table><tr><td>menu<td>one<br><br>two<tr><td>foot</table>", "menu\n\none\n\ntwo\n\nfoot"),
        ("<ul><li>one<br><br>two<li>three</ul>", "- one\n\ntwo\n\n- three"),
        ("<pre>def f():\n    pass</pre>", "def f():\npass"),
        ("<dl><dt>term<dd>meaning</dl>", "term\nmeaning"),
    ],
)
def test_chosen_blocks_are_written_with_their_paragraphs_items_and_rows(page, text):
    blocks = read(page)
    assert clean(write(blocks, range(len(blocks.texts)))) == text


def test_only_chosen_blocks_are_written():
    blocks = read("<p>a<p>b<p>c")
    assert write(blocks, [0, 2]) == "a\n\nc"
    assert write(blocks, []) == ""


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<p>x</p>" * 200_000, 200_000),
        ("<p " + " ".join(f"a{i}=1" for i in range(50_000)) + ">x</p>y", 2),
        ("<div>" * 100_000 + "x" + "</div>" * 100_000 + "<p>y", 2),
        ("<b>" * 100_000 + "x<p>y", 2),
        ("<table><tr><td colspan=999999999 rowspan=999999999>x<td>y</table>", 2),
        ("<p>" + "word " * 4_000_000 + "<p>y", 4_000_001),
        ('<!DOCTYPE x [<!ENTITY a "bbbb"><!ENTITY b "&a;&a;">]><p>&b;', 1),
    ],
    ids=["paragraphs", "attributes", "nested", "formatting", "colspan", "one line", "entities"],
)
def test_nothing_is_cut_out_of_a_bomb(page, words):
    assert sum(len(re.findall(r"\w+", text)) for text in read(page).texts) == words


def test_no_element_is_both_unread_and_a_block():
    assert not UNREAD & BLOCK
