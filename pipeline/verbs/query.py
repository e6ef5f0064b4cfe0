"""One question of sql/report/, or a file of SQL of one's own, asked of a working directory: columns and rows.

Choice: the questions, the engine and the proofs of the report, so that both give one answer; a question reads only
what it names, and only that is verified. Cost: an artefact that is not whole has no answer, not even a part of one.
Alternative: `duckdb < sql/report/NAME.sql` in the working directory, which asks whatever lies there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipeline.build import STAGES
from pipeline.config import nearest
from pipeline.plaintext import decoded
from pipeline.shards import progress, removals, transfer
from pipeline.shards.locations import location_of, mirror
from pipeline.shards.outcomes import ConfigError, InputError, IntegrityError
from pipeline.status import recorded
from pipeline.verbs.report.questions import asking, prove, questions, reasons, sources_of, to_be_shown, wholes

HEAD = re.compile(r"(?:^--.*\n)+", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """The columns of an answer by name, and its rows: one value a column, in Python's types."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def listed() -> dict[str, str]:
    """Each question by name with what it asks, as the head of its file says."""
    return {name: asked_by(sql) for name, sql in questions().items()}


def asked_by(sql: str) -> str:
    """The first sentence of the comment that a file of SQL begins with."""
    head = HEAD.match(sql)
    words = " ".join(line.removeprefix("--").strip() for line in head[0].splitlines()) if head else ""
    return re.split(r"(?<=[.?:])\s", words, maxsplit=1)[0].rstrip(":")


def query(root: Path, shards: int, name: str) -> Answer:
    """The answer to a question by its name, or to the SQL in a file whose name ends in .sql, asked within `root`.

    Raises ConfigError: no such question. InputError: no such file, or SQL that fails.
    IntegrityError: what it reads is not built, or not as its receipt says. BusyError: a removal was cut short.
    """
    sql, where = question(name)
    root = root.absolute()
    removals.refuse_unfinished(root)
    sources = sources_of(sql)
    if location_of(root) and "model" in sources:
        transfer.bring(root / "model")
    statuses = recorded(root, shards)
    if reason := next(reasons([source for source in sources if source in (*STAGES, "*", "model")], statuses, root), ""):
        raise IntegrityError(f"{name}: {reason}")
    whole = wholes(statuses)
    prove(root, shards, [source for source in STAGES if source in sources])
    with asking(root) as base, progress.phase(f"query {name}"):
        try:
            cursor = base.execute(sql)
            columns = tuple(column[0] for column in cursor.description or ())
            rows = cursor.fetchall() if columns else []
        except duckdb.Error as error:
            raise InputError(f"{where}: {str(error).strip().partition(chr(10))[0]}") from None
    if name in questions():
        found = [dict(zip(columns, row, strict=True)) for row in rows]
        shown = to_be_shown(name, found, whole, removals.Removals.of(root))
        rows = [tuple(row.values()) for row in shown]
    return Answer(columns, tuple(rows))


def question(name: str) -> tuple[str, str]:
    """The SQL of a question or of a user's file, and what errors call it. Raises ConfigError, InputError."""
    known = questions()
    if name in known:
        return known[name], f"sql/report/{name}.sql"
    if not name.endswith(".sql"):
        raise ConfigError(f"{name}: no such question, and no file that ends in .sql{nearest(name, known)}")
    try:
        return decoded(mirror(name).read_bytes()), name
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
