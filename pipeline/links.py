"""submissions → links: one row a URL with all its submissions, and whether the recipe keeps it.

Choice: two phases. Submissions are first exchanged to the home shard of their host, where repeated ids meet; then, with
the number of links of every host known, hosts too large for one shard are spread and each link gets its outcome. Cost:
submissions are written once more, below `scratch/`; a change of karma or of a list re-decides without reading a dump.
Alternative: one exchange straight to the links, which can split no host, because nobody has counted yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from glob import glob
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import urls
from pipeline.config import Settings, slice_of
from pipeline.shards import receipts, schemas, storage
from pipeline.shards.outcomes import BooksError, ConfigError, InputError, Outcome
from pipeline.shards.receipts import Artefact, Books, Manifest, Task
from pipeline.shards.runner import Run
from pipeline.submissions.ledger import snapshots
from pipeline.submissions.rows import Submission
from pipeline.submissions.sources import read_submissions
from pipeline.urls import BadUrl, HostList

VERSION = 1
LIBRARIES = ("ada-url", "msgspec", "pyarrow")
BLOCK_ROWS = 50_000  # lines of a dump between two scatters; about 15 MB of rows
BOOK = "submissions"

Row = dict[str, Any]


@dataclass(frozen=True)
class Rules:
    """What decides the outcome of a link."""

    karma: int
    over_18: bool
    wikipedia: HostList
    blocked: HostList
    suffixes: tuple[str, ...]

    @classmethod
    def of(cls, settings: Settings, work: Path) -> Rules:
        """The rules of `[links]`; a user's list is relative to `work`. Raises InputError: a list that is none."""
        links, packaged = settings.links, HostList.packaged
        own = HostList.from_file(work / links.blocked_hosts) if links.blocked_hosts else None
        suffixes = urls.packaged_entries("blocked_suffixes.txt")
        blocked = own or packaged("blocked_hosts.txt")
        return cls(links.karma, links.over_18, packaged("wikipedia_hosts.txt"), blocked, suffixes)

    def described(self) -> list[Any]:
        """The lists, JSON-able, for fingerprints."""
        return [sorted(self.wikipedia.hosts), sorted(self.blocked.hosts), sorted(self.suffixes)]

    def outcome(self, url: str, host: str, score: int, over_18: bool) -> Outcome:
        """The first rule that refuses a link, or KEPT: where it leads, then how it was posted, then its karma.

        `score` is the highest of its submissions; `over_18` whether all of them are marked so.
        """
        tests = (
            (urls.is_reddit(host), Outcome.REDDIT_HOST),
            (host in self.wikipedia, Outcome.WIKIPEDIA_HOST),
            (host in self.blocked, Outcome.BLOCKED_HOST),
            (urls.suffix_blocked(url, self.suffixes), Outcome.BLOCKED_SUFFIX),
            (over_18 and not self.over_18, Outcome.OVER_18),
            (score < self.karma, Outcome.LOW_KARMA),
        )
        return next((outcome for refused, outcome in tests if refused), Outcome.KEPT)


def stage(settings: Settings, work: Path, run: Run) -> Manifest:
    """A Parquet shard of LINKS per shard of the build, sorted by URL.

    Raises ConfigError (no dumps named), InputError (a dump is missing or damaged, a host list cannot be read).
    """
    shards = settings.build.shards
    rules = Rules.of(settings, work)
    paths = snapshots(find(settings.links.submissions, work), work / "scratch" / "ledgers")
    dumps, submissions = collect(paths, work, shards, run)
    splits = urls.split_hosts(count_links(submissions), shards)
    links = Artefact(work, "links", shards)
    used = slice_of(settings.links)
    del used["submissions"], used["blocked_hosts"]  # their contents count, not where they lie
    decided_by = [splits, shards, rules.described()]
    read = [[submissions.hashes(home) for home in senders(shard, shards, splits)] for shard in range(shards)]
    tasks = links.begin([receipts.fingerprint("links", VERSION, used, [decided_by, one], LIBRARIES) for one in read])
    run.map_shards(partial(decide_shard, rules, splits, submissions, links), tasks)
    return links.finish(used, LIBRARIES, {BOOK: whole_book(dumps, submissions)})


def find(patterns: Sequence[str], work: Path) -> list[Path]:
    """The dumps that the globs name, sorted, each once; relative globs start at `work`.

    Raises ConfigError: no globs. InputError: a glob that matches no file.
    """
    if not patterns:
        raise ConfigError("links.submissions is empty: set it in webtext.toml to your dumps, or to a harvest's ledger")
    found: set[Path] = set()
    for pattern in patterns:
        names = glob(pattern, root_dir=work, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute ones
        files = {(work / name).absolute() for name in names if (work / name).is_file()}
        if not files:
            raise InputError(f"links.submissions: {pattern!r} matches no file; correct it in webtext.toml")
        found |= files
    return sorted(found)


def collect(paths: Iterable[Path], work: Path, shards: int, run: Run) -> tuple[Artefact, Artefact]:
    """Read the dumps into scratch: the artefact of their books, one a dump, and that of their rows, one a home shard.

    Dumps are numbered by content, so that to rename one, or to name another first, makes nothing stale.
    """
    hashed = sorted((storage.sha256_of(path), path) for path in paths)
    dumps = Artefact(work, "scratch/dumps", len(hashed))
    submissions = Artefact(work, "scratch/submissions", shards)
    version = [VERSION, urls.CANONICAL_VERSION]
    reads = [receipts.fingerprint("dumps", VERSION, {}, [version, sha256], LIBRARIES) for sha256, _ in hashed]
    wanted = receipts.fingerprint("submissions", VERSION, {"shards": shards}, reads, LIBRARIES)
    unread, stale = dumps.begin(reads), submissions.begin([wanted] * shards)
    if unread:  # books are missing: everything is read again, and no shard is better than another
        stale = [Task(shard, wanted) for shard in range(shards)]
    if stale:
        sources = [(Task(place, reads[place]), path) for place, (_, path) in enumerate(hashed)]
        run.exchange(partial(scatter_dump, dumps, shards), sources, partial(gather_shard, submissions), stale)
    return dumps, submissions


def scatter_dump(dumps: Artefact, shards: int, source: tuple[Task, Path]) -> Iterator[tuple[int, bytes]]:
    """The rows of one dump as (home shard, block of SUBMISSIONS); at the end, its receipt with the book of reading."""
    task, path = source
    book: Counter[str] = Counter()
    for kept, fates in read_submissions(path, BLOCK_ROWS):
        rows = [row for row in map(row_of, kept) if row is not None]
        fates.update({Outcome.BAD_URL: len(kept) - len(rows), Outcome.KEPT: len(rows) - len(kept)})
        book.update(fates)
        homes = [urls.shard_of(row["host"], row["doc_id"], shards, {}) for row in rows]
        yield from schemas.scatter(pa.Table.from_pylist(rows, schemas.SUBMISSIONS), homes)
    with dumps.attempt(task) as attempt:
        attempt.commit({BOOK: receipts.balanced(BOOK, book.total(), book)})


def row_of(submission: Submission) -> Row | None:
    """A submission as a row of SUBMISSIONS, or None: its address is none."""
    try:
        url, fetch_url = urls.canonical_url(submission.url), urls.fetch_url(submission.url)
    except BadUrl:
        return None
    posted = (submission.id, submission.score, submission.created_utc, submission.subreddit, submission.over_18)
    return dict(
        zip(schemas.SUBMISSIONS.names, (url, fetch_url, urls.doc_id(url), urls.host_of(url), *posted), strict=True)
    )


def gather_shard(submissions: Artefact, task: Task, blocks: Iterable[bytes]) -> None:
    """Write one home shard: its rows without repeats, sorted by URL, time, id."""
    received = schemas.unpack(blocks, schemas.SUBMISSIONS)
    kept = without_repeats(received)
    book: dict[str, int] = {Outcome.KEPT: kept.num_rows, Outcome.REPEATED: received.num_rows - kept.num_rows}
    with submissions.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            rows = schemas.write_parquet(file, [kept], schemas.SUBMISSIONS)
        attempt.rows(".parquet", rows)
        attempt.commit({BOOK: receipts.balanced(BOOK, received.num_rows, book)})


def without_repeats(table: pa.Table) -> pa.Table:
    """Of rows with the same URL and id the one with the highest score (then earliest, …); sorted by URL, time, id."""
    ties = [(name, "ascending") for name in ("created", "fetch_url", "subreddit", "over_18")]
    ranked = table.sort_by([("url", "ascending"), ("id", "ascending"), ("score", "descending"), *ties])
    if ranked.num_rows:
        before, after = ranked.slice(0, ranked.num_rows - 1), ranked.slice(1)
        new = pc.or_(pc.not_equal(before["url"], after["url"]), pc.not_equal(before["id"], after["id"]))
        ranked = ranked.filter(pa.chunked_array([pa.array([True]), *new.chunks], pa.bool_()))
    return ranked.sort_by([(name, "ascending") for name in ("url", "created", "id")])


def count_links(submissions: Artefact) -> dict[str, int]:
    """How many links each host has; a host is in one home shard only."""
    counts: dict[str, int] = {}
    for shard in range(submissions.shards):
        table = schemas.read_parquet(submissions.file(shard, ".parquet"), ("host", "doc_id"))
        found = table.group_by("host").aggregate([("doc_id", "count_distinct")])
        counts.update(zip(found["host"].to_pylist(), found["doc_id_count_distinct"].to_pylist(), strict=True))
    return counts


def senders(shard: int, shards: int, splits: Mapping[str, int]) -> list[int]:
    """The home shards that may hold links of a shard: itself, and those of split hosts that reach so far."""
    homes = {host: urls.shard_of(host, "", shards, {}) for host in splits}
    return sorted({shard} | {home for host, home in homes.items() if (shard - home) % shards < splits[host]})


def decide_shard(rules: Rules, splits: Mapping[str, int], submissions: Artefact, links: Artefact, task: Task) -> None:
    """Write one shard of LINKS and its book."""
    homes = senders(task.shard, links.shards, splits)
    mine = pa.concat_tables([part_of(submissions, home, task.shard, splits) for home in homes])
    rows = (row for batch in mine.sort_by("url").to_batches(schemas.ROW_GROUP) for row in batch.to_pylist())
    book: Counter[str] = Counter()
    decided = (link_of(list(group), rules, splits, book) for _, group in groupby(rows, itemgetter("url")))
    chunks = iter(lambda: list(islice(decided, schemas.ROW_GROUP)), [])
    with links.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            tables = (pa.Table.from_pylist(chunk, schemas.LINKS) for chunk in chunks)
            count = schemas.write_parquet(file, tables, schemas.LINKS)
        attempt.rows(".parquet", count)
        attempt.commit({"links": receipts.balanced("links", count, book)})


def part_of(submissions: Artefact, home: int, shard: int, splits: Mapping[str, int]) -> pa.Table:
    """The rows of a home shard that belong to `shard`."""
    table = schemas.read_parquet(submissions.file(home, ".parquet"))
    keys = zip(table["host"].to_pylist(), table["doc_id"].to_pylist(), strict=True)
    owners = (urls.shard_of(*key, submissions.shards, splits) if key[0] in splits else home for key in keys)
    return table.filter(pa.array([owner == shard for owner in owners], pa.bool_()))


def link_of(rows: list[Row], rules: Rules, splits: Mapping[str, int], book: Counter[str]) -> Row:
    """The row of LINKS of all submissions of one URL; its outcome goes into `book`."""
    rows.sort(key=itemgetter("created", "id"))
    first, score = rows[0], max(row["score"] for row in rows)
    outcome = rules.outcome(first["url"], first["host"], score, all(row["over_18"] for row in rows))
    book[outcome] += 1
    return {
        "url": first["url"],
        "fetch_url": min(rows, key=lambda row: (-row["score"], row["created"], row["fetch_url"]))["fetch_url"],
        "doc_id": first["doc_id"],
        "host": first["host"],
        "score": score,
        "created": first["created"],
        "submissions": [{field.name: row[field.name] for field in schemas.SUBMISSION} for row in rows],
        "host_shards": splits.get(first["host"], 1),
        "outcome": outcome.value,
    }


def whole_book(dumps: Artefact, submissions: Artefact) -> Books:
    """The book of all lines: what reading the dumps found, with the repeats that only the home shards could see.

    Raises BooksError: rows were lost or doubled between the two.
    """
    read = receipts.added(one.books for one in dumps.receipts()).get(BOOK, Books(0, {}))
    gathered = receipts.added(one.books for one in submissions.receipts())[BOOK]
    if read.outcomes.get(Outcome.KEPT, 0) != gathered.inputs:
        raise BooksError(f"submissions: {read.outcomes.get(Outcome.KEPT, 0)} rows sent, {gathered.inputs} received")
    return receipts.balanced(BOOK, read.inputs, {**read.outcomes, **gathered.outcomes})
