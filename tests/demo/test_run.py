"""The demo's whole chain, crawled over HTTP: every trap ends in its own named outcome, and nothing else does."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import config
from pipeline.build import build
from pipeline.cli import build as cli
from pipeline.demo.run import prepared
from pipeline.demo.traps import TRAPS, expected
from pipeline.shards import schemas
from pipeline.shards.outcomes import Outcome
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import PlainRun
from pipeline.urls import canonical_url
from pipeline.verbs.explain import explain

SHARDS = 4


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The working directory of a demo that has been built, and the manifests of its stages."""
    root = tmp_path_factory.mktemp("demo")
    with prepared(root) as settings:
        assert settings.build.shards == SHARDS
        return root, build(root, settings)


def fates(root):
    """Canonical URL to the last outcome that a stage gave it, over links, pages, documents and corpus."""
    found = {}
    for name, part in (("links", ""), ("pages", ""), ("documents", ""), ("corpus", "removed")):
        artefact = Artefact(root, name, SHARDS)
        for shard in range(SHARDS):
            table = schemas.read_parquet(artefact.file(shard, ".parquet", part), ["url", "outcome"])
            found.update(zip(table["url"].to_pylist(), table["outcome"].to_pylist(), strict=True))
    return found


def test_the_books_of_all_stages_are_those_the_traps_promise(demo):
    _, manifests = demo
    found = {name: book for manifest in manifests.values() for name, book in manifest.books.items()}
    promised = {stage: {str(fate): n for fate, n in fates.items()} for stage, fates in expected().items()}
    assert {name: book.outcomes for name, book in found.items()} == promised


def test_every_trap_ends_in_its_own_outcome(demo):
    root, _ = demo
    found = fates(root)
    posted = [trap for trap in TRAPS if trap.stage != "submissions"]
    assert {trap.name: found[canonical_url(trap.url)] for trap in posted} == {
        trap.name: str(trap.outcome) for trap in posted
    }


SAID_BY_NO_RECORD = {  # of a page: it was not asked for, or did not answer
    Outcome.ROBOTS_DISALLOWED, Outcome.ROBOTS_UNREACHABLE, Outcome.NOT_PUBLIC, Outcome.NAME_ERROR,
    Outcome.CONNECT_ERROR, Outcome.TLS_ERROR, Outcome.TIMED_OUT, Outcome.BAD_RESPONSE,
}  # fmt: skip


def test_segments_given_back_as_warc_files_end_every_link_as_the_crawl_did(demo, tmp_path):
    root, _ = demo
    settings = {
        "build": {"shards": SHARDS},
        "links": {"submissions": [str(root / "submissions.ndjson")]},
        "pages": {"warc": [str(root / "pages/segments/*.warc.gz")], "crawl": "never", "limit_bytes": 2_000_000},
    }
    build(tmp_path, config.parse(settings), until="pages", run=PlainRun())
    crawled, read = pages_of(root), pages_of(tmp_path)
    names = ("outcome", "final_url", "status", "content_type", "opt_outs", "sha256")
    assert set(crawled) == set(read)
    unsaid = {url for url, row in crawled.items() if row["outcome"] in SAID_BY_NO_RECORD and row["status"] != 200}
    assert {read[url]["outcome"] for url in unsaid} == {Outcome.NOT_IN_WARC}
    differ = {url: [(crawled[url][name], read[url][name]) for name in names] for url in set(crawled) - unsaid}
    assert {url: pairs for url, pairs in differ.items() if any(one != other for one, other in pairs)} == {}


def pages_of(root):
    """Canonical URL to its row of pages."""
    artefact = Artefact(root, "pages", SHARDS)
    tables = [schemas.read_parquet(artefact.file(shard, ".parquet")) for shard in range(SHARDS)]
    return {row["url"]: row for table in tables for row in table.to_pylist()}


def test_texts_that_the_traps_are_about_arrive_whole(demo):
    root, _ = demo
    corpus = Artefact(root, "corpus", SHARDS)
    tables = [schemas.read_parquet(corpus.file(shard, ".parquet"), ["url", "text"]) for shard in range(SHARDS)]
    texts = {row["url"]: row["text"] for table in tables for row in table.to_pylist()}
    telling = [trap for trap in TRAPS if trap.says]
    assert len(telling) >= 4
    assert [trap.name for trap in telling if trap.says not in texts[canonical_url(trap.url)]] == []


def test_the_page_that_the_demo_offers_to_explain_can_be_explained(demo):
    root, _ = demo
    (offered,) = re.findall(r"webtext explain (http\S+) --dir", Path(cli.__file__).read_text("utf-8"))
    life = dict(explain(root, SHARDS, offered))
    assert list(life) == ["links", "pages", "documents", "removed"]
    assert life["removed"]["outcome"] == Outcome.NEAR_DUPLICATE
    assert life["removed"]["keeper_url"] == canonical_url("http://docs.granary.test/guide/near.html")


@pytest.mark.parametrize("package", ["torch", "safetensors"])
def test_without_what_a_training_needs_it_ends_with_the_funnel_and_the_command_that_installs_it(
    demo, tmp_path, package
):
    root, _ = demo
    shutil.copytree(root, tmp_path / "demo")
    code = f"import sys; sys.modules[{package!r}] = None; from pipeline.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "demo", "--dir", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "webtext: " in done.stderr) == (0, False), done.stderr
    *before, last = done.stdout.splitlines()
    assert (
        last
        == f"No model was trained: {package} is not installed; run: pip install 'webtext[train]', then the demo again"
    )
    funnel = "\n".join(before)
    assert re.search(r"^ tokens +[\d,]+ ", funnel, re.MULTILINE), funnel
    assert "webtext sample" not in funnel
    assert not (tmp_path / "demo/model").exists()
