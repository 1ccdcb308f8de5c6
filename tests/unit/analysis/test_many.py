"""Thousands of rollouts at once: the alarms are those of one rollout after the other."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.analysis import dispersion, many
from phase4.analysis.eprocess import FAIL_RATIOS, FailEvidence
from phase4.analysis.many import first_alarms

TICKS = 200


def one_by_one(columns, trials, *, limit, alpha, horizon_ticks, phi=1.0):
    """Return the first alarms of rollouts, each judged tick by tick by the scalar form."""
    grid, found = dispersion.rate_grid(limit, phi, FAIL_RATIOS), []
    for column in columns.T.tolist():
        evidence, alarm = FailEvidence.start(), -1
        for tick, x in enumerate(column):
            evidence = evidence.step(grid, x, trials - x, horizon_ticks)
            if evidence.log_e >= math.log(1 / alpha):
                alarm = tick
                break
        found.append(alarm)
    return found


class Dealer:
    """Deals the events of given rollouts; those that have alarmed are not asked for again."""

    def __init__(self, columns, trials, **terms):
        self.columns, self.trials, self.terms = columns, trials, terms
        self.place, self.asked = 0, []
        self.left = np.arange(columns.shape[1])

    def __call__(self, ticks, rollouts):
        self.asked.append((ticks, rollouts))
        if rollouts != len(self.left):  # who has gone is who would alarm
            seen = one_by_one(self.columns[: self.place], self.trials, **self.terms)
            self.left = np.flatnonzero(np.array(seen) < 0)
        assert rollouts == len(self.left)
        part = self.columns[self.place : self.place + ticks, self.left]
        self.place += ticks
        return part


def judged(columns, trials, **terms):
    dealer = Dealer(columns, trials, **terms)
    return first_alarms(dealer, ticks=len(columns), rollouts=columns.shape[1], trials=trials, **terms).tolist(), dealer


def late(seed, trials, rate, worse, rollouts=30, ticks=TICKS):
    """Return events of rollouts whose rate jumps half way."""
    rates = np.where(np.arange(ticks)[:, None] < ticks // 2, rate, worse)
    return np.random.default_rng(seed).binomial(trials, rates, (ticks, rollouts))


@pytest.mark.parametrize(("trials", "rate", "worse"), [(3, 0.002, 0.2), (10, 0.005, 0.1), (100, 0.005, 0.03)], ids=str)
@pytest.mark.parametrize("phi", [1.0, 4.0])
def test_alarms_are_those_of_one_rollout_after_the_other(trials, rate, worse, phi):
    terms = {"limit": 0.01, "alpha": 0.05, "horizon_ticks": TICKS, "phi": phi}
    columns = late(trials, trials, rate, worse)
    found, _ = judged(columns, trials, **terms)
    assert found == one_by_one(columns, trials, **terms)
    assert max(found) > TICKS // 2


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 10, 60, 300]),
    st.sampled_from([1e-4, 0.003, 0.01, 0.3, 0.5]),
    st.sampled_from([0.4, 0.05, 0.001]),
    st.sampled_from([None, 1, 50, 5000]),
    st.sampled_from([0.3, 1.0, 2.0, 20.0]),
)
def test_at_any_limit_alpha_and_length_too(seed, trials, limit, alpha, horizon, times):
    terms = {"limit": limit, "alpha": alpha, "horizon_ticks": horizon}
    columns = late(seed, trials, min(limit * times, 1.0), min(3 * limit * times, 1.0), rollouts=4, ticks=150)
    assert judged(columns, trials, **terms)[0] == one_by_one(columns, trials, **terms)


@pytest.mark.parametrize("share", [0.0, 2.0], ids=["every tick", "skipping"])
def test_both_ways_of_reading_a_block_agree(share, monkeypatch):
    monkeypatch.setattr(many, "SPARSE", share)
    terms = {"limit": 0.01, "alpha": 0.05, "horizon_ticks": TICKS}
    columns = late(7, 10, 0.005, 0.06)
    assert judged(columns, 10, **terms)[0] == one_by_one(columns, 10, **terms)


@pytest.mark.parametrize("share", [0.0, 2.0], ids=["every tick", "skipping"])
def test_within_a_billionth_of_the_bound_the_scalar_form_decides(share, monkeypatch):
    """Alpha is set to what the evidence reaches at its peak, to the last bit and one bit beyond."""
    monkeypatch.setattr(many, "SPARSE", share)
    columns, grid = late(8, 10, 0.005, 0.03, rollouts=1), dispersion.rate_grid(0.01, 1.0, FAIL_RATIOS)
    evidence, peak = FailEvidence.start(), 0.0
    for x in columns[:, 0].tolist():
        evidence = evidence.step(grid, x, 10 - x, TICKS)
        peak = max(peak, math.fsum(evidence.e))
    assert peak > 2.0
    for alpha in (1 / peak, math.nextafter(1 / peak, 0.0), 1 / (peak * (1 - 4e-10)), 1 / (peak * (1 + 4e-10))):
        terms = {"limit": 0.01, "alpha": alpha, "horizon_ticks": TICKS}
        assert judged(columns, 10, **terms)[0] == one_by_one(columns, 10, **terms)


def test_a_rollout_that_has_alarmed_is_not_drawn_again():
    columns = late(9, 100, 0.2, 0.2, rollouts=20)
    found, dealer = judged(columns, 100, limit=0.01, alpha=0.05, horizon_ticks=TICKS)
    assert max(found) < many.BLOCK
    assert dealer.asked == [(many.BLOCK, 20)]


def test_the_last_block_may_be_shorter():
    _, dealer = judged(
        late(10, 10, 0.001, 0.001, rollouts=3, ticks=many.BLOCK + 36), 10, limit=0.01, alpha=0.01, horizon_ticks=100
    )
    assert [ticks for ticks, _ in dealer.asked] == [many.BLOCK, 36]


def test_alarms_stay_within_alpha_at_the_limit():
    generator = np.random.default_rng(11)
    alarms = first_alarms(
        lambda ticks, rollouts: generator.binomial(10, 0.01, (ticks, rollouts)),
        ticks=1000,
        rollouts=1000,
        trials=10,
        limit=0.01,
        alpha=0.05,
        horizon_ticks=1000,
    )
    assert (alarms >= 0).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.parametrize("events", [-1, 11])
def test_impossible_events_are_refused(events):
    with pytest.raises(ValueError, match="between 0 and trials"):
        judged(np.full((5, 2), events), 10, limit=0.01, alpha=0.05, horizon_ticks=5)


@pytest.mark.parametrize(
    ("wrong", "named"), [({"alpha": 0.0}, "alpha"), ({"limit": 0.6}, "limit"), ({"phi": 0.5}, "phi")]
)
def test_terms_that_are_none_are_refused_by_name(wrong, named):
    with pytest.raises(ValueError, match=named):
        judged(np.zeros((5, 2), int), 10, **{"limit": 0.01, "alpha": 0.05, "horizon_ticks": 5, **wrong})


def test_a_tick_without_trials_is_refused():
    with pytest.raises(ValueError, match="at least 1 trial"):
        judged(np.zeros((5, 2), int), 0, limit=0.01, alpha=0.05, horizon_ticks=5)
