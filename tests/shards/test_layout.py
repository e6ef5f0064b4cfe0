"""Where files of a working directory lie: what is no table out of sight, moved there where it lay otherwise."""

import shutil
from pathlib import Path

import pytest

from pipeline import config
from pipeline.build import STAGES, build, same_shards
from pipeline.cli.options import opened
from pipeline.shards import layout, lease, storage
from pipeline.shards.locations import mirror
from pipeline.shards.outcomes import BusyError, ConfigError, StorageError
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import PlainRun
from tests import stores
from tests.test_moved import Counted
from tests.test_status import begun, states

NAMES = {layout.RECEIPTS: "receipts", layout.MANIFEST: "manifest.json", layout.SOURCES: "sources.json"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    work = begun(tmp_path_factory.mktemp("layout") / "work")
    build(work, config.load(work / config.FILE_NAME), "corpus", run=PlainRun())
    return work


@pytest.fixture
def work(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "work", symlinks=True)


def files_of(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def before(inside):
    """Where an earlier version had a file that lies at `inside` today, below the working directory."""
    parts = [NAMES.get(part, part) for part in inside.split("/")]
    return "/".join(["corpus", *parts] if parts[0] == "removed" else parts)


def aged(root):
    """A working directory laid out as an earlier version did; the files of today by their names."""
    shutil.rmtree(root / "corpus" / "removed")
    today = files_of(root)
    for inside, data in today.items():
        if before(inside) != inside:
            (root / inside).unlink()
            storage.write_bytes(root / before(inside), data)
    for folder in [*root.rglob(layout.RECEIPTS), root / "removed"]:
        folder.rmdir()
    return today


def test_what_lies_open_in_a_folder_are_its_shards(whole):
    for stage in STAGES[:4]:
        lying = [path for path in (whole / stage).iterdir() if not path.name.startswith(".") and path.is_file()]
        assert {path.suffix for path in lying} == {".parquet"}
    assert [path.name for path in (whole / "removed").iterdir()] == [path.name for path in sorted(lying)]


def test_evidence_is_found_by_its_earlier_name_too(whole):
    found = sorted((whole / "corpus" / "removed").glob("*.parquet"))
    assert [path.resolve() for path in found] == sorted((whole / "removed").resolve().iterdir())


@pytest.mark.failure(
    "a working directory was made by an earlier version, which had receipts elsewhere",
    "they are moved, with a note; nothing is made anew",
    "nothing",
)
@pytest.mark.parametrize("before", ["nothing", "a copy", "a link"])
def test_an_earlier_name_leads_to_the_evidence_whatever_stood_there(tmp_path, before):
    name, old = "removed/part-0.parquet", tmp_path / "corpus/removed/.part-0.parquet"
    if before != "nothing":
        old.parent.mkdir(parents=True)
        old.write_text("") if before == "a copy" else old.symlink_to(Path("..", "..", name))
    layout.keep_old_names(tmp_path / "corpus", [name])
    assert old.readlink() == Path("..", "..", name)


def test_a_directory_of_an_earlier_version_is_moved_once_and_not_made_anew(work, capfd):
    today = aged(work)
    assert layout.is_old(work)
    assert opened(work) == work
    assert capfd.readouterr().err.count("files moved to where this version has them; nothing is made anew") == 1
    assert {name: data for name, data in files_of(work).items() if not layout.is_link(name.split("/")[-1])} == today
    opened(work)
    assert capfd.readouterr().err == ""
    assert set(states(work).values()) == {"whole", "not made"}
    assert list(states(work).values()).count("whole") == 4
    assert not [path for path in work.rglob("*") if path.name in NAMES.values()]


def test_a_build_as_a_function_moves_it_too_and_makes_nothing(work):
    aged(work)
    settings = config.load(work / config.FILE_NAME)
    stamps = {path: path.stat().st_mtime_ns for path in (work / "corpus").glob("*.parquet")}
    Counted.tasks = 0
    build(work, settings, "corpus", run=Counted())
    assert Counted.tasks == 0
    assert {path: path.stat().st_mtime_ns for path in (work / "corpus").glob("*.parquet")} == stamps
    assert not layout.is_old(work)


def test_what_asks_without_moving_refuses_it_with_the_command_that_moves(work):
    aged(work)
    with pytest.raises(
        ConfigError, match=r"laid out by an earlier version of webtext; run: webtext status --dir .*work"
    ):
        same_shards(work, 2)


def test_a_move_that_was_cut_short_is_ended_by_the_next(work, monkeypatch):
    today, moved = aged(work), []
    rename = type(work).rename

    def cut(path, target):
        if len(moved) == 7:
            raise KeyboardInterrupt
        moved.append(target)
        return rename(path, target)

    monkeypatch.setattr(type(work), "rename", cut)
    with pytest.raises(KeyboardInterrupt):
        opened(work)
    monkeypatch.undo()
    assert layout.is_old(work)
    opened(work)
    assert {name: data for name, data in files_of(work).items() if not layout.is_link(name.split("/")[-1])} == today


def test_while_another_run_works_there_nothing_is_moved(work):
    aged(work)
    with lease.lock(work), pytest.raises(BusyError):
        opened(work)
    assert (work / "links" / "manifest.json").exists()


@pytest.mark.failure(
    "files of an earlier version and of this one lie side by side", "exit 7; the line names both", "move one of them"
)
def test_nothing_is_overwritten_by_a_move(work):
    aged(work)
    (work / "links" / layout.MANIFEST).write_text("{}")
    with pytest.raises(StorageError, match=r"\.manifest\.json: is in the way of .*links/manifest\.json"):
        opened(work)
    assert (work / "links" / layout.MANIFEST).read_text() == "{}"


def test_a_users_own_files_of_such_names_stay(work):
    for name in ("manifest.json", "mine/receipts/a.json", "removed/notes.txt"):
        storage.write_bytes(work / name, b"mine")
    assert not layout.is_old(work)


def test_on_an_object_store_they_are_moved_as_well(whole, tmp_path):
    with stores.server() as address, stores.bucket(address, tmp_path / "cache") as name:
        root = mirror(f"{name}/work")
        aged(shutil.copytree(whole, tmp_path / "aged", symlinks=True))
        for inside, data in files_of(tmp_path / "aged").items():
            if inside.split("/")[0] in ("links", "corpus", "scratch"):
                storage.write_bytes(root / inside, data)
        assert opened(root) == root
        assert not layout.is_old(root)
        for stage in ("links", "corpus"):
            manifest = Artefact(root, stage, 2).manifest()
            assert manifest is not None
            assert storage.read_bytes(root / stage / layout.MANIFEST) == (whole / stage / layout.MANIFEST).read_bytes()
            assert not storage.exists(root / stage / "manifest.json")
