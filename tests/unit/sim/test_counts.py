from dataclasses import replace

import numpy as np
import pytest

from phase4.durations import HOUR_MS
from phase4.sim import counts
from phase4.sim.counts import CountsSource
from phase4.sim.shapes import Diurnal
from phase4.sim.traffic import Exposure
from tests.unit.sim.worlds import START, TICK, counts_world, fault, scenario

TICKS = 3_000
RATE = 20.0
PER_TICK = RATE * TICK / 1_000
ERRORS = 0.003


def source(*faults, replicate=0, seed=7, ticks=TICKS, **world):
    whole = scenario(counts_world(*faults, rate=RATE, error_rate=world.pop("error_rate", ERRORS), **world), ticks=ticks)
    return CountsSource(whole, whole.worlds[0], seed=seed, replicate=replicate)


def columns(of, percentage=5.0, first=0, begin=None, end=TICKS):
    return of.entry(percentage, first).columns(first if begin is None else begin, end)


def same(one, other):
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for a, b in zip(one, other, strict=True)
        for name in ("ok", "error")
    )


# ------------------------------------------------------------------------------------------------------------ the law


@pytest.mark.parametrize(("percentage", "shares"), [(5.0, (0.05, 0.05)), (50.0, (0.5, 0.5)), (80.0, (0.8, 0.2))])
def test_an_arm_gets_its_share_of_the_requests(percentage, shares):
    for arm, share in zip(columns(source(), percentage), shares, strict=True):
        mean = PER_TICK * share
        assert arm.requests.mean() == pytest.approx(mean, abs=4 * (mean / TICKS) ** 0.5)


def test_at_100_percent_there_is_no_control():
    _, control = columns(source(), 100.0)
    assert control.requests.sum() == 0


@pytest.mark.parametrize("arm", [0, 1], ids=["treatment", "control"])
def test_requests_are_poisson_their_variance_is_their_mean(arm):
    requests = columns(source(), 50.0)[arm].requests
    ratio = requests.var(ddof=1) / requests.mean()
    assert ratio == pytest.approx(1.0, abs=4 * (2 / TICKS) ** 0.5)


@pytest.mark.parametrize("arm", [0, 1], ids=["treatment", "control"])
def test_errors_have_the_rate_of_the_world(arm):
    counted = columns(source(), 50.0)[arm]
    trials = counted.requests.sum()
    assert counted.error.sum() / trials == pytest.approx(ERRORS, abs=4 * (ERRORS / trials) ** 0.5)


def test_errors_given_requests_are_binomial():
    counted = columns(source(error_rate=0.3), 50.0)[0]
    deviations = (counted.error - 0.3 * counted.requests) / np.sqrt(counted.requests * 0.21)
    assert deviations.var() == pytest.approx(1.0, abs=4 * (2 / TICKS) ** 0.5)


def test_the_arms_are_independent():
    treatment, control = columns(source(), 50.0)
    correlation = np.corrcoef(treatment.requests, control.requests)[0, 1]
    assert abs(correlation) < 4 / TICKS**0.5


def test_requests_follow_the_shape_of_the_day():
    day = Diurnal(rate=RATE, swing=0.9, peak_ms=START % (24 * HOUR_MS))
    treatment, _ = columns(source(shape=day, ticks=144), 50.0, end=144)
    assert treatment.requests[:18].mean() == pytest.approx(1.9 * PER_TICK / 2, rel=0.1)
    assert treatment.requests[63:81].mean() == pytest.approx(0.1 * PER_TICK / 2, rel=0.3)


def test_a_fault_adds_to_those_that_would_have_been_fine():
    counted = columns(source(fault("treatment", 0.5), error_rate=0.2), 50.0)[0]
    assert counted.error.sum() / counted.requests.sum() == pytest.approx(0.6, abs=0.002)


def test_there_are_no_users():
    treatment, _ = columns(source())
    assert (treatment.units, treatment.error_risk_n) == (None, None)


# ------------------------------------------------------------------------------------------------------ the same again


def test_the_same_entry_is_drawn_alike_for_every_policy():
    assert same(columns(source(), 5.0, 7), columns(source(), 5.0, 7))


def test_the_same_entry_is_drawn_once():
    of = source()
    assert of.block(5.0, 7, 0) is of.block(5.0, 7, 0)


@pytest.mark.parametrize(
    "other",
    [source(replicate=1), source(seed=8)],
    ids=["replicate", "seed"],
)
def test_another_replicate_or_seed_is_drawn_otherwise(other):
    assert not same(columns(source()), columns(other))


@pytest.mark.parametrize("entry", [(5.0, 1), (10.0, 0), (5.000001, 0)], ids=str)
def test_another_entry_is_drawn_on_its_own(entry):
    percentage, first = entry
    one, other = columns(source(), 5.0, 0, 1), columns(source(), percentage, first, 1)
    assert not same(one, other)


@pytest.fixture(scope="module")
def healthy_and_broken():
    """The columns without a fault, and with one of treatment from tick 100 on."""
    return columns(source()), columns(source(fault("treatment", 0.5, at=100 * TICK)))


def test_a_fault_changes_no_request(healthy_and_broken):
    for healthy, broken in zip(*healthy_and_broken, strict=True):
        assert healthy.requests.tolist() == broken.requests.tolist()


def test_a_fault_changes_nothing_before_it(healthy_and_broken):
    (healthy, _), (broken, _) = healthy_and_broken
    assert healthy.error[:100].tolist() == broken.error[:100].tolist()
    assert healthy.error[100:].sum() < broken.error[100:].sum()


def test_a_fault_of_one_arm_changes_no_error_of_the_other(healthy_and_broken):
    (_, healthy), (_, broken) = healthy_and_broken
    assert healthy.error.tolist() == broken.error.tolist()


def test_a_block_ends_where_the_run_ends():
    treatment, control = source(ticks=counts.BLOCK + 3).block(5.0, 0, 1)
    assert (len(treatment), len(control)) == (3, 3)


@pytest.mark.parametrize("first", [0, 5, counts.BLOCK])
@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (0, 1),
        (counts.BLOCK - 1, counts.BLOCK),
        (counts.BLOCK, counts.BLOCK + 1),
        (counts.BLOCK - 1, counts.BLOCK + 1),
        (10, 3 * counts.BLOCK + 1),
    ],
)
def test_ticks_are_the_same_however_they_are_cut_into_stretches(first, begin, end):
    whole = columns(source(), first=first)
    part = columns(source(), first=first, begin=first + begin, end=first + end)
    assert same(part, [arm.slice(begin, end) for arm in whole])


def test_asking_in_another_order_changes_nothing():
    of = source()
    later, earlier = columns(of, begin=2_000), columns(of, end=2_000)
    again = source()
    assert same(earlier, columns(again, end=2_000))
    assert same(later, columns(again, begin=2_000))


# ----------------------------------------------------------------------------------------------------------- the toll


def exposure(percentage=5.0, first=0, end=TICKS):
    return Exposure(percentage=percentage, first_tick=first, end_tick=end)


def test_the_excess_is_what_treatment_fails_more_than_control():
    of = source(fault("treatment", 0.1, at=100 * TICK), fault("both", 0.05))
    treatment, _ = columns(of)
    more = (1.0 - ERRORS) * 0.1
    assert of.toll((exposure(),)).excess == pytest.approx(more * treatment.requests[100:].sum())


def test_requests_since_the_onset_are_treatment_s():
    of = source(fault("treatment", 0.1, at=100 * TICK))
    treatment, _ = columns(of)
    assert of.toll((exposure(end=150),)).requests_since_onset == treatment.requests[100:150].sum()


def test_the_tolls_of_several_exposures_add_up():
    of = source(fault("treatment", 0.1, at=100 * TICK))
    one, other = exposure(end=150), exposure(10.0, 150, 200)
    tolls = [of.toll(exposures) for exposures in ((one,), (other,), (one, other))]
    assert tolls[2].excess == pytest.approx(tolls[0].excess + tolls[1].excess)
    assert tolls[2].requests_since_onset == tolls[0].requests_since_onset + tolls[1].requests_since_onset


@pytest.mark.parametrize(
    "faults", [(), (fault("both", 0.1),), (fault("control", 0.1),)], ids=["none", "both", "control"]
)
def test_a_feature_that_fails_no_more_than_control_costs_nothing(faults):
    of = source(*faults)
    toll = of.toll((exposure(),))
    assert (of.onset_tick, toll.excess, toll.requests_since_onset) == (None, 0.0, 0)


def test_an_exposure_of_no_ticks_costs_nothing():
    assert source(fault(add=0.5)).toll((exposure(first=5, end=5),)).requests_since_onset == 0


def test_nobody_is_counted_where_there_are_no_users():
    toll = source(fault(add=0.5)).toll((exposure(),))
    assert (toll.users_exposed, toll.users_harmed, toll.users_since_onset) == (None, None, None)


def test_the_onset_is_the_first_tick_of_the_defect():
    assert source(fault(at=100 * TICK)).onset_tick == 100
    assert source(replace(fault(at=100 * TICK), at_ms=100 * TICK + 1)).onset_tick == 101
