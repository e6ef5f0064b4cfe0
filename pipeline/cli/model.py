"""The verbs of the model and of the vocabulary: train, sample, fertility."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipeline import config
from pipeline.cli.console import err, out
from pipeline.cli.options import Folder, Sets, Stale, current, needing, settings_of
from pipeline.cli.progress import watching_training
from pipeline.shards import storage
from pipeline.shards.outcomes import ConfigError


def train(
    folder: Folder = Path(),
    sets: Sets = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; the old run is moved aside, not deleted.")
    ] = False,
    allow: Annotated[
        str, typer.Option(help="Fields that may differ from the stopped run's, with commas: learning_rate,data …")
    ] = "",
    stale: Stale = False,
) -> None:
    """Train GPT-2 on the token shards; the same command goes on with a run that was stopped."""
    settings = settings_of(folder, sets)
    trained(folder, settings, fresh, tuple(name.strip() for name in allow.split(",") if name.strip()), stale)


def trained(
    folder: Path,
    settings: config.Settings,
    fresh: bool = False,
    allow: tuple[str, ...] = (),
    stale: bool = False,
    brief: bool = False,
) -> None:
    """Run the trainer, printing its progress; under torchrun the first process holds the lock and speaks for all.

    `brief`: a bar on a terminal, and a line only where the validation loss was measured.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # busy neighbours cost spinning threads most of their time
    from pipeline.shards import lease
    from trainer import continuation

    continuation.check(settings.train, folder.absolute() / "model", fresh, allow)  # before torch, which takes a while
    with needing("train"):
        from trainer.train import train as run_training
    first = os.environ.get("RANK", "0") == "0"
    with lease.lock(folder) if first else nullcontext():
        if first:
            current(folder, settings, ("tokens",), stale)
        root = folder.absolute()
        with watching_training(settings.train.steps, brief) as report:
            result = run_training(settings.train, root, root / "model", report, fresh, allow)
    if first:
        out.print(f"trained to step {result.step}; checkpoint: {result.checkpoint}")


def untrainable() -> str:
    """What is not installed of what a training needs, and the command that installs it; "" where nothing lacks."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `trained` says
    try:
        with needing("train"):
            import trainer.train  # noqa: F401
    except ConfigError as lacking:
        return str(lacking)
    return ""


def sample(
    prompt: Annotated[str, typer.Argument(help="What the text begins with.")] = "",
    folder: Folder = Path(),
    tokens: Annotated[int, typer.Option(min=1, help="How many tokens at most.")] = 200,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 = always the likeliest token.")] = 0.8,
    top_k: Annotated[int, typer.Option(min=0, help="Among the k likeliest; 0 = off.")] = 50,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Among the likeliest that make up p.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    stale: Stale = False,
) -> None:
    """Write text with the trained model."""
    from pipeline.shards.receipts import Artefact

    if storage.exists(folder / config.FILE_NAME):
        current(folder, settings_of(folder, None), ("tokenizer",), stale)
    with needing("train"):
        from trainer.checkpoint import trained as load_trained
        from trainer.sample import load_tokenizer
        from trainer.sample import sample as pieces
    checkpoint, notes = load_trained(folder / "model")
    for note in notes:
        err.print(f"note: {note}")
    described = Artefact(folder, "tokenizer", 1).whole("tokenizer.json")
    tokenizer = load_tokenizer(described, checkpoint.record.identity["tokenizer"])
    text = pieces(
        checkpoint.model(),
        tokenizer,
        prompt,
        tokens=tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    for number, piece in enumerate(text):
        out.write(piece if number else prompt + piece)
    out.write("\n")


def fertility(
    folder: Folder = Path(),
    beside: Annotated[Path | None, typer.Option(help="Merges of another vocabulary: GPT-2's vocab.bpe.")] = None,
    hosts: Annotated[int, typer.Option(min=0, help="How many hosts to show, those with most text first.")] = 10,
    sets: Sets = None,
    stale: Stale = False,
) -> None:
    """Show how the vocabulary fits the held-out text, by language and host, beside another vocabulary's."""
    from pipeline.verbs.fertility import fertility as groups

    current(folder, settings_of(folder, sets), ("corpus", "tokenizer"), stale)
    names = ["ours", *([beside.resolve().name] if beside else [])]
    table = Table(box=None)
    table.add_column("held-out text", no_wrap=True)
    for title in ("texts", "words", "tokens of", "tokens a word", "bytes a token", "words kept whole"):
        names_a_vocabulary = title == "tokens of"
        table.add_column(title, justify="left" if names_a_vocabulary else "right", no_wrap=names_a_vocabulary)
    for group in groups(folder, beside, hosts):
        for place, name in enumerate(names):
            about = [group.name, f"{group.documents:,}", f"{group.words:,}"] if not place else [""] * 3
            found = (group.tokens_per_word(place), group.bytes_per_token(place), group.words_kept_whole(place))
            table.add_row(*about, name, *("-" if number is None else f"{number:.3f}" for number in found))
    out.print(table, markup=False)
