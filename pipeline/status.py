"""Artefact status, what a build would do now with each: the one answer that all verbs give, use and refuse by.

Choice: each stage is asked by its own code, which stops where it would begin to work (`receipts.looking`); so no second
list of what decides an artefact can disagree with the first. Cost: whoever asks imports all stages (a second), and
reads an input file that has changed since it was last read. Alternative: manifests alone, which know what an artefact
was made from, and not what the config, the inputs and this version say today.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pipeline.build import STAGES, artefact, same_shards
from pipeline.config import Settings, slice_of
from pipeline.shards import receipts, removals, transfer
from pipeline.shards.outcomes import IntegrityError, StaleError, WebTextError
from pipeline.shards.receipts import Artefact, Manifest, Undone

REMOVED = "a document was removed since"
VERB = dict.fromkeys(("links", "pages", "documents", "tokens"), "were")


class ArtefactStatus(NamedTuple):
    """How far an artefact is. `manifest`: only while it is whole, so that nothing old is shown as today's.

    `state`: "not made", "partly made", "damaged" (a file is gone or has another length), "stale" (a build would make it
    anew) or "whole" (a build would do nothing); `why`: of the last but one and two, in words.
    """

    done: int  # shards made
    shards: int
    manifest: Manifest | None
    state: str
    why: str = ""


def status_of(root: Path, settings: Settings) -> dict[str, ArtefactStatus]:
    """What a build with these settings would do now, of each stage's artefact, in order.

    Raises ConfigError: begun with another number of shards.
    """
    root, shards = root.absolute(), settings.build.shards
    first = ""  # that would be made anew
    with transfer.looking(root):
        found = {}
        for stage, status in records(root, shards).items():
            found[stage] = status
            if status.state in ("whole", "stale"):
                removed = f": {REMOVED}" if first and found[first].why == REMOVED else ""
                why = f"{first} would be made anew{removed}" if first else reason(root, settings, stage, status.why)
                manifest = None if why else artefact(root, stage, shards).manifest()
                found[stage] = status._replace(state="stale" if why else "whole", why=why, manifest=manifest)
            first = first or (stage if found[stage].state != "whole" else "")
    return found


def recorded(root: Path, shards: int) -> dict[str, ArtefactStatus]:
    """What the artefacts say of themselves: whole is what was made to its end, from what stands today.

    Whatever the config and the inputs say by now: for who shows or takes artefacts as they are. Raises ConfigError.
    """
    with transfer.looking(root.absolute()):
        return records(root, shards)


def records(root: Path, shards: int) -> dict[str, ArtefactStatus]:
    """The same, asked file by file."""
    same_shards(root, shards)
    found: dict[str, ArtefactStatus] = {}
    for stage in STAGES:
        made, why = artefact(root, stage, shards), ""
        try:
            manifest = made.manifest()
            if manifest is None:
                state = "partly made" if made.done() else "not made"
            elif gone := [name for name, stamp in manifest.files.items() if not made.holds({name: stamp})]:
                state, why = "damaged", f"{gone[0]} is gone, or of another length"
            elif anew := [name for name in manifest.made_from if not is_from(root, name, found, manifest)]:
                state, why = "stale", f"{anew[0]} {VERB.get(anew[0], 'was')} made anew"
            else:
                state = "whole"
        except IntegrityError as error:
            manifest, state, why = None, "damaged", str(error)
        found[stage] = ArtefactStatus(made.done(), made.shards, manifest if state == "whole" else None, state, why)
    return found


def is_from(root: Path, name: str, found: dict[str, ArtefactStatus], manifest: Manifest) -> bool:
    """Whether an artefact stands as it was when that of a manifest was made from it."""
    source = found[name]
    return source.manifest is not None and manifest.made_from[name] == Artefact(root, name, source.shards).fingerprint()


class Nobody:
    """A run that works for nobody: stages that only look have nothing for it to do."""

    def map_shards(self, function: Any, tasks: Sequence[Any], heavy: bool = False) -> None:  # noqa: ARG002
        assert not tasks

    def exchange(self, scatter: Any, sources: Any, gather: Any, targets: Any, heavy: bool = False) -> None:  # noqa: ARG002
        assert not targets

    def export(self, query: str, schema: Any, folder: Path) -> None:  # noqa: ARG002
        raise AssertionError


def reason(root: Path, settings: Settings, stage: str, known: str = "") -> str:
    """Why a build would make an artefact anew, or could not; "": it would do nothing. `known`: what may be why."""
    try:
        with receipts.looking():
            importlib.import_module(f"pipeline.{stage}").stage(settings, root, Nobody())
    except Undone as undone:
        made = "" if undone.artefact.name == stage else f"{undone.artefact.name} has to be made: "
        manifest = artefact(root, stage, settings.build.shards).manifest()
        changed = next(changes(manifest, settings, stage), "") if manifest else ""
        if not changed and is_for_removal(root, settings, stage, undone):
            return REMOVED
        return changed or known or f"{made}an input or a setting has changed, or this version makes it otherwise"
    except WebTextError as error:
        return str(error).partition("\n")[0]
    return ""


def is_for_removal(root: Path, settings: Settings, stage: str, undone: Undone) -> bool:
    """Whether what a stage would make next would stand if some of the last removals had not been."""
    before: dict[str, str] = {}
    for path in reversed(removals.paths(root)):
        before |= {change.sha256_after: change.sha256_before for change in removals.read(path).changes}
        try:
            with receipts.looking(), receipts.as_before(before):
                importlib.import_module(f"pipeline.{stage}").stage(settings, root, Nobody())
        except Undone as other:
            if other.artefact.name == undone.artefact.name:
                continue
        return True
    return False


def without_removals(found: dict[str, ArtefactStatus], lying: dict[str, ArtefactStatus]) -> dict[str, ArtefactStatus]:
    """The same, with the manifests of what is stale for a removal alone: their rows are right, it took out its own."""
    return {
        stage: status._replace(manifest=status.manifest or (lying[stage].manifest if REMOVED in status.why else None))
        for stage, status in found.items()
    }


def altered(root: Path, settings: Settings) -> dict[str, str]:
    """Of each stage that stands, what is not as it was when it was made, of its settings and libraries: the first."""
    found = {}
    for stage in STAGES:
        with suppress(IntegrityError):  # said by who reads it to build
            manifest = artefact(root.absolute(), stage, settings.build.shards).manifest()
            if manifest is not None and (changed := next(changes(manifest, settings, stage), "")):
                found[stage] = changed
    return found


def changes(manifest: Manifest, settings: Settings, stage: str) -> Iterator[str]:
    """What is not as it was when an artefact was made, among its own settings and the libraries it needs."""
    now = msgspec.json.decode(msgspec.json.encode(slice_of(getattr(settings, stage))))  # as manifests hold them
    for name, value in now.items():
        before = manifest.settings.get(name, value)
        if isinstance(value, dict):  # pages.local_hosts: the names decide
            if manifest.settings.get(name, []) != receipts.veiled(value):
                yield f"{stage}.{name} has other names"
        elif before != value:
            yield f"{stage}.{name} is {value!r}, and was {before!r}"
    for library, before in manifest.versions.items():
        try:
            value = receipts.versions([library])[library]
        except importlib.metadata.PackageNotFoundError:
            value = "not installed"
        if value != before:
            yield f"{library} is {value}, and was {before}"


def check(root: Path, settings: Settings, stages: Iterable[str], stale: bool = False) -> Iterator[str]:
    """Raise StaleError unless artefacts, as far as they are made, are what a build would make now.

    Yields what is to be said of those that are taken as they are: because `stale` means it, or because what they were
    made from is not here, as on a machine that they were copied to.
    """
    found = status_of(root, settings)
    for stage in stages:
        status = found[stage]
        if status.state not in ("stale", "damaged"):
            continue
        is_, it, it_is = ("is", "it", "it is") if stage in ("corpus", "tokenizer") else ("are", "them", "they are")
        state = f"{stage} {is_} {status.state}: {status.why}"
        manifest = artefact(root.absolute(), stage, settings.build.shards).manifest()
        apart = [name for name in (manifest.made_from if manifest else ()) if found[name].state == "not made"]
        if stale or (apart and status.state == "stale"):
            yield f"{state}; taken as {it_is}" if stale else f"{apart[0]} is not here to compare {stage} with"
        else:
            raise StaleError(f"{state}; run 'webtext build {stage}', or take {it} as {it_is} with --stale")
