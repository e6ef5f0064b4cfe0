"""What goes wrong on the web, one row each: where it stands, how it answers, and the one outcome in which it must end.

Choice: a frozen table with literal fates, from which the server, the dump of submissions and the expected books are all
made, so that none of them can drift from the others. Cost: a new trap is a row here and often a reply in `replies`.
Alternative: traps scattered over the server, and counts written down by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pipeline.demo import answers, languages, site
from pipeline.demo.prose import Passage, share_of
from pipeline.demo.replies import (
    HTML,
    Manner,
    Reply,
    bare,
    error,
    first_words,
    gauge_readings,
    gzip_bomb,
    half,
    in_manner,
    noise,
    page,
    redirect,
    reworded,
    symbols,
    with_headers,
    with_sentence,
)
from pipeline.shards.outcomes import FATES, Outcome

STAGES = ("submissions", "links", "pages", "documents", "corpus")
FAR = 30  # redirects in a row: more than anyone follows
BOMB_BYTES = 40_000_000  # what the gzip bomb becomes; 58 KB on the wire


@dataclass(frozen=True)
class Post:
    """One submission of a link. `url` where it is spelled differently; `repeats` the id of the post before it."""

    score: int = 60
    url: str = ""
    over_18: bool = False
    repeats: bool = False


@dataclass(frozen=True)
class Trap:
    """A link that something is odd about, and its end. `reply` is made when first asked for; None: never served.

    `says`: words that the kept text must hold. `raw`: the line of the dump, where it is no submission.
    """

    name: str
    url: str
    stage: str
    outcome: Outcome
    reply: Callable[[], Reply] | None = None
    posts: tuple[Post, ...] = (Post(),)
    says: str = ""
    raw: bytes = b""


def plain(number: int, url: str, head: str = "") -> Reply:
    """Reserved passage `number` in the layout of the host of `url`."""
    return page(url, site.reserved(number), head=head)


def spelled(number: int, url: str, sentence: str, charset: str, declared: str) -> Reply:
    """The same with a sentence before it, sent in one encoding and declared in the header in words of its own."""
    return page(url, with_sentence(site.reserved(number), sentence), charset, declared)


def foreign(url: str, title: str, text: tuple[str, ...], charset: str = "utf-8", declared: str = HTML) -> Reply:
    """A page of another language in the layout of the host of `url`."""
    return page(url, Passage(title, text), charset, declared)


def quoting(url: str, own: int, quoted: int) -> Reply:
    """A page of its own that quotes sixty words of another passage."""
    quote = " ".join(first_words(site.reserved(quoted), 60))
    return page(url, with_sentence(site.reserved(own), f"As the lexicon has it: {quote} So much for that."))


def kept(name: str, url: str, number: int, score: int = 60) -> Trap:
    """A page that passes everything, on reserved passage `number`; others are made from it."""
    return Trap(name, url, "corpus", Outcome.KEPT, partial(plain, number, url), (Post(score),))


def lost(name: str, url: str, outcome: Outcome, reply: Reply, stage: str = "pages") -> Trap:
    """A page whose reply needs no passage."""
    return Trap(name, url, stage, outcome, lambda: reply)


BLOG, NEWS, GUIDE, FORUM, SHOP = (
    "http://lanternfield.test", "http://valleywire.test", "http://docs.granary.test", "http://talk.oldradios.test",
    "http://kettleworks.test",
)  # fmt: skip
LETTERS, COPIES, LEXICON = "http://www.harbour-letters.test", "http://copyroom.test", "http://openlexicon.test"
TEXT = "text/html"
META_1250 = f'<meta http-equiv="Content-Type" content="{TEXT}; charset=windows-1250">\n'
PICTURE_MENU = (
    '<nav class="menu"><a href="/up"><img src="/up.webp" alt="Upper deck"></a><a href="/down"><img src="/down.webp" '
    'alt="Lower deck"></a></nav><main></main>'
)
EMPTY_APP = '<div id="app"></div><script>start({"basket": [], "text": "not for readers"})</script>'

SUBMISSION_TRAPS = (
    Trap("not JSON", "", "submissions", Outcome.BAD_LINE, raw=b'{"id": "zz1", "url": "http://lanternfield.test/", "sc'),
    Trap("a list", "", "submissions", Outcome.BAD_LINE, raw=b'["id", "url", "score"]'),
    Trap("no id", "", "submissions", Outcome.BAD_LINE, raw=b'{"url": "http://valleywire.test/", "score": 9}'),
    Trap("not UTF-8", "", "submissions", Outcome.BAD_LINE, raw=b'{"id": "zz2", "title": "caf\xe9", "url": "\xff"}'),
    Trap("ftp", "ftp://files.granary.test/pub/list.txt", "submissions", Outcome.BAD_URL),
    Trap("script", "javascript:history.back()", "submissions", Outcome.BAD_URL),
    Trap("no host", "http://[harbour/story/lost", "submissions", Outcome.BAD_URL),
    Trap("no address", "", "submissions", Outcome.BAD_URL),
    Trap("self post", "https://www.reddit.com/r/demo/comments/self1/", "submissions", Outcome.SELF_POST),
)
LINK_TRAPS = (
    Trap("low karma", BLOG + "/2015/02/unread/", "links", Outcome.LOW_KARMA, posts=(Post(2),)),
    Trap("low karma, often", NEWS + "/story/66/again", "links", Outcome.LOW_KARMA, posts=(Post(1), Post(2), Post(2))),
    Trap("over 18", FORUM + "/t/after-dark/18", "links", Outcome.OVER_18, posts=(Post(over_18=True),)),
    Trap("Reddit", "https://www.reddit.com/r/demo/comments/abc/a_thread/", "links", Outcome.REDDIT_HOST),
    Trap("Reddit's short host", "https://redd.it/abc12", "links", Outcome.REDDIT_HOST),
    Trap("Wikipedia", "https://en.wikipedia.org/wiki/Lighthouse", "links", Outcome.WIKIPEDIA_HOST),
    Trap("Wikipedia, mobile", "http://de.m.wikipedia.org/wiki/Leuchtturm", "links", Outcome.WIKIPEDIA_HOST),
    Trap("media host", "http://imgur.com/gallery/harbour", "links", Outcome.BLOCKED_HOST),
    Trap("film host", "https://www.youtube.com/watch?v=harbour0001", "links", Outcome.BLOCKED_HOST),
    Trap("image", LETTERS + "/pictures/pier.JPG", "links", Outcome.BLOCKED_SUFFIX),
    Trap("film", NEWS + "/media/flood.mp4?quality=high", "links", Outcome.BLOCKED_SUFFIX),
    Trap("once low, once high", BLOG + "/2014/06/second-chance/", "corpus", Outcome.KEPT,
         partial(plain, 0, BLOG + "/2014/06/second-chance/"), (Post(1), Post(250))),
    Trap("repeated submission", NEWS + "/story/77/read-twice", "corpus", Outcome.KEPT,
         partial(plain, 1, NEWS + "/story/77/read-twice"), (Post(1), Post(44, repeats=True))),
    Trap("tracked and www", LETTERS + "/2013/05/one-page/", "corpus", Outcome.KEPT,
         partial(plain, 2, LETTERS + "/2013/05/one-page/"),
         (Post(17, LETTERS + "/2013/05/one-page/?utm_source=reddit&utm_medium=social"),
          Post(8, "http://harbour-letters.test/2013/05/one-page/#comments"), Post(5))),
    Trap("over 18 only once", GUIDE + "/guide/for-all.html", "corpus", Outcome.KEPT,
         partial(plain, 3, GUIDE + "/guide/for-all.html"), (Post(90, over_18=True), Post(30))),
)  # fmt: skip
PAGE_TRAPS = (
    Trap("robots forbid", LETTERS + "/private/ledger.html", "pages", Outcome.ROBOTS_DISALLOWED),
    Trap("robots forbid all", "http://noentry.test/2012/01/inside/", "pages", Outcome.ROBOTS_DISALLOWED),
    Trap("robots fail", "http://www.closed-shutters.test/2014/03/door/", "pages", Outcome.ROBOTS_UNREACHABLE),
    kept("robots allow a part", LETTERS + "/private/visitors/2016.html", 4),
    kept("no robots", "http://unfenced.test/2016/07/open-field/", 5),
    lost("404", NEWS + "/story/404/gone-fishing", Outcome.NOT_FOUND, error(404, "Not Found")),
    lost("410", GUIDE + "/guide/retired.html", Outcome.NOT_FOUND, error(410, "Gone")),
    lost("403", SHOP + "/item.php?id=members", Outcome.CLIENT_ERROR, error(403, "Forbidden")),
    lost("500", "http://brasslamp.test/item.php?id=broken", Outcome.SERVER_ERROR, error(500, "Internal Server Error")),
    lost("999", "http://www.ledgerandpost.test/story/999/odd", Outcome.BAD_STATUS, error(999, "Request denied")),
    Trap("503 once", "http://tin-roof.test/2017/10/busy/", "corpus", Outcome.KEPT,
         lambda: in_manner(plain(6, "http://tin-roof.test/2017/10/busy/"), Manner.BUSY_ONCE)),
    Trap("moved", BLOG + "/old-address", "corpus", Outcome.KEPT, lambda: redirect("/2018/01/new-address/", 301)),
    Trap("moved to another host", NEWS + "/go/1", "corpus", Outcome.KEPT, lambda: redirect(FORUM + "/t/moved/1")),
    lost("moved to where robots forbid", NEWS + "/go/2", Outcome.ROBOTS_DISALLOWED, redirect("/private/desk")),
    lost("loop", NEWS + "/loop/a", Outcome.REDIRECT_LOOP, redirect("/loop/b")),
    lost("too far", GUIDE + "/far/0", Outcome.TOO_MANY_REDIRECTS, redirect("/far/1")),
    lost("no target", SHOP + "/nowhere", Outcome.BAD_REDIRECT, redirect(None)),
    lost("target that is no page", SHOP + "/mail", Outcome.BAD_REDIRECT, redirect("mailto:clerk@kettleworks.test")),
    lost("into a private network", BLOG + "/router", Outcome.NOT_PUBLIC, redirect("http://10.0.0.1/admin")),
    lost("into this machine", BLOG + "/self", Outcome.NOT_PUBLIC, redirect("http://127.0.0.1:9/")),
    lost("into the cloud's metadata", BLOG + "/cloud", Outcome.NOT_PUBLIC, redirect("http://169.254.169.254/latest/")),
    lost("endless", FORUM + "/t/endless/1", Outcome.TOO_LARGE, Reply(body=b"<p>and on</p>\n", manner=Manner.ENDLESS)),
    lost("never begins", "http://slowboat.test/2013/09/soon/", Outcome.TIMED_OUT, Reply(manner=Manner.SLOW_HEAD)),
    lost("never ends", "http://drippingtap.test/2013/09/drop/", Outcome.TIMED_OUT, Reply(manner=Manner.SLOW_BODY)),
    Trap("gzip bomb", SHOP + "/item.php?id=heavy", "pages", Outcome.TOO_LARGE, partial(gzip_bomb, BOMB_BYTES)),
    lost("not gzip", GUIDE + "/guide/rubbish.html", Outcome.BAD_ENCODING,
         with_headers(Reply(body=noise(4_000, "rubbish")), ("Content-Encoding", "gzip"))),
    lost("hangs up", "http://northquay-herald.test/story/5/click", Outcome.CONNECT_ERROR, Reply(manner=Manner.CLOSED)),
    Trap("no such name", "http://nobody-home.invalid/2015/11/letter/", "pages", Outcome.NAME_ERROR),
    lost("a picture", FORUM + "/attachment/7", Outcome.NOT_HTML,
         Reply(headers=(("Content-Type", "image/png"),), body=b"\x89PNG\r\n\x1a\n" + noise(900, "picture"))),
    lost("a PDF", GUIDE + "/download/annual-report", Outcome.NOT_HTML,
         Reply(headers=(("Content-Type", "application/pdf"),), body=b"%PDF-1.4\n" + noise(900, "report"))),
    lost("empty", BLOG + "/2012/12/blank/", Outcome.EMPTY_BODY, Reply()),
    Trap("header noai", BLOG + "/2019/04/mine/", "pages", Outcome.OPTED_OUT,
         lambda: with_headers(plain(9, BLOG + "/2019/04/mine/"), ("X-Robots-Tag", "noai, noimageai"))),
    Trap("TDM reserved", NEWS + "/story/88/ours", "pages", Outcome.OPTED_OUT,
         lambda: with_headers(plain(10, NEWS + "/story/88/ours"), ("TDM-Reservation", "1"))),
    Trap("meta noai", FORUM + "/t/hands-off/3", "pages", Outcome.OPTED_OUT,
         partial(plain, 11, FORUM + "/t/hands-off/3", '<meta name="robots" content="index, noai">\n')),
)  # fmt: skip
ANSWER_TRAPS = tuple(
    Trap(name, url, "corpus" if outcome is Outcome.KEPT else "pages", outcome, reply)
    for name, url, outcome, reply in answers.ROWS
)
DOCUMENT_TRAPS = (
    Trap("cp1252 as UTF-8", LETTERS + "/2012/08/cafe/", "corpus", Outcome.KEPT,
         says="The café’s naïve owner said “déjà vu”",
         reply=partial(spelled, 12, LETTERS + "/2012/08/cafe/", languages.CP1252_SENTENCE, "cp1252", HTML)),
    Trap("UTF-16", NEWS + "/story/16/wide", "corpus", Outcome.KEPT, says="says 港 in gold, and below it: Ω to α",
         reply=partial(spelled, 13, NEWS + "/story/16/wide", languages.WIDE_SENTENCE, "utf-16", TEXT)),
    Trap("BOM against header", GUIDE + "/guide/mark.html", "corpus", Outcome.KEPT, says="says 港 in gold",
         reply=partial(spelled, 14, GUIDE + "/guide/mark.html", languages.WIDE_SENTENCE, "utf-8-sig",
                       "text/html; charset=iso-8859-1")),
    Trap("charset in meta only", BLOG + "/2015/05/lodz/", "corpus", Outcome.KEPT,
         says="Zbyněk moved from Łódź to Kraków",
         reply=lambda: page(BLOG + "/2015/05/lodz/", with_sentence(site.reserved(15), languages.POLISH_SENTENCE),
                            "windows-1250", TEXT, META_1250)),
    lost("no text in any encoding", SHOP + "/item.php?id=noise", Outcome.UNDECODABLE,
         Reply(body=noise(6_000, "no text")), "documents"),
    lost("a menu of pictures and nothing else", GUIDE + "/guide/", Outcome.NO_TEXT, bare("Contents", PICTURE_MENU),
         "documents"),
    lost("an app without a page", SHOP + "/app", Outcome.NO_TEXT, bare("", EMPTY_APP), "documents"),
)  # fmt: skip
LANGUAGE_TRAPS = tuple(
    Trap(name, url, "corpus", Outcome.OTHER_LANGUAGE, partial(foreign, url, title, text, charset, declared))
    for name, url, title, text, charset, declared in (
        ("German", LETTERS + "/2014/11/der-hafen/", "Der Hafen", languages.GERMAN, "utf-8", HTML),
        (
            "French",
            NEWS + "/story/31/le-port",
            "Le port",
            languages.FRENCH,
            "iso-8859-1",
            "text/html; charset=iso-8859-1",
        ),
        ("Spanish", GUIDE + "/guide/puerto.html", "El puerto", languages.SPANISH, "utf-8", HTML),
        ("Russian", FORUM + "/t/gavan/12", "Гавань", languages.RUSSIAN, "koi8-r", "text/html; charset=koi8-r"),
        (
            "Russian as Latin-1",
            NEWS + "/story/32/gavan",
            "Гавань",
            languages.RUSSIAN,
            "koi8-r",
            "text/html; charset=iso-8859-1",
        ),
        ("Japanese", BLOG + "/2016/02/minato/", "港", languages.JAPANESE, "shift_jis", "text/html; charset=shift_jis"),
    )
)
STORY, POPULAR, NEAR, HALVED = (
    NEWS + "/story/501/first",
    LETTERS + "/2012/02/quiet/",
    GUIDE + "/guide/near.html",
    BLOG + "/half/",
)
CORPUS_TRAPS = (
    Trap("too short", LETTERS + "/2018/03/late/", "corpus", Outcome.TOO_SHORT,
         partial(foreign, LETTERS + "/2018/03/late/", "Late", languages.SHORT)),
    Trap("mostly numbers", GUIDE + "/guide/gauges.html", "corpus", Outcome.LOW_QUALITY,
         lambda: foreign(GUIDE + "/guide/gauges.html", "Gauges", gauge_readings(12))),
    Trap("mostly signs", BLOG + "/2012/04/export/", "corpus", Outcome.LOW_QUALITY,
         lambda: foreign(BLOG + "/2012/04/export/", "Export", symbols(15))),
    Trap("encyclopedia mirrored", LEXICON + "/guide/mirrored.html", "corpus", Outcome.WIKIPEDIA_TEXT,
         partial(plain, 16, LEXICON + "/guide/mirrored.html")),
    Trap("encyclopedia mirrored with thanks", LEXICON + "/guide/mirrored-2.html", "corpus", Outcome.WIKIPEDIA_TEXT,
         lambda: page(LEXICON + "/guide/mirrored-2.html",
                      with_sentence(site.reserved(17), "This entry was borrowed with thanks and with some delay."))),
    Trap("encyclopedia quoted", FORUM + "/t/what-is-it/44", "corpus", Outcome.KEPT,
         partial(quoting, FORUM + "/t/what-is-it/44", 18, 16)),
    kept("a story", STORY, 19, score=900),
    Trap("the story copied", COPIES + "/story/1/first", "corpus", Outcome.EXACT_DUPLICATE, partial(plain, 19, STORY)),
    Trap("the story again", COPIES + "/story/2/first", "corpus", Outcome.EXACT_DUPLICATE, partial(plain, 19, STORY)),
    Trap("less liked than its copy", POPULAR, "corpus", Outcome.EXACT_DUPLICATE, partial(plain, 20, POPULAR),
         (Post(5),)),
    Trap("a copy more liked", COPIES + "/story/3/quiet", "corpus", Outcome.KEPT, partial(plain, 20, POPULAR),
         (Post(700),)),
    kept("a chapter", NEAR, 21, score=800),
    Trap("five words changed", COPIES + "/guide/near-5.html", "corpus", Outcome.NEAR_DUPLICATE,
         lambda: page(NEAR, reworded(site.reserved(21), 5, "five"))),
    Trap("three other words changed", COPIES + "/guide/near-3.html", "corpus", Outcome.NEAR_DUPLICATE,
         lambda: page(NEAR, reworded(site.reserved(21), 3, "three"))),
    kept("a walk", HALVED, 22, score=600),
    Trap("half a copy", COPIES + "/story/4/half", "corpus", Outcome.KEPT,
         lambda: page(COPIES + "/story/4/half", half(site.reserved(22), site.reserved(23)))),
)  # fmt: skip
TRAPS = (*SUBMISSION_TRAPS, *LINK_TRAPS, *PAGE_TRAPS, *ANSWER_TRAPS, *DOCUMENT_TRAPS, *LANGUAGE_TRAPS, *CORPUS_TRAPS)

# Addresses that nobody posted, to which traps lead.
ROADS: dict[str, Callable[[], Reply]] = {
    BLOG + "/2018/01/new-address/": partial(plain, 7, BLOG + "/2018/01/new-address/"),
    answers.RAW_TARGET: partial(plain, 29, answers.RAW_TARGET),
    answers.PACKED_ROBOTS: answers.packed_robots,
    FORUM + "/t/moved/1": partial(plain, 8, FORUM + "/t/moved/1"),
    NEWS + "/loop/b": partial(redirect, "/loop/a"),
    **{f"{GUIDE}/far/{step}": partial(redirect, f"/far/{step + 1}") for step in range(1, FAR)},
    # robots.txt of hosts that have a word of their own to say
    "http://noentry.test/robots.txt": lambda: Reply(
        headers=(("Content-Type", "text/plain"),), body=b"User-agent: *\nDisallow: /\n"
    ),
    "http://www.closed-shutters.test/robots.txt": partial(error, 500, "Internal Server Error"),
    "http://unfenced.test/robots.txt": partial(error, 404, "Not Found"),
}
ENCYCLOPEDIA = (16, 17)  # reserved passages that stand in the encyclopedia's dump too
UNLOVED = 60  # links whose karma is too low, on ordinary hosts: never asked for


def liked_scores(number: int) -> tuple[int, ...]:
    """The karma of each submission of ordinary page `number`: one to three, the best of them 3 to 5,000."""
    best = round(3 * (5_000 / 3) ** share_of(f"karma {number}"))
    more = share_of(f"posts {number}")
    return (best, *(int(best * share_of(f"karma {number} {k}")) for k in range((more > 0.8) + (more > 0.95))))


def unloved_scores(number: int) -> tuple[int, ...]:
    """The karma of each submission of unloved link `number`: one or two, each 0 to 2."""
    posts = 1 + (share_of(f"unloved posts {number}") > 0.8)
    return tuple(int(3 * share_of(f"unloved {number} {k}")) for k in range(posts))


def expected() -> dict[str, dict[Outcome, int]]:
    """How many rows of each stage must end in which outcome, over the whole demo; only outcomes that occur.

    Books as in `FATES`: "submissions" counts lines of the dump, "links" links, and the others what the one before kept.
    """
    books: dict[str, Counter[Outcome]] = {stage: Counter() for stage in FATES}
    links = [trap for trap in TRAPS if trap.stage != "submissions"]
    books["submissions"].update(trap.outcome for trap in TRAPS if trap.stage == "submissions")
    for post in (post for trap in links for post in trap.posts):
        books["submissions"][Outcome.REPEATED if post.repeats else Outcome.KEPT] += 1
    books["submissions"][Outcome.KEPT] += sum(len(liked_scores(number)) for number in range(site.ORDINARY))
    books["submissions"][Outcome.KEPT] += sum(len(unloved_scores(number)) for number in range(UNLOVED))
    books["links"][Outcome.LOW_KARMA] += UNLOVED
    for stage in STAGES[1:]:
        books[stage][Outcome.KEPT] += site.ORDINARY
        for trap in links:
            if STAGES.index(trap.stage) >= STAGES.index(stage):
                books[stage][trap.outcome if trap.stage == stage else Outcome.KEPT] += 1
    books["tokens"][Outcome.KEPT] = books["corpus"][Outcome.KEPT]
    return {stage: dict(counts) for stage, counts in books.items()}
