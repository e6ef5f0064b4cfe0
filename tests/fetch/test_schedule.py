import heapq
import itertools
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fetch.schedule import FASTER, IN_A_ROW, REST_MAX_S, SLOWEST_S, Schedule
from pipeline.shards.outcomes import Outcome

CONNECT_ERROR = Outcome.CONNECT_ERROR


def simulate(schedule, lasts):
    """Run a schedule against a made-up clock; (item, start, end) in order. `lasts(item)`: seconds a request takes."""
    now, running, visits = 0.0, [], []
    while True:
        schedule.forget(now)
        while (item := schedule.pop(now)) is not None:
            end = now + lasts(item)
            heapq.heappush(running, (end, len(visits), item))
            visits.append((item, now, end))
        wait = schedule.wait(now)
        upcoming = [running[0][0]] if running else []
        upcoming += [now + wait] if wait is not None else []
        if not upcoming:
            return visits
        now = min(upcoming)
        while running and running[0][0] <= now:
            _, _, item = heapq.heappop(running)
            schedule.finish(item[0], now)


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=60),
    st.sampled_from([0.0, 0.25, 1.0, 3.0]),
    st.integers(1, 4),
    st.dictionaries(st.sampled_from("abcde"), st.sampled_from([0.5, 2.0, 900.0])),
    st.lists(st.sampled_from([0.0, 0.125, 1.0, 7.0]), min_size=1, max_size=5),
    st.sampled_from([0, 10_000]),
)
def test_every_item_comes_once_and_no_gap_is_violated(items, gap_s, connections, delays, lasts, keep):
    schedule = Schedule(gap_s, connections, 100.0)
    schedule.keep = keep
    for host, delay in delays.items():
        schedule.slow_down(host, delay)
    for number, (host, first) in enumerate(items):
        schedule.push(host, (host, number), first)
    visits = simulate(schedule, lambda item: lasts[item[1] % len(lasts)])

    assert sorted(number for (_, number), _, _ in visits) == list(range(len(items)))
    by_host = defaultdict(list)
    for (host, _), start, end in visits:
        by_host[host].append((start, end))
    for host, times in by_host.items():
        gap = max(gap_s, min(delays.get(host, 0.0), 60.0))
        # what came before the schedule counts as a request that ended when it began
        for (_, end), (start, _) in itertools.pairwise([(100.0, 100.0), *times]):
            assert start >= end + gap
    for moment in (start for _, start, _ in visits):
        assert sum(start <= moment < end for _, start, end in visits) <= connections


# --- whose link goes first: items are (host, how far down it is)


def ranked(counts, gap_s, connections):
    schedule = Schedule(gap_s, connections, 0.0, rank=lambda item: item[1])
    for host, count in enumerate(counts):
        for number in range(count):
            schedule.push(f"h{host}", (f"h{host}", number / count))
    return schedule


COUNTS = st.lists(st.integers(1, 12), min_size=1, max_size=8)


@given(COUNTS, st.sampled_from([0.0, 1.0]), st.integers(1, 4))
def test_the_first_link_of_every_host_comes_before_the_last_of_any(counts, gap_s, connections):
    visits = simulate(ranked(counts, gap_s, connections), lambda item: 0.25)
    firsts = [start for (_, place), start, _ in visits if place == 0.0]
    lasts = [start for (host, place), start, _ in visits if place == 1 - 1 / counts[int(host[1:])] > 0]
    assert len(firsts) == len(counts)
    assert max(firsts) <= min(lasts, default=max(firsts))


@given(COUNTS)
def test_at_any_time_a_crawl_is_equally_far_with_all_hosts(counts):
    done = [0] * len(counts)
    for (host, _), _, _ in simulate(ranked(counts, 0.0, 1), lambda item: 1.0):
        done[int(host[1:])] += 1
        shares = [(one / count, 1 / count) for one, count in zip(done, counts, strict=True)]
        for (far, step), (other, its) in itertools.permutations(shares, 2):
            assert far - other <= max(step, its) + 1e-9


def test_a_crawl_of_skewed_hosts_ends_hardly_later_than_its_gaps_or_its_connections_allow():
    for exponent, connections in ((1.0, 40), (1.0, 8), (0.5, 8), (1.3, 40)):
        counts = [max(1, int(300 / rank**exponent)) for rank in range(1, 400)]
        visits = simulate(ranked(counts, 1.0, connections), lambda item: 0.25)
        bound = max(counts[0] * 1.25, sum(counts) * 0.25 / connections)
        assert max(end for _, _, end in visits) <= 1.1 * bound + 1.0


def test_who_goes_on_with_a_visit_comes_before_all_links():
    schedule = Schedule(1.0, 1, 0.0, rank=lambda item: 0.0)
    for name in ("a", "b", "c"):
        schedule.push(name, name)
    schedule.push("c", "goes on", first=True)
    assert schedule.pop(1.0) == "goes on"


# --- how many may be asked soon


def test_hosts_that_failed_or_wait_for_their_address_do_not_count_as_lively_and_those_that_rest_are_far():
    schedule = Schedule(1.0, 4, 0.0, 1)
    for name in ("fails", "first", "second", "third", "fine"):
        schedule.push(name, name)
        schedule.push(name, name)
    assert schedule.lively() == 5
    assert schedule.pop(1.0) == "fails"
    schedule.failed("fails", None, 1.0)
    schedule.rest("fails", 500.0)
    schedule.finish("fails", 1.0)
    for name in ("first", "second", "third"):
        assert schedule.pop(1.0) == name
        if not schedule.place(name, "192.0.2.1", 1.0):
            schedule.push(name, name, first=True)
            schedule.step_back(name)
    assert schedule.pop(1.0) == "fine"
    schedule.pop(1.0)
    assert schedule.lively() == 2  # "first", which is asked, and "fine"
    assert schedule.far(60.0) == ["fails"]
    assert schedule.far(1.5) == ["fails", "third"]
    assert schedule.drop("third") == ["third"] * 2
    schedule.finish("first", 2.0)
    assert schedule.far(60.0) == ["fails"]


def test_a_host_with_most_links_starves_nobody():
    schedule = Schedule(1.0, 1, 0.0)
    for number in range(1_000):
        schedule.push("big", ("big", number))
    for name in "abc":
        schedule.push(name, (name, 0))
    order = [item[0] for item, _, _ in simulate(schedule, lambda item: 0.25)]
    assert set(order[:4]) == {"big", "a", "b", "c"}


def test_who_is_to_go_first_goes_before_the_links_of_the_host_in_the_order_of_coming():
    schedule = Schedule(0.0, 1, 0.0)
    for item, first in (("link 1", False), ("link 2", False), ("ticket 1", True), ("ticket 2", True)):
        schedule.push("a", ("a", item), first=first)
    assert [item[1] for item, _, _ in simulate(schedule, lambda item: 1.0)] == [
        "ticket 1",
        "ticket 2",
        "link 1",
        "link 2",
    ]


def test_a_host_that_fails_rests_twice_as_long_each_time_up_to_an_hour_and_others_go_on():
    schedule = Schedule(1.0, 1, 0.0)
    schedule.push("b", "b")
    rests, now = [], 1.0
    for number in range(15):
        schedule.push("a", number)
        schedule.pop(now) if number else [schedule.pop(now), schedule.finish("b", now), schedule.pop(now)]
        schedule.failed("a", None, now)
        schedule.finish("a", now)
        schedule.push("a", "more")
        rests.append(schedule.wait(now))
        assert schedule.drop("a") == ["more"]
        now += rests[-1]
    assert rests == [1.0, *(2.0**n for n in range(1, 12)), REST_MAX_S, REST_MAX_S, REST_MAX_S]


def test_a_host_whose_failures_no_hour_mends_is_lost_after_some_in_a_row_and_then_costs_no_time():
    schedule = Schedule(10.0, 1, 0.0)
    for number in range(IN_A_ROW + 3):
        schedule.push("a", number)
    now = 0.0
    for _ in range(IN_A_ROW):
        assert schedule.lost("a") is None
        now += schedule.wait(now)
        schedule.pop(now)
        schedule.failed("a", CONNECT_ERROR, now)
        schedule.finish("a", now)
    assert schedule.lost("a") is CONNECT_ERROR
    assert schedule.wait(now) == 0.0


def test_one_answer_between_failures_keeps_a_host_alive():
    schedule = Schedule(0.0, 1, 0.0)
    for number in range(2 * IN_A_ROW - 1):
        if number == IN_A_ROW - 1:
            schedule.answered("a")
        else:
            schedule.failed("a", CONNECT_ERROR, 0.0)
        assert schedule.lost("a") is None
        assert not schedule.failing("a")


def test_what_is_dropped_is_queued_no_more_and_the_others_are():
    schedule = Schedule(1.0, 4, 0.0)
    for name, item in (("a", 1), ("b", 2), ("a", 3)):
        schedule.push(name, item)
    assert schedule.drop("a") == [1, 3]
    assert schedule.names() == ["b"]
    schedule.push("a", 4)
    assert sorted([schedule.pop(1.0), schedule.pop(1.0)]) == [2, 4]


def test_for_how_long_a_host_fails_is_counted_from_the_first_failure_in_a_row():
    schedule = Schedule(1.0, 4, 0.0)
    for at in range(IN_A_ROW):
        assert schedule.waited_for("a", 100.0) is None
        schedule.failed("a", None, 10.0 + at)
    assert schedule.waited_for("a", 100.0) == 90.0
    schedule.answered("a")
    assert schedule.waited_for("a", 100.0) is None


@pytest.mark.failure("a host says 429 or 503", "its gap grows, Retry-After is obeyed", "nothing")
def test_a_host_that_is_asked_too_much_is_asked_less_and_then_slowly_more_again():
    schedule = Schedule(1.0, 1, 0.0)
    schedule.push("a", "link")
    assert schedule.pop(1.0) == "link"
    gaps = []
    for _ in range(8):
        schedule.overloaded("a", 0.0)
        gaps.append(schedule.gap("a"))
    assert gaps == [2.0, 4.0, 8.0, 16.0, 32.0, SLOWEST_S, SLOWEST_S, SLOWEST_S]
    for number in range(30):
        before = schedule.gap("a")
        schedule.answered("a")
        assert schedule.gap("a") == max(1.0, before * FASTER), number
    assert schedule.gap("a") == 1.0


@given(st.lists(st.sampled_from(["overloaded", "answered"]), max_size=60), st.sampled_from([0.0, 0.5, 1.0, 60.0, 90.0]))
def test_a_gap_is_never_shorter_than_asked_nor_longer_than_the_slowest(events, gap_s):
    schedule = Schedule(gap_s, 1, 0.0)
    schedule.host("a")
    for event in events:
        schedule.overloaded("a", 0.0) if event == "overloaded" else schedule.answered("a")
        assert gap_s <= schedule.gap("a") <= max(gap_s, SLOWEST_S)


def test_a_host_that_rests_is_not_asked_before_its_time_and_holds_nobody_up():
    schedule = Schedule(1.0, 1, 0.0)
    for name in ("a", "a", "b"):
        schedule.push(name, name)
    assert schedule.pop(1.0) == "a"
    schedule.overloaded("a", 50.0)
    schedule.finish("a", 1.5)
    assert schedule.pop(1.5) == "b"
    schedule.finish("b", 2.0)
    assert schedule.wait(2.0) == 48.0
    assert schedule.pop(49.0) is None
    assert schedule.pop(50.0) == "a"


@given(
    st.lists(st.sampled_from("abcdefgh"), max_size=40),
    st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["1.1.1.1", "2.2.2.2"])),
    st.integers(1, 3),
    st.integers(1, 4),
    st.lists(st.sampled_from([0.0, 0.5, 3.0]), min_size=1, max_size=4),
)
def test_an_address_takes_so_many_requests_at_one_time_whatever_its_names_and_every_item_comes(
    names, where, per_address, connections, lasts
):
    """Hosts learn their address when they are first held, and step back where it has no place."""
    schedule, now, running, visits = Schedule(1.0, connections, 0.0, per_address), 0.0, [], []
    for number, name in enumerate(names):
        schedule.push(name, (name, number))
    for _ in range(2_000):
        while (item := schedule.pop(now)) is not None:
            if item[0] in where and not schedule.place(item[0], where[item[0]], now):
                schedule.push(item[0], item, first=True)
                schedule.step_back(item[0])
                continue
            end = now + lasts[item[1] % len(lasts)]
            heapq.heappush(running, (end, len(visits), item))
            visits.append((item, now, end))
        wait = schedule.wait(now)
        upcoming = [*([running[0][0]] if running else []), *([now + wait] if wait is not None else [])]
        if not upcoming:
            break
        now = min(upcoming)
        while running and running[0][0] <= now:
            schedule.finish(heapq.heappop(running)[2][0], now)
    assert sorted(number for (_, number), _, _ in visits) == list(range(len(names)))
    for address in set(where.values()):
        times = [(start, end + 1.0) for (name, _), start, end in visits if where.get(name) == address]
        for moment, _ in times:  # a request and the gap after it
            assert sum(start <= moment < free for start, free in times) <= per_address


def test_hosts_that_wait_for_their_address_hold_no_connection():
    schedule = Schedule(1.0, 2, 0.0, 1)
    for name in ("a", "b", "c", "other"):
        schedule.push(name, name)
    assert schedule.pop(1.0) == "a"
    assert schedule.place("a", "1.1.1.1", 1.0)
    while (item := schedule.pop(1.0)) not in (None, "other"):
        assert not schedule.place(item, "1.1.1.1", 1.0)
        schedule.push(item, item, first=True)
        schedule.step_back(item)
    assert item == "other"
    assert schedule.waiting() == 4
    schedule.finish("a", 5.0)
    assert schedule.pop(5.5) is None
    assert schedule.pop(6.0) == "b"
    assert schedule.pop(6.0) is None
    schedule.finish("b", 7.0)
    assert schedule.pop(8.0) == "c"
