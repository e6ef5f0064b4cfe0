"""The log of pending commits: rewritten shards whose renaming was decided and not yet done, to finish after a kill.

Choice: a note beside the receipts, written once the new files are on disk, says under which names they wait and which
receipt is to describe them; whoever comes next gives them their names. Cost: one small file a rewrite, for a moment.
Alternative: as for a shard that is made anew, whose old receipt goes first: cut short there, it has to be made again.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from pipeline.shards import layout, storage
from pipeline.shards.outcomes import IntegrityError

SUFFIX = ".pending"


class Pending(msgspec.Struct, frozen=True):
    """The receipt that is to come, and of each file, by its name, the name under which it waits."""

    receipt: bytes
    parts: dict[str, str]


def note(receipt: Path, data: bytes, names: list[str]) -> Path:
    """Decide: from now on the files that wait under these names are the shard's, and `data` its receipt; the note."""
    folder = layout.artefact_of(receipt)
    parts = {name: storage.part_of(layout.file_of(folder, name)).name for name in names}
    path = receipt.with_suffix(SUFFIX)
    storage.write_bytes(path, msgspec.json.encode(Pending(data, parts)))
    return path


def finish(root: Path) -> None:
    """Do what was decided and not done below a working directory. Raises IntegrityError: a note cannot be read."""
    for path in layout.receipts_below(root, f"*{SUFFIX}"):
        try:
            found = msgspec.json.decode(storage.read_bytes(path), type=Pending)
        except msgspec.MsgspecError as error:
            raise IntegrityError(f"{path}: cannot be read ({error}); delete it, and build again") from None
        for name, part in found.parts.items():
            whole = layout.file_of(layout.artefact_of(path), name)
            if whole.with_name(part).exists():
                whole.with_name(part).replace(whole)
                storage.sync_folder(whole.parent)
        storage.write_bytes(path.with_suffix(".json"), found.receipt)
        path.unlink()
