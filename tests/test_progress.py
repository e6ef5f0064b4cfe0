"""What a person sees of work under way: nothing of what is short, then a bar on a terminal and a line in a pipe."""

import io
import re
import sys
from collections import Counter
from datetime import UTC, datetime
from unittest import mock

import pytest

from pipeline.cli import progress as progress_of_cli
from pipeline.cli import questions
from pipeline.cli.console import Stream
from pipeline.cli.progress import LINES_S, SHOWN_S, Display, measured, print_ended, rest_of, watching_training
from pipeline.cli.tables import funnel
from pipeline.config import PagesSettings
from pipeline.fetch import queues
from pipeline.fetch.continuations import Pace, new_fetch
from pipeline.fetch.segments import Owners
from pipeline.fetch.shelf import Waiting
from pipeline.pages import queue
from pipeline.shards import interrupts, progress
from pipeline.shards.progress import AWAY, BYTES, RESTING, ROWS, SHARDS, Phase
from pipeline.shards.receipts import Artefact, Manifest, RowCounts
from trainer.metrics import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def display(file, folder=None):
    """A display that looks when it is told to, at a clock of its own."""
    stream = Stream(stderr=True)
    stream.file, stream._width = file, 80
    stream._force_terminal = stream.is_interactive = file.isatty()
    stream._environ = {"TERM": "xterm"}
    found = Display(folder, stream, Clock())
    found.stop.set()  # no thread
    return found


def phase(total=100, unit=ROWS, noun="pages", name="documents", **more):
    return Phase(name, total, unit, noun, before=progress.counts(), began=100.0, **more)


@pytest.mark.parametrize(
    ("given", "done", "elapsed_s", "said"),
    [
        (phase(5_000), {ROWS: 1_250}, 10, "1,250 of 5,000 pages, 125/s, 0:00:30 left"),
        (phase(5_000), {ROWS: 100}, 600, "100 of 5,000 pages, 10/min, 8:10:00 left"),
        (phase(5_000), {}, 5, "0 of 5,000 pages"),
        (phase(0, noun="articles"), {ROWS: 30}, 10, "30 articles, 180/min"),
        (phase(2_000_000_000, BYTES, "submissions"), {BYTES: 500_000_000, ROWS: 9_000}, 9,
         "25% of 2 GB, 9,000 submissions, 1,000/s, 0:00:27 left"),
        (phase(4, SHARDS), {SHARDS: 1}, 60, "1 of 4 shards, 0:03:00 left"),
        (phase(100), {ROWS: 100}, 10, "100 of 100 pages, 10/s"),
    ],
)  # fmt: skip
def test_it_is_told_in_rows_rate_and_time_left_as_far_as_these_are_known(given, done, elapsed_s, said):
    assert measured(given, Counter(done), elapsed_s) == said


@pytest.mark.parametrize("file", [Terminal, io.StringIO])
def test_nothing_is_shown_of_work_that_is_short(file):
    shown = display(file())
    shown.hear(phase())
    for at in (0.0, 1.0, SHOWN_S - 0.01):
        shown.clock.now_s = 100 + at
        shown.look()
    shown.hear(None)
    shown.close()
    assert shown.stream.file.getvalue() == ""


def test_a_terminal_shows_one_bar_that_is_gone_when_the_work_has_ended():
    shown = display(Terminal())
    shown.hear(phase())
    for at, rows in ((0.5, 0), (3, 10), (5, 40)):
        shown.clock.now_s = 100 + at
        progress.advance(ROWS, rows)
        shown.look()
    assert "50 of 100 pages, 11/s, 0:00:04 left" in text_of(shown.bars)
    shown.hear(phase(3, SHARDS, name="scratch/votes"))  # the next piece of work takes the same line
    shown.look()
    assert "filtering" in text_of(shown.bars)
    shown.hear(None)
    written = shown.stream.file.getvalue()
    assert written.endswith("\x1b[2K")  # which empties the line
    assert "\x1b[2J" not in written
    assert shown.bars is None
    shown.look()
    shown.close()
    assert shown.stream.file.getvalue() == written


def text_of(bars):
    """A line of the bar, without colours, as 80 columns show it."""
    stream = Stream()
    stream.file, stream._width = io.StringIO(), 80
    stream.print(bars.get_renderable())
    (line,) = stream.file.getvalue().splitlines()
    return line


def test_a_bar_is_one_line_in_a_narrow_terminal():
    shown = display(Terminal())
    shown.hear(phase(123_456_789, noun="submissions", name="scratch/submissions", within="links"))
    shown.clock.now_s += 3
    progress.advance(ROWS, 23_456_789)
    shown.look()
    assert len(text_of(shown.bars)) <= 80
    shown.close()


def test_a_pipe_gets_a_line_now_and_then():
    shown = display(io.StringIO())
    shown.hear(phase(1_000))
    for second in range(601):
        shown.clock.now_s = 100 + second
        progress.advance(ROWS)
        shown.look()
    lines = shown.stream.file.getvalue().splitlines()
    assert lines[0] == "documents: 3 of 1,000 pages, 90/min"
    assert 600 / LINES_S[1] <= len(lines) <= 600 / LINES_S[1] + 6
    shown.close()


def test_a_pipe_is_told_the_same_once_a_minute():
    shown = display(io.StringIO())
    shown.hear(phase(1_000))
    for second in range(131):  # nothing gets on
        shown.clock.now_s = 100 + second
        shown.look()
    said = [f"documents: 0 of 1,000 pages, {so_far} so far" for so_far in ("0:00:02", "0:01:04", "0:02:04")]
    assert shown.stream.file.getvalue().splitlines() == said
    shown.close()


def test_while_nothing_is_done_the_time_moves_and_workers_that_start_are_named(tmp_path):
    progress.await_workers()
    pipe, terminal = display(io.StringIO(), tmp_path), display(Terminal(), tmp_path)
    for shown in (pipe, terminal):
        shown.hear(phase(1_000))
        shown.clock.now_s = 103
        shown.look()
    said = "0 of 1,000 pages, 0:00:03 so far: worker processes are starting"
    assert pipe.stream.file.getvalue() == f"documents: {said}\n"
    assert said[:40] in text_of(terminal.bars)
    progress.forget(tmp_path)
    terminal.clock.now_s = 104
    terminal.look()
    assert "0 of 1,000 pages, 0:00:04 so far" in text_of(terminal.bars)
    terminal.close()


@pytest.mark.parametrize(
    ("unit", "said"), [(AWAY, "; nobody answers, so the network may be away"), (RESTING, "; waits to ask again")]
)
def test_a_crawl_that_waits_within_a_round_says_why_for_as_long_as_it_does(unit, said):
    shown = display(io.StringIO())
    shown.hear(phase(39, noun="links", name="pages"))
    progress.advance(unit)
    for second in range(10):
        shown.clock.now_s = 100 + second
        shown.look()
    progress.advance(unit, -1)
    for second in range(10, 60):
        shown.clock.now_s = 100 + second
        shown.look()
    first, last = shown.stream.file.getvalue().splitlines()
    assert first.startswith(f"pages: 0 of 39 links{said}")
    assert last.startswith("pages: 0 of 39 links, 0:00:")
    shown.close()


def test_the_time_that_workers_take_to_begin_makes_no_rate():
    shown = display(io.StringIO())
    shown.hear(phase(1_000))
    for second, rows in ((9, 0), (10, 10), (20, 90)):
        shown.clock.now_s = 100 + second
        progress.advance(ROWS, rows)
        shown.look()
    assert shown.stream.file.getvalue().splitlines()[-1] == "documents: 100 of 1,000 pages, 545/min, 0:01:39 left"


def test_a_crawl_that_can_only_wait_says_for_whom_and_until_when_once(tmp_path):
    shown = display(io.StringIO(), tmp_path)
    at = datetime(2100, 1, 1, 12, 30, tzinfo=UTC).timestamp()
    pages = Artefact(tmp_path, "pages", 2)
    (tmp_path / "links" / ".receipts").mkdir(parents=True)
    (tmp_path / "links" / ".receipts" / "00000-of-00002.json").touch()
    for shard, ready_at in ((0, at), (1, at + 60)):
        waits = queues.Waits("", 3, 3, 1, ready_at, {}, first=f"{shard}.test")
        queues.write(queue(pages, shard), [], waits)
    shown.hear(phase(6, noun="links", name="pages", makes=True))
    for second in (20, 40, 60):
        shown.clock.now_s = 100 + second
        shown.look()
    hosts = "2 hosts that failed or asked for a pause, 0.test first"
    told = f"6 links wait until 2100-01-01 12:30 UTC for {hosts}; Ctrl-C loses nothing"
    assert shown.stream.file.getvalue() == f"pages: {told}\n"
    queues.write(queue(pages, 1), [], queues.Waits("", 3, 2, 1, 0.0, {}))
    shown.clock.now_s = 180
    shown.look()
    assert shown.stream.file.getvalue().splitlines()[1:] == ["pages: 0 of 6 links, 0:01:20 so far"]
    shown.close()


def test_a_host_that_shards_share_is_waited_for_once_and_by_name(tmp_path):
    at = datetime(2100, 1, 1, 12, 30, tzinfo=UTC).timestamp()
    owners, rests = Owners(2, {"slow.test": 2}), Pace("slow.test", 0.0, at, 1, at - 60, at - 60)
    settings = PagesSettings(contact="mailto:a@b.test")
    for shard in range(2):
        link = Waiting(f"{shard:032}", "slow.test", 0, new_fetch("http://slow.test/", settings))
        waits = queues.waits_of([link], [rests], owners, settings, 0.0)
        queues.write(queue(Artefact(tmp_path, "pages", 2), shard), [link], waits)
    (tmp_path / "links" / ".receipts").mkdir(parents=True)
    (tmp_path / "links" / ".receipts" / "00000-of-00002.json").touch()
    assert rest_of(tmp_path) == (
        "2 links wait until 2100-01-01 12:30 UTC for slow.test, which failed or asked for a pause; Ctrl-C loses nothing"
    )


def a_run(stream, brief):
    """What is printed of a training of 30 steps, validated twice."""
    with mock.patch.object(progress_of_cli, "out", Stream()) as out, mock.patch.object(progress_of_cli, "err", out):
        out.file = stream
        with watching_training(30, brief) as show:
            show(Progress(0, 30, None, 8.0, 0.0, 0.0, 9.0, opening=("[train]", "batch = 8"), notes=("a note",)))
            for step in range(1, 31):
                show(Progress(step, 30, 5.0, 4.0 if step == 30 else None, 0.1, 100.0, 1.0))
    return stream.getvalue()


def test_the_training_of_the_demo_is_one_bar_or_a_line_a_validation():
    assert a_run(io.StringIO(), brief=True).splitlines() == [
        "step 0/30  val 8.000",
        "step 30/30  loss 5.000  val 4.000  100 tokens/s  0:00:01 left",
    ]
    assert "batch = 8" in a_run(io.StringIO(), brief=False)
    assert "step 10/30" not in a_run(Terminal(), brief=True)


def test_posts_of_one_address_stand_in_the_funnel_so_that_it_adds_up():
    books = {
        "submissions": RowCounts(10, {"kept": 8, "bad_line": 2}),
        "links": RowCounts(5, {"kept": 4, "low_karma": 1}),
    }
    lines = [line.split() for line in funnel(books.items(), 80)]
    assert lines[3] == ["addresses", "8", "5", *["another", "post", "of", "the", "same", "address", "3"]]
    assert [line[:3] for line in lines[2:]] == [
        ["submissions", "10", "8"],
        ["addresses", "8", "5"],
        ["links", "5", "4"],
    ]
    books["links"] = RowCounts(9, {"kept": 9})  # links of a table in BigQuery, which nobody counted as submissions
    assert not any("addresses" in line for line in funnel(books.items(), 80))


@pytest.mark.parametrize(("words", "said"), [((), "again"), (("--fresh",), "again, without --fresh,")])
def test_what_an_interrupted_command_is_to_be_followed_by_goes_on_and_does_not_start_over(monkeypatch, words, said):
    monkeypatch.setattr(sys, "argv", ["webtext", "train", *words])
    assert interrupts.again() == f"run the same command {said}"


def test_an_extraction_on_a_terminal_shows_its_bar_only_while_it_works(monkeypatch):
    heard = []
    progress.begin(None)
    monkeypatch.setattr(questions, "out", mock.Mock(is_terminal=True))
    with progress.hearing(heard.append), progress.phase("extract", noun="pages"):
        for _ in questions.between(iter("ab")):
            assert heard[-1] is None  # the text is printed now
            heard.append("printed")
    names = [one if isinstance(one, str | None) else one.name for one in heard]
    assert names == ["extract", None, "printed", "extract", None, "printed", "extract", None]


def test_notes_and_fates_of_a_stage_are_printed_when_it_has_ended(capsys):
    books = {"corpus": RowCounts(24, {"too_short": 24})}
    print_ended("corpus", Manifest("corpus", 1, "", {}, {}, {}, books, notes=("a \x1b[2J note",)))
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "corpus: done; corpus: 24 in, 0 kept"
    assert said[1] == r"corpus: note: a \u001b[2J note"
    assert re.fullmatch(r"corpus: note: of 24 corpus none was kept: too_short.24", said[2])
