"""An export as a repository of the Hugging Face hub: a data set, or a model.

Choice: what is pushed is a folder that `export` wrote, whole by its own sha256, in one commit with `huggingface_hub`;
what the hub has already is told by its sha256 and neither read nor sent, so that a push that was cut short goes on
where it was. Cost: the export has to lie on this machine. Alternative: shards straight from the working directory, of
which nobody could tell later what was shared.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from pipeline.shards import progress, storage
from pipeline.shards.outcomes import ConfigError, IntegrityError, OutageError, StorageError
from pipeline.verbs.export.card import CARD
from pipeline.verbs.export.folder import ABOUT

MODELS = ("hf", "gguf")  # formats of an export that is a model; the others are data sets
GIVEN = {".gitattributes", CARD}  # what a new repository may hold


@dataclass(frozen=True)
class Pushed:
    """What a push sent, or would send: names of files with their bytes, and names that go."""

    kind: str  # "dataset" or "model"
    sent: dict[str, int]
    deleted: list[str]
    same: int  # files that the hub had already
    asked: bool = True  # whether the hub said so; else it could not be reached


def push(folder: Path, repo: str, private: bool = False, dry_run: bool = False) -> Pushed:
    """Make the repository `owner/name` hold what the export in `folder` holds, and create it where there is none.

    Files that an earlier push put there and this export lacks are deleted; others stay. Raises ConfigError: no export,
    no right to write, or a repository that holds something else, or is public where `private` is asked. IntegrityError:
    a file is not as it was exported. OutageError: the hub cannot be reached. StorageError: it refuses.

    Of a dry run without a network the answer is that of a repository which holds nothing yet.
    """
    if "/" not in repo:  # the hub's library takes it for a repository that is nobody's
        raise ConfigError(f"{repo}: no owner; expected OWNER/NAME")
    about = read_about(folder)
    kind = "model" if about["format"] in MODELS else "dataset"
    names = verified(folder, about)
    sizes = {name: (folder / name).stat().st_size for name in names}
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="webtext")
    with asking(repo), progress.phase("push"):
        try:
            there = held(api, repo, kind, private)
        except (httpx2.HTTPError, OSError) as error:
            if not dry_run or isinstance(error, HfHubHTTPError):
                raise
            return Pushed(kind, sizes, [], 0, asked=False)
        if there and ABOUT not in there and set(there) - GIVEN:
            raise ConfigError(f"{repo}: holds {min(set(there) - GIVEN)}, and no export; name another repository")
        before = earlier(api, repo, kind) if there and ABOUT in there else set()
        sent = {name: sizes[name] for name in names if not same(folder / name, names[name], there)}
        deleted = sorted((before - set(names)) & set(there or ()))
        if not dry_run and (sent or deleted):
            if there is None:
                api.create_repo(repo, repo_type=kind, private=private or None, exist_ok=True)
            add = [CommitOperationAdd(name, folder / name) for name in sent]
            drop = [CommitOperationDelete(name) for name in deleted]
            api.create_commit(repo, [*add, *drop], commit_message="webtext push", repo_type=kind)
    return Pushed(kind, sent, deleted, len(names) - len(sent))


def read_about(folder: Path) -> dict[str, Any]:
    """What an export says of itself. Raises ConfigError: there is none."""
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
        return {"format": about["format"], "files": about["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{folder}: no export; run: webtext export --format parquet --out shared, then push with --from shared"
        ) from None


def verified(folder: Path, about: dict[str, Any]) -> dict[str, str]:
    """Name to sha256 of every file of an export. Raises IntegrityError: one is not as it was exported."""
    names = {name: str(stamp["sha256"]) for name, stamp in about["files"].items()}
    sizes = sum(int(stamp["bytes"]) for stamp in about["files"].values())
    with progress.phase("push: checking", sizes, progress.BYTES):
        refuse_changed(folder, names)
    return names | {ABOUT: storage.sha256_of(folder / ABOUT)}


def refuse_changed(folder: Path, names: Mapping[str, str]) -> None:
    """Raise IntegrityError: a file of an export is not as it was exported."""
    for name, sha256 in names.items():
        path = folder / name
        if not path.is_file() or storage.sha256_of(path) != sha256:
            raise IntegrityError(f"{path}: is not as it was exported; export it again with --force")


def held(api: HfApi, repo: str, kind: str, private: bool) -> dict[str, Any] | None:
    """The files of a repository by name; None where there is none. Raises ConfigError: public, against `private`."""
    try:
        if private and not api.repo_info(repo, repo_type=kind).private:
            raise ConfigError(f"{repo}: is public; make it private on the hub, or name another repository")
        return {
            entry.path: entry
            for entry in api.list_repo_tree(repo, recursive=True, repo_type=kind)
            if hasattr(entry, "blob_id")
        }
    except RepositoryNotFoundError:
        return None
    except EntryNotFoundError:  # no commit yet
        return {}


def earlier(api: HfApi, repo: str, kind: str) -> set[str]:
    """The files that the export there names."""
    with tempfile.TemporaryDirectory() as folder:
        path = api.hf_hub_download(repo, ABOUT, repo_type=kind, local_dir=folder)
        try:
            return set(json.loads(Path(path).read_bytes())["files"])
        except (ValueError, KeyError, TypeError):
            return set()


def same(path: Path, sha256: str, there: dict[str, Any] | None) -> bool:
    """Whether the hub has a file already: a large one it knows by sha256, a small one by git's hash of a blob."""
    entry = (there or {}).get(path.name)
    if entry is None:
        return False
    if entry.lfs is not None:
        return bool(entry.lfs.sha256 == sha256)
    data = path.read_bytes() if path.stat().st_size == entry.size else None
    return data is not None and entry.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def asking(repo: str) -> Iterator[None]:
    """Say in one line what the hub refuses; nothing of a request, so no token, is in it."""
    try:
        yield
    except HFValidationError:
        raise ConfigError(f"{repo}: no name of a repository; expected OWNER/NAME") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise ConfigError(f"{repo}: you may not write there; run: hf auth login, or set HF_TOKEN") from None
        raise StorageError(
            f"{repo}: the hub answers {status}; run the same command again, it goes on from here"
        ) from None
    except (httpx2.HTTPError, OSError) as error:
        raise OutageError(
            f"{repo}: the hub cannot be reached ({type(error).__name__}); run the same command again"
        ) from None
