"""Beam does what the plain loop does, and failures come back as what they were."""

import errno
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.shards import runner
from pipeline.shards.locations import mirror
from pipeline.shards.outcomes import ConfigError, InputError, IntegrityError, StorageError
from pipeline.shards.receipts import Task
from pipeline.shards.runner import BeamRun, PlainRun
from pipeline.shards.spilling import Spill

RUNS = [PlainRun(), BeamRun()]


def note(folder: Path, task: Task) -> None:
    (folder / f"{task.shard}.txt").write_text(task.fingerprint)


def block_of(*rows: tuple[int, str]):
    return np.array([shard for shard, _ in rows], np.int32), pa.table({"text": [text for _, text in rows]})


def deal(source: int):
    yield block_of(*((shard, f"{source}-{shard};") for shard in range(4)))


def collect(folder: Path, task: Task, tables) -> None:
    texts = sorted(text for table in tables for text in table["text"].to_pylist())
    (folder / f"{task.shard}.txt").write_text("".join(texts))


def fail(task: Task) -> None:
    raise InputError(f"dump {task.shard}: truncated at byte 17")


def failing_scatter(source: int):
    yield block_of((0, "x"))
    raise InputError(f"dump {source}: truncated at byte 17")


def written(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("run", RUNS)
def test_every_shard_is_mapped_once(run, tmp_path):
    run.map_shards(partial(note, tmp_path), [Task(0, "a"), Task(3, "b")])
    assert written(tmp_path) == {"0.txt": "a", "3.txt": "b"}


@pytest.mark.parametrize("run", RUNS)
def test_an_exchange_gathers_all_rows_of_wanted_shards_and_no_others(run, tmp_path):
    run.exchange(deal, [1, 2], partial(collect, tmp_path), [Task(1, "a"), Task(3, "a"), Task(7, "a")])
    assert written(tmp_path) == {"1.txt": "1-1;2-1;", "3.txt": "1-3;2-3;", "7.txt": ""}


@pytest.mark.parametrize("run", RUNS)
def test_a_failure_keeps_its_kind_and_its_one_line(run, tmp_path):
    with pytest.raises(InputError, match=r"^dump 2: truncated at byte 17$"):
        run.map_shards(fail, [Task(2, "a")])
    with pytest.raises(InputError, match=r"^dump 5: truncated at byte 17$"):
        run.exchange(failing_scatter, [5], partial(collect, tmp_path), [Task(0, "a")])


def greedy(folder: Path, task: Task, tables) -> None:
    """Cuts the spilled file off after its first parcel was read."""
    assert [table.num_rows for table in tables] == [1]
    (spilled,) = folder.glob("exchange-*/.*.part")
    with spilled.open("r+b") as file:
        file.truncate(5)


def test_parcels_cross_the_local_runner_in_files_that_a_build_would_sweep(tmp_path):
    with pytest.raises(IntegrityError, match=r"\.part: cut off below \d+ bytes while rows crossed"):
        BeamRun(scratch=tmp_path).exchange(deal, [1], partial(greedy, tmp_path), [Task(0, "a"), Task(1, "a")])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_as_one(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space")
        yield

    with pytest.raises(StorageError, match="no space left; free some"):
        list(Spill(full, tmp_path)(1))


def test_an_unknown_runner_is_a_config_error():
    with pytest.raises(ConfigError, match="NoSuchRunner"):
        BeamRun("NoSuchRunner").map_shards(fail, [Task(0, "a")])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--streeming",), "--streeming"),
        (("corpus",), "corpus"),
        (("--streaming", "on", "corpus"), "corpus"),
        (("--job_name=x", "corpus"), "corpus"),
    ],
)
def test_a_word_that_no_option_takes_is_refused_by_name(options, named):
    with pytest.raises(ConfigError, match=f"^{named}: neither an option of webtext build"):
        runner.refuse_unknown(options)


def test_an_option_of_beam_takes_the_word_behind_it():
    runner.refuse_unknown(("--job_name", "corpus"))
    runner.refuse_unknown(("--job_name=corpus", "--streaming"))


def test_dataflow_asks_for_googles_client_where_it_is_missing_and_only_there(monkeypatch):
    asked = "DataflowRunner", ("--sdk_container_image=i", "--project=p", "--region=r"), mirror("gs://bucket/work")
    monkeypatch.setattr(runner, "find_spec", {"apitools": "found"}.get)
    runner.refuse_unfit(*asked)
    monkeypatch.setattr(runner, "find_spec", {}.get)
    with pytest.raises(ConfigError, match=r"needs Google's client; run: pip install 'webtext\[gcp\]'"):
        runner.refuse_unfit(*asked)


def test_nothing_to_do_does_not_import_beam():
    code = (
        "import sys\nfrom pipeline.shards.runner import BeamRun\nBeamRun().map_shards(print, [])\n"
        "BeamRun().exchange(print, [1], print, [])\nassert 'apache_beam' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
