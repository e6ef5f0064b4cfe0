"""The trained model: as a folder of transformers, or as the one file that llama.cpp reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Settings
from pipeline.shards import storage
from pipeline.shards.receipts import Artefact
from pipeline.verbs.export.folder import Export

if TYPE_CHECKING:
    from trainer.checkpoint import Checkpoint


def export_hf(root: Path, _settings: Settings, made: Export) -> None:
    """The newest whole checkpoint with its tokenizer, as `transformers` and lm-eval load them."""
    from trainer.export import write_hf  # noqa: PLC0415 - torch, an extra, and 2 s to import

    export_model(root, made, write_hf)


def export_gguf(root: Path, _settings: Settings, made: Export) -> None:
    """The same in one file, as llama.cpp, Ollama and LM Studio open it."""
    from trainer.gguf import write_gguf  # noqa: PLC0415 - the same

    export_model(root, made, write_gguf)


def export_model(root: Path, made: Export, write: Callable[[Checkpoint, Path, Path], None]) -> None:
    """Fill the export by `write`, which gets a checkpoint, the file of its tokenizer, and the folder."""
    from trainer.checkpoint import stamp_of, trained  # noqa: PLC0415 - the same

    tokenizer = Artefact(root, "tokenizer", 1)
    checkpoint, made.notes = trained(root / "model")
    try:
        write(checkpoint, tokenizer.whole("tokenizer.json"), made.folder)
    except OSError as error:
        raise storage.refused(Path(error.filename or made.folder), error) from error
    for path in sorted(made.folder.iterdir()):
        if path.name != storage.LOCK:
            storage.sync_folder(path)  # fsync of a file opened to read is the same call
            made.files[path.name] = stamp_of(path)
    made.about = {"step": checkpoint.record.step, "tokenizer_sha256": tokenizer.hashes(0)["tokenizer.json"]}
