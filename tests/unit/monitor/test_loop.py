"""The collector's timer: rounds at multiples of the interval, failures told and tried again, an end when asked."""

import sqlite3
import threading

import pytest

from phase4 import clock as clocks
from phase4.clock import ManualClock, SystemClock
from phase4.errors import StoreUnavailable
from phase4.monitor.lease import holders
from phase4.monitor.loop import Watch
from phase4.monitor.settings import MonitorSettings
from phase4.store import ticks
from phase4.store.control import ControlStore
from tests.data.homes.make import SEARCH, change, create
from tests.unit.monitor.live import START, TICK, Live

SHORT = 500


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(home, clock):
    made = create(home, clock)
    yield made
    made.close()


@pytest.fixture
def watch(store):
    made = Watch(store, MonitorSettings(interval_ms=TICK), holder="watch")
    yield made
    made.close()


def test_a_step_collects_and_says_so(watch, store, clock):
    clock.advance(TICK)
    told = watch.step()
    assert (told.error, told.round.is_holder, len(told.round.closed)) == (None, True, 1)
    assert holders(store, clock.now()) == ["watch"]


def test_a_step_measures_what_the_collector_takes(watch, store, clock):
    for _ in range(3):
        clock.advance(TICK)
        watch.step()
    newest = ticks.last(store)
    assert newest.memory_mb > 1
    assert newest.response_ms > 0
    assert newest.cpu_percent >= 0


def test_a_step_raises_what_it_found(watch, store, clock):
    clock.advance(TICK)
    watch.step()
    clock.advance(100 * TICK)
    watch.step()
    found = {alert.rule for alert in store.alerts()}
    assert found >= {"no collector", "target"}


def test_a_standby_raises_nothing(watch, store, clock):
    clock.advance(TICK)
    watch.step()
    other = Watch(store, MonitorSettings(interval_ms=TICK), holder="other")
    try:
        told = other.step()
    finally:
        other.close()
    assert (told.round.is_holder, store.alerts()) == (False, [])


def test_a_round_that_fails_is_told_and_the_next_takes_it_up_again(home, clock):
    create(home, clock).close()
    store = ControlStore(str(home), clock.now, busy_ms=1)
    live = Live(store, clock)
    watch = Watch(store, MonitorSettings(interval_ms=TICK), holder="watch")
    blocker = sqlite3.connect(home / "control.db", isolation_level=None)
    try:
        watch.step()
        live.emit(2, "ok", flag_key=SEARCH)
        blocker.execute("BEGIN IMMEDIATE")
        clock.advance(TICK)
        told = watch.step()
        assert (told.round, type(told.error)) == (None, StoreUnavailable)
        blocker.execute("ROLLBACK")
        clock.advance(TICK)
        assert watch.step().error is None
        seen = ticks.observations(store, store.flag(SEARCH).id)
        assert [row.ok for rows in seen.values() for row in rows] == [1]
    finally:
        blocker.close()
        watch.close()
        live.writer.close()
        store.close()


@pytest.fixture
def running(home):
    """Return a home on the machine's clock."""
    store = create(home, SystemClock())
    yield store
    store.close()


def test_rounds_come_at_multiples_of_the_interval_until_it_is_stopped(running):
    watch = Watch(running, MonitorSettings(interval_ms=SHORT))
    at = []
    watch.run(is_stopped=lambda: len(at) == 4, tell=lambda _told: at.append(running.now()))
    assert all(moment % SHORT < SHORT - 50 for moment in at[1:])
    assert [moment // SHORT for moment in at[1:]] == list(range(at[1] // SHORT, at[1] // SHORT + 3))
    assert holders(running, running.now()) == []


def test_a_round_that_took_longer_than_an_interval_is_followed_by_one_and_not_by_many(running):
    watch = Watch(running, MonitorSettings(interval_ms=SHORT))
    at = []

    def tell(_told):
        at.append(running.now())
        if len(at) == 1:
            clocks.wait(3.2 * SHORT / 1000)

    watch.run(is_stopped=lambda: len(at) == 3, tell=tell)
    assert at[1] - at[0] >= 3 * SHORT
    assert at[2] - at[1] > SHORT // 4


def test_a_stop_asked_before_it_began_is_none_of_its_business(running):
    change(running, lambda making: making.set_meta("stop_ms", running.now() - 1))
    watch = Watch(running, MonitorSettings(interval_ms=SHORT))
    rounds = []
    watch.run(is_stopped=lambda: len(rounds) == 1, tell=rounds.append)
    assert len(rounds) == 1


def test_a_stop_asked_while_it_waits_ends_it_at_once(home, running):
    watch = Watch(running, MonitorSettings(interval_ms=600_000))

    def ask():
        other = ControlStore(str(home), SystemClock().now)
        change(other, lambda making: making.set_meta("stop_ms", making.now_ms))
        other.close()

    timer = threading.Timer(0.3, ask)
    timer.start()
    begin = clocks.monotonic()
    rounds = []
    watch.run(is_stopped=lambda: False, tell=rounds.append)
    timer.join()
    assert (len(rounds), clocks.monotonic() - begin < 5) == (1, True)
