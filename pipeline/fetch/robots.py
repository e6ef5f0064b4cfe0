"""May we fetch, and who asks: robots.txt by RFC 9309, read for one product token.

Choice: protego matches paths, and what it is handed is first cut down to what the RFC knows: known lines only, agents
reduced to ours, `*`, or nobody. Cost: a pass over at most 500 KiB. Alternative: protego as it is, which matches any
agent whose name begins like ours, guesses at misspelt lines, and breaks lines where only Unicode does.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from protego import Protego

from pipeline.config import PagesSettings
from pipeline.shards.outcomes import Outcome

LIMIT_BYTES = 500 * 1024  # RFC 9309, section 2.5: at least 500 kibibytes are parsed
REDIRECTS = 5  # RFC 9309, section 2.3.1.2: at least five consecutive redirects are followed
LINE_BYTES = (
    16_663  # of a line; the rest is cut. Google's parser: 8 x 2,083 (the longest address that a browser took) - 1
)
CRAWL_DELAY_MAX_S = 60.0  # a longer Crawl-delay is cut: at an hour, 100 links would take four days
NOBODY = "0"  # stands for every agent but ours: a digit is in no product token

# A colon, or as in Google's parser white space before a single word.
LINE = re.compile(r"(user-agent|allow|disallow|crawl-delay)(?:\s*:\s*(.*)|\s+(\S+))", re.IGNORECASE)
TOKEN = re.compile(r"[A-Za-z_-]+")  # RFC 9309, section 2.2.1


@dataclass(frozen=True)
class Rules:
    """What one robots.txt says to one product token. `refusal` set: nothing may be fetched, for that reason."""

    token: str
    file: Protego | None = None
    refusal: Outcome | None = None

    def outcome(self, url: str) -> Outcome:
        """KEPT where the address may be requested, else why not."""
        if self.refusal is not None:
            return self.refusal
        if self.file is None or self.file.can_fetch(url, self.token):
            return Outcome.KEPT
        return Outcome.ROBOTS_DISALLOWED

    def allowed(self, url: str) -> bool:
        """Whether the address may be requested."""
        return self.outcome(url) is Outcome.KEPT

    @property
    def crawl_delay(self) -> float:
        """Seconds asked for between two requests; 0 where none, or none that is a number. Not in the RFC: a custom."""
        delay = self.file.crawl_delay(self.token) if self.file is not None else None
        return delay if delay is not None and math.isfinite(delay) and delay > 0 else 0.0


def user_agent(settings: PagesSettings, software: str) -> str:
    """The User-Agent header; `software` is name/version."""
    return f"{software} (+{settings.contact.strip()})"


def product_token(software: str) -> str:
    """The part of a user agent that robots.txt addresses: `webtext` of `webtext/1.0 (+contact)`; "" where none is."""
    name = software.partition("/")[0].strip()
    return name.lower() if TOKEN.fullmatch(name) else ""


def rules_for_status(status: int | None, body: bytes, token: str) -> Rules:
    """Rules from the answer to the request for robots.txt; status None = no answer. RFC 9309, section 2.3.1.

    2xx: parsed. 4xx, and redirects beyond the limit: everything is allowed. 5xx, no answer, or a status that means
    nothing here: everything is disallowed.
    """
    if status is None or status < 200 or status >= 500:
        return Rules(token, refusal=Outcome.ROBOTS_UNREACHABLE)
    return parse(body, token) if status < 300 else Rules(token)


def parse(body: bytes, token: str) -> Rules:
    """Rules of a robots.txt for one product token. Any bytes are a robots.txt; at most LIMIT_BYTES count."""
    return Rules(token, Protego.parse("\n".join(known_lines(body, token.lower()))))


def known_lines(body: bytes, token: str) -> list[str]:
    """The lines that the RFC or Crawl-delay's custom knows, one spelling each."""
    kept = []
    for raw in re.split(rb"\r\n|\r|\n", body[:LIMIT_BYTES].removeprefix(b"\xef\xbb\xbf")):
        line = LINE.fullmatch(raw[:LINE_BYTES].decode("utf-8", "replace").partition("#")[0].strip())
        if line is None:
            continue
        name, value = line[1].lower(), " ".join((line[2] or line[3] or "").split())
        kept.append(f"{name}: {agent(value, token) if name == 'user-agent' else value}")
    return kept


def agent(value: str, token: str) -> str:
    """`*`, our token, or NOBODY for the value of a user-agent line; what follows a product token does not count."""
    if value == "*" or value.startswith("* "):
        return "*"
    found = TOKEN.match(value)
    return token if found and found[0].lower() == token else NOBODY
