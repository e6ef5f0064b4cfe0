"""Signal handling: Ctrl-C, SIGTERM and a lost lease end a command within END_S, wherever its threads are.

Choice: the main thread is interrupted as Python does it, so that whoever holds something lets go of it; a thread of
its own, which the signal wakes by a pipe, ends the process once END_S have passed all the same. That may be done at
any moment, since files appear whole or not at all. From the signal on nothing but one line reaches standard error.
Cost: a thread. Alternative: the exception alone, which Beam turns into errors of its own, which asyncio may wait
behind, and which is lost where it meets a destructor or a library that is deep in native code.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pipeline.shards.outcomes import WebTextError

INTERRUPTED, TERMINATED = 130, 143  # what a shell reports of a process that SIGINT or SIGTERM ended: 128 + 2, + 15
WORDS = {signal.SIGINT: (INTERRUPTED, "interrupted"), signal.SIGTERM: (TERMINATED, "terminated")}
END_S = 1.2  # from the first signal to the end; a second signal ends at once
FLUSH_S = 0.3  # of these two seconds, for what was printed and nobody has read yet


@dataclass
class Ending:
    """How this process is to end: the exit code and the line, once it has been asked to; `errors`: its standard error.

    The first to ask is the one that counts.
    """

    quiet: bool
    code: int = 0
    line: str = ""
    errors: int = field(default_factory=lambda: os.dup(2))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, code: int, line: str) -> None:
        """Note why; from now on nobody else writes to standard error."""
        if not self.line:
            self.code, self.line = code, line
            if self.quiet:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 2)
                os.close(nowhere)

    def leave(self) -> NoReturn:
        """End this process now: what was printed is flushed, the line is written, the terminal shows its cursor."""
        self.lock.acquire()  # for good: one thread leaves
        try:
            flushing = threading.Thread(target=flush, daemon=True)
            flushing.start()
            flushing.join(FLUSH_S)
            clear = "\r\x1b[2K\x1b[?25h" if os.isatty(self.errors) else ""
            os.write(self.errors, f"{clear}webtext: {self.line}\n".encode(errors="backslashreplace"))
            end_descendants()
        finally:
            os._exit(self.code)


_ending: Ending | None = None  # of the command that heeds signals, if this process is one


def again() -> str:
    """What goes on with what was begun: the same command, but for the word that made it start over."""
    return "run the same command again, without --fresh," if "--fresh" in sys.argv else "run the same command again"


def flush() -> None:
    """Hand on what was printed, if somebody reads it."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()


def end_descendants() -> None:
    """Kill what this process started: those that have only begun do not yet look after their parent themselves.

    Each is stopped before it is asked whom it started, so that none is begun meanwhile.
    """
    stopped: set[int] = set()
    while new := set(descendants(os.getpid())) - stopped:
        for pid in new:
            with suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= new
    for pid in stopped:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and that they started, as /proc tells; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208 - as it is, at once
        with suppress(OSError, ValueError, IndexError):
            stat = Path("/proc", name, "stat").read_text(errors="replace")
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))  # proc(5)
    found = [pid]
    for parent in found:  # grows while it is read
        found += children.get(parent, [])
    return found[1:]


def asked() -> Ending | None:
    """How this process is to end, if it heeds signals and has been asked to."""
    return _ending if _ending is not None and _ending.line else None


@contextmanager
def heeded(quiet: bool = True) -> Iterator[None]:
    """Within the block SIGINT and SIGTERM end the process; only from the main thread, elsewhere nothing is changed.

    A verb that sets a handler of its own (the trainer, which saves first) is left alone. `quiet`: see `Ending.ask`.
    """
    global _ending  # noqa: PLW0603 - a process has one end
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _ending = ending = Ending(quiet)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = {number: signal.signal(number, on_signal) for number in WORDS}
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=watch, args=(ending, reader), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)  # which ends the thread
        _ending = None


def on_signal(number: int, _frame: FrameType | None) -> None:
    """The handler: interrupt the main thread, whichever signal it was, unless that is leaving already."""
    note(number)
    if _ending is None or not _ending.lock.locked():
        raise KeyboardInterrupt


def note(number: int) -> None:
    """Note that a signal has come."""
    if _ending is not None:
        code, word = WORDS[signal.Signals(number)]
        _ending.ask(code, f"{word}; {again()} to go on")


def watch(ending: Ending, reader: int) -> None:
    """Wait for a signal that is ours to heed, give the main thread END_S, or until a second one, and leave."""
    while not (number := heard(reader)):
        if number is None:
            os.close(reader)
            return
    note(number)
    select.select([reader], [], [], END_S)
    if _ending is ending:
        ending.leave()


def heard(reader: int) -> int | None:
    """The next signal, 0 if it is not ours to heed; None: there will be no more."""
    data = os.read(reader, 1)
    if not data:
        return None
    return data[0] if data[0] in WORDS and signal.getsignal(data[0]) is on_signal else 0


def stop(thread: int, error: WebTextError) -> None:
    """Raise KeyboardInterrupt in a thread because of `error`, which is what the command ends with.

    The main thread is woken wherever it waits; another one meets it when it next runs Python.
    """
    if _ending is not None:
        _ending.ask(error.exit_code, str(error))
    if thread == threading.main_thread().ident and callable(signal.getsignal(signal.SIGINT)):
        signal.pthread_kill(thread, signal.SIGINT)
    else:
        raise_in(thread, KeyboardInterrupt)


def raise_in(thread: int, kind: type[BaseException]) -> None:
    """Raise an exception without arguments in a thread, where it next runs Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))


def caused(error: BaseException) -> bool:
    """Whether an error is what somebody (Beam, say) made of an interrupt."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt) or str(seen).startswith("KeyboardInterrupt"):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
