"""Reddit's API through PRAW: one question at a time, politely, within bounds, and with no secret in any error.

Choice: PRAW signs in, renews the token and says who we are; pages are taken as JSON from its `Reddit.request`, and all
traffic goes through a requestor of ours, which keeps the rate, waits, retries and gives up. Cost: answers are decoded
in `listings.py`. Alternative: PRAW's models. They ask Reddit once more for every attribute that a deleted submission
lacks, follow a circle of `after` for ever, and prawcore sleeps where no test can see the clock.
"""

from __future__ import annotations

import configparser
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from threading import Thread
from typing import Annotated, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec
import praw
import prawcore
from msgspec import Meta
from praw.exceptions import PRAWException
from prawcore.exceptions import PrawcoreException, RequestException

from pipeline.config import HarvestSettings
from pipeline.shards.outcomes import ConfigError, Outcome, SourceError
from pipeline.submissions.listings import Unreadable
from pipeline.submissions.rows import LATEST_UTC

LONGEST_WAIT_S = 900.0  # Reddit counts requests over 600 s; who asks for more is told of, not waited for
LARGEST_ANSWER = 32 << 20  # bytes; a page of 100 submissions takes 0.1 to 0.5 MB
TOKEN_PATH = "/api/v1/access_token"
TOO_MANY, TIMED_OUT, UNAUTHORIZED = 429, 408, 401
T = TypeVar("T")
REASONS = {"private": Outcome.PRIVATE, "quarantined": Outcome.QUARANTINED, "banned": Outcome.BANNED}


class Clock(NamedTuple):
    """What time it is (seconds since 1970), how much has passed, and how to let some pass."""

    now: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]


class Outage(SourceError):  # noqa: N818 - it says what it is
    """Reddit cannot be reached or asks for patience: a later run may fare better."""


class Transient(Exception):  # noqa: N818
    """An attempt failed that may succeed in `wait_s` seconds (None: ours to say); `last` is raised if none does."""

    def __init__(self, last: Exception, wait_s: float | None = None) -> None:
        super().__init__(str(last))
        self.last, self.wait_s = last, wait_s


class Expired(Exception):  # noqa: N818
    """Reddit no longer takes the token."""


@dataclass
class Pace:
    """When the next request may go out, on the monotonic clock."""

    clock: Clock
    gap_s: float
    next_s: float = -math.inf

    def hold(self, seconds: float) -> None:
        """Let no request go out for so long."""
        self.next_s = max(self.next_s, self.clock.monotonic() + seconds)

    def wait(self) -> None:
        """Sleep until a request may go out; the next one may not for `gap_s`, whatever comes of this one."""
        pause = self.next_s - self.clock.monotonic()
        if pause > 0:
            self.clock.sleep(pause)
        self.hold(self.gap_s)

    def answered(self, headers: Mapping[str, str]) -> None:
        """Spread the requests that Reddit still grants (X-Ratelimit-Remaining) over the time to the next grant.

        However many are left, `wait` keeps the gap: near the end of a window the headers would allow bursts.
        """
        remaining, reset = (seconds(headers.get(f"x-ratelimit-{name}")) for name in ("remaining", "reset"))
        if remaining is not None and reset is not None:
            self.hold(min(reset / max(remaining, 1.0), LONGEST_WAIT_S))


class Answer:
    """What prawcore asks of a response that succeeded. Headers are withheld: its own limiter would sleep on them."""

    status_code = 200

    def __init__(self, value: Any) -> None:
        self.value = value
        self.headers: dict[str, str] = {}

    def json(self) -> Any:
        """The decoded body."""
        return self.value


class Requestor(prawcore.Requestor):
    """PRAW's way to the network: in pace, whole within a deadline, tried again a bounded number of times.

    `request` raises Unreadable, Expired, SourceError, Outage; of what went wrong they name the kind alone, since
    messages of libraries may quote a header with the token in it.
    """

    def __init__(self, *, settings: HarvestSettings, pace: Pace, **more: Any) -> None:
        super().__init__(**more)
        self.settings, self.pace = settings, pace

    def request(self, *args: Any, timeout: float | None = None, **options: Any) -> Any:  # noqa: ARG002
        """The answer to one request: method, URL, and options as `requests` takes them. Redirects are not followed."""
        method, url = args
        options = {**options, "allow_redirects": False, "stream": True, "timeout": self.settings.deadline_s + 1.0}
        for attempt in range(self.settings.retries + 1):
            self.pace.wait()
            try:
                return Answer(self.attempt(method, url, options))
            except Transient as failure:
                problem, wait_s = failure.last, 2.0**attempt if failure.wait_s is None else failure.wait_s
            self.pace.hold(min(wait_s, LONGEST_WAIT_S))
            if wait_s > LONGEST_WAIT_S:
                break
        raise problem

    def attempt(self, method: str, url: str, options: Mapping[str, Any]) -> Any:
        """The decoded body of one attempt. Raises Transient too."""
        host = urlsplit(url).netloc
        try:
            status, headers, body = within(self.settings.deadline_s, partial(self.receive, method, url, options))
        except TimeoutError:
            raise Transient(Unreadable(Outcome.TIMED_OUT)) from None
        except (RequestException, OSError, ValueError) as error:
            cause = type(getattr(error, "original_exception", error)).__name__
            raise Transient(Outage(f"{host}: cannot be reached ({cause}); run the same command again later")) from None
        self.pace.answered(headers)
        if urlsplit(url).path == TOKEN_PATH:
            return token_of(host, status, headers, body)
        return value_of(host, status, headers, body)

    def receive(self, method: str, url: str, options: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of one request."""
        body = bytearray()
        with closing(super().request(method, url, **options)) as response:
            for piece in response.iter_content(1 << 16):
                body += piece
                if len(body) > LARGEST_ANSWER:
                    raise OSError("an answer without end")
            return response.status_code, response.headers, bytes(body)


def within(deadline_s: float, work: Callable[[], T]) -> T:
    """What `work` gives, or TimeoutError: timeouts of sockets bound each read, not a server that drips."""
    box: Future[T] = Future()

    def run() -> None:
        try:
            box.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed on to the one who waits
            box.set_exception(error)

    Thread(target=run, daemon=True).start()
    return box.result(deadline_s)


def value_of(host: str, status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """The JSON of an answer of the API, or what its status means, raised."""
    raise_for_patience(host, status, headers)
    if status == UNAUTHORIZED:
        raise Expired
    if status != 200:
        raise Unreadable(refusal(status, body), status)
    return decoded(body, Unreadable(Outcome.BAD_ANSWER, status))


class Token(msgspec.Struct):
    """What prawcore reads of a sign-in."""

    access_token: Annotated[str, Meta(pattern=r"^[!-~]+$")]
    expires_in: Annotated[int, Meta(ge=0, le=LATEST_UTC)]
    scope: str


def token_of(host: str, status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """The JSON of a sign-in that succeeded. Raises SourceError: Reddit refuses the credentials."""
    raise_for_patience(host, status, headers)
    value = decoded(body, Outage(f"{host}: the answer to the sign-in cannot be read")) if status == 200 else {}
    if status != 200 or (isinstance(value, dict) and "error" in value):  # invalid_grant comes as 200
        raise SourceError(
            f"{host} refuses the credentials (HTTP {status}); check praw_client_id, praw_client_secret and, if set, "
            "praw_username and praw_password, in the environment or in praw.ini"
        )
    try:
        msgspec.convert(value, Token)
    except msgspec.ValidationError:
        raise Transient(Outage(f"{host}: the answer to the sign-in holds no token")) from None
    return value


def raise_for_patience(host: str, status: int, headers: Mapping[str, str]) -> None:
    """Raise Transient for what may pass: 429, 408, 5xx."""
    wait_s = retry_after(headers)
    if status == TOO_MANY:
        raise Transient(Outage(f"{host}: too many requests (HTTP 429), also after waiting; run again later"), wait_s)
    if status == TIMED_OUT or status >= 500:
        raise Transient(Unreadable(Outcome.SERVER_ERROR, status), wait_s)


def decoded(body: bytes, otherwise: Exception) -> Any:
    """JSON, or Transient: a page of HTML instead is a passing failure of what stands before the API."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Transient(otherwise) from None


def refusal(status: int, body: bytes) -> Outcome:
    """Why Reddit does not show a listing: the `reason` it gives; names that nobody has are redirected to a search."""
    try:
        reason = msgspec.json.decode(body, type=dict[str, Any]).get("reason")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        reason = None
    if isinstance(reason, str) and reason in REASONS:
        return REASONS[reason]
    return Outcome.NOT_FOUND if status in (404, 410) or 300 <= status < 400 else Outcome.CLIENT_ERROR


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that Retry-After asks for: a number, or a date to be counted from the server's own (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after")
    if value is None or (found := seconds(value)) is not None:
        return found if value is not None else None
    try:
        until, since = (parsedate_to_datetime(date) for date in (value, headers.get("date", "")))
        return max(0.0, (until - since).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def seconds(value: str | None) -> float | None:
    """A number of a header; None: absent, or none that time can be."""
    try:
        found = float(value or "")
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


@dataclass
class Client:
    """A signed-in PRAW client that asks one thing at a time. `more` are settings of PRAW (a test's own server).

    Raises ConfigError: no credentials. SourceError: Reddit refuses them. Outage: it cannot be reached for now.
    """

    settings: HarvestSettings
    user_agent: str
    clock: Clock
    more: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pace = Pace(self.clock, self.settings.gap_s)
        self.reddit = self.connect()

    def connect(self) -> praw.Reddit:
        """A client without a token, with the credentials of PRAW's environment variables or praw.ini."""
        try:
            return praw.Reddit(
                requestor_class=Requestor,
                requestor_kwargs={"settings": self.settings, "pace": self.pace},
                user_agent=self.user_agent.encode().decode("latin-1"),  # as HTTP libraries write headers
                check_for_updates=False,  # it would ask PyPI
                check_for_async=False,
                **self.more,
            )
        except PRAWException:
            raise ConfigError(
                "Reddit's API wants credentials: set praw_client_id and praw_client_secret in the environment, or "
                "write client_id and client_secret into praw.ini; https://www.reddit.com/prefs/apps gives them"
            ) from None
        except (configparser.Error, UnicodeDecodeError, ValueError, OSError) as error:  # may quote a line with a secret
            raise ConfigError(f"praw.ini cannot be read ({type(error).__name__}); mend or remove it") from None

    def ask(self, path: str, params: Mapping[str, str | int]) -> Any:
        """The JSON that Reddit answers; a token that has expired is renewed once. Raises Unreadable too."""
        for renewed in (False, True):
            try:
                return self.reddit.request(method="GET", path=path, params=dict(params))
            except Expired:
                if renewed:
                    break
                self.reddit = self.connect()
            except PrawcoreException as error:
                raise SourceError(f"PRAW gave up on {path} ({type(error).__name__})") from None
        raise SourceError("Reddit refuses a token that it has just given (HTTP 401); check the account and its app")
