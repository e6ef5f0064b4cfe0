"""What one more month costs: twelve monthly dumps built, then the thirteenth, against a build of all thirteen.

    python tests/benchmarks/bench_months.py [PAGES A MONTH] [FOLDER] [STAGE]

Each month is a dump with four posts a page, of which one has the karma, and a WARC file with the pages: made-up prose
of the words of the demo's passages among its ordinary clutter, a tenth of them copies of a page of any month before.
Processor time is that of whole processes and all their children. It prints what the thirteenth month costs of its
share, a thirteenth of the build from nothing, and whether every shard has the bytes of that.
"""

import io
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.demo import site
from pipeline.demo.prose import Passage
from pipeline.shards.layout import ARTEFACTS, MANIFEST

MONTHS = 13
CONFIG = """[build]
shards = 2
workers = 2
[links]
submissions = ["dumps/*.ndjson"]
[pages]
warc = ["warcs/*.warc.gz"]
"""


def passage(number, words):
    """Some paragraphs of a page; a tenth of them say what an earlier page says."""
    draw = np.random.default_rng(number if number % 10 else number // 20)
    lengths = draw.integers(40, 120, draw.integers(4, 12))
    return Passage(f"Story {number}", tuple(" ".join(draw.choice(words, length)) + "." for length in lengths))


def write(work, month, pages, words):
    """The dump and the WARC file of a month."""
    for name in ("dumps", "warcs"):
        (work / name).mkdir(parents=True, exist_ok=True)
    hosts = sorted(site.HOSTS)
    stem = f"{2025 + month // 12}-{month % 12 + 1:02d}"
    head = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
    with (work / f"warcs/{stem}.warc.gz").open("wb") as file, (work / f"dumps/{stem}.ndjson").open("w") as dump:
        writer = WARCWriter(file, gzip=True)
        for number in range(month * pages, (month + 1) * pages):
            page = site.Page(hosts[number % len(hosts)], f"/story/{number}.html", passage(number, words))
            url = f"https://blog{number % 997}.example/story/{number}.html"
            body = io.BytesIO(site.render(page).encode())
            writer.write_record(writer.create_warc_record(url, "response", body, http_headers=head))
            for turn, score in enumerate((5, 1, 0, 2)):
                row = {"id": f"{number:x}{turn}", "url": url if not turn else f"{url}?page={turn}", "score": score}
                row |= {"created_utc": 1_700_000_000 + number, "subreddit": "books", "over_18": False, "is_self": False}
                dump.write(json.dumps(row) + "\n")


def build(work, stage):
    """Processor seconds of one whole build."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "pipeline", "build", stage, "--dir", str(work)], check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def files_of(work, stage):
    """Name to sha256 of an artefact's shards."""
    manifest = json.loads((work / stage / MANIFEST).read_text())
    return {name: stamp["sha256"] for name, stamp in manifest["files"].items()}


def main(pages=150, folder=None, until="corpus"):
    words = sorted(
        {word for page in site.ordinary_pages() for text in page.passage.paragraphs for word in text.split()}
    )
    with tempfile.TemporaryDirectory(dir=folder) as root:
        grown, whole = Path(root) / "grown", Path(root) / "whole"
        for work in (grown, whole):
            work.mkdir()
            (work / "webtext.toml").write_text(CONFIG)
        for month in range(MONTHS):
            write(whole, month, int(pages), words)
            for name in ("dumps", "warcs") if month < MONTHS - 1 else ():
                shutil.copytree(whole / name, grown / name, dirs_exist_ok=True)
        twelve, idle = build(grown, until), build(grown, until)
        for name in ("dumps", "warcs"):
            shutil.copytree(whole / name, grown / name, dirs_exist_ok=True)
        more, full = build(grown, until), build(whole, until)
        print(f"{int(pages):,} pages a month, processor seconds up to {until}, of whole processes:")
        print(f"12 months {twelve:.1f}, nothing to do {idle:.1f}, the 13th {more:.1f}, 13 from nothing {full:.1f}")
        print(f"the 13th costs {more / full * MONTHS:.2f} of its share; less what doing nothing costs: ", end="")
        print(f"{(more - idle) / (full - idle) * MONTHS:.2f}")
        for stage in ARTEFACTS[: ARTEFACTS.index(until) + 1]:
            same = files_of(grown, stage) == files_of(whole, stage)
            print(f"{stage}: {'the bytes of a build from nothing' if same else 'OTHER BYTES'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
