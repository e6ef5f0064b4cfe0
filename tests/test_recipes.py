"""The recipes of the README, run word for word in a folder of their own; only what the world holds is put in place."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from pipeline import config
from pipeline.demo import site
from pipeline.demo.web import LocalWeb
from tests import engines
from tests.own_data import SETTINGS, write_both

ROOT = Path(__file__).resolve().parents[1]
RECIPES = re.search(r"\n## Recipes\n(.*?)\n## ", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "COLUMNS": "100"}
SMALL = dict(re.findall(r"^(\w+) = (.*)$", SETTINGS, re.MULTILINE))


def recipe(beginning):
    """The commands of the recipe whose paragraph begins so, as words."""
    block = re.search(rf"^{re.escape(beginning)}.*?\n\n(.*?)(?:\n\n|\Z)", RECIPES, re.MULTILINE | re.DOTALL)[1]
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def ran(words, folder, replaced=(), extra=()):
    """What a command of the README printed, in `folder`."""
    text = [swapped(word, replaced) for word in words]
    assert text[0] == "webtext"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pipeline", *text[1:], *extra],
        check=False, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, (text, done.stdout, done.stderr)
    return done.stdout


def swapped(word, replaced):
    for old, new in replaced:
        word = word.replace(old, new)
    return word


def made_small(path, **more):
    """A config as init wrote it, with the sizes of a test."""
    text = path.read_text("utf-8")
    for key, value in {**SMALL, **more}.items():
        text, times = re.subn(rf"^(?:# )?{key} = .*?( *(#.*)?)$", f"{key} = {value}", text, flags=re.MULTILINE)
        assert times, key
    path.write_text(text, "utf-8")


def put_in_place(folder):
    """A dump in `dumps` and an archive in `crawl`, as the README calls them, of 24 pages."""
    pages = write_both(folder, pages=24)
    for name in ("dumps", "crawl"):
        (folder / name).mkdir()
    plain = folder / "dump.ndjson"
    (folder / "dumps/RS_2013-08.zst").write_bytes(zstandard.compress(plain.read_bytes()))
    plain.unlink()
    (folder / "pages.warc.gz").rename(folder / "crawl/pages.warc.gz")
    return pages


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder in which the first recipe was followed, and what each command printed."""
    folder = tmp_path_factory.mktemp("recipes")
    pages = put_in_place(folder)
    printed = {}
    for words in recipe("A dump of Reddit and an archive"):
        printed[words[1]] = ran(words, folder, [("https://example.org/story", pages[0].url)])
        if words[1] == "init":
            made_small(folder / "work" / config.FILE_NAME, shards=2, workers=1)
    return folder, printed


def test_a_dump_and_an_archive(built):
    folder, printed = built
    assert list(printed) == ["init", "plan", "build", "explain", "report"]
    assert "kept" in printed["explain"]
    assert (folder / "work/report/report.html").exists()


def test_sharing_it_and_training(built):
    folder, _ = built
    for words in recipe("Share it, and train here or elsewhere"):
        ran(words, folder)
    assert (folder / "nanoGPT/data/webtext/train.bin").stat().st_size


def test_a_list_of_addresses_is_crawled(tmp_path):
    pages = site.ordinary_pages()[:24]
    (tmp_path / "urls.txt").write_text("".join(f"{page.url}\n" for page in pages))
    with LocalWeb() as web:
        for words in recipe("A list of URLs"):
            ran(words, tmp_path, [("YOUR-SITE", "demo.test")])
            if words[1] == "init":
                path = tmp_path / "mine" / config.FILE_NAME
                made_small(path, gap_s=0.01, workers=1)
                names = ", ".join(f'"{name}" = "{address}"' for name, address in web.local_hosts().items())
                path.write_text(
                    path.read_text("utf-8").replace("local_hosts = {}", f"local_hosts = {{ {names} }}"), "utf-8"
                )
    assert list((tmp_path / "mine/corpus").glob("*.parquet"))


def test_a_cluster(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    put_in_place(shared)
    with engines.job_service() as service, engines.pool_of_threads() as pool:
        for words in recipe("A cluster"):
            places = [("/shared", str(shared)), ("HOST:8099", service), ("HOST:50000", pool)]
            ran(words, tmp_path, places, [engines.QUIET] if words[1] == "build" else [])
            if words[1] == "init":
                made_small(shared / "work" / config.FILE_NAME, shards=2)
    assert list((shared / "work/corpus").glob("*.parquet"))
