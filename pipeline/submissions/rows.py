"""Submissions: what every source gives, and by which rules a row of any source is one.

Choice: one frozen type for a usual row, decoded and checked in a single step, and one as loose as the sources of 20
years are, made usual by rules that all forms share. Cost: an odd row is read twice. Alternative: a reader with its own
rules for each form, so that a CSV export and the dump it was made from would disagree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pipeline.shards.outcomes import Outcome
from pipeline.urls import LONGEST_POSTED

LATEST_UTC, HIGHEST_SCORE = 2**32 - 1, 2**31 - 1  # seconds and points; beyond them a value is damage, not data

Name = Annotated[str, Meta(max_length=64)]
Number = int | float | Name
Flag = bool | int | Name
Karma = Annotated[int, Meta(ge=-HIGHEST_SCORE, le=HIGHEST_SCORE)]
Time = Annotated[int, Meta(ge=0, le=LATEST_UTC)]
Block = tuple[list["Submission"], Counter[Outcome]]


class Submission(msgspec.Struct, frozen=True, gc=False):
    """A link post: id in base 36 without `t3_`, address as posted, score (karma), seconds since 1970, UTC.

    An address of a plain list has no post: its id and subreddit are empty, score and time None.
    """

    id: Name
    url: str
    score: Karma | None
    created_utc: Time | None
    subreddit: Name
    over_18: bool


class UsualRow(Submission, frozen=True, gc=False):
    """A row as nearly all are, decoded and checked in one step; all other fields are skipped undecoded.

    It is given as the submission it is where nothing of it changes, so its fields count, not its type.
    """

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    score: Karma
    created_utc: Time
    is_self: bool


class OddRow(msgspec.Struct, gc=False):
    """The fields of a row as loose as 20 years of dumps and exports are."""

    id: Name | None = None
    name: Name | None = None
    url: str | None = None
    score: Number | None = None
    created_utc: Number | None = None
    subreddit: Name | None = None
    over_18: Flag | None = None
    is_self: Flag | None = None


FIELDS = OddRow.__struct_fields__
FLAGS: dict[Any, bool] = {
    **dict.fromkeys((None, False, "false", "False", "FALSE", "0"), False),
    **dict.fromkeys((True, "true", "True", "TRUE", "1"), True),
}


def submission_of(row: UsualRow) -> Submission | Outcome:
    """The submission of a row, or why it is none: SELF_POST, BAD_LINE (no id) or BAD_URL."""
    if row.is_self:
        return Outcome.SELF_POST
    key = row.id.removeprefix("t3_")
    url = posted_url(row.url)
    if not key:
        return Outcome.BAD_LINE
    if not url or len(url) > LONGEST_POSTED:
        return Outcome.BAD_URL
    return Submission(key, url, row.score, row.created_utc, row.subreddit, row.over_18)


def usual(row: OddRow) -> UsualRow:
    """A row with fields missing, null or of another type, made usual; a usual row as it is.

    A missing score is 0: it proves no karma. The id may stand in `name` alone. Numbers and flags may be strings, as
    BigQuery exports them. Raises ValueError or KeyError (no such flag); a date must be there.
    """
    return UsualRow(
        id=row.id or row.name or "",
        url=row.url or "",
        score=whole(row.score or 0, -HIGHEST_SCORE, HIGHEST_SCORE),
        created_utc=whole(row.created_utc, 0, LATEST_UTC),
        subreddit=row.subreddit or "",
        over_18=FLAGS[row.over_18],
        is_self=FLAGS[row.is_self],
    )


def whole(value: int | float | str | None, low: int, high: int) -> int:
    """A number of any spelling, cut to an integer within [low, high]. Raises ValueError."""
    if type(value) is not int:
        value = float("nan" if value is None else value)
    if not low <= value <= high:  # also NaN
        raise ValueError("missing or out of range")
    return int(value)


def posted_url(url: str) -> str:
    """The address that the poster gave.

    Reddit's API replaces `&`, `<` and `>` in every string by entities (reddit.com/dev/api: "response body encoding"),
    and dumps keep that; links into Reddit may be bare paths.
    """
    if "&" in url:
        url = url.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    url = url.strip()
    return f"https://www.reddit.com{url}" if url[:1] == "/" and url[:2] != "//" else url


def block_of(found: Iterable[Submission | Outcome]) -> Block:
    """Rows, or why they are none, as a block: the submissions, and a counter of the fates of all.

    The counter names KEPT (the submissions given), SELF_POST, BAD_URL or BAD_LINE for every row.
    """
    every = list(found)
    kept = [row for row in every if isinstance(row, Submission)]
    fates = Counter(row for row in every if not isinstance(row, Submission)) if len(kept) < len(every) else Counter()
    if kept:
        fates[Outcome.KEPT] = len(kept)
    return kept, fates


def joined(blocks: Iterable[Block], rows: int) -> Iterator[Block]:
    """The same rows in blocks of at least `rows` (>= 1) rows, the last one aside: small blocks are put together."""
    kept: list[Submission] = []
    fates: Counter[Outcome] = Counter()
    for more, found in blocks:
        kept += more
        fates.update(found)
        if fates.total() >= rows:
            yield kept, fates
            kept, fates = [], Counter()
    if fates.total():
        yield kept, fates
