"""A job elsewhere: as wide as it may run, told of when nobody works on it, over once nobody wants it."""

import json
import threading
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import numpy as np
import pyarrow as pa
import pytest

from pipeline.shards import engine, jobs
from pipeline.shards.jobs import JobSpec
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import BeamRun, PlainRun, at_once


@contextmanager
def flink(answer):
    """A job manager on loopback that says `answer` of itself, and its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/overview" else 404)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("localhost", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"localhost:{server.server_port}"
        server.shutdown()


def test_a_job_is_as_wide_as_the_cluster_has_free_slots():
    with flink(json.dumps({"slots-total": 9, "slots-available": 7}).encode()) as master:
        for given in ((f"--flink_master={master}",), ("--flink_master", master), (f"--flink_master=http://{master}",)):
            options, line = engine.widened("FlinkRunner", given, 2)
            assert options == (*given, "--parallelism=7")
            assert line == "FlinkRunner: 7 tasks at a time (as many as the cluster has free slots)"


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"slots-available": null}', b'{"slots-available": 0}'])
def test_a_cluster_that_does_not_say_is_taken_for_as_wide_as_the_workers(answer):
    with flink(answer) as master:
        assert engine.widened("FlinkRunner", (f"--flink_master={master}",), 3)[0][-1] == "--parallelism=3"


def test_a_job_service_is_told_a_parallelism_and_others_are_not():
    told = engine.widened("PortableRunner", ("--job_endpoint=localhost:1",), 1)
    assert told[0] == ("--job_endpoint=localhost:1", "--parallelism=1")
    assert told[1] == "PortableRunner: 1 task at a time (build.workers; --parallelism=N says otherwise)"
    assert engine.widened("FlinkRunner", ("--flink_master=[auto]",), 4)[0][-1] == "--parallelism=4"
    for given in (("--parallelism=8",), ("--parallelism", "8")):
        assert engine.widened("PortableRunner", given, 2) == (
            given,
            "PortableRunner: 8 tasks at a time (--parallelism)",
        )
    for runner in ("FnApiRunner", "DataflowRunner", "SparkRunner"):
        assert engine.widened(runner, ("--a=1",), 2) == (("--a=1",), "")


def test_as_many_crawls_go_on_as_an_engine_does_tasks_at_a_time():
    assert engine.at_once(("--parallelism=7",)) == 7
    assert engine.at_once(("--num_workers=2", "--max_num_workers", "9")) == 9
    assert engine.at_once(("--num_workers=2", "--parallelism=many", "--max_num_workers=0")) == 2
    assert engine.at_once(("--job_endpoint=embed",)) is None
    assert at_once(BeamRun("PortableRunner", 2, ("--job_endpoint=embed", "--parallelism=7"))) == 7
    assert at_once(BeamRun("PortableRunner", 2, ("--job_endpoint=embed", "--parallelism=7"), alone_s=1.0).alone()) == 1
    assert (at_once(BeamRun(workers=5)), at_once(PlainRun())) == (1, 1)


# --- a job that is taken back


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(jobs, "LOOK_S", 0.01)
    monkeypatch.setattr(engine, "LOOK_S", 0.01)


def endless(folder, working, task):
    """Writes a shard for ever, as one of many pages does that never come to their end."""
    with Artefact(folder, "a", 1).attempt(task) as attempt, attempt.write(".txt") as file:
        for number in count():
            file.write(b"%d\n" % number)
            if number == 100:
                working.set()


def unending(working, source):
    for number in count():
        if number == 100:
            working.set()
        yield 0, b"x"


def gathered(working, task, blocks):
    for _ in blocks:
        working.set()


@pytest.mark.parametrize("step", ["map", "scatter", "gather"])
def test_who_works_elsewhere_ends_when_its_job_is_taken_back_and_leaves_nothing(step, quick, tmp_path):
    working, ends = threading.Event(), []
    spec = JobSpec(print, [0], print, [Task(0, "x")])

    def work(job):
        with job.heeded():
            if step == "map":
                endless(tmp_path, working, Task(0, "x"))
            elif step == "scatter":
                list(unending(working, 0))
            else:
                gathered(working, Task(0, "x"), unending(working, 0))
        ends.append("as if it were done")

    with jobs.stored(spec, tmp_path, elsewhere=True) as job:
        worker = threading.Thread(target=work, args=(job,))
        worker.start()
        assert working.wait(60)
        assert worker.is_alive()
    worker.join(60)
    assert ends == ["as if it were done"]  # an engine that is told of a failure begins the job again
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_nobody_begins_a_piece_of_a_job_that_was_taken_back(quick, tmp_path):
    jobs.opened.cache_clear()
    with jobs.stored(JobSpec(print, [0]), tmp_path, elsewhere=True) as early:
        pass
    assert list(jobs.Positions(early)(0)) == []  # nor does who never saw it
    with jobs.stored(JobSpec(partial(leave, tmp_path), [0, 1]), tmp_path, elsewhere=True) as job:
        jobs.Make(job)(0)
    jobs._looked.clear()  # as if LOOK_S had passed
    jobs.Make(job)(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0"]
    with jobs.stored(JobSpec(unending, [0], print, [Task(0, "x")], bundles=1), tmp_path, elsewhere=True) as crossing:
        assert list(jobs.Targets(crossing)(0)) == [(0, b"")]
    jobs._looked.clear()
    assert list(jobs.Scatter(crossing)(0)) == []
    assert jobs.Gather(crossing)((0, [])) is None


def leave(folder, number):
    """Leave a file of this name."""
    (folder / str(number)).touch()


def test_the_steps_of_a_job_heed_its_specification(quick, tmp_path, monkeypatch):
    heeded = []

    @contextmanager
    def noting(job):
        heeded.append(job)
        yield

    monkeypatch.setattr(jobs.JobRef, "heeded", noting)
    spec = JobSpec(scatter, [3], gather, [Task(0, "x")], bundles=1)
    with jobs.stored(spec, tmp_path, elsewhere=True) as job:
        ((lane, parcel),) = jobs.Scatter(job)(0)
        assert heeded == [job]
        jobs.Gather(job)((lane, [parcel]))
        assert heeded == [job] * 2
        with jobs.stored(JobSpec(print, [3]), tmp_path, elsewhere=True) as mapping:
            jobs.Make(mapping)(0)
        assert heeded == [job, job, mapping]


def scatter(source):
    yield np.array([0], np.int32), pa.table({"a": [source]})


def gather(task, tables):
    assert [table.to_pydict() for table in tables] == [{"a": [3]}]


def made(artefact, task, *_):
    with artefact.attempt(task) as attempt:
        attempt.commit({}, [f"attempt at {task.shard}"])


def refuse(*_):
    raise AssertionError("a shard that is made is made again")


def test_a_bundle_that_an_engine_tries_again_makes_only_what_is_not_made(quick, tmp_path):
    artefact = Artefact(tmp_path / "work", "scratch/made", 3)
    tasks = artefact.begin(["a", "b", "c"])
    for shard in (0, 2):
        made(artefact, tasks[shard])
    for spec in (
        JobSpec(refuse, list(tasks), makes=jobs.made_of(tasks)),
        JobSpec(scatter, [3], refuse, list(tasks), 1, jobs.made_of(tasks)),
    ):
        with jobs.stored(spec, tmp_path, elsewhere=True) as job:
            step = jobs.Gather(job) if spec.gather else jobs.Make(job)
            each = [(lane, []) for lane in range(job.lanes.count)] if spec.gather else [0, 1, 2]
            for shard in (0, 2):
                step(each[shard])
            with pytest.raises(AssertionError):
                step(each[1])


def test_of_tasks_that_are_to_be_made_whatever_stands_each_is(tmp_path):
    artefact = Artefact(tmp_path, "scratch/made", 1)
    tasks = artefact.begin(["a"])
    made(artefact, tasks[0])
    spec = JobSpec(refuse, list(tasks), makes=jobs.made_of(list(tasks)))
    with jobs.stored(spec, tmp_path, elsewhere=True) as job, pytest.raises(AssertionError):
        jobs.Make(job)(0)


def test_work_at_home_is_not_watched(quick, tmp_path):
    with jobs.stored(JobSpec(print, [0]), tmp_path) as job:
        job.withdraw()
        before = threading.active_count()
        with job.heeded():
            assert threading.active_count() == before


# --- a job that nobody begins


def test_a_job_that_nobody_begins_is_told_of_once_with_the_engines_last_word(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "NO_WORKER_S", 0.05)
    notes, told = [], threading.Event()

    def noted(note):
        notes.append(note)
        told.set()

    with (
        jobs.stored(JobSpec(print, [0]), tmp_path, elsewhere=True) as job,
        engine.watching(job, lambda: "No slots", noted),
    ):
        assert told.wait(60)
    assert len(notes) == 1
    assert "no worker has begun after 0 s" in notes[0]
    assert notes[0].endswith("The engine's last word: No slots")


def test_a_job_that_somebody_begins_is_not_told_of(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "NO_WORKER_S", 0.05)
    notes = []
    with jobs.stored(JobSpec(print, [0]), tmp_path, elsewhere=True) as job:
        assert not job.begun
        assert job.spec.inputs == [0]
        assert job.begun
        with engine.watching(job, str, notes.append):
            for watcher in [one for one in threading.enumerate() if one.name == engine.WATCHER]:
                watcher.join(60)
    assert notes == []
    assert list(tmp_path.iterdir()) == []


# --- failures


class RpcError(Exception):
    def details(self):
        return "Socket closed\nmore"


def test_a_failure_of_the_engine_is_one_line_and_no_bug():
    error = RuntimeError(
        "Pipeline job_4 failed in state FAILED: org.apache.flink.util.FlinkException: java.lang.Exception: "
        "TaskManager localhost:1 is no longer reachable.\n\tat org.apache"
    )
    assert str(engine.failure("FlinkRunner", error)) == (
        "FlinkRunner: the job ended as FAILED: TaskManager localhost:1 is no longer reachable; nothing that was made "
        "is lost: run the same command again (how often Flink itself begins a batch job again is its cluster's "
        "restart-strategy)"
    )
    gone = str(engine.failure("SparkRunner", RpcError()))
    assert gone.startswith("SparkRunner: its job service went away (Socket closed); nothing")
    assert "Flink" not in gone
    assert str(engine.failure("FlinkRunner", RpcError())).endswith("its cluster's restart-strategy)")
    cancelled = str(engine.failure("SparkRunner", RuntimeError("Pipeline j failed in state CANCELLED: unknown error")))
    assert "the job was cancelled there" in cancelled
    assert "Flink" not in cancelled
    dataflow = RuntimeError("Dataflow pipeline failed. State: FAILED, Error:\nThe quota of CPUS is used up.")
    assert "ended as FAILED: The quota of CPUS is used up" in str(engine.failure("DataflowRunner", dataflow))


def test_a_failure_of_our_own_code_stays_a_bug():
    for text in ("Pipeline j failed in state FAILED: Error\nTraceback (most recent call last):\n…", "something else"):
        assert engine.failure("FlinkRunner", RuntimeError(text)) is None
