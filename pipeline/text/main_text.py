"""The main text of a page: the blocks that a classifier takes for it.

Choice: boosted trees judge every block, resiliparse's reading among what they look at, and the blocks are taken whose
choice has the best expected F1: certain pages give what is more likely than not, uncertain ones give more rather than
nothing. Cross-validated over hosts (tests/benchmarks/train_blocks.py, 5 folds, 520 pages of seven kinds) its word F1 is
0.876 and on articles, forums and documentation 0.938; trafilatura's fast mode has 0.802 and 0.884 there, with
resiliparse where it finds little 0.850 and 0.924, more slowly. Cost: a model of 100 kB; on news articles of a
kind it was not trained on it takes remarks along, 0.945 to trafilatura's 0.961. Alternative: readability's rules.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.text.blocks import Blocks, write
from pipeline.text.features import Columns, features, prose_words
from pipeline.text.trees import CERTAIN, Trees, load, probabilities

MODEL = Path(__file__).parent / "main_text.json"
GENEROUS = 0.8  # exponent of the probabilities without prose: cross-validated F1 0.876; with 1 for all pages 0.874
LEAST_INSIDE, BEGINNING, READ = 15, 60, 200_000  # characters: of a block that may stand inside a line; looked for; read

Numbers = npt.NDArray[Any]


def main_text(blocks: Blocks, second: str, url: str) -> str:
    """The main text of a page of at least one block; `second` is another engine's reading of it, `url` may be ""."""
    columns = features(blocks, agreement(blocks.texts, second), url)
    return write(blocks, chosen(model(), columns))


@functools.cache
def model() -> Trees:
    """The trained trees, read once a process."""
    return load(MODEL.read_bytes())


def agreement(texts: Iterable[str], second: str) -> list[float]:
    """Of every text, blanks apart: 1.0 when it is a line of `second`, 0.5 when it begins inside one, else 0.0."""
    known = {"".join(line.split()) for line in second.split("\n")}
    whole = "".join(second[:READ].split())
    keys = ("".join(text.split()) for text in texts)
    return [1.0 if key in known else 0.5 * (len(key) > LEAST_INSIDE and key[:BEGINNING] in whole) for key in keys]


def chosen(trees: Trees, columns: Columns) -> list[int]:
    """The blocks taken for main text, in order.

    A page whose likeliest choice is prose is one text, and what is not prose on it mostly furniture, remarks or
    other stories: the more prose, the less is the benefit of the doubt.
    """
    probability, words = probabilities(trees, columns), columns["words"]
    first = choose(probability, words)
    prose = prose_words(columns)[first].sum() / max(words[first].sum(), 1)
    return choose(np.rint(CERTAIN * (probability / CERTAIN) ** (GENEROUS + prose**2)).astype(np.int64), words)


def choose(probability: Numbers, words: Numbers) -> list[int]:
    """The blocks, in order, whose choice has the highest expected F1 by words; at least one.

    The best choice of any size is that of the likeliest blocks. Its expected F1 is taken as twice the expected words
    that are right, over the words taken and the expected words of the main text: whole numbers until the division.
    """
    order = np.argsort(-probability, kind="stable")
    weights = np.maximum(words[order].astype(np.int64), 1)
    right = np.cumsum(weights * probability[order])
    best = int(np.argmax(right / (np.cumsum(weights) * CERTAIN + right[-1])))
    return sorted(order[: best + 1].tolist())
