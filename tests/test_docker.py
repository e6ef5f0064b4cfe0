"""The images, as far as they can be known without Docker: what they copy exists, what they install is the lock, and the
steps of the worker's image make an environment whose workers run a stage.
"""

import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from pipeline import build, config
from pipeline.shards.runner import BeamRun
from tests import engines
from tests.lock import LOCKED
from tests.own_data import SETTINGS, write_both

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ("worker", "trainer")


def steps(name):
    """(instruction, rest) of each step of an image, continued lines joined, comments left out."""
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text("utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def stage(name, number):
    """The steps of one stage of an image, its FROM first; the last is -1."""
    found = steps(name)
    starts = [place for place, (word, _) in enumerate(found) if word == "FROM"] + [len(found)]
    number %= len(starts) - 1
    return found[starts[number] : starts[number + 1]]


def sent(path):
    """Whether .dockerignore lets a path of the repository into a build: the last line that fits decides."""
    found = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        names = [path, *map(str, Path(path).parents)][:-1] if "/" in path else [path]
        if line and not line.startswith("#") and any(fnmatch(one, pattern.replace("**/", "*")) for one in names):
            found = line.startswith("!")
    return found


@pytest.mark.parametrize("name", IMAGES)
def test_a_linter_finds_nothing(name):
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed for this system")
    done = subprocess.run(
        [hadolint, ROOT / "docker" / f"{name}.Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_copies_what_exists_and_what_is_sent(name):
    copied = [rest.split()[:-1] for word, rest in steps(name) if word == "COPY" and "--from" not in rest]
    sources = [source for each in copied for source in each]
    assert {"requirements.lock", "pyproject.toml", "webtext", "pipeline", "trainer", "sql", "LICENSE"} == set(sources)
    assert [source for source in sources if not ((ROOT / source).exists() and sent(source))] == []
    assert not any(map(sent, ("work", "tests/conftest.py", ".venv", ".git/config", "webtext-demo/links", "README.md")))


def test_what_is_not_sent_is_what_nobody_versions_or_images_need():
    assert sent("pipeline/data/wikipedia_hosts.txt")
    assert not sent("pipeline/__pycache__/cli.cpython-311.pyc")


@pytest.mark.parametrize("name", IMAGES)
def test_versions_are_exact_and_those_of_the_lock(name):
    bases = [rest.split()[0] for word, rest in steps(name) if word == "FROM"]
    assert [base for base in bases if not re.search(r":\d+\.\d+\.\d+(-[a-z-]+)?$", base)] == []
    assert {base for base in bases if "beam" in base} <= {f"apache/beam_python3.11_sdk:{LOCKED['apache-beam']}"}
    (uv,) = {found for _, rest in steps(name) for found in re.findall(r"\buv==([\d.]+)", rest)}
    assert f"UV_VERSION := {uv}\n" in (ROOT / "Makefile").read_text("utf-8")
    installs = [rest for word, rest in steps(name) if word == "RUN" and "pip install" in rest]
    assert all("constraint" in rest or "uv==" in rest for rest in installs)
    assert all("--no-cache" in rest for rest in installs)
    assert LOCKED["torch"] == re.search(r"TORCH_VERSION := (.*)", (ROOT / "Makefile").read_text("utf-8"))[1]


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_without_rights_and_its_program_gets_the_signals(name):
    last = stage(name, -1)
    assert [rest for word, rest in last if word == "USER"] == ["10001"]
    assert any("--uid 10001" in rest for word, rest in last if word == "RUN")
    (entry,) = [rest for word, rest in last if word == "ENTRYPOINT"]
    assert entry.startswith('["')  # no shell in between, which would keep SIGTERM to itself
    assert not any("pip" in rest for word, rest in last if word == "RUN")  # no tool that builds stays


def test_every_entry_point_is_there():
    assert ("COPY", "--from=beam /opt/apache/beam /opt/apache/beam") in stage("worker", -1)
    assert ("ENTRYPOINT", '["/opt/apache/beam/boot"]') in stage("worker", -1)
    assert ("ENTRYPOINT", '["webtext"]') in stage("trainer", -1)
    assert 'webtext = "webtext.__main__:main"' in (ROOT / "pyproject.toml").read_text("utf-8")
    for name in IMAGES:
        assert ("COPY", "--from=build /opt/webtext /opt/webtext") in stage(name, -1)
        assert any(rest.startswith("PATH=/opt/webtext/bin:$PATH") for word, rest in stage(name, -1) if word == "ENV")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """What the steps of the worker's build make of a folder with nothing but Python: each step run as it is written."""
    folder = tmp_path_factory.mktemp("image")
    target, source = folder / "webtext", folder / "src"
    source.mkdir()
    subprocess.run([sys.executable, "-m", "venv", folder / "base"], check=True)
    variables = {**os.environ, "PATH": f"{folder / 'base' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
        variables.pop(name, None)
    for word, rest in stage("worker", 1):
        line = rest.replace("/opt/webtext", str(target)).replace("/src", str(source))
        if word == "ENV":
            variables |= dict(pair.split("=", 1) for pair in line.split())
        elif word == "COPY":
            *sources, _ = line.split()
            for one in sources:
                if (ROOT / one).is_dir():
                    shutil.copytree(ROOT / one, source / one, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / one, source / one)
        elif word == "RUN":
            # uv's cache is another layer's affair: here it spares the network
            command = line.replace("uv pip install --no-cache ", "uv pip install ")
            done = subprocess.run(
                ["bash", "-euc", command], cwd=source, env=variables, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr[-2000:]
    return target


@pytest.mark.long
def test_the_steps_of_the_workers_image_install_the_lock_and_no_torch(environment):
    freeze = [environment / "bin" / "python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
    listed = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout.split()
    found = {re.sub("[_.]", "-", name.lower()): version for name, version in (line.split("==") for line in listed)}
    assert found.pop("webtext")
    for own in ("pip", "setuptools"):
        found.pop(own, None)
    assert {name: version for name, version in found.items() if LOCKED.get(name) != version} == {}
    assert "apache-beam" in found
    assert "torch" not in found


@pytest.mark.long
def test_a_worker_of_that_environment_makes_the_bytes_that_are_made_here(environment, tmp_path, monkeypatch):
    for folder in ("mine", "theirs"):
        write_both(tmp_path / folder, pages=6)
    text = (
        '[build]\nshards = 2\nworkers = 1\n[links]\nsubmissions = ["dump.ndjson"]\n[pages]\nwarc = ["{}"]\n' + SETTINGS
    )
    settings = config.parse(config.tomllib.loads(text.format(tmp_path / "mine" / "*.warc.gz")))
    build.build(tmp_path / "mine", settings, "documents")
    monkeypatch.setattr(engines.sys, "executable", str(environment / "bin" / "python"))
    monkeypatch.setattr(
        engines, "ROOT", tmp_path / "nowhere"
    )  # what is installed there, and not what is developed here
    with engines.options(engines.pool_of_processes) as options:
        build.build(
            tmp_path / "theirs", settings, "documents", run=BeamRun("PortableRunner", 1, options, tmp_path / "theirs")
        )
    for shard in range(2):
        mine, theirs = (build.artefact(tmp_path / folder, "documents", 2) for folder in ("mine", "theirs"))
        assert mine.file(shard, ".parquet").read_bytes() == theirs.file(shard, ".parquet").read_bytes()
