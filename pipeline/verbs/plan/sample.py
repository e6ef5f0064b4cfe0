"""Sampling of the inputs: so many rows of some files, enough to say what all of them hold.

Choice: the first piece of up to FILES files spread evenly over all of them, read by the stages' own readers and judged
by their own rules; counts are scaled by bytes. A compressed stream cannot be entered in its middle, so within a file
only the beginning is seen. Cost: a file whose end is unlike its beginning misleads; two posts of one link in pieces
that were not read together are two links here, so links are an upper bound. Alternative: read everything, which is
the stage itself.
"""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import urls
from pipeline.config import PagesSettings, Settings
from pipeline.fetch.captures import Capture, capture_of
from pipeline.fetch.continued import records
from pipeline.fetch.heads import HEAD_BYTES
from pipeline.fetch.kinds import NotAnArchive, is_archive
from pipeline.fetch.revisits import REQUEST
from pipeline.plaintext import encoding_of
from pipeline.shards import schemas, storage
from pipeline.shards.outcomes import InputError, Outcome
from pipeline.sources import sorted_out, table_of
from pipeline.submissions.decide import Rules, decided
from pipeline.submissions.forms import FORMS, inflate
from pipeline.submissions.ledger import SUFFIX, connect_readonly, failures_named, read_ledger
from pipeline.submissions.rows import Block, Submission
from pipeline.submissions.sources import reader_of
from pipeline.submissions.windows import window_of

Thing = TypeVar("Thing")

FILES = 12
ROWS = 5_000  # of one table
BYTES = 8_000_000  # decompressed, of one file of lines; a real dump has 300 to 3,000 a line
WARC_BYTES = 12_000_000  # of all sampled WARC files together, as they lie


@dataclass(frozen=True)
class Submissions:
    """What the sources hold, scaled from `sampled` rows; exact where `whole`."""

    files: int
    bytes: int
    rows: float
    posts: float  # link posts whose address is one
    links: float  # different addresses; an upper bound unless `whole`
    hosts: dict[str, float]  # kept links, of each host that was seen
    link_bytes: float  # of one row of links, as it lies
    post_bytes: float  # of one submission in scratch
    block_bytes: float  # of one submission in a block that crosses
    sampled: int
    whole: bool
    kept_ids: frozenset[str] = frozenset()  # doc_ids of the kept links that were seen
    window: int = 0  # bytes that a reader of the sampled files holds to decode zstandard, at most

    @property
    def kept(self) -> float:
        """Links that the rules of [links] keep."""
        return sum(self.hosts.values())


@dataclass(frozen=True)
class Captures:
    """What WARC files hold, scaled from `sampled` records; exact where `whole`. `pages`: kept ones that were seen."""

    files: int
    bytes: int
    records: float
    kept: float  # responses that give a page, of links that are kept where that can be told
    sampled: int
    whole: bool
    pages: tuple[tuple[Path, Capture], ...] = ()


@dataclass(frozen=True)
class Piece:
    """The beginning of one file: its rows, and the share of the file that they are."""

    submissions: list[Submission]
    rows: int
    share: float  # of the file, over 0 and up to 1


def spread(things: Sequence[Thing], most: int) -> list[Thing]:
    """At most so many of them, evenly spaced, the first among them."""
    count = min(most, len(things))
    return [things[place * len(things) // count] for place in range(count)]


def size(paths: Iterable[Path]) -> int:
    """The bytes of files as they lie."""
    return sum(map(storage.size_of, paths))


# --- submissions


def look_at_submissions(paths: Sequence[Path], settings: Settings, work: Path) -> Submissions:
    """What the sources hold, told from a sample. Raises InputError: a file cannot be read, or holds no submission."""
    paths, _ = sorted_out(paths)
    chosen = spread(paths, FILES)
    pieces = [piece_of(path, settings.pages) for path in chosen]
    whole = len(chosen) == len(paths) and all(piece.share == 1 for piece in pieces)
    weights = weights_of(paths, chosen, [piece.share for piece in pieces])
    tables = [table_of(piece.submissions) for piece in pieces]
    table = pa.concat_tables(tables)
    found = decided(without_same(table), Rules.of(settings.links, work), {}).links
    stands_for: dict[str, float] = {}  # links that a link of the sample stands for
    for posts, weight in zip(tables, weights, strict=True):
        for url in posts["url"].unique().to_pylist():
            stands_for[url] = min(weight, stands_for.get(url, weight))
    kept = found.filter(pc.equal(found["outcome"], str(Outcome.KEPT)))
    hosts: Counter[str] = Counter()
    for host, url in zip(kept["host"].to_pylist(), kept["url"].to_pylist(), strict=True):
        hosts[host] += stands_for[url]  # type: ignore[assignment]  # a Counter adds what it is given
    return Submissions(
        files=len(paths),
        bytes=size(paths),
        rows=sum(weight * piece.rows for weight, piece in zip(weights, pieces, strict=True)),
        posts=sum(weight * posts.num_rows for weight, posts in zip(weights, tables, strict=True)),
        links=sum(stands_for.values()),
        hosts=dict(hosts),
        link_bytes=parquet_bytes(found, schemas.LINKS) / max(1, found.num_rows),
        post_bytes=parquet_bytes(table, schemas.SUBMISSIONS) / max(1, table.num_rows),
        block_bytes=sum(map(len, schemas.pack(table))) / max(1, table.num_rows),
        sampled=sum(piece.rows for piece in pieces),
        whole=whole,
        kept_ids=frozenset(kept["doc_id"].to_pylist()),
        window=max(map(window_of, chosen)),
    )


def weights_of(paths: Sequence[Path], chosen: Sequence[Path], shares: Sequence[float]) -> list[float]:
    """How many rows of all files a row of each chosen file stands for; `shares` of them were read."""
    files = size(paths) / max(1, size(chosen))
    return [files / share if share else 0.0 for share in shares]


def parquet_bytes(table: pa.Table, schema: pa.Schema) -> int:
    """The bytes of a table as a shard of it lies."""
    sink = io.BytesIO()
    schemas.write_parquet(sink, [table], schema)  # type: ignore[arg-type]  # it writes, and is asked nothing else
    return sink.tell()


def without_same(table: pa.Table) -> pa.Table:
    """The rows without those that repeat an address and an id."""
    first = table.append_column("place", pa.array(range(table.num_rows))).group_by(["url", "id"])
    return table.take(first.aggregate([("place", "min")])["place_min"])


def piece_of(path: Path, settings: PagesSettings) -> Piece:
    """The beginning of one source, by the reader of its kind."""
    if is_archive(path):
        captures, share = begun(path, WARC_BYTES, 0, settings)
        posts = [Submission("", capture.url, None, None, "", False) for capture in captures if capture.url]
        return Piece(posts, len(captures), share)
    suffix = path.suffix.lower()
    if suffix == SUFFIX:
        with failures_named(path), closing(connect_readonly(path)) as db:
            (total,) = db.execute("SELECT count(*) FROM submissions WHERE missing_utc IS NULL").fetchone()
        return of_table(read_ledger(path, ROWS), total)
    if suffix == ".parquet":
        return of_table(reader_of(path)(path, ROWS), rows_of(path))
    return of_lines(path)


def rows_of(path: Path) -> int:
    """How many rows a Parquet file says it has. Raises InputError."""
    try:
        return int(pq.read_metadata(storage.reading(path)).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: no whole Parquet file: {error}; fetch it again") from None


def of_table(blocks: Iterator[Block], total: int) -> Piece:
    """The first ROWS or so of `total` rows."""
    posts, rows = [], 0
    for block in blocks:
        posts += block.kept
        rows += block.fates.total()
        if rows >= ROWS:
            break
    return Piece(posts, rows, min(1.0, rows / total) if total else 1.0)


def of_lines(path: Path) -> Piece:
    """The first BYTES or so of a file of lines, compressed or not: whole lines, read by the reader of its kind."""
    reader_of(path)  # an unknown suffix is refused before anything is read
    text, share = beginning(path)
    form = path.suffix.lower()
    inner = (Path(path.stem).suffix.lower() or ".ndjson") if form in FORMS else form
    with tempfile.TemporaryDirectory() as folder:
        cut = Path(folder) / f"{path.name[:40]}{inner}"
        cut.write_bytes(text)
        posts, rows = [], 0
        with nullcontext() if share == 1 else suppress(InputError):  # cut within quotes, or within an array
            for block in reader_of(cut)(cut, 1):
                posts += block.kept
                rows += block.fates.total()
    return Piece(posts, rows, share)


def beginning(path: Path) -> tuple[bytes, float]:
    """The first whole lines of a file, decompressed, and the share of the file as it lies that they are."""
    taken = 0

    def counted(pieces: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal taken
        for piece in pieces:
            taken += len(piece)
            yield piece

    form = FORMS.get(path.suffix.lower())
    held, size_held = [], 0
    try:
        with storage.reading(path) as file:
            pieces = counted(iter(lambda: file.read(4_096 if form else 1 << 17), b""))
            for piece in inflate(pieces, form, path) if form else pieces:
                held.append(piece)
                size_held += len(piece)
                if size_held >= BYTES:
                    break
            else:
                return b"".join(held), 1.0
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    text = b"".join(held)
    utf8 = encoding_of(text).startswith("utf-8")
    lines = (text[: text.rfind(b"\n") + 1] or text) if utf8 else text[: len(text) // 4 * 4]  # whole characters
    return lines, min(1.0, taken / storage.size_of(path) * len(lines) / len(text))


# --- WARC files


def look_at_captures(paths: Sequence[Path], settings: PagesSettings, wanted: frozenset[str] | None) -> Captures:
    """What WARC files hold, told from a sample. `wanted`: doc_ids of all kept links; None: they are not all known.

    Raises InputError: a file cannot be read or is none.
    """
    chosen = spread(paths, FILES)
    found = [begun(path, WARC_BYTES // len(chosen), settings.limit_bytes + HEAD_BYTES, settings) for path in chosen]
    whole = len(chosen) == len(paths) and all(share == 1 for _, share in found)
    weights = weights_of(paths, chosen, [share for _, share in found])
    pages: list[tuple[Path, Capture]] = []
    records = kept = 0.0
    for path, weight, (captures, _) in zip(chosen, weights, found, strict=True):
        wanted_captures = [
            (path, capture)
            for capture in captures
            if capture.outcome is Outcome.KEPT and is_wanted(capture.url, wanted)
        ]
        pages += wanted_captures
        records += weight * len(captures)
        kept += weight * len(wanted_captures)
    read = sum(len(captures) for captures, _ in found)
    return Captures(len(paths), size(paths), records, kept, read, whole, tuple(pages))


def is_wanted(url: str, wanted: frozenset[str] | None) -> bool:
    """Whether a link asks for this address; yes where nobody knows."""
    try:
        return wanted is None or urls.doc_id(urls.canonical_url(url)) in wanted
    except urls.BadUrl:
        return False


def begun(path: Path, limit_bytes: int, most: int, settings: PagesSettings) -> tuple[list[Capture], float]:
    """The captures in the first bytes of a WARC file, and the share of the file that was read."""
    captures, end = list[Capture](), storage.size_of(path)
    with suppress(NotAnArchive):  # the stage leaves it out, with a note
        for piece in records(path, most):
            if piece.offset >= limit_bytes:
                return captures, piece.offset / end
            capture = capture_of(piece, str(path), settings)
            if capture is not None and capture.kind != REQUEST:
                captures.append(capture)
    return captures, 1.0
