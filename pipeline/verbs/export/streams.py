"""The token shards of a split as one stream of numbers, with the tokenizer that decodes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.counts import counted
from pipeline.shards import progress, storage
from pipeline.shards.outcomes import BooksError
from pipeline.shards.receipts import Artefact
from pipeline.tokenizer import REPORT
from pipeline.verbs.export.folder import Export
from pipeline.verbs.export.sources import SPLITS, Numbers, Tokens, held_by, opened_tokens, refuse_nothing, unchanged

CHUNK = 1_000_000  # numbers converted at a time


def export_tokens(root: Path, made: Export, write: Callable[[Tokens, str, Export], int]) -> None:
    """Write each split that holds documents by `write`, which returns how many tokens, and the tokenizer's files."""
    tokens = opened_tokens(root)
    for split in SPLITS:
        expected = sum(tokens.manifest.files[f"{split}/{path.name}"].rows for path in tokens.paths[split])
        made.documents[split] = sum(map(len, tokens.lengths(split)))
        if made.documents[split] != expected:
            raise BooksError(
                f"{split}: {counted(made.documents[split], 'document')} in shards, {expected:,} in receipts"
            )
        if expected:
            with progress.phase("export", sum(map(len, tokens.streams(split))), noun="tokens"):
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


def write_numbers(file: storage.HashingFile, arrays: Iterable[Numbers], kind: str | np.dtype[Any]) -> int:
    """Write arrays one after another as numbers of a type; how many numbers."""
    count = 0
    for array in arrays:
        for start in range(0, len(array), CHUNK):
            file.write(array[start : start + CHUNK].astype(kind))
            progress.advance(progress.ROWS, len(array[start : start + CHUNK]))
        count += len(array)
    return count
