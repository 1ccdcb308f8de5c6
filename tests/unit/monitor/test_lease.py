"""Who collects: one process of a home, its standby, and the fence that stops one that wakes up late."""

import sqlite3

import pytest

from phase4.clock import ManualClock
from phase4.errors import FenceLost, StoreUnavailable
from phase4.monitor.lease import INTERVALS, Lease, holders, standbys
from phase4.store import ticks
from phase4.store.control import ControlStore
from phase4.store.ticks import COLLECTOR
from tests.data.homes.make import create
from tests.unit.monitor.live import START, TICK

LIFE = INTERVALS * TICK


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(home, clock):
    made = create(home, clock)
    yield made
    made.close()


@pytest.fixture
def lease(store):
    made = []

    def make(holder, at=store):
        made.append(Lease(at, holder, interval_ms=TICK))
        return made[-1]

    yield make
    for each in made:
        each.lose()


def fences(store):
    return store.rows("SELECT holder, fence FROM lease WHERE name = ?", COLLECTOR)


def test_the_first_to_ask_collects_and_keeps_its_fence(store, clock, lease):
    first = lease("a")
    assert first.hold(clock.now())
    assert first.hold(clock.now() + TICK)
    assert (first.fence, fences(store)) == (1, [("a", 1)])


def test_a_second_one_stands_by_and_is_named(store, clock, lease):
    first, second = lease("a"), lease("b")
    assert [each.hold(clock.now()) for each in (first, second)] == [True, False]
    assert (standbys(store, clock.now()), holders(store, clock.now())) == (["b"], ["a", "b"])


def test_a_standby_that_is_not_heard_of_for_three_intervals_is_forgotten(store, clock, lease):
    first, second = lease("a"), lease("b")
    first.hold(clock.now())
    second.hold(clock.now())
    assert standbys(store, clock.now() + LIFE - 1) == ["b"]
    assert standbys(store, clock.now() + LIFE) == []


def test_the_standby_takes_over_at_once_when_the_lock_drops(store, clock, lease):
    first, second = lease("a"), lease("b")
    first.hold(clock.now())
    second.hold(clock.now())
    first.lose()  # what a killed process leaves: the row as it was, and no lock
    assert second.hold(clock.now() + 1)
    assert (fences(store), standbys(store, clock.now())) == ([("b", 2)], [])


def test_a_release_lets_another_collect_at_once_and_nobody_is_shown_meanwhile(store, clock, lease):
    first, second = lease("a"), lease("b")
    first.hold(clock.now())
    first.release()
    assert holders(store, clock.now()) == []
    assert second.hold(clock.now())
    assert second.fence == 2


def test_a_standby_that_ends_takes_no_lease_with_it(store, clock, lease):
    first, second = lease("a"), lease("b")
    first.hold(clock.now())
    second.hold(clock.now())
    second.release()
    assert holders(store, clock.now()) == ["a"]


def test_a_holder_that_hangs_is_replaced_when_its_lease_expires_and_not_a_moment_before(store, clock, lease):
    first, second = lease("a"), lease("b")
    first.hold(clock.now())
    assert not second.hold(clock.now() + LIFE - 1)
    assert second.hold(clock.now() + LIFE)
    assert fences(store) == [("b", 2)]


def test_one_that_wakes_up_late_steps_down(clock, lease):
    first, second = lease("a"), lease("b")
    first.hold(clock.now())
    second.hold(clock.now() + LIFE)
    assert not first.hold(clock.now() + LIFE)
    assert first.fence == 0


def test_a_write_with_an_old_fence_is_refused(store, clock, lease):
    first, second = lease("a"), lease("b")
    first.hold(clock.now())
    old = first.fence
    second.hold(clock.now() + LIFE)
    with pytest.raises(FenceLost):
        ticks.check_fence(store, old)
    ticks.check_fence(store, second.fence)


def test_a_write_is_refused_where_nobody_holds_the_lease(store):
    with pytest.raises(FenceLost):
        ticks.check_fence(store, 1)


def test_holding_the_lease_is_no_change_of_the_store(store, clock, lease):
    version = store.version
    for number in range(3):
        lease("a").hold(clock.now() + number)
    assert (store.version, store.row("SELECT count(*) FROM command WHERE request_id <> 'init'")[0]) == (version, 0)


def test_one_that_woke_up_late_does_not_take_the_lease_back_from_a_healthy_holder(store, clock, lease):
    first, second = lease("a"), lease("b")
    first.hold(clock.now())
    clock.advance(LIFE)
    assert second.hold(clock.now())
    assert not first.hold(clock.now())  # steps down, and its lock drops
    clock.advance(TICK)
    assert second.hold(clock.now())
    assert not first.hold(clock.now())
    assert fences(store) == [("b", 2)]


def test_a_takeover_that_the_database_refused_is_done_by_the_next_round(home, store, clock, lease):
    dead = lease("a")
    dead.hold(clock.now())
    dead.lose()
    patient = ControlStore(str(home), clock.now, busy_ms=1)
    blocker = sqlite3.connect(home / "control.db", isolation_level=None)
    try:
        second = lease("b", patient)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            second.hold(clock.now())
        blocker.execute("ROLLBACK")
        assert second.hold(clock.now() + 1)
    finally:
        blocker.close()
        patient.close()
