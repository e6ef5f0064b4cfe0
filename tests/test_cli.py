"""The command, as a person types it: every verb on real files, every failure one line and its own exit code.

Long because one built folder serves all verbs.
"""

import contextlib
import glob
import io
import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from unittest import mock

import pytest

from pipeline import config, tokens
from pipeline.cli import app as cli
from pipeline.cli import progress
from pipeline.cli.console import out
from pipeline.shards import lease
from pipeline.shards import progress as phases
from pipeline.shards.outcomes import EXIT_CODES
from pipeline.text.signals import SIGNALS
from tests.own_data import SETTINGS, write_both

ROOT = Path(__file__).resolve().parents[1]
VERBS = sorted(command.callback.__name__ for command in cli.app.registered_commands)


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def webtext(*arguments, cwd, width=200):
    """The command in this process, as the entry point runs it."""
    told, said = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(said),
        mock.patch.object(sys, "argv", ["webtext", *map(str, arguments)]),
        mock.patch.object(out, "_width", width),
        mock.patch.object(progress, "LINES_S", (600.0, 600.0)),  # a busy machine is slow: nothing is said of it here
    ):
        try:
            code = cli.main() or 0
        except SystemExit as end:
            code = end.code or 0
        finally:
            logging.disable(logging.NOTSET)
    return Done(code, told.getvalue(), said.getvalue())


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A working directory made by `init` from a user's files and built, and what `build` said."""
    folder = tmp_path_factory.mktemp("cli")
    pages = write_both(folder)
    begun = webtext("init", "work", "--submissions", "dump.ndjson", "--warc", "*.warc.gz", cwd=folder)
    assert begun.returncode == 0, begun.stderr
    path = folder / "work" / config.FILE_NAME
    shortened = path.read_text().partition("[corpus]")[0].replace("shards = 4", "shards = 2")
    path.write_text(shortened + SETTINGS)
    made = webtext("build", "--dir", "work", cwd=folder)
    assert made.returncode == 0, made.stderr
    return folder, pages, made


def lines_of(text):
    return [re.split(r"\s{2,}", line.strip().replace("\N{NO-BREAK SPACE}", " ")) for line in text.splitlines()]


def test_build_says_what_each_stage_did_and_ends_with_the_funnel(built):
    _, pages, made = built
    for stage in ("links", "pages", "documents", "corpus", "tokenizer", "tokens"):
        assert f"{stage}: started" in made.stderr
    assert f"pages: done; pages: {len(pages)} in, {len(pages)} kept" in made.stderr
    assert lines_of(made.stdout)[0] == ["The funnel"]
    assert ["submissions", "24", "24"] in lines_of(made.stdout)
    assert "apache_beam" not in made.stderr  # its workers' log


def test_a_second_build_has_nothing_to_do(built):
    folder, _, made = built
    before = {path: path.stat().st_mtime_ns for path in (folder / "work").glob("*/**/*-of-*")}
    assert len(before) > 30
    again = webtext("build", "--dir", "work", cwd=folder)
    assert (again.returncode, again.stdout) == (0, made.stdout)
    assert again.stderr == "nothing to do: links pages documents corpus tokenizer tokens are up to date\n"
    assert {path: path.stat().st_mtime_ns for path in (folder / "work").glob("*/**/*-of-*")} == before


def test_a_build_tells_of_what_it_makes_and_of_nothing_that_stands(built):
    folder, _, _ = built
    (folder / "work" / "tokens" / ".manifest.json").unlink()
    again = webtext("build", "--dir", "work", cwd=folder)
    assert again.stderr.splitlines() == ["tokens: started", "tokens: done; tokens: 24 in, 24 kept"]
    only = webtext("build", "pages", "--dir", "work", cwd=folder)
    assert only.stderr == "nothing to do: links pages are up to date\n"


def test_status_names_every_artefact_and_the_funnel(built):
    folder, _, made = built
    done = webtext("status", "--dir", "work", cwd=folder)
    assert done.returncode == 0
    assert ["tokenizer", "1/1", "whole"] in lines_of(done.stdout)
    assert ["tokens", "2/2", "whole"] in lines_of(done.stdout)
    assert made.stdout in done.stdout
    assert ["2014", "24", "24", "0", "0", "100.0 %"] in lines_of(done.stdout)


def test_explain_tells_a_page_from_submission_to_tokens(built):
    folder, pages, _ = built
    done = webtext("explain", pages[0].url, "--dir", "work", cwd=folder)
    assert done.returncode == 0
    verdict, *told = done.stdout.splitlines()
    assert verdict.startswith("Kept: ")
    assert [line for line in told if not line.startswith(" ")] == ["links", "pages", "documents", "corpus", "tokens"]
    assert "  karma: max >= 3" in told
    assert any(re.fullmatch(r"  tokens: \d+", line) for line in told)


def test_train_and_sample_write_text(built):
    folder, _, _ = built
    trained = webtext("train", "--dir", "work", cwd=folder)
    assert trained.returncode == 0, trained.stderr
    assert re.search(r"^step 4/4  loss \d+\.\d+  val \d+\.\d+  \d+\.\d+ bits/byte", trained.stdout, re.MULTILINE)
    assert f"checkpoint: {folder / 'work' / 'model' / 'step-00000004'}" in trained.stdout
    first, second = (webtext("sample", "Once", "--tokens", 5, "--dir", "work", cwd=folder) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("Once")
    assert len(first.stdout) > len("Once\n")
    assert first.stdout == second.stdout
    exported = webtext("export", "--format", "hf", "--out", "hf", "--dir", "work", cwd=folder)
    assert exported.returncode == 0, exported.stderr
    assert re.search(r"^hf: 6 files, [\d,]+ bytes$", exported.stdout, re.MULTILINE)
    assert (folder / "hf" / "README.md").read_text("utf-8").startswith("---\nlibrary_name: transformers\n")
    assert json.loads((folder / "hf" / "webtext.json").read_text())["step"] == 4


def test_fertility_shows_ours_and_another_vocabulary(built):
    folder, _, _ = built
    (folder / "other").mkdir(exist_ok=True)
    (folder / "other" / "vocab.bpe").write_text("#version: 0.2\nt h\n")
    done = webtext("fertility", "--dir", "work", "--beside", "other", "--hosts", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows if row[0] in ("all", "language", "host")] == ["all", "language", "host"]
    assert sum(row[0] == "other" for row in rows) == 3


def test_report_writes_a_page_and_a_card_and_names_what_is_missing(built, tmp_path):
    folder, pages, _ = built
    done = webtext("report", "--dir", "work", "--out", tmp_path / "out", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/out/report.html and {tmp_path}/out/README.md written\n"
    assert f"{len(pages)} of {len(pages)}" in re.sub(
        "<[^>]+>", "", (tmp_path / "out" / "report.html").read_text("utf-8")
    )
    begun = webtext("report", "--dir", tmp_path, cwd=folder)
    assert begun.returncode == 2  # no webtext.toml
    (tmp_path / "webtext.toml").write_text("")
    begun = webtext("report", "--dir", tmp_path, cwd=folder)
    assert begun.returncode == 0
    assert begun.stderr.splitlines()[0] == "note: links is not made"
    assert (tmp_path / "report" / "README.md").exists()


def test_export_writes_a_folder_once_and_says_what_is_in_it(built):
    folder, _, _ = built
    done = webtext("export", "--format", "megatron", "--out", "exported", "--dir", "work", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^train: \d+ documents, [\d,]+ tokens$", done.stdout, re.MULTILINE)
    assert re.search(r"^exported: 11 files, [\d,]+ bytes$", done.stdout, re.MULTILINE)
    assert {"train.bin", "train.idx", "vocab.json", "webtext.json"} <= {p.name for p in (folder / "exported").iterdir()}
    again = webtext("export", "--format", "megatron", "--out", "exported", "--dir", "work", cwd=folder)
    assert again.returncode == 2
    assert "exported: is there already; name another folder, or replace it with --force" in again.stderr
    assert (
        webtext("export", "--format", "jsonl", "--out", "exported", "--force", "-C", "work", cwd=folder).returncode == 0
    )


def test_a_changed_threshold_decides_anew_and_extracts_nothing(built):
    folder, _, made = built
    before = {path: path.stat().st_mtime_ns for path in (folder / "work" / "documents").rglob("*")}
    done = webtext("build", "corpus", "--dir", "work", "--set", "corpus.min_words=10_000", cwd=folder)
    assert ["corpus", "24", "0", "too_short 24"] in lines_of(done.stdout)
    assert {path: path.stat().st_mtime_ns for path in (folder / "work" / "documents").rglob("*")} == before
    assert webtext("build", "--dir", "work", cwd=folder).stdout == made.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(verb, tmp_path):
    done = webtext(verb, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"webtext {verb}" in done.stdout


def test_help_costs_neither_beam_nor_torch():
    code = (
        "import sys; from pipeline.cli import app as cli\ntry: cli.app(['--help'])\nexcept SystemExit: pass\n"
        "print({'apache_beam', 'torch', 'lxml', 'pyarrow.parquet', 'trafilatura'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["build", "--dir", "nowhere"],
            2,
            "--dir; 'webtext init' writes one",
        ),
        (["build", "page"], 2, "page: no such stage; did you mean 'pages'?"),
        (["build", "links", "pages"], 2, "links pages: name one stage"),
        (["build", "--set", "links.karmaa=4"], 2, "links.karmaa: unknown key; did you mean 'karma'?"),
        (["build", "--dirr", "work"], 2, "--dirr: neither an option of webtext build (see --help) nor of Beam"),
        (["build", "--direct_num_workers=x"], 2, "Beam's options: argument --direct_num_workers: invalid int value"),
        (["build", "--runner", "NoSuchRunner"], 2, "build.runner: "),
        (["build", "--set", "links.submissions=['*.nothing']"], 3, "'*.nothing' matches no file"),
        (["explain", "https://nobody.test/"], 3, "nothing is built here yet"),
        (["train"], 8, "tokens"),
        (["sample"], 8, "model"),
        (
            ["export", "--format", "nanogptt", "--out", "o"],
            2,
            "--format nanogptt: no such format; did you mean 'nanogpt'?",
        ),
        (["export", "--format", "jsonl", "--out", "o"], 5, "corpus: not whole; run 'webtext build corpus'"),
        (["init", "."], 2, "webtext.toml: is there already; edit it, or name another folder"),
    ],
)
def test_a_failure_is_one_line_with_its_exit_code(arguments, code, said, tmp_path):
    write_both(tmp_path, pages=1)
    (tmp_path / config.FILE_NAME).write_text("[links]\nsubmissions = ['dump.ndjson']\n[pages]\nwarc = ['*.gz']\n")
    done = webtext(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    failure = done.stderr.strip().splitlines()[-1]
    assert failure.startswith("webtext: ")
    assert said in failure
    assert "Traceback" not in done.stderr
    assert code in EXIT_CODES


STAGE_WORDS = [
    ("--job_name tokens", "tokens", ["--job_name=tokens"]),
    ("links --job_name tokens", "links", ["--job_name=tokens"]),
    ("--job_name tokens links", "links", ["--job_name=tokens"]),
    ("--job_name=pages corpus", "corpus", ["--job_name=pages"]),
    ("--streaming tokens", "tokens", ["--streaming"]),
    ("--streaming --job_name links pages", "pages", ["--streaming", "--job_name=links"]),
    ("--experiments links --experiments pages", "tokens", ["--experiments=links", "--experiments=pages"]),
    ("--of_a_job_service corpus links", "links", ["--of_a_job_service=corpus"]),
    ("--num_workers -1 links", "links", ["--num_workers=-1"]),
    ("links -- --job_name tokens", "links", ["--job_name=tokens"]),
    ("--job_name tokens -- links", "links", ["--job_name=tokens"]),
    ("", "tokens", []),
]


@pytest.mark.parametrize(("words", "stage", "options"), STAGE_WORDS)
def test_an_option_of_beam_keeps_its_value_also_one_that_is_named_like_a_stage(
    words, stage, options, tmp_path, monkeypatch
):
    (tmp_path / config.FILE_NAME).write_text("")
    met = {}
    monkeypatch.setattr("pipeline.build.beam", lambda *given: met.update(options=given[2]))
    monkeypatch.setattr("pipeline.build.build", lambda *given, **_: met.update(stage=given[2]))
    done = webtext("build", "--dir", ".", *words.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert met == {"stage": stage, "options": tuple(options)}


LATIN = "caf\udce9"  # what Python makes of café in Latin-1


@pytest.mark.failure("a word of the command is not UTF-8", "exit 2; the line shows it", "set the terminal's locale")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sample", LATIN], r"prompt: 'caf\udce9' is not UTF-8; set the terminal's locale to it"),
        (["explain", f"http://a.test/{LATIN}"], "url: "),
        (["build", "--set", f"pages.contact={LATIN}"], "sets: "),
        (["build", LATIN], "stage: "),
        (["build", "links", f"--job_name={LATIN}"], "an option: "),
        (["init", "work", "--submissions", LATIN], "submissions: "),
        (["build", "--dir", LATIN], "--dir: "),
        (["init", LATIN], "--dir: "),
    ],
)
def test_a_word_that_is_not_utf_8_is_refused_in_one_line(arguments, said, tmp_path):
    done = webtext(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"webtext: {said}")


def test_a_file_whose_name_is_not_utf_8_is_read(tmp_path):
    (tmp_path / f"{LATIN}.html").write_text("<p>The sea was calm, and nobody spoke of it.")
    done = webtext("extract", "--json", f"{LATIN}.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["file"] == f"{LATIN}.html"
    done = webtext("extract", f"{LATIN}.html", cwd=tmp_path)
    assert done.stderr.startswith(r"caf\udce9.html: kept")


def test_what_outsiders_wrote_is_shown_and_not_sent(tmp_path):
    evil = "\x1b]0;mine\x07\x1b[31m\nwebtext: forged"
    (tmp_path / f"{evil.replace('/', '')}.html").write_text(
        f"<title>a{evil}\u202eb</title><p>The sea was calm that day."
    )
    (tmp_path / config.FILE_NAME).write_text("")
    calls = [
        ["extract", f"{evil}.html"],
        ["extract", f"{evil}.htm"],
        ["build", evil],
        ["status", evil],
        ["build", "--set", f"links.submissions=[{json.dumps(evil)}]"],
    ]
    for call in calls:
        done = webtext(*call, cwd=tmp_path)
        assert not set("\x1b\x07\u202e") & set(done.stdout + done.stderr), call
        assert "\nwebtext: forged" not in done.stderr, call
        assert re.search(r"\\(u00|x)1b\[31m", done.stderr), call


def test_debug_shows_the_traceback_too(tmp_path):
    done = webtext("build", "--debug", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("webtext: ")


def test_a_second_run_is_refused_with_the_name_of_the_holder(tmp_path):
    write_both(tmp_path, pages=1)
    (tmp_path / config.FILE_NAME).write_text("[links]\nsubmissions = ['dump.ndjson']\n")
    with lease.lock(tmp_path):
        done = webtext("build", cwd=tmp_path)
    assert done.returncode == 4
    assert f"in use by process {os.getpid()} on " in done.stderr


def test_a_crawl_without_a_contact_stops_before_the_first_request(tmp_path):
    write_both(tmp_path, pages=1)
    (tmp_path / config.FILE_NAME).write_text("[links]\nsubmissions = ['dump.ndjson']\n")
    done = webtext("build", cwd=tmp_path)
    assert done.returncode == 2
    assert "pages.contact" in done.stderr.strip().splitlines()[-1]


def test_a_bug_is_one_line_that_asks_for_debug(tmp_path, monkeypatch):
    (tmp_path / config.FILE_NAME).write_text("")
    monkeypatch.setattr("pipeline.build.same_shards", lambda *_: {}["no such key"])
    done = webtext("build", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "webtext: a bug: KeyError: 'no such key'; run it again with --debug"


def test_a_note_says_when_nothing_was_kept(built):
    folder, _, _ = built
    done = webtext("build", "corpus", "--dir", "work", "--set", "corpus.min_words=10_000", cwd=folder)
    assert "corpus: note: of 24 corpus none was kept: too_short\N{NO-BREAK SPACE}24" in done.stderr
    assert webtext("build", "--dir", "work", cwd=folder).returncode == 0


def test_what_was_made_from_something_else_is_stale_and_not_in_the_funnel(built):
    folder, _, made = built
    webtext("build", "links", "--dir", "work", "--set", "links.karma=6", cwd=folder)
    done = webtext("status", "--dir", "work", "--set", "links.karma=6", cwd=folder)
    assert ["links", "2/2", "whole"] in lines_of(done.stdout)
    assert ["pages", "2/2", "stale", "links were made anew"] in lines_of(done.stdout)
    assert ["tokens", "2/2", "stale", "pages would be made anew"] in lines_of(done.stdout)
    assert ["links", "24", "0", "low_karma 24"] in lines_of(done.stdout)
    assert not any(line[0] == "pages" and line[1:2] == ["24"] for line in lines_of(done.stdout))
    assert webtext("build", "--dir", "work", cwd=folder).stdout == made.stdout


@pytest.mark.parametrize(
    ("name", "stale"),
    [("tokenizer/tokenizer.json", "tokens"), ("documents/00001-of-00002.parquet", "corpus")],
)
def test_the_mend_that_an_error_names_mends(built, name, stale):
    folder, _, made = built
    path = folder / "work" / name
    data = bytearray(path.read_bytes())
    data[50] ^= 0xFF
    path.write_bytes(data)
    tokens.encoder_of.cache_clear()  # a process reads a tokenizer once
    for receipt in (folder / "work" / stale / ".receipts").iterdir():
        receipt.unlink()
    for receipt in (folder / "work" / "scratch" / "votes" / ".receipts").iterdir():
        receipt.unlink()
    done = webtext("build", "--dir", "work", cwd=folder)
    assert done.returncode == 5
    mend = re.search(r"run: (rm .*) and build again", done.stderr)[1]
    subprocess.run(mend, shell=True, check=True)
    assert webtext("build", "--dir", "work", cwd=folder).stdout == made.stdout


def test_a_file_that_is_gone_is_made_anew(built):
    folder, _, made = built
    path = folder / "work" / "tokens" / "train" / "00000-of-00002.arrow"
    before = path.read_bytes()
    path.unlink()
    lines = lines_of(webtext("status", "--dir", "work", cwd=folder).stdout)
    assert ["tokens", "2/2", "damaged"] in [line[:3] for line in lines]
    assert webtext("build", "--dir", "work", cwd=folder).stdout == made.stdout
    assert path.read_bytes() == before


def test_a_dump_of_rubbish_is_named(tmp_path):
    (tmp_path / "junk.ndjson").write_bytes(b"\x93\x00junk\n" * 9)
    (tmp_path / config.FILE_NAME).write_text("[links]\nsubmissions = ['junk.ndjson']\n[pages]\ncontact = 'a@b.test'\n")
    done = webtext("build", cwd=tmp_path)
    assert done.returncode == 3
    assert "junk.ndjson: none of its 9 lines is a submission" in done.stderr


@pytest.mark.failure("the folder cannot be written", "exit 7; the line says why", "correct the permissions")
def test_what_the_system_refuses_is_no_bug(tmp_path):
    (tmp_path / "file").write_text("")
    done = webtext("init", "file", cwd=tmp_path)
    assert done.returncode == 7
    assert done.stderr.startswith("webtext: file/webtext.toml: cannot be written: ")


def test_the_demo_leaves_somebodys_own_config_alone(tmp_path):
    (tmp_path / config.FILE_NAME).write_text("[links]\nkarma = 7\n")
    done = webtext("demo", "--dir", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "not the demo's; name a folder of its own with --dir" in done.stderr
    assert (tmp_path / config.FILE_NAME).read_text() == "[links]\nkarma = 7\n"


def test_a_word_that_a_verb_does_not_take_may_be_meant_as_its_folder(tmp_path):
    done = webtext("demo", "try", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "webtext: try: webtext demo takes no word; did you mean --dir try?\n")


def test_a_mistyped_option_is_named_where_there_is_no_config(tmp_path):
    done = webtext("build", "--runer", "FlinkRunner", cwd=tmp_path)
    first, second = done.stderr.splitlines()
    assert second.startswith("webtext: webtext.toml: no such file; name the working directory with --dir")
    assert first.startswith(
        "webtext: --runer: no option of webtext build, and would go to Beam; did you mean '--runner'"
    )


def test_a_crawl_is_begun_with_its_contact_named(tmp_path):
    said = webtext("init", "mine", "--submissions", "urls.txt", cwd=tmp_path).stdout
    assert "webtext build --dir mine --set pages.contact=https://YOUR-SITE/" in said
    assert "contact" not in webtext("init", "theirs", "--warc", "w/*.warc.gz", cwd=tmp_path).stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_says_what_a_parameter_takes_in_words(verb, tmp_path):
    said = webtext(verb, "--help", cwd=tmp_path).stdout
    assert not re.search(r"<[a-z]|list\[|Any|\brange\b", said)


@pytest.mark.parametrize(
    ("words", "waited_for"),
    [
        (["plan", "--set", "build.name='x'"], ["plan: a sample of the pages' text"]),
        (["report", "--out", "../shown"], ["report", "report: counting tokens", "report: writing"]),
        (["query", "size"], ["query size"]),
        (["fertility", "--stale"], ["fertility"]),
        (["overlap", "../text.txt"], ["overlap"]),
        (["explain", "news.example"], ["explain"]),
        (["export", "--format", "jsonl", "--out", "../lines"], ["export"]),
        (["export", "--format", "hf", "--out", "../model"], ["export"]),
    ],
)
def test_whatever_may_take_long_says_what_is_waited_for(built, words, waited_for):
    folder, pages, _ = built
    (folder / "text.txt").write_text("one two three four five six seven eight nine")
    words = [pages[0].host if word == "news.example" else word for word in words]
    heard = []
    with phases.hearing(heard.append):
        webtext(*words, cwd=folder / "work")
    names = [phase.name for phase in heard if phase is not None]
    assert [name for name in waited_for if name not in names] == []


def test_a_reader_that_leaves_ends_the_command_quietly(built):
    folder, _, _ = built
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "pipeline", "status", "--dir", "work"]
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as gone:
        gone.wait()
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=gone.stdin, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.failure(
    "init is given a glob that names no file", "it is written; a note says so", "correct it in the file"
)
@pytest.mark.parametrize(
    ("option", "pattern", "said"),
    [
        ("--submissions", "url.txt", "links.submissions: 'PLACE/url.txt' matches no file"),
        ("--submissions", "dumps", "links.submissions: 'PLACE/dumps' is a folder; name the files in it"),
        ("--warc", "*.warc.gz", "pages.warc: 'PLACE/*.warc.gz' matches no file"),
    ],
)
def test_init_says_at_once_what_a_build_would_say_of_a_glob(tmp_path, option, pattern, said):
    (tmp_path / "dumps").mkdir()
    (tmp_path / "urls.txt").write_text("https://example.org/\n")
    done = webtext("init", "mine", option, pattern, option, "urls.txt", cwd=tmp_path)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("note: " + said.replace("PLACE", str(tmp_path)))
    assert line.endswith(f"in mine/{config.FILE_NAME}, or put the file there before you build")


@pytest.mark.failure("an address is given where a file is wanted", "exit 2; the line shows it", "put it in a file")
@pytest.mark.parametrize(
    "words",
    [
        ["remove", "http://127.0.0.1:8102/erika.html"],
        ["remove", "http://127.0.0.1:8102/erika.html", "--dry-run"],
        ["remove", "--verify", "http://127.0.0.1:8102/erika.html"],
        ["overlap", "http://127.0.0.1:8102/erika.html"],
        ["reference", "wikipedia", "http://127.0.0.1:8102/erika.html"],
        ["init", "mine", "--submissions", "http://127.0.0.1:8102/erika.html"],
        ["init", "mine", "--warc", "http://127.0.0.1:8102/erika.html"],
    ],
)
def test_an_address_where_a_file_is_wanted_is_said_as_it_was_typed_and_where_it_goes(tmp_path, words):
    (tmp_path / config.FILE_NAME).write_text("")
    done = webtext(*words, cwd=tmp_path)
    assert done.returncode == 2
    said = "http://127.0.0.1:8102/erika.html: an address, where a file is wanted; put it in a file, one a line"
    assert said in done.stderr
    assert not (tmp_path / "mine").exists()


def test_init_takes_globs_of_objects_as_they_are(tmp_path):
    done = webtext("init", "work", "--submissions", "s3://bucket/*.zst", "--warc", "gs://b/**/*.warc.gz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    settings = config.load(tmp_path / "work" / config.FILE_NAME)
    assert (settings.links.submissions, settings.pages.warc) == (("s3://bucket/*.zst",), ("gs://b/**/*.warc.gz",))


def test_every_verb_refuses_another_number_of_shards_than_the_directory_was_begun_with(built):
    for verb in (["status"], ["export", "--format", "jsonl", "--out", "out"], ["remove"], ["report"]):
        done = webtext(*verb, "--dir", "work", "--set", "build.shards=7", cwd=built[0])
        assert done.returncode == 2, (verb, done.stderr)
        assert "build.shards is 7, but" in done.stderr


def test_init_writes_globs_that_toml_reads_back(tmp_path):
    odd = tmp_path / 'it\'s "odd" [é] [b]'
    odd.mkdir()
    done = webtext("init", "my work", "--submissions", "d*/*.zst", cwd=odd)
    assert done.returncode == 0
    assert done.stdout.startswith("my work/webtext.toml written; next")
    assert "  webtext build --dir 'my work' --set pages.contact=" in done.stdout
    (pattern,) = config.load(odd / "my work" / config.FILE_NAME).links.submissions
    (odd / "dumps").mkdir()
    (odd / "dumps" / "a.zst").touch()
    assert glob.glob(pattern) == [str(odd / "dumps" / "a.zst")]  # noqa: PTH207 - as the stage reads it


def test_extract_shows_the_text_and_says_on_stderr_how_it_came_about(tmp_path):
    (tmp_path / "a.html").write_text(
        "<title>The sea</title><nav>Home</nav><p>The sea was calm, and nobody spoke of it."
    )
    (tmp_path / "b.txt").write_text("<p> is a tag")
    (tmp_path / "c.html").write_text("<script>1</script>")
    done = webtext("extract", "a.html", "b.txt", "c.html", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == "The sea was calm, and nobody spoke of it.\n<p> is a tag\n"
    assert done.stderr.splitlines() == [
        "a.html: kept, blocks, 9 words, The sea",
        "b.txt: kept, plain, 4 words",
        "c.html: no_text, resiliparse, 0 words",
    ]
    (told,) = webtext("extract", "--engine", "resiliparse", "--json", "a.html", cwd=tmp_path).stdout.splitlines()
    found = json.loads(told)
    assert (found["outcome"], found["engine"], found["title"]) == ("kept", "resiliparse", "The sea")
    assert set(SIGNALS) <= set(found)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["none.html"], "webtext: none.html: No such file or directory"),
        (["--engine", "boilerpipe", "none.html"], "--engine boilerpipe: no such choice; known: cascade, trafilatura"),
    ],
)
def test_extract_names_a_file_or_an_engine_that_is_not_there(tmp_path, arguments, line):
    done = webtext("extract", *arguments, cwd=tmp_path)
    assert done.returncode in {2, 3}
    assert line in done.stderr


def test_the_version_is_told(tmp_path):
    done = webtext("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"webtext {metadata.version('webtext')}\n")


def test_a_folder_in_the_place_of_a_stage_is_told_how_it_is_named(tmp_path):
    (tmp_path / "my work").mkdir()
    done = webtext("build", "my work", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean --dir 'my work'?" in done.stderr


def test_a_removal_without_a_list_says_that_there_is_none_to_end(tmp_path):
    (tmp_path / config.FILE_NAME).write_text("")
    done = webtext("remove", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nothing was changed" in done.stdout
    assert not (tmp_path / "removals").exists()


def test_names_of_vocabularies_are_shown_whole_in_a_terminal_of_80_columns(built):
    folder, _, _ = built
    (folder / "vocab.bpe").write_text("#version: 0.2\nt h\n")
    done = webtext("fertility", "--dir", "work", "--beside", "vocab.bpe", cwd=folder, width=80)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("vocab.bpe") == done.stdout.count("ours") > 0
