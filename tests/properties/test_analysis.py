"""Rules of the judge that hold for every input."""

import math
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from phase4.analysis import block, eprocess, guardrails
from phase4.analysis.columns import ArmColumns
from phase4.analysis.eprocess import FailEvidence, PassEvidence
from phase4.analysis.specs import RateGuardrail, RatioGuardrail, Terms, ThresholdGuardrail
from phase4.analysis.verdict import Reason, Role, Unit, Verdict

counts = st.integers(0, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
ticks = st.lists(st.tuples(counts, counts), min_size=1, max_size=40)
limits = st.floats(1e-4, 0.5)
horizons = st.one_of(st.none(), st.integers(1, 10_000))
terms_of = st.builds(
    Terms,
    alpha=st.floats(1e-4, 0.5),
    beta=st.floats(1e-3, 0.5),
    horizon_ticks=horizons,
)
rate_specs = st.builds(
    RateGuardrail,
    name=st.just("r"),
    limit=limits,
    unit=st.just(Unit.REQUEST),
    role=st.sampled_from(Role),
    prove=st.booleans(),
    ambient=st.booleans(),
    min_units=st.one_of(st.none(), st.integers(0, 1000)),
)
ratio_specs = st.builds(
    RatioGuardrail,
    name=st.just("q"),
    max_ratio=st.floats(0.5, 2.0),
    pass_ratio=st.floats(2.1, 4.0),
    unit=st.just(Unit.REQUEST),
    role=st.sampled_from(Role),
    prove=st.booleans(),
)
threshold_specs = st.builds(
    ThresholdGuardrail,
    name=st.just("t"),
    limit=st.floats(1e-3, 0.9),
    window=st.one_of(st.none(), st.integers(1, 12)),
    role=st.sampled_from(Role),
    min_units=st.one_of(st.none(), st.integers(0, 400)),
)
specs = st.one_of(rate_specs, ratio_specs, threshold_specs)


def columns(pairs):
    own = np.array([a for a, _ in pairs], np.int64).reshape(-1, 2)
    other = np.array([b for _, b in pairs], np.int64).reshape(-1, 2)
    return ArmColumns.of_requests(own[:, 0], own[:, 1]), ArmColumns.of_requests(other[:, 0], other[:, 1])


def walked(spec, terms, pairs):
    """Return the state after each tick, by the scalar form."""
    own, other = columns(pairs)
    state, states = guardrails.start(spec), []
    for tick in range(len(pairs)):
        rows = [arm.row(tick, tick=tick, flag_id=1, entry=1, arm=2) for arm in (own, other)]
        state = guardrails.step(spec, terms, state, tick, *rows)
        states.append(state)
    return states


@given(specs, terms_of, ticks)
def test_the_block_form_gives_the_scalar_forms_answers(spec, terms, pairs):
    own, other = columns(pairs)
    fast = block.run(spec, terms, guardrails.start(spec), 0, own, other)
    slow = block.by_steps(spec, terms, guardrails.start(spec), 0, own, other)
    assert fast.verdicts.tolist() == slow.verdicts.tolist()
    assert fast.reasons.tolist() == slow.reasons.tolist()
    np.testing.assert_allclose(fast.log_e_fail, slow.log_e_fail, atol=1e-8)
    assert (fast.state.crossed_tick, fast.state.window) == (slow.state.crossed_tick, slow.state.window)


@given(limits, horizons, ticks)
def test_evidence_is_never_negative_and_never_infinite(limit, horizon, pairs):
    grid = eprocess.rate_grid(limit, eprocess.FAIL_RATIOS)
    evidence = FailEvidence.start()
    for (x, n), _ in pairs:
        evidence = evidence.step(grid, x, n - x, horizon)
        assert all(0.0 <= e <= eprocess.E_CAP for e in evidence.e)


@given(limits, counts, counts, horizons)
def test_merging_counts_without_a_restart_between_is_summing_them(limit, one, two, horizon):
    """A restart between the halves is a bet on the second half alone; without it only the sums matter."""
    grid = eprocess.rate_grid(limit, eprocess.PASS_RATIOS)
    split = PassEvidence.start().step(grid, one[0], one[1] - one[0]).step(grid, two[0], two[1] - two[0])
    x, n = one[0] + two[0], one[1] + two[1]
    merged = PassEvidence.start().step(grid, x, n - x)
    assert math.isclose(split.log_e, merged.log_e, rel_tol=1e-9, abs_tol=1e-9)
    del horizon


@given(rate_specs, terms_of, ticks, st.integers(0, 39))
def test_more_errors_never_lower_the_fail_evidence(spec, terms, pairs, place):
    spec = replace(spec, ambient=False, role=Role.OBSERVE)
    place %= len(pairs)
    (x, n), other = pairs[place]
    worse = [*pairs[:place], ((min(x + 1, n), n), other), *pairs[place + 1 :]]
    before, after = walked(spec, terms, pairs)[-1], walked(spec, terms, worse)[-1]
    assert after.fail.log_e >= before.fail.log_e - 1e-9 or after.fail.log_e == before.fail.log_e


@given(rate_specs, terms_of, ticks)
def test_a_smaller_alpha_never_alarms_earlier(spec, terms, pairs):
    strict = replace(terms, alpha=terms.alpha / 3)
    spec = replace(spec, role=Role.GUARD)
    loose_tick = walked(spec, terms, pairs)[-1].crossed_tick
    strict_tick = walked(spec, strict, pairs)[-1].crossed_tick
    assert strict_tick is None or (loose_tick is not None and loose_tick <= strict_tick)


@given(rate_specs, terms_of, ticks)
def test_an_ambient_tick_leaves_the_fail_evidence_as_it_was(spec, terms, pairs):
    spec = replace(spec, ambient=True, role=Role.SIGNAL)
    before = guardrails.start(spec)
    for state in walked(spec, terms, pairs):
        if state.ambient:
            assert state.fail == before.fail
        before = state


@given(specs, terms_of, ticks, ticks)
def test_nothing_later_changes_an_earlier_answer(spec, terms, pairs, later):
    alone = walked(spec, terms, pairs)
    assert walked(spec, terms, pairs + later)[: len(pairs)] == alone


@given(specs, terms_of, ticks)
def test_replay_gives_the_same_states(spec, terms, pairs):
    assert walked(spec, terms, pairs) == walked(spec, terms, pairs)


@given(specs, terms_of, ticks)
def test_a_guard_that_failed_stays_failed(spec, terms, pairs):
    spec = replace(spec, role=Role.GUARD)
    failed = False
    for tick, state in enumerate(walked(spec, terms, pairs)):
        verdict = guardrails.assess(spec, terms, state, tick).verdict
        assert verdict is Verdict.FAIL or not failed
        failed = verdict is Verdict.FAIL


@given(specs, terms_of, st.integers(1, 30))
def test_zero_outcomes_never_pass(spec, terms, size):
    states = walked(spec, terms, [((0, 0), (0, 0))] * size)
    for tick, state in enumerate(states):
        answer = guardrails.assess(spec, terms, state, tick)
        assert (answer.verdict, answer.reason) == (Verdict.NO_DATA, Reason.NO_UNITS)


@given(ticks, st.floats(0.5, 2.0))
def test_swapping_the_arms_mirrors_the_ratio_evidence(pairs, r0):
    """E for "ratio <= r0" with alternative k equals E for the swapped arms with 1/r0 and 1/k."""
    for (x, n), (y, m) in pairs:
        if not n or not m:
            continue
        there = eprocess.ratio_grid(n, m, r0, (3.0,))
        back = eprocess.ratio_grid(m, n, 1.0 / r0, (1.0 / 3.0,))
        forward = x * there.up[0] + y * there.down[0]
        backward = y * back.up[0] + x * back.down[0]
        assert math.isclose(forward, backward, rel_tol=1e-9, abs_tol=1e-9)


@given(st.lists(st.tuples(st.sampled_from(Role), st.sampled_from(Verdict)), min_size=1, max_size=6))
def test_only_a_guards_fail_fails_a_stage_and_only_all_pass_passes(answers):
    codes = [np.array([block.VERDICTS.index(v)], np.int8) for _, v in answers]
    outcome = block.VERDICTS[block.combine([r for r, _ in answers], codes)[0][0]]
    deciding = [(r, v) for r, v in answers if r is not Role.OBSERVE]
    assert (outcome is Verdict.FAIL) == any(r is Role.GUARD and v is Verdict.FAIL for r, v in deciding)
    assert (outcome is Verdict.PASS) == (bool(deciding) and all(v is Verdict.PASS for _, v in deciding))
