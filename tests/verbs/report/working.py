"""A working directory made by hand: small, whole, and full of what the web may put into titles, texts and addresses."""

import json

import pyarrow as pa

from pipeline import config, tokenizer, tokens
from pipeline.documents import SIGNAL_TYPES
from pipeline.shards import schemas
from pipeline.shards.outcomes import Outcome
from pipeline.shards.receipts import Artefact, balanced
from pipeline.shards.runner import PlainRun

SHARDS = 2
YEAR = 31_557_600
DOCUMENTS = schemas.documents_schema(4, SIGNAL_TYPES)

HOSTILE = (
    "</style></title><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a | b ` c ``` [x](javascript:alert(1)) ![y](https://evil.test/p.png) *_~^<!-- -->",
    "first\r\n| second | third |\n---\n# fourth\n\n<iframe src=https://evil.test>",
    "\u202etxet ruoy\u2066 \u200b\u061c\ufeffafter \x00\x1b[31mred",
    "&lt;b&gt; $title ${style} %s {0} \\| \\",
    "عنوان بالعربية",
    "javascript:alert(1) https://evil.test @everyone #1 &amp; " + "unbroken" * 40,
)
URLS = [f"https://host{n}.bbc.co.uk/?q=<svg/onload=alert({n})>|`{n}`&a='\"{'long' * 30}" for n in range(len(HOSTILE))]
SUBREDDIT = "r|<b>`x`"


def fates(kept):
    """How the links end: as many pages as hostile titles, and one of each other kind."""
    return [*[Outcome.KEPT] * kept, Outcome.NOT_FOUND, Outcome.ROBOTS_DISALLOWED, Outcome.OPTED_OUT]


def rows():
    """stage -> its rows, the corpus's removed ones under `removed`."""
    pages = fates(len(HOSTILE) + 3)
    links = [link(n, Outcome.KEPT) for n in range(len(pages))] + [link(99, Outcome.LOW_KARMA, 1)]
    documents = [document(n) for n in range(len(HOSTILE) + 3)]
    gone = {
        "doc 8": (Outcome.NEAR_DUPLICATE, "jaccard", 0.875, 0.8, "doc 0"),
        "doc 9": (Outcome.EXACT_DUPLICATE, "text_hash", 1.0, 1.0, "doc 1"),
        "doc 10": (Outcome.WIKIPEDIA_TEXT, "wikipedia_overlap", 0.75, 0.5, None),
    }
    names = ("outcome", "rule", "value", "threshold", "keeper")
    return {
        "links": links,
        "pages": [page(n, fate) for n, fate in enumerate(pages)],
        "documents": documents,
        "corpus": [
            {**one, "words": one["word_count"], "score": 5, "created": YEAR * 42, "subreddits": [SUBREDDIT]}
            for one in documents
            if one["doc_id"] not in gone
        ],
        "removed": [
            {**one, **dict(zip(names, gone[one["doc_id"]], strict=True))} for one in documents if one["doc_id"] in gone
        ],
    }


def link(number, outcome, score=5):
    year = YEAR * (42 + number % 3 * 2)
    post = {"id": f"s{number}", "score": score, "created": year, "subreddit": SUBREDDIT, "over_18": False}
    return {
        "url": url(number),
        "doc_id": f"doc {number}",
        "score": score,
        "score_max": score,
        "created": year,
        "submissions": [post],
        "outcome": outcome,
    }


def page(number, outcome):
    status = {Outcome.NOT_FOUND: 404, Outcome.ROBOTS_DISALLOWED: None}.get(outcome, 200)
    return {
        "url": url(number),
        "host": "host.bbc.co.uk",
        "doc_id": f"doc {number}",
        "status": status,
        "warc": "00000.warc.gz",
        "length": 700,
        "opt_outs": ["header:noai|<i>"] if outcome is Outcome.OPTED_OUT else [],
        "outcome": outcome,
    }


def document(number):
    text = " ".join([HOSTILE[number % len(HOSTILE)], *(f"word{n}" for n in range(60 + number))])
    return {
        "url": url(number),
        "doc_id": f"doc {number}",
        "host": f"host{number}.bbc.co.uk",
        "title": HOSTILE[number % len(HOSTILE)],
        "text": text,
        "language": "en" if number else "<i>",
        "word_count": len(text.split()),
        "outcome": Outcome.KEPT,
    }


def url(number):
    return URLS[number % len(URLS)] + f"&n={number}"


def built(root):
    """Write all artefacts and a log of training below `root`."""
    made = rows()
    taken = {Outcome.KEPT: len(made["links"]), Outcome.SELF_POST: 2}
    write(root, "links", schemas.LINKS, made, {"submissions": balanced("submissions", len(made["links"]) + 2, taken)})
    write(root, "pages", schemas.PAGES, made)
    write(root, "documents", DOCUMENTS, made)
    write(root, "corpus", schemas.CORPUS, made)
    settings = config.parse(
        {"build": {"shards": SHARDS}, "tokenizer": {"vocab_size": 300}, "tokens": {"val_share": 0.5}}
    )
    tokenizer.stage(settings, root, PlainRun())
    tokens.stage(settings, root, PlainRun())
    (root / "model").mkdir()
    lines = [{"step": 0, "val_loss": 8.0, "bits_per_byte": 2.9}]
    lines += [{"step": n, "loss": 8 - n / 100, "learning_rate": 1e-3, "tokens_per_s": 9} for n in range(1, 300)]
    lines += [
        {"not_finite": "loss", "after_step": 7},
        {"step": 300, "val_loss": 5.5, "bits_per_byte": 2.0, "loss": 5.0},
    ]
    log = "\n".join(map(json.dumps, lines))
    (root / "model" / "metrics.jsonl").write_text(log + '\n{"step": 301, "lo')
    return root


def write(root, stage, schema, made, books=None, shards=SHARDS):
    """One artefact of some shards, with books that say what its rows say."""
    one = Artefact(root, stage, shards)
    for task in one.begin(["made by hand"] * shards):
        parts = [("", schema, made[stage][task.shard :: shards])]
        if stage == "corpus":
            parts.append(("removed", schemas.REMOVED, made["removed"][task.shard :: shards]))
        with one.attempt(task) as attempt:
            counts = {}
            for part, columns, some in parts:
                with attempt.write(".parquet", part) as file:
                    attempt.rows(
                        ".parquet",
                        schemas.write_parquet(file, [pa.Table.from_pylist(some, columns)], columns),
                        part,
                    )
                for row in some:
                    fate = row.get("outcome", Outcome.KEPT)
                    counts[fate] = counts.get(fate, 0) + 1
            notes = [f"near duplicates: measured <{task.shard}>"] if stage == "corpus" else []
            attempt.commit({stage: balanced(stage, sum(counts.values()), counts)}, notes)
    settings = {
        "karma": 3,
        "karma_of": "max",
        "warc": ["/home/somebody/secret/pages.warc.gz"],
        "contact": "crawler@somebody.example",
    }
    one.finish(settings, ("numpy",), books=books)
