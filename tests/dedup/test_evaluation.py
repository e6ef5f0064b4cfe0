"""The evaluation of the deduplication: what it counts, how sure it is, and when it stops a build."""

import math
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import CorpusSettings
from pipeline.dedup import evaluation, minhash
from pipeline.dedup import near_duplicates as near
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
    assert evaluation.wilson(hits, tries) == pytest.approx(expected, abs=1e-4)


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_holds_the_estimate_and_stays_within_zero_and_one(hits, tries):
    share, low, high = evaluation.wilson(min(hits, tries), tries)
    assert 0 <= low <= share <= high <= 1


def test_the_curve_of_the_bands_is_the_one_of_the_book():
    # Leskovec et al. 2020, figure 3.8: 20 bands of 5 rows
    found = [evaluation.candidate_probability(one / 10, 20, 5) for one in range(2, 9)]
    assert found == pytest.approx([0.006, 0.047, 0.186, 0.470, 0.802, 0.975, 0.9996], abs=6e-4)


@settings(max_examples=30)
@given(st.integers(0, 300), st.integers(0, 300))
def test_a_sample_is_of_the_asked_size_each_once_and_always_the_same(count, most):
    found = evaluation.sample_of(count, most)
    assert len(found) == len(set(found.tolist())) == min(count, most)
    assert all(0 <= one < count for one in found)
    assert found.tolist() == sorted(found.tolist()) == evaluation.sample_of(count, most).tolist()


def slow_mix(value):
    """The finaliser of SplitMix64 (prng.di.unimi.it/splitmix64.c), in whole numbers."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


@pytest.mark.parametrize("sizes", [[40], [1, 0, 19, 20], [39, 1]])
def test_a_sample_is_of_the_least_hashes_of_the_numbers_from_1_however_they_are_divided(sizes):
    every = np.arange(100, 100 + sum(sizes), dtype=np.uint64)
    chosen, count = evaluation.sampled(iter(np.split(every, np.cumsum(sizes)[:-1])), 7)
    least = sorted(range(40), key=lambda number: slow_mix(number + 1))[:7]
    assert (chosen.tolist(), count) == ([100 + number for number in sorted(least)], 40)


class Shelf:
    """Documents by node."""

    def __init__(self, documents):
        self.documents = documents

    def words_of(self, nodes):
        return [self.documents[int(node)] for node in nodes]

    def shingles_of(self, nodes):
        return [minhash.shingles(words, 2) for words in self.words_of(nodes)]

    def signatures_of(self, nodes):
        sets = self.shingles_of(nodes)
        return np.array([minhash.signature(one, DRAWN) for one in sets], np.uint32).reshape(-1, 128)

    def sources(self):
        return evaluation.Sources(self.signatures_of, self.words_of, lambda nodes: nodes.astype(np.int64))


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
    found = evaluation.candidates(nodes[::2], shelf.signatures_of(nodes[::2]), batches, 0.8)
    pairs = set(zip(found["a"].to_pylist(), found["b"].to_pylist(), strict=True))
    similar = {
        (a, b)
        for a in range(0, len(documents), 2)
        for b in range(len(documents))
        if a != b and evaluation.exact_jaccard(documents[a], documents[b], 2) >= 0.8
    }
    assert len(similar) > 40
    assert similar <= pairs <= {(a, a + 1) for a in range(0, len(documents), 2)}


def test_the_meter_counts_wrong_removals_missed_documents_and_wrong_refusals():
    story, other = [f"s{n}" for n in range(60)], [f"o{n}" for n in range(60)]
    shelf = Shelf([story, [*story, "end"], other, [*other, "end"], [*other, "fin"], ["alone"] * 60])
    # 1 went rightly for 0, 5 wrongly for 0; of 2, 3, 4, which are alike, all stayed; 2 and 3 were refused
    result = evaluation.Result(
        stayed=[np.array([0, 2], np.uint64), np.array([3, 4], np.uint64)],
        removals=pa.table([[1, 5], [0, 0], [1.0, 1.0]], schema=REMOVALS),
        pairs=pa.table([[0, 0, 2], [1, 5, 3]], schema=PAIRS),
        edges=pa.table([[0, 0], [1, 5], [1.0, 1.0]], schema=EDGES),
    )
    reading = evaluation.measure(result, CorpusSettings(), 2, shelf.sources())
    assert reading == evaluation.Reading(
        documents=6, removed=2, checked=2, right=1, stayed=4, probed=4, missed=2, refused_checked=1, refused_wrongly=1,
        most_swallowed=2,
    )  # fmt: skip
    assert reading.precision[0] == 0.5
    assert reading.recall[0] == pytest.approx(1 / (1 + 2))  # one of the three that had to go went
    assert evaluation.Reading(**reading.table().to_pylist()[0]) == reading


READING = evaluation.Reading(1_000, 200, 200, 200, 800, 800, 0, 0, 0, 40)


def test_a_sample_that_is_all_there_is_leaves_no_doubt():
    assert READING.precision == READING.recall == (1.0, 1.0, 1.0)
    some = evaluation.Reading(10_000, 200, 200, 200, 9_800, 800, 1, 0, 0, 40)
    missed = 9_800 / 800
    assert some.recall[0] == pytest.approx(200 / (200 + missed))
    assert some.recall[1] < 200 / (200 + 3 * missed) < some.recall[0] < some.recall[2] < 1


def test_a_low_precision_stops_the_build():
    evaluation.judge(READING, 0.99, 0.05)
    with pytest.raises(DedupError, match=r"precision 0\.975 \(at least 0\.943\), corpus\.min_precision is 0\.99"):
        evaluation.judge(evaluation.Reading(1_000, 201, 200, 195, 800, 800, 0, 0, 0, 40), 0.99, 0.05)


def test_a_recall_that_is_surely_low_stops_the_build_and_is_always_told():
    missing = evaluation.Reading(10_000, 100, 100, 100, 9_900, 1_000, 30, 0, 0, 2)
    evaluation.judge(missing, 0.99, 0.05)
    with pytest.raises(DedupError, match=r"1000 sampled documents that stayed 30 had to go: recall 0\.2"):
        evaluation.judge(missing, 0.99, 0.05, 0.9)
    evaluation.judge(
        evaluation.Reading(100, 1, 1, 1, 99, 99, 9, 0, 0, 1), 0.99, 0.05, 0.9
    )  # too few to stop a build for
    one = evaluation.Reading(10_000, 100, 100, 100, 9_900, 1_000, 1, 0, 0, 2)  # 10 by estimate, 2 at the least
    assert one.recall[0] == pytest.approx(100 / 109.9)
    evaluation.judge(one, 0.99, 0.05, 0.95)
    nothing = evaluation.Reading(10_000, 0, 0, 0, 10_000, 1_000, 400, 0, 0, 0)
    assert nothing.recall == (0.0, 0.0, 0.0)
    assert "recall 0.000" in "\n".join(evaluation.summary(nothing, CorpusSettings()))
    with pytest.raises(DedupError, match=r"recall 0\.000"):
        evaluation.judge(nothing, 0.99, 0.05, 0.9)


def test_where_nothing_went_and_nothing_was_missed_the_notes_say_so():
    clean = evaluation.Reading(10_000, 0, 0, 0, 10_000, 1_000, 0, 0, 0, 0)
    evaluation.judge(clean, 0.99, 0.05, 0.9)
    assert evaluation.summary(clean, CorpusSettings())[1:] == [
        "near duplicates: recall not known, since nothing was removed: of 10,000 kept 1,000 were compared with all "
        "others, 0 should have been removed"
    ]


@pytest.mark.parametrize(("bands", "rows"), [(21, 6), (42, 3)])
def test_the_recall_told_of_containment_is_that_of_excerpts(bands, rows):
    source = random.Random(3)
    shelf = []
    for text in range(120):
        whole = [f"w{text}x{source.randrange(10**9)}" for _ in range(200)]
        shelf += [whole, whole[: 100 + text % 60]]
    chosen = CorpusSettings(measure="containment", bands=bands, rows=rows)
    stock, nodes = Shelf(shelf), np.arange(len(shelf), dtype=np.uint64)
    signatures = stock.signatures_of(nodes)
    blocks = [block for _, block in near.scatter_bands(0, nodes.astype(np.uint32), signatures, chosen, 1)]
    pairs, _ = near.candidate_pairs(blocks, 50, lambda some: some.astype(np.int64))
    edges = near.verify(pairs, stock.signatures_of, stock.shingles_of, 0.8, "containment")
    removals = near.choose(edges, lambda some: some.astype(np.int64))
    stayed = np.setdiff1d(nodes, removals["removed"].to_numpy())
    reading = evaluation.measure(evaluation.Result([stayed], removals, pairs, edges), chosen, 2, stock.sources())
    assert reading.recall[0] == pytest.approx(len(removals) / 120, abs=0.02)
    assert (reading.recall[0] > 0.98) == (rows == 3)
    assert "excerpt" in "\n".join(evaluation.summary(reading, chosen))


@given(st.integers(1, 256), st.floats(0.3, 1.0))
def test_the_bands_that_look_for_what_was_missed_pass_over_hardly_a_pair(places, threshold):
    bands, rows = evaluation.fine_bands(places, threshold)
    assert bands * rows <= places
    assert rows == 1 or evaluation.candidate_probability(threshold, bands, rows) >= 1 - evaluation.PASSED_OVER
    if places >= 128 and threshold >= 0.364:
        assert evaluation.candidate_probability(threshold, bands, rows) >= 1 - evaluation.PASSED_OVER


def test_a_keeper_that_swallows_the_corpus_stops_the_build():
    swallowed = evaluation.Reading(1_000, 200, 200, 200, 800, 800, 0, 0, 0, 101)
    with pytest.raises(DedupError, match=r"keeper of 101 near duplicates, more than 0\.05 of 1,000 documents"):
        evaluation.judge(swallowed, 0.99, 0.05)
    evaluation.judge(swallowed, 0.99, 0.2)


def test_without_removals_there_is_nothing_to_be_wrong_about():
    nothing = evaluation.Reading(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    evaluation.judge(nothing, 0.99, 0.05)
    assert math.isnan(nothing.precision[0])
    assert len(evaluation.summary(nothing, CorpusSettings())) == 1


@pytest.mark.parametrize(
    ("left", "right", "expected"), [("a b c", "a b c d e f", 1.0), ("a b", "c d", 0.0), ("", "a", 0.0)]
)
def test_containment_is_of_the_smaller(left, right, expected):
    assert evaluation.exact_containment(left.split(), right.split(), 2) == expected
    sets = [minhash.shingles(text.split(), 2) for text in (left, right)]
    assert minhash.containment(*sets) == minhash.containment(*sets[::-1]) == expected


def test_of_no_probes_and_of_no_removals_nothing_is_found():
    nobody, signatures = np.empty(0, np.uint64), np.empty((0, 128), np.uint32)
    some = Shelf([["a", "b", "c"]] * 2)
    nodes = np.arange(2, dtype=np.uint64)
    assert evaluation.candidates(nobody, signatures, [(nodes, some.signatures_of(nodes))], 0.8).num_rows == 0
    assert evaluation.most_swallowed(nobody) == 0
    assert evaluation.most_swallowed(np.array([3, 4, 3], np.uint64)) == 2


def test_a_reading_is_by_the_measure_that_is_set():
    whole = [f"w{n}" for n in range(100)]
    shelf = Shelf([whole, whole[:60]])  # the excerpt has a Jaccard of 0.6 with the whole, and is contained in it
    result = evaluation.Result(
        stayed=[np.array([0], np.uint64)],
        removals=pa.table([[1], [0], [1.0]], schema=REMOVALS),
        pairs=pa.table([[0], [1]], schema=PAIRS),
        edges=pa.table([[0], [1], [1.0]], schema=EDGES),
    )
    right = {
        name: evaluation.measure(result, CorpusSettings(measure=name), 2, shelf.sources()).right for name in MEASURES
    }
    assert right == {"jaccard": 0, "containment": 1}


MEASURES = ("jaccard", "containment")
THEORY = "near duplicates: 20 bands of 5 rows find a pair, by its Jaccard, with probability"


def test_what_is_told_of_a_reading_is_what_was_measured():
    reading = evaluation.Reading(1_000, 200, 150, 147, 800, 400, 4, 30, 2, 40)
    assert evaluation.summary(reading, CorpusSettings(bands=20, rows=5, jaccard=0.8)) == [
        f"{THEORY} 0.802 at 0.6, 0.975 at 0.7, 1.000 at 0.8, 1.000 at 0.9",
        "near duplicates: precision 0.980 (95 % interval 0.943 to 0.993): of 200 removed 150 were compared with their "
        "keeper word by word, 147 have jaccard >= 0.8",
        "near duplicates: recall 0.961 (95 % interval 0.906 to 0.984): of 800 kept 400 were compared with all others, "
        "4 should have been removed",
        "near duplicates: of 30 pairs left apart 2 have jaccard >= 0.8",
    ]
    lines = evaluation.summary(reading, CorpusSettings(measure="containment", bands=20, rows=5, jaccard=0.8))
    assert lines[:2] == [
        f"{THEORY} 0.114 at 0.36, 0.470 at 0.5, 1.000 at 0.8, 1.000 at 0.9",
        "near duplicates: excerpts are found if they are at least 1/2 as long as the document, which means a Jaccard "
        "similarity of 0.36 or more; shorter ones only by chance",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a b c d", {"a b", "b c", "c d"}), ("a b", {"a b"}), ("a", {"a"}), ("", {""}), ("a a a", {"a a"})],
)
def test_grams_are_all_runs_of_words_and_a_short_document_is_one(text, expected):
    assert {" ".join(gram) for gram in evaluation.grams(text.split(), 2)} == expected


def test_who_is_refused_is_told_what_was_measured_what_was_asked_and_what_to_do():
    told = []
    for reading, *bounds in (
        (evaluation.Reading(1_000, 201, 200, 195, 800, 800, 0, 0, 0, 40), 0.99, 0.05),
        (evaluation.Reading(10_000, 100, 100, 100, 9_900, 1_000, 30, 0, 0, 2), 0.99, 0.05, 0.9),
        (evaluation.Reading(2_000, 1_200, 200, 200, 800, 800, 0, 0, 0, 1_101), 0.99, 0.05),
    ):
        with pytest.raises(DedupError) as refused:
            evaluation.judge(reading, *bounds)
        told.append(str(refused.value))
    assert told == [
        "of 200 sampled near duplicates only 195 are similar to their keeper: precision 0.975 (at least 0.943), "
        "corpus.min_precision is 0.99; nothing was written",
        "of 1000 sampled documents that stayed 30 had to go: recall 0.252 (at most 0.324), corpus.min_recall is 0.9; "
        "more corpus.bands or fewer corpus.rows find more candidate pairs; nothing was written",
        "one document is the keeper of 1,101 near duplicates, more than 0.05 of 2,000 documents (corpus.max_swallowed)"
        "; look at them, then raise the setting if they are copies",
    ]


def test_of_no_tries_nothing_is_known():
    share, low, high = evaluation.wilson(0, 0)
    assert math.isnan(share)
    assert (low, high) == (0.0, 1.0)


def test_a_share_that_was_counted_of_all_has_no_interval():
    assert evaluation.estimate(*evaluation.interval(1, 1, 1)) == "1.000 (counted, not estimated)"
    assert evaluation.estimate(*evaluation.interval(1, 1, 9)).startswith("1.000 (95 % interval 0.2")
