"""Verification of candidate pairs: what the better-ranked of two is compared by travels to the shard of the other.

Choice: a document with many copies is the better one of nearly all its pairs, and travels once to each shard; so each
shard compares with what came and with what it holds, and reads its own texts in their order. Cost: 4.5 KB cross (a
signature, and the hashes of the shingles of 1,000 words) for each shard in which a document is compared. Alternative:
one task that reads both documents of each pair, which decompresses the texts of thousands for each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import ranking
from pipeline.dedup import evaluation, near_duplicates
from pipeline.dedup.near_duplicates import EDGES, PAIRS
from pipeline.dedup.nodes import SHIFT_32, Nodes
from pipeline.evidence import Recipe
from pipeline.shards import schemas
from pipeline.shards.receipts import Task
from pipeline.shards.runner import Block, Run

ASKED = pa.schema({"better": pa.uint64(), "worse": pa.uint64()})
SENT = pa.schema([*ASKED, pa.field("signature", pa.binary()), pa.field("shingles", pa.binary())])
REFUSED = "refused"  # the sub-folder of edges with the near misses, pairs that are not alike, but nearly


def find(recipe: Recipe, run: Run, where: str = "") -> None:
    """Make the edges among the pairs of a phase: in each shard those of its documents with better-ranked ones.

    `where`: "", or "_elsewhere", whose better-ranked ones stand there.
    """
    pairs, asked, edges = (recipe.artefact(f"scratch/{name}{where}") for name in ("pairs", "asked", "edges"))
    met = recipe.hashes(pairs.name, *([] if where else [ranking.PHASE]))
    tasks = recipe.begin(asked.name, (), [met] * asked.shards)
    run.exchange(partial(pairs_of, recipe, where), recipe.parts(pairs.name), partial(ask, recipe, where), tasks)
    hashes = recipe.hashes("documents", asked.name, *(["scratch/elsewhere"] if where else []))
    read = [hashes, recipe.settings.documents.shingle_words]
    tasks = recipe.begin(edges.name, ("jaccard", "measure"), [read] * edges.shards)
    run.exchange(partial(described, recipe, where), range(asked.shards), partial(compare, recipe, where), tasks)


def pairs_of(recipe: Recipe, where: str, part: tuple[str, int]) -> Iterator[Block]:
    """The pairs of one part of a phase, to the shard of the better-ranked one of each."""
    pairs = schemas.read_parquet(recipe.file(*part))
    a, b = pairs["a"].to_numpy(), pairs["b"].to_numpy()
    if where:
        better, worse = b, a
    else:
        places = ranking.places_of(recipe, np.concatenate([a, b])).reshape(2, -1)
        is_better = places[0] < places[1]
        better, worse = np.where(is_better, a, b), np.where(is_better, b, a)
    home = (better >> SHIFT_32).astype(np.int32) - first(recipe, where)
    return schemas.scatter(pa.table([better, worse], schema=ASKED), home)


def first(recipe: Recipe, where: str) -> int:
    """The shard whose documents the first part of what is asked is about."""
    return recipe.shards if where else 0


def ask(recipe: Recipe, where: str, task: Task, blocks: Iterable[pa.Table]) -> None:
    """The pairs whose better-ranked ones stand in one shard, each once: two may share bands in many partitions."""
    table = schemas.unpack(blocks, ASKED).sort_by([(name, "ascending") for name in ASKED.names])
    new = is_new(table["better"].to_numpy(), table["worse"].to_numpy())
    recipe.commit(f"scratch/asked{where}", task, table.filter(pa.array(new)))


def is_new(*columns: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """True for each row of sorted columns that is not like the one before."""
    found = np.ones(len(columns[0]), bool)
    found[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return found


def described(recipe: Recipe, where: str, part: int) -> Iterator[Block]:
    """The pairs that were asked about in one shard, to the shards of the worse-ranked ones; with the first for each
    shard comes what the better-ranked one is compared by.
    """
    asked = schemas.read_parquet(recipe.file(f"scratch/asked{where}", part))
    better, worse = asked["better"].to_numpy(), asked["worse"].to_numpy()
    comes = is_new(better, worse >> SHIFT_32)
    known, start = better[is_new(better)], 0
    signatures = recipe.signatures_of(known)
    for table in recipe.at("documents", known, ["text"]):
        batch = slice(start, start + len(table))
        shingles = [each.tobytes() for each in recipe.shingles_in(table["text"])]
        signed = [each.tobytes() for each in signatures[batch]]
        rows = slice(*np.searchsorted(better, known[batch][[0, -1]] + np.array([0, 1], np.uint64)))
        places = np.searchsorted(known[batch], better[rows]).tolist()
        given = [place if new else None for place, new in zip(places, comes[rows].tolist(), strict=True)]
        columns = [[b"" if place is None else values[place] for place in given] for values in (signed, shingles)]
        sent = pa.table([better[rows], worse[rows], *columns], schema=SENT)
        yield from schemas.scatter(sent, worse[rows] >> SHIFT_32)
        start = batch.stop


@dataclass(frozen=True)
class Meeting:
    """What documents of one shard are compared with: what came, and what the shard holds."""

    recipe: Recipe
    came: pa.Table  # SENT, each better-ranked one once, by node

    @cached_property
    def known(self) -> Nodes:
        """The nodes that came."""
        found: Nodes = self.came["better"].to_numpy()
        return found

    @cached_property
    def signatures(self) -> npt.NDArray[np.uint32]:
        """Their signatures, (N, P)."""
        joined = b"".join(signature.as_buffer() for signature in self.came["signature"])
        return np.frombuffer(joined, np.uint32).reshape(-1, self.recipe.settings.documents.permutations)

    def places(self, asked: Nodes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Where each node is among those that came, and whether it is."""
        places = np.searchsorted(self.known, asked).clip(max=max(0, len(self.known) - 1))
        return places, self.known[places] == asked if len(self.known) else np.zeros(len(asked), bool)

    def signatures_of(self, asked: Nodes) -> npt.NDArray[np.uint32]:
        """The signature of each node, (N, P)."""
        places, came = self.places(asked)
        found = np.empty((len(asked), self.recipe.settings.documents.permutations), np.uint32)
        found[came] = self.signatures[places[came]]
        found[~came] = self.recipe.signatures_of(asked[~came])
        return found

    def shingles_of(self, asked: Nodes) -> list[npt.NDArray[np.uint32]]:
        """The shingles of each node."""
        places, came = self.places(asked)
        own, column = iter(self.recipe.shingles_of(asked[~came])), self.came["shingles"]
        return [
            np.frombuffer(column[place].as_buffer(), np.uint32) if is_there else next(own)
            for place, is_there in zip(places.tolist(), came.tolist(), strict=True)
        ]


def compare(recipe: Recipe, where: str, task: Task, blocks: Iterable[pa.Table]) -> None:
    """The edges of the documents of one shard with better-ranked ones, and its near misses."""
    corpus, sent = recipe.settings.corpus, schemas.unpack(blocks, SENT)
    better, worse = sent["better"].to_numpy(), sent["worse"].to_numpy()
    order = np.lexsort((better, worse))  # texts are read in the order of those that the shard holds
    pairs = [end(better, worse)[order] for end in (np.minimum, np.maximum)]
    came = sent.filter(pa.array(sizes(sent["signature"]) > 0)).sort_by("better")
    meeting = Meeting(recipe, came)
    edges, refused = judged(pa.table(pairs, schema=PAIRS), meeting, corpus.jaccard, corpus.measure)
    with recipe.artefact(f"scratch/edges{where}").attempt(task) as attempt:
        for part, table in (("", edges), (REFUSED, refused)):
            with attempt.write(".parquet", part) as file:
                attempt.rows(".parquet", schemas.write_parquet(file, [table], table.schema), part)
        attempt.commit({})


def judged(pairs: pa.Table, meeting: Meeting, threshold: float, measure: str) -> tuple[pa.Table, pa.Table]:
    """EDGES and near misses among pairs, each sorted."""
    edges = near_duplicates.verify(pairs, meeting.signatures_of, meeting.shingles_of, threshold, measure)
    least = near_duplicates.least_jaccard(threshold, measure)
    refused = evaluation.near_misses(pairs, edges, meeting.signatures_of, least)
    order = [("a", "ascending"), ("b", "ascending")]
    return edges.sort_by(order), refused.sort_by(order)


def sizes(column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """How many bytes each value has."""
    found: npt.NDArray[np.int32] = pc.binary_length(column).to_numpy()
    return found


def edges_of(recipe: Recipe, where: str, part: str = "") -> pa.Table:
    """All edges, or all near misses, of a phase."""
    phase = recipe.artefact(f"scratch/edges{where}")
    tables = (schemas.read_parquet(phase.file(shard, ".parquet", part)) for shard in range(phase.shards))
    return pa.concat_tables([(PAIRS if part else EDGES).empty_table(), *tables])
