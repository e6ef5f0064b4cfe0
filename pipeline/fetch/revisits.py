"""Revisits: responses that were left out of a WARC file because another record holds the same bytes.

Choice (WARC 1.1, section 6.7): the original is the capture that WARC-Refers-To names by its id, the fields
WARC-Refers-To-Target-URI and -Date by address and time, or the payload's digest by content, in this order; never one
whose own digest says otherwise. Where that is a revisit itself, what it stands for is meant. Where the files do not
hold it, the end is NOT_IN_WARC, and never another body. Cost: the rows of captures carry ids, dates and digests.
Alternative: any capture of the address, which after a change of the page is another text.

The revisit's own head says what this response was: its status, Location, Content-Type, and the opt-outs of its headers;
the original's record says how the bytes are to be read, and what the page itself asks. So a revisit of a redirect or of
a failure needs no original (webrecorder/pywb#753); one with status 304, or without a head, is all that its original is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import PagesSettings
from pipeline.fetch import heads
from pipeline.fetch.nearest import PAGE, Row, nearest
from pipeline.fetch.readback import answer_of, cut_of, read_record
from pipeline.fetch.response import Refused, judge
from pipeline.shards.locations import pointed_at
from pipeline.shards.outcomes import Outcome

# What a row of CAPTURES is.
RESPONSE, REVISIT, HEAD, REQUEST = "response", "revisit", "head", "request"

DIGESTS = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}  # bytes; written in base 32 or in hexadecimal digits
# How an original ends by its head, whatever its body is.
BY_HEAD = frozenset(
    {
        Outcome.NOT_FOUND,
        Outcome.CLIENT_ERROR,
        Outcome.SERVER_ERROR,
        Outcome.BAD_STATUS,
        Outcome.BAD_REDIRECT,
        Outcome.BAD_RESPONSE,
        Outcome.INCOMPLETE,
        Outcome.NOT_HTML,
    }
)
READ_BY = ("content-encoding", "transfer-encoding", "content-length")  # of the record that holds the bytes
COMPUTED = "computed-"  # before a digest that no header told: it can confirm, but another one told does not gainsay it
NOTHING = frozenset(f"{name}:{hashlib.new(name).hexdigest()}" for name in DIGESTS)


def digest_of(written: str | None) -> str:
    """A digest field as `sha1:` and hexadecimal digits, however it was spelled; "" where it says nothing.

    The digest of no bytes says nothing: writers that leave the payload out compute it of what is left.
    """
    name, colon, value = (written or "").strip().partition(":")
    name, value = name.lower().replace("-", ""), value.strip()
    size = DIGESTS.get(name)
    if not (colon and value):
        return ""
    if size and len(value) != 2 * size:
        try:
            value = base64.b32decode(value.rstrip("=").upper() + "=" * (-len(value.rstrip("=")) % 8)).hex()
        except (binascii.Error, ValueError):
            return ""
    found = f"{name}:{value.lower() if size else value}"
    return "" if found in NOTHING else found


def computed(payload: bytes) -> str:
    """The digest of a payload for which no header tells one; by SHA-1, as most writers do."""
    return f"{COMPUTED}sha1:{hashlib.sha1(payload, usedforsecurity=False).hexdigest()}"


def named(revisit: Row, rows: Iterable[Row]) -> Row | None:
    """The row of CAPTURES that a revisit means, among those of one address; None where it is not there.

    A revisit that gives an address alone means its capture if all of them hold the same bytes.
    """
    rows = [row for row in rows if not gainsaid(revisit["digest"], row["digest"])]
    held = [row for row in rows if row["kind"] == RESPONSE or (row["kind"] == HEAD and row["sha256"])]
    tests: list[tuple[object, Callable[[Row], bool]]] = [
        (revisit["refers_to"], lambda row: row["record_id"] == revisit["refers_to"]),
        (revisit["refers_date"], lambda row: second(row["captured"]) == second(revisit["refers_date"])),
        (revisit["digest"], lambda row: confirmed(revisit["digest"], row["digest"])),
    ]
    for value, test in tests:
        found = [row for row in held if value and test(row)]
        if found:
            return nearest(found, revisit["captured"])[0]
    silent = not any(value for value, _ in tests)
    return (
        nearest(held, revisit["captured"])[0] if silent and len({row["sha256"] for row in held} | {""}) == 2 else None
    )


def handed_on(revisit: Row, rows: Iterable[Row]) -> Row | None:
    """A revisit sent on to the original of another, which it names among `rows` and which waits itself; else None."""
    for row in rows:
        if row["kind"] != REVISIT or gainsaid(revisit["digest"], row["digest"]):
            continue
        by_id = revisit["refers_to"] and revisit["refers_to"] == row["record_id"]
        if by_id or (revisit["refers_date"] and second(row["captured"]) == second(revisit["refers_date"])):
            names = {name: row[name] for name in ("location", "refers_to", "refers_date")}
            return {**revisit, **names, "digest": revisit["digest"] or row["digest"]}
    return None


def second(time: datetime | None) -> datetime | None:
    """A time to the second: writers give WARC-Refers-To-Date in another precision than WARC-Date."""
    return time.replace(microsecond=0) if time else None


def confirmed(value: str, of_row: str) -> bool:
    """Whether two digests are of the same bytes."""
    return bool(value) and value == of_row.removeprefix(COMPUTED)


def gainsaid(value: str, of_row: str) -> bool:
    """Whether two digests, told of a revisit and of a record, are of different bytes."""
    same_kind = value.partition(":")[0] == of_row.partition(":")[0]
    return bool(value and of_row) and same_kind and value != of_row


def restored(revisit: Row, original: Row, settings: PagesSettings, pages: Path) -> Row:
    """The capture that a revisit stands for, its original found: at the original's place, of the revisit's own time.

    Where the original failed by its head, the body is judged again under the revisit's own. `pages` is the folder from
    which the files of rows are named.
    """
    own = revisit["status"] is not None
    asked = {opt_out for opt_out in original["opt_outs"] if not (own and opt_out.startswith("header:"))}
    outcome, opt_outs = original["outcome"], sorted({*asked, *revisit["opt_outs"]})
    if outcome in PAGE:
        outcome = Outcome.OPTED_OUT if opt_outs and settings.opt_outs else Outcome.KEPT
    elif own and outcome in BY_HEAD:
        outcome, opt_outs = judged_again(revisit, original, settings, pages)
    return {
        **original,
        **{name: revisit[name] for name in ("doc_id", "final_url", "captured", "record_id", "concurrent_to")},
        "status": revisit["status"] if own else original["status"],
        "content_type": revisit["content_type"] or original["content_type"],
        "opt_outs": opt_outs,
        "outcome": str(outcome),
        "location": "" if own else original["location"],  # its own head would have said where it leads
        "kind": HEAD,
    }


def judged_again(revisit: Row, original: Row, settings: PagesSettings, pages: Path) -> tuple[str, list[str]]:
    """The outcome and the opt-outs of a revisit's own head over the body of its original, from their two records."""
    limit = settings.limit_bytes + heads.HEAD_BYTES
    places = [(pointed_at(row["warc"], pages), row["offset"], row["length"]) for row in (revisit, original)]
    own, held = (read_record(*place, limit) for place in places)
    found = None if own.crowded or held.crowded else heads.parse(own.block)
    if found is None:  # one member holds many records: which of them is meant, only the bodies of pages tell
        return original["outcome"], []
    try:
        answer = answer_of(held, settings.limit_bytes)
    except Refused as refusal:
        return refusal.outcome, []
    headers = [field for field in found[0].headers if field[0].lower() not in READ_BY]
    headers += [field for field in answer.head.headers if field[0].lower() in READ_BY]
    verdict = judge(replace(found[0], headers=tuple(headers)), answer.body, settings, cut_of(held, answer))
    return verdict.outcome, list(verdict.opt_outs)


# --- what the captures of one shard say of each other


def of_pages(table: pa.Table) -> pa.Table:
    """The rows of CAPTURES without requests (which are not GET) and without the answers to them.

    WARC-Concurrent-To tells the two records of an exchange (WARC 1.1, section 5.7); either may name the other.
    """
    asked = pc.equal(table["kind"], REQUEST)
    requests, answers = table.filter(asked), table.filter(pc.invert(asked)).combine_chunks()
    if not (requests.num_rows and answers.num_rows):
        return answers
    ids = requests["record_id"].filter(pc.not_equal(requests["record_id"], "")).combine_chunks()
    record_ids = pc.list_flatten(requests["concurrent_to"]).combine_chunks()
    theirs = answers["concurrent_to"].combine_chunks()
    naming = pc.list_parent_indices(theirs).filter(pc.is_in(pc.list_flatten(theirs), ids))
    rows = pa.array(range(answers.num_rows), naming.type)
    return answers.filter(pc.invert(pc.or_(pc.is_in(answers["record_id"], record_ids), pc.is_in(rows, naming))))


def with_originals(table: pa.Table, settings: PagesSettings, pages: Path) -> pa.Table:
    """The rows of CAPTURES with every revisit restored whose original is a capture of the same address."""
    waiting = pc.and_(pc.equal(table["kind"], REVISIT), pc.equal(table["location"], ""))
    docs = table.filter(waiting)["doc_id"].unique()
    concerned = pc.is_in(table["doc_id"], docs)
    rows: list[Row] = []
    for _, same in groupby(table.filter(concerned).sort_by("doc_id").to_pylist(), itemgetter("doc_id")):
        rows += restored_within(list(same), settings, pages)
    return pa.concat_tables([table.filter(pc.invert(concerned)), pa.Table.from_pylist(rows, table.schema)])


def restored_within(rows: Sequence[Row], settings: PagesSettings, pages: Path) -> list[Row]:
    """The captures of one address, its revisits restored where their originals are among them, restored or not."""
    found = list(rows)
    while True:
        waiting = [place for place, row in enumerate(found) if row["kind"] == REVISIT and not row["location"]]
        originals = {place: original for place in waiting if (original := named(found[place], found))}
        if not originals:
            return found
        for place, original in originals.items():
            found[place] = restored(found[place], original, settings, pages)
