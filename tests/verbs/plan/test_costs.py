"""Numbers that plans take on trust: each has a source, each can be named and changed."""

from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.shards.outcomes import ConfigError
from pipeline.verbs.plan.costs import GUESS, Code, Costs, Web, assumed

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("field", [*fields(Web), *fields(Code)], ids=lambda field: field.name)
def test_every_number_has_a_unit_and_a_source(field):
    assert field.metadata["unit"]
    source = field.metadata["source"]
    if "tests/benchmarks" in source:
        assert (ROOT / source[source.index("tests/benchmarks") :].split()[0]).is_file()
    else:
        assert source == GUESS or "," in source or ":" in source  # a paper, a corpus, or how to say it


def test_a_number_is_named_once():
    assert not {one.name for one in fields(Web)} & {one.name for one in fields(Code)}


def test_what_is_assumed_can_be_said_better():
    costs = assumed(["latency_s=0.25", "page_s=0.02", "latency_s=0.5"])
    assert (costs.web.latency_s, costs.code.page_s) == (0.5, 0.02)
    assert costs.web.found == Costs().web.found


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("latency=1", "did you mean 'latency_s'"),
        ("latency_s", "expected NAME=NUMBER"),
        ("latency_s=soon", "'soon' is no number"),
        ("latency_s=-1", "no number of at least 0"),
        ("latency_s=nan", "no number of at least 0"),
        ("latency_s=inf", "no number of at least 0"),
    ],
)
def test_what_is_no_such_number_is_refused(said, told):
    with pytest.raises(ConfigError, match=told):
        assumed([said])
