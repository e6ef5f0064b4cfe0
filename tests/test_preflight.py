"""What a build would trip over after hours is told in its first second, all of it, and by plan in the same words."""

import shutil
from collections import namedtuple

import pytest

from pipeline import config, preflight
from pipeline.build import STAGES, build
from pipeline.shards.outcomes import ConfigError, InputError, StorageError
from pipeline.shards.runner import PlainRun
from pipeline.verbs.plan.outlook import outlook
from tests.own_data import write_both

FINE = {"links": {"submissions": ["dump.ndjson"]}, "pages": {"warc": ["*.warc.gz"]}}
CONTACT = {"contact": "mailto:a@b.test"}
DISK = namedtuple("usage", "total used free")


BROKEN = {
    "broken.ndjson.zst": b"no frame", "broken.parquet": b"id,url", "rules.txt": b"nonsense\n",
    "wiki.xml.bz2": b"<mediawiki>", "grams.npy": b"text", "short.txt": b"too short", "rows.jsonl": b"no json\n",
    "rows.xlsx": b"PK",
}  # fmt: skip


def written(work):
    write_both(work, pages=1)
    for name, data in BROKEN.items():
        (work / name).write_bytes(data)
    return work


FAULTS = {
    "no source": ({"links": {}}, ConfigError, "links.submissions is empty"),
    "no such dump": ({"links": {"submissions": ["none*"]}}, InputError, "links.submissions: 'none*' matches no file"),
    "a dump that is none": ({"links": {"submissions": ["broken.ndjson.zst"]}}, InputError, "not a .zst file"),
    "a table that is none": ({"links": {"submissions": ["broken.parquet"]}}, InputError, "not a .parquet file"),
    "no known kind": ({"links": {"submissions": ["rows.xlsx"]}}, InputError, "unknown kind of submissions; known suff"),
    "no such list": ({"links": {"submissions": ["dump.ndjson"], "blocked_hosts": "none.txt"}}, InputError, "none.txt"),
    "no contact": ({"pages": {}}, ConfigError, "pages.contact"),
    "no such archive": ({"pages": {"warc": ["none*"]}}, InputError, "pages.warc: 'none*' matches no file"),
    "no such index": ({"pages": {**CONTACT, "commoncrawl": ["none*"]}}, InputError, "pages.commoncrawl: 'none*'"),
    "no such rules": ({"corpus": {"rules": ["none.txt"]}}, InputError, "corpus.rules: 'none.txt'"),
    "rules that are none": ({"corpus": {"rules": ["rules.txt"]}}, ConfigError, "rules.txt, line 1"),
    "no encyclopedia": ({"corpus": {"wikipedia_dumps": ["none*"]}}, InputError, "corpus.wikipedia_dumps: 'none*'"),
    "an encyclopedia that is none": ({"corpus": {"wikipedia_dumps": ["wiki*"]}}, InputError, "not a .bz2 file"),
    "a reference that is none": ({"corpus": {"wikipedia_reference": "grams.npy"}}, InputError, "not a .npy file"),
    "an evaluation that is short": ({"corpus": {"contamination": ["short.txt"]}}, InputError, "no text of 13 words"),
    "an evaluation that is none": ({"corpus": {"contamination": ["rows.jsonl"]}}, InputError, "cannot be read"),
}  # fmt: skip


@pytest.mark.failure(
    "a file or a setting that a later stage needs is missing or wrong",
    "exit 2 or 3, before anything is made; all such faults, a line each",
    "correct them",
)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_any_stage_is_told_before_the_first_is_made_and_by_plan(tmp_path, name):
    tables, error, line = FAULTS[name]
    work, settings = written(tmp_path / "work"), config.parse({**FINE, **tables})
    with pytest.raises(error) as built:
        build(work, settings, run=PlainRun(), started=lambda stage: pytest.fail(f"{stage} was begun"))
    assert line in str(built.value)
    with pytest.raises(error) as planned:
        outlook(work, settings)
    assert str(planned.value) == str(built.value)


def test_all_faults_are_told_at_once_and_none_of_a_stage_that_is_not_asked_for(tmp_path):
    tables = {
        "links": {"submissions": ["none*", "other*"]},
        "pages": {"crawl": "never"},
        "corpus": {"rules": ["none.txt"]},
    }
    settings = config.parse(tables)
    with pytest.raises(InputError) as failure:
        preflight.check(tmp_path, settings, STAGES)
    said = str(failure.value).splitlines()
    begun = [line.partition(":")[0] for line in said]
    assert begun == ["links.submissions", "links.submissions", "pages.crawl is 'never'", "corpus.rules"]
    with pytest.raises(InputError) as failure:
        preflight.check(tmp_path, settings, ["links"])
    assert len(str(failure.value).splitlines()) == 2


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    work = written(tmp_path / "work")

    def refused(path, _ahead):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(preflight.storage, "reading", refused)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        preflight.check(work, config.parse(FINE), ["links"])


@pytest.mark.failure(
    "the disk is too small for a build", "exit 7 before it begins, or a note", "free some, or work elsewhere"
)
def test_a_disk_that_is_too_small_is_refused_and_one_that_may_be_is_noted(tmp_path, monkeypatch):
    work, settings = written(tmp_path / "work"), config.parse(FINE)
    assert preflight.check(work, settings, STAGES) == []
    for free, size, noted in ((10**12, 10**9, False), (10**9, 10**10, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: DISK(0, 0, free))
        assert bool(preflight.space(work, size)) == noted
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DISK(0, 0, 10**6))
    with pytest.raises(StorageError, match=r"0\.00 GB free, for inputs of 0\.00 GB; free some, or work elsewhere"):
        build(work, settings, run=PlainRun())
