"""The pages of docs/ say of the code what is so today, and name nothing that is not there."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from pipeline.config import parse, slice_of
from pipeline.shards.outcomes import FATES, Outcome

ROOT = Path(__file__).resolve().parents[1]
FILES = ("json", "md", "py", "sql", "tiktoken", "toml")  # ends of files that are called like a section
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def docs():
    spec = spec_from_file_location("docs_make", ROOT / "docs/make.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", docs().PAGES)
def test_what_a_page_says_of_the_code_is_so_today(page):
    written = (ROOT / page).read_text("utf-8")
    assert docs().filled(written) == written, f"run: make docs, and commit {page}"


def test_every_part_of_the_failures_is_shown_and_has_some():
    shown = (ROOT / "docs/failures.md").read_text("utf-8")
    for part in docs().PARTS:
        block = re.search(rf"<!-- failures {part} -->\n(.*?)<!-- end -->", shown, re.DOTALL)
        assert block is not None
        assert block[1].count("\n") > 2, part
    assert len(list(docs().marked())) == shown.count("::test_")


def test_every_outcome_is_told_in_the_failures():
    shown = (ROOT / "docs/failures.md").read_text("utf-8")
    of_stages = {outcome for stage, fates in FATES.items() for outcome in fates if stage != "tokens"}
    assert {str(outcome) for outcome in of_stages} <= set(re.findall(r"^\| `(\w+)` \|", shown, re.MULTILINE))
    told = set(re.findall(r"outcome `(\w+)`", shown))
    assert told <= {str(outcome) for outcome in Outcome}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_named_is_one(page):
    settings = parse({})
    sections = {name: set(slice_of(getattr(settings, name))) for name in settings.__struct_fields__}
    for section, key in re.findall(r"`(\w+)\.(\w+)(?: = [^`]*)?`", page.read_text("utf-8")):
        if section in sections and key not in FILES:
            assert key in sections[section], f"{section}.{key}"
