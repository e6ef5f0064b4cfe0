"""Scores every extraction engine on pages whose main text is known: words, 4-grams, empty results, pages a second.

    python tests/benchmarks/bench_extraction.py FOLDER [SOURCE] [--signals] [--sandbox]

FOLDER holds `pages.warc.gz` (responses) and `expected_text.jsonl.zst` (one object a line: url, source, page_type,
expected_text). The block classifier was trained on both sources, `wcxb` and `aeb`: what they say of the cascade is no
measure of its quality (train_blocks.py cross-validates). Precision, recall and F1 are of bags of words, and of bags of
4-grams of words, averaged over pages. Engines take turns page by page, so that a busy machine is busy for all
of them; seconds are of CPU. `--signals` times the signals against the extraction, `--sandbox` the sandbox against none.
It prints tables and asserts nothing; CPU seconds on a shared machine are good to a tenth, their ratios to less.
"""

import io
import json
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType

from pipeline.shards.outcomes import Outcome
from pipeline.text.extract import ENGINES, extract
from pipeline.text.normalize import words
from pipeline.text.sandbox import Sandbox
from pipeline.text.signals import signals

SOURCES = ("wcxb", "aeb")
WELL_FORMED = ("article", "forum", "documentation")
GRAM = 4
ROUNDS = 3  # of the timings of signals and sandbox


def expected_texts(folder, source=None):
    """url -> (source, page type, expected text), of all sources or one; an article where no type is given."""
    found = {}
    with (folder / "expected_text.jsonl.zst").open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8"):
            page = json.loads(line)
            if source in (None, page["source"]):
                found[page["url"]] = (page["source"], page["page_type"] or "article", page["expected_text"])
    return found


def pages_of(folder, urls):
    """(body, content type, url) of the responses to `urls`."""
    with (folder / "pages.warc.gz").open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            if record.headers["WARC-Target-URI"] in urls:
                content_type = record.http_headers.get("Content-Type") or ""
                yield record.reader.read(), content_type, record.headers["WARC-Target-URI"]


def bag_scores(found, expected):
    """(precision, recall, F1) of two bags; 1.0 each for two empty ones."""
    common = (found & expected).total()
    if not found and not expected:
        return 1.0, 1.0, 1.0
    precision, recall = (common / bag.total() if bag else 0.0 for bag in (found, expected))
    return precision, recall, bag_f1(found, expected)


def bag_f1(found, expected):
    """Harmonic mean of precision and recall of two bags; 1.0 for two empty ones."""
    total = found.total() + expected.total()
    return 2 * (found & expected).total() / total if total else 1.0


def grams(some):
    """The bag of runs of GRAM words; of a shorter text, the text."""
    return Counter(tuple(some[i : i + GRAM]) for i in range(max(1, len(some) - GRAM + 1))) if some else Counter()


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else float("nan")


def run(engines, pages):
    """engine -> (results, CPU seconds), the engines taking turns on every page."""
    results = {engine: [] for engine in engines}
    seconds = dict.fromkeys(engines, 0.0)
    for engine in engines:
        extract(*pages[0], engine)  # imports
    for number, page in enumerate(pages):
        for turn in range(len(engines)):
            engine = engines[(number + turn) % len(engines)]
            start = time.process_time()
            results[engine].append(extract(*page, engine))
            seconds[engine] += time.process_time() - start
    return {engine: (results[engine], seconds[engine]) for engine in engines}


def print_scores(found, pages, truth):
    """One table for words, one for 4-grams; a line an engine and kind of page."""
    for name, bag in (("words", Counter), (f"{GRAM}-grams", grams)):
        print(f"\n{name:12} kind of page   pages  precision  recall  F1")
        expected = [bag(words(truth[url][2])) for _, _, url in pages]
        for engine, (results, _) in found.items():
            scores = [bag_scores(bag(words(r.text)), e) for r, e in zip(results, expected, strict=True)]
            by_kind = {}
            for (_, _, url), score in zip(pages, scores, strict=True):
                for kind in {"all", truth[url][1], *(["art+for+doc"] if truth[url][1] in WELL_FORMED else [])}:
                    by_kind.setdefault(kind, []).append(score)
            for kind, some in sorted(by_kind.items(), key=lambda item: (item[0] not in ("all", "art+for+doc"), item)):
                precision, recall, f1 = map(mean, zip(*some, strict=True))
                print(f"{engine:12} {kind:13} {len(some):6}  {precision:9.3f}  {recall:6.3f}  {f1:.4f}", flush=True)


def print_speed(found):
    """Empty results and pages a second of every engine."""
    print("\nengine        empty   pages/s of CPU")
    for engine, (results, seconds) in found.items():
        empty = sum(result.outcome is not Outcome.KEPT for result in results)
        print(f"{engine:12}  {empty:5}  {len(results) / seconds:9.1f}", flush=True)


def print_signals(pages):
    """Share of extraction's CPU time that all signals take, in alternating rounds over the same pages."""
    shares = []
    for _ in range(ROUNDS):
        start = time.process_time()
        texts = [extract(*page, "cascade").text for page in pages]
        middle = time.process_time()
        for text in texts:
            signals(text)
        shares.append((time.process_time() - middle) / (middle - start))
    print(f"\nall signals: {sorted(shares)[ROUNDS // 2]:.0%} of the cascade's time on {len(pages)} pages")


def print_sandbox(pages):
    """Share of wall time that the sandbox adds to the default engine, page by page in turns."""
    shares = []
    with Sandbox("cascade", 60.0, 4_000_000_000) as box:
        for _ in range(ROUNDS):
            plain = boxed = 0.0
            for page in pages:
                begin = time.perf_counter()
                extract(*page, "cascade")
                middle = time.perf_counter()
                box.extract(*page)
                plain, boxed = plain + middle - begin, boxed + time.perf_counter() - middle
            shares.append(boxed / plain - 1)
    print(f"\nsandbox: {sorted(shares)[ROUNDS // 2]:+.1%} wall time around the cascade on {len(pages)} pages")


def main():
    folder, options = Path(sys.argv[1]), sys.argv[2:]
    truth = expected_texts(folder, next((option for option in options if not option.startswith("-")), None))
    pages = list(pages_of(folder, truth))
    print(f"{len(pages)} pages, {sum(len(body) for body, _, _ in pages) / len(pages) / 1000:.0f} kB each")
    engines = [engine for engine in ENGINES if engine != "newspaper" or find_spec("newspaper")]
    found = run(engines, pages)
    print_scores(found, pages, truth)
    print_speed(found)
    if "--signals" in options:
        print_signals(pages)
    if "--sandbox" in options:
        print_sandbox(pages[:200])


if __name__ == "__main__":
    main()
