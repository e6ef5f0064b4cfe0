"""The dataset card: Markdown with the header that Hugging Face reads (huggingface.co/docs/hub/datasets-cards)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby

from pipeline.counts import counted
from pipeline.shards.outcomes import Outcome
from pipeline.verbs.provenance import FIELDS, LICENCES, SIZES, SPLITS, chosen_by
from pipeline.verbs.report import about, cautions, webtext
from pipeline.verbs.report.markup import code, markdown, plain
from pipeline.verbs.report.numbers import decimal, exact, percent, size, span_of_years
from pipeline.verbs.report.questions import Answers, unmade

TOP = 15


def card(answers: Answers) -> str:
    """The whole card; the same answers give the same bytes."""
    parts = [
        header(answers),
        f"# {name(answers)}",
        summary(answers),
        "## Fields\n\n" + table(("Field", "What it is"), ((f"`{name}`", what) for name, what in FIELDS)),
        "## How it was made\n\n" + funnel(answers),
        "## Where it comes from\n\n" + sources(answers),
        "## Languages\n\n" + languages(answers),
        "## What went out\n\n" + removals(answers),
        "## Limits\n\n" + cautions.limits(answers),
        "## Personal data\n\n" + cautions.personal(answers),
        "## Opt-outs\n\n" + opt_outs(answers),
        "## Tokens\n\n" + tokens(answers),
        "## Licence and provenance\n\n" + "\n".join(f"- {note}" for note in LICENCES),
        "## Citation\n\n" + cautions.citation(answers),
        "## Fingerprints and versions\n\n" + fingerprints(answers),
    ]
    return "\n\n".join(parts) + "\n"


def name(answers: Answers) -> str:
    """What the owner calls the corpus, or what it is."""
    return markdown(answers.settings.build.name, 200) or about.DEFAULT


def header(answers: Answers) -> str:
    """The YAML header. Values from the artefacts are JSON, which is YAML too."""
    count = answers.one("size").get("documents") or 0
    languages = sorted({row["language"] for row in answers.of("languages") if row["stay"] and row["language"]})
    lines = [
        "---",
        f"pretty_name: {json.dumps(plain(answers.settings.build.name, 200) or about.DEFAULT, ensure_ascii=False)}",
        "annotations_creators:",
        "- no-annotation",
        "language_creators:",
        "- found",
        "source_datasets:",
        "- original",
        *(["language:", *(f"- {json.dumps(language)}" for language in languages)] if languages else []),
        "license: other",
        "license_name: texts-belong-to-their-authors",
        "task_categories:",
        "- text-generation",
        "size_categories:",
        f"- {next((name for limit, name in SIZES if count < limit), 'n>1T')}",
        "tags:",
        "- webtext",
        "- webtext-tool",
        *splits(answers),
        "---",
    ]
    return "\n".join(lines)


def splits(answers: Answers) -> list[str]:
    """Which files of an export are which split; the Hub refuses a split without files."""
    made = [split for split, (documents, _) in (answers.tokens or {}).items() if documents]
    files = [line for split in made for line in (f"  - split: {SPLITS[split]}", f'    path: "{split}-*.parquet"')]
    return ["configs:", "- config_name: default", "  data_files:", *files] if files else []


def summary(answers: Answers) -> str:
    """What it is, in a paragraph; what is missing, in another."""
    size_of = answers.one("size")
    if not size_of.get("documents"):
        return "The corpus is not built yet; this card tells what stands so far. " + missing(answers)
    years = f" {span_of_years(size_of['first_year'], size_of['last_year'])}" if size_of["first_year"] else ""
    paragraph = (
        f"{counted(size_of['documents'], 'document')}, {size_of['words']:,} words, {size(size_of['bytes'])} of text "
        f"from {counted(size_of['hosts'], 'host')}: {chosen_by(size_of['documents'], size_of.get('posted'), years)}, "
        "extracted, deduplicated and without Wikipedia. "
        "Every row of every step ended in exactly one named outcome. The files are those of "
        "`webtext export --format parquet`; the same numbers with charts are in `report.html`."
    )
    facts = "\n".join(f"- {fact}: {markdown(value)}" for fact, value in about.facts(answers))
    return "\n\n".join(filter(None, (paragraph, facts, missing(answers))))


def missing(answers: Answers) -> str:
    """Which artefacts are not whole."""
    absent = unmade(answers)
    return f"Not everything is built: {', '.join(absent)}." if absent else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells that are safe as they stand."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def missing_because(answers: Answers, question: str, otherwise: str) -> str:
    """Why there are no rows, or ""."""
    return answers.missing.get(question) or ("" if answers.of(question) else otherwise)


def funnel(answers: Answers) -> str:
    """In, on and otherwise, a line a step."""
    if reason := missing_because(answers, "funnel", "No artefact is whole."):
        return reason
    rows = []
    for step, group in groupby(answers.of("funnel"), key=lambda row: str(row["step"])):
        fates = {row["outcome"]: row for row in group}
        inputs = next(iter(fates.values()))["inputs"]
        kept = fates.pop(str(Outcome.KEPT), {"row_count": 0})["row_count"]
        others = ", ".join(f"`{name}` {exact(row['row_count'])}" for name, row in fates.items())
        rows.append((step, exact(inputs), f"{exact(kept)} ({percent(kept, inputs)})", others))
    return table(("Step", "In", "Goes on", "Otherwise"), rows)


def sources(answers: Answers) -> str:
    """Domains beside WebText's, and subreddits."""
    if reason := missing_because(answers, "domains", "The corpus holds no document."):
        return reason
    ours = answers.of("domains")[:TOP]
    beside = webtext.published()[: len(ours)]
    domains = table(
        ("Domain", "Documents", "WebText's, as published", "In WebText"),
        (
            (code(row["domain"]), exact(row["documents"]), name, exact(count))
            for row, (name, count) in zip(ours, beside, strict=False)
        ),
    )
    posted = table(
        ("Subreddit", "Documents", "Words"),
        ((code(row["subreddit"]), exact(row["documents"]), exact(row["words"])) for row in answers.of("subreddits")),
    )
    hosts = table(
        ("Host", "Documents", "Words"),
        ((code(row["host"]), exact(row["documents"]), exact(row["words"])) for row in answers.of("hosts")[:TOP]),
    )
    return f"{domains}\n\nWebText's domains: {webtext.SOURCE}.\n\n{hosts}\n\n{posted}"


def languages(answers: Answers) -> str:
    """Found and kept."""
    rows = answers.of("languages")
    return missing_because(answers, "languages", "No document was extracted.") or table(
        ("Language", "Extracted", "In the corpus"),
        ((markdown(row["language"] or "unknown"), exact(row["documents"]), exact(row["stay"])) for row in rows),
    )


def removals(answers: Answers) -> str:
    """By which rules; and pairs of copies, by their titles."""
    if reason := missing_because(answers, "removals", "No document went out of the corpus."):
        return reason
    rules = table(
        ("Outcome", "Rule", "Threshold", "Documents"),
        (
            (f"`{row['outcome']}`", code(row["rule"] or ""), decimal(row["threshold"]), exact(row["documents"]))
            for row in answers.of("removals")
        ),
    )
    if not answers.of("duplicates"):
        return rules
    pairs = table(
        ("Went out", "For", "Similarity"),
        (
            (
                titled(row["gone_title"], row["gone_url"]),
                titled(row["stays_title"], row["stays_url"]),
                decimal(row["value"]),
            )
            for row in answers.of("duplicates")
        ),
    )
    return f"{rules}\n\nCopies, for example:\n\n{pairs}"


def titled(title: str | None, url: str) -> str:
    """A title with its address, both as text."""
    return f"{markdown(title or '–', 80)} ({code(url, 80)})"


def opt_outs(answers: Answers) -> str:
    """Who asked not to be used."""
    return missing_because(answers, "opt_outs", "No page that was read asked not to be used for training.") or table(
        ("Sign", "Pages", "Left out"),
        ((code(row["said"], 60), exact(row["pages"]), exact(row["left_out"])) for row in answers.of("opt_outs")),
    )


def tokens(answers: Answers) -> str:
    """The vocabulary, its fertility and the splits."""
    if reason := missing_because(answers, "tokenizer", ""):
        return reason
    learnt = answers.one("tokenizer")
    sentences = f"A byte-level BPE of {learnt['vocab_size']:,} tokens."
    if answers.fertility:
        whole = answers.fertility[0]
        sentences += (
            f" On held-out text: {decimal(whole.tokens_per_word(0))} tokens a word, "
            f"{decimal(whole.bytes_per_token(0))} bytes a token, "
            f"{decimal(whole.words_kept_whole(0))} of the words kept whole."
        )
    if answers.tokens is None:
        return sentences
    rows = ((SPLITS[name], exact(documents), exact(count)) for name, (documents, count) in answers.tokens.items())
    return f"{sentences}\n\n{table(('Split', 'Documents', 'Tokens'), rows)}"


def fingerprints(answers: Answers) -> str:
    """What proves which artefacts these are."""
    if reason := missing_because(answers, "artefacts", "No artefact is whole."):
        return reason
    made = table(
        ("Artefact", "Rows", "Bytes", "Fingerprint"),
        (
            (row["stage"], exact(row["row_count"]), exact(row["bytes"]), f"`{row['fingerprint']}`")
            for row in answers.of("artefacts")
        ),
    )
    libraries = ", ".join(f"{markdown(row['library'])} {markdown(row['version'])}" for row in answers.of("versions"))
    return f"{made}\n\nMade with {libraries}."
