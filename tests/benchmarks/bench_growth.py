"""Whether the stage `corpus` stays linear: python tests/benchmarks/bench_growth.py [FOLDER] [THOUSAND[:A SHARD] …]

Artefacts `links` and `documents` are generated straight as Parquet, 10,000 documents a shard unless it is said
otherwise (`100:250` are 100,000 documents, 250 a shard, so 400 shards): of 1,000 documents 300 are of clusters whose
sizes follow a power law (a third of them exact copies, the others with 0 to 30 % of their 150 words replaced), 50 have
the signature of a template of their site, the rest is like nothing. Then `corpus` runs through Beam in a process of its
own. Prints processor and clock time a document, the largest process, and a digest of what was made. What was generated
stays in FOLDER, so that another commit (PYTHONPATH=OTHER/TREE) is measured on the same.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline import config, corpus, urls
from pipeline.dedup import minhash
from pipeline.documents import SIGNAL_TYPES
from pipeline.shards import schemas
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import BeamRun
from pipeline.text.normalize import text_hash
from pipeline.text.signals import signals

SHARD = 10_000  # documents
WORDS, VOCABULARY = 150, 20_000
TEMPLATE = 42  # places of a signature that documents of one site share
DRAWN = minhash.permutations(128, 1)
SCHEMA = schemas.documents_schema(128, SIGNAL_TYPES)


@lru_cache(maxsize=1)
def vocabulary():
    draw = np.random.default_rng(0)
    return ["".join(map(chr, draw.integers(97, 123, length))) for length in draw.integers(3, 10, VOCABULARY)]


def words_of(draw, count):
    return [vocabulary()[number] for number in draw.integers(0, VOCABULARY, count)]


def copied(number, documents):
    """Text and signature of a document of a cluster."""
    draw = np.random.default_rng([2, number])
    words = words_of(np.random.default_rng([1, int(documents / 10 * draw.random() ** 2)]), WORDS)
    if draw.random() > 1 / 3:
        changed = int(draw.uniform(0, 0.3) * WORDS)
        start = int(draw.integers(0, WORDS - changed))
        words[start : start + changed] = words_of(draw, changed)
    return " ".join(words), minhash.signature(minhash.shingles(words, 5), DRAWN)


def shard_of(shard, size, documents, common):
    """The tables of links and documents of a shard."""
    draw = np.random.default_rng([3, shard])
    numbers = range(shard * size, min(documents, (shard + 1) * size))
    signatures = draw.integers(0, 2**32 - 1, (len(numbers), 128), dtype=np.uint32)
    filler, texts = words_of(draw, WORDS), []
    for row, number in enumerate(numbers):
        kind = number * 7919 % 1_000
        if kind < 300:
            text, signatures[row] = copied(number, documents)
        else:
            filler[number % WORDS] = vocabulary()[number % VOCABULARY]
            text = f"{number} {' '.join(filler)}"
            if kind < 350:
                site = np.random.default_rng([4, number % 50])
                signatures[row, :TEMPLATE] = site.integers(0, 2**32 - 1, TEMPLATE, dtype=np.uint32)
        texts.append(text)
    addresses = [f"https://host{shard}.example/{number:09d}" for number in numbers]
    ids, hosts = [urls.doc_id(url) for url in addresses], [f"host{shard}.example"] * len(numbers)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(signatures.reshape(-1)), 128)
    own = {"url": addresses, "doc_id": ids, "host": hosts, "final_url": addresses, "title": hosts, "text": texts}
    own |= {"text_hash": list(map(text_hash, texts)), "signature": lists, "outcome": ["kept"] * len(numbers)}
    own |= {name: [value] * len(numbers) for name, value in common.items()}
    table = pa.table([pa.array(own[f.name], f.type) if f.name != "signature" else lists for f in SCHEMA], schema=SCHEMA)
    columns = {"url": addresses, "fetch_url": addresses, "doc_id": ids, "host": hosts}
    columns |= {"submissions": [[] for _ in numbers], "outcome": ["kept"] * len(numbers)}
    columns["score"] = draw.zipf(1.5, len(numbers)).clip(3, 50_000)
    columns["created"] = draw.integers(1_100_000_000, 1_500_000_000, len(numbers))
    nothing = dict.fromkeys(schemas.LINKS.names, [None] * len(numbers))
    links = pa.table([pa.array((nothing | columns)[f.name], f.type) for f in schemas.LINKS], schema=schemas.LINKS)
    return links, table


def generate(work, documents, size):
    """Write what `corpus` reads."""
    shards = -(-documents // size)
    common = {**signals(" ".join(words_of(np.random.default_rng(5), WORDS))), "engine": "none", "language": "en"}
    common["word_count"] = WORDS
    for shard in range(shards):
        for name, table in zip(("links", "documents"), shard_of(shard, size, documents, common), strict=True):
            with Artefact(work, name, shards).attempt(Task(shard, "generated")) as attempt:
                with attempt.write(".parquet") as file:
                    schemas.write_parquet(file, [table], table.schema)
                attempt.rows(".parquet", len(table))
                attempt.commit({})


def measured(work, documents, size):
    """Run the stage; what it cost, as JSON on standard output."""
    found = {"build": {"shards": -(-documents // size)}, "corpus": {"rules": [], "min_precision": 0, "min_recall": 0}}
    begin = time.perf_counter()
    manifest = corpus.stage(config.parse(found), work, BeamRun(scratch=work / "scratch"))
    wall = time.perf_counter() - begin
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    processor = sum(one.ru_utime + one.ru_stime for one in used)
    outcomes = manifest.books["corpus"].outcomes
    told = [note for note in manifest.notes if "recall" in note or "precision" in note]
    peak = max(one.ru_maxrss for one in used) / 1_000
    hashes = "\n".join(sorted(f"{name} {stamp.sha256}" for name, stamp in manifest.files.items()))
    print(json.dumps([wall, processor, peak, outcomes, told, text_hash(hashes).hex()]))


def main():
    if sys.argv[1:2] == ["--one"]:
        measured(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        return
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    for word in sys.argv[2:] or ("250", "500", "1000"):
        thousand, _, chosen = word.partition(":")
        documents, size, work = int(thousand) * 1_000, int(chosen or SHARD), folder / word.replace(":", "-")
        if not (work / "generated").exists():
            generate(work, documents, size)
            (work / "generated").touch()
        for made in ("scratch", "corpus"):
            shutil.rmtree(work / made, ignore_errors=True)
        one = [sys.executable, __file__, "--one", str(work), str(documents), str(size)]
        answer = subprocess.run(one, stdout=subprocess.PIPE, text=True, check=True).stdout
        wall, processor, peak, outcomes, told, digest = json.loads(answer.splitlines()[-1])
        print(
            f"{documents:9,} documents, {-(-documents // size)} shards: {processor * 1e6 / documents:6.0f} us of "
            f"processor and {wall * 1e6 / documents:6.0f} us a document, largest process {peak:,.0f} MB; {outcomes}; "
            f"files {digest}",
            flush=True,
        )
        for note in told:
            print(f"          {note}", flush=True)


if __name__ == "__main__":
    main()
