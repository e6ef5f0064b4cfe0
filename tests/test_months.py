"""Months: what comes new costs itself alone, and no history shows in a byte."""

import importlib
import io
import json
import shutil
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline import documents, links, sources, tokenizer
from pipeline.config import parse
from pipeline.fetch import pointers
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import PlainRun
from pipeline.text.encoder import Encoder
from pipeline.text.extract import extract
from pipeline.verbs.remove import remove, undo

SHARDS = 3


def line(number, url, score=5, created=0):
    row = {"id": f"id{number}", "url": url, "score": score, "created_utc": created, "subreddit": "books"}
    return json.dumps({**row, "over_18": False, "is_self": False}).encode() + b"\n"


DUMPS = {
    "new-a.ndjson": [line(1, "http://a.test/1"), line(2, "http://b.test/1", 1), b"nothing\n"],
    "new-b.ndjson": [line(1, "http://a.test/1", 9), line(3, "http://c.test/1"), line(3, "http://c.test/1")],
    "new-c.txt": [b"http://b.test/1\n", b"http://a.test/1\n", b"http://c.test/2\n"],
    "new-d.ndjson": [line(4, "http://c.test/2"), line(5, "http://a.test/3", 2), line(2, "http://b.test/1", 7)],
}


def links_of(work, **section):
    tables = {"build": {"shards": SHARDS}, "links": {"submissions": ["new-*"], **section}}
    return links.stage(parse(tables), work, PlainRun())


def bring(work, name):
    work.mkdir(parents=True, exist_ok=True)
    (work / name).write_bytes(b"".join(DUMPS[name]))


def told(manifest):
    """What an artefact is, and what is said of it."""
    return {name: stamp.sha256 for name, stamp in manifest.files.items()}, manifest.books, manifest.notes


def from_nothing(folder, work, **section):
    """The links of the same files, and of the same requests, in a new folder."""
    for path in work.glob("new-*"):
        bring(folder, path.name)
    if (work / "removals").exists():
        shutil.copytree(work / "removals", folder / "removals")
    return links_of(folder, **section)


@pytest.fixture
def parsed(monkeypatch):
    """The names of the files that are parsed, as they are."""
    names, whole = [], sources.parse

    def parse_one(artefact, task, path):
        names.append(path.name)
        whole(artefact, task, path)

    monkeypatch.setattr(sources, "parse", parse_one)
    return names


def test_one_more_dump_is_the_only_one_that_is_parsed(tmp_path, parsed):
    for number, name in enumerate(DUMPS, 1):
        bring(tmp_path, name)
        links_of(tmp_path)
        assert parsed[number - 1 :] == [name]
    (tmp_path / "new-a.ndjson").rename(tmp_path / "new-z.ndjson")
    links_of(tmp_path, karma=1)
    assert len(parsed) == len(DUMPS)


def test_a_dump_that_changes_or_is_named_no_more_leaves_nothing_in_scratch(tmp_path, parsed):
    for name in DUMPS:
        bring(tmp_path, name)
    links_of(tmp_path)
    (tmp_path / "new-b.ndjson").unlink()
    (tmp_path / "new-a.ndjson").write_bytes(DUMPS["new-a.ndjson"][0])
    links_of(tmp_path)
    assert parsed[len(DUMPS) :] == ["new-a.ndjson"]
    assert len(Artefact.of_names(tmp_path, "scratch/dumps").names) == len(DUMPS) - 1
    assert len(list((tmp_path / "scratch/dumps").glob("*.parquet"))) == len(DUMPS) - 1


STEPS = st.lists(st.sampled_from([*DUMPS, "karma", "remove host", "remove post", "undo"]), max_size=7)


@given(STEPS, st.permutations(list(DUMPS)))
@settings(max_examples=5, deadline=None)
def test_links_have_the_bytes_of_a_build_from_nothing_whatever_came_before(tmp_path_factory, steps, rest):
    work, karma = tmp_path_factory.mktemp("grown"), 3
    for step in (rest[0], *steps, *rest):
        if step in DUMPS:
            bring(work, step)
        elif step == "karma":
            karma = 8 - karma
        elif step == "undo":
            undo(work, SHARDS, ["c.test", "id2"])
        else:
            remove(work, SHARDS, ["c.test" if step == "remove host" else "id2"])
        links_of(work, karma=karma)
    again = links_of(work, karma=karma)  # a link that came after a request for its post is known now
    assert told(again) == told(from_nothing(work / "new", work, karma=karma))
    shutil.rmtree(work / "new")


def test_of_what_was_removed_no_source_keeps_the_address_whether_it_came_before_or_after(tmp_path):
    bring(tmp_path, "new-a.ndjson")
    links_of(tmp_path)
    remove(tmp_path, SHARDS, ["id1", "c.test"])
    for name in DUMPS:
        bring(tmp_path, name)
        links_of(tmp_path)
    remove(tmp_path, SHARDS, ["id5"])
    assert links_of(tmp_path).books["links"].outcomes == {"kept": 1, "removed": 4}
    data = b"".join(path.read_bytes() for path in Path(tmp_path / "scratch").rglob("*.parquet"))
    assert b"b.test/1" in data
    assert not [name for name in (b"a.test", b"c.test", b"id3") if name in data]


# --- from pages to the corpus

STAGES = ("links", "pages", "documents", "corpus")
NAMES = ("Ada", "Ben", "Cleo", "Dov", "Ema")
PAGES = {  # month -> its pages; of two a later month has another version, or a copy
    "2025-01": [("https://a.test/1", 1), ("https://b.test/1", 2)],
    "2025-02": [("https://a.test/2", 3), ("https://c.test/1", 1)],
    "2025-03": [("https://a.test/1", 4), ("https://d.test/1", 5)],
}


def page(number):
    """An article like no other."""
    said = [f"{NAMES[(number * turn) % 5]} said in {1900 + 7 * number + turn} that it was so." for turn in range(40)]
    return f"<html><body><article><p>{' '.join(said)}</p></article></body></html>".encode()


class InProcess:
    """A sandbox that is none, and counts."""

    read: ClassVar[list[str]] = []

    def __init__(self, engine, *_):
        self.engine = engine

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def extract(self, body, content_type, url):
        InProcess.read.append(url)
        return extract(body, content_type, url, self.engine)


@pytest.fixture
def extracted(monkeypatch):
    """The addresses of the pages that are extracted, as they are."""
    monkeypatch.setattr(documents, "Sandbox", InProcess)
    monkeypatch.setattr(InProcess, "read", [])
    return InProcess.read


def month(work, name, offset=0):
    """Bring a month: its dump, and its WARC file."""
    work.mkdir(parents=True, exist_ok=True)
    posts = [line(hash_of(url), url) for url, _ in PAGES[name]]
    (work / f"{name}.ndjson").write_bytes(b"".join(posts))
    head = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
    with (work / f"{name}.warc.gz").open("wb") as file:
        for url, number in PAGES[name]:
            record = WARCWriter(file, gzip=True)
            date = {"WARC-Date": f"{name}-01T00:00:00Z"}
            body = io.BytesIO(page(number + offset))
            made = record.create_warc_record(url, "response", body, http_headers=head, warc_headers_dict=date)
            record.write_record(made)


def hash_of(url):
    return sum(map(ord, url))


def built(work, stages=STAGES, run=None, **sections):
    tables = {"build": {"shards": 2}, "links": {"submissions": ["*.ndjson"]}, "pages": {"warc": ["*.warc.gz"]}}
    tables |= {"corpus": {"min_words": 5, "rules": []}}
    found = parse({**tables, **sections})
    return {
        stage: importlib.import_module(f"pipeline.{stage}").stage(found, work, run or PlainRun()) for stage in stages
    }


def copied(work, folder):
    """The same inputs and requests in a new folder."""
    folder.mkdir()
    for path in [*work.glob("*.ndjson"), *work.glob("*.warc.gz")]:
        shutil.copy2(path, folder / path.name)
    if (work / "removals").exists():
        shutil.copytree(work / "removals", folder / "removals")
    return folder


def test_one_more_month_extracts_its_own_pages_alone(tmp_path, extracted, monkeypatch):
    indexed, whole = [], pointers.write_index
    monkeypatch.setattr(pointers, "write_index", lambda *a: (indexed.append(a[2].path.stem), whole(*a)))
    for name in ("2025-01", "2025-02"):
        month(tmp_path, name)
    built(tmp_path)
    assert sorted(extracted) == ["https://a.test/1", "https://a.test/2", "https://b.test/1", "https://c.test/1"]
    del extracted[:], indexed[:]
    month(tmp_path, "2025-03")
    more = built(tmp_path)
    assert extracted == ["https://d.test/1"]
    assert indexed == ["2025-03.warc"]
    again = built(copied(tmp_path, tmp_path / "new"))
    assert {stage: told(more[stage]) for stage in STAGES} == {stage: told(again[stage]) for stage in STAGES}


class Weighed(PlainRun):
    """Whether worker processes are wanted for documents."""

    heavy: ClassVar[list[bool]] = []

    def map_shards(self, function, tasks, heavy=False):
        if tasks and function.func is documents.extract_shard:
            Weighed.heavy.append(heavy)
        super().map_shards(function, tasks)


def test_worker_processes_are_started_for_what_is_new_alone(tmp_path, extracted, monkeypatch):
    monkeypatch.setattr(documents, "PAGE_S", 11.0)
    monkeypatch.setattr(Weighed, "heavy", [])
    for name in ("2025-01", "2025-02", "2025-03"):
        month(tmp_path, name)
        built(tmp_path, STAGES[:3], run=Weighed())
    built(tmp_path, STAGES[:3], run=Weighed(), documents={"shingle_words": 4})
    assert Weighed.heavy == [True, True, False, True]  # 2 pages, 2 more, 1 more, all


@pytest.mark.parametrize("changed", [{"shingle_words": 4}, {"engine": "trafilatura"}])
def test_with_another_setting_of_the_extraction_nothing_is_carried(tmp_path, extracted, changed):
    month(tmp_path, "2025-01")
    built(tmp_path, STAGES[:3])
    built(tmp_path, STAGES[:3], documents=changed)
    assert len(extracted) == 4
    month(tmp_path, "2025-02")
    built(tmp_path, STAGES[:3], documents=changed)
    assert len(extracted) == 6


def test_a_page_that_was_removed_is_not_carried_back(tmp_path, extracted):
    month(tmp_path, "2025-01")
    built(tmp_path)
    remove(tmp_path, 2, ["https://b.test/1"])
    month(tmp_path, "2025-02")
    more = built(tmp_path)
    assert len(extracted) == 4
    data = b"".join(path.read_bytes() for path in tmp_path.rglob("*.parquet"))
    assert b"b.test" not in data
    assert more["documents"].books["documents"].inputs == 3


def test_what_a_kill_left_between_the_rows_and_their_keys_is_made_anew(tmp_path, extracted):
    month(tmp_path, "2025-01")
    built(tmp_path, STAGES[:3])
    keys = {path: path.read_bytes() for path in (tmp_path / "scratch/extracted").rglob("*") if path.is_file()}
    month(tmp_path, "2025-02")
    built(tmp_path, STAGES[:3])
    for path, data in keys.items():  # those of the attempt before
        path.write_bytes(data)
    del extracted[:]
    month(tmp_path, "2025-03")
    more = built(tmp_path, STAGES[:3])
    assert told(more["documents"]) == told(built(copied(tmp_path, tmp_path / "new"), STAGES[:3])["documents"])


ALL = (*STAGES, "tokenizer", "tokens")
LEARNT = {"tokenizer": {"vocab_size": 300}, "tokens": {"val_share": 0.0}}


def test_a_vocabulary_once_learnt_stays_and_only_new_texts_are_encoded(tmp_path, extracted, monkeypatch):
    texts, whole = [], Encoder.encode_batch
    monkeypatch.setattr(Encoder, "encode_batch", lambda own, batch: (texts.extend(batch), whole(own, batch))[1])
    month(tmp_path, "2025-01")
    before = built(tmp_path, ALL, **LEARNT)
    month(tmp_path, "2025-03")
    more = built(tmp_path, ALL, **LEARNT)
    assert told(more["tokenizer"])[0] == told(before["tokenizer"])[0]
    assert more["tokenizer"].notes == (tokenizer.KEPT, *before["tokenizer"].notes)
    assert (len(texts), len(set(texts))) == (3, 3)
    assert built(tmp_path, ALL, **LEARNT) == more
    for path in (tmp_path / "scratch/tokens_keys").rglob("*.parquet"):
        path.unlink()
    for path in (tmp_path / "tokens").rglob("*-of-*.json"):
        path.unlink()
    assert told(built(tmp_path, ALL, **LEARNT)["tokens"]) == told(more["tokens"])
    assert len(texts) == 6


def test_a_vocabulary_is_learnt_anew_when_asked_for_or_by_other_settings(tmp_path, extracted):
    month(tmp_path, "2025-01")
    before = built(tmp_path, ALL, **LEARNT)
    month(tmp_path, "2025-03")
    larger = built(tmp_path, ALL, **{**LEARNT, "tokenizer": {"vocab_size": 310}})
    assert tokenizer.KEPT not in larger["tokenizer"].notes
    asked = {**LEARNT, "tokenizer": {"vocab_size": 300, "keep": False}}
    again = built(tmp_path, ALL, **asked)
    new = built(copied(tmp_path, tmp_path / "new"), ALL, **asked)
    assert {stage: told(again[stage]) for stage in ALL} == {stage: told(new[stage]) for stage in ALL}
    assert told(again["tokenizer"])[0] != told(before["tokenizer"])[0]


EVENTS = st.lists(st.sampled_from([0, 1, "change", "remove", "words", "shingles"]), max_size=4)


@given(EVENTS, st.permutations(list(PAGES)))
@settings(max_examples=3, deadline=None)
def test_every_artefact_has_the_bytes_of_a_build_from_nothing_whatever_came_before(tmp_path_factory, events, rest):
    work, sections = tmp_path_factory.mktemp("grown"), {}
    whole, documents.Sandbox = documents.Sandbox, InProcess
    try:
        for event in (0, *events, 1, 2):  # a removal leaves what is left of a link where it was, till more comes
            if isinstance(event, int):
                month(work, rest[event])
            elif event == "change":
                month(work, rest[0], offset=10)
            elif event == "remove":
                remove(work, 2, ["https://c.test/1", "a.test"])
            elif event == "words":
                sections["corpus"] = {"min_words": 300 if "corpus" not in sections else 5, "rules": []}
            else:
                sections["documents"] = {"shingle_words": 3 if "documents" not in sections else 5}
            more = built(work, **sections)
        again = built(copied(work, work / "new"), **sections)
        assert {stage: told(more[stage]) for stage in STAGES} == {stage: told(again[stage]) for stage in STAGES}
    finally:
        documents.Sandbox = whole
