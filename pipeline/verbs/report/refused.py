"""The sections on what is not in the corpus: removals, duplicates, Wikipedia, the crawl's failures, opt-outs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus

from pipeline.counts import counted
from pipeline.elsewhere import RULE
from pipeline.shards.outcomes import Outcome
from pipeline.text.redact import redacted
from pipeline.verbs.differences import Stretch, stretches
from pipeline.verbs.report.charts import bar
from pipeline.verbs.report.markup import Markup, address, element, foreign, join, plain
from pipeline.verbs.report.numbers import decimal, exact, percent, size
from pipeline.verbs.report.questions import MEANINGS, Answers, Row
from pipeline.verbs.report.samples import KINDS
from pipeline.verbs.report.tables import missing, pair, paragraph, table

SHOWN_WORDS = 85  # of a text in a pair
BEFORE = 18  # words shown before the first difference
NEAR = "near duplicates:"  # how the notes of a stage begin that tell of them
ROBOTS = (Outcome.ROBOTS_DISALLOWED, Outcome.ROBOTS_UNREACHABLE)


def removed(answers: Answers) -> Markup:
    """By which rules documents went."""
    if "removals" in answers.missing:
        return missing(answers.missing["removals"])
    rows = answers.of("removals")
    if not rows:
        return missing("No document went out of the corpus.")
    most = max(row["documents"] for row in rows)
    return join(
        paragraph(
            "Documents whose text was extracted, and which the corpus refuses, by the rule that decided.", kind="why"
        ),
        table(
            "Rules that removed documents",
            "The median is of the number that the rule looked at.",
            (("Outcome", ""), ("Rule", ""), ("", "b"), ("Documents", "n"), ("Threshold", "n"), ("Median", "n")),
            (
                (
                    element("code", row["outcome"]),
                    element("code", row["rule"] or "–"),
                    bar(row["documents"], most, "lost"),
                    exact(row["documents"]),
                    decimal(row["threshold"]),
                    decimal(row["median_value"]),
                )
                for row in rows
            ),
        ),
    )


def duplicates(answers: Answers) -> Markup:
    """How many, and examples side by side."""
    if "duplicates" in answers.missing:
        return missing(answers.missing["duplicates"])
    counts: Counter[str] = Counter()
    for row in answers.of("removals"):
        counts[row["outcome"]] += row["documents"]
    rows = answers.of("duplicates")
    if not rows:
        return join(already(answers, counts), missing("No document is a copy of another one here."))
    return join(
        already(answers, counts),
        paragraph(
            f"{counted(counts[Outcome.EXACT_DUPLICATE], 'document')} had the same words as a better-ranked one, "
            f"{counts[Outcome.NEAR_DUPLICATE]:,} nearly the same. Of each kind some pairs, the least alike first; "
            "where two texts differ is marked.",
            kind="why",
        ),
        measured(answers),
        *(twins(row) for row in rows),
    )


def already(answers: Answers, counts: Counter[str]) -> Markup:
    """How many stand in other corpora, and which these are; nothing where the corpus was compared with none."""
    prefix = f"{RULE} "
    notes = [row["note"] for row in answers.of("notes") if row["stage"] == "corpus" and row["note"].startswith(prefix)]
    if not notes:
        return Markup()
    gone = counted(counts[Outcome.DUPLICATE_ELSEWHERE], "document")
    opening = paragraph(f"{gone} went because they stand in a corpus of another build (corpus.against):", kind="why")
    return join(opening, element("ul", *(element("li", note.removeprefix(prefix)) for note in notes)))


def measured(answers: Answers) -> Markup:
    """What the deduplication found when it measured itself on a sample."""
    notes = [row["note"] for row in answers.of("notes") if row["stage"] == "corpus" and row["note"].startswith(NEAR)]
    return element("ul", *(element("li", note.removeprefix(NEAR).strip()) for note in notes)) if notes else Markup()


def twins(row: Row) -> Markup:
    """A pair of documents side by side."""
    gone, stays = differing(*(redacted(row[f"{side}_begins"] or "", KINDS)[0] for side in ("gone", "stays")))
    same = row["outcome"] == Outcome.EXACT_DUPLICATE
    title = "The same words" if same else f"Similarity {decimal(row['value'])}, threshold {decimal(row['threshold'])}"
    return element(
        "div",
        element("h3", title),
        twin("gone", "Goes", row, gone),
        twin("stays", "Stays", row, stays),
        class_="twins",
    )


def twin(side: str, fate: str, row: Row, text: Markup) -> Markup:
    """One document of a pair."""
    return element(
        "article",
        element("p", f"{fate} · {counted(row[f'{side}_words'] or 0, 'word')}", class_="fate"),
        element("h4", foreign(row[f"{side}_title"])),
        address(row[f"{side}_url"]),
        element("p", text, dir="auto"),
        class_=f"twin {side}",
    )


def differing(this: str, other: str) -> tuple[Markup, Markup]:
    """Two texts around the first place where they differ, the words that differ marked."""
    left, right = plain(this).split(), plain(other).split()
    found = stretches(left, right)
    first = next((change for change in found if change.kind != "same"), Stretch("", range(0), range(0)))
    return (
        excerpt(left, [(change.kind, change.left) for change in found], max(0, first.left.start - BEFORE)),
        excerpt(right, [(change.kind, change.right) for change in found], max(0, first.right.start - BEFORE)),
    )


def excerpt(words: list[str], spans: list[tuple[str, range]], start: int) -> Markup:
    """SHOWN_WORDS words from `start` on; what is not the same in the other text is marked."""
    end = start + SHOWN_WORDS
    pieces: list[str] = ["… "] if start else []
    for kind, span in spans:
        shown = " ".join(words[max(span.start, start) : min(span.stop, end)])
        if shown:
            pieces += [shown if kind == "same" else element("mark", shown), Markup(" ")]
    return join(*pieces, "…" if len(words) > end else "")


def wikipedia(answers: Answers) -> Markup:
    """What went out as Wikipedia's."""
    if "wikipedia" in answers.missing:
        return missing(answers.missing["wikipedia"])
    by_host = sum(row["row_count"] for row in answers.of("funnel") if row["outcome"] == Outcome.WIKIPEDIA_HOST)
    by_text = sum(row["row_count"] for row in answers.of("funnel") if row["outcome"] == Outcome.WIKIPEDIA_TEXT)
    why = paragraph(
        "WebText left Wikipedia out, since many evaluations are made of it. Here "
        f"{counted(by_host, 'row')} went for an address of Wikipedia or a known mirror, {counted(by_text, 'document')} "
        "for the text: most of its 8-grams stand in the reference, or it says itself where it comes from.",
        kind="why",
    )
    rows, settings = answers.of("wikipedia"), {row["setting"]: row["value"] for row in answers.of("settings")}
    if settings.get("wikipedia_dumps", "[]") == "[]" and settings.get("wikipedia_reference", '""') == '""':
        why = join(why, missing("No reference was given, so only texts that say where they come from could be found."))
    if not rows:
        return join(why, missing("No document went out for its text."))
    return join(
        why,
        table(
            "Documents that are Wikipedia's",
            "The share is of 8-grams found in the reference; the largest first.",
            (("Title", ""), ("Address", ""), ("Rule", ""), ("Share", "n")),
            (
                (
                    foreign(row["title"]),
                    address(row["url"], 60),
                    element("code", row["rule"] or "–"),
                    decimal(row["value"]),
                )
                for row in rows
            ),
        ),
    )


def crawl(answers: Answers) -> Markup:
    """What servers answered, why pages were not had, where pages lie."""
    if "statuses" in answers.missing:
        return missing(answers.missing["statuses"])
    statuses: Counter[int | None] = Counter()
    fates: Counter[str] = Counter()
    for row in answers.of("statuses"):
        statuses[row["status"]] += row["pages"]
        fates[row["outcome"]] += row["pages"]
    asked, got = fates.total(), fates[Outcome.KEPT]
    failed = [(fate, count) for fate, count in fates.most_common() if fate != Outcome.KEPT]
    robots = sum(fates[fate] for fate in ROBOTS)
    return join(
        paragraph(
            f"{got:,} of {counted(asked, 'link')} gave a page ({percent(got, asked)}). "
            + (
                f"For {counted(robots, 'link')} robots.txt said no, or could not be had, which counts."
                if robots
                else ""
            ),
            kind="why",
        ),
        pair(
            table(
                "Answers",
                "By HTTP status, after redirects. No status: no answer was read.",
                (("Status", ""), ("", "b"), ("Links", "n"), ("Share", "n")),
                (
                    (
                        status_of(status),
                        bar(count, asked, "full" if status == HTTPStatus.OK else "lost"),
                        exact(count),
                        percent(count, asked),
                    )
                    for status, count in sorted(statuses.items(), key=lambda item: (item[0] is None, item[0] or 0))
                ),
            ),
            table(
                "Why a link gave no page",
                "By outcome, the most frequent first.",
                (("Outcome", ""), ("Meaning", ""), ("Links", "n")),
                ((element("code", fate), MEANINGS[fate], exact(count)) for fate, count in failed),
            )
            if failed
            else missing("Every link gave a page."),
        ),
        places(answers),
    )


def status_of(status: int | None) -> str:
    """A status with its name."""
    if status is None:
        return "none"
    names = {status.value: status.phrase for status in HTTPStatus}
    return f"{status} {names.get(status, '')}".strip()


def places(answers: Answers) -> Markup:
    """Where the pages come from."""
    rows = (
        (row["place"], exact(row["pages"]), exact(row["hosts"]), size(row["bytes"])) for row in answers.of("places")
    )
    return table(
        "Where the pages lie",
        "Bytes are those of the WARC records, compressed, where their length is known.",
        (("Place", ""), ("Pages", "n"), ("Hosts", "n"), ("Bytes", "n")),
        rows,
    )


def opt_outs(answers: Answers) -> Markup:
    """Who asked not to be used."""
    if "opt_outs" in answers.missing:
        return missing(answers.missing["opt_outs"])
    rows = answers.of("opt_outs")
    why = paragraph(
        "Signs by which a page or its server asks not to be used for training. Pages are left out unless "
        "pages.opt_outs is false; who asks afterwards is taken out by webtext remove.",
        kind="why",
    )
    if not rows:
        return join(why, missing("No page that was read asked for it."))
    return join(why, table("Opt-outs", "A page may say it in several ways.", *opt_out_rows(rows)))


def opt_out_rows(rows: list[Row]) -> tuple[tuple[tuple[str, str], ...], Iterator[tuple[str, ...]]]:
    """The heads and the rows of the table of opt-outs."""
    heads = (("Sign", ""), ("Pages", "n"), ("Hosts", "n"), ("Left out", "n"))
    cells = (
        (element("code", plain(row["said"], 60)), exact(row["pages"]), exact(row["hosts"]), exact(row["left_out"]))
        for row in rows
    )
    return heads, cells
