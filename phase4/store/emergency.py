"""The emergency path: off first, recorded as soon as that is possible.

1. The stop file is written and synced; 2. the epoch tells every evaluator, which obeys from here on, whatever the
database does; 3. the order is recorded in a normal transaction, under a lock of its own so that a storm of other
writers cannot starve it; 4. the stop file is lifted. Where 3 fails the stop file stays and is the record, and the next
writer takes it over, exactly once by its request id.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from phase4 import clock
from phase4.errors import Phase4Error, RequestIdReused, StoreUnavailable, WriteFailed
from phase4.store import home as homes
from phase4.store import stops
from phase4.store.control import Change, ControlStore, FlagRow
from phase4.store.epoch import Epoch
from phase4.store.stops import EVERYTHING, Stop

BUSY_MS = 2_000
LOCK_LOOK_S = 0.01


class Stopped(NamedTuple):
    """What an emergency order came to."""

    flags: list[str]
    """Flags that are off by it; empty where it could not be recorded."""
    plans: list[str]
    is_recorded: bool
    problem: str | None
    """Why it is not recorded yet."""


def stop(home: str, order: Stop, now: Callable[[], int]) -> Stopped:
    """Switch off what the order names, and record it if that can be done now.

    Raises:
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
        everything = order.flag_key == EVERYTHING
        # a name that no flag has, given while the database could not be asked, is recorded as what it is
        flags = [flag for flag in store.flags() if everything or flag.flag_key == order.flag_key]
        plans = [plan for flag in flags for plan in _switch_off(change, flag, order)]
        # a rollback has raised its own alert: one order is one alert, but for several plans rolled back at once
        if not plans or not order.rolls_back:
            text = f"emergency: {order.reason}"
            named = flags[0] if len(flags) == 1 else None
            change.alert("rollback", "critical", text, rule=f"emergency {order.request_id}", flag=named)
        return {"flags": [flag.flag_key for flag in flags], "plans": plans}

    arguments = {"flag": order.flag_key, "reason": order.reason, "rollback": order.rolls_back}
    reply = store.execute("emergency", arguments, work, actor=order.actor, request_id=order.request_id)
    stops.lift(store.home, order.request_id)
    # the stop word of an order that left no file is lifted by an order about everything, and by no other
    if order.flag_key == EVERYTHING and not any(left.flag_key == EVERYTHING for left in stops.pending(store.home)):
        store.epoch.clear()
    store.epoch.nudge()
    return Stopped(reply.data["flags"], reply.data["plans"], is_recorded=True, problem=None)


def _switch_off(change: Change, flag: FlagRow, order: Stop) -> list[str]:
    """Switch one flag off and hold it; return the live plan that was paused or rolled back."""
    row = change.store.live_plan(flag.id)
    touched: list[str] = []
    if row is not None:
        from phase4.rollout import commands
        from phase4.rollout.events import RolledBack
        from phase4.store import rollouts

        state = rollouts.state_of(change.store, row.plan_id)
        if order.rolls_back:
            at = change.now_ms
            event = RolledBack(at_ms=at, guardrail=None, reason=order.reason, is_emergency=True, tick=None)
            rollouts.record(change, row, state.seq + 1, event)
            touched.append(row.plan_id)
        else:
            paused = commands.flag_disabled(state, order.reason, change.now_ms)
            if paused is not None:
                rollouts.record(change, row, state.seq + 1, paused)
                touched.append(row.plan_id)
        flag = change.store.flag_by_id(flag.id)
    values: dict[str, Any] = {"held": "emergency", "held_reason": order.reason, "held_ms": change.now_ms}
    off = {"enabled": False, **({"percentage": 0.0} if order.rolls_back else {})}
    change.set_flag(flag, "emergency", order.reason, **off, **values)
    return touched
