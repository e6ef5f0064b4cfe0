"""The ledger: the settled score counts, what is deleted leaves no trace, and a snapshot holds one moment."""

import sqlite3
import tempfile
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards.outcomes import BusyError, InputError, Outcome, StorageError
from pipeline.submissions import ledger as ledgers
from pipeline.submissions.dumps import read_dump
from pipeline.submissions.ledger import MISSING_S, Ledger, read_ledger, snapshot, snapshots
from pipeline.submissions.listings import Page
from pipeline.submissions.rows import Submission

SETTLE_S, RECHECK_S = 36 * 3_600, 24 * 3_600
NEW, MONTH = "r/books/new", 30 * 86_400


def post(number, score=5, created=0, url=None):
    return Submission(f"a{number}", url or f"http://host.test/{number}", score, created, "books", False)


def page(*submissions, gone=(), fates=(), after=None, more_names=()):
    names = [f"t3_{key}" for key in [*(one.id for one in submissions), *gone, *more_names]]
    newest = max((one.created_utc for one in submissions), default=0)
    items = len(submissions) + len(gone) + len(fates)
    return Page(list(submissions), list(gone), Counter(fates), items, names, newest, after)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        opened.begin(NEW, 0)
        yield opened


def record(ledger, *submissions, now, settle_s=SETTLE_S, **more):
    return ledger.record(NEW, page(*submissions, **more), now, settle_s)


def readings(ledger):
    columns = "id, first_score, first_read_utc, score, read_utc"
    return ledger.db.execute(f"SELECT {columns} FROM submissions ORDER BY id").fetchall()


def read(path, rows=10):
    return [one for block in read_ledger(path, rows) for one in block.kept]


def due(ledger, now, settle_s=SETTLE_S, recheck_s=RECHECK_S):
    return [key for batch in ledger.due(now, settle_s, recheck_s) for key in batch]


def test_the_first_score_read_after_the_settling_time_stays(ledger):
    for now, score in [(100, 1), (SETTLE_S - 1, 7), (SETTLE_S + 5, 30), (SETTLE_S + 900, 2)]:
        record(ledger, post(1, score, created=0), now=now)
    assert readings(ledger) == [("a1", 1, 100, 30, SETTLE_S + 5)]


def test_another_settling_time_decides_anew_which_scores_have_settled(ledger):
    record(ledger, post(1, 1), now=10)
    ledger.rescore(["a1"], page(post(1, 30)), SETTLE_S, SETTLE_S)
    assert due(ledger, 2 * SETTLE_S, recheck_s=MONTH) == []
    assert due(ledger, 2 * SETTLE_S - 1, 2 * SETTLE_S, MONTH) == []
    assert due(ledger, 2 * SETTLE_S, 2 * SETTLE_S, MONTH) == ["a1"]
    ledger.rescore(["a1"], page(post(1, 40)), 2 * SETTLE_S, 2 * SETTLE_S)
    assert readings(ledger) == [("a1", 1, 10, 40, 2 * SETTLE_S)]


def test_what_is_due_comes_in_batches_of_a_hundred_each_once(ledger):
    record(ledger, *(post(n, created=50) for n in range(250)), now=60)
    assert due(ledger, SETTLE_S + 49, recheck_s=MONTH) == []
    batches = list(ledger.due(SETTLE_S + 50, SETTLE_S, MONTH))
    assert [len(batch) for batch in batches] == [100, 100, 50]
    assert sorted(key for batch in batches for key in batch) == sorted(f"a{n}" for n in range(250))


def test_the_settled_are_looked_at_again_so_that_deletions_are_seen(ledger):
    record(ledger, post(1, created=0), now=MONTH)
    assert due(ledger, MONTH + RECHECK_S - 1) == []
    assert due(ledger, MONTH + RECHECK_S) == ["a1"]
    assert ledger.rescore(["a1"], page(post(1, 99)), MONTH + RECHECK_S, SETTLE_S) == {Outcome.KEPT: 1}
    assert due(ledger, MONTH + RECHECK_S + 1) == []
    assert readings(ledger) == [("a1", 5, MONTH, 5, MONTH)]


def test_every_item_of_a_page_has_one_fate(ledger):
    first = record(ledger, post(1), post(2), post(2), now=1, gone=["a9"], fates=[Outcome.SELF_POST])
    assert first == {Outcome.KEPT: 2, Outcome.REPEATED: 1, Outcome.DELETED: 1, Outcome.SELF_POST: 1}
    assert record(ledger, post(1), post(3), post(9), now=2) == {
        Outcome.REPEATED: 1, Outcome.KEPT: 1, Outcome.DELETED: 1,
    }  # fmt: skip


def test_what_is_deleted_leaves_its_id_and_no_byte_of_its_url(ledger, tmp_path):
    secret = "http://host.test/only-here-" + "x" * 40
    record(ledger, post(1, url=secret), post(2), now=1)
    ledger.settle()
    assert secret.encode() in (tmp_path / "ledger.sqlite").read_bytes()
    assert ledger.rescore(["a1"], page(gone=["a1"]), 2, SETTLE_S) == {Outcome.DELETED: 1}
    ledger.settle()
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.iterdir())
    assert ledger.db.execute("SELECT * FROM deleted").fetchall() == [("a1", 2)]
    assert record(ledger, post(1, url=secret), now=3) == {Outcome.DELETED: 1}
    assert [one.id for one in read(ledger.path)] == ["a2"]


def test_what_is_missing_twice_an_hour_apart_is_deleted_and_may_come_back(ledger):
    record(ledger, post(1), post(2), now=10)
    assert ledger.rescore(["a1", "a2"], page(post(2)), 20, SETTLE_S) == {Outcome.KEPT: 1, Outcome.NOT_FOUND: 1}
    assert [one.id for one in read(ledger.path)] == ["a2"]  # links leaves it out at once
    assert ledger.rescore(["a1"], page(), 19 + MISSING_S, SETTLE_S) == {Outcome.NOT_FOUND: 1}
    assert due(ledger, 20 + MISSING_S) == ["a1"]
    assert ledger.rescore(["a1"], page(), 20 + MISSING_S, SETTLE_S) == {Outcome.DELETED: 1}
    assert ledger.counts(SETTLE_S) == {"submissions": 1, "settled": 0, "deleted": 0}
    assert record(ledger, post(1), now=30 + MISSING_S) == {Outcome.KEPT: 1}


def test_what_was_missing_once_and_is_shown_again_counts_again(ledger):
    record(ledger, post(1), now=10)
    ledger.rescore(["a1"], page(), 20, SETTLE_S)
    record(ledger, post(1), now=30)
    assert [one.id for one in read(ledger.path)] == ["a1"]
    assert due(ledger, 40 + MISSING_S) == []


def test_an_item_shown_in_a_form_not_understood_is_not_missing(ledger):
    record(ledger, post(1), now=10)
    assert ledger.rescore(["a1"], page(more_names=["a1"]), 10 + RECHECK_S, SETTLE_S) == {Outcome.BAD_LINE: 1}
    assert [one.id for one in read(ledger.path)] == ["a1"]
    assert due(ledger, 20 + RECHECK_S) == []


def test_a_pass_cut_off_goes_on_within_the_hour_and_only_a_whole_one_proves_what_is_known(ledger):
    record(ledger, post(1, created=500), now=600, after="t3_a1")
    assert ledger.begin(NEW, 700).after == "t3_a1"
    ledger.end(NEW, Outcome.SERVER_ERROR, 710)
    assert ledger.begin(NEW, 720) == ledgers.ListingState(720, None, None, 0)
    record(ledger, post(2, created=600), now=730, after="t3_a2")
    assert ledger.begin(NEW, 720 + 3_600).after is None  # too old: it begins again
    record(ledger, post(2, created=600), now=730)
    ledger.end(NEW, Outcome.KEPT, 740)
    state = ledger.state_of(NEW)
    assert (state.ended_utc, state.after, state.known_utc) == (740, None, 600)


def test_a_page_is_taken_in_whole_or_not_at_all(ledger):
    bad = Submission("a2", None, 1, 1, "books", False)
    with pytest.raises(StorageError, match="NOT NULL"):
        record(ledger, post(1), bad, now=1)
    assert readings(ledger) == []


def test_a_reader_sees_one_moment_while_the_harvest_writes(ledger):
    record(ledger, *(post(n) for n in range(30)), now=1)
    blocks = read_ledger(ledger.path, 10)
    first = next(blocks).kept
    ledger.rescore(["a15", "a16"], page(gone=["a15", "a16"]), 2, SETTLE_S)
    record(ledger, post(40), now=3)
    assert len(first) + sum(len(block.kept) for block in blocks) == 30
    assert len(read(ledger.path)) == 29


def test_blocks_have_the_form_that_dumps_give(ledger):
    record(ledger, *(post(n, n) for n in range(5)), now=1)
    blocks = list(read_ledger(ledger.path, 2))
    assert [len(block.kept) for block in blocks] == [2, 2, 1]
    assert [block.fates for block in blocks] == [{Outcome.KEPT: 2}, {Outcome.KEPT: 2}, {Outcome.KEPT: 1}]
    assert blocks[0].kept == [post(0, 0), post(1, 1)]


SUBMITTED = st.builds(
    Submission,
    st.from_regex("[a-z0-9]{1,8}", fullmatch=True),
    st.text(st.sampled_from("ab&;<>ltgmp'\"/é\u2028"), max_size=12).map(lambda end: f"http://h.test/{end}".strip()),
    st.integers(-(2**31) + 1, 2**31 - 1),
    st.integers(0, 2**32 - 1),
    st.text(max_size=8).filter(str.isprintable),
    st.booleans(),
)


@given(st.lists(SUBMITTED, max_size=8, unique_by=lambda one: one.id), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_a_snapshot_is_a_dump_of_the_same_rows_whatever_order_they_came_in(rows, shuffler):
    with tempfile.TemporaryDirectory() as folder:
        dumps = []
        for number, order in enumerate((rows, shuffler.sample(rows, len(rows)))):
            with Ledger(Path(folder) / str(number) / "ledger.sqlite") as ledger:
                ledger.begin(NEW, 0)
                for one in order:
                    record(ledger, one, now=1)
                dumps.append(snapshot(ledger.path, Path(folder) / str(number) / "dumps"))
                blocks = [block for path in dumps[-1] for block in read_dump(path, 3)]
                found = [msgspec.structs.astuple(one)[:6] for block in blocks for one in block.kept]
                assert sorted(found) == sorted(msgspec.structs.astuple(one) for one in read(ledger.path))
        assert [path.read_bytes() for path in dumps[0]] == [path.read_bytes() for path in dumps[1]]


def test_a_day_of_a_harvest_changes_the_snapshot_of_its_month_alone(ledger, tmp_path):
    january, february = 1_704_067_200, 1_706_745_600
    record(ledger, post(1, created=january), now=january)
    record(ledger, post(2, created=february), now=february)
    before = {path.name[-18:]: path.read_bytes() for path in snapshot(ledger.path, tmp_path)}
    record(ledger, post(3, created=february), now=february + 1)
    after = {path.name[-18:]: path.read_bytes() for path in snapshot(ledger.path, tmp_path)}
    assert list(after) == ["2024-01.ndjson.zst", "2024-02.ndjson.zst"]
    assert [name for name, data in after.items() if before[name] != data] == ["2024-02.ndjson.zst"]


def test_snapshots_stand_for_their_ledgers_and_old_ones_go(ledger, tmp_path):
    record(ledger, post(1), now=1)
    folder, other = tmp_path / "scratch", tmp_path / "RS.zst"
    first, same = snapshots([ledger.path, other], folder)
    assert (first.parent, same) == (folder, other)
    assert snapshots([other], folder) == [other]
    assert list(folder.iterdir()) == []


def test_a_file_that_is_no_ledger_is_named(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with pytest.raises(InputError, match=r"ledger\.sqlite: no such ledger; 'webtext harvest'"):
        read(path)
    path.write_bytes(b"a page that says 404, long enough to be read as a header" * 20)
    for opening in (read, Ledger):
        with pytest.raises(InputError, match=r"ledger\.sqlite: damaged, or not a ledger"):
            opening(path)
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE other (a)")
    for opening in (read, Ledger):
        with pytest.raises(InputError, match="not a ledger of 'webtext harvest'"):
            opening(path)


def test_a_ledger_of_a_newer_program_is_refused(ledger):
    ledger.db.execute("PRAGMA user_version = 2")
    with pytest.raises(InputError, match="a ledger of version 2, this program knows 1"):
        read(ledger.path)


def test_another_writer_that_does_not_end_is_told(ledger, monkeypatch):
    monkeypatch.setattr(ledgers, "BUSY_S", 0.0)
    with Ledger(ledger.path) as second, ledger.transaction(), pytest.raises(BusyError, match="another process writes"):
        second.begin("r/other/new", 1)


def test_a_ledger_keeps_what_was_written_when_it_is_opened_again(tmp_path):
    for now in (1, 2):
        with Ledger(tmp_path / "deep" / "ledger.sqlite") as ledger:
            ledger.begin(NEW, now)
            record(ledger, post(now), now=now)
            assert ledger.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert [one.id for one in read(tmp_path / "deep" / "ledger.sqlite")] == ["a1", "a2"]
