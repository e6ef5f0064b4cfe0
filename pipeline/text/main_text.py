"""The main text of a page: the blocks that a classifier takes for it.

Choice: boosted trees judge every block, resiliparse's reading among what they look at, and the blocks are taken whose
choice has the best expected F1 (`choice`). Trained on pages of two benchmarks and cross-validated over their hosts by
tests/benchmarks/train_blocks.py: word F1 0.968 on news articles and 0.882 on seven types of pages; trafilatura has
0.961 and 0.802. A second classifier that sees the first one's chances around each block (Cohen and Carvalho 2005) gave
no more than chance. Cost: a model of 270 kB. Alternative: readability's rules.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from pipeline.text.blocks import Blocks, write
from pipeline.text.choice import chosen
from pipeline.text.features import features
from pipeline.text.trees import Trees, load, probabilities

MODEL = Path(__file__).parent / "main_text.json"
LEAST_INSIDE, BEGINNING, READ = 15, 60, 200_000  # characters: of a block that may stand inside a line; looked for; read


def main_text(blocks: Blocks, second: str, url: str) -> str:
    """The main text of a page of at least one block; `second` is another engine's reading of it, `url` may be ""."""
    columns = features(blocks, agreement(blocks.texts, second), url)
    return write(blocks, chosen(blocks, columns, probabilities(model(), columns)))


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
