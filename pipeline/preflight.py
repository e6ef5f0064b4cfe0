"""Preflight checks: every fault of the config and the inputs that a stage would meet, before the first second of work.

Choice: each stage's own readers and checks are called here on the beginnings of the files, and all faults are told at
once; `plan` and `build` call the same. Cost: a file is opened twice; of many, LOOKED_INTO spread over all are.
Alternative: each stage for itself when its turn comes, after hours of the stages before it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from pipeline import elsewhere
from pipeline.config import Settings
from pipeline.fetch import commoncrawl
from pipeline.fetch.kinds import is_archive
from pipeline.pages import may_crawl
from pipeline.shards import inputs, storage
from pipeline.shards.locations import location_of, name_of
from pipeline.shards.outcomes import ConfigError, InputError, StorageError, WebTextError
from pipeline.sources import reader_for
from pipeline.submissions.decide import Rules
from pipeline.submissions.ledger import SUFFIX
from pipeline.text.contamination import read_evaluation
from pipeline.text.extract import engine_named
from pipeline.text.rules import read_rules
from pipeline.text.signals import SIGNALS

LOOKED_INTO = 1_000  # files of a setting, on this machine; of objects, each of which is a request:
OBJECTS_LOOKED_INTO = 12
BEGINNINGS = {  # of files of these suffixes
    ".zst": (b"\x28\xb5\x2f\xfd", *(bytes([byte]) + b"\x2a\x4d\x18" for byte in range(0x50, 0x60))),  # RFC 8878, 3.1
    ".gz": (b"\x1f\x8b",), ".bz2": (b"BZh",), ".xz": (b"\xfd7zXZ\0",), ".parquet": (b"PAR1",),
    ".sqlite": (b"SQLite format 3\0",), ".npy": (b"\x93NUMPY",),
}  # fmt: skip
LEAST_BYTES = 50_000_000  # free, to begin at all
LEAST_SHARE = 0.05  # of the inputs, to begin at all; as much as all of them, to begin without a word

Check = Callable[[], object]


class Faults:
    """What has been found so far."""

    def __init__(self) -> None:
        self.found: list[WebTextError] = []
        self.read_bytes = 0

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note the failure of a block, and go on."""
        try:
            yield
        except WebTextError as error:
            if str(error) not in map(str, self.found):
                self.found.append(error)
        except OSError as error:
            self.found.append(InputError(f"{error.filename}: cannot be read: {error.strerror or error}"))

    def ask(self, *checks: Check) -> None:
        """Call each check, and note what it raises."""
        for check in checks:
            with self.noting():
                check()


def check(root: Path, settings: Settings, stages: Sequence[str]) -> list[str]:
    """What is to be said before these stages are made. Raises the first fault's kind of error, with a line for each."""
    faults = Faults()
    for stage in stages:
        if stage in CHECKS:
            CHECKS[stage](root, settings, faults)
    notes = []
    if not faults.found and location_of(root) is None:
        with faults.noting():
            notes = space(root, faults.read_bytes)
    if faults.found:
        raise type(faults.found[0])("\n".join(map(str, faults.found)))
    return notes


def space(root: Path, read_bytes: int) -> list[str]:
    """A note where the disk may not be large enough for what comes of so many bytes. Raises StorageError: surely not.

    A rule of thumb: a build writes less than it reads, as a rule; `webtext plan` looks into the inputs.
    """
    here = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(here).free
    if free < max(LEAST_BYTES, LEAST_SHARE * read_bytes):
        shortage = f"{free / 1e9:.2f} GB free, for inputs of {read_bytes / 1e9:.2f} GB"
        raise StorageError(f"{root}: {shortage}; free some, or work elsewhere with --dir")
    if free < read_bytes:
        shortage = f"{free / 1e9:.1f} GB are free, and the inputs have {read_bytes / 1e9:.1f} GB"
        return [f"disk: {shortage}; webtext plan tells what the build will need"]
    return []


# --- stages


def links(root: Path, settings: Settings, faults: Faults) -> None:
    """Sources that are there and begin as they should, lists that can be read, Google's client where it is asked."""
    chosen = settings.links
    if not (chosen.submissions or chosen.bigquery):
        none = "links.submissions is empty: set it in webtext.toml to dumps, exports, lists or a ledger"
        faults.found.append(ConfigError(none))
    if chosen.bigquery and find_spec("apitools") is None:
        faults.found.append(ConfigError("links.bigquery needs Google's client; run: pip install 'webtext[gcp]'"))
    found = files(root, "links.submissions", chosen.submissions, faults)
    if found and not chosen.bigquery:
        faults.ask(lambda: some_kind(found))
    faults.ask(lambda: Rules.of(chosen, root))


def some_kind(paths: Sequence[Path]) -> None:
    """Raise InputError where no source is of a kind that is read: beside one that is, others are left out."""
    unread: list[InputError] = []
    for path in paths:
        try:
            if path.suffix.lower() != SUFFIX:
                reader_for(path)
        except InputError as error:
            unread.append(error)
        else:
            return
    raise unread[0]


def pages(root: Path, settings: Settings, faults: Faults) -> None:
    """A contact where one is needed, archives that are there, and DuckDB where the index is asked."""
    chosen = settings.pages
    faults.ask(lambda: may_crawl(chosen))
    files(root, "pages.warc", chosen.warc, faults)
    if chosen.commoncrawl:
        faults.ask(commoncrawl.duckdb)
        files(root, "pages.commoncrawl", chosen.commoncrawl, faults)


def documents(_root: Path, settings: Settings, faults: Faults) -> None:
    """An engine that is installed."""
    faults.ask(lambda: engine_named(settings.documents.engine))


def corpus(root: Path, settings: Settings, faults: Faults) -> None:
    """Rules, dumps of Wikipedia, its reference, other corpora, and evaluation files."""
    chosen = settings.corpus
    faults.ask(lambda: read_rules(chosen.rules, root, SIGNALS))
    files(root, "corpus.wikipedia_dumps", chosen.wikipedia_dumps, faults)
    files(root, "corpus.wikipedia_reference", [chosen.wikipedia_reference] * bool(chosen.wikipedia_reference), faults)
    for name in chosen.against:
        faults.ask(lambda name=name: elsewhere.other(name, root))  # type: ignore[misc]
    for path in files(root, "corpus.contamination", chosen.contamination, faults):
        faults.ask(lambda path=path: read_evaluation(path))  # type: ignore[misc]


CHECKS: dict[str, Callable[[Path, Settings, Faults], None]] = {
    "links": links, "pages": pages, "documents": documents, "corpus": corpus,
}  # fmt: skip


# --- files


def files(root: Path, setting: str, patterns: Sequence[str], faults: Faults) -> list[Path]:
    """The files of a setting, each of which can be opened and begins as its suffix says; what is not so is noted."""
    found: list[Path] = []
    folders: list[str] = []  # which links and pages leave out, with a note
    for pattern in patterns:
        with faults.noting():
            found += inputs.matching([pattern], root, setting, None if setting.startswith("corpus.") else folders)
    if folders and not found:
        faults.found.append(InputError(folders[0]))
    found = list(dict.fromkeys(found))
    faults.read_bytes += sum(path.stat().st_size for path in found if location_of(path) is None)
    most = LOOKED_INTO if all(location_of(path) is None for path in found) else OBJECTS_LOOKED_INTO
    for path in found[:: -(-len(found) // most) or 1]:
        faults.ask(lambda path=path: begins_well(path))  # type: ignore[misc]
    return found


def begins_well(path: Path) -> None:
    """Raise InputError unless a file can be read and begins as files of its suffix do.

    Archives are told by how they begin, whatever their names; what comes of an empty file its reader says.
    """
    wanted = () if is_archive(path) else BEGINNINGS.get(path.suffix.lower(), ())
    with storage.reading(path, 64) as file:
        start = file.read(16)
    if start and wanted and not start.startswith(wanted):
        raise InputError(
            f"{name_of(path)}: not a {path.suffix} file: it begins with {start[:8]!r}; bring it anew, or rename it"
        )
