"""Charts as inline SVG that needs no script: columns, bars, lines; every mark tells its number when pointed at.

Choice: places are percentages of a picture without a viewBox, so that letters keep their size on a phone. Cost: a line
needs a picture of its own within, stretched. Alternative: a plotting library, whose pictures scale as a whole and weigh
more than the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.verbs.report.markup import Markup, element, join
from pipeline.verbs.report.numbers import decimal, short

HEIGHT, ABOVE, BELOW = 190, 20, 24  # pixels of a chart, over its columns, under them
CROWDED = 9  # with more columns every second label goes on a narrow screen
MANY = 16  # with more columns every fourth is labelled, and none says its number but when pointed at
LEAST = 1.5  # pixels of a column that is not nothing


@dataclass(frozen=True)
class Column:
    """One column: its label, how high it is, how much of it is full, and what it tells."""

    label: str
    height: int
    full: int
    title: str


@dataclass(frozen=True)
class Bound:
    """A line across a histogram: how far from its left edge, in percent, and what it says."""

    across: float
    title: str


def columns(name: str, data: Sequence[Column], bounds: Sequence[Bound] = ()) -> Markup:
    """A histogram. `name` says to those who do not see it what it shows; `bounds` are drawn over it."""
    highest = max((column.height for column in data), default=0) or 1
    step = 100 / max(1, len(data))
    room = HEIGHT - ABOVE - BELOW
    marks = []
    for place, column in enumerate(data):
        left, wide = step * place + step * 0.12, step * 0.76
        tall, filled = (max(LEAST, room * value / highest) if value else 0.0 for value in (column.height, column.full))
        floor = HEIGHT - BELOW
        odd = "odd" if len(data) > CROWDED and place % 2 else ""
        labelled = len(data) <= MANY or place % 4 == 0
        top = short(column.height) if column.height and len(data) <= MANY else ""
        marks.append(
            element(
                "g",
                element("title", column.title),
                rectangle(left, floor - tall, wide, tall, "track"),
                rectangle(left, floor - filled, wide, filled, "full"),
                label(left + wide / 2, floor - tall - 6, top, f"value {odd}"),
                label(left + wide / 2, HEIGHT - 7, column.label if labelled else "", f"tick {odd}"),
            )
        )
    base = element("line", x1="0", x2="100%", y1=f"{HEIGHT - BELOW}.5", y2=f"{HEIGHT - BELOW}.5", class_="axis")
    return picture(
        name, HEIGHT, *marks, base, *(mark for place, bound in enumerate(bounds) for mark in across(bound, place))
    )


def across(bound: Bound, place: int) -> tuple[Markup, Markup]:
    """A bound as a line and its words, which stand towards the middle; of several, each lower."""
    x, top = f"{bound.across:.3f}%", ABOVE + 16 * place
    anchor, shift = ("start", "5") if bound.across < 50 else ("end", "-5")
    line = element("line", x1=x, x2=x, y1="4", y2=str(HEIGHT - BELOW), class_="bound")
    return line, element("text", bound.title, x=x, dx=shift, y=str(top), class_="bound over", text_anchor=anchor)


def rectangle(left: float, top: float, wide: float, tall: float, kind: str) -> Markup:
    """A rectangle: across in percent, down in pixels."""
    return element("rect", x=f"{left:.3f}%", y=f"{top:.1f}", width=f"{wide:.3f}%", height=f"{tall:.1f}", class_=kind)


def label(across: float, down: float, text: str, kind: str) -> Markup:
    """A word centred at a place."""
    return element("text", text, x=f"{across:.3f}%", y=f"{down:.1f}", class_=kind.strip(), text_anchor="middle")


def picture(name: str, height: int, *marks: Markup) -> Markup:
    """An image as wide as there is room."""
    return element("svg", *marks, role="img", aria_label=name, width="100%", height=str(height), class_="chart")


def bar(part: float, whole: float, kind: str = "full") -> Markup:
    """How much of `whole` a part is, in a cell beside the number that says so: of no use to those who hear it."""
    share = max(0.6, 100 * part / whole) if part and whole else 0.0
    mark = element("rect", width=f"{share:.2f}%", height="10", rx="2", class_=kind)
    return element("svg", mark, aria_hidden="true", width="100%", height="10", class_="bar")


def stack(name: str, parts: Sequence[tuple[str, int, str]]) -> Markup:
    """Parts of a whole side by side, of (what it tells, how much, kind), with a gap where there is room."""
    whole, left, marks = sum(count for _, count, _ in parts) or 1, 0.0, []
    for label, count, kind in parts:
        wide = 100 * count / whole
        seen = max(wide - 0.15, wide * 0.6) if len(parts) > 1 else wide
        mark = element("rect", x=f"{left:.3f}%", width=f"{seen:.3f}%", height="26", class_=kind)
        marks.append(element("g", element("title", label), mark))
        left += wide
    return element("svg", *marks, role="img", aria_label=name, width="100%", height="26", class_="stack")


@dataclass(frozen=True)
class Line:
    """One curve: what it is, and its points."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]


def lines(name: str, curves: Sequence[Line], across: str) -> Markup:
    """Curves over a shared scale; the lower edge is the least value, rounded down. `across` names the horizontal."""
    points = [point for curve in curves for point in curve.points]
    low, high = min(y for _, y in points), max(y for _, y in points)
    flat = high - low <= max(abs(high), 1.0) * 1e-9  # closer together than numbers can be told apart in a picture
    step = nice_step(1.0 if flat else high - low)
    bottom = step * (low // step)
    top = max(high, bottom + step)
    last = max(x for x, _ in points) or 1
    tall = HEIGHT + 50 - ABOVE - BELOW

    def down(value: float) -> float:
        return ABOVE + tall * (1 - (value - bottom) / (top - bottom))

    grid, ticks, mark = [], [], bottom
    while mark <= top + step / 1000:
        y = f"{down(mark):.1f}"
        grid.append(element("line", x1="0", x2="100%", y1=y, y2=y, class_="grid"))
        ticks.append(element("text", decimal(mark), x="2", y=f"{down(mark) - 4:.1f}", class_="tick over"))
        mark += step
    drawn = [
        element(
            "polyline",
            points=" ".join(f"{1000 * x / last:.1f},{down(y) - ABOVE:.1f}" for x, y in curve.points),
            class_=f"curve {curve.kind}",
            vector_effect="non-scaling-stroke",
        )
        for curve in curves
    ]
    inner = element(
        "svg",
        *drawn,
        viewBox=f"0 0 1000 {tall}",
        preserveAspectRatio="none",
        x="0",
        y=str(ABOVE),
        width="100%",
        height=str(tall),
        overflow="visible",
    )
    words = [
        element("text", f"{across} 0", x="0", y=str(HEIGHT + 43), class_="tick"),
        element("text", short(last), x="100%", y=str(HEIGHT + 43), class_="tick", text_anchor="end"),
    ]
    return picture(name, HEIGHT + 50, *grid, inner, *ticks, join(*words))


def nice_step(span: float) -> float:
    """A distance of marks, 1, 2 or 5 times a power of ten, so that there are three to six of them."""
    size = 1.0
    while size * 4 < span:
        size *= 10
    while size * 4 > span * 10:
        size /= 10
    return next((size * factor / 10 for factor in (1, 2, 5) if span / (size * factor / 10) <= 6), size)
