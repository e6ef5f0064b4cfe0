"""Text from anywhere made safe to stand in HTML and in Markdown.

Choice: elements are made by one function that escapes every child that is not markup already, so that a title can be
forgotten nowhere. Cost: pages are written as calls. Alternative: a template language, and a dependency for one page.
"""

from __future__ import annotations

import html
import re
import unicodedata

VOID = ("col", "hr", "meta", "rect", "line", "polyline", "circle")
# What turns the direction of the text around it (unicode.org/reports/tr9, tables 3 and 4), and marks that nobody sees.
INVISIBLE = re.compile(
    "[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\U000e0000-\U000e007f]"
)
# What means something in Markdown within a line (CommonMark 0.31, GFM, and `$` of the Hub), beginnings of addresses,
# of entities and of emoji among it, and no more, so that an ordinary text can be read in the file too.
SPECIAL = re.compile(r"[\\`*_\[\]<|~$@]|&(?=#?\w+;)|:(?=//|[\w+-]+:)|(?<=www)\.", re.IGNORECASE)


class Markup(str):
    """HTML that is safe as it stands."""

    __slots__ = ()


def plain(text: str, limit: int = 0) -> str:
    """The text as one line that does nothing to its surroundings; cut with an ellipsis after `limit` characters."""
    seen = INVISIBLE.sub("", text)
    seen = "".join(" " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character for character in seen)
    seen = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(character) == "Cs" else character for character in seen
    )
    line = " ".join(seen.split())
    return line[: limit - 1].rstrip() + "…" if limit and len(line) > limit else line


def markdown(text: str, limit: int = 0) -> str:
    """The text as Markdown that shows it literally, within a line or a cell of a table, not at the head of a line."""
    return SPECIAL.sub(r"\\\g<0>", plain(text, limit))


def code(text: str, limit: int = 0) -> str:
    """The text as Markdown's code, which shows it literally too, within a cell of a table."""
    shown = plain(text, limit)
    if not shown:
        return "–"
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    blank = " " if shown[0] == "`" or shown[-1] == "`" else ""
    return f"{fence}{blank}{shown}{blank}{fence}".replace("|", r"\|")


def element(name: str, *children: str, **attributes: str) -> Markup:
    """An HTML or SVG element. Children that are no Markup are escaped, attributes always.

    An underscore at the end of an attribute's name is dropped, any other becomes a hyphen: `class_`, `aria_label`.
    """
    attributes_text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(plain(value))}"' for key, value in attributes.items()
    )
    return (
        Markup(f"<{name}{attributes_text}>")
        if name in VOID and name in ("col", "hr", "meta")
        else closed(name, attributes_text, children)
    )


def closed(name: str, attributes: str, children: tuple[str, ...]) -> Markup:
    """An element with its end."""
    return Markup(f"<{name}{attributes}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Children one after another, escaped where they are no Markup."""
    return Markup(
        "".join(child if isinstance(child, Markup) else html.escape(plain_spaced(child)) for child in children)
    )


def plain_spaced(text: str) -> str:
    """`plain`, but for the blanks at both ends, which stand between words and elements."""
    line = plain(text)
    before = " " if text[:1].isspace() and line else ""
    after = " " if text[-1:].isspace() and line else ""
    return before + line + after


def foreign(text: str | None, limit: int = 120) -> Markup:
    """A title or a text from the web: isolated, so that its direction stays its own. None and "" are a dash."""
    shown = plain(text or "", limit)
    return element("bdi", shown) if shown else element("span", "no title", class_="soft")


def address(url: str, limit: int = 90) -> Markup:
    """An address from the web: to be read, and never a link."""
    return element("code", plain(url, limit), class_="far", dir="ltr")
