#!/usr/bin/env bash
# datasets 5.2.0: two local folders of one name whose cards hold `configs: data_files` share a cache entry.
#
# A card (README.md) may name its files (`configs: data_files`). Of two folders of the same name in different places, each
# with such a card and a file of the same name and columns, load_dataset of the second gives the rows of the first, from
# the cache, without a word. With a card that has no `configs` (whether or not `dataset_info`), or without one, it does not.
# An export that is made anew elsewhere, or compared with another, would be read as the old one.
#
# Seen on 2026-11-29 with CPython 3.11: the lines below. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0
cd "$folder"
found=$(HF_HOME="$folder/home" HF_HUB_OFFLINE=1 "$folder/env/bin/python" - <<'PY' 2>/dev/null
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

CONFIGS = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train-*.parquet\n"
INFO = "dataset_info:\n  features:\n  - name: text\n    dtype: string\n"
for case, card in (("configs", CONFIGS), ("dataset_info", INFO), ("neither", "")):
    seen = []
    for place, text in (("a", "first"), ("b", "other")):
        here = Path(case, place, "shared")
        here.mkdir(parents=True)
        pq.write_table(pa.table({"text": [text]}), here / "train-0.parquet")
        (here / "README.md").write_text(f"---\n{card}---\n")
        seen.append(datasets.load_dataset(str(here), split="train")["text"][0])
    print(f"{case}:", *seen)
PY
)
echo "$found"
[ "$found" = "configs: first first
dataset_info: first other
neither: first other" ] || { echo "no longer as described" >&2; exit 1; }
