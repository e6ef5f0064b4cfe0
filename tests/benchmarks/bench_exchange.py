"""What one exchange costs through Beam on this machine: python tests/benchmarks/bench_exchange.py [SHARDS …]

Every shard sends 200 rows of 24 bytes to shards at random, as removals do at 2,250 shards; prints seconds, the bytes
that crossed, the parcels that carried them, and the largest process. Each size runs in a process of its own. It runs at
other commits too (PYTHONPATH=OTHER/TREE), so that two can be compared.
"""

import importlib.util
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.shards import schemas
from pipeline.shards.receipts import Task
from pipeline.shards.runner import BeamRun

ROWS = 200
HOMES = (
    "pipeline.shards.spilling",
    "pipeline.shards.jobs",
    "pipeline.shards.orders",
)  # of what spills, now and formerly
SPILL = importlib.import_module(next(home for home in HOMES if importlib.util.find_spec(home))).Spill


def scatter(shards, source):
    draw = np.random.default_rng(source)
    numbers = draw.integers(0, 2**40, ROWS, dtype=np.uint64)
    table = pa.table({"removed": numbers, "keeper": numbers, "score": numbers.astype(np.float64)})
    yield from schemas.scatter(table, draw.integers(0, shards, ROWS).astype(np.int32))


def gather(folder, task, blocks):
    with (folder / "gathered").open("a") as file:
        file.write(f"{sum(1 for _ in blocks) and task.shard}\n")


def measured(shards):
    """Run one exchange and print its figures."""
    crossed = [0, 0]
    spill = SPILL.__call__

    def counted(self, place):
        for one in spill(self, place):
            crossed[0] += 1
            yield one

    SPILL.__call__ = counted
    with tempfile.TemporaryDirectory() as name:
        begin = time.perf_counter()
        tasks = [Task(shard, "a") for shard in range(shards)]
        BeamRun(scratch=Path(name)).exchange(
            partial(scatter, shards), range(shards), partial(gather, Path(name)), tasks
        )
        seconds = time.perf_counter() - begin
        assert len((Path(name) / "gathered").read_text().split()) == shards
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000
    per = seconds * 1e6 / (shards * ROWS)
    print(
        f"{shards:6,} shards: {seconds:7.1f} s, {per:6.1f} us a row, {crossed[0]:9,} parcels, {peak:6,.0f} MB",
        flush=True,
    )


def main():
    if sys.argv[1:2] == ["--one"]:
        measured(int(sys.argv[2]))
        return
    for shards in map(int, sys.argv[1:] or (100, 300, 900)):
        subprocess.run([sys.executable, __file__, "--one", str(shards)], check=True)


if __name__ == "__main__":
    main()
