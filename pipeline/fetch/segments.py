"""Segments: what a crawl has committed, shard by shard, and the round that adds to it.

Choice: a segment is a WARC file, what was learnt of its hosts (JSON), and a table with a row for every visit that ended
in it; the table is the commit, so a killed round loses at most its open segment. A visit that may not go on in its
shard leaves an errand in its row; the rows are all the state there is, so what waits for whom can be worked out anew at
any time. Cost: each round reads the tables of its shard. Alternative: a queue that is taken from, which a killed worker
leaves in doubt.

A link begins with step 0 in its home shard. The row of step n holds the errand that step n + 1 takes up, in the shard
that owns the host to be asked; so one shard, and one schedule, asks a host, wherever the links to it come from. Another
pass over a link that failed for a passing reason begins, at home again, with the step after its end.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import pyarrow as pa

from pipeline.config import PagesSettings
from pipeline.fetch import warc
from pipeline.fetch.crawler import Report, crawl
from pipeline.fetch.errands import Errand, Link, Memory, Unfinished, host_asked
from pipeline.fetch.pointers import Row, nowhere, row_of
from pipeline.fetch.response import Fetched, Hop
from pipeline.shards import schemas, storage
from pipeline.shards.outcomes import PASSING, IntegrityError, Outcome
from pipeline.shards.places import place
from pipeline.urls import shard_of

FOLDER = "segments"
REMEMBERED = 65_536  # characters of the longest robots.txt that the next round need not ask for again


@dataclass(frozen=True)
class Owners:
    """Which shard asks which host. Shards that share a host take turns, a round each, so that one at a time asks it."""

    shards: int
    splits: dict[str, int]

    def owner(self, host: str, doc_id: str) -> int:
        """The shard that asks a host for a link."""
        return shard_of(host, doc_id, self.shards, self.splits)

    def may_ask(self, shard: int, round_number: int, host: str, doc_id: str) -> bool:
        """Whether a shard asks a host for a link in this round."""
        piece = (shard - shard_of(host, doc_id, self.shards, {})) % self.shards
        turn = round_number % self.splits.get(host, 1) == piece
        return turn and self.owner(host, doc_id) == shard


@dataclass(frozen=True)
class Shelf:
    """The committed segments of one shard, below the folder of the artefact."""

    folder: Path
    name: str  # of the shard: 00042-of-00128

    def path(self, number: int, suffix: str) -> Path:
        return self.folder / FOLDER / f"{self.name}.{number:05d}{suffix}"

    def numbers(self) -> list[int]:
        """Of the committed segments, in order."""
        return self.numbers_of(".parquet")

    def numbers_of(self, suffix: str) -> list[int]:
        """The same of any of a segment's files."""
        found = storage.names(self.folder / FOLDER, f"{self.name}.*{suffix}")
        return sorted({int(path.name.split(".")[1]) for path in found})

    def free(self) -> int:
        """The number of the next segment; what a killed round left of it is overwritten, but on an object store: there
        another machine may be at it still.
        """
        return 1 + max(self.numbers_of("" if place(self.folder) else ".parquet"), default=-1)

    def rows(self) -> list[Row]:
        """How visits ended, of all segments in order. Raises IntegrityError."""
        return [row for number in self.numbers() for row in read_table(self.path(number, ".parquet")).to_pylist()]

    def memory(self) -> Memory:
        """What was learnt of hosts, in order. Raises IntegrityError."""
        whole = Memory([], [])
        for number in self.numbers():
            path = self.path(number, ".hosts.json")
            try:
                one = msgspec.json.decode(storage.read_bytes(path), type=Memory)
            except (OSError, msgspec.MsgspecError) as error:
                raise damaged(path, error) from None
            whole.robots += one.robots
            whole.paces += one.paces
        return whole


def read_table(path: Path) -> pa.Table:
    """The table of one segment. Raises IntegrityError."""
    try:
        table = schemas.read_parquet(storage.local(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged(path, error) from None
    if table.schema != schemas.SEGMENT:
        raise damaged(path, "other columns than today's")
    return table


def damaged(path: Path, error: Exception | str) -> IntegrityError:
    """The one line for a file of a segment that cannot be read."""
    number = path.name.split(".")[:2]
    return IntegrityError(
        f"{path}: cannot be read ({error}); delete {'.'.join(number)}.* beside it: its links are crawled again"
    )


@dataclass(frozen=True)
class Waiting:
    """A visit that a shard has still to make: a link of its own, or an errand that was handed to it."""

    doc_id: str
    host: str
    step: int
    errand: Errand


def waiting_for(shard: int, owners: Owners, own: list[Row], sent: list[Row], fresh: Iterable[Waiting]) -> list[Waiting]:
    """What a shard has to do, by doc_id: `own` are the rows of its segments, `sent` those of others that concern it.

    `fresh`: its links that are to be asked for from the beginning.
    """
    done = {(row["doc_id"], row["step"]) for row in own}
    found = {(one.doc_id, one.step): one for one in fresh}
    for row in (*own, *sent):
        if row["errand"]:
            errand = errand_of(row)
            if owners.owner(host_asked(errand), row["doc_id"]) == shard:
                found[row["doc_id"], row["step"] + 1] = Waiting(row["doc_id"], row["host"], row["step"] + 1, errand)
    return [found[key] for key in sorted(found) if key not in done]


def ends_of(rows: Iterable[Row]) -> defaultdict[str, list[Row]]:
    """The ends of each link, by doc_id: one for every pass over it that is over, the last one last."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=itemgetter("step")):
        if not row["errand"]:
            found[row["doc_id"]].append(row)
    return found


def is_over(ends: Sequence[Row], passes: int) -> bool:
    """Whether a link with these ends is not asked for again: it has had its `passes`, or no other day helps it.

    Another day helps the outcomes of PASSING, and 429 (RFC 6585, section 4).
    """
    return bool(ends) and (len(ends) >= passes or (ends[-1]["outcome"] not in PASSING and ends[-1]["status"] != 429))


def next_step(ends: Sequence[Row]) -> int:
    """The step at which the next pass over a link with these ends begins."""
    return ends[-1]["step"] + 1 if ends else 0


def errand_of(row: Row) -> Errand:
    """The errand in a row. Raises IntegrityError."""
    try:
        return msgspec.json.decode(row["errand"], type=Errand)
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"the segment row of {row['doc_id']} holds no errand ({error})") from None


def receivers(shard: int, owners: Owners, row: Row) -> set[int]:
    """The other shards that a row concerns: the one that goes on with its errand, or else the home of its link."""
    host = host_asked(errand_of(row)) if row["errand"] else row["host"]
    return {owners.owner(host, row["doc_id"])} - {shard}


def crawl_round(
    settings: PagesSettings, software: str, owners: Owners, shard: int, number: int, shelf: Shelf, todo: list[Waiting]
) -> None:
    """Crawl for a round what may be asked now, and commit it in segments of `segment_links` visits."""

    def mine(host: str, doc_id: str) -> bool:
        return owners.may_ask(shard, number, host, doc_id)

    def another_turn(one: Waiting) -> bool:
        host = host_asked(one.errand)
        return owners.owner(host, one.doc_id) == shard and not mine(host, one.doc_id)

    turn = {one.doc_id: one for one in todo if not another_turn(one)}
    if not turn:
        return
    memory = shelf.memory()
    with Writing(settings, software, shelf, turn, memory) as writing:
        links = [Link(one.doc_id, one.errand) for one in turn.values()]
        asyncio.run(
            crawl(links, settings, software, mine, memory, Report(writing.ended, writing.asked_robots), time.time)
        )
        writing.commit()


class Writing:
    """The segments of a round: each is open until it holds `segment_links` visits."""

    def __init__(
        self, settings: PagesSettings, software: str, shelf: Shelf, todo: dict[str, Waiting], memory: Memory
    ) -> None:
        self.settings = settings
        self.software = software
        self.shelf = shelf
        self.todo = todo
        self.memory = memory
        self.number = shelf.free()
        self.open = ExitStack()
        self.segment: warc.SegmentWriter | None = None
        self.rows: list[Row] = []

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, *error: Any) -> None:
        self.open.__exit__(*error)

    def writer(self) -> warc.SegmentWriter:
        """The open segment, begun where there is none."""
        if self.segment is None:
            path = self.shelf.path(self.number, ".warc.gz")
            file = self.open.enter_context(storage.atomic(path, once=True))
            self.segment = warc.SegmentWriter(
                cast(BinaryIO, file), f"{FOLDER}/{path.name}", self.settings, self.software
            )
        return self.segment

    def asked_robots(self, hops: tuple[Hop, ...]) -> None:
        """Keep the responses that say what may be crawled."""
        self.writer().write(hops)

    def ended(self, link: Link, end: Fetched | Unfinished) -> None:
        """Keep how a visit ended."""
        one = self.todo[link.doc_id]
        place = self.writer().write(end.hops)
        if isinstance(end, Fetched):
            parts = (end.final_url, end.status, end.content_type, end.opt_outs, end.outcome)
            ended = {"host": one.host, "step": one.step, "errand": ""}
            self.rows.append({**row_of(link.doc_id, place, *parts), **ended})
        else:
            self.rows.append(queued(replace(one, errand=end.errand)))
        if len(self.rows) >= self.settings.segment_links:
            self.commit()

    def commit(self) -> None:
        """Commit the open segment: the WARC file, what was learnt, and, last, the table."""
        if self.segment is None:
            return
        self.open.close()
        short = [one for one in self.memory.robots if len(one.text) <= REMEMBERED]
        learnt = msgspec.json.encode(Memory(short, self.memory.paces))
        storage.write_bytes(self.shelf.path(self.number, ".hosts.json"), learnt)
        with storage.atomic(self.shelf.path(self.number, ".parquet"), once=True) as file:
            schemas.write_parquet(file, [pa.Table.from_pylist(self.rows, schemas.SEGMENT)], schemas.SEGMENT)
        self.memory.robots.clear()
        self.memory.paces.clear()
        self.rows, self.segment, self.open = [], None, ExitStack()
        self.number += 1


def queued(one: Waiting) -> Row:
    """A visit to be made as a row of SEGMENT: its step, and the errand it begins with."""
    undecided = {**nowhere(one.doc_id, Outcome.KEPT), "outcome": ""}
    return {**undecided, "host": one.host, "step": one.step, "errand": msgspec.json.encode(one.errand).decode()}
