"""Former name of `pipeline.dedup.evaluation`; kept so that scripts written against it go on working."""

from pipeline.dedup import evaluation
from pipeline.dedup.evaluation import *  # noqa: F403

told = evaluation.summary
