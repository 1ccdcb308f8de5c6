"""Requests as the unit: evidence for counts that vary more than independent requests, and how much they vary."""

import itertools
import json
import math
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from phase4.analysis import block, counting, dispersion, dispersion_block, eprocess, guardrails, paths
from phase4.analysis.columns import ArmColumns
from phase4.analysis.dispersion import LADDER, Dispersion, rate_grid, ratio_grid
from phase4.analysis.eprocess import FAIL_RATIOS, PASS_RATIOS
from phase4.analysis.explain import explain
from phase4.analysis.observation import Observation
from phase4.analysis.specs import QuantileGuardrail, RateGuardrail, RatioGuardrail, Terms, ThresholdGuardrail
from phase4.analysis.verdict import Reason, Role, Unit, Verdict
from tests.unit.analysis.test_block import assert_same

TERMS = Terms(alpha=0.01, beta=0.05, horizon_ticks=500)
RATE = RateGuardrail(name="r", limit=0.01, unit=Unit.REQUEST)
RATIO = RatioGuardrail(name="q", unit=Unit.REQUEST, prove=True)
PHIS = (1.5, 4.0, 16.0)


def expected(exponent, mean, phi):
    """Return E[exp(exponent * x)] of a gamma-Poisson count, summed until what is left is below 1e-13 of it."""
    if not mean:
        return 1.0
    if phi == 1.0:
        law = stats.poisson(mean)
        weighted, spread = mean * math.exp(exponent), 1.0
    else:
        law = stats.nbinom(mean / (phi - 1.0), 1.0 / phi)
        share = (1.0 - 1.0 / phi) * math.exp(exponent)
        assert share < 1.0
        weighted, spread = mean / (phi - 1.0) * share / (1.0 - share), 1.0 / (1.0 - share)
    end = int(weighted + 12.0 * math.sqrt(weighted * spread) + 45.0 * spread) + 50
    x = np.arange(end + 1)
    return math.fsum(np.exp(law.logpmf(x) + exponent * x))


def factors(grid, own, other):
    """Return E[F_k] of a ratio whose arms' counts are (mean, phi), independent of each other."""
    return [expected(up, *own) * expected(down, *other) for up, down in zip(grid.up, grid.down, strict=True)]


def rate_factors(p0, phi, ratios, n, mean, true_phi):
    grid = rate_grid(p0, phi, ratios)
    pairs = zip(grid.up, grid.down, strict=True)
    return [expected(up - down, mean, true_phi) * math.exp(n * down) for up, down in pairs]


# --------------------------------------------------------------------------------------------- a fair bet
@pytest.mark.parametrize(("phi", "ratios"), list(itertools.product(PHIS, (FAIL_RATIOS, PASS_RATIOS))), ids=str)
@pytest.mark.parametrize("n", [3, 100, 2000])
def test_one_tick_of_a_rate_is_an_exactly_fair_bet_at_the_limit(phi, ratios, n):
    for factor in rate_factors(0.01, phi, ratios, n, 0.01 * n, phi):
        assert factor == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("phi", PHIS)
@pytest.mark.parametrize("true_phi", [1.0, 1.2, 1.5, 4.0, 16.0])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_a_lower_rate_or_less_dispersion_never_favours_fail(phi, true_phi, share):
    if true_phi <= phi:
        assert max(rate_factors(0.01, phi, FAIL_RATIOS, 300, 3.0 * share, true_phi)) <= 1.0 + 1e-11


@pytest.mark.parametrize("phi", PHIS)
@pytest.mark.parametrize("true_phi", [1.0, 1.2, 1.5, 4.0, 16.0])
@pytest.mark.parametrize("times", [1.0, 1.1, 3.0])
def test_a_higher_rate_or_less_dispersion_never_favours_pass(phi, true_phi, times):
    if true_phi <= phi:
        assert max(rate_factors(0.01, phi, PASS_RATIOS, 300, 3.0 * times, true_phi)) <= 1.0 + 1e-11


def test_more_dispersion_than_assumed_favours_fail():
    """Why too small a phi is the worse mistake."""
    assert min(rate_factors(0.01, 2.0, FAIL_RATIOS[:3], 300, 3.0, 4.0)) > 1.01  # of larger ones it is infinite


def test_independent_requests_are_covered_too():
    n, p0 = 40, 0.1
    for phi, ratios in itertools.product(PHIS, (FAIL_RATIOS, PASS_RATIOS)):
        grid = rate_grid(p0, phi, ratios)
        for up, down in zip(grid.up, grid.down, strict=True):
            law = stats.binom.pmf(range(n + 1), n, p0)
            assert math.fsum(law[x] * math.exp(x * up + (n - x) * down) for x in range(n + 1)) <= 1.0 + 1e-12


@pytest.mark.parametrize(("phi", "r0"), list(itertools.product(PHIS, (0.5, 1.0, 1.5))), ids=str)
@pytest.mark.parametrize(("n", "m"), [(50, 50), (30, 70), (900, 100)])
@pytest.mark.parametrize("ratios", [FAIL_RATIOS, PASS_RATIOS], ids=["fail", "pass"])
def test_one_tick_of_a_ratio_is_a_fair_bet_whatever_rate_the_arms_share(phi, r0, n, m, ratios):
    grid = ratio_grid(n, m, r0, phi, ratios)
    theta0 = r0 * n / (r0 * n + m)
    for rate in (0.001, 0.02, 0.5):
        made = factors(grid, (r0 * n * rate, phi), (m * rate, phi))
        assert max(made) <= 1.0 + 1e-9
        if math.isclose(theta0 * 1000, round(theta0 * 1000), abs_tol=0):  # nothing was rounded
            assert min(made) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("phi", PHIS)
@pytest.mark.parametrize("true_phi", [1.0, 1.5, 4.0, 16.0])
@pytest.mark.parametrize(("ratios", "times"), [(FAIL_RATIOS, 0.7), (FAIL_RATIOS, 1.0), (PASS_RATIOS, 1.4)], ids=str)
def test_a_ratio_on_the_null_s_side_or_less_dispersion_favours_nothing(phi, true_phi, ratios, times):
    if true_phi <= phi:
        grid = ratio_grid(100, 100, 1.0, phi, ratios)
        assert max(factors(grid, (100 * 0.02 * times, true_phi), (100 * 0.02, true_phi))) <= 1.0 + 1e-9


def test_without_overdispersion_the_formulas_are_the_exact_ones():
    assert rate_grid(0.01, 1.0, FAIL_RATIOS) == eprocess.rate_grid(0.01, FAIL_RATIOS)
    assert ratio_grid(30, 70, 1.2, 1.0, FAIL_RATIOS) == eprocess.ratio_grid(30, 70, 1.2, FAIL_RATIOS)


def test_with_hardly_any_overdispersion_they_are_those_of_poisson_counts():
    grid = rate_grid(0.01, 1.0 + 1e-7, FAIL_RATIOS)
    for ratio, up, down in zip(FAIL_RATIOS, grid.up, grid.down, strict=True):
        assert up - down == pytest.approx(math.log(ratio), abs=1e-4)
        assert down == pytest.approx(-0.01 * (ratio - 1.0), rel=1e-4)
    near, exact = ratio_grid(50, 50, 1.0, 1.0 + 1e-6, FAIL_RATIOS), eprocess.ratio_grid(50, 50, 1.0, FAIL_RATIOS)
    assert near.up == pytest.approx(exact.up, abs=1e-4)
    assert near.down == pytest.approx(exact.down, abs=1e-4)


def test_a_phi_below_one_is_refused():
    for wrong in (0.99, 0.0, math.nan):
        with pytest.raises(ValueError, match="phi"):
            rate_grid(0.01, wrong, FAIL_RATIOS)
        with pytest.raises(ValueError, match="phi"):
            ratio_grid(10, 10, 1.0, wrong, FAIL_RATIOS)


@pytest.mark.parametrize("ratios", [FAIL_RATIOS, PASS_RATIOS], ids=["fail", "pass"])
@pytest.mark.parametrize(("n", "m"), [(1, 10**9), (10**9, 1), (1, 1)])
def test_the_smallest_and_the_largest_share_of_treatment_can_be_judged(ratios, n, m):
    grid = ratio_grid(n, m, 1.0, 4.0, ratios)
    assert all(map(math.isfinite, (*grid.up, *grid.down)))


# --------------------------------------------------------------------------------------------- the estimate
def fed(counts, start=None):
    found = start or Dispersion()
    for x, n in counts:
        found = found.after(x, n)
    return found


def test_ticks_are_put_together_until_an_event_is_expected():
    found = fed([(0, 100), (1, 100)])  # 1 of 200 is the first rate, and no group
    assert (found.groups, found.first_events, found.first_trials) == (0, 1, 200)
    found = fed([(0, 100), (0, 99)], found)
    assert (found.groups, found.open_trials) == (0, 199)
    found = fed([(3, 1)], found)
    assert (found.groups, found.events, found.trials, found.open_trials) == (1, 3, 200, 0)
    assert fed([(0, 99)], found).groups == 1
    assert fed([(0, 100)], found).groups == 2  # 4 of 400 so far: 100 trials are expected to hold one
    assert found.after(0, 0) == found


def test_the_estimate_is_the_variance_of_groups_over_that_of_independent_requests():
    generator = np.random.default_rng(5)
    n = generator.integers(50, 150, 400)
    x = generator.negative_binomial(n * 0.05 / 3.0, 1 / 4.0)
    found = fed(zip(x.tolist(), n.tolist(), strict=True))
    first = int(np.argmax(x > 0)) + 1
    x, n = x[first:], n[first:]
    p = x.sum() / n.sum()
    assert found.groups == len(x)
    by_hand = ((x - n * p) ** 2 / (n * p * (1 - p))).sum() / (len(x) - 1)
    assert dispersion.estimate(found.groups, found.events, found.trials, found.squares) == pytest.approx(by_hand)
    assert 3.0 < by_hand < 5.0
    assert found.phi >= by_hand


def test_too_little_for_an_estimate_is_none():
    assert dispersion.estimate(1, 3, 100, 0.09) == 0.0
    assert dispersion.estimate(5, 0, 100, 0.0) == 0.0
    assert dispersion.estimate(5, 100, 100, 100.0) == 0.0


@pytest.mark.parametrize(
    ("bound", "phi"), [(0.0, 1.0), (1.0, 1.0), (1.01, 1.5), (4.0, 4.0), (4.1, 6.0), (64.0, 64.0), (64.1, math.inf)]
)
def test_the_bound_is_rounded_up_to_the_ladder(bound, phi):
    assert Dispersion(place=dispersion.next_place(dispersion.START, 100, bound)).phi == phi


def test_below_100_groups_phi_is_at_least_6_and_may_fall_again():
    start = dispersion.START
    assert LADDER[dispersion.next_place(start, 99, 1.2)] == 6.0
    assert LADDER[dispersion.next_place(start, 40, 9.0)] == 12.0
    assert LADDER[dispersion.next_place(LADDER.index(12.0), 41, 1.2)] == 6.0
    assert LADDER[dispersion.next_place(LADDER.index(12.0), 100, 1.2)] == 1.5


@pytest.mark.parametrize(
    ("groups", "before", "phi"), [(99, 8.0, 2.0), (99, 2.0, 2.0), (100, 8.0, 2.0), (101, 2.0, 2.0)]
)
def test_what_an_earlier_stage_showed_takes_the_place_of_the_start(groups, before, phi):
    history = LADDER.index(2.0)
    assert LADDER[dispersion.next_place(LADDER.index(before), groups, 1.2, history)] == phi
    assert LADDER[dispersion.next_place(LADDER.index(before), groups, 11.0, history)] == 12.0


def known(phi, *, groups=100, history=None):
    return Dispersion(groups=groups, history=history, place=LADDER.index(phi) if phi < math.inf else len(LADDER))


@pytest.mark.parametrize(
    ("phi", "growth", "now"),
    [(1.0, 5.0, 1.0), (2.0, 1.0, 2.0), (2.0, 2.0, 3.0), (4.0, 2.5, 12.0), (4.0, 0.2, 4.0), (48.0, 5.0, 64.0)],
)
def test_phi_less_one_grows_with_control_and_does_not_shrink_with_it(phi, growth, now):
    begun = Dispersion.following(known(phi), growth)
    assert (begun.phi, LADDER[begun.history], begun.groups) == (now, now, 0)


def test_a_stage_that_could_not_be_judged_leaves_the_next_one_judged_at_the_top_of_the_ladder():
    assert Dispersion.following(known(math.inf), 2.0).phi == 64.0


def test_too_few_groups_of_a_stage_are_no_history_for_the_next():
    assert Dispersion.following(known(12.0, groups=99), 1.0) == Dispersion()


def test_what_was_known_before_a_short_stage_is_known_after_it():
    begun = Dispersion.following(known(12.0, groups=99, history=LADDER.index(2.0)), 2.0)
    assert LADDER[begun.history] == 3.0


def test_from_100_groups_on_phi_is_never_lowered():
    place = LADDER.index(6.0)
    assert dispersion.next_place(place, 101, 1.0) == place
    assert LADDER[dispersion.next_place(place, 101, 7.0)] == 8.0
    calm, wild = [(1, 100)] * 400, [(0, 100), (40, 100)] * 60
    top = fed(wild, fed(calm)).phi
    assert top > 4.0
    assert fed(calm * 20, fed(wild, fed(calm))).phi >= top


def test_independent_counts_end_near_one_and_wide_ones_above_what_they_are():
    generator = np.random.default_rng(1)
    calm = fed(zip(generator.binomial(1000, 0.005, 3000).tolist(), [1000] * 3000, strict=True))
    wide = fed(zip(generator.negative_binomial(5 / 3, 1 / 4, 3000).tolist(), [1000] * 3000, strict=True))
    assert calm.phi in {1.5, 2.0}
    assert wide.phi in {4.0, 6.0, 8.0}


def test_what_is_known_is_plain_numbers():
    found = fed([(3, 100), (0, 100), (7, 100)])
    assert Dispersion(**json.loads(json.dumps(asdict(found)))) == found


def test_a_control_that_always_fails_says_nothing():
    assert fed([(10, 10)] * 50).phi == 6.0


@pytest.mark.parametrize("module", ["dispersion", "guardrails", "explain"])
def test_the_live_path_needs_no_numpy(module):
    code = f"import sys, phase4.analysis.{module}; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --------------------------------------------------------------------------------------------- in blocks
control_ticks = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 3), st.integers(3, 200)),
        st.tuples(st.integers(0, 200), st.just(200)),
        st.just((0, 0)),
    ),
    min_size=1,
    max_size=300,
)


HISTORIES = st.none() | st.integers(0, len(LADDER) - 1)


def beginning(history):
    return Dispersion() if history is None else Dispersion(history=history, place=history)


@given(control_ticks, st.lists(st.integers(0, 300), max_size=3), HISTORIES)
def test_a_block_knows_what_ticks_one_after_the_other_show(ticks, cuts, history):
    slow, seen = beginning(history), []
    for x, n in ticks:
        seen.append(slow.place)
        slow = slow.after(x, n)
    fast, before, after = beginning(history), [], []
    edges = sorted({0, len(ticks), *(cut for cut in cuts if cut < len(ticks))})
    for begin, end in itertools.pairwise(edges):
        part = np.array(ticks[begin:end], np.int64)
        places, fast = dispersion_block.run(fast, part[:, 0], part[:, 1])
        before += places.before.tolist()
        after += places.after.tolist()
    assert fast == slow
    assert before == seen
    assert after == [*seen[1:], slow.place]


def dispersed(seed, *, ticks=400, n=100, rate=0.01, rate_control=0.01, phi=1.0, gaps=0.0):
    """Return (treatment, control) whose counts are gamma-Poisson, cut off at the number of trials."""
    generator = np.random.default_rng(seed)
    made = []
    for p in (rate, rate_control):
        trials = np.where(generator.random(ticks) < gaps, 0, generator.poisson(n, ticks)).astype(np.int64)
        if phi == 1.0:
            events = generator.binomial(trials, p)
        else:
            events = generator.poisson(generator.gamma(np.maximum(trials * p / (phi - 1.0), 1e-12), phi - 1.0))
        made.append(ArmColumns.of_requests(np.minimum(events, trials).astype(np.int64), trials))
    return made


worlds = st.builds(
    dispersed,
    st.integers(0, 2**32 - 1),
    ticks=st.just(250),
    n=st.sampled_from([3, 40, 1000]),
    rate=st.sampled_from([0.003, 0.01, 0.05]),
    rate_control=st.sampled_from([0.003, 0.01, 0.04]),
    phi=st.sampled_from([1.0, 2.0, 8.0, 60.0, 300.0]),
    gaps=st.just(0.1),
)


@given(worlds, st.sampled_from([RATE, RATIO]), st.sampled_from(Role), st.integers(0, 399))
def test_the_block_form_gives_the_scalar_form_s_answers_at_any_dispersion(world, spec, role, cut):
    spec = replace(spec, role=role)
    own, other = world
    skewed = np.arange(250) >= cut
    fast = slow = guardrails.start(spec)
    for begin, end in ((0, 90), (90, 250)):
        parts = own.slice(begin, end), other.slice(begin, end)
        one = block.run(spec, TERMS, fast, begin, *parts, skewed=skewed[begin:end])
        two = block.by_steps(spec, TERMS, slow, begin, *parts, skewed=skewed[begin:end])
        assert_same(one, two)
        assert one.state.dispersion == two.state.dispersion
        assert one.state.fail.ticks == two.state.fail.ticks
        fast, slow = one.state, two.state


@pytest.mark.parametrize("ratios", [FAIL_RATIOS, PASS_RATIOS], ids=["fail", "pass"])
@pytest.mark.parametrize("r0", [0.7, 1.0, 1.5])
def test_grids_of_many_ticks_are_those_of_each(ratios, r0):
    generator = np.random.default_rng(2)
    n, m = generator.integers(1, 3000, 300), generator.integers(1, 3000, 300)
    places = generator.integers(0, len(LADDER), 300)
    up, down = dispersion_block.ratio_grids(n, m, r0, places, ratios)
    rate_up, rate_down = dispersion_block.rate_grids(0.01, places, ratios)
    for t in range(300):
        grid = ratio_grid(int(n[t]), int(m[t]), r0, LADDER[places[t]], ratios)
        np.testing.assert_allclose(up[:, t], grid.up, atol=1e-13)
        np.testing.assert_allclose(down[:, t], grid.down, atol=1e-13)
        grid = rate_grid(0.01, LADDER[places[t]], ratios)
        assert (tuple(rate_up[:, t]), tuple(rate_down[:, t])) == (grid.up, grid.down)


# --------------------------------------------------------------------------------------------- in a guardrail
def row(events, trials, arm=2):
    return Observation(tick=0, flag_id=1, entry=1, arm=arm, ok=trials - events, error=events)


def stepped(spec, ticks, step=guardrails.step):
    state = guardrails.start(spec)
    for tick, (own, other) in enumerate(ticks):
        rows = [None if pair is None else row(*pair, arm=arm) for pair, arm in ((own, 2), (other, 1))]
        state = step(spec, TERMS, state, tick, *rows)
    return state


def planted(spec, terms, state, tick, treatment, control):
    """Estimate phi with the tick's own data, and only then read it: the mistake that this page is about."""
    if control is not None:
        state = replace(state, dispersion=state.dispersion.after(*counting.fail_counts(spec, control)))
    return guardrails.step(spec, terms, state, tick, treatment, control)


@pytest.mark.parametrize(("step", "is_valid"), [(guardrails.step, True), (planted, False)], ids=["ours", "planted"])
def test_a_tick_is_judged_by_what_was_known_before_it(step, is_valid):
    """Control's newest tick must not matter to evidence that reads treatment's: with the mistake planted it does."""
    spec = replace(RATE, ambient=False, role=Role.OBSERVE)
    calm = [((1, 100), (1, 100))] * 130
    evidence = {stepped(spec, [*calm, ((3, 100), newest)], step).fail for newest in ((1, 100), (90, 100), None)}
    assert (len(evidence) == 1) == is_valid


def test_guards_signals_and_observers_of_requests_allow_for_it_and_those_of_users_do_not():
    for role in Role:
        for spec in (RATE, RATIO):
            assert stepped(replace(spec, role=role), [((0, 10), (0, 10))]).dispersion.first_trials == 10
    for spec in (ThresholdGuardrail(name="t", limit=0.1), QuantileGuardrail(name="p", unit=Unit.REQUEST)):
        state = stepped(spec, [((0, 10), (5, 10))])
        assert state.dispersion == Dispersion()
        assert guardrails.assess(spec, TERMS, state, 0).dispersion == 1.0
    users = RateGuardrail(name="u", limit=0.01)
    counts = {f"error_{kind}_{of}": {"n": 50, "x": 5}[of] for kind in ("risk", "first") for of in "nx"}
    seen = replace(row(5, 50), **counts)
    state = guardrails.step(users, TERMS, guardrails.start(users), 0, seen, seen)
    assert (state.dispersion, guardrails.assess(users, TERMS, state, 0).dispersion) == (Dispersion(), 1.0)


def test_the_assessment_says_the_phi_of_the_next_tick():
    ticks = [((1, 100), (1, 100))] * 130
    assert guardrails.assess(RATE, TERMS, stepped(RATE, ticks[:50]), 49).dispersion == 6.0
    assert guardrails.assess(RATE, TERMS, stepped(RATE, ticks), 129).dispersion == 1.0


def test_both_sides_allow_for_it():
    once = stepped(replace(RATE, role=Role.SIGNAL), [((3, 100), None)])
    for evidence, ratios in ((once.passing.log_f, PASS_RATIOS),):
        grid = rate_grid(0.01, 6.0, ratios)
        assert evidence == pytest.approx([3 * up + 97 * down for up, down in zip(grid.up, grid.down, strict=True)])
    grid = rate_grid(0.01, 6.0, FAIL_RATIOS)
    assert once.fail.e == pytest.approx(
        [0.5 / 8 * math.exp(3 * up + 97 * down) for up, down in zip(grid.up, grid.down, strict=True)]
    )


def test_while_shares_are_off_control_says_nothing_of_a_ratio_s_dispersion():
    state = guardrails.start(RATIO)
    assert (
        guardrails.step(RATIO, TERMS, state, 0, row(1, 50), row(5, 50, arm=1), is_skewed=True).dispersion
        == Dispersion()
    )


def test_above_the_ladder_nothing_is_judged_until_somebody_decides():
    wild = [((0, 1000), (0, 1000)), ((0, 1000), (900, 1000))] * 60
    spec = replace(RATE, ambient=False)
    before = stepped(spec, wild)
    answer = guardrails.assess(spec, TERMS, before, len(wild) - 1)
    assert (answer.verdict, answer.reason) == (Verdict.INCONCLUSIVE, Reason.OVERDISPERSED)
    assert answer.dispersion == math.inf
    after = guardrails.step(spec, TERMS, before, len(wild), row(900, 1000), row(0, 1000, arm=1))
    assert (after.fail, after.passing, after.units) == (before.fail, before.passing, before.units + 1000)


def test_a_fail_is_not_forgotten_above_the_ladder():
    spec = replace(RATE, ambient=False)
    wild = [((0, 1000), (0, 1000)), ((0, 1000), (900, 1000))] * 60
    answer = guardrails.assess(spec, TERMS, stepped(spec, [((200, 1000), None), *wild]), len(wild))
    assert answer.verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("spec", "ticks", "said"),
    [
        (RATE, [((1, 100), (1, 100))] * 130, "approximate: phi = 1 from 129 groups"),
        (RATE, [((1, 100), (1, 100))] * 30, "approximate: phi = 6 from 29 groups (at least 6 below 100)"),
        (RATE, [((1, 100), None)] * 30, "approximate: phi = 6 assumed, without control to estimate it from"),
        (RATIO, [((1, 100), (1, 100))] * 130, "approximate: phi = 1 from 129 groups"),
        (RATE, [((0, 1000), (0, 1000)), ((0, 1000), (900, 1000))] * 60, "not judged: phi above 64 from 118 groups"),
        (ThresholdGuardrail(name="t", limit=0.1), [((1, 100), (1, 100))], ""),
    ],
    ids=["many", "few", "none", "ratio", "wild", "raw"],
)
def test_the_words_say_what_is_assumed(spec, ticks, said):
    state = stepped(spec, ticks)
    answer = guardrails.assess(spec, TERMS, state, len(ticks) - 1)
    assert explain(spec, TERMS, state, answer).approximation == said


@pytest.mark.parametrize(("count", "groups"), [(30, 29), (130, 129)])
def test_the_words_say_what_an_earlier_stage_showed(count, groups):
    begun = Dispersion.following(known(2.0), 1.0)
    state = replace(guardrails.start(RATE), dispersion=begun)
    for tick in range(count):
        state = guardrails.step(RATE, TERMS, state, tick, row(1, 100), row(1, 100, arm=1))
    answer = guardrails.assess(RATE, TERMS, state, count - 1)
    said = f"approximate: phi = 2 from {groups} groups and at least 2 from an earlier stage"
    assert explain(RATE, TERMS, state, answer).approximation == said


def test_above_the_ladder_the_words_say_what_to_do():
    ticks = [((0, 1000), (0, 1000)), ((0, 1000), (900, 1000))] * 60
    spec = replace(RATIO, prove=False)
    state = stepped(spec, ticks)
    found = explain(spec, TERMS, state, guardrails.assess(spec, TERMS, state, len(ticks) - 1))
    assert found.changes.startswith('unit = "user"')


def test_so_many_more_requests_do_prove_it():
    state = stepped(RATE, [((0, 500), None)])
    said = explain(RATE, TERMS, state, guardrails.assess(RATE, TERMS, state, 0)).changes
    more = int(said.split()[1].replace(",", ""))
    for count, is_proved in ((more, True), (more - 1, False)):
        after = guardrails.step(RATE, TERMS, state, 1, row(0, count), None)
        assert (guardrails.assess(RATE, TERMS, after, 1).verdict is Verdict.PASS) == is_proved


# --------------------------------------------------------------------------------------------- calibration, short
def counts_of(generator, mean, phi, shape):
    return generator.poisson(generator.gamma(mean / (phi - 1.0), phi - 1.0, shape))


@pytest.mark.parametrize("n", [100, 1000])
def test_at_the_limit_tilted_evidence_keeps_alpha_and_binomial_evidence_does_not(n):
    ticks, rollouts = 1000, 200
    x = counts_of(np.random.default_rng(n), 0.01 * n, 4.0, (ticks, rollouts))
    trials = np.full((ticks, 1), n)
    failed = {
        phi: float((paths.paths_rate(x, trials, 0.01, horizon_ticks=ticks, phi=phi).max(axis=0) >= math.log(20)).mean())
        for phi in (1.0, 4.0)
    }
    assert failed[4.0] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rollouts)
    assert failed[1.0] >= 0.9


def test_equal_arms_keep_alpha_and_a_tripled_rate_is_found():
    ticks, rollouts, n = 1000, 200, 100
    generator = np.random.default_rng(3)
    control = counts_of(generator, 0.005 * n, 4.0, (ticks, rollouts))
    trials = np.full((ticks, 1), n)
    shares = []
    for times in (1.0, 3.0):
        own = counts_of(generator, 0.005 * n * times, 4.0, (ticks, rollouts))
        log_e = paths.paths_ratio(own, trials, control, trials, max_ratio=1.0, horizon_ticks=ticks, phi=4.0)
        shares.append(float((log_e.max(axis=0) >= math.log(20)).mean()))
    assert shares[0] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rollouts)
    assert shares[1] >= 0.95
