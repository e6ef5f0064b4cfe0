"""Local worker processes that end when they should: with their parent, and not without its knowledge.

Choice: a lifeline, a file that the parent keeps locked and every worker waits for, so that a worker ends the moment
its parent is gone or gives up, however that comes about; and a watch on the threads in which Beam waits for its
workers. Cost: a thread in each process. Alternative: Beam's own care, which waits for ever for a worker that was
killed (by the system, say, when memory ran out), and whose workers print a traceback each when their parent goes.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import os
import queue
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.shards.outcomes import WorkerError
from pipeline.shards.storage import PART

WAITER = "run_worker"  # how Beam names the thread that waits for a worker process
LATE_S = 2.0  # most that is waited for those after their workers
PR_SET_PDEATHSIG = 1  # prctl(2)
READERS = ("beam_control_read", "read_grpc_client_inputs")  # and those that listen to it, and fail when it is gone


@contextmanager
def lifeline(folder: Path | None) -> Iterator[Path]:
    """A file that is locked while the block lasts; when it ends, or this process does, workers holding on to it end.

    It lies in `folder` (None: the system's for temporary files), named as what a killed run leaves and a build sweeps.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with unheard(), tempfile.NamedTemporaryFile(prefix=".lifeline-", suffix=PART, dir=folder) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield Path(file.name)


@contextmanager
def unheard() -> Iterator[None]:
    """Let the threads that listen to workers fail unheard in the block, and for LATE_S after it, with the workers."""
    others = threading.excepthook

    def failed(failure: threading.ExceptHookArgs) -> None:
        if failure.thread is None or failure.thread.name not in READERS:
            others(failure)

    threading.excepthook = failed
    try:
        yield
    finally:
        until = time.monotonic() + LATE_S
        for thread in threading.enumerate():
            if thread.name in READERS:
                thread.join(max(0.0, until - time.monotonic()))
        threading.excepthook = others


def command(line: Path, main: str) -> str:
    """What a shell runs to start a worker on a lifeline: this Python, then the statement `main`.

    The shell ignores an interrupt for it, which is the parent's to act on, from before Python begins.
    """
    quiet = logging.root.manager.disable >= logging.ERROR  # as the command line sets it without --debug
    code = f"from pipeline.shards.workers import hold; hold({str(line)!r}, {quiet}); {main}"
    return "trap '' INT; exec " + shlex.join(python(code))


def python(code: str) -> list[str]:
    """The command line of a child that runs `code` in this Python, with these very packages.

    -P keeps the current folder off the import path. A user's own folder named `pipeline` may be on it all the same, by
    PYTHONPATH; and ours may not be, where the parent came by them in another way.
    """
    home = str(Path(__file__).resolve().parents[2])
    ours = f"sys.path.insert(0, {home!r}); import webtext; sys.path.append(sys.path.pop(0)); webtext.claim()"
    return [sys.executable, "-P", "-c", f"import sys; {ours}; {code}"]


def hold(line: str, quiet: bool) -> None:
    """In a worker: end with the lifeline; `quiet`: what it says, the parent hears."""
    if quiet:  # a failure travels to the parent as a value; Beam's log of it, hundreds of lines, would come on top
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    die_with_parent()
    threading.Thread(target=end_with, args=(line,), daemon=True).start()


def die_with_parent() -> None:
    """Let the system kill this process the moment its parent is gone, also in native code; only Linux does."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with(line: str) -> None:
    """Wait for the lifeline's lock, which is to be had only when nobody needs this process any more."""
    try:
        with Path(line).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
    except FileNotFoundError:  # the parent was quicker
        pass
    os._exit(0)


def watched(run: Callable[[], None]) -> None:
    """Call `run`, which starts workers and waits for them; what it raises is raised.

    Raises WorkerError as soon as a worker process dies: `run`, which would wait for ever, is left behind in its thread.
    """
    ends: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    others = threading.excepthook

    def thread_failed(failure: threading.ExceptHookArgs) -> None:
        name = failure.thread.name if failure.thread is not None else ""
        if name == WAITER:
            ends.put(died(failure.exc_value))
        elif name not in READERS:
            others(failure)

    def body() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, whatever it is
            ends.put(error)
        else:
            ends.put(None)

    threading.excepthook = thread_failed
    try:
        threading.Thread(target=body, daemon=True).start()
        end = ends.get()
    finally:
        threading.excepthook = others
    if end is not None:
        raise end


def hush() -> None:
    """From now on threads of workers within this process (LOOPBACK) say nothing of an engine that has hung up.

    It does so when a job is over, and why one failed the engine itself says.
    """
    others = threading.excepthook
    if getattr(others, "hushed", False):
        return

    def thread_failed(failure: threading.ExceptHookArgs) -> None:
        if not hasattr(failure.exc_value, "details"):  # of what gRPC raises
            others(failure)

    thread_failed.hushed = True  # type: ignore[attr-defined]
    threading.excepthook = thread_failed


def died(how: BaseException | None) -> WorkerError:
    """The one line for a worker process that is gone; Beam's error ends in its exit code."""
    code = str(how).rpartition(" ")[2]
    why = " (killed: most likely the memory ran out)" if code == "-9" else ""
    return WorkerError(
        f"a worker process ended with exit code {code}{why}; finished shards are kept: run the same command again, "
        "with --set build.workers=1 if it ends so again"
    )
