"""The layers, read from the imports of every module: what may know what, and how long anything may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "trainer").rglob("*.py")])
NAMES = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES}

CRAFTS = {"submissions", "fetch", "text", "dedup"}
LAYERS = [
    {"urls", "config", "counts", "plaintext", "shards.outcomes"},
    {
        "shards.schemas",
        "shards.locations",
        "shards.places",  # its former name
        "shards.objects",
        "shards.transfer",
        "shards.machine",
        "shards.storage",
        "shards.inputs",
        "shards.layout",
        "shards.proofs",
        "shards.progress",
        "shards.reach",
        "shards.pending",
        "shards.receipts",
        "shards.interrupts",
        "shards.leftovers",
        "shards.lease",
        "shards.removals",
        "shards.workers",
        "shards.crossing",
        "shards.spilling",
        "shards.jobs",
        "shards.failures",
        "shards.engine",
        "shards.running",
        "shards.runner",
    },
    CRAFTS,
    {
        "sources",
        "links",
        "kept",
        "ends",
        "pages",
        "carried",
        "documents",
        "elsewhere",
        "evidence",
        "ranking",
        "likeness",
        "copies",
        "measured",
        "corpus",
        "tokenizer",
        "tokens",
    },
    {"preflight", "durations"},
    {"build"},
    {"status"},
    {"verbs", "demo"},
    {"__main__", "cli"},
]
TRAINER_MAY_KNOW = {
    "pipeline.config",
    *(
        f"pipeline.shards.{m}"
        for m in ("outcomes", "schemas", "locations", "storage", "transfer", "receipts", "artefacts")
    ),
}
LONGEST_FILE = 350
LONGEST_FUNCTION = 50
EXCUSE = "Long because"  # in the docstring of a longer file or function, followed by the reason


def room(module):
    """The layer's entry a module belongs to: `pipeline.text.bpe` is of `text`, `pipeline.urls` is `urls`."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if parts[0] == "shards" else parts[0]


def layer(module):
    (found,) = [number for number, names in enumerate(LAYERS) if room(module) in names]
    return found


def imports(path):
    """The modules a file imports anywhere in it; `from a import b` counts as a.b where that is a module."""
    known = set(NAMES.values())
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in known else node.module


def ours(path, package):
    """The imported modules of one of our packages, the packages' own empty __init__ left out."""
    return {name for name in imports(path) if name.startswith(f"{package}.") and name != "pipeline.shards"}


def modules(package):
    empty = {"pipeline", "pipeline.shards"}
    return [path for path in FILES if NAMES[path].split(".")[0] == package and NAMES[path] not in empty]


def test_every_module_has_its_layer():
    strangers = [NAMES[path] for path in modules("pipeline") if not any(room(NAMES[path]) in names for names in LAYERS)]
    assert strangers == []


def test_imports_go_down_only():
    upward = [
        f"{NAMES[path]} imports {name}"
        for path in modules("pipeline")
        for name in ours(path, "pipeline")
        if layer(name) > layer(NAMES[path])
    ]
    assert upward == []


def test_no_craft_knows_another():
    crossings = [
        f"{NAMES[path]} imports {name}"
        for path in modules("pipeline")
        if room(NAMES[path]) in CRAFTS
        for name in ours(path, "pipeline")
        if room(name) in CRAFTS - {room(NAMES[path])}
    ]
    assert crossings == []


def test_beam_is_known_to_one_module():
    knowing = [NAMES[path] for path in FILES if any(name.split(".")[0] == "apache_beam" for name in imports(path))]
    assert knowing == ["pipeline.shards.runner"]


def test_the_trainer_knows_the_format_of_the_shards_and_no_stage():
    known = {name for path in modules("trainer") for name in ours(path, "pipeline")}
    assert known <= TRAINER_MAY_KNOW


def test_of_the_pipeline_only_verbs_and_command_line_know_the_trainer():
    knowing = {room(NAMES[path]) for path in modules("pipeline") if ours(path, "trainer")}
    assert knowing <= {"verbs", "demo", "cli"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: NAMES[path])
def test_nothing_is_too_long_to_read_in_one_sitting(path):
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {(path.name, tree): (len(text.splitlines()), LONGEST_FILE)}
    lengths |= {(node.name, node): (node.end_lineno - node.lineno + 1, LONGEST_FUNCTION) for node in functions}
    too_long = {
        name: length
        for (name, node), (length, most) in lengths.items()
        if length > most and EXCUSE not in (ast.get_docstring(node) or "")
    }
    assert too_long == {}
