#!/usr/bin/env bash
# msgspec 0.22.0: a field that no Struct reads is checked for its escapes, and not for its UTF-8.
#
# RFC 8259, section 8.2: a string may hold an escaped half of a surrogate pair ("\ud83d"); what comes of it is open, and
# titles that were cut within an emoji hold such. A Struct without that field should not care. msgspec refuses the whole
# line with "Input data was truncated", although nothing is; the same field with bytes that are no UTF-8 at all passes.
# Python's json and DuckDB read the first line. Reading dumps of 10^9 lines by a Struct of some fields loses such rows.
#
# Seen on 2026-11-29 with CPython 3.11: the lines below. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check msgspec==0.22.0
found=$("$folder/env/bin/python" - <<'PY'
import json

import msgspec


class Post(msgspec.Struct):
    id: str


for name, line in (
    ("half a pair", rb'{"id":"1","title":"cut \ud83d"}'),
    ("a whole pair", rb'{"id":"1","title":"\ud83d\ude00"}'),
    ("no UTF-8", b'{"id":"1","title":"\xff\xfe"}'),
):
    try:
        print(f"{name}: {msgspec.json.decode(line, type=Post)}")
    except msgspec.MsgspecError as error:
        print(f"{name}: {type(error).__name__}: {error}")
assert json.loads(rb'{"id":"1","title":"cut \ud83d"}')["id"] == "1"
PY
)
echo "$found"
[ "$found" = "half a pair: DecodeError: Input data was truncated
a whole pair: Post(id='1')
no UTF-8: Post(id='1')" ] || { echo "no longer as described" >&2; exit 1; }
