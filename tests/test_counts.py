"""Counts with their noun."""

import ast
import re
from pathlib import Path

import pytest

from pipeline.counts import counted

ROOT = Path(__file__).resolve().parents[1]
# a number and a plural in an f-string: "{count:,} documents"; "of {…}" and units that stand beside any number aside
PLURAL = re.compile(r"(?<!of )\{\} (documents|links|pages|files|hosts|rows|lines|records|requests|submissions|notes)\b")


@pytest.mark.parametrize(
    ("count", "noun", "many", "said"),
    [
        (1, "document", "", "1 document"),
        (0, "document", "", "0 documents"),
        (1_234, "link", "", "1,234 links"),
        (2.0, "library", "libraries", "2 libraries"),
        (1, "library", "libraries", "1 library"),
    ],
)
def test_a_noun_is_in_the_plural_unless_it_is_one(count, noun, many, said):
    assert counted(count, noun, many) == said


def plurals(path):
    """Every f-string of a module that puts a noun in the plural behind a number without asking for the number."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            numbers = [part for part in node.values if isinstance(part, ast.FormattedValue) and part.format_spec]
            if numbers and PLURAL.search(text):
                yield f"{path.name}:{node.lineno}: {text}"


@pytest.mark.parametrize("folder", ["cli", "verbs", "dedup", "fetch", "submissions"])
def test_no_message_says_1_documents(folder):
    said = [line for path in sorted((ROOT / "pipeline" / folder).rglob("*.py")) for line in plurals(path)]
    assert said == []
