"""May we fetch, may we train, and who asks: robots.txt by RFC 9309, read for one product token.

Choice: a file is cut down to what the RFC knows, known lines only, and to the groups of one agent, or of `*` where none
names it; `matching` says which rule decides. Content-Usage is matched as Allow and Disallow are (its draft says so),
hence by rules of its own. Cost: a pass over at most 500 KiB for each agent that is obeyed. Alternative: protego, which
matches any agent whose name begins like ours, guesses at misspelt lines, breaks lines where only Unicode does, and
takes the length of a rule once it is quoted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from pipeline.config import PagesSettings
from pipeline.fetch.heads import contradiction, is_part
from pipeline.fetch.matching import Paths
from pipeline.fetch.opt_outs import may_train
from pipeline.fetch.response import HOST_FAILURES, Fetched, Refused, beginning
from pipeline.plaintext import HEAD_BYTES, encoding_of
from pipeline.shards.outcomes import ConfigError, Outcome

LIMIT_BYTES = 500 * 1024  # RFC 9309, section 2.5: at least 500 kibibytes are parsed
REDIRECTS = 5  # RFC 9309, section 2.3.1.2: at least five consecutive redirects are followed
LINE_BYTES = (
    16_663  # of a line; the rest is cut. Google's parser: 8 x 2,083 (the longest address that a browser took) - 1
)
CRAWL_DELAY_MAX_S = 60.0  # a longer Crawl-delay is cut: at an hour, 100 links would take four days

# A colon, or as in Google's parser white space before a single word. Content-Usage: draft-ietf-aipref-attach, section
# 3; Content-Signal (contentsignals.org) says the same for the whole site.
LINE = re.compile(
    r"(user-agent|allow|disallow|crawl-delay|content-usage|content-signal)(?:\s*:\s*(.*)|\s+(\S+))", re.IGNORECASE
)
TOKEN = re.compile(r"[A-Za-z_-]+")  # RFC 9309, section 2.2.1
AGENT = re.compile(r"[A-Za-z0-9_-]+")  # the tokens that are in use: AI2Bot
ACCESS = ("allow", "disallow")
Lines = list[tuple[str, str]]  # (name in lower case, value) of rules
USAGE = ("content-usage", "content-signal")
CACHE_S = 86_400.0  # RFC 9309, section 2.4: not used for more than 24 hours
CACHE_CHARACTERS = 64_000_000  # of robots.txt in memory; the ones read first go first, and are asked for again


@dataclass(frozen=True)
class Rules:
    """What one robots.txt says to one product token. `refusal` set: nothing may be fetched, for that reason.

    `others`: what it says to other agents that the settings obey. `usage`: disallows what it asks not to train on.
    """

    token: str
    file: Paths | None = None
    refusal: Outcome | None = None
    others: tuple[tuple[str, Paths], ...] = ()
    usage: Paths | None = None
    crawl_delay: float = 0.0  # seconds asked for between two requests; 0 where none. Not in the RFC: a custom

    def outcome(self, url: str) -> Outcome:
        """KEPT where the address may be requested, else why not."""
        if self.refusal is not None:
            return self.refusal
        if self.file is None:
            return Outcome.KEPT
        allowed = self.file.allow(url) and all(file.allow(url) for _, file in self.others)
        return Outcome.KEPT if allowed else Outcome.ROBOTS_DISALLOWED

    def allowed(self, url: str) -> bool:
        """Whether the address may be requested."""
        return self.outcome(url) is Outcome.KEPT

    def opt_outs(self, url: str) -> tuple[str, ...]:
        """The ways in which the file asks not to train on an address, such as `robots:content-usage`, `robots:gptbot`.

        An obeyed agent counts only where we ourselves may go: else the file speaks of crawling, not of training.
        """
        if self.file is None or not self.file.allow(url):
            return ()
        found = {f"robots:{name}" for name, file in self.others if not file.allow(url)}
        if self.usage is not None and not self.usage.allow(url):
            found.add("robots:content-usage")
        return tuple(sorted(found))


def user_agent(settings: PagesSettings, software: str) -> str:
    """The User-Agent header; `software` is name/version."""
    return f"{software} (+{settings.contact.strip()})"


def product_token(software: str) -> str:
    """The part of a user agent that robots.txt addresses: `webtext` of `webtext/1.0 (+contact)`; "" where none is."""
    name = software.partition("/")[0].strip()
    return name.lower() if TOKEN.fullmatch(name) else ""


def obeyed_agents(settings: PagesSettings) -> tuple[str, ...]:
    """The other agents whose groups count too, in lower case. Raises ConfigError: a name that no group can have."""
    for name in settings.obey_agents:
        if not AGENT.fullmatch(name):
            raise ConfigError(
                f"pages.obey_agents: {name!r} is no product token; write what robots.txt files name, such as 'GPTBot'"
            )
    return tuple(sorted({name.lower() for name in settings.obey_agents}))


def rules_for_status(status: int | None, body: bytes, token: str, others: tuple[str, ...]) -> Rules:
    """Rules from the answer to the request for robots.txt; status None = no answer. RFC 9309, section 2.3.1.

    2xx: parsed. 4xx, and redirects beyond the limit: everything is allowed. 5xx, no answer, or a status that means
    nothing here: everything is disallowed; and 429, as Google reads it (How Google interprets the robots.txt
    specification, "Handling of errors and HTTP status codes"): who is asked too much has not said what is allowed.
    """
    if status is None or status < 200 or status >= 500 or status == 429:
        return Rules(token, refusal=Outcome.ROBOTS_UNREACHABLE)
    return parse(body, token, others) if status < 300 else Rules(token)


def parse(body: bytes, token: str, others: tuple[str, ...]) -> Rules:
    """Rules of a robots.txt for one product token. Any bytes are a robots.txt; at most LIMIT_BYTES count."""
    groups = list(groups_of(body))
    ours = rules_for(groups, token)
    return Rules(
        token,
        access(ours),
        others=tuple((name, access(rules_for(groups, name))) for name in others),
        usage=Paths.of(line for rules in ours for line in usage_lines(rules)),
        crawl_delay=delay_s(ours),
    )


@dataclass(frozen=True)
class Group:
    """The agents of consecutive User-agent lines, and (name in lower case, value, agents before it) of each rule.

    Only Allow and Disallow end the list of agents: other lines must not interfere with it (RFC 9309, section 2.2.4). A
    rule of another name that stands among the agents is for those before it.
    """

    agents: list[str]
    rules: list[tuple[str, str, int]]

    def add(self, name: str, value: str) -> None:
        """One more rule."""
        self.rules.append((name, value, len(self.agents)))

    @property
    def full(self) -> bool:
        """Whether the next User-agent line begins another group."""
        return any(name in ACCESS for name, _, _ in self.rules)

    def rules_for(self, token: str) -> dict[str, Lines]:
        """(name, value) of the rules for `*` and for the token, as far as the group is theirs.

        What follows a product token does not count.
        """
        found: dict[str, Lines] = {}
        for number, agent in enumerate(self.agents):
            name = "*" if agent == "*" or agent.startswith("* ") else agent[: len(token)].lower()
            named = name == "*" or (name == token != "" and not TOKEN.match(agent[len(token) : len(token) + 1]))
            if named and name not in found:
                found[name] = [(rule, value) for rule, value, agents in self.rules if rule in ACCESS or agents > number]
        return found


def groups_of(body: bytes) -> Iterator[Group]:
    """The groups of a robots.txt, in order."""
    group = Group([], [])
    for name, value in known_lines(body):
        if name != "user-agent":
            group.add(name, value)
            continue
        if group.full or not group.agents:  # rules before any agent are nobody's
            if group.agents:
                yield group
            group = Group([], [])
        group.agents.append(value)
    yield group


def known_lines(body: bytes) -> Iterator[tuple[str, str]]:
    """(name in lower case, value) of the lines that are known, white space in values reduced to single spaces.

    UTF-8 by the RFC; UTF-16, which Windows' editors write, is read too rather than taken for a file without rules.
    """
    text, encoding = body[:LIMIT_BYTES], encoding_of(body[:HEAD_BYTES])
    if encoding.startswith(("utf-16", "utf-32")):
        text = text.decode(encoding, "replace").encode()
    for raw in re.split(rb"\r\n|\r|\n", text.removeprefix(b"\xef\xbb\xbf")):
        line = LINE.fullmatch(raw[:LINE_BYTES].decode("utf-8", "replace").partition("#")[0].strip())
        if line is not None:
            yield line[1].lower(), " ".join((line[2] or line[3] or "").split())


def rules_for(groups: list[Group], token: str) -> list[Lines]:
    """The rules of each group that names a token; of those for `*`, where none does (RFC 9309, section 2.2.1)."""
    found = [group.rules_for(token) for group in groups]
    named = [group[token] for group in found if token in group]
    return named or [group["*"] for group in found if "*" in group]


def access(groups: list[Lines]) -> Paths:
    """What may be requested, by the rules of some groups: they count as one."""
    return Paths.of(line for rules in groups for line in rules if line[0] in ACCESS)


def delay_s(groups: list[Lines]) -> float:
    """The last Crawl-delay that is a number of seconds above 0; else 0."""
    found = 0.0
    for name, value in (line for rules in groups for line in rules):
        with suppress(ValueError):
            asked = float(value) if name == "crawl-delay" else 0.0
            found = asked if math.isfinite(asked) and asked > 0 else found
    return found


def usage_lines(rules: Lines) -> Lines:
    """The rules of usage as Allow and Disallow. Of two for one path the stricter counts (draft-ietf-aipref-vocab)."""
    asked: dict[str, bool] = {}
    for name, value in rules:
        path, space, preference = value.partition(" ") if value.startswith("/") else ("/", " ", value)
        trains = may_train(preference) if name in USAGE and space else None
        if trains is not None:
            asked[path] = trains and asked.get(path, True)
    return [("allow" if trains else "disallow", path) for path, trains in asked.items()]


class Known(msgspec.Struct, frozen=True):
    """One robots.txt as it was found at `at`, in seconds since 1970: the status of the last response, its known lines.

    `leads_to`: instead, the redirects from it that end with a host that others crawl.
    """

    address: str
    at: float
    status: int
    text: str = ""
    leads_to: tuple[str, ...] = ()


def known(address: str, at: float, status: int, body: bytes) -> Known:
    """A robots.txt to remember: of the body, the lines that can count."""
    lines = (f"{name}: {value}" for name, value in known_lines(body)) if 200 <= status < 300 else ()
    return Known(address, at, status, "\n".join(lines))


def found_in(answer: Fetched, address: str, now: float) -> Known | Outcome:
    """What the end of a txt request means. A host that cannot be had at all is the page's fate too.

    A file of which only a part came says nothing, unless it is so large that the part is all that counts.
    """
    broken = answer.outcome in (Outcome.BAD_RESPONSE, Outcome.INCOMPLETE, Outcome.TIMED_OUT)
    if broken or answer.outcome in HOST_FAILURES or not answer.hops:
        host_is_gone = not answer.hops and not broken
        return answer.outcome if host_is_gone else Outcome.ROBOTS_UNREACHABLE
    last = answer.hops[-1]
    if 200 <= last.status < 300 and (last.cut not in ("", "length") or is_part(last.head) or contradiction(last.head)):
        return Outcome.ROBOTS_UNREACHABLE
    try:
        body = beginning(last.body, last.headers, LIMIT_BYTES)
    except Refused:
        return Outcome.ROBOTS_UNREACHABLE
    refusal = rules_for_status(last.status, b"", "", ()).refusal
    return refusal or known(address, now, last.status, body)


class Cache:
    """The robots.txt files that are known, by address, each for CACHE_S; `clock` gives seconds since 1970."""

    def __init__(self, token: str, others: tuple[str, ...], clock: Callable[[], float]) -> None:
        self.token = token
        self.others = others
        self.clock = clock
        self.found: dict[str, tuple[Known, Rules | None]] = {}
        self.characters = 0

    def get(self, address: str) -> Rules | tuple[str, ...] | None:
        """The rules, or the redirects that lead to them, of the robots.txt at an address; None where it must be asked.

        Parsed at the first call.
        """
        found, rules = self.found.get(address, (None, None))
        if found is None or not 0 <= self.clock() - found.at < CACHE_S:
            return None
        if found.leads_to:
            return found.leads_to
        if rules is None:
            rules = rules_for_status(found.status, found.text.encode(), self.token, self.others)
            self.found[address] = (found, rules)
        return rules

    def put(self, known: Known) -> None:
        """Remember one; the oldest are forgotten where there are too many characters."""
        self.forget(known.address)
        self.found[known.address] = (known, None)
        self.characters += len(known.text)
        while self.characters > CACHE_CHARACTERS and len(self.found) > 1:
            self.forget(next(iter(self.found)))

    def forget(self, address: str) -> None:
        """Remember nothing of an address."""
        if address in self.found:
            self.characters -= len(self.found.pop(address)[0].text)
