"""Copies of Wikipedia found by their 8-grams: python tests/benchmarks/bench_overlap.py DUMP.xml.bz2 …

Prints; asserts nothing. Every second article of the dumps is in the reference; of those, pages are made that copy it,
copy a part of it, or quote it within an article that the reference does not hold. Pages are what mirrors show: HTML
with a menu and a footer, the encyclopedia's sentences with marks of notes, of missing sources and of editing, extracted
like any page. A page has to go when most of its words are the encyclopedia's.
"""

import html
import random
import re
import sys
import time
from pathlib import Path

from pipeline.text.extract import extract
from pipeline.text.overlap import NGRAM, Reference, compared_words, ngram_hashes, wikipedia_articles

THRESHOLD = 0.5
LEAST = 120  # words of a page
EDITS = 0.01  # of the words of a copy, changed as editors of mirrors do
PAGES = 8  # made of each article and kind


MARKS = 0.6  # of the encyclopedia's sentences end in a mark
MARK = '<sup class="reference"><a href="#note{0}"><span>[</span>{0}<span>]</span></a></sup>'
NEEDED = '<sup><i><a href="/wiki/Citation">citation needed</a></i></sup>'
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def articles(paths):
    """The sentences of each article that is long enough."""
    found = ([one for one in SENTENCE.split(text) if one] for path in paths for _, text in wikipedia_articles(path))
    return [sentences for sentences in found if len(compared_words(" ".join(sentences))) >= 2 * LEAST]


def excerpt(source, sentences, length):
    """Sentences in a row that have about so many words."""
    start, taken, count = source.randrange(len(sentences)), [], 0
    while count < length and len(taken) < len(sentences):
        taken.append(sentences[(start + len(taken)) % len(sentences)])
        count += len(taken[-1].split())
    return taken


def edited(source, sentence):
    return " ".join(f"edit{source.randrange(10**6)}" if source.random() < EDITS else word for word in sentence.split())


def shown(source, sentence):
    """A sentence as HTML, with its mark."""
    if source.random() > MARKS:
        return html.escape(sentence)
    marks = MARK.format(source.randrange(1, 200)) * source.randrange(1, 3)
    return html.escape(sentence) + (f"<sup>[{NEEDED}]</sup>" if source.random() < 0.05 else marks)


def page(source, copied, own, share):
    """A page of which `share` is an (edited) passage of `copied`, the rest sentences of `own` around it."""
    length = source.randrange(LEAST, 1_000)
    theirs = [edited(source, one) for one in excerpt(source, copied, int(length * share))] if share else []
    rest = int(sum(len(one.split()) for one in theirs) * (1 - share) / share) if share else length
    mine = list(map(html.escape, excerpt(source, own, rest)))
    cut = source.randrange(len(mine) + 1)
    every = [*mine[:cut], *(shown(source, one) for one in theirs), *mine[cut:]]
    paragraphs = [f"<p>{' '.join(every[at : at + 5])}</p>" for at in range(0, len(every), 5)]
    edit = '<span class="editsection">[<a href="/edit">edit</a>]</span>'
    paragraphs[1::4] = [f"<h2>History{edit}</h2>{one}" for one in paragraphs[1::4]]
    return (
        "<html><head><title>A page</title></head><body><div id=nav><a href=/>Home</a> <a href=/all>All pages</a></div>"
        f"<div id=content><h1>A page</h1>{''.join(paragraphs)}</div><div id=footer>Copyright 2013</div></body></html>"
    )


def grams(sentences):
    return ngram_hashes(compared_words(" ".join(sentences)), NGRAM)


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
    count = sum(len(" ".join(one).split()) for one in every)
    print(f"{len(every)} articles, {count:,} words, read at {count / reading:,.0f} words a second and core")
    for sample in (1, 16, 64):
        measure(every, sample)


def measure(every, sample):
    source = random.Random(1)
    held, strange = every[::2], every[1::2]
    reference = Reference.from_hashes(map(grams, held), NGRAM, sample)
    right = {True: [0, 0], False: [0, 0]}
    print(f"one 8-gram in {sample}: {len(reference.hashes):,} of them, {8 * len(reference.hashes):,} bytes")
    looking = looked = 0.0
    for name, ((low, high), goes) in KINDS.items():
        gone = tried = 0
        for copied in held:
            for _ in range(PAGES):
                made = page(source, copied, source.choice(strange), source.uniform(low, high))
                text = extract(made.encode(), "text/html; charset=utf-8", "", "cascade").text
                begin = time.process_time()
                hashes = ngram_hashes(compared_words(text), NGRAM)
                gone += reference.overlap(hashes) >= THRESHOLD
                looking += time.process_time() - begin
                looked += len(hashes)
                tried += 1
        right[goes][0] += gone
        right[goes][1] += tried
        print(f"  {name:28} {gone:5} of {tried} go")
    recall, false = right[True][0] / right[True][1], right[False][0]
    print(f"  precision {right[True][0] / (right[True][0] + false):.4f}, recall {recall:.4f}; "
          f"{looked / looking:,.0f} words a second and core")  # fmt: skip


if __name__ == "__main__":
    main()
