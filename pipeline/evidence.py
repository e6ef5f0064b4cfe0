"""Intermediate tables of the corpus: where each phase puts what it made, and rows of all of them by document.

Choice: every look-up of the corpus stage stands here, by node or by shard, so that `corpus.py` reads as the recipe.
Cost: a room more. Alternative: objects for documents, which would be read one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import elsewhere
from pipeline.config import Settings, slice_of
from pipeline.counts import counted
from pipeline.dedup import evaluation, minhash, nodes
from pipeline.dedup.nodes import MASK_32, SHIFT_32, Nodes
from pipeline.shards import inputs, progress, receipts, schemas, storage
from pipeline.shards.outcomes import BooksError, Outcome
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import Run
from pipeline.text import contamination, normalize, overlap, rules
from pipeline.text.signals import SIGNALS

VERSION = 4
LIBRARIES = ("numpy", "pyarrow", "unicode")
READERS = ("lxml", "mwparserfromhell", "numpy", "unicode")  # of Wikipedia's dumps
IN_ONE_PIECE = {"wikipedia", "common", "removals", "probes", "meter", "boilerplate"}  # phases of one shard
VERDICT = ("outcome", "rule", "value", "threshold")
RANKS = tuple(name for name, _ in nodes.RANKS)  # length is in words here
VOTES = pa.schema({  # row: of the document in its shard of `documents`
    "row": pa.uint32(), **{name: schemas.DECISIONS.field(name).type for name in ("doc_id", *VERDICT)},
    "text_hash": pa.binary(16), **{name: nodes.RANK_TYPES[name] for name in ("score", "created", "length")},
})  # fmt: skip

File = tuple[Path, str]  # and its sha256


@dataclass(frozen=True)
class Recipe:
    """The settings, where each phase puts what it made, and what stands there."""

    settings: Settings
    work: Path
    rules: tuple[rules.Rule, ...] = ()
    references: tuple[File, ...] = ()  # n-grams of Wikipedia
    evaluations: tuple[File, ...] = ()  # to be cut out
    others: tuple[elsewhere.Other, ...] = ()  # corpora whose documents already win

    def artefact(self, name: str) -> Artefact:
        """An input or a phase, with as many shards as the build, but for those that are made in one piece.

        Those about other corpora have none without such; keepers and missed have theirs behind those of the build.
        """
        phase, beyond, against = name.removeprefix("scratch/"), len(self.beyond), bool(self.others)
        shards = {**dict.fromkeys(IN_ONE_PIECE, 1), **dict.fromkeys(("elsewhere", "asked_elsewhere"), beyond)}
        shards |= dict.fromkeys(("pairs_elsewhere", "edges_elsewhere"), self.shards * against)
        shards |= dict.fromkeys(("keepers", "missed"), self.shards + beyond)
        return Artefact(self.work, name, shards.get(phase, self.shards))

    @property
    def shards(self) -> int:
        return self.settings.build.shards

    @property
    def every(self) -> range:
        """The shards of the build."""
        return range(self.shards)

    @property
    def beyond(self) -> range:
        """The shards of other corpora, which are numbered on from those of the build."""
        return range(self.shards, self.shards + sum(len(other.stamps) for other in self.others))

    def beside(self, shard: int) -> tuple[elsewhere.Other, int]:
        """The other corpus that a shard of `beyond` belongs to, and which shard it is there."""
        place = shard - self.shards
        for other in self.others:
            if place < len(other.stamps):
                return other, place
            place -= len(other.stamps)
        raise IndexError(shard)

    @property
    def first_beyond(self) -> np.uint64:
        """The first node that stands elsewhere; all below are documents of the build."""
        return np.uint64(self.shards) << SHIFT_32

    def parts(self, *names: str) -> list[tuple[str, int]]:
        """All parts of these phases, each by name and number."""
        return [(name, part) for name in names for part in range(self.artefact(name).shards)]

    def file(self, name: str, shard: int) -> Path:
        return self.artefact(name).file(shard, ".parquet")

    def each(self, name: str) -> Iterator[pa.Table]:
        """All parts of a phase, one after the other."""
        return (schemas.read_parquet(self.file(name, shard)) for shard in range(self.artefact(name).shards))

    def tables(self, name: str) -> list[pa.Table]:
        """All parts of a phase."""
        return list(self.each(name))

    def rows(self, name: str) -> int:
        """How many rows all parts of a phase have, in sub-folders none."""
        phase = self.artefact(name)
        made = (phase.made(shard).files[phase.file_name(shard, ".parquet")] for shard in range(phase.shards))
        return sum(stamp.rows for stamp in made)

    def hashes(self, *names: str) -> list[str]:
        """The sha256 of all files of these, for a fingerprint."""
        made = [receipt for name in names for receipt in self.artefact(name).receipts()]
        return [stamp.sha256 for receipt in made for stamp in receipt.files.values()]

    def begin(self, name: str, keys: Sequence[str], inputs: Sequence[Any]) -> list[Task]:
        """The shards of a phase that are to be made: `keys` of `[corpus]` and `inputs` decide each of them.

        What decides all of them is told once: the hashes of all shards, for each shard, would be a quadratic amount.
        """
        every = slice_of(self.settings.corpus)
        used = {key: every[key] for key in keys}
        marks = {id(decisive): decisive for decisive in inputs}
        found = {
            mark: receipts.fingerprint(name, VERSION, used, decisive, LIBRARIES) for mark, decisive in marks.items()
        }
        return self.artefact(name).begin([found[id(decisive)] for decisive in inputs])

    def commit(self, name: str, task: Task, table: pa.Table, notes: Iterable[str] = ()) -> None:
        """Write one shard of a phase that only helps."""
        with self.artefact(name).attempt(task) as attempt:
            with attempt.write(".parquet") as file:
                attempt.rows(".parquet", schemas.write_parquet(file, [table], table.schema))
            attempt.commit({}, notes)

    def cutter(self) -> contamination.Cutter | None:
        """What cuts the evaluation files out of a text, if there are any."""
        if not self.evaluations:
            return None
        (common,) = self.tables("scratch/common")
        return contamination.Cutter(contamination.contaminants(self.evaluations), common["gram"].to_numpy())

    def links_of(self, shard: int, doc_ids: pa.ChunkedArray, columns: Sequence[str]) -> pa.Table:
        """Columns of the link of each document. Raises BooksError: a document that no link led to."""
        links = schemas.read_parquet(self.file("links", shard), ["doc_id", *columns])
        places = pc.index_in(doc_ids, value_set=links["doc_id"])
        if places.null_count:
            raise BooksError(
                f"shard {shard}: {counted(places.null_count, 'document')} without a link; "
                "build links and documents anew"
            )
        return links.select(list(columns)).take(places)

    def survivors(self, shard: int) -> pa.Table:
        """The votes of the documents that no rule refused."""
        votes = schemas.read_parquet(self.file("scratch/votes", shard))
        return votes.filter(pc.equal(votes["outcome"], str(Outcome.KEPT)))

    def decided(self, shard: int, stays: bool) -> pa.Table:
        """The decisions on the documents of a shard that stay, or on those that go."""
        decisions = schemas.read_parquet(self.file("scratch/decisions", shard))
        is_kept = pc.equal(decisions["outcome"], str(Outcome.KEPT))
        return decisions.filter(is_kept if stays else pc.invert(is_kept))

    def boilerplate(self) -> npt.NDArray[np.uint64] | None:
        """The sorted hashes of paragraphs that stand in many documents, if the settings look for them."""
        if not self.settings.corpus.copied_paragraphs:
            return None
        (table,) = self.tables("scratch/boilerplate")
        found: npt.NDArray[np.uint64] = table["hash"].to_numpy()
        return found

    def reading_of(self) -> evaluation.Reading:
        """What was measured."""
        (table,) = self.tables("scratch/meter")
        return evaluation.Reading(**table.to_pylist()[0])

    def at(self, name: str, asked: Nodes, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Columns of `documents` at ascending nodes, in their order; texts of what stands elsewhere lie there, and all
        else is in scratch.
        """
        shards = asked >> SHIFT_32
        for shard in np.unique(shards).tolist():
            rows = asked[shards == shard] & MASK_32
            if shard < self.shards:
                yield from schemas.rows_at(self.file(name, shard), rows, columns)
            elif "text" in columns:
                other, place = self.beside(shard)
                yield from schemas.rows_at(other.file(place), rows, columns)
            else:
                yield from self.elsewhere_at(shard, rows, columns)

    def elsewhere_at(self, shard: int, rows: npt.NDArray[np.integer], columns: Sequence[str]) -> Iterator[pa.Table]:
        """Columns of `elsewhere.schema` at rows of a shard of `beyond`."""
        return schemas.rows_at(self.file("scratch/elsewhere", shard - self.shards), rows, columns)

    def signatures_of(self, asked: Nodes) -> npt.NDArray[np.uint32]:
        """The signature of each node, (N, P)."""
        tables = self.at("documents", asked, ["signature"])
        parts = [table["signature"].combine_chunks().flatten().to_numpy() for table in tables]
        return np.concatenate([np.empty(0, np.uint32), *parts]).reshape(-1, self.settings.documents.permutations)

    def words_of(self, asked: Nodes) -> list[list[str]]:
        """The words of each node, from its text."""
        texts = (text.as_py() for table in self.at("documents", asked, ["text"]) for text in table["text"])
        return [normalize.words(text) for text in texts]

    def shingles_of(self, asked: Nodes) -> list[npt.NDArray[np.uint32]]:
        """The shingles of each node."""
        return [
            shingles for table in self.at("documents", asked, ["text"]) for shingles in self.shingles_in(table["text"])
        ]

    def shingles_in(self, texts: pa.ChunkedArray) -> list[npt.NDArray[np.uint32]]:
        """The shingles of each text."""
        count = self.settings.documents.shingle_words
        return [minhash.shingles(normalize.words(text.as_py()), count) for text in texts]


def prepared(settings: Settings, work: Path, run: Run) -> Recipe:
    """The recipe with all that votes read besides documents. Raises InputError: a file of the settings is missing."""
    recipe, corpus = Recipe(settings, work), settings.corpus
    references = [refer(recipe, run)] if corpus.wikipedia_dumps else []
    references += named(work, "wikipedia_reference", [corpus.wikipedia_reference] if corpus.wikipedia_reference else [])
    evaluations = named(work, "contamination", corpus.contamination)
    others = elsewhere.others(corpus.against, work)
    judged_by = rules.read_rules(corpus.rules, work, SIGNALS)
    return Recipe(settings, work, judged_by, tuple(references), tuple(evaluations), others)


def named(work: Path, setting: str, patterns: Sequence[str]) -> list[File]:
    """The files of a setting of `[corpus]`, with their sha256. Raises InputError: a glob that matches no file."""
    paths = inputs.matching(patterns, work, f"corpus.{setting}")
    return list(inputs.sha256_of_each(paths, work / inputs.HASHES).items())


def refer(recipe: Recipe, run: Run) -> File:
    """Make the n-grams of the dumps of the settings. Raises InputError: no such dump."""
    dumps = named(recipe.work, "wikipedia_dumps", recipe.settings.corpus.wikipedia_dumps)
    artefact, used = recipe.artefact("scratch/wikipedia"), {"n": overlap.NGRAM, "words": overlap.WORDS}
    tasks = artefact.begin([receipts.fingerprint(artefact.name, VERSION, used, [sha for _, sha in dumps], READERS)])
    progress.expect(sum(storage.size_of(path) for path, _ in dumps) if tasks else 0, progress.BYTES, "articles")
    run.map_shards(partial(read_dumps, artefact, [path for path, _ in dumps]), tasks, heavy=True)  # hours, of all of it
    return artefact.shared(0, ".npy"), recipe.hashes("scratch/wikipedia")[0]


def read_dumps(artefact: Artefact, dumps: Sequence[Path], task: Task) -> None:
    """Save the n-grams of all articles of all dumps."""
    with artefact.attempt(task) as attempt:
        with attempt.write(".npy") as file:
            overlap.wikipedia_reference(dumps, overlap.NGRAM).save(cast(BinaryIO, file))
        attempt.commit({})


@lru_cache(maxsize=2)
def reference_of(path: Path, sha256: str) -> overlap.Reference:  # noqa: ARG001 - of other bytes, another reference
    """The reference in a file, loaded once a process."""
    with storage.reading(path) as file:
        return overlap.Reference.load(file)
