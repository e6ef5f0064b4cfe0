"""The lineage of a page, one line a stage, from what the artefacts say; of a host, how many pages met which end.

Choice: it reads the shards that hold the doc_id and nothing else, so the thresholds shown are the ones that decided.
Cost: where a doc_id alone is known, a scan of one column of each shard. Alternative: an index of doc_ids, to be kept in
step with every build.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import elsewhere
from pipeline.counts import counted
from pipeline.shards import progress, removals, schemas, storage
from pipeline.shards.outcomes import InputError, Outcome, WebTextError
from pipeline.shards.receipts import Artefact
from pipeline.status import ArtefactStatus, recorded
from pipeline.verbs.asked import asked
from pipeline.verbs.grounds import Grounds
from pipeline.verbs.hosts import of_host
from pipeline.verbs.verdict import verdict
from pipeline.verbs.whereabouts import shard_of_link, shards_of_keeper

SHOWN = {
    "links": (
        "url", "posted_as", "doc_id", "outcome", "score", "karma", "score_max", "score_sum", "score_first", "listed",
        "created", "submissions", "host_shards",
    ),
    "pages": (
        "outcome", "final_url", "status", "content_type", "warc", "offset", "length", "sha256", "opt_outs",
    ),
    "documents": ("outcome", "title", "engine", "language", "language_score", "word_count"),
    "removal": ("asked_at", "ended_at", "proof", "trained"),
    "removed": ("outcome", "rule", "value", "threshold", "keeper", "keeper_url", "keeper_corpus"),
    "corpus": ("title", "words", "score", "subreddits"),
    "tokens": ("split", "tokens", "year"),
}  # fmt: skip


class Explained(NamedTuple):
    """What became of a page, or of a host's pages. `taken_as`: what was meant, where that is not as it was typed."""

    verdict: str
    stages: list[tuple[str, dict[str, Any]]]
    taken_as: str = ""


def explain(root: Path, shards: int, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(stage, what its row says) for each artefact that is made and knows the page, in order; see `explained`."""
    yield from explained(root, shards, what).stages


def explained(root: Path, shards: int, what: str) -> Explained:
    """What became of an address as typed, a host with all names under it, a doc_id, or what a submission posted.

    Raises InputError: none of these, or none that is known in the working directory.
    """
    meant = asked(root, shards, what)
    statuses = recorded(root, shards)
    if not meant.doc_id:
        with progress.phase("explain"):
            return Explained(*of_host(root, statuses, meant.host), meant.taken_as)
    links = Artefact(root, "links", statuses["links"].shards)
    shard = shard_of_link(links, meant.host, meant.doc_id)
    found = list(life_of(root, statuses, meant.doc_id, shard))
    host = meant.host or next((row["host"] for _, row in found if row.get("host")), "")
    found += requests(root, meant.doc_id, host)
    if not found:
        raise InputError(f"{what}: no link in {root} has this id")
    life, corpus = dict(found), statuses["corpus"].manifest
    if "removed" in life:
        life["removed"] = {"text": "", "language": life["documents"]["language"], **life["removed"]}
    sentence = verdict(life, statuses, Grounds(corpus.settings, list) if corpus else None)
    shown = [(name, {key: row[key] for key in SHOWN[name] if key in row}) for name, row in found]
    return Explained(sentence, shown, meant.taken_as)


def life_of(
    root: Path, statuses: Mapping[str, ArtefactStatus], doc_id: str, shard: int | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a document in the artefacts that are whole, with what the rows themselves do not hold.

    `shard`: the one in which its link lies, and so all of it; None: look everywhere.
    """
    for stage, standing in statuses.items():
        manifest = standing.manifest
        if manifest is None:
            return
        made = Artefact(root, stage, standing.shards)
        if stage == "links" and (row := row_of(made, doc_id, shard)) is not None:
            yield stage, link_of(row, manifest.settings)
        elif stage in ("pages", "documents") and (row := row_of(made, doc_id, shard)) is not None:
            yield stage, row
        elif stage == "corpus":
            if (row := row_of(made, doc_id, shard, "removed")) is not None:
                against = manifest.settings.get(elsewhere.RULE, ())
                if row["outcome"] == Outcome.DUPLICATE_ELSEWHERE:
                    keeper = keeper_elsewhere(root, against, row)
                else:
                    keeper = {"keeper_url": url_of(keeper_of(made, row, shard))}
                yield "removed", row | keeper
            if (row := row_of(made, doc_id, shard)) is not None:
                yield stage, row if row["created"] is not None else {**row, "score": None}
        elif stage == "tokens":
            yield from token_rows(made, doc_id, shard)


def link_of(row: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a link as it is shown. One that lists alone name was posted by nobody: its score stands for none."""
    posted_as = {"posted_as": row["fetch_url"]} if row["fetch_url"] != row["url"] else {}
    if row["listed"] and row["score_max"] is None:
        return {**row, **posted_as, "score": None, "submissions": []}
    submissions = [{**post, "created": day_of(post["created"])} for post in row["submissions"] if post["id"]]
    karma = f"{settings['karma_of']} >= {settings['karma']}"
    return {**row, **posted_as, "karma": karma, "created": day_of(row["created"]), "submissions": submissions}


def keeper_of(corpus: Artefact, row: dict[str, Any], shard: int | None) -> dict[str, Any] | None:
    """The row of the document that a removed one lost to, if it lost to one; `shard`: of the removed one."""
    for place in shards_of_keeper(corpus.root, corpus.shards, row["doc_id"], shard) if row["keeper"] else ():
        if (found := row_of(corpus, row["keeper"], place)) is not None:
            return found
    return None


def keeper_elsewhere(root: Path, against: Sequence[str], row: dict[str, Any]) -> dict[str, Any]:
    """Which corpus a row names, and the address of its keeper there; None of each where that is not there any more."""
    for name in against:
        with suppress(WebTextError):
            other = elsewhere.other(name, root)
            if row["rule"] == f"{elsewhere.RULE} {other.mark}":
                found = (row_in(other.file(shard), row["keeper"]) for shard in range(len(other.stamps)))
                return {"keeper_corpus": name, "keeper_url": url_of(next(filter(None, found), None))}
    return {"keeper_corpus": None, "keeper_url": None}


def url_of(row: dict[str, Any] | None) -> str | None:
    """The address of a row, if there is one."""
    return row["url"] if row else None


def requests(root: Path, doc_id: str, host: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The removal requests that cover an address, each with what its statement says of models that saw the page."""
    for path in removals.paths(root):
        request = removals.read(path)
        if removals.Removals((request,)).cover(doc_id, host):
            statement = path.with_suffix(".statement.json")
            stated = json.loads(storage.read_bytes(statement)) if storage.exists(statement) else {"checkpoints": []}
            trained = {checkpoint["path"]: exposure(checkpoint, doc_id) for checkpoint in stated["checkpoints"]}
            proof = str((statement if storage.exists(statement) else path).relative_to(root))
            yield (
                "removal",
                {"asked_at": request.asked_at, "ended_at": request.ended_at, "proof": proof, "trained": trained},
            )


def exposure(checkpoint: dict[str, Any], doc_id: str) -> str:
    """What a statement says of a document and of a model that was trained here."""
    seen = checkpoint.get("shown", {}).get(doc_id)
    return f"shown {counted(seen['shown'], 'time')}" if seen else f"shown: {checkpoint['held']}"


def row_of(made: Artefact, doc_id: str, only: int | None = None, part: str = "") -> dict[str, Any] | None:
    """The row of a document in an artefact, or in one shard `only`; or None."""
    for shard in range(made.shards) if only is None else [only]:
        if (row := row_in(made.file(shard, ".parquet", part), doc_id)) is not None:
            return row
    return None


def row_in(path: Path, doc_id: str) -> dict[str, Any] | None:
    """The same of one shard."""
    place = place_of(schemas.read_parquet(path, ["doc_id"])["doc_id"], doc_id)
    if place is None:
        return None
    row: dict[str, Any] = schemas.read_parquet(path).slice(place, 1).to_pylist()[0]
    return row


def token_rows(made: Artefact, doc_id: str, only: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where a document's tokens are, and how many, end-of-text included; looked for in one shard `only`, or in all."""
    for shard, split in product(range(made.shards) if only is None else [only], ("train", "val")):
        with pa.memory_map(str(made.file(shard, ".arrow", split))) as file:
            table = pa.ipc.open_file(file).read_all()
            place = place_of(table["doc_id"], doc_id)
            if place is not None:
                tokens = len(table["tokens"][place])
                yield "tokens", {"split": split, "tokens": tokens, "year": table["year"][place].as_py()}


def place_of(ids: pa.ChunkedArray, doc_id: str) -> int | None:
    """The row of an id in a column, or None."""
    place: int = pc.index(ids, doc_id).as_py()
    return place if place >= 0 else None


def day_of(created: int | None) -> str | None:
    """A time in seconds since 1970 as a person reads it; None where only a list of addresses names the link."""
    return None if created is None else f"{datetime.fromtimestamp(created, UTC):%Y-%m-%d %H:%M} UTC"
