"""Alerts: a rule that holds again is counted, what is quiet resolves itself, what is critical is told again."""

import json

import pytest

from phase4.clock import ManualClock
from phase4.durations import HOUR_MS
from phase4.monitor import alerts
from phase4.monitor.alerts import EXPIRY_MS, QUIET_MS, REPEAT_MS, Finding
from phase4.monitor.coverage import Coverage
from phase4.monitor.rounds import Round
from phase4.monitor.settings import MonitorSettings
from phase4.rollout.events import ApprovalRequested, Paused, PauseReason
from phase4.rollout.state import Phase, RolloutState
from phase4.store.ticks import Tick
from tests.data.homes.make import CHECKOUT, START, change, create, record, started
from tests.unit.monitor.live import TICK

SETTINGS = MonitorSettings(interval_ms=TICK)
FULL = Coverage(0, 0, 10, 10, 0, 0)
PLAN_ID = f"{CHECKOUT}.1"


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(home, clock):
    made = create(home, clock)
    yield made
    made.close()


def finding(severity="medium", rule="target", **more):
    return Finding(type="coverage", severity=severity, rule=rule, message=f"{rule} is low", **more)


def settle(store, *found):
    alerts.settle(store, found, now_ms=store.now())


def told(store):
    return [row[0] for row in store.rows("SELECT event FROM outbox ORDER BY id")]


def received(store):
    """Let every notice have reached its receiver."""
    change(store, lambda making: making.write("UPDATE outbox SET done_ms = created_ms"))


def tick(number, *, after=TICK, **usage):
    end = START + (number + 1) * TICK
    measured = {"cpu_percent": 1.0, "memory_mb": 1.0, "response_ms": 1.0} | usage
    return Tick(number, end - TICK, end, end + after, 0, 1, {}, 0, 0, **measured)


def rules(done, *, recent=(), coverage=FULL, flags=()):
    found = alerts.of_round(done, coverage, SETTINGS, recent=recent, flags=flags)
    return [(each.type, each.severity, each.rule) for each in found]


def closed(*ticks, **more):
    return Round(is_holder=True, closed=ticks, rows=more.pop("rows", 1_000), **more)


# --------------------------------------------------------------------------------------------- counting
def test_one_breach_over_a_thousand_ticks_is_one_alert_that_counts_them(store, clock):
    for _ in range(1_000):
        settle(store, finding())
        clock.advance(TICK)
    [alert] = store.alerts(with_resolved=True)
    assert (alert.times, alert.first_seen_ms, alert.last_seen_ms) == (1_000, START, START + 999 * TICK)


def test_other_rules_are_other_alerts(store):
    settle(store, finding(), finding(rule="late"), finding())
    assert sorted((alert.rule, alert.times) for alert in store.alerts()) == [("late", 1), ("target", 2)]


def test_nothing_to_say_writes_nothing(store):
    before = store.version
    settle(store)
    assert (store.version, store.row("SELECT count(*) FROM command")[0]) == (before, 1)


# --------------------------------------------------------------------------------------------- quiet
@pytest.mark.parametrize("severity", ["low", "medium", "high"])
def test_what_is_not_critical_resolves_an_hour_after_it_was_last_seen_and_not_before(store, clock, severity):
    settle(store, finding(severity))
    clock.advance(HOUR_MS // 2)
    settle(store, finding(severity))
    clock.advance(QUIET_MS - 1)
    settle(store)
    assert len(store.alerts()) == 1
    clock.advance(1)
    settle(store)
    [alert] = store.alerts(with_resolved=True)
    assert (alert.resolved_by, alert.resolution) == ("collector", "not seen for an hour")


def test_a_rule_that_holds_at_the_moment_its_alert_would_resolve_keeps_it(store, clock):
    settle(store, finding())
    clock.advance(5 * QUIET_MS)
    settle(store, finding())
    assert [alert.times for alert in store.alerts()] == [2]


def test_a_critical_alert_stays_until_somebody_resolves_it(store, clock):
    settle(store, finding("critical"))
    clock.advance(30 * 24 * HOUR_MS)
    settle(store)
    [alert] = store.alerts("critical")
    change(store, lambda making: making.resolve_alert(alert.id, "seen"))
    assert store.alerts() == []


def test_seen_again_after_it_was_resolved_is_a_new_alert_that_names_the_old(store, clock):
    settle(store, finding())
    clock.advance(QUIET_MS)
    settle(store)
    settle(store, finding())
    old, new = sorted(store.alerts(with_resolved=True))
    assert (new.previous, new.times, old.resolved_ms is None) == (old.id, 1, False)


# --------------------------------------------------------------------------------------------- notices
@pytest.mark.parametrize(("severity", "notices"), [("critical", 1), ("high", 1), ("medium", 0), ("low", 0)])
def test_high_and_critical_ones_are_told_when_they_open(store, severity, notices):
    settle(store, finding(severity))
    settle(store, finding(severity))
    assert told(store) == ["opened"] * notices


def test_a_critical_one_that_nobody_took_up_is_told_every_five_minutes(store, clock):
    settle(store, finding("critical"))
    at = []
    for number in range(31):
        before = len(told(store))
        settle(store)
        at += [number * TICK] * (len(told(store)) - before)
        received(store)
        clock.advance(TICK)
    assert at == [REPEAT_MS, 2 * REPEAT_MS, 3 * REPEAT_MS]


def test_it_is_not_told_again_while_nobody_could_receive_the_last_notice(store, clock):
    settle(store, finding("critical"))
    for _ in range(31):
        clock.advance(TICK)
        settle(store)
    assert told(store) == ["opened"]


def test_a_high_one_is_told_once(store, clock):
    settle(store, finding("high"))
    for _ in range(5):
        received(store)
        clock.advance(REPEAT_MS)
        settle(store, finding("high"))
    assert told(store) == ["opened"]


@pytest.mark.parametrize("how", ["acknowledge_alert", "resolve_alert"])
def test_once_taken_up_it_is_not_told_again(store, clock, how):
    settle(store, finding("critical"))
    [alert] = store.alerts()
    change(store, lambda making: getattr(making, how)(alert.id, "mine"))
    received(store)
    clock.advance(10 * REPEAT_MS)
    settle(store)
    assert "repeat" not in told(store)


def test_who_heard_of_it_hears_that_it_is_over(store, clock):
    settle(store, finding("high"))
    clock.advance(QUIET_MS)
    settle(store)
    assert told(store) == ["opened", "resolved"]


# --------------------------------------------------------------------------------------------- rules of a round
def test_a_round_that_closed_nothing_has_no_findings():
    assert rules(Round(is_holder=True, set_aside=100, rows=100), coverage=Coverage(0, 0, 0, 10, 0, 0)) == []


@pytest.mark.parametrize("usage", ["memory_mb", "cpu_percent", "response_ms"])
def test_one_busy_tick_is_no_alert_and_three_are(usage):
    busy = [tick(number, **{usage: 1e6}) for number in range(3)]
    assert rules(closed(busy[0])) == []
    assert rules(closed(busy[1]), recent=busy[:1]) == []
    assert rules(closed(busy[2]), recent=[tick(0), busy[1]]) == []
    assert [kind for kind, _, _ in rules(closed(busy[2]), recent=busy[:2])] == ["performance"]


def test_usage_equal_to_its_limit_is_no_alert():
    ticks = [tick(number, memory_mb=512.0) for number in range(3)]
    assert rules(closed(ticks[2]), recent=ticks[:2]) == []


def test_usage_that_was_not_measured_is_no_alert():
    ticks = [tick(number, cpu_percent=None if number == 1 else 1e6) for number in range(3)]
    assert rules(closed(ticks[2]), recent=ticks[:2]) == []


def test_coverage_below_the_target_is_a_medium_alert_and_unknown_is_none():
    low, unknown = Coverage(0, 0, 9, 10, 0, 0), Coverage(0, 0, 0, 0, 0, 0)
    assert rules(closed(tick(0)), coverage=low) == [("coverage", "medium", "target")]
    assert rules(closed(tick(0)), coverage=unknown) == []


@pytest.mark.parametrize(("what", "rule"), [("set_aside", "quarantine"), ("too_late", "late")])
def test_more_than_one_event_in_a_thousand_that_was_lost_is_an_alert(what, rule):
    assert rules(closed(tick(0), **{what: 1})) == []
    assert rules(closed(tick(0), **{what: 2})) == [("coverage", "medium", rule)]


def test_files_that_cannot_be_kept_are_a_high_alert():
    assert rules(closed(tick(0), trouble="disk full")) == [("system_health", "high", "event files")]


@pytest.mark.parametrize(("missed", "is_told"), [(2, False), (3, True)])
def test_nobody_watching_for_three_intervals_while_a_flag_is_on_is_a_high_alert(store, missed, is_told):
    found = rules(closed(tick(1 + missed)), recent=[tick(0)], flags=store.flags())
    assert found == [("system_health", "high", "no collector")] * is_told


def test_nobody_watching_while_every_flag_is_off_is_no_alert(store):
    flags = [flag._replace(enabled=False) for flag in store.flags()]
    assert rules(closed(tick(100)), recent=[tick(0)], flags=flags) == []


def test_a_flag_that_was_switched_on_after_the_gap_was_not_unwatched(store):
    newest = tick(100)
    flags = [flag._replace(updated_ms=newest.closed_ms - 1) for flag in store.flags()]
    assert rules(closed(newest), recent=[tick(0)], flags=flags) == []


# --------------------------------------------------------------------------------------------- rules of a plan
def of_plan(store, state):
    return alerts.of_plan(PLAN_ID, state, store.flag(CHECKOUT), store.now())


def awaiting(expires_ms, stage=1):
    return RolloutState(phase=Phase.AWAITING_APPROVAL, stage=stage, approval_expires_ms=expires_ms)


def test_an_approval_that_is_asked_for_stays_open_while_it_is_asked(store, clock):
    row = started(store)
    record(store, row, ApprovalRequested(at_ms=START, stage=2, expires_ms=START + 24 * HOUR_MS))
    for _ in range(10):
        settle(store, *of_plan(store, awaiting(START + 24 * HOUR_MS)))
        clock.advance(HOUR_MS)
    asked = [alert for alert in store.alerts() if alert.rule == f"approval {PLAN_ID} 3"]
    assert [(alert.times, alert.severity) for alert in asked] == [(11, "low")]
    settle(store)
    assert f"approval {PLAN_ID} 3" not in {alert.rule for alert in store.alerts()}
    assert told(store) == ["opened", "resolved"]


@pytest.mark.parametrize(("left_ms", "is_told"), [(EXPIRY_MS + 1, 0), (EXPIRY_MS, 1), (1, 1), (0, 0)])
def test_people_are_told_four_hours_before_an_approval_expires(store, left_ms, is_told):
    found = of_plan(store, awaiting(START + left_ms))
    assert sum(each.rule.startswith("expires") for each in found) == is_told


def test_they_are_told_so_exactly_once(store, clock):
    expires_ms = START + 5 * HOUR_MS
    for _ in range(5 * HOUR_MS // TICK):
        settle(store, *of_plan(store, awaiting(expires_ms)))
        clock.advance(TICK)
    notices = [json.loads(row[0]) for row in store.rows("SELECT body FROM outbox WHERE event = 'opened'")]
    assert [notice["rule"] for notice in notices] == [f"expires {PLAN_ID} {expires_ms}"]
    assert notices[0]["first_seen_ms"] == expires_ms - EXPIRY_MS


def test_another_request_that_expires_is_told_again(store, clock):
    for expires_ms in (START + HOUR_MS, START + 2 * HOUR_MS):
        settle(store, *of_plan(store, awaiting(expires_ms)))
        clock.advance(TICK)
    assert told(store) == ["opened", "opened"]


def test_a_request_for_another_stage_is_told_though_the_last_one_is_not_an_hour_old(store, clock):
    row = started(store)
    for stage in (1, 2):
        record(store, row, ApprovalRequested(at_ms=store.now(), stage=stage, expires_ms=store.now() + HOUR_MS))
        clock.advance(HOUR_MS // 2)
    asked = [alert for alert in store.alerts() if "asks approval" in alert.message]
    assert sorted(alert.message[-7:] for alert in asked) == ["stage 2", "stage 3"]
    assert told(store) == ["opened", "opened"]


def test_a_plan_that_paused_at_its_longest_time_stays_an_open_alert(store, clock):
    row = started(store)
    record(store, row, Paused(at_ms=START, reason=PauseReason.MAX_DURATION, note="no data"))
    state = RolloutState(phase=Phase.PAUSED, stage=0, pause_reason=PauseReason.MAX_DURATION)
    for _ in range(3):
        clock.advance(HOUR_MS)
        settle(store, *of_plan(store, state))
    held = [alert for alert in store.alerts() if alert.rule == f"max_duration {PLAN_ID}"]
    assert [(alert.severity, alert.times) for alert in held] == [("medium", 4)]
    assert told(store) == ["opened"]


def test_a_plan_that_goes_on_by_itself_has_no_rule(store):
    assert of_plan(store, RolloutState(phase=Phase.PROGRESSING, stage=0)) == []
