"""The README.md of an export of data: what it is, how it is read, whose the texts are.

Choice: it says what the export itself knows, so that it needs nothing but the export, and in its header the type of
each column, by which `datasets` reads JSON lines whose column is empty at first. Splits are told by the names of the
files alone: where a header tells them, `datasets` 5.2 takes another folder of the same name for this one, out of its
cache. Cost: it is short. Alternative: the card of `webtext report`, which tells how the corpus came about.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa

from pipeline.config import Settings
from pipeline.shards import schemas
from pipeline.verbs.export.folder import Export
from pipeline.verbs.provenance import FIELDS, LICENCES, RADFORD, SIZES, SPLITS, chosen_by, taste

CARD = "README.md"
DEFAULT = "A corpus made as WebText was"
TABLES = ("parquet", "jsonl")
USE = {
    # a folder that holds this file is no folder of Parquet alone, which pandas 3, polars 2 and pyarrow 25 ask for
    "parquet": (
        'datasets.load_dataset("this/folder", split="train")     # or "validation"',
        'pandas.read_parquet(sorted(glob.glob("this/folder/train-*.parquet")))',
        'polars.scan_parquet("this/folder/train-*.parquet")',
        'pyarrow.dataset.dataset("this/folder", exclude_invalid_files=True)',
        "SELECT * FROM 'this/folder/train-*.parquet'             -- DuckDB",
    ),
    "jsonl": (
        'datasets.load_dataset("this/folder", split="train")     # or "validation"',
        'polars.scan_ndjson("this/folder/train-*.jsonl")',
        "SELECT * FROM 'this/folder/train-*.jsonl'               -- DuckDB",
    ),
    "nanogpt": ("python train.py --dataset=NAME   # this folder is nanoGPT's data/NAME",),
    "megatron": ("--data-path this/folder/train   # of Megatron-LM; this/folder/val for validation",),
}


def card(settings: Settings, form: str, made: Export) -> str:
    """The whole card; the same export gives the same bytes."""
    name = " ".join(settings.build.name.split()) or DEFAULT
    total = sum(made.documents.values())
    parts = [
        "\n".join(["---", *header(settings, form, made, name), "---"]),
        f"# {name}",
        f"Text of {chosen_by(total, made.posted)}. It is not WebText, which was never published. Made with `webtext`; "
        "webtext.json says of what, and has the sha256 of every file.",
        "\n".join(counts(made)),
        "\n".join(f"    {line}" for line in USE[form]),
        *(["## Columns\n\n" + "\n".join(f"- `{field}`: {what}" for field, what in FIELDS)] if form in TABLES else []),
        "## Limits and personal data\n\nNobody has read it all: no rule looks for truth, hate or harm. "
        f"{taste(total, made.posted)} is no sample of the web. The pages were public when they were captured, and name "
        "people. Whoever should not be in it may ask whoever publishes it: `webtext remove` takes pages out.",
        "## Licence and provenance\n\n" + "\n".join(f"- {licence}" for licence in LICENCES),
        f"## Citation\n\n```bibtex\n{RADFORD}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def header(settings: Settings, form: str, made: Export, name: str) -> Iterator[str]:
    """The lines of YAML that the Hub reads (huggingface.co/docs/hub/datasets-cards); JSON is YAML too."""
    total = sum(made.documents.values())
    yield f"pretty_name: {json.dumps(name, ensure_ascii=False)}"
    if settings.corpus.languages:
        yield f"language: {json.dumps(list(settings.corpus.languages))}"
    yield "license: other"
    yield "license_name: texts-belong-to-their-authors"
    yield "task_categories: [text-generation]"
    yield f"size_categories: [{next((size for limit, size in SIZES if total < limit), 'n>1T')}]"
    yield "tags: [webtext, webtext-tool]"
    if form in TABLES:
        yield from ("dataset_info:", "  features:")
        for field in schemas.CORPUS:
            listed = pa.types.is_list(field.type)
            kind = str(field.type.value_type if listed else field.type)
            yield from (f"  - name: {field.name}", f"    {'list' if listed else 'dtype'}: {kind}")


def counts(made: Export) -> Iterator[str]:
    """A table of the splits."""
    tokens = bool(made.tokens)
    yield "| split | documents |" + (" tokens |" if tokens else "")
    yield "|---|---|" + ("---|" if tokens else "")
    for split, documents in made.documents.items():
        yield f"| {SPLITS[split]} | {documents:,} |" + (f" {made.tokens.get(split, 0):,} |" if tokens else "")
