"""Rebuild WebText: what the command `webtext` does, as functions.

    import webtext

    settings = webtext.parse({"links": {"submissions": ["dump.ndjson"]}, "pages": {"warc": ["*.warc.gz"]}})
    manifests = webtext.build_stages(Path("work"), settings)

Names are imported when they are first asked for, so that `import pipeline` costs nothing and needs no extra. All
failures that a person can mend are WebTextError, with `exit_code`. Choice: the functions that the verbs call, no second
layer. Cost: what a verb prints is a value here, to be printed by whoever calls. Alternative: a client object.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.build import STAGES
    from pipeline.build import build as build_stages
    from pipeline.config import Settings, load, parse
    from pipeline.shards.outcomes import Outcome, WebTextError
    from pipeline.shards.receipts import Manifest
    from pipeline.status import ArtefactStatus, status_of
    from pipeline.verbs.explain import explain
    from pipeline.verbs.export import export
    from pipeline.verbs.extract import extracts
    from pipeline.verbs.plan.outlook import outlook as plan
    from pipeline.verbs.remove import remove
    from trainer.checkpoint import trained
    from trainer.sample import load_tokenizer, sample
    from trainer.train import train

HOMES = {
    "STAGES": "pipeline.build",
    "ArtefactStatus": "pipeline.status",
    "Manifest": "pipeline.shards.receipts",
    "Outcome": "pipeline.shards.outcomes",
    "Settings": "pipeline.config",
    "WebTextError": "pipeline.shards.outcomes",
    "build_stages": "pipeline.build:build",  # `pipeline.build` is the module
    "explain": "pipeline.verbs.explain",
    "export": "pipeline.verbs.export",
    "extracts": "pipeline.verbs.extract",
    "load": "pipeline.config",
    "load_tokenizer": "trainer.sample",
    "parse": "pipeline.config",
    "plan": "pipeline.verbs.plan.outlook:outlook",
    "remove": "pipeline.verbs.remove",
    "sample": "trainer.sample",
    "status_of": "pipeline.status",
    "train": "trainer.train",
    "trained": "trainer.checkpoint",
}

__all__ = [
    "STAGES",
    "ArtefactStatus",
    "Manifest",
    "Outcome",
    "Settings",
    "WebTextError",
    "build_stages",
    "explain",
    "export",
    "extracts",
    "load",
    "load_tokenizer",
    "parse",
    "plan",
    "remove",
    "sample",
    "status_of",
    "train",
    "trained",
]


def __getattr__(name: str) -> Any:
    """What `__all__` names, from the module that it is at home in."""
    if name not in HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    module, _, attribute = HOMES[name].partition(":")
    return getattr(import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
