"""The emergency path: off first, recorded as soon as that is possible.

1. The stop file is written and synced; 2. the epoch tells every evaluator, which obeys from here on, whatever the
database does; 3. the order is recorded in a normal transaction, under a lock of its own so that a storm of other
writers cannot starve it; 4. the stop file is lifted. Where 3 fails the stop file stays and is the record, and the next
writer takes it over, exactly once by its request id.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from phase4 import clock
from phase4.errors import Phase4Error, RequestIdReused, StoreDamaged, StoreUnavailable, WriteFailed
from phase4.store import home as homes
from phase4.store import stops
from phase4.store.control import Change, ControlStore, FlagRow, PlanRow, open_error
from phase4.store.epoch import Epoch
from phase4.store.stops import EVERYTHING, Stop

if TYPE_CHECKING:
    from phase4.rollout.events import Event

BUSY_MS = 2_000
LOCK_LOOK_S = 0.01
UNREADABLE = (*(sqlite3.Error, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),)
"""What reading damaged rows may raise: they can hold any text, of any type."""


class Stopped(NamedTuple):
    """What an emergency order came to."""

    flags: list[str]
    """Flags that are off by it; empty where it could not be recorded."""
    plans: list[str]
    is_recorded: bool
    problem: str | None
    """Why it is not recorded yet."""
    unread: tuple[str, ...] = ()
    """Plans whose journal cannot be read: their flags are off and held, and nothing is recorded of them."""


class Foreseen(NamedTuple):
    """What an emergency order would come to."""

    flags: list[str]
    """Flags that are on, and would be off."""
    plans: list[str]
    unread: list[str]
    """Plans whose journal cannot be read."""


def foreseen(store: ControlStore, order: Stop) -> Foreseen:
    """Return what an order would come to now; nothing is changed.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    try:
        store.connection.execute("BEGIN")  # flags and plans of one moment
        try:
            return _foreseen(store, order)
        finally:
            store.connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise open_error(error, store.path) from error


def stop(home: str, order: Stop, now: Callable[[], int]) -> Stopped:
    """Switch off what the order names, and record it if that can be done now.

    Raises:
        UsageError: the request id is no name of a file; nothing was done.
        WriteFailed: not even a stop file could be written, and nothing was recorded.
    """
    unwritten = _obeyed(home, order)
    try:
        with _locked(home):
            store = ControlStore(home, now, busy_ms=BUSY_MS)
            try:
                return _recorded(store, order)
            finally:
                store.close()
    except (Phase4Error, OSError) as error:
        if unwritten is not None:
            raise unwritten from error
        return Stopped([], [], is_recorded=False, problem=str(error))


def record_pending(store: ControlStore) -> list[Stop]:
    """Record every stop file that is left over, and lift it; return them."""
    found = stops.pending(store.home)
    for order in found:
        try:
            _recorded(store, order)
        except RequestIdReused:  # another command has this name: the order is another one all the same
            _recorded(store, order._replace(request_id=f"{order.request_id}-emergency"))
            stops.lift(store.home, order.request_id)
    return found


def _foreseen(store: ControlStore, order: Stop) -> Foreseen:
    flags = _named(store, order)
    would = Foreseen([flag.flag_key for flag in flags if flag.enabled], [], [])
    for row in filter(None, [store.live_plan(flag.id) for flag in flags]):
        try:
            if _next_event(store, row, order, order.at_ms) is not None:
                would.plans.append(row.plan_id)
        except StoreDamaged:
            would.unread.append(row.plan_id)
    return would


def _obeyed(home: str, order: Stop) -> WriteFailed | None:
    """Write the stop file and ring; return the error where no file could be written: then the stop word alone holds."""
    unwritten = None
    try:
        stops.write(home, order)
    except WriteFailed as error:
        unwritten = error
    try:
        epoch = Epoch(os.path.join(home, homes.EPOCH))
    except OSError:
        return unwritten  # no evaluator has this epoch mapped either
    if order.flag_key == EVERYTHING:
        epoch.stop()
    epoch.nudge()
    epoch.close()
    return unwritten


@contextmanager
def _locked(home: str) -> Iterator[None]:
    handle = os.open(os.path.join(home, homes.EMERGENCY_LOCK), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        _wait_for(handle)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int) -> None:
    """Take the lock, or give up as soon as the database would: the stop file holds meanwhile."""
    until = clock.monotonic() + BUSY_MS / 1000
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() >= until:
                raise StoreUnavailable("another emergency holds the lock") from None
            clock.wait(LOCK_LOOK_S)
        else:
            return


def _recorded(store: ControlStore, order: Stop) -> Stopped:
    order = order._replace(reason=order.reason.encode("utf-8", "replace").decode())  # an odd terminal's bytes

    def work(change: Change) -> dict[str, Any]:
        flags = _named(store, order)
        done = [_switch_off(change, flag, order) for flag in flags]
        plans = [plan for touched, _ in done for plan in touched]
        unread = [plan for _, left in done for plan in left]
        if not flags:  # nothing was there to switch off: that it was ordered is on record all the same
            change.audit("emergency", order.flag_key, before=None, after=None, reason=order.reason)
        # a rollback has raised its own alert: one order is one alert, but for several plans rolled back at once
        if not plans or not order.rolls_back or unread:
            named = flags[0] if len(flags) == 1 else None
            text = f"emergency: {_with_unread(order.reason, unread)}"
            change.alert("rollback", "critical", text, rule=f"emergency {order.request_id}", flag=named)
        return {"flags": [flag.flag_key for flag in flags], "plans": plans, "unread": unread}

    arguments = {"flag": order.flag_key, "reason": order.reason, "rollback": order.rolls_back}
    try:
        reply = store.execute("emergency", arguments, work, actor=order.actor, request_id=order.request_id)
    except UNREADABLE as error:  # the stop file holds; other commands go on
        raise StoreDamaged(f"{store.path} is damaged: {error}", hint="phase4 store check") from error
    stops.lift(store.home, order.request_id)
    # the stop word of an order that left no file is lifted by an order about everything, and by no other
    if order.flag_key == EVERYTHING and not any(left.flag_key == EVERYTHING for left in stops.pending(store.home)):
        store.epoch.clear()
    store.epoch.nudge()
    unread = tuple(reply.data.get("unread", ()))  # a reply that an earlier version kept has none
    return Stopped(reply.data["flags"], reply.data["plans"], is_recorded=True, problem=None, unread=unread)


def _named(store: ControlStore, order: Stop) -> list[FlagRow]:
    """Return the flags that an order is about.

    A name that no flag has, given while the database could not be asked, is recorded as what it is.
    """
    return [flag for flag in store.flags() if order.flag_key in {EVERYTHING, flag.flag_key}]


def _switch_off(change: Change, flag: FlagRow, order: Stop) -> tuple[list[str], list[str]]:
    """Switch one flag off and hold it; return the live plan that was paused or rolled back, or that cannot be read."""
    row = change.store.live_plan(flag.id)
    touched, unread = [], []
    if row is not None:
        try:
            following = _next_event(change.store, row, order, change.now_ms)
        except StoreDamaged:  # off and held is what was ordered, and that needs no journal
            following, unread = None, [row.plan_id]
        if following is not None:
            from phase4.store import rollouts

            rollouts.record(change, row, *following)
            touched = [row.plan_id]
            flag = change.store.flag_by_id(flag.id)
    values: dict[str, Any] = {"held": "emergency", "held_reason": order.reason, "held_ms": change.now_ms}
    off = {"enabled": False, **({"percentage": 0.0} if order.rolls_back else {})}
    change.set_flag(flag, "emergency", _with_unread(order.reason, unread), **off, **values)
    return touched, unread


def _with_unread(reason: str, plans: list[str]) -> str:
    return f"{reason} (the journal of {', '.join(plans)} cannot be read)" if plans else reason


def _next_event(store: ControlStore, row: PlanRow, order: Stop, now_ms: int) -> tuple[int, Event] | None:
    """Return the event that an order leads to in a live plan, with its number; None where the plan has not started.

    Raises:
        StoreDamaged: the plan's journal cannot be read, or events are missing in it.
    """
    from phase4.rollout import commands
    from phase4.rollout.events import RolledBack
    from phase4.store import rollouts

    try:
        numbers = [number for number, _ in store.journal(row.plan_id)]
        state = rollouts.state_of(store, row.plan_id)
    except UNREADABLE as error:
        if isinstance(error, sqlite3.Error) and not store.connection.in_transaction:
            raise  # SQLite has undone the whole order
        raise StoreDamaged(f"the journal of {row.plan_id} cannot be read: {error}") from error
    if numbers != list(range(1, len(numbers) + 1)):
        raise StoreDamaged(f"the journal of {row.plan_id} has gaps: {numbers}")
    if order.rolls_back:
        return state.seq + 1, RolledBack(
            at_ms=now_ms, guardrail=None, reason=order.reason, is_emergency=True, tick=None
        )
    paused = commands.flag_disabled(state, order.reason, now_ms)
    return None if paused is None else (state.seq + 1, paused)
