"""The tokens or the text of a built corpus, or the trained model, in the forms that other tools read.

    nanogpt    train.bin, val.bin: all tokens of a split end to end, uint16 (github.com/karpathy/nanoGPT)
    megatron   train.bin and .idx, val.bin and .idx: an indexed dataset (github.com/NVIDIA/Megatron-LM)
    parquet    train-00000-of-00004.parquet …: the rows of the corpus; the names tell Hugging Face `datasets` the split
    jsonl      the same rows, one JSON object a line
    hf         the trained model with tokenizer and model card, as transformers and lm-eval load it

Choice: an export is a folder that appears whole or not at all, streamed from verified shards, with a webtext.json that
says what it was made from and the sha256 of every file. Cost: a copy of the tokens. Alternative: none is needed where
Arrow is read: token shards open as they are in pyarrow, polars, DuckDB and Hugging Face `datasets`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import Settings, nearest
from pipeline.shards import schemas, storage
from pipeline.shards.locations import name_of
from pipeline.shards.outcomes import BooksError, ConfigError, InputError, IntegrityError, StorageError
from pipeline.shards.receipts import Artefact, Manifest, mark_of
from pipeline.shards.storage import Stamp
from pipeline.text import bpe
from pipeline.tokenizer import REPORT
from pipeline.verbs.export_folder import ABOUT, replacing

__all__ = ["ABOUT", "FORMATS", "MADE_OF", "export"]

SPLITS = ("train", "val")
EXPORTS = "exports.json"  # in the working directory
CHUNK = 1_000_000  # numbers converted at a time
MEGATRON_MAGIC = b"MMIDIDX\x00\x00"  # megatron/core/datasets/indexed_dataset.py, as are the version and the codes
MEGATRON_VERSION = 1
MEGATRON_CODE = {"uint16": 8, "int32": 4}

Numbers = npt.NDArray[Any]


@dataclass
class Export:
    """What an export holds: the stamp of each file by name, and of each split the number of documents and tokens."""

    folder: Path
    files: dict[str, Stamp] = field(default_factory=dict)
    documents: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def write(self, name: str, rows: int = 0) -> Iterator[storage.HashingFile]:
        """A new file of the export, hashed while it is written."""
        with storage.atomic(self.folder / name) as file:
            yield file
        self.files[name] = file.stamp(rows)


def export(root: Path, settings: Settings, form: str, out: Path, force: bool = False) -> Export:
    """Write the corpus or the model of a working directory into the new folder `out`; `force` replaces an older export.

    Raises ConfigError: no such form, `out` is taken, or the form cannot hold the tokens. InputError: no documents.
    IntegrityError: not built, or not the bytes that were written. TrainingError: no model. BusyError, StorageError.
    """
    if form not in FORMATS:
        raise ConfigError(f"--format {form}: no such format{nearest(form, FORMATS)}")
    place = name_of(out.absolute())  # now: the current folder may be what is replaced
    with replacing(out, force) as part:
        made = Export(part)
        FORMATS[form](root, settings, made)
        about = {"format": form, "documents": made.documents, **made.about, "files": msgspec.to_builtins(made.files)}
        storage.write_bytes(part / ABOUT, json.dumps(about, indent=1).encode() + b"\n")
    note(root, place, about)
    made.folder = out
    return made


def note(root: Path, place: str, about: dict[str, Any]) -> None:
    """Keep in the working directory where an export went, so that a removal can tell whether it held a document."""
    path = root / EXPORTS
    noted = json.loads(storage.read_bytes(path)) if storage.exists(path) else {}
    noted[place] = {name: about[name] for name in ("format", "step", "made_from") if name in about}
    with suppress(StorageError):  # a directory that may only be read
        storage.write_bytes(path, json.dumps(noted, indent=1).encode() + b"\n")


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


def export_tokens(root: Path, made: Export, write: Callable[[Tokens, str, Export], int]) -> None:
    """Write each split that holds documents by `write`, which returns how many tokens, and the tokenizer's files."""
    tokens = opened_tokens(root)
    for split in SPLITS:
        expected = sum(tokens.manifest.files[f"{split}/{path.name}"].rows for path in tokens.paths[split])
        made.documents[split] = sum(map(len, tokens.lengths(split)))
        if made.documents[split] != expected:
            raise BooksError(f"{split}: {made.documents[split]} documents in shards, {expected} in receipts")
        if expected:
            made.tokens[split] = write(tokens, split, made)
    refuse_nothing(root, made)
    vocabulary = Artefact(root, "tokenizer", 1)
    for name in vocabulary.hashes(0):
        if name != REPORT:
            with made.write(name) as file:
                file.write(vocabulary.named(0, name).read_bytes())
    numbers = {name: int(tokens.kind[name]) for name in ("vocab_size", "end_of_text")}
    made.about = {"tokens": made.tokens, "tokenizer_sha256": tokens.kind["tokenizer_sha256"], **numbers}
    made.about["fingerprint"] = tokens.manifest.fingerprint
    made.about["made_from"] = {"tokens": held_by(tokens.manifest)}
    unchanged(tokens.artefact, tokens.manifest)


def held_by(manifest: Manifest) -> str:
    """The mark of what the files of an artefact hold today, evidence aside: another, once documents were removed."""
    return mark_of({name: one.sha256 for name, one in manifest.files.items() if not name.startswith("removed/")})


def refuse_nothing(root: Path, made: Export) -> None:
    """Raise InputError for an export without a document."""
    if not any(made.documents.values()):
        raise InputError(f"{root}: the corpus holds no document to export")


def nanogpt(root: Path, _settings: Settings, made: Export) -> None:
    """`train.bin` and `val.bin` as nanoGPT's data/openwebtext/prepare.py writes them."""
    export_tokens(root, made, write_nanogpt)


def write_nanogpt(tokens: Tokens, split: str, made: Export) -> int:
    """One flat file of uint16. Raises ConfigError: the vocabulary does not fit."""
    if tokens.kind["dtype"] != "uint16":
        raise ConfigError(
            f"--format nanogpt: holds ids up to 65,535, the vocabulary has {tokens.kind['vocab_size']}; "
            "use --format megatron, or build with a smaller tokenizer.vocab_size"
        )
    with made.write(f"{split}.bin", made.documents[split]) as file:
        return write_numbers(file, tokens.streams(split), "<u2")


def megatron(root: Path, _settings: Settings, made: Export) -> None:
    """`train.bin`, `train.idx`, `val.bin` and `val.idx`: each document is a sequence, as with `--append-eod`."""
    export_tokens(root, made, write_megatron)


def write_megatron(tokens: Tokens, split: str, made: Export) -> int:
    """The tokens and their index.

    The index is, little-endian: magic, version (uint64), code of the type (uint8), number of sequences and of document
    bounds (uint64 each); length (int32) and byte offset (int64) of each sequence; the sequences at which documents
    begin, and the end (int64). The type is uint16, or int32 where ids need it: it has no uint32.
    """
    kind = "uint16" if tokens.kind["dtype"] == "uint16" else "int32"
    width, documents = np.dtype(kind).itemsize, made.documents[split]
    with made.write(f"{split}.bin", documents) as file:
        count = write_numbers(file, tokens.streams(split), np.dtype(kind).newbyteorder("<"))
    with made.write(f"{split}.idx", documents) as file:
        file.write(
            MEGATRON_MAGIC + struct.pack("<QBQQ", MEGATRON_VERSION, MEGATRON_CODE[kind], documents, documents + 1)
        )
        write_numbers(file, tokens.lengths(split), "<i4")
        write_numbers(file, offsets(tokens.lengths(split), width), "<i8")
        write_numbers(file, [np.arange(documents + 1)], "<i8")
    return count


def offsets(lengths: Iterable[Numbers], width: int) -> Iterator[Numbers]:
    """Where sequences of these lengths begin, in bytes of `width` a number (int64)."""
    start = 0
    for some in lengths:
        ends = start + np.cumsum(some, dtype=np.int64) * width
        yield ends - some.astype(np.int64) * width
        start = int(ends[-1]) if len(ends) else start


def write_numbers(file: storage.HashingFile, arrays: Iterable[Numbers], kind: str | np.dtype[Any]) -> int:
    """Write arrays one after another as numbers of a type; how many numbers."""
    count = 0
    for array in arrays:
        for start in range(0, len(array), CHUNK):
            file.write(array[start : start + CHUNK].astype(kind))
        count += len(array)
    return count


def parquet(root: Path, settings: Settings, made: Export) -> None:
    """One Parquet file a shard and split, with the columns of the corpus."""

    def write(name: str, tables: Iterable[pa.Table], rows: int) -> int:
        with made.write(f"{name}.parquet", rows) as file:
            return schemas.write_parquet(file, tables, schemas.CORPUS)

    export_text(root, settings, made, write)


def jsonl(root: Path, settings: Settings, made: Export) -> None:
    """One file of JSON lines a shard and split, with the columns of the corpus as keys."""

    def write(name: str, tables: Iterable[pa.Table], rows: int) -> int:
        written = 0
        with made.write(f"{name}.jsonl", rows) as file:
            for table in tables:
                file.write(b"".join(msgspec.json.encode(row) + b"\n" for row in table.to_pylist()))
                written += table.num_rows
        return written

    export_text(root, settings, made, write)


def export_text(
    root: Path, settings: Settings, made: Export, write: Callable[[str, Iterable[pa.Table], int], int]
) -> None:
    """Write each corpus shard by `write`, split as its tokens are, or by the settings where there are none yet.

    A shard without rows of a split has no file: `datasets` takes the types of columns from files, and finds none in an
    empty one (huggingface/datasets#8397).
    """
    corpus, manifest = whole(root, "corpus")
    tokens = Artefact(root, "tokens", 1).manifest()
    share = tokens.settings["val_share"] if tokens else settings.tokens.val_share
    paths = corpus.files(".parquet")
    for split in SPLITS:
        rows = [sum(map(len, rows_of(path, split, share, ["doc_id"]))) for path in paths]
        made.documents[split] = sum(rows)
        some = [(path, count) for path, count in zip(paths, rows, strict=True) if count]
        for number, (path, expected) in enumerate(some):
            name = f"{split}-{storage.shard_name(number, len(some), '')}"
            written = write(name, rows_of(path, split, share, schemas.CORPUS.names), expected)
            if written != expected:
                raise BooksError(f"{path}: {written} rows of {split} written, {expected} read")
    expected = sum(stamp.rows for name, stamp in manifest.files.items() if "/" not in name)
    if sum(made.documents.values()) != expected:
        raise BooksError(f"{corpus.folder}: {made.documents} documents exported, {expected} in receipts")
    refuse_nothing(root, made)
    made.about = {"val_share": share, "fingerprint": manifest.fingerprint}
    made.about["made_from"] = {"corpus": held_by(manifest)}
    unchanged(corpus, manifest)


def rows_of(path: Path, split: str, share: float, columns: list[str]) -> Iterator[pa.Table]:
    """The rows of a corpus shard that belong to a split, some at a time."""
    for batch in schemas.iterate_parquet(path, columns, rows=1_000):
        chosen = [bpe.is_val(doc_id, share) == (split == "val") for doc_id in batch.column("doc_id").to_pylist()]
        if any(chosen):  # no row group without rows either
            yield pa.Table.from_batches([batch.filter(pa.array(chosen, pa.bool_()))])


def hf(root: Path, _settings: Settings, made: Export) -> None:
    """The newest whole checkpoint as a folder of transformers."""
    from trainer.checkpoint import stamp_of, trained  # noqa: PLC0415 - torch, an extra, and 2 s to import
    from trainer.export import write_hf  # noqa: PLC0415

    checkpoint, made.notes = trained(root / "model")
    try:
        write_hf(checkpoint, Artefact(root, "tokenizer", 1).whole("tokenizer.json"), made.folder)
    except OSError as error:
        raise storage.refused(Path(error.filename or made.folder), error) from error
    for path in sorted(made.folder.iterdir()):
        if path.name != storage.LOCK:
            storage.sync_folder(path)  # fsync of a file opened to read is the same call
            made.files[path.name] = stamp_of(path)
    made.about = {"step": checkpoint.record.step, "tokenizer_sha256": made.files["tokenizer.json"].sha256}


MADE_OF = {  # the artefacts that each form is made of
    "nanogpt": ("tokens",), "megatron": ("tokens",), "parquet": ("corpus",), "jsonl": ("corpus",), "hf": ("tokenizer",),
}  # fmt: skip
FORMATS: dict[str, Callable[[Path, Settings, Export], None]] = {
    "nanogpt": nanogpt,
    "megatron": megatron,
    "parquet": parquet,
    "jsonl": jsonl,
    "hf": hf,
}
