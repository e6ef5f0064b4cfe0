"""What a server may answer, decent or not: the replies of which the demo's traps are made.

Choice: a reply is a frozen value that says what is sent and in which manner, so that the table of traps stays a table
and only the server knows about sockets. Cost: bodies are made when first asked for. Alternative: a handler a trap.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from html import escape

from pipeline.demo import site
from pipeline.demo.prose import Passage, share_of

HTML = "text/html; charset=utf-8"
Headers = tuple[tuple[str, str], ...]


class Manner(Enum):
    """How the bytes of a reply go out."""

    WHOLE = "head and body, then the connection ends"
    ENDLESS = "the body goes on until the client leaves"
    SLOW_HEAD = "one more header line every fifth of a second, for ever"
    SLOW_BODY = "one more byte every fifth of a second, for ever"
    CLOSED = "the connection ends without an answer"
    BUSY_ONCE = "503 for the first request, the reply for the later ones"


@dataclass(frozen=True)
class Reply:
    """One answer: status, headers without Content-Length, body in bytes as it goes over the wire, and the manner.

    `head`: instead of the one that status and headers make, as it goes over the wire; `after`: bytes beyond the body.
    """

    status: int = 200
    headers: Headers = (("Content-Type", HTML),)
    body: bytes = b""
    manner: Manner = Manner.WHOLE
    head: bytes = b""
    after: bytes = b""


def page(url: str, passage: Passage, charset: str = "utf-8", declared: str = HTML, head: str = "") -> Reply:
    """The passage in the layout of the host of `url`, encoded in `charset`; the header says `declared`."""
    host, _, path = url.removeprefix("http://").partition("/")
    text = site.render(site.Page(host, "/" + path, passage), head)
    return Reply(headers=(("Content-Type", declared),), body=text.encode(charset, "xmlcharrefreplace"))


def bare(title: str, body: str, lang: str = "en") -> Reply:
    """A page without a host's layout around it."""
    html = (
        f'<!DOCTYPE html>\n<html lang="{lang}"><head><title>{escape(title)}</title></head><body>{body}</body></html>\n'
    )
    return Reply(body=html.encode())


def error(status: int, words: str) -> Reply:
    """A short page under a status that is no success; it holds no text worth keeping."""
    return Reply(status, body=f"<!DOCTYPE html><title>{status}</title><h1>{status} {words}</h1>".encode())


def redirect(target: str | None, status: int = 302) -> Reply:
    """A redirect to `target`; without a Location where it is None."""
    return Reply(status, () if target is None else (("Location", target),))


def with_headers(reply: Reply, *headers: tuple[str, str]) -> Reply:
    """The same reply with more headers."""
    return Reply(reply.status, reply.headers + headers, reply.body, reply.manner)


def in_manner(reply: Reply, manner: Manner) -> Reply:
    """The same reply, sent another way."""
    return Reply(reply.status, reply.headers, reply.body, manner)


def gzip_bomb(decompressed_bytes: int) -> Reply:
    """A page of a few kilobytes on the wire that claims to be so many bytes."""
    body = gzip.compress(b"<p>more and more and more and more</p>\n" * (decompressed_bytes // 39 + 1), 9, mtime=0)
    return Reply(headers=(("Content-Type", HTML), ("Content-Encoding", "gzip")), body=body)


def noise(length: int, key: str) -> bytes:
    """So many bytes that look like nothing, the same for the same key."""
    return hashlib.shake_128(key.encode()).digest(length)


def with_sentence(passage: Passage, sentence: str) -> Passage:
    """The passage, its first paragraph opening with one more sentence."""
    first, *rest = passage.paragraphs
    return Passage(passage.title, (f"{sentence} {first}", *rest))


def half(passage: Passage, other: Passage) -> Passage:
    """The first half of a passage's paragraphs, by words, followed by the first half of another's."""
    return Passage(other.title, (*first_words(passage, passage.words // 2), *first_words(other, other.words // 2)))


def first_words(passage: Passage, words: int) -> tuple[str, ...]:
    """The first paragraphs, cut after so many words."""
    kept: list[str] = []
    for paragraph in passage.paragraphs:
        if words <= 0:
            break
        kept.append(" ".join(paragraph.split()[:words]))
        words -= len(paragraph.split())
    return tuple(kept)


def reworded(passage: Passage, changes: int, key: str) -> Passage:
    """The passage with so many of its words replaced, in places that depend on the key.

    A changed word touches five shingles of five words, so with n words and c changes the Jaccard similarity of
    shingle sets is at least (n - 4 - 5c) / (n - 4 + 5c): 0.91 for 550 words and 5 changes.
    """
    spots = {int(share_of(f"{key} {k}") * passage.words) for k in range(changes)}
    position = -1
    changed: list[str] = []
    for paragraph in passage.paragraphs:
        words = paragraph.split()
        for k in range(len(words)):
            position += 1
            if position in spots:
                words[k] = "harbour"
        changed.append(" ".join(words))
    return Passage(passage.title, tuple(changed))


def gauge_readings(lines: int) -> tuple[str, ...]:
    """English whose words are mostly numbers: under half of them hold a letter."""
    names = ("north gate", "old mill", "stone bridge", "long meadow", "upper lock")
    return tuple(
        f"The gauge at the {names[k % 5]} was read on that day and the levels were "
        + " ".join(f"{share_of(f'gauge {k} {m}') * 90:.1f}" for m in range(22))
        + " and then it was closed for the night."
        for k in range(lines)
    )


def symbols(lines: int) -> tuple[str, ...]:
    """English drowned in rows of signs, as in a broken export."""
    return tuple(
        f"Row {k} of the list is here and it was made by the old machine "
        "| = | + | - | # | = | + | - | # | = | / | # | - | ."
        for k in range(lines)
    )


def wikitext(passage: Passage) -> str:
    """The passage as an encyclopedia would write it: bold title, links, a reference, a template, a category."""
    linked = [re.sub(r"\b([a-z]{7,})\b", r"[[\1]]", text, count=2) for text in passage.paragraphs]
    linked[0] += "<ref>{{cite book|title=The long book of short things|year=1911}}</ref>"
    body = "\n\n".join([linked[0], "== History ==", *linked[1:]])
    infobox = f"{{{{Infobox|name={passage.title}}}}}"
    return f"{infobox}\n'''{passage.title}'''.\n\n{body}\n\n[[Category:Things of the harbour]]\n"
