"""The meter of the deduplication: what it counts, how sure it is, and when it stops a build."""

import math
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import CorpusSettings
from pipeline.dedup import meter, minhash
from pipeline.dedup.near_duplicates import EDGES, PAIRS
from pipeline.dedup.nodes import REMOVALS
from pipeline.shards.outcomes import DedupError

DRAWN = minhash.permutations(128, 1)


@pytest.mark.parametrize(
    ("hits", "tries", "expected"),
    [
        (0, 10, (0.0, 0.0, 0.2775)),  # Newcombe 1998, table I: Wilson's interval without continuity correction
        (81, 263, (0.3080, 0.2553, 0.3662)),  # the same
        (15, 148, (0.1014, 0.0624, 0.1605)),  # the same
        (10, 10, (1.0, 0.7225, 1.0)),
    ],
)
def test_the_interval_is_wilsons(hits, tries, expected):
    assert meter.wilson(hits, tries) == pytest.approx(expected, abs=1e-4)


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_holds_the_estimate_and_stays_within_zero_and_one(hits, tries):
    share, low, high = meter.wilson(min(hits, tries), tries)
    assert 0 <= low <= share <= high <= 1


def test_the_curve_of_the_bands_is_the_one_of_the_book():
    # Leskovec et al. 2020, figure 3.8: 20 bands of 5 rows
    found = [meter.nominated_share(one / 10, 20, 5) for one in range(2, 9)]
    assert found == pytest.approx([0.006, 0.047, 0.186, 0.470, 0.802, 0.975, 0.9996], abs=6e-4)


@settings(max_examples=30)
@given(st.integers(0, 300), st.integers(0, 300))
def test_a_sample_is_of_the_asked_size_each_once_and_always_the_same(count, most):
    found = meter.sample_of(count, most)
    assert len(found) == len(set(found.tolist())) == min(count, most)
    assert all(0 <= one < count for one in found)
    assert found.tolist() == sorted(found.tolist()) == meter.sample_of(count, most).tolist()


class Shelf:
    """Documents by node."""

    def __init__(self, documents):
        self.documents = documents

    def words_of(self, nodes):
        return [self.documents[int(node)] for node in nodes]

    def signatures_of(self, nodes):
        sets = [minhash.shingles(words, 2) for words in self.words_of(nodes)]
        return np.array([minhash.signature(one, DRAWN) for one in sets], np.uint32).reshape(-1, 128)

    def sources(self):
        return meter.Sources(self.signatures_of, self.words_of, lambda nodes: nodes.astype(np.int64))


def edited(words, changes, source):
    words = list(words)
    for _ in range(changes):
        words[source.randrange(len(words))] = f"new{source.randrange(1_000)}"
    return words


def test_fine_bands_find_every_similar_pair_and_no_wholly_strange_one():
    source, documents = random.Random(1), []
    for base in range(60):
        words = [f"w{base}x{place}" for place in range(80)]
        documents += [words, edited(words, 4, source)]
    shelf = Shelf(documents)
    nodes = np.arange(len(documents), dtype=np.uint64)
    batches = [(part, shelf.signatures_of(part)) for part in np.split(nodes, 4)]
    found = meter.candidates(nodes[::2], shelf.signatures_of(nodes[::2]), batches, 0.8)
    pairs = set(zip(found["a"].to_pylist(), found["b"].to_pylist(), strict=True))
    similar = {
        (a, b)
        for a in range(0, len(documents), 2)
        for b in range(len(documents))
        if a != b and meter.exact_jaccard(documents[a], documents[b], 2) >= 0.8
    }
    assert len(similar) > 40
    assert similar <= pairs <= {(a, a + 1) for a in range(0, len(documents), 2)}


def test_the_meter_counts_wrong_removals_missed_documents_and_wrong_refusals():
    story, other = [f"s{n}" for n in range(60)], [f"o{n}" for n in range(60)]
    shelf = Shelf([story, [*story, "end"], other, [*other, "end"], [*other, "fin"], ["alone"] * 60])
    # 1 went rightly for 0, 5 wrongly for 0; of 2, 3, 4, which are alike, all stayed; 2 and 3 were refused
    result = meter.Result(
        stayed=[np.array([0, 2], np.uint64), np.array([3, 4], np.uint64)],
        removals=pa.table([[1, 5], [0, 0], [1.0, 1.0]], schema=REMOVALS),
        pairs=pa.table([[0, 0, 2], [1, 5, 3]], schema=PAIRS),
        edges=pa.table([[0, 0], [1, 5], [1.0, 1.0]], schema=EDGES),
    )
    reading = meter.measure(result, CorpusSettings(), 2, shelf.sources())
    assert reading == meter.Reading(
        documents=6, removed=2, checked=2, right=1, stayed=4, probed=4, missed=2, refused_checked=1, refused_wrongly=1,
        most_swallowed=2,
    )  # fmt: skip
    assert reading.precision[0] == 0.5
    assert reading.recall[0] == pytest.approx(1 / (1 + 2))  # one of the three that had to go went
    assert meter.Reading(**reading.table().to_pylist()[0]) == reading


READING = meter.Reading(1_000, 200, 200, 200, 800, 800, 0, 0, 0, 40)


def test_a_sample_that_is_all_there_is_leaves_no_doubt():
    assert READING.precision == READING.recall == (1.0, 1.0, 1.0)
    some = meter.Reading(10_000, 200, 200, 200, 9_800, 800, 1, 0, 0, 40)
    missed = 9_800 / 800
    assert some.recall[0] == pytest.approx(200 / (200 + missed))
    assert some.recall[1] < 200 / (200 + 3 * missed) < some.recall[0] < some.recall[2] < 1


def test_a_low_precision_stops_the_build():
    meter.judge(READING, 0.99, 0.05)
    with pytest.raises(DedupError, match=r"precision 0\.975 \(at least 0\.943\), corpus\.min_precision is 0\.99"):
        meter.judge(meter.Reading(1_000, 201, 200, 195, 800, 800, 0, 0, 0, 40), 0.99, 0.05)


def test_a_keeper_that_swallows_the_corpus_stops_the_build():
    swallowed = meter.Reading(1_000, 200, 200, 200, 800, 800, 0, 0, 0, 101)
    with pytest.raises(DedupError, match=r"keeper of 101 near duplicates, more than 0\.05 of 1,000 documents"):
        meter.judge(swallowed, 0.99, 0.05)
    meter.judge(swallowed, 0.99, 0.2)


def test_without_removals_there_is_nothing_to_be_wrong_about():
    nothing = meter.Reading(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    meter.judge(nothing, 0.99, 0.05)
    assert math.isnan(nothing.precision[0])
    assert len(meter.told(nothing, CorpusSettings())) == 1


@pytest.mark.parametrize(
    ("left", "right", "expected"), [("a b c", "a b c d e f", 1.0), ("a b", "c d", 0.0), ("", "a", 0.0)]
)
def test_containment_is_of_the_smaller(left, right, expected):
    assert meter.exact_containment(left.split(), right.split(), 2) == expected
    sets = [minhash.shingles(text.split(), 2) for text in (left, right)]
    assert minhash.containment(*sets) == minhash.containment(*sets[::-1]) == expected
