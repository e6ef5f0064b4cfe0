"""Of several attempts at a round of a crawl the last one counts, and no two ask at one time."""

import pytest

from pipeline.fetch.claims import GIVE_UP_S, claimed
from pipeline.fetch.crawler import CHECK_S


@pytest.mark.failure(
    "an engine gives up a worker that still crawls", "it notices, asks nobody more and commits nothing", "nothing"
)
def test_an_attempt_that_another_one_follows_finds_that_its_claim_is_gone_and_the_other_waits_until_it_has(tmp_path):
    waits = []
    with claimed(tmp_path / "one.claim", "round", waits.append) as first:
        assert first()
        with claimed(tmp_path / "one.claim", "round", waits.append) as second:
            assert waits == [GIVE_UP_S]
            assert (first(), second()) == (False, True)
        assert not first()
    assert GIVE_UP_S >= 2 * CHECK_S


def test_a_claim_that_was_given_back_or_is_of_an_earlier_round_makes_nobody_wait(tmp_path):
    waits, path = [], tmp_path / "one.claim"
    for _ in range(2):
        with claimed(path, "round", waits.append) as mine:
            assert mine()
    path.write_bytes(b"earlier 1234")
    with claimed(path, "round", waits.append) as mine:
        assert mine()
    assert waits == []
    assert not path.exists()


def test_a_claim_is_given_back_also_by_a_crawl_that_failed(tmp_path):
    with pytest.raises(KeyboardInterrupt), claimed(tmp_path / "one.claim", "round", print):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
