"""One bounded request: an address in, its responses and exactly one outcome out, whatever the server does.

Choice: aiohttp for the protocol only. Redirects, decompression, retries and the deadline are done here, since each
needs a bound or a question (robots.txt, the guard) that the library does not ask. Cost: 250 lines. Alternative: let
aiohttp follow and decompress; then a redirect is followed before anybody asked robots.txt, and a gzip bomb unpacks.

The deadline counts time on the network, over all redirects of a try: DNS, connect, TLS, headers, body. Waiting for
permission (a host's gap, its robots.txt) does not count: politeness towards one host fails no page. A fetch that may
not go on here and now ends as an errand.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import ada_url
import aiohttp
import msgspec
from yarl import URL

from pipeline.config import PLACEHOLDER_CONTACT, PagesSettings
from pipeline.fetch.errands import Errand, Later, Unfinished
from pipeline.fetch.guard import NotPublic, connector
from pipeline.fetch.heads import Head, header
from pipeline.fetch.response import PAGE_TYPES, REDIRECTS, Fetched, Hop, Refused, content_type_of, judge
from pipeline.fetch.robots import user_agent
from pipeline.shards.outcomes import ConfigError, Outcome
from pipeline.urls import BadUrl, fetch_url

Permission = Callable[[str], Awaitable[Outcome]]
Rest = Callable[[Fetched, float], Awaitable[None]]

UNWANTED_BYTES = 65_536  # read of a body that cannot become a page (redirect, error, image), to reuse the connection
HEADER_BYTES = 65_536  # of one header line; some sites send policies of over 8 KiB; aiohttp allows 128 lines
EXAMPLE = re.compile(r"\bexample\.(com|net|org)\b", re.IGNORECASE)  # nobody's: RFC 2606, section 3


def check_contact(settings: PagesSettings) -> None:
    """Raise ConfigError unless the contact tells a webmaster how to reach who runs the crawl."""
    contact = settings.contact.strip()
    placeholder = contact == PLACEHOLDER_CONTACT or EXAMPLE.search(contact) is not None
    if placeholder or not contact.isprintable() or not ("@" in contact or "://" in contact):
        raise ConfigError(
            f"pages.contact: {settings.contact!r} reaches nobody; before the first request set it to your web page or "
            "mail address, which goes into the user agent"
        )


def open_session(settings: PagesSettings, software: str) -> aiohttp.ClientSession:
    """A session for `fetch`: guarded, no cookies, no proxies, nothing decompressed. Needs a running loop."""
    return aiohttp.ClientSession(
        connector=connector(settings),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={
            "User-Agent": user_agent(settings, software),
            "Accept": "text/html,application/xhtml+xml,text/plain;q=0.8,*/*;q=0.1",
            "Accept-Encoding": "gzip, deflate",
        },
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # the deadline is kept in `follow`
        max_line_size=HEADER_BYTES,
        max_field_size=HEADER_BYTES,
    )


async def fetch(
    session: aiohttp.ClientSession,
    errand: Errand,
    settings: PagesSettings,
    allowed: Permission,
    rest: Rest,
    any_type: bool = False,
) -> Fetched | Unfinished:
    """One errand done, with redirects and with retries of transient failures; or, where it has to wait, what is left.

    `allowed(url)` is awaited before every request, redirects and retries included; anything but KEPT ends the fetch
    with that outcome. It may take its time (a host's gap), or raise Later. `rest(seconds)` is awaited between a
    failure and the next try; the host is not to be asked for so long. `any_type` reads any media type to the limit.
    """
    tries = errand.tries
    while True:
        end, transient = await follow(session, errand, settings, allowed, any_type)
        pause = pause_s(tries, end, settings) if transient and isinstance(end, Fetched) else None
        if isinstance(end, Unfinished):
            return Unfinished(msgspec.structs.replace(end.errand, tries=tries), end.hops)
        if pause is None or tries >= settings.retries:
            return end
        tries += 1
        await rest(end, pause)


def pause_s(tried: int, fetched: Fetched, settings: PagesSettings) -> float | None:
    """Seconds before the next try: what Retry-After asks, else the gap doubled each time. None: not worth waiting.

    More than a deadline's length ends the tries, rather than asking again before the server wants it.
    """
    asked = retry_after_s(fetched)
    if asked > settings.deadline_s:
        return None
    return max(asked, min(settings.gap_s * 2.0**tried, settings.deadline_s))


def retry_after_s(fetched: Fetched) -> float:
    """Seconds that the last response asks to wait, as a number or as a date (RFC 9110, section 10.2.3); else 0."""
    asked = header(fetched.hops[-1].headers, "retry-after").strip() if fetched.hops else ""
    if asked.isascii() and asked.isdigit():
        return float(asked[:9])
    try:
        return max(0.0, (parsedate_to_datetime(asked).astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return 0.0


def is_overloaded(fetched: Fetched) -> bool:
    """Whether the server says that it is asked too much: 429 (RFC 6585, section 4) or 503 (RFC 9110, 15.6.4)."""
    return fetched.status in (429, 503)


async def follow(
    session: aiohttp.ClientSession, errand: Errand, settings: PagesSettings, allowed: Permission, any_type: bool
) -> tuple[Fetched | Unfinished, bool]:
    """One try: the chain of redirects within one deadline; and whether another try may end better."""
    hops: list[Hop] = []
    url = (*errand.asked, errand.target)[0]
    target, left = errand.target, errand.left_s
    clock = asyncio.get_running_loop().time
    try:
        while True:
            permission = await allowed(target)
            if permission is not Outcome.KEPT:
                raise Refused(permission, target)
            began = clock()
            hops.append(await bounded_request(session, target, left, settings, any_type))
            left -= clock() - began
            if hops[-1].status not in REDIRECTS:
                return judged(url, tuple(hops), settings), worth_retrying(hops[-1].status)
            target = next_target(errand.asked, hops, settings.redirects)
    except Refused as refusal:
        status = hops[-1].status if hops else None
        end = Fetched(url, target, tuple(hops), refusal.outcome, status, "", (), refusal.detail, refusal.transient)
        return end, refusal.transient
    except Later as later:
        asked = (*errand.asked, *(hop.url for hop in hops))
        return Unfinished(Errand(target, asked, left, errand.tries, later.robots, later.permit), tuple(hops)), False


def worth_retrying(status: int) -> bool:
    """Whether a status says that the same request may succeed later."""
    return status >= 500 or status == 429


def judged(url: str, hops: tuple[Hop, ...], settings: PagesSettings) -> Fetched:
    """The end of a chain whose last response is no redirect."""
    last = hops[-1]
    head = Head(last.http_version, last.status, last.reason, last.headers)
    verdict = judge(head, last.body, settings, "length" if last.truncated else "")
    outcome, detail = verdict.outcome, verdict.detail
    return Fetched(url, last.url, hops, outcome, last.status, verdict.content_type, verdict.opt_outs, detail)


def next_target(asked: tuple[str, ...], hops: list[Hop], redirects: int) -> str:
    """Where the last response leads. Raises Refused: BAD_REDIRECT, REDIRECT_LOOP, TOO_MANY_REDIRECTS.

    `asked`: addresses of the chain before `hops`.
    """
    last = hops[-1]
    location = next((value for name, value in last.headers if name.lower() == "location"), "")
    try:
        if not location:
            raise BadUrl("no Location")
        target = fetch_url(ada_url.join_url(last.url, location))
    except ValueError as error:
        raise Refused(Outcome.BAD_REDIRECT, f"{last.url}: {error}") from None
    chain = [*asked, *(hop.url for hop in hops)]
    if target in chain:
        raise Refused(Outcome.REDIRECT_LOOP, target)
    if len(chain) > redirects:
        raise Refused(Outcome.TOO_MANY_REDIRECTS, f"{len(chain)} redirects; the limit is {redirects}")
    return target


async def bounded_request(
    session: aiohttp.ClientSession, url: str, left_s: float, settings: PagesSettings, any_type: bool
) -> Hop:
    """One request and its response, within left_s seconds. Raises Refused for every failure of the network."""
    try:
        async with asyncio.timeout(left_s):
            return await request(session, url, settings.limit_bytes, any_type)
    except (aiohttp.ClientError, OSError, UnicodeError) as error:  # TimeoutError is an OSError
        outcome = outcome_of(error)
        transient = outcome is Outcome.CONNECT_ERROR and not isinstance(error, aiohttp.ClientResponseError)
        raise Refused(outcome, f"{type(error).__name__}: {error}"[:500], transient or is_passing(error)) from error


async def request(session: aiohttp.ClientSession, url: str, limit_bytes: int, any_type: bool) -> Hop:
    """One response with as much of its body as can become a page."""
    date = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    async with session.get(URL(url, encoded=True), allow_redirects=False) as response:
        headers = tuple(
            (name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in response.raw_headers
        )
        wanted = 200 <= response.status < 300 and (any_type or content_type_of(headers) in {"", *PAGE_TYPES})
        body, truncated = await read(response, limit_bytes if wanted else min(UNWANTED_BYTES, limit_bytes))
        version = response.version or aiohttp.HttpVersion11
        return Hop(
            url=url,
            date=date,
            request_headers=tuple((str(name), value) for name, value in response.request_info.headers.items()),
            http_version=f"{version.major}.{version.minor}",
            status=response.status,
            reason=response.reason or "",
            headers=headers,
            body=body,
            truncated=truncated,
        )


async def read(response: aiohttp.ClientResponse, limit_bytes: int) -> tuple[bytes, bool]:
    """The body, cut at the limit, and whether it was cut; then the connection is closed, so that no more comes."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > limit_bytes:
            response.close()
            return bytes(body[:limit_bytes]), True
    return bytes(body), False


def outcome_of(error: BaseException) -> Outcome:
    """The outcome of an exception from the network."""
    chain = tuple(causes(error))
    if any(isinstance(cause, NotPublic) for cause in chain):
        return Outcome.NOT_PUBLIC
    if isinstance(error, aiohttp.ClientConnectorDNSError | aiohttp.InvalidURL | UnicodeError):
        return Outcome.NAME_ERROR
    if any(isinstance(cause, ssl.SSLError | aiohttp.ClientSSLError) for cause in chain):
        return Outcome.TLS_ERROR
    return Outcome.TIMED_OUT if isinstance(error, TimeoutError) else Outcome.CONNECT_ERROR


def is_passing(error: BaseException) -> bool:
    """Whether a name server said that it cannot answer now, rather than that there is no such name."""
    return any(isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN for cause in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and those that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__
