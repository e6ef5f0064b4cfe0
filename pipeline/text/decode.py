"""Bytes to characters: what a page's server, its markup and its bytes say about its encoding, and who is believed.

Choice: believe the bytes first. A byte order mark, UTF-16's zeros and valid UTF-8 are proofs; what header and page
declare is an opinion; a detector is heard only where it is good, on scripts that are not Latin. Cost: a page in a
legacy encoding whose bytes happen to be valid UTF-8 is read as UTF-8, of which no real page is known. Alternative: the
declared encoding first, as browsers do (WHATWG HTML, 13.2.3), which garbles pages whose server says Latin-1 unasked.
"""

from __future__ import annotations

import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

META_HEAD = 4_096  # bytes; HTML's prescan reads 1,024, real pages put scripts before their charset
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
