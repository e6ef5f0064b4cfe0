"""The segments of a round while they are written: a visit is in them whole, or not at all.

Choice: the records of a visit are made in memory and go to the file together, then its row is kept: so what a record or
a row cannot be made of costs that visit, and the segment closes whole. Each attempt at a segment writes under a name of
its own; its table, written last, is the commit. Cost: the bodies of one visit lie in memory packed as well.
Alternative: write to the file and cut it back, which an object store cannot.

A failure that is not the storage's, an interrupt among them, commits what is whole.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, BinaryIO, cast

import msgspec
import pyarrow as pa

from pipeline.config import PagesSettings
from pipeline.fetch import warc
from pipeline.fetch.continuations import Link, Memory, Pace, Unfinished, unanswered
from pipeline.fetch.pointers import Row, row_of, text
from pipeline.fetch.response import Fetched, Hop
from pipeline.fetch.robots import Known, obeyed_agents
from pipeline.fetch.shelf import FOLDER, Shelf, Waiting, queued
from pipeline.fetch.visit import described
from pipeline.shards import progress, schemas, storage
from pipeline.shards.outcomes import Outcome, StorageError, WebTextError

FAULTS = 100  # told of a segment


class Overtaken(WebTextError):  # noqa: N818 - named for what happened
    """Another attempt crawls the shard now: this one commits nothing any more."""


class Draft:
    """A file before a file: what is written waits in memory until it is kept; `begin` opens the file for the first."""

    def __init__(self, begin: Callable[[], storage.HashingFile]) -> None:
        self.begin = begin
        self.file: storage.HashingFile | None = None
        self.held = io.BytesIO()

    def write(self, data: Any) -> int:
        return self.held.write(data)

    def kept(self) -> int:
        """How many bytes are in the file."""
        return self.file.tell() if self.file is not None else 0

    def tell(self) -> int:
        return self.kept() + self.held.tell()

    def flush(self) -> None:
        """Nothing: `keep` is what counts."""

    def keep(self) -> None:
        """Hand everything to the file. Raises OSError."""
        self.file = self.file or self.begin()
        self.file.write(self.held.getbuffer())
        self.held = io.BytesIO()

    def cut(self, offset: int) -> None:
        """Forget everything from an offset on that is not kept."""
        self.held.seek(offset - self.kept())
        self.held.truncate()


class Writing:
    """The segments of a round: each is open until it holds `segment_links` visits. `stands`: see `Round`."""

    def __init__(
        self,
        settings: PagesSettings,
        software: str,
        shelf: Shelf,
        todo: dict[str, Waiting],
        memory: Memory,
        stands: Callable[[], bool] = lambda: True,
    ) -> None:
        self.settings = settings
        self.software = software
        self.shelf = shelf
        self.todo = todo
        self.memory = memory
        self.stands = stands
        self.number = shelf.free()
        self.open = ExitStack()
        self.segment: warc.SegmentWriter | None = None
        self.draft: Draft | None = None
        self.rows: list[Row] = []
        self.faults: list[str] = []
        self.whole = True  # nothing is half-way into the file

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None and self.whole and not isinstance(error, OSError | StorageError | Overtaken):
            with suppress(Overtaken):
                self.commit()
        self.open.__exit__(kind, error, trace)

    def writer(self) -> warc.SegmentWriter:
        """The open segment, begun where there is none."""
        if self.segment is None:
            path = self.shelf.path(self.number, ".warc.gz")
            self.draft = Draft(lambda: self.open.enter_context(storage.atomic(path, once=True)))
            file = cast(BinaryIO, self.draft)
            self.segment = warc.SegmentWriter(file, f"{FOLDER}/{path.name}", self.settings, self.software)
        return self.segment

    def write(self, hops: tuple[Hop, ...]) -> warc.Pointer | None:
        """Write the records of responses, all or none; where the last one lies. Raises whatever they cannot be of."""
        if not hops:
            return None
        segment, draft = self.writer(), cast(Draft, self.draft)
        begin = draft.tell()
        try:
            place = segment.write(hops)
        except BaseException:
            draft.cut(begin)
            gone = [payload for payload, (record, _) in segment.payloads.items() if record.offset >= begin]
            for payload in gone:  # a revisit may not refer to what is not there
                del segment.payloads[payload]
            raise
        self.whole = False
        draft.keep()
        self.whole = True
        return place

    def asked_robots(self, hops: tuple[Hop, ...]) -> None:
        """Keep the responses that say what may be crawled."""
        try:
            self.write(hops)
        except (OSError, WebTextError):
            raise
        except Exception as error:
            if not self.whole:
                raise
            self.fault(hops[0].url, described(error))  # what it says was obeyed all the same

    def ended(self, link: Link, end: Fetched | Unfinished) -> None:
        """Keep how a visit ended; one that cannot be kept ended as a fault of ours. Raises what the storage raises."""
        waiting = self.todo[link.doc_id]
        try:
            row = self.row(waiting, link, end)
        except (OSError, WebTextError):
            raise
        except Exception as error:
            if not self.whole:
                raise
            end = unanswered(link.continuation, Outcome.FAULT, described(error))
            row = self.row(waiting, link, end)
        if isinstance(end, Fetched) and end.outcome is Outcome.FAULT:
            self.fault(end.url, end.detail)
        self.rows.append(row)
        progress.advance(progress.ROWS, isinstance(end, Fetched))
        if len(self.rows) >= self.settings.segment_links:
            self.commit()

    def row(self, waiting: Waiting, link: Link, end: Fetched | Unfinished) -> Row:
        """The row of a visit whose records are written; one that a table can hold."""
        if isinstance(end, Fetched):
            if end.outcome is Outcome.REMOVED:  # the last response names the address: neither is kept
                end = replace(end, final_url="", hops=(), status=None)
            via = (*waiting.continuation.asked, *(hop.url for hop in end.hops if hop.url != end.final_url))
            parts = (text(end.final_url), end.status, text(end.content_type), end.opt_outs, end.outcome, via)
            ended = {"host": waiting.host, "step": waiting.step, "errand": ""}
            row = {**row_of(link.doc_id, None, *parts), **ended}
        else:
            row = queued(replace(waiting, continuation=end.continuation))
        pa.Table.from_pylist([row], schemas.SEGMENT)
        place = self.write(end.hops)
        if isinstance(end, Fetched):
            row.update({**row_of(link.doc_id, place, *parts), **ended})
        return row

    def fault(self, url: str, detail: str) -> None:
        """Note a fault of this program, for whoever reads the notes."""
        if len(self.faults) < FAULTS:
            self.faults.append(text(f"{url}: {detail}"))

    def commit(self) -> None:
        """Commit the open segment: the WARC file, what was learnt, and, last, the table. Raises StorageError.

        Nothing where nothing came, or where another attempt has taken over.
        """
        agents = obeyed_agents(self.settings)
        learnt = Memory(lasting(self.memory.robots), latest(self.memory.paces), self.faults, agents)
        if not (self.rows or learnt.robots or learnt.paces or learnt.faults):
            return
        if not self.stands():
            raise Overtaken(f"{self.shelf.name}: another attempt crawls this shard")
        self.open.close()
        storage.write_bytes(self.shelf.path(self.number, ".hosts.json"), msgspec.json.encode(learnt))
        with storage.atomic(self.shelf.path(self.number, ".parquet"), once=True) as file:
            schemas.write_parquet(file, [pa.Table.from_pylist(self.rows, schemas.SEGMENT)], schemas.SEGMENT)
        self.memory.robots.clear()
        self.memory.paces.clear()
        self.rows, self.faults, self.segment, self.draft, self.open = [], [], None, None, ExitStack()
        self.number = self.shelf.after(self.number)


def lasting(robots: list[Known]) -> list[Known]:
    """Of each robots.txt what was found last."""
    return list({known.address: known for known in robots}.values())


def latest(paces: list[Pace]) -> list[Pace]:
    """Of each host the longest gap that it asked for, and how it failed and rests since it was asked last."""
    found: dict[str, Pace] = {}
    for pace in paces:
        before = found.get(pace.host, pace)
        gap_s = max(before.gap_s, pace.gap_s)
        found[pace.host] = msgspec.structs.replace(before if pace.until == 0.0 else pace, gap_s=gap_s)
    return list(found.values())
