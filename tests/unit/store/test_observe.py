"""From a tick's events to its observation rows: outcomes, sums of latency, and the histogram."""

from fractions import Fraction

import numpy as np
import pytest

from phase4.store.intake import ROWS
from phase4.store.observe import BIN, BINS_PER_OCTAVE, LEAST_MS, bins, histogram, middle_ms, observations
from phase4.store.record import NO_LATENCY, Outcome
from phase4.store.units import COUNTS
from tests.data.homes.make import START

EXPOSURE, OK, ERROR, TIMEOUT, INVALID = Outcome
BOUND = (2 ** (1 / 32) - 1) / (2 ** (1 / 32) + 1)
"""1.083 %."""
USERS = dict(zip(COUNTS, (5, 0, *(4,) * 12, 1), strict=True))
EDGES = range(-636, 640)
"""From a microsecond to eleven days, all bins."""


def rows(*events):
    """Return the rows of (outcome, latency in ms, more columns)."""
    found = np.zeros(len(events), ROWS)
    for place, (outcome, latency_ms, *more) in enumerate(events):
        columns = {"flag": 1, "entry": 1, "arm": 2, "t_ms": START, "outcome": outcome, "latency_ms": latency_ms}
        for name, value in {**columns, **(more[0] if more else {})}.items():
            found[place][name] = value
    return found


def observed(*events, closed_until_ms=-1):
    [row] = observations(7, rows(*events), {(1, 1, 2): USERS}, closed_until_ms=closed_until_ms)
    return row


def counted(hist):
    return {int(each["bin"]): int(each["count"]) for each in np.frombuffer(hist, BIN)}


def bin_of(latency_ms):
    return int(bins(np.array([latency_ms], np.float64))[0])


# --------------------------------------------------------------------------------------------- rows
def test_a_tick_without_events_has_no_row():
    assert observations(7, np.empty(0, ROWS), {}, closed_until_ms=-1) == ()


def test_outcomes_are_counted_by_kind_and_an_exposure_is_none():
    row = observed((EXPOSURE, NO_LATENCY), (OK, 1.0), (OK, 1.0), (ERROR, 1.0), (TIMEOUT, 1.0), (INVALID, 1.0))
    assert (row.tick, row.flag_id, row.entry, row.arm) == (7, 1, 1, 2)
    assert (row.ok, row.error, row.timeout, row.invalid) == (2, 1, 1, 1)


def test_exposures_alone_make_a_row():
    row = observed((EXPOSURE, NO_LATENCY))
    assert (row.ok, row.error, row.timeout, row.invalid, row.hist, row.s1) == (0, 0, 0, 0, b"", 0.0)


def test_the_user_columns_are_those_that_were_counted():
    row = observed((OK, 1.0))
    assert {name: getattr(row, name) for name in COUNTS} == USERS


def test_every_flag_entry_and_arm_has_a_row_of_its_own():
    keys = [(1, 0, 1), (1, 0, 2), (1, 255, 1), (1, 256, 1), (1, 65_535, 2), (255, 1, 1), (65_535, 65_535, 2)]
    events = [(OK, 1.0, {"flag": flag, "entry": entry, "arm": arm}) for flag, entry, arm in keys]
    found = observations(7, rows(*events), dict.fromkeys(keys, USERS), closed_until_ms=-1)
    assert [(row.flag_id, row.entry, row.arm) for row in found] == keys
    assert all(row.ok == 1 for row in found)


def test_an_outcome_without_a_latency_is_counted_and_not_timed():
    row = observed((OK, NO_LATENCY), (ERROR, 4.0), (OK, 2.0))
    assert (row.ok, row.error, row.s1, row.s2) == (2, 1, 6.0, 20.0)
    assert sum(counted(row.hist).values()) == 2


def test_the_latency_of_an_exposure_means_nothing():
    row = observed((EXPOSURE, 4.0), (OK, 2.0))
    assert (row.s1, sum(counted(row.hist).values())) == (2.0, 1)


def test_sums_are_taken_in_double_precision():
    row = observed(*[(OK, 0.1)] * 10_000)
    once = float(np.float32(0.1))
    assert row.s1 == pytest.approx(10_000 * once, rel=1e-12)
    assert row.s2 == pytest.approx(10_000 * once * once, rel=1e-12)


def test_the_greatest_latency_there_is_overflows_nothing():
    row = observed((OK, float(np.finfo(np.float32).max)))
    assert np.isfinite([row.s1, row.s2]).all()
    assert len(counted(row.hist)) == 1


def test_late_are_the_outcomes_before_the_end_of_the_newest_closed_tick():
    events = [(OK, 1.0, {"t_ms": START + after}) for after in (-1, 0, 1)]
    exposure = (EXPOSURE, NO_LATENCY, {"t_ms": START - 1})
    assert observed(*events, exposure, closed_until_ms=START).late == 1


def test_before_any_tick_was_closed_nothing_is_late():
    assert observed((OK, 1.0, {"t_ms": 1}), closed_until_ms=-1).late == 0


# --------------------------------------------------------------------------------------------- bins
@pytest.mark.parametrize(("latency_ms", "expected"), [(1_000.0, 0), (2_000.0, 32), (500.0, -32), (125.0, -96)])
def test_a_power_of_two_of_a_second_is_the_upper_edge_of_its_bin(latency_ms, expected):
    assert bin_of(latency_ms) == expected
    assert bin_of(np.nextafter(np.float32(latency_ms), np.float32(np.inf))) == expected + 1


def test_every_bin_begins_above_its_lower_edge_and_ends_with_its_upper_edge():
    """The edges are irrational: the nearest latencies on both sides are held against them in exact arithmetic."""
    for edge in EDGES:
        near = np.float32(1000.0 * 2.0 ** (edge / BINS_PER_OCTAVE))
        for latency in (np.nextafter(near, np.float32(0)), near, np.nextafter(near, np.float32(np.inf))):
            is_below = (Fraction(float(latency)) / 1000) ** BINS_PER_OCTAVE <= Fraction(2) ** edge
            assert bin_of(latency) == (edge if is_below else edge + 1)


def test_latencies_below_a_microsecond_are_in_the_bin_of_one():
    assert {bin_of(latency) for latency in (0.0, -0.0, 1e-30, LEAST_MS)} == {bin_of(LEAST_MS)}


def test_the_value_of_a_bin_is_within_its_bound_everywhere():
    latency = np.exp(np.random.default_rng(7).uniform(np.log(LEAST_MS), np.log(1e9), 200_000))
    edges = 1000.0 * np.exp2(np.arange(-636, 600) / BINS_PER_OCTAVE)
    latency = np.concatenate([latency, edges, edges * (1 + 1e-12), edges * (1 - 1e-12)])
    error = np.abs(middle_ms(bins(latency)) - latency) / latency
    assert round(100 * BOUND, 3) == 1.083
    assert error.max() == pytest.approx(BOUND, abs=1e-9)  # it is reached, at the edges


def test_the_value_of_a_bin_is_of_that_bin():
    places = np.arange(-630, 630)
    assert (bins(middle_ms(places)) == places).all()


# --------------------------------------------------------------------------------------------- histograms
def test_a_histogram_has_each_bin_once_by_bin():
    hist = histogram(np.array([2_000.0, 1_000.0, 1_000.0, 500.0]))
    assert np.frombuffer(hist, BIN).tolist() == [(-32, 1), (0, 2), (32, 1)]
    assert len(hist) == 3 * 6


def test_no_latency_is_an_empty_histogram():
    assert histogram(np.empty(0)) == b""


def test_histograms_add_up():
    latency = np.random.default_rng(1).lognormal(4.0, 1.0, 10_000)
    whole = counted(histogram(latency))
    parts = [counted(histogram(part)) for part in np.array_split(latency, 7)]
    assert {place: sum(part.get(place, 0) for part in parts) for place in whole} == whole


def test_a_quantile_of_a_histogram_is_within_the_bound_of_the_exact_one():
    latency = np.sort(np.random.default_rng(2).lognormal(4.0, 1.0, 100_001))
    hist = np.frombuffer(histogram(latency), BIN)
    cumulative = np.cumsum(hist["count"])
    for rank in (0.5, 0.95, 0.99):
        exact = latency[int(np.ceil(rank * len(latency))) - 1]
        place = hist["bin"][np.searchsorted(cumulative, rank * len(latency))]
        assert middle_ms(np.array([place]))[0] == pytest.approx(exact, rel=BOUND)
