"""Receipts: only what is whole and current counts as done, and books balance."""

import os
import subprocess
import sys

import pytest

from pipeline.shards import lease, receipts
from pipeline.shards.outcomes import BooksError, BusyError, IntegrityError, Outcome
from pipeline.shards.receipts import Artefact, RowCounts, Task


def made(artefact, shard, mark, data=b"data"):
    """Commit one shard of one kept row."""
    with artefact.attempt(Task(shard, mark)) as attempt:
        with attempt.write(".bin") as file:
            file.write(data)
        attempt.rows(".bin", 1)
        attempt.commit({"tokens": receipts.balanced("tokens", 1, {Outcome.KEPT: 1})})


def test_a_committed_shard_is_not_stale_until_its_fingerprint_changes(tmp_path):
    links = Artefact(tmp_path, "links", 2)
    assert links.begin(["a", "b"]) == [Task(0, "a"), Task(1, "b")]
    made(links, 0, "a")
    assert links.begin(["a", "b"]) == [Task(1, "b")]
    assert links.begin(["a2", "b"]) == [Task(0, "a2"), Task(1, "b")]


def test_an_attempt_without_commit_leaves_the_old_shard_and_receipt(tmp_path):
    links = Artefact(tmp_path, "links", 1)
    made(links, 0, "a", b"old")
    with pytest.raises(RuntimeError), links.attempt(Task(0, "b")) as attempt:
        with attempt.write(".bin") as file:
            file.write(b"new")
        raise RuntimeError
    assert links.file(0, ".bin").read_bytes() == b"old"
    assert sorted(one.name for one in links.folder.iterdir()) == [".receipts", "00000-of-00001.bin"]


def test_a_second_attempt_of_a_made_task_changes_nothing(tmp_path):
    links = Artefact(tmp_path, "links", 1)
    made(links, 0, "a", b"first")
    made(links, 0, "a", b"second")
    assert links.file(0, ".bin").read_bytes() == b"first"


def test_the_manifest_adds_up_its_shards_and_goes_when_one_is_stale(tmp_path):
    tokens = Artefact(tmp_path, "tokens", 2)
    made(tokens, 0, "a")
    with pytest.raises(IntegrityError, match="1 of 2 shards are made"):
        tokens.finish({}, [])
    made(tokens, 1, "a")
    manifest = tokens.finish({"karma": 3}, ["pyarrow"])
    assert manifest.books == {"tokens": RowCounts(2, {"kept": 2})}
    assert tokens.manifest() == manifest
    assert tokens.begin(["a", "b"]) == [Task(1, "b")]
    assert tokens.manifest() is None


@pytest.mark.failure(
    "a worker of an earlier run, with other settings, ends late", "exit 5; nothing is called whole", "run it again"
)
def test_an_artefact_is_finished_only_if_every_shard_is_of_todays_fingerprint(tmp_path):
    links = Artefact(tmp_path, "links", 2)
    for task in links.begin(["new", "new"]):
        made(links, task.shard, task.fingerprint)
    made(links, 1, "old", b"by other settings")
    with pytest.raises(IntegrityError, match=r"00001-of-00002\.json: another run has made this shard otherwise"):
        links.finish({}, [])
    assert links.manifest() is None
    for task in links.begin(["new", "new"]):
        made(links, task.shard, task.fingerprint)
    assert links.finish({}, []).shards == 2


def test_who_only_looks_is_told_what_would_be_made_and_changes_nothing(tmp_path):
    links = Artefact(tmp_path, "links", 2)
    with receipts.looking(), pytest.raises(receipts.Undone) as undone:
        links.begin(["a", "b"])
    assert undone.value.tasks == [Task(0, "a"), Task(1, "b")]
    made(links, 0, "a")
    made(links, 1, "b")
    with receipts.looking():
        assert links.begin(["a", "b"]) == []
        with pytest.raises(receipts.Undone) as undone:  # the manifest is still to be written
            links.finish({}, [])
        assert undone.value.tasks == ()
    assert not links.manifest_path.exists()
    manifest = links.finish({}, [])
    with receipts.looking():
        assert links.finish({}, []) == manifest
        with pytest.raises(receipts.Undone):
            links.begin(["a", "c"])
    assert links.manifest() == manifest
    assert links.begin(["a", "c"]) == [Task(1, "c")]


@pytest.mark.failure("rows were lost or invented", "exit 6: a bug", "report it")
@pytest.mark.parametrize("outcomes", [{Outcome.KEPT: 2}, {Outcome.LOW_KARMA: 3}, {}])
def test_books_that_do_not_balance_are_refused(outcomes):
    with pytest.raises(BooksError, match="3 rows in"):
        receipts.balanced("tokens", 3, outcomes)


def test_a_rubbish_receipt_is_named(tmp_path):
    links = Artefact(tmp_path, "links", 1)
    made(links, 0, "a")
    links.receipt_path(0).write_bytes(b'{"shard":')
    with pytest.raises(IntegrityError, match="not a receipt"):
        links.begin(["a"])


@pytest.mark.failure("a receipt was edited", "exit 5; the line names it", "run the command that the line gives")
@pytest.mark.parametrize(("old", "new"), [(b'"rows": 1', b'"rows": 2'), (b"00000-of-00001.bin", b"00000-of-00001.bim")])
def test_a_changed_receipt_is_named_with_its_mend(tmp_path, old, new):
    links = Artefact(tmp_path, "links", 1)
    made(links, 0, "a")
    path = links.receipt_path(0)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    with pytest.raises(IntegrityError, match=rf"{path}: changed since it was written; run: rm {path} and build again"):
        links.begin(["a"])


@pytest.mark.parametrize("damage", [None, b"dat", b"data and more"])
def test_a_shard_whose_file_is_gone_or_of_another_length_is_made_anew(tmp_path, damage):
    links = Artefact(tmp_path, "links", 1)
    made(links, 0, "a")
    path = links.file(0, ".bin")
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    assert links.begin(["a"]) == [Task(0, "a")]


def test_a_manifest_says_what_the_artefact_was_made_from(tmp_path):
    links, pages = Artefact(tmp_path, "links", 1), Artefact(tmp_path, "pages", 1)
    made(links, 0, "a")
    made(pages, 0, "a")
    assert pages.finish({}, [], [links]).made_from == {"links": links.fingerprint()}
    before = links.fingerprint()
    made(links, 0, "b")
    assert links.fingerprint() != before


def test_fingerprints_cover_settings_inputs_version_and_libraries():
    base = receipts.fingerprint("links", 1, {"karma": 3}, ["x"], ["pyarrow"])
    others = [
        receipts.fingerprint("links", 2, {"karma": 3}, ["x"], ["pyarrow"]),
        receipts.fingerprint("links", 1, {"karma": 4}, ["x"], ["pyarrow"]),
        receipts.fingerprint("links", 1, {"karma": 3}, ["y"], ["pyarrow"]),
        receipts.fingerprint("links", 1, {"karma": 3}, ["x"], ["numpy"]),
    ]
    assert len({base, *others}) == 5
    assert base == receipts.fingerprint("links", 1, {"karma": 3}, ["x"], ["pyarrow"])


@pytest.mark.failure(
    "two runs in one folder", "the second ends with exit 4 and the holder's name", "wait; a dead holder's lock is free"
)
def test_a_second_process_is_refused_with_the_holder_and_a_dead_one_frees_the_lock(tmp_path):
    code = (
        "import sys,os\nfrom pathlib import Path\nfrom pipeline.shards import lease\n"
        "with lease.lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match=f"in use by process {holder.pid} on"), lease.lock(tmp_path):
        raise AssertionError("the lock was given twice")
    holder.kill()
    holder.communicate()
    with lease.lock(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith("process ")


def three(folder):
    """A whole artefact of three shards."""
    links = Artefact(folder, "links", 3)
    for shard in range(3):
        made(links, shard, "a", f"data of {shard}".encode())
    links.finish({}, [])
    return links


def swapped(links):
    one, other = links.folder / "00000-of-00003.bin", links.folder / "00001-of-00003.bin"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def from_elsewhere(links):
    """A shard of another build, its receipt with it."""
    other = Artefact(links.root / "other", "links", 3)
    made(other, 2, "a", b"another")
    for name in ("00002-of-00003.bin", ".receipts/00002-of-00003.json"):
        (links.folder / name).write_bytes((other.folder / name).read_bytes())


def test_the_files_of_a_whole_artefact_come_in_shard_order(tmp_path):
    links = three(tmp_path)
    assert [path.name for path in links.files(".bin")] == [f"0000{shard}-of-00003.bin" for shard in range(3)]


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda links: (links.folder / "00001-of-00003.bin").write_bytes(b"data of 3"), "00001-of-00003.bin: sha256"),
        (lambda links: (links.folder / "00001-of-00003.bin").write_bytes(b"data"), "00001-of-00003.bin: 4 bytes"),
        (lambda links: (links.folder / "00002-of-00003.bin").unlink(), "00002-of-00003.bin: missing"),
        (lambda links: (links.folder / "00003-of-00004.bin").write_bytes(b"data"), "00003-of-00004.bin: no shard of"),
        (lambda links: (links.folder / "copy.bin").write_bytes(b"data"), "copy.bin: no shard of this artefact"),
        (swapped, "00000-of-00003.bin: sha256"),
        (from_elsewhere, "00002-of-00003.bin: 7 bytes"),
        (lambda links: links.manifest_path.unlink(), "links: not whole; run 'webtext build links'"),
    ],
)
def test_the_files_of_an_artefact_are_those_of_its_manifest_and_no_other(tmp_path, harm, named):
    links = three(tmp_path)
    harm(links)
    with pytest.raises(IntegrityError, match=named):
        links.files(".bin")


def test_a_receipt_that_has_settled_is_read_once_and_a_later_one_is_seen(tmp_path, monkeypatch):
    artefact = Artefact(tmp_path, "links", 1)
    with artefact.attempt(Task(0, "first")) as attempt:
        attempt.commit({})
    path = artefact.receipt_path(0)
    past = path.stat().st_mtime_ns - 60 * 10**9
    os.utime(path, ns=(past, past))
    read, opened = receipts.storage.read_bytes, []
    monkeypatch.setattr(receipts.storage, "read_bytes", lambda path: opened.append(path) or read(path))
    assert [artefact.receipt(0).fingerprint for _ in range(3)] == ["first"] * 3
    assert len(opened) == 1
    with artefact.attempt(Task(0, "second")) as attempt:
        attempt.commit({})
    assert artefact.receipt(0).fingerprint == "second"
    path.write_bytes(path.read_bytes().replace(b"second", b"forged"))
    with pytest.raises(IntegrityError, match="changed since it was written"):
        artefact.receipt(0)
    path.unlink()
    assert artefact.receipt(0) is None
