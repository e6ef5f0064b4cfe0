"""Evaluation of the deduplication, measured on its own result: precision, recall, and what theory promised.

Choice: a sample of what went out, and of what stayed, is compared word by word, without hashes of shingles, signatures
or the recipe's bands. To find what was missed, documents that stayed are looked for with bands so fine that they pass
over hardly a pair (10^-13 at Jaccard 0.8; 10^-4 at 0.36, which half of a document has with the whole). Cost: one pass
over the signatures, and the texts of the sample. Alternative: trust the bands' curve, which says nothing of a bug.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.config import CorpusSettings
from pipeline.dedup import minhash
from pipeline.dedup.near_duplicates import (
    JACCARDS_AT_ONCE,
    LONGER,
    PAIRS,
    SignaturesOf,
    agreeing,
    least_agreement,
    least_jaccard,
    pair_batches,
)
from pipeline.dedup.nodes import Nodes, RankOf, ranked
from pipeline.shards.outcomes import DedupError

FINE_ROWS = (3, 2, 1)  # of the bands that look for what was missed: of 128 places 42, 64, 128 bands
PASSED_OVER = 1e-3  # most of the pairs at the threshold that such bands may miss: 1 - 1 / 3 rows at 0.8, 2 at 0.36
NEAR = 0.1  # of agreement under the threshold: a near miss
BATCH = 10_000  # documents whose signatures are held at once: 5 MB at 128 permutations, their bands 3 MB
LAXER = 16  # a sixteenth of the places fewer need to agree than the recipe asks for
Z = 1.96  # standard deviations of a 95 % interval
LEAST_MISSED = 10  # that a sample must show before a recall stops a build: of a few, shares say little
LEAST_SWALLOWED = 100  # documents that a keeper may always swallow: shares of small corpora mean nothing
CURVE = (0.6, 0.7, 0.8, 0.9)  # Jaccards at which the theoretical curve is told

WordsOf = Callable[[Nodes], list[list[str]]]  # of each node


@dataclass(frozen=True)
class Reading:
    """What was measured; counts only, so that readings are exact and shares are computed where they are told."""

    documents: int  # compared with each other
    removed: int  # near duplicates that went out
    checked: int  # of these, compared word by word with their keeper
    right: int  # of the checked, similar enough
    stayed: int  # documents that stayed
    probed: int  # of these, looked up among all
    missed: int  # of the probed, similar to a better-ranked document that stayed
    refused_checked: int  # candidate pairs that verification refused, compared word by word
    refused_wrongly: int  # of these, similar enough
    most_swallowed: int  # near duplicates of one keeper

    def table(self) -> pa.Table:
        """One row."""
        return pa.Table.from_pylist([asdict(self)], pa.schema({name: pa.int64() for name in asdict(self)}))

    @property
    def precision(self) -> tuple[float, float, float]:
        """Share of removals that were right: estimate, and both ends of its interval."""
        return interval(self.right, self.checked, self.removed)

    @property
    def recall(self) -> tuple[float, float, float]:
        """Share of the documents that had to go which went: estimate, and both ends of its interval.

        What was missed among all that stayed is estimated from the probed; precision is taken as measured. Where none
        went and none was missed there is nothing to recall: (nan, 0, 1), as of no tries.
        """
        went = self.removed * (self.right / self.checked if self.checked else 1.0)
        if not (went or self.missed):
            return math.nan, 0.0, 1.0
        missed = (share_missed * self.stayed for share_missed in interval(self.missed, self.probed, self.stayed))
        share, high, low = (went / (went + count) if went else 0.0 for count in missed)
        return share, low, high


def interval(hits: int, tries: int, every: int) -> tuple[float, float, float]:
    """The share of hits and its interval; a point where the sample is all there is."""
    share, low, high = wilson(hits, tries)
    return (share, share, share) if 0 < tries == every else (share, low, high)


def estimate(share: float, low: float, high: float) -> str:
    """A share in words, with its interval; one that was counted of all there are has none."""
    return f"{share:.3f} ({f'95 % interval {low:.3f} to {high:.3f}' if low < high else 'counted, not estimated'})"


def wilson(hits: int, tries: int) -> tuple[float, float, float]:
    """Hits / tries with its 95 % score interval (Wilson 1927), which is right at 0 and 1 too; (nan, 0, 1) of none."""
    if not tries:
        return math.nan, 0.0, 1.0
    share, square = hits / tries, Z * Z
    middle = (share + square / (2 * tries)) / (1 + square / tries)
    half = Z / (1 + square / tries) * math.sqrt(share * (1 - share) / tries + square / (4 * tries * tries))
    return share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def candidate_probability(jaccard: float, bands: int, rows: int) -> float:
    """The share of pairs of a Jaccard that share a band: 1 - (1 - s^rows)^bands (Leskovec et al. 2020, 3.4.2)."""
    return float(1 - (1 - jaccard**rows) ** bands)


def fine_bands(places: int, threshold: float) -> tuple[int, int]:
    """Bands, and rows of each, that pass over no more than PASSED_OVER of the pairs at a Jaccard; else of 1 row."""
    ways = ((places // rows, rows) for rows in FINE_ROWS if rows <= places)
    return next(
        (banding for banding in ways if candidate_probability(threshold, *banding) >= 1 - PASSED_OVER), (places, 1)
    )


def sample_of(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of the numbers under `count`, ascending, at random but always the same ones."""
    return sampled(cut(np.arange(count, dtype=np.uint64)), most)[0].astype(np.int64)


def sampled(parts: Iterable[Nodes], most: int) -> tuple[Nodes, int]:
    """At most `most` of the nodes in all parts, in order, at random but for their number always the same; and how many
    there are. Memory: a part, and the sample.
    """
    count, weights, places = 0, np.empty(0, np.uint64), np.empty(0, np.int64)
    chosen: Nodes = np.empty(0, np.uint64)
    for part in parts:
        numbers = np.arange(count, count + len(part))
        weights = np.concatenate([weights, minhash.mixed_64(numbers.astype(np.uint64) + np.uint64(1))])
        places, chosen = np.concatenate([places, numbers]), np.concatenate([chosen, part])
        lightest = np.sort(np.argsort(weights, kind="stable")[:most])
        weights, places, chosen = weights[lightest], places[lightest], chosen[lightest]
        count += len(part)
    return chosen, count


def exact_jaccard(left: list[str], right: list[str], n: int) -> float:
    """Jaccard of the word n-grams of two documents, as sets of tuples: the slow, obvious way."""
    these, other = grams(left, n), grams(right, n)
    return len(these & other) / len(these | other) if left and right else 0.0


def exact_containment(left: list[str], right: list[str], n: int) -> float:
    """Likewise, the share of the smaller set."""
    these, other = grams(left, n), grams(right, n)
    return len(these & other) / min(len(these), len(other)) if left and right else 0.0


def grams(words: list[str], n: int) -> set[tuple[str, ...]]:
    """The word n-grams of a document; a shorter one is one n-gram."""
    return {tuple(words[at : at + n]) for at in range(max(1, len(words) - n + 1))}


def similar(pairs: pa.Table, words_of: WordsOf, n: int, threshold: float, measure: str) -> NDArray[np.bool_]:
    """For each pair (a, b) of nodes, whether its exact likeness reaches the threshold."""
    likeness = exact_jaccard if measure == "jaccard" else exact_containment
    found = np.zeros(pairs.num_rows, bool)
    for start, nodes, left, right in pair_batches(pairs, JACCARDS_AT_ONCE):
        words = words_of(nodes)
        for row, (this, other) in enumerate(zip(left.tolist(), right.tolist(), strict=True), start):
            found[row] = likeness(words[this], words[other], n) >= threshold
    return found


def candidates(
    probes: Nodes, signatures: NDArray[np.uint32], every: Iterable[tuple[Nodes, NDArray[np.uint32]]], threshold: float
) -> pa.Table:
    """Pairs (a the probe, b another) that share a fine band and whose signatures do not speak against `threshold`, the
    least Jaccard that is looked for.

    `every` are batches of nodes and signatures to look among; `signatures` are the probes' own.
    """
    places = signatures.shape[1]
    bands, rows = fine_bands(places, threshold)
    wanted = minhash.band_values(signatures, bands, rows).ravel()
    order = np.argsort(wanted, kind="stable")
    wanted, owner = wanted[order], order // bands
    least = least_agreement(places, threshold) - places // LAXER
    found = [PAIRS.empty_table()]
    for nodes, batch in every:
        values = minhash.band_values(batch, bands, rows).ravel()
        begin = np.searchsorted(wanted, values)
        hits = np.flatnonzero(wanted.take(begin, mode="clip") == values) if len(wanted) else np.empty(0, np.int64)
        counts = np.searchsorted(wanted, values[hits], side="right") - begin[hits]
        ends = np.cumsum(counts)
        place = np.arange(counts.sum()) - np.repeat(ends - counts, counts) + np.repeat(begin[hits], counts)
        pairs = np.unique(np.stack([owner[place], np.repeat(hits // bands, counts)], axis=1), axis=0)
        probe, row = pairs[probes[pairs[:, 0]] != nodes[pairs[:, 1]]].T
        alike = minhash.agreement(signatures[probe], batch[row]) >= least / places
        found.append(pa.table([probes[probe[alike]], nodes[row[alike]]], schema=PAIRS))
    return pa.concat_tables(found)


def most_swallowed(keepers: Nodes) -> int:
    """The most removals that one keeper has."""
    return int(np.unique(keepers, return_counts=True)[1].max(initial=0))


@dataclass(frozen=True)
class Result:
    """What a run decided: the nodes that stayed (an array a shard), REMOVALS, and the candidate PAIRS and EDGES.

    `elsewhere`: nodes of other corpora, for which documents had to go as well.
    """

    stayed: list[Nodes]
    removals: pa.Table
    pairs: pa.Table
    edges: pa.Table
    elsewhere: Sequence[Nodes] = ()


@dataclass(frozen=True)
class Sources:
    """Where signatures, words and places in the ranking of nodes come from."""

    signatures_of: SignaturesOf
    words_of: WordsOf
    rank_of: RankOf


@dataclass(frozen=True)
class Met:
    """What is to be compared word by word, in PAIRS: near duplicates with their keepers, near misses, and the sample of
    what stayed with the better-ranked that it met; how many stayed, and of how many the sample is.
    """

    removed: pa.Table
    refused: pa.Table
    missed: pa.Table
    stayed: int
    probed: int


def measure(result: Result, settings: CorpusSettings, shingle_words: int, sources: Sources) -> Reading:
    """Compare samples of what went, of near misses and of what stayed, word by word, all of it at once."""
    least = least_jaccard(settings.jaccard, settings.measure)
    probes, stayed = sampled(result.stayed, settings.sample)
    among = [*result.stayed, *result.elsewhere]
    met = Met(
        removed=result.removals.select(["removed", "keeper"]).rename_columns(PAIRS.names),
        refused=near_misses(result.pairs, result.edges, sources.signatures_of, least),
        missed=better(found_among(probes, among, sources.signatures_of, least), sources.rank_of),
        stayed=stayed,
        probed=len(probes),
    )
    return read(met, settings, shingle_words, sources.words_of)


def read(met: Met, settings: CorpusSettings, shingle_words: int, words_of: WordsOf) -> Reading:
    """The reading of what was met: samples of it, compared word by word."""
    exactly = partial(similar, words_of=words_of, n=shingle_words, threshold=settings.jaccard, measure=settings.measure)
    checked, refused = (
        pairs_met.take(sample_of(pairs_met.num_rows, settings.sample)) for pairs_met in (met.removed, met.refused)
    )
    return Reading(
        documents=met.stayed + met.removed.num_rows,
        removed=met.removed.num_rows,
        checked=checked.num_rows,
        right=int(exactly(checked).sum()),
        stayed=met.stayed,
        probed=met.probed,
        missed=len(np.unique(met.missed["a"].to_numpy()[exactly(met.missed)])),
        refused_checked=refused.num_rows,
        refused_wrongly=int(exactly(refused).sum()),
        most_swallowed=most_swallowed(met.removed["b"].to_numpy()),
    )


def near_misses(pairs: pa.Table, edges: pa.Table, signatures_of: SignaturesOf, threshold: float) -> pa.Table:
    """The candidate pairs that were not verified although their signatures come within NEAR of the threshold."""
    keys, known = (np.rec.fromarrays([table["a"].to_numpy(), table["b"].to_numpy()]) for table in (pairs, edges))
    refused = pairs.filter(pa.array(~np.isin(keys, known)))
    return agreeing(refused, signatures_of, max(0.0, threshold - NEAR))


def found_among(probes: Nodes, among: Iterable[Nodes], signatures_of: SignaturesOf, threshold: float) -> pa.Table:
    """The candidates of the probes among all of these, a shard's signatures at a time."""
    batches = ((batch, signatures_of(batch)) for nodes in among for batch in cut(nodes))
    return candidates(probes, signatures_of(probes), batches, threshold)


def cut(nodes: Nodes) -> Iterator[Nodes]:
    """Nodes in batches of BATCH."""
    return (nodes[start : start + BATCH] for start in range(0, len(nodes), BATCH))


def better(pairs: pa.Table, rank_of: RankOf) -> pa.Table:
    """The pairs whose b ranks better than their a."""
    known, member = np.unique(np.concatenate([pairs["a"].to_numpy(), pairs["b"].to_numpy()]), return_inverse=True)
    probe, other = ranked(known, rank_of)[member].reshape(2, -1)
    return pairs.filter(pa.array(other < probe))


def judge(reading: Reading, least_precision: float, most_share: float, least_recall: float = 0.0) -> None:
    """Raise DedupError: the sample shows a precision or (surely) a recall under its bound, or too large a cluster."""
    share, low, _ = reading.precision
    if reading.checked and share < least_precision:
        raise DedupError(
            f"of {reading.checked} sampled near duplicates only {reading.right} are similar to their keeper: precision "
            f"{share:.3f} (at least {low:.3f}), corpus.min_precision is {least_precision}; nothing was written"
        )
    recall, _, high = reading.recall
    if high < least_recall and reading.missed >= LEAST_MISSED:
        raise DedupError(
            f"of {reading.probed} sampled documents that stayed {reading.missed} had to go: recall {recall:.3f} (at "
            f"most {high:.3f}), corpus.min_recall is {least_recall}; more corpus.bands or fewer corpus.rows find "
            "more candidate pairs; nothing was written"
        )
    if reading.most_swallowed > max(LEAST_SWALLOWED, most_share * reading.documents):
        raise DedupError(
            f"one document is the keeper of {reading.most_swallowed:,} near duplicates, more than "
            f"{most_share:g} of {reading.documents:,} documents (corpus.max_swallowed); look at them, "
            "then raise the setting if they are copies"
        )


def summary(reading: Reading, settings: CorpusSettings) -> list[str]:
    """The reading as lines for the manifest."""
    bands, rows, wanted = settings.bands, settings.rows, f"{settings.measure} >= {settings.jaccard:g}"
    least = least_jaccard(settings.jaccard, settings.measure)
    at = CURVE if settings.measure == "jaccard" else (round(least, 2), 0.5, *CURVE[2:])
    curve = ", ".join(f"{candidate_probability(jaccard, bands, rows):.3f} at {jaccard}" for jaccard in at)
    lines = [f"{bands} bands of {rows} rows find a pair, by its Jaccard, with probability {curve}"]
    if settings.measure == "containment":
        lines.append(
            f"excerpts are found if they are at least 1/{LONGER} as long as the document, which means a Jaccard "
            f"similarity of {least:.2f} or more; shorter ones only by chance"
        )
    if reading.removed:
        share, low, high = reading.precision
        lines.append(
            f"precision {estimate(share, low, high)}: of {reading.removed:,} removed "
            f"{reading.checked:,} were compared with their keeper word by word, {reading.right:,} have {wanted}"
        )
    if reading.probed:
        share, low, high = reading.recall
        known = "not known, since nothing was removed" if math.isnan(share) else estimate(share, low, high)
        lines.append(
            f"recall {known}: of {reading.stayed:,} kept {reading.probed:,} were compared with all others, "
            f"{reading.missed:,} should have been removed"
        )
    if reading.refused_checked:
        lines.append(f"of {reading.refused_checked:,} pairs left apart {reading.refused_wrongly:,} have {wanted}")
    return [f"near duplicates: {line}" for line in lines]
