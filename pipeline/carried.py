"""Rows carried over: what a shard held before is taken again where it was made of the same, the same way.

Choice: beside each shard lies, in scratch and under a receipt of its own, a key for each of its rows: a hash of all
that the page was read by. That receipt's fingerprint is over the bytes of the shard and over the making (version,
settings, libraries, models) without the pages. So a row is carried if its key stands there under the making of today;
if another making, another file or nothing stands there, everything is made anew. The shard so far is read while it
still stands: it goes when the next one is committed, whoever is killed before. Cost: 48 bytes a document; a kill
between the two receipts costs one shard; a host that is spread over more shards than before is read anew.
Alternative: a column for the key, which would tell in the artefact where a page was found; or a cache of texts by
content, which `remove` would have to search.

A removal takes rows out of the shard, and a key leads to no row that is not there; what a request covers is not asked
for (see `documents`). A row depends on its page alone, and rows are cut into groups by what they hold: how a shard came
about does not show in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.shards import receipts, schemas
from pipeline.shards.outcomes import IntegrityError
from pipeline.shards.receipts import Artefact, Task

VERSION = 1
KEYS = pa.schema({"doc_id": pa.string(), "key": pa.binary(16)})
READ_BY = ("url", "doc_id", "host", "final_url", "offset", "length", "sha256")  # columns of a page; and its file
TABLE_ROWS, TABLE_CHARACTERS = 1_000, 50_000_000  # written at once: 200 MB at most, and one page

Row = dict[str, Any]


class Place(NamedTuple):
    """A row to be written: its url, the characters of its text, and where it stands: of `batch` -1 among the new."""

    url: str
    characters: int
    batch: int
    row: int


@dataclass(frozen=True)
class Former:
    """The rows of a shard as it stands, by key; none where they were made otherwise."""

    batches: tuple[pa.Table, ...] = ()
    places: Mapping[bytes, Place] = field(default_factory=dict)

    def outcomes(self, places: Iterable[Place]) -> Iterator[str]:
        """The outcome of each of some rows."""
        columns = [batch["outcome"].to_pylist() for batch in self.batches]
        return (columns[place.batch][place.row] for place in places)


def keys_of(made: Artefact) -> Artefact:
    """The keys of the rows of all shards of `documents` or `tokens`."""
    return Artefact(made.root, f"scratch/{made.name}_keys", made.shards)


def key_of(page: Mapping[str, Any], file: str) -> bytes:
    """16 bytes over all that a page is read by; `file`: what tells the bytes of the file that it lies in."""
    told = [file, *(page[name] for name in READ_BY)]
    return hashlib.blake2b(msgspec.json.encode(told), digest_size=16).digest()


def mark(made: Artefact, shard: int, making: Any, libraries: Iterable[str]) -> str:
    """The fingerprint of the keys of a shard as it stands: over what was made, before any removal, and its making."""
    return receipts.fingerprint(keys_of(made).name, VERSION, {}, [making, made.hashes(shard)], libraries)


def stands(made: Artefact, shard: int, making: Any, libraries: Iterable[str]) -> bool:
    """Whether the rows of a shard were made as `making` says, and their keys are there; by receipts alone."""
    receipt = keys_of(made).receipt(shard) if made.receipt(shard) else None
    return receipt is not None and receipt.fingerprint == mark(made, shard, making, libraries)


def known(made: Artefact, shard: int, making: Any, libraries: Iterable[str]) -> dict[str, bytes]:
    """The key of each row of a shard as it stands, by doc_id, if they were made as `making` says; else none."""
    if not stands(made, shard, making, libraries):
        return {}
    table = schemas.read_parquet(keys_of(made).file(shard, ".parquet"))
    return dict(zip(table["doc_id"].to_pylist(), table["key"].to_pylist(), strict=True))


def former(documents: Artefact, shard: int, making: Any, libraries: Iterable[str]) -> Former:
    """The rows of a shard as it stands, if they were made as `making` says; none of a shard that is damaged."""
    try:
        key_of_doc = known(documents, shard, making, libraries)
        if not key_of_doc:
            return Former()
        path = documents.file(shard, ".parquet")
    except IntegrityError:
        return Former()
    batches = tuple(map(pa.Table.from_batches, ([batch] for batch in schemas.iterate_parquet(path, rows=TABLE_ROWS))))
    places: dict[bytes, Place] = {}
    for number, batch in enumerate(batches):
        columns = (batch["doc_id"], batch["url"], pc.utf8_length(batch["text"]))
        for row, (doc, url, characters) in enumerate(zip(*(column.to_pylist() for column in columns), strict=True)):
            if doc in key_of_doc:
                places[key_of_doc[doc]] = Place(url, characters, number, row)
    return Former(batches, places)


def keep(made: Artefact, shard: int, keys: Mapping[str, bytes], making: Any, libraries: Iterable[str]) -> None:
    """Write the keys of the rows of a shard that has been made, by doc_id."""
    artefact = keys_of(made)
    table = pa.table([list(keys), list(keys.values())], schema=KEYS).sort_by("doc_id")
    with artefact.attempt(Task(shard, mark(made, shard, making, libraries))) as attempt:
        with attempt.write(".parquet") as file:
            schemas.write_parquet(file, [table], KEYS)
        attempt.rows(".parquet", len(table))
        attempt.commit({})


def merged(
    found: Former, carried: Iterable[Place], new: Sequence[Row], schema: pa.Schema, table_of: Callable[..., pa.Table]
) -> Iterator[pa.Table]:
    """Rows that are carried and rows that are new, by url, as tables of bounded size: the same cuts for the same rows.

    `table_of`: rows as a table of a schema.
    """
    made = [Place(row["url"], len(row["text"]), -1, number) for number, row in enumerate(new)]
    for cut in cuts(sorted([*carried, *made], key=lambda place: place.url)):
        fresh = [new[place.row] for place in cut if place.batch < 0]
        batches = sorted({place.batch for place in cut if place.batch >= 0})
        parts = [table_of(fresh, schema)] if fresh else []
        parts += [found.batches[number].cast(schema) for number in batches]
        ends = np.cumsum([len(fresh), *(len(found.batches[number]) for number in batches)])
        starts = {-1: 0, **dict(zip(batches, ends.tolist(), strict=False))}
        own = iter(range(len(fresh)))
        order = [next(own) if place.batch < 0 else starts[place.batch] + place.row for place in cut]
        yield pa.concat_tables(parts).combine_chunks().take(order).combine_chunks()


def cuts(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    """Rows in order, so many at once as may be written together."""
    start = characters = 0
    for end, place in enumerate(places):
        characters += place.characters
        if end - start >= TABLE_ROWS or (characters > TABLE_CHARACTERS and end > start):
            yield places[start:end]
            start, characters = end, place.characters
    if places:
        yield places[start:]
