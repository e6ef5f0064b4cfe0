"""The encoding that a page declares in its markup, found in bytes that nobody has decoded yet.

Choice: HTML's own prescan (WHATWG HTML, 13.2.3.2): over comments and through attributes, so that neither a commented
element nor keywords that mention a charset declare one. Cost: a loop a tag. Alternative: one expression over the head,
which cannot tell an element from what only looks like one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping

import turbohtml.detect  # noqa: F401 - registers the codecs of the Encoding Standard, whatwg-*
from resiliparse.parse.encoding import map_encoding_to_html5

PRESCAN = 1_024  # bytes, the standard's
LATE = 1_000_000  # bytes in which an element is still looked for that a parser would have met (13.2.6.4.4)

TAG = re.compile(rb"<(?:(!--)|(/?[a-zA-Z][^\s/>]*)|[!/?])")
ATTRIBUTE = re.compile(rb"[\s/]*([^\s/>][^\s/>=]*)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"'][^\s>]*|)))?")
IN_CONTENT = re.compile(rb"charset\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;\"']+))")
IN_XML = re.compile(rb"^\s*<\?xml[^<>]{1,200}?encoding\s*=\s*[\"']([\w.:+-]{1,40})", re.IGNORECASE)
LABEL = re.compile(r"[\w.:+-]{1,40}", re.ASCII)
RAW = ("script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes")  # hold text, no elements
RAW_END = {name.encode(): re.compile(rf"</{name}".encode(), re.IGNORECASE) for name in RAW}
UTF_16 = frozenset({
    "csunicode", "iso-10646-ucs-2", "ucs-2", "unicode", "unicodefeff", "unicodefffe", "utf-16", "utf-16be", "utf-16le",
})  # fmt: skip


def codec_of(label: str) -> str | None:
    """The name of Python's codec for a label of the Encoding Standard (4.2); None for one that it does not know.

    resiliparse knows the labels that do not survive Python's search for codecs, which makes underscores of all hyphens:
    ks_c_5601-1987, iso_8859-2:1987.
    """
    plain = label.strip().lower()
    if not LABEL.fullmatch(plain):
        return None
    known = map_encoding_to_html5(plain, fallback_utf8=False) or ""
    for name in (plain, known.replace("_", "-")):
        try:
            return codecs.lookup(f"whatwg-{name}").name
        except LookupError:
            continue
    return None


def declared_early(body: bytes) -> list[str]:
    """The codecs of the first meta element in the first PRESCAN bytes, and of an XML declaration."""
    return [codec for codec in (in_meta(body[:PRESCAN], {}), in_xml(body)) if codec]


def declared_late(body: bytes) -> list[str]:
    """The codec of the first meta element in the first LATE bytes, where a parser would meet one: not in scripts."""
    codec = in_meta(body[:LATE], RAW_END)
    return [codec] if codec else []


def in_xml(body: bytes) -> str | None:
    """The codec of an XML declaration."""
    match = IN_XML.match(body)
    return markup_codec(match[1]) if match else None


def in_meta(head: bytes, raw_end: Mapping[bytes, re.Pattern[bytes]]) -> str | None:
    """The codec of the first meta element that declares one; the text of elements with a `raw_end` is passed over."""
    at = 0
    while match := TAG.search(head, at):
        name = (match[2] or b"").lower()
        if match[1]:
            end = head.find(b"-->", match.end() - 2)  # `<!-->` is a whole comment
        elif name:
            attributes, end = attributes_at(head, match.end())
            codec = markup_codec(label_of(attributes)) if name == b"meta" else None
            if codec:
                return codec
            if name in raw_end:
                closing = raw_end[name].search(head, end)
                end = closing.start() if closing else -1
        else:
            end = head.find(b">", match.end())
        if end < 0:
            return None
        at = end
    return None


def attributes_at(head: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    """The attributes of the tag whose name ends at `at`, lower-cased, the first of each name; and where they end."""
    found: dict[bytes, bytes] = {}
    while match := ATTRIBUTE.match(head, at):
        found.setdefault(match[1].lower(), (match[2] or match[3] or match[4] or b"").lower())
        at = match.end()
    return found, at


def label_of(attributes: dict[bytes, bytes]) -> bytes:
    """What a meta element with these attributes declares; b"" = nothing."""
    if b"charset" in attributes:
        return attributes[b"charset"]
    if attributes.get(b"http-equiv") != b"content-type":
        return b""
    match = IN_CONTENT.search(attributes.get(b"content", b""))
    return (match[1] or match[2] or match[3] or b"") if match else b""


def markup_codec(label: bytes) -> str | None:
    """The codec of a label in markup: what could be read so far is in no UTF-16, and x-user-defined is windows-1252."""
    plain = label.decode("ascii", "replace").strip().lower()
    if plain in UTF_16:
        plain = "utf-8"
    return codec_of("windows-1252" if plain == "x-user-defined" else plain)
