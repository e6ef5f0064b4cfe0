"""How kept links end: what archives hold of them, and the rows of pages, as what is allowed today decides them.

Choice: functions of one shard, that the stage `pages` calls with and without a crawl. Cost: none. Alternative: all of
it in `pages`, which is about who is asked, and when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from pipeline.config import PagesSettings
from pipeline.fetch.pointers import Row, nowhere
from pipeline.fetch.shelf import Shelf
from pipeline.kept import Kept
from pipeline.shards import receipts, schemas, storage
from pipeline.shards.outcomes import Outcome
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.removals import Refusals

NOT_HELD = (Outcome.NOT_IN_WARC, Outcome.BAD_RECORD, Outcome.INCOMPLETE)  # of an archive


def shelf(pages: Artefact, shard: int) -> Shelf:
    """The segments of a shard."""
    return Shelf(pages.folder, storage.shard_name(shard, pages.shards, ""))


def found_ends(found: Artefact | None, shard: int) -> dict[str, Row]:
    """The rows of a shard that archives hold, by doc_id."""
    rows = schemas.read_parquet(found.file(shard, ".parquet")).to_pylist() if found else []
    return {row["doc_id"]: row for row in rows}


def missing(links: Iterable[Kept], ends: Mapping[str, Row]) -> list[Kept]:
    """The links that no archive holds, or only in part, or in a record that cannot be read: another source is asked."""
    return [link for link in links if link.doc_id not in ends or ends[link.doc_id]["outcome"] in NOT_HELD]


def obeyed(row: Row, settings: PagesSettings) -> Row:
    """The row with opt-outs obeyed or not as the config says today, whatever it said when the page was crawled."""
    if row["opt_outs"] and row["outcome"] in (Outcome.KEPT, Outcome.OPTED_OUT):
        return {**row, "outcome": str(Outcome.OPTED_OUT if settings.opt_outs else Outcome.KEPT)}
    return row


def allowed(row: Row, refusals: Refusals) -> Row:
    """The row, as refused if its page may not be one today: whatever was allowed when it was fetched."""
    outcome = refusals.of(row["final_url"], *(row["via"] or ())) if row["final_url"] else Outcome.KEPT
    if outcome is Outcome.REMOVED:
        return nowhere(row["doc_id"], outcome)
    return row if outcome is Outcome.KEPT else {**row, "outcome": str(outcome)}


def page_of(link: Kept) -> Row:
    """The columns of a page that come from its link."""
    return {"url": link.url, "host": link.host}


def write_pages(
    settings: PagesSettings,
    found: Artefact | None,
    pages: Artefact,
    refusals: Refusals,
    task: Task,
    kept: Sequence[Kept],
    ends: Mapping[str, Row],
) -> None:
    """Write and commit a shard of pages; its books count how each kept link ended, its notes are those of archives."""
    found_rows = [ends.get(link.doc_id) or nowhere(link.doc_id, Outcome.NOT_IN_WARC) for link in kept]
    rows = [
        {**allowed(obeyed(row, settings), refusals), **page_of(link)}
        for row, link in zip(found_rows, kept, strict=True)
    ]
    counts = Counter(row["outcome"] for row in rows)
    receipt = found.receipt(task.shard) if found else None
    faults = shelf(pages, task.shard).memory().faults if counts[Outcome.FAULT] else []
    with pages.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            schemas.write_parquet(file, [pa.Table.from_pylist(rows, schemas.PAGES)], schemas.PAGES)
        attempt.rows(".parquet", len(rows))
        books = {"pages": receipts.balanced("pages", len(rows), counts)}
        attempt.commit(books, [*(receipt.notes if receipt else ()), *faults[-counts[Outcome.FAULT] :]])
