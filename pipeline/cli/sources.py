"""The verbs that bring what a build reads: init, harvest, reference."""

from __future__ import annotations

import glob
import json
import shlex
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pipeline import config
from pipeline.cli.console import err, out
from pipeline.cli.options import Folder, Sets, completing, named, needing, no_address, one_of, settings_of
from pipeline.counts import counted
from pipeline.shards import inputs, storage
from pipeline.shards.locations import location_of, mirror, name_of
from pipeline.shards.outcomes import ConfigError, InputError

LEDGER = Path("harvest/ledger.sqlite")
REFERENCES = ("wikipedia",)
REFERENCE_WORDS = completing(lambda: REFERENCES)


def init(
    folder: Annotated[Path, typer.Argument(help="The working directory to begin.", callback=named)] = Path(),
    submissions: Annotated[list[str] | None, typer.Option(help="Glob of Reddit dumps; repeatable.")] = None,
    warc: Annotated[list[str] | None, typer.Option(help="Glob of WARC, WACZ, ARC files to read, not to crawl.")] = None,
) -> None:
    """Write a commented webtext.toml: the recipe of WebText, to be changed."""
    path = mirror(folder) / config.FILE_NAME
    if storage.exists(path):
        raise ConfigError(f"{path}: is there already; edit it, or name another folder")
    for pattern in (*(submissions or ()), *(warc or ())):
        no_address(pattern)
    text = Path(config.__file__).with_name(config.FILE_NAME).read_text("utf-8")
    # without a dump, the addresses of the WARC files themselves are the links
    for key, globs in (("submissions", submissions or warc), ("warc", warc)):
        if globs:
            whole = [placed(pattern, path.parent.absolute()) for pattern in globs]
            text = text.replace(f"{key} = []", f"{key} = {json.dumps(whole, ensure_ascii=False)}", 1)  # TOML too
    storage.write_bytes(path, text.encode())
    for setting, globs in (("links.submissions", submissions), ("pages.warc", warc)):
        for pattern in globs or ():
            for problem in unmatched(placed(pattern, path.parent.absolute()), path.parent, setting):
                err.print(f"note: {problem} in {path}, or put the file there before you build")
    work = shlex.quote(name_of(path.parent) if location_of(path) else str(folder))
    build = f"webtext build --dir {work}"
    if warc:
        out.print(f"{path} written; next: {build}")
    else:
        out.print(f"{path} written; next, since pages will be crawled, with a web page or mail address of yours:")
        out.print(f"  {build} --set pages.contact=https://YOUR-SITE/about-this-crawl   # or set it in the file")
    if not submissions:
        out.print(f"without dumps: webtext harvest --subreddit books --dir {work}   # Reddit's API, see its --help")


def unmatched(pattern: str, root: Path, setting: str) -> list[str]:
    """What a build would say of a glob that names no file by now, or a folder; a store is not asked."""
    problems: list[str] = []
    if "://" not in pattern and location_of(root) is None:
        try:
            inputs.matching([pattern], root, setting, problems)
        except InputError as error:
            problems.append(str(error))
    return problems


def placed(pattern: str, folder: Path) -> str:
    """A glob of the command line as a config file in `folder` says it: relative where it lies there, so it may move."""
    if "://" in pattern:
        return pattern
    whole, home = Path(glob.escape(str(Path.cwd()))) / pattern, Path(glob.escape(str(folder)))
    return str(whole.relative_to(home) if whole.is_relative_to(home) else whole)


def harvest(
    subreddit: Annotated[list[str] | None, typer.Option(help="Name of a subreddit; repeatable.")] = None,
    domain: Annotated[list[str] | None, typer.Option(help="Domain that submissions link to; repeatable.")] = None,
    multireddit: Annotated[list[str] | None, typer.Option(help="USER/NAME of a multireddit; repeatable.")] = None,
    folder: Folder = Path(),
    sets: Sets = None,
    ledger: Annotated[Path, typer.Option(help="The ledger, relative to the working directory.")] = LEDGER,
    every: Annotated[str, typer.Option(help="Go on, a round every 90s, 10m, 6h …; otherwise one round.")] = "",
    until: Annotated[str, typer.Option(help="When --every ends: a date (UTC), or a time from now; else never.")] = "",
    build: Annotated[bool, typer.Option("--build", help="Build after each round: the corpus stays current.")] = False,
) -> None:
    """Read Reddit's API into a ledger that links can read; killed at any moment, the next harvest goes on.

    No listing of Reddit shows more than 1,000 submissions: each source is read through 15 listings, and often. PRAW's
    credentials come from the environment (praw_client_id, praw_client_secret) or praw.ini, never from webtext.toml.
    """
    settings = settings_of(folder, sets)
    with needing("harvest"):
        from pipeline.verbs.harvest import check_ledger, harvested, rebuilt, schedule, sources_of
    sources = sources_of(subreddit or (), domain or (), multireddit or ())
    path = folder / ledger
    if location_of(path):
        raise ConfigError("a ledger is a database file: --ledger has to name a place on this machine")
    if build:
        check_ledger(folder, settings, path)
    then = partial(rebuilt, folder.absolute(), settings) if build else None
    counts = harvested(settings, path, sources, schedule(every, until), err.print, then=then)
    out.print(f"{path}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    if not any(fnmatch(str(path), str(folder / pattern)) for pattern in settings.links.submissions):
        out.print(f'next: submissions = ["{ledger}"] under [links] of {folder / config.FILE_NAME}')


def reference(
    source: Annotated[str, typer.Argument(help="What kind of text: wikipedia.", autocompletion=REFERENCE_WORDS)],
    dumps: Annotated[list[Path], typer.Argument(help="pages-articles dumps, .xml or .xml.bz2.")],
    file: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("wikipedia-8grams.npy"),
    sample: Annotated[int, typer.Option(min=1, help="Keep one n-gram in so many; 16 = 2.5 GB for all English.")] = 1,
) -> None:
    """Turn dumps of Wikipedia into the file that corpus.wikipedia_reference names: the 8-grams of all articles."""
    from pipeline.verbs.reference import write_reference

    one_of("SOURCE", source, REFERENCES)
    grams, size = write_reference(dumps, file, sample)
    out.print(f"{file}: {counted(grams, '8-gram')}, one in {sample}, {counted(size, 'byte')}")
    out.print(f'next: wikipedia_reference = "{file.absolute()}" under [corpus]')
