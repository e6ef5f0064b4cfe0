"""The verb that asks one question: query. It parses, calls one function, prints."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len
from rich.table import Table

from pipeline.cli.console import as_json, err, out
from pipeline.cli.options import Folder, Sets, needing, settings_of
from pipeline.shards.outcomes import ConfigError

if TYPE_CHECKING:
    from pipeline.verbs.query import Answer

PIPED = 200  # cells of a line that no terminal shows
GAP = 2  # cells between columns
MANY = 10_000  # from here on digits are grouped: years and statuses are below it


def query(
    name: Annotated[str, typer.Argument(help="A question, or a file of SQL of yours; none: list the questions.")] = "",
    folder: Folder = Path(),
    sets: Sets = None,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated, with a line of names.")] = False,
) -> None:
    """Ask the artefacts a question of sql/report/, by the SQL that the report asks."""
    with needing("report"):
        from pipeline.verbs.query import listed
        from pipeline.verbs.query import query as answered
    if json_lines and as_csv:
        raise ConfigError("--json and --csv: name one of them")
    if not name:
        for question, asks in listed().items():
            out.print(f"{question:<12} {asks}")
        return
    answer = answered(folder, settings_of(folder, sets).build.shards, name)
    if json_lines:
        for row in answer.rows:
            out.write(as_json(dict(zip(answer.columns, row, strict=True))))
    elif as_csv:
        out.write(comma_separated(answer))
    else:
        print_answer(answer)


def comma_separated(answer: Answer) -> str:
    """An answer as RFC 4180 has it, but for the ends of lines; lists are JSON, what is not known is nothing."""
    file = io.StringIO()
    rows = [[json.dumps(value) if isinstance(value, list | dict) else value for value in row] for row in answer.rows]
    csv.writer(file, lineterminator="\n").writerows([answer.columns, *rows])
    return file.getvalue()


def print_answer(answer: Answer) -> None:
    """Print a table, or where that is wider than the terminal a block of lines for each row."""
    columns = list(zip(*answer.rows, strict=True)) or [()] * len(answer.columns)
    rows = [list(row) for row in zip(*map(cells, columns), strict=True)]
    if not rows:
        err.print("no rows")
    widths = [max(map(cell_len, column)) + GAP for column in zip(answer.columns, *rows, strict=True)]
    if sum(widths) <= (out.width if out.is_terminal else PIPED):
        print_table(answer, rows, sum(widths))
        return
    for number, row in enumerate(rows, 1):
        out.print(f"row {number}")
        for column, value in zip(answer.columns, row, strict=True):
            out.print(f"  {column}: {value}")


def print_table(answer: Answer, rows: Iterable[list[str]], width: int) -> None:
    """Print rows below their columns' names, numbers to the right."""
    table = Table(box=None, padding=(0, GAP, 0, 0), width=width)
    for place, column in enumerate(answer.columns):
        numeric = all(isinstance(row[place], int | float | None) for row in answer.rows)
        table.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    out.print(table)


def cells(column: Sequence[Any]) -> list[str]:
    """The values of a column as a person reads them; digits are grouped where one value is large."""
    large = any(isinstance(value, int) and abs(value) >= MANY for value in column)
    return [f"{value:,}" if large and isinstance(value, int) else cell(value) for value in column]


def cell(value: Any) -> str:
    """A value by itself."""
    if isinstance(value, list):
        return ", ".join(map(cell, value))
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
