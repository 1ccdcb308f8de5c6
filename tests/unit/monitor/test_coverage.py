"""Coverage: both parts, the window, and the unknown where nothing was expected."""

import pytest

from phase4.clock import ManualClock
from phase4.durations import DAY_MS, HOUR_MS
from phase4.monitor.collector import Collector
from phase4.monitor.coverage import Coverage, measure
from phase4.monitor.settings import MonitorSettings
from phase4.store import plans
from phase4.store.plans import Ordered
from tests.data.homes.make import CHECKOUT, SEARCH, START, add_plan, change, create, new_request_id, started
from tests.unit.monitor.live import TICK, Live

IN_TIME, TOO_LATE = TICK, 2 * TICK + 1


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(home, clock):
    made = create(home, clock)
    yield made
    made.close()


def switch_off(store):
    change(store, lambda making: making.set_flag(store.flag(SEARCH), "flag_disabled", None, enabled=False))


def close(store, number, *, after=IN_TIME, due=0, received=0, length=TICK):
    """Record tick `number` of an interval from the start on."""
    end = START + (number + 1) * length
    values = (number, end - length, end, end + after, 0, 1, '{"dropped":{},"journal":0,"sources":{}}', due, received)
    change(store, lambda making: making.write(f"INSERT INTO tick VALUES ({'?,' * 9}NULL,NULL,NULL)", *values))


def at(number, length=TICK):
    """Return when tick `number` is just closed."""
    return START + (number + 2) * length


def seen(store, number, **more):
    return measure(store, at(number), interval_ms=TICK, **more)


def of(**parts):
    return Coverage(
        **{"from_ms": 0, "until_ms": 0, "observed_ms": 0, "expected_ms": 0, "received": 0, "due": 0} | parts
    )


# --------------------------------------------------------------------------------------------- the number
def test_nothing_expected_is_unknown():
    assert (of().of_ticks, of().of_outcomes, of().total) == (None, None, None)


def test_the_total_is_the_smaller_part():
    assert of(observed_ms=9, expected_ms=10, received=8, due=10).total == 0.8
    assert of(observed_ms=7, expected_ms=10, received=8, due=10).total == 0.7


def test_with_no_outcome_due_the_ticks_alone_count():
    assert of(observed_ms=9, expected_ms=10).total == 0.9


def test_outcomes_alone_are_no_coverage():
    assert of(received=1, due=1).total is None


def test_ticks_that_were_expected_and_never_seen_are_zero_and_not_unknown():
    assert of(expected_ms=3).total == 0.0


# --------------------------------------------------------------------------------------------- the window
def test_a_home_without_a_flag_that_is_on_expects_nothing(store):
    switch_off(store)
    assert seen(store, 100).total is None


def test_without_a_plan_the_window_begins_when_the_flag_was_switched_on(store):
    assert seen(store, 10).from_ms == START


def test_a_live_plan_s_start_begins_the_window(store, clock):
    clock.advance(10 * TICK)
    started(store)
    assert seen(store, 20).from_ms == START + 10 * TICK


def test_the_oldest_of_the_live_plans_begins_it(store, clock):
    clock.advance(10 * TICK)
    started(store)
    clock.advance(10 * TICK)
    change(store, lambda making: making.set_flag(store.flag(SEARCH), "touched", None))
    assert seen(store, 30).from_ms == START + 10 * TICK


def test_a_plan_that_was_not_started_begins_no_window(store, clock):
    clock.advance(10 * TICK)
    add_plan(store)
    assert seen(store, 20).from_ms == START


def test_an_ended_plan_begins_no_window(store, clock):
    started(store)
    plans.roll_back(store, Ordered(f"{CHECKOUT}.1", "ana", new_request_id()), "why")
    switch_off(store)
    clock.advance(HOUR_MS)
    assert seen(store, 200).total is None


def test_the_window_is_a_day_at_most(store):
    started(store)
    found = measure(store, START + 5 * DAY_MS, interval_ms=TICK)
    assert found.until_ms - found.from_ms <= DAY_MS
    assert found.expected_ms // TICK in range(DAY_MS // TICK - 3, DAY_MS // TICK + 1)


def test_a_window_that_somebody_names_may_be_longer(store):
    found = measure(store, START + 5 * DAY_MS, interval_ms=TICK, from_ms=START)
    assert found.from_ms == START
    assert found.expected_ms > 4 * DAY_MS


def test_at_its_beginning_a_window_expects_nothing_yet(store):
    assert [seen(store, number).total for number in (-2, -1)] == [None, None]


# --------------------------------------------------------------------------------------------- the ticks
def test_ticks_closed_in_time_are_full_coverage(store):
    for number in range(20):
        close(store, number)
    assert seen(store, 19).of_ticks == 1.0


def test_while_the_newest_tick_is_being_closed_nothing_is_missing(store):
    for number in range(20):
        close(store, number)
    assert measure(store, at(20), interval_ms=TICK).of_ticks == 1.0


@pytest.mark.parametrize(("after", "is_seen"), [(2 * TICK, True), (TOO_LATE, False)])
def test_a_tick_closed_later_than_two_intervals_after_its_end_was_seen_by_nobody(store, after, is_seen):
    for number in range(20):
        close(store, number, after=after if number < 10 else IN_TIME)
    assert (seen(store, 19).of_ticks == 1.0) is is_seen


def test_one_lost_tick_lowers_the_coverage(store):
    for number in range(20):
        if number != 7:
            close(store, number)
    assert seen(store, 19).of_ticks < 1.0


def test_many_lost_ticks_lower_the_coverage(store):
    for number in range(20):
        if number >= 10:
            close(store, number)
    assert seen(store, 19).of_ticks == pytest.approx(0.5, abs=0.06)


def test_outcomes_are_summed_over_the_window(store):
    for number in range(20):
        close(store, number, due=10, received=9)
    found = seen(store, 19, from_ms=START + 10 * TICK)
    assert (found.of_outcomes, found.due) == (0.9, found.received * 10 // 9)


def watched(home, clock, intervals):
    """Let a collector watch an hour at each interval, and return the coverage by the last one."""
    store = create(home, clock)
    try:
        for interval in intervals:
            live = Live(store, clock, interval_ms=interval)
            live.collector = Collector(store, MonitorSettings(interval_ms=interval), holder=str(interval))
            for _ in range(20):
                live.round()
            live.collector.close()
        return measure(store, clock.now(), interval_ms=intervals[-1]).of_ticks
    finally:
        store.close()


def test_a_collector_that_is_always_there_has_full_coverage(home, clock):
    assert watched(home, clock, [TICK, TICK]) == 1.0


def test_a_shorter_interval_makes_no_gap_of_what_was_watched(home, clock):
    assert watched(home, clock, [TICK, TICK // 5]) == 1.0


def test_a_longer_interval_hides_no_gap(store):
    for number in range(60):  # 60 ticks of 6 s, then six minutes of which nobody saw anything
        close(store, number, length=TICK // 5, after=TICK // 5)
    found = measure(store, START + 24 * TICK, interval_ms=TICK)
    assert found.of_ticks == pytest.approx(0.5, abs=0.06)
