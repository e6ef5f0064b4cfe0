"""One exchange of HTTP/1.1: a GET goes out, a head and as much of its body as is wanted come in, as bytes.

Choice: a client of GET alone over asyncio, whose heads and bodies are read by the parser that reads WARC records
(`heads`): what a crawl accepts, its own records give back, by construction. Cost: HTTP/1.1 only, one request at a time
on a connection. Alternative: aiohttp on llhttp, which refuses what every browser takes (a blank before a colon, a line
without one, a length said twice) and keeps no byte of a head.

A server may close a connection that it let stand; the request is then sent once more, on a new one (RFC 9112, 9.3.1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from pipeline.config import PagesSettings
from pipeline.fetch import heads
from pipeline.fetch.connections import Connection, Connections, Origin, origin_of, parts_of
from pipeline.fetch.heads import Body, Head, Headers
from pipeline.fetch.response import Refused
from pipeline.shards.outcomes import Outcome

TRAILERS_S = 1.0  # that a body which is whole waits for the end of its trailers, so that the connection can be kept
LOOK_BACK = 64  # bytes before the new ones that are searched for the end of a head


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much of a body is worth reading: bytes, and seconds to wait for them beyond the head; None: no limit."""

    limit_bytes: int
    patience_s: float | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """The answer to a request. `body`: without chunks, still in its codings.

    `cut`: why not all of it is here: "length" (more than wanted), "time" (slower than wanted), "disconnect" (the
    connection broke), the words of WARC-Truncated; "" for a whole one.
    """

    head: Head
    body: bytes
    cut: str


class Session:
    """What asks: its connections, and the header lines of each of its requests. Needs a running loop."""

    def __init__(self, settings: PagesSettings, headers: Headers) -> None:
        self.connections = Connections(settings)
        self.headers = headers

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.connections.aclose()

    async def get(self, url: str, wanted: Callable[[Head], Wanted], headers: Headers = ()) -> Exchange:
        """Ask for an address that `fetch_url` gave; `headers` take the place of the session's of the same names.

        Raises OSError where no answer came, and Refused: BAD_RESPONSE where it is no HTTP, INCOMPLETE where its head
        breaks off.
        """
        origin, request = origin_of(url), request_of(url, merged(self.headers, headers))
        connection = self.connections.kept(origin)
        if connection is not None and (found := await self.talk(origin, connection, request, wanted)) is not None:
            return found
        connection = await self.connections.opened(origin)
        try:
            found = await self.talk(origin, connection, request, wanted)
        finally:
            self.connections.used_anew(origin, connection)
        if found is None:
            raise connection.error or ConnectionResetError("hung up without an answer")
        return found

    async def talk(
        self, origin: Origin, connection: Connection, request: bytes, wanted: Callable[[Head], Wanted]
    ) -> Exchange | None:
        """One exchange on a connection, which is then kept or closed; None where not a byte came."""
        reusable = False
        try:
            connection.send(request)
            found = await head_from(connection)
            if found is None:
                return None
            head, rest = found
            if heads.contradiction(head):  # whoever judges the head says so
                return Exchange(head, b"", "")
            body = Body(head)
            content, cut = await body_from(connection, body, rest, wanted(head))
            reusable = body.ended and not cut and stays_open(head)
            return Exchange(head, content, cut)
        finally:
            if reusable:
                self.connections.keep(origin, connection)
            else:
                self.connections.close(connection)


def request_of(url: str, headers: Headers) -> bytes:
    """The head of the request for an address. Raises UnicodeError for an address that is not ASCII."""
    _, authority, target = parts_of(url)
    begins = f"GET {target or '/'} HTTP/1.1\r\nHost: {authority}\r\n"
    return begins.encode("ascii") + "".join(f"{name}: {value}\r\n" for name, value in headers).encode() + b"\r\n"


def merged(usual: Headers, special: Headers) -> Headers:
    """Headers with some of them replaced."""
    names = {name.lower() for name, _ in special}
    return (*(field for field in usual if field[0].lower() not in names), *special)


async def head_from(connection: Connection) -> tuple[Head, bytes] | None:
    """The head of the answer and what came after it; None where nothing came. Raises Refused as `Session.get` does."""
    data = bytearray()
    while piece := await connection.read():
        searched = max(0, len(data) - LOOK_BACK)
        data += piece if data else piece.lstrip(b"\r\n")
        complete = len(data) > heads.HEAD_BYTES or heads.END.search(data, searched) is not None
        found = heads.parse(bytes(data)) if complete else None
        if found and found[0].ended:
            return found[0], bytes(data[found[1] :])
        if (complete and not found) or not heads.begins(bytes(data[:LOOK_BACK])):
            raise Refused(Outcome.BAD_RESPONSE, not_http(data))
    if not data:
        return None
    if heads.parse(bytes(data)) is None:
        raise Refused(Outcome.BAD_RESPONSE, not_http(data))
    raise Refused(Outcome.INCOMPLETE, "the connection broke within the head", transient=True)


def not_http(data: bytearray) -> str:
    """What came instead of an answer."""
    long = f" and no end within {heads.HEAD_BYTES:,} bytes" if len(data) > heads.HEAD_BYTES else ""
    return f"the answer is no HTTP: it begins with {bytes(data[:40])!r}{long}"


async def body_from(connection: Connection, body: Body, rest: bytes, wanted: Wanted) -> tuple[bytes, str]:
    """The body, as far as it is wanted, and why it was cut, as in Exchange."""
    found = bytearray(body.feed(rest))
    try:
        async with asyncio.timeout(wanted.patience_s):
            while not (body.whole or body.broken) and len(found) <= wanted.limit_bytes:
                piece = await connection.read()
                if not piece:
                    break
                found += body.feed(piece)
    except TimeoutError:
        return bytes(found[: wanted.limit_bytes]), "time"
    if len(found) > wanted.limit_bytes:
        return bytes(found[: wanted.limit_bytes]), "length"
    with suppress(TimeoutError):
        async with asyncio.timeout(TRAILERS_S):
            while body.trailing and (piece := await connection.read()):
                body.feed(piece)
    broken = body.missing() or (connection.error is not None and not body.whole)
    return bytes(found), "disconnect" if broken else ""


def stays_open(head: Head) -> bool:
    """Whether the server lets the connection stand for another request: RFC 9112, section 9.3."""
    options = {option.lower() for option in heads.elements(head.headers, "connection")}
    return "close" not in options and (not head.http_version.startswith("1.0") or "keep-alive" in options)
