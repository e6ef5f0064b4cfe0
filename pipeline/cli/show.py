"""The verb that reads documents: show. It parses, calls one function, prints."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from pipeline.cli.console import as_json, err, out, seen
from pipeline.cli.options import Folder, Sets, settings_of
from pipeline.counts import counted

if TYPE_CHECKING:
    from pipeline.verbs.show import Document

WIDEST = 100  # cells of a line: longer ones are hard to read
ALIKE = 12  # words shown where a stretch begins and ends that is alike in both texts
BAR = " │ "
GONE, STAYS, DECIDED = ("[-", "-]", "bold red"), ("{+", "+}", "bold green"), ("[[", "]]", "bold yellow")

Marks = tuple[str, str, str]  # before and after the words, and their colour where there is one


def show(
    addresses: Annotated[list[str] | None, typer.Argument(metavar="URL|DOC_ID", help="These documents.")] = None,
    folder: Folder = Path(),
    sets: Sets = None,
    removed: Annotated[bool, typer.Option("--removed", help="What the corpus refused, not what it keeps.")] = False,
    outcome: Annotated[
        list[str] | None, typer.Option(help="Of this outcome of any stage: near_duplicate, opted_out …; repeatable.")
    ] = None,
    rule: Annotated[list[str] | None, typer.Option(help="Refused by this rule, or this signal; repeatable.")] = None,
    host: Annotated[list[str] | None, typer.Option(help="Of this host and all names under it; repeatable.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="In this language, as en; repeatable.")] = None,
    random: Annotated[int, typer.Option(min=0, help="So many at random.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the draw: the same seed, the same documents.")] = 0,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0 = all.")] = 10,
    words: Annotated[int, typer.Option(min=0, help="At most so many of each text; 0 = all.")] = 0,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Read documents of the corpus, or those it refused, with the reason and beside what they duplicate."""
    from pipeline.verbs import show as verb

    shards = settings_of(folder, sets).build.shards
    wanted = verb.Wanted(
        addresses=tuple(addresses or ()), removed=removed, outcomes=tuple(outcome or ()), rules=tuple(rule or ()),
        hosts=tuple(host or ()), languages=tuple(language or ()), limit=limit, random=random, seed=seed,
    )  # fmt: skip
    number = 0
    with paged(not json_lines):
        for number, document in enumerate(verb.show(folder, shards, wanted), 1):
            if json_lines:
                out.write(as_json(dataclasses.asdict(document)))
                continue
            for line in lines_of(document, number, words):
                out.print(line)
    if not number:
        known = verb.rules_at_work(folder, shards) if rule else {}
        err.print(f"nothing here is so{'; rules that removed some: ' + ', '.join(known) if known else ''}")
    elif number == limit and not random and not addresses:
        err.print(f"the first {limit}; all: --limit 0, others: --random {limit}")


@contextmanager
def paged(wanted: bool) -> Iterator[None]:
    """Send what is printed within through the user's pager, as git does, if a person reads it."""
    if not (wanted and out.is_terminal):
        yield
        return
    os.environ.setdefault("LESS", "FRX")  # colours as they are; a screenful ends by itself
    with out.pager(styles=True):
        yield


def lines_of(document: Document, number: int, most_words: int) -> Iterator[Text]:
    """A document as lines for a terminal: what it is, why it went, and its text, beside what it lost to."""
    wide = min(out.width, WIDEST)
    yield Text(f"── {number} ".ljust(wide, "─"), style="dim")
    if document.title or document.text:
        yield from wrapped(Text(seen(document.title or "no title"), style="bold"), wide)
    yield Text(seen(document.url))
    about = [
        document.language or "",
        "" if document.words is None else counted(document.words, "word"),
        document.doc_id,
    ]
    yield Text(" · ".join(filter(None, about)), style="dim")
    if document.grounds:
        yield from wrapped(Text(seen(f"{document.outcome}: {document.grounds}"), style="bold"), wide)
    if not document.text and document.words is None:  # no document: there is nothing to read
        return
    yield Text()
    if document.lost_to is not None:
        yield from pair(document, document.lost_to, wide, most_words)
    else:
        if document.keeper and document.outcome != "duplicate_elsewhere":
            yield Text(f"What it lost to is in the corpus no more: {document.keeper}")
        yield from body(document, wide, most_words)
    yield Text()


def body(document: Document, wide: int, most_words: int) -> Iterator[Text]:
    """The text, its paragraphs wrapped; passages that decided are marked."""
    text, end = document.text, len(document.text)
    if most_words:
        end = len(" ".join(text.split(" ")[:most_words]))
    marked, last = Text(), 0
    for first, stop in document.passages:
        if first < end:
            marked.append(seen(text[last:first], "\n"))
            mark(marked, seen(text[first : min(stop, end)], "\n"), DECIDED)
            last = min(stop, end)
    marked.append(seen(text[last:end], "\n") + (" …" if end < len(text) else ""))
    for paragraph in marked.split("\n", allow_blank=True):
        yield from wrapped(paragraph, wide) if paragraph else [Text()]


def mark(text: Text, words: str, marks: Marks) -> None:
    """Append words with signs around them, which a pipe shows too, in a colour."""
    text.append(f"{marks[0]}{words}{marks[1]}", style=marks[2])


def wrapped(text: Text, wide: int) -> list[Text]:
    """The lines of a paragraph, none wider than `wide` cells but for a word that is."""
    lines = list(text.wrap(out, wide))
    for line in lines:
        line.rstrip()
    return lines


# --- pairs


def pair(gone: Document, stays: Document, wide: int, most_words: int) -> Iterator[Text]:
    """Two documents side by side, words that differ marked; long stretches that are alike are told by their length.

    Of each at most so many words are compared and shown, 0 = all.
    """
    from pipeline.verbs.differences import stretches

    yield from wrapped(Text(seen(f"It lost to: {stays.title or 'no title'}"), style="bold"), wide)
    yield Text(seen(stays.url))
    yield Text(f"{counted(stays.words or 0, 'word')} · {stays.doc_id}", style="dim")
    yield Text()
    whole, half = (gone.text.split(), stays.text.split()), (wide - len(BAR)) // 2
    texts = tuple(text[: most_words or None] for text in whole)
    yield from beside((Text("goes", style="bold"), Text("stays", style="bold")), half)
    columns = Text(), Text()
    for stretch in stretches(*texts):
        left, right = words_of(texts[0], stretch.left), words_of(texts[1], stretch.right)
        if stretch.kind == "same" and len(left) > 3 * ALIKE:
            add(columns, left[:ALIKE], right[:ALIKE])
            yield from beside(columns, half)
            alike = Text(f"… {len(left) - 2 * ALIKE:,} words alike …", style="dim")
            yield from beside((alike, alike), half)
            columns, left, right = (Text(), Text()), left[-ALIKE:], right[-ALIKE:]
        add(columns, left, right, differ=stretch.kind != "same")
    yield from beside(columns, half)
    if texts != whole:
        yield Text(f"Only the first {counted(most_words, 'word')} of each are shown.", style="dim")
    if whole[0] == whole[1]:
        yield Text("Word for word the same.")


def words_of(words: Sequence[str], span: range) -> list[str]:
    """Some words of a text, as a terminal may see them."""
    return list(map(seen, words[span.start : span.stop]))


def add(columns: tuple[Text, Text], left: Sequence[str], right: Sequence[str], differ: bool = False) -> None:
    """Append words to both columns, marked where they differ."""
    for column, words, marks in zip(columns, (left, right), (GONE, STAYS), strict=True):
        if words and differ:
            mark(column, " ".join(words), marks)
        else:
            column.append(" ".join(words))
        column.append(" " if words else "")


def beside(columns: tuple[Text, Text], half: int) -> Iterator[Text]:
    """Two texts as lines side by side, each within `half` cells."""
    left, right = (wrapped(column, half) for column in columns)
    for this, other in zip_longest(left, right, fillvalue=Text()):
        line = this.copy()
        line.append(" " * (half - line.cell_len) + BAR)
        line.append_text(other)
        line.rstrip()
        yield line
