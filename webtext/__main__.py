"""The command: `webtext`, or `python -m webtext`, in any folder, whatever the modules there are named.

Choice: the folder that `-m` puts first on the import path is taken off it, here and, by PYTHONSAFEPATH (Python 3.11),
in every Python that is started from here: torch's compiler and Beam start some by `-m` and `-c`. Cost: a module of the
current folder cannot be imported; the command never does. Alternative: `python -P -m webtext`, which nobody types.
"""

from __future__ import annotations

import os
import sys

from webtext import claim


def main() -> None:
    """Run the command."""
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    claim()
    from pipeline.__main__ import main as command  # noqa: PLC0415 - only now it is the right one

    command()


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]
    main()
