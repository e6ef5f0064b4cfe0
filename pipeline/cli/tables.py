"""What was counted, as a person reads it: the funnel, karma, pages by year.

Choice: the funnel is lines of text, wrapped between one reason and the next at the width of the terminal (80 in a
pipe), so that it keeps its shape everywhere. Cost: its columns are measured here. Alternative: rich's table, which
breaks lines also between a reason and its number.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from pipeline.cli.console import out
from pipeline.shards.outcomes import FATES, Outcome

if TYPE_CHECKING:
    from pipeline.shards.receipts import RowCounts
    from pipeline.status import ArtefactStatus
    from pipeline.verbs.coverage import Year

AGAIN = "another post of the same address"
LEAST_COLUMNS = 24  # of the reasons, however narrow the terminal


def kept(counts: RowCounts) -> int:
    """How many of these rows go on."""
    return counts.outcomes.get(str(Outcome.KEPT), 0)


def reasons(counts: RowCounts) -> str:
    """Why rows do not go on, and how many each; a reason and its number are one word to whoever wraps lines."""
    others = ((fate, count) for fate, count in counts.outcomes.items() if fate != Outcome.KEPT)
    return ", ".join(f"{fate}\N{NO-BREAK SPACE}{count:,}" for fate, count in others)


def print_funnel(statuses: Mapping[str, ArtefactStatus]) -> None:
    """Print the funnel of the artefacts that are whole, from the first to where the chain breaks off."""
    manifests = (status.manifest for status in statuses.values())
    whole = itertools.takewhile(lambda manifest: manifest is not None, manifests)
    books = (books for manifest in whole if manifest is not None for books in manifest.books.items())
    found = list(books)
    for line in funnel(found, out.width) if found else ():
        out.print(line)


def funnel(books: Iterable[tuple[str, RowCounts]], columns: int) -> Iterator[str]:
    """Rows in, rows kept and the reasons between, a step of the chain each; lines of at most so many columns."""
    steps = list(FATES)
    chain = sorted(books, key=lambda step: steps.index(step[0]))
    rows = [("rows", "in", "kept", "otherwise")]
    for number, (name, counts) in enumerate(chain):
        before = kept(chain[number - 1][1]) if number else 0
        if name == "links" and before > counts.inputs:  # several posts of one address make one link
            again = f"{AGAIN}\N{NO-BREAK SPACE}{before - counts.inputs:,}"
            rows.append(("addresses", f"{before:,}", f"{counts.inputs:,}", again))
        rows.append((name, f"{counts.inputs:,}", f"{kept(counts):,}", reasons(counts)))
    name_width, in_width, kept_width = (max(len(row[column]) for row in rows) for column in range(3))
    yield "The funnel"
    for name, inputs, left, why in rows:
        head = f" {name:{name_width}}  {inputs:>{in_width}}  {left:>{kept_width}}"
        lines = textwrap.wrap(why, max(LEAST_COLUMNS, columns - len(head) - 2), break_on_hyphens=False) or [""]
        for number, line in enumerate(lines):
            yield f"{head if not number else ' ' * len(head)}  {line}".replace("\N{NO-BREAK SPACE}", " ").rstrip()


def print_karma(statuses: Mapping[str, ArtefactStatus]) -> None:
    """Print how many links each reading of karma would admit, once links are whole; the other rules hold."""
    manifest = statuses["links"].manifest
    if manifest is None:
        return
    threshold, chosen = manifest.settings["karma"], manifest.settings["karma_of"]
    links = manifest.books.get("links")
    removed = links.outcomes.get(Outcome.REMOVED, 0) if links else 0
    table = counted("karma of a link", "links admitted before removals" if removed else "links admitted")
    table.add_column()
    for reading in ("max", "sum", "first"):
        admitted = manifest.counts[f"admitted_by_{reading}"]
        table.add_row(f"{reading} >= {threshold}", f"{admitted:,}", "links.karma_of" if reading == chosen else "")
    out.print(table)


def print_coverage(years: Iterable[Year]) -> None:
    """Print, by the year of the post, how many links have a page, and from where."""
    table = counted("posted", "links", "in WARC files", "in Common Crawl", "crawled", "found")
    table.title, table.title_justify = "Pages by year of the post", "left"
    for year in years:
        counts = [f"{count:,}" for count in (year.links, *year.found.values())]
        table.add_row("unknown" if year.year is None else str(year.year), *counts, f"{year.percent:.1f} %")
    out.print(table)


def counted(name: str, *columns: str) -> Table:
    """A table of numbers by name."""
    table = Table(name, box=None)
    for title in columns:
        table.add_column(title, justify="right")
    return table
