"""Sandboxed extraction: a page that hangs, crashes or eats memory costs that page, never the run.

Choice: one persistent child process with its own limits. CPU time is limited by an interval timer whose signal keeps
its default action, so the kernel ends C code too; memory by the address space; a child that sleeps by a generous clock.
A death is tried once more in a fresh child, so that neither load nor a page's predecessors decide an outcome. Cost: two
pipe transfers a page, under 3 % of extraction, and half a second after each death. Alternatives: a Python signal
handler (never runs while C code loops), a thread (cannot be killed), a process a page (half a second each).
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shlex
import signal
import struct
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from pipeline.shards.outcomes import Outcome, WebTextError
from pipeline.shards.workers import die_with_parent, python
from pipeline.text.extract import Extraction, engine_named, extract

WALL = 30  # times the CPU limit, in real time: only for a child that sleeps; a loaded machine stays far below
CHILD = "from pipeline.text.sandbox import serve; serve()"
LENGTH = struct.Struct("<Q")
# What Rust's allocator says before it aborts, and Python's last words when even raising fails.
OUT_OF_MEMORY = (b"memory allocation", b"MemoryError", b"bad_alloc")
NOTHING_FOUND = (Outcome.NO_TEXT, Outcome.EXTRACT_CRASHED)
TIMED_OUT = (-signal.SIGPROF, -signal.SIGALRM)


class Limits(msgspec.Struct, frozen=True):
    """First message to the child: the engine; CPU seconds and address space (bytes) that one page may add."""

    engine: str
    cpu_s: float
    memory_bytes: int


class Page(msgspec.Struct, frozen=True):
    """A page on its way to the child; header and URL as bytes, because headers may hold what is not Unicode."""

    body: bytes
    content_type: bytes
    url: bytes


class Sandbox:
    """Runs `extract` in a child process under limits; use it in a `with` block, from one thread at a time.

    Every page gives an Extraction: what `extract` gives, or extract_timed_out, extract_memory, extract_crashed after
    two deaths. Raises ConfigError for an engine that is unknown or not installed.
    """

    def __init__(self, engine: str, cpu_s: float, memory_bytes: int) -> None:
        engine_named(engine)
        self.limits = Limits(engine, cpu_s, memory_bytes)
        self.child: subprocess.Popen[bytes] | None = None
        self.complaints: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.complaints = tempfile.TemporaryFile("a+b")  # the child appends, whatever the parent reads
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self.complaints:
            self.complaints.close()

    def extract(self, body: bytes, content_type: str, url: str) -> Extraction:
        """The outcome and text of one page; a death of the child is tried once more in a fresh one."""
        page = Page(body, content_type.encode("utf-8", "replace"), url.encode("utf-8", "replace"))
        message = msgspec.msgpack.encode(page)
        outcome = Outcome.EXTRACT_CRASHED
        for _ in range(2):
            if self.child is None:
                self.start()
            reply = self.ask(message)
            if reply:
                extraction = msgspec.msgpack.decode(reply, type=Extraction)
                if extraction.outcome is not Outcome.EXTRACT_MEMORY:
                    return extraction
                outcome = extraction.outcome
            else:
                outcome = self.cause_of_death()
            self.stop()
        return Extraction(outcome, engine=self.limits.engine)

    def ask(self, message: bytes) -> bytes:
        """The child's reply; b"" when it died."""
        assert self.child and self.child.stdin and self.child.stdout, "used outside its with block"
        try:
            send(self.child.stdin, message)
            return receive(self.child.stdout)
        except BrokenPipeError:
            return b""
        except BaseException:
            self.stop()  # interrupted between question and answer: the next page must not get this one's
            raise

    def cause_of_death(self) -> Outcome:
        """The outcome that a dead child's exit status and last words mean."""
        assert self.child
        status = self.child.wait()
        if status in TIMED_OUT:
            return Outcome.EXTRACT_TIMED_OUT
        last_words = self.last_words()
        return Outcome.EXTRACT_MEMORY if any(sign in last_words for sign in OUT_OF_MEMORY) else Outcome.EXTRACT_CRASHED

    def last_words(self) -> bytes:
        """What the child wrote to standard error since the last page began, at most the last 10,000 bytes."""
        assert self.complaints
        size = self.complaints.seek(0, os.SEEK_END)
        self.complaints.seek(max(0, size - 10_000))
        return self.complaints.read()

    def start(self) -> None:
        """Begin a child and wait until it is ready. Raises WebTextError when it does not start."""
        assert self.complaints
        self.complaints.truncate(0)
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(
            python(CHILD), stdin=pipe, stdout=pipe, stderr=self.complaints, start_new_session=True
        )
        if self.ask(msgspec.msgpack.encode(self.limits)) != b"ready":
            lines = self.last_words().decode(errors="replace").strip().splitlines() or ["no message"]
            self.stop()
            raise WebTextError(f"extraction process: does not start: {lines[-1]}; try: {shlex.join(python(CHILD))}")

    def stop(self) -> None:
        """End the child, if there is one: it holds nothing worth keeping."""
        if self.child is None:
            return
        self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe:
                with contextlib.suppress(OSError):  # bytes that the dead child did not read
                    pipe.close()
        self.child = None


def send(pipe: IO[bytes], message: bytes) -> None:
    """Write one message: its length (8 bytes, little-endian), then its bytes."""
    pipe.write(LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def receive(pipe: IO[bytes]) -> bytes:
    """Read one message; b"" when the other side is gone, also in the middle of it."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return b""
    size = LENGTH.unpack(head)[0]
    message = pipe.read(size)
    return message if len(message) == size else b""


# --- the child


def serve() -> None:
    """The child's whole life: take limits, then pages, until the parent closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's business
    die_with_parent()  # not only between two pages
    for deadly in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(deadly, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {deadly})
    questions = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever an engine prints must not stand between two messages
    limits = msgspec.msgpack.decode(receive(questions), type=Limits)
    warm_up(limits.engine)
    much = limit_memory(limits.memory_bytes)
    send(answers, b"ready")
    while message := receive(questions):
        os.ftruncate(2, 0)
        send(answers, answer(message, limits, much))


def warm_up(engine: str) -> None:
    """Import and build what the first page would: a page's limits are for the page alone."""
    extract(b"<html><head><title>A</title></head><body><p>" + b"One page to warm up. " * 20, "", "", engine)
    extract("<p>é “quoted”</p>".encode("cp1252"), "", "", engine)


def limit_memory(memory_bytes: int) -> int:
    """Let the address space grow by `memory_bytes` over what it is now, once for all pages: leaks count too.

    A page that fails in an old child is tried in a fresh one, so only what a fresh child can hold decides. Gives the
    size (bytes) from which shortness of memory is suspected: half of the allowance. Where the system does not tell
    its address space (only Linux does), memory is not limited.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    space = address_space("VmSize")
    if space:
        resource.setrlimit(resource.RLIMIT_AS, (space + memory_bytes, space + memory_bytes))
    return space + memory_bytes // 2


def address_space(field: str) -> int:
    """Bytes of address space: "VmSize" now, "VmPeak" at most so far; 0 where /proc does not tell."""
    status = Path("/proc/self/status")
    found = re.search(rf"{field}:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else 0


def answer(message: bytes, limits: Limits, much: int) -> bytes:
    """The reply to one page, under the timers; EXTRACT_MEMORY asks the parent for a fresh child.

    Engines swallow a MemoryError and then find nothing: nothing found with `much` address space used counts as memory.
    """
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_s)
    signal.setitimer(signal.ITIMER_REAL, WALL * limits.cpu_s)
    try:
        page = msgspec.msgpack.decode(message, type=Page)
        found = extract(page.body, page.content_type.decode(), page.url.decode(), limits.engine)
        if found.outcome in NOTHING_FOUND and address_space("VmPeak") > much > 0:
            raise MemoryError
        reply = msgspec.msgpack.encode(found)
    except MemoryError:
        reply = msgspec.msgpack.encode(Extraction(Outcome.EXTRACT_MEMORY))
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return reply
