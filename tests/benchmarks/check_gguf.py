"""The GGUF export against llama.cpp itself: the same ids of texts, and the same greedy continuation as the trainer's.

    PYTHONPATH=. python tests/benchmarks/check_gguf.py work [texts.json]

`work` holds a tokenizer and a trained model. It needs llama-cpp-python, which is built from source for ten minutes or
more; so no test has it. `texts.json` is a list of strings, of nasty ones for preference. Exits 1 at a difference.
"""

import json
import sys
import tempfile
from pathlib import Path

import llama_cpp
import torch
from tokenizers import Tokenizer

from trainer.checkpoint import trained
from trainer.gguf import FILE, write_gguf

TEXTS = [
    "The ferry",
    "naïve 世界  \n\n\tdon't I'll 12345 ☃🙂",
    "  leading",
    "trailing  ",
    "a\u00a0b\u200bc",
    "é́",
    "x" * 300,
]
NEW_TOKENS = 40


def greedy(model: torch.nn.Module, ids: list[int], vocab: int, block: int) -> list[int]:
    """The most likely next tokens, one after another."""
    found = list(ids)
    while len(found) < min(block, len(ids) + NEW_TOKENS):
        with torch.no_grad():
            found.append(int(model(torch.tensor(found)[None])[0, -1, :vocab].argmax()))
    return found[len(ids) :]


def main() -> None:
    """Compare, and say what differs."""
    work = Path(sys.argv[1])
    texts = TEXTS + (json.loads(Path(sys.argv[2]).read_text("utf-8")) if sys.argv[2:] else [])
    checkpoint, _ = trained(work / "model")
    tokenizer, shape = work / "tokenizer" / "tokenizer.json", checkpoint.record.shape
    with tempfile.TemporaryDirectory() as folder:
        write_gguf(checkpoint, tokenizer, Path(folder))
        theirs = llama_cpp.Llama(str(Path(folder) / FILE), n_ctx=shape.block, verbose=False)
        ours, model = Tokenizer.from_file(str(tokenizer)), checkpoint.model()
        wrong_ids, wrong_text = [], []
        for text in filter(None, texts):
            ids = ours.encode(text).ids
            if theirs.tokenize(text.encode(), add_bos=False, special=True) != ids:
                wrong_ids.append(text)
        for text in TEXTS[:3]:
            ids = ours.encode(text).ids[: shape.block // 2]
            theirs.reset()
            expected = greedy(model, ids, shape.vocab, shape.block)
            found = [
                token for token, _ in zip(theirs.generate(ids, temp=0.0, repeat_penalty=1.0), expected, strict=False)
            ]
            if found != expected:
                wrong_text.append((text, expected, found))
    print(f"{len(texts) - len(wrong_ids)} of {len(texts)} texts have the same ids")
    print(f"{3 - len(wrong_text)} of 3 greedy continuations are the same")
    for wrong in [*wrong_ids[:20], *wrong_text]:
        print(repr(wrong)[:400])
    sys.exit(bool(wrong_ids or wrong_text))


if __name__ == "__main__":
    main()
