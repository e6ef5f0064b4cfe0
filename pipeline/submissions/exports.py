"""Exports of submissions as tables, Parquet or CSV with Reddit's field names, and plain lists of addresses.

Choice: the same rules a row as for dumps (`rows.usual`); missing columns are missing fields. Parquet is read a row
group at a time and only the columns wanted; CSV by Python's own reader (see `delimited`), with a header. Cost: about
2 µs a row. Alternative: pyarrow's CSV reader, which guesses types and gives up the file at the first row it dislikes.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.shards import progress, storage
from pipeline.shards.outcomes import InputError, Outcome
from pipeline.submissions.delimited import plain_name, rows_of
from pipeline.submissions.forms import LONGEST_LINE, lines_of
from pipeline.submissions.rows import FIELDS, Block, Fault, Found, batched, block_of, joined, listed, reason, row_of

BATCH_ROWS = 10_000  # held at a time, before they are joined to blocks
DAMAGE = (pa.ArrowException, OSError, ValueError)
COMMENT = re.compile(r"(?:^|\s)#.*")
NOTHING = r"\N"  # MySQL, Hive, PostgreSQL
NULLS = frozenset({"NULL", "NA"})  # databases' clients; R
UNKNOWN = frozenset({"null", "NaN", "nan", "None"})
TEXT, NUMBER, FLAG = ("id", "name", "url", "subreddit"), ("score", "created_utc"), ("over_18", "is_self")
IS = pa.types


def read_table(path: Path, rows: int) -> Iterator[Block]:
    """Blocks of a Parquet file, as `read_dump` gives those of a dump: a row is a line.

    Raises InputError: no such file, not Parquet or truncated (its end holds the index), no columns of a submission, a
    column of a type that cannot be its field, a row group that cannot be read.
    """
    return joined(map(block_of, batches_of(path)), rows)


def batches_of(path: Path) -> Iterator[Iterator[Found]]:
    """The rows of a Parquet file, batch by batch. Raises InputError."""
    try:
        file = pq.ParquetFile(storage.local(path), page_checksum_verification=True)
    except DAMAGE as error:
        raise InputError(f"{path}: no whole Parquet file: {reason(error)}; fetch it again") from None
    with file:
        columns = wanted(path, file.schema_arrow.names)
        for field, name in columns.items():
            check_type(path, field, file.schema_arrow.field(name))
        first = 1
        for group in range(file.num_row_groups):
            try:
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(columns.values())):
                    yield map(row_at, dicts_of(plain(batch, columns)), count(first))
                    first += batch.num_rows
                progress.advance(progress.BYTES, storage.size_of(path) // file.num_row_groups)
            except DAMAGE as error:
                where = f"row group {group + 1} of {file.num_row_groups}"
                raise InputError(f"{path}: damaged in {where}: {reason(error)}; fetch it again") from None


def check_type(path: Path, field: str, column: pa.Field) -> None:
    """Raise InputError unless the values of a column can be those of the field."""
    kind = column.type.value_type if IS.is_dictionary(column.type) else column.type
    text = IS.is_string(kind) or IS.is_large_string(kind) or IS.is_string_view(kind) or is_bytes(kind)
    number = IS.is_integer(kind) or IS.is_floating(kind) or IS.is_decimal(kind)
    time = field == "created_utc" and (IS.is_timestamp(kind) or IS.is_date(kind))
    boolean = field in FLAG and IS.is_boolean(kind)
    if not (text or IS.is_null(kind) or (field not in TEXT and (number or time or boolean))):
        kinds = {"created_utc": "a time, a number or text", "score": "a number or text"}
        wanted_kind = "text" if field in TEXT else kinds.get(field, "true or false")
        raise InputError(f"{path}: column '{column.name}' is {column.type}; wanted {wanted_kind}")


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values are bytes that nobody has called text, as ClickHouse, Impala and old Spark write strings."""
    return bool(
        IS.is_binary(kind) or IS.is_large_binary(kind) or IS.is_binary_view(kind) or IS.is_fixed_size_binary(kind)
    )


def plain(batch: pa.RecordBatch, columns: Mapping[str, str]) -> pa.RecordBatch:
    """The fields of a batch under Reddit's names, as text, numbers, booleans, and whole seconds since 1970.

    NaN is null, as pandas and fastparquet mean it. Whether bytes are UTF-8, `dicts_of` sees.
    """
    found = []
    for name in columns.values():
        column = batch.column(name)
        if IS.is_dictionary(column.type):
            column = column.dictionary_decode()
        if IS.is_timestamp(column.type) or IS.is_date(column.type):
            column = column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
        elif IS.is_decimal(column.type):
            column = column.cast(pa.float64())
        elif is_bytes(column.type):
            column = column.cast(pa.large_string(), safe=False)
        elif IS.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        found.append(column)
    return pa.record_batch(found, names=list(columns))


def dicts_of(batch: pa.RecordBatch) -> list[dict[str, Any] | None]:
    """The rows of a batch; None for a row that is not UTF-8."""
    try:
        found: list[dict[str, Any] | None] = batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [None]
        found = [row_dict for row in range(batch.num_rows) for row_dict in dicts_of(batch.slice(row, 1))]
    return found


def row_at(fields: dict[str, Any] | None, number: int) -> Found:
    """A row of a table, or its fault with its place."""
    found = Fault(Outcome.BAD_LINE, "not UTF-8") if fields is None else row_of(fields)
    return found._replace(where=f"row {number:,}") if isinstance(found, Fault) else found


def read_csv(path: Path, rows: int) -> Iterator[Block]:
    """Blocks of a CSV file with a header (see `delimited`), compressed or not, as `read_dump` gives those of a dump.

    Between its fields stands whichever of DELIMITERS makes the header name an address, or what Excel's line `sep=`
    says. A row with more or fewer fields than the header is a BAD_LINE. Raises InputError: as `read_dump`, for a header
    without the columns of a submission, for a file that ends within quotes, and for a field or line longer than
    LONGEST_LINE, where quotes stand open.
    """
    return joined(batched(csv_rows(path), BATCH_ROWS), rows)


def csv_rows(path: Path) -> Iterator[Found]:
    """What each row of a CSV file is. Raises InputError."""
    columns: dict[str, str] = {}
    header: list[str] = []
    for begin, end, row in rows_of(text_lines(path), LONGEST_LINE):
        if isinstance(row, csv.Error):
            if "unexpected end" in str(row):
                where = f"{path}: truncated: ends at line {end:,} within quotes, open since line {begin:,}"
                raise InputError(f"{where}; fetch the file again")
            if "field larger" in str(row):
                raise InputError(f"{path}: {too_long(begin)}")
            yield Fault(Outcome.BAD_LINE, reason(row), f"line {begin:,}")
        elif not header:
            header, columns = row, {name: field for field, name in wanted(path, row).items()}
        elif len(row) == len(header):
            named = zip(header, row, strict=True)
            found = row_of({columns[name]: value_of(columns[name], value) for name, value in named if name in columns})
            yield found._replace(where=f"line {begin:,}") if isinstance(found, Fault) else found
        else:
            yield Fault(Outcome.BAD_LINE, f"{len(row)} fields, the header has {len(header)}", f"line {begin:,}")


def value_of(field: str, text: str) -> str | None:
    """The value of a field as a database, a data frame or R writes it into text; None for nothing.

    A subreddit may have any name, and an id that is all lower case may be any word.
    """
    if not text or text == NOTHING:
        return None
    spelt = NULLS | UNKNOWN if field in (*NUMBER, *FLAG) else NULLS
    return None if text in spelt and field != "subreddit" else text


def too_long(line: int) -> str:
    """What is wrong with a file that has no end of a field."""
    return f"line {line:,} begins a field of over {LONGEST_LINE >> 20} MiB; is there a quote that nothing closes?"


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a text file with their line feeds; a byte that is not UTF-8 becomes a lone surrogate.

    Raises InputError for a line that is too long: where it would end, nobody knows.
    """
    number = 1
    for run in lines_of(path):
        if run is None:
            raise InputError(f"{path}: {too_long(number)}")
        for line in run.split(b"\n"):
            yield line.decode("utf-8", "surrogateescape") + "\n"
            number += 1


def wanted(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Field -> the name of its column, in any case. Raises InputError: none for what names a submission.

    An address and no other field of FIELDS is enough: such a table is a list.
    """
    found = {plain_name(name): name for name in reversed(names)}
    columns = {field: field if field in names else found[field] for field in FIELDS if field in found}
    for field, name in columns.items():
        if names.count(name) > 1:
            raise InputError(f"{path}: {names.count(name)} columns are named '{name}'; which is meant by {field}?")
    if columns.keys() != {"url"}:
        for needed in (("id", "name"), ("url",), ("created_utc",)):
            if not set(needed) & columns.keys():
                fields = ", ".join(FIELDS)
                raise InputError(
                    f"{path}: no column '{needed[0]}'; wanted Reddit's field names: {fields}; or url alone"
                )
    return columns


def read_list(path: Path, rows: int) -> Iterator[Block]:
    """Blocks of a plain list, one address a line, compressed or not; blank lines are none, nor what follows ` #`.

    Nobody says with how much karma an address was posted, when or where: see `Submission`, and `rows.listed` for what
    may stand around one. A line that is not UTF-8 is a BAD_LINE, one that no address could be so long as a BAD_URL.
    Raises InputError as `read_dump` does.
    """
    return joined(blocks_of(path), rows)


def blocks_of(path: Path) -> Iterator[Block]:
    """The same in blocks as they come."""
    number = 1
    for lines in lines_of(path):
        yield block_of(read_addresses(lines, number))
        number += 1 + (lines.count(b"\n") if lines else 0)


def read_addresses(lines: bytes | None, first: int = 1) -> Iterator[Found]:
    """What each of some whole lines of a list is, the first of this number."""
    if lines is None:
        yield Fault(Outcome.BAD_LINE, f"longer than {LONGEST_LINE >> 20} MiB", f"line {first:,}")
        return
    for number, line in enumerate(lines.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), first):
        text = COMMENT.sub("", line.decode("utf-8", "surrogateescape")).strip().removeprefix("\ufeff")
        if text:
            found = listed(text)
            yield found._replace(where=f"line {number:,}") if isinstance(found, Fault) else found
