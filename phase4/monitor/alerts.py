"""What the monitor tells people: rules that hold raise an alert, rules that hold again count it.

One transaction a round at most. An alert that is not critical and has not been seen for an hour resolves itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phase4.durations import HOUR_MS, show
from phase4.ids import new_id
from phase4.monitor.coverage import Coverage
from phase4.monitor.rounds import Round
from phase4.monitor.settings import MonitorSettings
from phase4.monitor.standing import ACTOR
from phase4.rollout.events import PauseReason
from phase4.rollout.state import Phase, RolloutState
from phase4.store.control import Change, ControlStore, FlagRow
from phase4.store.ticks import Tick

QUIET_MS = HOUR_MS
"""An alert that is not critical resolves itself when it has not been seen for this long."""
REPEAT_MS = 5 * 60_000
"""How often a critical alert that nobody took up is told again."""
EXPIRY_MS = 4 * HOUR_MS
"""How long before an approval expires people are told."""
LOST_SHARE = 0.001
"""Proportion of a tick's events above which what was lost or set aside is an alert."""
GAP_INTERVALS = 3
SUSTAINED = 3
"""Ticks in a row that exceed a limit before it is an alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule that holds now."""

    type: str
    severity: str
    rule: str
    message: str
    flag: FlagRow | None = None
    plan_id: str | None = None
    notifies: bool | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


def of_round(
    done: Round,
    coverage: Coverage,
    settings: MonitorSettings,
    *,
    recent: Sequence[Tick],
    flags: Iterable[FlagRow],
) -> list[Finding]:
    """Return the rules that hold after a round.

    Args:
        done: The round.
        coverage: Of the window that status shows.
        settings: The limits.
        recent: The newest ticks before the round, oldest first.
        flags: All flags.
    """
    if not done.closed:
        return []
    found = [*_usage([*recent, *done.closed][-SUSTAINED:], settings), *_events(done)]
    before = recent[-1] if recent else None
    if done.trouble is not None:
        text = f"event files cannot be kept: {done.trouble}"
        found.append(Finding(type="system_health", severity="high", rule="event files", message=text))
    share = coverage.total
    if share is not None and share < settings.coverage_target:
        text = f"coverage {share:.1%} is below {settings.coverage_target:.1%}"
        found.append(Finding(type="coverage", severity="medium", rule="target", message=text))
    if before is not None and any(flag.enabled and flag.updated_ms <= before.closed_ms for flag in flags):
        gap_ms = done.closed[-1].closed_ms - before.closed_ms
        if gap_ms > GAP_INTERVALS * settings.interval_ms:
            text = f"nobody watched for {show(gap_ms)} while a flag was on"
            found.append(Finding(type="system_health", severity="high", rule="no collector", message=text))
    return found


def of_plan(plan_id: str, state: RolloutState, flag: FlagRow, now_ms: int) -> list[Finding]:
    """Return the rules that hold for one live plan: they stay open for as long as they hold."""
    found = []

    def add(severity: str, rule: str, message: str, *, notifies: bool = False) -> None:
        found.append(
            Finding(
                type="rollout",
                severity=severity,
                rule=rule,
                message=message,
                flag=flag,
                plan_id=plan_id,
                notifies=notifies,
            )
        )

    if state.phase is Phase.AWAITING_APPROVAL and state.approval_expires_ms is not None:
        left_ms = state.approval_expires_ms - now_ms
        stage = f"stage {state.stage + 2}"
        add("low", f"approval {plan_id} {state.stage + 2}", f"{plan_id} asks approval for {stage}")
        if 0 < left_ms <= EXPIRY_MS:
            rule = f"expires {plan_id} {state.approval_expires_ms}"
            add("low", rule, f"the approval of {stage} of {plan_id} expires in {show(left_ms)}", notifies=True)
    if state.pause_reason is PauseReason.MAX_DURATION:
        add("medium", f"max_duration {plan_id}", f"{plan_id} reached its longest time in this stage")
    return found


def settle(store: ControlStore, findings: Iterable[Finding], *, now_ms: int) -> None:
    """Raise what holds, resolve what has been quiet, and repeat what nobody took up. Nothing to do writes nothing."""
    found = list(findings)
    quiet = [
        alert for alert in store.alerts() if alert.severity != "critical" and now_ms - alert.last_seen_ms >= QUIET_MS
    ]
    again = store.rows(
        "SELECT alert.id FROM alert WHERE severity = 'critical' AND resolved_ms IS NULL AND acknowledged_ms IS NULL"
        # not while an earlier notice of it waits for its receiver
        " AND NOT EXISTS (SELECT 1 FROM outbox WHERE alert_id = alert.id AND done_ms IS NULL)"
        " AND (SELECT max(created_ms) FROM outbox WHERE alert_id = alert.id) <= ?",
        now_ms - REPEAT_MS,
    )
    if not (found or quiet or again):
        return

    def work(change: Change) -> dict[str, Any]:
        for each in found:
            change.alert(
                *(each.type, each.severity, each.message),
                rule=each.rule,
                flag=each.flag,
                plan_id=each.plan_id,
                data=each.data,
                notifies=each.notifies,
            )
        raised = {(each.type, each.rule) for each in found}
        for alert in quiet:
            if (alert.type, alert.rule) not in raised:
                change.resolve_alert(alert.id, "not seen for an hour")
        for (alert_id,) in again:
            change.notice(alert_id, "repeat")
        return {}

    store.execute("alerts", {}, work, actor=ACTOR, request_id=new_id())


def _usage(recent: Sequence[Tick], settings: MonitorSettings) -> list[Finding]:
    """Return the limits that were exceeded in each of the newest ticks: one busy moment is no alert."""
    if len(recent) < SUSTAINED:
        return []
    measured = [
        ("memory", _least(tick.memory_mb for tick in recent), settings.memory_mb, "MB of memory"),
        ("cpu", _least(tick.cpu_percent for tick in recent), settings.cpu_percent, "% of a core"),
        ("response", _least(tick.response_ms for tick in recent), settings.response_ms, "ms for one round"),
    ]
    return [
        Finding(
            type="performance",
            severity="medium",
            rule=rule,
            message=f"the collector takes {value:.0f} {unit}, its limit is {limit:g}",
        )
        for rule, value, limit, unit in measured
        if value is not None and value > limit
    ]


def _least(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else min(value for value in known if value is not None)


def _events(done: Round) -> list[Finding]:
    found = []
    if done.set_aside > LOST_SHARE * max(done.rows, 1):
        text = f"{done.set_aside} of {done.rows} events were set aside: phase4 events list"
        found.append(Finding(type="coverage", severity="medium", rule="quarantine", message=text))
    if done.too_late > LOST_SHARE * max(done.rows, 1):
        text = f"{done.too_late} events came more than an hour late: kept, and shown to no judge"
        found.append(Finding(type="coverage", severity="medium", rule="late", message=text))
    return found
