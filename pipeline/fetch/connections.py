"""Connections to web servers: guarded, TLS verified, each kept a while for the next request to the same server.

Choice: asyncio's protocols bare, one idle connection a server, since a crawl asks a host one thing at a time. Cost: a
page of code that a library has too. Alternative: aiohttp, whose pool and sockets were used here before; what it cannot
give is the bytes of a head as they came.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from pipeline.config import PagesSettings
from pipeline.fetch.guard import Resolver, connected

UNREAD_BYTES = 262_144  # that a connection holds before the server has to wait
Origin = tuple[str, str, int]  # scheme, host, port


class Connection(asyncio.Protocol):
    """One connection as a stream of bytes. `error`: why it ended, where it did not end in order.

    `opened_at`: when, on the loop's clock; `answered`: whether any bytes came.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.unread = bytearray()
        self.ended = False
        self.error: Exception | None = None
        self.opened_at = 0.0
        self.answered = False
        self.waiting: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self.opened_at = asyncio.get_running_loop().time()
        self.transport = transport  # type: ignore[assignment]  # of a stream socket it is a Transport

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.answered = True
        self.unread += data
        if len(self.unread) > UNREAD_BYTES and self.transport is not None:
            self.transport.pause_reading()
        self.wake()

    def eof_received(self) -> None:
        """The server sends no more."""
        self.ended = True
        self.wake()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self.error = None if self.ended else error
        self.ended = True
        self.wake()

    def wake(self) -> None:
        """Let who reads go on."""
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)

    async def read(self) -> bytes:
        """The bytes that came since the last call, waited for; b"" at the end."""
        if not self.unread and not self.ended:
            if self.transport is not None:
                self.transport.resume_reading()
            self.waiting = asyncio.get_running_loop().create_future()
            await self.waiting
        found = bytes(self.unread)
        self.unread.clear()
        return found

    def send(self, data: bytes) -> None:
        """Send bytes, whenever the server takes them."""
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        """Hang up, whatever is under way."""
        if self.transport is not None:
            self.transport.abort()

    @property
    def quiet(self) -> bool:
        """Whether it stands and nothing came that nobody asked for."""
        return not self.ended and not self.unread


@dataclass(slots=True)
class Idle:
    """A connection that waits for another request, until it is closed."""

    connection: Connection
    closing: asyncio.TimerHandle


class Connections:
    """All connections of a crawl: those in use, and of each server at most one that is not. Needs a running loop.

    There are at most `settings.connections` as long as no more are in use. Raises ConfigError for a local host without
    an IP address.
    """

    def __init__(self, settings: PagesSettings) -> None:
        self.resolver = Resolver(settings)
        self.most = settings.connections
        self.keep_s = settings.gap_s + 1  # long enough for the next page of the host
        self.tls = ssl.create_default_context()
        self.tls.set_alpn_protocols(["http/1.1"])
        self.idle: dict[Origin, Idle] = {}  # the one that has waited longest first
        self.used: set[Connection] = set()

    def kept(self, origin: Origin) -> Connection | None:
        """The connection to a server that stands already, in use from now on; None where there is none."""
        idle = self.idle.pop(origin, None)
        if idle is None:
            return None
        idle.closing.cancel()
        if not idle.connection.quiet:
            idle.connection.close()
            return None
        self.used.add(idle.connection)
        return idle.connection

    async def opened(self, origin: Origin) -> Connection:
        """A new connection to a server. Raises OSError: gaierror, NotPublic, ssl.SSLError or another."""
        while self.idle and len(self.idle) + len(self.used) >= self.most:
            self.drop(next(iter(self.idle)))
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        sock = await connected(self.resolver, host, port)
        tls, name = (self.tls, host.strip("[]").rstrip(".")) if scheme == "https" else (None, None)
        try:
            _, connection = await loop.create_connection(Connection, sock=sock, ssl=tls, server_hostname=name)
        except BaseException:
            sock.close()
            raise
        self.used.add(connection)
        return connection

    def used_anew(self, origin: Origin, connection: Connection) -> None:
        """Note that a server answered over a connection that is new, if it did."""
        if connection.answered:
            reached = self.resolver.reached
            reached.opened_at = max(reached.opened_at, connection.opened_at)
            if not self.resolver.asks_for(origin[1]):
                reached.named_at = max(reached.named_at, connection.opened_at)

    def keep(self, origin: Origin, connection: Connection) -> None:
        """Take a connection back that another request may use."""
        self.used.discard(connection)
        if origin in self.idle or not connection.quiet:
            connection.close()
            return
        closing = asyncio.get_running_loop().call_later(self.keep_s, self.drop, origin)
        self.idle[origin] = Idle(connection, closing)

    def drop(self, origin: Origin) -> None:
        """Close the idle connection to a server."""
        idle = self.idle.pop(origin)
        idle.closing.cancel()
        idle.connection.close()

    def close(self, connection: Connection) -> None:
        """Close a connection that was in use."""
        self.used.discard(connection)
        connection.close()

    async def aclose(self) -> None:
        """Close all."""
        for origin in [*self.idle]:
            self.drop(origin)
        for connection in [*self.used]:
            self.close(connection)
        self.resolver.close()
        await asyncio.sleep(0)  # transports close in the loop's next turn


def origin_of(url: str) -> Origin:
    """Which server has an address that `fetch_url` gave."""
    scheme, authority, _ = parts_of(url)
    host, colon, port = authority.rpartition(":")
    if colon and not port.endswith("]"):
        return scheme, host, int(port)
    return scheme, authority, 443 if scheme == "https" else 80


def parts_of(url: str) -> tuple[str, str, str]:
    """Scheme, host with its port if it is not the scheme's own, and the rest of an address that `fetch_url` gave."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return scheme, authority, slash + path
