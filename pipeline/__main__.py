"""The first of the command to run: Ctrl-C and SIGTERM end it also while it imports, and while Python shuts down.

Choice: handlers that end the process at once, set before anything is imported that takes time; `interrupts` puts its
own in their place while a command works. Cost: a module. Alternative: Python's defaults, a traceback or no word at all
in the first half second.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def main() -> None:
    """Run the command. A signal that whoever started it ignores stays ignored."""
    for number in WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)
    from pipeline.cli.app import main as command  # noqa: PLC0415 - half a second, with the handlers set

    command()


def leave(number: int, _frame: FrameType | None) -> None:
    """End the process as a shell would report the signal; nothing has been begun, or all is done."""
    name = WORDS[signal.Signals(number)]
    os.write(2, f"webtext: {name}; run the same command again to go on\n".encode())
    os._exit(128 + number)


if __name__ == "__main__":
    main()
