"""The statement of a removal: what a third person can check, as JSON and as a page of text.

Choice: it names files by their sha256 and documents by their doc_id, so that `sha256sum` and any reader of Parquet
check it; the address itself only where the user asks for it, for the person who asked. Cost: whoever has no address
cannot tell whom it is about, as is meant. Alternative: a signature, which proves who wrote it, and not that it is true.

The schema is told in docs/removal.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.build import STAGES, artefact
from pipeline.counts import counted
from pipeline.fetch.forget import tables
from pipeline.shards import layout, removals, schemas, storage
from pipeline.shards.outcomes import InputError, IntegrityError
from pipeline.shards.receipts import Artefact
from pipeline.shards.removals import KINDS, RemovalRequest, rows_told
from pipeline.verbs.remove.exposure import checkpoints, exports
from pipeline.verbs.remove.removal import Removal
from pipeline.verbs.remove.rows import SCRATCH
from pipeline.verbs.remove.search import made, rows_of_line

FORMAT = "webtext removal 1"
ANEW = "webtext build --set tokenizer.keep=false learns them anew, without it, and makes all tokens anew"
CHECKS = (
    "sha256sum FILE: for each file of `files`, `sha256_after`, unless it has been built anew since",
    "duckdb -c \"SELECT count(*) FROM 'pages/*.parquet' WHERE doc_id IN ('DOC_ID')\": 0, likewise documents, corpus",
    "webtext remove --verify STATEMENT --dir FOLDER: both for all of them, and for token shards",
    "webtext explain URL --dir FOLDER: whether the statement is about an address",
)


def paths_of(path: Path) -> tuple[Path, Path]:
    """The two files of the statement of a request."""
    return path.with_suffix(".statement.json"), path.with_suffix(".statement.txt")


def state(removal: Removal, names: Sequence[str] = ()) -> dict[str, Any]:
    """Write the statement of a request that was carried out; what it says. `names`: its lines as asked, to be named."""
    request = removal.request
    earlier = [
        other for other in map(removals.read, removals.paths(removal.root)) if other.asked_at <= request.asked_at
    ]
    lines = [
        {
            "number": line.number, "taken_as": line.kind, "mark": line.mark,
            **({"said": names[line.number - 1]} if names else {}),
            "links": line.links, "pages": line.pages, "documents": line.documents,
        }
        for line in request.lines
    ]  # fmt: skip
    statement = {
        "format": FORMAT,
        "asked_at": request.asked_at,
        "ended_at": request.ended_at,
        "lines": lines,
        "doc_ids": list(request.removed),
        "files": [
            {
                "file": change.file,
                "rows": change.rows,
                "sha256_before": change.sha256_before,
                "sha256_after": change.sha256_after,
            }
            for change in request.changes
        ],
        "checkpoints": checkpoints(removal, earlier),
        "held_before": request.held,
        "exports": exports(removal, earlier),
        "tokenizer": vocabulary(removal),
        "left": request.left,
        "returning": list(request.returning),
        "check": list(CHECKS),
    }
    as_json, as_text = paths_of(removal.path)
    storage.write_bytes(as_json, json.dumps(statement, indent=1, ensure_ascii=False).encode() + b"\n")
    storage.write_bytes(as_text, "\n".join(page(statement)).encode() + b"\n")
    return statement


def vocabulary(removal: Removal) -> dict[str, str]:
    """What the tokenizer keeps: the mark of a vocabulary that was learnt of the corpus, and why; {} of none."""
    tokenizer = artefact(removal.root, "tokenizer", removal.shards)
    receipt, manifest = tokenizer.receipt(0), tokenizer.manifest()
    learnt = receipt is not None and (manifest is None or "vocab_size" in manifest.settings)  # not of published merges
    if receipt is None or not learnt or not removal.request.removed:
        return {}
    why = f"merges that were learnt while the corpus held it stay, and may spell words or names of it; {ANEW}"
    return {"vocabulary": receipt.fingerprint, "why": why}


def page(statement: dict[str, Any]) -> list[str]:
    """A statement as text."""
    gone = [file for file in statement["files"] if not file["sha256_after"]]
    return [
        "Statement of a removal",
        "",
        f"Asked at {statement['asked_at']}, carried out by {statement['ended_at'] or '(not yet)'}.",
        "",
        "What was asked, and what it met:",
        *(
            f"  line {line['number']}: {line.get('said', line['mark'])}, taken as {KINDS[line['taken_as']]}: "
            f"{rows_told(line['links'], line['pages'], line['documents'])}"
            for line in statement["lines"]
        ),
        "",
        f"In no artefact any more: {counted(len(statement['doc_ids']), 'document')}. doc_ids:",
        *(f"  {doc_id}" for doc_id in statement["doc_ids"]),
        "",
        f"Rewritten without them: {counted(len(statement['files']) - len(gone), 'file')}; deleted: {len(gone)}:",
        *(
            f"  {file['file']}\n    before {file['sha256_before']}\n    after  {file['sha256_after'] or 'deleted'}"
            for file in statement["files"]
        ),
        "",
        "Models trained here:",
        *(f"  {line}" for line in checkpoint_lines(statement)),
        "",
        "Exports:",
        *([f"  {export['path']} ({export['format']}, {export['state']}): held it: {export['held']}; {export['why']}"
           for export in statement["exports"]] or ["  none is known"]),
        "",
        "The tokenizer:",
        *([f"  {statement['tokenizer']['why']}"] if statement["tokenizer"] else ["  has learnt nothing of it"]),
        "",
        "Not reached:",
        *([f"  {name}: {why}" for name, why in statement["left"].items()] or ["  nothing that is known"]),
        "  copies that somebody made of any of these files; versions that an object store keeps",
        "",
        "How to check it:",
        *(f"  {command}" for command in statement["check"]),
    ]  # fmt: skip


def checkpoint_lines(statement: dict[str, Any]) -> list[str]:
    """What a statement says of checkpoints, a line each."""
    lines = []
    for checkpoint in statement["checkpoints"]:
        step = checkpoint["step"]
        lines.append(f"{checkpoint['path']}: made from tokens that held it: {checkpoint['held']}; {checkpoint['why']}")
        lines += [
            f"  {doc_id}: {counted(seen['shown'], 'time')} by step {step} "
            f"(a part of it is in {counted(seen['windows'], 'window')})"
            for doc_id, seen in checkpoint.get("shown", {}).items()
        ]
    return lines or ["none"]


def answers(request: RemovalRequest, asked: Sequence[str] = ()) -> list[str]:
    """For a person, a line for each line of a list: as what it was taken, and what it met."""
    lines = []
    for line in request.lines:
        name = asked[line.number - 1] if len(asked) >= line.number else line.mark
        none = "" if line.links or line.pages or line.documents else "  <- NOTHING that is made; kept in mind"
        hint = "; a host is named without https:// and path" if line.kind == "url" and name.count("/") == 3 else ""
        lines.append(f"line {line.number}: {name}: taken as {KINDS[line.kind]}{hint}: {rows_of_line(line)}{none}")
    return lines


# --- checked again


def verify(root: Path, shards: int, path: Path) -> list[str]:
    """What was checked of a statement. Raises InputError: no statement; IntegrityError: it is not true here."""
    try:
        statement = json.loads(storage.read_bytes(path))
        if statement["format"] != FORMAT:
            raise ValueError(f"format {statement['format']!r}")
        files, doc_ids = statement["files"], set(statement["doc_ids"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no statement of a removal ({error})") from None
    here = {file["file"]: file for file in files if storage.exists(layout.lies(root, file["file"]))}
    found = {name: storage.sha256_of(storage.local(layout.lies(root, name))) for name in here}
    after = {file["sha256_after"] for file in files}
    old = {file["sha256_before"] for file in files} - after
    if stood := [name for name, sha256 in found.items() if sha256 in old]:
        raise IntegrityError(f"{root / stood[0]}: as it was before the removal (sha256 {found[stood[0]][:12]}…)")
    same = sum(sha256 in after for sha256 in found.values())
    gone = len({file["file"] for file in files}) - len(here)
    read = 0
    for file, ids in holding(root, shards):
        read += 1
        if held := doc_ids.intersection(ids):
            raise IntegrityError(f"{file}: holds {counted(len(held), 'removed document')}: {min(held)}")
    return [
        f"as the statement says: {counted(same, 'file')}; made anew since: {len(here) - same}; gone: {gone}",
        f"looked through {counted(read, 'table or token shard', 'tables and token shards')}: none holds any of its "
        f"{counted(len(doc_ids), 'document')}",
        *vocabulary_since(root, shards, statement.get("tokenizer")),
    ]


def vocabulary_since(root: Path, shards: int, then: dict[str, str] | None) -> list[str]:
    """Whether the vocabulary of a statement stands; nothing where it names none, as statements of old."""
    if not then:
        return []
    receipt = artefact(root, "tokenizer", shards).receipt(0)
    if receipt is not None and receipt.fingerprint == then["vocabulary"]:
        return [f"the tokenizer is as it was: {then['why']}"]
    return ["the tokenizer was learnt anew since" if receipt is not None else "the tokenizer is gone"]


def holding(root: Path, shards: int) -> Iterator[tuple[Path, list[str]]]:
    """(file, the doc_ids in it) of everything that holds documents or pages; of links what is left of them aside."""
    for name in (*STAGES, *SCRATCH):
        holder = artefact(root, name, shards) if name in STAGES else Artefact(root, name, shards)
        for shard in made(holder):
            for file in holder.made(shard).files:
                path = holder.named(shard, file)
                if path.suffix == ".arrow":
                    yield path, token_ids(path)
                elif path.suffix == ".parquet":
                    yield path, ids_of(path)
    for path in tables(root / "pages"):
        yield path, ids_of(storage.local(path))


def ids_of(path: Path) -> list[str]:
    """The doc_ids of a table, of links and posts only of those that have an address."""
    there = pq.read_schema(path).names
    if "doc_id" not in there:
        return []
    left = "url" in there
    table = schemas.read_parquet(path, ["doc_id", "url"] if left else ["doc_id"])
    rows = zip(
        table["doc_id"].to_pylist(), table["url"].to_pylist() if left else table["doc_id"].to_pylist(), strict=True
    )
    return [doc_id for doc_id, url in rows if url]


def token_ids(path: Path) -> list[str]:
    """The doc_ids of a token shard."""
    with pa.memory_map(str(path)) as file:
        ids: list[str] = pa.ipc.open_file(file).read_all()["doc_id"].to_pylist()
    return ids
