"""Deduplication: which documents are duplicates, first of those in other corpora, then of each other.

Choice: three meetings. All meet as hashes; what is left meets other corpora as bands, and then, without what that took,
itself. So what stands elsewhere changes nothing among those that are left. Cost: bands cross twice where there are
other corpora. Alternative: one meeting of all, in which a band's best-ranked documents, with which the rest of it is
compared, may be gone themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline import elsewhere, likeness, ranking
from pipeline.config import slice_of
from pipeline.counts import counted
from pipeline.dedup import exact_duplicates, keepers, near_duplicates, nodes
from pipeline.dedup.nodes import MASK_32, REMOVALS, SHIFT_32
from pipeline.evidence import VERSION, Recipe
from pipeline.shards import receipts, schemas
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import HEAVY_S, Block, Run

DESCRIBED_S = 1e-3  # CPU s a document elsewhere: its text read, hashed and signed


def find(recipe: Recipe, run: Run) -> None:
    """Make the removals of all copies."""
    describe_others(recipe, run)
    find_copies(recipe, run)
    find_elsewhere(recipe, run)
    find_near_copies(recipe, run)


# --- other corpora


def describe_others(recipe: Recipe, run: Run) -> None:
    """Make hashes and signatures of the documents that stand elsewhere, once for each state of a shard there."""
    chosen = slice_of(recipe.settings.documents)
    used = {name: chosen[name] for name in ("shingle_words", "permutations", "seed")}
    shas = [stamp.sha256 for other in recipe.others for stamp in other.stamps]
    marks = [receipts.fingerprint("elsewhere", VERSION, used, sha, elsewhere.LIBRARIES) for sha in shas]
    heavy = sum(other.documents for other in recipe.others) * DESCRIBED_S > HEAVY_S
    run.map_shards(partial(describe, recipe), recipe.artefact("scratch/elsewhere").begin(marks), heavy)


def describe(recipe: Recipe, task: Task) -> None:
    """The documents of one shard of another corpus."""
    other, shard = recipe.beside(recipe.shards + task.shard)
    recipe.commit("scratch/elsewhere", task, elsewhere.described(other, shard, recipe.settings.documents))


def documents_elsewhere(recipe: Recipe, shard: int, column: str) -> tuple[npt.NDArray[np.uint32], pa.ChunkedArray]:
    """Rows of a shard of `recipe.beyond`, all of them, and a column of `elsewhere.schema`."""
    found = schemas.read_parquet(recipe.file("scratch/elsewhere", shard - recipe.shards), [column])[column]
    return np.arange(len(found), dtype=np.uint32), found


def find_elsewhere(recipe: Recipe, run: Run) -> None:
    """Make the edges between what is left and what stands elsewhere: candidates, verification."""
    pairs = recipe.artefact("scratch/pairs_elsewhere")
    met = recipe.hashes("documents", "scratch/votes", "scratch/lost", "scratch/elsewhere")
    tasks = recipe.begin(pairs.name, ("bands", "rows", "bucket"), [met] * pairs.shards)
    sources = [*recipe.every, *recipe.beyond]
    run.exchange(partial(bands_of, recipe, False), sources, partial(meet_elsewhere, recipe), tasks)
    likeness.find(recipe, run, "_elsewhere")


def meet_elsewhere(recipe: Recipe, task: Task, blocks: Iterable[pa.Table]) -> None:
    """The pairs of one partition of band values that a document makes with one elsewhere."""
    pairs, left_out = near_duplicates.candidate_pairs_across(blocks, recipe.settings.corpus.bucket, recipe.first_beyond)
    recipe.commit("scratch/pairs_elsewhere", task, pairs, overfull(left_out))


# --- exact copies


def find_copies(recipe: Recipe, run: Run) -> None:
    """Make the removals of exact copies, and bring each to the shard that it goes from."""
    met = [recipe.hashes("scratch/votes", "scratch/elsewhere")] * recipe.shards
    tasks = recipe.begin("scratch/exact", (), met)
    run.exchange(partial(hashes_of, recipe), [*recipe.every, *recipe.beyond], partial(exact, recipe), tasks)
    tasks = recipe.begin("scratch/lost", (), [recipe.hashes("scratch/exact")] * recipe.shards)
    run.exchange(partial(losses, recipe), recipe.parts("scratch/exact"), partial(lost, recipe), tasks)


def hashes_of(recipe: Recipe, shard: int) -> Iterator[Block]:
    """Blocks of the text hashes of a shard's survivors, or of what stands elsewhere."""
    if shard in recipe.every:
        votes = recipe.survivors(shard)
        rows, hashes = votes["row"].to_numpy(), votes["text_hash"]
    else:
        rows, hashes = documents_elsewhere(recipe, shard, "text_hash")
        votes = elsewhere.ranks(shard, documents_elsewhere(recipe, shard, "doc_id")[1])
    return exact_duplicates.scatter_hashes(shard, rows, hashes, votes, recipe.shards)


def exact(recipe: Recipe, task: Task, blocks: Iterable[pa.Table]) -> None:
    """The removals among all documents of one partition of hashes; nothing goes that stands elsewhere."""
    found = exact_duplicates.gather_hashes(blocks)
    recipe.commit("scratch/exact", task, found.filter(pa.array(found["removed"].to_numpy() < recipe.first_beyond)))


def losses(recipe: Recipe, part: tuple[str, int]) -> Iterator[Block]:
    """Blocks of the removals in one part of a phase, to the shard of the document that goes."""
    table = schemas.read_parquet(recipe.file(*part))
    return schemas.scatter(table, (table["removed"].to_numpy() >> SHIFT_32).astype(np.int32))


def lost(recipe: Recipe, task: Task, blocks: Iterable[pa.Table]) -> None:
    """The removals of exact copies that go from one shard."""
    recipe.commit("scratch/lost", task, schemas.unpack(blocks, REMOVALS).sort_by("removed"))


# --- near copies


def find_near_copies(recipe: Recipe, run: Run) -> None:
    """Make the removals of near copies: candidates, verification, choice."""
    ranking.find(recipe, run)
    met = recipe.hashes("documents", ranking.PHASE, "scratch/votes", "scratch/lost", "scratch/edges_elsewhere")
    tasks = recipe.begin("scratch/pairs", ("bands", "rows", "bucket"), [met] * recipe.shards)
    run.exchange(partial(bands_of, recipe, True), recipe.every, partial(near, recipe), tasks)
    likeness.find(recipe, run)
    tasks = recipe.begin("scratch/removals", (), [recipe.hashes(ranking.PHASE, "scratch/edges")])
    run.map_shards(partial(choose, recipe), tasks)


def bands_of(recipe: Recipe, left: bool, shard: int) -> Iterator[Block]:
    """Blocks of the bands of a shard's survivors that are no exact copies; or of what stands elsewhere.

    `left`: of those, too, that did not go as near copies of what stands elsewhere.
    """
    if shard in recipe.every:
        rows = recipe.survivors(shard)["row"].to_numpy()
        gone = schemas.read_parquet(recipe.file("scratch/lost", shard))["removed"].to_numpy()
        rows = rows[~np.isin(rows, gone & MASK_32)]
        if left:
            rows = rows[~np.isin(nodes.node_ids(shard, rows), elsewhere_removals(recipe, shard)["removed"].to_numpy())]
    else:
        rows, _ = documents_elsewhere(recipe, shard, "doc_id")
    signatures = recipe.signatures_of(nodes.node_ids(shard, rows))
    return near_duplicates.scatter_bands(shard, rows, signatures, recipe.settings.corpus, recipe.shards)


def near(recipe: Recipe, task: Task, blocks: Iterable[pa.Table]) -> None:
    """The candidate pairs of one partition of band values."""
    rank_of = partial(ranking.places_of, recipe)
    pairs, left_out = near_duplicates.candidate_pairs(blocks, recipe.settings.corpus.bucket, rank_of)
    recipe.commit("scratch/pairs", task, pairs, overfull(left_out))


def overfull(left_out: int) -> list[str]:
    """What is said of pairs that are no candidates."""
    pairs = counted(left_out, "pair")
    return [f"{pairs} not compared: more than corpus.bucket documents had a band in common"] if left_out else []


def choose(recipe: Recipe, task: Task) -> None:
    """The removals of near duplicates: of each edge the better-ranked end stays, if it does."""
    edges, documents = (recipe.rows(name) for name in ("scratch/edges", ranking.PHASE))
    rank_of, spill = partial(ranking.places_of, recipe), recipe.work / "scratch"
    removed = keepers.choose(recipe.each("scratch/edges"), edges, rank_of, documents, spill)
    recipe.commit("scratch/removals", task, removed)


def near_removals(recipe: Recipe) -> pa.Table:
    """The removals of all near copies, by the document that goes; their keepers stay, here or elsewhere.

    Loaded once a process for one state of them: 20 bytes a removal.
    """
    phases = [recipe.artefact(name) for name in ("scratch/removals", "scratch/edges_elsewhere")]
    marks = [phase.made(0).fingerprint for phase in phases if phase.shards]  # of all parts of a phase
    return loaded(*phases, tuple(marks))


@lru_cache(maxsize=1)
def loaded(removals: Artefact, edges: Artefact, _: tuple[str, ...]) -> pa.Table:
    """The same from the files of two phases."""
    beyond = [nearest(edges, shard) for shard in range(edges.shards)]
    return pa.concat_tables([schemas.read_parquet(removals.file(0, ".parquet")), *beyond]).sort_by("removed")


def nearest(edges: Artefact, shard: int) -> pa.Table:
    """The removals of the near copies that one shard has of what stands elsewhere."""
    return near_duplicates.nearest(schemas.read_parquet(edges.file(shard, ".parquet")))


def elsewhere_removals(recipe: Recipe, shard: int) -> pa.Table:
    """The same; none without other corpora."""
    edges = recipe.artefact("scratch/edges_elsewhere")
    return nearest(edges, shard) if edges.shards else REMOVALS.empty_table()
