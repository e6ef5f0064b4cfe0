"""Fill in what the pages say of the code: `python docs/make.py` (or `make docs`).

A page is written by hand but for its blocks: what stands between `<!-- KIND NAME -->` and `<!-- end -->` is read off
the code. Choice: columns come from the schemas and the comments beside them, failures from the tests that carry the
mark `failure`, the map of the code from the first line of each module; so a page cannot say what is no longer so.
Cost: their wording lives beside code. Alternative: pages by hand, which are wrong after the first change.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.config import parse
from pipeline.documents import SIGNAL_TYPES
from pipeline.shards import outcomes, schemas
from pipeline.text.encoder import Encoder
from pipeline.text.signals import SIGNALS
from pipeline.tokens import schema_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("docs/artefacts.md", "docs/failures.md", "CONTRIBUTING.md")
BLOCK = re.compile(r"(<!-- (\w+) ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMN = re.compile(r'pa\.field\("(\w+)".*?\),\s*# (.*)')

# Which tests belong to which part of failures.md, by how their path begins: the first part that fits.
PARTS = {
    "links": (
        "tests/submissions/", "tests/test_links", "tests/test_urls", "tests/test_plaintext", "tests/test_source_notes",
        "tests/verbs/test_harvest",
    ),
    "pages": ("tests/fetch/", "tests/test_pages", "tests/test_archives", "tests/test_disturbed"),
    "documents": ("tests/text/test_sandbox", "tests/text/test_extract", "tests/test_documents"),
    "corpus": ("tests/dedup/", "tests/test_corpus", "tests/text/", "tests/verbs/test_re"),
    "tokens": ("tests/test_token", "tests/verbs/test_export"),
    "training": ("tests/trainer/",),
    "removal": ("tests/verbs/remove/", "tests/shards/test_removals"),
    "runs": ("tests/",),
}  # fmt: skip


class Failure(NamedTuple):
    """What goes wrong, what is seen of it, what to do, and the test that proves it."""

    wrong: str
    seen: str
    mend: str
    proof: str


def filled(page: str) -> str:
    """The page with every block made anew. Raises KeyError or AttributeError: a block that asks for what is not."""
    makers = {"columns": columns, "outcomes": fates, "failures": failures, "exit": exit_codes, "map": code_map}
    return BLOCK.sub(lambda block: f"{block[1]}{makers[block[2]](block[3])}\n{block[4]}", page)


def table(head: str, rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; `head` names its columns, between bars."""
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    return "\n".join(lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows])


# --- columns


def schema_named(name: str) -> pa.Schema:
    """A schema of the artefacts by its name in the code: a constant, or what a function gives for the defaults."""
    if name == "documents_schema":
        return schemas.documents_schema(parse({}).documents.permutations, SIGNAL_TYPES)
    if name == "schema_of":
        settings = parse({}).tokenizer
        nobody: Any = None  # neither engine is asked
        return schema_of(Encoder(nobody, nobody, settings.vocab_size, settings.vocab_size - 1, ""))
    return getattr(schemas, name)


def comments(*files: str) -> dict[str, str]:
    """Column -> the comment beside it, of all schemas in the files; where two say something, the first."""
    found: dict[str, str] = {}
    for file in files:
        for match in COLUMN.finditer((ROOT / file).read_text("utf-8")):
            found.setdefault(match[1], match[2])
    return found


def columns(name: str) -> str:
    """The columns of a schema: name, Arrow type, meaning."""
    said = comments("pipeline/shards/schemas.py", "pipeline/tokens.py") | SIGNALS
    rows = [(f"`{field.name}`", f"`{field.type}`", said.get(field.name, "")) for field in schema_named(name)]
    return table("column | type | meaning", rows)


# --- failures


def fates(stage: str) -> str:
    """The outcomes that the rows of a stage may have."""
    return table("outcome | meaning", [(f"`{one}`", one.meaning) for one in outcomes.FATES[stage]])


def exit_codes(_: str) -> str:
    """The exit codes of the command."""
    return table("code | meaning", [(str(code), meaning) for code, meaning in sorted(outcomes.EXIT_CODES.items())])


def marked() -> Iterator[Failure]:
    """The failures that tests prove, in the order of the files. Raises TypeError: a mark without its three texts."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT).as_posix()
        tests = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)]
        for node in tests:
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.failure":
                    words = [ast.literal_eval(text) for text in mark.args]
                    named = {one.arg: ast.literal_eval(one.value) for one in mark.keywords if one.arg}
                    texts = dict(zip(Failure._fields, words, strict=False)) | named
                    yield Failure(**texts | {"proof": f"{name}::{node.name}"})


def part_of(proof: str) -> str:
    """The part of the page that a test belongs to."""
    return next(part for part, begins in PARTS.items() if proof.startswith(begins))


def failures(part: str) -> str:
    """What may go wrong in one part of the work."""
    rows = [one for one in marked() if part_of(one.proof) == part]
    told = [(one.wrong, one.seen, one.mend, f"`{one.proof.removeprefix('tests/')}`") for one in rows]
    return table("what goes wrong | what you see | what to do | proved by", told)


# --- the map of the code


def code_map(folder: str) -> str:
    """The modules below a folder, each with the first line of its docstring."""
    rows = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        said = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        if said:
            first = said.partition("\n\n")[0].replace("\n", " ")
            rows.append((f"`{path.relative_to(ROOT / folder).as_posix()}`", first))
    return table("module | what it is", rows)


if __name__ == "__main__":
    for page in PAGES:
        path = ROOT / page
        path.write_text(filled(path.read_text("utf-8")), "utf-8")
