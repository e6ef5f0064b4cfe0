"""What the elements of a page say about themselves by their tag, role, class and id: one bit for each kind of thing.

Choice: runs of letters that authors and their software use, found by their first three letters in one pass over a
name. Cost: 5 µs for a name that was not met before, and English names only. Alternative: a pattern a kind, three times
as slow and the same bits.
"""

from __future__ import annotations

import functools
import re

# What an element says about itself, one bit each: by its tag or role, then by words in its class or id.
KINDS = (
    "nav", "header", "footer", "aside", "main", "article", "section", "form", "table", "list", "figure", "blockquote",
    "noscript", "hidden",
)  # fmt: skip
NAMES = {
    "content": "content article story entry main text markdown prose rich",
    "post": "post message msg thread topic reply answer question bbcode",
    "comment": "comment disqus discuss respond",
    "menu": "nav menu crumb paginat pager",
    "side": "sidebar side- rail widget aside secondary",
    "foot": "foot copyright legal disclaimer",
    "head": "header masthead banner topbar logo hero",
    "related": "related recommend more- also popular trending latest similar recent carousel slider promo teaser",
    "advert": "advert sponsor cookie consent modal popup overlay newsletter subscri login paywall",
    "about": "meta byline author date categor profile avatar user signature rating stats info",
    "share": "share social follow facebook twitter print toolbar action button btn",
    "title": "title headline heading",
    "product": "product price cart sku description detail spec feature",
    "items": "list grid card item result archive feed",
    "code": "code highlight example doc api refer param signature method function",
    "unseen": "hidden sr-only screen-reader collapse visually invisible skip",
    "embed": "embed tweet twitter- instagram fb-post tiktok bluesky reddit-card",
}
PATTERNS = {  # those that are more than a run of letters
    "content": r"body(?!-?class)",
    "menu": r"toc\b|tab(?:s|list)?\b",
    "side": r"column-?(?:right|left)",
    "advert": r"\bads?\b|sign-?up",
    "about": r"time\b|tags?\b",
}
BIT = {name: 1 << place for place, name in enumerate((*KINDS, *NAMES))}
RUN = 3  # letters of the shortest run of NAMES
BEGINNINGS: dict[str, list[tuple[str, int]]] = {}  # of runs: the runs that begin so
for kind, runs in NAMES.items():
    for run in runs.split():
        BEGINNINGS.setdefault(run[:RUN], []).append((run, BIT[kind]))
COMPILED = [(re.compile(pattern), BIT[name]) for name, pattern in PATTERNS.items()]
ANY_PATTERN = re.compile("|".join(PATTERNS.values()))
TAG_BIT = {tag: BIT[tag] for tag in KINDS if tag not in {"list", "hidden"}}
TAG_BIT |= dict.fromkeys(("ul", "ol", "dl"), BIT["list"])
ROLE_BIT = {
    "navigation": BIT["nav"], "banner": BIT["header"], "contentinfo": BIT["footer"], "complementary": BIT["aside"],
    "main": BIT["main"], "article": BIT["article"],
}  # fmt: skip
NAMES_CHARS = 300  # of class and id that are looked at
DIGITS = re.compile(r"\d+")


def looks(classes: str, name: str, part: str) -> tuple[int, str]:
    """(bits of NAMES and PATTERNS that class, id and itemprop hold, the class with its numbers alike)."""
    bits, classes = look_of(classes[:NAMES_CHARS])
    if name:
        bits |= bits_of(DIGITS.sub("0", name[:NAMES_CHARS]))
    return bits | bits_of(part[:NAMES_CHARS]) if part else bits, classes


@functools.lru_cache(20_000)
def look_of(names: str) -> tuple[int, str]:
    """(the bits of a value, the value with its numbers alike)."""
    names = DIGITS.sub("0", names)
    bits = 0
    for name in names.split():
        bits |= bits_of(name)
    return bits, names


@functools.lru_cache(20_000)
def bits_of(name: str) -> int:
    """Bits of NAMES and PATTERNS that a name holds; the same few come again and again once their numbers are alike."""
    name = name.lower()
    bits = 0
    for place in range(len(name) - RUN + 1):
        for run, bit in BEGINNINGS.get(name[place : place + RUN], ()):
            if name.startswith(run, place):
                bits |= bit
    if ANY_PATTERN.search(name):
        for pattern, bit in COMPILED:
            if pattern.search(name):
                bits |= bit
    return bits
