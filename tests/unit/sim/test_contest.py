"""Rules side by side: the same stages for all, and what is known of each."""

import math

import pytest

from phase4.dashboard import figures
from phase4.sim import contest
from phase4.sim.contest import AT_LIMIT, HEALTHY, LATER, WORLDS, Contest

SMALL = Contest(ticks=720, rollouts=120, seed=3)


@pytest.fixture(scope="module")
def result():
    return contest.run(SMALL)


def figure(result, world, rule, name):
    (found,) = [
        row
        for row in result.figures.iter_rows(named=True)
        if row["world"] == world and row["policy"].startswith(rule) and row["figure"] == name
    ]
    return found


def test_every_rule_says_what_it_controls(result):
    assert len(result.rules) == 10
    assert all(rule.endswith("]") and " [" in rule for rule in result.rules)
    assert result.judge == "grid mixture, restarts every tick [PFA]"


def test_the_judge_keeps_its_alpha_where_a_service_is_exactly_at_its_limit(result):
    assert figure(result, AT_LIMIT, "grid mixture, restarts", "false_rollback")["lower"] <= SMALL.alpha


def test_the_raw_rule_rolls_back_what_is_healthy(result):
    assert figure(result, HEALTHY, "raw rule, per tick", "false_rollback")["estimate"] > 0.99


def test_a_rule_that_alarmed_before_the_defect_has_not_caught_it(result):
    raw = figure(result, LATER, "raw rule, per tick", "caught")
    early = figure(result, LATER, "raw rule, per tick", "false_rollback")
    assert raw["runs"] == round((1 - early["estimate"]) * SMALL.rollouts) < SMALL.rollouts


def test_delays_count_from_the_defect_and_never_is_infinite(result):
    own = result.outcomes.filter(result.outcomes["policy"] == result.judge)
    caught = own.filter(own["caught"])
    assert caught["delay_ms"].min() >= SMALL.tick_ms
    assert all(math.isinf(delay) for delay in own.filter(~own["caught"])["delay_ms"])


def test_the_same_seed_gives_the_same_and_another_one_does_not(result):
    again = contest.run(SMALL)
    assert again.figures.equals(result.figures)
    other = contest.run(Contest(ticks=720, rollouts=120, seed=4))
    assert not other.figures.equals(result.figures)


def test_the_table_has_a_line_for_every_rule_and_can_be_drawn(result):
    lines = contest.table(result, SMALL)
    assert len(lines) == 1 + len(result.rules)
    assert len(set(map(len, lines))) == 1
    drawn = figures.error_overview(result.figures, WORLDS, result.rules)
    assert drawn["data"]


@pytest.mark.parametrize(
    "change", [{"healthy": 0.02}, {"broken": 0.01}, {"rollouts": 0}, {"requests": 0}, {"ticks": 0}]
)
def test_what_is_no_contest_is_refused(change):
    with pytest.raises(ValueError, match=r"healthy|at least 1"):
        Contest(**change)
