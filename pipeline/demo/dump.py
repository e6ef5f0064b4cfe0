"""The demo's input files: a dump of Reddit submissions, and a small dump of an encyclopedia.

Choice: the field layout of the Pushshift dumps and of MediaWiki's export, made from the tables of pages and traps, so
that the demo reads what a user will read. Cost: fields that the pipeline ignores are written too. Alternative: a list
of links, which shows nothing of how submissions become links.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from pipeline.demo import site
from pipeline.demo.prose import share_of
from pipeline.demo.replies import wikitext
from pipeline.demo.traps import ENCYCLOPEDIA, TRAPS, UNLOVED, Post, Trap, liked_scores, unloved_scores
from pipeline.shards.outcomes import Outcome

FIRST, LAST = datetime(2012, 1, 1, tzinfo=UTC), datetime(2019, 12, 31, tzinfo=UTC)
SUBREDDITS = ("books", "DIY", "learnprogramming", "TrueReddit", "history", "gardening", "Foodforthought", "askscience")
BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
NAMESPACE = "http://www.mediawiki.org/xml/export-0.11/"  # mediawiki.org/xml/export-0.11.xsd


def submissions() -> Iterator[bytes]:
    """The lines of the dump, oldest first, each ending in a line feed; damaged lines among them, as in real ones."""
    rows = [row for url, posts, self_post in posted() for row in rows_of(url, posts, self_post)]
    lines = [(row["created_utc"], row["id"], json.dumps(row, ensure_ascii=False).encode()) for row in rows]
    lines += [(created(trap.name), trap.name, trap.raw) for trap in TRAPS if trap.raw]
    for _, _, line in sorted(lines):
        yield line + b"\n"


def posted() -> Iterator[tuple[str, tuple[Post, ...], bool]]:
    """Every link of the dump: address, its submissions, and whether they are text posts."""
    for number, page in enumerate(site.ordinary_pages()):
        yield page.url, tuple(Post(score) for score in liked_scores(number)), False
    hosts = list(site.HOSTS)
    for number in range(UNLOVED):
        url = f"http://{hosts[number % len(hosts)]}/unloved/{number}"
        yield url, tuple(Post(score) for score in unloved_scores(number)), False
    for trap in TRAPS:
        if not trap.raw:
            yield trap.url, trap.posts, is_self_post(trap)


def is_self_post(trap: Trap) -> bool:
    """Whether a trap is a text post, which links to itself."""
    return trap.outcome is Outcome.SELF_POST


def rows_of(url: str, posts: Iterable[Post], self_post: bool) -> Iterator[dict[str, Any]]:
    """One object a submission of a link, in the fields of the Pushshift dumps."""
    last_id = ""
    for number, post in enumerate(posts):
        key = f"{url} {number}"
        last_id = last_id if post.repeats else base36(int(share_of("id " + key) * 36**6))
        subreddit = SUBREDDITS[int(share_of("subreddit " + key) * len(SUBREDDITS))]
        address = post.url or url
        yield {
            "id": last_id,
            "name": f"t3_{last_id}",
            "url": address,
            "score": post.score,
            "subreddit": subreddit,
            "domain": f"self.{subreddit}" if self_post else address.partition("://")[2].partition("/")[0],
            "created_utc": created(key),
            "over_18": post.over_18,
            "is_self": self_post,
            "num_comments": int(share_of("comments " + key) * post.score),
            "title": f"Found this, number {int(share_of('title ' + key) * 10_000)}",
            "permalink": f"/r/{subreddit}/comments/{last_id}/found_this/",
        }


def created(key: str) -> int:
    """Seconds since 1970, UTC, of a moment between FIRST and LAST that depends on the key."""
    return int(FIRST.timestamp() + share_of("created " + key) * (LAST - FIRST).total_seconds())


def base36(number: int) -> str:
    """Six characters for a number below 36^6, as Reddit's ids are written."""
    return "".join(BASE36[number // 36**place % 36] for place in reversed(range(6)))


def wikipedia_dump(path: Path) -> None:
    """Write a pages-articles dump (MediaWiki export 0.11, plain XML): the articles that traps copy, and a redirect."""
    articles = [site.reserved(number) for number in ENCYCLOPEDIA]
    texts = [(passage.title, wikitext(passage)) for passage in articles]
    texts.append(("Gull (disambiguation)", f"#REDIRECT [[{articles[0].title}]]"))
    pages = "".join(
        f"  <page>\n    <title>{escape(title)}</title>\n    <ns>0</ns>\n    <id>{number}</id>\n"
        + (f'    <redirect title="{escape(articles[0].title)}" />\n' if text.startswith("#") else "")
        + f"    <revision>\n      <id>{number + 100}</id>\n      <timestamp>2019-01-01T00:00:00Z</timestamp>\n"
        "      <model>wikitext</model>\n      <format>text/x-wiki</format>\n"
        f'      <text bytes="{len(text.encode())}" xml:space="preserve">{escape(text)}</text>\n'
        "    </revision>\n  </page>\n"
        for number, (title, text) in enumerate(texts, start=1)
    )
    path.write_text(
        f'<mediawiki xmlns="{NAMESPACE}" version="0.11" xml:lang="en">\n  <siteinfo>\n'
        f"    <sitename>Open Lexicon</sitename>\n    <dbname>lexicon</dbname>\n  </siteinfo>\n{pages}</mediawiki>\n",
        encoding="utf-8",
    )
