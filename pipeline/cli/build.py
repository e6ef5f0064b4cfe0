"""The verbs that make the artefacts: build, demo."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from pipeline.build import STAGES
from pipeline.cli.console import err, out
from pipeline.cli.model import sample, trained, untrainable
from pipeline.cli.options import RUNNER_WORDS, Folder, Sets, completing, settings_of, stage_and_options
from pipeline.cli.progress import print_ended, print_started
from pipeline.cli.tables import print_funnel
from pipeline.config import nearest
from pipeline.shards.outcomes import ConfigError

STAGE_WORDS = completing(lambda: STAGES)


def build(
    context: typer.Context,
    stage: Annotated[
        str,
        typer.Argument(help=f"Build up to this stage: {', '.join(STAGES)} (the default).", autocompletion=STAGE_WORDS),
    ] = "",
    folder: Folder = Path(),
    sets: Sets = None,
    runner: Annotated[
        str,
        typer.Option(help="A Beam runner; options this command does not know go to it.", autocompletion=RUNNER_WORDS),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--dry_run", help="Build the first job for DataflowRunner, and submit nothing.")
    ] = False,
) -> None:
    """Make what is missing or stale, up to STAGE; killed at any moment, the next build goes on."""
    from pipeline.build import beam
    from pipeline.build import build as build_stages
    from pipeline.status import altered, recorded

    until, options = stage_and_options([*([stage] if stage else []), *context.args])
    options += ("--dry_run=true",) * dry_run
    try:
        settings = settings_of(folder, [*(sets or []), *([f'build.runner="{runner}"'] if runner else [])])
    except ConfigError as error:
        raise ConfigError(f"{mistyped(context, options)}{error}") from None
    made: list[str] = []
    why = altered(folder, settings)  # now, since a stage takes its manifest away when it begins

    def started(stage_name: str) -> None:
        made.append(stage_name)
        print_started(stage_name, why.get(stage_name, ""))

    def noted(note: str) -> None:
        err.print(f"note: {note}")

    build_stages(
        folder.absolute(),
        settings,
        until,
        run=beam(settings, folder.absolute(), options, noted),
        started=started,
        ended=print_ended,
        noted=noted,
    )
    if not made:
        err.print(f"nothing to do: {' '.join(STAGES[: STAGES.index(until) + 1])} are up to date")
    print_funnel(recorded(folder, settings.build.shards))


def mistyped(context: typer.Context, options: Iterable[str]) -> str:
    """A line for each option that would go to Beam, with what of ours it may stand for: the cause, most likely."""
    known = [word for parameter in context.command.params for word in parameter.opts if word.startswith("--")]
    names = [option.partition("=")[0] for option in options if option != "--dry_run=true"]
    hints = [f"{name}: no option of webtext build, and would go to Beam{nearest(name, known)}" for name in names]
    return "".join(f"{hint}\n" for hint in hints)


def demo(
    folder: Annotated[Path, typer.Option("--dir", "-C", help="Where the demo works.")] = Path("webtext-demo"),
) -> None:
    """Run the whole chain offline: a Reddit-style dump, a local web full of traps, a corpus, a small GPT-2."""
    from pipeline.build import build as build_stages
    from pipeline.demo.run import prepared
    from pipeline.status import recorded

    with prepared(folder.absolute()) as settings:
        build_stages(folder.absolute(), settings, started=print_started, ended=print_ended)
        lacking = untrainable()
        if not lacking:
            trained(folder, settings, brief=True)
    if not lacking:
        out.print()
        out.print("The model writes:")
        for seed, prompt in enumerate(("The", "When you", "This")):
            sample(prompt, folder, tokens=40, temperature=0.8, top_k=50, top_p=1.0, seed=seed, stale=True)
    out.print()
    print_funnel(recorded(folder, settings.build.shards))
    out.print()
    out.print(
        f"The artefacts are in {folder}: {' '.join(STAGES)}{'' if lacking else ' model'}",
        f"Next: webtext status --dir {folder}",
        f"      webtext explain http://copyroom.test/guide/near-5.html --dir {folder}",
        *([] if lacking else [f"      webtext sample 'The' --dir {folder}"]),
        "      webtext init mine --submissions 'dumps/*.zst'   # then: webtext build --dir mine",
        *([f"No model was trained: {lacking}, then the demo again"] if lacking else []),
        sep="\n",
    )
