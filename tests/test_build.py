"""What stands: an artefact is called whole only while it is, and made from what stands today."""

from contextlib import contextmanager

import pytest

from pipeline import build
from pipeline.config import parse
from pipeline.shards.outcomes import BusyError, ConfigError, Outcome
from pipeline.shards.receipts import Artefact, Task, balanced
from pipeline.shards.runner import PlainRun
from pipeline.status import recorded

SHARDS = 2


def make(root, stage, mark, made_from=()):
    """A whole artefact whose shards carry a mark."""
    one = build.artefact(root, stage, SHARDS)
    for shard in range(one.shards):
        with one.attempt(Task(shard, mark)) as attempt:
            with attempt.write(".bin") as file:
                file.write(b"data")
            attempt.commit({"tokens": balanced("tokens", 1, {Outcome.KEPT: 1})})
    one.finish({}, (), [build.artefact(root, name, SHARDS) for name in made_from])


def states(root):
    return {stage: one.state for stage, one in recorded(root, SHARDS).items()}


@pytest.fixture
def root(tmp_path):
    make(tmp_path, "links", "a")
    make(tmp_path, "pages", "a", ["links"])
    make(tmp_path, "documents", "a", ["pages"])
    return tmp_path


def test_what_is_made_from_what_stands_is_whole(root):
    assert states(root) == {
        "links": "whole", "pages": "whole", "documents": "whole",
        "corpus": "not made", "tokenizer": "not made", "tokens": "not made",
    }  # fmt: skip
    assert recorded(root, SHARDS)["documents"].manifest is not None


def test_whatever_follows_an_artefact_made_anew_is_stale(root):
    make(root, "links", "b")
    assert list(states(root).values())[:3] == ["whole", "stale", "stale"]
    assert recorded(root, SHARDS)["documents"].manifest is None
    make(root, "pages", "a", ["links"])  # nothing in it had to change
    assert list(states(root).values())[:3] == ["whole", "whole", "whole"]


def test_a_file_that_is_gone_makes_an_artefact_damaged(root):
    build.artefact(root, "pages", SHARDS).file(1, ".bin").unlink()
    assert list(states(root).values())[:3] == ["whole", "damaged", "stale"]


def test_a_shard_without_receipt_makes_an_artefact_partly_made(root):
    pages = build.artefact(root, "pages", SHARDS)
    pages.receipt_path(0).unlink()
    pages.manifest_path.unlink()
    status = recorded(root, SHARDS)["pages"]
    assert (status.done, status.shards, status.state) == (1, 2, "partly made")


@pytest.mark.failure(
    "`build.shards` was changed", "exit 2, with the number it was begun with", "put it back, or use another folder"
)
def test_another_number_of_shards_is_refused(root):
    with pytest.raises(ConfigError, match=r"build\.shards is 3, but .* was begun with 2"):
        recorded(root, 3)
    assert Artefact(root, "links", SHARDS).done() == SHARDS


def test_a_build_whose_lease_is_lost_begins_no_other_stage(tmp_path, monkeypatch):
    asked, begun = [], []

    @contextmanager
    def lock(_root):
        def check():
            asked.append(len(begun))
            if begun:
                raise BusyError("another run holds it")

        yield check

    monkeypatch.setattr(build.lease, "lock", lock)
    (tmp_path / "list.txt").write_text("http://one.example/page\n")
    contact = {"contact": "https://one.example/contact"}
    settings = parse({"links": {"submissions": ["list.txt"]}, "pages": contact, "build": {"shards": 1}})
    with pytest.raises(BusyError, match="another run holds it"):
        build.build(tmp_path, settings, run=PlainRun(), started=begun.append)
    assert (begun, asked[:2]) == (["links"], [0, 1])
