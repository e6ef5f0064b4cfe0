"""One question by name, or SQL of one's own: what the report says, as a table, as JSON and as CSV."""

import csv
import io
import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from pipeline import config
from pipeline.cli import app as cli
from pipeline.shards.outcomes import ConfigError, InputError, IntegrityError
from pipeline.verbs.query import listed, query
from pipeline.verbs.report.questions import answers, questions
from tests.verbs.report.working import HOSTILE, SHARDS, built


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    work = built(tmp_path_factory.mktemp("asked"))
    (work / config.FILE_NAME).write_text(f"[build]\nshards = {SHARDS}\n")
    return work


def asked(root, *arguments):
    done = CliRunner().invoke(cli.app, ["query", *arguments, "--dir", str(root)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_every_question_is_listed_by_its_name_with_what_it_asks_in_one_line():
    assert list(listed()) == list(questions())
    for name, asks in listed().items():
        assert 10 < len(asks) < 110, name
        assert "\n" not in asks


def test_each_question_gives_the_rows_that_the_report_shows(root):
    shown = answers(root, SHARDS)
    for name, rows in shown.rows.items():
        answer = query(root, SHARDS, name)
        assert [dict(zip(answer.columns, row, strict=True)) for row in answer.rows] == rows, name
    assert len(shown.rows) == len(questions())


def test_without_a_name_the_questions_are_shown_and_no_directory_is_asked_for(tmp_path):
    lines = asked(tmp_path).splitlines()
    assert len(lines) == len(questions())
    assert any(re.match(r"places +Where were the pages found\?", line) for line in lines)


def test_an_answer_is_a_table_or_json_lines_or_csv(root):
    table, lines, rows = (asked(root, "years", *form) for form in ((), ("--json",), ("--csv",)))
    assert [line.split() for line in table.splitlines()][:2] == [["posted", "links", "pages"], ["2012", "5", "4"]]
    objects = [json.loads(line) for line in lines.splitlines()]
    assert objects[0] == {"posted": 2012, "links": 5, "pages": 4}
    assert list(csv.DictReader(io.StringIO(rows))) == [{k: str(v) for k, v in one.items()} for one in objects]


def test_what_is_wider_than_a_line_is_told_row_by_row_and_whole(root):
    told = asked(root, "duplicates")
    assert told.startswith("row 1\n  outcome: near_duplicate\n  value: 0.875\n")
    assert "word59" in told


def test_nothing_that_a_terminal_would_obey_is_in_any_form(root):
    for form in ((), ("--json",)):
        told = asked(root, "wikipedia", *form) + asked(root, "duplicates", *form)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", told)
    titles = [json.loads(line)["gone_title"] for line in asked(root, "duplicates", "--json").splitlines()]
    assert HOSTILE[0] in titles


def test_sql_of_ones_own_is_asked_in_the_working_directory(root, tmp_path):
    file = tmp_path / "mine.sql"
    file.write_text("-- How many?\nSELECT count(*) AS n, list(DISTINCT language) AS some FROM 'corpus/*.parquet'")
    assert query(root, SHARDS, str(file)).rows[0][0] == 8
    file.write_bytes(b"\xff\xfe" + "SELECT 1 AS one;".encode("utf-16-le"))
    assert query(root, SHARDS, str(file)).rows == ((1,),)


@pytest.mark.failure("a question that there is not, or SQL that fails", "exit 2 or 3, with the nearest name", "`query`")
def test_what_cannot_be_asked_is_said_in_one_line(root, tmp_path):
    with pytest.raises(ConfigError, match=r"plcaes: no such question, .*did you mean 'places'"):
        query(root, SHARDS, "plcaes")
    with pytest.raises(InputError, match=r"nothing\.sql: cannot be read: No such file"):
        query(root, SHARDS, "nothing.sql")
    wrong = tmp_path / "wrong.sql"
    wrong.write_text("SELECT nothing FROM 'corpus/*.parquet'")
    with pytest.raises(InputError, match=r"wrong\.sql: Binder Error: .*nothing[^\n]*$"):
        query(root, SHARDS, str(wrong))


def test_a_question_to_what_is_not_built_names_the_stage(root, tmp_path):
    shutil.copytree(root / "links", tmp_path / "links")
    assert query(tmp_path, SHARDS, "karma").rows
    with pytest.raises(IntegrityError, match=r"places: .*pages.* is not made"):
        query(tmp_path, SHARDS, "places")


def test_only_what_a_question_reads_is_verified_and_that_is(root, tmp_path):
    work = shutil.copytree(root, tmp_path / "work")
    path = work / "documents" / "00000-of-00002.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert query(work, SHARDS, "places").rows
    with pytest.raises(IntegrityError, match="documents/00000-of-00002"):
        query(work, SHARDS, "languages")
