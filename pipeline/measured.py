"""How good the deduplication was: a sample is looked up in every shard, and what it met is compared word by word.

Choice: every shard looks for the sample among its own documents, and one task compares what was met. Cost: the sample,
500 KB, is read by every shard. Alternative: one task that reads the signatures of all documents.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pyarrow as pa

from pipeline import copies, likeness, ranking
from pipeline.dedup import evaluation, near_duplicates, nodes
from pipeline.dedup.nodes import Nodes
from pipeline.evidence import Recipe
from pipeline.shards import schemas
from pipeline.shards.receipts import Task
from pipeline.shards.runner import Run

STAYED = "stayed"  # in a receipt: how many documents stayed, of which the sample is


def judge(recipe: Recipe, run: Run) -> list[list[str]]:
    """Measure the deduplication; what is to be said of it, by shard. Raises DedupError: it is not good enough."""
    corpus = recipe.settings.corpus
    gone = recipe.hashes("documents", "scratch/votes", "scratch/lost", "scratch/removals", "scratch/edges_elsewhere")
    run.map_shards(partial(draw, recipe), recipe.begin("scratch/probes", ("sample",), [gone]))
    sought = [gone, *recipe.hashes("scratch/probes", "scratch/elsewhere")]
    missed = recipe.artefact("scratch/missed")
    run.map_shards(partial(look, recipe), recipe.begin(missed.name, ("jaccard", "measure"), [sought] * missed.shards))
    edges = recipe.hashes(ranking.PHASE, missed.name, "scratch/edges", "scratch/edges_elsewhere")
    read = [sought, edges, recipe.settings.documents.shingle_words]
    run.map_shards(partial(measure, recipe), recipe.begin("scratch/meter", ("jaccard", "measure", "sample"), [read]))
    evaluation.judge(recipe.reading_of(), corpus.min_precision, corpus.max_swallowed, corpus.min_recall)
    notes = [list(receipt.notes) for receipt in recipe.artefact("scratch/pairs").receipts()]
    for shard, receipt in enumerate(recipe.artefact("scratch/pairs_elsewhere").receipts()):
        notes[shard] += receipt.notes
    notes[0] += evaluation.summary(recipe.reading_of(), corpus)
    return notes


def stayed(recipe: Recipe, shard: int) -> Nodes:
    """The documents of a shard that stayed; all of those of a shard elsewhere."""
    if shard not in recipe.every:
        return nodes.node_ids(shard, copies.documents_elsewhere(recipe, shard, "doc_id")[0])
    found = nodes.node_ids(shard, recipe.survivors(shard)["row"].to_numpy())
    lost = schemas.read_parquet(recipe.file("scratch/lost", shard))["removed"].to_numpy()
    near = nodes.of_shard(copies.near_removals(recipe)["removed"].to_numpy(), shard)
    return found[~np.isin(found, np.concatenate([lost, near]))]


def draw(recipe: Recipe, task: Task) -> None:
    """The sample of the documents that stayed, with their signatures; its receipt says of how many."""
    every = (stayed(recipe, shard) for shard in recipe.every)
    probes, count = evaluation.sampled(every, recipe.settings.corpus.sample)
    signatures = recipe.signatures_of(probes)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(signatures.reshape(-1)), signatures.shape[1])
    with recipe.artefact("scratch/probes").attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            table = pa.table({"node": probes, "signature": lists})
            attempt.rows(".parquet", schemas.write_parquet(file, [table], table.schema))
        attempt.commit({}, counts={STAYED: count})


def look(recipe: Recipe, task: Task) -> None:
    """The candidates of the sample among the documents of one shard that stayed, or of one elsewhere."""
    corpus, (sample,) = recipe.settings.corpus, recipe.tables("scratch/probes")
    signatures = sample["signature"].combine_chunks().flatten().to_numpy()
    signatures = signatures.reshape(-1, recipe.settings.documents.permutations)
    least = near_duplicates.least_jaccard(corpus.jaccard, corpus.measure)
    batches = ((nodes, recipe.signatures_of(nodes)) for nodes in evaluation.cut(stayed(recipe, task.shard)))
    recipe.commit("scratch/missed", task, evaluation.candidates(sample["node"].to_numpy(), signatures, batches, least))


def measure(recipe: Recipe, task: Task) -> None:
    """What a sample, compared word by word, says about the removals."""
    probes = recipe.artefact("scratch/probes").made(0)
    removed = copies.near_removals(recipe).select(["removed", "keeper"])
    refused = [likeness.edges_of(recipe, where, likeness.REFUSED) for where in ("", "_elsewhere")]
    found = pa.concat_tables(recipe.tables("scratch/missed"))
    met = evaluation.Met(
        removed=removed.rename_columns(near_duplicates.PAIRS.names),
        refused=pa.concat_tables(refused).sort_by([("a", "ascending"), ("b", "ascending")]),
        missed=evaluation.better(found, partial(ranking.places_of, recipe)),
        stayed=probes.counts[STAYED],
        probed=sum(stamp.rows for stamp in probes.files.values()),
    )
    reading = evaluation.read(met, recipe.settings.corpus, recipe.settings.documents.shingle_words, recipe.words_of)
    recipe.commit("scratch/meter", task, reading.table())
