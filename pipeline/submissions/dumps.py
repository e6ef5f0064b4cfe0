"""Dumps of Reddit submissions, one JSON object a line, as blocks of typed rows whose fates add up.

Choice: msgspec decodes the few fields wanted, all lines of a mebibyte in one call, and only where that call refuses the
lines are read one by one. Cost: one odd line makes its mebibyte slow. Alternative: pandas or polars readers, which want
a whole file in memory and stop at the first bad line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from pipeline.shards.outcomes import Outcome
from pipeline.submissions.forms import lines_of
from pipeline.submissions.rows import (
    Block,
    OddRow,
    Submission,
    UsualRow,
    block_of,
    joined,
    submission_of,
    usual,
)
from pipeline.urls import LONGEST_POSTED

USUAL = msgspec.json.Decoder(UsualRow)
ODD = msgspec.json.Decoder(OddRow)


def read_dump(path: Path, rows: int) -> Iterator[Block]:
    """Blocks of a dump in file order: the submissions of about `rows` lines (see `joined`), and the fate of each line.

    White space alone is no line. Frames of one file may follow each other, as `cat` makes.

    Raises InputError: no such file, a truncated or damaged file, with the compressed offset reached. Blocks before the
    damage have been given by then. A file cut exactly between two frames, or a plain file cut between two lines, is
    whole by its format and cannot be told.
    """
    return joined(map(read_lines, lines_of(path)), rows)


def read_lines(lines: bytes | None) -> Block:
    """Some whole lines as a block; None is a line too long to be one."""
    if lines is None:
        return [], Counter({Outcome.BAD_LINE: 1})
    found = usual_lines(lines)
    if found is None:
        return block_of(read_line(line) for line in lines.split(b"\n") if line and not line.isspace())
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
    kept, fates = block_of(links)
    if len(links) < len(found):
        fates[Outcome.SELF_POST] = len(found) - len(links)
    return kept, fates


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


def read_line(line: bytes) -> Submission | Outcome:
    """The submission of one line of JSON, or why it is none: BAD_LINE, SELF_POST or BAD_URL."""
    try:
        found = USUAL.decode(line)
    except (ValueError, RecursionError):
        try:
            found = read_odd_line(line)
        except (ValueError, KeyError, RecursionError):
            return Outcome.BAD_LINE
    return submission_of(found)


def read_odd_line(line: bytes) -> UsualRow:
    """A line with fields missing, null or of another type, by the rules of `usual`.

    Raises ValueError, KeyError or RecursionError.
    """
    return usual(ODD.decode(line))
