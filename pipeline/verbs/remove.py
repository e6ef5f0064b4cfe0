"""Pages taken out, on request, of everything that has been built; and the proof that they were.

Choice: the touched shards of each artefact are written again without them, under the fingerprint that they had, so that
nothing else becomes stale; `links` alone remembers them (outcome `removed`), so no later build brings them back. Tokens
are overwritten by end-of-text, always: nobody can know whether a run trains on a copy of the shards, and no window of a
run that goes on may move. Cost: their places stay in the token stream until the tokens are built next. Alternative:
mark the rows and build again, which extracts every page of a touched shard a second time.

Left as they are: WARC files that a user brought, merges of the tokenizer, trained models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, product
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import urls
from pipeline.build import artefact, same_shards
from pipeline.fetch import archive, segments
from pipeline.fetch.erase import blank
from pipeline.shards import lease, receipts, removals, schemas, storage
from pipeline.shards.artefacts import Artefact
from pipeline.shards.outcomes import Outcome
from pipeline.shards.places import is_given
from pipeline.shards.receipts import Books, Task
from pipeline.shards.removals import Change, Order

Place = tuple[str, int, int]  # WARC file, offset and length in bytes

PARTS = {"links": ("",), "pages": ("",), "documents": ("",), "corpus": ("", "removed"), "tokens": ("train", "val")}
SCHEMAS = {"links": schemas.LINKS, "pages": schemas.PAGES, "corpus": schemas.CORPUS, "removed": schemas.REMOVED}


@dataclass
class Removal:
    """An order while it is carried out."""

    root: Path
    shards: int
    path: Path
    order: Order
    doomed: set[str] = field(default_factory=set)
    left_alone: int = 0  # pages in WARC files that a user brought

    def note(self, **more: tuple[str, ...] | tuple[Change, ...] | str) -> None:
        """Write the order with more of its proof."""
        self.order = msgspec.structs.replace(self.order, **more)
        removals.write(self.path, self.order)

    def change(self, path: Path, rows: int, before: str, after: str) -> None:
        """Note a change before it is made: a run that is cut short in between makes the same one again."""
        one = Change(path.relative_to(self.root).as_posix(), rows, before, after)
        if rows and before != after and one not in self.order.changes:
            self.note(changes=(*self.order.changes, one))


def remove(root: Path, shards: int, lines: Sequence[str], now: datetime | None = None) -> list[Removal]:
    """Carry out a list of URLs, hosts, doc_ids and submission ids, and what was cut short before it.

    Raises InputError: a line that is none of these; BusyError: another run holds `root`; ConfigError: `shards` is not
    the number that `root` was begun with.
    """
    asked = removals.order_of(lines, now or datetime.now(UTC)) if lines else None
    with lease.lock(root):
        same_shards(root, shards)
        storage.sweep(root)
        if asked is not None:
            removals.write(root / removals.FOLDER / f"{len(removals.paths(root)) + 1:04d}.json", asked)
        every = [Removal(root, shards, path, removals.read(path)) for path in removals.paths(root)]
        waiting = [one for one in every if not one.order.ended_at]
        for one in waiting:
            carry_out(one)
            one.note(ended_at=removals.stamp(now or datetime.now(UTC)))
    return waiting


def report(removal: Removal) -> list[str]:
    """What a removal did, for a person."""
    order, rows = removal.order, Counter[str]()
    for change in order.changes:
        rows["crawled" if "/segments/" in change.file else change.file.partition("/")[0]] += change.rows
    said = ", ".join(f"{name} {count}" for name, count in rows.items()) or "nothing built held any of them"
    lines = [
        f"{removal.path}: {len(order.removed)} links removed; rows: {said}; {len(order.changes)} files written again",
        *(f"had lost to a removed page, comes back at the next 'webtext build': {one}" for one in order.returning),
    ]
    if removal.left_alone:
        lines.append(f"{removal.left_alone} of the pages lie in WARC files of yours, which are left as they are")
    return lines


def carry_out(removal: Removal) -> None:
    """Take the doomed rows out of every shard that is made, and note the proof."""
    found = doomed(removal)
    removal.doomed = {*removal.order.doc_ids, *found}
    redirected = sorted(found.difference(removal.order.doc_ids))
    everywhere = tuple(sorted({*removal.order.removed, *found}))
    removal.note(doc_ids=(*removal.order.doc_ids, *redirected), removed=everywhere)
    erase_pages(removal)
    removal.note(returning=tuple(sorted({*removal.order.returning, *returning(removal)})))
    for stage in PARTS:
        one = artefact(removal.root, stage, removal.shards)
        for shard in range(one.shards):
            if one.receipt(shard) is not None:
                take_out(removal, one, shard)
            else:  # not made, or cut short here: what lies there is made anew by the next build
                discard(one, shard)
        one.refresh()


def discard(one: Artefact, shard: int) -> None:
    """Delete the files of a shard that no receipt describes."""
    for part in PARTS[one.name]:
        storage.discard(one.folder / one.file_name(shard, suffix_of(one), part))


def suffix_of(one: Artefact) -> str:
    """How the names of an artefact's files end."""
    return ".arrow" if one.name == "tokens" else ".parquet"


def made(one: Artefact) -> list[int]:
    """The shards of an artefact that are made."""
    return [shard for shard in range(one.shards) if one.receipt(shard) is not None]


def doomed(removal: Removal) -> set[str]:
    """The doc_ids, among links and pages that are made, that the order covers; a redirect counts by both its ends."""
    order = removals.Removals((removal.order,))
    links, pages = (artefact(removal.root, stage, removal.shards) for stage in ("links", "pages"))
    found: set[str] = set()
    for shard in made(links):
        for row in schemas.read_parquet(links.file(shard, ".parquet"), ("doc_id", "host", "submissions")).to_pylist():
            if order.cover(row["doc_id"], row["host"], (post["id"] for post in row["submissions"])):
                found.add(row["doc_id"])
    for shard in made(pages):
        for row in schemas.read_parquet(pages.file(shard, ".parquet"), ("doc_id", "final_url")).to_pylist():
            if row["final_url"] and order.cover(*identity(row["final_url"]), ()):
                found.add(row["doc_id"])
    return found


def identity(url: str) -> tuple[str, str]:
    """(doc_id, host) of an address as a link to it would have them; of what is no address, nothing that is known."""
    try:
        canonical = urls.canonical_url(url)
    except urls.BadUrl:
        return "", ""
    return urls.doc_id(canonical), urls.host_of(canonical)


def returning(removal: Removal) -> set[str]:
    """The doc_ids that lost to a doomed keeper, and are not doomed themselves."""
    corpus = artefact(removal.root, "corpus", removal.shards)
    found: set[str] = set()
    for shard in made(corpus):
        table = schemas.read_parquet(corpus.file(shard, ".parquet", "removed"), ("doc_id", "keeper"))
        found.update(table.filter(is_doomed(removal, table["keeper"]))["doc_id"].to_pylist())
    return found - removal.doomed


def is_doomed(removal: Removal, doc_ids: Any) -> Any:
    """Which of a column of doc_ids are doomed; null is not."""
    return pc.is_in(doc_ids, value_set=pa.array(sorted(removal.doomed), pa.string()))


# --- shards


def take_out(removal: Removal, one: Artefact, shard: int) -> None:
    """Write the files of one shard that hold a doomed row without it, and correct the books."""
    receipt = one.made(shard)
    gone: Counter[str] = Counter()
    suffix = suffix_of(one)
    with one.attempt(Task(shard, receipt.fingerprint)) as attempt:
        for part in PARTS[one.name]:
            path = one.file(shard, suffix, part)
            if not holds(removal, path):
                continue
            with attempt.write(suffix, part) as file:
                rows, outcomes = REWRITE[one.name](removal, path, file)
            attempt.rows(suffix, rows, part)
            gone.update(outcomes)
            before = receipt.files[one.file_name(shard, suffix, part)].sha256
            removal.change(path, sum(outcomes.values()), before, file.stamp().sha256)
        if attempt.files:
            attempt.rewrite(corrected(one.name, receipt.books, gone))


def holds(removal: Removal, path: Path) -> bool:
    """Whether a file holds a row that has to go; a link that is marked already has gone."""
    if path.suffix == ".arrow":
        with pa.memory_map(str(path)) as file:
            ids = pa.ipc.open_file(file).read_all()["doc_id"]
            return bool(pc.any(is_doomed(removal, ids)).as_py())
    table = schemas.read_parquet(path, [name for name in ("doc_id", "outcome") if name in pq.read_schema(path).names])
    met = table.filter(is_doomed(removal, table["doc_id"]))
    return bool(met.num_rows) and not ("outcome" in met.column_names and set(met["outcome"].to_pylist()) == {"removed"})


def corrected(name: str, books: dict[str, Books], gone: Counter[str]) -> dict[str, Books]:
    """The books of a shard after rows of these outcomes left it; in those of `links` they stay, as removed."""
    book = books[name]
    outcomes = Counter(book.outcomes)
    outcomes.subtract(gone)
    if name == "links":
        return {
            **books,
            name: receipts.balanced(name, book.inputs, outcomes + Counter({str(Outcome.REMOVED): gone.total()})),
        }
    return {**books, name: receipts.balanced(name, book.inputs - gone.total(), +outcomes)}


def marked(removal: Removal, path: Path, file: storage.HashingFile) -> tuple[int, Counter[str]]:
    """Links, with the doomed ones as removed; how many rows, and the outcomes that these had."""
    with pq.ParquetFile(path) as old:
        schema, table = schema_of(path, old), old.read()
    hit = pc.and_(is_doomed(removal, table["doc_id"]), pc.not_equal(table["outcome"], str(Outcome.REMOVED)))
    outcomes = Counter(table.filter(hit)["outcome"].to_pylist())
    place = schema.get_field_index("outcome")
    changed = table.set_column(place, schema.field(place), pc.if_else(hit, str(Outcome.REMOVED), table["outcome"]))
    return schemas.write_parquet(file, [changed.cast(schema)], schema), outcomes


def schema_of(path: Path, old: pq.ParquetFile) -> pa.Schema:
    """The schema that the stage wrote with: Parquet gives lists back with another name for their items."""
    return SCHEMAS.get(path.parent.name, old.schema_arrow)


def without(removal: Removal, path: Path, file: storage.HashingFile) -> tuple[int, Counter[str]]:
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


def overwritten(removal: Removal, path: Path, file: storage.HashingFile) -> tuple[int, Counter[str]]:
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


REWRITE: dict[str, Callable[[Removal, Path, storage.HashingFile], tuple[int, Counter[str]]]] = {
    "links": marked, "pages": without, "documents": without, "corpus": without, "tokens": overwritten,
}  # fmt: skip


# --- crawled bodies


def erase_pages(removal: Removal) -> None:
    """Make the responses of doomed pages unreadable in the segments that lie here, and forget them in their tables.

    A record that the page of another link points at as well, since the bytes were the same, stays: it is that page's.
    """
    pages = artefact(removal.root, "pages", removal.shards)
    tables = [
        storage.local(path)
        for folder in (segments.FOLDER, archive.FOLDER)
        for path in storage.names(pages.folder / folder, "*.parquet")
    ]
    gone: set[Place] = set()
    others: set[Place] = set()
    for path in tables:
        hit, places = met(removal, path)
        gone.update(place for place, doomed in zip(places, hit, strict=True) if doomed and place[0])
        others.update(place for place, doomed in zip(places, hit, strict=True) if not doomed and place[0])
    doomed_places = sorted(gone - others)
    for warc, records in groupby(doomed_places, key=itemgetter(0)):
        erase(removal, pages.folder / warc, list(records))
    for path in tables:
        hit, _ = met(removal, path)
        if any(hit):
            table, before = schemas.read_parquet(path), storage.sha256_of(path)
            with storage.writing(path) as file:
                schemas.write_parquet(file, [table.filter(pa.array([not one for one in hit]))], table.schema)
            removal.change(path, sum(hit), before, file.stamp().sha256)
            storage.publish([path])
    for shard, part in product(made(pages), PARTS["pages"]):
        table = schemas.read_parquet(pages.file(shard, ".parquet", part), ("doc_id", "warc"))
        lie_in = table.filter(is_doomed(removal, table["doc_id"]))["warc"].to_pylist()
        removal.left_alone += sum(is_given(one) for one in lie_in)


def met(removal: Removal, path: Path) -> tuple[list[bool], list[Place]]:
    """Of every row of a segment's table: whether it has to go, and (WARC file, offset, length) of its response."""
    table = schemas.read_parquet(path, ("doc_id", "warc", "offset", "length"))
    places = zip(*(table[name].to_pylist() for name in ("warc", "offset", "length")), strict=True)
    return is_doomed(removal, table["doc_id"]).to_pylist(), list(places)


def erase(removal: Removal, path: Path, records: Sequence[Place]) -> None:
    """Overwrite these records of one WARC file."""
    data = bytearray(storage.read_bytes(path))
    for _, start, length in records:
        data[start : start + length] = blank(length, f"{path.name}:{start}", removal.order.asked_at)
    before = storage.sha256_of(path)
    with storage.writing(path) as file:
        file.write(data)
    removal.change(path, len(records), before, file.stamp().sha256)
    storage.publish([path])
