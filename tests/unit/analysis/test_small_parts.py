"""Budget, intervals, sample ratio, observation rows and columns."""

import math

import numpy as np
import pytest
from scipy import stats

from phase4.analysis import budget, interval, sample_ratio
from phase4.analysis.budget import Claim
from phase4.analysis.columns import ArmColumns
from phase4.analysis.observation import COLUMNS, Observation, OutcomeSet, request_counts, user_counts


# ------------------------------------------------------------------------------------------------- budget
def claim(name, *, guard=True, emergency=False, weight=1.0):
    return Claim(name, guard, emergency, weight)


def test_the_guards_of_all_stages_spend_at_most_the_plans_alpha():
    claims = [claim("emergency", emergency=True), claim("a"), claim("b", weight=3.0), claim("s", guard=False)]
    for stages in (1, 3, 5, 9):
        alphas = budget.split(0.05, stages, claims)
        spent = stages * sum(alphas[c.name] for c in claims if c.is_guard)
        assert spent <= 0.05 + 1e-12
        assert alphas["b"] == pytest.approx(3 * alphas["a"])


def test_a_lone_guard_has_its_stages_whole_share():
    assert budget.split(0.05, 3, [claim("a")]) == {"a": 0.01}
    assert budget.split(0.05, 3, [claim("e", emergency=True)]) == {"e": 0.01}


def test_signals_stand_outside_the_budget():
    alphas = budget.split(0.05, 3, [claim("a"), claim("s", guard=False)])
    assert alphas == {"a": 0.01, "s": 0.01}


# ------------------------------------------------------------------------------------------------- intervals
@pytest.mark.parametrize(("events", "trials"), [(0, 1), (1, 1), (0, 300), (3, 200), (200, 200), (57, 123)])
def test_wilson_agrees_with_scipy(events, trials):
    expected = stats.binomtest(events, trials).proportion_ci(0.95, method="wilson")
    assert interval.wilson(events, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_mean_interval_agrees_with_students_t():
    values = list(np.random.default_rng(1).normal(5.0, 2.0, 40))
    mean, lower, upper = interval.mean_interval(values)
    low, high = stats.t.interval(0.95, 39, loc=np.mean(values), scale=stats.sem(values))
    assert (mean, lower, upper) == pytest.approx((np.mean(values), low, high), abs=1e-3)


@pytest.mark.parametrize("n", [10, 11, 15, 30, 100])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_from_10_values_on_the_quantile_is_that_of_students_t(n, alpha):
    values = np.arange(n, dtype=float).tolist()
    mean, lower, upper = interval.mean_interval(values, alpha=alpha)
    error = stats.sem(values)
    wanted = stats.t.ppf(1 - alpha / 2, n - 1)
    left = 0.002 * (9 / (n - 1)) ** 4  # the first power that the expansion leaves out
    assert ((upper - mean) / error, (mean - lower) / error) == pytest.approx((wanted, wanted), abs=left)


def test_means_of_little_have_no_interval():
    assert all(math.isnan(v) for v in interval.mean_interval([]))
    mean, lower, upper = interval.mean_interval([3.0])
    assert mean == 3.0
    assert math.isnan(lower)
    assert math.isnan(upper)


def test_without_trials_any_rate_is_possible():
    assert interval.wilson(0, 0) == interval.confidence_sequence(0, 0, alpha=0.05) == (0.0, 1.0)


@pytest.mark.parametrize("q", [0.5, 0.95])
@pytest.mark.parametrize("n", [20, 200])
def test_the_quantile_interval_covers_as_often_as_it_says(q, n):
    generator = np.random.default_rng(7)
    truth, rounds = stats.expon.ppf(q), 600
    hits = 0
    for _ in range(rounds):
        _, lower, upper = interval.quantile_interval(generator.exponential(size=n).tolist(), q)
        hits += lower <= truth <= upper
    assert hits / rounds >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / rounds)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("n", [1, 2, 5, 6, 7, 8, 29, 30, 36, 60])
def test_the_quantile_interval_is_as_narrow_as_the_ranks_allow(n, q):
    """A rank r is below the quantile unless fewer than r of n values are: a binomial probability."""
    estimate, lower, upper = interval.quantile_interval([float(rank) for rank in range(1, n + 1)], q, alpha=0.1)
    below = [rank for rank in range(1, n + 1) if stats.binom.cdf(rank - 1, n, q) <= 0.05]
    above = [rank for rank in range(1, n + 1) if stats.binom.sf(rank - 1, n, q) <= 0.05]
    assert (lower, upper) == (max(below, default=-math.inf), min(above, default=math.inf))
    assert estimate == math.ceil(n * q)


def test_a_quantile_beyond_what_was_reached_is_never():
    assert interval.quantile_interval([1.0, math.inf, math.inf], 0.5)[0] == math.inf


@pytest.mark.parametrize(("events", "trials"), [(0, 0), (0, 10), (10, 10), (3, 1000), (500, 1000)])
def test_the_confidence_sequence_holds_its_estimate_and_is_wider_than_one_look(events, trials):
    lower, upper = interval.confidence_sequence(events, trials, alpha=0.05)
    assert 0.0 <= lower <= upper <= 1.0
    if trials:
        assert lower <= events / trials <= upper
        once = stats.binomtest(events, trials).proportion_ci(0.95, method="exact")
        assert upper - lower >= once.high - once.low


def test_the_confidence_sequence_holds_at_every_look():
    generator = np.random.default_rng(3)
    rate, misses, rounds = 0.02, 0, 200
    for _ in range(rounds):
        x = np.cumsum(generator.binomial(50, rate, 60))
        bounds = [interval.confidence_sequence(int(e), 50 * (i + 1), alpha=0.05) for i, e in enumerate(x)]
        misses += any(not low <= rate <= high for low, high in bounds)
    assert misses / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


@pytest.mark.parametrize(("events", "trials", "alpha"), [(-1, 5, 0.05), (6, 5, 0.05), (1, 5, 0.0), (1, 5, 1.0)])
def test_impossible_counts_and_levels_are_refused(events, trials, alpha):
    with pytest.raises(ValueError, match="lie"):
        interval.confidence_sequence(events, trials, alpha=alpha)


# ------------------------------------------------------------------------------------------------- sample ratio
def test_matching_shares_are_no_evidence_and_skewed_ones_are():
    assert sample_ratio.log_e([5000, 5010], [0.5, 0.5]) < 0.0
    assert sample_ratio.log_e([5000, 6000], [0.5, 0.5]) > math.log(1000)
    assert sample_ratio.log_e([0, 0], [0.5, 0.5]) == pytest.approx(0.0)


@pytest.mark.parametrize("shares", [[0.5], [0.5, 0.6], [1.0, 0.0]])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match="share"):
        sample_ratio.log_e([1, 2], shares)


# ------------------------------------------------------------------------------------------------- observation rows
def test_the_row_has_the_columns_of_the_store_and_a_schema_number():
    assert (
        *("tick", "flag_id", "entry", "arm", "ok", "error", "timeout", "invalid", "late", "units", "crossed"),
        *(f"{s}_{k}" for s in ("error", "bad", "invalid") for k in ("risk_n", "risk_x", "first_n", "first_x")),
        "error_third_x",
        *("s1", "s2", "hist", "exceed", "metrics", "schema"),
    ) == COLUMNS


@pytest.mark.parametrize(
    "counts",
    [
        {"ok": -1},
        {"late": -1},
        {"error_risk_n": 3},
        {"bad_first_n": 2, "bad_first_x": 3},
        {"invalid_risk_n": 1, "invalid_risk_x": -1},
    ],
)
def test_impossible_rows_are_refused(counts):
    with pytest.raises(ValueError, match=next(iter(counts)).rsplit("_", 1)[0]):
        Observation(tick=0, flag_id=1, entry=1, arm=2, **counts)


def test_what_nobody_counted_is_nothing_or_unknown():
    row = Observation(tick=0, flag_id=1, entry=1, arm=2)
    assert (row.ok, row.error, row.timeout, row.invalid, row.late) == (0, 0, 0, 0, 0)
    assert (row.s1, row.s2, row.hist, row.exceed, row.metrics) == (0.0, 0.0, b"", {}, {})
    assert {getattr(row, name) for name in COLUMNS if name.endswith(("_n", "_x")) or name in {"units", "crossed"}} == {
        None
    }


def test_columns_and_rows_say_the_same():
    columns = ArmColumns(
        ok=np.array([5, 0, 7]),
        error=np.array([1, 0, 0]),
        timeout=np.array([2, 0, 0]),
        invalid=np.array([3, 0, 1]),
        late=np.zeros(3, np.int64),
        bad_risk_n=np.array([9, 0, 4]),
        bad_risk_x=np.array([6, 0, 1]),
        bad_first_n=np.array([8, 0, 2]),
        bad_first_x=np.array([5, 0, 0]),
    )
    row = columns.row(0, tick=4, flag_id=1, entry=2, arm=2)
    assert columns.row(1, tick=5, flag_id=1, entry=2, arm=2) is None
    for outcome_set in OutcomeSet:
        events, trials = request_counts(columns, outcome_set)
        assert request_counts(row, outcome_set) == (events[0], trials[0])
    assert user_counts(row, OutcomeSet.BAD, "risk") == (6, 9)
    assert (row.tick, row.entry, row.bad_first_n, row.error_risk_n) == (4, 2, 8, None)
    joined = ArmColumns.join([columns.slice(0, 1), columns.slice(1, 3)])
    assert joined.ok.tolist() == [5, 0, 7]
    assert joined.units is None
    assert ArmColumns.join([columns]) is columns


def test_of_six_values_the_smallest_and_the_largest_hold_the_median():
    """One is below it with probability 1/64 on either side, which is less than 2.5 %; of five it is 1/32."""
    assert interval.quantile_interval([1, 2, 3, 4, 5, 6], 0.5)[1:] == (1, 6)
    assert interval.quantile_interval([1, 2, 3, 4, 5], 0.5)[1:] == (-math.inf, math.inf)


def test_an_observation_carries_the_number_of_its_columns():
    """The second has users with their third error."""
    assert Observation(tick=1, flag_id=1, entry=1, arm=1).schema == 2
