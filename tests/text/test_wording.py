import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.text import wording as room
from pipeline.text.blocks import Blocks
from pipeline.text.wording import (
    DATE,
    FURNITURE,
    OTHERS_HEADING,
    PERSONS,
    REMARKS_HEADING,
    STOP_WORDS,
    WORDINGS,
    holding,
    wording,
)  # fmt: skip

UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*(?:\s|$)")
PIECES = st.sampled_from([
    "The", "old", "Pier", "pier.", "Ünder", "is", "2019", "12:30", "a.m.", "you", "I'm", "(sure?)", "“Yes.”", "end!)",
    "related", "More from us", "3 comments", "Comments", "reply", "Sign up", "log in", "©", ",", ":", "?", "...",
    "日本語。", "ไทย", "𝐁old", "İstanbul", "ΟΔΟΣ", "x1990", "19901", "may", "mayor", "ago", "\u2028", "\u00a0", "\n",
    "  ",
])  # fmt: skip


def blocks_of(texts, title="", description="", link_chars=None):
    blocks = Blocks()
    blocks.texts, blocks.title, blocks.description = texts, title, description
    blocks.link_chars, blocks.links = link_chars or [0] * len(texts), [0] * len(texts)
    return blocks


def slow_wording(blocks):
    """Block by block, word by word."""
    title, description = (set(re.findall(r"\w+", text.lower())) for text in (blocks.title, blocks.description))
    keys = [" ".join(text[: room.READ_CHARS].split() or ["."]) for text in blocks.texts]
    for number, text in enumerate(blocks.texts):
        read, start = text[: room.READ_CHARS], text[: room.HEAD_CHARS].lower()
        found = read.split() or ["."]
        scale = len(text) / len(read)
        chars, count = sum(map(len, found)), len(found) + len(UNSPACED.findall(read)) // room.UNSPACED_CHARS
        head = found[: room.COUNTED_WORDS]
        lower = [word.lower() for word in head]
        mark = (text[-room.READ_CHARS :].split() or ["."])[-1].rstrip("\"'”’)]」』")[-1:]

        def share(some, lower=lower):
            return sum(word in some for word in lower) / len(lower)

        yield {
            "words": round(count * scale),
            "chars": round(chars * scale),
            "word_length": chars / count,
            "link_share": min(1.0, blocks.link_chars[number] / chars / scale),
            "links": blocks.links[number],
            "commas": read.count(",") / count,
            "ends": len(SENTENCE_END.findall(read)) * scale if count > 2 else 0,
            "terminal": 1.0 if mark and mark in ".!?…。！？" else 0.5 if mark and mark in ":;," else 0.0,
            "capitals": sum(word[0].isupper() for word in head) / len(head),
            "stop_words": share(STOP_WORDS) if len(head) > 2 else 0.0,
            "digits": len(re.findall("[0-9]", read)) / chars,
            "date": DATE.search(start) is not None,
            "furniture": len(FURNITURE.findall(start)),
            "capital": found[0][0].isupper(),
            "in_title": share(title),
            "persons": share(PERSONS),
            "asks": read.count("?"),
            "described": share(description),
            "others": count <= room.HEADING_WORDS and OTHERS_HEADING.search(start) is not None,
            "remarks": count <= room.HEADING_WORDS and REMARKS_HEADING.search(start) is not None,
            "same_text": Counter(keys)[keys[number]],
            "same_before": keys[:number].count(keys[number]),
        }


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.lists(PIECES, min_size=1, max_size=12).map(" ".join).filter(str.strip), min_size=1, max_size=6),
    st.lists(PIECES, max_size=4).map(" ".join),
    st.sampled_from([1, 40, 400]),
)
@example(["word. " * 400 + "end”)", "x" + " " * 2_000 + "y", "\u2003A\u2028B"], "A word", 1)
def test_the_wording_of_all_blocks_at_once_is_that_of_each_by_itself(texts, title, times):
    texts = [texts[0] * times, *texts[1:]]
    blocks = blocks_of(texts, title, f"{title} old pier", [len(text.strip()) // 2 for text in texts])
    found = wording(blocks)
    assert tuple(found) == WORDINGS
    for number, row in enumerate(slow_wording(blocks)):
        assert {name: column[number] for name, column in found.items()} == row, texts[number]


@given(st.lists(st.text("ab \n", max_size=8), max_size=5), st.lists(st.text("ab ", min_size=1, max_size=3), max_size=3))
def test_texts_that_hold_a_run_are_found_and_no_others(texts, runs):
    assert holding(texts, runs) == {number for number, text in enumerate(texts) if any(run in text for run in runs)}


@pytest.mark.parametrize(
    ("pattern", "runs"),
    [
        (DATE, room.DATE_RUNS),
        (FURNITURE, room.FURNITURE_RUNS),
        (OTHERS_HEADING, room.OTHERS_RUNS),
        (REMARKS_HEADING, room.REMARKS_RUNS),
    ],
    ids=["date", "furniture", "others", "remarks"],
)
def test_what_a_pattern_matches_holds_one_of_its_runs(pattern, runs):
    @settings(deadline=None, max_examples=150)
    @given(st.from_regex(pattern))
    def check(text):
        assert any(run in text for run in runs)

    check()


def test_capitals_are_those_of_every_script():
    found = wording(blocks_of(["Ünder Öl Ωμ 𝐁old 日本 ßa x"]))
    assert found["capitals"][0] == pytest.approx(4 / 7)
    assert np.isfinite(found["words"]).all()
