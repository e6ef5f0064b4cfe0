"""Classification of an HTTP response: its body decoded, its outcome, its opt-outs; for a crawl and WARC files alike.

Choice: one judgement for both, so that a page from a user's WARC ends like the same page crawled. Decoding stops at a
limit, whatever the bytes claim to become. Cost: a body is decoded once to be judged, and again by who reads the WARC.
Alternative: leave it to aiohttp and to the WARC library; neither bounds what a few kilobytes decompress to.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from fastwarc.stream_io import BrotliReader, ZstdReader

from pipeline.config import PagesSettings
from pipeline.fetch.heads import Head, Headers, contradiction, elements, is_informational, is_part, transfer_codings
from pipeline.fetch.media_types import GZIP, PAGE_TYPES, content_type_of, is_text, sniffed
from pipeline.fetch.opt_outs import opt_outs_of
from pipeline.shards.outcomes import Outcome

REDIRECTS = frozenset({301, 302, 303, 307, 308})  # RFC 9110, section 15.4: those that name one new place
# Ends that say of the host, not of the page, that it cannot be had.
HOST_FAILURES = frozenset(
    {
        Outcome.NAME_ERROR,
        Outcome.CONNECT_ERROR,
        Outcome.TLS_ERROR,
        Outcome.TIMED_OUT,
        Outcome.NOT_PUBLIC,
        Outcome.ROBOTS_UNREACHABLE,
    }
)
# Ends without a response that can be kept, of a host that did answer.
ANSWERED = frozenset({Outcome.BAD_RESPONSE, Outcome.INCOMPLETE})
CODINGS = 3  # laid over each other; one is usual, more than two never meant well
READ_CODINGS = ("gzip", "x-gzip", "deflate", "br", "zstd")
CHANCE_BYTES = 64  # packed bytes so many look like text once in a thousand times, twice as many once in a million
INFLATE_BYTES = 4_096  # handed to zlib at once: becomes 4 MB at most, and many tiny members are not copied long
META_BYTES = 65_536  # of a page, searched for opt-outs in meta elements

# Why a body is cut short, in the words of WARC-Truncated (WARC 1.1, section 5.13), and how such a page ends; by any
# other word its connection broke.
CUT_SHORT: Mapping[str, Outcome] = {"length": Outcome.TOO_LARGE, "time": Outcome.TIMED_OUT}


class Refused(Exception):  # noqa: N818 - named for what happened
    """A fetch or a record ends with `outcome`. `transient`: the next try may end better."""

    def __init__(self, outcome: Outcome, detail: str, transient: bool = False) -> None:
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.detail = detail
        self.transient = transient


@dataclass(frozen=True, slots=True)
class Hop:
    """One response of the chain, with the header lines of its request. `body`: without chunks, still in its codings.

    `cut`: why not all of the body is here, as in CUT_SHORT; "" for a whole one. `raw` and `ended`: as in Head.
    """

    url: str
    date: str  # UTC, ISO 8601 with microseconds: when the request began
    asked: Headers  # beside Host
    http_version: str
    status: int
    reason: str
    headers: Headers
    body: bytes
    cut: str = ""
    raw: bytes = b""
    ended: bool = True

    @classmethod
    def of(cls, url: str, date: str, asked: Headers, head: Head, body: bytes, cut: str = "") -> Hop:
        """The same from a head."""
        parts = (head.http_version, head.status, head.reason, head.headers)
        return cls(url, date, asked, *parts, body, cut, head.raw, head.ended)

    @property
    def head(self) -> Head:
        """The head of the response."""
        return Head(self.http_version, self.status, self.reason, self.headers, self.raw, self.ended)


@dataclass(frozen=True, slots=True)
class Fetched:
    """How one fetch ended. `status` is the last response's, None without one; `detail` says more for people.

    `transient`: no answer came, and the same request may get one soon.
    """

    url: str
    final_url: str
    hops: tuple[Hop, ...]
    outcome: Outcome
    status: int | None
    content_type: str
    opt_outs: tuple[str, ...]
    detail: str
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a final response ends, and what was found out on the way. `body` is decoded; b"" unless it was needed."""

    outcome: Outcome
    content_type: str
    opt_outs: tuple[str, ...]
    body: bytes
    detail: str


def judge(head: Head, body: bytes, settings: PagesSettings, cut: str = "") -> Judgement:
    """The end of a final response whose body is without chunks and still in its codings. Never raises.

    `cut`: why the body is not whole, as in CUT_SHORT or anything else that says it is not; "" where it is.
    """
    content_type = content_type_of(head.headers)
    outcome = outcome_of_status(head.status, content_type or "text/html", 1)
    if is_informational(head):
        return Judgement(Outcome.INCOMPLETE, content_type, (), b"", f"no answer after a head of status {head.status}")
    if outcome is not Outcome.KEPT:
        return Judgement(outcome, content_type, (), b"", f"status {head.status}, {content_type or 'no content type'}")
    if not head.ended:
        return Judgement(Outcome.INCOMPLETE, content_type, (), b"", "its head breaks off")
    if wrong := contradiction(head):
        return Judgement(Outcome.BAD_RESPONSE, content_type, (), b"", wrong)
    whole = judge_body(head, content_type, body, settings)
    if cut and whole.outcome is not Outcome.NOT_HTML:
        return replace(whole, outcome=CUT_SHORT.get(cut, Outcome.INCOMPLETE), detail=f"the body is cut short: {cut}")
    if is_part(head):
        return replace(whole, outcome=Outcome.INCOMPLETE, detail="a part of the page, which nobody asked for")
    return whole


def judge_body(head: Head, content_type: str, body: bytes, settings: PagesSettings) -> Judgement:
    """The end of a final response that is a page by its head, if its body is whole."""
    try:
        decoded = decode(body, head.headers, settings.limit_bytes)
    except Refused as refusal:
        return Judgement(refusal.outcome, content_type, (), b"", refusal.detail)
    content_type = content_type or sniffed(decoded)
    outcome = outcome_of_status(head.status, content_type or ("" if decoded else "text/html"), len(decoded))
    opt_outs = opt_outs_of(head.headers, decoded[:META_BYTES])
    if outcome is Outcome.KEPT and opt_outs and settings.opt_outs:
        outcome = Outcome.OPTED_OUT
    return Judgement(outcome, content_type, opt_outs, decoded, "")


def outcome_of_status(status: int, content_type: str, body_length: int) -> Outcome:
    """The outcome of a final response. `content_type` without parameters, as `content_type_of` gives it."""
    if status in REDIRECTS:
        return Outcome.BAD_REDIRECT
    if status in (404, 410):
        return Outcome.NOT_FOUND
    if 400 <= status < 500:
        return Outcome.CLIENT_ERROR
    if 500 <= status < 600:
        return Outcome.SERVER_ERROR
    if not 200 <= status < 300:
        return Outcome.BAD_STATUS
    if content_type not in PAGE_TYPES:
        return Outcome.NOT_HTML
    return Outcome.KEPT if body_length else Outcome.EMPTY_BODY


def decode(body: bytes, headers: Headers, limit_bytes: int) -> bytes:
    """The body with its content codings and, chunks apart, its transfer codings undone, the last one first.

    A name that is no coding (`none`, a charset) is passed over, and so is a coding that the body is not in: servers and
    archives label as packed what they sent or stored as it is. Raises Refused: TOO_LARGE where any step gives more than
    limit_bytes, BAD_ENCODING for damaged or unknown bytes.
    """
    names = codings_of(headers)
    if sum(name in READ_CODINGS for name in names) > CODINGS:
        raise Refused(Outcome.BAD_ENCODING, f"{len(names)} codings")
    for name in reversed(names):
        if body and not as_it_is(body, name):
            body = decode_one(body, name, limit_bytes)
    if len(body) > limit_bytes:
        raise Refused(Outcome.TOO_LARGE, f"{len(body):,} bytes; the limit is {limit_bytes:,}")
    return body


def codings_of(headers: Headers) -> list[str]:
    """The codings of a body without chunks, in the order in which they were applied, whether they are any or not."""
    content = [name.lower() for name in elements(headers, "content-encoding")]
    return [name for name in (*content, *transfer_codings(headers)) if name not in ("identity", "chunked")]


def as_it_is(body: bytes, name: str) -> bool:
    """Whether a body is not in a coding: the name is none, or it is text, and long enough not to look so by chance."""
    return is_text(body) and (name not in READ_CODINGS or len(body) >= CHANCE_BYTES)


def is_decoded(body: bytes, headers: Headers) -> bool:
    """Whether a body is in none of its codings any more, or never was."""
    names = [name for name in codings_of(headers) if name in READ_CODINGS]
    return bool(names) and all(as_it_is(body, name) for name in names)


def decode_one(body: bytes, name: str, limit_bytes: int) -> bytes:
    """One coding undone. Raises Refused as `decode` does."""
    try:
        found = joined(unpacked(body, name), name, limit_bytes)
    except (zlib.error, OSError, LookupError) as error:
        if is_text(body):
            return body
        raise Refused(Outcome.BAD_ENCODING, f"{name[:40]!r}: {error}") from None
    return found or (body if is_text(body) else b"")


def beginning(body: bytes, headers: Headers, limit_bytes: int) -> bytes:
    """The first limit_bytes of a text in its codings, which may be cut off, damaged, or mislabelled.

    Raises Refused with BAD_ENCODING where not one byte comes of it.
    """
    names = [name for name in codings_of(headers) if name in READ_CODINGS]
    for name in reversed(names[:CODINGS] or (["gzip"] if body.startswith(GZIP) else [])):
        found = bytearray()
        try:
            for piece in () if is_text(body) else unpacked(body, name):
                found += piece
                if len(found) >= limit_bytes:
                    break
        except (zlib.error, OSError, LookupError) as error:
            if not found and not is_text(body):
                raise Refused(Outcome.BAD_ENCODING, f"{name[:40]!r}: {error}") from None
        body = body if is_text(body) else bytes(found)
    return body[:limit_bytes]


def unpacked(body: bytes, name: str) -> Iterable[bytes]:
    """The decompressed pieces of a body in a coding. They raise zlib.error or OSError; LookupError: no known coding.

    What gzip made is known by its first bytes, whatever coding it is said to be in.
    """
    if name in ("gzip", "x-gzip") or body.startswith(GZIP):
        return inflated(body, zlib.MAX_WBITS | 16)
    if name == "deflate":  # RFC 9110 means zlib; some servers send raw deflate, as browsers know
        zlib_wrapped = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
        return inflated(body, zlib.MAX_WBITS if zlib_wrapped else -zlib.MAX_WBITS)
    if name in ("br", "zstd"):
        reader = (BrotliReader if name == "br" else ZstdReader)(io.BytesIO(body))
        return iter(lambda: reader.read(65_536), b"")
    raise LookupError("no coding that is read here")


def joined(pieces: Iterable[bytes], name: str, limit_bytes: int) -> bytes:
    """The pieces as one, never much more than limit_bytes in memory. Raises Refused with TOO_LARGE."""
    whole = bytearray()
    for piece in pieces:
        whole += piece
        if len(whole) > limit_bytes:
            raise Refused(Outcome.TOO_LARGE, f"{name}: more than {limit_bytes:,} bytes once decompressed")
    return bytes(whole)


def inflated(body: bytes, window_bits: int) -> Iterable[bytes]:
    """The decompressed pieces, each at most 4 MB, of gzip (all members, RFC 1952) or deflate.

    Raises zlib.error, also for a stream cut short.
    """
    at = 0
    while at < len(body):
        stream = zlib.decompressobj(window_bits)
        while not stream.eof:
            if at >= len(body):
                raise zlib.error("the stream ends too early")
            fed = body[at : at + INFLATE_BYTES]
            yield stream.decompress(fed)
            at += len(fed) - len(stream.unused_data)
        if body[at : at + 2] != b"\x1f\x8b":  # what follows the last member does not count, as in browsers
            return
