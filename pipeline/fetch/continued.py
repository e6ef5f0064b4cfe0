"""Records that go on in others: the segments of a record joined, wherever they lie in their file.

A writer that must not make a file larger puts the rest of a block into `continuation` records, which name the first
by WARC-Segment-Origin-ID and count on in WARC-Segment-Number; the last says how long all blocks are together (WARC
1.1, sections 6.8 and 7). Choice: the joined record lies from the beginning of its first segment to the end of its last
one, so that a pointer to it finds all of them. Cost: whoever reads it passes over what lies in between; segments in
another file are not found. Alternative: a pointer of many places, which every table would have to hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.fetch.fields import bare
from pipeline.fetch.records import Record, cut

HELD_BYTES = 2**27  # of unfinished records at once; then the one begun first is given up
NUMBER, ORIGIN, TOTAL = "warc-segment-number", "warc-segment-origin-id", "warc-segment-total-length"


@dataclass
class Segments:
    """What was found so far of one record, by number of segment."""

    found: dict[int, Record] = field(default_factory=dict)

    @property
    def held(self) -> int:
        """The bytes that it holds."""
        return sum(len(segment.block) for segment in self.found.values())

    @property
    def total(self) -> int | None:
        """How long all blocks are together, once the last one has said it."""
        return next(
            (int(length) for segment in self.found.values() if (length := segment.fields.get(TOTAL, "")).isdigit()),
            None,
        )

    @property
    def is_whole(self) -> bool:
        """Whether all are there."""
        return self.total is not None and sorted(self.found) == list(range(1, self.last + 1))

    @property
    def last(self) -> int:
        """The number of the last segment, or of the last that is there."""
        return max((n for n, segment in self.found.items() if segment.fields.get(TOTAL)), default=max(self.found))


def records(path: Path, limit_bytes: int) -> Iterator[Record]:
    """All records of an archive, as `cut` gives them, segments joined. Raises as `cut`."""
    return joined(cut(path, limit_bytes), limit_bytes)


def is_segment(record: Record) -> bool:
    """Whether a record is one segment of several."""
    return NUMBER in record.fields or record.kind == "continuation"


def joined(pieces: Iterable[Record], limit_bytes: int) -> Iterator[Record]:
    """The records with those of several segments as one each, when its last segment has come.

    One that lacks a segment is damaged, and comes at the end. Its fields are those of the first segment.
    """
    waiting: dict[str, Segments] = {}
    for piece in pieces:
        if piece.damage or not is_segment(piece):
            yield piece
            continue
        number = int(digits) if (digits := piece.fields.get(NUMBER, "")).isdigit() and len(digits) < 9 else 0
        origin = bare(piece.fields.get(ORIGIN if piece.kind == "continuation" else "warc-record-id"))
        if not origin or number < 1 or number in waiting.get(origin, Segments()).found:
            yield replace(piece, damage="a segment of a record that does not say which one of which record")
            continue
        segments = waiting.setdefault(origin, Segments())
        room = limit_bytes + 1 - segments.held
        segments.found[number] = (
            piece if len(piece.block) <= room else replace(piece, block=piece.block[: max(0, room)])
        )
        if segments.is_whole:
            yield as_one(waiting.pop(origin))
        elif sum(segments.held for segments in waiting.values()) > HELD_BYTES:
            yield from broken(waiting.pop(next(iter(waiting))))
    for segments in waiting.values():
        yield from broken(segments)


def as_one(segments: Segments) -> Record:
    """The record of all its segments."""
    pieces = [segments.found[number] for number in sorted(segments.found)]
    begins, ends = min(piece.offset for piece in pieces), max(piece.offset + piece.length for piece in pieces)
    size = sum(piece.size for piece in pieces)
    cut_short = {name: value for piece in pieces for name, value in piece.fields.items() if name == "warc-truncated"}
    fields = {name: value for name, value in pieces[0].fields.items() if name not in (NUMBER, TOTAL)} | cut_short
    if segments.total != size:
        damage = f"its segments hold {size:,} of the {segments.total:,} bytes promised"
        return Record(begins, ends - begins, fields, b"", size, damage)
    return Record(begins, ends - begins, fields, b"".join(piece.block for piece in pieces), size)


def broken(segments: Segments) -> Iterator[Record]:
    """The segments of a record that is not all there, each damaged."""
    last = segments.last
    lacking = next((n for n in range(1, last + 1) if n not in segments.found), last + 1)
    for number, piece in sorted(segments.found.items()):
        yield replace(piece, damage=f"segment {number} of a record whose segment {lacking} is not in this file")
