"""Real builds interrupted at many moments: `python -m tests.interruptions [MOMENTS [SEED]]`, 100 by default.

Each is sent Ctrl-C or SIGTERM, sometimes twice, at a moment drawn from the length of an undisturbed build, with 0, 1
and 2 workers in turn, and goes on from what the one before left. Printed: what each ended with and how long that took.
"""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.demo.web import LocalWeb
from pipeline.shards import schemas
from tests.test_killed import REPOSITORY, begin

MARK = "WEBTEXT_TEST_RUN"  # in the environment of a build and of all that it starts
CODES = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}


@dataclass
class Ended:
    """How one interrupted build ended. `seconds`: from the (last) signal; None: it was over before."""

    at: float
    workers: int
    signals: list
    seconds: float | None
    stage: str
    faults: list = field(default_factory=list)


def started(folder, workers):
    """A build as a person starts it, in a group of its own; and the mark of its processes."""
    mark = uuid.uuid4().hex
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONSAFEPATH": "1",
        MARK: mark,
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pipeline", "build", "--dir", str(folder), "--set", f"build.workers={workers}"]
    return subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, start_new_session=True), mark


def left(mark):
    """The processes of a run that live on."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in path.read_bytes() and " Z " not in (path.parent / "stat").read_text():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def heeds(pid):
    """Whether a process has a handler for SIGTERM, as /proc tells."""
    try:
        (caught,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt")]
    except (OSError, ValueError):
        return False
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def interrupted(folder, workers, at, signals, group):
    """One build, interrupted `at` seconds after it began; `group`: as a terminal does, all of its processes."""
    build, mark = started(folder, workers)
    while build.poll() is None and not heeds(build.pid):  # until it does, the command is Python's to end
        time.sleep(0.01)
    try:
        build.wait(at)
        one = Ended(at, workers, signals, None, "")
    except subprocess.TimeoutExpired:
        for number in signals:
            begun = time.monotonic()
            (os.killpg if group else os.kill)(build.pid, number)
            time.sleep(0.1 * (number is not signals[-1]))
        try:
            build.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(build.pid, signal.SIGKILL)
        one = Ended(at, workers, signals, time.monotonic() - begun, "")
    said = build.communicate()[1].decode()
    lines = said.splitlines()
    one.stage = next((line.split(":")[0] for line in reversed(lines) if line.endswith(": started")), "before links")
    if build.returncode == -signals[0] and any(line.startswith("tokens: done") for line in lines):
        one.seconds = None  # while Python itself was ending, after all was done
    elif one.seconds is not None and build.returncode != 0:
        code, word = CODES[signals[0]]
        wanted = f"webtext: {word}; run the same command again to go on"
        ours = [
            line for line in lines if not re.search(r": (started|done|note|made anew)|\d:\d\d:\d\d (so far|left)", line)
        ]
        one.faults += [f"exit {build.returncode}"] * (build.returncode != code)
        one.faults += [f"said {ours}"] * (ours != [wanted])
        one.faults += [f"{one.seconds:.1f} s"] * (one.seconds > 2)
    elif build.returncode != 0:
        one.faults.append(f"ended by itself with {build.returncode}: {lines[-1:]}")
    else:
        one.seconds = None
    deadline = time.monotonic() + 1
    while left(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    one.faults += [f"left behind: {pid}" for pid in left(mark)]
    return one


def corpus(folder):
    """The documents of a finished build."""
    tables = [schemas.read_parquet(path, ["url", "text"]) for path in sorted((folder / "corpus").glob("*.parquet"))]
    return sorted((row["url"], row["text"]) for table in tables for row in table.to_pylist())


def campaign(moments, seed, pages=8, length_s=None, told=lambda _: None):
    """Interrupt builds at so many moments; how each ended, and whether what they came to is one corpus.

    `length_s`: that of an undisturbed build, which is then not made, and the last one not gone on with.
    """
    draw, found, corpora, folder = random.Random(seed), [], [], None
    with LocalWeb() as web, tempfile.TemporaryDirectory() as place:
        lengths = {
            workers: length_s or undisturbed(Path(place, f"whole{workers}"), web, pages, workers)
            for workers in (0, 1, 2)
        }
        told(f"undisturbed, with 0, 1 and 2 workers: {lengths}")
        while sum(one.seconds is not None for one in found) < moments:
            if folder is None:
                folder = Path(place, f"interrupted{len(found)}")
                begin(folder, web, pages)
            workers, number = len(found) % 3, draw.choice(list(CODES))
            signals, at = [number] * draw.choice((1, 1, 2)), draw.uniform(0, lengths[workers])
            one = interrupted(folder, workers, at, signals, group=draw.random() < 0.5)
            found.append(one)
            told(one)
            if one.seconds is None:
                corpora.append(corpus(folder))
                folder = None
        if length_s is None:
            if folder is not None:
                undisturbed(folder, None, pages, 1)
                corpora.append(corpus(folder))
            corpora.append(corpus(Path(place, "whole0")))
    return found, all(one == corpora[0] for one in corpora)


def undisturbed(folder, web, pages, workers):
    """Seconds that a build takes to its end; begun in a new folder where a web is given."""
    if web is not None:
        begin(folder, web, pages)
    begun = time.monotonic()
    build, _ = started(folder, workers)
    assert build.wait() == 0, build.communicate()[1].decode()
    return time.monotonic() - begun


def main():
    moments, seed = map(int, [*sys.argv[1:], *("100", "1")[len(sys.argv) - 1 :]])
    found, same = campaign(moments, seed, told=lambda line: print(line, flush=True))
    met = sorted(one.seconds for one in found if one.seconds is not None)
    faulty = [one for one in found if one.faults]
    print(f"{len(met)} interrupted; from signal to end {met[len(met) // 2]:.2f} s at the median, {met[-1]:.2f} at most")
    print(Counter(one.stage for one in found if one.seconds is not None))
    print(f"{len(faulty)} with a fault; all came to the corpus of an undisturbed build: {same}")
    sys.exit(bool(faulty) or not same)


if __name__ == "__main__":
    main()
