"""Whom a removal request matches: the links that its lines name, and those that are led to what they name.

Choice: shard after shard is read, a few columns of it, and only doc_ids that are met are kept. Links are asked for what
they are, the rows of pages, segments and archives for where they led: a short link in any shard may lead to the page.
Cost: the small columns of all shards are read once a request; the large ones, texts and tokens, only where something is
met. Alternative: an index by address, to be kept in step with every build.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.build import artefact
from pipeline.fetch.continuations import Continuation
from pipeline.fetch.forget import tables
from pipeline.shards import progress, schemas, storage
from pipeline.shards.outcomes import Outcome
from pipeline.shards.receipts import Artefact
from pipeline.shards.removals import KINDS, Line, RemovalRequest, domains, hidden, identity, rows_told

LED = ("doc_id", "final_url", "via")  # of a row that says where a link led


@dataclass
class Met:
    """What a search found: of each line, by its place in the request, the doc_ids, and how many rows of each stage.

    `shards`: doc_ids by the shard of their link. `emptied`: hashes of hosts of which no link is left.
    """

    lines: list[set[str]]
    links: list[int]
    pages: list[int]
    documents: list[int]
    shards: dict[int, set[str]] = field(default_factory=dict)
    emptied: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Question:
    """A request, asked of one link after the other: which of its lines cover it."""

    documents: dict[str, set[int]]  # doc_id, or the one of a URL, to the places of lines
    hosts: dict[str, set[int]]
    submissions: dict[str, set[int]]

    @classmethod
    def of(cls, request: RemovalRequest) -> Question:
        """The question of a request."""
        found: dict[str, dict[str, set[int]]] = {kind: {} for kind in KINDS}
        for number, line in enumerate(request.lines):
            found["doc_id" if line.kind == "url" else line.kind].setdefault(line.mark, set()).add(number)
        return cls(found["doc_id"], found["host"], found["submission"])

    def of_address(self, doc_id: str, host: str) -> set[int]:
        """The lines that cover an address."""
        return self.documents.get(doc_id, set()) | self.of_host(host)

    def of_host(self, host: str) -> set[int]:
        """The lines that name a host, or a domain above it."""
        return set().union(*(self.hosts.get(hidden(domain), ()) for domain in domains(host))) if self.hosts else set()

    def of_posts(self, posts: Iterable[str]) -> set[int]:
        """The lines that name one of these submissions."""
        return set().union(*(self.submissions.get(post, ()) for post in posts))


def search(root: Path, shards: int, request: RemovalRequest) -> Met:
    """Whom the lines of a request meet in everything that is made."""
    question = Question.of(request)
    links = artefact(root, "links", shards)
    name_posted(links, question)
    led: dict[str, set[int]] = {}
    for doc_id, addresses in destinations(root, shards):
        for address in addresses:
            if lines := question.of_address(*identity(address)):
                led.setdefault(doc_id, set()).update(lines)
    nothing = [0] * len(request.lines)
    met = Met([set() for _ in request.lines], nothing.copy(), nothing.copy(), nothing.copy())
    for doc_id, lines in led.items():
        for line in lines:
            met.lines[line].add(doc_id)
    find_links(links, question, led, met)
    for stage, counts in (("pages", met.pages), ("documents", met.documents)):
        made = artefact(root, stage, shards)
        for shard in concerned(made, met.shards):
            if made.receipt(shard) is not None:
                ids = schemas.read_parquet(made.file(shard, ".parquet"), ["doc_id"])["doc_id"].to_pylist()
                for line, doc_ids in enumerate(met.lines):
                    counts[line] += sum(doc_id in doc_ids for doc_id in ids) if doc_ids else 0
    return met


def name_posted(links: Artefact, question: Question) -> None:
    """Let lines that name a submission name the page that it posted as well: what leads there goes with it."""
    for shard in made(links) if question.submissions else ():
        rows = dict(posted(links, shard, question))
        ids = schemas.read_parquet(links.file(shard, ".parquet"), ["doc_id"])["doc_id"].to_pylist() if rows else []
        for row, lines in rows.items():
            question.documents.setdefault(ids[row], set()).update(lines)


def searched(request: RemovalRequest, met: Met) -> RemovalRequest:
    """The request, with whom its lines meet."""
    lines = [
        msgspec.structs.replace(
            line, met=tuple(sorted(met.lines[n])), links=met.links[n], pages=met.pages[n], documents=met.documents[n]
        )
        for n, line in enumerate(request.lines)
    ]
    return msgspec.structs.replace(request, lines=tuple(lines), emptied=tuple(sorted(met.emptied)), searched=True)


def find_links(links: Artefact, question: Question, led: dict[str, set[int]], met: Met) -> None:
    """Find the links that lines name, and the shards of all that are met."""
    wanted = pa.array(sorted(question.documents.keys() | led.keys()), pa.string())
    touched: set[str] = set()
    alive: set[str] = set()
    for shard in progress.each(made(links)):
        table = schemas.read_parquet(links.file(shard, ".parquet"), ("doc_id", "host", "host_shards", "outcome"))
        hosts, ids = table["host"].combine_chunks().dictionary_encode(), table["doc_id"].to_pylist()
        by_host = [question.of_host(host) for host in hosts.dictionary.to_pylist()]
        lines = {row: set(by_host[code]) for row, code in enumerate(hosts.indices.to_pylist()) if by_host[code]}
        named = pc.is_in(table["doc_id"].combine_chunks(), value_set=wanted)  # of no chunks the next call crashes
        for row in pc.indices_nonzero(named).to_pylist():
            lines.setdefault(row, set()).update(led.get(ids[row], ()), question.documents.get(ids[row], ()))
        for row, found in posted(links, shard, question):
            lines.setdefault(row, set()).update(found)
        if lines:
            met.shards.setdefault(shard, set()).update(ids[row] for row in lines)
        for row, found in lines.items():
            for line in found:
                met.lines[line].add(ids[row])
                met.links[line] += table["outcome"][row].as_py() != Outcome.REMOVED
        here = {hosts.dictionary[hosts.indices[row].as_py()].as_py() for row in lines}
        touched |= here
        stays = pa.array([row not in lines for row in range(len(ids))], pa.bool_())
        left = table.filter(stays)
        spread = left.filter(pc.greater(left["host_shards"], 1))  # hosts that may have been met in another shard
        alive |= here.intersection(pc.unique(left["host"]).to_pylist()) | set(pc.unique(spread["host"]).to_pylist())
    met.emptied = {hidden(host) for host in touched - alive if host}


def posted(links: Artefact, shard: int, question: Question) -> Iterator[tuple[int, set[int]]]:
    """(row, lines) of the links of a shard that were posted by a submission that lines name."""
    if question.submissions:
        table = schemas.read_parquet(links.file(shard, ".parquet"), ("submissions",))
        for row, posts in enumerate(table["submissions"].to_pylist()):
            if lines := question.of_posts(post["id"] for post in posts):
                yield row, lines


def destinations(root: Path, shards: int) -> Iterator[tuple[str, list[str]]]:
    """(doc_id, addresses) of each link that led elsewhere, as pages, archives and segments know it."""
    for name in ("pages", "scratch/found"):
        source = Artefact(root, name, shards)
        for shard in progress.each(made(source)):
            yield from led_in(source.file(shard, ".parquet"))
    for path in tables(root / "pages"):
        yield from led_in(storage.local(path))


def led_in(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The same of one table."""
    there = pq.read_schema(path).names
    for batch in schemas.iterate_parquet(path, [name for name in (*LED, "errand", "url") if name in there]):
        for row in batch.filter(led_elsewhere(batch)).to_pylist():
            continuation = msgspec.json.decode(row["errand"], type=Continuation) if row.get("errand") else None
            onward = [*continuation.asked, continuation.target, *continuation.robots] if continuation else []
            addresses = [address for address in (row["final_url"], *(row.get("via") or ()), *onward) if address]
            if addresses:
                yield row["doc_id"], addresses


def led_elsewhere(batch: pa.RecordBatch) -> Any:
    """Which rows need a second look: most pages lie at their own address, but for the scheme."""
    if "url" not in batch.schema.names:
        return pa.array([True] * len(batch))
    secure = pc.replace_substring(batch["final_url"], "http://", "https://", max_replacements=1)
    elsewhere = pc.not_equal(batch["url"], secure)
    return (
        pc.or_(elsewhere, pc.greater(pc.fill_null(pc.list_value_length(batch["via"]), 0), 0))
        if "via" in batch.schema.names
        else elsewhere
    )


def made(artefact: Artefact) -> list[int]:
    """The shards of an artefact that are made."""
    return [shard for shard in range(artefact.shards) if artefact.receipt(shard) is not None]


def concerned(artefact: Artefact, shards: dict[int, set[str]]) -> list[int]:
    """The shards of an artefact in which documents lie that links of these shards name."""
    return sorted(shard for shard in shards if shard < artefact.shards)


def where(root: Path, shards: int, doc_ids: Iterable[str]) -> dict[int, set[str]]:
    """Links by their shard, of those with these doc_ids, removed or not."""
    links, wanted = artefact(root, "links", shards), pa.array(sorted(doc_ids), pa.string())
    found: dict[int, set[str]] = {}
    for shard in made(links):
        ids = schemas.read_parquet(links.file(shard, ".parquet"), ["doc_id"])["doc_id"]
        here = ids.filter(pc.is_in(ids, value_set=wanted)).to_pylist()
        if here:
            found[shard] = set(here)
    return found


def rows_of_line(line: Line) -> str:
    """How many rows a line met, for a person."""
    return rows_told(line.links, line.pages, line.documents)
