"""What the machine that works has: its memory, as far as a container lets this process have it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # a container's limit, v2 and v1


def memory_bytes() -> int:
    """Bytes of memory: the machine's, or fewer if a container is limited to them."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CGROUPS:
        with suppress(OSError, ValueError):  # no such file; "max", which is no number
            found.append(int(Path(path).read_text()))
    return min(found)
