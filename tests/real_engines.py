"""Real engines on loopback, Flink and Spark: equal bytes, whoever is killed and whenever a build is terminated.

`make test-engines` runs these; they skip, saying so, without Java or `../shared/engines`, which brings the engines (its
README). Of the stages in which a worker is killed a run takes a sample; `make test-engines STAGES=all` takes them all.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pipeline import build, config
from pipeline.demo.run import prepared
from pipeline.shards.receipts import Artefact
from tests.engines import QUIET
from tests.own_data import SETTINGS, addresses, site, write_dump, write_warc
from tests.test_engines import artefacts, same

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ROOT / "../shared/engines/engine"
HOME = ROOT / ".engines"  # what is downloaded of an engine, and its logs
PAGES, COPIES, SHARDS = 40, 5, 3
PATIENCE_S = 300  # for a job, on a machine that is busy
EVERY = "--set=build.alone_s=0"  # jobs for all work, however short
POOL = ("--environment_type=EXTERNAL", "--environment_config=localhost:50000")
LOOPBACK = ("--environment_type=LOOPBACK",)
WIDE = ("--parallelism=2", QUIET)
ALL = os.environ.get("STAGES") == "all"
KILLED_IN = build.STAGES if ALL else ("links", "documents")

pytestmark = [
    pytest.mark.skipif(not ENGINE.exists(), reason="no ../shared/engines"),
    pytest.mark.skipif(not shutil.which("java"), reason="no Java"),
]


def engine(*words):
    """What the script of the engines prints."""
    return subprocess.run([ENGINE, *words], check=True, stdout=subprocess.PIPE, text=True, timeout=600).stdout


def brought(kind):
    """The folder of an engine that is there, downloaded once, and its job server as one jar."""
    try:
        return HOME / kind, engine("jar", kind, HOME / kind).split()[-1]
    except subprocess.CalledProcessError:
        pytest.skip(f"{kind} can not be downloaded")


@contextmanager
def cluster(kind, pool=False):
    """The options for a cluster of an engine that is up while the block lasts, and its folder."""
    folder, _ = brought(kind)
    try:
        started = engine("start", kind, folder).split()
        if pool:
            engine("pool", folder, sys.executable)
        yield tuple(started), folder
    finally:
        for name in ("pool", "job_server", "worker", "master"):  # `engine stop` ends at the first that is gone already
            pid = folder / f"{name}.pid"
            if pid.exists():
                with suppress(ProcessLookupError):
                    os.kill(int(pid.read_text()), signal.SIGTERM)
                pid.unlink()


@pytest.fixture(scope="module")
def flink():
    with cluster("flink", pool=True) as (options, folder):
        yield (*options, *POOL, *WIDE), folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A dump and WARC files, several copies of each page, and a config for them."""
    folder = tmp_path_factory.mktemp("inputs")
    pages = site.ordinary_pages()[:PAGES]
    write_dump(folder / "dump.ndjson", pages, COPIES)
    write_warc(folder / "pages.warc.gz", pages, COPIES)
    assert len(list(addresses(pages, COPIES))) == PAGES * COPIES
    (folder / config.FILE_NAME).write_text(
        f"[build]\nshards = {SHARDS}\nworkers = 2\n"
        f'[links]\nsubmissions = ["{folder}/dump.ndjson"]\n[pages]\nwarc = ["{folder}/pages.warc.gz"]\n{SETTINGS}'
    )
    return folder


@pytest.fixture(scope="module")
def mine(inputs, tmp_path_factory):
    """The artefacts of a build on this machine, and a folder of its states before stages, by name."""
    root, before = begun_in(inputs, tmp_path_factory.mktemp("mine")), tmp_path_factory.mktemp("before")
    for place, stage in enumerate(build.STAGES):
        if stage in KILLED_IN:
            if place:
                finished(building(root, build.STAGES[place - 1]))
            shutil.copytree(root, before / stage)
    finished(building(root))
    return artefacts(root), before


def begun_in(inputs, root):
    """A working directory with the config of the inputs."""
    root.mkdir(exist_ok=True)
    shutil.copy(inputs / config.FILE_NAME, root)
    return root


class Build:
    """A build by the command, in a process of its own, and what it has said."""

    def __init__(self, root, *words):
        command = [Path(sys.executable).with_name("webtext"), "build", "--dir", root, *words]
        self.root, self.said = root, []
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        self.said.extend(self.process.stderr)

    def has_begun(self, stage):
        """Whether a worker has begun a job of a stage."""
        return f"{stage}: started\n" in self.said and any((self.root / "scratch").glob(".job-*.begun.part"))

    def end(self):
        """The exit code, and all that was said."""
        code = self.process.wait(timeout=10 * PATIENCE_S)
        self.reader.join()
        return code, "".join(self.said)


building = Build


def finished(run):
    """What a build has said that came to its end."""
    code, said = run.end()
    assert code == 0, said
    return said


def until(answer, what):
    """Wait for an answer other than nothing."""
    end = time.monotonic() + PATIENCE_S
    while not answer():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE_S} s"
        time.sleep(0.2)


def jobs_of(said):
    """How many jobs of an engine a build has told of."""
    return sum(" s until a worker began" in line for line in said.splitlines())


def states():
    """The states of all jobs of the Flink on this machine."""
    with urllib.request.urlopen("http://localhost:8081/jobs", timeout=30) as answer:
        return [job["status"] for job in json.load(answer)["jobs"]]


def test_the_flink_within_the_job_server_makes_the_same_bytes(mine, inputs, tmp_path):
    _, jar = brought("flink")
    runner = ("--runner", "FlinkRunner", f"--flink_job_server_jar={jar}", *WIDE)
    root = begun_in(inputs, tmp_path / "theirs")
    finished(building(root, "links", EVERY, *runner))
    assert jobs_of(finished(building(root, "--set=build.alone_s=2", *runner))) >= 1
    same(mine[0], artefacts(root))


def test_spark_makes_the_same_bytes_also_where_its_worker_is_killed(mine, inputs, tmp_path):
    with cluster("spark") as (options, folder):
        root = begun_in(inputs, tmp_path / "theirs")
        finished(building(root, "links", EVERY, *options, *LOOPBACK, QUIET))
        run = building(root, "--set=build.alone_s=2", *options, *LOOPBACK, QUIET)
        until(lambda: run.has_begun("documents") or run.process.poll() is not None, "a worker")
        engine("worker", "kill", folder)
        engine("worker", "start", folder)
        finished(run)
        same(mine[0], artefacts(root))


@pytest.mark.skipif(not ALL, reason="STAGES=all: over twenty jobs")
def test_every_job_of_a_build_on_flink_and_a_pool_of_workers_makes_the_same_bytes(flink, inputs, mine, tmp_path):
    options, _ = flink
    said = finished(building(begun_in(inputs, tmp_path / "theirs"), EVERY, *options))
    same(mine[0], artefacts(tmp_path / "theirs"))
    assert jobs_of(said) > len(build.STAGES)


def test_a_small_build_starts_ten_jobs_at_most(flink, inputs, mine, tmp_path):
    options, _ = flink
    said = finished(building(begun_in(inputs, tmp_path / "theirs"), "--set=build.alone_s=2", *options))
    same(mine[0], artefacts(tmp_path / "theirs"))
    assert 1 <= jobs_of(said) <= 10


@pytest.mark.parametrize("stage", KILLED_IN)
def test_a_taskmanager_killed_in_a_stage_changes_no_byte(flink, mine, stage, tmp_path):
    options, folder = flink
    run = building(shutil.copytree(mine[1] / stage, tmp_path / "theirs"), stage, EVERY, *options)
    until(lambda: run.has_begun(stage) or run.process.poll() is not None, "a worker")
    engine("worker", "kill", folder)
    engine("worker", "start", folder)
    finished(run)
    finished(building(tmp_path / "theirs"))
    same(mine[0], artefacts(tmp_path / "theirs"))


def test_a_build_that_is_terminated_stops_the_workers_and_the_next_one_begun_at_once_is_right(flink, mine, tmp_path):
    options, _ = flink
    root = shutil.copytree(mine[1] / "documents", tmp_path / "theirs")
    run = building(root, "documents", EVERY, *options)
    until(lambda: run.has_begun("documents"), "a worker")
    before = states()
    run.process.send_signal(signal.SIGTERM)
    code, said = run.end()
    assert (code, said.splitlines()[-1]) == (143, "webtext: terminated; run the same command again to go on")
    finished(building(root, "documents", EVERY, *options))
    finished(building(root))
    same(mine[0], artefacts(root))
    until(lambda: not {"RUNNING", "RESTARTING", "CANCELLING", "CREATED"} & set(states()), "the end of all jobs")
    assert len(states()) == len(before) + 1
    assert states().count("FAILED") == before.count("FAILED")  # who was stopped was not begun again, and did not fail


def test_the_crawl_of_the_demo_on_flink_comes_to_the_same_funnel(flink, tmp_path):
    options, _ = flink
    books = []
    for name, words in (("mine", ()), ("theirs", options)):
        (tmp_path / name).mkdir()
        with prepared(tmp_path / name) as settings:
            finished(building(tmp_path / name, "pages", *words))
        books.append(Artefact(tmp_path / name, "pages", settings.build.shards).manifest().books)
    assert books[0] == books[1]
    assert books[0]["pages"].inputs > 300


# the last one by this Flink, on which it leaves a job that waits for a worker
def test_a_pool_whose_python_lacks_the_package_is_told_of(flink, mine, tmp_path):
    options, _ = flink
    bare = tmp_path / "bare" / "bin"
    bare.mkdir(parents=True)
    (bare / "python").write_text("#!/bin/sh\necho no such package >&2\nexit 1\n")
    (bare / "python").chmod(0o755)
    pool = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", "--service_port=50001"]
    environment = {**os.environ, "PATH": f"{bare}{os.pathsep}{os.environ['PATH']}"}
    lame = subprocess.Popen(pool, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        root = shutil.copytree(mine[1] / "documents", tmp_path / "theirs")
        elsewhere = ("--environment_type=EXTERNAL", "--environment_config=localhost:50001")
        run = building(root, "documents", EVERY, *options[:4], *elsewhere, *WIDE)
        until(lambda: any("no worker has begun after 60 s" in line for line in run.said) or run.process.poll(), "word")
        run.process.send_signal(signal.SIGTERM)
        code, said = run.end()
        assert "no worker has begun after 60 s; is there a pool of workers, with this package" in said
        assert code in (143, 15)
    finally:
        lame.terminate()
        lame.wait()
