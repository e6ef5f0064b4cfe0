"""Shell completion: bash itself is asked, where it is; for zsh and fish what their scripts ask the command."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_cli import webtext

ROOT = Path(__file__).resolve().parents[1]
LINES = {  # what is typed -> what it may become
    "webtext bu": {"build"},
    "webtext ex": {"explain", "extract", "export"},
    "webtext build co": {"corpus"},
    "webtext build --set corpus.min_w": {"corpus.min_words="},
    "webtext build --runner Fl": {"FlinkRunner"},
    "webtext export --format na": {"nanogpt"},
    "webtext extract --engine resi": {"resiliparse"},
    "webtext reference wi": {"wikipedia"},
    "webtext status --wa": {"--watch"},
}
SCRIPT = """
PATH="$1:$PATH"
eval "$(_WEBTEXT_COMPLETE=source_bash webtext)"
complete -p webtext >&2
shift
for line in "$@"; do
    COMP_WORDS=($line) COMP_CWORD=$(($(wc -w <<< "$line") - 1))
    _webtext_completion webtext
    echo "${COMPREPLY[*]}"
done
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_bash_completes_verbs_options_settings_and_choices(tmp_path):
    command = tmp_path / "webtext"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -P -m pipeline "$@"\n')
    command.chmod(0o755)
    asked = ["bash", "--norc", "-c", SCRIPT, "bash", str(tmp_path), *LINES]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stderr == "complete -o default -F _webtext_completion webtext\n"
    assert [set(line.split()) for line in done.stdout.splitlines()] == list(LINES.values())


@pytest.mark.parametrize(("typed", "found"), LINES.items())
def test_zsh_and_fish_are_told_the_same(typed, found, tmp_path, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", typed)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    for shell in ("zsh", "fish"):
        monkeypatch.setenv("_WEBTEXT_COMPLETE", f"complete_{shell}")
        done = webtext(cwd=tmp_path)
        words = re.findall(r'"([^":]+)', done.stdout) if shell == "zsh" else done.stdout.splitlines()
        assert {word.partition("\t")[0] for word in words} >= found, (shell, done.stdout, done.stderr)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_lines_that_the_docs_give_for_a_shell_make_its_script(shell, tmp_path, monkeypatch):
    assert f"_WEBTEXT_COMPLETE=source_{shell} webtext" in (ROOT / "docs/reading.md").read_text("utf-8")
    monkeypatch.setenv("_WEBTEXT_COMPLETE", f"source_{shell}")
    script = webtext(cwd=tmp_path).stdout
    assert f"_WEBTEXT_COMPLETE=complete_{shell}" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)
