"""Byte-level BPE as GPT-2's: how text falls into pre-tokens, how merges are learnt, in which files they are kept.

Choice: merges are learnt from the table of pre-token counts, exactly, by numpy over all words laid end to end; so
memory depends on the table, never on the corpus, and equal counts give equal files. Cost: about 0.2 ms a merge and
50 to 90 bytes of memory a byte of the table. Alternatives: `tokenizers`' trainer, which reads the whole text and cannot
be handed counts; SentencePiece's, which takes counts but looks only at the pairs that were frequent a while ago, and
so learns a few merges otherwise.

The ids between the vocabulary and the padded rows of a model have names too, in a file of their own. Were they in
tokenizer.json, as BERT's are, then "[MASK]" in a text would become an id that an exported model has no row for.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import regex  # type: ignore[import-untyped, unused-ignore]
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from pipeline.plaintext import read_lines
from pipeline.shards.outcomes import ConfigError, InputError, IntegrityError

Merge = tuple[bytes, bytes]
Ints = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int32]

END_OF_TEXT = "<|endoftext|>"
MERGES = ("vocab.bpe", "merges.txt")  # GPT-2's name of the file, and everybody else's
PAD_TO = 64  # a model's embedding has a multiple of it as rows: trainer/model.py
RESERVED = ("[MASK]", "[CLS]", "[SEP]", "[PAD]")  # for objectives that need them: Devlin et al. 2019, section 3
# GPT-2's encoder.py (github.com/openai/gpt-2, src/encoder.py) in the form that tiktoken gives it for r50k_base: the
# same pieces, but possessive, so that no text makes it backtrack over what is settled.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"  # one pre-token
_pattern = regex.compile(PATTERN)


def is_val(doc_id: str, share: float) -> bool:
    """Whether a document is held out for validation: `share` of all ids are, chosen by their BLAKE2b hash alone."""
    digest = hashlib.blake2b(doc_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def pre_tokens(text: str, longest: int) -> list[str]:
    """The pre-tokens of a text in order: joined, they are the text. None has more than `longest` characters.

    A longer one is cut every `longest` characters, so all of it counts but the pairs across the cuts.
    """
    words: list[str] = pieces_by_encoder(text) if has_newer_letters(text) else _pattern.findall(text)
    if len(text) <= longest or max(map(len, words)) <= longest:
        return words
    return [word[start : start + longest] for word in words for start in range(0, len(word), longest)]


def pieces_by_encoder(text: str) -> list[str]:
    """The pre-tokens of a text by the engine that encodes it, ten times as slow."""
    found = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    return [b"".join(bytes([BYTES[character]]) for character in piece).decode() for piece, _ in found]


def has_newer_letters(text: str) -> bool:
    """Whether a text holds one of the letters that `newer_letters` finds."""
    if text.isascii():
        return False
    plane_0, beyond = newer_letters()
    return plane_0.search(text) is not None or (max(text) > "\uffff" and not beyond.isdisjoint(text))


@lru_cache(maxsize=1)
def newer_letters() -> tuple[re.Pattern[str], frozenset[str]]:
    """The letters and numbers of `regex` that are newer than this Python, and perhaps than the encoders: those of the
    Basic Multilingual Plane, and those beyond.

    regex 2026.11 speaks Unicode 18, tokenizers 0.23.3 and tiktoken 0.14 Unicode 16: 17,480 code points that would be
    counted as words and then encoded as something else. This Python's own tables are older than all three.
    """
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    found = [letter for letter in regex.findall(r"[\p{L}\p{N}]", every) if unicodedata.category(letter) == "Cn"]
    plane_0 = "".join(letter for letter in found if letter <= "\uffff")
    return re.compile(f"[{plane_0}]" if plane_0 else r"(?!)"), frozenset(found) - frozenset(plane_0)


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character of each byte, in the order of its ids (`bytes_to_unicode` of its encoder.py)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


ALPHABET = byte_alphabet()
BYTES = {character: byte for byte, character in ALPHABET.items()}


def spelled(token: bytes) -> str:
    """A token in GPT-2's byte alphabet, as its files write it: b" the" is "Ġthe"."""
    return "".join(ALPHABET[byte] for byte in token)


def unspelled(token: str) -> bytes:
    """The bytes of a token in GPT-2's byte alphabet. Raises IntegrityError: a character that is not of it."""
    try:
        return bytes(BYTES[character] for character in token)
    except KeyError as error:
        raise IntegrityError(f"token {token!r}: {error} is not of GPT-2's byte alphabet") from None


def tokens_of(merges: Sequence[Merge]) -> list[bytes]:
    """The token of each id: 256 bytes in GPT-2's order, then one a merge. End-of-text comes after them."""
    return [bytes([byte]) for byte in ALPHABET] + [left + right for left, right in merges]


def vocabulary(merges: Sequence[Merge]) -> dict[str, int]:
    """Spelled token to id, end-of-text last: GPT-2's encoder.json."""
    tokens = [*map(spelled, tokens_of(merges)), END_OF_TEXT]
    return {token: place for place, token in enumerate(tokens)}


def reserved(vocab_size: int) -> dict[str, int]:
    """Name to id of the ids from `vocab_size` up to the padded size, for later objectives: no text ever becomes one.

    First RESERVED, then `<|reserved_0|>` and so on; as many as there is room for, none for a multiple of PAD_TO.
    """
    room = -vocab_size % PAD_TO
    names = [*RESERVED, *(f"<|reserved_{number}|>" for number in range(room))]
    return {name: vocab_size + place for place, name in enumerate(names[:room])}


def parse_merges(lines: Iterable[str]) -> list[Merge]:
    """Merges of the lines of a merges.txt (GPT-2's vocab.bpe): one pair a line, best first; `#version` is skipped."""
    pairs = [line.split() for line in lines if line.strip() and not line.startswith("#version")]
    if not pairs:
        raise IntegrityError("merges: there are none")
    wrong = [pair for pair in pairs if len(pair) != 2]
    if wrong:
        raise IntegrityError(f"merges: expected two tokens a line, got {wrong[0]!r}")
    return [(unspelled(left), unspelled(right)) for left, right in pairs]


def read_merges(path: Path) -> list[Merge]:
    """The merges in a file, or in a folder under one of the usual names. Raises InputError: there are none."""
    candidates = [path] if path.is_file() else [path / name for name in MERGES if (path / name).is_file()]
    if not candidates:
        raise InputError(f"{path}: no merges; expected a file, or a folder with {' or '.join(MERGES)}")
    try:
        return parse_merges(read_lines(candidates[0]))
    except (OSError, UnicodeDecodeError, IntegrityError) as error:
        raise InputError(f"{candidates[0]}: not the merges of a byte-level BPE ({error})") from None


def pieces_of(words: Sequence[bytes], merges: Sequence[Merge]) -> Ints:
    """Into how many tokens each word falls, by the encoder itself."""
    pairs = [(spelled(left), spelled(right)) for left, right in merges]
    alone = Tokenizer(models.BPE(vocab=vocabulary(merges), merges=pairs))  # no pre-tokeniser: a word is one already
    return np.array([len(encoding.ids) for encoding in alone.encode_batch(list(map(spelled, words)))], np.int64)


def files_of(merges: Sequence[Merge]) -> dict[str, bytes]:
    """The files any tool reads, by name.

    `tokenizer.json` with `tokenizer_config.json` (Hugging Face), `vocab.json` and `merges.txt` (GPT-2),
    `tokenizer.tiktoken` (ranks: a token in base64 and its id a line, without end-of-text), and `reserved.json`.
    """
    pairs = [(spelled(left), spelled(right)) for left, right in merges]
    ids = vocabulary(merges)
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    ranks = [base64.b64encode(token) + b" %d\n" % place for place, token in enumerate(tokens_of(merges))]
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    config |= dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)  # as GPT-2's own in `transformers`
    return {
        "tokenizer.json": tokenizer.to_str(pretty=True).encode() + b"\n",
        "tokenizer_config.json": json.dumps(config, indent=1).encode() + b"\n",
        "vocab.json": json.dumps(ids, ensure_ascii=False).encode() + b"\n",
        "merges.txt": "".join(["#version: 0.2\n", *(f"{left} {right}\n" for left, right in pairs)]).encode(),
        "tokenizer.tiktoken": b"".join(ranks),
        "reserved.json": json.dumps(reserved(len(ids)), indent=1).encode() + b"\n",
    }


def learn(words: Sequence[bytes], counts: Ints, vocab_size: int, min_count: int) -> tuple[list[Merge], Ints]:
    """Merges of the most frequent pair, again and again, and into how many tokens each word falls in the end.

    `words` are distinct, `counts` int64, one a word. The vocabulary (256 bytes, merges, end-of-text) grows to
    `vocab_size`, or less when no pair is left that occurs `min_count` times. Of equally frequent pairs the one with
    the smaller ids goes first, as in `tokenizers`; so the order of the words does not matter.
    Raises ConfigError: the words are too many to number.
    """
    text = Text.of(words, counts)
    for symbol in range(256, vocab_size - 1):
        pair = text.pop_most_frequent(min_count)
        if pair is None:
            break
        text.merge(pair, symbol, min_count)
    live = text.word[text.symbol >= 0]
    return text.merges(), np.bincount(live, minlength=len(words)).astype(np.int64)


@dataclass
class Text:
    """All distinct words end to end as symbols, and where each pair of neighbours occurs, while merges are applied.

    A pair (a, b) is the key a << 32 | b. It comes into being in one step only, when the later of its symbols does,
    and afterwards its count can only fall: so one array of places a pair is enough, places that are gone are seen
    when they are visited, and a pair below the least count is forgotten for good.
    """

    symbol: Positions  # at each position; -1 between words and where a merge swallowed one
    left: Positions  # position of the neighbour
    right: Positions
    word: Positions  # which word a position belongs to
    counts: Ints  # of each word
    pairs: dict[int, int] = field(default_factory=dict)  # key to count
    places: dict[int, Positions] = field(default_factory=dict)  # key to positions, ascending
    heap: list[tuple[int, int]] = field(default_factory=list)  # (-count, key); counts may be out of date, too high
    parents: list[tuple[int, int]] = field(default_factory=list)  # of symbol 256, 257, …

    @classmethod
    def of(cls, words: Sequence[bytes], counts: Ints) -> Text:
        """The words as single bytes, with the pairs they start from. Raises ConfigError: over 2^31 bytes."""
        lengths = np.fromiter(map(len, words), np.int64, len(words)) + 1
        size = int(lengths.sum()) + 1
        if size >= 2**31:
            raise ConfigError(f"tokenizer: {size} bytes of distinct words; at most 2^31 can be learnt from")
        ids = np.full(256, -1, np.int32)
        ids[list(ALPHABET)] = np.arange(256)
        raw = np.frombuffer(b"\0" + b"\0".join([*words, b""]), np.uint8)[:size]
        symbol = ids[raw]
        symbol[np.concatenate([[0], np.cumsum(lengths)])] = -1  # the joints; a word may hold NUL itself
        word = np.zeros(size, np.int32)
        word[1:] = np.repeat(np.arange(len(words), dtype=np.int32), lengths)
        position = np.arange(size, dtype=np.int32)
        text = cls(symbol, position - 1, position + 1, word, counts)
        starts = np.flatnonzero((symbol[:-1] >= 0) & (symbol[1:] >= 0)).astype(np.int32)
        text.add(keys(symbol[starts], symbol[starts + 1]), starts, 1)
        return text

    def add(self, made: Ints, positions: Positions, min_count: int) -> None:
        """Take in pairs that came into being: their keys, and the positions of their left symbols, ascending a key."""
        for key, count, where in grouped(made, self.counts[self.word[positions]], positions):
            if count >= min_count:
                self.pairs[key] = count
                self.places[key] = where
                heapq.heappush(self.heap, (-count, key))

    def drop(self, broken: Ints, positions: Positions) -> None:
        """Take out pairs that a merge broke."""
        for key, count, _ in grouped(broken, self.counts[self.word[positions]], positions):
            if key in self.pairs:
                self.pairs[key] -= count

    def pop_most_frequent(self, min_count: int) -> int | None:
        """The key of the most frequent pair, if it occurs `min_count` times; of equals the smallest."""
        while self.heap:
            stale, key = heapq.heappop(self.heap)
            count = self.pairs[key]
            if count == -stale and count >= min_count:
                return key
            if count >= min_count:
                heapq.heappush(self.heap, (-count, key))
            else:
                del self.pairs[key], self.places[key]
        return None

    def merge(self, key: int, new: int, min_count: int) -> None:
        """Replace the pair by the symbol `new` wherever it stands, from left to right."""
        first, second = key >> 32, key & 0xFFFF_FFFF
        at = self.occurrences(key, first, second)
        swallowed = self.right[at]
        after = self.right[swallowed]
        ends = self.symbol[after] >= 0
        broken = keys(np.full(ends.sum(), second), self.symbol[after[ends]])
        self.symbol[swallowed] = -1  # a left neighbour that is swallowed too: its pair was counted as `broken`
        begins = self.symbol[self.left[at]] >= 0
        before = keys(self.symbol[self.left[at[begins]]], np.full(begins.sum(), first))
        self.drop(np.concatenate([broken, before]), np.concatenate([at[ends], at[begins]]))

        self.symbol[at] = new
        self.right[at] = after
        self.left[after] = at
        before_at = self.left[at]
        before_at = before_at[self.symbol[before_at] >= 0]
        followed = at[(self.symbol[after] >= 0) & (self.symbol[after] != new)]  # (new, new) is met from its right
        made = np.concatenate(
            [
                keys(self.symbol[before_at], np.full(len(before_at), new)),
                keys(np.full(len(followed), new), self.symbol[self.right[followed]]),
            ]
        )
        self.add(made, np.concatenate([before_at, followed]), min_count)
        self.parents.append((first, second))

    def occurrences(self, key: int, first: int, second: int) -> Positions:
        """Positions where the pair still stands, none overlapping another: of "aaa" the first two are (a, a)."""
        del self.pairs[key]
        listed = self.places.pop(key)
        at: Positions = listed[(self.symbol[listed] == first) & (self.symbol[self.right[listed]] == second)]
        if first != second:
            return at
        chained = np.concatenate([[False], at[1:] == self.right[at[:-1]]])
        index = np.arange(len(at))
        run_start = np.maximum.accumulate(np.where(chained, 0, index))
        alone: Positions = at[(index - run_start) % 2 == 0]
        return alone

    def merges(self) -> list[Merge]:
        """The merges so far, in order, as bytes."""
        tokens = [bytes([byte]) for byte in ALPHABET]
        for first, second in self.parents:
            tokens.append(tokens[first] + tokens[second])
        return [(tokens[first], tokens[second]) for first, second in self.parents]


def keys(first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]) -> Ints:
    """One int64 a pair; their order is the order of (first, second)."""
    return (first.astype(np.int64) << 32) | second.astype(np.int64)


def grouped(pairs: Ints, weights: Ints, positions: Positions) -> Iterable[tuple[int, int, Positions]]:
    """(key, sum of weights, positions) of each distinct key; positions keep their order."""
    if not len(pairs):
        return []
    order = np.argsort(pairs, kind="stable")
    ordered, positions = pairs[order], positions[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sums = np.add.reduceat(weights[order], starts)
    stops = [*starts[1:].tolist(), len(pairs)]
    return [
        (key, total, positions[start:stop])
        for key, total, start, stop in zip(ordered[starts].tolist(), sums.tolist(), starts.tolist(), stops, strict=True)
    ]
