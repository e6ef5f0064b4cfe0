"""The GGUF export against llama.cpp itself: the same ids of texts, and the same greedy continuation as the trainer's.

    PYTHONPATH=. python tests/benchmarks/check_gguf.py work [texts.json]

`work` holds a tokenizer and a trained model. llama.cpp comes as xllamacpp, whose wheels hold it built; its server is
asked as llama-server is (tools/server/README.md of llama.cpp: /tokenize, /completion). No test has it, as it is large.
`texts.json` is a list of strings, of nasty ones for preference. Exits 1 at a difference.
"""

import json
import sys
import tempfile
import urllib.request
from pathlib import Path

import torch
import xllamacpp
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


def parameters(file: Path, block: int) -> xllamacpp.CommonParams:
    """How the model is run: on the CPU, with as many positions as it has, at a free port of this machine."""
    chosen = xllamacpp.CommonParams()
    chosen.model.path, chosen.n_ctx, chosen.n_parallel, chosen.n_gpu_layers, chosen.warmup = (
        str(file),
        block,
        1,
        0,
        False,
    )
    return chosen


def asked(server: xllamacpp.Server, what: str, **body: object) -> dict:
    """The answer of llama.cpp's server to one request."""
    request = urllib.request.Request(
        f"{server.listening_address}/{what}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def main() -> None:
    """Compare, and say what differs."""
    work = Path(sys.argv[1])
    texts = TEXTS + (json.loads(Path(sys.argv[2]).read_text("utf-8")) if sys.argv[2:] else [])
    checkpoint, _ = trained(work / "model")
    tokenizer, shape = work / "tokenizer" / "tokenizer.json", checkpoint.record.shape
    with tempfile.TemporaryDirectory() as folder:
        write_gguf(checkpoint, tokenizer, Path(folder))
        server = xllamacpp.Server(parameters(Path(folder) / FILE, shape.block))
        ours, model = Tokenizer.from_file(str(tokenizer)), checkpoint.model()
        wrong_ids, wrong_text = [], []
        for text in filter(None, texts):
            ids = ours.encode(text).ids
            if asked(server, "tokenize", content=text, add_special=False)["tokens"] != ids:
                wrong_ids.append(text)
        for text in TEXTS[:3]:
            ids = ours.encode(text).ids[: shape.block // 2]
            expected = greedy(model, ids, shape.vocab, shape.block)
            wanted = {"temperature": 0, "n_predict": len(expected), "return_tokens": True, "ignore_eos": False}
            found = asked(server, "completion", prompt=ids, repeat_penalty=1.0, **wanted)["tokens"]
            if found != expected[: len(found)] or not found:
                wrong_text.append((text, expected, found))
    print(f"{len(texts) - len(wrong_ids)} of {len(texts)} texts have the same ids")
    print(f"{3 - len(wrong_text)} of 3 greedy continuations are the same")
    for wrong in [*wrong_ids[:20], *wrong_text]:
        print(repr(wrong)[:400])
    sys.exit(bool(wrong_ids or wrong_text))


if __name__ == "__main__":
    main()
