"""Figures of the deduplication on this machine: python tests/benchmarks/bench_dedup.py [SIGNATURES] [PARTITIONS]

Prints; asserts nothing. One thread of Python; on a shared machine seconds of the clock are noisy, so the best of five
counts and processor seconds stand beside them. Aims: 3,500 documents of 1,000 words a second and core; recall 0.95 and
precision 0.99 at Jaccard 0.8; candidates of a million signatures in 10 s and 700 bytes a document. Documents are random
words and planted copies random edits; boilerplate, which they lack, has a figure of its own.
"""

import itertools
import resource
import sys
import time
import tracemalloc

import numpy as np
import pyarrow as pa

from pipeline.config import CorpusSettings, DocumentsSettings
from pipeline.dedup import minhash, near_duplicates

WORDS = 1_000
SHARD = 20_000
PLANTED = 3_000
PASTED = 0.01  # share of synthetic signatures that are near copies of an earlier one


def best_of(repeats, work):
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000


def random_words(source, count, vocabulary):
    return [vocabulary[number] for number in source.zipf(1.2, 3 * count) if number < len(vocabulary)][:count]


def vocabulary_of(source):
    lengths = np.clip(source.poisson(5, 50_000), 2, 14)
    return ["".join(map(chr, source.integers(97, 123, length))) for length in lengths]


def signatures_a_second(documents, recipe, drawn):
    def shingle_all():
        return [minhash.shingles(words, recipe.shingle_words) for words in documents]

    shingling, sets = best_of(5, shingle_all), shingle_all()
    signing = best_of(5, lambda: [minhash.signature(one, drawn) for one in sets])
    mean = np.mean([len(words) for words in documents])
    each = 1e6 / len(documents)
    print(
        f"shingles + signature: {len(documents) / (shingling + signing):,.0f} documents of {mean:.0f} words "
        f"a second and core ({shingling * each:.0f} + {signing * each:.0f} us each)"
    )


def edited(source, words, vocabulary, share):
    """A copy in which a run of words, `share` of all, is replaced: Jaccard near (1 - share) / (1 + share)."""
    length = int(len(words) * share)
    start = int(source.integers(0, len(words) - length))
    return words[:start] + random_words(source, length, vocabulary) + words[start + length :]


def planted(source, vocabulary, recipe, corpus, drawn):
    """Recall of each step and precision on pairs with Jaccard from 0.6 to 1, uniform in the share edited."""
    documents = []
    for _ in range(PLANTED):
        words = random_words(source, 300, vocabulary)
        documents += [words, edited(source, words, vocabulary, source.uniform(0, 0.25))]
    sets = [minhash.shingles(words, recipe.shingle_words) for words in documents]
    signatures = np.array([minhash.signature(one, drawn) for one in sets])
    truth = {
        (number, number + 1)
        for number in range(0, len(sets), 2)
        if minhash.jaccard(sets[number], sets[number + 1]) >= corpus.jaccard
    }
    rows = np.arange(len(sets), dtype=np.uint32)
    blocks = [block for _, block in near_duplicates.scatter_bands(0, rows, signatures, corpus, 1)]
    pairs, _ = near_duplicates.candidate_pairs(blocks, corpus.bucket, rank_of)
    alike = near_duplicates.agreeing(pairs, lambda nodes: signatures[nodes], corpus.jaccard)
    begin = time.perf_counter()
    edges = near_duplicates.verify(
        pairs,
        lambda nodes: signatures[nodes],
        lambda nodes: [sets[node] for node in nodes.tolist()],
        corpus.jaccard,
        "jaccard",
    )
    verifying = time.perf_counter() - begin
    print(f"planted: {len(truth):,} true pairs (Jaccard >= {corpus.jaccard}) of {PLANTED:,}")
    for name, table in (("bands", pairs), ("signatures", alike), ("shingles", edges)):
        found = set(zip(table["a"].to_pylist(), table["b"].to_pylist(), strict=True))
        right = len(found & truth)
        print(f"  after {name:10} recall {right / len(truth):.4f}  precision {right / max(1, len(found)):.4f}")
    print(f"  verify: {pairs.num_rows / verifying:,.0f} candidate pairs a second, {alike.num_rows:,} compared exactly")


def rank_of(nodes):
    return nodes.astype(np.int64)


def synthetic(source, count, places):
    """(shard, rows, signatures), random but for PASTED near copies of their shard's rows, 0.9 of the places equal."""
    for shard, start in enumerate(range(0, count, SHARD)):
        size = min(SHARD, count - start)
        signatures = source.integers(0, 2**32, (size, places), dtype=np.uint32)
        copies = source.choice(size, int(size * PASTED), replace=False)
        pasted = signatures[source.integers(0, size, len(copies))]
        signatures[copies] = np.where(source.random(pasted.shape) < 0.9, pasted, signatures[copies])
        yield shard, np.arange(size, dtype=np.uint32), signatures


def generation(source, count, partitions, recipe, corpus):
    before, scattering, waiting, processor = peak_mb(), 0.0, {}, 0.0
    for shard, rows, signatures in synthetic(source, count, recipe.permutations):
        begin, used = time.perf_counter(), time.process_time()
        for number, block in near_duplicates.scatter_bands(shard, rows, signatures, corpus, partitions):
            waiting.setdefault(number, []).append(block)
        scattering += time.perf_counter() - begin
        processor += time.process_time() - used
    shuffled = sum(len(block) for block in itertools.chain(*waiting.values()))
    begin, used = time.perf_counter(), time.process_time()
    pairs = near_duplicates.unite(
        near_duplicates.candidate_pairs(waiting.pop(number), corpus.bucket, rank_of)[0] for number in sorted(waiting)
    )
    gathering = time.perf_counter() - begin
    processor += time.process_time() - used
    slope = (peak_mb() - before) * 1e6 / count
    print(
        f"candidate generation of {count:,} signatures, {partitions} partitions: scatter {scattering:.2f} s + gather "
        f"{gathering:.2f} s ({processor:.2f} s of processor), {pairs.num_rows:,} pairs, "
        f"{shuffled / count:.0f} bytes shuffled a document, peak {peak_mb():,.0f} MB, "
        f"{slope:.0f} bytes a document over the start"
    )


def boilerplate(count, recipe, corpus):
    """Documents that all share a third of their signature, as pages of one site under one heading do."""
    source = np.random.default_rng(2)
    signatures = source.integers(0, 2**32, (count, recipe.permutations), dtype=np.uint32)
    signatures[:, : recipe.permutations // 3] = signatures[0, : recipe.permutations // 3]
    begin = time.process_time()
    blocks = [
        block for _, block in near_duplicates.scatter_bands(0, np.arange(count, dtype=np.uint32), signatures, corpus, 1)
    ]
    pairs, left_out = near_duplicates.candidate_pairs(blocks, corpus.bucket, rank_of)
    alike = near_duplicates.agreeing(pairs, lambda nodes: signatures[nodes], corpus.jaccard)
    seconds = time.process_time() - begin
    print(
        f"boilerplate: {count:,} documents in each of 7 buckets: {pairs.num_rows:,} pairs, {left_out:,} left out, "
        f"{alike.num_rows} compared exactly, {seconds * 1e6 / count:.1f} us of processor a document"
    )


def choice(source, count):
    """Edges between random nodes, six to a node."""
    ends = np.sort(source.integers(0, max(2, count // 3), (count, 2)), axis=1)
    ends = np.unique(ends[ends[:, 0] < ends[:, 1]], axis=0).astype(np.uint64)
    edges = pa.table([ends[:, 0], ends[:, 1], np.ones(len(ends), np.float32)], schema=near_duplicates.EDGES)
    seconds = best_of(1, lambda: near_duplicates.choose(edges, rank_of))
    tracemalloc.start()
    near_duplicates.choose(edges, rank_of)
    grown = tracemalloc.get_traced_memory()[1] / len(ends)
    tracemalloc.stop()
    print(f"choice over {len(ends):,} edges: {seconds:.2f} s, {grown:.0f} bytes an edge beside the table's 20")


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 250_000
    partitions = int(sys.argv[2]) if len(sys.argv) > 2 else 16
    source, recipe, corpus = np.random.default_rng(1), DocumentsSettings(), CorpusSettings()
    drawn = minhash.permutations(recipe.permutations, recipe.seed)
    generation(source, count, partitions, recipe, corpus)
    vocabulary = vocabulary_of(source)
    signatures_a_second([random_words(source, WORDS, vocabulary) for _ in range(300)], recipe, drawn)
    planted(source, vocabulary, recipe, corpus, drawn)
    for documents in (25_000, 100_000):
        boilerplate(documents, recipe, corpus)
    choice(source, 4 * count)


if __name__ == "__main__":
    main()
