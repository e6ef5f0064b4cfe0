"""documents + links → corpus: which documents stay, and for each that goes one row that says why and for whom.

Choice: five phases, each an artefact with receipts. Shards vote alone, survivors meet as hashes, then as bands, one
task chooses among verified pairs, and every shard is written by what was decided. Cost: the decisions about near
duplicates are made in one process, and the texts of likely pairs are read a second time. Alternative: filters one
after another, each of which writes the whole corpus again, and which cannot say afterwards who lost to whom.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import urls
from pipeline.config import CorpusSettings, Settings, slice_of
from pipeline.dedup import minhash, near_duplicates
from pipeline.dedup.near_duplicates import MASK_32, SHIFT_32, Nodes
from pipeline.shards import receipts, schemas, storage
from pipeline.shards.outcomes import BooksError, InputError, Outcome
from pipeline.shards.receipts import Artefact, Manifest, Task
from pipeline.shards.runner import Block, Run
from pipeline.text import normalize, overlap

VERSION = 1
LIBRARIES = ("numpy", "pyarrow", "unicode")
READERS = ("lxml", "mwparserfromhell", "numpy")  # of Wikipedia's dumps
NGRAM = 8  # words, of the overlap with Wikipedia; the WebText paper's own measure of overlap (Radford et al. 2019, 4)
HOSTS = "wikipedia_hosts.txt"
QUALITY = (  # setting, signal, and whether the setting is the most that the signal may be (else the least)
    ("max_mean_word_length", "mean_word_length", True), ("min_mean_word_length", "mean_word_length", False),
    ("min_alphabetic_words", "alphabetic_word_share", False),
)  # fmt: skip
VOTING = ("languages", "min_words", *(setting for setting, _, _ in QUALITY), "wikipedia_overlap")
READ = (
    "url", "doc_id", "final_url", "text", "text_hash", "outcome",
    "language", "language_score", "word_count", "mean_word_length", "alphabetic_word_share",
)  # fmt: skip

VERDICT = ("outcome", "rule", "value", "threshold")
RANKS = tuple(name for name, _ in near_duplicates.RANKS)  # length is in words here
VOTES = pa.schema({  # row: of the document in its shard of `documents`
    "row": pa.uint32(), **{name: schemas.DECISIONS.field(name).type for name in ("doc_id", *VERDICT)},
    "text_hash": pa.binary(16), **{name: near_duplicates.RANK_TYPES[name] for name in ("score", "created", "length")},
})  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """The settings, and where each phase puts what it made."""

    settings: Settings
    work: Path

    def artefact(self, name: str) -> Artefact:
        """An input or a phase, with as many shards as the build, but for the two that are made in one piece."""
        shards = 1 if name in ("scratch/wikipedia", "scratch/removals") else self.settings.build.shards
        return Artefact(self.work, name, shards)

    def file(self, name: str, shard: int) -> Path:
        return self.artefact(name).file(shard, ".parquet")

    def tables(self, name: str) -> list[pa.Table]:
        """All parts of a phase."""
        return [schemas.read_parquet(self.file(name, shard)) for shard in range(self.artefact(name).shards)]

    def hashes(self, *names: str) -> list[str]:
        """The sha256 of all files of these, for a fingerprint."""
        made = [receipt for name in names for receipt in self.artefact(name).receipts()]
        return [stamp.sha256 for receipt in made for stamp in receipt.files.values()]

    def begin(self, name: str, keys: Sequence[str], inputs: Sequence[Any]) -> list[Task]:
        """The shards of a phase that are to be made: `keys` of `[corpus]` and `inputs` decide each of them."""
        every = slice_of(self.settings.corpus)
        used = {key: every[key] for key in keys}
        return self.artefact(name).begin([receipts.fingerprint(name, VERSION, used, one, LIBRARIES) for one in inputs])

    def commit(self, name: str, task: Task, table: pa.Table, notes: Iterable[str] = ()) -> None:
        """Write one shard of a phase that only helps."""
        with self.artefact(name).attempt(task) as attempt:
            with attempt.write(".parquet") as file:
                attempt.rows(".parquet", schemas.write_parquet(file, [table], table.schema))
            attempt.commit({}, notes)


def stage(settings: Settings, work: Path, run: Run) -> Manifest:
    """`corpus/<shard>.parquet` of the documents that stay, `corpus/removed/<shard>.parquet` of those that go."""
    recipe, shards = Recipe(settings, work), settings.build.shards
    every, artefact = range(shards), recipe.artefact
    reference = refer(recipe, run) if settings.corpus.wikipedia_dumps else ""
    shared = [reference, *urls.packaged_entries(HOSTS)]
    alone = [[artefact("documents").hashes(one), artefact("links").hashes(one), shared] for one in every]
    run.map_shards(partial(vote, recipe), recipe.begin("scratch/votes", VOTING, alone))

    met = [recipe.hashes("scratch/votes")] * shards
    run.exchange(partial(hashes_of, recipe), every, partial(exact, recipe), recipe.begin("scratch/exact", (), met))

    met = [recipe.hashes("documents", "scratch/votes", "scratch/exact")] * shards
    tasks = recipe.begin("scratch/pairs", ("bands", "rows", "bucket"), met)
    run.exchange(partial(bands_of, recipe), every, partial(near, recipe), tasks)

    likely = [recipe.hashes("documents", "scratch/votes", "scratch/pairs"), settings.documents.shingle_words]
    run.map_shards(partial(choose, recipe), recipe.begin("scratch/removals", ("jaccard",), [likely]))

    decided = recipe.hashes("scratch/votes", "scratch/exact", "scratch/removals")
    whole = [[*alone[one], decided, pairs.notes] for one, pairs in enumerate(artefact("scratch/pairs").receipts())]
    run.map_shards(partial(write, recipe), recipe.begin("corpus", ("jaccard",), whole))
    return artefact("corpus").finish(slice_of(settings.corpus), LIBRARIES, map(artefact, ("documents", "links")))


def refer(recipe: Recipe, run: Run) -> str:
    """Make the n-grams of the dumps of the settings; the sha256 of their file. Raises InputError: no such dump."""
    dumps: list[Path] = []
    for pattern in map(Path, recipe.settings.corpus.wikipedia_dumps):
        base = Path(pattern.anchor) if pattern.is_absolute() else recipe.work
        files = sorted(one for one in base.glob(str(pattern.relative_to(pattern.anchor))) if one.is_file())
        if not files:
            raise InputError(f"corpus.wikipedia_dumps: no file matches {pattern} below {base}; correct the glob")
        dumps += files
    artefact, hashes = recipe.artefact("scratch/wikipedia"), [storage.sha256_of(path) for path in dumps]
    tasks = artefact.begin([receipts.fingerprint(artefact.name, VERSION, {"n": NGRAM}, hashes, READERS)])
    run.map_shards(partial(read_dumps, artefact, dumps), tasks)
    return artefact.hashes(0)[artefact.file_name(0, ".npy")]


def read_dumps(artefact: Artefact, dumps: Sequence[Path], task: Task) -> None:
    """Save the n-grams of all articles of all dumps."""
    articles = (text for dump in dumps for _, text in overlap.wikipedia_articles(dump))
    grams = (overlap.ngram_hashes(normalize.words(text), NGRAM) for text in articles)
    with artefact.attempt(task) as attempt:
        with attempt.write(".npy") as file:
            overlap.Reference.from_hashes(grams).save(cast(BinaryIO, file))
        attempt.commit({})


@lru_cache(maxsize=1)
def reference_of(path: Path, sha256: str) -> overlap.Reference:  # noqa: ARG001 - of other bytes, another reference
    """The reference in a checked file, loaded once a process."""
    with path.open("rb") as file:
        return overlap.Reference.load(file)


def vote(recipe: Recipe, task: Task) -> None:
    """One row of VOTES for each kept document of a shard, in the order of `documents`."""
    settings, reference = recipe.settings.corpus, None
    if settings.wikipedia_dumps:
        path = recipe.artefact("scratch/wikipedia").file(0, ".npy")
        reference = reference_of(path, *recipe.hashes("scratch/wikipedia"))
    hosts, rows = urls.HostList.packaged(HOSTS), []
    batches = schemas.iterate_parquet(recipe.file("documents", task.shard), READ, rows=1_000)
    for row, document in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches)):
        if document["outcome"] == Outcome.KEPT:
            decision = zip(VERDICT, verdict_on(document, settings, hosts, reference), strict=True)
            rows.append({**document, "text": None, "row": row, "length": document["word_count"], **dict(decision)})
    votes = pa.Table.from_pylist(rows, VOTES)
    columns = {name: votes[name] for name in VOTES.names}
    links = links_of(recipe, task.shard, votes["doc_id"], ("score", "created"))
    columns |= {name: links[name] for name in links.column_names}
    recipe.commit("scratch/votes", task, pa.table(columns, schema=VOTES))


def verdict_on(
    document: dict[str, Any], settings: CorpusSettings, hosts: urls.HostList, reference: overlap.Reference | None
) -> tuple[Outcome, str | None, float | None, float | None]:
    """VERDICT by the first rule that refuses the document, or that it is kept; the cheap rules come first."""
    if urls.host_of(document["final_url"] or document["url"]) in hosts:
        return Outcome.WIKIPEDIA_HOST, "wikipedia_hosts", 1.0, None
    if settings.languages and document["language"] not in settings.languages:
        return Outcome.OTHER_LANGUAGE, "languages", document["language_score"], None
    if document["word_count"] < settings.min_words:
        return Outcome.TOO_SHORT, "min_words", document["word_count"], settings.min_words
    for setting, signal, is_most in QUALITY:
        value, bound = document[signal], getattr(settings, setting)
        if (value > bound) if is_most else (value < bound):
            return Outcome.LOW_QUALITY, setting, value, bound
    if overlap.says_wikipedia(document["text"]):
        return Outcome.WIKIPEDIA_TEXT, "says_wikipedia", 1.0, None
    if reference is not None:
        share = reference.overlap(overlap.ngram_hashes(normalize.words(document["text"]), NGRAM))
        if share >= settings.wikipedia_overlap:
            return Outcome.WIKIPEDIA_TEXT, "wikipedia_overlap", share, settings.wikipedia_overlap
    return Outcome.KEPT, None, None, None


def links_of(recipe: Recipe, shard: int, doc_ids: pa.ChunkedArray, columns: Sequence[str]) -> pa.Table:
    """Columns of the link of each document. Raises BooksError: a document that no link led to."""
    links = schemas.read_parquet(recipe.file("links", shard), ["doc_id", *columns])
    places = pc.index_in(doc_ids, value_set=links["doc_id"])
    if places.null_count:
        raise BooksError(f"shard {shard}: {places.null_count} documents without a link; build links and documents anew")
    return links.select(list(columns)).take(places)


def survivors(recipe: Recipe, shard: int) -> pa.Table:
    """The votes of the documents that no rule refused."""
    votes = schemas.read_parquet(recipe.file("scratch/votes", shard))
    return votes.filter(pc.equal(votes["outcome"], str(Outcome.KEPT)))


def removals_of(recipe: Recipe, name: str, shard: int) -> pa.Table:
    """The removals, of all parts of a phase, whose removed document is of one shard."""
    table = pa.concat_tables(recipe.tables(name))
    return table.filter(pa.array((table["removed"].to_numpy() >> SHIFT_32) == shard))


def hashes_of(recipe: Recipe, shard: int) -> Iterator[Block]:
    """Blocks of the text hashes of a shard's survivors."""
    votes = survivors(recipe, shard)
    return near_duplicates.scatter_hashes(
        shard, votes["row"].to_numpy(), votes["text_hash"], votes, recipe.settings.build.shards
    )


def exact(recipe: Recipe, task: Task, blocks: Iterable[bytes]) -> None:
    """The removals among all documents of one partition of hashes."""
    recipe.commit("scratch/exact", task, near_duplicates.gather_hashes(blocks))


def bands_of(recipe: Recipe, shard: int) -> Iterator[Block]:
    """Blocks of the bands of a shard's survivors that are no exact copies."""
    rows = survivors(recipe, shard)["row"].to_numpy()
    rows = rows[~np.isin(rows, removals_of(recipe, "scratch/exact", shard)["removed"].to_numpy() & MASK_32)]
    signatures = signatures_of(recipe, near_duplicates.node_ids(shard, rows))
    return near_duplicates.scatter_bands(shard, rows, signatures, recipe.settings.corpus, recipe.settings.build.shards)


def near(recipe: Recipe, task: Task, blocks: Iterable[bytes]) -> None:
    """The nominated pairs of one partition of band values."""
    pairs, left_out = near_duplicates.nominate(blocks, recipe.settings.corpus.bucket, partial(places_of, recipe))
    notes = [f"{left_out} pairs of overfull bands not compared (corpus.bucket)"] if left_out else []
    recipe.commit("scratch/pairs", task, pairs, notes)


def choose(recipe: Recipe, task: Task) -> None:
    """The removals of near duplicates: pairs verified by their shingles, the better-ranked of each stays."""
    pairs = near_duplicates.unite(recipe.tables("scratch/pairs"))
    signatures, shingles = partial(signatures_of, recipe), partial(shingles_of, recipe)
    edges = near_duplicates.verify(pairs, signatures, shingles, recipe.settings.corpus.jaccard)
    recipe.commit("scratch/removals", task, near_duplicates.choose(edges, partial(places_of, recipe)))


def at(recipe: Recipe, name: str, nodes: Nodes, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Columns of `documents` or votes at ascending nodes, in their order; only row groups that hold one are read."""
    shards = nodes >> SHIFT_32
    for shard in np.unique(shards):
        path, rows = recipe.file(name, int(shard)), nodes[shards == shard] & MASK_32
        if name == "scratch/votes":
            rows = np.searchsorted(schemas.read_parquet(path, ["row"])["row"].to_numpy(), rows)
        with pq.ParquetFile(path) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            starts = np.cumsum([0, *sizes])
            groups = np.searchsorted(starts, rows, side="right") - 1
            for group in np.unique(groups).tolist():
                inside = rows[groups == group].astype(np.int64) - starts[group]
                yield file.read_row_group(group, columns=list(columns)).select(list(columns)).take(inside)


def places_of(recipe: Recipe, nodes: Nodes) -> npt.NDArray[np.int64]:
    """The place of each node in the ranking of them all."""
    empty = pa.schema([VOTES.field(name) for name in RANKS]).empty_table()
    return near_duplicates.positions(pa.concat_tables([empty, *at(recipe, "scratch/votes", nodes, RANKS)]))


def signatures_of(recipe: Recipe, nodes: Nodes) -> npt.NDArray[np.uint32]:
    """The signature of each node, (N, P)."""
    tables = at(recipe, "documents", nodes, ["signature"])
    parts = [table["signature"].combine_chunks().flatten().to_numpy() for table in tables]
    return np.concatenate([np.empty(0, np.uint32), *parts]).reshape(-1, recipe.settings.documents.permutations)


def shingles_of(recipe: Recipe, nodes: Nodes) -> list[npt.NDArray[np.uint32]]:
    """The shingles of each node, from its text."""
    texts = (text.as_py() for table in at(recipe, "documents", nodes, ["text"]) for text in table["text"])
    return [minhash.shingles(normalize.words(text), recipe.settings.documents.shingle_words) for text in texts]


def write(recipe: Recipe, task: Task) -> None:
    """The two files of one shard, and its books."""
    decisions = decisions_of(recipe, task.shard)
    is_kept = pc.equal(decisions["outcome"], str(Outcome.KEPT))
    kept, gone = decisions.filter(is_kept), decisions.filter(pc.invert(is_kept))
    with recipe.artefact("corpus").attempt(task) as attempt:
        for part, tables, schema in (
            ("", kept_tables(recipe, task.shard, kept), schemas.CORPUS),
            ("removed", removed_tables(recipe, task.shard, gone), schemas.REMOVED),
        ):
            with attempt.write(".parquet", part) as file:
                attempt.rows(".parquet", schemas.write_parquet(file, tables, schema), part)
        outcomes = Counter(decisions["outcome"].to_pylist())
        notes = recipe.artefact("scratch/pairs").receipts()[task.shard].notes
        attempt.commit({"corpus": receipts.balanced("corpus", len(decisions), outcomes)}, notes)


def decisions_of(recipe: Recipe, shard: int) -> pa.Table:
    """DECISIONS of each kept document of a shard, with its row: its vote, unless it went out as a copy."""
    votes = schemas.read_parquet(recipe.file("scratch/votes", shard), ["row", "doc_id", *VERDICT])
    by_row = {one["row"]: one for one in votes.to_pylist()}
    for name, outcome, rule, threshold in (
        ("scratch/exact", Outcome.EXACT_DUPLICATE, "text_hash", 1.0),
        ("scratch/removals", Outcome.NEAR_DUPLICATE, "jaccard", recipe.settings.corpus.jaccard),
    ):
        removals = removals_of(recipe, name, shard)
        nodes = np.unique(removals["keeper"].to_numpy())
        ids = chain.from_iterable(one["doc_id"].to_pylist() for one in at(recipe, "scratch/votes", nodes, ["doc_id"]))
        keepers = dict(zip(nodes.tolist(), ids, strict=True))
        for node, keeper, value in zip(*(column.to_pylist() for column in removals.columns), strict=True):
            found = {"outcome": outcome, "rule": rule, "value": value, "threshold": threshold}
            by_row[node & int(MASK_32)] |= found | {"keeper": keepers[keeper]}
    return pa.Table.from_pylist(list(by_row.values()), pa.schema([VOTES.field("row"), *schemas.DECISIONS]))


def kept_tables(recipe: Recipe, shard: int, kept: pa.Table) -> Iterator[pa.Table]:
    """The rows of CORPUS of these decisions, a row group of `documents` at a time."""
    links, start = links_of(recipe, shard, kept["doc_id"], ("score", "created", "submissions")), 0
    columns = ("url", "doc_id", "host", "title", "text", "language", "word_count")
    for table in at(recipe, "documents", near_duplicates.node_ids(shard, kept["row"].to_numpy()), columns):
        score, created, submissions = links.slice(start, len(table)).columns
        subreddits = [
            sorted({post["subreddit"] for post in one if post["subreddit"]}) for one in submissions.to_pylist()
        ]
        yield pa.table([*table.columns, score, created, subreddits], schema=schemas.CORPUS)
        start += len(table)


def removed_tables(recipe: Recipe, shard: int, gone: pa.Table) -> Iterator[pa.Table]:
    """The rows of REMOVED of these decisions, likewise."""
    start = 0
    for table in at(recipe, "documents", near_duplicates.node_ids(shard, gone["row"].to_numpy()), ("url", "host")):
        decided = gone.slice(start, len(table)).select(schemas.DECISIONS.names)
        yield pa.table([*table.columns, *decided.columns], schema=schemas.REMOVED)
        start += len(table)
