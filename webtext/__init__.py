"""What the command does, as functions, under the name of what is installed.

    import webtext

    settings = webtext.parse({"links": {"submissions": ["dump.ndjson"]}, "pages": {"warc": ["*.warc.gz"]}})
    manifests = webtext.build_stages(Path("work"), settings)

The code lies beside this package in two others, `pipeline` and `trainer`: names that folders of many users have too.
Choice: whoever comes by this name takes the two from beside it, wherever the import path leads. Cost: a program that
imports `webtext` cannot import a `pipeline` or `trainer` of its own as well; it is told so. Alternative: both below
this name, which makes every import longer and saves those programs alone.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline import *  # noqa: F403

HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib costs the import
NEIGHBOURS = ("pipeline", "trainer")


def claim() -> None:
    """Import the two packages beside this one under their names, so that no other folder is taken for them.

    Raises ImportError: another package of one of the names was imported before.
    """
    sys.path.insert(0, HOME)
    try:
        lying = {name: [*getattr(import_module(name), "__path__", ())] for name in NEIGHBOURS}
    finally:
        sys.path.remove(HOME)  # the first of them
    for name, folders in lying.items():
        if not any(os.path.samefile(folder, f"{HOME}/{name}") for folder in folders if os.path.isdir(folder)):  # noqa: PTH112, PTH121
            where = getattr(sys.modules[name], "__file__", None) or folders
            raise ImportError(f"webtext needs the package {name!r} of {HOME}; another was imported before: {where}")


def __getattr__(name: str) -> Any:
    """What `pipeline` gives by this name; of what Python asks every package for, the list of names alone."""
    if name == "__all__" or not name.startswith("__"):
        claim()
        with suppress(AttributeError):
            return getattr(import_module("pipeline"), name)
    raise AttributeError(f"module 'webtext' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
