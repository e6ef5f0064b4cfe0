"""What an export is made of: artefacts that are whole, and stay so while they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.shards.outcomes import InputError, IntegrityError
from pipeline.shards.receipts import Artefact, Manifest, mark_of
from pipeline.verbs.export.folder import Export

SPLITS = ("train", "val")

Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class Tokens:
    """The token shards of a working directory, all verified. `kind` is their metadata without the prefix."""

    artefact: Artefact
    manifest: Manifest
    paths: dict[str, list[Path]]
    kind: dict[str, str]

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """Each shard of a split, mapped."""
        for path in self.paths[split]:
            with pa.memory_map(str(path)) as file:
                yield pa.ipc.open_file(file).get_batch(0)

    def streams(self, split: str) -> Iterator[Numbers]:
        """The tokens of each shard of a split: views of the map, of the type that is stored."""
        for batch in self.batches(split):
            yield batch.column("tokens").values.to_numpy(zero_copy_only=True)

    def lengths(self, split: str) -> Iterator[Numbers]:
        """The tokens of each document, shard by shard (int32), end-of-text included."""
        for batch in self.batches(split):
            yield np.diff(batch.column("tokens").offsets.to_numpy())


def opened_tokens(root: Path) -> Tokens:
    """The token shards of `root`. Raises IntegrityError: not built, damaged, or of another tokenizer than is there."""
    artefact, manifest = whole(root, "tokens")
    paths = {split: artefact.files(".arrow", split) for split in SPLITS}
    with pa.memory_map(str(paths[SPLITS[0]][0])) as file:
        metadata = pa.ipc.open_file(file).schema.metadata
    kind = {key.decode().removeprefix("webtext."): value.decode() for key, value in metadata.items()}
    if Artefact(root, "tokenizer", 1).hashes(0)["tokenizer.json"] != kind["tokenizer_sha256"]:
        raise IntegrityError(
            f"{artefact.folder}: made by another tokenizer than {root / 'tokenizer'}; run 'webtext build'"
        )
    return Tokens(artefact, manifest, paths, kind)


def whole(root: Path, stage: str) -> tuple[Artefact, Manifest]:
    """An artefact and its manifest. Raises IntegrityError: not built to its end."""
    manifest = Artefact(root, stage, 1).manifest()
    if manifest is None:
        raise IntegrityError(f"{root / stage}: not whole; run 'webtext build {stage}'")
    return Artefact(root, stage, manifest.shards), manifest


def unchanged(artefact: Artefact, manifest: Manifest) -> None:
    """Raise IntegrityError when a build has changed an artefact while it was read."""
    if artefact.manifest() != manifest:
        raise IntegrityError(f"{artefact.folder}: built anew while it was exported; export it again")


def held_by(manifest: Manifest) -> str:
    """The mark of what the files of an artefact hold today, evidence aside: another, once documents were removed."""
    return mark_of({name: stamp.sha256 for name, stamp in manifest.files.items() if not name.startswith("removed/")})


def refuse_nothing(root: Path, made: Export) -> None:
    """Raise InputError for an export without a document."""
    if not any(made.documents.values()):
        raise InputError(f"{root}: the corpus holds no document to export")
