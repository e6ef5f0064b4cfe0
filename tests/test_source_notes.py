"""What a build says of its sources: bad lines by file and line, files that give no link; the same however it is run."""

import pytest

from pipeline import links, sources
from pipeline.cli import app as cli
from pipeline.config import parse
from pipeline.shards.receipts import Artefact
from pipeline.shards.runner import BeamRun, PlainRun
from tests.test_links import NoRun, line

GOOD = line(1, "http://a.test/")
FILES = {
    "a.ndjson": GOOD + b"{oops\n" + line(2, "http://b.test/"),
    "b.csv": b"id,url,created_utc\nx1,http://c.test/,soon\nx2,http://d.test/,5\n",
    "c.txt": b"# addresses\nhttp://e.test/\nno address\n\xff\n",
    "d.txt": b"# nothing\n",
    "e.ndjson": line(3, "http://secret.test:port/").replace(b"id3", b"e1"),
    "f.json": b"[\n" + b",\n".join([GOOD.strip(), *[b'{"id": "\x1b[31m"}'] * 5]) + b"\n]\n",
}
NOTES = [
    "a.ndjson: line 2: not JSON: Expecting property name enclosed in double quotes (character 2)",
    "b.csv: line 2: created_utc: 'soon' is no number",
    "c.txt: line 3: url: neither a scheme nor a host with a dot",
    "c.txt: line 4: not UTF-8",
    "d.txt: no link: it holds nothing",
    "e.ndjson: no link: 1 bad_url",
    "f.json: line 3: created_utc: missing",
    "f.json: line 4: created_utc: missing",
    "f.json: line 5: created_utc: missing",
    "f.json: 5 bad lines in all",
]


def build(work, run=None, names=("*.ndjson", "*.csv", "*.txt", "*.json")):
    tables = {"build": {"shards": 2}, "links": {"submissions": list(names)}}
    return links.stage(parse(tables), work, run or PlainRun())


@pytest.fixture
def work(tmp_path):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.mark.failure("lines of a source are bad", "a note names the file, the line and why; the run goes on", "nothing")
def test_the_first_bad_lines_of_each_source_are_named_and_files_that_give_no_link(work):
    manifest = build(work)
    assert list(manifest.notes) == NOTES
    assert not any("secret" in note for note in manifest.notes)
    assert sum(manifest.books["submissions"].outcomes.values()) == manifest.books["submissions"].inputs


def test_addresses_that_are_none_count_among_the_bad_lines_of_a_list(tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"http://a.test/\n" + b"nowhere\n" * 5 + b"two words\n")
    notes = build(tmp_path, names=["mine.txt"]).notes
    assert len(notes) == 4
    assert notes[-1] == "mine.txt: 6 bad lines in all"


def test_notes_stay_when_nothing_is_left_to_do_and_follow_a_file_that_is_renamed(work):
    first = build(work)
    assert build(work, NoRun()) == first
    (work / "a.ndjson").rename(work / "z.ndjson")
    again = build(work, NoRun())
    assert list(again.notes) == [*NOTES[1:], NOTES[0].replace("a.ndjson", "z.ndjson")]
    assert again.files == first.files


def test_notes_are_the_same_however_the_work_is_spread(work, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for name, data in FILES.items():
        (other / name).write_bytes(data)
    plain, beam = build(work), build(other, BeamRun(workers=2, scratch=other / "scratch"))
    assert beam.notes == plain.notes
    assert beam.files == plain.files
    every = [Artefact.of_names(root, "scratch/dumps").receipts() for root in (work, other)]
    assert [one.notes for one in every[0]] == [one.notes for one in every[1]]


def test_many_notes_are_bounded_and_the_rest_counted(tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02}.ndjson").write_bytes(line(number, f"http://a{number}.test/") + b"{\n" * 2)
    manifest = build(tmp_path, names=["*.ndjson"])
    assert len(manifest.notes) == sources.MOST_NOTES + 1
    assert manifest.notes[-1] == f"{60 - sources.MOST_NOTES} more notes on sources"


def test_status_shows_the_notes_one_line_each_and_sends_no_control(work, capsys):
    (work / "webtext.toml").write_text("[build]\nshards = 2\n")
    data = (work / "f.json").read_bytes().replace(b'"id": "\x1b[31m"', b'"id": "x", "created_utc": "\x1b[31m"')
    (work / "f.json").write_bytes(data)
    build(work)
    cli.status(work)
    shown = [row for row in capsys.readouterr().out.splitlines() if row.startswith("links: note: ")]
    assert len(shown) == len(NOTES)
    assert shown[0] == f"links: note: {NOTES[0]}"
    assert any(row.endswith(r"f.json: line 3: created_utc: '\x1b[31m' is no number") for row in shown)
