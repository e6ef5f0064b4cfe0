"""The command, as a person types it: every verb on real files, every failure one line and its own exit code."""

import contextlib
import io
import logging
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from pipeline import cli, config
from pipeline.shards import receipts
from pipeline.shards.outcomes import EXIT_CODES
from tests.own_data import SETTINGS, write_both

ROOT = Path(__file__).resolve().parents[1]
VERBS = sorted(command.callback.__name__ for command in cli.app.registered_commands)


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def webtext(*arguments, cwd):
    """The command in this process, as the entry point runs it."""
    told, said = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(said),
        mock.patch.object(sys, "argv", ["webtext", *map(str, arguments)]),
        mock.patch.object(cli.out, "_width", 200),
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
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]


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
    before = {path: path.stat().st_mtime_ns for path in (folder / "work").rglob("*.json")}
    again = webtext("build", "--dir", "work", cwd=folder)
    assert (again.returncode, again.stdout) == (0, made.stdout)
    assert {path: path.stat().st_mtime_ns for path in (folder / "work").rglob("*.json")} == before


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
    told = done.stdout.splitlines()
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
        "import sys; from pipeline import cli\ntry: cli.app(['--help'])\nexcept SystemExit: pass\n"
        "print({'apache_beam', 'torch', 'lxml', 'pyarrow.parquet', 'trafilatura'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["build", "--dir", "nowhere"], 2, "nowhere/webtext.toml: no such file; 'webtext init' writes one"),
        (["build", "page"], 2, "page: no such stage; did you mean 'pages'?"),
        (["build", "links", "pages"], 2, "links pages: name one stage"),
        (["build", "--set", "links.karmaa=4"], 2, "links.karmaa: unknown key; did you mean 'karma'?"),
        (["build", "--dirr", "work"], 2, "--dirr: neither an option of webtext build (see --help) nor of Beam"),
        (["build", "--direct_num_workers=x"], 2, "Beam's options: argument --direct_num_workers: invalid int value"),
        (["build", "--runner", "NoSuchRunner"], 2, "build.runner: "),
        (["build", "--set", "links.submissions=['*.nothing']"], 3, "'*.nothing' matches no file"),
        (["explain", "https://nobody.test/"], 3, "https://nobody.test/: no submission in . links to it"),
        (["train"], 8, "tokens"),
        (["sample"], 8, "model"),
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


def test_debug_shows_the_traceback_too(tmp_path):
    done = webtext("build", "--debug", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("webtext: ")


def test_a_second_run_is_refused_with_the_name_of_the_holder(tmp_path):
    write_both(tmp_path, pages=1)
    (tmp_path / config.FILE_NAME).write_text("[links]\nsubmissions = ['dump.ndjson']\n")
    with receipts.lock(tmp_path):
        done = webtext("build", cwd=tmp_path)
    assert done.returncode == 4
    assert f"in use by process {os.getpid()} on " in done.stderr


def test_a_crawl_without_a_contact_stops_before_the_first_request(tmp_path):
    write_both(tmp_path, pages=1)
    (tmp_path / config.FILE_NAME).write_text("[links]\nsubmissions = ['dump.ndjson']\n")
    done = webtext("build", cwd=tmp_path)
    assert done.returncode == 2
    assert "pages.contact" in done.stderr.strip().splitlines()[-1]


def test_an_interrupted_build_says_how_to_go_on(tmp_path, monkeypatch):
    (tmp_path / config.FILE_NAME).write_text("")
    monkeypatch.setattr("pipeline.build.same_shards", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    done = webtext("build", cwd=tmp_path)
    assert done.returncode == 130
    assert done.stderr.strip().splitlines()[-1] == "webtext: interrupted; run the same command again to go on"


def test_a_bug_is_one_line_that_asks_for_debug(tmp_path, monkeypatch):
    (tmp_path / config.FILE_NAME).write_text("")
    monkeypatch.setattr("pipeline.build.same_shards", lambda *_: {}["no such key"])
    done = webtext("build", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "webtext: a bug: KeyError: 'no such key'; run it again with --debug"


def test_init_writes_globs_that_toml_reads_back(tmp_path):
    name = 'it\'s "odd" é/*.zst'
    assert webtext("init", "work", "--submissions", name, cwd=tmp_path).returncode == 0
    settings = config.load(tmp_path / "work" / config.FILE_NAME)
    assert settings.links.submissions == (str(tmp_path / name),)
