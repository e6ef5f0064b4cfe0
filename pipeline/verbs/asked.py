"""Which page or host is meant, by what a person types: an address in any spelling, a host, a doc_id, a submission id.

Choice: what is typed is tried as it stands first; then a trailing slash more or less is taken, and said; whatever else
is alike (other prefixes of the host, other letters' case, a query) is suggested and not taken, since a server may tell
it apart. Cost: an address that is not there costs a scan of all addresses. Alternative: the nearest one, which explains
a page that nobody asked about.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import urls
from pipeline.build import artefact
from pipeline.shards import removals, schemas
from pipeline.shards.outcomes import InputError, Outcome
from pipeline.shards.receipts import Artefact
from pipeline.verbs.whereabouts import shard_of_link

PREFIXES = re.compile(r"^(?:(?:www|m|mobile|amp|touch|wap|en|de|fr|es)\d?\.)+(?=[^.]+\.)")  # of hosts of one site
PERMALINK = re.compile(r"https://(?:[a-z.]*reddit\.com/(?:r/[^/]+/)?comments|redd\.it)/([0-9a-z]{1,13})(?:[/?]|$)")
MOST_LIKE = 5_000  # addresses of a site among which the one most like a mistyped one is looked for
ALIKE = 0.8  # of difflib's ratio, for a suggestion


class Asked(NamedTuple):
    """A page by its `doc_id`, and `url` where that is known; or, without one, a `host` with all names under it.

    `taken_as`: how it was understood, where that is not as it was typed.
    """

    doc_id: str
    url: str
    host: str
    taken_as: str = ""


def asked(root: Path, shards: int, word: str) -> Asked:
    """What a person means. Raises InputError: nothing that could be meant, or nothing that is known here."""
    word = word.strip()
    links = artefact(root, "links", shards)
    if not (links.done() or removals.Removals.of(root).requests):
        raise InputError(f"{root}: nothing is built here yet; run 'webtext build'")
    head = re.split(r"[/?#]", word.removeprefix("//"), maxsplit=1)[0]
    if removals.DOC_ID.fullmatch(word.lower()):
        return Asked(word.lower(), "", "")
    if "://" in word:
        return page(root, links, word)
    if "." in head or ":" in head or word.startswith("//"):
        if head != word:
            return page(root, links, f"https://{word.removeprefix('//')}")
        return at_port(root, links, word) if re.search(r":\d+$", head) else host(word)
    known = host(word) if is_host(links, word.lower()) else None  # localhost, co, test
    if (found := removals.SUBMISSION.fullmatch(word.lower())) is not None:
        return posted_by(root, links, found[1], word, known)
    if known is not None:
        return known
    raise InputError(f"{word}: no address, host, doc_id (32 hexadecimal digits) or submission id (t3_1abc)")


def host(word: str) -> Asked:
    """A host, as links have it. Raises InputError: no host."""
    try:
        canonical = urls.canonical_url(f"https://{word}/")
    except urls.BadUrl as error:
        raise InputError(f"{word}: {error}") from None
    return Asked("", canonical, urls.host_of(canonical))


def is_host(links: Artefact, word: str) -> bool:
    """Whether a word without a dot is the host of a link, or what hosts of links end in."""
    names = (table["host"] for table in columns(links, "host"))
    return any(pc.any(pc.or_(pc.equal(hosts, word), pc.ends_with(hosts, f".{word}"))).as_py() for hosts in names)


def at_port(root: Path, links: Artefact, word: str) -> Asked:
    """The first page of a server, where that is a link; else all of its host, at whatever ports."""
    named = host(word)
    first = Asked(urls.doc_id(named.url), named.url, named.host)
    return first if is_known(root, links, first) else Asked("", named.url, named.host, f"the host {named.host}")


def page(root: Path, links: Artefact, typed: str) -> Asked:
    """The link that an address stands for. Raises InputError: no address, or of no link, with those it is like."""
    try:
        canonical = urls.canonical_url(typed)
    except urls.BadUrl as error:
        raise InputError(f"{typed}: {error}") from None
    found = Asked(urls.doc_id(canonical), canonical, urls.host_of(canonical))
    if is_known(root, links, found):
        return found
    other = toggled(canonical)
    slashed = Asked(urls.doc_id(other), other, found.host, other)
    if is_known(root, links, slashed):
        return slashed
    if (post := PERMALINK.match(canonical)) is not None:
        return posted_by(root, links, post[1], typed)
    alike = [url for url in like(links, canonical) if url != canonical][:3]
    hint = f"; did you mean {' or '.join(alike)}?" if alike else ""
    why = f"no submission or list in {root} links to it (looked for {canonical}){refused(links)}"
    raise InputError(f"{typed}: {why}{hint}")


def refused(links: Artefact) -> str:
    """How many lines of the sources were none that is kept, among which an address may be that is not found; "" = 0."""
    manifest = links.manifest()
    books = manifest.books.get("submissions") if manifest else None
    counts = {fate: books.outcomes.get(fate, 0) for fate in (Outcome.BAD_URL, Outcome.BAD_LINE)} if books else {}
    said = ", ".join(f"{fate} {count:,}" for fate, count in counts.items() if count)
    return f"; lines of sources that were refused ({said}) are not kept by name" if said else ""


def toggled(canonical: str) -> str:
    """The address with a slash more at the end of its path, or one less."""
    rest, mark, query = canonical.partition("?")
    bare = rest.removesuffix("/") if rest.endswith("/") and rest.count("/") > 3 else f"{rest}/"
    return f"{bare}{mark}{query}"


def is_known(root: Path, links: Artefact, asked: Asked) -> bool:
    """Whether there is a link of this id, or a removal request that covers it."""
    known = shard_of_link(links, asked.host, asked.doc_id) is not None
    return known or removals.Removals.of(root).cover(asked.doc_id, asked.host)


def columns(links: Artefact, *names: str) -> Iterator[pa.Table]:
    """Columns of the shards of links that are made."""
    for shard in range(links.shards):
        if links.receipt(shard) is not None:
            yield schemas.read_parquet(links.file(shard, ".parquet"), names)


def posted_by(root: Path, links: Artefact, submission: str, typed: str, otherwise: Asked | None = None) -> Asked:
    """The link that a submission posted, or what else was meant. Raises InputError: no link was posted by it."""
    for table in columns(links, "doc_id", "url", "host", "submissions"):
        posts = table["submissions"].combine_chunks()
        ids = pc.struct_field(pc.list_flatten(posts), "id")
        place = pc.index(ids, submission).as_py()
        if place >= 0:
            row = table.slice(pc.list_parent_indices(posts)[place].as_py(), 1).to_pylist()[0]
            return Asked(row["doc_id"], row["url"], row["host"], row["url"])
    for request in removals.Removals.of(root).requests:
        for line in request.lines:
            if line.kind == "submission" and line.mark == submission and line.met:
                return Asked(line.met[0], "", "")
    if otherwise is not None:
        return otherwise
    why = "text posts and refused lines are counted, and not kept by name"
    raise InputError(f"{typed}: no link in {root} was posted by a submission of this id; {why}")


# --- what was meant, perhaps


def like(links: Artefact, canonical: str) -> list[str]:
    """Addresses of links that differ from one in what people leave out, or mistype; the likest first."""
    site, name = site_of(urls.host_of(canonical)), key_of(canonical)
    near: list[str] = []
    for table in columns(links, "url", "host"):
        hosts = [host for host in pc.unique(table["host"]).to_pylist() if host and site_of(host) == site]
        near += table.filter(pc.is_in(table["host"], pa.array(hosts, pa.string())))["url"].to_pylist()
    same = [host for host in near if key_of(host) == name]
    return same or difflib.get_close_matches(canonical, near[:MOST_LIKE], n=1, cutoff=ALIKE)


def site_of(name: str) -> str:
    """A host without what tells its variants apart: `m.`, `www.`, `en.`."""
    return PREFIXES.sub("", name)


def key_of(canonical: str) -> str:
    """What addresses of one page have in common, most likely: site and path, whatever the case, without a query."""
    path: Any = urls.path_of(canonical).lower().rstrip("/")
    return site_of(urls.host_of(canonical)) + re.sub(r"/index\.\w+$", "", path)
