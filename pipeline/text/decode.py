"""Detection of character encodings: what a page's server, its markup and its bytes say, and who is believed.

Choice: believe the bytes first. A byte order mark, UTF-16's zeros and valid UTF-8 are proofs; what header and page
declare is an opinion, tested by the faults that it leads to; a detector is asked last. Legacy encodings are decoded as
browsers do (WHATWG Encoding, by turbohtml's tables: Python's codecs of these names lack rows and characters), each
fault a U+FFFD. Cost: a page in a legacy encoding whose bytes happen to be valid UTF-8 is read as UTF-8, of which no
real page is known. Alternative: the declared encoding first, as browsers do (WHATWG HTML, 13.2.3), which garbles pages
whose server says Latin-1 unasked.
"""

from __future__ import annotations

import re
from collections import Counter

from turbohtml.detect import detect

from pipeline.text.charset import codec_of, declared_early, declared_late

# Faults that an encoding may lead to: one in ten of the characters beyond ASCII. The right one leads to a few (a cut
# end, a stray byte, a pasted quotation mark). Of wrong ones, two bytes for an alphabet of one lead to one in eight or
# more (measured on fourteen encodings); one byte for another, and Chinese for Japanese, may lead to none at all.
FEW = 10
BEGINNING = 4_096  # bytes in which UTF-16 shows itself by its zeros
JUNK_SHARE = 0.05  # of characters that no text holds; the bound of resiliparse's detect_mime
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
ISO_2022_JP = re.compile(rb"\x1b(?:\$[@B][!-~]{2,400}|\(I[!-_]{1,400})\x1b\([BJ]")
# How the encodings begin that the standard replaces (WHATWG Encoding, 14.1): text in seven bits, which is no ASCII.
SHIFTED = (b"\x1b$)", b"~{")
REPLACEMENT = "\ufffd"
HEADER_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:+-]{1,40})", re.IGNORECASE)
READ = 500_000  # bytes of a body that a detector looks at
SCRIPT = re.compile(rb"<(/?)(?:script|style)\b", re.IGNORECASE)
TAG = re.compile(rb"<[^<>]*>")
LEAST_PIECE = 48  # bytes beyond ASCII that are judged as one
RUN = re.compile(rb"[\x80-\xff]{4,}")
LETTER = bytes(range(0xC0, 0x100))  # in nearly all encodings of one byte; quotation marks and dashes are below
LEAST_LETTERS = 100  # bytes of text a letter beyond ASCII: Polish has one in 30, English one in thousands
LATIN = frozenset({
    "iso-8859-2", "iso-8859-4", "iso-8859-15", "windows-1250", "windows-1252", "windows-1254", "windows-1257",
    "windows-1258",
})  # fmt: skip


def decode(body: bytes, content_type: str) -> str | None:
    """The characters of a body; None when its bytes are no text in any encoding. No NUL, no lone surrogate in it.

    In this order: byte order mark; UTF-16 by its zeros; UTF-8 when valid or nearly so, whatever is declared; what
    header or page declare, unless it leads to many faults; a detector's opinion; Windows-1252, as browsers do. A fault
    is one U+FFFD.
    """
    if body.startswith(MAGIC):
        return None
    text = characters(body, content_type)
    plain = text.encode()
    junk = len(plain) - len(plain.translate(None, BINARY)) + max(0, faults_of(text, body))
    if junk > JUNK_SHARE * len(text):
        return None
    return text.replace("\0", "") if "\0" in text else text


def characters(body: bytes, content_type: str) -> str:
    """The body decoded by the first rule that fits; U+FFFD where even the best one fails."""
    for mark, encoding in BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    wide = utf16_without_mark(body)
    if wide:
        return body.decode(wide, "replace")
    if ISO_2022_JP.search(body):  # in seven bits: it would pass for UTF-8
        return body.decode("whatwg-iso-2022-jp", "replace")
    if any(sign in body for sign in SHIFTED) and is_replaced(declared(body, content_type)):
        return REPLACEMENT
    text = body.decode("utf-8", "replace")
    faults = faults_of(text, body)
    return text if faults <= 0 or faults * FEW <= beyond_ascii(text) else legacy(body, content_type)


def faults_of(text: str, body: bytes) -> int:
    """How many bytes, or rows of them, are no characters; a U+FFFD that the author wrote is no fault."""
    return text.count(REPLACEMENT) - body.count(REPLACEMENT.encode()) if REPLACEMENT in text else 0


def beyond_ascii(text: str) -> int:
    """How many characters are not ASCII's."""
    return 0 if text.isascii() else len(text) - len(text.encode("ascii", "ignore"))


def utf16_without_mark(body: bytes) -> str | None:
    """The byte order of UTF-16 without a mark: ASCII's zeros stand at odd (LE) or at even (BE) places only."""
    head = body[:BEGINNING]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    few, many = sorted((even, odd))
    if many < max(4, len(head) // 10) or few * 10 > many:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def legacy(body: bytes, content_type: str) -> str:
    """The body in an encoding older than UTF-8.

    A declared Latin-1 says little: servers say it unasked. It is enough against a detector's other Latin encodings.
    """
    codecs_declared = declared(body, content_type)
    order = [codec for codec in codecs_declared if not is_latin_1(codec)]
    for encoding in (*order, None):
        codec = encoding or detected(body, latin=len(order) == len(codecs_declared))
        text = body.decode(codec, "replace")
        if text.count(REPLACEMENT) * FEW <= beyond_ascii(text):
            return text
    return body.decode("whatwg-windows-1252", "replace")


def declared(body: bytes, content_type: str) -> list[str]:
    """Codecs of the charsets declared by HTTP header, markup's beginning and, where these say nothing, later markup.

    Without UTF-8 and UTF-16, which are believed for their bytes alone.
    """
    codecs = [codec_of(match[1]) for match in HEADER_CHARSET.finditer(content_type)]
    markup = not content_type.lstrip().lower().startswith("text/plain")
    found = [codec for codec in (*codecs, *(declared_early(body) if markup else ())) if codec and not is_unicode(codec)]
    if markup and all(map(is_latin_1, found)):
        found += [codec for codec in declared_late(body) if not is_unicode(codec)]
    return found


def detected(body: bytes, latin: bool) -> str:
    """The codec that most of the text's bytes beyond ASCII look like; one for Latin letters only if `latin`.

    Heard only where there is something to hear, letters beyond ASCII in runs or in numbers: by its quotation marks
    and pound signs one English page in twenty was taken for Central European. It is asked piece by piece, because one
    bad byte rules the right encoding out for whatever it stands in.
    """
    text = read_text(body[:READ])
    high, letters = (len(text) - len(text.translate(None, characters)) for characters in (HIGH, LETTER))
    in_runs = sum(map(len, RUN.findall(text))) * 2 > high
    if not in_runs and letters * LEAST_LETTERS < len(text):
        return "whatwg-windows-1252"
    votes: Counter[str] = Counter()
    piece, weight = b"", 0
    for part in (*(line for line in text.splitlines() if not line.isascii()), b""):
        piece += part + b"\n"
        weight += len(part) - len(part.translate(None, HIGH))
        if weight >= LEAST_PIECE or not part:
            votes[(detect(piece).encoding or "windows-1252").lower()] += weight
            piece, weight = b"", 0
    best = votes.most_common(1)[0][0]
    return "whatwg-windows-1252" if best in LATIN and not latin else f"whatwg-{best}"


def read_text(body: bytes) -> bytes:
    """What stands between tags, a line each time, but for scripts and styles."""
    first, *rest = SCRIPT.split(body)  # then by turns: "/" or nothing, and what follows the tag's name
    outside = (part for end, part in zip(rest[::2], rest[1::2], strict=True) if end)
    return TAG.sub(b"\n", b"<".join([first, *outside]))


# --- what a codec is, told by what it does, because an encoding has many labels


def is_latin_1(codec: str) -> bool:
    """Whether a codec is windows-1252, which is what the standard makes of Latin-1 and ASCII."""
    return b"\x80\xd0\xfd\xfe".decode(codec, "replace") == "\u20acÐýþ"


def is_unicode(codec: str) -> bool:
    """Whether a codec is UTF-8 or UTF-16."""
    return b"a\xc3\xa9".decode(codec, "replace") == "aé" or b"a\0\0a".decode(codec, "replace") in {"a\u6100", "\u6100a"}


def is_replaced(codecs: list[str]) -> bool:
    """Whether the first of some codecs is the standard's replacement, for encodings that hide markup."""
    return bool(codecs) and b"ab".decode(codecs[0], "replace") == REPLACEMENT
