"""The command `webtext`: every verb parses, calls one function, prints.

Choice: imports stand inside the verbs, so that `--help` pays neither for Beam (3 s) nor for torch. Cost: they are not
at the head of the file. Alternative: lazy modules, which type checkers do not follow.
"""

from __future__ import annotations

import glob
import io
import json
import logging
import shlex
import sys
import traceback
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.table import Table

from pipeline import config
from pipeline.cli_model import VERBS, sample, trained
from pipeline.cli_plan import plan
from pipeline.cli_remove import remove
from pipeline.console import Reporter, err, out, print_coverage, print_funnel, print_karma, print_notes
from pipeline.options import (
    Folder,
    Sets,
    Stale,
    Verb,
    before_the_verb,
    current,
    named,
    needing,
    settings_of,
    stage_and_options,
)
from pipeline.shards import interrupts, storage
from pipeline.shards.outcomes import EXIT_CODES, ConfigError, StorageError, WebTextError
from pipeline.shards.places import mirror, name_of, place

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Rebuild WebText: links -> pages -> documents -> corpus -> tokenizer -> tokens, and train GPT-2 on it.",
    epilog="Exit codes: " + "; ".join(f"{code} {meaning.rstrip('.')}" for code, meaning in EXIT_CODES.items()),
)

app.callback()(before_the_verb)
LEDGER = Path("harvest/ledger.sqlite")


@app.command(cls=Verb)
def init(
    folder: Annotated[Path, typer.Argument(help="The working directory to begin.", callback=named)] = Path(),
    submissions: Annotated[list[str] | None, typer.Option(help="Glob of Reddit dumps; repeatable.")] = None,
    warc: Annotated[list[str] | None, typer.Option(help="Glob of WARC, WACZ, ARC files to read, not to crawl.")] = None,
) -> None:
    """Write a commented webtext.toml: the recipe of WebText, to be changed."""
    path = mirror(folder) / config.FILE_NAME
    if storage.exists(path):
        raise ConfigError(f"{path}: is there already; edit it, or name another folder")
    text = (Path(__file__).parent / config.FILE_NAME).read_text("utf-8")
    # without a dump, the addresses of the WARC files themselves are the links
    for key, globs in (("submissions", submissions or warc), ("warc", warc)):
        if globs:
            whole = [placed(pattern, path.parent.absolute()) for pattern in globs]
            text = text.replace(f"{key} = []", f"{key} = {json.dumps(whole, ensure_ascii=False)}", 1)  # TOML too
    storage.write_bytes(path, text.encode())
    work = shlex.quote(name_of(path.parent) if place(path) else str(folder))
    out.print(f"{path} written; next: webtext build --dir {work}")
    if not submissions:
        out.print(f"without dumps: webtext harvest --subreddit books --dir {work}   # Reddit's API, see its --help")


def placed(pattern: str, folder: Path) -> str:
    """A glob of the command line as a config file in `folder` says it: relative where it lies there, so it may move."""
    if "://" in pattern:
        return pattern
    whole, home = Path(glob.escape(str(Path.cwd()))) / pattern, Path(glob.escape(str(folder)))
    return str(whole.relative_to(home) if whole.is_relative_to(home) else whole)


@app.command(cls=Verb)
def harvest(
    subreddit: Annotated[list[str] | None, typer.Option(help="Name of a subreddit; repeatable.")] = None,
    domain: Annotated[list[str] | None, typer.Option(help="Domain that submissions link to; repeatable.")] = None,
    multireddit: Annotated[list[str] | None, typer.Option(help="USER/NAME of a multireddit; repeatable.")] = None,
    folder: Folder = Path(),
    sets: Sets = None,
    ledger: Annotated[Path, typer.Option(help="The ledger, relative to the working directory.")] = LEDGER,
    every: Annotated[str, typer.Option(help="Go on, a round every 90s, 10m, 6h …; otherwise one round.")] = "",
    until: Annotated[str, typer.Option(help="When --every ends: a date (UTC), or a time from now; else never.")] = "",
) -> None:
    """Read Reddit's API into a ledger that links can read; killed at any moment, the next harvest goes on.

    No listing of Reddit shows more than 1,000 submissions: each source is read through 15 listings, and often. PRAW's
    credentials come from the environment (praw_client_id, praw_client_secret) or praw.ini, never from webtext.toml.
    """
    settings = settings_of(folder, sets)
    with needing("harvest"):
        from pipeline.verbs.harvest import harvested, schedule, sources_of
    sources = sources_of(subreddit or (), domain or (), multireddit or ())
    path = folder / ledger
    if place(path):
        raise ConfigError("a ledger is a database file: --ledger has to name a place on this machine")
    counts = harvested(settings, path, sources, schedule(every, until), err.print)
    out.print(f"{path}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    if not any(fnmatch(str(path), str(folder / pattern)) for pattern in settings.links.submissions):
        out.print(f'next: submissions = ["{ledger}"] under [links] of {folder / config.FILE_NAME}')


app.command(cls=Verb)(plan)
app.command(cls=Verb)(remove)


@app.command(cls=Verb, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def build(
    context: typer.Context,
    stage: Annotated[str, typer.Argument(help="Build up to this stage: links, pages, documents … (default: all)")] = "",
    folder: Folder = Path(),
    sets: Sets = None,
    runner: Annotated[str, typer.Option(help="A Beam runner; options this command does not know go to it.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--dry_run", help="Build the first job for DataflowRunner, and submit nothing.")
    ] = False,
) -> None:
    """Make what is missing or stale, up to STAGE; killed at any moment, the next build goes on."""
    from pipeline.build import beam
    from pipeline.build import build as build_stages
    from pipeline.standing import recorded

    until, options = stage_and_options([*([stage] if stage else []), *context.args])
    options += ("--dry_run=true",) * dry_run
    settings = settings_of(folder, [*(sets or []), *([f'build.runner="{runner}"'] if runner else [])])
    with Reporter(folder, settings.build.shards) as reporter:
        build_stages(
            folder.absolute(),
            settings,
            until,
            run=beam(settings, folder.absolute(), options),
            started=reporter.started,
            ended=reporter.ended,
            noted=lambda note: err.print(f"note: {note}"),
        )
    print_funnel(recorded(folder, settings.build.shards))


@app.command(cls=Verb)
def status(folder: Folder = Path(), sets: Sets = None) -> None:
    """Show what a build would do now, the funnel, how many pages were found by year, and what stages have noted."""
    from pipeline.pages import waiting
    from pipeline.standing import recorded, standing
    from pipeline.verbs.coverage import coverage

    settings = settings_of(folder, sets)
    table = Table("artefact", "shards", "state", "", box=None)
    stands = standing(folder, settings)
    for stage, one in stands.items():
        table.add_row(stage, f"{one.done}/{one.shards}", one.state, one.why)
    out.print(table)
    links, resting, hosts = waiting(folder, settings.build.shards) if stands["pages"].manifest is None else (0, 0, 0)
    if links:
        rest = f", {resting} of them for {hosts} hosts that rest: they failed, or asked for less" if resting else ""
        out.print(f"pages: {links} links waited to be asked when the last round of the crawl began{rest}")
    lying = recorded(folder, settings.build.shards)
    print_karma(lying)
    print_funnel(stands)
    if lying["links"].manifest and lying["pages"].manifest:
        print_coverage(coverage(folder, settings.build.shards))
    for stage, one in lying.items():
        print_notes(stage, one.manifest.notes if one.manifest else (), out)


@app.command(cls=Verb)
def report(
    folder: Folder = Path(),
    sets: Sets = None,
    out_folder: Annotated[Path | None, typer.Option("--out", help="Where to write; DIR/report by default.")] = None,
    stale: Stale = False,
) -> None:
    """Write report.html, a page about the corpus that needs no network, and README.md, its dataset card."""
    from pipeline.build import STAGES

    with needing("report"):
        from pipeline.verbs.report import write
    target, settings = mirror(out_folder) if out_folder else folder / "report", settings_of(folder, sets)
    if folder.is_dir():
        current(folder, settings, STAGES, stale)
    found = write.report(folder, settings.build.shards, target)
    for sentence in write.unmade(found):
        err.print(f"note: {sentence}")
    out.print(f"{target / write.PAGE} and {target / write.CARD} written")


@app.command(cls=Verb)
def explain(url: str, folder: Folder = Path(), sets: Sets = None) -> None:
    """Tell a page's whole life: what each stage made of URL, and why."""
    from pipeline.verbs.explain import explain as lives

    for stage, row in lives(folder, settings_of(folder, sets).build.shards, url):
        out.print(stage)
        for name, value in row.items():
            for one in (value or [None]) if isinstance(value, list) else [value]:
                out.print(f"  {name}: {told(one)}")


@app.command(cls=Verb)
def reference(
    source: Annotated[str, typer.Argument(help="What kind of text: wikipedia.")],
    dumps: Annotated[list[Path], typer.Argument(help="pages-articles dumps, .xml or .xml.bz2.")],
    file: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("wikipedia-8grams.npy"),
    sample: Annotated[int, typer.Option(min=1, help="Keep one n-gram in so many; 16 = 2.5 GB for all English.")] = 1,
) -> None:
    """Turn dumps of Wikipedia into the file that corpus.wikipedia_reference names: the 8-grams of all articles."""
    from pipeline.verbs.reference import write_reference

    if source != "wikipedia":
        raise ConfigError(f"{source}: no such reference; 'wikipedia' is the only one")
    grams, size = write_reference(dumps, file, sample)
    out.print(f"{file}: {grams:,} 8-grams, one in {sample}, {size:,} bytes")
    out.print(f'next: wikipedia_reference = "{file.absolute()}" under [corpus]')


@app.command(cls=Verb)
def overlap(
    evaluations: Annotated[list[Path], typer.Argument(help="Evaluation texts: .txt, or .jsonl with any strings.")],
    train: Annotated[list[Path] | None, typer.Option(help="The train set of each, in the same order.")] = None,
    folder: Folder = Path(),
    sets: Sets = None,
    stale: Stale = False,
) -> None:
    """Tell how many 8-grams of evaluation texts stand in the corpus (Radford et al. 2019, section 4)."""
    from pipeline.verbs.overlap import overlaps

    settings = settings_of(folder, sets)
    current(folder, settings, ("corpus",), stale)
    table = Table("evaluation", "8-grams", "in the corpus", "in its own train set", box=None)
    for one in overlaps(folder, settings.build.shards, evaluations, train or ()):
        for note in one.notes:
            err.print(note)
        table.add_row(one.name, f"{one.grams:,}", f"{one.corpus:.2%}", "-" if one.train is None else f"{one.train:.2%}")
    out.print(table)


def told(value: Any) -> str:
    """A value of a row in words; None is a dash."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {told(one)}" for name, one in value.items())
    return "-" if value is None else str(value)


@app.command(cls=Verb)
def extract(
    files: Annotated[list[Path], typer.Argument(help="HTML files, or text files named .txt.")],
    engine: Annotated[str, typer.Option(help="cascade, trafilatura, resiliparse or newspaper.")] = "cascade",
    content_type: Annotated[str, typer.Option(help="What the server said, with its charset.")] = "",
    url: Annotated[str, typer.Option(help="Where the page was.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One object a line, with all signals.")] = False,
) -> None:
    """Show what an engine makes of the pages in FILES: the text, and on stderr how it came about."""
    from pipeline.verbs.extract import extracts

    for found in extracts(files, engine, content_type, url):
        if as_json:
            out.write(json.dumps(found, ensure_ascii=False) + "\n")
            continue
        told_of = [found["outcome"], found["engine"], f"{found.get('word_count', 0)} words", found["title"]]
        err.print(f"{found['file']}: {', '.join(filter(None, told_of))}")
        out.write(found["text"] + "\n" if found["text"] else "")


@app.command(cls=Verb)
def demo(
    folder: Annotated[Path, typer.Option("--dir", "-C", help="Where the demo works.")] = Path("webtext-demo"),
) -> None:
    """Run the whole chain offline: a Reddit-style dump, a local web full of traps, a corpus, a small GPT-2."""
    from pipeline.build import build as build_stages
    from pipeline.demo.run import prepared
    from pipeline.standing import recorded

    with prepared(folder.absolute()) as settings:
        with Reporter(folder, settings.build.shards) as reporter:
            build_stages(folder.absolute(), settings, started=reporter.started, ended=reporter.ended)
        trained(folder, settings)
    out.print()
    out.print("The model writes:")
    for seed, prompt in enumerate(("The", "When you", "This")):
        sample(prompt, folder, tokens=40, temperature=0.8, top_k=50, top_p=1.0, seed=seed, stale=True)
    out.print()
    print_funnel(recorded(folder, settings.build.shards))
    out.print()
    out.print(
        f"The artefacts are in {folder}: links pages documents corpus tokenizer tokens model",
        f"Next: webtext status --dir {folder}",
        f"      webtext explain http://copyroom.test/guide/near-5.html --dir {folder}",
        f"      webtext sample 'The' --dir {folder}",
        "      webtext init mine --submissions 'dumps/*.zst'   # then: webtext build --dir mine",
        sep="\n",
    )


for verb in VERBS:
    app.command(cls=Verb)(verb)


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
            app(arguments, prog_name="webtext")
        except BaseException as error:
            if ending := interrupts.asked():  # whatever the interrupt has become on its way
                ending.leave()
            if isinstance(error, SystemExit) and error.code == interrupts.INTERRUPTED:  # the trainer's word, once saved
                err.print("webtext: interrupted; run the same command again to go on")
            if not isinstance(error, Exception):
                raise
            if debug:
                err.print(*traceback.format_exc().splitlines(), sep="\n")
            end(error)


def end(error: Exception) -> NoReturn:
    """End with the one line of a failure, and its exit code."""
    if isinstance(error, OSError) and error.strerror:  # the system's word on a file or a socket: nobody's bug
        error = StorageError(f"{error.filename or 'a file or socket'}: {error.strerror}")
    if isinstance(error, WebTextError):
        for line in str(error).splitlines():
            err.print(f"webtext: {line}")
        sys.exit(error.exit_code)
    first = str(error).strip().partition("\n")[0]
    err.print(f"webtext: a bug: {type(error).__name__}: {first}; run it again with --debug")
    sys.exit(1)


if __name__ == "__main__":
    main()
