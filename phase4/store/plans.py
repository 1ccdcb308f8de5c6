"""What an operator orders of a plan: make, start, approve, pause, end, roll back. Each is one transaction.

The rules of a state are `phase4.rollout.commands`; those that need the flag, the plan's maker or the flag's other plans
are here, so that the command line, a server and a test meet the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from phase4.errors import ApprovalNotDue, FlagHeld, NotPermitted, PercentageMax, PlanLive
from phase4.rollout import commands, events
from phase4.rollout.events import Event
from phase4.rollout.plan import RolloutPlan
from phase4.rollout.state import RolloutState
from phase4.store import rollouts
from phase4.store.control import Change, ControlStore, FlagRow, PlanRow, Reply

PlanOf = Callable[[FlagRow, int], RolloutPlan]
"""Makes a plan for a flag, given the plan's number."""


class Ordered(NamedTuple):
    """Who orders what of which plan."""

    plan_id: str
    actor: str
    request_id: str
    reason: str | None = None


class _Standing(NamedTuple):
    """What a rule may look at, all of one transaction."""

    row: PlanRow
    plan: RolloutPlan
    state: RolloutState
    flag: FlagRow
    now_ms: int
    newer: str | None
    """Id of another live plan of the flag."""


def create(
    store: ControlStore, flag_key: str, plan_of: PlanOf, *, maximum: float, replaces: bool, actor: str, request_id: str
) -> tuple[Reply, RolloutPlan]:
    """Make a pending plan; return the reply and the plan. One with the same digest that has not started is kept.

    Args:
        store: The control store.
        flag_key: The flag that it rolls out.
        plan_of: Makes the plan.
        maximum: The highest percentage of this environment, 0-100.
        replaces: Whether the flag's live plan is cancelled first.
        actor: Who orders it.
        request_id: Of the order.

    Raises:
        FlagNotFound: there is no such flag.
        PercentageMax: a stage is above the maximum.
        PlanLive: another plan is live, and it is not to be replaced.
    """
    sketch = plan_of(store.flag(flag_key), 1)
    highest = max(stage.percentage for stage in sketch.stages)
    if highest > maximum:
        raise PercentageMax(
            f"the plan reaches {highest:g} %, this environment allows {maximum:g} %",
            hint="ROLLOUT_MAX_PERCENTAGE sets it",
        )

    def work(change: Change) -> dict[str, Any]:
        flag = store.flag(flag_key)
        plan = plan_of(flag, len(store.plans(flag.id)) + 1)
        live = store.live_plan(flag.id)
        if live is not None and live.digest == plan.digest and rollouts.state_of(store, live.plan_id).stage < 0:
            return {"plan": live.plan_id, "made": False}
        if live is not None and not replaces:
            raise PlanLive(
                f"{live.plan_id} is live; --replace cancels it first", hint=f"rollout create {flag_key} --replace"
            )
        if live is not None:
            state = rollouts.state_of(store, live.plan_id)
            event = commands.cancel(state, f"replaced by {plan.plan_id}", change.now_ms)
            rollouts.record(change, live, state.seq + 1, event)
        change.add_plan(rollouts.row_of(plan, flag, created_ms=change.now_ms, created_by=change.actor))
        return {"plan": plan.plan_id, "made": True}

    arguments = {"flag": flag_key, "digest": sketch.digest, "replace": replaces}
    return store.execute("rollout create", arguments, work, actor=actor, request_id=request_id), sketch


def start(store: ControlStore, ordered: Ordered) -> Reply:
    """Enter the first stage.

    Raises:
        FlagHeld: an emergency holds the flag; a rollback's hold is lifted by a new plan.
        PlanStateError: the plan is not pending.
    """

    def event_of(at: _Standing) -> Event:
        if at.flag.held == "emergency":
            raise _held(at.flag)
        return commands.start(at.plan, at.state, at.now_ms)

    return _order(store, "start", ordered, event_of)


def approve(store: ControlStore, ordered: Ordered, *, overrides: bool = False) -> Reply:
    """Give one person's approval of the next stage, or with `overrides` a vote to enter it without PASS.

    Raises:
        NotPermitted: two approvals are needed, and this person made the plan.
        ApprovalNotDue: none is asked for.
        PlanStateError: the plan's phase is another, or nothing is there to override.
    """

    def event_of(at: _Standing) -> Event | None:
        if at.plan.approvals_required > 1 and at.row.created_by == ordered.actor:
            raise NotPermitted(f"{ordered.actor} made this plan, and two others must approve it")
        if overrides:
            return commands.approve_override(at.plan, at.state, ordered.actor, at.now_ms)
        try:
            return commands.approve(at.state, ordered.actor, at.now_ms)
        except ApprovalNotDue as error:
            error.hint = f'rollout approve {ordered.plan_id} --override --reason "TEXT"'
            raise

    return _order(store, "approve", ordered, event_of, override=overrides)


def reject(store: ControlStore, ordered: Ordered) -> Reply:
    """Refuse the next stage: the plan pauses."""
    return _order(store, "reject", ordered, lambda at: commands.reject(at.state, ordered.actor, at.now_ms))


def pause(store: ControlStore, ordered: Ordered) -> Reply:
    """Hold a plan where it is."""
    note = ordered.reason or f"paused by {ordered.actor}"
    return _order(store, "pause", ordered, lambda at: commands.pause(at.state, note, at.now_ms))


def resume(store: ControlStore, ordered: Ordered) -> Reply:
    """Let a paused plan go on.

    Raises:
        FlagHeld: the flag is held.
        PlanStateError: the plan is not paused.
    """

    def event_of(at: _Standing) -> Event:
        if at.flag.held:
            raise _held(at.flag)
        return commands.resume(at.plan, at.state, at.now_ms)

    return _order(store, "resume", ordered, event_of)


def cancel(store: ControlStore, ordered: Ordered) -> Reply:
    """End a plan; the flag keeps its percentage."""
    why = ordered.reason or f"cancelled by {ordered.actor}"
    return _order(store, "cancel", ordered, lambda at: commands.cancel(at.state, why, at.now_ms))


def roll_back(store: ControlStore, ordered: Ordered, why: str) -> Reply:
    """Switch the feature off, from every phase.

    Raises:
        PlanLive: the plan ended, and a newer one of its flag is live.
    """

    def event_of(at: _Standing) -> Event | None:
        return commands.roll_back(at.state, why, at.now_ms, newer_live=at.newer)

    return _order(store, "rollback", ordered, event_of, text=why)


def where(store: ControlStore, row: PlanRow, plan: RolloutPlan) -> dict[str, Any]:
    """Return where a plan is, as plain values; stages count from 1."""
    state = rollouts.state_of(store, row.plan_id)
    return {
        "plan": row.plan_id,
        "phase": str(state.phase),
        "stage": state.stage + 1 if state.stage >= 0 else None,
        "stages": len(plan.stages),
        "percentage": state.percentage,
        "event_seq": state.seq,
        "approvals": len({*state.approvals, *state.overrides}),
        "needed": plan.approvals_required,
        "expires_ms": state.approval_expires_ms,
    }


def _order(
    store: ControlStore, command: str, ordered: Ordered, event_of: Callable[[_Standing], Event | None], **more: Any
) -> Reply:
    """Record the event that a command on one plan leads to, and say where the plan is."""

    def work(change: Change) -> dict[str, Any]:
        row = store.plan(ordered.plan_id)
        flag, plan, state = store.flag_by_id(row.flag_id), rollouts.plan_of(row), rollouts.state_of(store, row.plan_id)
        live = store.live_plan(flag.id)
        newer = live.plan_id if live is not None and live.plan_id != row.plan_id else None
        event = event_of(_Standing(row, plan, state, flag, change.now_ms, newer))
        if event is not None:
            rollouts.record(change, row, state.seq + 1, event, reason=ordered.reason)
        told = None if event is None else events.to_json(event)
        return {**where(store, row, plan), "event": told, "already": event is None}

    arguments = {"plan": ordered.plan_id, "reason": ordered.reason, **more}
    return store.execute(f"rollout {command}", arguments, work, actor=ordered.actor, request_id=ordered.request_id)


def _held(flag: FlagRow) -> FlagHeld:
    return FlagHeld(
        f"{flag.flag_key} is held since {flag.held}: {flag.held_reason}",
        hint=f'flags enable {flag.flag_key} --release --reason "TEXT"',
    )
