"""How much faster two workers extract than one, start-up excluded: whole builds of the stage `documents`, in turn.

    python tests/benchmarks/bench_workers.py [FOLDER] [PAGES] [ROUNDS]

FOLDER holds `pages.warc.gz`, whose responses are repeated under other addresses up to PAGES (3,000); without it the
ordinary pages of the demo are used. Start-up is the wall time of the same command on one page a shard. It prints
seconds and ratios, and asserts nothing.
"""

import io
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fastwarc.warc import ArchiveIterator, WarcRecordType
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.demo import site

SHARDS = 16  # enough that two workers end together
CONFIG = f"""[build]
shards = {SHARDS}
[links]
submissions = ["dump.ndjson"]
[pages]
warc = ["pages.warc.gz"]
"""


def responses(folder):
    """(address, content type, body) of the pages to extract."""
    if folder is None:
        return [(page.url, "text/html; charset=utf-8", site.render(page).encode()) for page in site.ordinary_pages()]
    with (folder / "pages.warc.gz").open("rb") as file:
        return [
            (record.headers["WARC-Target-URI"], record.http_headers.get("Content-Type") or "", record.reader.read())
            for record in ArchiveIterator(file, record_types=WarcRecordType.response)
        ]


def write(work, pages, count):
    """A working directory whose dump and WARC hold `count` pages, each on a host of its own."""
    work.mkdir()
    with (work / "pages.warc.gz").open("wb") as file, (work / "dump.ndjson").open("w") as dump:
        writer = WARCWriter(file, gzip=True)
        for number in range(count):
            _, content_type, body = pages[number % len(pages)]
            url = f"https://host{number}.example/page"
            head = StatusAndHeaders("200 OK", [("Content-Type", content_type)], protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=head))
            row = {"id": f"p{number}", "url": url, "score": 5, "created_utc": 1_400_000_000, "subreddit": "books"}
            dump.write(json.dumps({**row, "over_18": False, "is_self": False}) + "\n")
    (work / "webtext.toml").write_text(CONFIG)


def build(work, stage, workers):
    """Wall seconds of one whole process."""
    command = [sys.executable, "-m", "pipeline", "build", stage, "--dir", str(work)]
    start = time.perf_counter()
    subprocess.run([*command, "--set", f"build.workers={workers}"], check=True, capture_output=True)
    return time.perf_counter() - start


def extraction(work, workers):
    """Wall seconds of extracting everything anew."""
    shutil.rmtree(work / "documents", ignore_errors=True)
    return build(work, "documents", workers)


def main(folder="", count=3_000, rounds=3):
    pages = responses(Path(folder) if folder else None)
    with tempfile.TemporaryDirectory() as root:
        large, small = Path(root) / "large", Path(root) / "small"
        write(large, pages, int(count))
        write(small, pages, SHARDS)
        for work in (large, small):
            build(work, "pages", 1)
        ratios = []
        for turn in range(int(rounds)):
            one, two = (extraction(large, workers) - extraction(small, workers) for workers in (1, 2))
            ratios.append(one / two)
            print(f"round {turn + 1}: 1 worker {one:.1f} s, 2 workers {two:.1f} s, ratio {one / two:.2f}", flush=True)
        median = statistics.median(ratios)
        print(f"{int(count):,} pages, median of {len(ratios)} rounds: 2 workers are {median:.2f} times as fast as 1")


if __name__ == "__main__":
    main(*sys.argv[1:])
