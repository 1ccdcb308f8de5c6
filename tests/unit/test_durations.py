import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4 import durations

UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


@pytest.mark.parametrize(("unit", "size"), UNITS.items(), ids=UNITS)
def test_every_unit_has_its_size(unit, size):
    assert durations.parse(f"3{unit}") == 3 * size


@given(st.integers(0, 2**40))
def test_a_whole_number_of_ms_is_read_exactly(value):
    assert durations.parse(f"{value}ms") == value


@given(st.integers(0, 1_000), st.sampled_from(sorted(UNITS)))
def test_space_around_and_inside_changes_nothing(value, unit):
    assert durations.parse(f"  {value} {unit} ") == durations.parse(f"{value}{unit}")


def test_a_part_of_a_unit_is_a_whole_number_of_ms():
    assert durations.parse("2.5d") == 216_000_000


@pytest.mark.parametrize("text", ["", "h", "12", "-1h", "1 fortnight", "1h 30m", "1e3s", "½h", "12H", ".5h"])
def test_a_text_that_is_no_number_with_a_unit_is_refused_and_shown(text):
    with pytest.raises(ValueError, match="a number with a unit") as refusal:
        durations.parse(text)
    assert repr(text) in str(refusal.value)


def test_a_part_of_a_ms_is_refused():
    with pytest.raises(ValueError, match="whole number of ms"):
        durations.parse("0.5ms")


def test_a_hundred_years_are_the_longest_duration():
    assert durations.parse("36525d") == durations.LONGEST_MS


@pytest.mark.parametrize("text", ["36525.5d", "999999999999d", f"{'9' * 400}d"], ids=["above", "far", "no-float"])
def test_a_longer_duration_is_refused_and_shown_in_short(text):
    with pytest.raises(ValueError, match="at most 36,525 days") as refusal:
        durations.parse(text)
    assert repr(text[:40]) in str(refusal.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (60_000, "1 min"),
        (3_600_000, "1 h"),
        (2 * durations.DAY_MS - durations.HOUR_MS, "47 h"),
        (2 * durations.DAY_MS, "2 d"),
        (-durations.HOUR_MS, "-1 h"),
        (math.inf, "never"),
    ],
)
def test_a_duration_is_shown_in_the_largest_unit_that_fits(value, text):
    assert durations.show(value) == text


@given(st.integers(0, 10**12))
def test_what_is_shown_is_within_a_twentieth_of_a_unit(value):
    number, unit = durations.show(value).split()
    assert abs(float(number) * UNITS[unit] - value) <= 0.05 * UNITS[unit] + 1e-6 * value
