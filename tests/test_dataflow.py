"""What Dataflow would be sent, built offline: the job of every pipeline of every stage. None of it ran there."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import traceback
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2 as proto
from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
from hatchling.builders.wheel import WheelBuilder

from pipeline import build, config
from pipeline.cli.options import stage_and_options
from pipeline.demo import dump, site
from pipeline.shards import failures, runner
from pipeline.shards.locations import mirror
from pipeline.shards.outcomes import ConfigError, DryRun, InputError
from pipeline.shards.receipts import Task
from pipeline.shards.runner import BeamRun, Running
from pipeline.status import recorded
from tests.engines import QUIET
from tests.fetch import warcs
from tests.fetch.test_commoncrawl import entry, write_index
from tests.own_data import SETTINGS, write_dump, write_warc
from tests.rehearsal import Rehearsal, bare, payloads, requests

ROOT = Path(__file__).resolve().parents[1]
IMAGE = "europe-west4-docker.pkg.dev/a-project/webtext/worker:1"
REAL = ("--project=a-project", "--region=europe-west4", "--temp_location=gs://a-bucket/temp", QUIET)
DRY = ("--dry_run=true", "--no_auth", *REAL, f"--sdk_container_image={IMAGE}")
MOST_BYTES = 40_000  # of a graph; Dataflow takes 10 MB, and no number of shards or links makes ours grow


def settings_of(inputs):
    """Settings by which every stage does all that it can: archives and the web, an encyclopedia, evaluation texts."""
    inputs.mkdir()
    pages = site.ordinary_pages()[:8]
    write_dump(inputs / "dump.ndjson", pages, copies=2)
    write_warc(inputs / "pages.warc.gz", pages, copies=2)
    # a revisit that names its original by id alone, whose address others have to find
    named = {"Record_ID": "<urn:uuid:1>"}, {"Refers_To": "<urn:uuid:1>"}
    warcs.write(inputs, warcs.record(warcs.answer(), "http://o.test/original", **named[0]), name="original.warc.gz")
    warcs.write(
        inputs, warcs.record(warcs.answer(b""), "http://o.test/again", "revisit", **named[1]), name="again.warc.gz"
    )
    with (inputs / "dump.ndjson").open("a") as file:  # a link that is crawled, and needs no network to fail
        row = {"id": "b1", "url": "http://127.0.0.1:9/story", "score": 9, "created_utc": 1_400_000_000}
        file.write(json.dumps({**row, "subreddit": "books", "over_18": False, "is_self": False}) + "\n")
    dump.wikipedia_dump(inputs / "encyclopedia.xml")
    (inputs / "evaluation.txt").write_text(
        "An evaluation text of more than thirteen words, which nobody has put into a page so far.\n"
    )
    corpus = f'wikipedia_dumps = ["{inputs}/encyclopedia.xml"]\ncontamination = ["{inputs}/evaluation.txt"]\n'
    (inputs / config.FILE_NAME).write_text(
        f"""[build]
shards = 2
[links]
submissions = ["{inputs}/dump.ndjson"]
[pages]
warc = ["{inputs}/*.warc.gz"]
crawl = "missing"
contact = "https://a.test/who"
"""
        + SETTINGS.replace("[corpus]\n", f"[corpus]\n{corpus}copied_paragraphs = 2\n")
    )
    return config.load(inputs / config.FILE_NAME)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A build of all stages whose every pipeline was built as a job of Dataflow too: folder, settings, rehearsal."""
    folder = tmp_path_factory.mktemp("dataflow")
    settings, work = settings_of(folder / "inputs"), folder / "work"
    run = Rehearsal("DataflowRunner", 1, DRY, work / "scratch")
    build.build(work, settings, run=run, started=run.stages.append)
    write_index(folder / "index" / "part.parquet", [entry(site.ordinary_pages()[0].url)])
    indexed = [
        f'pages.commoncrawl=["{folder}/index/*"]',
        "pages.warc=[]",
        'pages.crawl="never"',
        'pages.commoncrawl_url="http://127.0.0.1:9/"',
        "pages.gap_s=0.001",
    ]
    settings_too = config.load(folder / "inputs" / config.FILE_NAME, indexed)
    other = replace(run, scratch=folder / "other" / "scratch")
    build.build(folder / "other", settings_too, "pages", run=other, started=run.stages.append)
    shutil.copytree(work, folder / "later")
    against = config.load(folder / "inputs" / config.FILE_NAME, [f'corpus.against=["{work}"]'])
    later = replace(run, scratch=folder / "later" / "scratch")
    build.build(folder / "later", against, "corpus", run=later, started=run.stages.append)
    posts = (folder / "inputs" / "dump.ndjson").read_bytes()
    (folder / "inputs" / "dump.ndjson").write_bytes(posts[: posts[:-1].rindex(b"\n") + 1])  # deleted there, so here too
    build.build(folder / "other", settings_too, "pages", run=other, started=run.stages.append)
    (folder / "inputs" / "dump.ndjson").write_bytes(posts)
    return work, settings, run


def rows_of(folder, *columns):
    """Some columns of the rows of an artefact."""
    shards = sorted(folder.glob("*.parquet"))
    return [row for shard in shards for row in pq.read_table(shard, columns=list(columns)).to_pylist()]


def test_every_pipeline_of_every_stage_becomes_a_job(built):
    _, _, run = built
    assert {job.stage for job in run.jobs} == set(build.STAGES)
    assert {job.place for job in run.jobs} == set(requests())


def test_graphs_are_small(built):
    assert max(job.graph.ByteSize() for job in built[2].jobs) < MOST_BYTES


def scatter_nothing(source):
    yield from ()


def gather_nothing(task, blocks):
    pass


def test_a_graph_has_one_size_whatever_the_number_of_shards_and_of_links(tmp_path):
    run = Rehearsal("DataflowRunner", 1, DRY, tmp_path, stages=["links"])
    for many in (3, 30_000):
        tasks = [Task(shard, "f" * 32) for shard in range(many)]
        run.exchange(
            partial(scatter_nothing), [f"http://a{number}.test/" for number in range(many)], gather_nothing, tasks
        )
        run.map_shards(print, tasks[:0])
    few, lots = (len(bare(job.graph)) for job in run.jobs)
    assert abs(few - lots) < 100  # names of files differ, and with them how well they are packed
    few, lots = (len(job.spec) for job in run.jobs)
    assert lots > 1_000_000 > 1_000 > few


def test_no_graph_names_a_link_a_shard_or_an_input(built):
    work, _, run = built
    rows = rows_of(work / "links", "url", "host", "doc_id")
    named = {value for row in rows for value in row.values()} | {
        "-of-0000",
        "dump.ndjson",
        "pages.warc",
        "scratch/votes",
    }
    assert len(named) > 30
    for job in run.jobs:
        found = bare(job.graph)
        assert [name for name in named if name.encode() in found] == []
        assert b".job-" in found


def test_the_workers_start_from_the_image_that_is_named(built):
    for job in built[2].jobs:
        (environment,) = job.graph.components.environments.values()
        assert environment.urn == "beam:env:docker:v1"
        assert proto.DockerPayload.FromString(environment.payload).container_image == IMAGE
        assert list(environment.dependencies) == []  # nothing is installed when a worker starts


# What crosses, by the function that sends it: ids, hashes, counts, addresses, times; of texts, words with how often a
# whole shard has them. (Two have nothing to send here: `likeness`, whose test says what travels; `pages.send`, as no
# page of another shard redirects into this one.)
LINK = "url fetch_url doc_id host id score created subreddit over_18"
CAPTURE = (
    "doc_id final_url via status content_type warc offset length sha256 opt_outs outcome kind location captured "
    "record_id concurrent_to digest refers_to refers_date"
)
INDEXED = (
    "url_surtkey url fetch_time fetch_status content_digest warc_filename warc_record_offset warc_record_length crawl "
    "subset"
)
CROSSES = {
    "sources.scatter_source": LINK,
    "links.scatter_shards": LINK,
    "pointers.scatter": CAPTURE,
    "originals.scatter": "key url is_page captured",
    "commoncrawl.scatter": f"doc_id {INDEXED}",
    "copies.hashes_of": "hash node score created length doc_id",
    "copies.losses": "removed keeper score",
    "corpus.kept_for": "removed keeper score",
    "copies.bands_of": "band node",
    "ranking.ranks_of": "node score created length doc_id",
    "corpus.paragraphs_of": "hash documents",
    "tokenizer.scatter_shard": "word count",
}


def test_no_body_crosses_a_shuffle(built):
    work, _, run = built
    texts = [row["text"] for row in rows_of(work / "documents", "text")]
    assert {name: " ".join(found[0].schema.names) for name, found in run.blocks.items()} == CROSSES
    crossed = "\n".join(str(found.to_pylist()) for each in run.blocks.values() for found in each)
    assert len(texts) == 16
    for text in texts:
        words = text.split()
        assert len(words) > 50
        assert [found for n in range(len(words) - 4) if (found := " ".join(words[n : n + 5])) in crossed] == []


UNPICKLE = """
import pathlib, pickle, sys
from apache_beam.internal import pickler
pickler.set_library("cloudpickle")
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    (pickler.loads if path.suffix == ".step" else pickle.loads)(path.read_bytes())
loaded = {name.partition(".")[0] for name in sys.modules}
import pipeline
print(len(list(pathlib.Path(sys.argv[1]).iterdir())), "tests" in loaded, "__main__" in loaded, pipeline.__file__)
"""


def test_all_that_workers_unpickle_they_can_with_what_is_installed(built, tmp_path):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "sent").mkdir()
    sent = 0
    for number, job in enumerate(built[2].jobs):
        (tmp_path / "sent" / f"{number}.spec").write_bytes(job.spec)
        for step, (_, payload) in enumerate(payloads(job.graph)):
            (tmp_path / "sent" / f"{number}-{step}.step").write_bytes(payload)
            sent += 1
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", UNPICKLE, str(tmp_path / "sent")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1:] == []
    site = tmp_path / "site" / "pipeline" / "__init__.py"
    assert done.stdout.split() == [str(sent + len(built[2].jobs)), "False", "True", str(site)]


@pytest.mark.parametrize("stage", build.STAGES)
def test_a_dry_run_builds_the_first_job_of_the_first_stage_with_work_and_makes_nothing(built, stage, tmp_path):
    work, settings, _ = built
    shutil.copytree(work, tmp_path / "work")
    for later in build.STAGES[build.STAGES.index(stage) :]:
        shutil.rmtree(tmp_path / "work" / later)
    before = recorded(tmp_path / "work", 2)
    run = BeamRun("DataflowRunner", 1, DRY, tmp_path / "work" / "scratch")
    with pytest.raises(DryRun, match=rf"^{stage}: a dry run: a job of [0-9,]+ bytes was built, and not submitted"):
        build.build(tmp_path / "work", settings, run=run)
    assert recorded(tmp_path / "work", 2) == before
    assert list((tmp_path / "work" / "scratch").glob(".job-*")) == []


def test_a_dry_run_asks_nobody(monkeypatch, tmp_path):
    def refuse(*address):
        raise AssertionError(address)

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(DryRun):
        BeamRun("DataflowRunner", 1, DRY, tmp_path).map_shards(print, [Task(0, "f")])


def test_the_command_says_what_a_dry_run_did_and_succeeds(built, tmp_path):
    shutil.copytree(built[0].parent / "inputs", tmp_path / "work")
    command = [sys.executable, "-m", "pipeline", "build", "--dir", str(tmp_path / "work")]
    done = subprocess.run(
        [*command, "--runner", "DataflowRunner", "--dry_run", *DRY[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert re.fullmatch(
        r"webtext: links: a dry run: a job of [0-9,]+ bytes was built, and not submitted; nothing was made",
        done.stderr.splitlines()[-1],
    )


@pytest.mark.failure(
    "a runner is unknown, an option of Dataflow mistyped, its image not named, or the directory is of this machine",
    "exit 2 before anything is made or paid for",
    "give what is named; docs/dataflow.md has whole commands",
)
@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("Nonsense", (), "build.runner: Unexpected pipeline runner: Nonsense"),
        ("no.such.Runner", (), "build.runner: No module named 'no'"),
        ("DataflowRunner", REAL, "DataflowRunner: name the image of its workers"),
        ("dataflow", REAL, "DataflowRunner: name the image of its workers"),
        ("DataflowRunner", (*DRY, "--max_num_worker=4"), "--max_num_worker: neither an option of webtext build"),
        ("DataflowRunner", DRY[2:], "DataflowRunner: its workers see no folder of this machine"),
        ("FnApiRunner", ("--dry_run=true",), "--dry_run: FnApiRunner would build all the same"),
        ("PortableRunner", ("--dry_run=true",), "--dry_run: PortableRunner would build all the same"),
    ],
)
def test_what_would_be_paid_for_in_vain_is_refused_before_anything_is_asked(name, options, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        BeamRun(name, 1, options)


def test_a_working_directory_in_a_bucket_is_one_that_workers_see():
    assert BeamRun("DataflowRunner", 1, DRY[2:], mirror("gs://a-bucket/work") / "scratch").options == DRY[2:]


def test_without_googles_client_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(runner, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"run: pip install 'webtext\[gcp\]'"):
        BeamRun("DataflowRunner", 1, DRY)


class Elsewhere:
    """A pipeline whose job runs elsewhere: it ends as `end` says."""

    def __init__(self, end):
        self.options, self.end, self.told = PipelineOptions([]), end, []

    def run(self):
        return self

    def wait_until_finish(self):
        raise self.end

    def cancel(self):
        self.told.append("cancel")


@pytest.mark.failure(
    "the command that waits for a job of Dataflow is interrupted",
    "exit 130 or 143; the job is cancelled, and with it what it costs",
    "run the same command again; what was committed stays",
)
@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(143)])
def test_a_job_does_not_outlive_the_command_that_waits_for_it(end):
    job = Elsewhere(end)
    with pytest.raises(type(end)), Running(job):
        pass
    assert job.told == ["cancel"]


def test_what_a_worker_of_the_service_raised_keeps_its_kind_and_its_one_line():
    """Dataflow tells of a failed job by an exception that holds the worker's traceback as text."""
    told = "".join(traceback.format_exception(RuntimeError(failures.marked(InputError("dump 2: truncated")))))
    job = Elsewhere(DataflowRuntimeException(f"Dataflow pipeline failed. State: FAILED, Error:\n{told}", None))
    with pytest.raises(InputError, match=r"^dump 2: truncated$"), Running(job):
        pass
    assert job.told == []


def documented():
    """What docs/dataflow.md gives `webtext build` for Dataflow, as words; variables stand for themselves."""
    page = (ROOT / "docs" / "dataflow.md").read_text("utf-8").replace("\\\n", " ")
    for line in re.findall(r"^    webtext build ([^#\n]*)", page, re.MULTILINE):
        if "DataflowRunner" in line:
            yield shlex.split(re.sub(r"\$(\w+)", lambda name: name[1].lower().replace("_", "-"), line))


@pytest.mark.parametrize("words", list(documented()), ids=lambda words: " ".join(words)[-40:])
def test_the_commands_of_the_page_are_taken(words, tmp_path):
    place, used = words.index("--runner"), [word for word in words if word != "--dry_run"]
    until, options = stage_and_options([words[0], *used[place + 2 :]])
    assert until in build.STAGES
    assert words[1:3] == ["--dir", "gs://bucket/work"]
    with pytest.raises(DryRun):
        BeamRun(words[place + 1], 1, (*options, *DRY[:2], QUIET), tmp_path).map_shards(print, [Task(0, "f")])


def test_the_page_has_a_dry_run_and_a_run():
    assert sorted("--dry_run" in words for words in documented()) == [False, True]
