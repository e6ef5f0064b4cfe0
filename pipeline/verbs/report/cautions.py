"""What a dataset card says to whoever would use the corpus: its limits, the persons in it, how to cite it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pipeline.counts import counted
from pipeline.shards.outcomes import Outcome
from pipeline.verbs.provenance import RADFORD, taste
from pipeline.verbs.report import about
from pipeline.verbs.report.markup import code, plain
from pipeline.verbs.report.numbers import percent
from pipeline.verbs.report.questions import Answers

ADDRESSES = {"email": "e-mail addresses", "ip": "IPv4 addresses"}
SPECIAL = re.compile(r"([&%$#_])")  # TeX's, but for braces and backslashes, which no escape lets into a field


def limits(answers: Answers) -> str:
    """A list of what the corpus is not, and of what nobody looked for."""
    return "\n".join(f"- {limit}" for limit in every_limit(answers))


def every_limit(answers: Answers) -> Iterator[str]:
    """One limit after another, as the settings and the books have them."""
    settings, captured = settings_of(answers, "corpus"), about.captured(answers.captured)
    when = f" Its pages are as they were when they were captured ({captured}), which is not when they were posted."
    yield (
        "It is not WebText, which was never published, but a corpus made by the same recipe."
        + (when if captured else "")
    )
    whole = answers.one("size")
    whose = taste(whole.get("documents") or 0, whole.get("posted"))
    survey = (
        ": a survey of 2016 found 67 % of its users in the United States to be men, and 64 % between 18 and 29 "
        "(Bender et al. 2021, section 4.1)"
    )
    about_users = survey if "Reddit" in whose else ""
    yield f"{whose} is no sample of the web, nor of those who write it{about_users}."
    asked = [row for row in answers.of("funnel") if row["step"] == "pages"]
    if asked:
        got = sum(row["row_count"] for row in asked if row["outcome"] == Outcome.KEPT)
        links = counted(asked[0]["inputs"], "link")
        yield f"Of {links} {percent(got, asked[0]['inputs'])} gave a page: what is gone from the web is missing."
    if wanted := settings.get("languages"):
        yield (
            f"Of languages only {', '.join(map(code, wanted))} was kept, as py3langid tells them: short and mixed "
            "texts it tells less well."
        )
    rules = ", ".join(map(code, settings.get("rules", ()))) or "none"
    yield f"Rules on counts were applied ({rules}); none looks for truth, hate or harm, and nobody has read it all."
    if not settings.get("contamination"):
        yield "Texts of evaluations were not looked for; `webtext overlap` measures how much of one stands in it."
    if not (settings.get("wikipedia_dumps") or settings.get("wikipedia_reference")):
        yield "Copies of Wikipedia were known by their address, or where they say so: no dump was compared with them."
    yield "Documents less alike than the threshold of near duplicates stay beside each other, and so do quotations."


def personal(answers: Answers) -> str:
    """Which personal data may be in it, what was done about it, and what a person named in it can do."""
    counts, redact = answers.one("personal"), settings_of(answers, "corpus").get("redact", ())
    sentences = [
        "The pages were public when they were captured, and name people. Names, telephone numbers and postal addresses "
        "were not looked for. Of Reddit no names of users are held."
    ]
    if counts.get("documents"):
        sentences += [addresses(what, counts[f"with_{kind}"], kind in redact, kind) for kind, what in ADDRESSES.items()]
    sentences.append(
        "Whoever finds a page or a person in it that should not be there may ask whoever publishes it: `webtext "
        "remove` takes pages out of every artefact and out of later builds, with a statement that can be checked."
    )
    return " ".join(sentences)


def addresses(what: str, documents: int, replaced: bool, kind: str) -> str:
    """What was found of one kind of address, and what became of it."""
    if not documents:
        return f"No {what} were found."
    done = "they were replaced" if replaced else f"they stand there (`corpus.redact` does not name `{kind}`)"
    return f"{counted(documents, 'document')} held {what} when extracted; {done}."


def citation(answers: Answers) -> str:
    """BibTeX of the corpus and of the recipe."""
    fingerprint = next((row["fingerprint"] for row in answers.of("artefacts") if row["stage"] == "corpus"), "")
    title = answers.settings.build.name or about.DEFAULT
    fields = {
        "title": f"{{{field(title)}}}",
        "note": f"{{corpus {fingerprint}, made with webtext}}" if fingerprint else "{made with webtext}",
    }
    if answers.made is not None:
        fields["year"] = f"{{{answers.made.year}}}"
    key = "-".join(filter(None, [re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40], fingerprint[:8]]))
    lines = ",\n".join(f"  {name} = {value}" for name, value in fields.items())
    return f"```bibtex\n@misc{{{key},\n{lines}\n}}\n\n{RADFORD}\n```"


def field(text: str) -> str:
    """A text as the value of a field of BibTeX, within a fence of backticks."""
    return SPECIAL.sub(r"\\\1", re.sub(r"[{}\\`]", "", plain(text, 200)))


def settings_of(answers: Answers, stage: str) -> dict[str, Any]:
    """The settings that an artefact was made with."""
    return {row["setting"]: json.loads(row["value"]) for row in answers.of("settings") if row["stage"] == stage}
