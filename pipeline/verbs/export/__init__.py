"""The tokens or the text of a built corpus, or the trained model, in the forms that other tools read.

    nanogpt    train.bin, val.bin: all tokens of a split end to end, uint16 (github.com/karpathy/nanoGPT)
    megatron   train.bin and .idx, val.bin and .idx: an indexed dataset (github.com/NVIDIA/Megatron-LM)
    parquet    train-00000-of-00004.parquet …: the rows of the corpus; the names tell Hugging Face `datasets` the split
    jsonl      the same rows, one JSON object a line
    hf         the trained model with tokenizer and model card, as transformers and lm-eval load it
    gguf       the same in one file, as llama.cpp, Ollama and LM Studio open it

Each has a README.md, the card that the Hugging Face hub shows.

Choice: an export is a folder that appears whole or not at all, streamed from verified shards, with a webtext.json that
says what it was made from and the sha256 of every file. Cost: a copy of the tokens. Alternative: none is needed where
Arrow is read: token shards open as they are in pyarrow, polars, DuckDB and Hugging Face `datasets`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from pipeline.config import Settings, nearest
from pipeline.counts import counted
from pipeline.shards import progress, schemas, storage
from pipeline.shards.locations import name_of
from pipeline.shards.outcomes import BooksError, ConfigError, IntegrityError, StorageError
from pipeline.shards.receipts import Artefact
from pipeline.text import bpe
from pipeline.verbs.export.card import CARD, card
from pipeline.verbs.export.folder import ABOUT, Export, replacing
from pipeline.verbs.export.megatron import export_megatron
from pipeline.verbs.export.model import export_gguf, export_hf
from pipeline.verbs.export.nanogpt import export_nanogpt
from pipeline.verbs.export.sources import SPLITS, held_by, refuse_nothing, unchanged, whole

__all__ = ["ABOUT", "FORMATS", "MADE_OF", "Export", "export"]

EXPORTS = "exports.json"  # in the working directory


def export(root: Path, settings: Settings, form: str, out: Path, force: bool = False) -> Export:
    """Write the corpus or the model of a working directory into the new folder `out`; `force` replaces an older export.

    Raises ConfigError: no such form, `out` is taken, or the form cannot hold the tokens. InputError: no documents.
    IntegrityError: not built, or not the bytes that were written. TrainingError: no model. BusyError, StorageError.
    """
    if form not in FORMATS:
        raise ConfigError(f"--format {form}: no such format{nearest(form, FORMATS)}")
    place = name_of(out.absolute())  # now: the current folder may be what is replaced
    with replacing(out, force) as part, progress.phase("export"):
        made = Export(part)
        FORMATS[form](root, settings, made)
        if made.documents:
            made.posted = posted(root)
            with made.write(CARD) as file:
                file.write(card(settings, form, made).encode())
        about = {"format": form, "documents": made.documents, **made.about, "files": msgspec.to_builtins(made.files)}
        storage.write_bytes(part / ABOUT, json.dumps(about, indent=1).encode() + b"\n")
    note(root, place, about)
    made.folder = out
    return made


def posted(root: Path) -> int | None:
    """How many documents of the corpus were posted, which have a time; None where the corpus is not at hand."""
    try:
        corpus, _ = whole(root, "corpus")
        paths = [corpus.file(shard, ".parquet") for shard in range(corpus.shards)]
        columns = [schemas.read_parquet(path, ["created"])["created"] for path in paths]
    except IntegrityError:
        return None
    count: int = sum(len(column) - column.null_count for column in columns)
    return count


def note(root: Path, place: str, about: dict[str, Any]) -> None:
    """Keep in the working directory where an export went, so that a removal can tell whether it held a document."""
    path = root / EXPORTS
    noted = json.loads(storage.read_bytes(path)) if storage.exists(path) else {}
    noted[place] = {name: about[name] for name in ("format", "step", "made_from") if name in about}
    with suppress(StorageError):  # a directory that may only be read
        storage.write_bytes(path, json.dumps(noted, indent=1).encode() + b"\n")


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
    expected = sum(stamp.rows for name, stamp in manifest.files.items() if "/" not in name)
    with progress.phase("export", expected, noun="documents"):
        for split in SPLITS:
            rows = [sum(map(len, rows_of(path, split, share, ["doc_id"]))) for path in paths]
            made.documents[split] = sum(rows)
            parts = [(path, count) for path, count in zip(paths, rows, strict=True) if count]
            for number, (path, count) in enumerate(parts):
                name = f"{split}-{storage.shard_name(number, len(parts), '')}"
                written = write(name, watched(rows_of(path, split, share, schemas.CORPUS.names)), count)
                if written != count:
                    raise BooksError(f"{path}: {counted(written, 'row')} of {split} written, {count:,} read")
    if sum(made.documents.values()) != expected:
        raise BooksError(f"{corpus.folder}: exported {made.documents}, in receipts {expected:,}")
    refuse_nothing(root, made)
    made.about = {"val_share": share, "fingerprint": manifest.fingerprint}
    made.about["made_from"] = {"corpus": held_by(manifest)}
    unchanged(corpus, manifest)


def watched(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables; whoever watches is told of their rows as they are written."""
    for table in tables:
        yield table
        progress.advance(progress.ROWS, table.num_rows)


def rows_of(path: Path, split: str, share: float, columns: list[str]) -> Iterator[pa.Table]:
    """The rows of a corpus shard that belong to a split, some at a time."""
    for batch in schemas.iterate_parquet(path, columns, rows=1_000):
        chosen = [bpe.is_val(doc_id, share) == (split == "val") for doc_id in batch.column("doc_id").to_pylist()]
        if any(chosen):  # no row group without rows either
            yield pa.Table.from_batches([batch.filter(pa.array(chosen, pa.bool_()))])


MADE_OF = {  # the artefacts that each form is made of
    "nanogpt": ("tokens",), "megatron": ("tokens",), "parquet": ("corpus",), "jsonl": ("corpus",),
    "hf": ("tokenizer",), "gguf": ("tokenizer",),
}  # fmt: skip
FORMATS: dict[str, Callable[[Path, Settings, Export], None]] = {
    "nanogpt": export_nanogpt,
    "megatron": export_megatron,
    "parquet": parquet,
    "jsonl": jsonl,
    "hf": export_hf,
    "gguf": export_gguf,
}
