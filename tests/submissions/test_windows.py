"""Windows of zstandard: told before anything is decoded, and no more of them open at once than there is room for."""

import subprocess
import threading
import time

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import sources as parsed
from pipeline.shards import machine, workers
from pipeline.shards.outcomes import StorageError
from pipeline.shards.receipts import Artefact, Task
from pipeline.submissions import windows

GIB = 2**30


def written(path, window_log, before=b""):
    """A file whose decoder has to hold a window of 2^window_log bytes."""
    chosen = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    frame = zstandard.ZstdCompressor(compression_params=chosen).compressobj()
    path.write_bytes(before + frame.compress(b'{"id": "87"}\n') + frame.flush())
    return path


@pytest.mark.parametrize("window_log", [20, 27, 30, 31])
def test_the_window_of_a_file_is_told_by_its_first_frame(tmp_path, window_log):
    assert windows.window_of(written(tmp_path / "RS.zst", window_log)) == 2**window_log


def test_frames_for_other_programs_are_passed_over(tmp_path):
    skippable = b"".join((0x184D2A50 + kind).to_bytes(4, "little") + b"\x05\0\0\0notes" for kind in (0, 15))
    assert windows.window_of(written(tmp_path / "RS.zst", 31, skippable)) == 2**31


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("RS.zst", b""),
        ("RS.zst", b"(\xb5/\xfd"),
        ("RS.zst", b'{"id": "87"}\n' * 9),
        ("RS.gz", b"\x1f\x8b"),
        ("gone.zst", None),
    ],
)
def test_what_is_no_zstandard_has_no_window_and_is_refused_by_who_reads_it(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert windows.window_of(tmp_path / name) == 0


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2**40))
def test_windows_that_are_open_at_once_fit_into_the_budget_but_for_a_single_one(window, budget):
    count = windows.at_once(window, budget)
    assert count >= 1
    assert count == 1 or count * window <= budget


def test_half_of_the_machine_is_the_budget_unless_the_settings_name_one(monkeypatch):
    monkeypatch.setattr(machine, "memory_bytes", lambda: 16 * GIB)
    assert (windows.budget(0), windows.budget(3 * GIB)) == (8 * GIB, 3 * GIB)


def test_a_container_has_the_memory_that_it_is_limited_to(tmp_path, monkeypatch):
    limit, unlimited = tmp_path / "memory.max", tmp_path / "max"
    limit.write_text(f"{512 * 2**20}\n")
    unlimited.write_text("max\n")
    monkeypatch.setattr(machine, "CGROUPS", (str(unlimited), str(tmp_path / "none"), str(limit)))
    assert machine.memory_bytes() == 512 * 2**20


@pytest.mark.parametrize(("budget", "most"), [(4 * GIB, 2), (GIB, 1)])
def test_no_more_readers_are_in_the_room_than_it_has_memory_for(tmp_path, monkeypatch, budget, most):
    monkeypatch.setattr(windows, "LOOK_S", 0.001)
    path, inside, seen, guard = written(tmp_path / "RS.zst", 31), [], [], threading.Lock()

    def read():
        for _ in range(5):
            with windows.room(path, budget, tmp_path / "locks"):
                with guard:
                    inside.append(1)
                    seen.append(len(inside))
                time.sleep(0.002)
                with guard:
                    inside.pop()

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(seen) == 20
    assert max(seen) <= most


def test_a_reader_that_was_killed_leaves_its_room_to_others(tmp_path):
    path = written(tmp_path / "RS.zst", 31)
    code = (
        "from pathlib import Path; import os, signal; from pipeline.submissions import windows; "
        f"held = windows.room(Path({str(path)!r}), {2 * GIB}, Path({str(tmp_path / 'locks')!r})); held.__enter__(); "
        "print('in', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with subprocess.Popen(workers.python(code), stdout=subprocess.PIPE) as child:
        assert child.stdout.read() == b"in\n"
    with windows.room(path, 2 * GIB, tmp_path / "locks") as held:
        assert held == 2 * GIB


def test_ordinary_files_need_no_room(tmp_path):
    with windows.room(written(tmp_path / "RS.zst", 27), GIB, tmp_path / "locks") as held:
        assert held == 0
    assert not (tmp_path / "locks").exists()


@pytest.mark.failure
def test_a_folder_for_locks_that_cannot_be_made_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(StorageError, match="cannot be written"),
        windows.room(written(tmp_path / "RS.zst", 31), GIB, tmp_path / "file" / "locks"),
    ):
        pass


def test_links_read_a_dump_in_the_room_that_the_settings_give_it(tmp_path, monkeypatch):
    asked = []
    whole = windows.room
    monkeypatch.setattr(
        windows, "room", lambda path, budget: asked.append((path, budget)) or whole(path, budget, tmp_path / "locks")
    )
    path, sources = written(tmp_path / "RS.zst", 31), Artefact(tmp_path, "scratch/dumps", 1)
    path.write_bytes(
        zstandard.compress(b'{"id": "87", "url": "http://a.example/", "score": 3, "created_utc": 1119552233}\n')
    )
    assert list(parsed.scatter_source(sources, 1, (Task(0, "mark"), path), windows_bytes=3 * GIB))
    assert asked == [(path, 3 * GIB)]
