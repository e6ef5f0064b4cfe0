"""Exposure to what was removed: the checkpoints that were trained on its tokens, and how often; exports.

Choice: computed, not logged. A checkpoint says which token shards it was trained on and how many windows it was shown,
and which windows these were is a function of (seed, position); so it follows how often each window that held a part of
a document was shown. Cost: the last epoch of each run is enumerated (a million windows in 0.2 s). Alternative: a log of
all windows, of which a run of 2019's length would write gigabytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.build import artefact
from pipeline.shards import storage
from pipeline.shards.locations import mirror, name_of
from pipeline.shards.outcomes import WebTextError
from pipeline.shards.receipts import Artefact, mark_of
from pipeline.shards.removals import RemovalRequest, Span
from pipeline.verbs.remove.removal import Removal
from pipeline.verbs.remove.search import concerned, made
from pipeline.verbs.remove.traces import ABOUT, lying

RECORD = "checkpoint.json"
EXPORTS = "exports.json"  # where exports went: `webtext export` writes it
CHUNK = 1 << 20  # windows enumerated at once


def spans(removal: Removal) -> tuple[Span, ...]:
    """Where the tokens of what has to go lie, before they are overwritten."""
    tokens = artefact(removal.root, "tokens", removal.shards)
    found: list[Span] = []
    for shard in concerned(tokens, removal.where):
        for split in ("train", "val") if tokens.receipt(shard) is not None else ():
            path = tokens.file(shard, ".arrow", split)
            with pa.memory_map(str(path)) as file:
                batch = pa.ipc.open_file(file).get_batch(0)
                ends = batch["tokens"].offsets.to_numpy()
                hit = pc.is_in(batch["doc_id"], value_set=removal.doomed_ids)
                for row in pc.indices_nonzero(hit).to_pylist():
                    name = tokens.file_name(shard, ".arrow", split)
                    first, last = (int(end - ends[0]) for end in ends[row : row + 2])
                    found.append(Span(batch["doc_id"][row].as_py(), name, first, last))
    return tuple(found)


def held(removal: Removal) -> dict[str, str]:
    """The marks of what token shards, those of `train` alone, and corpus shards hold now: see `RemovalRequest.held`."""
    files = {stage: contents_of(artefact(removal.root, stage, removal.shards)) for stage in ("tokens", "corpus")}
    train = {name: sha256 for name, sha256 in files["tokens"].items() if name.startswith("train/")}
    return {name: mark_of(stamps) for name, stamps in {**files, "train": train}.items() if stamps}


def contents_of(artefact: Artefact) -> dict[str, str]:
    """The sha256 of every file of an artefact as it is now, but for evidence."""
    found = {name: sha256 for shard in made(artefact) for name, sha256 in artefact.contents(shard).items()}
    return {name: sha256 for name, sha256 in found.items() if not name.startswith("removed/")}


# --- checkpoints


def checkpoints(removal: Removal, requests: Iterable[RemovalRequest]) -> list[dict[str, Any]]:
    """Of each checkpoint of the working directory whether it was trained on what the request removed, and how often.

    `requests`: all up to this one, oldest first.
    """
    found = []
    for path in lying(removal.root):
        if path.name == RECORD and path.relative_to(removal.root).parts[0] == "model":
            record = json.loads(storage.read_bytes(path))["record"]
            about = {"path": str(path.parent.relative_to(removal.root)), "step": record["step"]}
            about["sha256"] = storage.sha256_of(storage.local(path))
            found.append(about | exposed(removal, record, list(requests)))
    return found


def exposed(removal: Removal, record: Mapping[str, Any], requests: list[RemovalRequest]) -> dict[str, Any]:
    """`held` ("yes", "no", "unknown"), `why`, and how often each document was `shown`."""
    try:
        from trainer.data import Windows, load_split, permuted  # noqa: PLC0415 - torch, an extra, and 2 s to import

        data = load_split(removal.root, "train")
    except ModuleNotFoundError:
        return {"held": "unknown", "why": "the trainer is not installed: pip install 'webtext[train]'"}
    except WebTextError as error:
        return {"held": "unknown", "why": f"the tokens do not stand: {error}"}
    identity = record["identity"]
    if identity.get("data") != data.fingerprint[:16]:
        return {"held": "unknown", "why": "made from other tokens than those that stand here now"}
    trained = [span for span in removal.request.spans if span.file.startswith("train/")]
    if not trained:
        return {"held": "no", "why": "its tokens held none of the documents"}
    windows = Windows(data, identity["train.block"], identity["train.seed"])
    consumed = record.get("consumed")
    if consumed is None:
        consumed = record["step"] * identity["train.batch"] * identity["train.accumulate"]
    shown, between = {}, held_between(record.get("contents") or {}, consumed, requests)
    for span in trained:
        mine = windows_of(windows, span)
        times = sum(
            sign * visits(mine, windows.count, windows.seed, at, permuted)
            for begin, end in between
            for sign, at in ((-1, begin), (1, end))
        )
        shown[span.doc_id] = {"windows": len(mine), "shown": times}
    why = "its tokens held them until the removal" if between else "trained after they were overwritten"
    if not record.get("contents"):
        why += "; at most so often: it does not say when it saw which bytes"
    return {"held": "yes" if between else "no", "why": why, "shown": shown}


def held_between(contents: Mapping[str, int], consumed: int, requests: list[RemovalRequest]) -> list[tuple[int, int]]:
    """From which to which window a run was shown token shards that held what the last of `requests` removed.

    `contents`: the fingerprint of what shards held -> windows shown before; none: all of the run is taken for it.
    """
    if not contents:
        return [(0, consumed)]
    before = {"", *(request.held.get("train", "") for request in requests)}  # "": not known, and taken for it
    begins = sorted((begin, mark) for mark, begin in contents.items())
    ends = [begin for begin, _ in begins[1:]] + [consumed]
    return [(begin, end) for (begin, mark), end in zip(begins, ends, strict=True) if mark in before and end > begin]


def windows_of(windows: Any, span: Span) -> range:
    """The windows that show a token of a document: w of a shard shows its tokens w x block to (w + 1) x block."""
    name = span.file.partition("/")[2]
    shard = next(number for number, token_shard in enumerate(windows.data.shards) if token_shard.path.name == name)
    before = int(windows.ends[shard - 1]) if shard else 0
    count = int(windows.ends[shard]) - before
    first = max(0, -(-span.first // windows.block) - 1)
    return range(before + min(first, count), before + min((span.last - 1) // windows.block + 1, count))


def visits(mine: range, count: int, seed: int, shown: int, permuted: Any) -> int:
    """How often windows of a range are among the first `shown` of the stream."""
    if not count or not mine:
        return 0
    epochs, rest = divmod(shown, count)
    hits = 0
    for start in range(0, rest, CHUNK):
        windows = permuted(np.arange(start, min(rest, start + CHUNK), dtype=np.int64), count, f"{seed}:{epochs}")
        hits += int(((windows >= mine.start) & (windows < mine.stop)).sum())
    return epochs * len(mine) + hits


# --- exports


def exports(removal: Removal, requests: list[RemovalRequest]) -> list[dict[str, Any]]:
    """Of each export that is known whether it held what the last of the requests removed, and where it is now."""
    deleted = {change.file for change in removal.request.changes if not change.sha256_after}
    found = {}
    for name, about in known_exports(removal.root):
        folder = mirror(name)
        inside = folder.relative_to(removal.root).as_posix() if folder.is_relative_to(removal.root) else ""
        gone = f"{inside}/{ABOUT}" in deleted
        there = storage.exists(folder / ABOUT)
        state = "deleted" if gone else "not there any more" if not there else "there" if inside else "not reached"
        found[inside or name] = {"format": about.get("format"), "state": state}
        found[inside or name] |= held_by(removal, requests, about, gone)
    return [{"path": path, **state} for path, state in sorted(found.items())]


def known_exports(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(folder, what it says of itself) of each export that was noted, or lies below the working directory."""
    noted = json.loads(storage.read_bytes(root / EXPORTS)) if storage.exists(root / EXPORTS) else {}
    yield from noted.items()
    for path in lying(root):
        if path.name == ABOUT:
            yield name_of(path.parent), json.loads(storage.read_bytes(path))


def held_by(removal: Removal, requests: list[RemovalRequest], about: Mapping[str, Any], gone: bool) -> dict[str, str]:
    """Whether an export held what the last of the requests removed, by the mark of what it was made from."""
    if about.get("format") == "hf":
        return {"held": "unknown", "why": f"a model, of step {about.get('step')}: see the checkpoints"}
    if gone:
        return {"held": "yes", "why": "its files held them"}
    if not about.get("made_from"):
        return {"held": "unknown", "why": "it does not say what it was made from"}
    if not removal.request.removed:
        return {"held": "no", "why": "nothing that was built held any of them"}
    ((stage, mark),) = about["made_from"].items()
    if mark in {request.held.get(stage) for request in requests}:
        return {"held": "yes", "why": f"made from {stage} as they were before"}
    return {"held": "no", "why": f"made from other {stage} than those before"}
