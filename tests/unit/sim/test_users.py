"""Synthetic users: the counts have the law of requests drawn one by one, whatever way is taken to draw them."""

from dataclasses import replace

import numpy as np
import pytest

from phase4.analysis.observation import OutcomeSet
from phase4.sim import checks, sweep
from phase4.sim.population import Equal, Lognormal, Pareto, Population, UserClass, apportion, lay_out
from phase4.sim.traffic import Exposure
from phase4.sim.users import UsersSource
from tests.unit.sim.worlds import TICK, counts_world, fault, scenario

TICKS = 12
USERS = 300
CLASSES = (UserClass(name="most", share=0.9, error_rate_factor=1.0), UserClass(name="few", share=0.1, error_rate=0.4))
POPULATION = Population(users=USERS, activity=Pareto(alpha=1.8), classes=CLASSES)
PER_USER = 0.35
"""Requests of the mean user in a tick."""
RATE = PER_USER * USERS / (TICK / 1000)
NAMES = ("ok", "error", "units", "error_risk_n", "error_risk_x", "error_first_n", "error_first_x", "error_third_x")


def whole(*faults, population=POPULATION, ticks=TICKS, error_rate=0.05, rate=RATE):
    made = scenario(counts_world(*faults, rate=rate, error_rate=error_rate), ticks=ticks)
    world = replace(made.worlds[0], traffic=replace(made.worlds[0].traffic, population=population))
    return replace(made, worlds=(world,))


class Everything:
    """A scenario whose policies count users of every outcome set."""

    def __init__(self, made):
        self.made = made
        self.outcome_sets = frozenset(OutcomeSet)
        self.counts_repeats = True

    def __getattr__(self, name):
        return getattr(self.made, name)


def source(made, *, replicate=0, seed=5):
    return UsersSource(Everything(made), made.worlds[0], seed=seed, replicate=replicate)


def one_by_one(made, generator, rate):
    """Return the columns of one arm that holds half of the users: every request is drawn and counted by itself."""
    users = lay_out(made.worlds[0].traffic.population)
    members = np.flatnonzero(generator.random(USERS) < 0.5)
    counts = {name: np.zeros(TICKS, np.int64) for name in (*NAMES, "invalid_first_n", "invalid_risk_n")}
    for user in members:
        fails = CLASSES[users.class_of[user]].rate(rate)
        seen = failed = validated = False
        errors = 0
        for tick in range(TICKS):
            for _ in range(generator.poisson(PER_USER * users.activity[user])):
                is_error = generator.random() < fails
                counts["error" if is_error else "ok"][tick] += 1
                if not seen:
                    counts["units"][tick] += 1
                    counts["error_first_n"][tick] += 1
                    counts["error_first_x"][tick] += is_error
                if not failed:
                    counts["error_risk_n"][tick] += 1
                    counts["error_risk_x"][tick] += is_error
                errors += is_error
                counts["error_third_x"][tick] += is_error and errors == 3
                if not is_error:
                    counts["invalid_first_n"][tick] += not validated
                    counts["invalid_risk_n"][tick] += 1
                    validated = True
                seen, failed = True, failed or is_error
    return counts


@pytest.fixture(scope="module")
def samples():
    """Return the counts of many repetitions, (repetitions, ticks) by name: from groups, and one by one."""
    made, generator, repeats = whole(), np.random.default_rng(11), 300
    of_groups = [source(made, replicate=r).entry(50.0, 0).columns(0, TICKS)[r % 2] for r in range(8 * repeats)]
    single = [one_by_one(made, generator, 0.05) for _ in range(repeats)]
    names = (*NAMES, "invalid_first_n", "invalid_risk_n")
    return (
        {name: np.array([getattr(arm, name) for arm in of_groups]) for name in names},
        {name: np.array([counts[name] for counts in single]) for name in names},
    )


# --------------------------------------------------------------------------------------------- the law
@pytest.mark.parametrize("name", [*NAMES, "invalid_first_n", "invalid_risk_n"])
def test_every_count_has_the_mean_that_single_requests_give(samples, name):
    groups, single = (sample[name] for sample in samples)
    error = np.sqrt(groups.var(axis=0) / len(groups) + single.var(axis=0) / len(single))
    z = (groups.mean(axis=0) - single.mean(axis=0)) / np.maximum(error, 1e-9)
    assert np.abs(z).max() < 4.5
    assert np.sqrt((z**2).mean()) < 2.0


@pytest.mark.parametrize("name", NAMES)
def test_every_count_varies_as_single_requests_do(samples, name):
    groups, single = (sample[name].sum(axis=1) for sample in samples)
    ratio = groups.var(ddof=1) / single.var(ddof=1)
    assert 0.7 < ratio < 1.4


@pytest.mark.parametrize(
    ("one", "other"), [("error", "error_risk_x"), ("units", "error_first_x"), ("error_risk_n", "error_risk_x")]
)
def test_counts_of_a_tick_go_together_as_single_requests_do(samples, one, other):
    found = [
        np.mean([np.corrcoef(sample[one][:, t], sample[other][:, t])[0, 1] for t in range(TICKS)]) for sample in samples
    ]
    assert found[0] == pytest.approx(found[1], abs=0.08)


def test_users_that_fail_for_ever_leave_the_risk_set_and_stay_in_the_errors():
    always = (UserClass(name="always", share=1.0, error_rate=1.0),)
    made = whole(population=Population(users=USERS, classes=always))
    arm, _ = source(made).entry(50.0, 0).columns(0, TICKS)
    assert arm.ok.sum() == 0
    assert arm.error_risk_x.tolist() == arm.units.tolist() == arm.error_first_x.tolist() == arm.error_risk_n.tolist()
    assert arm.error.sum() > 2 * arm.units.sum()


# --------------------------------------------------------------------------------------------- worlds and policies
@pytest.mark.parametrize("percentage", [5.0, 50.0, 80.0, 100.0])
def test_what_is_drawn_is_possible(percentage):
    made = whole(fault(at=3 * TICK, add=0.3), ticks=1200)
    own, other = source(made).entry(percentage, 2).columns(2, 1200)
    checks.counts_are_possible(own, other)
    assert (other.requests.sum() == 0) == (percentage == 100.0)


def test_where_a_stretch_is_cut_changes_nothing():
    made = whole(ticks=1300)
    at_once = source(made).entry(20.0, 3).columns(3, 1300)
    entry = source(made).entry(20.0, 3)
    parts = [entry.columns(begin, end) for begin, end in ((3, 4), (4, 700), (700, 1300))]
    for arm in (0, 1):
        for name in NAMES:
            joined = np.concatenate([getattr(part[arm], name) for part in parts])
            assert joined.tolist() == getattr(at_once[arm], name).tolist()


def test_a_fault_of_treatment_leaves_control_and_all_arrivals_as_they_were():
    healthy, broken = (source(whole(*faults)).entry(50.0, 0).columns(0, TICKS) for faults in ((), (fault(add=0.5),)))
    for name in NAMES:
        assert getattr(healthy[1], name).tolist() == getattr(broken[1], name).tolist()
    assert healthy[0].requests.tolist() == broken[0].requests.tolist()
    assert healthy[0].units.tolist() == broken[0].units.tolist()
    assert healthy[0].error.sum() < broken[0].error.sum()


def test_users_stay_in_their_arm_when_the_percentage_grows():
    of = source(whole(ticks=200))
    small, large = (of.entry(percentage, 0).arms[0].groups for percentage in (5.0, 50.0))
    for one, other in zip(small, large, strict=True):
        assert set(one.users.tolist()) <= set(other.users.tolist())


def test_replicates_differ_and_a_seed_repeats():
    made = whole()
    one, again, other = (source(made, replicate=r).entry(50.0, 0).columns(0, TICKS)[0] for r in (0, 0, 1))
    assert one.ok.tolist() == again.ok.tolist()
    assert one.ok.tolist() != other.ok.tolist()


def test_a_healthy_feature_harms_nobody():
    of = source(whole())
    toll = of.toll((Exposure(percentage=50.0, first_tick=0, end_tick=TICKS),))
    assert (of.onset_tick, toll.users_harmed, toll.excess, toll.users_since_onset) == (None, 0, 0.0, 0)
    assert 0.3 * USERS < toll.users_exposed < 0.7 * USERS


def test_what_a_fault_costs_is_counted_from_its_onset():
    of = source(whole(fault(at=4 * TICK, add=0.5)))
    toll = of.toll((Exposure(percentage=50.0, first_tick=0, end_tick=TICKS),))
    assert of.onset_tick == 4
    own, _ = of.entry(50.0, 0).columns(0, TICKS)
    assert toll.requests_since_onset == own.requests[4:].sum()
    assert 0 < toll.users_harmed <= toll.users_since_onset <= toll.users_exposed
    assert toll.excess == pytest.approx(own.requests[4:].sum() * 0.5 * 0.92, rel=0.1)


def test_a_world_with_a_population_is_drawn_from_users():
    made = whole()
    assert isinstance(sweep.source_of(made, made.worlds[0], seed=1, replicate=0), UsersSource)


# --------------------------------------------------------------------------------------------- the population
@pytest.mark.parametrize("activity", [Equal(), Pareto(alpha=1.5), Pareto(alpha=2.5), Lognormal(sigma=1.0)], ids=str)
def test_the_mean_user_makes_one_request_where_one_is_expected(activity):
    users = lay_out(Population(users=10_000, activity=activity))
    assert len(users) == 10_000
    assert users.activity.mean() == pytest.approx(1.0)
    assert users.activity.min() > 0.0


def test_the_heavier_the_tail_the_more_lies_with_the_most_active():
    tops = [
        np.sort(lay_out(Population(users=10_000, activity=Pareto(alpha=a))).activity)[-100:].sum() for a in (1.3, 3)
    ]
    assert tops[0] > 2 * tops[1]


def test_classes_have_their_shares_in_whole_users():
    assert Population(users=1001, classes=CLASSES).class_sizes.tolist() == [901, 100]
    assert apportion([1 / 3, 1 / 3, 1 / 3], 10).tolist() == [4, 3, 3]


# --------------------------------------------------------------------------------------------- users that fail again
def test_a_fault_of_one_class_leaves_the_others_as_they_were():
    (healthy, _), (broken, _) = (
        source(whole(*faults)).entry(50.0, 0).columns(0, TICKS) for faults in ((), (fault(add=1.0, user_class="few"),))
    )
    assert (broken.units == healthy.units).all()
    assert broken.error.sum() > healthy.error.sum()
    none = source(whole(fault(add=1.0, user_class="nobody"))).entry(50.0, 0).columns(0, TICKS)[0]
    assert (none.error == healthy.error).all()


def test_who_always_fails_has_a_third_error_once():
    always = (UserClass(name="always", share=1.0, error_rate=1.0),)
    made = whole(population=Population(users=USERS, classes=always), ticks=60)
    arm, _ = source(made).entry(50.0, 0).columns(0, 60)
    assert arm.error_third_x.sum() <= arm.units.sum()
    assert arm.error_third_x.sum() > 0.95 * arm.units.sum()


def test_thirds_are_counted_where_some_policy_asks_for_them_alone():
    made = whole()
    assert UsersSource(made, made.worlds[0], seed=5, replicate=0).entry(50.0, 0).columns(0, 4)[0].error_third_x is None
