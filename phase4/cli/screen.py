"""The status screen: the guide's block to the letter, then what holds health and who watches."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from phase4.cli.stopped import Stopped
from phase4.durations import show
from phase4.monitor import coverage as coverages
from phase4.monitor import health as healths
from phase4.monitor.coverage import Coverage
from phase4.monitor.lease import standbys
from phase4.rollout.state import RolloutState
from phase4.store import answers, orders
from phase4.store.control import AlertRow, ControlStore, FlagRow, PlanRow
from phase4.store.ticks import COLLECTOR


class Rollout(NamedTuple):
    """One plan on the screen."""

    plan: PlanRow
    flag_key: str
    phase: str
    stage: int
    stages: int
    percentage: float
    reason: str | None
    watching: str
    """How long the stage was watched, and what its guardrails say; empty where nobody looked yet."""


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
    standby: list[str]
    """Who stands by."""
    coverage: Coverage
    stopped: dict[str, str]
    """Keys of the flags that an emergency stops which is not recorded yet, and why."""


def look(store: ControlStore, now_ms: int, *, interval_ms: int, target: float) -> Status:
    """Return what the screen shows.

    Args:
        store: The control store.
        now_ms: The time.
        interval_ms: Length of a tick.
        target: Lowest acceptable coverage.
    """
    flags = store.flags()
    stopped = Stopped(store)
    reasons = {flag.flag_key: why for flag in flags if (why := stopped.why(flag.flag_key)) is not None}
    flags = [stopped.off(flag) for flag in flags]
    plans = {flag.id: store.plans(flag.id) for flag in flags}
    last = [_rollout(store, plans[flag.id][-1], flag, now_ms) for flag in flags if plans[flag.id]]
    live = [rollout for rollout in last if rollout.plan.ended_ms is None]
    alerts = store.alerts()
    watcher = store.lease(COLLECTOR, now_ms)
    seen = coverages.measure(store, now_ms, interval_ms=interval_ms)
    health, held_by = healths.judge(
        is_any_on=any(flag.enabled for flag in flags),
        is_watched=watcher is not None,
        alerts=alerts,
        coverage=seen.total,
        target=target,
        stopped=stopped.told(),
    )
    standby = standbys(store, now_ms)
    return Status(str(health), list(held_by), flags, live, last, alerts, watcher, standby, seen, reasons)


def render(status: Status) -> list[str]:
    """Return the lines of the screen."""
    lines = ["📊 Phase 4 System Status", "", f"🏥 Health: {status.health}"]
    lines += [f"  ↳ {reason}" for reason in status.held_by]
    lines += ["", f"🏁 Feature Flags ({len(status.flags)}):"]
    lines += [f"  {_flag(flag, status.stopped.get(flag.flag_key))}" for flag in status.flags] or ["  No flags"]
    lines += ["", f"📈 Active Rollouts ({len(status.live)}):"]
    lines += [f"  {_live(rollout)}" for rollout in status.live] or [f"  {_ended(status.last)}"]
    lines += ["", f"⚠️  Recent Alerts ({len(status.alerts)}):"]
    lines += [f"  {_alert(alert)}" for alert in status.alerts] or ["  🎉 No active alerts!"]
    return [*lines, "", f"🛰  Monitoring: {_watching(status)}"]


def to_json(status: Status) -> dict[str, Any]:
    """Return the screen as plain values."""
    return {
        "health": status.health,
        "held_by": status.held_by,
        "flags": [{**orders.shown(flag), "stopped": status.stopped.get(flag.flag_key)} for flag in status.flags],
        "rollouts": [_rollout_json(rollout) for rollout in status.last],
        "alerts": [alert_json(alert, status.flags) for alert in status.alerts],
        "monitoring": {
            "collector": status.watcher,
            "standby": status.standby,
            "coverage": status.coverage.total,
            "of_ticks": status.coverage.of_ticks,
            "of_outcomes": status.coverage.of_outcomes,
            "window_ms": status.coverage.until_ms - status.coverage.from_ms,
        },
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


def _watching(status: Status) -> str:
    if status.watcher is None:
        text = "no collector is running"
    else:
        text = "collector running" + (f" ({len(status.standby)} standby)" if status.standby else "")
    if status.coverage.total is None:
        return text
    span = show(status.coverage.until_ms - status.coverage.from_ms)
    return f"{text}, coverage {100 * status.coverage.total:.1f} % over {span}"


def _rollout(store: ControlStore, plan: PlanRow, flag: FlagRow, now_ms: int) -> Rollout:
    from phase4.rollout.events import DataCorrected
    from phase4.rollout.state import replay
    from phase4.store import rollouts

    happened = rollouts.events_of(store, plan.plan_id)
    state = replay(happened)
    stages = len(json.loads(plan.body)["stages"])
    last = next((event for event in reversed(happened) if not isinstance(event, DataCorrected)), None)
    reason = getattr(last, "note", None) or getattr(last, "reason", None)
    watching = _verdicts(store, plan, state, now_ms) if state.ended_ms is None else ""
    return Rollout(plan, flag.flag_key, str(state.phase), state.stage, stages, state.percentage, reason, watching)


def _verdicts(store: ControlStore, plan: PlanRow, state: RolloutState, now_ms: int) -> str:
    said = answers.kept(store, plan.plan_id, state.entry)
    if not said:
        return ""
    stage = json.loads(plan.body)["stages"][state.stage]
    active = f"active {show(said[0]['active_ms'])} of {show(stage['active_min'])}"
    planned = f"{show(state.elapsed_ms(now_ms))} of {show(stage['bake'])}" if stage["bake"] else "no planned time"
    return f"{active}, {planned}, {answers.summary(said)}"


def _flag(flag: FlagRow, stopped: str | None) -> str:
    if flag.held:
        return f"🔴 {flag.flag_key} (held: {flag.held_reason})"
    if stopped is not None:
        return f"🔴 {flag.flag_key} (stopped: {stopped})"
    if not flag.enabled:
        return f"⚪ {flag.flag_key} (off, {flag.percentage:g}%)"
    return f"🟢 {flag.flag_key} ({flag.percentage:g}%)"


def _live(rollout: Rollout) -> str:
    stage = (
        f"stage {rollout.stage + 1}/{rollout.stages} ({rollout.percentage:g}%)" if rollout.stage >= 0 else "not started"
    )
    why = f"  {rollout.reason}" if rollout.phase == "PAUSED" and rollout.reason else ""
    watching = f"  {rollout.watching}" if rollout.watching else ""
    return f"▶ {rollout.plan.plan_id}  {stage}  {rollout.phase}{watching}{why}"


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
