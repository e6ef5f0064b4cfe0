"""What a person sees of a run: progress read from what lies in the folder, and nothing that a terminal would obey."""

import io
import json
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from pipeline.cli.console import Stream, seen
from pipeline.cli.progress import Reporter
from pipeline.cli.tables import reasons
from pipeline.fetch import queues
from pipeline.pages import queue
from pipeline.shards.receipts import Artefact, Manifest, RowCounts

CLEAR = "\x1b[2J\x1b]0;mine\x07\u009b31m\u202egnp.exe\u2066\x08\x7f\rwebtext: done\nforged"
JOINED = "\u0645\u06cc\u200c\u062e\u0648\u0627 \u0915\u094d\u200d\u0937 \U0001f469\u200d\U0001f680 soft\u00adhyphen"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(*objects, file=None, **options):
    stream = Stream()
    stream.file = file or io.StringIO()
    stream.print(*objects, **options)
    return stream.file.getvalue()


def shown(reporter):
    (task,) = reporter.bars.tasks
    return task.description, task.completed, task.total, task.fields["crawled"]


def test_a_bar_tells_shards_that_are_whole_and_of_a_crawl_its_segments_too(tmp_path):
    for name in ("pages/receipts/00000-of-00004.json", "pages/segments/00001-of-00004.00000.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    reporter = Reporter(tmp_path, 4)
    reporter.started("pages")
    reporter.since = 0.0
    reporter.look()
    assert shown(reporter) == ("pages", 1, 4, "1 segments crawled")
    reporter.since = 2.0**40
    reporter.look()
    assert shown(reporter) == ("pages", 0, 4, "")


def test_other_stages_have_no_segments(tmp_path):
    reporter = Reporter(tmp_path, 4)
    reporter.started("corpus")
    reporter.look()
    assert shown(reporter) == ("corpus", 0, 4, "")


def obeyed(text):
    """The characters of a text that a terminal would obey: controls but line feeds, and format but joiners."""
    return {
        one
        for one in text
        if (unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp", "Cs")) and one not in "\n\u200c\u200d\u00ad"
    }


@pytest.mark.failure(
    "a title, a host or the name of a file holds control characters", "they are shown, as `\\u001b`", "nothing"
)
def test_no_control_character_of_a_line_a_table_or_a_title_reaches_the_terminal():
    table = Table(CLEAR, "head", title=CLEAR)
    table.add_row(CLEAR, "cell")
    for shown in (printed(CLEAR), printed("a", CLEAR, sep="\n"), printed(table), printed(table, file=Terminal())):
        assert obeyed(shown) <= {"\x1b"}
        assert "\x1b]" not in shown
        assert "\x1b[2J" not in shown
        assert r"\u001b[2J\u001b]0;mine\u0007\u009b31m\u202egnp.exe\u2066\u0008\u007f\rwebtext:" in shown.replace(
            "\n", ""
        )
    assert printed(CLEAR).count("\n") == 1
    assert printed(JOINED) == JOINED + "\n"


def test_a_crawl_that_can_only_wait_says_for_whom_and_until_when_once(tmp_path, capsys):
    reporter = Reporter(tmp_path, 2)
    reporter.started("pages")
    at = datetime(2100, 1, 1, 12, 30, tzinfo=UTC).timestamp()
    pages = Artefact(tmp_path, "pages", 2)
    for shard, ready_at in ((0, at), (1, at + 60)):
        queues.write(queue(pages, shard), [], queues.Waits("", 3, 3, 1, ready_at, {}))
    for _ in range(2):
        reporter.look_at_rest()
        reporter.look()
    told = "6 links wait for 2 hosts that rest, until 2100-01-01 12:30 UTC; Ctrl-C loses nothing"
    assert capsys.readouterr().err.count(told) == 1
    assert shown(reporter)[3] == told
    queues.write(queue(pages, 1), [], queues.Waits("", 3, 2, 1, 0.0, {}))
    reporter.look_at_rest()
    reporter.look()
    assert (capsys.readouterr().err, shown(reporter)[3]) == ("", "")


def test_notes_and_fates_of_a_stage_are_printed_as_seen(tmp_path, capsys):
    reporter = Reporter(tmp_path, 1)
    reporter.started("links")
    reporter.ended("links", Manifest("links", 1, "", {}, {}, {}, {}, notes=(CLEAR,)))
    told = capsys.readouterr().err
    assert r"links: note: \u001b[2J" in told
    assert not obeyed(told)
    assert reasons(RowCounts(1, {"bad_line": 1})) == "bad_line\N{NO-BREAK SPACE}1"


@given(st.text())
def test_what_is_seen_is_harmless_and_json_gives_the_text_back(text):
    assert not obeyed(seen(text).replace("\n", "\x00"))
    assert seen(seen(text)) == seen(text)
    quoted = json.dumps(text, ensure_ascii=False)
    assert json.loads(seen(quoted)) == text


def test_an_answer_is_written_as_it_is_and_on_a_terminal_as_seen():
    for file, expected in ((io.StringIO(), "a\tb\n\x1b[31m\n"), (Terminal(), "a\tb\n\\u001b[31m\n")):
        stream = Stream()
        stream.file = file
        stream.write("a\tb\n\x1b[31m\n")
        assert file.getvalue() == expected
