"""Removal requests: what has been asked to go, on disk, which every later build obeys.

Choice: one JSON file a request below `removals/`, written before anything is touched and completed, with the sha256 of
every file before and after, when all is done: it is instruction, memory and proof in one. It names nothing in clear: of
an address its doc_id, of a host a hash, so that a search of the working directory for what was removed finds nothing,
not even here. Cost: nobody can read off a request what it covers; who holds an address can ask (`webtext explain`).
Alternative: a list in the config file, which keeps the very names that somebody wanted gone.

The hash of a host is not salted: a request can be taken along to another working directory, and a salt that lies beside
the hash stops nobody who tries all hosts there are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path

import msgspec
from tld import is_tld

from pipeline import urls
from pipeline.plaintext import read_lines
from pipeline.shards import storage
from pipeline.shards.outcomes import BusyError, InputError, IntegrityError, Outcome
from pipeline.urls import HostList

FOLDER = "removals"
CAME = "came.json"  # in it: doc_ids of links whose post a request named before anybody knew which link it was
FORMAT = 2
DOC_ID = re.compile(r"[0-9a-f]{32}")
SUBMISSION = re.compile(r"(?:t3_)?([0-9a-z]{1,13})")  # Reddit's ids, base 36
KINDS = {
    "url": "the address of one page",
    "host": "a host, with all names under it",
    "submission": "the id of a submission on Reddit",
    "doc_id": "a doc_id",
}
EXPECTED = "expected one URL, host, doc_id or submission id a line"


class Change(msgspec.Struct, frozen=True):
    """One file that a request rewrote, or deleted: then `sha256_after` is "". `rows` left it: rows, or WARC records."""

    file: str  # below the working directory
    rows: int
    sha256_before: str
    sha256_after: str


class Line(msgspec.Struct, frozen=True):
    """One line of a list, as what it was taken, and what it met."""

    number: int
    kind: str  # of KINDS
    mark: str  # a doc_id, the hash of a host, or the id of a submission
    met: tuple[str, ...] = ()  # doc_ids of links: those it names, and those that redirect to what it names
    links: int = 0
    pages: int = 0
    documents: int = 0


def rows_told(links: int, pages: int, documents: int) -> str:
    """How many rows something met, for a person: 1 link, 2 pages, 0 documents."""
    counts = {"link": links, "page": pages, "document": documents}
    return ", ".join(f"{count:,} {row}{'' if count == 1 else 's'}" for row, count in counts.items())


class Span(msgspec.Struct, frozen=True):
    """Where the tokens of a removed document lie: `first` to `last` - 1 of the stream of one token shard."""

    doc_id: str
    file: str  # below `tokens/`
    first: int
    last: int


class RemovalRequest(msgspec.Struct, frozen=True):
    """One removal: what was asked, whom it met, and the proof."""

    asked_at: str  # ISO 8601, UTC
    lines: tuple[Line, ...] = ()
    searched: bool = False  # whether the lines say whom they met
    emptied: tuple[str, ...] = ()  # hashes of hosts of which no link is left
    returning: tuple[str, ...] = ()  # doc_ids that had lost to a removed keeper
    spans: tuple[Span, ...] = ()
    held: dict[str, str] = {}  # train, tokens, corpus -> the mark of what their files held before (`receipts.mark_of`)
    changes: tuple[Change, ...] = ()
    left: dict[str, str] = {}  # file that may hold it still -> why it was left
    undone: int = 0  # lines that were taken back
    ended_at: str = ""  # "" while the removal is under way, or was cut short
    format: int = FORMAT

    @property
    def removed(self) -> tuple[str, ...]:
        """The doc_ids that some artefact held."""
        return tuple(sorted({doc_id for line in self.lines for doc_id in line.met}))


@dataclass(frozen=True)
class Removals:
    """All requests of a working directory, as one question: does a link have to go."""

    requests: tuple[RemovalRequest, ...] = ()
    came: frozenset[str] = frozenset()  # see CAME

    @classmethod
    def of(cls, work: Path) -> Removals:
        """The requests in `removals/`. Raises IntegrityError: a file that is none."""
        requests = tuple(read(path) for path in paths(work))
        return cls(requests, came_in(work) if requests else frozenset())

    @property
    def came_mark(self) -> list[list[str]]:
        """What a fingerprint holds of `came`: nothing where there is none. Requests are in no fingerprint."""
        return [sorted(self.came)] if self.came else []

    def marks(self, *kinds: str) -> frozenset[str]:
        """What lines of these kinds name."""
        return frozenset(line.mark for request in self.requests for line in request.lines if line.kind in kinds)

    @cached_property
    def doc_ids(self) -> frozenset[str]:
        met = (doc_id for request in self.requests for line in request.lines for doc_id in line.met)
        return self.marks("url", "doc_id").union(met, self.came)

    @cached_property
    def hosts(self) -> frozenset[str]:
        return self.marks("host")

    @cached_property
    def submissions(self) -> frozenset[str]:
        return self.marks("submission")

    def cover(self, doc_id: str, host: str, submissions: Iterable[str] = ()) -> bool:
        """Whether a link with this id and host, which these submissions posted, has to go."""
        if not self.requests:
            return False
        return doc_id in self.doc_ids or self.cover_host(host) or not self.submissions.isdisjoint(submissions)

    def cover_host(self, host: str) -> bool:
        """Whether a host, or a domain above it, has to go."""
        return bool(self.hosts) and any(hidden(domain) in self.hosts for domain in domains(host))

    def cover_address(self, url: str) -> bool:
        """Whether an address, in any spelling, is one that has to go."""
        return bool(self.requests) and self.cover(*identity(url))


@dataclass(frozen=True)
class Refusals:
    """Which addresses may not be a page, nor on the way to one: what was removed, and domains that a user blocks."""

    removals: Removals = field(default_factory=Removals)
    domains: HostList = field(default_factory=lambda: HostList(frozenset()))

    def of(self, *addresses: str) -> Outcome:
        """REMOVED or BLOCKED_DOMAIN if one of the addresses of a chain is refused, else KEPT."""
        if not (self.removals.requests or self.domains.hosts):
            return Outcome.KEPT
        known = [identity(address) for address in addresses]
        if any(self.removals.cover(*link) for link in known):
            return Outcome.REMOVED
        return Outcome.BLOCKED_DOMAIN if any(host in self.domains for _, host in known) else Outcome.KEPT


@lru_cache(maxsize=4_096)
def identity(url: str) -> tuple[str, str]:
    """(doc_id, host) of an address as a link to it would have them; of what is no address, nothing that is known."""
    try:
        canonical = urls.canonical_url(url)
    except urls.BadUrl:
        return "", ""
    return urls.doc_id(canonical), urls.host_of(canonical)


@lru_cache(maxsize=65_536)
def hidden(host: str) -> str:
    """32 hex digits that stand for a canonical host: BLAKE2b with a digest of 128 bits (RFC 7693)."""
    return hashlib.blake2b(host.encode(), digest_size=16, person=b"webtext host").hexdigest()


def domains(host: str) -> Iterator[str]:
    """A host and the domains above it, label by label from the left."""
    rest = host.lower().removesuffix(".")
    while rest:
        yield rest
        rest = rest.partition(".")[2]


# --- files


def paths(work: Path) -> list[Path]:
    """The files of all requests, oldest first."""
    return [path for path in storage.names(work / FOLDER, "[0-9]*.json") if path.stem.isdecimal()]


def read(path: Path) -> RemovalRequest:
    """One request. Raises IntegrityError."""
    try:
        data = storage.read_bytes(path)
        if msgspec.json.decode(data, type=dict).get("format") != FORMAT:
            return renewed(msgspec.json.decode(data, type=OldRequest))
        return msgspec.json.decode(data, type=RemovalRequest)
    except (OSError, msgspec.MsgspecError) as error:
        raise IntegrityError(f"{path}: not a removal request ({error}); without it pages might come back") from None


def came_in(work: Path) -> frozenset[str]:
    """The doc_ids of CAME. Raises IntegrityError."""
    path = work / FOLDER / CAME
    try:
        return frozenset(msgspec.json.decode(storage.read_bytes(path), type=list[str]))
    except FileNotFoundError:
        return frozenset()
    except (OSError, msgspec.MsgspecError) as error:
        raise IntegrityError(f"{path}: no list of doc_ids ({error}); without it pages might come back") from None


def keep_came(work: Path, doc_ids: Iterable[str]) -> None:
    """Note links that came after the request that names their post: whatever leads to one has to go from now on."""
    removals = Removals.of(work)
    if new := set(doc_ids) - removals.doc_ids:
        storage.write_bytes(work / FOLDER / CAME, msgspec.json.encode(sorted(new | removals.came)) + b"\n")


class OldRequest(msgspec.Struct, frozen=True):
    """A request of format 1, which named hosts in clear."""

    asked_at: str
    hosts: tuple[str, ...] = ()
    submissions: tuple[str, ...] = ()
    doc_ids: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    ended_at: str = ""


def renewed(old: OldRequest) -> RemovalRequest:
    """A request of format 1 as one of today that has still to be carried out: it erased less than one of today does."""
    marks = [("host", hidden(host)) for host in old.hosts] + [
        ("submission", submission) for submission in old.submissions
    ]
    marks += [("doc_id", doc_id) for doc_id in dict.fromkeys((*old.doc_ids, *old.removed))]
    lines = tuple(Line(number, *mark) for number, mark in enumerate(marks, 1))
    return RemovalRequest(old.asked_at, lines)


def write(path: Path, request: RemovalRequest) -> None:
    """Write a request, whole and durable."""
    storage.write_bytes(path, msgspec.json.format(msgspec.json.encode(request), indent=1) + b"\n")


def refuse_unfinished(work: Path) -> None:
    """Raise BusyError while a removal that was cut short has not been ended: shards are in two states."""
    for path in paths(work):
        if not read(path).ended_at:
            raise BusyError(f"{path}: a removal was cut short; run 'webtext remove' without a list to end it")


def read_list(path: Path) -> list[str]:
    """The lines of a list. Raises InputError: no such file, or no text."""
    try:
        return read_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}; {EXPECTED}") from None


def stamp(moment: datetime) -> str:
    """A time as WARC and requests write it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- lists


def request_of(lines: Iterable[str], now: datetime, whole_suffix: bool = False) -> RemovalRequest:
    """The request of a list: one entry a line, `#` begins a comment after a blank. Raises InputError with the line.

    `whole_suffix`: a public suffix may go, and with it the hosts of everybody under it.
    """
    entries = [(number, entry) for number, line in enumerate(lines, 1) if (entry := entry_of(line))]
    if not entries:
        raise InputError(f"the list names nothing to remove; {EXPECTED}")
    return RemovalRequest(
        stamp(now), tuple(Line(number, *meaning(entry, number, whole_suffix)) for number, entry in entries)
    )


def entry_of(line: str) -> str:
    """What a line of a list names; "" for a comment or a blank line. A byte order mark before it is no part of it."""
    return re.sub(r"(^|\s)#.*", "", line.removeprefix("\ufeff")).strip()


def meaning(entry: str, number: int, whole_suffix: bool) -> tuple[str, str]:
    """The kind and mark of an entry. Raises InputError: of no kind, or a public suffix and not `whole_suffix`."""
    if "://" in entry:
        try:
            return "url", urls.doc_id(urls.canonical_url(entry))
        except urls.BadUrl as error:
            raise InputError(f"line {number}: {entry}: {error}") from None
    if DOC_ID.fullmatch(entry):
        return "doc_id", entry
    if match := SUBMISSION.fullmatch(entry):
        return "submission", match[1]
    if "/" in entry or "." not in entry:
        raise InputError(f"line {number}: {entry!r} is no URL (with https://), host, doc_id or submission id")
    host = urls.listed_host(entry, f"line {number}")
    if is_public_suffix(host) and not whole_suffix:
        raise InputError(
            f"line {number}: {entry}: {host} is a public suffix (publicsuffix.org), the end of many owners' hosts; "
            "name the host under it that is meant, or mean all of them with --whole-suffix"
        )
    return "host", hidden(host)


def is_public_suffix(host: str) -> bool:
    """Whether names under a canonical host are given to anybody: by a registry, or by a company to its users.

    As the Public Suffix List that comes with the package `tld` says, both parts of it; no network is asked.
    """
    return bool(is_tld(".".join(map(spelled_out, host.split(".")))))


def spelled_out(label: str) -> str:
    """A label of a host as the list writes it: in the letters that punycode stands for, where it stands for some."""
    try:
        return label.encode("ascii").decode("idna")
    except UnicodeError:  # no name that IDNA 2003 knows: no suffix of the list either
        return label
