"""What is installed is what is developed: the wheel holds all it needs, and runs where others of its names lie."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.lock import sbom
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


FOREIGN = "raise SystemExit(f'{__file__} was imported, a module of the user')\n"
NAMES = ("config", "queue", "random", "tokens", "typer", "numpy", "regex")  # of ours, Python's and others' modules


@pytest.fixture
def user(tmp_path):
    """A folder of a user's, with packages and modules that have the names of ours, of Python's and of others'."""
    for name in ("pipeline", "trainer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(FOREIGN)
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(FOREIGN)
    return tmp_path


@pytest.fixture
def python(installed, user):
    """Runs Python in the user's folder, with the installed wheel on its path and nothing else that helps."""

    def run(*arguments, path=()):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, installed)))}
        environment.pop("PYTHONSAFEPATH", None)
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=user,
            env=environment,
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
    packages = [sources(name, name) for name in ("webtext", "pipeline", "trainer")]
    assert names == set().union(*packages, sources("sql", "pipeline/sql"))
    assert {
        "pipeline/data/wikipedia_hosts.txt",
        "pipeline/sql/report/balance.sql",
        "pipeline/py.typed",
        "trainer/py.typed",
        "webtext/py.typed",
    } <= names


def test_the_wheel_names_its_licence_and_its_command(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    (commands,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
    assert "License-Expression: MIT\n" in archive.read(metadata).decode()
    assert "webtext = webtext.__main__:main" in archive.read(commands).decode()


def asked_by(way, installed):
    """The words by which a person starts the command."""
    script = {"the script": installed / "bin" / "webtext", "torchrun": Path(sys.executable).with_name("torchrun")}
    return {
        "the script": [script["the script"]],
        "python -m": ["-m", "webtext"],
        "torchrun": [script["torchrun"], "--nproc-per-node", "1", "-m", "webtext"],
    }[way]


@pytest.mark.parametrize("way", ["the script", "python -m", "torchrun"])
def test_the_command_starts_beside_modules_of_any_name(way, python, installed):
    done = python(*asked_by(way, installed), "--version")
    assert (done.returncode, done.stdout) == (0, f"webtext {version('webtext')}\n"), done.stderr


@pytest.mark.parametrize("way", ["the script", "python -m"])
def test_the_command_is_its_own_also_where_the_path_of_imports_leads_to_others_first(way, python, installed, user):
    for name in NAMES:
        (user / f"{name}.py").unlink()  # of these Python itself takes the first
    done = python(*asked_by(way, installed), "train", path=[user])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("webtext: webtext.toml"), done.stderr


def test_the_command_builds_beside_modules_of_any_name_with_two_workers(python, user):
    write_both(user, pages=4)
    begun = python("-m", "webtext", "init", "--submissions", "dump.ndjson", "--warc", "pages.warc.gz")
    assert begun.returncode == 0, begun.stderr
    for name in NAMES:
        (user / f"{name}.py").unlink()
    built = python("-m", "webtext", "build", "documents", "--set", "build.workers=2", path=[user])
    assert built.returncode == 0, built.stderr
    assert "documents: done; documents: 4 in, 4 kept" in built.stderr


def test_the_command_keeps_its_children_off_the_current_folder(python):
    code = (
        "import os, subprocess, sys; sys.path.pop(0); sys.argv[1:] = ['--version']\n"
        "import webtext.__main__ as command\n"
        "command.main()\n"
        "subprocess.run([sys.executable, '-c', 'import random, queue; print(random.__name__)'])\n"
    )
    done = python("-c", code)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("random", "")


def test_the_functions_are_to_be_had_beside_a_foreign_package(python, installed):
    code = (
        "import sys; sys.path.append(sys.path.pop(0)); import webtext\n"
        "print(webtext.STAGES[0], 'train' in dir(webtext)); import pipeline; print(pipeline.__file__)"
    )
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["links True", str(installed / "pipeline" / "__init__.py")]


def test_who_has_imported_a_package_of_the_same_name_is_told_so(python, user):
    (user / "trainer" / "__init__.py").write_text("")
    done = python("-c", "import sys, trainer; sys.path.append(sys.path.pop(0)); import webtext; webtext.parse")
    said = done.stderr.splitlines()[-1]
    assert said.startswith("ImportError: webtext needs the package 'trainer' of "), done.stderr
    assert said.endswith(f"another was imported before: {user / 'trainer' / '__init__.py'}")


def test_the_wheel_writes_a_report_with_its_own_questions_and_style(python, installed, tmp_path):
    (tmp_path / "webtext.toml").write_text("")
    done = python("-m", "webtext", "report")
    assert done.returncode == 0, done.stderr
    assert "--ground: #" in (tmp_path / "report" / "report.html").read_text("utf-8")
    code = (
        "from pipeline.verbs.report import questions; print(questions.sql_folder(), 'funnel' in questions.questions())"
    )
    done = python("-P", "-c", code)
    assert (done.stdout, done.stderr) == (f"{installed}/pipeline/sql/report True\n", "")


def test_the_wheel_reads_its_own_lists_and_makes_a_ledger_by_its_own_schema(python, installed):
    code = (
        "import pathlib, pipeline.urls as u, pipeline.submissions.ledger as l; l.Ledger(pathlib.Path('l.sqlite'))\n"
        "print(len(u.packaged_entries('wikipedia_hosts.txt')) > 0, u.__file__, l.__file__)"
    )
    done = python("-P", "-c", code)
    files = f"{installed}/pipeline/urls.py {installed}/pipeline/submissions/ledger.py"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"True {files}\n", "")


def test_the_lock_names_exact_versions_and_no_place():
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    exact = r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; [a-z_'<>=!0-9A-Z. ]+)?"
    assert [line for line in pinned if not re.fullmatch(exact, line)] == []
    assert len(pinned) > 50


PYTHONS = ("3.11.5", "3.12.1", "3.13.0", "3.14.0")


@pytest.mark.parametrize("system", ["linux", "darwin"])
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_has_for_every_python_one_version_of_all_that_is_asked_within_its_bounds(python, system):
    environment = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": system,
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert python in SpecifierSet(project["requires-python"])
    assert f"Programming Language :: Python :: {environment['python_version']}" in project["classifiers"]
    asked = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    locked = sbom.locked(environment)
    for one in map(Requirement, asked):
        if one.name != "webtext":
            assert locked[canonicalize_name(one.name)] in one.specifier, one
