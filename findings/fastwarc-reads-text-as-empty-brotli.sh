#!/usr/bin/env bash
# FastWARC 2.0.1: its BrotliReader reads a text as an empty stream, without an error.
#
# RFC 7932, section 9.1: some first bytes of ASCII are the whole header of an empty last metablock, so a text that a
# server labels `Content-Encoding: br` without packing it may decode to nothing. The reader gives b"" and drops the other
# bytes without a word, where Python's brotli says that the data go on behind the end of the stream. A page so labelled looks
# empty; whoever undoes content codings has to ask whether the body was in the coding at all.
#
# Seen on 2026-11-29 with CPython 3.11: the lines below. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check fastwarc==2.0.1 brotli==1.1.0
found=$("$folder/env/bin/python" - <<'PY'
import io

import brotli
from fastwarc.stream_io import BrotliReader

text = b";hello there"
print("fastwarc:", BrotliReader(io.BytesIO(text)).read())
try:
    print("brotli:", brotli.decompress(text))
except brotli.error as error:
    print("brotli:", type(error).__name__)
PY
)
echo "$found"
[ "$found" = "fastwarc: b''
brotli: error" ] || { echo "no longer as described" >&2; exit 1; }
