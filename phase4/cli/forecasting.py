"""A plan's forecast as people and programs read it: a table where it fits, one card for each guardrail elsewhere."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from phase4.analysis.guardrail_state import is_tilted
from phase4.analysis.specs import (
    MeanGuardrail,
    QuantileGuardrail,
    RateGuardrail,
    RatioGuardrail,
    is_relative,
)
from phase4.analysis.verdict import Role
from phase4.cli.console import percent, rate_text
from phase4.durations import show
from phase4.rollout import waysout
from phase4.rollout.forecast import Check, Forecast, GuardForecast, Need, Notice, StageForecast, arm_share
from phase4.rollout.waysout import Way

NARROW = 60
"""Columns below which nothing stands in a table."""
_HALF = ("at half", "limit")
_LESS = (_HALF,)
"""Heads of columns that are left out where not all fit."""
_Column = tuple[tuple[str, str], list[str]]
PASTE = "phase4 rollout plan-check PLAN --users N --traffic N/day"


# ---------------------------------------------------------------------------------------------------------------- text
def lines(found: Forecast, width: int) -> list[str]:
    """Return the whole forecast, none of its lines wider than `width` where words allow it."""
    text = [*_head(found, width)]
    for place, stage in enumerate(found.stages, 1):
        text += ["", *_wrapped(_title(found, stage, place), width)]
        text += _guards(found, stage, width)
        text += _notices(stage, width)
    return [*text, "", *warning_lines(found, width), *_wrapped(summary(found), width)]


def warning_lines(found: Forecast, width: int) -> list[str]:
    """Return what would hold, with its ways out; empty if nothing would."""
    text: list[str] = []
    for stage, what, ways in troubles(found):
        text += _wrapped(f"{stage.check if what is None else what.check}: {_trouble(stage, what)}", width)
        told = [way for way in ways if way.kind != "override"]
        label = max((len(way.kind) for way in told), default=0)
        for way in told:
            says = way.says if way.setting is None else f"{way.setting}   ({way.says})"
            text += _wrapped(says, width, first=f"  {way.kind:<{label}}  ")
        text.append("")
    return [*text, *_wrapped(f"Or {waysout.OVERRIDE}", width), ""] if text else []


def warnings(found: Forecast) -> list[str]:
    """Return one line for each guardrail or stage that would hold."""
    return [f"{_loud(stage, what)}: {_trouble(stage, what)}" for stage, what, _ in troubles(found)]


def troubles(found: Forecast) -> list[tuple[StageForecast, GuardForecast | None, list[Way]]]:
    """Return (stage, guardrail, ways out) of all that would hold; None stands for the watched time of the stage."""
    text: list[tuple[StageForecast, GuardForecast | None, list[Way]]] = []
    for stage in found.stages:
        if not stage.is_watched:
            text.append((stage, None, waysout.of_watching(stage)))
        text += [
            (stage, guard, waysout.of_guard(stage, guard, found.traffic)) for guard in stage.guards if guard.check.warns
        ]
    return text


def summary(found: Forecast) -> str:
    """Return what the check comes to, in a sentence or two."""
    if not found.traffic.is_known:
        return f"The traffic is not known, so when a stage reaches its verdict is not either: {PASTE}"
    held = [stage.stage.name for stage in found.stages if stage.check.warns]
    if held:
        names = ", ".join(dict.fromkeys(held))
        return f"{found.check}: this plan would hold in {names} and ask a person. --suggest prints one that would not."
    if found.earliest_ms is None or found.typical_ms is None:
        text = "OK: enough users for every verdict; when it comes is not known: --traffic N/day tells."
        return f"{text} {_chance(found)}"
    approvals = any(found.plan.needs_approval(index) for index in range(len(found.stages)))
    more = ", and the time that approvals take" if approvals else ""
    typical = "the same" if found.typical_ms == found.earliest_ms else show(found.typical_ms)
    done = f"Complete after {show(found.earliest_ms)}, typically {typical}{more}."
    return f"OK: every stage can reach its verdict. {done} {_chance(found)}"


def _chance(found: Forecast) -> str:
    return f"{percent(found.chance or 0.0)} of the rollouts reach all of them without an override."


def _head(found: Forecast, width: int) -> Iterator[str]:
    traffic, base = found.traffic, found.base
    parts = [f"{traffic.users:,.0f} users" if traffic.users else "users not known"]
    parts.append(f"{traffic.requests_per_day:,.0f} requests a day" if traffic.requests_per_day else "traffic not known")
    rates = sorted(set(base.rates.values()))
    told = " to ".join(dict.fromkeys(rate_text(rate) for rate in (rates[0], rates[-1])))
    yield from _wrapped(f"{'; '.join(parts)}; failures without the feature: {told} ({base.origin})", width)
    if traffic.is_upper_limit:
        yield from _wrapped(
            "Each request is counted as a new user: an upper limit. --users N says how many there are.", width
        )


def _title(found: Forecast, stage: StageForecast, place: int) -> str:
    parts = [f"stage {place} of {len(found.stages)}, {stage.stage.name}: {stage.stage.percentage:g} %"]
    if stage.users is not None:
        parts.append(f"{stage.users:,.0f} users")
    if stage.requests_per_day is not None:
        parts.append(f"{stage.requests_per_day:,.0f} requests a day")
    watched = f" (watched time takes {show(stage.watched_ms)})" if stage.watched_ms > stage.stage.bake else ""
    parts.append(f"at least {show(stage.min_ms)}{watched}, pauses after {show(stage.stage.max_duration)}")
    return ", ".join(parts)


def _guards(found: Forecast, stage: StageForecast, width: int) -> list[str]:
    guards = [guard for guard in stage.guards if guard.check is not Check.SHOWN]
    if not guards:
        return _shown(stage, width)
    return [*_deciding(found, stage, guards, width), *_bursts(guards, width), *_shown(stage, width)]


def _bursts(guards: Sequence[GuardForecast], width: int) -> list[str]:
    """Return for which guardrails the figures are too small: those whose requests may come in bursts."""
    names = [guard.spec.name for guard in guards if is_tilted(guard.spec)]
    text = (
        "as if requests failed independently; with what is allowed for bursts they take 3 to 7 times as many in the"
        " first stage, and 2 to 3 times later, when control has shown how much it takes"
    )
    return _wrapped(f"{', '.join(names)}: {text}", width, first="  ") if names else []


def _shown(stage: StageForecast, width: int) -> list[str]:
    """Return which guardrails decide nothing: what they need holds nobody."""
    names = [guard.spec.name for guard in stage.guards if guard.check is Check.SHOWN]
    return _wrapped(", ".join(names), width, first="  only shown: ") if names else []


def _deciding(found: Forecast, stage: StageForecast, guards: Sequence[GuardForecast], width: int) -> list[str]:
    columns = _columns(found, stage, guards)
    names, checks = [_name(guard) for guard in guards], [str(guard.check) for guard in guards]
    for left_out in range(len(_LESS) + 1):
        kept = [(head, cells) for head, cells in columns if head not in _LESS[:left_out]]
        rows = _table(names, kept, checks)
        if width >= NARROW and max(map(len, rows)) <= width:
            return rows
    text = []
    for place, name in enumerate(names):
        text.append(f"  {name}: {checks[place]}")
        told = [(" ".join(head).strip(), cells[place]) for head, cells in columns if cells[place] not in {"", "-"}]
        text += [f"    {head:<16} {cell}" for head, cell in told]
    return text


def _table(names: Sequence[str], columns: Sequence[_Column], checks: Sequence[str]) -> list[str]:
    label = max(map(len, names))
    widths = [max(map(len, (*head, *cells))) for head, cells in columns]
    heads = [_row("", [head[part] for head, _ in columns], "", label, widths) for part in (0, 1)]
    rows = zip(names, zip(*(cells for _, cells in columns), strict=True), checks, strict=True)
    return [*heads, *(_row(name, cells, check, label, widths) for name, cells, check in rows)]


def _columns(found: Forecast, stage: StageForecast, guards: Sequence[GuardForecast]) -> list[_Column]:
    """Return (head in two lines, a cell for each guardrail) of the columns that say something."""
    at = [[_count(need.units) for need in guard.needs] if _asks(guard) else ["-"] for guard in guards]
    least, most = show(min(stage.min_ms, stage.stage.max_duration)), show(stage.stage.max_duration)
    columns = [(("needs,", "clean"), [row[0] for row in at])]
    columns.append((("at", _base_text(found)), [row[1] if len(row) > 1 else "" for row in at]))
    if found.base.origin == "assumed":
        columns.append((_HALF, [row[2] if len(row) > 2 else "" for row in at]))
    if not found.traffic.is_known:
        columns.append((("of users", "in all"), [_in_all(stage, guard) if _asks(guard) else "-" for guard in guards]))
    if stage.min_ms < stage.stage.max_duration:
        columns.append((("come in", least), [_count(guard.by_min) if _asks(guard) else "-" for guard in guards]))
    columns.append(
        (
            ("in", most) if stage.min_ms < stage.stage.max_duration else ("come in", most),
            [_count(guard.by_max) if _asks(guard) else "-" for guard in guards],
        )
    )
    columns.append((("", "median"), [_time(guard.at_base.at_ms) if _asks(guard) else "-" for guard in guards]))
    chances = ["-" if guard.chance is None or not _asks(guard) else percent(guard.chance) for guard in guards]
    columns.append((("", "chance"), chances))
    return [(head, cells) for head, cells in columns if any(cell not in {"", "-"} for cell in cells)]


def _asks(guard: GuardForecast) -> bool:
    """Return whether PASS asks for units at all."""
    return guard.at_best.units > 0.0


def _in_all(stage: StageForecast, guard: GuardForecast) -> str:
    share = arm_share(guard.spec, stage.stage.percentage)
    return _count(math.ceil(guard.at_best.units / share) if share and guard.at_best.units < math.inf else math.inf)


def _row(name: str, cells: Sequence[str], check: str, label: int, widths: Sequence[int]) -> str:
    told = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
    return "  " + " ".join([f"{name:<{label}}", *told, check]).rstrip()


def _notices(stage: StageForecast, width: int) -> list[str]:
    """Return how long defects last before they are noticed."""
    text = []
    for guard in stage.guards:
        told = [_noticed(stage, guard, notice) for notice in guard.notices]
        if guard.least_ratio is not None:
            told.append(f"in {show(min(stage.min_ms, stage.stage.max_duration))} from x{guard.least_ratio:.1f} on")
        if told and guard.spec.role is not Role.OBSERVE and stage.requests_per_day is not None:
            text += _wrapped("; ".join(told), width, first=f"  {guard.spec.name} notices ")
    return text


def _noticed(stage: StageForecast, guard: GuardForecast, notice: Notice) -> str:
    what = f"x{notice.times:g}" if is_relative(guard.spec) else rate_text(notice.rate)
    most = stage.stage.max_duration
    times = [
        "not in this stage" if time is None or time > most else f"after {show(time)}"
        for time in (notice.at_ms, notice.late_ms)
    ]
    if times[0] == times[1]:
        return f"{what} {times[0]}"
    return f"{what} {times[0]}, if it begins late {times[1]}"


def _trouble(stage: StageForecast, guard: GuardForecast | None) -> str:
    most = show(stage.stage.max_duration)
    if guard is None:
        needed = f"{show(stage.stage.active_min)} of watched time take {show(stage.watched_ms)}"
        return f"{stage.stage.name}: {needed} with so few requests, and it pauses after {most}"
    where = f"{stage.stage.name}, {guard.spec.name}"
    comes = _count(guard.by_max)
    match guard.check:
        case Check.ABOVE_LIMIT:
            assert isinstance(guard.spec, RateGuardrail)
            return (
                f"{where}: {rate_text(guard.base_rate or 0.0)} fail without the feature, the limit is {_limit(guard)}"
            )
        case Check.CANNOT_PASS if isinstance(guard.spec, RateGuardrail) and guard.spec.prove:
            needed = f"{_count(guard.at_best.units)} {guard.spec.unit}s without a failure prove {_limit(guard)}"
            return f"{where}: {needed}, {comes} come in {most}"
        case Check.CANNOT_PASS:
            each = " in each arm" if is_relative(guard.spec) else ""
            return f"{where}: needs {_count(guard.at_best.units)} {guard.spec.unit}s{each}, {comes} come in {most}"
        case _:
            chance = percent(guard.chance or 0.0)
            at = f"at {rate_text(guard.base_rate or 0.0)}"
            return (
                f"{where}: {_count(guard.at_base.units)} {guard.spec.unit}s {at}, {comes} come in {most}: {chance} pass"
            )


def _loud(stage: StageForecast, guard: GuardForecast | None) -> str:
    check = stage.check if guard is None else guard.check
    return f"UNDERPOWERED ({str(check).lower()})" if check is not Check.UNDERPOWERED else str(check)


def _name(guard: GuardForecast) -> str:
    name = guard.spec.name
    match guard.spec:
        case RateGuardrail(prove=True):
            return f"{name} {_limit(guard)}"
        case RatioGuardrail() | QuantileGuardrail() | MeanGuardrail():
            return f"{name}, each arm"
        case _:
            return name


def _limit(guard: GuardForecast) -> str:
    limit = getattr(guard.spec, "limit", 0.0)
    return f"> {rate_text(1.0 - limit)}" if guard.spec.name == "success_rate" else f"< {rate_text(limit)}"


def _base_text(found: Forecast) -> str:
    rates = set(found.base.rates.values())
    return rate_text(rates.pop()) if len(rates) == 1 else "the base"


def _count(value: float | None) -> str:
    if value is None:
        return "-"
    return "never" if value == math.inf else f"{round(value):,}"


def _time(time_ms: float | None) -> str:
    return "-" if time_ms is None else show(time_ms)


def _wrapped(text: str, width: int, *, first: str = "") -> list[str]:
    return textwrap.wrap(
        text, max(width - 1, 30), initial_indent=first, subsequent_indent=" " * len(first) if first else "  "
    )


# ---------------------------------------------------------------------------------------------------------------- JSON
def to_json(found: Forecast) -> dict[str, Any]:
    """Return the forecast as plain values; a number that is infinite or not known is None, `check` says which."""
    traffic = found.traffic
    return {
        "check": str(found.check),
        "traffic": {
            "requests_per_day": traffic.requests_per_day,
            "users": traffic.users,
            "is_upper_limit": traffic.is_upper_limit,
        },
        "base": {"origin": found.base.origin, "rates": {str(key): rate for key, rate in found.base.rates.items()}},
        "chance": found.chance,
        "complete_earliest_ms": _finite(found.earliest_ms),
        "complete_typical_ms": _finite(found.typical_ms),
        "stages": [_stage_json(found, stage) for stage in found.stages],
    }


def _stage_json(found: Forecast, stage: StageForecast) -> dict[str, Any]:
    return {
        "name": stage.stage.name,
        "percentage": stage.stage.percentage,
        "check": str(stage.check),
        "chance": stage.chance,
        "users": stage.users,
        "requests_per_day": stage.requests_per_day,
        "watched_ms": _finite(stage.watched_ms),
        "least_ms": _finite(stage.min_ms),
        "max_duration": stage.stage.max_duration,
        "leave_earliest_ms": _finite(stage.earliest_ms),
        "leave_typical_ms": _finite(stage.typical_ms),
        "ways_out": [way._asdict() for way in waysout.of_watching(stage)],
        "guardrails": [_guard_json(found, stage, guard) for guard in stage.guards],
    }


def _guard_json(found: Forecast, stage: StageForecast, guard: GuardForecast) -> dict[str, Any]:
    ways = waysout.of_guard(stage, guard, found.traffic) if guard.check.warns else []
    return {
        "guardrail": guard.spec.name,
        "role": str(guard.spec.role),
        "unit": str(guard.spec.unit),
        "check": str(guard.check),
        "limit": getattr(guard.spec, "limit", None),
        "base_rate": guard.base_rate,
        "needs": [_need_json(need) for need in guard.needs],
        "units_by_least": guard.by_min,
        "units_by_max": guard.by_max,
        "chance": guard.chance,
        "notices": [_notice_json(notice) for notice in guard.notices],
        "least_ratio": guard.least_ratio,
        "ways_out": [way._asdict() for way in ways],
    }


def _need_json(need: Need) -> dict[str, Any]:
    return {"rate": need.rate, "units": _finite(need.units), "after_ms": _finite(need.at_ms)}


def _notice_json(notice: Notice) -> dict[str, Any]:
    return {
        "rate": notice.rate,
        "times": notice.times,
        "units": _finite(notice.units),
        "after_ms": _finite(notice.at_ms),
        "units_late": _finite(notice.units_late),
        "late_after_ms": _finite(notice.late_ms),
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
