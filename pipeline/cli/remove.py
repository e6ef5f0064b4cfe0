"""The verb that takes pages out: remove, the dry run before it, and what may come after: a check, or taking it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import out
from pipeline.cli.options import Folder, Sets, settings_of
from pipeline.shards.outcomes import ConfigError


def remove(
    requested: Annotated[
        Path | None, typer.Argument(metavar="LIST", help="A file: one URL, host, doc_id or submission id a line.")
    ] = None,
    folder: Folder = Path(),
    sets: Sets = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what each line would meet; change nothing.")] = False,
    whole_suffix: Annotated[
        bool, typer.Option("--whole-suffix", help="A public suffix (co.uk, blogspot.com) may go, with all under it.")
    ] = False,
    name_addresses: Annotated[
        bool, typer.Option("--name-addresses", help="The statement says the lines in clear, to be handed on.")
    ] = False,
    take_back: Annotated[
        bool, typer.Option("--undo", help="Take back what the list names: builds may bring it again.")
    ] = False,
    statement: Annotated[
        Path | None, typer.Option("--verify", help="Check a statement (JSON) of a removal; change nothing.")
    ] = None,
) -> None:
    """Take pages out of everything built, for good, with a statement that others can check, below removals/.

    Without a file: end what was cut short. Not reached, and named: your own files. Left: the tokenizer, trained models.
    """
    from pipeline.shards.removals import read_list
    from pipeline.verbs import remove as verb

    if (dry_run or take_back) and requested is None:
        raise ConfigError("--dry-run and --undo ask for a list")
    settings, root = settings_of(folder, sets), folder.absolute()
    lines, shards = read_list(requested) if requested else [], settings.build.shards
    if statement is not None:
        lines_out = verb.verify(root, shards, statement)
    elif take_back:
        lines_out = verb.undo(root, shards, lines)
    elif dry_run:
        lines_out = verb.foreseen(root, shards, lines, whole_suffix)
    else:
        done = verb.remove(
            root, shards, lines, settings=settings, whole_suffix=whole_suffix, name_addresses=name_addresses
        )
        lines_out = [line for removal in done for line in verb.report(removal, lines if removal is done[-1] else ())]
        lines_out = lines_out or ["no removal was cut short, and no list names what is to go: nothing was changed"]
    for line in lines_out:
        out.print(line, markup=False)
