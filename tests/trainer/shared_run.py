"""One process of a training that torchrun shares out: ROOT OUT SETTINGS (JSON) [ALLOWED ...]."""

import json
import sys
from pathlib import Path

from tests.trainer.runs import settings_with
from trainer.train import train

if __name__ == "__main__":
    root, out, changes, *allow = sys.argv[1:]
    train(settings_with(**json.loads(changes)), Path(root), Path(out), lambda _: None, allow=tuple(allow))
