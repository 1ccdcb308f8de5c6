"""One guardrail: every row of the verdict table, latching, staleness, ambient faults, and what feeds which side."""

import itertools
import math
from dataclasses import replace

import pytest

from phase4.analysis import counting, guardrails
from phase4.analysis.eprocess import FailEvidence
from phase4.analysis.observation import Observation, OutcomeSet
from phase4.analysis.reading import is_ambient
from phase4.analysis.specs import (
    MeanGuardrail,
    QuantileGuardrail,
    RateGuardrail,
    RatioGuardrail,
    RepeatGuardrail,
    SampleRatioGuardrail,
    Terms,
    ThresholdGuardrail,
)
from phase4.analysis.verdict import Reason, Role, Unit, Verdict

TERMS = Terms(alpha=0.01, beta=0.05, horizon_ticks=5760)
RATE = RateGuardrail(name="error_rate", limit=0.01, unit=Unit.REQUEST)
RATIO = RatioGuardrail(name="error_ratio", unit=Unit.REQUEST)
RAW = ThresholdGuardrail(name="error_rate", limit=0.01)


def row(events, trials, arm=2, tick=0):
    return Observation(tick=tick, flag_id=1, entry=1, arm=arm, ok=trials - events, error=events)


def judged(spec, ticks, terms=TERMS, now=None):
    """Step through (treatment, control) pairs, None = no row, and assess at the last tick."""
    state = guardrails.start(spec)
    for tick, (own, other) in enumerate(ticks):
        state = guardrails.step(spec, terms, state, tick, own, other)
    return guardrails.assess(spec, terms, state, len(ticks) - 1 if now is None else now)


def test_proof_of_a_breach_is_fail():
    answer = judged(RATE, [(row(60, 100), None)])
    assert (answer.verdict, answer.reason) == (Verdict.FAIL, Reason.EVIDENCE)
    assert answer.first_crossed_tick == 0
    assert answer.log_e_fail >= math.log(100)
    assert answer.p_value <= 0.01


KINDS = ("ok", "error", "timeout", "invalid")


@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), *itertools.combinations(KINDS, 2)], ids=" and ".join)
def test_an_outcome_of_any_kind_is_data(kinds):
    seen = Observation(tick=0, flag_id=1, entry=1, arm=2, **dict.fromkeys(KINDS, 0) | dict.fromkeys(kinds, 3))
    assert counting.has_requests(seen)


def test_evidence_exactly_at_the_bound_is_fail():
    signal, terms = replace(RATE, role=Role.SIGNAL), replace(TERMS, alpha=1 / 16)
    seen = guardrails.step(signal, terms, guardrails.start(signal), 0, row(0, 10), None)
    at = replace(seen, fail=FailEvidence((2.0,) * 8, 1))
    below = replace(seen, fail=FailEvidence((2.0,) * 7 + (2.0 - 1e-12,), 1))
    assert guardrails.assess(signal, terms, at, 0).verdict is Verdict.FAIL
    assert guardrails.assess(signal, terms, below, 0).verdict is not Verdict.FAIL


def test_nothing_seen_is_no_data():
    answer = judged(RATE, [(None, None)])
    assert (answer.verdict, answer.reason) == (Verdict.NO_DATA, Reason.NO_UNITS)
    assert math.isnan(answer.estimate)


@pytest.mark.parametrize("spec", [RATE, RATIO], ids=lambda spec: spec.name)
def test_the_p_value_is_one_before_any_evidence_and_never_rises_again(spec):
    signal, state, seen = replace(spec, role=Role.SIGNAL), guardrails.start(spec), []
    for tick, own in enumerate([None, row(30, 1000), row(30, 1000), row(0, 5000)]):
        state = guardrails.step(signal, TERMS, state, tick, own, row(2, 1000, arm=1))
        seen.append(guardrails.assess(signal, TERMS, state, tick))
    first, second, third, last = seen
    assert (first.p_value, first.log_e_fail) == (1.0, -math.inf)
    assert third.p_value < second.p_value < 1.0
    assert third.p_value == pytest.approx(math.exp(-third.log_e_fail))
    assert last.log_e_fail < third.log_e_fail
    assert last.p_value == third.p_value


def test_silence_for_three_ticks_is_stale():
    clean = [(row(0, 2000), None)]
    assert judged(RATE, clean + [(None, None)] * 2).verdict is Verdict.PASS
    answer = judged(RATE, clean + [(None, None)] * 3)
    assert (answer.verdict, answer.reason) == (Verdict.NO_DATA, Reason.STALE)


def test_staleness_is_counted_in_requests_when_users_are_judged():
    """With everybody seen once, first outcomes stop; the requests do not, and that is no silence."""
    spec = RateGuardrail(name="error_rate", limit=0.01)
    seen = Observation(
        tick=0, flag_id=1, entry=1, arm=2, ok=900, error_risk_n=900, error_risk_x=0, error_first_n=900, error_first_x=0
    )
    again = replace(seen, error_first_n=0)
    assert judged(spec, [(seen, None)] + [(again, None)] * 5).verdict is Verdict.PASS


def test_a_ratio_without_control_is_no_data():
    answer = judged(RATIO, [(row(0, 1000), None)])
    assert (answer.verdict, answer.reason) == (Verdict.NO_DATA, Reason.NO_CONTROL)


def test_a_ratio_whose_control_fell_silent_is_stale():
    both = (row(0, 1000), row(0, 1000, arm=1))
    assert judged(RATIO, [both] + [(row(0, 10), None)] * 3).reason is Reason.STALE


def test_too_few_units_is_inconclusive():
    answer = judged(RATE, [(row(0, 298), None)])
    assert (answer.verdict, answer.reason) == (Verdict.INCONCLUSIVE, Reason.MIN_UNITS)


def test_a_ratio_needs_its_units_in_both_arms():
    assert judged(RATIO, [(row(0, 5000), row(0, 499, arm=1))]).reason is Reason.MIN_UNITS
    assert judged(RATIO, [(row(0, 499), row(0, 5000, arm=1))]).reason is Reason.MIN_UNITS
    assert judged(RATIO, [(row(0, 500), row(0, 500, arm=1))]).verdict is Verdict.PASS


def test_enough_units_without_proof_is_collecting():
    answer = judged(RATE, [(row(3, 400), None)])
    assert (answer.verdict, answer.reason) == (Verdict.INCONCLUSIVE, Reason.COLLECTING)


def test_proof_of_a_low_rate_is_pass():
    answer = judged(RATE, [(row(0, 1332), None)])
    assert (answer.verdict, answer.reason) == (Verdict.PASS, Reason.EVIDENCE)
    assert judged(RATE, [(row(0, 1331), None)]).reason is Reason.COLLECTING


def test_a_service_that_turned_bad_loses_its_pass():
    good = [(row(0, 1400), None)]
    assert judged(RATE, good).verdict is Verdict.PASS
    assert judged(RATE, [*good, (row(9, 500), None)]).verdict is not Verdict.PASS


def test_without_prove_the_absence_of_an_alarm_passes():
    answer = judged(replace(RATE, prove=False), [(row(3, 400), None)])
    assert (answer.verdict, answer.reason) == (Verdict.PASS, Reason.NO_ALARM)
    assert answer.log_e_pass is None


def test_a_ratio_with_prove_asks_for_proof():
    spec = replace(RATIO, prove=True)
    few = [(row(0, 500), row(1, 500, arm=1))]
    many = [(row(30, 20_000), row(90, 20_000, arm=1))]
    assert judged(spec, few).reason is Reason.COLLECTING
    assert judged(spec, many).verdict is Verdict.PASS


def test_a_guard_stays_failed_and_its_evidence_stands_where_it_failed():
    ticks = [(row(60, 100), None)] + [(row(0, 100_000), None)] * 3
    first, later = judged(RATE, ticks[:1]), judged(RATE, ticks)
    assert later.verdict is Verdict.FAIL
    assert later.log_e_fail == first.log_e_fail
    assert later.units == first.units


def test_a_signal_recovers():
    spec = replace(RATE, role=Role.SIGNAL)
    assert judged(spec, [(row(60, 100), None)]).verdict is Verdict.FAIL
    answer = judged(spec, [(row(60, 100), None)] + [(row(0, 100_000), None)] * 3)
    assert answer.verdict is Verdict.PASS
    assert answer.first_crossed_tick == 0
    assert answer.p_value <= 0.01


def test_ticks_strictly_grow():
    state = guardrails.step(RATE, TERMS, guardrails.start(RATE), 5, row(0, 10), None)
    for tick in (5, 4):
        with pytest.raises(ValueError, match="strictly grow"):
            guardrails.step(RATE, TERMS, state, tick, row(0, 10), None)


def test_a_missing_tick_spends_no_weight():
    state = guardrails.step(RATE, TERMS, guardrails.start(RATE), 0, row(0, 10), None)
    assert guardrails.step(RATE, TERMS, state, 1, None, None).fail == state.fail
    assert guardrails.step(RATE, TERMS, state, 1, row(0, 0), None).fail == state.fail


# ------------------------------------------------------------------------------------------------- ambient
def test_control_above_the_limit_freezes_the_fail_side_only():
    state = guardrails.start(RATE)
    calm = guardrails.step(RATE, TERMS, state, 0, row(1, 100), row(0, 100, arm=1))
    stormy = guardrails.step(RATE, TERMS, calm, 1, row(40, 100), row(40, 100, arm=1))
    assert stormy.fail == calm.fail
    assert stormy.passing != calm.passing
    answer = guardrails.assess(RATE, TERMS, stormy, 1)
    assert (answer.verdict, answer.reason) == (Verdict.INCONCLUSIVE, Reason.AMBIENT)


def test_without_protection_a_storm_counts_against_treatment():
    spec = replace(RATE, ambient=False)
    assert judged(spec, [(row(60, 100), row(60, 100, arm=1))]).verdict is Verdict.FAIL


def test_a_fail_is_not_forgotten_in_a_storm():
    ticks = [(row(60, 100), row(0, 100, arm=1)), (row(40, 100), row(40, 100, arm=1))]
    assert judged(RATE, ticks).verdict is Verdict.FAIL


def test_a_storm_is_over_when_all_three_windows_are_calm():
    storm = [(row(0, 1000), row(40, 1000, arm=1))]
    calm = [(row(0, 1000), row(0, 1000, arm=1))]
    assert judged(RATE, storm + calm * 2).reason is Reason.AMBIENT
    assert judged(RATE, storm + calm * 25).verdict is Verdict.PASS


@pytest.mark.parametrize("length", [1, 5, 20])
def test_each_window_alone_can_call_a_tick_ambient(length):
    """Just above one standard error in the window of that length, at or below the limit in the others."""
    limit, n = 0.01, 10_000
    per_tick = limit * n + math.sqrt(n * limit * (1 - limit) / length) * 1.05
    newest = [(math.ceil(per_tick), n)] * length
    before = [(0, n)] * (20 - length) if length < 20 else []
    assert is_ambient([*before, *newest], limit)


def test_control_at_its_bound_is_not_ambient():
    limit, n = 0.01, 9900
    bound = n * limit + math.sqrt(n * limit * (1 - limit))
    assert not is_ambient([(math.floor(bound), n)], limit)
    assert is_ambient([(math.floor(bound) + 1, n)], limit)
    assert not is_ambient([], limit)


# ------------------------------------------------------------------------------------------------- which counts
def test_fail_reads_the_risk_set_and_pass_the_first_outcomes():
    spec = RateGuardrail(name="error_rate", limit=0.01)
    seen = Observation(
        tick=0,
        flag_id=1,
        entry=1,
        arm=2,
        ok=95,
        error=5,
        error_risk_n=90,
        error_risk_x=4,
        error_first_n=50,
        error_first_x=2,
    )
    assert counting.fail_counts(spec, seen) == (4, 90)
    assert counting.pass_counts(spec, seen) == (2, 50)
    assert counting.fail_counts(RATE, seen) == counting.pass_counts(RATE, seen) == (5, 100)


def test_a_source_without_users_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match='use unit = "request"'):
        judged(RateGuardrail(name="error_rate", limit=0.01), [(row(0, 10), None)])


@pytest.mark.parametrize(
    ("outcome_set", "counts"),
    [(OutcomeSet.ERROR, (5, 20)), (OutcomeSet.BAD, (9, 20)), (OutcomeSet.INVALID, (4, 15))],
)
def test_outcome_sets_count_what_they_say(outcome_set, counts):
    seen = Observation(tick=0, flag_id=1, entry=1, arm=2, ok=11, error=3, timeout=2, invalid=4)
    assert counting.fail_counts(replace(RATE, outcome_set=outcome_set), seen) == counts


# ------------------------------------------------------------------------------------------------- the raw rule
def test_the_raw_rule_breaches_strictly_beyond_its_limit():
    assert judged(RAW, [(row(1, 100), None)]).verdict is Verdict.PASS
    assert judged(RAW, [(row(2, 100), None)]).verdict is Verdict.FAIL


def test_the_raw_rule_compares_without_rounding():
    """0.29 * 100 is 28.999... in floating point: 29 of 100 is not beyond 29 %."""
    assert judged(replace(RAW, limit=0.29), [(row(29, 100), None)]).verdict is Verdict.PASS


def test_the_raw_rule_waits_for_its_units():
    spec = replace(RAW, window=None, min_units=150)
    assert judged(spec, [(row(5, 100), None)]).reason is Reason.MIN_UNITS
    assert judged(spec, [(row(5, 100), None), (row(0, 50), None)]).verdict is Verdict.FAIL


def test_the_raw_rule_pools_its_window():
    spec = replace(RAW, window=2)
    ticks = [(row(2, 100), None)]
    assert judged(spec, [(row(0, 100), None), *ticks]).verdict is Verdict.PASS
    assert judged(spec, [(row(1, 100), None), *ticks]).verdict is Verdict.FAIL


def test_the_raw_rule_has_no_error_control_and_says_so():
    answer = judged(RAW, [(row(0, 100), None)])
    assert math.isnan(answer.log_e_fail)
    assert math.isnan(answer.p_value)
    assert answer.log_e_pass is None


# ------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("kind", "named", "values"),
    [
        (RateGuardrail, "limit", {"limit": 0.0}),
        (RateGuardrail, "limit", {"limit": 0.6}),
        (RateGuardrail, "limit", {"limit": math.nan}),
        (RateGuardrail, "name", {"name": "", "limit": 0.1}),
        (RateGuardrail, "weight", {"limit": 0.1, "weight": 0.0}),
        (RateGuardrail, "min_units", {"limit": 0.1, "min_units": -1}),
        (RatioGuardrail, "max_ratio", {"max_ratio": 0.0}),
        (RatioGuardrail, "pass_ratio", {"max_ratio": 2.0, "pass_ratio": 2.0}),
        (ThresholdGuardrail, "limit", {"limit": 1.0}),
        (ThresholdGuardrail, "limit", {"limit": 0.0}),
        (ThresholdGuardrail, "window", {"limit": 0.1, "window": 0}),
        (QuantileGuardrail, "quantile", {"quantile": 0.4999}),
        (QuantileGuardrail, "quantile", {"quantile": 1.0}),
        (QuantileGuardrail, "margin", {"margin": 10.01}),
        (MeanGuardrail, "margin", {"margin": -0.01}),
        (MeanGuardrail, "margin", {"margin": 10.01}),
        (SampleRatioGuardrail, "percentage", {"percentage": 0.0}),
        (SampleRatioGuardrail, "percentage", {"percentage": 100.0}),
    ],
    ids=str,
)
def test_a_guardrail_that_cannot_be_judged_is_refused_by_name(kind, named, values):
    with pytest.raises(ValueError, match=named):
        kind(**{"name": "r", **values})


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (RateGuardrail, {"limit": 0.5, "min_units": 0, "weight": 1e-6}),
        (RateGuardrail, {"limit": 1e-9, "weight": 1e6}),
        (RatioGuardrail, {"max_ratio": 1e-3, "pass_ratio": 2e-3}),
        (RatioGuardrail, {"max_ratio": 1e3, "pass_ratio": 1.001e3}),
        (ThresholdGuardrail, {"limit": 1e-9, "window": 1}),
        (ThresholdGuardrail, {"limit": 0.999, "window": None}),
        (QuantileGuardrail, {"quantile": 0.5, "margin": 0.0}),
        (QuantileGuardrail, {"quantile": 0.999, "margin": 10.0}),
        (MeanGuardrail, {"margin": 0.0}),
        (MeanGuardrail, {"margin": 10.0}),
        (SampleRatioGuardrail, {"percentage": 1e-3}),
        (SampleRatioGuardrail, {"percentage": 99.999}),
    ],
    ids=str,
)
def test_what_lies_just_within_the_ends_can_be_judged(kind, values):
    made = kind(**{"name": "r", **values})
    assert {name: getattr(made, name) for name in values} == values
    terms = {"alpha": 1e-9, "beta": 0.999, "horizon_ticks": 1}
    assert {name: getattr(Terms(**terms), name) for name in terms} == terms


def test_what_a_plan_leaves_out_is_what_the_guide_says():
    rate, ratio, raw = (
        RateGuardrail(name="r", limit=0.1),
        RatioGuardrail(name="r"),
        ThresholdGuardrail(name="r", limit=0.1),
    )
    quantile, mean, shares = QuantileGuardrail(name="r"), MeanGuardrail(name="r"), SampleRatioGuardrail(percentage=5.0)
    assert (ratio.max_ratio, ratio.pass_ratio, raw.window, quantile.quantile) == (1.0, 1.5, 1, 0.95)
    assert quantile.margin == mean.margin == 0.05
    assert [each.prove for each in (rate, ratio, quantile, mean, shares)] == [True, False, False, False, False]
    assert (rate.ambient, rate.emergency, raw.emergency) == (True, False, False)
    assert {each.weight for each in (rate, ratio, raw, quantile, mean, shares)} == {1.0}


@pytest.mark.parametrize(("percentage", "share"), [(1e-3, 0.5), (5.0, 0.5), (50.0, 0.5), (75.0, 0.75), (99.0, 0.99)])
def test_repeated_errors_are_held_against_the_share_that_was_assigned(percentage, share):
    ours, theirs = RepeatGuardrail(percentage=percentage).weights
    assert ours / (ours + theirs) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    "values", [{"alpha": 0.0}, {"beta": 1.0}, {"horizon_ticks": 0}], ids=lambda values: next(iter(values))
)
def test_terms_that_are_none_are_refused_by_name(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Terms(**{"alpha": 0.01, "beta": 0.05, "horizon_ticks": None, **values})
