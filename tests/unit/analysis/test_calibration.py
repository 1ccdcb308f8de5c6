"""Calibration of the judge: what it promises, seen over many simulated stages of 5,760 ticks (2 days of 30 s).

Alpha is 5 %, units are requests. The bounds leave three binomial standard errors. The bound at the limit over many more
rollouts is part of `make soak`.
"""

import math

import numpy as np
import pytest

from phase4.analysis import eprocess, paths
from phase4.analysis.reading import AMBIENT_WINDOWS
from tests.unit.analysis.stages import ALPHA, BOUND, LIMIT, TICKS, binomials, first_crossing, fixed, outage, upper


@pytest.mark.parametrize("n", [10, 100, 1000])
def test_a_service_exactly_at_its_limit_is_rolled_back_at_most_as_often_as_alpha_says(n):
    rollouts = 400
    events = binomials(n, np.full((TICKS, 1), LIMIT), n, rollouts)
    log_e = paths.paths_rate(events, fixed(n), LIMIT, horizon_ticks=TICKS)
    assert (first_crossing(log_e) < TICKS).mean() <= upper(ALPHA, rollouts)


def test_the_raw_rule_per_tick_rolls_back_a_healthy_service():
    """0.5 % errors, a limit of 1 %, 100 requests a tick: somewhere in 5,760 looks two errors come together."""
    rollouts = 400
    events = binomials(1, np.full((TICKS, 1), 0.005), 100, rollouts)
    assert ((events / 100) > LIMIT).any(axis=0).mean() >= 0.99


def test_a_late_jump_is_caught_and_soon():
    """From 0.5 % to 1.5 % at a moment uniform in the first 90 % of the stage, 100 requests a tick."""
    rollouts, n = 600, 100
    jump = np.random.default_rng(2).integers(0, int(0.9 * TICKS), rollouts)
    rates = np.where(np.arange(TICKS)[:, None] < jump, 0.005, 0.015)
    log_e = paths.paths_rate(binomials(3, rates, n, rollouts), fixed(n), LIMIT, horizon_ticks=TICKS)
    crossed = first_crossing(log_e)
    requests = np.where(crossed < TICKS, (crossed - jump + 1) * n, np.inf)
    assert ((crossed >= jump) & (crossed < TICKS)).mean() >= 0.99
    assert np.median(requests) <= 11_000


def test_without_restarts_the_same_jump_is_missed():
    """Why the kernel restarts: all weight at tick 0 goes blind after a long healthy stretch."""
    rollouts, n = 200, 100
    jump = np.random.default_rng(2).integers(TICKS // 2, int(0.9 * TICKS), rollouts)
    rates = np.where(np.arange(TICKS)[:, None] < jump, 0.005, 0.015)
    events = binomials(4, rates, n, rollouts)
    up, down = math.log(0.015 / 0.01), math.log1p(-0.015) - math.log1p(-0.01)
    sums = np.cumsum(events * up + (n - events) * down, axis=0)
    assert (sums >= BOUND).any(axis=0).mean() <= 0.2


# ------------------------------------------------------------------------------------------- a shared outage
def test_in_a_shared_outage_the_ratio_keeps_its_alpha():
    rollouts, n = 400, 100
    own, control = outage(10, n, rollouts)
    log_e = paths.paths_ratio(own, fixed(n), control, fixed(n), max_ratio=1.0, horizon_ticks=TICKS)
    assert (first_crossing(log_e) < TICKS).mean() <= upper(ALPHA, rollouts)


def test_in_a_shared_outage_an_absolute_limit_blames_the_feature():
    rollouts, n = 300, 100
    own, _ = outage(20, n, rollouts)
    log_e = paths.paths_rate(own, fixed(n), LIMIT, horizon_ticks=TICKS)
    assert (first_crossing(log_e) < TICKS).mean() >= 0.85


@pytest.mark.parametrize("n", [10, 100])
def test_in_a_shared_outage_ambient_protection_excuses_the_feature(n):
    rollouts = 400
    own, control = outage(30, n, rollouts)
    frozen = paths.above_limit(control, np.broadcast_to(fixed(n), control.shape), LIMIT)
    log_e = paths.paths_rate(own, fixed(n), LIMIT, horizon_ticks=TICKS, frozen=frozen)
    assert (first_crossing(log_e) < TICKS).mean() <= upper(0.03, rollouts)


def test_ambient_protection_still_sees_a_fault_of_treatment_alone():
    rollouts, n = 300, 100
    jump = np.random.default_rng(5).integers(0, int(0.9 * TICKS), rollouts)
    rates = np.where(np.arange(TICKS)[:, None] < jump, 0.005, 0.015)
    own, control = binomials(6, rates, n, rollouts), binomials(7, np.full((TICKS, 1), 0.005), n, rollouts)
    frozen = paths.above_limit(control, np.broadcast_to(fixed(n), control.shape), LIMIT)
    log_e = paths.paths_rate(own, fixed(n), LIMIT, horizon_ticks=TICKS, frozen=frozen)
    crossed = first_crossing(log_e)
    assert ((crossed >= jump) & (crossed < TICKS)).mean() >= 0.99
    assert frozen.mean() <= 0.15


def test_one_long_window_is_not_enough_protection():
    """Evidence outruns the average: with the 20-tick window alone nearly every rollout is blamed at high traffic."""
    assert AMBIENT_WINDOWS == (1, 5, 20)
    rollouts, n = 100, 1000
    own, control = outage(40, n, rollouts)
    x = np.cumsum(control, axis=0)
    x[20:] -= x[:-20].copy()
    trials = np.minimum(np.arange(1, TICKS + 1), 20)[:, None] * n
    frozen = x > trials * LIMIT + np.sqrt(trials * LIMIT * (1 - LIMIT))
    log_e = paths.paths_rate(own, fixed(n), LIMIT, horizon_ticks=TICKS, frozen=frozen)
    assert (first_crossing(log_e) < TICKS).mean() >= 0.8


# ------------------------------------------------------------------------------------------- the pass side
@pytest.mark.parametrize("n", [10, 100])
def test_a_service_exactly_at_its_limit_rarely_proves_that_it_is_below(n):
    rollouts = 400
    grid = eprocess.rate_grid(LIMIT, eprocess.PASS_RATIOS)
    total = np.cumsum(binomials(50, np.full((TICKS, 1), LIMIT), n, rollouts), axis=0)
    trials = (np.arange(1, TICKS + 1) * n)[:, None]
    best = np.full((TICKS, rollouts), -np.inf)
    for up, down in zip(grid.up, grid.down, strict=True):
        best = np.logaddexp(best, total * up + (trials - total) * down - math.log(len(grid.up)))
    assert (best >= BOUND).any(axis=0).mean() <= upper(ALPHA, rollouts)


# ------------------------------------------------------------------------------------------- full length
@pytest.mark.parametrize(("n", "late_median"), [(10, 7_060), (100, 9_600), (1000, 13_000)])
def test_the_table_of_the_default_weights_at_full_length(n, late_median):
    """1,000 rollouts: at the limit, and the late jump's median within a tenth of the design's table."""
    rollouts = 1000
    null = paths.paths_rate(
        binomials(60, np.full((TICKS, 1), LIMIT), n, rollouts), fixed(n), LIMIT, horizon_ticks=TICKS
    )
    assert (first_crossing(null) < TICKS).mean() <= upper(ALPHA, rollouts)
    jump = np.random.default_rng(61).integers(0, int(0.9 * TICKS), rollouts)
    rates = np.where(np.arange(TICKS)[:, None] < jump, 0.005, 0.015)
    crossed = first_crossing(paths.paths_rate(binomials(62, rates, n, rollouts), fixed(n), LIMIT, horizon_ticks=TICKS))
    delay = np.where(crossed < TICKS, (crossed - jump + 1) * n, np.inf)
    assert np.median(delay) <= 1.1 * late_median + n


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 100, 1000])
def test_the_false_alarms_at_the_limit_over_ten_thousand_rollouts(n):
    crossed, parts, size = 0, 10, 1000
    for part in range(parts):
        events = binomials(1000 + 10 * part + n, np.full((TICKS, 1), LIMIT), n, size)
        log_e = paths.paths_rate(events, fixed(n), LIMIT, horizon_ticks=TICKS)
        crossed += int((first_crossing(log_e) < TICKS).sum())
    assert crossed / (parts * size) <= upper(ALPHA, parts * size)
