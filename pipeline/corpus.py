"""documents + links → corpus: which documents stay, and for each that goes one row that says why and for whom.

Choice: phases, each an artefact with receipts. Shards vote alone, survivors meet as hashes, then as bands, pairs are
verified where one of the two stands, one task chooses among them, and every shard is written by what was decided. Cost:
the choice is made in one process, and the texts of candidate pairs are read a second time. Alternative: filters one
after another, each of which writes the whole corpus again, and which cannot say afterwards who lost to whom.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import copies, elsewhere, evidence, measured, urls
from pipeline.config import Settings, slice_of
from pipeline.dedup import nodes
from pipeline.dedup.nodes import MASK_32, REMOVALS, SHIFT_32
from pipeline.evidence import LIBRARIES, VERDICT, VOTES, Recipe
from pipeline.shards import progress, receipts, schemas
from pipeline.shards.outcomes import Outcome
from pipeline.shards.receipts import Manifest, Task
from pipeline.shards.runner import HEAVY_S, Block, Run
from pipeline.text import contamination, paragraphs, rules
from pipeline.text.finish import Finish
from pipeline.text.normalize import counted_words
from pipeline.text.signals import SIGNALS

VOTING = ("languages", "min_words", "wikipedia_overlap")
VOTED_S = 80e-6  # CPU s a document of 8 kB that rules judge
WORDS_S = 2e-3  # the same where its n-grams are looked up too, in Wikipedia or in evaluation texts
READ = ("url", "doc_id", "final_url", "text", "text_hash", "outcome", *SIGNALS)

GRAMS = pa.schema({"gram": pa.uint64()})
NAMED = pa.schema([*REMOVALS, pa.field("keeper_id", pa.string())])
DECIDED = pa.schema([VOTES.field("row"), *schemas.DECISIONS])
PARAGRAPHS = pa.schema({"hash": pa.uint64(), "documents": pa.int64()})  # in how many documents it stands


def stage(settings: Settings, work: Path, run: Run) -> Manifest:
    """`corpus/<shard>.parquet` of the documents that stay, `removed/<shard>.parquet` of those that go.

    Raises DedupError: the deduplication measured itself, and is not good enough for the corpus to be written.
    """
    recipe = evidence.prepared(settings, work, run)
    read = vote_alone(recipe, run)
    copies.find(recipe, run)
    notes = measured.judge(recipe, run)
    notes[0] += [note for path, _ in recipe.evaluations for note in contamination.read_evaluation(path).summary()]
    decide(recipe, run)
    find_boilerplate(recipe, run)
    made, phase = recipe.hashes, recipe.artefact
    shared = made("scratch/boilerplate") if settings.corpus.copied_paragraphs else []
    inputs = [
        [*read[shard], phase("scratch/decisions").contents(shard), shared, notes[shard]] for shard in recipe.every
    ]
    tasks = recipe.begin("corpus", ("redact", "copied_paragraphs", "cut_copied"), inputs)
    run.map_shards(partial(write, recipe, notes), tasks)
    made_from = map(phase, ("documents", "links"))
    return phase("corpus").finish(
        slice_of(settings.corpus), LIBRARIES, made_from, notes=elsewhere.summary(recipe.others)
    )


# --- shards vote


def vote_alone(recipe: Recipe, run: Run) -> list[list[Any]]:
    """Make the votes; what each shard's were made from."""
    phase, sought = recipe.artefact, [sha for _, sha in recipe.evaluations]
    shared = [[sha for _, sha in recipe.references], list(map(str, recipe.rules)), *urls.packaged_entries(rules.HOSTS)]
    read: list[list[Any]] = [
        [phase("documents").contents(shard), phase("links").contents(shard), shared] for shard in recipe.every
    ]
    if sought:
        inside = [[phase("documents").contents(shard), sought] for shard in recipe.every]
        tasks = recipe.begin("scratch/contamination", (), inside)
        count = phase("documents").kept((task.shard for task in tasks), "documents")
        run.map_shards(partial(find_contamination, recipe), tasks, heavy=count * WORDS_S > HEAVY_S)
        met = [recipe.hashes("scratch/contamination")]
        run.map_shards(partial(find_common, recipe), recipe.begin("scratch/common", (), met))
        read = [[*marks, sought, recipe.hashes("scratch/common")] for marks in read]
    tasks = recipe.begin("scratch/votes", VOTING, read)
    count = phase("documents").kept((task.shard for task in tasks), "documents")
    progress.expect(count, noun="documents")
    a_document_s = WORDS_S if recipe.references or sought else VOTED_S
    run.map_shards(partial(vote, recipe), tasks, heavy=count * a_document_s > HEAVY_S)
    return read


def find_contamination(recipe: Recipe, task: Task) -> None:
    """The n-grams that each document of a shard shares with the evaluation files, once a document."""
    sought, found = contamination.contaminants(recipe.evaluations), [np.empty(0, np.uint64)]
    for batch in schemas.iterate_parquet(recipe.file("documents", task.shard), ["text"], rows=1_000):
        found += [contamination.collisions(text, sought) for text in batch["text"].to_pylist()]
    recipe.commit("scratch/contamination", task, pa.table([np.concatenate(found)], schema=GRAMS))


def find_common(recipe: Recipe, task: Task) -> None:
    """The n-grams of evaluation files that so many documents hold that they are common speech."""
    found = (table["gram"].to_numpy() for table in recipe.each("scratch/contamination"))
    recipe.commit("scratch/common", task, pa.table([contamination.common(found)], schema=GRAMS))


def vote(recipe: Recipe, task: Task) -> None:
    """One row of VOTES for each kept document of a shard, in the order of `documents`."""
    references = tuple(evidence.reference_of(*reference) for reference in recipe.references)
    judge, cut = rules.Judge(recipe.settings.corpus, recipe.rules, references), recipe.cutter()
    rows = []
    batches = schemas.iterate_parquet(recipe.file("documents", task.shard), READ, rows=1_000)
    for row, document in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches)):
        if document["outcome"] == Outcome.KEPT:
            progress.advance(progress.ROWS)
            verdict = judge.verdict(document)
            if verdict[0] == Outcome.KEPT and cut is not None:
                verdict = contamination.verdict(cut(document["text"]))
            decision = dict(zip(VERDICT, verdict, strict=True))
            rows.append({**document, "text": None, "row": row, "length": document["word_count"], **decision})
    votes = pa.Table.from_pylist(rows, VOTES)
    columns = {name: votes[name] for name in VOTES.names}
    links = recipe.links_of(task.shard, votes["doc_id"], ("score", "created"))
    columns |= {name: links[name] for name in links.column_names}
    recipe.commit("scratch/votes", task, pa.table(columns, schema=VOTES))


# --- each shard is filtered by its table of decisions


def decide(recipe: Recipe, run: Run) -> None:
    """Make the table of decisions of each shard: removals go to the keeper's shard for its doc_id, and then home."""
    gone = ("scratch/exact", "scratch/removals", "scratch/edges_elsewhere")
    met, keeping = recipe.hashes("scratch/votes", *gone, "scratch/elsewhere"), recipe.artefact("scratch/keepers")
    tasks = recipe.begin(keeping.name, (), [met] * keeping.shards)
    run.exchange(partial(kept_for, recipe), recipe.parts(*gone), partial(keepers, recipe), tasks)
    met = [*recipe.hashes("scratch/votes", keeping.name), *(other.mark for other in recipe.others)]
    tasks = recipe.begin("scratch/decisions", ("jaccard", "measure"), [met] * recipe.shards)
    run.exchange(partial(copies.losses, recipe), recipe.parts(keeping.name), partial(decisions, recipe), tasks)


def kept_for(recipe: Recipe, part: tuple[str, int]) -> Iterator[Block]:
    """Blocks of the removals in one part of a phase, to the shard of the keeper, which is one that stays: the keeper of
    an exact copy may itself have gone as a near copy, of one that stayed, here or elsewhere.
    """
    name, shard = part
    edges = name == "scratch/edges_elsewhere"
    table = copies.elsewhere_removals(recipe, shard) if edges else schemas.read_parquet(recipe.file(*part))
    table = nodes.followed(table, copies.near_removals(recipe), recipe.first_beyond)
    return schemas.scatter(table, (table["keeper"].to_numpy() >> SHIFT_32).astype(np.int32))


def keepers(recipe: Recipe, task: Task, blocks: Iterable[pa.Table]) -> None:
    """The removals, of copies and near copies, whose keeper stands in one shard, with the doc_id of the keeper."""
    table = schemas.unpack(blocks, REMOVALS).sort_by([("keeper", "ascending"), ("removed", "ascending")])
    if task.shard in recipe.every:
        votes = schemas.read_parquet(recipe.file("scratch/votes", task.shard), ["row", "doc_id"])
        rows, ids = votes["row"].to_numpy(), votes["doc_id"]
    else:
        rows, ids = copies.documents_elsewhere(recipe, task.shard, "doc_id")
    places = np.searchsorted(rows, table["keeper"].to_numpy() & MASK_32)
    recipe.commit("scratch/keepers", task, table.append_column("keeper_id", ids.take(places)))


def decisions(recipe: Recipe, task: Task, blocks: Iterable[pa.Table]) -> None:
    """DECISIONS of each kept document of a shard, with its row: its vote, unless it went out as a copy."""
    votes = schemas.read_parquet(recipe.file("scratch/votes", task.shard), ["row", "doc_id", *VERDICT])
    by_row = {vote["row"]: vote for vote in votes.to_pylist()}
    lost = schemas.read_parquet(recipe.file("scratch/lost", task.shard))
    same_words = dict(zip(lost["removed"].to_pylist(), lost["keeper"].to_pylist(), strict=True))
    near = (Outcome.NEAR_DUPLICATE, recipe.settings.corpus.measure, recipe.settings.corpus.jaccard)
    for row in schemas.unpack(blocks, NAMED).to_pylist():
        removed, keeper = row["removed"], row["keeper"]
        found = (Outcome.EXACT_DUPLICATE, "text_hash", 1.0) if removed in same_words else near
        if keeper >= recipe.first_beyond:
            rule = f"{elsewhere.RULE} {recipe.beside(keeper >> int(SHIFT_32))[0].mark}"
            found = Outcome.DUPLICATE_ELSEWHERE, rule, 1.0 if same_words.get(removed) == keeper else near[-1]
        verdict = dict(zip(("outcome", "rule", "threshold"), found, strict=True))
        by_row[removed & int(MASK_32)] |= verdict | {"value": row["score"], "keeper": row["keeper_id"]}
    recipe.commit("scratch/decisions", task, pa.Table.from_pylist(list(by_row.values()), DECIDED))


def find_boilerplate(recipe: Recipe, run: Run) -> None:
    """Make the sorted hashes of all paragraphs that stand in `corpus.copied_paragraphs` documents that stay."""
    if not recipe.settings.corpus.copied_paragraphs:
        return
    met = [recipe.hashes("documents", "scratch/decisions")] * recipe.shards
    tasks = recipe.begin("scratch/paragraphs", ("copied_paragraphs",), met)
    run.exchange(partial(paragraphs_of, recipe), recipe.every, partial(count_paragraphs, recipe), tasks)
    tasks = recipe.begin("scratch/boilerplate", (), [recipe.hashes("scratch/paragraphs")])
    run.map_shards(partial(unite_paragraphs, recipe), tasks)


def paragraphs_of(recipe: Recipe, shard: int) -> Iterator[Block]:
    """Blocks of the hashes of a shard's paragraphs, and in how many of its documents that stay they stand."""
    rows = recipe.decided(shard, stays=True)["row"].to_numpy()
    found = [np.empty(0, np.uint64)]
    for table in recipe.at("documents", nodes.node_ids(shard, rows), ["text"]):
        parts = (paragraphs.paragraphs(text) for text in table["text"].to_pylist())
        found += [np.unique(paragraphs.paragraph_hashes(column)) for column in parts]
    hashes, documents = np.unique(np.concatenate(found), return_counts=True)
    table = pa.table([hashes, documents], schema=PARAGRAPHS).filter(pa.array(hashes > 0))
    return schemas.scatter(table, table["hash"].to_numpy() % np.uint64(recipe.shards))


def count_paragraphs(recipe: Recipe, task: Task, blocks: Iterable[pa.Table]) -> None:
    """The hashes of one partition that stand in enough documents."""
    counted = schemas.unpack(blocks, PARAGRAPHS).group_by("hash").aggregate([("documents", "sum")])
    often = counted.filter(pc.greater_equal(counted["documents_sum"], recipe.settings.corpus.copied_paragraphs))
    columns = [often["hash"], often["documents_sum"]]
    recipe.commit("scratch/paragraphs", task, pa.table(columns, schema=PARAGRAPHS).sort_by("hash"))


def unite_paragraphs(recipe: Recipe, task: Task) -> None:
    """All partitions as one sorted table."""
    recipe.commit("scratch/boilerplate", task, pa.concat_tables(recipe.tables("scratch/paragraphs")).sort_by("hash"))


def write(recipe: Recipe, notes: Sequence[Sequence[str]], task: Task) -> None:
    """The two files of one shard, and its row counts."""
    finish = Finish(recipe.settings.corpus, recipe.cutter(), recipe.boilerplate())
    kept, gone = (recipe.decided(task.shard, stays) for stays in (True, False))
    with recipe.artefact("corpus").attempt(task) as attempt:
        for part, tables, schema in (
            ("", kept_tables(recipe, task.shard, kept, finish), schemas.CORPUS),
            ("removed", removed_tables(recipe, task.shard, gone), schemas.REMOVED),
        ):
            with attempt.write(".parquet", part) as file:
                attempt.rows(".parquet", schemas.write_parquet(file, tables, schema), part)
        outcomes = Counter([*kept["outcome"].to_pylist(), *gone["outcome"].to_pylist()])
        edits = [f"{count} {what}" for what, count in sorted(finish.changed.items()) if count]
        attempt.commit(
            {"corpus": receipts.balanced("corpus", outcomes.total(), outcomes)}, [*notes[task.shard], *edits]
        )


def kept_tables(recipe: Recipe, shard: int, kept: pa.Table, finish: Finish) -> Iterator[pa.Table]:
    """The rows of CORPUS of these decisions, a row group of `documents` at a time."""
    links, start = recipe.links_of(shard, kept["doc_id"], ("score", "created", "submissions")), 0
    columns = ("url", "doc_id", "host", "title", "text", "language", "word_count")
    for table in recipe.at("documents", nodes.node_ids(shard, kept["row"].to_numpy()), columns):
        score, created, submissions = links.slice(start, len(table)).columns
        subreddits = [
            sorted({post["subreddit"] for post in posts if post["subreddit"]}) for posts in submissions.to_pylist()
        ]
        before = table["text"].to_pylist()
        texts, copied = zip(*map(finish, before), strict=True)
        counted = zip(before, texts, table["word_count"].to_pylist(), strict=True)
        words = [count if text == old else len(counted_words(text)) for old, text, count in counted]
        yield pa.table(
            [*table.select(columns[:4]).columns, texts, table["language"], words, score, created, subreddits, copied],
            schema=schemas.CORPUS,
        )
        start += len(table)


def removed_tables(recipe: Recipe, shard: int, gone: pa.Table) -> Iterator[pa.Table]:
    """The rows of REMOVED of these decisions, likewise."""
    start = 0
    for table in recipe.at("documents", nodes.node_ids(shard, gone["row"].to_numpy()), ("url", "host")):
        decided = gone.slice(start, len(table)).select(schemas.DECISIONS.names)
        yield pa.table([*table.columns, *decided.columns], schema=schemas.REMOVED)
        start += len(table)
