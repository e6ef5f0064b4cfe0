"""The ordinary part of the demo's web: hosts with layouts of their own, and a passage a page among the usual clutter.

Choice: six ways to lay out a page (blog, news, handbook, forum, shop, plain table of the nineties), dealt out to two
dozen hosts, so that extraction meets menus, banners, side bars, comments and scripts and has to find the text. Cost:
templates are code. Alternative: one bare template, on which any extractor is perfect and nothing is shown.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from pipeline.demo.prose import Passage, passages, share_of

ORDINARY = 310  # pages that pass through the whole chain
RESERVED = 40  # passages kept for traps, each of at least 550 words
WORDS = 500  # of a passage: 250 to 900, so 1.2 MB of text in all


@dataclass(frozen=True)
class Host:
    """A virtual host: its name, as it calls itself, its layout, and what it says of itself."""

    name: str
    title: str
    layout: str
    motto: str


@dataclass(frozen=True)
class Page:
    """An address with a text. `path` begins with a slash."""

    host: str
    path: str
    passage: Passage

    @property
    def url(self) -> str:
        """The address as people post it."""
        return f"http://{self.host}{self.path}"


HOSTS: dict[str, Host] = {
    host.name: host
    for host in (
        Host("www.harbour-letters.test", "Harbour Letters", "blog", "Slow mail from a small port"),
        Host("lanternfield.test", "Lantern Field", "blog", "A diary kept after dark"),
        Host("www.quietcompiler.test", "The Quiet Compiler", "blog", "Fewer warnings, better sleep"),
        Host("overgrown-path.test", "The Overgrown Path", "blog", "Walking notes, mostly uphill"),
        Host("tin-roof.test", "Under a Tin Roof", "blog", "Essays for rainy afternoons"),
        Host("www.morningtide.test", "The Morning Tide", "news", "News of the estuary since 1887"),
        Host("northquay-herald.test", "North Quay Herald", "news", "Independent, local, on time"),
        Host("www.ledgerandpost.test", "Ledger & Post", "news", "Markets, letters, weather"),
        Host("valleywire.test", "Valley Wire", "news", "What happened, and why it matters"),
        Host("docs.granary.test", "Granary Handbook", "handbook", "Reference for the granary toolkit"),
        Host("handbook.copperline.test", "Copperline Handbook", "handbook", "Everything the crew should know"),
        Host("learn.weathervane.test", "Learn Weathervane", "handbook", "From first gust to full gale"),
        Host("manual.sextant.test", "Sextant Manual", "handbook", "Finding your way, chapter by chapter"),
        Host("forum.workbench.test", "Workbench Forum", "forum", "Ask, answer, sharpen"),
        Host("talk.oldradios.test", "Old Radios Talk", "forum", "Valves, dials and patience"),
        Host("boards.nightgarden.test", "Night Garden Boards", "forum", "For those who plant by moonlight"),
        Host("commons.millrace.test", "Millrace Commons", "forum", "A village square with threads"),
        Host("www.paperandthread.test", "Paper & Thread", "shop", "Stationery for people who still write"),
        Host("kettleworks.test", "Kettleworks", "shop", "Repaired, refilled, returned"),
        Host("www.fieldnotesupply.test", "Fieldnote Supply", "shop", "Plain tools, well explained"),
        Host("brasslamp.test", "Brass Lamp Trading", "shop", "Light since the day before yesterday"),
        Host("people.stonebridge.test", "Stonebridge College People", "table", "Personal pages of the staff"),
        Host("home.foundry.test", "Home at the Foundry", "table", "Best viewed at any size"),
        Host("www.almanac-room.test", "The Almanac Room", "table", "An archive of useful lists"),
        Host("notes.riverglass.test", "Riverglass Notes", "blog", "Clear water, short sentences"),
        Host("www.eastgatereview.test", "Eastgate Review", "news", "A weekly for the undecided"),
    )
}
# Hosts for traps that concern a whole host; they have no ordinary pages.
EDGE_HOSTS: dict[str, Host] = {
    host.name: host
    for host in (
        Host("www.closed-shutters.test", "Closed Shutters", "blog", "We are not at home"),
        Host("noentry.test", "No Entry", "blog", "A house with a fence"),
        Host("unfenced.test", "Unfenced", "blog", "Come as you are"),
        Host("openlexicon.test", "Open Lexicon", "handbook", "Knowledge, borrowed"),
        Host("copyroom.test", "The Copy Room", "news", "What others wrote"),
        Host("slowboat.test", "Slow Boat", "blog", "We arrive when we arrive"),
        Host("packed-lunch.test", "Packed Lunch", "blog", "Everything in its box"),
        Host("postroom.test", "The Post Room", "blog", "Letters only"),
        Host("drippingtap.test", "Dripping Tap", "blog", "Drop by drop"),
    )
}
MENU = ("Home", "Archive", "About", "Contact", "Subscribe", "Search", "Sign in")
PEOPLE = ("Ines", "Tobias", "Maud", "Oren", "Priya", "Lucian", "Wilma", "Teun", "Adaeze", "Kaito", "Sanne", "Rufus")


@functools.cache
def all_passages() -> tuple[Passage, ...]:
    """Every passage of the demo, read once in a process."""
    return tuple(passages(ORDINARY + RESERVED, WORDS))


@functools.cache
def divided() -> tuple[tuple[Passage, ...], tuple[Passage, ...]]:
    """The passages of ordinary pages, and the RESERVED first of those that `passages` makes longer than the middle."""
    long = [index for index in range(ORDINARY + RESERVED) if share_of(f"passage {index}") > 0.5][:RESERVED]
    ours = tuple(passage for index, passage in enumerate(all_passages()) if index not in set(long))
    return ours, tuple(all_passages()[index] for index in long)


def reserved(number: int) -> Passage:
    """The passage of at least 550 words that trap number `number`, below RESERVED, may use; no ordinary page has it."""
    return divided()[1][number]


@functools.cache
def ordinary_pages() -> tuple[Page, ...]:
    """The pages that nothing is wrong with, dealt out to the hosts in turn."""
    hosts = list(HOSTS.values())
    return tuple(
        Page(host.name, path_of(host.layout, passage.title, number), passage)
        for number, passage in enumerate(divided()[0])
        for host in [hosts[number % len(hosts)]]
    )


def path_of(layout: str, title: str, number: int) -> str:
    """A path as sites of that layout have it."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    year, month = 2012 + int(share_of(f"year {number}") * 8), 1 + int(share_of(f"month {number}") * 12)
    return {
        "blog": f"/{year}/{month:02}/{slug}-{number}/",
        "news": f"/story/{10_000 + 7 * number}/{slug}",
        "handbook": f"/guide/{slug}-{number}.html",
        "forum": f"/t/{slug}/{200 + number}",
        "shop": f"/item.php?id={300 + number}",
        "table": f"/~{PEOPLE[number % len(PEOPLE)].lower()}/{slug}{number}.htm",
    }[layout]


def robots_txt(host: str) -> str:
    """The robots.txt of an ordinary host: everything is open but a few places that no one should read."""
    return (
        f"# {HOSTS[host].title}\nUser-agent: *\nDisallow: /private/\nDisallow: /cart\nDisallow: /search\n"
        f"Allow: /private/visitors/\n\nUser-agent: greedybot\nDisallow: /\n\nSitemap: http://{host}/sitemap.xml\n"
    )


def render(page: Page, head: str = "") -> str:
    """The whole HTML of a page in its host's layout; `head` goes into the head as it is."""
    host = HOSTS.get(page.host) or EDGE_HOSTS[page.host]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n'
        f"<title>{escape(page.passage.title)} | {escape(host.title)}</title>\n"
        f'<meta name="viewport" content="width=device-width">\n{head}{style_and_script(page)}</head>\n'
        f'<body class="{host.layout}">\n{cookie_banner(host)}{LAYOUTS[host.layout](host, page)}{footer(host)}'
        f'<script>window.visits = (window.visits || 0) + 1; console.log("{host.title} is ready");</script>\n'
        "</body>\n</html>\n"
    )


def style_and_script(page: Page) -> str:
    """What stands between the title and the body of most pages, and is no text."""
    card = {"@context": "https://schema.org", "@type": "WebPage", "url": page.url, "name": page.passage.title}
    return (
        "<style>body { margin: 0 auto; max-width: 60em } .menu li { display: inline } "
        "#banner { position: fixed }</style>\n"
        f'<script type="application/ld+json">{json.dumps(card)}</script>\n'
        '<script>var queue = queue || []; queue.push(["page", location.pathname, '
        '"text that no one should read"]);</script>\n'
    )


def cookie_banner(host: Host) -> str:
    """The question that every visitor clicks away."""
    return (
        f'<div id="banner" class="cookie-consent" role="dialog"><p>{escape(host.title)} uses cookies to remember you. '
        "By continuing you accept our cookie policy.</p><button>Accept all</button> "
        "<button>Only necessary</button></div>\n"
    )


def menu(host: Host) -> str:
    """The navigation bar."""
    items = "".join(f'<li><a href="/{name.lower().replace(" ", "-")}">{name}</a></li>' for name in MENU)
    home = f'<a href="/">{escape(host.title)}</a>'
    return f'<header class="masthead">{home}<nav class="menu"><ul>{items}</ul></nav></header>\n'


def footer(host: Host) -> str:
    """The small print."""
    return (
        f'<footer class="footer"><p>Copyright {escape(host.title)}. {escape(host.motto)}.</p>'
        '<ul><li><a href="/terms">Terms of use</a></li><li><a href="/privacy">Privacy</a></li>'
        '<li><a href="/imprint">Imprint</a></li></ul></footer>\n'
    )


def related(page: Page, heading: str) -> str:
    """A list of other pages, by title only."""
    start = int(share_of(page.url) * 1_000)
    links = "".join(
        f'<li><a href="/more/{start + step}">{PEOPLE[(start + step) % len(PEOPLE)]} on number {start + step}</a></li>'
        for step in range(5)
    )
    return f'<aside class="sidebar related"><h3>{heading}</h3><ul>{links}</ul></aside>\n'


def paragraphs(page: Page) -> str:
    """The passage as paragraphs."""
    return "".join(f"<p>{escape(text, quote=False)}</p>\n" for text in page.passage.paragraphs)


def heading(page: Page) -> str:
    """The passage's title as the page's heading."""
    return f"<h1>{escape(page.passage.title)}</h1>\n"


def author(page: Page) -> str:
    """Who is said to have written the page."""
    return PEOPLE[int(share_of("author " + page.url) * len(PEOPLE))]


def blog(host: Host, page: Page) -> str:
    """A post, with share buttons and comments below."""
    comments = "".join(
        f'<li class="comment"><b>{PEOPLE[k]}</b> says: <q>Lovely, thank you!</q></li>'
        for k in range(len(page.path) % 4)
    )
    return (
        f'{menu(host)}<main><article class="post">{heading(page)}<p class="meta byline">by {author(page)}</p>\n'
        f'<div class="entry-content">{paragraphs(page)}</div></article>\n'
        '<div class="share"><a href="/share?on=birds">Share</a> <a href="/share?on=pigeons">Tell a pigeon</a></div>\n'
        f'<section id="comments" class="comments"><h3>Comments</h3><ol>{comments}</ol></section></main>\n'
        f"{related(page, 'Older letters')}"
    )


def news(host: Host, page: Page) -> str:
    """A story between an advertisement and the most read."""
    return (
        f'{menu(host)}<div class="advert">Advertisement</div>\n<div id="content"><article itemscope '
        f'itemtype="https://schema.org/NewsArticle"><header>{heading(page)}'
        f'<p class="byline">{author(page)}, staff</p></header>\n'
        f'<div itemprop="articleBody">{paragraphs(page)}</div></article></div>\n{related(page, "Most read")}'
        '<div class="newsletter"><form action="/subscribe"><label>Every morning in your letter box '
        '<input name="mail"></label><button>Subscribe</button></form></div>\n'
    )


def handbook(host: Host, page: Page) -> str:
    """A chapter beside a table of contents."""
    return (
        '<div class="wrapper"><div class="sidebar" role="navigation"><ul><li><a href="/guide/">Contents</a></li>'
        '<li><a href="/guide/install.html">Installing</a></li>'
        '<li><a href="/guide/index.html">Index</a></li></ul></div>\n'
        f'<div class="document" role="main"><div class="section">{heading(page)}{paragraphs(page)}</div></div></div>\n'
        '<div class="related" role="navigation"><a href="/guide/before.html">previous</a> | '
        f'<a href="/guide/after.html">next</a> | {escape(host.title)}</div>\n'
    )


def forum(host: Host, page: Page) -> str:
    """A thread whose posts hold two paragraphs each."""
    texts = page.passage.paragraphs
    posts = "".join(
        f'<div class="post"><div class="author">{PEOPLE[k // 2 % len(PEOPLE)]}</div><div class="body">'
        + "".join(f"<p>{escape(text, quote=False)}</p>" for text in texts[k : k + 2])
        + "</div></div>\n"
        for k in range(0, len(texts), 2)
    )
    return (
        f'{menu(host)}<main class="thread">{heading(page)}\n{posts}</main>\n'
        f'<div class="login"><a href="/login">Log in to reply</a></div>\n{related(page, "Similar threads")}'
    )


def shop(host: Host, page: Page) -> str:
    """A long description beside a price and a basket."""
    price = 3 + len(page.passage.title) % 40
    return (
        f'{menu(host)}<div class="product"><div class="gallery"><img src="/img/{price}.webp" alt="A picture"></div>\n'
        f'<div class="buy"><span class="price">{price}.50</span><button>Add to basket</button>'
        "<p>Sent in 3 days</p></div>\n"
        f'<main><article class="description">{heading(page)}{paragraphs(page)}</article></main></div>\n'
        f"{related(page, 'Others also looked at')}"
    )


def table(host: Host, page: Page) -> str:
    """A page laid out as a table, menu on the left, as long ago."""
    links = "<br>".join(f'<a href="/{name.lower().replace(" ", "_")}.htm">{name}</a>' for name in (host.title, *MENU))
    return (
        f'<table width="100%"><tr><td valign="top" width="120">{links}</td>\n<td valign="top">{heading(page)}'
        f"{paragraphs(page)}<hr><font size=1>{author(page)}</font></td></tr></table>\n"
    )


LAYOUTS: dict[str, Callable[[Host, Page], str]] = {
    "blog": blog, "news": news, "handbook": handbook, "forum": forum, "shop": shop, "table": table,
}  # fmt: skip
