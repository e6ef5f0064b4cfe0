"""Provenance of the corpus: its name, what its links and pages were made from, when the pages were captured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from pipeline.counts import counted
from pipeline.verbs.report.dates import Captured
from pipeline.verbs.report.numbers import span_of_years
from pipeline.verbs.report.questions import Answers

NAMED = 4  # files of a setting that are named
DEFAULT = "A corpus made as WebText was"


def facts(answers: Answers) -> list[tuple[str, str]]:
    """What an owner asks first, as (name, value); what is not known is left out."""
    found = {
        "Links from": links_from(answers),
        "Posted": posted(answers),
        "Pages from": pages_from(answers),
        "Captured": captured(answers.captured),
        "Made": str(answers.made or ""),
        "Fingerprint": next(
            (str(row["fingerprint"]) for row in answers.of("artefacts") if row["stage"] == "corpus"), ""
        ),
    }
    return [(name, value) for name, value in found.items() if value]


def links_from(answers: Answers) -> str:
    """The names of the files or the table that links were read from."""
    links = answers.settings.links
    return listed([*links.submissions, *filter(None, [links.bigquery])])


def pages_from(answers: Answers) -> str:
    """Where the pages were had, and the names of the archives or indexes that were given."""
    places = ", ".join(f"{row['place']} {row['pages']:,}" for row in answers.of("places"))
    names = listed([*answers.settings.pages.warc, *answers.settings.pages.commoncrawl])
    return places + (f" ({names})" if places and names else "")


def posted(answers: Answers) -> str:
    """In which years the links of the corpus were posted."""
    size = answers.one("size")
    return span_of_years(size["first_year"], size["last_year"]) if size.get("first_year") else ""


def captured(found: Captured | None) -> str:
    """When the pages were captured, and by how many archives that is known."""
    if found is None or found.first is None or found.last is None:
        return ""
    days = f"{found.first}" if found.first == found.last else f"{found.first} to {found.last}"
    known = "" if found.read == found.archives else f", as {found.read:,} of {counted(found.archives, 'archive')} say"
    return days + known


def listed(names: Sequence[str]) -> str:
    """Names in a row, of a path its last part, since a page is for others too; how many more there are."""
    more = len(names) - NAMED
    shown = [PurePath(name).name or name for name in names[:NAMED]]
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
