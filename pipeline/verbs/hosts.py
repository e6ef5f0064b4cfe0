"""What became of the pages of a host and of all names under it: of each stage, how many met which end.

Choice: counted anew from two columns of every shard whenever somebody asks. Cost: a second or two a million links.
Alternative: a table by host beside every artefact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from pipeline.counts import counted
from pipeline.shards import removals, schemas
from pipeline.shards.outcomes import FATES, InputError, Outcome
from pipeline.shards.receipts import Artefact
from pipeline.status import ArtefactStatus

PARTS = {"links": ("",), "pages": ("",), "documents": ("",), "corpus": ("", "removed")}


def of_host(
    root: Path, statuses: Mapping[str, ArtefactStatus], host: str
) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """(one sentence, (stage, rows by outcome) of each stage that is whole). Raises InputError: no link of the host."""
    names: Counter[str] = Counter()
    counts: dict[str, Counter[str]] = {}
    for stage, parts in PARTS.items():
        standing = statuses[stage]
        if standing.manifest is None:
            break
        made = Artefact(root, stage, standing.shards)
        counts[stage] = Counter()
        for part in parts:
            for name, outcome, rows in ends_of(made, host, part):
                counts[stage][outcome] += rows
                names[name] += rows if stage == "links" else 0
    asked_to_go = removals.Removals.of(root).cover_host(host)
    if not names and not asked_to_go:
        raise InputError(f"{host}: no submission or list in {root} links to this host, or to a name under it")
    stages: list[tuple[str, dict[str, Any]]] = []
    for stage, found in counts.items():
        stages.append((stage, {fate: found[fate] for fate in map(str, FATES[stage]) if found[fate]}))
    if len(names) > 1:
        stages.insert(0, ("hosts", dict(names.most_common())))
    return sentence(host, counts, asked_to_go), stages


def sentence(host: str, counts: Mapping[str, Counter[str]], asked_to_go: bool) -> str:
    """The sentence: `example.org: 120 links, 90 kept; 80 pages of these; 60 documents in the corpus, 15 removed`."""
    kept = str(Outcome.KEPT)
    links = counts.get("links", Counter())
    parts = [f"{counted(links.total(), 'link')}, {links[kept]:,} kept"]
    if "pages" in counts:
        parts.append(f"{counted(counts['pages'][kept], 'page')} of these")
    if "documents" in counts:
        parts.append(f"{counts['documents'][kept]:,} with text")
    if "corpus" in counts:
        corpus = counts["corpus"]
        parts.append(f"{corpus[kept]:,} in the corpus, {corpus.total() - corpus[kept]:,} removed from it")
    gone = "Removed on request: " if asked_to_go else ""
    return f"{gone}{host}: {'; '.join(parts)}"


def ends_of(made: Artefact, host: str, part: str) -> Iterator[tuple[str, str, int]]:
    """(host, outcome, rows) of each name under a host in a part of an artefact; rows of the corpus are kept."""
    outcome = [] if made.name == "corpus" and not part else ["outcome"]
    for shard in range(made.shards):
        table = schemas.read_parquet(made.file(shard, ".parquet", part), ["host", *outcome])
        under = pc.or_(pc.equal(table["host"], host), pc.ends_with(table["host"], f".{host}"))
        groups = table.filter(under).group_by(["host", *outcome]).aggregate([([], "count_all")]).to_pylist()
        yield from ((row["host"], row.get("outcome", str(Outcome.KEPT)), row["count_all"]) for row in groups)
