"""Raw pages, by whatever a person names: a file, standard input, a record of an archive, an address of a build.

Choice: what is named is told apart by its look and by what lies there; an address of a working directory is read from
the archive that the build read, by the same code, so that what is shown is what was extracted. Cost: an address within
an archive without an index costs a reading of the archive. Alternative: an option for each, which nobody remembers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from pipeline import urls
from pipeline.build import artefact
from pipeline.config import FILE_NAME, PagesSettings, Settings
from pipeline.counts import counted
from pipeline.documents import described, response_of
from pipeline.fetch.captures import Capture, index
from pipeline.fetch.kinds import is_archive
from pipeline.fetch.readback import BadRecord, Response, read_record, read_response
from pipeline.fetch.response import outcome_of_status
from pipeline.fetch.revisits import REQUEST
from pipeline.shards import removals, storage
from pipeline.shards.locations import mirror
from pipeline.shards.outcomes import ConfigError, InputError, Outcome
from pipeline.verbs.asked import Asked, asked
from pipeline.verbs.explain import explained, row_in

PLAIN = {".txt", ".text"}  # suffixes of files that are not markup
AT = re.compile(r"(.+):(\d+)", re.DOTALL)
STDIN = "-"
ARCHIVES = PagesSettings(opt_outs=False)  # who asks for one page may read it, whatever it says of training


@dataclass(frozen=True)
class RawPage:
    """The bytes of a page and what was said of them; `outcome`: KEPT, or why it is no page."""

    name: str
    body: bytes
    content_type: str
    url: str
    outcome: Outcome = Outcome.KEPT


Opening = Callable[[], Iterator[RawPage]]


def openings(words: Sequence[str | Path], root: Path, settings: Callable[[], Settings]) -> list[Opening]:
    """What opens each page, or all pages of an archive, in the order of the words; nothing is read before.

    `settings`: of the working directory `root`, asked for where an address is of it. Raises InputError: a word that is
    none of these.
    """
    found: list[Opening] = []
    followed = [*pairwise(words), (words[-1], "")] if words else []
    taken = False
    for word, after in followed:
        if taken:
            taken = False
            continue
        at = AT.fullmatch(str(word))
        if str(word) == STDIN:
            found.append(standard_input)
        elif is_address(word):
            found.append(partial(of_build, root, settings, str(word)))
        elif at and not Path(word).exists() and is_archive(Path(at[1])):
            found.append(partial(record_at, mirror(at[1]), int(at[2])))
        elif is_archive(Path(word)):
            taken = is_address(after)
            found.append(partial(of_archive, mirror(word), str(after) if taken else ""))
        elif Path(word).exists() or not is_asked(root, settings, str(word)):
            found.append(partial(of_file, Path(word)))
        else:
            found.append(partial(of_build, root, settings, str(word)))
    return found


def is_address(word: str | Path) -> bool:
    """Whether a word is an address of the web."""
    return str(word).lower().startswith(("http://", "https://"))


def is_asked(root: Path, settings: Callable[[], Settings], word: str) -> bool:
    """Whether a word that is no file names a page of the working directory: without a scheme, by its id."""
    if not (root / "links").is_dir():
        return False
    try:
        return bool(asked(root, settings().build.shards, word).doc_id)
    except InputError:
        return False


def standard_input() -> Iterator[RawPage]:
    """What comes in."""
    if sys.stdin.isatty():
        sys.stderr.write("a page, then Ctrl-D:\n")
    yield RawPage(STDIN, sys.stdin.buffer.read(), "", "")


def of_file(path: Path) -> Iterator[RawPage]:
    """A file. Raises InputError: it cannot be read."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    yield RawPage(str(path), body, "text/plain" if path.suffix in PLAIN else "", "")


# --- of archives


def record_at(path: Path, offset: int, length: int | None = None, sha256: str = "") -> Iterator[RawPage]:
    """The page in a record. Raises InputError: no page there, or no such file."""
    try:
        response = read_response(path, offset, length, ARCHIVES.limit_bytes, sha256)
    except BadRecord as error:
        raise InputError(f"{error.detail}; expected the offset of a record, in bytes, as pages.offset has it") from None
    url = read_record(path, offset, length, ARCHIVES.limit_bytes, sha256).url
    yield page_of(f"{path}:{offset}", url, response)


def page_of(name: str, url: str, response: Response) -> RawPage:
    """A response as a page; `described` tells its type as the stage of documents is told."""
    outcome = outcome_of_status(response.status, response.content_type, len(response.body))
    return RawPage(name, response.body, described(response), url, outcome)


def of_archive(path: Path, url: str) -> Iterator[RawPage]:
    """The page of an address in an archive, or all pages. Raises InputError: none, with what there is of it."""
    wanted = canonical(url) if url else ""
    others: list[Capture] = []
    found = False
    for capture in index(path, ARCHIVES):
        if capture.kind == REQUEST or (canonical(capture.url) != wanted if wanted else is_robots(capture.url)):
            continue
        if capture.outcome is not Outcome.KEPT:
            others.append(capture)
            continue
        found = True
        yield from record_at(path, capture.offset, capture.length, capture.sha256)
        if wanted:
            return
    if not found:
        raise InputError(f"{path}: {missing(url, others)}")


def is_robots(url: str) -> bool:
    """Whether an address is that of a robots.txt: a crawl keeps these beside the pages, and they are none."""
    return urls.path_of(url) == "/robots.txt"


def missing(url: str, others: Sequence[Capture]) -> str:
    """Why an archive gives no page."""
    if not url:
        return f"no page among its {counted(len(others), 'capture')}" if others else "it holds no response of the web"
    if not others:
        return f"holds no response of {url}"
    leads = f", to {others[-1].location}" if others[-1].location else ""
    return f"{url} is there as {others[-1].outcome}{leads}, and not as a page"


def canonical(url: str) -> str:
    """The identity of an address; of what is none itself."""
    try:
        return urls.canonical_url(url)
    except urls.BadUrl:
        return url


# --- of a working directory


def of_build(root: Path, settings: Callable[[], Settings], word: str) -> Iterator[RawPage]:
    """The page of a build. Raises InputError: there is none, and why; IntegrityError: its file changed."""
    if not storage.exists(root / FILE_NAME):
        raise ConfigError(f"{word}: an address is read from a build: name its folder with --dir; nothing is fetched")
    chosen = settings()
    shards = chosen.build.shards
    meant = asked(root, shards, word)
    pages = artefact(root, "pages", shards)
    for shard in range(shards) if may_be_read(root, meant) else ():
        row = row_in(pages.file(shard, ".parquet"), meant.doc_id) if pages.receipt(shard) else None
        if row is not None and row["outcome"] == Outcome.KEPT:
            response = response_of(row, pages, shard, chosen.pages.limit_bytes)
            yield page_of(row["url"], row["final_url"] or row["url"], response)
            return
    raise InputError(f"{word}: no page here: {explained(root, shards, word).verdict}")


def may_be_read(root: Path, meant: Asked) -> bool:
    """Whether it is one page, and none that was asked to go."""
    return bool(meant.doc_id) and not removals.Removals.of(root).cover(meant.doc_id, meant.host)
