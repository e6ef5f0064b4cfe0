"""What a block classifier looks at: a row of numbers for every block of a page.

Choice: about a hundred numbers in six groups: the words of a block, the elements that hold it, how full of prose those
are, where it stands, its neighbours, and the blocks that are laid out alike (the posts of a thread, the cards of a
shop), which shallow features miss (Kohlschütter et al. 2010 used words, links and neighbours). Only the first group is
a loop; the rest is arithmetic on arrays. Counts are whole numbers, so that every processor gives the same. Cost: about
15 µs a block. Alternative: a language model over the page, at seconds a page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.text.blocks import BIT, Blocks

Numbers = npt.NDArray[Any]
Columns = dict[str, Numbers]

HEAD_CHARS = 300  # of a block in which dates and furniture are looked for: those are short
READ_CHARS = 1_500  # of a block; longer ones are counted by their beginning
COUNTED_WORDS = 40  # in which capitals and stop words are counted
PROSE_WORDS, PROSE_LINKS = 10, 0.4  # a block of prose: at least as many words, a lower share in links, and a full stop
CORE_SHARE = 0.6  # of a page's prose that its core holds
FAR = 60  # blocks; further is as far

TAGS = (
    "p", "li", "h1", "h2", "h3", "h4", "h5", "h6", "td", "th", "dt", "dd", "pre", "blockquote", "div", "section",
    "article", "main", "body", "figcaption", "button", "option", "address", "summary", "noscript", "center",
    "header", "footer", "aside", "nav", "form", "ul", "ol", "table", "tr", "figure", "details", "fieldset",
    "legend", "caption",
)  # fmt: skip
TAG_NUMBER = {tag: number for number, tag in enumerate(TAGS, 1)}
# What a page says it is (Open Graph, schema.org, its software), and what its address says.
SAYS = {
    "article": r"article|newsarticle|blogposting|reportagenewsarticle|techarticle",
    "website": r"website|webpage|organization",
    "shop": r"product|productgroup|offer|aggregateoffer",
    "thread": r"discussionforumposting|qapage|question|(?:discourse|phpbb|vbulletin|xenforo|nodebb|mybb|flarum)\b.*",
    "remarks": r"comment|usercomments",
    "items": r"collectionpage|itemlist|listitem|searchresultspage",
}
ADDRESS = {
    "thread": r"forum|thread|topic|communit|boards?\b|discuss|/t/|questions?/|viewtopic|comments/|/r/",
    "manual": r"\bdocs?\b|/api|reference|manual|guide|tutorial|learn|wiki|man\d|documentation|stable|latest",
    "shop": r"products?\b|shop|store|/p/|/dp/|item|collection|categor|/c/|/b/",
    "story": r"/20\d\d/|/20\d\d-|blog|news|article|story|/posts?/",
    "root": r"^https?://[^/]*/?(?:\?.*)?$",
}
SAYS_PATTERNS = {name: re.compile(pattern) for name, pattern in SAYS.items()}
ADDRESS_PATTERNS = {name: re.compile(pattern) for name, pattern in ADDRESS.items()}
STOP_WORDS = frozenset({
    "the", "of", "and", "to", "a", "in", "is", "that", "for", "it", "was", "on", "are", "as", "with", "be", "this",
    "by", "at", "i", "you", "from", "or", "have", "an", "not", "but", "they", "we", "his", "her", "he", "she",
    "which",
})  # fmt: skip
WORD = re.compile(r"\w+")
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")  # scripts without spaces
UNSPACED_CHARS = 2  # a word of such scripts
SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*(?:\s|$)")
DIGIT = re.compile(r"[0-9]")
DATE = re.compile(
    r"\b(?:(?:19|20)\d\d|\d{1,2}:\d\d|ago|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6})\b"
)
FURNITURE = re.compile(
    r"©|copyright|all rights reserved|cookie|privacy|terms of|sign up|subscribe|newsletter|log ?in|sign in|share|follow"
    r" us|read more|click here|comments?\b|repl(?:y|ies)|related|advertisement|javascript|powered by|contact us"
    r"|add to (?:cart|bag)"
)
WORDINGS = (
    "words", "chars", "word_length", "link_share", "links", "commas", "ends", "terminal", "capitals", "stop_words",
    "digits", "date", "furniture", "capital", "in_title", "same_text", "same_before",
)  # fmt: skip
INHERITED = (
    "nav", "header", "footer", "aside", "main", "article", "section", "form", "table", "list", "hidden", "content",
    "post", "comment", "menu", "side", "foot", "related", "advert", "about", "share", "product", "items", "code",
    "unseen",
)  # fmt: skip
NEAR = (
    "content", "post", "comment", "menu", "side", "foot", "related", "advert", "about", "share", "title", "product",
    "code",
)  # fmt: skip


def features(blocks: Blocks, second: Sequence[float], url: str) -> Columns:
    """Name to one number a block (float32), for a page of at least one block.

    `second` is another engine's opinion of each block, 0 to 1; `url` may be "".
    """
    own = wording(blocks)
    words, links = own["words"], own["words"] * own["link_share"]
    prose = prose_words(own)
    columns = own | {"second": np.asarray(second)}
    columns |= elements(blocks) | containers(blocks, words, links, prose)
    columns |= places(blocks, words, prose) | neighbours(blocks, own, links, prose)
    columns |= groups(blocks, words, links, prose) | whole_page(blocks, words, links, prose)
    columns |= kinds(blocks, url)
    return {name: np.broadcast_to(column, words.shape).astype(np.float32) for name, column in columns.items()}


def prose_words(columns: Mapping[str, Numbers]) -> Numbers:
    """The words of each block that reads as prose, 0 of others; from what `wording` gives."""
    words, links = columns["words"], columns["link_share"]
    prose: Numbers = words * ((words >= PROSE_WORDS) & (columns["terminal"] == 1) & (links < PROSE_LINKS))
    return prose


def wording(blocks: Blocks) -> Columns:
    """Of the text of a block: lengths, links, punctuation, capitals, dates, furniture, and where else it stands."""
    title = set(WORD.findall(blocks.title.lower()))
    seen: Counter[str] = Counter()
    rows, keys = [], []
    for text, link_chars, links in zip(blocks.texts, blocks.link_chars, blocks.links, strict=True):
        read, start = text[:READ_CHARS], text[:HEAD_CHARS].lower()
        found = read.split() or ["."]
        scale = len(text) / len(read)
        chars = sum(map(len, found))
        count = len(found)
        if not read.isascii():
            count += len(UNSPACED.findall(read)) // UNSPACED_CHARS
        head = found[:COUNTED_WORDS]
        lower = [word.lower() for word in head]
        last = text[-READ_CHARS:].split()[-1:] or ["."]
        mark = last[0].rstrip("\"'”’)]」』")[-1:]
        key = " ".join(found)
        rows.append((
            round(count * scale), round(chars * scale), chars / count, min(1.0, link_chars / chars / scale),
            links, read.count(",") / count, len(SENTENCE_END.findall(read)) * scale if count > 2 else 0,
            1.0 if mark and mark in ".!?…。！？" else 0.5 if mark and mark in ":;," else 0.0,
            sum(map(str.isupper, [word[0] for word in head])) / len(head),
            sum(map(STOP_WORDS.__contains__, lower)) / len(head) if len(head) > 2 else 0.0,
            len(DIGIT.findall(read)) / chars, DATE.search(start) is not None, len(FURNITURE.findall(start)),
            found[0][0].isupper(), sum(map(title.__contains__, lower)) / len(head), 0, seen[key],
        ))  # fmt: skip
        seen[key] += 1
        keys.append(key)
    table = np.array(rows, np.float64)
    table[:, WORDINGS.index("same_text")] = [seen[key] for key in keys]
    return dict(zip(WORDINGS, table.T, strict=True))


def lines(blocks: Blocks) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """The element that holds each block, and the three above it."""
    parent = np.maximum(np.array(blocks.parent), 0)
    first = np.array(blocks.holder)
    return first, parent[first], parent[parent[first]], parent[parent[parent[first]]]


def elements(blocks: Blocks) -> Columns:
    """Of the elements that hold a block: tags, depth, what they say about themselves."""
    first, second, third, _ = lines(blocks)
    tags = np.array([TAG_NUMBER.get(tag, 0) for tag in blocks.tag])
    own, inherited = np.array(blocks.own), np.array(blocks.inherited)[first]
    near = own[first] | own[second] | own[third]
    columns = {"tag": tags[first], "tag_2": tags[second], "tag_3": tags[third], "depth": np.array(blocks.depth)[first]}
    columns |= {f"in_{name}": (inherited & BIT[name]) > 0 for name in INHERITED}
    return columns | {f"near_{name}": (near & BIT[name]) > 0 for name in NEAR}


def within(blocks: Blocks, amount: Numbers) -> Numbers:
    """Of every element: the sum of `amount` over all blocks in it, at any depth."""
    here = np.bincount(blocks.holder, amount, len(blocks.parent))
    total = np.concatenate([[0.0], np.cumsum(here)])
    sums: Numbers = total[np.array(blocks.end_of)] - total[:-1]
    return sums


def containers(blocks: Blocks, words: Numbers, links: Numbers, prose: Numbers) -> Columns:
    """Of the four nearest elements around a block: words, share in links, share of prose, words a block."""
    sums = [within(blocks, amount) for amount in (words, links, prose, np.ones_like(words))]
    columns: Columns = {}
    for level, element in enumerate(lines(blocks), 1):
        size, linked, good, count = (np.maximum(amount[element], 1e-9) for amount in sums)
        columns[f"around_{level}_words"] = size
        columns[f"around_{level}_links"] = linked / size
        columns[f"around_{level}_prose"] = good / size
        columns[f"around_{level}_mean"] = size / count
    return columns


def places(blocks: Blocks, words: Numbers, prose: Numbers) -> Columns:
    """Where a block stands: in the page, and to its core, the deepest element with most of its prose."""
    count, depth, end = len(words), np.array(blocks.depth), np.array(blocks.end_of)
    holder, parent = lines(blocks)[:2]
    good = within(blocks, prose)
    candidates = np.flatnonzero(good >= CORE_SHARE * prose.sum())
    core = candidates[np.lexsort((candidates, depth[candidates]))[-1]] if prose.any() else 0
    in_core = (holder >= core) & (holder < end[core])
    of_core = np.flatnonzero((prose > 0) & in_core)
    first, last = (of_core[0], of_core[-1]) if len(of_core) else (0, count - 1)
    by_parent = np.bincount(parent, prose, len(depth))
    top = int(by_parent.argmax())
    number = np.arange(count)
    return {
        "in_core": in_core,
        "core_depth": depth[holder] - depth[core],
        "core_words": within(blocks, words)[core] / words.sum(),
        "from_first": np.clip(number - first, -FAR, FAR),
        "from_last": np.clip(number - last, -FAR, FAR),
        "in_top": (holder >= top) & (holder < end[top]),
        "top_prose": by_parent[top] / max(prose.sum(), 1.0),
        "place": number / count,
        "words_so_far": np.cumsum(words) / words.sum(),
    }


def shifted(column: Numbers, by: int) -> Numbers:
    """The number of the block `by` places before (after, where negative); 0 beyond the ends."""
    moved = np.zeros_like(column)
    if by > 0:
        moved[by:] = column[:-by]
    else:
        moved[:by] = column[-by:]
    return moved


def neighbours(blocks: Blocks, own: Mapping[str, Numbers], links: Numbers, prose: Numbers) -> Columns:
    """Of the blocks beside a block, one by one and in windows of 5 and of 15 on both sides."""
    words, count = own["words"], len(links)
    alike = np.array(blocks.alike)[lines(blocks)[0]] + 1
    columns: Columns = {}
    for by, side in ((1, "before"), (-1, "after")):
        columns |= {f"{name}_{side}": shifted(own[name], by) for name in ("words", "link_share", "terminal", "capital")}
        columns[f"alike_{side}"] = shifted(alike, by) == alike
    number = np.arange(count)
    sums = [np.concatenate([[0.0], np.cumsum(amount)]) for amount in (words, links, prose)]
    for reach in (5, 15):
        low, high = np.maximum(number - reach, 0), np.minimum(number + reach + 1, count)
        size, linked, good = (amount[high] - amount[low] for amount in sums)
        columns[f"window_{reach}_mean"] = size / (high - low)
        columns[f"window_{reach}_links"] = linked / size
        columns[f"window_{reach}_prose"] = good / size
    return columns


def groups(blocks: Blocks, words: Numbers, links: Numbers, prose: Numbers) -> Columns:
    """Of all blocks whose element, or whose element's parent, has the same path of tags and classes."""
    alike = np.array(blocks.alike)
    columns: Columns = {}
    for name, element in (("group", lines(blocks)[0]), ("group_2", lines(blocks)[1])):
        group = alike[element]
        count, size, linked, good = (
            np.bincount(group, amount)[group] for amount in (np.ones_like(words), words, links, prose)
        )
        columns[f"{name}_count"] = count
        columns[f"{name}_words"] = size / words.sum()
        columns[f"{name}_mean"] = size / count
        columns[f"{name}_links"] = linked / size
        columns[f"{name}_prose"] = good / size
    return columns


def whole_page(blocks: Blocks, words: Numbers, links: Numbers, prose: Numbers) -> Columns:
    """Of the page: size, kind, and what share of its words stands in posts, comments, products, code."""
    tags, total = Counter(blocks.tag), words.sum()
    inherited = np.array(blocks.inherited)[blocks.holder]
    numbers = {
        "page_words": total,
        "page_blocks": len(words),
        "page_links": links.sum() / total,
        "page_prose": prose.sum() / total,
        "page_articles": tags["article"],
        "page_mains": tags["main"],
        "page_paragraphs": tags["p"],
        "page_items": tags["li"] / len(blocks.tag),
        "page_rows": tags["tr"],
    }
    for name in ("post", "comment", "product", "code"):
        numbers[f"page_{name}"] = words[(inherited & BIT[name]) > 0].sum() / total
    return {name: np.array(number) for name, number in numbers.items()}


def kinds(blocks: Blocks, url: str) -> Columns:
    """What the page says it is, and what its address says."""
    address = url.lower()
    says = {name: any(map(pattern.fullmatch, blocks.kinds)) for name, pattern in SAYS_PATTERNS.items()}
    at = {name: pattern.search(address) is not None for name, pattern in ADDRESS_PATTERNS.items()}
    return {f"says_{name}": np.array(flag) for name, flag in says.items()} | {
        f"address_{name}": np.array(flag) for name, flag in at.items()
    }
