"""corpus → tokenizer: count pre-tokens everywhere, learn merges in one place.

Choice: shards exchange exact counts of pre-tokens, never text, and only documents of the training split are counted.
The table that merges are learnt from has a limit in bytes; above it the rarest words go, all of one count together, so
that what stays depends on the corpus alone. Cost: one more reading of the corpus. Alternative: learn from a sample of
the text, as most do, which is simpler and never quite the vocabulary of the corpus.

Once learnt, a vocabulary stays while its settings do (`tokenizer.keep`), whatever the corpus gains: with another one
every token would have to be made anew, and no model could go on. Cost: it hangs on what the corpus was when it was
learnt first, the one artefact that does; `keep = false` learns it of what the corpus is.

Published merges (`tokenizer.merges`) are taken as they are, so that published weights can be trained on and compared;
the counts then only say how they fit.

A vocabulary may be too large for its corpus: what is seldom seen is hardly learnt. The rule of thumb is that of Gowda
and May 2020 (doi.org/10.18653/v1/2020.findings-emnlp.352), found with Transformers that translate: the largest BPE
vocabulary of which 95 % have 100 or more examples in training; here of the merges alone, since the 256 bytes are there
whatever the text. A larger one is made as it was asked for, with a note that says which would do.
"""

from __future__ import annotations

import glob
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from pipeline.config import Settings, slice_of
from pipeline.counts import counted
from pipeline.shards import inputs, progress, receipts, schemas, storage
from pipeline.shards.receipts import Artefact, Manifest, Task
from pipeline.shards.runner import HEAVY_S, Run
from pipeline.text import bpe

VERSION = 2
LIBRARIES = ("numpy", "pyarrow", "regex", "tokenizers", "unicode")
REPORT = "report.json"
FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.tiktoken",
    "reserved.json",
    REPORT,
)

LONGEST = 256  # characters of a pre-token; longer ones are cut. GPT-2's longest token has 128 bytes
MOST_WORDS = 1_000_000  # distinct words held before they are sent on, or added up: about 150 MB
SEEN, SEEN_SHARE = 100, 0.95  # so often each, and so much of the merges: Gowda and May 2020
LEAST_MERGES = 500  # of a vocabulary that is still suggested
ENCODED_AT_ONCE = 100_000  # distinct words
COUNTED_S = 180e-9  # CPU s a byte of corpus as it lies: 80 ns a byte of text (bench_plan.py)
TABLE_BYTES = 64_000_000  # of the words that merges are learnt from; learning takes 50 to 90 bytes a byte

MAKING = "making"  # in the manifest: the fingerprint of the vocabulary without that of the text
KEPT = (
    "the vocabulary is kept, though the corpus has changed since it was learnt, so tokens and models stay good; to "
    "learn it anew: webtext build --set tokenizer.keep=false"
)

WORDS = pa.schema([pa.field("word", pa.binary()), pa.field("count", pa.int64())])


@dataclass(frozen=True)
class Pruned:
    """What the limit of the table cost: the least count that stayed, distinct words gone, and how often they occur."""

    least_count: int
    words: int
    occurrences: int


def stage(settings: Settings, work: Path, run: Run) -> Manifest:
    """The vocabulary in the files of `bpe.files_of`, and `report.json`; made anew if the training text has changed."""
    shards = settings.build.shards
    corpus, words = Artefact(work, "corpus", shards), Artefact(work, "scratch/words", shards)
    tokenizer = Artefact(work, "tokenizer", 1)
    share = settings.tokens.val_share
    # as they are now: to learn anew has to forget what was removed
    texts = [corpus.contents(shard)[corpus.file_name(shard, ".parquet")] for shard in range(shards)]
    limits = [LONGEST, TABLE_BYTES, share]
    published = published_merges(settings, work)
    sources = [*texts, *published.values()]
    mark = receipts.fingerprint("tokenizer", VERSION, [chosen(settings), limits], sources, LIBRARIES)
    making = receipts.fingerprint("tokenizer", VERSION, [chosen(settings), limits], [*published.values()], LIBRARIES)
    used = {**chosen(settings), MAKING: making}
    stands = standing(tokenizer, making) if settings.tokenizer.keep else ""
    tasks = tokenizer.begin([stands or mark])
    if tasks:
        counted = receipts.fingerprint("words", VERSION, [LONGEST, share], texts, LIBRARIES)
        unmade = words.begin([counted] * shards)
        progress.expect(corpus.kept(range(shards), "corpus"), noun="documents")
        scatter, gather = partial(scatter_shard, corpus, share, shards), partial(gather_shard, words)
        run.exchange(scatter, range(shards), gather, unmade, heavy=corpus.bytes() * COUNTED_S > HEAVY_S)
        progress.begin(progress.Phase(tokenizer.name, makes=True, before=progress.counts()))
        run.map_shards(partial(learn_shard, settings, next(iter(published), None), words, tokenizer), tasks)
    kept = stands not in ("", mark)
    if kept:  # nobody asks for the words of a text that has changed, and what went out of it is to stand nowhere
        words.drop_others()
    return tokenizer.finish(used, LIBRARIES, [corpus], notes=[KEPT] if kept else ())


def standing(tokenizer: Artefact, making: str) -> str:
    """The fingerprint of the vocabulary that stands whole, made as it would be today but for the text; "" of none."""
    manifest, receipt = tokenizer.manifest(), tokenizer.receipt(0)
    if manifest is None or receipt is None or manifest.settings.get(MAKING) != making:
        return ""
    return receipt.fingerprint if tokenizer.holds(receipt.files) else ""


def chosen(settings: Settings) -> dict[str, Any]:
    """The settings that decide the vocabulary: of published merges their contents do, wherever they lie."""
    found = slice_of(settings.tokenizer)
    del found["merges"], found["keep"]
    return {} if settings.tokenizer.merges else found


def published_merges(settings: Settings, work: Path) -> dict[Path, str]:
    """The file of published merges, if the settings name one, with its sha256. Raises InputError: there is none."""
    if not settings.tokenizer.merges:
        return {}
    paths = inputs.matching([glob.escape(settings.tokenizer.merges)], work, "tokenizer.merges")
    return inputs.sha256_of_each(paths, work / inputs.HASHES)


def scatter_shard(corpus: Artefact, share: float, partitions: int, shard: int) -> Iterator[schemas.Block]:
    """The blocks of counts of one corpus shard."""
    yield from scatter_counts(training_texts(corpus.file(shard, ".parquet"), share), partitions, LONGEST, MOST_WORDS)


def training_texts(path: Path, share: float) -> Iterator[str]:
    """The texts of a corpus shard that are not held out for validation."""
    for batch in schemas.iterate_parquet(path, ["doc_id", "text"], rows=1_000):
        for doc_id, text in zip(batch.column("doc_id").to_pylist(), batch.column("text").to_pylist(), strict=True):
            if not bpe.is_val(doc_id, share):
                yield text
        progress.advance(progress.ROWS, batch.num_rows)


def scatter_counts(texts: Iterable[str], partitions: int, longest: int, most_words: int) -> Iterator[schemas.Block]:
    """(partition, block of WORDS) with the counts of all pre-tokens; memory holds little over `most_words` of them.

    A word belongs to the partition of its CRC-32, and may come in several blocks.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(bpe.pre_tokens(text, longest))
        if len(counts) >= most_words:
            yield from packed(counts, partitions)
            counts.clear()
    yield from packed(counts, partitions)


def packed(counts: Counter[str], partitions: int) -> Iterator[schemas.Block]:
    """Counts as Arrow blocks, each for the partition of its words."""
    words = [word.encode() for word in counts]
    table = pa.table([words, list(counts.values())], schema=WORDS)
    yield from schemas.scatter(table, [zlib.crc32(word) % partitions for word in words])


def gather_counts(blocks: Iterable[pa.Table], most_words: int) -> pa.Table:
    """WORDS, one row a word in the order of their bytes, with the sum of its counts, whatever the order of blocks.

    Memory holds the distinct words and `most_words` rows that are not added up yet.
    """
    total, waiting, rows = WORDS.empty_table(), [], 0
    for block in blocks:
        waiting.append(schemas.unpack([block], WORDS))
        rows += waiting[-1].num_rows
        if rows >= most_words:
            total, waiting, rows = summed([total, *waiting]), [], 0
    return summed([total, *waiting]).sort_by("word").combine_chunks()


def summed(tables: Sequence[pa.Table]) -> pa.Table:
    """One row a word."""
    groups = pa.concat_tables(tables).group_by("word").aggregate([("count", "sum")])
    return groups.select(["word", "count_sum"]).rename_columns(["word", "count"])


def gather_shard(words: Artefact, task: Task, blocks: Iterable[pa.Table]) -> None:
    """Keep the counts of one partition."""
    table = gather_counts(blocks, MOST_WORDS)
    with words.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            schemas.write_parquet(file, [table], WORDS)
        attempt.rows(".parquet", table.num_rows)
        attempt.commit({})


def most_frequent(tables: Callable[[], Iterable[pa.Table]], limit_bytes: int) -> tuple[pa.Table, Pruned]:
    """The words of all partitions, sorted, without the rarest if their bytes (and 1 a word) exceed the limit.

    All words of one count stay or go together. `tables` is called twice.
    """
    sizes: Counter[int] = Counter()
    for table in tables():
        counts, places = np.unique(table["count"].to_numpy(), return_inverse=True)
        lengths = pc.binary_length(table["word"]).to_numpy().astype(np.int64) + 1
        for count, size in zip(counts.tolist(), np.bincount(places, lengths).tolist(), strict=True):
            sizes[count] += int(size)
    least, left = 1, sum(sizes.values())
    for count in sorted(sizes):
        if left <= limit_bytes:
            break
        least, left = count + 1, left - sizes[count]
    kept, words, occurrences = [WORDS.empty_table()], 0, 0
    for table in tables():
        rare = pc.less(table["count"], least)
        words += pc.sum(rare).as_py() or 0
        occurrences += pc.sum(table.filter(rare)["count"]).as_py() or 0
        kept.append(table.filter(pc.invert(rare)))
    return pa.concat_tables(kept).sort_by("word").combine_chunks(), Pruned(least, words, occurrences)


def learn_shard(settings: Settings, published: Path | None, words: Artefact, tokenizer: Artefact, task: Task) -> None:
    """Learn the merges, or take published ones, and write the files."""
    vocab_size, min_count = settings.tokenizer.vocab_size, settings.tokenizer.min_count
    table, pruned = most_frequent(partial(partition_tables, words), TABLE_BYTES)
    spellings, counts = table["word"].to_pylist(), table["count"].to_numpy()
    if published is None:
        merges, pieces = bpe.learn(spellings, counts, vocab_size, min_count)
    else:
        merges = bpe.read_merges(published)
        pieces = bpe.pieces_of(spellings, merges)
        vocab_size = 256 + len(merges) + 1
    found = report(spellings, counts, pieces, len(merges), pruned)
    found |= {"vocab_size_asked": vocab_size, "val_share": settings.tokens.val_share}
    files = bpe.files_of(merges) | {REPORT: json.dumps(found, indent=1).encode() + b"\n"}
    with tokenizer.attempt(task) as attempt:
        for name in FILES:
            with storage.writing(tokenizer.folder / name) as file:  # names that other tools look for, not a shard's
                attempt.files[name] = (file, 0)
                file.write(files[name])
        attempt.commit({}, [*notes(found), *(too_large(spellings, counts, merges) if published is None else ())])


def partition_tables(words: Artefact) -> Iterator[pa.Table]:
    """The counts of each partition."""
    for shard in range(words.shards):
        yield schemas.read_parquet(words.file(shard, ".parquet"))


def seen_often(words: Sequence[bytes], counts: npt.NDArray[np.int64], merges: Sequence[bpe.Merge]) -> int:
    """How many of the merges are tokens of the text at least SEEN times, when these are all there are."""
    encoder = Tokenizer.from_buffer(bpe.files_of(merges)["tokenizer.json"])
    occurrences = np.zeros(256 + len(merges) + 1, np.int64)
    for start in range(0, len(words), ENCODED_AT_ONCE):
        batch = slice(start, start + ENCODED_AT_ONCE)
        found = [encoding.ids for encoding in encoder.encode_batch([word.decode() for word in words[batch]])]
        np.add.at(occurrences, np.concatenate(found).astype(np.int64), np.repeat(counts[batch], list(map(len, found))))
    return int(np.count_nonzero(occurrences[256:-1] >= SEEN))


def too_large(words: Sequence[bytes], counts: npt.NDArray[np.int64], merges: Sequence[bpe.Merge]) -> Iterator[str]:
    """A note where too few of the merges are seen often, with the size that would do."""
    often = seen_often(words, counts, merges)
    if often >= SEEN_SHARE * len(merges):
        return
    mend = advice(largest_fitting(words, counts, merges))
    yield (
        f"{len(merges) - often:,} of {len(merges):,} merges are seen fewer than {SEEN} times in the training text, so "
        f"a model will hardly learn them: the vocabulary is too large for this corpus; {mend}"
    )


def largest_fitting(words: Sequence[bytes], counts: npt.NDArray[np.int64], merges: Sequence[bpe.Merge]) -> int:
    """How many of the merges fit the text, the most to within 2 %, found by halving; 0 where LEAST_MERGES are too many.

    The first merges of a vocabulary are those of a smaller one, so nothing is learnt again.
    """

    def fits(size: int) -> bool:
        return seen_often(words, counts, merges[:size]) >= SEEN_SHARE * size

    low, high = min(LEAST_MERGES, len(merges)), len(merges)
    if not fits(low):
        return 0
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def advice(merges: int) -> str:
    """What to do about a vocabulary that is too large where so many merges would fit: what a plan says too."""
    if merges < LEAST_MERGES:
        return "the corpus is too small for any; it needs more text"
    return f"tokenizer.vocab_size = {256 + merges + 1} would do"


def report(
    words: Sequence[bytes], counts: npt.NDArray[np.int64], pieces: npt.NDArray[np.int64], merges: int, pruned: Pruned
) -> dict[str, Any]:
    """How the vocabulary fits the text it was learnt from; a word is a pre-token with a letter or a number."""
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    texts = [word.decode() for word in words]
    is_word = np.fromiter((any(map(str.isalnum, text)) for text in texts), np.bool_, len(words))
    is_longest = np.fromiter((len(text) == LONGEST for text in texts), np.bool_, len(words))
    tokens, in_words = int(counts @ pieces), int(counts[is_word].sum())
    return {
        "vocab_size": 256 + merges + 1,
        "merges": merges,
        "end_of_text": 256 + merges,
        "reserved": len(bpe.reserved(256 + merges + 1)),  # ids with names in reserved.json, above the vocabulary
        "distinct_pre_tokens": len(words),
        "pre_tokens": int(counts.sum()),
        "tokens": tokens,
        "bytes_per_token": ratio(int(counts @ lengths), tokens),
        "tokens_per_word": ratio(int((counts * pieces)[is_word].sum()), in_words),
        "words_kept_whole": ratio(int(counts[is_word & (pieces == 1)].sum()), in_words),
        "cut_pre_tokens": int(counts[is_longest].sum()),  # pieces as long as a pre-token may be
        "pruned_below_count": pruned.least_count,
        "pruned_distinct_pre_tokens": pruned.words,
        "pruned_pre_tokens": pruned.occurrences,
    }


def ratio(part: int, whole: int) -> float | None:
    """`part / whole` to 4 places; None of nothing."""
    return round(part / whole, 4) if whole else None


def notes(found: dict[str, Any]) -> Iterator[str]:
    """What the reader of the manifest should know, if anything."""
    if found["vocab_size"] < found["vocab_size_asked"]:
        yield (
            f"vocabulary of {found['vocab_size']:,} instead of {found['vocab_size_asked']:,}: "
            "no other pair is frequent enough in the training text"
        )
    if found["pruned_distinct_pre_tokens"]:
        yield (
            "left out of what merges were learnt from, to bound memory: "
            f"{counted(found['pruned_distinct_pre_tokens'], 'distinct pre-token')} that occur less than "
            f"{found['pruned_below_count']} times ({counted(found['pruned_pre_tokens'], 'occurrence')})"
        )
