"""Latency against concurrent control: histograms, thresholds, the guardrails on the quantile and on the mean."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phase4.analysis import block, guardrails, latency, moments
from phase4.analysis.columns import LatencyColumns
from phase4.analysis.moments import Moments
from phase4.analysis.moments_block import log_e_of_both
from phase4.analysis.observation import Observation
from phase4.analysis.specs import MeanGuardrail, QuantileGuardrail, Terms
from phase4.analysis.thresholds import thresholds_ms
from phase4.analysis.verdict import Reason, Role, Unit, Verdict
from tests.unit.analysis.latencies import NAME, arms, latency_columns
from tests.unit.analysis.test_block import assert_same

TERMS = Terms(alpha=0.01, beta=0.05, horizon_ticks=500)
P95 = QuantileGuardrail(name=NAME)
MEAN = MeanGuardrail(name="latency_mean")
CASES = json.loads((Path(__file__).parents[2] / "data" / "statistics.json").read_text())["cases"]


def judged(spec, own, other):
    """Return the verdicts and reasons at every tick, with the state at the end."""
    made = block.run(spec, TERMS, guardrails.start(spec), 0, own, other)
    return [(block.VERDICTS[v], block.REASONS[r]) for v, r in zip(made.verdicts, made.reasons, strict=True)], made


# --------------------------------------------------------------------------------------------- histograms
def test_a_packed_histogram_is_read_back():
    pairs = ((-140, 3), (-139, 1), (20, 4_000_000_000))
    assert latency.unpack(latency.pack(pairs)) == pairs


def test_merged_histograms_hold_the_latencies_of_both():
    assert latency.merge(((1, 2), (3, 1)), ((1, 1), (2, 5))) == ((1, 3), (2, 5), (3, 1))
    assert latency.merge((), ((1, 1),)) == ((1, 1),)


@pytest.mark.parametrize(("size", "named"), [(99, False), (100, True)])
def test_below_100_latencies_no_threshold_is_named(size, named):
    assert (latency.threshold_ms(((0, size),), 0.95) is not None) == named


def test_the_threshold_is_the_upper_edge_of_the_bin_that_holds_the_quantile():
    histogram = ((-32, 94), (-31, 1), (0, 5))
    assert latency.threshold_ms(histogram, 0.95) == latency.edge_ms(-31)
    assert latency.threshold_ms(histogram, 0.951) == latency.edge_ms(0) == 1000.0


def test_thresholds_of_many_ticks_are_those_of_one_after_the_other():
    generator = np.random.default_rng(3)
    values = [generator.lognormal(4, 0.5, size) for size in generator.poisson(9, 60)]
    columns, seen, expected = latency_columns(values), ((-200, 7),), []
    for tick in range(len(values)):
        limit = latency.threshold_ms(seen, 0.9)
        expected.append(math.nan if limit is None else limit)
        seen = latency.merge(seen, columns.histogram(tick, tick + 1))
    np.testing.assert_array_equal(thresholds_ms(columns, 0.9, before=((-200, 7),)), expected)


def test_columns_of_latencies_can_be_cut_and_joined_again():
    whole = latency_columns([np.array([1.0, 20.0]), np.array([]), np.array([900.0])])
    again = LatencyColumns.join([whole.slice(0, 1), whole.slice(1, 3)])
    assert again.histogram(0, 3) == whole.histogram(0, 3)
    assert again.n.tolist() == [2, 0, 1]
    for values in ([1.0], [20.0, 30.0], [900.0]), ([900.0], [20.0, 30.0], [1.0]):  # each with bins of its own
        ticks = [np.array(each) for each in values]
        whole, again = latency_columns(ticks), LatencyColumns.join([latency_columns([each]) for each in ticks])
        assert [again.packed(tick) for tick in range(3)] == [whole.packed(tick) for tick in range(3)]
        assert (again.s1.tolist(), again.s2.tolist()) == (whole.s1.tolist(), whole.s2.tolist())


# --------------------------------------------------------------------------------------------- the quantile
@pytest.mark.parametrize("spec", [P95, replace(P95, prove=True), replace(P95, role=Role.SIGNAL)], ids=str)
@pytest.mark.parametrize("slower", [1.0, 1.5])
def test_block_and_scalar_agree_on_a_quantile(spec, slower):
    own, other = arms(5, slower=slower)
    start = guardrails.start(spec)
    fast, slow = block.run(spec, TERMS, start, 0, own, other), block.by_steps(spec, TERMS, start, 0, own, other)
    assert_same(fast, slow)
    assert fast.state.histogram == slow.state.histogram


def test_where_a_block_is_cut_changes_nothing_for_a_quantile():
    own, other = arms(6, slower=1.3)
    whole = block.run(P95, TERMS, guardrails.start(P95), 0, own, other)
    state, parts = guardrails.start(P95), []
    for begin, end in ((0, 3), (3, 40), (40, 100)):
        part = block.run(P95, TERMS, state, begin, own.slice(begin, end), other.slice(begin, end))
        state = part.state
        parts += part.verdicts.tolist()
    assert parts == whole.verdicts.tolist()
    assert state.histogram == whole.state.histogram


def test_a_slower_treatment_fails_and_an_equal_one_passes_without_alarm():
    assert judged(P95, *arms(7, slower=1.5, ticks=300))[0][-1] == (Verdict.FAIL, Reason.EVIDENCE)
    assert judged(P95, *arms(7, slower=1.0, ticks=300))[0][-1] == (Verdict.PASS, Reason.NO_ALARM)


def test_a_late_slowdown_is_found():
    verdicts, made = judged(P95, *arms(8, slower=1.5, ticks=600, from_tick=300))
    assert verdicts[299][0] is Verdict.PASS
    assert 300 <= made.state.crossed_tick < 400


def test_a_faster_treatment_is_proved_faster_where_that_is_asked():
    spec = replace(P95, prove=True)
    assert judged(spec, *arms(9, slower=0.7, ticks=300))[0][-1] == (Verdict.PASS, Reason.EVIDENCE)
    assert judged(spec, *arms(9, slower=1.05, ticks=300))[0][-1] == (Verdict.INCONCLUSIVE, Reason.COLLECTING)


def test_no_latency_is_no_data_and_latency_that_stops_is_stale():
    own, other = arms(10, ticks=20)
    silent = [replace(arm, latencies=None, exceed={}) for arm in (own, other)]
    assert {why for _, why in judged(P95, *silent)[0]} == {Reason.NO_UNITS}
    made = block.run(P95, TERMS, guardrails.start(P95), 0, own, other)
    later = block.run(P95, TERMS, made.state, 20, *silent)
    assert block.REASONS[later.reasons[-1]] is Reason.STALE


def test_a_single_latency_is_data():
    own, other = (replace(arm, exceed={}) for arm in arms(14, ticks=30, n=0.8))
    assert 1 in own.latencies.n
    start = guardrails.start(P95)
    assert_same(block.run(P95, TERMS, start, 0, own, other), block.by_steps(P95, TERMS, start, 0, own, other))


def test_the_threshold_of_a_tick_rests_on_the_ticks_before_it():
    state = guardrails.start(P95)
    few, many = ({"tick": 0, "flag_id": 1, "entry": 1, "arm": 1, "ok": n, "error_first_n": n} for n in (99, 100))
    for row, named in ((few, {}), (many, {NAME: (1.05 * latency.edge_ms(4), latency.edge_ms(4))})):
        seen = Observation(**row, error_first_x=0, hist=latency.pack(((4, row["ok"]),)))
        after = guardrails.step(P95, TERMS, state, 0, None, seen)
        assert guardrails.next_thresholds([P95], [after]) == named
    assert guardrails.next_thresholds([P95], [state]) == {}


@pytest.mark.parametrize("by", [{"unit": Unit.REQUEST}, {}], ids=["requests", "users"])
def test_equal_arms_alarm_at_most_as_often_as_alpha_says(by):
    spec, terms = replace(P95, **by), Terms(alpha=0.05, beta=0.05, horizon_ticks=200)
    alarms = 0
    for seed in range(200):
        own, other = arms(1000 + seed, ticks=200, n=20, margin=0.0)
        alarms += (
            block.run(replace(spec, margin=0.0), terms, guardrails.start(spec), 0, own, other).state.crossed_tick
            is not None
        )
    assert alarms / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


# --------------------------------------------------------------------------------------------- the mean
def test_the_bound_at_half_of_alpha_is_just_outside_the_published_two_sided_one():
    case = next(case for case in CASES if case["id"] == "asymptotic-cs-proportions")
    given, wanted = case["inputs"], case["expected"]
    count = given["control"]["trials"] + given["treatment"]["trials"]
    half = moments.half_width(wanted["standard_error"] ** 2, count, given["alpha"] / 2, tuned_for=given["n_star"])
    # ln(1 + s / alpha) instead of ln(s / alpha): the one-sided form pays a little for being exact
    assert wanted["lower"] - 3e-4 <= wanted["uplift"] - half <= wanted["lower"]
    assert wanted["upper"] <= wanted["uplift"] + half <= wanted["upper"] + 3e-4


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.05])
@pytest.mark.parametrize("count", [1_000, 20_000, 10_000_000])
def test_the_evidence_reaches_its_bound_where_the_interval_excludes_the_margin(alpha, count):
    half = moments.half_width(1e-4, count, alpha)
    assert moments.log_e(half, 1e-4, count, alpha) == pytest.approx(math.log(1 / alpha), abs=1e-9)
    assert moments.log_e(0.999 * half, 1e-4, count, alpha) < math.log(1 / alpha)


def test_an_excess_of_nearly_nothing_is_no_evidence():
    """1 - exp(-x) is 0 for x below 1e-16, and has no logarithm."""
    assert moments.log_e(1e-12, 1e-4, 20_000, 0.01) == 0.0


def test_below_500_values_in_an_arm_nothing_is_said():
    few, many = Moments(499, 499.0, 600.0), Moments(500, 500.0, 600.0)
    assert moments.log_ratio(few, many) is None
    assert moments.log_ratio(many, few) is None
    assert moments.log_ratio(many, many) is not None


@pytest.mark.parametrize("sums", [(500, 0.0, 0.0), (500, -3.0, 9.0)], ids=["nothing", "below nothing"])
def test_sums_that_have_no_logarithm_say_nothing(sums):
    known = (500, 500.0, 600.0)
    for ours, theirs in ((sums, known), (known, sums)):
        assert moments.log_ratio(Moments(*ours), Moments(*theirs)) is None
        arms_of = (tuple(np.array([value]) for value in arm) for arm in (ours, theirs))
        assert [side.tolist() for side in log_e_of_both(*arms_of, 0.0, (0.01, 0.05))] == [[0.0], [0.0]]


@pytest.mark.parametrize("slower", [1.0, 1.5])
def test_block_and_scalar_agree_on_a_mean(slower):
    own, other = arms(11, slower=slower)
    start = guardrails.start(MEAN)
    assert_same(block.run(MEAN, TERMS, start, 0, own, other), block.by_steps(MEAN, TERMS, start, 0, own, other))


def test_a_slower_mean_fails_and_an_equal_one_passes_without_alarm():
    assert judged(MEAN, *arms(12, slower=1.3, ticks=300))[0][-1] == (Verdict.FAIL, Reason.EVIDENCE)
    assert judged(MEAN, *arms(12, slower=1.0, ticks=300))[0][-1] == (Verdict.PASS, Reason.NO_ALARM)


def test_a_metric_that_nobody_reports_is_no_data():
    own, other = arms(13)
    assert {why for _, why in judged(replace(MEAN, measure="cpu_ms"), own, other)[0]} == {Reason.NO_UNITS}


def test_a_metric_is_compared_as_latency_is():
    spec = MeanGuardrail(name="cpu_mean", measure="cpu_ms", prove=True)
    rows = [
        Observation(
            tick=0, flag_id=1, entry=1, arm=arm, ok=4000, metrics={"cpu_ms": (4000, mean * 4000, 2 * mean**2 * 4000)}
        )
        for arm, mean in ((2, 5.0), (1, 5.0))
    ]
    state = guardrails.step(spec, TERMS, guardrails.start(spec), 0, *rows)
    answer = guardrails.assess(spec, TERMS, state, 0)
    assert (answer.estimate, answer.units, answer.units_control) == (1.0, 4000, 4000)
    assert answer.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (QuantileGuardrail, {"quantile": 1.0}, "quantile"),
        (QuantileGuardrail, {"margin": -0.1}, "margin"),
        (MeanGuardrail, {"role": Role.GUARD}, "role"),
        (MeanGuardrail, {"unit": Unit.USER}, "unit"),
    ],
)
def test_what_cannot_be_judged_is_refused(kind, values, message):
    with pytest.raises(ValueError, match=message):
        kind(name="x", **values)
