"""What verbs of the command line take, which words are for Beam, and how a verb asks for an optional dependency."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from pipeline import config
from pipeline.build import STAGES, same_shards
from pipeline.cli.console import err, out
from pipeline.cli.progress import watching
from pipeline.counts import counted
from pipeline.plaintext import is_text
from pipeline.shards import layout, lease, storage, transfer
from pipeline.shards.locations import mirror
from pipeline.shards.outcomes import EXIT_CODES, ConfigError, InputError, WebTextError
from pipeline.shards.runner import flags
from pipeline.status import check

METAVARS = {"str": "WORD", "int": "N", "float": "NUMBER", "int range": "N", "float range": "NUMBER"}


class Verb(typer.core.TyperCommand):
    """A command whose words are text. Paths may be any bytes: the system knows them by these."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The parameters, each with a word for what it takes where the parser has a type of Python."""
        write = formatter.write_dl
        formatter.write_dl = lambda rows: write([(in_help(name), meaning) for name, meaning in rows])
        super().format_options(ctx, formatter)
        del formatter.write_dl

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The words that are left over are Beam's, or none may be. Raises ConfigError: `build work`, `status work`."""
        beam, ctx.allow_extra_args = ctx.allow_extra_args, True
        rest = super().parse_args(ctx, args)
        if rest and not beam and not ctx.resilient_parsing:
            takes = (
                "one word" if any(parameter.param_type_name == "argument" for parameter in self.params) else "no word"
            )
            has_folder = any(parameter.name == "folder" for parameter in self.params)
            if takes == "no word" and has_folder and not rest[0].startswith("-"):
                raise ConfigError(
                    f"{rest[0]}: webtext {self.name} takes no word; did you mean --dir {shlex.quote(rest[0])}?"
                )
            hint = meant_folder(rest[0]) or f"; see 'webtext {self.name} --help'"
            raise ConfigError(f"{rest[0]}: webtext {self.name} takes {takes}{hint}")
        return rest

    def invoke(self, ctx: Any) -> Any:
        for name, value in (*ctx.params.items(), ("", ctx.args)):
            for word in value if isinstance(value, list | tuple) else [value]:
                if isinstance(word, str) and not is_text(word):
                    raise ConfigError(f"{name or 'an option'}: {word!a} is not UTF-8; set the terminal's locale to it")
                if isinstance(word, Path):
                    no_address(str(word))
        try:
            with watching(ctx.params.get("folder")):
                return super().invoke(ctx)
        except (ConfigError, InputError, IsADirectoryError) as error:
            hint = self.hint(ctx.params)
            if not hint or "--dir" in str(error):
                raise
            kind = type(error) if isinstance(error, WebTextError) else InputError
            raise kind(f"{str(error) if isinstance(error, WebTextError) else 'it is a folder'}{hint}") from error

    def hint(self, given: dict[str, Any]) -> str:
        """The option that was meant where an argument names a working directory; "" where none does."""
        names = [parameter.name for parameter in self.params if parameter.param_type_name == "argument"]
        words = [
            word for name in names for word in (given[name] if isinstance(given[name], list | tuple) else [given[name]])
        ]
        if "folder" not in given or "folder" in names:
            return ""
        return next((meant_folder(str(word)) for word in words if word and is_work(Path(word))), "")


def in_help(name: str) -> str:
    """A parameter as help shows it: `--host <list[str]>` as `--host WORD`, and an argument by its name alone."""
    kind = re.search(r" <(?:list\[)?([\w ]+)\]?>$", name)
    if kind is None:
        return name
    return (
        f"{name[: kind.start()]} {METAVARS.get(kind[1], kind[1].upper())}"
        if name.startswith("-")
        else name[: kind.start()]
    )


class Verbs(typer.core.TyperGroup):
    """The command with all its verbs. Its help shows the first sentence of each, whole, and the exit codes."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that the first word names. Raises ConfigError: it names none."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise ConfigError(f"{args[0]}: no such verb{config.nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """The first lines of the verbs' help, wrapped: Click's own list cuts them at the right margin."""
        rows = [
            (name, " ".join((command.help or "").partition("\n\n")[0].split()))
            for name, command in self.commands.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """The exit codes, a line each."""
        with formatter.section("Exit codes"):
            formatter.write_dl(
                [
                    (str(code), meaning[0].lower() + meaning[1:].rstrip("."))
                    for code, meaning in sorted(EXIT_CODES.items())
                ]
            )


def is_work(folder: Path) -> bool:
    """Whether a folder is a working directory."""
    with suppress(OSError, ValueError):  # a word that cannot be the name of a file
        return (folder / config.FILE_NAME).is_file()
    return False


def meant_folder(word: str) -> str:
    """'; did you mean --dir …?' for a word that names a folder, or a place on an object store."""
    with suppress(OSError, ValueError):  # a word that cannot be the name of a file
        if Path(word).is_dir() or "://" in word:
            return f"; did you mean --dir {shlex.quote(word)}?"
    return ""


def no_address(word: str) -> None:
    """Raise ConfigError for an address of the web where a file is wanted; a `Path` has lost one of its slashes."""
    if match := re.match(r"(https?):/+", word, re.IGNORECASE):
        address = f"{match[1]}://{word[match.end() :]}"
        raise ConfigError(f"{address}: an address, where a file is wanted; put it in a file, one a line, and name that")


def one_of(option: str, word: str, known: Iterable[str]) -> str:
    """The word. Raises ConfigError, naming the option and all choices: it is none of them."""
    if word not in (choices := tuple(known)):
        raise ConfigError(f"{option} {word}: no such choice{config.nearest(word, choices)}")
    return word


def completing(known: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """What a shell is told that a word may become; `known` is called only then."""
    return lambda incomplete: [word for word in known() if word.startswith(incomplete)]


RUNNERS = ("FnApiRunner", "PrismRunner", "DataflowRunner", "FlinkRunner", "PortableRunner", "SparkRunner")
RUNNER_WORDS = completing(lambda: RUNNERS)


def setting_names() -> list[str]:
    """All settings, as `--set` takes them: `corpus.min_words=`."""
    tables = {name: getattr(config.Settings(), name) for name in config.Settings.__struct_fields__}
    return [f"{table}.{key}=" for table, section in tables.items() for key in section.__struct_fields__]


def told_version(wanted: bool) -> None:
    """Print the version and end, where it is asked for."""
    if wanted:
        out.print(f"webtext {version('webtext')}")
        raise typer.Exit


def before_the_verb(
    _: Annotated[
        bool, typer.Option("--version", callback=told_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of a failure; may stand anywhere.")
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

    What an earlier version laid out otherwise is moved. Raises WebTextError: the store cannot be asked, or as `named`;
    BusyError: another run works in a directory whose files are to be moved.
    """
    here = mirror(named(folder))
    transfer.look(here)
    if layout.is_old(here):
        with lease.lock(here):
            moved = layout.renew(here)
        files = counted(moved, "file")
        err.print(f"note: {folder}: {files} moved to where this version has them; nothing is made anew for that")
    return here


Folder = Annotated[
    Path,
    typer.Option(
        "--dir", "-C", help="The working directory: it holds webtext.toml. May be s3://… or gs://….", callback=opened
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="A setting over the config file's, for this command alone; repeatable.",
        autocompletion=completing(setting_names),
    ),
]

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
            raise ConfigError(f"{word}: no such stage{meant_folder(word) or config.nearest(word, STAGES)}")
    if len(stages) > 1:
        raise ConfigError(f"{' '.join(stages)}: name one stage; those before it are built too")
    return (stages or [STAGES[-1]])[0], tuple(options)


def current(folder: Path, settings: config.Settings, stages: Sequence[str], stale: bool) -> None:
    """Print what is to be said of artefacts that are taken as they are. Raises StaleError: see `status.check`."""
    for note in check(folder, settings, stages, stale):
        err.print(f"note: {note}")
