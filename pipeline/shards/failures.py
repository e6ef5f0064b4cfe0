"""Errors across processes: how a failure that a person can mend comes back from a worker, in whatever the engine says.

Choice: each engine wraps what a worker raised in errors of its own, and all of them keep its text; so the kind and the
message travel as text, behind a mark. Cost: a message is found by its mark, not by its type. Alternative: a list of
each engine's errors, and of where each keeps its cause.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.shards import outcomes
from pipeline.shards.outcomes import WebTextError

MARK = "webtext failure: "


@dataclass(frozen=True)
class Guarded:
    """A function whose WebTextError survives the runner's wrapping: `Running` finds the mark and raises it again."""

    function: Callable[[Any], Any]

    def __call__(self, element: Any) -> Any:
        try:
            result = self.function(element)
            return result if not isinstance(result, Iterator) else list_guarded(result)
        except WebTextError as error:
            raise RuntimeError(marked(error)) from error


def list_guarded(blocks: Iterator[Any]) -> Iterator[Any]:
    """The same items; a WebTextError raised between them is marked."""
    try:
        yield from blocks
    except WebTextError as error:
        raise RuntimeError(marked(error)) from error


def marked(error: WebTextError) -> str:
    """A WebTextError as one line that can be found in any traceback."""
    return MARK + json.dumps([type(error).__name__, str(error)])


def unmarked(text: str) -> WebTextError | None:
    """The WebTextError in a traceback's text, if there is one."""
    _, found, rest = text.partition(MARK)
    if not found:
        return None
    (kind, message), _ = json.JSONDecoder().raw_decode(rest)
    error: WebTextError = getattr(outcomes, kind)(message)
    return error
