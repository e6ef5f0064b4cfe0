"""The page: one HTML file that needs no network and no script, from the top down."""

from __future__ import annotations

import html
from collections.abc import Callable
from importlib import resources
from string import Template

from pipeline.counts import counted
from pipeline.verbs.report import about, after, funnel, made, refused, samples, signals
from pipeline.verbs.report.markup import Markup, element, foreign, join, plain
from pipeline.verbs.report.numbers import exact, short, size, span_of_years
from pipeline.verbs.report.questions import Answers, unmade

LONGEST = 120  # characters of a name

# Anchor, title, and the function that writes the section.
CONTENTS: tuple[tuple[str, str, Callable[[Answers], Markup]], ...] = (
    ("funnel", "Funnel", funnel.funnel),
    ("links", "Links", made.links),
    ("sources", "Sources", made.sources),
    ("documents", "Documents", made.documents),
    ("samples", "Samples", samples.samples),
    ("removed", "Removed", refused.removed),
    ("signals", "Signals", signals.signals),
    ("duplicates", "Duplicates", refused.duplicates),
    ("wikipedia", "Wikipedia", refused.wikipedia),
    ("crawl", "Crawl health", refused.crawl),
    ("opt-outs", "Opt-outs", refused.opt_outs),
    ("tokenizer", "Tokenizer", after.tokenizer),
    ("training", "Training", after.training),
    ("provenance", "Provenance", after.provenance),
)


def page(answers: Answers) -> str:
    """The whole page; the same answers give the same bytes."""
    files = resources.files("pipeline.verbs.report")
    parts = [
        element(
            "section",
            element("h2", title, id=f"{anchor}-title"),
            write(answers),
            id=anchor,
            aria_labelledby=f"{anchor}-title",
        )
        for anchor, title, write in CONTENTS
    ]
    return Template(files.joinpath("page.html").read_text("utf-8")).substitute(
        title=html.escape(f"{title(answers)} · webtext report"),
        style=files.joinpath("page.css").read_text("utf-8").strip(),
        header=header(answers),
        nav=nav(),
        main="\n".join(parts),
        footer=footer(),
    )


def header(answers: Answers) -> Markup:
    """What is seen first: what it is, how much of it, and what is missing."""
    missing = unmade(answers)
    note = element("p", f"Not everything is built: {', '.join(missing)}.", class_="missing") if missing else Markup()
    return element(
        "header",
        element("p", "webtext report", class_="kind"),
        element("h1", title(answers)),
        element("p", headline(answers), class_="lead"),
        note,
        tiles(answers),
        known(answers),
    )


def title(answers: Answers) -> str:
    """What the owner calls the corpus, or what the page tells of it."""
    return plain(answers.settings.build.name, LONGEST) or "What is in this corpus"


def known(answers: Answers) -> Markup:
    """Which corpus it is, and what it was made from."""
    pairs = about.facts(answers)
    shown = (element("div", element("dt", name), element("dd", foreign(value, 0))) for name, value in pairs)
    return element("dl", *shown, class_="facts") if pairs else Markup()


def headline(answers: Answers) -> str:
    """The corpus in one or two sentences."""
    whole = answers.one("size")
    if not whole.get("documents"):
        return "The corpus is not built yet. What stands so far is told below."
    sentence = f"{counted(whole['documents'], 'document')} from {counted(whole['hosts'], 'host')}"
    first, last = whole["first_year"], whole["last_year"]
    if first:
        sentence += f", linked on Reddit {span_of_years(first, last)}"
    taken = next((row["inputs"] for row in answers.of("funnel") if row["step"] == "submissions"), None)
    if taken:
        sentence += f": what is left of {counted(taken, 'submission')}"
    return sentence + ". Every row of every step ended in exactly one named outcome; all of them are counted here."


def tiles(answers: Answers) -> Markup:
    """The numbers that a person asks for first."""
    whole = answers.one("size")
    if not whole.get("documents"):
        return Markup()
    tokens = sum(count for _, count in answers.tokens.values()) if answers.tokens else None
    shown = [
        ("Documents", exact(whole["documents"])),
        ("Words", tile_count(whole["words"])),
        ("Tokens", tile_count(tokens)),
        ("Text, UTF-8", size(whole["bytes"])),
        ("Hosts", exact(whole["hosts"])),
        ("Median words", exact(whole["median_words"])),
    ]
    return element(
        "dl", *(element("div", element("dt", name), element("dd", value)) for name, value in shown), class_="tiles"
    )


def tile_count(count: int | None) -> str:
    """A count for a tile: exact while it fits."""
    return exact(count) if count is None or count < 10_000_000 else short(count)


def nav() -> Markup:
    """Where to go on the page."""
    links = (element("li", element("a", title, href=f"#{anchor}")) for anchor, title, _ in CONTENTS)
    return element("nav", element("ul", *links), aria_label="Sections of the report")


def footer() -> Markup:
    """How the page was made."""
    return element(
        "footer",
        element(
            "p",
            join(
                "Made by ",
                element("code", "webtext report"),
                " from the artefacts alone: the same artefacts give the same page, byte for byte. Each number comes "
                "from a file in ",
                element("code", "sql/report/"),
                ", which DuckDB runs by hand in the working directory. Nothing on this page is loaded from elsewhere.",
            ),
        ),
    )
