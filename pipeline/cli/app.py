"""The command `webtext`: every verb parses, calls one function, prints.

Choice: a module of verbs for each kind of task, and imports inside the verbs, so that `--help` pays neither for
Beam (3 s) nor for torch. Cost: imports are not at the head of the file. Alternative: lazy modules, which type checkers
do not follow.
"""

from __future__ import annotations

import io
import logging
import sys
import traceback
from typing import Any, NoReturn

import typer

from pipeline.cli.build import build, demo
from pipeline.cli.console import PIPE_CLOSED, err
from pipeline.cli.diff import diff
from pipeline.cli.handover import export, push
from pipeline.cli.model import fertility, sample, train
from pipeline.cli.options import Verb, Verbs, before_the_verb
from pipeline.cli.plan import plan
from pipeline.cli.query import query
from pipeline.cli.questions import explain, extract, overlap, report
from pipeline.cli.remove import remove
from pipeline.cli.show import show
from pipeline.cli.sources import harvest, init, reference
from pipeline.cli.status import status
from pipeline.config import nearest
from pipeline.shards import interrupts
from pipeline.shards.outcomes import ConfigError, StorageError, WebTextError

app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Rebuild WebText: links -> pages -> documents -> corpus -> tokenizer -> tokens, and train GPT-2 on it.",
)
app.callback()(before_the_verb)

BEAM_S_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}  # go to Beam as they are
VERBS = (  # as --help lists them
    init, harvest, plan, remove, build, status, report, query, show, explain, diff, reference, overlap, extract, demo,
    train, sample, fertility, export, push,
)  # fmt: skip
for verb in VERBS:
    app.command(cls=Verb, context_settings=BEAM_S_OPTIONS if verb is build else None)(verb)


def main() -> None:
    """The entry point: failures become one line and an exit code; `--debug` anywhere shows the traceback."""
    debug = "--debug" in sys.argv
    if not debug:
        logging.disable(logging.ERROR)  # Beam's; ours are lines of their own
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a title must not end a command in a small locale
    with interrupts.heeded(quiet=not debug):
        try:
            if code := app(arguments, prog_name="webtext", standalone_mode=False):
                sys.exit(code)
        except BaseException as error:
            if ending := interrupts.asked():  # whatever the interrupt has become on its way
                ending.leave()
            if isinstance(error, SystemExit) and error.code == interrupts.INTERRUPTED:  # the trainer's word, once saved
                err.print(f"webtext: interrupted; {interrupts.again()} to go on")
            if not isinstance(error, Exception):
                raise
            if debug:
                err.print(*traceback.format_exc().splitlines(), sep="\n")
            end(error)


def usage(error: Any) -> ConfigError:
    """A fault of the words of a command, as one line that lists the choices."""
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context else "webtext"
    if hasattr(error, "possibilities"):
        known = [
            word
            for parameter in context.command.get_params(context)
            for word in parameter.opts
            if word.startswith("--")
        ]
        return ConfigError(f"{error.option_name}: no option of {path}{nearest(error.option_name, known)}")
    return ConfigError(f"{' '.join(error.format_message().split()).rstrip('.')}; see '{path} --help'")


def end(error: Exception) -> NoReturn:
    """End with the one line of a failure, and its exit code."""
    if isinstance(error, BrokenPipeError):
        sys.exit(PIPE_CLOSED)
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # type: ignore[attr-defined]
        sys.exit(ConfigError.exit_code)
    if hasattr(error, "format_message"):  # the parser's, whose class has moved between versions of typer
        error = usage(error)
    if isinstance(error, OSError) and error.strerror:  # the system's word on a file or a socket: nobody's bug
        error = StorageError(f"{error.filename or 'a file or socket'}: {error.strerror}")
    if isinstance(error, WebTextError):
        for line in str(error).splitlines():
            err.print(f"webtext: {line}")
        sys.exit(error.exit_code)
    first = str(error).strip().partition("\n")[0]
    err.print(f"webtext: a bug: {type(error).__name__}: {first}; run it again with --debug")
    sys.exit(1)
