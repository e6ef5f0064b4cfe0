#!/usr/bin/env bash
# gigatoken 0.10.0: memory grows with every distinct pre-token that is encoded, for as long as the tokenizer lives.
#
# Its speed comes from remembering the ids of each pre-token. Nothing is ever forgotten: four batches of 1,000,000 words
# that were never seen before cost about 80 bytes a word, every batch anew, where the same batch four times costs as much
# as once; deleting the tokenizer gives the memory back. Text of the web never runs out of new words, so a process that
# encodes shard after shard has to make the tokenizer anew from time to time.
#
# Seen on 2026-11-29 with CPython 3.11 on x86-64 Linux: "4 batches of new words: 452 MB; the same batch 4 times: 131 MB;
# after del: 5 MB", each above what the process had before. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check gigatoken==0.10.0 numpy==2.4.6
cd "$folder"
cat > grow.py <<'PY'
import base64
import gc
import sys
from pathlib import Path

import gigatoken
import numpy as np

Path("bytes.tiktoken").write_text(
    "".join(f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256))
)


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def words(seed: int) -> list[str]:
    letters = np.random.default_rng(seed).integers(97, 123, (1_000_000, 10), dtype=np.uint8)
    letters[:, 0] = 32
    text = letters.tobytes().decode()
    return [text[start : start + 2_000] for start in range(0, len(text), 2_000)]


def encode(seed: int) -> None:
    batch = words(seed)
    for place in range(0, len(batch), 100):
        tokenizer.encode_batch(batch[place : place + 100], parallel=False)


tokenizer = gigatoken.Tokenizer.from_tiktoken("bytes.tiktoken", "gpt2", {})
tokenizer.encode_batch(["a"], parallel=False)
words(0)
before = resident()
for batch in range(4):
    encode(batch if sys.argv[1] == "new" else 0)
grown = resident() - before
del tokenizer
gc.collect()
print(round(grown), round(resident() - before))
PY
read -r new _ < <("$folder/env/bin/python" grow.py new)
read -r same left < <("$folder/env/bin/python" grow.py same)
echo "4 batches of new words: $new MB; the same batch 4 times: $same MB; after del: $left MB"
[ "$new" -gt $((same + 100)) ] && [ "$left" -lt "$same" ] || { echo "no longer as described" >&2; exit 1; }
