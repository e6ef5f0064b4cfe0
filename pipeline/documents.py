"""pages → documents: the text of every kept page, what can be counted about it, and its MinHash signature.

Choice: everything that a later decision may ask for is measured here, once, and kept as columns; a page that gives no
text keeps its row and says why. What a shard held before is carried over (see `carried`), so that one more page costs
itself. Cost: columns that a given config never reads; the texts of a shard are held in memory until they are sorted.
Alternative: measure in the corpus stage, which would read all texts for each new threshold.
"""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import carried
from pipeline.config import DocumentsSettings, Settings, slice_of
from pipeline.dedup import minhash
from pipeline.fetch import pointers
from pipeline.fetch.heads import header
from pipeline.fetch.readback import BadRecord, Response, read_response
from pipeline.shards import inputs, progress, receipts, schemas, storage
from pipeline.shards.locations import deletion, is_given, pointed_at, pointer_to
from pipeline.shards.outcomes import IntegrityError, Outcome
from pipeline.shards.receipts import Artefact, Manifest, Task
from pipeline.shards.removals import Removals
from pipeline.shards.runner import HEAVY_S, Run
from pipeline.text import main_text
from pipeline.text.normalize import text_hash, words
from pipeline.text.sandbox import Sandbox
from pipeline.text.signals import SIGNALS, signals

VERSION = 4
LIBRARIES = (
    "brotli", "datasketch", "fastwarc", "ftfy", "justext", "lxml", "numpy", "py3langid", "pyarrow", "resiliparse",
    "trafilatura", "turbohtml", "unicode", "zstandard",
)  # fmt: skip
NEWSPAPERS = ("newspaper3k", "newspaper4k")  # either, where it is the engine
COLUMNS = (*carried.READ_BY, "via", "warc", "outcome")
PAGE_S = 20e-3  # CPU time of a page
CRAWLED_LIMIT = 1_000_000_000  # bytes of a page crawled here: it was within the limit of its day

ARROW: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64()}
SIGNAL_TYPES = {name: ARROW[type(value)] for name, value in signals("").items()}

Row = dict[str, Any]


def stage(settings: Settings, work: Path, run: Run) -> Manifest:
    """One row for every kept page: text, signals, signature, or why there is no text."""
    shards = settings.build.shards
    pages, documents = Artefact(work, "pages", shards), Artefact(work, "documents", shards)
    used = slice_of(settings.documents)
    trained = models() if settings.documents.engine == "cascade" else []
    read = [[*pages.hashes(shard).values(), *trained] for shard in range(shards)]
    libraries = [*LIBRARIES, *(installed(NEWSPAPERS) if settings.documents.engine == "newspaper" else ())]
    tasks = documents.begin([receipts.fingerprint("documents", VERSION, used, marks, libraries) for marks in read])
    progress.expect(pages.kept((task.shard for task in tasks), "pages"), noun="pages")
    making = Making([VERSION, used, trained], tuple(libraries), given(settings, work) if tasks else {})
    make = partial(extract_shard, settings.documents, settings.pages.limit_bytes, pages, documents, making)
    run.map_shards(make, tasks, heavy=unread(pages, documents, making, tasks) * PAGE_S > HEAVY_S)
    return documents.finish(used, libraries, [pages])


@dataclass(frozen=True)
class Making:
    """What rows are made by, their pages aside; and the sha256 of each archive that a user named, by its pointers."""

    settings: list[Any]
    libraries: tuple[str, ...]
    archives: Mapping[str, str]


def unread(pages: Artefact, documents: Artefact, making: Making, tasks: Iterable[Task]) -> int:
    """About how many pages of these shards are to be extracted: those that came, or all where nothing is carried."""
    count = 0
    for shard in (task.shard for task in tasks):
        before = documents.made(shard).books["documents"].inputs if stands(documents, shard, making) else 0
        count += max(0, pages.kept([shard], "pages") - before)
    return count


def stands(documents: Artefact, shard: int, making: Making) -> bool:
    """Whether rows of a shard are carried."""
    return carried.stands(documents, shard, making.settings, making.libraries)


def given(settings: Settings, work: Path) -> dict[str, str]:
    """The sha256 of the archives that are named: a page of a file that was exchanged for another is another page."""
    if not settings.pages.warc:
        return {}
    paths = pointers.files_of(settings.pages.warc, work, "pages.warc", [])
    hashes = inputs.sha256_of_each(paths, work / inputs.HASHES)
    return {pointer_to(path, work / pointers.PAGES): sha256 for path, sha256 in hashes.items()}


def models() -> list[str]:
    """The sha256 of every trained model that reads the main text of pages: another one reads another text."""
    return [storage.sha256_of(path) for path in sorted(main_text.MODEL.parent.glob("*.json"))]


def installed(distributions: Iterable[str]) -> list[str]:
    """Those of some distributions that are installed."""
    return [name for name in distributions if any(importlib.metadata.distributions(name=name))]


def extract_shard(
    settings: DocumentsSettings, limit_bytes: int, pages: Artefact, documents: Artefact, making: Making, task: Task
) -> None:
    """Write the documents of a shard by url: those of pages that it held before are carried, all others are read.

    Pages are read where they lie, in the order of the files.
    """
    permutations = minhash.permutations(settings.permutations, settings.seed)
    removals = Removals.of(pages.root)  # `remove` took what it met out of pages; a request may come with a copy of one
    before = carried.former(documents, task.shard, making.settings, making.libraries)
    new, old, keys = [], [], {}
    with ExitStack() as stack:
        box: Sandbox | None = None
        for page in progress.each(kept_pages(pages, task.shard)):
            addresses = (page["url"], page["final_url"], *(page["via"] or ()))
            if any(removals.cover_address(address) for address in addresses):
                new.append(removed(page, permutations))
                continue
            key = keys[page["doc_id"]] = carried.key_of(page, making.archives.get(page["warc"], page["warc"]))
            if (place := before.places.get(key)) is not None:
                old.append(place)
                continue
            response = response_of(page, pages, task.shard, limit_bytes)
            box = box or stack.enter_context(Sandbox(settings.engine, settings.cpu_s, settings.memory_bytes))
            new.append(document_of(page, response, box, settings, permutations))
    schema = schemas.documents_schema(settings.permutations, SIGNAL_TYPES)
    counts = Counter(row["outcome"] for row in new)
    counts.update(before.outcomes(old))
    with documents.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            schemas.write_parquet(file, carried.merged(before, old, new, schema, table_of), schema)
        attempt.rows(".parquet", counts.total())
        attempt.commit({"documents": receipts.balanced("documents", counts.total(), counts)})
    carried.keep(documents, task.shard, keys, making.settings, making.libraries)


def kept_pages(pages: Artefact, shard: int) -> list[Row]:
    """The kept pages of a shard, by file and offset."""
    table = schemas.read_parquet(pages.file(shard, ".parquet"), COLUMNS)
    kept = table.filter(pc.equal(table["outcome"], str(Outcome.KEPT)))
    rows: list[Row] = kept.sort_by([("warc", "ascending"), ("offset", "ascending"), ("url", "ascending")]).to_pylist()
    return rows


def response_of(page: Row, pages: Artefact, shard: int, limit_bytes: int) -> Response:
    """The response of a page. Raises IntegrityError: the file does not hold it any more; InputError: no such file."""
    crawled = not is_given(page["warc"])
    path, offset = pointed_at(page["warc"], pages.folder), page["offset"]
    if crawled:
        path = segment(path)
    limit = max(limit_bytes, CRAWLED_LIMIT) if crawled else limit_bytes
    try:
        response = read_response(path, offset, page["length"] or None, limit, page["sha256"], here=crawled)
    except BadRecord as error:
        detail = error.detail
    else:
        if response.sha256 == page["sha256"]:
            return response
        detail = f"sha256 of the body {response.sha256[:12]}…, expected {page['sha256'][:12]}…"
    mend = "bring the file back, or build pages again"
    if crawled:  # what is gone has to be forgotten, or nobody asks for it again
        table = Path(str(path).removesuffix(".warc.gz") + ".parquet")
        mend = f"run: {deletion(table, pages.receipt_path(shard))} and build again: it is fetched again"
    raise IntegrityError(f"{path} at offset {offset}: not the page that 'webtext build pages' saw ({detail}); {mend}")


@lru_cache(maxsize=1)
def segment(path: Path) -> Path:
    """A WARC file below the folder of pages, brought here whole: nearly all of it is read, in order."""
    return storage.local(path)


def document_of(
    page: Row, response: Response, box: Sandbox, settings: DocumentsSettings, permutations: minhash.Permutations
) -> Row:
    """The row of one page. Without text: no signals, the hash of no text, a signature of EMPTY."""
    found = box.extract(response.body, described(response), page["final_url"] or page["url"])
    text = found.text if found.outcome is Outcome.KEPT else ""
    return row_of(page, (found.title, text, found.engine), found.outcome, settings.shingle_words, permutations)


def described(response: Response) -> str:
    """The media type that was judged (sniffed, where none was named), then the header for its charset."""
    return f"{response.content_type}; {header(response.headers, 'content-type')}"


def removed(page: Row, permutations: minhash.Permutations) -> Row:
    """The row of a page that was asked to go: its doc_id, so that it is counted, and nothing else."""
    nothing = {"doc_id": page["doc_id"], "url": "", "host": "", "final_url": ""}
    return row_of(nothing, ("", "", ""), Outcome.REMOVED, 1, permutations)


def row_of(
    page: Row, found: tuple[str, str, str], outcome: Outcome, shingle_words: int, permutations: minhash.Permutations
) -> Row:
    """A row of `documents`. `found`: title, text, engine."""
    title, text, engine = found
    shingles = minhash.shingles(words(text), shingle_words)
    return {
        **{name: page[name] for name in ("url", "doc_id", "host", "final_url")},
        "title": title,
        "text": text,
        "engine": engine,
        **(signals(text) if outcome is Outcome.KEPT else dict.fromkeys(SIGNALS)),
        "text_hash": text_hash(text),
        "signature": minhash.signature(shingles, permutations),
        "outcome": str(outcome),
    }


def table_of(rows: list[Row], schema: pa.Schema) -> pa.Table:
    """Rows as a table; signatures go in as one array, not number by number."""
    columns: dict[str, Any] = {
        field.name: pa.array([row[field.name] for row in rows], field.type)
        for field in schema
        if field.name != "signature"
    }
    columns["signature"] = signature_array(row["signature"] for row in rows)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def signature_array(signatures: Iterable[Any]) -> pa.Array:
    """Signatures of equal length as an Arrow array of fixed-size lists."""
    together = np.stack(list(signatures))
    return pa.FixedSizeListArray.from_arrays(pa.array(together.reshape(-1), pa.uint32()), together.shape[1])
