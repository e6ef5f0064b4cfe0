"""The links that are kept, as `pages` asks of them: what each is fetched by, hosts in pieces, and what it may not be.

Choice: a list a shard, read anew wherever it is asked. Cost: four columns of a shard are read for it. Alternative: hand
links on from phase to phase, which would carry them through every shuffle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.compute as pc

from pipeline.config import Settings
from pipeline.shards import inputs, schemas
from pipeline.shards.outcomes import Outcome
from pipeline.shards.receipts import Artefact
from pipeline.shards.removals import Refusals, Removals
from pipeline.submissions.decide import list_file
from pipeline.urls import HostList

SPLITS = "scratch/splits-of-links.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept link."""

    doc_id: str
    url: str
    fetch_url: str
    host: str
    created: int | None  # when it was posted first, seconds since 1970
    score: int | None = None  # karma


def kept_links(links: Artefact, shard: int) -> list[Kept]:
    """The kept links of a shard, by url."""
    columns = ["doc_id", "url", "fetch_url", "host", "created", "score", "outcome"]
    table = schemas.read_parquet(links.file(shard, ".parquet"), columns)
    kept = table.filter(pc.equal(table["outcome"], str(Outcome.KEPT))).drop_columns(["outcome"]).sort_by("url")
    return [Kept(**row) for row in kept.to_pylist()]


def splits_of(links: Artefact) -> dict[str, int]:
    """Hosts that are spread over several shards, and over how many; looked up once for a state of all links."""
    return inputs.remembered(links.root / SPLITS, links.mark(), partial(spread, links), dict[str, int])


def spread(links: Artefact) -> dict[str, int]:
    """The same, read from all shards."""
    splits: dict[str, int] = {}
    for shard in range(links.shards):
        table = schemas.read_parquet(links.file(shard, ".parquet"), ["host", "host_shards"])
        spread = table.filter(pc.greater(table["host_shards"], 1))
        splits.update(zip(spread["host"].to_pylist(), spread["host_shards"].to_pylist(), strict=True))
    return dict(sorted(splits.items()))


def refusals_of(settings: Settings, work: Path) -> Refusals:
    """What no page may be of, nor be led to by. Raises InputError: a list that is none."""
    domains = list_file(work, settings.links.blocked_domains)
    return Refusals(Removals.of(work), HostList.from_file(domains) if domains else HostList(frozenset()))
