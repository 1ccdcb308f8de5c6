"""Rollouts in the control database: a journal event and all that follows from it, in one transaction.

The guide's five steps of a rollback - flag off, 0 %, alert, store version, reason and time in the log - are the effects
of one event, so that a crash leaves all of them or none.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from phase4.errors import JournalConflict, StoreDamaged
from phase4.rollout import document, events
from phase4.rollout.events import (
    ApprovalRequested,
    Cancelled,
    Completed,
    Event,
    Paused,
    PauseReason,
    Resumed,
    RolledBack,
    StageEntered,
)
from phase4.rollout.plan import RolloutPlan
from phase4.rollout.state import RolloutState, replay
from phase4.store.control import Change, ControlStore, FlagRow, PlanRow, canonical


def plan_of(row: PlanRow) -> RolloutPlan:
    """Return the plan that a row keeps.

    Raises:
        StoreDamaged: what is kept is no plan.
    """
    with _told(f"plan {row.plan_id}"):
        return document.from_json(json.loads(row.body))


def events_of(store: ControlStore, plan_id: str) -> tuple[Event, ...]:
    """Return the events of a plan, oldest first.

    Raises:
        StoreDamaged: what is kept is no event.
    """
    return tuple(event for _, event in numbered_events(store, plan_id))


def numbered_events(store: ControlStore, plan_id: str) -> list[tuple[int, Event]]:
    """Return the events of a plan with their numbers among all plans' events, oldest first.

    Raises:
        StoreDamaged: what is kept is no event.
    """
    with _told(f"the journal of {plan_id}"):
        rows = store.rows("SELECT seq, body FROM journal WHERE plan_id = ? ORDER BY plan_seq", plan_id)
        return [(seq, events.from_json(json.loads(body))) for seq, body in rows]


def state_of(store: ControlStore, plan_id: str) -> RolloutState:
    """Return where a plan is: the fold of its events.

    Raises:
        StoreDamaged: what is kept is no event.
    """
    return replay(events_of(store, plan_id))


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Say of stored text that cannot be read whose it is, and what finds out more."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise StoreDamaged(f"{what} cannot be read: {error}", hint="phase4 store check") from error


def plan_of_entry(store: ControlStore, flag_id: int, entry: int) -> PlanRow | None:
    """Return the plan of a flag that made a stage entry, None for none."""
    kind = StageEntered.kind
    for row in reversed(store.plans(flag_id)):
        bodies = store.rows("SELECT body FROM journal WHERE plan_id = ? AND kind = ?", row.plan_id, kind)
        if any(json.loads(body)["entry"] == entry for (body,) in bodies):
            return row
    return None


def newest_ms(store: ControlStore, plan_id: str, kind: str) -> int:
    """Return when an event of a kind was recorded last in a plan's journal, in ms; -1 = never."""
    return int(
        store.row("SELECT coalesce(max(at_ms), -1) FROM journal WHERE plan_id = ? AND kind = ?", plan_id, kind)[0]
    )


def row_of(plan: RolloutPlan, flag: FlagRow, *, created_ms: int, created_by: str) -> PlanRow:
    """Return the row that keeps a plan."""
    body = json.dumps(document.to_json(plan), sort_keys=True)
    return PlanRow(plan.plan_id, flag.id, plan.digest, body, created_ms, created_by, None)


def record(change: Change, row: PlanRow, plan_seq: int, event: Event, *, reason: str | None = None) -> None:
    """Record an event of a plan and carry it out on its flag, in this transaction.

    Raises:
        JournalConflict: another controller recorded this number first.
    """
    body = canonical_event(event)
    tick = event.tick if isinstance(event, RolledBack) else None
    seq = change.append(row.plan_id, plan_seq, at_ms=event.at_ms, kind=event.kind, body=body, tick=tick)
    if seq is None:
        raise JournalConflict(f"event {plan_seq} of {row.plan_id} is taken")
    flag = change.store.flag_by_id(row.flag_id)
    values = flag_values(event, flag)
    if values:
        change.set_flag(flag, event.kind, reason or _why(event), journal_seq=seq, **values)
    else:
        change.audit(event.kind, row.plan_id, before=None, after=None, reason=reason or _why(event))
    if isinstance(event, RolledBack | Completed | Cancelled):
        change.end_plan(row.plan_id)
    _raise_alert(change, row, flag, event)


def canonical_event(event: Event) -> str:
    """Return the JSON that the journal keeps of an event."""
    return canonical(events.to_json(event))


def flag_values(event: Event, flag: FlagRow) -> dict[str, Any]:
    """Return what an event makes of its flag: columns and values; empty = nothing."""
    match event:
        case StageEntered():
            lifted = {"held": None, "held_reason": None, "held_ms": None} if flag.held == "rollback" else {}
            entered = {"enabled": True, "percentage": event.percentage, "entry": event.entry}
            return {**entered, "entries": max(flag.entries, event.entry), **lifted}
        case RolledBack():
            held = "emergency" if event.is_emergency else "rollback"
            held = "emergency" if flag.held == "emergency" else held
            off = {"enabled": False, "percentage": 0.0, "entry": 0}
            return {**off, "held": held, "held_reason": event.reason, "held_ms": event.at_ms}
        case Completed() | Cancelled():
            return {"entry": 0}
        case Paused(reason=PauseReason.FLAG_DISABLED):
            return {"enabled": False}
        case Paused(reason=PauseReason.LOWERED):
            return {"percentage": event.percentage}
        case _:
            return {}


class ControlJournal:
    """A plan's journal in the control database; recording an event carries it out."""

    def __init__(
        self,
        store: ControlStore,
        row: PlanRow,
        *,
        actor: str,
        new_request_id: Callable[[], str],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Take up a plan's journal.

        Args:
            store: The control store.
            row: The plan.
            actor: Who records.
            new_request_id: Names each recorded event's order.
            check: Raises, inside the transaction, where this process may no longer record.
        """
        self._store, self._row, self._actor, self._new_request_id = store, row, actor, new_request_id
        self._check = check

    def append(self, seq: int, event: Event) -> None:
        """Record an event under the next number, with all that follows from it."""

        def work(change: Change) -> dict[str, Any]:
            self._check()
            record(change, self._row, seq, event)
            return {"plan": self._row.plan_id, "seq": seq}

        self._store.execute(
            "journal",
            {"plan": self._row.plan_id, "seq": seq, "event": canonical_event(event)},
            work,
            actor=self._actor,
            request_id=self._new_request_id(),
        )

    def read(self) -> Sequence[Event]:
        """Return all events, oldest first."""
        return events_of(self._store, self._row.plan_id)


class ControlSwitch:
    """The flag of a plan. Recording an event has carried it out already, in the same transaction."""

    def apply(self, event: Event) -> None:
        """Do nothing: there is no moment at which an event is recorded and not carried out."""


def _why(event: Event) -> str | None:
    match event:
        case RolledBack() | Cancelled():
            return event.reason
        case Paused():
            return event.note
        case Resumed():
            return "resumed"
        case _:
            return None


def _raise_alert(change: Change, row: PlanRow, flag: FlagRow, event: Event) -> None:
    about: dict[str, Any] = {"flag": flag, "plan_id": row.plan_id}
    match event:
        case RolledBack():
            text = f"{flag.flag_key} rolled back: {event.reason}"
            change.alert("rollback", "critical", text, rule=row.plan_id, **about)
        case Paused(reason=PauseReason.MAX_DURATION):
            text = f"{row.plan_id} reached its longest time in this stage: {event.note}"
            rule = f"max_duration {row.plan_id}"
            change.alert("rollout", "medium", text, rule=rule, notifies=True, **about)
        case StageEntered():
            text = f"{row.plan_id} entered stage {event.stage + 1} ({event.percentage:g} %)"
            change.alert("rollout", "low", text, rule=f"entered {row.plan_id} {event.entry}", **about)
        case ApprovalRequested():
            text = f"{row.plan_id} asks approval for stage {event.stage + 1}"
            rule = f"approval {row.plan_id} {event.stage + 1}"
            change.alert("rollout", "low", text, rule=rule, notifies=True, **about)
        case Completed():
            text = f"{row.plan_id} completed"
            change.alert("rollout", "low", text, rule=f"completed {row.plan_id}", notifies=True, **about)
        case _:
            return
