"""Capture lookup: of the captures of a link's address the one that counts, redirects and revisits followed.

Choice: a link that leads elsewhere is followed by looking into the shard of its target, which is a file like any other.
Cost: each hop reads the captures of the shards that hold targets, most often the link's own. Alternative: an exchange
a hop, in both directions, which starts a Beam pipeline for each step of the longest chain.

Where a chain ends in an address that no file holds, the link's next capture that leads elsewhere is tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from operator import itemgetter

from pipeline.config import PagesSettings
from pipeline.fetch.nearest import PAGE, Row, leads_on, nearest, posted
from pipeline.fetch.originals import addresses_of, keys_of
from pipeline.fetch.pointers import PAGES
from pipeline.fetch.revisits import REVISIT, handed_on, named, restored
from pipeline.shards import schemas
from pipeline.shards.outcomes import Outcome
from pipeline.shards.receipts import Artefact
from pipeline.shards.removals import Refusals
from pipeline.urls import canonical_url, doc_id, host_of, shard_of

Splits = Mapping[str, int]


@dataclass(frozen=True)
class Held:
    """What the files hold: `captures` by shard of their address, and where `names` lie that come without one.

    `splits`: hosts that are spread over shards; `refusals`: what may not be a page, nor lead to one.
    """

    captures: Artefact
    names: Artefact | None
    splits: Splits
    refusals: Refusals = field(default_factory=Refusals)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A link to look up: its doc_id and host, and when it was posted (seconds since 1970; None: not known)."""

    doc_id: str
    host: str
    created: int | None


@dataclass(frozen=True)
class Chase:
    """A link on its way: the row that leads on, the doc_ids met so far, and the rows to try if this one leads nowhere.

    `failure`: the end of what was tried before. `via`: addresses of the redirects passed.
    """

    link: Wanted
    row: Row
    seen: tuple[str, ...]
    others: tuple[Row, ...]
    failure: Row | None = None
    via: tuple[str, ...] = ()

    @property
    def passed(self) -> tuple[str, ...]:
        """The redirects passed once the row that leads on is behind; to the original of a revisit is no redirect."""
        return self.via if self.row["kind"] == REVISIT else (*self.via, self.row["final_url"])

    @property
    def when(self) -> datetime | None:
        return posted(self.link.created)


def lookup(held: Held, links: Iterable[Wanted], settings: PagesSettings) -> dict[str, Row]:
    """The row of POINTERS of each link that the files hold, under its doc_id.

    A redirect or revisit ends as the capture that it leads to; NOT_IN_WARC, naming the address, where no file holds it;
    REDIRECT_LOOP or TOO_MANY_REDIRECTS where it would not end; REMOVED or BLOCKED_DOMAIN where it leads to what may not
    be a page. At most `pages.redirects` hops.
    """
    ends: dict[str, Row] = {}
    wanted = {link.doc_id: link for link in links}
    chases: list[Chase] = []
    for doc, rows in captures_of(held, {doc: link.host for doc, link in wanted.items()}):
        link = wanted[doc]
        ranked = nearest(rows, posted(link.created))
        if leads_on(ranked[0]):
            chases.append(Chase(link, ranked[0], (doc,), others_of(ranked)))
        else:
            ends[doc] = pointer_of(ranked[0])
    while chases:
        going: list[Chase] = []
        for end in followed(held, chases, settings):
            if isinstance(end, Chase):
                going.append(end)
            else:
                ends[end["doc_id"]] = end
        chases = going
    return ends


def followed(held: Held, chases: list[Chase], settings: PagesSettings) -> Iterator[Row | Chase]:
    """Each chase one hop on: the row of POINTERS in which it ends, or where it goes from there."""
    by_target: dict[str, list[Chase]] = {}
    hosts: dict[str, str] = {}
    for chase in chases:
        refused = held.refusals.of(chase.row["location"])
        if refused is not Outcome.KEPT:
            yield refusal(chase, refused)
            continue
        url = canonical_url(chase.row["location"])
        by_target.setdefault(doc_id(url), []).append(chase)
        hosts[doc_id(url)] = host_of(url)
    for target, rows in captures_of(held, hosts):
        for chase in by_target.pop(target):
            row = arrived(held, chase, rows, settings)
            yield ended(chase, Outcome.NOT_IN_WARC) if row is None else onward(chase, target, row, settings.redirects)
    for chase in (chase for lost in by_target.values() for chase in lost):
        yield ended(chase, Outcome.NOT_IN_WARC)


def arrived(held: Held, chase: Chase, rows: list[Row], settings: PagesSettings) -> Row | None:
    """The capture that a chase comes to among those of its target; None where the one that it means is not there."""
    if chase.row["kind"] == REVISIT:
        original = named(chase.row, rows)
        if original is None:
            return handed_on(chase.row, rows)
        return restored(chase.row, original, settings, held.captures.root / PAGES)
    return nearest(rows, chase.when)[0]


def onward(chase: Chase, target: str, row: Row, redirects: int) -> Row | Chase:
    """The end of a chase that has come to `row`, a capture of the doc_id `target`; or the chase on from there."""
    if not leads_on(row):
        if row["outcome"] == Outcome.NOT_IN_WARC:
            return ended(replace(chase, row=row), Outcome.NOT_IN_WARC)
        return {**pointer_of(row), "doc_id": chase.link.doc_id, "via": list(chase.passed)}
    if chase.row["kind"] == row["kind"] == REVISIT:  # of a revisit, and so on; in a circle none has an original
        met = target in chase.seen or len(chase.seen) > redirects
        return ended(chase, Outcome.NOT_IN_WARC) if met else replace(chase, row=row, seen=(*chase.seen, target))
    if REVISIT in (chase.row["kind"], row["kind"]):  # to its original is no redirect
        return replace(chase, row=row, via=chase.passed)
    if target in chase.seen:
        return ended(chase, Outcome.REDIRECT_LOOP)
    if len(chase.seen) >= redirects:
        return ended(chase, Outcome.TOO_MANY_REDIRECTS)
    return replace(chase, row=row, seen=(*chase.seen, target), via=chase.passed)


def refusal(chase: Chase, outcome: Outcome) -> Row:
    """The end of a chase that leads to a refused address; one that was removed is named nowhere."""
    end = {**pointer_of(chase.row), "doc_id": chase.link.doc_id, "outcome": str(outcome), "via": list(chase.passed)}
    return end if outcome is Outcome.REMOVED else {**end, "final_url": chase.row["location"]}


def others_of(ranked: list[Row]) -> tuple[Row, ...]:
    """The captures after the first that lead elsewhere, one for each place that they lead to."""
    leading: dict[tuple[object, ...], Row] = {}
    for row in filter(leads_on, ranked):
        leading.setdefault(place_of(row), row)
    return tuple(leading.values())[1:]


def place_of(row: Row) -> tuple[object, ...]:
    """Where a row leads: two captures that lead to one place are tried once."""
    names = ("refers_to", "refers_date", "digest") if row["kind"] == REVISIT else ()
    return row["location"], *(row[name] for name in names)


def ended(chase: Chase, outcome: Outcome) -> Row | Chase:
    """The end of a chase that finds no page: the last row that led on, and where it led, but for a loop, which leads to
    where it was; or its next try.
    """
    row, link = chase.row, chase.link
    end = {**pointer_of(row), "doc_id": link.doc_id, "outcome": str(outcome)}
    end["via"] = list(chase.passed)
    if outcome is not Outcome.REDIRECT_LOOP:
        end["final_url"] = row["location"] or row["final_url"]
    if outcome is not Outcome.NOT_IN_WARC:
        return end
    failure = chase.failure or end
    if not chase.others:
        return failure
    first, *others = chase.others
    return Chase(link, first, (link.doc_id,), tuple(others), failure)


# --- rows


def captures_of(held: Held, wanted: Mapping[str, str]) -> Iterator[tuple[str, list[Row]]]:
    """(doc_id, rows of CAPTURES) of each doc_id wanted (to its host) that the files hold, from the shards of them."""
    by_shard: dict[int, list[str]] = {}
    for doc, host in wanted.items():
        by_shard.setdefault(shard_of(host, doc, held.captures.shards, held.splits), []).append(doc)
    seeking: list[tuple[str, list[Row]]] = []
    for shard, docs in sorted(by_shard.items()):
        for doc, same in groupby(rows_in(held.captures, shard, docs), itemgetter("doc_id")):
            rows = list(same)
            if held.names is not None and not any(row["outcome"] in PAGE for row in rows) and any(map(keys_of, rows)):
                seeking.append((doc, rows))
            else:
                yield doc, rows
    if held.names is not None and seeking:
        keys = {key for _, rows in seeking for row in rows for key in keys_of(row)}
        addresses = addresses_of(held.names, keys)
        yield from ((doc, [located(row, addresses) for row in rows]) for doc, rows in seeking)


def located(row: Row, addresses: Mapping[str, str]) -> Row:
    """A row with the address of its original, if it is a revisit that names it by id or digest alone."""
    found = next((addresses[key] for key in keys_of(row) if key in addresses), "")
    return {**row, "location": found} if found else row


def rows_in(captures: Artefact, shard: int, docs: Iterable[str]) -> Iterator[Row]:
    """The rows of a shard, which are sorted by doc_id, whose doc_id is one of `docs`.

    Most shards are asked for few: of each row group its least and greatest doc_id say whether it is read at all.
    """
    for table in schemas.rows_with(captures.file(shard, ".parquet"), "doc_id", docs, schemas.CAPTURES.names):
        yield from table.to_pylist()


def pointer_of(row: Row) -> Row:
    """A row of CAPTURES as one of POINTERS."""
    return {name: row[name] for name in schemas.POINTERS.names}
