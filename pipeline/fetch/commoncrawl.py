"""Common Crawl's columnar index joined with the links: for each link the capture nearest to the date of its post.

Choice: one query (sql/commoncrawl_pages.sql), run by DuckDB over each index file and then over all that these gave, by
shard of the link; the same query runs in Athena where the whole index lies. Cost: every index file is read once, some
300 files of 700 MB a crawl. Alternative: the index server, one request a link, which its operators ask not to do.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import PagesSettings
from pipeline.fetch.nearest import posted
from pipeline.fetch.pointers import Splits, files_of
from pipeline.fetch.surt import surt
from pipeline.shards import inputs, receipts, schemas, storage
from pipeline.shards.locations import pointer_to
from pipeline.shards.outcomes import ConfigError, InputError, Outcome
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import Block, Run
from pipeline.urls import BadUrl, canonical_url, doc_id, host_of, shard_of

VERSION = 1
LIBRARIES = ("ada-url", "duckdb", "pyarrow")
QUERY = "commoncrawl_pages.sql"
ORIGIN = re.compile(r"^https?://(www[.])?")  # as in the query
GUESSED = {"crawl": "NULL::VARCHAR", "subset": "'warc'", "content_digest": "NULL::VARCHAR"}  # for an index without them
NEEDED = tuple(name for name in schemas.MATCHES.names if name not in ("doc_id", *GUESSED))


@dataclass(frozen=True)
class IndexFile:
    """A Parquet file of the index, and the task of its receipt."""

    path: Path
    task: Task


def collect(settings: PagesSettings, work: Path, run: Run, links: Artefact, splits: Splits) -> Artefact:
    """The best match of every link that the index knows, by shard of the link, in the order of file and offset.

    Raises ConfigError: DuckDB is not installed. InputError: a glob that matches nothing, a file that is no such index.
    """
    duckdb()  # before its version is asked for
    text = query()
    wanted = ask(run, work, links)
    try:
        paths = files_of(settings.commoncrawl, work, "pages.commoncrawl")
    except InputError as error:
        raise InputError(f"{error}; what to look up lies in {wanted.folder}: see sql/{QUERY}") from None
    # with its path, which in a partitioned index names the crawl
    contents = inputs.sha256_of_each(paths, work / inputs.HASHES)
    found = [(path, [pointer_to(path, work / "pages"), sha256]) for path, sha256 in contents.items()]
    asked = [list(wanted.hashes(shard).values()) for shard in range(links.shards)]
    given = [asked, dict(splits), text]
    marks = [receipts.fingerprint("ccindex", VERSION, {}, [content, given], LIBRARIES) for _, content in found]
    files, matches = Artefact(work, "scratch/ccindex", len(found)), Artefact(work, "scratch/matches", links.shards)
    mark = receipts.fingerprint("matches", VERSION, {}, [marks, given], LIBRARIES)
    unread, targets = files.begin(marks), matches.begin([mark] * links.shards)
    if unread:
        targets = [Task(shard, mark) for shard in range(links.shards)]
    sources = [IndexFile(path, Task(number, marks[number])) for number, (path, _) in enumerate(found)]
    send, take = partial(scatter, text, wanted, files, splits), partial(gather, text, wanted, matches)
    run.exchange(send, sources, take, targets)
    return matches


def duckdb() -> Any:
    """The module DuckDB, which only those need who read Common Crawl. Raises ConfigError."""
    try:
        return importlib.import_module("duckdb")
    except ModuleNotFoundError:
        raise ConfigError("duckdb is not installed; run: pip install 'webtext[commoncrawl]'") from None


def query() -> str:
    """The text of the query: beside the package in a source tree, within it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "sql", package.parent / "sql"):
        if (folder / QUERY).is_file():
            return (folder / QUERY).read_text("utf-8")
    raise ConfigError(f"{package / 'sql' / QUERY}: missing; install webtext again")


def ask(run: Run, work: Path, links: Artefact) -> Artefact:
    """What to look up for the kept links of each shard, as Parquet files of WANTED."""
    wanted = Artefact(work, "scratch/wanted", links.shards)
    marks = [
        receipts.fingerprint("wanted", VERSION, {}, list(links.hashes(shard).values()), ("ada-url", "pyarrow"))
        for shard in range(links.shards)
    ]
    run.map_shards(partial(ask_shard, links, wanted), wanted.begin(marks))
    return wanted


def ask_shard(links: Artefact, wanted: Artefact, task: Task) -> None:
    """Write what to look up for one shard."""
    columns = ["doc_id", "url", "fetch_url", "created", "outcome"]
    rows = [
        {"doc_id": row["doc_id"], **address, "posted": posted(row["created"])}
        for batch in schemas.iterate_parquet(links.file(task.shard, ".parquet"), columns)
        for row in batch.to_pylist()
        if row["outcome"] == Outcome.KEPT
        for address in addresses(row["url"], row["fetch_url"])
    ]
    write(wanted, task, pa.Table.from_pylist(rows, schemas.WANTED), schemas.WANTED)


def addresses(url: str, fetch_url: str) -> list[dict[str, str]]:
    """Key and address of a link in canonical form and, where that differs, as posted."""
    both = {ORIGIN.sub("", spelling): spelling for spelling in (url, fetch_url)}
    return [{"url_surtkey": surt(spelling), "address": address} for address, spelling in both.items()]


def scatter(text: str, wanted: Artefact, files: Artefact, splits: Splits, source: IndexFile) -> Iterator[Block]:
    """The best matches within one index file, to the shards of their links; then the file's receipt."""
    check_index(source.path)
    paths = [wanted.file(shard, ".parquet") for shard in range(wanted.shards)]
    table = answer(text, paths, source.path)
    hosts = list(map(host_if_same, table.select(["doc_id", "url"]).to_pylist()))
    table = table.filter(pa.array([host is not None for host in hosts], pa.bool_()))
    found = zip((host for host in hosts if host is not None), table["doc_id"].to_pylist(), strict=True)
    places = [shard_of(host, doc, wanted.shards, splits) for host, doc in found]
    yield from schemas.scatter(table, places)
    with files.attempt(source.task) as attempt:
        attempt.commit({})


def host_if_same(row: dict[str, Any]) -> str | None:
    """The host of a matched address if it is the link's own in canonical form, else None."""
    try:
        url = canonical_url(row["url"])
    except BadUrl:
        return None
    return host_of(url) if doc_id(url) == row["doc_id"] else None


def gather(text: str, wanted: Artefact, matches: Artefact, task: Task, blocks: Iterable[pa.Table]) -> None:
    """The best of all matches of a shard's links, by file and offset."""
    table = schemas.unpack(blocks, schemas.MATCHES)
    best = answer(text, [wanted.file(task.shard, ".parquet")], table.drop_columns(["doc_id"]))
    order = [(name, "ascending") for name in ("warc_filename", "warc_record_offset", "doc_id")]
    write(matches, task, best.sort_by(order), schemas.MATCHES)


def answer(text: str, wanted: Sequence[Path], index: Path | pa.Table) -> pa.Table:
    """The rows of MATCHES that the query gives for tables of WANTED and an index. Raises InputError."""
    with duckdb().connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.read_parquet([str(path) for path in wanted]).create_view("wanted")
        try:
            if isinstance(index, Path):
                given = database.read_parquet(str(storage.local(index)), hive_partitioning=True)
                guessed = [f"{value} AS {name}" for name, value in GUESSED.items() if name not in given.columns]
                given.project(", ".join(["*", *guessed])).create_view("ccindex")
            else:
                database.register("ccindex", index)
            found: pa.Table = database.sql(text).to_arrow_table()
            return found.cast(schemas.MATCHES)
        except (duckdb().Error, pa.ArrowInvalid) as error:
            raise InputError(f"{index if isinstance(index, Path) else QUERY}: {str(error).splitlines()[0]}") from None


def check_index(path: Path) -> None:
    """Raise InputError unless the file is Parquet with the columns of the index."""
    try:
        names = pq.read_schema(storage.local(path)).names
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a Parquet file of Common Crawl's index: {str(error).splitlines()[0]}") from None
    lacking = [name for name in NEEDED if name not in names]
    if lacking:
        raise InputError(f"{path}: no table of Common Crawl's index: it has no column {', '.join(lacking)}")


def write(artefact: Artefact, task: Task, table: pa.Table, schema: pa.Schema) -> None:
    """Write and commit a scratch shard."""
    with artefact.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            rows = schemas.write_parquet(file, [table], schema)
        attempt.rows(".parquet", rows)
        attempt.commit({})
