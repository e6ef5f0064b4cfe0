"""corpus + tokenizer → tokens: each document as ids ending in end-of-text, ready to be memory-mapped.

Choice: fast engines encode, and documents of every shard are encoded by `tokenizers` too and must agree. A shard is an
Arrow IPC file, uncompressed, of one record batch, so that its values buffer is one flat stream of tokens. Cost: the
tokens of a shard (2 or 4 bytes each) are held in memory, twice while it is written. Alternative: nanoGPT's bare .bin,
which knows neither documents nor its tokenizer. Of a text that the shard held before, by the same vocabulary, the
tokens are carried over (see `carried`).

Within a shard the documents lie in a seeded permutation. The corpus is sorted by URL, so most neighbours in a training
window would be of one host, and one page would give away the next one's furniture; Megatron permutes for that reason,
by an index that is read at every step (Shoeybi et al. 2019, megatron/core/datasets). Cost: a shard's neighbours are
those of one permutation for all epochs. Alternative: an index of documents, which reads the map in leaps.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline import carried
from pipeline.config import Settings, TokensSettings, slice_of
from pipeline.shards import progress, receipts, schemas
from pipeline.shards.outcomes import InputError, IntegrityError, Outcome
from pipeline.shards.receipts import Artefact, Manifest, Task
from pipeline.shards.runner import HEAVY_S, Run
from pipeline.shards.storage import HashingFile
from pipeline.text import bpe
from pipeline.text.encoder import Encoder

VERSION = 2
LIBRARIES = ("pyarrow", "tiktoken", "tokenizers")
FORMAT = "1"  # of the Arrow file; in its metadata
TOKENIZER = "tokenizer.json"
COLUMNS = ("doc_id", "host", "text", "created")
ENCODED_S = 230e-9  # CPU s a byte of corpus as it lies: 100 ns a byte of text (bench_plan.py)
CHECKED = 100  # one document in so many is encoded by `tokenizers` too


@dataclass
class Split:
    """Encoded documents of one shard and one split."""

    ids: list[npt.NDArray[Any]] = field(default_factory=list)
    doc_ids: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    years: list[int | None] = field(default_factory=list)

    def permuted(self, seed: int) -> Split:
        """The documents in an order that hangs on their ids and the seed alone: by BLAKE2b of the two."""
        places = [hashlib.blake2b(f"{seed}:{doc_id}".encode(), digest_size=8).digest() for doc_id in self.doc_ids]
        order = sorted(range(len(places)), key=places.__getitem__)
        columns = (self.ids, self.doc_ids, self.hosts, self.years)
        return Split(*([column[place] for place in order] for column in columns))  # type: ignore[arg-type]


def stage(settings: Settings, work: Path, run: Run) -> Manifest:
    """`train/<shard>.arrow` and `val/<shard>.arrow` of every corpus shard."""
    shards = settings.build.shards
    corpus, tokens = Artefact(work, "corpus", shards), Artefact(work, "tokens", shards)
    tokenizer = Artefact(work, "tokenizer", 1).hashes(0)[TOKENIZER]
    texts = [corpus.hashes(shard)[corpus.file_name(shard, ".parquet")] for shard in range(shards)]
    used = slice_of(settings.tokens)
    tasks = tokens.begin(
        [receipts.fingerprint("tokens", VERSION, used, [tokenizer, text], LIBRARIES) for text in texts]
    )
    progress.expect(corpus.kept((task.shard for task in tasks), "corpus"), noun="documents")
    heavy = corpus.bytes(task.shard for task in tasks) * ENCODED_S > HEAVY_S
    run.map_shards(partial(encode_shard, settings.tokens, corpus, tokens), tasks, heavy)
    return tokens.finish(used, LIBRARIES, [corpus, Artefact(work, "tokenizer", 1)])


@lru_cache(maxsize=1)
def encoder_of(tokenizer: Artefact, sha256: str) -> Encoder:
    """The encoder of the tokenizer.json of this sha256, checked and kept: loading 50,000 merges takes a while."""
    return Encoder.of(tokenizer.named(0, TOKENIZER).read_bytes(), sha256)


def encode_shard(settings: TokensSettings, corpus: Artefact, tokens: Artefact, task: Task) -> None:
    """Encode one corpus shard and write its two files."""
    tokenizer = Artefact(corpus.root, "tokenizer", 1)
    encoder = encoder_of(tokenizer, tokenizer.hashes(0)[TOKENIZER])
    making = [VERSION, FORMAT, encoder.sha256]
    batches = schemas.iterate_parquet(corpus.file(task.shard, ".parquet"), COLUMNS, rows=1_000)
    keys: dict[str, bytes] = {}
    encoded = encode(batches, encoder, settings.val_share, Before.of(tokens, task.shard, making), keys)
    splits = {name: split.permuted(settings.seed) for name, split in encoded.items()}
    with tokens.attempt(task) as attempt:
        for name, split in splits.items():
            with attempt.write(".arrow", name) as file:
                write(file, split, encoder)
            attempt.rows(".arrow", len(split.ids), name)
        documents = sum(len(split.ids) for split in splits.values())
        attempt.commit({"tokens": receipts.balanced("tokens", documents, {Outcome.KEPT: documents})})
    carried.keep(tokens, task.shard, keys, making, LIBRARIES)


@dataclass(frozen=True)
class Before:
    """What a shard holds as it stands: the key of each document's text, and its tokens with end-of-text."""

    keys: Mapping[str, bytes] = field(default_factory=dict)
    ids: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, tokens: Artefact, shard: int, making: list[Any]) -> Before:
        """That of a shard whose tokens were made as `making` says; else, or where it is damaged, nothing."""
        ids: dict[str, npt.NDArray[Any]] = {}
        try:
            keys = carried.known(tokens, shard, making, LIBRARIES)
            paths = [tokens.file(shard, ".arrow", name) for name in ("train", "val")] if keys else []
        except IntegrityError:
            return cls()
        for path in paths:
            with pa.memory_map(str(path)) as file:
                batch = pa.ipc.open_file(file).get_batch(0)
                ends, values = batch["tokens"].offsets.to_numpy(), batch["tokens"].values.to_numpy()
                for row, doc_id in enumerate(batch["doc_id"].to_pylist()):  # "" of one that was removed
                    ids[doc_id] = values[ends[row] : ends[row + 1]].copy()
        return cls(keys, ids)

    def has(self, doc_id: str, key: bytes) -> bool:
        """Whether the tokens of a document with this text are there."""
        return self.keys.get(doc_id) == key and doc_id in self.ids


def encode(
    batches: Iterable[pa.RecordBatch],
    encoder: Encoder,
    share: float,
    before: Before | None = None,
    keys: dict[str, bytes] | None = None,
) -> dict[str, Split]:
    """The documents of corpus batches as `train` and `val`: carried from `before`, or encoded; a sample is checked.

    See `Encoder.check`. The keys of the texts are put into `keys`.
    """
    before, splits = before or Before(), {"train": Split(), "val": Split()}
    end, checked = np.array([encoder.end_of_text], encoder.dtype), False
    for batch in batches:
        columns = [batch.column(name).to_pylist() for name in COLUMNS]
        found = dict(zip(columns[0], map(key_of, columns[2]), strict=True))
        if keys is not None:
            keys.update(found)
        new = {doc: text for doc, text in zip(columns[0], columns[2], strict=True) if not before.has(doc, found[doc])}
        encoded = dict(zip(new, encoder.encode_batch(list(new.values())), strict=True))
        for doc_id, host, text, created in zip(*columns, strict=True):
            ids = encoded.get(doc_id)
            if ids is not None and (is_checked(doc_id) or not checked):
                encoder.check(doc_id, text, ids)
                checked = True
            split = splits["val" if bpe.is_val(doc_id, share) else "train"]
            whole = before.ids[doc_id] if ids is None else np.concatenate([ids.astype(encoder.dtype), end])
            split.ids.append(whole)
            split.doc_ids.append(doc_id)
            split.hosts.append(host)
            split.years.append(year_of(created))
        progress.advance(progress.ROWS, batch.num_rows)
    return splits


def key_of(text: str) -> bytes:
    """16 bytes that tell a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def is_checked(doc_id: str) -> bool:
    """Whether a document is of the sample that `tokenizers` encodes too: one in CHECKED, by the CRC-32 of its id."""
    return zlib.crc32(doc_id.encode()) % CHECKED == 0


def year_of(created: int | None) -> int | None:
    """The year (UTC) of a time in seconds since 1970; None where there is none, or none that a calendar has."""
    if created is None or not 0 <= created < 253_402_300_800:  # 10000-01-01
        return None
    return datetime.fromtimestamp(created, UTC).year


def write(file: HashingFile, split: Split, encoder: Encoder) -> None:
    """Write a split as an Arrow IPC file of one uncompressed record batch, see `schema_of`.

    Raises InputError: over 2^31 tokens, more than the offsets of one batch can address.
    """
    schema = schema_of(encoder)
    offsets = np.cumsum([0, *map(len, split.ids)])
    if offsets[-1] >= 2**31:
        raise InputError(f"{offsets[-1]} tokens in one shard; at most 2^31: raise build.shards in a new folder")
    values = np.concatenate([np.empty(0, encoder.dtype), *split.ids])
    columns = [
        pa.ListArray.from_arrays(offsets.astype(np.int32), values),
        *(pa.array(column) for column in (split.doc_ids, split.hosts, split.years)),
    ]
    with pa.ipc.new_file(file, schema, options=pa.ipc.IpcWriteOptions(compression=None)) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))


def schema_of(encoder: Encoder) -> pa.Schema:
    """Columns of a token shard; the metadata say all that a reader must know to trust the ids."""
    value = pa.from_numpy_dtype(encoder.dtype)
    return pa.schema(
        [
            pa.field("tokens", pa.list_(value)),  # of one document, end-of-text last
            pa.field("doc_id", pa.string()),
            pa.field("host", pa.string()),
            pa.field("year", pa.int16()),  # of the earliest submission; null when unknown
        ],
        metadata={
            "webtext.format": FORMAT,
            "webtext.tokenizer_sha256": encoder.sha256,
            "webtext.end_of_text": str(encoder.end_of_text),
            "webtext.vocab_size": str(encoder.vocab_size),
            "webtext.dtype": encoder.dtype.name,
        },
    )
