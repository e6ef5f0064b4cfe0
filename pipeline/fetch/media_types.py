"""The media type of a response: what its header says, and what its bytes look like where the header says nothing.

Choice: the header is parsed and an unknown type sniffed as the WHATWG writes it down, hence as browsers do, but only
for the types that can be pages. Cost: a table of beginnings. Alternative: a library of magic numbers, which names
thousands of types and knows less of HTML.
"""

from __future__ import annotations

import re

from pipeline.fetch.heads import Headers, header

PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/plain"})
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # what they begin with: RFC 1952, section 2.3.1; RFC 8878, section 3.1.1

# WHATWG MIME Sniffing. Section 4.4: a type that parses; 7: types that say nothing; 7.1: what a document of unknown type
# is by its beginning, section 5.2: 1,445 bytes of it; 7.2: bytes that no text holds.
MEDIA_TYPE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;.*)?", re.DOTALL)
LISTED = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)  # Fetch, "get, decode, and split": quoted commas
UNKNOWN_TYPES = ("unknown/unknown", "application/unknown", "*/*")
SNIFFED_BYTES = 1_445
HTML_LOOK = re.compile(
    rb"(?:\xef\xbb\xbf)?[\t\n\f\r ]*<(?:!--|(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|"
    rb"body|br|p)[ >\t\n\f\r])",
    re.IGNORECASE,
)
XHTML_LOOK = re.compile(
    rb"(?:\xef\xbb\xbf)?[\t\n\f\r ]*<\?xml\s.{0,1024}?<(?:!doctype\s+)?html[ >\t\n\f\r]", re.I | re.S
)
OTHER_LOOK = re.compile(rb"(?:\xef\xbb\xbf)?[\t\n\f\r ]*(?:<|%PDF-|%!PS-Adobe-|\{\\rtf)")  # markup, or made by programs
BYTE_ORDER_MARKS = (b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf")
BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


def content_type_of(headers: Headers) -> str:
    """The media type that the last Content-Type names that is one, in lower case, without parameters; "" where none.

    Fetch, "extract a MIME type": headers and the elements of a header in order, those that do not parse passed over.
    """
    types = [MEDIA_TYPE.fullmatch(item.strip(" \t")) for item in LISTED.findall(header(headers, "content-type"))]
    names = [match[1].lower() for match in types if match and match[1].lower() not in UNKNOWN_TYPES]
    return names[-1] if names else ""


def sniffed(body: bytes) -> str:
    """The media type of a page that says none: HTML, XHTML or plain text by its beginning; "" for anything else."""
    if HTML_LOOK.match(body):
        return "text/html"
    if XHTML_LOOK.match(body):
        return "application/xhtml+xml"
    return "text/plain" if body and is_text(body) and not OTHER_LOOK.match(body) else ""


def is_text(body: bytes) -> bool:
    """Whether a body begins like text rather than like anything packed or binary."""
    if HTML_LOOK.match(body) or body.startswith(BYTE_ORDER_MARKS):  # a sign of control in HTML does not matter
        return True
    return not body.startswith((GZIP, ZSTD)) and not BINARY.search(body, 0, SNIFFED_BYTES)
