"""What an HTTP response is worth: its body decoded, its outcome, its opt-outs. The same for a crawl and for WARC files.

Choice: one judgement for both, so that a page from a user's WARC ends like the same page crawled. Decoding stops at a
limit, whatever the bytes claim to become. Cost: a body is decoded once to be judged, and again by who reads the WARC.
Alternative: leave it to aiohttp and to the WARC library; neither bounds what a few kilobytes decompress to.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from fastwarc.stream_io import BrotliReader, ZstdReader

from pipeline.config import PagesSettings
from pipeline.fetch.heads import Headers, header
from pipeline.shards.outcomes import Outcome

REDIRECTS = frozenset({301, 302, 303, 307, 308})  # RFC 9110, section 15.4: those that name one new place
PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/plain"})
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
CODINGS = 3  # content codings laid over each other; one is usual, more than two never meant well
INFLATE_BYTES = 4_096  # handed to zlib at once: becomes 4 MB at most, and many tiny members are not copied long
META_BYTES = 65_536  # of a page, searched for opt-outs in meta elements

# WHATWG MIME Sniffing, section 7.1: what an unlabelled document that is HTML begins with.
HTML_LOOK = re.compile(
    rb"(?:\xef\xbb\xbf)?[\t\n\f\r ]*<(?:!--|(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|"
    rb"body|br|p)[ >\t\n\f\r])",
    re.IGNORECASE,
)
META = re.compile(rb"<meta\b([^>]{1,500})>", re.IGNORECASE)
NO_AI = re.compile(r"\bno(?:image)?ai\b", re.IGNORECASE)  # the directives that DeviantArt introduced in 2022
# Names of training in usage preferences, the most particular first. Content-Usage: `train-ai` (draft-ietf-aipref-vocab)
# and `ai` (its first versions); Content-Signal: `ai-train` (contentsignals.org).
TRAINING = ("train-ai", "ai-train", "ai")


class Refused(Exception):  # noqa: N818 - named for what happened
    """A fetch or a record ends with `outcome`. `transient`: the next try may end better."""

    def __init__(self, outcome: Outcome, detail: str, transient: bool = False) -> None:
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.detail = detail
        self.transient = transient


@dataclass(frozen=True, slots=True)
class Hop:
    """One response of the chain, with its request. `body`: without chunking, still content-encoded."""

    url: str
    date: str  # UTC, ISO 8601 with microseconds: when the request began
    request_headers: Headers
    http_version: str  # "1.1"
    status: int
    reason: str
    headers: Headers
    body: bytes
    truncated: bool  # more bytes came, or would have come, than were read


@dataclass(frozen=True, slots=True)
class Fetched:
    """How one fetch ended. `status` is the last response's, None without one; `detail` says more for people."""

    url: str
    final_url: str
    hops: tuple[Hop, ...]
    outcome: Outcome
    status: int | None
    content_type: str
    opt_outs: tuple[str, ...]
    detail: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a final response ends, and what was found out on the way. `body` is decoded; b"" unless it was needed."""

    outcome: Outcome
    content_type: str
    opt_outs: tuple[str, ...]
    body: bytes
    detail: str


def judge(status: int, headers: Headers, body: bytes, settings: PagesSettings) -> Judgement:
    """The end of a final response whose body is still content-encoded. Never raises."""
    content_type = content_type_of(headers)
    outcome = outcome_of_status(status, content_type or "text/html", len(body))
    if outcome is not Outcome.KEPT:
        return Judgement(outcome, content_type, (), b"", f"status {status}, {content_type or 'no content type'}")
    try:
        decoded = decode(body, header(headers, "content-encoding"), settings.limit_bytes)
    except Refused as refusal:
        return Judgement(refusal.outcome, content_type, (), b"", refusal.detail)
    content_type = content_type or sniffed(decoded)
    outcome = outcome_of_status(status, content_type, len(decoded))
    opt_outs = opt_outs_of(headers, decoded[:META_BYTES])
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


def content_type_of(headers: Headers) -> str:
    """The media type that the last Content-Type names, in lower case and without parameters; "" where none."""
    values = [value for key, value in headers if key.lower() == "content-type"]
    return values[-1].partition(";")[0].strip().lower() if values else ""


def sniffed(body: bytes) -> str:
    """The media type text/html for a body that looks like it, else ""."""
    return "text/html" if HTML_LOOK.match(body) else ""


def opt_outs_of(headers: Headers, head: bytes) -> tuple[str, ...]:
    """The ways in which a page asks not to be used for training, sorted, such as `header:noai`.

    X-Robots-Tag and meta robots with noai or noimageai, whichever agent they address; TDM-Reservation: 1 in a header
    or a meta element (W3C TDM Reservation Protocol, sections 5.1 and 5.3); Content-Usage (draft-ietf-aipref-attach,
    section 2) and Content-Signal.
    """
    found = {f"header:{word.lower()}" for word in NO_AI.findall(header(headers, "x-robots-tag"))}
    found.update(f"header:{name}" for name in ("content-usage", "content-signal") if refuses(header(headers, name)))
    if header(headers, "tdm-reservation").strip() == "1":
        found.add("header:tdm-reservation")
    for match in META.finditer(head):
        attributes = match[1].decode("latin-1").lower()
        if "robots" in attributes:
            found.update(f"meta:{word}" for word in NO_AI.findall(attributes))
        if "tdm-reservation" in attributes and re.search(r"""content\s*=\s*["']?\s*1\b""", attributes):
            found.add("meta:tdm-reservation")
    return tuple(sorted(found))


def refuses(preferences: str) -> bool:
    """Whether usage preferences ask not to train."""
    return may_train(preferences) is False


def may_train(preferences: str) -> bool | None:
    """What usage preferences, such as `train-ai=n, search=y`, say of training; None where they say nothing.

    A dictionary of structured fields (RFC 9651, section 3.2), of which the last value of a name counts; parameters do
    not matter here.
    """
    stated: dict[str, str] = {}
    for member in preferences.lower().split(","):
        name, _, value = member.partition(";")[0].partition("=")
        stated[name.strip()] = value.strip()
    for name in TRAINING:
        if stated.get(name) in ("n", "no"):
            return False
        if stated.get(name) in ("y", "yes"):
            return True
    return None


def decode(body: bytes, encodings: str, limit_bytes: int) -> bytes:
    """The body with its content codings undone, last one first. `encodings` is the value of Content-Encoding.

    Raises Refused: TOO_LARGE where any step gives more than limit_bytes, BAD_ENCODING for bytes or names that mean
    nothing. A page in plain HTML labelled as compressed is taken for what it is (WARC files of archives hold such).
    """
    names = [name for name in (part.strip().lower() for part in encodings.split(",")) if name not in ("", "identity")]
    if len(names) > CODINGS:
        raise Refused(Outcome.BAD_ENCODING, f"{len(names)} content codings")
    if names and sniffed(body):
        names = []
    for name in reversed(names):
        if body:
            body = decode_one(body, name, limit_bytes)
    if len(body) > limit_bytes:
        raise Refused(Outcome.TOO_LARGE, f"{len(body):,} bytes; the limit is {limit_bytes:,}")
    return body


def decode_one(body: bytes, name: str, limit_bytes: int) -> bytes:
    """One content coding undone. Raises Refused as `decode` does."""
    try:
        if name in ("gzip", "x-gzip"):
            pieces = inflated(body, zlib.MAX_WBITS | 16)
        elif name == "deflate":  # RFC 9110 means zlib; some servers send raw deflate, as browsers know
            zlib_wrapped = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
            pieces = inflated(body, zlib.MAX_WBITS if zlib_wrapped else -zlib.MAX_WBITS)
        elif name in ("br", "zstd"):
            reader = (BrotliReader if name == "br" else ZstdReader)(io.BytesIO(body))
            pieces = iter(lambda: reader.read(65_536), b"")
        else:
            raise Refused(Outcome.BAD_ENCODING, f"unknown content coding {name[:40]!r}")
        return joined(pieces, name, limit_bytes)
    except (zlib.error, OSError) as error:
        raise Refused(Outcome.BAD_ENCODING, f"{name}: {error}") from None


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
