"""The deployment report as plain values: the guide's seven sections, and the alerts and rollbacks behind them.

A number that was not measured is None and says why. Two reports of one store version are equal but for the time they
were made: everything is told as of the newest closed tick.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from phase4 import clock
from phase4.analysis.verdict import Assessment
from phase4.monitor import coverage as coverages
from phase4.monitor import criteria, statistics
from phase4.monitor.criteria import Judged
from phase4.monitor.judging import Followed, PlanJudge
from phase4.monitor.settings import MonitorSettings
from phase4.rollout import corrections, events
from phase4.rollout.events import Event, RolledBack, StageEntered
from phase4.rollout.plan import RolloutPlan
from phase4.store import answers, rollouts, ticks
from phase4.store.control import ControlStore, PlanRow

SCHEMA = "phase4/report/1"
NOT_MEASURED = {
    "validation": "no task was validated: truth validation is not in this version",
    "hooks": "no hook was run: hook interception is not in this version",
}


def make(store: ControlStore, settings: Mapping[str, Any], monitor: MonitorSettings, *, version: str) -> dict[str, Any]:
    """Return the report.

    Args:
        store: The control store.
        settings: Name -> value and origin of every setting, plain values.
        monitor: What the collector watches by.
        version: Of this program.
    """
    followed = {
        row.plan_id: PlanJudge.followed(store, row, interval_ms=monitor.interval_ms)[1] for row in store.plans()
    }
    until = _until_ms(store)
    seen = coverages.measure(
        store,
        until + min(30_000, monitor.interval_ms),
        interval_ms=monitor.interval_ms,
        from_ms=store.row("SELECT min(at_ms) FROM journal")[0],
    )
    judged = [Judged(plan=rollouts.plan_of(row), stages=_answers(followed[row.plan_id])) for row in store.plans()]
    checks = criteria.all_of(store, judged, seen, target=monitor.coverage_target, until_ms=until)
    size, peaks = store.row("SELECT size, peaks FROM audit_tree")
    return {
        "schema": SCHEMA,
        "created_ms": store.now(),
        "identity": {
            "version": version,
            "environment": settings["PHASE4_ENVIRONMENT"]["value"] if settings else None,
            "store_version": store.version,
            "from_ms": store.row("SELECT min(at_ms) FROM audit")[0],
            "until_ms": until,
            "audit": {"size": size, "peaks": bytes(peaks).hex()},
            "settings": dict(settings),
        },
        "flags": [_flag(store, flag.flag_key) for flag in store.flags()],
        "rollouts": [_rollout(store, row, followed[row.plan_id]) for row in store.plans()],
        "validation": {"measured": None, "why": NOT_MEASURED["validation"]},
        "hooks": {"measured": None, "why": NOT_MEASURED["hooks"]},
        "performance": _performance(store),
        "coverage": _coverage(seen),
        "criteria": [check.to_json() for check in checks],
        "alerts": [_alert(alert._asdict()) for alert in reversed(store.alerts(with_resolved=True))],
        "rollbacks": _rollbacks(store),
    }


def _until_ms(store: ControlStore) -> int:
    """Return up to when this store knows what happened."""
    newest = ticks.last(store)
    changed = store.row("SELECT coalesce(max(at_ms), 0) FROM audit")[0]
    return max(int(changed), newest.watermark_ms if newest is not None else 0)


def _flag(store: ControlStore, flag_key: str) -> dict[str, Any]:
    flag = store.flag(flag_key)
    toggles = store.rows("SELECT count(*) FROM audit WHERE object = ? AND action <> 'flag_created'", flag_key)[0][0]
    arms = statistics.of_flag(store, flag)
    return {
        "flag_key": flag_key,
        "enabled": flag.enabled,
        "percentage": flag.percentage,
        "held": flag.held,
        "held_reason": flag.held_reason,
        "version": flag.version,
        "changes": toggles,
        "arms": {name: arm.to_json() for name, arm in arms.items()},
    }


def _rollout(store: ControlStore, row: PlanRow, followed: Followed) -> dict[str, Any]:
    plan, happened = rollouts.plan_of(row), rollouts.events_of(store, row.plan_id)
    state = rollouts.state_of(store, row.plan_id)
    return {
        "plan": row.plan_id,
        "flag_key": plan.flag_key,
        "digest": row.digest,
        "created_ms": row.created_ms,
        "created_by": row.created_by,
        "phase": str(state.phase),
        "stages_planned": len(plan.stages),
        "stages": _stages(plan, happened, followed, state.ended_ms),
        "approvals": [_plain(event) for event in happened if event.kind.startswith("approval")],
        "overrides": [_plain(e) for e in happened if isinstance(e, StageEntered) and e.cause == "overridden"],
        "pauses": [_plain(event) for event in happened if event.kind in {"paused", "resumed"}],
        "events": [_plain(event) for event in happened],
    }


def _answers(followed: Followed) -> tuple[tuple[int, tuple[Assessment, ...]], ...]:
    return tuple((stage, tuple(each.answer for each in said)) for stage, said in followed.values())


def _stages(
    plan: RolloutPlan,
    happened: Sequence[Event],
    followed: Followed,
    ended_ms: int | None,
) -> list[dict[str, Any]]:
    entered = [event for event in happened if isinstance(event, StageEntered)]
    left = [*(event.at_ms for event in entered[1:]), ended_ms][: len(entered)]
    return [
        {
            "stage": event.stage + 1,
            "name": plan.stages[event.stage].name,
            "percentage": event.percentage,
            "entry": event.entry,
            "cause": str(event.cause),
            "entered_ms": event.at_ms,
            "left_ms": until,
            "guardrails": [answers.to_json(answer) for answer in followed.get(event.entry, (0, ()))[1]],
            "late": _late(happened, event.entry),
        }
        for event, until in zip(entered, left, strict=True)
    ]


def _late(happened: Sequence[Event], entry: int) -> dict[str, Any] | None:
    """Return what came too late to be judged in a stage entry, None without any."""
    found = corrections.of_entry(happened, entry)
    return None if found is None else {**_plain(found), "says": corrections.describe(found)}


def _performance(store: ControlStore) -> dict[str, Any]:
    columns = ("cpu_percent", "memory_mb", "response_ms")
    found = store.row(
        f"SELECT count(*), {', '.join(f'avg({name}), max({name})' for name in columns)} FROM tick"  # noqa: S608
    )
    measured = {name: {"mean": found[1 + 2 * place], "max": found[2 + 2 * place]} for place, name in enumerate(columns)}
    why = None if found[0] else "no collector has run"
    return {"ticks": found[0], **measured, "why": why}


def _coverage(seen: coverages.Coverage) -> dict[str, Any]:
    return {
        **seen._asdict(),
        "of_ticks": seen.of_ticks,
        "of_outcomes": seen.of_outcomes,
        "total": seen.total,
        "why": None if seen.total is not None else "nothing was expected",
    }


def _rollbacks(store: ControlStore) -> list[dict[str, Any]]:
    return [
        {"plan": row.plan_id, **_plain(event)}
        for row in store.plans()
        for event in rollouts.events_of(store, row.plan_id)
        if isinstance(event, RolledBack)
    ]


def _alert(values: dict[str, Any]) -> dict[str, Any]:
    values["count"], values["data"] = values.pop("times"), json.loads(values["data"])
    return values


def _plain(event: Event) -> dict[str, Any]:
    return {**events.to_json(event), "at_iso": clock.iso(event.at_ms)}
