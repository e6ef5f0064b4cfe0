"""How a vocabulary fits text that it was not learnt from: by language and by host, beside another vocabulary.

Choice: the held-out documents of the corpus, word by word, since what a vocabulary does to a word does not depend on
its neighbours; so each distinct word is encoded once. Cost: the distinct words of the held-out text are kept in memory.
Alternative: the training text, which the tokenizer's report.json tells of and which flatters every vocabulary.

Another vocabulary is read from its merges (GPT-2's are the vocab.bpe of its release); none comes with this package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.shards import progress, schemas
from pipeline.shards.outcomes import InputError, IntegrityError
from pipeline.shards.receipts import Artefact
from pipeline.text import bpe
from pipeline.text.encoder import Encoder
from pipeline.tokenizer import REPORT
from pipeline.tokens import TOKENIZER

COLUMNS = ("doc_id", "language", "host", "text")


@dataclass
class Fit:
    """What one vocabulary makes of some text: tokens in all, tokens of words, words that are one token."""

    tokens: int = 0
    word_tokens: int = 0
    whole_words: int = 0


@dataclass
class Group:
    """Some held-out text, and what each vocabulary makes of it. A word is a pre-token with a letter or a number."""

    name: str
    documents: int = 0
    bytes: int = 0
    words: int = 0
    fits: list[Fit] = field(default_factory=list)

    def tokens_per_word(self, place: int) -> float | None:
        """Fertility: 1.0 = every word is one token."""
        return self.fits[place].word_tokens / self.words if self.words else None

    def bytes_per_token(self, place: int) -> float | None:
        """UTF-8 bytes that a token stands for."""
        return self.bytes / self.fits[place].tokens if self.fits[place].tokens else None

    def words_kept_whole(self, place: int) -> float | None:
        """Share of words that are one token."""
        return self.fits[place].whole_words / self.words if self.words else None


def fertility(root: Path, beside: Path | None, hosts: int) -> list[Group]:
    """All held-out text of `root`, each language, and the `hosts` hosts with most of it; fits of ours, then `beside`.

    Raises IntegrityError: corpus or tokenizer are not built, or damaged. InputError: nothing is held out, or `beside`
    holds no merges.
    """
    vocabulary = Artefact(root, "tokenizer", 1)
    corpus, tokenizer = Artefact(root, "corpus", 1).manifest(), vocabulary.manifest()
    if corpus is None or tokenizer is None:
        raise IntegrityError(f"{root}: corpus and tokenizer are not whole; run 'webtext build tokenizer'")
    report, described = vocabulary.named(0, REPORT), vocabulary.named(0, TOKENIZER)
    share = json.loads(report.read_bytes())["val_share"]
    encoders = [Encoder.of(described.read_bytes(), tokenizer.files[TOKENIZER].sha256)]
    if beside is not None:
        encoders.append(Encoder.of(bpe.files_of(bpe.read_merges(beside))[TOKENIZER], ""))
    paths = Artefact(root, "corpus", corpus.shards).files(".parquet")
    with progress.phase(
        "fertility", sum(stamp.rows for name, stamp in corpus.files.items() if "/" not in name), noun="documents"
    ):
        groups = measured((row for path in paths for row in held_out(path, share)), encoders)
    if not groups:
        raise InputError(f"{root}: no document is held out at tokens.val_share = {share}; raise it and build again")
    by_size = sorted(groups.values(), key=lambda group: (-group.bytes, group.name))
    languages = [group for group in by_size if group.name.startswith("language ")]
    largest = [group for group in by_size if group.name.startswith("host ")][:hosts]
    return [groups["all"], *languages, *largest]


def held_out(path: Path, share: float) -> Iterator[tuple[str, str, str]]:
    """(language, host, text) of the validation documents of a corpus shard."""
    for batch in schemas.iterate_parquet(path, COLUMNS, rows=1_000):
        for doc_id, *row in zip(*(batch.column(name).to_pylist() for name in COLUMNS), strict=True):
            progress.advance(progress.ROWS)
            if bpe.is_val(doc_id, share):
                yield tuple(row)


def measured(documents: Iterator[tuple[str, str, str]], encoders: Sequence[Encoder]) -> dict[str, Group]:
    """The groups `all`, `language …` and `host …` of (language, host, text); none without documents."""
    groups: dict[str, Group] = {}
    known: dict[str, tuple[bool, list[int]]] = {}  # a pre-token: whether it is a word, and its tokens in each encoder
    for language, host, text in documents:
        document = Group("document", 1, len(text.encode()), 0, [Fit() for _ in encoders])
        for word in bpe.pre_tokens(text, len(text) or 1):
            if word not in known:
                known[word] = any(map(str.isalnum, word)), [len(encoder.encode(word)) for encoder in encoders]
            is_word, pieces = known[word]
            document.words += is_word
            for fit, count in zip(document.fits, pieces, strict=True):
                fit.tokens += count
                fit.word_tokens += count * is_word
                fit.whole_words += is_word and count == 1
        for name in ("all", f"language {language or 'unknown'}", f"host {host}"):
            add(groups.setdefault(name, Group(name, fits=[Fit() for _ in encoders])), document)
    return groups


def add(group: Group, document: Group) -> None:
    """Add a document to a group."""
    group.documents += document.documents
    group.bytes += document.bytes
    group.words += document.words
    for fit, more in zip(group.fits, document.fits, strict=True):
        fit.tokens += more.tokens
        fit.word_tokens += more.word_tokens
        fit.whole_words += more.whole_words
