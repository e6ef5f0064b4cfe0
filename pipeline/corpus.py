"""documents + links → corpus: which documents stay, and for each that goes one row that says why and for whom.

Choice: phases, each an artefact with receipts. Shards vote alone, survivors meet as hashes, then as bands, one task
verifies pairs, chooses among them and measures the result, and every shard is written by what was decided. Cost: the
decisions about near duplicates are made in one process, and the texts of likely pairs are read a second time.
Alternative: filters one after another, each of which writes the whole corpus again, and which cannot say afterwards
who lost to whom.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import evidence, urls
from pipeline.config import Settings, slice_of
from pipeline.dedup import exact_duplicates, meter, near_duplicates, nodes
from pipeline.dedup.nodes import MASK_32, REMOVALS, SHIFT_32
from pipeline.evidence import LIBRARIES, VERDICT, VOTES, Recipe
from pipeline.shards import receipts, schemas
from pipeline.shards.outcomes import Outcome
from pipeline.shards.receipts import Manifest, Task
from pipeline.shards.runner import Block, Run
from pipeline.text import contamination, rules
from pipeline.text.redact import redacted
from pipeline.text.signals import SIGNALS

VOTING = ("languages", "min_words", "wikipedia_overlap")
READ = ("url", "doc_id", "final_url", "text", "text_hash", "outcome", *SIGNALS)

GRAMS = pa.schema({"gram": pa.uint64()})
NAMED = pa.schema([*REMOVALS, pa.field("keeper_id", pa.string())])


def stage(settings: Settings, work: Path, run: Run) -> Manifest:
    """`corpus/<shard>.parquet` of the documents that stay, `corpus/removed/<shard>.parquet` of those that go.

    Raises DedupError: the deduplication measured itself, and is not good enough for the corpus to be written.
    """
    recipe, every = evidence.prepared(settings, work, run), range(settings.build.shards)
    phase, begin, hashes = recipe.artefact, recipe.begin, recipe.hashes
    shared = [[sha for _, sha in recipe.references], list(map(str, recipe.rules)), *urls.packaged_entries(rules.HOSTS)]
    alone = [[phase("documents").contents(one), phase("links").contents(one), shared] for one in every]
    if sought := [sha for _, sha in recipe.evaluations]:
        inside = [[phase("documents").contents(one), sought] for one in every]
        run.map_shards(partial(find_contamination, recipe), begin("scratch/contamination", (), inside))
        alone = [[*one, sought, hashes("scratch/contamination")] for one in alone]
    run.map_shards(partial(vote, recipe), begin("scratch/votes", VOTING, alone))

    met = [hashes("scratch/votes")] * len(every)
    run.exchange(partial(hashes_of, recipe), every, partial(exact, recipe), begin("scratch/exact", (), met))
    copies, met = [("scratch/exact", part) for part in every], [hashes("scratch/exact")] * len(every)
    run.exchange(partial(losses, recipe, "removed"), copies, partial(lost, recipe), begin("scratch/lost", (), met))

    met = [hashes("documents", "scratch/votes", "scratch/lost")] * len(every)
    tasks = begin("scratch/pairs", ("bands", "rows", "bucket"), met)
    run.exchange(partial(bands_of, recipe), every, partial(near, recipe), tasks)

    likely = [hashes("documents", "scratch/votes", "scratch/pairs"), settings.documents.shingle_words]
    run.map_shards(partial(verify, recipe), begin("scratch/edges", ("jaccard", "measure"), [likely]))
    run.map_shards(partial(choose, recipe), begin("scratch/removals", (), [hashes("scratch/votes", "scratch/edges")]))

    decided = hashes("scratch/votes", "scratch/exact", "scratch/removals")
    measured = [*likely, decided, hashes("scratch/edges")]
    run.map_shards(partial(measure, recipe), begin("scratch/meter", ("jaccard", "measure", "sample"), [measured]))
    meter.judge(recipe.reading_of(), settings.corpus.min_precision, settings.corpus.max_swallowed)

    met, gone = [decided] * len(every), [*copies, ("scratch/removals", 0)]
    run.exchange(partial(losses, recipe, "keeper"), gone, partial(keepers, recipe), begin("scratch/keepers", (), met))

    notes = [list(one.notes) for one in phase("scratch/pairs").receipts()]
    notes[0] += meter.told(recipe.reading_of(), settings.corpus)
    whole = [[*alone[one], decided, notes[one]] for one in every]
    tasks, named = begin("corpus", ("jaccard", "measure", "redact"), whole), [("scratch/keepers", one) for one in every]
    run.exchange(partial(losses, recipe, "removed"), named, partial(write, recipe, notes), tasks)
    return phase("corpus").finish(slice_of(settings.corpus), LIBRARIES, map(phase, ("documents", "links")))


def find_contamination(recipe: Recipe, task: Task) -> None:
    """The n-grams that each document of a shard shares with the evaluation files, once a document."""
    sought, found = contamination.contaminants(recipe.evaluations), [np.empty(0, np.uint64)]
    for batch in schemas.iterate_parquet(recipe.file("documents", task.shard), ["text"], rows=1_000):
        found += [contamination.collisions(text, sought) for text in batch["text"].to_pylist()]
    recipe.commit("scratch/contamination", task, pa.table([np.concatenate(found)], schema=GRAMS))


def vote(recipe: Recipe, task: Task) -> None:
    """One row of VOTES for each kept document of a shard, in the order of `documents`."""
    references = tuple(evidence.reference_of(*one) for one in recipe.references)
    judge, cut = rules.Judge(recipe.settings.corpus, recipe.rules, references), recipe.cutter()
    rows = []
    batches = schemas.iterate_parquet(recipe.file("documents", task.shard), READ, rows=1_000)
    for row, document in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches)):
        if document["outcome"] == Outcome.KEPT:
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


def hashes_of(recipe: Recipe, shard: int) -> Iterator[Block]:
    """Blocks of the text hashes of a shard's survivors."""
    votes = recipe.survivors(shard)
    return exact_duplicates.scatter_hashes(
        shard, votes["row"].to_numpy(), votes["text_hash"], votes, recipe.settings.build.shards
    )


def exact(recipe: Recipe, task: Task, blocks: Iterable[bytes]) -> None:
    """The removals among all documents of one partition of hashes."""
    recipe.commit("scratch/exact", task, exact_duplicates.gather_hashes(blocks))


def losses(recipe: Recipe, whose: str, part: tuple[str, int]) -> Iterator[Block]:
    """Blocks of the removals in one part of a phase, to the shard of the document that goes, or of its keeper."""
    table = schemas.read_parquet(recipe.file(*part))
    return schemas.scatter(table, (table[whose].to_numpy() >> SHIFT_32).astype(np.int32))


def lost(recipe: Recipe, task: Task, blocks: Iterable[bytes]) -> None:
    """The removals of exact copies that go from one shard."""
    recipe.commit("scratch/lost", task, schemas.unpack(blocks, REMOVALS).sort_by("removed"))


def keepers(recipe: Recipe, task: Task, blocks: Iterable[bytes]) -> None:
    """The removals, of copies and near copies, whose keeper stands in one shard, with the doc_id of the keeper."""
    table = schemas.unpack(blocks, REMOVALS).sort_by([("keeper", "ascending"), ("removed", "ascending")])
    votes = schemas.read_parquet(recipe.file("scratch/votes", task.shard), ["row", "doc_id"])
    places = np.searchsorted(votes["row"].to_numpy(), table["keeper"].to_numpy() & MASK_32)
    recipe.commit("scratch/keepers", task, table.append_column("keeper_id", votes["doc_id"].take(places)))


def bands_of(recipe: Recipe, shard: int) -> Iterator[Block]:
    """Blocks of the bands of a shard's survivors that are no exact copies."""
    rows, copies = recipe.survivors(shard)["row"].to_numpy(), schemas.read_parquet(recipe.file("scratch/lost", shard))
    rows = rows[~np.isin(rows, copies["removed"].to_numpy() & MASK_32)]
    signatures = recipe.signatures_of(nodes.node_ids(shard, rows))
    return near_duplicates.scatter_bands(shard, rows, signatures, recipe.settings.corpus, recipe.settings.build.shards)


def near(recipe: Recipe, task: Task, blocks: Iterable[bytes]) -> None:
    """The nominated pairs of one partition of band values."""
    pairs, left_out = near_duplicates.nominate(blocks, recipe.settings.corpus.bucket, recipe.places_of)
    notes = [f"{left_out} pairs of overfull bands not compared (corpus.bucket)"] if left_out else []
    recipe.commit("scratch/pairs", task, pairs, notes)


def verify(recipe: Recipe, task: Task) -> None:
    """The edges: nominated pairs that are verified by their shingles."""
    corpus, pairs = recipe.settings.corpus, near_duplicates.unite(recipe.tables("scratch/pairs"))
    signatures, shingles = recipe.signatures_of, recipe.shingles_of
    recipe.commit(
        "scratch/edges", task, near_duplicates.verify(pairs, signatures, shingles, corpus.jaccard, corpus.measure)
    )


def choose(recipe: Recipe, task: Task) -> None:
    """The removals of near duplicates: of each edge the better-ranked end stays, if it does."""
    (edges,) = recipe.tables("scratch/edges")
    recipe.commit("scratch/removals", task, near_duplicates.choose(edges, recipe.places_of))


def measure(recipe: Recipe, task: Task) -> None:
    """What a sample, compared word by word, says about the removals."""
    (removals,), (edges,) = recipe.tables("scratch/removals"), recipe.tables("scratch/edges")
    gone = [removals["removed"].to_numpy(), *(one["removed"].to_numpy() for one in recipe.tables("scratch/exact"))]
    survived = [nodes.node_ids(shard, recipe.survivors(shard)["row"].to_numpy()) for shard in range(recipe.shards)]
    stayed = [one[~np.isin(one, np.concatenate(gone))] for one in survived]
    reading = meter.measure(
        meter.Result(stayed, removals, near_duplicates.unite(recipe.tables("scratch/pairs")), edges),
        recipe.settings.corpus, recipe.settings.documents.shingle_words,
        meter.Sources(recipe.signatures_of, recipe.words_of, recipe.places_of),
    )  # fmt: skip
    recipe.commit("scratch/meter", task, reading.table())


def write(recipe: Recipe, notes: Sequence[Sequence[str]], task: Task, blocks: Iterable[bytes]) -> None:
    """The two files of one shard, and its books."""
    decisions, changed = decisions_of(recipe, task.shard, schemas.unpack(blocks, NAMED)), Counter[str]()
    is_kept = pc.equal(decisions["outcome"], str(Outcome.KEPT))
    kept, gone = decisions.filter(is_kept), decisions.filter(pc.invert(is_kept))
    with recipe.artefact("corpus").attempt(task) as attempt:
        for part, tables, schema in (
            ("", kept_tables(recipe, task.shard, kept, changed), schemas.CORPUS),
            ("removed", removed_tables(recipe, task.shard, gone), schemas.REMOVED),
        ):
            with attempt.write(".parquet", part) as file:
                attempt.rows(".parquet", schemas.write_parquet(file, tables, schema), part)
        outcomes = Counter(decisions["outcome"].to_pylist())
        said = [f"{count} {what}" for what, count in sorted(changed.items())]
        attempt.commit({"corpus": receipts.balanced("corpus", len(decisions), outcomes)}, [*notes[task.shard], *said])


def decisions_of(recipe: Recipe, shard: int, removals: pa.Table) -> pa.Table:
    """DECISIONS of each kept document of a shard, with its row: its vote, unless it went out as a copy."""
    votes = schemas.read_parquet(recipe.file("scratch/votes", shard), ["row", "doc_id", *VERDICT])
    by_row = {one["row"]: one for one in votes.to_pylist()}
    copies = set(schemas.read_parquet(recipe.file("scratch/lost", shard))["removed"].to_pylist())
    near = (Outcome.NEAR_DUPLICATE, recipe.settings.corpus.measure, recipe.settings.corpus.jaccard)
    for one in removals.to_pylist():
        found = (Outcome.EXACT_DUPLICATE, "text_hash", 1.0) if one["removed"] in copies else near
        verdict = dict(zip(("outcome", "rule", "threshold"), found, strict=True))
        by_row[one["removed"] & int(MASK_32)] |= verdict | {"value": one["score"], "keeper": one["keeper_id"]}
    return pa.Table.from_pylist(list(by_row.values()), pa.schema([VOTES.field("row"), *schemas.DECISIONS]))


def kept_tables(recipe: Recipe, shard: int, kept: pa.Table, changed: Counter[str]) -> Iterator[pa.Table]:
    """The rows of CORPUS of these decisions, a row group of `documents` at a time; `changed` counts what was cut."""
    links, start = recipe.links_of(shard, kept["doc_id"], ("score", "created", "submissions")), 0
    columns, cut = ("url", "doc_id", "host", "title", "text", "language", "word_count"), recipe.cutter()
    for table in recipe.at("documents", nodes.node_ids(shard, kept["row"].to_numpy()), columns):
        score, created, submissions = links.slice(start, len(table)).columns
        subreddits = [
            sorted({post["subreddit"] for post in one if post["subreddit"]}) for one in submissions.to_pylist()
        ]
        rows = pa.table([*table.columns, score, created, subreddits], schema=schemas.CORPUS)
        yield finished(rows, cut, recipe.settings.corpus.redact, changed)
        start += len(table)


def finished(
    rows: pa.Table, cut: contamination.Cutter | None, kinds: tuple[str, ...], changed: Counter[str]
) -> pa.Table:
    """Rows of CORPUS with evaluation texts and addresses taken out of their text, where the settings ask for it."""
    if cut is None and not kinds:
        return rows
    texts, words = rows["text"].to_pylist(), rows["words"].to_pylist()
    for row, text in enumerate(texts):
        left = "\n\n".join(cut(text)) if cut else text
        changed["documents cut where evaluation texts stood in them (corpus.contamination)"] += left != text
        texts[row], replaced = redacted(left, kinds)
        changed["addresses replaced (corpus.redact)"] += replaced
        words[row] = len(texts[row].split()) if texts[row] != text else words[row]
    columns = {name: rows[name] for name in schemas.CORPUS.names} | {"text": texts, "words": words}
    return pa.table(columns, schema=schemas.CORPUS)


def removed_tables(recipe: Recipe, shard: int, gone: pa.Table) -> Iterator[pa.Table]:
    """The rows of REMOVED of these decisions, likewise."""
    start = 0
    for table in recipe.at("documents", nodes.node_ids(shard, gone["row"].to_numpy()), ("url", "host")):
        decided = gone.slice(start, len(table)).select(schemas.DECISIONS.names)
        yield pa.table([*table.columns, *decided.columns], schema=schemas.REMOVED)
        start += len(table)
