"""A file exists whole or not at all, and a reader notices any change."""

import errno
import hashlib
import shlex
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards import lease, leftovers, pending, storage
from pipeline.shards.outcomes import IntegrityError, StorageError
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.storage import Stamp
from tests.disk import Disk


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path):
    path = tmp_path / "a.bin"
    storage.write_bytes(path, b"old")
    with pytest.raises(ValueError, match="stop"), storage.atomic(path) as file:
        file.write(b"new")
        raise ValueError("stop")
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.failure("the disk is full", "exit 7; no half file is left", "free some, run it again: it goes on")
def test_a_full_disk_is_one_line_that_says_how_to_go_on(tmp_path):
    with pytest.raises(StorageError, match="no space left; free some and run the same command again"):  # noqa: SIM117
        with storage.atomic(tmp_path / "a.bin"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@given(pieces=st.lists(st.binary(max_size=200), max_size=8))
def test_the_stamp_is_that_of_the_bytes_on_disk(tmp_path_factory, pieces):
    path = tmp_path_factory.mktemp("stamp") / "a.bin"
    with storage.atomic(path) as file:
        for piece in pieces:
            file.write(piece)
    whole = b"".join(pieces)
    assert path.read_bytes() == whole
    assert file.stamp(3) == Stamp(hashlib.sha256(whole).hexdigest(), len(whole), 3)
    assert storage.sha256_of(path) == file.stamp().sha256


@pytest.mark.failure(
    "a file of an artefact is damaged",
    "exit 5; the line names it",
    "run the command that the line gives: one shard is made again",
)
@pytest.mark.parametrize("damage", [b"", b"abcdeX", b"abcde", b"abcdefg"])
def test_a_damaged_file_is_named_with_its_mend(tmp_path, damage):
    path = tmp_path / "00001-of-00004.parquet"
    stamp = storage.write_bytes(path, b"abcdef")
    assert storage.verified(path, stamp, tmp_path / "it's.json") == path
    assert storage.is_there(path, stamp)
    path.unlink()
    path.write_bytes(damage)
    assert storage.is_there(path, stamp) == (len(damage) == 6)
    with pytest.raises(IntegrityError, match=r"00001-of-00004\.parquet: .*; run: rm .* and build again") as failure:
        storage.verified(path, stamp, tmp_path / "it's.json")
    assert f"rm {shlex.quote(str(tmp_path / 'it') + chr(39) + 's.json')} and" in str(failure.value)


@pytest.mark.failure("the power fails", "what was committed is there, whole", "run it again: it goes on where it was")
def test_bytes_are_on_disk_before_they_get_their_name_and_the_name_before_anything_follows(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, tmp_path)
    storage.write_bytes(tmp_path / "links" / "a.bin", b"abcdef")
    assert disk.told() == ["sync links/a.bin 6", "name links/a.bin", "sync links"]


def test_a_receipt_is_on_disk_after_its_files_and_gone_before_they_change(tmp_path, monkeypatch):
    made = Artefact(tmp_path, "tokens", 1)
    for data in (b"old", b"newer"):
        disk = Disk(monkeypatch, tmp_path / "tokens")
        with made.attempt(Task(0, data.hex() + "0" * 20)) as attempt:
            for part in ("train", "val"):
                with attempt.write(".arrow", part) as file:
                    file.write(data)
            attempt.commit({})
        calls, length = disk.told(), made.receipt_path(0).stat().st_size
        monkeypatch.undo()
    name = "00000-of-00001"
    assert calls == [
        f"sync train/{name}.arrow 5", f"sync val/{name}.arrow 5",
        f"unlink .receipts/{name}.json", "sync .receipts",
        f"name train/{name}.arrow", f"name val/{name}.arrow", "sync train", "sync val",
        f"sync .receipts/{name}.json {length}", f"name .receipts/{name}.json", "sync .receipts",
    ]  # fmt: skip


def test_what_was_decided_before_a_kill_is_done_to_the_end_before_its_note_goes(tmp_path, monkeypatch):
    folder, receipt = tmp_path / "links", tmp_path / "links" / ".receipts" / "00000-of-00001.json"
    with storage.writing(folder / "00000-of-00001.parquet") as file:
        file.write(b"rows")
    pending.note(receipt, b"{}", ["00000-of-00001.parquet"])
    disk = Disk(monkeypatch, folder)
    pending.finish(tmp_path)
    assert disk.told() == [
        "name 00000-of-00001.parquet", "sync .",
        "sync .receipts/00000-of-00001.json 2", "name .receipts/00000-of-00001.json", "sync .receipts",
        "unlink .receipts/00000-of-00001.pending",
    ]  # fmt: skip


def test_a_missing_file_is_named(tmp_path):
    stamp = Stamp("0" * 64, 1)
    assert not storage.is_there(tmp_path / "00000-of-00001.parquet", stamp)
    with pytest.raises(IntegrityError, match="missing"):
        storage.verified(tmp_path / "00000-of-00001.parquet", stamp, tmp_path / "receipt.json")


def test_sweep_removes_parts_and_nothing_else(tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / ".x.parquet.12.part").write_bytes(b"half")
    (tmp_path / "links" / "x.parquet").write_bytes(b"whole")
    assert leftovers.sweep(tmp_path) == 1
    assert [one.name for one in (tmp_path / "links").iterdir()] == ["x.parquet"]


@pytest.mark.failure(
    "another command writes below the working directory while a build begins",
    "nothing: neither harms the other",
    "nothing",
)
def test_sweep_leaves_what_somebody_is_writing_now(tmp_path):
    writer = (
        "import sys\nfrom pathlib import Path\nfrom pipeline.shards import storage\n"
        "with storage.atomic(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half')\n    print('writing', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", writer, str(tmp_path / "grams.npy")]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "writing\n"
    with storage.writing(tmp_path / "own.bin"):
        assert leftovers.sweep(tmp_path) == 0
    other.communicate()
    assert (tmp_path / "grams.npy").read_bytes() == b"half"


def test_sweep_takes_what_a_killed_process_was_writing(tmp_path):
    killed = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom pipeline.shards import storage\n"
        "with storage.atomic(Path(sys.argv[1])) as file:\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", killed, str(tmp_path / "a.bin")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    assert leftovers.sweep(tmp_path) == 1
    own = storage.part_of(tmp_path / "b.bin")
    as_before_the_last_start = own.with_name(own.name.replace(storage.PROCESS, "0" * 8))
    as_before_the_last_start.touch()
    assert leftovers.sweep(tmp_path) == 1


def test_sweep_stays_out_of_a_folder_that_another_run_holds(tmp_path):
    with lease.lock(tmp_path / "exported"):
        (tmp_path / "exported" / ".x.parquet.12.part").write_bytes(b"half")
        assert leftovers.sweep(tmp_path) == 0
    assert leftovers.sweep(tmp_path) == 1


def test_shard_names_sort_as_their_numbers_do():
    assert storage.shard_name(42, 128, ".parquet") == "00042-of-00128.parquet"
    with pytest.raises(ValueError, match="shard 4 of 4"):
        storage.shard_name(4, 4, ".parquet")
