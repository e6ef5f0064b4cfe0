"""What the README says is so: its commands, its places, its funnel."""

import re
from pathlib import Path

import pytest

from pipeline.cli import app as cli
from pipeline.cli.tables import funnel
from pipeline.demo.traps import expected
from pipeline.shards import receipts

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = "\n".join([README, *(page.read_text("utf-8") for page in sorted(ROOT.glob("docs/*.md")))])
WIDTH = 100  # of the funnel, as a terminal shows it
MOST_WORDS = 900  # somebody reads it before they know whether they want to


def typed(command, text):
    """The first words after a command where a text shows it as code."""
    return set(re.findall(rf"(?:^ *|`|&& |; ){command} ([a-z][a-z-]*)\b", text, re.MULTILINE))


def test_the_readme_is_short():
    assert len(README.split()) <= MOST_WORDS


def test_the_funnel_shown_is_the_demos():
    books = {
        stage: receipts.balanced(stage, sum(outcomes.values()), outcomes) for stage, outcomes in expected().items()
    }
    lines = list(funnel(books.items(), WIDTH))
    shown = [line.removeprefix("    ").rstrip() for line in PAGES.splitlines()]
    start = shown.index(lines[0])
    assert shown[start : start + len(lines)] == lines


def test_every_verb_shown_is_one_and_every_verb_is_shown():
    verbs = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert typed("webtext", README) <= verbs
    assert typed("webtext", PAGES) >= verbs


def test_every_make_target_shown_is_one():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    shown = typed("make", README)
    assert {"install", "interrupts"} <= shown <= targets


@pytest.mark.parametrize("place", sorted(set(re.findall(r"\b(?:pipeline|trainer|sql|tests|docker)/[\w./*]*", README))))
def test_every_place_named_exists(place):
    assert list(ROOT.glob(place.rstrip("/.")))
