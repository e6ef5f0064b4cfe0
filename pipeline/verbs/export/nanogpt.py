"""Tokens as nanoGPT reads them: all of a split end to end, and the vocabulary in the form that its sample.py knows.

Choice: `meta.pkl` maps one character to one id, since that is how nanoGPT's sample.py (0031515856) encodes a prompt
and joins what was sampled. A character that is a token stands for it; the private character U+F0000 + id stands for any
token, so that a file of such characters is a prompt of exactly these ids. Cost: a prompt as plain text goes in
character by character, and a token that holds a part of a character is shown as U+FFFD. Alternative: no file, where
nanoGPT takes the ids for GPT-2's; that is done where they are.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config import Settings
from pipeline.shards.outcomes import ConfigError
from pipeline.text.bpe import END_OF_TEXT, unspelled
from pipeline.verbs.export.folder import Export
from pipeline.verbs.export.sources import Tokens
from pipeline.verbs.export.streams import export_tokens, write_numbers

META = "meta.pkl"
PRIVATE_USE = 0xF0000  # plane 15, whose 65,536 code points no text uses: The Unicode Standard, 23.5
PICKLE_PROTOCOL = 4  # of Python 3.4 and later; fixed, so that the same vocabulary gives the same file
GPT2_MERGES = (
    "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"  # sha256 of GPT-2's published vocab.bpe
)


def export_nanogpt(root: Path, _settings: Settings, made: Export) -> None:
    """`train.bin` and `val.bin` as nanoGPT's data/openwebtext/prepare.py writes them, and `meta.pkl`."""
    export_tokens(root, made, write_split)
    if made.files["merges.txt"].sha256 != GPT2_MERGES:
        ids = json.loads((made.folder / "vocab.json").read_bytes())
        with made.write(META) as file:
            file.write(pickle.dumps(meta(sorted(ids, key=ids.__getitem__)), PICKLE_PROTOCOL))


def meta(spelled: Sequence[str]) -> dict[str, Any]:
    """`vocab_size`, `itos` (id to text) and `stoi` (character to id) of tokens as files spell them, in their order."""
    tokens = [END_OF_TEXT.encode() if token == END_OF_TEXT else unspelled(token) for token in spelled]
    texts = [token.decode("utf-8", "replace") for token in tokens]
    characters = {text: place for place, text in enumerate(texts) if len(text) == 1 and text.encode() == tokens[place]}
    exactly = {chr(PRIVATE_USE + place): place for place in range(len(tokens))}
    return {"vocab_size": len(tokens), "itos": dict(enumerate(texts)), "stoi": characters | exactly}


def write_split(tokens: Tokens, split: str, made: Export) -> int:
    """One flat file of uint16. Raises ConfigError: the vocabulary does not fit."""
    if tokens.kind["dtype"] != "uint16":
        raise ConfigError(
            f"--format nanogpt: holds ids up to 65,535, the vocabulary has {tokens.kind['vocab_size']}; "
            "use --format megatron, or build with a smaller tokenizer.vocab_size"
        )
    with made.write(f"{split}.bin", made.documents[split]) as file:
        return write_numbers(file, tokens.streams(split), "<u2")
