"""The demo's working directory: a dump, a small encyclopedia, a config and the local web, ready to build.

Choice: the demo is an ordinary working directory, built by the ordinary build; only its web is made up. Cost: its
config file names ports of this run, so it is written anew each time. Alternative: a mode inside the stages.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline import config
from pipeline.demo import dump
from pipeline.demo.web import LocalWeb
from pipeline.shards import lease
from pipeline.shards.outcomes import ConfigError

CONFIG = """# The demo: a local web on loopback, a small vocabulary, a small model.
[links]
submissions = ["submissions.ndjson"]

[pages]
contact = "https://demo.test/contact"
gap_s = 0.05
patience_gaps = 60
deadline_s = 3.0
limit_bytes = 2_000_000

[corpus]
wikipedia_dumps = ["encyclopedia.xml"]

[tokenizer]
vocab_size = 4096

[tokens]
val_share = 0.05

[train]
preset = "nano"
block = 128
batch = 8
accumulate = 1
steps = 350
learning_rate = 3e-3
min_learning_rate = 1e-4
warmup_steps = 40
beta2 = 0.99
eval_every = 50
eval_batches = 4
checkpoint_every = 100
dtype = "float32"
device = "cpu"

# The demo's web: names that the crawler may reach although their address is not public.
[pages.local_hosts]
"""


@contextmanager
def prepared(root: Path) -> Iterator[config.Settings]:
    """The settings of a demo in `root`, with its inputs written and its web up while the block lasts.

    Raises ConfigError: `root` is somebody's own working directory. BusyError: another run holds it.
    """
    path = root / config.FILE_NAME
    with LocalWeb() as web:
        names = "".join(f'"{name}" = "{address}"\n' for name, address in sorted(web.local_hosts().items()))
        with lease.lock(root):
            if path.exists() and not path.read_bytes().startswith(CONFIG.partition("\n")[0].encode()):
                raise ConfigError(f"{path}: not the demo's; name a folder of its own with --dir")
            (root / "submissions.ndjson").write_bytes(b"".join(dump.submissions()))
            dump.wikipedia_dump(root / "encyclopedia.xml")
            path.write_text(CONFIG + names, "utf-8")
        yield config.load(path)
