"""The rows of removed documents, taken out of the shards that are made, and the row counts corrected.

Choice: the touched shards of each artefact are written again without them, under the fingerprint that they had, so that
nothing else becomes stale. Of a link its doc_id stays, so that it is counted. Tokens are overwritten by end-of-text,
always: nobody can know whether a run trains on a copy of the shards, and no window of a run that goes on may move.
Cost: their places stay in the token stream until the tokens are built next. Alternative: mark the rows and build again,
which extracts every page of a touched shard a second time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.build import artefact
from pipeline.documents import SIGNAL_TYPES
from pipeline.fetch import pointers
from pipeline.shards import progress, receipts, schemas, storage
from pipeline.shards.outcomes import Outcome
from pipeline.shards.receipts import Artefact, RowCounts, Task
from pipeline.submissions import decide
from pipeline.verbs.remove.removal import Removal
from pipeline.verbs.remove.search import concerned, made

PARTS = {"links": ("",), "pages": ("",), "documents": ("",), "corpus": ("", "removed"), "tokens": ("train", "val")}
SCRATCH = (
    "scratch/submissions", "scratch/found", "scratch/wanted", "scratch/matches", "scratch/captures",
    "scratch/originals",
)  # fmt: skip
BY_NAME = ("scratch/dumps", "scratch/warcs")  # of which a shard is an input file
SCHEMAS = {"links": schemas.LINKS, "pages": schemas.PAGES, "corpus": schemas.CORPUS, "removed": schemas.REMOVED}

Rewritten = tuple[int, Counter[str]]  # rows that a file holds now; the outcomes of those that left it


def take_out(removal: Removal) -> None:
    """Write every shard that holds something of a removed document without it."""
    for stage, parts in PARTS.items():
        shards_of = artefact(removal.root, stage, removal.shards)
        for shard in range(shards_of.shards):
            if (
                shards_of.receipt(shard) is None
            ):  # not made, or cut short here: what lies there is made anew by the next build
                discard(shards_of, shard)
        for shard in progress.each(concerned(shards_of, removal.where)):
            if shards_of.receipt(shard) is not None:
                rewrite(removal, shards_of, shard, parts)
        shards_of.refresh()
    for name in SCRATCH:
        shards_of = Artefact(removal.root, name, removal.shards)
        for shard in made(shards_of):
            rewrite(removal, shards_of, shard, ("",))
    for name in BY_NAME:
        shards_of = Artefact.of_names(removal.root, name)
        for shard in range(shards_of.shards):
            if shards_of.made(shard).files:  # an earlier version wrote none
                rewrite(removal, shards_of, shard, ("",))


def discard(made: Artefact, shard: int) -> None:
    """Delete the files of a shard that no receipt describes."""
    for part in PARTS[made.name]:
        storage.discard(made.path(made.file_name(shard, suffix_of(made), part)))


def suffix_of(made: Artefact) -> str:
    """How the names of an artefact's files end."""
    return ".arrow" if made.name == "tokens" else ".parquet"


def rewrite(removal: Removal, made: Artefact, shard: int, parts: tuple[str, ...]) -> None:
    """Write the files of one shard that hold a doomed row without it, and correct the row counts."""
    receipt = made.made(shard)
    gone: Counter[str] = Counter()
    suffix, write = suffix_of(made), REWRITE.get(made.name, without)
    with made.attempt(Task(shard, receipt.fingerprint)) as attempt:
        for part in parts:
            path = made.file(shard, suffix, part)
            if not HOLDS.get(made.name, holds)(removal, path):
                continue
            with attempt.write(suffix, part) as file:
                rows, outcomes = write(removal, path, file)
            attempt.rows(suffix, rows, part)
            gone.update(outcomes)
            before = receipt.files[made.file_name(shard, suffix, part)].sha256
            removal.change(path, outcomes.total(), before, file.stamp().sha256)
        if attempt.files:
            attempt.rewrite(corrected(made.name, receipt.books, gone))


def corrected(name: str, books: dict[str, RowCounts], gone: Counter[str]) -> dict[str, RowCounts]:
    """The row counts of a shard after rows of these outcomes left it; in those of `links` they stay, as removed."""
    if name not in books or name.startswith("scratch/"):
        return books
    book = books[name]
    outcomes = Counter(book.outcomes)
    outcomes.subtract(gone)
    if name == "links":
        outcomes[str(Outcome.REMOVED)] += gone.total()
        return {**books, name: receipts.balanced(name, book.inputs, +outcomes)}
    return {**books, name: receipts.balanced(name, book.inputs - gone.total(), +outcomes)}


# --- which files hold something


def is_doomed(removal: Removal, doc_ids: Any) -> Any:
    """Which of a column of doc_ids are doomed; null is not."""
    return pc.is_in(doc_ids, value_set=removal.doomed_ids)


def holds(removal: Removal, path: Path) -> bool:
    """Whether a table holds a row that has to go."""
    return any(
        pc.any(is_doomed(removal, batch["doc_id"])).as_py() for batch in schemas.iterate_parquet(path, ["doc_id"])
    )


def holds_tokens(removal: Removal, path: Path) -> bool:
    """The same of a token shard."""
    with pa.memory_map(str(path)) as file:
        return bool(pc.any(is_doomed(removal, pa.ipc.open_file(file).read_all()["doc_id"])).as_py())


def holds_address(removal: Removal, path: Path) -> bool:
    """The same of links and submissions: what is left of a link holds nothing any more."""
    table = schemas.read_parquet(path, ["doc_id", "url"])
    return bool(pc.any(pc.and_(is_doomed(removal, table["doc_id"]), pc.not_equal(table["url"], ""))).as_py())


def holds_post(removal: Removal, path: Path) -> bool:
    """The same of the rows of one source, which may be a month of Reddit: a row group at a time."""
    return any(
        pc.any(pc.and_(is_doomed(removal, batch["doc_id"]), pc.not_equal(batch["url"], ""))).as_py()
        for batch in schemas.iterate_parquet(path, ["doc_id", "url"])
    )


def holds_capture(removal: Removal, path: Path) -> bool:
    """The same of the captures in WARC files, most of which no link leads to."""
    columns = ["doc_id", "final_url", "location"]
    return holds(removal, path) or any(
        removal.question.cover_address(url)
        for batch in schemas.iterate_parquet(path, columns)
        for name in columns[1:]
        for url in pc.unique(batch[name]).to_pylist()
        if url
    )


def holds_name(removal: Removal, path: Path) -> bool:
    """The same of the names of captures."""
    urls = pc.unique(schemas.read_parquet(path, ["url"])["url"]).to_pylist()
    return any(removal.question.cover_address(url) for url in urls if url)


HOLDS: dict[str, Callable[[Removal, Path], bool]] = {
    "links": holds_address, "scratch/submissions": holds_address, "tokens": holds_tokens,
    "scratch/captures": holds_capture, "scratch/originals": holds_name, "scratch/dumps": holds_post,
    "scratch/warcs": holds_capture,
}  # fmt: skip


# --- what is written instead


def blanked(removal: Removal, path: Path, file: storage.HashingFile) -> Rewritten:
    """Links, of the doomed ones only what `decide.blank_links` leaves."""
    table = schemas.read_parquet(path).cast(schemas.LINKS)
    hit = is_doomed(removal, table["doc_id"])
    gone = table.filter(hit)
    blank = decide.blank_links(gone["doc_id"])
    left = table.filter(pc.invert(hit))
    earlier = left.filter(pc.equal(left["url"], ""))  # removed before
    blank = pa.concat_tables([earlier, blank]).sort_by("doc_id")
    rows = schemas.write_parquet(
        file, [pa.concat_tables([blank, left.filter(pc.not_equal(left["url"], ""))])], schemas.LINKS
    )
    outcomes = Counter(outcome for outcome in gone["outcome"].to_pylist() if outcome != Outcome.REMOVED)
    return rows, outcomes


def forgotten(removal: Removal, path: Path, file: storage.HashingFile) -> Rewritten:
    """Submissions, of the doomed links only what `decide.without` leaves."""
    table = schemas.read_parquet(path).cast(schemas.SUBMISSIONS)
    named = table["doc_id"].filter(pc.or_(is_doomed(removal, table["doc_id"]), pc.equal(table["url"], "")))
    gone = pc.sum(pc.is_in(table["doc_id"], value_set=pc.unique(named))).as_py() or 0
    return schemas.write_parquet(file, [decide.without(table, named)], schemas.SUBMISSIONS), Counter({"posts": gone})


def masked(removal: Removal, path: Path, file: storage.HashingFile) -> Rewritten:
    """The rows of one source as `decide.masked` leaves them; how many lost their address."""
    gone: Counter[str] = Counter()

    def left() -> Iterator[pa.Table]:
        for batch in schemas.iterate_parquet(path):
            table = pa.Table.from_batches([batch]).cast(schemas.SUBMISSIONS)
            masked = decide.masked(table, removal.question)
            gone["posts"] += pc.sum(pc.not_equal(table["url"], masked["url"])).as_py() or 0
            yield masked

    return schemas.write_parquet(file, left(), schemas.SUBMISSIONS), gone


def schema_of(path: Path, old: pq.ParquetFile) -> pa.Schema:
    """The schema that the stage wrote with: Parquet gives lists back with another name for their items."""
    if path.parent.name == "documents":
        return schemas.documents_schema(old.schema_arrow.field("signature").type.list_size, SIGNAL_TYPES)
    return SCHEMAS.get(path.parent.name, old.schema_arrow)


def without(removal: Removal, path: Path, file: storage.HashingFile) -> Rewritten:
    """A Parquet file without the doomed rows, row group by row group; rows left, and the outcomes of those gone."""
    outcomes: Counter[str] = Counter()

    def left(old: pq.ParquetFile) -> Iterator[pa.Table]:
        for group in range(old.num_row_groups):
            table = old.read_row_group(group)
            hit = is_doomed(removal, table["doc_id"])
            gone = table.filter(hit)
            named = gone["outcome"].to_pylist() if "outcome" in table.column_names else [str(Outcome.KEPT)] * len(gone)
            outcomes.update(named)
            if len(gone) < len(table):
                yield table.filter(pc.invert(hit))

    with pq.ParquetFile(path) as old:
        schema = schema_of(path, old)
        return schemas.write_parquet(file, (table.cast(schema) for table in left(old)), schema), outcomes


def undirected(removal: Removal, path: Path, file: storage.HashingFile) -> Rewritten:
    """Captures as `pointers.without_removed` leaves them."""
    schema = schemas.INDEXED if path.parent.name == "warcs" else schemas.CAPTURES
    table = schemas.read_parquet(path).cast(schema)
    left = pointers.without_removed(table, removal.question)
    led = pc.sum(pc.and_(pc.equal(left["outcome"], str(Outcome.REMOVED)), pc.equal(left["location"], ""))).as_py() or 0
    rows = schemas.write_parquet(file, [left], schema, *(() if schema is schemas.INDEXED else (schemas.LOOKED_UP,)))
    return rows, Counter({"captures": len(table) - len(left) + led})


def unnamed(removal: Removal, path: Path, file: storage.HashingFile) -> Rewritten:
    """The names of captures without those of doomed addresses."""
    table = schemas.read_parquet(path).cast(schemas.NAMES)
    stays = [not (url and removal.question.cover_address(url)) for url in table["url"].to_pylist()]
    left = table.filter(pa.array(stays, pa.bool_()))
    return schemas.write_parquet(file, [left], schemas.NAMES), Counter({"names": len(table) - len(left)})


def overwritten(removal: Removal, path: Path, file: storage.HashingFile) -> Rewritten:
    """Tokens, those of the doomed documents end-of-text, and nothing that names them; rows, and how many were met."""
    with pa.memory_map(str(path)) as mapped:
        batch = pa.ipc.open_file(mapped).get_batch(0)
        hit = is_doomed(removal, batch["doc_id"])
        ends, tokens = batch["tokens"].offsets.to_numpy(), batch["tokens"].values.to_numpy().copy()
        for row in pc.indices_nonzero(hit).to_pylist():
            tokens[ends[row] : ends[row + 1]] = int(batch.schema.metadata[b"webtext.end_of_text"])
        columns = {
            "tokens": pa.ListArray.from_arrays(batch["tokens"].offsets, tokens),
            **{name: pc.if_else(hit, "", batch[name]) for name in ("doc_id", "host")},
            "year": pc.if_else(hit, pa.scalar(None, pa.int16()), batch["year"]),
        }
        rows = pa.record_batch([columns[name] for name in batch.schema.names], schema=batch.schema)
        with pa.ipc.new_file(file, batch.schema, options=pa.ipc.IpcWriteOptions(compression=None)) as writer:
            writer.write_batch(rows)
    return batch.num_rows, Counter({str(Outcome.KEPT): pc.sum(hit).as_py() or 0})


REWRITE: dict[str, Callable[[Removal, Path, storage.HashingFile], Rewritten]] = {
    "links": blanked, "scratch/submissions": forgotten, "scratch/captures": undirected,
    "scratch/originals": unnamed, "scratch/dumps": masked, "scratch/warcs": undirected, "tokens": overwritten,
}  # fmt: skip
