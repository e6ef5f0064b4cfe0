"""HTTP framing: heads of responses, and where the body after one ends; read alike from a connection and a WARC record.

Choice: one lenient parser of our own for both, which takes what browsers take, so that a page crawled and the same
bytes in a WARC file are one page. Cost: these lines have to be right about bytes. Alternative: the parser of the HTTP
library for one and of the WARC library for the other; llhttp refuses lines that every browser passes over, FastWARC
stops after 32 KiB, and each decodes text in its own way.

Text is Latin-1, which gives every byte a character and back (RFC 9110, section 5.5: octets over 127 are opaque data).
A head has one limit, HEAD_BYTES, whatever its lines: nothing that is read within it is refused for its length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

Headers = tuple[tuple[str, str], ...]

HEAD_BYTES = 262_144  # of all heads before a body, to the empty line. Chrome: 256 KiB; Firefox 384 KiB; curl 300 KiB
CHUNK_LINE_BYTES = 16_384  # of a line that tells a chunk's size, with its extensions
SWITCHING = 101  # the one 1xx that ends HTTP: RFC 9110, section 15.2.2
BODILESS = frozenset({204, 304})  # RFC 9112, section 6.3, item 1; and all of 1xx

# What begins an answer. Any case, as in Chrome; a version may be missing. "ICY 200", which is audio, is no HTTP.
STATUS_LINE = re.compile(rb"HTTP(?:/(\d{1,3}(?:\.\d{1,3})?))?[ \t]+(\d{3})(?!\d)([^\n]*)", re.IGNORECASE)
BEGINNING = b"HTTP"
END = re.compile(rb"\n\r*\n")  # lines end in \r\n, in \n (RFC 9112, section 2.2), in \r\r\n from some scripts
EMPTY_LINES = re.compile(rb"[\r\n]*")
BLANKS = b" \t\r"
INFORMATIONAL = 100  # 1xx heads before an answer; a server that means well sends one or two
CHUNK_SIZE = re.compile(rb"\r?\n?[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\n]*|\r*)\n")  # RFC 9112, section 7.1
CHUNK_SIZE_BEGUN = re.compile(rb"\r?\n?[ \t]*[0-9A-Fa-f]{0,16}[ \t]*(?:;[^\n]*|\r*)")
TRAILER = re.compile(rb"([^\n]*)\n")
DIGITS = re.compile(r"[0-9]{1,18}")
RANGE = re.compile(r"bytes\s+0-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a response. `http_version` as in "1.1"; `reason` and `headers` stripped of blanks around them.

    `raw`: its bytes as they came, with the empty line at their end. `ended`: False where there were no more bytes
    before that line, or before the answer that a 1xx head announces.
    """

    http_version: str
    status: int
    reason: str
    headers: Headers
    raw: bytes = b""
    ended: bool = True


def parse(data: bytes) -> tuple[Head, int] | None:
    """The head that `data` begins with, and where its body begins; None for what is no HTTP head. Never raises.

    1xx heads before it are passed over (RFC 9110, section 15.2), so are empty lines. None too for one that does not end
    within HEAD_BYTES, where there are so many.
    """
    at = 0
    informational: Head | None = None
    for _ in range(INFORMATIONAL):
        start = after(EMPTY_LINES, data, at)
        if informational is not None and start == len(data):
            return replace(informational, ended=False), len(data)
        end = END.search(data, start, HEAD_BYTES)
        if end is None and len(data) > HEAD_BYTES:
            return None
        head = head_of(data[start : end.end() if end else len(data)], end is not None)
        if head is None and informational is not None and end is None and begins(data[start : start + len(BEGINNING)]):
            return replace(informational, ended=False), len(data)
        if head is None:
            return None
        if end is None or not is_informational(head):
            return head, end.end() if end else len(data)
        at, informational = end.end(), head
    return None


def begins(data: bytes) -> bool:
    """Whether an answer may begin with these bytes, however few they are yet."""
    start = data[after(EMPTY_LINES, data, 0) :][: len(BEGINNING)].upper()
    return BEGINNING.startswith(start)


def after(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    """The end of a pattern that always matches."""
    found = pattern.match(data, at)
    return found.end() if found else at


def is_informational(head: Head) -> bool:
    """Whether another head follows."""
    return 100 <= head.status < 200 and head.status != SWITCHING


def head_of(raw: bytes, ended: bool) -> Head | None:
    """One head from its bytes; None where no status line begins it."""
    line = STATUS_LINE.match(raw)
    if line is None:
        return None
    version = line[1].decode() if line[1] else "1.0"
    reason = text(line[3])
    return Head(version, int(line[2]), reason, fields(raw[line.end() :]), raw, ended)


def fields(lines: bytes) -> Headers:
    """Names and values of header lines; what has no colon or no name is passed over.

    A name may have blanks before its colon. A line that begins with a blank goes on with the value before it, one space
    between (obs-fold: RFC 9112, section 5.2).
    """
    found: list[tuple[str, list[bytes]]] = []
    folding: list[bytes] | None = None  # the value that a folded line would go on with
    for line in lines.split(b"\n"):
        if line[:1] in (b" ", b"\t"):
            if folding is not None and line.strip(BLANKS):
                folding.append(line)
            continue
        name, colon, value = line.partition(b":")
        folding = [value] if colon and name.strip(BLANKS) else None
        if folding is not None:
            found.append((text(name), folding))
    return tuple((name, " ".join(text(part) for part in value).strip(" ")) for name, value in found)


def written(head: Head) -> bytes:
    """The bytes of a head that is known by its parts alone, with the empty line at their end."""
    lines = (
        f"HTTP/{head.http_version} {head.status} {head.reason}",
        *(f"{key}: {value}" for key, value in head.headers),
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def text(value: bytes) -> str:
    """Bytes of a head as text. A lone CR counts as a space (RFC 9112, section 2.2)."""
    return value.strip(BLANKS).replace(b"\r", b" ").decode("latin-1")


def header(headers: Headers, name: str) -> str:
    """All values of one header, `name` in lower case, joined by commas (RFC 9110, section 5.3); "" where absent."""
    return ", ".join(value for key, value in headers if key.lower() == name)


def elements(headers: Headers, name: str) -> list[str]:
    """The elements of a header that is a list, in order, stripped; empty ones do not count (RFC 9110, 5.6.1.2)."""
    return [found for part in header(headers, name).split(",") if (found := part.strip(" \t"))]


def location_of(headers: Headers) -> str:
    """The address that the first Location names, as ASCII: other bytes percent-encoded as they came, as browsers do."""
    value = next((value for name, value in headers if name.lower() == "location"), "")
    return "".join(character if character.isascii() else f"%{ord(character):02X}" for character in value)


# --- the body


def lengths(headers: Headers) -> list[int]:
    """The values of Content-Length, each once. Two of them are no HTTP: Chrome and Firefox refuse such an answer.

    What is no number counts as absent, as in browsers; `5, 5` is one value (RFC 9112, section 6.3, item 5).
    """
    return sorted({int(value) for value in elements(headers, "content-length") if DIGITS.fullmatch(value)})


def content_length(headers: Headers) -> int | None:
    """The one value of Content-Length; None where there is none, or not one."""
    found = lengths(headers)
    return found[0] if len(found) == 1 else None


def transfer_codings(headers: Headers) -> tuple[str, ...]:
    """The codings of Transfer-Encoding, in the order in which they were applied, in lower case, without parameters."""
    names = (coding.partition(";")[0].strip().lower() for coding in elements(headers, "transfer-encoding"))
    return tuple(name for name in names if name != "identity")


def contradiction(head: Head) -> str:
    """Why nobody can tell where the body ends; "" where one can."""
    found = lengths(head.headers)
    chunked = "chunked" in transfer_codings(head.headers)  # and then no length counts: RFC 9112, section 6.3, item 3
    return "" if chunked or len(found) < 2 else f"Content-Length is {' and '.join(map(str, found))}"


def is_part(head: Head) -> bool:
    """Whether the body is a part of the page: a 206 that does not say that it holds all of it."""
    if head.status != 206:
        return False
    content_range = RANGE.fullmatch(header(head.headers, "content-range").strip())
    return content_range is None or int(content_range[1]) + 1 != int(content_range[2])


class Body:
    """The body after a head, fed with bytes as they come: chunking removed, cut where it ends (RFC 9112, section 6.3).

    `whole`: nothing of it is missing. `trailing`: but its trailers, which do not matter, are still to come. `ended`: it
    is over and nothing came after it, so that another answer may. `broken`: the chunks make no sense.

    A body that says it is chunked and does not begin like it is taken as it is: many who write WARC files remove the
    chunks only, and some servers never made any.
    """

    def __init__(self, head: Head) -> None:
        bodiless = head.status < 200 or head.status in BODILESS
        self.length = 0 if bodiless else content_length(head.headers)
        self.left = self.length  # bytes of the body, or of the chunk, that are to come; None: until the end
        self.chunked = not bodiless and "chunked" in transfer_codings(head.headers)
        self.decided = not self.chunked
        self.pending = b""
        self.whole = self.ended = self.left == 0 and not self.chunked
        self.broken = self.trailing = False

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body among the next ones."""
        data, self.pending = self.pending + data, b""
        if not self.decided:
            if CHUNK_SIZE.match(data):
                self.decided, self.left = True, 0
            elif is_begun(data):
                self.pending = data
                return b""
            else:
                self.decided, self.chunked = True, False
        return self.feed_chunks(data) if self.chunked else self.feed_plain(data)

    def feed_plain(self, data: bytes) -> bytes:
        """The bytes up to the length."""
        if self.left is None:
            return data
        found = data[: self.left]
        self.left -= len(found)
        self.whole = self.left == 0
        self.ended = self.whole and len(found) == len(data)
        return found

    def feed_chunks(self, data: bytes) -> bytes:
        """The bytes within the chunks."""
        at, found = 0, []
        while not (self.whole or self.broken):
            if self.left:
                found.append(data[at : at + self.left])
                at += len(found[-1])
                self.left -= len(found[-1])
            line = None if self.left else CHUNK_SIZE.match(data, at)
            if line is None:
                self.broken = not self.left and not is_begun(data[at : at + CHUNK_LINE_BYTES + 1])
                break
            self.left, at = int(line[1], 16), line.end()
            self.whole = self.trailing = self.left == 0
        while self.trailing and (trailer := TRAILER.match(data, at)):
            at, self.trailing = trailer.end(), trailer[1].strip(BLANKS) != b""
        self.ended = self.whole and not self.trailing and at == len(data)
        self.pending = data[at:]
        return b"".join(found)

    def missing(self) -> str:
        """What is missing of the body where no more bytes come; "" for a whole one."""
        if self.chunked:
            return "" if self.whole else "its chunks break off"
        return f"{self.left:,} of its {self.length:,} bytes are missing" if self.left else ""


def is_begun(data: bytes) -> bool:
    """Whether these bytes may be the beginning of a line that tells a chunk's size."""
    return len(data) <= CHUNK_LINE_BYTES and CHUNK_SIZE_BEGUN.fullmatch(data) is not None
