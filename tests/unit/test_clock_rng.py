import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4 import clock, ids, rng
from phase4.clock import ManualClock, SystemClock
from phase4.errors import UsageError

# ------------------------------------------------------------------------------------------------------------ time


def test_a_manual_clock_stands_until_it_is_moved():
    hands = ManualClock(1_000)
    assert [hands.now(), hands.now()] == [1_000, 1_000]


def test_a_manual_clock_moves_by_what_it_is_told():
    hands = ManualClock(1_000)
    hands.advance(0)
    hands.advance(500)
    assert hands.now() == 1_500


def test_a_manual_clock_does_not_go_backwards():
    hands = ManualClock(1_000)
    with pytest.raises(UsageError, match="-1 ms"):
        hands.advance(-1)
    assert hands.now() == 1_000


def test_the_system_clock_counts_whole_ms_since_1970():
    before, now, after = time.time_ns(), SystemClock().now(), time.time_ns()
    assert before // 1_000_000 <= now <= after // 1_000_000
    assert type(now) is int


def test_intervals_never_shrink():
    first = clock.monotonic()
    assert clock.monotonic() >= first


def test_a_moment_is_written_in_utc_whatever_the_zone_of_the_machine(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert clock.iso(1_380_585_600_000) == "2013-10-01T00:00:00Z"
    finally:
        monkeypatch.undo()
        time.tzset()


# ------------------------------------------------------------------------------------------------------ randomness

KEYS = st.tuples(st.integers(0, 2**40), st.sampled_from(rng.STREAMS), st.integers(0, 1_000))


def draws(seed, name, replicate, key=()):
    return rng.stream(seed, name, replicate=replicate, key=key).integers(2**63, size=4).tolist()


def test_no_two_streams_have_the_same_number():
    assert len({rng.stream_id(name) for name in rng.STREAMS}) == len(rng.STREAMS)


def test_a_name_that_is_no_stream_is_refused_with_those_that_are():
    with pytest.raises(KeyError, match="arrivals"):
        rng.stream_id("arrival")


@given(KEYS)
def test_the_same_address_gives_the_same_numbers(address):
    assert draws(*address) == draws(*address)


@given(KEYS, KEYS)
def test_another_address_gives_other_numbers(one, other):
    assert (draws(*one) == draws(*other)) == (one == other)


def test_a_key_addresses_a_part_of_its_own():
    parts = [(), (0,), (0, 0), (0, 1), (1, 0)]
    assert len({tuple(draws(7, "arrivals", 0, key)) for key in parts}) == len(parts)


def test_drawing_more_from_one_stream_moves_no_other():
    expected = draws(7, "outcomes", 3)
    rng.stream(7, "arrivals", replicate=3).random(1_000)
    assert draws(7, "outcomes", 3) == expected


def test_a_replicate_is_the_child_that_numpy_would_spawn():
    child = np.random.SeedSequence(7).spawn(4)[3]
    grown = np.random.SeedSequence(child.entropy, spawn_key=(*child.spawn_key, rng.stream_id("users")))
    expected = np.random.Generator(np.random.PCG64(grown)).integers(2**63, size=4).tolist()
    assert draws(7, "users", 3) == expected


def test_no_two_identifiers_are_alike():
    assert len({ids.new_id() for _ in range(100)}) == 100
