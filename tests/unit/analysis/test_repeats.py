"""Users who fail again and again: exact with the shares that were assigned, whatever the users are like."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.analysis import block, guardrails
from phase4.analysis.columns import ArmColumns
from phase4.analysis.specs import RepeatGuardrail, SampleRatioGuardrail, Terms
from phase4.analysis.verdict import Reason, Role, Verdict

TICKS = 200
TERMS = Terms(alpha=0.05, beta=0.05, horizon_ticks=TICKS)
SPEC = RepeatGuardrail(percentage=25.0)


def arm(third, *, units=10, requests=100):
    """Return columns in which so many users have their third error."""
    third = np.asarray(third, np.int64)
    full = np.full(len(third), requests, np.int64)
    made = ArmColumns.of_requests(np.minimum(third + 1, full), full)
    return replace(made, units=np.full(len(third), units, np.int64), error_third_x=third)


def judged(own, other, spec=SPEC, **changes):
    return block.run(spec, TERMS, guardrails.start(spec), 0, arm(own, **changes), arm(other))


def verdict(made):
    return block.VERDICTS[made.verdicts[-1]], block.REASONS[made.reasons[-1]]


@pytest.mark.parametrize("percentage", [5.0, 40.0, 60.0, 90.0])
def test_chance_alone_rarely_holds_a_stage_whatever_the_shares(percentage):
    """Each user that fails often lies in treatment with the share that was assigned: nothing else is random."""
    spec = RepeatGuardrail(percentage=percentage)
    share = spec.weights[0] / sum(spec.weights)
    generator = np.random.default_rng(round(percentage))
    wrong = 0
    for _ in range(300):
        total = generator.poisson(0.5, TICKS)
        own = generator.binomial(total, share)
        wrong += judged(own, total - own, spec).state.crossed_tick is not None
    assert wrong / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_users_who_fail_again_and_again_in_treatment_hold_the_stage():
    assert verdict(judged([1] * TICKS, [0] * TICKS)) == (Verdict.FAIL, Reason.EVIDENCE)


def test_nobody_with_three_errors_is_no_alarm():
    assert verdict(judged([0] * TICKS, [0] * TICKS)) == (Verdict.PASS, Reason.NO_ALARM)


def test_as_many_in_both_arms_is_no_alarm():
    assert verdict(judged([1] * TICKS, [1] * TICKS)) == (Verdict.PASS, Reason.NO_ALARM)


def test_without_control_nothing_is_said():
    own, nobody = arm([1] * TICKS), arm([0] * TICKS, units=0, requests=0)
    nobody = replace(nobody, ok=np.zeros(TICKS, np.int64), error=np.zeros(TICKS, np.int64))
    made = block.run(SPEC, TERMS, guardrails.start(SPEC), 0, own, nobody)
    assert verdict(made) == (Verdict.NO_DATA, Reason.NO_CONTROL)


def test_while_users_are_missing_in_an_arm_the_comparison_says_nothing():
    specs = (SPEC, SampleRatioGuardrail(percentage=25.0))
    states = [guardrails.start(spec) for spec in specs]
    own, other = arm([1] * TICKS, units=100), arm([0] * TICKS, units=10)
    made = block.run_all(specs, (TERMS, TERMS), states, 0, own, other)
    assert verdict(made[0]) == (Verdict.INCONCLUSIVE, Reason.SAMPLE_RATIO)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=40),
    st.sampled_from(list(Role)),
    st.sampled_from([5.0, 60.0]),
    st.integers(0, 39),
)
def test_the_block_form_gives_the_scalar_forms_answers(ticks, role, percentage, cut):
    spec = RepeatGuardrail(percentage=percentage, role=role)
    own, other, there = (np.array(values) for values in zip(*ticks, strict=True))
    treatment, control = arm(own), arm(other * there, units=3)
    control = replace(control, ok=control.ok * there, error=control.error * there, units=control.units * there)
    scalar = block.by_steps(spec, TERMS, guardrails.start(spec), 0, treatment, control)
    once = block.run(spec, TERMS, guardrails.start(spec), 0, treatment, control)
    assert once.verdicts.tolist() == scalar.verdicts.tolist()
    assert np.allclose(once.log_e_fail, scalar.log_e_fail, rtol=1e-9, atol=1e-9)
    assert (once.state.units, once.state.events) == (scalar.state.units, scalar.state.events)
    cut = min(cut, len(ticks) - 1)
    if cut:
        first = block.run(spec, TERMS, guardrails.start(spec), 0, treatment.slice(0, cut), control.slice(0, cut))
        rest = (part.slice(cut, len(ticks)) for part in (treatment, control))
        later = block.run(spec, TERMS, first.state, cut, *rest)
        assert later.verdicts.tolist() == once.verdicts[cut:].tolist()


@pytest.mark.parametrize("values", [{"percentage": 100.0}, {"percentage": 0.0}, {"prove": True}, {"unit": "request"}])
def test_what_cannot_be_judged_is_refused_by_name(values):
    with pytest.raises(ValueError, match="repeated_errors"):
        RepeatGuardrail(**{"percentage": 5.0, **values})


def test_a_source_that_does_not_count_them_is_refused_with_the_way_out():
    bare = replace(arm([0]), error_third_x=None)
    with pytest.raises(ValueError, match="leave repeated_errors out"):
        block.run(SPEC, TERMS, guardrails.start(SPEC), 0, bare, bare)
    with pytest.raises(ValueError, match="leave repeated_errors out"):
        block.by_steps(SPEC, TERMS, guardrails.start(SPEC), 0, bare, bare)
