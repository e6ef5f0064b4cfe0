"""How many sentences a text has in the lines that C4 and FineWeb would keep of it.

Choice: their rules on lines decide here how much of a page would be left, and a rule on that number which pages go; the
lines themselves stay, because to cut them is a change of the text and no verdict on it. A sentence is counted by its
mark before a space. Cost: "Mr. Smith" counts as two. Alternative: NLTK's Punkt, which both used, a model to download.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

END_MARKS = (".", "?", "!", '"')  # Raffel et al. 2020, section 2.2
ELLIPSIS = "..."
LEAST_WORDS = 5  # of a line that C4 keeps; c4_utils.py of tensorflow/datasets, as everything here
LEAST_WORDS_FINEWEB = 3  # datatrove's C4QualityFilter
LONGEST_WORD = 1_000  # characters
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")  # not part of the line's end


def sentence_counts(lines: Iterable[str], dropped: Iterable[bool]) -> tuple[int, int]:
    """Sentences in the lines that (FineWeb, C4) keep, of stripped lines; both drop the `dropped` ones."""
    fineweb = c4 = 0
    for line, drop in zip(lines, dropped, strict=True):
        if drop or (len(line) > LONGEST_WORD and max(map(len, line.split())) > LONGEST_WORD):
            continue
        words = line.count(" ") + 1
        if words < LEAST_WORDS_FINEWEB:
            continue
        sentences = 1 + line.count(". ") + line.count("! ") + line.count("? ")
        fineweb += sentences
        ends = CITATION.sub("", line).rstrip() if line[-1] == "]" else line
        if words >= LEAST_WORDS and ends.endswith(END_MARKS) and not ends.endswith(ELLIPSIS):
            c4 += sentences
    return fineweb, c4
