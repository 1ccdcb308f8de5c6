import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.durations import DAY_MS, HOUR_MS
from phase4.sim.shapes import Constant, Diurnal

MOMENTS = st.lists(st.integers(0, 2**42), min_size=1, max_size=20).map(lambda values: np.array(values, np.int64))
DIURNAL = st.builds(Diurnal, rate=st.floats(1e-3, 1e6), swing=st.floats(0.0, 1.0), peak_ms=st.integers(0, DAY_MS))
SHAPES = st.builds(Constant, rate=st.floats(1e-3, 1e6)) | DIURNAL


def at(shape, *hours):
    return shape.at(np.array([round(hour * HOUR_MS) for hour in hours], np.int64))


def test_a_constant_rate_is_the_same_at_every_moment():
    assert at(Constant(rate=20.0), 0, 7.5, 1_000).tolist() == [20.0, 20.0, 20.0]


def test_a_daily_swing_is_highest_at_its_peak_and_lowest_half_a_day_later():
    day = Diurnal(rate=100.0, swing=0.5, peak_ms=14 * HOUR_MS)
    assert at(day, 14, 2).tolist() == pytest.approx([150.0, 50.0])


def test_a_daily_swing_has_its_mean_a_quarter_of_a_day_from_its_peak():
    day = Diurnal(rate=100.0, swing=0.5, peak_ms=14 * HOUR_MS)
    assert at(day, 8, 20).tolist() == pytest.approx([100.0, 100.0])


def test_the_mean_over_a_day_is_the_rate():
    day = Diurnal(rate=100.0, swing=0.9, peak_ms=5 * HOUR_MS)
    assert at(day, *range(24)).mean() == pytest.approx(100.0)


def test_a_swing_of_1_goes_down_to_nothing_and_never_below():
    values = at(Diurnal(rate=100.0, swing=1.0, peak_ms=0), *np.arange(0, 24, 0.25))
    assert values.min() == pytest.approx(0.0, abs=1e-9)
    assert (values >= 0.0).all()


@given(DIURNAL, MOMENTS)
def test_every_day_is_like_the_one_before(shape, moments):
    assert np.array_equal(shape.at(moments), shape.at(moments + DAY_MS))


@given(SHAPES, MOMENTS)
def test_there_is_one_rate_for_each_moment_and_none_below_0(shape, moments):
    rates = shape.at(moments)
    assert rates.shape == moments.shape
    assert (rates >= 0.0).all()


@given(SHAPES, MOMENTS)
def test_a_moment_has_its_rate_whatever_it_is_asked_with(shape, moments):
    assert shape.at(moments[-1:])[0] == shape.at(moments)[-1]
