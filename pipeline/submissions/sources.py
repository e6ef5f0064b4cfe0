"""Where submissions come from: a file of any kind, told by its suffix, as blocks of rows whose fates add up.

Choice: one reader a kind, all with one signature, in one table. Cost: a wrong suffix is an error, though the content
could be guessed. Alternative: guess, and read a truncated Parquet file as a list of addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.shards.outcomes import InputError
from pipeline.submissions.dumps import read_dump
from pipeline.submissions.exports import read_csv, read_list, read_table
from pipeline.submissions.forms import FORMS
from pipeline.submissions.rows import Block

Reader = Callable[[Path, int], Iterator[Block]]

COMPRESSIBLE: dict[str, Reader] = {
    ".ndjson": read_dump, ".jsonl": read_dump, ".json": read_dump, ".csv": read_csv, ".tsv": read_csv,
    ".txt": read_list,
}  # fmt: skip
WHOLE: dict[str, Reader] = {".parquet": read_table}


def reader_of(path: Path) -> Reader:
    """The reader of a file: by its suffix, before that of its compression. What is only compressed is a dump.

    Raises InputError: an unknown suffix, or one that is not read compressed.
    """
    suffix = path.suffix.lower()
    if suffix in FORMS:
        inner = Path(path.stem).suffix.lower()
        if inner in WHOLE:
            raise InputError(f"{path}: a {inner} file is not read through {suffix}; decompress it first")
        return COMPRESSIBLE.get(inner, read_dump)
    reader = (COMPRESSIBLE | WHOLE).get(suffix)
    if reader is None:
        known = " ".join([*FORMS, *COMPRESSIBLE, *WHOLE])
        raise InputError(f"{path}: unknown kind of submissions; known suffixes: {known}")
    return reader


def read_submissions(path: Path, rows: int) -> Iterator[Block]:
    """Blocks of a file in its order: the submissions of at most `rows` (>= 1) rows, and the fate of each row.

    Raises InputError: an unknown suffix, and what the reader of its kind raises.
    """
    return reader_of(path)(path, rows)
