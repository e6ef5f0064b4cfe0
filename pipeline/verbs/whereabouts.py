"""Look-up of the shard in which a link lies, and with it all that was made of it; and of that of a copy's keeper.

Choice: what is known is asked first. A link's shard follows from its host, and over how many shards a large host is
spread stands in each of its rows; what lies elsewhere (a link that was removed has no host any more) is looked for
everywhere. Cost: one shard is opened where the link is known, all of them where it is not. Alternative: an index, to be
kept in step with every build.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import urls
from pipeline.shards import schemas
from pipeline.shards.outcomes import WebTextError
from pipeline.shards.receipts import Artefact


def shard_of_link(links: Artefact, host: str, doc_id: str) -> int | None:
    """The shard of a link; None where there is no such link. `host`: of its address, "" where nobody knows it."""
    for shard in likely(links, host, doc_id):
        ids = schemas.read_parquet(links.file(shard, ".parquet"), ["doc_id"])["doc_id"]
        if pc.index(ids, doc_id).as_py() >= 0:
            return shard
    return None


def likely(links: Artefact, host: str, doc_id: str) -> Iterator[int]:
    """All shards that are made, the one in which a link of a known host must be first."""
    first = -1
    home = urls.shard_of(host, doc_id, links.shards, {})
    if host and links.receipt(home) is not None:
        table = schemas.read_parquet(links.file(home, ".parquet"), ["host", "host_shards"])
        spread = table.filter(pc.equal(table["host"], host))["host_shards"]
        first = urls.shard_of(host, doc_id, links.shards, {host: spread[0].as_py() if len(spread) else 1})
        if links.receipt(first) is not None:
            yield first
    yield from (shard for shard in range(links.shards) if shard != first and links.receipt(shard) is not None)


def shards_of_keeper(root: Path, shards: int, doc_id: str, shard: int | None) -> list[int]:
    """The shards in which the keeper of a document may stand, likeliest first: by what the deduplication noted, then
    all. `shard`: of the document; None where nobody knows it.
    """
    found: list[int] = []
    with suppress(WebTextError):  # scratch may be gone
        if shard is not None:
            votes = table_of(root, "votes", shards, shard, "doc_id", "row")
            node = (shard << 32) + int(votes["row"][pc.index(votes["doc_id"], doc_id).as_py()].as_py())
            for phase, parts, part in (("lost", shards, shard), ("removals", 1, 0)):  # of a copy, then of its keeper
                gone = table_of(root, phase, parts, part, "removed", "keeper")
                place = pc.index(gone["removed"], pa.scalar(node, pa.uint64())).as_py()
                if place >= 0:
                    node = gone["keeper"][place].as_py()
                    found.insert(0, node >> 32)
    ours = (place for place in found if place < shards)  # those from there on are other corpora's
    return list(dict.fromkeys([*ours, *range(shards)]))


def table_of(root: Path, phase: str, parts: int, part: int, *columns: str) -> pa.Table:
    """Columns of one part of a phase of the corpus. Raises IntegrityError: it is not there."""
    return schemas.read_parquet(Artefact(root, f"scratch/{phase}", parts).file(part, ".parquet"), columns)
