"""How fast a dump is parsed, beside a `json.loads` loop over it; and what the stage `links` costs a link.

    python tests/benchmarks/bench_links.py DUMP [ROUNDS]
    python tests/benchmarks/bench_links.py --links MILLIONS [SHARDS]

The first form runs whole processes in turn, `json.loads` and ours in every round, and gives the median of the paired
ratios of CPU seconds; decompression alone is a third process. The second makes that many synthetic links with 1.2
submissions each, a fifth of them on one host, builds them in a process of its own through Beam's local runner, and
gives its greatest memory, its time and its bytes on disk; run it for two sizes to see the slope.
"""

import io
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import zstandard

ROUNDS = 7
HOSTS_PER_LINK = 0.1  # beside the large one


def decompress(path):
    from pipeline.submissions import forms

    return sum(len(piece) for piece in forms.decompress(path))


def loads(path):
    with zstandard.open(path, "rb") as file:
        return sum(1 for row in map(json.loads, io.BufferedReader(file)) if row)


def ours(path):
    from pipeline.submissions.sources import read_submissions

    return sum(block.fates.total() for block in read_submissions(path, 10_000))


def one(name, path):
    """What a child process prints: CPU seconds, imports left out, and the count."""
    import pipeline.submissions.sources  # noqa: F401

    begun = time.process_time()
    count = {"decompress": decompress, "loads": loads, "ours": ours}[name](Path(path))
    print(time.process_time() - begun, count)


def measured(name, path):
    done = subprocess.run([sys.executable, __file__, "--one", name, path], check=True, capture_output=True, text=True)
    seconds, count = done.stdout.split()
    return float(seconds), int(count)


def parsing(path, rounds=ROUNDS):
    seconds, ratios, bare = {name: [] for name in ("decompress", "loads", "ours")}, [], []
    for _ in range(int(rounds)):
        found = {name: measured(name, path) for name in seconds}
        assert found["loads"][1] == found["ours"][1]
        for name, (spent, _) in found.items():
            seconds[name].append(spent)
        unpacking, slow, fast = (found[name][0] for name in seconds)
        ratios.append(slow / fast)
        bare.append((slow - unpacking) / (fast - unpacking))
    size, rows = found["decompress"][1] / 1e6, found["ours"][1]
    print(f"{rows:,} lines, {size:.0f} MB decompressed; medians of {rounds} rounds, CPU seconds of one process each")
    for name, spent in seconds.items():
        middle = statistics.median(spent)
        print(f"{name:10} {middle:.2f} s  {size / middle:.0f} MB/s  {rows / middle:,.0f} lines/s")
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"ours / json.loads: {statistics.median(ratios):.2f} times the throughput ({spread})")
    print(f"decompression taken off both: {statistics.median(bare):.2f} times")


def synthetic(path, links):
    """A dump of `links` links, in an order that scatters hosts and repeats."""
    chance = random.Random(1)
    with zstandard.open(path, "wb", cctx=zstandard.ZstdCompressor(level=1)) as file:
        for number in range(links * 6 // 5):
            link = number if number < links else chance.randrange(links)
            host = "large.test" if link % 5 == 0 else f"host{link * 7919 % int(links * HOSTS_PER_LINK)}.test"
            file.write(
                b'{"id":"%x","url":"http://www.%s/2013/08/a-title-of-some-words-%d.html","score":%d,"created_utc":%d,'
                b'"subreddit":"sub%d","over_18":false,"is_self":false}\n'
                % (number, host.encode(), link, number % 40, 1375315200 + number, number % 1000)
            )


def build(work, shards):
    """What the process that builds prints: rows, seconds, greatest MiB, MB on disk."""
    from pipeline import links
    from pipeline.build import beam
    from pipeline.config import parse

    settings = parse({"build": {"shards": int(shards)}, "links": {"submissions": ["dump.ndjson.zst"]}})
    begun, root = time.perf_counter(), Path(work)
    manifest = links.stage(settings, root, beam(settings, root))
    seconds = time.perf_counter() - begun
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    disk = {name: sum(path.stat().st_size for path in (root / name).rglob("*") if path.is_file()) / 1e6
            for name in ("links", "scratch")}  # fmt: skip
    print(json.dumps([manifest.books["links"].inputs, seconds, memory, disk]))


def whole_stage(millions, shards=0):
    links = int(float(millions) * 1e6)
    shards = int(shards) or max(4, links // 20_000)
    with tempfile.TemporaryDirectory() as work:
        synthetic(Path(work) / "dump.ndjson.zst", links)
        command = [sys.executable, __file__, "--build", work, str(shards)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows, seconds, memory, disk = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{rows:,} links, {shards} shards: {seconds:.0f} s ({seconds / rows * 1e6:.1f} µs a link), at most "
        f"{memory:.0f} MiB ({memory * 2**20 / rows:.0f} bytes a link); on disk: "
        + ", ".join(f"{name} {size:.0f} MB ({size * 1e6 / rows:.0f} bytes a link)" for name, size in disk.items())
    )


if __name__ == "__main__":
    modes = {"--one": one, "--build": build, "--links": whole_stage}
    mode = modes.get(sys.argv[1])
    mode(*sys.argv[2:]) if mode else parsing(*sys.argv[1:])
