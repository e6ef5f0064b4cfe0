r"""Rows of a text file with something between its fields: RFC 4180, and what exporters do besides.

Choice: Python's own reader, strict, whose rules are known to the character; where a row is none by RFC 4180 and has a
backslash, it is read once more with that as its escape, as Spark (`\"`), MySQL and Hive write. So `"C:\"` of a writer
that knows no escapes stays what it is. Cost: the lines of the row at hand are kept, 0.1 µs each. Alternative: to ask
for the dialect, which nobody knows of a file that somebody else has written.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from itertools import chain

DELIMITERS = ",;\t|"
AFTER_CR = re.compile(r"(?<=\r)(?!\n)")
SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # Excel's first line, which says what stands between fields

Row = tuple[int, int, list[str] | csv.Error]  # the numbers of its first and last line; its fields, or why it has none


def rows_of(lines: Iterator[str], longest: int) -> Iterator[Row]:
    """The rows of a file by its lines, each with its line feed; the header is the first one. Blank lines are none.

    No field is longer than `longest` characters. A row that has another number of fields than the header is given as
    it is.
    """
    first = next(lines, "")
    if "\r" in first.removesuffix("\r\n"):  # in no name of a column: lines end so, as Excel's "CSV (Macintosh)" has it
        lines = (piece for line in chain([first], lines) for piece in AFTER_CR.split(line))
        first = next(lines)
    number = 1
    match = SEPARATOR.fullmatch(first)
    if match:
        first, number = next(lines, ""), 2
    csv.field_size_limit(longest)  # of the whole process; Python's own is 131,072 characters
    yield from Reading(chain([first], lines), match[1] if match else delimiter_of(first), number).rows()


def delimiter_of(first: str) -> str:
    """What stands between the fields of a file whose header begins with this line; a comma if nothing tells."""
    for delimiter in DELIMITERS:
        if "url" in map(plain_name, next(csv.reader([first], delimiter=delimiter), [])):
            return delimiter
    return ","


def plain_name(name: str) -> str:
    """The name of a column without white space around it, in lower case."""
    return name.strip().lower()


class Reading:
    """A file while it is read: the lines of the row at hand, those that were taken and given back, and the others."""

    def __init__(self, lines: Iterator[str], delimiter: str, number: int) -> None:
        self.lines, self.delimiter, self.number = lines, delimiter, number
        self.held: list[str] = []
        self.given_back: deque[str] = deque()

    def taken(self) -> Iterator[str]:
        """The next lines; each is of the row at hand."""
        while line := self.given_back.popleft() if self.given_back else next(self.lines, ""):
            self.held.append(line)
            yield line

    def rows(self) -> Iterator[Row]:
        """All rows."""
        reader, width = self.reader(), 0
        while True:
            found: list[str] | csv.Error
            try:
                found = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                found = error
            odd = isinstance(found, csv.Error) or (found and width and len(found) != width)
            if odd and any("\\" in line for line in self.held):
                found, reader = self.with_escapes(width) or found, self.reader()
            if found:
                yield self.number, self.number + len(self.held) - 1, found
                width = width or (0 if isinstance(found, csv.Error) else len(found))
            self.number += len(self.held)
            self.held.clear()

    def reader(self) -> Iterator[list[str]]:
        """A reader of RFC 4180 from here on."""
        return csv.reader(self.taken(), delimiter=self.delimiter, strict=True)

    def with_escapes(self, width: int) -> list[str] | None:
        """The row at hand as a writer means it that knows a backslash; None where it is none so either.

        Lines that were taken for it and belong to the next rows are given back.
        """
        before = list(self.held)
        nothing = re.compile(rf"(^|{re.escape(self.delimiter)})\\N(?=[{re.escape(self.delimiter)}\r\n])")
        lines = (nothing.sub(r"\1\\\\N", line) for line in chain(before, self.taken()))  # no escaped N: it is null
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True, escapechar="\\")
        try:
            row: list[str] | None = next(reader)
        except csv.Error:
            row = None
        if row and width and len(row) != width:
            row = None
        own = reader.line_num if row else len(before)
        self.given_back.extendleft(reversed(self.held[own:]))
        del self.held[own:]
        return row
