"""Receipts and manifests as values: what is done, from what, with which row counts; and the fingerprint of it all.

Choice: one small JSON file a shard, written after the shard and never before, is all the state there is; a stage asks
only "does a receipt with today's fingerprint exist?". Cost: a file a shard. Alternative: completion markers, as
datatrove's, which cannot tell that the config, an input or the code has changed since.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from pipeline.shards.outcomes import FATES, BooksError
from pipeline.shards.storage import Stamp

UNICODE = "unicode"  # stands for the tables of characters that come with Python


class Task(msgspec.Struct, frozen=True):
    """One shard to make, and the fingerprint its receipt will carry."""

    shard: int
    fingerprint: str


class RowCounts(msgspec.Struct, frozen=True):
    """So many rows came in, and what became of each: inputs = sum of outcomes."""

    inputs: int
    outcomes: dict[str, int]


class Receipt(msgspec.Struct, frozen=True):
    """Proof that a shard is whole. `files` maps names below the artefact's folder to what they must be."""

    shard: int
    shards: int
    fingerprint: str
    files: dict[str, Stamp]
    books: dict[str, RowCounts]  # by step
    notes: tuple[str, ...] = ()
    counts: dict[str, int] = {}  # numbers a person asks for that are no fates, by name
    before: dict[str, str] = {}  # of files that `remove` rewrote: their sha256 when they were made
    check: str = ""  # sha256 of all the above


class Manifest(msgspec.Struct, frozen=True):
    """A whole artefact: the receipts of all its shards added up, and the settings and versions that made it."""

    stage: str
    shards: int
    fingerprint: str
    settings: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, Stamp]
    books: dict[str, RowCounts]
    notes: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    made_from: dict[str, str] = {}  # artefact that was read -> the fingerprint it had then


def checked(receipt: Receipt) -> Receipt:
    """The receipt with the check that belongs to what it says."""
    bare = msgspec.structs.replace(receipt, check="")
    return msgspec.structs.replace(bare, check=hashlib.sha256(msgspec.json.encode(bare)).hexdigest())


def fingerprint(stage: str, version: int, settings: Any, inputs: Any, libraries: Iterable[str]) -> str:
    """32 hex digits over all that decides the bytes of a shard.

    `settings` and `inputs` are JSON-able (the config slice the stage uses; content hashes of what it reads);
    `libraries` are distributions whose installed version affects the output.
    """
    described = [stage, version, settings, inputs, versions(libraries)]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


def mark_of(contents: Mapping[str, str]) -> str:
    """16 hex digits over what files hold: their names below an artefact, and the sha256 of each."""
    return hashlib.sha256(json.dumps(dict(contents), sort_keys=True).encode()).hexdigest()[:16]


def veiled(names: Iterable[str]) -> list[str]:
    """What manifests hold instead of names of hosts, of which one may be removed: 16 hex digits of each, sorted."""
    return sorted(hashlib.sha256(name.encode()).hexdigest()[:16] for name in names)


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """The installed version of each distribution; of UNICODE, which comes with Python, that of its tables."""
    return {name: version_of(name) for name in sorted(libraries)}


@lru_cache
def version_of(name: str) -> str:
    """The same of one: looked up once a process, for the fingerprints of thousands of shards ask for it."""
    return unicodedata.unidata_version if name == UNICODE else importlib.metadata.version(name)


def written(value: Receipt | Manifest) -> bytes:
    """A receipt or manifest as its file holds it: JSON that a person can read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def balanced(name: str, inputs: int, outcomes: Mapping[str, int]) -> RowCounts:
    """Row counts that add up, outcomes in the order of FATES. Raises BooksError: they do not, or an unknown fate."""
    counts = {str(fate): count for fate, count in outcomes.items() if count}
    known = [str(fate) for fate in FATES[name]]
    strangers = sorted(set(counts) - set(known))
    if strangers or sum(counts.values()) != inputs:
        raise BooksError(f"{name}: {inputs} rows in, {sum(counts.values())} accounted for as {counts} ({strangers=})")
    return RowCounts(inputs, {fate: counts[fate] for fate in known if fate in counts})


def added(books: Iterable[Mapping[str, RowCounts]]) -> dict[str, RowCounts]:
    """The sum of several sets of row counts, by name."""
    inputs: Counter[str] = Counter()
    outcomes: dict[str, Counter[str]] = {}
    for shard in books:
        for name, rows in shard.items():
            inputs[name] += rows.inputs
            outcomes.setdefault(name, Counter()).update(rows.outcomes)
    return {name: balanced(name, inputs[name], outcomes[name]) for name in sorted(outcomes)}
