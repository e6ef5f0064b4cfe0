"""Parcels that cross in files: what a shuffle in memory would hold at several times its bytes.

Choice: a scatter writes its parcels into one file a bundle, and where each lies is all that crosses. Cost: a byte is
written and read once. Alternative: Beam's in-process shuffle, which holds 5 to 6 times the bytes that cross.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.shards.crossing import Keyed, Parcel, Parcels
from pipeline.shards.outcomes import IntegrityError
from pipeline.shards.storage import PART, refused


@dataclass(frozen=True)
class Spill:
    """A scatter whose parcels go into a file a bundle; what crosses is where each lies: file, offset, length."""

    scatter: Callable[[int], Iterator[Parcel]]
    folder: Path

    def __call__(self, bundle: int) -> Iterator[Parcel]:
        path = (
            self.folder / f".{uuid.uuid4().hex}{PART}"
        )  # named as what a killed run leaves, so that a build sweeps it
        try:
            with path.open("wb") as file:
                for lane, parcel in self.scatter(bundle):
                    location = json.dumps([path.name, file.tell(), len(parcel)]).encode()
                    file.write(parcel)
                    yield lane, location
        except OSError as error:
            raise refused(path, error) from error


@dataclass(frozen=True)
class Unspill:
    """A gather of what `Spill` sent: it reads one parcel at a time."""

    gather: Callable[[Keyed], None]
    folder: Path

    def __call__(self, keyed: Keyed) -> None:
        lane, locations = keyed
        self.gather((lane, Spilled(self.folder, Parcels(locations))))


@dataclass(frozen=True)
class Spilled:
    """The parcels that lie at these locations in files, read anew each time they are gone through."""

    folder: Path
    locations: Iterable[bytes]

    def __iter__(self) -> Iterator[bytes]:
        return (self.parcel(*json.loads(location)) for location in self.locations)

    def parcel(self, name: str, offset: int, length: int) -> bytes:
        """One parcel. Raises IntegrityError: the file has lost it."""
        with (self.folder / name).open("rb") as file:
            file.seek(offset)
            parcel = file.read(length)
        if len(parcel) != length:
            raise IntegrityError(f"{self.folder / name}: cut off below {offset + length} bytes while rows crossed")
        return parcel
