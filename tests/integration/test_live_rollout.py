"""The guide's three plans, live: the SQLite journal, the real judge, a clock that is moved by hand, made-up users."""

import itertools

import numpy as np
import pytest

from phase4.analysis.observation import Observation
from phase4.cli.main import main
from phase4.clock import ManualClock
from phase4.durations import DAY_MS, HOUR_MS
from phase4.rollout.controller import RolloutController
from phase4.rollout.events import StageEntered
from phase4.rollout.judge import Judge
from phase4.rollout.state import Phase
from phase4.store import rollouts
from phase4.store.control import ControlStore

START = 1_790_000_000_000
TICK = HOUR_MS
USERS = 400
"""New users of each arm in a tick."""
FLAGS = ("truth-based-validation", "byzantine-consensus", "hook-interception")


def counts(generator, rate, tick, entry, arm):
    """Return a row in which every user asks once."""
    errors = int(generator.binomial(USERS, rate))
    users = {"risk_n": USERS, "risk_x": errors, "first_n": USERS, "first_x": errors}
    named = {f"{kind}_{name}": value for kind in ("error", "bad") for name, value in users.items()}
    ok = USERS - errors
    named |= {"units": USERS, "crossed": 0, "error_third_x": 0}
    return Observation(tick=tick, flag_id=1, entry=entry, arm=arm, ok=ok, error=errors, **named)


class Live:
    """One plan, driven as the collector drives it: close a tick, judge it, let the controller take a step."""

    def __init__(self, store, clock, plan_id, seed, rate):
        self.row = store.plan(plan_id)
        self.plan = rollouts.plan_of(self.row)
        self.judge = Judge(self.plan, interval_ms=TICK)
        ids = (f"{plan_id}-{n}" for n in itertools.count())
        journal = rollouts.ControlJournal(store, self.row, actor="collector", new_request_id=lambda: next(ids))
        self.controller = RolloutController(
            plan=self.plan, clock=clock, observer=self.judge, journal=journal, switch=rollouts.ControlSwitch()
        )
        self.generator = np.random.default_rng(seed)
        self.rate = rate

    def tick(self, number):
        state = self.controller.state
        rates = self.rate(state), 0.001
        rows = [counts(self.generator, r, number, state.entry, arm) for r, arm in zip(rates, (2, 1), strict=True)]
        self.judge.see(state, number, *rows)
        return self.controller.tick()


@pytest.fixture
def store(home):
    assert main(["init", "--environment", "development", "--json"]) == 0
    clock = ManualClock(START)
    store = ControlStore(str(home), clock.now)
    store.clock = clock
    yield store
    store.close()


def started(store, flag_key, seed, rate):
    assert main(["rollout", "create", flag_key]) == 0
    live = Live(store, store.clock, f"{flag_key}.1", seed, rate)
    live.controller.start()
    return live


def healthy(_state):
    return 0.001


def broken_in_stage_two(state):
    return 0.03 if state.stage == 1 else 0.001


def run(store, lives, days, approver="ana"):
    """Move the clock tick by tick; give each approval a few hours after it is asked for."""
    for number in range(days * 24):
        store.clock.advance(TICK)
        for live in lives:
            if live.controller.state.phase not in {Phase.COMPLETED, Phase.ROLLED_BACK}:
                live.tick(number)
                if live.controller.state.phase is Phase.AWAITING_APPROVAL and number % 5 == 0 and approver:
                    live.controller.approve(approver)


def beat(store):
    store.execute(
        "beat",
        {},
        lambda change: change.hold_lease("collector", "test", 2**60) or {},
        actor="test",
        request_id="beat",
    )


def test_three_healthy_plans_go_from_5_to_10_to_25_percent_with_the_approval_before_25(store, capsys):
    lives = [started(store, key, seed, healthy) for seed, key in enumerate(FLAGS)]
    run(store, lives, days=20)
    for live in lives:
        events = rollouts.events_of(store, live.row.plan_id)
        assert [event.percentage for event in events if isinstance(event, StageEntered)] == [5.0, 10.0, 25.0]
        kinds = [event.kind for event in events]
        assert kinds.index("approval_given") < kinds.index("stage_entered", 2)
        assert kinds[-1] == "completed"
        entered = [event.at_ms for event in events if isinstance(event, StageEntered)]
        assert entered[1] - entered[0] >= 2 * DAY_MS
        assert entered[2] - entered[1] >= 7 * DAY_MS
        assert store.flag(live.plan.flag_key).percentage == 25.0
    assert store.alerts("critical") == []
    beat(store)
    for key in FLAGS:
        assert main(["flags", "rollout", key, "10"]) == 0
    for alert in store.alerts():
        assert main(["alerts", "resolve", str(alert.id), "--reason", "seen"]) == 0
    capsys.readouterr()
    assert main(["status"]) == 0
    assert capsys.readouterr().out.startswith(
        """📊 Phase 4 System Status

🏥 Health: HEALTHY

🏁 Feature Flags (3):
  🟢 truth-based-validation (10%)
  🟢 byzantine-consensus (10%)
  🟢 hook-interception (10%)

📈 Active Rollouts (0):
  ✅ All rollouts completed successfully

⚠️  Recent Alerts (0):
  🎉 No active alerts!
"""
    )


def test_a_feature_that_breaks_in_stage_two_is_rolled_back_there_by_the_guardrail_that_says_so(store):
    live = started(store, FLAGS[0], 7, broken_in_stage_two)
    run(store, [live], days=5)
    state = live.controller.state
    assert state.phase is Phase.ROLLED_BACK
    assert state.stage == 1
    last = rollouts.events_of(store, live.row.plan_id)[-1]
    assert last.guardrail in {"error_rate", "error_ratio", "emergency"}
    flag = store.flag(FLAGS[0])
    assert (flag.enabled, flag.percentage, flag.entry) == (False, 0.0, 0)
    assert flag.held in {"rollback", "emergency"}
    assert [alert.severity for alert in store.alerts("critical")] == ["critical"]


def test_without_an_approval_nobody_is_exposed_at_25_percent(store):
    live = started(store, FLAGS[1], 3, healthy)
    run(store, [live], days=14, approver=None)
    assert store.flag(FLAGS[1]).percentage == 10.0
    assert {event.kind for event in rollouts.events_of(store, live.row.plan_id)} >= {
        "approval_requested",
        "approval_dropped",
    }


def test_pausing_cannot_wash_out_evidence(store):
    """A flag that is switched off and on again enters the stage anew; what spoke against it still speaks."""
    live = started(store, FLAGS[2], 5, lambda _state: 0.006)
    for number in range(6):
        store.clock.advance(TICK)
        live.tick(number)
    before = {a.guardrail: a.log_e_fail for a in live.judge.assessments()}
    assert main(["flags", "disable", FLAGS[2]]) == 0
    assert main(["flags", "enable", FLAGS[2]]) == 0
    again = Live(store, store.clock, f"{FLAGS[2]}.1", 6, healthy)
    again.judge = live.judge
    assert again.controller.state.entry == 2
    live.judge.see(again.controller.state, 6, None, None)
    after = {a.guardrail: a.log_e_fail for a in live.judge.assessments()}
    assert after["error_rate"] == before["error_rate"]
    assert live.judge.assessments()[0].units == 0
