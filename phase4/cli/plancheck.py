"""The work of `phase4 rollout plan-check`, and what `rollout create` says of the same."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from phase4 import clock
from phase4.analysis.interval import wilson
from phase4.analysis.observation import OutcomeSet
from phase4.cli import budgeting, forecasting, order, planfile
from phase4.cli.console import Console, percent, rate_text
from phase4.durations import show
from phase4.errors import NotInitialised, Refused, Underpowered, UsageError
from phase4.rollout.forecast import Forecast, forecast
from phase4.rollout.guardrail_table import GUIDE, Limits
from phase4.rollout.plan import RolloutPlan, parse_plan
from phase4.rollout.plan_text import to_toml
from phase4.rollout.suggestion import suggest
from phase4.rollout.traffic import ASSUMED, BaseRates, Traffic
from phase4.store import recent, rollouts, ticks
from phase4.store.control import ControlStore, FlagRow
from phase4.store.recent import Seen

DEFAULT = "default"
"""Stands for the plan that `rollout create` makes without a file."""
INTERVAL_MS = 30_000
"""Length of a tick where no home says another."""
_PER_DAY = {"s": 86_400, "sec": 86_400, "min": 1_440, "m": 1_440, "h": 24, "hour": 24, "day": 1, "d": 1}
_THOUSANDS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_AMOUNT = re.compile(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([kKmMgG]?)\s*(?:/\s*([a-z]+))?\s*")


class _Home(NamedTuple):
    """What a home says; without one, what the guide does."""

    store: ControlStore | None
    interval_ms: int
    maximum: float
    limits: Limits


@dataclass(frozen=True)
class _Said:
    """Traffic and failures, and where they are from."""

    traffic: Traffic
    base: BaseRates
    seen: Seen | None


def plan_check(args: Any, console: Console) -> int:
    """Say whether a plan reaches its verdicts."""
    _check_options(args)
    home = _home_of(args)
    try:
        plan, flag = _plan_of(args, home)
        said = _said_of(args, home, flag)
    finally:
        if home.store is not None:
            home.store.close()
    found = forecast(plan, said.traffic, said.base, interval_ms=home.interval_ms)
    warnings = forecasting.warnings(found)
    if args.from_events and said.seen is None:
        warnings = [f"no event was seen in {show(recent.WINDOW_MS)}: the traffic is not known"]
        console.warn(warnings[0])
    if args.strict and found.is_underpowered:
        raise refusal(found, f"rollout plan-check {_same(args)} --suggest")
    suggested = _suggested(args, home, found)
    if args.suggest:
        console.line((suggested or "").rstrip("\n"))
    else:
        _tell(console, found, said.seen)
    data = {"plan": args.plan, **forecasting.to_json(found), "seen": seen_json(said.seen)}
    budget = {"alpha": budgeting.rows(plan), "promise": budgeting.promise(plan)}
    console.result("rollout plan-check", {**data, **budget, "suggestion": suggested}, warnings)
    return 0


def of_new(store: ControlStore, flag: FlagRow, plan: RolloutPlan, *, interval_ms: int) -> tuple[Forecast, Seen | None]:
    """Return the forecast of a plan that is being made, at the traffic of the last week; nothing heavy is loaded."""
    seen = recent.of_flag(store, flag, now_ms=order.now()) or recent.busiest(store, now_ms=order.now())
    traffic, base = (Traffic(), ASSUMED) if seen is None else (traffic_of(seen), base_of(seen))
    return forecast(plan, traffic, base, interval_ms=interval_ms), seen


def refusal(found: Forecast, hint: str) -> Underpowered:
    """Return the refusal of a plan that would hold: a line for each guardrail, and the command that helps."""
    return Underpowered(
        "\n".join(text.replace("UNDERPOWERED", "underpowered", 1) for text in forecasting.warnings(found)),
        hint=hint,
    )


def traffic_of(seen: Seen) -> Traffic:
    """Return the traffic that was seen."""
    return Traffic(requests_per_day=seen.requests_per_day, users=seen.users)


def base_of(seen: Seen) -> BaseRates:
    """Return the failures that were seen without the feature."""
    rates = {each: events / trials for each, (events, trials) in seen.rates.items() if trials}
    return BaseRates(rates=rates, origin="seen")


def seen_line(seen: Seen) -> str:
    """Return what was seen and where, in a sentence."""
    events, trials = seen.rates[OutcomeSet.ERROR]
    users = "users not counted" if seen.users_counted is None else f"{seen.users_counted:,} users"
    low, high = wilson(events, trials)
    rate = f"{events:,} of {trials:,} failed ({rate_text(low)} to {rate_text(high)})"
    when = f"{show(seen.until_ms - seen.from_ms)} up to {clock.iso(seen.until_ms)}"
    what = f"{seen.requests:,} requests, {users}; without the feature {rate}"
    return f"Seen of {seen.flag_key} ({seen.origin}) in {when}: {what}."


def seen_json(seen: Seen | None) -> dict[str, Any] | None:
    """Return the same as plain values."""
    if seen is None:
        return None
    values = seen._asdict()
    values["rates"] = {
        str(each): {"events": events, "of": trials, "low": wilson(events, trials)[0], "high": wilson(events, trials)[1]}
        for each, (events, trials) in seen.rates.items()
    }
    return values


# ----------------------------------------------------------------------------------------------------- the command line
def amount(text: str, option: str) -> float:
    """Return a number above 0, with a thousands letter where there is one: `200000`, `200,000`, `1.2M`.

    Raises:
        UsageError: it is none.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None or match[3] is not None or not 0.0 < (value := _value(match)) <= 1e12:
        raise UsageError(f"{option} is a number above 0, for example 2000 or 1.2M: {text!r}")
    return value


def per_day(text: str) -> float:
    """Return requests in a day: `20/s`, `500/min`, `1.2M/day`.

    Raises:
        UsageError: it is no amount in a time.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None or match[3] not in _PER_DAY or not 0.0 < (value := _value(match)) <= 1e12:
        raise UsageError(f"--traffic is an amount in a time, for example 20/s, 500/min or 1.2M/day: {text!r}")
    return value * _PER_DAY[match[3]]


def rate(text: str) -> float:
    """Return a rate, 0 to below 1: `0.1%`, `0.1 %` or `0.001`.

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(%?)\s*", text)
    value = round(float(match[1]) / (100.0 if match[2] else 1.0), 12) if match else 1.0
    if not 0.0 <= value < 1.0:
        raise UsageError(f"--base-rate is a rate from 0 to below 1, for example 0.1% or 0.001: {text!r}")
    return value


def _usable(args: Any) -> str:
    return f"rollout plan-check {shlex.quote(args.plan)} --users 2000 --suggest"


def _same(args: Any) -> str:
    """Return the words that ask for the same plan at the same traffic."""
    options = {"--users": args.users, "--traffic": args.traffic, "--flag": args.flag, "--base-rate": args.base_rate}
    given = [f"{name} {shlex.quote(value)}" for name, value in options.items() if value is not None]
    return " ".join([shlex.quote(args.plan), *given, *(["--from-events"] if args.from_events else [])])


def _value(match: re.Match[str]) -> float:
    return float(match[1].replace(",", "").replace("_", "")) * _THOUSANDS[match[2].lower()]


def _check_options(args: Any) -> None:
    if args.from_events and (args.traffic is not None or args.users is not None):
        raise UsageError("--from-events reads the traffic; it does not go with --traffic or --users")
    if args.flag is not None and not args.from_events:
        raise UsageError("--flag says whose events are read; it goes with --from-events")
    if args.suggest and not (args.from_events or args.traffic is not None or args.users is not None):
        raise UsageError("--suggest needs --users, --traffic or --from-events", hint=_usable(args))


def _home_of(args: Any) -> _Home:
    """Return what the home says. A file can be checked without one."""
    from phase4.cli.settings import settings_of
    from phase4.config.plan_defaults import PlanDefaults

    try:
        store = order.open_store(args)
    except (NotInitialised, FileNotFoundError):
        if args.from_events:
            raise
        return _Home(None, INTERVAL_MS, 100.0, GUIDE)
    settings = settings_of(store)
    defaults = PlanDefaults.of(settings)
    return _Home(
        store,
        settings.value("MONITORING_INTERVAL_MS"),
        defaults.percentage_max,
        planfile.limits_of(defaults, frozenset()),
    )


def _plan_of(args: Any, home: _Home) -> tuple[RolloutPlan, FlagRow | None]:
    """Return the plan that is meant, and the flag that it is of or whose events are asked for."""
    named = home.store.flag(args.flag) if args.flag is not None and home.store is not None else None
    is_file = Path(args.plan).exists() or args.plan.endswith(".toml") or os.sep in args.plan
    if args.plan != DEFAULT and not is_file:
        if home.store is None:
            raise UsageError(f'no file "{args.plan}", and no home that has plans', hint="rollout plan-check default")
        row = home.store.plan(args.plan)
        return rollouts.plan_of(row), named or home.store.flag_by_id(row.flag_id)
    document, source = planfile.document(None if args.plan == DEFAULT else args.plan)
    measured: frozenset[str] = frozenset()
    for flag in [] if home.store is None else home.store.flags():
        assert home.store is not None
        measured |= ticks.measures(home.store, flag.id, order.now() - recent.WINDOW_MS)
    limits = replace(home.limits, measures=measured)
    return parse_plan(document, flag_key="FLAG", plan_id="PLAN", source=source, limits=limits), named


def _said_of(args: Any, home: _Home, flag: FlagRow | None) -> _Said:
    """Return the traffic and the failures that are given or were seen; what is given wins."""
    seen = None
    traffic, base = Traffic(), ASSUMED
    if args.from_events:
        assert home.store is not None
        seen = _seen(home.store, flag)
        if seen is not None:
            traffic, base = traffic_of(seen), base_of(seen)
    elif args.traffic is not None or args.users is not None:
        traffic = Traffic(
            requests_per_day=None if args.traffic is None else per_day(args.traffic),
            users=None if args.users is None else amount(args.users, "--users"),
        )
    if args.base_rate is not None:
        base = BaseRates.everywhere(rate(args.base_rate), "given")
    return _Said(traffic, base, seen)


def _seen(store: ControlStore, flag: FlagRow | None) -> Seen | None:
    now_ms = order.now()
    flags = store.flags() if flag is None else [flag]
    observed = [seen for each in flags if (seen := recent.of_flag(store, each, now_ms=now_ms)) is not None]
    found = observed or [seen for each in flags if (seen := recent.imported(store, each)) is not None]
    return max(found, key=lambda each: each.requests, default=None)


def _suggested(args: Any, home: _Home, found: Forecast) -> str | None:
    """Return the text of a plan that works, if it was asked for."""
    if not args.suggest:
        return None
    if not found.traffic.is_known:
        raise Refused("a plan is suggested for a traffic, and none is known", hint=_usable(args))
    made = suggest(found.plan, found.traffic, found.base, interval_ms=home.interval_ms, maximum=home.maximum)
    if made is None:
        raise Refused("no plan was found that reaches its verdicts at this traffic", hint=_usable(args))
    again = forecast(made.plan, found.traffic, found.base, interval_ms=home.interval_ms)
    return to_toml(made.plan, comments=_comments(again, made.changes))


def _comments(made: Forecast, changes: Sequence[str]) -> list[str]:
    users = "" if made.traffic.users is None else f" for {made.traffic.users:,.0f} users"
    share = percent(made.chance or 0.0)
    head = f"Reaches its verdicts{users} in {share} of the rollouts, at {_base(made)} failures without the feature."
    return [head, *(changes or ["Nothing had to be changed."])]


def _base(found: Forecast) -> str:
    return " to ".join(dict.fromkeys(rate_text(pick(found.base.rates.values())) for pick in (min, max)))


def _tell(console: Console, found: Forecast, seen: Seen | None) -> None:
    if seen is not None:
        console.paragraph(seen_line(seen))
    for text in forecasting.lines(found, console.width):
        console.line(text)
    console.line()
    for text in budgeting.lines(found.plan, console.width):
        console.line(text)
    console.paragraph(budgeting.promise(found.plan))
