"""Killed anywhere, the next build ends with the same bytes and fetches no committed page again."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import config, urls
from pipeline.build import STAGES
from pipeline.demo import dump
from pipeline.demo.run import CONFIG
from pipeline.demo.site import ordinary_pages
from pipeline.demo.web import LocalWeb

REPOSITORY = Path(__file__).resolve().parents[1]
# between two kills: fsyncs and renames. A whole small build makes about 200; WEBTEXT_LONG sweeps finely.
STRIDES = range(5, 200, 6) if os.environ.get("WEBTEXT_LONG") else (11, 23, 31, 41)


def begin(folder, web, pages):
    """A working directory whose dump links to the first `pages` ordinary pages of the demo's web."""
    wanted = {page.url.encode() for page in ordinary_pages()[:pages]}
    lines = [line for line in dump.submissions() if any(b'"' + url + b'"' in line for url in wanted)]
    folder.mkdir()
    (folder / "submissions.ndjson").write_bytes(b"".join(lines))
    dump.wikipedia_dump(folder / "encyclopedia.xml")
    names = "".join(f'"{name}" = "{address}"\n' for name, address in sorted(web.local_hosts().items()))
    text = CONFIG.replace("gap_s = 0.05", "gap_s = 0.0\nsegment_links = 7").replace(
        "vocab_size = 4096", "vocab_size = 600"
    )
    (folder / config.FILE_NAME).write_text("[build]\nshards = 2\nworkers = 1\n" + text + names)


def run_build(folder, kill_at, *sets):
    """The exit code of a real build that dies at its `kill_at`-th call (0: lives)."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, str(REPOSITORY / "tests" / "killed_build.py"), str(folder), str(kill_at), *sets]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
    return done.returncode


def artefacts(folder, stages):
    """Name to bytes of every shard, receipt and manifest of the stages."""
    paths = [path for stage in stages for path in (folder / stage).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def committed(folder):
    """(host, path) of every link in a committed segment."""
    tables = [pq.read_table(path) for path in (folder / "pages" / "segments").glob("*.parquet")]
    found = [url for table in tables for url in table["final_url"].to_pylist() if url]
    return {(urls.host_of(url), urls.path_of(url)) for url in found}


@pytest.mark.failure("a build is killed, at any moment", "the next one ends with the same bytes", "run it again")
def test_a_build_killed_again_and_again_ends_byte_identical_and_fetches_nothing_committed_twice(tmp_path):
    with LocalWeb() as web:
        begin(tmp_path / "killed", web, pages=40)
        kills, frozen = 0, {}
        for stride in itertools.chain(STRIDES, [0]):
            ended = run_build(tmp_path / "killed", stride)
            for page, hits in frozen.items():
                assert web.hits[page] == hits, f"{page} was committed and fetched again"
            frozen = {page: web.hits[page] for page in committed(tmp_path / "killed")}
            kills += ended != 0
        assert kills >= 3
        assert len(frozen) > 20
        assert ended == 0

        # the same committed pages, never interrupted
        whole = tmp_path / "whole"
        whole.mkdir()
        for name in ("submissions.ndjson", "encyclopedia.xml", config.FILE_NAME):
            (whole / name).write_bytes((tmp_path / "killed" / name).read_bytes())
        for path in (tmp_path / "killed" / "pages").rglob("*"):
            if path.is_file():
                target = whole / path.relative_to(tmp_path / "killed")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
        assert run_build(whole, 0) == 0
        for page, hits in frozen.items():
            assert web.hits[page] == hits
    mine, theirs = artefacts(tmp_path / "killed", STAGES[2:]), artefacts(whole, STAGES[2:])
    assert sorted(mine) == sorted(theirs)
    assert [name for name in mine if mine[name] != theirs[name]] == []
    assert len(mine) > 15


def test_one_and_two_workers_make_the_same_bytes(tmp_path):
    with LocalWeb() as web:
        begin(tmp_path / "one", web, pages=24)
        assert run_build(tmp_path / "one", 0) == 0
        two = tmp_path / "two"
        for path in (tmp_path / "one").rglob("*"):
            part = path.relative_to(tmp_path / "one").parts[0]
            if path.is_file() and part not in {*STAGES[2:], "scratch"}:
                target = two / path.relative_to(tmp_path / "one")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
        assert run_build(two, 0, "build.workers=2") == 0
    mine, theirs = artefacts(tmp_path / "one", STAGES[2:]), artefacts(two, STAGES[2:])
    assert sorted(mine) == sorted(theirs)
    assert [name for name in mine if mine[name] != theirs[name]] == []
