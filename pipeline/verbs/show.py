"""Documents to be read: of the corpus, or of what it refused, each with the grounds and with what it lost to.

Choice: small columns are scanned for what is asked, and only the rows that are shown are read whole; a random few are
those whose hashed id comes first under a seed, so that they are the same in any order of shards. Cost: a scan of the
ids for the keepers of every BATCH documents. Alternative: an index of the corpus, to be kept in step with every build.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import urls
from pipeline.build import artefact
from pipeline.config import nearest
from pipeline.shards import removals, schemas
from pipeline.shards.outcomes import FATES, ConfigError, InputError, IntegrityError, Outcome
from pipeline.shards.receipts import Artefact
from pipeline.status import recorded
from pipeline.verbs.grounds import Grounds, Said
from pipeline.verbs.verdict import of_link, of_page

BATCH = 1_000  # documents read at once
# parts: of the corpus, refused by it, and rows of earlier stages that never came to it
KEPT, REMOVED, TEXTLESS, PAGELESS, UNTAKEN = "", "removed", "documents", "pages", "links"
REFUSED = FATES["corpus"][1:]
EARLIER = {
    stage: tuple(outcome for outcome in FATES[stage] if outcome not in (Outcome.KEPT, Outcome.REMOVED))
    for stage in (TEXTLESS, PAGELESS, UNTAKEN)
}
COLUMNS = ("url", "doc_id", "host", "title", "text", "language")


@dataclass(frozen=True)
class Wanted:
    """Which documents: all of `addresses` (URLs or doc_ids), or those that every condition which is set admits.

    A host stands for all names under it, a rule for its whole line or for its signal. `random` ones of them, by `seed`,
    or the first `limit`, 0 = all. Without `removed`, outcomes and rules: of the corpus.
    """

    addresses: tuple[str, ...] = ()
    removed: bool = False
    outcomes: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    limit: int = 10
    random: int = 0
    seed: int = 0

    def parts(self) -> list[str]:
        """Where such documents are."""
        if self.addresses:
            return [KEPT, REMOVED, TEXTLESS]
        if self.outcomes:
            fates = {KEPT: (Outcome.KEPT,), REMOVED: REFUSED, **EARLIER}
            return [part for part, part_fates in fates.items() if not set(part_fates).isdisjoint(self.outcomes)]
        return [REMOVED] if self.removed or self.rules else [KEPT]


@dataclass(frozen=True)
class Document:
    """A document as it is shown. `text`: of the corpus as it stands there, of others as it was extracted."""

    url: str
    doc_id: str
    host: str
    title: str | None
    text: str
    language: str | None
    words: int | None
    outcome: str
    rule: str | None = None
    value: float | None = None
    threshold: float | None = None
    grounds: str = ""  # a sentence; "" of one that is kept
    passages: tuple[tuple[int, int], ...] = ()  # of the text, first and last + 1 character, which decided
    keeper: str | None = None  # doc_id of what it lost to
    lost_to: Document | None = None  # None too where that is in the corpus no more


class Pick(NamedTuple):
    """A row that is wanted."""

    shard: int
    part: str
    row: int
    doc_id: str


def show(root: Path, shards: int, wanted: Wanted) -> Iterator[Document]:
    """The documents, in the order of the shards, or a random few.

    Raises ConfigError: no such outcome. InputError: no such host, or an address of no document here. IntegrityError:
    the corpus is not whole. BusyError: a removal was cut short, and must end before anything is shown.
    """
    root = root.absolute()
    removals.refuse_unfinished(root)
    for outcome in wanted.outcomes:
        check(outcome)
    hosts = tuple(urls.listed_host(host, "--host") for host in wanted.hosts)
    corpus, documents = artefact(root, "corpus", shards), artefact(root, "documents", shards)
    refuse_unbuilt(root, shards, wanted.parts())
    looking = replace(wanted, hosts=hosts, addresses=tuple(map(doc_id_of, wanted.addresses)))
    gone = removals.Removals.of(root)
    picks = chain.from_iterable(picked(corpus, documents, shard, looking, gone) for shard in range(shards))
    if wanted.random:
        chosen: Iterable[Pick] = heapq.nsmallest(wanted.random, picks, lambda pick: drawn(wanted.seed, pick.doc_id))
    else:
        chosen = islice(picks, None if wanted.addresses else wanted.limit or None)
    if wanted.addresses:
        chosen = list(chosen)
        refuse_unknown(wanted.addresses, looking.addresses, {pick.doc_id for pick in chosen})
    grounds = Grounds.of(root, corpus)
    while batch := list(islice(chosen := iter(chosen), BATCH)):
        yield from read(corpus, documents, batch, grounds, gone)


def refuse_unbuilt(root: Path, shards: int, parts: Iterable[str]) -> None:
    """Raise IntegrityError unless what holds these parts is whole, and from what stands here."""
    statuses = recorded(root, shards)
    for stage in dict.fromkeys(part if part in EARLIER else "corpus" for part in parts):
        status = statuses[stage]
        if status.state != "whole":
            why = f" ({status.why})" if status.why else ""
            raise IntegrityError(f"{root / stage}: {status.state}{why}; run 'webtext build {stage}'")


def check(outcome: str) -> None:
    """Raise ConfigError for what is no outcome, or one of lines that came to no link."""
    known = tuple(dict.fromkeys((Outcome.KEPT, *REFUSED, *(fate for fates in EARLIER.values() for fate in fates))))
    if outcome in known:
        return
    if outcome == Outcome.REMOVED:
        raise ConfigError(f"--outcome {outcome}: what was removed on request is not shown; see 'webtext remove --help'")
    if outcome in map(str, Outcome):
        raise ConfigError(
            f"--outcome {outcome}: lines of sources that end so are counted, not kept; 'webtext status' has how many"
        )
    raise ConfigError(f"--outcome {outcome}: no such outcome{nearest(outcome, known)}")


def doc_id_of(address: str) -> str:
    """The doc_id that an address stands for. Raises InputError: no URL."""
    if removals.DOC_ID.fullmatch(address):
        return address
    try:
        return urls.doc_id(urls.canonical_url(address))
    except urls.BadUrl as error:
        raise InputError(f"{address}: {error}") from None


def refuse_unknown(addresses: Sequence[str], doc_ids: Sequence[str], found: set[str]) -> None:
    """Raise InputError for an address of which there is no document."""
    for address, doc_id in zip(addresses, doc_ids, strict=True):
        if doc_id not in found:
            raise InputError(f"{address}: no document here; 'webtext explain' says what became of it")


def drawn(seed: int, doc_id: str) -> bytes:
    """Where a document stands in the draw of a seed."""
    return hashlib.blake2b(f"{seed} {doc_id}".encode(), digest_size=8).digest()


# --- which rows


def picked(
    corpus: Artefact, documents: Artefact, shard: int, wanted: Wanted, gone: removals.Removals
) -> Iterator[Pick]:
    """The rows of a shard that are wanted, part by part, without those that a removal request covers."""
    for part in wanted.parts():
        table = small(corpus, documents, shard, part, with_language=bool(wanted.languages))
        for row in np.flatnonzero(admitted(table, part, wanted)).tolist():
            doc_id = table["doc_id"][row].as_py()
            if not gone.cover(doc_id, table["host"][row].as_py()):
                yield Pick(shard, part, row, doc_id)


def small(corpus: Artefact, documents: Artefact, shard: int, part: str, with_language: bool) -> pa.Table:
    """The columns of a part of a shard that conditions ask for."""
    if part == KEPT:
        table = schemas.read_parquet(corpus.file(shard, ".parquet"), ["doc_id", "host", "language"])
        return table.append_column("outcome", pa.repeat(str(Outcome.KEPT), len(table)))
    if part in (PAGELESS, UNTAKEN):
        made = Artefact(corpus.root, part, corpus.shards)
        table = schemas.read_parquet(made.file(shard, ".parquet"), ["doc_id", "host", "outcome"])
        return table.append_column("language", pa.nulls(len(table), pa.string()))
    if part == TEXTLESS:
        return schemas.read_parquet(documents.file(shard, ".parquet"), ["doc_id", "host", "language", "outcome"])
    table = schemas.read_parquet(corpus.file(shard, ".parquet", REMOVED), ["doc_id", "host", "outcome", "rule"])
    if not with_language:
        return table
    every = schemas.read_parquet(documents.file(shard, ".parquet"), ["doc_id", "language"])
    return table.append_column("language", every["language"].take(pc.index_in(table["doc_id"], every["doc_id"])))


def admitted(table: pa.Table, part: str, wanted: Wanted) -> Any:
    """Which rows of `small` every condition admits (bool)."""
    found = np.ones(len(table), bool)
    if part in EARLIER:
        found &= is_one_of(table["outcome"], EARLIER[part])
    if wanted.addresses:
        found &= is_one_of(table["doc_id"], wanted.addresses)
    if wanted.outcomes:
        found &= is_one_of(table["outcome"], wanted.outcomes)
    if wanted.languages:
        found &= is_one_of(table["language"], wanted.languages)
    if wanted.rules and part != REMOVED:  # other parts know no rules
        found &= False
    elif wanted.rules:
        signals = pc.list_element(pc.split_pattern(pc.fill_null(table["rule"], ""), " "), 0)
        found &= is_one_of(table["rule"], wanted.rules) | is_one_of(signals, wanted.rules)
    if wanted.hosts:
        under = [is_one_of(table["host"], wanted.hosts)]
        under += [pc.ends_with(table["host"], f".{host}").to_numpy(zero_copy_only=False) for host in wanted.hosts]
        found &= np.logical_or.reduce(under)
    return found


def is_one_of(column: Any, values: Sequence[str]) -> Any:
    """Which values of a column are among some (bool); null is not."""
    known = pa.array(list(map(str, values)), pa.string())
    return np.asarray(pc.is_in(column, value_set=known), bool)


def rules_at_work(root: Path, shards: int) -> dict[str, int]:
    """Each rule that removed documents, with how many, the busiest first."""
    made = artefact(root.absolute(), "corpus", shards)
    tables = [schemas.read_parquet(path, ["rule"]) for path in made.files(".parquet", REMOVED)]
    counts = pa.concat_tables(tables).group_by("rule").aggregate([([], "count_all")]).to_pylist()
    ranked = sorted(counts, key=lambda row: (-row["count_all"], row["rule"] or ""))
    return {row["rule"]: row["count_all"] for row in ranked if row["rule"]}


# --- whole rows


def read(
    corpus: Artefact, documents: Artefact, batch: Sequence[Pick], grounds: Grounds, gone: removals.Removals
) -> Iterator[Document]:
    """The documents of some picks, in their order, with what they lost to, unless that is to go."""
    rows: dict[str, dict[str, Any]] = {}
    for (shard, part), picks in grouped(batch).items():
        read_part = {KEPT: read_kept, PAGELESS: read_earlier, UNTAKEN: read_earlier}.get(part, read_extracted)
        rows |= read_part(corpus, documents, shard, part, sorted(pick.row for pick in picks))
    found = kept_of(corpus, {row["keeper"] for row in rows.values() if lost_here(row)})
    keepers = {doc_id: keeper for doc_id, keeper in found.items() if not gone.cover(keeper.doc_id, keeper.host)}
    for pick in batch:
        row = rows[pick.doc_id]
        document = Document(**row)
        reason = Said(document.grounds) if document.grounds else grounds.of_row(row)
        loser = replace(document, grounds=reason.sentence, passages=reason.passages)
        yield replace(loser, lost_to=keepers.get(row["keeper"]) if lost_here(row) else None)


def lost_here(row: dict[str, Any]) -> bool:
    """Whether a document lost to another one of this corpus."""
    return bool(row.get("keeper")) and row["outcome"] != Outcome.DUPLICATE_ELSEWHERE


def grouped(batch: Iterable[Pick]) -> dict[tuple[int, str], list[Pick]]:
    """Picks by shard and part."""
    found = defaultdict(list)
    for pick in batch:
        found[pick.shard, pick.part].append(pick)
    return found


def read_kept(corpus: Artefact, _: Artefact, shard: int, _part: str, rows: list[int]) -> dict[str, dict[str, Any]]:
    """doc_id to the fields of a Document, of rows of the corpus."""
    tables = schemas.rows_at(corpus.file(shard, ".parquet"), np.array(rows, np.int64), [*COLUMNS, "words"])
    return {row["doc_id"]: {**row, "outcome": str(Outcome.KEPT)} for table in tables for row in table.to_pylist()}


def read_extracted(
    corpus: Artefact, documents: Artefact, shard: int, part: str, rows: list[int]
) -> dict[str, dict[str, Any]]:
    """The same of rows that the corpus refused, with their verdicts, or that came to no text."""
    path, verdicts = documents.file(shard, ".parquet"), {}
    if part == REMOVED:
        tables = schemas.rows_at(
            corpus.file(shard, ".parquet", REMOVED), np.array(rows, np.int64), schemas.DECISIONS.names
        )
        verdicts = {row["doc_id"]: row for table in tables for row in table.to_pylist()}
        ids = schemas.read_parquet(path, ["doc_id"])["doc_id"]
        rows = sorted(pc.index_in(pa.array(verdicts), value_set=ids).to_pylist())
    found = {}
    columns = [*COLUMNS, "word_count", "outcome"]
    for table in schemas.rows_at(path, np.array(rows, np.int64), columns):
        for row in table.to_pylist():
            words = row.pop("word_count")
            found[row["doc_id"]] = {**row, "words": words, **verdicts.get(row["doc_id"], {})}
    return found


def read_earlier(corpus: Artefact, _: Artefact, shard: int, part: str, rows: list[int]) -> dict[str, dict[str, Any]]:
    """The same of links without a page, or not taken: no text, and the sentence that says why."""
    made = Artefact(corpus.root, part, corpus.shards)
    manifest = made.manifest()
    karma = f"{manifest.settings['karma_of']} >= {manifest.settings['karma']}" if manifest and part == UNTAKEN else ""
    columns = [*COLUMNS[:3], "outcome"] + (["score"] if part == UNTAKEN else ["status", "content_type", "opt_outs"])
    found = {}
    for table in schemas.rows_at(made.file(shard, ".parquet"), np.array(rows, np.int64), columns):
        for row in table.to_pylist():
            why = of_link({**row, "karma": karma}) if part == UNTAKEN else of_page(row)
            nothing = {"title": None, "text": "", "language": None, "words": None}
            found[row["doc_id"]] = {
                **{name: row[name] for name in (*COLUMNS[:3], "outcome")},
                **nothing,
                "grounds": why,
            }
    return found


def kept_of(corpus: Artefact, doc_ids: set[str]) -> dict[str | None, Document]:
    """The documents of the corpus with these ids."""
    found: dict[str | None, Document] = {}
    for shard in range(corpus.shards) if doc_ids else ():
        ids = schemas.read_parquet(corpus.file(shard, ".parquet"), ["doc_id"])["doc_id"]
        rows = np.flatnonzero(is_one_of(ids, sorted(doc_ids))).tolist()
        kept = read_kept(corpus, corpus, shard, KEPT, rows) if rows else {}
        found |= {doc_id: Document(**row) for doc_id, row in kept.items()}
    return found
