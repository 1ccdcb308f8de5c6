"""Flags that are on without a plan: beyond the emergency limit they go off and are held, once, and only as judged."""

import pytest

from phase4.clock import ManualClock
from phase4.monitor.standing import Standing
from phase4.store import orders
from tests.data.homes.make import SEARCH, START, create, new_request_id, started
from tests.unit.monitor.live import TICK, Live


@pytest.fixture
def live(home):
    clock = ManualClock(START)
    store = create(home, clock, search=50.0)
    made = Live(store, clock)
    yield made
    made.collector.close()
    made.writer.close()
    store.close()


def fail(live, errors, oks=0):
    for word, count in (("error", errors), ("ok", oks)):
        for _ in range(count):
            live.emit(2, word, flag_key=SEARCH)


def rounds(live, count=3):
    return [flag for _ in range(count) for flag in live.round().switched_off]


def touch(live):
    """Change the flag by hand, so that it has another version."""
    wanted = live.store.flag(SEARCH).percentage - 1.0
    order = {"maximum": 100.0, "actor": "ana", "request_id": new_request_id(), "reason": None}
    orders.set_percentage(live.store, SEARCH, wanted, **order)


def test_a_flag_beyond_the_limit_is_switched_off_and_held_with_one_critical_alert(live):
    live.round()
    fail(live, 60, 100)
    assert rounds(live) == [SEARCH]
    flag = live.store.flag(SEARCH)
    assert (flag.enabled, flag.held, flag.percentage) == (False, "emergency", 50.0)
    assert "0.05" in flag.held_reason
    assert [(alert.severity, alert.times) for alert in live.store.alerts()] == [("critical", 1)]


def test_a_flag_that_is_off_is_not_switched_off_again(live):
    fail(live, 100)
    assert rounds(live) == [SEARCH]
    fail(live, 100)
    assert rounds(live) == []
    assert [alert.times for alert in live.store.alerts("critical")] == [1]


def test_a_flag_below_the_limit_stays_on(live):
    for _ in range(10):
        fail(live, 2, 98)
        live.round()
    assert live.store.flag(SEARCH).enabled


def test_without_traffic_a_flag_stays_on(live):
    assert rounds(live, 20) == []
    assert live.store.flag(SEARCH).enabled


def test_one_error_is_no_emergency(live):
    fail(live, 1)
    assert rounds(live) == []


def test_errors_of_another_entry_are_not_judged(live):
    for _ in range(100):
        live.emit(2, "error", flag_key=SEARCH, entry=1)
    assert rounds(live) == []


def test_a_flag_with_a_live_plan_is_its_plan_s_business(live):
    started(live.store)
    for _ in range(100):
        live.emit(2, "error")
    rounds(live, 3)
    assert live.collector._work._standing._states.keys() == {live.store.flag(SEARCH).id}


def test_a_hand_change_between_verdict_and_switch_keeps_the_flag_as_it_is(live):
    live.round()
    fail(live, 100)
    live.clock.advance(2 * TICK)
    work, now_ms = live.collector._work, live.clock.now()
    work._read(now_ms)
    for begin, end in work._due(now_ms):
        work._close_tick(now_ms, begin, end)
    assert work._standing.broken(work._last.tick) == [live.store.flag(SEARCH).id]
    touch(live)
    assert work._switch_off() == ()
    flag = live.store.flag(SEARCH)
    assert (flag.enabled, flag.held, live.store.alerts("critical")) == (True, None, [])


def test_errors_of_before_a_change_by_hand_are_not_held_against_the_flag_as_it_is_now(live):
    live.round()
    fail(live, 100)
    live.clock.advance(TICK)
    touch(live)  # the repair
    assert rounds(live) == []
    assert live.store.flag(SEARCH).enabled


@pytest.mark.parametrize(
    "is_changed",
    [
        False,
        True,
    ],
)
def test_what_is_made_anew_after_every_tick_is_what_was_kept(live, is_changed):
    live.round()
    for number in range(12):
        fail(live, 1, 40)
        live.clock.advance(TICK // 2)
        if is_changed and number in {3, 4, 8}:
            touch(live)
        live.clock.advance(TICK - TICK // 2)
        live.collector.step()
        work = live.collector._work
        kept, work._standing = work._standing, Standing(limit=0.05, interval_ms=TICK)
        work._recover_standing()
        made, work._standing = work._standing, kept
        assert made._states == kept._states, number


def test_a_collector_that_starts_anew_remembers_what_it_saw(live):
    live.round()
    for _ in range(6):
        fail(live, 2, 23)
        live.round()
    flag_id = live.store.flag(SEARCH).id
    before = live.collector._work._standing._states[flag_id][1].units
    live.collector._forget()
    live.round()
    assert live.collector._work._standing._states[flag_id][1].units >= before > 100
