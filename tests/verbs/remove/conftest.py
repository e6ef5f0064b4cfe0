"""The working directory that most tests of removals copy: built once."""

import shutil

import pytest

from tests.own_data import write_both
from tests.verbs.remove.working import rebuilt


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A whole working directory, its pages, and the folder of the dump and the WARC file that it was made from."""
    source, root = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("made")
    pages = write_both(source, 12)
    rebuilt(root, source)
    return root, pages, source


@pytest.fixture
def work(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "work")
    return tmp_path / "work"
