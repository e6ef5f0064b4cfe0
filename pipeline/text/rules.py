"""Quality filters: rules on signals, in files that a person reads, and the other grounds for a document to go.

Choice: a rule is a line, `signal <= number` or `signal >= number`; the line that refuses a document is written beside
it. Cost: no rule joins two signals. Alternative: filters as classes (datatrove), which one must program to change.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline import urls
from pipeline.config import CorpusSettings
from pipeline.plaintext import decoded
from pipeline.shards import storage
from pipeline.shards.locations import mirror
from pipeline.shards.outcomes import ConfigError, InputError, Outcome
from pipeline.text import overlap

HOSTS = "wikipedia_hosts.txt"
LINE = re.compile(r"(?P<signal>\w+)\s*(?P<sign><=|>=)\s*(?P<bound>[-+]?[\d_]*\.?\d+)")

Verdict = tuple[Outcome, str | None, float | None, float | None]  # outcome, rule, what the document has, the threshold


@dataclass(frozen=True)
class Rule:
    """A bound of one signal."""

    signal: str
    sign: str  # "<=": the bound is the most that a document may have; ">=": the least
    bound: float

    def __str__(self) -> str:
        return f"{self.signal} {self.sign} {self.bound:g}"

    def refuses(self, value: float | None) -> bool:
        """Whether a document with this value goes; one that is no number goes too, one that a script has not stays."""
        return value is not None and not (value <= self.bound if self.sign == "<=" else value >= self.bound)


def read_rules(names: Sequence[str], work: Path, signals: Collection[str]) -> tuple[Rule, ...]:
    """The rules of `corpus.rules` in order: packaged names (webtext, gopher, c4, fineweb), or files relative to `work`.

    Raises InputError: no such file. ConfigError: a line that is no rule, or of an unknown signal, with its number.
    """
    return tuple(rule for name in names for rule in rules_of(name, work, signals))


def rules_of(name: str, work: Path, signals: Collection[str]) -> list[Rule]:
    """The rules of one file, each line one; `#` begins a comment."""
    packaged = resources.files("pipeline") / "data" / "rules" / f"{name}.txt"
    known = name.isidentifier() and packaged.is_file()
    try:
        text = packaged.read_text("utf-8") if known else decoded(storage.read_bytes(work / mirror(name)))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"corpus.rules: {name!r} is none of webtext, gopher, c4 and fineweb, nor a file that can be read: {error}"
        ) from None
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        rule = line.partition("#")[0].strip()
        if rule:
            rules.append(rule_of(rule, f"corpus.rules: {name}, line {number}", signals))
    return rules


def rule_of(line: str, where: str, signals: Collection[str]) -> Rule:
    """One line as a rule. Raises ConfigError, with `where`."""
    match = LINE.fullmatch(line)
    if match is None:
        raise ConfigError(f"{where}: {line!r} is no rule; expected: signal <= number, or signal >= number")
    if match["signal"] not in signals:
        close = difflib.get_close_matches(match["signal"], signals, n=1, cutoff=0.0)
        raise ConfigError(f"{where}: {match['signal']!r} is no signal of documents; the nearest is {close[0]!r}")
    return Rule(match["signal"], match["sign"], float(match["bound"]))


@dataclass(frozen=True)
class Judge:
    """All grounds on which a document goes for itself alone; the cheap ones come first."""

    settings: CorpusSettings
    rules: tuple[Rule, ...]
    references: tuple[overlap.Reference, ...] = ()  # of Wikipedia's text

    @cached_property
    def hosts(self) -> urls.HostList:
        return urls.HostList.packaged(HOSTS)

    def verdict(self, document: dict[str, Any]) -> Verdict:
        """The first ground that refuses a row of `documents`, or that it is kept."""
        settings = self.settings
        if urls.host_of(document["final_url"] or document["url"]) in self.hosts:
            return Outcome.WIKIPEDIA_HOST, "wikipedia_hosts", 1.0, None
        if settings.languages and document["language"] not in settings.languages:
            return Outcome.OTHER_LANGUAGE, "languages", document["language_score"], None
        if document["word_count"] < settings.min_words:
            return Outcome.TOO_SHORT, "min_words", document["word_count"], settings.min_words
        for rule in self.rules:
            if rule.refuses(document[rule.signal]):
                return Outcome.LOW_QUALITY, str(rule), document[rule.signal], rule.bound
        if overlap.says_wikipedia(document["text"]):
            return Outcome.WIKIPEDIA_TEXT, "says_wikipedia", 1.0, None
        share = self.wikipedia_share(document["text"])
        if share >= settings.wikipedia_overlap and self.references:
            return Outcome.WIKIPEDIA_TEXT, "wikipedia_overlap", share, settings.wikipedia_overlap
        return Outcome.KEPT, None, None, None

    def wikipedia_share(self, text: str) -> float:
        """The share of a text's n-grams in that reference which holds most of them; 0.0 without references."""
        if not self.references:
            return 0.0
        words = overlap.compared_words(text)
        return max(reference.overlap(overlap.ngram_hashes(words, reference.n)) for reference in self.references)
