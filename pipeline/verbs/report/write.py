"""`webtext report`: the page and the card of a working directory, written where somebody can look at them.

Choice: everything is asked anew from the artefacts, at each call, and nothing of the clock or the machine goes in.
Cost: a scan of the columns that are asked. Alternative: a report that each build keeps up to date, and waits for.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Settings
from pipeline.shards import progress, storage
from pipeline.shards.outcomes import InputError
from pipeline.verbs.report.card import card
from pipeline.verbs.report.page import page
from pipeline.verbs.report.questions import Answers, answers, unmade

__all__ = ["CARD", "PAGE", "report", "unmade"]

PAGE, CARD = "report.html", "README.md"  # the Hub shows a data set's README.md


def report(root: Path, shards: int, out: Path, settings: Settings | None = None) -> Answers:
    """Write `report.html` and `README.md` into `out`; what was asked, for who wants to print it.

    `settings` tell the name of the corpus and those of its inputs. Raises InputError: `root` is no folder.
    IntegrityError: a file of an artefact is not as its receipt says. BusyError: a removal was cut short.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; name a working directory")
    found = answers(root, shards, settings)
    with progress.phase("report: writing"):
        for file, text in ((PAGE, page(found)), (CARD, card(found))):
            storage.write_bytes(out / file, text.encode())
    return found
