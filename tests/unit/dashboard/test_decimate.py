import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.dashboard import decimate

COUNTS = st.lists(st.one_of(st.none(), st.integers(0, 10**6)), max_size=200)
SIZES = st.integers(1, 50)


def array(values):
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


@given(st.integers(0, 10**7), st.integers(1, 1_000))
def test_there_are_never_more_buckets_than_allowed_and_no_fewer_ticks_in_one_than_needed(ticks, limit):
    size = decimate.bucket_size(ticks, limit=limit)
    assert -(-ticks // size) <= limit
    assert size == 1 or -(-ticks // (size - 1)) > limit


@given(COUNTS, SIZES)
def test_sums_survive(values, size):
    assert decimate.sums(array(values), size).sum() == sum(value or 0 for value in values)


@given(COUNTS, SIZES)
def test_the_bucket_maximum_is_the_maximum(values, size):
    found = decimate.maxima(array(values), size)
    for index, start in enumerate(range(0, len(values), size)):
        known = [value for value in values[start : start + size] if value is not None]
        assert (found[index] == max(known)) if known else math.isnan(found[index])


@given(COUNTS, SIZES)
def test_a_bucket_without_requests_stays_a_gap(requests, size):
    trials = array(requests)
    rates = decimate.rates(np.zeros(len(trials)), trials, size)
    totals = decimate.sums(trials, size)
    assert np.array_equal(np.isnan(rates), totals == 0)


def test_a_busy_tick_weighs_more_than_a_quiet_one():
    rates = decimate.rates(np.array([1.0, 0.0]), np.array([1.0, 99.0]), 2)
    assert rates.tolist() == [0.01]


def test_one_spike_among_many_ticks_does_not_vanish():
    values = np.full(10_000, -5.0)
    values[7_777] = 9.0
    assert np.nanmax(decimate.maxima(values, decimate.bucket_size(10_000))) == 9.0


def test_evidence_that_has_not_begun_is_a_gap_and_not_a_depth():
    assert np.isnan(decimate.maxima(np.array([-np.inf, -np.inf]), 2)).all()
    assert decimate.maxima(np.array([-np.inf, -3.0]), 2).tolist() == [-3.0]


def test_the_worst_verdict_of_a_bucket_is_kept():
    assert decimate.worst(np.array([0, 3, 0, 1, 0]), 2).tolist() == [3, 1, 0]


def test_the_last_bucket_ends_with_the_run():
    assert decimate.ends(7, 3).tolist() == [3, 6, 7]
    assert decimate.ends(0, 3).tolist() == []


@pytest.mark.parametrize("pool", [decimate.sums, decimate.maxima])
def test_no_ticks_make_no_buckets(pool):
    assert len(pool(np.zeros(0), 3)) == 0


def test_a_tick_without_a_row_is_a_gap():
    laid = decimate.by_tick(np.array([0, 2]), np.array([5.0, 6.0]), length=3)
    assert laid[0] == 5.0
    assert math.isnan(laid[1])
    assert laid[2] == 6.0
