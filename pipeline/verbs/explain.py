"""A page's whole life: one line a stage, from what the artefacts say.

Choice: it reads the shards that hold the doc_id and nothing else, so the thresholds shown are the ones that decided.
Cost: a scan of one column of each shard. Alternative: an index of doc_ids, to be kept in step with every build.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from pipeline import urls
from pipeline.build import STAGES, artefact
from pipeline.shards import schemas
from pipeline.shards.outcomes import InputError
from pipeline.shards.receipts import Artefact

SHOWN = {
    "links": ("score", "created", "submissions", "host_shards", "outcome"),
    "pages": ("final_url", "status", "content_type", "warc", "offset", "length", "sha256", "opt_outs", "outcome"),
    "documents": ("title", "engine", "language", "language_score", "word_count", "outcome"),
    "corpus": ("title", "words", "score", "subreddits"),
    "removed": ("outcome", "rule", "value", "threshold", "keeper"),
}


def explain(root: Path, shards: int, url: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(stage, what its row says) for each artefact that is made and knows the URL, in order.

    Raises InputError: not a URL, or no link of the working directory.
    """
    try:
        doc_id = urls.doc_id(urls.canonical_url(url))
    except urls.BadUrl as error:
        raise InputError(f"{url}: {error}") from None
    found = False
    for stage in STAGES[:4]:
        one = artefact(root, stage, shards)
        if one.done() < shards:
            break
        for part in ("", "removed") if stage == "corpus" else ("",):
            row = row_of(one, doc_id, part)
            if row is not None:
                found = True
                yield part or stage, {name: row.get(name) for name in SHOWN[part or stage]}
    if not found:
        raise InputError(f"{url}: no submission in {root} links to it (looked for {urls.canonical_url(url)})")


def row_of(one: Artefact, doc_id: str, part: str) -> dict[str, Any] | None:
    """The row of a document in an artefact, or None."""
    for shard in range(one.shards):
        path = one.file(shard, ".parquet", part)
        ids = schemas.read_parquet(path, ["doc_id"])["doc_id"]
        place = pc.index(ids, doc_id).as_py()
        if place >= 0:
            row: dict[str, Any] = schemas.read_parquet(path).slice(place, 1).to_pylist()[0]
            return row
    return None
