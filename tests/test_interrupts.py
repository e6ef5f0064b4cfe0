"""Whatever the main thread does, Ctrl-C, SIGTERM and a lost lease end a command: one line, one code, nobody left."""

import signal
import subprocess
import sys
import textwrap

import pytest

from pipeline.shards import interrupts
from tests.interruptions import REPOSITORY, campaign

FRAME = """
import asyncio, hashlib, os, signal, subprocess, sys, threading, time
from pipeline.shards import interrupts
from pipeline.shards.outcomes import BusyError

interrupts.END_S = 0.2

def begun(word="begun"):
    print(word, flush=True)

def swallow():
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass

async def slow():
    begun()
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(600)

def work():
    {body}

with interrupts.heeded():
    try:
        work()
        sys.exit(0)
    except BaseException as error:
        if ending := interrupts.asked():
            ending.leave()
        raise
"""
NATIVE = "hashlib.pbkdf2_hmac('sha256', b'a', b'b', 2**31 - 1)"  # minutes, without the interpreter's lock
BODIES = {
    "waits": "begun()\ntime.sleep(600)",
    "swallows": "begun()\nswallow()",
    "crawls": "asyncio.run(slow())",
    "computes": f"begun()\n{NATIVE}",
    "waits for a thread": "one = threading.Thread(target=time.sleep, args=[600])\none.start()\nbegun()\none.join()",
    "leaves a thread behind": "begun()\nthreading.Thread(target=time.sleep, args=(600,)).start()\ntime.sleep(600)",
    "wraps": """
begun()
try:
    time.sleep(600)
except BaseException as error:
    raise RuntimeError(f"{error!r} [while running]")""",
    "makes noise": """
begun()
try:
    time.sleep(600)
finally:
    sys.excepthook(ValueError, ValueError("noise"), None)
    os.write(2, b"noise")""",
}  # fmt: skip


def started(body):
    """A command whose work is `body`."""
    code = FRAME.replace("{body}", textwrap.indent(body, "    ").strip())
    return subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True, cwd=REPOSITORY)


def run(body, *signals):
    """(exit code, standard error) of a command that is sent signals once it has begun."""
    running = started(body)
    assert running.stdout.readline() == "begun\n"
    for number in signals:
        running.send_signal(number)
    _, said = running.communicate(timeout=60)
    return running.returncode, said


@pytest.mark.failure(
    "Ctrl-C, or a SIGTERM of the system's", "exit 130 or 143 within two seconds; nothing half is left", "run it again"
)
@pytest.mark.parametrize("doing", BODIES)
def test_ctrl_c_ends_what_the_main_thread_does_with_one_line(doing):
    assert run(BODIES[doing], signal.SIGINT) == (130, "webtext: interrupted; run the same command again to go on\n")


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("doing", ["swallows", "waits"])
def test_sigterm_is_told_from_ctrl_c_once_or_twice(doing, times):
    wanted = (143, "webtext: terminated; run the same command again to go on\n")
    assert run(BODIES[doing], *[signal.SIGTERM] * times) == wanted


def test_what_was_printed_before_is_not_lost():
    running = started(f"print('x' * 70_000 + 'begun')\nos.kill(os.getpid(), signal.SIGINT)\n{NATIVE}")
    said, _ = running.communicate(timeout=60)
    assert (running.returncode, said[-6:]) == (130, "begun\n")


def test_processes_that_were_started_end_too():
    running = started("begun(subprocess.Popen(['sh', '-c', 'sleep 600 & wait']).pid)\ntime.sleep(600)")
    child = int(running.stdout.readline())
    while not interrupts.descendants(child):
        pass
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)  # comes back only when they, too, have let go of the pipe
    assert running.returncode == 143


def test_who_saves_before_it_ends_is_left_alone():
    body = """
asked = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: asked.set())
begun()
while not asked.is_set():
    time.sleep(0.01)
time.sleep(5 * interrupts.END_S)  # saving
sys.exit(75)"""
    assert run(body, signal.SIGTERM) == (75, "")


def test_a_reason_of_our_own_ends_a_command_with_its_line_and_code():
    body = "threading.Timer(0.1, interrupts.stop, (threading.get_ident(), BusyError('the lease is lost'))).start()"
    assert run(f"begun()\n{body}\nswallow()") == (4, "webtext: the lease is lost\n")


EARLY = """
import builtins, signal
from pipeline import __main__ as first

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it, and that stays so
known = builtins.__import__

def imported(name, *more, **named):
    if name == "pipeline.cli.app":
        signal.raise_signal(signal.{name})
    return known(name, *more, **named)

builtins.__import__ = imported
first.main()
"""


@pytest.mark.parametrize(("name", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
def test_a_command_that_is_still_importing_ends_with_one_line(name, code, word):
    program = EARLY.replace("{name}", name)
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, f"webtext: {word}; run the same command again to go on\n")


def test_signals_mean_again_what_they_meant_before():
    before = [signal.getsignal(number) for number in interrupts.WORDS]
    with interrupts.heeded():
        assert interrupts.asked() is None
    assert [signal.getsignal(number) for number in interrupts.WORDS] == before


def test_what_beam_made_of_an_interrupt_is_told_from_other_failures():
    def failure(cause):
        try:
            try:
                raise cause
            except BaseException as error:
                raise RuntimeError("x [while running 'make']") from error
        except RuntimeError as error:
            return error

    assert interrupts.caused(failure(KeyboardInterrupt()))
    assert interrupts.caused(RuntimeError("KeyboardInterrupt [while running 'make']"))
    assert not interrupts.caused(failure(ValueError("a KeyboardInterrupt is a word")))


@pytest.mark.failure("a build is interrupted, in any stage", "exit 130 or 143; its workers end too", "run it again")
def test_real_builds_interrupted_at_some_moments_end_as_promised_and_go_on():
    """A sample; at many moments, and on to the end each time: python -m tests.interruptions."""
    found, _ = campaign(3, seed=7, pages=6, length_s=12)
    assert [one for one in found if one.faults] == []
