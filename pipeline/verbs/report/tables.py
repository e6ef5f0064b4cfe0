"""Tables and figures of the page: a caption that says what is shown, headers with their scope."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.verbs.report.markup import Markup, element, join

NARROW = 4  # a table of more columns scrolls within itself on a phone, also by keyboard
KINDS: dict[str, dict[str, str]] = {
    "": {},
    "n": {"class_": "n"},
    "b": {"class_": "b"},
}  # of a column: words, numbers, bars


def table(title: str, about: str, heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> Markup:
    """A table. `heads` are (name, kind) of its columns; the first names the row, bars are for the eye."""
    kinds = [kind for _, kind in heads]
    head = [
        element("td", **KINDS[kind]) if kind == "b" else element("th", name, scope="col", **KINDS[kind])
        for name, kind in heads
    ]
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell, **KINDS[kind]) for cell, kind in zip(row[1:], kinds[1:], strict=True)),
        )
        for row in rows
    ]
    made = element(
        "table",
        caption("caption", title, about),
        element("thead", element("tr", *head)),
        element("tbody", *body),
    )
    if len(kinds) - kinds.count("b") <= NARROW:
        return made
    return element("div", made, class_="scroll", role="region", aria_label=title, tabindex="0")


def caption(name: str, title: str, about: str) -> Markup:
    """A heading, and below it what one should know to read what follows."""
    return element(name, element("h3", title), about)


def figure(title: str, about: str, *parts: Markup) -> Markup:
    """A chart with its caption."""
    return element("figure", caption("figcaption", title, about), *parts)


def fold(title: str, *parts: Markup) -> Markup:
    """What is there for those who ask."""
    return element("details", element("summary", title), *parts)


def keys(*entries: tuple[str, str]) -> Markup:
    """What the colours of a chart mean, as (colour, meaning)."""
    items = (element("li", element("span", class_=f"key {kind}", aria_hidden="true"), what) for kind, what in entries)
    return element("ul", *items, class_="keys")


def paragraph(*words: str, kind: str = "") -> Markup:
    """A paragraph."""
    return element("p", join(*words), **({"class_": kind} if kind else {}))


def missing(sentence: str) -> Markup:
    """A sentence in the place of what cannot be shown."""
    return paragraph(sentence, kind="missing")


def pair(*parts: Markup) -> Markup:
    """Things side by side where there is room."""
    return element("div", *parts, class_="pair")
