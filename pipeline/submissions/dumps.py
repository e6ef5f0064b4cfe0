"""Dumps of Reddit submissions, one JSON object a line or an array of them, as blocks of typed rows whose fates add up.

Choice: msgspec decodes the few fields wanted, all lines of a mebibyte in one call, and only where that call refuses the
lines are read one by one. Cost: one odd line makes its mebibyte slow. Alternative: pandas or polars readers, which want
a whole file in memory and stop at the first bad line.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np

from pipeline.shards.outcomes import Outcome
from pipeline.submissions.arrays import LOOSE, elements, has_lines, is_array, lines_of_array, loose
from pipeline.submissions.forms import LONGEST_LINE, text_of, whole_lines
from pipeline.submissions.rows import (
    Block,
    Fault,
    Found,
    OddRow,
    UsualRow,
    batched,
    block_of,
    joined,
    reason,
    row_of,
    submission_of,
    usual,
)
from pipeline.urls import LONGEST_POSTED

USUAL = msgspec.json.Decoder(UsualRow)
ODD = msgspec.json.Decoder(OddRow)
TOO_DEEP = Fault(Outcome.BAD_LINE, reason(RecursionError()))
ELEMENTS = 1_000  # of an array that has no lines, made a block at a time


def read_dump(path: Path, rows: int) -> Iterator[Block]:
    """Blocks of a dump in file order: the submissions of about `rows` lines (see `joined`), and the fate of each line.

    White space alone is no line. Frames of one file may follow each other, as `cat` makes. A JSON array is read too,
    see `arrays`; its elements are its lines.

    Raises InputError: no such file, a truncated or damaged file, with the compressed offset reached. Blocks before the
    damage have been given by then. A file cut exactly between two frames, or a plain file cut between two lines, is
    whole by its format and cannot be told.
    """
    return joined(blocks_of(path), rows)


def blocks_of(path: Path) -> Iterator[Block]:
    """The same in blocks as they come."""
    chunks = text_of(path)
    head = next(chunks, b"")
    chunks = chain([head], chunks)
    if is_array(head) and not has_lines(head):
        numbered = enumerate(elements(chunks, path), 1)
        found = ((row_of(fields) if fields is not None else TOO_DEEP, number) for number, fields in numbered)
        yield from batched((placed(element, f"element {number:,}") for element, number in found), ELEMENTS)
        return
    number = 1
    for lines in lines_of_array(chunks, path) if is_array(head) else whole_lines(chunks):
        block, read = read_lines(lines, number)
        yield block
        number += read


def placed(found: Found, where: str) -> Found:
    """The same row; a fault with its place."""
    return found._replace(where=where) if isinstance(found, Fault) else found


def read_lines(lines: bytes | None, first: int = 1) -> tuple[Block, int]:
    """Some whole lines as a block, and how many they are, blank ones too. `first` is the number of the first.

    None is a line too long to be one. Only where lines are not usual are they counted; others are by their rows.
    """
    if lines is None:
        return block_of([Fault(Outcome.BAD_LINE, f"longer than {LONGEST_LINE >> 20} MiB", f"line {first:,}")]), 1
    found = usual_lines(lines)
    if found is not None and not (block := usual_block(found)).faults:
        return block, len(found)
    every = lines.split(b"\n")
    numbered = ((number, line) for number, line in enumerate(every, first) if line and not line.isspace())
    return block_of(placed(read_line(line), f"line {number:,}") for number, line in numbered), len(every)


def usual_block(found: list[UsualRow]) -> Block:
    """Usual rows as a block."""
    links = [  # a row that `submission_of` would not change is not made again, nor asked by a call of its own
        row
        if (url := row.url)[:1] == "h"
        and "&" not in url
        and url.strip() == url
        and len(url) <= LONGEST_POSTED
        and row.id[0] != "t"
        else submission_of(row)
        for row in found
        if not row.is_self
    ]
    block = block_of(links)
    if len(links) < len(found):
        block.fates[Outcome.SELF_POST] = len(found) - len(links)
    return block


def usual_lines(lines: bytes) -> list[UsualRow] | None:
    """One row a line, if all lines are usual; otherwise None.

    msgspec takes objects side by side, or one over several lines, as well. Here every line feed stands between `}` and
    `{`, which no single JSON text allows (RFC 8259: a comma between values, no raw line feed in a string), so each line
    holds at least one whole object; and there are as many objects as lines.
    """
    if not (lines.startswith(b"{") and lines.endswith(b"}")):
        return None
    octets = np.frombuffer(lines, np.uint8)
    feeds = np.flatnonzero(octets == ord("\n"))
    if not ((octets[feeds - 1] == ord("}")).all() and (octets[feeds + 1] == ord("{")).all()):
        return None
    try:
        found = USUAL.decode_lines(lines)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, another type, nested without end
        return None
    return found if len(found) == len(feeds) + 1 else None


def read_line(line: bytes) -> Found:
    """The submission of one line of JSON, or why it is none: SELF_POST, BAD_URL, or a Fault.

    What the fast decoders refuse, Python's own may take: NaN, half of an emoji, a raw control in a field that nobody
    reads. RFC 8259, section 8.2, leaves such to the reader, and writers that cut titles make them.
    """
    try:
        return submission_of(USUAL.decode(line))
    except (ValueError, RecursionError):
        pass
    try:
        return submission_of(usual(ODD.decode(line)))
    except (ValueError, RecursionError):
        pass
    try:
        fields = LOOSE.decode(loose(line))
    except (ValueError, RecursionError) as error:
        return Fault(Outcome.BAD_LINE, reason(error))
    return row_of(fields) if isinstance(fields, dict) else Fault(Outcome.BAD_LINE, "not a JSON object")
