"""JSON arrays of submissions as other tools write them: an object a line, all on one line, or spread for the eye.

Choice: where the first object ends at the end of its line, an array is read as lines, as fast as a dump, and a broken
line costs itself; every other array is one text, decoded element by element. Cost: such an array ends where it is
broken, since nobody can tell where the next element begins (an object may hold another); its elements take three times
as long as lines. Alternative: to ask for lines, of whoever has 20 GB of the other form.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline.shards.outcomes import InputError
from pipeline.submissions.forms import LONGEST_LINE, whole_lines

GAP = re.compile(r"[\s,]*")
MARKS = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}"]', re.DOTALL)  # a string, or what opens and closes
CURE = "write one object a line: jq -c '.[]'"


def number(digits: str) -> int | float:
    """A whole number; one that Python would not convert (over 4,300 digits) as infinity, which is in no range."""
    return int(digits) if len(digits) < 20 else float(digits)


LOOSE = json.JSONDecoder(strict=False, parse_int=number)  # takes NaN, halves of characters and raw controls too


def is_array(head: bytes) -> bool:
    """Whether a text begins as an array."""
    return head.lstrip()[:1] == b"["


def has_lines(head: bytes) -> bool:
    """Whether the first object of an array ends where its line ends."""
    first, feed, _ = head.lstrip()[1:].lstrip().partition(b"\n")
    try:
        return bool(feed) and isinstance(LOOSE.decode(loose(first.strip().rstrip(b","))), dict)
    except (ValueError, RecursionError):
        return False


def loose(data: bytes) -> str:
    """Characters of JSON; a byte that is not UTF-8 becomes a lone surrogate, which only its own field shows."""
    return data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def lines_of_array(chunks: Iterable[bytes], path: Path) -> Iterator[bytes | None]:
    """The lines of an array with an object a line, as `whole_lines` gives those of a dump, its punctuation gone.

    As many lines as the file has, so that they can be numbered. Raises InputError: it has no end.
    """
    opened = False
    for run in whole_lines(chunks):
        bare = []
        for line in run.split(b"\n") if run else ():
            left = line.removeprefix(codecs.BOM_UTF8).strip(b" \t\r,")
            if not opened and left.startswith(b"["):  # the first line, or where files were put one after another
                opened, left = True, left[1:].lstrip()
            if opened and left.endswith(b"]"):
                opened, left = False, left[:-1].rstrip(b" \t,")
            bare.append(left)
        yield run and b"\n".join(bare)
    if opened:
        raise InputError(f"{path}: truncated: its JSON array has no end; fetch the file again")


def elements(chunks: Iterable[bytes], path: Path) -> Iterator[dict[str, Any] | None]:
    """The objects of an array in any layout; None for one that is nested deeper than Python's decoder goes.

    Raises InputError: the array has no end, or an element that is no object.

    No more than twice LONGEST_LINE is held of an element that does not end.
    """
    text, place, count, opened = "", 0, 0, False
    pieces = characters(chunks)
    while True:
        place = GAP.match(text, place).end()  # type: ignore[union-attr]  # it matches nothing as well
        mark = text[place : place + 1]
        if mark == ("]" if opened else "["):
            opened, place = not opened, place + 1
            continue
        where = f"{path}: a JSON array whose element {count + 1:,}"
        if mark and not (opened and mark == "{"):
            raise InputError(f"{where} is no object; {CURE}")
        try:
            if mark:
                value, place = LOOSE.raw_decode(text, place)
                count += 1
                yield value
                continue
        except RecursionError:
            if end := end_of(text, place):
                count, place = count + 1, end
                yield None
                continue
            if len(text) - place > LONGEST_LINE:
                raise InputError(f"{where} is nested without end; {CURE}") from None
        except ValueError as error:
            if len(text) - place > LONGEST_LINE:
                raise InputError(f"{where} cannot be read: {str(error).partition(':')[0]}; {CURE}") from None
        text, place = text[place:], 0
        more = "".join(next(pieces, "") for _ in range(1 + (len(text) >> 16)))  # twice as much, the longer it gets
        if not more and (opened or text):
            raise InputError(f"{path}: truncated or damaged: its JSON array ends in element {count + 1:,}; {CURE}")
        if not more:
            return
        text += more


def end_of(text: str, place: int) -> int:
    """Where the object ends that begins at a place; 0: not in this text."""
    depth = 0
    for mark in MARKS.finditer(text, place):
        if mark[0] == '"':  # of a string that goes on
            return 0
        depth += (mark[0] in "{[") - (mark[0] in "}]")
        if not depth:
            return mark.end()
    return 0


def characters(chunks: Iterable[bytes]) -> Iterator[str]:
    """The same text as characters; a byte that is not UTF-8 becomes a lone surrogate."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    yield from filter(None, map(decoder.decode, chunks))
    yield from filter(None, [decoder.decode(b"", final=True)])
