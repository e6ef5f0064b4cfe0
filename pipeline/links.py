"""submissions → links: one row a URL with all its submissions, and whether the recipe keeps it.

Choice: two exchanges. Submissions, parsed once a source (see `sources`), first go to a scratch shard by the hash of
their URL, which spreads any host evenly and is where repeated ids meet; then, with the links of large hosts counted, to
the shard of their host, or to those that it is spread over, where each link gets its outcome. Cost: submissions are
written three times more, below `scratch/`; a change of karma or of a list decides again without reading a dump.
Alternative: one exchange by host, which puts all links of the largest host on one shard before anybody could count
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import sources, urls
from pipeline.config import Settings, slice_of
from pipeline.shards import inputs, receipts, schemas
from pipeline.shards.receipts import Artefact, Manifest, Task
from pipeline.shards.removals import Removals, keep_came
from pipeline.shards.runner import Run
from pipeline.submissions.decide import LISTS, Rules, decided
from pipeline.submissions.ledger import snapshots

VERSION = 4
LIBRARIES = ("ada-url", "msgspec", "numpy", "pyarrow")
SCATTER_ROWS = 500_000  # of scratch shards read together, so that blocks are few and large
SPLITS = "scratch/splits-of-submissions.json"
SOURCES = ("submissions", "bigquery", "bigquery_days")  # settings that say what is read


def stage(settings: Settings, work: Path, run: Run) -> Manifest:
    """A Parquet shard of LINKS per shard of the build, sorted by URL.

    Raises ConfigError (no source named), InputError (a source is missing or damaged, a list cannot be read).
    """
    shards = settings.build.shards
    rules = Rules.of(settings.links, work)
    folders: list[str] = []
    named = sources.find(settings.links, work, folders)
    paths = snapshots(named, work / "scratch" / "ledgers") + sources.exported(settings.links, work, run)
    paths, left_out = sources.sorted_out(paths, folders)
    read_from, parsed, submissions = sources.collect(paths, work, shards, run, settings.build.windows_bytes)
    splits = splits_among(submissions)
    links = Artefact(work, "links", shards)
    used = {name: value for name, value in slice_of(settings.links).items() if name not in (*SOURCES, *LISTS)}
    read = [submissions.hashes(shard) for shard in range(shards)]
    decided_by = [urls.CANONICAL_VERSION, splits, shards, rules.described(), read]  # what is read, not where it lies
    tasks = links.begin([receipts.fingerprint("links", VERSION, used, decided_by, LIBRARIES)] * shards)
    if tasks:
        scatter, gather = partial(scatter_shards, submissions, splits), partial(decide_shard, rules, splits, links)
        run.exchange(scatter, list(groups(submissions)), gather, tasks)
    if (removals := Removals.of(work)).submissions:
        keep_came(work, sources.posted_by_name(submissions))
        sources.forget_came(parsed, removals.came)
    notes = sources.notes_of(read_from, parsed, left_out)
    books = {sources.STEP: sources.submission_counts(parsed, submissions)}
    return links.finish(used, LIBRARIES, books=books, notes=notes)


def splits_among(submissions: Artefact) -> dict[str, int]:
    """Hosts too large for one shard, and over how many each is spread; counted once for a state of all rows."""
    return inputs.remembered(submissions.root / SPLITS, submissions.mark(), partial(split, submissions), dict[str, int])


def split(submissions: Artefact) -> dict[str, int]:
    """The same, from all rows."""
    return urls.split_hosts(*count_links(submissions), submissions.shards)


def count_links(submissions: Artefact) -> tuple[dict[str, int], int]:
    """Links of each host that may have more than 2/N of all (N scratch shards), and the number of all links.

    Such a host has more than 2/N of the links of at least one scratch shard; only these few are counted, in a second
    pass, so that memory does not grow with the number of hosts.
    """
    large: set[str] = set()
    total = 0
    for counts in counts_of(submissions):
        links = pc.sum(counts["links"]).as_py() or 0
        over = pc.greater(pc.multiply(counts["links"], submissions.shards), 2 * links)
        large.update(host for host in counts.filter(over)["host"].to_pylist() if host)
        total += links
    found: Counter[str] = Counter()
    for counts in counts_of(submissions):
        rows = counts.filter(pc.is_in(counts["host"], pa.array(sorted(large), pa.string())))
        found.update(dict(zip(rows["host"].to_pylist(), rows["links"].to_pylist(), strict=True)))
    return dict(found), total


def counts_of(submissions: Artefact) -> Iterator[pa.Table]:
    """Of each scratch shard how many links its hosts have: host, links."""
    for shard in range(submissions.shards):
        # without a host: what is left of removed links; they count among all, so that nobody else is spread anew
        table = schemas.read_parquet(submissions.file(shard, ".parquet"), ("host", "doc_id"))
        yield table.group_by("host").aggregate([("doc_id", "count_distinct")]).rename_columns(["host", "links"])


def groups(submissions: Artefact) -> Iterator[tuple[int, ...]]:
    """The scratch shards in groups of about SCATTER_ROWS rows, so that blocks are large."""
    group: list[int] = []
    rows = 0
    for shard, receipt in enumerate(submissions.receipts()):
        group.append(shard)
        rows += sum(stamp.rows for stamp in receipt.files.values())
        if rows >= SCATTER_ROWS:
            yield tuple(group)
            group, rows = [], 0
    if group:
        yield tuple(group)


def scatter_shards(submissions: Artefact, splits: Mapping[str, int], group: Sequence[int]) -> Iterator[schemas.Block]:
    """The rows of some scratch shards as (shard, block of SUBMISSIONS)."""
    table = pa.concat_tables([schemas.read_parquet(submissions.file(shard, ".parquet")) for shard in group])
    yield from schemas.scatter(table, owners(table, splits, submissions.shards))


def owners(table: pa.Table, splits: Mapping[str, int], shards: int) -> NDArray[np.int32]:
    """The shard of each row, by `urls.shard_of`, which is asked once a host that is not split.

    What is left of removed links has no host, and goes anywhere.
    """
    splits = {**splits, "": shards}
    hosts = table["host"].combine_chunks().dictionary_encode()
    names = hosts.dictionary.to_pylist()
    homes = np.array([urls.shard_of(name, "", shards, {}) for name in names], np.int32)
    found: NDArray[np.int32] = homes[hosts.indices.to_numpy()]
    split = pc.is_in(table["host"], pa.array(sorted(splits), pa.string())).to_numpy()
    rows = table.filter(split)
    keys = zip(rows["host"].to_pylist(), rows["doc_id"].to_pylist(), strict=True)
    found[split] = [urls.shard_of(*key, shards, splits) for key in keys]
    return found


def decide_shard(
    rules: Rules, splits: Mapping[str, int], links: Artefact, task: Task, blocks: Iterable[pa.Table]
) -> None:
    """Write one shard of LINKS, its counts, and how many links each reading of karma would admit."""
    found = decided(schemas.unpack(blocks, schemas.SUBMISSIONS), rules, splits)
    with links.attempt(task) as attempt:
        with attempt.write(".parquet") as file:
            rows = schemas.write_parquet(file, [found.links], schemas.LINKS)
        attempt.rows(".parquet", rows)
        counts = receipts.balanced("links", rows, found.outcomes)
        admitted = {f"admitted_by_{reading}": count for reading, count in found.admitted.items()}
        attempt.commit({"links": counts}, counts=admitted)
