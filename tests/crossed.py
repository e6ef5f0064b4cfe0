"""What a scatter sends, dealt out to the partitions it is for: what an exchange does, the slow and obvious way."""

import pyarrow as pa


def dealt(blocks):
    """Tables by partition, each of one block, in the order the blocks come."""
    found = {}
    for places, table in blocks:
        for place in sorted(set(places.tolist())):
            found.setdefault(place, []).append(table.filter(pa.array(places == place)))
    return found
