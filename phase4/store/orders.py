"""What an operator orders of a flag: on, off, a percentage. Each is one transaction, and says before and after.

A flag without a live plan loads nothing of the rollouts: a toggle is a whole process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phase4.errors import FlagHeld, PercentageMax, PlanLive, UsageError
from phase4.store.control import Change, ControlStore, FlagRow, PlanRow, Reply


def enable(
    store: ControlStore, flag_key: str, *, actor: str, request_id: str, reason: str | None, releases: bool = False
) -> Reply:
    """Switch a flag on; its percentage stays. A plan that was paused by switching it off goes on.

    Args:
        store: The control store.
        flag_key: The flag.
        actor: Who orders it.
        request_id: Of the order.
        reason: Why; needed to lift a hold.
        releases: Whether a hold is lifted.

    Raises:
        FlagHeld: a rollback or an emergency holds it, and `releases` is not set.
        UsageError: a hold is to be lifted without a reason.
    """
    if releases and not reason:
        raise UsageError("lifting a hold needs a reason", hint=f'flags enable {flag_key} --release --reason "TEXT"')

    def work(change: Change) -> dict[str, Any]:
        flag = store.flag(flag_key)
        if flag.held and not releases:
            raise FlagHeld(
                f"{flag_key} is held since {flag.held}: {flag.held_reason}",
                hint=f'flags enable {flag_key} --release --reason "TEXT"',
            )
        plan = store.live_plan(flag.id)
        resumed = plan if plan is not None and _resume(change, plan, reason) else None
        if resumed is not None:
            flag, before = store.flag(flag_key), flag
        else:
            before = flag
        values: dict[str, Any] = {"held": None, "held_reason": None, "held_ms": None} if flag.held else {}
        if not flag.enabled:
            values["enabled"] = True
        after = change.set_flag(flag, "flag_enabled", reason, **values) if values else flag
        return _reply(before, after, resumed)

    arguments = {"flag": flag_key, "release": releases, "reason": reason}
    return store.execute("flags enable", arguments, work, actor=actor, request_id=request_id)


def disable(store: ControlStore, flag_key: str, *, actor: str, request_id: str, reason: str | None) -> Reply:
    """Switch a flag off at once; its percentage stays. A live plan that has started is paused."""

    def work(change: Change) -> dict[str, Any]:
        flag = store.flag(flag_key)
        plan = store.live_plan(flag.id)
        if not flag.enabled:
            return _reply(flag, flag, None)
        if plan is not None and _interrupt(change, plan, None, reason):
            return _reply(flag, store.flag(flag_key), plan)
        return _reply(flag, change.set_flag(flag, "flag_disabled", reason, enabled=False), None)

    arguments = {"flag": flag_key, "reason": reason}
    return store.execute("flags disable", arguments, work, actor=actor, request_id=request_id)


def set_percentage(
    store: ControlStore,
    flag_key: str,
    percentage: float,
    *,
    maximum: float,
    actor: str,
    request_id: str,
    reason: str | None,
) -> Reply:
    """Set a flag's percentage, 0-100; it is not switched on by this. Lowering pauses a live plan.

    Raises:
        PercentageMax: above the environment's maximum.
        FlagHeld: a held flag would be raised.
        PlanLive: a plan is live and the percentage would be raised.
    """

    def work(change: Change) -> dict[str, Any]:
        flag = store.flag(flag_key)
        plan = store.live_plan(flag.id)
        if percentage == flag.percentage:
            return _reply(flag, flag, None)
        if percentage > flag.percentage:
            _may_raise(flag, plan, percentage, maximum)
        elif plan is not None and flag.enabled and _interrupt(change, plan, percentage, reason):
            return _reply(flag, store.flag(flag_key), plan)
        return _reply(flag, change.set_flag(flag, "percentage_set", reason, percentage=percentage), None)

    arguments = {"flag": flag_key, "percentage": f"{percentage:g}", "reason": reason}
    return store.execute("flags rollout", arguments, work, actor=actor, request_id=request_id)


def _may_raise(flag: FlagRow, plan: PlanRow | None, percentage: float, maximum: float) -> None:
    if percentage > maximum:
        raise PercentageMax(
            f"{percentage:g} % is above this environment's maximum of {maximum:g} %",
            hint="ROLLOUT_MAX_PERCENTAGE sets it",
        )
    if flag.held:
        raise FlagHeld(f"{flag.flag_key} is held since {flag.held}: {flag.held_reason}")
    if plan is not None:
        raise PlanLive(
            f"{plan.plan_id} is live: it alone raises the percentage of {flag.flag_key}; lowering is allowed",
            hint=f"rollout cancel {plan.plan_id}",
        )


def _resume(change: Change, row: PlanRow, reason: str | None) -> bool:
    """Let a plan go on that was paused by switching its flag off or lowering it; return whether there was one."""
    from phase4.rollout import commands
    from phase4.store import rollouts

    plan, state = rollouts.plan_of(row), rollouts.state_of(change.store, row.plan_id)
    following = commands.flag_enabled(plan, state, change.now_ms)
    for number, event in enumerate(following, state.seq + 1):
        rollouts.record(change, row, number, event, reason=reason)
    return bool(following)


def _interrupt(change: Change, row: PlanRow, percentage: float | None, reason: str | None) -> bool:
    """Pause a plan whose flag is switched off (percentage None) or lowered; return whether it had started."""
    from phase4.rollout import commands
    from phase4.store import rollouts

    state = rollouts.state_of(change.store, row.plan_id)
    note = reason or ("flag disabled" if percentage is None else "percentage lowered")
    if percentage is None:
        event = commands.flag_disabled(state, note, change.now_ms)
    else:
        event = commands.lowered(state, percentage, note, change.now_ms)
    if event is None:
        return False
    rollouts.record(change, row, state.seq + 1, event)
    return True


def _reply(before: FlagRow, after: FlagRow, plan: PlanRow | None) -> dict[str, Any]:
    return {
        "flag": before.flag_key,
        "before": shown(before),
        "after": shown(after),
        "changed": before != after,
        "plan": plan.plan_id if plan else None,
    }


def shown(flag: FlagRow) -> Mapping[str, Any]:
    """Return what people and programs see of a flag."""
    return {
        "flag_key": flag.flag_key,
        "enabled": flag.enabled,
        "percentage": flag.percentage,
        "held": flag.held,
        "held_reason": flag.held_reason,
        "entry": flag.entry,
        "version": flag.version,
    }
