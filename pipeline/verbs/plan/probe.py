"""What a plan starts from: artefacts that stand, told by their manifests, and samples of what will be read.

Choice: a manifest before a sample, a sample before an assumption. Cost: some pages are extracted, in the sandbox, to
know how much text they hold and how long that takes here: a few seconds. Alternative: constants alone, which know
neither the user's pages nor the machine.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import documents, elsewhere
from pipeline.build import STAGES, artefact
from pipeline.config import Settings
from pipeline.dedup import minhash
from pipeline.fetch.captures import Capture
from pipeline.fetch.readback import BadRecord, Response, read_response
from pipeline.fetch.response import Refused
from pipeline.pages import may_crawl
from pipeline.shards import inputs, progress, schemas
from pipeline.shards.outcomes import ConfigError, Outcome
from pipeline.shards.receipts import Manifest
from pipeline.status import status_of
from pipeline.text.rules import Judge, read_rules
from pipeline.text.sandbox import Sandbox
from pipeline.text.signals import SIGNALS
from pipeline.verbs.plan.sample import Captures, Submissions, look_at_captures, look_at_submissions, size, spread

PAGES = 40  # extracted
SHARDS = 8  # of an artefact that stands, looked into
TEXTS = 500  # documents judged of each
IDS = 1_000_000  # links, up to which all are known by name: 150 MB


@dataclass(frozen=True)
class Texts:
    """What pages become, told from `sampled` of them; None where documents stand, for nothing was extracted."""

    sampled: int
    text_share: float  # documents with text a page
    passing: float  # of these, what the rules of [corpus] keep, copies and Wikipedia's text left out of account
    text_bytes: float  # a document
    page_bytes: float | None  # a page, as it lies in WARC
    cpu_s: float | None  # a page; seconds of a wall clock, on a machine with nothing else to do


@dataclass(frozen=True)
class Probe:
    """All that is known before a build. `made`: manifests of the artefacts that are whole and current."""

    submissions: Submissions | None = None
    captures: Captures | None = None
    texts: Texts | None = None
    crawls: bool = False  # whether the web will be asked
    made: dict[str, Manifest] = field(default_factory=dict)
    hosts: dict[str, int] | None = None  # kept links of each host, where links stand
    dump_bytes: int = 0  # of Wikipedia, that corpus reads
    reference_bytes: int = 0  # of its 8-grams, made before, that corpus holds
    elsewhere: int = 0  # documents of corpus.against
    elsewhere_bytes: int = 0  # of their shards, as they lie


def probe(root: Path, settings: Settings) -> Probe:
    """What is known of a working directory and its inputs. Raises ConfigError, InputError, IntegrityError."""
    statuses = status_of(root, settings)
    made = {}
    for stage in STAGES:  # what stands behind something stale will be made anew
        manifest = statuses[stage].manifest
        if manifest is None:
            break
        made[stage] = manifest
    links, pages = settings.links, settings.pages
    if not (links.submissions or links.bigquery or made):
        raise ConfigError("links.submissions is empty: set it in webtext.toml to dumps, exports, lists or a ledger")
    submissions = None
    if "links" not in made and links.submissions:
        with progress.phase("plan: a sample of the submissions"):
            submissions = look_at_submissions(
                inputs.matching(links.submissions, root, "links.submissions", []), settings, root
            )
    captures = None
    if "pages" not in made and pages.warc:
        wanted = submissions.kept_ids if submissions and submissions.whole else None
        if "links" in made and made["links"].books["links"].inputs <= IDS:
            wanted = ids_of(root, settings.build.shards)
        with progress.phase("plan: a sample of the archives"):
            captures = look_at_captures(inputs.matching(pages.warc, root, "pages.warc", []), pages, wanted)
    dumps = inputs.matching(settings.corpus.wikipedia_dumps, root, "corpus.wikipedia_dumps")
    reference = [settings.corpus.wikipedia_reference] if settings.corpus.wikipedia_reference else []
    others = elsewhere.others(settings.corpus.against, root)
    with progress.phase("plan: a sample of the pages' text"):
        texts = texts_of(root, settings, made, captures)
    return Probe(
        submissions,
        captures,
        texts,
        "pages" not in made and may_crawl(pages),
        made,
        hosts_of(root, settings.build.shards) if "links" in made else None,
        size(dumps),
        size(inputs.matching(reference, root, "corpus.wikipedia_reference")),
        sum(other.documents for other in others),
        sum(stamp.bytes for other in others for stamp in other.stamps),
    )


def hosts_of(root: Path, shards: int) -> dict[str, int]:
    """Kept links of each host."""
    found: Counter[str] = Counter()
    for hosts in kept_links(root, shards, "host"):
        counts = hosts.value_counts()
        found.update(dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)))
    return dict(found)


def ids_of(root: Path, shards: int) -> frozenset[str]:
    """The doc_ids of all kept links."""
    return frozenset(doc_id for ids in kept_links(root, shards, "doc_id") for doc_id in ids.to_pylist())


def kept_links(root: Path, shards: int, column: str) -> Iterator[pa.ChunkedArray]:
    """One column of the kept links of each shard."""
    links = artefact(root, "links", shards)
    for shard in range(shards):
        table = schemas.read_parquet(links.file(shard, ".parquet"), [column, "outcome"])
        yield table.filter(pc.equal(table["outcome"], str(Outcome.KEPT)))[column]


def texts_of(root: Path, settings: Settings, made: dict[str, Manifest], captures: Captures | None) -> Texts | None:
    """What pages become: from documents that stand, from pages that stand, from WARC files; None: no page is here."""
    if "documents" in made:
        return of_documents(root, settings, made["documents"])
    if "pages" in made:
        return extracted(root, settings, list(made_pages(root, settings)))
    chosen = spread(captures.pages, PAGES) if captures else []
    return extracted(root, settings, list(captured(chosen, settings.pages.limit_bytes)))


Page = tuple[documents.Row, Response, int]  # and its bytes as it lies


def made_pages(root: Path, settings: Settings) -> Iterator[Page]:
    """A sample of the pages of an artefact."""
    shards = settings.build.shards
    pages = artefact(root, "pages", shards)
    for shard in spread(range(shards), SHARDS):
        kept = documents.kept_pages(pages, shard)
        for row in spread(kept, -(-PAGES // min(shards, SHARDS))):
            response = documents.response_of(row, pages, shard, settings.pages.limit_bytes)
            yield row, response, row["length"]


def captured(chosen: Sequence[tuple[Path, Capture]], limit_bytes: int) -> Iterator[Page]:
    """The responses of captures; what cannot be read is left out, as the stage would."""
    for path, capture in chosen:
        row = {"url": capture.url, "final_url": capture.url, "doc_id": "", "host": ""}
        try:
            yield row, read_response(path, capture.offset, capture.length, limit_bytes, capture.sha256), capture.length
        except (BadRecord, Refused):
            continue


def extracted(root: Path, settings: Settings, pages: Sequence[Page]) -> Texts | None:
    """What a sample of pages becomes, made by the stage's own functions; None: there are none."""
    if not pages:
        return None
    chosen = settings.documents
    permutations = minhash.permutations(chosen.permutations, chosen.seed)
    with Sandbox(chosen.engine, chosen.cpu_s, chosen.memory_bytes) as box:
        documents.document_of(*pages[0][:2], box, chosen, permutations)  # the first one waits for the child
        begun = time.perf_counter()
        rows = [documents.document_of(row, response, box, chosen, permutations) for row, response, _ in pages]
        seconds = time.perf_counter() - begun
    kept = [row for row in rows if row["outcome"] == Outcome.KEPT]
    return Texts(
        sampled=len(rows),
        text_share=len(kept) / len(rows),
        passing=passing(root, settings, kept),
        text_bytes=sum(len(row["text"].encode()) for row in kept) / max(1, len(kept)),
        page_bytes=sum(length for *_, length in pages) / len(pages),
        cpu_s=seconds / len(rows),
    )


def of_documents(root: Path, settings: Settings, manifest: Manifest) -> Texts:
    """What pages have become, from documents that stand."""
    book = manifest.books["documents"]
    kept: list[documents.Row] = []
    made = artefact(root, "documents", settings.build.shards)
    columns = ["url", "final_url", "text", "outcome", *SIGNALS]
    for shard in spread(range(made.shards), SHARDS):
        for batch in islice(schemas.iterate_parquet(made.file(shard, ".parquet"), columns, rows=TEXTS), 1):
            kept += [row for row in batch.to_pylist() if row["outcome"] == Outcome.KEPT]
    text_bytes = sum(len(row["text"].encode()) for row in kept)
    share = book.outcomes.get(str(Outcome.KEPT), 0) / max(1, book.inputs)
    return Texts(len(kept), share, passing(root, settings, kept), text_bytes / max(1, len(kept)), None, None)


def passing(root: Path, settings: Settings, rows: Sequence[documents.Row]) -> float:
    """The share of documents that the rules of [corpus] keep, each for itself."""
    judge = Judge(settings.corpus, read_rules(settings.corpus.rules, root, SIGNALS))
    return sum(judge.verdict(row)[0] is Outcome.KEPT for row in rows) / max(1, len(rows))
