"""Scores every extraction engine on pages whose main text is known: word F1 and pages a second of CPU.

    python tests/benchmarks/bench_extraction.py FOLDER [SOURCE]

FOLDER holds `pages.warc.gz` (responses) and `expected_text.jsonl.zst` (one object a line: url, source, page_type,
expected_text); SOURCE keeps only the pages of that source. F1 is of bags of words, averaged over pages. It prints a
table and asserts nothing; CPU seconds on a shared machine are good to a tenth.
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

WELL_FORMED = ("article", "forum", "documentation")


def expected_texts(folder, source):
    """url -> (page type, expected text) of the chosen source; an article where no type is given."""
    found = {}
    with (folder / "expected_text.jsonl.zst").open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8"):
            page = json.loads(line)
            if source in (None, page["source"]):
                found[page["url"]] = (page["page_type"] or "article", page["expected_text"])
    return found


def pages_of(folder, urls):
    """(body, content type, url) of the responses to `urls`."""
    with (folder / "pages.warc.gz").open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            if record.headers["WARC-Target-URI"] in urls:
                content_type = record.http_headers.get("Content-Type") or ""
                yield record.reader.read(), content_type, record.headers["WARC-Target-URI"]


def word_f1(found, expected):
    """Harmonic mean of precision and recall of two bags of words; 1.0 for two empty ones."""
    bag, truth = Counter(words(found)), Counter(words(expected))
    total = bag.total() + truth.total()
    return 2 * (bag & truth).total() / total if total else 1.0


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else float("nan")


def score(engine, pages, truth):
    """One line of the table."""
    extract(*pages[0], engine)  # imports
    start = time.process_time()
    found = [extract(*page, engine) for page in pages]
    seconds = time.process_time() - start
    kinds = [truth[url][0] for _, _, url in pages]
    f1 = [word_f1(each.text, truth[url][1]) for each, (_, _, url) in zip(found, pages, strict=True)]
    by_kind = "  ".join(
        f"{kind} {mean(x for x, k in zip(f1, kinds, strict=True) if k == kind):.3f}" for kind in sorted(set(kinds))
    )
    well_formed = mean(x for x, kind in zip(f1, kinds, strict=True) if kind in WELL_FORMED)
    empty = sum(each.outcome is not Outcome.KEPT for each in found)
    print(
        f"{engine:12} {mean(f1):.4f}  {well_formed:.4f}  {empty:5}  {len(pages) / seconds:7.1f}   {by_kind}", flush=True
    )


def wall_cost(pages):
    """Share of wall time that the sandbox adds to the default engine, interleaved page by page."""
    plain = boxed = 0.0
    with Sandbox("cascade", 60.0, 4_000_000_000) as box:
        for body, content_type, url in pages:
            begin = time.perf_counter()
            extract(body, content_type, url, "cascade")
            middle = time.perf_counter()
            box.extract(body, content_type, url)
            plain, boxed = plain + middle - begin, boxed + time.perf_counter() - middle
    return boxed / plain - 1


def main():
    folder, source = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None
    truth = expected_texts(folder, source)
    pages = list(pages_of(folder, truth))
    print(f"{len(pages)} pages, {sum(len(body) for body, _, _ in pages) / len(pages) / 1000:.0f} kB each")
    print("engine       F1      art+for+doc  empty  pages/s   by page type")
    for engine in ENGINES:
        if engine != "newspaper" or find_spec("newspaper"):
            score(engine, pages, truth)
    print(f"sandbox around the cascade: {wall_cost(pages[:200]):+.1%} wall time on the first 200 pages")


if __name__ == "__main__":
    main()
