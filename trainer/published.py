"""Whether a published model speaks the vocabulary of the tokens it is to go on with.

Choice: the merges are compared, in order, since they decide both the tokens of a byte-level BPE and, in the released
layout, their ids; the size of a vocabulary says nothing. Cost: a folder without a tokenizer cannot be told, and is
noted. Alternative: to compare the hashes of files, which differ with every version of the library that wrote them.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.shards.outcomes import InputError, TrainingError

DESCRIBED, MERGES = "tokenizer.json", ("merges.txt", "vocab.bpe")  # transformers' names, and OpenAI's


def tokenizer_notes(folder: Path, tokenizer: Path) -> list[str]:
    """A note where the tokenizer of a published model's `folder` cannot be compared with `tokenizer`, the tokens' own.

    Raises TrainingError: it is another one, so that every id would mean another token; InputError: it cannot be read.
    """
    theirs = next((path for path in (folder / name for name in (DESCRIBED, *MERGES)) if path.exists()), None)
    their_merges = merges_of(theirs) if theirs else []
    if theirs is None or not tokenizer.exists():
        missing = tokenizer if theirs else folder / DESCRIBED
        return [f"{missing}: not there, so the vocabulary of {folder} was not compared with that of the tokens"]
    other = merges_of(tokenizer)
    if their_merges != other:
        place = next(
            (place for place, pair in enumerate(zip(their_merges, other, strict=False)) if pair[0] != pair[1]), None
        )
        how = (
            f"merge {place:,} is another" if place is not None else f"{len(their_merges):,} merges, {len(other):,} here"
        )
        raise TrainingError(
            f"{theirs}: another tokenizer than the tokens were made with ({how}): each id would mean another token; "
            "begin with a model of this vocabulary, or mean it with 'webtext train --allow tokenizer'"
        )
    return []


def merges_of(path: Path) -> list[str]:
    """The merges of a tokenizer.json or of a list of them, best first, each as `left right`. Raises InputError."""
    try:
        if path.name != DESCRIBED:
            lines = path.read_text("utf-8").splitlines()
            return [line for line in lines if line.strip() and not line.startswith("#version")]
        merges = json.loads(path.read_bytes())["model"]["merges"]
        return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]  # lists since tokenizers 0.20
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a tokenizer of merges: {type(error).__name__}: {error}") from None
