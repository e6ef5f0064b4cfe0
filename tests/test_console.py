"""The two streams of the command show what outsiders wrote, and nothing of it is obeyed by a terminal."""

import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from pipeline.cli.console import Stream, seen

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
