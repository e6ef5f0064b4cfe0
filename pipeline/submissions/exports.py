"""Exports of submissions as tables, Parquet or CSV with Reddit's field names, and plain lists of addresses.

Choice: the same rules a row as for dumps (`rows.usual`); missing columns are missing fields. Parquet is read a row
group at a time and only the columns wanted; CSV by Python's own reader, whose strictness is known to the character:
RFC 4180 with a header, quoted line feeds included. Cost: about 2 µs a row. Alternative: pyarrow's CSV reader, which
guesses types and gives up the file at the first row it dislikes.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.shards import storage
from pipeline.shards.outcomes import InputError, Outcome
from pipeline.submissions.forms import lines_of
from pipeline.submissions.rows import FIELDS, Block, OddRow, Submission, block_of, joined, submission_of, usual
from pipeline.urls import LONGEST_POSTED

BATCH_ROWS = 10_000  # held at a time, before they are joined to blocks
DAMAGE = (pa.ArrowException, OSError, ValueError)


def read_table(path: Path, rows: int) -> Iterator[Block]:
    """Blocks of a Parquet file, as `read_dump` gives those of a dump: a row is a line.

    Raises InputError: no such file, not Parquet or truncated (its end holds the index), no columns of a submission, a
    row group that cannot be read.
    """
    return joined(map(block_of, batches_of(path)), rows)


def batches_of(path: Path) -> Iterator[Iterator[Submission | Outcome]]:
    """The rows of a Parquet file, batch by batch. Raises InputError."""
    try:
        file = pq.ParquetFile(storage.local(path), page_checksum_verification=True)
    except DAMAGE as error:
        raise InputError(f"{path}: no whole Parquet file: {said(error)}; fetch it again") from None
    with file:
        columns = wanted(path, file.schema_arrow.names)
        for group in range(file.num_row_groups):
            try:
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
                    yield map(read_fields, dicts_of(batch))
            except DAMAGE as error:
                where = f"row group {group + 1} of {file.num_row_groups}"
                raise InputError(f"{path}: damaged in {where}: {said(error)}; fetch it again") from None


def dicts_of(batch: pa.RecordBatch) -> list[dict[str, Any] | None]:
    """The rows of a batch, times as whole seconds since 1970; None for a row that is not UTF-8."""
    columns = [
        column.cast(pa.timestamp("s"), safe=False).cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        for column in batch.columns
    ]
    batch = pa.record_batch(columns, names=batch.schema.names)
    try:
        found: list[dict[str, Any] | None] = batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [None]
        found = [one for row in range(batch.num_rows) for one in dicts_of(batch.slice(row, 1))]
    return found


def read_csv(path: Path, rows: int) -> Iterator[Block]:
    """Blocks of a CSV file with a header (RFC 4180), compressed or not, as `read_dump` gives those of a dump.

    A row with more or fewer fields than the header is a BAD_LINE. Raises InputError: as `read_dump`, for a header
    without the columns of a submission, and for a file that ends within quotes.
    """
    found = csv_rows(path)
    return joined(iter(lambda: block_of(islice(found, BATCH_ROWS)), ([], Counter())), rows)


def csv_rows(path: Path) -> Iterator[Submission | Outcome]:
    """What each row of a CSV file is. Raises InputError."""
    reader = csv.reader(text_lines(path), strict=True)
    header: list[str] = []
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                where = f"{path}: truncated: ends at line {reader.line_num:,}"
                raise InputError(f"{where} within quotes; fetch the file again") from None
            yield Outcome.BAD_LINE
            continue
        if not header:
            header = row
            wanted(path, header)
        elif row:
            same = len(row) == len(header)
            yield read_fields({name: value or None for name, value in zip(header, row, strict=True)} if same else None)


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a text file with their line feeds; a byte that is not UTF-8 becomes a lone surrogate."""
    for number, run in enumerate(lines_of(path)):
        lines = [b'"too long"'] if run is None else run.split(b"\n")
        for place, line in enumerate(lines):
            text = line.decode("utf-8", "surrogateescape") + "\n"
            yield text.removeprefix("\ufeff") if not (number or place) else text


def read_fields(fields: dict[str, Any] | None) -> Submission | Outcome:
    """The submission of named values, or why they are none."""
    if fields is None:
        return Outcome.BAD_LINE
    try:
        found = submission_of(usual(msgspec.convert(fields, OddRow)))
        if isinstance(found, Submission):
            (found.id + found.url + found.subreddit).encode()
    except (ValueError, KeyError):  # another type, a value that is none, not UTF-8
        return Outcome.BAD_LINE
    return found


def wanted(path: Path, names: list[str]) -> list[str]:
    """The columns to read. Raises InputError: none that names the submission, its address or its time."""
    for needed in (("id", "name"), ("url",), ("created_utc",)):
        if not set(needed) & set(names):
            raise InputError(f"{path}: no column '{needed[0]}'; wanted Reddit's field names: {', '.join(FIELDS)}")
    return [name for name in FIELDS if name in names]


def said(error: BaseException) -> str:
    """The first line of a library's message."""
    return str(error).partition("\n")[0] or type(error).__name__


def read_list(path: Path, rows: int) -> Iterator[Block]:
    """Blocks of a plain list, one address a line, compressed or not; blank lines are none.

    Nobody says with how much karma an address was posted, when or where: see `Submission`. A line that is not UTF-8 is
    a BAD_LINE, one that no address could be so long as a BAD_URL. Raises InputError as `read_dump` does.
    """
    return joined((block_of(read_addresses(lines)) for lines in lines_of(path)), rows)


def read_addresses(lines: bytes | None) -> Iterator[Submission | Outcome]:
    """What each of some whole lines of a list is."""
    if lines is None:
        yield Outcome.BAD_LINE
        return
    for line in lines.split(b"\n"):
        try:
            url = line.decode().strip().removeprefix("\ufeff")
        except UnicodeDecodeError:
            yield Outcome.BAD_LINE
            continue
        if len(url) > LONGEST_POSTED:
            yield Outcome.BAD_URL
        elif url:
            yield Submission("", url, None, None, "", False)
