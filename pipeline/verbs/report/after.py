"""The sections on what was made of the corpus and how: tokenizer, training, provenance."""

from __future__ import annotations

import json
from pathlib import PurePath

from pipeline.counts import counted
from pipeline.verbs.fertility import Group
from pipeline.verbs.provenance import LICENCES
from pipeline.verbs.report.charts import Line, lines
from pipeline.verbs.report.markup import Markup, element, foreign, join
from pipeline.verbs.report.numbers import decimal, exact, fixed, size
from pipeline.verbs.report.questions import Answers, Row
from pipeline.verbs.report.tables import figure, fold, keys, missing, paragraph, table

LONGEST = 90  # characters of a setting


def tokenizer(answers: Answers) -> Markup:
    """How the vocabulary fits."""
    if "tokenizer" in answers.missing:
        return missing(answers.missing["tokenizer"])
    learnt = answers.one("tokenizer")
    why = paragraph(
        f"A vocabulary of {learnt['vocab_size']:,} with {learnt['merges']:,} merges, learnt from "
        f"{learnt['pre_tokens']:,} pre-tokens of the training split ({learnt['distinct_pre_tokens']:,} distinct).",
        kind="why",
    )
    return join(why, splits(answers), fertility(answers.fertility, learnt))


def splits(answers: Answers) -> Markup:
    """Documents and tokens of each split."""
    if answers.tokens is None:
        return missing("The tokens are not built yet: webtext build tokens.")
    return table(
        "Splits",
        "By a hash of the document's id; tokens include the end-of-text after each document.",
        (("Split", ""), ("Documents", "n"), ("Tokens", "n")),
        ((name, exact(documents), exact(tokens)) for name, (documents, tokens) in answers.tokens.items()),
    )


def fertility(groups: list[Group], learnt: Row) -> Markup:
    """Held-out text by language and host, beside the text that the vocabulary was learnt from."""
    rows: list[tuple[str, ...]] = [
        (
            "training text",
            "–",
            "–",
            fixed(learnt["tokens_per_word"]),
            fixed(learnt["bytes_per_token"]),
            fixed(learnt["words_kept_whole"]),
        )
    ]
    rows += [
        (
            "held-out text" if group.name == "all" else foreign(group.name, 50),
            exact(group.documents),
            exact(group.words),
            fixed(group.tokens_per_word(0)),
            fixed(group.bytes_per_token(0)),
            fixed(group.words_kept_whole(0)),
        )
        for group in groups
    ]
    heads = (
        ("Text", ""),
        ("Documents", "n"),
        ("Words", "n"),
        ("Tokens a word", "n"),
        ("Bytes a token", "n"),
        ("Whole words", "n"),
    )
    shown = table(
        "Fertility",
        "Tokens a word (1 = every word is one token), bytes a token, and the share of words that are one token.",
        heads,
        rows,
    )
    return shown if groups else join(shown, missing("No document is held out, so nothing is told of unseen text."))


def training(answers: Answers) -> Markup:
    """The curves of the run."""
    if "training" in answers.missing:
        return missing(answers.missing["training"])
    rows = answers.of("training")
    curves = [
        Line(name, kind, [(row["step"], row[column]) for row in rows if row[column] is not None])
        for name, kind, column in (("training", "full", "loss"), ("held-out", "second", "val_loss"))
    ]
    drawn = [curve for curve in curves if len(curve.points) > 1]
    if not drawn:
        return missing("The run has not told enough for a curve yet.")
    last = {curve.name: curve.points[-1] for curve in drawn}
    measured = [row for row in rows if row["val_loss"] is not None]
    losses = "; ".join(f"{name} {decimal(loss)} at step {step:,}" for name, (step, loss) in last.items())
    return join(
        figure(
            "Loss",
            f"Cross-entropy in nats a token, over the steps of the run. Last: {losses}.",
            keys(*((curve.kind, curve.name) for curve in drawn)),
            lines("Loss by step: " + losses, drawn, "step"),
        ),
        fold(
            "The measurements on held-out text",
            table(
                "Held-out text",
                "",
                (("Step", "n"), ("Loss", "n"), ("Bits a byte", "n")),
                ((exact(row["step"]), fixed(row["val_loss"]), fixed(row["bits_per_byte"])) for row in measured),
            ),
        )
        if measured
        else Markup(),
    )


def provenance(answers: Answers) -> Markup:
    """Who may use it, and what proves it is what it says."""
    notes = element("ul", *(element("li", note) for note in LICENCES))
    if "artefacts" in answers.missing or not answers.of("artefacts"):
        return join(notes, missing("No artefact is whole: there is no fingerprint to show."))
    return join(
        notes,
        table(
            "Artefacts",
            "A fingerprint covers settings, hashes of the inputs, the code's version and the libraries that matter. "
            "Rows are those of all files, in “corpus” also of what was removed.",
            (("Artefact", ""), ("State", ""), ("Shards", "n"), ("Rows", "n"), ("Size", "n"), ("Fingerprint", "")),
            (
                (
                    row["stage"],
                    answers.statuses[row["stage"]].state,
                    exact(row["shards"]),
                    exact(row["row_count"]) if row["row_count"] else "–",
                    size(row["bytes"]),
                    element("code", row["fingerprint"], class_="far"),
                )
                for row in answers.of("artefacts")
            ),
        ),
        fold("Settings", settings(answers.of("settings"))),
        fold("Versions of the libraries", versions(answers.of("versions"))),
    )


def settings(rows: list[Row]) -> Markup:
    """The settings that decided."""
    rows_shown = (
        (join(row["stage"], ".", row["setting"]), element("code", shown(row["value"]), class_="far")) for row in rows
    )
    return table(
        "Settings that decided the bytes",
        "Of files only the names are shown.",
        (("Setting", ""), ("Value", "")),
        rows_shown,
    )


def shown(value: str) -> str:
    """A setting as it is; of a file only its name, since a page is for others too. Long ones end in an ellipsis."""
    text = json.dumps(bare(json.loads(value)), ensure_ascii=False)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def bare(value: object) -> object:
    """The value with every absolute path cut to its last part."""
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    if isinstance(value, list):
        return [bare(item) for item in value]
    return {key: bare(item) for key, item in value.items()} if isinstance(value, dict) else value


def versions(rows: list[Row]) -> Markup:
    """Which libraries made which artefact."""
    cells = ((row["library"], row["version"], ", ".join(row["stages"])) for row in rows)
    return table(
        "Libraries",
        f"{counted(len(rows), 'library', 'libraries')} whose version can change an artefact's bytes.",
        (("Library", ""), ("Version", ""), ("Artefacts", "")),
        cells,
    )
