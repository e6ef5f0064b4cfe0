"""SURT: the key by which Common Crawl's index is sorted: `com,example)/p?a=1&b` for http://www.Example.com/P/?b&a=1.

Choice: the rules of the Internet Archive's WaybackURLKeyMaker (iipc/webarchive-commons: GoogleURLCanonicalizer, then
AggressiveIACanonicalizerRules), which wrote the keys of the index, applied to an address that the WHATWG's parser has
read. Cost: keys merge what a server may tell apart (case, a trailing slash, the order of a query), so whoever joins on
them compares the addresses too. Alternative: the package `surt`, under the AGPL and with seven dependencies.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import ada_url

WWW = re.compile(r"^www\d*\.")
ESCAPED = re.compile(rb"[^\x21\x22\x24\x26-\x7e]")  # all but visible ASCII, and # and %

# A session's id, which changes with every visitor, and what stands around it (URLRegexTransformer).
PATH_SESSIONS = (
    re.compile(rb"^(.*/)\((?:[a-z]\([0-9a-z]{24}\))+\)/([^?]+\.aspx.*)$", re.IGNORECASE | re.DOTALL),
    re.compile(rb"^(.*/)\([0-9a-z]{24}\)/([^?]+\.aspx.*)$", re.IGNORECASE | re.DOTALL),
)
QUERY_SESSIONS = tuple(
    re.compile(rb"^(.*)(?:" + name + rb")(?:&(.*))?$", re.IGNORECASE | re.DOTALL)
    for name in (
        rb"jsessionid=[0-9a-z]{32}",
        rb"phpsessid=[0-9a-z]{32}",
        rb"sid=[0-9a-z]{32}",
        rb"aspsessionid[a-z]{8}=[a-z]{24}",
        rb"cfid=[^&]+&cftoken=[^&]+",
    )
)


def surt(url: str) -> str:
    """The key of an http or https address. Raises ValueError for what is no address.

    Scheme, fragment, user and default port go; of the host `www.` or `www2.` goes, and its labels are reversed, those
    of an IPv4 address too. Path and query are unescaped until nothing changes, escaped once, and put in lower case;
    empty and dot segments, one trailing slash and session ids go; the parameters of the query are sorted.
    """
    parsed = ada_url.URL(url)
    host = (
        WWW.sub("", parsed.hostname.strip("."), count=1) if WWW.match(parsed.hostname) else parsed.hostname.strip(".")
    )
    port = f":{parsed.port}" if parsed.port else ""
    path = key_of_path(unescaped(parsed.pathname.encode()))
    query = key_of_query(unescaped(parsed.search[1:].encode()))
    return ",".join(reversed(host.split("."))) + port + ")" + (path + (b"?" + query if query else b"")).decode("ascii")


def unescaped(escaped: bytes) -> bytes:
    """The bytes without percent-encoding, however often it was applied."""
    while (once := unquote_to_bytes(escaped)) != escaped:
        escaped = once
    return escaped


def escaped_once(raw: bytes) -> bytes:
    """The bytes with percent-encoding where it is needed, in lower case."""
    return ESCAPED.sub(lambda match: b"%%%02X" % match[0][0], raw).lower()


def key_of_path(path: bytes) -> bytes:
    """An unescaped path as it stands in a key."""
    kept: list[bytes] = []
    *inner, last = path.split(b"/")[1:] or [b""]
    for segment in inner:
        if segment == b"..":
            kept = kept[:-1]
        elif segment not in (b"", b"."):
            kept.append(segment)
    if last == b"..":
        kept, last = kept[:-1], b""
    whole = b"/" + b"/".join([*kept, b"" if last == b"." else last])
    key = escaped_once(whole)
    for session in PATH_SESSIONS:
        key = session.sub(rb"\1\2", key)
    return key[:-1] if len(key) > 1 and key.endswith(b"/") else key


def key_of_query(query: bytes) -> bytes:
    """An unescaped query as it stands in a key: sorted by name, then by value."""
    key = escaped_once(query)
    for session in QUERY_SESSIONS:
        if found := session.match(key):
            key = found[1] + (found[2] or b"")
    pairs = sorted(pair.split(b"=", 1) for pair in key.split(b"&"))
    return b"&".join(b"=".join(pair) for pair in pairs)
