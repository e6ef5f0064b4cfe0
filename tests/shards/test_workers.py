"""Worker processes end with their parent, and a worker that dies ends the run instead of holding it for ever."""

import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.shards import leftovers, workers
from pipeline.shards.outcomes import InputError, WorkerError
from pipeline.shards.receipts import Task
from pipeline.shards.runner import BeamRun

WAIT = "import signal; print('begun', flush=True); signal.pause()"


def started(line):
    worker = subprocess.Popen(workers.command(line, WAIT), shell=True, stdout=subprocess.PIPE, text=True)
    assert worker.stdout.readline() == "begun\n"
    return worker


def die(task: Task) -> None:
    if task.shard == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def fail(task: Task) -> None:
    raise InputError(f"dump {task.shard}: truncated at byte 17")


def test_a_worker_ends_when_its_lifeline_does():
    with workers.lifeline(None) as line:
        worker = started(line)
        os.kill(worker.pid, signal.SIGINT)  # of the terminal's whole group: the parent's to act on
        assert worker.poll() is None
    assert worker.wait(timeout=60) == 0


@pytest.mark.failure("the command itself is killed", "its workers end with it", "run it again: it goes on")
def test_a_worker_ends_when_its_parent_is_killed():
    code = (
        "import subprocess, sys\nfrom pipeline.shards import workers\n"
        f"with workers.lifeline(None) as line: subprocess.run(workers.command(line, {WAIT!r}), shell=True)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "begun\n"
    parent.kill()
    assert parent.stdout.read() == ""  # comes back only when the worker, too, has let go of the pipe


def test_a_lifeline_that_is_gone_already_ends_a_worker():
    with workers.lifeline(None) as line:
        pass
    assert (
        subprocess.run(workers.command(line, "import signal; signal.pause()"), shell=True, check=True).returncode == 0
    )


def test_a_worker_is_this_python_and_keeps_the_current_folder_off_its_path():
    words = shlex.split(workers.command(Path("/tmp/line"), "main()"))
    assert words[:7] == ["trap", "", "INT;", "exec", sys.executable, "-P", "-c"]


def test_what_is_watched_returns_or_raises_as_it_would_alone():
    before = threading.excepthook
    workers.watched(lambda: None)
    with pytest.raises(ZeroDivisionError):
        workers.watched(lambda: 1 // 0)
    assert threading.excepthook is before


@pytest.mark.failure(
    "a worker process is killed",
    "exit 9; the run ends at once",
    "run it again, with fewer `build.workers` if memory was short",
)
def test_a_killed_worker_ends_the_run_with_one_line(tmp_path):
    with pytest.raises(WorkerError, match=r"exit code -9 \(killed: .*run the same command again"):
        BeamRun(workers=2, scratch=tmp_path).map_shards(die, [Task(shard, "a") for shard in range(4)], heavy=True)
    assert list(tmp_path.iterdir()) == []


def dealt(source: int):
    yield np.arange(3, dtype=np.int32), pa.table({"source": [source] * 3, "process": [os.getpid()] * 3})


def noted(folder: Path, task: Task, tables) -> None:
    rows = [row for table in tables for row in table.to_pylist()]
    (folder / f"{task.shard}.json").write_text(json.dumps([os.getpid(), rows]))


def test_an_exchange_of_much_is_done_by_worker_processes_and_gathers_what_one_process_does(tmp_path):
    (tmp_path / "out").mkdir()
    tasks = [Task(shard, "a") for shard in range(3)]
    run = BeamRun(workers=2, scratch=tmp_path / "scratch")
    run.exchange(dealt, range(8), partial(noted, tmp_path / "out"), tasks, heavy=True)
    found = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").iterdir())]
    assert [sorted(row["source"] for row in rows) for _, rows in found] == [list(range(8))] * 3
    assert len({row["process"] for _, rows in found for row in rows}) == 2
    assert os.getpid() not in {process for process, _ in found}
    assert list((tmp_path / "scratch").iterdir()) == []


def test_threads_that_listen_to_workers_fail_unheard_also_when_the_workers_have_just_ended(monkeypatch):
    heard, ended = [], threading.Event()

    def listen():
        ended.wait(60)
        raise ConnectionError

    monkeypatch.setattr(threading, "excepthook", lambda failure: heard.append(failure.thread.name))
    threads = [threading.Thread(target=listen, name=name) for name in ("beam_control_read", "another")]
    before = threading.excepthook
    with workers.lifeline(None):
        for thread in threads:
            thread.start()
        ended.set()
    threads[1].join(60)
    assert heard == ["another"]
    assert threading.excepthook is before


def test_a_lifeline_that_a_killed_parent_left_is_swept_and_one_that_holds_workers_is_not(tmp_path):
    with workers.lifeline(tmp_path / "scratch") as line:
        assert leftovers.sweep(tmp_path) == 0
        line.with_name(".lifeline-left.part").touch()
        assert leftovers.sweep(tmp_path) == 1
        assert line.exists()


def test_a_failure_in_a_worker_keeps_its_kind_and_its_one_line_and_adds_none(capfd, monkeypatch):
    monkeypatch.setattr(logging.root.manager, "disable", logging.ERROR)  # as the command line does without --debug
    with pytest.raises(InputError, match=r"^dump \d: truncated at byte 17$"):
        BeamRun(workers=2).map_shards(fail, [Task(0, "a"), Task(1, "a")], heavy=True)
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_has_only_begun_leaves_an_interrupt_to_its_parent():
    with workers.lifeline(None) as line:
        worker = subprocess.Popen(workers.command(line, WAIT), shell=True, stdout=-1, stderr=-1, text=True)
        while not ignores(worker.pid):
            pass
        os.kill(worker.pid, signal.SIGINT)
        assert worker.stdout.readline() == "begun\n"
    assert worker.communicate(timeout=60)[1] == ""


def ignores(pid):
    """Whether a process ignores SIGINT, as /proc tells."""
    status = Path(f"/proc/{pid}/status").read_text()
    (ignored,) = [line for line in status.splitlines() if line.startswith("SigIgn")]
    return bool(int(ignored.split()[1], 16) >> (signal.SIGINT - 1) & 1)


class HungUpError(Exception):
    def details(self):
        return "Multiplexer hanging up"


def test_a_thread_whose_engine_hangs_up_says_nothing_and_any_other_failure_is_seen(monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    workers.hush()
    workers.hush()

    def failing(error):
        raise error

    for error in (HungUpError(), ValueError("mine")):
        thread = threading.Thread(target=failing, args=(error,))
        thread.start()
        thread.join()
    assert [failure.exc_type for failure in seen] == [ValueError]
