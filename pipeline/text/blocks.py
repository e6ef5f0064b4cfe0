"""A page as blocks: runs of text that no block-level tag interrupts, each with the elements that hold it.

Choice: one pass of lxml's parser in its target form, which builds no tree, so that neither depth nor size of a page has
a limit at which text is cut silently: 100,000 nested elements are 100,000 rows of a list. What scripts would add is not
seen; what stands in `noscript` is, because Discourse keeps its posts there. Cost: a callback a tag, 3 ms for a page of
230 kB. Alternative: a tree and a walk over it, as fast on ordinary pages and cut by libxml2 on deep ones.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

from lxml import etree

# Elements whose text no reader sees as such.
UNREAD = frozenset({
    "annotation", "annotation-xml", "audio", "canvas", "datalist", "embed", "iframe", "map", "noembed", "noframes",
    "object", "script", "select", "style", "svg", "template", "textarea", "video",
})  # fmt: skip
INLINE = frozenset({
    "a", "abbr", "acronym", "area", "b", "base", "basefont", "bdi", "bdo", "big", "blink", "cite", "code", "data",
    "del", "dfn", "em", "font", "head", "i", "img", "input", "ins", "kbd", "label", "link", "mark", "math", "meta",
    "meter", "mi", "mn", "mo", "mrow", "ms", "msub", "msup", "mtext", "nobr", "output", "param", "picture",
    "progress", "q", "rp", "rt", "ruby", "s", "samp", "semantics", "small", "source", "span", "strike", "strong",
    "sub", "sup", "time", "track", "tt", "u", "var", "wbr",
})  # fmt: skip
BREAK = "\u2028"  # stands for <br>: HTML's own white space never holds it, and `normalize.clean` makes it a newline

# What an element says about itself, one bit each: by its tag or role, then by words in its class or id.
KINDS = (
    "nav", "header", "footer", "aside", "main", "article", "section", "form", "table", "list", "figure", "blockquote",
    "noscript", "hidden",
)  # fmt: skip
NAMES = {
    "content": r"content|article|story|entry|main|body(?!-?class)|text|markdown|prose|rich",
    "post": r"post|message|msg|thread|topic|reply|answer|question|bbcode",
    "comment": r"comment|disqus|discuss|respond",
    "menu": r"nav|menu|crumb|toc\b|tab(?:s|list)?\b|paginat|pager",
    "side": r"sidebar|side-|rail|widget|aside|column-?(?:right|left)|secondary",
    "foot": r"foot|copyright|legal|disclaimer",
    "head": r"header|masthead|banner|topbar|logo|hero",
    "related": r"related|recommend|more-|also|popular|trending|latest|similar|recent|carousel|slider|promo|teaser",
    "advert": r"\bads?\b|advert|sponsor|cookie|consent|modal|popup|overlay|newsletter|subscri|sign-?up|login|paywall",
    "about": r"meta|byline|author|date|time\b|tags?\b|categor|profile|avatar|user|signature|rating|stats|info",
    "share": r"share|social|follow|facebook|twitter|print|toolbar|action|button|btn",
    "title": r"title|headline|heading",
    "product": r"product|price|cart|sku|description|detail|spec|feature",
    "items": r"list|grid|card|item|result|archive|feed",
    "code": r"code|highlight|example|doc|api|refer|param|signature|method|function",
    "unseen": r"hidden|sr-only|screen-reader|collapse|visually|invisible|skip",
}
BIT = {name: 1 << place for place, name in enumerate((*KINDS, *NAMES))}
PATTERNS = [(BIT[name], re.compile(pattern)) for name, pattern in NAMES.items()]
TAG_BIT = {tag: BIT[tag] for tag in KINDS if tag not in {"list", "hidden"}}
TAG_BIT |= dict.fromkeys(("ul", "ol", "dl"), BIT["list"])
ROLE_BIT = {
    "navigation": BIT["nav"], "banner": BIT["header"], "contentinfo": BIT["footer"], "complementary": BIT["aside"],
    "main": BIT["main"], "article": BIT["article"],
}  # fmt: skip
NAMES_CHARS = 300  # of class and id that are looked at
KIND = re.compile(r"og:type|generator")
SCHEMA_JSON = re.compile(r'"@type"\s{0,9}:\s{0,9}\[?\s{0,9}"(\w{1,40})"')  # two patterns: each begins with letters,
SCHEMA_MICRO = re.compile(r"itemtype=[\"']?https?://schema\.org/(\w{1,40})")  # which is ten times as fast to look for
DIGITS = re.compile(r"\d+")
SPACE = re.compile(r"[ \t\n\r\f]+")  # HTML's own


class Blocks:
    """What the parser saw, in parallel lists; a target of lxml's parser, which calls start, data, end and close.

    Of block i: `texts[i]`, `link_chars[i]` of it within links, `links[i]` begun in it, `holder[i]`, the element it
    stands in. Of block-level element e, in document order, 0 the page itself: `parent[e]` (-1 above the page),
    `tag[e]`, `own[e]` and `inherited[e]` (bits of BIT), `depth[e]`, `end_of[e]` (its descendants are e+1 to
    end_of[e]-1), and `alike[e]`, a number that elements of the same tags and classes up to the page share.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.link_chars: list[int] = []
        self.links: list[int] = []
        self.holder: list[int] = []
        self.parent, self.tag, self.own, self.inherited = [-1], ["html"], [0], [0]
        self.depth, self.end_of, self.alike = [0], [1], [0]
        self.title = ""  # of the page
        self.kinds: set[str] = set()  # what it says it is, lower-cased: Open Graph's, schema.org's, its software's
        self.paths: dict[tuple[int, str, str], int] = {}
        self.open = [0]
        self.pieces: list[str] = []
        self.unread = self.inlink = self.breaks = self.piece_links = self.piece_link_chars = 0
        self.in_title = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        if self.unread or tag in UNREAD:
            self.unread += tag in UNREAD
        elif tag in INLINE:
            if tag == "a":
                self.inlink += 1
                self.piece_links += 1
            elif tag == "meta" and KIND.fullmatch(attributes.get("property", attributes.get("name", ""))):
                self.kinds.add(attributes.get("content", "").strip().lower()[:NAMES_CHARS])
        elif tag == "br":
            self.breaks += 1
            if self.breaks == 2:  # two in a row part paragraphs
                self.flush()
            self.pieces.append(BREAK)
        elif tag == "title":
            self.in_title = True
        else:
            self.flush()
            self.begin(tag, attributes)

    def begin(self, tag: str, attributes: Mapping[str, str]) -> None:
        """A block-level element begins."""
        above = self.open[-1]
        bits, classes = TAG_BIT.get(tag, 0), ""
        if attributes:
            more, classes = looks(attributes.get("class", "")[:NAMES_CHARS], attributes.get("id", "")[:NAMES_CHARS])
            bits |= more
            if "role" in attributes:
                bits |= ROLE_BIT.get(attributes["role"], 0)
            if is_hidden(attributes):
                bits |= BIT["hidden"]
        path = (self.alike[above], tag, classes)
        self.open.append(len(self.parent))
        self.parent.append(above)
        self.tag.append(tag)
        self.own.append(bits)
        self.inherited.append(self.inherited[above] | bits)
        self.depth.append(len(self.open) - 1)
        self.end_of.append(0)
        self.alike.append(self.paths.setdefault(path, len(self.paths) + 1))

    def end(self, tag: str) -> None:
        """An element ends; the parser ends every element that it began."""
        if self.unread:
            self.unread -= tag in UNREAD
        elif tag in INLINE:
            self.inlink -= tag == "a" and self.inlink > 0
        elif tag == "title":
            self.in_title = False
        elif tag != "br":
            self.flush()
            if len(self.open) > 1:
                self.end_of[self.open.pop()] = len(self.parent)

    def data(self, text: str) -> None:
        """Characters between two tags."""
        if self.unread:
            return
        if self.in_title:
            self.title += text
            return
        self.pieces.append(text)
        if not text.isspace():
            self.breaks = 0
            if self.inlink:
                self.piece_link_chars += len(text.strip())

    def flush(self) -> None:
        """What was gathered since the last block-level tag becomes a block, unless it is blank."""
        if self.pieces:
            text = "".join(self.pieces)
            self.pieces = []
            if not text.isspace():
                self.texts.append(text)
                self.link_chars.append(self.piece_link_chars)
                self.links.append(self.piece_links)
                self.holder.append(self.open[-1])
        self.piece_links = self.piece_link_chars = self.breaks = 0

    def close(self) -> Blocks:
        """The page ends."""
        self.flush()
        while self.open:
            self.end_of[self.open.pop()] = len(self.parent)
        return self


def is_hidden(attributes: Mapping[str, str]) -> bool:
    """Whether an element says that it is not shown."""
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or "display:none" in attributes.get("style", "").replace(" ", "")
    )


@functools.lru_cache(20_000)
def looks(classes: str, name: str) -> tuple[int, str]:
    """(bits of NAMES that class and id hold, the class with its numbers alike); the same few come again and again."""
    both = f"{classes} {name}".lower()
    return sum(bit for bit, pattern in PATTERNS if pattern.search(both)), DIGITS.sub("0", classes)


def read(page: str) -> Blocks:
    """The blocks of a page, in order; never raises for what a page may hold but MemoryError."""
    if not page or page.isspace():
        return Blocks().close()
    parser = etree.HTMLParser(encoding="utf-8", target=Blocks(), huge_tree=True)
    found: Blocks = etree.fromstring(page.encode("utf-8", "replace"), parser)
    found.kinds.update(name.lower() for form in (SCHEMA_JSON, SCHEMA_MICRO) for name in form.findall(page))
    return found


def write(blocks: Blocks, chosen: Sequence[int]) -> str:
    """The chosen blocks as text: a blank line between paragraphs, one line an item, a row of cells on one line."""
    parts: list[str] = []
    above, items = -1, set[int]()
    for block in chosen:
        holder = blocks.holder[block]
        item = item_of(blocks, holder)
        if parts:
            parts.append(gap(blocks, above, holder))
        if item and blocks.tag[item] == "li" and item not in items:
            parts.append("- ")
            items.add(item)
        text = blocks.texts[block]
        parts.append(text if blocks.tag[holder] == "pre" else SPACE.sub(" ", text).strip())
        above = holder
    return "".join(parts)


def item_of(blocks: Blocks, element: int) -> int:
    """The list item that is the element or its parent; 0 = none."""
    return next((e for e in (element, max(blocks.parent[element], 0)) if blocks.tag[e] in {"li", "dt", "dd"}), 0)


def gap(blocks: Blocks, first: int, second: int) -> str:
    """What stands between the texts of two elements that follow each other."""
    up, beside = blocks.parent[first], blocks.parent[second]
    if up == beside and first != second and blocks.tag[up] == "tr":
        return " | "
    rows = blocks.tag[up] == blocks.tag[beside] == "tr" and blocks.parent[up] == blocks.parent[beside]
    return "\n" if rows or (item_of(blocks, first) and item_of(blocks, second)) else "\n\n"
