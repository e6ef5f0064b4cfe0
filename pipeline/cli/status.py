"""The verb that says how far everything is: status, once, as JSON, or until it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.cli.console import out, print_notes, seen
from pipeline.cli.options import Folder, Sets, settings_of
from pipeline.cli.tables import kept, print_coverage, print_funnel, print_karma
from pipeline.config import Settings
from pipeline.counts import counted

if TYPE_CHECKING:
    from pipeline.verbs.overview import Crawl, Overview

LOOK_S = 2.0  # between two looks, at least
PATIENCE = 4  # times what a look takes that is then waited for: the build has more need of the disk


def status(
    folder: Folder = Path(),
    sets: Sets = None,
    json_lines: Annotated[bool, typer.Option("--json", help="One object; with --watch one a line.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again until everything is built.")] = False,
) -> None:
    """Show what a build would do now, the funnel, how many pages were found by year, and what stages have noted."""
    from pipeline.verbs.overview import overview

    settings = settings_of(folder, sets)
    if watch:
        watched(folder, settings, json_lines)
    elif json_lines:
        out.write(as_line(overview(folder, settings)))
    else:
        print_all(folder, settings)


def print_all(folder: Path, settings: Settings) -> None:
    """Print everything that is known."""
    from pipeline.status import recorded, status_of, without_removals
    from pipeline.verbs.coverage import coverage
    from pipeline.verbs.overview import crawl_of

    table = Table("artefact", "shards", "state", "", box=None)
    statuses = status_of(folder, settings)
    for stage, status in statuses.items():
        table.add_row(stage, f"{status.done}/{status.shards}", status.state, status.why)
    out.print(table)
    crawl = crawl_of(folder, settings, statuses["pages"])
    if crawl is not None:
        out.print(waits_for(crawl))
    lying = recorded(folder, settings.build.shards)
    print_karma(lying)
    print_funnel(without_removals(statuses, lying))
    if lying["links"].manifest and lying["pages"].manifest:
        print_coverage(coverage(folder, settings.build.shards))
    for stage, status in lying.items():
        print_notes(stage, status.manifest.notes if status.manifest else (), out)


def waits_for(crawl: Crawl) -> str:
    """What a crawl waits for, in words."""
    links = counted(crawl.links_waiting, "link")
    waiting = f"pages: when its last round began, the crawl had {links} still to ask for"
    if not crawl.links_resting:
        return waiting
    until = f" until {crawl.ready_at}" if crawl.ready_at else ""
    hosts = counted(crawl.hosts_resting, "host")
    first = f" ({crawl.first_host}{' first' if crawl.hosts_resting > 1 else ''})" if crawl.first_host else ""
    return f"{waiting}; {crawl.links_resting:,} of them wait{until} for {hosts} that failed or asked for a pause{first}"


def as_line(found: Overview) -> str:
    """The overview as a line of JSON."""
    return seen(msgspec.json.encode(found).decode()) + "\n"


# --- until it is done


def watched(folder: Path, settings: Settings, json_lines: bool) -> None:
    """Show it again and again until a build would do nothing: redrawn on a terminal, elsewhere whenever it changes."""
    if out.is_terminal and not json_lines:
        with Live(console=out, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
            for found in looks(folder, settings):
                live.update(drawn(found), refresh=True)
        return
    before: Overview | None = None
    for found in looks(folder, settings):
        if before is None or msgspec.structs.replace(found, at=before.at) != before:
            if json_lines:
                out.write(as_line(found))
            else:
                out.print(drawn(found))
        before = found


def looks(folder: Path, settings: Settings) -> Iterator[Overview]:
    """The status, again and again, until everything is built."""
    from pipeline.shards import transfer
    from pipeline.verbs.overview import overview

    while True:
        began = time.monotonic()
        transfer.renew(folder)
        found = overview(folder, settings)
        yield found
        if found.done:
            return
        time.sleep(max(LOOK_S, PATIENCE * (time.monotonic() - began)))


def drawn(found: Overview) -> RenderableType:
    """What is shown while it goes on: a line an artefact, what the crawl waits for, and who works."""
    table = Table(box=None)
    for name in ("artefact", "shards", "state", "rows in", "kept"):
        table.add_column(name, justify="left" if name in ("artefact", "state") else "right")
    for artefact in found.artefacts:
        counts = artefact.rows.get(artefact.artefact)
        rows = (f"{counts.inputs:,}", f"{kept(counts):,}") if counts else ("", "")
        table.add_row(artefact.artefact, f"{artefact.shards_done:,}/{artefact.shards_total:,}", artefact.status, *rows)
    lines = [waits_for(found.crawl)] if found.crawl else []
    lines.append(
        f"{found.at}: {'everything is built' if found.done else found.running or 'no build runs on this machine'}"
    )
    return Group(table, *(Text(seen(line)) for line in lines))
