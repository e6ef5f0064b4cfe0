"""Former name of `pipeline.fetch.continuations`; kept so that scripts written against it go on working."""

from pipeline.fetch import continuations
from pipeline.fetch.continuations import *  # noqa: F403

errand_to = continuations.new_fetch
