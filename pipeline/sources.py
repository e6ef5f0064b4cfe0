"""Sources of links, each parsed once: what a file gives lies in scratch under a receipt of its own, and all is merged.

Choice: the rows of a source are a table named after the file's content and the code that reads it, so that one more
dump, list or month of a ledger costs its own parsing, in whichever order they arrive, and to rename one costs nothing.
The merge reads all tables, by the hash of their URLs, where repeated ids meet: it is linear in rows, and a tenth of
what parsing them cost. Cost: submissions are written once more. Alternative: to merge what is new into what was merged,
which cannot take back a source that is named no more, and whose bytes would tell in which order they came.

Of links that have to go the tables hold no more than a doc_id and what tells that a post repeats another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial, reduce
from itertools import islice
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import urls
from pipeline.config import LinksSettings
from pipeline.counts import counted
from pipeline.fetch.captures import addresses
from pipeline.fetch.kinds import LEFT_OUT, NotAnArchive, is_archive
from pipeline.shards import inputs, progress, receipts, schemas, storage
from pipeline.shards.locations import name_of
from pipeline.shards.outcomes import BooksError, ConfigError, InputError, Outcome
from pipeline.shards.receipts import Artefact, RowCounts, Task
from pipeline.shards.removals import Removals
from pipeline.shards.runner import HEAVY_S, Run
from pipeline.submissions import bigquery, windows
from pipeline.submissions.decide import forgotten, masked
from pipeline.submissions.ledger import SUFFIX
from pipeline.submissions.rows import MOST_FAULTS, Block, Submission, block_of
from pipeline.submissions.sources import Reader, reader_of
from pipeline.urls import BadUrl

VERSION = 4  # also of the export of BigQuery, which costs money
LIBRARIES = ("ada-url", "msgspec", "numpy", "pyarrow")
READ_ROWS = 20_000  # of a source, made an Arrow table at a time
SCATTER_BYTES = 128_000_000  # of tables, put together before they are scattered: fewer and larger blocks
READ_S = 40e-9  # CPU s a byte of a packed dump: 4 us a line (bench_plan.py), of about 100 bytes
STEP = "submissions"
MOST_NOTES = 20  # on what is wrong within sources, of all of them together
EMPTY = schemas.SUBMISSIONS.empty_table()
Source = tuple[Task, Path]
Collected = tuple[list[Path], Artefact, Artefact]  # the files, the rows and counts of each, the rows of all


def find(links: LinksSettings, work: Path, folders: list[str] | None = None) -> list[Path]:
    """The files that `links.submissions` names, sorted, each once; relative globs start at `work`.

    Raises ConfigError: no source at all. InputError: a glob that matches no file, or only a folder (see `matching`).
    """
    if not links.submissions and not links.bigquery:
        raise ConfigError("links.submissions is empty: set it in webtext.toml to dumps, exports, lists or a ledger")
    return inputs.matching(links.submissions, work, "links.submissions", folders)


def exported(links: LinksSettings, work: Path, run: Run) -> list[Path]:
    """The rows of `links.bigquery` as Parquet files in scratch, asked for once a query; none where it is not set."""
    if not links.bigquery:
        return []
    query = bigquery.query_of(links.bigquery, *links.bigquery_days)
    export = Artefact(work, "scratch/bigquery", 1)
    for task in export.begin([receipts.fingerprint("bigquery", VERSION, {}, query, ())]):
        for old in storage.names(export.folder, "*.parquet"):
            storage.remove(old)
        run.export(query, bigquery.EXPORT, export.folder)
        with export.attempt(task) as attempt:
            attempt.commit({})
    return storage.names(export.folder, "*.parquet")


def collect(paths: Iterable[Path], work: Path, shards: int, run: Run, windows_bytes: int = 0) -> Collected:
    """Read the sources into scratch: their files, the artefact of their rows, and that of the rows of all, by hash.

    A shard of the first is a source, named by what it holds and how it is read: only a new one is parsed.
    """
    hashed = sorted((sha256, path) for path, sha256 in inputs.sha256_of_each(paths, work / inputs.HASHES).items())
    kinds = [[[VERSION, urls.CANONICAL_VERSION], [sha256, reader_for(path).__name__]] for sha256, path in hashed]
    reads = [receipts.fingerprint("dumps", VERSION, {}, kind, LIBRARIES) for kind in kinds]
    sources = Artefact(work, "scratch/dumps", len(hashed), tuple(reads))
    submissions = Artefact(work, "scratch/submissions", shards)
    wanted = receipts.fingerprint("submissions", VERSION, {"shards": shards}, reads, LIBRARIES)
    unread, stale = sources.begin(reads), submissions.begin([wanted] * shards)
    if unread:  # counts are missing: everything is gathered again, and no shard is better than another
        stale = [Task(shard, wanted) for shard in range(shards)]
    if stale:
        tasks = [(Task(place, reads[place]), path) for place, (_, path) in enumerate(hashed)]
        new = {task.shard for task in unread}
        size = sum(storage.size_of(path) for place, (_, path) in enumerate(hashed) if place in new)
        progress.expect(size, progress.BYTES, "submissions")
        scatter = partial(scatter_source, sources, shards, windows_bytes=windows_bytes)
        heavy = size * READ_S > HEAVY_S
        run.exchange(scatter, tasks, partial(gather_shard, submissions), stale, heavy=heavy)
        sources.drop_others()
    return [path for _, path in hashed], sources, submissions


def sorted_out(paths: Iterable[Path], folders: Iterable[str] = ()) -> tuple[list[Path], list[str]]:
    """The sources of kinds that are read, and a note on each other one. Raises InputError: there are only such."""
    chosen, left_out = [], [f"{LEFT_OUT}{note}" for note in folders]
    for path in paths:
        try:
            if path.suffix.lower() != SUFFIX:  # of a ledger a snapshot is read
                reader_for(path)
        except InputError as error:
            left_out.append(f"{LEFT_OUT}{error}")
        else:
            chosen.append(path)
    if left_out and not chosen:
        raise InputError(left_out[0].removeprefix(LEFT_OUT))
    return chosen, left_out


def reader_for(path: Path) -> Reader:
    """What reads a source: the addresses of a WARC file are links themselves. Raises InputError: an unknown suffix."""
    return read_captures if is_archive(path) else reader_of(path)


def read_captures(path: Path, rows: int) -> Iterator[Block]:
    """Blocks of the addresses that a WARC file holds responses of, as a plain list of them is read.

    A damaged stretch is a BAD_LINE; where it lies, `pages` tells. Raises InputError: no WARC file.
    """
    found = addresses(path)
    while batch := list(islice(found, rows)):
        yield block_of(Outcome.BAD_LINE if url is None else Submission("", url, None, None, "", False) for url in batch)


def scatter_source(sources: Artefact, shards: int, source: Source, windows_bytes: int = 0) -> Iterator[schemas.Block]:
    """The rows of one source as (scratch shard, block of SUBMISSIONS); it is parsed first if it has not been."""
    task, path = source
    if not sources.current(task):
        with windows.room(path, windows.budget(windows_bytes)):
            parse(sources, task, path)
    batches = schemas.iterate_parquet(sources.file(task.shard, ".parquet"))
    tables = (pa.Table.from_batches([batch], schemas.SUBMISSIONS) for batch in batches)
    for table in schemas.in_runs(tables, SCATTER_BYTES):
        yield from schemas.scatter(table, [int(doc_id[:8], 16) % shards for doc_id in table["doc_id"].to_pylist()])


def parse(sources: Artefact, task: Task, path: Path) -> None:
    """Write the rows of one source as SUBMISSIONS, in its order, and its receipt with its counts.

    A source named as an archive that is none is left out, with a note, as is told of one that gives no link. Nothing of
    what was removed is written (see `masked`).
    """
    counts: Counter[str] = Counter()
    notes: list[str] = []
    removals = Removals.of(sources.root)

    def tables() -> Iterator[pa.Table]:
        try:
            for kept, fates, faults in reader_for(path)(path, READ_ROWS):
                table = table_of(kept)
                progress.advance(progress.ROWS, fates.total())
                counts.update(fates)
                counts.update({Outcome.KEPT: table.num_rows - len(kept), Outcome.BAD_URL: len(kept) - table.num_rows})
                notes.extend(f"{fault.where}: {fault.why}" for fault in faults[: max(0, MOST_FAULTS - len(notes))])
                yield masked(table, removals)
        except NotAnArchive as error:
            notes.append(f"{LEFT_OUT}{error}")

    with sources.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            rows = schemas.write_parquet(file, tables(), schemas.SUBMISSIONS)
        attempt.rows(".parquet", rows)
        if counts.total() and counts[Outcome.BAD_LINE] == counts.total() and not is_archive(path):
            first, lines = f" ({notes[0]})" if notes else "", counted(counts.total(), "line")
            raise InputError(f"{path}: none of its {lines} is a submission{first}; is it another kind of file?")
        bad = counts[Outcome.BAD_LINE] + counts[Outcome.BAD_URL]
        if notes and bad > len(notes):
            notes.append(f"{counted(bad, 'bad line')} in all")
        if not (counts[Outcome.KEPT] or any(note.startswith(LEFT_OUT) for note in notes)):
            notes.insert(0, f"no link: {said_of(counts)}")
        attempt.commit({STEP: receipts.balanced(STEP, counts.total(), counts)}, notes)


def said_of(counts: Mapping[str, int]) -> str:
    """What became of the rows of a source that gave no link."""
    return ", ".join(f"{count:,} {fate}" for fate, count in sorted(counts.items()) if count) or "it holds nothing"


def notes_of(paths: Sequence[Path], sources: Artefact, left_out: Sequence[str]) -> tuple[str, ...]:
    """What to tell of the sources, by name: which are left out or give no link, and their first bad lines.

    Receipts hold no name, since a source may be renamed; nothing quotes an address, since that may have to go. Raises
    InputError where no source is read.
    """
    notes, unread = [], list(left_out)
    for path, receipt in sorted(zip(paths, sources.receipts(), strict=True), key=itemgetter(0)):
        unread += [note for note in receipt.notes if note.startswith(LEFT_OUT)]
        name = path.relative_to(sources.root) if path.is_relative_to(sources.root) else name_of(path)
        notes += [f"{name}: {note}" for note in receipt.notes if not note.startswith(LEFT_OUT)]
    if len(unread) == sources.shards + len(left_out):
        raise InputError(unread[0].removeprefix(LEFT_OUT))
    more = len(notes) - MOST_NOTES
    return (*unread, *notes[:MOST_NOTES], *([f"{counted(more, 'more note')} on sources"] if more > 0 else []))


def table_of(posts: Iterable[Submission]) -> pa.Table:
    """Submissions as SUBMISSIONS, in order; those whose address is none are left out."""
    rows = []
    for post in posts:
        try:
            url, fetch_url = urls.both_urls(post.url)
        except BadUrl:
            continue
        place = (url, fetch_url, urls.doc_id(url), urls.host_of(url))
        rows.append((*place, post.id, post.score, post.created_utc, post.subreddit, post.over_18))
    return pa.table(list(zip(*rows, strict=True)), schema=schemas.SUBMISSIONS) if rows else EMPTY


def gather_shard(submissions: Artefact, task: Task, blocks: Iterable[pa.Table]) -> None:
    """Write one scratch shard: its rows without repeats, sorted by URL, time, id, and nothing of what was removed."""
    removals = Removals.of(submissions.root)
    received = schemas.unpack(blocks, schemas.SUBMISSIONS)
    kept = without_repeats(masked(received, removals))
    counts: dict[str, int] = {Outcome.KEPT: kept.num_rows, Outcome.REPEATED: received.num_rows - kept.num_rows}
    left = forgotten(kept, removals)
    with submissions.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            rows = schemas.write_parquet(file, [left], schemas.SUBMISSIONS)
        attempt.rows(".parquet", rows)
        attempt.commit({STEP: receipts.balanced(STEP, received.num_rows, counts)})


def without_repeats(table: pa.Table) -> pa.Table:
    """Of rows with the same URL and id the one with the highest score (then earliest, …); sorted by URL, time, id.

    Masked rows have no URL; their doc_id tells as much.
    """
    same = ("url", "doc_id", "id")
    ties = [(name, "ascending") for name in ("created", "fetch_url", "subreddit", "over_18")]
    ranked = table.sort_by([*((name, "ascending") for name in same), ("score", "descending"), *ties])
    if ranked.num_rows:
        before, after = ranked.slice(0, ranked.num_rows - 1), ranked.slice(1)
        new = reduce(pc.or_, (pc.not_equal(before[name], after[name]) for name in same))
        ranked = ranked.filter(pa.chunked_array([pa.array([True]), *new.chunks], pa.bool_()))
    return ranked.sort_by([(name, "ascending") for name in ("url", "created", "id")])


def forget_came(sources: Artefact, before: frozenset[str]) -> None:
    """Mask in the tables of all sources what has to go since the merge, and it alone, found which link a post leads to.

    `before`: the doc_ids of which that was known.
    """
    removals = Removals.of(sources.root)
    new = pa.array(sorted(removals.came - before), pa.string())
    for place in range(sources.shards) if len(new) else ():
        path = sources.file(place, ".parquet")
        if any(pc.any(pc.is_in(batch["doc_id"], new)).as_py() for batch in schemas.iterate_parquet(path, ["doc_id"])):
            made = sources.made(place)
            with sources.attempt(Task(place, made.fingerprint)) as attempt:
                with attempt.write(".parquet") as file:
                    attempt.rows(
                        ".parquet", schemas.write_parquet(file, masked_in(path, removals), schemas.SUBMISSIONS)
                    )
                attempt.rewrite(made.books)


def masked_in(path: Path, removals: Removals) -> Iterator[pa.Table]:
    """The table of a source, masked, row group by row group."""
    for batch in schemas.iterate_parquet(path):
        yield masked(pa.Table.from_batches([batch], schemas.SUBMISSIONS), removals)


def posted_by_name(submissions: Artefact) -> Iterator[str]:
    """The doc_ids of removed links whose post an order names."""
    for shard in range(submissions.shards):
        table = schemas.read_parquet(submissions.file(shard, ".parquet"), ("url", "id", "doc_id"))
        left = pc.and_(pc.equal(table["url"], ""), pc.not_equal(table["id"], ""))
        yield from table["doc_id"].filter(left).to_pylist()


def submission_counts(sources: Artefact, submissions: Artefact) -> RowCounts:
    """The counts of all lines: what reading the sources found, with the repeats that only the scratch shards could see.

    Raises BooksError: rows were lost or doubled between the two.
    """
    read = receipts.added(receipt.books for receipt in sources.receipts()).get(STEP, RowCounts(0, {}))
    gathered = receipts.added(receipt.books for receipt in submissions.receipts())[STEP]
    if read.outcomes.get(Outcome.KEPT, 0) != gathered.inputs:
        raise BooksError(f"submissions: {read.outcomes.get(Outcome.KEPT, 0)} rows sent, {gathered.inputs} received")
    return receipts.balanced(STEP, read.inputs, {**read.outcomes, **gathered.outcomes})
