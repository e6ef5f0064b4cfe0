"""Batches are those that plain reading gives, and are begun before anybody asks."""

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.prefetch import Prefetcher

WINDOWS = st.lists(st.integers(0, 99), min_size=1, max_size=4)


def read(windows):
    found = torch.tensor(windows)
    return found, found + 1


@given(asked=st.lists(st.tuples(WINDOWS, WINDOWS), max_size=8))
def test_whatever_was_begun_the_batch_is_the_one_asked_for(asked):
    prefetcher = Prefetcher(read)
    for wanted, then in asked:
        assert prefetcher.batch(wanted, then)[0].tolist() == wanted
    if asked:
        assert prefetcher.batch(asked[-1][1], [0])[1].tolist() == [one + 1 for one in asked[-1][1]]


def test_the_next_batch_is_read_before_it_is_asked_for():
    begun, names = threading.Event(), []

    def watched(windows):
        names.append((windows, threading.current_thread().name))
        if windows == [2]:
            begun.set()
        return read(windows)

    prefetcher = Prefetcher(watched)
    prefetcher.batch([1], [2])
    assert begun.wait(60)
    prefetcher.batch([2], [3])
    assert [windows for windows, _ in names[:2]] == [[1], [2]]
    assert names[1][1].startswith("prefetch")


def test_what_cannot_be_read_is_an_error_when_it_is_asked_for_and_not_before():
    def broken(windows):
        if windows == [2]:
            raise ValueError("a token outside the vocabulary")
        return read(windows)

    prefetcher = Prefetcher(broken)
    assert prefetcher.batch([1], [2])[0].tolist() == [1]
    with pytest.raises(ValueError, match="outside the vocabulary"):
        prefetcher.batch([2], [3])
    assert prefetcher.batch([4], [2])[0].tolist() == [4]
    assert prefetcher.batch([5], [6])[0].tolist() == [5]  # [2] is not asked for any more
