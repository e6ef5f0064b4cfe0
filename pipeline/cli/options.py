"""What verbs of the command line take, which words are for Beam, and how a verb asks for an optional dependency."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from pipeline import config
from pipeline.build import STAGES, same_shards
from pipeline.cli.console import err, out
from pipeline.plaintext import is_text
from pipeline.shards import storage, transfer
from pipeline.shards.outcomes import ConfigError
from pipeline.shards.places import mirror
from pipeline.shards.runner import flags
from pipeline.standing import check


class Verb(typer.core.TyperCommand):
    """A command whose words are text. Paths may be any bytes: the system knows them by these."""

    def invoke(self, ctx: Any) -> Any:
        for name, value in (*ctx.params.items(), ("", ctx.args)):
            for word in value if isinstance(value, list | tuple) else [value]:
                if isinstance(word, str) and not is_text(word):
                    raise ConfigError(f"{name or 'an option'}: {word!a} is not UTF-8; set the terminal's locale to it")
        return super().invoke(ctx)


def told_version(wanted: bool) -> None:
    """Print the version and end, where it is asked for."""
    if wanted:
        out.print(f"webtext {version('webtext')}")
        raise typer.Exit


def before_the_verb(
    _: Annotated[
        bool, typer.Option("--version", callback=told_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before the verb."""


def named(folder: Path) -> Path:
    """The folder. Raises ConfigError: its name is not UTF-8, which no artefact could hold."""
    if not is_text(str(folder.absolute())):
        raise ConfigError(f"--dir: {str(folder.absolute())!a} is not UTF-8; give the folder another name")
    return folder


def opened(folder: Path) -> Path:
    """The folder that stands here for a working directory; of one on an object store, all that is there is looked at.

    Raises WebTextError: the store cannot be asked, or as `named`.
    """
    here = mirror(named(folder))
    transfer.look(here)
    return here


Folder = Annotated[
    Path,
    typer.Option(
        "--dir", "-C", help="The working directory: it holds webtext.toml. May be s3://… or gs://….", callback=opened
    ),
]
Sets = Annotated[list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE over the config file; repeatable.")]

Stale = Annotated[bool, typer.Option("--stale", help="Take artefacts as they are, also if a build would make others.")]


def settings_of(folder: Path, sets: list[str] | None) -> config.Settings:
    """The settings of a working directory, with the command line's laid over.

    Raises ConfigError: wrong ones, or another number of shards than the directory was begun with.
    """
    path = folder / config.FILE_NAME
    with suppress(FileNotFoundError):  # said better by who reads it
        storage.local(path)
    settings = config.load(path, sets or [])
    same_shards(folder, settings.build.shards)
    return settings


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Turn a missing optional dependency into the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; run: pip install 'webtext[{extra}]'") from None


def stage_and_options(words: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The stage among the words that the parser could not place (the last stage if none is), and Beam's options.

    A word after an option is its value, whatever it says (`--job_name tokens`), unless Beam knows the option for one
    that takes none; of options that Beam does not know its own parser thinks so too. Each comes back as one word,
    `--name=value`. Raises ConfigError: a word that is neither, or several stages.
    """
    without = flags() if any(word.startswith("-") for word in words) else frozenset()
    stages, options, rest = [], list[str](), list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            valued = rest and "=" not in word and word not in without and not rest[0].startswith("--")
            options.append(f"{word}={rest.pop(0)}" if valued else word)
        elif word.startswith("-"):
            options.append(word)
        elif word in STAGES:
            stages.append(word)
        else:
            meant = (
                f"; did you mean --dir {shlex.quote(word)}?" if Path(word).is_dir() else config.nearest(word, STAGES)
            )
            raise ConfigError(f"{word}: no such stage{meant}")
    if len(stages) > 1:
        raise ConfigError(f"{' '.join(stages)}: name one stage; those before it are built too")
    return (stages or [STAGES[-1]])[0], tuple(options)


def current(folder: Path, settings: config.Settings, stages: Sequence[str], stale: bool) -> None:
    """Print what is to be said of artefacts that are taken as they are. Raises StaleError: see `standing.check`."""
    for said in check(folder, settings, stages, stale):
        err.print(f"note: {said}")
