"""What the artefacts answer: the SQL files of sql/report/, one question each, run by DuckDB where they lie.

Choice: SQL that a person can run by hand in the working directory; a question is asked only of artefacts that are
whole, and their files are proved first. Cost: every file that is asked is read twice. Alternative: numbers that the
stages write down as they go, which nobody can ask again in another way.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.build import STAGES, artefact
from pipeline.config import Settings
from pipeline.shards import layout, progress, removals, transfer
from pipeline.shards.locations import location_of
from pipeline.shards.outcomes import ConfigError, InputError, IntegrityError, Outcome
from pipeline.status import ArtefactStatus, recorded
from pipeline.text.rules import Rule, read_rules
from pipeline.text.signals import SIGNALS
from pipeline.verbs.fertility import Group, fertility
from pipeline.verbs.report.dates import Captured, captured

SOURCE = re.compile(r"'([a-z*]+)/[^']*\.(?:parquet|jsonl?)'")
STAGE_OF = {"submissions": "links"}  # the books of a step that has no artefact of its own
TABLES = ("links", "pages", "documents", "corpus")  # artefacts of Parquet
BY_STAGE = {"funnel": "step", "artefacts": "stage", "settings": "stage", "notes": "stage"}  # question -> its column
ADDRESSES = {"duplicates": ("gone_url", "stays_url"), "samples": ("url",), "wikipedia": ("url",)}  # columns of pages
METRICS = Path("model/metrics.jsonl")
HOSTS = 8  # whose fertility is shown

MEANINGS = {str(outcome): outcome.meaning for outcome in Outcome}

Row = dict[str, Any]


@dataclass
class Answers:
    """The rows of each question, or why there are none; and what no SQL can read."""

    statuses: dict[str, ArtefactStatus]
    rows: dict[str, list[Row]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, tuple[int, int]] | None = None  # split -> documents, tokens
    fertility: list[Group] = field(default_factory=list)
    settings: Settings = field(default_factory=Settings)  # as webtext.toml has them: its name, and the inputs'
    captured: Captured | None = None
    made: date | None = None  # when the corpus became whole, UTC, as the clock of the disk has it
    bounds: tuple[Rule, ...] = ()  # of signals, by which the corpus was decided

    def of(self, question: str) -> list[Row]:
        """The rows of a question; none if it could not be asked."""
        return self.rows.get(question, [])

    def one(self, question: str) -> Row:
        """The only row of a question; {} if it could not be asked."""
        return next(iter(self.of(question)), {})


def sql_folder() -> Path:
    """Where the questions are: beside the package in a source tree, inside it in a wheel."""
    package = Path(__file__).parents[2]
    return next(folder for folder in (package / "sql" / "report", package.parent / "sql" / "report") if folder.is_dir())


def questions() -> dict[str, str]:
    """Name to SQL of every question, in order of the names."""
    return {path.stem: path.read_text("utf-8") for path in sorted(sql_folder().glob("*.sql"))}


def answers(root: Path, shards: int, settings: Settings | None = None) -> Answers:
    """All that can be asked of a working directory. `settings` tell what manifests do not: names.

    Raises IntegrityError: a file is not as its receipt says. BusyError: a removal was cut short, and must end first.
    """
    root = root.absolute()  # questions are asked from within it
    removals.refuse_unfinished(root)
    gone = removals.Removals.of(root)
    if location_of(root):
        transfer.bring(root / "model")
    found = Answers(recorded(root, shards), settings=settings or Settings())
    whole = wholes(found.statuses)
    prove(root, shards, whole)
    with asking(root) as base:
        asked = questions()
        for question, sql in watched(asked.items(), len(asked)):
            reason = next(reasons(sources_of(sql), found.statuses, root), "")
            if reason:
                found.missing[question] = reason
            else:
                found.rows[question] = to_be_shown(question, ask(base, question, sql), whole, gone)
    if "pages" in whole:
        found.captured = captured(root, found.of("archives"))
    if "corpus" in whole:
        found.made = datetime.fromtimestamp(artefact(root, "corpus", shards).manifest_path.stat().st_mtime, UTC).date()
        found.bounds = bounds(root, found.of("settings"))
    if "tokens" in whole:
        with progress.phase("report: counting tokens"):
            found.tokens = {split: count_tokens(root, shards, split) for split in ("train", "val")}
    if {"corpus", "tokenizer"} <= whole:
        with contextlib.suppress(InputError):  # nothing is held out: the page says so
            found.fertility = fertility(root, None, HOSTS)
    return found


def watched(items: Iterable[tuple[str, str]], count: int) -> Iterator[tuple[str, str]]:
    """The questions, and to whoever watches how many of them are answered."""
    with progress.phase("report", count, noun="questions"):
        yield from progress.each(items)


def wholes(statuses: dict[str, ArtefactStatus]) -> set[str]:
    """The artefacts that are whole: questions are asked of these alone."""
    return {stage for stage, status in statuses.items() if status.state == "whole"}


def prove(root: Path, shards: int, stages: Iterable[str]) -> None:
    """Verify the files of artefacts by their receipts; of objects, bring them here. Raises IntegrityError."""
    for stage in stages:
        made = artefact(root, stage, shards)
        if stage in TABLES:
            made.files(".parquet")
        if stage == "corpus":
            made.files(".parquet", "removed")
        if stage == "tokenizer":
            made.named(0, "report.json")


@contextlib.contextmanager
def asking(root: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory within the working directory, where the questions find the artefacts by name."""
    with contextlib.chdir(root), duckdb.connect() as base:
        base.execute("SET TimeZone = 'UTC'")
        yield base


def to_be_shown(name: str, rows: list[Row], whole: Collection[str], gone: removals.Removals) -> list[Row]:
    """The rows of a question without those of artefacts that are not whole, and of pages that were asked to go.

    A question that reads all manifests meets those that tell of what was once so; and a removal request may have come
    to a working directory that no build has obeyed it in.
    """
    if column := BY_STAGE.get(name):
        rows = [row for row in rows if STAGE_OF.get(row[column], row[column]) in whole]
    if columns := ADDRESSES.get(name):
        rows = [row for row in rows if not any(gone.cover_address(row[column]) for column in columns)]
    return [row for row in rows if not gone.cover_host(row["host"])] if name == "hosts" else rows


def bounds(root: Path, settings: list[Row]) -> tuple[Rule, ...]:
    """The bounds of signals that decided on the documents, by the settings of the corpus.

    Without those of a file of rules that is not there any more, or not a file of rules.
    """
    set_to = {row["setting"]: json.loads(row["value"]) for row in settings if row["stage"] == "corpus"}
    found = [Rule("word_count", ">=", float(set_to["min_words"]))] if "min_words" in set_to else []
    for name in set_to.get("rules", ()):
        with contextlib.suppress(InputError, ConfigError):
            found += read_rules([name], root, SIGNALS)
    return tuple(found)


def sources_of(sql: str) -> list[str]:
    """The artefacts that a question reads, `*` for the manifests of all."""
    return list(dict.fromkeys(layout.BESIDE.get(source, source) for source in SOURCE.findall(sql)))


def reasons(sources: list[str], statuses: dict[str, ArtefactStatus], root: Path) -> Iterator[str]:
    """A sentence for each artefact that a question needs and does not have."""
    for source in sources:
        if source == "model":
            if not (root / METRICS).is_file():
                yield "No model has been trained here yet: webtext train."
        elif source == "*":
            if all(status.manifest is None for status in statuses.values()):
                yield "Nothing is built here yet: webtext build."
        elif statuses[source].state != "whole":
            yield f"Not known: the artefact “{source}” is {statuses[source].state}. Run webtext build {source}."


def ask(base: duckdb.DuckDBPyConnection, name: str, sql: str) -> list[Row]:
    """The rows of one question. Raises IntegrityError: what it reads is not what the stages write."""
    try:
        cursor = base.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    except duckdb.Error as error:
        message = str(error).strip().partition("\n")[0]
        raise IntegrityError(
            f"sql/report/{name}.sql: {message}; run 'webtext build', which names a damaged file"
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
    return [f"{stage} is {found.statuses[stage].state}" for stage in STAGES if found.statuses[stage].state != "whole"]
