#!/usr/bin/env bash
# datasets 5.2.0: a Parquet file with rows cannot be loaded when its first row group has none.
#
# A row group without rows is valid Parquet; pyarrow writes one for every empty table that a ParquetWriter is given, as
# happens when a filter leaves nothing of a batch. load_dataset takes its batch size from the first group alone: where
# that is empty it refuses the whole file ("BatchSize must be greater than 0"), downloaded and streamed; an empty group in
# the middle or at the end does no harm, nor does it to pyarrow and pandas wherever it stands.
#
# Seen on 2026-11-29 with CPython 3.11, pyarrow 25.0.0: the lines below. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==25.0.0
cd "$folder"
found=$(HF_HOME="$folder/home" HF_HUB_OFFLINE=1 "$folder/env/bin/python" - <<'PY' 2>/dev/null
import datasets
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = pa.table({"text": ["a", "b"]})
for case, groups in (("first", (0, 2)), ("middle", (2, 0, 2)), ("last", (2, 0))):
    with pq.ParquetWriter(f"{case}.parquet", ROWS.schema) as writer:
        for rows in groups:
            writer.write_table(ROWS.slice(0, rows))
    seen = [str(pq.read_table(f"{case}.parquet").num_rows)]
    for streaming in (False, True):
        try:
            loaded = datasets.load_dataset("parquet", data_files=f"{case}.parquet", split="train", streaming=streaming)
            seen.append(str(len(list(loaded))))
        except Exception as error:
            cause = error.__cause__ or error
            seen.append(f"{type(cause).__name__}: {cause}".partition(",")[0])
    print(f"{case}:", " | ".join(seen))
PY
)
echo "$found"
[ "$found" = "first: 2 | ArrowInvalid: BatchSize must be greater than 0 | ArrowInvalid: BatchSize must be greater than 0
middle: 4 | 4 | 4
last: 2 | 2 | 2" ] || { echo "no longer as described" >&2; exit 1; }
