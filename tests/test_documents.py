"""Documents: one row for every kept page, the same bytes every time."""

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import msgspec
import pytest

from pipeline import carried, documents, pages
from pipeline.config import BuildSettings, DocumentsSettings, PagesSettings, Settings
from pipeline.dedup.minhash import EMPTY
from pipeline.shards import schemas
from pipeline.shards.outcomes import IntegrityError
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import PlainRun
from pipeline.text import main_text
from pipeline.text.normalize import text_hash

spec = importlib.util.spec_from_file_location("pages_in_files", Path(__file__).with_name("test_pages.py"))
given = importlib.util.module_from_spec(spec)
spec.loader.exec_module(given)

ARTICLE = "<html><head><title>Bees</title></head><body><article>{}</article></body></html>".format(
    "".join(f"<p>The {n}. bee flew over the caf\u00e9 and saw that the flowers were open.</p>" for n in range(20))
)
SETTINGS = Settings(build=BuildSettings(shards=2), pages=PagesSettings(warc=("w/*.warc.gz",)))


def made_pages(work):
    responses = [
        ("https://a.test/bees", "200 OK", ARTICLE.encode()),
        ("https://b.test/empty", "200 OK", b"<html><body></body></html>"),
        ("https://c.test/gone", "404 Not Found", b"gone"),
        ("https://d.test/picture", "200 OK", b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
    ]
    given.write_links(work, [given.link(url) for url, _, _ in responses])
    given.write_warc(work / "w/1.warc.gz", *responses)
    pages.stage(SETTINGS, work, PlainRun())


def test_every_kept_page_is_one_document_and_twice_gives_equal_bytes(tmp_path):
    made_pages(tmp_path)
    manifest = documents.stage(SETTINGS, tmp_path, PlainRun())
    assert manifest.books["documents"].inputs == 3
    assert manifest.books["documents"].outcomes == {"kept": 1, "undecodable": 1, "no_text": 1}
    made = Artefact(tmp_path, "documents", 2)
    tables = [schemas.read_parquet(made.file(shard, ".parquet")) for shard in range(2)]
    rows = {row["url"]: row for table in tables for row in table.to_pylist()}
    bees, empty = rows["https://a.test/bees"], rows["https://b.test/empty"]
    assert "over the caf\u00e9 and saw" in bees["text"]
    assert (bees["title"], bees["language"]) == ("Bees", "en")
    assert bees["word_count"] == len(bees["text"].split())
    assert (empty["outcome"], empty["text"], empty["word_count"]) == ("no_text", "", None)
    assert empty["text_hash"] == text_hash("")
    assert set(empty["signature"]) == {int(EMPTY)}
    for shard in range(2):
        made.receipt_path(shard).unlink()
    assert documents.stage(SETTINGS, tmp_path, PlainRun()) == manifest


def test_documents_are_read_anew_when_the_model_that_reads_them_has_another_threshold(tmp_path, monkeypatch):
    made_pages(tmp_path)
    documents.stage(SETTINGS, tmp_path, PlainRun())
    (model, *_) = found = sorted(main_text.MODEL.parent.glob("*.json"))
    assert main_text.MODEL in found
    assert documents.models() == [hashlib.sha256(path.read_bytes()).hexdigest() for path in found]
    nudged = tmp_path / "models"
    shutil.copytree(model.parent, nudged, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    trees = json.loads(main_text.MODEL.read_bytes())
    trees["threshold"][0][0] += 0.001
    monkeypatch.setattr(main_text, "MODEL", nudged / main_text.MODEL.name)
    assert made_anew(tmp_path, SETTINGS) == 0
    main_text.MODEL.write_text(json.dumps(trees))
    assert made_anew(tmp_path, SETTINGS) == 2


def test_another_engine_asks_for_no_model(tmp_path, monkeypatch):
    made_pages(tmp_path)
    other = msgspec.structs.replace(SETTINGS, documents=DocumentsSettings(engine="resiliparse"))
    documents.stage(other, tmp_path, PlainRun())
    monkeypatch.setattr(documents, "models", lambda: ["another"])
    assert made_anew(tmp_path, other) == 0


def made_anew(work, settings):
    """How many shards of documents a build would make."""

    class Counting(PlainRun):
        shards = 0

        def map_shards(self, make, tasks, *, heavy=False):
            self.shards += len(tasks)
            super().map_shards(make, tasks, heavy=heavy)

    run = Counting()
    documents.stage(settings, work, run)
    return run.shards


@pytest.mark.failure(
    "a WARC file changed after `pages`",
    "exit 5; the line names file and offset",
    "put the old file back, or delete `pages/`",
)
def test_a_warc_that_changed_is_named(tmp_path):
    made_pages(tmp_path)
    given.write_warc(tmp_path / "w/1.warc.gz", ("https://a.test/other", "200 OK", ARTICLE.upper().encode()))
    with pytest.raises(IntegrityError, match=r"1\.warc\.gz at offset \d+"):
        documents.stage(SETTINGS, tmp_path, PlainRun())


def test_tables_are_cut_by_rows_and_by_characters(monkeypatch):
    monkeypatch.setattr(carried, "TABLE_ROWS", 2)
    monkeypatch.setattr(carried, "TABLE_CHARACTERS", 10)
    places = [carried.Place(name, size, -1, 0) for name, size in zip("abcdefg", (1, 1, 1, 9, 1, 30, 1), strict=True)]
    cut = ["".join(place.url for place in places) for places in carried.cuts(places)]
    assert cut == ["ab", "cd", "e", "f", "g"]
