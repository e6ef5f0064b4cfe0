"""What is told of work under way, here and by workers, reaches whoever watches, and counts for its phase alone."""

import json
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from pipeline.shards import progress
from pipeline.shards.jobs import JobSpec, stored
from pipeline.shards.progress import BYTES, ROWS, SHARDS, Phase
from pipeline.shards.receipts import Artefact, Task, Undone, looking
from pipeline.shards.runner import BeamRun, PlainRun

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def heard():
    """The phases that are heard of while the test runs."""
    found = []
    with progress.hearing(found.append):
        yield found


def one_row(task):
    """So many rows as the number of its shard."""
    progress.advance(ROWS, task.shard)


def test_a_phase_counts_from_where_it_began_and_never_more_than_there_is():
    progress.advance(ROWS, 7)
    phase = Phase("documents", 10, ROWS, before=progress.counts())
    assert phase.done(progress.counts())[ROWS] == 0
    assert list(progress.each(range(4))) == [0, 1, 2, 3]
    assert phase.done(progress.counts())[ROWS] == 4
    progress.advance(ROWS, 70)
    assert phase.done(progress.counts())[ROWS] == 10


def test_what_is_to_be_made_is_heard_of_and_what_stands_is_not(tmp_path, heard):
    one = Artefact(tmp_path, "links", 2)
    with looking(), pytest.raises(Undone):
        one.begin(["a", "a"])
    assert heard == []
    for task in one.begin(["a", "a"]):
        with one.attempt(task) as attempt:
            attempt.commit({})
    (phase,) = heard
    assert (phase.name, phase.total, phase.unit, phase.makes) == ("links", 2, SHARDS, True)
    assert phase.done(progress.counts())[SHARDS] == 2
    one.finish({}, ())
    assert one.begin(["a", "a"]) == []
    one.finish({}, ())
    assert [known.name for known in heard[1:]] == ["links"]  # the manifest, once


def test_what_only_helps_is_told_with_the_stage_it_helps(tmp_path, heard):
    with progress.within("corpus"):
        Artefact(tmp_path, "scratch/votes", 1).begin(["a"])
        progress.expect(12, noun="documents")
        Artefact(tmp_path, "corpus", 1).begin(["a"])
    assert [one and one.title for one in heard] == ["corpus: filtering", "corpus: filtering", "corpus", None]
    assert (heard[1].total, heard[1].unit, heard[1].noun) == (12, ROWS, "documents")


def test_a_phase_within_another_gives_way_to_it_again(heard):
    with progress.phase("export", 3), progress.phase("input files", 9, BYTES):
        pass
    assert [one and one.name for one in heard] == ["export", "input files", "export", None]


def test_other_threads_change_nothing(heard):
    thread = threading.Thread(target=lambda: progress.begin(Phase("export")))
    thread.start()
    thread.join()
    assert heard == []


def test_bytes_are_told_as_they_are_read_whichever_way(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(300_000))
    for read in (lambda file: file.read(), lambda file: [*iter(lambda: file.read(1_000), b"")]):
        before = progress.counts()[BYTES]
        with progress.reading(path) as file:
            read(file)
        assert progress.counts()[BYTES] - before == 300_000


WORKER = """
import sys
from pipeline.shards import progress
from pipeline.shards.jobs import JobRef, Make
progress.FLUSH_S = 3600 if sys.argv[4] == 'last' else 0.01
Make(JobRef(*sys.argv[1:3]))(int(sys.argv[3]))
"""


def test_worker_processes_are_added_up_and_what_they_told_is_swept_once_they_ended(tmp_path):
    before = progress.counts()
    with stored(JobSpec(one_row, [Task(shard, "") for shard in (3, 4)]), tmp_path) as job:
        for place in "01":
            command = [sys.executable, "-c", WORKER, job.name, job.sha256, place, "last"]
            subprocess.run(command, cwd=ROOT, check=True)
    assert progress.counts(tmp_path)[ROWS] - before[ROWS] == 7
    assert len(list(tmp_path.iterdir())) == 2
    BeamRun(scratch=tmp_path).others_worked()
    assert list(tmp_path.iterdir()) == []
    assert progress.counts(tmp_path)[ROWS] - before[ROWS] == 7


def rows_then_long(folder, task):
    """Four rows, then nothing until whoever watches has been told of them."""
    progress.advance(ROWS, 4)
    for _ in range(1_000_000):
        if any(json.loads(path.read_bytes()).get(ROWS) == 4 for path in folder.glob(".progress-*")):
            return
    raise AssertionError("nobody was told")


def test_rows_are_told_while_the_next_one_takes_long(tmp_path):
    with stored(JobSpec(partial(rows_then_long, tmp_path), [Task(0, "")]), tmp_path) as job:
        command = [sys.executable, "-c", WORKER, job.name, job.sha256, "0", "while"]
        subprocess.run(command, cwd=ROOT, check=True, timeout=60)


def test_what_workers_of_one_phase_told_is_no_work_of_the_next(tmp_path):
    (tmp_path / progress.NAME.format(process="w")).write_text(json.dumps({ROWS: 516, SHARDS: 4}))
    progress.forget(tmp_path)  # they have ended
    phase = Phase("tokenizer", before=progress.counts())
    assert phase.done(progress.counts(tmp_path)).total() == 0


def test_workers_are_awaited_until_the_first_has_begun(tmp_path):
    progress.await_workers()
    progress.counts(tmp_path)
    assert progress.awaited()
    (tmp_path / progress.NAME.format(process="w")).write_text("{}")
    progress.counts(tmp_path)
    assert not progress.awaited()


def test_this_process_tells_nowhere_else_what_it_counts_itself(tmp_path):
    PlainRun().map_shards(one_row, [Task(1, "")])
    BeamRun(scratch=tmp_path).map_shards(one_row, [Task(1, "")])
    assert list(tmp_path.iterdir()) == []


def test_a_worker_s_file_that_is_half_written_is_read_as_it_was(tmp_path):
    path = tmp_path / progress.NAME.format(process="w")
    path.write_text(json.dumps({ROWS: 5}))
    base = progress.counts()[ROWS]
    assert progress.counts(tmp_path)[ROWS] == base + 5
    path.write_text("{")
    assert progress.counts(tmp_path)[ROWS] == base + 5
    progress.forget(tmp_path)
    assert progress.counts(tmp_path)[ROWS] == base + 5
