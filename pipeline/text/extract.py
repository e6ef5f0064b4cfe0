"""The main text of a page: bytes in, one clean text and its outcome out.

Choice: a cascade. trafilatura without its slow rescues reads every page; where it finds less than 0.7 of what
resiliparse finds, resiliparse's reading is taken. Bytes are decoded here once, so that all engines read the same
characters. Cost: two parses a page (resiliparse's is a tenth of trafilatura's). Alternatives, selectable: each of the
two alone, and newspaper, one of the two that WebText was made with (Radford et al. 2019, section 2.1).
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
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from pipeline.shards.outcomes import ConfigError, Outcome
from pipeline.text.normalize import clean

SHORTER = 0.7  # of resiliparse's characters; of 0.6, 0.7, 0.8 the best word F1 on hand-checked pages
TITLE_HEAD = 200_000  # characters in which a title is looked for
TITLE_CHARS = 300
META_HEAD = 4_096  # bytes; HTML's prescan reads 1,024, real pages put scripts before their charset
JUNK_SHARE = 0.05  # of characters that no text holds; the bound of resiliparse's detect_mime

# trafilatura says at warning level what becomes an outcome here, and without a handler that goes to stderr.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)


class Extraction(msgspec.Struct, frozen=True):
    """What became of a page: `outcome` (kept, undecodable, no_text, extract_*) and, when kept, its clean text.

    `engine` gave the text: "trafilatura", "resiliparse", "newspaper", or "plain" for text/plain; "" when none ran.
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
    """The text of trafilatura, unless it is shorter than 0.7 of resiliparse's: it stopped too early then."""
    first, name = by_trafilatura(page, url)
    second, other = by_resiliparse(page, url)
    return (second, other) if len(first) < SHORTER * len(second) else (first, name)


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


# --- bytes to characters

BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),  # before UTF-16's, which is its beginning
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
MAGIC = (b"%PDF-", b"\x89PNG\r\n", b"GIF8", b"\xff\xd8\xff", b"PK\x03\x04", b"\x1f\x8b", b"\x7fELF", b"OggS", b"RIFF")
BINARY = bytes(
    {*range(0x01, 0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)}
)  # WHATWG MIME sniffing, section 3; without NUL
HIGH = bytes(range(0x80, 0x100))
RUN = re.compile(rb"[\x80-\xff]{4,}")
ISO_2022_JP = re.compile(rb"\x1b\$[@B][!-~]{2,400}\x1b\([BJ]")
HEADER_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:+-]{1,40})", re.IGNORECASE)
META_CHARSET = re.compile(rb"<meta[^<>]{1,500}?charset\s*=\s*[\"']?\s*([\w.:+-]{1,40})", re.IGNORECASE)
XML_CHARSET = re.compile(rb"^\s*<\?xml[^<>]{1,200}?encoding\s*=\s*[\"']([\w.:+-]{1,40})", re.IGNORECASE)
# What browsers mean by a label is more than Python's codec of that name holds (WHATWG Encoding, section 4.2).
WIDER = {"shift_jis": "cp932", "gbk": "gb18030", "euc_kr": "cp949", "big5": "big5hkscs", "iso8859-11": "cp874"}

LATIN = frozenset({"cp1250", "cp1252", "cp1254", "cp1257", "cp1258", "mac-roman"}) | {
    f"iso8859-{part}" for part in (1, 2, 3, 4, 9, 10, 13, 14, 15, 16)
}


def decode(body: bytes, content_type: str) -> str | None:
    """The characters of a body; None when its bytes are no text in any encoding. No NUL, no lone surrogate in it.

    In this order: byte order mark; UTF-16 by its zeros; UTF-8 when valid or nearly so, whatever is declared; what
    header or page declare; a detector's opinion; Windows-1252, as browsers do.
    """
    if body.startswith(MAGIC):
        return None
    text = characters(body, content_type)
    plain = text.encode()
    junk = len(plain) - len(plain.translate(None, BINARY)) + text.count("\ufffd")
    return None if junk > JUNK_SHARE * len(text) else text.replace("\0", "")


def characters(body: bytes, content_type: str) -> str:
    """The body decoded by the first rule that fits; U+FFFD where even the best one fails."""
    for mark, encoding in BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    wide = utf16_without_mark(body)
    if wide:
        return body.decode(wide, "replace")
    if ISO_2022_JP.search(body):  # in seven bits: it would pass for UTF-8
        return body.decode("iso2022_jp", "replace")
    text = body.decode("utf-8", "replace")
    faults = text.count("\ufffd")
    foreign = len(text) - len(body.translate(None, HIGH)) if faults else 0
    # A cut end or a pasted quotation mark: one fault in ten non-ASCII characters is still UTF-8, one in two is not.
    return text if faults * 10 <= foreign else legacy(body, content_type)


def utf16_without_mark(body: bytes) -> str | None:
    """The byte order of UTF-16 without a mark: ASCII's zeros stand at odd (LE) or at even (BE) places only."""
    head = body[:META_HEAD]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    few, many = sorted((even, odd))
    if many < max(4, len(head) // 10) or few * 10 > many:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def legacy(body: bytes, content_type: str) -> str:
    """The body in an encoding older than UTF-8.

    A declared Latin-1 says little: servers say it unasked. The detector is heard only where letters beyond ASCII come
    in runs, as in scripts that are not Latin; among Latin ones it took half of English pages for Central European.
    """
    order = [codec for codec in declared_encodings(body, content_type) if codec != "cp1252"]
    if sum(map(len, RUN.findall(body))) * 2 > len(body) - len(body.translate(None, HIGH)):
        found = detect_encoding(body) or "utf-8"
        detected = WIDER.get(found, found)
        if detected in order:
            order = [detected]
        elif not detected.startswith("utf") and detected not in LATIN:
            order.append(detected)
    for encoding in order:
        try:
            return body.decode(encoding)
        except UnicodeDecodeError:
            continue
    return body.decode("cp1252", "replace")


def declared_encodings(body: bytes, content_type: str) -> list[str]:
    """Python codecs of the charsets declared by HTTP header, meta element and XML declaration, known ones only."""
    labels = [match[1] for match in HEADER_CHARSET.finditer(content_type)]
    head = body[:META_HEAD]
    found = [form.search(head) for form in (META_CHARSET, XML_CHARSET)]
    labels += [match[1].decode("ascii", "replace") for match in found if match]
    codecs = [map_encoding_to_html5(label.lower(), fallback_utf8=False) for label in labels]
    return [WIDER.get(codec, codec) for codec in codecs if codec and not codec.startswith("utf")]


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
