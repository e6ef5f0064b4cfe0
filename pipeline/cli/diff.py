"""The verb that compares two working directories: diff. It parses, calls one function, prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.table import Table

from pipeline.cli.console import as_json, out
from pipeline.cli.options import needing, opened
from pipeline.shards.outcomes import DIFFERENT

if TYPE_CHECKING:
    from pipeline.verbs.diff import Diff, Example, Group

AROUND = 6  # words shown before and after the first that differ
MOST = 14  # words of an example that differ


def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A working directory.", callback=opened)],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.", callback=opened)],
    examples: Annotated[int, typer.Option(min=0, help="So many rows of each kind that differ.")] = 3,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object, with all that differs.")] = False,
) -> None:
    """Compare two working directories: settings, versions, the funnel, and every row that is not the same in both.

    Exit 0: the same links, pages, documents and corpus, whatever the settings say; 14: they differ.
    """
    with needing("report"):
        from pipeline.verbs.diff import diff as compared
    found = compared(first, second, examples)
    if json_lines:
        out.write(as_json(as_object(found)))
    else:
        print_diff(found, first, second)
    if not found.same:
        raise typer.Exit(DIFFERENT)


def as_object(found: Diff) -> dict[str, Any]:
    """All that differs, with names instead of pairs of names."""
    plain = msgspec.to_builtins({**vars(found), "funnel": None})
    funnel = [
        {"step": step, "outcome": outcome or "in", "rows": rows} for (step, outcome), rows in found.funnel.items()
    ]
    return {"same": found.same, **plain, "funnel": funnel}


def print_diff(found: Diff, first: Path, second: Path) -> None:
    """Print what differs, what was made first."""
    out.print(f"A  {first}")
    out.print(f"B  {second}")
    for title, values in (("Settings that differ", found.settings), ("Versions that differ", found.versions)):
        if values:
            print_pairs(title, {name: tuple(map(value, pair)) for name, pair in values.items()})
    print_funnel(found)
    for stage, (ours, other) in found.states.items():
        if "whole" not in (ours, other) or ours != other:
            out.print(f"{stage}: {ours} in A, {other} in B: not compared")
    for group in found.groups:
        print_group(group)
    for stage in found.files:
        out.print(f"{stage}: other files")
    out.print("The same." if found.same else "They differ.")


def print_pairs(title: str, pairs: dict[str, tuple[str, ...]]) -> None:
    """Print names with their values in A and in B."""
    table = Table("", "A", "B", box=None, title=title, title_justify="left", padding=(0, 2, 0, 0))
    for name, pair in pairs.items():
        table.add_row(name, *pair)
    out.print(table)


def value(setting: Any) -> str:
    """A setting as its file has it; a dash where a side says nothing."""
    return "-" if setting is None else setting if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False)


def print_funnel(found: Diff) -> None:
    """Print both funnels side by side, rows that differ with how much."""
    table = Table(box=None, title="The funnel", title_justify="left", padding=(0, 2, 0, 0))
    for name in ("rows", "", "A", "B", "B - A"):
        table.add_column(name, justify="right" if "A" in name or "B" in name else "left", no_wrap=True)
    for (step, outcome), (ours, other) in found.funnel.items():
        change = "" if ours is None or other is None or ours == other else f"{other - ours:+,}"
        counts = ("-" if count is None else f"{count:,}" for count in (ours, other))
        table.add_row("" if outcome else step, outcome or "in", *counts, change)
    out.print(table)


def print_group(group: Group) -> None:
    """Print how many rows differ in one way, and some of them."""
    before, after = group.outcomes
    fates = f"{before} -> {after}" if before and after and before != after else before or after
    out.print(f"{group.artefact}: {group.kind} ({fates}): {group.rows:,}")
    for example in group.examples:
        out.print(f"  {example.url or example.doc_id + ' (its removal was asked for)'}")
        if example.texts:
            for side, words in zip("AB", around(example), strict=True):
                out.print(f"    {side}  {words}")


def around(example: Example) -> list[str]:
    """The words of both texts around the first that differ, which stand in brackets."""
    from pipeline.verbs.differences import stretches

    texts = [text.split() for text in example.texts]
    first = next((found for found in stretches(*texts) if found.kind != "same"), None)
    if first is None:
        return ["the same words, other blanks", ""]
    lines = []
    for words, span in zip(texts, first[1:], strict=True):
        before, after = words[max(0, span.start - AROUND) : span.start], words[span.stop : span.stop + AROUND]
        inner = words[span.start : min(span.stop, span.start + MOST)] + ["…"] * (len(span) > MOST)
        lines.append(" ".join([*before, f"[{' '.join(inner)}]", *after]))
    return lines
