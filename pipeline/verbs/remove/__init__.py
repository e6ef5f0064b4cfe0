"""Pages taken out, on request, of everything that has been built; and the proof that they were.

Choice: a request is written, then searched for, then carried out file by file, and noted at each step, so that a kill
leaves it to be ended by the next command; afterwards it is what every build asks. Cost: a build waits for a request
that was cut short. Alternative: a build from the beginning, which takes days and proves nothing.

Left as they are: files that a user brought, which the answer names; merges of the tokenizer; trained models.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow.compute as pc

from pipeline.build import artefact, same_shards
from pipeline.config import Settings
from pipeline.counts import counted
from pipeline.fetch.forget import forget, tables
from pipeline.fetch.shelf import sweep
from pipeline.shards import layout, lease, leftovers, progress, removals, schemas
from pipeline.shards.outcomes import Outcome
from pipeline.verbs.remove.exposure import held, spans
from pipeline.verbs.remove.removal import Removal
from pipeline.verbs.remove.rows import take_out
from pipeline.verbs.remove.search import made, search, searched, where
from pipeline.verbs.remove.statement import answers, paths_of, state, verify, vocabulary
from pipeline.verbs.remove.traces import erase_traces
from pipeline.verbs.remove.undo import undo

SEARCHED = 3  # artefacts: links, pages, and what archives hold

__all__ = ["Removal", "answers", "foreseen", "remove", "report", "undo", "verify"]


def remove(
    root: Path,
    shards: int,
    lines: Sequence[str],
    now: datetime | None = None,
    *,
    settings: Settings | None = None,
    whole_suffix: bool = False,
    name_addresses: bool = False,
) -> list[Removal]:
    """Carry out a list of URLs, hosts, doc_ids and submission ids, and what was cut short before it.

    `settings`: to name the user's files that may hold it; `whole_suffix`: a public suffix may be named;
    `name_addresses`: the statement says the lines as they were. Raises InputError: a line that is none of these;
    BusyError: another run holds `root`; ConfigError: `shards` is not the number that `root` was begun with.
    """
    moment = now or datetime.now(UTC)
    asked = removals.request_of(lines, moment, whole_suffix) if lines else None
    with lease.lock(root):
        same_shards(root, shards)
        leftovers.sweep(root)
        every = removals.paths(root)
        if asked is not None:
            mine = root / removals.FOLDER / f"{1 + max((int(path.stem) for path in every), default=0):04d}.json"
            removals.write(mine, asked)
            every = [*every, mine]
        each = [Removal(root, shards, path, removals.read(path)) for path in every]
        waiting = [removal for removal in each if not removal.request.ended_at]
        for removal in waiting:
            carry_out(removal, settings)
            names = [removals.entry_of(line) for line in lines] if name_addresses and removal.path == every[-1] else []
            removal.request = msgspec.structs.replace(removal.request, ended_at=removals.stamp(moment))
            state(removal, names)
            removals.write(removal.path, removal.request)  # last: from now on builds go on
    return waiting


def foreseen(root: Path, shards: int, lines: Sequence[str], whole_suffix: bool = False) -> list[str]:
    """What each line of a list would meet, for a person; nothing is changed. Raises as `remove`, but BusyError."""
    request = removals.request_of(lines, datetime.now(UTC), whole_suffix)
    same_shards(root, shards)
    with progress.phase("searching", shards * SEARCHED, noun="shards"):
        found = searched(request, search(root, shards, request))
    return [*answers(found, [removals.entry_of(line) for line in lines]), "a dry run: nothing was changed"]


def carry_out(removal: Removal, settings: Settings | None) -> None:
    """Search for what a request names, take it out of everything, and note the proof."""
    if removal.request.searched:  # cut short after that
        removal.where = where(removal.root, removal.shards, removal.request.removed)
    else:
        with progress.phase("searching", removal.shards * SEARCHED, noun="shards"):
            met = search(removal.root, removal.shards, removal.request)
        removal.request, removal.where = searched(removal.request, met), met.shards
        removal.note(spans=spans(removal), held=held(removal), returning=tuple(sorted(returning(removal))))
    sweep(removal.root / "pages", older_s=0.0)  # segments that a kill left without a table
    for path in tables(removal.root / "pages"):
        forget(path, removal.fetched)
    with progress.phase("writing again", noun="shards"):
        take_out(removal)
    with progress.phase("erasing traces", noun="files"):
        erase_traces(removal, settings)


def returning(removal: Removal) -> set[str]:
    """The doc_ids that lost to a doomed keeper, and are not doomed themselves. What stands elsewhere stays there."""
    corpus = artefact(removal.root, "corpus", removal.shards)
    found: set[str] = set()
    for shard in made(corpus):
        table = schemas.read_parquet(corpus.file(shard, ".parquet", "removed"), ("doc_id", "outcome", "keeper"))
        table = table.filter(pc.not_equal(table["outcome"], str(Outcome.DUPLICATE_ELSEWHERE)))
        found.update(table.filter(pc.is_in(table["keeper"], value_set=removal.doomed_ids))["doc_id"].to_pylist())
    return found - removal.doomed


def report(removal: Removal, lines: Sequence[str] = ()) -> list[str]:
    """What a removal did, for a person; `lines`: the list, to be told of its lines in their own words."""
    request = removal.request
    rows: dict[str, int] = {}
    for change in request.changes:
        first = change.file.partition("/")[0]
        fetched = "/segments/" in change.file or "/commoncrawl/" in change.file
        name = "fetched" if fetched else layout.BESIDE.get(first, first)
        rows[name] = rows.get(name, 0) + change.rows
    counts = ", ".join(f"{name} {count}" for name, count in rows.items()) or "nothing built held any of them"
    as_json, as_text = paths_of(removal.path)
    built = any(change.file.startswith(("links/", "documents/")) for change in request.changes)
    links, files = counted(len(request.removed), "link"), counted(len(request.changes), "file")
    return [
        *answers(request, [removals.entry_of(line) for line in lines]),
        f"{links} removed; rows: {counts}; {files} rewritten or deleted",
        *(
            f"had lost to a removed page, comes back at the next 'webtext build': {doc_id}"
            for doc_id in request.returning
        ),
        *(f"not reached: {name}: {why}" for name, why in request.left.items()),
        *([f"the tokenizer: {kept['why']}"] if (kept := vocabulary(removal)) else []),
        *(["next: webtext build, which decides the corpus anew without them; until then it is stale"] if built else []),
        f"statement: {as_text} and {as_json.name}",
    ]
