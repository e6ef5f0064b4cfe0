#!/usr/bin/env bash
# typer 0.15.0 admits click 8.5.1 (`click>=8.0.0`), and every `--help` fails with it.
#
# click 8.2 gave `Parameter.make_metavar` another argument; typer 0.15.0 calls it without. A resolver that takes the lowest
# typer and the newest click, as `--resolution lowest-direct` does, gets the pair. typer 0.16 is the first that works.
#
# Seen on 2026-11-29 with CPython 3.11: the lines below. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
for version in 0.15.0 0.16.0; do
  "$folder/env/bin/pip" install --quiet --disable-pip-version-check "typer==$version" click==8.5.1
  "$folder/env/bin/python" - <<'PY' >>"$folder/found" 2>&1 || true
from importlib.metadata import version

import typer
from typer.testing import CliRunner

app = typer.Typer()


@app.command()
def hello(name: str, loud: bool = False) -> None:
    print(name)


done = CliRunner().invoke(app, ["--help"])
print(version("typer"), version("click"), type(done.exception).__name__)
PY
done
cat "$folder/found"
[ "$(cat "$folder/found")" = "0.15.0 8.5.1 TypeError
0.16.0 8.5.1 NoneType" ] || { echo "no longer as described" >&2; exit 1; }
