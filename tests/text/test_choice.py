from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.blocks import read
from pipeline.text.choice import choose, chosen, equal_runs, kindred, together, without_copies
from pipeline.text.features import features
from pipeline.text.trees import CERTAIN

CHANCES = st.lists(st.tuples(st.integers(0, CERTAIN), st.integers(1, 50)), min_size=1, max_size=7)
LONG = "The council met on {} and decided, after long talks, that the old pier of stone shall be built anew."
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


def expected_f1(chances, chosen):
    """Twice the expected right words over the words taken and the expected words of the whole."""
    right = sum(chances[i][0] * chances[i][1] for i in chosen) / CERTAIN
    return 2 * right / (sum(chances[i][1] for i in chosen) + sum(p * n for p, n in chances) / CERTAIN)


def columns_of(page):
    blocks = read(page)
    return blocks, features(blocks, [0.0] * len(blocks.texts), "")


@given(CHANCES.filter(lambda chances: any(p for p, _ in chances)))
def test_no_other_choice_of_blocks_has_a_better_expected_f1(chances):
    some, words = np.array(chances).T
    taken = choose(some, words, np.arange(len(some)))
    others = (some for size in range(1, len(chances) + 1) for some in combinations(range(len(chances)), size))
    assert expected_f1(chances, taken) == pytest.approx(max(expected_f1(chances, some) for some in others))
    assert taken == sorted(taken)


@given(CHANCES.filter(lambda chances: any(p for p, _ in chances)), st.data())
def test_groups_are_taken_whole_and_no_choice_of_whole_groups_is_better(chances, data):
    group = np.array([data.draw(st.integers(0, 3)) for _ in chances])
    some, words = np.array(chances).T
    some = together(some, words, group)
    if not some.any():
        return
    taken = choose(some, words, group)
    assert not {group[i] for i in taken} & {group[i] for i in range(len(some)) if i not in taken}
    names = sorted(set(group.tolist()))
    choices = (set(few) for size in range(1, len(names) + 1) for few in combinations(names, size))
    every = list(zip(some.tolist(), words.tolist(), strict=True))
    values = [expected_f1(every, [i for i in range(len(some)) if group[i] in few]) for few in choices]
    assert expected_f1(every, taken) == pytest.approx(max(values))


def test_a_page_with_any_text_gives_some():
    assert choose(np.array([0, 0]), np.array([3, 4]), np.array([0, 1])) == [0]


@pytest.mark.parametrize("share", [1, 4])
def test_remarks_are_taken_all_or_not_at_all(share):
    remarks = "".join(f"<li><div class=text><p>{LONG.format(day)}</p></div></li>" for day in DAYS)
    blocks, columns = columns_of(
        f"<p>{LONG.format('Sunday')}</p><p>And so on, for as long as it takes.</p><ol>{remarks}</ol>"
    )
    group = kindred(blocks, columns)
    assert len(set(group[2:])) == 1
    assert len(set(group)) == 3
    chances = np.array([CERTAIN, CERTAIN] + [9_000] * share + [500] * (len(DAYS) - share))
    assert chosen(blocks, columns, chances) == (list(range(7)) if share == 4 else [0, 1])


def test_paragraphs_of_one_text_cells_of_a_table_and_a_menu_are_judged_one_by_one():
    sentences = [LONG.format(day) for day in DAYS]
    for page in (
        f"<div>{''.join(f'<p>{s}</p>' for s in sentences)}</div>",
        f"<table>{''.join(f'<tr><td>{s}<td>{s}' for s in sentences)}</table>",
        f"<nav>{''.join(f'<div><p><a href=/{day}>The news of {day}</a></div>' for day in DAYS)}</nav>",
    ):
        group = kindred(*columns_of(page))
        assert len(set(group)) == len(group), page


ARTICLE = "".join(f"<p>{LONG.format(day)}</p>" for day in DAYS[:3])


@pytest.mark.parametrize(
    ("page", "kept"),
    [
        (f"<div class=desk><h1>Pier</h1>{ARTICLE}</div><div class=phone><h1>Pier</h1>{ARTICLE}</div>", [0, 1, 2, 3]),
        (f"<div hidden><h1>Pier</h1>{ARTICLE}</div><div class=phone><h1>Pier</h1>{ARTICLE}</div>", [4, 5, 6, 7]),
        (f"<div>{ARTICLE}</div><div>{ARTICLE}</div><div>{ARTICLE}</div>", [0, 1, 2]),
        ("<p>A line.</p><p>B</p><p hidden>A line.</p>", [0, 1]),
        ("<p hidden>A line.</p><p>B</p><p>A line.</p>", [1, 2]),
        (f"<p>{LONG}<p>One<p>{LONG}<p>Two<p>{LONG}", [0, 1, 2, 3, 4]),  # a refrain
        ("<p>Row,<p>row your boat<p>Gently<p>Row,<p>row your boat<p>Gently", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_what_stands_twice_on_a_page_is_taken_once_and_a_refrain_as_often_as_it_is_sung(page, kept):
    blocks, columns = columns_of(page)
    assert without_copies(blocks, columns, range(len(blocks.texts))) == kept


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
def test_equal_runs_are_equal_do_not_overlap_and_leave_no_copy_out(keys):
    copies = set()
    for first, second in equal_runs(keys):
        assert [keys[i] for i in first] == [keys[i] for i in second]
        assert first.stop <= second.start
        assert not copies & set(second)
        copies.update(second)
    assert copies == {i for i, key in enumerate(keys) if key in keys[:i]}


ARTICLE_SAYS = "<meta property=og:type content=article>"
ANSWER = "I was there on {} and I can tell you that nobody in the hall has ever seen the pier at low tide."
REMARKS = f"<ol id=comments>{''.join(f'<li><div><p>{ANSWER.format(day)}</p></div></li>' for day in DAYS)}</ol>"


@pytest.mark.parametrize(
    ("head", "url", "taken"),
    [
        (ARTICLE_SAYS, "", 3),
        ("", "", 8),  # nothing says that it is an article
        (ARTICLE_SAYS, "https://example.org/forum/pier", 8),
        (f"{ARTICLE_SAYS}<meta name=generator content='Vanilla Forums'>", "", 8),
    ],
)
def test_remarks_on_an_article_are_none_of_it_and_answers_in_a_thread_are(head, url, taken):
    blocks = read(f"{head}<article>{ARTICLE}</article>{REMARKS}")
    columns = features(blocks, [0.0] * 8, url)
    assert chosen(blocks, columns, np.full(8, 9_500)) == list(range(taken))


def test_a_page_that_is_all_remarks_keeps_them():
    blocks = read(f"{ARTICLE_SAYS}<h1>Pier</h1>{REMARKS}")
    assert chosen(blocks, features(blocks, [0.0] * 6, ""), np.full(6, 9_500)) == list(range(6))


@pytest.mark.parametrize(
    "attribute", ["style='display:none'", "style='visibility: hidden'", "hidden", "aria-hidden=true"]
)
def test_a_little_hidden_text_is_left_out_and_a_text_that_unfolds_is_not(attribute):
    hidden = f"<div {attribute}><p>{LONG.format('Sunday')}</p></div>"
    blocks, columns = columns_of(f"<div>{ARTICLE}<p>{LONG.format('Friday')}</div>{hidden}")
    assert chosen(blocks, columns, np.full(5, 9_500)) == [0, 1, 2, 3]
    blocks, columns = columns_of(f"<p>{LONG.format('Sunday')}</p><div {attribute}>{ARTICLE}</div>")
    assert chosen(blocks, columns, np.full(4, 9_500)) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["twitter-tweet", "instagram-media", "tiktok-embed", "bluesky-embed"])
@pytest.mark.parametrize("place", [0, 2, 3])
def test_an_embedded_post_goes_with_the_text_around_it_whole(name, place):
    post = f"<blockquote class={name}><p>Nine for, four against.</p><p>— The Council</p></blockquote>"
    paragraphs = [f"<p>{LONG.format(day)}</p>" for day in DAYS[:3]]
    text = "".join([*paragraphs[:place], post, *paragraphs[place:]])
    blocks, columns = columns_of(f"<nav><p>Home</p></nav><div>{text}</div><p>Contact</p><p>Imprint</p>")
    chances = np.array([100] + [9_500] * 5 + [100, 100])
    chances[[place + 1, place + 2]] = [4_000, 1_000]
    assert chosen(blocks, columns, chances) == [1, 2, 3, 4, 5]


def test_an_embedded_post_among_furniture_stays_there():
    post = "<blockquote class=twitter-tweet><p>Nine for, four against.</p></blockquote>"
    blocks, columns = columns_of(f"<div>{ARTICLE}</div><aside><p>Follow us</p>{post}</aside>")
    assert chosen(blocks, columns, np.array([9_500, 9_500, 9_500, 100, 900])) == [0, 1, 2]


@pytest.mark.parametrize(
    ("kind", "chance", "whole"),
    [("DiscussionForumPosting", 3_500, True), ("WebPage", 3_500, False), ("DiscussionForumPosting", 2_500, False)],
)
def test_answers_are_taken_where_a_page_says_that_it_is_a_thread(kind, chance, whole):
    page = f"<main itemscope itemtype='https://schema.org/{kind}'>{ARTICLE}{REMARKS}</main>"
    blocks = read(page)
    columns = features(blocks, [0.0] * 8, "")
    chances = np.array([9_900] * 3 + [chance] * 5)
    assert chosen(blocks, columns, chances) == list(range(8 if whole else 3))
