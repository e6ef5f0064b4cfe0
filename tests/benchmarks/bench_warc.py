"""How fast WARC files are indexed and joined with links, beside FastWARC reading the same records and judging nothing.

    python tests/benchmarks/bench_warc.py FILE.warc.gz [ROUNDS]

Every address of the file becomes a link. Medians of rounds in which the three alternate; seconds of this process's CPU,
so that other work on the machine counts little. It prints a table and asserts nothing.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
from fastwarc.warc import ArchiveIterator

from pipeline import pages
from pipeline.config import BuildSettings, PagesSettings, Settings
from pipeline.fetch.captures import index
from pipeline.shards import schemas
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import PlainRun
from pipeline.urls import BadUrl, canonical_url, doc_id, host_of, shard_of

SHARDS = 4


def write_links(work, addresses):
    rows = {}
    for address in addresses:
        try:
            url = canonical_url(address)
        except BadUrl:
            continue
        named = {"url": url, "fetch_url": url, "doc_id": doc_id(url), "host": host_of(url)}
        rows[url] = {**named, "score": 3, "created": 0, "submissions": [], "host_shards": 1, "outcome": "kept"}
    links = Artefact(work, "links", SHARDS)
    for shard in range(SHARDS):
        mine = [row for row in rows.values() if shard_of(row["host"], row["doc_id"], SHARDS, {}) == shard]
        with links.attempt(Task(shard, "f")) as attempt:
            with attempt.write(".parquet") as file:
                schemas.write_parquet(file, [pa.Table.from_pylist(mine, schemas.LINKS)], schemas.LINKS)
            attempt.commit({})
    return len(rows)


def read(path):
    return sum(len(record.reader.read()) for record in ArchiveIterator(path.open("rb")))


def timed(function, *arguments):
    start = time.process_time()
    result = function(*arguments)
    return result, time.process_time() - start


def main(path, rounds=3):
    path = Path(path).absolute()
    settings = Settings(build=BuildSettings(shards=SHARDS), pages=PagesSettings(warc=(str(path),)))
    seconds = {"FastWARC": [], "index": [], "stage": []}
    for _ in range(int(rounds)):
        size, spent = timed(read, path)
        seconds["FastWARC"].append(spent)
        captures, spent = timed(lambda: list(index(path, settings.pages)))
        seconds["index"].append(spent)
        with tempfile.TemporaryDirectory() as work:
            links = write_links(Path(work), {capture.url for capture in captures})
            manifest, spent = timed(pages.stage, settings, Path(work), PlainRun())
            seconds["stage"].append(spent)
    print(f"{path.name}: {len(captures):,} captures, {size / 1e6:.1f} MB decompressed; {links:,} links")
    print(f"pages: {manifest.books['pages'].outcomes}")
    base = statistics.median(seconds["FastWARC"])
    for name, spent in seconds.items():
        median = statistics.median(spent)
        print(f"{name:9} {median:6.2f} s  {len(captures) / median:8,.0f} pages/s  {median / base:5.1f} x FastWARC")


if __name__ == "__main__":
    main(*sys.argv[1:])
