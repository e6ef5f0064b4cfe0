"""The exit code tells the kind of failure, whichever verb meets it: all verbs, each kind that they can meet."""

import errno
import os
import socket

import pytest

from pipeline import config
from pipeline.shards import lease
from pipeline.shards.outcomes import EXIT_CODES
from tests.test_cli import VERBS, webtext

CONFIG = "[links]\nsubmissions = ['list.txt']\n[pages]\ncontact = 'a@b.test'\n"
WORDS = {  # what each verb is called with, in a folder that holds webtext.toml and list.txt
    "init": "init new", "harvest": "harvest --subreddit books", "plan": "plan", "remove": "remove list.txt",
    "build": "build", "status": "status", "report": "report", "query": "query balance", "show": "show",
    "explain": "explain http://a.test/", "diff": "diff . .", "reference": "reference wikipedia none.xml",
    "overlap": "overlap text.txt", "extract": "extract http://a.test/", "demo": "demo", "train": "train",
    "sample": "sample", "fertility": "fertility", "export": "export --format jsonl --out out",
    "push": "push me/corpus --from out",
}  # fmt: skip
WITHOUT_A_FOLDER = {"init", "reference", "demo", "push"}  # that reads its config
EXPECTED = {
    "an option that is none": dict.fromkeys(WORDS, 2),
    "no config": dict.fromkeys(WORDS.keys() - WITHOUT_A_FOLDER, 2) | {"sample": 8, "diff": 3},
    "a config that is none": dict.fromkeys(WORDS.keys() - WITHOUT_A_FOLDER, 2) | {"demo --dir .": 2, "init .": 2},
    "an unknown setting": dict.fromkeys(WORDS.keys() - WITHOUT_A_FOLDER - {"diff", "sample"}, 2),
    "nothing there yet": {
        "plan": 0, "status": 0, "status --json": 0, "report": 0, "diff": 0, "remove": 0, "query": 5, "show": 5,
        "overlap": 5, "fertility": 5, "export": 5, "explain": 3, "extract": 3, "train": 8, "sample": 8,
        "export --format hf --out out": 8, "export --format nanogpt --out out": 5,
    },
    "an input is missing": {
        "remove none.txt": 3, "reference": 3, "extract none.html": 3, "extract none.warc.gz:0": 3,
        "query none.sql": 3, "build --set links.submissions=['none*']": 3, "harvest --subreddit books": 2,
        "remove --verify none.json": 3,
    },
    "another process works there": {"build": 4, "remove": 4, "train": 4, "demo --dir .": 4},
    "the disk is full": {"init": 7, "build": 7, "remove": 7, "report": 7},
    "the store cannot be reached": dict.fromkeys(WORDS.keys() - WITHOUT_A_FOLDER - {"diff"}, 7) | {"diff": 7},
}  # fmt: skip


def folder_of(kind, folder, monkeypatch):
    """The folder as a kind of failure finds it; what the command is given beside its words."""
    (folder / config.FILE_NAME).write_text(CONFIG)
    (folder / "list.txt").write_text("http://a.test/\n")
    (folder / "text.txt").write_text("The sea was calm that day, and nobody spoke of it.\n")
    if kind == "an option that is none":
        return ["--nonsense"]
    if kind == "no config":
        (folder / config.FILE_NAME).unlink()
    elif kind == "a config that is none":
        (folder / config.FILE_NAME).write_text("[links\n")
    elif kind == "an unknown setting":
        return ["--set", "links.karmaa=3"]
    elif kind == "the disk is full":
        monkeypatch.setattr(os, "fsync", full)
    elif kind == "the store cannot be reached":
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
        for name, value in {
            "AWS_ENDPOINT": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b", "WEBTEXT_CACHE": str(folder / "cache"),
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        return ["--dir", "s3://bucket/work"]
    return []


def full(_descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_all_verbs_are_walked():
    assert set(WORDS) == set(VERBS)
    assert {code for verbs in EXPECTED.values() for code in verbs.values()} <= set(EXIT_CODES)


@pytest.mark.failure("a command fails", "one line, and the exit code of the kind of failure", "what the line says")
@pytest.mark.parametrize(("kind", "verb"), [(kind, verb) for kind, verbs in EXPECTED.items() for verb in sorted(verbs)])
def test_a_kind_of_failure_has_its_exit_code_whichever_verb_meets_it(kind, verb, tmp_path, monkeypatch):
    more = folder_of(kind, tmp_path, monkeypatch)
    words = WORDS.get(verb, verb).split()
    if more[:1] == ["--dir"] and verb == "diff":
        words, more = ["diff", more[1], "."], []
    if kind == "another process works there":
        with lease.lock(tmp_path):
            done = webtext(*words, *more, cwd=tmp_path)
    else:
        done = webtext(*words, *more, cwd=tmp_path)
    assert done.returncode == EXPECTED[kind][verb], done.stderr
    if done.returncode:
        assert done.stderr.splitlines()[-1].startswith("webtext: ")
        assert "a bug" not in done.stderr
        assert "Traceback" not in done.stderr
