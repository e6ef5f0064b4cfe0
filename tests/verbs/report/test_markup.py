"""Text that is safe on a page and in a card, whatever it says; numbers; colours that can be told apart."""

import re
from importlib import resources
from itertools import pairwise

import lxml.html
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipeline.verbs.report import charts, numbers, refused
from pipeline.verbs.report.markup import Markup, element, join, markdown, plain
from tests.verbs.report.working import HOSTILE

NASTY = st.one_of(st.sampled_from(HOSTILE), st.text(), st.text(alphabet="<>&\"'`|[](){}\\*_~#!-+=$: \n\t\u202ea1."))


@given(NASTY)
def test_any_text_is_read_from_html_as_it_is_and_makes_no_element(text):
    found = lxml.html.fragment_fromstring(element("p", element("bdi", text), title=text))
    assert (found.text_content().strip(), found.get("title")) == (plain(text), plain(text))
    assert [one.tag for one in found.iter()] == ["p", "bdi"]


@given(NASTY)
def test_any_text_is_read_from_markdown_as_it_is(text):
    parsed = (
        MarkdownIt("commonmark")
        .enable(["table", "strikethrough"])
        .parse(f"| a | b |\n|---|---|\n| {markdown(text)} | x |")
    )
    cells = [token for token in parsed if token.type == "inline"]
    assert len(cells) == 4
    assert {child.type for child in cells[2].children} <= {"text", "text_special"}
    assert "".join(child.content for child in cells[2].children) == plain(text)


@given(NASTY, st.integers(1, 40))
def test_plain_text_is_one_line_at_most_so_long_and_plain_again(text, limit):
    line = plain(text, limit)
    assert len(line) <= limit
    assert line.isprintable() or not line or any(one in line for one in text)
    assert plain(plain(text)) == plain(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069]", line)


def test_letters_of_a_script_that_runs_from_right_to_left_stay():
    assert plain(HOSTILE[6]) == HOSTILE[6]


def test_only_markup_is_left_as_it_is():
    assert element("p", "<b>", Markup("<i></i>"), class_="x", aria_label='"') == (
        '<p class="x" aria-label="&quot;">&lt;b&gt;<i></i></p>'
    )
    assert join("a ", element("b", "c"), " d") == "a <b>c</b> d"


@pytest.mark.parametrize(
    ("value", "short"),
    [(0, "0"), (999, "999"), (1234, "1.2k"), (12_345, "12k"), (999_960, "1M"), (4_500_000_000, "4.5B")],
)
def test_a_label_is_short(value, short):
    assert numbers.short(value) == short


@pytest.mark.parametrize(
    ("part", "whole", "told"),
    [
        (0, 0, "–"),
        (0, 9, "0.0 %"),
        (1, 100_000, "<0.1 %"),
        (99_999, 100_000, ">99.9 %"),
        (3, 3, "100.0 %"),
        (1, 3, "33.3 %"),
    ],
)
def test_a_share_is_never_none_of_some_nor_all_of_less(part, whole, told):
    assert numbers.percent(part, whole).replace(numbers.THIN, " ") == told


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_bar_is_as_long_as_its_share_and_seen_unless_nothing(part, rest):
    (rect,) = lxml.html.fragment_fromstring(charts.bar(part, part + rest)).iter("rect")
    assert float(rect.get("width").rstrip("%")) == pytest.approx(
        max(0.6, 100 * part / (part + rest)) if part else 0, abs=0.01
    )


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=25))
def test_the_stripes_of_a_step_stand_side_by_side_within_its_bar(counts):
    stack = lxml.html.fragment_fromstring(charts.stack("step", [("told", count, "full") for count in counts]))
    spans = [(float(one.get("x")[:-1]), float(one.get("width")[:-1])) for one in stack.iter("rect")]
    assert all(x + wide <= 100.01 for x, wide in spans)
    assert all(before + wide <= after + 0.002 for (before, wide), (after, _) in pairwise(spans))
    assert sum(wide for _, wide in spans) >= 59


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 100)), min_size=2))
@example([(0, 0.0), (0, 5e-324)])
@example([(0, 100.0), (1, 100.00000000000001)])
def test_curves_stay_within_their_picture(points):
    picture = lxml.html.fragment_fromstring(charts.lines("loss", [charts.Line("a", "full", points)], "step"))
    (curve,) = picture.iter("polyline")
    tall = charts.HEIGHT + 50 - charts.ABOVE - charts.BELOW
    for pair in curve.get("points").split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= 1000
        assert -0.1 <= y <= tall + 0.1


def test_the_words_that_differ_are_marked_from_where_they_do():
    one = " ".join(f"w{n}" for n in range(200))
    gone, stays = refused.differing(one, one.replace("w100 ", "other "))
    assert gone.startswith("… w82 ")
    assert re.findall("<mark>(.*?)</mark>", gone) == ["w100"]
    assert re.findall("<mark>(.*?)</mark>", stays) == ["other"]
    assert gone.endswith("…")
    assert refused.differing("a b", "a b") == ("a b ", "a b ")


# --- colours (WCAG 2.2: 1.4.3 text, 1.4.11 what is needed to understand a picture)


def palettes():
    css = (resources.files("pipeline.verbs.report") / "page.css").read_text("utf-8")
    found = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    assert len(found) == 2
    assert found[0].keys() == found[1].keys()
    return found


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("palette", palettes(), ids=["light", "dark"])
@pytest.mark.parametrize(
    ("above", "below", "least"),
    [
        ("ink", "ground", 7),
        ("ink", "panel", 7),
        ("ink", "mark", 7),
        ("soft", "ground", 4.5),
        ("soft", "panel", 4.5),
        ("full", "ground", 4.5),  # links
        ("lost", "ground", 3),
        ("lost-2", "ground", 3),
        ("second", "ground", 3),
        ("focus", "ground", 3),
        ("full", "track", 3),
    ],
)
def test_colours_differ_enough(palette, above, below, least):
    assert contrast(palette[above], palette[below]) >= least
