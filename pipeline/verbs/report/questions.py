"""What the artefacts answer: the SQL files of sql/report/, one question each, run by DuckDB where they lie.

Choice: SQL that a person can run by hand in the working directory; a question is asked only of artefacts that are
whole, and their files are proved first. Cost: every file that is asked is read twice. Alternative: numbers that the
stages write down as they go, which nobody can ask again in another way.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.build import STAGES, artefact
from pipeline.shards import transfer
from pipeline.shards.outcomes import InputError, IntegrityError, Outcome
from pipeline.shards.places import place
from pipeline.standing import Standing, recorded
from pipeline.verbs.fertility import Group, fertility

SOURCE = re.compile(r"'([a-z*]+)/[^']*\.(?:parquet|jsonl?)'")
STAGE_OF = {"submissions": "links"}  # the books of a step that has no artefact of its own
TABLES = ("links", "pages", "documents", "corpus")  # artefacts of Parquet
BY_STAGE = {"funnel": "step", "artefacts": "stage", "settings": "stage", "notes": "stage"}  # question -> its column
METRICS = Path("model/metrics.jsonl")
HOSTS = 8  # whose fertility is shown

MEANINGS = {str(outcome): outcome.meaning for outcome in Outcome}

Row = dict[str, Any]


@dataclass
class Answers:
    """The rows of each question, or why there are none; and what no SQL can read."""

    stands: dict[str, Standing]
    rows: dict[str, list[Row]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, tuple[int, int]] | None = None  # split -> documents, tokens
    fertility: list[Group] = field(default_factory=list)

    def of(self, question: str) -> list[Row]:
        """The rows of a question; none if it could not be asked."""
        return self.rows.get(question, [])

    def one(self, question: str) -> Row:
        """The only row of a question; {} if it could not be asked."""
        return next(iter(self.of(question)), {})


def sql_folder() -> Path:
    """Where the questions are: beside the package in a source tree, inside it in a wheel."""
    package = Path(__file__).parents[2]
    return next(one for one in (package / "sql" / "report", package.parent / "sql" / "report") if one.is_dir())


def questions() -> dict[str, str]:
    """Name to SQL of every question, in order of the names."""
    return {path.stem: path.read_text("utf-8") for path in sorted(sql_folder().glob("*.sql"))}


def answers(root: Path, shards: int) -> Answers:
    """All that can be asked of a working directory. Raises IntegrityError: a file is not as its receipt says."""
    root = root.absolute()  # questions are asked from within it
    if place(root):
        transfer.bring(root / "model")
    found = Answers(recorded(root, shards))
    whole = wholes(found.stands)
    prove(root, shards, whole)
    with asking(root) as base:
        for name, sql in questions().items():
            reason = next(reasons(sources_of(sql), found.stands, root), "")
            if reason:
                found.missing[name] = reason
            else:
                found.rows[name] = of_whole(name, ask(base, name, sql), whole)
    if "tokens" in whole:
        found.tokens = {split: count_tokens(root, shards, split) for split in ("train", "val")}
    if {"corpus", "tokenizer"} <= whole:
        with contextlib.suppress(InputError):  # nothing is held out: the page says so
            found.fertility = fertility(root, None, HOSTS)
    return found


def wholes(stands: dict[str, Standing]) -> set[str]:
    """The artefacts that are whole: questions are asked of these alone."""
    return {stage for stage, one in stands.items() if one.state == "whole"}


def prove(root: Path, shards: int, stages: Iterable[str]) -> None:
    """Verify the files of artefacts by their receipts; of objects, bring them here. Raises IntegrityError."""
    for stage in stages:
        one = artefact(root, stage, shards)
        if stage in TABLES:
            one.files(".parquet")
        if stage == "corpus":
            one.files(".parquet", "removed")
        if stage == "tokenizer":
            one.named(0, "report.json")


@contextlib.contextmanager
def asking(root: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory within the working directory, where the questions find the artefacts by name."""
    with contextlib.chdir(root), duckdb.connect() as base:
        base.execute("SET TimeZone = 'UTC'")
        yield base


def of_whole(name: str, rows: list[Row], whole: Collection[str]) -> list[Row]:
    """The rows of a question that reads all manifests which tell of whole artefacts: others hold what was once so."""
    column = BY_STAGE.get(name)
    return rows if column is None else [one for one in rows if STAGE_OF.get(one[column], one[column]) in whole]


def sources_of(sql: str) -> list[str]:
    """The artefacts that a question reads, `*` for the manifests of all."""
    return list(dict.fromkeys(SOURCE.findall(sql)))


def reasons(sources: list[str], stands: dict[str, Standing], root: Path) -> Iterator[str]:
    """A sentence for each artefact that a question needs and does not have."""
    for source in sources:
        if source == "model":
            if not (root / METRICS).is_file():
                yield "No model has been trained here yet: webtext train."
        elif source == "*":
            if all(one.manifest is None for one in stands.values()):
                yield "Nothing is built here yet: webtext build."
        elif stands[source].state != "whole":
            yield f"Not told: the artefact “{source}” is {stands[source].state}. Run webtext build {source}."


def ask(base: duckdb.DuckDBPyConnection, name: str, sql: str) -> list[Row]:
    """The rows of one question. Raises IntegrityError: what it reads is not what the stages write."""
    try:
        cursor = base.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    except duckdb.Error as error:
        said = str(error).strip().partition("\n")[0]
        raise IntegrityError(
            f"sql/report/{name}.sql: {said}; run 'webtext build', which names a damaged file"
        ) from None


def count_tokens(root: Path, shards: int, split: str) -> tuple[int, int]:
    """Documents and tokens of a split, end-of-text included; only the lengths are read."""
    documents = tokens = 0
    for path in artefact(root, "tokens", shards).files(".arrow", split):
        with pa.memory_map(str(path)) as file:
            column = pa.ipc.open_file(file).read_all()["tokens"]
            documents += len(column)
            tokens += pc.sum(pc.list_value_length(column)).as_py() or 0
    return documents, tokens


def unmade(found: Answers) -> list[str]:
    """The artefacts that are not whole, each with its state."""
    return [f"{stage} is {found.stands[stage].state}" for stage in STAGES if found.stands[stage].state != "whole"]
