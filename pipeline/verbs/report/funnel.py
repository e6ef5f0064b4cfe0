"""The section on the funnel: one bar over all of it, a bar a step below, and every outcome in a table."""

from __future__ import annotations

from itertools import groupby

from pipeline.shards.outcomes import FATES, Outcome
from pipeline.verbs.report.charts import stack
from pipeline.verbs.report.markup import Markup, element, join
from pipeline.verbs.report.numbers import exact, percent
from pipeline.verbs.report.questions import MEANINGS, Answers, Row
from pipeline.verbs.report.tables import fold, keys, missing, paragraph, table

STEPS = {
    "submissions": "lines of the dumps",
    "links": "addresses",
    "pages": "kept links",
    "documents": "pages",
    "corpus": "documents",
    "tokens": "documents",
}
AGAIN = "another post of the same address"  # a submission that is kept, and gives no further link


def funnel(answers: Answers) -> Markup:
    """From submissions to tokens, with every outcome."""
    if answers.missing.get("funnel") or not answers.of("funnel"):
        return missing(answers.missing.get("funnel", "No artefact is whole: webtext build."))
    steps = {step: list(rows) for step, rows in groupby(answers.of("funnel"), key=lambda row: str(row["step"]))}
    absent = [step for step in FATES if step not in steps]
    every = (
        (str(row["step"]), element("code", str(row["outcome"])), MEANINGS[row["outcome"]], *share_of(row))
        for rows in steps.values()
        for row in rows
    )
    return join(
        paragraph("What came in, under which name each row ended, and what is left.", kind="why"),
        keys(("full", "goes on"), *((colour(step), f"ends at {step}") for step in steps if step != "tokens")),
        element("ol", whole_row(steps), *(step_row(step, rows) for step, rows in steps.items()), class_="steps"),
        missing(f"Not built, and so not told: {', '.join(absent)}.") if absent else Markup(),
        fold(
            "Every outcome in a table, with what it means",
            table(
                "Outcomes",
                "One row a step and outcome; shares are of the rows that came into the step.",
                (("Step", ""), ("Outcome", ""), ("Meaning", ""), ("Rows", "n"), ("Share", "n")),
                every,
            ),
        ),
    )


def colour(step: str) -> str:
    """The colour of what ends at a step."""
    return f"at-{step}"


def share_of(row: Row) -> tuple[str, str]:
    """How many rows an outcome has, and their share."""
    return exact(row["row_count"]), percent(row["row_count"], row["inputs"])


def whole_row(steps: dict[str, list[Row]]) -> Markup:
    """The whole funnel as one bar: each row that came into the first step, by the outcome in which it ended."""
    first = next(iter(steps))
    inputs, left, again = int(steps[first][0]["inputs"]), 0, 0
    ended: list[tuple[str, int, str]] = []  # what, how many rows, the colour
    for step, rows in steps.items():
        came = int(rows[0]["inputs"])
        if step == "links" and came > left and ended:  # not counted as the submissions were: the bar begins here
            inputs, ended = came, []
        elif step == "links" and ended:
            again = left - came
            ended.append((AGAIN, again, colour(step)))
        lost = [row for row in rows if row["outcome"] != Outcome.KEPT]
        ended += [(f"{step}, {row['outcome']}", row["row_count"], colour(step)) for row in lost]
        left = came - sum(row["row_count"] for row in lost)
    parts = [part for part in (*ended, ("left", left, "full")) if part[1]]
    labelled = [(f"{what}: {count:,} ({percent(count, inputs)})", count, kind) for what, count, kind in parts]
    named = element("ul", element("li", f"{AGAIN} ", element("b", exact(again))), class_="outcomes")
    return row_of(
        "All",
        "every row, by where it ended",
        stack(f"All: {left:,} of {inputs:,} are left", labelled),
        named if again else Markup(),
        (left, inputs),
        "whole",
    )


def row_of(name: str, what: str, bar: Markup, below: Markup, counts: tuple[int, int], kind: str = "step") -> Markup:
    """A row of the list: its name, its bar with words below, and what is left of how many."""
    left, inputs = counts
    return element(
        "li",
        element("span", name, class_="name", title=what),
        element("div", bar, below, class_="bar-cell"),
        element("span", element("b", exact(left)), f" of {inputs:,}", class_="sum"),
        class_=kind,
    )


def step_row(step: str, rows: list[Row]) -> Markup:
    """One step: its name, its bar with the outcomes below, and the sum."""
    inputs = int(rows[0]["inputs"])
    went_on = sum(row["row_count"] for row in rows if row["outcome"] == Outcome.KEPT)
    lost = [row for row in rows if row["outcome"] != Outcome.KEPT]
    stripes = [("kept", went_on, "full")] if went_on else []
    stripes += [(row["outcome"], row["row_count"], colour(step)) for row in lost]
    parts = [(f"{name}: {count:,} ({percent(count, inputs)})", count, kind) for name, count, kind in stripes]
    named = (element("li", f"{row['outcome']} ", element("b", exact(row["row_count"]))) for row in lost)
    below = element("ul", *named, class_="outcomes") if lost else Markup()
    bar = stack(f"{step}: {went_on:,} of {inputs:,} go on", parts)
    return row_of(step.capitalize(), STEPS[step], bar, below, (went_on, inputs))
