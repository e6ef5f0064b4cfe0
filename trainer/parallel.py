"""Former name of `trainer.distributed`; kept so that scripts written against it go on working."""

from trainer.distributed import *  # noqa: F403
