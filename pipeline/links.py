"""submissions → links: one row a URL with all its submissions, and whether the recipe keeps it.

Choice: two exchanges. Submissions first go to a scratch shard by the hash of their URL, which spreads any host evenly
and is where repeated ids meet; then, with the links of large hosts counted, to the shard of their host, or to those
that it is spread over, where each link gets its outcome. Cost: submissions are written twice more, below `scratch/`;
a change of karma or of a list decides again without reading a dump. Alternative: one exchange by host, which puts all
links of the largest host on one shard before anybody could count them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import urls
from pipeline.config import LinksSettings, Settings, slice_of
from pipeline.counts import counted
from pipeline.fetch.captures import addresses
from pipeline.fetch.kinds import LEFT_OUT, NotAnArchive, is_archive
from pipeline.shards import inputs, progress, receipts, schemas, storage
from pipeline.shards.locations import name_of
from pipeline.shards.outcomes import BooksError, ConfigError, InputError, Outcome
from pipeline.shards.receipts import Artefact, Manifest, RowCounts, Task
from pipeline.shards.removals import Removals, keep_came
from pipeline.shards.runner import HEAVY_S, Run
from pipeline.submissions import bigquery, windows
from pipeline.submissions.decide import LISTS, Rules, decided, forgotten
from pipeline.submissions.ledger import SUFFIX, snapshots
from pipeline.submissions.rows import MOST_FAULTS, Block, Submission, block_of
from pipeline.submissions.sources import Reader, reader_of
from pipeline.urls import BadUrl

VERSION = 4
LIBRARIES = ("ada-url", "msgspec", "numpy", "pyarrow")
READ_ROWS = 20_000  # of a source, made an Arrow table at a time
SCATTER_BYTES = 128_000_000  # of tables, put together before they are scattered: fewer and larger blocks
SCATTER_ROWS = 500_000  # of scratch shards read together, for the same end
STEP = "submissions"
MOST_NOTES = 20  # on what is wrong within sources, of all of them together
SOURCES = ("submissions", "bigquery", "bigquery_days")  # settings that say what is read
EMPTY = schemas.SUBMISSIONS.empty_table()
READ_S = 40e-9  # CPU s a byte of a packed dump: 4 us a line (bench_plan.py), of about 100 bytes
Source = tuple[Task, Path]
Collected = tuple[list[Path], Artefact, Artefact]  # the files, the counts of each, the rows of all


def stage(settings: Settings, work: Path, run: Run) -> Manifest:
    """A Parquet shard of LINKS per shard of the build, sorted by URL.

    Raises ConfigError (no source named), InputError (a source is missing or damaged, a list cannot be read).
    """
    shards = settings.build.shards
    rules = Rules.of(settings.links, work)
    folders: list[str] = []
    named = find(settings.links, work, folders)
    paths = snapshots(named, work / "scratch" / "ledgers") + exported(settings.links, work, run)
    paths, left_out = sorted_out(paths, folders)
    read_from, sources, submissions = collect(paths, work, shards, run, settings.build.windows_bytes)
    splits = urls.split_hosts(*count_links(submissions), shards)
    links = Artefact(work, "links", shards)
    used = {name: value for name, value in slice_of(settings.links).items() if name not in (*SOURCES, *LISTS)}
    read = [submissions.hashes(shard) for shard in range(shards)]
    decided_by = [urls.CANONICAL_VERSION, splits, shards, rules.described(), read]  # what is read, not where it lies
    tasks = links.begin([receipts.fingerprint("links", VERSION, used, decided_by, LIBRARIES)] * shards)
    if tasks:
        scatter, gather = partial(scatter_shards, submissions, splits), partial(decide_shard, rules, splits, links)
        run.exchange(scatter, list(groups(submissions)), gather, tasks)
    if Removals.of(work).submissions:
        keep_came(work, posted_by_name(submissions))
    notes = notes_of(read_from, sources, left_out)
    return links.finish(used, LIBRARIES, books={STEP: submission_counts(sources, submissions)}, notes=notes)


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
    """Read the sources into scratch: their files, the artefact of their counts, and that of their rows, by hash of URL.

    A shard of the counts is a source, numbered by content, so that neither its name nor its place makes it stale.
    """
    hashed = sorted((sha256, path) for path, sha256 in inputs.sha256_of_each(paths, work / inputs.HASHES).items())
    sources, submissions = Artefact(work, "scratch/dumps", len(hashed)), Artefact(work, "scratch/submissions", shards)
    kinds = [[[VERSION, urls.CANONICAL_VERSION], [sha256, reader_for(path).__name__]] for sha256, path in hashed]
    reads = [receipts.fingerprint("dumps", VERSION, {}, kind, LIBRARIES) for kind in kinds]
    wanted = receipts.fingerprint("submissions", VERSION, {"shards": shards}, reads, LIBRARIES)
    unread, stale = sources.begin(reads), submissions.begin([wanted] * shards)
    if unread:  # counts are missing: everything is read again, and no shard is better than another
        stale = [Task(shard, wanted) for shard in range(shards)]
    if stale:
        tasks = [(Task(place, reads[place]), path) for place, (_, path) in enumerate(hashed)]
        size = sum(storage.size_of(path) for _, path in hashed)
        progress.expect(size, progress.BYTES, "submissions")
        scatter = partial(scatter_source, sources, shards, windows_bytes=windows_bytes)
        run.exchange(scatter, tasks, partial(gather_shard, submissions), stale, heavy=size * READ_S > HEAVY_S)
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
    """The rows of one source as (scratch shard, block of SUBMISSIONS); at the end, its receipt with its counts.

    A source named as an archive that is none is left out, with a note, as is told of one that gives no link.
    """
    task, path = source
    counts: Counter[str] = Counter()
    notes: list[str] = []

    def tables() -> Iterator[pa.Table]:
        try:
            for kept, fates, faults in reader_for(path)(path, READ_ROWS):
                table = table_of(kept)
                progress.advance(progress.ROWS, fates.total())
                counts.update(fates)
                counts.update({Outcome.KEPT: table.num_rows - len(kept), Outcome.BAD_URL: len(kept) - table.num_rows})
                notes.extend(f"{fault.where}: {fault.why}" for fault in faults[: max(0, MOST_FAULTS - len(notes))])
                yield table
        except NotAnArchive as error:
            notes.append(f"{LEFT_OUT}{error}")

    with windows.room(path, windows.budget(windows_bytes)):
        for table in schemas.in_runs(tables(), SCATTER_BYTES):
            yield from schemas.scatter(table, [int(doc_id[:8], 16) % shards for doc_id in table["doc_id"].to_pylist()])
    if counts.total() and counts[Outcome.BAD_LINE] == counts.total() and not is_archive(path):
        first, lines = f" ({notes[0]})" if notes else "", counted(counts.total(), "line")
        raise InputError(f"{path}: none of its {lines} is a submission{first}; is it another kind of file?")
    if notes and counts[Outcome.BAD_LINE] > len(notes):
        notes.append(f"{counted(counts[Outcome.BAD_LINE], 'bad line')} in all")
    if not (counts[Outcome.KEPT] or any(note.startswith(LEFT_OUT) for note in notes)):
        notes.insert(0, f"no link: {said_of(counts)}")
    with sources.attempt(task) as attempt:
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
    received = schemas.unpack(blocks, schemas.SUBMISSIONS)
    kept = without_repeats(received)
    counts: dict[str, int] = {Outcome.KEPT: kept.num_rows, Outcome.REPEATED: received.num_rows - kept.num_rows}
    left = forgotten(kept, Removals.of(submissions.root))
    with submissions.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            rows = schemas.write_parquet(file, [left], schemas.SUBMISSIONS)
        attempt.rows(".parquet", rows)
        attempt.commit({STEP: receipts.balanced(STEP, received.num_rows, counts)})


def without_repeats(table: pa.Table) -> pa.Table:
    """Of rows with the same URL and id the one with the highest score (then earliest, …); sorted by URL, time, id."""
    ties = [(name, "ascending") for name in ("created", "fetch_url", "subreddit", "over_18")]
    ranked = table.sort_by([("url", "ascending"), ("id", "ascending"), ("score", "descending"), *ties])
    if ranked.num_rows:
        before, after = ranked.slice(0, ranked.num_rows - 1), ranked.slice(1)
        new = pc.or_(pc.not_equal(before["url"], after["url"]), pc.not_equal(before["id"], after["id"]))
        ranked = ranked.filter(pa.chunked_array([pa.array([True]), *new.chunks], pa.bool_()))
    return ranked.sort_by([(name, "ascending") for name in ("url", "created", "id")])


def posted_by_name(submissions: Artefact) -> Iterator[str]:
    """The doc_ids of removed links whose post an order names."""
    for shard in range(submissions.shards):
        table = schemas.read_parquet(submissions.file(shard, ".parquet"), ("url", "id", "doc_id"))
        left = pc.and_(pc.equal(table["url"], ""), pc.not_equal(table["id"], ""))
        yield from table["doc_id"].filter(left).to_pylist()


def count_links(submissions: Artefact) -> tuple[dict[str, int], int]:
    """Links of each host that may have more than 2/N of all (N scratch shards), and the number of all links.

    Such a host has more than 2/N of the links of at least one scratch shard; only these few are counted, in a second
    pass, so that memory does not grow with the number of hosts.
    """
    large, total = set[str](), 0
    for counts in counts_of(submissions):
        links = pc.sum(counts["links"]).as_py() or 0
        over = pc.greater(pc.multiply(counts["links"], submissions.shards), 2 * links)
        large.update(host for host in counts.filter(over)["host"].to_pylist() if host)
        total += links
    found: Counter[str] = Counter()
    for counts in counts_of(submissions):
        rows = counts.filter(pc.is_in(counts["host"], pa.array(sorted(large), pa.string())))
        found.update(dict(zip(rows["host"].to_pylist(), rows["links"].to_pylist(), strict=True)))
    return dict(found), total


def counts_of(submissions: Artefact) -> Iterator[pa.Table]:
    """Of each scratch shard how many links its hosts have: host, links."""
    for shard in range(submissions.shards):
        # without a host: what is left of removed links; they count among all, so that nobody else is spread anew
        table = schemas.read_parquet(submissions.file(shard, ".parquet"), ("host", "doc_id"))
        yield table.group_by("host").aggregate([("doc_id", "count_distinct")]).rename_columns(["host", "links"])


def groups(submissions: Artefact) -> Iterator[tuple[int, ...]]:
    """The scratch shards in groups of about SCATTER_ROWS rows, so that blocks are large."""
    group: list[int] = []
    rows = 0
    for shard, receipt in enumerate(submissions.receipts()):
        group.append(shard)
        rows += sum(stamp.rows for stamp in receipt.files.values())
        if rows >= SCATTER_ROWS:
            yield tuple(group)
            group, rows = [], 0
    if group:
        yield tuple(group)


def scatter_shards(submissions: Artefact, splits: Mapping[str, int], group: Sequence[int]) -> Iterator[schemas.Block]:
    """The rows of some scratch shards as (shard, block of SUBMISSIONS)."""
    table = pa.concat_tables([schemas.read_parquet(submissions.file(shard, ".parquet")) for shard in group])
    yield from schemas.scatter(table, owners(table, splits, submissions.shards))


def owners(table: pa.Table, splits: Mapping[str, int], shards: int) -> NDArray[np.int32]:
    """The shard of each row, by `urls.shard_of`, which is asked once a host that is not split.

    What is left of removed links has no host, and goes anywhere.
    """
    splits = {**splits, "": shards}
    hosts = table["host"].combine_chunks().dictionary_encode()
    names = hosts.dictionary.to_pylist()
    homes = np.array([urls.shard_of(name, "", shards, {}) for name in names], np.int32)
    found: NDArray[np.int32] = homes[hosts.indices.to_numpy()]
    split = pc.is_in(table["host"], pa.array(sorted(splits), pa.string())).to_numpy()
    rows = table.filter(split)
    keys = zip(rows["host"].to_pylist(), rows["doc_id"].to_pylist(), strict=True)
    found[split] = [urls.shard_of(*key, shards, splits) for key in keys]
    return found


def decide_shard(
    rules: Rules, splits: Mapping[str, int], links: Artefact, task: Task, blocks: Iterable[pa.Table]
) -> None:
    """Write one shard of LINKS, its counts, and how many links each reading of karma would admit."""
    found = decided(schemas.unpack(blocks, schemas.SUBMISSIONS), rules, splits)
    with links.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            rows = schemas.write_parquet(file, [found.links], schemas.LINKS)
        attempt.rows(".parquet", rows)
        counts = receipts.balanced("links", rows, found.outcomes)
        admitted = {f"admitted_by_{reading}": count for reading, count in found.admitted.items()}
        attempt.commit({"links": counts}, counts=admitted)


def submission_counts(sources: Artefact, submissions: Artefact) -> RowCounts:
    """The counts of all lines: what reading the sources found, with the repeats that only the scratch shards could see.

    Raises BooksError: rows were lost or doubled between the two.
    """
    read = receipts.added(receipt.books for receipt in sources.receipts()).get(STEP, RowCounts(0, {}))
    gathered = receipts.added(receipt.books for receipt in submissions.receipts())[STEP]
    if read.outcomes.get(Outcome.KEPT, 0) != gathered.inputs:
        raise BooksError(f"submissions: {read.outcomes.get(Outcome.KEPT, 0)} rows sent, {gathered.inputs} received")
    return receipts.balanced(STEP, read.inputs, {**read.outcomes, **gathered.outcomes})
