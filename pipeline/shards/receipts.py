"""Receipts at work: the shards of a stage in their folder, each with its receipt, and the attempts that make them.

Choice: whoever reads a shard asks its receipt first, and whoever makes one commits it by the receipt; the manifest adds
them up. What is to be made is told in one place, `begin`, which a build asks and which `looking` asks without a build.
Cost: the receipts of a phase are read whenever somebody asks. Alternative: a database of what is done, which a copy of
the folder would leave behind.

Long because an artefact and the attempt that commits to it keep one promise.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from pipeline.shards import layout, pending, progress, storage
from pipeline.shards.locations import deletion, location_of
from pipeline.shards.outcomes import IntegrityError, Outcome
from pipeline.shards.proofs import (
    UNICODE,
    Manifest,
    Receipt,
    RowCounts,
    Task,
    added,
    balanced,
    checked,
    fingerprint,
    mark_of,
    veiled,
    versions,
    written,
)  # fmt: skip
from pipeline.shards.storage import HashingFile, Stamp

__all__ = [
    "UNICODE", "Artefact", "Attempt", "Begun", "Manifest", "Receipt", "RowCounts", "Task", "Undone", "added",
    "balanced", "checked", "fingerprint", "looking", "mark_of", "veiled", "versions", "written",
]  # fmt: skip

SETTLED_S = 2
RECEIPTS_HELD = 65_536  # of all phases of 2,250 shards; 2 KB each

_wanted: dict[Artefact, tuple[str, ...]] = {}  # the fingerprints that this process began each artefact with
_looking: ContextVar[bool] = ContextVar("looking", default=False)
_before: ContextVar[Mapping[str, str]] = ContextVar("before", default={})  # noqa: B039 - never written to


class Undone(Exception):  # noqa: N818 - no failure: an answer
    """What a build would make next: some shards of `artefact`, or its manifest alone (then `tasks` is empty)."""

    def __init__(self, artefact: Artefact, tasks: Sequence[Task]) -> None:
        super().__init__(f"{len(tasks)} of {artefact.shards} shards of {artefact.folder}")
        self.artefact, self.tasks = artefact, tasks


@contextmanager
def looking() -> Iterator[None]:
    """Within the block nothing is made or written: a stage that would make something raises Undone instead.

    So what a build would do is told by the code that does it, and by nothing else.
    """
    token = _looking.set(True)
    try:
        yield
    finally:
        _looking.reset(token)


@contextmanager
def as_before(shas: Mapping[str, str]) -> Iterator[None]:
    """Within the block files whose sha256 is a key are taken for what they were before: those of the value."""
    token = _before.set(shas)
    try:
        yield
    finally:
        _before.reset(token)


def earlier(sha256: str) -> str:
    """What a file is taken to hold, see `as_before`. Removals only take away, so this comes to an end."""
    known = _before.get()
    while sha256 in known:
        sha256 = known[sha256]
    return sha256


@dataclass(frozen=True)
class Artefact:
    """A folder of shards in the working directory `root`. `name` is the stage's, or `scratch/…` for what only helps.

    `names`: what the files of each shard are called where they are not numbered: after what they were made from, so
    that one more of it renames no other.
    """

    root: Path
    name: str
    shards: int
    names: tuple[str, ...] = ()

    @classmethod
    def of_names(cls, root: Path, name: str) -> Artefact:
        """The shards that lie in a folder where they are not numbered, under whatever names."""
        names = tuple(path.stem for path in storage.names(root / name / layout.RECEIPTS, "*.json"))
        return cls(root, name, len(names), names)

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def manifest_path(self) -> Path:
        return self.folder / layout.MANIFEST

    def file_name(self, shard: int, suffix: str, part: str = "") -> str:
        """`00042-of-00128.parquet`, below the sub-folder `part` if one is named."""
        name = self.names[shard] + suffix if self.names else storage.shard_name(shard, self.shards, suffix)
        return f"{part}/{name}" if part else name

    def path(self, name: str) -> Path:
        """Where a file lies that receipts know by this name."""
        return layout.file_of(self.folder, name)

    def receipt_path(self, shard: int) -> Path:
        return path_of_receipt(self, shard)

    def receipt(self, shard: int) -> Receipt | None:
        """The receipt of a shard, or None while it has not been made. Raises IntegrityError: not a receipt."""
        path = self.receipt_path(shard)
        try:
            status = storage.local(path).stat()
            if time.time_ns() - status.st_mtime_ns < SETTLED_S * 10**9:  # it could change again within a tick
                return opened(path)
            return opened_once(path, status.st_mtime_ns, status.st_size, status.st_ino)
        except FileNotFoundError:
            return None

    def receipts(self) -> list[Receipt]:
        """All receipts, in shard order. Raises IntegrityError: one is missing."""
        found = [self.receipt(shard) for shard in range(self.shards)]
        whole = [receipt for receipt in found if receipt is not None]
        if len(whole) != self.shards:
            raise IntegrityError(f"{self.folder}: {len(whole)} of {self.shards} shards are made; run 'webtext build'")
        return whole

    def done(self) -> int:
        """How many shards have a receipt, current or not."""
        return sum(storage.exists(self.receipt_path(shard)) for shard in range(self.shards))

    def begin(self, fingerprints: Sequence[str]) -> list[Task]:
        """The shards to make: those whose receipt does not carry today's fingerprint (one fingerprint a shard).

        If there are any, the manifest is taken back: it stands only while the whole artefact is current. Raises Undone:
        there are, and this is `looking`.
        """
        tasks = [Task(shard, wanted) for shard, wanted in enumerate(fingerprints)]
        stale = Begun(self, (task for task in tasks if not self.current(task)))
        if stale and _looking.get():
            raise Undone(self, stale)
        _wanted[self] = tuple(fingerprints)
        if stale:
            storage.remove(self.manifest_path)
            progress.begin(progress.Phase(self.name, len(stale), makes=True, before=progress.counts()))
        return stale

    def kept(self, shards: Iterable[int], step: str) -> int:
        """How many rows of these shards go on, as their counts of a step say."""
        made = (self.made(shard).books.get(step) for shard in shards)
        return sum(counts.outcomes.get(Outcome.KEPT, 0) for counts in made if counts)

    def bytes(self, shards: Iterable[int] | None = None) -> int:
        """How many bytes the files of these shards have together, of all shards by default."""
        made = (self.made(shard) for shard in (range(self.shards) if shards is None else shards))
        return sum(stamp.bytes for receipt in made for stamp in receipt.files.values())

    def current(self, task: Task) -> bool:
        """Whether the shard is made, by today's fingerprint, and its files are there, each of its length."""
        receipt = self.receipt(task.shard)
        return receipt is not None and receipt.fingerprint == task.fingerprint and self.holds(receipt.files)

    def holds(self, files: Mapping[str, Stamp]) -> bool:
        """Whether these files are there, each of its length. Their bytes are checked by whoever reads them."""
        return all(storage.is_there(self.path(name), stamp) for name, stamp in files.items())

    def hashes(self, shard: int) -> dict[str, str]:
        """File name to sha256 of one made shard: what a later stage's fingerprint covers.

        Of a file that `remove` rewrote it is the one from before: the removal went through all artefacts at once, so
        nothing that was made from the shard is stale.
        """
        return {**self.contents(shard), **self.made(shard).before}

    def contents(self, shard: int) -> dict[str, str]:
        """File name to sha256 of what one made shard holds today."""
        return {name: earlier(stamp.sha256) for name, stamp in self.made(shard).files.items()}

    def mark(self) -> str:
        """16 hex digits over what all shards hold today. Raises IntegrityError: one has not been made."""
        return mark_of({name: sha256 for shard in range(self.shards) for name, sha256 in self.contents(shard).items()})

    def made(self, shard: int) -> Receipt:
        """The receipt of a shard. Raises IntegrityError: it has not been made."""
        receipt = self.receipt(shard)
        if receipt is None:
            raise IntegrityError(f"{self.receipt_path(shard)}: not made yet; run 'webtext build {self.name}'")
        return receipt

    def file(self, shard: int, suffix: str, part: str = "") -> Path:
        """The path of a shard's file, verified. Raises IntegrityError: no receipt, or not the bytes it promises."""
        return self.named(shard, self.file_name(shard, suffix, part))

    def shared(self, shard: int, suffix: str) -> Path:
        """The path of the same file to hand on: where it lies on an object store, any machine finds it there."""
        name = self.file_name(shard, suffix)
        path, stamp = self.path(name), self.made(shard).files[name]
        return storage.attempted(path, stamp) if location_of(path) else self.file(shard, suffix)

    def named(self, shard: int, name: str) -> Path:
        """The same of a file whose name is not made from the shard's number."""
        receipt = self.receipt(shard)
        if receipt is None or name not in receipt.files:
            raise IntegrityError(f"{self.path(name)}: not made yet; run 'webtext build'")
        return storage.verified(self.path(name), receipt.files[name], self.receipt_path(shard))

    def whole(self, name: str) -> Path:
        """The path of a file of the tokenizer, for those who check it by other means; an object is verified."""
        return self.named(0, name) if location_of(self.root) else self.path(name)

    def files(self, suffix: str, part: str = "") -> list[Path]:
        """That file of every shard, in shard order, verified against the manifest; no other may lie among them.

        Raises IntegrityError, naming the file: not built to the end, missing, not as written, or of no shard.
        """
        manifest = self.manifest()
        if manifest is None:
            raise IntegrityError(f"{self.folder}: not whole; run 'webtext build {self.name}'")
        names = [self.file_name(shard, suffix, part) for shard in range(self.shards)]
        strangers = sorted(set(self.lying(suffix, part)) - {self.path(name) for name in names})
        if strangers:
            raise IntegrityError(f"{strangers[0]}: no shard of this artefact; take it away")
        unknown = [name for name in names if name not in manifest.files]
        if unknown:
            raise IntegrityError(f"{self.path(unknown[0])}: not in {self.manifest_path}; run 'webtext build'")
        sizes = sum(manifest.files[name].bytes for name in names)
        with progress.phase(f"checking {self.name}", sizes, progress.BYTES):
            return [
                storage.verified(self.path(name), manifest.files[name], self.receipt_path(shard))
                for shard, name in enumerate(names)
            ]

    def lying(self, suffix: str, part: str) -> list[Path]:
        """The files of such names that lie in the folder. Of objects none: the names of those come from receipts."""
        return [] if location_of(self.folder) else storage.names(self.path(part) if part else self.folder, f"*{suffix}")

    def drop_others(self) -> None:
        """Delete what lies in the folder under a name that is none of `names`, all of it where there are none.

        It was made from what is not asked for now. Nothing is deleted while this is `looking`.
        """
        for path in () if _looking.get() else storage.names(self.folder / layout.RECEIPTS, "*.json"):
            if path.stem not in self.names:
                storage.remove(path)
                storage.discard(self.path(f"{path.stem}.parquet"))

    def refresh(self) -> None:
        """Write the manifest anew from the receipts that `remove` rewrote; it goes where one is missing."""
        manifest = self.manifest()
        if self.done() < self.shards:
            storage.remove(self.manifest_path)
        elif manifest is not None:
            made = self.receipts()
            files = {name: stamp for receipt in made for name, stamp in receipt.files.items()}
            books = manifest.books | added(receipt.books for receipt in made)
            manifest = msgspec.structs.replace(manifest, files=files, books=books)
            storage.write_bytes(self.manifest_path, written(manifest))

    @contextmanager
    def attempt(self, task: Task) -> Iterator[Attempt]:
        """An attempt to make one shard. Files appear at `commit`; a block that ends without it leaves nothing."""
        attempt = Attempt(self, task)
        try:
            yield attempt
        finally:
            attempt.discard()

    def finish(
        self,
        settings: Any,
        libraries: Iterable[str],
        made_from: Iterable[Artefact] = (),
        books: Mapping[str, RowCounts] | None = None,
        notes: Iterable[str] = (),
    ) -> Manifest:
        """Write the manifest from the receipts of all shards; `books` and `notes` add those of earlier phases.

        `made_from` are the artefacts it was made from. Raises IntegrityError: a shard was made otherwise since `begin`
        asked for it, by a run that should have ended. Raises Undone: there is no manifest, and this is `looking`.
        """
        if _looking.get():
            found = self.manifest()
            if found is None:
                raise Undone(self, ())
            return found
        receipts = self.receipts()
        self.refuse_others(receipts)
        manifest = Manifest(
            stage=self.name,
            shards=self.shards,
            fingerprint=self.fingerprint(),
            settings=settings,
            versions=versions(libraries),
            files={name: stamp for receipt in receipts for name, stamp in receipt.files.items()},
            books=added([dict(books or {}), *(receipt.books for receipt in receipts)]),
            notes=(*notes, *(note for receipt in receipts for note in receipt.notes)),
            made_from={source.name: source.fingerprint() for source in made_from},
            counts={name: sum(receipt.counts.get(name, 0) for receipt in receipts) for name in receipts[0].counts},
        )
        data = written(manifest)
        path = self.manifest_path
        if not storage.exists(path) or storage.read_bytes(path) != data:
            progress.begin(progress.Phase(self.name, makes=True))
            storage.write_bytes(path, data)
        layout.keep_old_names(self.folder, manifest.files)
        return manifest

    def refuse_others(self, made: Sequence[Receipt]) -> None:
        """Raise IntegrityError for a receipt that is not of the fingerprint that this process asked for."""
        for receipt, wanted in zip(made, _wanted.get(self, ()), strict=False):
            if receipt.fingerprint != wanted:
                path = self.receipt_path(receipt.shard)
                raise IntegrityError(
                    f"{path}: another run has made this shard otherwise meanwhile; run the same command again"
                )

    def fingerprint(self) -> str:
        """32 hex digits over the fingerprints of all shards. Raises IntegrityError: one is missing."""
        return hashlib.sha256("".join(receipt.fingerprint for receipt in self.receipts()).encode()).hexdigest()[:32]

    def manifest(self) -> Manifest | None:
        """The manifest, or None while the artefact is not whole."""
        path = layout.manifest_in(self.folder)
        try:
            return msgspec.json.decode(storage.read_bytes(path), type=Manifest)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise IntegrityError(f"{path}: not a manifest ({error}); delete it") from None


class Begun(list[Task]):
    """The shards of an artefact that are to be made; whoever tries one again can ask whether it is made by now."""

    def __init__(self, artefact: Artefact, tasks: Iterable[Task]) -> None:
        super().__init__(tasks)
        self.artefact = artefact


@lru_cache(maxsize=RECEIPTS_HELD)
def path_of_receipt(artefact: Artefact, shard: int) -> Path:
    """The same path, put together once: a build that has nothing to do asks for each dozens of times."""
    return artefact.folder / layout.RECEIPTS / artefact.file_name(shard, ".json")


def opened(path: Path) -> Receipt:
    """The receipt in a file. Raises IntegrityError: it holds none, or another than was written."""
    try:
        found, problem = msgspec.json.decode(storage.read_bytes(path), type=Receipt), ""
    except msgspec.MsgspecError as error:
        found, problem = None, str(error)
    if found is None or found.check != checked(found).check:
        why = "not a receipt: " + problem if found is None else "changed since it was written"
        raise IntegrityError(f"{path}: {why}; run: {deletion(path)} and build again: its shard is made anew")
    return found


@lru_cache(maxsize=RECEIPTS_HELD)
def opened_once(path: Path, *_: int) -> Receipt:
    """The same, kept for a state of the file: a build that has nothing to do asks for each dozens of times."""
    return opened(path)


@dataclass
class Attempt:
    """The files of one shard while they are being written."""

    artefact: Artefact
    task: Task
    files: dict[str, tuple[HashingFile, int]] = field(default_factory=dict)

    @contextmanager
    def write(self, suffix: str, part: str = "") -> Iterator[HashingFile]:
        """A new file of the shard, hashed while it is written."""
        name = self.artefact.file_name(self.task.shard, suffix, part)
        with storage.writing(self.artefact.path(name)) as file:
            self.files[name] = (file, 0)
            yield file

    def rows(self, suffix: str, count: int, part: str = "") -> None:
        """Say how many rows a written file holds."""
        name = self.artefact.file_name(self.task.shard, suffix, part)
        self.files[name] = (self.files[name][0], count)

    def commit(
        self, books: Mapping[str, RowCounts], notes: Iterable[str] = (), counts: Mapping[str, int] | None = None
    ) -> None:
        """Name the files, then write the receipt, unless another attempt of the same task was quicker."""
        if self.artefact.current(self.task):
            return
        self.publish(
            Receipt(
                shard=self.task.shard,
                shards=self.artefact.shards,
                fingerprint=self.task.fingerprint,
                files={name: file.stamp(rows) for name, (file, rows) in sorted(self.files.items())},
                books=dict(books),
                notes=tuple(notes),
                counts=dict(counts or {}),
                before=self.unchanged(),
            )
        )

    def rewrite(self, books: Mapping[str, RowCounts]) -> None:
        """Commit files that only lack what `remove` took out: the shard, and what was made from it, stay current.

        Cut short, it is either not begun or ended by the next sweep: see `pending`.
        """
        old = self.artefact.made(self.task.shard)
        new = {name: file.stamp(rows) for name, (file, rows) in self.files.items()}
        before = {name: old.files[name].sha256 for name in new} | old.before
        receipt = msgspec.structs.replace(old, files={**old.files, **new}, books=dict(books), before=before)
        if location_of(self.artefact.folder) is not None:  # there a receipt is replaced at once
            self.publish(receipt)
            return
        path = self.artefact.receipt_path(self.task.shard)
        names, self.files = sorted(self.files), {}  # from now on they are not to be discarded
        decided = pending.note(path, written(checked(receipt)), names)
        storage.publish(self.artefact.path(name) for name in names)
        storage.write_bytes(path, written(checked(receipt)))
        decided.unlink()

    def publish(self, receipt: Receipt) -> None:
        """Name the files, then write the receipt. Raises IntegrityError: another run made the shard otherwise."""
        path, lies = self.artefact.receipt_path(self.task.shard), self.artefact.path
        old = self.artefact.receipt(self.task.shard)
        before = {lies(name): stamp for name, stamp in old.files.items()} if old else {}
        new = {lies(name): receipt.files[name] for name in self.files}
        done = storage.commit(path, written(checked(receipt)), new, before)
        self.files.clear()
        progress.advance(progress.SHARDS)
        if not done and not self.artefact.current(self.task):
            raise IntegrityError(f"{path}: another run has made this shard meanwhile; run the same command again")

    def unchanged(self) -> dict[str, str]:
        """`before` of those files that come out as `remove` left them: what was made from them is not stale either."""
        receipt = self.artefact.receipt(self.task.shard)
        if receipt is None:
            return {}
        now = {name: file.stamp().sha256 for name, (file, _) in self.files.items()}
        return {name: sha for name, sha in receipt.before.items() if receipt.files[name].sha256 == now.get(name)}

    def discard(self) -> None:
        """Remove what was written and not committed."""
        for name in self.files:
            storage.part_of(self.artefact.path(name)).unlink(missing_ok=True)
