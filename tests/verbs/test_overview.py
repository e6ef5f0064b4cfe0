"""The status as one value, for programs: what it holds, when it is done, and what a person who watches sees."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from pipeline import config
from pipeline.build import STAGES
from pipeline.cli import status as cli
from pipeline.cli.console import Stream
from pipeline.fetch import queues
from pipeline.pages import queue
from pipeline.shards import lease
from pipeline.shards.receipts import Artefact, RowCounts, Task, balanced
from pipeline.verbs import overview
from pipeline.verbs.overview import crawl_of, holder
from pipeline.verbs.overview import overview as looked_at

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "[build]\nshards = 2\n[links]\nsubmissions = ['list.txt']\n[pages]\ncontact = 'a@b.test'\n"


@pytest.fixture
def work(tmp_path):
    """One of two shards of links is made."""
    (tmp_path / config.FILE_NAME).write_text(CONFIG)
    (tmp_path / "list.txt").write_text("http://a.test/\n")
    one = Artefact(tmp_path, "links", 2)
    with one.attempt(Task(0, "a")) as attempt:
        attempt.commit({"links": balanced("links", 5, {"kept": 4, "low_karma": 1})})
    return tmp_path


def settings_of(work):
    return config.load(work / config.FILE_NAME)


def test_every_artefact_is_told_with_the_rows_of_the_shards_that_are_made(work):
    found = looked_at(work, settings_of(work))
    assert [one.artefact for one in found.artefacts] == list(STAGES)
    first = found.artefacts[0]
    assert (first.status, first.shards_done, first.shards_total) == ("partly made", 1, 2)
    assert first.rows == {"links": RowCounts(5, {"kept": 4, "low_karma": 1})}
    assert found.artefacts[1].status == "not made"
    assert (found.done, found.running, found.crawl, found.folder) == (False, None, None, str(work))


def test_what_a_crawl_waits_for_is_told_until_pages_are_whole(work):
    pages = Artefact(work, "pages", 2)
    at = datetime(2100, 1, 1, 12, 30, tzinfo=UTC).timestamp()
    queues.write(queue(pages, 0), [], queues.Waits("", 3, 2, 1, at, {}, first="a.test"))
    queues.write(queue(pages, 1), [], queues.Waits("", 4, 0, 0, 0.0, {}))
    crawl = looked_at(work, settings_of(work)).crawl
    assert (crawl.links_waiting, crawl.links_resting, crawl.hosts_resting, crawl.ready_at) == (7, 2, 1, "")
    queues.write(queue(pages, 1), [], queues.Waits("", 0, 0, 0, None, {}))
    crawl = looked_at(work, settings_of(work)).crawl
    assert crawl.ready_at == "2100-01-01T12:30:00Z"
    waiting = "2 of them wait until 2100-01-01T12:30:00Z for 1 host that failed or asked for a pause (a.test)"
    assert cli.waits_for(crawl).endswith(f"3 links still to ask for; {waiting}")
    whole = overview.ArtefactStatus(2, 2, object(), "whole")
    assert crawl_of(work, settings_of(work), whole) is None


def test_who_works_in_a_directory_is_told_without_touching_the_lock(work):
    assert holder(work) is None
    with lease.lock(work):
        assert holder(work) == f"process {os.getpid()} on {socket.gethostname()}"
        (work / ".lock").write_text(f"process {os.getpid()} on elsewhere")
        assert holder(work) is None
    gone = subprocess.Popen(["true"])
    gone.wait()
    (work / ".lock").write_text(f"process {gone.pid} on {socket.gethostname()}")
    assert holder(work) is None


def test_the_page_of_docs_names_every_key_of_the_object(work):
    written = (ROOT / "docs/reading.md").read_text("utf-8")
    told = set(re.findall(r"^\| `([a-z_.\[\]]+)`", written.partition("## The status as JSON")[2], re.MULTILINE))
    keys = {one.name for one in msgspec.structs.fields(overview.Overview)}
    keys |= {f"artefacts[].{one.name}" for one in msgspec.structs.fields(overview.Artefact)}
    keys |= {f"crawl.{one.name}" for one in msgspec.structs.fields(overview.Crawl)}
    assert told == keys - {"artefacts", "crawl"} | {"crawl"}
    assert f"`{overview.FORMAT}`" in written


def looks(work, monkeypatch, *changes):
    """What is watched: the status of a directory, then with each of these changes, then all done."""
    one = looked_at(work, settings_of(work))
    found = [one, *(msgspec.structs.replace(one, **change) for change in changes)]
    monkeypatch.setattr(overview, "overview", lambda *_: found.pop(0))
    monkeypatch.setattr(cli.time, "sleep", lambda _: None)
    stream = Stream()
    stream.file, stream._width = io.StringIO(), 80
    monkeypatch.setattr(cli, "out", stream)
    return found, stream.file


def test_watching_ends_when_all_is_made_and_a_pipe_is_told_of_changes_alone(work, monkeypatch):
    left, file = looks(work, monkeypatch, {"at": "later"}, {"running": "process 7 on here"}, {"done": True})
    cli.watched(work, settings_of(work), json_lines=True)
    told = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [(one["running"], one["done"]) for one in told] == [
        (None, False),
        ("process 7 on here", False),
        (None, True),
    ]
    assert left == []
    _, file = looks(work, monkeypatch, {"done": True})
    cli.watched(work, settings_of(work), json_lines=False)
    assert file.getvalue().count(" links         1/2  partly made        5     4 \n") == 2
    assert file.getvalue().rstrip().endswith(": everything is built")


def test_a_terminal_is_redrawn_in_its_place(work, monkeypatch):
    _, file = looks(work, monkeypatch, {"running": "process 7 on here"}, {"done": True})
    cli.out._force_terminal = cli.out.is_interactive = True
    cli.out._environ = {"TERM": "xterm"}
    cli.watched(work, settings_of(work), json_lines=False)
    assert file.getvalue().count("\x1b[1A") > 8  # back up over the lines of before
    assert file.getvalue().endswith("\x1b[?25h")


def test_ctrl_c_ends_watching_with_its_exit_code(work):
    command = [sys.executable, "-P", "-m", "pipeline", "status", "--watch", "-C", str(work)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) as watching:
        while "no build runs" not in watching.stdout.readline():
            pass
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=60)
    assert (watching.returncode, said) == (130, "webtext: interrupted; run the same command again to go on\n")
