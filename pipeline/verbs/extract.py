"""What an engine makes of pages that lie in files: the text, and everything that `documents` would keep of it.

Choice: the same sandbox, limits and functions as the stage, so that what is shown is what a build would write. Cost:
two seconds to start the child. Alternative: a call of `pipeline.text.extract.extract`, without limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import DocumentsSettings
from pipeline.shards.outcomes import InputError, Outcome
from pipeline.text.sandbox import Sandbox
from pipeline.text.signals import signals

PLAIN = {".txt", ".text"}  # suffixes of files that are not markup


def extracts(files: Sequence[Path], engine: str, content_type: str, url: str) -> Iterator[dict[str, Any]]:
    """Of every file: outcome, engine, title, text, and the signals of the text where there is one.

    `content_type` is what a server would have said ("": as nothing but the name of the file tells); `url` is where the
    page was. Raises InputError for a file that cannot be read, ConfigError for an engine unknown or not installed.
    """
    settings = DocumentsSettings()
    with Sandbox(engine, settings.cpu_s, settings.memory_bytes) as box:
        for file in files:
            try:
                body = file.read_bytes()
            except OSError as error:
                raise InputError(f"{file}: {error.strerror or error}") from None
            found = box.extract(body, content_type or ("text/plain" if file.suffix in PLAIN else ""), url)
            yield {
                "file": str(file),
                "outcome": str(found.outcome),
                "engine": found.engine,
                "title": found.title,
                "text": found.text,
                **(signals(found.text) if found.outcome is Outcome.KEPT else {}),
            }
