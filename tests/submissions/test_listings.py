"""Listings: every item of an answer has one fate, and no walk goes on for ever."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards.outcomes import Outcome
from pipeline.submissions import listings
from pipeline.submissions.listings import Unreadable, info, page_of, walk
from pipeline.submissions.rows import Submission
from tests.submissions.local_reddit import NOW, listing, post

MISSING = object()


def sorted_out(**changes):
    child = post(1)
    child["data"] = {key: value for key, value in {**child["data"], **changes}.items() if value is not MISSING}
    return page_of(listing(child))


def test_a_link_post_is_taken_as_posted():
    page = sorted_out(url=" http://host.test/?a=1&amp;b=2 ")
    assert page.submissions == [
        Submission("a1", "http://host.test/?a=1&amp;b=2", 5, NOW - 3_600, "books", False)  # raw_json: no entities
    ]
    assert (page.items, page.names, page.newest_utc, page.after) == (1, ["t3_a1"], NOW - 3_600, None)
    assert sorted_out(url="/r/books/comments/1/").submissions[0].url == "https://www.reddit.com/r/books/comments/1/"


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({}, False),
        ({"removed_by_category": "deleted"}, True),
        ({"removed_by_category": "moderator"}, True),
        ({"removed_by_category": "copyright_takedown", "author": "[deleted]"}, True),
        ({"author": "[deleted]"}, False),  # the account is gone; the post is there, and open to robots
        ({"author": "[deleted]", "is_robot_indexable": False}, True),
        ({"author": None, "is_robot_indexable": False}, True),
        ({"is_robot_indexable": False}, False),
        ({"author": "[deleted]", "removed_by_category": MISSING}, True),
        ({"removed_by_category": MISSING, "is_robot_indexable": MISSING}, False),
        ({"removed_by_category": MISSING, "author": MISSING}, False),
    ],
)
def test_what_was_deleted_or_removed_is_told_from_what_lost_its_author(changes, gone):
    page = sorted_out(**changes)
    assert (page.gone, len(page.submissions)) == ((["a1"], 0) if gone else ([], 1))


@pytest.mark.parametrize(
    ("changes", "fate"),
    [
        ({"is_self": True}, Outcome.SELF_POST),
        ({"url": ""}, Outcome.BAD_URL),
        ({"url": "http://host.test/" + "a" * 8_000}, Outcome.BAD_URL),
        ({"url": 7}, Outcome.BAD_LINE),
        ({"id": "t3_a1"}, Outcome.BAD_LINE),
        ({"id": MISSING}, Outcome.BAD_LINE),
        ({"score": "5"}, Outcome.BAD_LINE),
        ({"score": 2**31}, Outcome.BAD_LINE),
        ({"created_utc": -1}, Outcome.BAD_LINE),
        ({"created_utc": "now"}, Outcome.BAD_LINE),
        ({"subreddit": None}, Outcome.BAD_LINE),
    ],
)
def test_what_is_no_link_post_has_its_fate(changes, fate):
    page = sorted_out(**changes)
    assert (page.submissions, page.gone, page.fates) == ([], [], {fate: 1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "data", "id"]), inner),
    max_leaves=8,
)


@given(st.lists(JSON | st.integers(0, 9).map(post), max_size=6))
def test_the_books_of_any_page_balance(children):
    page = page_of(json.loads(json.dumps(listing(*children))))
    assert len(page.submissions) + len(page.gone) + page.fates.total() == page.items == len(children)


@given(JSON)
def test_an_answer_that_is_no_listing_is_one_outcome(value):
    try:
        page_of(value)
    except Unreadable as refused:
        assert refused.outcome is Outcome.BAD_ANSWER


def walked(*answers, after=None):
    """The pages of a walk over `answers`, by `after` of the question, and the questions."""
    asked = []

    def ask(path, params):
        asked.append(params.get("after"))
        return answers[len(asked) - 1] if len(asked) <= len(answers) else answers[-1]

    return [page.names for page in walk(ask, "r/books/new", {}, after)], asked


def test_a_walk_follows_after_to_the_end():
    answers = [listing(post(1), after="t3_a1"), listing(post(2), after="t3_a2"), listing(post(3))]
    assert walked(*answers) == ([["t3_a1"], ["t3_a2"], ["t3_a3"]], [None, "t3_a1", "t3_a2"])
    assert walked(*answers[1:], after="t3_a1") == ([["t3_a2"], ["t3_a3"]], ["t3_a1", "t3_a2"])


def test_a_walk_ends_where_reddit_repeats_itself():
    circle = [listing(post(1), after="t3_a1"), listing(post(2), after="t3_a2"), listing(post(1), after="t3_a1")]
    assert walked(*circle) == ([["t3_a1"], ["t3_a2"]], [None, "t3_a1", "t3_a2"])
    assert walked(listing(post(1), after="t3_a1")) == ([["t3_a1"]], [None, "t3_a1"])
    assert walked(listing(after="t3_a1")) == ([], [None])


def test_a_walk_is_bounded_even_if_every_page_is_new(monkeypatch):
    monkeypatch.setattr(listings, "MOST_PAGES", 7)
    pages, _ = walked(*(listing(post(n), after=f"t3_a{n}") for n in range(50)))
    assert len(pages) == 7


def test_a_page_asks_for_a_hundred_and_info_for_full_names():
    asked = []
    assert [*walk(lambda *question: asked.append(question) or listing(), "r/books/top", {"t": "day"})] == []
    info(lambda *question: asked.append(question) or listing(), ["a1", "b2"])
    assert asked == [("r/books/top", {"t": "day", "limit": 100}), ("api/info/", {"id": "t3_a1,t3_b2"})]
