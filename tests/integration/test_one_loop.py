"""A rollout driven by the collector, and the same observations through the simulator's driver, are the same journal."""

import tomllib

import pytest

from phase4.clock import ManualClock
from phase4.rollout.events import RolledBack, StageEntered
from phase4.rollout.plan import parse_plan
from phase4.rollout.state import Phase
from phase4.sim import scenario as scenarios
from phase4.sim.scenario import Policy
from phase4.sim.stored import StoredSource
from phase4.sim.world import APPROVER, Run
from phase4.store import answers, plans, rollouts, ticks
from phase4.store.plans import Ordered
from tests.data.homes.make import CHECKOUT, add_plan, create, new_request_id
from tests.integration.program import run
from tests.unit.monitor.live import START, TICK, Live

PLAN = """
schema = 1
alpha = 0.05
stages = [
  { name = "a", percentage = 5, active_min = "2m", bake = "3m", max_duration = "30m" },
  { name = "b", percentage = 10, active_min = "2m", bake = "3m", max_duration = "30m" },
  { name = "c", percentage = 25, active_min = "2m", bake = "3m", max_duration = "30m", approval = true },
]
[guardrails.error_rate]
limit = [0.02, 0.02, 0.02]
[guardrails.error_ratio]
[guardrails.emergency]
limit = 0.05
[guardrails.latency_p95]
[guardrails.latency_mean]
[guardrails.sample_ratio]
"""
REQUESTS = '[guardrails.error_rate]\nlimit = 0.02\nunit = "request"\n'
SCENARIO = f"""
schema = 1
name = "one-loop"
[run]
start = "2013-11-23T00:00:00Z"
duration = "2h"
tick = "{TICK // 1000}s"
seed = 1
[flag]
key = "{CHECKOUT}"
[approver]
median = "10s"
sigma = 0.0
reject_p = 0.0
[baseline]
error_rate = 0.001
[traffic]
shape = {{ kind = "constant", rate = 1.0 }}
[[policy]]
name = "p"
plan = "plan.toml"
[[world]]
name = "w"
"""


@pytest.fixture
def live(home):
    clock = ManualClock(START)
    store = create(home, clock, search=0.0)
    made = Live(store, clock)
    yield made
    made.collector.close()
    store.close()


@pytest.fixture
def scenario(tmp_path):
    # the scenario gives the driver its ticks and its approver; the plan judges users, which its own traffic has not
    (tmp_path / "plan.toml").write_text(PLAN.split("[guardrails", maxsplit=1)[0] + REQUESTS, encoding="utf-8")
    (tmp_path / "s.toml").write_text(SCENARIO, encoding="utf-8")
    return scenarios.load(tmp_path / "s.toml")


def drive(live, scenario, rate, *, crash_every=None, slower=lambda _state: 1.0):
    """Start the plan and do rounds until it ends; approve one round after it is asked for."""
    wanted = parse_plan(tomllib.loads(PLAN), flag_key=CHECKOUT, plan_id=f"{CHECKOUT}.1", source="plan.toml")
    row = add_plan(live.store, wanted)
    plans.start(live.store, Ordered(row.plan_id, "ana", new_request_id()))
    asked = False
    for number in range(scenario.ticks):
        state = rollouts.state_of(live.store, row.plan_id)
        if state.ended_ms is not None:
            return row
        live.traffic(400, treatment=rate(state), slower=slower(state))
        if crash_every and number % crash_every == 0:
            live.collector._forget()  # what a killed process loses: its memory
        live.round()
        state = rollouts.state_of(live.store, row.plan_id)
        if asked and state.phase is Phase.AWAITING_APPROVAL:
            plans.approve(live.store, Ordered(row.plan_id, APPROVER, new_request_id()))
        asked = state.phase is Phase.AWAITING_APPROVAL
    raise AssertionError("the rollout did not end")


def rehearsed(live, scenario, row):
    """Return the journal that the simulator's driver writes on the stored observations."""
    seen = ticks.observations(live.store, row.flag_id)
    entries = {
        sum(tick.closed_ms <= event.at_ms for tick in ticks.since(live.store, 0)): event.entry
        for event in rollouts.events_of(live.store, row.plan_id)
        if isinstance(event, StageEntered)
    }
    source = StoredSource(seen, entries)
    policy = Policy(name="p", about="", plan=rollouts.plan_of(row))
    return Run(scenario, scenario.worlds[0], policy, source, seed=1, replicate=0, keep=False).run().journal


def healthy(_state):
    return 0.001


def broken_in_stage_two(state):
    return 0.08 if state.stage == 1 else 0.001


def alike(_state):
    return 1.0


def slow_in_stage_two(state):
    return 1.6 if state.stage == 1 else 1.0


@pytest.mark.parametrize("crash_every", [None, 3])
@pytest.mark.parametrize(
    ("rate", "slower", "kinds"),
    [
        (healthy, alike, "completed"),
        (broken_in_stage_two, alike, "rolled_back"),
        (healthy, slow_in_stage_two, "rolled_back"),
    ],
)
def test_the_collector_and_the_simulator_write_the_same_journal(live, scenario, rate, slower, kinds, crash_every):
    row = drive(live, scenario, rate, crash_every=crash_every, slower=slower)
    recorded = rollouts.events_of(live.store, row.plan_id)
    assert recorded[-1].kind == kinds
    assert [rollouts.canonical_event(event) for event in rehearsed(live, scenario, row)] == [
        rollouts.canonical_event(event) for event in recorded
    ]


def test_a_slow_rollout_is_rolled_back_by_the_guardrail_on_p95(live, scenario):
    row = drive(live, scenario, healthy, slower=slow_in_stage_two)
    last = rollouts.events_of(live.store, row.plan_id)[-1]
    assert isinstance(last, RolledBack)
    assert (last.guardrail, last.is_emergency) == ("latency_p95", False)


def test_the_broken_rollout_names_its_guardrail_and_holds_the_flag(live, scenario):
    row = drive(live, scenario, broken_in_stage_two)
    last = rollouts.events_of(live.store, row.plan_id)[-1]
    flag = live.store.flag(CHECKOUT)
    assert isinstance(last, RolledBack)
    assert last.guardrail in {"error_rate", "error_ratio", "emergency"}
    held = "emergency" if last.is_emergency else "rollback"
    assert (flag.enabled, flag.percentage, flag.held) == (False, 0.0, held)
    assert [alert.type for alert in live.store.alerts("critical")] == ["rollback"]


def test_low_success_holds_the_stage_and_says_so(live, home):
    wanted = parse_plan(
        tomllib.loads(PLAN + "[guardrails.success_rate]\nlimit = 0.98\n"),
        flag_key=CHECKOUT,
        plan_id=f"{CHECKOUT}.1",
        source="plan.toml",
    )
    row = add_plan(live.store, wanted)
    plans.start(live.store, Ordered(row.plan_id, "ana", new_request_id()))
    for _ in range(24):  # 12 minutes: twice what a healthy stage takes
        for number in range(200):  # one outcome of treatment in 20 is no error, and no success either
            live.emit(2, "invalid" if number % 20 == 0 else "ok", latency_ms=5.0 + number % 7)
            live.emit(1, "ok", latency_ms=5.0 + number % 7)
        live.round()
    state = rollouts.state_of(live.store, row.plan_id)
    assert (state.phase, state.stage) == (Phase.PROGRESSING, 0)
    (held,) = [answer for answer in answers.kept(live.store, row.plan_id, state.entry) if answer["cause"]]
    assert (held["guardrail"], held["role"], held["verdict"]) == ("success_rate", "signal", "FAIL")
    said = " ".join(run(home, "rollout", "status", row.plan_id).stdout.split())
    assert "success_rate" in said
    assert held["cause"] in said
    assert held["ends_with"] in said
