"""Word diffs: where two texts differ, for pairs of which one went out as a copy of the other.

Choice: difflib's longest common runs, what both texts begin and end with set aside first, popular words no anchors in
long texts; so most of a near copy costs nothing. Cost: of texts that differ within more than MOST_WORDS words the rest
is not compared, and named so. Alternative: Myers' algorithm (git's), with the least changes there can be, in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from typing import NamedTuple

MOST_WORDS = 10_000  # of each text between what both begin and end with
LONG = 2_000  # words; of longer texts words that are more than 1 % of all begin no run


class Stretch(NamedTuple):
    """Words `left` of the one text that stand for words `right` of the other. `kind`: "same", "other", "beyond"."""

    kind: str
    left: range
    right: range


def stretches(left: Sequence[str], right: Sequence[str]) -> list[Stretch]:
    """Two texts as stretches from front to back, which together hold every word; "beyond" ones were not compared."""
    before = common(left, right)
    after = min(common(left[::-1], right[::-1]), min(len(left), len(right)) - before)
    ends = len(left) - after, len(right) - after
    inner = left[before : min(ends[0], before + MOST_WORDS)], right[before : min(ends[1], before + MOST_WORDS)]
    found = [Stretch("same", range(before), range(before))]
    matcher = SequenceMatcher(None, *inner, autojunk=max(map(len, inner)) > LONG)
    for kind, first, last, start, end in matcher.get_opcodes():
        lines = range(before + first, before + last), range(before + start, before + end)
        found.append(Stretch("same" if kind == "equal" else "other", *lines))
    found.append(Stretch("beyond", range(before + len(inner[0]), ends[0]), range(before + len(inner[1]), ends[1])))
    found.append(Stretch("same", range(ends[0], len(left)), range(ends[1], len(right))))
    return [stretch for stretch in found if stretch.left or stretch.right]


def common(left: Sequence[str], right: Sequence[str]) -> int:
    """How many words two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))
