"""The verbs that ask what was made, and why: report, explain, overlap, extract."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from pipeline.cli.console import as_json, err, out
from pipeline.cli.options import Folder, Sets, Stale, completing, current, needing, one_of, settings_of
from pipeline.config import ENGINES
from pipeline.counts import counted
from pipeline.plaintext import is_text
from pipeline.shards import progress
from pipeline.shards.locations import mirror

T = TypeVar("T")


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
    found = write.report(folder, settings.build.shards, target, settings)
    for sentence in write.unmade(found):
        err.print(f"note: {sentence}")
    out.print(f"{target / write.PAGE} and {target / write.CARD} written")


def explain(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL|HOST|DOC_ID|SUBMISSION", help="An address as you type it, a host, a doc_id, t3_1abc."
        ),
    ],
    folder: Folder = Path(),
    sets: Sets = None,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object, with all that is known.")] = False,
) -> None:
    """Tell what became of a page or of a host's pages, in one sentence, and then what each stage made of it."""
    from pipeline.verbs.explain import explained

    found = explained(folder, settings_of(folder, sets).build.shards, url)
    if json_lines:
        stages = [{"stage": stage, **row} for stage, row in found.stages]
        out.write(as_json({"verdict": found.verdict, "stages": stages}))
        return
    if found.taken_as:
        err.print(f"note: taken as {found.taken_as}")
    out.print(found.verdict)
    for stage, row in found.stages:
        out.print(TITLES.get(stage, stage))
        for name, value in row.items():
            for item in value if isinstance(value, list) else [value]:
                if said := in_words(item):
                    out.print(f"  {name}: {said}")


TITLES = {"removed": "corpus: not kept", "removal": "removal request"}  # `removed` reads as if somebody had asked


def in_words(value: Any) -> str:
    """A value of a row in words, numbers to four digits; "" of what is not known, or is of another kind of row."""
    if isinstance(value, dict):
        parts = ((name, in_words(item)) for name, item in value.items())
        return ", ".join(f"{name} {said}" for name, said in parts if said)
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def overlap(
    evaluations: Annotated[list[Path], typer.Argument(help="Evaluation texts: .txt, or .jsonl with any strings.")],
    train: Annotated[list[Path] | None, typer.Option(help="The train set of each, in the same order.")] = None,
    folder: Folder = Path(),
    sets: Sets = None,
    stale: Stale = False,
) -> None:
    """Measure how many 8-grams of evaluation texts stand in the corpus (Radford et al. 2019, section 4)."""
    from pipeline.verbs.overlap import overlaps

    settings = settings_of(folder, sets)
    current(folder, settings, ("corpus",), stale)
    table = Table("evaluation", "8-grams", "in the corpus", "in its own train set", box=None)
    for evaluation in overlaps(folder, settings.build.shards, evaluations, train or ()):
        for note in evaluation.notes:
            err.print(note)
        table.add_row(
            evaluation.name,
            f"{evaluation.grams:,}",
            f"{evaluation.corpus:.2%}",
            "-" if evaluation.train is None else f"{evaluation.train:.2%}",
        )
    out.print(table)


def word_or_path(word: str) -> str | Path:
    """A word of the command; what is no text can only name a file."""
    return word if is_text(word) else Path(word)


def between(items: Iterable[T]) -> Iterator[T]:
    """The items; on a terminal, where they are printed, the bar is only there while the next one is made."""
    waited_for = progress.current()
    for item in items:
        if out.is_terminal:
            progress.begin(None)
        yield item
        if out.is_terminal:
            progress.begin(waited_for)


def extract(
    pages: Annotated[
        list[Any],
        typer.Argument(
            parser=word_or_path,
            metavar="PAGE",
            help="Files of HTML or .txt, - for standard input, WARC:OFFSET, WARC URL, or a URL of a build.",
        ),
    ],
    folder: Folder = Path(),
    sets: Sets = None,
    engine: Annotated[
        str,
        typer.Option(
            help="cascade, trafilatura, resiliparse or newspaper.", autocompletion=completing(lambda: ENGINES)
        ),
    ] = "cascade",
    content_type: Annotated[str, typer.Option(help="What the server said, with its charset.")] = "",
    url: Annotated[str, typer.Option(help="Where the page was.")] = "",
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object a line, with all signals.")] = False,
) -> None:
    """Show what an engine makes of pages: the text, and on stderr how it came about."""
    from pipeline.verbs.extract import extracts

    one_of("--engine", engine, ENGINES)
    settings = partial(settings_of, folder, sets)
    with progress.phase("extract", noun="pages"):
        for found in between(extracts(pages, engine, content_type, url, folder, settings)):
            if json_lines:
                out.write(json.dumps(found, ensure_ascii=False) + "\n")
                continue
            parts = [found["outcome"], found["engine"], counted(found.get("word_count", 0), "word"), found["title"]]
            err.print(f"{found['file']}: {', '.join(filter(None, parts))}")
            out.write(found["text"] + "\n" if found["text"] else "")
