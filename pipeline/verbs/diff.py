"""Two working directories beside each other: settings, versions, row counts, and all rows that differ between them.

Choice: rows meet by doc_id in DuckDB, texts as their MD5, so the work is linear in the rows of both and spills to disk;
artefacts whose files have the same sha256 are not read at all. Cost: a text that differs by a blank differs. What
decides whether both are the same is what was made: settings and versions are told, since they may say why. Alternative:
a walk over sorted shards, which asks that both have as many.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from pipeline import config
from pipeline.build import STAGES, artefact, begun_with
from pipeline.config import Settings, slice_of
from pipeline.shards import progress, removals, storage
from pipeline.shards.outcomes import FATES, InputError
from pipeline.status import ArtefactStatus, recorded
from pipeline.verbs.report.questions import TABLES

SIDES = ("A", "B")
# artefact -> its rows: doc_id, url, host, outcome, and what else may differ
ROWS = {
    "links": "SELECT doc_id, url, host, outcome, NULL AS text, NULL AS rule FROM read_parquet(?)",
    "pages": "SELECT doc_id, url, host, outcome, sha256 AS text, NULL AS rule FROM read_parquet(?)",
    "documents": "SELECT doc_id, url, host, outcome, md5(text) AS text, NULL AS rule FROM read_parquet(?)",
    "corpus": "SELECT doc_id, url, host, 'kept' AS outcome, md5(text) AS text, NULL AS rule FROM read_parquet(?) "
    "UNION ALL SELECT doc_id, url, host, outcome, NULL, concat_ws(' ', rule, keeper) FROM read_parquet(?)",
}
PARTS = {"corpus": ("", "removed")}
OTHER = {"pages": "other bytes", "documents": "other text", "corpus": "other text"}
CHANGED = """
CREATE OR REPLACE TEMP TABLE changed AS
SELECT
    coalesce(a.doc_id, b.doc_id) AS doc_id,
    a.url AS a_url, b.url AS b_url, coalesce(nullif(a.host, ''), b.host) AS host,
    a.outcome AS a_outcome, b.outcome AS b_outcome,
    CASE
        WHEN b.doc_id IS NULL THEN 'only in A'
        WHEN a.doc_id IS NULL THEN 'only in B'
        WHEN a.outcome <> b.outcome THEN 'other outcome'
        WHEN a.text IS DISTINCT FROM b.text THEN $other
        ELSE 'other grounds'
    END AS kind
FROM rows_a AS a FULL OUTER JOIN rows_b AS b ON a.doc_id = b.doc_id
WHERE a.doc_id IS NULL OR b.doc_id IS NULL OR a.outcome <> b.outcome
    OR a.text IS DISTINCT FROM b.text OR a.rule IS DISTINCT FROM b.rule
"""
COUNTED = """
SELECT kind, a_outcome, b_outcome, count(*) AS rows
FROM changed GROUP BY ALL ORDER BY kind, rows DESC, a_outcome, b_outcome
"""
SAMPLED = """
SELECT kind, a_outcome, b_outcome, doc_id, coalesce(nullif(a_url, ''), b_url) AS url, host
FROM changed QUALIFY row_number() OVER (PARTITION BY kind, a_outcome, b_outcome ORDER BY doc_id) <= $most
ORDER BY doc_id
"""
TEXTS = "SELECT doc_id, text FROM read_parquet(?) WHERE list_contains(?, doc_id)"


@dataclass(frozen=True)
class Example:
    """A row that is not the same in both. `texts` are those of both sides where they differ, else empty."""

    doc_id: str
    url: str  # "" where its removal was asked for on either side
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Rows of an artefact that differ in one way: how many, and some of them."""

    artefact: str
    kind: str  # only in A, only in B, other outcome, other text, other bytes, other grounds
    outcomes: tuple[str | None, str | None]  # in A and in B
    rows: int
    examples: tuple[Example, ...]


@dataclass
class Diff:
    """What differs. `same`: nothing that was made differs."""

    states: dict[str, tuple[str, str]] = field(default_factory=dict)  # artefact -> its state in A and in B
    settings: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # section.key -> its value in A and in B
    versions: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)  # artefact: library -> version
    funnel: dict[tuple[str, str], tuple[int | None, int | None]] = field(
        default_factory=dict
    )  # (step, outcome) -> rows
    groups: list[Group] = field(default_factory=list)
    files: list[str] = field(default_factory=list)  # artefacts without rows to compare whose files differ

    @property
    def same(self) -> bool:
        """Whether both hold the same rows, and the same files where there are no rows."""
        made = all((a == "whole") == (b == "whole") for a, b in self.states.values())
        return made and not self.groups and not self.files and all(a == b for a, b in self.funnel.values())


@dataclass(frozen=True)
class Side:
    """One of two working directories."""

    root: Path
    shards: int
    statuses: dict[str, ArtefactStatus]
    settings: Settings | None  # of its webtext.toml, if there is one
    gone: removals.Removals

    @classmethod
    def of(cls, root: Path) -> Side:
        """A working directory, built or not. Raises InputError: it is none. BusyError: a removal was cut short."""
        root = root.absolute()
        path, begun = root / config.FILE_NAME, begun_with(root)
        settings = config.load(storage.local(path)) if storage.exists(path) else None
        if settings is None and begun is None:
            raise InputError(f"{root}: no working directory: no {config.FILE_NAME}, and nothing is built")
        removals.refuse_unfinished(root)
        shards = begun or (settings or Settings()).build.shards
        return cls(root, shards, recorded(root, shards), settings, removals.Removals.of(root))

    def files(self, stage: str) -> dict[str, str]:
        """The files of an artefact that is whole, by name, with their sha256; {} of one that is not."""
        manifest = self.statuses[stage].manifest
        return {name: stamp.sha256 for name, stamp in manifest.files.items()} if manifest else {}

    def tables(self, stage: str) -> list[list[str]]:
        """The paths of the tables of an artefact, verified, a list a part. Raises IntegrityError."""
        made = artefact(self.root, stage, self.shards)
        return [[str(path) for path in made.files(".parquet", part)] for part in PARTS.get(stage, ("",))]

    def is_made(self, section: str) -> bool:
        """Whether the artefact of a section is whole, and so knows what it was made with."""
        return section in self.statuses and self.statuses[section].manifest is not None

    def values(self, section: str, as_made: bool) -> dict[str, Any]:
        """The settings of a section, as the artefact was made with them, or as webtext.toml has them now."""
        manifest = self.statuses[section].manifest if as_made else None
        if manifest is not None:
            return manifest.settings
        own = getattr(self.settings, section) if self.settings else None
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(slice_of(own))) if own else {}
        return found


def diff(first: Path, second: Path, examples: int = 3) -> Diff:
    """What differs between two working directories, with so many examples of each group.

    Raises InputError: one of them is none. IntegrityError: a file is not as its receipt says. BusyError.
    """
    a, b = Side.of(first), Side.of(second)
    found = Diff(states={stage: (a.statuses[stage].state, b.statuses[stage].state) for stage in STAGES})
    found.settings = dict(unequal_settings(a, b))
    found.versions = dict(unequal_versions(a, b))
    found.funnel = funnel(a, b)
    both = [stage for stage in STAGES if a.files(stage) and b.files(stage)]
    unequal = [stage for stage in both if a.files(stage) != b.files(stage)]
    with tempfile.TemporaryDirectory() as spill, duckdb.connect(config={"temp_directory": spill}) as base:
        for stage in unequal:
            if stage in TABLES:
                with progress.phase(f"diff: {stage}"):
                    found.groups += compared(base, a, b, stage, examples)
    if "tokenizer" in unequal:
        found.files.append("tokenizer")
    if "tokens" in unequal and a.shards == b.shards:  # cut into other shards, equal tokens lie in other files
        found.files.append("tokens")
    return found


def unequal_settings(a: Side, b: Side) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """(section.key, its two values) of settings that differ; None where a side does not say."""
    if a.shards != b.shards:
        yield "build.shards", (a.shards, b.shards)
    for section in (*STAGES, "train"):
        made = a.is_made(section) and b.is_made(section)  # a manifest has values in another form, as a file's sha256
        ours, other = a.values(section, made), b.values(section, made)
        if ours and other:
            for key in dict.fromkeys((*ours, *other)):
                if ours.get(key) != other.get(key):
                    yield f"{section}.{key}", (ours.get(key), other.get(key))


def unequal_versions(a: Side, b: Side) -> Iterator[tuple[str, tuple[str | None, str | None]]]:
    """(artefact: library, its two versions) of libraries that differ."""
    for stage in STAGES:
        ours, other = a.statuses[stage].manifest, b.statuses[stage].manifest
        if ours and other:
            for library in sorted({*ours.versions, *other.versions}):
                pair = ours.versions.get(library), other.versions.get(library)
                if pair[0] != pair[1]:
                    yield f"{stage}: {library}", pair


def funnel(a: Side, b: Side) -> dict[tuple[str, str], tuple[int | None, int | None]]:
    """(step, outcome) to the rows on both sides, and (step, "") to the rows in; None where a side has no such step."""
    sides = [books_of(side.statuses) for side in (a, b)]
    found = {}
    for step, fates in FATES.items():
        if any(step in side for side in sides):
            for outcome in ("", *map(str, fates)):
                pair = tuple(side[step].get(outcome, 0) if step in side else None for side in sides)
                if any(pair) or not outcome:
                    found[step, outcome] = (pair[0], pair[1])
    return found


def books_of(statuses: Mapping[str, ArtefactStatus]) -> dict[str, dict[str, int]]:
    """By step: outcome -> rows, and "" -> the rows that came in, of the artefacts that are whole."""
    books = [status.manifest.books for status in statuses.values() if status.manifest]
    return {step: {"": book.inputs, **book.outcomes} for steps in books for step, book in steps.items()}


def compared(base: duckdb.DuckDBPyConnection, a: Side, b: Side, stage: str, examples: int) -> Iterator[Group]:
    """The groups of rows of an artefact that are not the same in both."""
    for name, side in zip(SIDES, (a, b), strict=True):
        base.execute(f"CREATE OR REPLACE TEMP TABLE rows_{name.lower()} AS {ROWS[stage]}", side.tables(stage))
    base.execute(CHANGED, {"other": OTHER.get(stage, "other")})
    sampled = base.execute(SAMPLED, {"most": examples}).fetchall()
    texts = both_texts(base, a, b, stage, [row[3] for row in sampled if row[0] == "other text"])
    for kind, ours, other, rows in base.execute(COUNTED).fetchall():
        chosen = [row for row in sampled if row[:3] == (kind, ours, other)]
        shown = tuple(example(a, b, doc_id, url, host, texts) for *_, doc_id, url, host in chosen)
        yield Group(stage, kind, (ours, other), rows, shown)


def both_texts(
    base: duckdb.DuckDBPyConnection, a: Side, b: Side, stage: str, doc_ids: list[str]
) -> dict[str, tuple[str, ...]]:
    """doc_id to the texts of both sides."""
    if not doc_ids:
        return {}
    sides = [dict(base.execute(TEXTS, [side.tables(stage)[0], doc_ids]).fetchall()) for side in (a, b)]
    return {doc_id: tuple(side[doc_id] for side in sides) for doc_id in doc_ids}


def example(a: Side, b: Side, doc_id: str, url: str, host: str, texts: dict[str, tuple[str, ...]]) -> Example:
    """A row to be shown; of one whose removal was asked for on either side, the id alone."""
    if not url or any(side.gone.cover(doc_id, host) for side in (a, b)):
        return Example(doc_id, "")
    return Example(doc_id, url, texts.get(doc_id, ()))
