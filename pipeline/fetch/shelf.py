"""What a crawl has committed: the segments of one shard, read back.

Choice: a segment is a WARC file (unless nobody answered), what was learnt of its hosts (JSON), and a table with a row
for every visit that ended in it; the table is the commit. An attempt's files bear a name of its own, so two attempts at
one shard never mix, and of a visit that both committed the first by name counts. Cost: such a visit's second response
lies there unused. Alternative: names by number alone, of which one attempt may take the table and the other the file.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pyarrow as pa

from pipeline.fetch.continuations import Continuation, Memory
from pipeline.fetch.pointers import Row, nowhere
from pipeline.fetch.verdicts import Verdicts
from pipeline.shards import objects, schemas, storage
from pipeline.shards.locations import location_of
from pipeline.shards.outcomes import IntegrityError, Outcome

FOLDER = "segments"
ORPHAN_S = 3_600.0  # an attempt needs seconds from its WARC file to its table; what is older was left by a kill


@dataclass(frozen=True)
class Shelf:
    """The committed segments of one shard, below the folder of the artefact."""

    folder: Path
    name: str  # of the shard: 00042-of-00128
    held: tuple[str, ...] | None = None  # the numbers of its segments, if they were looked at before

    def looked_at(self) -> Shelf:
        """The same as it is now, whatever is committed later: its folder is listed once, however much is asked."""
        return replace(self, held=tuple(self.numbers()))

    def path(self, number: str, suffix: str) -> Path:
        return self.folder / FOLDER / f"{self.name}.{number}{suffix}"

    def numbers(self) -> list[str]:
        """Of the committed segments, in order: `00007-1a2b3c4d`, that of an attempt; before version 4 `00007`."""
        if self.held is not None:
            return list(self.held)
        return self.numbers_of(".parquet")

    def numbers_of(self, suffix: str) -> list[str]:
        """The same of any of a segment's files."""
        found = storage.names(self.folder / FOLDER, f"{self.name}.*{suffix}")
        return sorted({path.name.split(".")[1] for path in found})

    def free(self) -> str:
        """A number for the next segment that no other attempt has or will have."""
        return numbered(max((place_of(number) + 1 for number in self.numbers_of("")), default=0))

    def after(self, number: str) -> str:
        """The same for the segment after another one of this attempt: no folder is listed for it."""
        return numbered(place_of(number) + 1)

    def rows(self, verdicts: Verdicts | None = None) -> list[Row]:
        """How visits ended, of all segments in order, as the `verdicts` of today are. Raises IntegrityError.

        Of a visit that two attempts made and committed, the first counts.
        """
        found: dict[tuple[str, int], Row] = {}
        for number in self.numbers():
            rows = read_table(self.path(number, ".parquet")).to_pylist()
            agents = self.learnt(number).agents if verdicts else None
            for row in rows:
                found.setdefault((row["doc_id"], row["step"]), verdicts.of(row, agents) if verdicts else row)
        return list(found.values())

    def memory(self) -> Memory:
        """What was learnt of hosts, in order. Raises IntegrityError."""
        whole = Memory([], [])
        for number in self.numbers():
            memory = self.learnt(number)
            whole.robots += memory.robots
            whole.paces += memory.paces
            whole.faults += memory.faults
        return whole

    def done(self) -> set[tuple[str, int]]:
        """(doc_id, step) of the visits that are committed. Raises IntegrityError."""
        tables = [read_table(self.path(number, ".parquet"), ["doc_id", "step"]) for number in self.numbers()]
        return {
            pair for table in tables for pair in zip(*(column.to_pylist() for column in table.columns), strict=True)
        }

    def learnt(self, number: str) -> Memory:
        """What one segment learnt of hosts. Raises IntegrityError."""
        path = self.path(number, ".hosts.json")
        try:
            return msgspec.json.decode(storage.read_bytes(path), type=Memory)
        except (OSError, msgspec.MsgspecError) as error:
            raise damaged(path, error) from None


def numbered(place: int) -> str:
    """The number of a new segment."""
    return f"{place:05d}-{uuid.uuid4().hex[:8]}"


def place_of(number: str) -> int:
    """The place of a segment among those of its shard, by its number."""
    return int(number.partition("-")[0])


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table of one segment, or the columns named, which all versions have. Raises IntegrityError."""
    try:
        table = schemas.read_parquet(storage.local(path), columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged(path, error) from None
    if columns is not None:
        return table
    if "via" not in table.column_names:  # written before it was kept
        table = table.add_column(
            2, schemas.SEGMENT.field("via"), pa.nulls(len(table), schemas.SEGMENT.field("via").type)
        )
    if table.column_names != schemas.SEGMENT.names:
        raise damaged(path, "other columns than today's")
    return table.cast(schemas.SEGMENT)


def damaged(path: Path, error: Exception | str) -> IntegrityError:
    """The one line for a file of a segment that cannot be read."""
    number = path.name.split(".")[:2]
    return IntegrityError(
        f"{path}: cannot be read ({error}); delete {'.'.join(number)}.* beside it: its links are crawled again"
    )


@dataclass(frozen=True)
class Waiting:
    """A visit that a shard has still to make: a link of its own, or a continuation that was handed to it.

    `place`: how far down it is among the links of its host, in [0, 1): of n links those of 0, 1/n, 2/n, …
    """

    doc_id: str
    host: str
    step: int
    continuation: Continuation
    place: float = 0.0


def queued(waiting: Waiting) -> Row:
    """A visit to be made as a row of SEGMENT: its step, and the continuation it begins with."""
    undecided = {**nowhere(waiting.doc_id, Outcome.KEPT), "outcome": ""}
    return {
        **undecided,
        "host": waiting.host,
        "step": waiting.step,
        "errand": msgspec.json.encode(waiting.continuation).decode(),
    }


def written_at(path: Path) -> float:
    """When a file or an object was written, in seconds since 1970."""
    found = objects.known(path) if location_of(path) else None
    return found.written if found else path.stat().st_mtime


def sweep(folder: Path, older_s: float = ORPHAN_S) -> int:
    """Delete what killed attempts left among the segments below the folder of an artefact; how many files.

    Only under the lock of the working directory, and with 0 seconds of age only if nobody crawls.
    """
    found = storage.names(folder / FOLDER, "*.*")
    committed = {path.name.removesuffix(".parquet") for path in found if path.suffix == ".parquet"}
    orphans = [
        path
        for path in found
        if path.name.endswith((".warc.gz", ".hosts.json"))
        and path.name.removesuffix(".warc.gz").removesuffix(".hosts.json") not in committed
        and time.time() - written_at(path) > older_s
    ]
    for path in orphans:
        storage.remove(path)
    return len(orphans)
