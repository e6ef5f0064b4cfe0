"""What several verbs of the command line take, and how a verb asks for an optional dependency."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from pipeline import config
from pipeline.build import same_shards
from pipeline.shards import storage, transfer
from pipeline.shards.outcomes import ConfigError
from pipeline.shards.places import mirror


def opened(folder: Path) -> Path:
    """The folder that stands here for a working directory; of one on an object store, all that is there is looked at.

    Raises WebTextError: the store cannot be asked.
    """
    here = mirror(folder)
    transfer.look(here)
    return here


Folder = Annotated[
    Path,
    typer.Option(
        "--dir", "-C", help="The working directory: it holds webtext.toml. May be s3://… or gs://….", callback=opened
    ),
]
Sets = Annotated[list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE over the config file; repeatable.")]


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
