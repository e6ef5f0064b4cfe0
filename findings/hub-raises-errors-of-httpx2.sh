#!/usr/bin/env bash
# huggingface_hub 2.4.0: its errors are those of the package httpx2, so `except httpx.HTTPError` catches none of them.
#
# Version 1 of the library spoke HTTP by httpx, and code that wanted one line for a network that is away caught its errors.
# Since then HfHubHTTPError and the errors of connections derive from classes of httpx2, which is installed beside httpx or
# without it. What derives from OSError still catches the answers of the hub, not the connection that nobody takes.
#
# Seen on 2026-11-29 with CPython 3.11: the lines below. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check huggingface_hub==2.4.0 httpx
found=$(HF_HOME="$folder/home" HF_HUB_DISABLE_TELEMETRY=1 "$folder/env/bin/python" - <<'PY' 2>/dev/null
import httpx
from huggingface_hub import HfApi

try:
    HfApi(endpoint="http://127.0.0.1:1").model_info("a/b", timeout=2)
except Exception as error:
    kind = type(error)
    print(f"{kind.__module__.partition('.')[0]}.{kind.__name__}", isinstance(error, httpx.HTTPError), isinstance(error, OSError))
PY
)
echo "$found"
[ "$found" = "httpx2.ConnectError False False" ] || { echo "no longer as described" >&2; exit 1; }
