"""Capture selection: of several captures of one address, the one nearest in time to the post of the link.

Choice: kept pages first, then captures that lead elsewhere, then failures; within each the nearest to the post, by the
second, as sql/commoncrawl_pages.sql has it, and of equally near ones the earlier. What is still equal is told apart by
content, so that names and order of the files decide nothing but which of two equal records is pointed at. A link whose
posts have no date (a list of addresses) gets the earliest capture, as there. Cost: all captures of an address cross the
exchange, since its links, and those that are redirected to it, differ in date. Alternative: one capture an address.

A page that asks not to be used for training counts as a page here: its asking is not undone by another day's copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from pipeline.shards.outcomes import Outcome

Row = dict[str, Any]
Order = tuple[Any, ...]
PAGE = (Outcome.KEPT, Outcome.OPTED_OUT)


def posted(created: int | None) -> datetime | None:
    """The time of a post (seconds since 1970) in UTC, without a time zone; None where it is not known."""
    return datetime.fromtimestamp(created, UTC).replace(tzinfo=None) if created else None


def by_nearness(when: datetime | None) -> Callable[[Row], Order]:
    """The key that sorts rows of CAPTURES, the one that counts for a link posted at `when` first."""

    def key(row: Row) -> Order:
        return (rank(row), *distance(row["captured"], when), *content(row), row["warc"], row["offset"])

    return key


def nearest(rows: Iterable[Row], when: datetime | None) -> list[Row]:
    """The rows of CAPTURES of one address, the one that counts for a link posted at `when` first."""
    return sorted(rows, key=by_nearness(when))


def rank(row: Row) -> int:
    """0 for a page, 1 for what leads elsewhere, 2 for a failure, 3 where the files hold nothing that says more."""
    if row["outcome"] in PAGE:
        return 0
    if leads_on(row):
        return 1
    return 3 if row["outcome"] == Outcome.NOT_IN_WARC else 2


def leads_on(row: Row) -> bool:
    """Whether the page of a capture lies in a record of another address."""
    return bool(row["location"])


def distance(captured: datetime | None, when: datetime | None) -> Order:
    """How far a capture is from a post: whole seconds, then its time; a capture without a date is the farthest."""
    if captured is None:
        return True, 0, datetime.min
    seconds = abs(captured.replace(microsecond=0) - when).total_seconds() if when else 0
    return False, seconds, captured


def content(row: Row) -> Order:
    """What tells two captures of one moment apart, but for the place where they lie."""
    status = row["status"] or 0
    return (
        row["sha256"],
        row["final_url"],
        status,
        row["content_type"],
        row["opt_outs"],
        row["location"],
        row["outcome"],
    )
