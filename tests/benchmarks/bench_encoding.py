"""How fast text is counted, learnt from and encoded, beside `tokenizers` doing the same.

    python tests/benchmarks/bench_encoding.py TEXTS.jsonl[.zst] [MEGABYTES] [VOCABULARY]

TEXTS holds one JSON object with a "text" a line. CPU seconds of this process and all its threads. The engines
alternate, who begins too; the figure is the median of the ratios of neighbours: a busy machine slows both alike.
"""

import json
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import zstandard
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from pipeline import tokenizer
from pipeline.text import bpe
from pipeline.text.encoder import Encoder

ROUNDS = 5
MIN_COUNT = 1


def texts_of(path, megabytes):
    opened = zstandard.open(path, "rt", encoding="utf-8") if path.suffix == ".zst" else path.open(encoding="utf-8")
    texts, size = [], 0
    with opened as lines:
        for line in lines:
            texts.append(json.loads(line)["text"])
            size += len(texts[-1].encode())
            if size >= megabytes * 1e6:
                break
    return texts, size / 1e6


def timed(function, *arguments):
    start = time.process_time()
    result = function(*arguments)
    return result, time.process_time() - start


def counted(texts):
    blocks = tokenizer.scatter_counts(texts, 1, tokenizer.LONGEST, tokenizer.MOST_WORDS)
    return tokenizer.gather_counts((block for _, block in blocks), tokenizer.MOST_WORDS)


def trained(texts, vocab_size):
    oracle = Tokenizer(models.BPE())
    oracle.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    oracle.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size - 1, min_frequency=MIN_COUNT, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return [tuple(map(bpe.unspelled, pair)) for pair in json.loads(oracle.to_str())["model"]["merges"]]


def main(path, megabytes=10.0, vocab_size=50_257):
    texts, size = texts_of(Path(path), float(megabytes))
    vocab_size = int(vocab_size)
    table, counting = timed(counted, texts)
    words, counts = table["word"].to_pylist(), table["count"].to_numpy()
    (merges, _), learning = timed(bpe.learn, words, counts, vocab_size, MIN_COUNT)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    expected, training = timed(trained, texts, vocab_size)
    print(f"{size:.1f} MB, {len(words):,} distinct pre-tokens, {len(merges):,} merges, {memory:.0f} MiB at most")
    print(f"count {counting:.2f} s, learn {learning:.2f} s; tokenizers trains in {training:.2f} s")
    print(f"merges in common with tokenizers: {len(set(merges) & set(expected)):,} of {len(expected):,}")

    encoder = Encoder.of(bpe.files_of(merges)["tokenizer.json"], "")
    print("encode_batch is gigatoken" if encoder.bulk else "gigatoken is not installed: encode_batch is encode")
    engines = {
        "encode_batch": lambda: in_batches(encoder, texts),
        "encode (tiktoken)": lambda: [encoder.encode(text) for text in texts],
        "tokenizers.encode_batch": lambda: slowly(encoder, texts),
    }
    seconds = {name: [] for name in engines}
    for turn in range(ROUNDS):
        results = []
        for name in list(engines) if turn % 2 else list(engines)[::-1]:
            if encoder.bulk:
                encoder.bulk.engine = None  # what it remembers of the round before would flatter it
            ids, spent = timed(engines[name])
            seconds[name].append(spent)
            results.append(ids)
        assert all(np.array_equal(first, other) for first, *rest in zip(*results, strict=True) for other in rest)
    print(f"{sum(map(len, ids)):,} tokens, identical; medians of {ROUNDS} rounds, CPU time:")
    for name, spent in seconds.items():
        ratios = [own / batch for own, batch in zip(spent, seconds["encode_batch"], strict=True)]
        print(
            f"{name}: {statistics.median(spent):.2f} s, {size / statistics.median(spent):.1f} MB/s; "
            f"{statistics.median(ratios):.1f} times that of encode_batch ({min(ratios):.1f} to {max(ratios):.1f})"
        )


def in_batches(encoder, texts):
    """As `tokens` does it, by a thousand."""
    return [ids for start in range(0, len(texts), 1_000) for ids in encoder.encode_batch(texts[start : start + 1_000])]


def slowly(encoder, texts):
    return [one.ids for one in encoder.slow.encode_batch(texts)]


if __name__ == "__main__":
    main(*sys.argv[1:])
