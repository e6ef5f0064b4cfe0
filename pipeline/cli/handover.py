"""The verb that hands over what was made: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import err, out
from pipeline.cli.options import Folder, Sets, Stale, completing, current, needing, settings_of
from pipeline.counts import counted
from pipeline.shards.locations import mirror


def formats() -> list[str]:
    """The formats of an export."""
    from pipeline.verbs.export import FORMATS

    return list(FORMATS)


FORMAT_WORDS = completing(formats)


def export(
    target: Annotated[Path, typer.Option("--out", help="The folder to write; may be s3://… or gs://….")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="Tokens: nanogpt, megatron. Text: parquet, jsonl. Model: hf, gguf.",
            autocompletion=FORMAT_WORDS,
        ),
    ],
    folder: Folder = Path(),
    sets: Sets = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an older export.")] = False,
    stale: Stale = False,
) -> None:
    """Write the corpus or the model in the form that another tool reads; Arrow's readers need none, see tokens/."""
    from pipeline.verbs.export import MADE_OF
    from pipeline.verbs.export import export as written

    target, settings = mirror(target), settings_of(folder, sets)
    if form in MADE_OF:
        current(folder, settings, MADE_OF[form], stale)
    with needing("gguf" if form == "gguf" else "train"):
        made = written(folder, settings, form, target, force)
    for note in made.notes:
        err.print(f"note: {note}")
    for split, documents in made.documents.items():
        tokens = f", {counted(made.tokens[split], 'token')}" if split in made.tokens else ""
        out.print(f"{split}: {counted(documents, 'document')}{tokens}{'' if documents else '; no file'}")
    total = sum(stamp.bytes for stamp in made.files.values())
    out.print(f"{target}: {counted(len(made.files), 'file')}, {counted(total, 'byte')}")


def push(
    repo: Annotated[str, typer.Argument(help="The repository of the Hugging Face hub: OWNER/NAME.")],
    source: Annotated[Path, typer.Option("--from", help="The folder of an export.")] = Path(),
    private: Annotated[bool, typer.Option("--private", help="Only who may write there can read it.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing; works offline too.")
    ] = False,
) -> None:
    """Put an export on the Hugging Face hub; what is there already is not sent again."""
    with needing("hub"):
        from pipeline.verbs.push import push as pushed

        done = pushed(source, repo, private, dry_run)
    for name in done.sent:
        out.print(f"{'would send' if dry_run else 'sent'} {name}")
    for name in done.deleted:
        out.print(f"{'would delete' if dry_run else 'deleted'} {name}")
    total = sum(done.sent.values())
    there = f"{done.same:,} were there" if done.asked else "the hub cannot be reached: what it has will not be sent"
    out.print(f"{done.kind} {repo}: {counted(len(done.sent), 'file')}, {counted(total, 'byte')}; {there}")
