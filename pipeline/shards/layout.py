"""Where things lie in a working directory: tables in the folder of their artefact, what is known of them out of sight.

Choice: receipts and manifest lie in the folder that they vouch for, so that it may be copied or moved alone, under
names that begin with a dot, which pandas, pyarrow and Hugging Face `datasets` pass over: they open the folder as it is.
A table of other columns has a folder of its own: evidence of the corpus lies in `removed/`. Cost: polars (2.1) passes
over no folder whatever its name, and is to be given `corpus/*.parquet`; so is everybody where segments of a crawl lie
in `pages/`. Alternative: all that is no table in folders of its own, which a corpus that is taken elsewhere would lose;
names with `_`, which `datasets` reads.

What an earlier version laid out otherwise is moved once, by whoever comes first, and not made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath

from pipeline.shards import objects, storage, transfer
from pipeline.shards.locations import location_of, name_of
from pipeline.shards.outcomes import ConfigError, StorageError

RECEIPTS, MANIFEST = ".receipts", ".manifest.json"
SOURCES = ".sources.json"  # in `pages`, of links as they were named when pages were made last: see `forget.Looked`
BESIDE = {"removed": "corpus"}  # parts of an artefact that lie beside its folder: tables of other columns

ARTEFACTS = ("links", "pages", "documents", "corpus", "tokenizer", "tokens")  # whose names had no dot
HIDDEN = {"receipts": RECEIPTS, "manifest.json": MANIFEST, "sources.json": SOURCES}  # by their names of before


def artefact_of(receipt: Path) -> Path:
    """The folder of the artefact that a receipt, or a note beside it, belongs to."""
    return receipt.parents[1]


def manifest_in(folder: Path) -> Path:
    """The manifest of an artefact: where it lies today, or where it lay before, in a folder that nobody has moved."""
    before = folder / "manifest.json"
    return before if not storage.exists(folder / MANIFEST) and storage.exists(before) else folder / MANIFEST


def file_of(folder: Path, name: str) -> Path:
    """A file of an artefact by its name in receipts: `00042-of-00128.parquet`, `train/…`, or `removed/…`, beside it."""
    return (folder.parent if name.partition("/")[0] in BESIDE else folder) / name


def receipts_below(root: Path, pattern: str) -> list[Path]:
    """What lies among the receipts of any artefact and matches a pattern, scratch included."""
    return sorted([*root.glob(f"*/{RECEIPTS}/{pattern}"), *root.glob(f"scratch/*/{RECEIPTS}/{pattern}")])


# --- as it was laid out before


def lies(root: Path, inside: str) -> Path:
    """Where a file lies that was named, below the working directory, today or by an earlier version."""
    return root / (today(inside) or inside)


def today(inside: str) -> str | None:
    """Where a file lies today that lay at `inside`, below the working directory; None: there still."""
    match PurePosixPath(inside).parts:
        case ("corpus", part, name) if part in BESIDE and not is_link(name):
            return f"{part}/{name}"
        case (stage, name, *rest) if stage in ARTEFACTS and name in HIDDEN:
            return "/".join([stage, HIDDEN[name], *rest])
        case ("scratch", phase, name, *rest) if name in HIDDEN:
            return "/".join(["scratch", phase, HIDDEN[name], *rest])
    return None


def is_link(name: str) -> bool:
    """Whether a file among the evidence of before is one that `keep_old_names` left there."""
    return name.startswith(".") and name.endswith(".parquet")


def old_files(root: Path) -> dict[Path, Path]:
    """The files of a working directory that lie where an earlier version had them, each with its place of today.

    Receipts are the last of them: while one is left there, the rest is not done.
    """
    found = {path: root / where for path, inside in lying(root) if (where := today(inside)) is not None}
    return dict(sorted(found.items(), key=lambda pair: (is_receipt(pair[0]), pair[0])))


def is_receipt(path: Path) -> bool:
    """Whether a file lies among receipts as they lay before."""
    return HIDDEN.get(path.parent.name) == RECEIPTS


def lying(root: Path) -> Iterator[tuple[Path, str]]:
    """(path, its name below the working directory) of all that may lie where an earlier version had it."""
    if (here := location_of(root)) is not None:
        view = objects.view_of(root)
        keys = list(view.objects) if view else [at.key for at, _ in objects.listed(root)]
        below = f"{here.key}/" if here.key else ""
        inside = [key.removeprefix(below) for key in keys if key.startswith(below)]
        yield from ((root / name, name) for name in inside)
        return
    places = [root / stage for stage in ARTEFACTS] + sorted((root / "scratch").glob("*"))
    inner = [*HIDDEN, *(f"{name}/*" for name in HIDDEN), *(f"{part}/*" for part in BESIDE)]
    for path in (path for folder in places for pattern in inner for path in folder.glob(pattern)):
        if path.is_file() and not path.is_symlink():
            yield path, path.relative_to(root).as_posix()


def is_old(root: Path) -> bool:
    """Whether a working directory, or a part of it, is laid out as an earlier version did."""
    return bool(old_files(root))


def refuse_old(root: Path) -> None:
    """Raise ConfigError for a working directory that is laid out as an earlier version did."""
    if is_old(root):
        raise ConfigError(
            f"{name_of(root)}: laid out by an earlier version of webtext; run: webtext status --dir {name_of(root)} "
            "(it moves receipts and manifests to where they lie today; nothing is made anew for that)"
        )


def renew(root: Path) -> int:
    """Move what an earlier version laid out otherwise, under the lock of the directory; how many files.

    Cut short, the next one ends it. Raises StorageError: something else lies where a file has to go.
    """
    moves = old_files(root)
    if location_of(root) is not None:
        with ThreadPoolExecutor(transfer.AT_ONCE) as pool:
            for last in (False, True):
                batch = {old: new for old, new in moves.items() if is_receipt(old) is last}
                for _ in pool.map(transfer.move, batch, batch.values()):
                    pass
        return len(moves)
    for old, new in moves.items():
        if new.exists():
            raise StorageError(f"{new}: is in the way of {old}, which lies there today; move one of them")
        with storage.refusing(new):
            new.parent.mkdir(parents=True, exist_ok=True)
            old.rename(new)
        inside = new.relative_to(root).as_posix()
        if (stage := BESIDE.get(new.parent.name)) is not None:
            keep_old_names(root / stage, [inside])
    for folder in sorted({new.parent for new in moves.values()}):
        storage.sync_folder(folder)
    for folder in {old.parent for old in moves}:
        with suppress(OSError):  # it is not empty
            folder.rmdir()
    return len(moves)


def keep_old_names(folder: Path, names: Iterable[str]) -> None:
    """Let files that lie beside an artefact be found within it too, as before: by hidden links, in a folder of files.

    For queries and scripts that name `corpus/removed/*.parquet`. pandas, pyarrow and `datasets` pass over them.
    """
    for name in names:
        part, _, file = name.partition("/")
        link = folder / part / f".{file}"
        if part in BESIDE and location_of(folder) is None and not link.is_symlink():
            with suppress(OSError):  # a file system without links
                link.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)  # a copy that `drop_copies` speaks of
                link.symlink_to(Path("..", "..", name))


def drop_copies(root: Path) -> None:
    """Delete the files that were made of these links by who copied the folder: they would stay as they are."""
    for part, artefact in BESIDE.items():
        for path in (root / artefact / part).glob(".*.parquet"):
            if not path.is_symlink():
                path.unlink()
