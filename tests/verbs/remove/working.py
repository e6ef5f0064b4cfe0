"""A small working directory to remove things from, and a search of all that lies in one."""

import bz2
import gzip
import io
import sqlite3
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from pipeline import config, urls
from pipeline.build import artefact, build
from pipeline.shards import schemas
from pipeline.shards.runner import PlainRun

SETTINGS = {
    "build": {"shards": 2},
    "corpus": {"min_words": 50},
    "tokenizer": {"vocab_size": 400},
    "tokens": {"val_share": 0.3},
}
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def settings_for(source, **sections):
    """The settings of a build from the dump and the WARC files of a folder."""
    read = {"links": {"submissions": [f"{source}/dump.ndjson"]}, "pages": {"warc": [f"{source}/*.warc.gz"]}}
    tables = {name: {**values, **sections.get(name, {})} for name, values in (SETTINGS | read).items()}
    return config.parse(tables)


def rebuilt(root, source, **sections):
    """Build `root` from a folder, see `settings_for`."""
    return build(root, settings_for(source, **sections), run=PlainRun())


def table(root, stage, part=""):
    one = artefact(root, stage, 2)
    return pa.concat_tables(schemas.read_parquet(one.file(shard, ".parquet", part)) for shard in range(2))


def token_rows(root):
    tokens = artefact(root, "tokens", 2)
    for shard in range(2):
        for split in ("train", "val"):
            with pa.memory_map(str(tokens.file(shard, ".arrow", split))) as file:
                yield split, pa.ipc.open_file(file).read_all()


def doc_id_of(page):
    return urls.doc_id(urls.canonical_url(page.url))


def kept_page(root, pages, but=()):
    ids = set(table(root, "corpus")["doc_id"].to_pylist())
    return next(page for page in pages if doc_id_of(page) in ids and page not in but)


def files_of(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != ".lock"}


def told(path):
    """All that a file says, in every form in which it may say it: as it lies, and unpacked."""
    data = path.read_bytes()
    yield data
    unpackers = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".zst": unpacked}
    if path.suffix in unpackers:
        yield unpackers[path.suffix](data)
    elif path.suffix == ".parquet":
        yield str(pq.read_table(path).to_pydict()).encode()
    elif path.suffix == ".arrow":
        yield str(pa.ipc.open_file(data).read_all().to_pydict()).encode()
    elif path.suffix == ".sqlite":
        with sqlite3.connect(path) as database:
            yield "\n".join(database.iterdump()).encode()
    elif path.suffix in (".npy", ".npz"):
        yield str(np.load(path, allow_pickle=False)).encode()


def unpacked(data):
    return (
        zstandard.ZstdDecompressor(max_window_size=2**31)
        .stream_reader(io.BytesIO(data), read_across_frames=True)
        .read()
    )


def holding(root, *marks):
    """Which files below `root` hold one of some marks, as text, bytes or unpacked, and which mark."""
    wanted = [mark.encode() if isinstance(mark, str) else mark for mark in marks]
    return {
        str(path.relative_to(root)): mark
        for path in sorted(root.rglob("*"))
        if path.is_file()
        for text in told(path)
        for mark in wanted
        if mark.lower() in text.lower()
    }
