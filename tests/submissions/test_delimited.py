r"""CSV as others write it: Excel's first line, the escapes of Spark and MySQL, and what stands for nothing."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards.outcomes import Outcome
from pipeline.submissions.delimited import rows_of
from pipeline.submissions.sources import read_submissions

HEADER = ["id", "url", "score", "created_utc", "title"]
GOOD = ["1a", "http://a.example/", "7", "1375315200", "plain"]
LONGEST = 1 << 20


def rows_in(text, longest=LONGEST):
    lines = io.StringIO(text, newline="\n")
    return [row for _, _, row in rows_of(iter(lines), longest)]


def with_backslashes(rows, delimiter=","):
    r"""As Spark writes by default: text in quotes, `\` before quotes and before itself, line feeds as they are."""
    quoted = [['"' + one.replace("\\", "\\\\").replace('"', '\\"') + '"' for one in row] for row in rows]
    return "".join(delimiter.join(row) + "\n" for row in quoted)


WORDS = st.sampled_from(["a", '"b"', '5"', "c,", "two\nlines", 'say "d, e"'])
QUOTED = st.lists(WORDS, max_size=4).map(" ".join)
TITLES = st.text(st.sampled_from('ab"\\, \n'), max_size=8)


@given(st.lists(st.tuples(QUOTED, QUOTED), min_size=1, max_size=6))
def test_rows_with_escaped_quotes_are_those_that_were_written(rows):
    rows = [[*row, f"http://a.example/{number}"] for number, row in enumerate(rows)]
    assert rows_in("a,b,url\n" + with_backslashes(rows))[1:] == rows


@given(st.lists(st.tuples(TITLES, TITLES, st.booleans()), max_size=6))
def test_rows_of_rfc_4180_are_pythons_own_whatever_backslashes_they_hold(rows):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([["a", "b", "url"], *rows])
    text = out.getvalue()
    assert rows_in(text) == list(csv.reader(io.StringIO(text, newline="\n"), strict=True))


def test_a_row_that_ends_in_an_escaped_quote_does_not_swallow_those_after_it():
    rows = [
        ["1", 'a screen of 5"', "http://a.example/"],
        ["2", "b", "http://b.example/"],
        ["3", 'c"', "http://c.test/"],
    ]
    assert rows_in("id,title,url\n" + with_backslashes(rows))[1:] == rows
    numbered = list(rows_of(iter(io.StringIO("id,title,url\n" + with_backslashes(rows))), LONGEST))
    assert [(begin, end) for begin, end, _ in numbered] == [(1, 1), (2, 2), (3, 3), (4, 4)]


def test_a_broken_row_beside_a_backslash_is_one_row_and_the_next_ones_are_read():
    text = 'id,title,url\n1,"a\\b" c,http://a.example/\n2,"d\\",http://b.example/\n3,e,http://c.example/\n'
    broken, second, third = rows_in(text)[1:]
    assert isinstance(broken, csv.Error)
    assert second == ["2", "d\\", "http://b.example/"]
    assert third == ["3", "e", "http://c.example/"]


def test_an_escaped_line_feed_or_delimiter_without_quotes_is_part_of_its_field():
    text = "id\ttitle\turl\tscore\n1\ttwo\\\nlines\\\tand more\thttp://a.example/\t\\N\n2\tx\thttp://b.example/\t\\N\n"
    assert rows_in(text)[1:] == [
        ["1", "two\nlines\tand more", "http://a.example/", "\\N"],
        ["2", "x", "http://b.example/", "\\N"],
    ]


def read(tmp_path, text, name="a.csv"):
    (tmp_path / name).write_text(text, newline="")
    ((kept, fates, faults),) = read_submissions(tmp_path / name, 1_000)
    return kept, fates, faults


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "sep=\t", "sep=^"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_first_line_of_excel_says_what_stands_between_fields(tmp_path, first, end):
    between = first.strip('"')[-1]
    lines = [first, between.join(HEADER), between.join(GOOD), between.join(GOOD[:-1]), ""]
    kept, fates, faults = read(tmp_path, end.join(lines))
    assert [(row.id, row.score) for row in kept] == [("1a", 7)]
    assert fates == {Outcome.KEPT: 1, Outcome.BAD_LINE: 1}
    assert [one.where for one in faults] == ["line 4"]


@pytest.mark.parametrize("nothing", ["", "\\N", "NULL", "NA", "null", "NaN", "nan", "None"])
def test_a_score_that_is_not_known_is_none_however_it_is_written(tmp_path, nothing):
    text = f"{','.join(HEADER)},over_18\n1a,http://a.example/,{nothing},1375315200,x,{nothing}\n"
    kept, fates, _ = read(tmp_path, text)
    assert [(row.id, row.score, row.over_18) for row in kept] == [("1a", 0, False)]
    assert fates == {Outcome.KEPT: 1}


def test_words_that_mean_nothing_elsewhere_are_names_where_names_stand(tmp_path):
    lines = [
        "id,url,score,created_utc,subreddit",
        *(f"{one},http://a.example/{one},1,5,NULL" for one in ("null", "nan")),
    ]
    kept, _, _ = read(
        tmp_path, "\n".join([*lines, "NULL,http://a.example/,1,5,NA", r"\N,http://b.example/,1,5,\N", ""])
    )
    assert [(row.id, row.subreddit) for row in kept] == [("null", "NULL"), ("nan", "NULL")]


@pytest.mark.parametrize("nothing", ["NULL", "\\N"])
def test_a_time_that_is_not_known_is_one_bad_line_that_says_so(tmp_path, nothing):
    _, fates, faults = read(tmp_path, f"{','.join(HEADER)}\n1a,http://a.example/,3,{nothing},x\n")
    assert fates == {Outcome.BAD_LINE: 1}
    assert [(one.why, one.where) for one in faults] == [("created_utc: missing", "line 2")]
