"""Range requests: pieces of large files, in few requests, politely, each piece or why it did not come.

Choice: pieces are sorted by file and offset, neighbours are fetched in one range, a few ranges at a time, and a server
that says "slow down" makes all of them wait. Cost: the bytes between neighbours, and some seconds in which nothing is
asked. Alternative: a request a record, all at once, which Common Crawl's operators answer by blocking (their status
page of July 2025 tells of such a client).

A range counts only as 206 with the very bytes asked for: a server that ignores Range would send a gigabyte.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from pipeline.config import PagesSettings
from pipeline.fetch.exchange import Session, Wanted
from pipeline.fetch.heads import Head, header
from pipeline.fetch.response import Refused
from pipeline.shards.outcomes import Outcome
from pipeline.urls import fetch_url

GAP_BYTES = 64 << 10  # fetched and thrown away, rather than ask twice
RANGE_BYTES = 8 << 20  # of one request, unless a single piece is larger
AT_ONCE = 8  # requests; so at most 64 MiB are held
TRIES = 8  # with the gap doubled each time: some two minutes at a gap of a second
SLOW_DOWN = frozenset({403, 408, 429})  # and 5xx. 403 is also the rate limit of Common Crawl's CloudFront
CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(?:\d{1,18}|\*)")  # RFC 9110, section 14.4


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """Bytes of a file below the base address; `key` is whatever the caller knows them by."""

    file: str
    offset: int
    length: int
    key: str


@dataclass(frozen=True, slots=True)
class Range:
    """One request: bytes [start, end) of a file, and the pieces that lie in it."""

    file: str
    start: int
    end: int
    pieces: tuple[Piece, ...]


def ranges_of(pieces: Sequence[Piece]) -> Iterator[Range]:
    """Few ranges that hold all pieces, by file and offset."""
    held: list[Piece] = []
    end = 0
    for piece in sorted(pieces):
        after = max(end, piece.offset + piece.length)
        near = held and piece.file == held[0].file and piece.offset - end <= GAP_BYTES
        if held and not (near and after - held[0].offset <= RANGE_BYTES):
            yield Range(held[0].file, held[0].offset, end, tuple(held))
            held, after = [], piece.offset + piece.length
        held.append(piece)
        end = after
    if held:
        yield Range(held[0].file, held[0].offset, end, tuple(held))


async def fetch_pieces(
    session: Session, base: str, pieces: Sequence[Piece], settings: PagesSettings
) -> AsyncIterator[tuple[Piece, bytes | Refused]]:
    """The bytes of every piece, or why they did not come, nearly by file and offset; a few ranges in memory.

    A refusal is BAD_RECORD; `transient` where the same request may succeed on another day.
    """
    brake = asyncio.Lock()  # held while a server wants less
    todo = deque(ranges_of(pieces))
    while todo:
        group = [todo.popleft() for _ in range(min(AT_ONCE, len(todo)))]
        answers = await asyncio.gather(*(tried(session, base, piece, settings, brake) for piece in group))
        for piece, got in zip(group, answers, strict=True):
            if isinstance(got, Refused) and not got.transient and len(piece.pieces) > 1:
                # one of them may be to blame: each is asked for alone
                todo.extend(Range(each.file, each.offset, each.offset + each.length, (each,)) for each in piece.pieces)
                continue
            for each in piece.pieces:
                at = each.offset - piece.start
                yield each, got if isinstance(got, Refused) else got[at : at + each.length]


async def tried(
    session: Session, base: str, wanted: Range, settings: PagesSettings, brake: asyncio.Lock
) -> bytes | Refused:
    """The bytes of one range, after several tries if need be, or the last refusal."""
    for count in range(TRIES):
        async with brake:
            pass
        try:
            async with asyncio.timeout(settings.deadline_s):
                return await request(session, base, wanted)
        except Refused as refusal:
            last = refusal
        except OSError as error:  # TimeoutError is an OSError
            last = Refused(Outcome.BAD_RECORD, f"{type(error).__name__}: {error}"[:200], transient=True)
        if not last.transient:
            break
        if count + 1 < TRIES:
            async with brake:
                await asyncio.sleep(min(settings.gap_s * 2.0**count, settings.deadline_s))
    return last


async def request(session: Session, base: str, wanted: Range) -> bytes:
    """The bytes of one range, asked for once. Raises Refused and OSError."""
    url = fetch_url(f"{base.rstrip('/')}/{quote(wanted.file)}")
    size = wanted.end - wanted.start
    asked = (("Range", f"bytes={wanted.start}-{wanted.end - 1}"), ("Accept", "*/*"), ("Accept-Encoding", "identity"))

    def only_a_part(head: Head) -> Wanted:
        return Wanted(size if head.status == 206 else 0)  # the body of another answer may be the whole file

    found = await session.get(url, only_a_part, asked)
    status = found.head.status
    if status != 206:
        reason = "the server ignores Range" if status == 200 else f"status {status}"
        raise Refused(Outcome.BAD_RECORD, reason, transient=status in SLOW_DOWN or status >= 500)
    range_sent = header(found.head.headers, "content-range").strip()
    content_range = CONTENT_RANGE.fullmatch(range_sent)
    if content_range is None or (int(content_range[1]), int(content_range[2])) != (wanted.start, wanted.end - 1):
        got = range_sent[:60] or "none"
        raise Refused(Outcome.BAD_RECORD, f"other bytes than {wanted.start}-{wanted.end - 1}: Content-Range {got}")
    if found.cut == "length":
        raise Refused(Outcome.BAD_RECORD, f"more than the {size:,} bytes asked for")
    if len(found.body) < size:
        raise Refused(Outcome.BAD_RECORD, f"{len(found.body):,} of {size:,} bytes", transient=True)
    return found.body
