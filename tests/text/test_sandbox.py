import os
import re
import select
import signal
import subprocess
from pathlib import Path

import pytest

from pipeline.config import DocumentsSettings
from pipeline.shards.outcomes import ConfigError, Outcome, WebTextError
from pipeline.shards.workers import python
from pipeline.text import sandbox as room
from pipeline.text.extract import Extraction, extract
from pipeline.text.sandbox import Sandbox

ROOMY = 2_000_000_000
ARTICLE = (
    b"<html><head><title>A</title></head><body><article>"
    + b"<p>This is a sentence of plain English prose, which stands here.</p>" * 5
)
PAGES = [
    (ARTICLE, "text/html", "https://example.org/a"),
    (b"caf\xe9 and a few words", "text/plain; charset=latin1", ""),
    (b"", "", ""),
    (b"%PDF-1.4", "text/html", ""),
    ("<p>“é” &#xD800; 日本</p>".encode("utf-16"), "text/html; charset=\udcff", "http://\udcff/"),
    (b"<p>" + b"word " * 200_000, "text/html", ""),
]


def misbehaving(monkeypatch, body):
    """Make every child run `body`, a statement, in place of extracting a page whose bytes hold "trap"."""
    child = (
        "import os, resource, signal, sys, time\n"
        "import pipeline.text.sandbox as room\n"
        "real = room.extract\n"
        "def extract(body, content_type, url, engine):\n"
        f"    if b'trap' in body: {body}\n"
        "    return real(body, content_type, url, engine)\n"
        "room.extract = extract\n"
        "room.WALL = 3\n"
        "room.serve()\n"
    )
    monkeypatch.setattr(room, "CHILD", child)


def test_the_sandbox_gives_what_extract_gives():
    with Sandbox("cascade", 10.0, ROOMY) as box:
        for page in PAGES:
            assert box.extract(*page) == extract(*page, "cascade")


TRAPS = {
    "sum(range(10**12))": Outcome.EXTRACT_TIMED_OUT,  # one call into C: no Python handler would run
    "time.sleep(1_000)": Outcome.EXTRACT_TIMED_OUT,
    "bytearray(10**12)": Outcome.EXTRACT_MEMORY,
    "os.kill(os.getpid(), signal.SIGSEGV)": Outcome.EXTRACT_CRASHED,
    "os.write(2, b'memory allocation of 9 bytes failed') + os.abort()": Outcome.EXTRACT_MEMORY,
}


@pytest.mark.failure(
    "a page crashes, hangs or bloats an engine",
    "outcome `extract_crashed`, `extract_timed_out` or `extract_memory`; that page alone",
    "nothing",
)
def test_a_page_that_kills_its_child_is_lost_alone_and_by_name(monkeypatch):
    misbehaving(monkeypatch, "exec(body.removeprefix(b'trap '))")
    good = extract(*PAGES[0], "cascade")
    with Sandbox("cascade", 0.1, ROOMY) as box:
        for trap, outcome in TRAPS.items():
            assert box.extract(b"trap " + trap.encode(), "text/html", "") == Extraction(outcome, engine="cascade"), trap
            assert box.extract(*PAGES[0]) == good


def test_a_death_is_tried_once_more_in_a_fresh_child(monkeypatch, tmp_path):
    mark = tmp_path / "died"
    misbehaving(monkeypatch, f"os.path.exists({str(mark)!r}) or (open({str(mark)!r}, 'w').close(), os._exit(1))")
    with Sandbox("cascade", 5.0, ROOMY) as box:
        first = box.child.pid
        assert box.extract(b"<p>a trap that springs once", "text/html", "").outcome is Outcome.KEPT
        assert box.child.pid != first
        second = box.child.pid
        box.extract(*PAGES[0])
        assert box.child.pid == second


def test_real_engines_short_of_memory_end_as_memory_and_never_as_no_text():
    page = b"<html><body>" + b"<p>x</p>" * 200_000
    with Sandbox("cascade", 30.0, 40_000_000) as box:
        assert box.extract(page, "text/html", "").outcome is Outcome.EXTRACT_MEMORY
        assert box.extract(*PAGES[0]).outcome is Outcome.KEPT


def test_what_an_engine_prints_does_not_reach_the_parent(monkeypatch, capfd):
    misbehaving(monkeypatch, "print('noise', flush=True), os.write(1, b'more'), print('loud', file=sys.stderr)")
    with Sandbox("cascade", 5.0, ROOMY) as box:
        assert box.extract(b"<p>trap with noise", "text/html", "").text == "trap with noise"
    assert capfd.readouterr() == ("", "")


def test_the_child_ends_when_its_parent_is_killed():
    parent = (
        "import os, sys, signal\n"
        "from pipeline.text.sandbox import Sandbox\n"
        "with Sandbox('resiliparse', 5.0, 10**9) as box:\n"
        "    print(box.child.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run(python(parent), capture_output=True, timeout=60, check=False)
    assert run.returncode == -signal.SIGKILL
    wait_until_gone(int(run.stdout))


def wait_until_gone(pid):
    """Return when no process has this id; reads /proc, so that it neither sleeps nor signals."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([handle], [], [], 30)[0], f"process {pid} outlived its parent"
    os.close(handle)


def test_leaving_the_block_ends_the_child():
    with Sandbox("resiliparse", 5.0, ROOMY) as box:
        child = box.child
    assert child.returncode == -signal.SIGKILL
    assert box.child is None


def test_a_foreign_pipeline_in_the_working_directory_is_not_imported(monkeypatch, tmp_path):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/__init__.py").write_text("raise SystemExit('foreign')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Sandbox("resiliparse", 5.0, ROOMY) as box:
        assert box.extract(b"<p>text", "", "").text == "text"
    asked = python("import pipeline; print(pipeline.__file__)")
    printed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert Path(printed.strip()).parent == Path(room.__file__).resolve().parents[1]


def test_a_child_that_cannot_start_says_why(monkeypatch):
    monkeypatch.setattr(room, "CHILD", "import no_such_module")
    with (
        pytest.raises(WebTextError, match=r"does not start: .*no_such_module.*; try: "),
        Sandbox("cascade", 1.0, ROOMY),
    ):
        pass


def test_an_unknown_engine_is_refused_before_anything_starts():
    with pytest.raises(ConfigError, match="unknown engine"):
        Sandbox("boilerpipe", 1.0, ROOMY)


SENTENCE = "This is a sentence of plain English prose, which stands here. "
BOMBS = {
    "200,000 paragraphs": ("<p>word</p>" * 200_000, 200_000),
    "50,000 attributes": ("<p " + " ".join(f"a{i}=1" for i in range(50_000)) + f">{SENTENCE}</p>", 11),
    "100,000 nested elements": ("<div>" * 100_000 + SENTENCE + "</div>" * 100_000, 11),
    "100,000 unclosed inline elements": ("<b>" * 100_000 + SENTENCE, 11),
    "a cell over 999,999,999 columns": (
        f"<table><tr><td colspan=999999999 rowspan=999999999>{SENTENCE}</table>",
        11,
    ),
    "10 MB on one line": ("<p>" + "abcdefghi " * 1_000_000, 1_000_000),
    "entities of entities": (
        '<!DOCTYPE html [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]><p>' + SENTENCE,
        11,
    ),
    "300,000 characters of nothing but <": ("<" * 300_000 + f"<p>{SENTENCE}", 11),
}


@pytest.fixture(scope="module")
def default_box():
    limits = DocumentsSettings()
    with Sandbox(limits.engine, limits.cpu_s, limits.memory_bytes) as box:
        yield box


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_read_whole_within_the_default_limits(default_box, bomb):
    page, words = BOMBS[bomb]
    found = default_box.extract(page.encode(), "text/html", "")
    assert found.outcome is Outcome.KEPT
    assert len(re.findall(r"\w+", found.text)) == words


def test_50_mb_on_one_line_are_read_whole_or_lost_by_name(default_box):
    found = default_box.extract(b"<p>" + b"word " * 10_000_000, "text/html", "")
    assert found.outcome in {Outcome.KEPT, Outcome.EXTRACT_TIMED_OUT, Outcome.EXTRACT_MEMORY}
    assert found.text.count("word") == (10_000_000 if found.outcome is Outcome.KEPT else 0)
    assert default_box.extract(*PAGES[0]).outcome is Outcome.KEPT


def test_a_page_above_the_memory_limit_is_lost_by_name_even_where_engines_swallow_the_shortage():
    with Sandbox("resiliparse", 10.0, 60_000_000) as box:
        assert box.extract(b"<p>" + b"word " * 10_000_000, "text/html", "").outcome is Outcome.EXTRACT_MEMORY
