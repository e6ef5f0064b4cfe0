"""What an engine makes of a page: the text, and everything that `documents` would keep of it.

Choice: the same sandbox, limits and functions as the stage, so that what is shown is what a build would write. Cost:
two seconds to start the child. Alternative: a call of `pipeline.text.extract.extract`, without limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pipeline.config import DocumentsSettings, Settings
from pipeline.shards import progress
from pipeline.shards.outcomes import Outcome
from pipeline.text.extract import Extraction
from pipeline.text.sandbox import Sandbox
from pipeline.text.signals import signals
from pipeline.verbs.raw_pages import openings


def extracts(
    words: Sequence[str | Path],
    engine: str = "cascade",
    content_type: str = "",
    url: str = "",
    root: Path = Path(),
    settings: Callable[[], Settings] = Settings,
) -> Iterator[dict[str, Any]]:
    """Of every page: what it was named, outcome, engine, title, text, and the signals of the text where there is one.

    `words`: files, "-", FILE:OFFSET, an archive with or without an address after it, addresses of the build in `root`,
    whose `settings` are asked for then. `content_type` is what a server would have said, `url` where the page was ("":
    as the page itself tells). Raises InputError: no such page; ConfigError: an engine unknown or not installed.
    """
    limits = DocumentsSettings()
    opened = openings(words, root, settings)
    pages = chain.from_iterable(source() for source in opened)
    first = list(islice(pages, 1))  # what is not there is told before the child is started
    with Sandbox(engine, limits.cpu_s, limits.memory_bytes) as box:
        for page in progress.each(chain(first, pages)):
            found = Extraction(page.outcome, engine="")
            if page.outcome is Outcome.KEPT:
                found = box.extract(page.body, content_type or page.content_type, url or page.url)
            yield {
                "file": page.name,
                **({"url": page.url} if page.url else {}),
                "outcome": str(found.outcome),
                "engine": found.engine,
                "title": found.title,
                "text": found.text,
                **(signals(found.text) if found.outcome is Outcome.KEPT else {}),
            }
