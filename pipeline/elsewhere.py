"""Deduplication against corpora of other builds: which they are, and what they bring to the comparison.

Choice: texts as they stand there are hashed and signed anew, by the settings and the version of this build. So any
whole corpus will do, its folder alone and one of an older version too, and two builds need not agree on a shingle.
Cost: its texts are read once, 1 ms of CPU and 600 bytes of scratch a document, kept until it changes. Alternative: the
signatures that the other build stored, which lie beside its documents and hold for its shingles, seed and version only.

A corpus is known by what it holds, not by where it lies: a folder may move, and a document that is added, changed or
taken out there makes the corpus here stale. Nothing is written there, and no text is copied.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import DocumentsSettings
from pipeline.counts import counted
from pipeline.dedup import minhash
from pipeline.dedup.nodes import RANK_TYPES
from pipeline.shards import layout, receipts, schemas, storage
from pipeline.shards.locations import location_of, mirror, name_of
from pipeline.shards.outcomes import ConfigError, InputError, IntegrityError
from pipeline.shards.receipts import Artefact, Manifest
from pipeline.shards.storage import Stamp
from pipeline.text.normalize import text_hash, words

SETTING, RULE = "corpus.against", "against"
COLUMNS = ("doc_id", "text")
LIBRARIES = ("datasketch", "numpy", "pyarrow", "unicode")
READ_ROWS = 1_000  # documents whose texts are held at once
PREFERRED = 2**63 - 1  # the karma of a document that stands elsewhere: no link has more


@dataclass(frozen=True)
class Other:
    """A whole corpus of another build. `name`: as the setting says it; `stamps`: of its shards, when it was looked at.

    `mark`: 16 hex digits that tell what it holds, by which decisions name it.
    """

    name: str
    corpus: Artefact
    stamps: tuple[Stamp, ...]
    mark: str

    @property
    def documents(self) -> int:
        return sum(stamp.rows for stamp in self.stamps)

    def file(self, shard: int) -> Path:
        """A shard as it was when the corpus was looked at. Raises InputError: it is not that any more."""
        path = self.corpus.folder / self.corpus.file_name(shard, ".parquet")
        try:
            return storage.verified(path, self.stamps[shard], self.corpus.receipt_path(shard))
        except IntegrityError:
            raise InputError(
                f"{SETTING}: {self.name}: {path.name} is not what it was when this build began, or is not to be seen "
                "from here; when that corpus is whole, run the same command again"
            ) from None


# --- which they are


def others(names: Sequence[str], work: Path) -> tuple[Other, ...]:
    """The corpora that `corpus.against` names, in its order; relative names start at `work`.

    Raises ConfigError: this corpus itself, or one that was built against it; InputError: no corpus, or none that is
    whole.
    """
    found: dict[str, Other] = {}
    for name in names:
        corpus = other(name, work)
        found.setdefault(corpus.mark, corpus)  # of two that hold the same, one
    return tuple(found.values())


def other(name: str, work: Path) -> Other:
    """The corpus of one name. Raises as `others`."""
    folder = (work / mirror(name)).absolute()
    manifest, corpus = manifest_in(name, folder, work)
    refuse_circle(name, corpus, manifest, work)
    file_names = [corpus.file_name(shard, ".parquet") for shard in range(corpus.shards)]
    stamps = {name: manifest.files[name] for name in file_names if name in manifest.files}
    gone = [name for name in file_names if name not in stamps or not is_there(corpus.folder / name, stamps[name])]
    if gone:
        raise InputError(
            f"{SETTING}: {name}: {name_of(corpus.folder / gone[0])} is gone, or of another length; build it there again"
        )
    mark = receipts.mark_of({name: stamp.sha256 for name, stamp in stamps.items()})
    return Other(name, corpus, tuple(stamps.values()), mark)


def manifest_in(name: str, folder: Path, work: Path) -> tuple[Manifest, Artefact]:
    """The manifest of the corpus in a folder, which is its own or a working directory's. Raises InputError."""
    wanted = "name a working directory, or the folder of its corpus"
    for home in (folder / "corpus", folder):
        artefact = Artefact(home.parent, home.name, 0)
        try:
            manifest = artefact.manifest()
        except IntegrityError:
            raise InputError(
                f"{SETTING}: {name}: {name_of(artefact.manifest_path)} is none of a corpus; {wanted}"
            ) from None
        except OSError as error:
            raise InputError(f"{SETTING}: {name}: cannot be read: {error.strerror or error}") from None
        if manifest is not None and manifest.stage == "corpus":
            return manifest, Artefact(home.parent, home.name, manifest.shards)
        if manifest is not None:
            raise InputError(f"{SETTING}: {name}: holds {manifest.stage}; {wanted}")
        if done := storage.names(home / layout.RECEIPTS, "*-of-*.json"):
            shards = int(done[0].stem.partition("-of-")[2])
            root = name_of(home.parent)
            raise InputError(
                f"{SETTING}: {name}: not whole: {len(done)} of {shards} shards are made; when its build has ended "
                f"('webtext build corpus --dir {root}'), run the same command again"
            )
    where = f"from {name_of(work.absolute())}"
    if location_of(folder) is None and not folder.exists():
        raise InputError(f"{SETTING}: {name}: no such folder ({where}); correct it")
    raise InputError(f"{SETTING}: {name}: no corpus is built there ({where}); {wanted}")


def is_there(path: Path, stamp: Stamp) -> bool:
    """Whether a file is there; of an object, whoever reads it finds out."""
    return location_of(path) is not None or storage.is_there(path, stamp)


def refuse_circle(name: str, corpus: Artefact, manifest: Manifest, work: Path) -> None:
    """Raise ConfigError for the corpus that is being built, and for one that it was built against, at any distance."""
    mine, seen = identity(work / "corpus"), set[str]()
    if identity(corpus.folder) == mine:
        raise ConfigError(f"{SETTING}: {name}: is this corpus itself; take it out")
    waiting: list[tuple[Path, Manifest | None]] = [(corpus.folder, manifest)]
    while waiting:
        folder, found = waiting.pop()
        if identity(folder) == mine:
            raise ConfigError(
                f"{SETTING}: {name}: was itself built against this corpus; one of the two has to come first: take the "
                "other out of its settings"
            )
        if found is None or identity(folder) in seen:
            continue
        seen.add(identity(folder))
        for further in found.settings.get(RULE, ()):
            there = folder.parent / mirror(further)
            waiting += [(home, manifest_at(home)) for home in (there / "corpus", there)]


def manifest_at(folder: Path) -> Manifest | None:
    """A manifest, if there is one that can be read."""
    try:
        return Artefact(folder.parent, folder.name, 0).manifest()
    except IntegrityError:
        return None


def identity(folder: Path) -> str:
    """What tells two names of one folder: its path without links; of objects their address."""
    return os.path.realpath(folder) if location_of(folder) is None else name_of(folder)


def summary(every: Iterable[Other]) -> Iterator[str]:
    """What the manifest says of them: by which mark decisions name which."""
    for other in every:
        stand = f"{counted(other.documents, 'document')} stand{'s' * (other.documents == 1)}"
        yield f"{RULE} {other.mark} is {other.name}, where {stand}"


# --- what they bring


def schema(permutations: int) -> pa.Schema:
    """Of a shard: one row a document, in the order in which they stand there."""
    return pa.schema(
        {"doc_id": pa.string(), "text_hash": pa.binary(16), "signature": pa.list_(pa.uint32(), permutations)}
    )


def described(other: Other, shard: int, settings: DocumentsSettings) -> pa.Table:
    """The documents of a shard as `schema` says. Raises InputError: it lists documents without their texts."""
    path, permutations = other.file(shard), minhash.permutations(settings.permutations, settings.seed)
    lacking = [name for name in COLUMNS if name not in pq.read_schema(path).names]
    if lacking:
        raise InputError(f"{SETTING}: {other.name}: {path.name} has no column {lacking[0]!r}: nothing can be compared")
    ids: list[str] = []
    hashes: list[bytes] = []
    signatures = [np.empty(0, np.uint32)]
    for batch in schemas.iterate_parquet(path, COLUMNS, READ_ROWS):
        texts = [text or "" for text in batch["text"].to_pylist()]
        ids += batch["doc_id"].to_pylist()
        hashes += map(text_hash, texts)
        sets = (minhash.shingles(words(text), settings.shingle_words) for text in texts)
        signatures += [minhash.signature(one_set, permutations) for one_set in sets]
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(signatures)), settings.permutations)
    return pa.table([ids, hashes, lists], schema=schema(settings.permutations))


def ranks(shard: int, doc_ids: pa.ChunkedArray) -> pa.Table:
    """What documents of a shard are ranked by: before all of this build, those of the first corpus named first."""
    count = len(doc_ids)
    columns = {"score": [PREFERRED] * count, "created": [shard] * count, "length": [0] * count}
    return pa.table({**columns, "doc_id": doc_ids}, schema=pa.schema(RANK_TYPES))
