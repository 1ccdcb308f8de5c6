"""The status screen: the guide's block to the letter, then what holds health and who watches."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from phase4.store import orders
from phase4.store.control import AlertRow, ControlStore, FlagRow, PlanRow

COLLECTOR = "collector"


class Rollout(NamedTuple):
    """One plan on the screen."""

    plan: PlanRow
    flag_key: str
    phase: str
    stage: int
    stages: int
    percentage: float
    reason: str | None


class Status(NamedTuple):
    """Everything the screen shows."""

    health: str
    held_by: list[str]
    flags: list[FlagRow]
    live: list[Rollout]
    last: list[Rollout]
    """For each flag with plans, its last one."""
    alerts: list[AlertRow]
    watcher: str | None
    """Who collects; None = nobody."""


def look(store: ControlStore, now_ms: int) -> Status:
    """Return what the screen shows."""
    flags = store.flags()
    if store.epoch.is_stopped:  # evaluators obey the stop word whatever the rows say
        flags = [flag._replace(enabled=False, held="emergency", held_reason="the stop word is set") for flag in flags]
    plans = {flag.id: store.plans(flag.id) for flag in flags}
    last = [_rollout(store, plans[flag.id][-1], flag) for flag in flags if plans[flag.id]]
    live = [rollout for rollout in last if rollout.plan.ended_ms is None]
    alerts = store.alerts()
    watcher = store.lease(COLLECTOR, now_ms)
    health, held_by = _health(flags, alerts, watcher)
    return Status(health, held_by, flags, live, last, alerts, watcher)


def render(status: Status) -> list[str]:
    """Return the lines of the screen."""
    lines = ["📊 Phase 4 System Status", "", f"🏥 Health: {status.health}"]
    lines += [f"  ↳ {reason}" for reason in status.held_by]
    lines += ["", f"🏁 Feature Flags ({len(status.flags)}):"]
    lines += [f"  {_flag(flag)}" for flag in status.flags] or ["  No flags"]
    lines += ["", f"📈 Active Rollouts ({len(status.live)}):"]
    lines += [f"  {_live(rollout)}" for rollout in status.live] or [f"  {_ended(status.last)}"]
    lines += ["", f"⚠️  Recent Alerts ({len(status.alerts)}):"]
    lines += [f"  {_alert(alert)}" for alert in status.alerts] or ["  🎉 No active alerts!"]
    watching = f"collector running ({status.watcher})" if status.watcher else "no collector is running"
    return [*lines, "", f"🛰  Monitoring: {watching}"]


def to_json(status: Status) -> dict[str, Any]:
    """Return the screen as plain values."""
    return {
        "health": status.health,
        "held_by": status.held_by,
        "flags": [orders.shown(flag) for flag in status.flags],
        "rollouts": [_rollout_json(rollout) for rollout in status.last],
        "alerts": [alert_json(alert, status.flags) for alert in status.alerts],
        "monitoring": {"collector": status.watcher, "coverage": None},
    }


def state_of(alert: AlertRow) -> str:
    """Return whether an alert is resolved, acknowledged or open, in that order."""
    return "resolved" if alert.resolved_ms is not None else "acknowledged" if alert.acknowledged_ms else "open"


def alert_json(alert: AlertRow, flags: list[FlagRow]) -> dict[str, Any]:
    """Return an alert as plain values; it names its flag by key."""
    values = alert._asdict()
    keys = {flag.id: flag.flag_key for flag in flags}
    named = {"flag_key": keys.get(values.pop("flag_id")), "plan": values.pop("plan_id"), "count": values.pop("times")}
    return {**values, **named, "data": json.loads(alert.data), "state": state_of(alert)}


def _health(flags: list[FlagRow], alerts: list[AlertRow], watcher: str | None) -> tuple[str, list[str]]:
    if watcher is None and any(flag.enabled for flag in flags):
        critical = [f"alert {alert.id}: {alert.message}" for alert in alerts if alert.severity == "critical"]
        return "UNKNOWN", ["a flag is on and no collector runs, so nobody watches it", *critical]
    for severity, health in (("critical", "CRITICAL"), ("high", "WARNING")):
        held_by = [f"alert {alert.id}: {alert.message}" for alert in alerts if alert.severity == severity]
        if held_by:
            return health, held_by
    return "HEALTHY", []


def _rollout(store: ControlStore, plan: PlanRow, flag: FlagRow) -> Rollout:
    from phase4.store import rollouts

    state = rollouts.state_of(store, plan.plan_id)
    stages = len(json.loads(plan.body)["stages"])
    events = store.journal(plan.plan_id)
    last = json.loads(events[-1][1]) if events else {}
    reason = last.get("note") or last.get("reason")
    return Rollout(plan, flag.flag_key, str(state.phase), state.stage, stages, state.percentage, reason)


def _flag(flag: FlagRow) -> str:
    if flag.held:
        return f"🔴 {flag.flag_key} (held: {flag.held_reason})"
    if not flag.enabled:
        return f"⚪ {flag.flag_key} (off, {flag.percentage:g}%)"
    return f"🟢 {flag.flag_key} ({flag.percentage:g}%)"


def _live(rollout: Rollout) -> str:
    stage = (
        f"stage {rollout.stage + 1}/{rollout.stages} ({rollout.percentage:g}%)" if rollout.stage >= 0 else "not started"
    )
    why = f"  {rollout.reason}" if rollout.phase == "PAUSED" and rollout.reason else ""
    return f"▶ {rollout.plan.plan_id}  {stage}  {rollout.phase}{why}"


def _ended(last: list[Rollout]) -> str:
    if not last:
        return "No rollout plans"
    if all(rollout.phase == "COMPLETED" for rollout in last):
        return "✅ All rollouts completed successfully"
    words = {"COMPLETED": "completed", "ROLLED_BACK": "rolled back", "CANCELLED": "cancelled"}
    parts = []
    for phase, word in words.items():
        own = [rollout for rollout in last if rollout.phase == phase]
        names = ", ".join(f"{r.flag_key} ({r.reason})" for r in own) if phase == "ROLLED_BACK" else ""
        if own:
            parts.append(f"{len(own)} {word}" + (f": {names}" if names else ""))
    return ", ".join(parts)


def _alert(alert: AlertRow) -> str:
    times = f" ×{alert.times}" if alert.times > 1 else ""
    return f"[{alert.severity}] {alert.id}: {alert.message}{times}"


def _rollout_json(rollout: Rollout) -> dict[str, Any]:
    return {
        "plan": rollout.plan.plan_id,
        "flag_key": rollout.flag_key,
        "phase": rollout.phase,
        "stage": rollout.stage + 1 if rollout.stage >= 0 else None,
        "stages": rollout.stages,
        "percentage": rollout.percentage,
        "reason": rollout.reason,
    }
