"""What a block classifier looks at: a row of numbers for every block of a page.

Choice: about 170 numbers: the words of a block (`wording`), the elements that hold it, how full of prose those are,
where it stands, its neighbours, the heading above it, the list that it is an item of, and the blocks that are laid out
alike (the posts of a thread, the cards of a shop), which shallow features miss (Kohlschütter et al. 2010 used words,
links and neighbours). All but the words is arithmetic on arrays. Counts are whole numbers, so that every processor
gives the same. Cost: about 15 µs a block. Alternative: a language model over the page, at seconds a page.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.text.blocks import Blocks
from pipeline.text.names import BIT
from pipeline.text.wording import Columns, Numbers, prose_words, wording

CORE_SHARE = 0.6  # of a page's prose that its core holds
ITEM_LEVELS = 6  # elements above a block among which an item of a list is looked for
FAR = 60  # blocks; further is as far
EXACT = 1024.0  # words in links are multiples of 1/EXACT, whose sums are the same in any order

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
    "thread": (
        r"discussionforumposting|qapage|question|(?:discourse|phpbb|vbulletin|xenforo|nodebb|mybb|flarum|vanilla|smf"
        r"|simple machines|invision|ip\.board|punbb|fluxbb|bbpress|kunena|question2answer|askbot|phorum|jforum|discuz"
        r"|wbb|burning board|woltlab|lithium|khoros|lemmy)\b.*"
    ),
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
INHERITED = (
    "nav", "header", "footer", "aside", "main", "article", "section", "form", "table", "list", "hidden", "content",
    "post", "comment", "menu", "side", "foot", "related", "advert", "about", "share", "product", "items", "code",
    "unseen", "embed",
)  # fmt: skip
NEAR = (
    "content", "post", "comment", "menu", "side", "foot", "related", "advert", "about", "share", "title", "product",
    "code", "items",
)  # fmt: skip


def features(blocks: Blocks, second: Sequence[float], url: str) -> Columns:
    """Name to one number a block (float32), for a page of at least one block.

    `second` is another engine's opinion of each block, 0 to 1; `url` may be "".
    """
    own = wording(blocks)
    words, links = own["words"], np.rint(own["words"] * own["link_share"] * EXACT) / EXACT
    prose = prose_words(own)
    columns = own | {"second": np.asarray(second)}
    columns |= elements(blocks) | containers(blocks, words, links, prose)
    columns |= places(blocks, words, prose) | neighbours(blocks, own, links, prose)
    columns |= groups(blocks, words, links, prose) | items(blocks, words, links, prose)
    columns |= headings(blocks, own) | whole_page(blocks, own, links, prose) | kinds(blocks, url)
    table = np.empty((len(columns), len(words)), np.float32)
    for row, column in zip(table, columns.values(), strict=True):
        row[:] = column
    return dict(zip(columns, table, strict=True))


class Layout(NamedTuple):
    """What Blocks has of elements, as arrays; `parent` of the page is itself, `tags` are of TAG_NUMBER."""

    parent: Numbers
    depth: Numbers
    end: Numbers
    alike: Numbers
    look: Numbers
    own: Numbers
    inherited: Numbers
    tags: Numbers
    lines: tuple[Numbers, Numbers, Numbers, Numbers]  # the element that holds each block, and the three above it


@functools.lru_cache(1)
def layout(blocks: Blocks) -> Layout:
    """The arrays of a page, made once; whoever changes the lists of `blocks` copies it first."""
    parent = np.maximum(np.array(blocks.parent), 0)
    first = np.array(blocks.holder)
    above = first, parent[first], parent[parent[first]], parent[parent[parent[first]]]
    lists = (blocks.depth, blocks.end_of, blocks.alike, blocks.look, blocks.own, blocks.inherited)
    depth, end, alike, look, own, inherited = map(np.array, lists)
    tags = np.array([TAG_NUMBER.get(tag, 0) for tag in blocks.tag])
    return Layout(parent, depth, end, alike, look, own, inherited, tags, above)


def lines(blocks: Blocks) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """The element that holds each block, and the three above it."""
    return layout(blocks).lines


def elements(blocks: Blocks) -> Columns:
    """Of the elements that hold a block: tags, depth, what they say about themselves."""
    page = layout(blocks)
    first, second, third, _ = page.lines
    inherited, near = page.inherited[first], page.own[first] | page.own[second] | page.own[third]
    columns = {
        "tag": page.tags[first],
        "tag_2": page.tags[second],
        "tag_3": page.tags[third],
        "depth": page.depth[first],
    }
    for prefix, bits, names in (("in", inherited, INHERITED), ("near", near, NEAR)):
        masks = np.array([BIT[name] for name in names])[:, None]
        columns |= dict(zip((f"{prefix}_{name}" for name in names), (bits & masks) > 0, strict=True))
    return columns


def within(blocks: Blocks, amount: Numbers) -> Numbers:
    """Of every element: the sum of `amount` over all blocks in it, at any depth."""
    here = np.bincount(lines(blocks)[0], amount, len(blocks.parent))
    total = np.concatenate([[0.0], np.cumsum(here)])
    sums: Numbers = total[layout(blocks).end] - total[:-1]
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
    count, depth, end = len(words), layout(blocks).depth, layout(blocks).end
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
    alike = layout(blocks).alike[lines(blocks)[0]] + 1
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
    alike = layout(blocks).alike
    columns: Columns = {}
    for name, group in (
        ("group", alike[lines(blocks)[0]]), ("group_2", alike[lines(blocks)[1]]), ("like", like(blocks))
    ):  # fmt: skip
        count, size, linked, good = (
            np.bincount(group, amount)[group] for amount in (np.ones_like(words), words, links, prose)
        )
        columns[f"{name}_count"] = count
        columns[f"{name}_words"] = size / words.sum()
        columns[f"{name}_mean"] = size / count
        columns[f"{name}_links"] = linked / size
        columns[f"{name}_prose"] = good / size
    return columns


@functools.lru_cache(1)
def like(blocks: Blocks) -> Numbers:
    """A number that blocks share whose element, parent and grandparent have the same tags and classes, anywhere."""
    look = layout(blocks).look
    first, second, third, _ = lines(blocks)
    count = int(look.max()) + 1
    numbers: Numbers = np.unique((look[first] * count + look[second]) * count + look[third], return_inverse=True)[1]
    return numbers


def items_of(blocks: Blocks, words: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Of the elements around each block the one with most siblings of its tag and classes: an item of a list of such.

    (the element, the number of its kind, how many there are, how far it is above the block's own); `kind` is the same
    for the items of one list.
    """
    parent, look = layout(blocks).parent, layout(blocks).look
    kind = np.unique(parent * (int(look.max()) + 1) + look, return_inverse=True)[1]
    siblings = np.bincount(kind, within(blocks, words) > 0)[kind]
    element = lines(blocks)[0]
    best, most, level = element, siblings[element], np.zeros(len(element))
    for up in range(1, ITEM_LEVELS):
        element = parent[element]
        more = siblings[element] > most
        best, level = np.where(more, element, best), np.where(more, up, level)
        most = np.maximum(most, siblings[element])
    return best, kind, most, level


def items(blocks: Blocks, words: Numbers, links: Numbers, prose: Numbers) -> Columns:
    """Of the items of a list that a block is in one of: how many, how large, share in links, share of prose."""
    best, kind, most, level = items_of(blocks, words)
    size, linked, good = (np.bincount(kind, within(blocks, amount))[kind][best] for amount in (words, links, prose))
    return {
        "items_count": most,
        "items_level": level,
        "items_words": size / words.sum(),
        "items_mean": size / np.maximum(most, 1),
        "items_links": linked / np.maximum(size, 1),
        "items_prose": good / np.maximum(size, 1),
    }


def headings(blocks: Blocks, own: Mapping[str, Numbers]) -> Columns:
    """Of a block: the last heading before it, and how far it is from what heads other stories, remarks, the page."""
    number, holder, end = np.arange(len(own["words"])), lines(blocks)[0], layout(blocks).end
    tag = layout(blocks).tags[holder]
    heading = (tag >= TAG_NUMBER["h1"]) & (tag <= TAG_NUMBER["h6"])
    last = np.maximum.accumulate(np.where(heading, number, 0))
    columns: Columns = {
        "heading_far": np.minimum(number - last, FAR),
        "heading_level": np.where(heading[last], tag[last], 0),
        "heading_links": own["link_share"][last],
        "heading_in_title": own["in_title"][last],
    }
    first, second, third, _ = lines(blocks)
    bare = end[first] > first + 1  # text that stands beside elements, in theirs
    second, third = np.where(bare, first, second), np.where(bare, second, third)
    for name in ("others", "remarks"):
        marks = own[name] > 0
        at = np.maximum.accumulate(np.where(marks, number, -1))
        known = at >= 0
        columns[f"{name}_far"] = np.where(known, np.minimum(number - at, FAR), -1)
        for level, around in (("in", second), ("near", third)):
            columns[f"{name}_{level}"] = known & (holder < end[around[at]])
    title = np.where(tag == TAG_NUMBER["h1"], 0.5, 0.0) + own["in_title"] * (own["words"] > 2)
    top = int(title.argmax())
    columns["from_title"] = np.clip(number - top, -FAR, FAR)
    columns["title_sure"] = np.array(title[top])
    return columns


def whole_page(blocks: Blocks, own: Mapping[str, Numbers], links: Numbers, prose: Numbers) -> Columns:
    """Of the page: size, kind, and what share of its words stands in posts, comments, products, code."""
    words = own["words"]
    tags, total = Counter(blocks.tag), words.sum()
    group = like(blocks)
    by_group, count = np.bincount(group, prose), np.bincount(group, prose > 0)
    largest = int(by_group.argmax())
    inherited = layout(blocks).inherited[lines(blocks)[0]]
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
        "page_persons": np.rint(own["persons"] * prose).sum() / max(prose.sum(), 1.0),
        "page_dates": own["date"].sum(),
        "page_like": by_group[largest] / max(prose.sum(), 1.0),
        "page_like_count": count[largest],
        "page_like_mean": by_group[largest] / max(count[largest], 1.0),
        "page_images": tags["figure"],
    }
    for name in ("post", "comment", "product", "code", "items", "content", "related"):
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
