"""`webtext plan`: on small inputs it foretells the books of the build, says what it assumed, and builds nothing."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import zstandard
from typer.testing import CliRunner

from pipeline import config
from pipeline.build import STAGES, build
from pipeline.cli import app as cli
from pipeline.cli.plan import rounded, span
from pipeline.shards.outcomes import ConfigError, InputError
from pipeline.shards.runner import PlainRun
from pipeline.verbs.plan import graph
from pipeline.verbs.plan.costs import Costs, Web
from pipeline.verbs.plan.machines import rented
from pipeline.verbs.plan.outlook import every_number, outlook
from pipeline.verbs.plan.probe import probe
from tests.own_data import SETTINGS, write_both
from tests.verbs.plan.probes import HERE

SOURCES = '[build]\nshards = 2\n[links]\nsubmissions = ["dump.ndjson"]\n[pages]\nwarc = ["pages.warc.gz"]\n'
CRAWL = '[links]\nsubmissions = ["dump.ndjson"]\n[pages]\ncontact = "mailto:a@b.test"\n'


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A working directory, its settings, what was foretold of it, and then the manifests of its build."""
    work = tmp_path_factory.mktemp("plan")
    write_both(work)
    (work / config.FILE_NAME).write_text(SOURCES + SETTINGS)
    settings = config.load(work / config.FILE_NAME)
    foretold = outlook(work, settings, Costs(Web(copies=0.0)), HERE)
    before = sorted(path.name for path in work.iterdir())
    return work, settings, foretold, before, build(work, settings, run=PlainRun())


def run(work, *arguments):
    """The command as a person types it; errors of ours are raised."""
    return CliRunner().invoke(cli.app, ["plan", "--dir", str(work), *arguments])


def test_a_plan_writes_nothing(planned):
    assert planned[3] == ["dump.ndjson", "pages.warc.gz", "webtext.toml"]


@pytest.mark.parametrize("stage", ["links", "pages", "documents", "corpus", "tokens"])
def test_rows_of_small_inputs_are_the_books_of_the_build(planned, stage):
    _, _, foretold, _, manifests = planned
    (one,) = [each for each in foretold.plan.stages if each.name == stage]
    assert round(one.rows) == manifests[stage].books[stage].outcomes["kept"]


def test_what_stands_is_told_by_its_manifest_and_costs_nothing(planned):
    work, settings, *_ = planned
    again = outlook(work, settings, Costs(), HERE)
    assert all(one.made for one in again.plan.stages)
    assert again.plan.seconds == again.plan.disk_bytes == 0
    assert again.assumptions == ()
    assert again.sampled[0] == f"the manifests of {', '.join(STAGES)}"


@pytest.mark.parametrize("made", [("links",), ("links", "pages"), ("links", "pages", "documents")])
def test_stages_that_stand_make_the_rest_surer(planned, made, monkeypatch):
    work, settings, _, _, manifests = planned
    real = probe.__globals__["status_of"]

    def some(root, settings):
        found = real(root, settings)
        return {stage: one if stage in made else one._replace(manifest=None) for stage, one in found.items()}

    monkeypatch.setitem(probe.__globals__, "status_of", some)
    found = probe(work, settings)
    assert tuple(found.made) == made
    assert (found.submissions, found.captures is None) == (None, "pages" in made)
    assert (found.texts.cpu_s is None) == ("documents" in made)
    plan = {one.name: one for one in outlook(work, settings, Costs(Web(copies=0.0)), HERE).plan.stages}
    assert plan["documents"].rows == manifests["documents"].books["documents"].outcomes["kept"]
    assert sum(found.hosts.values()) == manifests["links"].books["links"].outcomes["kept"]
    assert plan["pages"].rows == manifests["pages"].books["pages"].outcomes["kept"]


def test_what_was_assumed_is_named_with_its_source(tmp_path):
    write_both(tmp_path)
    (tmp_path / config.FILE_NAME).write_text(CRAWL)
    found = outlook(tmp_path, config.load(tmp_path / config.FILE_NAME), Costs(), HERE)
    named = {one.name for one in found.assumptions}
    assert named == {
        "found", "latency_s", "requests", "page_bytes", "text_share", "text_bytes", "passing", "copies",
    }  # fmt: skip
    assert all(one.source for one in found.assumptions)
    assert named < {one.name for one in every_number(Costs())}


def test_a_number_said_better_changes_the_plan(tmp_path):
    write_both(tmp_path)
    (tmp_path / config.FILE_NAME).write_text(CRAWL)
    usual, slow = (
        json.loads(run(tmp_path, "--json", *more).stdout)["plan"]
        for more in ((), ("--assume", "latency_s=60", "--assume", "found=1"))
    )
    assert slow["crawl"]["longest"]["seconds"] > 20 * usual["crawl"]["longest"]["seconds"]
    assert slow["stages"][1]["rows"] == 24


def test_the_table_has_a_line_a_stage(tmp_path):
    write_both(tmp_path)
    (tmp_path / config.FILE_NAME).write_text(CRAWL)
    done = run(tmp_path, "--machine", "n2-standard-4", "--workers", "3", "--price", "0.5")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert tuple(line.split()[0] for line in lines if line.split()[0] in STAGES) == STAGES
    hours, price = re.search(r"3 machines of 4 vCPUs: ([\d.]+) vCPU hours, for ([\d.]+)\.\n", done.stdout).groups()
    assert float(price) == pytest.approx(float(hours) * 0.5, abs=0.03)
    assert "Its longest queue: " in done.stdout
    assert "latency_s=1  seconds a request" in done.stdout


def test_all_numbers_can_be_listed_without_a_working_directory(tmp_path):
    done = run(tmp_path, "--numbers", "--assume", "page_s=0.5")
    assert "page_s=0.5  CPU s a page" in done.stdout
    assert len(done.stdout.splitlines()) == len(list(every_number(Costs())))


def test_a_graph_that_the_service_would_refuse_is_refused(planned, monkeypatch):
    monkeypatch.setattr(graph, "LIMIT_BYTES", 1_000)
    done = run(planned[0], "--runner", "DataflowRunner")
    assert isinstance(done.exception, ConfigError)
    assert "Dataflow takes 0: Beam's options" in str(done.exception)


def test_a_graph_that_would_be_taken_is_told(planned):
    done = run(planned[0], "--runner", "DataflowRunner")
    assert done.exit_code == 0, done.output
    assert "Dataflow takes 10 MB" in done.stdout


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("", ConfigError, "links.submissions is empty"),
        ('[links]\nsubmissions = ["nothing*"]\n', InputError, "matches no file"),
        ('[links]\nbigquery = "a.b.c"\n[pages]\ncontact = "mailto:a@b.test"\n', ConfigError, "--assume posts=N"),
    ],
)
def test_without_inputs_there_is_no_plan(tmp_path, text, kind, told):
    (tmp_path / config.FILE_NAME).write_text(text)
    done = run(tmp_path)
    assert isinstance(done.exception, kind)
    assert told in str(done.exception)


def test_what_will_not_fit_is_said(tmp_path):
    write_both(tmp_path)
    (tmp_path / config.FILE_NAME).write_text(f"[build]\nshards = 8\n{CRAWL}")
    settings = config.load(tmp_path / config.FILE_NAME)
    small = replace(HERE, memory_bytes=1e6, disk_bytes=1e3)
    told = " / ".join(outlook(tmp_path, settings, Costs(), small).notes)
    expected = ("about 1 are right", "links: 0.1 GB of memory", "disk: 0.0 GB are needed")
    assert [words for words in expected if words not in told] == []


@pytest.mark.parametrize(
    ("window_log", "named", "told"),
    [
        (31, 0, ["dumps written with zstd --long=31 ask 2.1 GB", "at most 3 at once", "build.windows_bytes is 8.0 GB"]),
        (30, 10**9, ["--long=30 ask 1.1 GB", "at most 1 at once", "build.windows_bytes is 1.0 GB"]),
        (27, 0, []),
    ],
)
def test_dumps_that_ask_much_memory_of_their_reader_are_said_to(tmp_path, window_log, named, told):
    write_both(tmp_path)
    frame = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    ).compressobj()
    dump = frame.compress((tmp_path / "dump.ndjson").read_bytes()) + frame.flush()
    (tmp_path / "dump.zst").write_bytes(dump)
    (tmp_path / config.FILE_NAME).write_text(SOURCES.replace("dump.ndjson", "dump.zst") + SETTINGS)
    settings = config.load(tmp_path / config.FILE_NAME, [f"build.windows_bytes={named}"])
    found = outlook(tmp_path, settings, Costs(), replace(HERE, memory_bytes=16e9))
    said = [note for note in found.notes if "zstd" in note]
    assert len(said) == bool(told)
    assert all(words in said[0] for words in told)
    assert next(stage.memory_bytes for stage in found.plan.stages if stage.name == "links") > 2**window_log


def test_hosts_that_nobody_has_seen_are_said_to_be_missing(tmp_path):
    (tmp_path / config.FILE_NAME).write_text(CRAWL.replace('submissions = ["dump.ndjson"]', 'bigquery = "a.b.c"'))
    settings = config.load(tmp_path / config.FILE_NAME)
    machines = rented("n2-standard-2", 4)
    found = outlook(tmp_path, settings, Costs(Web(posts=45e6)), machines)
    assert "queues are left out" in " / ".join(found.notes)
    assert "one process sees all shards" not in " / ".join(found.notes)
    tight = outlook(tmp_path, settings, Costs(Web(posts=45e6)), replace(machines, memory_bytes=2e9))
    assert [note for note in tight.notes if note.startswith("tokenizer") and "one process sees all shards" in note]


def test_to_plan_for_this_machine_needs_no_beam(tmp_path):
    write_both(tmp_path)
    (tmp_path / config.FILE_NAME).write_text(CRAWL)
    program = (
        "import sys\nfrom pathlib import Path\nfrom pipeline import config\n"
        "from pipeline.verbs.plan import costs, machines, outlook\n"
        f"root = Path({str(tmp_path)!r})\n"
        "outlook.outlook(root, config.load(root / config.FILE_NAME), costs.Costs(), machines.here(root, 1))\n"
        "assert 'apache_beam' not in sys.modules and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (59, "59 s"), (90, "1.5 min"), (7_200, "2.0 h"), (864_000, "10.0 days")]
)
def test_times_are_told_in_the_unit_that_fits(seconds, told):
    assert span(seconds) == told


def test_rows_are_told_to_the_last_one_up_to_a_million():
    assert (rounded(999_999), rounded(45_123_456)) == ("999,999", "45M")
