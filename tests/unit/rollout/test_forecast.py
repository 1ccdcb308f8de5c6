"""Whether a plan reaches its verdicts at a traffic, the ways out where it does not, and a plan that does."""

import math
import tomllib
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase4.analysis import planning
from phase4.analysis.observation import OutcomeSet
from phase4.analysis.verdict import Role, Unit
from phase4.durations import DAY_MS, HOUR_MS
from phase4.rollout.forecast import Check, forecast, worst
from phase4.rollout.guardrail_table import Limits, default_guardrails
from phase4.rollout.plan import RolloutPlan, Stage, parse_plan
from phase4.rollout.plan_text import to_toml
from phase4.rollout.suggestion import suggest
from phase4.rollout.traffic import ASSUMED, BaseRates, Traffic
from phase4.rollout.waysout import fewer, limit_up, of_guard, of_watching, rounded_up, whole_ms, written

TICK_MS = 30_000
NAMES = {"flag_key": "checkout", "plan_id": "checkout.1", "source": "plan.toml"}
GUIDE = parse_plan(
    tomllib.loads(resources.files("phase4.rollout").joinpath("default_plan.toml").read_text(encoding="utf-8")), **NAMES
)
LARGE = Traffic(users=200_000, requests_per_day=2_000_000)
SMALL = Traffic(users=2_000, requests_per_day=20_000)


def looked(traffic, *, plan=GUIDE, base=ASSUMED):
    return forecast(plan, traffic, base, interval_ms=TICK_MS)


def guard(found, stage, name):
    return next(each for each in found.stages[stage].guards if each.spec.name == name)


def plan_of(text, percentage=10, longest="4d", active="0s"):
    stages = [{"percentage": percentage, "active_min": active, "bake": "1d", "max_duration": longest}]
    return parse_plan({"schema": 1, "stages": stages, "guardrails": tomllib.loads(text)}, **NAMES)


def ways(found, stage, name):
    return {way.kind: way for way in of_guard(found.stages[stage], guard(found, stage, name), found.traffic)}


def failing(rate):
    return BaseRates.everywhere(rate, "given")


# ------------------------------------------------------------------------------------------------------------- traffic
def test_users_come_once_and_requests_again_and_again():
    assert SMALL.units(Unit.USER, 0.05, 1_000 * DAY_MS) == pytest.approx(100)
    assert SMALL.units(Unit.REQUEST, 0.05, DAY_MS) == pytest.approx(1_000)
    assert SMALL.units(Unit.USER, 1.0, DAY_MS / 10) == pytest.approx(2_000 * (1 - math.exp(-1)))


def test_users_seen_are_those_of_a_simulation():
    rng = np.random.default_rng(1)
    seen = [len(np.unique(rng.integers(0, 100, 150))) for _ in range(400)]
    assert SMALL.units(Unit.USER, 0.05, 0.15 * DAY_MS) == pytest.approx(np.mean(seen), rel=0.02)


def test_without_a_number_of_users_each_request_is_a_new_one():
    traffic = Traffic(requests_per_day=1_000)
    assert traffic.is_upper_limit
    assert traffic.units(Unit.USER, 0.5, DAY_MS) == traffic.units(Unit.REQUEST, 0.5, DAY_MS) == 500


def test_with_users_alone_it_is_known_how_many_come_and_not_when():
    traffic = Traffic(users=2_000)
    assert traffic.units(Unit.USER, 0.05, DAY_MS) == 100
    assert traffic.units(Unit.REQUEST, 0.05, DAY_MS) is None
    assert traffic.ms_until(Unit.USER, 0.05, 50) is None
    assert traffic.ms_until(Unit.USER, 0.05, 101) == math.inf


@given(st.floats(1, 1e6), st.floats(1, 1e8), st.floats(0.001, 1.0), st.floats(0.001, 0.98))
def test_the_time_until_some_units_is_when_so_many_have_come(users, requests, share, part):
    traffic = Traffic(users=users, requests_per_day=requests)
    for unit in Unit:
        units = part * users * share
        time = traffic.ms_until(unit, share, units)
        assert traffic.units(unit, share, time) == pytest.approx(units, rel=1e-6)


def test_users_who_failed_once_bring_no_more_outcomes():
    enough, too_many = (SMALL.ms_until_outcomes(Unit.USER, 0.05, 0.04, outcomes) for outcomes in (2_400, 2_600))
    assert 2.4 * DAY_MS < enough < math.inf
    assert too_many == math.inf


@pytest.mark.parametrize("name", ["users", "requests_per_day"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_no_traffic_is_no_amount(name, value):
    with pytest.raises(ValueError, match=name):
        Traffic(**{name: value})


# ----------------------------------------------------------------------------------------------------- the guide's plan
def test_the_guides_plan_reaches_its_verdicts_with_200_000_users():
    found = looked(LARGE)
    assert found.check is Check.OK
    assert not found.is_underpowered
    assert found.earliest_ms == found.typical_ms == 16 * DAY_MS


def test_the_guides_plan_never_leaves_its_first_stages_with_2_000_users():
    found = looked(SMALL)
    assert [stage.check for stage in found.stages] == [Check.CANNOT_PASS, Check.CANNOT_PASS, Check.UNDERPOWERED]
    assert found.earliest_ms == math.inf
    assert {(stage.stage.name, each.spec.name) for stage, each in found.warnings} == {
        ("stage 1", "error_rate"),
        ("stage 1", "error_ratio"),
        ("stage 1", "emergency"),
        ("stage 1", "success_rate"),
        ("Week 5", "error_rate"),
        ("Week 5", "error_ratio"),
        ("Week 6", "error_ratio"),
    }


def test_a_guardrail_is_told_with_what_it_needs_and_what_comes():
    found = guard(looked(SMALL), 0, "error_rate")
    assert [(need.rate, need.units) for need in found.needs] == [(0.0, 846), (0.001, 1_379), (0.0025, 3_811)]
    assert found.by_max == pytest.approx(100)
    assert (found.chance, found.check) == (0.0, Check.CANNOT_PASS)


def test_a_guard_that_proves_nothing_waits_for_its_fewest_units_all_the_same():
    found = guard(looked(SMALL), 0, "emergency")
    assert (found.at_best.units, found.check) == (149, Check.CANNOT_PASS)


def test_without_any_traffic_nothing_is_known_and_nothing_warned():
    found = looked(Traffic())
    assert (found.check, found.earliest_ms, found.is_underpowered) == (Check.UNKNOWN, None, False)
    assert guard(found, 0, "error_rate").at_best.units == 846


def test_a_plan_is_completed_as_often_as_its_stages_are_left():
    """Stages count their users anew; guardrails of one stage count the same users."""
    found = looked(Traffic(users=30_000, requests_per_day=1e6), base=failing(0.0015))
    least = [min(each.chance for each in stage.guards if each.at_base.units) for stage in found.stages]
    assert found.chance == pytest.approx(math.prod(least))
    assert found.chance < 0.9
    assert looked(Traffic()).chance is None
    assert looked(SMALL).chance == 0.0


# ------------------------------------------------------------------------------------------------------------- checks
@pytest.mark.parametrize(
    ("users", "base", "check"),
    [
        (4_200, 0.0, Check.CANNOT_PASS),
        (4_230, 0.0, Check.OK),
        (10_000, 0.005, Check.UNDERPOWERED),
        (30_000, 0.005, Check.OK),
        (1_000_000, 0.0099, Check.UNDERPOWERED),
        (1_000_000, 0.011, Check.ABOVE_LIMIT),
    ],
)
def test_a_limit_is_checked_at_no_failures_and_at_the_base_rate(users, base, check):
    plan = plan_of("[error_rate]\nlimit = 0.01")
    assert looked(Traffic(users=users, requests_per_day=100 * users), plan=plan, base=failing(base)).check is check


def test_a_guardrail_that_is_only_shown_holds_nothing():
    plan = plan_of('[error_rate]\nlimit = 0.01\n[error_ratio]\nrole = "observe"')
    found = looked(Traffic(users=4_500, requests_per_day=1e6), plan=plan, base=failing(0.0))
    assert guard(found, 0, "error_ratio").check is Check.SHOWN
    assert found.check is Check.OK


def test_a_comparison_waits_for_the_smaller_arm():
    plan = plan_of("[error_ratio]\nmax_ratio = 1.0", percentage=90)
    found = looked(Traffic(users=2_000, requests_per_day=1e6), plan=plan)
    assert guard(found, 0, "error_ratio").by_max == pytest.approx(200)
    assert found.check is Check.CANNOT_PASS


def test_a_comparison_that_must_prove_needs_many_more_units():
    traffic = Traffic(users=20_000, requests_per_day=1e6)
    modest, proving = (looked(traffic, plan=plan_of(f"[error_ratio]\nprove = {word}")) for word in ("false", "true"))
    assert (modest.check, proving.check) == (Check.OK, Check.CANNOT_PASS)
    assert guard(proving, 0, "error_ratio").at_base.units > 100_000


def test_a_raw_rule_and_the_sample_ratio_ask_for_no_proof():
    plan = plan_of('[error_rate]\nlimit = 0.01\nmethod = "threshold"\n[sample_ratio]\n[cpu_mean]\n')
    found = looked(Traffic(users=6_000, requests_per_day=1e5), plan=plan)
    assert [each.check for each in found.stages[0].guards] == [Check.OK, Check.OK, Check.OK]


def test_latency_is_compared_at_the_share_that_lies_above_its_quantile():
    plan = plan_of("[latency_p95]\n", percentage=50)
    found = guard(looked(LARGE, plan=plan), 0, "latency_p95")
    assert found.base_rate == pytest.approx(0.05)
    assert [notice.times for notice in found.notices] == [2.0, 3.0]
    assert guard(looked(LARGE, plan=plan_of("[latency_p95]\nprove = true")), 0, "latency_p95").at_base.units > 500


def test_rare_requests_leave_ticks_that_nobody_can_watch():
    """A request every 20 minutes: of ticks of 30 s, one in 40 has one, and only those count as watched."""
    plan = plan_of("[error_rate]\nlimit = 0.5", active="12h")
    found = looked(Traffic(users=1_000, requests_per_day=720), plan=plan)
    assert found.stages[0].watched_ms == pytest.approx(40 * 12 * HOUR_MS, rel=0.02)
    assert (found.stages[0].is_watched, found.check) == (False, Check.CANNOT_PASS)
    assert [way.setting for way in of_watching(found.stages[0])] == ['active_min = "1h"', 'max_duration = "26d"']
    assert of_watching(looked(LARGE).stages[0]) == []


def test_checks_are_put_together_by_the_worst():
    assert worst([Check.OK, Check.SHOWN]) is Check.OK
    assert worst([Check.UNKNOWN, Check.CANNOT_PASS, Check.UNDERPOWERED]) is Check.CANNOT_PASS
    assert worst([]) is Check.OK


@settings(max_examples=20)
@given(st.integers(100, 1_000_000), st.floats(0.1, 100.0), st.floats(0.0, 0.02))
def test_more_users_and_more_requests_never_make_a_check_worse(users, each, rate):
    order = list(Check)
    few, many = (
        looked(Traffic(users=users * times, requests_per_day=users * each * times), base=failing(rate)).check
        for times in (1, 3)
    )
    assert order.index(many) <= order.index(few)


@settings(max_examples=40)
@given(st.integers(50, 300_000), st.floats(0.5, 50.0), st.floats(0.0, 0.012))
def test_what_is_called_ok_leaves_its_stage_in_time(users, each, rate):
    found = looked(Traffic(users=users, requests_per_day=users * each), base=failing(rate))
    for stage in found.stages:
        if stage.check is Check.OK:
            assert stage.earliest_ms <= stage.typical_ms <= stage.stage.max_duration
            assert all(each.chance >= 0.5 for each in stage.guards)


# -------------------------------------------------------------------------------------------------- until it is noticed
def test_a_defect_that_begins_late_takes_longer():
    (notice,) = guard(looked(LARGE), 0, "error_rate").notices
    assert (notice.rate, notice.times) == (0.01, 2.0)
    assert 30 * 60_000 < notice.at_ms < notice.late_ms < 3 * HOUR_MS


def test_three_times_the_base_rate_is_told_where_it_breaks_the_limit():
    notices = guard(looked(LARGE, base=failing(0.004)), 0, "error_rate").notices
    assert [notice.rate for notice in notices] == pytest.approx([0.01, 0.012])


def test_a_comparison_says_from_which_ratio_on_it_notices_in_the_least_time():
    large, small = (guard(looked(traffic), 2, "error_ratio") for traffic in (LARGE, SMALL))
    assert 1.0 < large.least_ratio < 1.2
    assert 2.0 < small.least_ratio < 2.5
    assert guard(looked(Traffic(users=2_000)), 2, "error_ratio").least_ratio is None


# ------------------------------------------------------------------------------------------------------- the ways out
def test_the_ways_out_do_what_they_say():
    """Each is written into the plan, and the guardrail passes then."""
    plan = plan_of("[error_rate]\nlimit = 0.01")
    slow = Traffic(users=40_000, requests_per_day=1_000)
    found = looked(slow, plan=plan)
    told = ways(found, 0, "error_rate")
    assert found.check is Check.CANNOT_PASS
    for kind in ("longer", "larger", "limit", "observe"):
        key, value = next(iter(tomllib.loads(told[kind].setting).items()))
        stages = [
            {
                "percentage": 10,
                "bake": "1d",
                "max_duration": "4d",
                **({key: value} if kind in {"longer", "larger"} else {}),
            }
        ]
        table = {"limit": 0.01, **({key: value} if kind in {"limit", "observe"} else {})}
        changed = parse_plan({"schema": 1, "stages": stages, "guardrails": {"error_rate": table}}, **NAMES)
        assert not looked(slow, plan=changed).is_underpowered, kind


def test_where_no_time_and_no_percentage_is_enough_that_is_said():
    told = ways(looked(SMALL), 0, "error_rate")
    assert (told["longer"].setting, told["larger"].setting) == (None, None)
    assert told["longer"].says == "no time is enough: 100 users are all there are in this stage"
    assert told["limit"].setting == "limit = 0.046"
    assert "--override" in told["override"].says


def test_fewest_units_are_a_way_out_of_a_comparison():
    told = ways(looked(SMALL), 0, "error_ratio")
    assert (told["larger"].setting, told["min_units"].setting) == ("percentage = 26", "min_units = 80")


def test_a_base_rate_above_the_limit_asks_for_another_limit_and_not_for_time():
    told = ways(looked(LARGE, base=failing(0.02)), 0, "error_rate")
    assert set(told) == {"limit", "observe", "override"}
    assert tomllib.loads(told["limit"].setting)["limit"] > 0.02


def test_success_is_told_as_success():
    assert ways(looked(SMALL), 0, "success_rate")["limit"].setting == "limit = 0.954"


@given(st.floats(1e-6, 0.5))
def test_limits_are_rounded_up_to_two_figures(limit):
    rounded = limit_up(limit)
    assert limit * (1 - 1e-9) <= rounded <= min(1.1001 * limit, 0.5)
    assert float(f"{rounded:.1e}") == pytest.approx(rounded)


def test_times_are_rounded_as_people_write_them():
    assert [rounded_up(hours * HOUR_MS) // HOUR_MS for hours in (1.2, 47.5, 50.0)] == [2, 48, 72]
    assert [whole_ms(minutes * 60_000) // 60_000 for minutes in (0.5, 59.9, 150)] == [0, 59, 120]
    assert [written(ms) for ms in (0, 90_000, 250, 3_600_000)] == ["0s", "90s", "250ms", "1h"]
    assert [fewer(units) for units in (0.4, 1_000, 37)] == [0, 800, 29]


# -------------------------------------------------------------------------------------------------------- suggestions
def read_back(plan):
    return parse_plan(tomllib.loads(to_toml(plan)), **NAMES)


def test_2_000_users_get_a_plan_that_works():
    made = suggest(GUIDE, SMALL, ASSUMED, interval_ms=TICK_MS)
    found = looked(SMALL, plan=read_back(made.plan))
    assert found.check is Check.OK
    assert [stage.percentage for stage in made.plan.stages] == [20, 30, 50]
    assert [spec.limit for specs in made.plan.guardrails for spec in specs if spec.name == "error_rate"] == [
        0.019,
        0.016,
        0.012,
    ]
    assert made.plan.stages[-1].approval
    assert found.chance >= 0.8
    assert made.changes == (
        "stages of 20, 30, 50 % instead of 5, 10, 25 %",
        "error_ratio passes with 320 units, and notices less",
    )


@settings(max_examples=40)
@given(
    st.integers(1, 300_000),
    st.sampled_from([None, 0.2, 3.0, 50.0]),
    st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.2]),
    st.booleans(),
)
def test_whoever_asks_gets_a_plan_file_that_works(users, each, rate, has_users):
    if each is None:
        traffic = Traffic(users=users)
    else:
        traffic = Traffic(users=users if has_users else None, requests_per_day=users * each)
    made = suggest(GUIDE, traffic, failing(rate), interval_ms=TICK_MS)
    assert made is not None
    assert read_back(made.plan) == made.plan
    found = looked(traffic, plan=made.plan, base=failing(rate))
    assert not found.is_underpowered
    assert found.chance > 0.75  # where no limit is bearable, a few hard roundings of few users


def test_where_nothing_can_be_proved_a_person_decides_and_guards_stay():
    made = suggest(GUIDE, Traffic(users=30), ASSUMED, interval_ms=TICK_MS)
    assert [(stage.percentage, stage.approval) for stage in made.plan.stages] == [(25, False), (50, True)]
    (first, _) = made.plan.guardrails
    error_rate = next(spec for spec in first if spec.name == "error_rate")
    assert (error_rate.prove, error_rate.role, error_rate.limit) == (False, Role.GUARD, 0.005)
    assert any("a person decides" in change for change in made.changes)


def test_a_plan_that_works_is_suggested_as_it_is():
    made = suggest(GUIDE, LARGE, ASSUMED, interval_ms=TICK_MS)
    assert (made.plan, made.changes) == (GUIDE, ())


def test_no_stage_is_above_what_the_environment_allows():
    made = suggest(GUIDE, SMALL, ASSUMED, interval_ms=TICK_MS, maximum=25.0)
    assert max(stage.percentage for stage in made.plan.stages) <= 25
    assert not looked(SMALL, plan=made.plan).is_underpowered


@pytest.mark.parametrize(
    "tables",
    [
        {"error_rate": {"limit": [0.005, 0.01], "role": "signal", "unit": "request", "weight": 2.5, "min_units": 7}},
        {"error_rate": {"prove": False, "ambient": False}, "emergency": {"ambient": True, "prove": True}},
        {"hook_failures": {"limit": 0.1, "method": "threshold", "window": "cumulative"}},
        {"error_rate": {"method": "threshold", "window_ticks": 3}},
        {"error_ratio": {"max_ratio": 1.1, "pass_ratio": 2.0, "prove": True}, "latency_p95": {"quantile": 0.99}},
        {"latency_mean": {"margin": 0.2}, "cpu_mean": {"role": "observe"}},
        {"error_rate_requests": {"role": "signal"}, "success_rate": {"limit": 0.97}},
        {"sample_ratio": {"role": "observe"}, "validation_failures": {"limit": 0.05}},
    ],
)
def test_the_text_of_a_plan_is_read_back_as_the_same_plan(tables):
    stages = [
        {"name": 'a "first" one', "percentage": 12.5, "active_min": "90m", "bake": "1s", "max_duration": "1d"},
        {"percentage": 40, "max_duration": "1w", "approval": True},
    ]
    document = {"schema": 1, "stages": stages, "auto": False, "alpha": 0.01, "guardrails": tables}
    plan = parse_plan(document, **NAMES)
    assert read_back(plan) == plan
    assert to_toml(plan, comments=["why"]).startswith("# why\nschema = 1\n")


def test_the_default_set_with_everything_reported_is_read_back_too():
    limits = Limits(measures=frozenset({"latency", "validation", "cpu_ms"}))
    stages = tuple(replace(stage, percentage=p) for stage, p in zip(GUIDE.stages, (5.0, 50.0, 100.0), strict=True))
    guardrails = default_guardrails([stage.percentage for stage in stages], limits)
    plan = RolloutPlan(plan_id="checkout.1", flag_key="checkout", stages=stages, guardrails=guardrails)
    assert read_back(plan) == plan


def test_a_stage_is_a_stage():
    """What a hand-made stage says is what the forecast reads: no file is needed."""
    stage = Stage(name="all", percentage=50.0, active_min=0, bake=HOUR_MS, max_duration=DAY_MS)
    plan = RolloutPlan(plan_id="p", flag_key="f", stages=(stage,), guardrails=default_guardrails([50.0]))
    assert looked(LARGE, plan=plan).earliest_ms == HOUR_MS


def test_base_rates_may_differ_by_outcome_set():
    base = BaseRates(rates={OutcomeSet.ERROR: 0.0, OutcomeSet.BAD: 0.03}, origin="seen")
    found = looked(LARGE, base=base)
    assert guard(found, 0, "error_rate").check is Check.OK
    assert guard(found, 0, "success_rate").check is Check.ABOVE_LIMIT
    assert base.of(OutcomeSet.INVALID) == 0.001


def test_the_kernel_agrees_with_the_chance_of_a_stage():
    """Users of one stage, drawn and judged by totals: as many pass as the forecast says."""
    found = guard(looked(SMALL), 2, "error_rate")
    rng, runs = np.random.default_rng(3), 2_000
    events = rng.binomial(500, 0.001, runs)
    passed = (events <= planning.most_events(0.01, 0.05, 500)).mean()
    assert found.chance == pytest.approx(passed, abs=0.04)
