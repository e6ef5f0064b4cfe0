"""Filtering of links: all submissions of a shard's links become one decided row a URL.

Choice: Arrow and NumPy over a whole shard; Python looks at each host once, and at a URL only for the suffix of its
path. Cost: a shard's rows lie in memory, sorted twice, so shards must be of some 20,000 links. Alternative: a function
a link, which reads better and is the oracle of the test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import urls
from pipeline.config import LinksSettings
from pipeline.shards import schemas, storage
from pipeline.shards.locations import mirror
from pipeline.shards.outcomes import Outcome
from pipeline.shards.removals import Removals, hidden
from pipeline.urls import HostList

READINGS = ("max", "sum", "first")  # of karma: see `config.LinksSettings.karma_of`
LISTS = ("blocked_hosts", "blocked_suffixes", "blocked_domains", "blocked_subreddits")  # settings that name files
Flags = NDArray[np.bool_]


def list_file(work: Path, name: str) -> Path | None:
    """The path of a user's list, which is here if it is anywhere; None where none is named."""
    if not name:
        return None
    path = work / mirror(name)
    with suppress(FileNotFoundError):  # said better by who reads it
        storage.local(path)
    return path


@dataclass(frozen=True)
class Rules:
    """What decides the outcome of a link."""

    karma: int
    karma_of: str
    over_18: bool
    wikipedia: HostList
    hosts: HostList
    domains: HostList
    suffixes: tuple[str, ...]
    subreddits: frozenset[str]  # in lower case: Reddit tells no case apart

    @classmethod
    def of(cls, links: LinksSettings, work: Path) -> Rules:
        """The rules of `[links]`; a user's list is relative to `work`. Raises InputError: a list that is none."""
        hosts, suffixes, domains, subreddits = (list_file(work, getattr(links, key)) for key in LISTS)
        listed = urls.file_entries(suffixes) if suffixes else urls.packaged_entries("blocked_suffixes.txt")
        names = urls.file_entries(subreddits) if subreddits else ()
        return cls(
            links.karma,
            links.karma_of,
            links.over_18,
            HostList.packaged("wikipedia_hosts.txt"),
            HostList.from_file(hosts) if hosts else HostList.packaged("blocked_hosts.txt"),
            HostList.from_file(domains) if domains else HostList(frozenset()),
            tuple(suffix.lower() for suffix in listed),
            frozenset(name.lower().removeprefix("/").removeprefix("r/") for name in names),
        )

    def described(self) -> list[Any]:
        """The lists, JSON-able, for fingerprints."""
        hosts = [sorted(each.hosts) for each in (self.wikipedia, self.hosts, self.domains)]
        return [*hosts, sorted(self.suffixes), sorted(self.subreddits)]

    def of_host(self, host: str) -> Outcome:
        """The first rule that refuses all links of a host, or KEPT."""
        tests = (
            (urls.is_reddit(host), Outcome.REDDIT_HOST),
            (host in self.wikipedia, Outcome.WIKIPEDIA_HOST),
            (host in self.hosts, Outcome.BLOCKED_HOST),
            (host in self.domains, Outcome.BLOCKED_DOMAIN),
        )
        return next((outcome for refused, outcome in tests if refused), Outcome.KEPT)


@dataclass(frozen=True)
class Decided:
    """The links of a shard: LINKS sorted by URL, how many met each outcome, and how many each reading would admit."""

    links: pa.Table
    outcomes: Counter[str]
    admitted: dict[str, int]


def decided(rows: pa.Table, rules: Rules, splits: Mapping[str, int]) -> Decided:
    """The links of some rows of SUBMISSIONS, in any order, without repeats; `splits` is that of `split_hosts`.

    A link meets the first rule that refuses it: where it leads, then how it was posted, then its karma. What a list of
    addresses names was posted by nobody: it counts as posted well, and as having the karma. A row without an address is
    what `forgotten` left of a link.
    """
    removed = rows["doc_id"].filter(pc.equal(rows["url"], ""))
    rows = rows.filter(pc.not_equal(rows["url"], ""))
    rows = rows.sort_by([(name, "ascending") for name in ("url", "created", "id")]).combine_chunks()
    starts = first_of_each(rows["url"])
    score, posted = scores_of(rows, starts)
    listed = ~np.logical_and.reduceat(score_known(rows), starts) if len(starts) else np.zeros(0, np.bool_)
    enough = {name: listed | (posted & (score[name] >= rules.karma)) for name in READINGS}
    links = rows.select(["url", "doc_id", "host"]).take(starts)
    outcome = outcomes_of(links, rows, starts, rules, enough[rules.karma_of])
    counted = np.where(posted, score[rules.karma_of], rules.karma)
    columns = {
        **{name: links[name] for name in links.column_names},
        "fetch_url": best_first(rows)["fetch_url"].take(starts),
        "score": np.where(listed, np.maximum(counted, rules.karma), counted),
        **{f"score_{name}": pa.array(score[name], mask=~posted) for name in READINGS},
        "listed": listed,
        "created": rows["created"].take(starts),
        "submissions": submissions_of(rows, starts),
        "host_shards": each_host(links["host"], lambda host: splits.get(host, 1)),
        "outcome": outcome,
    }
    table = pa.table([columns[name] for name in schemas.LINKS.names], schema=schemas.LINKS)
    table = pa.concat_tables([blank_links(removed), table])
    open_to_karma = np.isin(outcome, [Outcome.KEPT.value, Outcome.LOW_KARMA.value])
    admitted = {name: int((open_to_karma & enough[name]).sum()) for name in READINGS}
    return Decided(table, Counter([*outcome.tolist(), *[Outcome.REMOVED.value] * len(removed)]), admitted)


def first_of_each(values: pa.ChunkedArray) -> NDArray[np.int64]:
    """Where each run of equal values begins."""
    if not len(values):
        return np.zeros(0, np.int64)
    changes = pc.not_equal(values.slice(1), values.slice(0, len(values) - 1)).to_numpy()
    return np.concatenate([[0], np.flatnonzero(changes) + 1])


def score_known(rows: pa.Table) -> Flags:
    """Which rows are posts: a row of a list has no score."""
    known: Flags = rows["score"].is_valid().to_numpy()
    return known


def scores_of(rows: pa.Table, starts: NDArray[np.int64]) -> tuple[dict[str, NDArray[np.int64]], Flags]:
    """Karma of each link by each reading, and which links have any; rows are sorted by time, those of lists last."""
    if not len(starts):
        return dict.fromkeys(READINGS, np.zeros(0, np.int64)), np.zeros(0, np.bool_)
    score = rows["score"].fill_null(0).to_numpy()
    lowest = np.where(score_known(rows), score, np.iinfo(np.int64).min)
    posted = np.logical_or.reduceat(score_known(rows), starts)
    highest = np.where(posted, np.maximum.reduceat(lowest, starts), 0)
    return {"max": highest, "sum": np.add.reduceat(score, starts), "first": score[starts]}, posted


def best_first(rows: pa.Table) -> pa.Table:
    """The rows, of each URL the one with the highest score first: its spelling is what is fetched."""
    keys = [("url", "ascending"), ("score", "descending"), ("created", "ascending"), ("fetch_url", "ascending")]
    return rows.sort_by(keys)


def submissions_of(rows: pa.Table, starts: NDArray[np.int64]) -> pa.Array:
    """Of each link the list of its submissions, earliest first."""
    fields = [rows[field.name].combine_chunks() for field in schemas.SUBMISSION]
    structs = pa.StructArray.from_arrays(fields, fields=list(schemas.SUBMISSION))
    return pa.ListArray.from_arrays(pa.array([*starts, len(rows)], pa.int32()), structs)


def outcomes_of(
    links: pa.Table, rows: pa.Table, starts: NDArray[np.int64], rules: Rules, enough_karma: Flags
) -> NDArray[np.object_]:
    """The outcome of each link."""
    found = np.asarray(each_host(links["host"], lambda host: rules.of_host(host).value), np.object_)
    if not len(starts):
        return found
    kept = Outcome.KEPT.value
    left = np.flatnonzero(found == kept)
    for place, url in zip(left, links["url"].take(left).to_pylist(), strict=True):
        if urls.suffix_blocked(url, rules.suffixes):
            found[place] = Outcome.BLOCKED_SUFFIX.value
    in_blocked = pc.is_in(pc.utf8_lower(rows["subreddit"]), pa.array(sorted(rules.subreddits), pa.string()))
    blocked, adult = (np.logical_and.reduceat(each.to_numpy(), starts) for each in (in_blocked, rows["over_18"]))
    for refused, outcome in (
        (blocked, Outcome.BLOCKED_SUBREDDIT),
        (adult & (not rules.over_18), Outcome.OVER_18),
        (~enough_karma, Outcome.LOW_KARMA),
    ):
        found[(found == kept) & refused] = outcome.value
    return found


# --- what was asked to go


def masked(posts: pa.Table, removals: Removals) -> pa.Table:
    """SUBMISSIONS row for row; of links that have to go (see `Removals.cover`) only doc_ids, and hashes of post ids.

    These tell that a post repeats another, as the row counts say, whenever which of the two came. The id of a post that
    a request names stays: nothing else tells that what leads to its link is to go as well (`Removals.came`). A row
    without an address has been masked before, and all rows of its link are.
    """
    if not removals.requests:
        return posts
    before = pc.equal(posts["url"], "")
    named = pc.is_in(posts["id"], pa.array(sorted(removals.submissions), pa.string()))
    gone = pc.is_in(posts["doc_id"], pa.array(sorted(removals.doc_ids), pa.string()))
    gone = pc.or_(gone, pa.array(each_host(posts["host"], removals.cover_host), pa.bool_()))
    gone = pc.is_in(posts["doc_id"], value_set=posts["doc_id"].filter(pc.or_(pc.or_(gone, named), before)))
    new = pc.and_(gone, pc.invert(before))
    if not pc.any(new).as_py():
        return posts
    told = pc.or_(pc.or_(named, before), pc.equal(posts["id"], ""))
    pairs = zip(posts["id"].to_pylist(), pc.and_(new, pc.invert(told)).to_pylist(), strict=True)
    nothing = blanks(posts["doc_id"], schemas.SUBMISSIONS, {})
    kept = {"doc_id": posts["doc_id"], "id": pa.array([hidden(key) if is_new else key for key, is_new in pairs])}
    columns = [kept.get(name, pc.if_else(new, nothing[name], posts[name])) for name in schemas.SUBMISSIONS.names]
    return pa.table(columns, schema=schemas.SUBMISSIONS)


def forgotten(posts: pa.Table, removals: Removals) -> pa.Table:
    """Masked SUBMISSIONS without those of links that have to go; of each such link one row stays.

    It holds the doc_id, so that the link is counted still and has its outcome, and the id of a post that a request
    names.
    """
    gone = pc.equal(posts["url"], "")
    if not pc.any(gone).as_py():
        return posts
    named = pc.and_(gone, pc.is_in(posts["id"], pa.array(sorted(removals.submissions), pa.string())))
    left = without(posts, posts["doc_id"].filter(gone))
    by_post = dict(zip(*(posts[name].filter(named).to_pylist() for name in ("doc_id", "id")), strict=True))
    ids = [by_post.get(doc, own) for doc, own in zip(left["doc_id"].to_pylist(), left["id"].to_pylist(), strict=True)]
    return left.set_column(left.schema.get_field_index("id"), left.schema.field("id"), [ids]) if by_post else left


def without(posts: pa.Table, doc_ids: Any) -> pa.Table:
    """SUBMISSIONS without those of some links, what is left of each of these first, by doc_id."""
    gone = pc.is_in(posts["doc_id"], value_set=doc_ids)
    left = pa.table({"doc_id": pc.unique(posts["doc_id"].filter(gone))}).sort_by("doc_id")["doc_id"]
    return pa.concat_tables([blanks(left, schemas.SUBMISSIONS, {}), posts.filter(pc.invert(gone))])


def blank_links(doc_ids: Any) -> pa.Table:
    """What is left of removed links as LINKS, by doc_id."""
    ordered = pa.table({"doc_id": doc_ids}).sort_by("doc_id")["doc_id"]
    return blanks(ordered, schemas.LINKS, {"host_shards": 1, "outcome": Outcome.REMOVED.value, "submissions": []})


def blanks(doc_ids: Any, schema: pa.Schema, values: Mapping[str, Any]) -> pa.Table:
    """Rows with these doc_ids that hold nothing else: the values named, "", False or null."""
    nothing = {pa.string(): "", pa.bool_(): False}
    columns = [
        pa.array([values.get(field.name, nothing.get(field.type))] * len(doc_ids), field.type) for field in schema
    ]
    table = pa.table(columns, schema=schema)
    return table.set_column(schema.get_field_index("doc_id"), schema.field("doc_id"), doc_ids)


def each_host(hosts: pa.ChunkedArray, function: Any) -> list[Any]:
    """What `function` says of the host of each link; it is asked once a host."""
    coded = hosts.combine_chunks().dictionary_encode()
    answers = [function(host) for host in coded.dictionary.to_pylist()]
    return [answers[code] for code in coded.indices.to_pylist()]
