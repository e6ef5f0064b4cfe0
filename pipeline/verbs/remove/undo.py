"""Removal requests taken back: what they kept away may come again, from where it came.

Choice: a line that is taken back is forgotten, and the shards that its request rewrote lose their receipts, so that the
next build makes them anew from the user's files. Cost: those shards, whole. Alternative: keep what was removed for a
while, which is no removal.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pipeline.build import STAGES, same_shards
from pipeline.shards import layout, lease, removals, storage
from pipeline.shards.receipts import Artefact
from pipeline.shards.removals import Line, RemovalRequest
from pipeline.verbs.remove.rows import BY_NAME

LOST = {
    "pages/segments/": "what was crawled for it is gone; the web is asked again, and may have another page, or none",
    "pages/commoncrawl/": "what was fetched of Common Crawl is gone: it is fetched again",
    ".sqlite": "its submissions went out of the ledger of the harvest: they come back if Reddit shows them again",
    "metrics.jsonl": "what a training logged of its host is gone",
    "model/": "models trained since do not know it",
}


def undo(root: Path, shards: int, lines: Sequence[str]) -> list[str]:
    """Take back what a list names; for a person, what came of each line, and what of it cannot come back.

    Raises as `remove`; BusyError also while a removal was cut short.
    """
    asked = removals.request_of(lines, datetime.now(UTC), whole_suffix=True)
    answers: list[str] = []
    with lease.lock(root):
        same_shards(root, shards)
        removals.refuse_unfinished(root)
        requests = {path: removals.read(path) for path in removals.paths(root)}
        for line in asked.lines:
            entry, named = removals.entry_of(lines[line.number - 1]), 0
            for path, request in requests.items():
                kept = tuple(listed for listed in request.lines if not same(listed, line))
                if len(kept) < len(request.lines):
                    named += 1
                    answers += [f"line {line.number}: {entry}: {why}" for why in lost(request)]
                    forget(root, request)
                    undone = request.undone + len(request.lines) - len(kept)
                    requests[path] = msgspec.structs.replace(request, lines=kept, undone=undone)
                    removals.write(path, requests[path])
                    forget_came(root, shards)
                    forget_parsed(root)
            answers.append(f"line {line.number}: {entry}: {back(named)}")
    return answers


def same(line: Line, other: Line) -> bool:
    """Whether two lines name the same."""
    kinds = {"url": "doc_id"}
    return line.mark == other.mark and kinds.get(line.kind, line.kind) == kinds.get(other.kind, other.kind)


def back(named: int) -> str:
    """What came of one line."""
    if not named:
        return "NO request names it; nothing was taken back"
    return "taken back; the next 'webtext build' makes the shards concerned anew, from your own files"


def lost(request: RemovalRequest) -> list[str]:
    """What cannot come back of a request, and why."""
    found = {why for change in request.changes for mark, why in LOST.items() if mark in change.file}
    return sorted(found)


def forget_came(root: Path, shards: int) -> None:
    """Forget which links came after a request that named their post; the next build reads the sources anew."""
    if removals.came_in(root):
        for name in ("scratch/submissions", "links"):
            for shard in range(shards):
                storage.remove(Artefact(root, name, shards).receipt_path(shard))
        storage.remove(root / removals.FOLDER / removals.CAME)


def forget_parsed(root: Path) -> None:
    """Forget what was parsed of input files: what came after the request was never written there."""
    for name in BY_NAME:
        parsed = Artefact.of_names(root, name)
        for shard in range(parsed.shards):
            storage.remove(parsed.receipt_path(shard))


def forget(root: Path, request: RemovalRequest) -> None:
    """Take the receipts of the shards that a request rewrote, so that they are made anew."""
    for change in request.changes:
        path = root / change.file
        first = (layout.today(change.file) or change.file).partition("/")[0]
        stage = layout.BESIDE.get(first, first)
        if stage not in (*STAGES, "scratch") or "/segments/" in change.file or "/commoncrawl/" in change.file:
            continue
        folder = root / stage if stage != "scratch" else root.joinpath(*Path(change.file).parts[:2])
        storage.remove(folder / layout.RECEIPTS / f"{path.stem}.json")
        storage.remove(folder / layout.MANIFEST)
