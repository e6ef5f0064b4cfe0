"""Rounds of a crawl: what each shard has still to do, by the rows that are committed, and who does it next.

Choice: a visit that may not go on in its shard leaves a continuation in its row; the rows are all the state there is,
so what waits for whom, and whose turn it is, can be worked out anew at any time. A round is one crawl over all shards,
or several over a group each; of groups that share a host, the one with most links waiting for it asks in a round, for
all shards: so all come to their turn, wherever runs are cut. Cost: each round reads the tables of all shards.
Alternative: a queue that is taken from, and a count of rounds, which a killed worker leaves in doubt.

A link begins with step 0 in its home shard. The row of step n holds the continuation that step n + 1 takes up, in the
shard that owns the host to be asked; so one shard, and one schedule, asks a host, wherever the links to it come from.
Another pass over a link that failed for a passing reason begins, at home again, with the step after its end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from urllib.parse import urlsplit

import msgspec

from pipeline.fetch.continuations import Continuation, Pace, host_asked
from pipeline.fetch.pointers import Row
from pipeline.fetch.shelf import FOLDER, Shelf, Waiting
from pipeline.fetch.verdicts import OPEN
from pipeline.fetch.writing import Writing
from pipeline.shards.outcomes import PASSING, IntegrityError, Outcome
from pipeline.shards.removals import Refusals
from pipeline.urls import shard_of

UNREACHABLE = (Outcome.NOT_PUBLIC, Outcome.NAME_ERROR)  # of a name, until the settings say where it is

__all__ = ["FOLDER", "Shelf", "Waiting", "Writing"]


@dataclass(frozen=True)
class Owners:
    """Which shard asks which host. `splits`: hosts that several shards share, and how many."""

    shards: int
    splits: dict[str, int]

    def owner(self, host: str, doc_id: str) -> int:
        """The shard that asks a host for a link."""
        return shard_of(host, doc_id, self.shards, self.splits)

    def all_of(self, host: str) -> list[int]:
        """All shards that ask a host, its home first."""
        home = shard_of(host, "", self.shards, {})
        return [(home + piece) % self.shards for piece in range(self.splits.get(host, 1))]

    def share_of(self, host: str, shard: int, count: int) -> int:
        """How many of `count` links of a host are a shard's, if they are spread over its shards evenly."""
        shards = self.all_of(host)
        place = shards.index(shard) if shard in shards else 0
        return count // len(shards) + (place < count % len(shards))

    def is_shared(self, host: str) -> bool:
        """Whether several shards ask a host."""
        return self.splits.get(host, 1) > 1


def waiting_for(shard: int, owners: Owners, own: list[Row], sent: list[Row], fresh: Iterable[Waiting]) -> list[Waiting]:
    """What a shard has to do, by doc_id: `own` are the rows of its segments, `sent` those of others that concern it.

    `fresh`: its links that are to be asked for from the beginning.
    """
    done = {(row["doc_id"], row["step"]) for row in own}
    found = {(waiting.doc_id, waiting.step): waiting for waiting in fresh}
    for row in (*own, *sent):
        if row["errand"]:
            continuation = continuation_of(row)
            if owners.owner(host_asked(continuation), row["doc_id"]) == shard:
                step = row["step"] + 1
                found[row["doc_id"], step] = Waiting(row["doc_id"], row["host"], step, continuation)
    return [found[key] for key in sorted(found) if key not in done]


def ends_of(rows: Iterable[Row]) -> defaultdict[str, list[Row]]:
    """The ends of each link, by doc_id: one for every pass over it that is over, the last one last.

    A visit that was committed twice is one pass.
    """
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=itemgetter("step")):
        ends = found[row["doc_id"]] if not row["errand"] else []
        if not row["errand"] and not (ends and ends[-1]["step"] == row["step"]):
            ends.append(row)
    return found


def is_over(ends: Sequence[Row], passes: int) -> bool:
    """Whether a link with these ends is not asked for again: it has had its `passes`, or no other day helps it.

    Another day helps the outcomes of PASSING, and 429 (RFC 6585, section 4). An end that is OPEN is none.
    """
    if ends and ends[-1]["outcome"] == OPEN:
        return False
    return bool(ends) and (len(ends) >= passes or (ends[-1]["outcome"] not in PASSING and ends[-1]["status"] != 429))


def standing(ends: Sequence[Row], refusals: Refusals, local: Container[str] = ()) -> Sequence[Row]:
    """The ends of a link, but for those that came of a block which is lifted: it is asked for again.

    `local`: the names that may be reached although they are not public, and that need no name server.
    """
    return [end for end in ends if not is_lifted(end, refusals, local)]


def is_lifted(end: Row, refusals: Refusals, local: Container[str]) -> bool:
    """Whether what ended a link does not hold any more."""
    if end["outcome"] == Outcome.BLOCKED_DOMAIN:
        return refusals.of(end["final_url"]) is Outcome.KEPT
    return end["outcome"] in UNREACHABLE and urlsplit(end["final_url"] or "").hostname in local


def next_step(ends: Sequence[Row]) -> int:
    """The step at which the next pass over a link with these ends begins."""
    return ends[-1]["step"] + 1 if ends else 0


def continuation_of(row: Row) -> Continuation:
    """The continuation in a row. Raises IntegrityError."""
    try:
        return msgspec.json.decode(row["errand"], type=Continuation)
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"the segment row of {row['doc_id']} holds no continuation ({error})") from None


def receivers(shard: int, owners: Owners, row: Row) -> set[int]:
    """The other shards that a row concerns: the one that takes up its continuation, or else the home of its link."""
    host = host_asked(continuation_of(row)) if row["errand"] else row["host"]
    return {owners.owner(host, row["doc_id"])} - {shard}


@dataclass(frozen=True)
class Turn:
    """The group that asks a host that several shards share, in this round, and what all know of the host."""

    group: int
    paces: tuple[Pace, ...] = ()


@dataclass(frozen=True)
class Group:
    """Shards for which one crawl asks in a round, by number."""

    number: int
    shards: range

    def asks(self, shard: int, host: str, owners: Owners, turns: Mapping[str, Turn]) -> bool:
        """Whether it asks a host, one of a shard's, in this round. Of a shared host it does so for all its shards."""
        if owners.is_shared(host):
            return host in turns and turns[host].group == self.number
        return shard in self.shards

    def visited(self, owners: Owners, turns: Mapping[str, Turn]) -> list[int]:
        """The shards that it may ask anything for."""
        guests = {shard for host, turn in turns.items() if turn.group == self.number for shard in owners.all_of(host)}
        return sorted({*self.shards, *guests})


def groups_of(shards: int, groups: int) -> list[Group]:
    """All shards in so many groups, or in as many as there are; pieces of a host lie side by side, so do shards."""
    count = min(shards, groups)
    bounds = [shards * number // count for number in range(count + 1)]
    return [Group(number, range(*bounds[number : number + 2])) for number in range(count)]
