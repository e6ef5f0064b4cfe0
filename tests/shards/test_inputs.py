"""The files that a user names: which they are, and whether they have changed."""

import glob
import os

import pytest

from pipeline.shards import inputs, storage
from pipeline.shards.outcomes import InputError


def test_a_glob_means_the_same_wherever_it_stands(tmp_path):
    odd = tmp_path / "a [x] *"
    odd.mkdir()
    for name in ("b.zst", "a.zst", "c.txt"):
        (odd / name).write_bytes(b"")
    (odd / "folder.zst").mkdir()
    both = [odd / "a.zst", odd / "b.zst"]
    assert inputs.matching(["*.zst", "a.*"], odd, "links.submissions") == both
    assert inputs.matching([f"{glob.escape(str(odd))}/*.zst"], tmp_path, "links.submissions") == both
    with pytest.raises(InputError, match=r"links\.submissions: '\*\.gz' matches no file \(from /"):
        inputs.matching(["*.zst", "*.gz"], odd, "links.submissions")


def test_an_input_file_is_read_again_only_when_it_has_changed(tmp_path, monkeypatch):
    old, new, cache = tmp_path / "old", tmp_path / "new", tmp_path / "scratch" / "hashes.json"
    for path in (old, new):
        path.write_bytes(path.name.encode())
    os.utime(old, (1_000, 1_000))
    read = []
    monkeypatch.setattr(storage, "sha256_of", lambda path: read.append(path) or f"{path.read_bytes()}")
    first = inputs.sha256_of_each([old, new], cache)
    assert inputs.sha256_of_each([old, new], cache) == first
    assert read == [old, new, new]  # what has just been written may change again within one tick of its time
    old.write_bytes(b"OLD")
    assert inputs.sha256_of_each([old], cache)[old] == f"{b'OLD'}"
    cache.write_bytes(b"rubbish")
    assert inputs.sha256_of_each([old], cache)[old] == f"{b'OLD'}"


def test_an_input_that_moves_with_its_working_directory_is_not_read_again(tmp_path, monkeypatch):
    here = tmp_path / "here"
    (here / "scratch").mkdir(parents=True)
    (here / "dump").write_bytes(b"x")
    os.utime(here / "dump", (1_000, 1_000))
    first = inputs.sha256_of_each([here / "dump"], here / inputs.HASHES)
    there = here.rename(tmp_path / "there")
    monkeypatch.setattr(storage, "sha256_of", lambda path: f"read {path}")
    assert inputs.sha256_of_each([there / "dump"], there / inputs.HASHES) == {there / "dump": first[here / "dump"]}


@pytest.mark.failure("the name of an input is not UTF-8", "exit 3; the line shows the name", "rename the file")
def test_a_name_that_is_not_utf_8_is_refused_in_a_line_that_can_be_printed(tmp_path):
    (tmp_path / "caf\udce9.ndjson").write_bytes(b"")
    with pytest.raises(InputError, match=r"links.submissions: '.*caf\\udce9\.ndjson': the name is not UTF-8"):
        inputs.matching(["*.ndjson"], tmp_path, "links.submissions")
