"""What a block of a page says: its words, links and punctuation as numbers, and what it sounds like.

Choice: counts and a few word lists; what cannot be told from words (menus, the posts of a thread) is told by layout.
Signs are counted on all blocks as one array of code points, and patterns asked only of blocks that hold a run of
characters without which they cannot match. Cost: 10 µs a block, and headings are known by English phrases.
Alternative: block by block, as tests/text/test_wording.py does it, a quarter slower.
"""

from __future__ import annotations

import bisect
import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.text.blocks import Blocks

Numbers = npt.NDArray[Any]
Columns = dict[str, Numbers]

HEAD_CHARS = 300  # of a block in which dates and furniture are looked for: those are short
READ_CHARS = 1_500  # of a block; longer ones are counted by their beginning
COUNTED_WORDS = 40  # in which capitals and stop words are counted
PROSE_WORDS, PROSE_LINKS = 10, 0.4  # a block of prose: at least as many words, a lower share in links, and a full stop
STOP_WORDS = frozenset({
    "the", "of", "and", "to", "a", "in", "is", "that", "for", "it", "was", "on", "are", "as", "with", "be", "this",
    "by", "at", "i", "you", "from", "or", "have", "an", "not", "but", "they", "we", "his", "her", "he", "she",
    "which",
})  # fmt: skip
WORD = re.compile(r"\w+")
# Scripts without spaces.
UNSPACED_RANGES = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF))
UNSPACED_CHARS = 2  # a word of such scripts
FULL_STOPS, CLOSERS = ".!?…。！？", "\"'”’)]"  # a sentence ends where blanks follow
SIGNS = {
    name: 1 << place
    for place, name in enumerate(("commas", "asks", "digits", "stops", "closers", "blanks", "capitals", "unspaced"))
}
LAST = 0xFFFF  # code points beyond are few, and looked at one by one
NEXT = "\n"  # between the blocks of a page that is read as one
BITS = 8  # of a sum of at most COUNTED_WORDS
DATE = re.compile(
    r"\b(?:(?:19|20)\d\d|\d{1,2}:\d\d|ago|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6})\b"
)
FURNITURE = re.compile(
    r"©|copyright|all rights reserved|cookie|privacy|terms of|sign up|subscribe|newsletter|log ?in|sign in|share|follow"
    r" us|read more|click here|comments?\b|repl(?:y|ies)|related|advertisement|javascript|powered by|contact us"
    r"|add to (?:cart|bag)"
)
# Runs of characters without one of which a pattern cannot match: quicker to look for than patterns.
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DATE_RUNS = ("19", "20", ":", "ago", *MONTHS)
FURNITURE_RUNS = (
    "©", "copyright", "all rights reserved", "cookie", "privacy", "terms of", "sign up", "subscribe", "newsletter",
    "login", "log in", "sign in", "share", "follow us", "read more", "click here", "comment", "reply", "replies",
    "related", "advertisement", "javascript", "powered by", "contact us", "add to ",
)  # fmt: skip
OTHERS_RUNS = (
    "related", "more ", "read ", "also ", "you ", "recommend", "popular", "trending", "latest", "most ", "top stories",
    "around the web", "sponsored", "breaking", "recent", "don't miss", "next up", "editor", "keep reading", "see also",
    "what to read",
)  # fmt: skip
REMARKS_RUNS = (
    "comment", "response", "repl", "reader", "top rated", "discussion", "leave a", "join the", "review", "thoughts",
)  # fmt: skip
PERSONS = frozenset({"i", "i'm", "i’m", "i've", "i’ve", "my", "me", "you", "your", "we", "our", "it's", "thanks"})
OTHERS_HEADING = re.compile(  # a heading over other stories
    r"\b(?:related|more (?:from|on|in|like|stories|news)|read (?:next|also|more)|also (?:read|on)|you (?:may|might)"
    r"|recommend|popular|trending|latest|most (?:read|viewed)|top stories|around the web|sponsored|breaking|recent"
    r"|don't miss|next up|editor'?s? picks?|keep reading|see also|what to read)"
)
REMARKS_HEADING = re.compile(  # a heading over remarks of readers
    r"\b(?:comments?|responses?|repl(?:y|ies)|readers?|top rated|discussion|leave a|join the|reviews?|thoughts)\b"
)
HEADING_WORDS = 10  # at most, of a block that is no heading by its tag and may be one
WORDINGS = (
    "words", "chars", "word_length", "link_share", "links", "commas", "ends", "terminal", "capitals", "stop_words",
    "digits", "date", "furniture", "capital", "in_title", "persons", "asks", "described", "others", "remarks",
    "same_text", "same_before",
)  # fmt: skip


def prose_words(columns: Mapping[str, Numbers]) -> Numbers:
    """The words of each block that reads as prose, 0 of others; from what `wording` gives."""
    words, links = columns["words"], columns["link_share"]
    prose: Numbers = words * ((words >= PROSE_WORDS) & (columns["terminal"] == 1) & (links < PROSE_LINKS))
    return prose


def wording(blocks: Blocks) -> Columns:
    """Of the text of a block: lengths, links, punctuation, capitals, dates, furniture, and where else it stands."""
    reads = [text[:READ_CHARS] for text in blocks.texts]
    words = [read.split() or ["."] for read in reads]
    keys = list(map(" ".join, words))
    size = np.array(list(map(len, blocks.texts)))
    scale = size / np.array(list(map(len, reads)))
    runs = np.array(list(map(len, words)))
    chars = np.array(list(map(len, keys))) - runs + 1
    columns = signs(keys, runs)
    count = runs + columns.pop("unspaced") // UNSPACED_CHARS
    columns["commas"] = columns["commas"] / count
    columns["ends"] = np.where(count > 2, columns["ends"] * scale, 0)
    columns["digits"] = columns["digits"] / chars
    columns |= {
        "words": np.rint(count * scale),
        "chars": np.rint(chars * scale),
        "word_length": chars / count,
        "link_share": np.minimum(1.0, np.array(blocks.link_chars) / chars / scale),
        "links": np.array(blocks.links),
        "terminal": np.array([terminal(text, some) for text, some in zip(blocks.texts, words, strict=True)]),
        "same_before": same_before(keys),
        "same_text": np.array(list(map(Counter(keys).__getitem__, keys))),
    }
    columns |= vocabulary(blocks, words, keys, np.minimum(runs, COUNTED_WORDS)) | sounds(blocks, count)
    return {name: columns[name] for name in WORDINGS}


def signs(keys: Sequence[str], runs: Numbers) -> Columns:
    """Of each block: signs that are counted, whether it begins with a capital, and what share of its words does.

    `keys` are the blocks' texts with single spaces, which are read as one array of code points; `runs` their words.
    """
    text = np.frombuffer(f"{NEXT.join(keys)}{NEXT}".encode("utf-32-le", "surrogatepass"), np.uint32)
    kind = kinds_of_signs()[np.minimum(text, LAST)]
    edges = np.concatenate([[0], np.cumsum(list(map(len, keys))) + np.arange(1, len(keys) + 1)])

    def counted(where: Numbers) -> Numbers:
        numbers: Numbers = np.diff(np.searchsorted(where, edges))
        return numbers

    signs_of = {name: np.flatnonzero(kind & bit) for name, bit in SIGNS.items()}
    outer = np.where(kind & SIGNS["closers"], len(text), np.arange(len(text)))
    after = np.minimum.accumulate(outer[::-1])[::-1]  # the next sign that closes nothing
    ends = signs_of["stops"]
    begins = np.concatenate([[0], signs_of["blanks"][:-1] + 1])  # of words
    first = np.cumsum(runs) - runs
    in_head = np.arange(len(begins)) - np.repeat(first, runs) < COUNTED_WORDS
    capital = (kind[begins] & SIGNS["capitals"]) > 0
    for place in np.flatnonzero(text[begins] > LAST).tolist():
        capital[place] = chr(text[begins[place]]).isupper()
    return {
        **{name: counted(signs_of[name]) for name in ("commas", "asks", "digits", "unspaced")},
        "ends": counted(ends[(kind[after[ends + 1]] & SIGNS["blanks"]) > 0]),
        "capital": capital[first],
        "capitals": counted(begins[capital & in_head]) / np.minimum(runs, COUNTED_WORDS),
    }


@functools.cache
def kinds_of_signs() -> Numbers:
    """Of every code point up to LAST: the bits of SIGNS that it has."""
    table = np.zeros(LAST + 1, np.uint8)
    for name, some in (
        ("commas", ","), ("asks", "?"), ("digits", "0123456789"), ("stops", FULL_STOPS), ("closers", CLOSERS),
        ("blanks", f" {NEXT}"), ("capitals", filter(str.isupper, map(chr, range(LAST)))),
    ):  # fmt: skip
        table[[ord(sign) for sign in some]] |= SIGNS[name]
    for low, high in UNSPACED_RANGES:
        table[low : high + 1] |= SIGNS["unspaced"]
    return table


def terminal(text: str, words: Sequence[str]) -> float:
    """1.0 for a text that ends as a sentence does, 0.5 for one that goes on, else 0.0; `words` are its first."""
    last = words[-1] if len(text) <= READ_CHARS else (text[-READ_CHARS:].split() or ["."])[-1]
    mark = last.rstrip("\"'”’)]」』")[-1:]
    return 1.0 if mark and mark in ".!?…。！？" else 0.5 if mark and mark in ":;," else 0.0


def same_before(keys: Sequence[str]) -> Numbers:
    """How often each text stood there before."""
    seen: Counter[str] = Counter()
    before = []
    for key in keys:
        before.append(seen[key])
        seen[key] += 1
    return np.array(before)


def vocabulary(blocks: Blocks, words: Sequence[list[str]], keys: Sequence[str], head: Numbers) -> Columns:
    """Of the first words of each block, of which there are `head`: the share that is of each of four vocabularies."""
    title, description = (WORD.findall(text.lower()) for text in (blocks.title, blocks.description))
    known: dict[str, int] = {}
    for place, some in enumerate((STOP_WORDS, title, PERSONS, description)):
        for word in set(some):
            known[word] = known.get(word, 0) + (1 << BITS * place)
    lower = (
        (key if len(some) <= COUNTED_WORDS else " ".join(some[:COUNTED_WORDS])).lower().split(" ")
        for key, some in zip(keys, words, strict=True)
    )
    sums = np.array([sum(map(known.get, some, repeat(0))) for some in lower])
    names = ("stop_words", "in_title", "persons", "described")
    columns = {name: (sums >> BITS * place & (1 << BITS) - 1) / head for place, name in enumerate(names)}
    return columns | {"stop_words": np.where(head > 2, columns["stop_words"], 0.0)}


def sounds(blocks: Blocks, count: Numbers) -> Columns:
    """Of the beginning of each block: dates, furniture, and whether it heads other stories or remarks."""
    starts = [text[:HEAD_CHARS].lower() for text in blocks.texts]
    columns = {name: np.zeros(len(starts)) for name in ("date", "furniture", "others", "remarks")}
    for block in holding(starts, DATE_RUNS):
        columns["date"][block] = DATE.search(starts[block]) is not None
    for block in holding(starts, FURNITURE_RUNS):
        columns["furniture"][block] = len(FURNITURE.findall(starts[block]))
    short = [start if few else "" for start, few in zip(starts, (count <= HEADING_WORDS).tolist(), strict=True)]
    for name, runs, pattern in (("others", OTHERS_RUNS, OTHERS_HEADING), ("remarks", REMARKS_RUNS, REMARKS_HEADING)):
        for block in holding(short, runs):
            columns[name][block] = pattern.search(short[block]) is not None
    return columns


def holding(texts: Sequence[str], runs: Iterable[str]) -> set[int]:
    """Which texts hold one of some runs of characters: all are looked through at once, which is quick."""
    page = NEXT.join(texts)
    begins = list(accumulate((len(text) + 1 for text in texts), initial=0))
    found = set()
    for run in runs:
        place = page.find(run)
        while place >= 0:
            text = bisect.bisect_right(begins, place) - 1
            found.add(text)
            place = page.find(run, begins[text + 1])
    return found
