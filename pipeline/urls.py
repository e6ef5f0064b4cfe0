"""Which address is which: canonical form, id, host, home shard, and lists of hosts. No network.

Choice: the WHATWG parser that browsers use (ada), then a short column of rules that only merge what no server tells
apart, each written down at `canonical_url`. Cost: a compiled dependency, and two spellings of one page that only its
server knows to be equal stay two links. Alternative: urllib.parse, which disagrees with browsers about backslashes,
tabs, IDNA and `http://0x7f.1/`, and so about where a request goes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import ada_url

from pipeline.plaintext import entries, read_lines
from pipeline.shards.outcomes import InputError

CANONICAL_VERSION = 2  # raise it when a rule of canonical_url changes: doc_ids change with it

LONGEST_POSTED = 8_000  # characters of an address as posted, and as requested; RFC 9110, section 4.1
LONGEST_CANONICAL = 2_048  # characters; where the sitemap protocol draws its line (sitemaps.org/protocol.html)
LONGEST_HOST = 253  # octets; RFC 1035, section 2.3.4, less the length bytes of the wire form
HOST = re.compile(r"[^.]{1,63}(?:\.[^.]{1,63})*")  # labels; the same section
MOST_CARRIERS = 8  # addresses within one another
GOOGLE = re.compile(r"google\.(?:com|cat|(?:com?\.)?[a-z]{2})")
AMP_VIEWER = re.compile(r"/amp/(s/)?([^/]+\..*)")
AMP_CACHE = re.compile(r"/[cv]/(s/)?([^/]+\..*)")

# RFC 3986, section 2.3 (unreserved) and appendix A (pchar, query): what may stand unescaped.
UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?|[^A-Za-z0-9._~!$&'()*+,;=:@/?-]")


class BadUrl(ValueError):  # noqa: N818 - the fate of a row, named as its outcome is
    """The text is no address that a crawler could ask for; the message says why, without repeating the text."""


def canonical_url(url: str) -> str:
    """The one spelling of an address that stands for the link: its identity, not what is requested.

    Applied in this order:

    1. The WHATWG URL Standard's parser: white space around it, tabs and newlines go; scheme and host in lower case;
       IDNA to punycode; spellings of an IPv4 literal (octal, hex, one number) to dotted decimal; backslashes to
       slashes; `.` and `..` segments resolved; characters outside ASCII percent-encoded as UTF-8.
    2. Refused: any scheme but http and https; a user name or password; a host that DNS cannot hold (empty label,
       label over 63, name over 253 octets); more than LONGEST_POSTED characters before, LONGEST_CANONICAL after.
    3. An address that only carries another, in clear, stands for the one carried, which begins again at 1:
       redirectors (`data/redirectors.txt`), Google's AMP viewer and the AMP cache (see `carried`).
    4. http and https are one identity, written https; ports 80 and 443 are dropped, whichever scheme names them.
    5. The dot that ends a fully qualified name is dropped; then one leading `www.`, where a name with a dot remains
       (`www.com` is a site of its own) that does not begin with `www.` again; then the few mobile hosts that are known
       to answer as their site does (`data/mobile_hosts.txt`).
    6. The fragment is dropped; servers never see it (RFC 9110, section 4.2.5). So all `#!` pages of a site are one.
    7. Escapes: hex digits in upper case, unreserved characters decoded (RFC 3986, sections 6.2.2.1 and 6.2.2.2),
       characters that RFC 3986 does not allow encoded, a `%` that begins no escape written `%25`.
    8. Empty pairs of the query (`a&&b`) and tracking parameters (`data/tracking_parameters.txt`) are dropped; then a
       query that is empty.

    Left alone, because a server may tell them apart: case and order in path and query, repeated parameters, a
    trailing slash, doubled slashes, `index.html`, reserved characters against their escapes (RFC 3986, section 2.2),
    `+` against `%20`, session ids, other mobile hosts, publishers' own AMP pages, other ports. Short links (t.co) are
    left alone because their target is not in them. Reddit's hosts stay as they are: `is_reddit` refuses them all.

    Idempotent, and the same for `fetch_url(url)` as for `url`. Raises BadUrl, never anything else, on any text.
    """
    return identity_of(parse(url))


def fetch_url(url: str) -> str:
    """The address to request: the WHATWG form of what was posted, or of what a redirector carries (rules 1 to 3).

    Only the fragment is dropped; scheme, `www.`, mobile host and tracking stay. Raises BadUrl where `canonical_url`
    does, but for the length of the canonical form.
    """
    return parse(url).requested


def both_urls(url: str) -> tuple[str, str]:
    """`canonical_url` and `fetch_url` for the price of one. Raises BadUrl where either does."""
    address = parse(url)
    return identity_of(address), address.requested


class Address(NamedTuple):
    """A parsed address: as it is requested, and in parts. `query` has no `?`; `port` is "" for the scheme's own."""

    requested: str
    host: str  # identity: see `identity_host`
    port: str
    path: str
    query: str


def identity_of(address: Address) -> str:
    """The canonical form of a parsed address (rules 4, 7 and 8). Raises BadUrl: too long."""
    port = "" if address.port in ("", "80", "443") else ":" + address.port
    pairs = [pair for pair in escape(address.query).split("&") if pair and not is_tracking(pair)]
    query = "?" + "&".join(pairs) if pairs else ""
    canonical = f"https://{address.host}{port}{escape(address.path)}{query}"
    if len(canonical) > LONGEST_CANONICAL:
        raise BadUrl(f"{len(canonical):,} characters in canonical form; at most {LONGEST_CANONICAL:,}")
    return canonical


def parse(url: str) -> Address:
    """An address, or the one that it carries (rules 1 to 3 of `canonical_url`). Raises BadUrl."""
    for _ in range(MOST_CARRIERS):
        address = parse_one(url)
        target = carried(address)
        if target is None:
            return address
        url = target
    raise BadUrl(f"an address within an address, {MOST_CARRIERS} times")


def parse_one(url: str) -> Address:
    """An address as it stands (rules 1 and 2). Raises BadUrl.

    ada is asked once, for the whole; an attribute of its parsed form costs as much as parsing. Serialised, an http
    address has its parts between fixed marks (URL Standard, section 4.5), so cutting it is exact.
    """
    if len(url) > LONGEST_POSTED:
        raise BadUrl(f"{len(url):,} characters; at most {LONGEST_POSTED:,}")
    try:
        requested = ada_url.normalize_url(url).partition("#")[0]
    except ValueError:  # also UnicodeEncodeError, for a lone surrogate
        raise BadUrl("not an absolute URL") from None
    scheme, _, rest = requested.partition("://")
    if scheme not in ("http", "https"):
        raise BadUrl("neither http nor https")
    authority, _, rest = rest.partition("/")
    if "@" in authority:
        raise BadUrl("holds a user name or a password")
    name, bracket, after = authority.rpartition("]")
    host, _, port = (name + bracket, ":", after[1:]) if bracket else authority.partition(":")
    name = host.removesuffix(".")
    if len(name) > LONGEST_HOST or not HOST.fullmatch(name):
        raise BadUrl("the host is no name that DNS can hold")
    if len(requested) > LONGEST_POSTED:
        raise BadUrl(f"{len(requested):,} characters once escaped; at most {LONGEST_POSTED:,}")
    path, _, query = rest.partition("?")
    return Address(requested, identity_host(host), port, "/" + path, query)


def carried(address: Address) -> str | None:
    """The address that another carries in clear (rule 3 of `canonical_url`), or None: it carries none.

    Redirectors hold it in a parameter; Google's AMP viewer, google.com/amp/s/HOST/PATH, and the AMP cache,
    NAME.cdn.ampproject.org/c/s/HOST/PATH (c: document, v: viewer; s: https), in the path (see amp.dev).
    """
    country = GOOGLE.fullmatch(address.host)
    amp = AMP_VIEWER if country else AMP_CACHE if address.host.endswith(".cdn.ampproject.org") else None
    paths = redirectors().get("google.*" if country else address.host, {})
    if not (amp or paths):
        return None
    path, query = escape(address.path), escape(address.query)  # so that no spelling hides it
    found = amp.fullmatch(path) if amp else None
    if found:
        return f"{'https' if found[1] else 'http'}://{found[2]}{'?' if query else ''}{query}"
    pairs = dict(pair.removeprefix("amp;").split("=", 1) for pair in query.split("&") if "=" in pair)
    try:
        names = paths.get(path) or paths.get("/*", [])
        targets = [unquote(pairs[name], errors="strict") for name in names if name in pairs]
    except UnicodeDecodeError:
        return None
    return next((target for target in targets if target.lower().startswith(("http://", "https://"))), None)


@cache
def redirectors() -> dict[str, dict[str, list[str]]]:
    """Of `data/redirectors.txt`: host to path to names of parameters."""
    found: dict[str, dict[str, list[str]]] = {}
    for host, path, *names in map(str.split, packaged_entries("redirectors.txt")):
        found.setdefault(host, {})[path] = names
    return found


@cache
def mobile_hosts() -> dict[str, str]:
    """Of `data/mobile_hosts.txt`: host for telephones to the site's."""
    return {mobile: site for mobile, _, site in (line.partition(" ") for line in packaged_entries("mobile_hosts.txt"))}


def identity_host(hostname: str) -> str:
    """A parsed host without its final dot and its one leading `www.`, known mobile ones as their site's (rule 5)."""
    host = hostname.removesuffix(".")
    rest = host.removeprefix("www.")
    bare = rest if "." in rest and not rest.startswith("www.") else host
    return mobile_hosts().get(bare, bare)


def escape(text: str) -> str:
    """ASCII path or query with its percent-encoding in one form (rule 7 of `canonical_url`)."""
    return ESCAPE.sub(one_escape, text)


def one_escape(match: re.Match[str]) -> str:
    """What stands for one escape, one lone `%`, or one character that must be escaped."""
    digits = match[1]
    code = int(digits, 16) if digits else ord(match[0])
    return chr(code) if digits and code in UNRESERVED else f"%{code:02X}"


def is_tracking(pair: str) -> bool:
    """Whether one `name=value` of a query only says where the visitor came from. `amp;` is left by HTML escaping."""
    names, prefixes = tracking_parameters()
    name = pair.partition("=")[0].lower().removeprefix("amp;")
    return name in names or name.startswith(prefixes)


@cache
def tracking_parameters() -> tuple[frozenset[str], tuple[str, ...]]:
    """Of `data/tracking_parameters.txt`: whole names, and beginnings of names."""
    listed = packaged_entries("tracking_parameters.txt")
    prefixes = tuple(name.removesuffix("*") for name in listed if name.endswith("*"))
    return frozenset(name for name in listed if not name.endswith("*")), prefixes


def doc_id(canonical: str) -> str:
    """32 hex digits for a canonical URL: BLAKE2b with a digest of 128 bits (RFC 7693).

    Among 10^9 links two share an id with a chance of about 10^-21 (birthday bound).
    """
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def host_of(url: str) -> str:
    """Host, without port, of a canonical or fetch URL; an IPv6 literal keeps its brackets."""
    authority = url.partition("://")[2].partition("/")[0]
    return authority.rpartition("]")[0] + "]" if authority.startswith("[") else authority.partition(":")[0]


def path_of(url: str) -> str:
    """Path, from its first slash to before the `?`, of a canonical or fetch URL."""
    _, slash, rest = url.partition("://")[2].partition("/")
    return slash + rest.partition("?")[0]


def shard_of(host: str, doc_id: str, shards: int, splits: Mapping[str, int]) -> int:
    """The shard, in [0, shards), that owns a link for its whole life.

    All links of a host share the host's home shard, unless `splits` (of `split_hosts`) spreads it over k shards that
    follow its home. Both choices are seeded hashes, so neither order nor PYTHONHASHSEED matters.
    """
    home = keyed_hash(host, b"webtext home")
    pieces = splits.get(host, 1)
    piece = keyed_hash(doc_id, b"webtext piece") % pieces if pieces > 1 else 0
    return (home + piece) % shards


def keyed_hash(text: str, person: bytes) -> int:
    """64 bits of BLAKE2b; another `person` (at most 16 bytes) gives an independent hash."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=person).digest(), "big")


def split_hosts(counts: Mapping[str, int], total: int, shards: int) -> dict[str, int]:
    """Hosts too large for one shard, and over how many each is spread; in order of name.

    `counts`: links of each host with more than 2/shards of all links (`total`), if not of more hosts. It gets k = its
    share in shards, rounded up, so that a piece is at most one share. Its shards then ask it in turns, never together.
    """
    return {
        host: min(shards, -(-count * shards // total))
        for host, count in sorted(counts.items())
        if count * shards > 2 * total
    }


@dataclass(frozen=True, slots=True)
class HostList:
    """A set of hosts, each with all names under it: `wikipedia.org` holds `en.m.wikipedia.org`."""

    hosts: frozenset[str]

    @classmethod
    def from_lines(cls, lines: Iterable[str], name: str = "host list") -> HostList:
        """The list of lines with one host each, `#` comments aside. Raises InputError naming the line's entry."""
        return cls(frozenset(listed_host(entry, name) for entry in entries(lines)))

    @classmethod
    def from_file(cls, path: Path) -> HostList:
        """The list of a user's file. Raises InputError: no such file, not UTF-8, an entry that is no host."""
        return cls.from_lines(file_entries(path), str(path))

    @classmethod
    def packaged(cls, name: str) -> HostList:
        """The list that comes with the package, such as `blocked_hosts.txt`."""
        return cls(frozenset(listed_host(entry, name) for entry in packaged_entries(name)))

    def __contains__(self, host: object) -> bool:
        """Whether the host, or a domain above it, is listed; compared label by label from the right."""
        rest = host.lower().removesuffix(".") if isinstance(host, str) else ""
        while rest:
            if rest in self.hosts:
                return True
            rest = rest.partition(".")[2]
        return False


def file_entries(path: Path) -> tuple[str, ...]:
    """The entries of a user's list file. Raises InputError: no such file, not UTF-8."""
    try:
        return tuple(entries(read_lines(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the list cannot be read: {error}; expected one entry a line") from None


def packaged_entries(name: str) -> tuple[str, ...]:
    """The entries of a list in `pipeline/data`, in file order."""
    return tuple(entries((resources.files("pipeline") / "data" / name).read_text("utf-8").splitlines()))


def listed_host(entry: str, name: str) -> str:
    """The canonical host of one entry of the list `name`. Raises InputError where the entry is more than a host."""
    try:
        canonical = canonical_url(f"https://{entry}/")
    except BadUrl as error:
        raise InputError(f"{name}: {entry!r} is no host: {error}; expected one host a line") from None
    host = host_of(canonical)
    if canonical != f"https://{host}/" or "*" in host:
        raise InputError(f"{name}: {entry!r} is more than a host; write '{host.removeprefix('*.')}'")
    return host


def suffix_blocked(url: str, suffixes: Collection[str]) -> bool:
    """Whether the path of a canonical or fetch URL ends, in any case, in one of `suffixes` (lower case, `.jpg`)."""
    return path_of(url).lower().endswith(tuple(suffixes))


REDDIT = HostList(
    frozenset({"reddit.com", "redd.it", "redditmedia.com", "redditstatic.com", "reddituploads.com", "redditspace.com"})
)


def is_reddit(host: str) -> bool:
    """Whether a host is Reddit's own: the site, its short links, its media. Not its company's blog, which has text."""
    return host in REDDIT
