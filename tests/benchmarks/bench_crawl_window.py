"""A crawl of 64 shards against the bound that politeness sets, and beside another build's: whole processes, in turn.

    python tests/benchmarks/bench_crawl_window.py [TREE] [MOST]

TREE is a checkout of the build to compare with (`git worktree add TREE COMMIT`); without it only this one is run. The
web is a process of its own, which answers after 50 ms and times every request. Host n of 256 has MOST / sqrt(n) links
(60), so the largest are spread over several shards, and most shards have a host that is long beside its others. The
bound: the longest host cannot be done before its gaps and answers are over, its robots.txt included. Timed is the
stage, from the links on.

It prints seconds, ratios, and the shortest gap that the web saw; it asserts nothing.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOSTS, SHARDS, GAP_S, LATENCY_S = 256, 64, 0.5, 0.05
CONFIG = """[build]
shards = {shards}
[links]
submissions = ["dump.ndjson"]
[pages]
contact = "mailto:a@b.test"
gap_s = {gap_s}
[pages.local_hosts]
"""


def write(work, counts, port):
    """A working directory with the links of so many links a host."""
    work.mkdir()
    rows = [(f"h{host}.test", number) for host, count in enumerate(counts) for number in range(count)]
    with (work / "dump.ndjson").open("w") as dump:
        for place, (host, number) in enumerate(rows):
            row = {"id": f"p{place}", "url": f"http://{host}/{number}", "score": 3 + place % 7}
            row |= {"created_utc": 1_400_000_000, "subreddit": "books", "over_18": False, "is_self": False}
            dump.write(json.dumps(row) + "\n")
    hosts = "".join(f'"h{host}.test" = "127.0.0.1:{port}"\n' for host in range(HOSTS))
    (work / "webtext.toml").write_text(CONFIG.format(shards=SHARDS, gap_s=GAP_S) + hosts)


def crawl(work):
    """In a process of the build that is measured: seconds of the stage `pages`, and its outcomes, as JSON."""
    from pipeline import config, links, pages
    from pipeline.shards.runner import PlainRun

    settings = config.load(work / "webtext.toml")
    links.stage(settings, work, PlainRun())
    began = time.monotonic()
    manifest = pages.stage(settings, work, PlainRun())
    print(json.dumps([time.monotonic() - began, manifest.books["pages"].outcomes]))


def crawled(tree, counts):
    """Seconds that the crawl of a build takes, its outcomes, and what its web saw."""
    from bench_crawler import Served

    with tempfile.TemporaryDirectory() as folder, Served(LATENCY_S) as web:
        work = Path(folder) / "work"
        write(work, counts, web.port)
        command = [sys.executable, __file__, "--crawl", str(work)]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(tree)}, check=True, stdout=subprocess.PIPE)
    return *json.loads(done.stdout), web.times


def shortest_gap(times):
    """Seconds from the end of an answer to the next request of the same host, the fewest."""
    hosts = {}
    for host, came, answered in times:
        hosts.setdefault(host, []).append((came, answered))
    return min(b[0] - a[1] for one in hosts.values() for a, b in itertools.pairwise(sorted(one)))


def main(other="", most=60):
    here = Path(__file__).parents[2]
    counts = [max(1, int(int(most) / rank**0.5)) for rank in range(1, HOSTS + 1)]
    bound = (counts[0] + 1) * (GAP_S + LATENCY_S)
    print(f"{sum(counts):,} links, {HOSTS} hosts, {SHARDS} shards, gap {GAP_S} s: bound {bound:.1f} s", flush=True)
    found = {}
    for tree in [here, *([Path(other).resolve()] if other else [])]:
        took, outcomes, times = crawled(tree, counts)
        found[tree] = took
        print(f"  {tree.name}: {took:.1f} s, {took / bound:.2f} x the bound; {outcomes}", flush=True)
        print(f"    {len(times):,} requests, shortest gap {shortest_gap(times) * 1000:.1f} ms", flush=True)
    if len(found) > 1:
        ours, theirs = found.values()
        print(f"  {theirs / ours:.1f} times as fast")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--crawl"]:
        crawl(Path(sys.argv[2]))
    else:
        main(*sys.argv[1:])
