"""Residual traces below the working directory: what may still name or hold what was removed, erased or named.

Choice: what the pipeline wrote is known by its place, and rewritten, or deleted where it can be made again (reports,
exports, queues); whatever else lies there is the user's, is read, unpacked, and named where it holds an address that
has to go. Cost: such files are read, up to SEARCHED_BYTES of each. Alternative: delete what is not known, and not ours.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from pipeline.build import STAGES
from pipeline.config import Settings
from pipeline.shards import inputs, layout, objects, progress, schemas, storage
from pipeline.shards.locations import location_of, name_of, path_of
from pipeline.shards.outcomes import InputError
from pipeline.shards.removals import FOLDER as REQUESTS
from pipeline.shards.removals import identity
from pipeline.submissions.ledger import SUFFIX, Ledger
from pipeline.urls import LONGEST_POSTED
from pipeline.verbs.remove.removal import Removal

SEARCHED_BYTES = 64_000_000  # of one file of the user's, unpacked: lists and small dumps, not months of Reddit
ABOUT = "webtext.json"  # in the folder of an export
METRICS = "metrics.jsonl"
OURS = {*STAGES, *layout.BESIDE, "scratch", REQUESTS}
SLASHES = rb"(?:\\?/){2}"  # JSON may write each with a backslash
HEAD = re.compile(  # where an address may begin; after a scheme anything may be a host
    rb"(?<![A-Za-z0-9.\-])(?:https?:" + SLASHES + rb")?(?:"
    rb"[A-Za-z0-9][A-Za-z0-9.\-]*\.[A-Za-z0-9\-]{2,}|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\]"
    rb"|[A-Za-z0-9\-]+(?=:\d+\\?/))"
    rb"|https?:" + SLASHES,
    re.IGNORECASE,
)
TAIL = re.compile(rb"(?:\\/|\\u[0-9A-Fa-f]{4}|[^\s\"'<>\\^`{}]){0,%d}" % LONGEST_POSTED)  # what texts let follow
JSON_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})")
LOGIN = re.compile(r"(?<=://)[^/?#]*@")  # no address of a link has one
ENDS = re.compile(r"[,;|*)\]]|[.:!?](?=[.,:;!?|*)\]]*$)")  # of an address in prose and tables, or parts of it
MOST_ENDS = 8  # tried of one word, from its beginning and from its end
OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def erase_traces(removal: Removal, settings: Settings | None) -> None:
    """Erase what names or holds what has to go outside of artefacts and segments; note what is left of the user's."""
    forget_scratch(removal)
    left: dict[str, str] = {}
    folders = {path.parent for path in lying(removal.root) if path.name == ABOUT}
    for folder in sorted(folders):
        delete_export(removal, folder)
    for path in progress.each(lying(removal.root)):
        inside = path.relative_to(removal.root)
        if inside.parts[0] in OURS or path.name.startswith("."):
            continue
        if path.name == METRICS:
            forget_hosts(removal, path)
        elif path.suffix == SUFFIX and is_ledger(path):
            forget_posts(removal, path)
        elif "tensorboard" in inside.parts or inside.parts[0] == "report":
            if found(removal, path, ours=True):
                delete(removal, path)
        elif inside.parts[0] != "model" and found(removal, path):
            left[str(inside)] = "holds it; it is yours, and as it was"
    removal.note(left={**removal.request.left, **left, **named(removal, settings)})


def lying(root: Path) -> list[Path]:
    """All files below the working directory; of one on an object store, all objects."""
    if location_of(root) is not None:
        return sorted(path_of(root, at.key) for at, _ in objects.listed(root))
    return sorted(path for path in root.rglob("*") if path.is_file())


def delete(removal: Removal, path: Path) -> None:
    """Delete a file that can be made again, and note that it is gone."""
    removal.change(path, 0, storage.sha256_of(storage.local(path)), "")
    storage.remove(path)


def forget_scratch(removal: Removal) -> None:
    """Delete what is in scratch for one round or one build, and copies of evidence; take rows out of BigQuery's export.

    Counts of words are asked only when a tokenizer is learnt anew, of the texts that there are then.
    """
    scratch = removal.root / "scratch"
    layout.drop_copies(removal.root)
    once = [("queues", "*.parquet"), ("ledgers", "*.zst"), ("", "splits-of-*.json")]
    if removal.request.removed:
        once += [(f"words/{layout.RECEIPTS}", "*.json"), ("words", "*.parquet")]
    for folder, pattern in once:
        for path in storage.names(scratch / folder, pattern):
            storage.remove(path)
    for spilled in scratch.glob("exchange-*"):  # of a run that was killed
        shutil.rmtree(spilled, ignore_errors=True)
    for path in storage.names(scratch / "bigquery", "*.parquet"):
        table = schemas.read_parquet(storage.local(path))
        gone = [bool(url) and removal.question.cover_address(url) for url in table["url"].to_pylist()]
        if any(gone):
            with storage.writing(path) as file:
                left = table.filter(pa.array([not is_gone for is_gone in gone], pa.bool_()))
                schemas.write_parquet(file, [left], table.schema)
            removal.change(path, sum(gone), storage.sha256_of(storage.local(path)), file.stamp().sha256)
            storage.publish([path])


# --- what training and harvesting wrote


def forget_hosts(removal: Removal, path: Path) -> None:
    """Take the hosts that have to go out of what a training logged of its validation."""
    data = storage.read_bytes(path)
    lines, rows = [], 0
    for line in data.splitlines(keepends=True):
        try:
            about = json.loads(line)
            by_host = about.get("by_host", {}) if isinstance(about, dict) else {}
        except ValueError:
            lines.append(line)
            continue
        hosts = [host for host in by_host if removal.covers_host(host)]
        rows += bool(hosts)
        for host in hosts:
            del by_host[host]
        lines.append(json.dumps(about).encode() + b"\n" if hosts else line)
    if rows:
        removal.change(path, rows, storage.sha256_of(storage.local(path)), hashlib.sha256(b"".join(lines)).hexdigest())
        storage.write_bytes(path, b"".join(lines))


def is_ledger(path: Path) -> bool:
    """Whether a file is a ledger of a harvest."""
    try:
        with Ledger(storage.local(path)):
            return True
    except InputError:
        return False


def forget_posts(removal: Removal, path: Path) -> None:
    """Delete the submissions of removed links from the ledger of a harvest; their ids stay, so that none comes back."""
    before = storage.sha256_of(storage.local(path))
    with Ledger(storage.local(path)) as ledger:
        rows = ledger.forget(
            lambda key, url: removal.question.cover_address(url) or key in removal.question.submissions
        )
        ledger.settle()
    if rows:
        removal.change(path, rows, before, storage.sha256_of(path))
        if location_of(path) is not None:
            storage.upload(path, once=False)


# --- exports


def delete_export(removal: Removal, folder: Path) -> None:
    """Delete the files of an export that holds what has to go: `webtext export` makes them again, without it.

    An export of the model stays: what a model learnt cannot be taken out of it.
    """
    try:
        about = json.loads(storage.read_bytes(folder / ABOUT))
        files, kind = list(about["files"]), about["format"]
    except (ValueError, KeyError, TypeError):
        return  # no export of ours
    if kind == "hf" or not any(exported(removal, folder / name, kind) for name in files):
        return
    for name in (*files, ABOUT):
        if storage.exists(folder / name):
            delete(removal, folder / name)


def exported(removal: Removal, path: Path, kind: str) -> bool:
    """Whether a file of an export holds what has to go. Bare tokens name no document: they go if any went."""
    if kind in ("nanogpt", "megatron"):
        return path.suffix == ".bin" and bool(removal.request.spans)
    if path.suffix == ".parquet":
        ids = (batch["doc_id"].to_pylist() for batch in schemas.iterate_parquet(storage.local(path), ["doc_id"]))
        return any(not removal.doomed.isdisjoint(doc_ids) for doc_ids in ids)
    with storage.local(path).open("rb") as file:
        return any(msgspec.json.decode(line, type=dict).get("doc_id") in removal.doomed for line in file)


# --- the user's own files


def named(removal: Removal, settings: Settings | None) -> dict[str, str]:
    """The files that the config names and that may hold what has to go, below the working directory or not."""
    if settings is None:
        return {}
    own: dict[str, str] = {}
    patterns = (*settings.links.submissions, *settings.pages.warc, *settings.pages.commoncrawl)
    for path in dict.fromkeys(file for pattern in patterns for file in matching(removal.root, pattern)):
        if path.is_relative_to(removal.root) and path.suffix == SUFFIX:
            continue
        why = "holds it; it is yours, and as it was" if found(removal, path) else unsearched(path)
        if why:
            inside = path.is_relative_to(removal.root)
            own[str(path.relative_to(removal.root)) if inside else name_of(path)] = why
    return own


def matching(root: Path, pattern: str) -> list[Path]:
    """The files of a glob of the settings; none where none is there any more."""
    try:
        return inputs.matching([pattern], root, "")
    except InputError:
        return []


def unsearched(path: Path) -> str:
    """Why a file may hold something that was not found; "" where it was read to its end."""
    with opened(path) as file:
        file.seek(SEARCHED_BYTES) if file.seekable() else file.read(SEARCHED_BYTES)
        more = bool(file.read(1))
    return f"may hold it; it is yours, and only {SEARCHED_BYTES:,} bytes of it were searched" if more else ""


def found(removal: Removal, path: Path, ours: bool = False) -> bool:
    """Whether a file names an address that has to go, or a host: as text, unpacked, or in a column of a table.

    `ours`: the pipeline wrote it, and it may not name a host of which nothing is left either.
    """
    return any(names(removal, text, ours) for text in texts(path))


def names(removal: Removal, text: bytes, ours: bool) -> bool:
    """Whether a text names an address or a host that has to go."""
    return any(
        removal.question.cover_address(url) or (ours and removal.covers_host(identity(url)[1]))
        for url in addresses(text)
    )


def addresses(text: bytes) -> Iterator[str]:
    """What may be an address in a text, with a scheme or without, whatever its host: each with all its likely ends."""
    for match in HEAD.finditer(text):
        tail = TAIL.match(text, match.end())
        word = text[match.start() : tail.end() if tail else match.end()].decode("utf-8", "replace").replace("\\/", "/")
        if "\\" in word:
            word = JSON_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), word)
            word = word.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        url = LOGIN.sub("", word if "://" in word[:8] else f"https://{word}").replace("&amp;", "&")
        ends = [end.start() for end in ENDS.finditer(url, len("https://"))]
        for end in dict.fromkeys([len(url), *ends[:MOST_ENDS], *ends[-MOST_ENDS:]]):
            yield url[:end]


def texts(path: Path) -> Iterator[bytes]:
    """What a file holds, unpacked: bytes in pieces that end with lines, or the values of columns of text."""
    if path.suffix == ".parquet":
        try:
            with pq.ParquetFile(storage.local(path)) as file:
                columns = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
                for batch in file.iter_batches(1_000, columns=columns):
                    yield "\n".join(str(value) for name in columns for value in batch[name].to_pylist()).encode()
        except pa.ArrowInvalid:
            return
        return
    with opened(path) as file:
        left, rest = SEARCHED_BYTES, b""
        while left > 0 and (piece := read(file, min(left, 1 << 20))):
            whole, end, after = (rest + piece).rpartition(b"\n")
            yield whole + end if end else b""
            rest, left = after, left - len(piece)
        yield rest


def read(file: BinaryIO, size: int) -> bytes:
    """The next bytes of a file; none where what is packed is damaged."""
    try:
        return file.read(size)
    except (OSError, EOFError, zstandard.ZstdError, lzma.LZMAError):
        return b""


def opened(path: Path) -> BinaryIO:
    """A file to be read, unpacked if it is packed."""
    here = storage.local(path)
    if path.suffix == ".zst":
        return cast(
            BinaryIO,
            zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(here.open("rb"), read_across_frames=True),
        )
    return cast(BinaryIO, OPENERS.get(path.suffix, open)(here, "rb"))
