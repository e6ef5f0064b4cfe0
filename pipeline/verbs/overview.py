"""The status of a working directory as one value: how far each artefact is, with its rows, and what a crawl waits for.

Choice: all of it is read off receipts, manifests and queues, so that another process, on another machine, may look
while a build runs. Cost: the receipts of an artefact that is not whole are read each time. Alternative: a build that
reports to a server, which is one more thing that may be away.
"""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pipeline.build import artefact
from pipeline.config import Settings
from pipeline.pages import waiting
from pipeline.shards import receipts, storage
from pipeline.shards.locations import name_of
from pipeline.shards.outcomes import IntegrityError
from pipeline.shards.receipts import RowCounts
from pipeline.status import ArtefactStatus, status_of

FORMAT = "webtext status 1"
HOLDER = re.compile(r"process (\d+) on (.+)")  # what `lease` writes into the lock


class Artefact(msgspec.Struct, frozen=True):
    """One artefact. `rows`: by book, of the shards that are made; `why`: of one that is damaged or stale."""

    artefact: str
    status: str  # not made, partly made, damaged, stale, whole
    why: str
    shards_done: int
    shards_total: int
    rows: dict[str, RowCounts]
    notes: tuple[str, ...]


class Crawl(msgspec.Struct, frozen=True):
    """What a crawl that is not at its end waits for. `ready_at`: when it goes on, UTC, with `first_host`; "" = now."""

    links_waiting: int
    links_resting: int
    hosts_resting: int
    ready_at: str
    first_host: str = ""


class Overview(msgspec.Struct, frozen=True):
    """All of it. `done`: a build would do nothing; `running`: the process here that works in the directory, or null."""

    format: str
    at: str
    folder: str
    done: bool
    running: str | None
    artefacts: tuple[Artefact, ...]
    crawl: Crawl | None


def overview(root: Path, settings: Settings) -> Overview:
    """The status of a working directory now. Raises ConfigError: begun with another number of shards."""
    statuses = status_of(root, settings)
    return Overview(
        format=FORMAT,
        at=moment(datetime.now(UTC)),
        folder=name_of(root.absolute()),
        done=all(status.state == "whole" for status in statuses.values()),
        running=holder(root),
        artefacts=tuple(artefact_of(root.absolute(), stage, status) for stage, status in statuses.items()),
        crawl=crawl_of(root, settings, statuses["pages"]),
    )


def moment(when: datetime) -> str:
    """A time as ISO 8601, UTC, whole seconds."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def artefact_of(root: Path, stage: str, status: ArtefactStatus) -> Artefact:
    """What is known of an artefact."""
    shards = artefact(root, stage, status.shards)
    manifest = status.manifest
    if manifest is not None:
        rows, notes = manifest.books, manifest.notes
    else:
        made = []
        for shard in range(shards.shards):
            with suppress(IntegrityError):  # told by `why`
                made.append(shards.receipt(shard))
        rows, notes = receipts.added(receipt.books for receipt in made if receipt is not None), ()
    return Artefact(stage, status.state, status.why, status.done, status.shards, rows, notes)


def crawl_of(root: Path, settings: Settings, pages: ArtefactStatus) -> Crawl | None:
    """What a crawl waits for; None where there is none, or it is at its end."""
    waits = waiting(root, settings.build.shards)
    if pages.manifest is not None or not waits.links:
        return None
    ready_at = moment(datetime.fromtimestamp(waits.ready_at, UTC)) if waits.ready_at else ""
    return Crawl(waits.links, waits.resting, waits.hosts, ready_at, waits.first if ready_at else "")


def holder(root: Path) -> str | None:
    """The process of this machine that works in a directory, by what the lock says; nobody's lock is touched for it."""
    found = None
    with suppress(OSError):
        found = HOLDER.fullmatch((root / storage.LOCK).read_text("utf-8").strip())
    if found is None or found[2] != socket.gethostname():
        return None
    try:
        os.kill(int(found[1]), 0)  # no signal: it asks whether there is such a process
    except PermissionError:
        return found[0]
    except (ProcessLookupError, OverflowError):
        return None
    return found[0]
