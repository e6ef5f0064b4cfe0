"""Where the page of a link lies: pointers into WARC files that exist, one a link, redirects and revisits followed.

Choice: every capture of every file goes to the shard of its own address (an exchange); a link that leads elsewhere is
followed by looking into the shard of its target, which is a file like any other. Cost: each hop reads the doc_ids of
the shards that hold targets, most often the link's own. Alternative: an exchange a hop, in both directions, which
starts a Beam pipeline for each step of the longest chain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import PagesSettings
from pipeline.fetch.captures import Capture, index
from pipeline.fetch.kinds import LEFT_OUT, NotAnArchive
from pipeline.fetch.warc import Pointer
from pipeline.shards import inputs, receipts, schemas
from pipeline.shards.artefacts import Artefact
from pipeline.shards.outcomes import InputError, Outcome
from pipeline.shards.places import name_of
from pipeline.shards.receipts import Task
from pipeline.shards.runner import Block, Run
from pipeline.urls import BadUrl, canonical_url, doc_id, host_of, shard_of

VERSION = 2
LIBRARIES = ("ada-url", "fastwarc", "pyarrow")
MOST_FILES = 99_999  # WARC files; a main crawl of Common Crawl has 90,000
NOTES = 20  # damaged places named of one WARC file

Row = dict[str, Any]
Splits = Mapping[str, int]


# --- the captures of all files, by the shard of their address


@dataclass(frozen=True)
class Source:
    """A WARC file to index, and the task of its receipt."""

    path: Path
    task: Task


def collect(
    settings: PagesSettings, work: Path, run: Run, shards: int, splits: Splits
) -> tuple[Artefact, tuple[str, ...]]:
    """The best capture of every address in the WARC files, by shard of its link; and notes on damaged places.

    Raises InputError: a glob that matches nothing, a file that cannot be read or is no WARC file.
    """
    used = {"limit_bytes": settings.limit_bytes, "opt_outs": settings.opt_outs}
    # the path too: a pointer names it
    contents = inputs.sha256_of_each(files_of(settings.warc, work, "pages.warc"), work / inputs.HASHES)
    found = [(path, [name_of(path), sha256]) for path, sha256 in contents.items()]
    files = Artefact(work, "scratch/warcs", len(found))
    captures = Artefact(work, "scratch/captures", shards)
    marks = [receipts.fingerprint("warcs", VERSION, used, mark, LIBRARIES) for _, mark in found]
    wanted = receipts.fingerprint("captures", VERSION, used, [marks, dict(splits), shards], LIBRARIES)
    unread = files.begin(marks)
    targets = captures.begin([wanted] * shards)
    if unread:
        targets = [Task(shard, wanted) for shard in range(shards)]
    sources = [Source(path, Task(number, marks[number])) for number, (path, _) in enumerate(found)]
    run.exchange(partial(scatter, settings, files, splits, shards), sources, partial(gather, captures), targets)
    notes = tuple(note for receipt in files.receipts() for note in receipt.notes)
    left_out = [note for note in notes if note.startswith(LEFT_OUT)]
    if len(left_out) == len(found):
        raise InputError(left_out[0].removeprefix(LEFT_OUT))
    return captures, notes


def files_of(patterns: Iterable[str], work: Path, setting: str) -> list[Path]:
    """The files that the globs of a setting name, absolute, each once, in order.

    Raises InputError: a glob that matches no file; too many files.
    """
    found = inputs.matching(patterns, work, setting)
    if len(found) > MOST_FILES:
        raise InputError(f"{setting}: {len(found):,} files; at most {MOST_FILES:,}: concatenate some")
    return found


def scatter(settings: PagesSettings, files: Artefact, splits: Splits, shards: int, source: Source) -> Iterator[Block]:
    """The captures of one archive, to the shards of their links; then the file's receipt, with what is damaged.

    A file of another kind is left out, with a note.
    """
    damaged: list[str] = []
    ends: Counter[str] = Counter()
    left_out: list[str] = []
    found = indexed(source.path, settings, damaged, ends)
    try:
        while rows := list(islice(found, schemas.ROW_GROUP)):
            places = [shard_of(host, row["doc_id"], shards, splits) for host, row in rows]
            yield from schemas.scatter(pa.Table.from_pylist([row for _, row in rows], schemas.CAPTURES), places)
    except NotAnArchive as error:
        left_out.append(f"{LEFT_OUT}{error}")
    else:
        left_out += without_pages(source.path, ends)
    more = [f"{name_of(source.path)}: {len(damaged) - NOTES:,} more damaged places"] if len(damaged) > NOTES else []
    with files.attempt(source.task) as attempt:
        attempt.commit({}, left_out + damaged[:NOTES] + more)


def without_pages(path: Path, ends: Mapping[str, int]) -> list[str]:
    """What to say of an archive whose captures ended so, where not one is a page, beside what is said of damage."""
    if ends.get(Outcome.KEPT) or set(ends) == {Outcome.BAD_RECORD}:
        return []
    if not ends:
        return [f"{name_of(path)}: no page: it holds no response, resource or revisit of an address of the web"]
    said = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(ends.items()))
    return [f"{name_of(path)}: no page among its captures: {said}"]


def indexed(path: Path, settings: PagesSettings, damaged: list[str], ends: Counter[str]) -> Iterator[tuple[str, Row]]:
    """(host, row of CAPTURES) of each capture of an archive.

    What is damaged goes to `damaged`, with its place; how captures end is counted in `ends`.
    """
    for capture in index(path, settings):
        ends[str(capture.outcome)] += 1
        if capture.outcome is Outcome.BAD_RECORD:
            damaged.append(text(capture.detail))
        try:
            url = canonical_url(capture.url)
        except BadUrl:  # no link leads there
            continue
        yield host_of(url), capture_row(name_of(path), capture, doc_id(url))


def capture_row(file: str, capture: Capture, doc: str) -> Row:
    """The row of CAPTURES of a capture.

    One that leads to another spelling of its own address (http to https, `www.` added) leads nowhere else: the page is
    the other capture of the same link, or none of the files holds it.
    """
    outcome, location = capture.outcome, capture.location
    try:
        if location and doc_id(canonical_url(location)) == doc:
            outcome, location = Outcome.NOT_IN_WARC, ""
    except BadUrl:
        outcome, location = Outcome.BAD_REDIRECT, ""
    place = Pointer(file, capture.offset, capture.length, capture.sha256)
    end = (text(capture.url), capture.status, capture.content_type, capture.opt_outs, outcome)
    return {**row_of(doc, place, *end), "location": text(location)}


def gather(captures: Artefact, task: Task, blocks: Iterable[bytes]) -> None:
    """The best capture of each doc_id: a kept page, then what leads elsewhere, then how it failed; first by place."""
    table = schemas.unpack(blocks, schemas.CAPTURES)
    kept = pc.equal(table["outcome"], str(Outcome.KEPT))
    leading = pc.not_equal(table["location"], "")
    absent = pc.equal(table["outcome"], str(Outcome.NOT_IN_WARC))
    rank = pc.if_else(kept, 0, pc.if_else(leading, 1, pc.if_else(absent, 3, 2)))
    table = table.append_column("rank", rank)
    table = table.sort_by([(name, "ascending") for name in ("doc_id", "rank", "warc", "offset")])
    ids = table["doc_id"].combine_chunks()
    if len(ids):
        first = pa.concat_arrays([pa.array([True]), pc.not_equal(ids[1:], ids[:-1])])
        table = table.filter(first)
    with captures.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            rows = schemas.write_parquet(file, [table.drop_columns(["rank"])], schemas.CAPTURES)
        attempt.rows(".parquet", rows)
        attempt.commit({})


# --- the capture that holds a link's page


@dataclass(frozen=True)
class Chase:
    """A link on its way: the row that leads on, the doc_ids and hosts met so far, and where it leads."""

    doc: str
    row: Row
    seen: tuple[str, ...]
    target: str
    host: str

    @classmethod
    def onward(cls, doc: str, row: Row, seen: tuple[str, ...]) -> Chase:
        """The chase of `doc` after a row that leads elsewhere."""
        url = canonical_url(row["location"])
        return cls(doc, row, seen, doc_id(url), host_of(url))


def lookup(captures: Artefact, splits: Splits, wanted: Mapping[str, str], redirects: int) -> dict[str, Row]:
    """The row of POINTERS of each doc_id wanted that the files hold, under that doc_id. `wanted`: doc_id to host.

    A redirect or revisit ends as the capture that it leads to; NOT_IN_WARC, naming the address, where no file holds it;
    REDIRECT_LOOP or TOO_MANY_REDIRECTS where it would not end. At most `redirects` hops.
    """
    ends: dict[str, Row] = {}
    chases: list[Chase] = []
    for doc, row in rows_of(captures, splits, wanted).items():
        if row["location"]:
            chases.append(Chase.onward(doc, row, (doc,)))
        else:
            ends[doc] = without_location(row)
    while chases:
        found = rows_of(captures, splits, {chase.target: chase.host for chase in chases})
        going = []
        for chase in chases:
            if chase.target not in found:
                ends[chase.doc] = ended(chase, Outcome.NOT_IN_WARC)
                continue
            row = found[chase.target]
            if not row["location"]:
                ends[chase.doc] = {**without_location(row), "doc_id": chase.doc}
            elif chase.target in chase.seen:
                ends[chase.doc] = ended(chase, Outcome.REDIRECT_LOOP)
            elif len(chase.seen) >= redirects:
                ends[chase.doc] = ended(chase, Outcome.TOO_MANY_REDIRECTS)
            else:
                going.append(Chase.onward(chase.doc, row, (*chase.seen, chase.target)))
        chases = going
    return ends


def ended(chase: Chase, outcome: Outcome) -> Row:
    """The end of a chase that finds no page: the last row that led on, and where it led."""
    row = chase.row
    return {**without_location(row), "doc_id": chase.doc, "final_url": row["location"], "outcome": str(outcome)}


def rows_of(captures: Artefact, splits: Splits, wanted: Mapping[str, str]) -> dict[str, Row]:
    """The rows of CAPTURES of the doc_ids wanted (to their hosts), from the shards that hold them."""
    by_shard: dict[int, list[str]] = {}
    for doc, host in wanted.items():
        by_shard.setdefault(shard_of(host, doc, captures.shards, splits), []).append(doc)
    found: dict[str, Row] = {}
    for shard, docs in sorted(by_shard.items()):
        found.update(rows_in(captures.file(shard, ".parquet"), docs))
    return found


def rows_in(path: Path, docs: Collection[str]) -> Iterator[tuple[str, Row]]:
    """(doc_id, row) of each row of a Parquet file whose doc_id is one of `docs`."""
    wanted = pa.array(docs, pa.string())
    for batch in schemas.iterate_parquet(path):
        for row in batch.filter(pc.is_in(batch["doc_id"], wanted)).to_pylist():
            yield row["doc_id"], row


def without_location(row: Row) -> Row:
    """A row of CAPTURES as one of POINTERS."""
    return {name: value for name, value in row.items() if name != "location"}


# --- rows


def nowhere(doc: str, outcome: Outcome) -> Row:
    """The pointer of a link without any response."""
    return row_of(doc, None, "", None, "", (), outcome)


def row_of(
    doc: str,
    place: Pointer | None,
    final_url: str,
    status: int | None,
    content_type: str,
    opt_outs: Iterable[str],
    outcome: Outcome,
) -> Row:
    """A row of POINTERS."""
    at = place or Pointer("", 0, 0, "")
    return {
        "doc_id": doc,
        "final_url": text(final_url),
        "status": status,
        "content_type": text(content_type),
        "warc": at.file,
        "offset": at.offset,
        "length": at.length,
        "sha256": at.sha256,
        "opt_outs": [text(one) for one in opt_outs],
        "outcome": str(outcome),
    }


def text(hostile: str) -> str:
    """The text without the lone surrogates that stand for undecodable bytes of headers."""
    return hostile.encode("utf-8", "replace").decode()
