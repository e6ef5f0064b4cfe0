"""A working directory may be renamed or moved: nothing that was made is made again, wherever its WARC files lie."""

import os

import pytest

from pipeline import config
from pipeline.build import build
from pipeline.shards import locations
from pipeline.shards.runner import PlainRun
from tests.own_data import write_both

SETTINGS = {"build": {"shards": 2}, "links": {"submissions": ["dump.ndjson"]}, "corpus": {"min_words": 50}}


class Counted(PlainRun):
    """Counts the tasks that a build has."""

    tasks = 0

    def map_shards(self, function, tasks, heavy=False):
        type(self).tasks += len(tasks)
        super().map_shards(function, tasks, heavy)

    def exchange(self, scatter, sources, gather, targets, heavy=False):
        type(self).tasks += len(targets)
        super().exchange(scatter, sources, gather, targets)


def made(work, **pages):
    """How many tasks a build of the working directory has."""
    Counted.tasks = 0
    build(work, config.parse({**SETTINGS, "pages": pages}), "corpus", run=Counted())
    return Counted.tasks


@pytest.mark.failure("a working directory is moved or renamed", "nothing is made again", "nothing")
@pytest.mark.parametrize("warc", ["*.warc.gz", "../beside/*.warc.gz"])
def test_a_directory_that_moves_is_whole_where_it_comes_to(tmp_path, warc):
    write_both(tmp_path / "first" / "work", pages=6)
    beside = tmp_path / "first" / "beside"
    beside.mkdir()
    if warc.startswith(".."):
        (tmp_path / "first" / "work" / "pages.warc.gz").rename(beside / "pages.warc.gz")
    assert made(tmp_path / "first" / "work", warc=[warc]) > 10
    (tmp_path / "first").rename(tmp_path / "second")
    work = (tmp_path / "second" / "work").rename(tmp_path / "second" / "renamed")
    assert made(work, warc=[warc]) == 0
    for path in (work / "documents" / ".receipts").iterdir():  # and its pages are still found
        path.unlink()
    assert made(work, warc=[warc]) > 0


def test_the_same_files_named_otherwise_make_nothing_anew(tmp_path):
    write_both(tmp_path / "work", pages=6)
    made(tmp_path / "work", warc=["*.warc.gz"])
    assert made(tmp_path / "work", warc=["pages.warc.gz", "p*"]) == 0
    assert made(tmp_path / "work", warc=[str(tmp_path / "work" / "*.warc.gz")]) == 0
    path = tmp_path / "work" / "pages.warc.gz"
    path.rename(tmp_path / "work" / "other.warc.gz")
    assert made(tmp_path / "work", warc=["*.warc.gz"]) > 0  # pages name the file; texts are not asked for again
    os.utime(tmp_path / "work" / "other.warc.gz")
    assert made(tmp_path / "work", warc=["*.warc.gz"]) == 0


def test_pointers_name_files_from_where_the_pages_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / "cache"))
    for root in (tmp_path / "work", locations.mirror("s3://bucket/work")):
        pages, outside = root / "pages", locations.mirror("s3://other/x.warc.gz")
        for file, name in (
            (root / "x.warc.gz", "../x.warc.gz"),
            (root / ".." / "y" / "x.warc.gz", "../../y/x.warc.gz"),
            (tmp_path / "z.warc.gz", str(tmp_path / "z.warc.gz")),
            (outside, "s3://other/x.warc.gz"),
        ):
            assert locations.pointer_to(file, pages) == name
            assert locations.pointed_at(name, pages) == file
            assert locations.is_given(name)
        assert locations.pointed_at("segments/a.warc.gz", pages) == pages / "segments" / "a.warc.gz"
        assert not locations.is_given("segments/a.warc.gz")
