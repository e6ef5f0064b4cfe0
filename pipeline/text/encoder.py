"""Text to ids by the byte-level BPE of a tokenizer.json, by up to three engines that have to agree.

Choice: gigatoken, where it is installed (the extra `fast`), encodes by batches; tiktoken encodes everything else, and
`tokenizers`, which every other tool uses, a sample of all documents, to be compared. gigatoken 0.10.0 is young and has
one author, so no artefact hangs on it: with and without it the bytes are the same. Cost: each engine holds the
vocabulary, 20 to 60 MB for 50,257 tokens. Alternative: tiktoken alone, at a sixth of the speed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import tiktoken
import tokenizers

from pipeline.shards.outcomes import IntegrityError
from pipeline.text import bpe

# gigatoken 0.10.0 keeps the ids of every pre-token it has met, about 80 bytes each
# (findings/gigatoken-keeps-every-word.sh): it is made anew, in .12 s of CPU time, after so much text, and so holds
# 80 MB on prose and 512 MB where every word is another
FORGET_CHARACTERS = 64_000_000

Ids = npt.NDArray[np.uint32]


@dataclass
class Bulk:
    """gigatoken, for texts without letters newer than `tokenizers` knows (see `bpe.newer_letters`)."""

    described: str  # a tokenizer.json without control tokens: gigatoken would find them in a text
    engine: Any = None
    seen: int = 0  # characters since the engine was made

    @classmethod
    def of(cls, tokenizer_json: bytes) -> Bulk | None:
        """None: gigatoken is not installed."""
        if find_spec("gigatoken") is None:
            return None
        return cls(json.dumps({**json.loads(tokenizer_json), "added_tokens": []}))

    def encode(self, texts: list[str]) -> list[Ids]:
        """The ids of each text, by this thread alone: the workers of a build are as many as it has cores."""
        if self.engine is None or self.seen > FORGET_CHARACTERS:
            import gigatoken  # noqa: PLC0415 - takes .3 s, most of it for awkward

            self.engine, self.seen = gigatoken.Tokenizer.from_json(self.described), 0
        self.seen += sum(map(len, texts))
        found = self.engine.encode_batch(texts, parallel=False).layout
        return np.split(found.content.data, found.offsets.data[1:-1]) if texts else []


@dataclass(frozen=True)
class Encoder:
    """Text to ids by a byte-level BPE: `fast` (tiktoken), `slow` (tokenizers) and `bulk` hold the same merges."""

    fast: tiktoken.Encoding
    slow: tokenizers.Tokenizer
    vocab_size: int
    end_of_text: int
    sha256: str  # of tokenizer.json
    bulk: Bulk | None = field(default=None, compare=False)

    @classmethod
    def of(cls, tokenizer_json: bytes, sha256: str) -> Encoder:
        """An encoder of a `tokenizer.json`. Raises IntegrityError: not a byte-level BPE with end-of-text."""
        try:
            vocab: dict[str, int] = json.loads(tokenizer_json)["model"]["vocab"]
            end_of_text = vocab.pop(bpe.END_OF_TEXT)
            ranks = {bpe.unspelled(token): place for token, place in vocab.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"tokenizer.json: not a byte-level BPE ({error!r}); build it again") from None
        if sorted([*ranks.values(), end_of_text]) != list(range(len(ranks) + 1)):
            raise IntegrityError("tokenizer.json: ids are not 0, 1, 2, … without a gap; build it again")
        slow = tokenizers.Tokenizer.from_buffer(tokenizer_json)
        slow.encode_special_tokens = True  # text that spells a control token stays text
        fast = tiktoken.Encoding(
            "webtext", pat_str=bpe.PATTERN, mergeable_ranks=ranks, special_tokens={bpe.END_OF_TEXT: end_of_text}
        )
        return cls(fast, slow, len(ranks) + 1, end_of_text, sha256, Bulk.of(tokenizer_json))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest of uint16 and uint32 that holds every id."""
        return np.dtype(np.uint16 if self.vocab_size <= 65_536 else np.uint32)

    def encode(self, text: str) -> Ids:
        """The ids of a text, never a control token; uint32, without end-of-text."""
        try:
            ids: Ids = self.fast.encode_to_numpy(text, disallowed_special=())
        except ValueError:  # tiktoken's pattern engine gives up on a run of a million spaces
            return self.encode_slowly(text)
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each text, as `encode` gives them; several times as fast where gigatoken is installed."""
        if self.bulk is None:
            return [self.encode(text) for text in texts]
        newer = [bpe.has_newer_letters(text) for text in texts]
        rest = iter(self.bulk.encode([text for text, other in zip(texts, newer, strict=True) if not other]))
        return [self.encode(text) if other else next(rest) for text, other in zip(texts, newer, strict=True)]

    def encode_slowly(self, text: str) -> Ids:
        """The same by `tokenizers`: what every other tool will see."""
        return np.array(self.slow.encode(text, add_special_tokens=False).ids, np.uint32)

    def decode(self, ids: Sequence[int] | Ids) -> bytes:
        """The bytes that ids stand for."""
        return self.fast.decode_bytes([int(token) for token in ids])

    def check(self, doc_id: str, text: str, ids: Ids) -> None:
        """Raise IntegrityError unless `tokenizers` gives the same ids."""
        if not np.array_equal(ids, self.encode_slowly(text)):
            quick = f"tiktoken {tiktoken.__version__}" if self.bulk is None else "gigatoken or tiktoken"
            raise IntegrityError(
                f"document {doc_id}: {quick} and tokenizers {tokenizers.__version__} encode it differently; install "
                "the versions of the lock file"
            )
