"""The section in which documents are read: some that stay, and some that each rule took out."""

from __future__ import annotations

from itertools import groupby

from pipeline.counts import counted
from pipeline.shards.outcomes import Outcome
from pipeline.text.redact import redacted
from pipeline.verbs.report.markup import Markup, address, element, foreign, join, plain
from pipeline.verbs.report.numbers import decimal
from pipeline.verbs.report.questions import MEANINGS, Answers, Row
from pipeline.verbs.report.tables import fold, missing, paragraph

SHOWN = 600  # characters of a text
KINDS = ("email", "ip")  # addresses that a page for others does not show, whatever corpus.redact says


def samples(answers: Answers) -> Markup:
    """Documents of the corpus, then those of each rule, folded: the busiest first."""
    if "samples" in answers.missing:
        return missing(answers.missing["samples"])
    rows = answers.of("samples")
    if not rows:
        return missing("There is no document to show.")
    groups = [list(group) for _, group in groupby(rows, key=lambda row: (row["outcome"], row["rule"]))]
    kept = [group for group in groups if group[0]["outcome"] == Outcome.KEPT]
    gone = [group for group in groups if group[0]["outcome"] != Outcome.KEPT]
    return join(
        paragraph(
            "How documents begin, drawn by a hash of their ids. A rule that takes what should stay is found by "
            "reading; webtext show --rule shows all that it took. E-mail and IP addresses are replaced.",
            kind="why",
        ),
        *(element("div", element("h3", "In the corpus"), *map(sample, group), class_="samples") for group in kept),
        element("h3", "Taken out") if gone else missing("No document was taken out, but for copies."),
        *(fold(title(group[0]), element("div", *map(sample, group), class_="samples")) for group in gone),
    )


def title(row: Row) -> str:
    """Of a rule: its outcome, the rule, how many documents it took."""
    return f"{row['outcome']}: {row['rule'] or MEANINGS[row['outcome']]} ({counted(row['documents'], 'document')})"


def sample(row: Row) -> Markup:
    """One document: its title, where it was, what the rule looked at, and how it begins."""
    about = [row["language"] or "", counted(row["words"] or 0, "word")]
    if row["value"] is not None:
        about.append(f"has {decimal(row['value'])}")
    if row["threshold"] is not None:
        about.append(f"threshold {decimal(row['threshold'])}")
    return element(
        "article",
        element("h4", foreign(row["title"])),
        address(row["url"]),
        element("p", plain(" · ".join(filter(None, about))), class_="fate"),
        element("p", beginning(row["begins"]), dir="auto"),
        class_="twin stays" if row["outcome"] == Outcome.KEPT else "twin gone",
    )


def beginning(text: str | None) -> str:
    """How a text begins, in one line, without addresses of people and machines."""
    return plain(redacted(text or "", KINDS)[0], SHOWN)
