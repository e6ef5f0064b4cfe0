"""Whether a run can begin, or go on from what stands in its folder, by its settings alone.

Choice: no torch here, so that a run which is refused for its settings is refused within a second, before the model, the
data and torch itself are loaded. Cost: the record of a checkpoint is read twice, here without its weights' sha256.
Alternative: to ask once, when all is loaded, which takes most of a minute on a busy machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipeline.config import TrainSettings, nearest, slice_of
from pipeline.shards.outcomes import ConfigError, TrainingError

RECORD = "checkpoint.json"
# between a run and its continuation: none of these changes what a step does
MAY_CHANGE = ("steps", "eval_every", "eval_batches", "checkpoint_every", "tensorboard", "start_from")


def check(settings: TrainSettings, out: Path, fresh: bool, allow: Sequence[str]) -> None:
    """Raise ConfigError or TrainingError where the settings alone say that a run in `out` cannot begin or go on."""
    check_schedule(settings)
    newest = max(out.glob("step-" + "[0-9]" * 8), default=None)
    if fresh or newest is None:
        return
    try:
        record = msgspec.json.decode((newest / RECORD).read_bytes())["record"]
        step, identity = int(record["step"]), dict(record["identity"])
    except (OSError, ValueError, TypeError, KeyError):
        return  # damaged: who reads it whole says so, and goes back to the one before
    if step:
        differences(
            out, {name: was for name, was in identity.items() if name.startswith("train.")}, of(settings), allow
        )


def check_schedule(settings: TrainSettings) -> None:
    """Raise ConfigError where the rate would only ever rise (Brown et al. 2020, appendix B: warm-up, then decay)."""
    if settings.warmup_steps >= settings.steps and settings.min_learning_rate < settings.learning_rate:
        raise ConfigError(
            f"train.warmup_steps = {settings.warmup_steps} of train.steps = {settings.steps}: the learning rate would "
            f"never fall; set train.warmup_steps to {settings.steps // 10} (a tenth), or lower"
        )


def of(settings: TrainSettings) -> dict[str, Any]:
    """What a run and its continuation must have in common of their settings, by name."""
    return {f"train.{name}": value for name, value in slice_of(settings).items() if name not in MAY_CHANGE}


def differences(out: Path, before: dict[str, Any], now: dict[str, Any], allow: Sequence[str]) -> list[str]:
    """A note for each allowed difference between two identities. Raises TrainingError, naming every other one."""
    was_then = before_there_was(now) | before
    names = sorted(was_then.keys() | now.keys())
    allowed = {f"train.{name}" if f"train.{name}" in names else name for name in allow}
    pairs = [(name, was_then.get(name), now.get(name)) for name in names]
    changed = {name: f"{name} was {was}, is {then}" for name, was, then in pairs if was != then}
    refused = [name for name in changed if name not in allowed]
    if refused:
        fields = ",".join(name.removeprefix("train.") for name in refused)
        raise TrainingError(
            f"{out}: holds a run with other settings: {'; '.join(changed[name] for name in refused)}; set them "
            f"back, mean it with 'webtext train --allow {fields}', or start over with 'webtext train --fresh' "
            "(the old run is set aside)"
        )
    return [f"{change}, as allowed" for change in changed.values()]


def check_allowed(before: dict[str, Any], now: dict[str, Any], allow: Sequence[str]) -> None:
    """Raise ConfigError for a name of `--allow` that no identity has."""
    names = sorted((before_there_was(now) | before).keys() | now.keys())
    known = {*names, *(name.removeprefix("train.") for name in names), "time"}
    for name in sorted(set(allow) - known):
        raise ConfigError(f"--allow {name}: no such field{nearest(name, names)}")


def before_there_was(now: dict[str, Any]) -> dict[str, Any]:
    """The defaults of the settings in an identity: what a checkpoint meant that was written before they existed."""
    return {f"train.{name}": value for name, value in slice_of(TrainSettings()).items() if f"train.{name}" in now}
