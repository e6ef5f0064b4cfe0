"""The glossary of CONTRIBUTING: every word of ours stands where it says, and in one line."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINE = re.compile(r"\| ([a-z ]+) \| ([^|]+) \| `([\w/.]+)` \|")


def lines():
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    table = page.partition("## Glossary")[2].partition("\n## ")[0]
    return [line for line in table.splitlines() if line.startswith("| ")][1:]


def test_the_glossary_is_one_table_in_the_order_of_its_words():
    words = [LINE.fullmatch(line)[1] for line in lines()]
    assert len(words) > 30
    assert words == sorted(set(words))


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.split("|")[1].strip())
def test_a_word_of_the_glossary_stands_in_the_code_that_it_names(line):
    word, _, file = LINE.fullmatch(line).groups()
    code = (ROOT / file).read_text("utf-8").lower()
    assert re.search(rf"(?<![a-z]){word}(s|es|ed)?(?![a-z])", code), f"{file} does not speak of {word!r}"
