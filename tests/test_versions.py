"""A stage that writes other rows than it did has to raise its VERSION, or shards of two kinds lie side by side."""

import hashlib
import importlib
import json

import pyarrow as pa
import pytest

from pipeline import config, evidence, urls
from pipeline.build import STAGES, artefact, build
from pipeline.demo import site
from pipeline.demo.prose import Passage
from pipeline.shards import schemas
from pipeline.shards.runner import PlainRun
from tests.own_data import write_dump, write_warc

SETTINGS = {
    "build": {"shards": 2},
    "links": {"submissions": ["dump.ndjson"]},
    "pages": {"warc": ["*.warc.gz"]},
    "corpus": {"min_words": 50},
    "tokenizer": {"vocab_size": 400},
    "tokens": {"val_share": 0.3},
}
PARTS = {"corpus": ("", "removed"), "tokens": ("train", "val")}
PLACES = ("offset", "length")  # within a WARC file that the fixture makes anew, with another date
# stage -> its VERSION, and the digest of the rows that it wrote then. A digest that changed: raise the VERSION if old
# shards are wrong now, and write both here.
WRITTEN = {
    "links": (4, "7c42098714e2325a"),
    "pages": (6, "10f5dd162b8e2edb"),
    "documents": (4, "b1a2452ead937e9c"),
    "corpus": (4, "1defeeb8a9ce081b"),
    "tokenizer": (2, "a21c87f193cc009a"),
    "tokens": (2, "f97ed8072cce1b62"),
}
# the same of the lists that decide which address is which: they are in no fingerprint but by CANONICAL_VERSION
LISTS = ("mobile_hosts.txt", "redirectors.txt", "tracking_parameters.txt")
LISTED = (2, "63d38bb88611495e")


WHO = ("the baker", "a neighbour", "our teacher", "the old captain", "my sister", "nobody in town", "the clerk")
DID = ("wrote a letter to", "walked home with", "waited all day for", "sold a bicycle to", "never quite believed")
WHERE = ("near the harbour", "in the second week of May", "behind the library", "before the rain came", "on a Sunday")


def pages():
    """Twelve pages of made-up English, the last one a copy of the first."""
    for number in range(12):
        seed = number % 11
        sentences = [
            f"{who.capitalize()} {DID[(seed * n) % 5]} {WHO[(3 * n + 1) % 7]} {WHERE[(seed + 2 * n) % 5]}."
            for n, who in ((n, WHO[(seed + n) % 7]) for n in range(30))
        ]
        paragraphs = tuple(" ".join(sentences[start : start + 6]) for start in range(0, 30, 6))
        host = sorted(site.HOSTS)[number % 5]
        yield site.Page(host, f"/story/{number}.html", Passage(f"Story {seed}", paragraphs))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return built(tmp_path_factory.mktemp("versions"))


def built(root):
    chosen = list(pages())
    write_dump(root / "dump.ndjson", chosen)
    write_warc(root / "pages.warc.gz", chosen)
    build(root, config.parse(SETTINGS), run=PlainRun())
    return root


def version(stage):
    module = evidence if stage == "corpus" else importlib.import_module(f"pipeline.{stage}")
    return module.VERSION


def plain(value):
    """A value as it is on every machine: floats to three digits, bytes in hex, files by their names."""
    if isinstance(value, float):
        return float(f"{value:.3g}")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.rpartition("/")[2] if isinstance(value, str) and value.endswith(".warc.gz") else value


def rows(root, stage):
    one = artefact(root, stage, 2)
    if stage == "tokenizer":
        yield one.named(0, "tokenizer.json").read_text("utf-8")
        return
    for part in PARTS.get(stage, ("",)):
        for shard in range(2):
            if stage == "tokens":
                with pa.memory_map(str(one.file(shard, ".arrow", part))) as file:
                    table = pa.ipc.open_file(file).read_all()
            else:
                table = schemas.read_parquet(one.file(shard, ".parquet", part))
            table = table.drop_columns([name for name in PLACES if name in table.column_names])
            yield from ({name: plain(value) for name, value in row.items()} for row in table.to_pylist())


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_writes_changes_with_its_version_only(made, stage):
    digest = hashlib.sha256("\n".join(json.dumps(row, sort_keys=True) for row in rows(made, stage)).encode())
    assert (version(stage), digest.hexdigest()[:16]) == WRITTEN[stage], f"{stage}: see WRITTEN"


def test_the_lists_that_tell_addresses_apart_change_with_their_version_only():
    digest = hashlib.sha256(repr([urls.packaged_entries(name) for name in LISTS]).encode()).hexdigest()[:16]
    assert (urls.CANONICAL_VERSION, digest) == LISTED, "see LISTS"
