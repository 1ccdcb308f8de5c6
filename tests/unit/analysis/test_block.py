"""The block form: the same answers as the scalar one, in fixed cases; the property is in tests/properties."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.analysis import block, eprocess, guardrails, paths
from phase4.analysis.columns import ArmColumns, LatencyColumns
from phase4.analysis.specs import MeanGuardrail, RateGuardrail, RatioGuardrail, Terms, ThresholdGuardrail
from phase4.analysis.verdict import Role, Unit, Verdict, combine
from tests.unit.analysis.test_verdict import answer

TERMS = Terms(alpha=0.01, beta=0.05, horizon_ticks=500)
RATE = RateGuardrail(name="r", limit=0.01, unit=Unit.REQUEST)
RATIO = RatioGuardrail(name="q", unit=Unit.REQUEST, prove=True)


def arms(seed, ticks=300, n=100, rate=0.01, rate_control=0.01, gaps=0.0):
    generator = np.random.default_rng(seed)
    trials = np.where(generator.random(ticks) < gaps, 0, generator.poisson(n, ticks)).astype(np.int64)
    trials_control = np.where(generator.random(ticks) < gaps, 0, generator.poisson(n, ticks)).astype(np.int64)
    events = generator.binomial(trials, rate).astype(np.int64)
    events_control = generator.binomial(trials_control, rate_control).astype(np.int64)
    return ArmColumns.of_requests(events, trials), ArmColumns.of_requests(events_control, trials_control)


COUNTED = (
    *("last_tick", "units", "units_control", "events", "events_control", "data_tick", "control_tick"),
    *("crossed_tick", "window", "ambient", "breached"),
)


def assert_same(fast, slow):
    assert fast.verdicts.tolist() == slow.verdicts.tolist()
    assert fast.reasons.tolist() == slow.reasons.tolist()
    np.testing.assert_allclose(fast.log_e_fail, slow.log_e_fail, atol=1e-9)
    if slow.log_e_pass is None:
        assert fast.log_e_pass is None
    else:
        np.testing.assert_allclose(fast.log_e_pass, slow.log_e_pass, atol=1e-9)
    for name in COUNTED:
        assert getattr(fast.state, name) == getattr(slow.state, name), name
    assert fast.state.max_log_e == pytest.approx(slow.state.max_log_e, abs=1e-9, rel=1e-9)
    assert fast.state.fail.log_e == pytest.approx(slow.state.fail.log_e, abs=1e-9)
    assert fast.state.dispersion == slow.state.dispersion


@pytest.mark.parametrize(
    "spec",
    [
        RATE,
        RateGuardrail(name="r", limit=0.01, unit=Unit.REQUEST, ambient=False, prove=False),
        RateGuardrail(name="r", limit=0.01, unit=Unit.REQUEST, role=Role.SIGNAL),
        RATIO,
        ThresholdGuardrail(name="t", limit=0.03),
        ThresholdGuardrail(name="t", limit=0.012, window=10, min_units=50),
        ThresholdGuardrail(name="t", limit=0.011, window=None, min_units=500),
    ],
    ids=["ambient", "plain", "signal", "ratio", "raw-tick", "raw-window", "raw-cumulative"],
)
@pytest.mark.parametrize("case", [(0.005, 0.005), (0.03, 0.005), (0.02, 0.02), (0.0, 0.0)], ids=str)
def test_block_and_scalar_agree(spec, case):
    own, other = arms(11, rate=case[0], rate_control=case[1], gaps=0.2)
    start = guardrails.start(spec)
    assert_same(block.run(spec, TERMS, start, 0, own, other), block.by_steps(spec, TERMS, start, 0, own, other))


@pytest.mark.parametrize(
    "spec", [RATE, RATIO, ThresholdGuardrail(name="t", limit=0.02, window=7)], ids=lambda s: s.name
)
def test_where_a_block_is_cut_changes_nothing(spec):
    own, other = arms(5, ticks=120, rate=0.008)
    whole = block.run(spec, TERMS, guardrails.start(spec), 0, own, other)
    state, verdicts = guardrails.start(spec), []
    for begin, end in ((0, 1), (1, 50), (50, 51), (51, 120)):
        part = block.run(spec, TERMS, state, begin, own.slice(begin, end), other.slice(begin, end))
        state = part.state
        verdicts += part.verdicts.tolist()
    assert verdicts == whole.verdicts.tolist()
    assert state.fail.log_e == pytest.approx(whole.state.fail.log_e, abs=1e-9) or math.isnan(whole.log_e_fail[-1])
    assert state.window == whole.state.window


@pytest.mark.parametrize("window", [1, 3, None])
def test_a_raw_rule_is_strict_in_a_block_too(window):
    spec = ThresholdGuardrail(name="t", limit=0.03, window=window)
    for events, verdict in ((3, Verdict.PASS), (4, Verdict.FAIL)):
        own, other = (ArmColumns.of_requests(np.array([events] * 4), np.array([100] * 4)) for _ in range(2))
        judged = block.run(spec, TERMS, guardrails.start(spec), 0, own, other)
        assert block.VERDICTS[judged.verdicts[-1]] is verdict
        assert_same(judged, block.by_steps(spec, TERMS, guardrails.start(spec), 0, own, other))


@pytest.mark.parametrize(
    "spec", [RATE, RATIO, ThresholdGuardrail(name="t", limit=0.02, window=7)], ids=lambda s: s.name
)
def test_ticks_of_one_request_are_ticks_with_data(spec):
    own, other = arms(12, ticks=60, n=0.7, rate=0.3, rate_control=0.05)
    assert {0, 1} <= set(other.requests.tolist())
    start = guardrails.start(spec)
    assert_same(block.run(spec, TERMS, start, 0, own, other), block.by_steps(spec, TERMS, start, 0, own, other))


def test_a_guard_that_has_failed_before_a_block_goes_through_it_as_it_was():
    own, other = arms(4, ticks=30, rate=0.2)
    failed = block.run(RATE, TERMS, guardrails.start(RATE), 0, own, other).state
    fast, slow = (form(RATE, TERMS, failed, 30, own, other) for form in (block.run, block.by_steps))
    assert_same(fast, slow)
    assert fast.state == replace(failed, last_tick=59)


def test_the_scalar_form_decides_near_a_bound():
    own, other = arms(3, ticks=40)
    scalar = block.by_steps(RATE, TERMS, guardrails.start(RATE), 0, own, other)
    near = Terms(alpha=math.exp(-max(scalar.log_e_fail.max(), 0.1)), beta=0.05, horizon_ticks=500)
    assert_same(
        block.run(RATE, near, guardrails.start(RATE), 0, own, other),
        block.by_steps(RATE, near, guardrails.start(RATE), 0, own, other),
    )


def test_evidence_at_the_cap_is_that_of_the_scalar_form_and_comes_down_from_there():
    """An observer's E runs into the cap in a long defect, and must leave it when the defect is over."""
    spec = RatioGuardrail(name="r", role=Role.OBSERVE)
    trials = np.full(400, 100_000, np.int64)
    events = np.where(np.arange(400) < 200, 900, 300)
    own, other = (users_of(counts, trials) for counts in (events, np.full(400, 300)))
    judged = block.run(spec, TERMS, guardrails.start(spec), 0, own, other)
    scalar = block.by_steps(spec, TERMS, guardrails.start(spec), 0, own, other)
    assert scalar.log_e_fail.max() > eprocess.LOG_E_CAP - 1
    assert scalar.log_e_fail[-1] < scalar.log_e_fail.max() - 10
    assert np.allclose(judged.log_e_fail, scalar.log_e_fail, rtol=1e-9, atol=1e-9)
    assert judged.verdicts.tolist() == scalar.verdicts.tolist()
    assert np.allclose(judged.state.fail.e, scalar.state.fail.e, rtol=1e-9)


def users_of(events, trials):
    """Return columns in which every request is a user's first."""
    requests = ArmColumns.of_requests(events, trials)
    users = {f"error_{kind}_{of}": trials if of == "n" else events for kind in ("risk", "first") for of in "nx"}
    return replace(requests, **users)


def test_evidence_beyond_the_cap_is_left_to_the_scalar_form():
    spec = RateGuardrail(name="r", limit=0.001, unit=Unit.REQUEST, role=Role.SIGNAL, ambient=False)
    trials = np.full(5, 100_000, np.int64)
    own = ArmColumns.of_requests(trials, trials)
    judged = block.run(spec, TERMS, guardrails.start(spec), 0, own, own)
    assert judged.log_e_fail.max() <= eprocess.LOG_E_CAP
    assert np.isfinite(judged.log_e_fail).all()


def test_impossible_counts_and_blocks_are_refused():
    own, other = arms(1, ticks=5)
    start = guardrails.start(RATE)
    with pytest.raises(ValueError, match="strictly grow"):
        block.run(RATE, TERMS, block.run(RATE, TERMS, start, 0, own, other).state, 4, own, other)
    with pytest.raises(ValueError, match="same number of ticks"):
        block.run(RATE, TERMS, start, 0, own, other.slice(0, 4))
    for counts in (([3], [2]), ([0, 3], [5, 2]), ([0, -1], [5, 5])):
        wrong = ArmColumns.of_requests(*(np.array(values) for values in counts))
        with pytest.raises(ValueError, match="between 0 and trials"):
            block.run(RATE, TERMS, start, 0, wrong, wrong)


def test_restart_weights_are_those_of_the_scalar_form():
    for horizon in (None, 40):
        vector = paths.restart_weights(0, 120, horizon)
        scalar = [eprocess.restart_weight(j, horizon) for j in range(120)]
        np.testing.assert_allclose(vector, scalar, atol=1e-15)


def test_paths_of_many_rollouts_are_those_of_one():
    """Ticks without trials, in either arm, are no evidence and take no weight."""
    generator = np.random.default_rng(9)
    n, m = (np.where(generator.random((80, 3)) < 0.2, 0, 50) for _ in range(2))
    x, y = generator.binomial(n, 0.02), generator.binomial(m, 0.02)
    frozen = generator.random((80, 3)) < 0.2
    rates = paths.paths_rate(x, n, 0.01, horizon_ticks=500, frozen=frozen)
    ratios = paths.paths_ratio(x, n, y, m, max_ratio=1.0, horizon_ticks=500)
    for column in range(3):
        fail = eprocess.FailEvidence.start()
        twin = eprocess.FailEvidence.start()
        for t in range(80):
            if n[t, column] and not frozen[t, column]:
                grid = eprocess.rate_grid(0.01, eprocess.FAIL_RATIOS)
                fail = fail.step(grid, int(x[t, column]), 50 - int(x[t, column]), 500)
            if n[t, column] and m[t, column]:
                grid = eprocess.ratio_grid(50, 50, 1.0, eprocess.FAIL_RATIOS)
                twin = twin.step(grid, int(x[t, column]), int(y[t, column]), 500)
            assert rates[t, column] == pytest.approx(fail.log_e, abs=1e-9)
            assert ratios[t, column] == pytest.approx(twin.log_e, abs=1e-9)


def test_the_blocks_stage_verdict_is_the_scalar_one():
    """Every combination of two guardrails' verdicts, roles included."""
    for roles in product(Role, repeat=2):
        pairs = list(product(Verdict, repeat=2))
        codes = [np.array([block.VERDICTS.index(pair[i]) for pair in pairs], np.int8) for i in (0, 1)]
        outcome, decider = block.combine(roles, codes)
        for j, pair in enumerate(pairs):
            answers = [answer(pair[i], roles[i], str(i)) for i in (0, 1)]
            verdict, deciding = combine(answers)
            assert block.VERDICTS[outcome[j]] is verdict
            assert decider[j] == (-1 if deciding is None else answers.index(deciding))


# ------------------------------------------------------------------------------------------------- means
mean_specs = st.builds(
    MeanGuardrail,
    name=st.just("m"),
    measure=st.sampled_from(("latency", "latency", "latency", "cpu_ms")),
    margin=st.sampled_from((0.0, 0.05, 0.3)),
    role=st.sampled_from((Role.SIGNAL, Role.OBSERVE)),
    prove=st.booleans(),
)
mean_ticks = st.lists(
    st.tuples(
        st.tuples(st.integers(0, 400), st.integers(0, 400)),  # values of treatment and of control
        st.floats(0.1, 5.0),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


def timed(counts, means):
    """Return an arm whose ticks have so many latencies of about that mean, spread by as much."""
    n = np.array(counts, np.int64)
    s1 = n * np.array(means) * (1.0 + 1e-3 * np.sin(np.arange(len(n))))
    zero = np.zeros(len(n), np.int64)
    latencies = LatencyColumns(first_bin=-40, counts=n[:, None], s1=s1, s2=1.7 * s1 * np.array(means))
    return ArmColumns(ok=n, error=zero, timeout=zero, invalid=zero, late=zero, latencies=latencies)


@given(mean_specs, st.floats(1e-4, 0.4), st.floats(1e-3, 0.4), mean_ticks, st.integers(0, 39), st.booleans())
def test_means_of_a_block_are_judged_as_tick_by_tick(spec, alpha, beta, ticks, cut, is_ever_skewed):
    """In two blocks; ticks at which the shares of users are off are counted and not read."""
    terms, cut = Terms(alpha=alpha, beta=beta, horizon_ticks=None), cut % len(ticks)
    own = timed([sizes[0] for sizes, _, _ in ticks], [slower for _, slower, _ in ticks])
    other = timed([sizes[1] for sizes, _, _ in ticks], [1.0] * len(ticks))
    skewed = np.array([is_ever_skewed and skewed for _, _, skewed in ticks])
    fast = slow = guardrails.start(spec)
    for begin, end in ((0, cut), (cut, len(ticks))):
        if begin == end:
            continue
        parts = own.slice(begin, end), other.slice(begin, end)
        one = block.run(spec, terms, fast, begin, *parts, skewed=skewed[begin:end])
        two = block.by_steps(spec, terms, slow, begin, *parts, skewed=skewed[begin:end])
        assert_same(one, two)
        fast, slow = one.state, two.state
        assert fast.max_log_e == pytest.approx(slow.max_log_e, abs=1e-9, rel=1e-9)
        assert (fast.moments, fast.log_e) == (slow.moments, slow.log_e)  # bit for bit
        assert (fast.units_control, fast.data_tick, fast.control_tick) == (
            slow.units_control,
            slow.data_tick,
            slow.control_tick,
        )


@pytest.mark.parametrize(("sizes", "judged"), [((499, 600), False), ((600, 499), False), ((500, 500), True)], ids=str)
def test_a_block_judges_a_mean_from_500_values_in_each_arm(sizes, judged):
    spec = MeanGuardrail(name="m")
    own, other = timed([sizes[0]], [6.0]), timed([sizes[1]], [2.0])
    assert (block.run(spec, TERMS, guardrails.start(spec), 0, own, other).log_e_fail[0] > 0.0) == judged


@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_one_latency_of_no_length_at_all_is_data_too(mean):
    spec, (own, other) = MeanGuardrail(name="m"), (timed([0, 1, 0], [mean] * 3), timed([1, 0, 0], [mean] * 3))
    state = block.run(spec, TERMS, guardrails.start(spec), 0, own, other).state
    assert (state.data_tick, state.control_tick, state.units, state.units_control) == (1, 0, 1, 1)


def test_the_scalar_form_decides_a_mean_near_its_bound():
    spec = MeanGuardrail(name="m", prove=True)
    own, other = timed([300] * 9, [1.2] * 9), timed([300] * 9, [1.0] * 9)
    # the last tick reaches the bound to the last bit
    exact = Terms(alpha=0.2, beta=0.05, horizon_ticks=None)
    for _ in range(60):
        log_e = block.by_steps(spec, exact, guardrails.start(spec), 0, own, other).log_e_fail[-1]
        exact = Terms(alpha=math.exp(-log_e), beta=0.05, horizon_ticks=None)
    start = guardrails.start(spec)
    assert_same(block.run(spec, exact, start, 0, own, other), block.by_steps(spec, exact, start, 0, own, other))
    assert abs(log_e - exact.fail_bound) < 1e-9
