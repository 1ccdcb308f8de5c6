import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.durations import HOUR_MS
from phase4.sim.faults import Fault, FaultArm, FaultShape, failure_probability
from tests.unit.sim.worlds import fault

TREATMENT, CONTROL, BOTH = FaultArm.TREATMENT, FaultArm.CONTROL, FaultArm.BOTH
FAULTS = st.lists(
    st.builds(
        Fault,
        id=st.just("f"),
        arm=st.sampled_from(FaultArm),
        at_ms=st.integers(0, 1_000),
        for_ms=st.none() | st.integers(1, 1_000),
        add=st.floats(0.0, 1.0),
        shape=st.sampled_from(FaultShape),
        over_ms=st.integers(1, 500),
        period_ms=st.integers(1, 500),
        duty=st.floats(0.0, 1.0),
    ),
    max_size=4,
)
MOMENTS = np.arange(0, 2_500, 7, dtype=np.int64)


def level(one, *moments):
    return one.level(np.array(moments, np.int64)).tolist()


def probability(arm, *faults, at=0):
    return failure_probability(faults, FaultArm(arm), np.array([at], np.int64)).tolist()[0]


# ------------------------------------------------------------------------------------------------------------ shapes


def test_a_step_is_off_before_its_start_and_fully_on_from_it_on():
    assert level(fault(at=100), 0, 99, 100, 10**12) == [0.0, 0.0, 1.0, 1.0]


def test_a_fault_with_an_end_is_off_from_its_end_on():
    assert level(fault(at=100, for_ms=50), 149, 150) == [1.0, 0.0]


def test_a_ramp_grows_evenly_to_its_full_level():
    ramp = fault(at=100, shape=FaultShape.RAMP, over_ms=100)
    assert level(ramp, 99, 124, 149, 199, 500) == [0.0, 0.25, 0.5, 1.0, 1.0]


def test_a_ramp_is_above_nothing_at_its_first_moment():
    ramp = fault(at=100, shape=FaultShape.RAMP, over_ms=HOUR_MS)
    assert 0.0 < level(ramp, 100)[0] < 1e-5


def test_a_ramp_stops_with_its_end_wherever_it_is():
    ramp = fault(at=0, for_ms=50, shape=FaultShape.RAMP, over_ms=100)
    assert level(ramp, 49, 50) == [0.5, 0.0]


def test_an_intermittent_fault_begins_every_period_with_on():
    flicker = fault(at=100, shape=FaultShape.INTERMITTENT, period_ms=10, duty=0.3)
    assert level(flicker, *range(100, 120)) == [1.0, 1.0, 1.0, *[0.0] * 7] * 2


def test_an_intermittent_fault_is_off_before_its_start():
    assert level(fault(at=100, shape=FaultShape.INTERMITTENT, period_ms=10, duty=1.0), 90, 99) == [0.0, 0.0]


@pytest.mark.parametrize(("duty", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_the_duty_may_be_equal_to_its_bounds(duty, share):
    flicker = fault(shape=FaultShape.INTERMITTENT, period_ms=10, duty=duty)
    assert level(flicker, *range(20)) == [share] * 20


# -------------------------------------------------------------------------------------------------------------- arms


@pytest.mark.parametrize(("arm", "hit"), [("treatment", (0.2, 0.0)), ("control", (0.0, 0.2)), ("both", (0.2, 0.2))])
def test_a_fault_hits_its_arm_and_no_other(arm, hit):
    assert (probability("treatment", fault(arm, 0.2)), probability("control", fault(arm, 0.2))) == hit


def test_without_faults_nothing_fails():
    assert probability("treatment") == 0.0


def test_faults_add_up():
    assert probability("treatment", fault("treatment", 0.2), fault("both", 0.3), fault("control", 0.4)) == 0.5


def test_faults_together_fail_at_most_everything():
    assert probability("treatment", fault("treatment", 0.7), fault("both", 0.7)) == 1.0


def test_only_the_faults_of_the_moment_count():
    assert probability("treatment", fault(add=0.2, at=100), fault(add=0.3, for_ms=100), at=100) == 0.2


@given(FAULTS)
def test_a_probability_is_the_clipped_sum_of_the_levels(faults):
    for arm in (TREATMENT, CONTROL):
        expected = [
            min(sum(f.add * level(f, moment)[0] for f in faults if f.arm in {arm, BOTH}), 1.0)
            for moment in MOMENTS.tolist()
        ]
        assert failure_probability(faults, arm, MOMENTS).tolist() == pytest.approx(expected)


@given(FAULTS)
def test_a_level_lies_between_0_and_1_and_within_its_time(faults):
    for one in faults:
        levels = one.level(MOMENTS)
        end = np.inf if one.for_ms is None else one.at_ms + one.for_ms
        outside = (one.at_ms > MOMENTS) | (end <= MOMENTS)
        assert ((levels >= 0.0) & (levels <= 1.0)).all()
        assert not levels[outside].any()
