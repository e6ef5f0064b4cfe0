"""Coverage: how many pages were found, by the year in which their links were posted, and where.

Choice: counted anew from the shards of links and pages, two columns of each, whenever somebody asks. Cost: a second or
two a million links. Alternative: a column of pages, to be kept in step with what it can be counted from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.build import artefact
from pipeline.fetch import archive, segments
from pipeline.shards import schemas
from pipeline.shards.outcomes import Outcome

PLACES = ("warc", "commoncrawl", "crawl")


@dataclass(frozen=True)
class Year:
    """The links posted in one year (UTC; None where nobody knows when), and how many pages each place gave."""

    year: int | None
    links: int
    found: dict[str, int]

    @property
    def percent(self) -> float:
        """The share of links whose page was found."""
        return 100 * sum(self.found.values()) / self.links


def coverage(root: Path, shards: int) -> Iterator[Year]:
    """One row a year, those of unknown time last. Raises IntegrityError: links or pages are not whole."""
    links: Counter[int | None] = Counter()
    found: Counter[tuple[int | None, str]] = Counter()
    for shard in range(shards):
        posted = kept(root, shards, "links", shard, "created")
        pages = kept(root, shards, "pages", shard, "warc")
        years = [year_of(created) for created in posted["created"].to_pylist()]
        links.update(years)
        by_doc = dict(zip(posted["doc_id"].to_pylist(), years, strict=True))
        places = zip(pages["doc_id"].to_pylist(), pages["warc"].to_pylist(), strict=True)
        found.update((by_doc[doc], place_of(warc)) for doc, warc in places)
    for year in sorted(links, key=lambda known: (known is None, known)):
        yield Year(year, links[year], {place: found[year, place] for place in PLACES})


def kept(root: Path, shards: int, stage: str, shard: int, column: str) -> pa.Table:
    """doc_id and one more column of the kept rows of a shard."""
    path = artefact(root, stage, shards).file(shard, ".parquet")
    table = schemas.read_parquet(path, ["doc_id", column, "outcome"])
    return table.filter(pc.equal(table["outcome"], str(Outcome.KEPT)))


def year_of(created: int | None) -> int | None:
    """The year of a time in seconds since 1970; None for none."""
    return datetime.fromtimestamp(created, UTC).year if created else None


def place_of(warc: str) -> str:
    """Where a page came from, told by its file: what is neither crawled nor Common Crawl's is a file that existed."""
    return {segments.FOLDER: "crawl", archive.FOLDER: "commoncrawl"}.get(warc.partition("/")[0], "warc")
