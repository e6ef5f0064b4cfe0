"""The data set: token shards as one numbered list of windows, read through the memory map without a copy.

Choice: windows of `block + 1` tokens, numbered over all shards and visited in a permutation that is a function of
(seed, epoch), not a list: the place of any batch follows from (seed, step) alone, so a resumed run stores no position
and rank r of R takes every R-th window. Cost: a window never crosses two shards, so the last incomplete one of a shard
is left out. Alternative: random offsets (nanoGPT): some tokens are read thrice, others never, and the place is lost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import isqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from pipeline.shards.outcomes import TrainingError
from pipeline.shards.receipts import Artefact, mark_of

FORMAT = "1"
ROUNDS = 6  # of the Feistel network; 4 are enough for a permutation that looks random (Luby and Rackoff 1988)
AHEAD = 4_096  # positions of the stream of windows that are worked out at once
METADATA = ("format", "tokenizer_sha256", "end_of_text", "vocab_size", "dtype")
Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class TokenShard:
    """One mapped shard. `values` is the flat token stream (uint16 or uint32, read-only, a view of the file).

    `offsets` (int32, documents + 1) says where each document begins in it; `batch` keeps the map and the other columns.
    """

    path: Path
    batch: pa.RecordBatch
    values: Numbers
    offsets: Numbers
    metadata: dict[str, str]

    def doc_ids(self, first: int, last: int) -> list[str]:
        """The ids of the documents that tokens `first` to `last - 1` belong to."""
        start = int(np.searchsorted(self.offsets, first, "right")) - 1
        end = int(np.searchsorted(self.offsets, last, "left"))
        return [str(doc_id) for doc_id in self.batch.column("doc_id").slice(start, end - start).to_pylist()]

    def removed(self) -> tuple[int, int]:
        """How many documents were removed since the shard was made, and how many tokens are end-of-text instead."""
        rows = pc.equal(self.batch.column("doc_id"), "").to_numpy(zero_copy_only=False)
        return int(rows.sum()), int(np.diff(self.offsets)[rows].sum())

    def documents(self, first: int, last: int) -> Numbers:
        """The row of the document that each of the tokens `first` to `last - 1` belongs to (int64)."""
        return np.searchsorted(self.offsets, np.arange(first, last), "right") - 1


@dataclass(frozen=True)
class TokenData:
    """All shards of a split, in order of their names, all of one tokenizer."""

    shards: tuple[TokenShard, ...]
    tokenizer_sha256: str
    end_of_text: int
    vocab: int
    fingerprint: str  # sha256 over names and contents: the same data or not
    held: str = ""  # the same over what the files hold today: another, once `webtext remove` has overwritten documents

    @property
    def tokens(self) -> int:
        return sum(len(shard.values) for shard in self.shards)


def load_split(root: Path, split: Literal["train", "val"]) -> TokenData:
    """The token shards of the working directory `root`, each checked against the manifest.

    Raises TrainingError: not built, or not of one kind. IntegrityError: not the bytes that were written.
    """
    manifest = Artefact(root, "tokens", 1).manifest()
    if manifest is None:
        raise TrainingError(f"{root / 'tokens'}: no finished token shards; run 'webtext build' first")
    artefact = Artefact(root, "tokens", manifest.shards)
    paths = artefact.files(".arrow", split)
    # as they were made: what `webtext remove` overwrote since leaves every window in its place, and a run may go on
    made, today = (
        {path.name: stamps(shard)[f"{split}/{path.name}"] for shard, path in enumerate(paths)}
        for stamps in (artefact.hashes, artefact.contents)
    )
    return replace(open_shards(paths, made), held=mark_of({f"{split}/{name}": mark for name, mark in today.items()}))


def fingerprint_of(contents: dict[str, str]) -> str:
    """The sha256 over file names and the sha256 of their bytes."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def open_shards(paths: Sequence[Path], contents: dict[str, str]) -> TokenData:
    """Verified token shards as one TokenData; `contents` maps file names to the sha256 of the bytes.

    Raises TrainingError: no shard, not a token shard, or shards that differ in tokenizer, dtype or vocabulary.
    """
    if not paths:
        raise TrainingError("no token shards to train on; run 'webtext build' first")
    shards = tuple(open_shard(path) for path in paths)
    first = shards[0]
    for shard in shards:
        for key in METADATA:
            if shard.metadata[key] != first.metadata[key]:
                raise TrainingError(
                    f"{shard.path}: {key} is {shard.metadata[key]}, but {first.path} has {first.metadata[key]}; "
                    "run 'webtext build tokens' so that all shards are of one kind"
                )
    return TokenData(
        shards=shards,
        tokenizer_sha256=first.metadata["tokenizer_sha256"],
        end_of_text=int(first.metadata["end_of_text"]),
        vocab=int(first.metadata["vocab_size"]),
        fingerprint=fingerprint_of(contents),
    )


def open_shard(path: Path) -> TokenShard:
    """One shard, mapped. Raises TrainingError: not an Arrow file of one record batch, or other columns or metadata."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.num_record_batches != 1:
            raise pa.ArrowInvalid(f"{reader.num_record_batches} record batches, 1 wanted")
        batch = reader.get_batch(0)
        batch.validate(full=True)
        column = batch.column("tokens")
        metadata = metadata_of(reader.schema)
        wanted = pa.list_(pa.type_for_alias(metadata["dtype"]))
        if column.type != wanted or column.null_count or column.values.null_count:
            raise pa.ArrowInvalid(f"tokens are {column.type} with {column.null_count} nulls, {wanted} without wanted")
        batch.column("doc_id")
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: not a token shard: {error}; run 'webtext build tokens'") from None
    ends = column.offsets.to_numpy()
    values = column.values.to_numpy(zero_copy_only=True)[ends[0] : ends[-1]]
    return TokenShard(path, batch, values, ends - ends[0], metadata)


def metadata_of(schema: pa.Schema) -> dict[str, str]:
    """The `webtext.…` metadata of a shard, checked. Raises ValueError: something is missing or of another format."""
    found = {key: (schema.metadata or {}).get(f"webtext.{key}".encode(), b"").decode() for key in METADATA}
    missing = [key for key, value in found.items() if not value]
    if missing:
        raise ValueError(f"no metadata webtext.{missing[0]}")
    if found["format"] != FORMAT:
        raise ValueError(f"format {found['format']}, this trainer reads {FORMAT}")
    if found["dtype"] not in ("uint16", "uint32"):
        raise ValueError(f"dtype {found['dtype']}, uint16 or uint32 wanted")
    if not 0 <= int(found["end_of_text"]) < int(found["vocab_size"]):
        raise ValueError(f"end_of_text {found['end_of_text']} is outside the vocabulary of {found['vocab_size']}")
    return found


@dataclass(frozen=True)
class Windows:
    """The windows of a split: window i of a shard is its tokens i x block to (i + 1) x block, the last one included.

    Every token but the first of a shard is so predicted at most once, and all but the `dropped` ones exactly once.
    """

    data: TokenData
    block: int
    seed: int

    @cached_property
    def ends(self) -> Numbers:
        """Per shard, the number after its last window (int64)."""
        return np.cumsum([max(0, len(shard.values) - 1) // self.block for shard in self.data.shards])

    @property
    def count(self) -> int:
        return int(self.ends[-1])

    @property
    def dropped(self) -> int:
        """Tokens that no window predicts, without the first of each shard, which nothing can predict."""
        return sum(max(0, len(shard.values) - 1) % self.block for shard in self.data.shards)

    def require(self) -> None:
        """Raise TrainingError when there is no window, saying what would fit."""
        if self.count:
            return
        longest = max(len(shard.values) for shard in self.data.shards)
        shards = f"{self.data.tokens} tokens in {len(self.data.shards)} shards, the longest of {longest}"
        advice = f"train.block = {longest - 1} would fit" if longest > 2 else "none would fit"
        raise TrainingError(
            f"{shards}: not one window of {self.block} + 1 tokens; {advice}, or build from more documents"
        )

    def place(self, window: int) -> tuple[TokenShard, int]:
        """The shard of a window and the place of its first token there."""
        shard = int(np.searchsorted(self.ends, window, "right"))
        before = int(self.ends[shard - 1]) if shard else 0
        return self.data.shards[shard], (window - before) * self.block

    def tokens(self, window: int) -> Numbers:
        """The `block + 1` tokens of a window: a view of the file, read-only."""
        shard, start = self.place(window)
        return shard.values[start : start + self.block + 1]

    def doc_ids(self, window: int) -> list[str]:
        """The documents that a window shows."""
        shard, start = self.place(window)
        return shard.doc_ids(start, start + self.block + 1)

    def sources(self, window: int) -> list[tuple[str, str, Numbers]]:
        """(host, year, which of the window's targets) of each document that has some; a year not known is "none"."""
        shard, start = self.place(window)
        rows = shard.documents(start + 1, start + self.block + 1)
        host, year = shard.batch.column("host"), shard.batch.column("year")
        found = ((row, np.flatnonzero(rows == row)) for row in np.unique(rows))
        return [(str(host[row]), str(year[row].as_py() or "none"), mine) for row, mine in found]

    def visited(self, positions: Numbers) -> list[int]:
        """The windows at `positions` (int64) of the endless stream of epochs, each a permutation of all windows."""
        pages, places = np.divmod(positions, AHEAD)
        found = np.empty_like(positions)
        for page in np.unique(pages):
            here = pages == page
            found[here] = order(self.count, self.seed, int(page))[places[here]]
        return [int(window) for window in found]

    def read(self, windows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(inputs, targets) of some windows, each int64 (windows, block); targets are the inputs one token later.

        Raises TrainingError: a token is not in the vocabulary.
        """
        rows = np.empty((len(windows), self.block + 1), np.result_type(*(shard.values for shard in self.data.shards)))
        shards = np.searchsorted(self.ends, windows, "right")
        starts = (np.asarray(windows) - np.concatenate([[0], self.ends])[shards]) * self.block
        for row, shard, start in zip(rows, shards.tolist(), starts.tolist(), strict=True):
            row[:] = self.data.shards[shard].values[start : start + self.block + 1]
        if rows.max() >= self.data.vocab:
            window = windows[int(rows.max(axis=1).argmax())]
            path = self.place(window)[0].path
            raise TrainingError(
                f"{path}: token {rows.max()} in a vocabulary of {self.data.vocab}; build the tokens again"
            )
        both = torch.from_numpy(rows.astype(np.int64))
        return both[:, :-1], both[:, 1:]


def step_windows(
    windows: Windows,
    step: int,
    micro: int,
    *,
    batch: int,
    accumulate: int,
    rank: int = 0,
    world: int = 1,
    shift: int = 0,
) -> list[int]:
    """The windows of one micro-batch: a step (from 0) of the optimiser takes the next batch x accumulate positions.

    Rank r of R takes every R-th of them, in accumulate / R micro-batches, so the global batch does not depend on R.
    `shift`: positions by which the stream is ahead of a run that always had this batch, for one that went on with
    another (negative: behind).
    """
    first = (step * accumulate + micro * world) * batch + shift
    return windows.visited(np.arange(batch, dtype=np.int64) * world + first + rank)


@lru_cache(maxsize=4)
def order(count: int, seed: int, page: int) -> Numbers:
    """The windows, of `count`, at the AHEAD positions of one page of the stream; batch by batch costs as much each."""
    positions = np.arange(page * AHEAD, (page + 1) * AHEAD, dtype=np.int64)
    epochs, places = np.divmod(positions, count)
    found = np.empty_like(places)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        found[here] = permuted(places[here], count, f"{seed}:{epoch}")
    return found


def permuted(places: Numbers, count: int, key: str) -> Numbers:
    """Where a seeded permutation of 0 … count - 1 sends `places` (int64), computed place by place, in no memory.

    A Feistel network on pairs (left, right) below `side`, the least number whose square is `count` or more, walked on
    while it leads outside: Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains", sections 4 and 5.
    """
    side = isqrt(count - 1) + 1
    digest = hashlib.blake2b(key.encode(), digest_size=8 * ROUNDS).digest()
    keys = np.frombuffer(digest, "<u8")
    found = places.astype(np.uint64)
    outside = np.ones(len(found), bool)
    while outside.any():
        left, right = np.divmod(found[outside], np.uint64(side))
        for round_key in keys:
            left, right = right, (left + mixed(right ^ round_key)) % np.uint64(side)
        found[outside] = left * np.uint64(side) + right
        outside = found >= np.uint64(count)
    return found.astype(np.int64)


def mixed(values: Numbers) -> Numbers:
    """A hash of 64-bit numbers: the finaliser of SplitMix64 (Steele, Lea and Flood 2014); multiplication wraps."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashed: Numbers = values ^ (values >> np.uint64(31))
    return hashed


def token_bytes(tokenizer: Path) -> list[bytes]:
    """The bytes of every token id of a byte-level `tokenizer.json`; b"" for control tokens such as end-of-text.

    Raises TrainingError: the file is missing or is not byte-level BPE.
    """
    try:
        described = json.loads(tokenizer.read_bytes())
        vocabulary: dict[str, int] = described["model"]["vocab"]
        control = {token["id"] for token in described.get("added_tokens", [])}
        found = [b""] * (1 + max([*vocabulary.values(), *control]))
        for token, number in vocabulary.items():
            if number not in control:
                found[number] = bytes(BYTE_OF[character] for character in token)
    except (OSError, ValueError, KeyError, TypeError) as error:
        kind = f"{type(error).__name__}: {error}"
        raise TrainingError(
            f"{tokenizer}: not a byte-level tokenizer ({kind}); run 'webtext build tokenizer'"
        ) from None
    return found


def byte_alphabet() -> dict[str, int]:
    """Which byte a character of a byte-level token stands for: github.com/openai/gpt-2, src/encoder.py."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


BYTE_OF = byte_alphabet()
