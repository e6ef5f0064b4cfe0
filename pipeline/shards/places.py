"""Former name of `pipeline.shards.locations`; kept so that scripts written against it go on working."""

from pipeline.shards import locations
from pipeline.shards.locations import *  # noqa: F403

place, said = locations.location_of, locations.with_addresses
