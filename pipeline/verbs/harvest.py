"""A harvest: every listing of every source page by page into the ledger, then the scores that have had time to settle.

Choice: a listing of Reddit ends at 1,000 items, whatever it lists. So each source is read through fifteen of them (new,
rising, hot, top and controversial of six spans), and `new` again and again: what is new between two rounds is found
whole while it is less than 1,000. Cost: up to 150 requests for the first round of a source, most of them showing what
is known; later each listing is read as often as it can have changed. Alternative: search by date, which Reddit took
away in 2018; what is older than a listing reaches is in the dumps only.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from types import MappingProxyType

from pipeline.build import build
from pipeline.config import HarvestSettings, Settings
from pipeline.counts import counted
from pipeline.fetch.client import check_contact
from pipeline.fetch.robots import user_agent
from pipeline.pages import SOFTWARE
from pipeline.shards import lease
from pipeline.shards.outcomes import (
    BooksError,
    BusyError,
    ConfigError,
    EngineError,
    OutageError,
    Outcome,
    SourceError,
    StorageError,
)
from pipeline.shards.runner import Run
from pipeline.submissions.ledger import SUFFIX, Ledger
from pipeline.submissions.listings import PAGE, Page, Unreadable, info, walk
from pipeline.submissions.reddit import Client, Clock, Outage

CAP = 1_000  # items that any listing shows at most
SCORES = "scores"  # the name of the reading that asks again about what is known
MINUTE, HOUR, DAY = 60, 3_600, 86_400
SPANS = {"hour": HOUR // 2, "day": 6 * HOUR, "week": DAY, "month": DAY, "year": DAY, "all": DAY}
# What to read of a source, and after how many seconds again.
LISTINGS: dict[str, int] = {
    "new": 0,
    "rising": 0,
    "hot": HOUR // 2,
    **{f"{sort}?t={span}": every_s for sort, (span, every_s) in product(("top", "controversial"), SPANS.items())},
}
SYSTEM = Clock(time.time, time.monotonic, time.sleep)
CLOSED = {Outcome.PRIVATE, Outcome.QUARANTINED, Outcome.BANNED, Outcome.NOT_FOUND}  # to all listings of a source
PASSING = {Outcome.SERVER_ERROR, Outcome.TIMED_OUT, Outcome.BAD_ANSWER}  # may be otherwise in the next round
PASSING_ERRORS = (BusyError, EngineError, OutageError, StorageError)  # of a build: the next one may fare better
IN_A_ROW = 3  # listings that fail so before a round is given up: each took all its retries
KINDS = {
    "subreddit": ("r/{}", re.compile(r"(?:/?r/)?(\w{2,24})/?", re.ASCII)),
    "domain": ("domain/{}", re.compile(r"([a-z0-9-]+(?:\.[a-z0-9-]+)+)")),
    "multireddit": ("user/{}", re.compile(r"(?:/?u(?:ser)?/)?([\w-]{3,20}/(?:m/)?\w{2,50})/?", re.ASCII)),
}
DURATION = re.compile(r"(\d+)\s*([smhd])")
UNITS = {"s": 1, "m": MINUTE, "h": HOUR, "d": DAY}


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of one listing, or of asking again about known submissions (then `name` is SCORES)."""

    name: str
    outcome: Outcome
    fates: Counter[Outcome]

    def summary(self) -> str:
        """One line for a person."""
        if self.outcome is not Outcome.KEPT:
            return f"{self.name}: {self.outcome}: {self.outcome.meaning}"
        words = {Outcome.KEPT: "new", Outcome.REPEATED: "known", Outcome.DELETED: "deleted"}
        if self.name == SCORES:
            words = {Outcome.KEPT: "read", Outcome.DELETED: "deleted here", Outcome.NOT_FOUND: "missing, asked again"}
        ordered = dict.fromkeys([*words, *Outcome])
        parts = [f"{self.fates[fate]:,} {words.get(fate, fate)}" for fate in ordered if self.fates[fate]]
        capped = f" (the end of what it shows: {CAP:,} at most)" if self.fates.total() > CAP - PAGE else ""
        return f"{self.name}: {', '.join(parts) or 'nothing'}{capped}"


def sources_of(subreddits: Iterable[str], domains: Iterable[str], multireddits: Iterable[str]) -> list[str]:
    """The paths below which Reddit lists each source, once each: r/books, domain/nytimes.com, user/name/m/list.

    `a+b` is two subreddits, since each has a cap of its own. Raises ConfigError: none, or a name that cannot be one.
    """
    named = {
        "subreddit": [part for name in subreddits for part in name.split("+")],
        "domain": [name.lower() for name in domains],
        "multireddit": list(multireddits),
    }
    found = []
    for kind, names in named.items():
        path, pattern = KINDS[kind]
        for name in names:
            match = pattern.fullmatch(name.strip())
            if not match:
                example = {"subreddit": "books", "domain": "nytimes.com", "multireddit": "name/list"}[kind]
                raise ConfigError(f"--{kind} {name!r}: not the name of a {kind}; e.g. --{kind} {example}")
            key = match[1] if kind != "multireddit" or "/m/" in match[1] else match[1].replace("/", "/m/")
            found.append(path.format(key))
    if not found:
        raise ConfigError("nothing to harvest: name a --subreddit, --domain or --multireddit")
    return list(dict.fromkeys(found))


def harvested(
    settings: Settings,
    path: Path,
    sources: Iterable[str],
    when: tuple[float | None, float | None],
    report: Callable[[str], None],
    clock: Clock = SYSTEM,
    more: Mapping[str, str] = MappingProxyType({}),
    then: Callable[[], str] | None = None,
) -> dict[str, int]:
    """Harvest into the ledger at `path`, one round or as `schedule` says; what the ledger holds then.

    `then` is done after each round, and says in a line what came of it (see `rebuilt`). `more` are settings of PRAW,
    for a server that is not Reddit's. Raises ConfigError (contact, credentials), SourceError, BusyError (another
    harvest), InputError (not a ledger), StorageError.
    """
    check_contact(settings.pages)
    if path.suffix != SUFFIX:
        raise ConfigError(f"{path}: the name of a ledger ends in {SUFFIX}, so that links knows it for one")
    chosen, (every_s, until) = settings.harvest, when
    client = Client(chosen, user_agent(settings.pages, SOFTWARE), clock, more)
    with lease.lock(path.parent), Ledger(path) as ledger:

        def harvest_once() -> None:
            harvest(chosen, client, ledger, sources, lambda reading: report(reading.summary()))

        if every_s is None:
            harvest_once()
            if then is not None:
                report(then())
        else:
            rounds(harvest_once, every_s, until, clock, report, then)
        return ledger.counts(int(chosen.settle_hours * HOUR))


def harvest(
    settings: HarvestSettings, client: Client, ledger: Ledger, sources: Iterable[str], report: Callable[[Reading], None]
) -> None:
    """One round: what is due of the listings of all sources, then the scores that are due; `report` hears of each.

    Raises SourceError: Reddit refuses everything, or cannot be reached. What had been read by then is in the ledger.
    """
    readings: list[Reading] = []
    for source in sources:
        for reading in read_source(settings, client, ledger, source):
            readings.append(reading)
            report(reading)
            if len(readings) >= IN_A_ROW and all(reading.outcome in PASSING for reading in readings[-IN_A_ROW:]):
                raise Outage(f"Reddit failed {IN_A_ROW} listings in a row; run the same command again later")
    report(rescore(settings, client, ledger))  # also when all sources are closed: what was deleted there goes
    ledger.settle()
    outcomes = {reading.outcome for reading in readings}
    if outcomes and Outcome.KEPT not in outcomes:
        kind = Outage if outcomes & PASSING else SourceError
        raise kind(f"Reddit gave none of {counted(len(readings), 'listing')}; the first: {readings[0].summary()}")


def read_source(settings: HarvestSettings, client: Client, ledger: Ledger, source: str) -> Iterator[Reading]:
    """Read the listings of a source that are due; a source that is closed to us is asked once."""
    for listing, every_s in LISTINGS.items():
        state = ledger.state_of(f"{source}/{listing}")
        now = int(client.clock.now())
        if state and state.after is None and now - (state.ended_utc or 0) < every_s:
            continue
        reading = read_listing(settings, client, ledger, source, listing)
        yield reading
        if reading.outcome in CLOSED:
            return


def read_listing(settings: HarvestSettings, client: Client, ledger: Ledger, source: str, listing: str) -> Reading:
    """Take in a listing page by page; `new` to what an earlier whole pass has seen, the others to their end."""
    name = f"{source}/{listing}"
    settle_s = int(settings.settle_hours * HOUR)
    state = ledger.begin(name, int(client.clock.now()))
    sort, _, span = listing.partition("?t=")
    fates: Counter[Outcome] = Counter()
    outcome = Outcome.KEPT
    try:
        for page in pages_of(client, f"{source}/{sort}", {"t": span} if span else {}, state.after):
            found = ledger.record(name, page, int(client.clock.now()), settle_s)
            if found.total() != page.items:
                raise BooksError(f"{name}: {page.items} items in, {found.total()} accounted for")
            fates += found
            if sort == "new" and 0 < page.newest_utc < state.known_utc:  # all of it: one odd date ends nothing
                break
    except Unreadable as refused:
        outcome = refused.outcome
    ledger.end(name, outcome, int(client.clock.now()))
    return Reading(name, outcome, fates)


def pages_of(client: Client, path: str, params: Mapping[str, str | int], after: str | None) -> Iterator[Page]:
    """The pages of a listing from `after` on; from the top where that post is gone, since Reddit then shows nothing."""
    page = None
    for page in walk(client.ask, path, params, after):
        yield page
    if page is None and after is not None:
        yield from walk(client.ask, path, params)


def rescore(settings: HarvestSettings, client: Client, ledger: Ledger) -> Reading:
    """Ask again about what is due, 100 at a time: scores that can settle, and whether the settled are still there.

    Raises SourceError: Reddit gives no answer that can be read; what is left is due in the next round too.
    """
    settle_s, recheck_s = int(settings.settle_hours * HOUR), int(settings.recheck_hours * HOUR)
    fates: Counter[Outcome] = Counter()
    for asked in ledger.due(int(client.clock.now()), settle_s, recheck_s):
        try:
            page = info(client.ask, asked)
        except Unreadable as refused:
            raise Outage(
                f"Reddit does not tell the state of {counted(len(asked), 'submission')}: {refused}; run again later"
            ) from None
        fates += ledger.rescore(asked, page, int(client.clock.now()), settle_s)
    return Reading(SCORES, Outcome.KEPT, fates)


def rounds(
    harvest_once: Callable[[], None],
    every_s: float,
    until: float | None,
    clock: Clock,
    report: Callable[[str], None],
    then: Callable[[], str] | None = None,
) -> None:
    """Do `one` every so many seconds, counted from begin to begin, until a time (seconds since 1970; None: for ever).

    An outage of Reddit is told and costs a round, since a later one may fare better; so is what passes of `then`, which
    is done after each round, also after an outage. Everything else is raised.
    """
    while True:
        began = clock.now()
        try:
            harvest_once()
        except Outage as outage:
            report(str(outage))
        if then is not None:
            try:
                report(then())
            except PASSING_ERRORS as error:
                report(f"build: {error}")
        again = max(began + every_s, clock.now())
        if until is not None and again >= until:
            return
        clock.sleep(max(0.0, again - clock.now()))


def rebuilt(root: Path, settings: Settings, run: Run | None = None) -> str:
    """Build what the round has made stale, as `webtext build` does; in a line, what that was, and what there is now."""
    made: list[str] = []
    manifests = build(root, settings, run=run, started=made.append)
    documents = manifests["corpus"].books["corpus"].outcomes.get(Outcome.KEPT, 0)
    stands = f"the corpus has {counted(documents, 'document')}"
    return f"build: {' '.join(made)} made anew; {stands}" if made else f"build: nothing to do; {stands}"


def check_ledger(root: Path, settings: Settings, ledger: Path) -> None:
    """Raise ConfigError for a ledger that no build would read."""
    if not any(fnmatch(str(ledger), str(root / pattern)) for pattern in settings.links.submissions):
        inside = ledger.relative_to(root) if ledger.is_relative_to(root) else ledger
        raise ConfigError(f'--build would not read the ledger: set submissions = ["{inside}"] under [links]')


def schedule(every: str, until: str, clock: Clock = SYSTEM) -> tuple[float | None, float | None]:
    """Seconds between two rounds (None: one round alone) and the time of the end (None: never). Raises ConfigError."""
    if until and not every:
        raise ConfigError("--until ends what --every repeats: name both, e.g. --every 10m --until 6h")
    return duration(every) if every else None, moment(until, clock.now()) if until else None


def duration(text: str) -> int:
    """Seconds of 90s, 10m, 6h or 2d. Raises ConfigError."""
    match = DURATION.fullmatch(text.strip())
    if not match or not int(match[1]):
        raise ConfigError(f"{text!r}: not a duration; e.g. 90s, 10m, 6h, 2d")
    return int(match[1]) * UNITS[match[2]]


def moment(text: str, now: float) -> float:
    """Seconds since 1970 of a duration from now, or of a date (2026-12-31, 2026-12-31T18:00; UTC if none is named).

    Raises ConfigError: neither, or past.
    """
    try:
        date = datetime.fromisoformat(text.strip())
    except ValueError:
        return now + duration(text)
    at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    if at <= now:
        raise ConfigError(f"{text!r}: lies in the past; name a later time, or a duration: 6h, 2d")
    return at
