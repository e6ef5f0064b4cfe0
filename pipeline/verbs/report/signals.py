"""The section on signals: how each is spread over the documents, with the bounds that the rules set to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from math import ceil, log2

from pipeline.counts import counted
from pipeline.text.rules import Rule
from pipeline.text.signals import SIGNALS
from pipeline.verbs.report.charts import Bound, Column, columns
from pipeline.verbs.report.markup import Markup, join
from pipeline.verbs.report.numbers import decimal, exact
from pipeline.verbs.report.questions import Answers, Row
from pipeline.verbs.report.tables import figure, fold, keys, missing, pair, paragraph, table

COLUMNS = 25  # of a histogram, at most
EDGE = 0.005  # share of the documents that may lie beyond either end of a scale, in its last column
STEPS = {"mean_word_length": 0.1}  # of sql/report/signals.sql, as is
STEP = 0.005
LEAST_OR_MOST = {"<=": "at most", ">=": "at least"}


def signals(answers: Answers) -> Markup:
    """Signals that a rule looks at, then the others, folded."""
    if "signals" in answers.missing:
        return missing(answers.missing["signals"])
    spread = {name: list(rows) for name, rows in groupby(answers.of("signals"), key=lambda row: str(row["signal"]))}
    if not spread:
        return missing("No document has a signal.")
    bounds = {name: [bound for bound in answers.bounds if bound.signal == name] for name in spread}
    ruled = [histogram(name, rows, bounds[name]) for name, rows in spread.items() if bounds[name]]
    rest = [histogram(name, rows, []) for name, rows in spread.items() if not bounds[name]]
    return join(
        paragraph(
            "What was counted about the documents on which the corpus decided. A line is the bound of a rule; what is "
            "not filled went out, for this signal or for another reason.",
            kind="why",
        ),
        keys(("full", "in the corpus"), ("track", "taken out"), ("lost", "bound of a rule")),
        pair(*ruled) if ruled else missing("No rule of corpus.rules can be read today, so no bound is drawn."),
        fold(f"{counted(len(rest), 'signal')} that no rule looks at", pair(*rest)) if rest else Markup(),
    )


def histogram(name: str, rows: list[Row], bounds: list[Rule]) -> Markup:
    """One signal: its buckets put together until they fit, and its bounds where they lie."""
    made = doubling(rows) if name.endswith("_count") else even(rows, STEPS.get(name, STEP), bounds)
    data = [
        Column(
            label,
            row["documents"],
            row["stay"],
            f"{values}: {counted(row['documents'], 'document')}, {row['stay']:,} stay",
        )
        for label, values, row in made.columns
    ]
    drawn = [
        Bound(made.across(bound.bound), f"{'≤' if bound.sign == '<=' else '≥'} {decimal(bound.bound)}")
        for bound in bounds
    ]
    cells = ((column.title.partition(":")[0], exact(column.height), exact(column.full)) for column in data)
    return figure(
        name,
        SIGNALS.get(name, "").partition(" (")[0]
        + "."
        + "".join(f" A rule asks for {LEAST_OR_MOST[bound.sign]} {decimal(bound.bound)}." for bound in bounds),
        columns(f"Documents by {name}", data, drawn),
        fold("The numbers", table(name, "", (("Value", ""), ("Documents", "n"), ("In the corpus", "n")), cells)),
    )


@dataclass(frozen=True)
class Scale:
    """Columns as (label, what they hold in words, counts), and at which of them, and how far in it, a value lies."""

    columns: list[tuple[str, str, Row]]
    column_of: Callable[[float], float]

    def across(self, value: float) -> float:
        """Where a value lies, in percent of the width; at the edge, however far it lies beyond."""
        return 100 * min(1.0, max(0.0, self.column_of(value) / len(self.columns)))


def doubling(rows: list[Row]) -> Scale:
    """Buckets of counts, those between that hold nothing too."""
    known = {place_of(row["at_least"]): row for row in rows}
    first, last = min(known), max(known)
    made = []
    for place in range(first, last + 1):
        least = 2 ** (place - 1) if place else 0
        values = f"{least:,}" if place < 2 else f"{least:,} to {2 * least - 1:,}"
        made.append((short_power(least), values, known.get(place, {"documents": 0, "stay": 0})))
    return Scale(made, lambda value: (1 + log2(value) if value >= 1 else 0) - first)


def place_of(at_least: float) -> int:
    """The number of a bucket: 0 of nothing, 1 of one, 2 of 2 to 3, and so on."""
    return 1 + round(log2(at_least)) if at_least else 0


def short_power(value: int) -> str:
    """4096 as 4k."""
    return f"{value // 1024}k" if value >= 1024 else str(value)


def even(rows: list[Row], step: float, bounds: list[Rule]) -> Scale:
    """Buckets of equal width, so wide that COLUMNS are enough; what lies beyond the scale is in its first and last."""
    counts = [(round(row["at_least"] / step), row) for row in rows]
    every = sum(row["documents"] for _, row in counts)
    low, high = edge(counts, every), edge(counts[::-1], every)
    marks = [bound.bound / step for bound in bounds]
    first = min([low, *(int(mark * 0.9) for mark in marks)])
    last = max([high, first, *(ceil(mark * 1.1) for mark in marks if mark < 100_000)])
    width = -(-(last - first + 1) // COLUMNS)
    number = -(-(last - first + 1) // width)
    made: list[Row] = [{"documents": 0, "stay": 0} for _ in range(number)]
    for place, row in counts:
        into = made[min(number - 1, max(0, (place - first) // width))]
        into["documents"] += row["documents"]
        into["stay"] += row["stay"]
    starts = [(first + width * place) * step for place in range(number)]
    labels = [f"{decimal(start)} to {decimal(start + width * step)}" for start in starts]
    if low > min(place for place, _ in counts):
        labels[0] = f"below {decimal(starts[0] + width * step)}"
    labels[-1] = f"from {decimal(starts[-1])} on"
    columns = list(zip(map(decimal, starts), labels, made, strict=True))
    return Scale(columns, lambda value: (value - starts[0]) / (width * step))


def edge(counts: list[tuple[int, Row]], every: int) -> int:
    """The first bucket, from one end, before which no more than EDGE of all documents lie."""
    passed = 0
    for place, row in counts:
        passed += row["documents"]
        if passed > EDGE * every:
            return place
    return counts[-1][0]
