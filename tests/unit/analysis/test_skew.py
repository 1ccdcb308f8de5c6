"""The sample ratio: when it alarms, comparisons of the arms say nothing any more, and limits go on."""

import math
from dataclasses import replace

import numpy as np
import pytest

from phase4.analysis import block, guardrails, sample_ratio, sample_ratio_block
from phase4.analysis.columns import ArmColumns
from phase4.analysis.specs import RateGuardrail, RatioGuardrail, SampleRatioGuardrail, Terms
from phase4.analysis.verdict import Reason, Role, Unit, Verdict
from tests.unit.analysis.test_block import assert_same

TERMS = Terms(alpha=0.01, beta=0.05, horizon_ticks=500)
SHARES = SampleRatioGuardrail(percentage=5.0)
RATIO = RatioGuardrail(name="error_ratio")
RATE = RateGuardrail(name="error_rate", limit=0.01)
STAGE = (RATE, RATIO, SHARES)


def arms(seed, *, n, n_control, ticks=200, rate=0.005, rate_control=0.005):
    """Return (treatment, control), all of them users seen for the first time."""
    generator = np.random.default_rng(seed)
    made = []
    for mean, failing in ((n, rate), (n_control, rate_control)):
        users = generator.poisson(mean, ticks).astype(np.int64)
        events = generator.binomial(users, failing).astype(np.int64)
        zero = np.zeros(ticks, np.int64)
        counts = {f"error_{kind}_{of}": {"n": users, "x": events}[of] for kind in ("risk", "first") for of in "nx"}
        made.append(
            ArmColumns(
                ok=users - events,
                error=events,
                timeout=zero,
                invalid=zero,
                late=zero,
                units=users,
                crossed=zero,
                **counts,
            )
        )
    return made


def judged(seed=1, **numbers):
    states = tuple(guardrails.start(spec) for spec in STAGE)
    made = block.run_all(STAGE, (TERMS,) * 3, states, 0, *arms(seed, **numbers))
    return [(block.VERDICTS[one.verdicts[-1]], block.REASONS[one.reasons[-1]]) for one in made]


def test_users_in_their_shares_are_no_alarm():
    assert judged(n=50, n_control=50)[2] == (Verdict.PASS, Reason.NO_ALARM)


def test_users_that_are_missing_in_one_arm_are_an_alarm():
    assert judged(n=40, n_control=50)[2] == (Verdict.FAIL, Reason.EVIDENCE)


def test_an_alarm_makes_comparisons_inconclusive_and_leaves_limits_alone():
    verdicts = judged(n=40, n_control=50, rate=0.02)
    assert verdicts[0] == (Verdict.FAIL, Reason.EVIDENCE)
    assert verdicts[1] == (Verdict.INCONCLUSIVE, Reason.SAMPLE_RATIO)


def test_a_comparison_that_failed_before_the_alarm_stays_failed():
    verdicts = judged(n=47, n_control=50, rate=0.3, ticks=2000)
    assert verdicts[1] == (Verdict.FAIL, Reason.EVIDENCE)


@pytest.mark.parametrize("missing", [0.0, 0.1, 0.5])
def test_block_and_scalar_agree_on_a_stage_with_shares(missing):
    own, other = arms(3, n=50 * (1 - missing), n_control=50, rate=0.008)
    terms, start = (TERMS,) * 3, tuple(guardrails.start(spec) for spec in STAGE)
    fast = block.run_all(STAGE, terms, start, 0, own, other)
    states = start
    for tick in range(len(own)):
        rows = [arm.row(tick, tick=tick, flag_id=1, entry=1, arm=number) for arm, number in ((own, 2), (other, 1))]
        states = guardrails.step_all(STAGE, terms, states, tick, *rows)
        skewed = guardrails.is_skewed(STAGE, states)
        for spec, state, one in zip(STAGE, states, fast, strict=True):
            answer = guardrails.assess(spec, TERMS, state, tick, is_skewed=skewed)
            assert (answer.verdict, answer.reason) == (
                block.VERDICTS[one.verdicts[tick]],
                block.REASONS[one.reasons[tick]],
            )
    for state, one in zip(states, fast, strict=True):
        assert (state.units, state.units_control, state.crossed_tick) == (
            one.state.units,
            one.state.units_control,
            one.state.crossed_tick,
        )


@pytest.mark.parametrize("stage", [STAGE, STAGE[::-1]], ids=["read last", "read first"])
def test_the_tick_that_raises_the_alarm_is_no_comparison_wherever_the_plan_names_the_shares(stage):
    own, other = arms(5, n=10, n_control=300, rate=0.5, ticks=1)
    rows = (own.row(0, tick=0, flag_id=1, entry=1, arm=2), other.row(0, tick=0, flag_id=1, entry=1, arm=1))
    start = tuple(map(guardrails.start, stage))
    states = dict(zip(stage, guardrails.step_all(stage, (TERMS,) * 3, start, 0, *rows), strict=True))
    assert states[SHARES].crossed_tick == 0
    assert states[RATIO].fail.ticks == 0
    assert states[RATE].fail.ticks == 1


def test_shares_that_were_off_once_stay_an_alarm_in_blocks_too_when_the_counts_are_even_again():
    state = guardrails.start(SHARES)
    for number, (n, n_control) in enumerate([(10, 300), (300, 10), (900, 900)]):
        later = block.run(SHARES, TERMS, state, 5 * number, *arms(number, n=n, n_control=n_control, ticks=5))
        state = later.state
    assert sample_ratio.log_e((state.units, state.units_control), (0.5, 0.5)) < 0.0
    assert {block.VERDICTS[code] for code in later.verdicts} == {Verdict.FAIL}


def test_block_and_scalar_agree_on_shares_alone():
    own, other = arms(4, n=43, n_control=50)
    start = guardrails.start(SHARES)
    assert_same(block.run(SHARES, TERMS, start, 0, own, other), block.by_steps(SHARES, TERMS, start, 0, own, other))


def test_an_alarm_less_than_a_millionth_above_the_bound_is_one_in_a_block_too():
    users = (52_576, 51_108)
    assert 0.0 < sample_ratio.log_e(users, (0.5, 0.5)) - sample_ratio.BOUND < 1e-6
    zero = np.zeros(1, np.int64)
    own, other = (replace(ArmColumns.of_requests(zero, np.array([n])), units=np.array([n])) for n in users)
    made = block.run(SHARES, TERMS, guardrails.start(SHARES), 0, own, other)
    assert (block.VERDICTS[made.verdicts[0]], made.state.crossed_tick) == (Verdict.FAIL, 0)


def test_the_alarm_stays_for_the_stage():
    own, other = arms(5, n=30, n_control=50)
    state = block.run(SHARES, TERMS, guardrails.start(SHARES), 0, own, other).state
    assert state.crossed_tick is not None
    own, other = arms(6, n=70, n_control=50)
    again = block.run(SHARES, TERMS, state, len(own), own, other)
    assert {block.VERDICTS[code] for code in again.verdicts} == {Verdict.FAIL}
    assert again.state.crossed_tick == state.crossed_tick


def test_shares_that_were_assigned_alarm_at_most_once_in_a_thousand():
    generator = np.random.default_rng(7)
    runs, ticks = 2_000, 300
    users = generator.binomial(20, 0.5, (runs, ticks))
    ours, theirs = np.cumsum(users, axis=1), np.cumsum(20 - users, axis=1)
    log_e = np.array([sample_ratio_block.log_e(a, b, (0.5, 0.5)) for a, b in zip(ours, theirs, strict=True)])
    share = (log_e.max(axis=1) >= sample_ratio.BOUND).mean()
    assert share <= sample_ratio.ALPHA + 3 * math.sqrt(sample_ratio.ALPHA / runs)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.99, 0.01), (0.909, 0.091)])
def test_the_evidence_for_many_ticks_is_that_of_each(shares):
    ours, theirs = np.array([0, 1, 7, 1000, 3_000_000]), np.array([0, 0, 2, 900, 3_100_000])
    wanted = [sample_ratio.log_e(pair, shares) for pair in zip(ours.tolist(), theirs.tolist(), strict=True)]
    np.testing.assert_allclose(sample_ratio_block.log_e(ours, theirs, shares), wanted, rtol=1e-9, atol=1e-7)


def test_the_gamma_function_is_that_of_the_standard_library():
    """Within 1e-12 where it is small; where it is large, to its last digits."""
    x = np.concatenate([np.geomspace(1e-3, 1.0, 40), np.arange(1.0, 40.0, 0.25), np.geomspace(40.0, 1e9, 40)])
    wanted = [math.lgamma(each) for each in x.tolist()]
    np.testing.assert_allclose(sample_ratio_block.log_gamma(x), wanted, rtol=4e-15, atol=1e-12)


def test_a_source_that_counts_no_users_is_refused():
    own, other = (ArmColumns.of_requests(np.array([0]), np.array([5])) for _ in range(2))
    with pytest.raises(ValueError, match="leave sample_ratio and repeated_errors out"):
        block.run(SHARES, TERMS, guardrails.start(SHARES), 0, own, other)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"percentage": 100.0}, "percentage"), ({"role": Role.GUARD}, "role"), ({"unit": Unit.REQUEST}, "unit")],
)
def test_what_cannot_be_judged_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SampleRatioGuardrail(**{"percentage": 5.0, **values})


@pytest.mark.parametrize(("percentage", "share"), [(5.0, 0.5), (50.0, 0.5), (75.0, 0.75), (90.0, 0.9)])
def test_control_is_a_band_as_large_as_treatment_or_what_is_left(percentage, share):
    assert SampleRatioGuardrail(percentage=percentage).shares == pytest.approx((share, 1 - share))
