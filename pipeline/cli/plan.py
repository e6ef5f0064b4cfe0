"""The verb before a build: plan. It parses, calls one function, prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.table import Table

from pipeline.cli.console import err, out
from pipeline.cli.options import RUNNER_WORDS, Folder, Sets, settings_of
from pipeline.counts import counted
from pipeline.verbs.report.numbers import exact, short, size

if TYPE_CHECKING:
    from pipeline.verbs.plan.outlook import Assumption, Outlook

MANY = 1_000_000  # rows; above it a plan knows no digits anyway
SPANS = ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"))


def plan(
    folder: Folder = Path(),
    sets: Sets = None,
    assume: Annotated[
        list[str] | None, typer.Option(help="NAME=NUMBER instead of what is assumed or was measured; repeatable.")
    ] = None,
    runner: Annotated[
        str,
        typer.Option(help="A Beam runner; DataflowRunner: its job graph is weighed too.", autocompletion=RUNNER_WORDS),
    ] = "",
    machine: Annotated[str, typer.Option(help="Plan for rented machines of this type, as n2-standard-8.")] = "",
    workers: Annotated[int, typer.Option(min=1, help="How many of them.")] = 1,
    price: Annotated[float | None, typer.Option(min=0.0, help="Of one vCPU hour, in any currency.")] = None,
    numbers: Annotated[
        bool, typer.Option("--numbers", help="List all numbers that plans rest on, with their sources.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, with all that is known.")] = False,
) -> None:
    """Estimate what each stage will cost, before it runs: rows, bytes, requests, memory, CPU, hours."""
    from pipeline.verbs.plan.costs import assumed
    from pipeline.verbs.plan.machines import here, rented
    from pipeline.verbs.plan.outlook import every_number, outlook

    costs = assumed(assume or ())
    if numbers:
        print_numbers(every_number(costs))
        return
    settings = settings_of(folder, [*(sets or []), *([f'build.runner="{runner}"'] if runner else [])])
    machines = rented(machine, workers) if machine else here(folder, settings.build.workers)
    found = outlook(folder.absolute(), settings, costs, machines, price)
    if as_json:
        out.write(msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n")
    else:
        print_plan(found)


def print_plan(found: Outlook) -> None:
    """Print what each stage will cost, what that rests on, and what to know before building."""
    service = found.machines.service
    table = Table(box=None, padding=(0, 1, 0, 0))
    memory = "a process's memory" if service else "memory"
    for name in ("stage", "rows in", "kept", "reads", "shuffles", "disk", memory, "CPU", "takes"):
        table.add_column(name, no_wrap=name != memory, justify="left" if name == "stage" else "right")
    for stage in found.plan.stages:
        rows = rounded(stage.rows_in), rounded(stage.rows)
        if stage.made:
            table.add_row(stage.name, *rows, "stands")
            continue
        held = max(stage.shard_memory_bytes, stage.alone_memory_bytes) if service else stage.memory_bytes
        sizes = (stage.read_bytes, stage.shuffled_bytes, stage.disk_bytes + stage.scratch_bytes, held)
        table.add_row(stage.name, *rows, *map(of_bytes, sizes), span(stage.cpu_s), span(stage.seconds))
    out.print(table)
    for line in sums(found):
        out.print(line)
    if found.assumptions:
        out.print("Assumed, since nothing here tells (--assume NAME=NUMBER, if you know better):")
        print_numbers(found.assumptions)
    out.print("Speeds and sizes were measured, perhaps on another machine: webtext plan --numbers lists them")
    for note in found.notes:
        err.print(f"note: {note}")


def sums(found: Outlook) -> Iterator[str]:
    """What the plan rests on, the sums, the crawl, the machines and the job graph, a line each."""
    plan, machines = found.plan, found.machines
    yield f"Based on: {'; '.join(found.sampled) or 'assumptions alone'}."
    yield f"In all: {size(plan.disk_bytes)} of disk, {span(plan.seconds)}."
    if plan.crawl is not None:
        yield f"The crawl sends {counted(plan.crawl.requests, 'request')}."
        if plan.crawl.longest is not None:
            queue = plan.crawl.longest
            links = counted(queue.links, "link")
            yield f"Its longest queue: {queue.host}, {links}, {span(queue.seconds)}, on any machine."
    if machines.service:
        price = "" if found.price is None else f", for {found.price:,.2f}"
        rented = f"{counted(machines.workers, 'machine')} of {counted(machines.vcpus, 'vCPU')}"
        yield f"{rented}: {plan.vcpu_hours:,.1f} vCPU hours{price}."
    if found.graph_bytes is not None:
        yield f"The widest job graph: {size(found.graph_bytes)}; Dataflow takes 10 MB."


def print_numbers(numbers: Iterable[Assumption]) -> None:
    """Print numbers that a plan takes on trust, and who says so."""
    for number in numbers:
        out.print(f"  {number.name}={number.value:g}  {number.unit} ({number.source})")


def rounded(rows: float) -> str:
    """Rows to the last one up to a million, then as 45M."""
    return exact(rows) if rows < MANY else short(rows)


def of_bytes(value: float) -> str:
    """A size without needless zeros, a dash for none."""
    return size(value).replace(".0", "") if value else "-"


def span(seconds: float) -> str:
    """Seconds as 12 s, 3.4 min, 5.6 h or 7.8 days."""
    for length, unit in SPANS:
        if seconds >= length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.0f} s"
