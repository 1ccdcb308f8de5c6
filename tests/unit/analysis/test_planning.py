"""How much data a guardrail needs: golden figures, the kernel itself as the oracle, and the guides on both sides."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from phase4.analysis import binomial, planning
from phase4.analysis.eprocess import PASS_RATIOS, PassEvidence, rate_grid, restart_weight
from phase4.analysis.power import plan_sample_size
from phase4.analysis.specs import RateGuardrail, Terms
from phase4.analysis.verdict import Verdict

BETA = 0.05
BOUND = math.log(1.0 / BETA)
LIMITS = st.sampled_from([0.001, 0.005, 0.01, 0.02, 0.05, 0.2])


def judged(limit, *ticks):
    """Return ln of the PASS evidence as the judge itself has it after (events, units) of each tick."""
    evidence = PassEvidence.start()
    for events, units in ticks:
        evidence = evidence.step(rate_grid(limit, PASS_RATIOS), events, units - events)
    return evidence.log_e


# ----------------------------------------------------------------------------------------------------------- one look
def test_clean_units_are_enough_for_the_point_alternative_and_one_less_is_not():
    for limit in (0.001, 0.01, 0.2):
        units = planning.clean_units(limit, BETA)
        assert (1 - limit) ** units <= BETA < (1 - limit) ** (units - 1)


@pytest.mark.parametrize("wrong", [0.0, 1.0, -0.1, math.nan])
def test_planning_refuses_what_is_no_probability(wrong):
    with pytest.raises(ValueError, match="limit"):
        planning.clean_units(wrong, BETA)
    with pytest.raises(ValueError, match="p lies"):
        planning.kl_bernoulli(wrong, 0.5)
    with pytest.raises(ValueError, match="beta"):
        planning.units_to_pass_with(0.01, wrong, 0)
    with pytest.raises(ValueError, match="power"):
        planning.units_to_pass(0.01, BETA, 0.001, wrong)
    with pytest.raises(ValueError, match="alpha"):
        planning.units_to_fail(planning.rate_drifts(0.01, 0.02), wrong)


@given(LIMITS, st.lists(st.tuples(st.integers(0, 5), st.integers(5, 400)), min_size=1, max_size=8))
def test_evidence_by_totals_is_the_judges_evidence_by_ticks(limit, ticks):
    events, units = (sum(column) for column in zip(*ticks, strict=True))
    assert planning.log_e_pass(limit, events, units) == pytest.approx(judged(limit, *ticks), abs=1e-9)


@given(LIMITS, st.integers(0, 40))
def test_with_the_units_for_so_many_events_the_judge_has_proof_and_with_one_less_it_has_not(limit, events):
    units = planning.units_to_pass_with(limit, BETA, events)
    assert judged(limit, (events, units)) >= BOUND > judged(limit, (events, units - 1))
    assert planning.most_events(limit, BETA, units) == events
    assert planning.most_events(limit, BETA, units - 1) == events - 1


@pytest.mark.parametrize(("limit", "units"), [(0.005, 846), (0.01, 422), (0.02, 210)])
def test_the_grid_passes_with_so_many_clean_units(limit, units):
    assert planning.grid_clean_units(limit, BETA) == units


@given(LIMITS)
def test_the_grid_needs_more_than_any_rule_could_and_less_than_half_more(limit):
    assert 1.0 < planning.grid_clean_units(limit, BETA) / planning.clean_units(limit, BETA) < 1.5


def test_no_unit_proves_nothing():
    assert planning.most_events(0.01, BETA, 0) == -1
    assert planning.proof_probability(0.01, BETA, 0.0, 0) == 0.0
    assert planning.smallest_limit(0, BETA) == math.inf
    assert planning.proof_probability(0.01, BETA, 0.0, 421) == 0.0
    assert planning.proof_probability(0.01, BETA, 0.0, 422) == 1.0


# ------------------------------------------------------------------------------------------------------ until proof
@pytest.mark.parametrize(
    ("limit", "rate", "units", "measured"),
    [
        (0.01, 0.005, 1_903, 2_060),
        (0.005, 0.0025, 3_811, 3_900),
        (0.01, 0.001, 422, 430),
        (0.01, 0.008, 14_787, 14_450),
    ],
)
def test_units_to_pass_are_near_what_was_measured(limit, rate, units, measured):
    """Medians of simulated stages with ticks of 10 to 100 units, which look a little later than at every unit."""
    assert planning.units_to_pass(limit, BETA, rate) == units
    assert units == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(("limit", "rate"), [(0.01, 0.005), (0.02, 0.002), (0.05, 0.03)])
def test_the_probability_of_proof_is_that_of_simulated_units(limit, rate):
    rng, replicates, units = np.random.default_rng(5), 4_000, planning.units_to_pass(limit, BETA, rate)
    events = np.cumsum(rng.random((replicates, units)) < rate, axis=1)
    looks = np.arange(1, units + 1)
    most = np.array([planning.most_events(limit, BETA, look) for look in looks])
    for first in (1, units // 2):
        seen = (events <= most)[:, first - 1 :].any(axis=1).mean()
        told = planning.proof_probability(limit, BETA, rate, units, first_look=first)
        assert seen == pytest.approx(told, abs=4.0 * math.sqrt(0.25 / replicates))


@given(LIMITS, st.floats(0.0, 0.9), st.sampled_from([0.2, 0.5, 0.8]))
def test_the_units_for_a_power_are_those_at_which_proof_has_that_probability(limit, share, power):
    units = planning.units_to_pass(limit, BETA, share * limit, power)
    if units * share * limit < 300:
        assert planning.proof_probability(limit, BETA, share * limit, units) >= power - 1e-9
        assert share == 0.0 or planning.proof_probability(limit, BETA, share * limit, units - 1) < power


@given(LIMITS, st.integers(1, 3_000), st.floats(0.0, 0.8))
def test_proof_is_never_likelier_where_the_looks_begin_later(limit, units, share):
    at_once, later = (
        planning.proof_probability(limit, BETA, share * limit, units, first_look=first) for first in (0, units // 2)
    )
    assert later <= at_once + 1e-9


def test_a_higher_rate_needs_more_units_and_one_near_the_limit_is_never_proved():
    rates = [0.0, 0.001, 0.003, 0.005, 0.008, 0.009]
    needed = [planning.units_to_pass(0.01, BETA, rate) for rate in rates]
    assert needed == sorted(needed)
    for rate in (0.0099, 0.01, 0.02):
        assert planning.units_to_pass(0.01, BETA, rate) == math.inf


@given(LIMITS, st.floats(0.0, 0.9))
def test_proof_that_stands_takes_more_units_than_proof_that_was_there_once(limit, share):
    stands = planning.units_to_stand(limit, BETA, share * limit)
    assert stands >= planning.units_to_pass(limit, BETA, share * limit)
    assert binomial.cdf(planning.most_events(limit, BETA, stands), stands, share * limit) >= 0.5


def test_where_many_events_are_expected_the_figure_is_that_of_proof_that_stands():
    units = planning.units_to_pass(0.01, BETA, 0.009)
    assert units * 0.009 > 400
    assert planning.proof_probability(0.01, BETA, 0.009, units) == pytest.approx(0.5, abs=0.02)


@given(st.integers(3, 20_000), st.floats(0.0, 0.02))
def test_the_smallest_limit_is_proved_with_these_units_and_a_smaller_one_is_not(units, rate):
    limit = planning.smallest_limit(units, BETA, rate)
    if limit == math.inf:
        return
    events = binomial.quantile(0.5, units, rate)
    assert planning.most_events(limit, BETA, units) >= events
    assert planning.most_events(limit * 0.999, BETA, units) < events


def test_two_units_prove_nothing_at_all():
    assert planning.smallest_limit(2, BETA) == math.inf


def test_the_lower_guide_is_that_of_wald():
    assert planning.wald_units(0.01, 0.005, BETA) == pytest.approx(1_937, abs=1)
    assert planning.wald_units(0.01, 0.01, BETA) == math.inf


@pytest.mark.parametrize(("units", "rate"), [(846, 0.0), (300, 0.0), (20_000, 0.004), (10, 0.0)])
def test_the_smallest_limit_is_proved_and_hardly_less_is_not(units, rate):
    limit = planning.smallest_limit(units, BETA, rate)
    events = binomial.quantile(0.5, units, rate)
    assert planning.log_e_pass(limit, events, units) >= BOUND > planning.log_e_pass(limit * (1 - 3e-6), events, units)


@pytest.mark.parametrize("trials", [1, 2, 50, 3_000])
@pytest.mark.parametrize("rate", [1e-4, 0.02, 0.5, 0.97])
def test_binomial_probabilities_are_those_of_scipy(trials, rate):
    law = stats.binom(trials, rate)
    for most in {0, 1, trials // 2, round(trials * rate), trials - 1, trials}:
        assert binomial.cdf(most, trials, rate) == pytest.approx(law.cdf(most), rel=1e-9, abs=1e-300)
    for probability in (0.011, 0.5, 0.8, 0.983):
        assert binomial.quantile(probability, trials, rate) == law.ppf(probability)
    assert binomial.cdf(trials // 2, trials, 1.0) == float(trials // 2 == trials)
    assert binomial.quantile(0.5, 0, rate) == binomial.quantile(0.5, trials, 0.0) == 0


# ------------------------------------------------------------------------------------------------------- until FAIL
@pytest.mark.parametrize("rate", [0.012, 0.015, 0.02, 0.03, 0.1])
@pytest.mark.parametrize("alpha", [0.05, 0.00225])
def test_the_expected_path_lies_between_the_guides(rate, alpha):
    units = planning.units_to_fail(planning.rate_drifts(0.01, rate), alpha)
    assert planning.wald_units(0.01, rate, alpha) < units < 1.1 * planning.immediate_guide(0.01, rate, alpha)
    late = planning.units_to_fail_late(planning.rate_drifts(0.01, rate), alpha, units_per_tick=100, horizon_ticks=5_760)
    assert units < late < 1.15 * planning.late_guide(0.01, rate, alpha, 5_760)


def test_a_rate_at_its_limit_or_below_never_fails():
    for rate in (0.0, 0.005, 0.01):
        assert planning.units_to_fail(planning.rate_drifts(0.01, rate), 0.05) == math.inf


def test_what_both_arms_share_is_no_evidence():
    assert planning.units_to_fail(planning.ratio_drifts(0.005, 1.0, 1.0, 1.0), 0.05) == math.inf


def test_a_larger_control_arm_finds_the_same_ratio_sooner():
    equal, large = (
        planning.units_to_fail(planning.ratio_drifts(0.005, 3.0, 1.0, control), 0.05) for control in (1.0, 9.0)
    )
    assert equal == pytest.approx(1_900, rel=0.05)
    assert large == pytest.approx(920, rel=0.05)


@pytest.mark.parametrize("per_tick", [0.1, 10.0, 200.0])
def test_the_late_figure_is_where_the_restarts_since_the_defect_add_up_to_the_bound(per_tick):
    """Each restart summed by itself, up to 180,000 of them."""
    drifts = np.array(planning.rate_drifts(0.01, 0.012))
    for horizon, middle in ((1_000, 500), (5, 2), (1, 1), (None, 1)):
        units = planning.units_to_fail_late(drifts.tolist(), 0.05, units_per_tick=per_tick, horizon_ticks=horizon)
        age = np.arange(1, round(units / per_tick) + 1)[:, None]
        log_e = math.log(np.exp(age * per_tick * drifts).sum() / len(drifts) * restart_weight(middle, horizon))
        assert log_e == pytest.approx(math.log(20), abs=0.05)


def test_the_guides_are_those_of_the_design():
    assert planning.immediate_guide(0.01, 0.015, 0.05) == pytest.approx(5_270, abs=1)
    assert planning.late_guide(0.01, 0.015, 0.05, 5_760) == pytest.approx(
        (math.log(20) + math.log(8) + math.log(8 * 5_760 / 3)) / planning.kl_bernoulli(0.015, 0.01)
    )


@pytest.mark.parametrize("per_tick", [10, 100, 1_000])
def test_the_late_figure_is_at_least_what_was_measured_and_not_far_above(per_tick):
    """Medians of a jump from 0.5 to 1.5 % at a limit of 1 %, alpha 5 %, at a random moment of 5,760 ticks."""
    measured = {10: 7_060, 100: 9_600, 1_000: 13_000}[per_tick]
    drifts = planning.rate_drifts(0.01, 0.015)
    late = planning.units_to_fail_late(drifts, 0.05, units_per_tick=per_tick, horizon_ticks=5_760)
    assert measured <= late <= 1.3 * measured


# --------------------------------------------------------------------------------------------- formulas against runs
SPEC = RateGuardrail(name="error_rate", limit=0.01)


def terms(alpha=0.00225):
    return Terms(alpha=alpha, beta=BETA, horizon_ticks=2_000)


def sized(true_rate, **changes):
    arguments = {"power": 0.5, "units_per_day": 288_000, "replicates": 400, "rng": np.random.default_rng(1)}
    return plan_sample_size(SPEC, terms(), true_rate=true_rate, **(arguments | changes))


@pytest.mark.parametrize("true_rate", [0.001, 0.005])
def test_simulated_stages_pass_within_a_few_ticks_of_the_exact_figure(true_rate):
    size = sized(true_rate)
    assert (size.verdict, size.simulated.share) == (Verdict.PASS, 1.0)
    assert size.simulated.units == pytest.approx(size.units, rel=0.25)


@pytest.mark.parametrize(
    ("true_rate", "units_per_day"), [(0.015, 28_800), (0.015, 288_000), (0.02, 288_000), (0.03, 28_800)]
)
def test_simulated_stages_fail_a_little_before_the_expected_path(true_rate, units_per_day):
    size = sized(true_rate, units_per_day=units_per_day)
    assert size.verdict is Verdict.FAIL
    assert 0.8 * size.units <= size.simulated.units <= 1.05 * size.units


def test_a_power_says_which_share_of_the_stages_is_there_by_then():
    assert sized(0.005, power=0.8).units == planning.units_to_pass(0.01, BETA, 0.005, 0.8)
    assert sized(0.015, power=0.8).simulated.units > sized(0.015, power=0.5).simulated.units


def test_without_replicates_nothing_is_simulated():
    size = sized(0.005, replicates=None, rng=None)
    assert size.simulated is None
    assert size.days == pytest.approx(1_903 / 288_000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"true_rate": 0.01}, "not the limit"),
        ({"true_rate": 0.0}, "true rate"),
        ({"units_per_day": 0.0}, "units_per_day"),
        ({"rng": None}, "generator"),
    ],
)
def test_impossible_questions_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        sized(**({"true_rate": 0.005} | changes))


def test_the_formulas_load_no_numpy():
    code = "import sys, phase4.analysis.planning, phase4.analysis.power; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --------------------------------------------------------------------------------------------------------- binomial
@given(st.integers(1, 60), st.floats(0.001, 0.999), st.integers(-1, 61))
def test_the_binomial_is_that_of_an_exact_sum(trials, rate, most):
    exact = math.fsum(math.comb(trials, x) * rate**x * (1 - rate) ** (trials - x) for x in range(min(most, trials) + 1))
    assert binomial.cdf(most, trials, rate) == pytest.approx(exact, abs=1e-9)


@given(st.integers(1, 100_000), st.floats(1e-6, 0.5), st.floats(0.01, 0.99))
def test_a_quantile_is_the_fewest_events_that_are_not_exceeded(trials, rate, probability):
    events = binomial.quantile(probability, trials, rate)
    assert binomial.cdf(events, trials, rate) >= probability
    assert events == 0 or binomial.cdf(events - 1, trials, rate) < probability


def test_certain_rates_leave_nothing_to_chance():
    assert [binomial.cdf(2, 3, rate) for rate in (0.0, 1.0)] == [1.0, 0.0]


@pytest.mark.parametrize("rate", [0.0, 0.003, 0.4, 0.97])
@pytest.mark.parametrize("trials", [0, 1, 2, 700])
def test_what_is_likely_is_the_binomial_law_but_for_what_is_negligible(trials, rate):
    found = dict(binomial.likely(trials, rate))
    assert math.fsum(found.values()) == pytest.approx(1.0, abs=1e-11)
    for events, probability in found.items():
        assert probability == pytest.approx(stats.binom(trials, rate).pmf(events), rel=1e-9, abs=1e-300)
