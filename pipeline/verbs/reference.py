"""The n-grams of a dump of Wikipedia, once, in a file that many builds can use.

Choice: a file that `corpus.wikipedia_reference` names, a sample where all n-grams are too many to hold. Cost: one core
reads 0.9 MB of article text a second, nine hours for the English Wikipedia. Alternative: `corpus.wikipedia_dumps`,
which makes the same inside a working directory, whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from pipeline.shards import progress, storage
from pipeline.text import overlap


def write_reference(dumps: Sequence[Path], file: Path, sample: int) -> tuple[int, int]:
    """Write the n-grams of the articles of `dumps`, one in `sample`; how many they are, and the bytes of the file.

    Raises InputError: a dump is missing, truncated, or none.
    """
    sizes = sum(path.stat().st_size for path in dumps if path.is_file())
    with progress.phase("reference", sizes, progress.BYTES, "articles"):
        reference = overlap.wikipedia_reference(dumps, overlap.NGRAM, sample)
    with storage.atomic(file.absolute()) as out:
        reference.save(cast(BinaryIO, out))
    return len(reference.hashes), out.bytes
