"""Submissions: what every source gives, and by which rules a row of any source is one.

Choice: one frozen type for a usual row, decoded and checked in a single step, and one as loose as the sources of 20
years are, made usual by rules that all forms share. Cost: an odd row is read twice. Alternative: a reader with its own
rules for each form, so that a CSV export and the dump it was made from would disagree.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from pipeline.shards.outcomes import InputError, Outcome
from pipeline.urls import LONGEST_POSTED

LATEST_UTC, HIGHEST_SCORE = 2**32 - 1, 2**31 - 1  # seconds and points; beyond them a value is damage, not data

Name = Annotated[str, Meta(max_length=64)]
Number = int | float | Name
Flag = bool | int | float | Name
Karma = Annotated[int, Meta(ge=-HIGHEST_SCORE, le=HIGHEST_SCORE)]
Time = Annotated[int, Meta(ge=0, le=LATEST_UTC)]
MOST_FAULTS = 3  # of a file that are told of, the first ones
LONGEST_REASON = 120  # characters
# An address without its scheme: a host whose last label begins with a letter, or four numbers; a port, a path.
BARE = re.compile(r"(?:[^\s/?#:@]+\.[^\W\d_][\w-]*\.?|\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5})?(?:[/?#]\S*)?")
INVISIBLE = "\u200b\u2060\ufeff"  # without width: pages and chats leave them around an address that is copied there
AROUND = {'"': '"', "'": "'", "<": ">"}  # what may stand around an address of a list


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


class Fault(NamedTuple):
    """A row that is none, why, and where: `line 7`, or "" while nobody has said."""

    outcome: Outcome
    why: str
    where: str = ""


Found = Submission | Outcome | Fault  # what a row turns out to be


class Block(NamedTuple):
    """Rows of a source: the submissions, the fate of each row (KEPT: they), and the first MOST_FAULTS of its faults."""

    kept: list[Submission]
    fates: Counter[Outcome]
    faults: tuple[Fault, ...] = ()


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
    **dict.fromkeys((None, False, "false", "False", "FALSE", "f", "F", "0", "0.0"), False),
    **dict.fromkeys((True, "true", "True", "TRUE", "t", "T", "1", "1.0"), True),
}


def submission_of(row: UsualRow) -> Found:
    """The submission of a row, or why it is none: SELF_POST, BAD_URL, or a Fault (no id)."""
    if row.is_self:
        return Outcome.SELF_POST
    key = row.id.removeprefix("t3_")
    url = posted_url(row.url)
    if not key:
        return Fault(Outcome.BAD_LINE, "id: missing")
    if not url or len(url) > LONGEST_POSTED:
        return Outcome.BAD_URL
    return Submission(key, url, row.score, row.created_utc, row.subreddit, row.over_18)


def usual(row: OddRow) -> UsualRow:
    """A row with fields missing, null or of another type, made usual; a usual row as it is.

    A missing score is 0: it proves no karma. The id may stand in `name` alone. Numbers and flags may be strings, as
    BigQuery exports them; a time may be a date (ISO 8601; UTC, where it names no zone). Raises ValueError; a date must
    be there.
    """
    return UsualRow(
        id=row.id or row.name or "",
        url=row.url or "",
        score=whole("score", row.score or 0, -HIGHEST_SCORE, HIGHEST_SCORE),
        created_utc=whole("created_utc", seconds_of(row.created_utc), 0, LATEST_UTC),
        subreddit=row.subreddit or "",
        over_18=flag("over_18", row.over_18),
        is_self=flag("is_self", row.is_self),
    )


def whole(name: str, value: int | float | str | None, low: int, high: int) -> int:
    """A number of any spelling, cut to an integer within [low, high]. Raises ValueError."""
    if value is None:
        raise ValueError(f"{name}: missing")
    if type(value) is not int:
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"{name}: {value!r} is no number") from None
    if not low <= value <= high:  # also NaN
        raise ValueError(f"{name}: {value} is out of range")
    return int(value)


def flag(name: str, value: bool | int | float | str | None) -> bool:
    """True or false of any spelling; nothing is false. Raises ValueError."""
    try:
        return FLAGS[value]
    except KeyError:
        raise ValueError(f"{name}: {value!r} is neither true nor false") from None


def seconds_of(value: int | float | str | None) -> int | float | str | None:
    """A time as it is, but for a date in words: that as seconds since 1970. BigQuery ends it in ` UTC`."""
    if not isinstance(value, str) or "-" not in value[1:]:
        return value
    try:
        date = datetime.fromisoformat(value.strip().removesuffix(" UTC"))
    except ValueError:
        return value
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def row_of(fields: Mapping[str, Any]) -> Found:
    """The submission of named values of any type, or why they are none; fields that are not wanted are not looked at.

    A row that names an address, and no other field of FIELDS, is one of a list: see `listed`.
    """
    wanted = {name: fields[name] for name in FIELDS if name in fields}
    if wanted.keys() == {"url"}:
        url = wanted["url"]
        return listed(url) if isinstance(url, str) else Fault(Outcome.BAD_URL, "url: missing")
    try:
        found = submission_of(usual(msgspec.convert(wanted, OddRow)))
        if isinstance(found, Submission):
            (found.id + found.url + found.subreddit).encode()
    except ValueError as error:  # another type, a value that is none, half a character
        return Fault(Outcome.BAD_LINE, reason(error))
    return found


def listed(line: str) -> Found:
    """The address of one line of a list as a submission that nobody posted; Outcome or Fault where it is none.

    Quotes or angle brackets around it and commas after it go. Without a scheme it is http: that reaches also a server
    that has nothing else, and the others redirect; as the link's identity both are one (see `urls.canonical_url`).
    """
    url = line.strip().lstrip(INVISIBLE).rstrip(INVISIBLE + ", ").strip()
    if len(url) > 1 and AROUND.get(url[0]) == url[-1]:
        url = url[1:-1].strip()
    if len(url) > LONGEST_POSTED:
        return Fault(Outcome.BAD_URL, f"url: {len(url):,} characters; at most {LONGEST_POSTED:,}")
    if "\t" in url:  # browsers' parser would join what a tab parts
        return Fault(Outcome.BAD_LINE, "more than an address; a table needs a line of names, and .tsv or .csv")
    if not url.isprintable() and any("\ud800" <= character <= "\udfff" for character in url):
        return Fault(Outcome.BAD_LINE, "not UTF-8")
    if not url:
        return Fault(Outcome.BAD_URL, "url: missing")
    if "://" not in url.partition("?")[0]:
        if not BARE.fullmatch(url.removeprefix("//")):
            return Fault(Outcome.BAD_URL, "url: neither a scheme nor a host with a dot")
        url = f"http://{url.removeprefix('//')}"
    return Submission("", url, None, None, "", False)


def reason(error: BaseException) -> str:
    """Why a row is none, as a library says it, in one line."""
    if isinstance(error, UnicodeError):
        return "not UTF-8, or half a character"
    if isinstance(error, RecursionError):
        return "nested without end"
    if isinstance(error, json.JSONDecodeError):  # of one line, so its own count of lines would mislead
        return f"not JSON: {error.msg} (character {error.pos + 1:,})"[:LONGEST_REASON]
    return (str(error).partition("\n")[0] or type(error).__name__)[:LONGEST_REASON]


def posted_url(url: str) -> str:
    """The address that the poster gave.

    Reddit's API replaces `&`, `<` and `>` in every string by entities (reddit.com/dev/api: "response body encoding"),
    and dumps keep that; links into Reddit may be bare paths.
    """
    if "&" in url:
        url = url.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    url = url.strip()
    return f"https://www.reddit.com{url}" if url[:1] == "/" and url[:2] != "//" else url


def block_of(found: Iterable[Found]) -> Block:
    """Rows, or why they are none, as a block."""
    every = list(found)
    kept = [row for row in every if isinstance(row, Submission)]
    fates: Counter[Outcome] = Counter()
    faults: list[Fault] = []
    if len(kept) < len(every):
        for row in every:
            if isinstance(row, Fault):
                fates[row.outcome] += 1
                faults += [row] if len(faults) < MOST_FAULTS else []
            elif isinstance(row, Outcome):
                fates[row] += 1
    if kept:
        fates[Outcome.KEPT] = len(kept)
    return Block(kept, fates, tuple(faults))


def batched(found: Iterable[Found], rows: int) -> Iterator[Block]:
    """Rows as blocks of `rows` (>= 1), the last one aside; those before an InputError are given before it is raised."""
    batch: list[Found] = []
    try:
        for item in found:
            batch.append(item)
            if len(batch) == rows:
                yield block_of(batch)
                batch = []
    except InputError:
        yield block_of(batch)
        raise
    yield block_of(batch)


def joined(blocks: Iterable[Block], rows: int) -> Iterator[Block]:
    """The same rows in blocks of at least `rows` (>= 1) rows, the last one aside: small blocks are put together."""
    kept: list[Submission] = []
    fates: Counter[Outcome] = Counter()
    faults: tuple[Fault, ...] = ()
    for block in blocks:
        kept += block.kept
        fates.update(block.fates)
        faults = (*faults, *block.faults)[:MOST_FAULTS]
        if fates.total() >= rows:
            yield Block(kept, fates, faults)
            kept, fates, faults = [], Counter(), ()
    if fates.total():
        yield Block(kept, fates, faults)
