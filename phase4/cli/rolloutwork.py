"""The work of `phase4 rollout`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from phase4 import clock
from phase4.cli import answering, budgeting, order
from phase4.cli.console import Console
from phase4.cli.order import with_store
from phase4.cli.planfile import document, limits_of
from phase4.cli.settings import settings_of
from phase4.durations import DAY_MS, show
from phase4.errors import NotBuilt, Refused, UsageError
from phase4.rollout import corrections, events
from phase4.rollout.events import DataCorrected
from phase4.rollout.guardrail_table import left_out
from phase4.rollout.plan import RolloutPlan, parse_plan
from phase4.rollout.state import RolloutState, replay
from phase4.store import answers, plans, rollouts, ticks
from phase4.store.control import ControlStore, FlagRow, Reply
from phase4.store.plans import Ordered

if TYPE_CHECKING:
    from phase4.rollout.forecast import Forecast
    from phase4.store.recent import Seen

RECENT_MS = 7 * DAY_MS
"""How far back outcomes say what an application reports."""
UNSIGNED = "unsigned: approvals carry the user's name and no signature yet"


@with_store
def create(args: Any, console: Console, store: ControlStore) -> int:
    """Make a pending plan."""
    from phase4.cli import forecasting, plancheck  # an order on a plan that is there needs no figures
    from phase4.config.plan_defaults import PlanDefaults

    if args.rehearsal is not None:
        raise NotBuilt("rollout create --rehearsal needs the live band, which this version does not have yet")
    settings = settings_of(store)
    defaults = PlanDefaults.of(settings)
    since_ms = order.now() - RECENT_MS
    measured = {flag.id: ticks.measures(store, flag.id, since_ms) for flag in store.flags()}
    flag = store.flag(args.flag)
    sketch = _plan(args, flag, 1, defaults, measured[flag.id])
    found, seen = plancheck.of_new(store, flag, sketch, interval_ms=settings.value("MONITORING_INTERVAL_MS"))
    if args.strict and found.is_underpowered:
        raise plancheck.refusal(found, f"rollout plan-check {args.file or plancheck.DEFAULT} --from-events --suggest")
    reply, plan = plans.create(
        store,
        args.flag,
        lambda flag, number: _plan(args, flag, number, defaults, measured[flag.id]),
        maximum=defaults.percentage_max,
        replaces=args.replace,
        actor=order.actor(),
        request_id=order.request_id(args),
    )
    names = [spec.name for specs in plan.guardrails for spec in specs]
    own = limits_of(defaults, measured[flag.id])
    missing = {} if "guardrails" in document(args.file)[0] else left_out(names, own)
    warnings = forecasting.warnings(found)
    _tell_plan(console, plan, reply.data["plan"], made=reply.data["made"], missing=missing)
    _tell_planning(console, found, seen, reply.data["plan"])
    for text in warnings:
        console.warn(text)
    data = {
        **reply.data,
        "digest": plan.digest,
        "stages": [_stage(plan, index) for index in range(len(plan.stages))],
        "alpha": budgeting.rows(plan),
        "left_out": missing,
        "planning": {**forecasting.to_json(found), "seen": plancheck.seen_json(seen)},
    }
    console.result("rollout create", data, warnings)
    return 0


@with_store
def start(args: Any, console: Console, store: ControlStore) -> int:
    """Enter the first stage."""
    if not settings_of(store).value("MONITORING_ENABLED"):
        raise Refused("monitoring is off: nobody would watch the rollout", hint="MONITORING_ENABLED=true")
    warnings = []
    if store.lease("collector", order.now()) is None:
        warnings.append("no collector runs, so nothing is observed and nothing promoted: phase4 monitor run")
    return _tell(args, console, plans.start(store, _ordered(args)), warnings=warnings)


@with_store
def approve(args: Any, console: Console, store: ControlStore) -> int:
    """Approve the next stage."""
    for option, part in (("evidence", "reviews"), ("key", "signing keys")):
        if getattr(args, option) is not None:
            raise NotBuilt(f"rollout approve --{option} needs {part}, which this version does not have yet")
    if args.override and not args.reason:
        raise UsageError("an override needs a reason", hint=f'rollout approve {args.plan} --override --reason "TEXT"')
    return _tell(args, console, plans.approve(store, _ordered(args), overrides=args.override))


@with_store
def reject(args: Any, console: Console, store: ControlStore) -> int:
    """Refuse the next stage."""
    return _tell(args, console, plans.reject(store, _ordered(args)))


@with_store
def pause(args: Any, console: Console, store: ControlStore) -> int:
    """Hold a plan."""
    return _tell(args, console, plans.pause(store, _ordered(args)))


@with_store
def resume(args: Any, console: Console, store: ControlStore) -> int:
    """Let a plan go on."""
    return _tell(args, console, plans.resume(store, _ordered(args)))


@with_store
def cancel(args: Any, console: Console, store: ControlStore) -> int:
    """End a plan."""
    return _tell(args, console, plans.cancel(store, _ordered(args)))


@with_store
def rollback(args: Any, console: Console, store: ControlStore) -> int:
    """Switch the feature off."""
    why = args.text or args.reason or "manual rollback"
    return _tell(args, console, plans.roll_back(store, _ordered(args), why))


@with_store
def status(args: Any, console: Console, store: ControlStore) -> int:
    """Print where plans are."""
    from phase4.cli import watch

    if args.watch:
        return watch.follow(store, console, lambda: _status_lines(store, args.plan)[0])
    lines, data = _status_lines(store, args.plan)
    for text in lines:
        console.line(text)
    console.result("rollout status", {"plans": data})
    return 0


@with_store
def history(args: Any, console: Console, store: ControlStore) -> int:
    """Print what happened to plans."""
    flag_id = store.flag(args.flag).id if args.flag else None
    rows = store.history(flag_id)
    data = []
    for seq, at_ms, plan_id, kind, body, request_id in rows:
        event = _kept(body)
        console.line(f"{seq:>4}  {clock.iso(at_ms)}  {plan_id:<28} {kind:<18} {_why(event)}")
        named = {"seq": seq, "at_ms": at_ms, "at_iso": clock.iso(at_ms), "plan": plan_id, "kind": kind}
        data.append({**named, "event": event, "request_id": request_id})
    if not rows:
        console.line("Nothing has happened yet.")
    console.result("rollout history", {"events": data})
    return 0


def _kept(body: str) -> dict[str, Any]:
    """Return an event as it is kept, `unreadable` where that is none: what can be read is printed all the same."""
    try:
        event = json.loads(body)
    except ValueError:
        event = None
    return event if isinstance(event, dict) else {"unreadable": body}


def _why(event: dict[str, Any]) -> str:
    if "unreadable" in event:
        return "cannot be read: phase4 store check"
    if event.get("kind") == DataCorrected.kind:
        known = events.from_json(event)
        assert isinstance(known, DataCorrected)
        return corrections.describe(known)
    return event.get("note") or event.get("reason") or event.get("cause") or event.get("approver") or ""


def _ordered(args: Any) -> Ordered:
    return Ordered(args.plan, order.actor(), order.request_id(args), args.reason)


def _tell(args: Any, console: Console, reply: Reply, *, warnings: Sequence[str] = ()) -> int:
    """Say where a plan is after an order."""
    data = reply.data
    stage = f"stage {data['stage']}/{data['stages']} ({data['percentage']:g} %)" if data["stage"] else "not started"
    already = " (already so)" if data["already"] else ""
    console.line(f"{args.plan}: {data['phase']}, {stage}{already}")
    if args.action == "approve":
        entered = data["event"] is not None and data["event"]["kind"] == "stage_entered"
        given = "approved" if entered else f"{data['approvals']} of {data['needed']} approvals"
        console.line(f"{given}; {UNSIGNED}")
    if args.action == "rollback" and not data["already"]:
        console.line("Flag off, 0 %, held, alert raised, reason and time recorded.")
    for text in warnings:
        console.warn(text)
    console.result(f"rollout {args.action}", data, warnings)
    return 0


def _plan(args: Any, flag: FlagRow, number: int, defaults: Any, measured: frozenset[str]) -> RolloutPlan:
    """Return the plan of the file, or the guide's, under the settings of this moment and for what is reported."""
    limits = limits_of(defaults, measured)
    body, source = document(args.file)
    if args.accelerate and isinstance(body.get("stages"), list):
        body["stages"] = [{**stage, "bake": "0s"} for stage in body["stages"]]
    plan = parse_plan(body, flag_key=flag.flag_key, plan_id=f"{flag.flag_key}.{number}", source=source, limits=limits)
    return replace(plan, first_entry=flag.entries + 1)


def _tell_plan(console: Console, plan: RolloutPlan, plan_id: str, *, made: bool, missing: Mapping[str, str]) -> None:
    console.line(f"{plan_id}: {'made, PENDING' if made else 'is there already, PENDING'} (sha256:{plan.digest[:12]})")
    for index, stage in enumerate(plan.stages):
        gate = "; after an approval" if plan.needs_approval(index) else ""
        console.line(
            f"  {stage.name:<8} {stage.percentage:g} %: watched {show(stage.active_min)}, planned {show(stage.bake)},"
            f" pauses after {show(stage.max_duration)}{gate}"
        )
    for text in budgeting.lines(plan, console.width - 2):
        console.line(f"  {text}")
    for why in dict.fromkeys(missing.values()):
        names = ", ".join(name for name, reason in missing.items() if reason == why)
        console.line(f"  without {names}: {why} in {show(RECENT_MS)}; `measures` in a plan file changes that")
    console.line(f"  {budgeting.promise(plan)}")


def _tell_planning(console: Console, found: Forecast, seen: Seen | None, plan_id: str) -> None:
    """Say in short whether the plan reaches its verdicts; `plan-check` says the rest."""
    from phase4.cli import forecasting, plancheck

    if seen is not None:
        console.line(f"  {plancheck.seen_line(seen)}")
    if found.is_underpowered:
        console.line(f"  The ways out: phase4 rollout plan-check {plan_id} --from-events")
    else:
        console.line(f"  {forecasting.summary(found).replace(' PLAN ', f' {plan_id} ')}")
    console.line(f"Next: phase4 rollout start {plan_id}")


def _stage(plan: RolloutPlan, index: int) -> dict[str, Any]:
    stage = plan.stages[index]
    values = {name: getattr(stage, name) for name in stage.__dataclass_fields__}
    return {**values, "approval": plan.needs_approval(index)}


def _status_lines(store: ControlStore, plan_id: str | None) -> tuple[list[str], list[dict[str, Any]]]:
    rows = [store.plan(plan_id)] if plan_id else [own[-1] for f in store.flags() if (own := store.plans(f.id))]
    lines: list[str] = []
    data = []
    for row in rows:
        plan, happened = rollouts.plan_of(row), rollouts.events_of(store, row.plan_id)
        state = replay(happened)
        where = plans.where(store, row, plan)
        elapsed = state.elapsed_ms(order.now()) if state.entered_ms and state.ended_ms is None else None
        waits = _waits_for(plan, state, elapsed)
        said = answers.kept(store, row.plan_id, state.entry) if state.ended_ms is None else []
        active = said[0]["active_ms"] if said else None
        budget = budgeting.of_stage(plan, state.stage)
        late = corrections.of_entry(happened, state.entry)
        told = {"elapsed_ms": elapsed, "active_ms": active, "waits_for": waits, "budget": budget, "guardrails": said}
        told["late"] = None if late is None else events.to_json(late)
        data.append({**where, "flag_key": plan.flag_key, **told})
        stage = (
            f"stage {where['stage']}/{where['stages']} ({where['percentage']:g} %)" if where["stage"] else "not started"
        )
        lines.append(f"{row.plan_id:<28} {state.phase:<18} {stage:<20} {waits}")
        lines += _said(plan, state, said)
        if late is not None:
            lines.append(f"  late: {corrections.describe(late)}")
    return lines or ["No rollout plans."], data


def _said(plan: RolloutPlan, state: RolloutState, said: Sequence[dict[str, Any]]) -> list[str]:
    """Return how long a stage was watched, and a line for each guardrail."""
    if not said:
        return []
    watched = f"{show(said[0]['active_ms'])} of {show(plan.stages[state.stage].active_min)}"
    lines = [f"  watched {watched}; {answers.summary(said)}"]
    lines.append(f"  {budgeting.stage_line(plan, state.stage)}")
    lines += [f"  {line}" for line in answering.answer_lines(said)]
    return [*lines, *answering.hold_lines(said)]


def _waits_for(plan: RolloutPlan, state: RolloutState, elapsed: int | None) -> str:
    match str(state.phase):
        case "PENDING":
            return f"waits for: phase4 rollout start {plan.plan_id}"
        case "PROGRESSING":
            stage = plan.stages[state.stage]
            return f"{show(elapsed or 0)} of {show(stage.bake)} planned; promotes on PASS"
        case "AWAITING_APPROVAL":
            return f"waits for: phase4 rollout approve {plan.plan_id}"
        case "PAUSED":
            return f"paused ({state.pause_reason}); waits for: phase4 rollout resume {plan.plan_id}"
        case _:
            return ""
