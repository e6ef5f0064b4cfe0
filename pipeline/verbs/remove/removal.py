"""A removal request while it is carried out: whom it dooms, and the proof that grows with every file written."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from pipeline.fetch.forget import Gone
from pipeline.shards import removals
from pipeline.shards.removals import Change, RemovalRequest, Removals, hidden, identity


@dataclass
class Removal:
    """A request while it is carried out. `where`: the doc_ids it dooms, by the shard of their link."""

    root: Path
    shards: int
    path: Path
    request: RemovalRequest
    where: dict[int, set[str]] = field(default_factory=dict)

    def note(self, **more: Any) -> None:
        """Write the request with more of its proof."""
        self.request = msgspec.structs.replace(self.request, **more)
        removals.write(self.path, self.request)

    def change(self, path: Path, rows: int, before: str, after: str) -> None:
        """Note a change before it is made: a run that is cut short in between makes the same one again."""
        change = Change(path.relative_to(self.root).as_posix(), rows, before, after)
        if before != after and change not in self.request.changes:
            self.note(changes=(*self.request.changes, change))

    @cached_property
    def question(self) -> Removals:
        """The request alone, as a question. Only once it is known whom it meets."""
        return Removals((self.request,))

    @cached_property
    def doomed(self) -> frozenset[str]:
        """The doc_ids that have to go."""
        return self.question.doc_ids

    @cached_property
    def doomed_ids(self) -> pa.Array:
        """The same as a column."""
        return pa.array(sorted(self.doomed), pa.string())

    @property
    def fetched(self) -> Gone:
        """What has to go, as segments are asked."""
        return Gone(self.doomed_ids, self.covers, self.covers_host, self.request.asked_at, self.change)

    @cached_property
    def emptied(self) -> frozenset[str]:
        """Hashes of hosts of which no link is left: what was learnt of them goes too."""
        return frozenset(self.request.emptied)

    def covers(self, url: str) -> bool:
        """Whether an address has to go, in any spelling; also a robots.txt that was asked for what is gone."""
        _, host = identity(url)
        return self.question.cover_address(url) or (url.endswith("/robots.txt") and self.covers_host(host))

    def covers_host(self, host: str) -> bool:
        """Whether a host has to go, or nothing is left of it."""
        return self.question.cover_host(host) or (bool(self.emptied) and hidden(host) in self.emptied)
