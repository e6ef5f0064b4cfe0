"""What `webtext plan` foretells beside what a build then costs: rows, bytes, memory and CPU seconds of every stage.

    python tests/benchmarks/bench_plan.py [FOLDER]
    python tests/benchmarks/bench_plan.py --measure WORK

The demo is always planned and built; with FOLDER (`reddit/top2013_10pct.ndjson.zst`, `miniweb/` with its dump and
`pages.warc.gz`) real data is too. Each stage is built by a process of its own; CPU seconds are those of all its
processes, memory is the greatest sum of their proportional set sizes, seen ten times a second. A cell is foretold /
found, their ratio, and that of a second plan, made when all stages before stood: 1.00 is right, 0.5 to 2 is what is
aimed at. The demo's web is made up, and nothing like what a plan assumes of the web. The second form prints what the
stages of a working directory cost: where the numbers of `pipeline/verbs/plan/costs.py` come from. It asserts nothing.
"""

import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from pipeline.build import STAGES, artefact, beam, build
from pipeline.config import FILE_NAME, load
from pipeline.demo.run import prepared
from pipeline.shards.runner import BeamRun
from pipeline.verbs.plan.costs import Costs
from pipeline.verbs.plan.machines import here
from pipeline.verbs.plan.outlook import outlook


@dataclasses.dataclass
class Found:
    """What one stage cost."""

    rows: int
    shuffled_bytes: int
    artefact_bytes: int
    scratch_bytes: int
    memory_bytes: int
    cpu_s: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Counting(BeamRun):
    """A run that counts the bytes of the blocks that cross; exchanges of the local runner stay in this process."""

    crossed: list = dataclasses.field(default_factory=list)

    def exchange(self, scatter, sources, gather, targets, heavy=False):
        super().exchange(Counted(scatter), sources, gather, targets)


class Counted:
    total = 0

    def __init__(self, scatter):
        self.scatter = scatter

    def __call__(self, source):
        for shard, block in self.scatter(source):
            Counted.total += len(block)
            yield shard, block


def one_stage(root, stage):
    """What the process that builds a stage prints."""
    root = Path(root)
    settings = load(root / FILE_NAME)
    usual = beam(settings, root)
    begun = time.perf_counter()
    build(root, settings, stage, run=Counting(usual.runner, usual.workers, usual.options, usual.scratch))
    seconds = time.perf_counter() - begun
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in spent)
    print(json.dumps({"shuffled_bytes": Counted.total, "cpu_s": cpu, "seconds": seconds}))


def family(pid):
    """A process and all that descend from it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, new = {pid}, {pid}
    while new := {child for child, parent in parents.items() if parent in new} - found:
        found |= new
    return found


def pss(pid):
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measured(root, stage, shards):
    """What building one stage costs; those before it stand."""
    before = size(root / "scratch")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, __file__, "--stage", str(root), stage]
    peak = 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        ended = threading.Event()

        def watch():
            nonlocal peak
            while not ended.wait(0.1):
                peak = max(peak, sum(map(pss, family(process.pid))))

        watcher = threading.Thread(target=watch)
        watcher.start()
        told, _ = process.communicate()
        ended.set()
        watcher.join()
    assert process.returncode == 0
    one = artefact(root, stage, shards)
    manifest = one.manifest()
    book = manifest.books.get(stage)
    return Found(
        rows=book.outcomes.get("kept", 0) if book else 0,
        artefact_bytes=size(one.folder),
        scratch_bytes=max(0, size(root / "scratch") - before),
        memory_bytes=peak,
        **json.loads(told.splitlines()[-1]),
    )


# --- the comparison

ASKED = {  # of what is found: what a plan calls it
    "rows": "rows",
    "shuffled_bytes": "shuffled_bytes",
    "artefact_bytes": "disk_bytes",
    "scratch_bytes": "scratch_bytes",
    "memory_bytes": "memory_bytes",
    "cpu_s": "cpu_s",
}
UNITS = {"memory_bytes": 1e6, "artefact_bytes": 1e3, "scratch_bytes": 1e3, "shuffled_bytes": 1e3}
HEADS = ("rows", "shuffles kB", "artefact kB", "scratch kB", "memory MB", "CPU s")
LEAST = 50_000  # bytes: below, what a folder holds are schemas and receipts


def compared(name, root, settings):
    """Plan, build, and print both; the ratios of both plans, of all that is worth a ratio."""
    begun = time.perf_counter()
    plan = planned(root, settings)
    print(f"{name}: planned in {time.perf_counter() - begun:.1f} s")
    print(f"{'':10}" + "".join(f"{head:>32}" for head in HEADS))
    first, later = [], []
    for number, stage in enumerate(STAGES):
        before, knowing = plan.stages[number], planned(root, settings).stages[number]
        found = measured(root, stage, settings.build.shards)
        cells = []
        for what, field in ASKED.items():
            real, said, again = getattr(found, what), getattr(before, field), getattr(knowing, field)
            if not real or (what.endswith("_bytes") and max(said, real) < LEAST):
                cells.append(f"{'-':>32}")
                continue
            first.append(said / real)
            later.append(again / real)
            unit = UNITS.get(what, 1)
            cells.append(f"{said / unit:>10,.0f} /{real / unit:>7,.0f} {said / real:>5.2f} {again / real:>5.2f}")
        print(f"{stage:10}" + "".join(cells), flush=True)
    return first, later


def planned(root, settings):
    return outlook(root, settings, Costs(), here(root, settings.build.workers)).plan


def told(name, ratios):
    near = sum(0.5 <= one <= 2 for one in ratios)
    print(f"{name}: {near} of {len(ratios)} within a factor of two; median {statistics.median(ratios):.2f}, ", end="")
    print(f"{min(ratios):.2f} to {max(ratios):.2f}")


def main(folder=""):
    with tempfile.TemporaryDirectory() as root:
        work = Path(root) / "demo"
        work.mkdir()
        with prepared(work) as settings:
            first, later = compared("demo", work, settings)
        if folder:
            data, work = Path(folder).absolute(), Path(root) / "real"
            work.mkdir()
            dumps = [str(data / "miniweb/submissions.ndjson.zst"), str(data / "reddit/top2013_10pct.ndjson.zst")]
            (work / FILE_NAME).write_text(
                f"[build]\nshards = 8\n[links]\nsubmissions = {json.dumps(dumps)}\n"
                f"[pages]\nwarc = [{json.dumps(str(data / 'miniweb/pages.warc.gz'))}]\n"
            )
            more = compared("real", work, load(work / FILE_NAME))
            first, later = first + more[0], later + more[1]
    told("before anything is built", first)
    told("before each stage, those before it standing", later)


def measure(folder):
    """What each stage of a working directory that is not built yet costs: where the numbers of costs.py come from."""
    root = Path(folder).absolute()
    for stage in STAGES:
        found = measured(root, stage, load(root / FILE_NAME).build.shards)
        print(stage, json.dumps(dataclasses.asdict(found)), flush=True)


if __name__ == "__main__":
    modes = {"--stage": one_stage, "--measure": measure}
    mode = modes.get(sys.argv[1]) if sys.argv[1:] else None
    mode(*sys.argv[2:]) if mode else main(*sys.argv[1:])
