"""The ranking of all documents of the build: who stays where two are copies, asked by whoever compares.

Choice: an exchange by ranges of karma and time, after which each part is sorted alone and the parts follow one another;
whoever asks loads 16 bytes a document, once a process. Cost: 100 bytes a document cross once; 1 GB of memory at 60
million documents. Alternative: to read the votes of whoever is asked about, which opens every file for each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import elsewhere
from pipeline.dedup import nodes
from pipeline.dedup.nodes import MASK_32, RANK_TYPES, SHIFT_32, Nodes
from pipeline.evidence import RANKS, Recipe
from pipeline.shards import schemas
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import Block, Run

RANKED = pa.schema({"node": pa.uint64(), **RANK_TYPES})
ORDER = pa.schema({"node": pa.uint64()})  # best first
LOOKED_AT = 64  # shards whose karma and times say where the ranges end
PHASE = "scratch/ranking"

Keys = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]  # the lesser is the better: of karma, then of time


def find(recipe: Recipe, run: Run) -> None:
    """Make the ranking of all documents that no rule refused."""
    tasks = recipe.begin(PHASE, (), [recipe.hashes("scratch/votes")] * recipe.shards)
    if tasks:
        run.exchange(partial(ranks_of, recipe, ends(recipe)), recipe.every, partial(rank, recipe), tasks)


def ends(recipe: Recipe) -> Keys:
    """Where the ranges of all parts but the last end, so that they get about as many documents each."""
    step = max(1, recipe.shards // LOOKED_AT)
    score, created = (
        np.concatenate(parts)
        for parts in zip(*(keys(recipe.survivors(at)) for at in recipe.every[::step]), strict=True)
    )
    order = np.lexsort((created, score))
    cuts = order[np.arange(1, recipe.shards) * len(order) // recipe.shards] if len(order) else order
    return score[cuts], created[cuts]


def keys(ranks: pa.Table) -> Keys:
    """What documents are ranked by first; null is worst."""
    score = pc.fill_null(ranks["score"], np.iinfo(np.int64).min).to_numpy()
    return ~score, pc.fill_null(ranks["created"], np.iinfo(np.int64).max).to_numpy()


def ranks_of(recipe: Recipe, cuts: Keys, shard: int) -> Iterator[Block]:
    """The columns that the documents of a shard are ranked by, to the range that they are in."""
    votes = recipe.survivors(shard)
    table = pa.table([nodes.node_ids(shard, votes["row"].to_numpy()), *votes.select(RANKS).columns], RANKED.names)
    score, created = (np.concatenate(pair) for pair in zip(cuts, keys(votes), strict=True))
    order, many = np.lexsort((created, score)), len(cuts[0])
    parts = np.empty(len(order), np.int64)
    parts[order] = np.cumsum(order < many)
    return schemas.scatter(table.cast(RANKED), parts[many:])


def rank(recipe: Recipe, task: Task, blocks: Iterable[pa.Table]) -> None:
    """The documents of one range, best first."""
    table = schemas.unpack(blocks, RANKED)
    order = pc.sort_indices(table, sort_keys=nodes.RANKS)
    recipe.commit(PHASE, task, table.select(ORDER.names).take(order))


def places_of(recipe: Recipe, asked: Nodes) -> npt.NDArray[np.int64]:
    """A number for each node, in the order of the ranking of them all, the least is the best; of documents that stand
    elsewhere negative: those of the first corpus named come first, each shard's by doc_id.
    """
    ours = asked < recipe.first_beyond
    phase = recipe.artefact(PHASE)
    known, places = loaded(phase, phase.made(0).fingerprint)
    found = np.empty(len(asked), np.int64)
    found[ours] = places[np.searchsorted(known, asked[ours])]
    for shard in np.unique(asked[~ours] >> SHIFT_32).tolist():
        theirs = asked >> SHIFT_32 == shard
        ids = pa.concat_tables(recipe.elsewhere_at(shard, asked[theirs] & MASK_32, ["doc_id"]))
        order = nodes.positions(elsewhere.ranks(shard, ids["doc_id"]))
        found[theirs] = order + ((shard - recipe.beyond.stop) << 32)
    return found


@lru_cache(maxsize=1)
def loaded(phase: Artefact, _: str) -> tuple[Nodes, npt.NDArray[np.int64]]:
    """All documents by node, and the place of each: read once a process for one fingerprint of all parts."""
    parts = (schemas.read_parquet(phase.file(part, ".parquet"))["node"].to_numpy() for part in range(phase.shards))
    order = np.concatenate(list(parts))
    places = np.argsort(order)
    return order[places], places
