"""The columns of every artefact and of every block that crosses a shuffle, and the two forms they take.

Choice: explicit Arrow schemas, so that a shard without rows still has all its columns, and packed Arrow blocks in
shuffles (one element per record costs a shuffle 5 times the memory and 16 times the time). Cost: schemas change by
hand. Alternative: let pyarrow infer types, which differ from shard to shard.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.shards.storage import HashingFile

PARCEL_BYTES = 16_000_000  # most bytes of one shuffled value
PACKED = pa.ipc.IpcWriteOptions(compression="lz4")  # parcels lie on a disk or cross a network
ROW_GROUP = 10_000  # rows; a reader of Parquet holds one group at a time
LOOKED_UP = 1_000  # rows of a group where rows are looked up one by one: 2 ms each, of 10,000 it were 14

Block = tuple[NDArray[np.int32], pa.Table]  # rows on their way, and the shard or partition that each of them goes to

SUBMISSION = pa.struct(
    [
        pa.field("id", pa.string()),
        pa.field(
            "score", pa.int64()
        ),  # karma; null in the row of a list, at least links.karma of a link that one names
        pa.field("created", pa.int64()),  # seconds since 1970, UTC; null where a list of addresses alone names it
        pa.field("subreddit", pa.string()),
        pa.field("over_18", pa.bool_()),
    ]
)

# A submission on its way to the shard of its host.
SUBMISSIONS = pa.schema(
    [
        pa.field("url", pa.string()),  # canonical: the identity
        pa.field("fetch_url", pa.string()),  # as posted, without the fragment
        pa.field("doc_id", pa.string()),
        pa.field("host", pa.string()),
        *SUBMISSION,
    ]
)

LINKS = pa.schema(
    [
        pa.field("url", pa.string()),
        pa.field("fetch_url", pa.string()),
        pa.field("doc_id", pa.string()),
        pa.field("host", pa.string()),
        pa.field("score", pa.int64()),  # as `links.karma_of` reads it; for a listed link at least `links.karma`
        pa.field("score_max", pa.int64()),  # of its submissions; the three are null for a link that was only listed
        pa.field("score_sum", pa.int64()),
        pa.field("score_first", pa.int64()),  # of the earliest
        pa.field("listed", pa.bool_()),  # whether a list of addresses names it, which counts as enough karma
        pa.field("created", pa.int64()),  # of the earliest; null for a link that was only listed
        pa.field("submissions", pa.list_(SUBMISSION)),
        pa.field("host_shards", pa.int32()),  # over how many shards the host is spread
        pa.field("outcome", pa.string()),
    ]
)

# A response in somebody's WARC file, on its way to the shard of its link.
POINTERS = pa.schema(
    [
        pa.field("doc_id", pa.string()),
        pa.field("final_url", pa.string()),
        pa.field("via", pa.list_(pa.string())),  # addresses of the redirects on the way there; null: not known
        pa.field("status", pa.int32()),
        pa.field("content_type", pa.string()),
        pa.field("warc", pa.string()),  # file, from `pages/`; a whole path where it lies elsewhere
        pa.field("offset", pa.int64()),  # bytes
        pa.field("length", pa.int64()),  # bytes, compressed; 0 = unknown
        pa.field("sha256", pa.string()),  # of the body as transferred
        pa.field("opt_outs", pa.list_(pa.string())),
        pa.field("outcome", pa.string()),
    ]
)

# How the visit of a link ended in one segment of a crawl: with a page or a reason, or with what is left to do.
SEGMENT = pa.schema(
    [
        *POINTERS,
        pa.field("host", pa.string()),  # of the link
        pa.field("step", pa.int32()),  # how often it had been handed on before
        pa.field("errand", pa.string()),  # JSON: what is left to do; "" where the visit has ended
    ]
)

# A visit that waits in the queue of a shard: as in SEGMENT, its outcome is open.
QUEUE = pa.schema([*SEGMENT, pa.field("place", pa.float64())])  # of the link among those of its host, in [0, 1)

PAGES = pa.schema([pa.field("url", pa.string()), pa.field("host", pa.string()), *POINTERS])

# A capture in a WARC file that exists, on its way to the shard of its address; or a request that is not GET.
CAPTURES = pa.schema(
    [
        *POINTERS,
        pa.field("kind", pa.string()),  # response, revisit; head: a revisit whose own head says all; request
        pa.field("location", pa.string()),  # the address that a redirect leads to or a revisit refers to, else ""
        pa.field("captured", pa.timestamp("us")),  # UTC; null = unknown
        pa.field("record_id", pa.string()),
        pa.field("concurrent_to", pa.list_(pa.string())),  # ids of records of the same exchange
        pa.field("digest", pa.string()),  # of the payload, as `sha1:` and hexadecimal digits
        pa.field("refers_to", pa.string()),  # id of a revisit's original
        pa.field("refers_date", pa.timestamp("us")),  # when that was captured
    ]
)

# The same in the table of one file.
INDEXED = pa.schema([*CAPTURES, pa.field("host", pa.string())])  # of the address

# By which id or digest a capture may be asked for, and its address; "": somebody asks.
NAMES = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("url", pa.string()),
        pa.field("is_page", pa.bool_()),
        pa.field("captured", pa.timestamp("us")),
    ]
)

# An address to look up in Common Crawl's index: a link in canonical form or as posted (sql/commoncrawl_pages.sql).
WANTED = pa.schema(
    [
        pa.field("doc_id", pa.string()),
        pa.field("url_surtkey", pa.string()),
        pa.field("address", pa.string()),  # without scheme and www.
        pa.field("posted", pa.timestamp("us")),  # UTC; null = unknown
    ]
)

# What the index knows of a link's best capture; all but `doc_id` as in Common Crawl's own table.
MATCHES = pa.schema(
    [
        pa.field("doc_id", pa.string()),
        pa.field("url_surtkey", pa.string()),
        pa.field("url", pa.string()),
        pa.field("fetch_time", pa.timestamp("us")),  # UTC
        pa.field("fetch_status", pa.int16()),
        pa.field("content_digest", pa.string()),
        pa.field("warc_filename", pa.string()),
        pa.field("warc_record_offset", pa.int64()),  # bytes
        pa.field("warc_record_length", pa.int64()),
        pa.field("crawl", pa.string()),
        pa.field("subset", pa.string()),
    ]
)

CORPUS = pa.schema(
    [
        pa.field("url", pa.string()),
        pa.field("doc_id", pa.string()),
        pa.field("host", pa.string()),
        pa.field("title", pa.string()),
        pa.field("text", pa.string()),
        pa.field("language", pa.string()),
        pa.field("words", pa.int64()),
        pa.field("score", pa.int64()),
        pa.field("created", pa.int64()),
        pa.field("subreddits", pa.list_(pa.string())),
        pa.field("copied_words", pa.int64()),  # in paragraphs that stand in many documents; null: not looked for
    ]
)

# What the corpus decided about one document, and on what grounds.
DECISIONS = pa.schema(
    [
        pa.field("doc_id", pa.string()),
        pa.field("outcome", pa.string()),
        pa.field("rule", pa.string()),  # the setting that decided; "against" and the mark of the other corpus
        pa.field("value", pa.float64()),  # what the document has
        pa.field("threshold", pa.float64()),  # what it should have had
        pa.field("keeper", pa.string()),  # doc_id of the document it lost to, there where rule names another corpus
    ]
)

REMOVED = pa.schema([pa.field("url", pa.string()), pa.field("host", pa.string()), *DECISIONS])


def documents_schema(permutations: int, signals: Mapping[str, Any]) -> pa.Schema:
    """The columns of `documents`: the text, one column a signal (name to Arrow type), the MinHash signature."""
    return pa.schema(
        [
            pa.field("url", pa.string()),
            pa.field("doc_id", pa.string()),
            pa.field("host", pa.string()),
            pa.field("final_url", pa.string()),
            pa.field("title", pa.string()),
            pa.field("text", pa.string()),
            pa.field("engine", pa.string()),
            *(pa.field(name, kind) for name, kind in signals.items()),
            pa.field("text_hash", pa.binary(16)),
            pa.field("signature", pa.list_(pa.uint32(), permutations)),
            pa.field("outcome", pa.string()),
        ]
    )


def pack(table: pa.Table) -> Iterator[bytes]:
    """Arrow streams of at most PARCEL_BYTES (a single larger row goes alone), in row order."""
    if table.num_rows == 0:
        return
    pieces = max(1, -(-table.nbytes // PARCEL_BYTES))
    step = max(1, table.num_rows // pieces)
    for start in range(0, table.num_rows, step):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=PACKED) as writer:
            writer.write_table(table.slice(start, step))
        yield sink.getvalue().to_pybytes()


def unpack(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """One table of all that crossed, in the order it comes: whoever gathers sorts. Nothing came: no rows."""
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()


def scatter(table: pa.Table, partitions: Sequence[int] | NDArray[np.integer]) -> Iterator[Block]:
    """A table on its way, whose row i belongs to partition `partitions[i]`; nothing of one without rows."""
    if table.num_rows:
        yield np.asarray(partitions).astype(np.int32), table


def in_runs(tables: Iterable[pa.Table], limit_bytes: int) -> Iterator[pa.Table]:
    """The same rows in fewer tables: tables are put together until they reach `limit_bytes`."""
    held: list[pa.Table] = []
    size = 0
    for table in tables:
        held.append(table)
        size += table.nbytes
        if size >= limit_bytes:
            yield pa.concat_tables(held)
            held, size = [], 0
    if held:
        yield pa.concat_tables(held)


def parquet() -> Any:
    """Arrow's Parquet, imported by who reads or writes a file: `--help` need not pay for it."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    return pq


def write_parquet(file: HashingFile, tables: Iterable[pa.Table], schema: pa.Schema, group_rows: int = ROW_GROUP) -> int:
    """Write tables as one Parquet file, zstd; how many rows. No row group is empty: `datasets` 5.2 reads none such."""
    rows = 0
    with parquet().ParquetWriter(file, schema, compression="zstd") as writer:
        for table in tables:
            if table.num_rows:
                writer.write_table(table, row_group_size=group_rows)
            rows += table.num_rows
    return rows


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole Parquet shard, or the columns named."""
    with parquet().ParquetFile(path) as file:
        return file.read(columns=list(columns) if columns is not None else None)


def iterate_parquet(
    path: Path, columns: Sequence[str] | None = None, rows: int = ROW_GROUP
) -> Iterator[pa.RecordBatch]:
    """The batches of a Parquet shard, at most `rows` at a time."""
    with parquet().ParquetFile(path) as file:
        yield from file.iter_batches(rows, columns=list(columns) if columns is not None else None)


def rows_at(path: Path, rows: NDArray[np.integer], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Columns of a Parquet shard at ascending rows, in their order; only row groups that hold one of them are read."""
    with parquet().ParquetFile(path) as file:
        starts = np.cumsum([0, *(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))])
        groups = np.searchsorted(starts, rows, side="right") - 1
        for group in np.unique(groups).tolist():
            inside = rows[groups == group].astype(np.int64) - starts[group]
            yield file.read_row_group(group, columns=list(columns)).select(list(columns)).take(inside)


def rows_with(path: Path, key: str, values: Iterable[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Columns of the rows of a Parquet shard, sorted by `key`, whose key is one of some values, in their order.

    Of a row group that cannot hold one, by its least and greatest key, nothing is read; of the others the key first.
    """
    wanted = sorted(set(values))
    sought = pa.array(wanted, pa.string())
    with parquet().ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            if may_hold(file.metadata.row_group(group), key, wanted):
                hits = pc.is_in(file.read_row_group(group, columns=[key])[key], value_set=sought)
                if pc.any(hits).as_py():
                    yield file.read_row_group(group, columns=list(columns)).select(list(columns)).filter(hits)


def may_hold(group: Any, key: str, wanted: Sequence[str]) -> bool:
    """Whether the statistics of a row group leave it open that it holds one of some keys, ascending."""
    chunks = (group.column(place) for place in range(group.num_columns))
    known = next(chunk for chunk in chunks if chunk.path_in_schema == key).statistics
    if known is None or not known.has_min_max:
        return True
    place = bisect_left(wanted, known.min)
    return place < len(wanted) and wanted[place] <= known.max
