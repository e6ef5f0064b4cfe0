"""What is installed is what is developed: the wheel holds all it needs, and runs where another `pipeline` lies."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.own_data import write_both

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the working tree, built in this process: no network, no other environment."""
    folder = tmp_path_factory.mktemp("dist")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return Path(built)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True, stdin=subprocess.DEVNULL)
    return target


@pytest.fixture
def python(installed, tmp_path):
    """Runs the installed wheel's Python in a folder whose own `pipeline` must not be imported."""
    foreign = tmp_path / "pipeline"
    foreign.mkdir()
    (foreign / "__init__.py").write_text("raise SystemExit('a foreign pipeline was imported')\n")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(installed)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def sources(folder, below):
    """Every file of a source folder by its name in the wheel, bytecode left out."""
    files = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {(Path(below) / path.relative_to(ROOT / folder)).as_posix() for path in files}


def test_the_wheel_holds_code_data_sql_and_types_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == sources("pipeline", "pipeline") | sources("trainer", "trainer") | sources("sql", "pipeline/sql")
    assert {
        "pipeline/data/wikipedia_hosts.txt",
        "pipeline/sql/report/balance.sql",
        "pipeline/py.typed",
        "trainer/py.typed",
    } <= names


def test_the_wheel_names_its_licence_and_its_command(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    (commands,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
    assert "License-Expression: MIT\n" in archive.read(metadata).decode()
    assert "webtext = pipeline.__main__:main" in archive.read(commands).decode()


def test_the_wheel_reads_its_own_data_beside_a_foreign_package_of_the_same_name(python, installed):
    code = "import pipeline.urls as u; print(len(u.packaged_entries('wikipedia_hosts.txt')) > 0); print(u.__file__)"
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["True", str(installed / "pipeline" / "urls.py")]


def test_the_command_builds_from_the_wheel_beside_a_foreign_pipeline_with_two_workers(python, tmp_path):
    write_both(tmp_path, pages=4)
    begun = python("-m", "pipeline", "init", "--submissions", "dump.ndjson", "--warc", "pages.warc.gz")
    assert begun.returncode == 0, begun.stderr
    built = python("-m", "pipeline", "build", "documents", "--set", "build.workers=2")
    assert built.returncode == 0, built.stderr
    assert "documents: done; documents: 4 in, 4 kept" in built.stderr


def test_the_wheel_writes_a_report_with_its_own_questions_and_style(python, installed, tmp_path):
    (tmp_path / "webtext.toml").write_text("")
    done = python("-m", "pipeline", "report")
    assert done.returncode == 0, done.stderr
    assert "--ground: #" in (tmp_path / "report" / "report.html").read_text("utf-8")
    code = (
        "from pipeline.verbs.report import questions; print(questions.sql_folder(), 'funnel' in questions.questions())"
    )
    done = python("-c", code)
    assert (done.stdout, done.stderr) == (f"{installed}/pipeline/sql/report True\n", "")


def test_the_wheel_makes_a_ledger_by_its_own_schema(python, installed):
    code = "import pipeline.submissions.ledger as l, pathlib; l.Ledger(pathlib.Path('l.sqlite')); print(l.__file__)"
    done = python("-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{installed}/pipeline/submissions/ledger.py\n", "")


def test_the_lock_names_exact_versions_and_no_place():
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    assert [line for line in pinned if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    assert len(pinned) > 50
