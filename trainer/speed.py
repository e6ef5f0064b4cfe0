"""Former name of `trainer.throughput`; kept so that scripts written against it go on working."""

from trainer.throughput import *  # noqa: F403
