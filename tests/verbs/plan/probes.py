"""Probes made by hand."""

from pathlib import Path

from pipeline.shards.receipts import Manifest, RowCounts
from pipeline.verbs.plan.machines import Machines
from pipeline.verbs.plan.probe import Texts
from pipeline.verbs.plan.sample import Captures, Submissions

HERE = Machines(workers=1, vcpus=2, memory_bytes=8e9, disk_bytes=1e12)


def submissions(**changed):
    """2,000 lines, 1,500 posts, 1,200 links, of which 1,000 are kept, on two hosts."""
    values = {
        "files": 1, "bytes": 100_000, "rows": 2_000.0, "posts": 1_500.0, "links": 1_200.0,
        "hosts": {"a.test": 900.0, "b.test": 100.0}, "link_bytes": 80.0, "post_bytes": 60.0, "block_bytes": 100.0,
        "sampled": 2_000, "whole": True,
    }  # fmt: skip
    return Submissions(**values | changed)


def captures(kept=400.0):
    return Captures(2, 10_000_000, 500.0, kept, 500, True)


def texts(**changed):
    values = {
        "sampled": 40, "text_share": 0.5, "passing": 0.5, "text_bytes": 1_000.0, "page_bytes": 10_000.0, "cpu_s": 0.01,
    }  # fmt: skip
    return Texts(**values | changed)


def manifest(stage, **books):
    """A manifest with books (inputs, kept)."""
    known = {name: RowCounts(inputs, {"kept": kept, "x": inputs - kept}) for name, (inputs, kept) in books.items()}
    return Manifest(stage, 4, "", {}, {}, {}, known)


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
