"""Boosted trees that are read from JSON and answered by arrays: a small model without a library of its own.

Choice: symmetric trees (one question a level for all of a tree's nodes, as in CatBoost: Prokhorenkova et al. 2018), so
that a leaf's number is the answers read as binary digits and a page is scored in four array operations. Leaves are
whole numbers of 1/1024 and probabilities are rounded, so that every processor sums to the same. Cost: a few more trees
than free ones need. Alternative: a library of boosting, 5 MB and more to load a model of 100 kB.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

SCALE = 1024  # leaves are whole numbers of 1/SCALE of the log-odds
CERTAIN = 10_000  # probabilities are whole numbers of 1/CERTAIN
ROWS = 512  # answered at once: what they need stays in the processor's cache

Numbers = npt.NDArray[Any]


class Trees(msgspec.Struct, frozen=True, eq=False):
    """A model: at level d, tree t asks if column `feature[t][d]` > `threshold[t][d]`; it adds `leaf[t][answers]`.

    Each is itself only, not equal to another: what is kept for one is found by that.
    """

    about: str  # where it came from, and under which licence
    columns: tuple[str, ...]
    start: int  # of the sum, in 1/SCALE
    feature: tuple[tuple[int, ...], ...]
    threshold: tuple[tuple[float, ...], ...]
    leaf: tuple[tuple[int, ...], ...]


def load(text: bytes) -> Trees:
    """A model from its JSON. Raises msgspec.ValidationError when it is none."""
    return msgspec.json.decode(text, type=Trees)


def probabilities(model: Trees, columns: Mapping[str, Numbers]) -> Numbers:
    """Of every row, by the model's columns (float32): whole numbers (int64) from 0 to CERTAIN."""
    table = np.stack([columns[name] for name in model.columns])
    sums = [log_odds(model, table[:, start : start + ROWS]) for start in range(0, table.shape[1], ROWS)]
    return np.rint(CERTAIN / (1 + np.exp(-np.concatenate(sums) / SCALE))).astype(np.int64)


def log_odds(model: Trees, table: Numbers) -> Numbers:
    """The sums of all trees' leaves (int64, in 1/SCALE); `table` is of shape (columns, rows)."""
    column, bound, question, leaf, begin = arrays(model)
    answers = (table.take(column, 0) > bound).view(np.uint8)
    numbers = answers.take(question[-1], 0)
    for level in reversed(question[:-1]):  # the first question's answer is the lowest digit
        numbers += numbers
        numbers += answers.take(level, 0)
    sums: Numbers = leaf.take(numbers + begin).sum(axis=0, dtype=np.int32).astype(np.int64)
    return sums + model.start


@functools.lru_cache(8)
def arrays(model: Trees) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers]:
    """A model as arrays: its different questions (columns and thresholds), which of them each level asks of each tree,
    all leaves, and where each tree's leaves begin. Trees ask the same again and again: 1,900 questions of 4,800.
    """
    asked = [list(zip(*tree, strict=True)) for tree in zip(model.feature, model.threshold, strict=True)]
    number = {pair: place for place, pair in enumerate(sorted({pair for tree in asked for pair in tree}))}
    question = np.array([[number[pair] for pair in tree] for tree in asked]).T
    leaf = np.array(model.leaf, np.int32)
    begin = np.arange(len(leaf), dtype=np.int32)[:, None] * leaf.shape[1]
    column, bound = (np.array(part) for part in zip(*number, strict=True))
    return column, bound.astype(np.float32)[:, None], question, leaf.ravel(), begin
