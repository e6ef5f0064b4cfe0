"""Token shards and a tokenizer for the trainer's tests, written as the `tokens` and `tokenizer` stages write them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pyarrow as pa
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.shards.receipts import Artefact, Task, balanced

PROSE = topics["with"]  # enough English for a few hundred merges; it comes with Python


def shard_table(documents, *, dtype="uint16", vocab=300, end_of_text=299, tokenizer_sha256="ab" * 32, version="1"):
    """A record batch of documents (lists of ids that end in end-of-text) with the metadata of a token shard."""
    metadata = {
        "webtext.format": version,
        "webtext.tokenizer_sha256": tokenizer_sha256,
        "webtext.end_of_text": str(end_of_text),
        "webtext.vocab_size": str(vocab),
        "webtext.dtype": dtype,
    }
    columns = {
        "tokens": pa.array(documents, pa.list_(pa.type_for_alias(dtype))),
        "doc_id": pa.array([f"doc-{number}" for number in range(len(documents))], pa.string()),
        "host": pa.array(["example.org"] * len(documents), pa.string()),
        "year": pa.array([2015] * len(documents), pa.int16()),
    }
    schema = pa.schema([pa.field(name, one.type) for name, one in columns.items()], metadata=metadata)
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)


def write_shard(path: Path, batch: pa.RecordBatch) -> Path:
    """An Arrow IPC file of one batch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    return path


def write_tokens(root: Path, train, val, **kind) -> None:
    """`root/tokens` with receipts and manifest; `train` and `val` hold a list of documents for each shard."""
    artefact = Artefact(root, "tokens", len(train))
    for shard, splits in enumerate(zip(train, val, strict=True)):
        with artefact.attempt(Task(shard, "f" * 32)) as attempt:
            for part, documents in zip(("train", "val"), splits, strict=True):
                batch = shard_table(documents, **kind)
                with attempt.write(".arrow", part) as file, pa.ipc.new_file(file, batch.schema) as writer:
                    writer.write_batch(batch)
            attempt.commit({"tokens": balanced("tokens", 0, {})})
    artefact.finish({}, [])


def counting_documents(documents: int, length: int, vocab: int, seed: int) -> list[list[int]]:
    """Toy text a small model learns at once: each document counts up from a random number; end-of-text is vocab - 1."""
    starts = np.random.default_rng(seed).integers(0, vocab - 1, documents)
    return [[*((int(start) + np.arange(length - 1)) % (vocab - 1)).tolist(), vocab - 1] for start in starts]


def write_tokenizer(path: Path, vocab: int, texts=(PROSE,)) -> str:
    """A byte-level BPE of `vocab` tokens, the last one end-of-text, trained on texts; the sha256 of its file."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocab - 1, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    assert tokenizer.get_vocab_size() == vocab, "too little text for so many merges"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False))
    return hashlib.sha256(path.read_bytes()).hexdigest()
