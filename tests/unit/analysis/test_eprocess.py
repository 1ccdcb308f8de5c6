"""The kernel: why its bound holds, and its edges."""

import itertools
import math

import pytest
from scipy import stats

from phase4.analysis import eprocess
from phase4.analysis.eprocess import FailEvidence, PassEvidence, rate_grid, ratio_grid, restart_weight

LIMITS = (1e-4, 0.005, 0.01, 0.05, 0.3, 0.5)
TRIALS = (1, 2, 7, 40)


def expected_factor(up, down, n, p):
    """Return E[F] over a binomial count, summed exactly."""
    return math.fsum(
        math.comb(n, x) * p**x * (1 - p) ** (n - x) * math.exp(x * up + (n - x) * down) for x in range(n + 1)
    )


@pytest.mark.parametrize(("limit", "n"), list(itertools.product(LIMITS, TRIALS)))
def test_one_tick_of_the_fail_side_is_a_fair_bet_at_most_when_the_rate_is_at_most_the_limit(limit, n):
    grid = rate_grid(limit, eprocess.FAIL_RATIOS)
    for up, down in zip(grid.up, grid.down, strict=True):
        assert expected_factor(up, down, n, limit) == pytest.approx(1.0, abs=1e-12)
        for share in (0.0, 0.2, 0.7, 0.99):
            assert expected_factor(up, down, n, limit * share) <= 1.0 + 1e-12


@pytest.mark.parametrize(("limit", "n"), list(itertools.product(LIMITS, TRIALS)))
def test_one_tick_of_the_pass_side_is_a_fair_bet_at_most_when_the_rate_is_at_least_the_limit(limit, n):
    grid = rate_grid(limit, eprocess.PASS_RATIOS)
    for up, down in zip(grid.up, grid.down, strict=True):
        for rate in (limit, min(1.0, limit * 1.3), min(1.0, limit * 3), 1.0):
            assert expected_factor(up, down, n, rate) <= 1.0 + 1e-12


@pytest.mark.parametrize("rates", [(0.001, 0.019), (0.0, 0.02), (0.0099, 0.0101)])
def test_trials_with_unequal_rates_are_covered_by_their_mean(rates):
    grid = rate_grid(0.01, eprocess.FAIL_RATIOS)
    for up, down in zip(grid.up, grid.down, strict=True):
        product = math.prod(1.0 + p * (math.exp(up) - 1) + (1 - p) * (math.exp(down) - 1) for p in rates)
        assert product <= 1.0 + 1e-12


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 3), (5, 40), (40, 5)])
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.7])
def test_one_tick_of_the_ratio_is_a_fair_bet_at_most_when_treatment_is_no_worse(n, m, rate):
    """Summed exactly over both arms' binomials; equal rates, and treatment better."""
    grid = ratio_grid(n, m, 1.0, eprocess.FAIL_RATIOS)
    for own in (rate, rate * 0.5, 0.0):
        x_law = stats.binom.pmf(range(n + 1), n, own)
        y_law = stats.binom.pmf(range(m + 1), m, rate)
        for up, down in zip(grid.up, grid.down, strict=True):
            total = math.fsum(
                x_law[x] * y_law[y] * math.exp(x * up + y * down) for x in range(n + 1) for y in range(m + 1)
            )
            assert total <= 1.0 + 1e-12


def test_swapping_the_arms_mirrors_the_ratio():
    there = ratio_grid(30, 70, 1.0, (2.0,))
    back = ratio_grid(70, 30, 1.0, (0.5,))
    assert there.up[0] == pytest.approx(back.down[0], abs=1e-14)
    assert there.down[0] == pytest.approx(back.up[0], abs=1e-14)


@pytest.mark.parametrize("horizon", [None, 1, 2, 100, 5760])
def test_the_restart_weights_never_sum_to_more_than_one(horizon):
    count = 3 * (horizon or 2000)
    total = math.fsum(restart_weight(j, horizon) for j in range(count))
    assert 0.5 < total <= 1.0
    # what is still to come is the telescoping series' tail: 1/8 (or 1/2) of g(count)
    tail = (0.5 if horizon is None else 0.125) / (1.0 + math.log(count))
    assert total + tail == pytest.approx(1.0, abs=1e-12)


def test_the_restart_weights_never_end():
    assert restart_weight(10_000_000, 5760) > 0.0


def test_the_first_tick_puts_in_half_of_the_budget():
    evidence = FailEvidence.start().step(rate_grid(0.01, eprocess.FAIL_RATIOS), 0, 0, 5760)
    assert math.fsum(evidence.e) == pytest.approx(0.5)


def test_no_evidence_before_any_data():
    assert FailEvidence.start().log_e == -math.inf
    assert PassEvidence.start().log_e == 0.0


def test_the_weight_is_added_before_the_tick_is_read():
    """Read first, and the first tick could never count; the bound would still look fine on paper."""
    grid = rate_grid(0.01, (2.0,))
    stepped = FailEvidence.start(1).step(grid, 3, 7, None)
    assert stepped.e[0] == pytest.approx(0.5 * math.exp(3 * grid.up[0] + 7 * grid.down[0]))


def test_evidence_stops_at_the_cap_and_goes_on_from_there():
    grid = rate_grid(0.0001, eprocess.FAIL_RATIOS)
    evidence = FailEvidence.start()
    for _ in range(3):
        evidence = evidence.step(grid, 1_000_000, 0, None)
    assert max(evidence.e) == eprocess.E_CAP
    assert math.isfinite(evidence.log_e)
    assert evidence.step(grid, 0, 100_000, None).log_e < evidence.log_e


def test_after_underflow_the_next_restart_revives_the_evidence():
    grid = rate_grid(0.01, eprocess.FAIL_RATIOS)
    dead = FailEvidence.start().step(grid, 0, 10_000_000, 100)
    assert max(dead.e) == 0.0
    assert dead.step(grid, 5, 5, 100).log_e > 0.0


def test_a_clean_run_proves_with_the_units_that_the_design_names():
    for limit, units in ((0.005, 846), (0.01, 422), (0.02, 210)):
        grid = rate_grid(limit, eprocess.PASS_RATIOS)
        assert PassEvidence.start().step(grid, 0, units).log_e >= math.log(20)
        assert PassEvidence.start().step(grid, 0, units - 1).log_e < math.log(20)


def test_a_limit_of_one_half_is_the_highest():
    assert rate_grid(0.5, eprocess.FAIL_RATIOS).up[-1] == pytest.approx(math.log(0.95 / 0.5))
    for wrong in (0.0, -0.1, 0.5000001, 1.0, math.nan):
        with pytest.raises(ValueError, match="limit"):
            rate_grid(wrong, eprocess.FAIL_RATIOS)


@pytest.mark.parametrize(("x", "n"), [(0, 50), (50, 50), (1, 1), (0, 1)])
def test_counts_at_their_ends_are_read(x, n):
    evidence = FailEvidence.start().step(rate_grid(0.01, eprocess.FAIL_RATIOS), x, n - x, 5760)
    assert math.isfinite(evidence.log_e)
    assert evidence.ticks == 1
