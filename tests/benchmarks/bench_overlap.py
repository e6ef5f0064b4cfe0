"""Copies of Wikipedia found by their 8-grams: python tests/benchmarks/bench_overlap.py DUMP.xml.bz2 …

Prints; asserts nothing. Every second article of the dumps is in the reference; of those, pages are made that copy it,
copy a part of it, or quote it within an article that the reference does not hold. A page has to go when most of its
words are the encyclopedia's.
"""

import random
import sys
import time
from pathlib import Path

from pipeline.text.normalize import words
from pipeline.text.overlap import NGRAM, Reference, ngram_hashes, wikipedia_articles

THRESHOLD = 0.5
LEAST = 120  # words of a page
EDITS = 0.01  # of the words of a copy, changed as editors of mirrors do
PAGES = 8  # made of each article and kind


def articles(paths):
    return [tokens for path in paths for _, text in wikipedia_articles(path) if len(tokens := words(text)) >= 2 * LEAST]


def excerpt(source, tokens, length):
    start = source.randrange(max(1, len(tokens) - length))
    return tokens[start : start + length]


def edited(source, tokens):
    return [f"edit{source.randrange(10**6)}" if source.random() < EDITS else token for token in tokens]


def page(source, copied, own, share):
    """A page of which `share` is an (edited) passage of `copied`, the rest `own` words around it."""
    length = source.randrange(LEAST, 1_000)
    theirs = edited(source, excerpt(source, copied, int(length * share)))
    mine = excerpt(source, own, max(0, int(len(theirs) * (1 - share) / share)) if share else length)
    cut = source.randrange(len(mine) + 1)
    return mine[:cut] + theirs + mine[cut:]


KINDS = {  # name: shares of a page that are the encyclopedia's, and whether it has to go
    "whole copies": ((1.0, 1.0), True),
    "partial copies, 60 to 95 %": ((0.6, 0.95), True),
    "quotations, 5 to 40 %": ((0.05, 0.4), False),
    "strangers": ((0.0, 0.0), False),
}


def main():
    paths = [Path(one) for one in sys.argv[1:]]
    begin = time.process_time()
    every = articles(paths)
    reading = time.process_time() - begin
    count = sum(map(len, every))
    print(f"{len(every)} articles, {count:,} words, read at {count / reading:,.0f} words a second and core")
    for sample in (1, 16, 64):
        measure(every, sample)


def measure(every, sample):
    source = random.Random(1)
    held, strange = every[::2], every[1::2]
    reference = Reference.from_hashes((ngram_hashes(one, NGRAM) for one in held), NGRAM, sample)
    right = {True: [0, 0], False: [0, 0]}
    print(f"one 8-gram in {sample}: {len(reference.hashes):,} of them, {8 * len(reference.hashes):,} bytes")
    looking = looked = 0.0
    for name, ((low, high), goes) in KINDS.items():
        gone = tried = 0
        for copied in held:
            for _ in range(PAGES):
                made = page(source, copied, source.choice(strange), source.uniform(low, high))
                begin = time.process_time()
                gone += reference.overlap(ngram_hashes(made, NGRAM)) >= THRESHOLD
                looking += time.process_time() - begin
                looked += len(made)
                tried += 1
        right[goes][0] += gone
        right[goes][1] += tried
        print(f"  {name:28} {gone:5} of {tried} go")
    recall, false = right[True][0] / right[True][1], right[False][0]
    print(f"  precision {right[True][0] / (right[True][0] + false):.4f}, recall {recall:.4f}; "
          f"{looked / looking:,.0f} words a second and core")  # fmt: skip


if __name__ == "__main__":
    main()
