"""Latencies of synthetic worlds: drawn in cells, held against requests drawn one by one and against exact shares."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from phase4.analysis import block, guardrails, latency
from phase4.analysis.specs import MeanGuardrail, QuantileGuardrail, RateGuardrail
from phase4.analysis.verdict import Role, Unit, Verdict
from phase4.durations import HOUR_MS
from phase4.sim.faults import FaultKind
from phase4.sim.latencies import BLOCK, timed
from phase4.sim.population import Population
from phase4.sim.service import LognormalLatency, lay_out, order_range
from phase4.sim.sweep import run_one, source_of
from tests.unit.sim.worlds import counts_world, fault, plan, policy, scenario

MODEL = LognormalLatency(median_ms=120.0, sigma=0.6)
P95 = QuantileGuardrail(name="latency_p95")
P95_REQUESTS = QuantileGuardrail(name="latency_p95_requests", unit=Unit.REQUEST, role=Role.OBSERVE)
MEAN = MeanGuardrail(name="latency_mean")
PLAN = plan(P95, P95_REQUESTS, MEAN)
TICKS = 144


def slow(factor, arm="treatment", at=0, **changes):
    return fault(arm=arm, add=0.0, at=at, kind=FaultKind.LATENCY, factor=factor, **changes)


def world(*faults, rate=20.0, users=20_000, model=MODEL):
    made = counts_world(*faults, rate=rate)
    population = None if users is None else Population(users=users)
    return replace(made, traffic=replace(made.traffic, latency=model, population=population))


def drawn(made, *, plan_=PLAN, percentage=25.0, seed=1, first=0, end=TICKS):
    """Return (treatment, control) of one entry."""
    whole = scenario(made, policies=(policy(plan_),), ticks=TICKS)
    source = source_of(whole, made, seed=seed, replicate=0)
    return timed(source, whole, made, plan_, seed=seed, replicate=0).entry(percentage, first).columns(first, end)


def above(limit_ms, factor=1.0):
    """Return the exact share of latencies above a limit."""
    return 1.0 - NormalDist().cdf((math.log(limit_ms) - math.log(MODEL.median_ms * factor)) / MODEL.sigma)


# --------------------------------------------------------------------------------------------------------- the cells


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.3])
def test_cells_hold_all_of_the_mass_the_mean_and_the_square_of_the_model(factor):
    shares = lay_out(MODEL, [(0.95, 0.05)], (0.5, 1.3)).shares(factor)
    mean = MODEL.median_ms * factor * math.exp(MODEL.sigma**2 / 2)
    assert math.isclose(shares.p.sum(), 1.0, rel_tol=1e-12)
    assert math.isclose((shares.p * shares.mean).sum(), mean, rel_tol=1e-9)
    assert math.isclose((shares.p * shares.square).sum(), mean**2 * math.exp(MODEL.sigma**2), rel_tol=1e-9)


def test_around_the_quantile_a_cell_is_a_bin_of_the_store():
    cells = lay_out(MODEL, [(0.95, 0.05)], (1.0, 1.0))
    exact = MODEL.bin_at(NormalDist().inv_cdf(0.95), 1.0)
    inner = cells.edges[(cells.edges >= cells.low) & (cells.edges <= cells.high)]
    assert cells.low < exact < cells.high
    assert (np.diff(inner) == 1).all()


def test_a_sample_of_100_has_its_quantile_where_the_cells_are_fine():
    low, high = order_range(0.95)
    generator = np.random.default_rng(3)
    found = np.sort(generator.random((20_000, latency.MIN_LATENCIES)), axis=1)[:, 94]
    assert low < found.min() and found.max() < high  # noqa: PT018
    assert math.isclose(stats.beta.cdf(low, 95, 6), 1e-9, rel_tol=1e-3)


# -------------------------------------------------------------------------------------- against requests one by one


def test_each_cell_has_its_share_of_the_latencies():
    treatment, _ = drawn(world(slow(1.3)))
    cells = lay_out(MODEL, [(0.95, 0.05)], (1.0, 1.0))
    seen = treatment.latencies.counts.sum(axis=0)
    edges = np.arange(cells.low, cells.high + 1)
    below = MODEL.below(np.array(edges, float), 1.3)
    expected = np.diff(below, prepend=0.0, append=1.0) * seen.sum()
    keep = expected > 10
    assert stats.chisquare(seen[keep], expected[keep] * seen[keep].sum() / expected[keep].sum()).pvalue > 1e-4


def test_the_sums_of_a_tick_are_those_of_single_latencies():
    _, control = drawn(world())
    sums = control.latencies
    mean = MODEL.median_ms * math.exp(MODEL.sigma**2 / 2)
    spread = mean * math.sqrt(math.expm1(MODEL.sigma**2))
    scores = (sums.s1 - sums.n * mean) / (spread * np.sqrt(sums.n))
    assert abs(scores.mean()) < 4 / math.sqrt(TICKS)
    assert 0.8 < scores.std() < 1.2
    assert math.isclose(sums.s2.sum() / sums.n.sum(), mean**2 + spread**2, rel_tol=0.02)


def test_what_is_above_control_s_threshold_is_what_its_histogram_has_there():
    _, control = drawn(world())
    found = control.exceed["latency_p95_requests"]
    for tick in range(1, TICKS):
        pairs = control.latencies.histogram(tick, tick + 1)
        assert found.requests[tick] == sum(n for place, n in pairs if latency.edge_ms(place) > found.threshold_ms[tick])


def test_treatment_is_above_its_threshold_as_often_as_the_model_says():
    treatment, _ = drawn(world(slow(1.2)))
    found = treatment.exceed["latency_p95_requests"]
    share = np.array([above(limit, 1.2) for limit in found.threshold_ms[1:]])
    trials = treatment.latencies.n[1:]
    scores = (found.requests[1:] - trials * share) / np.sqrt(trials * share * (1 - share))
    assert abs(scores.mean()) < 4 / math.sqrt(len(scores))
    assert 0.8 < scores.std() < 1.2


def test_first_outcomes_are_slow_as_often_as_the_others():
    treatment, _ = drawn(world(slow(1.2)))
    found = treatment.exceed["latency_p95"]
    first, named = treatment.error_first_n, ~np.isnan(found.threshold_ms)
    share = np.array([above(limit, 1.2) for limit in found.threshold_ms[named]])
    expected = (first[named] * share).sum()
    assert (found.first <= np.minimum(found.requests, first)).all()
    assert abs(found.first.sum() - expected) < 4 * math.sqrt((first[named] * share * (1 - share)).sum())


def test_thresholds_are_those_that_the_judge_names_tick_by_tick():
    treatment, control = drawn(world())  # alike: a guard that fails latches and names no more thresholds
    terms = PLAN.terms(0, interval_ms=600_000)
    states = [guardrails.start(spec) for spec in PLAN.guardrails[0]]
    for tick in range(TICKS):
        named = guardrails.next_thresholds(PLAN.guardrails[0], states)
        for name in ("latency_p95", "latency_p95_requests"):
            pair = (treatment.exceed[name].threshold_ms[tick], control.exceed[name].threshold_ms[tick])
            assert pair == pytest.approx(named.get(name, (math.nan, math.nan)), nan_ok=True)
        rows = [arm.row(tick, tick=tick, flag_id=1, entry=1, arm=2) for arm in (treatment, control)]
        states = [
            guardrails.step(spec, terms[spec.name], state, tick, *rows)
            for spec, state in zip(PLAN.guardrails[0], states, strict=True)
        ]


def test_the_block_form_judges_them_as_the_scalar_form_does():
    treatment, control = drawn(world(slow(1.2)))
    terms = PLAN.terms(0, interval_ms=600_000)
    for spec in PLAN.guardrails[0]:
        once = block.run(spec, terms[spec.name], guardrails.start(spec), 0, treatment, control)
        steps = block.by_steps(spec, terms[spec.name], guardrails.start(spec), 0, treatment, control)
        assert once.verdicts.tolist() == steps.verdicts.tolist()
        assert np.allclose(once.log_e_fail, steps.log_e_fail, rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------------------------------- nothing else moves


def test_counts_are_those_of_the_world_without_latencies():
    made = world()
    plain = replace(made, traffic=replace(made.traffic, latency=None))
    whole = scenario(made, policies=(policy(PLAN),), ticks=TICKS)
    bare = source_of(whole, plain, seed=1, replicate=0).entry(25.0, 0).columns(0, TICKS)
    for arm, other in zip(drawn(made), bare, strict=True):
        assert {k: v.tolist() for k, v in arm.counts().items() if v is not None} == {
            k: v.tolist() for k, v in other.counts().items() if v is not None
        }


def test_a_slow_treatment_leaves_control_as_it_was():
    healthy, broken = drawn(world())[1], drawn(world(slow(2.0)))[1]
    assert (healthy.latencies.counts == broken.latencies.counts).all()
    assert (healthy.exceed["latency_p95"].requests == broken.exceed["latency_p95"].requests).all()


def test_a_fault_changes_nothing_before_it_begins():
    made = [drawn(world(slow(2.0, at=at)))[0] for at in (24 * HOUR_MS, 12 * HOUR_MS)]
    before = 12 * HOUR_MS // 600_000
    assert (made[0].latencies.counts[:before] == made[1].latencies.counts[:before]).all()
    assert (made[0].latencies.s1[before:] < made[1].latencies.s1[before:]).mean() > 0.9


def test_columns_do_not_depend_on_how_they_are_asked_for(monkeypatch):
    monkeypatch.setattr("phase4.sim.latencies.BLOCK", 40)
    whole = drawn(world())
    made = world()
    sc = scenario(made, policies=(policy(PLAN),), ticks=TICKS)
    entry = timed(source_of(sc, made, seed=1, replicate=0), sc, made, PLAN, seed=1, replicate=0).entry(25.0, 0)
    late = entry.columns(100, TICKS)  # first of all, so that the blocks before it are drawn on the way
    parts = [entry.columns(0, 7), entry.columns(7, 100), late]
    for arm in (0, 1):
        joined = type(whole[arm]).join([part[arm] for part in parts])
        assert (joined.latencies.counts == whole[arm].latencies.counts).all()
        for name, found in whole[arm].exceed.items():
            assert np.array_equal(joined.exceed[name].threshold_ms, found.threshold_ms, equal_nan=True)
            assert (joined.exceed[name].requests == found.requests).all()


def test_a_plan_that_does_not_look_at_latency_draws_none():
    assert drawn(world(), plan_=plan())[0].latencies is None


def test_a_world_without_users_has_latencies_of_requests():
    only = plan(P95_REQUESTS, MEAN)
    treatment, _ = drawn(world(users=None), plan_=only)
    assert treatment.exceed["latency_p95_requests"].requests.sum() > 0


def test_blocks_are_long_enough_to_be_cheap():
    assert BLOCK >= 200


# ---------------------------------------------------------------------------------------------------- whole rollouts


def outcomes(*faults, runs, plan_=PLAN, **changes):
    made = world(*faults, **changes)
    sc = scenario(made, policies=(policy(plan_),), ticks=TICKS)
    return [run_one(sc, made, sc.policies[0], seed=5, replicate=index).outcome for index in range(runs)]


GUARDED = plan(RateGuardrail(name="error_rate", limit=0.02), P95, MEAN)


def test_a_feature_that_is_as_fast_as_before_is_not_rolled_back():
    assert not any(one.rolled_back for one in outcomes(runs=40, plan_=GUARDED))


def test_a_feature_that_is_slow_from_the_start_is_rolled_back_by_p95():
    made = outcomes(slow(1.5), runs=10, plan_=GUARDED, rate=100.0, users=100_000)
    assert {(one.guardrail, one.caught) for one in made} == {("latency_p95", True)}


def test_a_slowdown_of_both_arms_is_not_the_feature_s():
    made = outcomes(slow(1.5, arm="both", at=6 * HOUR_MS), runs=20, plan_=GUARDED)
    assert not any(one.rolled_back for one in made)
    assert {one.onset_ms for one in made} == {None}


def test_a_feature_that_slows_down_when_everybody_has_been_seen_is_held_by_the_mean():
    made = outcomes(slow(1.5, at=12 * HOUR_MS), runs=5, plan_=GUARDED, rate=100.0, users=2_000)
    assert {one.phase for one in made} <= {"PAUSED", "PROGRESSING", "ROLLED_BACK"}
    assert not any(one.phase == "COMPLETED" for one in made)


def test_a_plan_that_does_not_look_at_latency_misses_a_slow_feature():
    (made,) = outcomes(slow(1.5), runs=1, plan_=plan(RateGuardrail(name="error_rate", limit=0.02)))
    assert (made.caught, made.onset_ms) == (False, 0)


def test_a_feature_that_is_faster_has_no_onset():
    assert outcomes(slow(0.7), runs=1)[0].onset_ms is None


def test_a_stage_that_lacks_latencies_in_control_has_no_data():
    treatment, control = drawn(world())
    silent = replace(control, latencies=None, exceed={})
    judged = block.run(
        P95, PLAN.terms(0, interval_ms=600_000)["latency_p95"], guardrails.start(P95), 0, treatment, silent
    )
    assert block.VERDICTS[judged.verdicts[-1]] is Verdict.NO_DATA
