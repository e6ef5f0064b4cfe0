"""A build by an engine of several processes, which share a working directory and no memory, makes the same bytes."""

import os
import re
import shutil
from contextlib import contextmanager
from functools import partial

import pytest

from pipeline import build, config
from pipeline.demo import dump
from pipeline.demo.run import prepared
from pipeline.shards import jobs, progress
from pipeline.shards.outcomes import InputError, StorageError
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import BeamRun
from tests import engines
from tests.own_data import SETTINGS, write_both


def artefacts(root):
    """Name to bytes of every shard, receipt and manifest."""
    paths = [path for stage in build.STAGES for path in (root / stage).rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(paths)}


def built(root, settings, *options, alone_s=0.0, noted=lambda _note: None):
    """The artefacts of a build, in process or, with options, by a job service."""
    run = BeamRun("PortableRunner", 1, options, root / "scratch", noted, alone_s) if options else None
    build.build(root, settings, run=run, noted=noted)
    return artefacts(root)


def settings_of(inputs):
    """A config for a dump, WARC files and an encyclopedia that lie in `inputs`, whatever the working directory."""
    (inputs / config.FILE_NAME).write_text(
        f'''[build]
shards = 2
workers = 1
[links]
submissions = ["{inputs}/dump.ndjson"]
[pages]
warc = ["{inputs}/*.warc.gz"]
'''
        + SETTINGS.replace("[corpus]\n", f'[corpus]\nwikipedia_dumps = ["{inputs}/encyclopedia.xml"]\n')
    )
    return config.load(inputs / config.FILE_NAME)


@pytest.fixture(scope="module")
def engine():
    """Beam's options for a job service and a pool of workers, each a process of its own."""
    with engines.options(engines.pool_of_threads) as options:
        yield options


def test_every_stage_by_a_job_service_and_a_pool_of_workers_makes_the_same_bytes(engine, tmp_path):
    write_both(tmp_path / "inputs", pages=12)
    dump.wikipedia_dump(tmp_path / "inputs" / "encyclopedia.xml")
    settings = settings_of(tmp_path / "inputs")
    same(built(tmp_path / "mine", settings), built(tmp_path / "theirs", settings, *engine))
    assert list((tmp_path / "theirs" / "scratch").rglob(".job-*")) == []  # no job specification is left


def test_what_takes_a_moment_starts_no_job_and_makes_the_same_bytes(engine, tmp_path):
    write_both(tmp_path / "inputs", pages=12)
    dump.wikipedia_dump(tmp_path / "inputs" / "encyclopedia.xml")
    settings, notes = settings_of(tmp_path / "inputs"), []
    theirs = built(tmp_path / "theirs", settings, *engine, alone_s=60.0, noted=notes.append)
    same(built(tmp_path / "mine", settings), theirs)
    assert [note for note in notes if note.endswith(build.ALONE)] == [f"{name}: {build.ALONE}" for name in build.STAGES]
    assert [note for note in notes if "until a worker began" in note] == []


def process(folder, task):
    """Leave a file whose name is the process that made it."""
    (folder / str(os.getpid())).touch()


def test_work_of_one_piece_is_done_here_unless_it_is_heavy_and_work_of_more_is_not(engine, tmp_path):
    run = BeamRun("PortableRunner", 1, engine, tmp_path, alone_s=1.0)
    for name, tasks, heavy, here in (("one", 1, False, True), ("heavy", 1, True, False), ("two", 2, False, False)):
        folder = tmp_path / name
        folder.mkdir()
        run.map_shards(partial(process, folder), [Task(shard, "a") for shard in range(tasks)], heavy)
        assert (folder / str(os.getpid())).exists() is here


def test_of_each_job_is_told_how_long_nobody_worked_on_it(engine, tmp_path):
    notes = []
    with progress.phase("counting"):
        BeamRun("PortableRunner", 1, engine, tmp_path, notes.append).map_shards(print, [Task(0, "a"), Task(1, "a")])
    (note,) = notes
    assert re.fullmatch(r"PortableRunner: counting: \d+ s(, of which \d+ s until a worker began)?", note)


def same(mine, theirs):
    assert {name.partition("/")[0] for name in mine} == set(build.STAGES)
    assert sorted(mine) == sorted(theirs)
    assert [name for name in mine if mine[name] != theirs[name]] == []


def fail(task):
    raise InputError(f"dump {task.shard}: truncated at byte 17")


def test_a_failure_of_another_process_keeps_its_kind_and_its_one_line(engine, tmp_path):
    with pytest.raises(InputError, match=r"^dump 2: truncated at byte 17$"):
        BeamRun("PortableRunner", 1, engine, tmp_path).map_shards(fail, [Task(2, "a")])


@pytest.mark.failure(
    "workers of another machine do not see the working directory",
    "exit 7, with the name of the worker",
    "name a folder with `--dir` that all of them share",
)
def test_a_worker_that_does_not_see_the_working_directory_says_so(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "stored", unseen)
    with pytest.raises(StorageError, match=r"\.job-0\.part: not to be seen from worker \S+; workers need the same"):
        BeamRun("PortableRunner", 1, engine, tmp_path).map_shards(fail, [Task(2, "a")])


@contextmanager
def unseen(spec, folder, elsewhere):
    """A reference that names a file which no worker can see."""
    yield jobs.JobRef(str(folder / "elsewhere" / ".job-0.part"), "", elsewhere)


@contextmanager
def gone(spec, folder, elsewhere):
    """A reference that names no file, in a folder that workers have too."""
    yield jobs.JobRef(str(folder / ".job-0.part"), "", elsewhere)


def test_workers_that_have_another_folder_of_that_name_have_not_done_the_work(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "stored", gone)
    with pytest.raises(StorageError, match=r"not to be seen from the workers; workers need the same --dir"):
        BeamRun("PortableRunner", 1, engine, tmp_path).map_shards(fail, [Task(2, "a")])


@pytest.mark.long
def test_the_whole_demo_by_worker_processes_makes_the_same_bytes(tmp_path):
    inputs = tmp_path / "inputs"
    with prepared(tmp_path / "crawled") as settings:
        build.build(tmp_path / "crawled", settings, "pages")
    inputs.mkdir()
    shutil.copy(tmp_path / "crawled" / "submissions.ndjson", inputs / "dump.ndjson")
    shutil.copy(tmp_path / "crawled" / "encyclopedia.xml", inputs)
    for path in (tmp_path / "crawled" / "pages" / "segments").glob("*.warc.gz"):
        shutil.copy(path, inputs)
    settings = settings_of(inputs)
    with engines.options(engines.pool_of_processes) as options:
        theirs = built(tmp_path / "theirs", settings, *options)
    mine = built(tmp_path / "mine", settings)
    same(mine, theirs)
    assert Artefact(tmp_path / "theirs", "tokens", 2).manifest().books["tokens"].inputs > 300
