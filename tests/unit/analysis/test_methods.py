"""The compared methods: small examples by hand, a slow form of each in plain Python, published bounds, calibration."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.analysis import eprocess, moments, paths
from phase4.analysis.compared import methods
from phase4.analysis.compared.alarms import first_alarms
from phase4.analysis.compared.asymptotic import AsymptoticSequence
from phase4.analysis.compared.cusum import Cusum, calibrate
from phase4.analysis.compared.group_sequential import (
    GroupSequential,
    Looks,
    TwoArmGroupSequential,
    critical_values,
    power_spending,
)
from phase4.analysis.compared.likelihood_ratios import BetaBinomial, ConditionalDirichlet, Sprt
from phase4.analysis.compared.mann_whitney import MannWhitney, shift_lower
from phase4.analysis.compared.mixtures import ConditionalMixture, GridMixture, Restarts, Schedule, mixture_alarms
from phase4.analysis.compared.raw_rules import PeekingTwoArmZTest, PeekingZTest, RawImpact, RawRule, pooled_z
from tests.unit.analysis.stages import upper

ALPHA, LIMIT = 0.05, 0.01
SEEDS = st.integers(0, 2**32 - 1)
SCHEDULES = [
    Schedule(restarts=Restarts.NONE, horizon_ticks=30),
    Schedule(restarts=Restarts.JUDGE, horizon_ticks=30),
    Schedule(restarts=Restarts.EVEN, horizon_ticks=30),
    Schedule(restarts=Restarts.EVEN, horizon_ticks=30, every=7),
]


def column(*values):
    """Return one rollout, (ticks, 1)."""
    return np.array(values, np.int32)[:, None]


def alarm(method, *counts):
    """Return the alarm of one rollout."""
    return method.alarms(*(column(*values) for values in counts)).tolist()[0]


def counts(seed, most=20):
    """Return random (events, trials) of up to 3 rollouts over up to 40 ticks; some ticks are empty, some rates high."""
    generator = np.random.default_rng(seed)
    shape = (generator.integers(1, 41), generator.integers(1, 4))
    trials = generator.integers(0, most + 1, shape)
    return generator.binomial(trials, generator.choice([0.01, 0.05, 0.3])), trials


def two_arms(seed):
    """Return random (events, trials, events of control, trials of control)."""
    generator = np.random.default_rng(seed)
    shape = (generator.integers(1, 41), generator.integers(1, 4))
    n, m = generator.integers(0, 21, shape), generator.integers(0, 61, shape)
    base = generator.choice([0.02, 0.1])
    return generator.binomial(n, base * generator.choice([1, 4])), n, generator.binomial(m, base), m


def assert_first(alarms, statistics, bound):
    """Assert that each alarm is the first tick whose statistic reaches the bound; statistics are lists by rollout."""
    for tick, values in zip(alarms.tolist(), statistics, strict=True):
        before = values if tick < 0 else values[:tick]
        assert all(value < bound + 1e-9 for value in before)
        assert tick < 0 or values[tick] >= bound - 1e-9


def slow(statistic, *arrays):
    """Return, for each rollout, the statistic of the totals so far at each tick."""
    rows = []
    for rollout in range(arrays[0].shape[1]):
        totals, row = [0] * len(arrays), []
        for tick in range(len(arrays[0])):
            totals = [total + int(array[tick, rollout]) for total, array in zip(totals, arrays, strict=True)]
            row.append(statistic(tick, *totals))
        rows.append(row)
    return rows


# ------------------------------------------------------------------------------------------- what all have in common
def test_every_method_says_what_it_controls():
    one = methods.one_arm(
        limit=LIMIT,
        alpha=ALPHA,
        trials=10,
        horizon_ticks=50,
        looks=5,
        replicates=40,
        generator=np.random.default_rng(1),
    )
    two = methods.two_arms(share=0.1, alpha=ALPHA, horizon_ticks=50, looks=5)
    assert [method.label for method in one] == [
        "controls nothing",
        "controls nothing",
        "controls nothing",
        "one look only",
        "PFA, asymptotic",
        "PFA, point alternative",
        "PFA",
        "PFA",
        "PFA",
        "PFA for this n, length and p0",
    ]
    assert [method.label for method in two] == [
        "controls nothing",
        "one look only",
        "no stated control",
        "PFA, asymptotic",
        "PFA, asymptotic",
        "PFA",
        "PFA",
        "PFA",
    ]
    assert len({method.name for method in one}) == len(one)
    assert len({method.name for method in two}) == len(two)


def test_what_is_compared_are_the_rules_as_they_are_used_elsewhere():
    """Another number is another method."""
    given = {"alpha": ALPHA, "horizon_ticks": 50, "looks": 5}
    one = methods.one_arm(limit=LIMIT, trials=10, replicates=40, generator=np.random.default_rng(1), **given)
    two = methods.two_arms(share=0.1, **given)
    assert [method.name for method in one][:-1] == [
        "raw rule, per tick",
        "raw rule, window of 10 ticks",
        "raw rule, cumulative, >= 1,000 units",
        "z-test, peeking",
        "group-sequential, Lan-DeMets power 2, 5 looks",
        "Wald SPRT 1 % against 1.5 %",
        "beta-binomial mSPRT, two-sided, k = 100",
        "grid mixture, no restarts",
        "grid mixture, restarts every tick",
    ]
    assert [method.name for method in two] == [
        "raw impact > 5%, >= 1,000 units",
        "z-test, peeking",
        "Kayenta-like Mann-Whitney, >= 4 samples",
        "group-sequential, Lan-DeMets power 2, 5 looks",
        "asymptotic confidence sequence, one-sided, N* = 5,000",
        "conditional Dirichlet, k = 100",
        "conditional mixture, no restarts",
        "conditional mixture, restarts every tick",
    ]
    assert (one[3].z, two[1].z, one[3].min_units, two[1].min_units) == (1.645, 1.645, 1, 1)
    rank = two[2]
    assert (rank.confidence, rank.tolerance, rank.sample_ticks, rank.look_ticks) == (0.98, 0.25, 60, 120)
    assert Schedule(restarts=Restarts.EVEN, horizon_ticks=50, every=7).name == "restarts every 7 ticks, even"
    assert Schedule(restarts=Restarts.EVEN, horizon_ticks=50).name == "restarts every tick, even"


def test_every_method_answers_for_each_rollout():
    generator = np.random.default_rng(2)
    one = methods.one_arm(
        limit=LIMIT, alpha=ALPHA, trials=10, horizon_ticks=240, looks=4, replicates=40, generator=generator
    )
    two = methods.two_arms(share=0.5, alpha=ALPHA, horizon_ticks=240, looks=4)
    x, y = generator.binomial(10, 0.3, (240, 5)), generator.binomial(10, 0.01, (240, 5))
    n = np.full((240, 1), 10)
    for method in one:
        found = method.alarms(x, n)
        assert found.shape == (5,)
        assert found.dtype == np.int64
        assert (found >= 0).all()
        assert (found == method.alarms(x.astype(np.int32), np.broadcast_to(n, x.shape))).all()
    for method in two[:2] + two[3:]:
        assert (method.alarms(x, n, y, n) >= 0).all()


def test_impossible_counts_are_refused():
    rule = RawRule(limit=LIMIT, window=1)
    with pytest.raises(ValueError, match="between 0 and trials"):
        rule.alarms(column(2), column(1))
    with pytest.raises(ValueError, match="between 0 and trials"):
        rule.alarms(column(0, -1), column(1, 1))
    with pytest.raises(ValueError, match="between 0 and trials"):
        rule.alarms(column(0, 2), column(1, 1))
    with pytest.raises(ValueError, match="trials are"):
        rule.alarms(column(1, 1), column(1))
    with pytest.raises(ValueError, match="axes"):
        rule.alarms(np.array([1]), np.array([1]))


REFUSED = {
    "a limit of 1": lambda: RawRule(limit=1.0, window=1),
    "an empty window": lambda: RawRule(limit=0.1, window=0),
    "a limit that is no number": lambda: PeekingZTest(limit=math.nan),
    "a tolerance below 0": lambda: RawImpact(tolerance=-0.1),
    "more looks than ticks": lambda: Looks(alpha=0.05, horizon_ticks=4, count=5),
    "an alpha of a half": lambda: Looks(alpha=0.5, horizon_ticks=4, count=4),
    "a power of 0": lambda: Looks(alpha=0.05, horizon_ticks=4, count=4, power=0.0),
    "a limit of 0": lambda: GroupSequential(limit=0.0, looks=Looks(alpha=0.05, horizon_ticks=4, count=4)),
    "an alternative at the limit": lambda: Sprt(limit=0.01, alternative=0.01, alpha=0.05),
    "an alpha of 0": lambda: BetaBinomial(limit=0.01, alpha=0.0),
    "a prior worth nothing": lambda: BetaBinomial(limit=0.01, alpha=0.05, concentration=0.0),
    "all traffic": lambda: ConditionalDirichlet(share=1.0, alpha=0.05),
    "tuned for nothing": lambda: AsymptoticSequence(alpha=0.05, tuned_for=0),
    "a limit above a half": lambda: GridMixture(limit=0.6, alpha=0.05, schedule=SCHEDULES[0]),
    "an alpha of 1": lambda: ConditionalMixture(alpha=1.0, schedule=SCHEDULES[0]),
    "no ticks between restarts": lambda: Schedule(restarts=Restarts.EVEN, horizon_ticks=10, every=0),
    "a threshold of 0": lambda: Cusum(limit=0.01, alternative=0.02, threshold=0.0),
    "a look within a sample": lambda: MannWhitney(min_samples=1, sample_ticks=60, look_ticks=90),
    "a certain interval": lambda: MannWhitney(min_samples=1, confidence=1.0),
    "a tolerance of less than nothing": lambda: MannWhitney(min_samples=1, tolerance=-1.0),
    "no looks": lambda: critical_values((), ()),
    "time running back": lambda: critical_values((0.5, 0.4), (0.01, 0.02)),
    "more than all information": lambda: critical_values((0.5, 1.1), (0.01, 0.02)),
    "a look without its share": lambda: critical_values((0.5, 1.0), (0.01,)),
    "no trials": lambda: calibrate(
        limit=LIMIT, alternative=0.015, trials=0, ticks=1, alpha=0.5, replicates=9, generator=np.random.default_rng(1)
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_judged_is_refused(name):
    with pytest.raises(ValueError, match=r".+"):
        REFUSED[name]()


def test_what_lies_just_within_the_ends_can_be_judged():
    assert alarm(RawRule(limit=0.999, window=1), (1,), (1,)) == 0
    assert alarm(RawImpact(tolerance=0.0, min_units=0), (2,), (9,), (1,), (9,)) == 0
    assert Looks(alpha=0.499, horizon_ticks=1, count=1, power=0.01).ticks.tolist() == [0]
    assert alarm(Sprt(limit=0.5, alternative=0.999, alpha=0.999), (1,), (1,)) == 0
    assert alarm(BetaBinomial(limit=0.5, alpha=0.999, concentration=0.01), (9,), (9,)) == 0
    assert alarm(ConditionalDirichlet(share=0.999, alpha=0.001), (1,), (1,), (0,), (1,)) == -1
    assert alarm(AsymptoticSequence(alpha=0.499, tuned_for=1), (900,), (1000,), (1,), (1000,)) == 0
    assert alarm(GridMixture(limit=0.5, alpha=0.999, schedule=SCHEDULES[0]), (9,), (9,)) == 0
    assert Schedule(restarts=Restarts.EVEN, horizon_ticks=1, every=1).weights(1).tolist() == [1.0]
    assert alarm(Cusum(limit=LIMIT, alternative=0.015, threshold=0.5), (1, 1), (1, 1)) == 1
    rank = MannWhitney(min_samples=1, confidence=0.5, tolerance=0.0, sample_ticks=1, look_ticks=1)
    assert alarm(rank, (9,), (9,), (0,), (9,)) == 0


def test_no_ticks_are_no_alarm():
    assert first_alarms(np.zeros((0, 3), np.bool_)).tolist() == [-1, -1, -1]


# ------------------------------------------------------------------------------------------- raw rules
def test_the_raw_rule_is_strict():
    rule = RawRule(limit=LIMIT, window=1)
    assert alarm(rule, (0, 1, 2), (100, 100, 100)) == 2
    assert alarm(rule, (0, 1), (100, 100)) == -1


def test_a_window_pools_the_last_ticks_and_what_there_is_before_them():
    rule = RawRule(limit=LIMIT, window=2)
    assert alarm(rule, (0, 1, 2), (100, 100, 100)) == 2
    assert alarm(rule, (0, 1, 1), (100, 100, 100)) == -1
    assert alarm(rule, (2, 0, 0), (100, 100, 100)) == 0


def test_a_cumulative_rule_waits_for_its_units():
    assert alarm(RawRule(limit=LIMIT, window=None, min_units=300), (9, 0, 0, 9), (100, 100, 100, 100)) == 2


@given(SEEDS, st.sampled_from([1, 3, None]), st.sampled_from([1, 25]))
def test_the_raw_rule_is_that_of_a_plan(seed, window, least):
    x, n = counts(seed)
    found = RawRule(limit=0.1, window=window, min_units=least).alarms(x, n)
    for rollout, tick in enumerate(found.tolist()):
        expected = -1
        for now in range(len(x)):
            begin = 0 if window is None else max(now + 1 - window, 0)
            events = sum(int(value) for value in x[begin : now + 1, rollout])
            trials = sum(int(value) for value in n[begin : now + 1, rollout])
            if trials >= least and events / trials > 0.1:
                expected = now
                break
        assert tick == expected


def test_raw_impact_compares_rates_and_not_counts():
    rule = RawImpact(tolerance=0.05, min_units=100)
    assert alarm(rule, (10,), (100,), (100,), (1000,)) == -1
    assert alarm(rule, (11,), (100,), (100,), (1000,)) == 0
    assert alarm(rule, (11,), (99,), (100,), (1000,)) == -1
    assert alarm(rule, (11,), (100,), (0,), (0,)) == -1


@given(SEEDS)
def test_raw_impact_is_its_slow_form(seed):
    arms = two_arms(seed)

    def statistic(_, x, n, y, m):
        return x / n - 1.05 * y / m if n >= 30 and m else -1.0

    found = RawImpact(min_units=30).alarms(*arms)
    for tick, values in zip(found.tolist(), slow(statistic, *arms), strict=True):
        above = [place for place, value in enumerate(values) if value > 1e-12]
        assert tick == (above[0] if above else -1)


# ------------------------------------------------------------------------------------------- z-tests
def test_peeking_alarms_at_three_errors_in_a_hundred():
    """(2 - 1)/sqrt(0.99) = 1.005; (3 - 1)/sqrt(0.99) = 2.010."""
    assert alarm(PeekingZTest(limit=LIMIT), (2,), (100,)) == -1
    assert alarm(PeekingZTest(limit=LIMIT), (3,), (100,)) == 0
    assert alarm(PeekingZTest(limit=LIMIT, min_units=101), (3,), (100,)) == -1


def test_peeking_at_two_arms_pools_the_variance():
    """33 against 20 in 1,000: 0.013/sqrt(0.0265*0.9735*0.002) = 1.810; 30 against 20: 1.432."""
    assert alarm(PeekingTwoArmZTest(), (33,), (1000,), (20,), (1000,)) == 0
    assert alarm(PeekingTwoArmZTest(), (30,), (1000,), (20,), (1000,)) == -1


def test_too_few_units_in_either_arm_are_not_read():
    for method in (PeekingTwoArmZTest(min_units=100), AsymptoticSequence(alpha=ALPHA, min_units=100)):
        assert alarm(method, (90,), (100,), (1,), (100,)) == 0
        assert alarm(method, (90,), (99,), (1,), (100,)) == -1
        assert alarm(method, (90,), (100,), (1,), (99,)) == -1


def test_without_trials_in_an_arm_or_without_any_difference_in_outcome_z_is_0():
    for x, n, y, m in ((0, 0, 3, 9), (3, 9, 0, 0), (0, 9, 0, 9), (9, 9, 9, 9)):
        assert pooled_z(*(np.array([value]) for value in (x, n, y, m))).tolist() == [0.0]


def slow_z(_, x, n):
    return (x - n * LIMIT) / math.sqrt(n * LIMIT * (1 - LIMIT)) if n else -math.inf


def slow_pooled_z(_, x, n, y, m):
    if not n or not m or x + y in {0, n + m}:
        return -math.inf
    p = (x + y) / (n + m)
    return (x / n - y / m) / math.sqrt(p * (1 - p) * (1 / n + 1 / m))


@given(SEEDS)
def test_peeking_is_its_slow_form(seed):
    x, n = counts(seed)
    assert_first(PeekingZTest(limit=LIMIT).alarms(x, n), slow(slow_z, x, n), 1.645)
    arms = two_arms(seed)
    assert_first(PeekingTwoArmZTest().alarms(*arms), slow(slow_pooled_z, *arms), 1.645)


def test_peeking_fails_half_of_the_services_that_are_exactly_at_their_limit():
    """Armitage, McPherson and Rowe (1969): more looks, more false alarms; the limit is 1."""
    x = np.random.default_rng(3).binomial(100, LIMIT, (2000, 300))
    share = (PeekingZTest(limit=LIMIT).alarms(x, np.full((2000, 1), 100)) >= 0).mean()
    assert 0.35 <= share <= 0.65


# ------------------------------------------------------------------------------------------- group-sequential
def obrien_fleming(alpha, information):
    """Spending like O'Brien and Fleming, one-sided: 2 - 2 Phi(z_(alpha/2) / sqrt(t))."""
    normal = NormalDist()
    return tuple(2 - 2 * normal.cdf(normal.inv_cdf(1 - alpha / 2) / math.sqrt(t)) for t in information)


THIRDS = (1 / 3, 2 / 3, 1.0)
PUBLISHED = {
    # rpact-com/rpact, tests/testthat/test-f_design_group_sequential.R: Kim-DeMets with gamma 2.2; and linear spending,
    # as Hwang-Shih-DeCani with gamma 0
    "rpact, Kim-DeMets": (
        (0.3, 0.7, 1.0),
        power_spending(0.03, (0.3, 0.7, 1.0), 2.2),
        (2.8594012, 2.2435708, 1.9735737),
        2e-7,
    ),
    "rpact, linear": (
        (0.2, 0.4, 1.0),
        power_spending(0.03, (0.2, 0.4, 1.0), 1.0),
        (2.5121443, 2.4228747, 2.0280392),
        2e-7,
    ),
    # gsDesign, sfLDOF: the examples of gs_b, and of the check of gs_power_npe in gsDesign2
    "gsDesign, uneven": (
        (0.5, 0.75, 1.0),
        obrien_fleming(0.025, (0.5, 0.75, 1.0)),
        (2.962588, 2.359018, 2.014084),
        1e-6,
    ),
    "gsDesign, thirds": (THIRDS, obrien_fleming(0.025, THIRDS), (3.710303, 2.511427, 1.993048), 1e-6),
    # PharmCat/SeqBounds.jl, README: a coarse grid
    "SeqBounds": (
        (0.25, 0.5, 0.75, 1.0),
        obrien_fleming(0.05, (0.25, 0.5, 0.75, 1.0)),
        (3.74955, 2.53993, 2.01604, 1.72014),
        1e-4,
    ),
    # spotify/confidence, tests/frequentist/test_bounds.py: power 2, the first looks of an experiment of 200 days; it
    # meets what is due within 1e-7 only, of 1e-6
    "spotify, power 2": (
        (0.011404679673257933, 0.02292450819418779, 0.0356455988484443),
        power_spending(1 / 600, (0.011404679673257933, 0.02292450819418779, 0.0356455988484443), 2.0),
        (5.0536015, 4.819334, 4.70702194),
        0.015,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_bounds_are_those_that_others_publish(name):
    information, spent, expected, tolerance = PUBLISHED[name]
    assert critical_values(information, spent) == pytest.approx(expected, abs=tolerance)


def test_the_bound_of_a_single_look_is_the_normal_quantile():
    for share in (0.3, 0.05, 1e-6):
        (bound,) = critical_values((1.0,), (share,))
        assert bound == pytest.approx(NormalDist().inv_cdf(1 - share), abs=1e-8)


def test_the_bounds_spend_what_is_due_on_brownian_paths():
    rollouts, looks = 40_000, Looks(alpha=ALPHA, horizon_ticks=5760, count=8)
    walk = np.cumsum(np.random.default_rng(4).standard_normal((8, rollouts)), axis=0)
    z = walk / np.sqrt(np.arange(1, 9))[:, None]
    crossed = np.logical_or.accumulate(z >= looks.bounds[:, None], axis=0).mean(axis=1)
    due = np.array(power_spending(ALPHA, tuple(np.arange(1, 9) / 8), 2.0))
    assert (np.abs(crossed - due) <= 4 * np.sqrt(due * (1 - due) / rollouts)).all()


def test_forty_eight_looks_take_their_time():
    looks = Looks(alpha=ALPHA, horizon_ticks=5760, count=48)
    assert looks.ticks[[0, 1, -1]].tolist() == [119, 239, 5759]
    assert looks.bounds[[0, -1]].tolist() == pytest.approx([4.0886, 1.9333], abs=1e-4)


def test_between_looks_nothing_is_said():
    one = GroupSequential(limit=LIMIT, looks=Looks(alpha=ALPHA, horizon_ticks=4, count=2))
    assert alarm(one, (50, 0, 0, 0), (100, 100, 100, 100)) == 1
    assert alarm(one, (0, 0, 50, 0), (100, 100, 100, 100)) == 3
    assert alarm(one, (50,), (100,)) == -1
    two = TwoArmGroupSequential(looks=one.looks)
    assert alarm(two, (50, 0), (100, 100), (1, 1), (100, 100)) == 1
    assert alarm(two, (0, 0), (100, 100), (0, 0), (100, 100)) == -1


@given(SEEDS)
def test_group_sequential_is_its_slow_form(seed):
    looks = Looks(alpha=0.2, horizon_ticks=40, count=7)
    bounds = dict(zip(looks.ticks.tolist(), looks.bounds.tolist(), strict=True))

    def above(z):
        return lambda tick, *totals: z(tick, *totals) - bounds[tick] if tick in bounds else -math.inf

    x, n = counts(seed)
    assert_first(GroupSequential(limit=LIMIT, looks=looks).alarms(x, n), slow(above(slow_z), x, n), 0.0)
    arms = two_arms(seed)
    assert_first(TwoArmGroupSequential(looks=looks).alarms(*arms), slow(above(slow_pooled_z), *arms), 0.0)


# ------------------------------------------------------------------------------------------- likelihood ratios
def test_eight_errors_in_a_row_are_enough_for_the_sprt():
    """7 ln 1.5 = 2.838 and 8 ln 1.5 = 3.244 around ln 20 = 2.996."""
    assert alarm(Sprt(limit=LIMIT, alternative=0.015, alpha=ALPHA), (1,) * 9, (1,) * 9) == 7


def test_four_errors_in_a_row_are_enough_for_the_beta_mixture():
    """Beta(1, 99): 1, then 2/101/0.01, 3/102/0.01 and 4/103/0.01 times as much: 1, 1.98, 5.82, 22.6."""
    assert alarm(BetaBinomial(limit=LIMIT, alpha=ALPHA), (1,) * 5, (1,) * 5) == 3


def test_evidence_that_the_rate_is_better_is_no_alarm():
    assert alarm(BetaBinomial(limit=LIMIT, alpha=ALPHA), (0,), (1_000_000,)) == -1
    assert alarm(ConditionalDirichlet(share=0.5, alpha=ALPHA), (0,), (9999,), (999,), (9999,)) == -1


def test_ten_errors_in_the_small_arm_alone_are_enough_for_the_dirichlet():
    """The product of (10 + i)/(100 + i)/0.1: 12.4 after nine errors, 21.7 after ten."""
    assert alarm(ConditionalDirichlet(share=0.1, alpha=ALPHA), (1,) * 11, (1,) * 11, (0,) * 11, (9,) * 11) == 9


def slow_beta(x, n, p, k):
    a, b = k * p, k * (1 - p)
    if x <= n * p:
        return -math.inf
    start = math.lgamma(a) + math.lgamma(b) - math.lgamma(k)
    now = math.lgamma(a + x) + math.lgamma(b + n - x) - math.lgamma(k + n)
    return now - start - x * math.log(p) - (n - x) * math.log1p(-p)


@given(SEEDS)
def test_likelihood_ratios_are_their_slow_forms(seed):
    x, n = counts(seed)
    bound = math.log(20)

    def ratio(_, x, n):
        return x * math.log(1.5) + (n - x) * math.log(0.985 / 0.99)

    assert_first(Sprt(limit=LIMIT, alternative=0.015, alpha=ALPHA).alarms(x, n), slow(ratio, x, n), bound)
    assert_first(
        BetaBinomial(limit=LIMIT, alpha=ALPHA).alarms(x, n),
        slow(lambda _, x, n: slow_beta(x, n, LIMIT, 100.0), x, n),
        bound,
    )
    arms = two_arms(seed)
    assert_first(
        ConditionalDirichlet(share=0.25, alpha=ALPHA).alarms(*arms),
        slow(lambda _, x, y: slow_beta(x, x + y, 0.25, 100.0), arms[0], arms[2]),
        bound,
    )


# ------------------------------------------------------------------------------------------- CUSUM
def test_good_ticks_do_not_build_up_credit_against_a_cusum():
    """After any number of good ticks eight errors in a row are enough for h = 3."""
    cusum = Cusum(limit=LIMIT, alternative=0.015, threshold=3.0)
    assert alarm(cusum, (0,) * 50 + (1,) * 9, (1,) * 59) == 57


@given(SEEDS)
def test_the_cusum_is_its_recursion(seed):
    x, n = counts(seed)
    rows = []
    for rollout in range(x.shape[1]):
        s, row = 0.0, []
        for events, trials in zip(x[:, rollout].tolist(), n[:, rollout].tolist(), strict=True):
            s = max(0.0, s + events * math.log(1.5) + (trials - events) * math.log(0.985 / 0.99))
            row.append(s)
        rows.append(row)
    assert_first(Cusum(limit=LIMIT, alternative=0.015, threshold=2.0).alarms(x, n), rows, 2.0)


@pytest.mark.parametrize("replicates", [20, 199, 400])
def test_a_calibrated_threshold_keeps_alpha_on_what_it_was_calibrated_with(replicates):
    given = {"limit": LIMIT, "alternative": 0.015, "trials": 20, "ticks": 100, "alpha": ALPHA}
    h = calibrate(**given, replicates=replicates, generator=np.random.default_rng(7))
    again = np.random.default_rng(7)
    x = np.concatenate(
        [again.binomial(20, LIMIT, (100, min(250, replicates - b))) for b in range(0, replicates, 250)], 1
    )
    alarms = Cusum(limit=LIMIT, alternative=0.015, threshold=h).alarms(x, np.full((100, 1), 20))
    assert (alarms >= 0).mean() <= ALPHA
    lower = Cusum(limit=LIMIT, alternative=0.015, threshold=h - 1e-6).alarms(x, np.full((100, 1), 20))
    assert (lower >= 0).mean() >= ALPHA - 1 / replicates


def test_calibration_needs_enough_rollouts():
    with pytest.raises(ValueError, match="at least 20 replicates"):
        calibrate(
            limit=LIMIT,
            alternative=0.015,
            trials=20,
            ticks=10,
            alpha=ALPHA,
            replicates=19,
            generator=np.random.default_rng(1),
        )


def test_a_stage_of_one_tick_with_one_trial_can_be_calibrated():
    """One trial in a hundred fails, more than alpha: S after it is the only threshold there is."""
    given = {"limit": LIMIT, "alternative": 0.015, "trials": 1, "ticks": 1, "replicates": 2000}
    h = calibrate(**given, alpha=0.005, generator=np.random.default_rng(12))
    assert h == pytest.approx(math.log(1.5))
    for wrong in ({"trials": 0}, {"ticks": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            calibrate(**{**given, **wrong}, alpha=0.005, generator=np.random.default_rng(12))


def test_an_uncalibrated_cusum_controls_nothing():
    x = np.random.default_rng(8).binomial(100, LIMIT, (2000, 200))
    plain = Cusum(limit=LIMIT, alternative=0.015, threshold=math.log(20))
    assert plain.label == "no stated control"
    assert (plain.alarms(x, np.full((2000, 1), 100)) >= 0).mean() >= 0.8


# ------------------------------------------------------------------------------------------- asymptotic sequence
@given(SEEDS)
def test_the_asymptotic_sequence_is_its_slow_form(seed):
    arms = two_arms(seed)

    def lower(_, x, n, y, m):
        if not n or not m:
            return -math.inf
        p, q = x / n, y / m
        variance = p * (1 - p) / n + q * (1 - q) / m
        return p - q - moments.half_width(variance, n + m, ALPHA, tuned_for=5000) if variance else -math.inf

    assert_first(AsymptoticSequence(alpha=ALPHA).alarms(*arms), slow(lower, *arms), 0.0)


# ------------------------------------------------------------------------------------------- mixtures
def test_two_errors_in_two_requests_are_enough_for_the_grid():
    """One error: the mean of the ratios, 6.76. Two: the mean of their squares, 130."""
    mixture = GridMixture(limit=LIMIT, alpha=ALPHA, schedule=SCHEDULES[0])
    assert alarm(mixture, (1, 1), (1, 1)) == 1


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["none", "judge", "even", "even, every 7"])
@pytest.mark.parametrize("ticks", [0, 1, 30, 100])
def test_the_weights_of_a_schedule_sum_to_at_most_one(schedule, ticks):
    weights = schedule.weights(ticks)
    assert weights.shape == (ticks,)
    assert (weights >= 0).all()
    assert weights.sum() <= 1 + 1e-12
    if ticks >= 30 and schedule.restarts is not Restarts.JUDGE:
        assert weights.sum() == pytest.approx(1)


def slow_mixture(schedule, rows):
    """Return log E for each rollout; rows give the (usable, log F_k) of its ticks."""
    weights = schedule.weights(1000).tolist()
    result = []
    for row in rows:
        e, read, values = None, 0, []
        for usable, log_f in row:
            e = e or [0.0] * len(log_f)
            if usable:
                e = [(one + weights[read] / len(e)) * math.exp(f) for one, f in zip(e, log_f, strict=True)]
                read += 1
            values.append(math.log(sum(e)) if sum(e) else -math.inf)
        result.append(values)
    return result


@given(SEEDS, st.sampled_from(SCHEDULES))
def test_the_grid_is_its_slow_form_at_every_schedule(seed, schedule):
    x, n = counts(seed)
    grid = eprocess.rate_grid(LIMIT, eprocess.FAIL_RATIOS)
    rows = [
        [
            (t > 0, [e * up + (t - e) * down for up, down in zip(grid.up, grid.down, strict=True)])
            for e, t in zip(x[:, r].tolist(), n[:, r].tolist(), strict=True)
        ]
        for r in range(x.shape[1])
    ]
    found = GridMixture(limit=LIMIT, alpha=ALPHA, schedule=schedule).alarms(x, n)
    assert_first(found, slow_mixture(schedule, rows), math.log(20))


@given(SEEDS, st.sampled_from(SCHEDULES))
def test_the_conditional_grid_is_its_slow_form_at_every_schedule(seed, schedule):
    x, n, y, m = two_arms(seed)
    rows = []
    for r in range(x.shape[1]):
        row = []
        for ours, t, theirs, c in zip(*(a[:, r].tolist() for a in (x, n, y, m)), strict=True):
            grid = eprocess.ratio_grid(max(t, 1), max(c, 1), 1.0, eprocess.FAIL_RATIOS)
            log_f = [ours * up + theirs * down for up, down in zip(grid.up, grid.down, strict=True)]
            row.append((t > 0 and c > 0, log_f))
        rows.append(row)
    found = ConditionalMixture(alpha=ALPHA, schedule=schedule).alarms(x, n, y, m)
    assert_first(found, slow_mixture(schedule, rows), math.log(20))


def test_rollouts_that_have_alarmed_are_dropped_and_keep_their_tick():
    """600 ticks: alarmed rollouts leave after 240; the judge's own form, which drops none, agrees."""
    x = np.random.default_rng(9).binomial(20, np.linspace(0.005, 0.03, 40), (600, 40))
    n = np.full((600, 40), 20)
    schedule = Schedule(restarts=Restarts.JUDGE, horizon_ticks=600)
    grid = eprocess.rate_grid(LIMIT, eprocess.FAIL_RATIOS)
    up, down = np.array(grid.up)[:, None], np.array(grid.down)[:, None]

    def steps(tick, running):
        return x[tick, running] * (up - down) + n[tick, running] * down

    whole = paths.paths_rate(x, n, LIMIT, horizon_ticks=600)
    found = mixture_alarms(n > 0, steps, schedule, 8, ALPHA)
    assert found.tolist() == first_alarms(whole >= math.log(20)).tolist()
    assert {-1} < set(found.tolist())


def test_a_long_healthy_stretch_leaves_a_trace_that_later_evidence_can_outweigh():
    """500,000 clean requests are e^-758 for the nearest alternative: below the smallest float, and not lost."""
    mixture = GridMixture(limit=LIMIT, alpha=ALPHA, schedule=SCHEDULES[0])
    assert alarm(mixture, (0, 2_000), (500_000, 2_000)) == -1
    assert alarm(mixture, (0, 6_000), (500_000, 6_000)) == 1
    conditional = ConditionalMixture(alpha=ALPHA, schedule=SCHEDULES[0])
    many = 11_000  # of control alone: e^-795
    assert alarm(conditional, (0, many), (many, many), (many, 0), (many, many)) == -1
    assert alarm(conditional, (0, many, many), (many,) * 3, (many, 0, 0), (many,) * 3) == 2


def test_evidence_stops_at_the_cap():
    x = np.full((300, 1), 50)
    even = GridMixture(limit=LIMIT, alpha=1e-290, schedule=Schedule(restarts=Restarts.EVEN, horizon_ticks=300))
    assert even.alarms(x, x).tolist()[0] >= 0


def test_the_pass_side_passes_a_clean_service():
    """The design: 422 clean units pass a limit of 1 %."""
    passing = GridMixture(limit=LIMIT, alpha=ALPHA, schedule=SCHEDULES[0], ratios=eprocess.PASS_RATIOS)
    assert alarm(passing, (0,) * 500, (1,) * 500) == 421


# ------------------------------------------------------------------------------------------- rank test
def slow_shift(ours, theirs, confidence):
    """Return (lower end, estimate): try each difference, count what lies above just below it."""
    d = sorted(a - b for a in ours for b in theirs)
    sigma = math.sqrt(len(d) * (len(ours) + len(theirs) + 1) / 12)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    lower = d[0]
    for place, value in enumerate(d):
        above = len(d) - place
        if (above - len(d) / 2 - 0.5) / sigma > z:
            lower = value
    middle = len(d) // 2
    return lower, d[middle] if len(d) % 2 else (d[middle - 1] + d[middle]) / 2


@given(SEEDS)
def test_the_interval_of_the_shift_is_its_slow_form(seed):
    generator = np.random.default_rng(seed)
    ours = generator.normal(0.3, 1.0, (generator.integers(1, 9), 2))
    theirs = generator.normal(0.0, 1.0, (generator.integers(1, 9), 2))
    lower, estimate = shift_lower(ours, theirs, 0.9)
    for r in range(2):
        expected = slow_shift(ours[:, r].tolist(), theirs[:, r].tolist(), 0.9)
        assert (lower[r], estimate[r]) == pytest.approx(expected)


def test_the_lower_end_is_where_the_rank_sum_stops_to_be_significant():
    """Held against scipy's asymptotic p-value with its correction: significant just below, not just above."""
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(10)
    ours, theirs = generator.normal(1.0, 1.0, (12, 1)), generator.normal(0.0, 1.0, (15, 1))
    lower = float(shift_lower(ours, theirs, 0.98)[0][0])

    def p(shift):
        return stats.mannwhitneyu(ours[:, 0] - shift, theirs[:, 0], method="asymptotic", use_continuity=True).pvalue

    assert p(lower - 1e-9) < 0.02 < p(lower + 1e-9)


def test_the_rank_test_looks_every_hour_at_full_samples():
    rule = MannWhitney(sample_ticks=2, look_ticks=4, min_samples=4)
    ours, theirs = (50,) * 9, (1,) * 9
    assert alarm(rule, ours, (100,) * 9, theirs, (100,) * 9) == 7
    assert alarm(MannWhitney(sample_ticks=2, look_ticks=4, min_samples=1), ours, (100,) * 9, theirs, (100,) * 9) == 3
    assert alarm(rule, ours[:7], (100,) * 7, theirs[:7], (100,) * 7) == -1
    assert alarm(rule, theirs, (100,) * 9, ours, (100,) * 9) == -1


@pytest.mark.parametrize(("events", "at"), [(37, -1), (38, 0)])
def test_the_z_test_knows_the_spread_of_a_large_rate(events, at):
    assert alarm(PeekingZTest(limit=0.3), (events,), (100,)) == at  # 30 + 1.645 * sqrt(100 * 0.3 * 0.7) = 37.5


def test_one_unit_of_control_is_a_rate():
    assert alarm(RawImpact(tolerance=0.0, min_units=0), (9,), (10,), (0,), (1,)) == 0


def test_the_rank_test_compares_rates_and_not_numbers():
    rule = MannWhitney(sample_ticks=2, look_ticks=4, min_samples=2)
    assert alarm(rule, (9, 18) * 4, (900,) * 8, (1, 2) * 4, (100,) * 8) == -1


@pytest.mark.parametrize(("least", "said"), [(1, "raw rule, per tick"), (2, "raw rule, per tick, >= 2 units")])
def test_a_raw_rule_says_from_how_many_units_on_it_looks(least, said):
    assert RawRule(limit=LIMIT, window=1, min_units=least).name == said


def test_a_sample_without_trials_is_refused():
    with pytest.raises(ValueError, match="without trials"):
        alarm(MannWhitney(sample_ticks=1, look_ticks=1, min_samples=1), (0,), (0,), (0,), (1,))


# ------------------------------------------------------------------------------------------- calibration
CALIBRATED_TICKS, CALIBRATED_N, ROLLOUTS = 480, 50, 400


def controlled():
    """Return the methods of either kind that claim control of the false alarms over a stage of 480 ticks."""
    one = methods.one_arm(
        limit=LIMIT,
        alpha=ALPHA,
        trials=CALIBRATED_N,
        horizon_ticks=CALIBRATED_TICKS,
        looks=12,
        replicates=2000,
        generator=np.random.default_rng(20),
    )
    two = methods.two_arms(share=0.25, alpha=ALPHA, horizon_ticks=CALIBRATED_TICKS, looks=12)
    even = Schedule(restarts=Restarts.EVEN, horizon_ticks=CALIBRATED_TICKS, every=20)
    return (
        [m for m in (*one, GridMixture(limit=LIMIT, alpha=ALPHA, schedule=even)) if m.label.startswith("PFA")],
        [m for m in (*two, ConditionalMixture(alpha=ALPHA, schedule=even)) if m.label.startswith("PFA")],
    )


def test_methods_that_claim_control_keep_alpha_at_the_limit():
    generator = np.random.default_rng(21)
    shape = (CALIBRATED_TICKS, ROLLOUTS)
    x = generator.binomial(CALIBRATED_N, LIMIT, shape)
    ours, theirs = generator.binomial(CALIBRATED_N, 0.005, shape), generator.binomial(3 * CALIBRATED_N, 0.005, shape)
    n = np.full((CALIBRATED_TICKS, 1), CALIBRATED_N)
    one, two = controlled()
    assert (len(one), len(two)) == (7, 6)
    shares = {method.name: (method.alarms(x, n) >= 0).mean() for method in one}
    shares |= {"two arms, " + method.name: (method.alarms(ours, n, theirs, 3 * n) >= 0).mean() for method in two}
    assert {name: share for name, share in shares.items() if share > upper(ALPHA, ROLLOUTS)} == {}


def test_a_threefold_rate_is_found_by_every_method_that_claims_control():
    generator = np.random.default_rng(22)
    shape = (CALIBRATED_TICKS, 50)
    x, y = generator.binomial(CALIBRATED_N, 0.03, shape), generator.binomial(3 * CALIBRATED_N, 0.01, shape)
    n = np.full((CALIBRATED_TICKS, 1), CALIBRATED_N)
    one, two = controlled()
    assert all((method.alarms(x, n) >= 0).all() for method in one)
    assert all((method.alarms(x, n, y, 3 * n) >= 0).all() for method in two)
