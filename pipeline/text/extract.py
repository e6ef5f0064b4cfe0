"""The main text of a page: bytes in, one clean text and its outcome out.

Choice: a cascade. A classifier of blocks reads every page, resiliparse's reading being one of the things it looks at;
where it has nothing to judge, or too much, resiliparse's reading is taken as it is. Bytes are decoded once, so that
all engines read the same characters. Cost: two parses a page, both quick. Alternatives, selectable: resiliparse or
trafilatura alone, and newspaper, one of the two that WebText was made with (Radford et al. 2019, section 2.1).
"""

from __future__ import annotations

import html
import importlib.util
import logging
import re
from collections.abc import Callable

import msgspec
import trafilatura
from resiliparse.extract.html2text import extract_plain_text

from pipeline.shards.outcomes import ConfigError, Outcome
from pipeline.text.blocks import read
from pipeline.text.decode import decode
from pipeline.text.main_text import main_text
from pipeline.text.normalize import clean

MOST_BLOCKS = 50_000  # that are judged one by one, in a second; the largest of 701 real pages has 7,000
DEEPEST = 2_000  # elements within one another up to which resiliparse is asked: its time grows with their square
TITLE_HEAD = 200_000  # characters in which a title is looked for
TITLE_CHARS = 300

# trafilatura says at warning level what becomes an outcome here, and without a handler that goes to stderr.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)


class Extraction(msgspec.Struct, frozen=True):
    """What became of a page: `outcome` (kept, undecodable, no_text, extract_*) and, when kept, its clean text.

    `engine` gave the text: "blocks" (the classifier), "trafilatura", "resiliparse", "newspaper", or "plain" for
    text/plain; "" when none ran.
    """

    outcome: Outcome
    text: str = ""
    title: str = ""
    engine: str = ""


def extract(body: bytes, content_type: str, url: str, engine: str) -> Extraction:
    """The main text of a response body, through `normalize.clean`; never raises for what a page may hold.

    `content_type` is the HTTP header as received ("" = unknown, read as HTML). Raises ConfigError for an unknown or
    missing engine; MemoryError passes through, for whoever set the limit to count.
    """
    run = engine_named(engine)
    page = decode(body, content_type)
    if page is None:
        return Extraction(Outcome.UNDECODABLE)
    if content_type.partition(";")[0].strip().lower() == "text/plain":
        return kept(clean(page), "", "plain")
    try:
        text, name = run(page, url)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - engines meet hostile pages; whatever they raise loses this page alone, by name
        return Extraction(Outcome.EXTRACT_CRASHED, engine=engine)
    return kept(clean(text), title_of(page), name)


def kept(text: str, title: str, engine: str) -> Extraction:
    """KEPT, or NO_TEXT when nothing is left."""
    return Extraction(Outcome.KEPT if text else Outcome.NO_TEXT, text, title, engine)


# --- engines: each gives (text, the engine that gave it); "" = the engine found no main text


def by_trafilatura(page: str, url: str) -> tuple[str, str]:
    """Fast mode, no comments, no metadata. UTF-8 bytes, because a lone surrogate in a str cuts the page silently."""
    found = trafilatura.extract(page.encode(), url=url or None, fast=True, include_comments=False, with_metadata=False)
    return found or "", "trafilatura"


def by_resiliparse(page: str, url: str) -> tuple[str, str]:  # noqa: ARG001 - one signature for all engines
    """Main content without comments and alternative texts of images."""
    return extract_plain_text(page, main_content=True, alt_texts=False, comments=False), "resiliparse"


def by_newspaper(page: str, url: str) -> tuple[str, str]:
    """newspaper3k, or newspaper4k under the same name, through what both have; it never touches the network."""
    from newspaper import Article, Config  # noqa: PLC0415 - an extra, and 1 s to import

    config = Config()
    config.fetch_images = False
    article = Article(url or "http://localhost/", config=config)
    article.download(input_html=page)
    article.parse()
    return article.text or "", "newspaper"


def cascade(page: str, url: str) -> tuple[str, str]:
    """The blocks that the classifier takes for main text; of a page without blocks, or with too many, resiliparse's."""
    blocks = read(page)
    if not 0 < len(blocks.texts) <= MOST_BLOCKS:
        return by_resiliparse(page, url)
    second = by_resiliparse(page, url)[0] if max(blocks.depth) <= DEEPEST else ""
    return main_text(blocks, second, url), "blocks"


ENGINES: dict[str, Callable[[str, str], tuple[str, str]]] = {
    "cascade": cascade,
    "trafilatura": by_trafilatura,
    "resiliparse": by_resiliparse,
    "newspaper": by_newspaper,
}


def engine_named(engine: str) -> Callable[[str, str], tuple[str, str]]:
    """The engine's function. Raises ConfigError when it is unknown or not installed."""
    if engine not in ENGINES:
        raise ConfigError(f"documents.engine: unknown engine {engine!r}; known: {', '.join(ENGINES)}")
    if engine == "newspaper" and importlib.util.find_spec("newspaper") is None:
        raise ConfigError("documents.engine: newspaper is not installed; pip install 'webtext[newspaper]'")
    return ENGINES[engine]


# --- title

META = re.compile(r"<meta\b([^<>]{1,2000})>", re.IGNORECASE)
OG_TITLE = re.compile(r"(?:property|name)\s*=\s*[\"']?og:title(?![\w:])", re.IGNORECASE)
CONTENT = re.compile(r"\bcontent\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
TITLE = re.compile(r"<title\b[^<>]{0,500}>([^<]{1,2000})", re.IGNORECASE)


def title_of(page: str) -> str:
    """The page's title (Open Graph's, else the title element's), on one line, at most 300 characters; "" = none."""
    head = page[:TITLE_HEAD]
    for meta in META.finditer(head):
        if OG_TITLE.search(meta[1]) and (content := CONTENT.search(meta[1])):
            title = one_line(content[1] or content[2] or "")
            if title:
                return title
    element = TITLE.search(head)
    return one_line(element[1]) if element else ""


def one_line(markup: str) -> str:
    """Character references resolved, cleaned, white space collapsed, cut at TITLE_CHARS."""
    return clean(" ".join(clean(html.unescape(markup)).split())[:TITLE_CHARS])
