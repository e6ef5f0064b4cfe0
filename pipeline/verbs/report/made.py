"""The sections on what is in the corpus: links, sources, documents."""

from __future__ import annotations

from pipeline.counts import counted
from pipeline.verbs.report import webtext
from pipeline.verbs.report.charts import Column, bar, columns
from pipeline.verbs.report.markup import Markup, foreign, join
from pipeline.verbs.report.numbers import exact, percent
from pipeline.verbs.report.questions import Answers, Row
from pipeline.verbs.report.tables import figure, fold, keys, missing, pair, table

TOP = 15  # domains and subreddits shown


def links(answers: Answers) -> Markup:
    """How much karma, and when."""
    return pair(karma(answers), years(answers))


def karma(answers: Answers) -> Markup:
    """A histogram of karma."""
    title = "Karma of the links"
    if "karma" in answers.missing:
        return figure(title, "", missing(answers.missing["karma"]))
    rows = answers.of("karma")
    if not rows:
        return figure(title, "", missing("No link has karma: they were only listed."))
    settings = {row["setting"]: row["value"] for row in answers.of("settings") if row["stage"] == "links"}
    data = [
        Column(
            doubled(row["at_least"]) if row["at_least"] else "<1",
            row["links"],
            row["kept"],
            f"karma {span(row['at_least'])}: {counted(row['links'], 'link')}, {row['kept']:,} kept",
        )
        for row in every_bucket(rows)
    ]
    about = (
        f"Links by karma ({settings.get('karma_of', 'max').strip(chr(34))} of a link's submissions; kept from "
        f"{settings.get('karma', '3')} on). Each column begins at the number below it and ends before the next."
    )
    return figure(
        title,
        about,
        keys(("full", "kept"), ("track", "posted")),
        columns("Links by karma", data),
        title_rows("Karma", data),
    )


def doubled(at_least: int) -> str:
    """A power of two as a label: 4096 as 4k, 2097152 as 2M."""
    place = next(place for place in range(7) if at_least < 1024 ** (place + 1))
    return f"{at_least // 1024**place}{' kMBTPE'[place].strip()}"


def span(at_least: int) -> str:
    """The bucket that begins with a power of two, in words."""
    return "below 1" if at_least == 0 else str(at_least) if at_least == 1 else f"{at_least:,} to {2 * at_least - 1:,}"


def years(answers: Answers) -> Markup:
    """A histogram of years."""
    title = "Years of the links"
    if "years" in answers.missing:
        return figure(title, "", missing(answers.missing["years"]))
    data = [
        Column(
            str(row["posted"] or "?"),
            row["links"],
            row["pages"],
            f"{row['posted'] or 'unknown'}: {counted(row['links'], 'link')}, {row['pages']:,} with a page",
        )
        for row in every_year(answers.of("years"))
    ]
    if not data:
        return figure(title, "", missing("No link was kept."))
    about = "Kept links by the year (UTC) in which they were first posted, and how many of them still gave a page."
    return figure(
        title,
        about,
        keys(("full", "page found"), ("track", "no page")),
        columns("Links by year", data),
        title_rows("Year", data),
    )


def every_bucket(rows: list[Row]) -> list[Row]:
    """The rows, and one of zeros for each doubled bucket between the first and the last that holds nothing."""
    known = {row["at_least"]: row for row in rows}
    buckets = [0, *(2**power for power in range(max(known, default=0).bit_length()))]
    none = dict.fromkeys(("links", "kept", "documents", "words"), 0)
    return [known.get(bucket, none | {"at_least": bucket}) for bucket in buckets if bucket >= min(known, default=1)]


def every_year(rows: list[Row]) -> list[Row]:
    """The rows, and one without links for each year between the first and the last that has none."""
    known = {row["posted"]: row for row in rows if row["posted"] is not None}
    between = range(min(known), max(known) + 1) if known else ()
    empty = ({"posted": year, "links": 0, "pages": 0} for year in between)
    return [known.get(row["posted"], row) for row in empty] + [row for row in rows if row["posted"] is None]


def title_rows(name: str, data: list[Column]) -> Markup:
    """The numbers of a histogram, for those who would rather read."""
    rows = ((column.title.partition(":")[0], exact(column.height), exact(column.full)) for column in data)
    return fold("The numbers", table(name, "", ((name, ""), ("All", "n"), ("Filled", "n")), rows))


def sources(answers: Answers) -> Markup:
    """Domains beside WebText's, and subreddits."""
    if "domains" in answers.missing:
        return missing(answers.missing["domains"])
    ours, published = answers.of("domains"), webtext.published()
    ranks = {name: place for place, (name, _) in enumerate(published, 1)}
    counts = {str(row["domain"]): int(row["documents"]) for row in ours}
    most = max(counts.values(), default=0)
    return join(
        pair(
            table(
                "Top domains of this corpus",
                f"With their place among the first {len(published)} of WebText.",
                (("Domain", ""), ("", "b"), ("Documents", "n"), ("In WebText", "n")),
                (
                    (foreign(name, 0), bar(count, most), exact(count), f"no. {ranks[name]}" if name in ranks else "–")
                    for name, count in list(counts.items())[:TOP]
                ),
            ),
            table(
                "Top domains of WebText, as published",
                f"From {webtext.SOURCE}, with the documents that this corpus has of each.",
                (("Domain", ""), ("", "b"), ("In WebText", "n"), ("Here", "n")),
                (
                    (name, bar(count, published[0][1], "second"), exact(count), exact(counts.get(name, 0)))
                    for name, count in published[:TOP]
                ),
            ),
        ),
        pair(hosts(answers), subreddits(answers)),
    )


def hosts(answers: Answers) -> Markup:
    """The hosts behind the domains, by their full names."""
    rows, whole = answers.of("hosts"), answers.one("size").get("documents") or 0
    most = max((row["documents"] for row in rows), default=0)
    theirs = percent(sum(row["documents"] for row in rows[:TOP]), whole)
    return table(
        "Top hosts",
        f"By their full names; {theirs} of all documents are theirs.",
        (("Host", ""), ("", "b"), ("Documents", "n"), ("Words", "n")),
        (
            (foreign(row["host"], 0), bar(row["documents"], most), exact(row["documents"]), exact(row["words"]))
            for row in rows[:TOP]
        ),
    )


def subreddits(answers: Answers) -> Markup:
    """Who posted the links."""
    rows = answers.of("subreddits")
    if not rows:
        return missing("No submission of a kept document names a subreddit.")
    most = rows[0]["documents"]
    return table(
        "Top subreddits",
        "A document counts in each subreddit that posted its link.",
        (("Subreddit", ""), ("", "b"), ("Documents", "n"), ("Words", "n")),
        (
            (
                join("r/", foreign(row["subreddit"], 0)),
                bar(row["documents"], most),
                exact(row["documents"]),
                exact(row["words"]),
            )
            for row in rows
        ),
    )


def documents(answers: Answers) -> Markup:
    """How long, and in which languages."""
    return pair(lengths(answers), languages(answers))


def lengths(answers: Answers) -> Markup:
    """A histogram of lengths."""
    title = "Length of the documents"
    if "lengths" in answers.missing:
        return figure(title, "", missing(answers.missing["lengths"]))
    data = [
        Column(
            doubled(row["at_least"]),
            row["documents"],
            row["documents"],
            f"{span(row['at_least'])} words: {counted(row['documents'], 'document')}, {row['words']:,} words",
        )
        for row in every_bucket(answers.of("lengths"))
    ]
    if not data:
        return figure(title, "", missing("No document is in the corpus."))
    size = answers.one("size")
    about = (
        f"Documents of the corpus by words; each column begins at the number below it. Half have at most "
        f"{size['median_words']:,} words, nine in ten at most {size['most_words']:,}."
    )
    return figure(title, about, columns("Documents by number of words", data), length_rows(answers.of("lengths")))


def length_rows(rows: list[Row]) -> Markup:
    """The numbers of the histogram of lengths."""
    cells = ((span(row["at_least"]), exact(row["documents"]), exact(row["words"])) for row in rows)
    return fold("The numbers", table("Words", "", (("Words", ""), ("Documents", "n"), ("Words in all", "n")), cells))


def languages(answers: Answers) -> Markup:
    """Which languages were found, and which stay."""
    if "languages" in answers.missing:
        return missing(answers.missing["languages"])
    rows = answers.of("languages")
    most = max((row["documents"] for row in rows), default=0)
    return table(
        "Languages",
        "All documents that were extracted, and those that the corpus keeps.",
        (("Language", ""), ("", "b"), ("Extracted", "n"), ("In the corpus", "n")),
        (
            (row["language"] or "unknown", bar(row["documents"], most), exact(row["documents"]), exact(row["stay"]))
            for row in rows
        ),
    )
