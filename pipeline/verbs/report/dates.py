"""When pages were captured: by the dates of the records in which the first and the last page of each archive lie.

Choice: two records of an archive are read, of MOST_ARCHIVES archives at most; writers of archives append, so these tell
of all. Cost: an archive put together out of order may hold an earlier or a later page. Alternative: a date in every row
of `pages`, which nothing else asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.fetch.captures import moment
from pipeline.fetch.readback import read_record
from pipeline.shards.locations import is_given, location_of, pointed_at
from pipeline.shards.outcomes import WebTextError

MOST_ARCHIVES = 500  # read: a second or two
HEAD_BYTES = 1 << 16  # of a record's block that are read


@dataclass(frozen=True)
class Captured:
    """The first and the last date (UTC) found, in how many archives, and of how many; none found: both None."""

    first: date | None
    last: date | None
    read: int
    archives: int


def captured(root: Path, archives: Sequence[dict[str, Any]]) -> Captured:
    """When the pages of a working directory were captured. `archives`: the answer to sql/report/archives.sql."""
    step = -(-len(archives) // MOST_ARCHIVES) or 1
    dates = [found for archive in archives[::step] if (found := sorted(dates_in(root, archive)))]
    every = sorted(day for days in dates for day in days)
    return Captured(every[0] if every else None, every[-1] if every else None, len(dates), len(archives))


def dates_in(root: Path, archive: dict[str, Any]) -> Iterator[date]:
    """The dates of two records of an archive; none of one that is not on this machine, or not what it was."""
    path = pointed_at(archive["warc"], root / "pages")
    if is_given(archive["warc"]) and location_of(path) is not None:  # somebody else's store: not asked for a date
        return
    for offset in sorted({archive["first_offset"], archive["last_offset"]}):
        try:
            found = moment(read_record(path, offset, None, HEAD_BYTES).fields.get("warc-date", ""))
        except WebTextError:
            continue
        if found is not None:
            yield found.date()
