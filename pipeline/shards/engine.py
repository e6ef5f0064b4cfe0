"""A job on somebody else's engine (Flink, Spark): how wide it runs, whether anybody works on it, why it failed.

Choice: what an engine does not tell is learnt from the job specification, a file that every worker opens: who has
opened it has begun, and once it is gone nobody goes on. So a job ends with the command that wanted it, whatever Beam's
`cancel` does (with Flink it answers CANCELLED and lets a batch job run on). Cost: a small file a worker process, and a
look every few seconds while it works. Alternative: the engine's own API, another one for each.
"""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.shards.jobs import JobRef
from pipeline.shards.outcomes import ConfigError, EngineError
from pipeline.shards.reach import CONNECT_S

NO_WORKER_S = 60.0  # after which a person is told that nobody works: several times what starting workers takes
WATCHER = "webtext: has a worker begun?"
LOOK_S = 0.5  # between two looks whether a worker has begun
LOCAL = "FnApiRunner"  # the one that ends with this process
WIDE = ("FlinkRunner", "PortableRunner")  # whose job services take --parallelism, and without it set 1
CLASSES = re.compile(r"^(?:[\w$]+\.)+[\w$]+: ")  # what Java puts before a message
FAILED = re.compile(
    r"(?:Pipeline \S+ failed in state|Dataflow pipeline failed. State:) (\w+)(?:: |, Error:\s*)(.*)", re.S
)
TRACEBACK = "Traceback (most recent call last)"


# --- how wide


def widened(runner: str, options: Sequence[str], workers: int) -> tuple[tuple[str, ...], str]:
    """Beam's options with a parallelism, and a line that tells it: the cluster's slots, or else `workers`.

    Beam's job service for Flink sets 1 where none is named, whatever the cluster's own default is
    (apache_beam 2.77; org.apache.beam.runners.flink.FlinkExecutionEnvironments). Options of other runners, and those
    that name a parallelism, come back as they are.
    """
    given = tuple(options)
    if runner not in WIDE:
        return given, ""
    named = value_of(given, "parallelism")
    if named:
        return given, f"{runner}: {named} tasks at a time (--parallelism)"
    slots = free_slots(value_of(given, "flink_master")) if runner == "FlinkRunner" else 0
    source = "as many as the cluster has free slots" if slots else "build.workers; --parallelism=N says otherwise"
    wide = slots or workers
    return (*given, f"--parallelism={wide}"), f"{runner}: {wide} task{'s' * (wide != 1)} at a time ({source})"


def at_once(options: Sequence[str]) -> int | None:
    """How many tasks an engine does at a time, as Beam's options have it; None: they do not say."""
    for name in ("parallelism", "max_num_workers", "num_workers"):
        value = value_of(options, name)
        if value.isdecimal() and int(value):
            return int(value)
    return None


def value_of(options: Sequence[str], name: str) -> str:
    """The value of an option, in one word or two; "" where it does not stand."""
    for at, word in enumerate(options):
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
        if word == f"--{name}" and at + 1 < len(options):
            return options[at + 1]
    return ""


def free_slots(master: str) -> int:
    """How many slots of a Flink cluster are free, by its REST API (GET /overview); 0: it can not be asked."""
    if not master or master.startswith("["):  # [local], [auto]: a Flink that Beam starts itself
        return 0
    url = f"{master if '://' in master else f'http://{master}'}/overview"
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_S) as answer:
            return int(json.load(answer)["slots-available"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


# --- whether anybody works on it


@contextmanager
def watching(job: JobRef | None, last_word: Callable[[], str], noted: Callable[[str], None]) -> Iterator[list[float]]:
    """While the block lasts: once nobody elsewhere has begun for NO_WORKER_S, tell `noted`.

    `last_word`: the engine's, asked for then. What the block gets is when a worker began, once one has, by the
    monotonic clock.
    """
    begun: list[float] = []
    if job is None or not job.elsewhere:
        yield begun
        return
    over, since = threading.Event(), time.monotonic()

    def watch() -> None:
        told = False
        while not over.wait(LOOK_S):
            if job.begun:
                begun.append(time.monotonic())
                return
            if not told and time.monotonic() - since >= NO_WORKER_S:
                told = True
                noted(
                    f"no worker has begun after {NO_WORKER_S:.0f} s; is there a pool of workers, with this package and "
                    f"version, that the engine can reach? The engine's last word: {last_word() or 'none'}"
                )

    thread = threading.Thread(target=watch, name=WATCHER, daemon=True)
    thread.start()
    try:
        yield begun
    finally:
        over.set()
        thread.join()


def cost(runner: str, name: str, took_s: float, start_s: float | None) -> str:
    """What is said of a job that is done: how long it took, and how long of that nobody worked on it yet."""
    started = "" if start_s is None else f", of which {start_s:.0f} s until a worker began"
    return f"{runner}: {name}: {took_s:.0f} s{started}"


def last_message(result: Any) -> str:
    """The last line that a job service has sent of a job; "" if none."""
    messages = [message.message_response.message_text for message in getattr(result, "_messages", ())]
    return next((first_line(text) for text in reversed(messages) if text.strip()), "")


# --- why it failed


def failure(runner: str, error: BaseException) -> EngineError | None:
    """What a person is told of a job that the engine gave up; None: the failure is of our own code."""
    text = str(error)
    if TRACEBACK in text:
        return None
    if hasattr(error, "details"):  # of what gRPC raises
        reason = f"its job service went away ({first_line(str(error.details() or 'no answer'))})"
    elif found := FAILED.match(text):
        ended = "was cancelled there" if found[1] == "CANCELLED" else f"ended as {found[1]}"
        reason = f"the job {ended}: {first_line(found[2])}"
    else:
        return None
    cure = "run the same command again"
    if "Flink" in runner or "flink" in text:
        cure += " (how often Flink itself begins a batch job again is its cluster's restart-strategy)"
    return EngineError(f"{runner}: {reason}; nothing that was made is lost: {cure}")


def first_line(text: str) -> str:
    """The first line of an engine's message, without the names of classes before it."""
    line = text.strip().partition("\n")[0].strip()
    while found := CLASSES.match(line):
        line = line[found.end() :]
    return line.rstrip(".")


def refused(runner: str, error: Exception) -> ConfigError:
    """What a person is told of a job that a service did not take, in its own words."""
    details = getattr(error, "details", str)  # of what gRPC raises
    reason = str(details() or error or type(error).__name__).strip().partition("\n")[0]
    return ConfigError(f"{runner}: the job was not taken: {reason}")
