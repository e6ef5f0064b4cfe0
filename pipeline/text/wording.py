"""What a block of a page says: its words, links and punctuation as numbers, and what it sounds like.

Choice: counts and a few word lists in one loop over the blocks, the only loop that features have: what cannot be told
from words (menus, the posts of a thread) is told by layout. Cost: 10 µs a block, and headings are known by English
phrases. Alternative: a language model over every block, at seconds a page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
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
    title, description = (set(WORD.findall(text.lower())) for text in (blocks.title, blocks.description))
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
            found[0][0].isupper(), sum(map(title.__contains__, lower)) / len(head),
            sum(map(PERSONS.__contains__, lower)) / len(head), read.count("?"),
            sum(map(description.__contains__, lower)) / len(head),
            count <= HEADING_WORDS and OTHERS_HEADING.search(start) is not None,
            count <= HEADING_WORDS and REMARKS_HEADING.search(start) is not None, 0, seen[key],
        ))  # fmt: skip
        seen[key] += 1
        keys.append(key)
    table = np.array(rows, np.float64)
    table[:, WORDINGS.index("same_text")] = [seen[key] for key in keys]
    return dict(zip(WORDINGS, table.T, strict=True))
