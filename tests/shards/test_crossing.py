"""Rows come to the shard that they are for, in parcels whose number hangs on neither sources nor shards."""

from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards import crossing
from pipeline.shards.crossing import Lanes
from pipeline.shards.receipts import Task
from pipeline.shards.runner import BeamRun
from tests.crossed import dealt

ROWS = st.lists(st.tuples(st.integers(0, 9), st.text(max_size=3)), max_size=8)


def block_of(rows):
    return np.array([shard for shard, _ in rows], np.int32), pa.table({"text": pa.array([t for _, t in rows], "str")})


def texts_of(tables):
    return [text for table in tables for text in table["text"].to_pylist()]


@settings(deadline=None, max_examples=100)
@given(st.lists(ROWS, max_size=6), st.sets(st.integers(0, 9), min_size=1), st.integers(1, 4), st.integers(1, 400))
def test_every_row_comes_to_its_shard_once_and_in_order_whatever_is_held_at_once(sources, shards, lanes, room):
    blocks = [block_of(rows) for rows in sources if rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossing, "LEAST_LANES", lanes)
        patch.setattr(crossing, "HELD_BYTES", room)
        patch.setattr(crossing, "LANE_BYTES", room)
        road = Lanes(tuple(sorted(shards)))
        sent = list(crossing.packed(iter(blocks), road))
        found = {}
        for lane in range(road.count):
            parcels = [parcel for to, parcel in sent if to == lane]
            found |= {shard: texts_of(tables) for shard, tables in crossing.gathered(parcels, road.of(lane))}
    expected = dealt(blocks)
    assert found == {shard: texts_of(expected.get(shard, ())) for shard in sorted(shards)}


def test_shards_are_gathered_in_lanes_that_share_them_evenly():
    few, many = Lanes(tuple(range(3, 50))), Lanes(tuple(range(2_250)))
    assert [few.of(lane) for lane in range(few.count)] == [(shard,) for shard in range(3, 50)]
    assert {len(many.of(lane)) for lane in range(many.count)} == {15, 16}
    assert tuple(shard for lane in range(many.count) for shard in many.of(lane)) == many.shards


def spread_evenly(shards, source):
    rows = np.arange(200)
    yield ((rows * 31 + source) % shards).astype(np.int32), pa.table({"row": rows})


def count_rows(folder, task, tables):
    (folder / str(task.shard)).write_text(str(sum(table.num_rows for table in tables)))


@pytest.mark.parametrize("shards", [70, 700])
def test_what_crosses_grows_with_the_rows_and_not_with_sources_times_shards(shards, tmp_path, monkeypatch):
    sent = []
    packed = crossing.packed
    monkeypatch.setattr(crossing, "packed", lambda *given: (sent.append(one) or one for one in packed(*given)))
    sources, gather = range(shards), partial(count_rows, tmp_path)
    BeamRun().exchange(partial(spread_evenly, shards), sources, gather, [Task(shard, "a") for shard in sources])
    assert sum(int(path.read_text()) for path in tmp_path.iterdir()) == 200 * shards
    assert len(sent) <= crossing.BUNDLES_HERE * max(64, shards // 16 + 1)
    assert len(list(tmp_path.iterdir())) == shards


def test_a_reader_that_has_room_for_less_than_its_lane_takes_turns(monkeypatch):
    monkeypatch.setattr(crossing, "LANE_BYTES", 40_000)
    monkeypatch.setattr(crossing, "LEAST_LANES", 1)
    road = Lanes(tuple(range(10)))
    rows = np.arange(100_000)
    parcels = [one for _, one in crossing.packed([((rows % 10).astype(np.int32), pa.table({"row": rows}))] * 3, road)]
    turns, held = [], []
    within = crossing.within
    monkeypatch.setattr(crossing, "within", lambda table, some: held.append(some[:1]) or within(table, some))

    class Counted(list):
        def __iter__(self):
            turns.append(1)
            return super().__iter__()

    found = {
        shard: sum(one.num_rows for one in tables) for shard, tables in crossing.gathered(Counted(parcels), road.of(0))
    }
    assert found == dict.fromkeys(range(10), 30_000)
    assert len(turns) == 10  # 360 KB of each shard: one at a time
