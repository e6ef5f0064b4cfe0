"""What has been asked to go: orders on disk, which every later build of `links` obeys.

Choice: one JSON file an order below `removals/`, written before anything is touched and completed, with the sha256 of
every file before and after, when all is done: it is instruction, memory and proof in one. Cost: it keeps the ids and
names that it was asked for. Alternative: a list in the config file, which proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import msgspec

from pipeline import urls
from pipeline.shards import storage
from pipeline.shards.outcomes import BusyError, InputError, IntegrityError
from pipeline.urls import HostList

FOLDER = "removals"
DOC_ID = re.compile(r"[0-9a-f]{32}")
SUBMISSION = re.compile(r"(?:t3_)?([0-9a-z]{1,13})")  # Reddit's ids, base 36


class Change(msgspec.Struct, frozen=True):
    """One file that an order rewrote. `rows` left it: documents, or for WARC files records."""

    file: str  # below the working directory
    rows: int
    sha256_before: str
    sha256_after: str


class Order(msgspec.Struct, frozen=True):
    """One removal: what was asked, whom it met, and the proof."""

    asked_at: str  # ISO 8601, UTC
    asked: tuple[str, ...]  # the lines of the list
    hosts: tuple[str, ...] = ()
    submissions: tuple[str, ...] = ()
    doc_ids: tuple[str, ...] = ()  # asked for, and those that redirected to what was asked for
    removed: tuple[str, ...] = ()  # doc_ids that some artefact held
    returning: tuple[str, ...] = ()  # doc_ids that had lost to a removed keeper
    changes: tuple[Change, ...] = ()
    ended_at: str = ""  # "" while the removal is under way, or was cut short


@dataclass(frozen=True)
class Removals:
    """All orders of a working directory, as one question: does a link have to go."""

    orders: tuple[Order, ...] = ()

    @classmethod
    def of(cls, work: Path) -> Removals:
        """The orders in `removals/`. Raises IntegrityError: a file that is none."""
        return cls(tuple(read(path) for path in paths(work)))

    @cached_property
    def doc_ids(self) -> frozenset[str]:
        return frozenset(one for order in self.orders for one in order.doc_ids)

    @cached_property
    def hosts(self) -> HostList:
        return HostList(frozenset(one for order in self.orders for one in order.hosts))

    @cached_property
    def submissions(self) -> frozenset[str]:
        return frozenset(one for order in self.orders for one in order.submissions)

    def cover(self, doc_id: str, host: str, submissions: Iterable[str]) -> bool:
        """Whether a link with this id and host, which these submissions posted, has to go."""
        if not self.orders:
            return False
        return doc_id in self.doc_ids or host in self.hosts or not self.submissions.isdisjoint(submissions)


def paths(work: Path) -> list[Path]:
    """The files of all orders, oldest first."""
    return storage.names(work / FOLDER, "[0-9]*.json")


def read(path: Path) -> Order:
    """One order. Raises IntegrityError."""
    try:
        return msgspec.json.decode(storage.read_bytes(path), type=Order)
    except (OSError, msgspec.MsgspecError) as error:
        raise IntegrityError(f"{path}: not an order of removal ({error}); without it pages might come back") from None


def write(path: Path, order: Order) -> None:
    """Write an order, whole and durable."""
    storage.write_bytes(path, msgspec.json.format(msgspec.json.encode(order), indent=1) + b"\n")


def refuse_unfinished(work: Path) -> None:
    """Raise BusyError while a removal that was cut short has not been ended: shards are in two states."""
    for path in paths(work):
        if not read(path).ended_at:
            raise BusyError(f"{path}: a removal was cut short; run 'webtext remove' without a list to end it")


def read_list(path: Path) -> list[str]:
    """The lines of a list. Raises InputError: no such file, or no text."""
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read: {error}; expected one URL, host, doc_id or submission id a line"
        ) from None


def stamp(moment: datetime) -> str:
    """A time as WARC and orders write it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def order_of(lines: Iterable[str], now: datetime) -> Order:
    """The order of a list: one entry a line, `#` begins a comment after a blank. Raises InputError with the line."""
    asked: dict[str, list[str]] = {"hosts": [], "submissions": [], "doc_ids": []}
    said = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    for number, entry in enumerate(said, 1):
        if entry:
            kind, value = meaning(entry, number)
            asked[kind].append(value)
    if not any(asked.values()):
        raise InputError("the list names nothing to remove; expected one URL, host, doc_id or submission id a line")
    hosts, submissions, doc_ids = (tuple(dict.fromkeys(found)) for found in asked.values())
    return Order(stamp(now), tuple(filter(None, said)), hosts, submissions, doc_ids)


def meaning(entry: str, number: int) -> tuple[str, str]:
    """Which list of an order an entry belongs to, and what stands there."""
    if "://" in entry:
        try:
            return "doc_ids", urls.doc_id(urls.canonical_url(entry))
        except urls.BadUrl as error:
            raise InputError(f"line {number}: {entry}: {error}") from None
    if DOC_ID.fullmatch(entry):
        return "doc_ids", entry
    if match := SUBMISSION.fullmatch(entry):
        return "submissions", match[1]
    if "/" in entry or "." not in entry:
        raise InputError(f"line {number}: {entry!r} is no URL (with https://), host, doc_id or submission id")
    return "hosts", urls.listed_host(entry, f"line {number}")
