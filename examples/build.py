"""From a dump and WARC files to a model that writes: python examples/build.py FOLDER, which holds both."""

import sys
from pathlib import Path

import webtext

work = Path(sys.argv[1])
settings = webtext.parse({
    "links": {"submissions": ["*.ndjson"]},
    "pages": {"warc": ["*.warc.gz"]},
    "corpus": {"min_words": 50},
    "tokenizer": {"vocab_size": 512},
    "tokens": {"val_share": 0.2},
    "train": {"preset": "nano", "block": 32, "batch": 4, "accumulate": 1, "steps": 20, "dtype": "float32"},
})  # fmt: skip
for stage, manifest in webtext.build_stages(work, settings).items():
    print(stage, {name: book.outcomes for name, book in manifest.books.items()})
result = webtext.train(settings.train, work, work / "model", lambda _: None)
checkpoint, _ = webtext.trained(work / "model")
tokenizer = webtext.load_tokenizer(work / "tokenizer/tokenizer.json", checkpoint.record.identity["tokenizer"])
text = webtext.sample(checkpoint.model(), tokenizer, "The", tokens=20, temperature=0.8, top_k=50, top_p=1.0, seed=1)
print(result.loss, "".join(text))
