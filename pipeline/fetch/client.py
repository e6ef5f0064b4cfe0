"""One bounded request: an address in, its responses and exactly one outcome out, whatever the server does.

Choice: redirects, decoding, retries and the deadline are done here, over `exchange`, since each needs a bound or a
question (robots.txt, the guard) that no library asks. Cost: 200 lines. Alternative: a library that follows and
decompresses; then a redirect is followed before anybody asked robots.txt, and a gzip bomb unpacks.

The deadline counts time on the network, over all redirects of a try: DNS, connect, TLS, headers, body. Waiting for
permission (a host's gap, its robots.txt) does not count: politeness towards one host fails no page. A fetch that may
not go on here and now ends as a continuation.
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
import msgspec

from pipeline.config import PLACEHOLDER_CONTACT, PagesSettings
from pipeline.counts import counted
from pipeline.fetch.continuations import Continuation, Later, Unfinished
from pipeline.fetch.exchange import Session, Wanted
from pipeline.fetch.guard import NotPublic
from pipeline.fetch.heads import Head, header, location_of
from pipeline.fetch.media_types import PAGE_TYPES, content_type_of
from pipeline.fetch.response import REDIRECTS, Fetched, Hop, Refused, judge
from pipeline.fetch.robots import user_agent
from pipeline.shards.outcomes import ConfigError, Outcome
from pipeline.urls import BadUrl, fetch_url

Permission = Callable[[str], Awaitable[Outcome]]
Rest = Callable[[Fetched, float], Awaitable[None]]

# What is read of a body that cannot become a page (redirect, error, image), to reuse the connection.
UNWANTED_BYTES = 65_536
UNWANTED_S = 2.0
EXAMPLE = re.compile(r"\bexample\.(com|net|org)\b|\byour-site\b", re.IGNORECASE)  # RFC 2606, section 3; the README's


def check_contact(settings: PagesSettings) -> None:
    """Raise ConfigError unless the contact tells a webmaster how to reach who runs the crawl."""
    contact = settings.contact.strip()
    placeholder = contact == PLACEHOLDER_CONTACT or EXAMPLE.search(contact) is not None
    if placeholder or not contact.isprintable() or not ("@" in contact or "://" in contact):
        why = " (names of example are nobody's)" if "example." in contact.lower() else ""
        raise ConfigError(
            f"pages.contact: {settings.contact!r} reaches nobody{why}; before the first request set it to your web "
            "page or mail address, which goes into the user agent"
        )


def open_session(settings: PagesSettings, software: str) -> Session:
    """A session for `fetch`: guarded, no cookies, no proxies, nothing decompressed. Needs a running loop."""
    return Session(
        settings,
        (
            ("User-Agent", user_agent(settings, software)),
            ("Accept", "text/html,application/xhtml+xml,text/plain;q=0.8,*/*;q=0.1"),
            ("Accept-Encoding", "gzip, deflate"),
        ),
    )


async def fetch(
    session: Session,
    continuation: Continuation,
    settings: PagesSettings,
    allowed: Permission,
    rest: Rest,
    any_type: bool = False,
) -> Fetched | Unfinished:
    """A fetch, new or continued: redirects and retries of transient failures included; or what is left.

    `allowed(url)` is awaited before every request, redirects and retries included; anything but KEPT ends the fetch
    with that outcome. It may take its time (a host's gap), or raise Later. `rest(seconds)` is awaited between a
    failure and the next try; the host is not to be asked for so long. `any_type` reads any media type to the limit.
    """
    tries = continuation.tries
    while True:
        end, transient = await follow(session, continuation, settings, allowed, any_type)
        pause = pause_s(tries, end, settings) if transient and isinstance(end, Fetched) else None
        if isinstance(end, Unfinished):
            return Unfinished(msgspec.structs.replace(end.continuation, tries=tries), end.hops)
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
    session: Session, continuation: Continuation, settings: PagesSettings, allowed: Permission, any_type: bool
) -> tuple[Fetched | Unfinished, bool]:
    """One try: the chain of redirects within one deadline; and whether another try may end better."""
    hops: list[Hop] = []
    url = (*continuation.asked, continuation.target)[0]
    target, left = continuation.target, continuation.left_s
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
                end = judged(url, tuple(hops), settings)
                return end, worth_retrying(end)
            target = next_target(continuation.asked, hops, settings.redirects)
    except Refused as refusal:
        status = hops[-1].status if hops else None
        end = Fetched(url, target, tuple(hops), refusal.outcome, status, "", (), refusal.detail, refusal.transient)
        return end, refusal.transient
    except Later as later:
        asked = (*continuation.asked, *(hop.url for hop in hops))
        return Unfinished(
            Continuation(target, asked, left, continuation.tries, later.robots, later.permit), tuple(hops)
        ), False


def worth_retrying(end: Fetched) -> bool:
    """Whether the same request may succeed later, by its status or since only a part of the page came."""
    return end.outcome in (Outcome.SERVER_ERROR, Outcome.INCOMPLETE) or end.status == 429


def judged(url: str, hops: tuple[Hop, ...], settings: PagesSettings) -> Fetched:
    """The end of a chain whose last response is no redirect."""
    last = hops[-1]
    verdict = judge(last.head, last.body, settings, last.cut)
    ended = (verdict.outcome, last.status, verdict.content_type, verdict.opt_outs, verdict.detail)
    return Fetched(url, last.url, hops, *ended)


def next_target(asked: tuple[str, ...], hops: list[Hop], redirects: int) -> str:
    """Where the last response leads. Raises Refused: BAD_REDIRECT, REDIRECT_LOOP, TOO_MANY_REDIRECTS.

    `asked`: addresses of the chain before `hops`.
    """
    last = hops[-1]
    location = location_of(last.headers)
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
        raise Refused(Outcome.TOO_MANY_REDIRECTS, f"{counted(len(chain), 'redirect')}; the limit is {redirects}")
    return target


async def bounded_request(session: Session, url: str, left_s: float, settings: PagesSettings, any_type: bool) -> Hop:
    """One request and its response, within left_s seconds. Raises Refused for every failure of the network."""
    try:
        async with asyncio.timeout(left_s):
            return await request(session, url, settings.limit_bytes, any_type)
    except OSError as error:  # TimeoutError is an OSError
        outcome = outcome_of(error)
        transient = outcome is Outcome.CONNECT_ERROR or is_passing(error)
        raise Refused(outcome, f"{type(error).__name__}: {error}"[:500], transient) from error


async def request(session: Session, url: str, limit_bytes: int, any_type: bool) -> Hop:
    """One response with as much of its body as can become a page."""

    def wanted(head: Head) -> Wanted:
        page = any_type or content_type_of(head.headers) in {"", *PAGE_TYPES}
        if 200 <= head.status < 300 and page:
            return Wanted(limit_bytes)
        return Wanted(min(UNWANTED_BYTES, limit_bytes), UNWANTED_S)

    date = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    found = await session.get(url, wanted)
    return Hop.of(url, date, session.headers, found.head, found.body, found.cut)


def outcome_of(error: BaseException) -> Outcome:
    """The outcome of an exception from the network."""
    chain = tuple(causes(error))
    if any(isinstance(cause, NotPublic) for cause in chain):
        return Outcome.NOT_PUBLIC
    if isinstance(error, socket.gaierror):
        return Outcome.NAME_ERROR
    if any(isinstance(cause, ssl.SSLError) for cause in chain):
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
