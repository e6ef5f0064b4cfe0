"""Tokens as an indexed dataset of Megatron-LM (github.com/NVIDIA/Megatron-LM): each document is a sequence."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from pipeline.config import Settings
from pipeline.verbs.export.folder import Export
from pipeline.verbs.export.sources import Numbers, Tokens
from pipeline.verbs.export.streams import export_tokens, write_numbers

MAGIC = b"MMIDIDX\x00\x00"  # megatron/core/datasets/indexed_dataset.py, as are the version and the codes
VERSION = 1
CODES = {"uint16": 8, "int32": 4}


def export_megatron(root: Path, _settings: Settings, made: Export) -> None:
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
        file.write(MAGIC + struct.pack("<QBQQ", VERSION, CODES[kind], documents, documents + 1))
        write_numbers(file, tokens.lengths(split), "<i4")
        write_numbers(file, offsets(tokens.lengths(split), width), "<i8")
        write_numbers(file, [np.arange(documents + 1)], "<i8")
    return count


def offsets(lengths: Iterable[Numbers], width: int) -> Iterator[Numbers]:
    """Where sequences of these lengths begin, in bytes of `width` a number (int64)."""
    start = 0
    for batch in lengths:
        ends = start + np.cumsum(batch, dtype=np.int64) * width
        yield ends - batch.astype(np.int64) * width
        start = int(ends[-1]) if len(ends) else start
