"""A real build that kills itself with SIGKILL at its n-th fsync or rename: `python killed_build.py FOLDER N [SET…]`.

N = 0 never kills. On an object store (`s3://…`) every run finds that the one before it ended an hour ago.
Counting system calls makes every point reachable and repeatable; a timer would make neither.
"""

import os
import signal
import sys
from pathlib import Path

from pipeline import build, config
from pipeline.shards import storage, transfer
from pipeline.shards.locations import mirror

CALLS = {"left": 0}


def counted(call):
    """`call`, but the process dies before the n-th one."""

    def dying(*arguments, **options):
        CALLS["left"] -= 1
        if CALLS["left"] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)

    return dying


if __name__ == "__main__":
    folder, CALLS["left"], now = mirror(Path(sys.argv[1])), int(sys.argv[2]), transfer.now
    transfer.now = lambda root: now(root) + 3600
    os.fsync, os.replace = counted(os.fsync), counted(os.replace)
    build.build(folder, config.load(storage.local(folder / config.FILE_NAME), sys.argv[3:]))
