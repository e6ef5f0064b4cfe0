"""The demo's web: one server on a loopback port that is every host of the demo, told apart by the Host header.

Choice: asyncio streams, since half of the replies break HTTP in ways a proper server refuses to; and a thread, so that
the crawler meets it over TCP as it meets any other. Cost: HTTP/1.1 by hand, one request a connection, GET alone.
Alternative: aiohttp's server, which cannot hang up without an answer or go on with a header for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Self

from pipeline.demo import site
from pipeline.demo.replies import Manner, Reply, error, page
from pipeline.demo.traps import ROADS, TRAPS
from pipeline.urls import is_tracking

ADDRESS = "127.0.0.1"
PACE_S = 0.2  # between two pieces of a reply that is slow on purpose
LONGEST_S = 60  # after which even such a reply ends, whoever still listens
MOST_BYTES = 64_000_000  # of the reply that has no end
START_S = 30  # to begin to listen; prose has been read before
OPEN_TO_ALL = b"User-agent: *\nAllow: /\n"
REASONS = {200: "OK", 301: "Moved Permanently", 302: "Found", 404: "Not Found", 503: "Service Unavailable"}

Place = tuple[str, str]  # host without `www.`, and path with its query but without tracking parameters


class LocalWeb:
    """All hosts of the demo while the `with` block lasts. `hits`: requests by (host without www., path and query)."""

    def __init__(self) -> None:
        """Nothing is served yet; reads the prose, which takes a second or two."""
        self.hits: Counter[Place] = Counter()
        self.port = 0
        self._pages = everything()
        self._made: dict[Place, Reply] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Listen on an ephemeral port of the loopback address. Raises OSError where no port can be had."""
        started: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="demo web", daemon=True)
        self._thread.start()
        self.port = started.result(timeout=START_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up on everybody and stop."""
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def local_hosts(self) -> dict[str, str]:
        """Every host name of the demo, with and without `www.`, to the address and port that answer for it."""
        names = {name.removeprefix("www.") for name in (*site.HOSTS, *site.EDGE_HOSTS)}
        return {spelled: f"{ADDRESS}:{self.port}" for name in sorted(names) for spelled in (name, f"www.{name}")}

    def _run(self, started: Future[int]) -> None:
        try:
            asyncio.run(self._serve(started))
        except OSError as refusal:
            if started.done():
                raise
            started.set_exception(refusal)

    async def _serve(self, started: Future[int]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._answer, ADDRESS, 0)
        started.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()  # asyncio.run then cancels the answers that are still going on

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that leaves early is no failure here: it is what most traps are for. Nor is the end of the web, which
        # cancels answers that are still going on; Python 3.11's streams would print a traceback for each.
        with contextlib.suppress(
            ConnectionError,
            TimeoutError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            asyncio.CancelledError,
        ):
            try:
                async with asyncio.timeout(LONGEST_S):
                    place = place_of(await reader.readuntil(b"\r\n\r\n"))
                    self.hits[place] += 1
                    await send(writer, self._reply(place), first=self.hits[place] == 1)
            finally:
                writer.close()

    def _reply(self, place: Place) -> Reply:
        if place not in self._made:
            self._made[place] = self._pages[place]() if place in self._pages else error(404, "Not Found")
        return self._made[place]


def everything() -> dict[Place, Callable[[], Reply]]:
    """What stands where: robots.txt of every host, ordinary pages, traps, and the roads between them."""
    found: dict[Place, Callable[[], Reply]] = {}
    for host in (*site.HOSTS, *site.EDGE_HOSTS):
        rules = site.robots_txt(host).encode() if host in site.HOSTS else OPEN_TO_ALL
        found[place_in(host, "/robots.txt")] = partial(Reply, headers=(("Content-Type", "text/plain"),), body=rules)
    for ordinary in site.ordinary_pages():
        found[place_in(ordinary.host, ordinary.path)] = partial(page, ordinary.url, ordinary.passage)
    replies = {**{trap.url: trap.reply for trap in TRAPS}, **ROADS}
    for url, reply in replies.items():
        if reply is not None:
            host, _, path = url.removeprefix("http://").partition("/")
            found[place_in(host, "/" + path)] = reply
    return found


def place_in(host: str, target: str) -> Place:
    """The key of a page, by any of its spellings that servers do not tell apart."""
    path, _, query = target.partition("?")
    query = "&".join(pair for pair in query.split("&") if pair and not is_tracking(pair))
    return host.lower().removeprefix("www."), f"{path}?{query}" if query else path


def place_of(head: bytes) -> Place:
    """Which page a request head asks for; an unreadable one asks for a page that is not there."""
    request, *lines = head.decode("latin-1").split("\r\n")
    target = request.partition(" ")[2].partition(" ")[0]
    host = next((line.partition(":")[2] for line in lines if line.lower().startswith("host:")), "")
    return place_in(host.strip().partition(":")[0], target)


async def send(writer: asyncio.StreamWriter, reply: Reply, first: bool) -> None:
    """Send one reply in its manner; `first`: nobody has asked for the page before. Ends when the client leaves."""
    if reply.manner is Manner.CLOSED:
        return
    if reply.manner is Manner.BUSY_ONCE and first:
        reply = error(503, "Service Unavailable")
    head = f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Trap')}\r\nConnection: close\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in reply.headers)
    if reply.manner is Manner.ENDLESS:
        await send_on(writer, head.encode() + b"\r\n", reply.body * 1_000, MOST_BYTES, pace_s=0)
    elif reply.manner is Manner.SLOW_HEAD:
        await send_on(writer, head.encode(), b"X-Patience: please\r\n", MOST_BYTES, PACE_S)
    elif reply.manner is Manner.SLOW_BODY:
        await send_on(writer, head.encode() + b"\r\n", b"<", MOST_BYTES, PACE_S)
    else:
        usual = head.encode() + f"Content-Length: {len(reply.body)}\r\n\r\n".encode()
        writer.write((reply.head or usual) + reply.body + reply.after)
        await writer.drain()


async def send_on(writer: asyncio.StreamWriter, head: bytes, piece: bytes, most_bytes: int, pace_s: float) -> None:
    """Send the head and then the same piece over and over, `pace_s` seconds apart."""
    writer.write(head)
    for _ in range(most_bytes // len(piece)):
        if writer.transport.is_closing():
            return
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pace_s)
