"""A page as blocks: runs of text that no block-level tag interrupts, each with the elements that hold it.

Choice: one pass of lxml's parser in its target form, which builds no tree, so that neither depth nor size of a page has
a limit at which text is cut silently: 100,000 nested elements are 100,000 rows of a list. What scripts would add is not
seen; what stands in `noscript` is, because Discourse keeps its posts there. Cost: a callback a tag, 3 ms for a page of
230 kB. Alternative: a tree and a walk over it, as fast on ordinary pages and cut by libxml2 on deep ones.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from lxml import etree

from pipeline.text.formula import Formula
from pipeline.text.names import BIT, NAMES_CHARS, ROLE_BIT, TAG_BIT, looks
from pipeline.text.shortcodes import SHORTCODE

# Elements that begin and end a line: `display` block, list item or table in HTML's own style sheet (WHATWG HTML, 15.3).
# All others are inline, unknown ones too: in "in <st1:City>Paris</st1:City>" no line ends. Three stand here against the
# letter of it, because they part text: button (an inline block), noscript and option.
BLOCK = frozenset({
    "address", "article", "aside", "blockquote", "body", "button", "caption", "center", "col", "colgroup", "dd",
    "details", "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "frame",
    "frameset", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "html", "legend", "li", "listing",
    "main", "marquee", "menu", "nav", "noscript", "ol", "optgroup", "option", "p", "plaintext", "pre", "search",
    "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul", "xmp",
})  # fmt: skip
# Elements whose text no reader sees as such; of the first group, which hold what is shown instead of something, only
# as long as they are closed: an end tag that is missing must not cost the page.
INSTEAD = frozenset({
    "applet", "audio", "canvas", "datalist", "iframe", "noembed", "noframes", "object", "select", "svg", "video",
})  # fmt: skip
UNREAD = INSTEAD | {"script", "style", "template", "textarea"}
SPECIAL = UNREAD | {"title", "meta", "math"}
SHADOW = ("shadowrootmode", "shadowroot")  # a template with one is shown (WHATWG HTML, 13.2.6.4.4; Chrome 90 to 110)
PICTURE = re.compile(r"katex-html|mjx-math|mjx-chtml|MathJax")  # a formula once more, laid out sign by sign
LONG = 100  # characters that stand in place of something; more may be the rest of the page
BREAK = "\u2028"  # stands for <br>: HTML's own white space never holds it, and `normalize.clean` makes it a newline

DESCRIPTION = re.compile(r"(?:og:|twitter:|dc\.)?description")
DESCRIBED_CHARS = 1_000
KIND = re.compile(r"og:type|generator")
UNSHOWN = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))\b", re.IGNORECASE)
SCHEMA_JSON = re.compile(r'"@type"\s{0,9}:\s{0,9}\[?\s{0,9}"(\w{1,40})"')  # two patterns: each begins with letters,
SCHEMA_MICRO = re.compile(r"itemtype=[\"']?https?://schema\.org/(\w{1,40})")  # which is ten times as fast to look for
SPACE = re.compile(r"[ \t\n\r\f]+")  # HTML's own


class Blocks:
    """What the parser saw, in parallel lists; a target of lxml's parser, which calls start, data, end and close.

    Of block i: `texts[i]`, `link_chars[i]` of it within links, `links[i]` begun in it, `holder[i]`, the element it
    stands in. Of block-level element e, in document order, 0 the page itself: `parent[e]` (-1 above the page),
    `tag[e]`, `own[e]` and `inherited[e]` (bits of BIT), `depth[e]`, `end_of[e]` (its descendants are e+1 to
    end_of[e]-1), `alike[e]`, a number that elements of the same tags and classes up to the page share, and `look[e]`,
    one that elements of the same tag and classes share wherever they stand.
    """

    def __init__(self, formulas: bool = False) -> None:
        self.texts: list[str] = []
        self.link_chars: list[int] = []
        self.links: list[int] = []
        self.holder: list[int] = []
        self.elements = [(-1, "html", 0, 0, 0, 0, 0)]  # what `close` makes lists of
        self.end_of = [1]
        self.title = ""  # of the page
        self.description = ""  # of the page: the longest of those that it gives
        self.kinds: set[str] = set()  # what it says it is, lower-cased: Open Graph's, schema.org's, its software's
        self.paths: dict[tuple[int, str, str], int] = {}
        self.looks: dict[tuple[str, str], int] = {}
        self.open = [(0, "html", 0, 0)]  # number, tag, inherited, alike
        self.pieces: list[str] = []
        self.inlink = self.breaks = self.piece_links = self.piece_link_chars = 0
        self.in_title = False
        self.formulas = formulas  # whether there are any on the page
        self.unread, self.within = 0, ""  # elements named `within`, in one another, of which nothing is read
        self.passed_over = 0  # characters in them, block-level tags counted as LONG
        self.doubtful: set[str] = set()  # elements that much was passed over in
        self.formula: Formula | None = None  # in which we are; then `unread` is 1

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        if self.unread and not self.leaves_formula(tag):
            if self.formula:
                self.formula.begin(local_name(tag), attributes)
            elif tag == self.within:
                self.unread += 1
            elif tag in BLOCK:
                self.passed_over += LONG
        elif tag in BLOCK:
            self.begin(tag, attributes)
        elif tag == "a":
            self.inlink += 1
            self.piece_links += 1
        elif tag == "br":
            self.breaks += 1
            if self.breaks == 2:  # two in a row part paragraphs
                self.flush()
            self.pieces.append(BREAK)
        elif tag in SPECIAL:
            self.start_special(tag, attributes)
        elif self.formulas:
            if local_name(tag) == "math":
                self.start_special("math", attributes)
            elif attributes.get("aria-hidden") == "true" and is_picture(tag, attributes):
                self.unread, self.within, self.passed_over = 1, tag, 0

    def start_special(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins that is read in a way of its own, or not."""
        if tag == "title":
            self.in_title = True
        elif tag == "meta":
            if KIND.fullmatch(attributes.get("property", attributes.get("name", ""))):
                self.kinds.add(attributes.get("content", "").strip().lower()[:NAMES_CHARS])
            elif DESCRIPTION.fullmatch(attributes.get("property", attributes.get("name", "")).lower()):
                self.description = max(self.description, attributes.get("content", "")[:DESCRIBED_CHARS], key=len)
        elif tag == "math":
            self.unread, self.formula = 1, Formula(attributes)
        elif tag != "template" or not any(name in attributes for name in SHADOW):
            self.unread, self.within, self.passed_over = 1, tag, 0

    def begin(self, tag: str, attributes: Mapping[str, str]) -> None:
        """A block-level element begins."""
        if self.pieces or self.piece_links:
            self.flush()
        above, _, inherited, alike = self.open[-1]
        bits, classes = TAG_BIT.get(tag, 0), ""
        if attributes:
            find = attributes.get
            more, classes = looks(find("class", ""), find("id", ""), find("itemprop", ""))
            bits |= more
            if "role" in attributes:
                bits |= ROLE_BIT.get(attributes["role"], 0)
            if is_hidden(attributes):
                bits |= BIT["hidden"]
        inherited |= bits
        alike = self.paths.setdefault((alike, tag, classes), len(self.paths) + 1)
        look = self.looks.setdefault((tag, classes), len(self.looks) + 1)
        number = len(self.elements)
        self.elements.append((above, tag, bits, inherited, len(self.open), alike, look))
        self.end_of.append(0)
        self.open.append((number, tag, inherited, alike))

    def end(self, tag: str) -> None:
        """An element ends; the parser ends every element that it began."""
        if self.unread:
            if self.formula is None:
                self.unread -= tag == self.within
                if not self.unread and self.passed_over >= LONG:
                    self.doubtful.add(tag)
            elif local_name(tag) == "math":
                self.end_formula()
            else:
                self.formula.end()
        elif tag in BLOCK:
            if self.pieces or self.piece_links:
                self.flush()
            if len(self.open) > 1:
                self.end_of[self.open.pop()[0]] = len(self.elements)
        elif tag == "a":
            self.inlink -= self.inlink > 0
        elif tag == "title":
            self.in_title = False

    def leaves_formula(self, tag: str) -> bool:
        """Whether a tag ends a formula that was never closed, as HTML's block-level tags do (13.2.6.5)."""
        if self.formula is None or tag not in BLOCK:
            return False
        self.end_formula()
        return True

    def end_formula(self) -> None:
        """The formula becomes text; one that is displayed has a line to itself within its sentence."""
        formula, self.formula, self.unread = self.formula, None, 0
        if formula is not None and formula.text():
            edge = BREAK if formula.root.attributes.get("display") == "block" else ""
            self.data(f"{edge}{formula.text()}{edge}")

    def data(self, text: str) -> None:
        """Characters between two tags."""
        if self.unread:
            if self.formula:
                self.formula.data(text)
            self.passed_over += len(text)
            return
        if self.in_title:
            self.title += text
            return
        self.pieces.append(text)
        if (self.breaks or self.inlink) and not text.isspace():
            self.breaks = 0
            if self.inlink:
                self.piece_link_chars += len(text.strip())

    def flush(self) -> None:
        """What was gathered since the last block-level tag becomes a block, unless it is blank."""
        if self.pieces:
            text = "".join(self.pieces)
            self.pieces = []
            holder, tag, *_ = self.open[-1]
            if "[" in text and tag != "pre":
                text = SHORTCODE.sub("", text)
            if text and not text.isspace():
                self.texts.append(text)
                self.link_chars.append(self.piece_link_chars)
                self.links.append(self.piece_links)
                self.holder.append(holder)
        self.piece_links = self.piece_link_chars = self.breaks = 0

    def close(self) -> Blocks:
        """The page ends."""
        self.end_formula()
        self.flush()
        while self.open:
            self.end_of[self.open.pop()[0]] = len(self.elements)
        columns = map(list, zip(*self.elements, strict=True))
        self.parent, self.tag, self.own, self.inherited, self.depth, self.alike, self.look = columns
        return self


def is_hidden(attributes: Mapping[str, str]) -> bool:
    """Whether an element says that it is not shown."""
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or UNSHOWN.search(attributes.get("style", "")) is not None
    )


def local_name(tag: str) -> str:
    """The name without its prefix, which HTML makes part of it and XHTML does not: m:math."""
    return tag.rpartition(":")[2]


def is_picture(tag: str, attributes: Mapping[str, str]) -> bool:
    """Whether an element that is hidden from screen readers shows what a formula beside it says."""
    return tag == "nobr" or PICTURE.search(attributes.get("class", "")) is not None


def read(page: str) -> Blocks:
    """The blocks of a page, in order; never raises for what a page may hold but MemoryError."""
    if not page or page.isspace():
        return Blocks().close()
    found = blocks_of(page)
    while swallowed := [tag for tag in sorted(found.doubtful & INSTEAD) if is_never_closed(page, tag)]:
        page = re.sub(rf"<(/?)(?:{'|'.join(swallowed)})(?![\w:.-])", r"<\1span", page, flags=re.IGNORECASE)
        found = blocks_of(page)
    found.kinds.update(name.lower() for form in (SCHEMA_JSON, SCHEMA_MICRO) for name in form.findall(page))
    return found


def blocks_of(page: str) -> Blocks:
    """What the parser sees of a page."""
    parser = etree.HTMLParser(encoding="utf-8", target=Blocks("<math" in page or ":math" in page), huge_tree=True)
    found: Blocks = etree.fromstring(page.encode("utf-8", "replace"), parser)
    return found


def is_never_closed(page: str, tag: str) -> bool:
    """Whether more elements of a kind begin than end; the parser ends all of them somewhere."""
    ends = Counter(re.findall(rf"<(/?){tag}(?![\w:.-])", page, re.IGNORECASE))
    return ends[""] > ends["/"]


def write(blocks: Blocks, chosen: Sequence[int]) -> str:
    """The chosen blocks as text: a blank line between paragraphs, one line an item, a row of cells on one line."""
    parts: list[str] = []
    above, items = -1, set[int]()
    of_paragraphs = {this for this, other in pairwise(blocks.holder) if this == other}
    for block in chosen:
        holder = blocks.holder[block]
        item = item_of(blocks, holder)
        if parts:  # what two breaks part is paragraphs wherever it stands, and its neighbours are no cells of a row
            parts.append("\n\n" if {above, holder} & of_paragraphs else gap(blocks, above, holder))
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
    if up == beside and blocks.tag[up] == "tr":
        return " | "
    rows = blocks.tag[up] == blocks.tag[beside] == "tr" and blocks.parent[up] == blocks.parent[beside]
    return "\n" if rows or (item_of(blocks, first) and item_of(blocks, second)) else "\n\n"
