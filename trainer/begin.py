"""Former name of `trainer.setup`; kept so that scripts written against it go on working."""

from trainer.setup import *  # noqa: F403
