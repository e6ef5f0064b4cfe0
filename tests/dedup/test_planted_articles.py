from pathlib import Path

import numpy as np
import pytest

from pipeline.config import CorpusSettings, DocumentsSettings
from pipeline.dedup import minhash, near_duplicates

NEARDUP = Path(__file__).resolve().parents[2] / "../shared/data/neardup"


def rank_of(nodes):
    return nodes.astype(np.int64)


def planted():
    if not NEARDUP.exists():
        pytest.skip("../shared/data/neardup is absent: real articles with planted near duplicates")
    lines = [line.split() for line in (NEARDUP / "articles_1000.train").read_text().splitlines()]
    truth = {frozenset(line.split()) for line in (NEARDUP / "articles_1000.truth").read_text().splitlines()}
    return [name for name, *_ in lines], [words for _, *words in lines], truth


def test_all_planted_pairs_of_real_articles_are_found_and_nothing_else():
    names, documents, truth = planted()
    drawn = minhash.permutations(128, 1)
    sets = [minhash.shingles(words, DocumentsSettings().shingle_words) for words in documents]
    signatures = np.array([minhash.signature(one, drawn) for one in sets])
    rows = np.arange(len(names), dtype=np.uint32)
    recipe = CorpusSettings()
    blocks = [block for _, block in near_duplicates.scatter_bands(0, rows, signatures, recipe, 1)]
    pairs, left_out = near_duplicates.candidate_pairs(blocks, recipe.bucket, rank_of)
    edges = near_duplicates.verify(
        pairs,
        lambda nodes: signatures[nodes],
        lambda nodes: [sets[node] for node in nodes.tolist()],
        recipe.jaccard,
        "jaccard",
    )
    assert {frozenset((names[a], names[b])) for a, b, _ in zip(*edges.to_pydict().values(), strict=True)} == truth
    assert near_duplicates.choose(edges, rank_of).num_rows == len(truth) == 10
    assert left_out == 0
